//! `/v1/audit` and `…/audit` of one environment: the trail, newest first, by flag and by actor.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::{FlagKey, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::auth::{InEnvironment, InTenant, Viewer};
use super::body::Params;
use super::page::Page;
use crate::error::{ApiError, Code};
use crate::store::audit::{self, AuditFilter, AuditPlace, AuditRow};

/// Which entries.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditParams {
    /// Items of a page; 100 when absent.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<u32>,
    /// The `next` of the page before, with the same parameters beside it.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
    /// Changes of this flag, also those of many flags, and of its fuse.
    flag: Option<String>,
    /// As the entries show it: `token:NAME`, `fuse`, `job:NAME`.
    #[param(min_length = 1)]
    actor: Option<String>,
}

impl AuditParams {
    fn page(&self) -> Result<Page<i64>, ApiError> {
        let asked = [self.flag.as_deref(), self.actor.as_deref()];
        Page::read("audit", &asked, self.limit, self.cursor.as_deref())
    }

    /// The flag that is asked for. It need not exist any more.
    fn flag(&self) -> Result<Option<FlagKey>, ApiError> {
        let parsed = self.flag.as_deref().map(FlagKey::parse).transpose();
        parsed.map_err(|error| ApiError::of_parameter(Code::BadQuery, "flag", format!("flag: {error}")))
    }

    fn actor(&self) -> Result<Option<&str>, ApiError> {
        if self.actor.as_deref() == Some("") {
            let detail = "actor is empty, expected one as entries show it, like token:NAME or fuse";
            return Err(ApiError::of_parameter(Code::BadQuery, "actor", detail));
        }
        Ok(self.actor.as_deref())
    }
}

/// An entry of the audit trail.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Entry {
    /// Rising number.
    audit_id: i64,
    #[schema(value_type = u64)]
    at_ms: UnixMillis,
    /// Where, when it concerns one project.
    #[schema(required)]
    project: Option<String>,
    /// Where, when it concerns one environment.
    #[schema(required)]
    environment: Option<String>,
    /// Who: `token:NAME`, `fuse` or `job:NAME`.
    actor: String,
    /// What was done, like `flag.put`.
    action: String,
    /// To what.
    subject: String,
    /// More about it, without secrets and without units. Its fields depend on the action.
    detail: Value,
}

impl From<AuditRow> for Entry {
    fn from(row: AuditRow) -> Self {
        let AuditRow { audit_id, at_ms, project, environment, actor, action, subject, detail } = row;
        Self { audit_id, at_ms, project, environment, actor, action, subject, detail }
    }
}

/// Entries, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntryList {
    audit: Vec<Entry>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
}

pub(super) async fn of_tenant(
    InTenant { caller, .. }: InTenant<Viewer>,
    State(state): State<ApiState>,
    Params(params): Params<AuditParams>,
) -> Result<Json<EntryList>, ApiError> {
    page(&state, AuditPlace::Tenant(&caller.tenant), &params).await
}

pub(super) async fn of_environment(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    Params(params): Params<AuditParams>,
) -> Result<Json<EntryList>, ApiError> {
    page(&state, AuditPlace::Environment(at.scope()), &params).await
}

async fn page(
    state: &ApiState,
    place: AuditPlace<'_>,
    params: &AuditParams,
) -> Result<Json<EntryList>, ApiError> {
    let page = params.page()?;
    let flag = params.flag()?;
    let filter = AuditFilter { flag: flag.as_ref(), actor: params.actor()? };
    let before = page.after.unwrap_or(i64::MAX);
    let rows = audit::page(&mut *state.store.read().await?, place, filter, before, page.sought()).await?;
    let (rows, next) = page.cut(rows, |row| row.audit_id);
    Ok(Json(EntryList { audit: rows.into_iter().map(Entry::from).collect(), next }))
}
