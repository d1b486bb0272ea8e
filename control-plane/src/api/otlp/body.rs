//! The body of an export request: its encoding, its compression, its bounds.

use std::borrow::Cow;
use std::io::Read as _;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};
use flagfuse_otlp::Encoding;
use flagfuse_shared::limits::OTLP_LEN_MAX;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{Content, RefOr, Required, Schema};

use crate::api::ApiState;
use crate::api::body::{BODY_FAILURES, RawBody};
use crate::api::document::{Draft, Takes};
use crate::api::slots::Slots;
use crate::error::{ApiError, Code};

/// Export requests in memory.
pub(super) enum Exporting {}

/// Requests that are in memory at once: 4 MiB as one arrives, and then at most the 16 MiB that its texts have, so this bounds
/// memory to 256 MiB; all but the worst have some kilobytes.
pub(super) const SLOT_COUNT: usize = 16;
/// Those of them that are decompressed and read at once, of 16 MiB each: 64 MiB. The others wait for some tenths of a second.
pub(super) const READING_COUNT: usize = 4;

impl Slots for Exporting {
    const REFUSAL: &'static str = "all slots for export requests are taken, send it again";

    fn of(state: &ApiState) -> &Arc<Semaphore> {
        state.exports.slots()
    }
}

/// A request as its exporter sent it. Nothing in it is refused for what it does not know.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "a schema: `flagfuse_otlp` reads it")]
struct ExportRequest {
    /// Of logs.
    #[serde(rename = "resourceLogs")]
    logs: Option<Vec<Value>>,
    /// Of traces.
    #[serde(rename = "resourceSpans")]
    spans: Option<Vec<Value>>,
    /// Of metrics.
    #[serde(rename = "resourceMetrics")]
    metrics: Option<Vec<Value>>,
}

/// An export request that nobody has looked into.
pub(super) struct SentExport {
    pub(super) encoding: Encoding,
    is_gzip: bool,
    bytes: Bytes,
}

/// A header's text; empty where there is none.
fn header(headers: &HeaderMap, name: HeaderName) -> Result<&str, ApiError> {
    let Some(value) = headers.get(&name) else { return Ok("") };
    value.to_str().map_err(|_| ApiError::new(Code::BadHeader, format!("{name} is not ASCII")))
}

/// The encoding that a request says it has.
pub(super) fn encoding(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    let kind = header(headers, CONTENT_TYPE)?;
    Encoding::of_content_type(kind).ok_or_else(|| {
        let detail =
            format!("the content type is {kind:?}, taken are application/x-protobuf and application/json");
        ApiError::new(Code::BadContentType, detail)
    })
}

impl<S: Send + Sync> FromRequest<S> for SentExport {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let encoding = encoding(request.headers())?;
        let is_gzip = match header(request.headers(), CONTENT_ENCODING)? {
            "" | "identity" => false,
            text if text.eq_ignore_ascii_case("gzip") => true,
            text => {
                let detail = format!("the content encoding is {text:?}, taken is gzip, or none");
                return Err(ApiError::new(Code::BadContentType, detail));
            }
        };
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        Ok(Self { encoding, is_gzip, bytes })
    }
}

impl SentExport {
    /// The request itself, within its bound.
    pub(super) fn decompressed(&self) -> Result<Cow<'_, [u8]>, ApiError> {
        if !self.is_gzip {
            return Ok(Cow::Borrowed(&self.bytes));
        }
        let mut body = Vec::new();
        let mut reading = MultiGzDecoder::new(&*self.bytes).take(OTLP_LEN_MAX as u64 + 1);
        reading
            .read_to_end(&mut body)
            .map_err(|error| ApiError::new(Code::BadBody, format!("the body is not gzip: {error}")))?;
        if body.len() > OTLP_LEN_MAX {
            let detail = format!("the decompressed body is above the limit of {OTLP_LEN_MAX} bytes");
            return Err(ApiError::new(Code::TooLarge, detail));
        }
        Ok(Cow::Owned(body))
    }
}

impl Takes for SentExport {
    fn describe(draft: &mut Draft) {
        let json = Content::new(Some(draft.schema::<ExportRequest>()));
        let format = Some(SchemaFormat::KnownFormat(KnownFormat::Binary));
        let bytes = ObjectBuilder::new().schema_type(Type::String).format(format).build();
        let protobuf = Content::new(Some(RefOr::T(Schema::Object(bytes))));
        let body = RequestBodyBuilder::new()
            .content("application/json", json)
            .content("application/x-protobuf", protobuf);
        draft.body(body.required(Some(Required::True)).build());
        draft.fails(&BODY_FAILURES);
        draft.fails(&[StatusCode::FORBIDDEN, StatusCode::UNSUPPORTED_MEDIA_TYPE]);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn sent(bytes: Vec<u8>) -> SentExport {
        SentExport { encoding: Encoding::Json, is_gzip: true, bytes: bytes.into() }
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_bomb_is_refused_with_its_limit_and_takes_no_more_memory() {
        let fits = sent(gzip(&vec![b' '; OTLP_LEN_MAX]));
        assert!(fits.bytes.len() < OTLP_LEN_MAX / 100);
        assert_eq!(fits.decompressed().unwrap().len(), OTLP_LEN_MAX);
        let bomb = gzip(&vec![0; 2 * OTLP_LEN_MAX]);
        // Several files one after the other are one, too.
        for bomb in [bomb.clone(), [gzip(b"x"), bomb].concat()] {
            let error = sent(bomb).decompressed().unwrap_err();
            assert_eq!(error.code(), Code::TooLarge);
        }
    }

    #[test]
    fn what_is_no_gzip_or_cut_is_refused() {
        let whole = gzip(b"{}");
        let mut changed = whole.clone();
        let last = changed.len() - 6;
        changed[last] ^= 1;
        for bytes in [b"{}".to_vec(), whole[..whole.len() - 3].to_vec(), changed, Vec::new()] {
            assert_eq!(sent(bytes).decompressed().unwrap_err().code(), Code::BadBody);
        }
        assert_eq!(&*sent(whole).decompressed().unwrap(), b"{}");
    }
}
