//! The JSON shapes of a flag, for the admin API and the snapshot payload. Never evaluated: `compile` turns them into the model.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::UnixMillis;

/// A flag in one environment, as users write it. Its texts are owned, or borrowed from the snapshot it is read from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(serialize = "T: Serialize + AsRef<str>, V: Serialize"))]
pub struct FlagWire<T = String, V = Value> {
    /// Name that code asks for.
    pub key: T,
    /// For people; never part of a snapshot.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Type of every variation's value.
    pub value_type: ValueType,
    /// What the flag can answer.
    pub variations: Vec<VariationWire<T, V>>,
    /// Off means: `off_variation` for everybody, reason `DISABLED`.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// Served while the flag is off. Without one, the caller's code default applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off_variation: Option<T>,
    /// Served when no rule and no cohort slice applies. Without one, the caller's code default applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_variation: Option<T>,
    /// When the flag is on; outside it is off for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleWire>,
    /// All must hold, or the flag is off for the asker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prerequisites: Vec<PrerequisiteWire>,
    /// Individual units and what they get, before holdout, layer and rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetWire<T>>,
    /// Whether the environment's holdout applies.
    #[serde(default, skip_serializing_if = "HoldoutRole::is_member")]
    pub holdout: HoldoutRole,
    /// Share of a mutual-exclusion layer. Units outside it get the default variation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<LayerShareWire>,
    /// First match wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleWire<T, V>>,
    /// Stable opaque text that is hashed with the unit. Never a row id. The flag's key when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<T>,
    /// Attribute that names the unit; `targetingKey` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_by: Option<T>,
    /// What to serve when the snapshot's freshness cannot be proven.
    #[serde(default, skip_serializing_if = "OnStale::is_keep")]
    pub on_stale: OnStale,
    /// Exposed and control buckets. Managed by the flag's fuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cohort: Option<CohortWire<T>>,
    /// Set when the flag is an Unleash toggle: how Unleash's own APIs show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unleash: Option<UnleashToggleWire>,
}

/// When something holds: from `from_ms` up to, not including, `until_ms`. At least one bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleWire {
    /// First millisecond, Unix time in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<UnixMillis>,
    /// First millisecond that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<UnixMillis>,
}

/// Another flag of the environment that has to serve one of some variations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrerequisiteWire {
    /// The other flag's key.
    pub flag: String,
    /// Variations of the other flag, one of which has to be served.
    pub variations: Vec<String>,
}

/// Units that get a variation by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetWire<T = String> {
    /// What they get.
    pub variation: T,
    /// Who they are.
    pub units: Vec<T>,
    /// Attribute that names them; the flag's `bucket_by` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<T>,
}

/// Whether the environment's holdout applies to a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldoutRole {
    /// Units in the holdout get the default variation.
    #[default]
    Member,
    /// The holdout does not exist for this flag: configuration, kill switches.
    Exempt,
}

impl HoldoutRole {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls skip predicates with a reference")]
    const fn is_member(&self) -> bool {
        matches!(self, Self::Member)
    }
}

/// The buckets of a layer that belong to one flag. Shares of different flags may not overlap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerShareWire {
    /// Which layer of the environment.
    pub key: String,
    /// First bucket.
    pub from: u32,
    /// First bucket behind the share.
    pub to: u32,
}

/// What only Unleash's APIs show of a toggle.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnleashToggleWire {
    /// Clients report each evaluation.
    #[serde(default, skip_serializing_if = "is_false")]
    pub impression_data: bool,
    /// Unleash's `type`: `release`, `experiment`, `kill-switch` …
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

const fn enabled() -> bool {
    true
}

/// Type of a flag's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueType {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// A whole number of 64 bits.
    Integer,
    /// A finite number.
    Float,
    /// A JSON object or array.
    Object,
}

/// One answer a flag can give.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariationWire<T = String, V = Value> {
    /// Name, unique in the flag.
    pub key: T,
    /// Value of the flag's type.
    pub value: V,
}

/// A rule: when all conditions hold and the unit is within the percentage, the split decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(serialize = "T: Serialize + AsRef<str>, V: Serialize"))]
pub struct RuleWire<T = String, V = Value> {
    /// Name for explanations, unique in the flag.
    pub key: T,
    /// All must hold; an empty list always holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ConditionWire<T, V>>,
    /// 0 ..= 100 in steps of 0.0001; absent means everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentage: Option<f64>,
    /// At least one variation; weights are relative.
    pub split: Vec<WeightedVariationWire<T>>,
    /// When the rule exists; outside it is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleWire>,
    /// Gate and split in Unleash's lane of 100 buckets instead of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unleash: Option<UnleashLaneWire>,
}

/// How Unleash would bucket for this rule, byte for byte. Excludes `percentage`.
///
/// A stickiness is `default`, `random` or the name of an attribute. `default` is the targeting key (Unleash's
/// `userId`), else `sessionId`, else (splits only) `remoteAddress`, else at random.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnleashLaneWire {
    /// Whom the rule is for; absent means everybody. An attribute that is missing is outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<UnleashGateWire>,
    /// How `split` divides; needed when it has several entries. An attribute that is missing is divided at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<UnleashSplitWire>,
}

/// `murmur3(group:unit) % 100 + 1 ≤ percent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnleashGateWire {
    /// Unleash's group id; may be empty.
    pub group: String,
    /// What names the unit.
    pub stickiness: String,
    /// 0 ..= 100.
    pub percent: u8,
}

/// `murmur3(group:unit, 86028157) % sum of weights + 1` falls into a variation's share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnleashSplitWire {
    /// Unleash's group id, often the toggle's name; may be empty.
    pub group: String,
    /// What names the unit.
    pub stickiness: String,
}

/// One part of a split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightedVariationWire<T = String> {
    /// Which variation.
    pub variation: T,
    /// Relative weight; 1 when absent.
    #[serde(default = "one")]
    pub weight: u32,
}

const fn one() -> u32 {
    1
}

/// A comparison of one attribute.
#[expect(clippy::struct_excessive_bools, reason = "each is a word of its own in what people write")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(serialize = "T: Serialize + AsRef<str>, V: Serialize"))]
pub struct ConditionWire<T = String, V = Value> {
    /// Context attribute. Left out for `in_segment`.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub attribute: T,
    /// Which comparison.
    pub op: Operator,
    /// Right-hand sides; one that matches is enough, except for `contains_all`. Empty for `exists`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<V>,
    /// Turns the answer round, also when the attribute is missing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub negate: bool,
    /// Compares texts without regard to case; `matches` folds A to Z only. Refused for dates, versions, addresses.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ignore_case: bool,
    /// Compares as Unleash does: numbers and booleans count as their text where texts are compared, texts as the number
    /// they read as where numbers are compared.
    #[serde(default, skip_serializing_if = "is_false")]
    pub coerce: bool,
    /// Reads an attribute's version as flagd does: `v1.2.3` as `1.2.3`, `1.2` as `1.2.0`, `2` or the number 2 as `2.0.0`.
    /// Comparisons of versions only; their values are written in full.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lenient: bool,
}

fn is_empty(text: &impl AsRef<str>) -> bool {
    text.as_ref().is_empty()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls skip predicates with a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Comparisons of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// Equal to one of the values, same JSON type.
    In,
    /// Text contains one of the values.
    Contains,
    /// Text starts with one of the values.
    StartsWith,
    /// Text ends with one of the values.
    EndsWith,
    /// Number below the value.
    LessThan,
    /// Number at most the value.
    AtMost,
    /// Number above the value.
    GreaterThan,
    /// Number at least the value.
    AtLeast,
    /// The attribute is present and not null.
    Exists,
    /// Text in which one of the patterns is found. Linear time: no look-around, no back-references, ASCII classes.
    Matches,
    /// Date-time before the value. On both sides RFC 3339 text or a whole number of Unix milliseconds.
    Before,
    /// Date-time after the value.
    After,
    /// Semantic version with the precedence of one of the values; build metadata does not count.
    SemverEqual,
    /// Semantic version below the value; a pre-release is below its release.
    SemverLessThan,
    /// Semantic version above the value.
    SemverGreaterThan,
    /// Semantic version at least the value.
    SemverAtLeast,
    /// Semantic version at most the value.
    SemverAtMost,
    /// Address in one of the networks, v4 or v6. An IPv4-mapped address counts as the IPv4 address it carries.
    InCidr,
    /// Array with an element that equals one of the values, as `in` compares them.
    ContainsAny,
    /// Array with an equal element for each of the values.
    ContainsAll,
    /// The asker is in one of the environment's segments that the values name. Has no attribute.
    InSegment,
}

/// Answer of a flag when the snapshot's freshness cannot be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStale {
    /// Go on evaluating the last good snapshot.
    #[default]
    Keep,
    /// Serve the default variation.
    Default,
    /// Serve the off variation.
    Off,
}

impl OnStale {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls skip predicates with a reference")]
    const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }
}

/// Which buckets are exposed, which are control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CohortWire<T = String> {
    /// Number of the phase that this allocation defines.
    pub phase: u32,
    /// Ascending, not overlapping. A bucket outside all slices gets the default variation and no arm.
    pub slices: Vec<CohortSliceWire<T>>,
    /// What rules may not serve while the fuse is not closed: a tripped feature is off for targeted units too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<WithheldWire<T>>,
    /// What its enrolled units are told apart by, besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dimensions: Vec<DimensionWire<T>>,
    /// Which units enrol.
    #[serde(default, skip_serializing_if = "Units::is_any")]
    pub units: Units,
    /// Text hashed with the unit in place of the flag's salt: buckets of which nobody has met the feature ran out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<T>,
}

/// An attribute by whose values enrolled units are counted, each value by itself and all others together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DimensionWire<T = String> {
    /// Context attribute.
    pub attribute: T,
    /// Texts; a number or boolean is the text that JavaScript prints for it.
    pub values: Vec<T>,
}

/// Which units a fuse enrols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Units {
    /// Whoever is asked for.
    #[default]
    Any,
    /// Those whose context carries a signature that the customer's server made.
    Signed,
}

impl Units {
    /// Whether nothing is asked of a unit.
    pub const fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }
}

/// A variation that rules may not serve, and what they serve in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithheldWire<T = String> {
    /// The harmful variation.
    pub variation: T,
    /// The one that is served in its place.
    pub instead: T,
}

/// A range of buckets that get the same variation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CohortSliceWire<T = String> {
    /// First bucket.
    pub from: u32,
    /// First bucket behind the range.
    pub to: u32,
    /// What these units get.
    pub variation: T,
    /// The arm they are counted in.
    pub arm: Arm,
    /// The phase they are counted in, when it is not the cohort's: a unit stays in the stage that enrolled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<u32>,
    /// Whether they are served and counted nowhere: they met the feature before, and would answer for the past.
    #[serde(default, skip_serializing_if = "is_counted")]
    pub unenrolled: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_counted(unenrolled: &bool) -> bool {
    !*unenrolled
}

/// Arm of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// Sees the feature.
    Exposed,
    /// Reserved; never sees the feature while the fuse watches.
    Control,
}

impl Arm {
    /// The word used in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exposed => "exposed",
            Self::Control => "control",
        }
    }
}
