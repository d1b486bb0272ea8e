//! What clients send: the body of `POST /v1/events`.

use serde::Deserialize as _;
use serde_json::Value;
use serde_json::value::RawValue;

use super::refused::{BatchError, check_count};
use crate::ids::UnixMillis;
use crate::limits::{EVENT_COUNT_MAX, SDK_LEN_MAX, TICKET_LEN_MAX};
use crate::strict::{self, Misfit};

/// Body of `POST /v1/events`. Unknown fields are allowed: newer clients may say more.
#[derive(Debug)]
pub struct ClientBatch<'b> {
    /// The client's clock when it sent this.
    pub sent_ms: Option<UnixMillis>,
    /// The program that reports them, such as `web/1.4.0`.
    pub sdk: Option<String>,
    /// The ticket for all events that carry none of their own.
    pub ticket: Option<String>,
    /// The events, each parsed on its own.
    pub events: Vec<&'b RawValue>,
}

impl<'b> ClientBatch<'b> {
    /// Parses a request's body.
    pub fn parse(body: &'b [u8]) -> Result<Self, BatchError> {
        Self::parse_within(body, EVENT_COUNT_MAX)
    }

    /// The same with another limit of events.
    pub fn parse_within(body: &'b [u8], count_max: usize) -> Result<Self, BatchError> {
        let refused = |detail: &str| BatchError::Shape { detail: format!("{detail}; {EXPECTED}") };
        let (mut sent_ms, mut events, mut sdk, mut ticket) = (None, None, None, None);
        for (name, raw) in strict::fields(body).map_err(|fault| refused(&fault.of("the body")))? {
            let in_field = |misfit: Misfit| refused(&misfit.of(&name));
            match name.as_str() {
                "sent_ms" => {
                    let sent = Value::deserialize(raw).map_err(|_| refused("sent_ms is out of range"))?;
                    sent_ms = strict::from_value(&sent).map_err(in_field)?;
                }
                "sdk" => sdk = text(&name, raw, SDK_LEN_MAX)?,
                "ticket" => ticket = text(&name, raw, TICKET_LEN_MAX)?,
                // Unread, each for itself: what is wrong with one is no reason to refuse the others.
                "events" => events = Some(strict::items(raw).map_err(in_field)?),
                _ => {
                    strict::parse(raw.get().as_bytes()).map_err(|fault| refused(&fault.of(&name)))?;
                }
            }
        }
        let batch =
            Self { sent_ms, sdk, ticket, events: events.ok_or_else(|| refused("events is missing"))? };
        check_count(batch.events.len(), count_max)?;
        Ok(batch)
    }
}

/// What the body of events looks like.
const EXPECTED: &str =
    "expected is {\"events\": [{\"id\": …, \"type\": …, \"unit\": …, \"occurred_ms\": …}]}";

/// A text within its limit, or nothing.
fn text(name: &str, raw: &RawValue, len_max: usize) -> Result<Option<String>, BatchError> {
    let refused = |detail: String| BatchError::Shape { detail: format!("{detail}; {EXPECTED}") };
    let value = Value::deserialize(raw).map_err(|_| refused(format!("{name} is out of range")))?;
    let text: Option<String> =
        strict::from_value(&value).map_err(|misfit: Misfit| refused(misfit.of(name)))?;
    match text {
        Some(text) if text.len() > len_max => {
            Err(refused(format!("{name} has {} bytes, the limit is {len_max}", text.len())))
        }
        text => Ok(text.filter(|text| !text.is_empty())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_with_too_many_events_is_refused_whole() {
        let body = |count: usize| format!(r#"{{"events":[{}]}}"#, vec!["{}"; count].join(","));
        assert!(ClientBatch::parse(body(EVENT_COUNT_MAX).as_bytes()).is_ok());
        assert!(ClientBatch::parse(body(EVENT_COUNT_MAX + 1).as_bytes()).is_err());
        assert!(ClientBatch::parse(b"[]").is_err());
    }

    #[test]
    fn a_request_is_an_object_with_each_key_once_and_its_events_are_nobody_elses_fault() {
        for (bad, said) in [
            (&br"[1800000000000,[]]"[..], "the body must be an object, but is an array; expected is {"),
            (b"", "the body is not JSON: it is empty"),
            (br#"{"events":["#, "the body is not JSON: it ends too early, at line 1 column"),
            (br#"{"events":[],"events":[]}"#, r#"the body is ambiguous: the key "events" is repeated"#),
            (br#"{"events":[],"new":1,"new":1}"#, r#"the key "new" is repeated"#),
            (
                br#"{"events":[],"new":[{"a":1,"a":1}]}"#,
                r#"new is ambiguous: the key "a" is repeated in [0]"#,
            ),
            (br#"{"events":{}}"#, "events must be an array, but is an object"),
            (
                br#"{"events":[],"sent_ms":"now"}"#,
                r#"sent_ms must be a whole number from 0 on, but is the string "now""#,
            ),
            (br#"{"sent_ms":1}"#, "events is missing"),
        ] {
            let refused = ClientBatch::parse(bad).unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}");
        }
        let body = br#"{"sent_ms":null,"new":{},"events":[{"a":1,"a":1},["e"]]}"#;
        let batch = ClientBatch::parse(body).unwrap();
        let raw: Vec<&str> = batch.events.iter().map(|raw| raw.get()).collect();
        assert_eq!((batch.sent_ms, raw), (None, vec![r#"{"a":1,"a":1}"#, r#"["e"]"#]));
    }

    #[test]
    fn a_request_names_its_program_and_its_ticket_within_limits() {
        let batch = ClientBatch::parse(br#"{"sdk":"web/1.4.0","ticket":"k.1.x","events":[]}"#).unwrap();
        assert_eq!((batch.sdk.as_deref(), batch.ticket.as_deref()), (Some("web/1.4.0"), Some("k.1.x")));
        let batch = ClientBatch::parse(br#"{"sdk":null,"ticket":"","events":[]}"#).unwrap();
        assert_eq!((batch.sdk, batch.ticket), (None, None));
        for (name, len_max) in [("sdk", SDK_LEN_MAX), ("ticket", TICKET_LEN_MAX)] {
            let body = |len| format!(r#"{{"{name}":"{}","events":[]}}"#, "x".repeat(len));
            assert!(ClientBatch::parse(body(len_max).as_bytes()).is_ok());
            let refused = ClientBatch::parse(body(len_max + 1).as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(&format!("{name} has {} bytes, the limit is {len_max}", len_max + 1)));
            assert!(ClientBatch::parse(format!(r#"{{"{name}":7,"events":[]}}"#).as_bytes()).is_err());
        }
    }
}
