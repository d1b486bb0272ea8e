//! A fuse's policy as users write it, checked field by field at the door. Never holds state.

mod limits;
mod question;
mod ramp;
mod slices;

use flagfuse_cells::OutcomesFrom;
use flagfuse_shared::definition::{DimensionWire, FlagWire, Units};
use flagfuse_shared::flag::compile::percent_to_buckets;
use flagfuse_shared::ids::MetricKey;
use flagfuse_shared::strict::{self, Misfit};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::metric::{
    ERROR_METRIC, EXPOSURE_METRIC, LATENCY_METRIC, OTHER_METRIC, RETURN_METRIC, SESSION_METRIC,
};

pub use self::limits::{Compared, Rights};
pub use self::ramp::{Advance, RampPolicy, STAGE_COUNT_MAX, StagePolicy};
pub use self::slices::TripScope;

/// Metrics one fuse may watch.
pub const GUARDRAIL_COUNT_MAX: usize = 8;
/// Outcomes whose values one policy may add up.
pub const VALUE_COUNT_MAX: usize = 4;
/// Activities that one guardrail may name.
pub const ACTIVITY_COUNT_MAX: usize = 16;

/// Sample progress below which `classic` decides nothing, where a policy does not say.
pub const MIN_CONFIDENCE: f64 = 0.65;
/// Units of each arm below which it decides nothing, likewise.
pub const MIN_SAMPLE: u64 = 1_500;

const TEN_MINUTES_S: u64 = 600;
const HOUR_S: u64 = 3_600;
const WEEK_S: u64 = 7 * 24 * HOUR_S;

/// What a fuse watches and what it does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub mode: Mode,
    /// Served to the exposed slice.
    pub treatment_variation: String,
    /// Served to the control reserve, and to everybody once the fuse is open through the flag's default.
    pub control_variation: String,
    /// Share of units that see the feature, percent.
    pub exposure_percent: f64,
    /// Share of units reserved as control, percent.
    pub control_percent: f64,
    /// By which stages the feature grows; absent it stays at its shares. They are those of the first stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<RampPolicy>,
    /// What must not get worse.
    pub guardrails: Vec<Guardrail>,
    /// Outcomes whose values are added up for each unit, for their distribution. A guardrail of the mode `anytime` on one of them
    /// compares it; no rule of `classic` does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Sample progress, 0 ..= 1, below which nothing is decided.
    #[serde(default = "min_confidence")]
    pub min_confidence: f64,
    /// Units of each arm below which nothing is decided.
    #[serde(default = "min_sample")]
    pub min_sample: u64,
    /// Length of the sliding observation window.
    #[serde(default = "window_hours")]
    pub window_hours: u64,
    /// Weight of the newest window of five minutes in the moving averages of both arms' rates, whose delta is compared then; absent
    /// compares that of the rates themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema_alpha: Option<f64>,
    /// Seconds after an action in which no automatic one follows.
    #[serde(default = "cooldown_s")]
    pub cooldown_s: u64,
    /// Seconds after a phase began in which units are not enrolled: the change is still travelling.
    #[serde(default = "grace_s")]
    pub grace_s: u64,
    /// Share of units that see the feature while half open, percent.
    #[serde(default = "half_open_percent")]
    pub half_open_percent: f64,
    /// What it takes to try again.
    #[serde(default)]
    pub half_open: HalfOpenRule,
    /// By which attributes of the enrolling request units are counted apart as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<DimensionWire>,
    /// Which units enrol.
    #[serde(default, skip_serializing_if = "Units::is_any")]
    pub units: Units,
    /// Whose outcomes count.
    #[serde(default, skip_serializing_if = "OutcomesFrom::is_anybody")]
    pub outcomes_from: OutcomesFrom,
    /// `anytime`: everybody has the feature but the control share, which stays to be compared with for good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub promoted: bool,
    /// `anytime`: while an objective of the environment pages, a tenth of the evidence trips. Not covered by the error that a launch
    /// may spend.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
    /// `anytime`: whom a trip takes the feature from.
    #[serde(default, skip_serializing_if = "TripScope::is_all")]
    pub trip_scope: TripScope,
}

/// How two arms are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Smoothed rates against fixed thresholds, as the system did that this one follows.
    Classic,
    /// Evidence that may be looked at after every tick, at a bounded error for the whole launch.
    Anytime,
}

impl Mode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Anytime => "anytime",
        }
    }
}

/// What moves an open fuse to half open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HalfOpenRule {
    /// The tripped phase's units recover above the recovery threshold; closing needs the same of the probe.
    #[default]
    OnRecovery,
    /// The cooldown is over; closing needs a full sample without harm.
    AfterCooldown,
}

/// One metric that must not get worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guardrail {
    /// What is measured.
    pub metric: String,
    /// Which way is worse.
    pub direction: Direction,
    /// Relative change that trips: below 0 when a decrease is harm, above 0 when an increase is.
    pub threshold: f64,
    /// `anytime`: the metric's usual rate, for which the sizes of harm that are looked for are made; a wrong one costs time, never
    /// validity. 0.01 for `error` and 0.2 for others when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// `anytime`: the guardrail's part of the error that a launch may spend; all of them, or none, name one, and they sum to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// `anytime`: what the rate itself may be at most, or where fewer are harm at least; of `latency_ms` what its 95th percentile
    /// may be, in milliseconds. Absent compares with control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// `anytime`: what its evidence may do.
    #[serde(default, skip_serializing_if = "Rights::is_trip")]
    pub rights: Rights,
    /// Relative improvement that counts as recovered.
    #[serde(default = "recovery_threshold")]
    pub recovery_threshold: f64,
    /// Outcomes earlier than this after the first exposure do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_s: Option<u64>,
    /// Outcomes later than this after the first exposure do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_s: Option<u64>,
    /// The outcomes that show that a unit came back: of the metric `return` only, [`SESSION_METRIC`] when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activities: Option<Vec<String>>,
}

/// Which way is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Errors, latency.
    IncreaseIsHarm,
    /// Retention, conversion.
    DecreaseIsHarm,
}

/// When after the first exposure an outcome counts, in milliseconds: from `after_ms` up to, not including, `within_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutcomeWindow {
    /// First millisecond that counts.
    pub after_ms: u64,
    /// First millisecond that no longer counts.
    pub within_ms: u64,
}

/// The window of a metric no guardrail has changed: what goes wrong does so at once or for another reason, what people
/// do takes them up to a day, and coming back takes a day at least.
pub fn default_window(metric: &str) -> OutcomeWindow {
    let (after_s, within_s) = match metric {
        RETURN_METRIC => (24 * HOUR_S, WEEK_S),
        ERROR_METRIC | LATENCY_METRIC => (0, TEN_MINUTES_S),
        _ => (0, 24 * HOUR_S),
    };
    OutcomeWindow { after_ms: after_s * 1_000, within_ms: within_s * 1_000 }
}

impl Guardrail {
    /// When its outcomes count.
    pub fn window(&self) -> OutcomeWindow {
        let default = default_window(&self.metric);
        OutcomeWindow {
            after_ms: self.after_s.map_or(default.after_ms, |s| s * 1_000),
            within_ms: self.within_s.map_or(default.within_ms, |s| s * 1_000),
        }
    }

    /// How long after its enrolment a unit enters the denominator. Only a metric whose window starts later would
    /// otherwise call every young unit a loss.
    pub fn matures_after_ms(&self) -> u64 {
        let window = self.window();
        if window.after_ms > 0 { window.within_ms } else { 0 }
    }
}

/// Why a policy is refused. Messages name the field and its limits.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PolicyFault {
    /// Not the shape of a policy.
    #[error("{}", .0.of("the policy"))]
    Shape(Misfit),
    /// A mode that does not exist here.
    #[error("mode {found:?} is not available, available: classic, anytime")]
    Mode { found: String },
    /// A number or text outside its limits.
    #[error("{field} is {found}, allowed is {allowed}")]
    OutOfRange {
        field: String,
        found: String,
        /// The limits in words.
        allowed: String,
    },
    /// A variation the flag does not have.
    #[error("{field} names the variation {variation:?}, which the flag does not have")]
    UnknownVariation {
        field: &'static str,
        /// The missing name.
        variation: String,
    },
}

fn out_of_range(field: impl Into<String>, found: impl ToString, allowed: impl Into<String>) -> PolicyFault {
    PolicyFault::OutOfRange { field: field.into(), found: found.to_string(), allowed: allowed.into() }
}

impl Policy {
    /// Reads and checks a policy; the first fault found is returned.
    pub fn parse(mut value: Value) -> Result<Self, PolicyFault> {
        if let Some(mode) = value.get("mode").and_then(Value::as_str)
            && ![Mode::Classic, Mode::Anytime].iter().any(|known| known.as_str() == mode)
        {
            return Err(PolicyFault::Mode { found: mode.to_owned() });
        }
        ramp::fill(&mut value);
        let policy: Self = strict::from_value(&value).map_err(PolicyFault::Shape)?;
        policy.check()?;
        Ok(policy)
    }

    /// Checks it against the flag it is for.
    pub fn check_flag(&self, flag: &FlagWire) -> Result<(), PolicyFault> {
        let rows = [
            ("treatment_variation", &self.treatment_variation),
            ("control_variation", &self.control_variation),
        ];
        for (field, name) in rows {
            if !flag.variations.iter().any(|variation| &variation.key == name) {
                return Err(PolicyFault::UnknownVariation { field, variation: name.clone() });
            }
        }
        // An open fuse leaves its units to the default, which then has to be free of the feature.
        let Some(default) = &flag.default_variation else {
            let allowed = "a variation: the default in the code may be the feature";
            return Err(out_of_range("default_variation", "absent".to_owned(), allowed));
        };
        if self.treatment_variation == *default {
            let found = format!("{:?}, the flag's default_variation", self.treatment_variation);
            return Err(out_of_range("treatment_variation", found, "a variation that is not the default"));
        }
        // Switching the flag off must not switch the feature on.
        if flag.off_variation.as_ref() == Some(&self.treatment_variation) {
            let found = format!("{:?}, the flag's off_variation", self.treatment_variation);
            return Err(out_of_range("treatment_variation", found, "a variation that is not the off one"));
        }
        Ok(())
    }

    /// The outcomes that show that a unit came back under this policy.
    pub fn activities(&self) -> Vec<String> {
        let own = self.guardrails.iter().find(|guardrail| guardrail.metric == RETURN_METRIC);
        let named = own.and_then(|guardrail| guardrail.activities.clone());
        named.unwrap_or_else(|| vec![SESSION_METRIC.to_owned()])
    }

    /// The window of `metric` under this policy.
    pub fn window(&self, metric: &str) -> OutcomeWindow {
        let own = self.guardrails.iter().find(|guardrail| guardrail.metric == metric);
        own.map_or_else(|| default_window(metric), Guardrail::window)
    }

    /// Length of the observation window, milliseconds.
    pub const fn window_ms(&self) -> u64 {
        self.window_hours * HOUR_S * 1_000
    }

    fn check(&self) -> Result<(), PolicyFault> {
        if self.treatment_variation == self.control_variation {
            let found = format!("{:?}, as treatment_variation", self.control_variation);
            return Err(out_of_range("control_variation", found, "another variation"));
        }
        ramp::check(self)?;
        check_percent("exposure_percent", self.exposure_percent, 90.0)?;
        check_percent("control_percent", self.control_percent, 50.0)?;
        check_percent("half_open_percent", self.half_open_percent, 50.0)?;
        let sum = self.exposure_percent + self.control_percent;
        if sum > 100.0 {
            return Err(out_of_range("exposure_percent + control_percent", sum, "at most 100"));
        }
        check_number("min_confidence", self.min_confidence, 0.0, 1.0)?;
        check_whole("min_sample", self.min_sample, 1, 100_000_000)?;
        check_whole("window_hours", self.window_hours, 1, 720)?;
        check_whole("cooldown_s", self.cooldown_s, 0, 7 * 24 * HOUR_S)?;
        check_whole("grace_s", self.grace_s, 0, HOUR_S)?;
        if let Some(alpha) = self.ema_alpha {
            check_number("ema_alpha", alpha, 0.01, 1.0)?;
        }
        slices::check(&self.slices)?;
        slices::check_scope(self)?;
        self.check_guardrails()?;
        self.check_mode()?;
        limits::check(self)?;
        self.check_values()
    }

    /// The parts of the guardrails in the error that a launch may spend, in their order; 0 of those that only hold.
    pub fn weights(&self) -> Vec<f64> {
        let trips = self.guardrails.iter().filter(|guardrail| guardrail.rights.is_trip()).count();
        #[expect(clippy::cast_precision_loss, reason = "at most eight")]
        let equal = 1.0 / trips.max(1) as f64;
        let weight = |guardrail: &Guardrail| match guardrail.rights {
            Rights::Trip => guardrail.weight.unwrap_or(equal),
            Rights::Hold => 0.0,
        };
        self.guardrails.iter().map(weight).collect()
    }

    /// What only one of the modes has.
    fn check_mode(&self) -> Result<(), PolicyFault> {
        const SUM_OFF_MAX: f64 = 1e-9;
        if self.mode == Mode::Anytime {
            if let Some(alpha) = self.ema_alpha {
                return Err(out_of_range("ema_alpha", alpha, "for the mode classic only"));
            }
            if self.half_open == HalfOpenRule::AfterCooldown {
                let allowed = "on_recovery in the mode anytime, which tries again after the cooldown anyway";
                return Err(out_of_range("half_open", "after_cooldown", allowed));
            }
        }
        for (at, guardrail) in self.guardrails.iter().enumerate() {
            let field = |name: &str| format!("guardrails[{at}].{name}");
            for (name, found) in [("baseline", guardrail.baseline), ("weight", guardrail.weight)] {
                let Some(found) = found else { continue };
                if self.mode == Mode::Classic {
                    return Err(out_of_range(field(name), found, "for the mode anytime only"));
                }
                let (min, max) = if name == "baseline" { (1e-6, 0.9) } else { (0.001, 1.0) };
                check_number(&field(name), found, min, max)?;
            }
            if self.mode == Mode::Anytime {
                let max = match guardrail.direction {
                    Direction::DecreaseIsHarm => 0.9,
                    Direction::IncreaseIsHarm => 10.0,
                };
                if !(0.001..=max).contains(&guardrail.threshold.abs()) {
                    let allowed = format!("0.001 to {max} in size in the mode anytime");
                    return Err(out_of_range(field("threshold"), guardrail.threshold, allowed));
                }
                if guardrail.metric == LATENCY_METRIC && guardrail.direction == Direction::DecreaseIsHarm {
                    let allowed = "increase_is_harm for latency";
                    return Err(out_of_range(field("direction"), "decrease_is_harm", allowed));
                }
            }
        }
        let trips = || self.guardrails.iter().filter(|guardrail| guardrail.rights.is_trip());
        let given = trips().filter(|guardrail| guardrail.weight.is_some()).count();
        let sum: f64 = self.weights().iter().sum();
        if given > 0 && (given < trips().count() || (sum - 1.0).abs() > SUM_OFF_MAX) {
            let found = format!("given for {given} of {} guardrails, {sum} in sum", trips().count());
            return Err(out_of_range("weight", found, "for all of them or for none, and 1 in sum"));
        }
        Ok(())
    }

    fn check_values(&self) -> Result<(), PolicyFault> {
        const NONE: [&str; 4] = [LATENCY_METRIC, EXPOSURE_METRIC, OTHER_METRIC, RETURN_METRIC];
        let count = self.values.len();
        if count > VALUE_COUNT_MAX {
            let allowed = format!("at most {VALUE_COUNT_MAX} names");
            return Err(out_of_range("values", format!("a list of {count}"), allowed));
        }
        for (at, name) in self.values.iter().enumerate() {
            let field = format!("values[{at}]");
            MetricKey::parse(name).map_err(|e| out_of_range(&field, format!("{name:?}"), e.to_string()))?;
            if NONE.contains(&name.as_str()) {
                let allowed = "an outcome's own name whose values add up, such as \"revenue\"";
                return Err(out_of_range(field, format!("{name:?}"), allowed));
            }
            // `classic` counts a unit once for a guardrail, and here with all its values: two metrics of one name would be.
            if self.mode == Mode::Classic && self.guardrails.iter().any(|guardrail| guardrail.metric == *name)
            {
                return Err(out_of_range(field, "a guardrail's metric", "a name that no guardrail has"));
            }
            if self.values.iter().take(at).any(|earlier| earlier == name) {
                return Err(out_of_range(field, "listed twice", "each name once"));
            }
        }
        Ok(())
    }

    fn check_guardrails(&self) -> Result<(), PolicyFault> {
        let count = self.guardrails.len();
        if count == 0 || count > GUARDRAIL_COUNT_MAX {
            let allowed = format!("1 to {GUARDRAIL_COUNT_MAX} entries");
            return Err(out_of_range("guardrails", format!("{count} entries"), allowed));
        }
        for (at, guardrail) in self.guardrails.iter().enumerate() {
            let field = |name: &str| format!("guardrails[{at}].{name}");
            MetricKey::parse(&guardrail.metric).map_err(|e| {
                out_of_range(field("metric"), format!("{:?}", guardrail.metric), e.to_string())
            })?;
            // Tallies count enrolled units, and all outcomes that no policy names, under these names.
            if guardrail.metric == EXPOSURE_METRIC || guardrail.metric == OTHER_METRIC {
                return Err(out_of_range(field("metric"), &guardrail.metric, "an outcome's own name"));
            }
            if self.guardrails.iter().take(at).any(|earlier| earlier.metric == guardrail.metric) {
                return Err(out_of_range(field("metric"), "listed twice", "one guardrail for each metric"));
            }
            let threshold = guardrail.threshold;
            let (fits, allowed) = match guardrail.direction {
                Direction::DecreaseIsHarm => {
                    ((-0.99..=-0.0001).contains(&threshold), "-0.99 to -0.0001 when a decrease is harm")
                }
                Direction::IncreaseIsHarm => {
                    ((0.0001..=100.0).contains(&threshold), "0.0001 to 100 when an increase is harm")
                }
            };
            if !fits {
                return Err(out_of_range(field("threshold"), threshold, allowed));
            }
            check_number(&field("recovery_threshold"), guardrail.recovery_threshold, 0.0, 1.0)?;
            check_window(guardrail, &field("within_s"))?;
            check_activities(guardrail, &field("activities"))?;
        }
        Ok(())
    }
}

/// Coming back is something that a unit does: neither what happened to it, nor what it was shown.
fn check_activities(guardrail: &Guardrail, field: &str) -> Result<(), PolicyFault> {
    const NONE: [&str; 5] = [ERROR_METRIC, LATENCY_METRIC, EXPOSURE_METRIC, OTHER_METRIC, RETURN_METRIC];
    let Some(activities) = &guardrail.activities else { return Ok(()) };
    if guardrail.metric != RETURN_METRIC {
        let found = format!("there for the metric {:?}", guardrail.metric);
        return Err(out_of_range(field, found, "for the metric \"return\" only"));
    }
    if activities.is_empty() || activities.len() > ACTIVITY_COUNT_MAX {
        let found = format!("a list of {}", activities.len());
        return Err(out_of_range(field, found, format!("1 to {ACTIVITY_COUNT_MAX} names")));
    }
    for (at, name) in activities.iter().enumerate() {
        let field = format!("{field}[{at}]");
        MetricKey::parse(name).map_err(|e| out_of_range(&field, format!("{name:?}"), e.to_string()))?;
        if NONE.contains(&name.as_str()) {
            let allowed = "something that units do, such as \"session\"";
            return Err(out_of_range(field, format!("{name:?}"), allowed));
        }
        if activities.iter().take(at).any(|earlier| earlier == name) {
            return Err(out_of_range(field, "listed twice", "each name once"));
        }
    }
    Ok(())
}

fn check_window(guardrail: &Guardrail, field: &str) -> Result<(), PolicyFault> {
    for seconds in [guardrail.after_s, guardrail.within_s].into_iter().flatten() {
        check_whole(field, seconds, 0, WEEK_S)?;
    }
    let window = guardrail.window();
    if window.after_ms >= window.within_ms {
        let found = format!("{} s", window.within_ms / 1_000);
        return Err(out_of_range(field, found, format!("more than after_s, {} s", window.after_ms / 1_000)));
    }
    Ok(())
}

fn check_percent(field: &str, percent: f64, percent_max: f64) -> Result<(), PolicyFault> {
    check_number(field, percent, 0.0001, percent_max)?;
    percent_to_buckets(field, percent)
        .map(|_| ())
        .map_err(|_| out_of_range(field, percent, "steps of 0.0001"))
}

fn check_number(field: &str, found: f64, min: f64, max: f64) -> Result<(), PolicyFault> {
    if (min..=max).contains(&found) {
        Ok(())
    } else {
        Err(out_of_range(field, found, format!("{min} to {max}")))
    }
}

fn check_whole(field: &str, found: u64, min: u64, max: u64) -> Result<(), PolicyFault> {
    if (min..=max).contains(&found) {
        Ok(())
    } else {
        Err(out_of_range(field, found, format!("{min} to {max}")))
    }
}

const fn min_confidence() -> f64 {
    MIN_CONFIDENCE
}
const fn min_sample() -> u64 {
    MIN_SAMPLE
}
const fn window_hours() -> u64 {
    72
}
const fn cooldown_s() -> u64 {
    300
}
const fn grace_s() -> u64 {
    30
}
const fn half_open_percent() -> f64 {
    10.0
}
const fn recovery_threshold() -> f64 {
    0.02
}

#[cfg(test)]
mod tests;
