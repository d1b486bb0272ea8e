//! A JSON value → a shape. Structs are objects only, and what does not fit is told with its place.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer as _, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value, map};

use super::misfit::{Misfit, one_of};
use super::place::Place;

/// A value and where it stands.
///
/// What serde keeps in a buffer first (enums with a tag inside, flattened structs) escapes it below that point: see that
/// such types have no place in a body.
#[derive(Clone, Copy)]
pub(super) struct Placed<'v> {
    pub(super) value: &'v Value,
    pub(super) place: &'v Place<'v>,
}

fn found(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(truth) => Unexpected::Bool(*truth),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Unexpected::Unsigned(number),
            (None, Some(number)) => Unexpected::Signed(number),
            (None, None) => Unexpected::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    }
}

impl<'de> Deserializer<'de> for Placed<'_> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match (self.value, found(self.value)) {
            (_, Unexpected::Bool(truth)) => visitor.visit_bool(truth),
            (_, Unexpected::Unsigned(number)) => visitor.visit_u64(number),
            (_, Unexpected::Signed(number)) => visitor.visit_i64(number),
            (_, Unexpected::Float(number)) => visitor.visit_f64(number),
            (_, Unexpected::Str(text)) => visitor.visit_str(text),
            (Value::Array(list), _) => {
                let mut items = Items { rest: list.iter(), at: 0, place: self.place };
                let read = visitor.visit_seq(&mut items)?;
                let is_read = items.rest.len() == 0;
                is_read.then_some(read).ok_or_else(|| Misfit::invalid_length(list.len(), &"a shorter array"))
            }
            (Value::Object(fields), _) => visitor.visit_map(Entries::of(fields, self.place)),
            _ => visitor.visit_unit(),
        }
    }

    /// A derived struct would take an array of its fields as well.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Object(fields) => visitor.visit_map(Entries::of(fields, self.place)),
            other => Err(Misfit::wrong("an object", &found(other))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let only = |fields: &'_ Map<String, Value>| fields.len() == 1;
        match self.value {
            Value::String(name) => visitor.visit_enum(Choice { name, content: None, place: self.place }),
            Value::Object(fields) if only(fields) => match fields.iter().next() {
                Some((name, content)) => {
                    visitor.visit_enum(Choice { name, content: Some(content), place: self.place })
                }
                None => Err(Misfit::wrong(&one_of(variants), &Unexpected::Map)),
            },
            other => Err(Misfit::wrong(&one_of(variants), &found(other))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

/// The items of an array.
struct Items<'v> {
    rest: std::slice::Iter<'v, Value>,
    at: usize,
    place: &'v Place<'v>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Misfit;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Misfit> {
        let Some(value) = self.rest.next() else { return Ok(None) };
        let place = Place::Item(self.place, self.at);
        self.at += 1;
        seed.deserialize(Placed { value, place: &place }).map(Some).map_err(|misfit| misfit.at(&place))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// The fields of an object.
struct Entries<'v> {
    fields: map::Iter<'v>,
    next: Option<(&'v str, &'v Value)>,
    place: &'v Place<'v>,
}

impl<'v> Entries<'v> {
    fn of(fields: &'v Map<String, Value>, place: &'v Place<'v>) -> Self {
        Self { fields: fields.iter(), next: None, place }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Misfit;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Misfit> {
        let Some((name, value)) = self.fields.next() else { return Ok(None) };
        self.next = Some((name, value));
        // A key that is wrong is the object's matter, so no place is named here.
        let name: StrDeserializer<'_, Misfit> = name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Misfit> {
        let (name, value) = self.next.take().ok_or_else(|| Misfit::custom("a value without a key"))?;
        let place = Place::Field(self.place, name);
        seed.deserialize(Placed { value, place: &place }).map_err(|misfit| misfit.at(&place))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.fields.len())
    }
}

/// A variant of an enum: its name alone, or as the one key of an object.
struct Choice<'v> {
    name: &'v str,
    content: Option<&'v Value>,
    place: &'v Place<'v>,
}

impl<'de, 'v> EnumAccess<'de> for Choice<'v> {
    type Error = Misfit;
    type Variant = Content<'v>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Content<'v>), Misfit> {
        let name: StrDeserializer<'_, Misfit> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Content(self)))
    }
}

struct Content<'v>(Choice<'v>);

impl Content<'_> {
    /// Hands the content on, which has to be there.
    fn read<T>(self, wanted: &str, read: impl FnOnce(Placed<'_>) -> Result<T, Misfit>) -> Result<T, Misfit> {
        let Choice { name, content, place } = self.0;
        let place = Place::Field(place, name);
        let read = content.map_or_else(
            || Err(Misfit::wrong(wanted, &Unexpected::Str(name))),
            |value| read(Placed { value, place: &place }),
        );
        read.map_err(|misfit| misfit.at(&place))
    }
}

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = Misfit;

    fn unit_variant(self) -> Result<(), Misfit> {
        match self.0.content {
            None | Some(Value::Null) => Ok(()),
            Some(content) => {
                let misfit = Misfit::wrong("null", &found(content));
                Err(misfit.at(&Place::Field(self.0.place, self.0.name)))
            }
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Misfit> {
        self.read("an object with a value", |placed| seed.deserialize(placed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Misfit> {
        self.read("an object with an array", |placed| placed.deserialize_seq(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.read("an object with an object", |placed| placed.deserialize_struct("", fields, visitor))
    }
}
