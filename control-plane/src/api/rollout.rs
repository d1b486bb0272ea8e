//! `…/flags/{flag}/rollout`: how far a roll-out got, each rule of its contract with what was found, and the steps that a
//! pipeline takes.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::strict;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::answer::Changed;
use super::auth::{Editor, InEnvironment, Viewer};
use super::body::{OptionalBody, PathParams};
use super::document::schema;
use super::flags::FlagPath;
use super::submission::{Mode, Submission};
use super::{ApiState, flag_key};
use crate::change::{Change, RolloutStep};
use crate::error::{ApiError, Code, Members};
use crate::model::circuit::{Circuit, Rollout};
use crate::model::contract::{Contract, Judged, Standing};
use crate::store::contracts::{self, ContractPart};
use crate::store::validations::{self, ValidationRow};
use crate::store::{Connection, fuses};

/// Bytes of the reason a person gives.
const REASON_LEN_MAX: usize = 512;

/// How far a roll-out got.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RolloutAnswer {
    flag: String,
    #[schema(value_type = schema::Rollout)]
    rollout: Rollout,
    #[schema(value_type = schema::Circuit)]
    circuit: Circuit,
    /// The contract in force; null when there is none. A validation keeps to the one that it began with.
    #[schema(required)]
    contract_version: Option<u64>,
    /// The one that runs, or the last one; null when there has been none.
    #[schema(required)]
    validation: Option<ValidationAnswer>,
}

/// A run against a contract.
#[derive(Debug, Serialize, ToSchema)]
struct ValidationAnswer {
    /// Rising number.
    validation_id: i64,
    /// The contract that it keeps to.
    contract_version: u64,
    /// The baseline that it compares with; null when there was none.
    #[schema(required)]
    baseline_version: Option<u64>,
    #[schema(value_type = u64)]
    began_ms: UnixMillis,
    /// Nothing is decided before.
    #[schema(value_type = u64)]
    window_ends_ms: UnixMillis,
    /// When it ended; null while it runs.
    #[schema(required, value_type = Option<u64>)]
    ended_ms: Option<UnixMillis>,
    /// How: `PROMOTED`, `ROLLED_BACK`, `REPLACED` by another one, `GONE` with its fuse; null while it runs.
    #[schema(required)]
    outcome: Option<&'static str>,
    /// Where it stands; null of one that has ended.
    #[schema(required, value_type = Option<schema::Standing>)]
    standing: Option<Standing>,
    /// Each rule with what was found: as it is now, or was when it decided; empty where something else ended it.
    #[schema(value_type = Vec<schema::Judged>)]
    rules: Vec<Judged>,
}

/// The roll-out after a step.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Stepped {
    /// As it stands now; left out of a rehearsal.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<RolloutAnswer>,
}

async fn answer(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    now: UnixMillis,
) -> Result<RolloutAnswer, ApiError> {
    let fuse = fuses::fuse(conn, scope, flag).await?;
    let fuse = fuse.ok_or_else(|| ApiError::new(Code::UnknownFuse, format!("flag {flag:?} has no fuse")))?;
    let contract = contracts::newest::<Contract>(conn, scope, ContractPart::Contract, flag).await?;
    let validation = match validations::newest(conn, scope, flag).await? {
        Some(row) => shown(conn, scope, row, now).await?,
        None => None,
    };
    Ok(RolloutAnswer {
        flag: fuse.flag,
        rollout: fuse.rollout,
        circuit: fuse.circuit,
        contract_version: contract.map(|row| row.version),
        validation,
    })
}

/// Nothing of one whose contract nobody has any more, which no program leaves.
async fn shown(
    conn: &mut Connection,
    scope: &Scope,
    row: ValidationRow,
    now: UnixMillis,
) -> Result<Option<ValidationAnswer>, ApiError> {
    let Some(terms) = validations::terms(conn, scope, &row).await? else { return Ok(None) };
    let judgement = match row.ended {
        Some(_) => None,
        None => Some(validations::judged(conn, scope, &row, &terms, now).await?),
    };
    Ok(Some(ValidationAnswer {
        validation_id: row.validation_id,
        contract_version: row.contract_version,
        baseline_version: row.baseline_version,
        began_ms: row.began_ms,
        window_ends_ms: row.began_ms.plus(terms.contract.window_s * 1_000),
        ended_ms: row.ended.map(|(at, _)| at),
        outcome: row.ended.map(|(_, ended)| ended.as_str()),
        standing: judgement.as_ref().map(|judgement| judgement.standing),
        rules: judgement.map_or(row.rules, |judgement| judgement.rules),
    }))
}

pub(super) async fn read(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
) -> Result<Json<RolloutAnswer>, ApiError> {
    let mut conn = state.store.read().await?;
    Ok(Json(answer(&mut conn, at.scope(), &flag, state.now()).await?))
}

/// A step of a roll-out in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct StepPath {
    /// Key of the flag.
    #[param(min_length = 1, example = "checkout")]
    flag: String,
    /// What to do.
    #[param(inline, value_type = StepWord)]
    step: String,
}

/// What a person or a pipeline does with a roll-out.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "a schema of what `of` reads")]
pub(super) enum StepWord {
    Validate,
    Promote,
    Rollback,
}

/// What goes with a step.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StepBody {
    /// For the audit trail.
    #[serde(default)]
    #[schema(max_length = 512)]
    reason: String,
    /// `validate`: begin anew, also where a validation runs or the flag is promoted.
    #[serde(default)]
    restart: bool,
}

fn of(word: &str, StepBody { reason, restart }: StepBody) -> Result<RolloutStep, ApiError> {
    if reason.len() > REASON_LEN_MAX {
        let detail = format!("reason has {} bytes, the limit is {REASON_LEN_MAX}", reason.len());
        return Err(ApiError::new(Code::TooLong, detail));
    }
    if restart && word != "validate" {
        return Err(ApiError::new(Code::BadSchema, "restart is true, which only validate knows"));
    }
    match word {
        "validate" => Ok(RolloutStep::Validate { restart }),
        "promote" => Ok(RolloutStep::Promote { of: None, rules: Vec::new(), reason }),
        "rollback" => Ok(RolloutStep::RollBack { of: None, rules: Vec::new(), reason }),
        other => {
            let detail = format!("step {other:?} does not exist, there are validate, promote, rollback");
            Err(ApiError::new(Code::UnknownAction, detail))
        }
    }
}

pub(super) async fn step(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(StepPath { flag, step }): PathParams<StepPath>,
    OptionalBody(body): OptionalBody<StepBody>,
) -> Result<Changed<Stepped>, ApiError> {
    let scope = at.scope();
    let step = of(&step, body)?;
    let is_real = submission.mode == Mode::Real;
    let change = Change::Rollout { scope: scope.clone(), flag: flag_key(&flag)?, step };
    let changed = state.propose(&at.caller, submission, change).await?;
    if let Some(refused) = changed.note("refused") {
        return Err(too_late(refused));
    }
    let rollout = if is_real {
        Some(answer(&mut *state.store.read().await?, scope, &flag, state.now()).await?)
    } else {
        None
    };
    Ok(changed.with(&Stepped { rollout }))
}

/// The step that was refused is in the audit trail; its caller is told what stands.
fn too_late(refused: &Value) -> ApiError {
    let word = |name: &str| refused.get(name).and_then(Value::as_str).unwrap_or_default();
    let (asked, rollout, circuit) = (word("asked"), word("rollout"), word("circuit"));
    let remedy = match (asked, rollout) {
        (_, "PENDING") => "the flag is off: switch it on first",
        ("rollback", _) => "POST …/fuse/trip switches a promoted feature off at any time",
        (_, "ROLLED_BACK") => "POST …/fuse/half-open or …/fuse/close tries it again",
        (_, _) => "its fuse is probing: it closes first",
    };
    let detail = format!("{asked} is refused: the roll-out is {rollout} and its fuse {circuit}; {remedy}");
    let named = |name: &str| refused.get(name).cloned().unwrap_or_default();
    let members = Members {
        rollout: strict::from_value(&named("rollout")).ok(),
        circuit: strict::from_value(&named("circuit")).ok(),
        ..Members::default()
    };
    ApiError::new(Code::RolloutDecided, detail).with(members)
}
