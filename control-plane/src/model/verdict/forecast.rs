//! When a comparison has what it waits for, at the present rate. Pure; decides nothing.

use super::{ArmTotal, EVENT_COUNT_MIN, Finding, Look, Reading, Recent};
use flagfuse_stats::classic;

/// When what is missing will be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forecast {
    /// After so many milliseconds, if they come as they do now.
    In(u64),
    /// None came lately.
    Unknown,
    /// The window slides on before they are enough: it holds so many.
    Never(u64),
}

/// What an arm or both have, what they need, and what came lately.
struct Row {
    has: u64,
    needs: u64,
    came: u64,
}

/// For a finding that lacks something; units for all but the one that lacks events.
pub(super) fn forecast(
    look: &Look<'_>,
    finding: Finding,
    reading: &Reading,
    recent: Option<&Recent>,
) -> Forecast {
    let Some(recent) = recent.filter(|recent| recent.span_ms > 0) else { return Forecast::Unknown };
    let now = &recent.reading;
    let units = |arm: ArmTotal| arm.units;
    let events = |arm: ArmTotal| arm.events;
    let row = |has, needs, came| Row { has, needs, came };
    let (min_sample, min_units) = (look.policy.min_sample, classic::units_for(look.policy.min_confidence));
    let rows = if finding == Finding::TooFewEvents {
        vec![row(both(reading, events), EVENT_COUNT_MIN, both(now, events))]
    } else {
        vec![
            row(reading.exposed.units, min_sample, now.exposed.units),
            row(reading.control.units, min_sample, now.control.units),
            row(both(reading, units), min_units, both(now, units)),
        ]
    };
    longest(&rows, recent.span_ms, look.policy.window_ms())
}

fn both(reading: &Reading, of: impl Fn(ArmTotal) -> u64) -> u64 {
    of(reading.exposed) + of(reading.control)
}

fn longest(rows: &[Row], span_ms: u64, window_ms: u64) -> Forecast {
    let mut longest_ms = 0;
    for Row { has, needs, came } in rows {
        let missing = needs.saturating_sub(*has);
        if missing == 0 {
            continue;
        }
        if *came == 0 {
            return Forecast::Unknown;
        }
        let held = scaled(*came, window_ms, span_ms);
        if held < *needs {
            return Forecast::Never(held);
        }
        longest_ms = longest_ms.max(scaled(missing, span_ms, *came));
    }
    Forecast::In(longest_ms)
}

/// `number · by / of`, rounded down; `of` is above 0.
fn scaled(number: u64, by: u64, of: u64) -> u64 {
    let wide = u128::from(number) * u128::from(by) / u128::from(of.max(1));
    u64::try_from(wide).unwrap_or(u64::MAX)
}
