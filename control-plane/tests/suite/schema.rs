//! Whether a value fits a schema of the `OpenAPI` document: as much of JSON Schema as that has, and stricter than it. An
//! object has no field that its schemas do not name, unless they leave it open.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The schemas of a document.
#[derive(Clone, Copy)]
pub(crate) struct Schemas<'d> {
    document: &'d Value,
}

/// Which fields an object may have.
enum Fields {
    Any,
    Named(BTreeSet<String>),
}

impl<'d> Schemas<'d> {
    pub(crate) fn of(document: &'d Value) -> Self {
        Self { document }
    }

    /// What a reference leads to.
    pub(crate) fn resolved(self, value: &'d Value) -> &'d Value {
        self.followed(value)
    }

    fn followed<'v>(self, value: &'v Value) -> &'v Value
    where
        'd: 'v,
    {
        match value["$ref"].as_str() {
            Some(reference) => {
                self.document.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null)
            }
            None => value,
        }
    }

    /// Says what does not fit.
    pub(crate) fn fits(self, schema: &Value, value: &Value) -> Result<(), String> {
        self.matches(schema, value)?;
        let (Value::Object(object), Fields::Named(names)) = (value, self.fields(schema, value)) else {
            return Ok(());
        };
        match object.keys().find(|name| !names.contains(*name)) {
            Some(name) => Err(format!("{name} is in no schema")),
            None => Ok(()),
        }
    }

    fn matches(self, schema: &Value, value: &Value) -> Result<(), String> {
        let schema = self.followed(schema);
        for part in list(schema, "allOf") {
            self.matches(part, value)?;
        }
        for word in ["anyOf", "oneOf"] {
            let parts = list(schema, word);
            let faults: Vec<_> = parts.iter().filter_map(|part| self.fits(part, value).err()).collect();
            if !parts.is_empty() && faults.len() == parts.len() {
                return Err(faults.join(" and "));
            }
        }
        if let Some(known) = schema["enum"].as_array()
            && !known.contains(value)
        {
            return Err(format!("{value} is none of {known:?}"));
        }
        has_type(schema, value)?;
        within(schema, value)?;
        match value {
            Value::Object(object) => self.object(schema, object),
            Value::Array(items) => items.iter().enumerate().try_for_each(|(at, item)| {
                let Some(schema) = schema.get("items") else { return Ok(()) };
                self.fits(schema, item).map_err(|fault| format!("[{at}]: {fault}"))
            }),
            _ => Ok(()),
        }
    }

    fn object(self, schema: &Value, object: &Map<String, Value>) -> Result<(), String> {
        for name in list(schema, "required") {
            let name = name.as_str().unwrap();
            if !object.contains_key(name) {
                return Err(format!("{name} is missing"));
            }
        }
        for (name, value) in object {
            let property = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
            match property {
                Some(Value::Bool(false)) => return Err(format!("{name} is not allowed")),
                Some(property @ Value::Object(_)) => {
                    self.fits(property, value).map_err(|fault| format!("{name}: {fault}"))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The names of all schemas that apply to a value.
    fn fields(self, schema: &Value, value: &Value) -> Fields {
        let schema = self.followed(schema);
        let mut names = BTreeSet::new();
        let mut parts: Vec<&Value> = list(schema, "allOf").iter().collect();
        for word in ["anyOf", "oneOf"] {
            parts.extend(list(schema, word).iter().filter(|part| self.fits(part, value).is_ok()));
        }
        let is_leaf = parts.is_empty();
        for part in parts {
            match self.fields(part, value) {
                Fields::Any => return Fields::Any,
                Fields::Named(more) => names.extend(more),
            }
        }
        let is_open = schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false));
        match schema["properties"].as_object() {
            _ if is_open => Fields::Any,
            Some(own) => {
                names.extend(own.keys().cloned());
                Fields::Named(names)
            }
            None if is_leaf => Fields::Any,
            None => Fields::Named(names),
        }
    }
}

fn list<'v>(schema: &'v Value, word: &str) -> &'v [Value] {
    schema[word].as_array().map_or(&[], Vec::as_slice)
}

fn has_type(schema: &Value, value: &Value) -> Result<(), String> {
    let types: Vec<&str> = match &schema["type"] {
        Value::String(only) => vec![only],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(()),
    };
    let is = |kind: &&str| match *kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("type {other}"),
    };
    if types.iter().any(is) { Ok(()) } else { Err(format!("{value} is not of the type {types:?}")) }
}

#[expect(clippy::cast_precision_loss, reason = "lengths of tests")]
fn within(schema: &Value, value: &Value) -> Result<(), String> {
    let (size, min, max) = match value {
        Value::Number(number) => (number.as_f64().unwrap(), "minimum", "maximum"),
        Value::String(text) => (text.chars().count() as f64, "minLength", "maxLength"),
        Value::Array(items) => (items.len() as f64, "minItems", "maxItems"),
        _ => return Ok(()),
    };
    let is_below = schema[min].as_f64().is_some_and(|min| size < min);
    let is_above = schema[max].as_f64().is_some_and(|max| size > max);
    if is_below || is_above { Err(format!("{size} is outside of {min} and {max}")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_misplaced_or_in_no_schema_is_found() {
        let document = json!({ "components": { "schemas": {
            "A": { "type": "object", "required": ["a"], "properties": { "a": { "type": ["integer", "null"] } } },
            "B": { "type": "object", "properties": { "b": { "type": "string", "maxLength": 2 } } },
        } } });
        let schemas = Schemas::of(&document);
        let a = json!({ "$ref": "#/components/schemas/A" });
        let both = json!({ "allOf": [a, { "$ref": "#/components/schemas/B" }] });
        let either = json!({ "anyOf": [a, { "type": "array", "items": a }] });
        for (schema, value, expected) in [
            (&a, json!({ "a": 1 }), true),
            (&a, json!({ "a": null }), true),
            (&a, json!({ "a": "1" }), false),
            (&a, json!({}), false),
            (&a, json!({ "a": 1, "b": "x" }), false),
            (&both, json!({ "a": 1, "b": "x" }), true),
            (&both, json!({ "a": 1, "b": "xyz" }), false),
            (&both, json!({ "a": 1, "c": "x" }), false),
            (&either, json!([{ "a": 1 }]), true),
            (&either, json!([{ "a": 1, "b": 1 }]), false),
            (&either, json!(7), false),
        ] {
            assert_eq!(schemas.fits(schema, &value).is_ok(), expected, "{schema} {value}");
        }
    }
}
