//! What a change made of a document, field by field, as the audit trail keeps it: bounded, and without the units that lists name.
//! Pure.

use std::collections::BTreeSet;

use flagfuse_shared::digest::Digest;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::field_diff::{FieldDifference, differences};

/// Fields that one entry keeps.
pub const FIELD_COUNT_MAX: usize = 50;
/// Bytes of JSON of one side of a field; of a longer one the entry says how long it is.
const VALUE_LEN_MAX: usize = 2_048;
/// Bytes of all fields of an entry together.
const FIELDS_LEN_MAX: usize = 16_384;
/// The attribute that names a unit where nothing else is said.
const TARGETING_KEY: &str = "targetingKey";
/// Stands in the place of a list of units, on the way to its length.
const HIDDEN: &str = "$units";

/// A field that is another one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangedField {
    /// JSON pointer into what was changed.
    pub pointer: String,
    /// Left out where it was not there. A list of units is `{"count": n}`, a long value `{"left_out_bytes": n}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// Left out where it is not there any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// The fields that a change altered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChangedFields {
    pub fields: Vec<ChangedField>,
    /// How many more there are.
    pub left_out: usize,
}

impl ChangedFields {
    /// Keeps a field while there is room, and counts it when there is none; `len` is that of all that came, in bytes of JSON.
    fn add(&mut self, field: ChangedField, len: &mut usize) {
        *len += json!(field).to_string().len();
        if self.fields.len() < FIELD_COUNT_MAX && *len <= FIELDS_LEN_MAX {
            self.fields.push(field);
        } else {
            self.left_out += 1;
        }
    }
}

/// The fields that are others afterwards; of what was not there, or is not any more, all that it has.
pub fn changed_fields(before: Option<&Value>, after: Option<&Value>) -> ChangedFields {
    let nothing = json!({});
    let names = [before, after].into_iter().flatten().fold(unit_names(), named);
    let side = |document: Option<&Value>| hidden(document.unwrap_or(&nothing), &names);
    let (before, after) = (side(before), side(after));
    let mut told = ChangedFields::default();
    let (mut len, mut lists) = (0, BTreeSet::new());
    for FieldDifference { pointer, left, right } in differences(&before, &after) {
        let field = match pointer.split_once(&format!("/{HIDDEN}")) {
            // One field for a list, whatever of it is another one.
            Some((list, _)) if !lists.insert(list.to_owned()) => continue,
            Some((list, _)) => ChangedField {
                before: before.pointer(list).map(shown),
                after: after.pointer(list).map(shown),
                pointer: list.to_owned(),
            },
            None => {
                ChangedField { pointer, before: left.as_ref().map(shown), after: right.as_ref().map(shown) }
            }
        };
        told.add(field, &mut len);
    }
    told
}

/// One of many things that a change altered together, under its pointer in the entry (`/flags/checkout`).
#[derive(Debug, Clone, PartialEq)]
pub struct ChangedPart {
    pub pointer: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

/// The same of many things in one entry. One that was not there, or is not any more, is one field; so is each for which there is
/// no room: it is not looked into.
pub fn changed_parts(parts: impl IntoIterator<Item = ChangedPart>) -> ChangedFields {
    let mut told = ChangedFields::default();
    let mut len = 0;
    for ChangedPart { pointer, before, after } in parts {
        if told.left_out > 0 {
            told.left_out += 1;
            continue;
        }
        if let (Some(_), Some(_)) = (&before, &after) {
            let ChangedFields { fields, left_out } = changed_fields(before.as_ref(), after.as_ref());
            for field in fields {
                let pointer = format!("{pointer}{}", field.pointer);
                told.add(ChangedField { pointer, ..field }, &mut len);
            }
            told.left_out += left_out;
        } else {
            told.add(whole(pointer, before.as_ref(), after.as_ref()), &mut len);
        }
    }
    told
}

fn whole(pointer: String, before: Option<&Value>, after: Option<&Value>) -> ChangedField {
    let names = [before, after].into_iter().flatten().fold(unit_names(), named);
    let side = |document: Option<&Value>| document.map(|document| shown(&hidden(document, &names)));
    ChangedField { pointer, before: side(before), after: side(after) }
}

fn unit_names() -> BTreeSet<String> {
    BTreeSet::from([TARGETING_KEY.to_owned()])
}

/// The attributes that name units in a document: those that it buckets by, or lists units of.
fn named(mut names: BTreeSet<String>, document: &Value) -> BTreeSet<String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    names.extend(text(document.get("bucket_by")));
    // Of a segment: what its lists name.
    names.extend(text(document.get("attribute")));
    let targets = document.get("targets").and_then(Value::as_array).into_iter().flatten();
    names.extend(targets.filter_map(|target| text(target.get("attribute"))));
    names
}

/// The document with its lists of units hidden: of each the length stays, and whether it is another one.
fn hidden(value: &Value, names: &BTreeSet<String>) -> Value {
    match value {
        Value::Object(fields) => {
            let compares_units =
                fields.get("attribute").and_then(Value::as_str).is_some_and(|name| names.contains(name));
            let hide = |name: &str| {
                matches!(name, "units" | "included" | "excluded") || (name == "values" && compares_units)
            };
            let members = fields.iter().map(|(name, value)| {
                let value = match value {
                    Value::Array(list) if hide(name) => hidden_list(list),
                    other => hidden(other, names),
                };
                (name.clone(), value)
            });
            Value::Object(members.collect())
        }
        Value::Array(list) => list.iter().map(|value| hidden(value, names)).collect(),
        other => other.clone(),
    }
}

fn hidden_list(list: &[Value]) -> Value {
    let digest = Digest::of(json!(list).to_string().as_bytes()).to_string();
    json!({ HIDDEN: { "count": list.len(), "digest": digest } })
}

/// A value as it is kept.
fn shown(value: &Value) -> Value {
    let value = counted(value);
    let len = value.to_string().len();
    if len > VALUE_LEN_MAX { json!({ "left_out_bytes": len }) } else { value }
}

/// What was hidden, by its length alone.
fn counted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            if let Some(list) = fields.get(HIDDEN) {
                return json!({ "count": list.get("count") });
            }
            let members = fields.iter().map(|(name, value)| (name.clone(), counted(value)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        Value::Array(list) => list.iter().map(counted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(before: &Value, after: &Value) -> Value {
        let found = changed_fields(Some(before), Some(after));
        assert_eq!(found.left_out, 0);
        json!(found.fields)
    }

    #[test]
    fn a_field_is_told_with_what_it_was_and_what_it_is() {
        let before = json!({ "enabled": true, "salt": "s", "rules": [{ "key": "r", "percentage": 5 }] });
        let after =
            json!({ "enabled": false, "description": "d", "rules": [{ "key": "r", "percentage": 6 }] });
        assert_eq!(
            told(&before, &after),
            json!([
                { "pointer": "/description", "after": "d" },
                { "pointer": "/enabled", "before": true, "after": false },
                { "pointer": "/rules/0/percentage", "before": 5, "after": 6 },
                { "pointer": "/salt", "before": "s" },
            ])
        );
        let made = changed_fields(None, Some(&json!({ "a": 1, "b": [] })));
        assert_eq!(
            json!(made.fields),
            json!([{ "pointer": "/a", "after": 1 }, { "pointer": "/b", "after": [] }])
        );
        assert_eq!(changed_fields(Some(&before), Some(&before)), ChangedFields::default());
    }

    #[test]
    fn units_are_counted_and_never_named() {
        let flag = |units: &[&str], names: &[&str]| {
            json!({
                "bucket_by": "account", "targets": [{ "variation": "on", "units": units, "attribute": "org" }],
                "rules": [{ "conditions": [
                    { "attribute": "account", "op": "in", "values": names }, { "attribute": "plan", "op": "in", "values": ["pro"] },
                    { "attribute": "org", "values": names }, { "attribute": "targetingKey", "values": names },
                ] }],
            })
        };
        let before = flag(&["anna", "bob"], &["anna"]);
        let found = told(&before, &flag(&["anna", "carl"], &["anna", "bob"]));
        let row = |pointer: &str, before: usize, after: usize| json!({ "pointer": pointer, "before": { "count": before }, "after": { "count": after } });
        assert_eq!(
            found,
            json!([
                row("/rules/0/conditions/0/values", 1, 2),
                row("/rules/0/conditions/2/values", 1, 2),
                row("/rules/0/conditions/3/values", 1, 2),
                row("/targets/0/units", 2, 2),
            ])
        );
        let whole = json!(changed_fields(None, Some(&before)).fields).to_string();
        let segment = json!({ "attribute": "mail", "included": ["anna"], "excluded": ["bob"],
            "rules": [{ "conditions": [{ "attribute": "mail", "values": ["carl"] }] }] });
        let segment = json!(changed_fields(Some(&segment), None).fields).to_string();
        for name in ["anna", "bob", "carl", HIDDEN, "digest"] {
            assert!(!whole.contains(name) && !segment.contains(name), "{name}: {whole} {segment}");
        }
        assert!(whole.contains("\"pro\"") && whole.contains("{\"count\":2}"), "{whole}");
    }

    #[test]
    fn what_is_long_or_much_is_left_out_and_says_so() {
        let long = json!({ "a": "x".repeat(VALUE_LEN_MAX) });
        let found = changed_fields(None, Some(&long));
        assert_eq!(found.fields[0].after, Some(json!({ "left_out_bytes": VALUE_LEN_MAX + 2 })));
        let many: Map<String, Value> = (0..80).map(|n| (format!("f{n}"), json!(n))).collect();
        let found = changed_fields(None, Some(&Value::Object(many)));
        assert_eq!((found.fields.len(), found.left_out), (FIELD_COUNT_MAX, 80 - FIELD_COUNT_MAX));
        let wide: Map<String, Value> = (0..40).map(|n| (format!("f{n}"), json!("x".repeat(1_000)))).collect();
        let found = changed_fields(None, Some(&Value::Object(wide)));
        assert!(
            json!(found.fields).to_string().len() <= FIELDS_LEN_MAX + 100 && found.left_out > 20,
            "{}",
            found.left_out
        );
    }

    #[test]
    fn many_things_are_told_under_their_names_as_far_as_there_is_room() {
        let part = |name: &str, before: Option<Value>, after: Option<Value>| ChangedPart {
            pointer: format!("/flags/{name}"),
            before,
            after,
        };
        let found = changed_parts([
            part(
                "a",
                Some(json!({ "enabled": true, "salt": "s" })),
                Some(json!({ "enabled": false, "salt": "s" })),
            ),
            part("b", None, Some(json!({ "bucket_by": "mail", "targets": [{ "units": ["anna", "bob"] }] }))),
            part("c", Some(json!({ "enabled": true })), None),
        ]);
        assert_eq!(
            (json!(found.fields), found.left_out),
            (
                json!([
                    { "pointer": "/flags/a/enabled", "before": true, "after": false },
                    { "pointer": "/flags/b", "after": { "bucket_by": "mail", "targets": [{ "units": { "count": 2 } }] } },
                    { "pointer": "/flags/c", "before": { "enabled": true } },
                ]),
                0
            )
        );
        let wide = |enabled: bool| (0..60).map(|n| (format!("f{n}"), json!(enabled))).collect::<Value>();
        let found = changed_parts([part("wide", Some(wide(true)), Some(wide(false)))]);
        assert_eq!((found.fields.len(), found.left_out), (FIELD_COUNT_MAX, 60 - FIELD_COUNT_MAX));
        let many = (0..5_000).map(|n| part(&n.to_string(), None, Some(json!({ "value": n }))));
        let found = changed_parts(many);
        assert_eq!((found.fields.len(), found.left_out), (FIELD_COUNT_MAX, 5_000 - FIELD_COUNT_MAX));
        let long = |n: usize| part(&n.to_string(), None, Some(json!({ "value": "x".repeat(2_000) })));
        let found = changed_parts((0..20).map(long));
        let len: usize = found.fields.iter().map(|field| json!(field).to_string().len()).sum();
        assert!(len <= FIELDS_LEN_MAX && found.fields.len() >= 7, "{len} bytes");
        assert_eq!(found.fields.len() + found.left_out, 20);
    }
}
