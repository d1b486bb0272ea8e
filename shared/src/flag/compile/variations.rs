//! Variations: each value is of the flag's type, and is rendered once for all answers.

use std::ops::Range;

use serde_json::Value;

use super::{FlagFault, key_fault, opening, out_of_range};
use crate::context::{JsonShape, json_shape};
use crate::flag::Variation;
use crate::flag::wire::{ValueType, VariationWire};
use crate::ids::{FlagKey, VariationKey};
use crate::limits::{JSON_DEPTH_MAX, VARIATION_COUNT_MAX};
use crate::ofrep::write_json_string;

pub(super) fn compile_variations(
    flag: &FlagKey,
    value_type: ValueType,
    wires: &[VariationWire],
) -> Result<Vec<Variation>, FlagFault> {
    if wires.is_empty() || wires.len() > VARIATION_COUNT_MAX {
        let found = format!("{} entries", wires.len());
        return Err(out_of_range("variations", found, format!("1 to {VARIATION_COUNT_MAX} entries")));
    }
    let mut variations: Vec<Variation> = Vec::with_capacity(wires.len());
    for wire in wires {
        let key = VariationKey::parse(&wire.key).map_err(key_fault("variations.key"))?;
        if variations.iter().any(|earlier| earlier.key == key) {
            return Err(FlagFault::Duplicate { field: "variations", key: wire.key.clone() });
        }
        let json = render_value(value_type, &wire.value)
            .map_err(|expected| FlagFault::WrongValue { variation: wire.key.clone(), expected })?;
        let (opening, json_at) = answer_opening(flag, &key, &json);
        variations.push(Variation { key, opening: opening.into(), json_at });
    }
    Ok(variations)
}

/// `{"key":"…","value":…,"variant":"…"` and where in it the value stands.
fn answer_opening(flag: &FlagKey, key: &VariationKey, json: &str) -> (String, Range<usize>) {
    let mut text = opening(flag);
    text.push_str(",\"value\":");
    let from = text.len();
    text.push_str(json);
    let to = text.len();
    text.push_str(",\"variant\":");
    write_json_string(&mut text, key.as_str());
    (text, from..to)
}

/// JSON text of a value of the type, or the type in words when it is not.
pub(super) fn render_value(value_type: ValueType, value: &Value) -> Result<String, &'static str> {
    if json_shape(value, JSON_DEPTH_MAX) != JsonShape::Fits {
        return Err("nested at most 16 levels with texts of at most 4096 bytes");
    }
    match (value_type, value) {
        (ValueType::Boolean, Value::Bool(_)) | (ValueType::String, Value::String(_)) => Ok(value.to_string()),
        (ValueType::Integer, Value::Number(n)) if n.is_i64() || n.is_u64() => Ok(value.to_string()),
        (ValueType::Float, Value::Number(n)) => {
            n.as_f64().filter(|f| f.is_finite()).map(render_float).ok_or("a finite number")
        }
        (ValueType::Object, Value::Object(fields)) if !fields.is_empty() => Ok(value.to_string()),
        (ValueType::Object, Value::Array(_)) => Ok(value.to_string()),
        (ValueType::Boolean, _) => Err("a boolean, the flag's value_type is boolean"),
        (ValueType::String, _) => Err("a string, the flag's value_type is string"),
        (ValueType::Integer, _) => Err("a whole number of 64 bits, the flag's value_type is integer"),
        (ValueType::Float, _) => Err("a number, the flag's value_type is float"),
        (ValueType::Object, _) => Err("a non-empty object or an array, the flag's value_type is object"),
    }
}

/// A float always shows a decimal point, so that typed clients do not read it as an integer.
fn render_float(float: f64) -> String {
    let text = Value::from(float).to_string();
    match text.split_once('e') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0e{exponent}"),
        _ => text,
    }
}
