//! How many units it takes: the fixed sample for a relative change, for lint, for ramps that go by power, and as a yardstick.
//!
//! Source: the normal approximation for two proportions (Fleiss, Levin and Paik 2003, 4.2, without pooling). Equation: with
//! rates p and q = p(1 + δ) and r control units for each exposed one, `n_e = (z_α + z_power)² (q(1 − q) + p(1 − p)/r)/(p − q)²`.
//! Assumptions: one look, one-sided, enough events for the normal distribution. Guarantee: none at small counts; the anytime
//! evidence needs a median of about as many units and a 90th percentile of about twice as many, five guardrails some 1.5 times.

use crate::math::normal_quantile;
use crate::refusal::{Refused, within};

/// What is to be found, and how surely.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// The control rate p, 1e-6 to 0.95.
    pub rate: f64,
    /// The relative change δ, −0.9 to 10 and not 0: 0.05 is an increase by 5 %. The changed rate is 0.95 at most.
    pub change: f64,
    /// Control units for each exposed one, 0.001 to 1,000.
    pub controls: f64,
    /// One-sided error, 1e-9 to 0.5.
    pub alpha: f64,
    /// Chance to find it, 0.5 to 0.999.
    pub power: f64,
}

impl Plan {
    /// Exposed units, rounded up.
    pub fn exposed_units(&self) -> Result<u64, Refused> {
        let rate = within("rate", self.rate, 1e-6, 0.95)?;
        let change = within("change", self.change, -0.9, 10.0)?;
        within("size of the change", change.abs(), 1e-4, 10.0)?;
        let controls = within("controls", self.controls, 0.001, 1_000.0)?;
        let z = normal_quantile(within("power", self.power, 0.5, 0.999)?)
            - normal_quantile(within("alpha", self.alpha, 1e-9, 0.5)?);
        let changed = (rate * (1.0 + change)).min(0.95);
        let difference = within("difference", (changed - rate).abs(), 1e-12, 1.0)?;
        let variance = changed * (1.0 - changed) + rate * (1.0 - rate) / controls;
        let units = (z * z * variance / (difference * difference)).ceil();
        // z² ≤ 83, variance ≤ 251 and 1/difference² ≤ 1e24 would pass what an integer holds; `as` ends at its largest.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above 0, and saturates")]
        let units = units as u64;
        Ok(units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::float;

    fn units(rate: f64, change: f64, controls: f64) -> u64 {
        Plan { rate, change, controls, alpha: 0.01, power: 0.8 }.exposed_units().unwrap()
    }

    #[test]
    fn samples_are_those_of_the_design_and_of_scipy() {
        // The table of the design for 1:1, confirmed with scipy.stats.norm.ppf; 1:4 with scipy alone.
        let rows = [
            (0.4, -0.05, 1.0, 11_933),
            (0.4, -0.1, 1.0, 2951),
            (0.4, -0.2, 1.0, 718),
            (0.05, -0.1, 1.0, 36_321),
            (0.05, -0.2, 1.0, 8621),
            (0.05, -0.4, 1.0, 1922),
            (0.002, 0.5, 1.0, 50_050),
            (0.002, 1.0, 1.0, 15_004),
            (0.002, 4.0, 1.0, 1866),
            (0.4, -0.05, 4.0, 7417),
            (0.002, 4.0, 19.0, 1569),
        ];
        for (rate, change, controls, expected) in rows {
            assert_eq!(units(rate, change, controls), expected, "{rate} {change} {controls}");
        }
    }

    #[test]
    fn four_controls_save_more_than_a_third() {
        let saved = 1.0 - float(units(0.4, -0.05, 4.0)) / float(units(0.4, -0.05, 1.0));
        assert!((0.36..0.39).contains(&saved), "{saved}");
    }

    #[test]
    fn plans_out_of_range_are_refused() {
        let plan = Plan { rate: 0.4, change: -0.05, controls: 1.0, alpha: 0.01, power: 0.8 };
        for wrong in [
            Plan { rate: 0.0, ..plan },
            Plan { rate: f64::NAN, ..plan },
            Plan { change: 0.0, ..plan },
            Plan { controls: 0.0, ..plan },
            Plan { alpha: 0.0, ..plan },
            Plan { power: 1.0, ..plan },
            Plan { rate: 0.95, change: 0.1, ..plan },
        ] {
            assert_eq!(wrong.exposed_units().unwrap_err().code(), "out_of_range", "{wrong:?}");
        }
    }
}
