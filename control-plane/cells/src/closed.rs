//! What a tick closes: rows that the database writes once, in the order of their keys.

use std::collections::BTreeMap;

use crate::id::{Arm, MetricNo, PhaseId, SliceNo, Source};

/// All that closes at a tick. Vectors are in the order of their rows' keys, so that the same facts give the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Closed {
    /// Number of the tick: its time in units of 5 seconds.
    pub tick: u64,
    /// Slots that ended with this tick.
    pub slots: Vec<SlotRow>,
    pub cells: Vec<CellRow>,
    pub spreads: Vec<SpreadRow>,
    /// Networks that were new.
    pub networks: Vec<NetworkRow>,
    /// To be added to what is there.
    pub counters: Vec<CounterRow>,
    /// Outcomes that waited for their unit's enrolment and had to make room for others; 0 unless a million wait at once.
    pub waiting_dropped: u64,
}

/// A slot: the units whose enrolments became known from `starts_ms` up to `ends_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotRow {
    pub phase: PhaseId,
    /// From 0, without gaps.
    pub slot: u32,
    pub starts_ms: u64,
    pub ends_ms: u64,
}

/// Counts of a slot that became known in a step of its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CellRow {
    pub phase: PhaseId,
    pub slot: u32,
    pub step: u8,
    pub metric: MetricNo,
    pub slice: SliceNo,
    pub arm: Arm,
    /// Units that are new to the metric.
    pub units: u64,
    /// Outcomes: as many as units, but for sums.
    pub events: u64,
    /// Of the samples, or of all values.
    pub total_micros: i64,
}

/// What closed of a slot at a tick, added up over its steps: to be added to what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SumRow {
    pub phase: PhaseId,
    pub metric: MetricNo,
    pub slice: SliceNo,
    pub slot: u32,
    pub arm: Arm,
    pub units: u64,
    pub events: u64,
    pub total_micros: i64,
}

/// Units of a matured slot whose sample or sum lies in a bin. Units without any are in none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpreadRow {
    pub phase: PhaseId,
    pub slot: u32,
    pub metric: MetricNo,
    pub slice: SliceNo,
    pub arm: Arm,
    /// Of [`crate::bins::latency_bin`] for samples, of the metric's edges for sums.
    pub bin: u16,
    pub units: u64,
}

/// A network (frozen with its unit's enrolment) and a source from which events of a metric came, of the first 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetworkRow {
    pub phase: PhaseId,
    /// 0 for enrolments.
    pub metric: MetricNo,
    pub arm: Arm,
    pub network: u32,
    pub source: Source,
}

/// What happened to a phase and is in none of its cells, and what that is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    /// Exposures that contradict the enrolment that stands.
    Correction,
    /// Exposures that became known too late to enrol.
    Late,
    /// Outcomes, one a unit and metric, that became known after their slot's last step.
    LateOutcome,
    /// Units of matured slots that nothing was heard of after their enrolment; without bots.
    Silent,
    /// Units that enrolled within the grace of the phase.
    Grace,
    /// Outcomes of units that had too many on that day.
    UnitFlood,
    /// Outcomes of enrolled units that no server sent, in a phase in which only those count.
    Ignored,
    /// Units of slots that have matured for every metric, without bots: what the silent ones are a share of. They are counted.
    Matured,
}

impl Counter {
    /// All, in the order of their names' places here.
    pub const ALL: [Self; 8] = [
        Self::Correction,
        Self::Late,
        Self::LateOutcome,
        Self::Silent,
        Self::Grace,
        Self::UnitFlood,
        Self::Ignored,
        Self::Matured,
    ];

    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Correction => "correction",
            Self::Late => "late_enrolment",
            Self::LateOutcome => "late_outcome",
            Self::Silent => "silent",
            Self::Grace => "grace",
            Self::UnitFlood => "unit_flood",
            Self::Ignored => "ignored_outcome",
            Self::Matured => "matured",
        }
    }
}

/// How often a counter rose since the tick before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CounterRow {
    pub phase: PhaseId,
    pub arm: Arm,
    pub counter: Counter,
    pub events: u64,
}

impl Closed {
    /// Whether there is nothing to write.
    pub const fn is_empty(&self) -> bool {
        self.slots.is_empty()
            && self.cells.is_empty()
            && self.spreads.is_empty()
            && self.networks.is_empty()
            && self.counters.is_empty()
            && self.waiting_dropped == 0
    }

    /// The cells added up over their steps, in the order of their keys.
    pub fn sums(&self) -> Vec<SumRow> {
        let mut sums: BTreeMap<_, (u64, u64, i64)> = BTreeMap::new();
        for cell in &self.cells {
            let sum = sums.entry((cell.phase, cell.metric, cell.slice, cell.slot, cell.arm)).or_default();
            *sum = (sum.0 + cell.units, sum.1 + cell.events, sum.2.wrapping_add(cell.total_micros));
        }
        let row = |((phase, metric, slice, slot, arm), (units, events, total_micros))| SumRow {
            phase,
            metric,
            slice,
            slot,
            arm,
            units,
            events,
            total_micros,
        };
        sums.into_iter().map(row).collect()
    }
}
