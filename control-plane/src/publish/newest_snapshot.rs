//! The newest signed frame of an environment, opened as an edge opens it. Never trusts its own database.

use flagfuse_inspect::explain::{Opened, open};
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::snapshot::Refusal;
use flagfuse_shared::snapshot::verify::TrustError;

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

/// Reads and verifies the newest frame under the root keys that edges are given.
pub async fn opened(
    conn: &mut Connection,
    keys: &SigningKeys,
    scope: &Scope,
    now: UnixMillis,
) -> Result<Opened, NewestSnapshotError> {
    let frame = snapshots::newest(conn, scope).await?;
    let frame = frame.ok_or_else(|| NewestSnapshotError::Nothing { scope: scope.clone() })?;
    let roots = keys.trusted_roots()?;
    open(&frame.frame, &roots, scope, now).map_err(NewestSnapshotError::Refused)
}
