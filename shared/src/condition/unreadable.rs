//! Why an operator cannot read an attribute, in words for people. Asked only when an answer is explained.

use serde_json::Value;

use super::reading::Reading;
use super::{cidr, date_ms, semver};
use crate::definition::{ConditionWire, Operator};

/// What keeps a condition from comparing `value`; `None` when it can.
pub fn unreadable(wire: &ConditionWire, value: &Value) -> Option<&'static str> {
    let reading = Reading::of(wire).unwrap_or(Reading::Plain);
    let read = reading.read(value);
    let text = read.as_deref().and_then(Value::as_str);
    let (can_read, why) = match wire.op {
        Operator::SemverEqual
        | Operator::SemverLessThan
        | Operator::SemverGreaterThan
        | Operator::SemverAtLeast
        | Operator::SemverAtMost => (
            text.is_some_and(semver::is_version),
            "which is not a version: expected is a string like 1.2.3, 1.2.3-rc.1 or 1.2.3+build, without leading v or zeros",
        ),
        Operator::LessThan | Operator::AtMost | Operator::GreaterThan | Operator::AtLeast => (
            read.as_deref().is_some_and(Value::is_number),
            if value.is_string() { TEXT_FOR_NUMBER } else { "which is not a number" },
        ),
        Operator::Before | Operator::After => (
            read.as_deref().and_then(date_ms).is_some(),
            "which is not a time: expected is an RFC 3339 date-time, or milliseconds since 1970",
        ),
        Operator::InCidr => (
            text.is_some_and(cidr::is_address),
            "which is not an IP address: expected is a string like 192.0.2.7 or 2001:db8::7",
        ),
        Operator::Contains | Operator::StartsWith | Operator::EndsWith | Operator::Matches => {
            (text.is_some(), "which is not a string")
        }
        Operator::ContainsAny | Operator::ContainsAll => (value.is_array(), "which is not an array"),
        Operator::In | Operator::Exists | Operator::InSegment => return None,
    };
    (!can_read).then_some(why)
}

/// Some strings look like numbers.
const TEXT_FOR_NUMBER: &str = "which is a string and not a number: write it without quotes, or set coerce";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::condition::{Condition, SegmentNames};
    use crate::context::Context;
    use crate::ids::UnixMillis;

    #[test]
    fn what_cannot_be_read_is_told_in_words_and_never_matches() {
        for (op, bound, coerce, found, said) in [
            ("semver_at_least", json!("1.2.0"), false, json!("v1.3.0"), Some("is not a version")),
            ("semver_at_least", json!("1.2.0"), false, json!("1.3"), Some("like 1.2.3")),
            ("semver_at_least", json!("1.2.0"), false, json!(2), Some("is not a version")),
            ("semver_at_least", json!("1.2.0"), false, json!("1.3.0-rc.1"), None),
            ("less_than", json!(5), false, json!("4"), Some("is a string and not a number")),
            ("less_than", json!(5), true, json!("4"), None),
            ("less_than", json!(5), false, json!(true), Some("which is not a number")),
            ("before", json!("2030-01-01T00:00:00Z"), false, json!("tomorrow"), Some("is not a time")),
            ("in_cidr", json!("10.0.0.0/8"), false, json!("10.1"), Some("is not an IP address")),
            ("in_cidr", json!("10.0.0.0/8"), false, json!("10.1.1.1"), None),
            ("starts_with", json!("a"), false, json!(7), Some("is not a string")),
            ("contains_any", json!("a"), false, json!("a"), Some("is not an array")),
            ("in", json!("a"), false, json!(7), None),
        ] {
            let wire: ConditionWire = serde_json::from_value(
                json!({ "attribute": "a", "op": op, "values": [bound], "coerce": coerce }),
            )
            .unwrap();
            let why = unreadable(&wire, &found);
            assert_eq!(why.is_some(), said.is_some(), "{op} {found}");
            assert!(why.unwrap_or_default().contains(said.unwrap_or_default()), "{op} {found}: {why:?}");
            let condition = Condition::compile(&wire, &SegmentNames::default()).unwrap();
            let context = Context::from_json(json!({ "a": found })).unwrap();
            let holds = condition.holds(&context, UnixMillis(0), |_| false);
            assert!(said.is_none() || !holds, "{op} {found}");
        }
    }
}
