//! Events on their way: producers, the buffer of a region with its disk, and the delivery of numbered batches.
//! The bounds and pauses are the production buffer's; this shell follows `edge/src/beacon/buffer_do.rs` step by step.

use std::cell::Cell;
use std::rc::Rc;

use flagfuse_edge::beacon::buffer::{FLUSH_DELAY_MS, Row, backoff_ms, batch_end, has_room};
use flagfuse_shared::contract::beacon::IngestBatch;
use serde_json::json;

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
    Identity { buffer_id: String, next_batch_seq: u64 },
    Pending { batch_seq: Option<u64>, event_count: u64, events: String },
}

impl Tear for Record {
    fn torn(&self) -> Self {
        match self {
            Self::Identity { buffer_id, .. } => {
                Self::Identity { buffer_id: buffer_id.clone(), next_batch_seq: 0 }
            }
            Self::Pending { batch_seq, event_count, events } => {
                let events = events[..events.len() / 2].to_owned();
                Self::Pending { batch_seq: *batch_seq, event_count: *event_count, events }
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
}

/// What a client hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    Accepted,
    Backlog,
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
        })
    }

    /// Begins to live, or to live again: the first time ever draws its identity.
    pub(crate) fn wake(self: &Rc<Self>, planes: &Rc<Planes>) {
        self.sim.start(self.node);
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

    async fn store(&self, events: String, event_count: u64) -> Stored {
        let backlog_len: u64 = self.rows().iter().map(|row| row.len).sum();
        if !has_room(backlog_len, events.len() as u64) {
            return Stored::Backlog;
        }
        let row = self.next_row.replace(self.next_row.get() + 1);
        let record = Record::Pending { batch_seq: None, event_count, events };
        self.disk.write(vec![(format!("row/{row:010}"), Some(record))]);
        if !self.cast.has(Fault::EventAckedBeforeDurable) {
            // The platform holds the answer back until the write is durable.
            self.sync().await;
        }
        Stored::Accepted
    }

    fn rows(&self) -> Vec<Row> {
        let records = self.disk.records();
        let rows = records.iter().filter_map(|(key, record)| match record {
            Record::Identity { .. } => None,
            Record::Pending { event_count, events, .. } => Some(Row {
                row_id: key.strip_prefix("row/")?.parse().ok()?,
                event_count: *event_count,
                len: events.len() as u64,
            }),
        });
        rows.collect()
    }

    async fn deliver_for_ever(self: Rc<Self>, planes: &Planes) {
        let mut failure_count = 0;
        loop {
            let pause_ms = match failure_count {
                0 => FLUSH_DELAY_MS,
                #[expect(clippy::cast_precision_loss, reason = "a number below 1,000")]
                count => backoff_ms(count, self.sim.chance().below(1_000) as f64 / 1_000.0),
            };
            self.sim.sleep(pause_ms).await;
            while let Some(batch_seq) = self.next_batch() {
                if !self.cast.has(Fault::BatchNumberNotDurable) {
                    // The number must be on disk before anyone else sees it, or a crash could give it to other events.
                    self.sync().await;
                }
                if self.deliver(planes, batch_seq).await {
                    failure_count = 0;
                } else {
                    failure_count += 1;
                    break;
                }
            }
        }
    }

    /// The batch to send: the one that was sent before and not confirmed, else a new one from the oldest rows.
    fn next_batch(&self) -> Option<u64> {
        let records = self.disk.records();
        let numbered = records.values().filter_map(|record| match record {
            Record::Pending { batch_seq, .. } => *batch_seq,
            Record::Identity { .. } => None,
        });
        let unconfirmed = numbered.min();
        if unconfirmed.is_some() && !self.cast.has(Fault::RetryWithNewNumber) {
            return unconfirmed;
        }
        let end = batch_end(self.rows())?;
        let Some(Record::Identity { buffer_id, next_batch_seq }) = records.get(IDENTITY).cloned() else {
            return None;
        };
        let identity = Record::Identity { buffer_id, next_batch_seq: next_batch_seq + 1 };
        let mut unit = vec![(IDENTITY.to_owned(), Some(identity))];
        for (key, record) in &records {
            let is_in =
                key.strip_prefix("row/").and_then(|id| id.parse::<i64>().ok()).is_some_and(|id| id <= end);
            if let Record::Pending { event_count, events, .. } = record
                && is_in
            {
                let (batch_seq, event_count, events) = (Some(next_batch_seq), *event_count, events.clone());
                unit.push((key.clone(), Some(Record::Pending { batch_seq, event_count, events })));
            }
        }
        self.disk.write(unit);
        Some(next_batch_seq)
    }

    /// Sends one batch and forgets its rows once the control plane has committed it.
    async fn deliver(&self, planes: &Planes, wanted: u64) -> bool {
        let records = self.disk.records();
        let Some(Record::Identity { buffer_id, .. }) = records.get(IDENTITY) else { return false };
        let in_batch = |record: &Record| matches!(record, Record::Pending { batch_seq, .. } if *batch_seq == Some(wanted));
        let keys: Vec<_> =
            records.iter().filter(|(_, record)| in_batch(record)).map(|(key, _)| key.clone()).collect();
        let rows = keys.iter().filter_map(|key| match records.get(key) {
            Some(Record::Pending { events, .. }) => Some(events.as_str()),
            _ => None,
        });
        let head = json!({ "buffer_id": buffer_id, "batch_seq": wanted, "region": format!("r{}", self.region),
            "tenant": "default", "project": "demo", "environment": "live" });
        let head = head.to_string();
        let events = rows.collect::<Vec<_>>().join(",");
        let body = format!("{},\"events\":[{events}]}}", head.strip_suffix('}').unwrap());
        self.sim.log(self.node, format_args!("sends batch {wanted} of {} rows", keys.len()));
        let plane = planes.any();
        let ingested = self.sim.call(self.node, plane.node, move || {
            let (plane, body) = (Rc::clone(&plane), body.clone());
            async move { plane.ingest(&body).await }
        });
        let is_committed = self.sim.within(DELIVERY_TIMEOUT_MS, ingested).await.unwrap_or(false);
        if is_committed {
            self.disk.write(keys.into_iter().map(|key| (key, None)).collect());
        }
        is_committed
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
        json!({ "received_ms": received_ms, "raw": { "id": id, "type": "outcome",
        "unit": "u", "metric": "conversion", "occurred_ms": received_ms } })
    };
    let events = ids.iter().map(|id| raw(id).to_string()).collect::<Vec<_>>().join(",");
    cast.oracle().sent(&ids);
    let attempts = if producer == Producer::Once { 1 } else { STORE_ATTEMPT_COUNT_MAX };
    for _ in 0..attempts {
        let (at, events) = (Rc::clone(&buffer), events.clone());
        // A relay that doubled this call would be the transport's fault: below HTTP, TLS refuses what is repeated.
        let has_run = Rc::new(Cell::new(false));
        let stored = sim.call(from, buffer.node, move || {
            let (at, events, is_repeat) = (Rc::clone(&at), events.clone(), has_run.replace(true));
            async move { if is_repeat { Stored::Backlog } else { at.store(events, count).await } }
        });
        if sim.within(STORE_TIMEOUT_MS, stored).await == Some(Stored::Accepted) {
            cast.oracle().promised(&ids);
            return;
        }
    }
}

/// The batch of a body, as the control plane reads it.
pub(crate) fn read_batch(body: &str) -> IngestBatch {
    IngestBatch::parse(body.as_bytes()).unwrap()
}
