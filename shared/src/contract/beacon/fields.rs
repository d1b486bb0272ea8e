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
}

impl KindWire {
    pub(super) const ALL: [Self; 3] = [Self::Exposure, Self::Outcome, Self::Usage];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Exposure => "exposure",
            Self::Outcome => "outcome",
            Self::Usage => "usage",
        }
    }
}

/// The fields of an event, from whatever they were read: what is read quickly borrows.
pub(super) struct Fields<'b> {
    pub(super) id: Cow<'b, str>,
    pub(super) kind: KindWire,
    pub(super) unit: Option<Cow<'b, str>>,
    pub(super) occurred_ms: UnixMillis,
    pub(super) flag: Option<Cow<'b, str>>,
    pub(super) variation: Option<Cow<'b, str>>,
    pub(super) phase: Option<u32>,
    pub(super) version: Option<Cow<'b, str>>,
    pub(super) metric: Option<Cow<'b, str>>,
    pub(super) value: Option<f64>,
    pub(super) ticket: Option<Cow<'b, str>>,
    pub(super) yes: u64,
    pub(super) no: u64,
    pub(super) variants: BTreeMap<String, u64>,
}
