//! The names of the fields that a shape takes, as its derived reader knows them. Pure: reads nothing.

use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

/// The names in the order of their declaration; none of what is no struct.
pub(super) fn field_names<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // FieldNames what it wants to read, it gets nothing: the failure is what was bargained for.
    let _ = T::deserialize(FieldNames(&mut names));
    names
}

struct FieldNames<'n>(&'n mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("there is nothing to read"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use flagfuse_shared::definition::FlagWire;

    use super::*;

    #[test]
    fn a_struct_tells_its_fields_and_anything_else_has_none() {
        let names = field_names::<FlagWire>();
        assert_eq!(names.first(), Some(&"key"));
        assert!(names.contains(&"unleash") && names.contains(&"enabled"), "{names:?}");
        assert_eq!(field_names::<String>(), [""; 0]);
    }
}
