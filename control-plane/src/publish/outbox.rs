//! Signs and queues an environment's next snapshot inside the transaction of the change that caused it.

use std::collections::BTreeMap;
use std::sync::Arc;

use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::PAYLOAD_LEN_MAX;
use flagfuse_shared::snapshot::payload::{Definitions, definitions};
use flagfuse_shared::snapshot::sign::{SignError, sign_for_reader};

use super::edges::{self, EdgeTooOld, Firmness, Fitted, fit};
use super::keys::KeyError;
use super::{Publisher, build};
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
    /// An edge that is connected, or was a few minutes ago, could not read it.
    #[error(transparent)]
    EdgeTooOld(#[from] EdgeTooOld),
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

/// How a version is published.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    pub reserve: Reserve,
    pub urgency: Urgency,
}

/// Builds the next version, signs it and queues its frame. `defined` is what the rows define, where the transaction has read
/// them since it wrote the last one.
pub async fn enqueue(
    conn: &mut Connection,
    publisher: &Publisher,
    scope: &Scope,
    Manner { reserve, urgency }: Manner,
    defined: Option<Definitions<Arc<FlagWire>>>,
    now: UnixMillis,
) -> Result<SnapshotVersion, OutboxError> {
    let environment = scopes::environment_or_deleted(conn, scope)
        .await?
        .ok_or_else(|| OutboxError::UnknownEnvironment { scope: scope.clone() })?;
    let forks = forks::of_environment(conn, scope).await?;
    if !forks.is_empty() {
        return Err(OutboxError::Forked { scope: scope.clone(), forks });
    }
    let signer = publisher.keys().in_force(conn).await?;
    if let Some(epoch) = signer.keyset.min_epoch.get(&scope.to_string()) {
        // Made anew after a restore, or restored itself: below this epoch no replica takes anything.
        keysets::raise_epoch(conn, scope, *epoch).await?;
    }
    let settings = environment.settings;
    let mut content = build::content(conn, scope, settings, defined).await?;
    let firmness = match (urgency, reserve) {
        (Urgency::Urgent, _) => Firmness::Reaches,
        (Urgency::Ordinary, Reserve::Kept) => Firmness::Refused,
        (Urgency::Ordinary, Reserve::Usable) => Firmness::Lowered,
    };
    let mut fitted = Fitted { reader_min: publisher.features().reader_needed(&content), lowered_to: None };
    let oldest = edges::oldest(edges::lately(conn, &scope.tenant, now).await?);
    if let Some(edge) = oldest.filter(|edge| edge.reader < fitted.reader_min) {
        let before = published(conn, scope).await?;
        fitted = fit(publisher.features(), &mut content, &before, edge, firmness)?;
    }
    let keyset_version = signer.keyset.keyset_version;
    let release = build::release(conn, scope, keyset_version, now).await?;
    let version = release.version;
    let reader_min = fitted.reader_min;
    let signed = sign_for_reader(&content, &release, reader_min, &signer.envelope, &signer.release)?;
    // The manifest's few hundred bytes are counted too.
    let len = signed.frame.len().saturating_sub(signer.envelope.len());
    let len_max = PAYLOAD_LEN_MAX.saturating_sub(RESERVE_LEN);
    if reserve == Reserve::Kept && len > len_max {
        return Err(OutboxError::Reserve { len, len_max });
    }
    let row = FrameRow { version, digest: signed.digest, frame: signed.frame, created_ms: now };
    let traits = FrameTraits { urgency, stale_ms: settings.profile.bounds_ms().1 };
    snapshots::insert(conn, scope, &row, traits).await?;
    if fitted.lowered_to != environment.lowered_to {
        scopes::set_lowered(conn, scope, fitted.lowered_to).await?;
    }
    keysets::note_publication(conn, keyset_version, scope, version).await?;
    Ok(version)
}

/// The flags of the newest frame. One that cannot be read has none: then everything is new.
async fn published(conn: &mut Connection, scope: &Scope) -> Result<BTreeMap<String, FlagWire>, StoreError> {
    let newest = snapshots::newest(conn, scope).await?;
    let flags = newest.and_then(|row| definitions(&row.frame).ok()).map(|found| found.flags);
    Ok(flags.unwrap_or_default().into_iter().map(|flag| (flag.key.clone(), flag)).collect())
}
