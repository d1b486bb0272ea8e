//! Rules, conditions and schedules inside a record.

use super::reader::{Reader, RecordFault};
use super::tags::{Tagged, read_tag};
use super::value::{ReadValue, write_value};
use super::writer::{Writer, bits};
use crate::definition::{
    ConditionWire, RuleWire, ScheduleWire, UnleashGateWire, UnleashLaneWire, UnleashSplitWire,
    WeightedVariationWire,
};
use crate::ids::UnixMillis;
use crate::limits::{CONDITION_COUNT_MAX, CONDITION_VALUE_COUNT_MAX, VARIATION_COUNT_MAX};

const CONDITIONS: u32 = 1;
const PERCENTAGE: u32 = 1 << 1;
const SCHEDULE: u32 = 1 << 2;
const GATE: u32 = 1 << 3;
const SPLIT: u32 = 1 << 4;
/// Unleash's lane is there, with both, one or none of its parts.
const LANE: u32 = 1 << 5;
const KNOWN: u32 = (1 << 6) - 1;

pub(super) fn write_rule<T: AsRef<str>>(out: &mut Writer, rule: &RuleWire<T>) {
    let RuleWire { key, conditions, percentage, split, schedule, unleash } = rule;
    let gate = unleash.as_ref().and_then(|lane| lane.gate.as_ref());
    let lane_split = unleash.as_ref().and_then(|lane| lane.split.as_ref());
    out.number(bits([
        (CONDITIONS, !conditions.is_empty()),
        (PERCENTAGE, percentage.is_some()),
        (SCHEDULE, schedule.is_some()),
        (GATE, gate.is_some()),
        (SPLIT, lane_split.is_some()),
        (LANE, unleash.is_some()),
    ]));
    out.text(key.as_ref());
    out.list(split, |out, part| {
        let WeightedVariationWire { variation, weight } = part;
        out.text(variation.as_ref());
        out.number((*weight).into());
    });
    out.present_list(conditions, write_condition);
    out.present(percentage.as_ref(), |out, percentage| out.double(*percentage));
    out.present(schedule.as_ref(), write_schedule);
    out.present(gate, |out, UnleashGateWire { group, stickiness, percent }| {
        out.text(group);
        out.text(stickiness);
        out.byte(*percent);
    });
    out.present(lane_split, |out, UnleashSplitWire { group, stickiness }| {
        out.text(group);
        out.text(stickiness);
    });
}

pub(super) fn read_rule<'b, V>(
    reader: &mut Reader<'b>,
    read_value: ReadValue<'b, V>,
) -> Result<RuleWire<&'b str, V>, RecordFault> {
    let bits = reader.bits("rules", KNOWN)?;
    Ok(RuleWire {
        key: reader.text("rules.key")?,
        split: reader.list("rules.split", VARIATION_COUNT_MAX, |reader| {
            Ok(WeightedVariationWire {
                variation: reader.text("rules.split.variation")?,
                weight: reader.small("rules.split.weight")?,
            })
        })?,
        conditions: bits.list(CONDITIONS, || {
            let read = |reader: &mut Reader<'b>| read_condition(reader, read_value);
            reader.present_list("rules.conditions", CONDITION_COUNT_MAX, read)
        })?,
        percentage: bits.then(PERCENTAGE, || reader.double("rules.percentage"))?,
        schedule: bits.then(SCHEDULE, || read_schedule(reader))?,
        unleash: read_lane(reader, bits.has(GATE), bits.has(SPLIT), bits.has(LANE))?,
    })
}

fn read_lane(
    reader: &mut Reader<'_>,
    has_gate: bool,
    has_split: bool,
    has_lane: bool,
) -> Result<Option<UnleashLaneWire>, RecordFault> {
    if !has_lane {
        let is_whole = !has_gate && !has_split;
        return if is_whole { Ok(None) } else { Err(RecordFault::Spelling { field: "rules.unleash" }) };
    }
    let mut lane = UnleashLaneWire { gate: None, split: None };
    if has_gate {
        lane.gate = Some(UnleashGateWire {
            group: reader.owned("rules.unleash.gate.group")?,
            stickiness: reader.owned("rules.unleash.gate.stickiness")?,
            percent: reader.byte("rules.unleash.gate.percent")?,
        });
    }
    if has_split {
        lane.split = Some(UnleashSplitWire {
            group: reader.owned("rules.unleash.split.group")?,
            stickiness: reader.owned("rules.unleash.split.stickiness")?,
        });
    }
    Ok(Some(lane))
}

const FROM: u32 = 1;
const UNTIL: u32 = 1 << 1;

pub(super) fn write_schedule(out: &mut Writer, schedule: &ScheduleWire) {
    let ScheduleWire { from_ms, until_ms } = schedule;
    out.number(bits([(FROM, from_ms.is_some()), (UNTIL, until_ms.is_some())]));
    from_ms.iter().chain(until_ms).for_each(|bound| out.number(bound.0));
}

pub(super) fn read_schedule(reader: &mut Reader<'_>) -> Result<ScheduleWire, RecordFault> {
    let bits = reader.bits("schedule", FROM | UNTIL)?;
    Ok(ScheduleWire {
        from_ms: bits.then(FROM, || reader.number("schedule.from_ms").map(UnixMillis))?,
        until_ms: bits.then(UNTIL, || reader.number("schedule.until_ms").map(UnixMillis))?,
    })
}

const NEGATE: u32 = 1;
const IGNORE_CASE: u32 = 1 << 1;
const COERCE: u32 = 1 << 2;
const LENIENT: u32 = 1 << 3;

pub(super) fn write_condition<T: AsRef<str>>(out: &mut Writer, condition: &ConditionWire<T>) {
    let ConditionWire { attribute, op, values, negate, ignore_case, coerce, lenient } = condition;
    out.number(bits([
        (NEGATE, *negate),
        (IGNORE_CASE, *ignore_case),
        (COERCE, *coerce),
        (LENIENT, *lenient),
    ]));
    out.byte(op.tag());
    out.text(attribute.as_ref());
    out.list(values, write_value);
}

pub(super) fn read_condition<'b, V>(
    reader: &mut Reader<'b>,
    read_value: ReadValue<'b, V>,
) -> Result<ConditionWire<&'b str, V>, RecordFault> {
    let bits = reader.bits("conditions", NEGATE | IGNORE_CASE | COERCE | LENIENT)?;
    Ok(ConditionWire {
        op: read_tag(reader, "conditions.op")?,
        attribute: reader.text("conditions.attribute")?,
        values: reader.list("conditions.values", CONDITION_VALUE_COUNT_MAX, |reader| {
            read_value(reader, "conditions.values")
        })?,
        negate: bits.has(NEGATE),
        ignore_case: bits.has(IGNORE_CASE),
        coerce: bits.has(COERCE),
        lenient: bits.has(LENIENT),
    })
}
