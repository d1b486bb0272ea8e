//! JSON merge patch (RFC 7386): what an environment changes of its project's flag. Pure.

use serde_json::Value;

use super::flag::FlagWire;
use crate::strict;

/// Fields that no patch may touch: the name, and what belongs to the environment's fuse.
const FIXED: [&str; 2] = ["key", "cohort"];

/// Why a patch gives no flag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct OverlayFault {
    /// A sentence that names the field.
    pub detail: String,
}

/// A flag with a patch merged into it. Whether the result can be evaluated is for `compile` to say.
pub fn overlay(base: &FlagWire, patch: &Value) -> Result<FlagWire, OverlayFault> {
    let shape = |detail: String| OverlayFault { detail };
    let Value::Object(fields) = patch else {
        return Err(shape("a patch of a flag must be a JSON object".to_owned()));
    };
    if let Some(field) = FIXED.into_iter().find(|field| fields.contains_key(*field)) {
        return Err(shape(format!("a patch may not have the field {field:?}")));
    }
    let target = serde_json::to_value(base).map_err(|error| shape(error.to_string()))?;
    strict::from_value(&merge_patch(target, patch)).map_err(|misfit| shape(misfit.of("the flag")))
}

/// `MergePatch(Target, Patch)` of RFC 7386, section 2: objects are merged member by member, null removes, anything else
/// replaces. Recurses as deep as the patch is nested, which its parser bounds.
pub fn merge_patch(target: Value, patch: &Value) -> Value {
    let Value::Object(fields) = patch else { return patch.clone() };
    let mut merged = if let Value::Object(members) = target { members } else { serde_json::Map::new() };
    for (name, value) in fields {
        if value.is_null() {
            merged.remove(name);
        } else {
            let member = merged.remove(name).unwrap_or(Value::Null);
            merged.insert(name.clone(), merge_patch(member, value));
        }
    }
    Value::Object(merged)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_examples_of_the_rfcs_appendix_hold() {
        // RFC 7386, appendix A: original, patch, result.
        let rows = [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r"{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ];
        for (original, patch, result) in rows {
            let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            assert_eq!(merge_patch(read(original), &read(patch)), read(result), "{original} {patch}");
        }
    }

    #[test]
    fn the_example_of_the_rfcs_introduction_holds() {
        // RFC 7386, section 3.
        let original = json!({
            "title": "Goodbye!", "author": { "givenName": "John", "familyName": "Doe" },
            "tags": ["example", "sample"], "content": "This will be unchanged",
        });
        let patch = json!({
            "title": "Hello!", "phoneNumber": "+01-123-456-7890", "author": { "familyName": null },
            "tags": ["example"],
        });
        let result = json!({
            "title": "Hello!", "author": { "givenName": "John" }, "tags": ["example"],
            "content": "This will be unchanged", "phoneNumber": "+01-123-456-7890",
        });
        assert_eq!(merge_patch(original, &patch), result);
    }

    #[test]
    fn a_flag_keeps_its_name_and_its_cohort() {
        let base: FlagWire = serde_json::from_value(json!({
            "key": "f", "value_type": "boolean", "default_variation": "off", "off_variation": "off",
            "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
        }))
        .unwrap();
        let merged = overlay(&base, &json!({ "default_variation": "on", "off_variation": null })).unwrap();
        assert_eq!((merged.default_variation.as_deref(), merged.off_variation), (Some("on"), None));
        assert_eq!(overlay(&base, &json!({ "default_variation": null })).unwrap().default_variation, None);
        assert_eq!(overlay(&base, &json!({})).unwrap(), base);
        let rows = [
            (json!({ "key": "g" }), "\"key\""),
            (json!({ "cohort": null }), "\"cohort\""),
            (json!([]), "JSON object"),
            (json!({ "variations": null }), "variations is missing"),
            (json!({ "surprise": 1 }), "surprise is unknown"),
        ];
        for (patch, words) in rows {
            let fault = overlay(&base, &patch).unwrap_err().to_string();
            assert!(fault.contains(words), "{patch}: {fault}");
        }
    }
}
