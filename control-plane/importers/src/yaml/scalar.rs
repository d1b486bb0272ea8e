//! What a scalar means. Knows no structure.

use std::borrow::Cow;

use saphyr_parser::{ScalarStyle, Tag};
use serde_json::{Number, Value};

use super::YamlFault;

/// A scalar as a JSON value: quoted and block texts are texts, plain ones what the core schema says.
pub(super) fn read(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, YamlFault> {
    match tag {
        None if style == ScalarStyle::Plain => plain(&text),
        None => Ok(Value::String(text.into_owned())),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(Value::String(text.into_owned())),
        Some(tag) => Err(YamlFault::Tag { tag: tag.to_string() }),
    }
}

fn plain(text: &str) -> Result<Value, YamlFault> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match (text, unsigned) {
        ("" | "~" | "null" | "Null" | "NULL", _) => Ok(Value::Null),
        ("true" | "True" | "TRUE", _) => Ok(Value::Bool(true)),
        ("false" | "False" | "FALSE", _) => Ok(Value::Bool(false)),
        (".nan" | ".NaN" | ".NAN", _) | (_, ".inf" | ".Inf" | ".INF") => {
            Err(YamlFault::NoJsonNumber { text: text.to_owned() })
        }
        _ => match read_differently(unsigned) {
            Some(kind) => Err(YamlFault::Ambiguous { text: text.to_owned(), kind }),
            None if is_decimal(unsigned) => number(text),
            None => Ok(Value::String(text.to_owned())),
        },
    }
}

/// `12`, `1.5`, `.5`, `5.`, `1e3`.
fn is_decimal(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    is_digits(whole)
        && is_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|digits| !digits.is_empty() && is_digits(digits))
}

fn number(text: &str) -> Result<Value, YamlFault> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let whole = digits.parse::<i64>().map(Value::from).or_else(|_| digits.parse::<u64>().map(Value::from));
    whole.or_else(|_| {
        let double = digits.parse().ok().and_then(Number::from_f64);
        double.map(Value::Number).ok_or_else(|| YamlFault::NoJsonNumber { text: text.to_owned() })
    })
}

/// What YAML 1.1 or Go's reader, which flagd uses, takes for a number or a time, and YAML 1.2 for a text or another number.
fn read_differently(unsigned: &str) -> Option<&'static str> {
    let mut bytes = unsigned.bytes();
    let (first, second) = (bytes.next()?, bytes.next());
    if !first.is_ascii_digit() {
        return None;
    }
    let is_radix = first == b'0' && matches!(second, Some(b'x' | b'X' | b'o' | b'O' | b'b' | b'B'));
    let is_octal = first == b'0' && second.is_some() && unsigned.bytes().all(|byte| byte.is_ascii_digit());
    let is_grouped = unsigned.contains('_') && is_decimal(&unsigned.replace('_', ""));
    if is_radix || is_octal || is_grouped {
        return Some("number");
    }
    let parts: Vec<&str> = unsigned.splitn(3, '-').collect();
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match parts.as_slice() {
        [year, month, rest] if year.len() == 4 && is_digits(year) && is_digits(month) => {
            rest.starts_with(|c: char| c.is_ascii_digit()).then_some("time")
        }
        _ => None,
    }
}
