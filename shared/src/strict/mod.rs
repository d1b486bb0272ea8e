//! JSON from outside, read without guessing: no key twice in an object, and no array in the place of an object.
//!
//! `serde_json` lets the last of two equal keys win, and a derived struct takes a list of its fields in their order. Two
//! readers of one body could then disagree about what it says. Everything that reads a body goes through here; a test of
//! the architecture sees to that.

mod misfit;
mod objects;
mod place;
mod shape;
mod value;

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

pub use self::misfit::{Misfit, unknown};
use self::objects::Objects;
pub(crate) use self::place::Place;
pub use self::place::escaped;
use self::shape::Placed;
pub(crate) use self::value::{ValueAt, twice};

/// Why bytes are not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No JSON, or nested deeper than the parser's 128 levels.
    #[error("not JSON: {detail}")]
    NotJson {
        /// What the parser said, with line and column.
        detail: String,
    },
    /// JSON with a key that one object has twice.
    #[error("{detail}")]
    DuplicateKey {
        /// Which key, in which object.
        detail: String,
    },
    /// JSON of another shape than was asked for.
    #[error(transparent)]
    Shape(#[from] Misfit),
}

impl Fault {
    /// The whole sentence; `subject` is what the document is called: `the body`, `the event`.
    pub fn of(&self, subject: &str) -> String {
        match self {
            Self::NotJson { detail } => format!("{subject} is not JSON: {detail}"),
            Self::DuplicateKey { detail } => format!("{subject} is ambiguous: {detail}"),
            Self::Shape(misfit) => misfit.of(subject),
        }
    }
}

/// Any JSON document.
pub fn parse(bytes: &[u8]) -> Result<Value, Fault> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = ValueAt::root(&mut json).and_then(|value| json.end().map(|()| value));
    read.map_err(|error| match error.classify() {
        // A tree of values takes anything: what is left to complain about are keys.
        Category::Data => Fault::DuplicateKey { detail: error.to_string() },
        Category::Io | Category::Syntax | Category::Eof => Fault::NotJson { detail: not_json(bytes, &error) },
    })
}

/// What keeps bytes from being JSON, for people who do not know the parser.
#[cold]
pub(crate) fn not_json(bytes: &[u8], error: &serde_json::Error) -> String {
    if bytes.trim_ascii().is_empty() {
        return "it is empty".to_owned();
    }
    let (line, column) = (error.line(), error.column());
    if error.is_eof() {
        return format!("it ends too early, at line {line} column {column}");
    }
    error.to_string().replace("expected value at", "expected a value at")
}

/// A document of a shape.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    Ok(from_value(&parse(bytes)?)?)
}

/// The same for a document whose keys are judged elsewhere: a batch of events, each of which is judged alone. Its faults are
/// in the parser's words.
pub(crate) fn shaped<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    T::deserialize(Objects::of(&mut json)).and_then(|shaped| json.end().map(|()| shaped))
}

/// A document that is read as it comes, without a tree of its values: for types that keep little of much. They refuse keys that
/// are repeated where they know them, and pass over those they do not know.
pub fn streamed<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, Fault> {
    shaped(bytes).map_err(|error| match error.classify() {
        Category::Data => Fault::Shape(Misfit::custom(error)),
        Category::Io | Category::Syntax | Category::Eof => Fault::NotJson { detail: not_json(bytes, &error) },
    })
}

/// A document whose type refuses repeated keys and arrays for objects by itself; nothing for any other, whatever is wrong.
pub(crate) fn judged<'b, T: Deserialize<'b>>(text: &'b str) -> Option<T> {
    let mut json = serde_json::Deserializer::from_str(text);
    let read = T::deserialize(&mut json).ok()?;
    json.end().ok().map(|()| read)
}

/// A shape from a value that was read by [`parse`].
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, Misfit> {
    T::deserialize(Placed { value, place: &Place::Root }).map_err(|misfit| misfit.at(&Place::Root))
}

/// The fields of an object, each of them unread and there once.
pub(crate) fn fields(bytes: &[u8]) -> Result<Vec<(String, &RawValue)>, Fault> {
    let unread = |error: serde_json::Error| match error.classify() {
        Category::Data if bytes.trim_ascii_start().starts_with(b"{") => {
            Fault::DuplicateKey { detail: error.to_string() }
        }
        Category::Data => Fault::Shape(Misfit::another(bytes, "an object")),
        Category::Io | Category::Syntax | Category::Eof => Fault::NotJson { detail: not_json(bytes, &error) },
    };
    serde_json::from_slice(bytes).map(|Fields(fields)| fields).map_err(unread)
}

/// The items of an array that is JSON, each of them unread.
pub(crate) fn items(array: &RawValue) -> Result<Vec<&RawValue>, Misfit> {
    let text = array.get();
    list(text).ok_or_else(|| Misfit::another(text.as_bytes(), "an array"))
}

/// The items of an array, each of them unread; `None` for any other text.
pub fn list(text: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(text).ok()
}

/// What [`fields`] reads.
struct Fields<'b>(Vec<(String, &'b RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields<'de>, M::Error> {
                // Sorting the names, or a set of them, would be more code than a map of values, which is here anyway.
                let (mut fields, mut seen) = (Vec::new(), Map::new());
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if seen.insert(name.clone(), Value::Null).is_some() {
                        return Err(M::Error::custom(twice(&name, &Place::Root)));
                    }
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

#[cfg(test)]
mod tests;
