//! A flag → a toggle of Unleash without its dependencies. `Err` says what Unleash has no word for.

use serde_json::{Map, Value, json};

use super::Segments;
use super::served::{Served, complete, served_by_name};
use super::strategy::{ServedByRule, can_own, never, served_by_rule, stickiness_field, strategy};
use crate::definition::{FlagWire, HoldoutRole, OnStale, RuleWire, SharedWire, WeightedVariationWire};

/// The toggle of a flag. One that is off for everybody needs no strategies, whatever its rules say.
pub(super) fn toggle(
    flag: &FlagWire,
    shared: &SharedWire,
    segments: &mut Segments<'_>,
) -> Result<Map<String, Value>, String> {
    check_off(flag)?;
    let (strategies, variants) = match check_guards(flag, shared).and_then(|()| strategies(flag, segments)) {
        Ok(parts) => parts,
        Err(_) if !flag.enabled && flag.unleash.is_some() => (Vec::new(), complete(flag, &[], None)?),
        Err(_) if !flag.enabled => (Vec::new(), Vec::new()),
        Err(reason) => return Err(reason),
    };
    let own = flag.unleash.clone();
    let kind = own.as_ref().map_or(Some("release".to_owned()), |own| own.kind.clone());
    let mut toggle = Map::new();
    let mut put = |name: &str, value: Value| drop(toggle.insert(name.to_owned(), value));
    put("name", json!(flag.key));
    if let Some(kind) = kind {
        put("type", json!(kind));
    }
    if !flag.description.is_empty() {
        put("description", json!(flag.description));
    }
    put("enabled", json!(flag.enabled));
    put("project", json!("default"));
    put("stale", json!(false));
    put("impressionData", json!(own.is_some_and(|own| own.impression_data)));
    put("strategies", Value::Array(strategies));
    put("variants", Value::Array(variants));
    Ok(toggle)
}

/// Off is off in Unleash: no value.
fn check_off(flag: &FlagWire) -> Result<(), String> {
    let off = flag.off_variation.as_ref().map(|off| served_by_name(flag, off)).transpose()?;
    if off == Some(Served::On) { Err("an off variation that is on".to_owned()) } else { Ok(()) }
}

fn check_guards(flag: &FlagWire, shared: &SharedWire) -> Result<(), String> {
    let is_held_out = shared.holdout.is_some() && flag.holdout == HoldoutRole::Member;
    let guards = [
        (flag.cohort.is_some(), "a cohort"),
        (!flag.targets.is_empty(), "individual targets"),
        (flag.layer.is_some(), "a layer"),
        (flag.schedule.is_some(), "a schedule"),
        (is_held_out, "the environment's holdout"),
        (flag.on_stale != OnStale::Keep, "another answer when the snapshot is stale"),
    ];
    match guards.iter().find(|(is_there, _)| *is_there) {
        Some((_, what)) => Err((*what).to_owned()),
        None => Ok(()),
    }
}

type Parts = (Vec<Value>, Vec<Value>);

fn strategies(flag: &FlagWire, segments: &mut Segments<'_>) -> Result<Parts, String> {
    let rules = serving(flag)?;
    let shared = toggles_own(flag, &rules);
    let mut strategies = Vec::with_capacity(rules.len());
    for (rule, served) in &rules {
        let fault = |reason: String| format!("rule {:?}: {reason}", rule.key);
        let owned = match (served, &shared) {
            (ServedByRule::On, Some(_)) => {
                return Err(fault("on without a variant beside the toggle's own".to_owned()));
            }
            (ServedByRule::Variants { .. }, shared) if shared.as_ref() != Some(served) => Some(served),
            (ServedByRule::Variants { .. } | ServedByRule::On | ServedByRule::Off, _) => None,
        };
        let mut strategy = strategy(flag, rule, owned, segments).map_err(fault)?;
        if let Some(fields) = strategy.as_object_mut()
            && rule.key != format!("strategy-{}", strategies.len() + 1)
        {
            fields.insert("title".to_owned(), json!(rule.key));
        }
        strategies.push(strategy);
    }
    let own = match &shared {
        Some(ServedByRule::Variants { split, lane }) => {
            let stickiness = lane.as_ref().map(|lane| stickiness_field(&lane.stickiness)).transpose()?;
            complete(flag, split, stickiness)?
        }
        Some(ServedByRule::On | ServedByRule::Off) | None if tells_all(flag, &rules) => Vec::new(),
        Some(ServedByRule::On | ServedByRule::Off) | None => complete(flag, &[], None)?,
    };
    // No strategy at all would be on for everybody.
    if strategies.is_empty() {
        strategies.push(never(&flag.key));
    }
    Ok((strategies, own))
}

/// The rules that serve something, with what everybody else gets as the last one. Without a default that is nothing.
fn serving(flag: &FlagWire) -> Result<Vec<(RuleWire, ServedByRule)>, String> {
    let last = flag.default_variation.clone().map(|variation| RuleWire {
        key: "default".to_owned(),
        conditions: Vec::new(),
        percentage: None,
        split: vec![WeightedVariationWire { variation, weight: 1 }],
        schedule: None,
        unleash: None,
    });
    let mut serving: Vec<(RuleWire, ServedByRule)> = Vec::new();
    let mut off_rule: Option<&str> = None;
    for rule in flag.rules.iter().chain(&last) {
        match served_by_rule(flag, rule).map_err(|reason| format!("rule {:?}: {reason}", rule.key))? {
            ServedByRule::Off => {
                off_rule.get_or_insert(&rule.key);
            }
            served => {
                // Unleash has no strategy that turns a toggle off for those who match.
                if let Some(off_rule) = off_rule {
                    return Err(format!("rule {off_rule:?} is off before rule {:?} is on", rule.key));
                }
                serving.push((rule.clone(), served));
            }
        }
    }
    Ok(serving)
}

/// The variants that are the toggle's own: those no strategy can own, else those that all strategies share.
fn toggles_own(flag: &FlagWire, rules: &[(RuleWire, ServedByRule)]) -> Option<ServedByRule> {
    let is_of_toggle = |served: &ServedByRule| match served {
        ServedByRule::Variants { lane, .. } => lane.as_ref().is_none_or(|lane| lane.group == flag.key),
        ServedByRule::On | ServedByRule::Off => false,
    };
    let (_, first) = rules.first()?;
    let needing = rules.iter().find(|(rule, served)| is_of_toggle(served) && !can_own(flag, rule, served));
    match needing {
        Some((_, served)) => Some(served.clone()),
        None if is_of_toggle(first) && rules.iter().all(|(_, served)| served == first) => Some(first.clone()),
        None => None,
    }
}

/// Whether the strategies' own variants are all the flag has, in its order.
fn tells_all(flag: &FlagWire, rules: &[(RuleWire, ServedByRule)]) -> bool {
    let mut told: Vec<&str> = Vec::new();
    for (_, served) in rules {
        let ServedByRule::Variants { split, .. } = served else { continue };
        for entry in split {
            if !told.contains(&entry.variation.as_str()) {
                told.push(&entry.variation);
            }
        }
    }
    let has_variant = |name: &str| matches!(served_by_name(flag, name), Ok(Served::Variant(_)));
    flag.unleash.is_none()
        || flag
            .variations
            .iter()
            .map(|variation| variation.key.as_str())
            .filter(|name| has_variant(name))
            .eq(told)
}
