//! How much traffic it takes to find a harm in the mode `anytime`. It may trip after every slot; what is told is how long a harm of
//! the threshold takes to be found, by the fixed sample that finds it with 80 % at the same error.

use super::{Rate, Traffic, coming_ms, share_of, visitors_for, widths};
use crate::figures::{count, difference, grouped, span, whole};
use crate::model::circuit::Circuit;
use crate::model::evidence::{base_rate, harm};
use crate::model::metric::LATENCY_METRIC;
use crate::model::policy::{Compared, Guardrail, Policy, Rights};
use flagfuse_cells::schedule::matures;
use flagfuse_stats::budget;
use flagfuse_stats::power::Plan;

/// A harm that takes longer to be found is not guarded against.
const TAKES_MS_MAX: u64 = 14 * 24 * 3_600_000;
/// A larger change is planned for as this one.
const CHANGE_MAX: f64 = 10.0;
/// How much larger a harm is found the sooner that is told beside.
const LARGER: f64 = 4.0;
/// Control units for each exposed one where the exposed arm alone is compared, with a limit.
const ALONE: f64 = 1_000.0;

/// What one guardrail needs.
#[derive(Debug, Clone, Copy)]
pub struct GuardrailNeed<'p> {
    pub guardrail: &'p Guardrail,
    /// Visitors until a harm of the threshold is found, by the fixed sample that finds it with 80 %.
    pub visitors: u64,
    /// The same of a harm four times as large.
    pub visitors_larger: u64,
    /// So long after its first exposure a unit is read.
    pub matures_ms: u64,
}

/// What each guardrail of a policy needs. `baselines` are the shares of units with the event, where there are any yet.
pub fn needs<'p>(policy: &'p Policy, circuit: Circuit, baselines: &[Option<f64>]) -> Vec<GuardrailNeed<'p>> {
    let widths = widths(policy, circuit);
    let baselines = baselines.iter().copied().chain(std::iter::repeat(None));
    let rows = policy.guardrails.iter().zip(policy.weights()).zip(baselines);
    let need = |((guardrail, weight), seen): ((&'p Guardrail, f64), Option<f64>)| {
        let visitors = |multiple: f64| visitors(guardrail, (weight, multiple), seen, widths);
        let (visitors, visitors_larger) = (visitors(1.0), visitors(LARGER));
        GuardrailNeed { guardrail, visitors, visitors_larger, matures_ms: read_after_ms(policy, guardrail) }
    };
    rows.map(need).collect()
}

/// How long after its enrolment a unit is read: at once where evidence goes a step at a time, else when its slot is over.
fn read_after_ms(policy: &Policy, guardrail: &Guardrail) -> u64 {
    let window = guardrail.window();
    let is_compared = policy.compared(guardrail) == Compared::WithControl;
    let is_at_once = is_compared && guardrail.metric != LATENCY_METRIC && window.after_ms == 0;
    if is_at_once { 0 } else { matures(window.within_ms) }
}

/// What is looked for, in words: of a latency compared with control's, more units that are slow beyond what is tolerated.
fn looked_for(policy: &Policy, guardrail: &Guardrail) -> String {
    if guardrail.metric == LATENCY_METRIC && policy.compared(guardrail) == Compared::WithControl {
        return format!(
            "A share of slow units a third larger (above control's 95th percentile of latency_ms, {} tolerated)",
            difference(guardrail.threshold)
        );
    }
    format!("A harm of {} as large as its threshold", guardrail.metric)
}

pub(super) fn traffic(
    policy: &Policy,
    circuit: Circuit,
    baselines: &[Option<f64>],
    rate: Option<Rate>,
) -> Traffic {
    let (exposed, control) = widths(policy, circuit);
    let needs = needs(policy, circuit, baselines);
    // Of values nobody knows beforehand how they spread, and what only holds trips nothing.
    let tripping = needs.iter().filter(|need| {
        need.guardrail.rights == Rights::Trip && policy.compared(need.guardrail) != Compared::Values
    });
    let soonest = tripping.min_by_key(|need| (need.matures_ms, need.visitors));
    let per_hour = rate.map(Rate::per_hour);
    let (visitors, matures_ms) = soonest.as_ref().map_or((0, 0), |need| (need.visitors, need.matures_ms));
    let takes_ms = per_hour.map(|per_hour| coming_ms(visitors, per_hour).saturating_add(matures_ms));
    let (exposed_units, control_units) = (share_of(visitors, exposed), share_of(visitors, control));
    let when = takes_ms.map_or_else(String::new, |ms| format!(", at the present rate in about {}", span(ms)));
    let of_values = || {
        "Looked at after every slot that is over. How many visitors it takes to find a harm depends on how the values spread, which is \
         not known beforehand."
            .to_owned()
    };
    let read = if matures_ms == 0 {
        String::new()
    } else {
        format!(" Units are read {} after their slot.", span(matures_ms))
    };
    let summary = soonest.as_ref().map_or_else(of_values, |need| {
        format!(
            "Looked at after every slot of 20 units and more. {} is found after about {} ({} exposed and {}){when}; one four times as \
             large after about {}.{read}",
            looked_for(policy, need.guardrail),
            count(visitors, "visitor"),
            grouped(exposed_units),
            count(control_units, "control unit"),
            grouped(need.visitors_larger),
        )
    });
    let warning = takes_ms.filter(|ms| *ms > TAKES_MS_MAX).map(|ms| {
        format!(
            "At the present rate it takes about {} to find a harm as large as the threshold: raise exposure_percent and \
             control_percent, or look for larger ones.",
            span(ms)
        )
    });
    Traffic {
        exposed_units,
        control_units,
        events: 0,
        visitors,
        window_hours: policy.window_hours,
        visitors_per_hour_min: 0,
        visitors_per_hour: per_hour.map(whole),
        rate_from: rate.map(|rate| rate.basis),
        takes_ms: takes_ms.filter(|ms| *ms < u64::MAX),
        summary,
        warning,
    }
}

/// Visitors until a harm so many times the threshold is found; as many as there can be where nothing finds it.
#[expect(clippy::cast_precision_loss, reason = "at most a million buckets")]
fn visitors(
    guardrail: &Guardrail,
    (weight, multiple): (f64, f64),
    seen: Option<f64>,
    (exposed, control): (u64, u64),
) -> u64 {
    let seen = seen.filter(|_| guardrail.metric != LATENCY_METRIC && guardrail.limit.is_none());
    let rate = seen.unwrap_or_else(|| base_rate(guardrail));
    let Ok(harm) = harm(guardrail) else { return u64::MAX };
    let change = harm.change(multiple).min(CHANGE_MAX);
    let alpha = budget::alpha(1).unwrap_or(0.01) * weight;
    let controls = if guardrail.limit.is_some() { ALONE } else { control as f64 / exposed.max(1) as f64 };
    let plan = Plan { rate: rate.clamp(1e-6, 0.9), change, controls, alpha, power: 0.8 };
    plan.exposed_units().map_or(u64::MAX, |units| visitors_for(units, exposed))
}
