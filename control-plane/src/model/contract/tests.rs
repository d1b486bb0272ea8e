//! What is refused at the door, and what a contract comes to over counts.

use std::collections::BTreeMap;

use flagfuse_cells::bins::latency_bin;
use serde_json::json;

use super::*;

fn contract(patch: Value) -> Result<Contract, ContractFault> {
    let mut contract = json!({ "max_error_rate": 0.01, "min_sample": 100, "window_s": 600 });
    for (name, value) in patch.as_object().unwrap() {
        contract[name] = value.clone();
    }
    Contract::parse(&contract)
}

fn baseline(patch: Value) -> Result<Baseline, ContractFault> {
    let mut baseline = json!({
        "p50_ms": 10.0, "p95_ms": 100.0, "p99_ms": 200.0, "error_rate": 0.01, "conversion": 0.2,
        "sample_size": 5_000, "concurrency": 50,
    });
    for (name, value) in patch.as_object().unwrap() {
        baseline[name] = value.clone();
    }
    Baseline::parse(&baseline)
}

#[test]
fn a_contract_outside_its_limits_is_refused_by_its_field() {
    for (patch, words) in [
        (json!({ "max_error_rate": 1.01 }), "max_error_rate is 1.01, allowed is 0 to 1"),
        (json!({ "max_error_rate": -0.1 }), "max_error_rate is -0.1"),
        (json!({ "max_p95_ms": 0 }), "max_p95_ms is 0"),
        (json!({ "min_conversion": 0 }), "min_conversion is 0"),
        (json!({ "min_activation": 2 }), "min_activation is 2"),
        (json!({ "min_retention": "half" }), "min_retention"),
        (json!({ "p95_tolerance": -1 }), "p95_tolerance is -1"),
        (json!({ "conversion_tolerance": 1 }), "conversion_tolerance is 1, allowed is 0 to 0.99"),
        (json!({ "min_sample": 0 }), "min_sample is 0"),
        (json!({ "window_s": 59 }), "window_s is 59, allowed is 60 to 2592000"),
        (json!({ "window_s": null }), "window_s"),
        (json!({ "conversion_metric": "error" }), "conversion_metric is \"error\""),
        (
            json!({ "activation_metric": "conversion" }),
            "activation_metric is \"conversion\", as conversion_metric",
        ),
        (json!({ "max_error_rate": null }), "at least one of max_p95_ms"),
        (json!({ "group": ["a", "a"] }), "group[1] is listed twice"),
        (json!({ "group": [""] }), "group[0]"),
        (json!({ "max_p99_ms": 5 }), "max_p99_ms"),
        (json!({ "decides": "coin" }), "decides"),
    ] {
        let fault = contract(patch.clone()).unwrap_err();
        assert!(fault.to_string().contains(words), "{patch}: {fault}");
        assert!(!fault.is_of_baseline());
    }
    let usual = contract(json!({})).unwrap();
    assert_eq!((usual.decides, usual.conversion_metric.as_str()), (Decides::Automatic, "conversion"));
    let fault = |own: &str| {
        let named = contract(json!({ "group": ["b"] })).unwrap();
        named.check_group(own, |member| member == "b").map_err(|fault| fault.to_string())
    };
    assert!(fault("b").unwrap_err().contains("group[0] is \"b\", allowed is another flag"));
    assert_eq!(fault("a"), Ok(()));
    let ghost = contract(json!({ "group": ["ghost"] })).unwrap().check_group("a", |_| false);
    assert!(ghost.unwrap_err().to_string().contains("a flag of this environment"));
}

#[test]
fn a_baseline_that_cannot_be_is_refused_by_its_field() {
    for (patch, words) in [
        (json!({ "p95_ms": 5 }), "p95_ms is 5, allowed is at least p50_ms, 10"),
        (json!({ "p99_ms": 50 }), "p99_ms is 50, allowed is at least p95_ms, 100"),
        (json!({ "p50_ms": -1 }), "p50_ms is -1"),
        (json!({ "error_rate": 1.5 }), "error_rate is 1.5"),
        (json!({ "conversion": -0.5 }), "conversion is -0.5"),
        (json!({ "sample_size": 0 }), "sample_size is 0"),
        (json!({ "timeouts": 5_001 }), "timeouts is 5001, allowed is 0 to 5000"),
        (json!({ "target": "x".repeat(513) }), "target is a text of 513 bytes"),
        (json!({ "colour": 1 }), "colour"),
    ] {
        let fault = baseline(patch.clone()).unwrap_err();
        assert!(fault.to_string().contains(words), "{patch}: {fault}");
        assert!(fault.is_of_baseline());
    }
}

fn judged(
    contract: &Contract,
    baseline: Option<&Baseline>,
    found: &[(&str, u64, f64)],
) -> Vec<(String, Finding)> {
    let judgement = judge(contract, baseline, &measured(found), (UnixMillis(0), UnixMillis(600_000)), true);
    judgement.rules.into_iter().map(|rule| (rule.rule, rule.finding)).collect()
}

fn measured(found: &[(&str, u64, f64)]) -> BTreeMap<String, Measured> {
    let one = |(metric, units, value): &(&str, u64, f64)| {
        ((*metric).to_owned(), Measured { is_counted: true, units: *units, value: Some(*value) })
    };
    found.iter().map(one).collect()
}

#[test]
fn each_rule_is_met_at_its_limit_violated_beyond_and_silent_below_the_sample() {
    let all = contract(json!({
        "max_p95_ms": 200, "max_error_rate": 0.02, "min_conversion": 0.1, "min_activation": 0.15, "min_retention": 0.4,
    }))
    .unwrap();
    let at_the_limit = [
        ("latency_ms", 100, 200.0),
        ("error", 100, 0.02),
        ("conversion", 100, 0.1),
        ("activation", 100, 0.15),
        ("return", 100, 0.4),
    ];
    assert!(judged(&all, None, &at_the_limit).iter().all(|(_, finding)| *finding == Finding::Met));
    let beyond = [
        ("latency_ms", 100, 200.1),
        ("error", 100, 0.021),
        ("conversion", 100, 0.099),
        ("activation", 99, 0.0),
    ];
    let named = |name: &str, finding| (name.to_owned(), finding);
    assert_eq!(
        judged(&all, None, &beyond),
        [
            named("max_p95_ms", Finding::Violated),
            named("max_error_rate", Finding::Violated),
            named("min_conversion", Finding::Violated),
            named("min_activation", Finding::TooFew),
            named("min_retention", Finding::NotCounted),
        ]
    );
}

#[test]
fn tolerances_are_measured_from_the_baseline() {
    let tolerant = contract(json!({
        "max_error_rate": null, "p95_tolerance": 0.1, "error_rate_tolerance": 0.005, "conversion_tolerance": 0.25,
    }))
    .unwrap();
    let known = baseline(json!({})).unwrap();
    let fits = [("latency_ms", 100, 109.9), ("error", 100, 0.0149), ("conversion", 100, 0.1501)];
    assert!(judged(&tolerant, Some(&known), &fits).iter().all(|(_, finding)| *finding == Finding::Met));
    let worse = [("latency_ms", 100, 110.1), ("error", 100, 0.0151), ("conversion", 100, 0.1499)];
    assert!(judged(&tolerant, Some(&known), &worse).iter().all(|(_, finding)| *finding == Finding::Violated));
    assert_eq!(tolerant.lacks(Some(&known)), None);
    assert_eq!(tolerant.lacks(None), Some("p95_tolerance"));
    let silent = Baseline { conversion: None, ..known };
    assert_eq!(tolerant.lacks(Some(&silent)), Some("conversion_tolerance"));
    let found = judged(&tolerant, Some(&silent), &fits);
    assert_eq!(found[2], ("conversion_tolerance".to_owned(), Finding::NoBaseline));
    assert_eq!(tolerant.metrics(), ["latency_ms", "error", "conversion"]);
}

#[test]
fn nothing_is_decided_before_the_window_is_over_and_nothing_is_met_while_events_are_late() {
    let contract = contract(json!({ "min_conversion": 0.1 })).unwrap();
    let stands = |found: &[(&str, u64, f64)], ms: u64, is_fresh| {
        judge(&contract, None, &measured(found), (UnixMillis(1_000), UnixMillis(1_000 + ms)), is_fresh)
            .standing
    };
    let good = [("error", 500, 0.0), ("conversion", 500, 0.2)];
    let bad = [("error", 500, 0.5), ("conversion", 500, 0.2)];
    let few = [("error", 500, 0.0), ("conversion", 99, 0.2)];
    let bad_and_few = [("error", 500, 0.5), ("conversion", 99, 0.2)];
    assert_eq!(stands(&good, 599_999, true), Standing::Validating);
    assert_eq!(stands(&bad, 599_999, true), Standing::Validating);
    assert_eq!(stands(&good, 600_000, true), Standing::Met);
    assert_eq!(stands(&good, 600_000, false), Standing::Validating);
    assert_eq!(stands(&bad, 600_000, false), Standing::Violated);
    assert_eq!(stands(&few, 900_000, true), Standing::Validating);
    assert_eq!(stands(&bad_and_few, 900_000, true), Standing::Violated);
    assert_eq!(stands(&[], 900_000, true), Standing::Validating);
}

#[test]
fn the_quantile_is_the_seeds_and_that_of_bins_is_within_a_hundredth() {
    let known = [(1, 0), (2, 1), (19, 18), (20, 19), (100, 95), (5_000, 4_750)];
    for (count, at) in known {
        assert_eq!(quantile_index(count, 0.95), Some(at), "{count}");
    }
    assert_eq!(quantile_index(0, 0.95), None);
    assert_eq!(quantile_index(3, 1.0), Some(2));
    // 0.37 ms apart, so that every sample has a place of its own in the order.
    let samples: Vec<i64> = (1..=1_000).map(|n| n * 370_000).collect();
    let mut bins: BTreeMap<u16, u64> = BTreeMap::new();
    for sample in &samples {
        *bins.entry(latency_bin(*sample)).or_default() += 1;
    }
    let bins: Vec<_> = bins.into_iter().collect();
    let (count, found) = p95_of_bins(&bins);
    let exact = 951.0 * 0.37;
    assert_eq!(count, 1_000);
    assert!((found.unwrap() / exact - 1.0).abs() <= 0.0101, "{found:?} for {exact}");
    assert_eq!(p95_of_bins(&[]), (0, None));
    // Above an hour there is no edge: the last one that there is.
    assert!(p95_of_bins(&[(u16::MAX, 3)]).1.unwrap() > 3_500_000.0);
}
