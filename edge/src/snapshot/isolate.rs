//! The isolate's snapshots: answers from memory within the staleness bound, asks the replica beyond it.
//! Never evaluates bytes that it has not verified itself.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use flagfuse_shared::contract::probe::HAVE_HEADER;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::evaluate::Freshness as Proof;
use flagfuse_shared::ids::{Scope, SnapshotVersion};
use flagfuse_shared::limits::PROBE_TIMEOUT_MS;
use flagfuse_shared::snapshot::payload::{Definitions, definitions};
use flagfuse_shared::snapshot::{Held, Outcome, Snapshot, Verified, verify};
use flagfuse_shared::unleash::export::client_features;
use worker::{Context, Delay, Env, Headers, Method, Request, RequestInit, Stub};

use crate::clock;
use crate::config::Config;
use crate::deadline::within;
use crate::error::EdgeError;
use crate::snapshot::cache::{Cache, Entry, Freshness, Plan};

/// A request that finds nothing in memory has nothing to lose by waiting for the replica to wake up.
const COLD_PROBE_TIMEOUT_MS: u64 = 2_000;
/// Catching up with a version that a client has seen elsewhere: at most 20 probes, 25 ms apart.
const CATCH_UP_COUNT_MAX: u32 = 20;
const CATCH_UP_PAUSE_MS: u64 = 25;
/// A key's snapshot leaves the control plane when the key is handed out and is here some 10 ms later.
const KEY_ON_ITS_WAY_MS: u64 = 40;

/// A verified snapshot in memory.
#[derive(Debug)]
pub struct Compiled {
    /// What to evaluate.
    pub snapshot: Verified<Snapshot>,
    /// Bytes of the last bulk answer and some more: the next one is written without growing.
    pub bulk_len_typical: Cell<usize>,
    /// The same for Unleash's frontend API.
    pub toggles_len_typical: Cell<usize>,
    /// The definitions as Unleash's client API tells them, once somebody asked.
    features: OnceCell<Rc<str>>,
    held: Held,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// From memory, without waiting.
    Memory,
    /// The replica was asked first.
    Probe,
}

/// A snapshot to answer one request with.
#[derive(Debug)]
pub struct Served {
    /// The snapshot.
    pub compiled: Rc<Compiled>,
    /// Its version.
    pub version: SnapshotVersion,
    /// Where it comes from.
    pub source: Source,
    /// Whether it is within the staleness bound.
    pub proof: Proof,
    /// Milliseconds since the replica confirmed it.
    pub age_ms: u64,
}

thread_local! {
    static CACHE: RefCell<Cache<Compiled>> = const { RefCell::new(Cache::new()) };
}

/// Snapshots in this isolate.
pub fn held_count() -> usize {
    CACHE.with_borrow(Cache::held_count)
}

fn with_entry<T>(scope: &Scope, act: impl FnOnce(&mut Entry<Compiled>) -> T) -> T {
    CACHE.with_borrow_mut(|cache| act(cache.entry(&scope.project, &scope.environment, clock::now())))
}

/// The snapshot to answer a request with that must not be answered from before `version_min`.
pub async fn current(
    env: &Env,
    context: &Context,
    config: &Rc<Config>,
    scope: &Scope,
    version_min: Option<SnapshotVersion>,
) -> Result<Served, EdgeError> {
    let now = clock::now();
    let plan = CACHE.with_borrow_mut(|cache| cache.plan(&scope.project, &scope.environment, now));
    let source = match plan {
        Plan::Memory => Source::Memory,
        Plan::MemoryAndRefresh => {
            let (stub, config, scope) = (replica_stub(env, config, scope)?, Rc::clone(config), scope.clone());
            context.wait_until(async move {
                // A failed refresh changes nothing: the next request sees an older age and asks again.
                let _ = probe(&stub, &config, &scope, PROBE_TIMEOUT_MS).await;
            });
            Source::Memory
        }
        Plan::Absent => return Err(EdgeError::NoSnapshot),
        Plan::Probe => {
            let is_cold = with_entry(scope, |entry| entry.held().is_none());
            let limit_ms = if is_cold { COLD_PROBE_TIMEOUT_MS } else { PROBE_TIMEOUT_MS };
            match probe(&replica_stub(env, config, scope)?, config, scope, limit_ms).await {
                Ok(()) => Source::Probe,
                Err(error) if is_cold => return Err(error),
                // Serve the last good one, labelled by its age.
                Err(_) => Source::Memory,
            }
        }
    };
    let served = served(scope, source)?;
    match version_min {
        Some(wanted) if served.version < wanted => catch_up(env, config, scope, wanted).await,
        _ => Ok(served),
    }
}

/// Whether an answer from memory has to be followed by a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// Nobody does it else: the lease is this request's.
    Needed,
    /// The memory is fresh enough, or somebody refreshes it.
    NotNeeded,
}

/// The snapshot in memory when it may answer at once. Takes the refresh lease, but nothing of the cold budget.
pub fn from_memory(scope: &Scope) -> Option<(Served, Refresh)> {
    let now = clock::now();
    let plan = CACHE.with_borrow_mut(|cache| cache.plan_held(&scope.project, &scope.environment, now))?;
    let refresh = match plan {
        Plan::Memory => Refresh::NotNeeded,
        Plan::MemoryAndRefresh => Refresh::Needed,
        Plan::Probe | Plan::Absent => return None,
    };
    served(scope, Source::Memory).ok().map(|served| (served, refresh))
}

/// Asks the replica whether there is something newer.
pub async fn refresh(env: &Env, config: &Config, scope: &Scope) -> Result<(), EdgeError> {
    probe(&replica_stub(env, config, scope)?, config, scope, PROBE_TIMEOUT_MS).await
}

fn served(scope: &Scope, source: Source) -> Result<Served, EdgeError> {
    let now = clock::now();
    with_entry(scope, |entry| {
        let (version, compiled) = entry.held().ok_or(EdgeError::NoSnapshot)?;
        let proof = if entry.is_fresh(now) { Proof::Fresh } else { Proof::Stale };
        Ok(Served { compiled, version, source, proof, age_ms: entry.age_ms(now).unwrap_or(0) })
    })
}

/// A snapshot that admits `key`, which the one in memory does not: the replica has the last word.
///
/// Clients take a refused key for lasting and stop, so a key must not be refused while its snapshot is on the way.
pub async fn admitting(
    env: &Env,
    config: &Rc<Config>,
    scope: &Scope,
    key: &Digest,
) -> Result<Served, EdgeError> {
    let arrived = clock::now();
    let admits = |served: &Served| served.compiled.snapshot.admits_client_key(key);
    let is_settled = |served: &Served| {
        admits(served) || clock::now().minus(served.age_ms) >= arrived.plus(KEY_ON_ITS_WAY_MS)
    };
    match ask_until(env, config, scope, is_settled).await? {
        Some(served) if admits(&served) => Ok(served),
        Some(_) => Err(EdgeError::KeyUnknown),
        None => Err(EdgeError::ReplicaUnavailable),
    }
}

async fn catch_up(
    env: &Env,
    config: &Rc<Config>,
    scope: &Scope,
    wanted: SnapshotVersion,
) -> Result<Served, EdgeError> {
    let caught_up = ask_until(env, config, scope, |served| served.version >= wanted).await?;
    caught_up.ok_or_else(|| EdgeError::VersionNotHere { wanted: wanted.to_string() })
}

/// Asks until the answer is enough, for half a second at most. Requests that wait for the same environment share the
/// questions: how many wait makes no difference to the replica.
async fn ask_until(
    env: &Env,
    config: &Rc<Config>,
    scope: &Scope,
    is_enough: impl Fn(&Served) -> bool,
) -> Result<Option<Served>, EdgeError> {
    let stub = replica_stub(env, config, scope)?;
    for attempt in 0..CATCH_UP_COUNT_MAX {
        if attempt > 0 {
            Delay::from(Duration::from_millis(CATCH_UP_PAUSE_MS)).await;
        }
        if with_entry(scope, |entry| entry.lease_ask(clock::now())) {
            probe(&stub, config, scope, PROBE_TIMEOUT_MS).await?;
        }
        let served = served(scope, Source::Probe)?;
        if is_enough(&served) {
            return Ok(Some(served));
        }
    }
    Ok(None)
}

/// The replica object of an environment in this region.
pub fn replica_stub(env: &Env, config: &Config, scope: &Scope) -> Result<Stub, EdgeError> {
    let name = format!("{}/{scope}", config.region);
    env.durable_object("REPLICA")
        .and_then(|objects| objects.get_by_name(&name))
        .map_err(|error| EdgeError::Misconfigured { detail: format!("binding REPLICA: {error}") })
}

/// Asks the replica once and takes over what it answers.
async fn probe(stub: &Stub, config: &Config, scope: &Scope, limit_ms: u64) -> Result<(), EdgeError> {
    let have = with_entry(scope, |entry| entry.held().map(|(version, _)| version));
    let sent_at = clock::now();
    let unavailable = |_| EdgeError::ReplicaUnavailable;
    let request = probe_request(have).map_err(|_| EdgeError::Internal)?;
    let answer = within(limit_ms, async {
        let mut response = stub.fetch_with_request(request).await?;
        let status = response.status_code();
        let frame = if status == 200 { response.bytes().await? } else { Vec::new() };
        Ok::<_, worker::Error>((status, frame))
    });
    let (status, frame) = answer.await.map_err(unavailable)?.map_err(|_| EdgeError::ReplicaUnavailable)?;
    match status {
        200 => admit(config, scope, &frame, sent_at),
        204 => {
            with_entry(scope, |entry| entry.confirmed(have, sent_at));
            Ok(())
        }
        404 => {
            with_entry(scope, |entry| entry.confirmed(None, sent_at));
            Ok(())
        }
        _ => Err(EdgeError::ReplicaUnavailable),
    }
}

/// The environment's definitions for Unleash's backend SDKs, and the version they are from.
///
/// Memory holds compiled flags only, so the replica is asked for the signed bytes once for each version; they are
/// verified like any others.
pub async fn features(
    env: &Env,
    config: &Config,
    scope: &Scope,
    served: &Served,
) -> Result<(SnapshotVersion, Rc<str>), EdgeError> {
    if let Some(known) = served.compiled.features.get() {
        return Ok((served.version, Rc::clone(known)));
    }
    let stub = replica_stub(env, config, scope)?;
    let request = probe_request(None).map_err(|_| EdgeError::Internal)?;
    let answer = within(COLD_PROBE_TIMEOUT_MS, async {
        let mut response = stub.fetch_with_request(request).await?;
        let status = response.status_code();
        Ok::<_, worker::Error>((status, response.bytes().await?))
    });
    let (status, frame) = answer.await.ok().and_then(Result::ok).ok_or(EdgeError::ReplicaUnavailable)?;
    if status != 200 {
        return Err(EdgeError::ReplicaUnavailable);
    }
    let (version, content) = content(config, scope, &frame, served)?;
    let text: Rc<str> = client_features(&content, version).into();
    if version == served.version {
        // Another request may have been faster; both have the same text.
        let _ = served.compiled.features.set(Rc::clone(&text));
    }
    Ok((version, text))
}

/// What a frame says in the flags' own words. A verifier that holds something older is warm: it takes what has expired.
fn content(
    config: &Config,
    scope: &Scope,
    frame: &[u8],
    served: &Served,
) -> Result<(SnapshotVersion, Definitions), EdgeError> {
    let roots = config.roots.as_ref().map_err(Clone::clone)?;
    let older = Held { version: SnapshotVersion { epoch: 0, seq: 0 }, ..served.compiled.held };
    match verify(frame, roots, scope, Some(&older), clock::now()) {
        Ok(Outcome::Newer(admitted)) => {
            let definitions = definitions(frame).map_err(|_| EdgeError::ReplicaUnavailable)?;
            Ok((admitted.held.version, definitions))
        }
        Ok(Outcome::Same) => Err(EdgeError::Internal),
        Err(refusal) => {
            worker::console_error!("this isolate refused its replica's snapshot of {scope}: {refusal}");
            Err(EdgeError::ReplicaUnavailable)
        }
    }
}

fn probe_request(have: Option<SnapshotVersion>) -> worker::Result<Request> {
    let mut init = RequestInit::new();
    init.with_method(Method::Get);
    if let Some(version) = have {
        let headers = Headers::new();
        headers.set(HAVE_HEADER, &version.to_string())?;
        init.with_headers(headers);
    }
    Request::new_with_init("http://replica/probe", &init)
}

/// Verifies a frame against what is in memory now, which may be newer than when the probe was sent, and swaps.
fn admit(
    config: &Config,
    scope: &Scope,
    frame: &[u8],
    sent_at: flagfuse_shared::ids::UnixMillis,
) -> Result<(), EdgeError> {
    let roots = config.roots.as_ref().map_err(Clone::clone)?;
    with_entry(scope, |entry| {
        let held = entry.held().map(|(_, compiled)| compiled.held);
        match verify(frame, roots, scope, held.as_ref(), clock::now()) {
            Ok(Outcome::Newer(admitted)) => {
                let settings = admitted.snapshot.settings();
                let freshness = Freshness { fresh_ms: settings.fresh_ms, stale_ms: settings.stale_ms };
                let compiled = Compiled {
                    snapshot: admitted.snapshot,
                    bulk_len_typical: Cell::new(0),
                    toggles_len_typical: Cell::new(0),
                    features: OnceCell::new(),
                    held: admitted.held,
                };
                entry.swap(admitted.held.version, compiled, freshness, sent_at);
                Ok(())
            }
            Ok(Outcome::Same) => {
                entry.confirmed(held.map(|held| held.version), sent_at);
                Ok(())
            }
            Err(refusal) => {
                worker::console_error!("this isolate refused its replica's snapshot of {scope}: {refusal}");
                Err(EdgeError::ReplicaUnavailable)
            }
        }
    })
}
