//! Boolean formulas over conditions, spread into the alternatives that a list of rules can hold. Never grows past its bound.
//!
//! A rule is a conjunction and a list of rules with one outcome is a disjunction, so a formula becomes its disjunctive
//! normal form: one rule for each alternative. The form may be exponentially longer than the formula; the bound is what
//! one flag may hold.

use std::collections::BTreeMap;

use flagfuse_shared::definition::{ConditionWire, Operator, ScheduleWire};
use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::limits::{CONDITION_COUNT_MAX, RULE_COUNT_MAX};
use serde_json::Value;

use super::budget::{TooSpread, ValueBudget};

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
    /// When it can hold, if not at any time.
    pub(crate) schedule: Option<ScheduleWire>,
}

/// A comparison that reads its values and the attribute as they are.
pub(crate) fn plain(attribute: &str, op: Operator, values: Vec<Value>) -> ConditionWire {
    ConditionWire {
        attribute: attribute.to_owned(),
        op,
        values,
        negate: false,
        ignore_case: false,
        coerce: false,
        lenient: false,
    }
}

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
        Self::Test(plain(attribute, op, values))
    }

    /// A comparison with a version in full, of an attribute that need not be.
    pub(crate) fn lenient_version(attribute: &str, op: Operator, version: String) -> Self {
        Self::Test(ConditionWire { lenient: true, ..plain(attribute, op, vec![Value::String(version)]) })
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

    /// Its parts and the values they list.
    pub(crate) fn size(&self) -> usize {
        1 + match self {
            Self::Test(test) => test.values.len(),
            Self::Since(_) | Self::Until(_) => 0,
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::size).sum(),
        }
    }

    fn terms<'f>(&'f self, tests: &mut Tests<'f>) -> Result<Vec<Term>, TooSpread> {
        match self {
            Self::Test(test) => Ok(vec![Term { literals: vec![tests.literal(test)], ..Term::default() }]),
            Self::Since(at) => Ok(vec![Term { from_ms: Some(*at), ..Term::default() }]),
            Self::Until(at) => Ok(vec![Term { until_ms: Some(*at), ..Term::default() }]),
            Self::All(parts) => product(parts, tests),
            Self::Any(parts) => {
                let mut sum = Vec::new();
                for part in parts {
                    add(&mut sum, part.terms(tests)?)?;
                }
                Ok(sum)
            }
        }
    }
}

/// Conjunctions of which at least one holds exactly when all of `parts` do. None at all: they never hold together.
pub(crate) fn alternatives<'f>(
    parts: impl IntoIterator<Item = &'f Formula>,
    budget: &mut ValueBudget,
) -> Result<Vec<Alternative>, TooSpread> {
    let mut tests = Tests::default();
    let terms = product(parts, &mut tests)?;
    // Counted before anything is copied.
    budget.spend(terms.iter().map(|term| tests.value_count(term)).sum())?;
    Ok(terms.into_iter().map(|term| tests.alternative(&term)).collect())
}

/// Comparisons by number, so that spreading copies and compares numbers only.
#[derive(Default)]
struct Tests<'f> {
    /// By all that is written in it, but for its negation.
    ids: BTreeMap<String, usize>,
    wires: Vec<&'f ConditionWire>,
}

/// A comparison or its opposite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Literal {
    test: usize,
    negate: bool,
}

/// A conjunction in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Term {
    literals: Vec<Literal>,
    from_ms: Option<UnixMillis>,
    until_ms: Option<UnixMillis>,
}

impl<'f> Tests<'f> {
    fn literal(&mut self, test: &'f ConditionWire) -> Literal {
        let ConditionWire { attribute, op, values, negate, ignore_case, coerce, lenient } = test;
        let written = format!("{attribute:?} {op:?} {values:?} {ignore_case} {coerce} {lenient}");
        let test = *self.ids.entry(written).or_insert_with(|| {
            self.wires.push(test);
            self.wires.len() - 1
        });
        Literal { test, negate: *negate }
    }

    fn value_count(&self, term: &Term) -> usize {
        term.literals
            .iter()
            .filter_map(|literal| self.wires.get(literal.test))
            .map(|wire| wire.values.len())
            .sum()
    }

    fn alternative(&self, term: &Term) -> Alternative {
        let condition = |literal: &Literal| {
            let wire = self.wires.get(literal.test)?;
            Some(ConditionWire { negate: literal.negate, ..(*wire).clone() })
        };
        let schedule = match (term.from_ms, term.until_ms) {
            (None, None) => None,
            (from_ms, until_ms) => Some(ScheduleWire { from_ms, until_ms }),
        };
        Alternative { conditions: term.literals.iter().filter_map(condition).collect(), schedule }
    }
}

fn product<'f>(
    parts: impl IntoIterator<Item = &'f Formula>,
    tests: &mut Tests<'f>,
) -> Result<Vec<Term>, TooSpread> {
    let mut product = vec![Term::default()];
    for part in parts {
        product = multiply(&product, &part.terms(tests)?)?;
    }
    Ok(product)
}

fn multiply(left: &[Term], right: &[Term]) -> Result<Vec<Term>, TooSpread> {
    if left.len().saturating_mul(right.len()) > RULE_COUNT_MAX {
        return Err(TooSpread::Alternatives);
    }
    let mut product = Vec::new();
    for one in left {
        for other in right {
            if let Some(both) = one.and(other)? {
                add(&mut product, vec![both])?;
            }
        }
    }
    Ok(product)
}

/// A term that always holds makes all others needless.
fn add(sum: &mut Vec<Term>, more: Vec<Term>) -> Result<(), TooSpread> {
    for term in more {
        if sum.first().is_some_and(Term::is_always) || sum.contains(&term) {
            continue;
        }
        if term.is_always() {
            sum.clear();
        }
        sum.push(term);
        if sum.len() > RULE_COUNT_MAX {
            return Err(TooSpread::Alternatives);
        }
    }
    Ok(())
}

impl Alternative {
    /// Whether it holds for everybody at any time.
    pub(crate) fn is_always(&self) -> bool {
        *self == Self::default()
    }
}

impl Term {
    fn is_always(&self) -> bool {
        *self == Self::default()
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
        for literal in &other.literals {
            if both.literals.contains(&Literal { negate: !literal.negate, ..*literal }) {
                return Ok(None);
            }
            if !both.literals.contains(literal) {
                both.literals.push(*literal);
            }
        }
        if both.literals.len() > CONDITION_COUNT_MAX {
            return Err(TooSpread::Alternatives);
        }
        Ok(Some(both))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn spread(formula: &Formula) -> Result<Vec<Alternative>, TooSpread> {
        let mut budget = ValueBudget::new();
        budget.begin_entry();
        alternatives([formula], &mut budget)
    }

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
            && alternative.schedule.is_none_or(|schedule| {
                schedule.from_ms.is_none_or(|from| now >= from.0)
                    && schedule.until_ms.is_none_or(|until| now < until.0)
            })
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
            let Ok(alternatives) = spread(&formula) else { return Ok(()) };
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
        assert_eq!(spread(&any(RULE_COUNT_MAX)).map(|all| all.len()), Ok(RULE_COUNT_MAX));
        assert_eq!(spread(&any(RULE_COUNT_MAX + 1)), Err(TooSpread::Alternatives));
        let all = |count: usize| Formula::All((0..count).map(|n| is(&n.to_string())).collect());
        assert_eq!(spread(&all(CONDITION_COUNT_MAX)).map(|all| all.len()), Ok(1));
        assert_eq!(spread(&all(CONDITION_COUNT_MAX + 1)), Err(TooSpread::Alternatives));
        let pair = |n: usize| Formula::Any(vec![is(&format!("a{n}")), is(&format!("b{n}"))]);
        let product = |count: usize| Formula::All((0..count).map(pair).collect());
        assert_eq!(spread(&product(7)).map(|all| all.len()), Ok(128));
        assert_eq!(spread(&product(8)), Err(TooSpread::Alternatives));
    }

    #[test]
    fn contradictions_vanish_and_what_always_holds_stands_alone() {
        let contradiction = Formula::All(vec![is("a"), is("a").negated()]);
        assert_eq!(spread(&contradiction), Ok(vec![]));
        let always = Formula::Any(vec![is("a"), Formula::ALWAYS, is("b")]);
        assert!(spread(&always).is_ok_and(|all| all == [Alternative::default()]));
        let never = Formula::All(vec![Formula::Since(UnixMillis(5)), Formula::Until(UnixMillis(5))]);
        assert_eq!(spread(&never), Ok(vec![]));
    }
}
