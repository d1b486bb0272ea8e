//! `datalogic-rs`: JSONLogic with flagd's operators, rules compiled once, the person parsed once.
//!
//! Not equal, all in its favour: the answer is a variation's name, nobody looks its value up or says why; the map of
//! rules around it is ours; the flag's key stands in the rule, where flagd would put it into each context.

use ahash::HashMap;
use datalogic_rs::bumpalo::Bump;
use datalogic_rs::{Engine, Logic, ParsedData};
use serde_json::Value;

use crate::flagd::{document, rule_of};
use crate::subject::Subject;
use flagfuse_bench_ours::flags::{self, Person};

pub struct Datalogic {
    bytes: Vec<u8>,
    engine: Engine,
    arena: Bump,
    rules: HashMap<String, Logic>,
    contexts: Vec<ParsedData>,
    rollouts: Vec<String>,
    conditions: Vec<String>,
}

impl Datalogic {
    pub fn new() -> Self {
        let bytes = document(&flags::flags()).into_bytes();
        let engine = Engine::new();
        Self {
            rules: load(&engine, &bytes),
            arena: Bump::new(),
            engine,
            bytes,
            contexts: flags::people().iter().map(context).collect(),
            rollouts: flags::asked_rollouts(),
            conditions: flags::asked_conditions(),
        }
    }
}

/// The first byte of the variation's name, `None` when there is no answer.
fn ask(engine: &Engine, arena: &mut Bump, rule: &Logic, context: &ParsedData) -> Option<u8> {
    let first = engine.evaluate(rule, context, arena).ok()?.as_str().map(|name| name.as_bytes()[0]);
    arena.reset();
    first
}

impl Subject for Datalogic {
    fn name(&self) -> &'static str {
        "datalogic-rs"
    }

    fn a(&mut self, turn: usize) -> u64 {
        let (flag, person) = flags::turn(turn);
        let rule = &self.rules[&self.rollouts[flag]];
        u64::from(ask(&self.engine, &mut self.arena, rule, &self.contexts[person]).unwrap() == b'y')
    }

    fn b(&mut self, turn: usize) -> u64 {
        let (flag, person) = flags::turn(turn);
        let rule = &self.rules[&self.conditions[flag]];
        u64::from(ask(&self.engine, &mut self.arena, rule, &self.contexts[person]).unwrap())
    }

    fn c(&mut self, turn: usize) -> u64 {
        let (_, person) = flags::turn(turn);
        let context = &self.contexts[person];
        self.rules.values().filter(|rule| ask(&self.engine, &mut self.arena, rule, context).is_some()).count()
            as u64
    }

    fn load(&mut self) -> u64 {
        load(&self.engine, &self.bytes).len() as u64
    }
}

fn load(engine: &Engine, bytes: &[u8]) -> HashMap<String, Logic> {
    let document: Value = serde_json::from_slice(bytes).unwrap();
    let flags = document["flags"].as_object().unwrap();
    flags.iter().map(|(key, flag)| (key.clone(), engine.compile(&rule_of(flag)).unwrap())).collect()
}

fn context(person: &Person) -> ParsedData {
    ParsedData::from_json(&person.to_json("targetingKey").to_string()).unwrap()
}
