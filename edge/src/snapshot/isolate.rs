//! The isolate's snapshots: answers from memory within the staleness bound, asks the replica beyond it.
//! Never evaluates bytes that it has not verified itself.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use flagfuse_shared::digest::Digest;
use flagfuse_shared::evaluate::Freshness as Proof;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::PROBE_TIMEOUT_MS;
use flagfuse_shared::snapshot::payload::{Definitions, definitions};
use flagfuse_shared::snapshot::{Admitted, Held, Outcome, Snapshot, Verified, verify};
use flagfuse_shared::unleash::export::client_features;
use worker::{Context, Delay, Env};

use crate::config::Config;
use crate::deadline::within;
use crate::error::EdgeError;
use crate::region::draw_shard;
use crate::snapshot::ask::{Answer, ask, hedged, replica_stub};
use crate::snapshot::bootstrap::{copies_are_kept, read_copy};
use crate::snapshot::cache::{Cache, Entry, Freshness, Heard, Plan, Standing, Word};
use crate::{chance, clock};

/// A replica answers within a few milliseconds from nearby; a third of the time-out leaves a neighbour two thirds.
const HEDGE_AFTER_MS: u64 = PROBE_TIMEOUT_MS / 3;
/// A request that finds nothing in memory has nothing to lose by waiting for the replica to wake up.
const COLD_PROBE_TIMEOUT_MS: u64 = 2_000;
/// Unless there is a copy to start from.
const COLD_PROBE_TIMEOUT_WITH_COPY_MS: u64 = 600;
const COLD_HEDGE_AFTER_MS: u64 = 300;
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
    created_ms: UnixMillis,
}

impl Compiled {
    fn new(admitted: Admitted) -> (SnapshotVersion, Self, Freshness) {
        let settings = admitted.snapshot.settings();
        let compiled = Self {
            snapshot: admitted.snapshot,
            bulk_len_typical: Cell::new(0),
            toggles_len_typical: Cell::new(0),
            features: OnceCell::new(),
            held: admitted.held,
            created_ms: admitted.created_ms,
        };
        let freshness = Freshness { fresh_ms: settings.fresh_ms, stale_ms: settings.stale_ms };
        (admitted.held.version, compiled, freshness)
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
    pub standing: Standing,
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
            let (env, config, scope) = (env.clone(), Rc::clone(config), scope.clone());
            context.wait_until(async move {
                // A failed refresh changes nothing: the next request sees an older age and asks again.
                let _ = refresh(&env, &config, &scope).await;
            });
            Source::Memory
        }
        Plan::Absent => return Err(EdgeError::NoSnapshot),
        Plan::Probe => ask_first(env, config, scope).await?,
    };
    let served = served(scope, source)?;
    match version_min {
        Some(wanted) if served.version < wanted => catch_up(env, config, scope, wanted).await,
        _ => Ok(served),
    }
}

/// Asks before it answers. When nobody knows, what there is has to do: the last good snapshot, or the copy in KV.
async fn ask_first(env: &Env, config: &Config, scope: &Scope) -> Result<Source, EdgeError> {
    let is_cold = with_entry(scope, |entry| entry.held().is_none());
    let asked = if is_cold {
        let has_copy = copies_are_kept(env);
        let limit_ms = if has_copy { COLD_PROBE_TIMEOUT_WITH_COPY_MS } else { COLD_PROBE_TIMEOUT_MS };
        probe(env, config, scope, limit_ms, COLD_HEDGE_AFTER_MS).await
    } else {
        refresh(env, config, scope).await
    };
    let Err(error) = asked else { return Ok(Source::Probe) };
    with_entry(scope, |entry| entry.failed(clock::now()));
    if is_cold {
        bootstrap(env, config, scope).await.ok_or(error)?;
    }
    Ok(Source::Memory)
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
    probe(env, config, scope, PROBE_TIMEOUT_MS, HEDGE_AFTER_MS).await
}

fn served(scope: &Scope, source: Source) -> Result<Served, EdgeError> {
    let now = clock::now();
    with_entry(scope, |entry| {
        let (version, compiled) = entry.held().ok_or(EdgeError::NoSnapshot)?;
        let standing = entry.standing(now);
        Ok(Served {
            version,
            source: if standing == Standing::Bootstrap { Source::Bootstrap } else { source },
            proof: if standing == Standing::Fresh { Proof::Fresh } else { Proof::Stale },
            standing,
            age_ms: entry.age_ms(now).unwrap_or_else(|| now.since(compiled.created_ms)),
            beat_age_ms: entry.beat_age_ms(now),
            compiled,
        })
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
    for attempt in 0..CATCH_UP_COUNT_MAX {
        if attempt > 0 {
            Delay::from(Duration::from_millis(CATCH_UP_PAUSE_MS)).await;
        }
        if with_entry(scope, |entry| entry.lease_ask(clock::now())) {
            refresh(env, config, scope).await?;
        }
        let served = served(scope, Source::Probe)?;
        if is_enough(&served) {
            return Ok(Some(served));
        }
    }
    Ok(None)
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
    let Answer { version, frame, word } = answer;
    let heard = match frame {
        Some(frame) => admit(config, scope, &frame, word, sent_at)?,
        None => with_entry(scope, |entry| entry.confirmed(version, word, sent_at)),
    };
    match heard {
        Heard::Confirmed if version.is_some() || word.is_vouched => Ok(()),
        // The replica is new and has not heard of anything yet.
        Heard::Confirmed => Err(EdgeError::NoSnapshot),
        Heard::Behind => Err(EdgeError::ReplicaUnavailable),
    }
}

/// Starts from the copy in KV, verified as a cold isolate verifies: one that has expired is refused.
async fn bootstrap(env: &Env, config: &Config, scope: &Scope) -> Option<()> {
    let frame = read_copy(env, scope).await?;
    let roots = config.roots.as_ref().ok()?;
    match verify(&frame, roots, scope, None, clock::now()) {
        Ok(Outcome::Newer(admitted)) => {
            let (version, compiled, freshness) = Compiled::new(*admitted);
            with_entry(scope, |entry| entry.bootstrap(version, compiled, freshness));
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

/// Verifies a frame against what is in memory now, which may be newer than when the probe was sent, and swaps.
fn admit(
    config: &Config,
    scope: &Scope,
    frame: &[u8],
    word: Word,
    sent_at: UnixMillis,
) -> Result<Heard, EdgeError> {
    let roots = config.roots.as_ref().map_err(Clone::clone)?;
    with_entry(scope, |entry| {
        let held = entry.held().map(|(_, compiled)| compiled.held);
        match verify(frame, roots, scope, held.as_ref(), clock::now()) {
            Ok(Outcome::Newer(admitted)) => {
                let (version, compiled, freshness) = Compiled::new(*admitted);
                Ok(entry.swap(version, compiled, freshness, word, sent_at))
            }
            Ok(Outcome::Same) => Ok(entry.confirmed(held.map(|held| held.version), word, sent_at)),
            Err(refusal) => {
                worker::console_error!("this isolate refused its replica's snapshot of {scope}: {refusal}");
                Err(EdgeError::ReplicaUnavailable)
            }
        }
    })
}
