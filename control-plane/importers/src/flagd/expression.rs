//! `JsonLogic` expressions where a condition is asked for, as formulas. Never evaluates one, and knows no variants.

use std::borrow::Cow;
use std::slice;

use flagfuse_shared::definition::Operator;
use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::limits::{IMPORT_DEPTH_MAX, IMPORT_EXPRESSION_LEN_MAX};
use serde_json::{Map, Value, json};

use super::compare::{Comparison, Variable, compare, compare_literals, identical, is_truthy, with_missing};
use super::obstacle::Obstacle;
use crate::formula::Formula;
use crate::version;

/// Where an expression stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    flag_key: &'a str,
    evaluators: &'a Map<String, Value>,
    /// The evaluator whose expression this is.
    evaluator: Option<&'a str>,
    depth_left: usize,
}

/// An expression whose reference is resolved.
pub(super) enum Node<'a> {
    Literal(&'a Value),
    Operation { op: &'a str, args: &'a Value },
}

/// What a comparison compares.
enum Operand<'a> {
    Literal(Cow<'a, Value>),
    Variable(Variable<'a>),
    /// Unix seconds.
    Timestamp,
}

impl<'a> Scope<'a> {
    pub(super) const fn new(flag_key: &'a str, evaluators: &'a Map<String, Value>) -> Self {
        Self { flag_key, evaluators, evaluator: None, depth_left: IMPORT_DEPTH_MAX }
    }

    /// Bounds what an expression costs, its evaluators included. One that refers to itself ends at the bound.
    pub(super) fn check_size(self, expression: &'a Value) -> Result<(), Obstacle> {
        let mut left = IMPORT_EXPRESSION_LEN_MAX;
        let mut waiting = vec![expression];
        while let Some(value) = waiting.pop() {
            left = left.checked_sub(1).ok_or(Obstacle::TooLarge)?;
            // One more than fits is enough to see that it does not.
            match value {
                Value::Array(elements) => waiting.extend(elements.iter().take(left + 1)),
                Value::Object(members) => {
                    match members.get("$ref").and_then(|name| self.evaluators.get(name.as_str()?)) {
                        Some(evaluator) => waiting.push(evaluator),
                        None => waiting.extend(members.values().take(left + 1)),
                    }
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        Ok(())
    }

    /// Reads one expression and where its arguments stand.
    pub(super) fn node(self, expression: &'a Value) -> Result<(Node<'a>, Self), Obstacle> {
        let Value::Object(members) = expression else { return Ok((Node::Literal(expression), self)) };
        let depth_left = self.depth_left.checked_sub(1).ok_or(Obstacle::TooDeep)?;
        let inside = Self { depth_left, ..self };
        let mut members_left = members.iter();
        let (Some((op, args)), None) = (members_left.next(), members_left.next()) else {
            return Err(Obstacle::NoExpression { count: members.len() });
        };
        if op != "$ref" {
            return Ok((Node::Operation { op, args }, inside));
        }
        if let Some(evaluator) = self.evaluator {
            return Err(Obstacle::NestedEvaluator { evaluator: evaluator.to_owned() });
        }
        let name = args.as_str().ok_or_else(|| Obstacle::arguments(op))?;
        let evaluator = self
            .evaluators
            .get(name)
            .ok_or_else(|| Obstacle::UnknownEvaluator { evaluator: name.to_owned() })?;
        Self { evaluator: Some(name), ..inside }.node(evaluator)
    }

    /// The formula of an expression's truth.
    pub(super) fn condition(self, expression: &'a Value) -> Result<Formula, Obstacle> {
        let (node, inside) = self.node(expression)?;
        let (op, args) = match node {
            Node::Literal(Value::Array(_)) => return Err(Obstacle::arguments("[]")),
            Node::Literal(literal) => return Ok(Formula::constant(is_truthy(literal))),
            Node::Operation { op, args } => (op, args),
        };
        match op {
            "and" => Ok(Formula::All(inside.conditions(op, args)?)),
            "or" => Ok(Formula::Any(inside.conditions(op, args)?)),
            "!" => Ok(inside.only_condition(op, args)?.negated()),
            "!!" => inside.only_condition(op, args),
            "if" => inside.choice(args),
            "var" => inside.truth(args),
            "in" => inside.membership(args),
            "starts_with" => inside.text_test(op, Operator::StartsWith, args),
            "ends_with" => inside.text_test(op, Operator::EndsWith, args),
            "sem_ver" => inside.version_test(args),
            _ => match Comparison::parse(op) {
                Some(comparison) => inside.comparison(op, comparison, args),
                None => Err(Obstacle::Operator { op: op.to_owned() }),
            },
        }
    }

    fn conditions(self, op: &str, args: &'a Value) -> Result<Vec<Formula>, Obstacle> {
        match args {
            Value::Array(parts) if !parts.is_empty() => {
                parts.iter().map(|part| self.condition(part)).collect()
            }
            _ => Err(Obstacle::arguments(op)),
        }
    }

    fn only_condition(self, op: &str, args: &'a Value) -> Result<Formula, Obstacle> {
        match arguments(args) {
            [only] => self.condition(only),
            _ => Err(Obstacle::arguments(op)),
        }
    }

    /// An `if` chain whose answers are conditions again. Without an `else` the answer is null, which is false.
    fn choice(self, args: &'a Value) -> Result<Formula, Obstacle> {
        let mut formula = Formula::NEVER;
        for step in arguments(args).chunks(2).rev() {
            formula = match step {
                [answer] => self.condition(answer)?,
                [asked, answer] => {
                    let asked = self.condition(asked)?;
                    Formula::Any(vec![
                        Formula::All(vec![asked.clone(), self.condition(answer)?]),
                        Formula::All(vec![asked.negated(), formula]),
                    ])
                }
                _ => return Err(Obstacle::arguments("if")),
            };
            // What is asked stands in it twice, so nested choices double it.
            if formula.size() > IMPORT_EXPRESSION_LEN_MAX {
                return Err(Obstacle::TooLarge);
            }
        }
        Ok(formula)
    }

    /// A variable where a condition is asked for.
    fn truth(self, args: &'a Value) -> Result<Formula, Obstacle> {
        match self.variable(args)? {
            Operand::Literal(literal) => Ok(Formula::constant(is_truthy(&literal))),
            Operand::Timestamp => Err(Obstacle::arguments("var")),
            Operand::Variable(variable) => {
                let falsy = vec![json!(false), json!(0), json!("")];
                let not_falsy = Formula::one_of(variable.attribute, falsy).negated();
                if is_truthy(variable.default) {
                    return Ok(not_falsy);
                }
                Ok(Formula::All(vec![Formula::exists(variable.attribute), not_falsy]))
            }
        }
    }

    fn comparison(self, op: &str, comparison: Comparison, args: &'a Value) -> Result<Formula, Obstacle> {
        let pair = |left, right| match (self.operand(op, left)?, self.operand(op, right)?) {
            (Operand::Variable(variable), Operand::Literal(literal)) => {
                compare(comparison, variable, &literal)
            }
            (Operand::Literal(literal), Operand::Variable(variable)) => {
                compare(comparison.flipped(), variable, &literal)
            }
            (Operand::Timestamp, Operand::Literal(literal)) => instant(op, comparison, &literal),
            (Operand::Literal(literal), Operand::Timestamp) => instant(op, comparison.flipped(), &literal),
            (Operand::Literal(left), Operand::Literal(right)) => {
                compare_literals(comparison, &left, &right).map(Formula::constant)
            }
            _ => Err(Obstacle::arguments(op)),
        };
        match (arguments(args), comparison) {
            ([left, right], _) => pair(left, right),
            ([low, middle, high], Comparison::Less | Comparison::AtMost) => {
                Ok(Formula::All(vec![pair(low, middle)?, pair(middle, high)?]))
            }
            _ => Err(Obstacle::arguments(op)),
        }
    }

    /// A scalar in a list, or a text in a text or in a list that the context brings.
    fn membership(self, args: &'a Value) -> Result<Formula, Obstacle> {
        let wrong = || Obstacle::arguments("in");
        let [needle, haystack] = arguments(args) else { return Err(wrong()) };
        match (self.operand("in", needle)?, self.operand("in", haystack)?) {
            (Operand::Variable(variable), Operand::Literal(list)) => {
                let list = scalars(&list).ok_or_else(wrong)?;
                let values = list.iter().filter(|value| !value.is_null()).cloned().collect();
                let when_missing = list.iter().any(|value| identical(value, variable.default));
                Ok(with_missing(
                    variable.attribute,
                    Formula::one_of(variable.attribute, values),
                    when_missing,
                ))
            }
            (Operand::Literal(text), Operand::Variable(variable)) => {
                let needle = text.as_str().filter(|text| !text.is_empty()).ok_or_else(wrong)?;
                let when_missing = match variable.default {
                    Value::Null => false,
                    Value::String(default) => default.contains(needle),
                    _ => return Err(wrong()),
                };
                let found = [Operator::Contains, Operator::ContainsAny]
                    .map(|op| Formula::test(variable.attribute, op, vec![json!(needle)]));
                Ok(with_missing(variable.attribute, Formula::Any(found.into()), when_missing))
            }
            (Operand::Literal(needle), Operand::Literal(list)) => {
                let list = scalars(&list).ok_or_else(wrong)?;
                Ok(Formula::constant(list.iter().any(|value| identical(value, &needle))))
            }
            _ => Err(wrong()),
        }
    }

    /// flagd answers null for anything but texts, which is false like ours.
    fn text_test(self, op: &str, test: Operator, args: &'a Value) -> Result<Formula, Obstacle> {
        let [attribute, text] = arguments(args) else { return Err(Obstacle::arguments(op)) };
        match (self.operand(op, attribute)?, self.operand(op, text)?) {
            (Operand::Variable(variable), Operand::Literal(text)) if text.is_string() => {
                let when_missing = match (test, variable.default.as_str(), text.as_str()) {
                    (Operator::StartsWith, Some(default), Some(text)) => default.starts_with(text),
                    (_, Some(default), Some(text)) => default.ends_with(text),
                    _ => false,
                };
                let found = Formula::test(variable.attribute, test, vec![text.into_owned()]);
                Ok(with_missing(variable.attribute, found, when_missing))
            }
            _ => Err(Obstacle::arguments(op)),
        }
    }

    fn version_test(self, args: &'a Value) -> Result<Formula, Obstacle> {
        let wrong = || Obstacle::arguments("sem_ver");
        let [attribute, relation, bound] = arguments(args) else { return Err(wrong()) };
        let Operand::Variable(variable) = self.operand("sem_ver", attribute)? else { return Err(wrong()) };
        if !variable.default.is_null() {
            return Err(wrong());
        }
        let relation = relation.as_str().ok_or_else(wrong)?;
        version_formula(variable.attribute, relation, bound.as_str().ok_or_else(wrong)?)
    }

    fn operand(self, op: &str, argument: &'a Value) -> Result<Operand<'a>, Obstacle> {
        let (node, inside) = self.node(argument)?;
        match node {
            Node::Literal(literal) => Ok(Operand::Literal(Cow::Borrowed(literal))),
            Node::Operation { op: "var", args } => inside.variable(args),
            Node::Operation { .. } => Err(Obstacle::arguments(op)),
        }
    }

    fn variable(self, args: &'a Value) -> Result<Operand<'a>, Obstacle> {
        const NONE: &Value = &Value::Null;
        let (path, default) = match arguments(args) {
            [Value::String(path)] => (path, NONE),
            [Value::String(path), default] if !default.is_array() && !default.is_object() => (path, default),
            _ => return Err(Obstacle::arguments("var")),
        };
        match path.as_str() {
            "$flagd.flagKey" => Ok(Operand::Literal(Cow::Owned(json!(self.flag_key)))),
            "$flagd.timestamp" => Ok(Operand::Timestamp),
            "" | "$flagd" => Err(Obstacle::Path { path: path.clone() }),
            _ if path.contains(['.', '\\']) => Err(Obstacle::Path { path: path.clone() }),
            _ => Ok(Operand::Variable(Variable { attribute: path, default })),
        }
    }
}

/// One argument may stand without its list.
pub(super) fn arguments(args: &Value) -> &[Value] {
    match args {
        Value::Array(list) => list,
        only => slice::from_ref(only),
    }
}

/// flagd's daemon reads a list in a list as a range of numbers, its other implementations as nothing.
fn scalars(list: &Value) -> Option<&[Value]> {
    let list = list.as_array()?;
    list.iter().all(|value| !value.is_array() && !value.is_object()).then_some(list)
}

/// A comparison of the current time in whole Unix seconds.
fn instant(op: &str, comparison: Comparison, literal: &Value) -> Result<Formula, Obstacle> {
    let wrong = || Obstacle::arguments(op);
    let seconds = literal.as_u64().ok_or_else(wrong)?;
    let start_of = |seconds: Option<u64>| {
        seconds.and_then(|seconds| seconds.checked_mul(1_000)).map(UnixMillis).ok_or_else(wrong)
    };
    match comparison {
        Comparison::Less => start_of(Some(seconds)).map(Formula::Until),
        Comparison::AtLeast => start_of(Some(seconds)).map(Formula::Since),
        Comparison::AtMost => start_of(seconds.checked_add(1)).map(Formula::Until),
        Comparison::Greater => start_of(seconds.checked_add(1)).map(Formula::Since),
        Comparison::Equal | Comparison::Unequal | Comparison::Identical | Comparison::Different => {
            Err(wrong())
        }
    }
}

fn version_formula(attribute: &str, relation: &str, bound: &str) -> Result<Formula, Obstacle> {
    let no_version = || Obstacle::Version { text: bound.to_owned() };
    let written = bound.strip_prefix(['v', 'V']).unwrap_or(bound);
    let full = version::in_full(written).ok_or_else(no_version)?;
    // flagd fills in missing numbers, but not in front of a pre-release.
    if full != written && written.contains(['-', '+']) {
        return Err(no_version());
    }
    let test = |op, version| Formula::lenient_version(attribute, op, version);
    let within = |floor, ceiling| {
        Formula::All(vec![test(Operator::SemverAtLeast, floor), test(Operator::SemverLessThan, ceiling)])
    };
    let next = |number: u64| number.checked_add(1).ok_or_else(no_version);
    let (major, minor) = version::major_minor(&full).ok_or_else(no_version)?;
    Ok(match relation {
        "=" => test(Operator::SemverEqual, full),
        "<" => test(Operator::SemverLessThan, full),
        "<=" => test(Operator::SemverAtMost, full),
        ">" => test(Operator::SemverGreaterThan, full),
        ">=" => test(Operator::SemverAtLeast, full),
        // An attribute that is no version is unequal to none.
        "!=" => Formula::All(vec![
            test(Operator::SemverAtLeast, version::floor(0, 0)),
            test(Operator::SemverEqual, full).negated(),
        ]),
        "^" => within(version::floor(major, 0), version::floor(next(major)?, 0)),
        "~" => within(version::floor(major, minor), version::floor(major, next(minor)?)),
        _ => return Err(Obstacle::arguments("sem_ver")),
    })
}
