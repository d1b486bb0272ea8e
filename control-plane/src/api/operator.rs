//! `/metrics` of the operator's own listener: what this process measures of itself, and what stands in the database, of all tenants.
//! Labels are words of our own and names that an administrator gave; never a unit, a key, or anything that an event claims.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use flagfuse_shared::ids::{Scope, UnixMillis};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::ApiState;
use super::exposition::{OPEN_METRICS, PROMETHEUS, prometheus, wants_open_metrics};
use super::slos::in_numbers;
use crate::error::ApiError;
use crate::model::circuit::Circuit;
use crate::publish::keys::status::status;
use crate::publish::receipts::propagation;
use crate::store::scopes::EnvironmentRow;
use crate::store::write_times::{BUCKET_ENDS_US, Lane, Lasted};
use crate::store::{Connection, Store, StoreError, fuses, quarantine, scopes, watermarks};

/// Fuses that have a series of their own; what comes after them counts in `flagfuse_fuses` only.
const FLAG_SERIES_MAX: usize = 500;
/// Objectives that have series of their own.
const SLO_SERIES_MAX: usize = 500;

/// Which flags have a label of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlagLabels {
    /// None.
    Off,
    /// Those with a fuse, 500 of them at most.
    #[default]
    Fused,
}

/// The routes of the operator's listener. Whoever reaches it reads them: it belongs on the loopback, or behind something that asks.
pub fn operator_router(state: ApiState, labels: FlagLabels) -> Router {
    // No route of the API: its document says nothing of it.
    Router::new().route("/metrics", get(read)).layer(Extension(labels)).with_state(state)
}

type Float = Gauge<f64, std::sync::atomic::AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CircuitLabel {
    circuit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FuseLabels {
    project: String,
    environment: String,
    flag: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReplicaLabels {
    region: String,
    shard: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RegionLabel {
    region: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    lane: &'static str,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SloLabels {
    project: String,
    environment: String,
    slo: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BurnLabels {
    project: String,
    environment: String,
    slo: String,
    window: String,
}

async fn read(
    State(state): State<ApiState>,
    Extension(labels): Extension<FlagLabels>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut registry = Registry::with_prefix("flagfuse");
    gather(&mut registry, &state, labels).await?;
    let text = state.store.meters().text(&registry);
    let (content, text) =
        if wants_open_metrics(&headers) { (OPEN_METRICS, text) } else { (PROMETHEUS, prometheus(&text)) };
    Ok(([(CONTENT_TYPE, content), (CACHE_CONTROL, "no-store"), (VARY, "accept")], text).into_response())
}

/// What stands in the database, in one view of it.
async fn gather(registry: &mut Registry, state: &ApiState, labels: FlagLabels) -> Result<(), ApiError> {
    let now = state.now();
    let mut conn = state.store.read().await?;
    let environments = scopes::environments(&mut conn, scopes::Whose::Installation).await?;
    fuses_of(registry, &mut conn, &environments, labels).await?;
    events(registry, &mut conn).await?;
    replicas(registry, &mut conn, &environments, state, now).await?;
    buffers(registry, &mut conn, &environments, now).await?;
    objectives(registry, &mut conn, &environments, now).await?;
    let keys = status(&mut conn, state.publisher.keys(), &[], now).await?;
    drop(conn);
    let expires: Float = Gauge::default();
    expires.set(seconds(keys.expires_ms.0));
    let help = "When a cold edge takes the keyset in force no longer, since 1970";
    registry.register_with_unit("keyset_expires", help, Unit::Seconds, expires);
    refused_tokens(registry, state);
    connections(registry, &state.store);
    registry.register_collector(Box::new(WriteTransactions(
        Lane::ALL.map(|lane| (lane, state.store.lasted(lane))),
    )));
    Ok(())
}

/// How long write transactions of this process lasted, by who writes.
#[derive(Debug)]
struct WriteTransactions([(Lane, Lasted); 2]);

impl Collector for WriteTransactions {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Write transactions from having their locks to their end";
        let unit = Some(&Unit::Seconds);
        let mut family = encoder.encode_descriptor("write_transaction", help, unit, MetricType::Histogram)?;
        for (lane, lasted) in &self.0 {
            let ends = BUCKET_ENDS_US.iter().map(|us| seconds(*us) / 1_000.0).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = ends.zip(lasted.buckets).collect();
            let count = lasted.buckets.iter().sum();
            let labels = [("lane", lane.as_str())];
            let mut metric = family.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(seconds(lasted.sum_us) / 1_000.0, count, &buckets, None)?;
        }
        Ok(())
    }
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are below 2^53")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// A number of things as a gauge has it.
fn count(things: u64) -> i64 {
    i64::try_from(things).unwrap_or(i64::MAX)
}

async fn fuses_of(
    registry: &mut Registry,
    conn: &mut Connection,
    environments: &[EnvironmentRow],
    labels: FlagLabels,
) -> Result<(), StoreError> {
    let by_circuit: Family<CircuitLabel, Gauge> = Family::default();
    for circuit in [Circuit::Closed, Circuit::Open, Circuit::HalfOpen] {
        by_circuit.get_or_create(&CircuitLabel { circuit: circuit.as_str() }).set(0);
    }
    let by_fuse: Family<FuseLabels, Gauge> = Family::default();
    let mut room = if labels == FlagLabels::Off { 0 } else { FLAG_SERIES_MAX };
    for EnvironmentRow { scope, .. } in environments {
        for fuse in fuses::circuits(conn, scope).await? {
            by_circuit.get_or_create(&CircuitLabel { circuit: fuse.circuit.as_str() }).inc();
            if room > 0 {
                room -= 1;
                let Scope { project, environment, .. } = scope;
                let (project, environment) = (project.as_str().to_owned(), environment.as_str().to_owned());
                let is_open = i64::from(fuse.circuit == Circuit::Open);
                by_fuse.get_or_create(&FuseLabels { project, environment, flag: fuse.flag }).set(is_open);
            }
        }
    }
    registry.register("fuses", "Fuses by circuit", by_circuit);
    if labels != FlagLabels::Off {
        registry.register("fuse_open", "1 while a fuse is open, of the first 500 fuses", by_fuse);
    }
    Ok(())
}

async fn events(registry: &mut Registry, conn: &mut Connection) -> Result<(), StoreError> {
    let all = quarantine::balance_of_all(conn).await?;
    let events: Family<OutcomeLabel, Counter> = Family::default();
    for (outcome, count) in all.by_outcome() {
        events.get_or_create(&OutcomeLabel { outcome }).inc_by(count);
    }
    registry.register("ingest_events", "Events, by what became of them", events);
    let difference: Gauge = Gauge::default();
    difference.set(count(all.received) - count(all.stored + all.duplicate + all.quarantined));
    let help =
        "Received events that are neither stored, nor duplicates, nor quarantined: never anything but 0";
    registry.register("balance_difference", help, difference);
    let waiting: Family<CodeLabel, Gauge> = Family::default();
    for (code, events) in quarantine::waiting_by_code(conn).await? {
        waiting.get_or_create(&CodeLabel { code }).set(count(events));
    }
    registry.register("quarantine_waiting", "Quarantined events that were not replayed, by code", waiting);
    Ok(())
}

/// A replica over all environments.
#[derive(Default)]
struct Standing {
    behind: i64,
    refusing: i64,
    lag_ms: u64,
}

async fn replicas(
    registry: &mut Registry,
    conn: &mut Connection,
    environments: &[EnvironmentRow],
    state: &ApiState,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let mut standings: BTreeMap<(String, u16), Standing> = BTreeMap::new();
    for environment in environments {
        for replica in propagation(conn, environment, &state.fleet, now).await?.replicas {
            let at = standings.entry((replica.replica.region, replica.replica.shard)).or_default();
            at.behind += i64::from(!replica.is_acked && replica.waiting_for_stage.is_none());
            at.refusing += i64::from(replica.nack_code.is_some());
            at.lag_ms = at.lag_ms.max(replica.lag_ms.unwrap_or(0));
        }
    }
    let (behind, refusing): (Family<ReplicaLabels, Gauge>, Family<ReplicaLabels, Gauge>) = Default::default();
    let lag: Family<ReplicaLabels, Float> = Family::default();
    for ((region, shard), standing) in standings {
        let labels = ReplicaLabels { region, shard };
        behind.get_or_create(&labels).set(standing.behind);
        refusing.get_or_create(&labels).set(standing.refusing);
        lag.get_or_create(&labels).set(seconds(standing.lag_ms));
    }
    registry.register(
        "replica_behind",
        "Environments whose newest version a replica should have and has not",
        behind,
    );
    registry.register("replica_refusing", "Environments whose last snapshot a replica refused", refusing);
    let help = "From signing to storing, of the newest versions that a replica has: the slowest";
    registry.register_with_unit("replica_lag", help, Unit::Seconds, lag);
    Ok(())
}

async fn buffers(
    registry: &mut Registry,
    conn: &mut Connection,
    environments: &[EnvironmentRow],
    now: UnixMillis,
) -> Result<(), StoreError> {
    let mut by_region: BTreeMap<String, u64> = BTreeMap::new();
    for environment in environments {
        for watermark in watermarks::watermarks(conn, &environment.scope, now).await? {
            let behind_ms = watermark.behind_ms(now);
            let at = by_region.entry(watermark.region).or_default();
            *at = (*at).max(behind_ms);
        }
    }
    let behind: Family<RegionLabel, Float> = Family::default();
    for (region, ms) in by_region {
        behind.get_or_create(&RegionLabel { region }).set(seconds(ms));
    }
    let help =
        "For how long a buffer of the region has not delivered everything: the one that is furthest behind";
    registry.register_with_unit("buffer_behind", help, Unit::Seconds, behind);
    Ok(())
}

async fn objectives(
    registry: &mut Registry,
    conn: &mut Connection,
    environments: &[EnvironmentRow],
    now: UnixMillis,
) -> Result<(), ApiError> {
    let left: Family<SloLabels, Float> = Family::default();
    let burns: Family<BurnLabels, Float> = Family::default();
    let mut room = SLO_SERIES_MAX;
    for EnvironmentRow { scope, .. } in environments {
        let found = in_numbers(conn, scope, now).await?;
        for standing in found.into_iter().take(room) {
            room -= 1;
            let (project, environment) =
                (scope.project.as_str().to_owned(), scope.environment.as_str().to_owned());
            let slo = standing.name;
            for (window_ms, burn) in standing.burns {
                let window = window(window_ms);
                let labels = BurnLabels {
                    project: project.clone(),
                    environment: environment.clone(),
                    slo: slo.clone(),
                    window,
                };
                burns.get_or_create(&labels).set(burn);
            }
            left.get_or_create(&SloLabels { project, environment, slo }).set(standing.left);
        }
    }
    let help = "The share of an objective's budget that is left: 1 is all of it, below 0 more is spent than there was";
    registry.register("slo_budget_remaining_ratio", help, left);
    registry.register(
        "slo_burn_rate",
        "How many times as fast as affordable a budget is spent, by window",
        burns,
    );
    Ok(())
}

/// `5m`, `6h`: a window as Prometheus writes durations.
fn window(ms: u64) -> String {
    let minutes = ms / 60_000;
    if minutes >= 60 && minutes.is_multiple_of(60) {
        format!("{}h", minutes / 60)
    } else {
        format!("{minutes}m")
    }
}

fn connections(registry: &mut Registry, store: &Store) {
    let family: Family<ConnectionLabels, Gauge> = Family::default();
    for (lane, (used, idle)) in ["write", "read"].into_iter().zip(store.connections()) {
        for (state, connections) in [("used", used), ("idle", idle)] {
            family.get_or_create(&ConnectionLabels { lane, state }).set(count(connections));
        }
    }
    registry.register("store_connections", "Connections to the database", family);
}

fn refused_tokens(registry: &mut Registry, state: &ApiState) {
    let refused: Family<ReasonLabel, Counter> = Family::default();
    let (missing, unknown) = state.failures.counts();
    for (reason, count) in [("missing", missing), ("unknown", unknown)] {
        refused.get_or_create(&ReasonLabel { reason }).inc_by(count);
    }
    registry.register("refused_tokens", "Requests without a valid token since the process started", refused);
}
