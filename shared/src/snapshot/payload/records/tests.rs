//! Round trips over all fields, and bytes that nobody wrote.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::definition::*;
use crate::definition::{HoldoutWire, LayerWire, SegmentRuleWire, SegmentWire, SharedWire};
use crate::flag::compile::{Surroundings, compile, compile_in};
use crate::ids::UnixMillis;
use crate::limits::{JSON_DEPTH_MAX, RULE_COUNT_MAX, STRING_LEN_MAX, VALUE_LEN_MAX, VARIATION_COUNT_MAX};
use crate::snapshot::payload::{CODEC, decode, encode};

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "",
        "a",
        "b",
        "c",
        "on",
        "targetingKey",
        "größe",
        "\"\\\u{8}\u{c}\n\u{1f}",
        "1.2.3",
    ])
    .prop_map(str::to_owned)
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(text(), 0..3)
}

fn maybe<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::of(strategy)
}

/// Doubles that also JSON carries unchanged: `serde_json` reads the last bit of others wrong.
fn double() -> impl Strategy<Value = f64> {
    prop_oneof![any::<i32>().prop_map(|n| f64::from(n) / 64.0), prop::sample::select(vec![-0.0, 0.1, 1e21])]
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|truth| json!(truth)),
        any::<u64>().prop_map(|whole| json!(whole)),
        any::<i64>().prop_map(|whole| json!(whole)),
        double().prop_map(|double| json!(double)),
        text().prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| json!(items)),
            prop::collection::btree_map(text(), inner, 0..4).prop_map(|fields| json!(fields)),
        ]
    })
}

fn tagged<T: Tagged + std::fmt::Debug + 'static>() -> impl Strategy<Value = T> {
    let all: Vec<T> = (0..=u8::MAX).filter_map(T::from_tag).collect();
    prop::sample::select(all)
}

fn bound() -> impl Strategy<Value = Option<UnixMillis>> {
    maybe(any::<u64>().prop_map(UnixMillis))
}

fn schedule() -> impl Strategy<Value = ScheduleWire> {
    (bound(), bound()).prop_map(|(from_ms, until_ms)| ScheduleWire { from_ms, until_ms })
}

fn condition() -> impl Strategy<Value = ConditionWire> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (text(), tagged(), prop::collection::vec(value(), 0..4), flags).prop_map(
        |(attribute, op, values, (negate, ignore_case, coerce, lenient))| ConditionWire {
            attribute,
            op,
            values,
            negate,
            ignore_case,
            coerce,
            lenient,
        },
    )
}

fn percentage() -> impl Strategy<Value = f64> {
    prop_oneof![(0_u32..=100).prop_map(f64::from), Just(0.0003), Just(-1.0), Just(1e300)]
}

fn lane() -> impl Strategy<Value = UnleashLaneWire> {
    let gate = (text(), text(), any::<u8>()).prop_map(|(group, stickiness, percent)| UnleashGateWire {
        group,
        stickiness,
        percent,
    });
    let split = (text(), text()).prop_map(|(group, stickiness)| UnleashSplitWire { group, stickiness });
    (maybe(gate), maybe(split)).prop_map(|(gate, split)| UnleashLaneWire { gate, split })
}

fn rule() -> impl Strategy<Value = RuleWire> {
    let part =
        (text(), any::<u32>()).prop_map(|(variation, weight)| WeightedVariationWire { variation, weight });
    let split = prop::collection::vec(part, 0..3);
    let conditions = prop::collection::vec(condition(), 0..3);
    (text(), conditions, maybe(percentage()), split, maybe(schedule()), maybe(lane())).prop_map(
        |(key, conditions, percentage, split, schedule, unleash)| RuleWire {
            key,
            conditions,
            percentage,
            split,
            schedule,
            unleash,
        },
    )
}

fn cohort() -> impl Strategy<Value = CohortWire> {
    let slice = (any::<u32>(), any::<u32>(), text(), tagged(), maybe(any::<u32>()), any::<bool>()).prop_map(
        |(from, to, variation, arm, phase, unenrolled)| CohortSliceWire {
            from,
            to,
            variation,
            arm,
            phase,
            unenrolled,
        },
    );
    let withheld = (text(), text()).prop_map(|(variation, instead)| WithheldWire { variation, instead });
    let dimension = (text(), prop::collection::vec(text(), 0..3))
        .prop_map(|(attribute, values)| DimensionWire { attribute, values });
    let units = any::<bool>().prop_map(|is_signed| if is_signed { Units::Signed } else { Units::Any });
    let dimensions = prop::collection::vec(dimension, 0..3);
    let slices = prop::collection::vec(slice, 0..3);
    (any::<u32>(), slices, maybe(withheld), dimensions, units, maybe(text())).prop_map(
        |(phase, slices, withheld, dimensions, units, salt)| CohortWire {
            phase,
            slices,
            withheld,
            dimensions,
            units,
            salt,
        },
    )
}

fn guards()
-> impl Strategy<Value = (Option<ScheduleWire>, Vec<PrerequisiteWire>, Vec<TargetWire>, Option<LayerShareWire>)>
{
    let prerequisite = (text(), texts()).prop_map(|(flag, variations)| PrerequisiteWire { flag, variations });
    let target = (text(), texts(), maybe(text())).prop_map(|(variation, units, attribute)| TargetWire {
        variation,
        units,
        attribute,
    });
    let share =
        (text(), any::<u32>(), any::<u32>()).prop_map(|(key, from, to)| LayerShareWire { key, from, to });
    (
        maybe(schedule()),
        prop::collection::vec(prerequisite, 0..3),
        prop::collection::vec(target, 0..3),
        maybe(share),
    )
}

fn flag() -> impl Strategy<Value = FlagWire> {
    let variation = (text(), value()).prop_map(|(key, value)| VariationWire { key, value });
    let names = (text(), maybe(text()), maybe(text()), maybe(text()), maybe(text()));
    let kinds = (tagged(), tagged(), tagged(), any::<bool>());
    let toggle = (any::<bool>(), maybe(text()))
        .prop_map(|(impression_data, kind)| UnleashToggleWire { impression_data, kind });
    let rest = (prop::collection::vec(rule(), 0..3), maybe(cohort()), maybe(toggle));
    (names, kinds, prop::collection::vec(variation, 0..4), guards(), rest).prop_map(
        |((key, off_variation, default_variation, salt, bucket_by), kinds, variations, guards, rest)| {
            let (value_type, holdout, on_stale, enabled) = kinds;
            let (schedule, prerequisites, targets, layer) = guards;
            let (rules, cohort, unleash) = rest;
            FlagWire {
                key,
                description: String::new(),
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
            }
        },
    )
}

fn shared() -> impl Strategy<Value = SharedWire> {
    let rule = prop::collection::vec(condition(), 0..2).prop_map(|conditions| SegmentRuleWire { conditions });
    let segment = (texts(), texts(), maybe(text()), prop::collection::vec(rule, 0..3));
    let layer = (maybe(text()), maybe(text()));
    let holdout = (percentage(), text(), maybe(text()))
        .prop_map(|(percentage, salt, bucket_by)| HoldoutWire { percentage, salt, bucket_by });
    let lists = (prop::collection::vec(segment, 0..3), prop::collection::vec(layer, 0..3));
    (lists, maybe(holdout)).prop_map(|((segments, layers), holdout)| SharedWire {
        segments: segments
            .into_iter()
            .enumerate()
            .map(|(at, (included, excluded, attribute, rules))| SegmentWire {
                key: format!("s{at}"),
                description: String::new(),
                included,
                excluded,
                attribute,
                rules,
            })
            .collect(),
        layers: layers
            .into_iter()
            .enumerate()
            .map(|(at, (salt, bucket_by))| LayerWire {
                key: format!("l{at}"),
                description: String::new(),
                salt,
                bucket_by,
            })
            .collect(),
        holdout,
    })
}

fn content() -> impl Strategy<Value = Content> {
    let settings = (tagged(), tagged(), prop::collection::btree_set("[a-z]{1,4}", 0..3));
    (prop::collection::vec(flag(), 0..4), shared(), settings).prop_map(
        |(mut flags, shared, (profile, auto_exposure, keys))| {
            flags.iter_mut().enumerate().for_each(|(at, flag)| flag.key = format!("f{at}"));
            let client_keys = keys.iter().map(|key| Digest::of(key.as_bytes())).collect();
            Content { flags, client_keys, profile, auto_exposure, shared }
        },
    )
}

/// `None` for content that no encoder takes because what flags share has no meaning.
fn encoded(content: &Content) -> Option<Vec<u8>> {
    encode(content).ok()
}

fn spelled(flag: &impl serde::Serialize) -> String {
    serde_json::to_string(flag).unwrap()
}

proptest! {
    #[test]
    fn a_flag_is_what_its_record_says(flag in flag()) {
        let record = write_record(&flag);
        prop_assert_eq!(spelled(&read(&flag.key, &record, read_value).unwrap()), spelled(&flag));
    }

    #[test]
    fn a_flag_compiles_to_the_same_from_its_record(flag in flag(), value in value(), value_type in tagged()) {
        let mut sound = plain_flag("f");
        (sound.value_type, sound.variations[0].value) = (value_type, value);
        for mut flag in [sound, flag] {
            flag.key = "f".to_owned();
            let record = write_record(&flag);
            let key = FlagKey::parse("f").unwrap();
            let stored = read("f", &record, read_stored).unwrap();
            prop_assert_eq!(compile_in(key, &stored, &Surroundings::default()), compile(&flag));
        }
    }

    #[test]
    fn what_flags_share_is_what_its_bytes_say(shared in shared()) {
        let mut out = Writer::default();
        write_shared(&mut out, &shared);
        let bytes = out.into_bytes();
        let reader = &mut Reader::new(&bytes);
        prop_assert_eq!(read_shared(reader).unwrap(), shared);
        prop_assert_eq!(reader.end("shared"), Ok(()));
    }

    #[test]
    fn the_order_in_which_flags_are_listed_changes_no_byte(content in content()) {
        let mut turned = content.clone();
        turned.flags.reverse();
        prop_assert_eq!(encode(&content), encode(&turned));
    }

    #[test]
    fn a_record_with_a_changed_byte_is_refused_or_is_the_record_of_another_flag(
        flag in flag(), at in any::<prop::sample::Index>(), change in 1_u8..,
    ) {
        let mut record = write_record(&flag);
        let at = at.index(record.len());
        record[at] ^= change;
        if let Ok(other) = read_flag(&flag.key, &record, read_value) {
            let mut out = Writer::default();
            write_flag(&mut out, &other);
            prop_assert_eq!(out.into_bytes(), record);
        }
    }

    #[test]
    fn a_payload_with_a_changed_byte_never_panics(
        content in content(), at in any::<prop::sample::Index>(), change in 1_u8..,
    ) {
        if let Some(mut bytes) = encoded(&content) {
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            let _ = decode(&bytes, CODEC);
        }
    }

    #[test]
    fn every_truncation_of_a_payload_is_refused(content in content()) {
        if let Some(bytes) = encoded(&content) {
            for len in 0..bytes.len() {
                prop_assert!(decode(&bytes[..len], CODEC).is_err(), "{} of {} bytes", len, bytes.len());
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = read_flag("f", &bytes, read_value);
        let _ = read_shared(&mut Reader::new(&bytes));
        let _ = decode(&[&[2, 0, 0], bytes.as_slice()].concat(), CODEC);
    }
}

fn plain_flag(key: &str) -> FlagWire {
    serde_json::from_value(json!({ "key": key, "value_type": "boolean", "default_variation": "on",
        "variations": [{ "key": "on", "value": true }] }))
    .unwrap()
}

#[test]
fn a_malformed_record_fails_alone_with_its_reason() {
    let record = write_record(&plain_flag("sound"));
    let rows: [(&[u8], &str); 4] = [
        (&[], "flag: the bytes end inside"),
        (&[0x80, 0x20], "flag is 4096, which this reader does not know"),
        (&record[..record.len() - 1], "default_variation: the bytes end inside"),
        (&[&record[..], &[0]].concat(), "flag has 1 bytes behind its end"),
    ];
    for (broken, reason) in rows {
        let bytes = payload_of(&[("broken", broken), ("sound", &record)]);
        let snapshot = decode(&bytes, CODEC).unwrap().snapshot;
        assert_eq!(snapshot.flag("broken").unwrap().unwrap_err().to_string(), reason);
        assert!(snapshot.flag("sound").unwrap().is_ok());
    }
}

#[test]
fn a_broken_structure_is_refused_as_a_whole() {
    let record = write_record(&plain_flag("f"));
    let good = payload_of(&[("f", &record)]);
    assert!(decode(&good, CODEC).is_ok());
    let rows: [(Vec<u8>, &str); 7] = [
        (vec![], "payload is malformed: format: the bytes end inside"),
        (vec![3], "payload format is 3, in this codec the reader knows 2"),
        ([good.as_slice(), &[0]].concat(), "payload is malformed: payload has 1 bytes behind its end"),
        (payload_of(&[("f", &record), ("f", &record)]), "flag \"f\" is repeated"),
        (
            payload_of(&[("g", &record), ("f", &record)]),
            "payload is malformed: flags is not spelled as a writer does",
        ),
        (payload_of(&[("", &record)]), "flags[0] has no valid key"),
        (
            [&good[..7], &[0x89, 0x27]].concat(),
            "payload is malformed: flags has the length 5001, the limit is 5000",
        ),
    ];
    for (bytes, reason) in rows {
        assert_eq!(decode(&bytes, CODEC).unwrap_err().to_string(), reason);
    }
}

#[test]
fn lists_texts_and_nesting_are_bounded_on_each_side() {
    let reads = |change: &dyn Fn(&mut FlagWire)| {
        let mut flag = plain_flag("f");
        change(&mut flag);
        read_flag("f", &write_record(&flag), read_value).map(|_| ()).map_err(|fault| fault.to_string())
    };
    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    let rule = || RuleWire {
        key: String::new(),
        conditions: Vec::new(),
        percentage: None,
        split: Vec::new(),
        schedule: None,
        unleash: None,
    };
    let variation = || plain_flag("f").variations.remove(0);
    assert_eq!(reads(&|flag| flag.salt = Some("s".repeat(STRING_LEN_MAX))), Ok(()));
    assert!(reads(&|flag| flag.salt = Some("s".repeat(STRING_LEN_MAX + 1))).is_err());
    assert_eq!(reads(&|flag| flag.rules.resize_with(RULE_COUNT_MAX, rule)), Ok(()));
    assert!(reads(&|flag| flag.rules.resize_with(RULE_COUNT_MAX + 1, rule)).is_err());
    assert_eq!(reads(&|flag| flag.variations.resize_with(VARIATION_COUNT_MAX, variation)), Ok(()));
    assert!(reads(&|flag| flag.variations.resize_with(VARIATION_COUNT_MAX + 1, variation)).is_err());
    let text = |len: usize| json!("t".repeat(len));
    assert_eq!(reads(&|flag| flag.variations[0].value = text(VALUE_LEN_MAX)), Ok(()));
    assert!(reads(&|flag| flag.variations[0].value = text(VALUE_LEN_MAX + 1)).is_err());
    assert_eq!(reads(&|flag| flag.variations[0].value = nested(JSON_DEPTH_MAX)), Ok(()));
    assert_eq!(
        reads(&|flag| flag.variations[0].value = nested(JSON_DEPTH_MAX + 1)),
        Err("variations.value is nested deeper than 16 levels".to_owned())
    );
}

#[test]
fn every_double_keeps_its_last_bit() {
    for double in [1.125_680_224_186_430_2e-176, f64::MIN_POSITIVE, 5e-324, f64::MAX, 0.1 + 0.2] {
        let mut flag = plain_flag("f");
        flag.variations[0].value = json!(double);
        assert_eq!(
            read_flag("f", &write_record(&flag), read_value).unwrap().variations[0].value.as_f64(),
            Some(double)
        );
    }
}

#[test]
fn numbers_have_one_spelling() {
    let number = |bytes: &[u8]| Reader::new(bytes).number("n").ok();
    for (bytes, expected) in [
        (&[0][..], Some(0)),
        (&[0x7f], Some(127)),
        (&[0x80, 1], Some(128)),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Some(u64::MAX)),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], None),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1], None),
        (&[0x80, 0], None),
        (&[0x80], None),
        (&[], None),
    ] {
        assert_eq!(number(bytes), expected, "{bytes:x?}");
    }
}

#[test]
fn a_count_beyond_the_bytes_allocates_nothing() {
    let record = [0, 0, 0, 0, 0x40];
    assert_eq!(read_flag("f", &record, read_value), Err(RecordFault::End { field: "variations" }));
}
