//! Writes receipts of all replicas, many in one transaction. Never sends anything: a slow disk holds up no publication.

use std::collections::BTreeMap;
use std::time::Duration;

use flagfuse_shared::ids::{Scope, TenantKey, UnixMillis};
use flagfuse_shared::snapshot::RefusalCode;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::measured::{Measured, known};
use super::pusher::Receipt;
use crate::model::fleet::Fleet;
use crate::store::edge_readers::ReaderRow;
use crate::store::receipts::{NackRow, ReplicaName, Told, record_held, record_nack};
use crate::store::{Lock, Store, StoreError, edge_readers, forks};

/// Receipts written in one transaction.
const BATCH_COUNT: usize = 512;
/// Receipts that may wait; whoever brings more waits with them.
pub const WAITING_COUNT_MAX: usize = 4_096;
/// Pause after a database that did not take them.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Bytes kept of what a replica gives as its code and its reason.
const CODE_LEN_MAX: usize = 64;
const DETAIL_LEN_MAX: usize = 1_024;

/// A receipt, who gave it and when it arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Whose replica.
    pub tenant: TenantKey,
    pub replica: ReplicaName,
    /// What it said.
    pub receipt: Receipt,
    pub at: UnixMillis,
}

/// Writes until nobody can bring anything any more.
pub async fn run(store: Store, fleet: Fleet, mut inbox: mpsc::Receiver<Arrived>) {
    let mut measured = Measured::default();
    let mut batch = Vec::with_capacity(BATCH_COUNT);
    while inbox.recv_many(&mut batch, BATCH_COUNT).await > 0 {
        let mut is_logged = false;
        // A pusher says what changed and says it once, so nothing may be lost here.
        while let Err(error) = write(&store, &batch).await {
            if !is_logged {
                tracing::error!(%error, count = batch.len(), "receipts could not be written, trying on");
                is_logged = true;
            }
            sleep(RETRY_PAUSE).await;
        }
        for arrived in &batch {
            if let Some((code, _)) = fault(&arrived.receipt) {
                store.meters().refused(&arrived.replica.region, known(&code));
            }
        }
        measured.look(&store, &fleet, stored(&batch)).await;
        batch.clear();
    }
}

/// The environments of which replicas have just stored a version. One that has just connected names what it stored some time ago.
fn stored(batch: &[Arrived]) -> BTreeMap<Scope, UnixMillis> {
    let stored = batch.iter().filter_map(|arrived| match &arrived.receipt {
        Receipt::Held { scope, stored_ms: Some(_), .. } => Some((Scope::parse(scope).ok()?, arrived.at)),
        _ => None,
    });
    stored.collect()
}

async fn write(store: &Store, batch: &[Arrived]) -> Result<(), StoreError> {
    let scopes: Vec<Scope> = batch.iter().filter_map(|arrived| scope_of(&arrived.receipt)).collect();
    // Whether a replica went another way is told by what was signed last.
    let mut tx = store.write(Lock::Environments(&scopes)).await?;
    for Arrived { tenant, replica, receipt, at } in batch {
        match receipt {
            Receipt::Held { scope, held, keyset_version, stored_ms } => {
                let Ok(scope) = Scope::parse(scope) else { continue };
                let told = match (*keyset_version, *stored_ms) {
                    (Some(keyset_version), Some(stored_ms)) => Told::Ack { keyset_version, stored_ms },
                    (_, _) => Told::Hello,
                };
                record_held(&mut tx, &scope, replica, *held, told, *at).await?;
                forks::observe(&mut tx, &scope, (&replica.region, replica.shard), *held, *at).await?;
            }
            Receipt::Refused { scope, code, detail } => {
                let Ok(scope) = Scope::parse(scope) else { continue };
                let nack = NackRow {
                    code: cut(code, CODE_LEN_MAX),
                    detail: cut(detail, DETAIL_LEN_MAX),
                    at_ms: *at,
                };
                record_nack(&mut tx, &scope, replica, &nack).await?;
            }
            Receipt::Forked { scope, held, .. } => {
                let Ok(scope) = Scope::parse(scope) else { continue };
                forks::observe(&mut tx, &scope, (&replica.region, replica.shard), *held, *at).await?;
                let (code, detail) = fault(receipt).unwrap_or_default();
                record_nack(&mut tx, &scope, replica, &NackRow { code, detail, at_ms: *at }).await?;
            }
            Receipt::Reader { reader, formats } => {
                let (replica, formats) = (replica.clone(), formats.clone());
                let row = ReaderRow { replica, reader: *reader, formats, seen_ms: *at };
                edge_readers::note(&mut tx, tenant, &row).await?;
            }
            // Nobody's environment; the log has it.
            Receipt::BeatRefused { .. } => {}
        }
    }
    tx.commit().await
}

/// The environment that a receipt is about.
fn scope_of(receipt: &Receipt) -> Option<Scope> {
    match receipt {
        Receipt::Held { scope, .. } | Receipt::Refused { scope, .. } | Receipt::Forked { scope, .. } => {
            Scope::parse(scope).ok()
        }
        Receipt::BeatRefused { .. } | Receipt::Reader { .. } => None,
    }
}

/// Code and sentence of a receipt that tells of a fault.
pub fn fault(receipt: &Receipt) -> Option<(String, String)> {
    let (held, wanted) = match receipt {
        Receipt::Held { .. } | Receipt::Reader { .. } => return None,
        Receipt::Refused { code, detail, .. } | Receipt::BeatRefused { code, detail } => {
            return Some((cut(code, CODE_LEN_MAX), cut(detail, DETAIL_LEN_MAX)));
        }
        Receipt::Forked { held, wanted, .. } => (held, wanted),
    };
    let version = held.version();
    let (code, what, last) = match wanted {
        Some(wanted) if wanted.version() == version => (
            RefusalCode::Equivocation,
            "the same version with other content",
            format!("signed {version} last"),
        ),
        Some(wanted) => {
            (RefusalCode::Rollback, "a later version", format!("signed {} last", wanted.version()))
        }
        None => (RefusalCode::Rollback, "an environment", "knows none of that name".to_owned()),
    };
    let detail = format!(
        "the replica holds {version}, {what} than this database, which {last}: it was restored from an old copy, or \
         another control plane signs with its keys; the replica keeps what it has and takes nothing until this \
         environment's version is above the held one",
    );
    Some((code.as_str().to_owned(), detail))
}

fn cut(text: &str, len_max: usize) -> String {
    text.get(..text.floor_char_boundary(len_max)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use flagfuse_shared::contract::replica::HeldVersion;
    use flagfuse_shared::digest::Digest;

    use super::*;

    #[test]
    fn a_fork_is_told_by_what_the_replica_has_and_the_database_has_not() {
        let held = |seq| HeldVersion { epoch: 1, seq, digest: Digest::of(b"x") };
        for (wanted, code, words) in [
            (Some(held(7)), "E_EQUIV", "holds 1.7, the same version with other content"),
            (Some(held(6)), "E_ROLLBACK", "a later version than this database, which signed 1.6 last"),
            (None, "E_ROLLBACK", "which knows none of that name"),
        ] {
            let receipt = Receipt::Forked { scope: "t/p/e".to_owned(), held: held(7), wanted };
            let (found, detail) = fault(&receipt).unwrap();
            assert_eq!(found, code);
            assert!(detail.contains(words), "{detail}");
        }
    }

    #[test]
    fn what_a_replica_says_of_itself_is_kept_up_to_a_limit() {
        let refused = |code: String, detail: String| {
            fault(&Receipt::Refused { scope: "t/p/e".to_owned(), code, detail }).unwrap()
        };
        let (code, detail) = ("C".repeat(CODE_LEN_MAX), "d".repeat(DETAIL_LEN_MAX));
        let whole = refused(code.clone(), detail.clone());
        assert_eq!(whole, (code.clone(), detail.clone()));
        assert_eq!(refused(format!("{code}C"), format!("{detail}d")), whole);
        // Never within a character.
        assert_eq!(refused("é".repeat(40), String::new()).0.len(), CODE_LEN_MAX);
        assert_eq!(refused(format!("x{}", "é".repeat(40)), String::new()).0.len(), CODE_LEN_MAX - 1);
    }
}
