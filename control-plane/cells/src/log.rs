//! Facts as the bytes of a log row: a version, when they became known, and one fact after the other.
//!
//! Version 1, numbers as varints unless said otherwise: `1`, `known_ms`, then for each fact a tag and its fields in the order
//! of [`Fact`]. Times of events are signed distances from `known_ms`, units 16 bytes, networks 4, little endian; small fields
//! share a byte behind the tag. Version 2 says behind a phase's slices whose outcomes count; a row has it only where one says
//! other than anybody's. A reader of a later version reads all earlier ones; the golden files of the tests hold both fast.

use thiserror::Error;

use crate::bytes::{Reader, put_signed, put_text, put_varint};
use crate::fact::{Exposure, Fact, Outcome};
use crate::id::{Arm, NameNo, PhaseId, SliceSet, Source, UnitHash};
use crate::rules::{Counting, Matching, MetricRules, OutcomesFrom, PhaseRules, SliceRules, Window};

/// The newest.
const VERSION: u8 = 2;

const PHASE: u8 = 0;
const PHASE_ENDED: u8 = 1;
const EXPOSE: u8 = 2;
const OUTCOME: u8 = 3;
const LINK: u8 = 4;
const FORGET: u8 = 5;
const TICK: u8 = 6;

/// Why a log row cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LogError {
    /// Written by a later program.
    #[error("log row of version {found}, known are versions up to {VERSION}")]
    Version { found: u8 },
    /// Cut off, or not a log row.
    #[error("log row is damaged at byte {at}")]
    Damaged { at: usize },
}

/// The bytes of a log row.
pub fn encode(known_ms: u64, facts: &[Fact]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + facts.len() * 32);
    let version = facts.iter().map(version_of).max().unwrap_or(1);
    bytes.push(version);
    put_varint(&mut bytes, known_ms);
    for fact in facts {
        put_fact(&mut bytes, version, known_ms, fact);
    }
    bytes
}

/// The first version that has words for a fact.
fn version_of(fact: &Fact) -> u8 {
    match fact {
        Fact::Phase(rules) => version_of_rules(rules),
        Fact::PhaseEnded { .. }
        | Fact::Expose(_)
        | Fact::Outcome(_)
        | Fact::Link { .. }
        | Fact::Forget { .. }
        | Fact::Tick { .. } => 1,
    }
}

/// When the facts of a row became known, and the facts.
pub fn decode(row: &[u8]) -> Result<(u64, Vec<Fact>), LogError> {
    let mut rows = Row::open(row)?;
    let known_ms = rows.known_ms();
    let facts = rows.by_ref().collect::<Result<_, _>>()?;
    Ok((known_ms, facts))
}

/// The row without the facts that name `unit`; `None` when none does. For erasures: a row may be replaced once a checkpoint
/// later than it is complete.
pub fn without(row: &[u8], unit: &UnitHash) -> Result<Option<Vec<u8>>, LogError> {
    let (known_ms, mut facts) = decode(row)?;
    let before = facts.len();
    facts.retain(|fact| match fact {
        Fact::Expose(exposure) => exposure.unit != *unit,
        Fact::Outcome(outcome) => outcome.unit != *unit,
        Fact::Link { device, canonical } => device != unit && canonical != unit,
        // The tombstone stays.
        Fact::Forget { .. } | Fact::Phase(_) | Fact::PhaseEnded { .. } | Fact::Tick { .. } => true,
    });
    Ok((facts.len() < before).then(|| encode(known_ms, &facts)))
}

/// The facts of a row, one by one.
#[derive(Debug, Clone)]
pub struct Row<'b> {
    version: u8,
    length: usize,
    rest: Reader<'b>,
    known_ms: u64,
}

impl<'b> Row<'b> {
    /// Reads the row's head.
    pub fn open(row: &'b [u8]) -> Result<Self, LogError> {
        let mut rest = Reader(row);
        let version = match rest.byte() {
            Some(version @ 1..=VERSION) => version,
            Some(found) => return Err(LogError::Version { found }),
            None => return Err(LogError::Damaged { at: 0 }),
        };
        let known_ms = rest.varint().ok_or(LogError::Damaged { at: 1 })?;
        Ok(Self { version, length: row.len(), rest, known_ms })
    }

    /// When its facts became known.
    pub const fn known_ms(&self) -> u64 {
        self.known_ms
    }
}

impl Iterator for Row<'_> {
    type Item = Result<Fact, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let at = self.length - self.rest.len();
        let fact = fact(&mut self.rest, self.version, self.known_ms);
        if fact.is_none() {
            self.rest = Reader(&[]);
        }
        Some(fact.ok_or(LogError::Damaged { at }))
    }
}

fn put_fact(bytes: &mut Vec<u8>, version: u8, known_ms: u64, fact: &Fact) {
    match fact {
        Fact::Phase(rules) => {
            bytes.push(PHASE);
            put_rules(bytes, version, rules);
        }
        Fact::PhaseEnded { phase, at_ms } => {
            bytes.push(PHASE_ENDED);
            put_signed(bytes, phase.0);
            put_time(bytes, known_ms, *at_ms);
        }
        Fact::Expose(exposure) => {
            let Exposure { unit, phase, arm, at_ms, slices, is_bot, source, network } = exposure;
            let has_slices = *slices != SliceSet::default();
            let small =
                arm.number() | u8::from(*is_bot) << 1 | source.number() << 2 | u8::from(has_slices) << 4;
            bytes.extend_from_slice(&[EXPOSE, small]);
            bytes.extend_from_slice(unit);
            put_signed(bytes, phase.0);
            put_time(bytes, known_ms, *at_ms);
            if has_slices {
                bytes.extend_from_slice(&slices.0);
            }
            bytes.extend_from_slice(&network.to_le_bytes());
        }
        Fact::Outcome(outcome) => {
            let Outcome { unit, name, at_ms, value_micros, source } = outcome;
            bytes.extend_from_slice(&[OUTCOME, source.number() | u8::from(value_micros.is_some()) << 2]);
            bytes.extend_from_slice(unit);
            put_varint(bytes, u64::from(name.0));
            put_time(bytes, known_ms, *at_ms);
            if let Some(value) = value_micros {
                put_signed(bytes, *value);
            }
        }
        Fact::Link { device, canonical } => {
            bytes.push(LINK);
            bytes.extend_from_slice(device);
            bytes.extend_from_slice(canonical);
        }
        Fact::Forget { unit } => {
            bytes.push(FORGET);
            bytes.extend_from_slice(unit);
        }
        Fact::Tick { at_ms } => {
            bytes.push(TICK);
            put_time(bytes, known_ms, *at_ms);
        }
    }
}

fn fact(rest: &mut Reader<'_>, version: u8, known_ms: u64) -> Option<Fact> {
    Some(match rest.byte()? {
        PHASE => Fact::Phase(Box::new(rules(rest, version)?)),
        PHASE_ENDED => Fact::PhaseEnded { phase: PhaseId(rest.signed()?), at_ms: time(rest, known_ms)? },
        EXPOSE => {
            let small = rest.byte()?;
            Fact::Expose(Exposure {
                unit: rest.array()?,
                phase: PhaseId(rest.signed()?),
                arm: Arm::from_number(small & 1)?,
                at_ms: time(rest, known_ms)?,
                slices: SliceSet(if small & 16 == 0 { [0; 4] } else { rest.array()? }),
                is_bot: small & 2 != 0,
                source: Source::from_number(small >> 2 & 3)?,
                network: rest.u32()?,
            })
        }
        OUTCOME => {
            let small = rest.byte()?;
            Fact::Outcome(Outcome {
                unit: rest.array()?,
                name: NameNo(u16::try_from(rest.varint()?).ok()?),
                at_ms: time(rest, known_ms)?,
                value_micros: if small & 4 == 0 { None } else { Some(rest.signed()?) },
                source: Source::from_number(small & 3)?,
            })
        }
        LINK => Fact::Link { device: rest.array()?, canonical: rest.array()? },
        FORGET => Fact::Forget { unit: rest.array()? },
        TICK => Fact::Tick { at_ms: time(rest, known_ms)? },
        _ => return None,
    })
}

/// Wraps around, and back when it is read: no time is lost, however far away.
fn put_time(bytes: &mut Vec<u8>, known_ms: u64, at_ms: u64) {
    put_signed(bytes, at_ms.wrapping_sub(known_ms).cast_signed());
}

fn time(rest: &mut Reader<'_>, known_ms: u64) -> Option<u64> {
    Some(known_ms.wrapping_add(rest.signed()?.cast_unsigned()))
}

/// The first version that has words for these rules.
pub(crate) const fn version_of_rules(rules: &PhaseRules) -> u8 {
    if rules.outcomes_from.is_anybody() { 1 } else { 2 }
}

/// Rules as the log and the checkpoints hold them.
pub(crate) fn put_rules(bytes: &mut Vec<u8>, version: u8, rules: &PhaseRules) {
    let PhaseRules { phase, started_ms, grace_ms, metrics, slices, outcomes_from } = rules;
    put_signed(bytes, phase.0);
    put_varint(bytes, *started_ms);
    put_varint(bytes, *grace_ms);
    put_varint(bytes, metrics.len() as u64);
    for MetricRules { name, matching, window, counting } in metrics {
        put_text(bytes, name);
        let (kind, names) = match matching {
            Matching::Named(name) => (0, std::slice::from_ref(name)),
            Matching::AnyOf(names) => (1, names.as_slice()),
            Matching::NoneOf(names) => (2, names.as_slice()),
        };
        bytes.push(kind);
        put_varint(bytes, names.len() as u64);
        for name in names {
            put_text(bytes, name);
        }
        put_varint(bytes, window.after_ms);
        put_varint(bytes, window.within_ms);
        match counting {
            Counting::First => bytes.push(0),
            Counting::Sample => bytes.push(1),
            Counting::Sum { edges: None } => bytes.push(2),
            Counting::Sum { edges: Some(edges) } => {
                bytes.push(3);
                put_varint(bytes, edges.len() as u64);
                for edge in edges {
                    put_signed(bytes, *edge);
                }
            }
        }
    }
    put_varint(bytes, slices.len() as u64);
    for SliceRules { dimension, value } in slices {
        bytes.push(u8::from(value.is_some()));
        put_text(bytes, dimension);
        if let Some(value) = value {
            put_text(bytes, value);
        }
    }
    if version > 1 {
        bytes.push(u8::from(!outcomes_from.is_anybody()));
    }
}

pub(crate) fn rules(rest: &mut Reader<'_>, version: u8) -> Option<PhaseRules> {
    Some(PhaseRules {
        phase: PhaseId(rest.signed()?),
        started_ms: rest.varint()?,
        grace_ms: rest.varint()?,
        metrics: (0..rest.count()?).map(|_| metric(rest)).collect::<Option<_>>()?,
        slices: (0..rest.count()?).map(|_| slice(rest)).collect::<Option<_>>()?,
        outcomes_from: if version > 1 { outcomes_from(rest)? } else { OutcomesFrom::Any },
    })
}

fn outcomes_from(rest: &mut Reader<'_>) -> Option<OutcomesFrom> {
    match rest.byte()? {
        0 => Some(OutcomesFrom::Any),
        1 => Some(OutcomesFrom::Server),
        _ => None,
    }
}

fn metric(rest: &mut Reader<'_>) -> Option<MetricRules> {
    let name = rest.text()?;
    let kind = rest.byte()?;
    let mut names: Vec<String> = (0..rest.count()?).map(|_| rest.text()).collect::<Option<_>>()?;
    let matching = match kind {
        0 if names.len() == 1 => Matching::Named(names.pop()?),
        1 => Matching::AnyOf(names),
        2 => Matching::NoneOf(names),
        _ => return None,
    };
    let window = Window { after_ms: rest.varint()?, within_ms: rest.varint()? };
    let counting = match rest.byte()? {
        0 => Counting::First,
        1 => Counting::Sample,
        2 => Counting::Sum { edges: None },
        3 => Counting::Sum { edges: Some((0..rest.count()?).map(|_| rest.signed()).collect::<Option<_>>()?) },
        _ => return None,
    };
    Some(MetricRules { name, matching, window, counting })
}

fn slice(rest: &mut Reader<'_>) -> Option<SliceRules> {
    let has_value = rest.byte()? != 0;
    Some(SliceRules { dimension: rest.text()?, value: if has_value { Some(rest.text()?) } else { None } })
}
