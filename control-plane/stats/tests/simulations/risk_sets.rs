//! Activation within minutes, in slots and steps as ingestion makes them: a slot is read when it has closed, and then step by step.

use crate::support::{Chance, Guardrail, fewer, quantile, upper_bound};
use flagfuse_stats::block::Block;
use flagfuse_stats::classic::ArmCount;
use flagfuse_stats::grid::Measure;
use flagfuse_stats::power::Plan;

/// A block and when it may be read.
struct Read {
    at_s: f64,
    block: Block,
    entering: u64,
}

/// When the step ends in which an age falls: 5 s to 2 min, 30 s to 10 min, 5 min to 2 h, then half hours.
fn step_end(age_s: f64) -> f64 {
    let width = match age_s {
        age if age <= 0.0 => return 0.0,
        age if age <= 120.0 => 5.0,
        age if age <= 600.0 => 30.0,
        age if age <= 7_200.0 => 300.0,
        _ => 1_800.0,
    };
    (age_s / width).ceil() * width
}

/// The shortest slot at a phase's age.
fn slot_s_min(phase_s: f64) -> f64 {
    match phase_s {
        age if age < 120.0 => 5.0,
        age if age < 600.0 => 15.0,
        _ => 60.0,
    }
}

/// Arrivals by the hour, the exposed share, and the arms' chances to activate, with a mean delay of a minute.
#[derive(Clone, Copy)]
struct World {
    by_hour: f64,
    share: f64,
    rates: (f64, f64),
}

/// Units of a slot: arm and the time of activation.
type Units = Vec<(bool, Option<f64>)>;

fn reads_of_slot(end_s: f64, units: &[(bool, Option<f64>)], reads: &mut Vec<Read>) {
    let mut steps: Vec<f64> = units
        .iter()
        .filter_map(|(_, event)| event.map(|at| step_end(at - end_s)))
        .chain(std::iter::once(0.0))
        .collect();
    steps.sort_unstable_by(f64::total_cmp);
    steps.dedup();
    let count = |is_exposed: bool| units.iter().filter(|(arm, _)| *arm == is_exposed).count() as u64;
    let entering = count(true);
    let mut left = [entering, count(false)];
    for step in steps {
        let events = [true, false].map(|arm| {
            let of_step = units.iter().filter(|(is_exposed, event)| {
                *is_exposed == arm && event.is_some_and(|at| step_end(at - end_s).total_cmp(&step).is_eq())
            });
            of_step.count() as u64
        });
        let arm = |at: usize| ArmCount { units: left[at], events: events[at] };
        let block = Block::new(arm(0), arm(1)).unwrap();
        reads.push(Read { at_s: end_s + step, block, entering: if step > 0.0 { 0 } else { entering } });
        left = [left[0] - events[0], left[1] - events[1]];
    }
}

/// The slots of a launch until so many units were exposed, in the order in which their blocks are read.
fn launch(chance: &mut Chance, world: World, exposed_max: u64) -> Vec<Read> {
    let (mut reads, mut now_s, mut begun_s, mut exposed) = (Vec::new(), 0.0_f64, 0.0_f64, 0);
    let mut units = Units::new();
    while exposed < exposed_max {
        now_s += chance.exponential(3_600.0 / world.by_hour);
        // A slot ends at a tick: with its 20th unit, but not before it is long enough, and after an hour in any case.
        if !units.is_empty() && now_s > begun_s + 3_600.0 {
            reads_of_slot(begun_s + 3_600.0, &std::mem::take(&mut units), &mut reads);
            begun_s += 3_600.0;
        }
        if units.is_empty() {
            begun_s = begun_s.max((now_s / 5.0).floor() * 5.0);
        }
        let is_exposed = chance.is(world.share);
        exposed += u64::from(is_exposed);
        let rate = if is_exposed { world.rates.0 } else { world.rates.1 };
        units.push((is_exposed, chance.is(rate).then(|| now_s + chance.exponential(60.0))));
        let end_s = ((now_s / 5.0).floor() * 5.0 + 5.0).max(begun_s + slot_s_min(begun_s));
        if units.len() >= 20 {
            // Who comes before that tick would join; a fresh slot beginning there loses nothing by leaving them out.
            reads_of_slot(end_s, &std::mem::take(&mut units), &mut reads);
            (begun_s, now_s) = (end_s, end_s);
        }
    }
    reads.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    reads
}

/// Exposed units in folded blocks at the trip.
fn trip(chance: &mut Chance, world: World, exposed_max: u64) -> Option<u64> {
    let mut guardrail = Guardrail::new(fewer(0.05), 0.4, Measure::Hazard, 100.0);
    let reads = launch(chance, world, exposed_max);
    let is_tripped = reads.iter().any(|read| guardrail.trips(&read.block, read.entering));
    is_tripped.then_some(guardrail.mixture.units)
}

fn false_trips(launches: usize, by_hour: f64, share: f64, exposed_max: u64) -> usize {
    let mut chance = Chance::new(41);
    let world = World { by_hour, share, rates: (0.4, 0.4) };
    (0..launches).filter(|_| trip(&mut chance, world, exposed_max).is_some()).count()
}

fn ratio_to_fixed(launches: usize, multiple: f64) -> f64 {
    let change = -0.05 * multiple;
    let fixed = Plan { rate: 0.4, change, controls: 1.0, alpha: 0.01, power: 0.8 }.exposed_units().unwrap();
    let mut chance = Chance::new(42);
    let world = World { by_hour: 500.0, share: 0.5, rates: (0.4 * (1.0 + change), 0.4) };
    let found: Vec<_> = (0..launches).map(|_| trip(&mut chance, world, fixed * 4)).collect();
    quantile(&found, 0.5) as f64 / fixed as f64
}

#[test]
fn activation_within_minutes_trips_at_most_at_the_rate_that_alpha_says() {
    for by_hour in [25.0, 500.0] {
        let trips = false_trips(60, by_hour, 0.5, 600);
        assert!(trips <= 3, "{by_hour}: {trips} of 60");
    }
}

#[test]
fn a_harm_to_activation_is_found_with_about_the_fixed_sample() {
    let ratio = ratio_to_fixed(21, 4.0);
    assert!(ratio <= 1.7, "{ratio}");
}

#[test]
#[ignore = "full size: minutes in an optimised build"]
fn activation_at_full_size_stays_below_one_per_cent_and_finds_harm() {
    for by_hour in [25.0, 100.0, 500.0] {
        for share in [0.5, 0.05] {
            let trips = false_trips(2_500, by_hour, share, 4_000);
            println!("{by_hour} an hour, {share}: {trips} of 2,500, upper {:.4}", upper_bound(trips, 2_500));
            assert!(trips <= 21, "{by_hour} {share}: {trips}");
        }
    }
    for (multiple, bar) in [(1.0, 1.20), (2.0, 1.25), (4.0, 1.45), (8.0, 1.65)] {
        let ratio = ratio_to_fixed(501, multiple);
        println!("{multiple} θ: {ratio:.3} × fixed");
        assert!(ratio <= bar, "{multiple}: {ratio}");
    }
}

/// Reads every slot while it enrols, once each tick, from the arms as they stand. What the design forbids, and why.
fn trips_while_enrolling(chance: &mut Chance, world: World, exposed_max: u64) -> bool {
    let mut guardrail = Guardrail::new(fewer(0.05), 0.4, Measure::Hazard, 100.0);
    let (mut now_s, mut exposed) = (0.0, 0);
    // Units at risk: arm, and when they activate.
    let mut at_risk: Vec<(bool, Option<f64>)> = Vec::new();
    while exposed < exposed_max {
        now_s += 5.0;
        let mut entering = 0;
        let arrivals = chance.binomial(100, world.by_hour / 3_600.0 * 5.0 / 100.0);
        for _ in 0..arrivals {
            let is_exposed = chance.is(world.share);
            entering += u64::from(is_exposed);
            at_risk.push((is_exposed, chance.is(0.4).then(|| now_s + chance.exponential(60.0))));
        }
        exposed += entering;
        let is_due = |unit: &(bool, Option<f64>)| unit.1.is_some_and(|at| at <= now_s);
        let arm = |is_exposed: bool| {
            let of_arm = at_risk.iter().filter(|unit| unit.0 == is_exposed);
            let (mut units, mut events) = (0, 0);
            for unit in of_arm {
                units += 1;
                events += u64::from(is_due(unit));
            }
            ArmCount { units, events }
        };
        let block = Block::new(arm(true), arm(false)).unwrap();
        at_risk.retain(|unit| !is_due(unit));
        if guardrail.trips(&block, entering) {
            return true;
        }
    }
    false
}

#[test]
#[ignore = "full size: minutes in an optimised build"]
fn a_slot_is_not_read_while_it_enrols_at_full_size() {
    for by_hour in [25.0, 100.0, 500.0] {
        let mut chance = Chance::new(43);
        let world = World { by_hour, share: 0.5, rates: (0.4, 0.4) };
        let trips = (0..300).filter(|_| trips_while_enrolling(&mut chance, world, 2_000)).count();
        println!("{by_hour} an hour, read while enrolling: {trips} of 300");
    }
}
