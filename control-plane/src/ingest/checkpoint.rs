//! Writes what memory holds into the database, bit by bit, so that a restart has little of the log to go through. While events
//! come, each bit is written in the transaction of a group of theirs: one of its own would let the next group wait for the disk
//! once more.

use std::time::Duration;

use flagfuse_cells::{Ledger, PartPiece};
use flagfuse_shared::ids::UnixMillis;
use tokio::time::Instant;

use super::context::Context;
use super::error::IngestError;
use super::opening::Since;
use crate::store::checkpoints::{self, Checkpoint, Piece};
use crate::store::partitions::{self, Held};
use crate::store::{Connection, Lock, StoreError};

/// Bytes of the log that may be there beyond the newest checkpoint.
const LOG_LEN_MAX: u64 = 64 << 20;
/// Rows of it.
const LOG_ROW_COUNT_MAX: u64 = 20_000;
/// Bytes of a part that one transaction writes: a fraction of a millisecond, which events wait for.
const PIECE_LEN_MAX: usize = 64 << 10;
/// Bytes of records that are taken at a time: with the few beside them they are one piece.
const RECORDS_LEN_MAX: usize = PIECE_LEN_MAX - 16;
/// From one bit that goes along with events to the next: 3 MiB a second.
const BIT_PAUSE: Duration = Duration::from_millis(20);
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
    /// When the next bit may go along with events.
    due_at: Option<Instant>,
}

#[derive(Debug)]
struct UnderWay {
    /// What is being written, and how much of it is. All of the ledger is where there is none.
    part: Option<PartPiece>,
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
        Self { rows, bytes, under_way: None, has_old_parts: true, is_asked: false, due_at: None }
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
                self.under_way = Some(UnderWay::of(ledger, log_seq));
            }
            Err(error) => tracing::error!(%error, "no checkpoint could be begun"),
        }
    }

    /// The next bit for a transaction of events, unless another went along a moment ago: where as many come as can be taken, it
    /// is they that pay for it.
    pub(super) fn due_bit(&mut self, ledger: &mut Ledger, now: Instant) -> Option<Bit<'_>> {
        if self.due_at.is_some_and(|due_at| now < due_at) {
            return None;
        }
        self.due_at = Some(now + BIT_PAUSE);
        self.next_bit(ledger)
    }

    /// The next bit, where there is one; the same one until it is [`Self::written`].
    fn next_bit(&mut self, ledger: &mut Ledger) -> Option<Bit<'_>> {
        match &mut self.under_way {
            Some(under_way) => Some(under_way.next_bit(ledger)),
            None => self.has_old_parts.then_some(Bit::Old),
        }
    }

    /// The transaction that wrote it is committed. The row of the log that a checkpoint ends with which is complete now.
    pub(super) fn written(&mut self, written: Written) -> Option<i64> {
        match written {
            Written::Old { is_more } => {
                self.has_old_parts = is_more;
                None
            }
            Written::Piece(checkpoint) => {
                if let Some(under_way) = &mut self.under_way {
                    under_way.advance(checkpoint);
                }
                None
            }
            Written::End(checkpoint) => {
                (self.under_way, self.has_old_parts) = (None, true);
                Some(checkpoint.log_seq)
            }
        }
    }

    /// Writes the next bit in a transaction of its own; the row of the log that a checkpoint ends with which is complete now.
    pub(super) async fn go_on(
        &mut self,
        context: &Context,
        held: &Held,
        ledger: &mut Ledger,
    ) -> Result<Option<i64>, IngestError> {
        let Some(bit) = self.next_bit(ledger) else { return Ok(None) };
        let mut tx = context.store().write_patiently(Lock::Partition(&context.scope)).await?;
        if partitions::log_seq(&mut tx, held).await?.is_none() {
            return Err(IngestError::overtaken());
        }
        let written = bit.write(&mut tx, held.partition_id, context.now()).await?;
        tx.commit().await?;
        Ok(self.written(written))
    }
}

/// What one transaction writes for a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bit<'b> {
    /// Some more of it.
    Piece { of: Begun, number: u32, piece: Piece<&'b [u8]> },
    /// That it is complete.
    End { of: Begun, pieces: u32 },
    /// Away with some of an old one.
    Old,
}

/// A checkpoint with its row, or the row of the log that it will end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// It has a row.
    Yes(Checkpoint),
    /// It has none yet.
    No { log_seq: i64 },
}

/// What a transaction wrote for a checkpoint; only once it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Piece(Checkpoint),
    End(Checkpoint),
    Old { is_more: bool },
}

impl Bit<'_> {
    /// Writes it.
    pub(super) async fn write(
        &self,
        tx: &mut Connection,
        partition_id: i64,
        now: UnixMillis,
    ) -> Result<Written, StoreError> {
        match self {
            Self::Piece { of, number, piece } => {
                let checkpoint = of.begin(tx, partition_id, now).await?;
                checkpoints::put_piece(tx, &checkpoint, *number, *piece).await?;
                Ok(Written::Piece(checkpoint))
            }
            Self::End { of, pieces } => {
                let checkpoint = of.begin(tx, partition_id, now).await?;
                checkpoints::complete(tx, &checkpoint, *pieces).await?;
                Ok(Written::End(checkpoint))
            }
            Self::Old => {
                let gone = checkpoints::prune(tx, partition_id, PRUNE_COUNT).await?;
                Ok(Written::Old { is_more: gone == u64::from(PRUNE_COUNT) })
            }
        }
    }
}

impl Begun {
    async fn begin(
        self,
        tx: &mut Connection,
        partition_id: i64,
        now: UnixMillis,
    ) -> Result<Checkpoint, StoreError> {
        match self {
            Self::Yes(checkpoint) => Ok(checkpoint),
            Self::No { log_seq } => checkpoints::begin(tx, partition_id, log_seq, now).await,
        }
    }
}

impl UnderWay {
    fn of(ledger: &mut Ledger, log_seq: i64) -> Self {
        let part = ledger.next_piece(RECORDS_LEN_MAX);
        Self { part, written: 0, pieces: 0, checkpoint: None, log_seq }
    }

    fn next_bit(&mut self, ledger: &mut Ledger) -> Bit<'_> {
        let of = self.checkpoint.map_or(Begun::No { log_seq: self.log_seq }, Begun::Yes);
        if self.part.as_ref().is_some_and(|part| self.written >= part.bytes.len()) {
            self.part = ledger.next_piece(RECORDS_LEN_MAX);
            self.written = 0;
        }
        let rest = self.part.as_ref().and_then(|part| Some((part.bytes.get(self.written..)?, part.is_end)));
        let Some((rest, is_end)) = rest else { return Bit::End { of, pieces: self.pieces } };
        let states = rest.get(..PIECE_LEN_MAX).unwrap_or(rest);
        let piece = Piece { states, is_end: is_end && states.len() == rest.len() };
        Bit::Piece { of, number: self.pieces, piece }
    }

    fn advance(&mut self, checkpoint: Checkpoint) {
        let len = self.part.as_ref().map_or(0, |part| part.bytes.len());
        self.written = len.min(self.written + PIECE_LEN_MAX);
        self.pieces += 1;
        self.checkpoint = Some(checkpoint);
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
        let (mut found, mut part, mut count) = (Vec::new(), Vec::new(), 0);
        let (mut ledger, log_seq) = (ledger(), 7);
        let mut under_way = UnderWay::of(&mut ledger, log_seq);
        let checkpoint = Checkpoint { partition_id: 1, generation: 2, log_seq };
        let mut of = Begun::No { log_seq };
        loop {
            let bit = under_way.next_bit(&mut ledger);
            let Bit::Piece { of: said, number, piece: Piece { states, is_end } } = bit else {
                assert_eq!(bit, Bit::End { of, pieces: count });
                break;
            };
            assert_eq!((said, number), (of, count));
            assert!(states.len() <= PIECE_LEN_MAX);
            part.extend_from_slice(states);
            if is_end {
                found.push(std::mem::take(&mut part));
            }
            let again = states.to_vec();
            let Bit::Piece { piece, .. } = under_way.next_bit(&mut ledger) else { panic!("it was there") };
            assert_eq!(piece.states, again, "what is not committed is written again");
            under_way.advance(checkpoint);
            count += 1;
            of = Begun::Yes(checkpoint);
        }
        assert_eq!(found, parts);
        assert!(count as usize > parts.len(), "one of {} parts is longer than a piece", parts.len());
    }

    #[test]
    fn bits_go_along_with_events_at_a_pace_and_wait_where_they_were() {
        let mut checkpointing = Checkpointing::behind(Since { rows: LOG_ROW_COUNT_MAX, bytes: 0 });
        checkpointing.has_old_parts = false;
        let (mut ledger, now) = (Ledger::new(), crate::clock::monotonic());
        assert_eq!(checkpointing.due_bit(&mut ledger, now), None, "nothing is to be written");
        checkpointing.ticked(&mut ledger, 7, false);
        let later = now + BIT_PAUSE;
        assert_eq!(checkpointing.due_bit(&mut ledger, later - Duration::from_millis(1)), None);
        let bit = checkpointing.due_bit(&mut ledger, later);
        assert!(matches!(bit, Some(Bit::Piece { number: 0, .. })), "{bit:?}");
        assert_eq!(checkpointing.due_bit(&mut ledger, later), None);
        let again = checkpointing.due_bit(&mut ledger, later + BIT_PAUSE);
        assert!(matches!(again, Some(Bit::Piece { number: 0, .. })), "what is not committed: {again:?}");
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
