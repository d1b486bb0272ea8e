//! A batch from the edge → events, facts, tallies, quarantine and balance, slice by slice, each in one transaction and
//! once for ever.
//!
//! A transaction holds the only write lock of the database, and a kill switch waits for it. So a batch is applied in
//! slices of some milliseconds; the batch's row says how far it got, and whoever delivers it again goes on from there.
//! What cannot be applied is narrowed down to one event, tried again on further deliveries, and then kept in the
//! quarantine: no event stands in the way of the next one.

mod application;
pub mod quarantine;
pub mod usage;
pub mod validate;

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use flagfuse_shared::contract::beacon::{Arrival, BatchHead, Event, IngestBatch};
use flagfuse_shared::contract::fault::{EventFault, QuarantineCode};
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, TenantKey, UnixMillis};
use futures_util::FutureExt as _;
use serde::Serialize;

use self::application::Application;
use crate::clock::monotonic;
use crate::model::identity::UnitKey;
use crate::store::quarantine::{Balance, ClaimedPlace, add_balance};
use crate::store::{Connection, Lock, Store, StoreError, batches, buffers, scopes};

/// Bytes of a buffer's id; it has 32 hexadecimal digits.
const BUFFER_ID_LEN_MAX: usize = 64;
/// A slice takes no further event after this time. What is left to do then, the tallies and the commit, may take as long
/// again; a kill switch waits for both.
const SLICE_TIME: Duration = Duration::from_millis(15);
/// Events of a slice, which bounds the rows of tallies that are written at its end.
const SLICE_EVENT_COUNT_MAX: usize = 256;
/// Deliveries in which an event alone could not be applied before it is set aside. A fault of the disk or of another
/// process is over by then, or the event could not be set aside either.
const FAILURE_COUNT_MAX: u32 = 3;

/// Why a batch is refused as a whole; the edge keeps it.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The token belongs to another tenant.
    #[error("batch is for tenant {claimed:?}, the token is for {tenant}")]
    WrongTenant {
        /// Tenant of the batch.
        claimed: String,
        /// Tenant of the token.
        tenant: TenantKey,
    },
    /// The batch has no usable name.
    #[error("buffer_id has {len} bytes, allowed is 1 to {BUFFER_ID_LEN_MAX}")]
    BufferId {
        /// Bytes found.
        len: usize,
    },
    /// A number the database cannot tell from others.
    #[error("batch_seq is {batch_seq}, the limit is {}", i64::MAX)]
    BatchSeq { batch_seq: u64 },
    /// Applying an event panicked: a fault of ours, which must not take the batch's other events along.
    #[error("event {position} of batch {batch_seq} cannot be applied")]
    Panicked {
        /// Position in the batch.
        position: u64,
        /// Number of the batch.
        batch_seq: u64,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Ingested {
    /// It is applied now.
    Applied {
        /// What became of the events that this delivery applied.
        #[serde(flatten)]
        balance: Balance,
    },
    /// It was applied before.
    Duplicate,
}

/// Applies a batch. When this returns `Ok`, everything is on disk.
pub async fn ingest(
    store: &Store,
    unit_key: &UnitKey,
    tenant: &TenantKey,
    batch: &IngestBatch<'_>,
    now: UnixMillis,
) -> Result<Ingested, IngestError> {
    let head = &batch.head;
    check_name(tenant, head)?;
    let arrivals = batch.arrivals().enumerate();
    let events: Vec<_> = arrivals.map(|(position, arrival)| Incoming { arrival, head, position }).collect();
    let delivery = Delivery { store, unit_key, tenant, head, events, now };
    if batch.is_word_only() {
        return delivery.note_progress().await;
    }
    let mut balance = Balance::default();
    let mut len_max = SLICE_EVENT_COUNT_MAX;
    let mut is_known = true;
    loop {
        match delivery.apply_slice(len_max).await {
            Ok(Slice::Nothing) if is_known => return Ok(Ingested::Duplicate),
            Ok(Slice::Nothing) => return Ok(Ingested::Applied { balance }),
            Ok(Slice::Applied { balance: slice, is_last }) => {
                balance.add(slice);
                is_known = false;
                if is_last {
                    return Ok(Ingested::Applied { balance });
                }
            }
            // Others hold the database, or it has gone: nothing is wrong with the events.
            Err(IngestError::Store(error)) if error.is_passing() => return Err(error.into()),
            // Half of the slice at a time, down to the event that is to blame.
            Err(_) if len_max > 1 => len_max /= 2,
            Err(error) => {
                delivery.note_failure().await?;
                return Err(error);
            }
        }
    }
}

fn check_name(tenant: &TenantKey, batch: &BatchHead) -> Result<(), IngestError> {
    if batch.tenant != tenant.as_str() {
        return Err(IngestError::WrongTenant { claimed: batch.tenant.clone(), tenant: tenant.clone() });
    }
    if batch.buffer_id.is_empty() || batch.buffer_id.len() > BUFFER_ID_LEN_MAX {
        return Err(IngestError::BufferId { len: batch.buffer_id.len() });
    }
    if i64::try_from(batch.batch_seq).is_err() {
        return Err(IngestError::BatchSeq { batch_seq: batch.batch_seq });
    }
    Ok(())
}

/// An event and its place in its batch, which names it where it has no id of its own.
struct Incoming<'b> {
    arrival: Arrival<'b>,
    head: &'b BatchHead,
    position: usize,
}

impl Incoming<'_> {
    fn id(&self) -> String {
        let BatchHead { buffer_id, batch_seq, .. } = self.head;
        format!("{buffer_id}/{batch_seq}/{}", self.position)
    }

    fn event(&self) -> Result<Event, EventFault> {
        self.arrival.event(|| self.id())
    }

    /// What is kept of it.
    fn raw(&self) -> Cow<'_, str> {
        self.arrival.raw(|| self.id())
    }
}

/// One delivery of a batch.
struct Delivery<'d> {
    store: &'d Store,
    unit_key: &'d UnitKey,
    tenant: &'d TenantKey,
    head: &'d BatchHead,
    events: Vec<Incoming<'d>>,
    now: UnixMillis,
}

/// What one transaction did.
enum Slice {
    /// There was nothing left to do.
    Nothing,
    /// The next events are applied.
    Applied { balance: Balance, is_last: bool },
}

impl Delivery<'_> {
    fn name(&self) -> (&str, u64) {
        (&self.head.buffer_id, self.head.batch_seq)
    }

    fn place(&self) -> ClaimedPlace<'_> {
        let BatchHead { project, environment, .. } = self.head;
        ClaimedPlace { tenant: self.tenant.as_str(), project, environment }
    }

    /// Applies at most `len_max` of the events that are not applied yet.
    async fn apply_slice(&self, len_max: usize) -> Result<Slice, IngestError> {
        let mut tx = self.store.write_patiently(Lock::Ingestion(self.place())).await?;
        let count = self.events.len();
        let progress = batches::begin(&mut tx, self.tenant, self.name(), count as u64, self.now).await?;
        let position = usize::try_from(progress.position).unwrap_or(usize::MAX).min(count);
        let rest = self.events.get(position..).unwrap_or_default();
        if rest.is_empty() && !progress.is_new {
            return Ok(Slice::Nothing);
        }
        let (balance, taken) = if progress.failures >= FAILURE_COUNT_MAX {
            self.set_aside(&mut tx, rest).await?
        } else {
            let events = rest.get(..len_max.min(rest.len())).unwrap_or_default();
            // A panic is a fault of ours; it would close the connection, and the edge would send the batch for ever.
            let applied = AssertUnwindSafe(self.apply(&mut tx, events)).catch_unwind().await;
            let (position, batch_seq) = (progress.position, self.head.batch_seq);
            applied.map_err(|_| IngestError::Panicked { position, batch_seq })??
        };
        add_balance(&mut tx, self.place(), balance, self.now).await?;
        batches::advance(&mut tx, self.tenant, self.name(), (position + taken) as u64).await?;
        tx.commit().await?;
        Ok(Slice::Applied { balance, is_last: position + taken >= count })
    }

    /// What became of the events, and how many of them were taken before the time was over.
    async fn apply(
        &self,
        tx: &mut Connection,
        events: &[Incoming<'_>],
    ) -> Result<(Balance, usize), StoreError> {
        let until = monotonic() + SLICE_TIME;
        let Some(scope) = existing_scope(tx, self.tenant, self.head).await? else {
            let BatchHead { project, environment, .. } = self.head;
            let reason = format!("environment {project}/{environment} does not exist");
            let fault = EventFault::of(QuarantineCode::UnknownEnvironment, reason);
            return quarantine::all(tx, self.place(), events, &fault, until, self.now).await;
        };
        let application = Application::new(scope.clone(), self.unit_key);
        let (balance, taken) = application.run(tx, self.place(), events, until, self.now).await?;
        // What this batch still holds waits as well.
        let next = events.get(taken).map(|event| event.arrival.received_ms);
        let waiting = next.into_iter().chain(self.head.oldest_waiting_ms).min();
        buffers::put(tx, &scope, &self.head.buffer_id, waiting, self.now).await?;
        Ok((balance, taken))
    }

    /// Keeps the event that could not be applied where it is seen.
    async fn set_aside(
        &self,
        tx: &mut Connection,
        rest: &[Incoming<'_>],
    ) -> Result<(Balance, usize), StoreError> {
        let poison = rest.get(..1).unwrap_or_default();
        let reason = format!(
            "the control plane could not apply it {FAILURE_COUNT_MAX} times: nothing is wrong with it, and the log says why"
        );
        let fault = EventFault::of(QuarantineCode::Unprocessable, reason);
        quarantine::all(tx, self.place(), poison, &fault, monotonic() + SLICE_TIME, self.now).await
    }

    /// Notes how far a buffer is that delivers nothing.
    async fn note_progress(&self) -> Result<Ingested, IngestError> {
        let mut tx = self.store.write_patiently(Lock::Ingestion(self.place())).await?;
        if let Some(scope) = existing_scope(&mut tx, self.tenant, self.head).await? {
            buffers::put(&mut tx, &scope, &self.head.buffer_id, self.head.oldest_waiting_ms, self.now)
                .await?;
        }
        tx.commit().await?;
        Ok(Ingested::Applied { balance: Balance::default() })
    }

    async fn note_failure(&self) -> Result<(), StoreError> {
        let mut tx = self.store.write_patiently(Lock::Ingestion(self.place())).await?;
        // The transaction that failed took the batch's row along.
        let count = self.events.len() as u64;
        batches::begin(&mut tx, self.tenant, self.name(), count, self.now).await?;
        batches::fail(&mut tx, self.tenant, self.name()).await?;
        tx.commit().await
    }
}

async fn existing_scope(
    conn: &mut Connection,
    tenant: &TenantKey,
    batch: &BatchHead,
) -> Result<Option<Scope>, StoreError> {
    let keys = (ProjectKey::parse(&batch.project), EnvironmentKey::parse(&batch.environment));
    let (Ok(project), Ok(environment)) = keys else { return Ok(None) };
    let scope = Scope { tenant: tenant.clone(), project, environment };
    Ok(scopes::environment(conn, &scope).await?.map(|found| found.scope))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A number for each variant: one that is new does not compile before it is here.
    const fn number(error: &IngestError) -> usize {
        match error {
            IngestError::WrongTenant { .. } => 0,
            IngestError::BufferId { .. } => 1,
            IngestError::BatchSeq { .. } => 2,
            // These are no batch's fault.
            IngestError::Panicked { .. } | IngestError::Store(_) => 3,
        }
    }

    fn batch(tenant: &str, buffer_id_len: usize, batch_seq: u64) -> BatchHead {
        BatchHead {
            format: 2,
            buffer_id: "b".repeat(buffer_id_len),
            batch_seq,
            tenant: tenant.to_owned(),
            project: "p".to_owned(),
            environment: "e".to_owned(),
            region: "eu".to_owned(),
            queue: None,
            delivered_through_ms: None,
            oldest_waiting_ms: None,
            rests: false,
        }
    }

    #[test]
    fn a_batch_is_named_so_that_it_is_applied_once() {
        let tenant = TenantKey::parse("t").unwrap();
        let seq_max = u64::try_from(i64::MAX).unwrap();
        assert!(check_name(&tenant, &batch("t", 1, 0)).is_ok());
        assert!(check_name(&tenant, &batch("t", BUFFER_ID_LEN_MAX, seq_max)).is_ok());
        let mut found = BTreeSet::new();
        for (batch, words) in [
            (batch("other", 1, 0), "batch is for tenant \"other\", the token is for t"),
            (batch("t", 0, 0), "buffer_id has 0 bytes, allowed is 1 to 64"),
            (batch("t", BUFFER_ID_LEN_MAX + 1, 0), "buffer_id has 65 bytes, allowed is 1 to 64"),
            (
                batch("t", 1, seq_max + 1),
                "batch_seq is 9223372036854775808, the limit is 9223372036854775807",
            ),
        ] {
            let fault = check_name(&tenant, &batch).unwrap_err();
            found.insert(number(&fault));
            assert_eq!(fault.to_string(), words);
        }
        assert_eq!(found, (0..3).collect());
    }
}
