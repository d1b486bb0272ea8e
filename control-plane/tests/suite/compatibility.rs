//! What was promised is kept: the document beside the one of the newest release. Answers may have more fields; nothing is
//! removed or renamed, nothing that may be left out of a request has to be there, and what an answer always has it goes on having.
//!
//! `tests/golden/openapi.json` is what clients were promised, and changes only on purpose: with a release, or when a promise is
//! taken back, which the changelog says. Then `cp control-plane/openapi.json tests/golden/openapi.json`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::document::DOCUMENT;

const PROMISED: &str = include_str!("../../../tests/golden/openapi.json");

/// Who writes what a schema is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// A client: what it was allowed to send it may send for ever.
    Request,
    /// The control plane: what a client was told to expect it finds.
    Answer,
}

/// Two documents, and what of the first the second breaks.
struct Comparison<'d> {
    promised: &'d Value,
    now: &'d Value,
    broken: BTreeSet<String>,
    /// Pairs of named schemas that are looked at, or were.
    seen: BTreeSet<(String, String, Way)>,
}

fn broken(promised: &Value, now: &Value) -> Vec<String> {
    let mut comparison = Comparison { promised, now, broken: BTreeSet::new(), seen: BTreeSet::new() };
    comparison.paths();
    comparison.broken.into_iter().collect()
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn items<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn words(value: &Value) -> BTreeSet<&str> {
    match value {
        Value::String(word) => BTreeSet::from([word.as_str()]),
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
        _ => BTreeSet::new(),
    }
}

fn reference(value: &Value) -> Option<&str> {
    value["$ref"].as_str()
}

fn resolved<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match reference(value) {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null),
        None => value,
    }
}

impl<'d> Comparison<'d> {
    fn breaks(&mut self, place: &str, what: &str) {
        self.broken.insert(format!("{place}: {what}"));
    }

    fn paths(&mut self) {
        let (promised, now) = (self.promised, self.now);
        for (path, methods) in object(&promised["paths"]) {
            for (method, operation) in object(methods) {
                let place = format!("{} {path}", method.to_uppercase());
                match now["paths"][path].get(method) {
                    Some(own) => self.operation(&place, operation, own),
                    None => self.breaks(&place, "is gone"),
                }
            }
        }
    }

    fn operation(&mut self, place: &str, promised: &'d Value, now: &'d Value) {
        if promised["operationId"] != now["operationId"] {
            self.breaks(place, "has another operationId, after which clients name it");
        }
        self.parameters(place, promised, now);
        let (body, own) = (&promised["requestBody"], &now["requestBody"]);
        if own["required"] == true && body["required"] != true {
            self.breaks(place, "needs a body");
        }
        for (kind, content) in object(&body["content"]) {
            match own["content"].get(kind) {
                Some(own) => {
                    self.schema(&format!("{place} body"), &content["schema"], &own["schema"], Way::Request);
                }
                None => self.breaks(place, &format!("takes no {kind}")),
            }
        }
        let known: BTreeSet<&str> =
            object(&promised["security"][0]).flat_map(|(_, kinds)| words(kinds)).collect();
        let let_in: BTreeSet<&str> =
            object(&now["security"][0]).flat_map(|(_, kinds)| words(kinds)).collect();
        if promised.get("security").is_none() && now.get("security").is_some() {
            self.breaks(place, "needs a token");
        } else if now.get("security").is_some()
            && let Some(kind) = known.difference(&let_in).next()
        {
            self.breaks(place, &format!("lets no token of kind {kind} in"));
        }
        for (status, answer) in object(&promised["responses"]) {
            let place = format!("{place} {status}");
            let Some(own) = now["responses"].get(status) else {
                // A failure that comes no more is nobody's loss.
                if status.starts_with('2') {
                    self.breaks(&place, "is gone");
                }
                continue;
            };
            let (answer, own) = (resolved(self.promised, answer), resolved(self.now, own));
            for (header, _) in object(&answer["headers"]) {
                if own["headers"].get(header).is_none() {
                    self.breaks(&place, &format!("has no header {header}"));
                }
            }
            for (kind, content) in object(&answer["content"]) {
                match own["content"].get(kind) {
                    Some(own) => self.schema(&place, &content["schema"], &own["schema"], Way::Answer),
                    None => self.breaks(&place, &format!("is no {kind}")),
                }
            }
        }
    }

    fn parameters(&mut self, place: &str, promised: &'d Value, now: &'d Value) {
        let name = |parameter: &Value| (parameter["in"].to_string(), parameter["name"].to_string());
        for parameter in items(promised, "parameters") {
            let own = items(now, "parameters").iter().find(|own| name(own) == name(parameter));
            let place = format!("{place} {}", name(parameter).1);
            match own {
                None => self.breaks(&place, "is no parameter any more"),
                Some(own) => {
                    if own["required"] == true && parameter["required"] != true {
                        self.breaks(&place, "is required");
                    }
                    self.schema(&place, &parameter["schema"], &own["schema"], Way::Request);
                }
            }
        }
        for own in items(now, "parameters") {
            let is_known = items(promised, "parameters").iter().any(|parameter| name(own) == name(parameter));
            if !is_known && own["required"] == true {
                self.breaks(place, &format!("needs {}", name(own).1));
            }
        }
    }

    fn schema(&mut self, place: &str, promised: &'d Value, now: &'d Value, way: Way) {
        if let (Some(promised), Some(now)) = (reference(promised), reference(now))
            && !self.seen.insert((promised.to_owned(), now.to_owned(), way))
        {
            return;
        }
        let (promised, now) = (resolved(self.promised, promised), resolved(self.now, now));
        self.types(place, promised, now, way);
        self.choices(place, promised, now, way);
        let (fields, own) = (Fields::of(self.promised, promised), Fields::of(self.now, now));
        for (name, schema) in &fields.properties {
            let place = format!("{place}.{name}");
            match own.properties.iter().find(|(own, _)| own == name) {
                Some((_, own)) => self.schema(&place, schema, own, way),
                // An object that may have any field has this one.
                None if way == Way::Request && own.is_open => {}
                None => self.breaks(&place, "is gone"),
            }
        }
        match way {
            Way::Request => {
                for name in own.required.difference(&fields.required) {
                    self.breaks(&format!("{place}.{name}"), "is required");
                }
            }
            Way::Answer => {
                for name in fields.required.difference(&own.required) {
                    self.breaks(&format!("{place}.{name}"), "may be left out");
                }
            }
        }
        for word in ["items", "additionalProperties"] {
            if let (Some(promised @ Value::Object(_)), Some(now @ Value::Object(_))) =
                (promised.get(word), now.get(word))
            {
                self.schema(&format!("{place}[]"), promised, now, way);
            }
        }
    }

    /// A request may be of more types than before, an answer of fewer.
    fn types(&mut self, place: &str, promised: &Value, now: &Value, way: Way) {
        let (known, own) = (words(&promised["type"]), words(&now["type"]));
        // Without a type it may be anything.
        let is_wider = |wide: &BTreeSet<&str>, narrow: &BTreeSet<&str>| {
            let has = |kind: &str| wide.contains(kind) || (kind == "integer" && wide.contains("number"));
            wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(|kind| has(kind)))
        };
        let is_kept = match way {
            Way::Request => is_wider(&own, &known),
            Way::Answer => is_wider(&known, &own),
        };
        if !is_kept {
            self.breaks(place, &format!("is {own:?} instead of {known:?}"));
        }
        // Words of answers may become more, as codes do: whoever reads one does not know them all.
        if way == Way::Request
            && let Some(own) = now["enum"].as_array()
        {
            let is_kept =
                promised["enum"].as_array().is_some_and(|known| known.iter().all(|word| own.contains(word)));
            if !is_kept {
                self.breaks(place, "takes fewer words");
            }
        }
    }

    /// Every way of being something is still one.
    fn choices(&mut self, place: &str, promised: &'d Value, now: &'d Value, way: Way) {
        for word in ["anyOf", "oneOf"] {
            for choice in items(promised, word) {
                let all = items(now, "anyOf").iter().chain(items(now, "oneOf"));
                let is_kept = all.chain([now]).any(|own| {
                    let (promised, now) = (self.promised, self.now);
                    let mut tried =
                        Comparison { promised, now, broken: BTreeSet::new(), seen: self.seen.clone() };
                    tried.schema(place, choice, own, way);
                    tried.broken.is_empty()
                });
                if !is_kept {
                    let name = reference(choice).unwrap_or(word);
                    self.breaks(place, &format!("is no {name} any more"));
                }
            }
        }
    }
}

/// The fields of an object, with those of all that it is made of.
struct Fields<'d> {
    properties: Vec<(&'d String, &'d Value)>,
    required: BTreeSet<&'d str>,
    is_open: bool,
}

impl<'d> Fields<'d> {
    fn of(document: &'d Value, schema: &'d Value) -> Self {
        let schema = resolved(document, schema);
        let mut fields = Self {
            properties: object(&schema["properties"]).collect(),
            required: words(&schema["required"]),
            is_open: match schema.get("additionalProperties") {
                Some(more) => *more != Value::Bool(false),
                None => schema.get("properties").is_none() && schema.get("allOf").is_none(),
            },
        };
        for part in items(schema, "allOf") {
            let part = Self::of(document, part);
            fields.properties.extend(part.properties);
            fields.required.extend(part.required);
        }
        fields
    }
}

#[test]
fn nothing_that_was_promised_is_broken() {
    let promised: Value = serde_json::from_str(PROMISED).unwrap();
    let broken = broken(&promised, &DOCUMENT);
    assert!(
        broken.is_empty(),
        "clients of the newest release break:\n{}\nIf that is meant, say so in CHANGELOG.md, and \
         `cp control-plane/openapi.json tests/golden/openapi.json`",
        broken.join("\n")
    );
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(change: impl FnOnce(&mut Value)) -> Value {
        let mut document = json!({
            "paths": { "/things/{key}": { "post": {
                "operationId": "things_make",
                "security": [{ "bearer": ["admin", "viewer"] }],
                "parameters": [{ "in": "query", "name": "limit", "required": false, "schema": { "type": "integer" } }],
                "requestBody": { "required": false, "content": { "application/json": {
                    "schema": { "$ref": "#/components/schemas/New" } } } },
                "responses": { "200": { "headers": { "etag": {} }, "content": { "application/json": {
                    "schema": { "allOf": [{ "$ref": "#/components/schemas/Thing" }, { "type": "object" }] } } } },
                    "404": { "content": { "application/problem+json": { "schema": {} } } } },
            } } },
            "components": { "schemas": {
                "New": { "type": "object", "required": ["key"], "properties": {
                    "key": { "type": "string" }, "kind": { "type": "string", "enum": ["a", "b"] } } },
                "Inner": { "type": "object", "properties": { "key": { "type": "string" } } },
                "Thing": { "type": "object", "required": ["key"], "properties": {
                    "key": { "type": "string" }, "size": { "type": ["integer", "null"] },
                    "inner": { "anyOf": [{ "$ref": "#/components/schemas/Inner" }, { "type": "null" }] },
                    "parts": { "type": "array", "items": { "$ref": "#/components/schemas/Thing" } } } },
            } },
        });
        change(&mut document);
        document
    }

    fn remove(value: &mut Value, pointer: &str) {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        value.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    }

    #[test]
    fn what_is_removed_renamed_or_newly_required_is_found() {
        type Change<'c> = (&'c str, Box<dyn FnOnce(&mut Value) + 'c>);
        let promised = document(|_| {});
        let post = "/paths/~1things~1{key}/post";
        let set = |pointer: &'static str, value: Value| {
            let change = move |document: &mut Value| *document.pointer_mut(pointer).unwrap() = value;
            Box::new(change) as Box<dyn FnOnce(&mut Value)>
        };
        let gone = |pointer: String| {
            Box::new(move |document: &mut Value| remove(document, &pointer)) as Box<dyn FnOnce(&mut Value)>
        };
        let new = "/components/schemas/New";
        let thing = "/components/schemas/Thing";
        let changes: Vec<Change<'_>> = vec![
            ("is gone", gone(post.to_owned())),
            ("another operationId", set("/paths/~1things~1{key}/post/operationId", json!("other"))),
            ("no parameter any more", set("/paths/~1things~1{key}/post/parameters", json!([]))),
            ("is required", set("/paths/~1things~1{key}/post/parameters/0/required", json!(true))),
            ("needs a body", set("/paths/~1things~1{key}/post/requestBody/required", json!(true))),
            (
                "no token of kind viewer",
                set("/paths/~1things~1{key}/post/security/0/bearer", json!(["admin"])),
            ),
            ("body.kind: is gone", gone(format!("{new}/properties/kind"))),
            ("body.kind: is required", set("/components/schemas/New/required", json!(["key", "kind"]))),
            ("takes fewer words", set("/components/schemas/New/properties/kind/enum", json!(["a"]))),
            ("200: is gone", gone(format!("{post}/responses/200"))),
            ("no header etag", gone(format!("{post}/responses/200/headers/etag"))),
            ("200.size: is gone", gone(format!("{thing}/properties/size"))),
            ("200.key: may be left out", set("/components/schemas/Thing/required", json!([]))),
            ("instead of", set("/components/schemas/Thing/properties/key/type", json!(["string", "null"]))),
            ("instead of", set("/components/schemas/Thing/properties/size/type", json!("string"))),
            (
                "is no #/components/schemas/Inner any more",
                set("/components/schemas/Thing/properties/inner", json!({ "type": "null" })),
            ),
        ];
        for (words, change) in changes {
            let found = broken(&promised, &document(change)).join("\n");
            assert!(found.contains(words), "{words:?} is not in {found:?}");
        }
    }

    #[test]
    fn what_is_added_breaks_nobody() {
        let promised = document(|_| {});
        let now = document(|document| {
            document["paths"]["/more"] = json!({ "get": {} });
            let post = &mut document["paths"]["/things/{key}"]["post"];
            let more =
                json!({ "in": "query", "name": "q", "required": false, "schema": { "type": "string" } });
            post["parameters"].as_array_mut().unwrap().push(more);
            post["responses"]["429"] = json!({});
            post["responses"].as_object_mut().unwrap().remove("404");
            let schemas = &mut document["components"]["schemas"];
            schemas["New"]["properties"]["more"] = json!({ "type": "string" });
            schemas["New"]["properties"]["kind"]["enum"] = json!(["a", "b", "c"]);
            schemas["New"]["required"] = json!([]);
            schemas["Thing"]["properties"]["more"] = json!({ "type": "string" });
            schemas["Thing"]["required"] = json!(["key", "size", "more"]);
            schemas["Thing"]["properties"]["size"]["type"] = json!("integer");
        });
        assert_eq!(broken(&promised, &now), [""; 0]);
        assert_eq!(broken(&promised, &promised), [""; 0]);
    }
}
