//! The sentinel of a promoted flag, as the fuse keeps it: alarms of ten healthy years, and how soon it finds harm.

use anyhow::Result;
use flagfuse_control_plane::model::evidence::Found;
use flagfuse_stats::grid::Direction;

use super::heard::{activating, policy};
use crate::cell::{Bar, Cell, Sample};
use crate::chance::seed;
use crate::plane::{Plane, Setting};
use crate::traffic::{BEGIN_MS, HOUR_MS, Moment, Stream, Traffic};

const DAY_MS: u64 = 24 * HOUR_MS;
const HOLD_BACK: f64 = 0.05;
const YEARS: u64 = 10;

pub(super) fn cells() -> Result<Vec<Cell>> {
    Ok(vec![healthy()?, harmed()?])
}

/// A flag that everybody has but the hold-back.
fn promoted() -> Result<Setting> {
    let share = 1.0 - HOLD_BACK;
    let mut policy = policy(Direction::DecreaseIsHarm, share)?;
    policy.promoted = true;
    for guardrail in &mut policy.guardrails {
        guardrail.baseline = Some(0.4);
    }
    Ok(Setting::first(policy, share))
}

fn is_alarm(found: &Found) -> bool {
    found.heard.sentinel.zip(found.sentinel_needed).is_some_and(|(found, needed)| found >= needed)
}

/// When it alarms next, if it does before `until_ms`.
fn alarms_by(plane: &mut Plane, stream: &mut Stream<'_>, until_ms: u64) -> Option<u64> {
    plane.run(stream, until_ms, |plane, _, at_ms, closed| {
        (plane.has_news(closed) && plane.first_found().is_some_and(|found| is_alarm(&found))).then_some(at_ms)
    })
}

/// Ten years of a flag.
fn healthy() -> Result<Cell> {
    let setting = promoted()?;
    // 120 first-time units a day.
    let traffic = activating(5.0, 1.0 - HOLD_BACK, (0.4, 0.4));
    let launch = move |seed_of: u64| {
        let (mut alarms, mut begins_ms) = (0_u32, BEGIN_MS);
        let until_ms = BEGIN_MS + YEARS * 365 * DAY_MS;
        // An alarm opens the fuse: what is promoted after it is an attempt of its own.
        while begins_ms < until_ms {
            let mut plane = Plane::new(setting.clone(), &traffic, begins_ms)?;
            let mut stream = Stream::new(&traffic, seed("years", seed_of ^ begins_ms), begins_ms, 0);
            let found = alarms_by(&mut plane, &mut stream, until_ms);
            alarms += u32::from(found.is_some());
            begins_ms = found.unwrap_or(until_ms);
        }
        Ok(Sample { hit: alarms > 0, numbers: vec![alarms.into()] })
    };
    let what = "Ten years of a promoted flag without harm, 5 % held back, 120 first-time units a day: alarms of its sentinel";
    Ok(Cell::new("sentinel-healthy", what, 100, launch)
        .number("alarms in ten years")
        .bar(Bar::Mean { number: 0, at_most: 1.0 }))
}

/// A fifth fewer after a healthy month.
fn harmed() -> Result<Cell> {
    const ONSET_MS: u64 = 30 * DAY_MS;
    let setting = promoted()?;
    let mut traffic = activating(200.0, 1.0 - HOLD_BACK, (0.4, 0.4));
    for doing in &mut traffic.doings {
        doing.rate = Box::new(
            |moment: &Moment| {
                if moment.is_exposed && moment.age_ms >= ONSET_MS { 0.32 } else { 0.4 }
            },
        );
    }
    let launch = move |seed| after_onset(&setting, &traffic, seed, BEGIN_MS + ONSET_MS);
    let what = "A fifth fewer at 40 % after a healthy month of a promoted flag, 5 % held back: first-time units until its sentinel alarms";
    Ok(Cell::new("sentinel-harm", what, 500, launch).number("first-time units").bar(Bar::Quantile {
        number: 0,
        p: 0.5,
        at_most: 20_000.0,
    }))
}

/// First-time units between the onset of harm and an alarm; one before has not found it.
fn after_onset(setting: &Setting, traffic: &Traffic, seed: u64, onset_ms: u64) -> Result<Sample> {
    let mut plane = Plane::new(setting.clone(), traffic, BEGIN_MS)?;
    let mut stream = Stream::new(traffic, seed, BEGIN_MS, 0);
    if alarms_by(&mut plane, &mut stream, onset_ms).is_some() {
        return Ok(Sample::of(false));
    }
    let before = stream.units;
    let found = alarms_by(&mut plane, &mut stream, onset_ms + 60 * DAY_MS);
    #[expect(clippy::cast_precision_loss, reason = "units")]
    let units = (stream.units - before) as f64;
    Ok(Sample { hit: found.is_some(), numbers: found.map(|_| units).into_iter().collect() })
}
