//! The kernel: how much likelier a block's split of events is under one odds ratio than under another, whatever the common rate.
//!
//! Source: Fisher's noncentral hypergeometric distribution; as an e-value Turner, Ly and Grünwald, arXiv 2106.02693; as the
//! sequential Mantel-Haenszel and log-rank test ter Schure, Pérez-Ortiz, Ly and Grünwald, arXiv 2011.06931. Equation: with
//! `s = s_e + s_c` events among `n_e` exposed and `n_c` control units,
//! `Z(ω) = Σ_x C(n_e, x) C(n_c, s − x) ω^x`, `ℓ(ω) = s_e ln(ω/ω0) − ln Z(ω) + ln Z(ω0)`.
//! Assumptions: inside the block every unit of an arm has the same chance of the event, or which unit is in which arm was
//! drawn by the bucket alone; the block's odds ratios were fixed before its events were seen.
//! Guarantee: for `ω < ω0` the expectation of `exp(ℓ(ω))` is at most 1 for every true odds ratio ≥ ω0, for `ω > ω0` for every
//! true one ≤ ω0, at any size and any allocation. Products over blocks are then supermartingales: `P(ever ≥ 1/α) ≤ α` (Ville).
//! Numerics: terms by their ratios outward from the mode of ω0, so no logarithm of a factorial; what is cut off is below 2^-60
//! of the sum. Blocks that say nothing give exactly 0.

use crate::block::Block;
use crate::math::{ln, ln_add};
use crate::refusal::{Refused, within};

/// The least and the largest odds ratio that a kernel takes.
pub const ODDS_MIN: f64 = 1e-6;
/// See [`ODDS_MIN`].
pub const ODDS_MAX: f64 = 1e6;

/// Terms between two looks at their size: (10^12)^8 times [`LARGE`] is still a double.
const STRIDE: usize = 8;
/// From here terms are scaled down.
const LARGE: f64 = 1e150;
const LN_LARGE: f64 = 345.387_763_949_106_84;
/// Share of a sum that its tail may have when it is cut off.
const TAIL: f64 = 8.673_617_379_884_035e-19;

/// An odds ratio with its logarithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Odds {
    ratio: f64,
    ln: f64,
}

impl Odds {
    /// Equal arms.
    pub const EVEN: Self = Self { ratio: 1.0, ln: 0.0 };

    /// Odds of the event in the exposed arm over those in the control arm, [`ODDS_MIN`] to [`ODDS_MAX`].
    pub fn new(ratio: f64) -> Result<Self, Refused> {
        let ratio = within("odds ratio", ratio, ODDS_MIN, ODDS_MAX)?;
        Ok(Self { ratio, ln: ln(ratio) })
    }

    /// The ratio.
    pub fn ratio(self) -> f64 {
        self.ratio
    }

    /// Its natural logarithm.
    pub fn ln(self) -> f64 {
        self.ln
    }
}

/// `ℓ(ω)` of a block in natural logarithms, for each odds ratio against the first, which is ω0; the first result is 0.
pub fn log_ratios<const N: usize>(block: &Block, odds: &[Odds; N]) -> [f64; N] {
    let Some(null) = odds.first().filter(|_| !block.is_silent()) else { return [0.0; N] };
    let start = mode(block, null.ratio);
    let sums = log_sums(block, start, &odds.map(Odds::ratio));
    let sum_null = sums.first().copied().unwrap_or(0.0);
    let [_, _, events, _] = block.floats();
    let mut ratios = sums;
    for (ratio, each) in ratios.iter_mut().zip(odds) {
        *ratio = (events - start) * (each.ln - null.ln) - (*ratio - sum_null);
    }
    ratios
}

/// The likeliest number of exposed events at this odds ratio (Liao and Rosen 2001). An integer of the support; the sums are
/// right wherever they start, and cheapest here.
pub(crate) fn mode(block: &Block, ratio: f64) -> f64 {
    let [exposed, control, events_exposed, events_control] = block.floats();
    let events = events_exposed + events_control;
    let (a, c) = (ratio - 1.0, (exposed + 1.0) * (events + 1.0) * ratio);
    let b = events - control - (exposed + events + 2.0) * ratio;
    let root = (b * b - 4.0 * a * c).max(0.0).sqrt();
    let at = (-2.0 * c / (b - root)).floor();
    let (low, high) = ((events - control).max(0.0), exposed.min(events));
    // NaN, should rounding ever lead there, starts at the lower end.
    if at > low { at.min(high) } else { low }
}

/// `ln(Z(ω) / (C(n_e, start) C(n_c, s − start) ω^start))` for each ω. The block is not silent, `start` lies in the support.
pub(crate) fn log_sums<const N: usize>(block: &Block, start: f64, ratios: &[f64; N]) -> [f64; N] {
    let [exposed, control, events_exposed, events_control] = block.floats();
    let events = events_exposed + events_control;
    let (low, high) = ((events - control).max(0.0), exposed.min(events));
    let mut up = Walk::starting([1.0; N]);
    // u(x+1)/u(x) = (n_e − x)(s − x) / ((x + 1)(n_c − s + x + 1)).
    up.run(high - start, ratios, |step| {
        let x = start + step;
        (exposed - x) * (events - x) / ((x + 1.0) * (control - events + x + 1.0))
    });
    let mut down = Walk::starting([0.0; N]);
    down.run(start - low, &ratios.map(f64::recip), |step| {
        let x = start - step;
        x * (control - events + x) / ((exposed - x + 1.0) * (events - x + 1.0))
    });
    up.joined(&down)
}

/// Sums of terms in one direction, each with its own scale.
struct Walk<const N: usize> {
    terms: [f64; N],
    sums: [f64; N],
    /// How often the sum was divided by [`LARGE`].
    scales: [f64; N],
}

impl<const N: usize> Walk<N> {
    fn starting(sums: [f64; N]) -> Self {
        Self { terms: [1.0; N], sums, scales: [0.0; N] }
    }

    /// Adds `steps` terms, or fewer when the rest is negligible for every odds ratio. `ratio_at` of a step is the quotient of
    /// neighbours under equal odds, and falls with the step.
    fn run(&mut self, steps: f64, odds: &[f64; N], ratio_at: impl Fn(f64) -> f64) {
        let mut step = 0.0;
        while step < steps {
            for _ in 0..STRIDE {
                if step >= steps {
                    return;
                }
                let ratio = ratio_at(step);
                for ((term, sum), odds) in self.terms.iter_mut().zip(&mut self.sums).zip(odds) {
                    *term *= ratio * odds;
                    *sum += *term;
                }
                step += 1.0;
            }
            self.shrink();
            if step < steps && self.is_negligible(ratio_at(step), odds) {
                return;
            }
        }
    }

    fn shrink(&mut self) {
        for ((term, sum), scale) in self.terms.iter_mut().zip(&mut self.sums).zip(&mut self.scales) {
            if *term > LARGE {
                *term /= LARGE;
                *sum /= LARGE;
                *scale += 1.0;
            }
        }
    }

    /// Whether all that would follow is small: quotients fall, so a geometric series bounds it.
    fn is_negligible(&self, ratio: f64, odds: &[f64; N]) -> bool {
        self.terms.iter().zip(&self.sums).zip(odds).all(|((term, sum), odds)| {
            let quotient = ratio * odds;
            quotient < 1.0 && term * quotient <= TAIL * sum * (1.0 - quotient)
        })
    }

    /// Logarithms of both directions' sums.
    fn joined(&self, other: &Self) -> [f64; N] {
        let mut logs = self.sums;
        let ours = logs.iter_mut().zip(&self.scales);
        for ((log, scale), (sum, other_scale)) in ours.zip(other.sums.iter().zip(&other.scales)) {
            *log = if *scale == 0.0 && *other_scale == 0.0 {
                ln(*log + *sum)
            } else {
                ln_add(ln(*log) + scale * LN_LARGE, ln(*sum) + other_scale * LN_LARGE)
            };
        }
        logs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::fixtures::block;
    use crate::math::float;

    fn log_ratio(block: &Block, null: f64, ratio: f64) -> f64 {
        log_ratios(block, &[Odds::new(null).unwrap(), Odds::new(ratio).unwrap()])[1]
    }

    #[test]
    fn ratios_agree_with_the_sum_at_forty_digits() {
        // mpmath: the sum of the header with exact binomials, units and events by arm, ω0, ω.
        let rows = [
            ((20, 3), (20, 9), 1.0, 0.5, 1.565_965_142_063_131_5),
            ((1, 1), (19, 5), 1.0, 1.3, 0.176_186_568_226_438_74),
            ((5, 0), (95, 40), 1.0, 0.25, 1.811_601_886_816_328_8),
            ((2000, 700), (2000, 800), 1.0, 0.84375, 5.112_616_571_420_931),
            ((2000, 700), (2000, 800), 0.9, 1.1, -9.797_190_020_018_164),
            ((50, 49), (5000, 3), 1.0, 400.0, 228.201_949_478_346_25),
            ((3000, 2990), (3000, 2995), 1.25, 0.01, -12.110_233_449_712_348),
            ((7, 7), (3, 0), 1e-06, 1_000_000.0, 45.001_860_535_538_71),
            ((400, 0), (900, 2), 3.0, 1.0, 0.958_894_758_168_693_9),
            ((30_000, 150), (10_000, 40), 1.5, 0.75, -4.017_560_699_273_809),
        ];
        for (exposed, control, null, ratio, expected) in rows {
            let found = log_ratio(&block(exposed, control), null, ratio);
            let tolerance = 1e-12 * f64::max(expected, -expected).max(1.0);
            assert!((found - expected).abs() < tolerance, "{exposed:?} {control:?} {found} {expected}");
        }
    }

    /// Probabilities of x exposed events given the margins, at an odds ratio, from binomials in f64 for small blocks.
    fn noncentral(exposed: u64, control: u64, events: u64, ratio: f64) -> Vec<(u64, f64)> {
        let choose = |n: u64, k: u64| (0..k).map(|i| float(n - i) / float(i + 1)).product::<f64>();
        let weights: Vec<(u64, f64)> = (events.saturating_sub(control)..=exposed.min(events))
            .map(|x| (x, choose(exposed, x) * choose(control, events - x) * ratio.powf(float(x))))
            .collect();
        let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
        weights.into_iter().map(|(x, weight)| (x, weight / sum)).collect()
    }

    #[test]
    fn expectations_are_one_at_the_null_and_at_most_one_on_its_side() {
        for (exposed, control, events) in [(10, 10, 7), (1, 19, 4), (19, 1, 16), (8, 32, 39), (25, 25, 1)] {
            for null in [0.5, 1.0, 1.5] {
                for ratio in [null * 0.4, null * 0.9, null * 1.2, null * 8.0] {
                    let expectation = |truth: f64| -> f64 {
                        let chances = noncentral(exposed, control, events, truth);
                        let of = |x| block((exposed, x), (control, events - x));
                        chances.iter().map(|(x, chance)| chance * log_ratio(&of(*x), null, ratio).exp()).sum()
                    };
                    assert!((expectation(null) - 1.0).abs() < 1e-12);
                    // On the side of ω0 that ω is not.
                    let inside = if ratio < null { null * 1.7 } else { null * 0.6 };
                    assert!(
                        expectation(inside) <= 1.0 + 1e-12,
                        "{exposed} {control} {events} {null} {ratio}"
                    );
                }
            }
        }
    }

    #[test]
    fn arms_may_change_places_and_events_may_be_what_did_not_happen() {
        let sample = block((137, 21), (602, 130));
        let one = log_ratio(&sample, 1.0, 0.7);
        let swapped = log_ratio(&block((602, 130), (137, 21)), 1.0, 1.0 / 0.7);
        let opposite = log_ratio(&block((137, 116), (602, 472)), 1.0, 1.0 / 0.7);
        assert!((one - swapped).abs() < 1e-12 && (one - opposite).abs() < 1e-12);
    }

    #[test]
    fn blocks_that_say_nothing_are_exactly_zero() {
        for silent in
            [block((0, 0), (9, 4)), block((9, 4), (0, 0)), block((9, 0), (9, 0)), block((2, 2), (3, 3))]
        {
            assert_eq!(log_ratio(&silent, 1.0, 0.3).to_bits(), 0.0_f64.to_bits());
        }
    }

    #[test]
    fn the_largest_block_at_the_outermost_odds_is_finite() {
        let huge = block((10_000_000, 10), (10_000_000, 9_999_990));
        let ratios = log_ratios(&huge, &[Odds::EVEN, Odds::new(ODDS_MIN).unwrap(), Odds::new(0.9).unwrap()]);
        assert!(ratios.iter().all(|ratio| ratio.is_finite()) && ratios[1] > 1e5, "{ratios:?}");
    }

    #[test]
    fn odds_out_of_range_are_refused() {
        for ratio in [0.0, -1.0, 1e-7, 1e7, f64::NAN, f64::INFINITY] {
            assert_eq!(Odds::new(ratio).unwrap_err().code(), "out_of_range");
        }
    }
}
