//! The snapshots that an isolate has in memory, and whether a request can be answered from them at once. Pure: it is told
//! the time, and asks nobody.

use std::cell::RefCell;

use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::snapshot::KeyId;

use crate::error::EdgeError;
use crate::snapshot::cache::{Cache, Doubt, Entry, ServePlan, SnapshotState};
use crate::snapshot::compiled::CompiledSnapshot;
use crate::snapshot::credential::Credential;
use crate::snapshot::refused::RefusedKeys;
use crate::snapshot::served::{GateOutcome, Refresh, Served, Source, Wish};

/// What an isolate knows. Borrowed between two awaits only.
#[derive(Debug, Default)]
pub struct Memory {
    cache: RefCell<Cache<CompiledSnapshot>>,
    refused: RefCell<RefusedKeys>,
}

impl Memory {
    /// Snapshots that a good key has opened.
    pub fn held_count(&self) -> usize {
        self.cache.borrow().held_count()
    }

    /// Does something with an environment's entry.
    pub fn with_entry<T>(
        &self,
        scope: &Scope,
        now: UnixMillis,
        act: impl FnOnce(&mut Entry<CompiledSnapshot>) -> T,
    ) -> T {
        act(self.cache.borrow_mut().entry(&scope.project, &scope.environment, now))
    }

    /// Whether a snapshot in memory admits what a client shows. Costs and changes nothing.
    pub fn admits(&self, scope: &Scope, shown: &Credential) -> bool {
        let admits = |compiled: &CompiledSnapshot| shown.is_admitted(&compiled.snapshot);
        self.cache.borrow().admits(&scope.project, &scope.environment, admits)
    }

    /// Whether memory knows that a key does not open its environment any more.
    pub fn is_revoked(&self, scope: &Scope, key: KeyId) -> bool {
        let refuses = |compiled: &CompiledSnapshot| !compiled.snapshot.admits_key_id(key);
        self.cache.borrow().admits(&scope.project, &scope.environment, refuses)
    }

    /// Lets a request whose key memory does not admit wait with others.
    pub fn doubt(&self, scope: &Scope, now: UnixMillis) -> Doubt {
        self.cache.borrow_mut().doubt(&scope.project, &scope.environment, now)
    }

    /// A replica that is vouched for said at `now` that nothing admits what was shown.
    pub fn refuse(&self, shown: &Credential, now: UnixMillis) {
        self.refused.borrow_mut().remember(*shown.digest(), now);
    }

    /// Whether that was said lately.
    pub fn has_refused(&self, shown: &Credential, now: UnixMillis) -> bool {
        self.refused.borrow().has(shown.digest(), now)
    }

    /// Decides for a request that shows this; takes the refresh lease when the answer has to be followed by a refresh.
    pub fn pass(
        &self,
        scope: &Scope,
        shown: &Credential,
        wish: Wish,
        now: UnixMillis,
    ) -> Result<GateOutcome, EdgeError> {
        let refresh = match self.plan(scope, shown, now)? {
            ServePlan::Memory => Refresh::NotNeeded,
            ServePlan::MemoryAndRefresh => Refresh::Needed,
            ServePlan::Probe => return Ok(GateOutcome::Probe),
        };
        let served = self.served(scope, Source::Memory, now)?;
        let is_enough = wish.version_min.is_none_or(|wanted| served.version >= wanted);
        Ok(if is_enough && !wish.is_stray {
            GateOutcome::Answer(served, refresh)
        } else {
            GateOutcome::Behind(refresh)
        })
    }

    fn plan(&self, scope: &Scope, shown: &Credential, now: UnixMillis) -> Result<ServePlan, EdgeError> {
        let admits = |compiled: &CompiledSnapshot| shown.is_admitted(&compiled.snapshot);
        let plan = self.cache.borrow_mut().plan(&scope.project, &scope.environment, now, admits);
        plan.ok_or_else(|| {
            // Memory went on while the request was being read, or others' environments took its place.
            let is_held = self.with_entry(scope, now, |entry| entry.held().is_some());
            if is_held { EdgeError::KeyUnknown } else { EdgeError::KeyUnsure }
        })
    }

    /// What an environment's entry has to answer with at `now`.
    pub fn served(&self, scope: &Scope, source: Source, now: UnixMillis) -> Result<Served, EdgeError> {
        self.with_entry(scope, now, |entry| {
            let (version, compiled) = entry.held().ok_or(EdgeError::NoSnapshot)?;
            let state = entry.state(now);
            Ok(Served {
                version,
                source: if state == SnapshotState::Bootstrap { Source::Bootstrap } else { source },
                state,
                age_ms: entry.age_ms(now).unwrap_or_else(|| now.since(compiled.created_ms)),
                beat_age_ms: entry.beat_age_ms(now),
                compiled,
            })
        })
    }
}
