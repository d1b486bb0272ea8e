//! Variants of Unleash → variations and what a rule serves. Names and payloads only; never looks at conditions.

use flagfuse_shared::definition::{
    ConditionWire, UnleashSplitWire, ValueType, VariationWire, WeightedVariationWire,
};
use flagfuse_shared::unleash::{DISABLED, ENABLED, STICKINESS_DEFAULT, STICKINESS_RANDOM, javascript};
use serde_json::{Map, Value, json};

use super::attribute_of;
use super::constraint::{self, Clause};
use super::document::{Constraint, Override, Strategy, Toggle, Variant};

/// The variations of a toggle, in the order in which its document names them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Variations {
    pub(super) value_type: ValueType,
    pub(super) list: Vec<VariationWire>,
}

impl Variations {
    /// On and off for a toggle without variants; Unleash's own variant objects otherwise.
    pub(super) fn of(toggle: &Toggle) -> Self {
        let own = toggle.variants.iter().flatten();
        let of_strategies =
            toggle.strategies.iter().flatten().filter_map(|strategy| strategy.variants.as_ref());
        let variants: Vec<&Variant> = own.chain(of_strategies.flatten()).collect();
        let variation = |key: &str, value| VariationWire { key: key.to_owned(), value };
        if variants.is_empty() {
            let list = vec![variation(DISABLED, Value::Bool(false)), variation(ENABLED, Value::Bool(true))];
            return Self { value_type: ValueType::Boolean, list };
        }
        let none = |is_on: bool| json!({ "name": DISABLED, "enabled": false, "feature_enabled": is_on });
        let list = vec![variation(DISABLED, none(false)), variation(ENABLED, none(true))];
        let mut variations = Self { value_type: ValueType::Object, list };
        for variant in variants {
            variations.add(variant);
        }
        variations
    }

    fn add(&mut self, variant: &Variant) {
        if self.key_of(variant).is_some() {
            return;
        }
        let is_free = |key: &str| self.list.iter().all(|other| other.key != key);
        let numbered = (2..).map(|number| format!("{}#{number}", variant.name));
        let key = std::iter::once(variant.name.clone()).chain(numbered).find(|key| is_free(key));
        // The numbers are endless, the list is not.
        self.list.extend(key.map(|key| VariationWire { key, value: value_of(variant) }));
    }

    /// Key of the variation with the variant's name and payload.
    fn key_of(&self, variant: &Variant) -> Option<&str> {
        let value = value_of(variant);
        self.list.iter().find(|variation| variation.value == value).map(|variation| variation.key.as_str())
    }

    /// Keys of the variations a child may wait for: on, and of one of the variants when it names some.
    pub(super) fn on(&self, variants: &[String]) -> Vec<String> {
        let is_named = |variation: &VariationWire| {
            let name = variation.value.get("name").and_then(Value::as_str).unwrap_or(DISABLED);
            variants.is_empty() || variants.iter().any(|wanted| wanted == name)
        };
        let keys = self.list.iter().filter(|variation| variation.key != DISABLED && is_named(variation));
        keys.map(|variation| variation.key.clone()).collect()
    }
}

/// The object that Unleash's clients answer with.
fn value_of(variant: &Variant) -> Value {
    let mut value = Map::new();
    value.insert("name".to_owned(), Value::String(variant.name.clone()));
    value.insert("enabled".to_owned(), Value::Bool(true));
    if let Some(payload) = &variant.payload {
        value.insert("payload".to_owned(), payload.clone());
    }
    value.insert("feature_enabled".to_owned(), Value::Bool(true));
    Value::Object(value)
}

/// What a strategy that is on serves.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    /// Who gets a variation by name; the first that holds.
    pub(super) overrides: Vec<(ConditionWire, String)>,
    /// Everybody else.
    pub(super) split: Vec<WeightedVariationWire>,
    /// How they are divided, when there is more than one variation.
    pub(super) lane: Option<UnleashSplitWire>,
}

/// The strategy's own variants, else the toggle's, else none. A list without weight counts as none.
pub(super) fn outcome(toggle: &Toggle, strategy: &Strategy, all: &Variations) -> Result<Outcome, String> {
    let parameter = |name: &str| {
        let value = strategy.parameters.as_ref().and_then(|parameters| parameters.get(name));
        value
            .map(|value| javascript::text(value).ok_or_else(|| format!("parameters.{name} is not a string")))
            .transpose()
    };
    if let Some((variants, weights)) = weighted(strategy.variants.as_deref())? {
        let own = variants.first().and_then(|first| first.stickiness.clone()).filter(|name| !name.is_empty());
        let stickiness = match own {
            Some(name) => Some(name),
            None => parameter("stickiness")?,
        };
        let group = parameter("groupId")?.unwrap_or_else(|| toggle.name.clone());
        return divided(variants, &weights, all, group, stickiness);
    }
    if let Some((variants, weights)) = weighted(toggle.variants.as_deref())? {
        let stickiness = variants.first().and_then(|first| first.stickiness.clone());
        return divided(variants, &weights, all, toggle.name.clone(), stickiness);
    }
    let split = vec![WeightedVariationWire { variation: ENABLED.to_owned(), weight: 1 }];
    Ok(Outcome { overrides: Vec::new(), split, lane: None })
}

type Weighted<'v> = (&'v [Variant], Vec<u32>);

/// Variants with the number of buckets of each; `None` when they have no weight at all.
fn weighted(variants: Option<&[Variant]>) -> Result<Option<Weighted<'_>>, String> {
    let variants = variants.unwrap_or_default();
    let weights = bucket_counts(&variants.iter().map(|variant| variant.weight).collect::<Vec<_>>())?;
    Ok(weights.map(|weights| (variants, weights)))
}

/// How many of the buckets 1, 2, … up to the sum each weight has.
///
/// The Node.js client adds doubles up and gives a bucket, `murmur % sum + 1`, to the first variant whose sum reaches it.
/// Buckets are whole numbers while the sum of all is one, so those that a variant adds are the difference of two sums without
/// their fractions.
///
/// No other sum can be rounded, however near it is to a whole number N: below N, a remainder of N - 1 makes the bucket N,
/// which no sum reaches; above it, the hashes that are multiples of N have a remainder just below the sum, and a bucket
/// beyond it. Either way one unit of N gets no variant at all.
fn bucket_counts(weights: &[f64]) -> Result<Option<Vec<u32>>, String> {
    if let Some(negative) = weights.iter().find(|weight| **weight < 0.0) {
        return Err(format!("a variant has the weight {negative}"));
    }
    let total: f64 = weights.iter().fold(0.0, |sum, weight| sum + weight);
    if total <= 0.0 {
        return Ok(None);
    }
    if total.fract() != 0.0 || total > f64::from(u32::MAX) {
        return Err(format!(
            "the variants' weights add up to {total}: expected a whole number, up to {}, since with another sum Unleash's \
             Node.js client leaves some units without a variant",
            u32::MAX
        ));
    }
    let (mut sum, mut before) = (0.0, 0);
    let mut counts = Vec::with_capacity(weights.len());
    for weight in weights {
        sum += weight;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to u32::MAX, and cut")]
        let reached = sum as u32;
        counts.push(reached - before);
        before = reached;
    }
    Ok(Some(counts))
}

fn divided(
    variants: &[Variant],
    weights: &[u32],
    all: &Variations,
    group: String,
    stickiness: Option<String>,
) -> Result<Outcome, String> {
    let mut overrides = Vec::new();
    let mut split = Vec::new();
    for (variant, weight) in variants.iter().zip(weights) {
        let key = all.key_of(variant).unwrap_or_default().to_owned();
        for listed in variant.overrides.iter().flatten() {
            if let Some(condition) = override_condition(listed)? {
                overrides.push((condition, key.clone()));
            }
        }
        if *weight > 0 {
            split.push(WeightedVariationWire { variation: key, weight: *weight });
        }
    }
    let lane = if split.len() > 1 {
        Some(UnleashSplitWire { group, stickiness: stickiness_of(stickiness.as_deref())? })
    } else {
        None
    };
    Ok(Outcome { overrides, split, lane })
}

/// Compares exactly, unlike a constraint; only texts can be equal to a context's text.
fn override_condition(listed: &Override) -> Result<Option<ConditionWire>, String> {
    let texts = listed.values.iter().filter(|value| value.is_string()).cloned().collect();
    let constraint = Constraint {
        context_name: Some(listed.context_name.clone()),
        operator: "IN".to_owned(),
        values: None,
        value: None,
        inverted: None,
        case_insensitive: None,
    };
    match constraint::membership_of(&constraint, texts) {
        Ok(Clause::When(condition)) => Ok(Some(condition)),
        Ok(Clause::Always | Clause::Never) => Ok(None),
        Err(reason) => Err(format!("override on {:?}: {reason}", listed.context_name)),
    }
}

/// A stickiness in our words. A field without a name is missing in every context, which makes splits random.
pub(super) fn stickiness_of(name: Option<&str>) -> Result<String, String> {
    match name {
        None => Ok(STICKINESS_DEFAULT.to_owned()),
        Some("") => Ok(STICKINESS_RANDOM.to_owned()),
        Some(name) => attribute_of(name)
            .map(str::to_owned)
            .ok_or_else(|| format!("the stickiness {name:?} would be mistaken for userId")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Node.js client's arithmetic: `unleash-client` 6.12.1, `variant.ts` and `strategy/util.ts`, where `hash` is murmur's.
    fn picked(weights: &[f64], hash: u32) -> Option<usize> {
        let total: f64 = weights.iter().fold(0.0, |sum, weight| sum + weight);
        let target = f64::from(hash) % total + 1.0;
        let mut counter = 0.0;
        weights.iter().position(|weight| {
            counter += if *weight == 0.0 { 0.0 } else { *weight };
            *weight != 0.0 && counter >= target
        })
    }

    #[test]
    fn every_bucket_goes_to_the_variant_that_the_client_picks() {
        for weights in [
            &[500.0, 500.0][..],
            &[333.3, 333.3, 333.4],
            &[333.299_999_999_95, 333.299_999_999_95, 333.400_000_000_1],
            &[0.1, 0.2, 0.7],
            &[0.0, 999.5, 0.5],
            &[1.0, 0.0, 2.0, 0.25, 0.75],
        ] {
            let counts = bucket_counts(weights).unwrap().unwrap();
            let total: u32 = counts.iter().sum();
            for hash in (0..total).chain((u32::MAX - 2 * total)..=u32::MAX) {
                let mut bucket = hash % total;
                let ours = counts.iter().position(|count| {
                    let is_its = bucket < *count;
                    bucket = bucket.saturating_sub(*count);
                    is_its
                });
                assert_eq!(picked(weights, hash), ours, "{weights:?} {hash}");
            }
        }
    }

    /// Each of these was looked up with the client itself: of 300,000 users about 300 get no variant.
    #[test]
    fn a_sum_beside_a_whole_number_leaves_units_without_a_variant_and_is_refused() {
        for (weights, lost) in [
            (&[500.0, 499.999_999_999_9][..], 999),
            (&[500.0, 500.000_000_000_1], 1_000),
            (&[333.299_999_999_95, 333.299_999_999_95, 333.4], 999),
            (&[381.3, 346.6, 272.1], 1_000),
            (&[333.300_000_000_000_1, 333.3, 333.4], 1_000),
        ] {
            let whole: f64 = weights.iter().sum::<f64>().round();
            assert!((weights.iter().sum::<f64>() - whole).abs() < 1e-6, "{weights:?}");
            assert_eq!(picked(weights, lost), None, "{weights:?}");
            assert_eq!(picked(weights, 7), Some(0), "{weights:?}");
            let fault = bucket_counts(weights).unwrap_err();
            assert!(fault.contains("expected a whole number") && fault.contains("Node.js"), "{fault}");
        }
    }
}
