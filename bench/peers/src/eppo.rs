//! `eppo_core`. Not equal: `doLog` is off, so it makes no exposure event, and rollout and split hash with MD5.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use eppo_core::eval::get_assignment;
use eppo_core::ufc::{AssignmentValue, UniversalFlagConfig, VariationType};
use eppo_core::{Attributes, Configuration, SdkMetadata, Str};
use serde_json::{Value, json};

use crate::subject::Subject;
use flagfuse_bench_ours::flags::{self, COLOURS, FlagSpec, Kind, Person};

const SHARDS: u32 = 10_000;

pub struct Eppo {
    bytes: Vec<u8>,
    configuration: Configuration,
    people: Vec<(Str, Arc<Attributes>)>,
    rollouts: Vec<String>,
    conditions: Vec<String>,
    all: Vec<String>,
    now: DateTime<Utc>,
}

impl Eppo {
    pub fn new() -> Self {
        let flags = flags::flags();
        let bytes = configuration(&flags);
        Self {
            configuration: load(&bytes),
            bytes,
            people: flags::people().iter().map(person).collect(),
            rollouts: flags::asked_rollouts(),
            conditions: flags::asked_conditions(),
            all: flags.into_iter().map(|flag| flag.key).collect(),
            now: Utc::now(),
        }
    }

    fn ask(&self, flag: &str, person: usize, kind: Option<VariationType>) -> Option<AssignmentValue> {
        let (key, attributes) = &self.people[person];
        let answer = get_assignment(Some(&self.configuration), flag, key, attributes, kind, self.now);
        answer.unwrap().map(|assignment| assignment.value)
    }
}

impl Subject for Eppo {
    fn name(&self) -> &'static str {
        "eppo_core"
    }

    fn a(&mut self, turn: usize) -> u64 {
        let (flag, person) = flags::turn(turn);
        let value = self.ask(&self.rollouts[flag], person, Some(VariationType::Boolean));
        u64::from(value.unwrap().as_boolean().unwrap())
    }

    fn b(&mut self, turn: usize) -> u64 {
        let (flag, person) = flags::turn(turn);
        let value = self.ask(&self.conditions[flag], person, Some(VariationType::String));
        u64::from(value.unwrap().as_str().unwrap().as_bytes()[0])
    }

    fn c(&mut self, turn: usize) -> u64 {
        let (_, person) = flags::turn(turn);
        self.all.iter().filter(|flag| self.ask(flag, person, None).is_some()).count() as u64
    }

    fn load(&mut self) -> u64 {
        load(&self.bytes).flag_keys().count() as u64
    }
}

/// The copy of the bytes is the peer's own demand: it keeps them.
fn load(bytes: &[u8]) -> Configuration {
    let sdk = SdkMetadata { name: "bench", version: "0" };
    Configuration::from_server_response(UniversalFlagConfig::from_json(sdk, bytes.to_vec()).unwrap(), None)
}

fn person(person: &Person) -> (Str, Arc<Attributes>) {
    let attributes: Attributes = [
        ("country", person.country.into()),
        ("appVersion", person.app_version.as_str().into()),
        ("plan", person.plan.into()),
        ("email", person.email.as_str().into()),
        ("language", person.language.into()),
        ("device", person.device.into()),
        ("beta", person.beta.into()),
        ("age", f64::from(person.age).into()),
        ("sessions", f64::from(person.sessions).into()),
    ]
    .into_iter()
    .map(|(name, value)| (Str::from(name), value))
    .collect();
    (Str::from(person.key.as_str()), Arc::new(attributes))
}

fn configuration(flags: &[FlagSpec]) -> Vec<u8> {
    let by_key: serde_json::Map<String, Value> =
        flags.iter().map(|spec| (spec.key.clone(), flag(spec))).collect();
    let document = json!({
        "createdAt": "2026-01-01T00:00:00Z", "format": "SERVER", "environment": { "name": "production" },
        "flags": by_key, "bandits": {},
    });
    document.to_string().into_bytes()
}

fn flag(spec: &FlagSpec) -> Value {
    let shard = |from: u32, to: u32| json!([{ "salt": spec.key, "ranges": [{ "start": from, "end": to }] }]);
    let allocation = |key: &str, rules: Value, splits: Value| json!({ "key": key, "rules": rules, "splits": splits, "doLog": false });
    let thirds = || {
        json!([
            { "variationKey": COLOURS[0], "shards": shard(0, 3_333) },
            { "variationKey": COLOURS[1], "shards": shard(3_333, 6_666) },
            { "variationKey": COLOURS[2], "shards": shard(6_666, SHARDS) },
        ])
    };
    let (kind, allocations) = match &spec.kind {
        Kind::Rollout => {
            let on = json!([{ "variationKey": "on", "shards": shard(0, SHARDS / 2) }]);
            let off = json!([{ "variationKey": "off", "shards": [] }]);
            ("BOOLEAN", vec![allocation("rollout", json!([]), on), allocation("rest", json!([]), off)])
        }
        Kind::Conditions(conditions) => {
            let rules = json!([{ "conditions": [
                { "attribute": "country", "operator": "ONE_OF", "value": conditions.countries },
                { "attribute": "appVersion", "operator": "GTE", "value": conditions.version_min },
                { "attribute": "plan", "operator": "ONE_OF", "value": ["pro"] },
            ] }]);
            ("STRING", vec![allocation("targeted", rules, thirds())])
        }
        Kind::Variants => ("STRING", vec![allocation("split", json!([]), thirds())]),
    };
    let variations = match &spec.kind {
        Kind::Rollout => {
            json!({ "on": { "key": "on", "value": true }, "off": { "key": "off", "value": false } })
        }
        Kind::Conditions(_) | Kind::Variants => {
            COLOURS.iter().map(|name| ((*name).to_owned(), json!({ "key": name, "value": name }))).collect()
        }
    };
    json!({
        "key": spec.key, "enabled": true, "variationType": kind, "variations": variations,
        "allocations": allocations, "totalShards": SHARDS,
    })
}
