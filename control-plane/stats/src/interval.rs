//! The interval that is shown beside an estimate, valid at every look; no decision reads it.
//!
//! Source: inversion of the kernel (Howard and others 2021, arXiv 1810.08240, for confidence sequences). Equation: on the grid
//! `ω = 2^(j/8)`, j = −64 … 64, `E⁺_j = mean over i of Π_b exp(ℓ_b(ω_{j+i}))` against `ω_j`, i = 1, 2, 4, 8, 16, and `E⁻_j` likewise to
//! the other side. The lower end is the last grid point such that it and all below it were rejected, each in its turn, by
//! `E⁺ ≥ 1/0.02`; the upper end likewise by `E⁻`. Assumptions: the kernel's, and one odds ratio in all blocks. Guarantee: the
//! interval covers it with 96 % at all times together: to miss it, the first grid point beyond it has to be rejected on its side,
//! which has a probability of 2 % at most. A relative change follows from a ratio at control's rate, which is estimated as well:
//! it takes the 1 % that is left to 95 %, by the asymptotic confidence sequence of Waudby-Smith and others 2021 (arXiv 2103.06476):
//! `p̂ ± σ̂ √(2(nρ² + 1)/(n²ρ²) · ln(√(nρ² + 1)/0.01))`. Ends are rejected points, so the interval is never empty, however much is read.
//! State: since `Π_b exp(ℓ_b)` depends on the sum of `ln Z_b` alone, one number for each grid point and one for the events.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::block::Block;
use crate::classic::ArmCount;
use crate::grid::{Measure, change_of_ratio};
use crate::kernel::{log_sums, mode};
use crate::math::{exp, float, ln, ln_add};
use crate::refusal::Refused;

/// Grid points, with 16 more on either side than are inverted.
pub const POINTS: usize = 161;
/// Grid points that are inverted: 2^-8 to 2^8 by eighths.
pub const INVERTED: u8 = 129;
/// Steps to the alternatives.
const STEPS: [u8; 5] = [1, 2, 4, 8, 16];
/// Points before the first that is inverted.
const MARGIN: u8 = 16;
/// ln(5/0.02): the sum of five products at which a point is rejected on one side.
const REJECTED_LN: f64 = 5.521_460_917_862_246;
/// ρ²: bounds of control's rate are narrowest at 500 units.
const RHO_SQUARED: f64 = 0.024_861_334_356_688_053;
/// −ln 0.01: what bounds of control's rate may miss.
const RATE_MISSED_LN: f64 = 4.605_170_185_988_092;
/// A rate is no more than this, where ratios and changes are made of it.
const RATE_MAX: f64 = 1.0 - 1e-9;
/// The most that a sum of five products can be above the largest of them, and a little more: ln 5 is 1.6094….
const FIVE_LN_MAX: f64 = 1.61;
/// Units of an arm up to which a block's sums are kept: small ones come again and again.
const SMALL_UNITS: u64 = 64;
/// Kinds of blocks whose sums a thread keeps: 3 MB.
const KEPT_MAX: usize = 2_048;
/// ln 2 / 8.
const STEP_LN: f64 = 0.086_643_397_569_993_16;

/// The grid's odds ratios; made once.
#[derive(Debug, Clone, PartialEq)]
pub struct Points {
    ratios: [f64; POINTS],
}

/// 162 numbers and two places.
#[derive(Debug, Clone, PartialEq)]
pub struct Interval {
    /// `Σ_b ln Z_b(ω_j)`, relative to the start of each block's sum.
    pub log_sums: [f64; POINTS],
    /// `Σ_b s_e`, relative to the same starts.
    pub events: f64,
    /// How many grid points were rejected from below, in order.
    pub rejected_below: u8,
    /// How many were rejected from above.
    pub rejected_above: u8,
}

/// Odds ratios between which the true one lies; `None` is an end that is not known yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ends {
    /// The lower end.
    pub lower: Option<f64>,
    /// The upper end.
    pub upper: Option<f64>,
}

impl Ends {
    /// The relative changes between which the true one lies, when control had these units and events: each end where control's rate
    /// makes it the widest.
    pub fn changes(&self, control: ArmCount) -> [Option<f64>; 2] {
        let (least, most) = rate_bounds(control);
        let change = |rate, ratio| change_of_ratio(rate, ratio, Measure::Share);
        // The change comes nearer to nothing the larger control's rate is.
        let lower = self.lower.map(|ratio| change(if ratio > 1.0 { most } else { least }, ratio));
        let upper = self.upper.map(|ratio| change(if ratio > 1.0 { least } else { most }, ratio));
        [lower, upper]
    }
}

/// Between which rates that of control lies, with 99 % at all times together.
fn rate_bounds(control: ArmCount) -> (f64, f64) {
    let (units, events) = (float(control.units), float(control.events));
    // Of few events more spread than they had, so that none at all have some.
    let rate = (events + 1.0) / (units + 2.0);
    let scaled = units * RHO_SQUARED + 1.0;
    let squared = 2.0 * scaled / (units * units * RHO_SQUARED) * (0.5 * ln(scaled) + RATE_MISSED_LN);
    let width = (rate * (1.0 - rate) * squared).sqrt();
    if width.is_finite() {
        let found = events / units;
        ((found - width).max(0.0), (found + width).min(RATE_MAX))
    } else {
        (0.0, RATE_MAX)
    }
}

/// `ln Z` of a block at all grid points, which follows from its units by arm and its events.
type Sums = Box<[f64; POINTS]>;

thread_local! {
    /// Sums of small blocks that were read before.
    static KEPT: RefCell<BTreeMap<[u64; 3], Sums>> = RefCell::default();
}

/// Hands on `ln Z` of a block at all grid points, relative to the start of its sum.
fn with_sums(points: &Points, block: &Block, start: f64, add: impl FnOnce(&[f64; POINTS])) {
    let (exposed, control) = (block.exposed(), block.control());
    if exposed.units.max(control.units) > SMALL_UNITS {
        return add(&log_sums(block, start, &points.ratios));
    }
    KEPT.with_borrow_mut(|kept| {
        let kind = [exposed.units, control.units, exposed.events + control.events];
        if kept.len() >= KEPT_MAX && !kept.contains_key(&kind) {
            kept.clear();
        }
        add(kept.entry(kind).or_insert_with(|| Box::new(log_sums(block, start, &points.ratios))));
    });
}

/// Where a point stands in the list: the number of its step from 2^-10.
fn ratio(point: u8) -> f64 {
    exp((f64::from(point) - 80.0) * STEP_LN)
}

impl Default for Points {
    fn default() -> Self {
        let mut ratios = [0.0; POINTS];
        for (place, point) in ratios.iter_mut().zip(0_u8..) {
            *place = ratio(point);
        }
        Self { ratios }
    }
}

impl Default for Interval {
    fn default() -> Self {
        Self { log_sums: [0.0; POINTS], events: 0.0, rejected_below: 0, rejected_above: 0 }
    }
}

impl Interval {
    /// Folds a block in.
    pub fn fold(&mut self, points: &Points, block: &Block) -> Result<(), Refused> {
        self.check()?;
        if block.is_silent() {
            return Ok(());
        }
        let start = mode(block, 1.0);
        let [_, _, events, _] = block.floats();
        self.events += events - start;
        with_sums(points, block, start, |sums| {
            for (sum, log) in self.log_sums.iter_mut().zip(sums) {
                *sum += log;
            }
        });
        while self.rejected_below < INVERTED && self.is_rejected(self.rejected_below, 1.0) {
            self.rejected_below += 1;
        }
        while self.rejected_above < INVERTED && self.is_rejected(INVERTED - 1 - self.rejected_above, -1.0) {
            self.rejected_above += 1;
        }
        Ok(())
    }

    /// Whether the inverted point is rejected by alternatives above it (`side` 1) or below it (−1).
    fn is_rejected(&self, point: u8, side: f64) -> bool {
        let at = |place: u8| self.log_sums.get(usize::from(place)).copied().unwrap_or(0.0);
        let place = MARGIN + point;
        let here = at(place);
        let product = |step: u8| {
            let there = if side > 0.0 { at(place + step) } else { at(place - step) };
            self.events * side * f64::from(step) * STEP_LN - (there - here)
        };
        let products = STEPS.map(product);
        let largest = products.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // Far from it, which is nearly always, the largest product says so without logarithms.
        largest >= REJECTED_LN - FIVE_LN_MAX
            && products.iter().fold(f64::NEG_INFINITY, |sum, product| ln_add(sum, *product)) >= REJECTED_LN
    }

    /// The ends.
    pub fn ends(&self) -> Ends {
        let lower = self.rejected_below.checked_sub(1).map(|point| ratio(MARGIN.saturating_add(point)));
        let upper = self
            .rejected_above
            .checked_sub(1)
            .map(|point| ratio((MARGIN + INVERTED - 1).saturating_sub(point)));
        Ends { lower, upper }
    }

    /// Refuses a state with a number that is none, or more rejected points than there are.
    pub fn check(&self) -> Result<(), Refused> {
        let are_finite = self.events.is_finite() && self.log_sums.iter().all(|sum| sum.is_finite());
        let are_points = self.rejected_below <= INVERTED && self.rejected_above <= INVERTED;
        if are_finite && are_points { Ok(()) } else { Err(Refused::CorruptState) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::fixtures::block;
    use crate::kernel::{Odds, log_ratios};

    #[test]
    fn sums_give_the_same_products_as_the_kernel_block_by_block() {
        let blocks = [block((20, 3), (20, 9)), block((7, 0), (93, 40)), block((500, 210), (500, 190))];
        let points = Points::default();
        let mut interval = Interval::default();
        for block in &blocks {
            interval.fold(&points, block).unwrap();
        }
        for (here, there) in [(80_u8, 84_u8), (70, 54), (100, 116)] {
            let odds = [here, there].map(|point| Odds::new(ratio(point)).unwrap());
            let expected: f64 = blocks.iter().map(|block| log_ratios(block, &odds)[1]).sum();
            let steps = f64::from(there) - f64::from(here);
            let found = interval.events * steps * STEP_LN
                - (interval.log_sums[usize::from(there)] - interval.log_sums[usize::from(here)]);
            assert!((found - expected).abs() < 1e-10, "{found} {expected}");
        }
    }

    #[test]
    fn a_change_is_told_at_the_rates_that_make_it_widest() {
        let ends = Ends { lower: Some(4.0), upper: Some(8.0) };
        let (least, most) = rate_bounds(ArmCount { units: 2_000, events: 400 });
        assert!(least > 0.16 && least < 0.17 && most > 0.23 && most < 0.24, "{least} {most}");
        let [Some(lower), Some(upper)] = ends.changes(ArmCount { units: 2_000, events: 400 }) else {
            panic!("both ends are known")
        };
        let at = |rate, ratio| change_of_ratio(rate, ratio, Measure::Share);
        assert!(lower < at(0.2, 4.0) && upper > at(0.2, 8.0));
        // Fewer: the widest is at the least rate below, and at the largest above.
        let ends = Ends { lower: Some(0.2), upper: Some(0.5) };
        let [Some(lower), Some(upper)] = ends.changes(ArmCount { units: 2_000, events: 400 }) else {
            panic!("both ends are known")
        };
        assert!(lower < at(0.2, 0.2) && upper > at(0.2, 0.5) && upper < 0.0);
        assert_eq!(rate_bounds(ArmCount { units: 0, events: 0 }), (0.0, RATE_MAX));
        assert!(rate_bounds(ArmCount { units: 500, events: 0 }).1 > 0.005);
        assert_eq!(Ends { lower: None, upper: None }.changes(ArmCount { units: 9, events: 3 }), [None, None]);
    }

    #[test]
    fn sums_that_were_kept_are_those_of_the_block_to_the_last_bit() {
        let points = Points::default();
        let twice = |interval: &mut Interval| {
            for _ in 0..2 {
                interval.fold(&points, &block((12, 3), (40, 9))).unwrap();
                // The same kind of block with its events in other arms.
                interval.fold(&points, &block((12, 5), (40, 7))).unwrap();
            }
        };
        let (mut kept, mut anew) = (Interval::default(), Interval::default());
        twice(&mut kept);
        for events in [(3, 9), (5, 7), (3, 9), (5, 7)] {
            KEPT.with_borrow_mut(BTreeMap::clear);
            anew.fold(&points, &block((12, events.0), (40, events.1))).unwrap();
        }
        let bits = |interval: &Interval| interval.log_sums.map(f64::to_bits);
        assert_eq!((bits(&kept), kept.events.to_bits()), (bits(&anew), anew.events.to_bits()));
        // However many kinds there are, they do not pile up.
        for units in 2..3_000 {
            kept.fold(&points, &block((1 + units % 63, 1), (1 + units / 63, 0))).unwrap();
        }
        KEPT.with_borrow(|kept| assert!(kept.len() <= KEPT_MAX));
    }

    #[test]
    fn ends_close_in_on_the_ratio_and_never_cross() {
        let (points, mut interval) = (Points::default(), Interval::default());
        assert_eq!(interval.ends(), Ends { lower: None, upper: None });
        for _ in 0..400 {
            // Odds of 0.38 against 0.4: 0.919, between the grid points 0.917 and 1.
            interval.fold(&points, &block((5_000, 1_900), (5_000, 2_000))).unwrap();
        }
        let Ends { lower: Some(lower), upper: Some(upper) } = interval.ends() else { panic!("no ends") };
        assert!(lower < 0.9194 && 0.9194 < upper && upper / lower < 1.2, "{lower} {upper}");
    }

    #[test]
    fn corrupt_states_are_refused() {
        let mut interval = Interval { events: f64::NAN, ..Interval::default() };
        assert_eq!(interval.fold(&Points::default(), &block((9, 1), (9, 2))), Err(Refused::CorruptState));
        let interval = Interval { rejected_above: 200, ..Interval::default() };
        assert_eq!(interval.check(), Err(Refused::CorruptState));
    }
}
