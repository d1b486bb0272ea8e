//! The JSON shapes of LaunchDarkly's SDK data, as far as they decide anything. Null counts as absent, as in its SDKs.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FlagJson {
    pub(super) key: Option<String>,
    pub(super) on: Option<bool>,
    pub(super) variations: Option<Vec<Value>>,
    pub(super) off_variation: Option<usize>,
    pub(super) fallthrough: Option<ServedJson>,
    pub(super) targets: Option<Vec<TargetJson>>,
    pub(super) context_targets: Option<Vec<TargetJson>>,
    pub(super) rules: Option<Vec<RuleJson>>,
    pub(super) prerequisites: Option<Vec<PrerequisiteJson>>,
}

/// What is served: a variation, or a share of the askers for each of some.
#[derive(Debug, Deserialize)]
pub(super) struct ServedJson {
    pub(super) variation: Option<usize>,
    pub(super) rollout: Option<RolloutJson>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RolloutJson {
    pub(super) kind: Option<String>,
    pub(super) variations: Option<Vec<ShareJson>>,
}

/// Weights are parts of 100,000.
#[derive(Debug, Deserialize)]
pub(super) struct ShareJson {
    pub(super) variation: usize,
    #[serde(default)]
    pub(super) weight: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TargetJson {
    pub(super) values: Option<Vec<String>>,
    pub(super) variation: usize,
    pub(super) context_kind: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RuleJson {
    pub(super) id: Option<String>,
    pub(super) clauses: Option<Vec<ClauseJson>>,
    pub(super) variation: Option<usize>,
    pub(super) rollout: Option<RolloutJson>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClauseJson {
    pub(super) attribute: Option<String>,
    pub(super) op: String,
    pub(super) values: Option<Vec<Value>>,
    pub(super) negate: Option<bool>,
    pub(super) context_kind: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PrerequisiteJson {
    pub(super) key: String,
    pub(super) variation: usize,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SegmentJson {
    pub(super) key: Option<String>,
    pub(super) included: Option<Vec<String>>,
    pub(super) excluded: Option<Vec<String>>,
    pub(super) included_contexts: Option<Vec<SegmentTargetJson>>,
    pub(super) excluded_contexts: Option<Vec<SegmentTargetJson>>,
    pub(super) rules: Option<Vec<SegmentRuleJson>>,
    pub(super) unbounded: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SegmentTargetJson {
    pub(super) values: Option<Vec<String>>,
    pub(super) context_kind: Option<String>,
}

/// A weight is a part of 100,000.
#[derive(Debug, Deserialize)]
pub(super) struct SegmentRuleJson {
    pub(super) clauses: Option<Vec<ClauseJson>>,
    pub(super) weight: Option<u64>,
}
