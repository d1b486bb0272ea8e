//! `…/flag-rows`: the flags of an environment as a list shows them: on or off, what they serve in a sentence, their fuses, what
//! people say of them, and when they were asked for last.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::UnixMillis;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::auth::{InEnvironment, Viewer};
use super::body::Params;
use super::document::schema;
use super::page::{ListTotal, Listed, Paging, Sort};
use crate::error::{ApiError, Code};
use crate::model::circuit::Circuit;
use crate::model::flag_details::{FlagDetails, FlagKind, NAME_LEN_MAX, TAG_LEN_MAX};
use crate::model::ramp::Ramp;
use crate::model::sentence::{Watched, sentence};
use crate::store::evidence::Looked;
use crate::store::flag_rows::{self, FlagAround, FlagFilter};
use crate::store::listing::{Order, Stand};
use crate::store::phases::{self, PhaseRow};
use crate::store::{Connection, StoreError};

/// Which rows.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct RowParams {
    /// Items of a page; 1,000 when absent.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<u32>,
    /// The `next` of the page before, with the same parameters beside it.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
    /// What a key or a name has to hold, whatever the case of its letters.
    #[param(min_length = 1, max_length = 256)]
    q: Option<String>,
    /// The order; by key when absent.
    #[param(inline)]
    sort: Option<Sort>,
    /// Those of this owner, by the whole name.
    #[param(min_length = 1, max_length = 256)]
    owner: Option<String>,
    /// Those with this tag.
    #[param(min_length = 1, max_length = 64)]
    tag: Option<String>,
    /// Those of this kind.
    #[param(inline, value_type = Option<schema::FlagKind>)]
    kind: Option<FlagKind>,
    /// Those that are on, or off.
    #[param(inline)]
    state: Option<FlagState>,
    /// Those whose fuse stands there.
    #[param(inline, value_type = Option<schema::Circuit>)]
    circuit: Option<Circuit>,
}

/// Whether a flag decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum FlagState {
    On,
    /// Everybody gets the off variation.
    Off,
}

impl FlagState {
    pub(super) const fn of(is_on: bool) -> Self {
        if is_on { Self::On } else { Self::Off }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// The fuse of a flag in a list.
#[derive(Debug, Serialize, ToSchema)]
struct FlagRowFuse {
    #[schema(value_type = schema::Circuit)]
    circuit: Circuit,
    /// The stage of its attempt that stands, from 1; 0 where nobody is exposed.
    stage: u32,
    /// How many stages the attempt has, the last one of everybody included.
    stages: u32,
}

/// A flag in a list.
#[derive(Debug, Serialize, ToSchema)]
struct FlagListRow {
    key: String,
    /// What people call it; empty where they call it by its key.
    name: String,
    state: FlagState,
    /// What it serves, in plain words.
    sentence: String,
    /// Null of a flag without one.
    #[schema(required)]
    fuse: Option<FlagRowFuse>,
    /// Empty where nobody is named.
    owner: String,
    tags: Vec<String>,
    #[schema(required, value_type = Option<schema::FlagKind>)]
    kind: Option<FlagKind>,
    /// When it should be gone from the code.
    #[schema(required, value_type = Option<u64>)]
    expires_ms: Option<UnixMillis>,
    /// Whether people are done with it.
    archived: bool,
    /// When it was asked for last, to the minute: as exposures and the counts of edges and of Unleash's SDKs tell it. Null where
    /// none did: a bulk evaluation is a prefetch, and leaves no trace.
    #[schema(required, value_type = Option<u64>)]
    last_asked_ms: Option<UnixMillis>,
    /// Last write of the flag.
    #[schema(value_type = u64)]
    changed_ms: UnixMillis,
    /// Of the flag; rises with every write.
    revision: u64,
    /// Whether it follows its project.
    inherited: bool,
}

/// Flags as a list shows them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FlagRowList {
    rows: Vec<FlagListRow>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
    /// How many there are on all pages.
    total: ListTotal,
}

impl RowParams {
    fn check(&self) -> Result<(), ApiError> {
        for (name, given, len_max) in [("owner", &self.owner, NAME_LEN_MAX), ("tag", &self.tag, TAG_LEN_MAX)]
        {
            let Some(len) = given.as_ref().map(String::len) else { continue };
            if !(1..=len_max).contains(&len) {
                let detail = format!("{name} has {len} bytes, allowed is 1 to {len_max}");
                return Err(ApiError::of_parameter(Code::BadQuery, name, detail));
            }
        }
        Ok(())
    }
}

pub(super) async fn list(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    Params(params): Params<RowParams>,
) -> Result<Json<FlagRowList>, ApiError> {
    params.check()?;
    let asked = [
        params.owner.as_deref(),
        params.tag.as_deref(),
        params.kind.map(FlagKind::as_str),
        params.state.map(FlagState::as_str),
        params.circuit.map(Circuit::as_str),
    ];
    let filter = FlagFilter {
        owner: params.owner.as_deref(),
        tag: params.tag.as_deref(),
        kind: params.kind,
        is_on: params.state.map(|state| state == FlagState::On),
        circuit: params.circuit,
    };
    let paging = Paging::of(params.limit, params.cursor.clone(), params.q.clone(), params.sort);
    let page = paging.page_asking("flag_rows", Order::Key, &asked)?;
    let mut conn = state.store.read().await?;
    let rows = flag_rows::listed(&mut conn, at.scope(), filter, &page.listing()).await?;
    let found = match page.total_of(rows.len()) {
        Some(found) => found,
        None => flag_rows::total(&mut conn, at.scope(), filter, &page.listing()).await?,
    };
    let stand = |flag: &FlagAround| Stand { at: flag.row.updated_ms, key: flag.row.wire.key.clone() };
    let Listed { items, next, total } = page.cut(rows, found, stand);
    let stages = stages(&mut conn, &items).await?;
    let rows = items.into_iter().zip(stages).map(|(flag, stages)| row(flag, stages)).collect();
    Ok(Json(FlagRowList { rows, next, total }))
}

/// How many stages the attempts of these flags' fuses have, in their order; 0 of those without one.
async fn stages(conn: &mut Connection, flags: &[FlagAround]) -> Result<Vec<u32>, StoreError> {
    let with_ramp =
        flags.iter().filter_map(|flag| flag.fuse.as_ref().filter(|fuse| fuse.policy.ramp.is_some()));
    let looked: Vec<_> = with_ramp.map(|fuse| Looked { phase_id: fuse.phase_id, upto: fuse.phase }).collect();
    let begun = if looked.is_empty() { BTreeMap::new() } else { phases::of_attempts(conn, &looked).await? };
    let count = |flag: &FlagAround| {
        let Some(fuse) = &flag.fuse else { return 0 };
        let own = begun.get(&fuse.phase_id).into_iter().flatten().map(PhaseRow::in_attempt);
        u32::try_from(Ramp::of_attempt(&fuse.policy, own).told().len()).unwrap_or(u32::MAX)
    };
    Ok(flags.iter().map(count).collect())
}

fn row(flag: FlagAround, stages: u32) -> FlagListRow {
    let sentence = said(&flag);
    let FlagAround { row, details, is_inherited, fuse, asked_ms } = flag;
    let FlagDetails { name, owner, tags, kind, expires_ms, archived, .. } = details.unwrap_or_default();
    FlagListRow {
        key: row.wire.key,
        name,
        state: FlagState::of(row.wire.enabled),
        sentence,
        fuse: fuse.map(|fuse| FlagRowFuse { circuit: fuse.circuit, stage: fuse.stage, stages }),
        owner,
        tags,
        kind,
        expires_ms,
        archived,
        last_asked_ms: asked_ms,
        changed_ms: row.updated_ms,
        revision: row.revision,
        inherited: is_inherited,
    }
}

/// What a flag serves, in plain words.
pub(super) fn said(flag: &FlagAround) -> String {
    let watched = flag.fuse.as_ref().map(|fuse| Watched { circuit: fuse.circuit, policy: &fuse.policy });
    sentence(&flag.row.wire, watched)
}
