//! Which askers' answers may be random, as some of Unleash's are; known before anything is evaluated.

use crate::context::{AttributeName, Context, UnitSource};
use crate::flag::{Flag, Gate, Split, Stickiness};

/// What an environment's rules stick to.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Random {
    /// Some rule is random for everybody.
    is_for_everybody: bool,
    /// Some rule sticks to the user or, without one, to the first of these that is there.
    fallbacks: Option<Box<[AttributeName]>>,
    /// Some split is random for askers without this.
    needed: Vec<UnitSource>,
}

impl Random {
    pub(super) fn of<'f>(flags: impl Iterator<Item = &'f Flag>) -> Self {
        let mut random = Self::default();
        for rule in flags.flat_map(|flag| &flag.rules) {
            match &rule.gate {
                // A gate that names an attribute stops whoever has none.
                Gate::Open | Gate::Native(_) => {}
                Gate::Unleash(gate) => match &gate.stickiness {
                    Stickiness::Attribute(_) => {}
                    stickiness => random.add(stickiness),
                },
            }
            if let Split::Unleash(split) = &rule.split {
                random.add(&split.stickiness);
            }
        }
        random
    }

    fn add(&mut self, stickiness: &Stickiness) {
        match stickiness {
            Stickiness::Random => self.is_for_everybody = true,
            // Gates look at fewer fallbacks than splits: the shorter list is the one that is random more often.
            Stickiness::Default(names) => match &self.fallbacks {
                Some(known) if known.len() <= names.len() => {}
                Some(_) | None => self.fallbacks = Some(names.clone()),
            },
            Stickiness::Attribute(source) if self.needed.contains(source) => {}
            Stickiness::Attribute(source) => self.needed.push(source.clone()),
        }
    }

    pub(super) fn may_be_random(&self, context: &Context) -> bool {
        let has = |name: &AttributeName| context.value(name).is_some_and(|value| value.as_str() != Some(""));
        let has_source = |source: &UnitSource| match source {
            UnitSource::TargetingKey => context.targeting_key().is_some(),
            UnitSource::Attribute(name) => has(name),
        };
        let is_adrift = |names: &[AttributeName]| context.targeting_key().is_none() && !names.iter().any(has);
        self.is_for_everybody
            || self.fallbacks.as_deref().is_some_and(is_adrift)
            || !self.needed.iter().all(has_source)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::snapshot::fixtures;

    fn may_be_random(lanes: &[Value], context: Value) -> bool {
        let rules: Vec<Value> = lanes
            .iter()
            .enumerate()
            .map(|(at, lane)| {
                json!({ "key": at.to_string(), "split": [{ "variation": "on" }, { "variation": "off" }], "unleash": lane })
            })
            .collect();
        let flag = json!({ "key": "f", "value_type": "boolean", "default_variation": "off", "rules": rules,
            "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }] });
        fixtures::admitted(&[flag]).snapshot.may_be_random(&Context::from_json(context).unwrap())
    }

    fn lane(gate: &str, split: &str) -> Value {
        json!({ "gate": { "group": "g", "stickiness": gate, "percent": 50 }, "split": { "group": "g", "stickiness": split } })
    }

    #[test]
    fn only_askers_without_what_should_stick_get_random_answers() {
        let user = json!({ "targetingKey": "u" });
        for (lanes, context, expected) in [
            (vec![], json!({}), false),
            (vec![lane("default", "default")], user.clone(), false),
            (vec![lane("default", "default")], json!({ "sessionId": "s" }), false),
            (vec![lane("default", "default")], json!({ "remoteAddress": "::1" }), true),
            (vec![lane("default", "default")], json!({ "sessionId": "" }), true),
            (vec![lane("team", "default")], user.clone(), false),
            (vec![lane("team", "team")], user.clone(), true),
            (vec![lane("team", "team")], json!({ "team": 7 }), false),
            (vec![lane("default", "default"), lane("random", "default")], user, true),
        ] {
            assert_eq!(may_be_random(&lanes, context.clone()), expected, "{lanes:?} {context}");
        }
    }
}
