//! `…/publish`, `…/propagation` and `…/changes/{epoch}.{seq}` or `…/changes/latest`: sending anew, and where what was sent has arrived.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::ids::SnapshotVersion;
use serde_json::{Value, json};

use super::ApiState;
use super::answer::Changed;
use super::auth::{Admin, Viewer};
use super::body::{PathParams, Seen};
use super::environment;
use crate::change::Change;
use crate::error::{ApiError, Code};
use crate::publish::{arrival, receipts};
use crate::store::forks;
use crate::store::snapshots::newest_signed;

/// The same content under a new version.
pub(super) async fn publish(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    Seen(seen): Seen,
    PathParams((project, environment)): PathParams<(String, String)>,
) -> Result<Changed, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    state.apply(&caller, seen, Change::Republish { scope, urgency: Urgency::Ordinary }).await
}

pub(super) async fn read(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, key)): PathParams<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let mut conn = state.store.read().await?;
    let row = environment(&mut conn, &caller, &project, &key).await?;
    let mut answer = json!(receipts::propagation(&mut conn, &row, &state.fleet, state.now()).await?);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("forks".to_owned(), json!(forks::of_environment(&mut conn, &row.scope).await?));
    }
    Ok(Json(answer))
}

/// Which change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Version(SnapshotVersion),
    Latest,
}

impl Asked {
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

pub(super) async fn change(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, key, version)): PathParams<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let asked = Asked::parse(&version)?;
    let mut conn = state.store.read().await?;
    let row = environment(&mut conn, &caller, &project, &key).await?;
    let parsed = match asked {
        Asked::Version(version) => version,
        // Not the row's: an epoch that was raised has no change of its own yet.
        Asked::Latest => {
            newest_signed(&mut conn, &row.scope).await?.map_or(row.version, |frame| frame.held.version())
        }
    };
    let found = arrival::arrival(&mut conn, &row, parsed, &state.fleet, state.now()).await?;
    let found = found.ok_or_else(|| {
        let detail =
            format!("no change of {} has version {parsed}, the newest is {}", row.scope, row.version);
        ApiError::new(Code::UnknownVersion, detail)
    })?;
    Ok(Json(json!(found)))
}
