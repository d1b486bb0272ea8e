//! What a guardrail of the mode `anytime` compares with beside control, and what its evidence may do: limits, values, rights.

use serde::{Deserialize, Serialize};

use super::{Direction, Guardrail, Mode, Policy, PolicyFault, check_number, out_of_range};
use crate::model::metric::LATENCY_METRIC;

/// The least and the largest share that a limit may be.
const SHARE: (f64, f64) = (1e-6, 0.9);
/// The least and the largest latency, in milliseconds.
const LATENCY_MS: (f64, f64) = (0.001, 3_600_000.0);

/// What the evidence of a guardrail may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rights {
    /// Switch the feature off.
    #[default]
    Trip,
    /// Keep the fuse from going on: a ramp and a recovery wait, nothing is switched off.
    Hold,
}

impl Rights {
    /// Whether it may switch the feature off.
    pub const fn is_trip(&self) -> bool {
        matches!(self, Self::Trip)
    }
}

/// What a guardrail compares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Compared {
    /// The share of units with the event, or the latency, with control's.
    WithControl,
    /// The share, or the 95th percentile of the latency in milliseconds, with a number.
    WithLimit(f64),
    /// What units are worth, with what control's are.
    Values,
}

impl Policy {
    /// What a guardrail of it compares.
    pub fn compared(&self, guardrail: &Guardrail) -> Compared {
        match guardrail.limit {
            Some(limit) => Compared::WithLimit(limit),
            None if self.values.contains(&guardrail.metric) => Compared::Values,
            None => Compared::WithControl,
        }
    }

    /// Whether evidence can show that its harm is gone: there is no such test of values, and what only holds has not tripped.
    pub fn can_recover(&self, guardrail: &Guardrail) -> bool {
        guardrail.rights.is_trip() && self.compared(guardrail) != Compared::Values
    }
}

/// Refuses what only the other mode has, and what contradicts itself.
pub(super) fn check(policy: &Policy) -> Result<(), PolicyFault> {
    for (field, is_set) in [("promoted", policy.promoted), ("urgent", policy.urgent)] {
        if policy.mode == Mode::Classic && is_set {
            return Err(out_of_range(field, "true", "for the mode anytime only"));
        }
    }
    for (at, guardrail) in policy.guardrails.iter().enumerate() {
        let field = |name: &str| format!("guardrails[{at}].{name}");
        if policy.mode == Mode::Classic {
            if let Some(limit) = guardrail.limit {
                return Err(out_of_range(field("limit"), limit, "for the mode anytime only"));
            }
            if !guardrail.rights.is_trip() {
                return Err(out_of_range(field("rights"), "hold", "for the mode anytime only"));
            }
        }
        if let Some(limit) = guardrail.limit {
            check_limit(policy, guardrail, limit, &field)?;
        }
        if let (Rights::Hold, Some(weight)) = (guardrail.rights, guardrail.weight) {
            let allowed = "absent of a guardrail that only holds: it spends nothing of what trips spend";
            return Err(out_of_range(field("weight"), weight, allowed));
        }
    }
    if policy.guardrails.iter().all(|guardrail| guardrail.rights == Rights::Hold) {
        return Err(out_of_range("rights", "hold of all guardrails", "trip of one at least"));
    }
    Ok(())
}

fn check_limit(
    policy: &Policy,
    guardrail: &Guardrail,
    limit: f64,
    field: &impl Fn(&str) -> String,
) -> Result<(), PolicyFault> {
    if policy.values.contains(&guardrail.metric) {
        let allowed = "absent of a metric in values, which is compared with control";
        return Err(out_of_range(field("limit"), limit, allowed));
    }
    if let Some(baseline) = guardrail.baseline {
        return Err(out_of_range(field("baseline"), baseline, "absent beside a limit, which is the rate"));
    }
    let (min, max) = if guardrail.metric == LATENCY_METRIC { LATENCY_MS } else { SHARE };
    check_number(&field("limit"), limit, min, max)?;
    // A rate is never less than nothing: what is looked for lies between.
    let is_deep = guardrail.direction == Direction::DecreaseIsHarm && guardrail.threshold < -0.9;
    if is_deep {
        return Err(out_of_range(field("threshold"), guardrail.threshold, "-0.9 to -0.001 beside a limit"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(mode: &str, guardrails: Value, patch: Value) -> Result<Policy, String> {
        let mut policy = json!({
            "mode": mode, "treatment_variation": "on", "control_variation": "off", "exposure_percent": 10,
            "control_percent": 40, "guardrails": guardrails,
        });
        for (name, value) in patch.as_object().unwrap() {
            policy[name] = value.clone();
        }
        Policy::parse(policy).map_err(|fault| fault.to_string())
    }

    fn rail(metric: &str, patch: Value) -> Value {
        let mut rail = json!({ "metric": metric, "direction": "increase_is_harm", "threshold": 0.5 });
        for (name, value) in patch.as_object().unwrap() {
            rail[name] = value.clone();
        }
        rail
    }

    #[test]
    fn a_guardrail_compares_with_control_with_a_limit_or_by_values() {
        let fewer = json!({ "direction": "decrease_is_harm", "threshold": -0.1 });
        let mut activation = rail("activation", fewer.clone());
        activation["limit"] = json!(0.15);
        let rails = json!([
            rail("error", json!({ "rights": "hold" })),
            activation,
            rail("latency_ms", json!({ "limit": 200 })),
            rail("revenue", fewer),
        ]);
        let policy = parse("anytime", rails, json!({ "values": ["revenue"], "promoted": true })).unwrap();
        let compared: Vec<_> = policy.guardrails.iter().map(|rail| policy.compared(rail)).collect();
        let limits = [Compared::WithLimit(0.15), Compared::WithLimit(200.0)];
        assert_eq!(compared, [Compared::WithControl, limits[0], limits[1], Compared::Values]);
        let recover: Vec<_> = policy.guardrails.iter().map(|rail| policy.can_recover(rail)).collect();
        assert_eq!(recover, [false, true, true, false]);
        // What only holds has no part in what trips spend.
        let third = 1.0 / 3.0;
        for (weight, expected) in policy.weights().into_iter().zip([0.0, third, third, third]) {
            assert!((weight - expected).abs() < 1e-15);
        }
        assert!(policy.promoted);
        let stored = serde_json::to_value(&policy).unwrap();
        assert_eq!(
            (&stored["guardrails"][0]["rights"], &stored["guardrails"][1]["limit"]),
            (&json!("hold"), &json!(0.15))
        );
        assert!(
            stored["guardrails"][1].get("rights").is_none(),
            "stored policies of before stay as they were"
        );
        assert_eq!(Policy::parse(stored).unwrap(), policy);
    }

    fn fewer(patch: Value) -> Value {
        let mut rail = rail("activation", json!({ "direction": "decrease_is_harm", "threshold": -0.1 }));
        for (name, value) in patch.as_object().unwrap() {
            rail[name] = value.clone();
        }
        rail
    }

    #[test]
    fn limits_are_refused_with_their_field_and_what_is_allowed() {
        let latency = |limit: f64| rail("latency_ms", json!({ "limit": limit }));
        for (rail, values, expected) in [
            (rail("error", json!({ "limit": 0.0 })), json!([]), "limit is 0, allowed is 0.000001 to 0.9"),
            (rail("error", json!({ "limit": 0.91 })), json!([]), "limit is 0.91, allowed is 0.000001 to 0.9"),
            (latency(3_600_001.0), json!([]), "limit is 3600001, allowed is 0.001 to 3600000"),
            (latency(0.0), json!([]), "limit is 0, allowed is 0.001 to 3600000"),
            (fewer(json!({ "limit": -0.1 })), json!([]), "limit is -0.1"),
            (
                fewer(json!({ "limit": 0.2, "baseline": 0.2 })),
                json!([]),
                "baseline is 0.2, allowed is absent",
            ),
            (rail("revenue", json!({ "limit": 0.2 })), json!(["revenue"]), "limit is 0.2, allowed is absent"),
        ] {
            let text = parse("anytime", json!([rail]), json!({ "values": values })).unwrap_err();
            assert!(text.contains(&format!("guardrails[0].{expected}")), "{text}");
        }
    }

    #[test]
    fn rights_and_what_the_other_mode_has_are_refused_with_their_field() {
        let limited = rail("error", json!({ "limit": 0.1 }));
        let (holds, plain) = (rail("error", json!({ "rights": "hold" })), rail("revenue", json!({})));
        for (mode, rail, patch, expected) in [
            ("classic", limited, json!({}), "guardrails[0].limit is 0.1, allowed is for the mode anytime"),
            ("classic", holds.clone(), json!({}), "guardrails[0].rights is hold, allowed is for the mode"),
            (
                "classic",
                plain.clone(),
                json!({ "promoted": true }),
                "promoted is true, allowed is for the mode",
            ),
            ("classic", plain.clone(), json!({ "urgent": true }), "urgent is true, allowed is for the mode"),
            ("classic", plain, json!({ "values": ["revenue"] }), "values[0] is a guardrail's metric"),
            ("anytime", holds, json!({}), "rights is hold of all guardrails, allowed is trip of one"),
            ("anytime", rail("error", json!({ "rights": "shout" })), json!({}), "rights"),
        ] {
            let text = parse(mode, json!([rail]), patch).unwrap_err();
            assert!(text.contains(expected), "{text}");
        }
        let both =
            json!([rail("error", json!({ "rights": "hold", "weight": 0.5 })), rail("crash", json!({}))]);
        let text = parse("anytime", both, json!({})).unwrap_err();
        assert!(text.starts_with("guardrails[0].weight is 0.5, allowed is absent"), "{text}");
        // One that trips has all of it, and may say so.
        let both = json!([rail("error", json!({ "rights": "hold" })), rail("crash", json!({ "weight": 1 }))]);
        assert!(parse("anytime", both, json!({})).is_ok());
    }
}
