//! Chance for the simulations: a generator of our own, arms that enrol, and the launch that looks at every block.

use flagfuse_stats::block::Block;
use flagfuse_stats::classic::ArmCount;
use flagfuse_stats::estimate::Gate;
use flagfuse_stats::grid::{Direction, Grid, Harm, Measure, THETA, WEIGHTS};
use flagfuse_stats::mixture::Mixture;

/// PCG-XSH-RR 64/32 (O'Neill 2014): a seed gives the same launches everywhere.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1));
        chance.bits();
        chance
    }

    fn bits(&mut self) -> u32 {
        let old = self.0;
        self.0 = old.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = u32::try_from(((old >> 18) ^ old) >> 27 & 0xffff_ffff).unwrap();
        mixed.rotate_right(u32::try_from(old >> 59).unwrap())
    }

    /// From 0 to 1, neither of them.
    pub(crate) fn uniform(&mut self) -> f64 {
        (f64::from(self.bits()) + 0.5) / 4_294_967_296.0
    }

    pub(crate) fn is(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// How many of `units` have what each has with this probability.
    pub(crate) fn binomial(&mut self, units: u64, probability: f64) -> u64 {
        if probability > 0.5 {
            return units - self.binomial(units, 1.0 - probability);
        }
        if units < 40 {
            return (0..units).filter(|_| self.is(probability)).count() as u64;
        }
        // From one to the next: geometric gaps.
        let (mut at, mut found) = (0.0, 0);
        loop {
            at += (self.uniform().ln() / (-probability).ln_1p()).floor() + 1.0;
            if at > units as f64 {
                return found;
            }
            found += 1;
        }
    }

    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.uniform().ln()
    }

    /// A standard normal number (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// A matured slot of so many units: who is exposed is drawn by the share, who has the event by the arm's rate.
pub(crate) fn slot(chance: &mut Chance, units: u64, share: f64, rates: (f64, f64)) -> Block {
    let exposed = chance.binomial(units, share);
    let control = units - exposed;
    let arm = |chance: &mut Chance, units, rate| ArmCount { units, events: chance.binomial(units, rate) };
    Block::new(arm(chance, exposed, rates.0), arm(chance, control, rates.1)).unwrap()
}

/// A guardrail as the fuse reads it: evidence and gate.
pub(crate) struct Guardrail {
    pub(crate) harm: Harm,
    grid: Grid,
    pub(crate) mixture: Mixture<5>,
    gate: Gate,
    pub(crate) threshold: f64,
}

impl Guardrail {
    pub(crate) fn new(harm: Harm, base: f64, measure: Measure, threshold: f64) -> Self {
        let grid = Grid::new(&harm, base, measure).unwrap();
        Self { harm, grid, mixture: Mixture::default(), gate: Gate::default(), threshold }
    }

    /// Folds a block; whether it trips now.
    pub(crate) fn trips(&mut self, block: &Block, entering: u64) -> bool {
        let factors = self.grid.log_factors(block);
        self.mixture.fold(&factors, entering).unwrap();
        self.gate.fold(factors[THETA], block).unwrap();
        self.mixture.evidence(&WEIGHTS) >= self.threshold && self.gate.is_open(&self.harm)
    }

    /// Of a matured slot, all of whose exposed units enter with it.
    pub(crate) fn trips_matured(&mut self, block: &Block) -> bool {
        self.trips(block, block.exposed().units)
    }
}

pub(crate) fn fewer(theta: f64) -> Harm {
    Harm::new(theta, Direction::DecreaseIsHarm).unwrap()
}

pub(crate) fn more(theta: f64) -> Harm {
    Harm::new(theta, Direction::IncreaseIsHarm).unwrap()
}

/// The p-quantile of launches; those that never came to it count as infinite.
pub(crate) fn quantile(found: &[Option<u64>], p: f64) -> u64 {
    let mut sorted: Vec<u64> = found.iter().map(|units| units.unwrap_or(u64::MAX)).collect();
    sorted.sort_unstable();
    sorted[((sorted.len() as f64 * p) as usize).min(sorted.len() - 1)]
}

/// The upper end of a one-sided 97.5 % Clopper-Pearson interval.
pub(crate) fn upper_bound(found: usize, launches: usize) -> f64 {
    let (mut low, mut high) = (found as f64 / launches as f64, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if at_most(found, launches, middle) > 0.025 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// P(X ≤ found) of a binomial distribution.
fn at_most(found: usize, launches: usize, rate: f64) -> f64 {
    let mut log = launches as f64 * (-rate).ln_1p();
    let mut sum = log.exp();
    for x in 0..found {
        log += ((launches - x) as f64 / (x + 1) as f64 * rate / (1.0 - rate)).ln();
        sum += log.exp();
    }
    sum
}
