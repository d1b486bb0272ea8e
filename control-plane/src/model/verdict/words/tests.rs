//! The sentences, word by word.

use serde_json::{Value, json};

use super::super::tests::{NOW, look, policy, reading};
use super::super::{ArmTotal, Look, Reading, Recent, decide};
use super::blocked;
use crate::model::circuit::{Circuit, Hand};
use crate::model::policy::Policy;

const HOUR_MS: u64 = 3_600_000;

/// What came in the last hour.
fn hour(exposed: (u64, u64), control: (u64, u64)) -> Recent {
    Recent { reading: reading(exposed, control), span_ms: HOUR_MS }
}

/// The sentence of the only evidence of a closed fuse, which is the verdict's too.
fn evidence(patch: &Value, found: Reading, recent: &[Recent]) -> String {
    let policy = policy(patch);
    let verdict = decide(&Look { recent, ..look(&policy, &[found]) });
    assert_eq!(verdict.summary, verdict.evidence[0].summary);
    verdict.summary
}

#[test]
fn what_is_missing_is_told_with_the_time_it_takes() {
    let quiet = hour((0, 0), (0, 0));
    let rows = [
        (
            reading((0, 0), (0, 0)),
            Some(quiet),
            "conversion: no exposed unit counts yet, and min_sample asks for 1,500 units in each arm; no exposures in the \
             last hour, so there is no saying when.",
        ),
        (
            reading((0, 0), (0, 0)),
            None,
            "conversion: no exposed unit counts yet, and min_sample asks for 1,500 units in each arm; no exposures \
             lately, so there is no saying when.",
        ),
        (
            reading((0, 90), (0, 0)),
            Some(hour((0, 90), (0, 0))),
            "conversion: no control unit counts yet, and min_sample asks for 1,500 units in each arm; no exposures in the \
             last hour, so there is no saying when.",
        ),
        (
            reading((0, 1), (0, 1)),
            Some(hour((0, 1), (0, 2))),
            "conversion: 1 exposed and 1 control unit of the 1,500 that min_sample asks for in each arm; at the present \
             rate never, since the window of 72 h holds about 72 of them.",
        ),
        (
            reading((0, 340), (200, 340)),
            Some(hour((0, 386), (100, 400))),
            "conversion: 340 exposed and 340 control units of the 1,500 that min_sample asks for in each arm; at the \
             present rate in about 4 h.",
        ),
        (
            reading((0, 340), (200, 340)),
            Some(Recent { span_ms: 300_000, ..hour((0, 340), (200, 340)) }),
            "conversion: 340 exposed and 340 control units of the 1,500 that min_sample asks for in each arm; at the rate \
             of the last 5 min in about 19 min.",
        ),
        (
            reading((0, 1_600), (0, 1_600)),
            Some(hour((0, 100), (0, 100))),
            "conversion: 3,200 of the 3,248 units, exposed and control, at which confidence reaches 0.65 (it counts units \
             and is no probability); at the present rate in about 15 min.",
        ),
        (
            reading((0, 1_700), (1, 1_700)),
            Some(hour((0, 100), (1, 100))),
            "conversion: 1 event in 3,400 units, and nothing is compared below 10; at the present rate in about 9 h.",
        ),
        (
            reading((4, 1_700), (5, 1_700)),
            Some(quiet),
            "conversion: 9 events in 3,400 units, and nothing is compared below 10; no events in the last hour, so there \
             is no saying when.",
        ),
        (
            reading((0, 3_400), (0, 600)),
            Some(quiet),
            "conversion: 3,400 exposed and 600 control units cannot come from their shares, which would give about 2,000 \
             and 2,000: something takes units out of an arm or puts some in. Nothing is compared until that is mended and \
             the fuse reset, which counts anew.",
        ),
    ];
    for (found, recent, expected) in rows {
        assert_eq!(evidence(&json!({}), found, recent.as_slice()), expected);
    }
}

#[test]
fn units_that_count_late_are_told_as_such() {
    let rail = json!([{ "metric": "return", "direction": "decrease_is_harm", "threshold": -0.05 }]);
    let said = evidence(&json!({ "guardrails": rail }), reading((0, 0), (0, 0)), &[hour((0, 0), (0, 0))]);
    let expected = "return: no exposed unit counts yet, and min_sample asks for 1,500 units in each arm; no mature units \
                    in the last hour, so there is no saying when (a unit counts only 7 d after its first exposure).";
    assert_eq!(said, expected);
}

#[test]
fn what_was_compared_is_told_with_its_limit() {
    let errors =
        json!({ "guardrails": [{ "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 }] });
    let rows = [
        (
            json!({}),
            reading((480, 5_000), (490, 5_000)),
            "conversion 9.6 % of 5,000 exposed against 9.8 % of 5,000 control: 2.04 % less, limit 5 % less.",
        ),
        (
            json!({}),
            reading((490, 5_000), (490, 5_000)),
            "conversion 9.8 % of 5,000 exposed against 9.8 % of 5,000 control: no difference, limit 5 % less.",
        ),
        (
            json!({}),
            reading((560, 5_000), (490, 5_000)),
            "conversion 11.2 % of 5,000 exposed against 9.8 % of 5,000 control: 14.26 % more, limit 5 % less.",
        ),
        (
            json!({ "ema_alpha": 0.3 }),
            reading((480, 5_000), (490, 5_000)),
            "conversion: no window of five minutes with units of the exposed arm is over yet, and moving averages take no \
             other.",
        ),
        (
            errors,
            reading((0, 500_000), (40, 500_000)),
            "error 0 % of 500,000 exposed against below 0.01 % of 500,000 control: 97.56 % less, limit 50 % more.",
        ),
    ];
    for (patch, found, expected) in rows {
        assert_eq!(evidence(&patch, found, &[]), expected);
    }
}

#[test]
fn means_are_told_with_their_values() {
    let rail = json!([{ "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.5 }]);
    let arm = |units, events, value_sum| ArmTotal { units, events, value_sum };
    let rows = [
        (
            Reading { exposed: arm(2_000, 5_000, 1.65e6), control: arm(2_000, 4_000, 1.2e6) },
            "latency_ms 330 on average of 5,000 values of 2,000 exposed against 300 on average of 4,000 values of 2,000 \
             control: 10 % more, limit 50 % more.",
        ),
        (
            Reading { exposed: arm(2_000, 0, 0.0), control: arm(2_000, 4_000, 1.2e6) },
            "latency_ms: 2,000 exposed units and no value of them yet, so there is no mean to compare.",
        ),
        (
            Reading { exposed: arm(2_000, 5_000, 1.65e6), control: arm(2_000, 1, 0.0) },
            "latency_ms: the mean of the control arm is 0, and nothing is relative to that.",
        ),
    ];
    for (found, expected) in rows {
        assert_eq!(evidence(&json!({ "guardrails": rail }), found, &[]), expected);
    }
}

/// 58 % less than control, the same, and 14 % more.
fn found() -> [Reading; 3] {
    [205, 490, 560].map(|events| reading((events, 5_000), (490, 5_000)))
}

const HARM: &str = "conversion 4.1 % of 5,000 exposed against 9.8 % of 5,000 control: 58.04 % less, limit 5 % less (a \
                    feature without any effect would trip this rule in 31.9 % of first looks)";
const EVEN: &str =
    "conversion 9.8 % of 5,000 exposed against 9.8 % of 5,000 control: no difference, limit 5 % less";
const GOOD: &str = "conversion 11.2 % of 5,000 exposed against 9.8 % of 5,000 control: 14.26 % more, better than control \
                    by more than 2 %, which counts as recovered";

fn verdict(policy: &Policy, circuit: Circuit, acted_ms_ago: Option<u64>, found: Reading) -> String {
    let acted_ms = acted_ms_ago.map(|ms| NOW.minus(ms));
    decide(&Look { circuit, acted_ms, ..look(policy, &[found]) }).summary
}

#[test]
fn verdicts_say_what_was_done_and_why() {
    let [harm, even, good] = found();
    let standard = policy(&json!({ "half_open_percent": 2.5 }));
    let eager = policy(&json!({ "half_open": "after_cooldown" }));
    let rows = [
        (&standard, Circuit::Closed, None, harm, format!("{HARM}; switched off.")),
        (&standard, Circuit::Open, None, harm, format!("Still harmful: {HARM}.")),
        (&standard, Circuit::Open, None, even, format!("Not tried again before it recovers: {EVEN}.")),
        (&standard, Circuit::Open, None, good, format!("{GOOD}; tried again with 2.5 % of the units.")),
        (&standard, Circuit::HalfOpen, None, even, format!("Not closed before it recovers: {EVEN}.")),
        (&standard, Circuit::HalfOpen, None, good, format!("{GOOD}; served to 10 % of the units again.")),
        (&eager, Circuit::HalfOpen, None, even, format!("{EVEN}; served to 10 % of the units again.")),
        (&eager, Circuit::HalfOpen, None, harm, format!("{HARM}; switched off.")),
        (
            &standard,
            Circuit::HalfOpen,
            Some(120_000),
            harm,
            format!(
                "{HARM}. The fuse moved 2 min ago and its cooldown is 5 min: it can be switched off in 3 min."
            ),
        ),
        (
            &eager,
            Circuit::Open,
            Some(120_000),
            harm,
            "The fuse moved 2 min ago and its cooldown is 5 min: it can be tried again in 3 min.".to_owned(),
        ),
        (
            &eager,
            Circuit::Open,
            Some(300_000),
            harm,
            "The cooldown of 5 min is over; tried again with 10 % of the units.".to_owned(),
        ),
    ];
    for (policy, circuit, acted_ms_ago, found, expected) in rows {
        assert_eq!(verdict(policy, circuit, acted_ms_ago, found), expected, "{circuit:?}");
    }
}

#[test]
fn what_keeps_a_fuse_from_moving_is_named() {
    let [harm, even, _] = found();
    let (policy, even) = (policy(&json!({})), [even]);
    let by_hand = Look { circuit: Circuit::Open, hand: Hand::Holds, ..look(&policy, &even) };
    assert_eq!(
        decide(&by_hand).summary,
        "A person opened the fuse, so only a person tries again: POST …/fuse/half-open or …/fuse/close."
    );
    let blind = Look { ingest_lag_ms: 45_000, ..look(&policy, &even) };
    assert_eq!(
        decide(&blind).summary,
        "Events have been waiting to be counted for 45 s, longer than 30 s: until they are counted nothing is called \
         healthy. What is known already may still trip."
    );
    let tripped = decide(&look(&policy, &[harm]));
    let expected = format!(
        "{HARM}. The fuse should be switched off, but replicas hold what this database never signed and would refuse any \
         change: GET …/propagation names them."
    );
    assert_eq!(blocked(tripped.decision, &tripped.summary), expected);
}

#[test]
fn of_several_guardrails_those_are_told_that_decided() {
    let rails = json!([
        { "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05 },
        { "metric": "sign_up", "direction": "decrease_is_harm", "threshold": -0.05 },
        { "metric": "order", "direction": "decrease_is_harm", "threshold": -0.05 }]);
    let policy = policy(&json!({ "guardrails": rails }));
    let [harm, even, _] = found();
    let said = |readings: [Reading; 3]| decide(&look(&policy, &readings)).summary;
    let tripped = said([harm, even, harm]);
    let other = HARM.replace("conversion", "order");
    assert_eq!(tripped, format!("{HARM}. {other}; switched off."));
    let waits = said([even, reading((4, 5_000), (5, 5_000)), even]);
    assert_eq!(
        waits,
        "sign_up: 9 events in 10,000 units, and nothing is compared below 10; no events lately, so there is no saying \
         when."
    );
    assert!(said([even, even, even]).matches("no difference").count() == 3);
}
