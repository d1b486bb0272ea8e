//! `…/quarantine` and `…/balance`: events that could not be counted, their replay, and the sums that prove that none was
//! lost.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::ApiState;
use super::auth::{Editor, InClaimedPlace, InEnvironment, Viewer};
use super::body::{OptionalBody, Params};
use super::forward::{Passport, handed_on, json_bytes, scope_path};
use super::page::EventPaging;
use crate::error::{ApiError, Code};
use crate::ingest::{IngestError, Ingested, place_of};
use crate::store::Lock;
use crate::store::audit::{AuditPlace, NewAudit, insert};
use crate::store::quarantine::{self as quarantined, Balance, BalanceRow, QuarantineRow};
use crate::store::quarantine_groups::{GroupFilter, waiting};

/// The word of a replay in the audit trail.
const REPLAY: &str = "quarantine.replay";
/// Quarantined events that are counted by one batch.
const EVENT_COUNT_AT_ONCE: u32 = 1_000;

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
    /// `waiting`, or `replayed`.
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

/// Which quarantined events to count once more.
#[derive(Serialize, Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Replay {
    /// Only tells how many would pass now.
    #[serde(default)]
    dry_run: bool,
    /// Those with this code only.
    #[schema(max_length = 256)]
    code: Option<String>,
    /// Those that name this flag only.
    #[schema(max_length = 256)]
    flag: Option<String>,
    /// Those of this SDK only.
    #[schema(max_length = 256)]
    sdk: Option<String>,
}

/// Bytes of a text that quarantined events are chosen by; a flag's key has no more.
const CHOICE_LEN_MAX: usize = 256;

impl Replay {
    fn check(&self) -> Result<(), ApiError> {
        let fields = [("code", &self.code), ("flag", &self.flag), ("sdk", &self.sdk)];
        for (name, value) in fields {
            let len = value.as_ref().map_or(0, String::len);
            if len > CHOICE_LEN_MAX {
                let detail = format!("{name} has {len} bytes, the limit is {CHOICE_LEN_MAX}");
                return Err(ApiError::new(Code::BadSchema, detail));
            }
        }
        Ok(())
    }
}

/// What a replay came to.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub(super) struct Replayed {
    /// Different events that waited.
    looked_at: u64,
    /// Those that pass the checks now.
    would_pass: u64,
    /// Those that were counted now, as known now; 0 of a dry run.
    stored: u64,
    /// Those that were counted before, by their id.
    duplicate: u64,
    /// Those that are still refused, by code.
    refused: BTreeMap<String, u64>,
}

/// A part of a replay, in the audit trail.
#[derive(Serialize)]
struct ReplayEntry<'r> {
    code: &'r Option<String>,
    flag: &'r Option<String>,
    sdk: &'r Option<String>,
    events: usize,
    stored: u64,
    duplicate: u64,
}

/// Counts quarantined events that are sound by now, oldest first. A repetition counts nothing twice. The audit trail has an
/// entry for each thousand of them, with what they came to.
pub(super) async fn replay(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    passport: Passport,
    OptionalBody(asked): OptionalBody<Replay>,
) -> Result<Json<Replayed>, ApiError> {
    let scope = at.scope();
    asked.check()?;
    let filter =
        GroupFilter { code: asked.code.as_deref(), flag: asked.flag.as_deref(), sdk: asked.sdk.as_deref() };
    let place = place_of(scope);
    let mut replayed = Replayed::default();
    let mut after = 0;
    loop {
        let mut conn = state.store.read().await?;
        let events = waiting(&mut conn, place, filter, after, EVENT_COUNT_AT_ONCE).await?;
        drop(conn);
        let Some(last) = events.last() else { return Ok(Json(replayed)) };
        after = last.quarantine_id;
        replayed.looked_at += events.len() as u64;
        let codes = state.ingestion.rehearse(scope, &events, filter.code).await?;
        let mut sound = Vec::new();
        for (event, code) in events.iter().zip(codes) {
            match code {
                None => sound.push(event),
                Some(code) => *replayed.refused.entry(code).or_default() += 1,
            }
        }
        replayed.would_pass += sound.len() as u64;
        if asked.dry_run || sound.is_empty() {
            continue;
        }
        let counted = match state.ingestion.replay(scope, &sound).await {
            // What was replayed here already waits no more.
            Err(error @ IngestError::Elsewhere { .. }) => {
                let path = scope_path(scope, "quarantine/replay");
                return handed_on(&state, error, &path, passport, json_bytes(&asked)?).await;
            }
            answered => match answered?.ingested {
                Ingested::Applied { balance } => balance,
                Ingested::Duplicate => Balance::default(),
            },
        };
        replayed.stored += counted.stored;
        replayed.duplicate += counted.duplicate;
        let (actor, subject) = (at.caller.actor().name, scope.environment.as_str());
        let (events, stored, duplicate) = (sound.len(), counted.stored, counted.duplicate);
        let detail = json!(ReplayEntry {
            code: &asked.code,
            flag: &asked.flag,
            sdk: &asked.sdk,
            events,
            stored,
            duplicate
        });
        let entry = NewAudit { actor: &actor, action: REPLAY, subject, detail, flags: asked.flag.as_slice() };
        let mut tx = state.store.write_patiently(Lock::Ingestion(place)).await?;
        insert(&mut tx, AuditPlace::Environment(scope), entry, state.now()).await?;
        tx.commit().await?;
    }
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
