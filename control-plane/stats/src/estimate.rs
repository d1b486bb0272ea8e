//! How large a difference is: the Mantel-Haenszel estimate, for display and for the gate that a trip passes beside its evidence.
//!
//! Source: Mantel and Haenszel 1959; Page 1954 (the CUSUM that says since when). Equation:
//! `ω̂ = Σ s_e(n_c − s_c)/n ÷ Σ s_c(n_e − s_e)/n`, made relative at the control rate of the same blocks; the gate's sums start
//! anew whenever `C ← max(0, C + ℓ(ω at δ = θ))` is 0, so that a healthy past does not hide a late harm.
//! Assumptions: a common odds ratio over the blocks it sums. Guarantee: consistent for it; no error rate. As a gate it only
//! ever takes trips away. In risk sets it is a hazard ratio, made relative at the hazard of the same steps.

use crate::block::Block;
use crate::classic::ArmCount;
use crate::grid::{Harm, Measure, change_of_ratio};
use crate::math::float;
use crate::refusal::Refused;

/// The largest log-likelihood that the CUSUM holds.
const CUSUM_MAX: f64 = 1e9;

/// Sums over blocks: four numbers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Estimate {
    /// `Σ s_e (n_c − s_c) / n`.
    pub exposed_over: f64,
    /// `Σ s_c (n_e − s_e) / n`.
    pub control_over: f64,
    /// Control units of the same blocks, with their events.
    pub control: ArmCount,
}

impl Estimate {
    /// Adds a block; silent ones count for the control rate only.
    pub fn add(&mut self, block: &Block) {
        let [exposed, control, events_exposed, events_control] = block.floats();
        let units = exposed + control;
        if exposed > 0.0 && control > 0.0 {
            self.exposed_over += events_exposed * (control - events_control) / units;
            self.control_over += events_control * (exposed - events_exposed) / units;
        }
        self.control.units = self.control.units.saturating_add(block.control().units);
        self.control.events = self.control.events.saturating_add(block.control().events);
    }

    /// ω̂; infinite when only exposed units had events, `None` when nobody's say anything.
    pub fn odds_ratio(&self) -> Option<f64> {
        (self.exposed_over > 0.0 || self.control_over > 0.0).then(|| self.exposed_over / self.control_over)
    }

    /// The relative change of the exposed arm's rate; infinite or `None` as [`Self::odds_ratio`].
    pub fn change(&self) -> Option<f64> {
        let ratio = self.odds_ratio()?;
        let rate = float(self.control.events) / float(self.control.units.max(1));
        if ratio.is_infinite() {
            return Some(ratio);
        }
        Some(change_of_ratio(rate, ratio, Measure::Share))
    }

    /// Refuses a state with a number that is NaN, infinite or negative.
    pub fn check(&self) -> Result<(), Refused> {
        let is_sound = |number: f64| number.is_finite() && number >= 0.0;
        let all_sound = is_sound(self.exposed_over)
            && is_sound(self.control_over)
            && self.control.events <= self.control.units;
        if all_sound { Ok(()) } else { Err(Refused::CorruptState) }
    }
}

/// The gate of a trip: the estimate since harm was last ruled out by the CUSUM.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Gate {
    /// C: log-likelihood for harm θ since it was last 0.
    pub cusum: f64,
    /// The estimate over the blocks since then.
    pub since: Estimate,
}

impl Gate {
    /// Folds a block in, with its `ℓ` at δ = θ: `Grid::log_factors` at `grid::THETA`.
    pub fn fold(&mut self, log_factor: f64, block: &Block) -> Result<(), Refused> {
        self.check()?;
        if !log_factor.is_finite() {
            return Err(Refused::OutOfRange { setting: "log factor", min: f64::MIN, max: f64::MAX });
        }
        self.cusum = (self.cusum + log_factor).clamp(0.0, CUSUM_MAX);
        if self.cusum == 0.0 {
            self.since = Estimate::default();
        } else {
            self.since.add(block);
        }
        Ok(())
    }

    /// Whether a trip may pass: the estimate is beyond θ/2 in the harmful direction.
    pub fn is_open(&self, harm: &Harm) -> bool {
        self.since.change().is_some_and(|change| harm.is_beyond_half(change))
    }

    /// Refuses a state with a number that is NaN or negative.
    pub fn check(&self) -> Result<(), Refused> {
        let is_sound = self.cusum >= 0.0 && self.cusum <= CUSUM_MAX;
        if is_sound { self.since.check() } else { Err(Refused::CorruptState) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::fixtures::block;
    use crate::grid::{Direction, Grid, THETA};

    #[test]
    fn the_estimate_is_that_of_mantel_and_haenszel() {
        // scipy.stats / by hand: strata (10 of 100 against 20 of 200) and (30 of 80 against 15 of 60).
        let mut estimate = Estimate::default();
        estimate.add(&block((100, 10), (200, 20)));
        estimate.add(&block((80, 30), (60, 15)));
        let expected =
            (10.0 * 180.0 / 300.0 + 30.0 * 45.0 / 140.0) / (20.0 * 90.0 / 300.0 + 15.0 * 50.0 / 140.0);
        assert!((estimate.odds_ratio().unwrap() - expected).abs() < 1e-14);
        let rate: f64 = 35.0 / 260.0;
        let exposed = expected * rate / (1.0 - rate + expected * rate);
        assert!((estimate.change().unwrap() - (exposed / rate - 1.0)).abs() < 1e-14);
    }

    #[test]
    fn nobody_and_only_one_arm_are_told_apart() {
        let mut estimate = Estimate::default();
        assert_eq!(estimate.change(), None);
        estimate.add(&block((0, 0), (9, 3)));
        assert_eq!(estimate.change(), None);
        estimate.add(&block((9, 3), (9, 0)));
        assert_eq!(estimate.change(), Some(f64::INFINITY));
        assert!(Harm::new(0.5, Direction::IncreaseIsHarm).unwrap().is_beyond_half(f64::INFINITY));
    }

    #[test]
    fn a_healthy_past_does_not_close_the_gate_on_a_late_harm() {
        let harm = Harm::new(0.05, Direction::DecreaseIsHarm).unwrap();
        let grid = Grid::new(&harm, 0.4, Measure::Share).unwrap();
        let (mut gate, mut display) = (Gate::default(), Estimate::default());
        let mut read = |block: &Block| {
            gate.fold(grid.log_factors(block)[THETA], block).unwrap();
            display.add(block);
        };
        for _ in 0..100 {
            read(&block((1_000, 402), (1_000, 400)));
        }
        read(&block((1_000, 320), (1_000, 400)));
        assert!(gate.is_open(&harm), "{gate:?}");
        assert!(!harm.is_beyond_half(display.change().unwrap()), "the whole past would hide it");
    }

    #[test]
    fn corrupt_states_and_factors_are_refused() {
        let silent = block((1, 0), (1, 0));
        assert!(Gate::default().fold(f64::NAN, &silent).is_err());
        assert_eq!(
            Gate { cusum: f64::NAN, ..Gate::default() }.fold(0.0, &silent),
            Err(Refused::CorruptState)
        );
        let since = Estimate { control_over: -1.0, ..Estimate::default() };
        assert_eq!(Gate { cusum: 1.0, since }.fold(0.0, &silent), Err(Refused::CorruptState));
    }
}
