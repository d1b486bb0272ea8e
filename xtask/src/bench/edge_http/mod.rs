//! Requests that one isolate of the edge answers in real workerd, beside a Rust worker that says hello and beside
//! unleash-edge with flags of the same kind. Every server gets the same one core, the load generator another, and what
//! counts is the server's time on that core.

mod servers;
mod slot;
mod unleash_edge;
pub(super) mod wrk;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use self::servers::{LARGE, Servers};
use self::slot::Slot;
use super::count_argument;
use crate::figure::{Metric, Report, Target, median, median_ratio};
use crate::tools::progress;

const SECONDS: u32 = 10;
const ROUND_COUNT: usize = 5;

pub(super) fn run(root: &Path, arguments: &[String]) -> Result<Report> {
    let seconds = count_argument(arguments, 0, SECONDS)?;
    let round_count = count_argument(arguments, 1, ROUND_COUNT)?;
    ensure!(seconds > 0 && round_count > 0, "usage: cargo xtask bench edge-http [SECONDS [ROUNDS]]");
    wrk::ensure_installed()?;
    let servers = Servers::start(root)?;
    let rss_idle_mib = rss_mib(servers.edge_process_id()?)?;
    let mut figures = Figures(servers.slots.iter().map(|slot| (slot.name, Vec::new())).collect());
    progress("warming up");
    for slot in &servers.slots {
        wrk::requests_per_core_s(slot, 2)?;
    }
    for round in 1..=round_count {
        progress(&format!("round {round} of {round_count}"));
        for (slot, (_, measured)) in servers.slots.iter().zip(&mut figures.0) {
            measured.push(wrk::requests_per_core_s(slot, seconds)?);
        }
    }
    let rss_mib = rss_mib(servers.edge_process_id()?)?;
    print_table(&servers.slots, &figures);
    let mut metrics = figures.ratios()?;
    metrics.push(Metric::new("rss_mib", rss_mib, "MiB"));
    metrics.push(Metric::new("rss_idle_mib", rss_idle_mib, "MiB"));
    metrics.extend(figures.rates());
    Ok(Report { runs: round_count, metrics })
}

/// Requests per second of a core in each round, by the slot's name.
struct Figures(Vec<(&'static str, Vec<f64>)>);

impl Figures {
    fn of(&self, name: &str) -> Option<&[f64]> {
        self.0.iter().find(|(found, _)| *found == name).map(|(_, figures)| figures.as_slice())
    }

    /// How many times what `under` answers.
    fn ratio(&self, over: &str, under: &str) -> Result<f64> {
        let rounds = |name: &str| self.of(name).with_context(|| format!("no figures of {name}"));
        Ok(median_ratio(rounds(over)?, rounds(under)?))
    }

    fn ratios(&self) -> Result<Vec<Metric>> {
        let ratio =
            |name, over, under| Ok::<_, anyhow::Error>(Metric::new(name, self.ratio(over, under)?, "x"));
        let mut metrics = vec![
            ratio("single_vs_hello", "single", "hello")?.with(Target::AtLeast(0.7)),
            ratio("bulk20_vs_unleash_edge", "bulk20", "unleash20")?.with(Target::AtLeast(1.3)),
            ratio("bulk1000_vs_unleash_edge", "bulk1000", "unleash1000")?.with(Target::AtLeast(16.0)),
            ratio("noise", "hello_again", "hello")?,
        ];
        // Only once the edge has the route.
        for (metric, name, peer) in [
            ("frontend20_vs_unleash_edge", "frontend20", "unleash20"),
            ("frontend1000_vs_unleash_edge", "frontend1000", "unleash1000"),
        ] {
            if self.of(name).is_some() {
                metrics.push(ratio(metric, name, peer)?);
            }
        }
        Ok(metrics)
    }

    fn rates(&self) -> Vec<Metric> {
        let names = [
            ("hello_rps", "hello"),
            ("single_rps", "single"),
            ("bulk20_rps", "bulk20"),
            ("bulk1000_rps", "bulk1000"),
            ("unleash_edge20_rps", "unleash20"),
            ("unleash_edge1000_rps", "unleash1000"),
        ];
        let rate = |(metric, name)| {
            self.of(name).map(|figures| Metric::new(metric, median(figures), "requests/core-s"))
        };
        names.into_iter().filter_map(rate).collect()
    }
}

#[expect(clippy::print_stdout, reason = "this is the command's result")]
fn print_table(slots: &[Slot], figures: &Figures) {
    println!("\nrequests per second of one core, median [min – max]; {LARGE} flags unless a name says 20");
    for (slot, (_, measured)) in slots.iter().zip(&figures.0) {
        let min = measured.iter().copied().fold(f64::INFINITY, f64::min);
        let max = measured.iter().copied().fold(0.0, f64::max);
        println!("  {:<14}{:<52}{:>9.0} [{min:.0} – {max:.0}]", slot.name, slot.what, median(measured));
    }
}

/// Memory a process holds now.
pub(super) fn rss_mib(process_id: u32) -> Result<f64> {
    let output = Command::new("ps").args(["-o", "rss=", "-p", &process_id.to_string()]).output()?;
    let kib: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("reading ps's answer")?;
    Ok(kib / 1_024.0)
}
