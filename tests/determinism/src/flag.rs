//! Random flags with every feature, in JSON as users write them; about one in fifteen has a fault.

use serde_json::{Map, Value, json};

use crate::chance::Chance;
use crate::condition::condition;
use crate::words::{MOMENTS, UNITS, unit};

/// What a flag may name beside itself.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// All flags, this one at `own`.
    pub(crate) flags: Vec<String>,
    pub(crate) own: usize,
    pub(crate) segments: Vec<String>,
    pub(crate) layers: Vec<String>,
}

const VARIATIONS: [&str; 4] = ["on", "off", "größe \"x\"", "c"];
const STICKINESSES: [&str; 5] = ["default", "random", "targetingKey", "account", "sessionId"];

/// A flag.
pub(crate) fn flag(chance: &mut Chance, names: &Names) -> Value {
    let variation_count = 2 + chance.at(3);
    let keys = &VARIATIONS[..variation_count];
    let (value_type, values) = values(chance);
    let variations: Vec<Value> =
        keys.iter().zip(values).map(|(key, value)| json!({ "key": key, "value": value })).collect();
    let rules: Vec<Value> = (0..chance.below(4)).map(|at| rule(chance, at, keys, &names.segments)).collect();
    let mut flag = json!({
        "key": names.flags[names.own], "value_type": value_type, "variations": variations,
        "default_variation": chance.pick(keys), "rules": rules,
        "enabled": !chance.once_in(12),
    });
    let fields = flag.as_object_mut().expect("an object was written");
    if chance.once_in(2) {
        fields.insert("off_variation".into(), json!(chance.pick(keys)));
    }
    if chance.once_in(10) {
        fields.remove("default_variation");
    }
    if chance.once_in(3) {
        fields.insert("salt".into(), json!(format!("salt-{}", chance.below(5))));
    }
    if chance.once_in(5) {
        fields.insert("bucket_by".into(), json!(chance.pick(&["account", "sessionId", "age"])));
    }
    fields.insert("on_stale".into(), json!(chance.pick(&["keep", "keep", "default", "off"])));
    guards(chance, fields, keys, names);
    if chance.once_in(3) {
        fields.insert("cohort".into(), cohort(chance, keys));
    }
    if chance.once_in(15) {
        spoil(chance, fields);
    }
    flag
}

/// Values for as many variations as there are.
fn values(chance: &mut Chance) -> (&'static str, [Value; 4]) {
    match chance.below(5) {
        0 => ("boolean", [json!(true), json!(false), json!(true), json!(false)]),
        1 => ("string", [json!(""), json!("größe"), json!("\u{1}\"\\/😀"), json!("x")]),
        2 => ("integer", [json!(0), json!(-1), json!(u64::MAX), json!(9_007_199_254_740_993_u64)]),
        3 => ("float", [json!(1), json!(1e300), json!(0.1), json!(5e-324)]),
        _ => (
            "object",
            [json!({ "z": [1, null], "a": { "b": 1.5 } }), json!([]), json!([[{}]]), json!({ "": 1e21 })],
        ),
    }
}

fn rule(chance: &mut Chance, at: u64, keys: &[&str], segments: &[String]) -> Value {
    let conditions: Vec<Value> = (0..chance.below(3)).map(|_| condition(chance, segments)).collect();
    let part_count = if chance.once_in(2) { 1 } else { 1 + chance.at(keys.len()) };
    let mut split: Vec<Value> = (0..part_count)
        .map(|_| json!({ "variation": chance.pick(keys), "weight": chance.pick(&[0_u32, 1, 3, 500, 333_333]) }))
        .collect();
    split[0]["weight"] = json!(1 + chance.below(3));
    let mut rule = json!({ "key": format!("r{at}"), "conditions": conditions, "split": split });
    if chance.once_in(8) {
        rule["schedule"] = schedule(chance);
    }
    match chance.below(3) {
        0 => rule["percentage"] = chance.pick(&PERCENTAGES).into(),
        1 => {
            let mut lane =
                json!({ "split": { "group": group(chance), "stickiness": chance.pick(&STICKINESSES) } });
            if chance.once_in(2) {
                let percent = chance.pick(&[0, 1, 33, 50, 99, 100]);
                lane["gate"] = json!({ "group": group(chance), "stickiness": chance.pick(&STICKINESSES), "percent": percent });
            }
            rule["unleash"] = lane;
        }
        _ => {}
    }
    rule
}

const PERCENTAGES: [f64; 9] = [0.0, 0.0001, 1.0, 12.5, 33.3333, 50.0, 66.6667, 99.9999, 100.0];

fn group(chance: &mut Chance) -> &'static str {
    chance.pick(&["", "group", "größe"])
}

fn schedule(chance: &mut Chance) -> Value {
    let (from, until) = (chance.pick(&MOMENTS), chance.pick(&MOMENTS));
    match chance.below(3) {
        0 => json!({ "from_ms": from }),
        1 => json!({ "until_ms": until + 1 }),
        _ => json!({ "from_ms": from.min(until), "until_ms": from.max(until) + 1 }),
    }
}

/// Schedule, prerequisites, targets, holdout role, layer.
fn guards(chance: &mut Chance, fields: &mut Map<String, Value>, keys: &[&str], names: &Names) {
    if chance.once_in(8) {
        fields.insert("schedule".into(), schedule(chance));
    }
    if names.own > 0 && chance.once_in(4) {
        // Mostly earlier flags, so that few environments are full of cycles.
        let end = if chance.once_in(20) { names.flags.len() } else { names.own };
        let wanted: Vec<&str> = (0..=chance.below(2)).map(|_| chance.pick(&VARIATIONS[..2])).collect();
        let prerequisite = json!({ "flag": names.flags[chance.at(end)], "variations": wanted });
        fields.insert("prerequisites".into(), json!([prerequisite]));
    }
    if chance.once_in(4) {
        let half = UNITS.len() / 2;
        let mut targets =
            vec![json!({ "variation": chance.pick(keys), "units": &UNITS[..=chance.at(half)] })];
        if chance.once_in(2) {
            targets.push(json!({ "variation": chance.pick(keys), "units": &UNITS[half..] }));
        }
        if chance.once_in(3) {
            let attribute = chance.pick(&["account", "country", "age"]);
            targets.push(
                json!({ "variation": chance.pick(keys), "units": ["DE", "17"], "attribute": attribute }),
            );
        }
        fields.insert("targets".into(), targets.into());
    }
    if chance.once_in(5) {
        fields.insert("holdout".into(), json!("exempt"));
    }
    if !names.layers.is_empty() && chance.once_in(5) {
        let from = chance.below(10) * 100_000;
        let layer = &names.layers[chance.at(names.layers.len())];
        fields.insert("layer".into(), json!({ "key": layer, "from": from, "to": from + 100_000 }));
    }
}

fn cohort(chance: &mut Chance, keys: &[&str]) -> Value {
    let exposed = 1 + chance.below(500_000);
    let control = 600_000 + chance.below(399_999);
    let mut cohort = json!({ "phase": 7, "slices": [
        { "from": 0, "to": exposed, "variation": keys[0], "arm": "exposed", "phase": chance.below(8) },
        { "from": control, "to": 1_000_000, "variation": keys[1], "arm": "control" },
    ] });
    if chance.once_in(2) {
        cohort["withheld"] = json!({ "variation": keys[0], "instead": keys[1] });
    }
    cohort
}

/// Breaks one thing; the flag then has to fail alone and with the same words everywhere.
fn spoil(chance: &mut Chance, fields: &mut Map<String, Value>) {
    let (name, value) = match chance.below(8) {
        0 => ("default_variation", json!("missing")),
        1 => ("surprise", json!(unit(chance))),
        2 => ("value_type", json!("integer")),
        3 => ("salt", json!("")),
        4 => ("prerequisites", json!([{ "flag": "missing", "variations": ["on"] }])),
        5 => ("layer", json!({ "key": "missing", "from": 0, "to": 1 })),
        6 => ("rules", json!([{ "key": "r", "percentage": 0.000_01, "split": [{ "variation": "on" }] }])),
        _ => ("rules", json!([{ "key": "r", "split": [{ "variation": "on", "weight": 0 }] }])),
    };
    fields.insert(name.to_owned(), value);
}
