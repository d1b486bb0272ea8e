//! Events that claim a place that does not exist: kept where somebody who looks for them finds them.

use flagfuse_shared::contract::beacon::IngestBatch;
use flagfuse_shared::contract::fault::{EventFault, QuarantineCode};
use flagfuse_shared::ids::{TenantKey, UnixMillis};

use super::delivery::Ingested;
use super::error::IngestError;
use super::resolve::recorded;
use crate::store::batches::AppliedBatch;
use crate::store::quarantine::{Balance, ClaimedPlace, Origin, Refused, add_balance, insert_all};
use crate::store::{Lock, Store, batches};

/// Events that are written in one transaction.
const SLICE_COUNT: usize = 500;

/// Puts all events of a batch into the quarantine of the place that they claim, once.
pub(super) async fn keep(
    store: &Store,
    tenant: &TenantKey,
    batch: &IngestBatch<'_>,
    now: UnixMillis,
) -> Result<Ingested, IngestError> {
    let head = &batch.head;
    let place =
        ClaimedPlace { tenant: tenant.as_str(), project: &head.project, environment: &head.environment };
    let reason = format!("environment {}/{} does not exist", head.project, head.environment);
    let fault = EventFault::of(QuarantineCode::UnknownEnvironment, reason);
    let arrivals: Vec<_> = batch.arrivals().collect();
    let mut balance = Balance::default();
    loop {
        let mut tx = store.write_patiently(Lock::Ingestion(place)).await?;
        let progress = batches::progress(&mut tx, tenant, (&head.buffer_id, head.batch_seq)).await?;
        let position =
            progress.map_or(0, |progress| usize::try_from(progress.position).unwrap_or(usize::MAX));
        let rest = arrivals.get(position..).unwrap_or_default();
        if rest.is_empty() && (progress.is_some() || batch.is_word_only()) {
            let is_now = balance.received > 0 || batch.is_word_only();
            return Ok(if is_now { Ingested::Applied { balance } } else { Ingested::Duplicate });
        }
        let slice = rest.get(..SLICE_COUNT.min(rest.len())).unwrap_or_default();
        let refused: Vec<_> = slice
            .iter()
            .enumerate()
            .map(|(at, arrival)| Refused {
                fault: fault.clone(),
                raw: recorded(head, position + at, arrival),
                flag: "",
                sdk: arrival.sdk.unwrap_or_default(),
                origin: Origin::of(arrival),
            })
            .collect();
        let count = slice.len() as u64;
        let counts = Balance { received: count, stored: 0, duplicate: 0, quarantined: count };
        insert_all(&mut tx, place, &refused, now).await?;
        if count > 0 {
            add_balance(&mut tx, place, counts, now).await?;
        }
        let applied = AppliedBatch {
            buffer_id: &head.buffer_id,
            batch_seq: head.batch_seq,
            events: arrivals.len() as u64,
            position: (position + slice.len()) as u64,
        };
        batches::put_all(&mut tx, tenant, &[applied], now).await?;
        tx.commit().await?;
        balance.add(counts);
        if position + slice.len() >= arrivals.len() {
            return Ok(Ingested::Applied { balance });
        }
    }
}
