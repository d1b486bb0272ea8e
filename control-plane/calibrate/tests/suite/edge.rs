//! An edge in this process: its evaluation, its tickets, its judgement of events, its buffers and their deliveries are those of the
//! worker; only the platform's objects and their SQL are a list in memory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use flagfuse_cells::Arm;
use flagfuse_edge::beacon::batch::{Body as Batch, Word};
use flagfuse_edge::beacon::buffer::{EventRow, buffer_name};
use flagfuse_edge::beacon::delivery::{Delivery, DeliveryError, Parted, Queue, Receipt, Silence};
use flagfuse_edge::beacon::exposure::is_first;
use flagfuse_edge::beacon::handover::{Handover, write_exposure};
use flagfuse_edge::beacon::intake::{Intake, Taken};
use flagfuse_edge::config::Config;
use flagfuse_edge::http::asker::asker;
use flagfuse_edge::http::evaluation;
use flagfuse_edge::http::events::{self, Incoming};
use flagfuse_edge::http::gate::Claim;
use flagfuse_edge::http::ofrep::Answered;
use flagfuse_edge::http::reply::RequestedBy;
use flagfuse_edge::http::request::{RequestHead, RequestHeaders};
use flagfuse_edge::http::route::Verb;
use flagfuse_edge::snapshot::cache::SnapshotState;
use flagfuse_edge::snapshot::compiled::CompiledSnapshot;
use flagfuse_edge::snapshot::served::{Served, Source};
use flagfuse_shared::contract::beacon::{EventSource, FORMAT};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::snapshot::{Outcome, verify};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// How an answer of the control plane travels: a batch, and what came of it.
async fn post(router: &Router, token: &str, path: &str, body: String) -> (u16, String) {
    let request = Request::post(path).header("authorization", format!("Bearer {token}"));
    let response = router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 64 << 20).await.unwrap();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

/// The rows of a buffer, as its object keeps them.
struct Kept {
    row_id: i64,
    batch_seq: Option<i64>,
    event_count: u64,
    received_ms: UnixMillis,
    requests: String,
}

/// The buffer of one source.
struct Buffer {
    name: String,
    /// Nobody else's: by it and a number a control plane knows a batch again.
    id: String,
    scope: Scope,
    router: Router,
    token: String,
    intake: RefCell<Intake>,
    /// When what gathers is to be written.
    due_ms: Cell<Option<u64>>,
    rows: RefCell<Vec<Kept>>,
    /// The next row, and the next batch.
    next: Cell<(i64, i64)>,
    now_ms: Cell<u64>,
    delivery: Delivery,
    /// Batches with events that were delivered.
    batches: Cell<u64>,
}

impl Buffer {
    fn new(source: EventSource, scope: &Scope, (router, token): (&Router, &str), now: UnixMillis) -> Self {
        Self {
            name: buffer_name("local", scope, source),
            id: format!("{}{}", source.as_str(), now.0),
            scope: scope.clone(),
            router: router.clone(),
            token: token.to_owned(),
            intake: RefCell::new(Intake::woken(now)),
            due_ms: Cell::new(None),
            rows: RefCell::default(),
            next: Cell::new((1, 1)),
            now_ms: Cell::new(now.0),
            delivery: Delivery::default(),
            batches: Cell::new(0),
        }
    }

    fn now(&self) -> UnixMillis {
        UnixMillis(self.now_ms.get())
    }

    fn store(&self, handover: &str, now: UnixMillis) {
        self.now_ms.set(now.0);
        if self.due_ms.get().is_some_and(|due_ms| due_ms <= now.0) || self.intake.borrow().is_full() {
            self.write();
        }
        let handover = Handover::parse(handover).expect("isolates write handovers");
        if let Taken::Waits(_, wait_ms) = self.intake.borrow_mut().take(&handover, None, now) {
            self.due_ms.set(Some(now.0 + wait_ms));
        }
    }

    /// Writes what gathers as one row.
    fn write(&self) {
        self.due_ms.set(None);
        let Some((row, group)) = self.intake.borrow_mut().close(self.now()) else { return };
        let (row_id, batch) = self.next.get();
        self.next.set((row_id + 1, batch));
        let (event_count, received_ms) = (u64::from(row.event_count), row.received_ms);
        let requests = row.requests.clone();
        self.rows.borrow_mut().push(Kept { row_id, batch_seq: None, event_count, received_ms, requests });
        group.is_written.set(Some(true));
        self.intake.borrow_mut().written(&row);
    }

    /// Delivers everything, or says how far it is.
    async fn deliver(&self, now: UnixMillis) {
        self.now_ms.set(now.0);
        self.write();
        while self.delivery.take_turn(self).await == Some(0) {}
        assert!(self.rows.borrow().is_empty(), "everything is delivered");
    }

    async fn post(&self, batch_seq: i64, rests: bool) -> Result<Receipt, DeliveryError> {
        self.write();
        let body = {
            let rows = self.rows.borrow();
            let waiting = rows.iter().filter(|row| row.batch_seq != Some(batch_seq));
            let waiting = waiting.map(|row| row.received_ms).min();
            let word = Word {
                batch_seq,
                oldest_waiting_ms: waiting.map(|at| i64::try_from(at.0).unwrap()),
                delivered_through_ms: self.intake.borrow_mut().delivered_through(waiting, self.now()),
                rests: rests && waiting.is_none(),
                has_tickets: true,
            };
            let mut body = Batch::begin(word, FORMAT, (&self.name, &self.id), &self.scope);
            for row in rows.iter().filter(|row| batch_seq > 0 && row.batch_seq == Some(batch_seq)) {
                body.add(&row.requests);
            }
            body.end()
        };
        let (status, answer) = post(&self.router, &self.token, "/v1/ingest", body).await;
        assert!((200..300).contains(&status), "{status} {answer}");
        let said: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(said["quarantined"].as_u64().unwrap_or(0), 0, "{answer}");
        Ok(Receipt { status, reason: answer })
    }
}

impl Queue for Buffer {
    fn unconfirmed(&self) -> Result<Option<i64>, DeliveryError> {
        Ok(self.rows.borrow().iter().filter_map(|row| row.batch_seq).min())
    }

    fn oldest(&self) -> Result<Vec<EventRow>, DeliveryError> {
        let row = |kept: &Kept| EventRow {
            row_id: kept.row_id,
            event_count: kept.event_count,
            len: kept.requests.len() as u64,
        };
        Ok(self.rows.borrow().iter().map(row).collect())
    }

    fn number_batch(&self, end: i64) -> Result<i64, DeliveryError> {
        let (row, number) = self.next.get();
        self.next.set((row, number + 1));
        for kept in self.rows.borrow_mut().iter_mut().filter(|kept| kept.row_id <= end) {
            kept.batch_seq = Some(number);
        }
        Ok(number)
    }

    async fn sync(&self) -> Result<(), DeliveryError> {
        Ok(())
    }

    async fn send(&self, batch_seq: i64) -> Result<Receipt, DeliveryError> {
        self.batches.set(self.batches.get() + 1);
        self.post(batch_seq, false).await
    }

    fn silence(&self) -> Silence {
        Silence::Watched { idle_ms: self.intake.borrow().idle_ms(self.now()) }
    }

    async fn say(&self, rests: bool) -> Result<Receipt, DeliveryError> {
        self.post(0, rests).await
    }

    fn forget(&self, batch_seq: i64) -> Result<(), DeliveryError> {
        self.rows.borrow_mut().retain(|row| row.batch_seq != Some(batch_seq));
        Ok(())
    }

    fn part(&self, batch_seq: i64, receipt: &Receipt) -> Result<Parted, DeliveryError> {
        panic!("batch {batch_seq} was refused: {receipt:?}")
    }

    fn random(&self) -> f64 {
        0.5
    }

    fn log_failure(&self, what: fmt::Arguments<'_>) {
        panic!("{what}")
    }
}

/// A unit that has asked, and the ticket it got.
#[derive(Debug, Clone)]
struct Asked {
    ticket: Option<String>,
    /// What the client says of its exposure, where the edge does not record it itself.
    body: Option<String>,
}

/// An edge that serves one flag.
pub(super) struct Edge {
    config: Config,
    scope: Scope,
    client_key: String,
    served: Served,
    client: Buffer,
    recorded: Buffer,
    asked: BTreeMap<String, Asked>,
}

/// Where a control plane is, and what its edges are told.
pub(super) struct Deployment<'d> {
    pub(super) router: &'d Router,
    pub(super) ingest_token: &'d str,
    pub(super) root_keys: &'d [String],
    pub(super) client_key: &'d str,
    pub(super) frame: &'d [u8],
}

impl Edge {
    pub(super) fn new(scope: &Scope, deployment: &Deployment<'_>, now: UnixMillis) -> Self {
        let Deployment { router, ingest_token, root_keys, client_key, frame } = deployment;
        let roots = root_keys.join(",");
        let config = Config::parse(|name| match name {
            "FLAGFUSE_REGION" => Some("local".to_owned()),
            "FLAGFUSE_ROOT_KEYS" => Some(roots.clone()),
            "FLAGFUSE_INGEST_TOKEN" => Some((*ingest_token).to_owned()),
            "FLAGFUSE_TICKET_SECRETS" => Some("a:AAAAAAAAAAAAAAAAAAAAAAAA".to_owned()),
            _ => None,
        });
        let config = config.unwrap();
        let Outcome::Newer(admitted) =
            verify(frame, config.roots.as_ref().unwrap(), scope, None, now).unwrap()
        else {
            panic!("nothing was held before")
        };
        let version = admitted.held.version;
        let served = Served {
            compiled: Rc::new(CompiledSnapshot::new(*admitted)),
            version,
            source: Source::Memory,
            state: SnapshotState::Fresh,
            age_ms: 0,
            beat_age_ms: Some(0),
        };
        let buffer = |source| Buffer::new(source, scope, (router, ingest_token), now);
        Self {
            client: buffer(EventSource::Client),
            recorded: buffer(EventSource::Edge),
            config,
            scope: scope.clone(),
            client_key: (*client_key).to_owned(),
            served,
            asked: BTreeMap::new(),
        }
    }

    fn head(&self, target: &str) -> RequestHead {
        let headers = RequestHeaders {
            authorization: Some(format!("Bearer {}", self.client_key)),
            api_key: None,
            none_match: None,
            version_min: None,
            address: Some("192.0.2.7".to_owned()),
            requested_by: RequestedBy::Page,
        };
        RequestHead::new(Verb::Post, target, headers)
    }

    fn claim(&self, head: &RequestHead) -> Claim {
        let claim = Claim::of(head, &self.scope.tenant, |text| Digest::of(text.as_bytes())).unwrap();
        assert_eq!(claim.scope, self.scope);
        assert!(claim.shown.is_admitted(&self.served.compiled.snapshot));
        claim
    }

    /// A unit asks for the flag. Every other one asks for all flags, uses this one, and says so itself.
    pub(super) fn ask(&mut self, unit: &str, (is_bulk, arm): (bool, Arm), now: UnixMillis) {
        if let Some(body) = self.asked.get(unit).and_then(|asked| asked.body.clone()) {
            // Sent once more, byte for byte.
            self.post(&body, now);
            return;
        }
        let head =
            self.head(if is_bulk { "/ofrep/v1/evaluate/flags" } else { "/ofrep/v1/evaluate/flags/checkout" });
        let claim = self.claim(&head);
        let body = json!({ "context": { "targetingKey": unit } }).to_string();
        let Answered { reply, exposure, .. } =
            evaluation::answer(&self.config, &claim, &self.served, &head, body.as_bytes(), now).unwrap();
        let answer: Value = serde_json::from_str(&reply.body).unwrap();
        let flag = if is_bulk { &answer["flags"][0] } else { &answer };
        let (word, variant) = if arm == Arm::Exposed { ("exposed", "on") } else { ("control", "off") };
        assert_eq!((&flag["metadata"]["arm"], &flag["variant"]), (&json!(word), &json!(variant)), "{answer}");
        let ticket = answer["metadata"]["ticket"].as_str().map(str::to_owned);
        assert!(ticket.is_some(), "{answer}");
        let mut asked = Asked { ticket, body: None };
        if let Some(exposure) = exposure {
            if is_first(&exposure, &self.scope) {
                let by = asker(&self.config, claim.shown.key_id(), Some("192.0.2.7"), Some("Mozilla/5.0"));
                self.recorded.store(&write_exposure(&exposure, &by, now), now);
            }
        } else {
            let event = json!({
                "id": format!("exposure-{unit}"), "type": "exposure", "unit": unit, "flag": "checkout", "occurred_ms": now,
                "variation": flag["variant"], "phase": flag["metadata"]["phase"], "version": flag["metadata"]["version"],
            });
            let body = json!({ "ticket": asked.ticket, "events": [event] }).to_string();
            self.post(&body, now);
            asked.body = Some(body);
        }
        self.asked.insert(unit.to_owned(), asked);
    }

    /// A unit asks for the flag, and may be in either arm or in none.
    pub(super) fn ask_for_either(&mut self, unit: &str, now: UnixMillis) {
        let head = self.head("/ofrep/v1/evaluate/flags/checkout");
        let claim = self.claim(&head);
        let body = json!({ "context": { "targetingKey": unit } }).to_string();
        let Answered { exposure, .. } =
            evaluation::answer(&self.config, &claim, &self.served, &head, body.as_bytes(), now).unwrap();
        if let Some(exposure) = exposure {
            let by = asker(&self.config, claim.shown.key_id(), Some("192.0.2.7"), Some("Mozilla/5.0"));
            self.recorded.store(&write_exposure(&exposure, &by, now), now);
        }
    }

    /// A unit did something, and its client says so.
    pub(super) fn hear(&self, unit: &str, mut event: Value, now: UnixMillis) {
        event["type"] = json!("outcome");
        event["unit"] = json!(unit);
        let ticket = self.asked.get(unit).and_then(|asked| asked.ticket.as_ref());
        self.post(&json!({ "ticket": ticket, "events": [event] }).to_string(), now);
    }

    fn post(&self, body: &str, now: UnixMillis) {
        let claim = self.claim(&self.head("/v1/events"));
        let by = asker(&self.config, claim.shown.key_id(), Some("192.0.2.7"), Some("Mozilla/5.0"));
        let incoming =
            Incoming { config: &self.config, scope: &self.scope, served: &self.served, asker: &by };
        let taken = events::take(body.as_bytes(), incoming, now).unwrap();
        assert_eq!(taken.reply.status, 202, "{}", taken.reply.body);
        assert!(!taken.reply.body.contains("unticketed"), "{}", taken.reply.body);
        for handover in &taken.handovers {
            self.client.store(handover, now);
        }
    }

    /// Delivers what waits in both buffers.
    pub(super) async fn deliver(&self, now: UnixMillis) {
        self.recorded.deliver(now).await;
        self.client.deliver(now).await;
    }

    /// Batches of events that were delivered: clients', the edge's own.
    pub(super) fn batches(&self) -> (u64, u64) {
        (self.client.batches.get(), self.recorded.batches.get())
    }
}
