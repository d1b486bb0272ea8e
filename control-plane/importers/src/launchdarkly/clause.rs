//! LaunchDarkly's clauses as formulas: one attribute against a list of values. Knows no rules.
//!
//! A clause never holds for a missing attribute, also when negated, so a negated clause also asks whether it is there.

use std::collections::BTreeSet;

use flagfuse_shared::context::{CURRENT_TIME, TARGETING_KEY};
use flagfuse_shared::definition::Operator;
use flagfuse_shared::limits::CONDITION_VALUE_COUNT_MAX;
use serde_json::{Value, json};

use super::obstacle::Obstacle;
use super::pattern::foreign_part;
use super::wire::ClauseJson;
use crate::budget::ValueBudget;
use crate::formula::{self, Alternative, Formula};
use crate::version;

/// The only kind of context there is here.
pub(super) const USER: &str = "user";

/// The alternatives in which all clauses of a rule hold; `segments` are all that the document has.
pub(super) fn alternatives(
    place: &str,
    clauses: &[ClauseJson],
    segments: &BTreeSet<String>,
    budget: &mut ValueBudget,
) -> Result<Vec<Alternative>, Obstacle> {
    let clauses: Vec<Formula> =
        clauses.iter().map(|json| clause(place, json, segments)).collect::<Result<_, _>>()?;
    formula::alternatives(&clauses, budget)
        .map_err(|source| Obstacle::TooSpread { place: place.to_owned(), source })
}

/// The formula of one clause.
fn clause(place: &str, clause: &ClauseJson, segments: &BTreeSet<String>) -> Result<Formula, Obstacle> {
    let values = clause.values.as_deref().unwrap_or_default();
    if values.len() > CONDITION_VALUE_COUNT_MAX {
        return Err(Obstacle::TooManyValues { place: place.to_owned() });
    }
    let is_negated = clause.negate.unwrap_or(false);
    let apply = |formula: Formula| if is_negated { formula.negated() } else { formula };
    if clause.op == "segmentMatch" {
        // A segment that the document does not have has no members.
        let is_known = |value: &&Value| value.as_str().is_some_and(|key| segments.contains(key));
        let known: Vec<Value> = values.iter().filter(is_known).cloned().collect();
        return Ok(apply(if known.is_empty() {
            Formula::NEVER
        } else {
            Formula::test("", Operator::InSegment, known)
        }));
    }
    check_kind(place, clause.context_kind.as_deref())?;
    let attribute = attribute(place, clause)?;
    if attribute == "kind" {
        // The attribute of that name is the list of the context's kinds.
        return match clause.op.as_str() {
            "in" => Ok(apply(Formula::constant(values.iter().any(|value| value == USER)))),
            op => Err(Obstacle::Operator { place: place.to_owned(), op: op.to_owned() }),
        };
    }
    let is_only_true = clause.op == "in" && !is_negated && !values.contains(&json!(false));
    if attribute == "anonymous" && !is_only_true {
        return Err(Obstacle::Anonymous { place: place.to_owned() });
    }
    let matches = matches(place, &clause.op, &attribute, values)?;
    if is_negated {
        return Ok(Formula::All(vec![Formula::exists(&attribute), matches.negated()]));
    }
    Ok(matches)
}

/// Refuses every kind but the one that is meant when none is named.
pub(super) fn check_kind(place: &str, kind: Option<&str>) -> Result<(), Obstacle> {
    match kind {
        None | Some(USER) => Ok(()),
        Some(kind) => Err(Obstacle::ContextKind { place: place.to_owned(), kind: kind.to_owned() }),
    }
}

/// Our name of a clause's attribute. It is a reference if the clause names a kind, and else the name itself.
fn attribute(place: &str, clause: &ClauseJson) -> Result<String, Obstacle> {
    let written = clause.attribute.as_deref().unwrap_or_default();
    let no_reference = || Obstacle::NoReference { place: place.to_owned(), attribute: written.to_owned() };
    let name = match written.strip_prefix('/') {
        Some(path) if clause.context_kind.is_some() => {
            // Of a tilde at the beginning the SDKs make different names.
            if path.is_empty() || path.starts_with(['/', '~']) || path.ends_with('/') || path.contains("//") {
                return Err(no_reference());
            }
            if path.contains('/') {
                return Err(Obstacle::Nested { place: place.to_owned(), attribute: written.to_owned() });
            }
            unescape(path).ok_or_else(no_reference)?
        }
        _ => written.to_owned(),
    };
    match name.as_str() {
        "" => Err(no_reference()),
        "_meta" if clause.context_kind.is_some() => Err(no_reference()),
        "key" => Ok(TARGETING_KEY.to_owned()),
        TARGETING_KEY | CURRENT_TIME => Err(Obstacle::Reserved { place: place.to_owned(), attribute: name }),
        _ => Ok(name),
    }
}

/// `~1` is a slash and `~0` a tilde.
fn unescape(component: &str) -> Option<String> {
    let mut parts = component.split('~');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = part.split_at_checked(1)?;
        name.push(match escaped {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        name.push_str(rest);
    }
    Some(name)
}

/// Whether an attribute that is there matches one of the values. Values that an operator cannot compare match nothing.
fn matches(place: &str, op: &str, attribute: &str, values: &[Value]) -> Result<Formula, Obstacle> {
    let texts = || values.iter().filter(|value| value.is_string()).cloned().collect::<Vec<_>>();
    let one_text = |op| some(attribute, op, texts());
    let each = |op, values: Vec<Value>| {
        Formula::Any(values.into_iter().map(|value| Formula::test(attribute, op, vec![value])).collect())
    };
    let dates =
        || values.iter().filter(|value| value.is_string() || value.is_number()).cloned().collect::<Vec<_>>();
    Ok(match op {
        "in" if values.contains(&Value::Null) => return Err(Obstacle::Null { place: place.to_owned() }),
        "in" => {
            let scalars: Vec<Value> = values.iter().filter(|value| is_scalar(value)).cloned().collect();
            let equal = some(attribute, Operator::In, scalars.clone());
            if matches!(attribute, TARGETING_KEY | "name" | "anonymous") {
                return Ok(equal);
            }
            // Of an array one equal element is enough.
            Formula::Any(vec![equal, some(attribute, Operator::ContainsAny, scalars)])
        }
        "startsWith" => one_text(Operator::StartsWith),
        "endsWith" => one_text(Operator::EndsWith),
        "contains" => one_text(Operator::Contains),
        "matches" => {
            for pattern in values.iter().filter_map(Value::as_str) {
                if let Some(part) = foreign_part(pattern) {
                    let (place, pattern) = (place.to_owned(), pattern.to_owned());
                    return Err(Obstacle::Pattern { place, pattern, part });
                }
            }
            one_text(Operator::Matches)
        }
        // Below one of them is below the largest.
        "lessThan" => some(attribute, Operator::LessThan, extreme(values, f64::gt)),
        "lessThanOrEqual" => some(attribute, Operator::AtMost, extreme(values, f64::gt)),
        "greaterThan" => some(attribute, Operator::GreaterThan, extreme(values, f64::lt)),
        "greaterThanOrEqual" => some(attribute, Operator::AtLeast, extreme(values, f64::lt)),
        "before" => each(Operator::Before, dates()),
        "after" => each(Operator::After, dates()),
        "semVerEqual" => some(attribute, Operator::SemverEqual, versions(place, values)?),
        "semVerLessThan" => each(Operator::SemverLessThan, versions(place, values)?),
        "semVerGreaterThan" => each(Operator::SemverGreaterThan, versions(place, values)?),
        _ => return Err(Obstacle::Operator { place: place.to_owned(), op: op.to_owned() }),
    })
}

/// A comparison with some values; never true, if there are none.
fn some(attribute: &str, op: Operator, values: Vec<Value>) -> Formula {
    if values.is_empty() { Formula::NEVER } else { Formula::test(attribute, op, values) }
}

const fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_))
}

/// The number that no other one beats, if there are numbers.
fn extreme(values: &[Value], beats: fn(&f64, &f64) -> bool) -> Vec<Value> {
    let numbers = values.iter().filter_map(|value| value.as_f64().map(|number| (number, value)));
    let best = numbers.reduce(|best, other| if beats(&other.0, &best.0) { other } else { best });
    best.map(|(_, value)| value.clone()).into_iter().collect()
}

fn versions(place: &str, values: &[Value]) -> Result<Vec<Value>, Obstacle> {
    values
        .iter()
        .filter_map(Value::as_str)
        .map(|text| match version::in_full(text) {
            Some(full) => Ok(Value::String(full)),
            None => Err(Obstacle::Version { place: place.to_owned(), text: text.to_owned() }),
        })
        .collect()
}
