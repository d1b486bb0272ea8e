//! Bodies of batches as the edge's buffers send them: exposures from the queue of what the edge records, everything else from
//! the one of what clients send.

use std::fmt::Write as _;

use flagfuse_shared::contract::beacon::{EventSource, FORMAT};
use flagfuse_shared::definition::Arm;

use super::mix::{Event, FLAG, unit_name, variation};
use crate::attack::{ENVIRONMENT, PROJECT};

/// Over so many milliseconds what the edge recorded is spread.
pub(crate) const SPREAD_MS: usize = 500;
/// Events of a client's request.
const REQUEST_EVENT_COUNT: usize = 5;

/// A buffer and how far it is.
#[derive(Debug, Clone)]
pub(crate) struct Buffer {
    id: String,
    next_seq: u64,
    source: EventSource,
    region: &'static str,
}

impl Buffer {
    /// The buffer of this number.
    pub(crate) fn new(number: usize, source: EventSource) -> Self {
        Self { id: format!("{number:032x}"), next_seq: 1, source, region: "local" }
    }

    /// Whose events it takes.
    pub(crate) const fn source(&self) -> EventSource {
        self.source
    }

    /// Whether it takes such an event.
    pub(crate) const fn takes(&self, event: &Event) -> bool {
        matches!(
            (self.source, event),
            (EventSource::Edge, Event::Exposure { .. })
                | (
                    EventSource::Client,
                    Event::Outcome { .. } | Event::UnknownFlag { .. } | Event::Malformed { .. }
                )
        )
    }

    /// The body of its next batch.
    pub(crate) fn body(&mut self, events: &[Event], phase: u32, now_ms: u64) -> Vec<u8> {
        let mut body = String::with_capacity(events.len() * 160 + 256);
        let (id, seq, region, queue) = (&self.id, self.next_seq, self.region, self.source.as_str());
        // Writing into a text cannot fail.
        let _ = write!(
            body,
            r#"{{"format":{FORMAT},"buffer_id":"{id}","batch_seq":{seq},"region":"{region}","tenant":"default","project":"{PROJECT}","environment":"{ENVIRONMENT}","queue":"{queue}","delivered_through_ms":{now_ms},"oldest_waiting_ms":null,"rests":false,"requests":["#
        );
        match self.source {
            EventSource::Edge => write_exposures(&mut body, events, phase, now_ms),
            EventSource::Client => {
                for (at, request) in events.chunks(REQUEST_EVENT_COUNT).enumerate() {
                    if at > 0 {
                        body.push(',');
                    }
                    write_request(&mut body, request, phase, now_ms);
                }
            }
        }
        body.push_str("]}");
        self.next_seq += 1;
        body.into_bytes()
    }
}

/// What the edge recorded, as one request: flag and phase are named once.
fn write_exposures(body: &mut String, events: &[Event], phase: u32, now_ms: u64) {
    let _ = write!(
        body,
        r#"{{"received_ms":{now_ms},"source":"edge","exposures":[{{"flag":"{FLAG}","phase":{phase},"version":"1.1","variations":["on","off"],"units":["#
    );
    let exposures = events.iter().filter_map(|event| match event {
        Event::Exposure { unit, arm } => Some((*unit, *arm)),
        Event::Outcome { .. } | Event::UnknownFlag { .. } | Event::Malformed { .. } => None,
    });
    for (at, (unit, arm)) in exposures.enumerate() {
        if at > 0 {
            body.push(',');
        }
        let variation = u8::from(arm == Arm::Control);
        let _ = write!(body, r#"["{}",{variation},{},{}]"#, unit_name(unit), at % SPREAD_MS, network(unit));
    }
    body.push_str("]}]}");
}

/// What one client sent at once.
fn write_request(body: &mut String, events: &[Event], phase: u32, now_ms: u64) {
    let network = events.first().map_or(1, |event| match event {
        Event::Exposure { unit, .. } | Event::Outcome { unit, .. } | Event::UnknownFlag { unit } => {
            network(*unit)
        }
        Event::Malformed { turn } => network(*turn),
    });
    let _ = write!(
        body,
        r#"{{"received_ms":{now_ms},"sent_ms":{now_ms},"source":"ticket","network":{network},"sdk":"web/1.0.0","events":["#
    );
    for (at, event) in events.iter().enumerate() {
        if at > 0 {
            body.push(',');
        }
        write_event(body, event, phase, now_ms);
    }
    body.push_str("]}");
}

/// Some thousand of them.
const fn network(unit: u64) -> u64 {
    unit % 4_093 + 1
}

/// One event as a client sends it.
pub(crate) fn write_event(body: &mut String, event: &Event, phase: u32, now_ms: u64) {
    let _ = match event {
        Event::Exposure { unit, arm } => write!(
            body,
            r#"{{"id":"019a0000-0000-7000-8000-{unit:012x}","type":"exposure","unit":"{}","occurred_ms":{now_ms},"flag":"{FLAG}","variation":"{}","phase":{phase},"version":"1.1"}}"#,
            unit_name(*unit),
            variation(*arm),
        ),
        Event::Outcome { unit, metric, turn } => write!(
            body,
            r#"{{"id":"019a0000-0000-7000-9000-{turn:012x}","type":"outcome","unit":"{}","occurred_ms":{now_ms},"metric":"{metric}","value":{}}}"#,
            unit_name(*unit),
            turn % 1_000,
        ),
        Event::UnknownFlag { unit } => write!(
            body,
            r#"{{"id":"019a0000-0000-7000-a000-{unit:012x}","type":"exposure","unit":"{}","occurred_ms":{now_ms},"flag":"nothing","variation":"on"}}"#,
            unit_name(*unit),
        ),
        Event::Malformed { turn } => {
            write!(
                body,
                r#"{{"id":"019a0000-0000-7000-b000-{turn:012x}","type":"surprise","occurred_ms":{now_ms}}}"#
            )
        }
    };
}
