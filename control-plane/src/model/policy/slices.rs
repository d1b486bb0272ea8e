//! The slices that a policy declares: few enough to count, and with names that mean one thing.

use std::collections::BTreeSet;

use flagfuse_shared::definition::DimensionWire;
use flagfuse_shared::limits::{DIMENSION_COUNT_MAX, DIMENSION_TEXT_LEN_MAX, DIMENSION_VALUE_COUNT_MAX};
use serde::{Deserialize, Serialize};

use super::{Mode, Policy, PolicyFault, out_of_range};

/// Whom a trip takes the feature from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TripScope {
    /// Everybody.
    #[default]
    All,
    /// The slices whose own evidence harms, where no other does; everybody else keeps it.
    Slice,
}

impl TripScope {
    /// Whether it is everybody.
    pub const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }
}

/// What cells call everybody, and bots.
const RESERVED_ATTRIBUTES: [&str; 2] = ["all", "bot"];
/// What cells call the values that are not listed.
const REST: &str = "other";

/// Refuses a scope of trips that means nothing.
pub(super) fn check_scope(policy: &Policy) -> Result<(), PolicyFault> {
    match policy.trip_scope {
        TripScope::Slice if policy.mode == Mode::Classic => {
            Err(out_of_range("trip_scope", "slice", "for the mode anytime only"))
        }
        TripScope::Slice if policy.slices.is_empty() => {
            Err(out_of_range("trip_scope", "slice", "where slices are declared"))
        }
        TripScope::All | TripScope::Slice => Ok(()),
    }
}

/// Refuses what cells have no room or no name for.
pub(super) fn check(slices: &[DimensionWire]) -> Result<(), PolicyFault> {
    if slices.len() > DIMENSION_COUNT_MAX {
        let allowed = format!("at most {DIMENSION_COUNT_MAX} entries");
        return Err(out_of_range("slices", format!("{} entries", slices.len()), allowed));
    }
    let mut attributes = BTreeSet::new();
    for (at, DimensionWire { attribute, values }) in slices.iter().enumerate() {
        let field = |name: &str| format!("slices[{at}].{name}");
        check_text(&field("attribute"), attribute)?;
        if RESERVED_ATTRIBUTES.contains(&attribute.as_str()) || attribute.contains('=') {
            let allowed =
                "an attribute without \"=\", other than \"all\" and \"bot\", which cells have already";
            return Err(out_of_range(field("attribute"), format!("{attribute:?}"), allowed));
        }
        if !attributes.insert(attribute) {
            return Err(out_of_range(field("attribute"), "listed twice", "each attribute once"));
        }
        if values.is_empty() || values.len() > DIMENSION_VALUE_COUNT_MAX {
            let found = format!("{} entries", values.len());
            let allowed =
                format!("1 to {DIMENSION_VALUE_COUNT_MAX} entries: all others are counted together");
            return Err(out_of_range(field("values"), found, allowed));
        }
        check_values(&field("values"), values)?;
    }
    Ok(())
}

fn check_values(field: &str, values: &[String]) -> Result<(), PolicyFault> {
    let mut known = BTreeSet::new();
    for (at, value) in values.iter().enumerate() {
        let field = format!("{field}[{at}]");
        check_text(&field, value)?;
        if value == REST {
            let allowed = "another value: \"other\" is what cells call all that are not listed";
            return Err(out_of_range(field, format!("{value:?}"), allowed));
        }
        if !known.insert(value) {
            return Err(out_of_range(field, "listed twice", "each value once"));
        }
    }
    Ok(())
}

fn check_text(field: &str, text: &str) -> Result<(), PolicyFault> {
    if (1..=DIMENSION_TEXT_LEN_MAX).contains(&text.len()) {
        return Ok(());
    }
    let allowed = format!("1 to {DIMENSION_TEXT_LEN_MAX} bytes");
    Err(out_of_range(field, format!("{} bytes", text.len()), allowed))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Policy;

    fn parse(slices: Value) -> Result<Policy, String> {
        let policy = json!({
            "mode": "classic", "treatment_variation": "on", "control_variation": "off",
            "exposure_percent": 10, "control_percent": 10, "slices": slices,
            "guardrails": [{ "metric": "return", "direction": "decrease_is_harm", "threshold": -0.05 }],
        });
        Policy::parse(policy).map_err(|fault| fault.to_string())
    }

    #[test]
    fn slices_are_few_and_their_names_mean_one_thing() {
        let values = |count: usize| (0..count).map(|n| format!("v{n}")).collect::<Vec<_>>();
        let device = |values: Value| json!([{ "attribute": "device", "values": values }]);
        let many = |count: usize| {
            let all = (0..count).map(|n| json!({ "attribute": format!("a{n}"), "values": values(20) }));
            Value::Array(all.collect())
        };
        assert_eq!(parse(many(4)).unwrap().slices.len(), 4);
        for (slices, expected) in [
            (many(5), "slices is 5 entries, allowed is at most 4 entries"),
            (device(json!(values(21))), "slices[0].values is 21 entries, allowed is 1 to 20 entries"),
            (device(json!([])), "slices[0].values is 0 entries"),
            (device(json!(["a", "b", "a"])), "slices[0].values[2] is listed twice"),
            (device(json!([""])), "slices[0].values[0] is 0 bytes, allowed is 1 to 64 bytes"),
            (device(json!(["x".repeat(65)])), "slices[0].values[0] is 65 bytes"),
            (device(json!(["other"])), "slices[0].values[0] is \"other\""),
            (device(json!([7])), "slices[0].values[0] must be"),
            (json!([{ "attribute": "bot", "values": ["a"] }]), "slices[0].attribute is \"bot\""),
            (json!([{ "attribute": "a=b", "values": ["a"] }]), "slices[0].attribute is \"a=b\""),
            (json!([{ "attribute": "", "values": ["a"] }]), "slices[0].attribute is 0 bytes"),
            (
                json!([{ "attribute": "a", "values": ["x"] }, { "attribute": "a", "values": ["y"] }]),
                "slices[1].attribute is listed twice",
            ),
            (json!([{ "attribute": "a", "values": ["x"], "new": 1 }]), "new is unknown"),
        ] {
            let text = parse(slices).unwrap_err();
            assert!(text.contains(expected), "{text}");
        }
    }
}
