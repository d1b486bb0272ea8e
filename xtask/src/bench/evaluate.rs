//! Evaluation in process: ours beside the Rust peers natively, and ours in Wasm under workerd.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{count_argument, processor};
use crate::figure::{Metric, Report, Target, median, median_ratio};
use crate::http::Client;
use crate::ports;
use crate::process::{optimising_cargo, run as run_command};
use crate::tools::progress;
use crate::wasm_build::build_bench_worker;
use crate::workerd::start_plain;

const ROUND_COUNT: usize = 9;
/// Name of our evaluator in the document of `bench/peers`, and of the second one that shows the noise.
const OURS: &str = "flagfuse";
const OURS_AGAIN: &str = "flagfuse again";

pub(super) fn run(root: &Path, arguments: &[String]) -> Result<Report> {
    let round_count = count_argument(arguments, 0, ROUND_COUNT)?;
    let native = Native::measure(root, round_count)?;
    print_table(&native)?;
    let wasm = Wasm::measure(root, round_count)?;
    let at_most = Target::AtMost;
    let at_least = Target::AtLeast;
    let metrics = vec![
        Metric::new("a_native_ns", native.median(OURS, "a_ns")?, "ns").with(at_most(70.0)),
        Metric::new("b_native_ns", native.median(OURS, "b_ns")?, "ns").with(at_most(90.0)),
        Metric::new("c_native_us", native.median(OURS, "c_us")?, "us").with(at_most(60.0)),
        Metric::new("c_wasm_us", wasm.c_us, "us").with(at_most(80.0)),
        Metric::new("a_vs_best_peer", native.vs_best_peer("a_ns")?, "x").with(at_least(1.4)),
        Metric::new("b_vs_best_peer", native.vs_best_peer("b_ns")?, "x").with(at_least(3.0)),
        Metric::new("c_vs_best_peer", native.vs_best_peer("c_us")?, "x").with(at_least(3.0)),
        Metric::new("load_1000_native_ms", native.median(OURS, "load_ms")?, "ms").with(at_most(1.0)),
        Metric::new("load_1000_wasm_ms", wasm.load_ms, "ms").with(at_most(1.5)),
        Metric::new("a_wasm_ns", wasm.a_ns, "ns"),
        Metric::new("b_wasm_ns", wasm.b_ns, "ns"),
        Metric::new("a_noise", native.noise("a_ns")?, "x"),
        Metric::new("b_noise", native.noise("b_ns")?, "x"),
        Metric::new("c_noise", native.noise("c_us")?, "x"),
    ];
    Ok(Report { runs: round_count, metrics })
}

/// What `bench/peers` found.
struct Native {
    subjects: Vec<Value>,
}

impl Native {
    fn measure(root: &Path, round_count: usize) -> Result<Self> {
        progress("compiling ours and the peers (minutes, the first time)");
        let target_dir = root.join("target/bench-build/peers");
        run_command(
            "compiling bench/peers",
            optimising_cargo()
                .args(["build", "--release", "--quiet", "--target-dir"])
                .arg(&target_dir)
                .current_dir(root.join("bench/peers")),
        )?;
        progress("measuring ours beside the peers");
        let output = Command::new(target_dir.join("release/flagfuse-bench-peers"))
            .arg(round_count.to_string())
            .output()
            .context("running bench/peers")?;
        if !output.status.success() {
            bail!("bench/peers ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        let document: Value = serde_json::from_slice(&output.stdout).context("reading its figures")?;
        let subjects = document["subjects"].as_array().context("no subjects")?.clone();
        Ok(Self { subjects })
    }

    fn subject(&self, name: &str) -> Result<&Value> {
        self.subjects.iter().find(|subject| subject["name"] == name).with_context(|| format!("no {name}"))
    }

    fn median(&self, name: &str, workload: &str) -> Result<f64> {
        self.subject(name)?[workload]["median"].as_f64().context("no median")
    }

    /// How many times as long the peer takes that is the fastest beside ours.
    fn vs_best_peer(&self, workload: &str) -> Result<f64> {
        let ours = rounds(self.subject(OURS)?, workload)?;
        let peers = self.subjects.iter().filter(|subject| {
            let name = subject["name"].as_str().unwrap_or_default();
            name != OURS && name != OURS_AGAIN
        });
        let mut best = f64::INFINITY;
        for peer in peers {
            best = best.min(median_ratio(&rounds(peer, workload)?, &ours));
        }
        Ok(best)
    }

    /// Ours against ours: what differs from 1 is noise.
    fn noise(&self, workload: &str) -> Result<f64> {
        let again = rounds(self.subject(OURS_AGAIN)?, workload)?;
        Ok(median_ratio(&again, &rounds(self.subject(OURS)?, workload)?))
    }
}

fn rounds(subject: &Value, workload: &str) -> Result<Vec<f64>> {
    let rounds = subject[workload]["rounds"].as_array().context("no rounds")?;
    Ok(rounds.iter().filter_map(Value::as_f64).collect())
}

#[expect(clippy::print_stdout, reason = "this is the command's result")]
fn print_table(native: &Native) -> Result<()> {
    let workloads = ["a_ns", "b_ns", "c_us", "load_ms"];
    println!("\n{:<46}{}", "median [min – max]", workloads.map(|name| format!("{name:>30}")).concat());
    for subject in &native.subjects {
        let name = subject["name"].as_str().context("no name")?;
        let version = subject["version"].as_str().unwrap_or_default();
        let mut line = format!("{:<46}", format!("{name} {version}"));
        for workload in workloads {
            let figure = |which: &str| subject[workload][which].as_f64().unwrap_or(f64::NAN);
            let range = format!("[{:.2} – {:.2}]", figure("min"), figure("max"));
            // Writing to a String cannot fail.
            let _ = write!(line, "{:>10.2}{range:>20}", figure("median"));
        }
        println!("{line}");
    }
    Ok(())
}

/// What our evaluator takes in Wasm under workerd, medians.
struct Wasm {
    a_ns: f64,
    b_ns: f64,
    c_us: f64,
    load_ms: f64,
}

impl Wasm {
    /// Time stands still inside a worker that does no I/O, so it is taken outside: one request evaluates many times, and
    /// what a request that evaluates nothing takes is subtracted. Time is workerd's on the processor where Linux tells
    /// it, else the wall's.
    fn measure(root: &Path, round_count: usize) -> Result<Self> {
        let bundle = build_bench_worker(root, "evaluate")?;
        let port = *ports::free(1)?.first().context("no free port")?;
        let worker = start_plain(root, &bundle, &root.join("target/bench/evaluate-data"), port)?;
        let client = Client::new(&worker.url(0).context("no URL")?, None);
        progress("measuring ours in workerd");
        // Counts that take some 100 ms each, a thousand times what a request takes.
        let workloads = [("a", 1_000_000_u32), ("b", 500_000), ("c", 1_000), ("load", 40)];
        let mut seconds = [const { Vec::new() }; 4];
        for round in 0..=round_count {
            for ((workload, count), seconds) in workloads.iter().zip(&mut seconds) {
                let empty_s = request_s(&client, worker.id(), workload, 0)?;
                let full_s = request_s(&client, worker.id(), workload, *count)?;
                // The first round is when V8 compiles and optimises.
                if round > 0 {
                    seconds.push((full_s - empty_s) / f64::from(*count));
                }
            }
        }
        let [a, b, c, load] = seconds.map(|seconds| median(&seconds));
        Ok(Self { a_ns: a * 1e9, b_ns: b * 1e9, c_us: c * 1e6, load_ms: load * 1e3 })
    }
}

/// How long one request keeps workerd busy.
fn request_s(client: &Client, worker_id: u32, workload: &str, count: u32) -> Result<f64> {
    let began = Instant::now();
    let used_before_s = processor::used_s(worker_id);
    let sum = client.get(&format!("/{workload}/{count}"))?.ok()?;
    let wall_s = began.elapsed().as_secs_f64();
    if count > 0 && sum.as_u64().unwrap_or(0) == 0 {
        bail!("the worker did not do {workload}: it answered {sum}");
    }
    Ok(processor::used_between_s(used_before_s, processor::used_s(worker_id), wall_s))
}
