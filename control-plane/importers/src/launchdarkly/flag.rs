//! LaunchDarkly's flags as ours. Looks into no clause and no segment, and of other flags only at their variations.

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::definition::{
    FlagWire, HoldoutRole, OnStale, PrerequisiteWire, RuleWire, TargetWire, ValueType, VariationWire,
    WeightedVariationWire,
};
use flagfuse_shared::limits::RULE_COUNT_MAX;
use serde_json::Value;

use super::WHOLE;
use super::clause::{alternatives, check_kind};
use super::obstacle::Obstacle;
use super::wire::{FlagJson, PrerequisiteJson, RuleJson, ServedJson, TargetJson};
use crate::budget::ValueBudget;

/// What other flags have to know of one.
#[derive(Debug)]
pub(super) struct Outline {
    /// Names of the variations, by index.
    names: Vec<String>,
    off: Option<usize>,
}

/// What the document has beside a flag.
#[derive(Debug)]
pub(super) struct Neighbours<'a> {
    pub(super) flags: &'a BTreeMap<String, Outline>,
    pub(super) segments: &'a BTreeSet<String>,
}

impl Outline {
    pub(super) fn of(json: &FlagJson) -> Self {
        Self { names: names(json.variations.as_deref().unwrap_or_default()), off: json.off_variation }
    }

    fn name(&self, place: &str, index: usize) -> Result<String, Obstacle> {
        self.names.get(index).cloned().ok_or_else(|| Obstacle::NoVariation {
            place: place.to_owned(),
            index,
            count: self.names.len(),
        })
    }
}

/// The data has no names for variations, so they are called by their value if that is clear, and else by their index.
fn names(variations: &[Value]) -> Vec<String> {
    match variations {
        [Value::Bool(one), Value::Bool(other)] if one != other => vec![one.to_string(), other.to_string()],
        [Value::Bool(only)] => vec![only.to_string()],
        _ => (0..variations.len()).map(|index| format!("variation-{index}")).collect(),
    }
}

pub(super) fn flag(
    key: &str,
    json: FlagJson,
    neighbours: &Neighbours<'_>,
    budget: &mut ValueBudget,
) -> Result<FlagWire, Obstacle> {
    let outline = Outline::of(&json);
    if let Some(name) = json.key.filter(|name| name != key) {
        return Err(Obstacle::Key { key: key.to_owned(), name });
    }
    let fallthrough = json.fallthrough.ok_or(Obstacle::ServesNothing { place: "fallthrough".to_owned() })?;
    let default_variation = outline.name("fallthrough", certain("fallthrough", &fallthrough)?)?;
    let off_variation = outline.off.map(|index| outline.name("offVariation", index)).transpose()?;
    let variations = json.variations.unwrap_or_default();
    Ok(FlagWire {
        key: key.to_owned(),
        description: String::new(),
        value_type: value_type(&variations)?,
        rules: rules(json.rules.unwrap_or_default(), &outline, neighbours, budget)?,
        targets: targets(
            json.targets.unwrap_or_default(),
            json.context_targets.unwrap_or_default(),
            &outline,
        )?,
        variations: outline
            .names
            .into_iter()
            .zip(variations)
            .map(|(key, value)| VariationWire { key, value })
            .collect(),
        enabled: json.on.unwrap_or(false),
        off_variation,
        default_variation: Some(default_variation),
        schedule: None,
        prerequisites: prerequisites(json.prerequisites.unwrap_or_default(), neighbours)?,
        holdout: HoldoutRole::Member,
        layer: None,
        salt: None,
        bucket_by: None,
        on_stale: OnStale::Keep,
        cohort: None,
        unleash: None,
    })
}

fn value_type(variations: &[Value]) -> Result<ValueType, Obstacle> {
    let is = |predicate: fn(&Value) -> bool| variations.iter().all(predicate);
    if is(Value::is_boolean) {
        Ok(ValueType::Boolean)
    } else if is(Value::is_string) {
        Ok(ValueType::String)
    } else if is(|value| value.is_i64() || value.is_u64()) {
        Ok(ValueType::Integer)
    } else if is(Value::is_number) {
        Ok(ValueType::Float)
    } else if is(|value| value.is_object() || value.is_array()) {
        Ok(ValueType::Object)
    } else {
        Err(Obstacle::MixedTypes)
    }
}

/// The index of the variation that everybody gets.
fn certain(place: &str, served: &ServedJson) -> Result<usize, Obstacle> {
    if let Some(index) = served.variation {
        return Ok(index);
    }
    let nothing = || Obstacle::ServesNothing { place: place.to_owned() };
    let rollout = served.rollout.as_ref().ok_or_else(nothing)?;
    if rollout.kind.as_deref() == Some("experiment") {
        return Err(Obstacle::Experiment { place: place.to_owned() });
    }
    let shares = rollout.variations.as_deref().unwrap_or_default();
    let last = shares.last().ok_or_else(nothing)?;
    // Shares are walked until their sum is beyond the bucket; whoever is left over gets the last one.
    let first = shares.iter().find(|share| share.weight > 0).unwrap_or(last);
    if first.weight < WHOLE && !std::ptr::eq(first, last) {
        return Err(Obstacle::Rollout { place: place.to_owned() });
    }
    Ok(first.variation)
}

fn rules(
    wires: Vec<RuleJson>,
    outline: &Outline,
    neighbours: &Neighbours<'_>,
    budget: &mut ValueBudget,
) -> Result<Vec<RuleWire>, Obstacle> {
    let mut rules = Vec::new();
    let mut keys = BTreeSet::new();
    for (at, wire) in wires.into_iter().enumerate() {
        let place = format!("rules[{at}]");
        // A rule without even a list of clauses holds for nobody.
        let Some(clauses) = wire.clauses else { continue };
        let served = ServedJson { variation: wire.variation, rollout: wire.rollout };
        let variation = outline.name(&place, certain(&place, &served)?)?;
        let alternatives = alternatives(&place, &clauses, neighbours.segments, budget)?;
        let id = wire.id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("rule-{at}"));
        for (alternative_at, alternative) in alternatives.into_iter().enumerate() {
            if rules.len() == RULE_COUNT_MAX {
                return Err(Obstacle::TooManyRules);
            }
            let wanted = if alternative_at == 0 { id.clone() } else { format!("{id}.{alternative_at}") };
            let key = if keys.contains(&wanted) { format!("rule-{at}.{alternative_at}") } else { wanted };
            keys.insert(key.clone());
            rules.push(RuleWire {
                key,
                conditions: alternative.conditions,
                percentage: None,
                split: vec![WeightedVariationWire { variation: variation.clone(), weight: 1 }],
                schedule: None,
                unleash: None,
            });
        }
    }
    Ok(rules)
}

/// Who gets a variation by name. With `contextTargets`, these give the order, and their user lists stand in `targets`.
fn targets(
    users: Vec<TargetJson>,
    contexts: Vec<TargetJson>,
    outline: &Outline,
) -> Result<Vec<TargetWire>, Obstacle> {
    let has_order = !contexts.is_empty();
    let mut order = Vec::new();
    for target in contexts {
        let is_empty = target.values.as_ref().is_none_or(Vec::is_empty);
        match check_kind("contextTargets", target.context_kind.as_deref()) {
            Ok(()) => order.push(target.variation),
            Err(_) if is_empty => {}
            Err(obstacle) => return Err(obstacle),
        }
    }
    let mut seen = BTreeSet::new();
    let mut targets = Vec::new();
    let mut push = |target: &TargetJson| -> Result<(), Obstacle> {
        let values = target.values.as_deref().unwrap_or_default();
        // Of two lists that name a unit the first counts, and an empty key is nobody's.
        let units: Vec<String> =
            values.iter().filter(|unit| !unit.is_empty() && seen.insert((*unit).clone())).cloned().collect();
        if !units.is_empty() {
            let variation = outline.name("targets", target.variation)?;
            targets.push(TargetWire { variation, units, attribute: None });
        }
        Ok(())
    };
    for target in &users {
        if !has_order {
            check_kind("targets", target.context_kind.as_deref())?;
            push(target)?;
        }
    }
    for variation in order {
        if let Some(target) = users.iter().find(|target| target.variation == variation) {
            check_kind("targets", target.context_kind.as_deref())?;
            push(target)?;
        }
    }
    Ok(targets)
}

fn prerequisites(
    wires: Vec<PrerequisiteJson>,
    neighbours: &Neighbours<'_>,
) -> Result<Vec<PrerequisiteWire>, Obstacle> {
    wires
        .into_iter()
        .map(|PrerequisiteJson { key: flag, variation: index }| {
            let other = neighbours.flags.get(&flag);
            if other.is_some_and(|other| other.off == Some(index)) {
                return Err(Obstacle::OffPrerequisite { flag, index });
            }
            match other.and_then(|other| other.names.get(index)) {
                Some(name) => Ok(PrerequisiteWire { variations: vec![name.clone()], flag }),
                None => Err(Obstacle::NoPrerequisite { flag, index }),
            }
        })
        .collect()
}
