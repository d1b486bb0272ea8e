//! What the database knows of deliveries before they are applied: how far their batches have got, and which usage was counted.

use std::collections::BTreeSet;

use flagfuse_shared::ids::TenantKey;

use super::delivery::Delivery;
use super::group::State;
use super::resolve::What;
use super::usage::day;
use crate::store::batches::{self, Progress};
use crate::store::event_ids::{self, EventId};
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

/// Ids of usage that was counted before.
pub(super) async fn usage(
    store: &Store,
    partition_id: i64,
    deliveries: &[Delivery],
) -> Result<BTreeSet<EventId>, StoreError> {
    let events = deliveries.iter().flat_map(|delivery| &delivery.events);
    let reports = events.filter_map(|event| match &event.what {
        What::Usage(usage) => Some((day(usage.at_ms), usage.id)),
        _ => None,
    });
    let ids: Vec<(u64, EventId)> = reports.collect();
    if ids.is_empty() {
        return Ok(BTreeSet::new());
    }
    event_ids::known(&mut *store.read().await?, partition_id, &ids).await
}
