//! `…/publish`, `…/propagation` and `…/changes/{epoch}.{seq}` or `…/changes/latest`: sending anew, and where what was sent
//! has arrived.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::ids::SnapshotVersion;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::answer::Changed;
use super::audit::Entry;
use super::auth::{Editor, InEnvironment, Viewer};
use super::body::{NoBody, PathParams, Seen};
use super::document::Written;
use crate::change::Change;
use crate::error::{ApiError, Code};
use crate::publish::{arrival, receipts};
use crate::store::forks;
use crate::store::snapshots::newest_signed;

/// The same content under a new version.
pub(super) async fn publish(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    NoBody: NoBody,
) -> Result<Changed, ApiError> {
    let change = Change::Republish { scope: at.scope().clone(), urgency: Urgency::Ordinary };
    state.apply(&at.caller, seen, change).await
}

/// Where an environment's newest version is live.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema: `Propagation` is written")]
pub(super) struct Propagation {
    /// Newest version, `epoch.seq`.
    version: String,
    epoch: u64,
    seq: u64,
    /// When it was signed.
    #[schema(required)]
    created_ms: Option<u64>,
    /// How soon clients are told.
    #[schema(required)]
    urgency: Option<HowSoon>,
    /// Regions whose replicas have all stored it.
    acked: u64,
    /// Regions there are.
    regions_total: u64,
    /// Replicas that stored it.
    replicas_acked: u64,
    /// Replicas there are.
    replicas_total: u64,
    /// Slowest of those that stored it, in milliseconds from signing.
    #[schema(required)]
    slowest_ms: Option<u64>,
    /// From when on nobody answers with an older one, once all replicas stored it.
    #[schema(required)]
    guaranteed_live_at_ms: Option<u64>,
    /// The snapshot reader that this version was lowered to, so that a kill reached every edge; null when it is whole.
    #[schema(required)]
    lowered_to: Option<u32>,
    regions: Vec<Region>,
    replicas: Vec<Replica>,
    /// Replicas that hold what this database never signed.
    forks: Vec<Fork>,
    /// Where the edges are, as this control plane was told: what asks for flags asks there.
    edges: Vec<String>,
}

/// How soon clients are told of a version.
#[derive(ToSchema)]
#[schema(as = Urgency, rename_all = "snake_case")]
#[expect(dead_code, reason = "a schema")]
pub(super) enum HowSoon {
    Ordinary,
    Urgent,
}

/// A region and the newest version.
#[expect(clippy::struct_field_names, reason = "the names in JSON")]
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
struct Region {
    region: String,
    /// Replicas that stored it.
    acked: u64,
    /// Replicas there are.
    replicas_total: u64,
    /// Slowest of those that stored it, in milliseconds from signing.
    #[schema(required)]
    lag_ms: Option<u64>,
    /// Code of a refusal, until the next receipt.
    #[schema(required)]
    nack_code: Option<String>,
    #[schema(required)]
    nack_detail: Option<String>,
    /// The snapshot reader that the oldest of its edges counts as which was connected in the last ten minutes.
    #[schema(required)]
    oldest_reader: Option<u32>,
    /// The oldest reader that batches from there named in the last ten minutes; null when one named none.
    #[schema(required)]
    batch_reader: Option<u32>,
    /// The oldest format of those batches.
    #[schema(required)]
    batch_format: Option<u32>,
    /// Why it is without the version on purpose; null when it should have it.
    #[schema(required)]
    waiting_for_stage: Option<Wait>,
}

/// A replica and the newest version.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
struct Replica {
    region: String,
    shard: u16,
    /// Whether it holds exactly that.
    is_acked: bool,
    /// What it holds.
    #[schema(required)]
    version: Option<String>,
    /// Digest of that manifest.
    #[schema(required)]
    digest: Option<String>,
    #[schema(required)]
    keyset_version: Option<u64>,
    /// When it was stored, by the replica's clock.
    #[schema(required)]
    stored_ms: Option<u64>,
    /// When its receipt arrived here.
    #[schema(required)]
    acked_ms: Option<u64>,
    /// Milliseconds from signing to storing, when it holds the newest version.
    #[schema(required)]
    lag_ms: Option<u64>,
    /// Code of its last refusal, until the next receipt.
    #[schema(required)]
    nack_code: Option<String>,
    #[schema(required)]
    nack_detail: Option<String>,
    #[schema(required)]
    nack_ms: Option<u64>,
    /// The snapshot reader that it is; null when it does not say, or was not connected in the last ten minutes.
    #[schema(required)]
    reader: Option<u32>,
    /// Formats of batches that its buffers write.
    formats: Vec<u32>,
    /// Why it is without the version on purpose; null when it should have it.
    #[schema(required)]
    waiting_for_stage: Option<Wait>,
}

/// What a version waits for on its way to a region.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
struct Wait {
    waits_for: WaitsFor,
    /// The replica of an earlier stage, for all but `soak`.
    #[schema(nullable = false)]
    replica: Option<ReplicaName>,
    /// When every earlier stage has had it for long enough, for `soak`.
    #[schema(nullable = false)]
    until_ms: Option<u64>,
}

/// What is waited for.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "a schema")]
enum WaitsFor {
    Refusal,
    Acknowledgement,
    Soak,
}

/// Which replica.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
pub(super) struct ReplicaName {
    region: String,
    shard: u16,
}

/// A replica that holds what this database never signed.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
pub(super) struct Fork {
    region: String,
    shard: u16,
    tenant: String,
    project: String,
    environment: String,
    /// What it holds.
    held: String,
    /// Digest of that.
    digest: String,
    /// When it last said so.
    seen_ms: u64,
}

pub(super) async fn read(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
) -> Result<Json<Written<Value, Propagation>>, ApiError> {
    let mut conn = state.store.read().await?;
    let row = at.seen_by(&mut conn).await?;
    let mut answer = json!(receipts::propagation(&mut conn, &row, &state.fleet, state.now()).await?);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("forks".to_owned(), json!(forks::of_environment(&mut conn, &row.scope).await?));
        fields.insert("edges".to_owned(), json!(&state.edge_addresses[..]));
    }
    Ok(Json(Written::new(answer)))
}

/// A change in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ChangePath {
    /// `epoch.seq`, or `latest`.
    #[param(example = "latest", pattern = r"^(latest|(0|[1-9][0-9]*)\.(0|[1-9][0-9]*))$")]
    version: String,
}

/// Which change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Version(SnapshotVersion),
    Latest,
}

impl Which {
    fn parse(text: &str) -> Result<Self, ApiError> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        SnapshotVersion::parse(text).map(Self::Version).ok_or_else(|| {
            let detail = format!("version {text:?} is neither EPOCH.SEQ, two numbers, nor \"latest\"");
            ApiError::new(Code::BadVersion, detail)
        })
    }
}

/// A change and where it is.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema: `Arrival` is written")]
pub(super) struct Arrival {
    /// The version that carries it, `epoch.seq`.
    version: String,
    epoch: u64,
    seq: u64,
    state: ArrivalState,
    /// Replicas that have it.
    acked: u64,
    /// Replicas there are.
    replicas_total: u64,
    /// Slowest of those that have it, in milliseconds from the change.
    #[schema(required)]
    slowest_ms: Option<u64>,
    /// From when on nobody answers without it, once all replicas have it.
    #[schema(required)]
    guaranteed_live_at_ms: Option<u64>,
    /// Who did what.
    change: Entry,
    replicas: Vec<ReplicaArrival>,
}

/// How far a change has come.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "a schema")]
enum ArrivalState {
    Pushing,
    PartlyLive,
    Live,
    Superseded,
}

/// A replica and a change.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
struct ReplicaArrival {
    region: String,
    shard: u16,
    /// The version that brought it: this one or a later one.
    #[schema(required)]
    through: Option<String>,
    /// When that was stored, by the replica's clock.
    #[schema(required)]
    stored_ms: Option<u64>,
    /// When its receipt arrived here.
    #[schema(required)]
    acked_ms: Option<u64>,
    /// Milliseconds from the change to the storing.
    #[schema(required)]
    lag_ms: Option<u64>,
    /// Code of the last refusal, while it is without the change.
    #[schema(required)]
    nack_code: Option<String>,
    #[schema(required)]
    nack_detail: Option<String>,
    /// Why it is without the change on purpose; null when it should have it.
    #[schema(required)]
    waiting_for_stage: Option<Wait>,
}

pub(super) async fn change(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(ChangePath { version }): PathParams<ChangePath>,
) -> Result<Json<Written<arrival::Arrival, Arrival>>, ApiError> {
    let which = Which::parse(&version)?;
    let mut conn = state.store.read().await?;
    let row = at.seen_by(&mut conn).await?;
    let parsed = match which {
        Which::Version(version) => version,
        // Not the row's: an epoch that was raised has no change of its own yet.
        Which::Latest => {
            newest_signed(&mut conn, &row.scope).await?.map_or(row.version, |frame| frame.held.version())
        }
    };
    let found = arrival::arrival(&mut conn, &row, parsed, &state.fleet, state.now()).await?;
    let found = found.ok_or_else(|| {
        let detail =
            format!("no change of {} has version {parsed}, the newest is {}", row.scope, row.version);
        ApiError::new(Code::UnknownVersion, detail)
    })?;
    Ok(Json(Written::new(found)))
}
