//! What the diff of two random environments says, against what the signed environments answer.

use std::collections::BTreeMap;

use flagfuse_inspect::diff::{Diff, Kind, Side, diff};
use flagfuse_shared::context::Context;
use flagfuse_shared::definition::{FlagWire, SharedWire};
use flagfuse_shared::evaluate::Question;
use flagfuse_shared::ofrep::parse_request;
use flagfuse_shared::snapshot::Admitted;
use proptest::prelude::*;

use crate::chance::Chance;
use crate::context::Ask;
use crate::environment::{admit, written};
use crate::signing::NOW;

type Written = (Vec<FlagWire>, SharedWire);

fn random(seed: u64) -> Written {
    let (flags, mut shared) = written(&mut Chance::new(seed), &mut String::new());
    // A holdout that cannot be is a matter of the whole environment, and no flag answers.
    shared.holdout = shared.holdout.filter(|holdout| holdout.percentage >= 1.0);
    (flags, shared)
}

/// Some flags and some of what they share come from another environment.
fn mutated(written: &Written, seed: u64) -> Written {
    let (mut flags, mut shared) = written.clone();
    let (other_flags, other_shared) = random(seed);
    let mut chance = Chance::new(seed);
    for other in other_flags {
        if chance.once_in(8) {
            flags.retain(|flag| flag.key != other.key || chance.once_in(20));
            if !flags.iter().any(|flag| flag.key == other.key) && !chance.once_in(4) {
                flags.push(other);
            }
        }
    }
    if chance.once_in(3) {
        let keys: Vec<String> = shared.segments.iter().map(|segment| segment.key.clone()).collect();
        for other in other_shared.segments.into_iter().filter(|segment| keys.contains(&segment.key)) {
            if chance.once_in(2) {
                shared.segments.retain(|segment| segment.key != other.key);
                shared.segments.push(other);
            }
        }
    }
    if chance.once_in(4) {
        shared.holdout = other_shared.holdout;
    }
    if chance.once_in(4) {
        shared.layers = other_shared.layers;
    }
    (flags, shared)
}

fn of(old: &Written, new: &Written) -> Diff {
    diff(&Side::new(&old.0, &old.1), &Side::new(&new.0, &new.1), NOW).expect("both are sound")
}

/// What a caller gets of each flag.
fn decisions(admitted: &Admitted, question: Question<'_>) -> BTreeMap<String, Option<(String, String)>> {
    let evaluator = admitted.snapshot.evaluator(question);
    let served = evaluator.all().map(|(key, answer)| {
        let variation = answer.ok().and_then(|answer| answer.variation);
        (key.to_string(), variation.map(|served| (served.key().to_string(), served.json().to_owned())))
    });
    served.collect()
}

fn key_of(decision: Option<&Option<(String, String)>>) -> Option<String> {
    decision.cloned().flatten().map(|(key, _)| key)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_environment_does_not_differ_from_itself_in_any_order(seed: u64) {
        let world = random(seed);
        let mut turned = world.clone();
        turned.0.reverse();
        turned.1.segments.reverse();
        prop_assert_eq!(of(&world, &turned), Diff::default());
    }

    /// Askers that the diff knows nothing of: whatever they see change, it has reached.
    #[test]
    fn every_flag_that_answers_otherwise_is_named(seed: u64, other: u64) {
        let old = random(seed);
        let new = mutated(&old, other);
        let found = of(&old, &new);
        prop_assert_eq!(&found, &of(&old, &new));
        let (before, after) = (admit(old.0, old.1).unwrap().admitted, admit(new.0, new.1).unwrap().admitted);
        let mut chance = Chance::new(seed ^ other);
        for _ in 0..50 {
            let ask = Ask::draw(&mut chance);
            let Ok(context) = parse_request(ask.body.as_bytes()) else { continue };
            let question = Question { random: ask.chance, ..Question::new(&context, ask.now) };
            let (was, is) = (decisions(&before, question), decisions(&after, question));
            for key in was.keys().chain(is.keys()).filter(|key| was.get(*key) != is.get(*key)) {
                prop_assert!(found.flags.iter().any(|flag| flag.flag == *key), "{key} {}", ask.body);
            }
        }
    }

    /// The diff compiles only a part of each environment: the whole ones answer its examples in the same way.
    #[test]
    fn every_example_is_answered_as_told_by_the_signed_environments(seed: u64, other: u64) {
        let old = random(seed);
        let new = mutated(&old, other);
        let found = of(&old, &new);
        let (before, after) = (admit(old.0, old.1).unwrap().admitted, admit(new.0, new.1).unwrap().admitted);
        for flag in &found.flags {
            let count: u32 = flag.moves.iter().map(|told| told.count).sum();
            prop_assert_eq!(count, flag.changed);
            prop_assert!(flag.changed <= flag.sampled && (flag.kind != Kind::Added || flag.changed == 0));
            let is_told = matches!(flag.kind, Kind::Added | Kind::Removed);
            let served: u32 = flag.served.iter().map(|served| served.count).sum();
            prop_assert_eq!(served, if is_told { flag.sampled } else { 0 });
            for told in &flag.moves {
                // Not by way of text: its reader may lose the last bit of a long double, and a condition can name just that.
                let context = Context::from_json(told.example.clone()).unwrap();
                if before.snapshot.may_be_random(&context) || after.snapshot.may_be_random(&context) {
                    continue;
                }
                let question = Question::new(&context, told.at_ms.unwrap_or(NOW));
                let (was, is) = (decisions(&before, question), decisions(&after, question));
                prop_assert_eq!(&key_of(was.get(&flag.flag)), &told.from, "{} {}", flag.flag, told.example);
                prop_assert_eq!(&key_of(is.get(&flag.flag)), &told.to, "{} {}", flag.flag, told.example);
                prop_assert_ne!(was.get(&flag.flag), is.get(&flag.flag));
            }
        }
    }
}

#[test]
fn random_changes_change_decisions() {
    let count: usize = (0..20)
        .map(|seed| {
            let old = random(seed);
            let found = of(&old, &mutated(&old, seed + 1_000));
            found.flags.iter().filter(|flag| flag.changed > 0).count()
        })
        .sum();
    assert!(count > 20, "{count}");
}
