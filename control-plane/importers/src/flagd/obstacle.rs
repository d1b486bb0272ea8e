//! Why a flagd flag is refused, each in words that say what to change. Decides nothing.

use flagfuse_shared::limits::{IMPORT_DEPTH_MAX, IMPORT_EXPRESSION_LEN_MAX, RULE_COUNT_MAX};

use crate::budget::TooSpread;

/// What has no equivalent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Obstacle {
    #[error("is not a flag definition: {detail}")]
    Shape { detail: String },
    #[error("has no variants")]
    NoVariants,
    #[error("variants: values of different types, or null")]
    MixedTypes,
    #[error("defaultVariant {variant:?} is none of its variants")]
    UnknownDefault { variant: String },
    #[error("targeting answers {variant:?}, which is none of its variants")]
    UnknownVariant { variant: String },
    #[error("targeting: {op:?} has no equivalent here")]
    Operator { op: String },
    #[error("targeting: {op:?} has arguments of another number or kind than the ones taken over")]
    Arguments { op: String },
    #[error("targeting: {op:?} as an answer may be null or any value")]
    NoAnswer { op: String },
    #[error("targeting: an object with {count} keys is not an expression")]
    NoExpression { count: usize },
    #[error(
        "targeting: fractional buckets by murmur3 over 2^32 and no lane here reproduces that; \
         only a split that gives one variant everything is taken"
    )]
    Fractional,
    #[error(
        "targeting: flagd's implementations split differently when this fractional has no bucketing value"
    )]
    FractionalBy,
    #[error(
        "targeting: the attribute {path:?} is nested or escaped, and only top-level attributes have a name here"
    )]
    Path { path: String },
    #[error("targeting: {op:?} orders texts, which are compared for equality only")]
    TextOrder { op: String },
    #[error(
        "targeting: {op:?} compares with {literal}, which flagd's implementations read as different numbers"
    )]
    NumberText { op: String, literal: String },
    #[error(
        "targeting: {op:?} of {attribute:?} and {literal}: flagd's implementations disagree whether null is 0 or false; \
         give the variable a default, or use === or !=="
    )]
    NullDiffers { op: String, literal: String, attribute: String },
    #[error("targeting: {text:?} is not a version")]
    Version { text: String },
    #[error("targeting: $ref names {evaluator:?}, which is not in $evaluators")]
    UnknownEvaluator { evaluator: String },
    #[error(
        "targeting: the evaluator {evaluator:?} refers to another one, which flagd resolves in no certain order"
    )]
    NestedEvaluator { evaluator: String },
    #[error("targeting is nested deeper than {IMPORT_DEPTH_MAX} expressions")]
    TooDeep,
    #[error("targeting has more than {IMPORT_EXPRESSION_LEN_MAX} values, its evaluators included")]
    TooLarge,
    #[error("targeting: {0}")]
    TooSpread(#[from] TooSpread),
    #[error("targeting needs more than {RULE_COUNT_MAX} rules")]
    TooManyRules,
    #[error("{detail}")]
    Fault { detail: String },
}

impl Obstacle {
    pub(super) fn arguments(op: &str) -> Self {
        Self::Arguments { op: op.to_owned() }
    }
}
