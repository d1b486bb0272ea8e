//! `…/snapshots` and `…/revert`: the versions that are kept, and the way back to one of them.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::ids::{SnapshotVersion, UnixMillis};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::Changed;
use super::auth::{Editor, InEnvironment, Viewer};
use super::body::{JsonBody, Params};
use super::page::EventPaging;
use super::propagation::HowSoon;
use super::submission::{Submission, WithFuse};
use super::{ApiState, flag_key};
use crate::change::Change;
use crate::error::{ApiError, Code};
use crate::store::history::{self, HistoryRow};

/// A version that is kept, and the change that it carried first.
#[derive(Debug, Serialize, ToSchema)]
struct KeptSnapshot {
    /// `epoch.seq`.
    version: String,
    /// When it was signed.
    #[schema(value_type = u64)]
    created_ms: UnixMillis,
    /// How soon clients were told.
    #[schema(value_type = HowSoon)]
    urgency: Urgency,
    /// Who made it: `token:NAME`, `fuse` or `job:NAME`.
    #[schema(required)]
    actor: Option<String>,
    /// What they did, like `flag.put`.
    #[schema(required)]
    action: Option<String>,
    /// To what.
    #[schema(required)]
    subject: Option<String>,
}

impl From<HistoryRow> for KeptSnapshot {
    fn from(row: HistoryRow) -> Self {
        let HistoryRow { version, created_ms, urgency, actor, action, subject } = row;
        Self { version, created_ms, urgency, actor, action, subject }
    }
}

/// Versions that are kept, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SnapshotList {
    snapshots: Vec<KeptSnapshot>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
}

pub(super) async fn list(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<EventPaging>,
) -> Result<Json<SnapshotList>, ApiError> {
    let page = paging.page::<SnapshotVersion>("snapshots")?;
    let mut conn = state.store.read().await?;
    let rows = history::page(&mut conn, at.scope(), page.after, page.sought()).await?;
    let (rows, next) = page.cut(rows, |row| {
        SnapshotVersion::parse(&row.version).unwrap_or(SnapshotVersion { epoch: 0, seq: 0 })
    });
    Ok(Json(SnapshotList { snapshots: rows.into_iter().map(KeptSnapshot::from).collect(), next }))
}

/// Where to go back to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Revert {
    /// A kept version, `epoch.seq`.
    #[schema(pattern = r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$")]
    to: String,
    /// This flag alone.
    flag: Option<String>,
}

pub(super) async fn revert(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    WithFuse(fuses): WithFuse,
    JsonBody(body): JsonBody<Revert>,
) -> Result<Changed, ApiError> {
    let to = SnapshotVersion::parse(&body.to).ok_or_else(|| {
        ApiError::new(Code::BadSchema, format!("to is {:?}, expected a version like 1.17", body.to))
    })?;
    let flag = body.flag.as_deref().map(flag_key).transpose()?;
    let change = Change::Revert { scope: at.scope().clone(), to, flag, fuses };
    state.propose(&at.caller, submission, change).await
}
