//! Makes verdicts again from the cells they were made of, with the code that made them, and compares them bit for bit.

use flagfuse_shared::ids::Scope;

use super::basis::{Basis, Ground, Seen};
use super::memory::Memory;
use crate::model::verdict::Verdict;
use crate::store::verdicts::{self, RecordedVerdict};
use crate::store::{Connection, StoreError, cells, compaction};

/// What came of a verdict when it was made again.
#[derive(Debug, Clone, PartialEq)]
pub enum Replayed {
    /// The same bits.
    Same,
    /// Something else.
    Differs {
        /// What was made of the cells now.
        rebuilt: Box<Verdict>,
        /// The first part that differs.
        part: &'static str,
    },
    /// It cannot be made again, for this reason.
    Impossible(&'static str),
}

/// Makes verdicts of one environment again. The cheapest order is that in which they were made.
#[derive(Debug)]
pub struct Replay {
    memory: Memory,
}

impl Default for Replay {
    fn default() -> Self {
        Self { memory: Memory::of_the_past() }
    }
}

impl Replay {
    /// Makes one verdict again and compares.
    pub async fn of(
        &mut self,
        conn: &mut Connection,
        scope: &Scope,
        recorded: &RecordedVerdict,
    ) -> Result<Replayed, StoreError> {
        let Some(basis) = &recorded.basis else {
            return Ok(Replayed::Impossible(
                "it was written by a version that did not note what it was made of",
            ));
        };
        let Some(basis) = Basis::parse(basis) else {
            return Ok(Replayed::Impossible("a version of another format noted what it was made of"));
        };
        if compaction::is_compacted(conn, basis.fuse.looked_at()).await? {
            return Ok(Replayed::Impossible("cells of its attempt were added up since"));
        }
        let terms = &basis.terms;
        let partition = match (terms.closed_tick, cells::partition(conn, scope).await?) {
            (Some(closed_tick), Some(partition)) => Some(cells::Partition { closed_tick, ..partition }),
            _ => None,
        };
        // A phase that counts now but did not then, and a clock that went back, are read anew.
        let is_older = self.memory.closed_tick() > terms.closed_tick;
        if is_older || !terms.counts {
            *self = Self::default();
        }
        let flag = basis.fuse.flag.clone();
        self.memory.recall(conn, (basis.fuse.clone(), partition, terms.counts), recorded.at_ms).await?;
        let Some(watched) = self.memory.watched(&flag) else {
            return Ok(Replayed::Impossible("its phase is gone"));
        };
        let seen = Seen::of(&self.memory, watched, recorded.at_ms);
        let ground = Ground { fuse: &basis.fuse, around: &basis.around, terms };
        let verdict = ground.decide(&seen, recorded.at_ms);
        Ok(compared(recorded, verdict))
    }
}

fn compared(recorded: &RecordedVerdict, rebuilt: Verdict) -> Replayed {
    let evidence = verdicts::evidence_text(&rebuilt);
    let parts = [
        ("evidence", evidence == recorded.evidence),
        ("ramp", verdicts::ramp_text(&rebuilt) == recorded.ramp),
        ("decision", rebuilt.decision.as_str() == recorded.decision),
        ("reason", rebuilt.reason.as_str() == recorded.reason),
        ("ingest_lag_ms", rebuilt.ingest_lag_ms == recorded.ingest_lag_ms),
        ("summary", rebuilt.summary == recorded.summary),
    ];
    match parts.into_iter().find(|(_, is_same)| !is_same) {
        Some((part, _)) => Replayed::Differs { rebuilt: Box::new(rebuilt), part },
        None => Replayed::Same,
    }
}
