//! What watches beside the guardrails: sizes of arms, telemetry, the time after promotion, and the interval that is shown.

use crate::support::{Chance, fewer, quantile, slot, upper_bound};
use flagfuse_stats::budget;
use flagfuse_stats::classic::{self, ArmCount};
use flagfuse_stats::grid::{Grid, Measure};
use flagfuse_stats::guard::{Guard, Sides};
use flagfuse_stats::interval::{Ends, Interval, Points};
use flagfuse_stats::sentinel::{Sentinel, threshold};
use flagfuse_stats::srm::Srm;

/// Units of both arms at the alarm, in slots of so many.
fn mismatch(chance: &mut Chance, intended: f64, actual: f64, slot: u64, units_max: u64) -> Option<u64> {
    let (mut srm, mut units) = (Srm::default(), 0);
    while units < units_max {
        let exposed = chance.binomial(slot, actual);
        srm.fold(&[intended, 1.0 - intended], &[exposed, slot - exposed]).unwrap();
        units += slot;
        if srm.is_mismatch() {
            return Some(units);
        }
    }
    None
}

#[test]
fn intended_sizes_raise_no_alarm_and_a_loss_is_found() {
    let mut chance = Chance::new(61);
    for share in [0.5, 0.05, 0.01] {
        let alarms = (0..100).filter(|_| mismatch(&mut chance, share, share, 20, 4_000).is_some()).count();
        assert!(alarms <= 1, "{share}: {alarms}");
    }
    let found: Vec<_> = (0..31).map(|_| mismatch(&mut chance, 0.5, 0.44, 40, 20_000)).collect();
    assert!(quantile(&found, 0.5) < 3_000, "{found:?}");
}

#[test]
#[ignore = "full size: minutes in an optimised build"]
fn sizes_at_full_size_alarm_as_they_should() {
    for (share, launches) in [(0.5, 10_000), (0.05, 5_000), (0.01, 5_000)] {
        let mut chance = Chance::new(62);
        let alarms =
            (0..launches).filter(|_| mismatch(&mut chance, share, share, 40, 20_000).is_some()).count();
        println!("{share}: {alarms} alarms of {launches}, upper {:.5}", upper_bound(alarms, launches));
        assert!(alarms <= launches * 15 / 10_000);
    }
    let mut chance = Chance::new(63);
    let found: Vec<_> = (0..501).map(|_| mismatch(&mut chance, 0.5, 0.48, 40, 100_000)).collect();
    println!("48:52 is found at a median of {}", quantile(&found, 0.5));
    assert!(quantile(&found, 0.5) <= 20_000);
}

#[test]
fn a_guard_whose_arms_lose_alike_stays_quiet() {
    let (sides, mut chance) = (Sides::new().unwrap(), Chance::new(64));
    let mut speaks = |rates: (f64, f64)| {
        let mut guard = Guard::default();
        (0..200).any(|_| {
            let block = slot(&mut chance, 20, 0.2, rates);
            guard.fold(&sides, &block, block.exposed().units).unwrap();
            guard.evidence() >= budget::hold_threshold(4)
        })
    };
    let alarms = (0..80).filter(|_| speaks((0.1, 0.1))).count();
    assert!(alarms <= 4, "{alarms} of 80");
    let found = (0..20).filter(|_| speaks((0.3, 0.1))).count();
    assert!(found >= 18, "{found} of 20");
}

/// Units at the alarm of a promoted flag with a hold-back of 5 %, so many units a day, harmed from a day on.
fn alarm(chance: &mut Chance, by_day: u64, harmed_from: u32, days: u32) -> Option<u64> {
    let grid = Grid::new(&fewer(0.05), 0.4, Measure::Share).unwrap();
    let (mut sentinel, mut units) = (Sentinel::default(), 0);
    for day in 0..days {
        let rate = if day >= harmed_from { 0.32 } else { 0.4 };
        for _ in 0..by_day / 40 {
            let block = slot(chance, 40, 0.95, (rate, 0.4));
            units += u64::from(day >= harmed_from) * 40;
            sentinel.fold(&grid.log_factors(&block), day).unwrap();
            if sentinel.evidence() >= threshold(1) {
                return Some(units);
            }
        }
    }
    None
}

#[test]
fn a_sentinel_is_quiet_without_harm_and_finds_it_after_promotion() {
    let mut chance = Chance::new(65);
    let alarms = (0..8).filter(|_| alarm(&mut chance, 120, u32::MAX, 365).is_some()).count();
    assert!(alarms <= 4, "{alarms} in 8 flag-years, of which one in ten is expected at most");
    let found: Vec<_> = (0..5).map(|_| alarm(&mut chance, 1_000, 20, 120)).collect();
    assert!(quantile(&found, 0.5) < 40_000, "{found:?}");
}

#[test]
#[ignore = "full size: minutes in an optimised build"]
fn sentinel_watches_after_promotion_at_full_size() {
    let mut chance = Chance::new(66);
    let alarms = (0..1_000).filter(|_| alarm(&mut chance, 400, u32::MAX, 365).is_some()).count();
    println!("{alarms} alarms in 1,000 flag-years");
    assert!(alarms <= 100, "{alarms}");
    let found: Vec<_> = (0..301).map(|_| alarm(&mut chance, 1_000, 100, 400)).collect();
    println!("−20 % at 40 %: median {} first-time units of both arms", quantile(&found, 0.5));
}

/// Whether the interval holds the true ratio after so many blocks, at a control rate of 20 %.
fn covers(chance: &mut Chance, points: &Points, ratio: f64, share: f64, blocks: u64) -> bool {
    let odds = 0.25 * ratio;
    let rates = (odds / (1.0 + odds), 0.2);
    let mut interval = Interval::default();
    for _ in 0..blocks {
        interval.fold(points, &slot(chance, 40, share, rates)).unwrap();
    }
    let Ends { lower, upper } = interval.ends();
    lower.is_none_or(|lower| lower <= ratio) && upper.is_none_or(|upper| upper >= ratio)
}

#[test]
fn the_shown_interval_covers_at_every_ratio() {
    let (points, mut chance) = (Points::default(), Chance::new(67));
    for ratio in [0.2, 1.0, 8.0] {
        let covered = (0..20).filter(|_| covers(&mut chance, &points, ratio, 0.3, 30)).count();
        assert!(covered >= 17, "{ratio}: {covered} of 20");
    }
}

/// Whether the relative change that is shown holds the true one, where the odds ratio is eight: most of its error is control's rate.
fn covers_the_change(chance: &mut Chance, points: &Points) -> bool {
    let rates = (2.0 / 3.0, 0.2);
    let (mut interval, mut control) = (Interval::default(), ArmCount { units: 0, events: 0 });
    for _ in 0..100 {
        let block = slot(chance, 40, 0.5, rates);
        interval.fold(points, &block).unwrap();
        control.units += block.control().units;
        control.events += block.control().events;
    }
    let [lower, upper] = interval.ends().changes(control);
    let change = rates.0 / rates.1 - 1.0;
    lower.is_none_or(|lower| lower <= change) && upper.is_none_or(|upper| upper >= change)
}

#[test]
fn the_shown_change_covers_where_controls_rate_is_most_of_its_error() {
    let (points, mut chance) = (Points::default(), Chance::new(69));
    let covered = (0..150).filter(|_| covers_the_change(&mut chance, &points)).count();
    assert!(covered >= 145, "{covered} of 150");
}

#[test]
#[ignore = "full size: minutes in an optimised build"]
fn intervals_at_full_size_cover_at_least_95_per_cent() {
    let points = Points::default();
    for ratio in [0.2, 0.5, 0.9, 1.0, 1.3, 3.0, 8.0] {
        for share in [0.5, 0.2, 0.05] {
            let mut chance = Chance::new(68);
            let covered = (0..300).filter(|_| covers(&mut chance, &points, ratio, share, 300)).count();
            println!("{ratio} {share}: {covered} of 300");
            assert!(covered >= 285, "{ratio} {share}: {covered}");
        }
    }
}

/// Whether classic mode's rule is ever below its threshold from `first` to `last` units an arm, looked at after every ten.
fn classic_trips(chance: &mut Chance, rate: f64, threshold: f64, first: u64, last: u64) -> bool {
    let mut arms = [ArmCount::default(); 2];
    for arm in &mut arms {
        *arm = ArmCount { units: first, events: chance.binomial(first, rate) };
    }
    loop {
        let [exposed, control] = arms.map(classic::smoothed_rate);
        if classic::rounded(classic::delta(exposed, control), 4) < threshold {
            return true;
        }
        if arms[0].units >= last {
            return false;
        }
        for arm in &mut arms {
            arm.units += 10;
            arm.events += chance.binomial(10, rate);
        }
    }
}

#[test]
#[ignore = "full size: minutes in an optimised build"]
fn classic_false_trips_under_continuous_looks_are_what_the_formula_says_at_full_size() {
    for (rate, threshold, first, last) in
        [(0.4, -0.05, 1_624, 20_000), (0.05, -0.2, 1_624, 20_000), (0.4, -0.05, 1_624, 3_000)]
    {
        let mut chance = Chance::new(69);
        let found = (0..2_000).filter(|_| classic_trips(&mut chance, rate, threshold, first, last)).count();
        let first_look = classic::false_trip_rate(rate, threshold, first, first).unwrap();
        let watched =
            classic::false_trip_rate_watched(rate, threshold, (first, first), (last, last)).unwrap();
        println!(
            "{rate} {threshold} to {last}: {found} of 2,000; formula {watched:.3}, first look {first_look:.3}"
        );
        assert!((found as f64 / 2_000.0 - watched).abs() < 0.04, "{found} {watched}");
    }
}
