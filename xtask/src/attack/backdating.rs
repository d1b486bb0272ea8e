//! One unit with thousands of outcomes, then exposures of it, each dated a little earlier than the one before: whoever
//! recounts the outcomes for each of them writes for minutes.

use anyhow::Result;

use super::crowd::Crowd;
use super::events::{Answers, exposure, outcome};
use super::ground::{Ground, Scene, TARGET, Terms};
use super::{Finding, Found, kills, witness};
use crate::traffic::now_ms;

const OUTCOME_REQUEST_COUNT: usize = 50;
const EVENTS_PER_REQUEST: u64 = 200;
/// Requests of exposures at least, and at most.
const EXPOSURE_REQUEST_COUNT_MIN: u64 = 10;
const EXPOSURE_REQUEST_COUNT_MAX: u64 = 2_000;

pub(super) fn run(scene: &Scene<'_>) -> Result<Found> {
    let ground = Ground::start(scene, Terms { fuses: kills::fuses(), ..Terms::default() })?;
    let unit = Crowd::of(&ground)?.exposed(TARGET, "flooded")?;
    let edge = ground.edges.first().map_or_else(|| ground.admin.clone(), Clone::clone);
    let attack = |meter: &kills::Meter| {
        let mut answers = Answers::default();
        for _ in 0..OUTCOME_REQUEST_COUNT {
            let now = now_ms();
            let events: Vec<_> =
                (0..EVENTS_PER_REQUEST).map(|_| outcome(&unit.unit, "latency_ms", now)).collect();
            answers.send(&edge, &events);
        }
        let began_ms = now_ms();
        for request in 0..EXPOSURE_REQUEST_COUNT_MAX {
            if request >= EXPOSURE_REQUEST_COUNT_MIN && !meter.wants_more() {
                break;
            }
            let dated = (0..EVENTS_PER_REQUEST).map(|at| began_ms - request * EVENTS_PER_REQUEST - at);
            let events: Vec<_> = dated.map(|at_ms| exposure(TARGET, &unit, at_ms)).collect();
            answers.send(&edge, &events);
        }
        Ok(answers)
    };
    let ((answers, kills), honest) = witness::beside(&ground, || kills::during(&ground, attack))?;
    let findings = vec![
        honest,
        Finding::new("requests are answered (for information)", answers.told(), true),
        healthy(&ground),
    ];
    Ok(Found { kills, findings, figures: Vec::new() })
}

/// Afterwards a person's change is taken at once.
fn healthy(ground: &Ground) -> Finding {
    let changed = ground.admin.put(
        &super::ground::flag_path("after"),
        &serde_json::json!({
            "key": "after", "value_type": "boolean", "default_variation": "on",
            "variations": [{ "key": "on", "value": true }],
        }),
    );
    let status = changed.as_ref().map_or(0, |answer| answer.status);
    Finding::new(
        "a change is taken right after the attack",
        format!("status {status}"),
        (200..300).contains(&status),
    )
}
