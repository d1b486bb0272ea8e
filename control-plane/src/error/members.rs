//! What a problem says beside its five first members, for programs: which member comes with which code.

use std::collections::BTreeMap;

use flagfuse_shared::strict::escaped;
use serde::Serialize;
use serde_json::Value;

use crate::model::circuit::{Circuit, Rollout};

/// Further members of a problem; those that are absent are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Members {
    /// JSON pointer (RFC 6901) to what does not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Everything that does not fit, with its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<Fault>>,
    /// Formats of batches that this control plane reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formats: Option<Vec<u32>>,
    /// The state that is there; null when there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<Value>,
    /// What is there, as its `GET` shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<Value>,
    /// What to send to be let through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<String>,
    /// What the change does to decisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<Vec<Value>>,
    /// What a deletion takes away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<Value>,
    /// Everything that stands against an import.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflicts: Option<Vec<ToldConflict>>,
    /// Where the flag is under a fuse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuses: Option<Vec<ToldFuse>>,
    /// Versions that are kept, the newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<Vec<String>>,
    /// How far the roll-out got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Where its fuse stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit: Option<Circuit>,
    /// Fields that are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Vec<&'static str>>,
    /// For OFREP's clients: the flag that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// For OFREP's clients.
    #[serde(rename = "errorCode", skip_serializing_if = "Option::is_none")]
    pub error_code: Option<&'static str>,
    /// For OFREP's clients.
    #[serde(rename = "errorDetails", skip_serializing_if = "Option::is_none")]
    pub error_details: Option<String>,
    /// For OFREP's clients: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, Value>>,
}

/// Something that does not fit, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// JSON pointer (RFC 6901) to it in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The parameter of the query that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// What is wrong with it, in words.
    pub detail: String,
}

/// What stands against one part of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToldConflict {
    /// `flag checkout`, `segment beta`.
    pub name: String,
    /// As a problem of that part alone would have it.
    pub code: &'static str,
    /// In words.
    pub reason: String,
}

/// Where a flag is under a fuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToldFuse {
    /// Key of the environment.
    pub environment: String,
    pub circuit: Circuit,
}

/// The JSON pointer to a field as messages write it: `rules[0].op` is `/rules/0/op`. What is named by a key instead of a
/// number, as in `rules["beta"]`, stands in a list whose place is all that can be said.
pub(super) fn pointer(field: &str) -> String {
    let mut pointer = String::new();
    for part in field.split('.') {
        let (name, indices) = part.split_once('[').map_or((part, None), |(name, rest)| (name, Some(rest)));
        pointer.push('/');
        pointer.push_str(&escaped(name));
        for index in indices.into_iter().flat_map(|rest| rest.split('[')) {
            let index = index.trim_end_matches(']');
            if index.is_empty() || !index.bytes().all(|byte| byte.is_ascii_digit()) {
                return pointer;
            }
            pointer.push('/');
            pointer.push_str(index);
        }
    }
    pointer
}

#[cfg(test)]
mod tests {
    use super::pointer;

    #[test]
    fn a_field_of_a_message_is_a_pointer_as_far_as_numbers_lead() {
        for (field, expected) in [
            ("soak_s", "/soak_s"),
            ("guardrails[0].threshold", "/guardrails/0/threshold"),
            ("rules[2].conditions[10]", "/rules/2/conditions/10"),
            ("grid[1][2]", "/grid/1/2"),
            (r#"rules["beta"].conditions[0]"#, "/rules"),
            ("a/b~c", "/a~1b~0c"),
        ] {
            assert_eq!(pointer(field), expected, "{field}");
        }
    }
}
