//! An event as it reached the control plane, whatever the format of its batch.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::event::{Event, EventKind, parse_event};
use super::source::SourceMark;
use crate::contract::fault::{EventFault, QuarantineCode};
use crate::ids::{FlagKey, IdError, SnapshotVersion, Unit, UnixMillis, VariationKey};
use crate::slices::SliceCodes;

/// One event of a batch, and what the edge knew when it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival<'b> {
    /// The edge's clock when it arrived.
    pub received_ms: UnixMillis,
    /// The client's clock when it sent it, if it said so.
    pub sent_ms: Option<UnixMillis>,
    /// What the edge could make sure of.
    pub source: SourceMark,
    /// Keyed hash of the network that it came from; 0 when nobody knows it, as from format 1.
    pub network: u32,
    /// Whether a bot asked, by its user agent.
    pub is_bot: bool,
    /// Whether its key and network enrol more units than the environment lets them. Means something for exposures only.
    pub is_limited: bool,
    /// The program that reported it, as that says.
    pub sdk: Option<&'b str>,
    /// What arrived.
    pub content: Content<'b>,
}

/// What arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'b> {
    /// Exactly what somebody sent, valid or not: JSON.
    Raw(&'b str),
    /// What the edge recorded itself.
    Exposure(EdgeExposure<'b>),
    /// Nothing any more: its unit was erased while it waited at the edge.
    Erased,
}

/// An exposure that the edge recorded when it answered. It has no id: a unit enrols once in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeExposure<'b> {
    /// The flag's key.
    pub flag: &'b str,
    /// Key of the variation that was shown.
    pub variation: &'b str,
    /// Phase of the flag's cohort.
    pub phase: u32,
    /// `epoch.seq` of the snapshot that answered.
    pub version: &'b str,
    /// Who saw it.
    pub unit: &'b str,
    /// The declared slices of its enrolment, as [`SliceCodes`] writes them.
    pub slices: &'b str,
}

impl<'b> Arrival<'b> {
    /// The checked event; `id` names it where it has no name of its own.
    pub fn event(&self, id: impl FnOnce() -> String) -> Result<Event, EventFault> {
        match &self.content {
            Content::Raw(raw) => parse_event(raw, self.received_ms, self.sent_ms),
            Content::Exposure(exposure) => exposure.event(id(), self.received_ms),
            Content::Erased => Err(EventFault::of(QuarantineCode::UnitMissing, "its unit was erased")),
        }
    }

    /// What is kept of it when it cannot be used.
    pub fn raw(&self, id: impl FnOnce() -> String) -> Cow<'b, str> {
        match self.content {
            Content::Raw(raw) => Cow::Borrowed(raw),
            Content::Exposure(exposure) => Cow::Owned(exposure.raw(&id(), self.received_ms)),
            Content::Erased => Cow::Borrowed("null"),
        }
    }
}

impl EdgeExposure<'_> {
    fn event(&self, id: String, occurred_ms: UnixMillis) -> Result<Event, EventFault> {
        let in_field =
            |name: &'static str| move |error: IdError| EventFault::in_field(name, error.to_string());
        let malformed = || EventFault::in_field("version", "version must be epoch.seq, such as 1.42");
        if self.unit.is_empty() {
            let reason = "unit is missing: it says who did it";
            return Err(EventFault::of(QuarantineCode::UnitMissing, reason).with_field("unit"));
        }
        let kind = EventKind::Exposure {
            flag: FlagKey::parse(self.flag).map_err(in_field("flag"))?,
            variation: VariationKey::parse(self.variation).map_err(in_field("variation"))?,
            phase: Some(self.phase),
            version: Some(SnapshotVersion::parse(self.version).ok_or_else(malformed)?),
        };
        let unit = Some(Unit::parse(self.unit).map_err(in_field("unit"))?);
        let slices = SliceCodes::parse(self.slices)
            .ok_or_else(|| EventFault::in_field("slices", "slices is not what an edge writes"))?;
        Ok(Event { id, unit, occurred_ms, kind, slices, ticket: None })
    }

    /// The same as an event of format 1.
    fn raw(&self, id: &str, occurred_ms: UnixMillis) -> String {
        let Self { flag, variation, phase, version, unit, slices } = self;
        let mut event = json!({ "id": id, "type": "exposure", "unit": unit, "occurred_ms": occurred_ms,
            "flag": flag, "variation": variation, "phase": phase, "version": version });
        if let Some(fields) = event.as_object_mut().filter(|_| !slices.is_empty()) {
            fields.insert("slices".to_owned(), Value::from(*slices));
        }
        event.to_string()
    }
}
