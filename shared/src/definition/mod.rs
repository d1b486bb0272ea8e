//! Flags, segments, layers and the holdout as users write them. Nothing here is checked: `flag`, `segment` and `environment` do.

mod flag;
pub mod overlay;
mod parts;

pub use self::flag::{
    Arm, CohortSliceWire, CohortWire, ConditionWire, DimensionWire, FlagWire, HoldoutRole, LayerShareWire,
    OnStale, Operator, PrerequisiteWire, RuleWire, ScheduleWire, TargetWire, Units, UnleashGateWire,
    UnleashLaneWire, UnleashSplitWire, UnleashToggleWire, ValueType, VariationWire, WeightedVariationWire,
    WithheldWire,
};
pub use self::parts::{HoldoutWire, LayerWire, SegmentRuleWire, SegmentWire, SharedWire};
