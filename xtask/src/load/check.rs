//! Whether what was counted is what was promised: every person once, in one arm; every outcome once; the balance even.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Totals;
use crate::attack::{TARGET, environment_path, flag_path};
use crate::http::Client;
use crate::wait::eventually;

/// How long the last events may take into a closed cell, on a machine that does much else.
const PATIENCE: Duration = Duration::from_mins(3);
/// What a metric is called whose units are the enrolled ones themselves.
const ENROLLED: &str = "exposure";

/// What may be counted beyond what was promised: people whose last request had no answer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outstanding {
    pub(crate) people: u64,
}

/// Waits until everything that was promised is in closed cells, and refuses anything else that is.
pub(crate) fn check(admin: &Client, totals: &Totals, outstanding: Outstanding) -> Result<()> {
    let in_cells = |metric: &str, slice: &str, promised: u64| -> Result<()> {
        let most = promised + outstanding.people;
        eventually(&format!("{promised} units of {metric} in slice {slice} are counted"), PATIENCE, || {
            let counted = units(admin, metric, slice)?;
            ensure!(counted >= promised, "{counted} of {promised}");
            Ok(())
        })?;
        let counted = units(admin, metric, slice)?;
        ensure!(counted <= most, "{counted} units of {metric} in slice {slice}, promised were {promised}");
        Ok(())
    };
    in_cells(ENROLLED, "all", totals.enrolled)?;
    in_cells(ENROLLED, "bot", totals.bots)?;
    for metric in ["conversion", "error", "latency_ms"] {
        in_cells(metric, "all", totals.outcomes.get(metric).copied().unwrap_or(0))?;
    }
    balance(admin, totals)
}

/// Units of both arms.
fn units(admin: &Client, metric: &str, slice: &str) -> Result<u64> {
    let cells = admin.get(&format!("{}/cells?sum=true", flag_path(TARGET)))?.ok()?;
    let sums = cells["sums"].as_array().cloned().unwrap_or_default();
    let own = sums.iter().filter(|sum| sum["metric"] == metric && sum["slice"] == slice);
    Ok(own.filter_map(|sum| sum["units"].as_u64()).sum())
}

fn balance(admin: &Client, totals: &Totals) -> Result<()> {
    eventually("everything that was acknowledged has arrived, and the balance is even", PATIENCE, || {
        let balance = admin.get(&format!("{}/balance", environment_path()))?.ok()?;
        let minutes = balance["minutes"].as_array().cloned().unwrap_or_default();
        let sum = |name: &str| -> u64 { minutes.iter().filter_map(|minute| minute[name].as_u64()).sum() };
        let [received, stored, duplicate, quarantined] =
            ["received", "stored", "duplicate", "quarantined"].map(sum);
        ensure!(received == stored + duplicate + quarantined, "it is off: {balance}");
        ensure!(received >= totals.events, "{received} received, {} acknowledged", totals.events);
        ensure!(
            quarantined >= totals.malformed + totals.early,
            "{quarantined} in the quarantine, {} belong there",
            totals.malformed + totals.early
        );
        Ok(())
    })
}
