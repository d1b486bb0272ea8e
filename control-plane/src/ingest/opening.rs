//! Takes a partition and brings back what memory held of it: the newest checkpoint, and the log behind it.

use flagfuse_cells::ledger::Restore;
use flagfuse_cells::{Fact, Ledger, PhaseId, Standing, log};
use flagfuse_shared::ids::UnixMillis;

use super::context::{Context, RENEWAL_MS};
use super::erasure::Erasing;
use super::error::IngestError;
use super::group::{SETTLED_COUNT, State};
use crate::store::partitions::{self, Claimed, Held};
use crate::store::{Lock, StoreError, checkpoints, erasures, phase_rules, telemetry_log};

/// Rows of the log that are read at a time.
const ROW_COUNT: u32 = 256;

/// What opening came to.
pub(super) enum Opened {
    Ours(Box<Ours>),
    /// Another process has it; where it is reached.
    Others(String),
}

/// A partition that is ours, and what memory held of it.
pub(super) struct Ours {
    pub(super) held: Held,
    pub(super) state: State,
    pub(super) since: Since,
    pub(super) erasing: Erasing,
}

/// What the log holds beyond the newest checkpoint.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Since {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// Claims the environment's partition and rebuilds what memory holds of it.
pub(super) async fn open(context: &Context) -> Result<Opened, IngestError> {
    let mut tx = context.store().write_patiently(Lock::Partition(&context.scope)).await?;
    let now = context.now();
    let claimed = partitions::claim(
        &mut tx,
        &context.scope,
        context.surroundings.node.claimant(context.store()),
        context.until(),
        now,
    )
    .await?;
    tx.commit().await?;
    let held = match claimed {
        Claimed::Ours(held) => held,
        Claimed::Others { address } => return Ok(Opened::Others(address)),
    };
    let mut lease = Lease { context, held, renewed_ms: now };
    let (ledger, from) = restore(&mut lease).await?;
    let mut state = State { ledger, ..State::default() };
    let since = replay(&mut lease, &mut state, from).await?;
    for phase_id in phase_rules::of_partition(&mut *context.store().read().await?, held.partition_id).await? {
        if state.ledger.standing(PhaseId(phase_id)) == Standing::Running {
            state.running.insert(phase_id);
        }
    }
    let units = erasures::open(&mut *context.store().read().await?, held.partition_id).await?;
    let erasing = Erasing::of(units, held.log_seq);
    Ok(Opened::Ours(Box::new(Ours { held, state, since, erasing })))
}

/// A lease that is held while much is read.
struct Lease<'l> {
    context: &'l Context,
    held: Held,
    renewed_ms: UnixMillis,
}

impl Lease<'_> {
    /// Renews it when half of it is over.
    async fn keep(&mut self) -> Result<(), IngestError> {
        let now = self.context.now();
        if now.since(self.renewed_ms) < RENEWAL_MS {
            return Ok(());
        }
        let mut tx = self.context.store().write_patiently(Lock::Partition(&self.context.scope)).await?;
        let is_ours = partitions::renew(&mut tx, &self.held, self.context.until()).await?;
        tx.commit().await?;
        self.renewed_ms = now;
        if is_ours { Ok(()) } else { Err(IngestError::overtaken()) }
    }
}

/// The newest checkpoint, and the row of the log that it ends with. One that cannot be read is a fault: the log in front of it
/// may be gone, or without the units that were erased.
async fn restore(lease: &mut Lease<'_>) -> Result<(Ledger, i64), IngestError> {
    let partition_id = lease.held.partition_id;
    let newest = checkpoints::newest(&mut *lease.context.store().read().await?, partition_id).await?;
    let Some((checkpoint, pieces)) = newest else { return Ok((Ledger::new(), 0)) };
    let fault = |why: String| IngestError::Log { partition_id, seq: checkpoint.log_seq, why };
    let (mut restoring, mut part) = (Restore::new(), Vec::new());
    for number in 0..pieces {
        let read = checkpoints::piece(&mut *lease.context.store().read().await?, &checkpoint, number).await?;
        let piece = read.ok_or_else(|| fault(format!("piece {number} of its checkpoint is missing")))?;
        part.extend_from_slice(&piece.states);
        if piece.is_end {
            restoring.part(&part).map_err(|error| fault(error.to_string()))?;
            part.clear();
        }
        lease.keep().await?;
        tokio::task::yield_now().await;
    }
    let ledger = restoring.finish().map_err(|error| fault(error.to_string()))?;
    Ok((ledger, checkpoint.log_seq))
}

/// Applies the log behind the row `from`. What ticks closed is in the database already.
async fn replay(lease: &mut Lease<'_>, state: &mut State, from: i64) -> Result<Since, IngestError> {
    let partition_id = lease.held.partition_id;
    let mut since = Since::default();
    let mut at = from;
    loop {
        let rows =
            telemetry_log::after(&mut *lease.context.store().read().await?, partition_id, at, ROW_COUNT)
                .await?;
        for row in &rows {
            let (known_ms, facts) = log::decode(&row.facts).map_err(|error| IngestError::Log {
                partition_id,
                seq: row.seq,
                why: error.to_string(),
            })?;
            apply(state, known_ms, &facts).await;
            since.rows += 1;
            since.bytes += row.facts.len() as u64;
            at = row.seq;
        }
        if rows.len() < ROW_COUNT as usize {
            break;
        }
        lease.keep().await?;
    }
    if at > lease.held.log_seq {
        let found = format!("{at}, and its partition {}", lease.held.log_seq);
        return Err(StoreError::Corrupt { column: "telemetry_log.seq", found }.into());
    }
    Ok(since)
}

/// Applies a row; what else the process does has a turn behind it, and behind each bit of a tick.
async fn apply(state: &mut State, known_ms: u64, facts: &[Fact]) {
    for fact in facts {
        let Fact::Tick { at_ms } = fact else {
            state.ledger.apply(fact, known_ms);
            continue;
        };
        let mut ticking = state.ledger.begin_tick(*at_ms);
        while state.ledger.settle(&mut ticking, SETTLED_COUNT) {
            tokio::task::yield_now().await;
        }
        state.ledger.end_tick(ticking);
    }
    tokio::task::yield_now().await;
    state.known_ms = state.known_ms.max(UnixMillis(known_ms));
}
