//! The shapes of Unleash's documents, as lenient as its clients. Never decides what they mean.
//!
//! Their writers put `null` for what is empty, and some put `7.0` for 7: JavaScript sees no difference.

use flagfuse_shared::unleash::javascript;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A toggle of a client features document.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Toggle {
    pub(super) name: String,
    pub(super) description: Option<String>,
    #[serde(default, deserialize_with = "or_nothing")]
    pub(super) enabled: bool,
    pub(super) impression_data: Option<bool>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    /// Absent: off. A client that gets no list calls the toggle malformed.
    pub(super) strategies: Option<Vec<Strategy>>,
    pub(super) variants: Option<Vec<Variant>>,
    pub(super) dependencies: Option<Vec<Dependency>>,
}

impl Toggle {
    /// Leaves out the strategies that are switched off, as the server does. A toggle that has no others is off for
    /// everybody, while one without any is on.
    pub(super) fn drop_disabled(&mut self) {
        let Some(strategies) = &mut self.strategies else { return };
        let count = strategies.len();
        strategies.retain(|strategy| strategy.disabled != Some(true));
        if strategies.is_empty() && count > 0 {
            self.strategies = None;
        }
    }
}

/// One way to be on.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Strategy {
    pub(super) name: String,
    /// Only in documents of the admin API.
    pub(super) title: Option<String>,
    /// Only in documents of the export and admin APIs: clients are never told of it.
    pub(super) disabled: Option<bool>,
    pub(super) parameters: Option<Map<String, Value>>,
    pub(super) constraints: Option<Vec<Option<Constraint>>>,
    #[serde(default, deserialize_with = "ids")]
    pub(super) segments: Option<Vec<u64>>,
    pub(super) variants: Option<Vec<Variant>>,
}

/// A comparison of one context field.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Constraint {
    #[serde(default)]
    pub(super) context_name: Option<String>,
    #[serde(default, deserialize_with = "or_nothing")]
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

/// `null` is what a missing field is.
fn or_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn list_if_present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    or_nothing(deserializer).map(Some)
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let written = Value::deserialize(deserializer)?;
    whole(&written).ok_or_else(|| D::Error::custom(format!("{written} is not a whole number")))
}

fn ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u64>>, D::Error> {
    #[derive(Deserialize)]
    struct Id(#[serde(deserialize_with = "id")] u64);
    let ids = Option::<Vec<Id>>::deserialize(deserializer)?;
    Ok(ids.map(|ids| ids.into_iter().map(|Id(id)| id).collect()))
}

/// A whole number, with or without a point and zeros behind it.
pub(super) fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| match javascript::json_number(value.as_f64()?)? {
        Value::Number(number) => number.as_u64(),
        _ => None,
    })
}

/// One of the values that a toggle can carry.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Variant {
    pub(super) name: String,
    /// Of any size: editors that divide 1,000 evenly have written `333.29999999995`.
    #[serde(deserialize_with = "or_nothing")]
    pub(super) weight: f64,
    pub(super) payload: Option<Value>,
    pub(super) stickiness: Option<String>,
    pub(super) overrides: Option<Vec<Override>>,
}

/// Who gets a variant whatever the weights say.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Override {
    #[serde(default, deserialize_with = "or_nothing")]
    pub(super) context_name: String,
    #[serde(default, deserialize_with = "or_nothing")]
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
    #[serde(deserialize_with = "id")]
    pub(super) id: u64,
    pub(super) name: Option<String>,
    /// Absent in documents of the export API, which only name their segments. A list that is `null` is empty.
    #[serde(default, deserialize_with = "list_if_present")]
    pub(super) constraints: Option<Vec<Option<Constraint>>>,
}
