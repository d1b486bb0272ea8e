//! Segments, layers and the holdout. They stand before the flags; a fault in them is one of the whole payload.

use super::reader::{Reader, RecordFault};
use super::rule::{read_condition, write_condition};
use super::value::read_value;
use super::writer::{Writer, bits};
use crate::definition::{ConditionWire, HoldoutWire, LayerWire, SegmentRuleWire, SegmentWire, SharedWire};
use crate::limits::{
    CONDITION_COUNT_MAX, LAYER_COUNT_MAX, LISTED_UNIT_COUNT_MAX, SEGMENT_COUNT_MAX, SEGMENT_RULE_COUNT_MAX,
};

const HOLDOUT: u32 = 1;

pub(super) fn write_shared(out: &mut Writer, shared: &SharedWire) {
    let SharedWire { segments, layers, holdout } = shared;
    out.number(bits([(HOLDOUT, holdout.is_some())]));
    out.list(segments, write_segment);
    out.list(layers, write_layer);
    out.present(holdout.as_ref(), write_holdout);
}

pub(super) fn read_shared(reader: &mut Reader<'_>) -> Result<SharedWire, RecordFault> {
    let bits = reader.bits("shared", HOLDOUT)?;
    Ok(SharedWire {
        segments: reader.list("segments", SEGMENT_COUNT_MAX, read_segment)?,
        layers: reader.list("layers", LAYER_COUNT_MAX, read_layer)?,
        holdout: bits.then(HOLDOUT, || read_holdout(reader))?,
    })
}

const SEGMENT_ATTRIBUTE: u32 = 1;

fn write_segment(out: &mut Writer, segment: &SegmentWire) {
    let SegmentWire { key, description: _, included, excluded, attribute, rules } = segment;
    out.number(bits([(SEGMENT_ATTRIBUTE, attribute.is_some())]));
    out.text(key);
    out.optional_text(attribute.as_ref());
    out.list(included, |out, unit| out.text(unit));
    out.list(excluded, |out, unit| out.text(unit));
    out.list(rules, |out, rule| out.list(&rule.conditions, write_condition));
}

fn read_segment(reader: &mut Reader<'_>) -> Result<SegmentWire, RecordFault> {
    let bits = reader.bits("segments", SEGMENT_ATTRIBUTE)?;
    Ok(SegmentWire {
        key: reader.owned("segments.key")?,
        description: String::new(),
        attribute: bits.then(SEGMENT_ATTRIBUTE, || reader.owned("segments.attribute"))?,
        included: read_units(reader, "segments.included")?,
        excluded: read_units(reader, "segments.excluded")?,
        rules: reader.list("segments.rules", SEGMENT_RULE_COUNT_MAX, |reader| {
            let conditions = reader.list("segments.rules", CONDITION_COUNT_MAX, read_segment_condition)?;
            Ok(SegmentRuleWire { conditions })
        })?,
    })
}

fn read_segment_condition(reader: &mut Reader<'_>) -> Result<ConditionWire, RecordFault> {
    let ConditionWire { attribute, op, values, negate, ignore_case, coerce, lenient } =
        read_condition(reader, read_value)?;
    Ok(ConditionWire { attribute: attribute.to_owned(), op, values, negate, ignore_case, coerce, lenient })
}

fn read_units(reader: &mut Reader<'_>, field: &'static str) -> Result<Vec<String>, RecordFault> {
    reader.list(field, LISTED_UNIT_COUNT_MAX, |reader| reader.owned(field))
}

const SALT: u32 = 1;
const BUCKET_BY: u32 = 1 << 1;

fn write_layer(out: &mut Writer, layer: &LayerWire) {
    let LayerWire { key, description: _, salt, bucket_by } = layer;
    out.number(bits([(SALT, salt.is_some()), (BUCKET_BY, bucket_by.is_some())]));
    out.text(key);
    out.optional_text(salt.as_ref());
    out.optional_text(bucket_by.as_ref());
}

fn read_layer(reader: &mut Reader<'_>) -> Result<LayerWire, RecordFault> {
    let bits = reader.bits("layers", SALT | BUCKET_BY)?;
    Ok(LayerWire {
        key: reader.owned("layers.key")?,
        description: String::new(),
        salt: bits.then(SALT, || reader.owned("layers.salt"))?,
        bucket_by: bits.then(BUCKET_BY, || reader.owned("layers.bucket_by"))?,
    })
}

fn write_holdout(out: &mut Writer, holdout: &HoldoutWire) {
    let HoldoutWire { percentage, salt, bucket_by } = holdout;
    out.number(bits([(BUCKET_BY, bucket_by.is_some())]));
    out.double(*percentage);
    out.text(salt);
    out.optional_text(bucket_by.as_ref());
}

fn read_holdout(reader: &mut Reader<'_>) -> Result<HoldoutWire, RecordFault> {
    let bits = reader.bits("holdout", BUCKET_BY)?;
    Ok(HoldoutWire {
        percentage: reader.double("holdout.percentage")?,
        salt: reader.owned("holdout.salt")?,
        bucket_by: bits.then(BUCKET_BY, || reader.owned("holdout.bucket_by"))?,
    })
}
