//! What `cargo xtask demo --scenario NAME` plays comes to its end with the units that it tells: its own policies and visitors, in
//! virtual time, through the ledger, the engine's ear and the verdict.

use flagfuse_calibrate::plane::{Plane, Setting};
use flagfuse_calibrate::traffic::{BEGIN_MS, Delay, Doing, Kind, Known, Traffic, steady};
use flagfuse_cells::schedule::{TICK_MS, matures};
use flagfuse_cells::{Arm, SliceSet};
use flagfuse_control_plane::model::policy::Policy;
use flagfuse_control_plane::model::verdict::Decision;
use flagfuse_shared::bucket::Bucket;
use xtask::scenarios::{ALL, End, Scenario};

/// Visitors of a tick: a demo has fifty in a second beside other work.
const OF_TICK: u64 = 250;

/// A play's metrics, by the numbers that its traffic gives them.
fn metrics(policy: &Policy) -> Vec<&'static str> {
    let all = ["error", "latency_ms", "activation", "conversion"];
    let is_watched = |name: &&str| policy.guardrails.iter().any(|guardrail| guardrail.metric == *name);
    all.into_iter().filter(is_watched).collect()
}

/// How many who had seen the feature were compared when it tripped, and after how many milliseconds that was.
fn tripped(scenario: &Scenario, play: u64) -> Option<(u64, u64)> {
    let policy = Policy::parse((scenario.policy)()).unwrap();
    let share = policy.exposure_percent / (policy.exposure_percent + policy.control_percent);
    let metrics = metrics(&policy);
    let doings = metrics.iter().map(|name| Doing::once(name, steady(0.0), Delay::AtOnce)).collect();
    let traffic = Traffic::even(1.0, share, doings);
    let latency = policy.guardrails.iter().all(|guardrail| guardrail.metric == "latency_ms");
    let mut plane = Plane::new(Setting::first(policy, share), &traffic, BEGIN_MS).unwrap();
    for tick in 1..=u64::try_from(scenario.limit.as_millis()).unwrap() / TICK_MS {
        let (from_ms, at_ms) = (BEGIN_MS + (tick - 1) * TICK_MS, BEGIN_MS + tick * TICK_MS);
        for place in 0..OF_TICK {
            let unit = (tick - 1) * OF_TICK + place;
            come(&mut plane, scenario, (play, unit, from_ms + place * TICK_MS / OF_TICK), (&metrics, share));
        }
        if !plane.is_due(at_ms) {
            continue;
        }
        let closed = plane.tick(at_ms);
        if plane.has_news(&closed) && plane.decide(at_ms).decision == Decision::Trip {
            let over = plane.first_found().unwrap().heard.over.exposed;
            return Some((if latency { over } else { plane.folded.0 }, at_ms - BEGIN_MS));
        }
    }
    None
}

/// A visitor is shown the flag, and does what it does a moment later.
fn come(
    plane: &mut Plane,
    scenario: &Scenario,
    (play, unit, at_ms): (u64, u64, u64),
    (metrics, share): (&[&str], f64),
) {
    let name = format!("visitor-{play}-{unit}");
    let is_exposed = f64::from(Bucket::of("arm", &name, 0).get()) < share * 1e6;
    let arm = if is_exposed { Arm::Exposed } else { Arm::Control };
    let exposure = Kind::Exposure { arm, phase: None, slices: SliceSet::default() };
    plane.know(&Known { known_ms: at_ms, at_ms, unit, kind: exposure });
    for (metric, value) in scenario.outcomes(&name, is_exposed) {
        let number = metrics.iter().position(|known| *known == metric).unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "a latency in millionths of a millisecond")]
        let micros = value.map(|value| (value * 1e6) as i64);
        let kind = Kind::Outcome(u8::try_from(number).unwrap(), micros);
        plane.know(&Known { known_ms: at_ms + 5, at_ms: at_ms + 5, unit, kind });
    }
}

#[test]
fn a_play_ends_with_the_units_that_it_tells() {
    for scenario in ALL.into_iter().filter(|scenario| scenario.end == End::Open) {
        let name = scenario.name;
        let play =
            |play| tripped(&scenario, play).unwrap_or_else(|| panic!("{name}: play {play} has no end"));
        let mut found: Vec<(u64, u64)> = (0..9).map(play).collect();
        found.sort_unstable();
        let (told, median) = (scenario.units.unwrap(), found[4].0);
        assert!((told / 4..=told).contains(&median), "{name} tells {told}, and takes {found:?}");
    }
}

/// What people call slow is found by what two minutes of visitors bring, when that is read.
#[test]
fn a_plain_regression_of_p95_takes_two_minutes_of_visitors() {
    let slow = Scenario::named("p95").unwrap();
    let policy = Policy::parse((slow.policy)()).unwrap();
    let read_after_ms = matures(policy.guardrails[0].window().within_ms);
    for play in 0..40 {
        let (_, after_ms) = tripped(&slow, play).unwrap();
        assert!(after_ms <= read_after_ms + 120_000, "play {play}: {after_ms} ms");
    }
}
