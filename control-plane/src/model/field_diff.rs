//! Two JSON documents field by field: which of them differ, and how. Pure; knows nothing of what the documents are.

use std::collections::BTreeSet;

use flagfuse_shared::strict::escaped;
use serde::Serialize;
use serde_json::Value;

/// A field that is another one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldDifference {
    /// JSON pointer (RFC 6901); empty for the whole document.
    pub pointer: String,
    /// `None` where it is not there.
    pub left: Option<Value>,
    /// `None` where it is not there.
    pub right: Option<Value>,
}

/// All fields that differ, in the order of their names. Objects are compared member by member, and arrays of one length
/// element by element; of another length the array is the field.
pub fn differences(left: &Value, right: &Value) -> Vec<FieldDifference> {
    let mut found = Vec::new();
    compare("", Some(left), Some(right), &mut found);
    found
}

/// The pointer to what `pointer` names under this name.
pub fn member(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", escaped(name))
}

fn compare(pointer: &str, left: Option<&Value>, right: Option<&Value>, found: &mut Vec<FieldDifference>) {
    match (left, right) {
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for name in names {
                let pointer = member(pointer, name);
                compare(&pointer, left.get(name), right.get(name), found);
            }
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) if left.len() == right.len() => {
            for (at, (left, right)) in left.iter().zip(right).enumerate() {
                compare(&format!("{pointer}/{at}"), Some(left), Some(right), found);
            }
        }
        (left, right) if left == right => {}
        (left, right) => found.push(FieldDifference {
            pointer: pointer.to_owned(),
            left: left.cloned(),
            right: right.cloned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_told_with_its_pointer_and_both_sides() {
        let left = json!({ "a": 1, "b": { "c/d": [1, 2], "e~": true }, "gone": null, "list": [{ "x": 1 }, { "x": 2 }] });
        let right = json!({ "a": 1, "b": { "c/d": [1, 2, 3], "e~": false }, "list": [{ "x": 1 }, { "x": 3, "y": 4 }], "new": {} });
        let found = differences(&left, &right);
        let told: Vec<_> = found.iter().map(|own| json!([own.pointer, own.left, own.right])).collect();
        assert_eq!(
            told,
            [
                json!(["/b/c~1d", [1, 2], [1, 2, 3]]),
                json!(["/b/e~0", true, false]),
                json!(["/gone", null, null]),
                json!(["/list/1/x", 2, 3]),
                json!(["/list/1/y", null, 4]),
                json!(["/new", null, {}]),
            ]
        );
        assert_eq!((&found[2].left, &found[2].right), (&Some(Value::Null), &None), "null is there");
        assert_eq!(differences(&left, &left), []);
        assert_eq!(differences(&json!(1), &json!([1]))[0].pointer, "");
    }
}
