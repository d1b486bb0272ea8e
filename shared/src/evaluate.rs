//! Evaluation: one verified snapshot, one flag, one context → one resolution. Never looks at a clock or at chance.

use std::borrow::Cow;

use crate::bucket::{Bucket, GATE_SEED, SPLIT_SEED};
use crate::context::Context;
use crate::flag::{Arm, Flag, FlagFault, OnStale, Power, Rule, Split, Variation, VariationIndex};
use crate::ids::RuleKey;
use crate::snapshot::{Snapshot, Verified};

/// The answer to a question about one flag.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolution<'s> {
    /// What to serve; `None` tells the caller to use the default in its code.
    pub variation: Option<&'s Variation>,
    /// Why.
    pub reason: Reason,
    /// Arm and phase when the unit is in the flag's cohort, so an exposure cannot disagree with the value.
    pub assignment: Option<Assignment>,
    /// The rule that decided.
    pub rule: Option<&'s RuleKey>,
    /// The flag itself.
    pub flag: &'s Flag,
}

/// Where a unit stands in a flag's cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// Exposed or control.
    pub arm: Arm,
    /// Phase of the allocation.
    pub phase: u32,
}

/// Reasons of OpenFeature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The same for everybody.
    Static,
    /// A rule without chance decided.
    TargetingMatch,
    /// A gate, a split or the cohort decided by the unit's bucket.
    Split,
    /// The flag is off.
    Disabled,
    /// Rules exist, none applied.
    Default,
    /// The snapshot's freshness could not be proven and the flag's `on_stale` decided.
    Stale,
}

impl Reason {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Split => "SPLIT",
            Self::Disabled => "DISABLED",
            Self::Default => "DEFAULT",
            Self::Stale => "STALE",
        }
    }
}

/// Whether the snapshot's freshness is proven at the time of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Within the staleness bound.
    Fresh,
    /// Beyond it: flags may choose another answer.
    Stale,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvaluationError<'s> {
    /// The snapshot has no such flag.
    #[error("flag {key:?} is not in this snapshot")]
    FlagNotFound {
        /// What was asked for.
        key: String,
    },
    /// The deciding rule needs a unit and the context has none.
    #[error(
        "flag needs the context attribute {attribute:?} to name a unit (a non-empty text or whole number)"
    )]
    TargetingKeyMissing {
        /// The attribute that names the unit.
        attribute: &'s str,
    },
    /// The flag itself is malformed; all others still work.
    #[error("flag is malformed: {0}")]
    Malformed(&'s FlagFault),
}

/// Evaluates one flag.
pub fn evaluate<'s>(
    snapshot: &'s Verified<Snapshot>,
    flag_key: &str,
    context: &Context,
    freshness: Freshness,
) -> Result<Resolution<'s>, EvaluationError<'s>> {
    match snapshot.flag(flag_key) {
        None => Err(EvaluationError::FlagNotFound { key: flag_key.to_owned() }),
        Some(Err(fault)) => Err(EvaluationError::Malformed(fault)),
        Some(Ok(flag)) => evaluate_flag(flag, context, freshness),
    }
}

/// Evaluates every flag, in the order of their keys.
pub fn evaluate_all<'s>(
    snapshot: &'s Verified<Snapshot>,
    context: &Context,
    freshness: Freshness,
) -> impl Iterator<Item = (&'s str, Result<Resolution<'s>, EvaluationError<'s>>)> {
    snapshot.flags().map(move |(key, flag)| {
        let answer = match flag {
            Ok(flag) => evaluate_flag(flag, context, freshness),
            Err(fault) => Err(EvaluationError::Malformed(fault)),
        };
        (key.as_str(), answer)
    })
}

fn evaluate_flag<'s>(
    flag: &'s Flag,
    context: &Context,
    freshness: Freshness,
) -> Result<Resolution<'s>, EvaluationError<'s>> {
    if flag.power == Power::Off {
        return Ok(served(flag, flag.off, Reason::Disabled));
    }
    match (freshness, flag.on_stale) {
        (Freshness::Stale, OnStale::Default) => return Ok(served(flag, Some(flag.default), Reason::Stale)),
        (Freshness::Stale, OnStale::Off) => return Ok(served(flag, flag.off, Reason::Stale)),
        (Freshness::Stale, OnStale::Keep) | (Freshness::Fresh, _) => {}
    }
    for rule in &flag.rules {
        if let Some(resolution) = apply_rule(flag, rule, context)? {
            return Ok(resolution);
        }
    }
    if let Some(cohort) = &flag.cohort {
        let bucket = Bucket::of(&flag.salt, &unit(flag, context)?, GATE_SEED);
        return Ok(match cohort.slice(bucket) {
            Some(slice) => Resolution {
                assignment: Some(Assignment { arm: slice.arm, phase: cohort.phase }),
                ..served(flag, Some(slice.variation), Reason::Split)
            },
            None => served(flag, Some(flag.default), Reason::Split),
        });
    }
    let reason = if flag.rules.is_empty() { Reason::Static } else { Reason::Default };
    Ok(served(flag, Some(flag.default), reason))
}

/// `None` when the rule does not apply.
fn apply_rule<'s>(
    flag: &'s Flag,
    rule: &'s Rule,
    context: &Context,
) -> Result<Option<Resolution<'s>>, EvaluationError<'s>> {
    if !rule.conditions.iter().all(|condition| condition.holds(context)) {
        return Ok(None);
    }
    if let Some(gate) = rule.gate
        && Bucket::of(&flag.salt, &unit(flag, context)?, GATE_SEED).get() >= gate
    {
        return Ok(None);
    }
    let (index, chance) = match &rule.split {
        Split::One(index) => (*index, rule.gate.is_some()),
        Split::Weighted { shares, weight_sum } => {
            let bucket = Bucket::of(&flag.salt, &unit(flag, context)?, SPLIT_SEED);
            (share_of(shares, *weight_sum, bucket).unwrap_or(flag.default), true)
        }
    };
    let index = flag.cohort.as_ref().map_or(index, |cohort| cohort.permitted(index));
    let reason = if chance { Reason::Split } else { Reason::TargetingMatch };
    Ok(Some(Resolution { rule: Some(&rule.key), ..served(flag, Some(index), reason) }))
}

/// The share that holds `bucket` when the weights are stretched over all buckets.
fn share_of(shares: &[(u64, VariationIndex)], weight_sum: u64, bucket: Bucket) -> Option<VariationIndex> {
    // bucket < 1e6 and weight_sum ≤ 1e6, so the product stays below 1e12.
    let position = u64::from(bucket.get()) * weight_sum / u64::from(crate::limits::BUCKET_COUNT);
    let at = shares.partition_point(|&(end, _)| end <= position);
    shares.get(at).map(|&(_, index)| index)
}

fn unit<'c, 's>(flag: &'s Flag, context: &'c Context) -> Result<Cow<'c, str>, EvaluationError<'s>> {
    context.unit(&flag.bucket_by).ok_or(EvaluationError::TargetingKeyMissing { attribute: &flag.bucket_by })
}

fn served(flag: &Flag, index: Option<VariationIndex>, reason: Reason) -> Resolution<'_> {
    let variation = index.and_then(|index| flag.variation(index));
    Resolution { variation, reason, assignment: None, rule: None, flag }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::snapshot::fixtures;

    fn snapshot(flags: &[Value]) -> Verified<Snapshot> {
        fixtures::admitted(flags).snapshot
    }

    fn boolean(patch: &Value) -> Value {
        let mut flag = json!({
            "key": "f", "value_type": "boolean", "default_variation": "off", "off_variation": "off",
            "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
        });
        for (name, value) in patch.as_object().unwrap() {
            flag[name] = value.clone();
        }
        flag
    }

    fn ask(flag: &Value, context: Value) -> (Option<String>, Reason) {
        let snapshot = snapshot(std::slice::from_ref(flag));
        let context = Context::from_json(context).unwrap();
        let answer = evaluate(&snapshot, "f", &context, Freshness::Fresh).unwrap();
        (answer.variation.map(|v| v.key().to_string()), answer.reason)
    }

    #[test]
    fn each_path_has_its_reason() {
        let on_for_de = json!([{ "key": "r", "conditions": [{ "attribute": "c", "op": "in", "values": ["DE"] }],
            "split": [{ "variation": "on" }] }]);
        let half = json!([{ "key": "r", "percentage": 100.0, "split": [{ "variation": "on" }] }]);
        let rows = [
            (boolean(&json!({})), json!({}), "off", Reason::Static),
            (boolean(&json!({ "enabled": false })), json!({}), "off", Reason::Disabled),
            (boolean(&json!({ "rules": on_for_de })), json!({ "c": "DE" }), "on", Reason::TargetingMatch),
            (boolean(&json!({ "rules": on_for_de })), json!({ "c": "FR" }), "off", Reason::Default),
            (boolean(&json!({ "rules": half })), json!({ "targetingKey": "u" }), "on", Reason::Split),
        ];
        for (flag, context, variation, reason) in rows {
            assert_eq!(ask(&flag, context), (Some(variation.to_owned()), reason), "{flag}");
        }
        let no_off = boolean(&json!({ "enabled": false, "off_variation": null }));
        assert_eq!(ask(&no_off, json!({})), (None, Reason::Disabled));
    }

    #[test]
    fn only_rules_that_need_a_unit_miss_it() {
        let rules = json!([
            { "key": "staff", "conditions": [{ "attribute": "staff", "op": "in", "values": [true] }],
              "split": [{ "variation": "on" }] },
            { "key": "some", "percentage": 50.0, "split": [{ "variation": "on" }] },
        ]);
        let snapshot = snapshot(&[boolean(&json!({ "rules": rules }))]);
        let staff = Context::from_json(json!({ "staff": true })).unwrap();
        assert!(evaluate(&snapshot, "f", &staff, Freshness::Fresh).is_ok());
        let missing = evaluate(&snapshot, "f", &Context::default(), Freshness::Fresh);
        assert_eq!(missing, Err(EvaluationError::TargetingKeyMissing { attribute: "targetingKey" }));
    }

    #[test]
    fn rollout_is_monotone() {
        let at = |percent: f64| {
            let rules = json!([{ "key": "r", "percentage": percent, "split": [{ "variation": "on" }] }]);
            let snapshot = snapshot(&[boolean(&json!({ "rules": rules }))]);
            move |unit: usize| {
                let context = Context::for_unit(&unit.to_string());
                evaluate(&snapshot, "f", &context, Freshness::Fresh).unwrap().rule.is_some()
            }
        };
        let (five, ten) = (at(5.0), at(10.0));
        let counts = (0..20_000).fold((0, 0), |(a, b), unit| {
            assert!(!five(unit) || ten(unit), "unit {unit} is in 5 % but not in 10 %");
            (a + u32::from(five(unit)), b + u32::from(ten(unit)))
        });
        // 20,000 units: 1,000 ± 5σ (31) and 2,000 ± 5σ (42).
        assert!((845..1155).contains(&counts.0) && (1790..2210).contains(&counts.1), "{counts:?}");
    }

    #[test]
    fn a_ramp_moves_nobody_from_control_to_exposed() {
        let cohort = |exposed: u32| {
            boolean(&json!({ "cohort": { "phase": 7, "slices": [
                { "from": 0, "to": exposed, "variation": "on", "arm": "exposed" },
                { "from": 900_000, "to": 1_000_000, "variation": "off", "arm": "control" },
            ] } }))
        };
        let (small, large) = (snapshot(&[cohort(50_000)]), snapshot(&[cohort(250_000)]));
        let mut arms = [0_u32; 3];
        for unit in 0..20_000 {
            let context = Context::for_unit(&format!("user-{unit}"));
            let of = |s| {
                evaluate(s, "f", &context, Freshness::Fresh).unwrap().assignment.map(|a| (a.arm, a.phase))
            };
            match (of(&small), of(&large)) {
                (Some((Arm::Exposed, 7)), Some((Arm::Exposed, 7))) => arms[0] += 1,
                (Some((Arm::Control, 7)), Some((Arm::Control, 7))) => arms[1] += 1,
                (None, Some((Arm::Exposed, 7)) | None) => arms[2] += 1,
                other => panic!("user-{unit}: {other:?}"),
            }
        }
        assert!(arms[0] > 800 && arms[1] > 1_700, "{arms:?}");
    }

    #[test]
    fn a_tripped_feature_is_off_for_targeted_units_too() {
        let rules = json!([
            { "key": "staff", "conditions": [{ "attribute": "staff", "op": "exists" }], "split": [{ "variation": "on" }] },
            { "key": "rest", "split": [{ "variation": "on" }, { "variation": "off" }] },
        ]);
        let cohort = |withheld: Value| json!({ "phase": 2, "slices": [], "withheld": withheld });
        let tripped = json!({ "variation": "on", "instead": "off" });
        for (withheld, staff_gets) in [(Value::Null, "on"), (tripped, "off")] {
            let is_tripped = !withheld.is_null();
            let snapshot = snapshot(&[boolean(&json!({ "rules": rules, "cohort": cohort(withheld) }))]);
            let ask = |context: Value| {
                let context = Context::from_json(context).unwrap();
                let answer = evaluate(&snapshot, "f", &context, Freshness::Fresh).unwrap();
                answer.variation.unwrap().key().to_string()
            };
            assert_eq!(ask(json!({ "staff": 1 })), staff_gets);
            let on = (0..100).filter(|unit| ask(json!({ "targetingKey": unit.to_string() })) == "on").count();
            assert_eq!(on == 0, is_tripped, "{on} of 100 saw it");
        }
    }

    #[test]
    fn splits_follow_their_weights() {
        let rules = json!([{ "key": "r", "split": [
            { "variation": "on", "weight": 1 }, { "variation": "off", "weight": 3 } ] }]);
        let snapshot = snapshot(&[boolean(&json!({ "rules": rules }))]);
        let on = (0..20_000).filter(|unit| {
            let context = Context::for_unit(&format!("user-{unit}"));
            let answer = evaluate(&snapshot, "f", &context, Freshness::Fresh).unwrap();
            answer.variation.unwrap().key().as_str() == "on"
        });
        // 5,000 ± 5σ, σ = sqrt(20,000 · ¼ · ¾) = 61.
        assert!((4_690..5_310).contains(&on.count()));
    }

    #[test]
    fn a_malformed_flag_fails_alone() {
        let good = boolean(&json!({ "key": "good" }));
        let admitted =
            fixtures::admitted_raw(&[good.to_string(), r#"{"key":"bad","value_type":"colour"}"#.to_owned()]);
        let context = Context::default();
        assert!(evaluate(&admitted.snapshot, "good", &context, Freshness::Fresh).is_ok());
        assert!(matches!(
            evaluate(&admitted.snapshot, "bad", &context, Freshness::Fresh),
            Err(EvaluationError::Malformed(_))
        ));
        assert_eq!(evaluate_all(&admitted.snapshot, &context, Freshness::Fresh).count(), 2);
    }

    #[test]
    fn on_stale_applies_only_when_stale() {
        let rules = json!([{ "key": "r", "split": [{ "variation": "on" }] }]);
        for (on_stale, expected) in [("keep", "on"), ("default", "off"), ("off", "off")] {
            let snapshot = snapshot(&[boolean(&json!({ "rules": rules, "on_stale": on_stale }))]);
            let context = Context::default();
            let at = |freshness| {
                evaluate(&snapshot, "f", &context, freshness).unwrap().variation.unwrap().key().to_string()
            };
            assert_eq!((at(Freshness::Fresh), at(Freshness::Stale)), ("on".to_owned(), expected.to_owned()));
        }
    }
}
