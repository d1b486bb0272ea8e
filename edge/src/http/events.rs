//! `POST /v1/events`: acknowledges events once they are on disk. Nothing is dropped: invalid events travel on as they came.

use flagfuse_shared::contract::beacon::{ClientBatch, EventSource, IngestEvent, parse_event};
use flagfuse_shared::contract::fault::EventFault;
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde_json::{Map, Value, json};
use worker::Env;

use crate::beacon::send;
use crate::config::Config;
use crate::error::EdgeError;
use crate::http::reply::Reply;

/// Stores a body's events, valid or not. The answer says which of them the control plane will quarantine, and why; when
/// that is all of them, it is a refusal.
pub async fn answer(
    body: &[u8],
    env: &Env,
    config: &Config,
    scope: &Scope,
    now: UnixMillis,
) -> Result<Reply, EdgeError> {
    let (events, refused) = read(body, now)?;
    if !events.is_empty() {
        send::store(env, config, scope, EventSource::Client, &events).await?;
    }
    Ok(reply(events.len(), &refused))
}

/// Position of an event that the control plane will quarantine, and why it will.
type Quarantined = (usize, EventFault);

/// Those events are on disk: a client that sent nothing usable learns it, and one that sends them again repeats them.
fn reply(count: usize, refused: &[Quarantined]) -> Reply {
    let accepted = count - refused.len();
    let told = refused.iter().map(|(at, EventFault { code, field, reason })| {
        let field = Some(field).filter(|field| !field.is_empty());
        json!({ "index": at, "code": code, "field": field, "reason": reason })
    });
    let mut members = Map::new();
    members.insert("accepted".to_owned(), json!(accepted));
    members.insert("quarantined".to_owned(), told.collect());
    match refused.first() {
        Some((_, first)) if accepted == 0 => {
            EdgeError::EventsRefused { count, first: first.reason.clone() }.reply_with(None, members)
        }
        _ => {
            members.insert("metadata".to_owned(), json!({}));
            Reply::json(202, Value::Object(members).to_string())
        }
    }
}

/// All events as they arrived, and which of them are invalid.
fn read(body: &[u8], now: UnixMillis) -> Result<(Vec<IngestEvent>, Vec<Quarantined>), EdgeError> {
    let batch = ClientBatch::parse(body)?;
    let raws = batch.events.iter().enumerate();
    let refused = raws
        .filter_map(|(at, raw)| parse_event(raw.get(), now, batch.sent_ms).err().map(|fault| (at, fault)))
        .collect();
    let events = batch
        .events
        .iter()
        .map(|raw| IngestEvent { received_ms: now, sent_ms: batch.sent_ms, raw: (*raw).to_owned() })
        .collect();
    Ok((events, refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

    #[test]
    fn invalid_events_are_named_and_kept_as_they_came() {
        let body = br#"{"sent_ms":1790000000000,"events":[
            {"id":"1","type":"outcome","unit":"u","occurred_ms":1790000000000,"metric":"conversion","new":[1]},
            {"id":"2","type":"surprise"}, 7]}"#;
        let (events, refused) = read(body, NOW).unwrap();
        assert_eq!(events.len(), 3);
        let told: Vec<_> = refused.iter().map(|(at, fault)| (*at, fault.code.as_str())).collect();
        assert_eq!(told, [(1, "bad_schema"), (2, "bad_schema")]);
        let reply = super::reply(events.len(), &refused);
        let body: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!((reply.status, &body["accepted"]), (202, &json!(1)));
        let reason = r#"type must be "exposure", "outcome" or "usage", but is the string "surprise""#;
        let expected = json!({ "index": 1, "code": "bad_schema", "field": "type", "reason": reason });
        assert_eq!(body["quarantined"][0], expected);
        assert!(body["quarantined"][1]["field"].is_null(), "it is about the whole event");
        assert_eq!(events[2].raw.get(), "7");
        assert!(events[0].raw.get().contains("\"new\":[1]"));
    }

    #[test]
    fn a_body_of_which_nothing_can_be_used_is_a_refusal_and_kept_all_the_same() {
        let (events, refused) = read(br#"{"events":[{"id":"1"},7]}"#, NOW).unwrap();
        let reply = super::reply(events.len(), &refused);
        let body: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!((reply.status, events.len()), (400, 2));
        assert_eq!((&body["code"], &body["accepted"]), (&json!("events_refused"), &json!(0)));
        assert_eq!(
            body["detail"],
            "all 2 events are refused: events[0]: type is missing: every event has an id, a type and occurred_ms"
        );
        assert_eq!(body["quarantined"].as_array().map(Vec::len), Some(2));
        let (events, refused) = read(br#"{"events":[]}"#, NOW).unwrap();
        assert_eq!(super::reply(events.len(), &refused).status, 202, "nothing was asked for");
    }

    #[test]
    fn a_body_that_is_no_batch_is_refused_whole() {
        for body in [&b""[..], b"[]", b"{\"events\":{}}", b"{\"events\":[", b"\xff"] {
            assert!(matches!(read(body, NOW), Err(EdgeError::Events(_))));
        }
    }
}
