//! A tree of JSON values in which no object has a key twice.

use std::fmt::{self, Write as _};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::place::Place;

/// Bytes of a path or a key that a message shows.
const SHOWN_LEN_MAX: usize = 200;

/// Says that an object has a key twice.
#[cold]
pub(crate) fn twice(key: &str, place: &Place<'_>) -> String {
    let mut said = String::from("the key ");
    // Writing to a String cannot fail.
    let _ = write!(said, "{:?} is repeated", shown(key));
    if !matches!(place, Place::Root) {
        let _ = write!(said, " in {}", shown(&place.to_string()));
    }
    said
}

/// Its beginning, when it is long.
fn shown(text: &str) -> &str {
    text.get(..text.floor_char_boundary(SHOWN_LEN_MAX)).unwrap_or(text)
}

/// Reads the value that stands at a place.
#[derive(Clone, Copy)]
pub(crate) struct ValueAt<'p>(pub(crate) &'p Place<'p>);

impl ValueAt<'_> {
    /// Reads a whole document.
    pub(super) fn root<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        ValueAt(&Place::Root).deserialize(deserializer)
    }
}

impl<'de> DeserializeSeed<'de> for ValueAt<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueAt<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Value, S::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(ValueAt(&Place::Item(self.0, items.len())))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Value, M::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if fields.contains_key(&name) {
                return Err(M::Error::custom(twice(&name, self.0)));
            }
            let value = map.next_value_seed(ValueAt(&Place::Field(self.0, &name)))?;
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}
