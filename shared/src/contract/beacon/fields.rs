//! The fields of an event before they are checked.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use crate::ids::UnixMillis;

/// What kind of event it is.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KindWire {
    Exposure,
    Outcome,
    Usage,
    Link,
}

impl KindWire {
    pub(super) const ALL: [Self; 4] = [Self::Exposure, Self::Outcome, Self::Usage, Self::Link];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Exposure => "exposure",
            Self::Outcome => "outcome",
            Self::Usage => "usage",
            Self::Link => "link",
        }
    }
}

/// The fields of an event as they travel; unknown ones are kept in the raw bytes and ignored here. What is read quickly
/// borrows, what is read carefully does not.
#[derive(Deserialize)]
pub(super) struct Fields<'b> {
    pub(super) id: Cow<'b, str>,
    #[serde(rename = "type")]
    pub(super) kind: KindWire,
    #[serde(default)]
    pub(super) unit: Option<Cow<'b, str>>,
    pub(super) occurred_ms: UnixMillis,
    #[serde(default)]
    pub(super) flag: Option<Cow<'b, str>>,
    #[serde(default)]
    pub(super) variation: Option<Cow<'b, str>>,
    #[serde(default)]
    pub(super) phase: Option<u32>,
    #[serde(default)]
    pub(super) version: Option<Cow<'b, str>>,
    #[serde(default)]
    pub(super) metric: Option<Cow<'b, str>>,
    #[serde(default)]
    pub(super) value: Option<f64>,
    #[serde(default)]
    pub(super) ticket: Option<Cow<'b, str>>,
    #[serde(default)]
    pub(super) canonical: Option<Cow<'b, str>>,
    #[serde(default)]
    pub(super) canonical_ticket: Option<Cow<'b, str>>,
    #[serde(default)]
    pub(super) slices: Option<Cow<'b, str>>,
    #[serde(default)]
    pub(super) yes: u64,
    #[serde(default)]
    pub(super) no: u64,
    #[serde(default)]
    pub(super) variants: BTreeMap<String, u64>,
}
