//! The isolate's snapshots: answers from memory within the staleness bound, asks the replica beyond it.
//! Never evaluates bytes that it has not verified itself.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use flagfuse_shared::evaluate::Freshness as Proof;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::PROBE_TIMEOUT_MS;
use flagfuse_shared::snapshot::payload::{Definitions, definitions};
use flagfuse_shared::snapshot::{Admitted, Held, KeyId, Outcome, Snapshot, Verified, verify};
use flagfuse_shared::unleash::export::client_features;
use worker::{Context, Delay, Env};

use crate::config::Config;
use crate::deadline::within;
use crate::error::EdgeError;
use crate::region::draw_shard;
use crate::snapshot::ask::{Answer, ask, hedged, replica_stub};
use crate::snapshot::bootstrap::{copies_are_kept, read_copy};
use crate::snapshot::cache::{Cache, Doubt, Entry, ProbeOutcome, ProbeStatus, ServePlan, SnapshotState, Ttl};
use crate::snapshot::credential::Credential;
use crate::{chance, clock};

/// A replica answers within a few milliseconds from nearby; a third of the time-out leaves a neighbour two thirds.
const HEDGE_AFTER_MS: u64 = PROBE_TIMEOUT_MS / 3;
/// A request that finds nothing in memory has nothing to lose by waiting for the replica to wake up.
const COLD_PROBE_TIMEOUT_MS: u64 = 2_000;
/// Unless there is a copy to start from.
const COLD_PROBE_TIMEOUT_WITH_COPY_MS: u64 = 600;
const COLD_HEDGE_AFTER_MS: u64 = 300;
/// Catching up with a version that a client has seen elsewhere: half a second at most. The cache bounds the questions.
const CATCH_UP_COUNT_MAX: u32 = 20;
const CATCH_UP_PAUSE_MS: u64 = 25;

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
    created_ms: UnixMillis,
}

impl Compiled {
    fn new(admitted: Admitted) -> (SnapshotVersion, Self, Ttl) {
        let settings = admitted.snapshot.settings();
        let compiled = Self {
            snapshot: admitted.snapshot,
            bulk_len_typical: Cell::new(0),
            toggles_len_typical: Cell::new(0),
            features: OnceCell::new(),
            held: admitted.held,
            created_ms: admitted.created_ms,
        };
        let ttl = Ttl { soft_ms: settings.fresh_ms, hard_ms: settings.stale_ms };
        (admitted.held.version, compiled, ttl)
    }
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// From memory, without waiting.
    Memory,
    /// The replica was asked first.
    Probe,
    /// From the copy of last resort.
    Bootstrap,
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
    /// What a flag may ask about it.
    pub proof: Proof,
    /// How far it can be relied upon.
    pub state: SnapshotState,
    /// Milliseconds since a replica confirmed it; since it was signed, when none has.
    pub age_ms: u64,
    /// Milliseconds since the newest beat that vouched for that replica.
    pub beat_age_ms: Option<u64>,
}

thread_local! {
    static CACHE: RefCell<Cache<Compiled>> = const { RefCell::new(Cache::new()) };
    static SHARD: Cell<Option<u16>> = const { Cell::new(None) };
}

/// Which of a region's replicas this isolate asks, for all its life: each shard holds everything, so that isolates spread
/// over them by chance, and one that always asks the same hears no older version from the next.
pub fn shard(config: &Config) -> u16 {
    SHARD.get().unwrap_or_else(|| {
        let drawn = draw_shard(config.shards, chance::unit_interval());
        SHARD.set(Some(drawn));
        drawn
    })
}

/// Snapshots in this isolate.
pub fn held_count() -> usize {
    CACHE.with_borrow(Cache::held_count)
}

/// Does something with an environment's entry.
pub fn with_entry<T>(scope: &Scope, act: impl FnOnce(&mut Entry<Compiled>) -> T) -> T {
    CACHE.with_borrow_mut(|cache| act(cache.entry(&scope.project, &scope.environment, clock::now())))
}

/// Whether memory holds a snapshot that admits what a client shows. Costs and changes nothing.
pub fn admits(scope: &Scope, shown: &Credential) -> bool {
    CACHE.with_borrow(|cache| {
        cache.admits(&scope.project, &scope.environment, |compiled| shown.is_admitted(&compiled.snapshot))
    })
}

/// Whether memory knows that a key does not open its environment any more.
pub fn is_revoked(scope: &Scope, key: KeyId) -> bool {
    CACHE.with_borrow(|cache| {
        cache.admits(&scope.project, &scope.environment, |compiled| !compiled.snapshot.admits_key_id(key))
    })
}

/// Lets a request whose key memory does not admit wait with others.
pub fn join_round(scope: &Scope) -> Doubt {
    CACHE.with_borrow_mut(|cache| cache.doubt(&scope.project, &scope.environment, clock::now()))
}

/// What a client knows of newer snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wish {
    /// The version below which it takes no answer.
    pub version_min: Option<SnapshotVersion>,
    /// It was told of a version whose name means nothing here. That may be newer than anything in memory.
    pub is_stray: bool,
}

/// The snapshot to answer a request with whose key was good a moment ago.
pub async fn current(
    env: &Env,
    context: &Context,
    config: &Rc<Config>,
    scope: &Scope,
    shown: &Credential,
    wish: Wish,
) -> Result<Served, EdgeError> {
    let source = match plan(scope, shown)? {
        ServePlan::Memory => Source::Memory,
        ServePlan::MemoryAndRefresh => {
            let (env, config, scope) = (env.clone(), Rc::clone(config), scope.clone());
            context.wait_until(async move {
                // A failed refresh changes nothing: the next request sees an older age and asks again.
                let _ = refresh(&env, &config, &scope).await;
            });
            Source::Memory
        }
        ServePlan::Probe => ask_first(env, config, scope).await,
    };
    let is_stray = wish.is_stray && source == Source::Memory;
    let source = if is_stray && with_entry(scope, |entry| entry.lease_stray(clock::now())) {
        // A failed question changes nothing: the answer is labelled with its age.
        refresh(env, config, scope).await.map_or(source, |()| Source::Probe)
    } else {
        source
    };
    let served = match (served(scope, source)?, wish.version_min) {
        (served, Some(wanted)) if served.version < wanted => catch_up(env, config, scope, wanted).await?,
        (served, _) => served,
    };
    // Whoever waited may have waited for the snapshot that took the key away.
    if shown.is_admitted(&served.compiled.snapshot) { Ok(served) } else { Err(EdgeError::KeyUnknown) }
}

/// What to do for a request that shows this.
fn plan(scope: &Scope, shown: &Credential) -> Result<ServePlan, EdgeError> {
    let now = clock::now();
    let plan = CACHE.with_borrow_mut(|cache| {
        cache.plan(&scope.project, &scope.environment, now, |compiled| shown.is_admitted(&compiled.snapshot))
    });
    plan.ok_or_else(|| {
        // Memory went on while the request was being read, or others' environments took its place.
        let is_held = with_entry(scope, |entry| entry.held().is_some());
        if is_held { EdgeError::KeyUnknown } else { EdgeError::KeyUnsure }
    })
}

/// Asks before it answers. When nobody knows, what there is has to do: the last good snapshot.
async fn ask_first(env: &Env, config: &Config, scope: &Scope) -> Source {
    if refresh(env, config, scope).await.is_ok() {
        return Source::Probe;
    }
    with_entry(scope, |entry| entry.failed(clock::now()));
    Source::Memory
}

/// Asks for a request that has nothing to be answered from; when nobody knows, starts from the copy in KV.
///
/// It has as much time whatever memory holds: how long it takes must not tell that.
pub async fn ask_cold(env: &Env, config: &Config, scope: &Scope) -> Result<(), EdgeError> {
    let has_copy = copies_are_kept(env);
    let limit_ms = if has_copy { COLD_PROBE_TIMEOUT_WITH_COPY_MS } else { COLD_PROBE_TIMEOUT_MS };
    let asked = probe(env, config, scope, limit_ms, COLD_HEDGE_AFTER_MS).await;
    if asked.is_err() && with_entry(scope, |entry| entry.held().is_none()) {
        with_entry(scope, |entry| entry.failed(clock::now()));
        return bootstrap(env, config, scope).await.map_or(asked, Ok);
    }
    asked
}

/// Whether an answer from memory has to be followed by a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// Nobody does it else: the lease is this request's.
    Needed,
    /// The memory is fresh enough, or somebody refreshes it.
    NotNeeded,
}

/// The snapshot in memory when it admits what a client shows and may answer at once. Takes the refresh lease.
pub fn from_memory(scope: &Scope, shown: &Credential) -> Option<(Served, Refresh)> {
    let now = clock::now();
    let plan = CACHE.with_borrow_mut(|cache| {
        cache.plan(&scope.project, &scope.environment, now, |compiled| shown.is_admitted(&compiled.snapshot))
    })?;
    let refresh = match plan {
        ServePlan::Memory => Refresh::NotNeeded,
        ServePlan::MemoryAndRefresh => Refresh::Needed,
        ServePlan::Probe => return None,
    };
    served(scope, Source::Memory).ok().map(|served| (served, refresh))
}

/// Asks the replica whether there is something newer.
pub async fn refresh(env: &Env, config: &Config, scope: &Scope) -> Result<(), EdgeError> {
    probe(env, config, scope, PROBE_TIMEOUT_MS, HEDGE_AFTER_MS).await
}

fn served(scope: &Scope, source: Source) -> Result<Served, EdgeError> {
    let now = clock::now();
    with_entry(scope, |entry| {
        let (version, compiled) = entry.held().ok_or(EdgeError::NoSnapshot)?;
        let state = entry.state(now);
        Ok(Served {
            version,
            source: if state == SnapshotState::Bootstrap { Source::Bootstrap } else { source },
            proof: if state == SnapshotState::Fresh { Proof::Fresh } else { Proof::Stale },
            state,
            age_ms: entry.age_ms(now).unwrap_or_else(|| now.since(compiled.created_ms)),
            beat_age_ms: entry.beat_age_ms(now),
            compiled,
        })
    })
}

/// Waits until `wanted` is here, for half a second at most. Requests that wait for the same environment share the
/// questions: how many wait makes no difference to the replica.
async fn catch_up(
    env: &Env,
    config: &Config,
    scope: &Scope,
    wanted: SnapshotVersion,
) -> Result<Served, EdgeError> {
    let not_here = || EdgeError::VersionNotHere { wanted: wanted.to_string() };
    if !with_entry(scope, |entry| entry.is_worth_waiting(wanted, clock::now())) {
        return Err(not_here());
    }
    for attempt in 0..CATCH_UP_COUNT_MAX {
        if attempt > 0 {
            Delay::from(Duration::from_millis(CATCH_UP_PAUSE_MS)).await;
        }
        if with_entry(scope, |entry| entry.lease_probe(clock::now())) {
            refresh(env, config, scope).await?;
        }
        let served = served(scope, Source::Probe)?;
        if served.version >= wanted {
            return Ok(served);
        }
    }
    with_entry(scope, |entry| entry.waited_in_vain(wanted, clock::now()));
    Err(not_here())
}

/// Asks the own region's replica, and its neighbour when that is late; takes over what the first good answer says.
async fn probe(
    env: &Env,
    config: &Config,
    scope: &Scope,
    limit_ms: u64,
    hedge_after_ms: u64,
) -> Result<(), EdgeError> {
    let asked = hedged(config, hedge_after_ms, async |region| {
        let stub = replica_stub(env, config, region, shard(config))?;
        let have = with_entry(scope, |entry| entry.held().map(|(version, _)| version));
        let sent_at = clock::now();
        let answer = ask(&stub, scope, have).await?;
        take_over(config, scope, answer, sent_at)
    });
    within(limit_ms, asked).await.map_err(|_| EdgeError::ReplicaUnavailable)?
}

/// An answer that makes memory no surer is an error: a neighbour may know more.
fn take_over(config: &Config, scope: &Scope, answer: Answer, sent_at: UnixMillis) -> Result<(), EdgeError> {
    let Answer { version, frame, status } = answer;
    let heard = match frame {
        Some(frame) => admit(config, scope, &frame, status, sent_at)?,
        None => with_entry(scope, |entry| entry.confirmed(version, status, sent_at)),
    };
    match heard {
        ProbeOutcome::Confirmed if version.is_some() || status.is_vouched => Ok(()),
        // The replica is new and has not heard of anything yet.
        ProbeOutcome::Confirmed => Err(EdgeError::NoSnapshot),
        ProbeOutcome::Behind => Err(EdgeError::ReplicaUnavailable),
    }
}

/// Starts from the copy in KV, verified as a cold isolate verifies: one that has expired is refused.
async fn bootstrap(env: &Env, config: &Config, scope: &Scope) -> Option<()> {
    let frame = read_copy(env, scope).await?;
    let roots = config.roots.as_ref().ok()?;
    match verify(&frame, roots, scope, None, clock::now()) {
        Ok(Outcome::Newer(admitted)) => {
            let (version, compiled, ttl) = Compiled::new(*admitted);
            with_entry(scope, |entry| entry.bootstrap(version, compiled, ttl));
            Some(())
        }
        Ok(Outcome::Same) => None,
        Err(refusal) => {
            worker::console_error!("this isolate refused the copy of {scope}: {refusal}");
            None
        }
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
    let asked = hedged(config, COLD_HEDGE_AFTER_MS, async |region| {
        let stub = replica_stub(env, config, region, shard(config))?;
        ask(&stub, scope, None).await?.frame.ok_or(EdgeError::ReplicaUnavailable)
    });
    let frame = within(COLD_PROBE_TIMEOUT_MS, asked).await.map_err(|_| EdgeError::ReplicaUnavailable)??;
    let (version, content) = content(config, scope, &frame, served)?;
    let text: Rc<str> = client_features(&content, scope, version).into();
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

/// Verifies a frame against what is in memory now, which may be newer than when the probe was sent, and swaps.
fn admit(
    config: &Config,
    scope: &Scope,
    frame: &[u8],
    status: ProbeStatus,
    sent_at: UnixMillis,
) -> Result<ProbeOutcome, EdgeError> {
    let roots = config.roots.as_ref().map_err(Clone::clone)?;
    with_entry(scope, |entry| {
        let held = entry.held().map(|(_, compiled)| compiled.held);
        match verify(frame, roots, scope, held.as_ref(), clock::now()) {
            Ok(Outcome::Newer(admitted)) => {
                let (version, compiled, ttl) = Compiled::new(*admitted);
                Ok(entry.swap(version, compiled, ttl, status, sent_at))
            }
            Ok(Outcome::Same) => Ok(entry.confirmed(held.map(|held| held.version), status, sent_at)),
            Err(refusal) => {
                worker::console_error!("this isolate refused its replica's snapshot of {scope}: {refusal}");
                Err(EdgeError::ReplicaUnavailable)
            }
        }
    })
}
