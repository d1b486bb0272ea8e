//! Why a LaunchDarkly flag or segment is refused, each in words that say what to change. Decides nothing.

use flagfuse_shared::limits::{CONDITION_VALUE_COUNT_MAX, RULE_COUNT_MAX, SEGMENT_RULE_COUNT_MAX};

use crate::budget::TooSpread;

/// What has no equivalent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Obstacle {
    #[error("{detail}")]
    Shape { detail: String },
    #[error("has the key {key:?} in the document and calls itself {name:?}")]
    Key { key: String, name: String },
    #[error("has flagValues of the same key")]
    Twice,
    #[error("variations: values of different types, or null")]
    MixedTypes,
    #[error("{place} serves variation {index}, of which there are {count}")]
    NoVariation { place: String, index: usize, count: usize },
    #[error("{place} serves neither a variation nor a rollout")]
    ServesNothing { place: String },
    #[error(
        "{place} is a percentage rollout: LaunchDarkly buckets by SHA-1 over 100,000 and no lane here reproduces that; \
         only a rollout that gives one variation everything is taken"
    )]
    Rollout { place: String },
    #[error("{place} is an experiment, whose traffic has its own buckets and events")]
    Experiment { place: String },
    #[error("{place} is about contexts of the kind {kind:?}, and there is one kind of asker here")]
    ContextKind { place: String, kind: String },
    #[error("{place}: the attribute {attribute:?} is nested, and only top-level attributes have a name here")]
    Nested { place: String, attribute: String },
    #[error("{place}: {attribute:?} is not an attribute reference that all SDKs read alike")]
    NoReference { place: String, attribute: String },
    #[error("{place}: the attribute {attribute:?} has a meaning of its own here")]
    Reserved { place: String, attribute: String },
    #[error("{place}: LaunchDarkly's SDKs disagree whether an asker without `anonymous` has it as false")]
    Anonymous { place: String },
    #[error("{place}: null in the list equals a null in an array there and nothing here")]
    Null { place: String },
    #[error("{place}: the operator {op:?} has no equivalent here")]
    Operator { place: String, op: String },
    #[error("{place}: {text:?} is not a version")]
    Version { place: String, text: String },
    #[error(
        "{place}: the pattern {pattern:?} has {part}, which regular expressions read differently elsewhere"
    )]
    Pattern { place: String, pattern: String, part: &'static str },
    #[error("{place} has more than {CONDITION_VALUE_COUNT_MAX} values")]
    TooManyValues { place: String },
    #[error("{place}: {source}")]
    TooSpread { place: String, source: TooSpread },
    #[error("rules: more than {RULE_COUNT_MAX}, with those that their alternatives need")]
    TooManyRules,
    #[error("rules: more than {SEGMENT_RULE_COUNT_MAX}, with those that their alternatives need")]
    TooManySegmentRules,
    #[error(
        "prerequisites: variation {index} of {flag:?} is also what that flag serves when off, and then LaunchDarkly never \
         takes it as met"
    )]
    OffPrerequisite { flag: String, index: usize },
    #[error("prerequisites: the document has no variation {index} of a flag {flag:?}")]
    NoPrerequisite { flag: String, index: usize },
    #[error("is unbounded: its members are not in the document")]
    Unbounded,
}
