//! Wire flag → validated flag, with one result per flag, so that a malformed flag fails alone.

use serde_json::Value;

use super::wire::{
    CohortWire, FlagWire, Operator, RuleWire, ValueType, VariationWire, WeightedVariationWire,
};
use super::{Cohort, CohortSlice, Flag, Power, Rule, Split, Variation, VariationIndex, Withheld};
use crate::condition::{Condition, ConditionFault};
use crate::context::{JsonShape, TARGETING_KEY, json_shape};
use crate::ids::{FlagKey, IdError, RuleKey, VariationKey};
use crate::limits::{
    BUCKET_COUNT, COHORT_SLICE_COUNT_MAX, CONDITION_COUNT_MAX, JSON_DEPTH_MAX, REGEX_CONDITION_COUNT_MAX,
    RULE_COUNT_MAX, SPLIT_WEIGHT_SUM_MAX, STRING_LEN_MAX, VARIATION_COUNT_MAX,
};

/// Why a flag cannot be evaluated. Each message names the field and the limit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FlagFault {
    /// The JSON does not have the shape of a flag.
    #[error("{detail}")]
    Shape {
        /// What the parser said.
        detail: String,
    },
    /// A key is no identifier.
    #[error("{field}: {source}")]
    Key {
        /// Where.
        field: String,
        /// Why.
        source: IdError,
    },
    /// A list, text or number is outside its bounds.
    #[error("{field} is {found}, allowed is {allowed}")]
    OutOfRange {
        /// Where.
        field: String,
        /// What was there.
        found: String,
        /// The bound in words.
        allowed: String,
    },
    /// Two entries share a key.
    #[error("{field} has {key:?} twice")]
    Duplicate {
        /// Which list.
        field: &'static str,
        /// The repeated key.
        key: String,
    },
    /// A reference to a variation that does not exist.
    #[error("{field} names the variation {variation:?}, which the flag does not have")]
    UnknownVariation {
        /// Where.
        field: String,
        /// The missing name.
        variation: String,
    },
    /// A value that is not of the flag's type, or empty where a payload is needed.
    #[error("variations[{variation:?}].value must be {expected}")]
    WrongValue {
        /// Which variation.
        variation: String,
        /// The type in words.
        expected: &'static str,
    },
    /// A condition that cannot be evaluated.
    #[error("rules[{rule:?}].conditions[{at}]: {source}")]
    Condition {
        /// Which rule.
        rule: String,
        /// Position in it.
        at: usize,
        /// Why.
        source: ConditionFault,
    },
}

fn out_of_range(field: impl Into<String>, found: impl ToString, allowed: impl Into<String>) -> FlagFault {
    FlagFault::OutOfRange { field: field.into(), found: found.to_string(), allowed: allowed.into() }
}

fn key_fault(field: impl Into<String>) -> impl FnOnce(IdError) -> FlagFault {
    let field = field.into();
    move |source| FlagFault::Key { field, source }
}

/// Checks a flag completely; the first fault found is returned.
pub fn compile(wire: &FlagWire) -> Result<Flag, FlagFault> {
    let key = FlagKey::parse(&wire.key).map_err(key_fault("key"))?;
    let variations = compile_variations(wire.value_type, &wire.variations)?;
    let find = Finder(&variations);
    let rules = compile_rules(&wire.rules, &find)?;
    let salt = wire.salt.as_deref().unwrap_or(&wire.key);
    check_text("salt", salt)?;
    let bucket_by = wire.bucket_by.as_deref().unwrap_or(TARGETING_KEY);
    check_text("bucket_by", bucket_by)?;
    Ok(Flag {
        key,
        value_type: wire.value_type,
        power: if wire.enabled { Power::On } else { Power::Off },
        off: wire.off_variation.as_ref().map(|name| find.index("off_variation", name)).transpose()?,
        default: find.index("default_variation", &wire.default_variation)?,
        rules,
        salt: salt.into(),
        bucket_by: bucket_by.into(),
        on_stale: wire.on_stale,
        cohort: wire.cohort.as_ref().map(|cohort| compile_cohort(cohort, &find)).transpose()?,
        variations,
    })
}

/// Finds a variation's position by name.
struct Finder<'v>(&'v [Variation]);

impl Finder<'_> {
    fn index(&self, field: impl Into<String>, name: &str) -> Result<VariationIndex, FlagFault> {
        self.0
            .iter()
            .position(|variation| variation.key.as_str() == name)
            .and_then(|at| u8::try_from(at).ok())
            .map(VariationIndex)
            .ok_or_else(|| FlagFault::UnknownVariation { field: field.into(), variation: name.to_owned() })
    }
}

fn check_text(field: &str, text: &str) -> Result<(), FlagFault> {
    if text.is_empty() || text.len() > STRING_LEN_MAX {
        let found = format!("{} bytes", text.len());
        return Err(out_of_range(field, found, format!("1 to {STRING_LEN_MAX} bytes")));
    }
    Ok(())
}

fn compile_variations(value_type: ValueType, wires: &[VariationWire]) -> Result<Vec<Variation>, FlagFault> {
    if wires.is_empty() || wires.len() > VARIATION_COUNT_MAX {
        let found = format!("{} entries", wires.len());
        return Err(out_of_range("variations", found, format!("1 to {VARIATION_COUNT_MAX} entries")));
    }
    let mut variations: Vec<Variation> = Vec::with_capacity(wires.len());
    for wire in wires {
        let key = VariationKey::parse(&wire.key).map_err(key_fault("variations.key"))?;
        if variations.iter().any(|earlier| earlier.key == key) {
            return Err(FlagFault::Duplicate { field: "variations", key: wire.key.clone() });
        }
        let json = render_value(value_type, &wire.value)
            .map_err(|expected| FlagFault::WrongValue { variation: wire.key.clone(), expected })?;
        variations.push(Variation { key, value: wire.value.clone(), json: json.into() });
    }
    Ok(variations)
}

/// JSON text of a value of the type, or the type in words when it is not.
fn render_value(value_type: ValueType, value: &Value) -> Result<String, &'static str> {
    if json_shape(value, JSON_DEPTH_MAX) != JsonShape::Fits {
        return Err("nested at most 16 levels with texts of at most 4096 bytes");
    }
    match (value_type, value) {
        (ValueType::Boolean, Value::Bool(_)) | (ValueType::String, Value::String(_)) => Ok(value.to_string()),
        (ValueType::Integer, Value::Number(n)) if n.is_i64() || n.is_u64() => Ok(value.to_string()),
        (ValueType::Float, Value::Number(n)) => {
            n.as_f64().filter(|f| f.is_finite()).map(render_float).ok_or("a finite number")
        }
        (ValueType::Object, Value::Object(fields)) if !fields.is_empty() => Ok(value.to_string()),
        (ValueType::Object, Value::Array(_)) => Ok(value.to_string()),
        (ValueType::Boolean, _) => Err("a boolean, the flag's value_type is boolean"),
        (ValueType::String, _) => Err("a string, the flag's value_type is string"),
        (ValueType::Integer, _) => Err("a whole number of 64 bits, the flag's value_type is integer"),
        (ValueType::Float, _) => Err("a number, the flag's value_type is float"),
        (ValueType::Object, _) => Err("a non-empty object or an array, the flag's value_type is object"),
    }
}

/// A float always shows a decimal point, so that typed clients do not read it as an integer.
fn render_float(float: f64) -> String {
    let text = Value::from(float).to_string();
    match text.split_once('e') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0e{exponent}"),
        _ => text,
    }
}

fn compile_rules(wires: &[RuleWire], find: &Finder<'_>) -> Result<Vec<Rule>, FlagFault> {
    if wires.len() > RULE_COUNT_MAX {
        let found = format!("{} entries", wires.len());
        return Err(out_of_range("rules", found, format!("at most {RULE_COUNT_MAX} entries")));
    }
    let conditions = wires.iter().flat_map(|rule| &rule.conditions);
    let regex_count = conditions.filter(|condition| condition.op == Operator::Matches).count();
    if regex_count > REGEX_CONDITION_COUNT_MAX {
        let found = format!("{regex_count} conditions with op matches");
        return Err(out_of_range("rules", found, format!("at most {REGEX_CONDITION_COUNT_MAX} in one flag")));
    }
    let mut rules: Vec<Rule> = Vec::with_capacity(wires.len());
    for wire in wires {
        let rule = compile_rule(wire, find)?;
        if rules.iter().any(|earlier| earlier.key == rule.key) {
            return Err(FlagFault::Duplicate { field: "rules", key: wire.key.clone() });
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn compile_rule(wire: &RuleWire, find: &Finder<'_>) -> Result<Rule, FlagFault> {
    let field = |name: &str| format!("rules[{:?}].{name}", wire.key);
    let key = RuleKey::parse(&wire.key).map_err(key_fault("rules.key"))?;
    if wire.conditions.len() > CONDITION_COUNT_MAX {
        let found = format!("{} entries", wire.conditions.len());
        return Err(out_of_range(
            field("conditions"),
            found,
            format!("at most {CONDITION_COUNT_MAX} entries"),
        ));
    }
    let conditions = wire
        .conditions
        .iter()
        .enumerate()
        .map(|(at, condition)| {
            Condition::compile(condition).map_err(|source| FlagFault::Condition {
                rule: wire.key.clone(),
                at,
                source,
            })
        })
        .collect::<Result<_, _>>()?;
    let gate =
        wire.percentage.map(|percent| percent_to_buckets(&field("percentage"), percent)).transpose()?;
    Ok(Rule { key, conditions, gate, split: compile_split(&field("split"), &wire.split, find)? })
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

fn compile_split(
    field: &str,
    wires: &[WeightedVariationWire],
    find: &Finder<'_>,
) -> Result<Split, FlagFault> {
    if let [only] = wires
        && only.weight > 0
    {
        return Ok(Split::One(find.index(field, &only.variation)?));
    }
    if wires.len() > VARIATION_COUNT_MAX {
        let found = format!("{} entries", wires.len());
        return Err(out_of_range(field, found, format!("1 to {VARIATION_COUNT_MAX} entries")));
    }
    let mut weight_sum = 0_u64;
    let mut shares = Vec::with_capacity(wires.len());
    for wire in wires {
        weight_sum += u64::from(wire.weight);
        shares.push((weight_sum, find.index(field, &wire.variation)?));
    }
    if weight_sum == 0 || weight_sum > SPLIT_WEIGHT_SUM_MAX {
        let found = format!("a weight sum of {weight_sum}");
        return Err(out_of_range(field, found, format!("1 to {SPLIT_WEIGHT_SUM_MAX}")));
    }
    Ok(Split::Weighted { shares, weight_sum })
}

fn compile_cohort(wire: &CohortWire, find: &Finder<'_>) -> Result<Cohort, FlagFault> {
    if wire.slices.len() > COHORT_SLICE_COUNT_MAX {
        let found = format!("{} entries", wire.slices.len());
        return Err(out_of_range(
            "cohort.slices",
            found,
            format!("at most {COHORT_SLICE_COUNT_MAX} entries"),
        ));
    }
    let mut slices = Vec::with_capacity(wire.slices.len());
    let mut free_from = 0;
    for slice in &wire.slices {
        if slice.from < free_from || slice.from >= slice.to || slice.to > BUCKET_COUNT {
            let found = format!("[{}, {})", slice.from, slice.to);
            let allowed = format!("ascending ranges without overlap within [0, {BUCKET_COUNT})");
            return Err(out_of_range("cohort.slices", found, allowed));
        }
        free_from = slice.to;
        let variation = find.index("cohort.slices.variation", &slice.variation)?;
        slices.push(CohortSlice { from: slice.from, to: slice.to, variation, arm: slice.arm });
    }
    let withheld = match &wire.withheld {
        None => None,
        Some(withheld) => Some(Withheld {
            variation: find.index("cohort.withheld.variation", &withheld.variation)?,
            instead: find.index("cohort.withheld.instead", &withheld.instead)?,
        }),
    };
    Ok(Cohort { phase: wire.phase, slices, withheld })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flag(patch: Value) -> Result<Flag, FlagFault> {
        let mut flag = json!({
            "key": "f", "value_type": "boolean", "default_variation": "off", "off_variation": "off",
            "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
        });
        for (name, value) in patch.as_object().unwrap() {
            flag[name] = value.clone();
        }
        let wire = serde_json::from_value(flag).map_err(|e| FlagFault::Shape { detail: e.to_string() })?;
        compile(&wire)
    }

    fn fault(patch: Value) -> String {
        flag(patch).unwrap_err().to_string()
    }

    #[test]
    fn every_fault_names_the_field() {
        let rows = [
            (json!({ "surprise": 1 }), "unknown field `surprise`"),
            (json!({ "key": "" }), "flag key is empty"),
            (json!({ "value_type": "text" }), "unknown variant `text`"),
            (json!({ "variations": [] }), "variations is 0 entries"),
            (json!({ "default_variation": "x" }), "default_variation names the variation \"x\""),
            (json!({ "off_variation": "x" }), "off_variation names the variation \"x\""),
            (json!({ "rules": [{ "key": "r", "split": [] }] }), "weight sum of 0"),
            (
                json!({ "rules": [{ "key": "r", "percentage": 100.1, "split": [{ "variation": "on" }] }] }),
                "percentage",
            ),
            (
                json!({ "rules": [{ "key": "r", "percentage": 0.00001, "split": [{ "variation": "on" }] }] }),
                "0.0001",
            ),
            (json!({ "salt": "" }), "salt is 0 bytes"),
        ];
        for (patch, expected) in rows {
            let text = fault(patch.clone());
            assert!(text.contains(expected), "{patch}: {text}");
        }
    }

    #[test]
    fn empty_payload_is_refused_when_loaded() {
        let rows = [
            ("boolean", json!("")),
            ("boolean", json!(null)),
            ("string", json!(null)),
            ("integer", json!(1.5)),
            ("integer", json!("1")),
            ("float", json!("1.0")),
            ("object", json!({})),
            ("object", json!("")),
        ];
        for (value_type, value) in rows {
            let text =
                fault(json!({ "value_type": value_type, "variations": [{ "key": "off", "value": value }] }));
            assert!(text.contains("variations[\"off\"].value must be"), "{value_type} {value}: {text}");
        }
    }

    #[test]
    fn floats_show_a_point_and_integers_do_not() {
        let render = |kind, value| render_value(kind, &value).unwrap();
        assert_eq!(render(ValueType::Float, json!(1)), "1.0");
        assert_eq!(render(ValueType::Float, json!(1e300)), "1.0e+300");
        assert_eq!(render(ValueType::Float, json!(0.25)), "0.25");
        assert_eq!(render(ValueType::Integer, json!(u64::MAX)), "18446744073709551615");
    }

    #[test]
    fn percents_become_buckets_down_to_one() {
        assert_eq!(percent_to_buckets("p", 0.0001), Ok(1));
        assert_eq!(percent_to_buckets("p", 0.0003), Ok(3));
        assert_eq!(percent_to_buckets("p", 33.3333), Ok(333_333));
        assert_eq!(percent_to_buckets("p", 100.0), Ok(1_000_000));
        for bad in [-0.1, 100.0001, f64::NAN, f64::INFINITY, 0.000_05] {
            assert!(percent_to_buckets("p", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cohort_slices_must_ascend_without_overlap() {
        let slices = |ranges: &[(u32, u32)]| {
            let slices: Vec<Value> = ranges
                .iter()
                .map(|(from, to)| json!({ "from": from, "to": to, "variation": "on", "arm": "exposed" }))
                .collect();
            flag(json!({ "cohort": { "phase": 1, "slices": slices } }))
        };
        assert!(slices(&[(0, 10), (10, 20), (999_999, 1_000_000)]).is_ok());
        for bad in [&[(0, 10), (9, 20)][..], &[(5, 5)], &[(0, 1_000_001)], &[(10, 20), (0, 5)]] {
            assert!(slices(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn counts_are_limited_on_each_side() {
        let rules = |count: usize| {
            let rules: Vec<Value> = (0..count)
                .map(|n| json!({ "key": n.to_string(), "split": [{ "variation": "on" }] }))
                .collect();
            flag(json!({ "rules": rules }))
        };
        assert!(rules(RULE_COUNT_MAX).is_ok());
        assert!(rules(RULE_COUNT_MAX + 1).is_err());
        let patterns = |count: usize| {
            let condition = json!({ "attribute": "a", "op": "matches", "values": ["^x"] });
            let conditions = vec![condition; count];
            flag(
                json!({ "rules": [{ "key": "r", "conditions": conditions, "split": [{ "variation": "on" }] }] }),
            )
        };
        assert!(patterns(REGEX_CONDITION_COUNT_MAX).is_ok());
        assert!(patterns(REGEX_CONDITION_COUNT_MAX + 1).is_err());
        let variations = |count: usize| {
            let all: Vec<Value> =
                (0..count).map(|n| json!({ "key": n.to_string(), "value": true })).collect();
            flag(json!({ "variations": all, "default_variation": "0", "off_variation": null }))
        };
        assert!(variations(VARIATION_COUNT_MAX).is_ok());
        assert!(variations(VARIATION_COUNT_MAX + 1).is_err());
    }
}
