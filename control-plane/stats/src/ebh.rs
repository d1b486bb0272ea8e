//! Which of many flags to list as harmed: e-BH, for dashboards.
//!
//! Source: Wang and Ramdas 2022, "False discovery rate control with e-values". Equation: with m e-values in descending order,
//! reject the largest k for which `e_(k) ≥ m/(rate · k)`. Assumptions: each is an e-value of its own null; they may depend on
//! each other in any way. Guarantee: the expected share of false ones among those listed is at most the rate.

use crate::refusal::{Refused, within};

/// The share of false ones that dashboards list.
pub const RATE: f64 = 0.05;

/// The evidence from which on flags are listed; `None` if none is. Refuses evidence that is negative or NaN, and a rate outside
/// 0.0001 to 1.
pub fn listed_from(evidence: &[f64], rate: f64) -> Result<Option<f64>, Refused> {
    let rate = within("rate", rate, 1e-4, 1.0)?;
    let mut sorted = evidence.to_vec();
    for value in &sorted {
        within("evidence", *value, 0.0, f64::INFINITY)?;
    }
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let mut rank = 0.0;
    let mut found = None;
    let needed = crate::math::float(u64::try_from(sorted.len()).unwrap_or(u64::MAX)) / rate;
    for value in sorted {
        rank += 1.0;
        if value * rank >= needed {
            found = Some(value);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_rank_that_passes_decides() {
        // m = 5 at 5 %: ranks need 100, 50, 33.3, 25, 20.
        let rows: [(&[f64], Option<f64>); 6] = [
            (&[], None),
            (&[99.0, 1.0, 1.0, 1.0, 1.0], None),
            (&[1.0, 100.0, 1.0, 1.0, 1.0], Some(100.0)),
            (&[90.0, 49.0, 34.0, 0.0, 3.0], Some(34.0)),
            (&[20.0; 5], Some(20.0)),
            (&[f64::INFINITY, 1.0, 2.0, 3.0, 4.0], Some(f64::INFINITY)),
        ];
        for (evidence, expected) in rows {
            assert_eq!(listed_from(evidence, RATE), Ok(expected), "{evidence:?}");
        }
    }

    #[test]
    fn what_is_no_evidence_is_refused() {
        assert!(listed_from(&[f64::NAN], RATE).is_err() && listed_from(&[-1.0], RATE).is_err());
        assert!(listed_from(&[1.0], 0.0).is_err());
    }
}
