//! What a variation is to Unleash: off, on, or on with a variant. Never looks at rules.

use serde_json::{Map, Value, json};

use crate::definition::{FlagWire, ValueType, VariationWire, WeightedVariationWire};

/// A variation in Unleash's words.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Served {
    /// Not enabled.
    Off,
    /// Enabled without a variant.
    On,
    /// Enabled with a variant: its name and payload.
    Variant(Map<String, Value>),
}

impl Served {
    /// The variant's name as children name it; a toggle that is on without one has the name `disabled`.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Off | Self::On => "disabled",
            Self::Variant(variant) => variant.get("name").and_then(Value::as_str).unwrap_or_default(),
        }
    }
}

/// Booleans are on and off, Unleash's own objects what they say, and every other value is a payload.
pub(super) fn served(flag: &FlagWire, variation: &VariationWire) -> Served {
    let own = if flag.unleash.is_some() { unleashs_own(&variation.value) } else { None };
    let payload = |kind: &str, value: String| {
        let payload = json!({ "type": kind, "value": value });
        variant(&variation.key, Some(&payload))
    };
    match (own, &variation.value) {
        (Some(own), _) => own,
        (None, Value::Bool(false)) if flag.value_type == ValueType::Boolean => Served::Off,
        (None, Value::Bool(true)) if flag.value_type == ValueType::Boolean => Served::On,
        (None, Value::String(text)) => payload("string", text.clone()),
        (None, Value::Number(number)) => payload("number", number.to_string()),
        (None, value) => payload("json", value.to_string()),
    }
}

fn unleashs_own(value: &Value) -> Option<Served> {
    let name = value.get("name")?.as_str()?;
    match (value.get("enabled")?.as_bool()?, value.get("feature_enabled")?.as_bool()?) {
        (true, true) => Some(variant(name, value.get("payload"))),
        (false, true) => Some(Served::On),
        (false, false) => Some(Served::Off),
        (true, false) => None,
    }
}

fn variant(name: &str, payload: Option<&Value>) -> Served {
    let mut variant = Map::new();
    variant.insert("name".to_owned(), Value::String(name.to_owned()));
    if let Some(payload) = payload {
        variant.insert("payload".to_owned(), payload.clone());
    }
    Served::Variant(variant)
}

/// The variation of a name.
pub(super) fn served_by_name(flag: &FlagWire, name: &str) -> Result<Served, String> {
    let variation = flag.variations.iter().find(|variation| variation.key == name);
    variation.map(|variation| served(flag, variation)).ok_or_else(|| format!("no variation {name:?}"))
}

/// A variant with its weight, as a list of variants has it.
pub(super) fn weighted(variant: &Map<String, Value>, weight: u32, stickiness: Option<&str>) -> Value {
    let mut entry = variant.clone();
    entry.insert("weight".to_owned(), Value::from(weight));
    entry.extend(stickiness.map(|name| ("stickiness".to_owned(), Value::String(name.to_owned()))));
    Value::Object(entry)
}

/// Every variant of the flag in its order, with its weight in a split, 0 where it has none. As a toggle's own list it
/// keeps variants that no strategy names, since those without weight are never chosen.
///
/// A split that has another order or names a variant twice follows the whole list, which then has no weights.
pub(super) fn complete(
    flag: &FlagWire,
    split: &[WeightedVariationWire],
    stickiness: Option<&str>,
) -> Result<Vec<Value>, String> {
    let list = |split: &[WeightedVariationWire]| {
        let mut rest = split.iter().peekable();
        let mut list = Vec::new();
        for variation in &flag.variations {
            let Served::Variant(variant) = served(flag, variation) else { continue };
            let entry = rest.next_if(|entry| entry.variation == variation.key);
            list.push(weighted(&variant, entry.map_or(0, |entry| entry.weight), stickiness));
        }
        (list, rest.peek().is_none())
    };
    let (mut merged, is_whole) = list(split);
    if !is_whole {
        (merged, _) = list(&[]);
        merged.extend(variants(flag, split, stickiness)?);
    }
    Ok(merged)
}

/// The variants of a split in its order.
pub(super) fn variants(
    flag: &FlagWire,
    split: &[WeightedVariationWire],
    stickiness: Option<&str>,
) -> Result<Vec<Value>, String> {
    let entry = |entry: &WeightedVariationWire| match served_by_name(flag, &entry.variation)? {
        Served::Variant(variant) => Ok(weighted(&variant, entry.weight, stickiness)),
        Served::Off | Served::On => Err(format!("{:?} is not a variant", entry.variation)),
    };
    split.iter().map(entry).collect()
}
