//! Lists of what a change touched, for its answer and the audit trail: empty ones left out, long ones cut, and where one
//! is cut it says so. Pure.

use serde_json::{Map, Value, json};

/// Entries of one list that are named: an answer stays readable, and an audit entry below some tens of KiB.
pub(super) const NAMED_COUNT_MAX: usize = 200;

/// The lists by name, and under `cut` how many entries each cut one has.
pub(super) fn named(lists: impl IntoIterator<Item = (&'static str, Vec<Value>)>) -> Map<String, Value> {
    let mut found = Map::new();
    let mut cut = Map::new();
    for (name, mut entries) in lists {
        if entries.is_empty() {
            continue;
        }
        if entries.len() > NAMED_COUNT_MAX {
            cut.insert(name.to_owned(), json!({ "named": NAMED_COUNT_MAX, "count": entries.len() }));
            entries.truncate(NAMED_COUNT_MAX);
        }
        found.insert(name.to_owned(), Value::Array(entries));
    }
    if !cut.is_empty() {
        found.insert("cut".to_owned(), Value::Object(cut));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_whole_or_says_that_it_is_cut() {
        let list = |count: usize| (0..count).map(Value::from).collect::<Vec<_>>();
        let found = named([("all", list(NAMED_COUNT_MAX)), ("none", Vec::new())]);
        assert_eq!(Value::Object(found), json!({ "all": list(NAMED_COUNT_MAX) }));
        let found = named([("many", list(NAMED_COUNT_MAX + 1))]);
        let cut = json!({ "many": { "named": 200, "count": 201 } });
        assert_eq!(Value::Object(found), json!({ "many": list(NAMED_COUNT_MAX), "cut": cut }));
    }
}
