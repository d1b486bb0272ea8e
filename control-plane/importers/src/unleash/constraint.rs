//! A constraint of Unleash → a condition, or what it always is. Follows the operators of Unleash's Node.js client.

use flagfuse_shared::definition::{ConditionWire, Operator};
use flagfuse_shared::unleash::pattern::{Folding, Pattern};
use flagfuse_shared::unleash::{javascript, pattern};
use serde_json::Value;

use super::attribute_of;
use super::document::Constraint;
use crate::formula::plain;

/// What a constraint amounts to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Clause {
    /// Holds for everybody.
    Always,
    /// Holds for nobody.
    Never,
    /// Depends on who asks.
    When(ConditionWire),
}

impl Clause {
    fn inverted(self) -> Self {
        match self {
            Self::Always => Self::Never,
            Self::Never => Self::Always,
            Self::When(condition) => Self::When(ConditionWire { negate: !condition.negate, ..condition }),
        }
    }
}

/// All of the conditions, or `None` when one of the constraints holds for nobody.
pub(super) fn conditions(constraints: &[Option<Constraint>]) -> Result<Option<Vec<ConditionWire>>, String> {
    let mut conditions = Vec::with_capacity(constraints.len());
    let mut is_possible = true;
    for constraint in constraints {
        match constraint.as_ref().map_or(Ok(Clause::Never), clause)? {
            Clause::Always => {}
            Clause::Never => is_possible = false,
            Clause::When(condition) => conditions.push(condition),
        }
    }
    Ok(is_possible.then_some(conditions))
}

/// Reads one constraint. `Err` says what has no equivalent.
pub(super) fn clause(constraint: &Constraint) -> Result<Clause, String> {
    let fault =
        |reason: String| format!("constraint {} on {:?}: {reason}", constraint.operator, field(constraint));
    let clause = match constraint.operator.as_str() {
        "IN" => membership(constraint),
        "NOT_IN" => membership(constraint).map(Clause::inverted),
        "STR_STARTS_WITH" => text(constraint, Operator::StartsWith),
        "STR_ENDS_WITH" => text(constraint, Operator::EndsWith),
        "STR_CONTAINS" => text(constraint, Operator::Contains),
        "NUM_EQ" => number(constraint, Operator::In),
        "NUM_GT" => number(constraint, Operator::GreaterThan),
        "NUM_GTE" => number(constraint, Operator::AtLeast),
        "NUM_LT" => number(constraint, Operator::LessThan),
        "NUM_LTE" => number(constraint, Operator::AtMost),
        "DATE_AFTER" => date(constraint, Operator::After),
        "DATE_BEFORE" => date(constraint, Operator::Before),
        "SEMVER_EQ" => version(constraint, Operator::SemverEqual),
        "SEMVER_GT" => version(constraint, Operator::SemverGreaterThan),
        "SEMVER_GTE" => version(constraint, Operator::SemverAtLeast),
        "SEMVER_LT" => version(constraint, Operator::SemverLessThan),
        "SEMVER_LTE" => version(constraint, Operator::SemverAtMost),
        "REGEX" => regex(constraint),
        "IN_CIDR" => networks(constraint),
        // Unknown operators hold for nobody, inverted or not.
        _ => return Ok(Clause::Never),
    };
    let clause = clause.map_err(fault)?;
    Ok(if constraint.inverted == Some(true) { clause.inverted() } else { clause })
}

fn field(constraint: &Constraint) -> &str {
    constraint.context_name.as_deref().unwrap_or_default()
}

/// A condition on the constraint's field. A field without a name is missing in every context.
fn when(constraint: &Constraint, op: Operator, values: Vec<Value>) -> Result<Clause, String> {
    let field = field(constraint);
    if field.is_empty() || values.is_empty() {
        return Ok(Clause::Never);
    }
    let attribute = attribute_of(field).ok_or("the field would be mistaken for userId")?;
    Ok(Clause::When(ConditionWire { coerce: true, ..plain(attribute, op, values) }))
}

/// Texts as the clients clean them: without space at the ends, empty ones left out before that.
fn cleaned(constraint: &Constraint) -> Result<Vec<String>, String> {
    let mut texts = Vec::new();
    for value in constraint.values.iter().flatten() {
        match value {
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => texts.push(javascript::trim(text).to_owned()),
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                return Err(format!("the value {value} is not a string"));
            }
        }
    }
    Ok(texts)
}

fn json(texts: Vec<String>) -> Vec<Value> {
    texts.into_iter().map(Value::String).collect()
}

fn membership(constraint: &Constraint) -> Result<Clause, String> {
    membership_of(constraint, json(cleaned(constraint)?))
}

/// Membership of the constraint's field in texts that are taken as they are.
pub(super) fn membership_of(constraint: &Constraint, texts: Vec<Value>) -> Result<Clause, String> {
    when(constraint, Operator::In, texts)
}

fn text(constraint: &Constraint, op: Operator) -> Result<Clause, String> {
    let clause = when(constraint, op, json(cleaned(constraint)?))?;
    Ok(with_case(clause, constraint))
}

fn with_case(clause: Clause, constraint: &Constraint) -> Clause {
    match clause {
        Clause::When(condition) => Clause::When(ConditionWire {
            ignore_case: constraint.case_insensitive == Some(true),
            ..condition
        }),
        constant @ (Clause::Always | Clause::Never) => constant,
    }
}

fn scalar(constraint: &Constraint) -> Result<Option<&Value>, String> {
    match &constraint.value {
        Some(value @ (Value::Array(_) | Value::Object(_))) => {
            Err(format!("the value {value} is not a string, a number or a boolean"))
        }
        value => Ok(value.as_ref()),
    }
}

fn number(constraint: &Constraint, op: Operator) -> Result<Clause, String> {
    let Some(number) = javascript::number(scalar(constraint)?) else { return Ok(Clause::Never) };
    let value = javascript::json_number(number).ok_or("the number is infinite")?;
    when(constraint, op, vec![value])
}

/// Compares the time of the question, whatever field the constraint names.
fn date(constraint: &Constraint, op: Operator) -> Result<Clause, String> {
    let value = scalar(constraint)?;
    let ms = match javascript::date(value) {
        javascript::Date::At(ms) => ms,
        javascript::Date::Invalid => return Ok(Clause::Never),
        javascript::Date::Unportable => {
            return Err(
                "the date is another one on other servers: write it like 2030-01-31T23:59:59Z".to_owned()
            );
        }
    };
    let value = javascript::iso_text(ms).map_or_else(|| Value::from(ms), Value::String);
    Ok(Clause::When(plain(flagfuse_shared::context::CURRENT_TIME, op, vec![value])))
}

/// The clients accept a leading `v` and space in a constraint's version, not so in the context's.
fn version(constraint: &Constraint, op: Operator) -> Result<Clause, String> {
    const LEN_MAX: usize = 256;
    let Some(Value::String(text)) = scalar(constraint)? else { return Ok(Clause::Never) };
    let version = javascript::trim(text);
    let version = version.strip_prefix('v').unwrap_or(version);
    if text.len() > LEN_MAX || !is_version(version) {
        return Ok(Clause::Never);
    }
    when(constraint, op, vec![Value::String(version.to_owned())])
}

/// Semantic versioning's grammar, with numbers that a double holds.
fn is_version(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre_release) = text.split_once('-').map_or((text, None), |(core, rest)| (core, Some(rest)));
    let is_word = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_plain = |part: &str| part == "0" || !part.starts_with('0');
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_number =
        |part: &str| is_digits(part) && is_plain(part) && part.parse::<u64>().is_ok_and(|n| n < 1 << 53);
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && pre_release.is_none_or(|list| {
            list.split('.').all(|part| is_word(part) && (!is_digits(part) || is_plain(part)))
        })
        && build.is_none_or(|list| list.split('.').all(is_word))
}

fn regex(constraint: &Constraint) -> Result<Clause, String> {
    let Some(Value::String(text)) = scalar(constraint)? else { return Ok(Clause::Never) };
    let folding =
        if constraint.case_insensitive == Some(true) { Folding::IgnoreCase } else { Folding::Exact };
    match pattern::read(text, folding) {
        Pattern::Same(text) => {
            let clause = when(constraint, Operator::Matches, vec![Value::String(text)])?;
            Ok(with_case(clause, constraint))
        }
        Pattern::Invalid => Ok(Clause::Never),
        Pattern::Unsupported(what) => Err(format!("the pattern has {what}")),
    }
}

fn networks(constraint: &Constraint) -> Result<Clause, String> {
    let networks = cleaned(constraint)?.iter().filter_map(|text| network(text)).collect();
    when(constraint, Operator::InCidr, json(networks))
}

/// A network in the one spelling that both sides read. Texts that are none match nobody.
pub(super) fn network(text: &str) -> Option<String> {
    let (address, prefix) = match text.rsplit_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    // A zone says on which link an address is, nothing about its bits; it stands in front of the prefix.
    let address = address.split('%').next().unwrap_or(address);
    let address: core::net::IpAddr = address.parse().ok()?;
    let Some(prefix) = prefix else { return Some(address.to_string()) };
    let (bits, digits) = if address.is_ipv4() { (32, 2) } else { (128, 3) };
    let is_number = prefix.len() <= digits && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix: u32 = prefix.parse().ok().filter(|prefix| is_number && *prefix <= bits)?;
    Some(format!("{address}/{prefix}"))
}
