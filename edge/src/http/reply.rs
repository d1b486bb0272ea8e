//! An answer as plain data, so that handlers can be tested without the platform. Never streams.

use std::borrow::Cow;

use worker::Headers;

/// What every answer says: no cache may keep it.
const ALWAYS: (&str, &str) = ("cache-control", "private, no-cache");
/// What a browser is told: pages of any origin may read the answer, and the headers that clients need.
const FOR_PAGES: [(&str, &str); 2] = [
    ("access-control-allow-origin", "*"),
    (
        "access-control-expose-headers",
        "ETag, Retry-After, X-Flags-Version, X-Flags-Age-Ms, X-Flags-Beat-Age-Ms, X-Flags-Source, X-Flags-State, \
         X-Flags-Region, X-Flags-Isolate",
    ),
];
/// What an answer with a body says: it is JSON, whatever its bytes look like to a browser that would guess.
const FOR_BODIES: [(&str, &str); 2] =
    [("content-type", "application/json"), ("x-content-type-options", "nosniff")];
/// Headers that our own clients send, for a page that does not say which it wants to send.
const REQUEST_HEADERS: &str = "Authorization, Cache-Control, Content-Type, If-None-Match, Last-Event-ID, X-API-Key, \
     X-Flags-Min-Version";
/// Bytes of a list of headers that a page may ask for. Browsers send some hundred.
const REQUEST_HEADERS_LEN_MAX: usize = 4_096;

/// Whose program asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequestedBy {
    /// No browser for a page of another origin: headers that tell a browser what a page may read are for nobody.
    #[default]
    Program,
    /// A browser for a page, whose `Origin` it names.
    Page,
}

impl RequestedBy {
    /// By whether the request names an origin.
    pub const fn of(names_origin: bool) -> Self {
        if names_origin { Self::Page } else { Self::Program }
    }
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
    ///
    /// Any header may be sent too, since SDKs and tracing tools add their own: `asked` is the page's list of them. One that
    /// is no list of header names is not repeated.
    pub fn preflight(asked: Option<&str>, methods: &'static str) -> Self {
        let mut reply = Self::empty(204);
        let allowed = asked.filter(|names| is_list_of_names(names));
        reply.header(
            "access-control-allow-headers",
            allowed.map_or(Cow::Borrowed(REQUEST_HEADERS), |names| Cow::Owned(names.to_owned())),
        );
        reply.header("access-control-allow-methods", methods);
        reply.header("access-control-max-age", "86400");
        reply.header("vary", "Access-Control-Request-Headers");
        reply
    }

    /// What every answer to `requested_by` says, and the type of a body when there is one.
    pub fn common_headers(
        &self,
        requested_by: RequestedBy,
    ) -> impl Iterator<Item = (&'static str, &'static str)> {
        let for_pages = (requested_by == RequestedBy::Page).then_some(FOR_PAGES);
        let for_bodies = (!self.body.is_empty()).then_some(FOR_BODIES);
        std::iter::once(ALWAYS).chain(for_pages.into_iter().flatten()).chain(for_bodies.into_iter().flatten())
    }

    /// Adds a header.
    pub fn header(&mut self, name: &'static str, value: impl Into<Cow<'static, str>>) {
        self.headers.push((name, value.into()));
    }

    /// Turns the data into the platform's response to `requested_by`.
    pub fn into_response(self, requested_by: RequestedBy) -> worker::Result<worker::Response> {
        let headers = Headers::new();
        for (name, value) in self.common_headers(requested_by) {
            headers.set(name, value)?;
        }
        for (name, value) in &self.headers {
            headers.set(name, value)?;
        }
        let builder = worker::Response::builder().with_status(self.status).with_headers(headers);
        Ok(if self.body.is_empty() { builder.empty() } else { builder.fixed(self.body.into_bytes()) })
    }
}

/// Names of RFC 9110's tokens with commas between them, within the limit.
fn is_list_of_names(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(is_token);
    text.len() <= REQUEST_HEADERS_LEN_MAX
        && text.split(',').all(|name| is_name(name.trim_matches([' ', '\t'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'r>(reply: &'r Reply, name: &str) -> Option<&'r str> {
        reply.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_ref())
    }

    #[test]
    fn a_preflight_allows_what_the_page_asks_for() {
        const ALLOWED: &str = "access-control-allow-headers";
        let asked =
            "authorization,unleash-appname, unleash-connection-id,unleash-sdk,x-unleash-sdk,traceparent";
        let reply = Reply::preflight(Some(asked), "GET, POST");
        assert_eq!((reply.status, header(&reply, ALLOWED)), (204, Some(asked)));
        assert_eq!(header(&reply, "vary"), Some("Access-Control-Request-Headers"));
        assert_eq!(header(&reply, "access-control-allow-methods"), Some("GET, POST"));
        let longest = "x".repeat(REQUEST_HEADERS_LEN_MAX);
        assert_eq!(header(&Reply::preflight(Some(&longest), "GET"), ALLOWED), Some(longest.as_str()));
        for unasked in [None, Some(""), Some("a,,b"), Some("a b"), Some("a\r\nx: y"), Some("*, é")] {
            assert_eq!(
                header(&Reply::preflight(unasked, "GET"), ALLOWED),
                Some(REQUEST_HEADERS),
                "{unasked:?}"
            );
        }
        let longer = "x".repeat(REQUEST_HEADERS_LEN_MAX + 1);
        assert_eq!(header(&Reply::preflight(Some(&longer), "GET"), ALLOWED), Some(REQUEST_HEADERS));
    }

    #[test]
    fn pages_may_read_every_header_that_says_something_about_the_answer() {
        use flagfuse_shared::contract::probe::{
            AGE_HEADER, BEAT_AGE_HEADER, ISOLATE_HEADER, REGION_HEADER, SOURCE_HEADER, STATE_HEADER,
            VERSION_HEADER,
        };
        let exposed = FOR_PAGES.iter().find(|(name, _)| *name == "access-control-expose-headers").unwrap().1;
        let exposed: Vec<String> = exposed.split(", ").map(str::to_ascii_lowercase).collect();
        for name in [
            "etag",
            "retry-after",
            AGE_HEADER,
            BEAT_AGE_HEADER,
            ISOLATE_HEADER,
            REGION_HEADER,
            SOURCE_HEADER,
            STATE_HEADER,
            VERSION_HEADER,
        ] {
            assert!(exposed.contains(&name.to_ascii_lowercase()), "{name}");
        }
    }
}
