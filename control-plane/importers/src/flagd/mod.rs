//! flagd's flag definitions in our model: exactly as flagd decides, or refused by name. Reads no network and no files.
//!
//! A flag's targeting is `JsonLogic` with flagd's own operators. Its `if` chain becomes rules, its conditions become
//! theirs, a disjunction becomes several rules. `$flagd.timestamp` becomes a rule's schedule. What has no equivalent is
//! refused with the flag: `fractional` buckets by another hash over another range, texts have no order here, nested
//! attributes have no name here.
//!
//! # What exactly means
//!
//! `JsonLogic` compares loosely, and flagd's implementations differ. The measure is `@openfeature/flagd-core` 4, whose
//! answers are in `tests/golden/flagd.json`. For attributes that are missing, null, booleans, numbers and texts, a flag
//! decides here as it does there, with these bounds:
//!
//! - flagd-core fails where a text that reads as no number meets a number or boolean, and where a number is searched
//!   for a text; the caller's default applies. Here such a comparison is false, as in the flagd daemon.
//! - A text reads as a finite number as JavaScript's `Number` reads it. Compared with a boolean it equals it when it is
//!   `1`, respectively `0` or empty, and in no other spelling.
//! - Whole numbers beyond 2^53 are exact here and rounded there.
//! - `sem_ver` takes one `v` in front of a version and no space around it, as the flagd daemon does.
//! - Arrays and objects: exact for `in`, in both directions. Their coercions to texts, numbers and truth (`["DE"] ==
//!   "DE"`, `![]`) are not followed.
//! - The flagd daemon's `and` takes null for true, so that a `starts_with` of a missing attribute holds in it. That is
//!   not followed.
//!
//! Where flagd's implementations give different answers for a *missing* attribute, the flag is refused: `== false`,
//! `== 0`, `== null` and the like hold for a missing attribute in one and not in the other. With `===` it is taken.

mod compare;
mod expression;
mod obstacle;
mod targeting;

use flagfuse_shared::definition::{FlagWire, HoldoutRole, OnStale, ValueType, VariationWire};
use flagfuse_shared::flag::compile;
use flagfuse_shared::limits::FLAG_COUNT_MAX;
use flagfuse_shared::strict;
use serde::Deserialize;
use serde_json::{Map, Value};

use self::expression::Scope;
use self::obstacle::Obstacle;
use crate::budget::ValueBudget;
use crate::{ImportError, Imported, Refused, document};

const FORMAT: &str = "a flagd definition";

/// A flag as flagd writes it. Metadata decides nothing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Definition {
    state: State,
    variants: Map<String, Value>,
    #[serde(default)]
    default_variant: Option<String>,
    #[serde(default)]
    targeting: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum State {
    Enabled,
    Disabled,
}

/// Takes over the flags of a flagd definition (`flagd.json`, flag definition schema v0).
///
/// Flags come ordered by key. Each passes [`compile`]; each that would not is refused with the fault.
pub fn import(bytes: &[u8]) -> Result<Imported, ImportError> {
    let mut document = document::parse(bytes, FORMAT)?;
    if !document.contains_key("flags") {
        return Err(ImportError::Shape { format: FORMAT, detail: "\"flags\" is missing".to_owned() });
    }
    let flags = document::take_object(&mut document, "flags", FORMAT)?;
    document::check_count("flags", flags.len(), FLAG_COUNT_MAX)?;
    let evaluators = document::take_object(&mut document, "$evaluators", FORMAT)?;
    let mut imported = Imported::default();
    let mut budget = ValueBudget::new();
    for (key, definition) in flags {
        budget.begin_entry();
        match import_flag(&key, definition, &evaluators, &mut budget) {
            Ok(flag) => imported.flags.push(flag),
            Err(obstacle) => {
                imported.refused.push(Refused { name: format!("flag {key}"), reason: obstacle.to_string() });
            }
        }
    }
    Ok(imported)
}

fn import_flag(
    key: &str,
    definition: Value,
    evaluators: &Map<String, Value>,
    budget: &mut ValueBudget,
) -> Result<FlagWire, Obstacle> {
    if !definition.is_object() {
        return Err(Obstacle::Shape { detail: "it must be a JSON object".to_owned() });
    }
    let definition: Definition =
        strict::from_value(&definition).map_err(|misfit| Obstacle::Shape { detail: misfit.of("it") })?;
    let scope = Scope::new(key, evaluators);
    let default = definition.default_variant.as_deref().filter(|name| !name.is_empty());
    let targeting = targeting_of(&definition)?;
    let decision = targeting::decide(targeting, scope, default, &definition.variants, budget)?;
    let flag = FlagWire {
        key: key.to_owned(),
        description: String::new(),
        value_type: value_type(&definition.variants)?,
        variations: definition
            .variants
            .into_iter()
            .map(|(key, value)| VariationWire { key, value })
            .collect(),
        enabled: definition.state == State::Enabled,
        // flagd answers for a disabled flag with the caller's default.
        off_variation: None,
        default_variation: decision.default_variation,
        schedule: None,
        prerequisites: Vec::new(),
        targets: Vec::new(),
        holdout: HoldoutRole::Member,
        layer: None,
        rules: decision.rules,
        salt: None,
        bucket_by: None,
        on_stale: OnStale::Keep,
        cohort: None,
        unleash: None,
    };
    compile(&flag).map_err(|fault| Obstacle::Fault { detail: fault.to_string() })?;
    Ok(flag)
}

/// flagd takes an empty object for no targeting.
fn targeting_of(definition: &Definition) -> Result<Option<&Value>, Obstacle> {
    match &definition.targeting {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(logic)) if logic.is_empty() => Ok(None),
        Some(logic @ Value::Object(_)) => Ok(Some(logic)),
        // No expression by the schema, but flagd answers with the variant.
        Some(name @ Value::String(_)) => Ok(Some(name)),
        Some(_) => Err(Obstacle::Shape { detail: "targeting must be an object".to_owned() }),
    }
}

/// The one type of all variants. Whole and broken numbers together are floats.
fn value_type(variants: &Map<String, Value>) -> Result<ValueType, Obstacle> {
    let mut types = variants.values().map(|value| match value {
        Value::Bool(_) => Some(ValueType::Boolean),
        Value::String(_) => Some(ValueType::String),
        Value::Number(number) if number.is_f64() => Some(ValueType::Float),
        Value::Number(_) => Some(ValueType::Integer),
        Value::Array(_) | Value::Object(_) => Some(ValueType::Object),
        Value::Null => None,
    });
    let first = types.next().ok_or(Obstacle::NoVariants)?;
    let common = types.try_fold(first, |common, next| match (common, next) {
        (Some(one), Some(other)) if one == other => Some(Some(one)),
        (Some(ValueType::Integer | ValueType::Float), Some(ValueType::Integer | ValueType::Float)) => {
            Some(Some(ValueType::Float))
        }
        _ => None,
    });
    common.flatten().ok_or(Obstacle::MixedTypes)
}

#[cfg(test)]
mod tests;
