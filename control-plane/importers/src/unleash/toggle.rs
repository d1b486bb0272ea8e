//! A toggle of Unleash → a flag with one rule for each way to be on. Never looks at other toggles but its parents.

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::definition::{
    ConditionWire, FlagWire, HoldoutRole, OnStale, Operator, PrerequisiteWire, RuleWire, UnleashGateWire,
    UnleashLaneWire, UnleashToggleWire, WeightedVariationWire,
};
use flagfuse_shared::ids::RuleKey;
use flagfuse_shared::unleash::{DISABLED, STICKINESS_DEFAULT, STICKINESS_RANDOM, is_strategys_own};

use super::document::{Dependency, Strategy, Toggle};
use super::strategy::{Activation, Segments, activations};
use super::variant::{Outcome, Variations, outcome};

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
        default_variation: Some(DISABLED.to_owned()),
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
    let mut rules = Rules { toggle: &toggle.name, list: Vec::new(), names: BTreeSet::new() };
    if strategies.is_empty() {
        let strategy = everyone();
        let activation = Activation { conditions: Vec::new(), gate: None };
        rules.add(EVERYONE, &activation, &outcome(toggle, &strategy, variations)?);
    }
    for (at, strategy) in strategies.iter().enumerate() {
        let fault = |reason| format!("strategy {} ({}): {reason}", at + 1, strategy.name);
        let activations = activations(strategy, &toggle.name, segments).map_err(fault)?;
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
        disabled: None,
        parameters: None,
        constraints: None,
        segments: None,
        variants: None,
    }
}

/// Rules with names that are unique.
struct Rules<'t> {
    toggle: &'t str,
    list: Vec<RuleWire>,
    names: BTreeSet<String>,
}

impl Rules<'_> {
    /// The title when it can be a rule's key, else the strategy's number.
    fn name(&self, title: Option<&str>, number: usize) -> String {
        match title {
            Some(title) if RuleKey::parse(title).is_ok() && !self.names.contains(title) => title.to_owned(),
            _ => format!("strategy-{number}"),
        }
    }

    fn add(&mut self, name: &str, activation: &Activation, outcome: &Outcome) {
        let Activation { conditions, gate } = activation;
        let mut excluded: Vec<ConditionWire> = Vec::new();
        for (at, (condition, variation)) in outcome.overrides.iter().enumerate() {
            let own = conditions.iter().chain(&excluded).chain([condition]).cloned().collect();
            let split = vec![WeightedVariationWire { variation: variation.clone(), weight: 1 }];
            let lane = UnleashLaneWire { gate: gate.clone(), split: None };
            self.push(&format!("{name}-override-{}", at + 1), own, split, lane);
            // Whom a random gate kept out of one rule, the next could let in, so those rules may not be for the same.
            if gate.as_ref().is_some_and(is_random) {
                excluded.push(ConditionWire { negate: !condition.negate, ..condition.clone() });
            }
        }
        let own = conditions.iter().chain(&excluded).cloned().collect();
        let lane = UnleashLaneWire { gate: gate.clone(), split: outcome.lane.clone() };
        self.push(name, own, outcome.split.clone(), lane);
    }

    fn push(
        &mut self,
        name: &str,
        mut conditions: Vec<ConditionWire>,
        split: Vec<WeightedVariationWire>,
        mut lane: UnleashLaneWire,
    ) {
        // The order in which a strategy names them: constraints, segments, what the strategy itself asks.
        conditions
            .sort_by_key(|condition| (is_strategys_own(condition), condition.op == Operator::InSegment));
        let key = free(name, &self.names);
        self.names.insert(key.clone());
        if let Some(gate) = lane.gate.as_mut().filter(|gate| gate.stickiness == STICKINESS_RANDOM) {
            // Each strategy of Unleash rolls its own dice, while a group has the same random number throughout a question. Where
            // everything is random, the group has no other meaning, so each rule gets its own.
            gate.group = format!("{}:{key}", self.toggle);
        }
        let unleash = (lane.gate.is_some() || lane.split.is_some()).then_some(lane);
        self.list.push(RuleWire { key, conditions, percentage: None, split, schedule: None, unleash });
    }
}

fn is_random(gate: &UnleashGateWire) -> bool {
    gate.percent < 100 && [STICKINESS_DEFAULT, STICKINESS_RANDOM].contains(&gate.stickiness.as_str())
}

/// The name, or the first of `name#2`, `name#3` … that is not taken.
fn free(name: &str, taken: &BTreeSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}#{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| !taken.contains(name)).unwrap_or_default()
}
