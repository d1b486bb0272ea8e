//! `/v1/keys`: who may sign, and what a rotation waits for. Public parts only.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use utoipa::ToSchema;

use super::ApiState;
use super::auth::{InTenant, Viewer};
use super::document::Written;
use super::propagation::Fork;
use crate::error::ApiError;
use crate::publish::keys::status::{KeyStatus, status};

/// How the keys stand.
#[expect(clippy::struct_field_names, reason = "the names in JSON")]
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema: `KeyStatus` is written")]
pub(super) struct Keys {
    /// The keyset in force.
    keyset_version: u64,
    /// When an edge that starts anew takes it no longer.
    expires_ms: u64,
    /// Root keys, which edges are configured with, base64.
    root_public_keys: Vec<String>,
    root: Role,
    release: Role,
    freshness: Role,
    /// Lowest epochs by environment.
    min_epoch: BTreeMap<String, u64>,
    rotation: Rotation,
    /// Replicas that hold what this database never signed.
    forks: Vec<Fork>,
    /// What somebody should look at.
    warnings: Vec<String>,
}

/// A role without anything secret.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
struct Role {
    /// Signatures needed.
    threshold: u64,
    key_ids: Vec<String>,
    /// Those whose private key the process has.
    at_hand: Vec<String>,
}

/// Where a rotation stands.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
struct Rotation {
    state: RotationState,
    /// Environments without a version under the keyset in force.
    unpublished: Vec<String>,
    /// Replicas that have not confirmed one.
    replicas: Vec<Laggard>,
    /// What comes next, in order.
    waiting: Vec<Waiting>,
}

/// What a rotation does.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "a schema")]
enum RotationState {
    Done,
    Publishing,
    Due,
    WaitingForReplicas,
    WaitingForForkedEnvironments,
    AnotherProcess,
}

/// A replica that a keyset waits for.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
struct Laggard {
    replica: String,
    /// `tenant/project/environment`.
    environment: String,
    /// The first version under the keyset.
    needs: String,
    /// What it confirmed last.
    #[schema(required)]
    holds: Option<String>,
}

/// A keyset that waits for its turn.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema")]
struct Waiting {
    keyset_version: u64,
    gate: Gate,
}

/// When a keyset may come into force.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "a schema")]
enum Gate {
    AtOnce,
    AfterAck,
}

pub(super) async fn read(
    InTenant { caller, .. }: InTenant<Viewer>,
    State(state): State<ApiState>,
) -> Result<Json<Written<KeyStatus, Keys>>, ApiError> {
    let keys = state.publisher.keys();
    let replicas: Vec<String> = state.fleet.replicas().map(|replica| replica.to_string()).collect();
    let mut conn = state.store.read().await?;
    let found = status(&mut conn, keys, &replicas, state.now()).await?;
    Ok(Json(Written::new(found.for_tenant(&caller.tenant))))
}
