//! `launchdarkly-server-sdk-evaluation`. Not equal: the engine has no map of flags, so ours is put around it; the SDK's
//! own store would copy the flag at each evaluation. Rollout and split hash with SHA-1.

use ahash::HashMap;
use launchdarkly_server_sdk_evaluation::{
    Context, ContextBuilder, Flag, FlagValue, Segment, Store, evaluate,
};
use serde_json::{Value, json};

use crate::subject::Subject;
use flagfuse_bench_ours::flags::{self, COLOURS, FlagSpec, Kind, Person};

pub struct LaunchDarkly {
    bytes: Vec<u8>,
    store: Flags,
    contexts: Vec<Context>,
    rollouts: Vec<String>,
    conditions: Vec<String>,
}

struct Flags(HashMap<String, Flag>);

impl Store for Flags {
    fn flag(&self, key: &str) -> Option<Flag> {
        self.0.get(key).cloned()
    }

    fn segment(&self, _: &str) -> Option<Segment> {
        None
    }
}

impl LaunchDarkly {
    pub fn new() -> Self {
        let by_key: serde_json::Map<String, Value> =
            flags::flags().iter().map(|spec| (spec.key.clone(), flag(spec))).collect();
        let bytes = Value::Object(by_key).to_string().into_bytes();
        Self {
            store: load(&bytes),
            bytes,
            contexts: flags::people().iter().map(context).collect(),
            rollouts: flags::asked_rollouts(),
            conditions: flags::asked_conditions(),
        }
    }

    fn ask(&self, flag: &str, person: usize) -> &FlagValue {
        evaluate(&self.store, &self.store.0[flag], &self.contexts[person], None).value.unwrap()
    }
}

impl Subject for LaunchDarkly {
    fn name(&self) -> &'static str {
        "launchdarkly-server-sdk-evaluation"
    }

    fn a(&mut self, turn: usize) -> u64 {
        let (flag, person) = flags::turn(turn);
        u64::from(self.ask(&self.rollouts[flag], person).as_bool().unwrap())
    }

    fn b(&mut self, turn: usize) -> u64 {
        let (flag, person) = flags::turn(turn);
        match self.ask(&self.conditions[flag], person) {
            FlagValue::Str(text) => u64::from(text.as_bytes()[0]),
            other => panic!("{other:?}"),
        }
    }

    fn c(&mut self, turn: usize) -> u64 {
        let (_, person) = flags::turn(turn);
        let context = &self.contexts[person];
        let answers = self.store.0.values().map(|flag| evaluate(&self.store, flag, context, None));
        answers.filter(|answer| answer.value.is_some()).count() as u64
    }

    fn load(&mut self) -> u64 {
        load(&self.bytes).0.len() as u64
    }
}

fn load(bytes: &[u8]) -> Flags {
    Flags(serde_json::from_slice(bytes).unwrap())
}

fn context(person: &Person) -> Context {
    let mut builder = ContextBuilder::new(&person.key);
    builder
        .set_string("country", person.country)
        .set_string("appVersion", &person.app_version)
        .set_string("plan", person.plan)
        .set_string("email", &person.email)
        .set_string("language", person.language)
        .set_string("device", person.device)
        .set_bool("beta", person.beta)
        .set_float("age", f64::from(person.age))
        .set_float("sessions", f64::from(person.sessions));
    builder.build().unwrap()
}

fn flag(spec: &FlagSpec) -> Value {
    let rollout = |weights: &[u32]| {
        let variations: Vec<Value> = weights
            .iter()
            .enumerate()
            .map(|(variation, weight)| json!({ "variation": variation, "weight": weight }))
            .collect();
        json!({ "rollout": { "variations": variations, "contextKind": "user" } })
    };
    let thirds = || rollout(&[33_333, 33_333, 33_334]);
    let clause = |attribute: &str, op: &str, values: Value| json!({ "contextKind": "user", "attribute": attribute, "op": op, "values": values, "negate": false });
    let (variations, rules, fallthrough) = match &spec.kind {
        Kind::Rollout => (json!([true, false]), json!([]), rollout(&[50_000, 50_000])),
        Kind::Conditions(conditions) => {
            let mut rule = thirds();
            rule["id"] = json!("targeted");
            rule["trackEvents"] = json!(false);
            // "at least" is "not less than", as LaunchDarkly's own pages express it.
            let mut version = clause("appVersion", "semVerLessThan", json!([conditions.version_min]));
            version["negate"] = json!(true);
            rule["clauses"] = json!([
                clause("country", "in", json!(conditions.countries)),
                version,
                clause("plan", "in", json!(["pro"])),
            ]);
            (json!(COLOURS), json!([rule]), json!({ "variation": 0 }))
        }
        Kind::Variants => (json!(COLOURS), json!([]), thirds()),
    };
    json!({
        "key": spec.key, "version": 1, "on": true, "targets": [], "contextTargets": [], "rules": rules,
        "prerequisites": [], "fallthrough": fallthrough, "offVariation": 0, "variations": variations,
        "salt": spec.key, "clientSideAvailability": { "usingMobileKey": false, "usingEnvironmentId": false },
    })
}
