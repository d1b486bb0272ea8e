//! What the fuse costs and how far it can be trusted: the engine's tick over ten thousand (flag, metric) pairs under the mode
//! `anytime`, by the code that runs in production (`control-plane/examples/cells.rs`), and the figures of a short calibration. The
//! long one is `cargo xtask calibrate --full`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::count_argument;
use crate::calibrate::{self, example};
use crate::figure::{Metric, Report, Target};
use crate::output::output;
use crate::tools::progress;

/// With four guardrails each, ten thousand pairs.
const FLAG_COUNT: usize = 2_500;
/// Two weeks.
const HOUR_COUNT: u64 = 336;
/// Launches of each cell: enough for a look, not for a bar.
const LAUNCHES: usize = 200;
/// Two weeks of all flags have to be written first, which took longer than forty minutes beside a whole run of the tests.
const LIMIT: Duration = Duration::from_hours(2);
/// Some minutes of two cores, on a slow machine more.
const CALIBRATION_LIMIT: Duration = Duration::from_hours(2);

/// Figures that are shares of launches, in percent: by the cell they are of, and what they may be.
const SHARES: [(&str, &str, Target); 8] = [
    ("aa_false_trip_pct", "aa-40-50", Target::AtMost(1.3)),
    ("ramp_drift_false_trip_pct", "aa-ramp", Target::AtMost(1.3)),
    ("clustered_false_trip_pct", "aa-clusters", Target::AtMost(1.3)),
    ("fast_activation_false_trip_pct", "aa-fast-100", Target::AtMost(1.3)),
    ("revenue_false_trip_pct", "revenue-20", Target::AtMost(1.3)),
    ("reclose_pct", "reclose-activation-4", Target::AtMost(5.0)),
    ("srm_false_alarm_pct", "srm-false", Target::AtMost(0.1)),
    ("interval_coverage_pct", "interval-50-2", Target::AtLeast(95.0)),
];
/// Medians of a cell's first number.
const MEDIANS: [(&str, &str, Target); 2] = [
    ("detect_ratio_theta", "detect-1", Target::AtMost(1.20)),
    ("detect_ratio_2theta", "detect-2", Target::AtMost(1.25)),
];

/// `bench fuse [FLAGS [HOURS [LAUNCHES]]]`.
pub(super) fn run(root: &Path, arguments: &[String]) -> Result<Report> {
    let flag_count = count_argument(arguments, 0, FLAG_COUNT)?;
    let hour_count = count_argument(arguments, 1, HOUR_COUNT)?;
    let launches = count_argument(arguments, 2, LAUNCHES)?;
    let ticks = ticks(root, flag_count, hour_count)?;
    let found = calibrated(root, launches)?;
    report(&ticks, &found, launches)
}

fn ticks(root: &Path, flag_count: usize, hour_count: u64) -> Result<Value> {
    let program = example(root, "cells")?;
    let folder = root.join("target/bench-fuse");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
    }
    progress(&format!("writing what {flag_count} flags count in {hour_count} hours, then looking at it"));
    let mut command = Command::new(program);
    command.arg(folder.join("ticks")).args([flag_count.to_string(), hour_count.to_string()]).arg("anytime");
    let found = output("the measurement", &mut command, LIMIT)?;
    ensure!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    fs::remove_dir_all(folder.join("ticks")).context("taking away what was measured")?;
    serde_json::from_slice(&found.stdout).context("reading what was measured")
}

fn calibrated(root: &Path, launches: usize) -> Result<Value> {
    let program = calibrate::build(root)?;
    let cells: Vec<&str> = SHARES.iter().chain(&MEDIANS).map(|(_, cell, _)| *cell).collect();
    let folder = root.join("target/bench-fuse/report");
    progress(&format!("{launches} launches of {} cells", cells.len()));
    let mut command = Command::new(program);
    command
        .args(["--repetitions", &launches.to_string(), "--cells", &cells.join(",")])
        .arg("--out")
        .arg(&folder);
    let said = output("the calibration", &mut command, CALIBRATION_LIMIT)?;
    // 1: a bar is broken, which the figures show.
    let is_done = matches!(said.status.code(), Some(0 | 1));
    ensure!(is_done, "{}", String::from_utf8_lossy(&said.stdout));
    let text = fs::read_to_string(folder.join("report.json")).context("reading the report")?;
    serde_json::from_str(&text).context("reading the report")
}

fn report(ticks: &Value, found: &Value, launches: usize) -> Result<Report> {
    let number = |name: &str| ticks[name].as_f64().with_context(|| format!("{name} is missing: {ticks}"));
    let (young_s, old_s) = (number("young_core_s")?, number("old_core_s")?);
    let mut metrics = vec![
        Metric::new("tick_10k_pairs_core_s", young_s.max(old_s), "s").with(Target::AtMost(1.0)),
        Metric::new("tick_hour1_core_s", young_s, "s"),
        Metric::new("tick_hour336_core_s", old_s, "s"),
        Metric::new("pairs", number("pairs")?, "pairs"),
    ];
    let cell = |name: &str| {
        let cells = found["cells"].as_array().context("no cells")?;
        cells.iter().find(|cell| cell["cell"] == name).with_context(|| format!("{name} is missing"))
    };
    for (metric, name, target) in SHARES {
        let share = cell(name)?["share"]["value"].as_f64().context("no share")?;
        metrics.push(Metric::new(metric, share * 100.0, "%").with(target));
    }
    for (metric, name, target) in MEDIANS {
        // Null where half of the launches found nothing.
        let median = cell(name)?["numbers"][0]["median"].as_f64().unwrap_or(f64::INFINITY);
        metrics.push(Metric::new(metric, median, "x").with(target));
    }
    metrics.push(Metric::new("core_hours", found["core_hours"].as_f64().context("no core-hours")?, "h"));
    Ok(Report { runs: launches, metrics })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_found_becomes_the_figures_that_have_targets() {
        let share = |(_, name, _): &(&str, &str, Target)| json!({ "cell": name, "share": { "value": 0.01 } });
        let median =
            |(_, name, _): &(&str, &str, Target)| json!({ "cell": name, "numbers": [{ "median": 1.1 }] });
        let cells: Vec<Value> = SHARES.iter().map(share).chain(MEDIANS.iter().map(median)).collect();
        let found = json!({ "core_hours": 0.2, "cells": cells });
        let ticks = json!({ "young_core_s": 0.2, "old_core_s": 0.3, "pairs": 10_000 });
        let report = report(&ticks, &found, 200).unwrap();
        let of = |name: &str| report.metrics.iter().find(|metric| metric.name == name).unwrap();
        assert!((of("tick_10k_pairs_core_s").value - 0.3).abs() < 1e-12);
        assert!((of("aa_false_trip_pct").value - 1.0).abs() < 1e-12);
        assert!((of("detect_ratio_2theta").value - 1.1).abs() < 1e-12);
        assert!(super::report(&ticks, &json!({ "cells": [] }), 1).is_err());
    }
}
