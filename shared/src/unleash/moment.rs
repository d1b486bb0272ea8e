//! The `currentTime` of a request → Unix milliseconds, as `new Date(value)` reads it on a server in UTC. Reads no clock.
//!
//! Beside ECMAScript's own format these are the texts that programs send: a space for the `T`, an offset without a colon,
//! what JavaScript's `Date` prints of itself, and milliseconds, which in a query are a text too.

use serde_json::Value;

use super::javascript::{Date, date, iso, trim};

/// Longer texts are no dates.
const LEN_MAX: usize = 100;
/// Milliseconds with fewer digits would be a year, or a day in 1970.
const MS_DIGITS_MIN: usize = 10;
const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

/// `None` for a value that is no date: it means now.
pub(super) fn moment_ms(value: &Value) -> Option<i64> {
    let text = match (date(Some(value)), value) {
        (Date::At(ms), Value::String(_) | Value::Number(_)) => return Some(ms),
        (_, Value::String(text)) if text.len() <= LEN_MAX => trim(text).to_ascii_uppercase(),
        _ => return None,
    };
    if text.len() >= MS_DIGITS_MIN
        && let Ok(ms) = text.parse::<i64>()
    {
        return match date(Some(&Value::from(ms))) {
            Date::At(ms) => Some(ms),
            Date::Invalid | Date::Unportable => None,
        };
    }
    near_iso(&text).or_else(|| printed(&text))
}

/// ECMAScript's format, or one that differs from it by a space or a colon.
fn near_iso(text: &str) -> Option<i64> {
    let text = text.replacen(' ', "T", 1);
    let zone = text.len().checked_sub(5).and_then(|at| text.split_at_checked(at));
    let with_colon =
        zone.filter(|(time, zone)| time.contains(':') && zone.starts_with(['+', '-'])).map(|(time, zone)| {
            let (hours, minutes) = zone.split_at_checked(3).unwrap_or((zone, ""));
            format!("{time}{hours}:{minutes}")
        });
    iso(&with_colon.unwrap_or(text)).map(|iso| iso.ms)
}

/// `SAT NOV 28 2026 19:31:16 GMT+0100 (…)`, as `toString` prints it, and `SAT, 28 NOV 2026 19:31:16 GMT`, as `toUTCString`
/// does: their words in any order, as in V8.
fn printed(text: &str) -> Option<i64> {
    let (mut year, mut month, mut day) = (None, None, None);
    let (mut clock, mut zone) = ("00:00:00".to_owned(), "Z".to_owned());
    let words = text.split('(').next()?.split([' ', ',']).filter(|word| !word.is_empty());
    for word in words {
        let is_digits = word.bytes().all(|byte| byte.is_ascii_digit());
        let named = MONTHS.iter().position(|name| word.starts_with(name));
        match named {
            Some(at) if month.is_none() => month = Some(at + 1),
            _ if is_digits && word.len() == 4 => year = Some(word),
            _ if is_digits && word.len() <= 2 => day = Some(word),
            _ if word.contains(':') => word.clone_into(&mut clock),
            _ => match word.strip_prefix("GMT").or_else(|| word.strip_prefix("UTC")) {
                Some("") => {}
                Some(offset) => offset.clone_into(&mut zone),
                // The day of the week says nothing.
                None if word.bytes().all(|byte| byte.is_ascii_alphabetic()) => {}
                None => return None,
            },
        }
    }
    near_iso(&format!("{}-{:02}-{:0>2}T{clock}{zone}", year?, month?, day?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn dates_are_read_as_the_reference_client_reads_them() {
        const NOON: i64 = 1_643_461_200_000;
        // Each instant is what Node.js prints for `+new Date(value)` with TZ=UTC; the text of milliseconds is our addition.
        for (value, expected) in [
            (json!("2022-01-29T13:00:00.000Z"), Some(NOON)),
            (json!("2022-01-29T15:00:00+02:00"), Some(NOON)),
            (json!("2022-01-29T15:00:00+0200"), Some(NOON)),
            (json!("2022-01-29T13:00:00"), Some(NOON)),
            (json!("2022-01-29 13:00"), Some(NOON)),
            (json!("2022-01-29t13:00:00z"), Some(NOON)),
            (json!("2022-01-29 13:00:00.5+02:00"), Some(1_643_454_000_500)),
            (json!(" 2022-01-29"), Some(1_643_414_400_000)),
            (json!("2022-01-29"), Some(1_643_414_400_000)),
            (json!("2022-02-30"), Some(1_646_179_200_000)),
            (json!("2022"), Some(1_640_995_200_000)),
            (json!(NOON), Some(NOON)),
            (json!(1_643_461_200_000.5), Some(NOON)),
            (json!("1643461200000"), Some(NOON)),
            (json!("Sat, 29 Jan 2022 13:00:00 GMT"), Some(NOON)),
            (json!("Sat Jan 29 2022 15:00:00 GMT+0200 (Central European Time)"), Some(NOON)),
            (json!("29 Jan 2022"), Some(1_643_414_400_000)),
            (json!("9999999999999999"), None),
            (json!("2022-13-01"), None),
            (json!("2022-01-29T25:00:00Z"), None),
            (json!("soon"), None),
            (json!("Jan 2022 maybe1"), None),
            (json!(true), None),
            (json!({}), None),
            (json!([NOON]), None),
        ] {
            assert_eq!(moment_ms(&value), expected, "{value}");
        }
        let padded = |len: usize| {
            json!(format!("29 Jan 2022{}", " (x".repeat(30)).chars().take(len).collect::<String>())
        };
        assert!(moment_ms(&padded(LEN_MAX)).is_some() && moment_ms(&padded(LEN_MAX + 1)).is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer(text in ".*", near in "[0-9TZ:.+ A-Za-z(-]{0,40}") {
            let _ = (moment_ms(&json!(text)), moment_ms(&json!(near)));
        }
    }
}
