//! LaunchDarkly's segments as ours. Knows no flags, and of other segments only their names.

use std::collections::BTreeSet;

use flagfuse_shared::definition::{SegmentRuleWire, SegmentWire};
use flagfuse_shared::limits::SEGMENT_RULE_COUNT_MAX;

use super::WHOLE;
use super::clause::{alternatives, check_kind};
use super::obstacle::Obstacle;
use super::wire::{SegmentJson, SegmentTargetJson};
use crate::budget::ValueBudget;

pub(super) fn segment(
    key: &str,
    json: SegmentJson,
    segments: &BTreeSet<String>,
    budget: &mut ValueBudget,
) -> Result<SegmentWire, Obstacle> {
    if let Some(name) = json.key.filter(|name| name != key) {
        return Err(Obstacle::Key { key: key.to_owned(), name });
    }
    if json.unbounded == Some(true) {
        return Err(Obstacle::Unbounded);
    }
    let included = members("included", json.included, json.included_contexts)?;
    let excluded = members("excluded", json.excluded, json.excluded_contexts)?;
    let mut rules = Vec::new();
    for (at, rule) in json.rules.unwrap_or_default().into_iter().enumerate() {
        let place = format!("rules[{at}]");
        match rule.weight {
            None | Some(WHOLE..) => {}
            Some(0) => continue,
            Some(_) => return Err(Obstacle::Rollout { place }),
        }
        // A rule without even a list of clauses holds for nobody.
        let Some(clauses) = rule.clauses else { continue };
        let alternatives = alternatives(&place, &clauses, segments, budget)?;
        if rules.len() + alternatives.len() > SEGMENT_RULE_COUNT_MAX {
            return Err(Obstacle::TooManySegmentRules);
        }
        rules.extend(
            alternatives
                .into_iter()
                .map(|alternative| SegmentRuleWire { conditions: alternative.conditions }),
        );
    }
    Ok(SegmentWire {
        key: key.to_owned(),
        description: String::new(),
        // Here excluded beats included, there the other way round.
        excluded: excluded.difference(&included).cloned().collect(),
        included: included.into_iter().collect(),
        attribute: None,
        rules,
    })
}

/// An empty key is nobody's.
fn members(
    field: &str,
    users: Option<Vec<String>>,
    contexts: Option<Vec<SegmentTargetJson>>,
) -> Result<BTreeSet<String>, Obstacle> {
    let mut members: BTreeSet<String> = users.unwrap_or_default().into_iter().collect();
    for target in contexts.unwrap_or_default() {
        let values = target.values.unwrap_or_default();
        if !values.is_empty() {
            check_kind(field, target.context_kind.as_deref())?;
        }
        members.extend(values);
    }
    members.remove("");
    Ok(members)
}
