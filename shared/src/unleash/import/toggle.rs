//! A toggle of Unleash → a flag with one rule for each way to be on. Never looks at other toggles but its parents.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Dependency, Strategy, Toggle};
use super::strategy::{Activation, Segments, activations};
use super::variant::{Outcome, Variations, outcome};
use crate::flag::wire::{
    ConditionWire, FlagWire, HoldoutRole, OnStale, PrerequisiteWire, RuleWire, UnleashLaneWire,
    UnleashToggleWire, WeightedVariationWire,
};
use crate::ids::RuleKey;
use crate::unleash::{DISABLED, STICKINESS_RANDOM};

/// Name of the rule of a toggle without strategies.
const EVERYONE: &str = "everyone";

/// The flag of a toggle. `Err` says what has no equivalent.
pub(super) fn flag(
    toggle: &Toggle,
    parents: &BTreeMap<String, Toggle>,
    segments: &Segments,
) -> Result<FlagWire, String> {
    let variations = Variations::of(toggle);
    let (rules, prerequisites) = match prerequisites(toggle, parents) {
        Some(prerequisites) => (rules(toggle, &variations, segments)?, prerequisites),
        None => (Vec::new(), Vec::new()),
    };
    Ok(FlagWire {
        key: toggle.name.clone(),
        description: toggle.description.clone().unwrap_or_default(),
        value_type: variations.value_type,
        variations: variations.list,
        enabled: toggle.enabled,
        off_variation: Some(DISABLED.to_owned()),
        default_variation: DISABLED.to_owned(),
        schedule: None,
        prerequisites,
        targets: Vec::new(),
        holdout: HoldoutRole::default(),
        layer: None,
        rules,
        salt: Some(toggle.name.clone()),
        bucket_by: None,
        on_stale: OnStale::default(),
        cohort: None,
        unleash: Some(UnleashToggleWire {
            impression_data: toggle.impression_data == Some(true),
            kind: toggle.kind.clone(),
        }),
    })
}

/// What the parents have to serve; `None` when the toggle can never be on.
fn prerequisites(toggle: &Toggle, toggles: &BTreeMap<String, Toggle>) -> Option<Vec<PrerequisiteWire>> {
    let mut prerequisites: Vec<PrerequisiteWire> = Vec::new();
    for dependency in toggle.dependencies.iter().flatten() {
        // Unleash looks one level up: a parent with parents of its own satisfies nobody, nor does a missing one.
        let parent = toggles.get(&dependency.feature).filter(|parent| !has_parents(parent))?;
        let mut wanted = wanted(dependency, parent);
        let earlier = prerequisites.iter_mut().find(|earlier| earlier.flag == dependency.feature);
        if let Some(earlier) = earlier {
            wanted.retain(|variation| earlier.variations.contains(variation));
            earlier.variations.clone_from(&wanted);
        } else {
            let (flag, variations) = (dependency.feature.clone(), wanted.clone());
            prerequisites.push(PrerequisiteWire { flag, variations });
        }
        if wanted.is_empty() {
            return None;
        }
    }
    Some(prerequisites)
}

/// Whether a toggle depends on others.
pub(super) fn has_parents(toggle: &Toggle) -> bool {
    toggle.dependencies.as_ref().is_some_and(|dependencies| !dependencies.is_empty())
}

fn wanted(dependency: &Dependency, parent: &Toggle) -> Vec<String> {
    if dependency.enabled == Some(false) {
        return vec![DISABLED.to_owned()];
    }
    Variations::of(parent).on(dependency.variants.as_deref().unwrap_or_default())
}

fn rules(toggle: &Toggle, variations: &Variations, segments: &Segments) -> Result<Vec<RuleWire>, String> {
    // Without a list the clients call the toggle malformed and off; an empty one is on for everybody.
    let Some(strategies) = &toggle.strategies else { return Ok(Vec::new()) };
    let mut rules = Rules::default();
    if strategies.is_empty() {
        let strategy = everyone();
        let activation = Activation { conditions: Vec::new(), gate: None };
        rules.add(EVERYONE, &activation, &outcome(toggle, &strategy, variations)?);
    }
    for (at, strategy) in strategies.iter().enumerate() {
        let fault = |reason| format!("strategy {} ({}): {reason}", at + 1, strategy.name);
        let mut activations = activations(strategy, &toggle.name, segments).map_err(fault)?;
        rules.keep_chance_apart(&mut activations);
        let outcome = outcome(toggle, strategy, variations).map_err(fault)?;
        let name = rules.name(strategy.title.as_deref(), at + 1);
        for (way, activation) in activations.iter().enumerate() {
            let name = if way == 0 { name.clone() } else { format!("{name}-text") };
            rules.add(&name, activation, &outcome);
        }
    }
    Ok(rules.list)
}

fn everyone() -> Strategy {
    Strategy {
        name: "default".to_owned(),
        title: None,
        parameters: None,
        constraints: None,
        segments: None,
        variants: None,
    }
}

/// Rules with names that are unique.
#[derive(Default)]
struct Rules {
    list: Vec<RuleWire>,
    names: BTreeSet<String>,
    /// Groups whose luck a strategy has used.
    random_groups: BTreeSet<String>,
}

impl Rules {
    /// The title when it can be a rule's key, else the strategy's number.
    fn name(&self, title: Option<&str>, number: usize) -> String {
        match title {
            Some(title) if RuleKey::parse(title).is_ok() && !self.names.contains(title) => title.to_owned(),
            _ => format!("strategy-{number}"),
        }
    }

    /// Each strategy of Unleash rolls its own dice, while one group has the same luck throughout a question. Where
    /// chance alone decides the group's name changes nothing else, so it is free to differ.
    fn keep_chance_apart(&mut self, activations: &mut [Activation]) {
        let gates = activations.iter_mut().filter_map(|activation| activation.gate.as_mut());
        for gate in gates.filter(|gate| gate.stickiness == STICKINESS_RANDOM) {
            gate.group = free(&gate.group, &self.random_groups);
            self.random_groups.insert(gate.group.clone());
        }
    }

    fn add(&mut self, name: &str, activation: &Activation, outcome: &Outcome) {
        for (at, (condition, variation)) in outcome.overrides.iter().enumerate() {
            let mut conditions = activation.conditions.clone();
            conditions.push(condition.clone());
            let split = vec![WeightedVariationWire { variation: variation.clone(), weight: 1 }];
            let lane = UnleashLaneWire { gate: activation.gate.clone(), split: None };
            self.push(&format!("{name}-override-{}", at + 1), conditions, split, lane);
        }
        let lane = UnleashLaneWire { gate: activation.gate.clone(), split: outcome.lane.clone() };
        self.push(name, activation.conditions.clone(), outcome.split.clone(), lane);
    }

    fn push(
        &mut self,
        name: &str,
        conditions: Vec<ConditionWire>,
        split: Vec<WeightedVariationWire>,
        lane: UnleashLaneWire,
    ) {
        let key = free(name, &self.names);
        self.names.insert(key.clone());
        let unleash = (lane.gate.is_some() || lane.split.is_some()).then_some(lane);
        self.list.push(RuleWire { key, conditions, percentage: None, split, schedule: None, unleash });
    }
}

/// The name, or the first of `name#2`, `name#3` … that is not taken.
fn free(name: &str, taken: &BTreeSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}#{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| !taken.contains(name)).unwrap_or_default()
}
