//! What a replica should hold, and what it is to be sent next. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use flagfuse_shared::contract::replica::{HeldMap, HeldVersion, Urgency, map_digest};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::SnapshotVersion;

/// What a replica should hold of one environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The version and its digest.
    pub held: HeldVersion,
    /// The newest urgent version up to that one: whoever holds an older one has to hear of it at once.
    pub urgent: Option<SnapshotVersion>,
}

impl Wanted {
    pub(super) fn urgency(&self, held: Option<&HeldVersion>) -> Urgency {
        let behind = |urgent: SnapshotVersion| held.is_none_or(|held| held.version() < urgent);
        if self.urgent.is_some_and(behind) { Urgency::Urgent } else { Urgency::Ordinary }
    }
}

/// What a replica should hold, by `tenant/project/environment`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    wanted: BTreeMap<String, Wanted>,
    map_sha256: Digest,
    /// What was signed after the wanted version, and is held back.
    later: BTreeMap<String, Vec<HeldVersion>>,
}

impl Target {
    /// All environments of a replica.
    pub fn new(wanted: BTreeMap<String, Wanted>) -> Self {
        let map: HeldMap = wanted.iter().map(|(scope, wanted)| (scope.clone(), wanted.held)).collect();
        Self { map_sha256: map_digest(&map), wanted, later: BTreeMap::new() }
    }

    /// The same, with the versions that were signed after the wanted ones and are held back. A replica may have one all
    /// the same, because its receipt was lost or the stages are others now: it is early, not forked.
    #[must_use]
    pub fn with_later(self, later: BTreeMap<String, Vec<HeldVersion>>) -> Self {
        Self { later, ..self }
    }

    pub(super) fn is_signed_later(&self, scope: &str, held: &HeldVersion) -> bool {
        self.later.get(scope).is_some_and(|later| later.contains(held))
    }

    /// By environment.
    pub const fn wanted(&self) -> &BTreeMap<String, Wanted> {
        &self.wanted
    }

    /// What a beat for it says.
    pub fn claim(&self) -> Claim {
        Claim { map_sha256: self.map_sha256, count: self.wanted.len() }
    }

    /// What somebody who holds `held` is to be sent, the urgent first. What is ahead or forked is not among it.
    pub fn missing<'t>(&'t self, held: &HeldMap) -> Vec<(&'t str, Wanted, Urgency)> {
        let behind = self.wanted.iter().filter_map(|(scope, wanted)| {
            let held = held.get(scope);
            let is_behind = held.is_none_or(|held| held.version() < wanted.held.version());
            is_behind.then(|| (scope.as_str(), *wanted, wanted.urgency(held)))
        });
        let mut all: Vec<_> = behind.collect();
        all.sort_by_key(|(_, _, urgency)| Reverse(*urgency));
        all
    }
}

/// What a beat vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Digest of the map.
    pub map_sha256: Digest,
    /// Environments in it.
    pub count: usize,
}
