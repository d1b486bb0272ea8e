//! Rules: conditions, gates and splits, each within its bounds.

use super::guards::compile_schedule;
use super::{Finder, FlagFault, check_count, key_fault, out_of_range};
use crate::bucket::{GATE_SEED, SPLIT_SEED, Salted};
use crate::condition::Condition;
use crate::context::AttributeName;
use crate::flag::wire::{Operator, RuleWire, UnleashLaneWire, WeightedVariationWire};
use crate::flag::{Gate, Rule, Shares, Split, Stickiness, UnitSource, UnleashGate, UnleashSplit};
use crate::ids::RuleKey;
use crate::limits::{
    BUCKET_COUNT, CONDITION_COUNT_MAX, REGEX_CONDITION_COUNT_MAX, RULE_COUNT_MAX, SPLIT_WEIGHT_SUM_MAX,
    STRING_LEN_MAX, VARIATION_COUNT_MAX,
};
use crate::ofrep::write_json_string;
use crate::segment::SegmentNames;

pub(super) fn compile_rules(
    wires: &[RuleWire],
    find: &Finder<'_>,
    segments: &SegmentNames,
) -> Result<Vec<Rule>, FlagFault> {
    check_count("rules", wires.len(), RULE_COUNT_MAX)?;
    let conditions = wires.iter().flat_map(|rule| &rule.conditions);
    let regex_count = conditions.filter(|condition| condition.op == Operator::Matches).count();
    if regex_count > REGEX_CONDITION_COUNT_MAX {
        let found = format!("{regex_count} conditions with op matches");
        return Err(out_of_range("rules", found, format!("at most {REGEX_CONDITION_COUNT_MAX} in one flag")));
    }
    let mut rules: Vec<Rule> = Vec::with_capacity(wires.len());
    for (lot, wire) in (0..).zip(wires) {
        let rule = compile_rule(wire, lot, find, segments)?;
        if rules.iter().any(|earlier| earlier.key == rule.key) {
            return Err(FlagFault::Duplicate { field: "rules", key: wire.key.clone() });
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn compile_rule(
    wire: &RuleWire,
    lot: u64,
    find: &Finder<'_>,
    segments: &SegmentNames,
) -> Result<Rule, FlagFault> {
    let field = |name: &str| format!("rules[{:?}].{name}", wire.key);
    let key = RuleKey::parse(&wire.key).map_err(key_fault("rules.key"))?;
    check_count(field("conditions"), wire.conditions.len(), CONDITION_COUNT_MAX)?;
    let conditions = wire
        .conditions
        .iter()
        .enumerate()
        .map(|(at, condition)| {
            Condition::compile(condition, segments).map_err(|source| FlagFault::Condition {
                rule: wire.key.clone(),
                at,
                source,
            })
        })
        .collect::<Result<_, _>>()?;
    let schedule =
        wire.schedule.map(|schedule| compile_schedule(&field("schedule"), schedule)).transpose()?;
    let mut label = String::from("\"rule\":");
    write_json_string(&mut label, key.as_str());
    let mut rule = Rule {
        key,
        schedule: schedule.map(Box::new),
        conditions,
        gate: compile_gate(wire, lot)?,
        split: compile_split(&field("split"), wire, lot, find)?,
        label: label.into(),
        prepared: None,
    };
    rule.prepare(find.0);
    Ok(rule)
}

fn compile_gate(wire: &RuleWire, lot: u64) -> Result<Gate, FlagFault> {
    let field = |name: &str| format!("rules[{:?}].{name}", wire.key);
    match (wire.percentage, wire.unleash.as_ref().and_then(|lane| lane.gate.as_ref())) {
        (None, None) => Ok(Gate::Open),
        (Some(percent), None) => Ok(Gate::Native(percent_to_buckets(&field("percentage"), percent)?)),
        (None, Some(gate)) => {
            if gate.percent > 100 {
                return Err(out_of_range(field("unleash.gate.percent"), gate.percent, "0 to 100"));
            }
            check_group(&field("unleash.gate.group"), &gate.group)?;
            Ok(Gate::Unleash(Box::new(UnleashGate {
                group: Salted::new(&gate.group, GATE_SEED),
                stickiness: stickiness(&field("unleash.gate.stickiness"), &gate.stickiness, &["sessionId"])?,
                percent: gate.percent.into(),
                lot,
            })))
        }
        (Some(percent), Some(_)) => {
            let allowed = "nothing beside unleash.gate: a rule has one gate";
            Err(out_of_range(field("percentage"), percent, allowed))
        }
    }
}

fn check_group(field: &str, group: &str) -> Result<(), FlagFault> {
    if group.len() > STRING_LEN_MAX {
        return Err(out_of_range(
            field,
            format!("{} bytes", group.len()),
            format!("at most {STRING_LEN_MAX} bytes"),
        ));
    }
    Ok(())
}

fn stickiness(field: &str, name: &str, fallbacks: &[&str]) -> Result<Stickiness, FlagFault> {
    super::check_text(field, name)?;
    Ok(match name {
        "default" => Stickiness::Default(fallbacks.iter().map(|name| AttributeName::new(name)).collect()),
        "random" => Stickiness::Random,
        attribute => Stickiness::Attribute(UnitSource::of(attribute)),
    })
}

/// 0 ..= 100 percent in steps of one bucket (0.0001 %) → number of buckets.
pub fn percent_to_buckets(field: &str, percent: f64) -> Result<u32, FlagFault> {
    let buckets = percent * f64::from(BUCKET_COUNT / 100);
    // 1e-6 of a bucket absorbs the binary rounding of decimal percents (0.0003 × 10,000 = 2.9999999999999996).
    if !(0.0..=f64::from(BUCKET_COUNT)).contains(&buckets) || (buckets - buckets.round()).abs() > 1e-6 {
        return Err(out_of_range(field, percent, "0 to 100 in steps of 0.0001"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000,000 was checked")]
    Ok(buckets.round() as u32)
}

fn compile_split(field: &str, wire: &RuleWire, lot: u64, find: &Finder<'_>) -> Result<Split, FlagFault> {
    if let [only] = wire.split.as_slice()
        && only.weight > 0
    {
        return Ok(Split::One(find.index(field, &only.variation)?));
    }
    let shares = compile_shares(field, &wire.split, find)?;
    let Some(UnleashLaneWire { split, .. }) = &wire.unleash else {
        return Ok(Split::Native(Box::new(shares)));
    };
    let Some(split) = split else {
        let allowed = "present when a rule of Unleash's lane splits";
        return Err(out_of_range(format!("rules[{:?}].unleash.split", wire.key), "absent", allowed));
    };
    let fallbacks = ["sessionId", "remoteAddress"];
    let field = |name: &str| format!("rules[{:?}].unleash.split.{name}", wire.key);
    check_group(&field("group"), &split.group)?;
    Ok(Split::Unleash(Box::new(UnleashSplit {
        group: Salted::new(&split.group, SPLIT_SEED),
        stickiness: stickiness(&field("stickiness"), &split.stickiness, &fallbacks)?,
        shares,
        lot,
    })))
}

fn compile_shares(
    field: &str,
    wires: &[WeightedVariationWire],
    find: &Finder<'_>,
) -> Result<Shares, FlagFault> {
    if wires.len() > VARIATION_COUNT_MAX {
        let found = format!("{} entries", wires.len());
        return Err(out_of_range(field, found, format!("1 to {VARIATION_COUNT_MAX} entries")));
    }
    let mut sum = 0_u64;
    let mut ends = Vec::with_capacity(wires.len());
    for wire in wires {
        sum += u64::from(wire.weight);
        let end = u32::try_from(sum.min(SPLIT_WEIGHT_SUM_MAX)).unwrap_or(u32::MAX);
        ends.push((end, find.index(field, &wire.variation)?));
    }
    if sum == 0 || sum > SPLIT_WEIGHT_SUM_MAX {
        let found = format!("a weight sum of {sum}");
        return Err(out_of_range(field, found, format!("1 to {SPLIT_WEIGHT_SUM_MAX}")));
    }
    let weight_sum = ends.last().map_or(0, |(end, _)| *end);
    Ok(Shares { ends, weight_sum })
}
