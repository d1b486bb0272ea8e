//! `POST …/flags/{flag}/fuse/rehearse`: what a policy would have made of the last seven days. Changes nothing.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::auth::{Editor, InEnvironment};
use super::body::PathParams;
use super::document::schema;
use super::echo::EchoBody;
use super::flags::FlagPath;
use super::fuses::ShownFuse;
use crate::error::{ApiError, Code};
use crate::figures::count;
use crate::model::policy::{Mode, Policy};
use crate::model::rehearsal::{Rehearsal, is_rehearsable, rehearse};
use crate::store::past;

/// What is rehearsed.
const SINCE_MS: u64 = 7 * 24 * 3_600_000;

/// What a policy would have made of the last seven days.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RehearsalAnswer {
    /// Whose control units were dealt anew; null where no flag's fuse has counted what the policy watches.
    #[schema(required)]
    of_flag: Option<String>,
    /// Metrics of guardrails that cannot be rehearsed.
    not_rehearsed: Vec<String>,
    /// Null where nothing was counted.
    #[schema(required, value_type = Option<schema::FuseRehearsal>)]
    rehearsal: Option<Rehearsal>,
    /// The same in a sentence.
    summary: String,
}

pub(super) async fn run(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    EchoBody { echo, .. }: EchoBody<ShownFuse>,
) -> Result<Json<RehearsalAnswer>, ApiError> {
    let policy = Policy::parse(echo.content)?;
    if policy.mode != Mode::Anytime {
        let detail = "mode is \"classic\", and only the evidence of \"anytime\" can be rehearsed";
        return Err(ApiError::new(Code::InvalidPolicy, detail));
    }
    let not_rehearsed: Vec<String> = policy
        .guardrails
        .iter()
        .filter(|own| !is_rehearsable(&policy, own))
        .map(|own| own.metric.clone())
        .collect();
    let now = state.now();
    let span = (now.minus(SINCE_MS), now);
    let history = past::history(&mut *state.store.read().await?, at.scope(), &flag, &policy, span).await?;
    let Some((of_flag, slots)) = history else {
        let summary = "No fuse of this environment has counted what the policy watches in the last seven days, so there is \
                       nothing to rehearse with."
            .to_owned();
        return Ok(Json(RehearsalAnswer { of_flag: None, not_rehearsed, rehearsal: None, summary }));
    };
    // A second of arithmetic, which other requests do not wait for.
    let run = tokio::task::spawn_blocking(move || rehearse(&policy, &slots)).await;
    let rehearsal = run.map_err(|error| ApiError::internal(&error))?;
    let rehearsal = rehearsal.map_err(|error| ApiError::internal(&error))?;
    let summary = summary(&of_flag, &rehearsal);
    Ok(Json(RehearsalAnswer { of_flag: Some(of_flag), not_rehearsed, rehearsal: Some(rehearsal), summary }))
}

fn summary(flag: &str, rehearsal: &Rehearsal) -> String {
    let Rehearsal { runs, false_trips, units, hours, guardrails, .. } = rehearsal;
    let caught = guardrails.iter().map(|planted| {
        let when = match (planted.exposed_units, planted.hours) {
            (Some(units), Some(hours)) => format!(", after {} and {hours} h", count(units, "exposed unit")),
            _ => String::new(),
        };
        format!(
            "a harm of {} as large as its threshold is caught in {} of {runs}{when}",
            planted.metric, planted.caught
        )
    });
    format!(
        "{} of {flag} over {hours} h, dealt {runs} times: {false_trips} trips without any harm; {}.",
        count(*units, "control unit"),
        caught.collect::<Vec<_>>().join("; "),
    )
}
