//! A strategy of Unleash → when it is on: conditions and a gate in Unleash's lane. Never looks at variants.

use std::collections::BTreeMap;

use flagfuse_shared::context::TARGETING_KEY;
use flagfuse_shared::definition::{ConditionWire, Operator, UnleashGateWire};
use flagfuse_shared::unleash::{STICKINESS_RANDOM, javascript};
use serde_json::{Map, Value};

use super::constraint::{conditions, network};
use super::document::Strategy;
use super::variant::stickiness_of;
use crate::formula::plain;

/// One way for a strategy to be on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Activation {
    pub(super) conditions: Vec<ConditionWire>,
    pub(super) gate: Option<UnleashGateWire>,
}

/// What became of the document's segments, by id.
pub(super) type Segments = BTreeMap<u64, Result<(), String>>;

/// Where the code of a strategy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Here.
    Known,
    /// One of Unleash's own that asks for what only the deciding server knows.
    HostName,
    /// In the programs of those who made it up.
    Custom,
}

/// The kind of a strategy by its name.
pub(super) fn kind(name: &str) -> Kind {
    match name {
        "default"
        | "userWithId"
        | "remoteAddress"
        | "gradualRolloutUserId"
        | "gradualRolloutSessionId"
        | "gradualRolloutRandom"
        | "flexibleRollout" => Kind::Known,
        "applicationHostname" => Kind::HostName,
        _ => Kind::Custom,
    }
}

/// The ways a strategy can be on; none when it never is. `Err` says what has no equivalent.
pub(super) fn activations(
    strategy: &Strategy,
    toggle: &str,
    segments: &Segments,
) -> Result<Vec<Activation>, String> {
    let Some(mut common) = conditions(strategy.constraints.as_deref().unwrap_or_default())? else {
        return Ok(Vec::new());
    };
    for id in strategy.segments.iter().flatten() {
        match segments.get(id) {
            // The clients take a segment that is missing for one that nobody is in.
            None => return Ok(Vec::new()),
            Some(Err(reason)) => return Err(format!("segment {id}: {reason}")),
            Some(Ok(())) => common.push(in_segment(*id)),
        }
    }
    let none = Map::new();
    let parameters = strategy.parameters.as_ref().unwrap_or(&none);
    let ways = match strategy.name.as_str() {
        "default" => vec![(None, None)],
        "userWithId" => users(parameters)?,
        "remoteAddress" => addresses(parameters)?,
        "gradualRolloutUserId" => gradual(parameters, TARGETING_KEY)?,
        "gradualRolloutSessionId" => gradual(parameters, "sessionId")?,
        "gradualRolloutRandom" => gradual(parameters, STICKINESS_RANDOM)?,
        "flexibleRollout" => flexible(parameters, toggle)?,
        // Of another kind: the import says so in a note.
        _ => Vec::new(),
    };
    let activation = |(condition, gate): Way| {
        let conditions = common.iter().cloned().chain(condition).collect();
        Activation { conditions, gate }
    };
    Ok(ways.into_iter().map(activation).collect())
}

type Way = (Option<ConditionWire>, Option<UnleashGateWire>);

fn in_segment(id: u64) -> ConditionWire {
    let mut condition = condition("", Operator::InSegment, vec![id.to_string()]);
    condition.attribute.clear();
    condition
}

fn condition(attribute: &str, op: Operator, texts: Vec<String>) -> ConditionWire {
    plain(attribute, op, texts.into_iter().map(Value::String).collect())
}

/// A parameter that the clients call text methods on.
fn list(parameters: &Map<String, Value>, name: &str) -> Result<Vec<String>, String> {
    match parameters.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(javascript::split_list(text)),
        Some(Value::Bool(true) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(format!("parameters.{name} is not a string"))
        }
    }
}

fn users(parameters: &Map<String, Value>) -> Result<Vec<Way>, String> {
    let ids = list(parameters, "userIds")?;
    let way = (!ids.is_empty()).then(|| (Some(condition(TARGETING_KEY, Operator::In, ids)), None));
    Ok(way.into_iter().collect())
}

/// IPv4 networks contain addresses; every other text has to be the address, letter by letter.
fn addresses(parameters: &Map<String, Value>) -> Result<Vec<Way>, String> {
    const FIELD: &str = "remoteAddress";
    let (mut networks, mut texts) = (Vec::new(), Vec::new());
    for text in list(parameters, "IPs")? {
        match network(&text).filter(|network| !network.contains(':')) {
            Some(network) => networks.push(network),
            None => texts.push(text),
        }
    }
    let ways = [(Operator::InCidr, networks), (Operator::In, texts)];
    let ways = ways.into_iter().filter(|(_, texts)| !texts.is_empty());
    Ok(ways.map(|(op, texts)| (Some(condition(FIELD, op, texts)), None)).collect())
}

fn gradual(parameters: &Map<String, Value>, stickiness: &str) -> Result<Vec<Way>, String> {
    let group = javascript::truthy_text(parameters, "groupId")?.unwrap_or_default();
    Ok(gate(group, stickiness.to_owned(), parameters.get("percentage")))
}

fn flexible(parameters: &Map<String, Value>, toggle: &str) -> Result<Vec<Way>, String> {
    let group = javascript::truthy_text(parameters, "groupId")?.unwrap_or_else(|| toggle.to_owned());
    let stickiness = javascript::truthy_text(parameters, "stickiness")?;
    Ok(gate(group, stickiness_of(stickiness.as_deref())?, parameters.get("rollout")))
}

/// Buckets are whole numbers from 1, so a share between two percents is the lower one, and below 1 nobody is in.
fn gate(group: String, stickiness: String, percent: Option<&Value>) -> Vec<Way> {
    let percent = javascript::number(percent).unwrap_or(0.0).clamp(0.0, 100.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100 by the clamp")]
    let percent = percent.floor() as u8;
    let way = (percent > 0).then_some((None, Some(UnleashGateWire { group, stickiness, percent })));
    way.into_iter().collect()
}
