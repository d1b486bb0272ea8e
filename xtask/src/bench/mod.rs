//! `cargo xtask bench NAME`: measures, prints a table, writes `target/bench/NAME.json`. One file per benchmark.

mod edge_http;
mod edge_size;
mod evaluate;
mod processor;
mod propagation;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

/// One figure of a benchmark.
#[derive(Debug, Clone)]
pub struct Metric {
    /// Name as in the performance targets.
    pub name: &'static str,
    /// What was measured.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// The bound to meet, when there is one.
    pub target: Option<Target>,
}

impl Metric {
    /// A figure without a bound.
    pub(crate) const fn new(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit, target: None }
    }

    /// The same with a bound.
    pub(crate) const fn with(self, target: Target) -> Self {
        Self { target: Some(target), ..self }
    }
}

/// A bound on a figure.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// The figure may not be larger.
    AtMost(f64),
    /// The figure may not be smaller.
    AtLeast(f64),
    /// Anything else is a failure.
    Exactly(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
            Self::Exactly(bound) => (value - bound).abs() < f64::EPSILON,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(bound) => format!("<= {bound}"),
            Self::AtLeast(bound) => format!(">= {bound}"),
            Self::Exactly(bound) => format!("= {bound}"),
        }
    }
}

/// What a benchmark found.
#[derive(Debug, Clone)]
pub struct Report {
    /// Measurements behind each figure.
    pub runs: usize,
    /// The figures.
    pub metrics: Vec<Metric>,
}

/// Runs one benchmark. An unmet target is shown, not an error: the machine may be noisy.
pub fn bench(root: &Path, name: &str, arguments: &[String]) -> Result<()> {
    let report = match name {
        "edge-http" => edge_http::run(root, arguments)?,
        "evaluate" => evaluate::run(root, arguments)?,
        "edge-size" => edge_size::run(root)?,
        "propagation" => propagation::run(root, arguments)?,
        "attack" => crate::attack::measure(root, arguments)?,
        _ => bail!("unknown benchmark {name:?}; known: attack, edge-http, edge-size, evaluate, propagation"),
    };
    print_table(name, &report);
    write_json(root, name, &report)
}

#[expect(clippy::print_stdout, reason = "this is the command's result")]
fn print_table(name: &str, report: &Report) {
    println!("\n{name}, {} runs", report.runs);
    for metric in &report.metrics {
        let verdict = metric.target.map_or(String::new(), |target| {
            let word = if target.is_met(metric.value) { "met" } else { "NOT MET" };
            format!("{:>10}  {word}", target.text())
        });
        println!("  {:<24}{:>12.3} {:<10}{verdict}", metric.name, metric.value, metric.unit);
    }
}

fn write_json(root: &Path, name: &str, report: &Report) -> Result<()> {
    let results: Vec<Value> = report
        .metrics
        .iter()
        .map(|metric| {
            json!({
                "metric": metric.name,
                "value": metric.value,
                "unit": metric.unit,
                "target": metric.target.map(Target::text),
                "met": metric.target.map(|target| target.is_met(metric.value)),
            })
        })
        .collect();
    let document = json!({ "name": name, "commit": commit(root), "runs": report.runs, "results": results });
    let dir = root.join("target/bench");
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let path = dir.join(format!("{name}.json"));
    fs::write(&path, format!("{document:#}\n")).with_context(|| format!("writing {}", path.display()))
}

/// The commit measured, with `+changes` when the tree differs from it.
fn commit(root: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(root).output().ok()?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
    };
    let head = git(&["rev-parse", "HEAD"]).unwrap_or_default();
    let is_clean = git(&["status", "--porcelain"]).is_some_and(|changes| changes.is_empty());
    if is_clean { head } else { format!("{head}+changes") }
}

/// The middle value, nearest rank: with an odd number of measurements, a measured one.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// How often `ours` fits into `theirs`, round by round, and of that the median: whatever slows a whole round down slows
/// both.
fn median_ratio(theirs: &[f64], ours: &[f64]) -> f64 {
    median(&theirs.iter().zip(ours).map(|(theirs, ours)| theirs / ours).collect::<Vec<_>>())
}

/// A count from the command line, `default` when it is left out.
fn count_argument<T: FromStr>(arguments: &[String], at: usize, default: T) -> Result<T> {
    match arguments.get(at) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| anyhow!("{text:?} is not a number that fits here")),
    }
}

/// The value below which `share` (0 ..= 1) of the sorted values lie; nearest rank.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank between 0 and the number of measurements"
    )]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).or(sorted.last()).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_take_the_nearest_rank() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            (quantile(&values, 0.5), quantile(&values, 0.99), quantile(&values, 1.0)),
            (50.0, 99.0, 100.0)
        );
        assert!((quantile(&[7.0], 0.5) - 7.0).abs() < f64::EPSILON);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // Both were slowed down in the second round: their ratio was not.
        let ratio = median_ratio(&[2.0, 20.0, 4.0], &[1.0, 10.0, 1.0]);
        assert!((ratio - 2.0).abs() < f64::EPSILON, "{ratio}");
    }
}
