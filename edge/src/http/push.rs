//! `GET /v1/push/{region}/{shard}`: hands a control plane's WebSocket to a replica, and tells people what the replica holds.
//! Never reads a message itself.

use flagfuse_shared::limits::SHARD_COUNT_MAX;
use worker::{Env, Headers, Request, RequestInit, Response};

use crate::config::Config;
use crate::error::EdgeError;
use crate::http::body::header;
use crate::http::client_key::is_push_token;
use crate::http::route::ReplicaPage;
use crate::region::read_shard;
use crate::snapshot::probe::replica_stub;
use crate::snapshot::replica_do::{ACCEPT_PATH, STATE_PATH};

/// Connects the caller with a replica, or shows its state; credentials first.
pub async fn connect(
    request: &Request,
    env: &Env,
    config: &Config,
    [region, shard]: [&str; 2],
    page: ReplicaPage,
) -> Result<Response, EdgeError> {
    if !is_push_token(header(request, "authorization").as_deref(), config.push_token_digest.as_ref()) {
        return Err(EdgeError::PushTokenWrong);
    }
    let shard = replica_of(config, region, shard)?;
    let is_upgrade = header(request, "upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    if page == ReplicaPage::Push && !is_upgrade {
        return Err(EdgeError::UpgradeMissing);
    }
    let stub = replica_stub(env, config, region, shard)?;
    let inner = inner_request(page).map_err(|_| EdgeError::Internal)?;
    stub.fetch_with_request(inner).await.map_err(|_| EdgeError::ReplicaUnavailable)
}

/// The shard, when this deployment has that replica: a name that it has not would become an object that nobody asks.
fn replica_of(config: &Config, region: &str, shard: &str) -> Result<u16, EdgeError> {
    let is_known = config.regions.iter().any(|known| known == region);
    let shard = read_shard(shard).filter(|shard| *shard < config.shards.min(SHARD_COUNT_MAX));
    shard.filter(|_| is_known).ok_or_else(|| EdgeError::ReplicaUnknown {
        regions: config.regions.join(", "),
        shards: config.shards,
    })
}

/// Carries nothing of the original request: the replica has no use for its credentials.
fn inner_request(page: ReplicaPage) -> worker::Result<Request> {
    let mut init = RequestInit::new();
    let path = match page {
        ReplicaPage::Push => {
            let headers = Headers::new();
            headers.set("upgrade", "websocket")?;
            init.with_headers(headers);
            ACCEPT_PATH
        }
        ReplicaPage::State => STATE_PATH,
    };
    Request::new_with_init(&format!("http://replica{path}"), &init)
}
