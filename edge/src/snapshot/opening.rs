//! Whether a client key opens its environment. Before memory says so a request learns nothing, and what it costs is shared:
//! one answer for a key that is not known and for an environment that is not.
//!
//! Clients take a refused key for lasting and stop, so a key must not be refused while its snapshot is on the way: only the
//! answer of a replica that is vouched for, to a question sent some time after the request came, refuses one. Requests
//! that wait for it share a round (`cache`), whose questions, times and answers do not depend on what memory holds. Where
//! no round is left, or nobody vouches for the replica, nobody can tell yet: 503, which clients repeat.

use flagfuse_shared::ids::Scope;

use crate::error::EdgeError;
use crate::snapshot::cache::{Doubt, Round};
use crate::snapshot::credential::Credential;
use crate::snapshot::driver::Driver;
use crate::snapshot::runtime::Runtime;

/// Between two looks at memory.
const PAUSE_MS: u64 = 25;
/// A round's 100 ms, two cold questions of up to 2 s, and the leases of those that went away.
const STEP_COUNT_MAX: u32 = 200;

impl<R: Runtime> Driver<'_, R> {
    /// Returns once memory holds a snapshot that admits what a client shows.
    pub async fn open(&self, scope: &Scope, shown: &Credential) -> Result<(), EdgeError> {
        if self.memory.admits(scope, shown) {
            return Ok(());
        }
        let now = self.runtime.now();
        if self.memory.has_refused(shown, now) {
            return Err(EdgeError::KeyUnknown);
        }
        match self.memory.doubt(scope, now) {
            Doubt::Later => Err(EdgeError::KeyUnsure),
            Doubt::Wait(round) => self.wait(scope, shown, round).await,
        }
    }

    async fn wait(&self, scope: &Scope, shown: &Credential, mut round: Round) -> Result<(), EdgeError> {
        for _ in 0..STEP_COUNT_MAX {
            let sent_at = self.runtime.now();
            let has_failed =
                self.memory.with_entry(scope, sent_at, |entry| entry.lease_doubt(round, sent_at))
                    && self.probe_cold(scope).await.is_err();
            if self.memory.admits(scope, shown) {
                return Ok(());
            }
            let now = self.runtime.now();
            match self.memory.with_entry(scope, now, |entry| entry.vouched_since(round.due)) {
                Some(true) => {
                    self.memory.refuse(shown, now);
                    return Err(EdgeError::KeyUnknown);
                }
                Some(false) => break,
                None if has_failed && sent_at >= round.due => break,
                None => {}
            }
            round.probes_at_once = false;
            let pause_ms = match round.due.since(now) {
                0 => PAUSE_MS,
                left_ms => left_ms.min(PAUSE_MS),
            };
            self.runtime.sleep(pause_ms).await;
        }
        Err(EdgeError::KeyUnsure)
    }
}
