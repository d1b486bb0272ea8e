//! Service level objectives of an environment: what counts as a request, what counts against it, and how much of that is
//! affordable. Checked field by field at the door. Pure.

pub mod alarm;
mod burn;
mod counts;

use flagfuse_cells::{OutcomesFrom, Source};
use flagfuse_shared::ids::{MetricKey, UnixMillis};
use flagfuse_shared::strict::{self, Misfit};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::burn::{Alert, Condition, Judged, Level, Preset, REQUEST_COUNT_MIN, Standing, judge, worst};
pub use self::counts::{Counts, HOUR_MS, HOURS_KEPT_MS, MINUTE_MS, MINUTES_KEPT_MS, Silence, Span, Sum};
use crate::model::metric::{ERROR_METRIC, LATENCY_METRIC};

/// SLOs of one environment: each event is compared with all of them.
pub const SLO_COUNT_MAX: usize = 32;
/// Bytes of an SLO's name.
pub const NAME_LEN_MAX: usize = 64;
/// Bytes of a description, a reason or a link.
pub const TEXT_LEN_MAX: usize = 512;
/// A suppression is for a deploy, not for good.
pub const SILENCE_MS_MAX: u64 = 24 * HOUR_MS;
/// Millionths of a value's unit, or of a millisecond.
const MICROS: f64 = 1_000_000.0;

/// An objective and how people hear that it is missed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// What is measured.
    pub sli: Sli,
    /// Share of requests that have to be good, percent, above 0 and below 100; absent of a cost alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective_percent: Option<f64>,
    /// Over how many days, 7 ..= 90.
    #[serde(default = "window_days")]
    pub window_days: u64,
    /// When people hear of it.
    #[serde(default)]
    pub alerts: Preset,
    /// Whose outcomes count.
    #[serde(default = "server")]
    pub outcomes_from: OutcomesFrom,
    /// Where people who are woken up find what to do; the project's own page of each alarm when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What is measured, in outcomes by their names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sli {
    pub kind: SliKind,
    /// The outcome that comes once for each request.
    #[serde(default = "requests")]
    pub requests: String,
    /// `errors`: the outcome of a request that failed; `error` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad: Option<String>,
    /// `availability`: the outcome of a request that went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<String>,
    /// `latency`: milliseconds above which a request counts as bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above_ms: Option<f64>,
    /// `cost`: the outcome whose value is what a request cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// `cost`: what a request may cost on average, in the unit of those values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
}

/// What counts against the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SliKind {
    /// Requests that failed, by an outcome of their own.
    Errors,
    /// Requests whose value is above a bound.
    Latency,
    /// Requests without the outcome that says that they went well.
    Availability,
    /// What requests cost, against what they may cost.
    Cost,
}

const fn window_days() -> u64 {
    30
}

const fn server() -> OutcomesFrom {
    OutcomesFrom::Server
}

fn requests() -> String {
    LATENCY_METRIC.to_owned()
}

/// Why something is no SLO, or no suppression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SloFault {
    /// Not the shape of one.
    #[error("{}", .0.of("the SLO"))]
    Shape(Misfit),
    /// A number or text outside its limits.
    #[error("{field} is {found}, allowed is {allowed}")]
    OutOfRange {
        field: &'static str,
        found: String,
        /// The limits in words.
        allowed: &'static str,
    },
    /// A kind needs it.
    #[error("{field} is missing: {why}")]
    Missing { field: &'static str, why: &'static str },
    /// A kind does not know it.
    #[error("{field} says nothing of the kind {kind}: leave it out")]
    Idle { field: &'static str, kind: &'static str },
}

fn outside(field: &'static str, found: impl ToString, allowed: &'static str) -> SloFault {
    SloFault::OutOfRange { field, found: found.to_string(), allowed }
}

impl SliKind {
    /// The word used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::Availability => "availability",
            Self::Cost => "cost",
        }
    }
}

/// A name of an SLO: it stands in paths.
pub fn check_name(name: &str) -> Result<(), SloFault> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if (1..=NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(());
    }
    Err(outside("name", format!("{name:?}"), "1 to 64 of a to z, 0 to 9, -, _ and ."))
}

/// A text for people.
pub fn check_text(field: &'static str, text: &str) -> Result<(), SloFault> {
    if text.len() <= TEXT_LEN_MAX {
        return Ok(());
    }
    Err(outside(field, format!("{} bytes long", text.len()), "at most 512 bytes"))
}

impl Slo {
    /// Reads and checks an SLO; the first fault found is returned.
    pub fn parse(value: &Value) -> Result<Self, SloFault> {
        let slo: Self = strict::from_value(value).map_err(SloFault::Shape)?;
        slo.check()?;
        Ok(slo)
    }

    fn check(&self) -> Result<(), SloFault> {
        self.sli.check()?;
        match (self.sli.kind, self.objective_percent) {
            (SliKind::Cost, Some(_)) => {
                return Err(SloFault::Idle { field: "objective_percent", kind: "cost" });
            }
            (SliKind::Cost, None) => {}
            (_, None) => {
                let why = "the share of requests that have to be good, such as 99.9";
                return Err(SloFault::Missing { field: "objective_percent", why });
            }
            (_, Some(percent)) if !(50.0..=99.9999).contains(&percent) => {
                return Err(outside("objective_percent", percent, "50 to 99.9999"));
            }
            (_, Some(_)) => {}
        }
        if !(7..=90).contains(&self.window_days) {
            return Err(outside("window_days", self.window_days, "7 to 90"));
        }
        check_text("description", self.description.as_deref().unwrap_or_default())?;
        let Some(link) = &self.runbook else { return Ok(()) };
        check_text("runbook", link)?;
        let is_link = link.starts_with("https://") || link.starts_with("http://");
        if is_link && link.chars().all(|c| c.is_ascii_graphic()) {
            return Ok(());
        }
        Err(outside("runbook", format!("{link:?}"), "a link that begins with https:// or http://"))
    }

    /// How long the window of the budget is.
    pub const fn window_ms(&self) -> u64 {
        self.window_days * 24 * HOUR_MS
    }

    /// What a request may spend on average: a share of bad ones, or a cost.
    pub fn budget(&self) -> f64 {
        match self.objective_percent {
            // To the digits that people write: 100 − 99.9 is not quite 0.1 in binary.
            Some(percent) => ((100.0 - percent) * 1e9).round() / 1e11,
            None => self.sli.at_most.unwrap_or(f64::INFINITY),
        }
    }

    /// What requests have spent: bad ones, or their cost.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub fn spent(&self, sum: Sum) -> f64 {
        match self.sli.kind {
            // One that says so itself is no second request.
            SliKind::Errors | SliKind::Latency => sum.counted.min(sum.requests) as f64,
            SliKind::Availability => sum.requests.saturating_sub(sum.counted) as f64,
            SliKind::Cost => sum.counted as f64 / MICROS,
        }
    }

    /// How many times as fast as affordable the budget is spent; `None` without a request.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub fn burn(&self, sum: Sum) -> Option<f64> {
        (sum.requests > 0).then(|| self.spent(sum) / (sum.requests as f64 * self.budget()))
    }

    /// The share of the budget that is left for the requests that came; below 0 where more was spent. Whole without any.
    pub fn left(&self, sum: Sum) -> f64 {
        1.0 - self.burn(sum).unwrap_or(0.0)
    }

    /// Whether outcomes that this source vouches for count.
    pub const fn counts_from(&self, source: Source) -> bool {
        match (self.outcomes_from, source) {
            (OutcomesFrom::Any, _) | (OutcomesFrom::Server, Source::Server | Source::Edge) => true,
            (OutcomesFrom::Server, Source::Client | Source::Open) => false,
        }
    }

    /// Alerts that can never come: no window can burn that fast.
    pub fn mute_alerts(&self) -> Vec<&'static str> {
        let fastest = if self.objective_percent.is_some() { 1.0 / self.budget() } else { f64::INFINITY };
        let alerts = self.alerts.alerts(self.window_ms());
        let is_mute = |alert: &&Alert| match alert.condition {
            Condition::Burn { factor, .. } => factor > fastest,
            Condition::Budget { .. } => false,
        };
        alerts.iter().filter(is_mute).map(|alert| alert.name).collect()
    }
}

impl Sli {
    fn check(&self) -> Result<(), SloFault> {
        let kind = self.kind.as_str();
        let own: &[&str] = match self.kind {
            SliKind::Errors => &["bad"],
            SliKind::Latency => &["above_ms"],
            SliKind::Availability => &["good"],
            SliKind::Cost => &["cost", "at_most"],
        };
        let given = [
            ("bad", self.bad.is_some()),
            ("good", self.good.is_some()),
            ("above_ms", self.above_ms.is_some()),
            ("cost", self.cost.is_some()),
            ("at_most", self.at_most.is_some()),
        ];
        for (name, is_given) in given {
            let field = match name {
                "bad" => "sli.bad",
                "good" => "sli.good",
                "above_ms" => "sli.above_ms",
                "cost" => "sli.cost",
                _ => "sli.at_most",
            };
            match (own.contains(&name), is_given) {
                (false, true) => return Err(SloFault::Idle { field, kind }),
                // An error is called `error` unless somebody says otherwise.
                (true, false) if name != "bad" => {
                    return Err(SloFault::Missing { field, why: needs(self.kind) });
                }
                _ => {}
            }
        }
        for (field, bound) in [("sli.above_ms", self.above_ms), ("sli.at_most", self.at_most)] {
            let is_sound = bound.is_none_or(|bound| bound > 0.0 && bound <= 1e9);
            if !is_sound {
                return Err(outside(field, bound.unwrap_or_default(), "above 0, up to 1,000,000,000"));
            }
        }
        let named = [("sli.requests", Some(self.requests.as_str())), ("sli.bad", self.bad.as_deref())];
        let named =
            named.into_iter().chain([("sli.good", self.good.as_deref()), ("sli.cost", self.cost.as_deref())]);
        for (field, metric) in named.filter_map(|(field, metric)| Some((field, metric?))) {
            if MetricKey::parse(metric).is_err() {
                return Err(outside(field, format!("{metric:?}"), "the name of an outcome"));
            }
        }
        if self.other() == Some(self.requests.as_str()) && self.kind != SliKind::Cost {
            return Err(outside(
                "sli.requests",
                format!("{:?}", self.requests),
                "another outcome than the one compared with it",
            ));
        }
        Ok(())
    }

    /// The outcome beside `requests`.
    fn other(&self) -> Option<&str> {
        match self.kind {
            SliKind::Errors => Some(self.bad.as_deref().unwrap_or(ERROR_METRIC)),
            SliKind::Latency => None,
            SliKind::Availability => self.good.as_deref(),
            SliKind::Cost => self.cost.as_deref(),
        }
    }

    /// The outcomes that it counts, each once.
    pub fn metrics(&self) -> impl Iterator<Item = &str> {
        let other = self.other().filter(|other| *other != self.requests);
        std::iter::once(self.requests.as_str()).chain(other)
    }

    /// What an outcome adds; nothing, where it is not one of [`Self::metrics`].
    pub fn count(&self, metric: &str, value_micros: Option<i64>) -> Sum {
        let is_other = self.other() == Some(metric);
        let counted = match self.kind {
            SliKind::Errors | SliKind::Availability => u64::from(is_other),
            SliKind::Latency => u64::from(metric == self.requests && self.is_slow(value_micros)),
            SliKind::Cost if is_other => value_micros.map_or(0, |micros| u64::try_from(micros).unwrap_or(0)),
            SliKind::Cost => 0,
        };
        Sum { requests: u64::from(metric == self.requests), counted }
    }

    #[expect(clippy::cast_precision_loss, reason = "a latency is far below 2^53 millionths")]
    fn is_slow(&self, value_micros: Option<i64>) -> bool {
        let (Some(micros), Some(above_ms)) = (value_micros, self.above_ms) else { return false };
        micros as f64 > above_ms * MICROS
    }
}

const fn needs(kind: SliKind) -> &'static str {
    match kind {
        SliKind::Errors => "the outcome of a request that failed",
        SliKind::Latency => "the milliseconds above which a request counts as bad",
        SliKind::Availability => "the outcome of a request that went well",
        SliKind::Cost => "a cost names the outcome whose value it is, and what a request may cost on average",
    }
}

/// A declared window in which alarms are silent, as users write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suppression {
    /// When it begins; now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<UnixMillis>,
    /// When it is over.
    pub to_ms: UnixMillis,
    /// What happens meanwhile, for people.
    pub reason: String,
    /// The only SLO that it is about; all of the environment when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<String>,
}

impl Suppression {
    /// The window, checked. One may begin a little before it is declared, and is never over by then.
    pub fn window(&self, now: UnixMillis) -> Result<Silence, SloFault> {
        let from = self.from_ms.unwrap_or(now);
        if self.reason.trim().is_empty() {
            return Err(SloFault::Missing { field: "reason", why: "people ask why nobody was woken up" });
        }
        check_text("reason", &self.reason)?;
        if let Some(name) = &self.slo {
            check_name(name)?;
        }
        if self.to_ms <= now || self.to_ms <= from {
            return Err(outside("to_ms", self.to_ms.0, "a time after now and after from_ms"));
        }
        if self.to_ms.since(from) > SILENCE_MS_MAX {
            return Err(outside("to_ms", self.to_ms.0, "at most 24 hours after from_ms"));
        }
        Ok(Silence { from_ms: from.0, to_ms: self.to_ms.0 })
    }
}

#[cfg(test)]
mod tests;
