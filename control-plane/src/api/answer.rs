//! Answers that name a state: the `ETag` of what was read or changed, to be sent back as `If-Match`.
//!
//! A tag names what can be written. What an answer shows beside that (a fuse's averages, an environment's version) may
//! change without it, so nothing here is a validator for caches.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{ETAG, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::change::{Applied, Tag};

/// A body and the state that it shows.
pub(super) fn tagged(tag: &Tag, body: Value) -> Response {
    labelled(Some(tag), Json(body).into_response())
}

/// A response with the tag of what it is about.
pub(super) fn labelled(tag: Option<&Tag>, mut response: Response) -> Response {
    // A tag is digits and dots in quotes, which a header takes.
    let value = tag.and_then(|tag| HeaderValue::try_from(tag.to_string()).ok());
    if let Some(value) = value {
        response.headers_mut().insert(ETAG, value);
    }
    response
}

/// What a change is answered with, made or rehearsed.
#[derive(Debug)]
pub(super) struct Changed {
    status: StatusCode,
    tag: Option<Tag>,
    pub(super) body: Map<String, Value>,
}

impl Changed {
    /// Something new came of it.
    pub(super) fn created(self) -> Self {
        Self { status: StatusCode::CREATED, ..self }
    }

    /// Nothing was changed: what would be.
    pub(super) const fn rehearsed(body: Map<String, Value>) -> Self {
        Self { status: StatusCode::OK, tag: None, body }
    }

    /// With what may not have been meant, where there is something.
    pub(super) fn with_notes(self, notes: Vec<String>) -> Self {
        if notes.is_empty() { self } else { self.with("notes", notes) }
    }

    /// With a further field.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body.insert(name.to_owned(), value.into());
        self
    }
}

/// What every change is answered with.
impl From<Applied> for Changed {
    fn from(applied: Applied) -> Self {
        let mut body = applied.notes;
        let version = applied.version;
        body.insert("version".to_owned(), json!(version.map(|version| version.to_string())));
        body.insert("epoch".to_owned(), json!(version.map(|version| version.epoch)));
        body.insert("seq".to_owned(), json!(version.map(|version| version.seq)));
        body.insert("revision".to_owned(), json!(applied.revision));
        if !applied.decisions.is_empty() {
            body.insert("diff".to_owned(), Value::Array(applied.decisions));
        }
        if !applied.environments.is_empty() {
            let versions = applied.environments.into_iter();
            let versions = versions.map(|(key, version)| (key.to_string(), Value::from(version.to_string())));
            body.insert("environments".to_owned(), versions.collect());
        }
        Self { status: StatusCode::OK, tag: applied.tag, body }
    }
}

impl IntoResponse for Changed {
    fn into_response(self) -> Response {
        labelled(self.tag.as_ref(), (self.status, Json(self.body)).into_response())
    }
}
