//! What the database knows of deliveries before they are applied: how far their batches have got, which of what adds up was
//! counted, and what of a replay still waits.

use flagfuse_cells::Ledger;
use flagfuse_shared::ids::{Scope, TenantKey};

use super::commit::place_of;
use super::delivery::Delivery;
use super::group::{Before, State};
use super::resolve::What;
use super::usage::day;
use crate::store::batches::{self, Progress};
use crate::store::event_ids::{self, EventId};
use crate::store::quarantine_groups::still_waiting;
use crate::store::{Store, StoreError};

/// How far a batch has got; `None` of one that is new.
pub(super) async fn progress(
    store: &Store,
    tenant: &TenantKey,
    state: &mut State,
    delivery: &Delivery,
) -> Result<Option<Progress>, StoreError> {
    if delivery.is_word_only {
        return Ok(None);
    }
    let (buffer_id, batch_seq) = delivery.name();
    if !state.newest_batch.contains_key(buffer_id) {
        let newest = batches::newest(&mut *store.read().await?, tenant, buffer_id).await?;
        state.remember_newest(buffer_id, newest);
    }
    // Batches are numbered from 0 or 1 on: a buffer that has none is before both.
    let is_new = state
        .newest_batch
        .get(buffer_id)
        .is_some_and(|newest| newest.is_none_or(|newest| batch_seq > newest));
    if is_new {
        return Ok(None);
    }
    batches::progress(&mut *store.read().await?, tenant, delivery.name()).await
}

/// What deliveries hold that was counted before, or not. Nobody else counts events of the partition, so it holds until they
/// are applied.
pub(super) async fn before(
    store: &Store,
    scope: &Scope,
    (partition_id, ledger): (i64, &Ledger),
    deliveries: &[Delivery],
) -> Result<Before, StoreError> {
    let events = deliveries.iter().flat_map(|delivery| &delivery.events);
    let reports = events.filter_map(|event| match &event.what {
        What::Usage(usage) => Some((day(usage.at_ms), usage.id)),
        What::Outcome(outcome) if ledger.adds_up(ledger.name_no(outcome.metric.as_str())) => {
            Some((day(outcome.at_ms), outcome.event_id()))
        }
        _ => None,
    });
    let ids: Vec<(u64, EventId)> = reports.collect();
    let replays = deliveries.iter().flat_map(|delivery| &delivery.replays);
    let replays: Vec<i64> = replays.map(|(quarantine_id, _)| *quarantine_id).collect();
    if ids.is_empty() && replays.is_empty() {
        return Ok(Before::default());
    }
    let mut conn = store.read().await?;
    Ok(Before {
        added: event_ids::known(&mut conn, partition_id, &ids).await?,
        waiting: still_waiting(&mut conn, place_of(scope), &replays).await?,
    })
}
