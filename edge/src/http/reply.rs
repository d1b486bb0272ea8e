//! An answer as plain data, so that handlers can be tested without the platform. Never streams.

use std::borrow::Cow;

/// Status, headers and a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Header names in lower case; each name once.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// JSON text, or nothing for 204 and 304.
    pub body: String,
}

impl Reply {
    /// An answer with a JSON body that no cache may keep.
    pub fn json(status: u16, body: String) -> Self {
        let headers =
            vec![("content-type", "application/json".into()), ("cache-control", "private, no-cache".into())];
        Self { status, headers, body }
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: vec![("cache-control", "private, no-cache".into())], body: String::new() }
    }

    /// The answer to a CORS preflight, for any origin: client keys are publishable and no cookie is ever read.
    pub fn preflight() -> Self {
        let mut reply = Self::empty(204);
        reply.header("access-control-allow-methods", "GET, POST, OPTIONS");
        reply.header(
            "access-control-allow-headers",
            "Authorization, Content-Type, If-None-Match, X-API-Key, X-Flags-Min-Version",
        );
        reply.header("access-control-max-age", "86400");
        reply
    }

    /// Adds a header.
    pub fn header(&mut self, name: &'static str, value: impl Into<Cow<'static, str>>) {
        self.headers.push((name, value.into()));
    }

    /// Lets pages of any origin read the answer and the headers that clients need.
    #[must_use]
    pub fn with_cors(mut self) -> Self {
        self.header("access-control-allow-origin", "*");
        self.header("access-control-expose-headers", "ETag, Retry-After, X-Flags-Version, X-Flags-State");
        self
    }

    /// Turns the data into the platform's response.
    pub fn into_response(self) -> worker::Result<worker::Response> {
        let headers = worker::Headers::new();
        for (name, value) in &self.headers {
            headers.set(name, value)?;
        }
        let builder = worker::Response::builder().with_status(self.status).with_headers(headers);
        Ok(if self.body.is_empty() { builder.empty() } else { builder.fixed(self.body.into_bytes()) })
    }
}
