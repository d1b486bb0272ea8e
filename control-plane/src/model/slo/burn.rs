//! Alerts over two windows each, and how each of them moves: a long window says that it matters, a short one that it still
//! goes on. What fires is calm only well below its limit and for a while, so that nothing flaps. Pure.
//!
//! Preset `sre`: the pairs of Google's "The Site Reliability Workbook", chapter "Alerting on SLOs", for a window of 30 days;
//! rate = share of the budget × window ÷ long window. Preset `s4`: 4 and 1.5, and half of the budget.

use flagfuse_shared::ids::UnixMillis;
use serde::{Deserialize, Serialize};

use super::Slo;
use super::counts::{Counts, HOUR_MS, MINUTE_MS, Silence, Sum};

/// Requests in the short window below which nothing is alarming: one failure of three is no rate.
pub const REQUEST_COUNT_MIN: u64 = 20;
/// What fires is calm below this part of its limit.
const CALM: f64 = 0.8;
/// Comparisons are right to so many parts: 4/1000 ÷ 0.001 is 4.
const ROUNDING: f64 = 1e-9;

/// What somebody hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing.
    Ok,
    /// Nothing, although it would be more: somebody declared so.
    Suppressed,
    /// Somebody should look within the day.
    Inform,
    /// Somebody is woken up.
    Page,
}

impl Level {
    /// The word used in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Suppressed => "suppressed",
            Self::Inform => "inform",
            Self::Page => "page",
        }
    }

    /// Back from the word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Ok, Self::Suppressed, Self::Inform, Self::Page]
            .into_iter()
            .find(|level| level.as_str() == word)
    }

    const fn fires(self) -> bool {
        matches!(self, Self::Inform | Self::Page)
    }
}

/// Which alerts an SLO has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Parts of the budget: 2 % in an hour and 5 % in six wake somebody up, 10 % in one or three days are told.
    #[default]
    Sre,
    /// Four times as fast as affordable wakes somebody up, one and a half times is told, and so is half of the budget.
    S4,
}

/// One reason to alarm somebody.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alert {
    pub name: &'static str,
    /// What it comes to.
    pub level: Level,
    pub condition: Condition,
}

/// What it takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Condition {
    /// Both windows burn at least so many times as fast as affordable.
    Burn { long_ms: u64, short_ms: u64, factor: f64 },
    /// So much of the budget is spent.
    Budget { share: f64 },
}

impl Preset {
    /// The word used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sre => "sre",
            Self::S4 => "s4",
        }
    }

    /// The alerts over a budget's window of this length.
    pub fn alerts(self, window_ms: u64) -> Vec<Alert> {
        let burn = |name, level, (long_ms, short_ms), factor| Alert {
            name,
            level,
            condition: Condition::Burn { long_ms, short_ms, factor },
        };
        let (hour, quarter, day, days) = (
            (HOUR_MS, 5 * MINUTE_MS),
            (6 * HOUR_MS, 30 * MINUTE_MS),
            (24 * HOUR_MS, 2 * HOUR_MS),
            (72 * HOUR_MS, 6 * HOUR_MS),
        );
        match self {
            Self::Sre => {
                let rate = |share: f64, (long_ms, _): (u64, u64)| rate(share, window_ms, long_ms);
                vec![
                    burn("page_fast", Level::Page, hour, rate(0.02, hour)),
                    burn("page_slow", Level::Page, quarter, rate(0.05, quarter)),
                    burn("inform_fast", Level::Inform, day, rate(0.1, day)),
                    burn("inform_slow", Level::Inform, days, rate(0.1, days)),
                ]
            }
            Self::S4 => {
                let budget = Condition::Budget { share: 0.5 };
                vec![
                    burn("page", Level::Page, hour, 4.0),
                    burn("inform", Level::Inform, quarter, 1.5),
                    Alert { name: "budget_half", level: Level::Inform, condition: budget },
                ]
            }
        }
    }
}

/// The rate that spends a share of the budget within a window. Nobody hears of one that is affordable.
#[expect(clippy::cast_precision_loss, reason = "lengths stay far below 2^53")]
fn rate(share: f64, window_ms: u64, long_ms: u64) -> f64 {
    (share * window_ms as f64 / long_ms as f64).max(1.0)
}

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub level: Level,
    pub since_ms: UnixMillis,
}

/// What a look at an alert came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    pub alert: Alert,
    /// How many times as fast as affordable the long window burns, or how much of the budget is spent; `None` without a
    /// request.
    pub long: Option<f64>,
    /// The same of the short window; of a budget, as `long`.
    pub short: Option<f64>,
    /// Requests in the short window.
    pub requests: u64,
    pub standing: Standing,
}

/// The loudest of some alerts, and since when.
pub fn worst<'s>(standings: impl IntoIterator<Item = &'s Standing>) -> Option<Standing> {
    let earliest = |standing: &&Standing| (standing.level, std::cmp::Reverse(standing.since_ms));
    standings.into_iter().max_by_key(earliest).copied()
}

/// Judges an alert by what was counted. `silences` are those that are about this SLO.
pub fn judge(
    slo: &Slo,
    alert: Alert,
    counts: &Counts,
    silences: &[Silence],
    before: Option<Standing>,
    now: UnixMillis,
) -> Judged {
    let is_silent = silences.iter().any(|silence| silence.covers(now));
    // What happened in a declared window alarms nobody afterwards either. While it is on, all of it is shown.
    let left_out = if is_silent { &[] } else { silences };
    let (long, short, requests, limit, stays_ms) = match alert.condition {
        Condition::Burn { long_ms, short_ms, factor } => {
            let (long, short) = (counts.over(now, long_ms, left_out), counts.over(now, short_ms, left_out));
            (slo.burn(long), slo.burn(short), short.requests, factor, short_ms)
        }
        Condition::Budget { share } => {
            let all = counts.over(now, slo.window_ms(), &[]);
            let spent = slo.burn(all).filter(|_| is_worth_something(slo, all));
            (spent, spent, all.requests, share, HOUR_MS)
        }
    };
    let reaches = |burn: Option<f64>, limit: f64| burn.is_some_and(|burn| burn >= limit * (1.0 - ROUNDING));
    let is_enough = requests >= REQUEST_COUNT_MIN;
    let is_over = is_enough && reaches(long, limit) && reaches(short, limit);
    let is_calm = !reaches(long, limit * CALM) || (is_enough && !reaches(short, limit * CALM));
    let before = before.unwrap_or(Standing { level: Level::Ok, since_ms: now });
    let went_on = before.level.fires() || (before.level == Level::Suppressed && is_silent);
    let is_young = now.since(before.since_ms) < stays_ms;
    let fires = is_over || (went_on && (is_young || !is_calm));
    let level = match (fires, is_silent) {
        (false, _) => Level::Ok,
        (true, true) => Level::Suppressed,
        (true, false) => alert.level,
    };
    let since_ms = if level == before.level { before.since_ms } else { now };
    Judged { alert, long, short, requests, standing: Standing { level, since_ms } }
}

/// Whether the requests can afford one bad one at all: half of less than one failure is no failure.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn is_worth_something(slo: &Slo, sum: Sum) -> bool {
    slo.objective_percent.is_none() || sum.requests as f64 * slo.budget() >= 1.0
}
