//! A flag's targeting as rules: each answer of its `if` chain with what leads to it. Looks into no condition itself.

use std::rc::Rc;

use flagfuse_shared::context::TARGETING_KEY;
use flagfuse_shared::definition::{RuleWire, WeightedVariationWire};
use flagfuse_shared::limits::RULE_COUNT_MAX;
use serde_json::{Map, Value, json};

use super::compare::Comparison;
use super::expression::{Node, Scope, arguments};
use super::obstacle::Obstacle;
use crate::budget::ValueBudget;
use crate::formula::{Alternative, Formula, alternatives};

/// What a flag serves.
pub(super) struct Decision {
    pub(super) rules: Vec<RuleWire>,
    /// `None` for the default in the code.
    pub(super) default_variation: Option<String>,
}

/// One answer and when it is given, if none before it is.
struct Branch {
    when: Path,
    answer: Answer,
}

/// Conditions that all lead to a branch. The branches below a condition share it.
#[derive(Clone, Default)]
struct Path(Vec<Rc<Formula>>);

impl Path {
    fn and(&self, asked: Formula) -> Self {
        let mut longer = self.clone();
        longer.0.push(Rc::new(asked));
        longer
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Default,
    Variant(String),
}

/// The rules of `targeting`, and what is served when none of them holds.
pub(super) fn decide(
    targeting: Option<&Value>,
    scope: Scope<'_>,
    default: Option<&str>,
    variants: &Map<String, Value>,
    budget: &mut ValueBudget,
) -> Result<Decision, Obstacle> {
    if let Some(variant) = default.filter(|variant| !variants.contains_key(*variant)) {
        return Err(Obstacle::UnknownDefault { variant: variant.to_owned() });
    }
    let mut branches = Vec::new();
    if let Some(targeting) = targeting {
        scope.check_size(targeting)?;
        answer(scope, targeting, &Path::default(), &mut branches)?;
    }
    // What stands last and asks for the default says nothing that the default does not.
    while branches.pop_if(|branch| branch.answer == Answer::Default).is_some() {}
    let mut rules = Vec::new();
    // Whom earlier branches left to the default in the code, which no rule can serve.
    let mut others = Path::default();
    for (at, branch) in branches.iter().enumerate() {
        let when = branch.when.0.iter().chain(&others.0);
        let alternatives = alternatives(when.map(Rc::as_ref), budget)?;
        let decides_for_everybody = alternatives.first().is_some_and(Alternative::is_always);
        let variation = match &branch.answer {
            Answer::Variant(name) if !variants.contains_key(name) && !alternatives.is_empty() => {
                return Err(Obstacle::UnknownVariant { variant: name.clone() });
            }
            Answer::Variant(name) => name.as_str(),
            Answer::Default if alternatives.is_empty() => continue,
            Answer::Default => match default {
                Some(default) => default,
                None if decides_for_everybody => break,
                None => {
                    let left = Formula::All(branch.when.0.iter().map(|part| (**part).clone()).collect());
                    others = others.and(left.negated());
                    continue;
                }
            },
        };
        push_rules(&mut rules, at + 1, alternatives, variation)?;
        if decides_for_everybody {
            break;
        }
    }
    Ok(Decision { rules, default_variation: default.map(str::to_owned) })
}

fn push_rules(
    rules: &mut Vec<RuleWire>,
    branch: usize,
    alternatives: Vec<Alternative>,
    variation: &str,
) -> Result<(), Obstacle> {
    let is_single = alternatives.len() == 1;
    for (at, alternative) in alternatives.into_iter().enumerate() {
        if rules.len() == RULE_COUNT_MAX {
            return Err(Obstacle::TooManyRules);
        }
        let key =
            if is_single { format!("targeting-{branch}") } else { format!("targeting-{branch}.{}", at + 1) };
        rules.push(RuleWire {
            key,
            schedule: alternative.schedule,
            conditions: alternative.conditions,
            percentage: None,
            split: vec![WeightedVariationWire { variation: variation.to_owned(), weight: 1 }],
            unleash: None,
        });
    }
    Ok(())
}

/// Adds the branches of an expression where an answer is asked for. The last one covers all of `when`.
fn answer<'a>(
    scope: Scope<'a>,
    expression: &'a Value,
    when: &Path,
    branches: &mut Vec<Branch>,
) -> Result<(), Obstacle> {
    let (node, inside) = scope.node(expression)?;
    let (op, args) = match node {
        Node::Literal(literal) => {
            branches.push(Branch { when: when.clone(), answer: literal_answer(literal)? });
            return Ok(());
        }
        Node::Operation { op, args } => (op, args),
    };
    match op {
        "if" => chain(inside, arguments(args), when, branches),
        "fractional" => {
            let (asked, answer) = sole_share(inside, arguments(args))?;
            branches.push(Branch { when: when.and(asked), answer });
            branches.push(Branch { when: when.clone(), answer: Answer::Default });
            Ok(())
        }
        _ if is_boolean(op) => {
            let asked = scope.condition(expression)?;
            let variant = |truth: bool| Answer::Variant(truth.to_string());
            branches.push(Branch { when: when.and(asked), answer: variant(true) });
            branches.push(Branch { when: when.clone(), answer: variant(false) });
            Ok(())
        }
        "and" | "or" | "var" | "starts_with" | "ends_with" | "sem_ver" => {
            Err(Obstacle::NoAnswer { op: op.to_owned() })
        }
        _ => Err(Obstacle::Operator { op: op.to_owned() }),
    }
}

fn chain<'a>(
    scope: Scope<'a>,
    steps: &'a [Value],
    when: &Path,
    branches: &mut Vec<Branch>,
) -> Result<(), Obstacle> {
    for step in steps.chunks(2) {
        if branches.len() > RULE_COUNT_MAX {
            return Err(Obstacle::TooManyRules);
        }
        match step {
            [last] => return answer(scope, last, when, branches),
            [asked, then] => answer(scope, then, &when.and(scope.condition(asked)?), branches)?,
            _ => return Err(Obstacle::arguments("if")),
        }
    }
    branches.push(Branch { when: when.clone(), answer: Answer::Default });
    Ok(())
}

fn literal_answer(literal: &Value) -> Result<Answer, Obstacle> {
    match literal {
        Value::Null => Ok(Answer::Default),
        Value::String(name) => Ok(Answer::Variant(name.clone())),
        Value::Bool(truth) => Ok(Answer::Variant(truth.to_string())),
        other @ (Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(Obstacle::UnknownVariant { variant: other.to_string() })
        }
    }
}

/// Operators whose answer is always true or false, never null and never one of their arguments.
fn is_boolean(op: &str) -> bool {
    matches!(op, "!" | "!!" | "in") || Comparison::parse(op).is_some()
}

/// A `fractional` that gives everything to one variant, and what it needs to give it: a text to bucket by.
fn sole_share<'a>(scope: Scope<'a>, args: &'a [Value]) -> Result<(Formula, Answer), Obstacle> {
    let (by, shares) = match args {
        [Value::Array(_), ..] => (None, args),
        [by, shares @ ..] => (Some(by), shares),
        [] => return Err(Obstacle::arguments("fractional")),
    };
    let mut sole = None;
    for share in shares {
        let (variant, weight) = match share.as_array().map(Vec::as_slice) {
            Some([variant]) => (variant, 1),
            Some([variant, weight]) => (variant, weight.as_u64().ok_or(Obstacle::Fractional)?),
            _ => return Err(Obstacle::arguments("fractional")),
        };
        if weight > 0 && sole.replace(variant).is_some() {
            return Err(Obstacle::Fractional);
        }
    }
    let answer = literal_answer(sole.ok_or(Obstacle::Fractional)?)?;
    let asked = match by.map(|by| scope.node(by)).transpose()? {
        // Without a value of its own it buckets by the targeting key, and a single share alone is too few for some.
        None if args.len() < 2 => return Err(Obstacle::FractionalBy),
        None => Formula::All(vec![
            Formula::exists(TARGETING_KEY),
            Formula::one_of(TARGETING_KEY, vec![json!("")]).negated(),
        ]),
        Some((Node::Literal(Value::String(_)) | Node::Operation { op: "cat", .. }, _)) => Formula::ALWAYS,
        Some(_) => return Err(Obstacle::FractionalBy),
    };
    Ok((asked, answer))
}
