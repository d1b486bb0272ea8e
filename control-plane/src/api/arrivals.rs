//! `…/arrivals`: how long the newest versions took to every replica.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::UnixMillis;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::{InEnvironment, Viewer};
use super::body::Params;
use super::{ApiState, page, propagation};
use crate::error::ApiError;
use crate::model::fleet::ReplicaName;
use crate::publish::recent::{self, RecentVersion};

const COUNT: u32 = 40;
/// What a picture can show, and a read of some milliseconds.
const COUNT_MAX: u32 = 200;

/// How many versions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct HowMany {
    /// 40 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// The newest versions that are kept, and how long each took.
#[expect(clippy::struct_field_names, reason = "the names in JSON")]
#[derive(Serialize, ToSchema)]
pub(super) struct Arrivals {
    /// How old an answer may still be once all replicas have stored the newest version: an isolate's hard limit, in
    /// milliseconds.
    bound_ms: u64,
    /// Replicas there are, by region and shard.
    #[schema(value_type = Vec<propagation::ReplicaName>)]
    replicas: Vec<ReplicaName>,
    /// The newest version first.
    arrivals: Vec<RecentArrival>,
}

/// A version and how long it took.
#[derive(Serialize, ToSchema)]
struct RecentArrival {
    /// `epoch.seq`.
    version: String,
    epoch: u64,
    seq: u64,
    /// When it was signed.
    #[schema(value_type = u64)]
    created_ms: UnixMillis,
    /// In the order of `replicas`: milliseconds from signing to storing this version or a later one; null where it is not yet.
    lags_ms: Vec<Option<u64>>,
    /// The longest of them; null while one is null.
    #[schema(required)]
    everywhere_ms: Option<u64>,
}

impl From<RecentVersion> for RecentArrival {
    fn from(row: RecentVersion) -> Self {
        Self {
            version: row.version.to_string(),
            epoch: row.version.epoch,
            seq: row.version.seq,
            created_ms: row.created_ms,
            everywhere_ms: row.everywhere_ms(),
            lags_ms: row.lags_ms,
        }
    }
}

pub(super) async fn list(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    Params(how_many): Params<HowMany>,
) -> Result<Json<Arrivals>, ApiError> {
    let count = page::checked(how_many.limit.unwrap_or(COUNT), COUNT_MAX)?;
    let mut conn = state.store.read().await?;
    let row = at.seen_by(&mut conn).await?;
    let found = recent::recent(&mut conn, &row, &state.fleet, count).await?;
    Ok(Json(Arrivals {
        bound_ms: found.bound_ms,
        replicas: found.replicas,
        arrivals: found.versions.into_iter().map(RecentArrival::from).collect(),
    }))
}
