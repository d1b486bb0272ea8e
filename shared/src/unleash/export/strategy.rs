//! A rule → a strategy of Unleash. Never looks at other rules.

use serde_json::{Map, Value, json};

use super::Segments;
use super::constraint::constraint;
use super::served::{Served, served_by_name, variants};
use crate::context::TARGETING_KEY;
use crate::definition::{
    ConditionWire, FlagWire, Operator, RuleWire, UnleashGateWire, UnleashSplitWire, WeightedVariationWire,
};
use crate::unleash::{STICKINESS_RANDOM, field_of, is_strategys_own, javascript};

/// What a rule serves.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ServedByRule {
    Off,
    On,
    /// Variants with their weights, and how they are divided when there are several.
    Variants {
        split: Vec<WeightedVariationWire>,
        lane: Option<UnleashSplitWire>,
    },
}

/// What the rule serves, when Unleash can serve it.
pub(super) fn served_by_rule(flag: &FlagWire, rule: &RuleWire) -> Result<ServedByRule, String> {
    if rule.schedule.is_some() {
        return Err("a schedule".to_owned());
    }
    if rule.percentage.is_some() {
        return Err("a percentage in Flagfuse's own lane".to_owned());
    }
    let split: Vec<WeightedVariationWire> =
        rule.split.iter().filter(|entry| entry.weight > 0).cloned().collect();
    let lane = rule.unleash.as_ref().and_then(|lane| lane.split.clone());
    if let [only] = split.as_slice() {
        return Ok(match served_by_name(flag, &only.variation)? {
            Served::Off => ServedByRule::Off,
            Served::On => ServedByRule::On,
            Served::Variant(_) => ServedByRule::Variants { split, lane: None },
        });
    }
    let lane = lane.ok_or("a split in Flagfuse's own lane")?;
    for entry in &split {
        if !matches!(served_by_name(flag, &entry.variation)?, Served::Variant(_)) {
            return Err(format!("a split with {:?}, which is not a variant", entry.variation));
        }
    }
    Ok(ServedByRule::Variants { split, lane: Some(lane) })
}

fn gate(rule: &RuleWire) -> Option<&UnleashGateWire> {
    rule.unleash.as_ref().and_then(|lane| lane.gate.as_ref())
}

/// Whether the variants can be the strategy's own: its one group counts for the gate and for them.
pub(super) fn can_own(flag: &FlagWire, rule: &RuleWire, served: &ServedByRule) -> bool {
    match served {
        ServedByRule::Variants { lane, .. } => parameters(&flag.key, gate(rule), lane.as_ref()).is_ok(),
        ServedByRule::Off | ServedByRule::On => true,
    }
}

/// The strategy of a rule. `owned` are the variants that are its own.
pub(super) fn strategy(
    flag: &FlagWire,
    rule: &RuleWire,
    owned: Option<&ServedByRule>,
    segments: &mut Segments<'_>,
) -> Result<Value, String> {
    let (mut constraints, mut ids, mut named) = (Vec::new(), Vec::new(), None);
    for condition in &rule.conditions {
        match condition {
            condition if condition.op == Operator::InSegment => ids.push(segments.id_of(condition)?),
            condition if flag.unleash.is_some() && is_strategys_own(condition) => {
                if named.replace(condition).is_some() || gate(rule).is_some() {
                    return Err("several conditions that Unleash has as strategies only".to_owned());
                }
            }
            condition => constraints.push(constraint(condition)?),
        }
    }
    let lane = match owned {
        Some(ServedByRule::Variants { lane, .. }) => lane.as_ref(),
        Some(ServedByRule::Off | ServedByRule::On) | None => None,
    };
    let (name, mut parameters) = parameters(&flag.key, gate(rule), lane)?;
    let name = match named {
        Some(condition) => {
            let (name, parameter) = listing(condition);
            parameters.insert(parameter.to_owned(), Value::String(joined(condition)?));
            name
        }
        None => name,
    };
    let mut strategy = json!({ "name": name, "parameters": parameters, "constraints": constraints });
    if let Some(fields) = strategy.as_object_mut() {
        if !ids.is_empty() {
            fields.insert("segments".to_owned(), json!(ids));
        }
        if let Some(ServedByRule::Variants { split, lane }) = owned {
            let stickiness = lane.as_ref().map(|lane| stickiness_field(&lane.stickiness)).transpose()?;
            fields.insert("variants".to_owned(), Value::Array(variants(flag, split, stickiness)?));
        }
    }
    Ok(strategy)
}

pub(super) fn stickiness_field(stickiness: &str) -> Result<&str, String> {
    field_of(stickiness).ok_or_else(|| format!("the stickiness {stickiness:?}, another field in Unleash"))
}

fn listing(condition: &ConditionWire) -> (&'static str, &'static str) {
    if condition.attribute == TARGETING_KEY { ("userWithId", "userIds") } else { ("remoteAddress", "IPs") }
}

fn joined(condition: &ConditionWire) -> Result<String, String> {
    let texts: Vec<String> = condition.values.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let text = texts.join(",");
    if javascript::split_list(&text) == texts && !text.is_empty() {
        Ok(text)
    } else {
        Err("listed texts with commas or space around them".to_owned())
    }
}

/// Name and parameters of the strategy with the gate. The group is always spelled out: clients disagree on its default.
fn parameters(
    key: &str,
    gate: Option<&UnleashGateWire>,
    lane: Option<&UnleashSplitWire>,
) -> Result<(&'static str, Map<String, Value>), String> {
    let group = |parameters: &mut Map<String, Value>, group: &str| {
        parameters.insert("groupId".to_owned(), Value::String(group.to_owned()));
    };
    let mut parameters = Map::new();
    let Some(gate) = gate else {
        if let Some(lane) = lane {
            group(&mut parameters, &lane.group);
        }
        return Ok(("default", parameters));
    };
    // Where answers are random, the gate's group has no meaning.
    let is_random = gate.stickiness == STICKINESS_RANDOM;
    let own = if is_random { key } else { &gate.group };
    let wanted = lane.map_or(own, |lane| &lane.group);
    let flexible = if wanted.is_empty() { key } else { wanted };
    let percent = Value::String(gate.percent.to_string());
    let old = match gate.stickiness.as_str() {
        TARGETING_KEY => Some("gradualRolloutUserId"),
        "sessionId" => Some("gradualRolloutSessionId"),
        _ => None,
    };
    match old {
        // Only the old strategies have a gate without a group.
        Some(old) if own.is_empty() && wanted.is_empty() => {
            group(&mut parameters, "");
            parameters.insert("percentage".to_owned(), percent);
            return Ok((old, parameters));
        }
        _ if is_random || own == flexible => {}
        _ => return Err("a gate and a split of different groups".to_owned()),
    }
    group(&mut parameters, wanted);
    parameters.insert("rollout".to_owned(), percent);
    let stickiness = stickiness_field(&gate.stickiness)?;
    parameters.insert("stickiness".to_owned(), Value::String(stickiness.to_owned()));
    Ok(("flexibleRollout", parameters))
}

/// A strategy that is never on.
pub(super) fn never(key: &str) -> Value {
    json!({
        "name": "flexibleRollout", "constraints": [],
        "parameters": { "groupId": key, "rollout": "0", "stickiness": "default" },
    })
}
