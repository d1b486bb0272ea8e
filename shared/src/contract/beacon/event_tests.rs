//! What an event may say, and what it is told when it may not.

use super::*;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn parse(raw: &str) -> Result<Event, QuarantineCode> {
    parse_event(raw, NOW, None).map_err(|fault| fault.code)
}

fn event(fields: &str) -> String {
    format!(r#"{{"id":"e1","unit":"u","occurred_ms":{},{fields}}}"#, NOW.0)
}

#[test]
fn unknown_fields_are_no_error_and_wrong_types_are() {
    assert!(parse(&event(r#""type":"outcome","metric":"conversion","new_field":{"a":1}"#)).is_ok());
    let rows = [
        ("{", QuarantineCode::BadJson),
        ("[]", QuarantineCode::BadSchema),
        (&event(r#""type":"outcome","metric":7"#), QuarantineCode::BadSchema),
        (&event(r#""type":"outcome""#), QuarantineCode::BadSchema),
        (&event(r#""type":"exposure","flag":"f""#), QuarantineCode::BadSchema),
        (&event(r#""type":"exposure","flag":"f","variation":"on","version":"x""#), QuarantineCode::BadSchema),
        (&event(r#""type":"dance""#), QuarantineCode::BadSchema),
        (&event(r#""type":7"#), QuarantineCode::BadSchema),
        (&event(r#""type":"outcome","metric":"m","metric":"m""#), QuarantineCode::BadSchema),
        (&event(r#""type":"outcome","metric":"m","new":[{"a":1,"a":1}]"#), QuarantineCode::BadSchema),
        (&event(r#""type":"usage","flag":"f","variants":{"a":1,"a":2}"#), QuarantineCode::BadSchema),
        (
            &format!(r#"["e1","outcome","u",{},null,null,null,null,"m",null]"#, NOW.0),
            QuarantineCode::BadSchema,
        ),
        (
            r#"{"id":"e","type":"outcome","metric":"m","occurred_ms":1800000000000}"#,
            QuarantineCode::UnitMissing,
        ),
    ];
    for (raw, code) in rows {
        assert_eq!(parse(raw), Err(code), "{raw}");
    }
}

#[test]
fn sizes_and_times_are_limited_on_each_side() {
    let padded = |len: usize| {
        let empty = event(r#""type":"outcome","metric":"m","pad":"""#).len();
        event(&format!(r#""type":"outcome","metric":"m","pad":"{}""#, "x".repeat(len - empty)))
    };
    assert!(parse(&padded(EVENT_LEN_MAX)).is_ok());
    assert_eq!(parse(&padded(EVENT_LEN_MAX + 1)), Err(QuarantineCode::Oversize));
    let at = |ms: u64| {
        parse(&format!(r#"{{"id":"e","type":"outcome","metric":"m","unit":"u","occurred_ms":{ms}}}"#))
            .map(|event| event.occurred_ms)
    };
    assert_eq!(at(NOW.0 - EVENT_AGE_MS_MAX), Ok(NOW.minus(EVENT_AGE_MS_MAX)));
    assert_eq!(at(NOW.0 - EVENT_AGE_MS_MAX - 1), Err(QuarantineCode::TooOld));
    assert_eq!(at(NOW.0 + EVENT_SKEW_MS_MAX), Ok(NOW));
    assert_eq!(at(NOW.0 + EVENT_SKEW_MS_MAX + 1), Err(QuarantineCode::Future));
}

#[test]
fn usage_is_plausible_up_to_its_limit_in_every_counter() {
    let usage = |yes: u64, no: u64, blue: u64| {
        parse(&event(&format!(
            r#""type":"usage","flag":"f","yes":{yes},"no":{no},"variants":{{"red":1,"blue":{blue}}}"#
        )))
    };
    assert!(usage(USAGE_COUNT_MAX, USAGE_COUNT_MAX, USAGE_COUNT_MAX).is_ok());
    for (yes, no, blue) in [
        (USAGE_COUNT_MAX + 1, 0, 0),
        (0, USAGE_COUNT_MAX + 1, 0),
        (0, 0, USAGE_COUNT_MAX + 1),
        (u64::MAX, 0, 0),
    ] {
        assert_eq!(usage(yes, no, blue), Err(QuarantineCode::ImplausibleCount), "{yes} {no} {blue}");
    }
}

#[test]
fn a_wrong_client_clock_is_corrected_by_its_own_reading() {
    // The client is one day ahead; the event happened two seconds before it was sent.
    let day = 86_400_000;
    let raw = format!(
        r#"{{"id":"e","type":"outcome","metric":"m","unit":"u","occurred_ms":{}}}"#,
        NOW.0 + day - 2_000
    );
    let event = parse_event(&raw, NOW, Some(NOW.plus(day))).unwrap();
    assert_eq!(event.occurred_ms, NOW.minus(2_000));
}

#[test]
fn the_quick_way_says_exactly_what_the_careful_one_says() {
    let now = NOW.0;
    let more =
        ["", r#","new":"x""#, r#","new":1e3,"other":null"#, r#","new":{"a":1}"#, r#","new":1,"new":2"#];
    let kinds = [
        r#""type":"outcome","metric":"m""#,
        r#""type":"outcome","metric":"m","value":12"#,
        r#""type":"outcome","metric":"m","value":-0.5e1"#,
        r#""type":"outcome","metric":"m","value":1e999"#,
        r#""type":"outcome","metric":"m","value":"12""#,
        r#""type":"outcome","metric":null,"ticket":"k.1.x""#,
        r#""type":"exposure","flag":"f\u00fc","variation":"on","phase":3,"version":"1.2""#,
        r#""type":"exposure","flag":"f","variation":"on","phase":-1"#,
        r#""type":"exposure","flag":"f","variation":"on","phase":1.0"#,
        r#""type":{"outcome":null},"metric":"m""#,
        r#""type":"usage","flag":"f","yes":1"#,
        r#""type":"dance""#,
        r#""type":"outcome","metric":"m","ticket":7"#,
    ];
    let heads = [
        format!(r#""id":"e","unit":"u","occurred_ms":{now}"#),
        format!(r#""id":"e","unit":null,"occurred_ms":{now}"#),
        format!(r#""id":"\u0065","unit":"u","occurred_ms":{now}.0"#),
        format!(r#""id":null,"unit":"u","occurred_ms":{now}"#),
        format!(r#""id":"e","unit":"u","occurred_ms":{}"#, now / 1_000),
        r#""id":"e","unit":"u""#.to_owned(),
    ];
    let mut quick = 0;
    for head in &heads {
        for kind in kinds {
            for more in more {
                let raw = format!("{{{head},{kind}{more}}}");
                quick += usize::from(super::quick::fields(&raw, NOW).is_some());
                assert_eq!(parse_event(&raw, NOW, None), careful(&raw, NOW, None), "{raw}");
            }
        }
    }
    assert!(quick >= 30, "the quick way read {quick} of them");
    for raw in ["", "{", "[]", "{} ", "7", r#"{"id":"e"} x"#] {
        assert_eq!(parse_event(raw, NOW, None), careful(raw, NOW, None), "{raw}");
    }
}
