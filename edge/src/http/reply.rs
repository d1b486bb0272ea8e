//! An answer as plain data, so that handlers can be tested without the platform. Never streams.

use std::borrow::Cow;

use worker::Headers;

use crate::http::ask::Asker;

/// What every answer says: no cache may keep it.
const ALWAYS: (&str, &str) = ("cache-control", "private, no-cache");
/// What a browser is told: pages of any origin may read the answer, and the headers that clients need.
const FOR_PAGES: [(&str, &str); 2] = [
    ("access-control-allow-origin", "*"),
    ("access-control-expose-headers", "ETag, Retry-After, X-Flags-Version, X-Flags-State"),
];
/// What an answer with a body says: it is JSON, whatever its bytes look like to a browser that would guess.
const FOR_BODIES: [(&str, &str); 2] =
    [("content-type", "application/json"), ("x-content-type-options", "nosniff")];

/// Status, headers and a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers besides those that every answer has. Names in lower case; each name once.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// JSON text, or nothing for 204 and 304.
    pub body: String,
}

impl Reply {
    /// An answer with a JSON body.
    pub const fn json(status: u16, body: String) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    /// An answer without a body.
    pub const fn empty(status: u16) -> Self {
        Self::json(status, String::new())
    }

    /// The answer to a CORS preflight, for any origin: client keys are publishable and no cookie is ever read.
    pub fn preflight() -> Self {
        let mut reply = Self::empty(204);
        reply.header("access-control-allow-methods", "GET, POST, OPTIONS");
        reply.header(
            "access-control-allow-headers",
            "Authorization, Cache-Control, Content-Type, If-None-Match, Last-Event-ID, X-API-Key, X-Flags-Min-Version",
        );
        reply.header("access-control-max-age", "86400");
        reply
    }

    /// What every answer to `asker` says, and the type of a body when there is one.
    pub fn common_headers(&self, asker: Asker) -> impl Iterator<Item = (&'static str, &'static str)> {
        let for_pages = (asker == Asker::Page).then_some(FOR_PAGES);
        let for_bodies = (!self.body.is_empty()).then_some(FOR_BODIES);
        std::iter::once(ALWAYS).chain(for_pages.into_iter().flatten()).chain(for_bodies.into_iter().flatten())
    }

    /// Adds a header.
    pub fn header(&mut self, name: &'static str, value: impl Into<Cow<'static, str>>) {
        self.headers.push((name, value.into()));
    }

    /// Turns the data into the platform's response to `asker`.
    pub fn into_response(self, asker: Asker) -> worker::Result<worker::Response> {
        let headers = Headers::new();
        for (name, value) in self.common_headers(asker) {
            headers.set(name, value)?;
        }
        for (name, value) in &self.headers {
            headers.set(name, value)?;
        }
        let builder = worker::Response::builder().with_status(self.status).with_headers(headers);
        Ok(if self.body.is_empty() { builder.empty() } else { builder.fixed(self.body.into_bytes()) })
    }
}
