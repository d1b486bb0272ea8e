//! What runs beside requests: the fuse engine, the pushers, the daily republication, pruning. Decides nothing itself.

use std::sync::Arc;
use std::time::Duration;

use flagfuse_cells::schedule::TICK_MS;
use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::ids::{TenantKey, UnixMillis};
use flagfuse_shared::limits::EVENT_AGE_MS_MAX;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::api::{RateLimit, Uses};
use crate::change::{Actor, Change, ChangeError, apply};
use crate::clock::{Clock, monotonic};
use crate::engine::Engine;
use crate::ingest::Ingestion;
use crate::model::fleet::Fleet;
use crate::model::session::{IDLE_MS, SESSION_MS};
use crate::model::slo::{HOURS_KEPT_MS, Span};
use crate::publish::keys::rotation::{self, Next};
use crate::publish::outbox::OutboxError;
use crate::publish::push::{EdgeRegion, PushContext, push_replica};
use crate::publish::recorder::{self, WAITING_COUNT_MAX};
use crate::publish::target::Targets;
use crate::publish::{Publisher, edges, receipts};
use crate::store::days::Daily;
use crate::store::scopes::EnvironmentRow;
use crate::store::{
    Connection, Lock, Store, StoreError, batches, buffers, compaction, days, edge_readers, event_ids,
    kept_answers, metrics_seen, notices, quarantine, scopes, sessions, slo_sums, suppressions, telemetry_log,
    tokens, usage, users,
};
use crate::validator;

/// A snapshot older than this is signed anew, long before its 30 days are over.
const REPUBLISH_AGE_MS: u64 = 24 * 3_600_000;
const DAY_MS: u64 = 24 * 3_600_000;
const PEOPLE_INTERVAL: Duration = Duration::from_secs(15);
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_mins(10);
/// Ids are kept for their horizon and a week more: a batch may have waited at the edge.
const EVENT_KEPT_MS: u64 = EVENT_AGE_MS_MAX + 7 * DAY_MS;
/// Raw bytes of quarantined events, and minutes of balances, are kept this long.
const RAW_KEPT_MS: u64 = 30 * DAY_MS;
/// The log is kept this long, and since the newest checkpoint at least.
const LOG_KEPT_MS: u64 = 30 * DAY_MS;
/// Cells of a phase that ended this long ago are added up over their steps.
const STEPS_KEPT_MS: u64 = 30 * DAY_MS;
/// Hours of usage are kept this long.
const USAGE_KEPT_MS: u64 = 90 * DAY_MS;
/// Notices are kept this long, and no more of them than the store has room for.
const NOTICES_KEPT_MS: u64 = 90 * DAY_MS;
/// Events forgotten in one transaction, so that ingestion never waits long.
const PRUNE_COUNT: u32 = 500;
/// A revocation counts at most this much after its ceremony.
const ROTATION_INTERVAL: Duration = Duration::from_secs(1);

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Where snapshots are pushed to.
    pub edges: Vec<EdgeRegion>,
    /// Replicas of each of those regions.
    pub shards: u16,
    /// Whose environments they hold.
    pub tenant: TenantKey,
    /// Presented to those edges.
    pub push_token: String,
    /// Time between two looks at the fuses.
    pub tick: Duration,
    /// How often a token of people and scripts may ask; without a limit where there is none.
    pub rate_limit: Option<RateLimit>,
}

impl ServeOptions {
    /// The replicas that are pushed to.
    pub fn fleet(&self) -> Fleet {
        Fleet { regions: self.edges.iter().map(|edge| edge.name.clone()).collect(), shards: self.shards }
    }
}

/// Looks at every fuse each `period`.
pub async fn run_engine(store: Store, publisher: Publisher, clock: Clock, period: Duration) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut engine = Engine::default();
    loop {
        ticks.tick().await;
        let began = monotonic();
        match engine.tick(&store, &publisher, clock.now()).await {
            Ok(_) => store.meters().ticked(began.elapsed(), clock.now()),
            Err(error) => tracing::error!(%error, "fuses could not be evaluated"),
        }
    }
}

/// Looks at every roll-out that is being validated, at each tick of the clock.
pub async fn run_validations(store: Store, publisher: Publisher, clock: Clock) {
    let mut ticks = interval(Duration::from_millis(TICK_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = validator::tick(&store, &publisher, clock.now()).await {
            tracing::error!(%error, "roll-outs could not be validated");
        }
    }
}

/// Closes what is due in the events of all environments, at each tick of the clock.
pub async fn run_ticks(ingestion: Ingestion, clock: Clock) {
    loop {
        let next = TICK_MS - clock.now().0 % TICK_MS;
        tokio::time::sleep(Duration::from_millis(next)).await;
        if let Err(error) = ingestion.tick().await {
            tracing::error!(%error, "events could not be looked after");
        }
    }
}

/// Looks each second whether a keyset waits, and brings it into force step by step.
pub async fn run_rotation(store: Store, publisher: Publisher, clock: Clock, fleet: Fleet) {
    let mut ticks = interval(ROTATION_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let replicas: Vec<String> = fleet.replicas().map(|replica| replica.to_string()).collect();
    let mut said = None;
    loop {
        ticks.tick().await;
        let next =
            rotate(&store, &publisher, &replicas, clock.now()).await.map_err(|error| error.to_string());
        // Said once for each change: a rotation may wait for a region for days.
        if said.as_ref() == Some(&next) {
            continue;
        }
        match &next {
            Ok(Next::Done | Next::NotOurs) => {}
            Ok(waits) => tracing::info!(?waits, "a keyset waits for its turn"),
            Err(error) => tracing::error!(error, "the next keyset cannot come into force"),
        }
        said = Some(next);
    }
}

/// Goes as far as possible; what is left to do then, or to wait for.
pub async fn rotate(
    store: &Store,
    publisher: &Publisher,
    replicas: &[String],
    now: UnixMillis,
) -> Result<Next, ChangeError> {
    loop {
        let next = rotate_once(store, publisher, replicas, now).await?;
        if !matches!(next, Next::Publish { .. } | Next::PutInForce(_)) {
            return Ok(next);
        }
    }
}

/// Takes one step, or none; the step that was taken, or what it waits for.
pub async fn rotate_once(
    store: &Store,
    publisher: &Publisher,
    replicas: &[String],
    now: UnixMillis,
) -> Result<Next, ChangeError> {
    let keys = publisher.shared_keys();
    rotation::reload(keys).await.map_err(OutboxError::from)?;
    let next = rotation::next(&mut *store.read().await?, keys, replicas).await.map_err(OutboxError::from)?;
    match &next {
        Next::PutInForce(step) => {
            rotation::put_in_force(store, keys, step, now).await.map_err(OutboxError::from)?;
        }
        Next::Publish { scopes, urgency, .. } => {
            // One at a time: the others wait no longer for the write lock than for any change.
            if let Some(scope) = scopes.first() {
                let actor = Actor { tenant: scope.tenant.clone(), name: "job:keys".to_owned() };
                apply(
                    store,
                    publisher,
                    &actor,
                    Change::Republish { scope: scope.clone(), urgency: *urgency },
                    now,
                )
                .await?;
            }
        }
        Next::Done | Next::Wait(_) | Next::Forked(_) | Next::NotOurs => {}
    }
    Ok(next)
}

/// Keeps one pusher for each replica, and one recorder for the receipts of all.
pub async fn run_pushers(store: Store, publisher: Publisher, clock: Clock, options: ServeOptions) {
    let (recorder, inbox) = mpsc::channel(WAITING_COUNT_MAX);
    let bell = publisher.listen();
    let mut tasks = JoinSet::new();
    let fleet = options.fleet();
    tasks.spawn(recorder::run(store.clone(), fleet.clone(), inbox));
    let targets = Targets::new(store.clone(), clock.clone(), options.tenant, fleet, bell.clone());
    let token = options.push_token;
    let context = PushContext { store, clock, publisher, token, bell, targets: Arc::new(targets), recorder };
    for edge in options.edges {
        for shard in 0..options.shards {
            tasks.spawn(push_replica(context.clone(), edge.clone(), shard));
        }
    }
    drop(context);
    while tasks.join_next().await.is_some() {}
}

/// Writes when tokens and sessions were used, and ends those whose time is over, every fifteen seconds.
pub async fn run_people(store: Store, publisher: Publisher, clock: Clock, uses: Arc<Uses>) {
    let mut ticks = interval(PEOPLE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = uses.write(&store).await {
            tracing::warn!(%error, "when tokens were used is written later");
        }
        if let Err(error) = end_what_is_over(&store, &publisher, clock.now()).await {
            tracing::error!(%error, "tokens and sessions that are over could not be ended");
        }
    }
}

/// Revokes tokens whose time is over, so that edges hear of client keys, and forgets sessions and sign-in codes; how many.
pub async fn end_what_is_over(
    store: &Store,
    publisher: &Publisher,
    now: UnixMillis,
) -> Result<u64, ChangeError> {
    let expired = tokens::expired(&mut *store.read().await?, now, PRUNE_COUNT).await?;
    let mut count = 0;
    for token in expired {
        let Ok(tenant) = TenantKey::parse(&token.tenant) else { continue };
        let (actor, token_id) = (Actor { tenant, name: "job:expiry".to_owned() }, token.token_id);
        match apply(store, publisher, &actor, Change::RevokeToken { token_id }, now).await {
            Ok(_) => count += 1,
            // Somebody else has done it, or its environment takes no change at this time: the others do not wait for it.
            Err(ChangeError::Unknown { .. }) => {}
            Err(error @ (ChangeError::Outbox(_) | ChangeError::UnknownEnvironment { .. })) => {
                tracing::error!(%error, "a token that has expired could not be taken from the edges");
            }
            Err(error) => return Err(error),
        }
    }
    let mut tx = store.write_patiently(Lock::Housekeeping).await?;
    count += sessions::prune(&mut tx, now.minus(IDLE_MS), now.minus(SESSION_MS)).await?;
    count += users::prune_codes(&mut tx, now).await?;
    tx.commit().await?;
    Ok(count)
}

/// Republishes and prunes, now and every ten minutes.
pub async fn run_housekeeping(store: Store, publisher: Publisher, clock: Clock) {
    let mut ticks = interval(HOUSEKEEPING_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = clock.now();
        if let Err(error) = republish(&store, &publisher, now).await {
            tracing::error!(%error, "snapshots could not be renewed");
        }
        if let Err(error) = prune(&store, now).await {
            tracing::error!(%error, "old events could not be removed");
        }
    }
}

/// Signs every snapshot anew that is older than a day, or was lowered for an edge that is connected no longer; how many.
pub async fn republish(store: &Store, publisher: &Publisher, now: UnixMillis) -> Result<usize, ChangeError> {
    let mut count = 0;
    for row in scopes::environments(&mut *store.read().await?, scopes::Whose::Replicas).await? {
        let mut conn = store.read().await?;
        let is_due = receipts::is_older_than(&mut conn, &row.scope, REPUBLISH_AGE_MS, now).await?
            || is_low_for_nobody(&mut conn, &row, now).await?;
        drop(conn);
        if is_due {
            let scope = row.scope;
            let actor = Actor { tenant: scope.tenant.clone(), name: "job:republish".to_owned() };
            match apply(
                store,
                publisher,
                &actor,
                Change::Republish { scope, urgency: Urgency::Ordinary },
                now,
            )
            .await
            {
                Ok(_) => count += 1,
                // It takes no change until its epoch is raised; the others are renewed all the same.
                Err(ChangeError::Outbox(error @ OutboxError::Forked { .. })) => {
                    tracing::error!(%error, "a snapshot could not be renewed");
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(count)
}

/// Whether its newest snapshot was lowered for an edge that is a newer one now, or gone.
async fn is_low_for_nobody(
    conn: &mut Connection,
    row: &EnvironmentRow,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let Some(lowered_to) = row.lowered_to else { return Ok(false) };
    let oldest = edges::oldest(edges::lately(conn, &row.scope.tenant, now).await?);
    Ok(oldest.is_none_or(|edge| edge.reader > lowered_to))
}

/// What is forgotten, each with its own rule.
#[derive(Debug, Clone, Copy)]
enum Prunable {
    EventIds,
    Log,
    Batches,
    Quarantine,
    OldCells,
    Usage,
    Notices,
    KeptAnswers,
    SloSums(Span),
}

impl Prunable {
    const ALL: [Self; 10] = [
        Self::EventIds,
        Self::Log,
        Self::Batches,
        Self::Quarantine,
        Self::OldCells,
        Self::Usage,
        Self::Notices,
        Self::KeptAnswers,
        Self::SloSums(Span::Minute),
        Self::SloSums(Span::Hour),
    ];
}

/// How many rows went, and whether there may be more.
const fn full(count: u64) -> (u64, bool) {
    (count, count == PRUNE_COUNT as u64)
}

/// Makes the partitions of the days to come, and drops those that are over; what is left goes row by row.
async fn keep_days(store: &Store, daily: Daily, now: UnixMillis) -> Result<(), StoreError> {
    let kept_ms = match daily {
        Daily::Log => LOG_KEPT_MS,
        Daily::EventIds => EVENT_KEPT_MS,
    };
    let mut tx = store.write_patiently(Lock::Housekeeping).await?;
    days::prepare(&mut tx, daily, now).await?;
    tx.commit().await?;
    let mut tx = store.write_patiently(Lock::Housekeeping).await?;
    days::drop_before(&mut tx, daily, now.minus(kept_ms)).await?;
    tx.commit().await
}

/// Forgets what has no use after its horizon: ids of usage, the log that checkpoints have in them, applied batches, quarantined
/// bytes, the minutes of old balances, the steps of old cells, hours of usage, notices, answers of requests with a key, sums of objectives. Never a sum, a phase or an audit row. How many rows went.
pub async fn prune(store: &Store, now: UnixMillis) -> Result<u64, StoreError> {
    let mut total = 0;
    for daily in Daily::ALL {
        if let Err(error) = keep_days(store, daily, now).await {
            tracing::warn!(%error, ?daily, "partitions by day are looked after later");
        }
    }
    for what in Prunable::ALL {
        loop {
            let mut tx = store.write_patiently(Lock::Housekeeping).await?;
            let (count, is_more) = match what {
                Prunable::EventIds => {
                    let day = now.minus(EVENT_KEPT_MS).0 / DAY_MS;
                    full(event_ids::prune(&mut tx, day, PRUNE_COUNT).await?)
                }
                Prunable::Log => {
                    let before = now.minus(LOG_KEPT_MS);
                    full(telemetry_log::prune(&mut tx, before, PRUNE_COUNT).await?)
                }
                Prunable::Batches => {
                    full(batches::prune(&mut tx, now.minus(EVENT_KEPT_MS), PRUNE_COUNT).await?)
                }
                Prunable::Quarantine => {
                    full(quarantine::prune(&mut tx, now.minus(RAW_KEPT_MS), PRUNE_COUNT).await?)
                }
                Prunable::Usage => full(usage::prune(&mut tx, now.minus(USAGE_KEPT_MS), PRUNE_COUNT).await?),
                Prunable::Notices => {
                    full(notices::prune(&mut tx, now.minus(NOTICES_KEPT_MS), PRUNE_COUNT).await?)
                }
                Prunable::KeptAnswers => {
                    full(kept_answers::prune(&mut tx, now.minus(kept_answers::KEPT_MS), PRUNE_COUNT).await?)
                }
                Prunable::SloSums(span) => {
                    let before = now.minus(span.kept_ms());
                    full(slo_sums::prune(&mut tx, span, before, PRUNE_COUNT).await?)
                }
                Prunable::OldCells => {
                    let count = compaction::compact(&mut tx, now.minus(STEPS_KEPT_MS), now).await?;
                    // Nothing goes that anybody could miss.
                    (0, count > 0)
                }
            };
            tx.commit().await?;
            total += count;
            if !is_more {
                break;
            }
        }
    }
    let mut tx = store.write_patiently(Lock::Housekeeping).await?;
    total += buffers::prune(&mut tx, now).await?;
    total += edge_readers::prune(&mut tx, now.minus(DAY_MS)).await?;
    total += metrics_seen::prune(&mut tx, now.minus(metrics_seen::KEPT_MS)).await?;
    total += suppressions::prune(&mut tx, now.minus(HOURS_KEPT_MS)).await?;
    quarantine::coarsen_balance(&mut tx, now.minus(RAW_KEPT_MS)).await?;
    tx.commit().await?;
    Ok(total)
}
