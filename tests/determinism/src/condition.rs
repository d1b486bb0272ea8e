//! Random conditions with every operator; few are refused when they are loaded.

use flagfuse_shared::condition::{Condition, SegmentNames};
use serde_json::{Value, json};

use crate::chance::Chance;
use crate::words::{ATTRIBUTES, Family, NETWORKS, PATTERNS, parsed, scalar};

/// A condition; `segments` are the names that `in_segment` may use.
pub(crate) fn condition(chance: &mut Chance, segments: &[String]) -> Value {
    if !segments.is_empty() && chance.once_in(5) {
        let named: Vec<&String> =
            (0..=chance.below(2)).map(|_| &segments[chance.at(segments.len())]).collect();
        return json!({ "op": "in_segment", "values": named, "negate": chance.once_in(4) });
    }
    loop {
        let drawn = comparison_of_an_attribute(chance);
        let wire = serde_json::from_value(drawn.clone()).expect("conditions have the shape of conditions");
        if Condition::compile(&wire, &SegmentNames::default()).is_ok() || chance.once_in(80) {
            return drawn;
        }
    }
}

fn comparison_of_an_attribute(chance: &mut Chance) -> Value {
    let (attribute, family) = chance.pick(&ATTRIBUTES);
    let (op, values) = comparison(chance, family);
    let mut condition = json!({ "attribute": attribute, "op": op, "values": values });
    if chance.once_in(4) {
        condition["negate"] = json!(true);
    }
    if folds(op) && chance.once_in(3) {
        condition["ignore_case"] = json!(true);
    }
    if coerces(op) && chance.once_in(4) {
        condition["coerce"] = json!(true);
    } else if op.starts_with("semver") && chance.once_in(2) {
        condition["lenient"] = json!(true);
    }
    condition
}

fn folds(op: &str) -> bool {
    matches!(op, "contains" | "starts_with" | "ends_with" | "matches")
}

fn coerces(op: &str) -> bool {
    folds(op)
        || op.starts_with("semver")
        || matches!(op, "less_than" | "at_most" | "greater_than" | "at_least")
}

/// An operator and right-hand sides that it mostly accepts.
fn comparison(chance: &mut Chance, family: Family) -> (&'static str, Vec<Value>) {
    match chance.below(10) {
        0 => return ("exists", Vec::new()),
        1 => return ("in", (0..=chance.below(11)).map(|_| parsed(&scalar(chance))).collect()),
        _ => {}
    }
    let many = chance.below(3);
    match family {
        Family::Text => match chance.below(6) {
            0 | 1 => (
                chance.pick(&["contains", "starts_with", "ends_with"]),
                (0..=many).map(|_| Family::Text.value(chance)).collect(),
            ),
            2 | 3 => ("matches", (0..=many).map(|_| json!(chance.pick(&PATTERNS))).collect()),
            _ => ("in", (0..=many).map(|_| Family::Text.value(chance)).collect()),
        },
        Family::Number => (
            chance.pick(&["less_than", "at_most", "greater_than", "at_least", "in"]),
            vec![Family::Number.value(chance)],
        ),
        Family::Date => (chance.pick(&["before", "after"]), vec![Family::Date.value(chance)]),
        Family::Semver => {
            let op = [
                "semver_equal",
                "semver_less_than",
                "semver_greater_than",
                "semver_at_least",
                "semver_at_most",
            ];
            (chance.pick(&op), vec![Family::Semver.value(chance)])
        }
        Family::Address => ("in_cidr", (0..=many).map(|_| json!(chance.pick(&NETWORKS))).collect()),
        Family::Array => (
            chance.pick(&["contains_any", "contains_all"]),
            (0..=many).map(|_| parsed(&scalar(chance))).collect(),
        ),
        Family::Boolean => ("in", vec![json!(chance.once_in(2))]),
    }
}
