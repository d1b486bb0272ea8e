//! That one step of a decision tells nothing about the next, though they hash the same unit with the same salt.

use super::*;
use crate::bucket::{Bucket, COHORT_SEED, GATE_SEED, HOLDOUT_SEED, LAYER_SEED, SPLIT_SEED};

/// χ² of a table of counts against independence of its rows and columns.
fn chi_squared(table: &[Vec<f64>]) -> f64 {
    let sum: f64 = table.iter().flatten().sum();
    let mut chi2 = 0.0;
    for row in table {
        for (at, count) in row.iter().enumerate() {
            let column: f64 = table.iter().map(|other| other[at]).sum();
            let expected = row.iter().sum::<f64>() * column / sum;
            chi2 += (count - expected).powi(2) / expected;
        }
    }
    chi2
}

#[test]
fn conditions_gate_split_cohort_layer_and_holdout_are_independent() {
    // One salt for all of them, as when a layer has its flag's name: only the seeds keep them apart.
    let lanes = [GATE_SEED, SPLIT_SEED, COHORT_SEED, LAYER_SEED, HOLDOUT_SEED];
    let units: Vec<String> = (0..100_000).map(|n| format!("user-{n}")).collect();
    let decile = |seed: u32, unit: &str| Bucket::of("checkout", unit, seed).get() as usize / 100_000;
    for (at, one) in lanes.iter().enumerate() {
        for other in &lanes[at + 1..] {
            let mut table = vec![vec![0.0; 10]; 10];
            for unit in &units {
                table[decile(*one, unit)][decile(*other, unit)] += 1.0;
            }
            // 81 degrees of freedom, 99.99 % quantile 137.9; of ten pairs one in a thousand would exceed it.
            let chi2 = chi_squared(&table);
            assert!(chi2 < 137.9, "lanes {one} and {other}: χ² = {chi2}");
        }
    }
}

#[test]
fn a_gate_in_front_of_a_cohort_starves_no_arm() {
    let cohort = json!({ "phase": 1, "slices": [
        { "from": 0, "to": 100_000, "variation": "on", "arm": "exposed" },
        { "from": 900_000, "to": 1_000_000, "variation": "off", "arm": "control" } ] });
    let rules = json!([{ "key": "fifth", "percentage": 20, "split": [{ "variation": "on" }],
        "conditions": [{ "attribute": "country", "op": "in", "values": ["DE"] }] }]);
    let layer = json!({ "key": "f", "from": 0, "to": 900_000 });
    let gated = boolean(&json!({ "cohort": cohort, "rules": rules, "layer": layer }));
    let shared = json!({ "layers": [{ "key": "f" }], "holdout": { "percentage": 10, "salt": "f" } });
    let snapshot = environment(&[gated], shared);
    let mut counts = [[0_u32; 2]; 2];
    for n in 0..60_000 {
        let country = if n % 2 == 0 { "DE" } else { "FR" };
        let context = Context::from_json(json!({ "targetingKey": format!("user-{n}"), "country": country }));
        let context = context.unwrap();
        let answer = snapshot.evaluate("f", question(&context)).unwrap();
        if let Some(assignment) = answer.assignment {
            counts[usize::from(country == "FR")][usize::from(assignment.arm == Arm::Control)] += 1;
        }
    }
    // Of 30,000 a country: 0.9 not held out, 0.9 in the layer, 0.8 left by the gate in Germany, a tenth for each arm.
    for (country, expected) in [(0, 1_944.0), (1, 2_430.0)] {
        for arm in [0, 1] {
            let found = f64::from(counts[country][arm]);
            let five_sigma = 5.0 * (expected * (1.0 - expected / 30_000.0_f64)).sqrt();
            assert!((found - expected).abs() < five_sigma, "{counts:?}");
        }
    }
}
