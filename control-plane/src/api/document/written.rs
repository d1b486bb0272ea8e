//! A value of another floor that an answer carries, beside the schema of what is written of it.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::{Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

/// A `T` that is written as `S` says.
pub(in crate::api) struct Written<T, S> {
    value: T,
    schema: PhantomData<S>,
}

impl<T, S> Written<T, S> {
    pub(in crate::api) const fn new(value: T) -> Self {
        Self { value, schema: PhantomData }
    }
}

impl<T: Serialize, S> Serialize for Written<T, S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        self.value.serialize(serializer)
    }
}

impl<T, S: PartialSchema> PartialSchema for Written<T, S> {
    fn schema() -> RefOr<Schema> {
        S::schema()
    }
}

impl<T, S: ToSchema> ToSchema for Written<T, S> {
    fn name() -> Cow<'static, str> {
        S::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        S::schemas(schemas);
    }
}
