//! The ramp of a policy as users write it: by which shares the feature grows, and what each step up needs.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Compared, Direction, Guardrail, HOUR_S, Mode, Policy, PolicyFault, check_number, check_percent,
    check_whole, out_of_range,
};
use crate::model::metric::LATENCY_METRIC;

/// Stages of one ramp. Each has an exposed and a control slice, which a flag carries for as long as the attempt lasts.
pub const STAGE_COUNT_MAX: usize = 10;
/// The longest that a stage may have to last.
const DWELL_S_MAX: u64 = 30 * 24 * HOUR_S;
/// From this share on a stage lasts a day where the policy does not say, so that it sees what a day brings.
const DAILY_PERCENT: f64 = 25.0;
/// The stages of a policy that names none, exposed and control percent: about four controls for each exposed unit first.
const STAGES: [(f64, f64); 5] = [(1.0, 4.0), (5.0, 12.0), (10.0, 10.0), (25.0, 15.0), (50.0, 9.0)];
/// The probe of a fuse with a ramp, where the policy does not say.
const PROBE_PERCENT: f64 = 1.0;

/// How the feature grows from a few units to everybody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RampPolicy {
    /// Rising. Behind the last one comes one more, which shows the feature to everybody but a hold-back.
    #[serde(default = "stages")]
    pub stages: Vec<StagePolicy>,
    /// What opens the next stage, beside its time.
    #[serde(default)]
    pub advance: Advance,
    /// The relative harm over all units that a step up may bring; each guardrail's threshold when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub harm_budget: Option<f64>,
    /// Share of units that never see the feature, percent: the control of the last stage.
    #[serde(default = "hold_back_percent")]
    pub hold_back_percent: f64,
    /// Metrics of guardrails that no step up waits for: a return of seven days would hold a ramp for eight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<String>,
}

/// One stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagePolicy {
    /// Share of units that see the feature, those of the stages before included. Percent.
    pub exposed_percent: f64,
    /// Share of units that the stage reserves as its own control. Percent.
    pub control_percent: f64,
    /// How long it lasts at least, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dwell_s: Option<u64>,
}

/// What opens the next stage, beside its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advance {
    /// A harm that would use up the budget at the next share is excluded.
    #[default]
    Risk,
    /// So many units were read that twice the threshold would have been found in four of five launches.
    Power,
    /// Nothing else.
    Time,
    /// A gain that was observed, and latency with room to its limit; up to half of the units.
    S3,
}

impl StagePolicy {
    /// How long it lasts at least.
    pub fn dwell_ms(&self) -> u64 {
        let by_default = if self.exposed_percent >= DAILY_PERCENT { 24 * HOUR_S } else { HOUR_S / 2 };
        self.dwell_s.unwrap_or(by_default) * 1_000
    }
}

impl RampPolicy {
    /// How long a share of so many percent lasts at least: as the widest stage does that is not wider.
    pub fn dwell_ms(&self, exposed_percent: f64) -> u64 {
        let not_wider = self.stages.iter().rev().find(|stage| stage.exposed_percent <= exposed_percent);
        not_wider.or(self.stages.first()).map_or(0, StagePolicy::dwell_ms)
    }
}

/// Fills in what a policy with a ramp need not say: its shares are those of the first stage, and its probe is small.
pub(super) fn fill(policy: &mut Value) {
    let Some(ramp) = policy.get("ramp").filter(|ramp| ramp.is_object()) else { return };
    let first = match ramp.get("stages") {
        Some(stages) => stages.get(0).cloned(),
        None => stages().first().map(|stage| json!(stage)),
    };
    // Where there is none, that is what is refused, and not that no share is named.
    let field = |name: &str| first.as_ref().and_then(|stage| stage.get(name)).cloned().or(Some(json!(1)));
    let rows = [
        ("exposure_percent", field("exposed_percent")),
        ("control_percent", field("control_percent")),
        ("half_open_percent", Some(json!(PROBE_PERCENT))),
    ];
    let Some(fields) = policy.as_object_mut() else { return };
    for (name, value) in rows {
        if let (false, Some(value)) = (fields.contains_key(name), value) {
            fields.insert(name.to_owned(), value);
        }
    }
}

/// Refuses what is no ramp; the first fault found is returned.
pub(super) fn check(policy: &Policy) -> Result<(), PolicyFault> {
    let Some(ramp) = &policy.ramp else { return Ok(()) };
    if policy.mode == Mode::Classic {
        return Err(out_of_range("ramp", "there", "for the mode anytime only"));
    }
    let count = ramp.stages.len();
    if count == 0 || count > STAGE_COUNT_MAX {
        let allowed = format!("1 to {STAGE_COUNT_MAX} entries");
        return Err(out_of_range("ramp.stages", format!("{count} entries"), allowed));
    }
    check_stages(ramp)?;
    check_number("ramp.hold_back_percent", ramp.hold_back_percent, 1.0, 5.0)?;
    check_percent("ramp.hold_back_percent", ramp.hold_back_percent, 5.0)?;
    let last = ramp.stages.last().map_or(0.0, |stage| stage.exposed_percent);
    if last + ramp.hold_back_percent >= 100.0 {
        let allowed = format!("less than the {} % that the last stage leaves", 100.0 - last);
        return Err(out_of_range("ramp.hold_back_percent", ramp.hold_back_percent, allowed));
    }
    if let Some(budget) = ramp.harm_budget {
        check_number("ramp.harm_budget", budget, 0.001, 10.0)?;
    }
    for (at, name) in ramp.exempt.iter().enumerate() {
        let field = format!("ramp.exempt[{at}]");
        if !policy.guardrails.iter().any(|guardrail| guardrail.metric == *name) {
            return Err(out_of_range(field, format!("{name:?}"), "the metric of a guardrail"));
        }
        if ramp.exempt.iter().take(at).any(|earlier| earlier == name) {
            return Err(out_of_range(field, "listed twice", "each metric once"));
        }
    }
    if ramp.advance == Advance::S3 {
        check_s3(policy)?;
    }
    check_first(policy, ramp)
}

/// The rule goes by a gain and by a latency with a limit: without one of them it would never open a stage, or by half of itself.
fn check_s3(policy: &Policy) -> Result<(), PolicyFault> {
    let gains = |rail: &Guardrail| {
        rail.direction == Direction::DecreaseIsHarm && policy.compared(rail) == Compared::WithControl
    };
    let has_room = |rail: &Guardrail| rail.metric == LATENCY_METRIC && rail.limit.is_some();
    let rails = || policy.guardrails.iter().filter(|rail| rail.rights.is_trip());
    if rails().any(gains) && rails().any(has_room) {
        return Ok(());
    }
    let allowed = "for guardrails that trip: one of which a decrease is harm, compared with control, and latency_ms with a limit";
    Err(out_of_range("ramp.advance", "s3", allowed))
}

fn check_stages(ramp: &RampPolicy) -> Result<(), PolicyFault> {
    let (mut before, mut reserved) = (0.0, 0.0);
    for (at, stage) in ramp.stages.iter().enumerate() {
        let field = |name: &str| format!("ramp.stages[{at}].{name}");
        let StagePolicy { exposed_percent, control_percent, dwell_s } = *stage;
        check_percent(&field("exposed_percent"), exposed_percent, if at == 0 { 90.0 } else { 98.0 })?;
        if exposed_percent <= before {
            let allowed = format!("more than that of the stage before, {before}");
            return Err(out_of_range(field("exposed_percent"), exposed_percent, allowed));
        }
        check_percent(&field("control_percent"), control_percent, 50.0)?;
        let left = 100.0 - exposed_percent - reserved;
        // A step of shares is a ten-thousandth; what is smaller is the sum's own error.
        if control_percent > left + 1e-6 {
            let left = (left.max(0.0) * 10_000.0).round() / 10_000.0;
            let allowed = format!(
                "at most the {left} % that {exposed_percent} % exposed and the reserves of the stages before leave"
            );
            return Err(out_of_range(field("control_percent"), control_percent, allowed));
        }
        if let Some(dwell_s) = dwell_s {
            check_whole(&field("dwell_s"), dwell_s, 0, DWELL_S_MAX)?;
        }
        (before, reserved) = (exposed_percent, reserved + control_percent);
    }
    Ok(())
}

/// A policy that names shares beside a ramp means those of the first stage, or is not what its author thinks.
fn check_first(policy: &Policy, ramp: &RampPolicy) -> Result<(), PolicyFault> {
    let Some(first) = ramp.stages.first() else { return Ok(()) };
    let rows = [
        ("exposure_percent", policy.exposure_percent, first.exposed_percent),
        ("control_percent", policy.control_percent, first.control_percent),
    ];
    match rows.into_iter().find(|(_, found, expected)| (found - expected).abs() > 1e-9) {
        Some((field, found, expected)) => {
            let allowed = format!("{expected}, that of the ramp's first stage, which it is when left out");
            Err(out_of_range(field, found, allowed))
        }
        None => Ok(()),
    }
}

fn stages() -> Vec<StagePolicy> {
    let stage =
        |(exposed_percent, control_percent)| StagePolicy { exposed_percent, control_percent, dwell_s: None };
    STAGES.into_iter().map(stage).collect()
}

const fn hold_back_percent() -> f64 {
    5.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(ramp: Value, patch: &Value) -> Result<Policy, String> {
        let mut policy = json!({
            "mode": "anytime", "treatment_variation": "on", "control_variation": "off", "ramp": ramp,
            "guardrails": [{ "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 }],
        });
        for (name, value) in patch.as_object().unwrap() {
            policy[name] = value.clone();
        }
        Policy::parse(policy).map_err(|fault| fault.to_string())
    }

    fn stages_of(rows: &[(f64, f64)]) -> Value {
        let stage = |(exposed, control): &(f64, f64)| json!({ "exposed_percent": exposed, "control_percent": control });
        json!({ "stages": rows.iter().map(stage).collect::<Vec<_>>() })
    }

    #[test]
    fn the_rule_s3_asks_for_a_gain_and_for_a_limit_of_latency() {
        let rail = |metric: &str, direction: &str, threshold: f64| json!({ "metric": metric, "direction": direction, "threshold": threshold });
        let conversion = rail("conversion", "decrease_is_harm", -0.02);
        let mut latency = rail("latency_ms", "increase_is_harm", 0.1);
        let free = latency.clone();
        latency["limit"] = json!(120);
        let say = |rails: Value| parse(json!({ "advance": "s3" }), &json!({ "guardrails": rails }));
        let policy = say(json!([conversion, latency])).unwrap();
        assert_eq!(policy.ramp.unwrap().advance, Advance::S3);
        let mut holds = conversion.clone();
        holds["rights"] = json!("hold");
        for rails in
            [json!([conversion]), json!([conversion, free]), json!([latency]), json!([holds, latency])]
        {
            let refused = say(rails).unwrap_err();
            assert!(
                refused.starts_with("ramp.advance is s3, allowed is for guardrails that trip"),
                "{refused}"
            );
        }
    }

    #[test]
    fn an_empty_ramp_is_the_default_one_and_comes_back_as_it_was_stored() {
        let policy = parse(json!({}), &json!({})).unwrap();
        let ramp = policy.ramp.clone().unwrap();
        let shares: Vec<_> =
            ramp.stages.iter().map(|stage| (stage.exposed_percent, stage.control_percent)).collect();
        assert_eq!(shares, STAGES);
        assert_eq!(
            (policy.exposure_percent, policy.control_percent, policy.half_open_percent),
            (1.0, 4.0, 1.0)
        );
        assert_eq!((ramp.advance, ramp.hold_back_percent), (Advance::Risk, 5.0));
        let minutes: Vec<_> = ramp.stages.iter().map(|stage| stage.dwell_ms() / 60_000).collect();
        assert_eq!(minutes, [30, 30, 30, 1_440, 1_440]);
        assert_eq!(ramp.dwell_ms(1.4) / 60_000, 30, "a probe's share");
        assert_eq!(ramp.dwell_ms(0.1) / 60_000, 30);
        assert_eq!(ramp.dwell_ms(95.0) / 60_000, 1_440);
        assert_eq!(Policy::parse(json!(policy)).unwrap(), policy);
    }

    #[test]
    fn what_is_no_ramp_is_refused_by_its_field_and_its_limits() {
        let eleven: Vec<(f64, f64)> = (1..=11).map(|n| (f64::from(n), 1.0)).collect();
        let one = |field: &str, value: Value| {
            let mut ramp = stages_of(&[(1.0, 4.0)]);
            ramp["stages"][0][field] = value;
            ramp
        };
        let with = |field: &str, value: Value| {
            let mut ramp = json!({});
            ramp[field] = value;
            ramp
        };
        for (ramp, expected) in [
            (stages_of(&[]), "ramp.stages is 0 entries, allowed is 1 to 10 entries"),
            (stages_of(&eleven), "ramp.stages is 11 entries"),
            (stages_of(&[(0.0, 1.0)]), "ramp.stages[0].exposed_percent is 0, allowed is 0.0001 to 90"),
            (stages_of(&[(1.0, 0.0)]), "ramp.stages[0].control_percent is 0, allowed is 0.0001 to 50"),
            (
                stages_of(&[(1.000_05, 1.0)]),
                "ramp.stages[0].exposed_percent is 1.00005, allowed is steps of 0.0001",
            ),
            (
                stages_of(&[(5.0, 1.0), (5.0, 1.0)]),
                "ramp.stages[1].exposed_percent is 5, allowed is more than that of the stage before, 5",
            ),
            (
                stages_of(&[(5.0, 50.0), (40.0, 10.1)]),
                "ramp.stages[1].control_percent is 10.1, allowed is at most the 10 % that 40 % exposed",
            ),
            (one("dwell_s", json!(2_592_001)), "ramp.stages[0].dwell_s is 2592001, allowed is 0 to 2592000"),
            (one("surprise", json!(1)), "surprise is unknown"),
            (with("hold_back_percent", json!(0.5)), "ramp.hold_back_percent is 0.5, allowed is 1 to 5"),
            (with("hold_back_percent", json!(5.1)), "ramp.hold_back_percent is 5.1"),
            (with("harm_budget", json!(0)), "ramp.harm_budget is 0, allowed is 0.001 to 10"),
            (
                with("exempt", json!(["sale"])),
                "ramp.exempt[0] is \"sale\", allowed is the metric of a guardrail",
            ),
            (with("exempt", json!(["error", "error"])), "ramp.exempt[1] is listed twice"),
            (with("advance", json!("hope")), "ramp.advance"),
        ] {
            let text = parse(ramp, &json!({})).unwrap_err();
            assert!(text.contains(expected), "{text}");
        }
        let mut wide = stages_of(&[(50.0, 2.0), (96.0, 2.0)]);
        wide["hold_back_percent"] = json!(4);
        let text = parse(wide, &json!({})).unwrap_err();
        assert!(
            text.contains(
                "ramp.hold_back_percent is 4, allowed is less than the 4 % that the last stage leaves"
            ),
            "{text}"
        );
        for (patch, expected) in [
            (json!({ "mode": "classic" }), "ramp is there, allowed is for the mode anytime only"),
            (
                json!({ "exposure_percent": 20 }),
                "exposure_percent is 20, allowed is 1, that of the ramp's first",
            ),
            (json!({ "control_percent": 5 }), "control_percent is 5, allowed is 4"),
        ] {
            let text = parse(json!({}), &patch).unwrap_err();
            assert!(text.contains(expected), "{text}");
        }
    }
}
