//! How often clients asked for flags, as Unleash's SDKs report it: one body in, one event for each toggle out.
//!
//! Nothing is dropped: a toggle with more variants than fit into one event is split over several.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::beacon::BatchError;
use crate::ids::UnixMillis;
use crate::limits::{METRICS_BODY_LEN_MAX, USAGE_TOGGLE_COUNT_MAX, USAGE_VARIANT_COUNT_MAX};
use crate::{ordered, strict};

/// A report of one application. Unknown fields are allowed: newer clients say more.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageReport {
    /// Which application counted.
    #[serde(default)]
    pub app_name: Option<String>,
    /// Nothing was counted when it is null.
    #[serde(default)]
    bucket: Option<BucketWire>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct BucketWire {
    #[serde(default, deserialize_with = "or_nothing")]
    toggles: BTreeMap<String, Option<ToggleWire>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct ToggleWire {
    #[serde(default, deserialize_with = "or_nothing")]
    yes: u64,
    #[serde(default, deserialize_with = "or_nothing")]
    no: u64,
    #[serde(default)]
    variants: Option<BTreeMap<String, Option<u64>>>,
}

/// Clients write `null` where a map or a number is empty.
fn or_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl UsageReport {
    /// Reads the body of `POST …/client/metrics`.
    pub fn parse(body: &[u8]) -> Result<Self, BatchError> {
        if body.len() > METRICS_BODY_LEN_MAX {
            let detail = format!("body has {} bytes, the limit is {METRICS_BODY_LEN_MAX}", body.len());
            return Err(BatchError::Shape { detail });
        }
        let report: Self = strict::from_slice(body)?;
        let count = report.bucket.as_ref().map_or(0, |bucket| bucket.toggles.len());
        if count > USAGE_TOGGLE_COUNT_MAX {
            return Err(BatchError::TooMany { count, count_max: USAGE_TOGGLE_COUNT_MAX });
        }
        Ok(report)
    }

    /// The events of a report that arrived at `now`, as JSON; `id` draws a name for each.
    pub fn events(&self, now: UnixMillis, mut id: impl FnMut() -> String) -> Vec<Box<RawValue>> {
        let toggles = self.bucket.iter().flat_map(|bucket| &bucket.toggles);
        let mut events = Vec::new();
        for (flag, toggle) in toggles.filter_map(|(flag, toggle)| Some((flag, toggle.as_ref()?))) {
            let counts = toggle.variants.iter().flatten();
            let variants = counts.filter_map(|(variant, count)| Some((variant, count.as_ref()?))).collect();
            let toggle = Toggle { yes: toggle.yes, no: toggle.no, variants };
            events.extend(usage_events(flag, &toggle, now, &mut id));
        }
        events
    }
}

/// Evaluations of a flag, by what was served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toggle<'t> {
    /// Answers that were on.
    pub yes: u64,
    /// Answers that were off.
    pub no: u64,
    /// By variant.
    pub variants: Vec<(&'t String, &'t u64)>,
}

/// The events that tell, at `now`, how often a flag was asked for; `id` draws a name for each. There are several where it has
/// more variants than fit into one.
pub fn usage_events(
    flag: &str,
    toggle: &Toggle<'_>,
    now: UnixMillis,
    mut id: impl FnMut() -> String,
) -> Vec<Box<RawValue>> {
    let mut parts = toggle.variants.chunks(USAGE_VARIANT_COUNT_MAX);
    let first = ((toggle.yes, toggle.no), parts.next().unwrap_or_default());
    let all = [first].into_iter().chain(parts.map(|part| ((0, 0), part)));
    all.filter_map(|(counts, part)| raw_event(id(), flag, counts, part, now)).collect()
}

/// `None` never happens: these are maps with texts for keys.
fn raw_event(
    id: String,
    flag: &str,
    (yes, no): (u64, u64),
    variants: &[(&String, &u64)],
    now: UnixMillis,
) -> Option<Box<RawValue>> {
    let variants = ordered::map(variants.iter().copied());
    let event = json!({ "id": id, "type": "usage", "occurred_ms": now, "flag": flag, "yes": yes, "no": no,
        "variants": variants });
    to_raw_value(&event).ok()
}

#[cfg(test)]
mod tests {
    use super::super::beacon::{EventKind, parse_event};
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn events(body: &serde_json::Value) -> Vec<EventKind> {
        let mut drawn = 0;
        let report = UsageReport::parse(body.to_string().as_bytes()).unwrap();
        let events = report.events(NOW, || {
            drawn += 1;
            format!("id-{drawn}")
        });
        events.iter().map(|event| parse_event(event.get(), NOW, None).unwrap().kind).collect()
    }

    #[test]
    fn every_toggle_becomes_an_event_that_the_control_plane_accepts() {
        let body = json!({ "appName": "shop", "instanceId": "i", "bucket": {
            "start": "2026-11-24T00:00:00Z", "stop": "2026-11-24T00:01:00Z", "toggles": {
                "a": { "yes": 3, "no": 1 },
                "b": { "yes": 2, "no": 0, "variants": { "blue": 2 } } } } });
        let expected = [
            EventKind::Usage { flag: flag("a"), yes: 3, no: 1, variants: BTreeMap::new() },
            EventKind::Usage { flag: flag("b"), yes: 2, no: 0, variants: [("blue".to_owned(), 2)].into() },
        ];
        assert_eq!(events(&body), expected);
        assert_eq!(events(&json!({ "appName": "shop", "bucket": null })), []);
        let empty = json!({ "appName": null, "bucket": { "toggles": {
            "a": { "yes": null, "no": 2, "variants": { "blue": null } }, "b": null,
            "c": { "yes": 1, "no": null, "variants": null } } } });
        let expected = [
            EventKind::Usage { flag: flag("a"), yes: 0, no: 2, variants: BTreeMap::new() },
            EventKind::Usage { flag: flag("c"), yes: 1, no: 0, variants: BTreeMap::new() },
        ];
        assert_eq!(events(&empty), expected);
        assert_eq!(events(&json!({ "bucket": { "toggles": null } })), []);
    }

    fn flag(key: &str) -> crate::ids::FlagKey {
        crate::ids::FlagKey::parse(key).unwrap()
    }

    #[test]
    fn a_toggle_with_many_variants_is_split_and_counted_once() {
        let variants: BTreeMap<String, u64> = (0..40).map(|n| (format!("{n:0>120}"), 1)).collect();
        let body = json!({ "bucket": { "toggles": { "x": { "yes": 40, "no": 2, "variants": variants } } } });
        let (mut yes, mut no, mut seen) = (0, 0, BTreeMap::new());
        for event in events(&body) {
            let EventKind::Usage { yes: more_yes, no: more_no, variants, .. } = event else {
                panic!("{event:?}")
            };
            yes += more_yes;
            no += more_no;
            seen.extend(variants);
        }
        assert_eq!((yes, no, seen), (40, 2, variants));
    }

    #[test]
    fn reports_are_bounded_on_each_side() {
        let body = |count: usize| {
            let toggles: BTreeMap<String, serde_json::Value> =
                (0..count).map(|n| (format!("t{n}"), json!({ "yes": 1 }))).collect();
            json!({ "bucket": { "toggles": toggles } }).to_string()
        };
        assert!(UsageReport::parse(body(USAGE_TOGGLE_COUNT_MAX).as_bytes()).is_ok());
        let many = UsageReport::parse(body(USAGE_TOGGLE_COUNT_MAX + 1).as_bytes());
        assert!(matches!(many, Err(BatchError::TooMany { .. })));
        for bad in [
            "",
            "[]",
            r#"["shop",null]"#,
            r#"{"bucket":[{}]}"#,
            r#"{"bucket":{"toggles":{"a":{"yes":-1}}}}"#,
            r#"{"bucket":{"toggles":{"a":[1,2,null]}}}"#,
            r#"{"bucket":{"toggles":{"a":{},"a":{}}}}"#,
            r#"{"new":{"a":1,"a":1}}"#,
        ] {
            assert!(UsageReport::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(UsageReport::parse(" ".repeat(METRICS_BODY_LEN_MAX + 1).as_bytes()).is_err());
    }
}
