//! The frame of an imported document: its size, its JSON object, how much its flags may spread. Knows no format's meaning.

use serde_json::{Map, Value};

use super::ImportError;
use crate::flag::FlagWire;
use crate::flag::wire::ConditionWire;
use crate::limits::{IMPORT_LEN_MAX, IMPORT_VALUE_COUNT_MAX};

/// The document's top-level object, if its bytes are within the limit.
pub(crate) fn parse(bytes: &[u8], format: &'static str) -> Result<Map<String, Value>, ImportError> {
    if bytes.len() > IMPORT_LEN_MAX {
        return Err(ImportError::TooLong { len: bytes.len(), len_max: IMPORT_LEN_MAX });
    }
    // The parser itself stops at 128 levels.
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(document)) => Ok(document),
        Ok(_) => Err(ImportError::Shape { format, detail: "the document must be a JSON object".to_owned() }),
        Err(fault) => Err(ImportError::Shape { format, detail: fault.to_string() }),
    }
}

/// Takes an object out of `document`; absent and null are empty.
pub(crate) fn take_object(
    document: &mut Map<String, Value>,
    name: &str,
    format: &'static str,
) -> Result<Map<String, Value>, ImportError> {
    match document.remove(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(object)) => Ok(object),
        Some(_) => Err(ImportError::Shape { format, detail: format!("{name:?} must be an object") }),
    }
}

/// Refuses more than `count_max` entries.
pub(crate) const fn check_count(
    what: &'static str,
    count: usize,
    count_max: usize,
) -> Result<(), ImportError> {
    if count > count_max {
        return Err(ImportError::TooMany { what, count, count_max });
    }
    Ok(())
}

/// What the conditions of all flags and segments may list together.
#[derive(Debug)]
pub(crate) struct ValueBudget {
    left: usize,
}

impl ValueBudget {
    pub(crate) const fn new() -> Self {
        Self { left: IMPORT_VALUE_COUNT_MAX }
    }

    /// Whether a flag's values still fit; if so, they are spent.
    pub(crate) fn spend(&mut self, flag: &FlagWire) -> bool {
        self.spend_on(flag.rules.iter().flat_map(|rule| &rule.conditions))
    }

    /// Whether the values of some conditions still fit; if so, they are spent.
    pub(crate) fn spend_on<'c>(&mut self, conditions: impl Iterator<Item = &'c ConditionWire>) -> bool {
        let count: usize = conditions.map(|condition| condition.values.len()).sum();
        let fits = count <= self.left;
        if fits {
            self.left -= count;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn length_is_bounded_on_each_side() {
        let padded = |len: usize| {
            let mut bytes = b"{}".to_vec();
            bytes.resize(len, b' ');
            parse(&bytes, "test")
        };
        assert!(padded(IMPORT_LEN_MAX).is_ok());
        assert!(matches!(padded(IMPORT_LEN_MAX + 1), Err(ImportError::TooLong { .. })));
    }

    #[test]
    fn anything_but_an_object_is_another_shape() {
        for bytes in [&b""[..], b"[]", b"1", b"{", b"\xff"] {
            assert!(matches!(parse(bytes, "test"), Err(ImportError::Shape { .. })), "{bytes:?}");
        }
        let mut document = parse(br#"{"a": null, "b": {"c": 1}, "d": []}"#, "test").unwrap();
        assert_eq!(take_object(&mut document, "a", "test"), Ok(Map::new()));
        assert_eq!(take_object(&mut document, "b", "test").map(Value::Object), Ok(json!({ "c": 1 })));
        assert!(take_object(&mut document, "d", "test").is_err());
    }

    #[test]
    fn values_are_bounded_on_each_side() {
        let flag: FlagWire = serde_json::from_value(json!({
            "key": "f", "value_type": "boolean", "default_variation": "on",
            "variations": [{ "key": "on", "value": true }],
            "rules": [{ "key": "r", "split": [{ "variation": "on" }],
                        "conditions": [{ "attribute": "a", "op": "in", "values": [1, 2, 3] }] }],
        }))
        .unwrap();
        let mut budget = ValueBudget { left: 7 };
        assert!(budget.spend(&flag) && budget.spend(&flag) && !budget.spend(&flag));
    }
}
