//! What an evaluation tells about itself while it goes on. Observing changes no answer.

use serde_json::Value;

use crate::condition::Condition;
use crate::definition::{Arm, OnStale};
use crate::flag::Flag;
use crate::ids::{RuleKey, VariationKey};
use crate::segment::Membership;

/// Watches an evaluation. The default sees nothing and costs nothing.
pub trait Observer {
    /// Something was decided; steps come in the order in which they happened.
    #[inline]
    fn saw(&mut self, step: Step<'_>) {
        let _ = step;
    }

    /// Whether steps that cost something to tell are told.
    #[inline]
    fn is_watching(&self) -> bool {
        true
    }
}

impl<O: Observer + ?Sized> Observer for &mut O {
    fn saw(&mut self, step: Step<'_>) {
        (**self).saw(step);
    }

    fn is_watching(&self) -> bool {
        (**self).is_watching()
    }
}

/// Sees nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    #[inline]
    fn is_watching(&self) -> bool {
        false
    }
}

/// Whether something let the asker through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It did, or what was asked for holds.
    Passed,
    /// It did not.
    Stopped,
}

impl Passage {
    pub(super) const fn of(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Stopped }
    }
}

/// Which buckets a number belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// 0 ..= 999,999.
    Native,
    /// 1 ..= 100 for gates, 1 ..= sum of weights for splits.
    Unleash,
}

/// One thing that an evaluation found.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// The flag is switched off.
    Off,
    /// The flag has a schedule.
    Schedule(Passage),
    /// The snapshot is not proven fresh and the flag has a will of its own.
    Stale(OnStale),
    /// Evaluation of another flag begins; what it sees follows.
    PrerequisiteBegins {
        /// The other flag.
        flag: &'a Flag,
    },
    /// A prerequisite was looked at, perhaps from memory.
    Prerequisite {
        /// The other flag's key.
        flag: &'a str,
        /// What it serves; `None` for the code's default or an error.
        served: Option<&'a VariationKey>,
        /// Whether that will do.
        passage: Passage,
    },
    /// The unit is one of the flag's targets, or none of them.
    Target {
        /// What it gets.
        variation: Option<&'a VariationKey>,
    },
    /// The environment has a holdout and the flag is in it.
    Holdout {
        /// The unit's bucket; `None` without a unit, which is not held out.
        bucket: Option<u32>,
        /// Buckets below this number are held out.
        below: u32,
        /// `Stopped` when held out.
        passage: Passage,
    },
    /// The flag has a share of a layer.
    Layer {
        /// Which layer.
        layer: &'a str,
        /// The unit's bucket in the layer.
        bucket: u32,
        /// First bucket of the flag's share.
        from: u32,
        /// First bucket behind it.
        to: u32,
        /// Whether the unit is in it.
        passage: Passage,
    },
    /// A rule is looked at; its conditions, gate and split follow.
    Rule {
        /// Its key.
        key: &'a RuleKey,
    },
    /// The rule has a schedule.
    RuleSchedule(Passage),
    /// A condition of the rule was compared.
    Condition {
        /// Position in the rule.
        at: usize,
        /// The condition.
        condition: &'a Condition,
        /// What the context has, or nothing.
        found: Option<&'a Value>,
        /// Whether it holds.
        passage: Passage,
    },
    /// The condition that was told last asked for a segment.
    Segment {
        /// Its key.
        key: &'a str,
        /// Where the asker stands in it.
        membership: Membership,
    },
    /// A condition of a rule of the segment that was told last. Told up to the first one of each rule that does not hold,
    /// and once: a segment that is asked for again is remembered.
    SegmentCondition {
        /// Position of the rule.
        rule: usize,
        /// Position in the rule.
        at: usize,
        /// What the context has, or nothing.
        found: Option<&'a Value>,
        /// Whether it holds.
        passage: Passage,
    },
    /// The rule has a gate.
    Gate {
        /// Whose numbers these are.
        lane: Lane,
        /// The unit's bucket; `None` when the attribute is missing.
        bucket: Option<u32>,
        /// Native: buckets below this number pass. Unleash: buckets up to it.
        threshold: u32,
        /// Whether the unit does.
        passage: Passage,
    },
    /// The rule splits.
    Split {
        /// Whose numbers these are.
        lane: Lane,
        /// The unit's bucket.
        bucket: u32,
        /// Sum of the weights.
        weight_sum: u32,
        /// What the bucket gets.
        variation: Option<&'a VariationKey>,
    },
    /// What was to be served may not be while the fuse is not closed.
    Withheld {
        /// What was to be served.
        wanted: Option<&'a VariationKey>,
        /// What is served in its place.
        instead: Option<&'a VariationKey>,
    },
    /// No rule decided and the flag has a cohort.
    Cohort {
        /// The unit's bucket.
        bucket: u32,
        /// Arm and phase of the slice it is in.
        slice: Option<(Arm, u32)>,
    },
    /// Nothing decided.
    Default {
        /// The default variation; `None` for the code's default.
        variation: Option<&'a VariationKey>,
    },
}
