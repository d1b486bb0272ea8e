//! A condition → a constraint of Unleash. The way back from `import/constraint.rs`; never looks at rules.

use serde_json::{Value, json};

use crate::context::CURRENT_TIME;
use crate::definition::{ConditionWire, Operator};
use crate::unleash::pattern::{Folding, Pattern};
use crate::unleash::{field_of, javascript, pattern};

/// A constraint that holds for nobody: no value is in an empty list.
pub(super) fn never() -> Value {
    json!({ "contextName": "userId", "operator": "IN", "values": [], "inverted": false, "caseInsensitive": false })
}

/// Reads one condition. `Err` says what has no equivalent.
pub(super) fn constraint(condition: &ConditionWire) -> Result<Value, String> {
    let field = field_of(&condition.attribute).ok_or_else(|| {
        format!("{:?} is another field in Unleash, where it is the targeting key", condition.attribute)
    })?;
    if condition.lenient {
        return Err("versions that are not written in full".to_owned());
    }
    let (operator, values, value) = comparison(condition)?;
    let folds = matches!(operator, "STR_STARTS_WITH" | "STR_ENDS_WITH" | "STR_CONTAINS" | "REGEX");
    if condition.ignore_case && !folds {
        return Err(format!("{operator} without regard to case"));
    }
    let (operator, is_inverted) = match (operator, condition.negate) {
        ("IN", true) => ("NOT_IN", false),
        (operator, negate) => (operator, negate),
    };
    let mut constraint = json!({
        "contextName": field, "operator": operator, "values": values,
        "inverted": is_inverted, "caseInsensitive": condition.ignore_case,
    });
    if let (Some(value), Some(fields)) = (value, constraint.as_object_mut()) {
        fields.insert("value".to_owned(), Value::String(value));
    }
    Ok(constraint)
}

type Comparison = (&'static str, Vec<String>, Option<String>);

fn comparison(condition: &ConditionWire) -> Result<Comparison, String> {
    let list = |operator| Ok((operator, texts(&condition.values)?, None));
    let single = |operator| Ok((operator, Vec::new(), Some(only(&condition.values)?)));
    match condition.op {
        Operator::In if condition.values.iter().any(Value::is_number) => single("NUM_EQ"),
        Operator::In => list("IN"),
        Operator::Contains => list("STR_CONTAINS"),
        Operator::StartsWith => list("STR_STARTS_WITH"),
        Operator::EndsWith => list("STR_ENDS_WITH"),
        Operator::LessThan => single("NUM_LT"),
        Operator::AtMost => single("NUM_LTE"),
        Operator::GreaterThan => single("NUM_GT"),
        Operator::AtLeast => single("NUM_GTE"),
        Operator::Matches => Ok(("REGEX", Vec::new(), Some(same_pattern(condition)?))),
        Operator::Before => Ok(("DATE_BEFORE", Vec::new(), Some(date(condition)?))),
        Operator::After => Ok(("DATE_AFTER", Vec::new(), Some(date(condition)?))),
        Operator::SemverEqual => single("SEMVER_EQ"),
        Operator::SemverLessThan => single("SEMVER_LT"),
        Operator::SemverGreaterThan => single("SEMVER_GT"),
        Operator::SemverAtLeast => single("SEMVER_GTE"),
        Operator::SemverAtMost => single("SEMVER_LTE"),
        Operator::InCidr => list("IN_CIDR"),
        Operator::Exists => Err("the operator exists".to_owned()),
        Operator::ContainsAny => Err("the operator contains_any".to_owned()),
        Operator::ContainsAll => Err("the operator contains_all".to_owned()),
        Operator::InSegment => Err("a segment within a segment".to_owned()),
    }
}

/// Texts that survive how Unleash's clients clean them: they trim, and drop what was empty before.
fn texts(values: &[Value]) -> Result<Vec<String>, String> {
    let text = |value: &Value| match value {
        Value::String(text) if text.is_empty() => Ok(" ".to_owned()),
        Value::String(text) if javascript::trim(text) == text => Ok(text.clone()),
        Value::Bool(truth) => Ok(truth.to_string()),
        value => Err(format!("the value {value}, which Unleash's clients would change")),
    };
    values.iter().map(text).collect()
}

fn only(values: &[Value]) -> Result<String, String> {
    match values {
        [Value::String(text)] => Ok(text.clone()),
        [Value::Number(number)] => Ok(number.to_string()),
        [other] => Err(format!("the value {other}")),
        several => Err(format!("{} values where Unleash has one", several.len())),
    }
}

fn same_pattern(condition: &ConditionWire) -> Result<String, String> {
    let text = only(&condition.values)?;
    let folding = if condition.ignore_case { Folding::IgnoreCase } else { Folding::Exact };
    if pattern::read(&text, folding) == Pattern::Same(text.clone()) {
        Ok(text)
    } else {
        Err(format!("the pattern {text:?}, which Unleash's clients would read in another way"))
    }
}

/// Unleash compares the time of the question only.
fn date(condition: &ConditionWire) -> Result<String, String> {
    if condition.attribute != CURRENT_TIME {
        return Err(format!("a date in {:?}: Unleash compares the current time only", condition.attribute));
    }
    match javascript::date(condition.values.first()) {
        javascript::Date::At(ms) => {
            javascript::iso_text(ms).ok_or_else(|| "a date outside of the years 0 to 9999".to_owned())
        }
        javascript::Date::Invalid | javascript::Date::Unportable => {
            Err("a date that JavaScript reads in another way".to_owned())
        }
    }
}
