//! `/v1/overview`: what somebody should look at now, what moves by itself, and what changed last, over all environments that the
//! caller may read; and what fuses were good for. Made of what the pages behind it show; decides nothing.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::auth::{Caller, Somewhere, Viewer};
use super::body::Params;
use super::document::schema;
use super::slos;
use super::trips::{self, TripStepKind, TripStory};
use crate::error::{ApiError, Code};
use crate::model::circuit::Circuit;
use crate::model::rights::{Place, Right};
use crate::model::slo::Level;
use crate::model::verdict::RampVerdict;
use crate::publish::arrival::{ArrivalState, arrival};
use crate::publish::receipts::propagation;
use crate::store::audit::{self, AuditFilter, AuditPlace, AuditRow};
use crate::store::fuses::{self, FuseRow};
use crate::store::quarantine_groups::balance_of_place;
use crate::store::scopes::{EnvironmentRow, Whose};
use crate::store::verdicts::NewestVerdict;
use crate::store::{Connection, launches as stored, scopes, tokens, verdicts};

/// Changes that are shown.
const CHANGE_COUNT: u32 = 20;
/// A version that not all replicas have after so long is late.
const LATE_MS: u64 = 10_000;
const DAY_MS: u64 = 24 * 3_600_000;
/// Tokens and keysets that end sooner need somebody.
const EXPIRY_MS: u64 = 14 * DAY_MS;
/// Flags that nobody changed for so long may be left over.
const DEBT_MS: u64 = 90 * DAY_MS;
const DAYS: u64 = 30;
const DAYS_MAX: u64 = 90;
/// Trips whose stories are read.
const TRIP_COUNT: usize = 200;

/// What needs somebody, what moves, and what changed last.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Overview {
    #[schema(value_type = u64)]
    at_ms: UnixMillis,
    /// The most severe first, and of those the newest.
    needs_you: Vec<Need>,
    moving: Vec<Moving>,
    /// The newest first.
    last_changes: Vec<LastChange>,
}

/// Something that somebody should look at.
#[derive(Debug, Serialize, ToSchema)]
struct Need {
    kind: NeedKind,
    /// Of an environment; null of what concerns the whole tenant.
    #[schema(required)]
    project: Option<String>,
    #[schema(required)]
    environment: Option<String>,
    /// The flag, the objective, the token.
    subject: String,
    sentence: String,
    /// Since when; of what ends, when that is.
    #[schema(value_type = u64)]
    since_ms: UnixMillis,
}

/// What it is, the most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum NeedKind {
    /// A fuse is open.
    FuseOpen,
    /// A replica refuses the newest version.
    ReplicaRefuses,
    /// A replica is without the newest version for ten seconds, and waits for nothing.
    ReplicaBehind,
    /// Events are unaccounted for.
    Balance,
    /// An objective pages.
    SloPage,
    /// A keyset ends within two weeks.
    KeysetEnds,
    /// A token ends within two weeks.
    TokenEnds,
    /// An objective informs.
    SloInform,
}

/// Something that moves by itself.
#[derive(Debug, Serialize, ToSchema)]
struct Moving {
    project: String,
    environment: String,
    flag: String,
    #[schema(value_type = schema::Circuit)]
    circuit: Circuit,
    /// The newest verdict in a sentence.
    sentence: String,
    /// Where its ramp stands; null without one.
    #[schema(required, value_type = Option<schema::RampVerdict>)]
    ramp: Option<RampVerdict>,
    /// The furthest of its guardrails on the way to a trip, percent; null without evidence.
    #[schema(required)]
    progress: Option<f64>,
    #[schema(required, value_type = Option<u64>)]
    at_ms: Option<UnixMillis>,
}

/// A change and where it is.
#[derive(Debug, Serialize, ToSchema)]
struct LastChange {
    audit_id: i64,
    #[schema(value_type = u64)]
    at_ms: UnixMillis,
    #[schema(required)]
    project: Option<String>,
    #[schema(required)]
    environment: Option<String>,
    actor: String,
    action: String,
    subject: String,
    /// Null when no snapshot is another one for it.
    #[schema(required)]
    version: Option<String>,
    /// Where that is; null without a version.
    #[schema(required)]
    receipt: Option<Receipt>,
}

/// How far a change has come.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OverviewReceipt)]
struct Receipt {
    acked: usize,
    replicas_total: usize,
    /// Slowest of those that have it, in milliseconds from the change.
    #[schema(required)]
    slowest_ms: Option<u64>,
    is_live: bool,
}

/// The caller's environments that it may read.
async fn environments(conn: &mut Connection, caller: &Caller) -> Result<Vec<EnvironmentRow>, ApiError> {
    let mut rows = scopes::environments(conn, Whose::Tenant(&caller.tenant)).await?;
    rows.retain(|row| caller.may(Right::Read, &Place::from(&row.scope)));
    Ok(rows)
}

pub(super) async fn read(
    Somewhere { caller, .. }: Somewhere<Viewer>,
    State(state): State<ApiState>,
) -> Result<Json<Overview>, ApiError> {
    let now = state.now();
    let mut conn = state.store.read().await?;
    let rows = environments(&mut conn, &caller).await?;
    let (mut needs_you, mut moving) = (Vec::new(), Vec::new());
    for row in &rows {
        let scope = &row.scope;
        let said = verdicts::newest_of_fuses(&mut conn, scope).await?;
        for fuse in fuses::fuses(&mut conn, scope).await? {
            let said = said.get(&fuse.flag);
            needs_you.extend(open(scope, &fuse, said));
            moving.extend(on_its_way(scope, &fuse, said));
        }
        needs_you.extend(of_replicas(&mut conn, row, &state).await?);
        needs_you.extend(of_objectives(&mut conn, scope, now).await?);
        needs_you.extend(of_balance(&mut conn, scope, now).await?);
    }
    if caller.may(Right::Administer, &Place::Tenant) {
        needs_you.extend(of_tokens(&mut conn, &caller, now).await?);
        needs_you.extend(of_keyset(&state, now));
    }
    needs_you.sort_by_key(|need| (need.kind, std::cmp::Reverse(need.since_ms)));
    let last_changes = last_changes(&mut conn, &caller, &rows, &state).await?;
    Ok(Json(Overview { at_ms: now, needs_you, moving, last_changes }))
}

fn need(scope: &Scope, kind: NeedKind, subject: &str, sentence: String, since_ms: UnixMillis) -> Need {
    let (project, environment) =
        (Some(scope.project.as_str().to_owned()), Some(scope.environment.as_str().to_owned()));
    Need { kind, project, environment, subject: subject.to_owned(), sentence, since_ms }
}

fn open(scope: &Scope, fuse: &FuseRow, said: Option<&NewestVerdict>) -> Option<Need> {
    let since = fuse.acted_ms.unwrap_or(fuse.changed_ms);
    let sentence = said.map_or_else(String::new, |said| format!(" {}", said.summary));
    let sentence = format!("The fuse of {} is open: nobody sees the feature.{sentence}", fuse.flag);
    (fuse.circuit == Circuit::Open).then(|| need(scope, NeedKind::FuseOpen, &fuse.flag, sentence, since))
}

/// A probe, or a ramp that is not at its end.
fn on_its_way(scope: &Scope, fuse: &FuseRow, said: Option<&NewestVerdict>) -> Option<Moving> {
    let ramp = said.and_then(|said| said.ramp.clone());
    let is_ramping = ramp.as_ref().is_some_and(|ramp| ramp.stage < ramp.stages);
    let moves = match fuse.circuit {
        Circuit::HalfOpen => true,
        Circuit::Closed => is_ramping,
        Circuit::Open => false,
    };
    let progress = said.into_iter().flat_map(|said| &said.evidence);
    let progress = progress.filter_map(|found| found.anytime.as_ref()).map(|said| said.progress);
    moves.then(|| Moving {
        project: scope.project.as_str().to_owned(),
        environment: scope.environment.as_str().to_owned(),
        flag: fuse.flag.clone(),
        circuit: fuse.circuit,
        sentence: said.map(|said| said.summary.clone()).unwrap_or_default(),
        ramp,
        progress: progress.fold(None, |most: Option<f64>, own| Some(most.map_or(own, |most| most.max(own)))),
        at_ms: said.map(|said| said.at_ms),
    })
}

async fn of_replicas(
    conn: &mut Connection,
    row: &EnvironmentRow,
    state: &ApiState,
) -> Result<Vec<Need>, ApiError> {
    let now = state.now();
    let found = propagation(conn, row, &state.fleet, now).await?;
    let Some(created_ms) = found.created_ms else { return Ok(Vec::new()) };
    let late = found.replicas.iter().filter(|replica| !replica.is_acked);
    let needs = late.filter_map(|replica| {
        let subject = replica.replica.to_string();
        let version = &found.version;
        if let (Some(code), Some(since)) = (&replica.nack_code, replica.nack_ms) {
            let held = replica.version.as_deref().unwrap_or("nothing");
            let sentence = format!("{subject} refuses {version} ({code}) and keeps {held}.");
            return Some(need(&row.scope, NeedKind::ReplicaRefuses, &subject, sentence, since));
        }
        let is_late = replica.waiting_for_stage.is_none() && now.since(created_ms) >= LATE_MS;
        let held = replica.version.as_deref().map_or_else(|| "nothing".to_owned(), str::to_owned);
        let sentence = format!("{subject} holds {held} and not {version}.");
        is_late.then(|| need(&row.scope, NeedKind::ReplicaBehind, &subject, sentence, created_ms))
    });
    Ok(needs.collect())
}

async fn of_objectives(conn: &mut Connection, scope: &Scope, now: UnixMillis) -> Result<Vec<Need>, ApiError> {
    let mut needs = Vec::new();
    for slo in slos::in_numbers(conn, scope, now).await? {
        let kind = match slo.level {
            Level::Ok | Level::Suppressed => continue,
            Level::Inform => NeedKind::SloInform,
            Level::Page => NeedKind::SloPage,
        };
        let left = (slo.left * 100.0).round();
        let sentence = format!("The budget of {} burns too fast: {left} % of it is left.", slo.name);
        needs.push(need(scope, kind, &slo.name, sentence, slo.level_since_ms));
    }
    Ok(needs)
}

async fn of_balance(conn: &mut Connection, scope: &Scope, now: UnixMillis) -> Result<Option<Need>, ApiError> {
    let balance = balance_of_place(conn, crate::ingest::place_of(scope)).await?;
    let sentence = format!(
        "{} events were received, and {} are accounted for.",
        balance.received,
        balance.stored + balance.duplicate + balance.quarantined
    );
    Ok((!balance.is_exact()).then(|| need(scope, NeedKind::Balance, "events", sentence, now)))
}

async fn of_tokens(conn: &mut Connection, caller: &Caller, now: UnixMillis) -> Result<Vec<Need>, ApiError> {
    let all = tokens::list(conn, &caller.tenant).await?;
    let ending = all.into_iter().filter(|token| token.is_valid(now) && token.replaced_by.is_none());
    let needs = ending.filter_map(|token| {
        let ends_ms = token.expires_ms.filter(|ends_ms| ends_ms.since(now) <= EXPIRY_MS)?;
        let sentence = format!("The {} token {} ends soon.", token.kind.as_str(), token.name);
        Some(Need {
            kind: NeedKind::TokenEnds,
            project: token.project,
            environment: token.environment,
            subject: token.name,
            sentence,
            since_ms: ends_ms,
        })
    });
    Ok(needs.collect())
}

fn of_keyset(state: &ApiState, now: UnixMillis) -> Option<Need> {
    let keyset = &state.publisher.keys().current().keyset;
    let ends_ms = keyset.expires_ms;
    let number = keyset.keyset_version;
    (ends_ms.since(now) <= EXPIRY_MS).then(|| Need {
        kind: NeedKind::KeysetEnds,
        project: None,
        environment: None,
        subject: number.to_string(),
        sentence: format!("Keyset {number} ends soon: an edge that starts anew would take it no longer."),
        since_ms: ends_ms,
    })
}

/// The newest entries that the caller may read.
async fn last_changes(
    conn: &mut Connection,
    caller: &Caller,
    rows: &[EnvironmentRow],
    state: &ApiState,
) -> Result<Vec<LastChange>, ApiError> {
    let filter = AuditFilter::default();
    let mut entries: Vec<AuditRow> = if caller.may(Right::Read, &Place::Tenant) {
        audit::page(conn, AuditPlace::Tenant(&caller.tenant), filter, i64::MAX, CHANGE_COUNT).await?
    } else {
        let mut entries = Vec::new();
        for row in rows {
            let place = AuditPlace::Environment(&row.scope);
            entries.extend(audit::page(conn, place, filter, i64::MAX, CHANGE_COUNT).await?);
        }
        entries
    };
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.audit_id));
    entries.truncate(CHANGE_COUNT as usize);
    let mut changes = Vec::with_capacity(entries.len());
    for entry in entries {
        let version = entry.detail.get("version").and_then(|version| version.as_str()).map(str::to_owned);
        let own = rows.iter().find(|row| {
            Some(row.scope.project.as_str()) == entry.project.as_deref()
                && Some(row.scope.environment.as_str()) == entry.environment.as_deref()
        });
        let receipt = match (own, version.as_deref().and_then(SnapshotVersion::parse)) {
            (Some(row), Some(version)) => receipt(conn, row, version, state).await?,
            (_, _) => None,
        };
        let AuditRow { audit_id, at_ms, project, environment, actor, action, subject, .. } = entry;
        changes.push(LastChange {
            audit_id,
            at_ms,
            project,
            environment,
            actor,
            action,
            subject,
            version,
            receipt,
        });
    }
    Ok(changes)
}

async fn receipt(
    conn: &mut Connection,
    row: &EnvironmentRow,
    version: SnapshotVersion,
    state: &ApiState,
) -> Result<Option<Receipt>, ApiError> {
    let found = arrival(conn, row, version, &state.fleet, state.now()).await?;
    Ok(found.map(|found| Receipt {
        acked: found.acked,
        replicas_total: found.replicas_total,
        slowest_ms: found.slowest_ms,
        is_live: matches!(found.state, ArrivalState::Live | ArrivalState::Superseded),
    }))
}

/// Of which time.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct LaunchParams {
    /// How many days back; 30 when absent.
    #[param(minimum = 1, maximum = 90)]
    days: Option<u64>,
}

/// What fuses were good for. What a request costs is not known here.
#[expect(clippy::struct_field_names, reason = "the names in JSON")]
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Launches {
    #[schema(value_type = u64)]
    since_ms: UnixMillis,
    /// Attempts that began with a closed fuse.
    launches_guarded: u64,
    trips: u64,
    /// Units that asked for a flag while its feature did harm and that did not see it, by the shares of the arms; of trips whose units are
    /// known.
    people_spared: u64,
    /// Units that saw a feature which tripped.
    people_exposed: u64,
    /// From the first harmful event to live everywhere, the middle one, milliseconds; null where none is known.
    #[schema(required)]
    harm_to_live_ms_median: Option<u64>,
    /// From the first exposure to live everywhere, likewise.
    #[schema(required)]
    exposure_to_live_ms_median: Option<u64>,
    /// What running fuses find.
    differences: Vec<Difference>,
    objectives: Vec<Objective>,
    flags: u64,
    /// Flags that nobody changed for 90 days.
    flags_unchanged: u64,
}

/// By how much an arm differs.
#[derive(Debug, Serialize, ToSchema)]
struct Difference {
    project: String,
    environment: String,
    flag: String,
    metric: String,
    /// Relative.
    change: f64,
    /// Between what it lies, with 95 % at all looks together; null as long as nothing is excluded.
    #[schema(required)]
    lower: Option<f64>,
    #[schema(required)]
    upper: Option<f64>,
    #[schema(value_type = u64)]
    at_ms: UnixMillis,
}

/// An objective and what is left of its budget.
#[derive(Debug, Serialize, ToSchema)]
struct Objective {
    project: String,
    environment: String,
    name: String,
    /// The share that is left.
    budget_left: f64,
}

pub(super) async fn launches(
    Somewhere { caller, .. }: Somewhere<Viewer>,
    State(state): State<ApiState>,
    Params(params): Params<LaunchParams>,
) -> Result<Json<Launches>, ApiError> {
    let days = params.days.unwrap_or(DAYS);
    if !(1..=DAYS_MAX).contains(&days) {
        let detail = format!("days is {days}, allowed is 1 to {DAYS_MAX}");
        return Err(ApiError::of_parameter(Code::BadQuery, "days", detail));
    }
    let now = state.now();
    let since_ms = now.minus(days * DAY_MS);
    let mut conn = state.store.read().await?;
    let (mut stories, mut differences, mut objectives) = (Vec::new(), Vec::new(), Vec::new());
    let (mut launches_guarded, mut flags, mut flags_unchanged) = (0, 0, 0);
    for row in environments(&mut conn, &caller).await? {
        let scope = &row.scope;
        launches_guarded += stored::begun(&mut conn, scope, since_ms).await?;
        let (all, unchanged) = stored::unchanged(&mut conn, scope, now.minus(DEBT_MS)).await?;
        (flags, flags_unchanged) = (flags + all, flags_unchanged + unchanged);
        for flag in stored::opened(&mut conn, scope, since_ms).await? {
            if stories.len() < TRIP_COUNT {
                stories.extend(trips::since(&mut conn, &row, &flag, since_ms, (&state.fleet, now)).await?);
            }
        }
        for (flag, said) in verdicts::newest_of_fuses(&mut conn, scope).await? {
            differences.extend(found(scope, &flag, &said));
        }
        objectives.extend(slos::in_numbers(&mut conn, scope, now).await?.into_iter().map(|slo| Objective {
            project: scope.project.as_str().to_owned(),
            environment: scope.environment.as_str().to_owned(),
            name: slo.name,
            budget_left: slo.left,
        }));
    }
    let people = |count: fn(&TripStory) -> u64| stories.iter().map(count).sum();
    Ok(Json(Launches {
        since_ms,
        launches_guarded,
        trips: stories.len() as u64,
        people_spared: people(|story| {
            story.people.eligible_estimate.unwrap_or_default().saturating_sub(story.people.exposed)
        }),
        people_exposed: people(|story| story.people.exposed),
        harm_to_live_ms_median: median(
            stories.iter().filter_map(|story| span(story, TripStepKind::FirstHarm)),
        ),
        exposure_to_live_ms_median: median(
            stories.iter().filter_map(|story| span(story, TripStepKind::FirstExposure)),
        ),
        differences,
        objectives,
        flags,
        flags_unchanged,
    }))
}

fn found(scope: &Scope, flag: &str, said: &NewestVerdict) -> Vec<Difference> {
    let found = said.evidence.iter().filter_map(|found| {
        let anytime = found.anytime.as_ref()?;
        Some(Difference {
            project: scope.project.as_str().to_owned(),
            environment: scope.environment.as_str().to_owned(),
            flag: flag.to_owned(),
            metric: found.metric.clone(),
            change: anytime.change?,
            lower: anytime.interval.and_then(|span| span.lower),
            upper: anytime.interval.and_then(|span| span.upper),
            at_ms: said.at_ms,
        })
    });
    found.collect()
}

/// From a step of a trip until nobody is answered with the feature any more.
fn span(story: &TripStory, from: TripStepKind) -> Option<u64> {
    let at = |step| story.steps.iter().find(|told| told.step == step).map(|told| told.at_ms);
    Some(at(TripStepKind::GuaranteedLive)?.since(at(from)?))
}

/// The middle one, of an even number the smaller of two.
fn median(spans: impl Iterator<Item = u64>) -> Option<u64> {
    let mut spans: Vec<u64> = spans.collect();
    spans.sort_unstable();
    spans.get(spans.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_spans() {
        assert_eq!(median([].into_iter()), None);
        assert_eq!(median([7].into_iter()), Some(7));
        assert_eq!(median([9, 1, 5].into_iter()), Some(5));
        assert_eq!(median([9, 1, 5, 7].into_iter()), Some(5));
    }
}
