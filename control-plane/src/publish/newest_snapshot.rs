//! The newest signed frame of an environment, opened as an edge opens it. Never trusts its own database.

use std::sync::{Arc, Mutex, PoisonError};

use flagfuse_inspect::explain::{Opened, open};
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::snapshot::verify::TrustError;
use flagfuse_shared::snapshot::{Refusal, TrustedRoots};

use super::keys::SigningKeys;
use crate::store::{Connection, StoreError, snapshots};

/// Why there is nothing to ask.
#[derive(Debug, thiserror::Error)]
pub enum NewestSnapshotError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No frame yet.
    #[error("nothing was published yet in environment {}/{}", scope.project, scope.environment)]
    Nothing { scope: Scope },
    /// An edge would refuse it too.
    #[error("the newest snapshot is refused: {0}")]
    Refused(Refusal),
    /// The keyset names roots that nobody can trust.
    #[error(transparent)]
    Roots(#[from] TrustError),
}

/// The newest frame of an environment, not looked into yet.
#[derive(Debug, PartialEq)]
pub struct Sealed {
    frame: Vec<u8>,
    roots: TrustedRoots,
    scope: Scope,
}

impl Sealed {
    /// Verifies it under the root keys that edges are given. Takes milliseconds where there are thousands of flags.
    pub fn open(&self, now: UnixMillis) -> Result<Opened, NewestSnapshotError> {
        open(&self.frame, &self.roots, &self.scope, now).map_err(NewestSnapshotError::Refused)
    }
}

/// Frames that stay open: one is some 10 MiB at most, and several times that when it is open.
const KEPT_COUNT_MAX: usize = 4;
/// How long a frame stays open. Expiry, which alone depends on the time, is looked at so often.
const KEPT_MS: u64 = 60_000;

/// A frame that was opened lately.
#[derive(Debug)]
struct Kept {
    sealed: Sealed,
    opened: Arc<Opened>,
    opened_ms: UnixMillis,
}

impl Kept {
    fn is_fresh(&self, now: UnixMillis) -> bool {
        (self.opened_ms..self.opened_ms.plus(KEPT_MS)).contains(&now)
    }
}

/// Frames that were opened lately, for those who ask about the same one again: opening thousands of flags takes far longer
/// than answers of a thousand askers.
#[derive(Debug, Default)]
pub struct OpenFrames {
    /// The one that was opened last comes last.
    kept: Mutex<Vec<Kept>>,
}

impl OpenFrames {
    /// The same as [`Sealed::open`], which is done only where the frame, byte for byte, was not opened in the last minute.
    pub fn open(&self, sealed: Sealed, now: UnixMillis) -> Result<Arc<Opened>, NewestSnapshotError> {
        if let Some(opened) = self.known(&sealed, now) {
            return Ok(opened);
        }
        // Nobody waits for it who asks about another environment.
        let opened = Arc::new(sealed.open(now)?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| one.is_fresh(now) && one.sealed.scope != sealed.scope);
        if kept.len() >= KEPT_COUNT_MAX {
            kept.remove(0);
        }
        kept.push(Kept { sealed, opened: Arc::clone(&opened), opened_ms: now });
        Ok(opened)
    }

    fn known(&self, sealed: &Sealed, now: UnixMillis) -> Option<Arc<Opened>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().find(|one| one.is_fresh(now) && one.sealed == *sealed)?;
        Some(Arc::clone(&known.opened))
    }
}

/// Reads the newest frame.
pub async fn sealed(
    conn: &mut Connection,
    keys: &SigningKeys,
    scope: &Scope,
) -> Result<Sealed, NewestSnapshotError> {
    let frame = snapshots::newest(conn, scope).await?;
    let frame = frame.ok_or_else(|| NewestSnapshotError::Nothing { scope: scope.clone() })?;
    Ok(Sealed { frame: frame.frame, roots: keys.trusted_roots()?, scope: scope.clone() })
}

/// Reads and verifies the newest frame.
pub async fn opened(
    conn: &mut Connection,
    keys: &SigningKeys,
    scope: &Scope,
    now: UnixMillis,
) -> Result<Opened, NewestSnapshotError> {
    sealed(conn, keys, scope).await?.open(now)
}
