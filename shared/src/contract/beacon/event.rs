//! One event, checked: what it says, who it is about and when it happened.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::super::fault::{EventFault, QuarantineCode, looks_like_seconds};
use super::fields::{Fields, KindWire};
use super::quick;
use crate::ids::{FlagKey, IdError, MetricKey, SnapshotVersion, Unit, UnixMillis, VariationKey};
use crate::limits::{
    EVENT_AGE_MS_MAX, EVENT_ID_LEN_MAX, EVENT_LEN_MAX, EVENT_SKEW_MS_MAX, TICKET_LEN_MAX, USAGE_COUNT_MAX,
};
use crate::slices::SliceCodes;
use crate::strict::{self, Fault};

/// A valid event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Drawn by the client when it happened, best a `UUIDv7`.
    pub id: String,
    /// Who; nobody for usage, which is counted for all askers together.
    pub unit: Option<Unit>,
    /// When, corrected by the difference between the client's and the edge's clock.
    pub occurred_ms: UnixMillis,
    /// What happened.
    pub kind: EventKind,
    /// The declared slices that an exposure's answer named; none for any other event.
    pub slices: SliceCodes,
    /// The ticket that it carries, as it came. The edge alone reads tickets, and marks what they say.
    pub ticket: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// A unit was really shown a flag.
    Exposure {
        /// Which flag.
        flag: FlagKey,
        /// What it saw.
        variation: VariationKey,
        /// Phase of the cohort, when the answer named one.
        phase: Option<u32>,
        /// The snapshot that answered, when known.
        version: Option<SnapshotVersion>,
    },
    /// A unit did something, or something happened to it.
    Outcome {
        /// `activation`, `return`, `conversion`, `error`, `latency_ms` or a custom name.
        metric: MetricKey,
        /// For additive metrics; finite.
        value: Option<f64>,
    },
    /// The unit is a device of another one, who uses it: a phone, an anonymous visitor who has logged in.
    Link {
        /// Who counts for both.
        canonical: Unit,
        /// The ticket of that unit, as it came.
        canonical_ticket: Option<String>,
    },
    /// A client has asked for a flag so often.
    Usage {
        /// Which flag.
        flag: FlagKey,
        /// Times that it was on.
        yes: u64,
        /// Times that it was off.
        no: u64,
        /// Times that a variant was served, by its name.
        variants: BTreeMap<String, u64>,
    },
}

/// Checks one event that arrived at `received` and was sent, by the client's clock, at `sent`.
pub fn parse_event(raw: &str, received: UnixMillis, sent: Option<UnixMillis>) -> Result<Event, EventFault> {
    if raw.len() > EVENT_LEN_MAX {
        let reason = format!("the event has {} bytes, the limit is {EVENT_LEN_MAX}", raw.len());
        return Err(EventFault::of(QuarantineCode::Oversize, reason));
    }
    if let Some(fields) = quick::fields(raw, received) {
        return fields.checked(received, sent, None);
    }
    careful(raw, received, sent)
}

/// Reads what is unusual, and says what is wrong with it.
fn careful(raw: &str, received: UnixMillis, sent: Option<UnixMillis>) -> Result<Event, EventFault> {
    let value = strict::parse(raw.as_bytes())?;
    let seconds = looks_like_seconds(value.get("occurred_ms"), received);
    let fields: Fields<'_> = strict::from_value(&value)
        .map_err(|misfit| EventFault::from(Fault::Shape(misfit)).in_seconds(seconds.as_deref()))?;
    fields.checked(received, sent, seconds)
}

impl Fields<'_> {
    /// The event that these fields describe; `seconds` says why its time looks like seconds, where it does.
    fn checked(
        self,
        received: UnixMillis,
        sent: Option<UnixMillis>,
        seconds: Option<String>,
    ) -> Result<Event, EventFault> {
        if self.id.is_empty() || self.id.len() > EVENT_ID_LEN_MAX {
            let reason = format!("id has {} bytes, allowed are 1 to {EVENT_ID_LEN_MAX}", self.id.len());
            return Err(EventFault::in_field("id", reason));
        }
        for (name, ticket) in [("ticket", &self.ticket), ("canonical_ticket", &self.canonical_ticket)] {
            if let Some(ticket) = ticket.as_deref().filter(|ticket| ticket.len() > TICKET_LEN_MAX) {
                let reason = format!("{name} has {} bytes, the limit is {TICKET_LEN_MAX}", ticket.len());
                return Err(EventFault::in_field(name, reason));
            }
        }
        let unit = match self.unit.as_deref().filter(|unit| !unit.is_empty()) {
            _ if self.kind == KindWire::Usage => None,
            Some(unit) => {
                Some(Unit::parse(unit).map_err(|error| EventFault::in_field("unit", error.to_string()))?)
            }
            None => {
                let reason = "unit is missing: it says who did it, and is the targetingKey of the evaluation";
                return Err(EventFault::of(QuarantineCode::UnitMissing, reason).with_field("unit"));
            }
        };
        // Also where the batch says sent_ms in seconds: their difference alone would look like milliseconds.
        let occurred_ms = match seconds {
            Some(reason) => Err(EventFault::of(QuarantineCode::TooOld, reason)),
            None => corrected(self.occurred_ms, received, sent),
        };
        let occurred_ms = occurred_ms.map_err(|fault| fault.with_field("occurred_ms"))?;
        let kind = self.what()?;
        let slices = self.codes()?;
        let ticket = self.ticket.map(Cow::into_owned);
        Ok(Event { id: self.id.into_owned(), unit, occurred_ms, kind, slices, ticket })
    }

    /// What happened, from the fields of its type.
    fn what(&self) -> Result<EventKind, EventFault> {
        let flag = || required("flag", self.flag.as_deref(), self.kind, FlagKey::parse);
        Ok(match self.kind {
            KindWire::Exposure => EventKind::Exposure {
                flag: flag()?,
                variation: required("variation", self.variation.as_deref(), self.kind, VariationKey::parse)?,
                phase: self.phase,
                version: self.version()?,
            },
            KindWire::Outcome => EventKind::Outcome {
                metric: required("metric", self.metric.as_deref(), self.kind, MetricKey::parse)?,
                value: self.value,
            },
            KindWire::Link => {
                let canonical = required("canonical", self.canonical.as_deref(), self.kind, Unit::parse)?;
                if self.unit.as_deref() == Some(canonical.as_str()) {
                    let reason = "canonical is the unit itself: a link names two units";
                    return Err(EventFault::in_field("canonical", reason));
                }
                let canonical_ticket = self.canonical_ticket.as_deref().map(str::to_owned);
                EventKind::Link { canonical, canonical_ticket }
            }
            KindWire::Usage => {
                let flag = flag()?;
                let counts = self.variants.values().chain([&self.yes, &self.no]);
                if let Some(count) = counts.max().filter(|count| **count > USAGE_COUNT_MAX) {
                    let reason = format!("a count is {count}, the limit is {USAGE_COUNT_MAX} for each event");
                    return Err(EventFault::of(QuarantineCode::ImplausibleCount, reason));
                }
                EventKind::Usage { flag, yes: self.yes, no: self.no, variants: self.variants.clone() }
            }
        })
    }

    fn codes(&self) -> Result<SliceCodes, EventFault> {
        let text = self.slices.as_deref().filter(|_| self.kind == KindWire::Exposure).unwrap_or_default();
        let reason = "slices is not what an evaluation answered: send its metadata's text, such as 1.0";
        SliceCodes::parse(text).ok_or_else(|| EventFault::in_field("slices", reason))
    }

    fn version(&self) -> Result<Option<SnapshotVersion>, EventFault> {
        let Some(text) = &self.version else { return Ok(None) };
        let malformed = || EventFault::in_field("version", "version must be epoch.seq, such as 1.42");
        SnapshotVersion::parse(text).ok_or_else(malformed).map(Some)
    }
}

fn required<T>(
    name: &'static str,
    field: Option<&str>,
    kind: KindWire,
    parse: fn(&str) -> Result<T, IdError>,
) -> Result<T, EventFault> {
    let missing = || {
        let reason = format!("{name} is missing: every event of type {:?} names one", kind.as_str());
        EventFault::in_field(name, reason)
    };
    parse(field.ok_or_else(missing)?).map_err(|error| EventFault::in_field(name, error.to_string()))
}

/// `received − (sent − occurred)`: the client's own clock only measures the difference between two of its readings.
fn corrected(
    occurred: UnixMillis,
    received: UnixMillis,
    sent: Option<UnixMillis>,
) -> Result<UnixMillis, EventFault> {
    let (clock, name) = sent.map_or((received, "the edge's clock"), |sent| (sent, "sent_ms"));
    if occurred > clock.plus(EVENT_SKEW_MS_MAX) {
        let ahead_ms = occurred.since(clock);
        let reason = format!(
            "occurred_ms is {}, {ahead_ms} ms after {name}, the limit is {EVENT_SKEW_MS_MAX} ms",
            occurred.0
        );
        return Err(EventFault::of(QuarantineCode::Future, reason));
    }
    let corrected = sent.map_or_else(|| occurred.min(received), |sent| received.minus(sent.since(occurred)));
    let age_ms = received.since(corrected);
    if age_ms > EVENT_AGE_MS_MAX {
        let reason = format!(
            "occurred_ms is {}, {age_ms} ms before {name}, the limit is {EVENT_AGE_MS_MAX} ms (14 days)",
            occurred.0
        );
        return Err(EventFault::of(QuarantineCode::TooOld, reason));
    }
    Ok(corrected)
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
