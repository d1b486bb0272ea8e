//! What must not change an answer, and how answers may change when a rollout grows; over random environments.

use std::collections::BTreeMap;

use flagfuse_inspect::explain::explain;
use flagfuse_shared::definition::{ConditionWire, FlagWire, Operator, SharedWire};
use flagfuse_shared::evaluate::{EvaluationError, EvaluationResult, Observer, Question, Step};
use flagfuse_shared::ids::{SnapshotVersion, UnixMillis};
use flagfuse_shared::ofrep::{Origin, parse_request, write_answer};
use flagfuse_shared::snapshot::Admitted;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::chance::Chance;
use crate::context::Ask;
use crate::environment::{Environment, admit, written};
use crate::signing::{scope, sign};
use crate::words::MOMENTS;

/// Askers for one environment: few, because proptest brings many environments.
const ASK_COUNT: usize = 10;

/// A random environment and its askers.
struct World {
    flags: Vec<FlagWire>,
    shared: SharedWire,
    asks: Vec<Ask>,
    chance: Chance,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let (flags, mut shared) = written(&mut chance, &mut String::new());
        // A holdout that cannot be is a matter of the whole environment, and no flag answers.
        shared.holdout = shared.holdout.filter(|holdout| holdout.percentage >= 1.0);
        let asks = (0..ASK_COUNT).map(|_| Ask::draw(&mut chance)).collect();
        Self { flags, shared, asks, chance }
    }

    fn admit(&self) -> Admitted {
        self.environment().admitted
    }

    fn environment(&self) -> Environment {
        admit(self.flags.clone(), self.shared.clone()).expect("the environment is sound")
    }

    fn answers(&self) -> Vec<BTreeMap<String, String>> {
        let admitted = self.admit();
        self.asks.iter().map(|ask| answers(&admitted, ask)).collect()
    }
}

/// Each flag's answer; of a malformed flag only that it is: the fault may name positions.
fn answers(admitted: &Admitted, ask: &Ask) -> BTreeMap<String, String> {
    let Ok(context) = parse_request(ask.body.as_bytes()) else { return BTreeMap::new() };
    let question =
        Question { freshness: ask.freshness, random: ask.chance, ..Question::new(&context, ask.now) };
    let evaluator = admitted.snapshot.evaluator(question);
    evaluator.all().map(|(key, answer)| (key.to_string(), text(key.as_str(), &answer))).collect()
}

fn text(key: &str, answer: &EvaluationResult<'_>) -> String {
    let mut text = String::new();
    if matches!(answer, Err(EvaluationError::Malformed(_))) {
        text.push_str("malformed");
    } else {
        write_answer(&mut text, key, answer, &origin());
    }
    text
}

fn origin() -> Origin {
    Origin::new(SnapshotVersion { epoch: 1, seq: 1 }, &scope())
}

fn shuffle<T>(chance: &mut Chance, list: &mut [T]) {
    for end in (1..list.len()).rev() {
        let other = chance.at(end + 1);
        list.swap(end, other);
    }
}

fn shuffle_condition(chance: &mut Chance, condition: &mut ConditionWire) {
    shuffle(chance, &mut condition.values);
    assert!(condition.op != Operator::Exists || condition.values.is_empty());
}

/// Every list whose order must not matter. The order of rules and of a split's parts does.
fn shuffle_world(world: &mut World) {
    let World { flags, shared, chance, .. } = world;
    shuffle(chance, flags);
    for flag in flags {
        shuffle(chance, &mut flag.variations);
        shuffle(chance, &mut flag.prerequisites);
        for prerequisite in &mut flag.prerequisites {
            shuffle(chance, &mut prerequisite.variations);
        }
        for target in &mut flag.targets {
            shuffle(chance, &mut target.units);
        }
        // Attributes are asked in the order in which they are named first, so only targets of one attribute move.
        if flag.targets.iter().all(|target| target.attribute.is_none()) {
            shuffle(chance, &mut flag.targets);
        }
        for rule in &mut flag.rules {
            shuffle(chance, &mut rule.conditions);
            rule.conditions.iter_mut().for_each(|condition| shuffle_condition(chance, condition));
        }
    }
    shuffle(chance, &mut shared.segments);
    shuffle(chance, &mut shared.layers);
    for segment in &mut shared.segments {
        shuffle(chance, &mut segment.included);
        shuffle(chance, &mut segment.excluded);
        shuffle(chance, &mut segment.rules);
        for rule in &mut segment.rules {
            shuffle(chance, &mut rule.conditions);
            rule.conditions.iter_mut().for_each(|condition| shuffle_condition(chance, condition));
        }
    }
}

/// The body's context with its attributes in another order, and with more of them.
fn rewrite(ask: &Ask, chance: &mut Chance, more: &[(String, Value)]) -> Ask {
    // What is refused, such as an attribute that comes twice, stays what it is: rewritten, it would be none of that.
    if parse_request(ask.body.as_bytes()).is_err() {
        return ask.clone();
    }
    let Ok(Value::Object(body)) = serde_json::from_str::<Value>(&ask.body) else { return ask.clone() };
    let Some(Value::Object(context)) = body.get("context") else { return ask.clone() };
    let mut entries: Vec<(String, Value)> = context.clone().into_iter().chain(more.to_vec()).collect();
    shuffle(chance, &mut entries);
    let entries: Vec<String> =
        entries.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
    Ask { body: format!("{{\"context\":{{{}}}}}", entries.join(",")), ..ask.clone() }
}

#[derive(Default)]
struct Counter(usize);

impl Observer for Counter {
    fn saw(&mut self, step: Step<'_>) {
        self.0 += format!("{step:?}").len();
    }
}

/// Units that a flag serves `on`, by flag.
fn served_on(flags: Value, units: &[String]) -> Vec<Vec<bool>> {
    let flags: Vec<FlagWire> = serde_json::from_value(flags).expect("flags");
    let keys: Vec<String> = flags.iter().map(|flag| flag.key.clone()).collect();
    let admitted = admit(flags, SharedWire::default()).expect("the environment is sound").admitted;
    let is_on = |key: &String, unit: &String| {
        let context = flagfuse_shared::context::Context::for_unit(unit);
        let question = Question::new(&context, crate::signing::NOW);
        let answer = admitted.snapshot.evaluator(question).flag(key).expect("the flag answers");
        answer.variation.is_some_and(|variation| variation.key().as_str() == "on")
    };
    keys.iter().map(|key| units.iter().map(|unit| is_on(key, unit)).collect()).collect()
}

fn on_off(key: &str, salt: &str, field: &str, value: Value) -> Value {
    let mut flag = json!({
        "key": key, "value_type": "boolean", "salt": salt, "default_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
    });
    flag[field] = value;
    flag
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_changes_nothing_where_it_must_not(seed: u64) {
        let mut world = World::new(seed);
        let before = world.answers();
        shuffle_world(&mut world);
        let mut chance = Chance::new(seed);
        world.asks = world.asks.iter().map(|ask| rewrite(ask, &mut chance, &[])).collect();
        prop_assert_eq!(before, world.answers());
    }

    #[test]
    fn an_attribute_that_nothing_names_changes_nothing(seed: u64, value in 0..7_usize, names in prop::collection::btree_set("[a-z]{0,3}-[ü\\PC]{0,3}", 1..9)) {
        let mut world = World::new(seed);
        let before = world.answers();
        let value = [json!(null), json!(1), json!("DE"), json!([1, {}]), json!({ "targetingKey": "x" }), json!(1e300), json!(true)][value].clone();
        let more: Vec<(String, Value)> = names.into_iter().map(|name| (name, value.clone())).collect();
        let mut chance = Chance::new(seed);
        world.asks = world.asks.iter().map(|ask| rewrite(ask, &mut chance, &more)).collect();
        prop_assert_eq!(before, world.answers());
    }

    #[test]
    fn flags_and_segments_that_nobody_names_change_nothing(seed: u64) {
        let mut world = World::new(seed);
        let before = world.answers();
        let others = World::new(seed.wrapping_add(1));
        // Before, between and behind the others: positions move, names do not meet.
        for (at, mut flag) in others.flags.into_iter().enumerate() {
            flag.key = format!("{}{}", ["a", "flag-1", "z", "ä"][at % 4], flag.key);
            flag.prerequisites.clear();
            flag.layer = None;
            flag.rules.retain(|rule| rule.conditions.iter().all(|condition| condition.op != Operator::InSegment));
            world.flags.push(flag);
        }
        for (at, mut segment) in others.shared.segments.into_iter().enumerate() {
            segment.key = format!("{}{}", ["a", "segment-1", "z"][at % 3], segment.key);
            segment.rules.clear();
            world.shared.segments.push(segment);
        }
        world.shared.layers.push(serde_json::from_value(json!({ "key": "a" })).expect("a layer"));
        let after = world.answers();
        for (before, mut after) in before.into_iter().zip(after) {
            after.retain(|key, _| before.contains_key(key));
            prop_assert_eq!(before, after);
        }
    }

    #[test]
    fn watching_changes_nothing_and_a_flag_alone_answers_as_among_others(seed: u64) {
        let world = World::new(seed);
        let Environment { admitted, opened } = world.environment();
        for ask in &world.asks {
            let Ok(context) = parse_request(ask.body.as_bytes()) else { continue };
            let question = Question { freshness: ask.freshness, random: ask.chance, ..Question::new(&context, ask.now) };
            let mut counter = Counter::default();
            let watched = admitted.snapshot.evaluator(question);
            for (key, together) in admitted.snapshot.evaluator(question).all() {
                let key = key.as_str();
                let alone = admitted.snapshot.evaluator(question).flag(key);
                prop_assert_eq!(&together, &alone);
                prop_assert_eq!(&together, &watched.flag_observed(key, &mut counter));
                let mut body = String::new();
                write_answer(&mut body, key, &together, &origin());
                prop_assert_eq!(explain(&opened, key, question).body, body);
            }
            prop_assert!(counter.0 > 0);
        }
    }

    #[test]
    fn what_a_validator_leaves_out_changes_nothing(seed: u64) {
        let world = World::new(seed);
        let admitted = world.admit();
        for ask in &world.asks {
            let Ok(context) = parse_request(ask.body.as_bytes()) else { continue };
            let unlucky = Ask { chance: ask.chance.wrapping_add(1), ..ask.clone() };
            if !admitted.snapshot.may_be_random(&context) {
                prop_assert_eq!(answers(&admitted, ask), answers(&admitted, &unlucky));
            }
            for moment in MOMENTS.map(UnixMillis) {
                if admitted.snapshot.stretch(moment) == admitted.snapshot.stretch(ask.now) {
                    let then = Ask { now: moment, ..ask.clone() };
                    prop_assert_eq!(answers(&admitted, ask), answers(&admitted, &then));
                }
            }
        }
    }

    #[test]
    fn flags_that_were_written_and_read_are_signed_as_the_same_bytes(seed: u64) {
        let World { flags, shared, .. } = World::new(seed);
        let read: Vec<FlagWire> =
            serde_json::from_str(&serde_json::to_string(&flags).expect("flags are JSON")).expect("flags are read");
        prop_assert_eq!(&read, &flags);
        let frames = (sign(flags, shared.clone()), sign(read, shared));
        prop_assert_eq!(frames.0, frames.1);
    }

    #[test]
    fn a_rollout_that_grows_drops_nobody(
        low in 0..=1_000_000_u32, high in 0..=1_000_000_u32, salt in "\\PC{1,20}",
        units in prop::collection::vec("\\PC{1,40}", 32),
    ) {
        let (low, high) = (low.min(high), low.max(high));
        let rule = |percentage: f64| json!([{ "key": "r", "percentage": percentage, "split": [{ "variation": "on" }] }]);
        let lane = |percent: u32| json!([{ "key": "r", "split": [{ "variation": "on" }], "unleash": { "gate":
            { "group": salt, "stickiness": "default", "percent": percent } } }]);
        let cohort = |to: u32| json!({ "phase": 1, "slices": [{ "from": 0, "to": to.max(1), "variation": "on", "arm": "exposed" }] });
        let flags = json!([
            on_off("native-low", &salt, "rules", rule(f64::from(low) / 10_000.0)),
            on_off("native-high", &salt, "rules", rule(f64::from(high) / 10_000.0)),
            on_off("unleash-low", &salt, "rules", lane(low / 10_000)),
            on_off("unleash-high", &salt, "rules", lane(high / 10_000)),
            on_off("cohort-low", &salt, "cohort", cohort(low)),
            on_off("cohort-high", &salt, "cohort", cohort(high)),
        ]);
        for pair in served_on(flags, &units).chunks(2) {
            let dropped = pair[0].iter().zip(&pair[1]).position(|(low, high)| *low && !*high);
            prop_assert_eq!(dropped, None);
        }
    }
}
