//! Recovery under an absolute rule: whether a rate that was beyond its bound is back, one arm alone.
//!
//! Source: Wald's likelihood ratio of Bernoulli trials, with the margin, the alternatives and the weights of `recovery`. Equation:
//! with x events of n units of a matured slot and a bound B, `ℓ_k = x ln(p_k/p₀) + (n − x) ln((1 − p_k)/(1 − p₀))`, `p₀` the rate at
//! harm θ (`B(1 + θ)` above an upper bound, `B(1 − θ)` below a lower one), `p_k` those at θ/2, θ/4, 0 and −θ/2, weights
//! {.2, .3, .35, .15}; no restarts. Assumptions: units are independent, θ and B are frozen. Guarantee: for every rate at harm θ or
//! worse, also one that varies, the expectation is at most 1; so `P(ever E ≥ 1/β) ≤ β` (Ville).

use crate::absolute::Side;
use crate::classic::ArmCount;
use crate::exceedance;
use crate::grid::{DECREASE_MAX, RATE_MAX};
use crate::math::{exp, float, ln, ln_1p};
use crate::mixture::EVIDENCE_MAX;
use crate::refusal::{Refused, within};

/// Alternatives on the way back.
const ALTERNATIVES: usize = 4;
/// θ in multiples: the alternatives.
const MULTIPLES: [f64; ALTERNATIVES] = [0.5, 0.25, 0.0, -0.5];
const WEIGHTS: [f64; ALTERNATIVES] = [0.2, 0.3, 0.35, 0.15];
/// The harm of a p95 rule: a third more slow units than are allowed.
const SLOW_MORE: f64 = 0.35;
/// Where the logarithm of a product ends, on either side.
const LN_MAX: f64 = 640.0;

/// A bound with its margin: what a unit adds to each `ℓ_k` when it has the event and when it has not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowed {
    event: [f64; ALTERNATIVES],
    no_event: [f64; ALTERNATIVES],
}

/// Evidence that the rate is back: four logarithms.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Back {
    /// `Σ ℓ_k`.
    pub log_products: [f64; ALTERNATIVES],
}

impl Allowed {
    /// A bound from 1e-6 to 0.9 and θ, the relative excess that counts as harm (0.001 to 10).
    pub fn new(bound: f64, theta: f64, side: Side) -> Result<Self, Refused> {
        let bound = within("bound", bound, 1e-6, 0.9)?;
        let theta = within("threshold", theta, 0.001, 10.0)?;
        let rate = |multiple: f64| {
            let change = match side {
                Side::AtMost => theta * multiple,
                Side::AtLeast => -theta * multiple,
            };
            (bound * (1.0 + change.max(-DECREASE_MAX))).min(RATE_MAX)
        };
        let (null, rates) = (rate(1.0), MULTIPLES.map(rate));
        Ok(Self {
            event: rates.map(|rate| ln(rate / null)),
            no_event: rates.map(|rate| ln_1p(-rate) - ln_1p(-null)),
        })
    }

    /// A p95 of at most L: events are units with a latency above L.
    pub fn p95() -> Result<Self, Refused> {
        Self::new(exceedance::SHARE, SLOW_MORE, Side::AtMost)
    }
}

impl Back {
    /// Folds the exposed arm of a matured slot in.
    pub fn fold(&mut self, allowed: &Allowed, arm: ArmCount) -> Result<(), Refused> {
        let ArmCount { units, events } = arm;
        if events > units {
            return Err(Refused::EventsExceedUnits { events, units });
        }
        self.check()?;
        let (with, without) = (float(events), float(units - events));
        let factors = allowed.event.iter().zip(allowed.no_event);
        for (product, (event, no_event)) in self.log_products.iter_mut().zip(factors) {
            *product = (*product + with * event + without * no_event).clamp(-LN_MAX, LN_MAX);
        }
        Ok(())
    }

    /// E, to be compared with `budget::recovery_threshold`.
    pub fn evidence(&self) -> f64 {
        let products = self.log_products.iter().zip(WEIGHTS);
        products.map(|(product, weight)| weight * exp(*product)).sum::<f64>().min(EVIDENCE_MAX)
    }

    /// Refuses a state with a number that no evidence leads to.
    pub fn check(&self) -> Result<(), Refused> {
        let are_sound = self.log_products.iter().all(|product| (-LN_MAX..=LN_MAX).contains(product));
        if are_sound { Ok(()) } else { Err(Refused::CorruptState) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(units: u64, events: u64) -> ArmCount {
        ArmCount { units, events }
    }

    #[test]
    fn the_expectation_is_one_at_the_margin_and_less_beyond_it() {
        // All outcomes of 12 units: Σ C(n, x) p^x (1 − p)^(n − x) E(x).
        let choose = |n: u64, k: u64| (0..k).map(|i| float(n - i) / float(i + 1)).product::<f64>();
        for (side, bound, theta) in [(Side::AtLeast, 0.4, 0.1), (Side::AtMost, 0.02, 0.5)] {
            let allowed = Allowed::new(bound, theta, side).unwrap();
            let expectation = |rate: f64| -> f64 {
                (0..=12_u64)
                    .map(|events| {
                        let mut back = Back::default();
                        back.fold(&allowed, arm(12, events)).unwrap();
                        let (with, without) = (float(events), float(12 - events));
                        choose(12, events) * rate.powf(with) * (1.0 - rate).powf(without) * back.evidence()
                    })
                    .sum()
            };
            let sign = if side == Side::AtMost { 1.0 } else { -1.0 };
            assert!((expectation(bound * (1.0 + sign * theta)) - 1.0).abs() < 1e-12);
            assert!(expectation(bound * (1.0 + sign * theta * 1.5)) < 1.0);
            assert!(expectation(bound) > 1.0);
        }
    }

    #[test]
    fn a_rate_on_the_allowed_side_comes_back_and_one_beyond_it_does_not() {
        let (activation, slow) = (Allowed::new(0.15, 0.2, Side::AtLeast).unwrap(), Allowed::p95().unwrap());
        for (allowed, back_at, beyond) in [(&activation, 160, 110), (&slow, 50, 70)] {
            let run = |events: u64| {
                let mut back = Back::default();
                for _ in 0..20 {
                    back.fold(allowed, arm(1_000, events)).unwrap();
                }
                back.evidence()
            };
            assert!(run(back_at) > 20.0 && run(beyond) < 1.0, "{} {}", run(back_at), run(beyond));
        }
    }

    #[test]
    fn what_is_no_evidence_is_refused_and_products_end() {
        let allowed = Allowed::new(0.9, 10.0, Side::AtMost).unwrap();
        assert!(Back::default().fold(&allowed, arm(1, 2)).is_err());
        let mut corrupt = Back { log_products: [f64::NAN; 4] };
        assert_eq!(corrupt.fold(&allowed, arm(1, 0)), Err(Refused::CorruptState));
        let mut back = Back::default();
        let errors = Allowed::new(1e-6, 10.0, Side::AtMost).unwrap();
        for _ in 0..100 {
            back.fold(&errors, arm(10_000_000_000, 0)).unwrap();
        }
        assert!(back.evidence().is_finite() && back.check().is_ok());
        assert!(
            Allowed::new(0.0, 0.1, Side::AtMost).is_err()
                && Allowed::new(0.5, f64::NAN, Side::AtMost).is_err()
        );
    }
}
