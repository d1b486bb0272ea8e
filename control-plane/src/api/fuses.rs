//! `…/flags/{flag}/fuse`: policy, state, and the switches of people, which no cooldown holds back.

use axum::extract::State;
use axum::response::Response;
use flagfuse_shared::ids::{FlagKey, Scope};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Changed, tagged};
use super::auth::{Admin, Caller, Viewer};
use super::body::{self, JsonBody, PathParams, RawBody};
use super::echo::{self, Echo};
use super::manner::{Kind, Manner};
use super::{ApiState, flag_key, hints, metrics_seen};
use crate::change::{Applied, Change, ChangeError, Decider, Preconditions, Tag, Terms};
use crate::error::{ApiError, Code};
use crate::model::circuit::{Circuit, Hand};
use crate::model::policy::Policy;
use crate::model::traffic::Traffic;
use crate::store::fuses::{self, FuseRow};
use crate::store::{Connection, arrivals, phases};

/// Bytes of the reason a person gives.
const REASON_LEN_MAX: usize = 512;
/// How often a switch is tried against others that move the same fuse.
const ATTEMPT_COUNT: u32 = 8;

type FlagPath = PathParams<(String, String, String)>;

async fn require_fuse(conn: &mut Connection, scope: &Scope, flag: &str) -> Result<FuseRow, ApiError> {
    let row = fuses::fuse(conn, scope, flag).await?;
    row.ok_or_else(|| ApiError::new(Code::UnknownFuse, format!("flag {flag:?} has no fuse")))
}

/// Without its traffic, which reads thousands of events: the answer to a kill does not wait for that.
async fn fuse_json(conn: &mut Connection, row: &FuseRow) -> Result<Value, ApiError> {
    let phase = phases::by_id(conn, row.phase_id).await?;
    let tripped = match row.tripped_phase_id {
        Some(phase_id) => phases::by_id(conn, phase_id).await?.map(|phase| phase.phase),
        None => None,
    };
    Ok(json!({
        "flag": row.flag,
        "revision": row.revision,
        "circuit": row.circuit,
        "opened_by_hand": row.hand == Hand::Holds,
        "rollout": row.rollout,
        "phase": phase.as_ref().map(|phase| phase.phase),
        "phase_started_ms": phase.as_ref().map(|phase| phase.started_ms),
        "slices": phase.map(|phase| phase.slices),
        "tripped_phase": tripped,
        "changed_ms": row.changed_ms,
        "acted_ms": row.acted_ms,
        "ema": row.ema,
        "policy": row.policy,
    }))
}

pub(super) async fn read(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment, flag)): FlagPath,
) -> Result<Response, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let mut conn = state.store.read().await?;
    let row = require_fuse(&mut conn, &scope, &flag).await?;
    let mut body = fuse_json(&mut conn, &row).await?;
    let traffic =
        arrivals::traffic(&mut conn, &scope, &row.flag, &row.policy, Some(&row), state.now()).await?;
    if let Some(fields) = body.as_object_mut() {
        fields.insert("traffic".to_owned(), json!(traffic));
    }
    Ok(tagged(&Tag::revision(row.revision), body))
}

pub(super) async fn put(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams((project, environment, flag)): FlagPath,
    JsonBody(body): JsonBody<Value>,
) -> Result<Changed, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let echo = Echo::read(echo::FUSE, body)?;
    check_state(&state, &scope, &flag, &echo).await?;
    let policy = Policy::parse(echo.content)?;
    let mut notes = hints::of_policy(&policy);
    notes.extend(metrics_seen::notes(&state, &scope, &policy).await?);
    let change =
        Change::PutFuse { scope: scope.clone(), flag: flag_key(&flag)?, policy: Box::new(policy.clone()) };
    let answer = state.propose(&caller, manner.read_at(echo.revision), change).await?.with_notes(notes);
    // The change is made: that nothing can be said about traffic now must not look like a refusal.
    let traffic = traffic(&state, &scope, &flag, &policy).await.ok();
    Ok(answer.with("traffic", json!(traffic)))
}

async fn traffic(state: &ApiState, scope: &Scope, flag: &str, policy: &Policy) -> Result<Traffic, ApiError> {
    let mut conn = state.store.read().await?;
    let fuse = fuses::fuse(&mut conn, scope, flag).await?;
    Ok(arrivals::traffic(&mut conn, scope, flag, policy, fuse.as_ref(), state.now()).await?)
}

/// What came back as the fuse's state is what stands, or what stood at the revision that the body names: nobody moves a
/// fuse by its policy.
async fn check_state(state: &ApiState, scope: &Scope, flag: &str, echo: &Echo) -> Result<(), ApiError> {
    echo.check(echo::FUSE, "flag", &json!(flag), "the path says which flag is meant")?;
    let Some(row) = fuses::fuse(&mut *state.store.read().await?, scope, flag).await? else { return Ok(()) };
    if echo.revision.is_some_and(|revision| revision != row.revision) {
        return Ok(());
    }
    let remedy = "a fuse is moved by POST of …/fuse/trip, …/fuse/half-open and …/fuse/close";
    echo.check(echo::FUSE, "circuit", &json!(row.circuit), remedy)?;
    echo.check(echo::FUSE, "opened_by_hand", &json!(row.hand == Hand::Holds), remedy)
}

pub(super) async fn delete(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams((project, environment, flag)): FlagPath,
) -> Result<Changed, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let change = Change::DeleteFuse { scope, flag: flag_key(&flag)? };
    state.propose(&caller, manner, change).await
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Action {
    #[serde(default)]
    reason: String,
}

/// `POST …/fuse/{trip|half-open|close|reset}`; the body, `{"reason": "…"}`, may be left out.
pub(super) async fn act(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams((project, environment, flag, action)): PathParams<(String, String, String, String)>,
    RawBody(body): RawBody,
) -> Result<Changed, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let to = match action.as_str() {
        "trip" => Circuit::Open,
        "half-open" => Circuit::HalfOpen,
        "close" | "reset" => Circuit::Closed,
        other => {
            let detail = format!("action {other:?} does not exist, there are trip, half-open, close, reset");
            return Err(ApiError::new(Code::UnknownAction, detail));
        }
    };
    let Action { reason } = if body.is_empty() { Action::default() } else { body::json(&body)? };
    if reason.len() > REASON_LEN_MAX {
        let detail = format!("reason has {} bytes, the limit is {REASON_LEN_MAX}", reason.len());
        return Err(ApiError::new(Code::TooLong, detail));
    }
    let asked = Switch { to, action, reason };
    if manner.kind == Kind::DryRun {
        let before = require_fuse(&mut *state.store.read().await?, &scope, &flag).await?;
        let change = asked.change(&scope, &flag_key(&flag)?, before.revision);
        return state.propose(&caller, manner, change).await;
    }
    let applied = switch(&state, &caller, &scope, &flag_key(&flag)?, asked, manner.seen).await?;
    let mut conn = state.store.read().await?;
    let after = require_fuse(&mut conn, &scope, &flag).await?;
    Ok(Changed::from(applied).with("fuse", fuse_json(&mut conn, &after).await?))
}

/// What a person asked for.
struct Switch {
    to: Circuit,
    action: String,
    reason: String,
}

impl Switch {
    /// A trip never asks what its sender has seen: the feature is to be off, whatever has happened meanwhile.
    fn admits(&self, seen: &Preconditions, fuse: &FuseRow) -> bool {
        self.to == Circuit::Open || seen.check(Some(&Tag::revision(fuse.revision))).is_ok()
    }

    fn change(&self, scope: &Scope, flag: &FlagKey, expected_revision: u64) -> Change {
        Change::FuseTransition {
            scope: scope.clone(),
            flag: flag.clone(),
            expected_revision,
            to: self.to,
            by: Decider::Person,
            reason: format!("manual_{}", self.action.replace('-', "_")),
            evidence: json!({ "given": self.reason }),
        }
    }
}

/// Moves the fuse whatever the engine does meanwhile: a kill must not fail because somebody else was quicker.
async fn switch(
    state: &ApiState,
    caller: &Caller,
    scope: &Scope,
    flag: &FlagKey,
    asked: Switch,
    seen: Preconditions,
) -> Result<Applied, ApiError> {
    let terms = Terms { preconditions: seen, ..Terms::default() };
    let mut attempts_left = ATTEMPT_COUNT;
    loop {
        let before = require_fuse(&mut *state.store.read().await?, scope, flag.as_str()).await?;
        // A repeated click changes nothing; a reset always begins a phase; a trip takes an open fuse into a
        // person's hand when the engine had opened it.
        let is_there =
            before.circuit == asked.to && (asked.to != Circuit::Open || before.hand == Hand::Holds);
        if is_there && asked.action != "reset" && asked.admits(&terms.preconditions, &before) {
            let tag = Some(Tag::revision(before.revision));
            return Ok(Applied { revision: Some(before.revision), tag, ..Applied::default() });
        }
        let change = asked.change(scope, flag, before.revision);
        attempts_left -= 1;
        match state.change(caller, change, terms.clone()).await {
            Err(ChangeError::Stale { .. }) if attempts_left > 0 => {}
            done => return Ok(done?),
        }
    }
}
