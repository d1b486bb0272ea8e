//! Verdicts out of nothing: thousands of units without a single error, and arms whose sizes no cohort can have.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flagfuse_shared::definition::Arm;
use serde_json::{Value, json};

use super::crowd::{Crowd, Member};
use super::events::{deliver, exposure, outcome};
use super::ground::{Ground, OPEN_COUNT_MAX, Scene, Terms};
use super::{Finding, Found, kills};
use crate::traffic::now_ms;
use crate::wait::eventually;

/// README's policy: 5 % see the feature, 10 % are control, and the rest is as a user leaves it.
const CALM: &str = "calm";
const SKEWED: &str = "skewed";
/// The first admissible look is at 3,250 exposed units.
const CALM_COUNTS: (usize, usize) = (3_400, 6_800);
/// Of 5 : 10, which a cohort gives once in 10^400 times.
const SKEWED_COUNTS: (usize, usize) = (3_400, 600);
/// One of so many units converts, in both arms alike.
const CONVERTING: usize = 5;
/// How long all of it may take to be counted.
const COUNT_LIMIT: Duration = Duration::from_mins(5);
/// How long the engine has for its verdict, which looks five times a second.
const VERDICT_LIMIT: Duration = Duration::from_secs(20);

pub(super) fn run(scene: &Scene<'_>) -> Result<Found> {
    let mut fuses = kills::fuses();
    fuses.push((CALM.to_owned(), policy("error", "increase_is_harm", 0.05)));
    fuses.push((SKEWED.to_owned(), policy("conversion", "decrease_is_harm", -0.05)));
    let ground = Ground::start(scene, Terms { fuses, ..Terms::default() })?;
    let crowd = Crowd::of(&ground)?;
    let (calm, skewed) =
        (crowd.members(CALM, "calm", CALM_COUNTS)?, crowd.members(SKEWED, "skewed", SKEWED_COUNTS)?);
    let attack = |meter: &kills::Meter| {
        let edge = ground.edges.first().context("no isolate")?;
        deliver(edge, &exposures(CALM, &calm))?;
        deliver(edge, &exposures(SKEWED, &skewed))?;
        deliver(edge, &conversions(&skewed))?;
        for (flag, members) in [(CALM, &calm), (SKEWED, &skewed)] {
            all_counted(&ground, flag, members.len() as u64)?;
        }
        meter.wait();
        Ok(())
    };
    let ((), kills) = kills::during(&ground, attack)?;
    let findings = vec![no_trip_without_an_event(&ground)?, arms_that_cannot_be_are_told(&ground)];
    Ok(Found { kills, findings, figures: Vec::new() })
}

fn policy(metric: &str, direction: &str, threshold: f64) -> Value {
    json!({
        "mode": "classic", "treatment_variation": "on", "control_variation": "off",
        "exposure_percent": 5, "control_percent": 10, "grace_s": 0,
        "guardrails": [{ "metric": metric, "direction": direction, "threshold": threshold }],
    })
}

fn exposures(flag: &str, members: &[Member]) -> Vec<Value> {
    let now = now_ms();
    members.iter().map(|member| exposure(flag, member, now)).collect()
}

/// A fifth of each arm, so that nothing but its size is wrong.
fn conversions(members: &[Member]) -> Vec<Value> {
    let now = now_ms();
    let of = |arm: Arm| members.iter().filter(move |member| member.arm == arm).step_by(CONVERTING);
    let both = of(Arm::Exposed).chain(of(Arm::Control));
    both.map(|member| outcome(&member.unit, "conversion", now)).collect()
}

fn all_counted(ground: &Ground, flag: &str, expected: u64) -> Result<()> {
    eventually("the exposures are counted", COUNT_LIMIT, || {
        let counted = ground.counted(flag)?;
        ensure!(counted + OPEN_COUNT_MAX >= expected, "{counted} of {expected} of {flag}");
        Ok(())
    })
}

fn no_trip_without_an_event(ground: &Ground) -> Result<Finding> {
    let (exposed, control) = CALM_COUNTS;
    let circuit = ground.fuse(CALM)?["circuit"].as_str().unwrap_or_default().to_owned();
    let (decision, reason) = ground.verdict(CALM)?;
    let told = format!("{exposed} exposed and {control} control units: {circuit}, {decision}, {reason}");
    Ok(Finding::new("a fuse on errors does not trip without any error", told, circuit == "CLOSED"))
}

fn arms_that_cannot_be_are_told(ground: &Ground) -> Finding {
    let seen = eventually("the verdict", VERDICT_LIMIT, || {
        let (decision, reason) = ground.verdict(SKEWED)?;
        ensure!(
            decision == "hold" && reason == "sample_ratio_mismatch",
            "the verdict is {decision}, {reason}"
        );
        Ok(format!("{decision}, {reason}"))
    });
    let holds = seen.is_ok();
    let (exposed, control) = SKEWED_COUNTS;
    let told = seen.unwrap_or_else(|error| error.to_string());
    let told = format!("{exposed} : {control} of 5 : 10: {told}");
    Finding::new("arms that the slices cannot give are held as sample_ratio_mismatch", told, holds)
}
