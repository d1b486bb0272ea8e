//! Revenue with a heavy tail: a guardrail on values, heard and judged as the engine does, on bins that a history has fixed.

use anyhow::{Context as _, Result};
use flagfuse_cells::bins::{frozen_edges, value_bin, value_edges};
use serde_json::json;

use super::healthy::{FALSE_TRIPS, REPETITIONS, REPETITIONS_MAX, trips_by};
use super::policies::{Watch, shares, with};
use crate::cell::{Cell, Sample};
use crate::chance::Chance;
use crate::plane::{Plane, Setting};
use crate::traffic::{BEGIN_MS, Delay, Doing, HOUR_MS, Stream, Traffic, Value, by_arm};

const NAME: &str = "revenue";
const PAYERS: f64 = 0.02;
/// Of the logarithm of what a payer pays.
const SIGMA: f64 = 2.0;
/// Fewer by this much is harm.
const THETA: f64 = 0.3;
/// Payers of the history that fixes the bins.
const HISTORY: u64 = 2_000;
const HOURS: u64 = 14 * 24;

pub(super) fn cells() -> Result<Vec<Cell>> {
    Ok(vec![tails(0.2)?, tails(0.05)?, fewer_payers()?])
}

/// The bins of a phase, from a history of control units that others than the launch's made.
fn edges() -> Result<Vec<i64>> {
    let mut chance = Chance::new(11);
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..HISTORY {
        #[expect(clippy::cast_possible_truncation, reason = "millionths of what somebody pays")]
        let paid = ((SIGMA * chance.normal()).exp() * 1e6) as i64;
        *counts.entry(value_bin(value_edges(), paid)).or_default() += 1;
    }
    let counts: Vec<(u16, u64)> = counts.into_iter().collect();
    frozen_edges(value_edges(), &counts).context("too short a history")
}

/// Both arms pay the same unless `exposed_payers` says otherwise.
fn launches(share: f64, exposed_payers: f64, units_per_hour: f64) -> Result<impl Fn(u64) -> Result<Sample>> {
    let watch = Watch { metric: NAME, threshold: -THETA, baseline: None, weight: 1.0, within_s: None };
    let [exposure, control] = shares(share);
    let policy = with(&[watch], &[exposure, control, ("values", json!([NAME]))])?;
    let mut setting = Setting::first(policy, share);
    setting.edges.insert(NAME.to_owned(), edges()?);
    let paying = Doing {
        value: Value::Lognormal(0.0, SIGMA),
        ..Doing::once(NAME, by_arm(exposed_payers, PAYERS), Delay::Waiting(0, 4 * HOUR_MS))
    };
    // Amounts add up, so what comes twice is sorted out by its id before the ledger.
    let even = Traffic::even(units_per_hour, share, vec![paying]);
    let traffic = Traffic { diurnal: 0.4, lag_ms: 2_000, ..even };
    Ok(move |seed| {
        let mut plane = Plane::new(setting.clone(), &traffic, BEGIN_MS)?;
        let mut stream = Stream::new(&traffic, seed, BEGIN_MS, 0);
        let found = trips_by(&mut plane, &mut stream, BEGIN_MS + HOURS * HOUR_MS);
        #[expect(clippy::cast_precision_loss, reason = "units")]
        let exposed = found.map(|_| stream.exposed as f64);
        Ok(Sample { hit: found.is_some(), numbers: exposed.into_iter().collect() })
    })
}

pub(super) fn tails(share: f64) -> Result<Cell> {
    let of_share = share * 100.0;
    let what = format!(
        "A/A, lognormal revenue with σ = 2 of 2 % of the units, a guardrail on its values with θ = 30 %, bins fixed by a history, \
         {of_share} % exposed, 100 units an hour, 14 days"
    );
    Ok(Cell::new(format!("revenue-{of_share}"), what, REPETITIONS, launches(share, PAYERS, 100.0)?)
        .up_to(REPETITIONS_MAX)
        .bar(FALSE_TRIPS))
}

/// That it can trip at all.
fn fewer_payers() -> Result<Cell> {
    let what = "The same, 1:4, but only a third as many exposed units pay, 1,000 units an hour; printed";
    Ok(Cell::new("revenue-harm", what, 200, launches(0.2, PAYERS / 3.0, 1_000.0)?).number("exposed units"))
}
