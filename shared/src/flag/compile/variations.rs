//! Variations: each value is of the flag's type, and is rendered once for all answers.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::Value;

use super::{FlagFault, key_fault, out_of_range};
use crate::context::{JsonShape, json_shape};
use crate::definition::{FlagWire, ValueType};
use crate::flag::Variation;
use crate::ids::{FlagKey, VariationKey};
use crate::limits::{JSON_DEPTH_MAX, UNLEASH_VALUE_LEN_MAX, VALUE_LEN_MAX, VARIATION_COUNT_MAX};
use crate::text::write_json_string;

/// All variations, and how many bytes of their openings name the flag.
pub(super) fn compile_variations<T: AsRef<str>, V: VariationValue>(
    flag_key: &FlagKey,
    flag: &FlagWire<T, V>,
) -> Result<(Vec<Variation>, usize), FlagFault> {
    let (wires, value_type) = (flag.variations.as_slice(), flag.value_type);
    let json_len_max = if flag.unleash.is_some() { UNLEASH_VALUE_LEN_MAX } else { VALUE_LEN_MAX };
    if wires.is_empty() || wires.len() > VARIATION_COUNT_MAX {
        let found = format!("{} entries", wires.len());
        return Err(out_of_range("variations", found, format!("1 to {VARIATION_COUNT_MAX} entries")));
    }
    let (mut variations, mut opening_len) = (Vec::<Variation>::with_capacity(wires.len()), 0);
    for wire in wires {
        let key = VariationKey::parse(wire.key.as_ref()).map_err(key_fault("variations.key"))?;
        if variations.iter().any(|earlier| earlier.key == key) {
            return Err(FlagFault::Duplicate { field: "variations", key: key.to_string() });
        }
        let json = wire.value.render(value_type).map_err(|fault| fault.of(&key))?;
        if value_type == ValueType::Object && json.len() > json_len_max {
            return Err(ValueFault::JsonTooLong { len: json.len(), len_max: json_len_max }.of(&key));
        }
        let named = variations.first().and_then(|first| first.opening.get(..opening_len));
        let (opening, json_at) = answer_opening(flag_key, named, &key, &json);
        opening_len = json_at.start - VALUE.len();
        variations.push(Variation { key, opening: opening.into(), json_at });
    }
    Ok((variations, opening_len))
}

const KEY: &str = "{\"key\":";
const VALUE: &str = ",\"value\":";
const VARIANT: &str = ",\"variant\":";

/// `{"key":"…","value":…,"variant":"…"` and where in it the value stands. `named` is the part up to the flag's key, once it
/// has been written.
fn answer_opening(
    flag_key: &FlagKey,
    named: Option<&str>,
    key: &VariationKey,
    json: &str,
) -> (String, Range<usize>) {
    let texts = [KEY, flag_key.as_str(), VALUE, json, VARIANT, key.as_str()];
    // Two texts get their quotation marks.
    let mut text = String::with_capacity(texts.map(str::len).iter().sum::<usize>() + 4);
    if let Some(named) = named {
        text.push_str(named);
    } else {
        text.push_str(KEY);
        write_json_string(&mut text, flag_key.as_str());
    }
    text.push_str(VALUE);
    let from = text.len();
    text.push_str(json);
    let to = text.len();
    text.push_str(VARIANT);
    write_json_string(&mut text, key.as_str());
    (text, from..to)
}

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueFault {
    /// It is not of the type; what it has to be instead, in words.
    Type(&'static str),
    TooDeep,
    TextTooLong {
        len: usize,
    },
    JsonTooLong {
        len: usize,
        len_max: usize,
    },
}

impl ValueFault {
    /// The fault of the variation that has the value. Each limit is named by itself.
    fn of(self, key: &VariationKey) -> FlagFault {
        let variation = key.to_string();
        match self {
            Self::Type(expected) => FlagFault::WrongValue { variation, expected },
            Self::TooDeep => FlagFault::ValueTooDeep { variation },
            Self::TextTooLong { len } => {
                FlagFault::ValueTooLong { variation, what: "a text", len, len_max: VALUE_LEN_MAX }
            }
            Self::JsonTooLong { len, len_max } => {
                FlagFault::ValueTooLong { variation, what: "JSON", len, len_max }
            }
        }
    }
}

/// The value of a variation, parsed from JSON or read from a snapshot.
pub(crate) trait VariationValue {
    /// Its JSON text when it is of the type. How long that may be is for the flag to say.
    fn render(&self, value_type: ValueType) -> Result<Cow<'_, str>, ValueFault>;
}

impl VariationValue for Value {
    fn render(&self, value_type: ValueType) -> Result<Cow<'_, str>, ValueFault> {
        match json_shape(self, JSON_DEPTH_MAX, VALUE_LEN_MAX) {
            JsonShape::Fits => {}
            JsonShape::TooDeep => return Err(ValueFault::TooDeep),
            JsonShape::StringTooLong(len) => return Err(ValueFault::TextTooLong { len }),
        }
        match (value_type, self) {
            (ValueType::Boolean, Self::Bool(truth)) => Ok(if *truth { "true" } else { "false" }.into()),
            (ValueType::Float, Self::Number(n)) => {
                let finite = n.as_f64().filter(|f| f.is_finite());
                finite.map(|f| render_float(f).into()).ok_or(ValueFault::Type("a finite number"))
            }
            (ValueType::String, Self::String(_)) | (ValueType::Object, Self::Object(_) | Self::Array(_)) => {
                Ok(json_text(self))
            }
            (ValueType::Integer, Self::Number(n)) if n.is_i64() || n.is_u64() => Ok(json_text(self)),
            (
                ValueType::Boolean
                | ValueType::String
                | ValueType::Integer
                | ValueType::Float
                | ValueType::Object,
                _,
            ) => Err(wrong_type(value_type)),
        }
    }
}

/// A value that is of another type.
pub(crate) const fn wrong_type(value_type: ValueType) -> ValueFault {
    ValueFault::Type(match value_type {
        ValueType::Boolean => "a boolean, the flag's value_type is boolean",
        ValueType::String => "a string, the flag's value_type is string",
        ValueType::Integer => "a whole number of 64 bits, the flag's value_type is integer",
        ValueType::Float => "a number, the flag's value_type is float",
        ValueType::Object => "an object or an array, the flag's value_type is object",
    })
}

/// A value always has a text; `Display` would write the same a piece at a time.
fn json_text(value: &Value) -> Cow<'static, str> {
    serde_json::to_string(value).unwrap_or_default().into()
}

/// A float always shows a decimal point, so that typed clients do not read it as an integer.
fn render_float(float: f64) -> String {
    let text = Value::from(float).to_string();
    match text.split_once('e') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0e{exponent}"),
        _ => text,
    }
}
