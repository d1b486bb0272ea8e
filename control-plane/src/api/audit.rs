//! `/v1/audit` and `…/audit` of one environment: the trail, newest first, by flag, actor, action, subject, place and time.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::{FlagKey, ProjectKey, Scope, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::auth::{InEnvironment, InTenant, Viewer};
use super::body::Params;
use super::page::{Page, check_time};
use crate::error::{ApiError, Code};
use crate::model::rights::Place;
use crate::store::audit::{self, AuditFilter, AuditPlace, AuditRow, FIELDS, FIELDS_LEFT_OUT};

/// Which entries of an environment.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvironmentAuditParams {
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
    /// What was done, as the entries show it: `flag.put`.
    #[param(min_length = 1)]
    action: Option<String>,
    /// To what, by its whole name.
    #[param(min_length = 1)]
    subject: Option<String>,
    /// Entries since then.
    from_ms: Option<u64>,
    /// Entries before then.
    to_ms: Option<u64>,
}

/// Which entries of a tenant.
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
    /// What was done, as the entries show it: `flag.put`.
    #[param(min_length = 1)]
    action: Option<String>,
    /// To what, by its whole name.
    #[param(min_length = 1)]
    subject: Option<String>,
    /// Entries since then.
    from_ms: Option<u64>,
    /// Entries before then.
    to_ms: Option<u64>,
    /// Entries of the environments of this project; it need not be there any more.
    #[param(min_length = 1, max_length = 64)]
    project: Option<String>,
    /// Entries of this environment of the project.
    #[param(min_length = 1, max_length = 64)]
    environment: Option<String>,
}

impl From<EnvironmentAuditParams> for AuditParams {
    fn from(params: EnvironmentAuditParams) -> Self {
        let EnvironmentAuditParams { limit, cursor, flag, actor, action, subject, from_ms, to_ms } = params;
        let (project, environment) = (None, None);
        Self { limit, cursor, flag, actor, action, subject, from_ms, to_ms, project, environment }
    }
}

impl AuditParams {
    fn page(&self) -> Result<Page<i64>, ApiError> {
        let time = |at: Option<u64>| at.map(|at| at.to_string());
        let (from, to) = (time(self.from_ms), time(self.to_ms));
        let texts = [
            &self.flag,
            &self.actor,
            &self.action,
            &self.subject,
            &from,
            &to,
            &self.project,
            &self.environment,
        ];
        Page::read("audit", &texts.map(|text| text.as_deref()), self.limit, self.cursor.as_deref())
    }

    /// The flag that is asked for. It need not exist any more.
    fn flag(&self) -> Result<Option<FlagKey>, ApiError> {
        let parsed = self.flag.as_deref().map(FlagKey::parse).transpose();
        parsed.map_err(|error| ApiError::of_parameter(Code::BadQuery, "flag", format!("flag: {error}")))
    }

    /// The place that is asked for: in a project, or in an environment of it.
    fn place(&self) -> Result<Place, ApiError> {
        let (project, environment) = (self.project.as_deref(), self.environment.as_deref());
        if environment.is_some() && project.is_none() {
            let detail = "environment is one of a project: say of which";
            return Err(ApiError::of_parameter(Code::BadQuery, "environment", detail));
        }
        Place::parse(project, environment).ok_or_else(|| {
            let is_project = project.is_some_and(|project| ProjectKey::parse(project).is_err());
            let name = if is_project { "project" } else { "environment" };
            ApiError::of_parameter(
                Code::BadQuery,
                name,
                format!("{name} is no key: lower-case letters, digits, - and _"),
            )
        })
    }

    fn check(&self) -> Result<(), ApiError> {
        for (name, text, hint) in [
            ("actor", &self.actor, "one as entries show it, like token:NAME or fuse"),
            ("action", &self.action, "one as entries show it, like flag.put"),
            ("subject", &self.subject, "one as entries show it, like the key of a flag"),
        ] {
            if text.as_deref() == Some("") {
                let detail = format!("{name} is empty, expected {hint}");
                return Err(ApiError::of_parameter(Code::BadQuery, name, detail));
            }
        }
        for (name, at) in [("from_ms", self.from_ms), ("to_ms", self.to_ms)] {
            check_time(name, at)?;
        }
        match (self.from_ms, self.to_ms) {
            (Some(from), Some(to)) if from >= to => {
                let detail = format!("from_ms is {from}, allowed is what comes before to_ms, {to}");
                Err(ApiError::of_parameter(Code::BadQuery, "from_ms", detail))
            }
            _ => Ok(()),
        }
    }
}

/// A field that a change altered.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditField {
    /// JSON pointer into what was changed.
    pointer: String,
    /// What it was; left out where it was not there. Of a list of units `{"count": n}`, of what is long `{"left_out_bytes": n}`.
    #[schema(required = false)]
    before: Value,
    /// What it is; left out where it is not there any more.
    #[schema(required = false)]
    after: Value,
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
    /// Of a flag, an override, a policy, settings, a segment, a layer, the holdout, an objective or what is said of a flag: the
    /// fields that are others now, 50 at most. Of an import and a revert, those of each thing under its name
    /// (`/flags/checkout/enabled`), and whole what came or went.
    #[schema(nullable = false, value_type = Option<Vec<AuditField>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Value>,
    /// How many more there are; things that were not looked into count once.
    #[schema(nullable = false, value_type = Option<u64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    fields_left_out: Option<Value>,
}

impl From<AuditRow> for Entry {
    fn from(row: AuditRow) -> Self {
        let AuditRow { audit_id, at_ms, project, environment, actor, action, subject, mut detail } = row;
        let mut taken = |name: &str| detail.as_object_mut().and_then(|detail| detail.remove(name));
        let (fields, fields_left_out) = (taken(FIELDS), taken(FIELDS_LEFT_OUT));
        Self {
            audit_id,
            at_ms,
            project,
            environment,
            actor,
            action,
            subject,
            detail,
            fields,
            fields_left_out,
        }
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
    let tenant = caller.tenant;
    match params.place()? {
        Place::Environment(project, environment) => {
            let scope = Scope { tenant, project, environment };
            page(&state, AuditPlace::Environment(&scope), None, &params).await
        }
        Place::Project(project) => page(&state, AuditPlace::Tenant(&tenant), Some(&project), &params).await,
        Place::Tenant => page(&state, AuditPlace::Tenant(&tenant), None, &params).await,
    }
}

pub(super) async fn of_environment(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    Params(params): Params<EnvironmentAuditParams>,
) -> Result<Json<EntryList>, ApiError> {
    page(&state, AuditPlace::Environment(at.scope()), None, &params.into()).await
}

async fn page(
    state: &ApiState,
    place: AuditPlace<'_>,
    project: Option<&ProjectKey>,
    params: &AuditParams,
) -> Result<Json<EntryList>, ApiError> {
    let page = params.page()?;
    let flag = params.flag()?;
    params.check()?;
    let filter = AuditFilter {
        flag: flag.as_ref(),
        actor: params.actor.as_deref(),
        action: params.action.as_deref(),
        subject: params.subject.as_deref(),
        project,
        from: params.from_ms.map(UnixMillis),
        to: params.to_ms.map(UnixMillis),
    };
    let before = page.after.unwrap_or(i64::MAX);
    let rows = audit::page(&mut *state.store.read().await?, place, filter, before, page.sought()).await?;
    let (rows, next) = page.cut(rows, |row| row.audit_id);
    Ok(Json(EntryList { audit: rows.into_iter().map(Entry::from).collect(), next }))
}
