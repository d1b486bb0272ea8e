//! The record of one flag. Its key stands outside; a description is for people and never written.

use super::reader::{Reader, RecordFault};
use super::rule::{read_rule, read_schedule, write_rule, write_schedule};
use super::tags::{Tagged, read_tag};
use super::value::{ReadValue, write_value};
use super::writer::{Writer, bits};
use crate::definition::{
    CohortSliceWire, CohortWire, DimensionWire, FlagWire, LayerShareWire, PrerequisiteWire, TargetWire,
    Units, UnleashToggleWire, VariationWire, WithheldWire,
};
use crate::limits::{
    COHORT_SLICE_COUNT_MAX, DIMENSION_COUNT_MAX, DIMENSION_VALUE_COUNT_MAX, LISTED_UNIT_COUNT_MAX,
    PREREQUISITE_COUNT_MAX, RULE_COUNT_MAX, VARIATION_COUNT_MAX,
};

// What most flags have comes first, so that the bits of most flags fit one byte.
const ENABLED: u32 = 1;
const OFF_VARIATION: u32 = 1 << 1;
const RULES: u32 = 1 << 2;
const SALT: u32 = 1 << 3;
const COHORT: u32 = 1 << 4;
const BUCKET_BY: u32 = 1 << 5;
const TARGETS: u32 = 1 << 6;
const SCHEDULE: u32 = 1 << 7;
const PREREQUISITES: u32 = 1 << 8;
const LAYER: u32 = 1 << 9;
const UNLEASH: u32 = 1 << 10;
/// There is no default variation.
const CODE_DEFAULT: u32 = 1 << 11;
const KNOWN: u32 = (1 << 12) - 1;

pub(super) fn write_flag<T: AsRef<str>>(out: &mut Writer, flag: &FlagWire<T>) {
    // Named one by one: a new field does not compile until it has its place here.
    let FlagWire {
        key: _,
        description: _,
        value_type,
        variations,
        enabled,
        off_variation,
        default_variation,
        schedule,
        prerequisites,
        targets,
        holdout,
        layer,
        rules,
        salt,
        bucket_by,
        on_stale,
        cohort,
        unleash,
    } = flag;
    out.number(bits([
        (ENABLED, *enabled),
        (OFF_VARIATION, off_variation.is_some()),
        (RULES, !rules.is_empty()),
        (SALT, salt.is_some()),
        (COHORT, cohort.is_some()),
        (BUCKET_BY, bucket_by.is_some()),
        (TARGETS, !targets.is_empty()),
        (SCHEDULE, schedule.is_some()),
        (PREREQUISITES, !prerequisites.is_empty()),
        (LAYER, layer.is_some()),
        (UNLEASH, unleash.is_some()),
        (CODE_DEFAULT, default_variation.is_none()),
    ]));
    out.byte(value_type.tag());
    out.byte(holdout.tag());
    out.byte(on_stale.tag());
    out.list(variations, |out, variation| {
        out.text(variation.key.as_ref());
        write_value(out, &variation.value);
    });
    out.optional_text(default_variation.as_ref());
    out.optional_text(off_variation.as_ref());
    out.optional_text(salt.as_ref());
    out.optional_text(bucket_by.as_ref());
    out.present_list(rules, write_rule);
    out.present(cohort.as_ref(), write_cohort);
    out.present_list(targets, write_target);
    out.present(schedule.as_ref(), write_schedule);
    out.present_list(prerequisites, |out, prerequisite| {
        out.text(&prerequisite.flag);
        out.list(&prerequisite.variations, |out, name| out.text(name));
    });
    out.present(layer.as_ref(), |out, share| {
        out.text(&share.key);
        out.number(share.from.into());
        out.number(share.to.into());
    });
    out.present(unleash.as_ref(), write_toggle);
}

/// The flag that the record of `key` holds.
pub(super) fn read_flag<'b, V>(
    key: &'b str,
    record: &'b [u8],
    read_value: ReadValue<'b, V>,
) -> Result<FlagWire<&'b str, V>, RecordFault> {
    let reader = &mut Reader::new(record);
    let bits = reader.bits("flag", KNOWN)?;
    let flag = FlagWire {
        key,
        description: String::new(),
        enabled: bits.has(ENABLED),
        value_type: read_tag(reader, "value_type")?,
        holdout: read_tag(reader, "holdout")?,
        on_stale: read_tag(reader, "on_stale")?,
        variations: reader.list("variations", VARIATION_COUNT_MAX, |reader| {
            let key = reader.text("variations.key")?;
            Ok(VariationWire { key, value: read_value(reader, "variations.value")? })
        })?,
        default_variation: if bits.has(CODE_DEFAULT) {
            None
        } else {
            Some(reader.text("default_variation")?)
        },
        off_variation: bits.then(OFF_VARIATION, || reader.text("off_variation"))?,
        salt: bits.then(SALT, || reader.text("salt"))?,
        bucket_by: bits.then(BUCKET_BY, || reader.text("bucket_by"))?,
        rules: bits.list(RULES, || {
            reader.present_list("rules", RULE_COUNT_MAX, |reader| read_rule(reader, read_value))
        })?,
        cohort: bits.then(COHORT, || read_cohort(reader))?,
        targets: bits.list(TARGETS, || reader.present_list("targets", VARIATION_COUNT_MAX, read_target))?,
        schedule: bits.then(SCHEDULE, || read_schedule(reader))?,
        prerequisites: bits.list(PREREQUISITES, || {
            reader.present_list("prerequisites", PREREQUISITE_COUNT_MAX, read_prerequisite)
        })?,
        layer: bits.then(LAYER, || read_share(reader))?,
        unleash: bits.then(UNLEASH, || read_toggle(reader))?,
    };
    reader.end("flag")?;
    Ok(flag)
}

fn read_prerequisite(reader: &mut Reader<'_>) -> Result<PrerequisiteWire, RecordFault> {
    Ok(PrerequisiteWire {
        flag: reader.owned("prerequisites.flag")?,
        variations: reader.list("prerequisites.variations", VARIATION_COUNT_MAX, |reader| {
            reader.owned("prerequisites.variations")
        })?,
    })
}

fn read_share(reader: &mut Reader<'_>) -> Result<LayerShareWire, RecordFault> {
    Ok(LayerShareWire {
        key: reader.owned("layer.key")?,
        from: reader.small("layer.from")?,
        to: reader.small("layer.to")?,
    })
}

const TARGET_ATTRIBUTE: u32 = 1;

fn write_target<T: AsRef<str>>(out: &mut Writer, target: &TargetWire<T>) {
    let TargetWire { variation, units, attribute } = target;
    out.number(bits([(TARGET_ATTRIBUTE, attribute.is_some())]));
    out.text(variation.as_ref());
    out.list(units, |out, unit| out.text(unit.as_ref()));
    out.optional_text(attribute.as_ref());
}

fn read_target<'b>(reader: &mut Reader<'b>) -> Result<TargetWire<&'b str>, RecordFault> {
    let bits = reader.bits("targets", TARGET_ATTRIBUTE)?;
    Ok(TargetWire {
        variation: reader.text("targets.variation")?,
        units: reader.list("targets.units", LISTED_UNIT_COUNT_MAX, |reader| reader.text("targets.units"))?,
        attribute: bits.then(TARGET_ATTRIBUTE, || reader.text("targets.attribute"))?,
    })
}

const IMPRESSION_DATA: u32 = 1;
const KIND: u32 = 1 << 1;

fn write_toggle(out: &mut Writer, toggle: &UnleashToggleWire) {
    let UnleashToggleWire { impression_data, kind } = toggle;
    out.number(bits([(IMPRESSION_DATA, *impression_data), (KIND, kind.is_some())]));
    out.optional_text(kind.as_ref());
}

fn read_toggle(reader: &mut Reader<'_>) -> Result<UnleashToggleWire, RecordFault> {
    let bits = reader.bits("unleash", IMPRESSION_DATA | KIND)?;
    Ok(UnleashToggleWire {
        impression_data: bits.has(IMPRESSION_DATA),
        kind: bits.then(KIND, || reader.owned("unleash.type"))?,
    })
}

const WITHHELD: u32 = 1;
// From reader 3 on.
const DIMENSIONS: u32 = 1 << 1;
const SIGNED: u32 = 1 << 2;
// From reader 4 on.
const LANE: u32 = 1 << 3;
const SLICE_PHASE: u32 = 1;
// From reader 4 on.
const SLICE_UNENROLLED: u32 = 1 << 1;

fn write_cohort<T: AsRef<str>>(out: &mut Writer, cohort: &CohortWire<T>) {
    let CohortWire { phase, slices, withheld, dimensions, units, salt } = cohort;
    out.number(bits([
        (WITHHELD, withheld.is_some()),
        (DIMENSIONS, !dimensions.is_empty()),
        (SIGNED, *units == Units::Signed),
        (LANE, salt.is_some()),
    ]));
    out.number((*phase).into());
    out.list(slices, |out, slice| {
        let CohortSliceWire { from, to, variation, arm, phase, unenrolled } = slice;
        out.number(bits([(SLICE_PHASE, phase.is_some()), (SLICE_UNENROLLED, *unenrolled)]));
        out.number((*from).into());
        out.number((*to).into());
        out.text(variation.as_ref());
        out.byte(arm.tag());
        out.present(phase.as_ref(), |out, phase| out.number((*phase).into()));
    });
    out.present(withheld.as_ref(), |out, withheld| {
        out.text(withheld.variation.as_ref());
        out.text(withheld.instead.as_ref());
    });
    out.present_list(dimensions, |out, dimension| {
        out.text(dimension.attribute.as_ref());
        out.list(&dimension.values, |out, value| out.text(value.as_ref()));
    });
    out.present(salt.as_ref(), |out, salt| out.text(salt.as_ref()));
}

fn read_cohort<'b>(reader: &mut Reader<'b>) -> Result<CohortWire<&'b str>, RecordFault> {
    let bits = reader.bits("cohort", WITHHELD | DIMENSIONS | SIGNED | LANE)?;
    Ok(CohortWire {
        phase: reader.small("cohort.phase")?,
        slices: reader.list("cohort.slices", COHORT_SLICE_COUNT_MAX, read_slice)?,
        withheld: bits.then(WITHHELD, || {
            Ok(WithheldWire {
                variation: reader.text("cohort.withheld.variation")?,
                instead: reader.text("cohort.withheld.instead")?,
            })
        })?,
        dimensions: bits.list(DIMENSIONS, || {
            reader.present_list("cohort.dimensions", DIMENSION_COUNT_MAX, read_dimension)
        })?,
        units: if bits.has(SIGNED) { Units::Signed } else { Units::Any },
        salt: bits.then(LANE, || reader.text("cohort.salt"))?,
    })
}

fn read_dimension<'b>(reader: &mut Reader<'b>) -> Result<DimensionWire<&'b str>, RecordFault> {
    const VALUES: &str = "cohort.dimensions.values";
    Ok(DimensionWire {
        attribute: reader.text("cohort.dimensions.attribute")?,
        values: reader.list(VALUES, DIMENSION_VALUE_COUNT_MAX, |reader| reader.text(VALUES))?,
    })
}

fn read_slice<'b>(reader: &mut Reader<'b>) -> Result<CohortSliceWire<&'b str>, RecordFault> {
    let bits = reader.bits("cohort.slices", SLICE_PHASE | SLICE_UNENROLLED)?;
    Ok(CohortSliceWire {
        from: reader.small("cohort.slices.from")?,
        to: reader.small("cohort.slices.to")?,
        variation: reader.text("cohort.slices.variation")?,
        arm: read_tag(reader, "cohort.slices.arm")?,
        phase: bits.then(SLICE_PHASE, || reader.small("cohort.slices.phase"))?,
        unenrolled: bits.has(SLICE_UNENROLLED),
    })
}
