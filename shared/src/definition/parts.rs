//! What the flags of one environment share: segments, layers, the holdout. JSON shapes only; `compile` checks them.

use serde::{Deserialize, Serialize};

use super::flag::ConditionWire;

/// A named group of askers. Excluded beats included, included beats rules, one rule that holds is enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentWire {
    /// Name that conditions refer to.
    pub key: String,
    /// For people; never part of a snapshot.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Units that are in it whatever the rules say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included: Vec<String>,
    /// Units that are never in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
    /// Attribute that `included` and `excluded` name; `targetingKey` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// Each holds when all its conditions do. Conditions may name other segments, without a cycle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<SegmentRuleWire>,
}

/// Conditions that all have to hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentRuleWire {
    /// All must hold; an empty list always holds.
    pub conditions: Vec<ConditionWire>,
}

/// A set of buckets that flags share without overlap, so that no unit is in two of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerWire {
    /// Name that flags refer to.
    pub key: String,
    /// For people; never part of a snapshot.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Stable opaque text that is hashed with the unit; the layer's key when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// Attribute that names the unit; `targetingKey` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_by: Option<String>,
}

/// Units that get no feature at all, to measure what all features together do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldoutWire {
    /// 0 ..= 100 in steps of 0.0001.
    pub percentage: f64,
    /// Stable opaque text that is hashed with the unit.
    pub salt: String,
    /// Attribute that names the unit; `targetingKey` when absent. An asker without it is not held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_by: Option<String>,
}

/// Everything that flags share. All of it is optional.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedWire {
    /// Segments, unique by key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentWire>,
    /// Layers, unique by key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerWire>,
    /// The one holdout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdout: Option<HoldoutWire>,
}
