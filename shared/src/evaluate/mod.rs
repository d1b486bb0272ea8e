//! Evaluation: one environment, one question → resolutions. Never looks at a clock or for randomness: both are part of
//! the question.
//!
//! The order in which a flag decides: off · schedule · `on_stale` · prerequisites · individual targets · holdout · layer ·
//! rules · cohort · default. What a fuse withholds is served by neither targets nor rules.

pub mod observer;
mod resolve;

use std::cell::{Cell, OnceCell};

pub use self::observer::{Lane, Observer, Passage, Silent, Step};
use crate::condition::SegmentIndex;
use crate::context::Context;
use crate::definition::Arm;
use crate::environment::Environment;
use crate::flag::{Flag, FlagFault, Rule, Variation};
use crate::ids::{FlagKey, RuleKey, UnixMillis};
use crate::slices::SliceCodes;

/// Who asks, when, and with which random number.
#[derive(Debug, Clone, Copy)]
pub struct Question<'c> {
    /// The asker.
    pub context: &'c Context,
    /// The time that schedules and `currentTime` are compared with.
    pub now: UnixMillis,
    /// Whether the snapshot's freshness is proven at that time.
    pub freshness: Freshness,
    /// Decides where Unleash would roll dice, and nowhere else. Take a new one for each question; the same number gives the
    /// same answers.
    pub random: u64,
}

impl<'c> Question<'c> {
    /// A question at `now` with a fresh snapshot and the random number 0.
    pub const fn new(context: &'c Context, now: UnixMillis) -> Self {
        Self { context, now, freshness: Freshness::Fresh, random: 0 }
    }
}

/// The answer to a question about one flag.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resolution<'s> {
    /// What to serve; `None` tells the caller to use the default in its code.
    pub variation: Option<&'s Variation>,
    /// What led to it, in OpenFeature's words.
    pub reason: Reason,
    /// Arm and phase when the unit is in the flag's cohort, so an exposure cannot disagree with the value.
    pub assignment: Option<Assignment>,
    /// The flag itself.
    pub flag: &'s Flag,
    pub(crate) decider: Option<&'s Rule>,
}

impl<'s> Resolution<'s> {
    /// The rule that decided.
    pub const fn rule(&self) -> Option<&'s RuleKey> {
        match self.decider {
            Some(rule) => Some(&rule.key),
            None => None,
        }
    }
}

/// Where a unit stands in a flag's cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// Exposed or control.
    pub arm: Arm,
    /// Phase of the allocation.
    pub phase: u32,
    /// The declared slices that the context puts it into.
    pub slices: SliceCodes,
}

/// Reasons of OpenFeature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The same for everybody.
    Static,
    /// A rule decided that takes everybody who meets its conditions.
    TargetingMatch,
    /// A gate, a split or the cohort decided by the unit's bucket.
    Split,
    /// The flag is off.
    Disabled,
    /// Rules exist, none applied.
    Default,
    /// The snapshot's freshness could not be proven and the flag's `on_stale` decided.
    Stale,
}

impl Reason {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Split => "SPLIT",
            Self::Disabled => "DISABLED",
            Self::Default => "DEFAULT",
            Self::Stale => "STALE",
        }
    }
}

/// Whether the snapshot's freshness is proven at the time of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Within the staleness bound.
    Fresh,
    /// Beyond it: flags may choose another answer.
    Stale,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvaluationError<'s> {
    /// The snapshot has no such flag.
    #[error(
        "flag {key:?} is not in this snapshot: the environment has no such flag, or it has not got here yet"
    )]
    FlagNotFound {
        /// What was asked for.
        key: String,
    },
    /// The deciding rule needs a unit and the context has none.
    #[error(
        "the flag needs the context attribute {attribute:?} to name a unit (a non-empty string or a whole number), such as \
         {{\"context\": {{{attribute:?}: \"user-1\"}}}}"
    )]
    TargetingKeyMissing {
        /// The attribute that names the unit.
        attribute: &'s str,
    },
    /// The flag itself is malformed; all others still work.
    #[error("flag is malformed: {0}")]
    Malformed(&'s FlagFault),
}

/// What a question about one flag comes to.
pub type EvaluationResult<'s> = Result<Resolution<'s>, EvaluationError<'s>>;

/// Answers one question about any number of flags. What flags share — segments, prerequisites, the holdout — is found out
/// once.
#[derive(Debug)]
pub struct Evaluator<'s, 'c> {
    environment: &'s Environment,
    question: Question<'c>,
    /// One cell for each segment; made when the first segment is asked for.
    segments: OnceCell<Box<[Cell<Known>]>>,
    /// What a flag serves as a prerequisite of others, by the flag's position; made when the first one is asked for.
    prerequisites: OnceCell<Box<[Cell<KnownVariation>]>>,
    holdout: Cell<HoldoutBucket>,
}

/// Whether the asker is in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    NotYet,
    Inside,
    Outside,
}

/// Where the unit stands in the environment's holdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HoldoutBucket {
    /// Nobody has asked.
    Unknown,
    /// The asker has no unit.
    Without,
    /// In this bucket.
    In(u32),
}

/// What a flag serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KnownVariation {
    NotYet,
    Variation(u8),
    /// The code's default, or an error.
    Nothing,
}

impl<'s, 'c> Evaluator<'s, 'c> {
    /// Asks `question` of `environment`. Outside this crate the door is `Verified::evaluator`.
    #[inline]
    pub(crate) const fn new(environment: &'s Environment, question: Question<'c>) -> Self {
        Self {
            environment,
            question,
            segments: OnceCell::new(),
            prerequisites: OnceCell::new(),
            holdout: Cell::new(HoldoutBucket::Unknown),
        }
    }

    /// Evaluates one flag.
    #[inline]
    pub fn flag(&self, key: &str) -> EvaluationResult<'s> {
        self.flag_observed(key, &mut Silent)
    }

    /// Evaluates one flag and tells `observer` every step.
    pub fn flag_observed(&self, key: &str, observer: &mut impl Observer) -> EvaluationResult<'s> {
        match self.environment.find(key) {
            None => Err(EvaluationError::FlagNotFound { key: key.to_owned() }),
            Some((_, Err(fault))) => Err(EvaluationError::Malformed(fault)),
            Some((_, Ok(flag))) => self.resolve(flag, observer),
        }
    }

    /// Evaluates every flag, in the order of their keys.
    pub fn all(&self) -> impl Iterator<Item = (&'s FlagKey, EvaluationResult<'s>)> {
        self.environment.flags.iter().map(|(key, flag)| {
            let answer = match flag {
                Ok(flag) => self.resolve(flag, &mut Silent),
                Err(fault) => Err(EvaluationError::Malformed(fault)),
            };
            (key, answer)
        })
    }

    /// Whether the segment has been asked for.
    fn is_known(&self, index: SegmentIndex) -> bool {
        let known = self.segments.get().and_then(|known| known.get(usize::from(index.0)));
        known.is_some_and(|cell| cell.get() != Known::NotYet)
    }

    /// Whether the asker is in a segment.
    fn is_in(&self, index: SegmentIndex) -> bool {
        let known = self
            .segments
            .get_or_init(|| self.environment.segments.iter().map(|_| Cell::new(Known::NotYet)).collect());
        let at = usize::from(index.0);
        let (Some(cell), Some(segment)) = (known.get(at), self.environment.segments.get(at)) else {
            return false;
        };
        match cell.get() {
            Known::Inside => true,
            Known::Outside => false,
            Known::NotYet => {
                let Question { context, now, .. } = self.question;
                // Cycles were refused when the environment was compiled, so this ends.
                let is_inside = segment.holds(context, now, &|other| self.is_in(other));
                cell.set(if is_inside { Known::Inside } else { Known::Outside });
                is_inside
            }
        }
    }
}

#[cfg(test)]
mod tests;
