//! Beacons: events from clients to the edge, and batches from the edge to the control plane.
//!
//! Both ends check an event with [`parse_event`], so they can never disagree about what is quarantined.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::fault::{EventFault, QuarantineCode, looks_like_seconds};
use crate::ids::{FlagKey, IdError, MetricKey, SnapshotVersion, Unit, UnixMillis, VariationKey};
use crate::limits::{
    BATCH_EVENT_COUNT_MAX, EVENT_AGE_MS_MAX, EVENT_COUNT_MAX, EVENT_ID_LEN_MAX, EVENT_LEN_MAX,
    EVENT_SKEW_MS_MAX, USAGE_COUNT_MAX,
};
use crate::strict::{self, Fault, Misfit};

/// Path of client events at the edge.
pub const EVENTS_PATH: &str = "/v1/events";
/// Path of batches at the control plane.
pub const INGEST_PATH: &str = "/v1/ingest";

/// Body of `POST /v1/events`. Unknown fields are allowed: newer clients may say more.
#[derive(Debug)]
pub struct ClientBatch<'b> {
    /// The client's clock when it sent this.
    pub sent_ms: Option<UnixMillis>,
    /// The events, each parsed on its own.
    pub events: Vec<&'b RawValue>,
}

/// Why a whole request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// No JSON of the batch's shape.
    #[error("{detail}")]
    Shape {
        /// What is wrong, as a sentence.
        detail: String,
    },
    /// More events than the limit.
    #[error("the body has {count} events, the limit is {count_max}: send the others in another request")]
    TooMany {
        /// Events found.
        count: usize,
        /// Events allowed.
        count_max: usize,
    },
}

impl From<Fault> for BatchError {
    fn from(fault: Fault) -> Self {
        Self::Shape { detail: fault.of("the body") }
    }
}

impl<'b> ClientBatch<'b> {
    /// Parses a request's body.
    pub fn parse(body: &'b [u8]) -> Result<Self, BatchError> {
        let refused = |detail: &str| BatchError::Shape { detail: format!("{detail}; {EXPECTED}") };
        let (mut sent_ms, mut events) = (None, None);
        for (name, raw) in strict::fields(body).map_err(|fault| refused(&fault.of("the body")))? {
            let in_field = |misfit: Misfit| refused(&misfit.of(&name));
            match name.as_str() {
                "sent_ms" => {
                    let sent = Value::deserialize(raw).map_err(|_| refused("sent_ms is out of range"))?;
                    sent_ms = strict::from_value(&sent).map_err(in_field)?;
                }
                // Unread, each for itself: what is wrong with one is no reason to refuse the others.
                "events" => events = Some(strict::items(raw).map_err(in_field)?),
                _ => {
                    strict::parse(raw.get().as_bytes()).map_err(|fault| refused(&fault.of(&name)))?;
                }
            }
        }
        let batch = Self { sent_ms, events: events.ok_or_else(|| refused("events is missing"))? };
        check_count(batch.events.len(), EVENT_COUNT_MAX)?;
        Ok(batch)
    }
}

/// What the body of events looks like.
const EXPECTED: &str =
    "expected is {\"events\": [{\"id\": …, \"type\": …, \"unit\": …, \"occurred_ms\": …}]}";

/// A batch as the edge's buffer sends it; `(buffer_id, batch_seq)` names it for ever.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestBatch<E = IngestEvent> {
    /// The buffer's own id, 32 hexadecimal digits, drawn once.
    pub buffer_id: String,
    /// Counts up in one buffer; a retry repeats it with the same events.
    pub batch_seq: u64,
    /// Isolation boundary.
    pub tenant: String,
    /// Group of flags.
    pub project: String,
    /// Where the events happened.
    pub environment: String,
    /// Region of the buffer.
    pub region: String,
    /// Which queue they come from; `None` from an edge that has one queue for everything.
    #[serde(default)]
    pub source: Option<EventSource>,
    /// When the oldest event arrived at the edge that still waits in this buffer behind this batch; `None` when none does.
    /// It belongs to the moment of sending: a retry may name another one.
    #[serde(default)]
    pub oldest_waiting_ms: Option<UnixMillis>,
    /// In the order in which they were accepted.
    pub events: Vec<E>,
}

/// Who reported events. Each has buffers of its own, so that no flood of one delays the other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventSource {
    /// The edge itself: exposures that it recorded when it answered.
    Edge,
    /// Clients, which may report whatever they like: events and usage.
    Client,
}

impl EventSource {
    /// Every source there is.
    pub const ALL: [Self; 2] = [Self::Edge, Self::Client];

    /// The word in JSON and in a buffer's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Client => "client",
        }
    }
}

impl IngestBatch {
    /// Parses a request's body.
    pub fn parse(body: &[u8]) -> Result<Self, BatchError> {
        // It has no unknown fields and each once; what is wrong inside an event is for that event to answer for.
        let batch: Self = strict::shaped(body).map_err(|error| {
            // Read once more for its fault in words.
            let fault = strict::from_slice::<IngestBatch<IngestEvent<Value>>>(body).err();
            let detail = fault.map_or_else(|| error.to_string(), |fault| fault.of("the body"));
            BatchError::Shape { detail }
        })?;
        check_count(batch.events.len(), BATCH_EVENT_COUNT_MAX)?;
        Ok(batch)
    }
}

const fn check_count(count: usize, count_max: usize) -> Result<(), BatchError> {
    if count > count_max { Err(BatchError::TooMany { count, count_max }) } else { Ok(()) }
}

/// One event on its way to the control plane, as it arrived.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestEvent<R = Box<RawValue>> {
    /// The edge's clock when it arrived.
    pub received_ms: UnixMillis,
    /// The client's clock when it sent it, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_ms: Option<UnixMillis>,
    /// Exactly what arrived, valid or not.
    pub raw: R,
}

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

/// The fields of an event as they travel; unknown ones are kept in the raw bytes and ignored here.
#[derive(Deserialize)]
struct EventWire {
    id: String,
    #[serde(rename = "type")]
    kind: KindWire,
    #[serde(default)]
    unit: Option<String>,
    occurred_ms: UnixMillis,
    #[serde(default)]
    flag: Option<String>,
    #[serde(default)]
    variation: Option<String>,
    #[serde(default)]
    phase: Option<u32>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    metric: Option<String>,
    #[serde(default)]
    value: Option<f64>,
    #[serde(default)]
    yes: u64,
    #[serde(default)]
    no: u64,
    #[serde(default)]
    variants: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindWire {
    Exposure,
    Outcome,
    Usage,
}

/// Checks one event that arrived at `received` and was sent, by the client's clock, at `sent`.
pub fn parse_event(raw: &str, received: UnixMillis, sent: Option<UnixMillis>) -> Result<Event, EventFault> {
    if raw.len() > EVENT_LEN_MAX {
        let reason = format!("the event has {} bytes, the limit is {EVENT_LEN_MAX}", raw.len());
        return Err(EventFault::of(QuarantineCode::Oversize, reason));
    }
    let value = strict::parse(raw.as_bytes())?;
    let seconds = looks_like_seconds(value.get("occurred_ms"), received);
    let wire: EventWire = strict::from_value(&value)
        .map_err(|misfit| EventFault::from(Fault::Shape(misfit)).in_seconds(seconds.as_deref()))?;
    if wire.id.is_empty() || wire.id.len() > EVENT_ID_LEN_MAX {
        let reason = format!("id has {} bytes, allowed are 1 to {EVENT_ID_LEN_MAX}", wire.id.len());
        return Err(EventFault::in_field("id", reason));
    }
    let unit = match wire.unit.as_deref().filter(|unit| !unit.is_empty()) {
        _ if wire.kind == KindWire::Usage => None,
        Some(unit) => {
            Some(Unit::parse(unit).map_err(|error| EventFault::in_field("unit", error.to_string()))?)
        }
        None => {
            let reason = "unit is missing: it says who did it, and is the targetingKey of the evaluation";
            return Err(EventFault::of(QuarantineCode::UnitMissing, reason).with_field("unit"));
        }
    };
    // Also where the batch says sent_ms in seconds: their difference alone would look like milliseconds.
    let occurred_ms = match &seconds {
        Some(reason) => Err(EventFault::of(QuarantineCode::TooOld, reason.clone()).with_field("occurred_ms")),
        None => corrected(wire.occurred_ms, received, sent).map_err(|fault| fault.with_field("occurred_ms")),
    }?;
    let what = wire.what()?;
    Ok(Event { id: wire.id, unit, occurred_ms, kind: what })
}

impl EventWire {
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

    fn version(&self) -> Result<Option<SnapshotVersion>, EventFault> {
        let Some(text) = &self.version else { return Ok(None) };
        let malformed = || EventFault::in_field("version", "version must be epoch.seq, such as 1.42");
        SnapshotVersion::parse(text).ok_or_else(malformed).map(Some)
    }
}

impl KindWire {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Exposure => "exposure",
            Self::Outcome => "outcome",
            Self::Usage => "usage",
        }
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
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn parse(raw: &str) -> Result<Event, QuarantineCode> {
        parse_event(raw, NOW, None).map_err(|fault| fault.code)
    }

    fn event(fields: &str) -> String {
        format!(r#"{{"id":"e1","unit":"u","occurred_ms":{},{fields}}}"#, NOW.0)
    }

    #[test]
    fn unknown_fields_are_no_error_and_wrong_types_are() {
        assert!(parse(&event(r#""type":"outcome","metric":"conversion","new_field":{"a":1}"#)).is_ok());
        let rows = [
            ("{", QuarantineCode::BadJson),
            ("[]", QuarantineCode::BadSchema),
            (&event(r#""type":"outcome","metric":7"#), QuarantineCode::BadSchema),
            (&event(r#""type":"outcome""#), QuarantineCode::BadSchema),
            (&event(r#""type":"exposure","flag":"f""#), QuarantineCode::BadSchema),
            (
                &event(r#""type":"exposure","flag":"f","variation":"on","version":"x""#),
                QuarantineCode::BadSchema,
            ),
            (&event(r#""type":"dance""#), QuarantineCode::BadSchema),
            (&event(r#""type":7"#), QuarantineCode::BadSchema),
            (&event(r#""type":"outcome","metric":"m","metric":"m""#), QuarantineCode::BadSchema),
            (&event(r#""type":"outcome","metric":"m","new":[{"a":1,"a":1}]"#), QuarantineCode::BadSchema),
            (&event(r#""type":"usage","flag":"f","variants":{"a":1,"a":2}"#), QuarantineCode::BadSchema),
            (
                &format!(r#"["e1","outcome","u",{},null,null,null,null,"m",null]"#, NOW.0),
                QuarantineCode::BadSchema,
            ),
            (
                r#"{"id":"e","type":"outcome","metric":"m","occurred_ms":1800000000000}"#,
                QuarantineCode::UnitMissing,
            ),
        ];
        for (raw, code) in rows {
            assert_eq!(parse(raw), Err(code), "{raw}");
        }
    }

    #[test]
    fn sizes_and_times_are_limited_on_each_side() {
        let padded = |len: usize| {
            let empty = event(r#""type":"outcome","metric":"m","pad":"""#).len();
            event(&format!(r#""type":"outcome","metric":"m","pad":"{}""#, "x".repeat(len - empty)))
        };
        assert!(parse(&padded(EVENT_LEN_MAX)).is_ok());
        assert_eq!(parse(&padded(EVENT_LEN_MAX + 1)), Err(QuarantineCode::Oversize));
        let at = |ms: u64| {
            parse(&format!(r#"{{"id":"e","type":"outcome","metric":"m","unit":"u","occurred_ms":{ms}}}"#))
                .map(|event| event.occurred_ms)
        };
        assert_eq!(at(NOW.0 - EVENT_AGE_MS_MAX), Ok(NOW.minus(EVENT_AGE_MS_MAX)));
        assert_eq!(at(NOW.0 - EVENT_AGE_MS_MAX - 1), Err(QuarantineCode::TooOld));
        assert_eq!(at(NOW.0 + EVENT_SKEW_MS_MAX), Ok(NOW));
        assert_eq!(at(NOW.0 + EVENT_SKEW_MS_MAX + 1), Err(QuarantineCode::Future));
    }

    #[test]
    fn usage_is_plausible_up_to_its_limit_in_every_counter() {
        let usage = |yes: u64, no: u64, blue: u64| {
            parse(&event(&format!(
                r#""type":"usage","flag":"f","yes":{yes},"no":{no},"variants":{{"red":1,"blue":{blue}}}"#
            )))
        };
        assert!(usage(USAGE_COUNT_MAX, USAGE_COUNT_MAX, USAGE_COUNT_MAX).is_ok());
        for (yes, no, blue) in [
            (USAGE_COUNT_MAX + 1, 0, 0),
            (0, USAGE_COUNT_MAX + 1, 0),
            (0, 0, USAGE_COUNT_MAX + 1),
            (u64::MAX, 0, 0),
        ] {
            assert_eq!(usage(yes, no, blue), Err(QuarantineCode::ImplausibleCount), "{yes} {no} {blue}");
        }
    }

    #[test]
    fn a_wrong_client_clock_is_corrected_by_its_own_reading() {
        // The client is one day ahead; the event happened two seconds before it was sent.
        let day = 86_400_000;
        let raw = format!(
            r#"{{"id":"e","type":"outcome","metric":"m","unit":"u","occurred_ms":{}}}"#,
            NOW.0 + day - 2_000
        );
        let event = parse_event(&raw, NOW, Some(NOW.plus(day))).unwrap();
        assert_eq!(event.occurred_ms, NOW.minus(2_000));
    }

    #[test]
    fn a_batch_says_whose_events_it_carries_and_what_waits_behind_it() {
        let batch = |fields: &str| {
            let text = format!(
                r#"{{"buffer_id":"b","batch_seq":1,"tenant":"t","project":"p","environment":"e","region":"r",{fields}"events":[]}}"#
            );
            IngestBatch::parse(text.as_bytes()).map(|batch| (batch.source, batch.oldest_waiting_ms))
        };
        for source in EventSource::ALL {
            let fields = format!(r#""source":"{}","oldest_waiting_ms":{},"#, source.as_str(), NOW.0);
            assert_eq!(batch(&fields), Ok((Some(source), Some(NOW))));
        }
        assert_eq!(
            batch(r#""source":"edge","oldest_waiting_ms":null,"#),
            Ok((Some(EventSource::Edge), None))
        );
        assert_eq!(batch(""), Ok((None, None)));
        for wrong in [r#""source":"Edge","#, r#""source":"server","#, r#""oldest_waiting_ms":-1,"#] {
            assert!(batch(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_request_with_too_many_events_is_refused_whole() {
        let body = |count: usize| format!(r#"{{"events":[{}]}}"#, vec!["{}"; count].join(","));
        assert!(ClientBatch::parse(body(EVENT_COUNT_MAX).as_bytes()).is_ok());
        assert!(ClientBatch::parse(body(EVENT_COUNT_MAX + 1).as_bytes()).is_err());
        assert!(ClientBatch::parse(b"[]").is_err());
    }

    #[test]
    fn a_request_is_an_object_with_each_key_once_and_its_events_are_nobody_elses_fault() {
        for (bad, said) in [
            (&br"[1800000000000,[]]"[..], "the body must be an object, but is an array; expected is {"),
            (b"", "the body is not JSON: it is empty"),
            (br#"{"events":["#, "the body is not JSON: it ends too early, at line 1 column"),
            (br#"{"events":[],"events":[]}"#, r#"the body is ambiguous: the key "events" is repeated"#),
            (br#"{"events":[],"new":1,"new":1}"#, r#"the key "new" is repeated"#),
            (
                br#"{"events":[],"new":[{"a":1,"a":1}]}"#,
                r#"new is ambiguous: the key "a" is repeated in [0]"#,
            ),
            (br#"{"events":{}}"#, "events must be an array, but is an object"),
            (
                br#"{"events":[],"sent_ms":"now"}"#,
                r#"sent_ms must be a whole number from 0 on, but is the string "now""#,
            ),
            (br#"{"sent_ms":1}"#, "events is missing"),
        ] {
            let refused = ClientBatch::parse(bad).unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}");
        }
        let body = br#"{"sent_ms":null,"new":{},"events":[{"a":1,"a":1},["e"]]}"#;
        let batch = ClientBatch::parse(body).unwrap();
        let raw: Vec<&str> = batch.events.iter().map(|raw| raw.get()).collect();
        assert_eq!((batch.sent_ms, raw), (None, vec![r#"{"a":1,"a":1}"#, r#"["e"]"#]));
    }

    #[test]
    fn a_batch_and_its_events_are_objects_whatever_the_events_hold() {
        let batch = |events: &str| {
            format!(
                r#"{{"buffer_id":"b","batch_seq":1,"tenant":"t","project":"p","environment":"e","region":"r","events":[{events}]}}"#
            )
        };
        let sound =
            batch(r#"{"received_ms":1,"raw":{"a":1,"a":[{"b":1,"b":1}]}},{"received_ms":1,"raw":["e"]}"#);
        assert_eq!(IngestBatch::parse(sound.as_bytes()).unwrap().events.len(), 2);
        let twice = batch("").replace(r#""batch_seq":1"#, r#""batch_seq":1,"batch_seq":1"#);
        let array = r#"["b",1,"t","p","e","r",[]]"#.to_owned();
        for bad in [batch(r"[1,null,{}]"), twice, array] {
            assert!(IngestBatch::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
