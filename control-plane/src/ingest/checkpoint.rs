//! Writes what memory holds into the database, bit by bit between groups, so that a restart has little of the log to go
//! through.

use flagfuse_cells::Ledger;

use super::context::Context;
use super::error::IngestError;
use super::opening::Since;
use crate::store::Lock;
use crate::store::checkpoints::{self, Checkpoint, Piece};
use crate::store::partitions::{self, Held};

/// Bytes of the log that may be there beyond the newest checkpoint.
const LOG_LEN_MAX: u64 = 64 << 20;
/// Rows of it.
const LOG_ROW_COUNT_MAX: u64 = 20_000;
/// Bytes of a part that one transaction writes: some milliseconds, which events wait for.
const PIECE_LEN_MAX: usize = 256 << 10;
/// Pieces of old checkpoints that are forgotten at a time.
const PRUNE_COUNT: u32 = 8;

/// How far the newest checkpoint is behind, and the one that is being written.
#[derive(Debug, Default)]
pub(super) struct Checkpointing {
    rows: u64,
    bytes: u64,
    under_way: Option<UnderWay>,
    has_old_parts: bool,
    /// Nothing has come for a while, and some of the log is in no checkpoint.
    is_asked: bool,
}

#[derive(Debug)]
struct UnderWay {
    /// The part that is being written, and how much of it is.
    part: Vec<u8>,
    written: usize,
    /// Pieces that are written.
    pieces: u32,
    /// Its row, once it is written.
    checkpoint: Option<Checkpoint>,
    /// The newest row of the log that is in it.
    log_seq: i64,
}

impl Checkpointing {
    /// With so much of the log beyond the newest checkpoint.
    pub(super) fn behind(since: Since) -> Self {
        let Since { rows, bytes } = since;
        Self { rows, bytes, under_way: None, has_old_parts: true, is_asked: false }
    }

    pub(super) const fn log_grew(&mut self, bytes: u64) {
        self.rows += 1;
        self.bytes += bytes;
    }

    /// Asks for one where some of the log is in none: it could not be forgotten by its age, however quiet it has become.
    /// Whether it did.
    pub(super) const fn ask_for_the_rest(&mut self) -> bool {
        self.is_asked = self.rows > 0;
        self.is_asked
    }

    /// Whether the next tick is to begin one.
    pub(super) const fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// Whether something is to be written for a checkpoint.
    pub(super) const fn is_under_way(&self) -> bool {
        self.under_way.is_some() || self.has_old_parts
    }

    /// Begins one right after a tick, when the log has grown long, or when somebody waits for one. `log_seq` is the row of the
    /// tick.
    pub(super) fn ticked(&mut self, ledger: &mut Ledger, log_seq: i64, is_awaited: bool) {
        let is_long = self.rows >= LOG_ROW_COUNT_MAX || self.bytes >= LOG_LEN_MAX;
        if self.under_way.is_some() || !(is_long || is_awaited) {
            return;
        }
        match ledger.begin_checkpoint() {
            Ok(_) => {
                (self.rows, self.bytes, self.is_asked) = (0, 0, false);
                let part = Vec::new();
                self.under_way = Some(UnderWay { part, written: 0, pieces: 0, checkpoint: None, log_seq });
            }
            Err(error) => tracing::error!(%error, "no checkpoint could be begun"),
        }
    }

    /// Writes the next piece, in a transaction of its own; the row of the log that a checkpoint ends with which is complete now.
    pub(super) async fn go_on(
        &mut self,
        context: &Context,
        held: &Held,
        ledger: &mut Ledger,
    ) -> Result<Option<i64>, IngestError> {
        let mut tx = context.store().write_patiently(Lock::Partition(&context.scope)).await?;
        if partitions::log_seq(&mut tx, held).await?.is_none() {
            return Err(IngestError::overtaken());
        }
        let Some(under_way) = &mut self.under_way else {
            let gone = checkpoints::prune(&mut tx, held.partition_id, PRUNE_COUNT).await?;
            self.has_old_parts = gone == u64::from(PRUNE_COUNT);
            tx.commit().await?;
            return Ok(None);
        };
        let checkpoint = match under_way.checkpoint {
            Some(checkpoint) => checkpoint,
            None => checkpoints::begin(&mut tx, held.partition_id, under_way.log_seq, context.now()).await?,
        };
        under_way.checkpoint = Some(checkpoint);
        let number = under_way.pieces;
        let Some(piece) = under_way.next_piece(ledger) else {
            checkpoints::complete(&mut tx, &checkpoint, number).await?;
            tx.commit().await?;
            self.under_way = None;
            self.has_old_parts = true;
            return Ok(Some(checkpoint.log_seq));
        };
        checkpoints::put_piece(&mut tx, &checkpoint, number, piece).await?;
        tx.commit().await?;
        under_way.pieces = number + 1;
        Ok(None)
    }
}

impl UnderWay {
    /// The next bytes to be written, after those that were handed out before; `None` when all of the ledger was.
    fn next_piece(&mut self, ledger: &mut Ledger) -> Option<Piece<&[u8]>> {
        if self.written >= self.part.len() {
            self.part = ledger.next_part()?.bytes;
            self.written = 0;
        }
        let from = self.written;
        self.written = self.part.len().min(from + PIECE_LEN_MAX);
        let states = self.part.get(from..self.written)?;
        Some(Piece { states, is_end: self.written == self.part.len() })
    }
}

#[cfg(test)]
mod tests {
    use flagfuse_cells::{Fact, PhaseId};

    use super::*;

    fn is_begun(checkpointing: &Checkpointing) -> bool {
        checkpointing.under_way.is_some()
    }

    /// A checkpoint is taken right after a tick, when the log behind the newest one is long in rows or in bytes, or when an
    /// erasure waits for it; and one at a time.
    #[test]
    fn a_checkpoint_begins_when_the_log_is_long_or_somebody_waits() {
        let behind = |rows, bytes| Checkpointing::behind(Since { rows, bytes });
        for (rows, bytes, is_awaited, expected) in [
            (0, 0, false, false),
            (LOG_ROW_COUNT_MAX - 1, LOG_LEN_MAX - 1, false, false),
            (LOG_ROW_COUNT_MAX, 0, false, true),
            (0, LOG_LEN_MAX, false, true),
            (0, 0, true, true),
        ] {
            let mut checkpointing = behind(rows, bytes);
            checkpointing.ticked(&mut Ledger::new(), 7, is_awaited);
            assert_eq!(is_begun(&checkpointing), expected, "{rows} rows, {bytes} bytes, {is_awaited}");
        }
        let mut checkpointing = behind(LOG_ROW_COUNT_MAX - 1, LOG_LEN_MAX - 9);
        checkpointing.log_grew(8);
        let mut ledger = Ledger::new();
        checkpointing.ticked(&mut ledger, 7, false);
        assert!(is_begun(&checkpointing), "with the row that it grew by");
        assert_eq!((checkpointing.rows, checkpointing.bytes), (0, 0), "what comes is behind it");
        checkpointing.ticked(&mut ledger, 9, true);
        assert_eq!(
            checkpointing.under_way.as_ref().map(|under_way| under_way.log_seq),
            Some(7),
            "one at a time"
        );
    }

    #[test]
    fn a_quiet_partition_leaves_nothing_of_its_log_behind_the_newest_checkpoint() {
        let mut checkpointing = Checkpointing::behind(Since { rows: 0, bytes: 0 });
        assert!(!checkpointing.ask_for_the_rest(), "there is nothing");
        checkpointing.log_grew(8);
        assert!(!checkpointing.is_asked() && checkpointing.ask_for_the_rest() && checkpointing.is_asked());
        let is_asked = checkpointing.is_asked();
        checkpointing.ticked(&mut Ledger::new(), 7, is_asked);
        assert!(is_begun(&checkpointing) && !checkpointing.is_asked() && !checkpointing.ask_for_the_rest());
    }

    #[test]
    fn pieces_are_bounded_and_add_up_to_the_parts() {
        let ledger = || {
            let mut ledger = Ledger::new();
            for unit in 0..12_000_u64 {
                let mut name = [0; 16];
                name[..8].copy_from_slice(&unit.to_le_bytes());
                let [device, canonical] = [1, 2].map(|kind| {
                    name[15] = kind;
                    name
                });
                ledger.apply(&Fact::Link { device, canonical }, 5_000);
            }
            ledger.tick(5_000);
            ledger.begin_checkpoint().unwrap();
            ledger
        };
        let mut whole = ledger();
        let parts: Vec<Vec<u8>> = std::iter::from_fn(|| whole.next_part()).map(|part| part.bytes).collect();
        let (part, written, pieces, checkpoint, log_seq) = (Vec::new(), 0, 0, None, 7);
        let mut under_way = UnderWay { part, written, pieces, checkpoint, log_seq };
        let (mut found, mut part, mut count) = (Vec::new(), Vec::new(), 0);
        let mut ledger = ledger();
        while let Some(Piece { states, is_end }) = under_way.next_piece(&mut ledger) {
            assert!(states.len() <= PIECE_LEN_MAX);
            part.extend_from_slice(states);
            count += 1;
            if is_end {
                found.push(std::mem::take(&mut part));
            }
        }
        assert_eq!(found, parts);
        assert!(count > parts.len(), "one of {} parts is longer than a piece", parts.len());
    }

    #[test]
    fn no_checkpoint_begins_between_a_fact_and_its_tick() {
        let mut ledger = Ledger::new();
        ledger.apply(&Fact::PhaseEnded { phase: PhaseId(1), at_ms: 5_000 }, 5_000);
        let mut checkpointing = Checkpointing::behind(Since { rows: LOG_ROW_COUNT_MAX, bytes: 0 });
        checkpointing.ticked(&mut ledger, 7, false);
        assert!(!is_begun(&checkpointing));
        ledger.tick(10_000);
        checkpointing.ticked(&mut ledger, 8, false);
        assert!(is_begun(&checkpointing), "it is made up for");
    }
}
