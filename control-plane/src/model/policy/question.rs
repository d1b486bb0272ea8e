//! Which edits of a policy ask another question of the units, and which only handle the answer.

use super::{Guardrail, Mode, Policy};

impl Policy {
    /// The fields in which another policy asks another question: who is shown what, what is counted of them, and how much of it
    /// is called harm. An edit of one of them begins an attempt. Empty where the policies differ in nothing, or only in what
    /// handles the answer: how long to wait before a probe, how wide that is, and what a step up of a ramp needs beside evidence.
    pub fn asks_otherwise(&self, other: &Self) -> Vec<&'static str> {
        let other = other.handled_as(self);
        let ramp = |policy: &Self| policy.ramp.as_ref().map(|ramp| ramp.stages.clone());
        let rows = [
            ("mode", self.mode == other.mode),
            ("treatment_variation", self.treatment_variation == other.treatment_variation),
            ("control_variation", self.control_variation == other.control_variation),
            ("exposure_percent", (self.exposure_percent - other.exposure_percent).abs() < 1e-9),
            ("control_percent", (self.control_percent - other.control_percent).abs() < 1e-9),
            ("ramp.stages", ramp(self) == ramp(&other)),
            ("guardrails", self.guardrails == other.guardrails),
            ("values", self.values == other.values),
            ("grace_s", self.grace_s == other.grace_s),
            ("slices", self.slices == other.slices),
            ("units", self.units == other.units),
            ("outcomes_from", self.outcomes_from == other.outcomes_from),
            ("urgent", self.urgent == other.urgent),
        ];
        let named: Vec<&'static str> =
            rows.into_iter().filter(|(_, is_same)| !is_same).map(|(name, _)| name).collect();
        // A field that is not listed asks too: what nobody thought of costs an attempt, and never validity.
        if named.is_empty() && *self != other { vec!["policy"] } else { named }
    }

    /// This policy with what only handles the answer as `like` has it.
    fn handled_as(&self, like: &Self) -> Self {
        let mut policy = Self { cooldown_s: like.cooldown_s, ..self.clone() };
        policy.half_open_percent = like.half_open_percent;
        // The rule of `classic` goes by all the others.
        if self.mode == Mode::Classic || like.mode == Mode::Classic {
            return policy;
        }
        policy.min_confidence = like.min_confidence;
        policy.min_sample = like.min_sample;
        policy.window_hours = like.window_hours;
        policy.half_open = like.half_open;
        policy.trip_scope = like.trip_scope;
        for guardrail in &mut policy.guardrails {
            let own = |other: &&Guardrail| other.metric == guardrail.metric;
            if let Some(like) = like.guardrails.iter().find(own) {
                guardrail.recovery_threshold = like.recovery_threshold;
            }
        }
        if let (Some(ramp), Some(like)) = (&mut policy.ramp, &like.ramp) {
            ramp.advance = like.advance;
            ramp.harm_budget = like.harm_budget;
            ramp.hold_back_percent = like.hold_back_percent;
            ramp.exempt.clone_from(&like.exempt);
            for (stage, like) in ramp.stages.iter_mut().zip(&like.stages) {
                stage.dwell_s = like.dwell_s;
            }
        }
        policy
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(base: Value, patch: &Value) -> Policy {
        let mut policy = base;
        for (name, value) in patch.as_object().unwrap() {
            policy[name] = value.clone();
        }
        Policy::parse(policy).unwrap()
    }

    #[test]
    fn an_edit_asks_another_question_or_handles_the_answer() {
        let rail = |metric: &str, recovery: f64| json!([{ "metric": metric, "direction": "increase_is_harm", "threshold": 0.5, "recovery_threshold": recovery }]);
        let base = |mode: &str| {
            json!({ "mode": mode, "treatment_variation": "on", "control_variation": "off", "exposure_percent": 10,
                "control_percent": 10, "guardrails": rail("error", 0.02) })
        };
        let asked = |mode: &str, patch: Value| {
            parse(base(mode), &json!({})).asks_otherwise(&parse(base(mode), &patch))
        };
        for (patch, anytime, classic) in [
            (json!({}), &[][..], &[][..]),
            (json!({ "cooldown_s": 7, "half_open_percent": 2 }), &[], &[]),
            (json!({ "min_sample": 7 }), &[], &["policy"]),
            (json!({ "guardrails": rail("error", 0.5) }), &[], &["guardrails"]),
            (json!({ "guardrails": rail("crash", 0.02) }), &["guardrails"], &["guardrails"]),
            (
                json!({ "control_percent": 9, "grace_s": 0 }),
                &["control_percent", "grace_s"],
                &["control_percent", "grace_s"],
            ),
            (json!({ "outcomes_from": "server" }), &["outcomes_from"], &["outcomes_from"]),
        ] {
            assert_eq!(asked("anytime", patch.clone()), anytime, "{patch}");
            assert_eq!(asked("classic", patch.clone()), classic, "{patch}");
        }
    }

    #[test]
    fn a_ramp_asks_by_its_shares_alone() {
        let stages = |percent: f64, dwell: u64| json!([{ "exposed_percent": percent, "control_percent": 4, "dwell_s": dwell }]);
        let base = |ramp: Value| {
            json!({ "mode": "anytime", "treatment_variation": "on", "control_variation": "off", "ramp": ramp,
                "guardrails": [{ "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 }] })
        };
        let policy = |ramp: Value| parse(base(ramp), &json!({}));
        let before = policy(json!({ "stages": stages(1.0, 60) }));
        let handled = json!({ "stages": stages(1.0, 9), "advance": "time", "harm_budget": 0.1, "exempt": ["error"],
            "hold_back_percent": 2 });
        assert_eq!(before.asks_otherwise(&policy(handled)), [""; 0]);
        assert_eq!(
            before.asks_otherwise(&policy(json!({ "stages": stages(2.0, 60) }))),
            ["exposure_percent", "ramp.stages"]
        );
    }
}
