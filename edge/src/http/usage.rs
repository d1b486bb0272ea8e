//! `POST …/client/metrics`: how often an Unleash SDK was asked. Acknowledged once it is on disk.

use flagfuse_shared::contract::usage::UsageReport;
use flagfuse_shared::ids::{Scope, UnixMillis};
use worker::Env;

use crate::beacon::handover::Asker;
use crate::beacon::reports;
use crate::config::Config;
use crate::error::EdgeError;
use crate::http::reply::Reply;
use crate::random;

/// Stores a report as events. When a later part of it finds no room, the earlier ones stay, and the client that sends the
/// whole report again is counted twice for them: its protocol has no names for reports.
pub async fn answer(
    body: &[u8],
    env: &Env,
    config: &Config,
    scope: &Scope,
    asker: &Asker,
    now: UnixMillis,
) -> Result<Reply, EdgeError> {
    let events = UsageReport::parse(body)?.events(now, || random::uuid_at(now));
    reports::store(&events, env, config, scope, asker, now).await?;
    Ok(Reply::json(202, "{}".to_owned()))
}
