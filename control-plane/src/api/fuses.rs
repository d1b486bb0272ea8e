//! `…/flags/{flag}/fuse`: policy, state, and the switches of people, which no cooldown holds back.

use std::collections::BTreeMap;

use axum::extract::State;
use flagfuse_shared::definition::CohortSliceWire;
use flagfuse_shared::ids::{FlagKey, Scope, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::answer::{Changed, Tagged};
use super::auth::{Caller, Editor, InEnvironment, Viewer};
use super::body::{OptionalBody, PathParams};
use super::document::schema;
use super::echo::{self, Echo, EchoBody, Shape, Shown};
use super::flags::FlagPath;
use super::submission::{Mode, Submission};
use super::{ApiState, flag_key, hints, metrics_seen};
use crate::change::{Applied, Change, ChangeError, Decider, Preconditions, Tag, Terms};
use crate::error::{ApiError, Code};
use crate::model::circuit::{Circuit, Hand, Rollout};
use crate::model::lint::{Facts, Finding, lint};
use crate::model::policy::Policy;
use crate::model::ramp::{Ramp, exposed_percent};
use crate::model::traffic::Traffic;
use crate::model::verdict::{GuardrailEvidence, NextStage};
use crate::store::fuses::{self, FuseRow};
use crate::store::phases::PhaseRow;
use crate::store::{Connection, arrivals, flags, metrics_seen as seen, phases, verdicts};
use flagfuse_stats::budget;

/// Bytes of the reason a person gives.
const REASON_LEN_MAX: usize = 512;
/// How often a switch is tried against others that move the same fuse.
const ATTEMPT_COUNT: u32 = 8;

/// A fuse and where it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FuseAnswer {
    /// The flag that it watches.
    flag: String,
    /// Rises with every change of policy or circuit.
    revision: u64,
    #[schema(value_type = schema::Circuit)]
    circuit: Circuit,
    /// Whether a person opened it, so that only a person tries again.
    opened_by_hand: bool,
    #[schema(value_type = schema::Rollout)]
    rollout: Rollout,
    /// Number of the running phase.
    #[schema(required)]
    phase: Option<u32>,
    /// When that began.
    #[schema(required, value_type = Option<u64>)]
    phase_started_ms: Option<UnixMillis>,
    /// The buckets that it exposes and compares.
    #[schema(required, value_type = Option<Vec<schema::CohortSlice>>)]
    slices: Option<Vec<CohortSliceWire>>,
    /// Which attempt of the flag's launches runs, and where its stages stand.
    #[schema(required)]
    attempt: Option<AttemptAnswer>,
    /// Number of the phase whose units showed the harm; null before the first trip.
    #[schema(required)]
    tripped_phase: Option<u32>,
    /// Last change of policy or circuit.
    #[schema(value_type = u64)]
    changed_ms: UnixMillis,
    /// Last transition.
    #[schema(required, value_type = Option<u64>)]
    acted_ms: Option<UnixMillis>,
    /// The difference of the moving averages by metric, as the newest verdict has it; empty without an `ema_alpha`.
    ema: BTreeMap<String, f64>,
    /// What it watches and what it does.
    #[schema(value_type = schema::Policy)]
    policy: Policy,
    /// What its policy needs; left out of the answer to a switch, which does not wait for it.
    #[schema(nullable = false, value_type = Option<schema::Traffic>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic: Option<Traffic>,
}

/// An attempt: what a launch, a probe, a re-armed fuse or another question to the units began.
#[derive(Debug, Serialize, ToSchema)]
struct AttemptAnswer {
    /// From 1; each spends less of the error than the one before.
    number: u32,
    /// The part of the error that it spends.
    alpha: f64,
    /// The stage that runs, from 1; 0 where nobody is exposed.
    stage: u32,
    /// Its stages; one without a ramp.
    stages: Vec<AttemptStage>,
    /// Share of units that see the feature now, percent.
    exposed_percent: f64,
    /// Text hashed with the unit, where it is not the flag's salt: the lane before had too few fresh buckets.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<String>,
    /// Whether a person keeps its ramp at this stage.
    ramp_held: bool,
    /// The stage that follows, as the newest verdict of this one says; null behind the last one, and where no verdict is yet.
    #[schema(required, value_type = Option<schema::NextStage>)]
    next: Option<NextStage>,
}

/// A stage of an attempt.
#[derive(Debug, Serialize, ToSchema)]
struct AttemptStage {
    /// Share of units that see the feature, those of the stages before included, percent.
    exposed_percent: f64,
    /// Share of units that it reserves as its own control, percent.
    control_percent: f64,
    /// Number of its phase; null of one that has not begun.
    #[schema(required)]
    phase: Option<u32>,
    /// When it began.
    #[schema(required, value_type = Option<u64>)]
    began_ms: Option<UnixMillis>,
}

/// What a policy needs, and what of it may not have been meant.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyHints {
    /// What is allowed and may not have been meant.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    /// How much traffic it needs; null when nothing can be said now.
    #[schema(required, value_type = Option<schema::Traffic>)]
    traffic: Option<Traffic>,
    /// What keeps it from guarding anything; empty where nothing does.
    #[schema(value_type = Vec<schema::LintFinding>)]
    lint: Vec<Finding>,
}

/// The fuse that was moved.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Moved {
    /// As it stands now; left out of a rehearsal.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    fuse: Option<FuseAnswer>,
}

/// A fuse as `GET` shows it: its policy can be written, its state is moved by its switches.
pub(super) enum ShownFuse {}

impl Shown for ShownFuse {
    const SHAPE: Shape = echo::FUSE;
    type Content = schema::Policy;
}

async fn require_fuse(conn: &mut Connection, scope: &Scope, flag: &str) -> Result<FuseRow, ApiError> {
    let row = fuses::fuse(conn, scope, flag).await?;
    row.ok_or_else(|| ApiError::new(Code::UnknownFuse, format!("flag {flag:?} has no fuse")))
}

/// Without its traffic, which reads thousands of events: the answer to a kill does not wait for that.
async fn answer(conn: &mut Connection, scope: &Scope, row: &FuseRow) -> Result<FuseAnswer, ApiError> {
    let phase = phases::by_id(conn, row.phase_id).await?;
    let attempt = match &phase {
        Some(phase) => Some(attempt(conn, scope, row, phase).await?),
        None => None,
    };
    let tripped = match row.tripped_phase_id {
        Some(phase_id) => phases::by_id(conn, phase_id).await?.map(|phase| phase.phase),
        None => None,
    };
    Ok(FuseAnswer {
        flag: row.flag.clone(),
        revision: row.revision,
        circuit: row.circuit,
        opened_by_hand: row.hand == Hand::Holds,
        rollout: row.rollout,
        phase: phase.as_ref().map(|phase| phase.phase),
        phase_started_ms: phase.as_ref().map(|phase| phase.started_ms),
        slices: phase.map(|phase| phase.slices),
        attempt,
        tripped_phase: tripped,
        changed_ms: row.changed_ms,
        acted_ms: row.acted_ms,
        ema: averages(conn, scope, row).await?,
        policy: row.policy.clone(),
        traffic: None,
    })
}

/// What the newest verdict compared in the place of rates.
async fn averages(
    conn: &mut Connection,
    scope: &Scope,
    row: &FuseRow,
) -> Result<BTreeMap<String, f64>, ApiError> {
    if row.policy.ema_alpha.is_none() {
        return Ok(BTreeMap::new());
    }
    let newest = verdicts::newest(conn, scope, &row.flag, 1).await?.into_iter().next();
    let evidence = newest.map(|verdict| verdict.evidence).unwrap_or_default();
    let has_both = |found: &GuardrailEvidence| {
        found.moving_average.is_some_and(|found| found.exposed.is_some() && found.control.is_some())
    };
    let averaged = evidence.into_iter().filter(has_both);
    Ok(averaged.map(|found| (found.metric, found.delta_compared)).collect())
}

async fn attempt(
    conn: &mut Connection,
    scope: &Scope,
    row: &FuseRow,
    running: &PhaseRow,
) -> Result<AttemptAnswer, ApiError> {
    let begun = phases::of_attempt(conn, scope, &row.flag, running.attempt).await?;
    let ramp = Ramp::of_attempt(&row.policy, begun.iter().map(PhaseRow::in_attempt));
    let stages = ramp.told().into_iter().zip(1..).map(|(told, number)| {
        let phase = begun.iter().find(|phase| phase.stage == number);
        AttemptStage {
            exposed_percent: told.exposed_percent,
            control_percent: told.control_percent,
            phase: phase.map(|phase| phase.phase),
            began_ms: phase.map(|phase| phase.started_ms),
        }
    });
    let newest = verdicts::newest(conn, scope, &row.flag, 1).await?.into_iter().next();
    let newest = newest.filter(|verdict| verdict.phase == running.phase && verdict.at_ms >= row.changed_ms);
    Ok(AttemptAnswer {
        number: running.attempt,
        alpha: budget::alpha(running.attempt.max(1)).unwrap_or_default(),
        stage: running.stage,
        stages: stages.collect(),
        exposed_percent: exposed_percent(&running.slices),
        lane: flags::flag(conn, scope, &row.flag).await?.and_then(|flag| flag.wire.cohort?.salt),
        ramp_held: row.is_ramp_held,
        next: newest.and_then(|verdict| verdict.ramp?.next),
    })
}

pub(super) async fn read(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
) -> Result<Tagged<FuseAnswer>, ApiError> {
    let mut conn = state.store.read().await?;
    let row = require_fuse(&mut conn, at.scope(), &flag).await?;
    shown_row(&mut conn, at.scope(), &row, state.now()).await
}

/// A fuse as `GET` shows it; `None` when there is none.
pub(super) async fn shown(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    now: UnixMillis,
) -> Result<Option<Tagged<FuseAnswer>>, ApiError> {
    match fuses::fuse(conn, scope, flag).await? {
        Some(row) => shown_row(conn, scope, &row, now).await.map(Some),
        None => Ok(None),
    }
}

async fn shown_row(
    conn: &mut Connection,
    scope: &Scope,
    row: &FuseRow,
    now: UnixMillis,
) -> Result<Tagged<FuseAnswer>, ApiError> {
    let answer = answer(conn, scope, row).await?;
    let traffic = arrivals::traffic(conn, scope, &row.flag, &row.policy, Some(row), now).await?;
    Ok(Tagged::new(Tag::revision(row.revision), FuseAnswer { traffic: Some(traffic), ..answer }))
}

pub(super) async fn put(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    EchoBody { echo, .. }: EchoBody<ShownFuse>,
) -> Result<Changed<PolicyHints>, ApiError> {
    let scope = at.scope();
    check_state(&state, scope, &flag, &echo).await?;
    let policy = Policy::parse(echo.content)?;
    let mut notes = hints::of_policy(&policy);
    notes.extend(metrics_seen::notes(&state, scope, &policy).await?);
    let unguarded = hints::unguarded(&mut *state.store.read().await?, &at.row, &policy, state.now()).await?;
    let lint = lint_of(&state, scope, &flag, &policy, &unguarded).await?;
    notes.extend(unguarded);
    let change =
        Change::PutFuse { scope: scope.clone(), flag: flag_key(&flag)?, policy: Box::new(policy.clone()) };
    let changed = state.propose(&at.caller, submission.read_at(echo.revision), change).await?;
    // The change is made: that nothing can be said about traffic now must not look like a refusal.
    let traffic = traffic(&state, scope, &flag, &policy).await.ok();
    Ok(changed.with(&PolicyHints { notes, traffic, lint }))
}

/// What speaks against arming the fuse, as things stand before it is.
pub(super) async fn lint_of(
    state: &ApiState,
    scope: &Scope,
    flag: &str,
    policy: &Policy,
    unguarded: &[String],
) -> Result<Vec<Finding>, ApiError> {
    let now = state.now();
    let mut conn = state.store.read().await?;
    let fuse = fuses::fuse(&mut conn, scope, flag).await?;
    let found = arrivals::arrivals(&mut conn, scope, flag, policy, fuse.as_ref(), now).await?;
    let seen = seen::seen(&mut conn, scope, now.minus(seen::KEPT_MS)).await?;
    let outcomes: Vec<String> = seen.into_iter().filter_map(|seen| seen.metric).collect();
    let facts = Facts {
        outcomes: &outcomes,
        is_met: arrivals::is_met(&mut conn, scope, flag, now).await?,
        unguarded,
        circuit: found.circuit,
        baselines: &found.baselines,
        rate: found.rate,
    };
    Ok(lint(policy, &facts))
}

/// How much traffic a policy needs.
pub(super) async fn traffic(
    state: &ApiState,
    scope: &Scope,
    flag: &str,
    policy: &Policy,
) -> Result<Traffic, ApiError> {
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
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
) -> Result<Changed, ApiError> {
    let change = Change::DeleteFuse { scope: at.scope().clone(), flag: flag_key(&flag)? };
    state.propose(&at.caller, submission, change).await
}

/// Why a person moves a fuse.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reason {
    /// For the audit trail.
    #[serde(default)]
    #[schema(max_length = 512)]
    reason: String,
}

/// A switch of a fuse in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ActionPath {
    /// Key of the flag.
    #[param(min_length = 1, example = "checkout")]
    flag: String,
    /// What to do.
    #[param(inline, value_type = ActionWord)]
    action: String,
}

/// What a person does to a fuse.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
#[expect(dead_code, reason = "a schema of what `Action` reads")]
pub(super) enum ActionWord {
    Trip,
    HalfOpen,
    Close,
    Reset,
    Advance,
    Hold,
    Resume,
}

/// What a person does to a fuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Trip,
    HalfOpen,
    Close,
    /// Closes it and begins an attempt, also of one that is closed.
    Reset,
    /// Opens the next stage of its ramp, whatever that waits for.
    Advance,
    /// Keeps its ramp at its stage.
    Hold,
    /// Lets go of its ramp.
    Resume,
}

impl Action {
    fn parse(word: &str) -> Result<Self, ApiError> {
        match word {
            "trip" => Ok(Self::Trip),
            "half-open" => Ok(Self::HalfOpen),
            "close" => Ok(Self::Close),
            "reset" => Ok(Self::Reset),
            "advance" => Ok(Self::Advance),
            "hold" => Ok(Self::Hold),
            "resume" => Ok(Self::Resume),
            other => {
                let detail = format!(
                    "action {other:?} does not exist, there are trip, half-open, close, reset, advance, hold, resume"
                );
                Err(ApiError::new(Code::UnknownAction, detail))
            }
        }
    }

    /// Where it leads; `None` where the fuse stays in its circuit.
    const fn target(self) -> Option<Circuit> {
        match self {
            Self::Trip => Some(Circuit::Open),
            Self::HalfOpen => Some(Circuit::HalfOpen),
            Self::Close | Self::Reset => Some(Circuit::Closed),
            Self::Advance | Self::Hold | Self::Resume => None,
        }
    }

    /// The reason in the audit trail.
    const fn reason(self) -> &'static str {
        match self {
            Self::Trip => "manual_trip",
            Self::HalfOpen => "manual_half_open",
            Self::Close => "manual_close",
            Self::Reset => "manual_reset",
            Self::Advance => "manual_advance",
            Self::Hold => "manual_hold",
            Self::Resume => "manual_resume",
        }
    }
}

pub(super) async fn act(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(ActionPath { flag, action }): PathParams<ActionPath>,
    OptionalBody(Reason { reason }): OptionalBody<Reason>,
) -> Result<Changed<Moved>, ApiError> {
    let scope = at.scope();
    let action = Action::parse(&action)?;
    if reason.len() > REASON_LEN_MAX {
        let detail = format!("reason has {} bytes, the limit is {REASON_LEN_MAX}", reason.len());
        return Err(ApiError::new(Code::TooLong, detail));
    }
    let asked = Switch { action, reason };
    let flag = flag_key(&flag)?;
    if submission.mode == Mode::DryRun {
        let before = require_fuse(&mut *state.store.read().await?, scope, flag.as_str()).await?;
        let change = asked.change(scope, &flag, before.revision);
        return Ok(state.propose(&at.caller, submission, change).await?.with(&Moved::default()));
    }
    let applied = switch(&state, &at.caller, scope, &flag, asked, submission.seen).await?;
    let mut conn = state.store.read().await?;
    let after = require_fuse(&mut conn, scope, flag.as_str()).await?;
    let fuse = Some(answer(&mut conn, scope, &after).await?);
    Ok(Changed::from(applied).with(&Moved { fuse }))
}

/// What a person asked for.
struct Switch {
    action: Action,
    reason: String,
}

/// What a person gave as the reason, in the audit trail.
#[derive(Serialize)]
struct Given<'g> {
    given: &'g str,
}

impl Switch {
    /// A trip never asks what its sender has seen: the feature is to be off, whatever has happened meanwhile.
    fn admits(&self, seen: &Preconditions, fuse: &FuseRow) -> bool {
        self.action == Action::Trip || seen.check(Some(&Tag::revision(fuse.revision))).is_ok()
    }

    /// Whether there is nothing to do. A repeated click changes nothing; a reset always begins a phase; a trip takes an
    /// open fuse into a person's hand when the engine had opened it.
    fn is_done(&self, fuse: &FuseRow) -> bool {
        let is_there = Some(fuse.circuit) == self.action.target();
        match self.action {
            Action::Trip => is_there && fuse.hand == Hand::Holds,
            Action::HalfOpen | Action::Close => is_there,
            // What is held is told by the change itself, which refuses a fuse without a ramp.
            Action::Reset | Action::Advance | Action::Hold | Action::Resume => false,
        }
    }

    fn change(&self, scope: &Scope, flag: &FlagKey, expected_revision: u64) -> Change {
        let (scope, flag) = (scope.clone(), flag.clone());
        let (reason, evidence) = (self.action.reason().to_owned(), json!(Given { given: &self.reason }));
        match self.action.target() {
            Some(to) => Change::FuseTransition {
                scope,
                flag,
                expected_revision,
                to,
                by: Decider::Person,
                reason,
                evidence,
                is_anew: self.action == Action::Reset,
                slices: Vec::new(),
                verdict: None,
            },
            None if self.action == Action::Advance => {
                Change::FuseAdvance { scope, flag, expected_revision, reason, evidence, verdict: None }
            }
            None => {
                let is_held = self.action == Action::Hold;
                Change::HoldRamp { scope, flag, is_held, reason: self.reason.clone() }
            }
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
    let terms = Terms { preconditions: caller.held_to(seen), ..Terms::default() };
    let mut attempts_left = ATTEMPT_COUNT;
    loop {
        let before = require_fuse(&mut *state.store.read().await?, scope, flag.as_str()).await?;
        if asked.is_done(&before) && asked.admits(&terms.preconditions, &before) {
            let tag = Some(Tag::revision(before.revision));
            return Ok(Applied { revision: Some(before.revision), tag, ..Applied::default() });
        }
        let change = asked.change(scope, flag, before.revision);
        attempts_left -= 1;
        match state.change(caller, change, terms.clone()).await {
            Err(ChangeError::Stale { .. }) if attempts_left > 0 => {}
            Err(error) => return Err(state.refusal(caller, error).await),
            Ok(applied) => return Ok(applied),
        }
    }
}
