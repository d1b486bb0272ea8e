//! Erases units: what memory holds of them goes at once, and when a checkpoint without them is complete, their facts go from
//! the log before it. What they were counted in are numbers, which stay.

use flagfuse_cells::{UnitHash, log};

use super::context::Context;
use super::error::IngestError;
use crate::store::partitions::{self, Held};
use crate::store::{Lock, erasures, telemetry_log};

/// Rows of the log that are gone through in one transaction.
const ROW_COUNT: u32 = 32;

/// Units that are being erased.
#[derive(Debug, Default)]
pub(super) struct Erasing {
    /// With the row of the log that says so.
    asked: Vec<(UnitHash, i64)>,
    rewriting: Option<Rewriting>,
}

#[derive(Debug)]
struct Rewriting {
    units: Vec<UnitHash>,
    /// The newest row that was looked at.
    at: i64,
    /// The last one to look at.
    through: i64,
}

impl Erasing {
    /// With those that an earlier process was asked for, which the log up to `log_seq` says.
    pub(super) fn of(units: Vec<UnitHash>, log_seq: i64) -> Self {
        Self { asked: units.into_iter().map(|unit| (unit, log_seq)).collect(), rewriting: None }
    }

    /// Notes a unit that the row `log_seq` of the log forgets.
    pub(super) fn ask(&mut self, unit: UnitHash, log_seq: i64) {
        self.asked.push((unit, log_seq));
    }

    /// Whether a checkpoint is waited for.
    pub(super) const fn waits(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether the log is being rewritten.
    pub(super) const fn is_under_way(&self) -> bool {
        self.rewriting.is_some()
    }

    /// Nothing before the row `log_seq` is needed any more: it is in a checkpoint.
    pub(super) fn checkpointed(&mut self, log_seq: i64) {
        let (due, later) = self.asked.drain(..).partition(|(_, asked)| *asked < log_seq);
        self.asked = later;
        let due: Vec<(UnitHash, i64)> = due;
        let Some(rewriting) = &mut self.rewriting else {
            let units: Vec<_> = due.into_iter().map(|(unit, _)| unit).collect();
            self.rewriting = (!units.is_empty()).then_some(Rewriting { units, at: 0, through: log_seq });
            return;
        };
        // From the beginning, for those that have come now.
        if !due.is_empty() {
            rewriting.units.extend(due.into_iter().map(|(unit, _)| unit));
            (rewriting.at, rewriting.through) = (0, log_seq);
        }
    }

    /// Takes the units out of the next rows of the log, in a transaction of their own.
    pub(super) async fn go_on(&mut self, context: &Context, held: &Held) -> Result<(), IngestError> {
        let Some(rewriting) = &mut self.rewriting else { return Ok(()) };
        let mut tx = context.store().write_patiently(Lock::Partition(&context.scope)).await?;
        if partitions::log_seq(&mut tx, held).await?.is_none() {
            return Err(IngestError::overtaken());
        }
        let rows = telemetry_log::after(&mut tx, held.partition_id, rewriting.at, ROW_COUNT).await?;
        let mut is_last = rows.len() < ROW_COUNT as usize;
        for row in rows {
            if row.seq > rewriting.through {
                is_last = true;
                break;
            }
            let fault = |error: log::LogError| IngestError::Log {
                partition_id: held.partition_id,
                seq: row.seq,
                why: error.to_string(),
            };
            let mut kept = None;
            for unit in &rewriting.units {
                let before = kept.as_ref().unwrap_or(&row.facts);
                kept = log::without(before, unit).map_err(fault)?.or(kept);
            }
            if let Some(facts) = kept {
                telemetry_log::rewrite(&mut tx, held.partition_id, row.seq, &facts).await?;
            }
            rewriting.at = row.seq;
        }
        if is_last {
            for unit in &rewriting.units {
                erasures::finish(&mut tx, held.partition_id, unit, context.now()).await?;
            }
        }
        tx.commit().await?;
        if is_last {
            self.rewriting = None;
        }
        Ok(())
    }
}
