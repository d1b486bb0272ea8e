//! An isolate's question to a replica. Never shares a question between requests: what one request waits for, no other may.

use flagfuse_shared::contract::probe::{
    BEAT_AGE_HEADER, FRESH_HEADER, HAVE_HEADER, PROBE_PATH, VERSION_HEADER, VOUCHED_HEADER,
};
use flagfuse_shared::ids::{Scope, SnapshotVersion};
use worker::{Env, Headers, Method, Request, RequestInit, Response, Stub};

use crate::config::Config;
use crate::error::EdgeError;
use crate::region::{location_hint, replica_name};
use crate::snapshot::cache::ProbeStatus;
use crate::snapshot::runtime::ProbeAnswer;

/// The replica object of a region and shard. The hint counts when the object is created, which its first caller does.
pub fn replica_stub(env: &Env, config: &Config, region: &str, shard: u16) -> Result<Stub, EdgeError> {
    let name = replica_name(region, &config.tenant, shard);
    env.durable_object("REPLICA")
        .and_then(|objects| match location_hint(region) {
            Some(hint) => objects.get_by_name_with_location_hint(&name, hint),
            None => objects.get_by_name(&name),
        })
        .map_err(|error| EdgeError::Misconfigured { detail: format!("binding REPLICA: {error}") })
}

/// Asks one replica.
pub async fn probe(
    stub: &Stub,
    scope: &Scope,
    have: Option<SnapshotVersion>,
) -> Result<ProbeAnswer, EdgeError> {
    let request = request(scope, have).map_err(|_| EdgeError::Internal)?;
    let answered = async {
        let mut response = stub.fetch_with_request(request).await?;
        let status = response.status_code();
        let frame = if status == 200 { Some(response.bytes().await?) } else { None };
        let version = header(&response, VERSION_HEADER, SnapshotVersion::parse);
        let answer = ProbeAnswer { version, frame, status: probe_status(&response) };
        Ok::<_, worker::Error>(matches!(status, 200 | 204 | 404).then_some(answer))
    };
    answered.await.ok().flatten().ok_or(EdgeError::ReplicaUnavailable)
}

fn request(scope: &Scope, have: Option<SnapshotVersion>) -> worker::Result<Request> {
    let mut init = RequestInit::new();
    init.with_method(Method::Get);
    if let Some(version) = have {
        let headers = Headers::new();
        headers.set(HAVE_HEADER, &version.to_string())?;
        init.with_headers(headers);
    }
    Request::new_with_init(&format!("http://replica{PROBE_PATH}/{scope}"), &init)
}

fn header<T>(response: &Response, name: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    response.headers().get(name).ok().flatten().and_then(|text| read(&text))
}

fn probe_status(response: &Response) -> ProbeStatus {
    let number = |name| header(response, name, |text| text.parse().ok());
    ProbeStatus {
        is_vouched: number(VOUCHED_HEADER) == Some(1),
        beat_age_ms: number(BEAT_AGE_HEADER),
        soft_ttl_ms: number(FRESH_HEADER),
    }
}
