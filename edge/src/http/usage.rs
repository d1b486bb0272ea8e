//! `POST …/client/metrics`: how often an Unleash SDK was asked. Acknowledged once it is on disk.

use flagfuse_shared::contract::beacon::{EventSource, RequestHead, SourceMark};
use flagfuse_shared::contract::usage::UsageReport;
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::limits::EVENT_COUNT_MAX;
use worker::Env;

use crate::beacon::handover::{Asker, ClientRequest, digest};
use crate::beacon::send;
use crate::config::Config;
use crate::error::EdgeError;
use crate::http::reply::Reply;
use crate::random;

/// Stores a report as events, as many at a time as a client's request may have. When a later part finds no room, the
/// earlier ones stay, and the client that sends the whole report again is counted twice for them: its protocol has no
/// names for reports.
pub async fn answer(
    body: &[u8],
    env: &Env,
    config: &Config,
    scope: &Scope,
    asker: &Asker,
    now: UnixMillis,
) -> Result<Reply, EdgeError> {
    let events = UsageReport::parse(body)?.events(now, || random::uuid_at(now));
    for part in events.chunks(EVENT_COUNT_MAX) {
        let head = RequestHead {
            sent_ms: None,
            // Usage enrols nobody and moves no cell: there is nothing that a ticket could prove.
            source: SourceMark::None,
            network: asker.network,
            is_bot: asker.is_bot,
            sdk: None,
        };
        let json = head.write(part.iter().map(|event| &**event));
        let request = ClientRequest {
            event_count: u32::try_from(part.len()).unwrap_or(u32::MAX),
            exposure_count: 0,
            received_ms: now,
            key: &asker.key,
            network: asker.network,
            digest: digest(part.iter().map(|event| event.get())),
            json: &json,
        };
        send::store(env, config, scope, EventSource::Client, request.write()).await?;
    }
    Ok(Reply::json(202, "{}".to_owned()))
}
