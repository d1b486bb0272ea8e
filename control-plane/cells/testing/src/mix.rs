//! The mix of the benchmarks: 60 % outcomes of known units, 25 % first exposures, 10 % repeats, 5 % of all else.

use flagfuse_cells::{Arm, Exposure, Fact, NameNo, Outcome, PhaseId, SliceSet, Source};

use crate::chance::Chance;
use crate::history::unit;

/// Facts without end.
#[derive(Debug, Clone)]
pub struct Mix {
    chance: Chance,
    phases: Vec<PhaseId>,
    /// Units that have been exposed: those of the numbers below.
    units: u64,
    now_ms: u64,
}

impl Mix {
    /// Facts of some phases whose rules are those of [`crate::history::rules`].
    pub const fn new(phases: Vec<PhaseId>, now_ms: u64, seed: u64) -> Self {
        Self { chance: Chance::new(seed), phases, units: 0, now_ms }
    }

    /// What happens from now on happens at this time.
    pub const fn set_now(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Units that have been exposed.
    pub const fn units(&self) -> u64 {
        self.units
    }

    /// A first exposure.
    pub fn enrol(&mut self) -> Fact {
        self.units += 1;
        self.exposure(self.units - 1)
    }

    /// A fact of the mix.
    pub fn next_fact(&mut self) -> Fact {
        let known = self.units.max(1);
        match self.chance.below(100) {
            0..60 => {
                let number = self.chance.below(known);
                self.outcome(number)
            }
            60..85 => self.enrol(),
            85..95 => {
                let number = self.chance.below(known);
                self.exposure(number)
            }
            95..98 => {
                let number = known + self.chance.below(known);
                self.outcome(number)
            }
            98 => Fact::Outcome(Outcome { value_micros: Some(19_990_000), ..self.plain_outcome(3) }),
            _ => Fact::Outcome(self.plain_outcome(0)),
        }
    }

    fn exposure(&mut self, number: u64) -> Fact {
        let phases = self.phases.len().max(1) as u64;
        let phase = usize::try_from(number % phases).ok().and_then(|at| self.phases.get(at)).copied();
        Fact::Expose(Exposure {
            unit: unit(number),
            phase: phase.unwrap_or_default(),
            arm: if (number / phases).is_multiple_of(2) { Arm::Control } else { Arm::Exposed },
            at_ms: self.now_ms,
            slices: SliceSet(if number.is_multiple_of(3) { [2, 0, 0, 0] } else { [3, 0, 0, 0] }),
            is_bot: number.is_multiple_of(50),
            source: Source::Edge,
            network: u32::try_from(number % 5_000).unwrap_or(0),
        })
    }

    fn outcome(&mut self, number: u64) -> Fact {
        let name = self.chance.below(5) + 1;
        let value_micros = (name == 2).then(|| self.chance.below(2_000_000_000).cast_signed());
        let name = NameNo(u16::try_from(if name == 3 { 4 } else { name }).unwrap_or(0));
        let at_ms = self.now_ms;
        Fact::Outcome(Outcome { unit: unit(number), name, at_ms, value_micros, source: Source::Client })
    }

    fn plain_outcome(&mut self, name: u16) -> Outcome {
        let unit = unit(self.chance.below(self.units.max(1)));
        Outcome { unit, name: NameNo(name), at_ms: self.now_ms, value_micros: None, source: Source::Client }
    }
}
