//! A definition that nobody has published, beside everything that is: what a flag would answer if it were put.

use std::collections::BTreeSet;

use flagfuse_shared::definition::{FlagWire, SharedWire};
use flagfuse_shared::ids::{FlagKey, IdError};

use super::{Opened, Written};
use crate::rehearsal::{DiffError, rehearse};

/// Why a draft cannot be asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DraftFault {
    /// Its key is none.
    #[error("key: {0}")]
    Key(#[from] IdError),
    /// The cohort of a flag is its fuse's.
    #[error("cohort is managed by the flag's fuse: leave it out or send it as it is")]
    CohortIsManaged,
    /// It could not be evaluated.
    #[error("{0}")]
    Malformed(String),
    /// It could not be published.
    #[error(transparent)]
    Rehearsal(#[from] DiffError),
}

/// How much of an environment is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The draft and what it depends on.
    Draft,
    /// Every flag: others may depend on the draft.
    All,
}

impl Opened {
    /// The same with a draft in the place of the flag of its key, or beside the others. Its cohort stays that of the fuse.
    pub fn with_draft(&self, mut draft: FlagWire, extent: Extent) -> Result<Self, DraftFault> {
        let key = FlagKey::parse(&draft.key)?;
        let cohort = self.written.flags.get(&key).and_then(|published| published.cohort.clone());
        if draft.cohort.is_some() && draft.cohort != cohort {
            return Err(DraftFault::CohortIsManaged);
        }
        draft.cohort = cohort;
        let needed = match extent {
            Extent::All => None,
            Extent::Draft => Some(self.dependencies(&draft)),
        };
        let is_needed =
            |own: &FlagKey| *own != key && needed.as_ref().is_none_or(|needed| needed.contains(own.as_str()));
        let others =
            self.written.flags.iter().filter(|(own, _)| is_needed(own)).map(|(_, wire)| wire.clone());
        let flags: Vec<FlagWire> = others.chain([draft]).collect();
        let shared = SharedWire {
            segments: self.written.segments.values().cloned().collect(),
            layers: self.written.layers.clone(),
            holdout: self.written.holdout.clone(),
        };
        let snapshot = rehearse(flags.clone(), shared.clone())?;
        if let Some(Err(fault)) = snapshot.flag(key.as_str()) {
            return Err(DraftFault::Malformed(fault.to_string()));
        }
        let (written, scope) = (Written::of(flags, shared), self.scope.clone());
        Ok(Self { snapshot, written, version: self.version, scope })
    }

    /// The keys of all flags that a flag looks at, directly or by way of others.
    fn dependencies(&self, draft: &FlagWire) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut waiting: Vec<&FlagWire> = vec![draft];
        while let Some(flag) = waiting.pop() {
            for prerequisite in &flag.prerequisites {
                if found.insert(prerequisite.flag.clone()) {
                    let next = FlagKey::parse(&prerequisite.flag).ok();
                    waiting.extend(next.and_then(|key| self.written.flags.get(&key)));
                }
            }
        }
        found
    }

    /// How many flags it has.
    pub fn flag_count(&self) -> usize {
        self.snapshot.flags().count()
    }

    /// The first flag by key.
    pub fn first_flag(&self) -> Option<&FlagKey> {
        self.snapshot.flags().next().map(|(key, _)| key)
    }
}
