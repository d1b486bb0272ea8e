//! The same blocks give the same bits: a verdict that was taken can be taken again.

use crate::support::{Chance, Guardrail, fewer, slot};
use flagfuse_stats::bins::BinCount;
use flagfuse_stats::certificate::Certificates;
use flagfuse_stats::control_rate::ControlRate;
use flagfuse_stats::grid::{Direction, Measure, WEIGHTS};
use flagfuse_stats::guard::{Guard, Sides};
use flagfuse_stats::interval::{Interval, Points};
use flagfuse_stats::power::Plan;
use flagfuse_stats::recovery::Recovery;
use flagfuse_stats::srm::Srm;
use flagfuse_stats::values::{Moments, Scores, Values};

/// Evidence of a fixed history, method by method.
fn evidence() -> Vec<(&'static str, f64)> {
    let mut chance = Chance::new(71);
    let mut shares = Guardrail::new(fewer(0.05), 0.4, Measure::Share, 100.0);
    let mut hazards = Guardrail::new(fewer(0.05), 0.4, Measure::Hazard, 100.0);
    let (mut past, mut recovery, mut certificates) =
        (ControlRate::default(), Recovery::default(), Certificates::default());
    let (sides, mut guard) = (Sides::new().unwrap(), Guard::default());
    let (points, mut interval) = (Points::default(), Interval::default());
    let mut srm = Srm::default();
    let scores = Scores::new(&[0.0, 1.0, 4.0, 20.0]).unwrap();
    let mut values = Values::from_history(Moments { units: 1_000, sum: 400.0, squares: 2_000.0 });
    for _ in 0..200 {
        let block = slot(&mut chance, 35, 0.3, (0.36, 0.4));
        let (exposed, control) = (block.exposed(), block.control());
        shares.trips_matured(&block);
        hazards.trips_matured(&block);
        if let Some(rate) = past.past() {
            recovery.fold(&fewer(0.2), rate, &block).unwrap();
            certificates.fold(Direction::DecreaseIsHarm, rate, &block).unwrap();
        }
        past.remember(control).unwrap();
        guard.fold(&sides, &block, exposed.units).unwrap();
        interval.fold(&points, &block).unwrap();
        srm.fold(&[0.3, 0.7], &[exposed.units, control.units]).unwrap();
        let list = |units: u64, events: u64| {
            let counts = [units - events, events / 2, events - events / 2 - events / 5, events / 5];
            let bins = (0_u16..).zip(counts).filter(|(_, units)| *units > 0);
            bins.map(|(bin, units)| BinCount { bin, units }).collect::<Vec<_>>()
        };
        let arms = (list(exposed.units, exposed.events), list(control.units, control.events));
        values.fold(&scores, &fewer(0.1), &arms.0, &arms.1).unwrap();
    }
    let [largest, .., smallest] = certificates.margins;
    let plan = Plan { rate: 0.4, change: -0.001, controls: 3.0, alpha: 0.01, power: 0.8 };
    vec![
        ("shares", shares.mixture.evidence(&WEIGHTS)),
        ("hazards", hazards.mixture.evidence(&WEIGHTS)),
        ("recovery", recovery.log_evidence()),
        ("largest margin", largest.log_evidence()),
        ("smallest margin", smallest.log_evidence()),
        ("guard", guard.evidence()),
        ("interval", interval.log_sums[40]),
        ("sizes", srm.evidence()),
        ("values", values.evidence()),
        ("power", plan.exposed_units().unwrap() as f64),
    ]
}

#[test]
fn the_same_blocks_give_the_same_bits() {
    let bits = || evidence().into_iter().map(|(name, found)| (name, found.to_bits())).collect::<Vec<_>>();
    assert!(evidence().iter().all(|(_, found)| found.is_finite()));
    assert_eq!(bits(), bits());
}
