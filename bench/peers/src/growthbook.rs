//! `growthbook-rust`. Not equal: its answers carry the experiment too. Tracing is switched off.

use std::collections::HashMap;

use growthbook_rust::dto::GrowthBookResponse;
use growthbook_rust::growthbook::GrowthBook;
use growthbook_rust::model_public::GrowthBookAttribute;
use serde_json::{Value, json};

use crate::subject::Subject;
use flagfuse_bench_ours::flags::{self, COLOURS, FlagSpec, Kind, Person};

pub struct Growthbook {
    bytes: Vec<u8>,
    engine: GrowthBook,
    contexts: Vec<Option<Vec<GrowthBookAttribute>>>,
    rollouts: Vec<String>,
    conditions: Vec<String>,
    all: Vec<String>,
}

impl Growthbook {
    pub fn new() -> Self {
        let flags = flags::flags();
        let by_key: serde_json::Map<String, Value> =
            flags.iter().map(|spec| (spec.key.clone(), feature(spec))).collect();
        let bytes = json!({ "features": by_key }).to_string().into_bytes();
        Self {
            engine: load(&bytes),
            bytes,
            contexts: flags::people().iter().map(|person| Some(context(person))).collect(),
            rollouts: flags::asked_rollouts(),
            conditions: flags::asked_conditions(),
            all: flags.into_iter().map(|flag| flag.key).collect(),
        }
    }
}

impl Subject for Growthbook {
    fn name(&self) -> &'static str {
        "growthbook-rust"
    }

    fn a(&mut self, turn: usize) -> u64 {
        let (flag, person) = flags::turn(turn);
        u64::from(self.engine.check(&self.rollouts[flag], &self.contexts[person]).on)
    }

    fn b(&mut self, turn: usize) -> u64 {
        let (flag, person) = flags::turn(turn);
        let answer = self.engine.check(&self.conditions[flag], &self.contexts[person]);
        u64::from(answer.value.as_str().unwrap().as_bytes()[0])
    }

    fn c(&mut self, turn: usize) -> u64 {
        let (_, person) = flags::turn(turn);
        let context = &self.contexts[person];
        self.all.iter().filter(|flag| self.engine.check(flag, context).source != "unknownFeature").count()
            as u64
    }

    fn load(&mut self) -> u64 {
        load(&self.bytes).features.len() as u64
    }
}

fn load(bytes: &[u8]) -> GrowthBook {
    let response: GrowthBookResponse = serde_json::from_slice(bytes).unwrap();
    GrowthBook {
        forced_variations: None,
        features: response.features.unwrap_or_default(),
        attributes: None,
        sticky_bucket_service: None,
        saved_groups: HashMap::new(),
    }
}

fn context(person: &Person) -> Vec<GrowthBookAttribute> {
    GrowthBookAttribute::from(person.to_json("id")).unwrap()
}

fn feature(spec: &FlagSpec) -> Value {
    let experiment = |condition: Option<Value>| {
        let mut rule = json!({
            "key": spec.key, "seed": spec.key, "hashAttribute": "id", "hashVersion": 2, "coverage": 1.0,
            "variations": COLOURS, "weights": [0.3333, 0.3333, 0.3334],
        });
        if let Some(condition) = condition {
            rule["condition"] = condition;
        }
        json!({ "defaultValue": COLOURS[0], "rules": [rule] })
    };
    match &spec.kind {
        Kind::Rollout => json!({ "defaultValue": false, "rules": [
            { "force": true, "coverage": 0.5, "hashAttribute": "id", "hashVersion": 2, "seed": spec.key },
        ] }),
        Kind::Conditions(conditions) => experiment(Some(json!({
            "country": { "$in": conditions.countries },
            "appVersion": { "$vgte": conditions.version_min },
            "plan": "pro",
        }))),
        Kind::Variants => experiment(None),
    }
}
