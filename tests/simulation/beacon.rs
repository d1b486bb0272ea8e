//! Events on their way: producers, and the buffer of a region with its disk around the production delivery.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use flagfuse_edge::beacon::buffer::{EventRow, FLUSH_DELAY_MS, has_room};
use flagfuse_edge::beacon::delivery::{Delivery, DeliveryError, Parted, Queue, Receipt, Silence};
use flagfuse_edge::beacon::handover::{ClientRequest, Handover, digest};
use flagfuse_edge::beacon::intake::{Intake, Taken};
use flagfuse_shared::contract::beacon::{RequestHead, SourceMark};
use flagfuse_shared::ids::UnixMillis;
use serde_json::json;
use serde_json::value::to_raw_value;

use super::disk::{Disk, Tear};
use super::fault::Fault;
use super::plane::Planes;
use super::sim::{Node, Sim};
use super::world::Cast;

/// The control plane has so long to commit a batch.
const DELIVERY_TIMEOUT_MS: u64 = 10_000;
/// A client that hears nothing for so long sends the same events again.
const STORE_TIMEOUT_MS: u64 = 3_000;
const STORE_ATTEMPT_COUNT_MAX: u32 = 4;
/// A synchronisation takes up to so long.
const SYNC_MS_MAX: u64 = 25;

const IDENTITY: &str = "identity";

#[derive(Clone)]
pub(crate) enum Record {
    Identity { buffer_id: String, next_batch_seq: i64 },
    Pending { batch_seq: Option<i64>, event_count: u64, received_ms: UnixMillis, events: String },
}

impl Tear for Record {
    fn torn(&self) -> Self {
        match self {
            Self::Identity { buffer_id, .. } => {
                Self::Identity { buffer_id: buffer_id.clone(), next_batch_seq: 0 }
            }
            Self::Pending { batch_seq, event_count, received_ms, events } => {
                let events = events[..events.len() / 2].to_owned();
                Self::Pending {
                    batch_seq: *batch_seq,
                    event_count: *event_count,
                    received_ms: *received_ms,
                    events,
                }
            }
        }
    }
}

/// The buffer of a region.
pub(crate) struct Buffer {
    sim: Sim,
    cast: Rc<Cast>,
    pub(crate) node: Node,
    region: u8,
    disk: Disk<Record>,
    /// In memory; what it should be is on disk.
    next_row: Cell<u64>,
    /// In memory: what gathers for the next row.
    intake: RefCell<Intake>,
}

/// What a client hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    Accepted,
    Refused,
}

impl Buffer {
    pub(crate) fn new(cast: &Rc<Cast>, region: u8) -> Rc<Self> {
        let (cast, sim) = (Rc::clone(cast), cast.sim.clone());
        Rc::new(Self {
            sim,
            cast,
            node: Node::Buffer(region),
            region,
            disk: Disk::new(),
            next_row: Cell::new(1),
            intake: RefCell::default(),
        })
    }

    /// Begins to live, or to live again: the first time ever draws its identity.
    pub(crate) fn wake(self: &Rc<Self>, planes: &Rc<Planes>) {
        self.sim.start(self.node);
        self.intake.replace(Intake::woken(self.sim.clock(self.node)));
        let records = self.disk.records();
        if !records.contains_key(IDENTITY) {
            let buffer_id = format!("{:016x}{:016x}", self.sim.chance().next(), self.region);
            self.disk
                .write(vec![(IDENTITY.to_owned(), Some(Record::Identity { buffer_id, next_batch_seq: 1 }))]);
        }
        let last = records.keys().filter_map(|key| key.strip_prefix("row/")?.parse::<u64>().ok()).max();
        self.next_row.set(last.map_or(1, |last| last + 1).max(self.next_row.get()));
        let (own, planes) = (Rc::clone(self), Rc::clone(planes));
        self.sim.spawn(self.node, async move { own.deliver_for_ever(&planes).await });
    }

    pub(crate) fn crash(&self) {
        self.sim.crash(self.node);
        self.disk.crash(self.sim.chance());
        self.sim.log(self.node, "crashed");
    }

    /// Events that are not confirmed yet.
    pub(crate) fn backlog(&self) -> usize {
        self.disk.records().len().saturating_sub(1)
    }

    async fn sync(&self) {
        let mark = self.disk.mark();
        let delay_ms = self.sim.chance().between(0, SYNC_MS_MAX);
        self.sim.sleep(delay_ms).await;
        self.disk.settle(mark);
    }

    async fn store(&self, handover: String) -> Stored {
        let backlog_len: u64 = self.rows().iter().map(|row| row.len).sum();
        if !has_room(backlog_len, handover.len() as u64) {
            return Stored::Refused;
        }
        let handover = Handover::parse(&handover).expect("isolates write handovers");
        let taken = self.intake.borrow_mut().take(&handover, None, self.sim.clock(self.node));
        let Taken::Waits(group, wait_ms) = taken else { return Stored::Accepted };
        self.sim.sleep(wait_ms).await;
        if self.intake.borrow().is_open(&group) {
            self.write();
        }
        if !self.cast.has(Fault::EventAckedBeforeDurable) {
            // The platform holds the answer back until the write is durable.
            self.sync().await;
        }
        if group.is_written.get() == Some(true) { Stored::Accepted } else { Stored::Refused }
    }

    /// Writes what gathers as one row.
    fn write(&self) {
        let Some((row, group)) = self.intake.borrow_mut().close(self.sim.clock(self.node)) else { return };
        let number = self.next_row.replace(self.next_row.get() + 1);
        let (event_count, received_ms) = (u64::from(row.event_count), row.received_ms);
        let record =
            Record::Pending { batch_seq: None, event_count, received_ms, events: row.requests.clone() };
        self.disk.write(vec![(format!("row/{number:010}"), Some(record))]);
        group.is_written.set(Some(true));
        self.intake.borrow_mut().written(&row);
    }

    /// When the first row arrived that is not in this batch.
    fn waiting(&self, batch_seq: i64) -> Option<UnixMillis> {
        let records = self.disk.records();
        let waiting = records.values().filter_map(|record| match record {
            Record::Pending { batch_seq: of, received_ms, .. } if *of != Some(batch_seq) => {
                Some(*received_ms)
            }
            _ => None,
        });
        waiting.min()
    }

    fn rows(&self) -> Vec<EventRow> {
        let records = self.disk.records();
        let rows = records.iter().filter_map(|(key, record)| match record {
            Record::Identity { .. } => None,
            Record::Pending { event_count, events, .. } => Some(EventRow {
                row_id: key.strip_prefix("row/")?.parse().ok()?,
                event_count: *event_count,
                len: events.len() as u64,
            }),
        });
        rows.collect()
    }

    async fn deliver_for_ever(self: Rc<Self>, planes: &Planes) {
        let (delivery, way) = (Delivery::default(), Way { buffer: &self, planes });
        let mut pause_ms = FLUSH_DELAY_MS;
        loop {
            self.sim.sleep(pause_ms).await;
            // Nobody arms this one: it rings as if something had just been stored.
            pause_ms = delivery.take_turn(&way).await.unwrap_or(FLUSH_DELAY_MS);
        }
    }

    fn identity(&self) -> Result<(String, i64), DeliveryError> {
        match self.disk.record(IDENTITY) {
            Some(Record::Identity { buffer_id, next_batch_seq }) => Ok((buffer_id, next_batch_seq)),
            _ => Err(DeliveryError::Platform("the buffer has no identity row".to_owned())),
        }
    }

    /// The names and events of a batch's rows.
    fn batch(&self, batch_seq: i64) -> Vec<(String, String)> {
        let rows = self.disk.records().into_iter().filter_map(|(key, record)| match record {
            Record::Pending { batch_seq: Some(of), events, .. } if of == batch_seq => Some((key, events)),
            _ => None,
        });
        rows.collect()
    }
}

/// A buffer's rows and its way to the control planes.
struct Way<'b> {
    buffer: &'b Rc<Buffer>,
    planes: &'b Planes,
}

impl Way<'_> {
    async fn post(&self, batch_seq: i64, rows: &[String], rests: bool) -> Result<Receipt, DeliveryError> {
        let Self { buffer, planes } = self;
        let (buffer_id, _) = buffer.identity()?;
        // What gathers is written before, so that it waits behind.
        buffer.write();
        let waiting = buffer.waiting(batch_seq);
        let now = buffer.sim.clock(buffer.node);
        let through = if buffer.cast.has(Fault::WatermarkAhead) {
            now
        } else {
            buffer.intake.borrow_mut().delivered_through(waiting, now)
        };
        let region = format!("r{}", buffer.region);
        let head = json!({ "format": 2, "buffer_id": buffer_id, "batch_seq": batch_seq, "region": region,
            "tenant": "default", "project": "demo", "environment": "live", "queue": "client",
            "delivered_through_ms": through, "oldest_waiting_ms": waiting, "rests": rests && waiting.is_none() });
        let head = head.to_string();
        let body = format!("{},\"requests\":[{}]}}", head.strip_suffix('}').unwrap(), rows.join(","));
        let plane = planes.any();
        let ingested = buffer.sim.call(buffer.node, plane.node, move || {
            let (plane, body) = (Rc::clone(&plane), body.clone());
            async move { plane.ingest(&body).await }
        });
        let status = buffer.sim.within(DELIVERY_TIMEOUT_MS, ingested).await;
        let status = status.ok_or_else(|| DeliveryError::Platform("no answer in time".to_owned()))?;
        Ok(Receipt { status, reason: String::new() })
    }
}

impl Queue for Way<'_> {
    fn unconfirmed(&self) -> Result<Option<i64>, DeliveryError> {
        if self.buffer.cast.has(Fault::RetryWithNewNumber) {
            return Ok(None);
        }
        let records = self.buffer.disk.records();
        let numbers = records.values().filter_map(|record| match record {
            Record::Pending { batch_seq, .. } => *batch_seq,
            Record::Identity { .. } => None,
        });
        Ok(numbers.min())
    }

    fn oldest(&self) -> Result<Vec<EventRow>, DeliveryError> {
        Ok(self.buffer.rows())
    }

    fn number_batch(&self, end: i64) -> Result<i64, DeliveryError> {
        let (buffer_id, batch_seq) = self.buffer.identity()?;
        let identity = Record::Identity { buffer_id, next_batch_seq: batch_seq + 1 };
        let mut unit = vec![(IDENTITY.to_owned(), Some(identity))];
        for (key, record) in self.buffer.disk.records() {
            let is_in =
                key.strip_prefix("row/").and_then(|id| id.parse::<i64>().ok()).is_some_and(|id| id <= end);
            if let Record::Pending { event_count, received_ms, events, .. } = record
                && is_in
            {
                let batch_seq = Some(batch_seq);
                unit.push((key, Some(Record::Pending { batch_seq, event_count, received_ms, events })));
            }
        }
        self.buffer.disk.write(unit);
        Ok(batch_seq)
    }

    async fn sync(&self) -> Result<(), DeliveryError> {
        if !self.buffer.cast.has(Fault::BatchNumberNotDurable) {
            self.buffer.sync().await;
        }
        Ok(())
    }

    async fn send(&self, batch_seq: i64) -> Result<Receipt, DeliveryError> {
        let rows: Vec<_> = self.buffer.batch(batch_seq).into_iter().map(|(_, events)| events).collect();
        self.buffer.sim.log(self.buffer.node, format_args!("sends batch {batch_seq} of {} rows", rows.len()));
        self.post(batch_seq, &rows, false).await
    }

    fn silence(&self) -> Silence {
        let now = self.buffer.sim.clock(self.buffer.node);
        Silence::Watched { idle_ms: self.buffer.intake.borrow().idle_ms(now) }
    }

    async fn say(&self, rests: bool) -> Result<Receipt, DeliveryError> {
        self.buffer.sim.log(self.buffer.node, format_args!("says how far it is, rests: {rests}"));
        self.post(0, &[], rests).await
    }

    fn forget(&self, batch_seq: i64) -> Result<(), DeliveryError> {
        let rows = self.buffer.batch(batch_seq);
        self.buffer.disk.write(rows.into_iter().map(|(key, _)| (key, None)).collect());
        Ok(())
    }

    fn part(&self, batch_seq: i64, receipt: &Receipt) -> Result<Parted, DeliveryError> {
        panic!("control planes of this world refuse nothing, and batch {batch_seq} got {receipt:?}")
    }

    #[expect(clippy::cast_precision_loss, reason = "a number below 1,000")]
    fn random(&self) -> f64 {
        self.buffer.sim.chance().below(1_000) as f64 / 1_000.0
    }

    fn log_failure(&self, what: fmt::Arguments<'_>) {
        self.buffer.sim.log(self.buffer.node, what);
    }
}

/// How a client makes sure that its events arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Producer {
    /// Sends each request once: what is not acknowledged may be lost.
    Once,
    /// Repeats a request with the same event ids until it is acknowledged.
    Repeating,
}

/// Sends one request's events and tells the oracle what was promised.
pub(crate) async fn produce(cast: Rc<Cast>, buffer: Rc<Buffer>, from: Node, producer: Producer, count: u64) {
    let sim = &cast.sim;
    let prefix = if producer == Producer::Once { "once" } else { "again" };
    let ids: Vec<String> = (0..count).map(|_| format!("{prefix}-{}", sim.serial())).collect();
    let received_ms = sim.clock(from);
    let raw = |id: &String| {
        to_raw_value(&json!({ "id": id, "type": "outcome", "unit": "u", "metric": "conversion",
            "occurred_ms": received_ms }))
        .unwrap()
    };
    let events: Vec<_> = ids.iter().map(raw).collect();
    let head = RequestHead { sent_ms: None, source: SourceMark::Open, network: 7, is_bot: false, sdk: None };
    let request = ClientRequest {
        event_count: u32::try_from(count).unwrap(),
        exposure_count: 0,
        received_ms,
        key: "k",
        network: 7,
        digest: digest(events.iter().map(|event| event.get())),
        json: &head.write(events.iter().map(|event| &**event)),
    };
    let handover = request.write();
    cast.oracle().sent(&ids);
    let attempts = if producer == Producer::Once { 1 } else { STORE_ATTEMPT_COUNT_MAX };
    for _ in 0..attempts {
        let (at, handover) = (Rc::clone(&buffer), handover.clone());
        // A relay that doubled this call would be the transport's fault: below HTTP, TLS refuses what is repeated.
        let has_run = Rc::new(Cell::new(false));
        let stored = sim.call(from, buffer.node, move || {
            let (at, handover, is_repeat) = (Rc::clone(&at), handover.clone(), has_run.replace(true));
            async move { if is_repeat { Stored::Refused } else { at.store(handover).await } }
        });
        if sim.within(STORE_TIMEOUT_MS, stored).await == Some(Stored::Accepted) {
            cast.oracle().promised(&ids);
            return;
        }
    }
}
