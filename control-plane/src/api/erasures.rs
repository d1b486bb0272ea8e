//! `…/erasures`: everything that is kept of a unit goes. What it was counted in are numbers, which stay.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::contract::beacon::erased::erased_path;
use flagfuse_shared::ids::{Unit, UnixMillis};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::auth::{Admin, Edge, InEnvironment};
use super::body::JsonBody;
use super::forward::{Passport, handed_on, json_bytes};
use crate::error::{ApiError, Code};
use crate::ingest::{IngestError, place_of};
use crate::store::quarantine::{ClaimedPlace, erase};
use crate::store::{Lock, Store, StoreError};

/// Quarantined events that are looked at in one transaction.
const QUARANTINED_COUNT: u32 = 500;

/// Whom to erase.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Person {
    /// The unit, as events name it.
    unit: String,
}

/// How far the erasure of a unit is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ErasureAnswer {
    /// When somebody asked for it first. Since then nothing that the unit does is counted.
    #[schema(value_type = u64)]
    asked_ms: UnixMillis,
    /// When its last trace was gone from the log; null while that is rewritten, which begins with the next checkpoint.
    #[schema(value_type = Option<u64>, required)]
    done_ms: Option<UnixMillis>,
    /// Quarantined events that named it and are gone now.
    quarantined: u64,
}

/// Erases a unit; asked again, it tells how far that is.
pub(super) async fn ask(
    at: InEnvironment<Admin>,
    State(state): State<ApiState>,
    passport: Passport,
    JsonBody(person): JsonBody<Person>,
) -> Result<Json<ErasureAnswer>, ApiError> {
    let named = Unit::parse(&person.unit)
        .map_err(|error| ApiError::new(Code::BadSchema, format!("unit: {error}")))?;
    let erasure = match state.ingestion.erase(at.scope(), &named, at.caller.actor().name).await {
        Err(error @ IngestError::Elsewhere { .. }) => {
            return handed_on(&state, error, &erased_path(at.scope()), passport, json_bytes(&person)?).await;
        }
        erased => erased?,
    };
    let quarantined = from_quarantine(&state.store, place_of(at.scope()), &named).await?;
    Ok(Json(ErasureAnswer { asked_ms: erasure.asked_ms, done_ms: erasure.done_ms, quarantined }))
}

/// The units of an environment that were erased lately, as edges know them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErasedList {
    /// What units are hashed with.
    salt: String,
    /// The first half of SHA-256 over salt, line feed and unit, in hexadecimal digits; of 15 days, the newest 10,000.
    #[schema(max_items = 10_000)]
    units: Vec<String>,
}

/// Tells an edge whom it has to take out of what it has not delivered.
pub(super) async fn list(
    at: InEnvironment<Edge>,
    State(state): State<ApiState>,
) -> Result<Json<ErasedList>, ApiError> {
    let (salt, units) = state.ingestion.erased_for_edges(at.scope()).await?;
    Ok(Json(ErasedList { salt, units }))
}

/// Also where the unit stands in a field that no event has: it was its.
async fn from_quarantine(store: &Store, place: ClaimedPlace<'_>, unit: &Unit) -> Result<u64, StoreError> {
    let (mut count, mut after) = (0, Some(0));
    while let Some(from) = after {
        let mut tx = store.write_patiently(Lock::Ingestion(place)).await?;
        let (gone, last) = erase(&mut tx, place, unit, from, QUARANTINED_COUNT).await?;
        tx.commit().await?;
        count += gone;
        after = last;
    }
    Ok(count)
}
