//! Whether changed rules can serve anybody whom the old ones left to the cohort. Pure; says no when it cannot tell.

use flagfuse_shared::definition::{FlagWire, RuleWire, UnleashGateWire};

/// Whoever a rule serves never enrols, so whom the old rules served may be left to the cohort now, and may be served
/// anything. Whom they did not serve may be counted already, and must not be served by a rule from now on.
pub(super) fn is_within(after: &FlagWire, before: &FlagWire) -> bool {
    after.rules.iter().all(|rule| before.rules.iter().any(|old| is_part(rule, old)))
}

/// Whether everybody whom `rule` serves was served by `old`: every condition of it is still there, and so is its gate.
fn is_part(rule: &RuleWire, old: &RuleWire) -> bool {
    old.conditions.iter().all(|condition| rule.conditions.contains(condition))
        && (old.schedule.is_none() || rule.schedule == old.schedule)
        && rule.percentage.unwrap_or(100.0) <= old.percentage.unwrap_or(100.0)
        && is_gate_part(gate(rule), gate(old))
}

fn gate(rule: &RuleWire) -> Option<&UnleashGateWire> {
    rule.unleash.as_ref()?.gate.as_ref()
}

fn is_gate_part(gate: Option<&UnleashGateWire>, old: Option<&UnleashGateWire>) -> bool {
    match (gate, old) {
        (_, None) => true,
        (None, Some(old)) => old.percent >= 100,
        (Some(gate), Some(old)) => {
            gate.group == old.group && gate.stickiness == old.stickiness && gate.percent <= old.percent
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn flag(rules: &Value) -> FlagWire {
        serde_json::from_value(json!({
            "key": "f", "value_type": "boolean", "default_variation": "off", "rules": rules,
            "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
        }))
        .unwrap()
    }

    fn rule(patch: &Value) -> Value {
        let mut rule = json!({ "key": "r", "split": [{ "variation": "on" }], "percentage": 20,
            "conditions": [{ "attribute": "country", "op": "in", "values": ["DE"] }] });
        for (name, value) in patch.as_object().unwrap() {
            rule[name] = value.clone();
        }
        rule
    }

    #[test]
    fn rules_may_reach_less_far_and_never_further() {
        let old = flag(&json!([rule(&json!({}))]));
        let both = json!([{ "attribute": "country", "op": "in", "values": ["DE"] },
            { "attribute": "plan", "op": "in", "values": ["pro"] }]);
        let rows = [
            (json!([]), true),
            (json!([rule(&json!({ "key": "other", "split": [{ "variation": "off" }] }))]), true),
            (json!([rule(&json!({ "percentage": 19.9 })), rule(&json!({ "conditions": both }))]), true),
            (json!([rule(&json!({ "schedule": { "from_ms": 5 } }))]), true),
            (json!([rule(&json!({ "percentage": 20.1 }))]), false),
            (json!([rule(&json!({ "percentage": null }))]), false),
            (json!([rule(&json!({ "conditions": [] }))]), false),
            (json!([rule(&json!({})), { "key": "staff", "split": [{ "variation": "on" }] }]), false),
        ];
        for (rules, expected) in rows {
            assert_eq!(is_within(&flag(&rules), &old), expected, "{rules}");
        }
    }

    #[test]
    fn schedules_and_unleashs_gates_are_compared_too() {
        let gated = |group: &str, percent: u8| {
            let gate = json!({ "group": group, "stickiness": "default", "percent": percent });
            flag(&json!([rule(&json!({ "percentage": null, "unleash": { "gate": gate } }))]))
        };
        let open = flag(&json!([rule(&json!({ "percentage": null }))]));
        assert!(is_within(&gated("g", 30), &gated("g", 30)) && is_within(&gated("g", 29), &gated("g", 30)));
        assert!(!is_within(&gated("g", 31), &gated("g", 30)) && !is_within(&gated("h", 30), &gated("g", 30)));
        assert!(is_within(&gated("g", 30), &open) && !is_within(&open, &gated("g", 99)));
        let at = |from_ms: u64| flag(&json!([rule(&json!({ "schedule": { "from_ms": from_ms } }))]));
        assert!(is_within(&at(5), &at(5)) && !is_within(&at(4), &at(5)));
        assert!(!is_within(&flag(&json!([rule(&json!({}))])), &at(5)), "it was there only from then on");
    }
}
