//! `POST …/client/metrics`: how often an Unleash SDK was asked. Acknowledged once it is on disk.

use flagfuse_shared::contract::beacon::EventSource;
use flagfuse_shared::contract::usage::UsageReport;
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::limits::EVENT_COUNT_MAX;
use worker::Env;

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
    now: UnixMillis,
) -> Result<Reply, EdgeError> {
    let events = UsageReport::parse(body)?.events(now, random::uuid);
    for part in events.chunks(EVENT_COUNT_MAX) {
        send::store(env, config, scope, EventSource::Client, part).await?;
    }
    Ok(Reply::json(202, "{}".to_owned()))
}
