//! Writes a group in one transaction: fence, log, what closed, and everything beside it. It is committed, or nothing of it is.

use flagfuse_cells::{Closed, log};
use flagfuse_shared::ids::{Scope, TenantKey};
use serde_json::json;

use super::checkpoint::{Bit, Written};
use super::error::IngestError;
use super::group::Group;
use super::message::Erase;
use crate::clock::monotonic;
use crate::store::audit::{self, AuditPlace, NewAudit};
use crate::store::partitions::{self, Held};
use crate::store::quarantine::{ClaimedPlace, add_balance, insert_all};
use crate::store::quarantine_groups::mark_replayed;
use crate::store::{
    Connection, Lock, Store, StoreError, asked, batches, buffers, closing, erasures, event_ids, metrics_seen,
    misses, phase_counters, phase_rules, plain_exposures, slo_sums, telemetry_log, usage,
};

/// The word of an erasure in the audit trail.
const ERASE: &str = "unit.erase";

/// Where it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Into<'i> {
    pub(super) store: &'i Store,
    pub(super) scope: &'i Scope,
    pub(super) held: &'i Held,
}

/// What a commit came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Committed {
    /// How much the log has grown by, in bytes.
    pub(super) bytes: u64,
    /// What else it wrote.
    pub(super) written: Option<Written>,
}

/// Commits a group, with what it closes and a bit of a checkpoint.
pub(super) async fn commit(
    into: Into<'_>,
    group: &Group<'_>,
    closed: Option<&Closed>,
    bit: Option<Bit<'_>>,
) -> Result<Committed, IngestError> {
    let row = log::encode(group.known_ms.0, &group.facts);
    let began = monotonic();
    let (mut again, mut written) = (false, None);
    loop {
        match attempt(into, group, closed, &row, bit.as_ref(), &mut written, again).await {
            Err(IngestError::Store(error)) if error.is_passing() && !again => {
                tracing::warn!(%error, "events could not be written, and are written once more");
                again = true;
            }
            Err(error) => return Err(error),
            Ok(()) => {
                into.store.meters().ingested(began.elapsed());
                return Ok(Committed { bytes: row.len() as u64, written });
            }
        }
    }
}

async fn attempt(
    Into { store, scope, held }: Into<'_>,
    group: &Group<'_>,
    closed: Option<&Closed>,
    row: &[u8],
    bit: Option<&Bit<'_>>,
    written: &mut Option<Written>,
    again: bool,
) -> Result<(), IngestError> {
    let mut tx = store.write_patiently(Lock::Partition(scope)).await?;
    if again && partitions::log_seq(&mut tx, held).await? == Some(held.log_seq + 1) {
        // The answer to the commit was lost, and not the commit.
        return Ok(());
    }
    if !partitions::advance(&mut tx, held, closed.map(|closed| closed.tick)).await? {
        return Err(IngestError::overtaken());
    }
    telemetry_log::append(&mut tx, held.partition_id, held.log_seq + 1, group.known_ms, row).await?;
    phase_rules::put(&mut tx, held.partition_id, &group.rules).await?;
    if let Some(closed) = closed {
        closing::write(&mut tx, held.partition_id, closed).await?;
    }
    beside(&mut tx, scope, held.partition_id, group).await?;
    miss(&mut tx, held.partition_id, group, closed).await?;
    if let Some(bit) = bit {
        *written = Some(bit.write(&mut tx, held.partition_id, group.known_ms).await?);
    }
    tx.commit().await?;
    Ok(())
}

/// Everything but the log and what closed.
async fn beside(
    tx: &mut Connection,
    scope: &Scope,
    partition_id: i64,
    group: &Group<'_>,
) -> Result<(), StoreError> {
    let now = group.known_ms;
    let tenant: &TenantKey = &scope.tenant;
    let place = place_of(scope);
    batches::put_all(tx, tenant, &group.batches, now).await?;
    let news: Vec<_> = group.buffers.values().copied().collect();
    buffers::put_all(tx, scope, &news, now).await?;
    insert_all(tx, place, &group.refused, now).await?;
    if group.balance.received > 0 {
        add_balance(tx, place, group.balance, now).await?;
    }
    plain_exposures::add(tx, scope, &group.plain).await?;
    usage::add(tx, scope, &group.usage).await?;
    asked::note(tx, scope, &group.asked.flags).await?;
    asked::note_phases(tx, &group.asked.phases).await?;
    let ids: Vec<_> = group.ids.iter().map(|(id, day)| (*day, *id)).collect();
    event_ids::add(tx, partition_id, &ids).await?;
    metrics_seen::add(tx, scope, &group.seen, now).await?;
    slo_sums::add(tx, &group.slo_sums, now).await?;
    for Erase { unit, edge_hash, actor } in &group.erased {
        erasures::ask(tx, partition_id, (unit, edge_hash), now).await?;
        // Who asked and when; never whom it was about.
        let (subject, detail) = (scope.environment.as_str(), json!({}));
        let entry = NewAudit { actor, action: ERASE, subject, detail, flags: &[] };
        audit::insert(tx, AuditPlace::Environment(scope), entry, now).await?;
    }
    let counters: Vec<_> = group.counters.iter().map(|(key, count)| (*key, *count)).collect();
    phase_counters::add(tx, &counters).await?;
    mark_replayed(tx, place, &group.replayed).await
}

/// Units whose exposures were refused or came too late, by the tick with which it becomes known: the one that closes now, or the next one.
async fn miss(
    tx: &mut Connection,
    partition_id: i64,
    group: &Group<'_>,
    closed: Option<&Closed>,
) -> Result<(), StoreError> {
    let missed: Vec<_> = group.missed.iter().map(|(key, count)| (*key, *count)).collect();
    if missed.is_empty() {
        return Ok(());
    }
    let tick = match closed {
        Some(closed) => closed.tick,
        None => misses::next_tick(tx, partition_id).await?,
    };
    misses::add(tx, partition_id, tick, &missed).await
}

/// An environment as a place that events claim to come from.
pub fn place_of(scope: &Scope) -> ClaimedPlace<'_> {
    let (tenant, project) = (scope.tenant.as_str(), scope.project.as_str());
    ClaimedPlace { tenant, project, environment: scope.environment.as_str() }
}
