//! Tests of the date family; never built into the product.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Howard Hinnant's `days_from_civil`: counts in eras, where the product adds up years and months.
fn reference_days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[test]
fn fractions_are_cut_to_milliseconds_on_both_sides_of_1970() {
    let rows = [
        ("1970-01-01T00:00:00.1Z", 100),
        ("1970-01-01T00:00:00.0019999999999999999999999Z", 1),
        ("1969-12-31T23:59:59.9999Z", -1),
        ("1969-12-31T23:59:59.999000Z", -1),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01T00:00:00-00:00", 0),
        ("0000-01-01T00:00:00+23:59", -62_167_219_200_000 - 86_340_000),
        ("9999-12-31T23:59:59.999-23:59", 253_402_300_799_999 + 86_340_000),
    ];
    for (text, expected_ms) in rows {
        assert_eq!(parse_ms(text), Ok(expected_ms), "{text}");
    }
}

#[test]
fn malformed_texts_and_impossible_days_are_refused() {
    let rows = [
        (SYNTAX, "1970-01-01"),
        (SYNTAX, "1970-01-01T00:00:00"),
        (SYNTAX, "1970-01-01 00:00:00Z"),
        (SYNTAX, " 1970-01-01T00:00:00Z"),
        (SYNTAX, "1970-01-01T00:00:00Z "),
        (SYNTAX, "1970-01-01T00:00Z"),
        (SYNTAX, "1970-1-01T00:00:00Z"),
        (SYNTAX, "19700101T000000Z"),
        (SYNTAX, "+1970-01-01T00:00:00Z"),
        (SYNTAX, "12026-01-01T00:00:00Z"),
        (SYNTAX, "1970-01-01T00:00:00.Z"),
        (SYNTAX, "1970-01-01T00:00:00,5Z"),
        (SYNTAX, "1970-01-01T00:00:00+0100"),
        (SYNTAX, "1970-01-01T00:00:00+01"),
        (SYNTAX, "1970-01-01T00:00:00+01:00Z"),
        (SYNTAX, "1970-01-01T00:00:00\u{2212}01:00"),
        (SYNTAX, "1970-01-0١T00:00:00Z"),
        (SYNTAX, "0"),
        (SYNTAX, ""),
        (NO_DAY, "1970-00-01T00:00:00Z"),
        (NO_DAY, "1970-13-01T00:00:00Z"),
        (NO_DAY, "1970-01-00T00:00:00Z"),
        (NO_DAY, "1970-04-31T00:00:00Z"),
        (NO_DAY, "2023-02-29T00:00:00Z"),
        (NO_DAY, "1900-02-29T00:00:00Z"),
        (NO_TIME, "1970-01-01T24:00:00Z"),
        (NO_TIME, "1970-01-01T00:60:00Z"),
        (NO_TIME, "1970-01-01T00:00:61Z"),
        (NO_OFFSET, "1970-01-01T00:00:00+24:00"),
        (NO_OFFSET, "1970-01-01T00:00:00-00:60"),
        (NO_LEAP_SECOND, "1990-12-31T23:58:60Z"),
        (NO_LEAP_SECOND, "1990-12-30T23:59:60Z"),
        (NO_LEAP_SECOND, "1990-12-31T23:59:60+01:00"),
    ];
    for (reason, text) in rows {
        assert_eq!(parse_ms(text), Err(reason), "{text}");
    }
    assert!(parse_ms("2000-02-29T00:00:00Z").is_ok() && parse_ms("2024-02-29T00:00:00Z").is_ok());
}

#[test]
fn whole_numbers_are_unix_milliseconds() {
    let after = |bound: Value, instant: Value| {
        let wire = json!({ "attribute": "t", "op": "after", "values": [bound] });
        DateTest::compile(Side::After, &serde_json::from_value(wire).unwrap())
            .map(|test| test.matches(&instant))
    };
    assert_eq!(after(json!(1_700_000_000_000_i64), json!("2023-11-14T22:13:20.001Z")), Ok(true));
    assert_eq!(after(json!("2023-11-14T22:13:20Z"), json!(1_700_000_000_000_i64)), Ok(false));
    assert_eq!(after(json!(-1), json!(0.0)), Ok(true));
    assert_eq!(after(json!(-1), json!(0.5)), Ok(false));
    assert_eq!(after(json!(-1), json!(1e300)), Ok(false));
    assert_eq!(after(json!(-1), json!(true)), Ok(false));
    for bound in [json!(0.5), json!(u64::MAX), json!(1e16), json!(true), json!([0]), Value::Null] {
        assert!(after(bound, json!(0)).is_err());
    }
}

proptest! {
    #[test]
    fn any_text_is_an_answer(
        text in ".*",
        day in "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]",
        time in "[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})?",
    ) {
        let _ = parse_ms(&text);
        let _ = parse_ms(&format!("{day}{time}"));
    }

    #[test]
    fn valid_texts_agree_with_the_epoch_formula(
        (year, month, day) in (0_i64..=9999, 1_i64..=12, 1_i64..=31),
        (hour, minute, second, ms) in (0_i64..24, 0_i64..60, 0_i64..60, 0_i64..1000),
        offset in -1439_i64..=1439,
    ) {
        let sign = if offset < 0 { '-' } else { '+' };
        let text = format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}{sign}{:02}:{:02}",
            offset.abs() / 60, offset.abs() % 60,
        );
        // A day that does not exist runs over into the next month, so its number is not below that month's first.
        let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        let days = reference_days(year, month, day);
        if days < reference_days(next_year, next_month, 1) {
            let minutes = (days * 24 + hour) * 60 + minute - offset;
            prop_assert_eq!(parse_ms(&text), Ok((minutes * 60 + second) * 1000 + ms));
            prop_assert_eq!(is_start_of_month(days * 86_400), day == 1);
        } else {
            prop_assert_eq!(parse_ms(&text), Err(NO_DAY));
        }
    }
}
