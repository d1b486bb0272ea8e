//! Size of the deployed Wasm and the time until a fresh workerd answers.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{fs, thread};

use anyhow::{Context, Result, bail};

use crate::figure::{Metric, Report, Target, quantile};
use crate::stack::{Stack, StackConfig, build_deployed_edge};

const RUNS: usize = 7;

pub(super) fn run(root: &Path) -> Result<Report> {
    let built = build_deployed_edge(root)?;
    let wasm = fs::read(built.edge.dir.join("index_bg.wasm")).context("reading the optimised Wasm")?;
    let data_dir = root.join("target/bench/edge-size-data");
    if data_dir.exists() {
        fs::remove_dir_all(&data_dir)?;
    }
    let mut stack = Stack::start(root, &built, StackConfig::on_free_ports(&data_dir, 1)?)?;
    let mut starts_ms = Vec::new();
    for _ in 0..RUNS {
        stack.kill_edge();
        let began = Instant::now();
        stack.start_edge()?;
        starts_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    starts_ms.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "sizes of some hundred KiB")]
    let kib = |len: usize| len as f64 / 1_024.0;
    Ok(Report {
        runs: RUNS,
        metrics: vec![
            Metric {
                name: "wasm_gzip_kib",
                value: kib(gzip_len(&wasm)?),
                unit: "KiB",
                target: Some(Target::AtMost(700.0)),
            },
            Metric { name: "wasm_kib", value: kib(wasm.len()), unit: "KiB", target: None },
            Metric { name: "startup_ms", value: quantile(&starts_ms, 0.5), unit: "ms", target: None },
            Metric { name: "startup_max_ms", value: quantile(&starts_ms, 1.0), unit: "ms", target: None },
        ],
    })
}

/// Bytes after `gzip -9`, which is how such sizes are usually given.
fn gzip_len(bytes: &[u8]) -> Result<usize> {
    let mut gzip = Command::new("gzip")
        .args(["-9", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting gzip")?;
    let mut input = gzip.stdin.take().context("gzip has no input")?;
    let output = thread::scope(|scope| {
        scope.spawn(move || input.write_all(bytes));
        gzip.wait_with_output()
    })?;
    if !output.status.success() {
        bail!("gzip ended with {}", output.status);
    }
    Ok(output.stdout.len())
}
