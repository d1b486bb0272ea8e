//! Events that say what cannot be: exposures from before the experiment, metrics that nobody knows, and so many that
//! others might wait.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::crowd::{Crowd, Member};
use super::events::{Answers, deliver, exposure, outcome};
use super::ground::{Ground, OPEN_COUNT_MAX, Scene, TARGET, Terms, environment_path, single};
use super::{Finding, Found, kills, witness};
use crate::traffic::now_ms;
use crate::wait::eventually;

/// Units that somebody wants to be out of the experiment: three requests.
const NAMED_COUNTS: (usize, usize) = (250, 250);
const NAMED_COUNT: u64 = 500;
/// How long before the phase the lie is dated.
const BEFORE_MS: u64 = 3_600_000;
/// Of those, the ones that the edge shows the flag afterwards.
const SHOWN_COUNT: usize = 100;
/// Others that are shown the flag with whoever invents metrics.
const COMPANY_COUNT: usize = 40;
const METRIC_COUNT: u64 = 10_000;
/// What a flag with one guardrail may have: its own metrics and `other`, of two arms.
const ROW_COUNT_MAX: usize = 16;
const FLOOD_REQUEST_COUNT_MAX: u64 = 5_000;
const EVENTS_PER_REQUEST: u64 = 200;
const LIMIT: Duration = Duration::from_mins(1);

pub(super) fn run(scene: &Scene<'_>) -> Result<Found> {
    let ground = Ground::start(scene, Terms { fuses: kills::fuses(), ..Terms::default() })?;
    let crowd = Crowd::of(&ground)?;
    let named = crowd.members(TARGET, "named", NAMED_COUNTS)?;
    let edge = ground.edges.first().context("no isolate")?.clone();
    backdate(&ground, &named)?;
    let mut findings = vec![lies_are_quarantined(&ground), named_units_are_counted(&ground, &named)?];
    let teller = crowd.exposed(TARGET, "teller")?;
    deliver(&edge, &[exposure(TARGET, &teller, now_ms())])?;
    // In company, so that its slot closes while the attack goes on.
    for member in named.iter().skip(SHOWN_COUNT).take(COMPANY_COUNT) {
        single(&edge, TARGET, &member.unit)?;
    }
    let attack = |meter: &kills::Meter| {
        let mut answers = Answers::default();
        for first in (0..METRIC_COUNT).step_by(usize::try_from(EVENTS_PER_REQUEST)?) {
            let now = now_ms();
            let metrics = (first..first + EVENTS_PER_REQUEST).map(|number| format!("invented-{number}"));
            let events: Vec<_> = metrics.map(|metric| outcome(&teller.unit, &metric, now)).collect();
            answers.send(&edge, &events);
        }
        for request in 0..FLOOD_REQUEST_COUNT_MAX {
            if !meter.wants_more() {
                break;
            }
            let now = now_ms();
            let units = (0..EVENTS_PER_REQUEST).map(|at| format!("crowd-{request}-{at}"));
            let events: Vec<_> = units.map(|unit| outcome(&unit, "conversion", now)).collect();
            answers.send(&edge, &events);
        }
        Ok(answers)
    };
    let ((answers, kills), honest) = witness::beside(&ground, || kills::during(&ground, attack))?;
    findings.push(metrics_are_bounded(&ground)?);
    findings.push(honest);
    findings.push(Finding::new("requests are answered (for information)", answers.told(), true));
    Ok(Found { kills, findings, figures: Vec::new() })
}

/// Three requests that say that all of them saw the flag an hour before the phase began.
fn backdate(ground: &Ground, named: &[Member]) -> Result<()> {
    let started_ms =
        ground.fuse(TARGET)?["phase_started_ms"].as_u64().context("the phase has no beginning")?;
    let events: Vec<Value> =
        named.iter().map(|member| exposure(TARGET, member, started_ms - BEFORE_MS)).collect();
    deliver(ground.edges.first().context("no isolate")?, &events)
}

fn lies_are_quarantined(ground: &Ground) -> Finding {
    let seen = eventually("the lies are quarantined", LIMIT, || {
        let count = quarantined(ground, "too_early")?;
        ensure!(count == NAMED_COUNT, "{count} of {NAMED_COUNT}");
        Ok(format!("all {count}"))
    });
    let holds = seen.is_ok();
    let told = seen.unwrap_or_else(|error| format!("{error:#}"));
    Finding::new("exposures dated before their phase are quarantined as too_early", told, holds)
}

fn quarantined(ground: &Ground, code: &str) -> Result<u64> {
    let list = ground.admin.get(&format!("{}/quarantine?limit=1000", environment_path()))?.ok()?;
    let rows = list["quarantine"].as_array().cloned().unwrap_or_default();
    Ok(rows.iter().filter(|row| row["code"] == code).filter_map(|row| row["events"].as_u64()).sum())
}

/// The edge shows them the flag: from then on they belong to the experiment.
fn named_units_are_counted(ground: &Ground, named: &[Member]) -> Result<Finding> {
    let edge = ground.edges.first().context("no isolate")?;
    let mut expected = 0;
    for member in named.iter().take(SHOWN_COUNT) {
        expected += u64::from(single(edge, TARGET, &member.unit)?.status == 200);
    }
    let seen = eventually("named units are counted", LIMIT, || {
        let counted = ground.counted(TARGET)?;
        let is_all = (expected.saturating_sub(OPEN_COUNT_MAX)..=expected).contains(&counted);
        ensure!(is_all, "{counted} of {expected}");
        Ok(format!("{counted} of {expected}, and the others in the open slot"))
    });
    let holds = seen.is_ok();
    let told = seen.unwrap_or_else(|error| format!("{error:#}"));
    Ok(Finding::new("a lie about a unit keeps it out of no experiment", told, holds))
}

fn metrics_are_bounded(ground: &Ground) -> Result<Finding> {
    let rows = ground.sums(TARGET)?;
    let others = rows.iter().filter(|row| row["metric"] == "other").count();
    let told = format!("{METRIC_COUNT} names are {} rows, {others} of them other", rows.len());
    let holds = rows.len() <= ROW_COUNT_MAX && others > 0;
    Ok(Finding::new("metrics that no policy names are one row `other`", told, holds))
}
