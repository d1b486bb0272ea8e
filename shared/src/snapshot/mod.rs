//! A snapshot: all flags of one environment at one version. `verify` is the only door to one that can be evaluated.

pub mod beat;
mod chance;
pub mod envelope;
#[cfg(test)]
pub(crate) mod fixtures;
mod index;
mod key_id;
pub mod manifest;
pub mod payload;
pub mod refusal;
pub mod sign;
pub mod verify;

use std::collections::BTreeSet;

use self::chance::Chance;
use self::index::KeyIndex;
pub use self::key_id::{KeyId, KeyIds};
use self::payload::Profile;
pub use self::refusal::{Refusal, RefusalCode};
pub use self::verify::{Admitted, Held, Outcome, TrustedRoots, Verified, verify, verify_keyset};
use crate::context::Context;
use crate::digest::Digest;
use crate::flag::compile::{Compiled, Holdout};
use crate::flag::{Flag, FlagFault};
use crate::ids::{FlagKey, UnixMillis};
use crate::segment::Segment;

/// Compiled content of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Ordered by key.
    pub(crate) flags: Vec<(FlagKey, Result<Flag, FlagFault>)>,
    pub(crate) index: KeyIndex,
    pub(crate) segments: Vec<Segment>,
    pub(crate) holdout: Option<Holdout>,
    pub(crate) client_keys: BTreeSet<Digest>,
    pub(crate) settings: Settings,
    /// When answers may change although snapshot and context stay: ascending.
    turning_points: Vec<UnixMillis>,
    chance: Chance,
}

impl Snapshot {
    /// Puts a compiled environment together with what else the edge needs.
    pub(crate) fn new(compiled: Compiled, client_keys: BTreeSet<Digest>, settings: Settings) -> Self {
        let index = KeyIndex::of(compiled.flags.iter().map(|(key, _)| key.as_str()));
        let sound = || compiled.flags.iter().filter_map(|(_, flag)| flag.as_ref().ok());
        let mut turning_points: Vec<UnixMillis> = sound().flat_map(flag_turning_points).collect();
        turning_points.extend(
            compiled
                .segments
                .iter()
                .flat_map(Segment::conditions)
                .filter_map(|condition| condition.turning_point_ms().map(UnixMillis)),
        );
        turning_points.sort_unstable();
        turning_points.dedup();
        let chance = Chance::of(sound());
        let Compiled { flags, segments, holdout, .. } = compiled;
        Self { flags, index, segments, holdout, client_keys, settings, turning_points, chance }
    }

    /// What a control plane is about to sign, or signed before, evaluated by itself to say what a change does. Stays in
    /// this crate: no reader can come by a snapshot this way.
    pub(crate) fn rehearsed(compiled: Compiled) -> Verified<Self> {
        let (fresh_ms, stale_ms) = Profile::default().bounds_ms();
        let settings = Settings { fresh_ms, stale_ms, auto_exposure: AutoExposure::Off };
        Verified::by_signer(Self::new(compiled, BTreeSet::new(), settings))
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

    /// All flags, ordered by key.
    pub fn flags(&self) -> impl Iterator<Item = (&FlagKey, Result<&Flag, &FlagFault>)> {
        self.flags.iter().map(|(key, flag)| (key, flag.as_ref()))
    }

    /// Whether a client key is valid, given the digest of its text.
    pub fn admits_client_key(&self, key: &Digest) -> bool {
        self.client_keys.contains(key)
    }

    /// Whether a client key of this name is valid.
    pub fn admits_key_id(&self, id: KeyId) -> bool {
        self.client_keys.range(id.lowest()..).next().is_some_and(|key| KeyId::of(key) == id)
    }

    /// The names of all valid client keys.
    pub fn key_ids(&self) -> KeyIds {
        KeyIds::new(self.client_keys.iter().map(KeyId::of))
    }

    /// What the edge has to obey in this environment.
    pub const fn settings(&self) -> Settings {
        self.settings
    }

    /// Number of the stretch of time that `now` lies in: within one stretch, schedules and comparisons with the current
    /// time change no answer.
    pub fn stretch(&self, now: UnixMillis) -> usize {
        self.turning_points.partition_point(|point| *point <= now)
    }

    /// Whether some answer for this asker may be left to chance, as Unleash's are when what should stick is not there.
    pub fn may_draw(&self, context: &Context) -> bool {
        self.chance.may_draw(context)
    }
}

fn flag_turning_points(flag: &Flag) -> impl Iterator<Item = UnixMillis> {
    let own = flag.guards.as_ref().and_then(|guards| guards.schedule);
    let schedules = flag.rules.iter().filter_map(|rule| rule.schedule.as_deref().copied()).chain(own);
    let conditions = flag.rules.iter().flat_map(|rule| &rule.conditions);
    let conditions = conditions.filter_map(|condition| condition.turning_point_ms().map(UnixMillis));
    schedules.flat_map(|schedule| [schedule.from, schedule.until]).chain(conditions)
}

/// How the edge behaves in one environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// S: up to this age an isolate answers from memory without asking.
    pub fresh_ms: u64,
    /// H: beyond this age it asks before it answers.
    pub stale_ms: u64,
    /// Whether the edge records exposures by itself.
    pub auto_exposure: AutoExposure,
}

/// Whether a single-flag evaluation is recorded as an exposure by the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoExposure {
    /// Yes; a bulk evaluation is a prefetch and never an exposure.
    Single,
    /// No, clients report exposures.
    Off,
}
