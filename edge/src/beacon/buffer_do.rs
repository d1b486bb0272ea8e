//! The event buffer's Durable Object: stores before it acknowledges, delivers until the control plane has committed.
//! Never changes a batch once it has a number, and drops no event silently: what is refused for good is set aside.
#![expect(missing_docs, reason = "the durable_object macro generates undocumented items")]

use std::cell::Cell;
use std::fmt;

use flagfuse_shared::contract::beacon::INGEST_PATH;
use flagfuse_shared::ids::UnixMillis;
use worker::{
    DurableObject, Env, Fetch, Headers, Method, Request, RequestInit, Response, Result, SqlStorage, State,
    durable_object, wasm_bindgen,
};

use crate::beacon::buffer::{
    EventRow, FLUSH_DELAY_MS, Parting, Verdict, crowded_out, has_room, part, verdict,
};
use crate::beacon::delivery::{Delivery, DeliveryError, Parted, Queue, Receipt};
use crate::beacon::rows;
use crate::config::{config, scope_of_object};
use crate::deadline::within;
use crate::{clock, random};

/// Path on which the edge hands over events.
pub const STORE_PATH: &str = "/events";
/// Path on which a replica asks for what waits to be delivered.
pub const NUDGE_PATH: &str = "/nudge";
/// On a request that stores events: how many there are.
pub const COUNT_HEADER: &str = "x-flags-event-count";
/// On a request that stores events: when they arrived at the edge.
pub const RECEIVED_HEADER: &str = "x-flags-received-ms";
/// Time the control plane has to commit one batch.
const DELIVERY_TIMEOUT_MS: u64 = 10_000;
/// Bytes of a refusal's text that are logged.
const REASON_LEN_MAX: usize = 300;

/// Holds the events that one source reports of one environment in one region until the control plane has them.
#[durable_object]
pub struct Buffer {
    state: State,
    env: Env,
    /// Undelivered bytes; `None` until they were counted once.
    backlog_len: Cell<Option<u64>>,
    delivery: Delivery,
    /// When the alarm that we know to be set will ring; 0 when we know of none.
    alarm_at_ms: Cell<u64>,
}

impl DurableObject for Buffer {
    fn new(state: State, env: Env) -> Self {
        Self {
            state,
            env,
            backlog_len: Cell::new(None),
            delivery: Delivery::default(),
            alarm_at_ms: Cell::new(0),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        match (request.method(), request.path().as_str()) {
            (Method::Post, STORE_PATH) => self.store(&mut request).await,
            (Method::Post, NUDGE_PATH) => self.nudge().await,
            _ => Ok(Response::empty()?.with_status(404)),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm_at_ms.set(0);
        // An error would make the platform retry six times and then give up; we never do.
        if let Some(pause_ms) = self.delivery.take_turn(self).await {
            self.arm(pause_ms).await?;
        }
        Response::empty()
    }
}

impl Buffer {
    fn name(&self) -> String {
        self.state.id().name().unwrap_or_default()
    }

    fn sql(&self) -> Result<SqlStorage> {
        let sql = self.state.storage().sql();
        if self.backlog_len.get().is_none() {
            rows::create_tables(&sql)?;
            self.backlog_len.set(Some(rows::backlog_len(&sql)?));
        }
        Ok(sql)
    }

    /// Stores one request's events. The platform holds the answer back until the row is on disk.
    async fn store(&self, request: &mut Request) -> Result<Response> {
        let (Some(event_count), Some(received_ms)) = (
            request.headers().get(COUNT_HEADER)?.and_then(|text| text.parse::<u32>().ok()),
            request.headers().get(RECEIVED_HEADER)?.and_then(|text| text.parse().ok()).map(UnixMillis),
        ) else {
            return Ok(Response::empty()?.with_status(400));
        };
        let events = request.text().await?;
        let sql = self.sql()?;
        let (backlog_len, len) = (self.backlog_len.get().unwrap_or(0), events.len() as u64);
        if !has_room(backlog_len, len) {
            return Ok(Response::empty()?.with_status(429));
        }
        rows::insert(&sql, event_count, received_ms, events)?;
        self.backlog_len.set(Some(backlog_len + len));
        if self.alarm_at_ms.get() == 0 {
            self.arm(FLUSH_DELAY_MS).await?;
        }
        Ok(Response::empty()?.with_status(202))
    }

    /// Delivers soon if anything waits, whatever became of the alarm that should have.
    async fn nudge(&self) -> Result<Response> {
        self.sql()?;
        if self.backlog_len.get().unwrap_or(0) > 0 {
            self.arm(0).await?;
        }
        Ok(Response::empty()?.with_status(204))
    }

    async fn arm(&self, delay_ms: u64) -> Result<()> {
        let at = clock::now().plus(delay_ms);
        self.alarm_at_ms.set(at.0);
        self.state.storage().set_alarm(i64::try_from(delay_ms).unwrap_or(0)).await
    }

    fn free(&self, len: u64) {
        self.backlog_len.set(self.backlog_len.get().map(|backlog_len| backlog_len.saturating_sub(len)));
    }
}

impl Queue for Buffer {
    fn unconfirmed(&self) -> Result<Option<i64>, DeliveryError> {
        Ok(rows::unconfirmed(&self.sql()?)?)
    }

    fn oldest(&self) -> Result<Vec<EventRow>, DeliveryError> {
        Ok(rows::oldest(&self.sql()?)?)
    }

    fn number_batch(&self, end: i64) -> Result<i64, DeliveryError> {
        Ok(rows::number_batch(&self.sql()?, end)?)
    }

    async fn sync(&self) -> Result<(), DeliveryError> {
        Ok(self.state.storage().sync().await?)
    }

    async fn send(&self, batch_seq: i64) -> Result<Receipt, DeliveryError> {
        let config = config(&self.env).map_err(platform)?;
        let name = self.name();
        let scope = scope_of_object(&name).map_err(platform)?;
        let body = rows::batch_body(&self.sql()?, batch_seq, &name, &scope)?;
        let headers = Headers::new();
        headers.set("content-type", "application/json")?;
        headers.set("authorization", &format!("Bearer {}", config.ingest_token))?;
        let mut init = RequestInit::new();
        init.with_method(Method::Post).with_headers(headers).with_body(Some(body.into()));
        let url = format!("{}{INGEST_PATH}", config.control_plane_url);
        let fetch = Fetch::Request(Request::new_with_init(&url, &init)?);
        let mut response = within(DELIVERY_TIMEOUT_MS, fetch.send()).await.map_err(platform)??;
        let status = response.status_code();
        let mut reason = String::new();
        if verdict(status) == Verdict::Refused {
            let text = within(DELIVERY_TIMEOUT_MS, response.text()).await.ok().and_then(Result::ok);
            reason = text.unwrap_or_default().chars().take(REASON_LEN_MAX).collect();
        }
        Ok(Receipt { status, reason })
    }

    fn forget(&self, batch_seq: i64) -> Result<(), DeliveryError> {
        self.free(rows::forget(&self.sql()?, batch_seq)?);
        Ok(())
    }

    fn part(&self, batch_seq: i64, receipt: &Receipt) -> Result<Parted, DeliveryError> {
        let Receipt { status, reason } = receipt;
        let what = format!("{}, batch {batch_seq}: {status} {reason}", self.name());
        let sql = self.sql()?;
        let refused = rows::of_batch(&sql, batch_seq)?;
        if let Parting::Halves { first_end } = part(&refused) {
            worker::console_warn!("refused, so its {} requests are sent in halves: {what}", refused.len());
            rows::halve_batch(&sql, batch_seq, first_end)?;
            return Ok(Parted::Halved);
        }
        let event_count: u64 = refused.iter().map(|row| row.event_count).sum();
        let (freed, aside) = rows::set_aside(&sql, batch_seq, *status)?;
        self.free(freed);
        worker::console_error!(
            "{event_count} events of one request are refused for good and set aside, with {} requests before them: {what}",
            aside.len().saturating_sub(1)
        );
        if let Some(end) = crowded_out(&aside) {
            let lost = aside.iter().filter(|row| row.row_id <= end);
            let (requests, events) =
                lost.fold((0, 0), |(requests, events), row| (requests + 1, events + row.event_count));
            worker::console_error!(
                "{requests} requests with {events} events had been set aside and are dropped: no room"
            );
            rows::forget_aside(&sql, end)?;
        }
        Ok(Parted::SetAside)
    }

    fn random(&self) -> f64 {
        random::unit_interval()
    }

    fn log_failure(&self, what: fmt::Arguments<'_>) {
        worker::console_warn!("{what}");
    }
}

impl From<worker::Error> for DeliveryError {
    fn from(error: worker::Error) -> Self {
        platform(error)
    }
}

fn platform(error: impl fmt::Display) -> DeliveryError {
    DeliveryError::Platform(error.to_string())
}
