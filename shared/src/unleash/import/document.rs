//! The shapes of Unleash's documents, as lenient as its clients. Never decides what they mean.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A toggle of a client features document.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Toggle {
    pub(super) name: String,
    pub(super) description: Option<String>,
    #[serde(default)]
    pub(super) enabled: bool,
    pub(super) impression_data: Option<bool>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    /// Absent: malformed for Unleash, and off.
    pub(super) strategies: Option<Vec<Strategy>>,
    pub(super) variants: Option<Vec<Variant>>,
    pub(super) dependencies: Option<Vec<Dependency>>,
}

/// One way to be on.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Strategy {
    pub(super) name: String,
    /// Only in documents of the admin API.
    pub(super) title: Option<String>,
    pub(super) parameters: Option<Map<String, Value>>,
    pub(super) constraints: Option<Vec<Option<Constraint>>>,
    pub(super) segments: Option<Vec<u64>>,
    pub(super) variants: Option<Vec<Variant>>,
}

/// A comparison of one context field.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Constraint {
    #[serde(default)]
    pub(super) context_name: Option<String>,
    #[serde(default)]
    pub(super) operator: String,
    #[serde(default)]
    pub(super) values: Option<Vec<Value>>,
    /// JavaScript tells a missing value from `null`.
    #[serde(default, deserialize_with = "present")]
    pub(super) value: Option<Value>,
    #[serde(default)]
    pub(super) inverted: Option<bool>,
    #[serde(default)]
    pub(super) case_insensitive: Option<bool>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// One of the values that a toggle can carry.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) weight: u32,
    pub(super) payload: Option<Value>,
    pub(super) stickiness: Option<String>,
    pub(super) overrides: Option<Vec<Override>>,
}

/// Who gets a variant whatever the weights say.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Override {
    pub(super) context_name: String,
    #[serde(default)]
    pub(super) values: Vec<Value>,
}

/// Another toggle that decides first.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Dependency {
    pub(super) feature: String,
    pub(super) enabled: Option<bool>,
    pub(super) variants: Option<Vec<String>>,
}

/// Constraints that strategies share.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Segment {
    pub(super) id: u64,
    pub(super) name: Option<String>,
    /// Absent in documents of the export API, which only name their segments.
    pub(super) constraints: Option<Vec<Option<Constraint>>>,
}
