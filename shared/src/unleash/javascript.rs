//! Values as JavaScript reads them, because Unleash's documents mean what its JavaScript client makes of them.

use serde_json::{Map, Value};

use crate::context::number_text;

/// `String.prototype.trim`: Unicode's white space without NEL, and the byte order mark.
pub fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

const fn is_space(c: char) -> bool {
    (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}'
}

/// `text.split(/\s*,\s*/)`: space around commas goes, space at either end of the text stays.
pub fn split_list(text: &str) -> Vec<String> {
    let count = text.split(',').count();
    let pieces = text.split(',').enumerate().map(|(at, piece)| {
        let piece = if at > 0 { piece.trim_start_matches(is_space) } else { piece };
        let piece = if at + 1 < count { piece.trim_end_matches(is_space) } else { piece };
        piece.to_owned()
    });
    pieces.collect()
}

/// What `${value}` prints for a scalar. `None` for arrays and objects, which no document of Unleash has there.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number_text(number)),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null => Some("null".to_owned()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// A parameter that counts as absent when it is falsy. `Err` names the parameter that is not a string.
pub fn truthy_text(parameters: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match parameters.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => Ok(None),
        Some(value) => {
            let text = text(value).ok_or_else(|| format!("parameters.{name} is not a string"))?;
            Ok(Some(text).filter(|text| !text.is_empty()))
        }
    }
}

/// `Number(value)`, where `None` as an argument is `undefined`. `None` as an answer is NaN.
pub fn number(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::Null => Some(0.0),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => number_of_text(text),
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn number_of_text(text: &str) -> Option<f64> {
    let text = trim(text);
    let radix = [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)];
    if let Some((digits, radix)) =
        radix.iter().find_map(|(prefix, radix)| Some((text.strip_prefix(prefix)?, *radix)))
    {
        let digits: Option<Vec<u32>> = digits.chars().map(|digit| digit.to_digit(radix)).collect();
        let digits = digits.filter(|digits| !digits.is_empty())?;
        return Some(digits.iter().fold(0.0, |sum, digit| sum * f64::from(radix) + f64::from(*digit)));
    }
    match text.strip_prefix(['+', '-']).unwrap_or(text) {
        "" if text.is_empty() => Some(0.0),
        "Infinity" => Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }),
        unsigned
            if unsigned
                .bytes()
                .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-')) =>
        {
            text.parse().ok()
        }
        _ => None,
    }
}

/// A finite number as JSON, whole numbers without a point while doubles hold them exactly.
pub fn json_number(number: f64) -> Option<Value> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53, as was checked")]
        return Some(Value::from(number as i64));
    }
    serde_json::Number::from_f64(number).map(Value::Number)
}

/// What `new Date(value)` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Date {
    /// Compares false with everything.
    Invalid,
    /// Unix milliseconds.
    At(i64),
    /// Another instant, or none, on another server or another engine.
    Unportable,
}

/// Reads a constraint's date; `None` is `undefined`.
pub fn date(value: Option<&Value>) -> Date {
    match value {
        None | Some(Value::Array(_) | Value::Object(_)) => Date::Invalid,
        Some(Value::Null) => Date::At(0),
        Some(Value::Bool(truth)) => Date::At(i64::from(*truth)),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(ms) if ms.abs() <= DATE_MS_MAX =>
            {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "within 8.64e15, and cut as JavaScript cuts"
                )]
                Date::At(ms as i64)
            }
            _ => Date::Invalid,
        },
        Some(Value::String(text)) => date_of_text(text),
    }
}

/// Largest distance from 1970 that a JavaScript date has: 100,000,000 days.
const DATE_MS_MAX: f64 = 8.64e15;

/// The format of ECMAScript. Other texts are left to each engine, but one without a digit is a date in none.
fn date_of_text(text: &str) -> Date {
    match iso(text) {
        Some(Iso { ms, zone: Zone::Named }) => Date::At(ms),
        // The server's own time zone would count.
        Some(Iso { zone: Zone::Local, .. }) => Date::Unportable,
        None if text.bytes().any(|byte| byte.is_ascii_digit()) => Date::Unportable,
        None => Date::Invalid,
    }
}

/// An instant in ECMAScript's own format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Iso {
    /// Unix milliseconds; of a local time, those of the same time in UTC.
    pub ms: i64,
    /// Whose time that is.
    pub zone: Zone,
}

/// In whose time an instant is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// In the one that the text says, or in UTC where it has a date only.
    Named,
    /// In the reader's own.
    Local,
}

/// `YYYY[-MM[-DD]][THH:mm[:ss[.fraction]][Z|±HH:mm]]`.
pub fn iso(text: &str) -> Option<Iso> {
    let (day, time) = text.split_once('T').map_or((text, None), |(day, time)| (day, Some(time)));
    let mut parts = day.split('-');
    let year = digits(parts.next()?, 4)?;
    let month =
        parts.next().map_or(Some(1), |part| digits(part, 2)).filter(|month| (1..=12).contains(month))?;
    let day = parts.next().map_or(Some(1), |part| digits(part, 2)).filter(|day| (1..=31).contains(day))?;
    if parts.next().is_some() {
        return None;
    }
    // A day behind the month's last one is a day of the next month, as in V8.
    let midnight_ms = (days_until_month(year, month) + day - 1) * 86_400_000;
    let Some(time) = time else { return Some(Iso { ms: midnight_ms, zone: Zone::Named }) };
    let (clock, offset_minutes) = split_offset(time)?;
    let clock_ms = clock_ms(clock)?;
    let zone = if offset_minutes.is_some() { Zone::Named } else { Zone::Local };
    Some(Iso { ms: midnight_ms + clock_ms - offset_minutes.unwrap_or(0) * 60_000, zone })
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let plain = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn split_offset(time: &str) -> Option<(&str, Option<i64>)> {
    if let Some(clock) = time.strip_suffix('Z') {
        return Some((clock, Some(0)));
    }
    let Some(at) = time.find(['+', '-']) else { return Some((time, None)) };
    let (clock, offset) = time.split_at_checked(at)?;
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = offset.strip_prefix(['+', '-'])?.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    (hours <= 23 && minutes <= 59).then_some((clock, Some(sign * (hours * 60 + minutes))))
}

fn clock_ms(clock: &str) -> Option<i64> {
    let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(clock, part)| (clock, Some(part)));
    let mut parts = clock.split(':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let second = parts.next().map(|part| digits(part, 2));
    let ms = match (fraction, second) {
        (None, _) => 0,
        (Some(_), None) => return None,
        (Some(fraction), Some(_)) => {
            if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let padded: String = fraction.chars().chain("00".chars()).take(3).collect();
            digits(&padded, 3)?
        }
    };
    let second = second.unwrap_or(Some(0))?;
    let is_time = hour <= 23 && minute <= 59 && second <= 59;
    let is_end_of_day = hour == 24 && minute == 0 && second == 0 && ms == 0;
    let is_over = parts.next().is_some() || !(is_time || is_end_of_day);
    (!is_over).then_some(((hour * 60 + minute) * 60 + second) * 1_000 + ms)
}

/// Days from 1970-01-01 to the first of a month of the Gregorian calendar (years 0 to 9999).
fn days_until_month(year: i64, month: i64) -> i64 {
    // March is the first month, so that the leap day is the last of its year; eras of 400 years have 146,097 days.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// `new Date(ms).toISOString()` for the years 0 to 9999.
pub fn iso_text(ms: i64) -> Option<String> {
    let (days, clock) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_of_year = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_of_year + 2) / 5 + 1;
    let month = if month_of_year < 10 { month_of_year + 3 } else { month_of_year - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (seconds, ms) = (clock / 1_000, clock % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    (0..=9999)
        .contains(&year)
        .then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_lose_the_space_around_commas_only() {
        let rows: [(&str, &[&str]); 6] = [
            ("a", &["a"]),
            (" a , b ", &[" a", "b "]),
            ("a,,b", &["a", "", "b"]),
            ("a, ,b", &["a", "", "b"]),
            ("", &[""]),
            ("\u{feff}, \u{a0}a", &["", "a"]),
        ];
        for (text, expected) in rows {
            assert_eq!(split_list(text), expected, "{text:?}");
        }
        assert_eq!((trim("\u{feff} a\u{85} "), trim("\n\u{2028}")), ("a\u{85}", ""));
    }

    #[test]
    fn numbers_read_as_javascript_reads_them() {
        // Each expectation is what Node.js prints for `Number(value)`.
        let rows = [
            (json!("12"), Some(12.0)),
            (json!(" 12.0\n"), Some(12.0)),
            (json!(""), Some(0.0)),
            (json!(null), Some(0.0)),
            (json!(true), Some(1.0)),
            (json!("1e3"), Some(1000.0)),
            (json!(".5"), Some(0.5)),
            (json!("5."), Some(5.0)),
            (json!("+5"), Some(5.0)),
            (json!("0x1f"), Some(31.0)),
            (json!("0b11"), Some(3.0)),
            (json!("-Infinity"), Some(f64::NEG_INFINITY)),
            (json!("1e400"), Some(f64::INFINITY)),
            (json!("inf"), None),
            (json!("NaN"), None),
            (json!("0x"), None),
            (json!("-0x1"), None),
            (json!("1_0"), None),
            (json!("+-1"), None),
            (json!("+"), None),
            (json!("."), None),
            (json!("twelve"), None),
            (json!([]), None),
        ];
        for (value, expected) in rows {
            assert_eq!(number(Some(&value)), expected, "{value}");
        }
        assert_eq!(number(None), None);
        assert_eq!(json_number(12.0), Some(json!(12)));
        assert_eq!(json_number(1.5), Some(json!(1.5)));
        assert_eq!(json_number(f64::INFINITY), None);
    }

    #[test]
    fn dates_read_as_javascript_reads_them() {
        // Each instant is what Node.js prints for `new Date(value).getTime()`.
        let rows = [
            (json!("2022-01-29T13:00:00.000Z"), Date::At(1_643_461_200_000)),
            (json!("2022-01-22T13:00:00.000+02:00"), Date::At(1_642_849_200_000)),
            (json!("2022-01-29"), Date::At(1_643_414_400_000)),
            (json!("2022-01"), Date::At(1_640_995_200_000)),
            (json!("2022"), Date::At(1_640_995_200_000)),
            (json!("2022-02-30"), Date::At(1_646_179_200_000)),
            (json!("2022-01-29T24:00:00Z"), Date::At(1_643_500_800_000)),
            (json!("2022-01-29T13:00Z"), Date::At(1_643_461_200_000)),
            (json!("2022-01-29T13:00:00.1239Z"), Date::At(1_643_461_200_123)),
            (json!("2022-01-29T13:00:00.5Z"), Date::At(1_643_461_200_500)),
            (json!(1_643_461_200_000_i64), Date::At(1_643_461_200_000)),
            (json!(null), Date::At(0)),
            (json!("2022-01-29T13:00:00"), Date::Unportable),
            (json!("Sat, 29 Jan 2022 13:00:00 GMT"), Date::Unportable),
            (json!("1643461200000"), Date::Unportable),
            (json!("2022-13-01"), Date::Unportable),
            (json!(""), Date::Invalid),
            (json!("soon"), Date::Invalid),
            (json!({}), Date::Invalid),
        ];
        for (value, expected) in rows {
            assert_eq!(date(Some(&value)), expected, "{value}");
        }
        assert_eq!(date(None), Date::Invalid);
        assert_eq!(iso_text(1_643_461_200_123).as_deref(), Some("2022-01-29T13:00:00.123Z"));
        assert_eq!(iso_text(-1).as_deref(), Some("1969-12-31T23:59:59.999Z"));
        assert_eq!(iso_text(253_402_300_800_000), None);
    }

    proptest! {
        #[test]
        fn any_instant_of_four_digit_years_reads_back(ms in -62_167_219_200_000_i64..253_402_300_800_000) {
            prop_assert_eq!(date(Some(&json!(iso_text(ms).unwrap()))), Date::At(ms));
        }

        #[test]
        fn any_text_is_an_answer(text in ".*", near in "[0-9TZ:.+-]{0,30}") {
            let _ = (date_of_text(&text), date_of_text(&near), number_of_text(&text), number_of_text(&near));
        }
    }
}
