//! The rule `s3` of a ramp, as its write-up has it: a gain that was observed and latency with room to its limit open the next stage,
//! up to half of the units. A gain by chance opens one too; what harms trips by evidence all the same. Pure.

use super::super::Look;
use crate::figures::{count, difference, percent};
use crate::model::evidence::Found;
use crate::model::metric::LATENCY_METRIC;
use crate::model::policy::{Compared, Direction, Guardrail};

/// Relative gain that opens a stage.
const GAIN: f64 = 0.015;
/// Samples above 0.8 of the limit: with so few the 95th percentile is at most there.
const CLOSE_MAX: f64 = 0.05;
/// Share of the units beyond which a person decides, in percent.
const EXPOSED_PERCENT_MAX: f64 = 50.0;

/// What a stage of that share waits for, whatever the guardrails say.
pub(super) fn person(exposed_percent: f64) -> Option<String> {
    (exposed_percent > EXPOSED_PERCENT_MAX)
        .then(|| format!("a person, since the rule s3 goes up to {EXPOSED_PERCENT_MAX} %"))
}

/// What a guardrail waits for.
pub(super) fn waits(
    look: &Look<'_>,
    at: usize,
    guardrail: &Guardrail,
    found: Option<&Found>,
) -> Option<String> {
    let metric = &guardrail.metric;
    match look.policy.compared(guardrail) {
        Compared::WithLimit(_) if metric == LATENCY_METRIC => {
            let close = found.and_then(|found| found.heard.close);
            let so_far = close.map_or_else(
                || "no sample was read".to_owned(),
                |close| format!("{} of the samples are above that, 5 % may be", percent(close)),
            );
            close
                .is_none_or(|close| close > CLOSE_MAX)
                .then(|| format!("{metric}: a 95th percentile of at most 0.8 of its limit ({so_far})"))
        }
        Compared::WithLimit(_) => super::limit(guardrail, found),
        Compared::WithControl if guardrail.direction == Direction::DecreaseIsHarm => {
            gain(look, at, metric, found.and_then(|found| found.heard.change))
        }
        Compared::WithControl | Compared::Values => None,
    }
}

fn gain(look: &Look<'_>, at: usize, metric: &str, change: Option<f64>) -> Option<String> {
    let (needed, reading) = (look.policy.min_sample, look.readings.get(at).copied().unwrap_or_default());
    let smaller = reading.exposed.units.min(reading.control.units);
    if smaller < needed {
        let needed = count(needed, "unit");
        return Some(format!(
            "{metric}: {needed} of this stage in each arm, {} by now",
            crate::figures::grouped(smaller)
        ));
    }
    let so_far = change.map_or_else(
        || "there is no ratio yet".to_owned(),
        |change| format!("{} by now", difference(change)),
    );
    change
        .is_none_or(|change| change < GAIN)
        .then(|| format!("{metric}: a gain of {} ({so_far})", percent(GAIN)))
}
