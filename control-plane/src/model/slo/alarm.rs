//! What people are told of an alert that moves: under which word, in which sentence, and where they find what to do. Pure.

use super::Slo;
use super::burn::{Alert, Condition, Judged, Level, Standing};
use crate::figures::{count, percent, span};

/// Where the project's own pages are.
const RUNBOOK: &str = "docs/runbook.md";

/// The word of a move, for notices and the audit trail; none of one that nobody has to hear of.
pub const fn kind(from: Level, to: Level) -> Option<&'static str> {
    match (from, to) {
        (_, Level::Page) => Some("slo.page"),
        (_, Level::Inform) => Some("slo.inform"),
        (Level::Page | Level::Inform, Level::Suppressed) => Some("slo.suppressed"),
        (Level::Page | Level::Inform, Level::Ok) => Some("slo.over"),
        (Level::Ok | Level::Suppressed, Level::Ok | Level::Suppressed) => None,
    }
}

/// What to do about an alert: the objective's own page, or the section of ours.
pub fn runbook(slo: &Slo, alert: Alert) -> String {
    let section = match (alert.condition, alert.level) {
        (Condition::Budget { .. }, _) => "slo-budget",
        (Condition::Burn { .. }, Level::Page) => "slo-page",
        (Condition::Burn { .. }, _) => "slo-inform",
    };
    slo.runbook.clone().unwrap_or_else(|| format!("{RUNBOOK}#{section}"))
}

/// Why an alert is where it is.
pub fn sentence(name: &str, judged: &Judged, before: Standing) -> String {
    let Judged { alert, long, short, requests, standing } = judged;
    let burn =
        |burn: &Option<f64>| burn.map_or_else(|| "nothing".to_owned(), |burn| format!("{burn:.1} times"));
    let said = match alert.condition {
        Condition::Burn { long_ms, short_ms, factor } => format!(
            "The budget of {name} burns {} as fast as it can afford over {} and {} over {} ({}), limit {factor:.1}",
            burn(long),
            span(long_ms),
            burn(short),
            span(short_ms),
            count(*requests, "request"),
        ),
        Condition::Budget { share } => format!(
            "{} of the budget of {name} are spent, limit {}",
            percent(long.unwrap_or_default()),
            percent(share),
        ),
    };
    match standing.level {
        Level::Page => {
            format!("{said}: a platform incident. No ramp and no recovery goes on, and no flag is blamed.")
        }
        Level::Inform => format!("{said}."),
        Level::Suppressed => format!("{said}, within a declared window: nobody is alarmed."),
        Level::Ok => format!("{said}: over after {}.", span(standing.since_ms.since(before.since_ms))),
    }
}
