//! Sizes of the arms: how often a sample ratio alarms without a reason, and how soon with one.

use anyhow::Result;

use super::policies::{Watch, one};
use crate::cell::{Bar, Cell, Sample};
use crate::plane::{Plane, Setting};
use crate::traffic::{BEGIN_MS, HOUR_MS, Stream, Traffic};

pub(super) fn cells() -> Result<Vec<Cell>> {
    let once = |exposed_share| Traffic::even(1_000.0, exposed_share, Vec::new());
    let clusters = Traffic { exposures: 5, lag_ms: 30_000, ..once(0.5) };
    Ok(vec![
        mismatch("srm-false", once(0.5), 30)?,
        mismatch("srm-clusters", clusters, 6)?,
        mismatch("srm-48", once(0.48), 200)?,
    ])
}

/// Arms of equal shares, of which one may get fewer units.
fn mismatch(name: &str, traffic: Traffic, hours: u64) -> Result<Cell> {
    let watch =
        Watch { metric: "activation", threshold: -0.05, baseline: None, weight: 1.0, within_s: Some(600) };
    let setting = Setting::first(one(watch, 0.5)?, 0.5);
    let is_even = (traffic.exposed_share - 0.5).abs() < 1e-9;
    let (of_share, exposures) = (traffic.exposed_share * 100.0, traffic.exposures);
    let launch = move |seed| {
        let mut plane = Plane::new(setting.clone(), &traffic, BEGIN_MS)?;
        let mut stream = Stream::new(&traffic, seed, BEGIN_MS, 0);
        let found = plane.run(&mut stream, BEGIN_MS + hours * HOUR_MS, |plane, _, _, closed| {
            let is_found = !closed.slots.is_empty() && plane.heed().is_some_and(|heed| heed.is_mismatch);
            is_found.then_some(plane.folded.0 + plane.folded.1)
        });
        #[expect(clippy::cast_precision_loss, reason = "units")]
        let units = found.map(|units| units as f64);
        Ok(Sample { hit: found.is_some(), numbers: units.into_iter().collect() })
    };
    let what = format!(
        "Equal shares of which {of_share} % are exposed, {exposures} exposures of each unit, looked at after each of some {} slots: alarms \
         of a sample ratio",
        hours * 48
    );
    let cell =
        Cell::new(name, what, if is_even { 10_000 } else { 2_000 }, launch).number("units of both arms");
    Ok(if is_even {
        cell.bar(Bar::Share { at_most: 0.001, upper: 0.0025 })
    } else {
        cell.bar(Bar::Quantile { number: 0, p: 0.5, at_most: 20_000.0 })
    })
}
