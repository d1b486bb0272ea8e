//! Random environments: segments, layers, a holdout, and flags that name them.

use std::fmt::Write as _;

use flagfuse_inspect::explain::{Opened, open};
use flagfuse_shared::definition::{FlagWire, SharedWire};
use flagfuse_shared::snapshot::{Admitted, Outcome, TrustedRoots, verify};
use serde_json::{Value, json};

use crate::FLAG_COUNT;
use crate::chance::Chance;
use crate::condition::condition;
use crate::flag::{Names, flag};
use crate::signing::{NOW, root_key, scope, sign};
use crate::words::UNITS;

/// Flag keys of an environment, in no particular order.
pub(crate) fn flag_keys() -> Vec<String> {
    (0..FLAG_COUNT)
        .map(|at| if at == 13 { "größe \"x\"/1".to_owned() } else { format!("flag-{at}") })
        .collect()
}

/// An environment that passed verification, once to be asked and once to be asked why.
pub(crate) struct Environment {
    pub(crate) admitted: Admitted,
    pub(crate) opened: Opened,
}

/// Signs and verifies: there is no other door to a snapshot that can be evaluated. The error says why there is none.
pub(crate) fn admit(flags: Vec<FlagWire>, shared: SharedWire) -> Result<Environment, String> {
    let frame = sign(flags, shared).map_err(|error| error.to_string())?;
    let roots = TrustedRoots::parse([root_key().as_str()], 1).map_err(|error| error.to_string())?;
    match (verify(&frame, &roots, &scope(), None, NOW), open(&frame, &roots, &scope(), NOW)) {
        (Ok(Outcome::Newer(admitted)), Ok(opened)) => Ok(Environment { admitted: *admitted, opened }),
        (other, _) => panic!("what was just signed is not admitted: {other:?}"),
    }
}

/// An environment as people write it. Flags that cannot even be read are left out and told in `notes`.
pub(crate) fn written(chance: &mut Chance, notes: &mut String) -> (Vec<FlagWire>, SharedWire) {
    let shared = shared(chance);
    let keys_of = |list: &str| -> Vec<String> {
        let entries = shared[list].as_array().into_iter().flatten();
        entries.filter_map(|entry| entry["key"].as_str()).map(str::to_owned).collect()
    };
    let (segments, layers) = (keys_of("segments"), keys_of("layers"));
    let mut flags = Vec::new();
    for own in 0..FLAG_COUNT {
        let names = Names { flags: flag_keys(), own, segments: segments.clone(), layers: layers.clone() };
        // Written and read again, as it would be: numbers pass through their text.
        match serde_json::from_str::<FlagWire>(&flag(chance, &names).to_string()) {
            Ok(flag) => flags.push(flag),
            Err(error) => {
                let _ = writeln!(notes, "flag {own} is unreadable: {error}");
            }
        }
    }
    (flags, serde_json::from_value(shared).expect("what flags share has its shape"))
}

fn shared(chance: &mut Chance) -> Value {
    let segment_count = chance.at(5);
    let keys: Vec<String> = (0..segment_count).map(|at| format!("segment-{at}")).collect();
    let segments: Vec<Value> = (0..segment_count).map(|at| segment(chance, at, &keys)).collect();
    let layers = json!([{ "key": "layer-a" }, { "key": "layer-b", "salt": "größe", "bucket_by": "account" }]);
    let mut shared =
        json!({ "segments": segments, "layers": &layers.as_array().expect("a list")[..chance.at(3)] });
    if chance.once_in(3) {
        let percentage = chance.pick(&[0.0, 5.0, 33.3333, 100.0]);
        shared["holdout"] = json!({ "percentage": percentage, "salt": "holdout" });
        if chance.once_in(3) {
            shared["holdout"]["bucket_by"] = json!("account");
        }
    }
    if chance.once_in(50) {
        shared["holdout"] = json!({ "percentage": 0.000_01, "salt": "holdout" });
    }
    shared
}

fn segment(chance: &mut Chance, at: usize, keys: &[String]) -> Value {
    // Mostly later ones, so that cycles are rare.
    let named = if chance.once_in(12) { keys } else { &keys[at + 1..] };
    let rules: Vec<Value> = (0..chance.below(3))
        .map(|_| {
            let conditions: Vec<Value> = (0..chance.below(3)).map(|_| condition(chance, named)).collect();
            json!({ "conditions": conditions })
        })
        .collect();
    let mut segment = json!({ "key": keys[at], "rules": rules });
    for list in ["included", "excluded"] {
        if chance.once_in(3) {
            segment[list] = json!(&UNITS[chance.at(UNITS.len())..]);
        }
    }
    if chance.once_in(4) {
        segment["attribute"] = json!(chance.pick(&["account", "country"]));
    }
    segment
}
