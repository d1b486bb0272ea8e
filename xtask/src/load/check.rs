//! Whether what was counted is what was promised: every person once, in one arm; every outcome once; the balance even.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::{Load, Totals};
use crate::attack::{Accounts, Ground, TARGET, accounts};
use crate::wait::eventually;

/// How long the last events may take into a closed cell, on a machine that does much else.
const PATIENCE: Duration = Duration::from_mins(6);
/// Slots of a phase that is older than ten minutes are a minute long at least, and close with a tick of five seconds.
const SLOT: Duration = Duration::from_secs(70);
/// What a metric is called whose units are the enrolled ones themselves.
const ENROLLED: &str = "exposure";

/// What became of what was promised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checked {
    /// Units and outcomes that were promised and are counted, each once.
    pub(crate) counted: u64,
    /// Those that are not.
    pub(crate) lost: u64,
    /// Those beyond what was promised.
    pub(crate) double_counted: u64,
    /// Events that arrived at the control plane, repeated ones too.
    pub(crate) received: u64,
    pub(crate) quarantined: u64,
}

impl Checked {
    /// For people.
    pub(crate) fn told(&self) -> String {
        let Self { counted, lost, double_counted, received, quarantined } = self;
        format!(
            "{counted} units and outcomes are counted once, {lost} are lost, {double_counted} counted twice; of {received} events that arrived, {quarantined} are in the quarantine, and the balance is even"
        )
    }
}

/// Waits until everything that was promised is in closed cells, and refuses anything else that is.
pub(crate) fn check(ground: &Ground, load: &Load) -> Result<Checked> {
    let filled: Cell<Option<Instant>> = Cell::new(None);
    eventually("everything that was promised is counted", PATIENCE, || {
        let rows = rows(&ground.sums(TARGET)?, &load.totals());
        let lost: Vec<String> = rows.iter().filter(|row| row.lost() > 0).map(Row::told).collect();
        if lost.is_empty() {
            return Ok(());
        }
        // Where the open slot does not close in time, others join it.
        if filled.get().is_none_or(|at| at.elapsed() > SLOT) {
            load.fill_the_slot()?;
            filled.set(Some(Instant::now()));
        }
        bail!("{}", lost.join(", "))
    })?;
    let totals = load.totals();
    let accounts =
        eventually("what was acknowledged has arrived, and the balance is even", PATIENCE, || {
            let accounts = accounts(&ground.admin)?;
            let Accounts { received, quarantined, .. } = accounts;
            ensure!(received >= totals.events, "{received} received, {} acknowledged", totals.events);
            ensure!(
                quarantined >= totals.malformed + totals.early,
                "{quarantined} in the quarantine, {} belong there",
                totals.malformed + totals.early
            );
            Ok(accounts)
        })?;
    let rows = rows(&ground.sums(TARGET)?, &totals);
    let wrong: Vec<String> = rows.iter().filter(|row| row.counted != row.promised).map(Row::told).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join(", "));
    Ok(Checked {
        counted: rows.iter().map(|row| row.counted).sum(),
        lost: rows.iter().map(Row::lost).sum(),
        double_counted: rows.iter().map(Row::double_counted).sum(),
        received: accounts.received,
        quarantined: accounts.quarantined,
    })
}

/// One metric in one slice: units of both arms.
struct Row {
    metric: &'static str,
    slice: &'static str,
    promised: u64,
    counted: u64,
}

impl Row {
    const fn lost(&self) -> u64 {
        self.promised.saturating_sub(self.counted)
    }

    const fn double_counted(&self) -> u64 {
        self.counted.saturating_sub(self.promised)
    }

    fn told(&self) -> String {
        let Self { metric, slice, promised, counted } = self;
        format!("{counted} units of {metric} in slice {slice}, promised were {promised}")
    }
}

fn rows(sums: &[Value], totals: &Totals) -> Vec<Row> {
    let row = |metric: &'static str, slice: &'static str, promised: u64| {
        let own = sums.iter().filter(|sum| sum["metric"] == metric && sum["slice"] == slice);
        Row { metric, slice, promised, counted: own.filter_map(|sum| sum["units"].as_u64()).sum() }
    };
    let outcome = |name: &'static str| row(name, "all", totals.outcomes.get(name).copied().unwrap_or(0));
    vec![
        row(ENROLLED, "all", totals.enrolled),
        row(ENROLLED, "bot", totals.bots),
        outcome("conversion"),
        outcome("error"),
        outcome("latency_ms"),
    ]
}
