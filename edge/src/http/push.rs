//! `GET /v1/push/…`: hands a control plane's WebSocket to the environment's replica. Never reads a message itself.

use flagfuse_shared::ids::{EnvironmentKey, IdError, ProjectKey};
use worker::{Env, Headers, Request, RequestInit, Response};

use crate::config::Config;
use crate::error::EdgeError;
use crate::http::body::header;
use crate::http::credential::is_push_token;
use crate::snapshot::isolate::replica_stub;

/// Connects the caller with the replica of `tenant/project/environment`, credentials first.
pub async fn connect(
    request: &Request,
    env: &Env,
    config: &Config,
    [tenant, project, environment]: [&str; 3],
) -> Result<Response, EdgeError> {
    if !is_push_token(header(request, "authorization").as_deref(), config.push_token_digest.as_ref()) {
        return Err(EdgeError::PushTokenWrong);
    }
    if !header(request, "upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err(EdgeError::UpgradeMissing);
    }
    if tenant != config.tenant.as_str() {
        return Err(EdgeError::RouteNotFound);
    }
    let malformed = |error: IdError| EdgeError::PathMalformed { detail: error.to_string() };
    let project = ProjectKey::parse(project).map_err(malformed)?;
    let environment = EnvironmentKey::parse(environment).map_err(malformed)?;
    let stub = replica_stub(env, config, &config.scope(&project, &environment))?;
    let upgrade = upgrade_request().map_err(|_| EdgeError::Internal)?;
    stub.fetch_with_request(upgrade).await.map_err(|_| EdgeError::ReplicaUnavailable)
}

/// Carries nothing of the original request: the replica has no use for its credentials.
fn upgrade_request() -> worker::Result<Request> {
    let headers = Headers::new();
    headers.set("upgrade", "websocket")?;
    let mut init = RequestInit::new();
    init.with_headers(headers);
    Request::new_with_init("http://replica/push", &init)
}
