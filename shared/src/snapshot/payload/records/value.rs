//! JSON values as a tag and what belongs to it: no text is parsed, and nesting is bounded while it is read.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

use super::reader::{Reader, RecordFault};
use super::writer::Writer;
use crate::condition::ConditionValue;
use crate::definition::ValueType;
use crate::flag::compile::{ValueFault, VariationValue, wrong_type};
use crate::limits::{ADMIN_BODY_LEN_MAX, JSON_DEPTH_MAX, VALUE_LEN_MAX};
use crate::text::write_json_string;

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
/// A whole number from 0 on.
const WHOLE: u8 = 3;
/// A whole number below 0, as its distance from −1.
const NEGATIVE: u8 = 4;
/// A number that is written with a point or an exponent.
const DOUBLE: u8 = 5;
const TEXT: u8 = 6;
const ARRAY: u8 = 7;
/// Fields in the order of their names.
const OBJECT: u8 = 8;

pub(super) fn write_value(out: &mut Writer, value: &Value) {
    match value {
        Value::Null => out.byte(NULL),
        Value::Bool(false) => out.byte(FALSE),
        Value::Bool(true) => out.byte(TRUE),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => {
            out.byte(TEXT);
            out.text(text);
        }
        Value::Array(items) => {
            out.byte(ARRAY);
            out.list(items, write_value);
        }
        Value::Object(fields) => {
            out.byte(OBJECT);
            // Sorted here too: whether the map is depends on a feature of serde_json.
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            out.list(&sorted, |out, (name, field)| {
                out.text(name);
                write_value(out, field);
            });
        }
    }
}

fn write_number(out: &mut Writer, number: &Number) {
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(whole), _, _) => {
            out.byte(WHOLE);
            out.number(whole);
        }
        (None, Some(negative), _) => {
            out.byte(NEGATIVE);
            out.number(negative.abs_diff(-1));
        }
        (None, None, double) => {
            out.byte(DOUBLE);
            // Without its feature for arbitrary precision serde_json holds nothing else.
            out.double(double.unwrap_or_default());
        }
    }
}

/// Reads a value in some form. A text in it may be as long as a variation's; conditions have a limit of their own, which is
/// asked where they are compiled.
pub(in crate::snapshot::payload) type ReadValue<'b, V> =
    fn(&mut Reader<'b>, &'static str) -> Result<V, RecordFault>;

pub(in crate::snapshot::payload) fn read_value(
    reader: &mut Reader<'_>,
    field: &'static str,
) -> Result<Value, RecordFault> {
    let tag = reader.byte(field)?;
    read_tagged(reader, field, tag, JSON_DEPTH_MAX)
}

fn read_tagged(
    reader: &mut Reader<'_>,
    field: &'static str,
    tag: u8,
    depth_left: usize,
) -> Result<Value, RecordFault> {
    Ok(match tag {
        TEXT => Value::String(text(reader, field)?.to_owned()),
        ARRAY | OBJECT if depth_left == 0 => return Err(RecordFault::Depth { field }),
        // The bytes themselves bound the count: each entry takes one at least.
        ARRAY => Value::Array(reader.list(field, ADMIN_BODY_LEN_MAX, |reader| {
            let tag = reader.byte(field)?;
            read_tagged(reader, field, tag, depth_left - 1)
        })?),
        OBJECT => {
            let mut fields = Map::new();
            read_fields(reader, field, |reader, name| {
                let tag = reader.byte(field)?;
                fields.insert(name.to_owned(), read_tagged(reader, field, tag, depth_left - 1)?);
                Ok(())
            })?;
            Value::Object(fields)
        }
        tag => read_scalar(reader, field, tag)?,
    })
}

fn text<'b>(reader: &mut Reader<'b>, field: &'static str) -> Result<&'b str, RecordFault> {
    reader.text_within(field, VALUE_LEN_MAX)
}

/// What is neither text nor nested.
fn read_scalar(reader: &mut Reader<'_>, field: &'static str, tag: u8) -> Result<Value, RecordFault> {
    Ok(match tag {
        NULL => Value::Null,
        FALSE => Value::Bool(false),
        TRUE => Value::Bool(true),
        WHOLE => Value::from(reader.number(field)?),
        NEGATIVE => Value::from(read_negative(reader, field)?),
        DOUBLE => Value::from(reader.double(field)?),
        tag => return Err(RecordFault::Unknown { field, found: tag.into() }),
    })
}

fn read_negative(reader: &mut Reader<'_>, field: &'static str) -> Result<i64, RecordFault> {
    let found = reader.number(field)?;
    i64::try_from(found).map(|distance| -1 - distance).map_err(|_| RecordFault::Unknown { field, found })
}

/// Calls `each` with the name of every field, in the order of the names, to read what stands behind it.
fn read_fields<'b>(
    reader: &mut Reader<'b>,
    field: &'static str,
    mut each: impl FnMut(&mut Reader<'b>, &'b str) -> Result<(), RecordFault>,
) -> Result<(), RecordFault> {
    let count = reader.len(field, ADMIN_BODY_LEN_MAX)?;
    let mut before = None;
    for _ in 0..count {
        let name = text(reader, field)?;
        if before.is_some_and(|before| before >= name) {
            return Err(RecordFault::Spelling { field });
        }
        before = Some(name);
        each(reader, name)?;
    }
    Ok(())
}

/// Room for the JSON text of a small object, so that it does not grow step by step.
const JSON_LEN_USUAL: usize = 128;

/// A value on its way into a compiled flag, which keeps no value: of a variation its JSON text, of a condition what it
/// compares with.
pub(in crate::snapshot::payload) enum StoredValue<'b> {
    Text(&'b str),
    Array(String),
    Object(String),
    Scalar(Value),
}

pub(in crate::snapshot::payload) fn read_stored<'b>(
    reader: &mut Reader<'b>,
    field: &'static str,
) -> Result<StoredValue<'b>, RecordFault> {
    Ok(match reader.byte(field)? {
        TEXT => StoredValue::Text(text(reader, field)?),
        tag @ (ARRAY | OBJECT) => {
            let mut json = String::with_capacity(JSON_LEN_USUAL);
            write_json(reader, field, tag, &mut json, JSON_DEPTH_MAX)?;
            if tag == ARRAY { StoredValue::Array(json) } else { StoredValue::Object(json) }
        }
        tag => StoredValue::Scalar(read_scalar(reader, field, tag)?),
    })
}

impl VariationValue for StoredValue<'_> {
    fn render(&self, value_type: ValueType) -> Result<Cow<'_, str>, ValueFault> {
        match (self, value_type) {
            (Self::Scalar(value), _) => value.render(value_type),
            (Self::Text(text), ValueType::String) => {
                let mut json = String::with_capacity(text.len() + 2);
                write_json_string(&mut json, text);
                Ok(Cow::Owned(json))
            }
            (Self::Array(json) | Self::Object(json), ValueType::Object) => Ok(Cow::Borrowed(json)),
            (Self::Text(_) | Self::Array(_) | Self::Object(_), _) => Err(wrong_type(value_type)),
        }
    }
}

impl ConditionValue for StoredValue<'_> {
    fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    fn to_value(&self) -> Cow<'_, Value> {
        match self {
            Self::Text(text) => Cow::Owned(Value::from(*text)),
            Self::Array(_) => Cow::Owned(Value::Array(Vec::new())),
            Self::Object(_) => Cow::Owned(Value::Object(Map::new())),
            Self::Scalar(value) => Cow::Borrowed(value),
        }
    }
}

/// Reads a value and appends what `serde_json` would write for it.
fn write_json(
    reader: &mut Reader<'_>,
    field: &'static str,
    tag: u8,
    out: &mut String,
    depth_left: usize,
) -> Result<(), RecordFault> {
    match tag {
        TEXT => write_json_string(out, text(reader, field)?),
        ARRAY | OBJECT if depth_left == 0 => return Err(RecordFault::Depth { field }),
        ARRAY => {
            let count = reader.len(field, ADMIN_BODY_LEN_MAX)?;
            out.push('[');
            for at in 0..count {
                if at > 0 {
                    out.push(',');
                }
                let tag = reader.byte(field)?;
                write_json(reader, field, tag, out, depth_left - 1)?;
            }
            out.push(']');
        }
        OBJECT => {
            out.push('{');
            let from = out.len();
            read_fields(reader, field, |reader, name| {
                if out.len() > from {
                    out.push(',');
                }
                write_json_string(out, name);
                out.push(':');
                let tag = reader.byte(field)?;
                write_json(reader, field, tag, out, depth_left - 1)
            })?;
            out.push('}');
        }
        tag => {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}", read_scalar(reader, field, tag)?);
        }
    }
    Ok(())
}
