//! Bodies as `GET` shows them, on their way back through `PUT`: what is to be written, and what only the server says.
//! Reads no row.
//!
//! `revision` is taken at its word: it says which state the body was read from. When another one stands, somebody has
//! written since, and what they wrote would be lost, so the body is refused like a stale `If-Match` (412, with the state
//! that stands). A header says more: with `If-Match` or `If-None-Match` the revision in the body is not looked at. A body
//! that comes back as it was changes nothing, makes no version, and is never stale. What else the server adds is ignored
//! by name, and a name that it does not add is refused.

use std::marker::PhantomData;

use axum::extract::{FromRequest, Request};
use serde_json::{Map, Value};
use utoipa::openapi::schema::{AdditionalProperties, AnyOfBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{RefOr, Required};
use utoipa::{PartialSchema as _, ToSchema};

use super::body::{JsonBody, describe_json};
use super::document::{Draft, Takes};
use crate::error::{ApiError, Code};

/// How `GET` shows something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// The field with what can be written; `None` when it stands between what cannot.
    pub(super) content: Option<&'static str>,
    /// What the server adds, beside `revision`.
    pub(super) added: &'static [&'static str],
    /// The code of a refusal.
    pub(super) code: Code,
}

/// A flag, of an environment or a project.
pub(super) const FLAG: Shape = Shape {
    content: Some("flag"),
    added: &["updated_ms", "inherited", "override", "unleash_sdk", "sentence", "details"],
    code: Code::InvalidFlag,
};
/// What an environment changes of a flag.
pub(super) const OVERRIDE: Shape = Shape { content: Some("override"), added: &[], code: Code::InvalidFlag };
/// A fuse: its policy can be written, its state is moved by its switches.
pub(super) const FUSE: Shape = Shape {
    content: Some("policy"),
    added: &[
        "flag",
        "circuit",
        "opened_by_hand",
        "rollout",
        "phase",
        "phase_started_ms",
        "slices",
        "attempt",
        "tripped_phase",
        "changed_ms",
        "acted_ms",
        "ema",
        "traffic",
    ],
    code: Code::InvalidPolicy,
};
/// What a roll-out has to keep to.
pub(super) const CONTRACT: Shape = Shape {
    content: Some("contract"),
    added: &["flag", "updated_ms", "updated_by"],
    code: Code::InvalidContract,
};
/// What was measured before it.
pub(super) const BASELINE: Shape = Shape {
    content: Some("baseline"),
    added: &["flag", "updated_ms", "updated_by"],
    code: Code::InvalidBaseline,
};
/// Settings of an environment.
pub(super) const SETTINGS: Shape =
    Shape { content: None, added: &["key", "version", "created_ms"], code: Code::BadSchema };

/// A segment, a layer or the holdout, under its own name.
pub(super) const fn part(content: &'static str, code: Code) -> Shape {
    Shape { content: Some(content), added: &["updated_ms"], code }
}

/// What is shown by `GET` and written by `PUT`.
pub(super) trait Shown: Send {
    /// How it is shown.
    const SHAPE: Shape;
    /// What can be written of it.
    type Content: ToSchema;
}

/// A body of what is shown.
pub(super) struct EchoBody<K> {
    pub(super) echo: Echo,
    of: PhantomData<K>,
}

impl<S: Send + Sync, K: Shown> FromRequest<S> for EchoBody<K> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let JsonBody(body) = JsonBody::<Value>::from_request(request, state).await?;
        Ok(Self { echo: Echo::read(K::SHAPE, body)?, of: PhantomData })
    }
}

impl<K: Shown> Takes for EchoBody<K> {
    /// What can be written alone, or what `GET` shows around it. What only the server says may be anything here: it is
    /// ignored, or compared with what is there.
    fn describe(draft: &mut Draft) {
        let content = draft.schema::<K::Content>();
        let revision = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
        let revision =
            revision.description(Some("The revision that was read: another one is answered with 412."));
        let any = || ObjectBuilder::new().schema_type(SchemaType::AnyValue);
        let mut shown = ObjectBuilder::new().property("revision", revision);
        for name in K::SHAPE.added {
            shown = shown.property(*name, any().description(Some("As the server says it.")));
        }
        let closed = Some(AdditionalProperties::FreeForm(false));
        let schema = if let Some(name) = K::SHAPE.content {
            let shown = shown.property(name, content.clone()).required(name).additional_properties(closed);
            Schema::AnyOf(AnyOfBuilder::new().item(content).item(shown).build())
        } else {
            let RefOr::T(Schema::Object(own)) = K::Content::schema() else { return };
            let mut shown = shown.additional_properties(closed).build();
            shown.properties.extend(own.properties);
            shown.required = own.required;
            Schema::Object(shown)
        };
        describe_json(draft, RefOr::T(schema), Required::True);
    }
}

/// A body taken apart.
#[derive(Debug, PartialEq)]
pub(super) struct Echo {
    /// What is to be written.
    pub(super) content: Value,
    /// At which revision it was read.
    pub(super) revision: Option<u64>,
    /// What else the server says.
    added: Map<String, Value>,
}

impl Echo {
    /// Takes what `GET` shows, and what can be written alone.
    pub(super) fn read(shape: Shape, body: Value) -> Result<Self, ApiError> {
        let bare = |content| Ok(Self { content, revision: None, added: Map::new() });
        let Value::Object(mut fields) = body else { return bare(body) };
        let content = match shape.content {
            Some(name) => match fields.remove(name) {
                Some(content) => Some(content),
                None => return bare(Value::Object(fields)),
            },
            None => None,
        };
        let revision = fields.remove("revision").map(|found| revision(shape, &found)).transpose()?;
        let mut added = Map::new();
        for name in shape.added {
            added.extend(fields.remove_entry(*name));
        }
        if let (Some(name), Some(other)) = (shape.content, fields.keys().next()) {
            let known = shape.added.join(", ");
            let detail = format!("{other} is unknown beside {name}, where GET shows revision, {known}");
            return Err(ApiError::new(shape.code, detail.trim_end_matches(", ")));
        }
        Ok(Self { content: content.unwrap_or(Value::Object(fields)), revision, added })
    }

    /// Refuses what the server says when it is not so: whoever changed it there expects an effect that it does not have.
    /// `remedy` says how it is changed.
    pub(super) fn check(&self, shape: Shape, name: &str, is: &Value, remedy: &str) -> Result<(), ApiError> {
        match self.added.get(name) {
            Some(found) if found != is => {
                let detail = format!("{name} in the body is {found}, and it is {is}: {remedy}");
                Err(ApiError::new(shape.code, detail))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn revision(shape: Shape, found: &Value) -> Result<u64, ApiError> {
    found.as_u64().ok_or_else(|| {
        let detail = format!("revision is {found}, expected the number that was read");
        ApiError::new(shape.code, detail)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_get_shows_and_what_can_be_written_alone_are_taken() {
        let wire = json!({ "key": "f", "enabled": true });
        let alone = Echo::read(FLAG, wire.clone()).unwrap();
        assert_eq!((&alone.content, alone.revision), (&wire, None));
        let shown =
            json!({ "flag": wire, "revision": 7, "updated_ms": 5, "inherited": true, "override": null });
        let read = Echo::read(FLAG, shown).unwrap();
        assert_eq!((&read.content, read.revision), (&wire, Some(7)));
        assert!(read.check(FLAG, "override", &Value::Null, "").is_ok());
        assert!(read.check(FLAG, "override", &json!({ "enabled": false }), "").is_err());
        assert!(alone.check(FLAG, "override", &json!({ "enabled": false }), "").is_ok(), "nothing is said");
        let flat = Echo::read(SETTINGS, json!({ "soak_s": 5, "key": "e", "revision": 2, "version": "1.2" }))
            .unwrap();
        assert_eq!((flat.content, flat.revision), (json!({ "soak_s": 5 }), Some(2)));
        for other in [json!([]), json!(null), json!({})] {
            assert_eq!(Echo::read(FLAG, other.clone()).unwrap().content, other);
        }
    }

    #[test]
    fn what_the_server_does_not_say_is_refused_by_its_name() {
        for (shape, body) in [
            (FLAG, json!({ "flag": {}, "enabled": false })),
            (FLAG, json!({ "flag": {}, "revision": "7" })),
            (FLAG, json!({ "flag": {}, "revision": -1 })),
            (OVERRIDE, json!({ "override": {}, "enabled": false })),
            (FUSE, json!({ "policy": {}, "enabled": false })),
            (part("segment", Code::InvalidSegment), json!({ "segment": {}, "enabled": false })),
        ] {
            assert!(Echo::read(shape, body.clone()).is_err(), "{body}");
        }
        // The shape of the settings says which fields there are.
        let flat = Echo::read(SETTINGS, json!({ "enabled": false })).unwrap();
        assert_eq!(flat.content, json!({ "enabled": false }));
    }
}
