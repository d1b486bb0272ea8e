//! Random histories of an environment: what became known between one tick and the next.

use flagfuse_cells::schedule::{TICK_MS, tick_at};
use flagfuse_cells::{
    Arm, Counting, Exposure, Fact, Matching, MetricRules, NameNo, Outcome, OutcomesFrom, PhaseId, PhaseRules,
    SliceRules, SliceSet, Source, UnitHash, Window,
};

use crate::chance::Chance;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// When histories begin: a tick.
pub const BEGIN_MS: u64 = 1_700_000_000_000;

/// Names in the order in which [`rules`] mention them first; the last is mentioned nowhere.
pub const NAMES: [&str; 6] = ["error", "latency_ms", "revenue", "activation", "session", "made_up"];

/// Facts with the times at which they became known, and the tick behind them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    pub facts: Vec<(u64, Fact)>,
    pub tick_ms: u64,
}

/// The hash of the unit of a number.
pub fn unit(number: u64) -> UnitHash {
    let mut chance = Chance::new(number);
    let mut unit = [0; 16];
    for (place, byte) in
        unit.iter_mut().zip([chance.next(), chance.next()].map(u64::to_le_bytes).as_flattened())
    {
        *place = *byte;
    }
    unit
}

/// The number of one of [`NAMES`] in a ledger that has seen rules of [`rules`].
pub fn name_no(name: &str) -> NameNo {
    let at = NAMES.iter().position(|known| *known == name).filter(|at| at + 1 < NAMES.len());
    NameNo(at.map_or(0, |at| u16::try_from(at + 1).unwrap_or(0)))
}

/// A metric that counts outcomes of one name up to `within_ms` after the enrolment.
pub fn metric(name: &str, within_ms: u64, counting: Counting) -> MetricRules {
    let window = Window { after_ms: 0, within_ms };
    MetricRules { name: name.to_owned(), matching: Matching::Named(name.to_owned()), window, counting }
}

/// Rules with a metric of every kind: 1 error, 2 latency, 3 revenue, 4 activation, 5 return, 6 other.
pub fn rules(phase: PhaseId, started_ms: u64) -> PhaseRules {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let slice = |dimension: &str, value: Option<&str>| SliceRules {
        dimension: dimension.to_owned(),
        value: value.map(str::to_owned),
    };
    PhaseRules {
        phase,
        started_ms,
        grace_ms: 30 * SECOND,
        metrics: vec![
            metric("error", 10 * MINUTE, Counting::First),
            metric("latency_ms", 10 * MINUTE, Counting::Sample),
            metric("revenue", DAY, Counting::Sum { edges: None }),
            metric("activation", DAY, Counting::First),
            MetricRules {
                name: "return".to_owned(),
                matching: Matching::AnyOf(names(&["session"])),
                window: Window { after_ms: DAY, within_ms: 7 * DAY },
                counting: Counting::First,
            },
            MetricRules {
                name: "other".to_owned(),
                matching: Matching::NoneOf(names(&[
                    "error",
                    "latency_ms",
                    "revenue",
                    "activation",
                    "session",
                ])),
                window: Window { after_ms: 0, within_ms: DAY },
                counting: Counting::First,
            },
        ],
        slices: vec![slice("device", Some("mobile")), slice("device", None), slice("country", Some("np"))],
        outcomes_from: OutcomesFrom::Any,
    }
}

/// How lively a history is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub seed: u64,
    pub ticks: usize,
    /// Facts between two ticks, at most.
    pub facts_max: u64,
    pub units: u64,
}

/// A phase of a history.
#[derive(Debug, Clone, Copy)]
struct Running {
    id: PhaseId,
    started_ms: u64,
    ended_ms: Option<u64>,
}

struct Author {
    chance: Chance,
    shape: Shape,
    now_ms: u64,
    phases: Vec<Running>,
    /// Units that met a phase, and when.
    met: Vec<(u64, u64)>,
}

/// A history. Two phases of one flag follow each other, and another flag has its own: facts of all of them are mixed, late,
/// repeated and out of order.
pub fn history(shape: Shape) -> Vec<Stretch> {
    let mut author = Author {
        chance: Chance::new(shape.seed),
        shape,
        now_ms: BEGIN_MS,
        phases: Vec::new(),
        met: Vec::new(),
    };
    (0..shape.ticks).map(|at| author.stretch(at)).collect()
}

impl Author {
    fn stretch(&mut self, at: usize) -> Stretch {
        let mut facts = Vec::new();
        let begin_ms = self.now_ms;
        self.change_phases(at, &mut facts);
        let gap_ms = match self.chance.below(100) {
            0..70 => TICK_MS,
            70..80 => MINUTE,
            80..90 => 20 * MINUTE,
            90..96 => 3 * HOUR,
            96..99 => 26 * HOUR,
            _ => 9 * DAY,
        };
        // Ticks come in time as a rule; after a pause of the control plane its facts come first.
        let width_ms = if self.chance.percent(95) { TICK_MS } else { gap_ms };
        self.now_ms += gap_ms;
        let count = self.chance.below(self.shape.facts_max + 1);
        for _ in 0..count {
            let known_ms = self.now_ms - width_ms.min(gap_ms) + self.chance.below(width_ms.min(gap_ms));
            self.fact(known_ms, &mut facts);
        }
        // Times that things became known never go back; what was decided at the top comes first.
        facts.sort_by_key(|(known_ms, _)| *known_ms);
        debug_assert!(facts.iter().all(|(known_ms, _)| (begin_ms..self.now_ms).contains(known_ms)));
        Stretch { facts, tick_ms: self.now_ms }
    }

    fn change_phases(&mut self, at: usize, facts: &mut Vec<(u64, Fact)>) {
        let now_ms = self.now_ms;
        let middle = self.shape.ticks / 3;
        if at == 0 || at == 2 || at == middle {
            let id = PhaseId(self.phases.last().map_or(7, |phase| phase.id.0 + 1));
            // The control plane may learn of a phase a little after its start.
            let started_ms = now_ms - self.chance.below(40 * SECOND);
            self.phases.push(Running { id, started_ms, ended_ms: None });
            // Now and then only what servers send counts.
            let is_of_servers = self.chance.percent(25);
            let outcomes_from = if is_of_servers { OutcomesFrom::Server } else { OutcomesFrom::Any };
            let rules = PhaseRules { outcomes_from, ..rules(id, started_ms) };
            facts.push((now_ms, Fact::Phase(Box::new(rules))));
        }
        let ends_now = at == middle || at + 5 == self.shape.ticks * 2 / 3;
        let running =
            self.phases.iter_mut().find(|phase| phase.ended_ms.is_none()).filter(|_| ends_now && at > 2);
        if let Some(phase) = running {
            phase.ended_ms = Some(now_ms);
            facts.push((now_ms, Fact::PhaseEnded { phase: phase.id, at_ms: now_ms }));
        }
    }

    fn fact(&mut self, known_ms: u64, facts: &mut Vec<(u64, Fact)>) {
        match self.chance.below(1_000) {
            0..330 => self.exposure(known_ms, facts),
            330..990 => self.outcome(known_ms, facts),
            990..997 => {
                let (device, canonical) = (self.number(), self.number());
                let link = Fact::Link { device: unit(device), canonical: unit(canonical) };
                facts.push((known_ms, link));
            }
            _ => {
                let unit = unit(self.number());
                facts.push((known_ms, Fact::Forget { unit }));
            }
        }
        // Some batches come twice.
        if self.chance.percent(5)
            && let Some(fact) = facts.last().cloned()
            && !is_additive(&fact.1)
        {
            facts.push(fact);
        }
    }

    fn number(&mut self) -> u64 {
        self.chance.below(self.shape.units)
    }

    /// Happened shortly before it became known, or long, or at a boundary.
    fn past(&mut self, known_ms: u64) -> u64 {
        let ago_ms = match self.chance.below(100) {
            0..60 => self.chance.below(2 * SECOND),
            60..80 => self.chance.below(30 * SECOND),
            80..90 => self.chance.below(12 * MINUTE),
            90..94 => 10 * MINUTE + self.chance.below(3) * SECOND,
            94..98 => self.chance.below(3 * HOUR),
            _ => self.chance.below(3 * DAY),
        };
        known_ms - ago_ms
    }

    fn exposure(&mut self, known_ms: u64, facts: &mut Vec<(u64, Fact)>) {
        let number = self.number();
        let Some(phase) = self.chance.one_of(&self.phases) else { return };
        let at_ms = match self.chance.below(20) {
            // At the edges of the grace and of the end.
            0 => phase.started_ms + 30 * SECOND + self.chance.below(3) - 1,
            1 => phase.started_ms + self.chance.below(3) - 1,
            2 => phase.ended_ms.unwrap_or(known_ms) + self.chance.below(3) - 1,
            _ => self.past(known_ms),
        };
        // The arm follows from the unit; forgeries say otherwise.
        let is_exposed = number.is_multiple_of(3) ^ self.chance.percent(2);
        let is_bot = number.is_multiple_of(13) ^ self.chance.percent(2);
        // What a unit's requests say of it may change; what the first of them said stands.
        let slices = match (number + u64::from(self.chance.percent(5))) % 4 {
            0 => [2, 0, 0, 0],
            1 => [3, 4, 0, 0],
            2 => [0, 4, 0, 0],
            _ => [0; 4],
        };
        let source =
            self.chance.one_of(&[Source::Edge, Source::Edge, Source::Client]).unwrap_or(Source::Edge);
        self.met.push((number, at_ms));
        facts.push((
            known_ms,
            Fact::Expose(Exposure {
                unit: unit(number),
                phase: phase.id,
                arm: if is_exposed { Arm::Exposed } else { Arm::Control },
                at_ms,
                slices: SliceSet(slices),
                is_bot,
                source,
                network: u32::try_from(self.chance.below(100)).unwrap_or(0),
            }),
        ));
    }

    fn outcome(&mut self, known_ms: u64, facts: &mut Vec<(u64, Fact)>) {
        let (mut number, mut at_ms) = (self.number(), self.past(known_ms));
        if self.chance.percent(30)
            && let Some((of, met_ms)) = self.chance.one_of(&self.met)
        {
            // Somebody who met a phase, at the edges of a window if that lies in the past.
            number = of;
            let window = [0, 1, 10 * MINUTE, DAY, 7 * DAY];
            let edge_ms = met_ms + self.chance.one_of(&window).unwrap_or(0) + self.chance.below(3) - 1;
            if edge_ms <= known_ms {
                at_ms = edge_ms;
            }
        }
        let name = self.chance.one_of(&NAMES).unwrap_or("session");
        let value_micros = match name {
            "latency_ms" if self.chance.percent(95) => Some(1 << self.chance.below(45)),
            "revenue" => Some(self.chance.below(200_000_000).cast_signed() - 20_000_000),
            _ => None,
        };
        let source = self.chance.one_of(&[Source::Client, Source::Server, Source::Open]);
        facts.push((
            known_ms,
            Fact::Outcome(Outcome {
                unit: unit(number),
                name: name_no(name),
                at_ms,
                value_micros,
                source: source.unwrap_or(Source::Client),
            }),
        ));
    }
}

/// Whether each repeat counts: those are told apart by their ids before they become facts.
pub const fn is_additive(fact: &Fact) -> bool {
    matches!(fact, Fact::Outcome(Outcome { value_micros: Some(_), .. }))
}

/// The same facts in another order, within each tick of known times. Control facts stay in front.
pub fn shuffled(history: &[Stretch], seed: u64) -> Vec<Stretch> {
    let mut chance = Chance::new(seed);
    let is_control = |fact: &Fact| matches!(fact, Fact::Phase(_) | Fact::PhaseEnded { .. });
    let mut history = history.to_vec();
    for stretch in &mut history {
        let of_one_tick = |a: &(u64, Fact), b: &(u64, Fact)| {
            is_control(&a.1) == is_control(&b.1) && tick_at(a.0) == tick_at(b.0)
        };
        for facts in stretch.facts.chunk_by_mut(of_one_tick) {
            if facts.iter().any(|(_, fact)| is_control(fact)) {
                continue;
            }
            let times: Vec<u64> = facts.iter().map(|(known_ms, _)| *known_ms).collect();
            chance.shuffle(facts);
            for ((known_ms, _), time) in facts.iter_mut().zip(times) {
                *known_ms = time;
            }
        }
    }
    history
}
