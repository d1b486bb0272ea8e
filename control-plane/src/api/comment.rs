//! `Change-Comment`: why somebody changes something, in their own words, for the audit trail.

use axum::http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode;
use utoipa::openapi::Required;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use super::document::Draft;
use crate::error::{ApiError, Code};

const CHANGE_COMMENT: HeaderName = HeaderName::from_static("change-comment");
/// Bytes of a comment, as UTF-8.
const COMMENT_LEN_MAX: usize = 512;

/// The comment of a request; `None` where there is none, or nothing in it.
pub(super) fn read(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let bad = |detail: String| ApiError::new(Code::BadHeader, format!("{CHANGE_COMMENT} {detail}"));
    let mut given = headers.get_all(CHANGE_COMMENT).iter();
    let Some(comment) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(bad("is there twice".to_owned()));
    }
    // Headers are no place for other letters than ASCII: browsers send none.
    let comment = percent_decode(comment.as_bytes()).decode_utf8();
    let comment = comment.map_err(|_| bad("is no UTF-8 with its bytes percent-encoded".to_owned()))?;
    let comment = comment.trim();
    if comment.len() > COMMENT_LEN_MAX {
        return Err(bad(format!("has {} bytes, the limit is {COMMENT_LEN_MAX}", comment.len())));
    }
    if let Some(found) = comment.chars().find(|found| found.is_control()) {
        return Err(bad(format!("has the control character {found:?}")));
    }
    Ok(Some(comment.to_owned()).filter(|comment| !comment.is_empty()))
}

/// Says so of an operation that changes something.
pub(super) fn describe(draft: &mut Draft) {
    let said =
        "Why, for the audit trail: text in UTF-8, percent-encoded where it is not ASCII, at most 512 bytes.";
    let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(1_536)).build();
    let comment = ParameterBuilder::new()
        .name(CHANGE_COMMENT.as_str())
        .parameter_in(ParameterIn::Header)
        .description(Some(said))
        .required(Required::False)
        .schema(Some(Schema::Object(text)));
    draft.parameter(comment.build());
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(values: &[&[u8]]) -> Result<Option<String>, ApiError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CHANGE_COMMENT, HeaderValue::from_bytes(value).unwrap());
        }
        read(&headers)
    }

    #[test]
    fn a_comment_is_text_of_some_length_and_no_more() {
        let long = "x".repeat(COMMENT_LEN_MAX);
        for (given, expected) in [
            (&[][..], None),
            (&[&b""[..]][..], None),
            (&[b"  "], None),
            (&[b"checkout is slow"], Some("checkout is slow")),
            (&[b"%C3%9Cbersetzung %F0%9F%94%A5 50%25"], Some("\u{dc}bersetzung \u{1f525} 50%")),
            (&["\u{e4}".as_bytes()], Some("\u{e4}")),
            (&[long.as_bytes()], Some(long.as_str())),
        ] {
            assert_eq!(of(given).unwrap().as_deref(), expected, "{given:?}");
        }
        for (given, words) in [
            (&[&b"one"[..], b"two"][..], "change-comment is there twice"),
            (&[b"%ff"], "is no UTF-8"),
            (&[format!("{long}x").as_bytes()], "has 513 bytes, the limit is 512"),
            (&[b"a%0Ab"], "control character"),
        ] {
            assert!(format!("{:?}", of(given).unwrap_err()).contains(words), "{given:?}");
        }
    }
}
