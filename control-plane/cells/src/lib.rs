//! Counts the events of one environment into cells that are written once. Pure: never a database, a clock or chance.
//!
//! What happened comes as [`Fact`]s in the order in which it became known; the [`Ledger`] is what memory holds of them, and
//! a function of them alone: the same facts give the same ledger, bit for bit, on any machine and after any restart. Every
//! 5 seconds a tick closes what no later fact can change and hands it out as [`Closed`]: rows that the database writes once.
//!
//! *Known times have the resolution of a tick.* Within a tick the order of facts does not matter: whatever could depend on
//! it waits for the tick and is decided there in an order of its own. What says so of each kind of fact is in the
//! documentation of [`Ledger`].

#![expect(missing_docs, reason = "what a field's name says already needs no comment")]

pub mod bins;
pub mod closed;
pub mod fact;
pub mod id;
pub mod ledger;
pub mod log;
pub mod rules;
pub mod schedule;

mod arena;
mod bytes;
mod index;

pub use closed::{CellRow, Closed, Counter, CounterRow, NetworkRow, SlotRow, SpreadRow, SumRow};
pub use fact::{Balance, Effect, Exposure, Fact, Outcome};
pub use id::{Arm, MetricNo, NameNo, PhaseId, SliceNo, SliceSet, Source, UnitHash};
pub use ledger::{
    CheckpointError, EnrolledIn, LINK_COUNT_MAX, Ledger, Memory, Part, PartPiece, Restore, RestoreError,
    Standing, Ticking,
};
pub use rules::{Counting, Matching, MetricRules, OutcomesFrom, PhaseRules, RulesFault, SliceRules, Window};
