//! Ramps as the engine runs them: the stages of one attempt, which the verdict itself opens, whose evidence multiplies and whose error
//! is spent once; and attempts one after the other, each on fresh buckets.

use anyhow::Result;
use flagfuse_control_plane::model::policy::Policy;
use flagfuse_control_plane::model::verdict::Decision;
use serde_json::json;

use super::healthy::{FALSE_TRIPS, REPETITIONS, REPETITIONS_MAX, doings, traffic, trips_by};
use super::policies::{watches, with};
use crate::cell::{Bar, Cell, Sample};
use crate::plane::{Plane, Setting};
use crate::traffic::{BEGIN_MS, Delay, HOUR_MS, Moment, Rate, Stream, Traffic, by_arm, steady};

/// Exposed units by stage, those of the stages before included, and control reserves, in percent.
const STAGES: [(f64, f64); 5] = [(1.0, 4.0), (5.0, 12.0), (10.0, 10.0), (25.0, 15.0), (50.0, 9.0)];
/// Between two looks at whether a stage opens that waits for evidence. Trips are looked at with all that closes.
const LOOK_MS: u64 = 60_000;
const DAY_HOURS: u64 = 24;

pub(super) fn cells() -> Result<Vec<Cell>> {
    Ok(vec![by_time(48)?, by_risk()?, harmed()?, attempts()?])
}

/// Five guardrails and a ramp whose stages are opened by something; `dwell_s` of each where it is not the usual one.
fn policy(theta: f64, advance: &str, dwell_s: Option<u64>) -> Result<Policy> {
    let stages = STAGES.map(|(exposed, control)| {
        let mut stage = json!({ "exposed_percent": exposed, "control_percent": control });
        if let (Some(dwell_s), Some(fields)) = (dwell_s, stage.as_object_mut()) {
            fields.insert("dwell_s".to_owned(), json!(dwell_s));
        }
        stage
    });
    let ramp = json!({ "stages": stages, "advance": advance, "exempt": ["return"] });
    with(&watches(0.4, theta), &[("ramp", ramp)])
}

/// How far a launch came.
struct Climbed {
    has_tripped: bool,
    /// The stage that ran at its end, or its trip.
    stage: u32,
    /// Exposed units that had enrolled by then.
    exposed: u64,
}

/// A launch up to its end, or its trip: each stage opens when the verdict says so.
fn climbs(setting: &Setting, traffic: &Traffic, seed: u64, until_ms: u64) -> Result<Climbed> {
    let mut plane = Plane::new(setting.clone(), traffic, BEGIN_MS)?;
    let mut stream = Stream::new(traffic, seed, BEGIN_MS, 0);
    let mut next_ms = 0;
    let found = plane.run(&mut stream, until_ms, |plane, _, at_ms, closed| {
        if !plane.has_news(closed) {
            return None;
        }
        let may_open = at_ms >= next_ms && plane.opens_ms().is_some_and(|opens_ms| opens_ms <= at_ms);
        if !may_open && !plane.has_crossed() {
            return None;
        }
        if may_open {
            next_ms = at_ms + LOOK_MS;
        }
        match plane.decide(at_ms).decision {
            Decision::Trip => Some(Ok(())),
            Decision::Advance => plane.advance(at_ms).err().map(Err),
            Decision::Continue | Decision::Hold | Decision::HalfOpen | Decision::Close => None,
        }
    });
    Ok(Climbed { has_tripped: found.transpose()?.is_some(), stage: plane.stage(), exposed: stream.exposed })
}

/// Falls from 40 to 36 % in so many hours.
#[expect(clippy::cast_precision_loss, reason = "hours")]
fn falling(hours: u64) -> Rate {
    Box::new(move |moment: &Moment| 0.4 - 0.04 * (moment.age_ms as f64 / (hours * HOUR_MS) as f64).min(1.0))
}

fn cell(name: &str, what: String, setting: Setting, traffic: Traffic, hours: u64) -> Cell {
    let launch = move |seed| {
        let found = climbs(&setting, &traffic, seed, BEGIN_MS + hours * HOUR_MS)?;
        Ok(Sample { hit: found.has_tripped, numbers: vec![found.stage.into()] })
    };
    Cell::new(name, what, REPETITIONS, launch).up_to(REPETITIONS_MAX).number("stage at the end")
}

/// Five stages and the last one of everybody, so many hours each, while rates fall.
pub(super) fn by_time(stage_hours: u64) -> Result<Cell> {
    let setting = Setting::by_buckets(policy(0.05, "time", Some(stage_hours * 3_600))?);
    let rate = || falling(5 * stage_hours);
    let traffic = traffic(200.0, 0.0, doings(&rate, Delay::Waiting(0, 2 * HOUR_MS)));
    let hours = 7 * stage_hours;
    let what = format!(
        "A/A, five guardrails, one attempt of five stages of {stage_hours} hours from 1 to 50 % and {} hours of everybody but a hold-back, \
         opened by the verdict (`time`), its evidence multiplied over the stages, while all rates fall from 40 to 36 %; 200 units an hour \
         with ±40 % over the day, of whom the buckets enrol some",
        2 * stage_hours
    );
    Ok(cell("aa-ramp", what, setting, traffic, hours).bar(FALSE_TRIPS))
}

/// Stages that certificates open.
fn by_risk() -> Result<Cell> {
    let setting = Setting::by_buckets(policy(0.2, "risk", None)?);
    let traffic = traffic(400.0, 0.0, doings(&|| falling(10 * DAY_HOURS), Delay::Waiting(0, 2 * HOUR_MS)));
    let what = "A/A, five guardrails, θ = 20 %, a ramp whose stages open when harm that would use up the budget is excluded (`risk`; not \
                waiting for `return`), while all rates fall from 40 to 36 % in ten days, 400 units an hour, 14 days";
    Ok(cell("aa-ramp-risk", what.to_owned(), setting, traffic, 14 * DAY_HOURS).bar(FALSE_TRIPS))
}

/// What a ramp lets harm do: four times the threshold, from its first unit on.
fn harmed() -> Result<Cell> {
    let setting = Setting::by_buckets(policy(0.05, "risk", None)?);
    let mut doings = doings(&|| steady(0.4), Delay::Even(0, 120_000));
    if let Some(doing) = doings.iter_mut().find(|doing| doing.name == "activation") {
        doing.rate = by_arm(0.32, 0.4);
    }
    let traffic = traffic(1_000.0, 0.0, doings);
    let launch = move |seed| {
        let found = climbs(&setting, &traffic, seed, BEGIN_MS + 14 * DAY_HOURS * HOUR_MS)?;
        #[expect(clippy::cast_precision_loss, reason = "units")]
        let exposed = found.exposed as f64;
        let numbers = if found.has_tripped { vec![exposed, found.stage.into()] } else { Vec::new() };
        Ok(Sample { hit: found.has_tripped, numbers })
    };
    let what = "A fifth fewer activations at 40 % from the first exposed unit on, five guardrails, θ = 5 %, a ramp by `risk`, 1,000 units an \
                hour, 14 days; printed: exposed units at the trip, and the stage that ran";
    Ok(Cell::new("ramp-harm", what, 200, launch).number("exposed units").number("stage at the trip"))
}

/// Twenty attempts of one launch, a day each: edits of the policy and trips by hand in turn begin the next one.
fn attempts() -> Result<Cell> {
    let shares = [("exposure_percent", json!(2)), ("control_percent", json!(8))];
    let setting = Setting::by_buckets(with(&watches(0.4, 0.05), &shares)?);
    let traffic = traffic(1_000.0, 0.0, doings(&|| steady(0.4), Delay::Even(0, 120_000)));
    let launch = move |seed| {
        let mut plane = Plane::new(setting.clone(), &traffic, BEGIN_MS)?;
        let mut stream = Stream::new(&traffic, seed, BEGIN_MS, 0);
        for day in 1..=20 {
            let until_ms = BEGIN_MS + day * DAY_HOURS * HOUR_MS;
            if trips_by(&mut plane, &mut stream, until_ms).is_some() {
                return Ok(Sample::of(true));
            }
            plane = plane.begin_anew(day % 2 == 1, until_ms)?;
        }
        Ok(Sample::of(false))
    };
    let what = "A/A, five guardrails, 1:4, rates of 40 %, 20 attempts of one launch, begun by edits and by trips of a person in turn, a day and \
                fresh buckets each, a tenth of 1,000 units an hour: any false trip";
    let bar = Bar::Share { at_most: 0.02, upper: 0.026 };
    Ok(Cell::new("aa-attempts", what, REPETITIONS, launch).up_to(REPETITIONS_MAX).bar(bar))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(setting: Setting, units_per_hour: f64, rate: f64, hours: u64) -> (Plane, u64) {
        let traffic = traffic(units_per_hour, 0.0, doings(&|| steady(rate), Delay::Even(0, 120_000)));
        let mut plane = Plane::new(setting, &traffic, BEGIN_MS).unwrap();
        let mut stream = Stream::new(&traffic, 3, BEGIN_MS, 0);
        let none = trips_by(&mut plane, &mut stream, BEGIN_MS + hours * HOUR_MS);
        assert_eq!(none, None);
        (plane, stream.exposed)
    }

    #[test]
    fn stages_of_one_attempt_open_one_after_the_other_and_spend_its_error_once() {
        let setting = Setting::by_buckets(policy(0.05, "time", Some(1_800)).unwrap());
        let traffic = Traffic::even(2_000.0, 0.0, doings(&|| steady(0.4), Delay::Even(0, 120_000)));
        let climbed = climbs(&setting, &traffic, 1, BEGIN_MS + 4 * HOUR_MS).unwrap();
        assert!(!climbed.has_tripped);
        // Five stages of half an hour, and the last one of everybody but the hold-back.
        assert_eq!(climbed.stage, 6);
        // Shares of 1, 5, 10, 25 and 50 % for half an hour each, then 95 % of half of all units, who were not exposed before.
        let expected = 1_000.0 * (0.01 + 0.05 + 0.1 + 0.25 + 0.5) + 2_000.0 * 1.5 * 0.45;
        let found = f64::from(u32::try_from(climbed.exposed).unwrap());
        assert!((found / expected - 1.0).abs() < 0.15, "{found} of {expected}");
    }

    #[test]
    fn evidence_of_a_stage_goes_on_in_the_next_one_and_its_first_units_are_still_read() {
        let setting = Setting::by_buckets(policy(0.05, "time", Some(1_800)).unwrap());
        let (mut plane, _) = run(setting, 4_000.0, 0.4, 1);
        let before = plane.first_found().unwrap();
        assert!(plane.folded.0 > 10 && before.heard.blocks > 5, "{before:?}");
        assert!(plane.advance(BEGIN_MS + HOUR_MS).unwrap());
        let after = plane.first_found().unwrap();
        assert_eq!(after.heard.evidence.to_bits(), before.heard.evidence.to_bits());
        assert_eq!((after.heard.blocks, after.needed), (before.heard.blocks, before.needed));
        assert_eq!(plane.stage(), 2);
    }

    #[test]
    fn an_attempt_begins_with_nothing_and_needs_more_and_lanes_run_out() {
        let shares = [("exposure_percent", json!(20)), ("control_percent", json!(40))];
        let setting = Setting::by_buckets(with(&watches(0.4, 0.05), &shares).unwrap());
        let (mut plane, _) = run(setting, 1_000.0, 0.4, 1);
        let mut needed = plane.first_found().unwrap().needed;
        for attempt in 2..6 {
            let phase = plane.phase();
            plane = plane.begin_anew(attempt % 2 == 0, BEGIN_MS + u64::from(attempt) * HOUR_MS).unwrap();
            let found = plane.first_found().unwrap();
            // α falls as 1/(k(k + 1)).
            let rises = f64::from(attempt + 1) / f64::from(attempt - 1);
            assert!((found.needed / needed / rises - 1.0).abs() < 1e-9, "{attempt}");
            needed = found.needed;
            assert!(found.heard.blocks == 0 && plane.phase() > phase);
            assert_eq!(plane.setting().spent.attempts, attempt);
        }
        assert_eq!(plane.setting().spent.trips, 2);
    }
}
