//! How much error each look may spend: attempts, probes, guardrails, slices and holds.
//!
//! Source: weighted Bonferroni (Holm 1979) over guardrails and slices; a telescoping series over attempts, as in Foster and
//! Stine 2008. Equation: `α_k = 0.02/(k(k+1))`, `β_j = 0.10/(j(j+1))`; a guardrail of weight a trips the whole at
//! `E ≥ 1/(0.8·α·a)` and a slice of share π at `E ≥ 1/(0.2·α·a·π)`; without slices the whole has all of α.
//! Assumptions: each E is an e-process in its own filtration; weights and shares are frozen before they are used.
//! Guarantee: over all trips, re-arms, edits of statistical fields and slices of a launch, any false trip has a probability of
//! 2 % at most; over all probes, a false recovery has 10 % at most.

use crate::math::ln;
use crate::refusal::{Refused, within};

/// Of a launch, for false trips: `Σ α_k`.
pub const ALPHA: f64 = 0.02;
/// Of a launch, for false recoveries: `Σ β_j`.
pub const BETA: f64 = 0.10;
/// Of a launch, for metrics and guards that only hold, in equal parts.
pub const HOLDS: f64 = 0.05;
/// So many times α is what an urgent trip may spend.
const URGENT: f64 = 10.0;
/// Part of α for the whole where slices are declared.
const WHOLE: f64 = 0.8;
/// Enrolled units of both arms after which the slices' shares are frozen.
pub const SLICE_UNITS: u64 = 1_000;
/// The least share of the values unseen by then.
pub const OTHER_SHARE_MIN: f64 = 0.01;

/// Whose trip it would be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scope {
    /// Everybody's, of a fuse without declared slices.
    Everybody,
    /// Everybody's, of a fuse that judges slices too.
    EverybodyBesideSlices,
    /// One slice's, with its frozen share π of [`slice_shares`].
    Slice(f64),
}

/// `α_k` of an attempt: a launch is 1, and each trip, re-arm, probe and edit of a statistical field one more.
pub fn alpha(attempt: u32) -> Result<f64, Refused> {
    telescoping(ALPHA, attempt)
}

/// `β_j` of a probe, from 1.
pub fn beta(probe: u32) -> Result<f64, Refused> {
    telescoping(BETA, probe)
}

fn telescoping(budget: f64, turn: u32) -> Result<f64, Refused> {
    let turn = within("attempt or probe", f64::from(turn), 1.0, f64::from(u32::MAX))?;
    Ok(budget / (turn * (turn + 1.0)))
}

/// Refuses weights that are not above 0 or do not sum to 1, to nine digits.
pub fn check_weights(weights: &[f64]) -> Result<(), Refused> {
    let sum: f64 = weights.iter().sum();
    let is_sound = weights.iter().all(|weight| *weight > 0.0) && (sum - 1.0).abs() <= 1e-9;
    if is_sound { Ok(()) } else { Err(Refused::Weights) }
}

/// The E at which a guardrail of this weight trips. `alpha` is above 0 and below 1, `weight` above 0 and 1 at most.
pub fn trip_threshold(alpha: f64, weight: f64, scope: Scope) -> Result<f64, Refused> {
    let alpha = within("alpha", alpha, 1e-12, 1.0)?;
    let weight = within("weight", weight, 1e-6, 1.0)?;
    Ok((alpha * weight * part(scope)?).recip())
}

/// What a scope has to reach where all scopes together may at this threshold: the parts of the scopes sum to 1.
pub fn within_scope(threshold: f64, scope: Scope) -> Result<f64, Refused> {
    Ok(threshold / part(scope)?)
}

fn part(scope: Scope) -> Result<f64, Refused> {
    Ok(match scope {
        Scope::Everybody => 1.0,
        Scope::EverybodyBesideSlices => WHOLE,
        Scope::Slice(share) => (1.0 - WHOLE) * within("slice share", share, 1e-9, 1.0)?,
    })
}

/// The E at which a guardrail of this weight trips while an objective of the platform pages, where the policy is urgent: a tenth of
/// what everybody needs. Not covered by α: while both arms burn, a false trip has up to ten times its probability.
pub fn urgent_threshold(alpha: f64, weight: f64) -> Result<f64, Refused> {
    Ok(trip_threshold(alpha, weight, Scope::Everybody)? / URGENT)
}

/// The E at which every metric that had tripped counts as recovered: 1/β.
pub fn recovery_threshold(probe: u32) -> Result<f64, Refused> {
    beta(probe).map(f64::recip)
}

/// The E at which one of so many metrics and guards with the right to hold (at least 1) holds.
pub fn hold_threshold(holds: u32) -> f64 {
    f64::from(holds.max(1)) / HOLDS
}

/// Evidence in per cent of what trips: ln E over ln of the threshold (above 1), 0 to 100.
pub fn progress(evidence: f64, threshold: f64) -> f64 {
    let share = ln(evidence.max(1.0)) / ln(threshold);
    if share > 0.0 { 100.0 * share.min(1.0) } else { 0.0 }
}

/// Shares π of slices from the first [`SLICE_UNITS`] enrolled units of both arms, to be frozen. `units` has a list for each
/// dimension; its last entry are the units of values unseen by then, *other*, with a share of 1 % at least. Written in their
/// order into `shares`, which has a place for each; they sum to 1 over all values of all dimensions.
pub fn slice_shares(units: &[&[u64]], shares: &mut [f64]) -> Result<(), Refused> {
    let places: usize = units.iter().map(|dimension| dimension.len()).sum();
    if places != shares.len() || units.iter().any(|dimension| dimension.is_empty()) {
        return Err(Refused::Lengths);
    }
    let mut sum = 0.0;
    let mut written = shares.iter_mut();
    for dimension in units {
        let total = dimension.iter().fold(0_u64, |sum, units| sum.saturating_add(*units)).max(1);
        for (at, units) in dimension.iter().enumerate() {
            let share = crate::math::float(*units) / crate::math::float(total);
            let is_other = at + 1 == dimension.len();
            let share = if is_other { share.max(OTHER_SHARE_MIN) } else { share };
            sum += share;
            if let Some(place) = written.next() {
                *place = share;
            }
        }
    }
    for share in shares {
        *share /= sum;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_urgent_trip_needs_a_tenth_whatever_slices_there_are() {
        // 1/(10·α·a): 10 with α = 1 % and all of the weight, 25 with 0.4 of it.
        for (weight, needed) in [(1.0, 10.0), (0.4, 25.0)] {
            let found = urgent_threshold(alpha(1).unwrap(), weight).unwrap();
            assert!((found - needed).abs() < 1e-9, "{weight}: {found}");
        }
        assert!(urgent_threshold(0.01, 0.0).is_err() && urgent_threshold(f64::NAN, 1.0).is_err());
    }

    #[test]
    fn attempts_and_probes_never_spend_more_than_their_budget() {
        assert!((alpha(1).unwrap() - 0.01).abs() < 1e-15 && (alpha(2).unwrap() - 0.02 / 6.0).abs() < 1e-15);
        let spent = |of: fn(u32) -> Result<f64, Refused>, turns: u32| {
            (1..=turns).map(|k| of(k).unwrap()).sum::<f64>()
        };
        assert!(spent(alpha, 100_000) < ALPHA && spent(alpha, 100_000) > 0.0199);
        assert!(spent(beta, 100_000) < BETA);
        assert!(alpha(0).is_err() && beta(0).is_err());
        for (probe, threshold) in [(1, 20.0), (2, 60.0), (3, 120.0)] {
            assert!((recovery_threshold(probe).unwrap() - threshold).abs() < 1e-9);
        }
    }

    #[test]
    fn twenty_probes_spend_one_beta() {
        let spent: f64 = (1..=20).map(|probe| beta(probe).unwrap()).sum();
        assert!((spent - BETA * 20.0 / 21.0).abs() < 1e-15, "{spent}");
    }

    #[test]
    fn thresholds_spend_alpha_exactly_once() {
        let weights = [0.4, 0.2, 0.2, 0.1, 0.1];
        check_weights(&weights).unwrap();
        let mut shares = [0.0; 5];
        slice_shares(&[&[600, 400, 0], &[1_000, 0]], &mut shares).unwrap();
        let threshold = |weight, scope| trip_threshold(0.01, weight, scope).unwrap().recip();
        let whole: f64 = weights.iter().map(|weight| threshold(*weight, Scope::EverybodyBesideSlices)).sum();
        let of_slices = weights.iter().map(|weight| {
            let spent = shares
                .iter()
                .filter(|share| **share > 0.0)
                .map(|share| threshold(*weight, Scope::Slice(*share)));
            spent.sum::<f64>()
        });
        assert!((whole + of_slices.sum::<f64>() - 0.01).abs() < 1e-15);
        let alone: f64 = weights.iter().map(|weight| threshold(*weight, Scope::Everybody)).sum();
        assert!((alone - 0.01).abs() < 1e-15);
        assert!((hold_threshold(4).recip() * 4.0 - HOLDS).abs() < 1e-15);
        // So do holds and sentinels, divided over the same scopes.
        let divided = |scope| within_scope(100.0, scope).unwrap().recip();
        let slices: f64 = shares.iter().map(|share| divided(Scope::Slice(*share))).sum();
        assert!((divided(Scope::EverybodyBesideSlices) + slices - 0.01).abs() < 1e-15);
        assert!(
            (divided(Scope::Everybody) - 0.01).abs() < 1e-15 && within_scope(1.0, Scope::Slice(0.0)).is_err()
        );
    }

    #[test]
    fn shares_sum_to_one_and_the_unseen_have_some() {
        let mut shares = [0.0; 5];
        slice_shares(&[&[700, 300, 0], &[950, 50]], &mut shares).unwrap();
        let raw = [0.7, 0.3, 0.01, 0.95, 0.05];
        for (share, raw) in shares.iter().zip(raw) {
            assert!((share - raw / 2.01).abs() < 1e-15);
        }
        assert!(
            slice_shares(&[&[1], &[]], &mut shares).is_err() && slice_shares(&[&[1]], &mut shares).is_err()
        );
    }

    #[test]
    fn weights_that_do_not_sum_to_one_are_refused() {
        for weights in [&[0.5, 0.6][..], &[1.0, 0.0], &[f64::NAN, 0.5], &[], &[-0.5, 1.5]] {
            assert_eq!(check_weights(weights), Err(Refused::Weights), "{weights:?}");
        }
        check_weights(&[1.0 / 3.0; 3]).unwrap();
        assert!(trip_threshold(0.0, 0.5, Scope::Everybody).is_err());
        assert!(trip_threshold(0.01, 0.5, Scope::Slice(f64::NAN)).is_err());
    }

    #[test]
    fn progress_is_a_share_of_the_logarithm() {
        for (evidence, expected) in
            [(0.2, 0.0), (1.0, 0.0), (10.0, 50.0), (100.0, 100.0), (1e9, 100.0), (f64::NAN, 0.0)]
        {
            assert!((progress(evidence, 100.0) - expected).abs() < 1e-9, "{evidence}");
        }
    }
}
