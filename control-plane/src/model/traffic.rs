//! How much traffic a policy needs before it can trip, and how long that takes. Pure; what it computes follows from the
//! rule of the policy's mode and says nothing about how sure a trip is.
//!
//! The classic mode compares two arms once both have `min_sample` units, both together the units at which its sample
//! progress reaches `min_confidence`, and both together ten events. Units leave when they are older than the window, so
//! a policy whose visitors do not come within its window compares nothing, ever.

mod anytime;

use flagfuse_shared::limits::BUCKET_COUNT;
use serde::Serialize;

pub use self::anytime::{GuardrailNeed, needs};
use super::circuit::Circuit;
use super::policy::{Guardrail, Mode, Policy};
use super::ramp::Ramp;
use super::verdict::EVENT_COUNT_MIN;
use crate::figures::{count, grouped, percent, span, whole};
use crate::model::metric::LATENCY_METRIC;
use flagfuse_stats::classic;

const HOUR_MS: u64 = 3_600_000;

/// Where a rate was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Units of the flag that enrolled.
    Flag,
    /// Units of another flag of the environment: the flag has none of its own yet, and may be asked for less often.
    Environment,
}

/// How many visitors come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Different units, those in neither arm included.
    pub visitors: f64,
    /// In how long.
    pub span_ms: u64,
    /// Where they were seen.
    pub basis: Basis,
}

impl Rate {
    /// How many come in an hour.
    #[expect(clippy::cast_precision_loss, reason = "times stay far below 2^53")]
    pub fn per_hour(self) -> f64 {
        self.visitors * HOUR_MS as f64 / self.span_ms.max(1) as f64
    }
}

/// What a policy needs, as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Traffic {
    /// Exposed units at the first look that can trip.
    pub exposed_units: u64,
    /// Control units at that look.
    pub control_units: u64,
    /// Events over both arms at that look.
    pub events: u64,
    /// Visitors of whom that many fall into the arms, on average.
    pub visitors: u64,
    /// In how long they have to come.
    pub window_hours: u64,
    /// Fewer an hour are never enough.
    pub visitors_per_hour_min: u64,
    /// The present rate; `null` when it is not known.
    pub visitors_per_hour: Option<u64>,
    /// Where that was seen.
    pub rate_from: Option<Basis>,
    /// How long it takes at that rate.
    pub takes_ms: Option<u64>,
    /// The same in a sentence.
    pub summary: String,
    /// Why it can never trip, when that is so at the present rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// The units that a policy's arms need, and the visitors that takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Need {
    exposed_units: u64,
    control_units: u64,
    visitors: u64,
}

impl Traffic {
    /// Of a policy in `circuit`; while open, of the policy as if it were closed again. `baselines` are the shares of units
    /// with the event, one for each guardrail, where there are any yet.
    pub fn of(policy: &Policy, circuit: Circuit, baselines: &[Option<f64>], rate: Option<Rate>) -> Self {
        if policy.mode == Mode::Anytime {
            return anytime::traffic(policy, circuit, baselines, rate);
        }
        let need = need(policy, circuit, baselines);
        let per_hour = rate.map(Rate::per_hour);
        let takes_ms = per_hour.map(|per_hour| coming_ms(need.visitors, per_hour));
        let matures_ms = policy.guardrails.iter().map(Guardrail::matures_after_ms).min().unwrap_or(0);
        let is_too_slow = takes_ms.is_some_and(|takes_ms| takes_ms > policy.window_ms());
        let takes_ms = takes_ms.map(|takes_ms| takes_ms.saturating_add(matures_ms));
        let per_hour_min = need.visitors.div_ceil(policy.window_hours.max(1));
        let warning = per_hour.filter(|_| is_too_slow).map(|per_hour| warning(policy, per_hour));
        let estimate = Estimate { need, per_hour_min, per_hour, takes_ms, matures_ms, is_too_slow };
        Self {
            exposed_units: need.exposed_units,
            control_units: need.control_units,
            events: EVENT_COUNT_MIN,
            visitors: need.visitors,
            window_hours: policy.window_hours,
            visitors_per_hour_min: per_hour_min,
            visitors_per_hour: per_hour.map(whole),
            rate_from: rate.map(|rate| rate.basis),
            takes_ms: takes_ms.filter(|_| !is_too_slow),
            summary: estimate.summary(policy),
            warning,
        }
    }
}

/// What the sentence is made of.
struct Estimate {
    need: Need,
    per_hour_min: u64,
    per_hour: Option<f64>,
    takes_ms: Option<u64>,
    matures_ms: u64,
    is_too_slow: bool,
}

impl Estimate {
    fn summary(&self, policy: &Policy) -> String {
        let Need { exposed_units, control_units, visitors } = self.need;
        let window = span(policy.window_ms());
        let matures = if self.matures_ms == 0 {
            String::new()
        } else {
            format!(" (a unit counts only {} after its first exposure)", span(self.matures_ms))
        };
        let when = match (self.per_hour, self.takes_ms) {
            (Some(per_hour), Some(takes_ms)) if !self.is_too_slow => {
                let rate = count(whole(per_hour), "visitor");
                format!("at the present rate of about {rate} an hour in about {}{matures}", span(takes_ms))
            }
            (Some(per_hour), _) => {
                let rate = count(whole(per_hour), "visitor");
                format!("at the present rate of about {rate} an hour never, {}", self.at_least())
            }
            (None, _) => {
                format!(
                    "no visitors in the last day, so there is no saying when{matures}; {}",
                    self.at_least()
                )
            }
        };
        format!(
            "Before this fuse can trip it takes about {} within {window}: {} exposed and {}, and at least {} among them{}; \
             {when}.",
            count(visitors, "visitor"),
            grouped(exposed_units),
            count(control_units, "control unit"),
            count(EVENT_COUNT_MIN, "event"),
            rare(policy, exposed_units + control_units),
        )
    }

    fn at_least(&self) -> String {
        format!("it takes at least {} an hour", grouped(self.per_hour_min))
    }
}

/// Below which share of units with the event the ten events come later than the units.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn rare(policy: &Policy, units: u64) -> String {
    if units == 0 || policy.guardrails.iter().all(|guardrail| guardrail.metric == LATENCY_METRIC) {
        return String::new();
    }
    format!(" ({} of the units; rarer ones take longer)", percent(EVENT_COUNT_MIN as f64 / units as f64))
}

fn warning(policy: &Policy, per_hour: f64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "at most 720")]
    let come = whole(per_hour * policy.window_hours as f64);
    format!(
        "At the present rate this fuse can never trip: within its window of {} only about {} come. Raise \
         exposure_percent and control_percent, widen window_hours, or lower min_sample and min_confidence, with which \
         it trips by chance more often.",
        span(policy.window_ms()),
        count(come, "visitor"),
    )
}

/// Milliseconds until so many visitors have come.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn coming_ms(visitors: u64, per_hour: f64) -> u64 {
    if per_hour > 0.0 { whole(visitors as f64 / per_hour * HOUR_MS as f64) } else { u64::MAX }
}

/// Widths of the exposed and the control arm, of a ramp those of its first stage; while open, as if the fuse were closed again.
fn widths(policy: &Policy, circuit: Circuit) -> (u64, u64) {
    match circuit {
        Circuit::HalfOpen => Ramp::probe(policy, 1).first_widths(),
        Circuit::Closed | Circuit::Open => Ramp::of(policy).first_widths(),
    }
}

fn need(policy: &Policy, circuit: Circuit, baselines: &[Option<f64>]) -> Need {
    let (exposed, control) = widths(policy, circuit);
    let smaller = visitors_for(policy.min_sample, exposed.min(control));
    let both = visitors_for(classic::units_for(policy.min_confidence), exposed + control);
    let events =
        baselines.iter().map(|baseline| visitors_for(units_with_events(*baseline), exposed + control));
    // One guardrail is enough to trip: the one whose events come first.
    let visitors = smaller.max(both).max(events.min().unwrap_or(0));
    let units = |width: u64| share_of(visitors, width);
    Need { exposed_units: units(exposed), control_units: units(control), visitors }
}

/// Units among whom ten events are to be expected; 0 where nothing is known of them.
#[expect(clippy::cast_precision_loss, reason = "ten")]
fn units_with_events(baseline: Option<f64>) -> u64 {
    baseline.filter(|rate| *rate > 0.0).map_or(0, |rate| whole((EVENT_COUNT_MIN as f64 / rate).ceil()))
}

/// Visitors of whom so many fall into buckets of this width, on average; rounded up.
fn visitors_for(units: u64, width: u64) -> u64 {
    let wide = (u128::from(units) * u128::from(BUCKET_COUNT)).div_ceil(u128::from(width.max(1)));
    u64::try_from(wide).unwrap_or(u64::MAX)
}

/// How many of so many visitors fall into buckets of this width, on average.
fn share_of(visitors: u64, width: u64) -> u64 {
    let wide = u128::from(visitors) * u128::from(width) / u128::from(BUCKET_COUNT);
    u64::try_from(wide).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
