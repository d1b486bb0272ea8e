//! Answers that name a state (the `ETag` of what was read or changed, to be sent back as `If-Match`), and what every change
//! is answered with, made or rehearsed.
//!
//! A tag names what can be written. What an answer shows beside that (a fuse's averages, an environment's version) may
//! change without it, so nothing here is a validator for caches.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderValue};
use axum::response::{IntoResponse, Response};
use flagfuse_shared::digest::Digest;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{
    AllOfBuilder, AnyOfBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type,
};
use utoipa::openapi::{Content, RefOr};

use super::document::schema::{ChangeNotes, DecisionDiff, Decisions, Lost};
use super::document::{Answers, Draft};
use crate::change::{Applied, Rehearsed, Tag};
use crate::error::ApiError;

/// A body and the state that it shows.
pub(super) struct Tagged<T> {
    pub(super) tag: Option<Tag>,
    pub(super) body: T,
}

impl<T> Tagged<T> {
    pub(super) const fn new(tag: Tag, body: T) -> Self {
        Self { tag: Some(tag), body }
    }
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        labelled(self.tag.as_ref(), Json(self.body).into_response())
    }
}

/// A response with the tag of what it is about.
fn labelled(tag: Option<&Tag>, mut response: Response) -> Response {
    // A tag is digits and dots in quotes, which a header takes.
    let value = tag.and_then(|tag| HeaderValue::try_from(tag.to_string()).ok());
    if let Some(value) = value {
        response.headers_mut().insert(ETAG, value);
    }
    response
}

/// Bytes that are no JSON: a signed frame or messages for a replica.
pub(super) struct Binary {
    pub(super) bytes: Vec<u8>,
    pub(super) tag: Option<Tag>,
    /// `x-flags-version`.
    pub(super) version: Option<String>,
}

impl IntoResponse for Binary {
    fn into_response(self) -> Response {
        let content_type = (CONTENT_TYPE, "application/octet-stream");
        let mut response = ([content_type], self.bytes).into_response();
        let version = self.version.and_then(|version| HeaderValue::try_from(version).ok());
        if let Some(version) = version {
            response.headers_mut().insert("x-flags-version", version);
        }
        labelled(self.tag.as_ref(), response)
    }
}

/// Nothing beside what every change is answered with.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct NothingMore {}

/// What a change is answered with, made or rehearsed; `X` is what its route adds.
#[derive(Debug)]
pub(super) struct Changed<X = NothingMore> {
    tag: Option<Tag>,
    body: Map<String, Value>,
    added: PhantomData<X>,
}

/// The same with 201: something new came of it.
pub(super) struct Created<X = NothingMore>(pub(super) Changed<X>);

/// What every change that was made is answered with.
#[derive(Serialize, ToSchema)]
struct Made {
    /// The version that carries it; null when no snapshot is another one for it.
    #[schema(required)]
    version: Option<String>,
    /// The version's epoch.
    #[schema(required)]
    epoch: Option<u64>,
    /// The version's number in the epoch.
    #[schema(required)]
    seq: Option<u64>,
    /// The revision of what was changed; null of what has none.
    #[schema(required)]
    revision: Option<u64>,
    /// What it does to decisions, environment by environment.
    #[schema(nullable = false, value_type = Option<Vec<Decisions>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<Vec<Value>>,
    /// The versions that carry a change of a whole project, by environment.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    environments: Option<BTreeMap<String, String>>,
}

/// What a change would do; nothing was kept.
#[derive(Serialize, ToSchema)]
struct Rehearsal {
    /// Always true.
    dry_run: bool,
    /// What it would do to decisions, environment by environment.
    #[schema(value_type = Vec<DecisionDiff>)]
    diff: Vec<Value>,
    /// Whether it has to be confirmed; left out of an import that could not be made.
    #[schema(required = false)]
    confirmation_needed: bool,
    /// What to send as `x-flagfuse-confirm` to make it; left out of an import that could not be made.
    #[schema(value_type = Option<String>)]
    confirmation: Option<Digest>,
    /// What a deletion would take away.
    #[schema(nullable = false, value_type = Option<Lost>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<Value>,
}

impl<X> Changed<X> {
    /// With what the route adds.
    pub(super) fn with<Y: Serialize>(mut self, added: &Y) -> Changed<Y> {
        self.body.extend(fields(added));
        let Self { tag, body, .. } = self;
        Changed { tag, body, added: PhantomData }
    }

    /// What the change notes under a name.
    pub(super) fn note(&self, name: &str) -> Option<&Value> {
        self.body.get(name)
    }

    /// An import that cannot be made as it is, rehearsed.
    pub(super) fn refused() -> Self {
        Self { tag: None, body: Map::new(), added: PhantomData }
    }
}

/// An object's fields. Nothing else is ever added to an answer.
fn fields(added: &impl Serialize) -> Map<String, Value> {
    let Value::Object(fields) = json!(added) else { return Map::new() };
    fields
}

impl From<Applied> for Changed {
    fn from(applied: Applied) -> Self {
        let version = applied.version;
        let environments = applied.environments.into_iter();
        let environments: BTreeMap<_, _> =
            environments.map(|(key, version)| (key.to_string(), version.to_string())).collect();
        let made = Made {
            version: version.map(|version| version.to_string()),
            epoch: version.map(|version| version.epoch),
            seq: version.map(|version| version.seq),
            revision: applied.revision,
            diff: Some(applied.decisions).filter(|decisions| !decisions.is_empty()),
            environments: Some(environments).filter(|environments| !environments.is_empty()),
        };
        let mut body = applied.notes;
        body.extend(fields(&made));
        Self { tag: applied.tag, body, added: PhantomData }
    }
}

impl From<Rehearsed> for Changed {
    fn from(rehearsed: Rehearsed) -> Self {
        let rehearsal = Rehearsal {
            dry_run: true,
            diff: rehearsed.decisions,
            confirmation_needed: rehearsed.confirmation.is_some(),
            confirmation: rehearsed.confirmation,
            lost: rehearsed.lost,
        };
        let mut body = rehearsed.notes;
        body.extend(fields(&rehearsal));
        Self { tag: None, body, added: PhantomData }
    }
}

impl<X> IntoResponse for Changed<X> {
    fn into_response(self) -> Response {
        labelled(self.tag.as_ref(), Json(self.body).into_response())
    }
}

impl<X> IntoResponse for Created<X> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, self.0).into_response()
    }
}

impl<T: ToSchema> Answers for Json<T> {
    fn describe(draft: &mut Draft) {
        let response = draft.json::<T>("What was asked for.").build();
        draft.answer(StatusCode::OK, response);
    }
}

impl<T: ToSchema> Answers for Tagged<T> {
    fn describe(draft: &mut Draft) {
        let response = draft.json::<T>("What was asked for.").header("etag", etag());
        draft.answer(StatusCode::OK, response.build());
    }
}

impl<T: Answers> Answers for Result<T, ApiError> {
    fn describe(draft: &mut Draft) {
        draft.fails(&[StatusCode::INTERNAL_SERVER_ERROR, StatusCode::TOO_MANY_REQUESTS]);
        // It may tell failures in words of its own.
        T::describe(draft);
    }
}

impl<X: ToSchema> Answers for Changed<X> {
    fn describe(draft: &mut Draft) {
        let response = change::<X>(draft, "The change is made, or rehearsed.");
        draft.answer(StatusCode::OK, response.build());
    }
}

impl<X: ToSchema> Answers for Created<X> {
    fn describe(draft: &mut Draft) {
        let response = change::<X>(draft, "It is made.");
        draft.answer(StatusCode::CREATED, response.build());
    }
}

impl Answers for Binary {
    fn describe(draft: &mut Draft) {
        let format = Some(SchemaFormat::KnownFormat(KnownFormat::Binary));
        let bytes = ObjectBuilder::new().schema_type(Type::String).format(format).build();
        let version = text("The frame's version, `epoch.seq`.");
        let response = ResponseBuilder::new()
            .description("Bytes.")
            .content("application/octet-stream", Content::new(Some(RefOr::T(Schema::Object(bytes)))))
            .header("etag", etag())
            .header("x-flags-version", version);
        draft.answer(StatusCode::OK, response.build());
    }
}

fn change<X: ToSchema>(draft: &mut Draft, description: &str) -> ResponseBuilder {
    let notes = draft.schema::<ChangeNotes>();
    let added = adds_something::<X>().then(|| draft.schema::<X>());
    let with_notes = |first: RefOr<Schema>| {
        let all = AllOfBuilder::new().item(first).item(notes.clone());
        RefOr::T(Schema::AllOf(added.iter().cloned().fold(all, AllOfBuilder::item).build()))
    };
    let made = with_notes(draft.schema::<Made>());
    let schema = if draft.is_rehearsable {
        let rehearsal = with_notes(draft.schema::<Rehearsal>());
        RefOr::T(Schema::AnyOf(AnyOfBuilder::new().item(made).item(rehearsal).build()))
    } else {
        made
    };
    let response = ResponseBuilder::new().description(description);
    response.content("application/json", Content::new(Some(schema))).header("etag", etag())
}

fn adds_something<X: ToSchema>() -> bool {
    !matches!(X::schema(), RefOr::T(Schema::Object(object)) if object.properties.is_empty())
}

fn etag() -> Header {
    text("The state that is shown, to be sent back as `If-Match`; absent of what has none.")
}

fn text(description: &str) -> Header {
    let schema = ObjectBuilder::new().schema_type(Type::String).build();
    HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
}
