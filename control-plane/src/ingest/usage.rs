//! How often clients asked for flags → bounded counters. Pure: never reads a database.

use std::collections::BTreeMap;

use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::UnixMillis;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The first millisecond of the hour.
pub(super) const fn hour(at: UnixMillis) -> UnixMillis {
    UnixMillis(at.0 / HOUR_MS * HOUR_MS)
}

/// The number of the day, under which the id of a report is kept.
pub(super) const fn day(at: UnixMillis) -> u64 {
    at.0 / DAY_MS
}

/// Evaluations by what was served. A variant that the flag does not have is counted as `variant/other`, so that clients
/// cannot make up any number of rows.
pub(super) fn counts(
    flag: &FlagWire,
    yes: u64,
    no: u64,
    variants: &BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let mut add = |served: String, count: u64| {
        if count > 0 {
            let sum: &mut u64 = counts.entry(served).or_default();
            *sum = sum.saturating_add(count);
        }
    };
    add("yes".to_owned(), yes);
    add("no".to_owned(), no);
    for (name, count) in variants {
        let known = if has_variant(flag, name) { name.as_str() } else { "other" };
        add(format!("variant/{known}"), *count);
    }
    counts
}

/// Variations go by their key, Unleash's own variants by the name in their value; a toggle that is off has `disabled`.
fn has_variant(flag: &FlagWire, name: &str) -> bool {
    let is_own =
        |value: &serde_json::Value| value.get("name").and_then(serde_json::Value::as_str) == Some(name);
    name == "disabled"
        || flag.variations.iter().any(|variation| variation.key == name)
        || (flag.unleash.is_some() && flag.variations.iter().any(|variation| is_own(&variation.value)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn invented_variants_share_one_row_and_zeroes_none() {
        let flag: FlagWire = serde_json::from_value(json!({
            "key": "f", "value_type": "string", "default_variation": "red",
            "variations": [{ "key": "red", "value": "r" }] }))
        .unwrap();
        let variants = [("red", 2), ("x", 3), ("y", 4), ("disabled", 1)];
        let variants = variants.map(|(name, count)| (name.to_owned(), count)).into();
        let counts = counts(&flag, 6, 0, &variants);
        let expected = [("variant/disabled", 1), ("variant/other", 7), ("variant/red", 2), ("yes", 6)];
        assert_eq!(counts, expected.map(|(name, count)| (name.to_owned(), count)).into());
        assert_eq!(hour(UnixMillis(2 * HOUR_MS - 1)), UnixMillis(HOUR_MS));
    }
}
