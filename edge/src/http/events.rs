//! `POST /v1/events`: acknowledges events once they are on disk. Nothing is dropped: invalid events travel on as they came.

use flagfuse_shared::contract::beacon::{ClientBatch, EventSource, IngestEvent, parse_event};
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde_json::json;
use worker::Env;

use crate::beacon::send;
use crate::config::Config;
use crate::error::EdgeError;
use crate::http::reply::Reply;

/// Stores a body's events; 202 says which of them the control plane will quarantine.
pub async fn answer(
    body: &[u8],
    env: &Env,
    config: &Config,
    scope: &Scope,
    now: UnixMillis,
) -> Result<Reply, EdgeError> {
    let (events, quarantined) = read(body, now)?;
    if !events.is_empty() {
        send::store(env, config, scope, EventSource::Client, &events).await?;
    }
    let accepted = events.len() - quarantined.len();
    let quarantined: Vec<_> =
        quarantined.iter().map(|(index, code)| json!({"index": index, "code": code})).collect();
    let body = json!({"accepted": accepted, "quarantined": quarantined, "metadata": {}});
    Ok(Reply::json(202, body.to_string()))
}

/// Position and code of an event that the control plane will quarantine.
type Quarantined = (usize, &'static str);

/// All events as they arrived, and which of them are invalid.
fn read(body: &[u8], now: UnixMillis) -> Result<(Vec<IngestEvent>, Vec<Quarantined>), EdgeError> {
    let batch = ClientBatch::parse(body)?;
    let quarantined = batch
        .events
        .iter()
        .enumerate()
        .filter_map(|(at, raw)| {
            parse_event(raw.get(), now, batch.sent_ms).err().map(|code| (at, code.as_str()))
        })
        .collect();
    let events = batch
        .events
        .iter()
        .map(|raw| IngestEvent { received_ms: now, sent_ms: batch.sent_ms, raw: (*raw).to_owned() })
        .collect();
    Ok((events, quarantined))
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
        let (events, quarantined) = read(body, NOW).unwrap();
        assert_eq!(events.len(), 3);
        assert_eq!(quarantined, [(1, "bad_schema"), (2, "bad_schema")]);
        assert_eq!(events[2].raw.get(), "7");
        assert!(events[0].raw.get().contains("\"new\":[1]"));
    }

    #[test]
    fn a_body_that_is_no_batch_is_refused_whole() {
        for body in [&b""[..], b"[]", b"{\"events\":{}}", b"{\"events\":[", b"\xff"] {
            assert!(matches!(read(body, NOW), Err(EdgeError::Events(_))));
        }
    }
}
