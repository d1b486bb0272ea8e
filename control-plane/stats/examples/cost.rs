//! What a block costs: nanoseconds for each method's update, at the block sizes that occur.
//!
//! `cargo run --release -p flagfuse-stats --example cost`

#![expect(clippy::print_stdout, reason = "this is the command's result")]
#![expect(clippy::unwrap_used, reason = "a measuring program stops at the first refusal")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use flagfuse_stats::absolute::{Absolute, Bound};
use flagfuse_stats::bins::BinCount;
use flagfuse_stats::block::Block;
use flagfuse_stats::certificate::Certificates;
use flagfuse_stats::classic::ArmCount;
use flagfuse_stats::control_rate::ControlRate;
use flagfuse_stats::estimate::Gate;
use flagfuse_stats::grid::{Direction, Grid, Harm, Measure, THETA, WEIGHTS};
use flagfuse_stats::guard::{Guard, Sides};
use flagfuse_stats::interval::{Interval, Points};
use flagfuse_stats::mixture::Mixture;
use flagfuse_stats::recovery::Recovery;
use flagfuse_stats::sentinel::Sentinel;
use flagfuse_stats::srm::Srm;
use flagfuse_stats::values::{Scores, Values};

/// Prints the mean of as many updates as fit into a fifth of a second.
#[expect(clippy::disallowed_methods, reason = "a measuring program reads the clock")]
#[expect(clippy::cast_precision_loss, reason = "some millions of updates")]
fn measured(name: &str, size: &str, mut update: impl FnMut()) {
    update();
    let begun = Instant::now();
    let mut updates = 0_u64;
    while begun.elapsed() < Duration::from_millis(200) {
        for _ in 0..8 {
            update();
        }
        updates += 8;
    }
    println!("{name:<34} {size:<24} {:>12.0} ns", begun.elapsed().as_nanos() as f64 / updates as f64);
}

fn main() {
    let arm = |units, events| ArmCount { units, events };
    let sizes = [
        ("10 : 10 units", arm(10, 4), arm(10, 4)),
        ("1 : 19 units", arm(1, 1), arm(19, 7)),
        ("500 : 500 units", arm(500, 190), arm(500, 200)),
        ("50,000 : 50,000 units", arm(50_000, 19_900), arm(50_000, 20_000)),
    ];
    for (size, exposed, control) in sizes {
        let block = Block::new(exposed, control).unwrap();
        of_counts(size, &block);
    }
    let (exposed, control) = (arm(10, 4), arm(10, 4));
    let (bound, mut absolute) = (Bound::p95(), Absolute::default());
    measured("absolute, both arms", "10 : 10 units", || {
        absolute.fold(black_box(&bound), exposed, control).unwrap();
    });
    let mut srm = Srm::default();
    measured("sample ratio", "10 : 10 units", || srm.fold(&[0.5, 0.5], black_box(&[10, 10])).unwrap());
    for (size, payers, others) in [("20 units, 2 payers", 1, 9), ("2,000 units, 5 % payers", 5, 950)] {
        of_values(size, payers, others);
    }
}

fn of_counts(size: &str, block: &Block) {
    let harm = Harm::new(0.05, Direction::DecreaseIsHarm).unwrap();
    let grid = Grid::new(&harm, 0.4, Measure::Share).unwrap();
    let (mut mixture, mut gate) = (Mixture::default(), Gate::default());
    measured("kernel, mixture, gate", size, || {
        let factors = grid.log_factors(black_box(block));
        mixture.fold(&factors, 10).unwrap();
        gate.fold(factors[THETA], block).unwrap();
        black_box(mixture.evidence(&WEIGHTS));
    });
    let mut rate = ControlRate::default();
    for _ in 0..24 {
        rate.remember(ArmCount { units: 20, events: 8 }).unwrap();
    }
    let (mut recovery, mut certificates) = (Recovery::default(), Certificates::default());
    measured("recovery", size, || recovery.fold(&harm, rate.past().unwrap(), black_box(block)).unwrap());
    measured("certificates, five margins", size, || {
        certificates.fold(Direction::DecreaseIsHarm, rate.past().unwrap(), black_box(block)).unwrap();
    });
    let mut sentinel = Sentinel::default();
    measured("sentinel", size, || sentinel.fold(&grid.log_factors(black_box(block)), 20_000).unwrap());
    let (sides, mut guard) = (Sides::new().unwrap(), Guard::default());
    measured("guard, both directions", size, || guard.fold(&sides, black_box(block), 10).unwrap());
    let (points, mut interval) = (Points::default(), Interval::default());
    measured("interval, 161 points", size, || interval.fold(&points, black_box(block)).unwrap());
}

fn of_values(size: &str, payers: u64, others: u64) {
    let points = (0..21).map(|eighth| 10_f64.powf(f64::from(eighth) / 8.0));
    let scores: Vec<f64> = std::iter::once(0.0).chain(points).collect();
    let scores = Scores::new(&scores).unwrap();
    let bins: Vec<BinCount> = (0..10_u16)
        .map(|at| BinCount {
            bin: 2 * at,
            units: if at == 0 { others } else { payers.div_ceil(1 + u64::from(at)) },
        })
        .collect();
    let harm = Harm::new(0.1, Direction::DecreaseIsHarm).unwrap();
    let mut values = Values::from_history(scores.moments(&bins).unwrap());
    measured("values, five effects", size, || {
        values.fold(&scores, &harm, black_box(&bins), &bins).unwrap();
    });
}
