//! What reading cells costs: the engine's tick over ten thousand (flag, metric) pairs, of which one in a hundred has new cells,
//! in the first hour of a launch and in its last; and a reading of 72 hours with 4.2 million units. On SQLite, by the code
//! that runs in production, in a process of its own (`control-plane/examples/cells.rs`).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::count_argument;
use crate::calibrate::example;
use crate::figure::{Metric, Report, Target, median, quantile};
use crate::output::output;
use crate::tools::progress;

/// With four guardrails each, ten thousand pairs.
const FLAG_COUNT: usize = 2_500;
/// Two weeks.
const HOUR_COUNT: u64 = 336;
/// Two weeks of all flags have 12 million cells and as many sums to be written first.
const LIMIT: Duration = Duration::from_mins(40);

/// `bench cells [FLAGS [HOURS]]`.
pub(super) fn run(root: &Path, arguments: &[String]) -> Result<Report> {
    let flag_count = count_argument(arguments, 0, FLAG_COUNT)?;
    let hour_count = count_argument(arguments, 1, HOUR_COUNT)?;
    let program = example(root, "cells")?;
    let folder = root.join("target/bench-cells");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
    }
    progress(&format!("writing what {flag_count} flags count in {hour_count} hours, then reading it"));
    let mut command = Command::new(program);
    command.arg(&folder).args([flag_count.to_string(), hour_count.to_string()]);
    let found = output("the measurement", &mut command, LIMIT)?;
    ensure!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let said: Value = serde_json::from_slice(&found.stdout).context("reading what was measured")?;
    fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
    report(&said)
}

fn report(said: &Value) -> Result<Report> {
    let number = |name: &str| said[name].as_f64().with_context(|| format!("{name} is missing: {said}"));
    let readings = said["read_ms"].as_array().context("read_ms is missing")?;
    let mut readings: Vec<f64> = readings.iter().filter_map(Value::as_f64).collect();
    let read_ms = median(&readings);
    readings.sort_by(f64::total_cmp);
    let (young_s, old_s) = (number("young_core_s")?, number("old_core_s")?);
    let ticks = said["ticks"].as_u64().and_then(|count| usize::try_from(count).ok());
    Ok(Report {
        runs: ticks.context("ticks is missing")?,
        metrics: vec![
            // The longer launch is the dearer one.
            Metric::new("tick_10k_pairs_core_s", old_s, "s").with(Target::AtMost(0.5)),
            Metric::new("tick_hour1_core_s", young_s, "s"),
            Metric::new("hour336_vs_hour1", old_s / young_s, "x").with(Target::AtMost(1.2)),
            Metric::new("read_4m2_ms", read_ms, "ms").with(Target::AtMost(50.0)),
            Metric::new("read_4m2_max_ms", quantile(&readings, 1.0), "ms"),
            Metric::new("first_tick_core_s", number("first_tick_core_s")?, "s"),
            Metric::new("pairs", number("pairs")?, "pairs"),
            Metric::new("hours", number("hours")?, "hours"),
            Metric::new("cells", number("rows")?, "rows"),
        ],
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_measured_becomes_the_figures_that_have_targets() {
        let said = json!({
            "pairs": 10_000, "hours": 336, "ticks": 24, "young_core_s": 0.2, "old_core_s": 0.22,
            "first_tick_core_s": 1.5, "rows": 11_000_000, "read_ms": [9.0, 7.0, 8.0],
        });
        let report = report(&said).unwrap();
        let of = |name: &str| report.metrics.iter().find(|metric| metric.name == name).unwrap();
        assert_eq!(report.runs, 24);
        assert!((of("hour336_vs_hour1").value - 1.1).abs() < 1e-9);
        assert!((of("read_4m2_ms").value - 8.0).abs() < 1e-9);
        assert!((of("read_4m2_max_ms").value - 9.0).abs() < 1e-9);
        for name in ["tick_10k_pairs_core_s", "hour336_vs_hour1", "read_4m2_ms"] {
            let metric = of(name);
            assert!(metric.target.unwrap().is_met(metric.value), "{name}");
        }
        assert!(super::report(&json!({})).is_err());
    }
}
