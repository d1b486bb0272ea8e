//! Which odds ratios a guardrail looks for: the effect grid around a harm that a policy names, and the way between relative
//! changes and odds ratios.
//!
//! Source: a mixture over effect sizes as in Robbins 1970. Equation: `δ_k = d·θ·{½, 1, 2, 4, 8}` with the weights
//! {.15, .35, .25, .15, .10}, decreases of 90 % at most; `p_k = min(p̄(1 + δ_k), .95)`, `ω_k = odds(p_k)/odds(p̄)`, and for risk
//! sets the hazard ratio `ω_k = ln(1 − p_k)/ln(1 − p̄)`. Assumptions: p̄ and θ are frozen for the phase. Guarantee: none of its
//! own. With ω0 = 1 a wrong p̄ only re-labels the grid and costs power, never validity.

use crate::kernel::Odds;
use crate::math::ln_1p;
use crate::refusal::{Refused, within};

/// Effect sizes of a grid.
pub const EFFECTS: usize = 5;
/// What each effect size weighs in a mixture; they sum to 1.
pub const WEIGHTS: [f64; EFFECTS] = [0.15, 0.35, 0.25, 0.15, 0.10];
/// Place of the effect that is exactly θ.
pub const THETA: usize = 1;
/// The largest rate that a grid or a margin assumes.
pub const RATE_MAX: f64 = 0.95;
/// The largest relative decrease that is looked for.
pub const DECREASE_MAX: f64 = 0.9;

/// θ in multiples.
pub(crate) const MULTIPLES: [f64; EFFECTS] = [0.5, 1.0, 2.0, 4.0, 8.0];

/// Which change of a metric harms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Fewer are worse: conversion, activation, retention.
    DecreaseIsHarm,
    /// More are worse: errors, slow requests.
    IncreaseIsHarm,
}

/// What a block's events are a share of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Matured units: the share of them that had the event.
    Share,
    /// Risk sets: the chance of the event within a step for units that did not have it yet.
    Hazard,
}

/// A relative harm θ with its direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Harm {
    theta: f64,
    direction: Direction,
}

impl Harm {
    /// θ relative to the control rate: 0.05 is a change by 5 %. From 0.001 to 0.9 for decreases and to 10 for increases.
    pub fn new(theta: f64, direction: Direction) -> Result<Self, Refused> {
        let largest = match direction {
            Direction::DecreaseIsHarm => DECREASE_MAX,
            Direction::IncreaseIsHarm => 10.0,
        };
        Ok(Self { theta: within("threshold", theta, 0.001, largest)?, direction })
    }

    /// θ, above 0.
    pub fn theta(&self) -> f64 {
        self.theta
    }

    /// Which change harms.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The relative change at so many θ; negative multiples are improvements. Decreases end at [`DECREASE_MAX`].
    pub fn change(&self, multiple: f64) -> f64 {
        match self.direction {
            Direction::DecreaseIsHarm => (-self.theta * multiple).max(-DECREASE_MAX),
            Direction::IncreaseIsHarm => (self.theta * multiple).max(-DECREASE_MAX),
        }
    }

    /// `δ_k` of the grid, relative.
    pub fn changes(&self) -> [f64; EFFECTS] {
        MULTIPLES.map(|multiple| self.change(multiple))
    }

    /// Whether this relative change is beyond θ/2 in the harmful direction, which every trip needs beside its evidence.
    pub fn is_beyond_half(&self, change: f64) -> bool {
        match self.direction {
            Direction::DecreaseIsHarm => change < -0.5 * self.theta,
            Direction::IncreaseIsHarm => change > 0.5 * self.theta,
        }
    }
}

/// A guardrail's odds ratios, frozen for a phase: equal arms first, then the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    odds: [Odds; EFFECTS + 1],
}

impl Grid {
    /// `base` is p̄, the rate that the policy assumes, 1e-6 to 0.9.
    pub fn new(harm: &Harm, base: f64, measure: Measure) -> Result<Self, Refused> {
        let base = within("base rate", base, 1e-6, 0.9)?;
        let mut odds = [Odds::EVEN; EFFECTS + 1];
        for (odds, change) in odds.iter_mut().skip(1).zip(harm.changes()) {
            *odds = Odds::new(ratio_of_change(base, change, measure))?;
        }
        Ok(Self { odds })
    }

    /// Ratios to p̄ given outright; each above 0, and p̄ times it below 1.
    pub(crate) fn of_ratios(base: f64, ratios: &[f64; EFFECTS]) -> Result<Self, Refused> {
        let mut odds = [Odds::EVEN; EFFECTS + 1];
        for (odds, ratio) in odds.iter_mut().skip(1).zip(ratios) {
            *odds = Odds::new(ratio_of_change(base, ratio - 1.0, Measure::Share))?;
        }
        Ok(Self { odds })
    }

    /// ω0 = 1 and the grid, for [`crate::kernel::log_ratios`].
    pub fn odds(&self) -> &[Odds; EFFECTS + 1] {
        &self.odds
    }

    /// `ℓ_k` of a block for each effect of the grid against equal arms, in natural logarithms.
    pub fn log_factors(&self, block: &crate::block::Block) -> [f64; EFFECTS] {
        let [_, factors @ ..] = crate::kernel::log_ratios(block, &self.odds);
        factors
    }
}

/// The odds or hazard ratio of a relative change at this rate; the changed rate is [`RATE_MAX`] at most. Defined at a rate of
/// 0, where both are `1 + change`.
pub fn ratio_of_change(rate: f64, change: f64, measure: Measure) -> f64 {
    if rate <= 0.0 {
        return 1.0 + change;
    }
    let changed = (rate * (1.0 + change)).min(RATE_MAX.max(rate));
    match measure {
        Measure::Share => changed * (1.0 - rate) / (rate * (1.0 - changed)),
        Measure::Hazard => ln_1p(-changed) / ln_1p(-rate),
    }
}

/// The relative change that an odds or hazard ratio means at this rate of control, 0 ≤ rate < 1.
pub fn change_of_ratio(rate: f64, ratio: f64, measure: Measure) -> f64 {
    if rate <= 0.0 {
        return ratio - 1.0;
    }
    match measure {
        Measure::Share => ratio / (1.0 - rate + ratio * rate) - 1.0,
        Measure::Hazard => (1.0 - crate::math::exp(ratio * ln_1p(-rate))) / rate - 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn harm(theta: f64, direction: Direction) -> Harm {
        Harm::new(theta, direction).unwrap()
    }

    #[test]
    fn the_weights_sum_to_one() {
        assert!((WEIGHTS.iter().sum::<f64>() - 1.0).abs() < 1e-15);
    }

    #[test]
    fn the_grid_is_that_of_the_design() {
        // θ = 5 % at 40 %: p = .39, .38, .36, .32, .24, by odds and by ln(1 − p)/ln(.6); mpmath.
        let fewer = harm(0.05, Direction::DecreaseIsHarm);
        let rows = [
            (
                Measure::Share,
                [
                    0.959_016_393_442_623,
                    0.919_354_838_709_677_4,
                    0.84375,
                    0.705_882_352_941_176_5,
                    0.473_684_210_526_315_8,
                ],
            ),
            (
                Measure::Hazard,
                [
                    0.967_641_987_437_218_6,
                    0.935_810_144_798_038,
                    0.873_658_410_747_350_7,
                    0.754_978_730_253_862,
                    0.537_241_737_559_116_4,
                ],
            ),
        ];
        for (measure, expected) in rows {
            let grid = Grid::new(&fewer, 0.4, measure).unwrap();
            assert_eq!(grid.odds()[0], Odds::EVEN);
            for (found, expected) in grid.odds()[1..].iter().zip(expected) {
                assert!((found.ratio() - expected).abs() < 1e-14, "{} {expected}", found.ratio());
            }
        }
    }

    #[test]
    fn large_effects_stay_possible() {
        let fewer = harm(0.5, Direction::DecreaseIsHarm).changes();
        for (found, expected) in fewer.iter().zip([-0.25, -0.5, -0.9, -0.9, -0.9]) {
            assert!((found - expected).abs() < 1e-15, "{found}");
        }
        let more = Grid::new(&harm(10.0, Direction::IncreaseIsHarm), 0.9, Measure::Share).unwrap();
        for odds in &more.odds()[1..] {
            assert!((odds.ratio() - 19.0 / 9.0).abs() < 1e-12, "all at 95 %");
        }
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for theta in [0.0, -0.05, f64::NAN, 0.91] {
            assert_eq!(Harm::new(theta, Direction::DecreaseIsHarm).unwrap_err().code(), "out_of_range");
        }
        for base in [0.0, 0.91, f64::NAN, f64::INFINITY] {
            assert!(Grid::new(&harm(0.1, Direction::IncreaseIsHarm), base, Measure::Hazard).is_err());
        }
    }

    #[test]
    fn ratios_and_changes_are_inverse() {
        for measure in [Measure::Share, Measure::Hazard] {
            for rate in [0.0, 0.002, 0.05, 0.4, 0.8] {
                for change in [-0.9, -0.05, 0.0, 0.1] {
                    let ratio = ratio_of_change(rate, change, measure);
                    assert!(
                        (change_of_ratio(rate, ratio, measure) - change).abs() < 1e-12,
                        "{rate} {change}"
                    );
                }
            }
        }
    }

    #[test]
    fn half_of_theta_has_to_be_passed_in_the_harmful_direction() {
        let fewer = harm(0.05, Direction::DecreaseIsHarm);
        assert!(fewer.is_beyond_half(-0.026) && !fewer.is_beyond_half(-0.024) && !fewer.is_beyond_half(0.5));
        let more = harm(0.5, Direction::IncreaseIsHarm);
        assert!(more.is_beyond_half(0.26) && !more.is_beyond_half(0.24) && !more.is_beyond_half(f64::NAN));
    }
}
