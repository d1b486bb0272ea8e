//! Which buckets a phase exposes and which it reserves as control. Pure: never touches the flag itself.

use flagfuse_shared::definition::{Arm, CohortSliceWire, WithheldWire};
use flagfuse_shared::flag::compile::percent_to_buckets;
use flagfuse_shared::limits::BUCKET_COUNT;

use super::circuit::Circuit;
use super::policy::Policy;

/// The slices of a phase in `circuit`; `before` are those of the phase it follows.
///
/// Exposed is the head of the buckets, control their tail, so a wider exposure moves nobody between arms. A half-open
/// probe takes the buckets behind those that were exposed before, wrapping when they run out: units that have seen
/// the harmful feature would answer for the past.
pub fn allocation(policy: &Policy, circuit: Circuit, before: &[CohortSliceWire]) -> Vec<CohortSliceWire> {
    let buckets = |percent| percent_to_buckets("percent", percent).unwrap_or(0);
    let control_from = BUCKET_COUNT.saturating_sub(buckets(policy.control_percent));
    let exposed = match circuit {
        Circuit::Closed => Some((0, buckets(policy.exposure_percent))),
        Circuit::Open => None,
        Circuit::HalfOpen => Some(probe(buckets(policy.half_open_percent), control_from, before)),
    };
    let slice = |(from, to): (u32, u32), variation: &str, arm| CohortSliceWire {
        from,
        to,
        variation: variation.to_owned(),
        arm,
        phase: None,
    };
    exposed
        .map(|(from, to)| (from, to.min(control_from)))
        .filter(|(from, to)| from < to)
        .map(|range| slice(range, &policy.treatment_variation, Arm::Exposed))
        .into_iter()
        .chain([slice((control_from, BUCKET_COUNT), &policy.control_variation, Arm::Control)])
        .collect()
}

/// What the flag's rules may not serve in `circuit`: unless closed, the feature is for the probe's units alone.
pub fn withheld(policy: &Policy, circuit: Circuit) -> Option<WithheldWire> {
    match circuit {
        Circuit::Closed => None,
        Circuit::Open | Circuit::HalfOpen => Some(WithheldWire {
            variation: policy.treatment_variation.clone(),
            instead: policy.control_variation.clone(),
        }),
    }
}

fn probe(len: u32, limit: u32, before: &[CohortSliceWire]) -> (u32, u32) {
    let exposed_to = before.iter().filter(|slice| slice.arm == Arm::Exposed).map(|slice| slice.to).max();
    let from = exposed_to.unwrap_or(0);
    let to = from.saturating_add(len);
    if to <= limit { (from, to) } else { (0, len.min(limit)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(exposure_percent: f64) -> Policy {
        Policy::parse(json!({
            "mode": "classic", "treatment_variation": "on", "control_variation": "off",
            "exposure_percent": exposure_percent, "control_percent": 10,
            "guardrails": [{ "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 }],
        }))
        .unwrap()
    }

    fn ranges(slices: &[CohortSliceWire]) -> Vec<(u32, u32, Arm)> {
        slices.iter().map(|slice| (slice.from, slice.to, slice.arm)).collect()
    }

    #[test]
    fn exposed_is_the_head_and_control_the_tail() {
        let closed = allocation(&policy(20.0), Circuit::Closed, &[]);
        assert_eq!(ranges(&closed), [(0, 200_000, Arm::Exposed), (900_000, 1_000_000, Arm::Control)]);
        let open = allocation(&policy(20.0), Circuit::Open, &closed);
        assert_eq!(ranges(&open), [(900_000, 1_000_000, Arm::Control)]);
    }

    #[test]
    fn a_probe_avoids_the_units_that_were_exposed() {
        let closed = allocation(&policy(20.0), Circuit::Closed, &[]);
        let half = allocation(&policy(20.0), Circuit::HalfOpen, &closed);
        assert_eq!(ranges(&half)[0], (200_000, 300_000, Arm::Exposed));
        let again = allocation(&policy(20.0), Circuit::HalfOpen, &half);
        assert_eq!(ranges(&again)[0], (300_000, 400_000, Arm::Exposed));
    }

    #[test]
    fn rules_may_serve_the_treatment_only_while_closed() {
        assert_eq!(withheld(&policy(20.0), Circuit::Closed), None);
        for circuit in [Circuit::Open, Circuit::HalfOpen] {
            let withheld = withheld(&policy(20.0), circuit).unwrap();
            assert_eq!((withheld.variation.as_str(), withheld.instead.as_str()), ("on", "off"));
        }
    }

    #[test]
    fn a_probe_wraps_when_the_buckets_run_out() {
        let closed = allocation(&policy(85.0), Circuit::Closed, &[]);
        let half = allocation(&policy(85.0), Circuit::HalfOpen, &closed);
        assert_eq!(ranges(&half), [(0, 100_000, Arm::Exposed), (900_000, 1_000_000, Arm::Control)]);
    }
}
