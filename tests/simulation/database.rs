//! The control planes' database: transactions in memory, what backups keep of it, and what a restored one has forgotten.

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_control_plane::publish::pusher::{Target, Wanted};
use flagfuse_control_plane::store::snapshots::FRAME_COUNT_KEPT;
use flagfuse_shared::contract::replica::{HeldVersion, Urgency};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::snapshot::{Held, Profile};

use super::signer::{Draft, Holder, Releasers, keyset};
use super::sim::Node;

#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) held: Held,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) scope: Scope,
    pub(crate) profile: Profile,
    pub(crate) version: SnapshotVersion,
    pub(crate) urgent: Option<SnapshotVersion>,
    pub(crate) frames: Vec<Frame>,
}

/// Everything that a backup takes.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) environments: BTreeMap<String, Environment>,
    keyset_version: u64,
    releasers: Releasers,
    min_epoch: BTreeMap<String, u64>,
    keyset: Vec<u8>,
    /// What replicas said they hold.
    pub(crate) receipts: BTreeMap<(Node, String), HeldVersion>,
    /// Environments of which a replica holds what this database never signed.
    pub(crate) forks: BTreeSet<String>,
    batches: BTreeSet<(String, u64)>,
    /// How often each event was counted.
    pub(crate) counted: BTreeMap<String, u32>,
}

/// What a commit wrote.
pub(crate) struct Committed {
    pub(crate) held: Held,
    pub(crate) value: u64,
}

impl Database {
    pub(crate) fn new(environments: &[(&str, Profile)], now: UnixMillis) -> Self {
        let new = |(text, profile): &(&str, Profile)| {
            let (scope, profile) = (super::signer::scope(text), *profile);
            let version = SnapshotVersion { epoch: 1, seq: 0 };
            ((*text).to_owned(), Environment { scope, profile, version, urgent: None, frames: Vec::new() })
        };
        Self {
            environments: environments.iter().map(new).collect(),
            keyset_version: 1,
            releasers: Releasers::First,
            min_epoch: BTreeMap::new(),
            keyset: keyset(1, Releasers::First, BTreeMap::new(), now),
            receipts: BTreeMap::new(),
            forks: BTreeSet::new(),
            batches: BTreeSet::new(),
            counted: BTreeMap::new(),
        }
    }

    /// A change, its new version and its signed frame, in one transaction.
    pub(crate) fn commit(&mut self, scope: &str, value: u64, urgency: Urgency, now: UnixMillis) -> Committed {
        let holder = match self.releasers {
            Releasers::First | Releasers::WithWeakKey => Holder::Release,
            Releasers::Both | Releasers::Second => Holder::NextRelease,
        };
        let environment = self.environments.get_mut(scope).unwrap();
        let version = SnapshotVersion { seq: environment.version.seq + 1, ..environment.version };
        let draft = Draft {
            scope: &environment.scope,
            version,
            prev: environment.frames.last().map_or(Digest::of(b""), |frame| frame.held.digest),
            value,
            profile: environment.profile,
            keyset_version: self.keyset_version,
            keyset: &self.keyset,
            now,
        };
        let signed = draft.sign(holder);
        let held = Held { version, digest: signed.digest, keyset_version: self.keyset_version };
        environment.version = version;
        environment.frames.push(Frame { held, bytes: signed.frame });
        if environment.frames.len() > usize::try_from(FRAME_COUNT_KEPT).unwrap() {
            environment.frames.remove(0);
        }
        if urgency == Urgency::Urgent {
            environment.urgent = Some(version);
        }
        Committed { held, value }
    }

    /// A new keyset. What was signed under the old one has to be published anew: replicas take nothing under it any more.
    pub(crate) fn rotate(&mut self, releasers: Releasers, now: UnixMillis) {
        self.releasers = releasers;
        self.keyset_version += 1;
        self.keyset = keyset(self.keyset_version, releasers, self.min_epoch.clone(), now);
    }

    /// The operator's way out of a fork: nothing of the epochs before counts any more.
    pub(crate) fn bump_epoch(&mut self, now: UnixMillis) {
        for (text, environment) in &mut self.environments {
            let epoch = environment.version.epoch + 1;
            environment.version = SnapshotVersion { epoch, seq: 0 };
            self.min_epoch.insert(text.clone(), epoch);
        }
        self.forks.clear();
        self.rotate(self.releasers, now);
    }

    /// What is not restored with the rest: keysets, which the operators keep, and what was counted.
    pub(crate) fn keep_apart(&mut self, newer: &Self) {
        self.batches.clone_from(&newer.batches);
        self.counted.clone_from(&newer.counted);
        self.keyset_version = newer.keyset_version;
        self.releasers = newer.releasers;
        self.min_epoch.clone_from(&newer.min_epoch);
        self.keyset.clone_from(&newer.keyset);
    }

    /// What replicas should hold.
    pub(crate) fn target(&self) -> Target {
        let wanted = self.environments.iter().filter_map(|(scope, environment)| {
            let held = held_version(&environment.frames.last()?.held);
            Some((scope.clone(), Wanted { held, urgent: environment.urgent }))
        });
        Target::new(wanted.collect())
    }

    /// The frame of a version, while it is kept.
    pub(crate) fn frame(&self, scope: &str, version: SnapshotVersion) -> Option<&Frame> {
        self.environments.get(scope)?.frames.iter().find(|frame| frame.held.version == version)
    }

    /// Whether all of these replicas hold exactly the newest version.
    pub(crate) fn is_live(&self, scope: &str, replicas: &[Node]) -> Option<SnapshotVersion> {
        let newest = held_version(&self.environments.get(scope)?.frames.last()?.held);
        let holds = |replica: &Node| self.receipts.get(&(*replica, scope.to_owned())) == Some(&newest);
        replicas.iter().all(holds).then(|| newest.version())
    }

    /// Applies a batch once; the ids that count with it.
    pub(crate) fn apply(&mut self, buffer_id: &str, batch_seq: u64, ids: Vec<String>) -> Vec<(String, u32)> {
        if !self.batches.insert((buffer_id.to_owned(), batch_seq)) {
            return Vec::new();
        }
        let mut applied = Vec::new();
        for id in ids {
            let times = self.counted.entry(id.clone()).or_default();
            // Who repeats requests repeats their ids; who does not relies on the batch's number alone.
            if *times > 0 && id.starts_with("again") {
                continue;
            }
            *times += 1;
            applied.push((id, *times));
        }
        applied
    }

    /// For the planted fault that keeps this in memory only.
    pub(crate) fn forget_batches(&mut self) {
        self.batches.clear();
    }
}

pub(crate) const fn held_version(held: &Held) -> HeldVersion {
    HeldVersion { epoch: held.version.epoch, seq: held.version.seq, digest: held.digest }
}
