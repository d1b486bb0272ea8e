//! An answer as plain data, so that handlers can be tested without the platform. Never streams.

use std::borrow::Cow;
use std::cell::RefCell;

use worker::Headers;

/// What every answer says. Pages of any origin may read it, and the headers that clients need; no cache may keep it.
const ALWAYS: [(&str, &str); 3] = [
    ("cache-control", "private, no-cache"),
    ("access-control-allow-origin", "*"),
    ("access-control-expose-headers", "ETag, Retry-After, X-Flags-Version, X-Flags-State"),
];

thread_local! {
    /// `ALWAYS` as the platform's object, without and with a JSON body: one call copies it, each header would be one.
    static BASES: RefCell<[Option<Headers>; 2]> = const { RefCell::new([None, None]) };
}

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

    /// What every answer says, and the type of a body when there is one.
    pub fn common_headers(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let body_type = (!self.body.is_empty()).then_some(("content-type", "application/json"));
        ALWAYS.into_iter().chain(body_type)
    }

    /// Adds a header.
    pub fn header(&mut self, name: &'static str, value: impl Into<Cow<'static, str>>) {
        self.headers.push((name, value.into()));
    }

    /// Turns the data into the platform's response.
    pub fn into_response(self) -> worker::Result<worker::Response> {
        let headers = base_headers(&self.body)?;
        for (name, value) in &self.headers {
            headers.set(name, value)?;
        }
        let builder = worker::Response::builder().with_status(self.status).with_headers(headers);
        Ok(if self.body.is_empty() { builder.empty() } else { builder.fixed(self.body.into_bytes()) })
    }
}

/// A copy of the headers that every answer has, and of those of a JSON body when there is one.
fn base_headers(body: &str) -> worker::Result<Headers> {
    BASES.with_borrow_mut(|bases| {
        let [without_body, with_body] = bases;
        let base = if body.is_empty() { without_body } else { with_body };
        if let Some(base) = base {
            return Ok(base.clone());
        }
        let headers = Headers::new();
        for (name, value) in ALWAYS {
            headers.set(name, value)?;
        }
        if !body.is_empty() {
            headers.set("content-type", "application/json")?;
        }
        Ok(base.insert(headers).clone())
    })
}
