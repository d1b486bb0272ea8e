//! Policies at the door: what is taken, with which defaults, and what is refused in which words.

use serde_json::json;

use super::*;

fn parse(patch: &Value) -> Result<Policy, PolicyFault> {
    let mut policy = json!({
        "mode": "classic", "treatment_variation": "on", "control_variation": "off",
        "exposure_percent": 10, "control_percent": 10,
        "guardrails": [{ "metric": "return", "direction": "decrease_is_harm", "threshold": -0.05 }],
    });
    for (name, value) in patch.as_object().unwrap() {
        policy[name] = value.clone();
    }
    Policy::parse(policy)
}

#[test]
fn the_seed_systems_settings_are_the_defaults() {
    let policy = parse(&json!({})).unwrap();
    assert_eq!(
        (policy.min_sample, policy.window_hours, policy.cooldown_s, policy.grace_s),
        (1_500, 72, 300, 30)
    );
    assert!((policy.min_confidence - 0.65).abs() < 1e-15);
    assert_eq!(policy.guardrails[0].matures_after_ms(), WEEK_S * 1_000);
}

#[test]
fn invalid_rule_is_refused_at_the_door_and_names_its_field() {
    let rail = |patch: Value| {
        let mut rail = json!({ "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 });
        for (name, value) in patch.as_object().unwrap() {
            rail[name] = value.clone();
        }
        json!({ "guardrails": [rail] })
    };
    let rows = [
        (json!({ "mode": "bayes" }), "mode \"bayes\" is not available, available: classic, anytime"),
        (json!({ "mode": "anytime", "ema_alpha": 0.3 }), "ema_alpha is 0.3, allowed is for the mode classic"),
        (json!({ "mode": "anytime", "half_open": "after_cooldown" }), "half_open is after_cooldown"),
        (rail(json!({ "weight": 1 })), "guardrails[0].weight is 1, allowed is for the mode anytime only"),
        (rail(json!({ "baseline": 0.1 })), "guardrails[0].baseline is 0.1, allowed is for the mode anytime"),
        (json!({ "surprise": 1 }), "surprise is unknown"),
        (json!({ "exposure_percent": 90.1 }), "exposure_percent is 90.1, allowed is 0.0001 to 90"),
        (json!({ "exposure_percent": 0.000_15 }), "exposure_percent"),
        (json!({ "control_percent": 0 }), "control_percent is 0, allowed is 0.0001 to 50"),
        (
            json!({ "exposure_percent": 60, "control_percent": 50 }),
            "exposure_percent + control_percent is 110",
        ),
        (json!({ "min_confidence": 1.01 }), "min_confidence is 1.01"),
        (json!({ "min_sample": 0 }), "min_sample is 0"),
        (json!({ "window_hours": 721 }), "window_hours is 721, allowed is 1 to 720"),
        (json!({ "ema_alpha": 0 }), "ema_alpha is 0"),
        (json!({ "control_variation": "on" }), "control_variation"),
        (json!({ "guardrails": [] }), "guardrails is 0 entries"),
        (rail(json!({ "threshold": -0.5 })), "guardrails[0].threshold is -0.5"),
        (rail(json!({ "direction": "decrease_is_harm" })), "guardrails[0].threshold is 0.5"),
        (rail(json!({ "metric": "Bad Metric" })), "guardrails[0].metric"),
        (rail(json!({ "after_s": 90_000 })), "guardrails[0].within_s is 600 s"),
        (rail(json!({ "within_s": 604_801 })), "guardrails[0].within_s is 604801"),
        (
            rail(json!({ "activities": ["session"] })),
            "guardrails[0].activities is there for the metric \"error\"",
        ),
    ];
    for (patch, expected) in rows {
        let text = parse(&patch).unwrap_err().to_string();
        assert!(text.contains(expected), "{patch}: {text}");
    }
}

#[test]
fn weights_are_given_for_all_or_none_and_sum_to_one() {
    let rails = |weights: [Value; 2]| {
        let rail = |metric: &str, weight: &Value| json!({ "metric": metric, "direction": "increase_is_harm", "threshold": 0.5, "weight": weight });
        parse(
            &json!({ "mode": "anytime", "guardrails": [rail("error", &weights[0]), rail("crash", &weights[1])] }),
        )
    };
    assert_eq!(rails([json!(0.4), json!(0.6)]).unwrap().weights(), [0.4, 0.6]);
    assert_eq!(rails([Value::Null, Value::Null]).unwrap().weights(), [0.5, 0.5]);
    for weights in [[json!(0.4), json!(0.5)], [json!(0.4), Value::Null]] {
        let text = rails(weights).unwrap_err().to_string();
        assert!(text.contains("allowed is for all of them or for none, and 1 in sum"), "{text}");
    }
    let far = json!({ "mode": "anytime", "guardrails": [{ "metric": "error", "direction": "increase_is_harm", "threshold": 50 }] });
    let text = parse(&far).unwrap_err().to_string();
    assert!(text.contains("guardrails[0].threshold is 50, allowed is 0.001 to 10 in size"), "{text}");
}

#[test]
fn a_return_is_what_people_do_and_never_what_happens_to_them() {
    let policy = |activities: Value| {
        parse(
            &json!({ "guardrails": [{ "metric": "return", "direction": "decrease_is_harm", "threshold": -0.05,
            "activities": activities }] }),
        )
    };
    assert_eq!(parse(&json!({})).unwrap().activities(), ["session"]);
    assert_eq!(policy(json!(["order", "page_view"])).unwrap().activities(), ["order", "page_view"]);
    let many: Vec<String> = (0..=ACTIVITY_COUNT_MAX).map(|n| format!("a{n}")).collect();
    assert!(policy(json!(many[1..])).is_ok());
    for (activities, expected) in [
        (json!([]), "guardrails[0].activities is a list of 0, allowed is 1 to 16 names"),
        (json!(many), "guardrails[0].activities is a list of 17"),
        (json!(["session", "error"]), "guardrails[0].activities[1] is \"error\""),
        (json!(["latency_ms"]), "guardrails[0].activities[0] is \"latency_ms\""),
        (json!(["exposure"]), "guardrails[0].activities[0] is \"exposure\""),
        (json!(["a", "b", "a"]), "guardrails[0].activities[2] is listed twice"),
        (json!(["No Key"]), "guardrails[0].activities[0] is \"No Key\""),
    ] {
        let text = policy(activities).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn values_are_added_up_under_names_of_their_own() {
    let values = |values: Value| parse(&json!({ "values": values }));
    assert_eq!(parse(&json!({})).unwrap().values, [""; 0]);
    assert_eq!(values(json!(["revenue", "items"])).unwrap().values, ["revenue", "items"]);
    for (found, expected) in [
        (json!(["a", "b", "c", "d", "e"]), "values is a list of 5, allowed is at most 4 names"),
        (json!(["latency_ms"]), "values[0] is \"latency_ms\""),
        (json!(["other"]), "values[0] is \"other\""),
        (json!(["a", "return"]), "values[1] is \"return\""),
        (json!(["a", "a"]), "values[1] is listed twice"),
        (json!(["No Key"]), "values[0] is \"No Key\""),
    ] {
        let text = values(found).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
    let rail = json!({ "metric": "revenue", "direction": "decrease_is_harm", "threshold": -0.05 });
    let both = parse(&json!({ "guardrails": [rail], "values": ["revenue"] })).unwrap_err().to_string();
    assert!(both.contains("values[0] is a guardrail's metric"), "{both}");
}

#[test]
fn what_goes_wrong_counts_for_ten_minutes_and_what_people_do_for_a_day() {
    let window = |metric| (default_window(metric).after_ms / 1_000, default_window(metric).within_ms / 1_000);
    assert_eq!(["error", "latency_ms"].map(window), [(0, 600), (0, 600)]);
    assert_eq!(["conversion", "activation", "other"].map(window), [(0, 86_400); 3]);
    assert_eq!(window("return"), (86_400, 604_800));
}

#[test]
fn a_watched_flag_has_a_default_and_it_is_free_of_the_feature() {
    let check = |default: Value| {
        let flag = json!({ "key": "f", "value_type": "boolean", "default_variation": default,
            "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }] });
        let checked = parse(&json!({})).unwrap().check_flag(&serde_json::from_value(flag).unwrap());
        checked.map_err(|fault| fault.to_string())
    };
    assert_eq!(check(json!("off")), Ok(()));
    assert!(check(json!("on")).unwrap_err().contains("allowed is a variation that is not the default"));
    assert!(check(Value::Null).unwrap_err().contains("default_variation is absent, allowed is a variation"));
}
