//! What of an answer shows that its request has converted: a header, or a value in its JSON.

use anyhow::Context as _;
use axum::http::{HeaderMap, HeaderName};
use flagfuse_shared::strict;
use serde_json::Value;

/// What is looked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Conversion {
    /// A header that is there, with a value where one is named.
    Header { name: HeaderName, value: Option<String> },
    /// A true value at a JSON pointer.
    Json { pointer: String },
}

impl Conversion {
    /// `NAME` or `NAME=VALUE`.
    pub(super) fn of_header(text: &str) -> anyhow::Result<Self> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let name = name.parse().with_context(|| format!("{name:?} is no name of a header"))?;
        Ok(Self::Header { name, value })
    }

    /// A JSON pointer, or names with dots between them.
    pub(super) fn of_json(text: &str) -> anyhow::Result<Self> {
        let path = text.strip_prefix("$.").unwrap_or(text);
        anyhow::ensure!(!path.is_empty(), "the path of a conversion is empty");
        if path.starts_with('/') {
            return Ok(Self::Json { pointer: path.to_owned() });
        }
        Ok(Self::Json { pointer: format!("/{}", strict::escaped(path).replace('.', "/")) })
    }

    /// Whether an answer shows it.
    pub(super) fn is_shown(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        match self {
            Self::Header { name, value: Some(value) } => {
                headers.get_all(name).iter().any(|found| found.as_bytes() == value.as_bytes())
            }
            Self::Header { name, value: None } => headers.contains_key(name),
            Self::Json { pointer } => {
                let value = strict::parse(body).unwrap_or_default();
                value.pointer(pointer).is_some_and(is_true)
            }
        }
    }
}

/// True, a number that is not 0, or a text that does not say no.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is_true) => *is_true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !["", "0", "false", "no"].contains(&text.to_lowercase().as_str()),
        Value::Array(_) | Value::Object(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_header_is_there_or_has_its_value() {
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static("x-sale"), HeaderValue::from_static("yes"))]);
        for (text, is_shown) in
            [("x-sale", true), ("X-Sale=yes", true), ("x-sale=no", false), ("x-other", false)]
        {
            assert_eq!(Conversion::of_header(text).unwrap().is_shown(&headers, b""), is_shown, "{text}");
        }
        assert!(Conversion::of_header("no name").is_err());
    }

    #[test]
    fn a_value_is_found_by_pointer_or_by_dots_and_has_to_be_true() {
        let body = br#"{ "order": { "paid": true, "free": false, "lines": [0, 2], "state": "No" } }"#;
        let headers = HeaderMap::new();
        for (text, is_shown) in [
            ("/order/paid", true),
            ("order.paid", true),
            ("$.order.paid", true),
            ("order.free", false),
            ("order.lines.1", true),
            ("order.lines.0", false),
            ("order.state", false),
            ("order.gone", false),
        ] {
            assert_eq!(Conversion::of_json(text).unwrap().is_shown(&headers, body), is_shown, "{text}");
        }
        assert!(!Conversion::of_json("a").unwrap().is_shown(&headers, b"<html>"));
        assert!(Conversion::of_json("").is_err());
    }
}
