//! `…/quarantine` and `…/balance`: events that could not be counted, and the sums that prove that none was lost.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::UnixMillis;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::auth::{InClaimedPlace, Viewer};
use super::body::Params;
use super::page::EventPaging;
use crate::error::ApiError;
use crate::store::quarantine::{self as quarantined, BalanceRow, QuarantineRow};

/// An event that could not be counted.
#[derive(Debug, Serialize, ToSchema)]
struct Quarantined {
    quarantine_id: i64,
    /// Why, for programs.
    code: String,
    /// Which field of the event is to blame, when it is one.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "String::is_empty")]
    field: String,
    /// Why, for people; left out where it was not kept.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    /// The bytes as they arrived, at most 4 KiB of them.
    raw: String,
    /// When it came first.
    #[schema(value_type = u64)]
    first_ms: UnixMillis,
    /// When it came last.
    #[schema(value_type = u64)]
    last_ms: UnixMillis,
    /// How often it came.
    events: u64,
    /// `waiting` until it is replayed.
    replay_state: String,
}

impl From<QuarantineRow> for Quarantined {
    fn from(row: QuarantineRow) -> Self {
        let QuarantineRow {
            quarantine_id,
            code,
            field,
            reason,
            raw,
            first_ms,
            last_ms,
            events,
            replay_state,
        } = row;
        Self { quarantine_id, code, field, reason, raw, first_ms, last_ms, events, replay_state }
    }
}

/// Events that could not be counted, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QuarantineList {
    quarantine: Vec<Quarantined>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
}

pub(super) async fn list(
    at: InClaimedPlace<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<EventPaging>,
) -> Result<Json<QuarantineList>, ApiError> {
    let page = paging.page::<i64>("quarantine")?;
    let mut conn = state.store.read().await?;
    let before = page.after.unwrap_or(i64::MAX);
    let rows = quarantined::page(&mut conn, at.place(), before, page.sought()).await?;
    let (rows, next) = page.cut(rows, |row| row.quarantine_id);
    Ok(Json(QuarantineList { quarantine: rows.into_iter().map(Quarantined::from).collect(), next }))
}

/// What became of the events of one minute, or, when it is long ago, of one day:
/// `received = stored + duplicate + quarantined`.
#[expect(clippy::struct_field_names, reason = "the names in JSON")]
#[derive(Debug, Serialize, ToSchema)]
struct Minute {
    /// Its beginning.
    #[schema(value_type = u64)]
    minute_ms: UnixMillis,
    received: u64,
    /// Had an effect.
    stored: u64,
    /// Were known already.
    duplicate: u64,
    /// Could not be used.
    quarantined: u64,
}

impl From<BalanceRow> for Minute {
    fn from(BalanceRow { minute_ms, balance }: BalanceRow) -> Self {
        let (received, stored) = (balance.received, balance.stored);
        Self { minute_ms, received, stored, duplicate: balance.duplicate, quarantined: balance.quarantined }
    }
}

/// Balances by minute, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MinuteList {
    minutes: Vec<Minute>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
}

pub(super) async fn balance(
    at: InClaimedPlace<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<EventPaging>,
) -> Result<Json<MinuteList>, ApiError> {
    let page = paging.page::<UnixMillis>("balance")?;
    let mut conn = state.store.read().await?;
    let before = page.after.unwrap_or(UnixMillis(u64::MAX));
    let rows = quarantined::balance_page(&mut conn, at.place(), before, page.sought()).await?;
    let (rows, next) = page.cut(rows, |row| row.minute_ms);
    Ok(Json(MinuteList { minutes: rows.into_iter().map(Minute::from).collect(), next }))
}
