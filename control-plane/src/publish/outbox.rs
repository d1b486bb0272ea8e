//! Signs and queues an environment's next snapshot inside the transaction of the change that caused it.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::snapshot::sign::{SignError, sign_snapshot};

use super::build::{self, EnvironmentSettings};
use super::keys::SigningKeys;
use crate::store::scopes::EnvironmentRow;
use crate::store::snapshots::FrameRow;
use crate::store::{Connection, StoreError, flags, scopes, snapshots, tokens};

/// Why there is no next snapshot; the change is rolled back with it.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The content is outside the limits of a snapshot.
    #[error("snapshot: {0}")]
    Sign(#[from] SignError),
    /// The environment has gone.
    #[error("environment {scope} does not exist")]
    UnknownEnvironment {
        /// Which.
        scope: Scope,
    },
}

/// Takes the next version and writes its frame.
pub async fn enqueue(
    conn: &mut Connection,
    keys: &SigningKeys,
    scope: &Scope,
    now: UnixMillis,
) -> Result<SnapshotVersion, OutboxError> {
    let environment = scopes::environment(conn, scope)
        .await?
        .ok_or_else(|| OutboxError::UnknownEnvironment { scope: scope.clone() })?;
    let wires = flags::flags(conn, scope).await?.into_iter().map(|row| row.wire).collect();
    let client_keys = tokens::client_key_digests(conn, scope).await?;
    let previous = snapshots::newest(conn, scope).await?.map_or_else(no_digest, |frame| frame.digest);
    let version = scopes::bump_version(conn, scope).await?;
    let content = build::content(wires, client_keys, settings(&environment)?);
    let release = build::release(scope.clone(), version, previous, keys.keyset_version(), now);
    let signed = sign_snapshot(&content, &release, keys.keyset_envelope(), keys.release())?;
    let row = FrameRow { version, digest: signed.digest, frame: signed.frame, created_ms: now };
    snapshots::insert(conn, scope, &row).await?;
    Ok(version)
}

/// An environment's settings from their columns.
pub fn settings(row: &EnvironmentRow) -> Result<EnvironmentSettings, StoreError> {
    let text = serde_json::json!({ "profile": row.profile, "auto_exposure": row.auto_exposure });
    serde_json::from_value(text)
        .map_err(|_| StoreError::Corrupt { column: "environments.profile", found: row.profile.clone() })
}

/// The digest before the first: all zero.
fn no_digest() -> Digest {
    Digest::parse(&"0".repeat(64)).unwrap_or_else(|_| Digest::of(b""))
}
