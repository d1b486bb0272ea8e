//! Parts of a client features document: the features of a prefix, or one of them. Parses what the export wrote.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The document with only those features whose names begin with `prefix`, and the segments that they name.
pub fn with_prefix(document: &str, prefix: &str) -> String {
    let mut document = parsed(document);
    let is_wanted = |feature: &Value| name_of(feature).is_some_and(|name| name.starts_with(prefix));
    let features: Vec<Value> = features(&mut document).into_iter().filter(is_wanted).collect();
    let strategies = features.iter().flat_map(|feature| list(feature, "strategies"));
    let named: BTreeSet<u64> =
        strategies.flat_map(|strategy| list(strategy, "segments")).filter_map(Value::as_u64).collect();
    if let Some(Value::Array(segments)) = document.get_mut("segments") {
        segments.retain(|segment| {
            segment.get("id").and_then(Value::as_u64).is_some_and(|id| named.contains(&id))
        });
    }
    if let Some(Value::Object(query)) = document.get_mut("query") {
        query.insert("namePrefix".to_owned(), Value::String(prefix.to_owned()));
    }
    document.insert("features".to_owned(), Value::Array(features));
    Value::Object(document).to_string()
}

/// The feature of that name, as the document has it.
pub fn feature(document: &str, name: &str) -> Option<String> {
    let feature = features(&mut parsed(document)).into_iter().find(|feature| name_of(feature) == Some(name));
    feature.map(|feature| feature.to_string())
}

/// What the export wrote always parses.
fn parsed(document: &str) -> Map<String, Value> {
    serde_json::from_str(document).unwrap_or_default()
}

fn features(document: &mut Map<String, Value>) -> Vec<Value> {
    match document.remove("features") {
        Some(Value::Array(features)) => features,
        _ => Vec::new(),
    }
}

fn name_of(feature: &Value) -> Option<&str> {
    feature.get("name").and_then(Value::as_str)
}

fn list<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> String {
        let strategy = |segments: &[u64]| json!({ "name": "default", "segments": segments });
        json!({ "version": 2, "query": { "environment": "dev" }, "segments": [{ "id": 1 }, { "id": 2 }], "features": [
            { "name": "shop.a", "strategies": [strategy(&[1])] }, { "name": "shop.b", "strategies": [] },
            { "name": "till", "strategies": [strategy(&[2]), { "name": "default" }] } ], "meta": { "revisionId": 7 } })
        .to_string()
    }

    #[test]
    fn a_prefix_keeps_its_features_and_their_segments() {
        for (prefix, names, segments) in [
            ("shop.", vec!["shop.a", "shop.b"], json!([{ "id": 1 }])),
            ("shop.b", vec!["shop.b"], json!([])),
            ("", vec!["shop.a", "shop.b", "till"], json!([{ "id": 1 }, { "id": 2 }])),
            ("other", vec![], json!([])),
        ] {
            let selected: Value = serde_json::from_str(&with_prefix(&document(), prefix)).unwrap();
            let found: Vec<&str> =
                selected["features"].as_array().unwrap().iter().filter_map(name_of).collect();
            assert_eq!((found, &selected["segments"]), (names, &segments), "{prefix}");
            assert_eq!(selected["query"], json!({ "environment": "dev", "namePrefix": prefix }));
            assert_eq!((&selected["version"], &selected["meta"]), (&json!(2), &json!({ "revisionId": 7 })));
        }
    }

    #[test]
    fn a_feature_is_found_by_its_whole_name() {
        let found = feature(&document(), "shop.b").unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&found).unwrap(),
            json!({ "name": "shop.b", "strategies": [] })
        );
        assert_eq!((feature(&document(), "shop."), feature("", "shop.b")), (None, None));
    }
}
