//! OFREP 0.3: request bodies → contexts, resolutions → response bodies. Pure text; knows no HTTP library.

use std::fmt::Write as _;

use serde_json::Value;

use crate::context::{Context, ContextError};
use crate::digest::Digest;
use crate::evaluate::{EvaluationError, Resolution};
use crate::ids::SnapshotVersion;
use crate::limits::REQUEST_BODY_LEN_MAX;

/// Error codes of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// The body is no JSON.
    ParseError,
    /// The flag needs a unit.
    TargetingKeyMissing,
    /// The context is outside its shape or limits.
    InvalidContext,
    /// The flag does not exist.
    FlagNotFound,
    /// Anything else.
    General,
}

impl ErrorCode {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ParseError => "PARSE_ERROR",
            Self::TargetingKeyMissing => "TARGETING_KEY_MISSING",
            Self::InvalidContext => "INVALID_CONTEXT",
            Self::FlagNotFound => "FLAG_NOT_FOUND",
            Self::General => "GENERAL",
        }
    }
}

/// Why a request cannot be evaluated at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// More bytes than the limit.
    #[error("body has more than {REQUEST_BODY_LEN_MAX} bytes")]
    TooLong,
    /// No JSON.
    #[error("body is no JSON: {detail}")]
    NotJson {
        /// What the parser said.
        detail: String,
    },
    /// JSON, but no object.
    #[error("body must be a JSON object with a context")]
    NotAnObject,
    /// The context is outside its shape or limits.
    #[error(transparent)]
    Context(#[from] ContextError),
}

impl RequestError {
    /// The protocol's word for it.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TooLong => ErrorCode::General,
            Self::NotJson { .. } | Self::NotAnObject => ErrorCode::ParseError,
            Self::Context(_) => ErrorCode::InvalidContext,
        }
    }
}

/// Reads `{"context": {…}}`; an empty body, `{}` and a missing or null context are an empty context.
pub fn parse_request(body: &[u8]) -> Result<Context, RequestError> {
    if body.len() > REQUEST_BODY_LEN_MAX {
        return Err(RequestError::TooLong);
    }
    if body.trim_ascii().is_empty() {
        return Ok(Context::default());
    }
    let body: Value =
        serde_json::from_slice(body).map_err(|e| RequestError::NotJson { detail: e.to_string() })?;
    let Value::Object(mut fields) = body else {
        return Err(RequestError::NotAnObject);
    };
    match fields.remove("context") {
        None | Some(Value::Null) => Ok(Context::default()),
        Some(context) => Ok(Context::from_json(context)?),
    }
}

/// What every body says about its origin.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'o> {
    /// Version of the snapshot.
    pub version: SnapshotVersion,
    /// Name of the environment.
    pub environment: &'o str,
}

/// The outcome of one flag, ready to be rendered.
pub type Answer<'s> = Result<Resolution<'s>, EvaluationError<'s>>;

/// Status of a single evaluation.
pub const fn single_status(answer: &Answer<'_>) -> u16 {
    match answer {
        Ok(_) => 200,
        Err(EvaluationError::FlagNotFound { .. }) => 404,
        Err(EvaluationError::TargetingKeyMissing { .. } | EvaluationError::Malformed(_)) => 400,
    }
}

/// Writes one flag's object: the whole body of a single evaluation, an item of a bulk.
pub fn write_answer(out: &mut String, key: &str, answer: &Answer<'_>, origin: &Origin<'_>) {
    out.push_str("{\"key\":");
    write_json_string(out, key);
    match answer {
        Ok(resolution) => write_resolution(out, resolution),
        Err(error) => {
            let code = match error {
                EvaluationError::FlagNotFound { .. } => ErrorCode::FlagNotFound,
                EvaluationError::TargetingKeyMissing { .. } => ErrorCode::TargetingKeyMissing,
                EvaluationError::Malformed(_) => ErrorCode::General,
            };
            let _ = write!(out, ",\"errorCode\":\"{}\",\"errorDetails\":", code.as_str());
            write_json_string(out, &error.to_string());
        }
    }
    out.push_str(",\"metadata\":");
    let assignment = answer.as_ref().ok().and_then(|resolution| resolution.assignment);
    let rule = answer.as_ref().ok().and_then(|resolution| resolution.rule);
    let _ = write!(out, "{{\"flagVersion\":\"{}\",\"environment\":", origin.version);
    write_json_string(out, origin.environment);
    if let Some(assignment) = assignment {
        let _ = write!(out, ",\"arm\":\"{}\",\"phase\":{}", assignment.arm.as_str(), assignment.phase);
    }
    if let Some(rule) = rule {
        out.push_str(",\"rule\":");
        write_json_string(out, rule.as_str());
    }
    out.push_str("}}");
}

/// `value` is left out, never null, when the caller's code default applies.
fn write_resolution(out: &mut String, resolution: &Resolution<'_>) {
    if let Some(variation) = resolution.variation {
        out.push_str(",\"value\":");
        out.push_str(variation.json());
        out.push_str(",\"variant\":");
        write_json_string(out, variation.key().as_str());
    }
    out.push_str(",\"reason\":\"");
    out.push_str(resolution.reason.as_str());
    out.push('"');
}

/// Writes the body of a bulk evaluation; `answers` have to come ordered by key.
pub fn write_bulk<'s>(
    out: &mut String,
    answers: impl Iterator<Item = (&'s str, Answer<'s>)>,
    origin: &Origin<'_>,
) {
    out.push_str("{\"flags\":[");
    for (at, (key, answer)) in answers.enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_answer(out, key, &answer, origin);
    }
    let _ = write!(out, "],\"metadata\":{{\"flagVersion\":\"{}\",\"environment\":", origin.version);
    write_json_string(out, origin.environment);
    out.push_str("}}");
}

/// Body of an error that concerns the whole request; `key` for single evaluations.
pub fn error_body(key: Option<&str>, code: ErrorCode, details: &str) -> String {
    let mut out = String::from("{");
    if let Some(key) = key {
        out.push_str("\"key\":");
        write_json_string(&mut out, key);
        out.push(',');
    }
    let _ = write!(out, "\"errorCode\":\"{}\",\"errorDetails\":", code.as_str());
    write_json_string(&mut out, details);
    out.push_str(",\"metadata\":{}}");
    out
}

/// Strong validator of a bulk answer: the same context and version give the same on every node.
pub fn bulk_etag(context: &Context, origin: &Origin<'_>, answers_stale: &str) -> String {
    let context = Value::Object(context.attributes().clone()).to_string();
    let covered = format!("{}\n{}\n{answers_stale}\n{context}", origin.version, origin.environment);
    let digest = Digest::of(covered.as_bytes()).to_string();
    format!("\"{}\"", digest.get(..32).unwrap_or(&digest))
}

/// Whether an `If-None-Match` header covers `etag`: a list, weak validators and `*` are accepted.
pub fn if_none_match(header: &str, etag: &str) -> bool {
    header
        .split(',')
        .map(str::trim)
        .any(|candidate| candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == etag)
}

/// Appends a JSON string literal.
pub fn write_json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::evaluate::{Freshness, evaluate, evaluate_all};
    use crate::snapshot::fixtures;

    const ORIGIN: Origin<'static> =
        Origin { version: SnapshotVersion { epoch: 1, seq: 2 }, environment: "production" };

    fn render(flags: &[Value], key: &str, context: &Context) -> (u16, Value) {
        let admitted = fixtures::admitted(flags);
        let answer = evaluate(&admitted.snapshot, key, context, Freshness::Fresh);
        let mut body = String::new();
        write_answer(&mut body, key, &answer, &ORIGIN);
        (single_status(&answer), serde_json::from_str(&body).unwrap())
    }

    #[test]
    fn bodies_have_every_field_and_metadata_always() {
        let flag = json!({ "key": "größe \"x\"/1", "value_type": "float", "default_variation": "a",
            "variations": [{ "key": "a", "value": 2 }] });
        let (status, body) = render(&[flag], "größe \"x\"/1", &Context::default());
        let metadata = json!({ "flagVersion": "1.2", "environment": "production" });
        assert_eq!(status, 200);
        assert_eq!(
            body,
            json!({ "key": "größe \"x\"/1", "value": 2.0, "variant": "a", "reason": "STATIC", "metadata": metadata })
        );
        let (status, body) = render(&[], "nope", &Context::default());
        assert_eq!(
            (status, &body["errorCode"], &body["key"]),
            (404, &json!("FLAG_NOT_FOUND"), &json!("nope"))
        );
        assert_eq!(body["metadata"], metadata);
    }

    #[test]
    fn the_code_default_is_a_left_out_value_never_null() {
        let flag = json!({ "key": "f", "value_type": "boolean", "default_variation": "a", "enabled": false,
            "variations": [{ "key": "a", "value": true }] });
        let (status, body) = render(&[flag], "f", &Context::default());
        assert_eq!((status, &body["reason"], body.get("value")), (200, &json!("DISABLED"), None));
    }

    #[test]
    fn bulk_items_come_ordered_by_key() {
        let flag = |key: &str| {
            json!({ "key": key, "value_type": "integer", "default_variation": "a",
                "variations": [{ "key": "a", "value": 1 }] })
        };
        let admitted = fixtures::admitted(&[flag("b"), flag("a"), flag("c")]);
        let mut body = String::new();
        let answers =
            evaluate_all(&admitted.snapshot, &Context::default(), Freshness::Fresh).collect::<Vec<_>>();
        write_bulk(&mut body, answers.into_iter(), &ORIGIN);
        let body: Value = serde_json::from_str(&body).unwrap();
        let keys: Vec<_> = body["flags"].as_array().unwrap().iter().map(|f| f["key"].clone()).collect();
        assert_eq!(keys, ["a", "b", "c"]);
    }

    #[test]
    fn requests_are_lenient_where_clients_differ_and_strict_otherwise() {
        for good in [
            "",
            " ",
            "{}",
            r#"{"context":{}}"#,
            r#"{"context":null,"x":1}"#,
            r#"{"context":{"a":[1,{"b":null}]}}"#,
        ] {
            assert!(parse_request(good.as_bytes()).is_ok(), "{good}");
        }
        let rows = [
            ("{", ErrorCode::ParseError),
            ("[]", ErrorCode::ParseError),
            (r#"{"context":[]}"#, ErrorCode::InvalidContext),
            (r#"{"context":{"targetingKey":1}}"#, ErrorCode::InvalidContext),
        ];
        for (bad, code) in rows {
            assert_eq!(parse_request(bad.as_bytes()).unwrap_err().code(), code, "{bad}");
        }
        let long = |len: usize| format!(r#"{{"x":"{}"}}"#, "y".repeat(len - 8));
        assert!(parse_request(long(REQUEST_BODY_LEN_MAX).as_bytes()).is_ok());
        assert_eq!(parse_request(long(REQUEST_BODY_LEN_MAX + 1).as_bytes()), Err(RequestError::TooLong));
    }

    #[test]
    fn etags_cover_context_and_version_but_not_attribute_order() {
        let context = |text: &str| parse_request(text.as_bytes()).unwrap();
        let one = bulk_etag(&context(r#"{"context":{"a":1,"b":2}}"#), &ORIGIN, "fresh");
        assert_eq!(one, bulk_etag(&context(r#"{"context":{"b":2,"a":1}}"#), &ORIGIN, "fresh"));
        assert_ne!(one, bulk_etag(&context(r#"{"context":{"a":1,"b":3}}"#), &ORIGIN, "fresh"));
        let newer = Origin { version: SnapshotVersion { epoch: 1, seq: 3 }, ..ORIGIN };
        assert_ne!(one, bulk_etag(&context(r#"{"context":{"a":1,"b":2}}"#), &newer, "fresh"));
        for header in [one.clone(), format!("W/{one}"), format!("\"x\", {one}"), "*".to_owned()] {
            assert!(if_none_match(&header, &one), "{header}");
        }
        assert!(!if_none_match("\"x\"", &one));
    }
}
