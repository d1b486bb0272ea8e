//! Resolutions → the answer of Unleash's frontend API: `{"toggles":[…]}` with the enabled ones, or with all. Pure text.

use crate::definition::{UnleashToggleWire, ValueType};
use crate::evaluate::{EvaluationResult, Reason, Resolution};
use crate::flag::{Flag, Variation};
use crate::ids::FlagKey;
use crate::text::write_json_string;

/// A toggle that is on without a variant, as all of Unleash's clients know it.
const NO_VARIANT: &str =
    r#"{"name":"disabled","enabled":false,"feature_enabled":true,"featureEnabled":true}"#;

/// A toggle that is off.
const OFF_VARIANT: &str =
    r#"{"name":"disabled","enabled":false,"feature_enabled":false,"featureEnabled":false}"#;

/// Which toggles an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// Those that are on for the asker.
    Enabled,
    /// Every one, on or off.
    All,
}

/// How the variants that the importer writes begin: values are rendered with their fields in order.
const OFF: &str = r#"{"enabled":false,"feature_enabled":false,"#;
const ON: &str = r#"{"enabled":false,"feature_enabled":true,"#;
const VARIANT: &str = r#"{"enabled":true,"feature_enabled":true,"#;

/// Writes the whole body. A flag that has no answer for the asker is not enabled.
pub fn write_toggles<'s>(
    out: &mut String,
    listing: Listing,
    answers: impl Iterator<Item = (&'s FlagKey, EvaluationResult<'s>)>,
) {
    out.push_str("{\"toggles\":[");
    let start = out.len();
    for (key, answer) in answers {
        let resolution = answer.ok();
        match resolution.as_ref().and_then(|resolution| Some((resolution, on(resolution)?))) {
            Some((resolution, variation)) => write_on(out, resolution.flag, variation),
            None if listing == Listing::All => {
                write_off(out, key, resolution.and_then(|resolution| resolution.flag.unleash()));
            }
            None => {}
        }
    }
    if out.len() > start {
        // Every toggle wrote a comma behind it.
        out.pop();
    }
    out.push_str("]}");
}

/// What an enabled toggle serves.
fn on<'s>(resolution: &Resolution<'s>) -> Option<&'s Variation> {
    let is_off = resolution.reason == Reason::Disabled;
    resolution.variation.filter(|variation| !is_off && is_on(resolution.flag, variation))
}

/// The toggle and a comma.
fn write_on(out: &mut String, flag: &Flag, variation: &Variation) {
    out.push_str("{\"name\":");
    write_json_string(out, flag.key().as_str());
    out.push_str(",\"enabled\":true,\"variant\":");
    write_variant(out, flag, variation);
    write_end(out, flag.unleash());
}

fn write_off(out: &mut String, key: &FlagKey, toggle: Option<&UnleashToggleWire>) {
    out.push_str("{\"name\":");
    write_json_string(out, key.as_str());
    out.push_str(",\"enabled\":false,\"variant\":");
    out.push_str(OFF_VARIANT);
    write_end(out, toggle);
}

fn write_end(out: &mut String, toggle: Option<&UnleashToggleWire>) {
    let is_reported = toggle.is_some_and(|toggle| toggle.impression_data);
    out.push_str(if is_reported { ",\"impressionData\":true}," } else { ",\"impressionData\":false}," });
}

fn is_on(flag: &Flag, variation: &Variation) -> bool {
    match flag.value_type() {
        ValueType::Boolean => variation.json() == "true",
        ValueType::Object if flag.unleash().is_some() => !variation.json().starts_with(OFF),
        ValueType::String | ValueType::Integer | ValueType::Float | ValueType::Object => true,
    }
}

fn write_variant(out: &mut String, flag: &Flag, variation: &Variation) {
    let json = variation.json();
    let kind = match flag.value_type() {
        ValueType::Boolean => return out.push_str(NO_VARIANT),
        ValueType::Object if flag.unleash().is_some() && json.starts_with(ON) => {
            return out.push_str(NO_VARIANT);
        }
        ValueType::Object if flag.unleash().is_some() && json.starts_with(VARIANT) => {
            // Both spellings of the last field: clients of different ages read different ones.
            out.push_str(json.strip_suffix('}').unwrap_or(json));
            return out.push_str(",\"featureEnabled\":true}");
        }
        ValueType::String => "string",
        ValueType::Integer | ValueType::Float => "number",
        ValueType::Object => "json",
    };
    out.push_str("{\"name\":");
    write_json_string(out, variation.key().as_str());
    out.push_str(
        ",\"enabled\":true,\"feature_enabled\":true,\"featureEnabled\":true,\"payload\":{\"type\":\"",
    );
    out.push_str(kind);
    out.push_str("\",\"value\":");
    // Payloads are texts: a string's JSON is one already, everything else becomes one.
    if flag.value_type() == ValueType::String {
        out.push_str(json);
    } else {
        write_json_string(out, json);
    }
    out.push_str("}}");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::context::Context;
    use crate::evaluate::Question;
    use crate::ids::UnixMillis;
    use crate::snapshot::fixtures;

    fn toggles(flags: &[Value], context: Value) -> Value {
        listed(Listing::Enabled, flags, context)
    }

    fn listed(listing: Listing, flags: &[Value], context: Value) -> Value {
        let admitted = fixtures::admitted(flags);
        let context = Context::from_json(context).unwrap();
        let mut body = String::new();
        let evaluator = admitted.snapshot.evaluator(Question::new(&context, UnixMillis(0)));
        write_toggles(&mut body, listing, evaluator.all());
        serde_json::from_str::<Value>(&body).unwrap_or_else(|e| panic!("{e}: {body}"))["toggles"].clone()
    }

    fn flag(key: &str, value_type: &str, values: &[(&str, Value)], default: &str) -> Value {
        let variations: Vec<Value> =
            values.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
        json!({ "key": key, "value_type": value_type, "variations": variations, "default_variation": default })
    }

    #[test]
    fn only_enabled_toggles_are_listed() {
        let booleans = [("on", json!(true)), ("off", json!(false))];
        let off = flag("b", "boolean", &booleans, "off");
        let mut disabled = flag("c", "boolean", &booleans, "on");
        disabled["enabled"] = json!(false);
        let mut unitless = flag("d", "boolean", &booleans, "on");
        unitless["rules"] = json!([{ "key": "r", "percentage": 50, "split": [{ "variation": "on" }] }]);
        let flags = [flag("a", "boolean", &booleans, "on"), off, disabled, unitless];
        let seen = toggles(&flags, json!({}));
        let expected = json!([{ "name": "a", "enabled": true, "impressionData": false, "variant":
            { "name": "disabled", "enabled": false, "feature_enabled": true, "featureEnabled": true } }]);
        assert_eq!(seen, expected);
        let all = listed(Listing::All, &flags, json!({}));
        assert_eq!(all[0], expected[0]);
        for (at, name) in [(1, "b"), (2, "c"), (3, "d")] {
            let expected = json!({ "name": name, "enabled": false, "impressionData": false, "variant":
                { "name": "disabled", "enabled": false, "feature_enabled": false, "featureEnabled": false } });
            assert_eq!(all[at], expected);
        }
        assert_eq!(toggles(&[], json!({})), json!([]));
    }

    #[test]
    fn values_of_every_type_become_payloads() {
        let rows = [
            ("string", json!("a \"b\""), json!({ "type": "string", "value": "a \"b\"" })),
            ("integer", json!(7), json!({ "type": "number", "value": "7" })),
            ("float", json!(0.5), json!({ "type": "number", "value": "0.5" })),
            ("object", json!({ "a": 1 }), json!({ "type": "json", "value": "{\"a\":1}" })),
        ];
        for (value_type, value, payload) in rows {
            let seen = toggles(&[flag("f", value_type, &[("v", value)], "v")], json!({}));
            let expected = json!({ "name": "v", "enabled": true, "feature_enabled": true, "featureEnabled": true,
                "payload": payload });
            assert_eq!(seen[0]["variant"], expected, "{value_type}");
        }
    }
}
