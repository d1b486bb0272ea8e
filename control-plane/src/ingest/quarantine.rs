//! Where unusable events go: kept with their reason, never dropped, never in the way of the next one.

use flagfuse_shared::contract::beacon::{IngestBatch, QuarantineCode};
use flagfuse_shared::ids::UnixMillis;

use crate::store::quarantine::{Balance, ClaimedPlace, insert};
use crate::store::{Connection, StoreError};

/// Keeps every event of a batch, when the place it names does not exist.
pub async fn whole_batch(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    batch: &IngestBatch,
    code: QuarantineCode,
    now: UnixMillis,
) -> Result<Balance, StoreError> {
    for event in &batch.events {
        insert(conn, place, code, event.raw.get(), now).await?;
    }
    let count = batch.events.len() as u64;
    Ok(Balance { received: count, stored: 0, duplicate: 0, quarantined: count })
}
