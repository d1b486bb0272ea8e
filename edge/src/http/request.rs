//! A request as plain data: what routes read of it, however it reached the worker. Opens no body.

use flagfuse_shared::contract::probe::MIN_VERSION_HEADER;
use flagfuse_shared::ids::SnapshotVersion;

use crate::error::EdgeError;
use crate::http::client_key::{ClientKey, client_key};
use crate::http::reply::RequestedBy;
use crate::http::route::{Route, Verb, query_value, route};

/// The headers that mean something to an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestHeaders {
    /// `Authorization`.
    pub authorization: Option<String>,
    /// `X-API-Key`.
    pub api_key: Option<String>,
    /// `If-None-Match`.
    pub none_match: Option<String>,
    /// `X-Flags-Min-Version`.
    pub version_min: Option<String>,
    /// `CF-Connecting-IP`: from where the request came, where the platform says so.
    pub address: Option<String>,
    /// By `Origin`.
    pub requested_by: RequestedBy,
}

/// A request without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// What its path asks for.
    pub route: Route,
    pub verb: Verb,
    /// The query, without its question mark; still percent-encoded.
    pub query: String,
    pub headers: RequestHeaders,
}

impl RequestHead {
    /// `target` is path and query, as in a request line.
    pub fn new(verb: Verb, target: &str, headers: RequestHeaders) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self { route: route(path), verb, query: query.to_owned(), headers }
    }

    /// The client key, from a header or, for beacons and streams that cannot set one, from the query.
    pub fn client_key(&self) -> Result<ClientKey, EdgeError> {
        let in_query = match self.route {
            Route::Events | Route::Stream => query_value(&self.query, "key"),
            _ => None,
        };
        client_key(self.headers.authorization.clone(), || self.headers.api_key.clone(), in_query)
    }

    /// The version below which the client takes no answer: from our own header, or what an event stream told an OFREP client.
    pub fn version_min(&self) -> Result<Option<SnapshotVersion>, EdgeError> {
        let in_query = self.told_etag().and_then(|text| SnapshotVersion::parse(&text));
        let Some(text) = &self.headers.version_min else { return Ok(in_query) };
        let in_header = SnapshotVersion::parse(text).ok_or(EdgeError::HeaderMalformed {
            name: MIN_VERSION_HEADER,
            expected: "epoch.seq, such as 1.42",
        })?;
        Ok(in_query.max(Some(in_header)))
    }

    /// Whether the client was told of a version whose name means nothing here. It may be newer than anything in memory.
    pub fn is_told_of_unknown(&self) -> bool {
        match self.told_etag() {
            Some(text) => SnapshotVersion::parse(&text).is_none(),
            None => {
                self.route == Route::OfrepBulk && query_value(&self.query, "flagConfigLastModified").is_some()
            }
        }
    }

    /// OFREP's name of the version of which an event stream told the client.
    fn told_etag(&self) -> Option<String> {
        match self.route {
            Route::OfrepBulk => query_value(&self.query, "flagConfigEtag"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_the_query_opens_events_only() {
        let of = |target: &str| RequestHead::new(Verb::Post, target, RequestHeaders::default()).client_key();
        assert!(of("/v1/events?key=demo%3Adev.s3cret").is_ok());
        assert_eq!(of("/ofrep/v1/evaluate/flags?key=demo%3Adev.s3cret"), Err(EdgeError::KeyMissing));
    }

    #[test]
    fn what_a_stream_told_is_a_minimum_version_for_all_flags() {
        let head = |target: &str, header: Option<&str>| {
            let headers =
                RequestHeaders { version_min: header.map(str::to_owned), ..RequestHeaders::default() };
            RequestHead::new(Verb::Post, target, headers)
        };
        let bulk = "/ofrep/v1/evaluate/flags";
        let version = |seq| Ok(Some(SnapshotVersion { epoch: 1, seq }));
        for (query, header, expected, is_unknown) in [
            ("?flagConfigEtag=1.7&flagConfigLastModified=5", None, version(7), false),
            ("?flagConfigEtag=1.7", Some("1.5"), version(7), false),
            ("?flagConfigEtag=1.7", Some("1.9"), version(9), false),
            ("?flagConfigEtag=abc", None, Ok(None), true),
            ("?flagConfigLastModified=5", Some("1.5"), version(5), true),
            ("", None, Ok(None), false),
        ] {
            let head = head(&format!("{bulk}{query}"), header);
            assert_eq!((head.version_min(), head.is_told_of_unknown()), (expected, is_unknown), "{query}");
        }
        let single = head(&format!("{bulk}/a?flagConfigEtag=1.7"), None);
        assert_eq!((single.version_min(), single.is_told_of_unknown()), (Ok(None), false));
    }

    #[test]
    fn a_malformed_minimum_version_is_named() {
        let of = |text: &str| {
            let headers = RequestHeaders { version_min: Some(text.to_owned()), ..RequestHeaders::default() };
            RequestHead::new(Verb::Post, "/ofrep/v1/evaluate/flags", headers).version_min()
        };
        assert_eq!(of("1.2"), Ok(Some(SnapshotVersion { epoch: 1, seq: 2 })));
        assert!(of("v1").is_err());
    }
}
