//! Requests of Unleash's frontend API → attributes of a context. Pure; knows no token and no address of its own.
//!
//! Attributes have Unleash's names, but for the user, who is the targeting key. What `properties` say of the fields
//! that Unleash reads from the top level only — the user and the time — does not count.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::USER_ID;
use super::moment::moment_ms;
use crate::condition::date_ms;
use crate::context::{CURRENT_TIME, TARGETING_KEY, scalar_text};
use crate::limits::{CONTEXT_ATTRIBUTE_COUNT_MAX, REQUEST_BODY_LEN_MAX};
use crate::strict;

/// Why a request names no context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// More bytes than the limit.
    #[error("the request has {len} bytes, the limit is {REQUEST_BODY_LEN_MAX}")]
    TooLong {
        /// Bytes found.
        len: usize,
    },
    /// No JSON object, or a `context` that is none.
    #[error("{detail}; expected is an Unleash context, such as {{\"context\": {{\"userId\": \"7\"}}}}")]
    Shape {
        /// What was there.
        detail: String,
    },
    /// More fields than a context can have.
    #[error("the context has {count} fields, the limit is {CONTEXT_ATTRIBUTE_COUNT_MAX}")]
    TooManyFields {
        /// Fields found.
        count: usize,
    },
}

/// Fields of the top level; a value there beats the one in `properties`.
const FIELDS: [&str; 6] = [USER_ID, "sessionId", REMOTE_ADDRESS, CURRENT_TIME, "appName", "environment"];
const REMOTE_ADDRESS: &str = "remoteAddress";

/// Reads a query, without its question mark: `userId=7&properties[plan]=pro`. All values are texts.
///
/// A name or value whose percent-encoding is broken counts as it is written.
pub fn parse_query(query: &str) -> Result<Map<String, Value>, RequestFault> {
    check_len(query.len())?;
    let (mut context, mut properties) = (Map::new(), Map::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name), Value::String(decode(value)));
        match name.strip_prefix("properties[").and_then(|rest| rest.strip_suffix(']')) {
            Some(property) => properties.insert(property.to_owned(), value),
            None => context.insert(name, value),
        };
    }
    context.insert("properties".to_owned(), Value::Object(properties));
    flatten(context)
}

/// Reads a body: `{"context": {…}}` or the context alone. An empty body is an empty context.
pub fn parse_body(bytes: &[u8]) -> Result<Map<String, Value>, RequestFault> {
    check_len(bytes.len())?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    let shape = |detail: String| RequestFault::Shape { detail };
    let mut body: Map<String, Value> =
        strict::from_slice(bytes).map_err(|fault| shape(fault.of("the body")))?;
    match body.remove("context") {
        None => flatten(body),
        Some(Value::Object(context)) => flatten(context),
        Some(Value::Null) => Ok(Map::new()),
        Some(other) => Err(shape(format!("context must be an object, but is {other}"))),
    }
}

/// Adds the address from which a request came, when its client names none. A context that is full stays as it is.
pub fn add_address(attributes: &mut Map<String, Value>, address: &str) {
    let is_address = address.parse::<core::net::IpAddr>().is_ok();
    if is_address
        && attributes.len() < CONTEXT_ATTRIBUTE_COUNT_MAX
        && !attributes.contains_key(REMOTE_ADDRESS)
    {
        attributes.insert(REMOTE_ADDRESS.to_owned(), Value::String(address.to_owned()));
    }
}

const fn check_len(len: usize) -> Result<(), RequestFault> {
    if len > REQUEST_BODY_LEN_MAX { Err(RequestFault::TooLong { len }) } else { Ok(()) }
}

/// `+` is a space, `%XX` a byte.
fn decode(text: &str) -> String {
    percent_decoded(text).unwrap_or_else(|| text.to_owned())
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?,
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The top level's own fields, then `properties`, then what else stands at the top level.
fn flatten(mut context: Map<String, Value>) -> Result<Map<String, Value>, RequestFault> {
    let properties = match context.remove("properties") {
        Some(Value::Object(properties)) => properties,
        Some(_) | None => Map::new(),
    };
    let mut flat = Map::new();
    for field in FIELDS {
        // Unleash takes an empty or falsy field for one that is missing.
        let value = context.remove(field).filter(is_truthy);
        let entry = match (field, value) {
            (_, None) => continue,
            (USER_ID, Some(value)) => match user(&value) {
                Some(user) => (TARGETING_KEY, Value::String(user)),
                None => continue,
            },
            (CURRENT_TIME, Some(value)) => match moment(value) {
                Some(moment) => (CURRENT_TIME, moment),
                None => continue,
            },
            (_, Some(value)) => (field, value),
        };
        flat.insert(entry.0.to_owned(), entry.1);
    }
    for (name, value) in properties.into_iter().chain(context) {
        let is_reserved = [USER_ID, CURRENT_TIME, TARGETING_KEY].contains(&name.as_str());
        if !is_reserved && !value.is_null() && !flat.contains_key(&name) {
            flat.insert(name, value);
        }
    }
    if flat.len() > CONTEXT_ATTRIBUTE_COUNT_MAX {
        return Err(RequestFault::TooManyFields { count: flat.len() });
    }
    Ok(flat)
}

fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// Numbers name users too.
fn user(value: &Value) -> Option<String> {
    match value {
        Value::String(_) | Value::Number(_) => scalar_text(value).map(Cow::into_owned),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A date as it is when conditions can read it, else its milliseconds. One that cannot be read means now: as an attribute it
/// would be no date, and every comparison of dates off.
fn moment(value: Value) -> Option<Value> {
    match date_ms(&value) {
        Some(_) => Some(value),
        None => moment_ms(&value).map(Value::from),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_query_is_a_flat_context() {
        let rows = [
            ("", json!({})),
            (
                "userId=7&sessionId=s&appName=a",
                json!({ "targetingKey": "7", "sessionId": "s", "appName": "a" }),
            ),
            ("userId=&currentTime=", json!({})),
            ("currentTime=2022-01-29", json!({ "currentTime": 1_643_414_400_000_i64 })),
            ("currentTime=1643461200000", json!({ "currentTime": 1_643_461_200_000_i64 })),
            ("currentTime=2022-01-29T13:00:00", json!({ "currentTime": 1_643_461_200_000_i64 })),
            ("currentTime=2022-01-29T13:00:00Z", json!({ "currentTime": "2022-01-29T13:00:00Z" })),
            ("currentTime=soon", json!({})),
            (
                "properties%5Bplan%5D=pro+plus&properties[a.b]=%C3%A4%26",
                json!({ "plan": "pro plus", "a.b": "ä&" }),
            ),
            ("properties[plan]=inner&plan=outer&region=eu", json!({ "plan": "inner", "region": "eu" })),
            ("sessionId=outer&properties[sessionId]=inner", json!({ "sessionId": "outer" })),
            ("properties[sessionId]=inner", json!({ "sessionId": "inner" })),
            ("properties[userId]=u&properties[currentTime]=t&targetingKey=k", json!({})),
            ("a=100%&b=%zz&c=%ff&&flag", json!({ "a": "100%", "b": "%zz", "c": "%ff", "flag": "" })),
            ("userId=a=b&userId=c", json!({ "targetingKey": "c" })),
        ];
        for (query, expected) in rows {
            assert_eq!(Value::Object(parse_query(query).unwrap()), expected, "{query}");
        }
    }

    #[test]
    fn a_body_is_a_context_with_or_without_its_name() {
        let context = json!({
            "userId": 7, "currentTime": "2022-01-01T00:00:00Z", "remoteAddress": null, "extra": [1],
            "properties": { "n": 12, "b": false, "gone": null, "userId": "other" },
        });
        let expected = json!({ "targetingKey": "7", "currentTime": "2022-01-01T00:00:00Z", "extra": [1], "n": 12, "b": false });
        for body in [context.clone(), json!({ "context": context })] {
            assert_eq!(Value::Object(parse_body(body.to_string().as_bytes()).unwrap()), expected, "{body}");
        }
        for body in [
            "",
            " \n",
            "{}",
            r#"{"context":{}}"#,
            r#"{"context":null}"#,
            r#"{"properties":7,"userId":false}"#,
        ] {
            assert_eq!(parse_body(body.as_bytes()), Ok(Map::new()), "{body}");
        }
        for body in [
            "[]",
            "7",
            "{",
            r#"{"context":7}"#,
            r#"{"userId":"a","userId":"b"}"#,
            r#"{"properties":{"a":1,"a":2}}"#,
        ] {
            assert!(matches!(parse_body(body.as_bytes()), Err(RequestFault::Shape { .. })), "{body}");
        }
    }

    #[test]
    fn numbers_become_the_texts_of_javascript() {
        for (number, expected) in
            [("7.0", "7"), ("1e3", "1000"), ("12345678901234567890", "12345678901234567000")]
        {
            let context = parse_body(format!(r#"{{"userId":{number}}}"#).as_bytes()).unwrap();
            assert_eq!(context.get(TARGETING_KEY), Some(&json!(expected)), "{number}");
        }
    }

    #[test]
    fn an_address_is_the_connections_when_the_client_names_none() {
        let of = |query: &str, address: &str| {
            let mut attributes = parse_query(query).unwrap();
            add_address(&mut attributes, address);
            attributes.get(REMOTE_ADDRESS).cloned()
        };
        assert_eq!(of("", "203.0.113.7"), Some(json!("203.0.113.7")));
        assert_eq!(of("remoteAddress=", "2001:db8::1"), Some(json!("2001:db8::1")));
        assert_eq!(of("remoteAddress=10.0.0.1", "203.0.113.7"), Some(json!("10.0.0.1")));
        assert_eq!(of("properties[remoteAddress]=10.0.0.1", "203.0.113.7"), Some(json!("10.0.0.1")));
        assert_eq!(of("", "no address"), None);
        let fields = |count: usize| (0..count).map(|n| format!("f{n}=1")).collect::<Vec<_>>().join("&");
        assert!(of(&fields(CONTEXT_ATTRIBUTE_COUNT_MAX - 1), "203.0.113.7").is_some());
        assert_eq!(of(&fields(CONTEXT_ATTRIBUTE_COUNT_MAX), "203.0.113.7"), None);
    }

    #[test]
    fn bytes_and_fields_are_bounded_on_each_side() {
        let query = |len: usize| "a".repeat(len);
        assert!(parse_query(&query(REQUEST_BODY_LEN_MAX)).is_ok());
        let len = REQUEST_BODY_LEN_MAX + 1;
        assert_eq!(parse_query(&query(len)), Err(RequestFault::TooLong { len }));
        assert_eq!(parse_body(query(len).as_bytes()), Err(RequestFault::TooLong { len }));
        let fields = |count: usize| (0..count).map(|n| format!("f{n}=1")).collect::<Vec<_>>().join("&");
        assert!(parse_query(&fields(CONTEXT_ATTRIBUTE_COUNT_MAX)).is_ok());
        let count = CONTEXT_ATTRIBUTE_COUNT_MAX + 1;
        assert_eq!(parse_query(&fields(count)), Err(RequestFault::TooManyFields { count }));
    }

    proptest! {
        #[test]
        fn any_request_is_an_answer(query in ".*", near in r"[a%+=&\[\]properties]*", bytes: Vec<u8>) {
            let _ = (parse_query(&query), parse_query(&near), parse_body(&bytes));
        }

        #[test]
        fn encoded_texts_come_back(text in ".{1,20}") {
            let encoded: Vec<String> = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let encoded = encoded.concat();
            let context = parse_query(&format!("userId={encoded}")).unwrap();
            prop_assert_eq!(context.get(TARGETING_KEY), Some(&json!(text)));
        }
    }
}
