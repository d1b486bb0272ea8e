//! Tells clients that there is something newer: they hear a version, never a flag.
//!
//! replica → [`announce`] → notifier object (`hub_do`, decided by `hub`) → hibernating WebSocket → our own SDK, or the
//! isolate that holds a browser's event stream (`relay`, decided by `course`). `token` lets browsers in.

pub mod course;
pub mod hub;
pub mod hub_do;
pub mod relay;
pub mod settings;
pub mod token;
pub mod writer;

use flagfuse_shared::contract::probe::VERSION_HEADER;
use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::ids::{Scope, SnapshotVersion};
use futures_util::future::join_all;
use worker::{Env, Headers, Method, Request, RequestInit, Response, Stub};

use crate::clock;
use crate::config::Config;
use crate::deadline::within;
use crate::error::EdgeError;
use crate::notify::hub_do::{ANNOUNCE_PATH, LISTEN_PATH, STORED_HEADER, URGENT_HEADER};

/// Time a notifier has to take an announcement or a listener.
const NOTIFIER_TIMEOUT_MS: u64 = 5_000;

/// Tells every listener of an environment that its replica stored `version`. What goes wrong is logged, never returned:
/// a client that hears nothing asks by itself.
///
/// Every notifier is told, whether it has listeners or not: a request and some milliseconds of an object are a fraction of
/// what the publication itself costs the region, and less than to keep a list of who listens and to be wrong about it.
/// One replica of a region announces (shard 0); a repetition by another one would be ignored.
pub async fn announce(env: &Env, config: &Config, scope: &Scope, version: SnapshotVersion, urgency: Urgency) {
    let stored_ms = clock::now().0.to_string();
    let told = (0..config.notify.notifier_count).map(|index| {
        let stored_ms = &stored_ms;
        async move {
            let stub = notifier_stub(env, config, scope, index)?;
            let headers = Headers::new();
            headers.set(VERSION_HEADER, &version.to_string())?;
            headers.set(STORED_HEADER, stored_ms)?;
            if urgency == Urgency::Urgent {
                headers.set(URGENT_HEADER, "1")?;
            }
            let mut init = RequestInit::new();
            init.with_method(Method::Post).with_headers(headers);
            let request = Request::new_with_init(&format!("http://notifier{ANNOUNCE_PATH}"), &init)?;
            let answer = within(NOTIFIER_TIMEOUT_MS, stub.fetch_with_request(request)).await;
            answer.map_err(|error| worker::Error::RustError(error.to_string()))?
        }
    });
    for outcome in join_all(told).await {
        if let Err(error) = outcome {
            worker::console_warn!("a notifier of {scope} was not told of {version}: {error}");
        }
    }
}

/// A WebSocket to the notifier that this connection's number chooses; `None` when it takes no more listeners.
pub async fn listen(
    env: &Env,
    config: &Config,
    scope: &Scope,
    served: SnapshotVersion,
    jitter: u64,
) -> Result<Option<Response>, EdgeError> {
    let index = jitter % u64::from(config.notify.notifier_count.max(1));
    let connect = async {
        let stub = notifier_stub(env, config, scope, u16::try_from(index).unwrap_or(0))?;
        // Carries nothing of the original request: the notifier has no use for its credentials.
        let headers = Headers::new();
        headers.set("upgrade", "websocket")?;
        headers.set(VERSION_HEADER, &served.to_string())?;
        let mut init = RequestInit::new();
        init.with_headers(headers);
        stub.fetch_with_request(Request::new_with_init(&format!("http://notifier{LISTEN_PATH}"), &init)?)
            .await
    };
    let answer = within(NOTIFIER_TIMEOUT_MS, connect).await;
    let answer =
        answer.map_err(|_| EdgeError::NotifierUnavailable)?.map_err(|_| EdgeError::NotifierUnavailable)?;
    match answer.status_code() {
        101 => Ok(Some(answer)),
        503 => Ok(None),
        _ => Err(EdgeError::NotifierUnavailable),
    }
}

/// The notifier object `region/tenant/project/environment/index`.
fn notifier_stub(env: &Env, config: &Config, scope: &Scope, index: u16) -> worker::Result<Stub> {
    env.durable_object("NOTIFIER")?.get_by_name(&format!("{}/{scope}/{index}", config.region))
}
