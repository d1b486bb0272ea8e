//! Brings waiting keysets into force, one step at a time. Every step is a transaction that may be repeated or be the last
//! one before a crash; where it stands is read from the database anew each time. Never sees a root key.

use std::sync::Arc;

use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::ids::{Scope, UnixMillis};

use super::error::KeyError;
use super::ring::SigningKeys;
use crate::model::ceremony::{Gate, SignedStep};
use crate::store::keysets::{self, KeysetRow, Laggard};
use crate::store::{Connection, Lock, Store, forks};

/// What the next step is, or what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing waits and everything is published under the keyset in force.
    Done,
    /// These environments have no version under the keyset in force.
    Publish {
        /// The keyset in force.
        keyset_version: u64,
        /// Which environments; those that take no change are left out.
        scopes: Vec<Scope>,
        /// A keyset whose turn came at once, as after a theft, waits for no stage of regions either.
        urgency: Urgency,
    },
    /// This keyset's turn has come.
    PutInForce(SignedStep),
    /// Replicas have not confirmed the keyset in force yet.
    Wait(Vec<Laggard>),
    /// An environment takes no change, so its replicas cannot be told.
    Forked(Vec<Scope>),
    /// This process is not the one to go on: it pushes to nobody, while replicas are known.
    NotOurs,
}

/// Makes database and directory agree on the keyset in force: the newer one counts. A database from an old copy thereby
/// learns what replicas know already. Where both have the same number, it has to be the same keyset.
pub async fn adopt(store: &Store, keys: &SigningKeys, now: UnixMillis) -> Result<(), KeyError> {
    let on_disk = keys.current();
    let version = on_disk.keyset.keyset_version;
    let (in_database, newer) = {
        let mut view = store.read().await?;
        let in_database = keysets::in_force_version(&mut view).await?;
        let newer = match in_database.filter(|found| *found > version) {
            Some(newer) => keysets::envelope(&mut view, newer).await?,
            None => None,
        };
        (in_database, newer)
    };
    if let Some(envelope) = newer {
        keys.take(envelope.clone())?;
        keys.folder().write_keyset(&envelope)?;
    } else if in_database == Some(version) {
        let known = keysets::envelope(&mut *store.read().await?, version).await?;
        if known.is_some_and(|known| known != on_disk.envelope) {
            let path = keys.folder().dir().to_owned();
            return Err(KeyError::OtherKeys { path, keyset_version: version });
        }
    } else {
        let mut tx = store.write(Lock::Keys).await?;
        // What waited there was signed before the keyset on disk, so its turn is over.
        keysets::drop_waiting(&mut tx).await?;
        let step =
            SignedStep { keyset_version: version, envelope: on_disk.envelope.clone(), gate: Gate::AtOnce };
        let row = KeysetRow { step, created_ms: now, in_force_ms: Some(now) };
        if keysets::envelope(&mut tx, version).await?.is_none() {
            keysets::insert(&mut tx, &row).await?;
        }
        tx.commit().await?;
    }
    keys.current().require_signers(keys.folder().dir())
}

/// Reads where things stand. `replicas` are the names that receipts bear of those this process pushes to.
pub async fn next(conn: &mut Connection, keys: &SigningKeys, replicas: &[String]) -> Result<Next, KeyError> {
    let mut rows = keysets::chain(conn).await?.into_iter();
    let Some(base) = rows.next() else { return Ok(Next::Done) };
    let version = base.step.keyset_version;
    let waiting = rows.next();
    if let Some(row) = &waiting
        && row.step.gate == Gate::AtOnce
    {
        return Ok(Next::PutInForce(row.step.clone()));
    }
    let (mut forked, mut behind) = (Vec::new(), Vec::new());
    for scope in keysets::unpublished(conn, version).await? {
        let list =
            if forks::of_environment(conn, &scope).await?.is_empty() { &mut behind } else { &mut forked };
        list.push(scope);
    }
    if !behind.is_empty() {
        let urgency = match base.step.gate {
            Gate::AtOnce => Urgency::Urgent,
            Gate::AfterAck => Urgency::Ordinary,
        };
        return Ok(Next::Publish { keyset_version: version, scopes: behind, urgency });
    }
    let Some(row) = waiting else { return Ok(Next::Done) };
    if !forked.is_empty() {
        return Ok(Next::Forked(forked));
    }
    if replicas.is_empty() && keysets::has_receipts(conn).await? {
        return Ok(Next::NotOurs);
    }
    let laggards = keysets::laggards(conn, version, replicas).await?;
    if !laggards.is_empty() {
        return Ok(Next::Wait(laggards));
    }
    keys.with(row.step.envelope.clone())?.require_signers(keys.folder().dir())?;
    Ok(Next::PutInForce(row.step))
}

/// Puts a keyset in force; `false` when another process was first. With it come the epochs it demands.
pub async fn put_in_force(
    store: &Store,
    keys: &Arc<SigningKeys>,
    step: &SignedStep,
    now: UnixMillis,
) -> Result<bool, KeyError> {
    // Before the commit: from then on nothing can be published without these keys.
    reload(keys).await?;
    let next = keys.with(step.envelope.clone())?;
    next.require_signers(keys.folder().dir())?;
    let mut tx = store.write(Lock::Keys).await?;
    if !keysets::put_in_force(&mut tx, step.keyset_version, now).await? {
        return Ok(false);
    }
    for (scope, epoch) in &next.keyset.min_epoch {
        if let Ok(scope) = Scope::parse(scope) {
            keysets::raise_epoch(&mut tx, &scope, *epoch).await?;
            forks::clear_below(&mut tx, &scope, *epoch).await?;
        }
    }
    tx.commit().await?;
    keys.take(step.envelope.clone())?;
    // A crash before this line leaves the old file; the next start finds the newer keyset in the database.
    keys.folder().write_keyset(&step.envelope)?;
    tracing::info!(keyset_version = step.keyset_version, "keyset is in force");
    Ok(true)
}

/// Opens new key files in a thread of its own: each takes a fraction of a second of computing.
pub async fn reload(keys: &Arc<SigningKeys>) -> Result<(), KeyError> {
    let keys = Arc::clone(keys);
    // Fails only when the runtime shuts down; then nothing follows either.
    tokio::task::spawn_blocking(move || keys.reload()).await.unwrap_or(Ok(()))
}
