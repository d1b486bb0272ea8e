//! The cases that the fuse was accepted by, as far as chance decides them, with as many launches as a test has time for. What a full
//! calibration finds stands in `docs/calibration.md`.

use flagfuse_calibrate::bounds::bounds;
use flagfuse_calibrate::cell::{Bar, Cell, Kept, Sample};
use flagfuse_calibrate::chance::seed;
use flagfuse_calibrate::scenarios::{named, short};

/// The cell of a name, and so many launches of it.
fn launches(name: &str, count: u64) -> (Cell, Vec<Sample>) {
    let cell = named(&[name.to_owned()]).unwrap().into_iter().find(|cell| cell.name == name).unwrap();
    let samples = (0..count).map(|at| (cell.launch)(seed(&cell.name, at)).unwrap()).collect();
    (cell, samples)
}

/// No bar of the cell may be broken beyond its bound.
fn assert_kept(name: &str, count: u64) -> Vec<Sample> {
    let (cell, samples) = launches(name, count);
    assert!(!cell.bars.is_empty());
    for bar in &cell.bars {
        let figure = bar.figure(&samples).unwrap();
        assert_ne!(bar.kept(&figure), Kept::No, "{name}: {} {figure:?}", bar.words(&cell.numbers));
    }
    samples
}

#[test]
fn late_onset_is_found_after_100000_units() {
    let (cell, samples) = launches("onset-100000", 3);
    let median = Bar::Quantile { number: 0, p: 0.5, at_most: 2_400.0 };
    assert!(cell.bars.contains(&median));
    assert_eq!(median.kept(&median.figure(&samples).unwrap()), Kept::Yes, "{samples:?}");
}

#[test]
fn a_wrong_baseline_never_recloses_a_bad_feature() {
    let names = ["reclose-activation-0.25", "reclose-activation-4", "reclose-error-0.25", "reclose-error-4"];
    let all: Vec<Sample> = names.into_iter().flat_map(|name| launches(name, 5).1).collect();
    let closed = all.iter().filter(|sample| sample.hit).count() as u64;
    // A null that goes by the policy's rate re-closes up to 87 % of them.
    let (lower, _) = bounds(closed, all.len() as u64);
    assert!(lower <= 0.05, "{closed} of {}", all.len());
}

#[test]
fn twenty_probes_spend_one_beta() {
    assert_kept("reclose-twenty", 3);
}

#[test]
fn ema_smoothing_reduces_false_trips() {
    let (_, samples) = launches("classic-40-wide", 24);
    let count = |number: usize| samples.iter().filter(|sample| sample.numbers[number] > 0.5).count();
    let (windows, averaged) = (count(0), count(1));
    // Of the windows that it is made of it leaves less than half. The rule without windows, which has all units, is better still.
    assert!(windows > 0 && 2 * averaged <= windows, "{averaged} with, {windows} without");
    assert!(samples.iter().all(|sample| !sample.hit), "{samples:?}");
}

#[test]
fn revenue_tails_do_not_trip() {
    for name in ["revenue-20", "revenue-5"] {
        let samples = assert_kept(name, 10);
        assert!(samples.iter().filter(|sample| sample.hit).count() <= 1, "{name}");
    }
    // The same test does trip where a third of the payers are left.
    let (_, harmed) = launches("revenue-harm", 1);
    assert!(harmed.iter().all(|sample| sample.hit), "{harmed:?}");
}

/// Launches of each cell that CI looks at: red only when what they say cannot be chance.
const LAUNCHES: u64 = 60;

#[test]
fn healthy_launches_do_not_trip_more_often_than_chance_allows() {
    for cell in short().unwrap() {
        let trips =
            (0..LAUNCHES).filter(|at| (cell.launch)(seed(&cell.name, *at)).unwrap().hit).count() as u64;
        let (lower, _) = bounds(trips, LAUNCHES);
        assert!(lower <= 0.01, "{}: {trips} of {LAUNCHES}", cell.what);
    }
}
