//! Objectives and their alerts, as tables of what they are given and what they say.

use flagfuse_shared::ids::UnixMillis;
use serde_json::{Value, json};

use super::*;
use crate::figures::whole;

/// A whole hour, long after 1970.
const NOW: UnixMillis = UnixMillis(500_000 * HOUR_MS);
const DAYS_30: u64 = 30 * 24 * HOUR_MS;

fn slo(patch: &Value) -> Slo {
    let mut slo = json!({ "sli": { "kind": "errors" }, "objective_percent": 99.9, "alerts": "s4" });
    for (name, value) in patch.as_object().unwrap() {
        slo[name] = value.clone();
    }
    Slo::parse(&slo).unwrap()
}

/// So many requests, and so many against them, in each of the last `minutes`, as both spans tell it.
fn steady(minutes: u64, sum: Sum) -> Counts {
    let mut counts = Counts::default();
    fill(&mut counts, NOW, minutes, sum);
    counts
}

fn fill(counts: &mut Counts, now: UnixMillis, minutes: u64, sum: Sum) {
    let mut hours: std::collections::BTreeMap<UnixMillis, Sum> = std::collections::BTreeMap::new();
    for back in 1..=minutes {
        let begin = Span::Minute.begin(now.minus(back * MINUTE_MS));
        counts.put(Span::Minute, begin, sum);
        hours.entry(Span::Hour.begin(begin)).or_default().add(sum);
    }
    for (begin, sum) in hours {
        counts.put(Span::Hour, begin, sum);
    }
}

fn sum(requests: u64, counted: u64) -> Sum {
    Sum { requests, counted }
}

/// The levels of all alerts, by name, of one that was never looked at before.
fn levels(slo: &Slo, counts: &Counts, silences: &[Silence]) -> Vec<(&'static str, Level)> {
    let alerts = slo.alerts.alerts(slo.window_ms());
    let judged = alerts.into_iter().map(|alert| judge(slo, alert, counts, silences, None, NOW));
    judged.map(|judged| (judged.alert.name, judged.standing.level)).collect()
}

#[test]
fn the_rates_are_those_of_the_workbook() {
    let factors: Vec<_> = Preset::Sre
        .alerts(DAYS_30)
        .into_iter()
        .map(|alert| match alert.condition {
            Condition::Burn { long_ms, short_ms, factor } => {
                assert!((factor - (factor * 10.0).round() / 10.0).abs() < 1e-12, "{factor}");
                (long_ms / MINUTE_MS, short_ms / MINUTE_MS, whole(factor * 10.0), alert.level)
            }
            Condition::Budget { .. } => panic!("{alert:?}"),
        })
        .collect();
    let expected = [
        (60, 5, 144, Level::Page),
        (360, 30, 60, Level::Page),
        (1_440, 120, 30, Level::Inform),
        (4_320, 360, 10, Level::Inform),
    ];
    assert_eq!(factors, expected);
}

#[test]
fn a_budget_is_what_an_objective_leaves() {
    let slo = slo(&json!({}));
    assert!((slo.budget() - 0.001).abs() < 1e-18);
    for (requests, bad, burn) in
        [(1_000, 4, 4.0), (1_000, 1, 1.0), (2_000, 3, 1.5), (10, 10, 1_000.0), (10, 99, 1_000.0)]
    {
        let found = slo.burn(sum(requests, bad)).unwrap();
        assert!((found - burn).abs() < 1e-9, "{requests} {bad}: {found}");
        assert!((slo.left(sum(requests, bad)) - (1.0 - burn)).abs() < 1e-9);
    }
    assert_eq!((slo.burn(sum(0, 3)), slo.left(sum(0, 3))), (None, 1.0));
}

#[test]
fn each_kind_counts_what_it_says() {
    let count = |sli: Value, metric: &str, micros: Option<i64>| {
        let slo = json!({ "sli": sli, "objective_percent": if sli["kind"] == "cost" { Value::Null } else { json!(99) } });
        let sum = Slo::parse(&slo).unwrap().sli.count(metric, micros);
        (sum.requests, sum.counted)
    };
    let errors = json!({ "kind": "errors" });
    assert_eq!(count(errors.clone(), "latency_ms", Some(1)), (1, 0));
    assert_eq!(count(errors.clone(), "error", None), (0, 1));
    assert_eq!(count(errors, "conversion", None), (0, 0));
    let slow = json!({ "kind": "latency", "above_ms": 250 });
    assert_eq!(
        count(slow.clone(), "latency_ms", Some(250_000_000)),
        (1, 0),
        "the bound itself is fast enough"
    );
    assert_eq!(count(slow.clone(), "latency_ms", Some(250_000_001)), (1, 1));
    assert_eq!(count(slow, "latency_ms", None), (1, 0));
    let paid = json!({ "kind": "availability", "requests": "checkout", "good": "paid" });
    assert_eq!(count(paid.clone(), "checkout", None), (1, 0));
    assert_eq!(count(paid, "paid", None), (0, 1));
    let cost = json!({ "kind": "cost", "cost": "cents", "at_most": 0.25 });
    assert_eq!(count(cost.clone(), "cents", Some(400_000)), (0, 400_000));
    assert_eq!(count(cost.clone(), "cents", Some(-5)), (0, 0));
    assert_eq!(count(cost, "latency_ms", Some(9)), (1, 0));
}

#[test]
fn availability_and_cost_spend_a_budget_too() {
    let paid = slo(
        &json!({ "sli": { "kind": "availability", "requests": "checkout", "good": "paid" }, "objective_percent": 99 }),
    );
    assert!((paid.burn(sum(1_000, 980)).unwrap() - 2.0).abs() < 1e-9);
    assert!(paid.spent(sum(10, 12)).abs() < 1e-12, "what came twice is not better than good");
    let cost = json!({ "sli": { "kind": "cost", "cost": "cents", "at_most": 0.25 }, "alerts": "s4" });
    let cost = Slo::parse(&cost).unwrap();
    // 1,000 requests for 1,000 in all: one each, where a quarter is affordable.
    assert!((cost.burn(sum(1_000, 1_000_000_000)).unwrap() - 4.0).abs() < 1e-9);
    assert_eq!(levels(&cost, &steady(60, sum(10, 10_000_000)), &[])[0], ("page", Level::Page));
}

#[test]
fn s4_pages_at_four_times_and_informs_at_one_and_a_half() {
    let slo = slo(&json!({}));
    let of = |bad, minutes| {
        let levels = levels(&slo, &steady(minutes, sum(1_000, bad)), &[]);
        (levels[0].1, levels[1].1)
    };
    assert_eq!(of(1, 400), (Level::Ok, Level::Ok));
    assert_eq!(of(2, 400), (Level::Ok, Level::Inform));
    assert_eq!(of(3, 400), (Level::Ok, Level::Inform));
    assert_eq!(of(4, 400), (Level::Page, Level::Inform));
    // Exactly the limits.
    let half = |minutes| levels(&slo, &steady(minutes, sum(2_000, 3)), &[])[1].1;
    assert_eq!(half(400), Level::Inform);
    assert_eq!(levels(&slo, &steady(400, sum(100_000, 149)), &[])[1].1, Level::Ok);
    assert_eq!(levels(&slo, &steady(400, sum(100_000, 399)), &[])[0].1, Level::Ok);
}

#[test]
fn both_windows_have_to_burn_and_twenty_requests_are_needed() {
    let slo = slo(&json!({}));
    // An hour ago it was bad, and is over.
    let mut over = steady(60, sum(1_000, 20));
    fill(&mut over, NOW, 6, sum(1_000, 0));
    assert_eq!(levels(&slo, &over, &[])[0].1, Level::Ok);
    // It has only just begun: the hour as a whole does not say so yet.
    let mut begun = steady(60, sum(1_000, 0));
    fill(&mut begun, NOW, 5, sum(1_000, 40));
    assert_eq!(levels(&slo, &begun, &[])[0].1, Level::Ok);
    fill(&mut begun, NOW, 7, sum(1_000, 40));
    assert_eq!(levels(&slo, &begun, &[])[0].1, Level::Page);
    // Five minutes of three and of four requests, all of them bad.
    assert_eq!(levels(&slo, &steady(60, sum(3, 3)), &[])[0].1, Level::Ok);
    assert_eq!(levels(&slo, &steady(60, sum(4, 4)), &[])[0].1, Level::Page);
    assert_eq!(levels(&slo, &Counts::default(), &[])[0].1, Level::Ok);
}

#[test]
fn half_of_the_budget_is_told_once_there_is_a_budget() {
    let slo = slo(&json!({}));
    let level = |requests, bad| {
        let mut counts = Counts::default();
        counts.put(Span::Hour, NOW.minus(5 * 24 * HOUR_MS), sum(requests, bad));
        levels(&slo, &counts, &[])[2].1
    };
    assert_eq!(level(100_000, 49), Level::Ok);
    assert_eq!(level(100_000, 50), Level::Inform);
    assert_eq!(level(999, 5), Level::Ok, "not one failure is affordable yet");
}

#[test]
fn a_declared_window_is_silent_and_what_happened_in_it_alarms_nobody_afterwards() {
    let slo = slo(&json!({}));
    let page = slo.alerts.alerts(slo.window_ms())[0];
    let deploy = Silence { from_ms: NOW.minus(30 * MINUTE_MS).0, to_ms: NOW.plus(MINUTE_MS).0 };
    let mut counts = steady(60, sum(1_000, 0));
    fill(&mut counts, NOW, 20, sum(1_000, 100));
    let during = judge(&slo, page, &counts, &[deploy], None, NOW);
    assert_eq!(during.standing.level, Level::Suppressed);
    assert!(during.short.unwrap() > 4.0, "it is shown all the same");
    // Over, and healthy: the deploy's minutes are still in the hour.
    let later = NOW.plus(5 * MINUTE_MS);
    fill(&mut counts, later, 5, sum(1_000, 0));
    let after = judge(&slo, page, &counts, &[deploy], Some(during.standing), later);
    assert_eq!(after.standing, Standing { level: Level::Ok, since_ms: later });
    // Over, and it goes on.
    fill(&mut counts, later, 4, sum(1_000, 100));
    let after = judge(&slo, page, &counts, &[deploy], Some(during.standing), later);
    assert_eq!(after.standing.level, Level::Page);
    // The same window before and after is none.
    assert_eq!(judge(&slo, page, &counts, &[], None, later).standing.level, Level::Page);
}

#[test]
fn an_oscillating_rate_moves_an_alert_once() {
    let slo = slo(&json!({}));
    let page = slo.alerts.alerts(slo.window_ms())[0];
    let mut counts = Counts::default();
    fill(&mut counts, NOW, 60, sum(1_000, 5));
    let (mut standing, mut moves) = (None, 0);
    for minute in 1..=60 {
        let now = NOW.plus(minute * MINUTE_MS);
        // Around the limit, minute by minute.
        let bad = if minute % 2 == 0 { 7 } else { 1 };
        counts.put(Span::Minute, now.minus(MINUTE_MS), sum(1_000, bad));
        let judged = judge(&slo, page, &counts, &[], standing, now);
        moves += u32::from(standing.is_none_or(|before: Standing| before.level != judged.standing.level));
        standing = Some(judged.standing);
    }
    assert_eq!((standing.unwrap().level, moves), (Level::Page, 1));
    // Then it is well: calm once, after the short window says so.
    for minute in 61..=120 {
        let now = NOW.plus(minute * MINUTE_MS);
        counts.put(Span::Minute, now.minus(MINUTE_MS), sum(1_000, 0));
        let judged = judge(&slo, page, &counts, &[], standing, now);
        moves += u32::from(standing.is_none_or(|before: Standing| before.level != judged.standing.level));
        standing = Some(judged.standing);
    }
    assert_eq!((standing.unwrap().level, moves), (Level::Ok, 2));
}

#[test]
fn silence_of_the_requests_is_no_recovery_until_the_long_window_is_over() {
    let slo = slo(&json!({}));
    let page = slo.alerts.alerts(slo.window_ms())[0];
    let counts = steady(60, sum(1_000, 50));
    let first = judge(&slo, page, &counts, &[], None, NOW).standing;
    assert_eq!(first.level, Level::Page);
    let at =
        |minutes| judge(&slo, page, &counts, &[], Some(first), NOW.plus(minutes * MINUTE_MS)).standing.level;
    assert_eq!((at(30), at(59), at(62)), (Level::Page, Level::Page, Level::Ok));
}

#[test]
fn what_is_no_slo_is_refused_with_its_field() {
    let rows = [
        (json!({ "sli": { "kind": "errors" } }), "objective_percent is missing"),
        (json!({ "sli": { "kind": "errors" }, "objective_percent": 100 }), "objective_percent is 100"),
        (
            json!({ "sli": { "kind": "errors" }, "objective_percent": 9 }),
            "objective_percent is 9, allowed is 50 to",
        ),
        (json!({ "sli": { "kind": "latency" }, "objective_percent": 99 }), "sli.above_ms is missing"),
        (
            json!({ "sli": { "kind": "latency", "above_ms": 0 }, "objective_percent": 99 }),
            "sli.above_ms is 0",
        ),
        (
            json!({ "sli": { "kind": "errors", "above_ms": 1 }, "objective_percent": 99 }),
            "sli.above_ms says nothing",
        ),
        (
            json!({ "sli": { "kind": "errors", "requests": "error" }, "objective_percent": 99 }),
            "sli.requests is \"error\"",
        ),
        (json!({ "sli": { "kind": "errors", "bad": "" }, "objective_percent": 99 }), "sli.bad is \"\""),
        (json!({ "sli": { "kind": "availability" }, "objective_percent": 99 }), "sli.good is missing"),
        (json!({ "sli": { "kind": "cost", "cost": "c" } }), "sli.at_most is missing"),
        (
            json!({ "sli": { "kind": "cost", "cost": "c", "at_most": 1 }, "objective_percent": 99 }),
            "objective_percent says",
        ),
        (
            json!({ "sli": { "kind": "errors" }, "objective_percent": 99, "window_days": 6 }),
            "window_days is 6",
        ),
        (json!({ "sli": { "kind": "errors" }, "objective_percent": 99, "runbook": "x" }), "runbook is \"x\""),
        (json!({ "sli": { "kind": "errors" }, "objective_percent": 99, "alerts": "loud" }), "alerts"),
        (json!({ "sli": ["errors"], "objective_percent": 99 }), "sli must be"),
        (json!({ "sli": { "kind": "errors" }, "objective_percent": 99, "budget": 1 }), "budget is unknown"),
    ];
    for (slo, said) in rows {
        let fault = Slo::parse(&slo).unwrap_err().to_string();
        assert!(fault.contains(said), "{slo}: {fault}");
    }
}

#[test]
fn a_suppression_is_bounded_and_says_why() {
    let window = |from_ms: Option<u64>, to_ms: u64, reason: &str| {
        let from_ms = from_ms.map(UnixMillis);
        let suppression =
            Suppression { from_ms, to_ms: UnixMillis(to_ms), reason: reason.to_owned(), slo: None };
        suppression.window(NOW).map_err(|fault| fault.to_string())
    };
    let (begin, end) = (NOW.0, NOW.plus(HOUR_MS).0);
    assert_eq!(window(None, end, "deploy"), Ok(Silence { from_ms: begin, to_ms: end }));
    assert_eq!(
        window(Some(5), NOW.0, "deploy").unwrap_err().split(',').next(),
        Some(&*format!("to_ms is {begin}"))
    );
    assert!(window(Some(end), end, "deploy").is_err());
    assert!(window(None, NOW.plus(SILENCE_MS_MAX + 1).0, "deploy").unwrap_err().contains("24 hours"));
    assert!(window(None, end, " ").unwrap_err().contains("reason is missing"));
}

#[test]
fn an_alert_that_no_traffic_can_reach_is_named() {
    let lax = slo(&json!({ "objective_percent": 90, "alerts": "sre" }));
    assert_eq!(lax.mute_alerts(), ["page_fast"]);
    assert!(slo(&json!({})).mute_alerts().is_empty());
}
