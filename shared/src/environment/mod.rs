//! A compiled environment: its flags, and the segments and the holdout that they share. Whether its bytes were signed is for
//! `snapshot` to say; outside this crate nothing evaluates it.

mod compile;
mod index;
mod random;

pub(crate) use self::compile::compile_flags;
pub use self::compile::{EnvironmentFault, SharedField, compile_environment};
use self::index::KeyIndex;
use self::random::Random;
use crate::bucket::Salted;
use crate::condition::{SegmentFault, SegmentNames};
use crate::context::{Context, UnitSource};
use crate::flag::{Flag, FlagFault};
use crate::ids::{FlagKey, UnixMillis};
use crate::ordered;
use crate::segment::Segment;

/// What evaluation walks.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    /// Ordered by key.
    pub(crate) flags: Vec<(FlagKey, Result<Flag, FlagFault>)>,
    index: KeyIndex,
    /// Ordered by key, as their names are.
    pub(crate) segments: Vec<Segment>,
    pub(crate) holdout: Option<Holdout>,
    /// When answers may change although environment and context stay: ascending.
    turning_points: Vec<UnixMillis>,
    random: Random,
    names: SegmentNames,
}

/// Units that get no feature.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Holdout {
    pub(crate) salt: Salted,
    pub(crate) source: UnitSource,
    /// Buckets below this number are held out.
    pub(crate) below: u32,
}

impl Environment {
    /// Puts together what was compiled; flags and segments are ordered by key.
    fn new(
        flags: Vec<(FlagKey, Result<Flag, FlagFault>)>,
        segments: Vec<Segment>,
        names: SegmentNames,
        holdout: Option<Holdout>,
    ) -> Self {
        let index = KeyIndex::of(flags.iter().map(|(key, _)| key.as_str()));
        let sound = || flags.iter().filter_map(|(_, flag)| flag.as_ref().ok());
        let mut turning_points: Vec<UnixMillis> = sound().flat_map(flag_turning_points).collect();
        turning_points.extend(
            segments
                .iter()
                .flat_map(Segment::conditions)
                .filter_map(|condition| condition.turning_point_ms().map(UnixMillis)),
        );
        ordered::sort(&mut turning_points);
        turning_points.dedup();
        let random = Random::of(sound());
        Self { flags, index, segments, holdout, turning_points, random, names }
    }

    /// A flag, or why it alone cannot be evaluated.
    pub fn flag(&self, key: &str) -> Option<Result<&Flag, &FlagFault>> {
        self.find(key).map(|(_, flag)| flag.as_ref())
    }

    /// A flag's position and the flag.
    #[inline]
    pub(crate) fn find(&self, key: &str) -> Option<(usize, &Result<Flag, FlagFault>)> {
        self.index.candidates(key).find_map(|at| {
            self.flags.get(at).filter(|(found, _)| found.as_str() == key).map(|(_, flag)| (at, flag))
        })
    }

    /// Each flag, or why it alone cannot be evaluated; ordered by key.
    pub fn flags(&self) -> impl Iterator<Item = (&FlagKey, Result<&Flag, &FlagFault>)> {
        self.flags.iter().map(|(key, flag)| (key, flag.as_ref()))
    }

    /// What is wrong with a segment; `None` when it is sound or not there.
    pub fn segment_fault(&self, key: &str) -> Option<&SegmentFault> {
        self.names.fault(key)
    }

    /// Number of the stretch of time that `now` lies in: within one stretch, schedules and comparisons with the current
    /// time change no answer.
    pub fn stretch(&self, now: UnixMillis) -> usize {
        self.turning_points.partition_point(|point| *point <= now)
    }

    /// Whether some answer for this asker may be random, as Unleash's are when what should stick is not there.
    pub fn may_be_random(&self, context: &Context) -> bool {
        self.random.may_be_random(context)
    }
}

fn flag_turning_points(flag: &Flag) -> impl Iterator<Item = UnixMillis> {
    let own = flag.guards.as_ref().and_then(|guards| guards.schedule);
    let schedules = flag.rules.iter().filter_map(|rule| rule.schedule.as_deref().copied()).chain(own);
    let conditions = flag.rules.iter().flat_map(|rule| &rule.conditions);
    let conditions = conditions.filter_map(|condition| condition.turning_point_ms().map(UnixMillis));
    schedules.flat_map(|schedule| [schedule.from, schedule.until]).chain(conditions)
}
