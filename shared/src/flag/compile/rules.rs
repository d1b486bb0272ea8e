//! Rules: conditions, gates and splits, each within its bounds.

use std::fmt::{self, Display};

use super::guards::compile_schedule;
use super::{Finder, FlagFault, check_count, key_fault, out_of_range};
use crate::bucket::{GATE_SEED, SPLIT_SEED, Salted};
use crate::condition::{Condition, ConditionValue, SegmentNames};
use crate::context::{AttributeName, UnitSource};
use crate::definition::{Operator, RuleWire, UnleashLaneWire, WeightedVariationWire};
use crate::flag::{Gate, Rule, Shares, Split, Stickiness, UnleashGate, UnleashSplit};
use crate::ids::RuleKey;
use crate::limits::{
    BUCKET_COUNT, CONDITION_COUNT_MAX, REGEX_CONDITION_COUNT_MAX, RULE_COUNT_MAX, SPLIT_WEIGHT_SUM_MAX,
    STRING_LEN_MAX, VARIATION_COUNT_MAX,
};

/// A rule's field in a message.
#[derive(Clone, Copy)]
struct Field<'w> {
    rule: &'w str,
    name: &'static str,
}

impl Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rules[{:?}].{}", self.rule, self.name)
    }
}

pub(super) fn compile_rules<T: AsRef<str>, V: ConditionValue>(
    wires: &[RuleWire<T, V>],
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
    for (position, wire) in (0..).zip(wires) {
        let rule = compile_rule(wire, position, find, segments)?;
        if rules.iter().any(|earlier| earlier.key == rule.key) {
            return Err(FlagFault::Duplicate { field: "rules", key: rule.key.to_string() });
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn compile_rule<T: AsRef<str>, V: ConditionValue>(
    wire: &RuleWire<T, V>,
    position: u64,
    find: &Finder<'_>,
    segments: &SegmentNames,
) -> Result<Rule, FlagFault> {
    let field = |name| Field { rule: wire.key.as_ref(), name };
    let key = RuleKey::parse(wire.key.as_ref()).map_err(key_fault("rules.key"))?;
    check_count(field("conditions"), wire.conditions.len(), CONDITION_COUNT_MAX)?;
    let mut conditions = Vec::with_capacity(wire.conditions.len());
    for (at, condition) in wire.conditions.iter().enumerate() {
        let compiled = Condition::compile_from(condition, segments);
        conditions.push(compiled.map_err(|source| FlagFault::Condition {
            rule: key.to_string(),
            at,
            source,
        })?);
    }
    let schedule = wire.schedule.map(|schedule| compile_schedule(field("schedule"), schedule)).transpose()?;
    Ok(Rule {
        key,
        schedule: schedule.map(Box::new),
        conditions: conditions.into(),
        gate: compile_gate(wire.percentage, wire.unleash.as_ref(), position, field)?,
        split: compile_split(wire, position, field, find)?,
    })
}

fn compile_gate<'w>(
    percentage: Option<f64>,
    lane: Option<&UnleashLaneWire>,
    position: u64,
    field: impl Fn(&'static str) -> Field<'w>,
) -> Result<Gate, FlagFault> {
    match (percentage, lane.and_then(|lane| lane.gate.as_ref())) {
        (None, None) => Ok(Gate::Open),
        (Some(percent), None) => Ok(Gate::Native(percent_to_buckets(field("percentage"), percent)?)),
        (None, Some(gate)) => {
            if gate.percent > 100 {
                return Err(out_of_range(field("unleash.gate.percent"), gate.percent, "0 to 100"));
            }
            check_group(field("unleash.gate.group"), &gate.group)?;
            Ok(Gate::Unleash(Box::new(UnleashGate {
                group: Salted::new(&gate.group, GATE_SEED),
                stickiness: stickiness(field("unleash.gate.stickiness"), &gate.stickiness, &["sessionId"])?,
                percent: gate.percent.into(),
                position,
            })))
        }
        (Some(percent), Some(_)) => {
            let allowed = "nothing beside unleash.gate: a rule has one gate";
            Err(out_of_range(field("percentage"), percent, allowed))
        }
    }
}

fn check_group(field: impl Display, group: &str) -> Result<(), FlagFault> {
    if group.len() > STRING_LEN_MAX {
        return Err(out_of_range(
            field,
            format!("{} bytes", group.len()),
            format!("at most {STRING_LEN_MAX} bytes"),
        ));
    }
    Ok(())
}

fn stickiness(field: impl Display, name: &str, fallbacks: &[&str]) -> Result<Stickiness, FlagFault> {
    super::check_text(field, name)?;
    Ok(match name {
        "default" => Stickiness::Default(fallbacks.iter().map(|name| AttributeName::new(name)).collect()),
        "random" => Stickiness::Random,
        attribute => Stickiness::Attribute(UnitSource::of(attribute)),
    })
}

/// 0 ..= 100 percent in steps of one bucket (0.0001 %) → number of buckets.
pub fn percent_to_buckets(field: impl Display, percent: f64) -> Result<u32, FlagFault> {
    let buckets = percent * f64::from(BUCKET_COUNT / 100);
    // 1e-6 of a bucket absorbs the binary rounding of decimal percents (0.0003 × 10,000 = 2.9999999999999996).
    if !(0.0..=f64::from(BUCKET_COUNT)).contains(&buckets) || (buckets - buckets.round()).abs() > 1e-6 {
        return Err(out_of_range(field, percent, "0 to 100 in steps of 0.0001"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000,000 was checked")]
    Ok(buckets.round() as u32)
}

fn compile_split<'w, T: AsRef<str>, V>(
    wire: &RuleWire<T, V>,
    position: u64,
    field: impl Fn(&'static str) -> Field<'w>,
    find: &Finder<'_>,
) -> Result<Split, FlagFault> {
    if let [only] = wire.split.as_slice()
        && only.weight > 0
    {
        return Ok(Split::One(find.index(field("split"), only.variation.as_ref())?));
    }
    let shares = compile_shares(field("split"), &wire.split, find)?;
    let Some(UnleashLaneWire { split, .. }) = &wire.unleash else {
        let sole = shares.sole();
        return Ok(sole.map_or_else(|| Split::Native(Box::new(shares)), Split::One));
    };
    let Some(split) = split else {
        let allowed = "present when a rule of Unleash's lane splits";
        return Err(out_of_range(field("unleash.split"), "absent", allowed));
    };
    let fallbacks = ["sessionId", "remoteAddress"];
    check_group(field("unleash.split.group"), &split.group)?;
    Ok(Split::Unleash(Box::new(UnleashSplit {
        group: Salted::new(&split.group, SPLIT_SEED),
        stickiness: stickiness(field("unleash.split.stickiness"), &split.stickiness, &fallbacks)?,
        shares,
        position,
    })))
}

fn compile_shares<T: AsRef<str>>(
    field: Field<'_>,
    wires: &[WeightedVariationWire<T>],
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
        ends.push((end, find.index(field, wire.variation.as_ref())?));
    }
    if sum == 0 || sum > SPLIT_WEIGHT_SUM_MAX {
        let found = format!("a weight sum of {sum}");
        return Err(out_of_range(field, found, format!("1 to {SPLIT_WEIGHT_SUM_MAX}")));
    }
    let weight_sum = ends.last().map_or(0, |(end, _)| *end);
    Ok(Shares { ends, weight_sum })
}
