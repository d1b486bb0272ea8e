//! Launches that change nothing, looked at after every block: how often they trip. Short ones always, full sizes on request.

use crate::support::{Chance, Guardrail, fewer, more, quantile, slot, upper_bound};
use flagfuse_stats::absolute::{Absolute, Bound, Finding, Side};
use flagfuse_stats::bins::BinCount;
use flagfuse_stats::block::Block;
use flagfuse_stats::budget;
use flagfuse_stats::classic::ArmCount;
use flagfuse_stats::exceedance::{self, PastLatency};
use flagfuse_stats::grid::{Measure, WEIGHTS};
use flagfuse_stats::mixture::Mixture;
use flagfuse_stats::values::{Scores, Values};

/// What a launch reads until `exposed_max`, in slots of 20: whether it ever trips.
fn ever_trips(
    chance: &mut Chance,
    guardrail: &mut Guardrail,
    share: f64,
    exposed_max: u64,
    rate: impl Fn(u64) -> f64,
) -> bool {
    let mut exposed = 0;
    while exposed < exposed_max {
        let rate = rate(exposed);
        let block = slot(chance, 20, share, (rate, rate));
        exposed += block.exposed().units;
        if guardrail.trips_matured(&block) {
            return true;
        }
    }
    false
}

fn trips(launches: usize, seed: u64, one: impl Fn(&mut Chance) -> bool) -> usize {
    let mut chance = Chance::new(seed);
    (0..launches).filter(|_| one(&mut chance)).count()
}

/// Guardrails of the design's table: the rate, and what the policy watches it for.
fn guardrail(rate: f64, threshold: f64) -> Guardrail {
    match rate {
        r if r > 0.1 => Guardrail::new(fewer(0.05), 0.4, Measure::Share, threshold),
        r if r > 0.01 => Guardrail::new(fewer(0.2), 0.05, Measure::Share, threshold),
        _ => Guardrail::new(more(0.5), 0.002, Measure::Share, threshold),
    }
}

fn equal_arms(launches: usize, exposed_max: u64) -> Vec<(f64, f64, usize)> {
    let mut found = Vec::new();
    for rate in [0.4, 0.05, 0.002] {
        for share in [0.5, 0.05, 0.01] {
            // Few are exposed at 1:99, and each costs a hundred units.
            let exposed_max = if share < 0.05 { exposed_max / 10 } else { exposed_max };
            let one = |chance: &mut Chance| {
                ever_trips(chance, &mut guardrail(rate, 100.0), share, exposed_max, |_| rate)
            };
            found.push((rate, share, trips(launches, 11, one)));
        }
    }
    found
}

#[test]
fn equal_arms_trip_at_most_at_the_rate_that_alpha_says() {
    for (rate, share, trips) in equal_arms(60, 1_000) {
        assert!(trips <= 3, "{rate} {share}: {trips} of 60");
    }
}

#[test]
#[ignore = "full size: minutes in an optimised build"]
fn equal_arms_at_full_size_stay_below_one_per_cent() {
    for (rate, share, trips) in equal_arms(4_000, 10_000) {
        println!("{rate} {share}: {trips} of 4,000, upper {:.4}", upper_bound(trips, 4_000));
        assert!(upper_bound(trips, 4_000) <= 0.013, "{rate} {share}: {trips}");
    }
}

/// Five guardrails on the same users, each event drawn from one score of the user, so that all depend on each other.
fn five_trip(chance: &mut Chance, share: f64, exposed_max: u64) -> bool {
    let rates = [0.4, 0.05, 0.002, 0.3, 0.1];
    let threshold = budget::trip_threshold(0.01, 0.2, budget::Scope::Everybody).unwrap();
    let mut guardrails = rates.map(|rate| guardrail(rate, threshold));
    let mut exposed = 0;
    while exposed < exposed_max {
        let mut counts = [(ArmCount::default(), ArmCount::default()); 5];
        for _ in 0..20 {
            let is_exposed = chance.is(share);
            let score = chance.uniform();
            for (count, rate) in counts.iter_mut().zip(rates) {
                let arm = if is_exposed { &mut count.0 } else { &mut count.1 };
                arm.units += 1;
                arm.events += u64::from(score < rate);
            }
        }
        exposed += counts[0].0.units;
        for (guardrail, count) in guardrails.iter_mut().zip(counts) {
            if guardrail.trips_matured(&Block::new(count.0, count.1).unwrap()) {
                return true;
            }
        }
    }
    false
}

#[test]
fn five_guardrails_on_the_same_users_spend_alpha_once() {
    let trips = trips(60, 12, |chance| five_trip(chance, 0.5, 500));
    assert!(trips <= 3, "{trips} of 60");
}

#[test]
#[ignore = "full size: minutes in an optimised build"]
fn five_guardrails_at_full_size_stay_below_one_per_cent() {
    for share in [0.5, 0.05] {
        let trips = trips(2_500, 12, |chance| five_trip(chance, share, 5_000));
        println!("share {share}: {trips} of 2,500, upper {:.4}", upper_bound(trips, 2_500));
        assert!(trips <= 21, "{trips}");
    }
}

/// Exposure rises from 5 to 50 % while the common rate falls from 40 to 36 %; each stage is a phase with slots of its own.
fn drift_trips(chance: &mut Chance, units_a_stage: u64) -> (bool, bool) {
    let mut guardrail = guardrail(0.4, 100.0);
    let (mut pooled, mut pooled_trips, mut tripped) = ([ArmCount::default(); 2], false, false);
    for (stage, share) in [0.05, 0.1, 0.25, 0.5].into_iter().enumerate() {
        for at in 0..units_a_stage / 20 {
            let rate = 0.4 - 0.04 * (stage as f64 + at as f64 * 20.0 / units_a_stage as f64) / 4.0;
            let block = slot(chance, 20, share, (rate, rate));
            tripped |= guardrail.trips_matured(&block);
            for (sum, arm) in pooled.iter_mut().zip([block.exposed(), block.control()]) {
                sum.units += arm.units;
                sum.events += arm.events;
            }
        }
        let [exposed, control] = pooled.map(|arm| arm.events as f64 / arm.units as f64);
        let sd = (0.24 / pooled[0].units as f64 + 0.24 / pooled[1].units as f64).sqrt();
        pooled_trips |= (exposed - control) / sd < -2.326;
    }
    (tripped, pooled_trips)
}

#[test]
fn a_ramp_with_drift_trips_what_is_pooled_and_not_what_is_blocked() {
    let mut chance = Chance::new(13);
    let found: Vec<_> = (0..30).map(|_| drift_trips(&mut chance, 8_000)).collect();
    let blocked = found.iter().filter(|(tripped, _)| *tripped).count();
    let pooled = found.iter().filter(|(_, pooled)| *pooled).count();
    assert!(blocked <= 2 && pooled >= 6, "{blocked} {pooled} of 30");
}

#[test]
#[ignore = "full size: minutes in an optimised build"]
fn a_ramp_with_drift_at_full_size_stays_below_one_per_cent() {
    let mut chance = Chance::new(13);
    let found: Vec<_> = (0..2_500).map(|_| drift_trips(&mut chance, 20_000)).collect();
    let blocked = found.iter().filter(|(tripped, _)| *tripped).count();
    let pooled = found.iter().filter(|(_, pooled)| *pooled).count();
    println!("blocked {blocked}, pooled {pooled} of 2,500, upper {:.4}", upper_bound(blocked, 2_500));
    assert!(blocked <= 21, "{blocked}");
}

/// Diurnal ±40 %, a day of 400 slots.
#[test]
#[ignore = "full size: minutes in an optimised build"]
fn a_diurnal_rate_at_full_size_stays_below_one_per_cent() {
    for share in [0.5, 0.05] {
        let day = 8_000.0 * share;
        let trips = trips(2_500, 14, |chance| {
            ever_trips(chance, &mut guardrail(0.4, 100.0), share, 10_000, |exposed| {
                0.4 * (1.0 + 0.4 * (std::f64::consts::TAU * exposed as f64 / day).sin())
            })
        });
        println!("share {share}: {trips} of 2,500, upper {:.4}", upper_bound(trips, 2_500));
        assert!(trips <= 21, "{trips}");
    }
}

/// Twenty attempts, each with its α: whether any of them trips.
fn any_of_twenty_trips(chance: &mut Chance, exposed: u64) -> bool {
    (1..=20).any(|attempt| {
        let threshold =
            budget::trip_threshold(budget::alpha(attempt).unwrap(), 1.0, budget::Scope::Everybody).unwrap();
        ever_trips(chance, &mut guardrail(0.4, threshold), 0.5, exposed, |_| 0.4)
    })
}

#[test]
#[ignore = "full size: minutes in an optimised build"]
fn twenty_attempts_at_full_size_stay_below_two_per_cent() {
    let trips = trips(2_000, 15, |chance| any_of_twenty_trips(chance, 3_000));
    println!("{trips} of 2,000, upper {:.4}", upper_bound(trips, 2_000));
    assert!(trips as f64 / 2_000.0 <= 0.02, "{trips}");
}

/// Revenue: payers are few, and what they pay has a heavy tail. Bins as `cells` has them without a history: eight a decade.
struct Revenue {
    scores: Scores,
    edges: Vec<f64>,
    payers: f64,
    sigma: f64,
}

impl Revenue {
    /// Edges from 0.1 up; the last is the cap.
    fn new(payers: f64, sigma: f64, edges: i32) -> Self {
        let edges: Vec<f64> = (0..edges).map(|eighth| 10_f64.powf(f64::from(eighth) / 8.0 - 1.0)).collect();
        let scores: Vec<f64> = std::iter::once(0.0).chain(edges.iter().copied()).collect();
        Self { scores: Scores::new(&scores).unwrap(), edges, payers, sigma }
    }

    fn units(&self, chance: &mut Chance, units: u64, factor: f64) -> Vec<BinCount> {
        let mut counts = vec![0_u64; self.edges.len() + 1];
        for _ in 0..units {
            let value =
                if chance.is(self.payers) { factor * (self.sigma * chance.normal()).exp() } else { 0.0 };
            counts[self.edges.partition_point(|edge| *edge <= value)] += 1;
        }
        let listed = (0_u16..).zip(counts).filter(|(_, units)| *units > 0);
        listed.map(|(bin, units)| BinCount { bin, units }).collect()
    }

    /// Exposed units at the trip, in slots of so many units.
    fn trip(&self, chance: &mut Chance, share: f64, slot: u64, exposed_max: u64, factor: f64) -> Option<u64> {
        let harm = fewer(0.1);
        let history = self.units(chance, 5_000, 1.0);
        let mut values = Values::from_history(self.scores.moments(&history).unwrap());
        let mut exposed = 0;
        while exposed < exposed_max {
            let of_exposed = chance.binomial(slot, share);
            exposed += of_exposed;
            let arms = (self.units(chance, of_exposed, factor), self.units(chance, slot - of_exposed, 1.0));
            values.fold(&self.scores, &harm, &arms.0, &arms.1).unwrap();
            if values.evidence() >= 100.0 && values.is_open(&harm) {
                return Some(exposed);
            }
        }
        None
    }
}

#[test]
fn revenue_tails_do_not_trip() {
    let revenue = Revenue::new(0.02, 2.0, 30);
    let trips = trips(30, 16, |chance| revenue.trip(chance, 0.2, 100, 600, 1.0).is_some());
    assert!(trips <= 2, "{trips} of 30");
}

#[test]
#[ignore = "full size: minutes in an optimised build"]
fn revenue_tails_at_full_size_stay_below_one_per_cent() {
    let revenue = Revenue::new(0.02, 2.0, 30);
    for (share, exposed_max) in [(0.2, 6_000), (0.05, 3_000)] {
        let trips = trips(1_500, 16, |chance| revenue.trip(chance, share, 200, exposed_max, 1.0).is_some());
        println!("share {share}: {trips} of 1,500, upper {:.4}", upper_bound(trips, 1_500));
        assert!(trips <= 12, "{trips}");
    }
    // A cap at 18, which one unit in 800 reaches.
    let revenue = Revenue::new(0.05, 1.5, 19);
    let mut chance = Chance::new(17);
    let found: Vec<_> = (0..200).map(|_| revenue.trip(&mut chance, 0.2, 500, 15_000, 0.7)).collect();
    let median = quantile(&found, 0.5);
    println!("−30 % revenue at 1:4: {} of 200 found, median {median}", found.iter().flatten().count());
    assert!(found.iter().flatten().count() >= 110);
}

/// Latencies with σ = 0.6; the exposed arm's are so many times slower. Exposed units at the trip.
fn p95_trip(
    chance: &mut Chance,
    factor: f64,
    threshold: f64,
    exposed_max: u64,
    tolerance: u16,
) -> Option<u64> {
    let bin = |latency: f64| (latency.ln() / (1.01_f64 / 0.99).ln()).ceil() as u16;
    let list = |chance: &mut Chance, units: u64, factor: f64| {
        let mut bins: Vec<u16> =
            (0..units).map(|_| bin(factor * 150_000.0 * (0.6 * chance.normal()).exp())).collect();
        bins.sort_unstable();
        bins.chunk_by(|a, b| a == b)
            .map(|same| BinCount { bin: same[0], units: same.len() as u64 })
            .collect::<Vec<_>>()
    };
    let grid = exceedance::grid().unwrap();
    let (mut past, mut mixture) = (PastLatency::default(), Mixture::default());
    let mut exposed = 0;
    while exposed < exposed_max {
        let of_exposed = chance.binomial(40, 0.5);
        let arms = (list(chance, of_exposed, factor), list(chance, 40 - of_exposed, 1.0));
        exposed += of_exposed;
        if let Some(at) = past.threshold(tolerance) {
            let block = at.block(&arms.0, &arms.1).unwrap();
            mixture.fold(&grid.log_factors(&block), of_exposed).unwrap();
        }
        past.remember(&arms.1).unwrap();
        if mixture.evidence(&WEIGHTS) >= threshold {
            return Some(exposed);
        }
    }
    None
}

#[test]
fn equal_latencies_do_not_trip_and_slower_ones_do() {
    let trips = trips(30, 18, |chance| p95_trip(chance, 1.0, 100.0, 1_000, 0).is_some());
    assert!(trips <= 2, "{trips} of 30");
    let mut chance = Chance::new(19);
    let found: Vec<_> = (0..15).map(|_| p95_trip(&mut chance, 1.4, 100.0, 4_000, 0)).collect();
    assert!(quantile(&found, 0.5) < 1_500, "{found:?}");
}

#[test]
#[ignore = "full size: minutes in an optimised build"]
fn latencies_at_full_size_trip_as_often_as_they_should() {
    let trips_of = |factor, tolerance| {
        trips(2_000, 18, |chance| p95_trip(chance, factor, 100.0, 5_000, tolerance).is_some())
    };
    // With a tolerance of 5 bins, 10.5 %, an exposed arm that is 10.5 % slower is at the edge of the null.
    for (factor, tolerance) in [(1.0, 0), (1.105, 5)] {
        let trips = trips_of(factor, tolerance);
        println!("× {factor}, {tolerance} bins: {trips} of 2,000, upper {:.4}", upper_bound(trips, 2_000));
        assert!(trips <= 20, "{trips}");
    }
    for (factor, bar) in [(1.1, 3_500), (1.2, 1_300)] {
        let mut chance = Chance::new(19);
        let found: Vec<_> = (0..300).map(|_| p95_trip(&mut chance, factor, 20.0, 40_000, 0)).collect();
        let median = quantile(&found, 0.5);
        println!("× {factor}, α = .05: median {median} exposed, {} of 300", found.iter().flatten().count());
        assert!(median <= bar, "{median}");
    }
}

fn absolute_finding(chance: &mut Chance, rates: (f64, f64), slots: u64) -> Finding {
    let bound = Bound::new(0.15, 0.2, Side::AtLeast).unwrap();
    let mut rule = Absolute::default();
    for _ in 0..slots {
        let block = slot(chance, 20, 0.5, rates);
        rule.fold(&bound, block.exposed(), block.control()).unwrap();
        if rule.finding(100.0) != Finding::Within {
            return rule.finding(100.0);
        }
    }
    Finding::Within
}

#[test]
fn a_rate_at_its_bound_does_not_trip_and_one_below_does() {
    let trips = trips(200, 20, |chance| absolute_finding(chance, (0.15, 0.15), 150) != Finding::Within);
    assert!(trips <= 7, "{trips} of 200, two arms at 1 % each");
    let mut chance = Chance::new(21);
    for _ in 0..20 {
        assert_eq!(absolute_finding(&mut chance, (0.09, 0.2), 400), Finding::Breach);
    }
}

#[test]
#[ignore = "full size: minutes in an optimised build"]
fn a_rate_at_its_bound_at_full_size_stays_at_one_per_cent_an_arm() {
    let trips = trips(4_000, 20, |chance| absolute_finding(chance, (0.15, 0.15), 1_000) != Finding::Within);
    println!("{trips} of 4,000 in either arm, upper {:.4}", upper_bound(trips, 4_000));
    assert!(trips <= 80, "{trips}");
}
