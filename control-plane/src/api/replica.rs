//! `POST /v1/replica/pull`: a replica that hears no beat asks for what it misses. Writes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use flagfuse_shared::contract::replica::PullRequest;
use serde::Deserialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use utoipa::openapi::Required;

use super::ApiState;
use super::answer::Binary;
use super::auth::{Edge, InTenant};
use super::body::{JsonBody, describe_json};
use super::document::{Draft, Takes};
use super::slots::{Slot, Slots};
use crate::error::ApiError;
use crate::publish::pull::answer;

/// Answers in memory.
pub(super) enum Pulls {}

impl Slots for Pulls {
    const REFUSAL: &'static str = "all slots for pulls are taken, ask again";

    fn of(state: &ApiState) -> &Arc<Semaphore> {
        &state.pull_slots
    }
}

/// What a replica holds.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a schema: `PullRequest` reads it")]
struct HeldVersions {
    /// Region of the replica.
    region: String,
    /// Which of the region's replicas.
    #[schema(maximum = 65_535)]
    shard: u16,
    /// By `tenant/project/environment`: the answer has what is newer, at most 8 MiB of it.
    held: BTreeMap<String, HeldVersion>,
}

/// A version that a replica holds.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a schema")]
struct HeldVersion {
    epoch: u64,
    seq: u64,
    /// Of the manifest.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    digest: String,
}

/// A replica's question.
pub(super) struct Pull(PullRequest);

impl<S: Send + Sync> FromRequest<S> for Pull {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let JsonBody(pull) = JsonBody::from_request(request, state).await?;
        Ok(Self(pull))
    }
}

impl Takes for Pull {
    fn describe(draft: &mut Draft) {
        let schema = draft.schema::<HeldVersions>();
        describe_json(draft, schema, Required::True);
        draft.fails(&[StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::SERVICE_UNAVAILABLE]);
    }
}

pub(super) async fn pull(
    InTenant { caller, .. }: InTenant<Edge>,
    State(state): State<ApiState>,
    _slot: Slot<Pulls>,
    Pull(request): Pull,
) -> Result<Binary, ApiError> {
    // Before the database is read: a beat may be dated too early, never too late.
    let now = state.now();
    let mut conn = state.store.read().await?;
    let bytes = answer(&mut conn, &state.publisher, &state.fleet, &caller.tenant, &request, now).await?;
    Ok(Binary { bytes, tag: None, version: None })
}
