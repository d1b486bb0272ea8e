//! Whether what was counted is what was promised: every person once, in one arm; every outcome once; the balance even.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Totals;
use crate::attack::{Accounts, Ground, TARGET, accounts};
use crate::wait::eventually;

/// How long the last events may take into a closed cell, on a machine that does much else.
const PATIENCE: Duration = Duration::from_mins(3);
/// What a metric is called whose units are the enrolled ones themselves.
const ENROLLED: &str = "exposure";

/// Waits until everything that was promised is in closed cells, and refuses anything else that is.
pub(crate) fn check(ground: &Ground, totals: &Totals) -> Result<()> {
    let in_cells = |metric: &str, slice: &str, promised: u64| -> Result<()> {
        eventually(&format!("{promised} units of {metric} in slice {slice} are counted"), PATIENCE, || {
            let counted = units(ground, metric, slice)?;
            ensure!(counted >= promised, "{counted} of {promised}");
            Ok(())
        })?;
        let counted = units(ground, metric, slice)?;
        ensure!(
            counted == promised,
            "{counted} units of {metric} in slice {slice}, promised were {promised}"
        );
        Ok(())
    };
    in_cells(ENROLLED, "all", totals.enrolled)?;
    in_cells(ENROLLED, "bot", totals.bots)?;
    for metric in ["conversion", "error", "latency_ms"] {
        in_cells(metric, "all", totals.outcomes.get(metric).copied().unwrap_or(0))?;
    }
    eventually("everything that was acknowledged has arrived, and the balance is even", PATIENCE, || {
        let Accounts { received, quarantined } = accounts(&ground.admin)?;
        ensure!(received >= totals.events, "{received} received, {} acknowledged", totals.events);
        ensure!(
            quarantined >= totals.malformed + totals.early,
            "{quarantined} in the quarantine, {} belong there",
            totals.malformed + totals.early
        );
        Ok(())
    })
}

/// Units of both arms.
fn units(ground: &Ground, metric: &str, slice: &str) -> Result<u64> {
    let sums = ground.sums(TARGET)?;
    let own = sums.iter().filter(|sum| sum["metric"] == metric && sum["slice"] == slice);
    Ok(own.filter_map(|sum| sum["units"].as_u64()).sum())
}
