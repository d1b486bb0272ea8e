//! `flagd-evaluation-engine`: flagd's in-process evaluation, and the flag file that it and `datalogic-rs` read.
//!
//! Not equal: it compiles the rule at each evaluation; there is no other way in. Linked beside `datalogic-rs` it gets
//! that crate's native operators, which is to its advantage.

use flagd_evaluation_engine::{FeatureFlag, FlagParser, Operator};
use open_feature::EvaluationContext;
use serde_json::{Value, json};
use std::collections::HashMap;

use crate::subject::Subject;
use flagfuse_bench_ours::flags::{self, COLOURS, FlagSpec, Kind, Person};

pub struct Flagd {
    text: String,
    operator: Operator,
    /// With its rule as text, so that rendering it is not part of an evaluation.
    flags: HashMap<String, (FeatureFlag, String)>,
    contexts: Vec<EvaluationContext>,
    rollouts: Vec<String>,
    conditions: Vec<String>,
}

impl Flagd {
    pub fn new() -> Self {
        let text = document(&flags::flags());
        Self {
            operator: Operator::new(),
            flags: load(&text),
            text,
            contexts: flags::people().iter().map(context).collect(),
            rollouts: flags::asked_rollouts(),
            conditions: flags::asked_conditions(),
        }
    }

    fn ask(&self, key: &str, person: usize) -> Option<&Value> {
        let (flag, rule) = &self.flags[key];
        let name = self.operator.apply(key, rule, &self.contexts[person]).ok()??;
        flag.variants.get(&name)
    }
}

impl Subject for Flagd {
    fn name(&self) -> &'static str {
        "flagd-evaluation-engine"
    }

    fn a(&mut self, turn: usize) -> u64 {
        let (flag, person) = flags::turn(turn);
        u64::from(self.ask(&self.rollouts[flag], person).unwrap().as_bool().unwrap())
    }

    fn b(&mut self, turn: usize) -> u64 {
        let (flag, person) = flags::turn(turn);
        u64::from(self.ask(&self.conditions[flag], person).unwrap().as_str().unwrap().as_bytes()[0])
    }

    fn c(&mut self, turn: usize) -> u64 {
        let (_, person) = flags::turn(turn);
        self.flags.keys().filter(|key| self.ask(key, person).is_some()).count() as u64
    }

    fn load(&mut self) -> u64 {
        load(&self.text).len() as u64
    }
}

fn load(text: &str) -> HashMap<String, (FeatureFlag, String)> {
    let parsed = FlagParser::parse_string(text).unwrap();
    let with_rule = |flag: FeatureFlag| {
        let rule = flag.get_targeting();
        (flag, rule)
    };
    parsed.flags.into_iter().map(|(key, flag)| (key, with_rule(flag))).collect()
}

fn context(person: &Person) -> EvaluationContext {
    EvaluationContext::default()
        .with_targeting_key(&person.key)
        .with_custom_field("country", person.country)
        .with_custom_field("appVersion", person.app_version.clone())
        .with_custom_field("plan", person.plan)
        .with_custom_field("email", person.email.clone())
        .with_custom_field("language", person.language)
        .with_custom_field("device", person.device)
        .with_custom_field("beta", person.beta)
        .with_custom_field("age", i64::from(person.age))
        .with_custom_field("sessions", i64::from(person.sessions))
}

/// The rule of a flag in flagd's format, as text.
pub fn rule_of(flag: &Value) -> String {
    flag["targeting"].to_string()
}

/// A flag file in flagd's format.
pub fn document(flags: &[FlagSpec]) -> String {
    let by_key: serde_json::Map<String, Value> =
        flags.iter().map(|spec| (spec.key.clone(), flag(spec))).collect();
    json!({ "flags": by_key }).to_string()
}

fn flag(spec: &FlagSpec) -> Value {
    let fractional = |shares: &[&str]| {
        let mut arguments = vec![json!({ "cat": [spec.key, { "var": "targetingKey" }] })];
        arguments.extend(shares.iter().map(|name| json!([name, 1])));
        json!({ "fractional": arguments })
    };
    let (variants, targeting) = match &spec.kind {
        Kind::Rollout => (json!({ "yes": true, "no": false }), fractional(&["yes", "no"])),
        Kind::Conditions(conditions) => {
            let all = json!({ "and": [
                { "in": [{ "var": "country" }, conditions.countries] },
                { "sem_ver": [{ "var": "appVersion" }, ">=", conditions.version_min] },
                { "==": [{ "var": "plan" }, "pro"] },
            ] });
            let colours = COLOURS.iter().map(|name| ((*name).to_owned(), json!(name))).collect();
            (Value::Object(colours), json!({ "if": [all, fractional(&COLOURS), "blue"] }))
        }
        Kind::Variants => {
            let colours = COLOURS.iter().map(|name| ((*name).to_owned(), json!(name))).collect();
            (Value::Object(colours), fractional(&COLOURS))
        }
    };
    let default = if matches!(spec.kind, Kind::Rollout) { "no" } else { "blue" };
    json!({ "state": "ENABLED", "defaultVariant": default, "variants": variants, "targeting": targeting })
}
