//! `cargo xtask bench NAME`: measures, prints a table, writes `target/bench/NAME.json`. One file per benchmark.

mod admin;
mod cells;
mod edge_http;
mod edge_size;
mod evaluate;
mod fuse;
pub(crate) mod ingest;
mod processor;
mod propagation;

use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::commit::commit;
use crate::figure::{Report, Target};

/// Runs one benchmark. An unmet target is shown, not an error: the machine may be noisy.
pub fn bench(root: &Path, name: &str, arguments: &[String]) -> Result<()> {
    let report = match name {
        "admin" => admin::run(root, arguments)?,
        "cells" => cells::run(root, arguments)?,
        "edge-http" => edge_http::run(root, arguments)?,
        "evaluate" => evaluate::run(root, arguments)?,
        "fuse" => fuse::run(root, arguments)?,
        "edge-size" => edge_size::run(root)?,
        "ingest" => ingest::run(root, arguments)?,
        "propagation" => propagation::run(root, arguments)?,
        "attack" => crate::attack::measure(root, arguments)?,
        _ => bail!(
            "unknown benchmark {name:?}; known: admin, attack, cells, edge-http, edge-size, evaluate, fuse, ingest, \
             propagation"
        ),
    };
    publish(root, name, &report)
}

/// Prints a report and writes it to `target/bench/NAME.json`.
pub(crate) fn publish(root: &Path, name: &str, report: &Report) -> Result<()> {
    print_table(name, report);
    write_json(root, name, report)
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

/// A count from the command line, `default` when it is left out.
fn count_argument<T: FromStr>(arguments: &[String], at: usize, default: T) -> Result<T> {
    match arguments.get(at) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| anyhow!("{text:?} is not a number that fits here")),
    }
}
