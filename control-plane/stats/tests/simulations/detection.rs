//! Launches that harm: after how many exposed units they trip, in slots of 20 and looked at after every block.

use crate::support::{Chance, Guardrail, fewer, more, quantile, slot};
use flagfuse_stats::grid::Measure;
use flagfuse_stats::power::Plan;

/// Exposed units in folded blocks at the trip; `None` by `exposed_max`.
fn trip(
    chance: &mut Chance,
    mut guardrail: Guardrail,
    share: f64,
    exposed_max: u64,
    rates: impl Fn(u64) -> (f64, f64),
) -> Option<u64> {
    let mut exposed = 0;
    while exposed < exposed_max {
        let block = slot(chance, 20, share, rates(exposed));
        exposed += block.exposed().units;
        if guardrail.trips_matured(&block) {
            return Some(exposed);
        }
    }
    None
}

/// Median over the fixed sample of the same α and a power of 80 %, at a 40 % base, θ = 5 %, 1:1.
fn ratio_to_fixed(launches: usize, multiple: f64, threshold: f64) -> f64 {
    let change = -0.05 * multiple;
    let fixed = Plan { rate: 0.4, change, controls: 1.0, alpha: 0.01, power: 0.8 }.exposed_units().unwrap();
    let mut chance = Chance::new(31);
    let found: Vec<_> = (0..launches)
        .map(|_| {
            let guardrail = Guardrail::new(fewer(0.05), 0.4, Measure::Share, threshold);
            trip(&mut chance, guardrail, 0.5, fixed * 6, |_| (0.4 * (1.0 + change), 0.4))
        })
        .collect();
    quantile(&found, 0.5) as f64 / fixed as f64
}

#[test]
fn large_harm_is_found_with_about_the_fixed_sample() {
    for (multiple, bar) in [(4.0, 1.6), (8.0, 1.8)] {
        let ratio = ratio_to_fixed(41, multiple, 100.0);
        assert!(ratio <= bar, "{multiple} θ: {ratio}");
    }
}

#[test]
#[ignore = "full size: minutes in an optimised build"]
fn detection_at_full_size_stays_within_its_ratios() {
    for (multiple, bar) in [(1.0, 1.20), (2.0, 1.25), (4.0, 1.45), (8.0, 1.65)] {
        let one = ratio_to_fixed(1_001, multiple, 100.0);
        let five = ratio_to_fixed(1_001, multiple, 500.0);
        println!("{multiple} θ: {one:.3} × fixed, one of five guardrails {five:.3} ×");
        assert!(one <= bar && five <= 1.6 * bar, "{multiple} θ: {one} {five}");
    }
}

fn late_onset(launches: usize, healthy: u64) -> u64 {
    let mut chance = Chance::new(32);
    let found: Vec<_> = (0..launches)
        .map(|_| {
            let guardrail = Guardrail::new(fewer(0.05), 0.4, Measure::Share, 100.0);
            let rates = |exposed| if exposed < healthy { (0.4, 0.4) } else { (0.32, 0.4) };
            trip(&mut chance, guardrail, 0.5, healthy + 20_000, rates)
        })
        .filter(|found| found.is_none_or(|at| at >= healthy))
        .map(|found| found.map(|at| at - healthy))
        .collect();
    quantile(&found, 0.5)
}

#[test]
fn a_late_harm_is_found_although_the_past_was_healthy() {
    let median = late_onset(11, 3_000);
    assert!(median <= 2_200, "{median}");
}

#[test]
#[ignore = "full size: minutes in an optimised build"]
fn late_onset_is_found_after_100000_units_at_full_size() {
    for (healthy, bar) in [(20_000, 2_000), (100_000, 2_400)] {
        let median = late_onset(301, healthy);
        println!("−20 % after {healthy} healthy a side: median {median} exposed");
        assert!(median <= bar, "{median}");
    }
}

/// Of a weight of .4, with the base rate that a policy has for errors when it names none.
fn errors(chance: &mut Chance, share: f64, rate: f64, base: f64) -> Option<u64> {
    let guardrail = Guardrail::new(more(0.5), base, Measure::Hazard, 1.0 / (0.01 * 0.4));
    trip(chance, guardrail, share, 50_000, |_| (rate, 0.002))
}

#[test]
fn a_treatment_whose_every_request_fails_is_found_within_a_dozen_units() {
    for share in [0.2, 0.05] {
        let mut chance = Chance::new(33);
        let found: Vec<_> = (0..201).map(|_| errors(&mut chance, share, 1.0, 0.01)).collect();
        let (median, most) = (quantile(&found, 0.5), quantile(&found, 0.9));
        assert!(median <= 12 && most <= 15, "{share}: {median} {most}");
    }
}

#[test]
#[ignore = "full size: minutes in an optimised build"]
fn errors_at_full_size_are_found_within_their_bars() {
    for share in [0.2, 0.05] {
        let mut chance = Chance::new(33);
        let found: Vec<_> = (0..4_001).map(|_| errors(&mut chance, share, 1.0, 0.01)).collect();
        println!("all fail, {share}: median {}, 90 % {}", quantile(&found, 0.5), quantile(&found, 0.9));
        assert!(quantile(&found, 0.5) <= 12 && quantile(&found, 0.9) <= 15);
    }
    for base in [0.002, 0.01] {
        let mut chance = Chance::new(34);
        let found: Vec<_> = (0..1_001).map(|_| errors(&mut chance, 0.2, 0.01, base)).collect();
        println!("errors × 5, assumed {base}: median {}", quantile(&found, 0.5));
        assert!(quantile(&found, 0.5) <= 1_700);
    }
}
