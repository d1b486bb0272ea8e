//! Unleash's export documents → the toggles of one environment, in the shape of a client features document.
//!
//! The export API answers with one environment, whose name only `featureEnvironments` tell. A state export (version
//! 3 and 4) has all of them, and keeps which strategy names which segment in a list of its own.

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::limits::FLAG_COUNT_MAX;
use serde_json::{Map, Value};

use super::document::whole;
use super::{list, shape};
use crate::ImportError;

/// Entries of the lists beside the flags: a handful for each flag in each of some environments.
const ROW_COUNT_MAX: usize = 100 * FLAG_COUNT_MAX;

/// Takes the lists out of the document and puts the toggles of one environment together.
pub(super) fn features(
    document: &mut Map<String, Value>,
    environment: Option<&str>,
) -> Result<Vec<Value>, ImportError> {
    let features =
        list(document, "features", FLAG_COUNT_MAX)?.ok_or_else(|| shape("no features".to_owned()))?;
    let mut rows = |what| list(document, what, ROW_COUNT_MAX).map(Option::unwrap_or_default);
    let environments = rows("featureEnvironments")?;
    let strategies = rows("featureStrategies")?;
    let strategy_segments = rows("featureStrategySegments")?;
    let dependencies = rows("dependencies")?;
    let environment = choose(environment, &environments, &strategies)?;
    let is_here =
        |row: &Value| text(row, "environment").is_none_or(|name| Some(name) == environment.as_deref());
    let mut parts = Parts::default();
    for row in environments.into_iter().filter(is_here) {
        parts.environment.extend(text(&row, "featureName").map(str::to_owned).map(|name| (name, row)));
    }
    let segments = segments_by_strategy(&strategy_segments);
    for row in strategies.into_iter().filter(is_here) {
        if let Some(name) = text(&row, "featureName").map(str::to_owned) {
            parts.strategies.entry(name).or_default().push(strategy(row, &segments));
        }
    }
    for row in dependencies {
        if let (Some(name), Some(list)) = (text(&row, "feature"), row.get("dependencies")) {
            parts.dependencies.insert(name.to_owned(), list.clone());
        }
    }
    let is_live = |feature: &Value| feature.get("archived") != Some(&Value::Bool(true));
    Ok(features.into_iter().filter(is_live).map(|feature| parts.assemble(feature)).collect())
}

fn text<'v>(row: &'v Value, field: &str) -> Option<&'v str> {
    row.get(field).and_then(Value::as_str)
}

/// The environment that was asked for, or the only one.
fn choose(
    asked: Option<&str>,
    environments: &[Value],
    strategies: &[Value],
) -> Result<Option<String>, ImportError> {
    let rows = environments.iter().chain(strategies);
    let names: BTreeSet<&str> = rows.filter_map(|row| text(row, "environment")).collect();
    let listed = || names.iter().copied().collect::<Vec<_>>().join(", ");
    match asked {
        Some(asked) if names.contains(asked) || names.is_empty() => Ok(Some(asked.to_owned())),
        Some(asked) => Err(shape(format!("no environment {asked:?}, there are: {}", listed()))),
        None if names.len() > 1 => Err(shape(format!("several environments, choose one of: {}", listed()))),
        None => Ok(names.first().map(|name| (*name).to_owned())),
    }
}

fn segments_by_strategy(rows: &[Value]) -> BTreeMap<&str, Vec<Value>> {
    let mut segments: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for row in rows {
        if let (Some(strategy), Some(id)) = (text(row, "featureStrategyId"), row.get("segmentId")) {
            segments.entry(strategy).or_default().push(id.clone());
        }
    }
    segments
}

/// A row with the client document's names.
fn strategy(row: Value, segments: &BTreeMap<&str, Vec<Value>>) -> Value {
    let listed = text(&row, "id").and_then(|id| segments.get(id)).cloned();
    let Value::Object(mut row) = row else { return row };
    if let Some(name) = row.remove("strategyName") {
        row.insert("name".to_owned(), name);
    }
    if let Some(listed) = listed {
        row.insert("segments".to_owned(), Value::Array(listed));
    }
    Value::Object(row)
}

/// What the lists say of each flag, by its name.
#[derive(Default)]
struct Parts {
    environment: BTreeMap<String, Value>,
    strategies: BTreeMap<String, Vec<Value>>,
    dependencies: BTreeMap<String, Value>,
}

impl Parts {
    fn assemble(&mut self, feature: Value) -> Value {
        let name = text(&feature, "name").unwrap_or_default().to_owned();
        let Value::Object(mut feature) = feature else { return feature };
        let environment = self.environment.remove(&name).unwrap_or_default();
        let is_enabled = environment.get("enabled").cloned().unwrap_or(Value::Bool(false));
        feature.insert("enabled".to_owned(), is_enabled);
        if let Some(variants) = environment.get("variants").filter(|variants| !variants.is_null()) {
            feature.insert("variants".to_owned(), variants.clone());
        }
        let mut strategies = self.strategies.remove(&name).unwrap_or_default();
        // The order in which the server serves them; rows without a number stay behind each other.
        strategies.sort_by_key(|row| row.get("sortOrder").and_then(whole));
        feature.insert("strategies".to_owned(), Value::Array(strategies));
        if let Some(dependencies) = self.dependencies.remove(&name) {
            feature.insert("dependencies".to_owned(), dependencies);
        }
        Value::Object(feature)
    }
}
