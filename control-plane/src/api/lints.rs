//! `POST …/flags/{flag}/fuse/lint`: what speaks against arming a policy, with what the door would refuse. Changes nothing.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::auth::{Editor, InEnvironment};
use super::body::PathParams;
use super::document::schema;
use super::echo::EchoBody;
use super::flags::FlagPath;
use super::fuses::{ShownFuse, lint_of, traffic};
use super::submission::Submission;
use super::{ApiState, flag_key, hints, metrics_seen};
use crate::change::{Change, ChangeError};
use crate::error::ApiError;
use crate::model::lint::{Finding, Found};
use crate::model::policy::Policy;
use crate::model::traffic::Traffic;
use crate::publish::outbox::OutboxError;

/// What speaks against arming a policy.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LintAnswer {
    /// The gravest come first; empty where nothing speaks against it.
    #[schema(value_type = Vec<schema::LintFinding>)]
    lint: Vec<Finding>,
    /// What is allowed and may not have been meant.
    notes: Vec<String>,
    /// How much traffic it needs; null when nothing can be said now.
    #[schema(required, value_type = Option<schema::Traffic>)]
    traffic: Option<Traffic>,
}

pub(super) async fn run(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    EchoBody { echo, .. }: EchoBody<ShownFuse>,
) -> Result<Json<LintAnswer>, ApiError> {
    let scope = at.scope();
    let policy = Policy::parse(echo.content)?;
    let mut notes = hints::of_policy(&policy);
    notes.extend(metrics_seen::notes(&state, scope, &policy).await?);
    let unguarded = hints::unguarded(&mut *state.store.read().await?, &at.row, &policy, state.now()).await?;
    let mut lint = lint_of(&state, scope, &flag, &policy, &unguarded).await?;
    notes.extend(unguarded);
    let change =
        Change::PutFuse { scope: scope.clone(), flag: flag_key(&flag)?, policy: Box::new(policy.clone()) };
    match state.try_propose(&at.caller, Submission::question(), change).await {
        Ok(rehearsed) => lint.extend(rehearsed.note("attempt").map(new_attempt)),
        Err(error @ ChangeError::SharedSalt { .. }) => {
            lint.push(Finding::of_all(Found::SharedSalt, sentence(&error.to_string())));
        }
        Err(ChangeError::Outbox(error @ OutboxError::EdgeTooOld(_))) => {
            lint.push(Finding::of_all(Found::EdgeTooOld, sentence(&error.to_string())));
        }
        Err(error) => return Err(error.into()),
    }
    lint.sort_by_key(|finding| finding.severity);
    let traffic = traffic(&state, scope, &flag, &policy).await.ok();
    Ok(Json(LintAnswer { lint, notes, traffic }))
}

/// That the policy in force asks the units another question.
fn new_attempt(note: &Value) -> Finding {
    let number = |name: &str| note.get(name).and_then(Value::as_f64).unwrap_or_default();
    let fields: Vec<&str> = note
        .get("because_of")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let because = if fields.is_empty() {
        "This policy".to_owned()
    } else {
        format!("The edit of {}", fields.join(", "))
    };
    let summary = format!(
        "{because} begins attempt {} of this flag: both arms enrol units anew, what was counted before says nothing any more, and the \
         attempt may spend an error of {:.2} %.",
        number("number"),
        number("alpha") * 100.0,
    );
    Finding::of_all(Found::NewAttempt, summary)
}

/// A reason as a sentence of its own.
fn sentence(reason: &str) -> String {
    let mut letters = reason.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}
