//! A batch as the edge's buffer sends it, in either format; `(buffer_id, batch_seq)` names it for ever.
//!
//! Format 1 has no `format` and lists events, each with its times. Format 2 lists requests. A writer falls back to format 1
//! when its reader refuses format 2; the events of a batch come in the same order in both.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::arrival::{Arrival, Content, EdgeExposure};
use super::refused::{BatchError, check_count};
use super::request::Request;
use super::source::{EventSource, SourceMark};
use crate::ids::UnixMillis;
use crate::limits::BATCH_EVENT_COUNT_MAX;
use crate::strict;

/// The format that edges write.
pub const FORMAT: u32 = 2;
/// The formats that control planes read; their answers say so.
pub const FORMATS: [u32; 2] = [1, 2];

/// A text that is borrowed where nothing in it is escaped.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
struct Text<'b>(#[serde(borrow)] Cow<'b, str>);

impl Text<'_> {
    fn get(&self) -> &str {
        &self.0
    }
}

/// Both formats as they travel.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>, R: Deserialize<'de>"))]
struct Wire<T, R> {
    #[serde(default = "format_1")]
    format: u32,
    #[serde(default)]
    reader: Option<u32>,
    buffer_id: T,
    batch_seq: u64,
    tenant: T,
    project: T,
    environment: T,
    region: T,
    #[serde(default)]
    queue: Option<EventSource>,
    #[serde(default)]
    delivered_through_ms: Option<UnixMillis>,
    #[serde(default)]
    oldest_waiting_ms: Option<UnixMillis>,
    #[serde(default)]
    rests: bool,
    #[serde(default)]
    has_tickets: Option<bool>,
    #[serde(default)]
    requests: Option<Vec<Request<T, R>>>,
    /// The queue in format 1.
    #[serde(default)]
    source: Option<EventSource>,
    #[serde(default)]
    events: Option<Vec<OneEvent<R>>>,
}

const fn format_1() -> u32 {
    1
}

/// An event of format 1.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OneEvent<R> {
    received_ms: UnixMillis,
    #[serde(default)]
    sent_ms: Option<UnixMillis>,
    raw: R,
}

/// A batch, and where it comes from.
#[derive(Debug)]
pub struct IngestBatch<'b> {
    /// Name and place of the batch.
    pub head: BatchHead,
    requests: Requests<'b>,
    event_count: usize,
}

/// What names a batch and says where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchHead {
    /// The format in which it was written.
    pub format: u32,
    /// The newest snapshot reader that its edge is; `None` from an edge that does not say, and in format 1.
    pub reader: Option<u32>,
    /// The buffer's own id, 32 hexadecimal digits, drawn once.
    pub buffer_id: String,
    /// Counts up from 1 in one buffer; a retry repeats it with the same events. 0 names a batch without events that only
    /// says how far the buffer is.
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
    pub queue: Option<EventSource>,
    /// Every event that arrived at this buffer until then is delivered once this batch is; `None` in format 1.
    ///
    /// It and the next two belong to the moment of sending: a retry may name others.
    pub delivered_through_ms: Option<UnixMillis>,
    /// When the oldest event arrived at the edge that still waits in this buffer behind this batch; `None` when none does.
    pub oldest_waiting_ms: Option<UnixMillis>,
    /// Nothing waits, and the buffer says nothing more until the next event: it holds nobody back.
    pub rests: bool,
    /// Whether its edge has a secret for tickets; `None` when it does not say.
    pub has_tickets: Option<bool>,
}

#[derive(Debug)]
enum Requests<'b> {
    One(Vec<OneEvent<&'b RawValue>>, SourceMark),
    Two(Vec<Request<Text<'b>, &'b RawValue>>),
}

impl<'b> IngestBatch<'b> {
    /// Parses a body.
    pub fn parse(body: &'b [u8]) -> Result<Self, BatchError> {
        // Fields are there once; what is wrong inside an event is for that event to answer for.
        let wire: Wire<Text<'b>, &'b RawValue> = strict::shaped(body).map_err(|error| {
            // Read once more for its fault in words.
            let fault = strict::from_slice::<Wire<String, Value>>(body).err();
            let detail = fault.map_or_else(|| error.to_string(), |fault| fault.of("the body"));
            BatchError::Shape { detail }
        })?;
        let missing = |name: &str| BatchError::Shape { detail: format!("{name} is missing") };
        let queue = wire.queue.or(wire.source);
        let (requests, event_count) = match wire.format {
            1 => {
                let mark = if queue == Some(EventSource::Edge) { SourceMark::Edge } else { SourceMark::Open };
                let events = wire.events.ok_or_else(|| missing("events"))?;
                let count = events.len();
                (Requests::One(events, mark), count)
            }
            FORMAT => {
                let requests = wire.requests.ok_or_else(|| missing("requests"))?;
                check_variations(&requests)?;
                let count = requests.iter().map(Request::event_count).sum();
                (Requests::Two(requests), count)
            }
            format => return Err(BatchError::UnknownFormat { format }),
        };
        check_count(event_count, BATCH_EVENT_COUNT_MAX)?;
        let own = |text: Text<'_>| text.0.into_owned();
        let head = BatchHead {
            format: wire.format,
            reader: wire.reader,
            buffer_id: own(wire.buffer_id),
            batch_seq: wire.batch_seq,
            tenant: own(wire.tenant),
            project: own(wire.project),
            environment: own(wire.environment),
            region: own(wire.region),
            queue,
            delivered_through_ms: wire.delivered_through_ms,
            oldest_waiting_ms: wire.oldest_waiting_ms,
            rests: wire.rests,
            has_tickets: wire.has_tickets,
        };
        Ok(Self { head, requests, event_count })
    }

    /// How many events it has.
    pub const fn event_count(&self) -> usize {
        self.event_count
    }

    /// Whether it only says how far its buffer is: it is neither numbered nor remembered.
    pub const fn is_word_only(&self) -> bool {
        self.head.batch_seq == 0 && self.event_count == 0
    }

    /// Its events, in the order in which they were accepted, the same each time and in both formats.
    pub fn arrivals(&self) -> impl Iterator<Item = Arrival<'_>> {
        let (one, two) = match &self.requests {
            Requests::One(events, mark) => (Some((events, *mark)), None),
            Requests::Two(requests) => (None, Some(requests)),
        };
        let one =
            one.into_iter().flat_map(|(events, mark)| events.iter().map(move |event| plain(event, mark)));
        one.chain(two.into_iter().flatten().flat_map(of_request))
    }
}

/// An event of format 1, of which the edge knew its times alone.
fn plain<'a>(event: &'a OneEvent<&RawValue>, source: SourceMark) -> Arrival<'a> {
    Arrival {
        received_ms: event.received_ms,
        sent_ms: event.sent_ms,
        source,
        network: 0,
        is_bot: false,
        is_limited: false,
        sdk: None,
        content: Content::Raw(event.raw.get()),
    }
}

fn of_request<'a>(request: &'a Request<Text<'_>, &RawValue>) -> impl Iterator<Item = Arrival<'a>> {
    let common = Arrival {
        received_ms: request.received_ms,
        sent_ms: request.sent_ms,
        source: match request.source {
            SourceMark::Ticket if request.is_signed => SourceMark::Signed,
            source => source,
        },
        network: request.network,
        is_bot: request.is_bot,
        is_limited: request.is_limited,
        sdk: request.sdk.as_ref().map(Text::get),
        content: Content::Raw(""),
    };
    let events = request.events.iter().map(move |raw| {
        let is_erased = request.has_erased && raw.get() == "null";
        Arrival { content: if is_erased { Content::Erased } else { Content::Raw(raw.get()) }, ..common }
    });
    let exposures = request.exposures.iter().flat_map(move |group| {
        group.units.iter().map(move |shown| {
            let exposure = EdgeExposure {
                flag: group.flag.get(),
                variation: group.variations.get(shown.variation).map_or("", Text::get),
                phase: group.phase,
                version: group.version.get(),
                unit: shown.unit.get(),
                slices: shown.slices.as_ref().map_or("", Text::get),
            };
            Arrival {
                received_ms: request.received_ms.plus(u64::from(shown.after_ms)),
                network: shown.network,
                is_bot: shown.is_bot,
                is_limited: shown.is_limited,
                // An edge records nobody's exposure: its unit was erased meanwhile.
                content: if exposure.unit.is_empty() { Content::Erased } else { Content::Exposure(exposure) },
                ..common
            }
        })
    });
    events.chain(exposures)
}

/// Refuses a unit that names a variation its group does not have.
fn check_variations<T, R>(requests: &[Request<T, R>]) -> Result<(), BatchError> {
    let groups = requests.iter().flat_map(|request| &request.exposures);
    for group in groups {
        let count = group.variations.len();
        if let Some(stray) = group.units.iter().find(|shown| shown.variation >= count) {
            let detail = format!("units name variation {}, and their group has {count}", stray.variation);
            return Err(BatchError::Shape { detail });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
