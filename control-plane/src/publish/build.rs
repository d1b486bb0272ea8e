//! Rows → what an environment's next snapshot says, and what its manifest announces. Never signs or queues anything.

use std::sync::Arc;

use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::snapshot::payload::{Content, Definitions};
use flagfuse_shared::snapshot::sign::Release;

use crate::model::settings::EnvironmentSettings;
use crate::store::{Connection, StoreError, flags, parts, scopes, snapshots, tokens};

/// Validity of a snapshot for a verifier that holds none; the daily republication renews it.
pub const VALIDITY_MS: u64 = 30 * 24 * 3_600_000;

/// The content of an environment as its rows are now, of which `defined` has flags and what they share when the transaction
/// has just read them: nobody reads thousands of rows twice.
pub async fn content(
    conn: &mut Connection,
    scope: &Scope,
    settings: EnvironmentSettings,
    defined: Option<Definitions<Arc<FlagWire>>>,
) -> Result<Content<Arc<FlagWire>>, StoreError> {
    let Definitions { flags, shared } = match defined {
        Some(defined) => defined,
        None => Definitions {
            flags: flags::flags(conn, scope).await?.into_iter().map(|row| Arc::new(row.wire)).collect(),
            shared: parts::environment_parts(conn, scope).await?,
        },
    };
    Ok(Content {
        flags,
        shared,
        client_keys: tokens::client_key_digests(conn, scope).await?.into_iter().collect(),
        profile: settings.profile,
        auto_exposure: settings.auto_exposure,
    })
}

/// What the manifest says beside the content. Takes the environment's next version, and names the frame before it.
pub async fn release(
    conn: &mut Connection,
    scope: &Scope,
    keyset_version: u64,
    now: UnixMillis,
) -> Result<Release, StoreError> {
    let previous = snapshots::newest_signed(conn, scope).await?;
    Ok(Release {
        scope: scope.clone(),
        version: scopes::bump_version(conn, scope).await?,
        prev_sha256: previous.map_or_else(no_digest, |frame| frame.held.digest),
        created_ms: now,
        expires_ms: now.plus(VALIDITY_MS),
        keyset_version,
    })
}

/// The digest before the first: all zero.
fn no_digest() -> Digest {
    Digest::parse(&"0".repeat(64)).unwrap_or_else(|_| Digest::of(b""))
}
