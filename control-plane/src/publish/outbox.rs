//! Signs and queues an environment's next snapshot inside the transaction of the change that caused it.

use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::PAYLOAD_LEN_MAX;
use flagfuse_shared::snapshot::sign::{SignError, sign_snapshot};

use super::build;
use super::keys::{KeyError, SigningKeys};
use crate::store::forks::ForkRow;
use crate::store::snapshots::{FrameRow, FrameTraits};
use crate::store::{Connection, StoreError, forks, keysets, scopes, snapshots};

/// Why there is no next snapshot; the change is rolled back with it.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The content is outside the limits of a snapshot.
    #[error("snapshot: {0}")]
    Sign(#[from] SignError),
    /// The content fits, but would leave fuses no room to act.
    #[error(
        "snapshot: {len} bytes, the limit is {len_max}: {RESERVE_LEN} bytes stay free so that a full environment can \
         still be switched off"
    )]
    Reserve {
        /// Bytes of the content.
        len: usize,
        /// Bytes allowed.
        len_max: usize,
    },
    /// The keyset in force cannot be signed under.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Replicas hold what this database never signed, so they would refuse whatever it signs now.
    #[error(
        "environment {}/{} was restored from an old copy, or somebody else signs with its keys: {}; it takes no change until its \
         epoch is raised: `flagfuse keys bump-epoch --project {} --environment {} --tenant {} --roots FILE,…`",
        scope.project, scope.environment, held_by(forks), scope.project, scope.environment, scope.tenant
    )]
    Forked {
        scope: Scope,
        /// Who holds what.
        forks: Vec<ForkRow>,
    },
    /// The environment has gone.
    #[error("environment {}/{} does not exist", scope.project, scope.environment)]
    UnknownEnvironment { scope: Scope },
}

fn held_by(forks: &[ForkRow]) -> String {
    let each = forks.iter().map(|fork| format!("replica {}/{} holds {}", fork.region, fork.shard, fork.held));
    each.collect::<Vec<_>>().join(", ")
}

/// Bytes that only fuses and removals may fill: an opening fuse writes into its flag what it withholds, at most some
/// 300 bytes, so that 200 fuses may open in an environment that is full.
const RESERVE_LEN: usize = 64 * 1024;

/// Whether a change may use the reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserve {
    /// It adds content: the reserve stays free.
    Kept,
    /// It switches off, removes or renews: it may not fail for want of room.
    Usable,
}

/// Builds the next version, signs it and queues its frame.
pub async fn enqueue(
    conn: &mut Connection,
    keys: &SigningKeys,
    scope: &Scope,
    reserve: Reserve,
    urgency: Urgency,
    now: UnixMillis,
) -> Result<SnapshotVersion, OutboxError> {
    let environment = scopes::environment_or_deleted(conn, scope)
        .await?
        .ok_or_else(|| OutboxError::UnknownEnvironment { scope: scope.clone() })?;
    let forks = forks::of_environment(conn, scope).await?;
    if !forks.is_empty() {
        return Err(OutboxError::Forked { scope: scope.clone(), forks });
    }
    let signer = keys.in_force(conn).await?;
    if let Some(epoch) = signer.keyset.min_epoch.get(&scope.to_string()) {
        // Made anew after a restore, or restored itself: below this epoch no replica takes anything.
        keysets::raise_epoch(conn, scope, *epoch).await?;
    }
    let settings = environment.settings;
    let content = build::content(conn, scope, settings).await?;
    let keyset_version = signer.keyset.keyset_version;
    let release = build::release(conn, scope, keyset_version, now).await?;
    let version = release.version;
    let signed = sign_snapshot(&content, &release, &signer.envelope, &signer.release)?;
    // The manifest's few hundred bytes are counted too.
    let len = signed.frame.len().saturating_sub(signer.envelope.len());
    let len_max = PAYLOAD_LEN_MAX.saturating_sub(RESERVE_LEN);
    if reserve == Reserve::Kept && len > len_max {
        return Err(OutboxError::Reserve { len, len_max });
    }
    let row = FrameRow { version, digest: signed.digest, frame: signed.frame, created_ms: now };
    let traits = FrameTraits { urgency, stale_ms: settings.profile.bounds_ms().1 };
    snapshots::insert(conn, scope, &row, traits).await?;
    keysets::note_publication(conn, keyset_version, scope, version).await?;
    Ok(version)
}
