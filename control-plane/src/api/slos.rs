//! `…/slos`: objectives, how much of their budgets is left and how fast it burns, and where their alerts stand.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::answer::{Changed, Tagged};
use super::auth::{Editor, InEnvironment, Viewer};
use super::body::{Params, PathParams};
use super::document::schema;
use super::echo::{EchoBody, Shape, Shown};
use super::page::{ListTotal, Listed, Paging};
use super::submission::Submission;
use crate::change::{Change, SloChange, Tag};
use crate::error::{ApiError, Code};
use crate::model::slo::{
    Condition, Counts, HOUR_MS, Judged, Level, MINUTE_MS, MINUTES_KEPT_MS, Slo, Standing, alarm, check_name,
    judge, worst,
};
use crate::store::listing::Stand;
use crate::store::slo_alerts::{self, AlertRows};
use crate::store::slos::{self, SloRow};
use crate::store::suppressions::SuppressionRow;
use crate::store::{Connection, slo_sums, suppressions};

/// Windows whose burn is shown.
const SHOWN_MS: [u64; 6] = [5 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, 24 * HOUR_MS, 72 * HOUR_MS];

/// An objective as `GET` shows it: what was written can be written, the rest follows from what was counted.
pub(super) enum ShownSlo {}

impl Shown for ShownSlo {
    const SHAPE: Shape = Shape {
        content: Some("slo"),
        added: &["name", "updated_ms", "since_ms", "budget", "burn", "level", "level_since_ms", "alerts"],
        code: Code::InvalidSlo,
    };
    type Content = schema::Slo;
}

/// An objective in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct SloPath {
    /// Its name.
    #[param(min_length = 1, max_length = 64, example = "checkout-errors")]
    name: String,
}

/// An objective and how it fares.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SloAnswer {
    name: String,
    /// As it was written.
    #[schema(value_type = schema::Slo)]
    slo: Slo,
    /// Rises with every write.
    revision: u64,
    /// Last write.
    #[schema(value_type = u64)]
    updated_ms: UnixMillis,
    /// Since when it is counted: an objective whose indicator is written anew counts anew.
    #[schema(value_type = u64)]
    since_ms: UnixMillis,
    budget: Budget,
    /// How fast it burns, by window.
    burn: Vec<WindowBurn>,
    /// That of its loudest alert.
    #[schema(value_type = schema::Level)]
    level: Level,
    /// Since when.
    #[schema(value_type = u64)]
    level_since_ms: UnixMillis,
    alerts: Vec<SloAlert>,
}

/// What is left of a budget.
#[derive(Debug, Serialize, ToSchema)]
struct Budget {
    /// The share that is left for the requests that came: 1 is all of it, below 0 more is spent than there was.
    left: f64,
    /// Requests within the window.
    requests: u64,
    /// What they have spent: bad ones, or their cost.
    spent: f64,
    /// What they may spend.
    affordable: f64,
}

/// How fast a budget burns.
#[derive(Debug, Serialize, ToSchema)]
struct WindowBurn {
    window_ms: u64,
    /// Requests within it.
    requests: u64,
    /// How many times as fast as affordable; null without a request.
    #[schema(required)]
    burn: Option<f64>,
}

/// An alert and where it stands.
#[derive(Debug, Serialize, ToSchema)]
struct SloAlert {
    /// Its name in the preset.
    alert: &'static str,
    /// What it comes to.
    #[schema(value_type = schema::Level)]
    comes_to: Level,
    /// What both windows have to burn at, or the share of the budget that has to be spent.
    limit: f64,
    /// The long window; null of one that looks at the budget.
    #[schema(required)]
    long_ms: Option<u64>,
    /// The short window; null of one that looks at the budget.
    #[schema(required)]
    short_ms: Option<u64>,
    /// What the long window burns at, or the share that is spent, without declared windows; null without a request.
    #[schema(required)]
    burn_long: Option<f64>,
    /// The same of the short window.
    #[schema(required)]
    burn_short: Option<f64>,
    /// Where it stands.
    #[schema(value_type = schema::Level)]
    level: Level,
    /// Since when.
    #[schema(value_type = u64)]
    since_ms: UnixMillis,
    /// What to do about it.
    runbook: String,
}

/// Objectives by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SloList {
    slos: Vec<SloAnswer>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
    /// How many there are on all pages.
    total: ListTotal,
}

/// What of an objective may not have been meant.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SloHints {
    /// What is allowed and may not have been meant.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

pub(super) async fn list(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<Paging>,
) -> Result<Json<SloList>, ApiError> {
    let page = paging.page("slos")?;
    let (scope, now) = (at.scope(), state.now());
    let mut conn = state.store.read().await?;
    let rows = slos::slos(&mut conn, scope).await?;
    let stand = |row: &SloRow| Stand { at: row.updated_ms, key: row.name.clone() };
    let Listed { items: rows, next, total } = page.of(rows, stand, |row, is_sought| is_sought(&row.name));
    let around = Around::read(&mut conn, scope, now).await?;
    let mut answers = Vec::with_capacity(rows.len());
    for row in rows {
        answers.push(around.answer(&mut conn, row).await?);
    }
    Ok(Json(SloList { slos: answers, next, total }))
}

pub(super) async fn read(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(SloPath { name }): PathParams<SloPath>,
) -> Result<Tagged<SloAnswer>, ApiError> {
    let found = shown(&mut *state.store.read().await?, at.scope(), &name, state.now()).await?;
    found.ok_or_else(|| ApiError::new(Code::UnknownSlo, format!("SLO {name:?} does not exist")))
}

/// An objective as `GET` shows it; `None` when there is none.
pub(super) async fn shown(
    conn: &mut Connection,
    scope: &Scope,
    name: &str,
    now: UnixMillis,
) -> Result<Option<Tagged<SloAnswer>>, ApiError> {
    let Some(row) = slos::slo(conn, scope, name).await? else { return Ok(None) };
    let tag = Tag::revision(row.revision);
    let around = Around::read(conn, scope, now).await?;
    Ok(Some(Tagged::new(tag, around.answer(conn, row).await?)))
}

pub(super) async fn put(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(SloPath { name }): PathParams<SloPath>,
    EchoBody { echo, .. }: EchoBody<ShownSlo>,
) -> Result<Changed<SloHints>, ApiError> {
    check_name(&name)?;
    echo.check(ShownSlo::SHAPE, "name", &json!(name), "the path says which SLO is meant")?;
    let slo = Slo::parse(&echo.content)?;
    let notes = notes(&slo);
    let change = SloChange::Put { name, slo: Box::new(slo) };
    let change = Change::Slo { scope: at.scope().clone(), change };
    let changed = state.propose(&at.caller, submission.read_at(echo.revision), change).await?;
    Ok(changed.with(&SloHints { notes }))
}

pub(super) async fn delete(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(SloPath { name }): PathParams<SloPath>,
) -> Result<Changed, ApiError> {
    let change = Change::Slo { scope: at.scope().clone(), change: SloChange::Delete { name } };
    state.propose(&at.caller, submission, change).await
}

/// What is allowed and may not have been meant.
fn notes(slo: &Slo) -> Vec<String> {
    let mut notes = Vec::new();
    let mute = slo.mute_alerts();
    if !mute.is_empty() {
        notes.push(format!(
            "{} can never come: where every request is bad, a budget of {} % burns {:.1} times as fast as affordable",
            mute.join(", "),
            (slo.budget() * 1e6).round() / 1e4,
            1.0 / slo.budget(),
        ));
    }
    if slo.outcomes_from.is_anybody() {
        notes.push(
            "outcomes_from is \"any\": a client key is public, so whoever has it can make this objective alarm people and hold \
             every ramp; outcomes_from \"server\" counts what servers send alone"
                .to_owned(),
        );
    }
    notes
}

/// What the objectives of an environment have around them.
struct Around {
    alerts: AlertRows,
    silences: Vec<SuppressionRow>,
    now: UnixMillis,
}

impl Around {
    async fn read(conn: &mut Connection, scope: &Scope, now: UnixMillis) -> Result<Self, ApiError> {
        let silences = suppressions::since(conn, scope, now.minus(MINUTES_KEPT_MS)).await?;
        Ok(Self { alerts: slo_alerts::of_environment(conn, scope).await?, silences, now })
    }

    async fn answer(&self, conn: &mut Connection, row: SloRow) -> Result<SloAnswer, ApiError> {
        let mut counts = Counts::default();
        for sum in slo_sums::since(conn, row.slo_id, UnixMillis(0)).await? {
            counts.put(sum.span, sum.begin_ms, sum.sum);
        }
        let SloRow { slo_id, name, revision, slo, since_ms, updated_ms } = row;
        let silences: Vec<_> =
            self.silences.iter().filter(|row| row.is_about(&name)).map(|row| row.silence).collect();
        let alerts: Vec<SloAlert> = slo
            .alerts
            .alerts(slo.window_ms())
            .into_iter()
            .map(|alert| {
                let row = self.alerts.get(&(slo_id, alert.name.to_owned()));
                let standing = row.map_or(Standing { level: Level::Ok, since_ms }, |row| row.standing);
                let judged = judge(&slo, alert, &counts, &silences, Some(standing), self.now);
                shown_alert(&slo, &judged, standing)
            })
            .collect();
        let standings = alerts.iter().map(|alert| Standing { level: alert.level, since_ms: alert.since_ms });
        let loudest =
            worst(&standings.collect::<Vec<_>>()).unwrap_or(Standing { level: Level::Ok, since_ms });
        let burn = SHOWN_MS.map(|window_ms| {
            let sum = counts.over(self.now, window_ms, &[]);
            WindowBurn { window_ms, requests: sum.requests, burn: slo.burn(sum) }
        });
        Ok(SloAnswer {
            budget: budget(&slo, &counts, self.now),
            burn: burn.into(),
            level: loudest.level,
            level_since_ms: loudest.since_ms,
            name,
            slo,
            revision,
            updated_ms,
            since_ms,
            alerts,
        })
    }
}

/// An objective in numbers.
pub(super) struct InNumbers {
    pub(super) name: String,
    /// The share of its budget that is left.
    pub(super) left: f64,
    /// The level of its loudest alert.
    pub(super) level: Level,
    pub(super) level_since_ms: UnixMillis,
    /// Windows in milliseconds, and how fast it burned over each that had a request.
    pub(super) burns: Vec<(u64, f64)>,
}

/// The objectives of an environment in numbers.
pub(super) async fn in_numbers(
    conn: &mut Connection,
    scope: &Scope,
    now: UnixMillis,
) -> Result<Vec<InNumbers>, ApiError> {
    let around = Around::read(conn, scope, now).await?;
    let mut found = Vec::new();
    for row in slos::slos(conn, scope).await? {
        let SloAnswer { name, budget, burn, level, level_since_ms, .. } = around.answer(conn, row).await?;
        let burns = burn.iter().filter_map(|of| Some((of.window_ms, of.burn?))).collect();
        found.push(InNumbers { name, left: budget.left, level, level_since_ms, burns });
    }
    Ok(found)
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn budget(slo: &Slo, counts: &Counts, now: UnixMillis) -> Budget {
    let sum = counts.over(now, slo.window_ms(), &[]);
    Budget {
        left: slo.left(sum),
        requests: sum.requests,
        spent: slo.spent(sum),
        affordable: sum.requests as f64 * slo.budget(),
    }
}

/// An alert as it stands: what was counted since the last look moves it with the next one.
fn shown_alert(slo: &Slo, judged: &Judged, standing: Standing) -> SloAlert {
    let alert = judged.alert;
    let (limit, long_ms, short_ms) = match alert.condition {
        Condition::Burn { long_ms, short_ms, factor } => (factor, Some(long_ms), Some(short_ms)),
        Condition::Budget { share } => (share, None, None),
    };
    SloAlert {
        alert: alert.name,
        comes_to: alert.level,
        limit,
        long_ms,
        short_ms,
        burn_long: judged.long,
        burn_short: judged.short,
        level: standing.level,
        since_ms: standing.since_ms,
        runbook: alarm::runbook(slo, alert),
    }
}
