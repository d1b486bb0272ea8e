//! Scalars → the texts that JavaScript makes of them, because Unleash's contexts compare and hash those. Compares nothing.

use std::borrow::Cow;

use serde_json::{Number, Value};

/// Whole numbers up to here are doubles too, and print their own digits.
const EXACT_MAX: u64 = 1 << 53;

/// A text itself, or what JavaScript prints for a number or boolean.
pub(crate) fn scalar_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
        Value::Number(number) => Some(Cow::Owned(number_text(number))),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// `String(number)`: `7.0` is `7`, a number beyond 2^53 the double next to it, and an exponent stands in front of 10^-6 and
/// behind 10^21 only.
pub(crate) fn number_text(number: &Number) -> String {
    let is_exact =
        number.as_i64().map(i64::unsigned_abs).or_else(|| number.as_u64()).is_some_and(|n| n <= EXACT_MAX);
    match number.as_f64().and_then(Number::from_f64) {
        Some(double) if !is_exact => double_text(&double.to_string()),
        _ => number.to_string(),
    }
}

/// Lays the shortest digits of a double out anew; `written` has a point or an exponent wherever serde puts them.
fn double_text(written: &str) -> String {
    let (sign, unsigned) = written.strip_prefix('-').map_or(("", written), |rest| ("-", rest));
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    let leading = all.len() - digits.len();
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return "0".to_owned();
    }
    // The number is 0.digits · 10^point, as in ECMAScript's Number::toString.
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let point = exponent + length(whole) - i32::try_from(leading).unwrap_or(0);
    let count = length(digits);
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    match point {
        1..=21 if count <= point => format!("{sign}{digits}{}", zeros(point - count)),
        1..=21 => {
            let at = usize::try_from(point).unwrap_or(0);
            let (whole, fraction) = digits.split_at_checked(at).unwrap_or((digits, ""));
            format!("{sign}{whole}.{fraction}")
        }
        -5..=0 => format!("{sign}0.{}{digits}", zeros(-point)),
        _ => {
            let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
            let dot = if rest.is_empty() { "" } else { "." };
            format!("{sign}{first}{dot}{rest}e{:+}", point - 1)
        }
    }
}

fn length(digits: &str) -> i32 {
    i32::try_from(digits.len()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_print_as_in_javascript() {
        // Each expectation is what Node.js prints for `String(number)`.
        for (json, expected) in [
            ("7", "7"),
            ("7.0", "7"),
            ("-7.50", "-7.5"),
            ("-0.0", "0"),
            ("0.1", "0.1"),
            ("0.000123", "0.000123"),
            ("1e-6", "0.000001"),
            ("1e-7", "1e-7"),
            ("1.25e-7", "1.25e-7"),
            ("1e15", "1000000000000000"),
            ("1e16", "10000000000000000"),
            ("123456.789", "123456.789"),
            ("9007199254740992", "9007199254740992"),
            ("9007199254740993", "9007199254740992"),
            ("-9007199254740993", "-9007199254740992"),
            ("12345678901234567890", "12345678901234567000"),
            ("1e21", "1e+21"),
            ("1.5e21", "1.5e+21"),
            ("-1e22", "-1e+22"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("5e-324", "5e-324"),
        ] {
            let Value::Number(number) = serde_json::from_str(json).unwrap() else { panic!("{json}") };
            assert_eq!(number_text(&number), expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn a_text_reads_back_as_the_number(number: f64) {
            prop_assume!(number.is_finite());
            let Value::Number(written) = json!(number) else { panic!("{number}") };
            let read: f64 = number_text(&written).parse().unwrap();
            prop_assert!(read.total_cmp(&number).is_eq() || read.abs() == 0.0 && number.abs() == 0.0, "{}", read);
        }
    }

    #[test]
    fn scalars_print_as_in_javascript() {
        let rows = [
            (json!(1), Some("1")),
            (json!(1.0), Some("1")),
            (json!(-0.0), Some("0")),
            (json!(1.5), Some("1.5")),
            (json!(true), Some("true")),
            (json!("x"), Some("x")),
            (json!(null), None),
            (json!([1]), None),
        ];
        for (value, expected) in rows {
            assert_eq!(scalar_text(&value).as_deref(), expected, "{value}");
        }
    }
}
