//! `…/quarantine/groups`: what could not be counted, in groups of one code, flag and SDK, each with one event of it and what to do.
//! `…/quarantine/replay` takes the same filters.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::UnixMillis;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::auth::{InClaimedPlace, Viewer};
use super::body::Params;
use super::page::{self, LIMIT_MAX, LIMIT_OF_EVENTS};
use crate::error::{ApiError, Code};
use crate::model::remedy::remedy;
use crate::store::quarantine_groups::{self, GroupFilter, QuarantineGroup};

/// Bytes of a text that groups are chosen by; a flag's key has no more.
const CHOICE_LEN_MAX: usize = 256;

/// Which groups.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupParams {
    /// So many of the largest; 100 when absent.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<u32>,
    /// Those with this code.
    #[param(max_length = 256)]
    code: Option<String>,
    /// Those that name this flag; empty: none.
    #[param(max_length = 256)]
    flag: Option<String>,
    /// Those of this SDK; empty: of none that says so.
    #[param(max_length = 256)]
    sdk: Option<String>,
}

/// Events that cannot be counted for one reason.
#[derive(Debug, Serialize, ToSchema)]
struct QuarantinedGroup {
    /// Why, for programs.
    code: String,
    /// The flag that they name; empty when they name none.
    flag: String,
    /// Name and version of the SDK that sent them; empty when it does not say.
    sdk: String,
    events: u64,
    /// Those of them that were not replayed.
    waiting: u64,
    #[schema(value_type = u64)]
    first_ms: UnixMillis,
    #[schema(value_type = u64)]
    last_ms: UnixMillis,
    /// Which field of the sample is to blame; empty when it is none.
    field: String,
    /// Why, for people: of the sample. Empty where it was not kept.
    reason: String,
    /// One of the newest as it arrived, at most 4 KiB of it.
    sample: String,
    /// What to do about it.
    hint: &'static str,
}

impl From<QuarantineGroup> for QuarantinedGroup {
    fn from(group: QuarantineGroup) -> Self {
        let QuarantineGroup { code, flag, sdk, events, waiting, first_ms, last_ms, field, reason, sample } =
            group;
        let hint = remedy(&code);
        Self { code, flag, sdk, events, waiting, first_ms, last_ms, field, reason, sample, hint }
    }
}

/// The largest groups first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QuarantinedGroupList {
    groups: Vec<QuarantinedGroup>,
    /// Whether there are smaller ones that are not shown.
    is_more: bool,
}

impl GroupParams {
    fn check(&self) -> Result<u32, ApiError> {
        for (name, given) in [("code", &self.code), ("flag", &self.flag), ("sdk", &self.sdk)] {
            let len = given.as_ref().map_or(0, String::len);
            if len > CHOICE_LEN_MAX {
                let detail = format!("{name} has {len} bytes, the limit is {CHOICE_LEN_MAX}");
                return Err(ApiError::of_parameter(Code::BadQuery, name, detail));
            }
        }
        page::checked(self.limit.unwrap_or(LIMIT_OF_EVENTS), LIMIT_MAX)
    }
}

pub(super) async fn list(
    at: InClaimedPlace<Viewer>,
    State(state): State<ApiState>,
    Params(params): Params<GroupParams>,
) -> Result<Json<QuarantinedGroupList>, ApiError> {
    let limit = params.check()?;
    let GroupParams { code, flag, sdk, .. } = &params;
    let filter = GroupFilter { code: code.as_deref(), flag: flag.as_deref(), sdk: sdk.as_deref() };
    let mut conn = state.store.read().await?;
    let mut found = quarantine_groups::groups(&mut conn, at.place(), filter, limit + 1).await?;
    let is_more = found.len() > limit as usize;
    found.truncate(limit as usize);
    Ok(Json(QuarantinedGroupList {
        groups: found.into_iter().map(QuarantinedGroup::from).collect(),
        is_more,
    }))
}
