//! Values at the boundary of a condition: what it names, and what lies just beside it. Never compares anything.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flagfuse_shared::condition::date_ms;
use flagfuse_shared::definition::{ConditionWire, Operator};
use serde_json::{Number, Value, json};

use super::matching_text;

/// How the values of a condition are compared, as far as it matters for what lies beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    Equal,
    Part,
    Number,
    Present,
    Pattern,
    Date,
    Version,
    Network,
    Element,
    /// A unit that is listed by name.
    Unit,
}

impl Shape {
    /// `None` for segments, which are followed instead.
    pub(super) const fn of(op: Operator) -> Option<Self> {
        Some(match op {
            Operator::In => Self::Equal,
            Operator::Contains | Operator::StartsWith | Operator::EndsWith => Self::Part,
            Operator::LessThan | Operator::AtMost | Operator::GreaterThan | Operator::AtLeast => Self::Number,
            Operator::Exists => Self::Present,
            Operator::Matches => Self::Pattern,
            Operator::Before | Operator::After => Self::Date,
            Operator::SemverEqual
            | Operator::SemverLessThan
            | Operator::SemverGreaterThan
            | Operator::SemverAtLeast
            | Operator::SemverAtMost => Self::Version,
            Operator::InCidr => Self::Network,
            Operator::ContainsAny | Operator::ContainsAll => Self::Element,
            Operator::InSegment => return None,
        })
    }
}

/// The whole right-hand side of a `contains_all`, which no single value stands for.
pub(super) fn together(condition: &ConditionWire) -> Option<Value> {
    (condition.op == Operator::ContainsAll).then(|| Value::Array(condition.values.clone()))
}

/// A value that was written, and the values just beside it.
pub(super) fn near(shape: Shape, value: &Value, out: &mut Vec<Value>) {
    match (shape, value) {
        (Shape::Present, _) => out.push(json!("present")),
        (Shape::Pattern, Value::String(source)) => {
            out.extend(matching_text::example(source).map(Value::String));
            out.push(json!("~"));
        }
        (Shape::Date, _) => dates(value, out),
        (Shape::Version, Value::String(text)) => versions(text, out),
        (Shape::Network, Value::String(text)) => addresses(text, out),
        (Shape::Element, _) => {
            out.push(json!([value]));
            out.push(json!([]));
        }
        (Shape::Unit, _) => out.push(value.clone()),
        (_, Value::String(text)) => texts(shape, text, out),
        (_, Value::Number(number)) => numbers(number, out),
        (_, Value::Bool(truth)) => out.extend([json!(truth), json!(!truth)]),
        (_, _) => out.push(value.clone()),
    }
}

fn texts(shape: Shape, text: &str, out: &mut Vec<Value>) {
    out.push(json!(text));
    out.push(json!(format!("{text}~")));
    if shape == Shape::Part {
        out.push(json!(format!("~{text}")));
    }
    let upper = text.to_uppercase();
    let other = if upper == text { text.to_lowercase() } else { upper };
    if other != text {
        out.push(json!(other));
    }
}

fn numbers(number: &Number, out: &mut Vec<Value>) {
    out.push(Value::Number(number.clone()));
    // Read as a number when the condition coerces.
    out.push(json!(number.to_string()));
    if let Some(whole) = number.as_i64() {
        out.extend([json!(whole.saturating_sub(1)), json!(whole.saturating_add(1))]);
    } else if let Some(double) = number.as_f64() {
        out.extend([json!(double.next_down()), json!(double.next_up())]);
    }
}

fn dates(value: &Value, out: &mut Vec<Value>) {
    out.push(value.clone());
    if let Some(ms) = date_ms(value) {
        out.extend([json!(ms.saturating_sub(1)), json!(ms.saturating_add(1))]);
    }
}

/// `1.2.3` → itself, the pre-release below it, the patch above it.
fn versions(text: &str, out: &mut Vec<Value>) {
    out.push(json!(text));
    let core = text.split(['-', '+']).next().unwrap_or_default();
    out.push(json!(format!("{core}-0")));
    if let Some((head, patch)) = core.rsplit_once('.')
        && let Ok(patch) = patch.parse::<u64>()
    {
        out.push(json!(format!("{head}.{}", patch.saturating_add(1))));
        out.extend(patch.checked_sub(1).map(|below| json!(format!("{head}.{below}"))));
    }
}

/// First and last address of a network, and those just outside.
fn addresses(text: &str, out: &mut Vec<Value>) {
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let mut push = |address: IpAddr| out.push(json!(address.to_string()));
    match address.parse() {
        Ok(IpAddr::V4(address)) => {
            let host_bits = Ipv4Addr::BITS.saturating_sub(prefix.parse().unwrap_or(Ipv4Addr::BITS));
            let hosts = 1_u32.checked_shl(host_bits).map_or(u32::MAX, |count| count - 1);
            let first = address.to_bits() & !hosts;
            let last = first | hosts;
            let beside = [first.checked_sub(1), last.checked_add(1)].into_iter().flatten();
            [first, last].into_iter().chain(beside).for_each(|bits| push(Ipv4Addr::from_bits(bits).into()));
        }
        Ok(IpAddr::V6(address)) => {
            let host_bits = Ipv6Addr::BITS.saturating_sub(prefix.parse().unwrap_or(Ipv6Addr::BITS));
            let hosts = 1_u128.checked_shl(host_bits).map_or(u128::MAX, |count| count - 1);
            let first = address.to_bits() & !hosts;
            let last = first | hosts;
            let beside = [first.checked_sub(1), last.checked_add(1)].into_iter().flatten();
            [first, last].into_iter().chain(beside).for_each(|bits| push(Ipv6Addr::from_bits(bits).into()));
        }
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_each_value_lies_one_on_either_side() {
        let rows = [
            (Shape::Number, json!(18), vec![json!(18), json!("18"), json!(17), json!(19)]),
            (Shape::Equal, json!("de"), vec![json!("de"), json!("de~"), json!("DE")]),
            (Shape::Part, json!("@x"), vec![json!("@x"), json!("@x~"), json!("~@x"), json!("@X")]),
            (Shape::Date, json!(1_000), vec![json!(1_000), json!(999), json!(1_001)]),
            (
                Shape::Date,
                json!("1970-01-01T00:00:01Z"),
                vec![json!("1970-01-01T00:00:01Z"), json!(999), json!(1_001)],
            ),
            (
                Shape::Version,
                json!("1.2.3"),
                vec![json!("1.2.3"), json!("1.2.3-0"), json!("1.2.4"), json!("1.2.2")],
            ),
            (
                Shape::Network,
                json!("10.0.0.0/8"),
                vec![json!("10.0.0.0"), json!("10.255.255.255"), json!("9.255.255.255"), json!("11.0.0.0")],
            ),
            (Shape::Network, json!("::1"), vec![json!("::1"), json!("::1"), json!("::"), json!("::2")]),
            (Shape::Network, json!("0.0.0.0/0"), vec![json!("0.0.0.0"), json!("255.255.255.255")]),
            (Shape::Equal, json!(true), vec![json!(true), json!(false)]),
        ];
        for (shape, value, expected) in rows {
            let mut found = Vec::new();
            near(shape, &value, &mut found);
            assert_eq!(found, expected, "{shape:?} {value}");
        }
    }
}
