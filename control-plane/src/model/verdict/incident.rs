//! A platform incident: what a whole environment suffers from is no flag's fault, and its cause may reach the tenant's other ones.
//! Nothing of the tenant is widened or tried again while it is on; a trip is never held by it. Pure.

use flagfuse_shared::ids::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{Decision, Look, Reason, Verdict};
use crate::figures::span;

/// An objective of the tenant that wakes somebody up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// The objective's name.
    pub slo: String,
    /// `project/environment` where it is another one's than the fuse's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    pub since_ms: UnixMillis,
}

/// A verdict in the light of the incident that is on, if one is.
pub(super) fn heeded(look: &Look<'_>, mut verdict: Verdict) -> Verdict {
    let Some(incident) = look.incident else { return verdict };
    let said = sentence(incident, look.now);
    let is_quiet = matches!(verdict.decision, Decision::Continue | Decision::Hold);
    if verdict.decision == Decision::Trip || verdict.reason == Reason::OpenedByHand {
        let said = if verdict.reason == Reason::UrgentHarm { urgent(incident, look.now) } else { said };
        verdict.summary = format!("{} {said}", verdict.summary);
        return verdict;
    }
    // What would have been done is not said: it is not done.
    let found: Vec<&str> = verdict.evidence.iter().map(|found| found.summary.as_str()).collect();
    let rest = if is_quiet { verdict.summary.clone() } else { found.join(" ") };
    verdict.summary = if rest.is_empty() { said } else { format!("{said} {rest}") };
    (verdict.decision, verdict.reason) = (Decision::Hold, Reason::PlatformIncident);
    verdict
}

fn urgent(incident: &Incident, now: UnixMillis) -> String {
    let whose = incident.place.as_deref().unwrap_or("the environment");
    format!(
        "The objective {} of {whose} has been paging for {}, and the policy is urgent: a tenth of the evidence trips \
         meanwhile, which the error of the launch does not cover.",
        incident.slo,
        span(now.since(incident.since_ms)),
    )
}

fn sentence(incident: &Incident, now: UnixMillis) -> String {
    let whose = incident.place.as_deref().unwrap_or("the environment");
    format!(
        "The objective {} of {whose} has been paging for {}: until that is over nothing is widened or tried again, and \
         no flag is blamed for it. Harm that is proven trips all the same.",
        incident.slo,
        span(now.since(incident.since_ms)),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::super::tests::{NOW, look, policy, reading};
    use super::super::{Look, Reading, decide};
    use super::*;
    use crate::model::circuit::{Circuit, Hand};

    #[test]
    fn an_incident_holds_everything_but_a_trip_and_says_so_everywhere() {
        let rules = policy(&json!({ "half_open": "after_cooldown", "min_sample": 100, "min_confidence": 0 }));
        let incident = Incident { slo: "checkout".to_owned(), place: None, since_ms: NOW.minus(120_000) };
        let (healthy, harmed) =
            ([reading((500, 1_000), (500, 1_000))], [reading((100, 1_000), (500, 1_000))]);
        let no_origins = BTreeMap::new();
        let said = |circuit, hand, readings: &[Reading], incident: Option<&Incident>| {
            let look = Look { circuit, hand, incident, origins: &no_origins, ..look(&rules, readings) };
            let verdict = decide(&look);
            assert_eq!(
                verdict.summary.contains("no flag is blamed"),
                incident.is_some(),
                "{}",
                verdict.summary
            );
            (verdict.decision, verdict.reason.as_str())
        };
        let both = |circuit, hand, readings: &[Reading]| {
            (said(circuit, hand, readings, None), said(circuit, hand, readings, Some(&incident)))
        };
        let held = (Decision::Hold, "platform_incident");
        let rows = [
            (Circuit::Closed, Hand::Free, &healthy, (Decision::Continue, "within_limits"), held),
            (Circuit::Open, Hand::Free, &healthy, (Decision::HalfOpen, "cooldown_over"), held),
            (Circuit::HalfOpen, Hand::Free, &healthy, (Decision::Close, "full_sample_without_harm"), held),
            (
                Circuit::Open,
                Hand::Holds,
                &healthy,
                (Decision::Hold, "opened_by_hand"),
                (Decision::Hold, "opened_by_hand"),
            ),
            (Circuit::Closed, Hand::Free, &harmed, (Decision::Trip, "harm"), (Decision::Trip, "harm")),
        ];
        for (circuit, hand, readings, without, with) in rows {
            assert_eq!(both(circuit, hand, readings), (without, with), "{circuit:?} {hand:?}");
        }
    }

    #[test]
    fn a_move_that_is_held_is_not_told_as_one() {
        let rules = policy(&json!({ "half_open": "after_cooldown", "min_sample": 100, "min_confidence": 0 }));
        let incident = Incident { slo: "checkout".to_owned(), place: None, since_ms: NOW.minus(120_000) };
        let readings = [reading((500, 1_000), (500, 1_000))];
        let look = Look { circuit: Circuit::Open, incident: Some(&incident), ..look(&rules, &readings) };
        let summary = decide(&look).summary;
        assert!(
            summary.starts_with("The objective checkout of the environment has been paging for 2 min"),
            "{summary}"
        );
        assert!(!summary.contains("tried again with"), "{summary}");
    }
}
