//! Tells clients that there is something newer: they hear a version, never a flag.
//!
//! replica → [`announce`] → notifier object (`hub_do`, decided by `hub`) → hibernating WebSocket → our own SDK, or the
//! isolate that holds a browser's event stream (`relay`, decided by `course`). `token` lets browsers in.

pub mod course;
pub mod door;
pub mod hub;
pub mod hub_do;
pub mod relay;
pub mod shares;
pub mod writer;

use flagfuse_shared::contract::probe::VERSION_HEADER;
use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::snapshot::{KeyId, KeyIds};
use futures_util::future::join_all;
use worker::{Env, Headers, Method, Request, RequestInit, Response, Stub};

use crate::clock;
use crate::config::Config;
use crate::deadline::{pause, within};
use crate::error::EdgeError;
use crate::notify::hub_do::{
    ANNOUNCE_PATH, CLIENT_HEADER, KEY_HEADER, LISTEN_PATH, STORED_HEADER, URGENT_HEADER,
};
use crate::notify::shares::Client;

/// Time a notifier has to take an announcement or a listener.
const NOTIFIER_TIMEOUT_MS: u64 = 5_000;
/// Pauses before a notifier that has taken no announcement is told again: one that was just being moved, and one that is late.
const ANNOUNCE_PAUSES_MS: [u64; 2] = [250, 2_000];

/// Tells every listener of an environment that its replica stored `version`. What goes wrong is tried again, logged then and
/// never returned: a client that hears nothing asks by itself.
///
/// Every notifier is told, whether it has listeners or not: a request and some milliseconds of an object are a fraction of
/// what the publication itself costs the region, and less than to keep a list of who listens and to be wrong about it.
/// One replica of a region announces (shard 0); a repetition by another one would be ignored. `keys` are the client keys
/// that are valid from now on: who listens with another one hears its end.
pub async fn announce(
    env: &Env,
    config: &Config,
    scope: &Scope,
    version: SnapshotVersion,
    urgency: Urgency,
    keys: &KeyIds,
) {
    let (stored_ms, keys) = (&clock::now().0.to_string(), &keys.to_string());
    let told = (0..config.notify.notifier_count).map(|index| {
        let tell = async move || -> worker::Result<Response> {
            // A stub that has failed once may be of an object that is gone.
            let stub = notifier_stub(env, config, scope, index)?;
            let headers = Headers::new();
            headers.set(VERSION_HEADER, &version.to_string())?;
            headers.set(STORED_HEADER, stored_ms)?;
            if urgency == Urgency::Urgent {
                headers.set(URGENT_HEADER, "1")?;
            }
            let mut init = RequestInit::new();
            init.with_method(Method::Post).with_headers(headers).with_body(Some(keys.into()));
            let request = Request::new_with_init(&format!("http://notifier{ANNOUNCE_PATH}"), &init)?;
            let answer = within(NOTIFIER_TIMEOUT_MS, stub.fetch_with_request(request)).await;
            answer.map_err(|error| worker::Error::RustError(error.to_string()))?
        };
        repeated(&ANNOUNCE_PAUSES_MS, pause, tell)
    });
    for outcome in join_all(told).await {
        if let Err(error) = outcome {
            worker::console_warn!("a notifier of {scope} was not told of {version}: {error}");
        }
    }
}

/// Acts until that succeeds, with a pause before each repetition; the last failure when it never does.
async fn repeated<T, E>(
    pauses_ms: &[u64],
    pause: impl AsyncFn(u64),
    act: impl AsyncFn() -> Result<T, E>,
) -> Result<T, E> {
    let mut outcome = act().await;
    for ms in pauses_ms {
        if outcome.is_ok() {
            break;
        }
        pause(*ms).await;
        outcome = act().await;
    }
    outcome
}

/// Who listens to what.
#[derive(Debug)]
pub struct Listener {
    pub scope: Scope,
    /// What this isolate serves of it.
    pub served: SnapshotVersion,
    /// The client key that opened it.
    pub key: KeyId,
    /// Who, as far as shares go.
    pub client: Client,
    /// When the credential has to be shown anew.
    pub expires_at: UnixMillis,
}

/// A WebSocket to the notifier that this connection's number chooses; `None` when it takes no more listeners.
pub async fn listen(
    env: &Env,
    config: &Config,
    listener: &Listener,
    jitter: u64,
) -> Result<Option<Response>, EdgeError> {
    let Listener { scope, served, key, client, .. } = listener;
    let index = jitter % u64::from(config.notify.notifier_count.max(1));
    let connect = async {
        let stub = notifier_stub(env, config, scope, u16::try_from(index).unwrap_or(0))?;
        // Carries nothing of the original request: the notifier has no use for its credentials.
        let headers = Headers::new();
        headers.set("upgrade", "websocket")?;
        headers.set(VERSION_HEADER, &served.to_string())?;
        headers.set(KEY_HEADER, &key.to_string())?;
        headers.set(CLIENT_HEADER, &client.to_string())?;
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
        // The notifier heard of the key's end before this isolate did.
        401 => Err(EdgeError::KeyUnknown),
        503 => Ok(None),
        _ => Err(EdgeError::NotifierUnavailable),
    }
}

/// The notifier object `region/tenant/project/environment/index`.
fn notifier_stub(env: &Env, config: &Config, scope: &Scope, index: u16) -> worker::Result<Stub> {
    env.durable_object("NOTIFIER")?.get_by_name(&format!("{}/{scope}/{index}", config.region))
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn what_fails_is_repeated_after_its_pauses_and_what_succeeds_is_not() {
        // How often it fails, what comes of it, and the pauses.
        for (failure_count, outcome, paused) in
            [(0, Ok(1), &[][..]), (1, Ok(2), &[250]), (2, Ok(3), &[250, 2_000]), (3, Err(3), &[250, 2_000])]
        {
            let (attempts, pauses) = (Cell::new(0), RefCell::new(Vec::new()));
            let act = async || {
                attempts.set(attempts.get() + 1);
                if attempts.get() > failure_count { Ok(attempts.get()) } else { Err(attempts.get()) }
            };
            let pause = async |ms| pauses.borrow_mut().push(ms);
            let found = repeated(&ANNOUNCE_PAUSES_MS, pause, act).now_or_never();
            assert_eq!((found, pauses.into_inner()), (Some(outcome), paused.to_vec()));
        }
    }
}
