//! `…/flags/{flag}/contract` and `…/baseline`: what a roll-out has to keep to, and what it is compared with.

use axum::extract::State;
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::answer::{Changed, Tagged};
use super::auth::{Editor, InEnvironment, Viewer};
use super::body::{Params, PathParams};
use super::document::schema;
use super::echo::{self, Echo, EchoBody, Shape, Shown};
use super::flags::FlagPath;
use super::submission::Submission;
use super::{ApiState, flag_key};
use crate::change::{Change, RolloutStep, Tag};
use crate::error::{ApiError, Code};
use crate::model::contract::{Baseline, Contract};
use crate::store::contracts::{self, ContractPart, VersionRow};
use crate::store::{Connection, flags, fuses};

/// Which version.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionParams {
    /// Its number, which answers call `revision`; the one in force when absent.
    #[param(minimum = 1, format = "uint64")]
    version: Option<u64>,
}

/// A contract and who wrote it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ContractAnswer {
    /// The flag that it is of.
    flag: String,
    #[schema(value_type = schema::Contract)]
    contract: Contract,
    /// The number of this version.
    revision: u64,
    #[schema(value_type = u64)]
    updated_ms: UnixMillis,
    /// Who wrote it.
    updated_by: String,
}

/// A baseline and who wrote it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BaselineAnswer {
    /// The flag that it is of.
    flag: String,
    #[schema(value_type = schema::Baseline)]
    baseline: Baseline,
    /// The number of this version.
    revision: u64,
    #[schema(value_type = u64)]
    updated_ms: UnixMillis,
    /// Who wrote it.
    updated_by: String,
}

/// What is allowed in a contract and may not have been meant.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct ContractHints {
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

/// A contract as `GET` shows it.
pub(super) enum ShownContract {}

impl Shown for ShownContract {
    const SHAPE: Shape = echo::CONTRACT;
    type Content = schema::Contract;
}

/// A baseline as `GET` shows it.
pub(super) enum ShownBaseline {}

impl Shown for ShownBaseline {
    const SHAPE: Shape = echo::BASELINE;
    type Content = schema::Baseline;
}

/// The version that is asked for.
async fn version<T: DeserializeOwned>(
    state: &ApiState,
    (scope, flag): (&Scope, &str),
    part: ContractPart,
    asked: Option<u64>,
) -> Result<VersionRow<T>, ApiError> {
    let mut conn = state.store.read().await?;
    let row = match asked {
        Some(version) => contracts::by_version(&mut conn, scope, part, flag, version).await?,
        None => contracts::newest(&mut conn, scope, part, flag).await?,
    };
    let code = match part {
        ContractPart::Contract => Code::UnknownContract,
        ContractPart::Baseline => Code::UnknownBaseline,
    };
    let which = asked.map(|version| format!(" of version {version}")).unwrap_or_default();
    row.ok_or_else(|| ApiError::new(code, format!("flag {flag:?} has no {}{which}", part.as_str())))
}

pub(super) async fn read_contract(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    Params(params): Params<VersionParams>,
) -> Result<Tagged<ContractAnswer>, ApiError> {
    let row = version(&state, (at.scope(), &flag), ContractPart::Contract, params.version).await?;
    Ok(contract_answer(flag, row))
}

fn contract_answer(flag: String, row: VersionRow<Contract>) -> Tagged<ContractAnswer> {
    let VersionRow { version, at_ms, actor, body } = row;
    let (tag, updated_ms) = (Tag::revision(version), at_ms);
    let answer = ContractAnswer { flag, contract: body, revision: version, updated_ms, updated_by: actor };
    Tagged::new(tag, answer)
}

/// The contract in force as `GET` shows it; `None` when there is none.
pub(super) async fn shown_contract(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
) -> Result<Option<Tagged<ContractAnswer>>, ApiError> {
    let row = contracts::newest(conn, scope, ContractPart::Contract, flag).await?;
    Ok(row.map(|row| contract_answer(flag.to_owned(), row)))
}

/// The baseline as `GET` shows it; `None` when there is none.
pub(super) async fn shown_baseline(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
) -> Result<Option<Tagged<BaselineAnswer>>, ApiError> {
    let row = contracts::newest(conn, scope, ContractPart::Baseline, flag).await?;
    Ok(row.map(|row| baseline_answer(flag.to_owned(), row)))
}

pub(super) async fn read_baseline(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    Params(params): Params<VersionParams>,
) -> Result<Tagged<BaselineAnswer>, ApiError> {
    let row = version(&state, (at.scope(), &flag), ContractPart::Baseline, params.version).await?;
    Ok(baseline_answer(flag, row))
}

fn baseline_answer(flag: String, row: VersionRow<Baseline>) -> Tagged<BaselineAnswer> {
    let VersionRow { version, at_ms, actor, body } = row;
    let (tag, updated_ms) = (Tag::revision(version), at_ms);
    let answer = BaselineAnswer { flag, baseline: body, revision: version, updated_ms, updated_by: actor };
    Tagged::new(tag, answer)
}

pub(super) async fn put_contract(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    EchoBody { echo, .. }: EchoBody<ShownContract>,
) -> Result<Changed<ContractHints>, ApiError> {
    let scope = at.scope();
    check_place(&echo, echo::CONTRACT, &flag)?;
    let contract = Contract::parse(&echo.content)?;
    let notes = notes(&state, scope, &flag, &contract).await?;
    let step = RolloutStep::PutContract(Box::new(contract));
    let change = Change::Rollout { scope: scope.clone(), flag: flag_key(&flag)?, step };
    let changed = state.propose(&at.caller, submission.read_at(echo.revision), change).await?;
    Ok(changed.with(&ContractHints { notes }))
}

pub(super) async fn put_baseline(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    EchoBody { echo, .. }: EchoBody<ShownBaseline>,
) -> Result<Changed, ApiError> {
    check_place(&echo, echo::BASELINE, &flag)?;
    let step = RolloutStep::PutBaseline(Box::new(Baseline::parse(&echo.content)?));
    let change = Change::Rollout { scope: at.scope().clone(), flag: flag_key(&flag)?, step };
    state.propose(&at.caller, submission.read_at(echo.revision), change).await
}

pub(super) async fn delete_contract(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
) -> Result<Changed, ApiError> {
    let step = RolloutStep::DeleteContract;
    let change = Change::Rollout { scope: at.scope().clone(), flag: flag_key(&flag)?, step };
    state.propose(&at.caller, submission, change).await
}

fn check_place(echo: &Echo, shape: Shape, flag: &str) -> Result<(), ApiError> {
    echo.check(shape, "flag", &json!(flag), "the path says which flag is meant")
}

/// Flags that would go on without this one, or it without them, and members that have nothing to open.
async fn notes(
    state: &ApiState,
    scope: &Scope,
    flag: &str,
    contract: &Contract,
) -> Result<Vec<String>, ApiError> {
    let mut conn = state.store.read().await?;
    let mut notes = Vec::new();
    for row in flags::flags(&mut conn, scope).await? {
        let (key, needs) = (row.wire.key.as_str(), &row.wire.prerequisites);
        let is_outside = |other: &str| other != flag && !contract.group.iter().any(|member| member == other);
        if key == flag {
            let named = needs.iter().map(|needed| needed.flag.as_str()).filter(|needed| is_outside(needed));
            notes.extend(named.map(|needed| {
                format!(
                    "the flag needs {needed:?}, which is not in its group and stays as it is when it trips"
                )
            }));
        } else if is_outside(key) && needs.iter().any(|needed| needed.flag == flag) {
            notes.push(format!("{key:?} needs the flag and is not in its group: its own fuse stays closed"));
        }
    }
    for member in &contract.group {
        if fuses::fuse(&mut conn, scope, member).await?.is_none() {
            notes.push(format!("{member:?} of the group has no fuse: it stays as it is when the flag trips"));
        }
    }
    Ok(notes)
}
