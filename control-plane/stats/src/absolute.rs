//! Absolute rules: whether a rate is beyond a bound, one arm at a time.
//!
//! Source: Wald's likelihood ratio of Bernoulli trials, mixed as in `mixture`; "p95 ≤ L" is "P(X > L) ≤ 0.05". Equation: with x
//! events of n units of a matured slot and a bound B, `ℓ_k = x ln(p_k/B) + (n − x) ln((1 − p_k)/(1 − B))`,
//! `p_k = min(B(1 + θ·{½,1,2,4,8}), .95)` above an upper bound, `B(1 − θ·{½,1,2,4,8})` below a lower one.
//! Assumptions: units are independent. Guarantee: the expectation is at most 1 for every rate on the allowed side, also when
//! it varies from unit to unit; so the mixture's, for each arm. A breach of control as well is an incident and blames nobody.

use crate::classic::ArmCount;
use crate::exceedance;
use crate::grid::{DECREASE_MAX, EFFECTS, MULTIPLES, RATE_MAX, WEIGHTS};
use crate::math::{float, ln, ln_1p};
use crate::mixture::Mixture;
use crate::refusal::{Refused, within};

/// Which side of a bound is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The rate may be the bound or less: errors, slow requests.
    AtMost,
    /// The rate may be the bound or more: activation, retention, conversion.
    AtLeast,
}

/// A bound on a rate, with what a unit adds to each `ℓ_k` when it has the event and when it has not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    event: [f64; EFFECTS],
    no_event: [f64; EFFECTS],
}

/// Evidence that each arm is beyond the bound.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Absolute {
    /// Of the exposed arm.
    pub exposed: Mixture<EFFECTS>,
    /// Of control.
    pub control: Mixture<EFFECTS>,
}

/// What an absolute rule has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Not beyond the bound, as far as is known.
    Within,
    /// The exposed arm is beyond it, control is not known to be.
    Breach,
    /// Control is beyond it: hold, and blame no flag.
    Incident,
}

impl Bound {
    /// A bound from 1e-6 to 0.9, and the smallest relative excess θ that matters (0.001 to 10).
    pub fn new(bound: f64, theta: f64, side: Side) -> Result<Self, Refused> {
        let bound = within("bound", bound, 1e-6, 0.9)?;
        let theta = within("threshold", theta, 0.001, 10.0)?;
        Ok(Self::of_rates(
            bound,
            MULTIPLES.map(|multiple| match side {
                Side::AtMost => (bound * (1.0 + theta * multiple)).min(RATE_MAX),
                Side::AtLeast => bound * (1.0 - (theta * multiple).min(DECREASE_MAX)),
            }),
        ))
    }

    /// A p95 of at most L: events are units with a latency above L, 5 % of them are allowed.
    pub fn p95() -> Self {
        Self::of_rates(exceedance::SHARE, exceedance::RATIOS.map(|ratio| ratio * exceedance::SHARE))
    }

    fn of_rates(bound: f64, rates: [f64; EFFECTS]) -> Self {
        Self {
            event: rates.map(|rate| ln(rate / bound)),
            no_event: rates.map(|rate| ln_1p(-rate) - ln_1p(-bound)),
        }
    }

    /// `ℓ_k` of an arm's units.
    pub fn log_factors(&self, arm: ArmCount) -> Result<[f64; EFFECTS], Refused> {
        let ArmCount { units, events } = arm;
        if events > units {
            return Err(Refused::EventsExceedUnits { events, units });
        }
        let (with, without) = (float(events), float(units - events));
        let mut factors = self.event;
        for (factor, no_event) in factors.iter_mut().zip(self.no_event) {
            *factor = with * *factor + without * no_event;
        }
        Ok(factors)
    }
}

impl Absolute {
    /// Folds a matured slot's arms in.
    pub fn fold(&mut self, bound: &Bound, exposed: ArmCount, control: ArmCount) -> Result<(), Refused> {
        let (of_exposed, of_control) = (bound.log_factors(exposed)?, bound.log_factors(control)?);
        let mut after = *self;
        after.exposed.fold(&of_exposed, exposed.units)?;
        after.control.fold(&of_control, control.units)?;
        *self = after;
        Ok(())
    }

    /// E of the exposed arm and of control.
    pub fn evidence(&self) -> (f64, f64) {
        (self.exposed.evidence(&WEIGHTS), self.control.evidence(&WEIGHTS))
    }

    /// What it comes to at a threshold of `budget`.
    pub fn finding(&self, threshold: f64) -> Finding {
        let (exposed, control) = self.evidence();
        if control >= threshold {
            Finding::Incident
        } else if exposed >= threshold {
            Finding::Breach
        } else {
            Finding::Within
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(units: u64, events: u64) -> ArmCount {
        ArmCount { units, events }
    }

    #[test]
    fn factors_are_likelihood_ratios_of_bernoulli_trials() {
        // mpmath, 11 events of 300 units.
        let rows = [
            (
                Bound::new(0.02, 0.5, Side::AtMost),
                [
                    0.976_314_971_759_653_9,
                    1.495_987_640_872_159,
                    1.665_644_984_568_786_6,
                    0.041_325_915_585_047_85,
                    -6.906_789_573_573_576,
                ],
            ),
            (
                Bound::new(0.15, 0.2, Side::AtLeast),
                [
                    3.896_556_830_096_376_4,
                    7.569_547_194_043_908,
                    14.093_102_396_242_308,
                    20.461_442_625_001_077,
                    17.271_693_274_818_524,
                ],
            ),
            (
                Ok(Bound::p95()),
                [
                    -0.753_251_497_602_833_8,
                    -2.072_178_242_188_279_7,
                    -5.483_383_183_574_996,
                    -13.687_612_339_869_228,
                    -50.612_539_823_787_48,
                ],
            ),
        ];
        for (bound, expected) in rows {
            let found = bound.unwrap().log_factors(arm(300, 11)).unwrap();
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            }
        }
    }

    #[test]
    fn expectations_are_one_at_the_bound_and_less_inside() {
        // Exactly, by summing over the binomial distribution of 12 units.
        let choose = [1.0, 12.0, 66.0, 220.0, 495.0, 792.0, 924.0, 792.0, 495.0, 220.0, 66.0, 12.0, 1.0];
        let expectation = |bound: &Bound, rate: f64, effect: usize| -> f64 {
            (0..=12_u64)
                .map(|x| {
                    let i = i32::try_from(x).unwrap();
                    let chance =
                        choose[usize::try_from(x).unwrap()] * rate.powi(i) * (1.0 - rate).powi(12 - i);
                    chance * bound.log_factors(arm(12, x)).unwrap()[effect].exp()
                })
                .sum()
        };
        for (side, inside) in [(Side::AtMost, 0.1), (Side::AtLeast, 0.3)] {
            let bound = Bound::new(0.2, 0.3, side).unwrap();
            for effect in 0..EFFECTS {
                assert!((expectation(&bound, 0.2, effect) - 1.0).abs() < 1e-12, "{side:?}");
                assert!(expectation(&bound, inside, effect) < 1.0, "{side:?}");
            }
        }
    }

    #[test]
    fn absolute_breach_in_both_arms_is_an_incident() {
        let bound = Bound::new(0.15, 0.2, Side::AtLeast).unwrap();
        let found = |exposed: u64, control: u64| {
            let mut rule = Absolute::default();
            for _ in 0..40 {
                rule.fold(&bound, arm(100, exposed), arm(400, control * 4)).unwrap();
            }
            rule.finding(100.0)
        };
        assert_eq!(found(15, 15), Finding::Within);
        assert_eq!(found(8, 15), Finding::Breach);
        assert_eq!(found(8, 8), Finding::Incident);
        assert_eq!(found(15, 8), Finding::Incident);
        assert_eq!(found(90, 90), Finding::Within, "the other side is allowed");
    }

    #[test]
    fn impossible_input_is_refused_whole() {
        let bound = Bound::p95();
        let mut rule = Absolute::default();
        assert!(rule.fold(&bound, arm(5, 1), arm(5, 6)).is_err());
        assert_eq!(rule, Absolute::default());
        assert!(
            Bound::new(0.0, 0.1, Side::AtMost).is_err() && Bound::new(0.5, f64::NAN, Side::AtLeast).is_err()
        );
        rule.fold(&bound, arm(1_000_000_000, 1_000_000_000), arm(1_000_000_000, 0)).unwrap();
        assert!(rule.evidence().0.is_finite());
    }
}
