//! Boolean formulas over conditions, spread into the alternatives that a list of rules can hold. Never grows past its bound.
//!
//! A rule is a conjunction and a list of rules with one outcome is a disjunction, so a formula becomes its disjunctive
//! normal form: one rule for each alternative. The form may be exponentially longer than the formula; the bound is what
//! one flag may hold.

use serde_json::Value;

use crate::flag::wire::{ConditionWire, Operator, ScheduleWire};
use crate::ids::UnixMillis;
use crate::limits::{CONDITION_COUNT_MAX, IMPORT_SPREAD_VALUE_COUNT_MAX, RULE_COUNT_MAX};

/// What has to hold. Every part is true or false for any context, so negation is exact.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Formula {
    /// One comparison.
    Test(ConditionWire),
    /// From this instant on.
    Since(UnixMillis),
    /// Before this instant.
    Until(UnixMillis),
    /// All of them; always, if there are none.
    All(Vec<Self>),
    /// At least one of them; never, if there are none.
    Any(Vec<Self>),
}

/// A conjunction: what one rule can hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Alternative {
    /// All must hold.
    pub(crate) conditions: Vec<ConditionWire>,
    from_ms: Option<UnixMillis>,
    until_ms: Option<UnixMillis>,
}

/// More alternatives, conditions in one of them, or values in all of them than a flag should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the condition spreads into more than {RULE_COUNT_MAX} alternatives, {CONDITION_COUNT_MAX} comparisons in one of \
     them or {IMPORT_SPREAD_VALUE_COUNT_MAX} values in all of them"
)]
pub(crate) struct TooSpread;

impl Formula {
    /// Holds for everybody.
    pub(crate) const ALWAYS: Self = Self::All(Vec::new());
    /// Holds for nobody.
    pub(crate) const NEVER: Self = Self::Any(Vec::new());

    /// `ALWAYS` or `NEVER`.
    pub(crate) const fn constant(holds: bool) -> Self {
        if holds { Self::ALWAYS } else { Self::NEVER }
    }

    /// A comparison of equal types.
    pub(crate) fn test(attribute: &str, op: Operator, values: Vec<Value>) -> Self {
        Self::Test(ConditionWire {
            attribute: attribute.to_owned(),
            op,
            values,
            negate: false,
            ignore_case: false,
            coerce: false,
        })
    }

    /// Equal to one of the values; never, if there are none.
    pub(crate) fn one_of(attribute: &str, values: Vec<Value>) -> Self {
        if values.is_empty() { Self::NEVER } else { Self::test(attribute, Operator::In, values) }
    }

    /// The attribute is present and not null.
    pub(crate) fn exists(attribute: &str) -> Self {
        Self::test(attribute, Operator::Exists, Vec::new())
    }

    /// The opposite for every context and at any time.
    pub(crate) fn negated(self) -> Self {
        match self {
            Self::Test(test) => Self::Test(ConditionWire { negate: !test.negate, ..test }),
            Self::Since(at) => Self::Until(at),
            Self::Until(at) => Self::Since(at),
            Self::All(parts) => Self::Any(parts.into_iter().map(Self::negated).collect()),
            Self::Any(parts) => Self::All(parts.into_iter().map(Self::negated).collect()),
        }
    }

    /// Conjunctions of which at least one holds exactly when the formula does. None at all: it never holds.
    pub(crate) fn alternatives(&self) -> Result<Vec<Alternative>, TooSpread> {
        match self {
            Self::Test(test) => {
                Ok(vec![Alternative { conditions: vec![test.clone()], ..Alternative::default() }])
            }
            Self::Since(at) => Ok(vec![Alternative { from_ms: Some(*at), ..Alternative::default() }]),
            Self::Until(at) => Ok(vec![Alternative { until_ms: Some(*at), ..Alternative::default() }]),
            Self::All(parts) => {
                let mut product = vec![Alternative::default()];
                for part in parts {
                    product = multiply(&product, &part.alternatives()?)?;
                }
                Ok(product)
            }
            Self::Any(parts) => {
                let mut sum = Vec::new();
                for part in parts {
                    add(&mut sum, part.alternatives()?)?;
                }
                Ok(sum)
            }
        }
    }
}

fn multiply(left: &[Alternative], right: &[Alternative]) -> Result<Vec<Alternative>, TooSpread> {
    if left.len().saturating_mul(right.len()) > RULE_COUNT_MAX {
        return Err(TooSpread);
    }
    let mut product = Vec::new();
    let mut values_left = IMPORT_SPREAD_VALUE_COUNT_MAX;
    for one in left {
        for other in right {
            values_left =
                values_left.checked_sub(one.value_count() + other.value_count()).ok_or(TooSpread)?;
            if let Some(both) = one.and(other)? {
                add(&mut product, vec![both])?;
            }
        }
    }
    Ok(product)
}

/// An alternative that always holds makes all others needless.
fn add(sum: &mut Vec<Alternative>, more: Vec<Alternative>) -> Result<(), TooSpread> {
    for alternative in more {
        if sum.first().is_some_and(Alternative::is_always) || sum.contains(&alternative) {
            continue;
        }
        if alternative.is_always() {
            sum.clear();
        }
        sum.push(alternative);
        if sum.len() > RULE_COUNT_MAX {
            return Err(TooSpread);
        }
    }
    Ok(())
}

impl Alternative {
    /// Whether it holds for everybody at any time.
    pub(crate) fn is_always(&self) -> bool {
        *self == Self::default()
    }

    fn value_count(&self) -> usize {
        self.conditions.iter().map(|condition| condition.values.len()).sum()
    }

    /// When it can hold, if not at any time.
    pub(crate) const fn schedule(&self) -> Option<ScheduleWire> {
        match (self.from_ms, self.until_ms) {
            (None, None) => None,
            (from_ms, until_ms) => Some(ScheduleWire { from_ms, until_ms }),
        }
    }

    /// `None` when both can never hold together.
    fn and(&self, other: &Self) -> Result<Option<Self>, TooSpread> {
        let mut both = self.clone();
        both.from_ms = self.from_ms.max(other.from_ms);
        both.until_ms = match (self.until_ms, other.until_ms) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if both.from_ms.zip(both.until_ms).is_some_and(|(from, until)| from >= until) {
            return Ok(None);
        }
        for condition in &other.conditions {
            let opposite = ConditionWire { negate: !condition.negate, ..condition.clone() };
            if both.conditions.contains(&opposite) {
                return Ok(None);
            }
            if !both.conditions.contains(condition) {
                both.conditions.push(condition.clone());
            }
        }
        if both.conditions.len() > CONDITION_COUNT_MAX {
            return Err(TooSpread);
        }
        Ok(Some(both))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn is(attribute: &str) -> Formula {
        Formula::one_of(attribute, vec![json!(true)])
    }

    /// Four attributes that are present or not, at an instant.
    fn holds(formula: &Formula, present: u8, now: u64) -> bool {
        match formula {
            Formula::Test(test) => test_holds(test, present),
            Formula::Since(at) => now >= at.0,
            Formula::Until(at) => now < at.0,
            Formula::All(parts) => parts.iter().all(|part| holds(part, present, now)),
            Formula::Any(parts) => parts.iter().any(|part| holds(part, present, now)),
        }
    }

    fn test_holds(test: &ConditionWire, present: u8) -> bool {
        let bit = 1 << test.attribute.parse::<u8>().unwrap();
        (present & bit != 0) != test.negate
    }

    fn alternative_holds(alternative: &Alternative, present: u8, now: u64) -> bool {
        alternative.conditions.iter().all(|test| test_holds(test, present))
            && alternative.from_ms.is_none_or(|from| now >= from.0)
            && alternative.until_ms.is_none_or(|until| now < until.0)
    }

    fn formulas() -> impl Strategy<Value = Formula> {
        let leaf = prop_oneof![
            (0..4_u8).prop_map(|name| is(&name.to_string())),
            (0..4_u64).prop_map(|at| Formula::Since(UnixMillis(at))),
            any::<bool>().prop_map(Formula::constant),
        ];
        leaf.prop_recursive(3, 24, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Formula::All),
                prop::collection::vec(inner.clone(), 0..3).prop_map(Formula::Any),
                inner.prop_map(Formula::negated),
            ]
        })
    }

    proptest! {
        #[test]
        fn alternatives_hold_exactly_when_the_formula_does(formula in formulas()) {
            let Ok(alternatives) = formula.alternatives() else { return Ok(()) };
            for (present, now) in (0..16_u8).flat_map(|present| (0..5).map(move |now| (present, now))) {
                let any = alternatives.iter().any(|one| alternative_holds(one, present, now));
                prop_assert_eq!(any, holds(&formula, present, now));
                prop_assert_eq!(!any, holds(&formula.clone().negated(), present, now));
            }
        }
    }

    #[test]
    fn alternatives_are_bounded_on_each_side() {
        let any = |count: usize| Formula::Any((0..count).map(|n| is(&n.to_string())).collect());
        assert_eq!(any(RULE_COUNT_MAX).alternatives().map(|all| all.len()), Ok(RULE_COUNT_MAX));
        assert_eq!(any(RULE_COUNT_MAX + 1).alternatives(), Err(TooSpread));
        let all = |count: usize| Formula::All((0..count).map(|n| is(&n.to_string())).collect());
        assert_eq!(all(CONDITION_COUNT_MAX).alternatives().map(|all| all.len()), Ok(1));
        assert_eq!(all(CONDITION_COUNT_MAX + 1).alternatives(), Err(TooSpread));
        let pair = |n: usize| Formula::Any(vec![is(&format!("a{n}")), is(&format!("b{n}"))]);
        let product = |count: usize| Formula::All((0..count).map(pair).collect());
        assert_eq!(product(7).alternatives().map(|all| all.len()), Ok(128));
        assert_eq!(product(8).alternatives(), Err(TooSpread));
    }

    #[test]
    fn contradictions_vanish_and_what_always_holds_stands_alone() {
        let contradiction = Formula::All(vec![is("a"), is("a").negated()]);
        assert_eq!(contradiction.alternatives(), Ok(vec![]));
        let always = Formula::Any(vec![is("a"), Formula::ALWAYS, is("b")]);
        assert!(always.alternatives().is_ok_and(|all| all == [Alternative::default()]));
        let never = Formula::All(vec![Formula::Since(UnixMillis(5)), Formula::Until(UnixMillis(5))]);
        assert_eq!(never.alternatives(), Ok(vec![]));
    }
}
