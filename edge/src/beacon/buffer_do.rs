//! The event buffer's Durable Object: stores before it acknowledges, delivers until the control plane has committed.
//! Never changes a batch once it has a number, and drops no event silently: what is refused for good is set aside.
#![expect(missing_docs, reason = "the durable_object macro generates undocumented items")]

use std::cell::Cell;
use std::rc::Rc;

use flagfuse_shared::contract::beacon::INGEST_PATH;
use flagfuse_shared::ids::UnixMillis;
use worker::{
    DurableObject, Env, Fetch, Headers, Method, Request, RequestInit, Response, Result, SqlStorage, State,
    durable_object, wasm_bindgen,
};

use crate::beacon::buffer::{
    FLUSH_DELAY_MS, Parting, Row, Verdict, aside_pause_ms, backoff_ms, batch_end, crowded_out, has_room,
    part, verdict,
};
use crate::beacon::rows;
use crate::config::{Config, config, scope_of_object};
use crate::deadline::within;
use crate::{chance, clock};

/// On a request that stores events: how many there are.
pub const COUNT_HEADER: &str = "x-flags-event-count";
/// On a request that stores events: when they arrived at the edge.
pub const RECEIVED_HEADER: &str = "x-flags-received-ms";
/// Time the control plane has to commit one batch.
const DELIVERY_TIMEOUT_MS: u64 = 10_000;
/// Batches one alarm delivers before it gives way to requests that wait.
const BATCH_COUNT_PER_ALARM: u32 = 16;

/// Bytes of a refusal's text that are logged.
const REASON_LEN_MAX: usize = 300;

/// Holds the events that one source reports of one environment in one region until the control plane has them.
#[durable_object]
pub struct Buffer {
    state: State,
    env: Env,
    /// Undelivered bytes; `None` until they were counted once.
    backlog_len: Cell<Option<u64>>,
    /// Deliveries that failed in a row.
    failure_count: Cell<u32>,
    /// Requests whose events were set aside since a batch was committed.
    aside_count: Cell<u32>,
    /// When the alarm that we know to be set will ring; 0 when we know of none.
    alarm_at_ms: Cell<u64>,
}

impl DurableObject for Buffer {
    fn new(state: State, env: Env) -> Self {
        Self {
            state,
            env,
            backlog_len: Cell::new(None),
            failure_count: Cell::new(0),
            aside_count: Cell::new(0),
            alarm_at_ms: Cell::new(0),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        match (request.method(), request.path().as_str()) {
            (Method::Post, "/events") => self.store(&mut request).await,
            (Method::Post, "/nudge") => self.nudge().await,
            _ => Ok(Response::empty()?.with_status(404)),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm_at_ms.set(0);
        // An error would make the platform retry six times and then give up; we never do.
        if let Err(error) = self.deliver_backlog().await {
            let failures = self.failure_count.get().saturating_add(1);
            self.failure_count.set(failures);
            let delay_ms = backoff_ms(failures, chance::unit_interval());
            worker::console_warn!("delivery failed {failures} times, next try in {delay_ms} ms: {error}");
            self.arm(delay_ms).await?;
        }
        Response::empty()
    }
}

impl Buffer {
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

    async fn deliver_backlog(&self) -> Result<()> {
        let config = config(&self.env).map_err(|error| worker::Error::RustError(error.to_string()))?;
        let sql = self.sql()?;
        for _ in 0..BATCH_COUNT_PER_ALARM {
            let Some(batch_seq) = next_batch(&sql)? else {
                return Ok(());
            };
            // The number must be on disk before anyone else sees it, or a crash could give it to other events.
            self.state.storage().sync().await?;
            let has_set_aside = self.deliver(&sql, &config, batch_seq).await?;
            self.failure_count.set(0);
            if has_set_aside {
                return self.arm(aside_pause_ms(self.aside_count.get(), chance::unit_interval())).await;
            }
        }
        self.arm(0).await
    }

    /// Sends one batch and forgets its rows once the control plane has committed it. Says whether something was set aside.
    async fn deliver(&self, sql: &SqlStorage, config: &Rc<Config>, batch_seq: i64) -> Result<bool> {
        let name = self.state.id().name().unwrap_or_default();
        let scope = scope_of_object(&name).map_err(|error| worker::Error::RustError(error.to_string()))?;
        let body = rows::batch_body(sql, batch_seq, &name, &scope)?;
        let headers = Headers::new();
        headers.set("content-type", "application/json")?;
        headers.set("authorization", &format!("Bearer {}", config.ingest_token))?;
        let mut init = RequestInit::new();
        init.with_method(Method::Post).with_headers(headers).with_body(Some(body.into()));
        let url = format!("{}{INGEST_PATH}", config.control_plane_url);
        let fetch = Fetch::Request(Request::new_with_init(&url, &init)?);
        let mut response = within(DELIVERY_TIMEOUT_MS, fetch.send())
            .await
            .map_err(|error| worker::Error::RustError(error.to_string()))??;
        let status = response.status_code();
        match verdict(status) {
            Verdict::Committed => {
                let freed = rows::forget(sql, batch_seq)?;
                self.aside_count.set(0);
                self.free(freed);
                Ok(false)
            }
            Verdict::Refused => {
                let reason = within(DELIVERY_TIMEOUT_MS, response.text()).await;
                let reason = reason.ok().and_then(Result::ok).unwrap_or_default();
                let reason: String = reason.chars().take(REASON_LEN_MAX).collect();
                self.part(sql, batch_seq, status, &format!("{name}, batch {batch_seq}: {status} {reason}"))
            }
            Verdict::Again => {
                Err(worker::Error::RustError(format!("batch {batch_seq}: control plane answered {status}")))
            }
        }
    }

    /// Halves a refused batch, or sets it aside when it is one request's. Says whether it did that.
    fn part(&self, sql: &SqlStorage, batch_seq: i64, status: u16, what: &str) -> Result<bool> {
        let refused = rows::of_batch(sql, batch_seq)?;
        if let Parting::Halves { first_end } = part(&refused) {
            worker::console_warn!("refused, so its {} requests are sent in halves: {what}", refused.len());
            rows::halve_batch(sql, batch_seq, first_end)?;
            return Ok(false);
        }
        let event_count: u64 = refused.iter().map(|row| row.event_count).sum();
        let (freed, aside) = rows::set_aside(sql, batch_seq, status)?;
        self.aside_count.set(self.aside_count.get().saturating_add(1));
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
            rows::forget_aside(sql, end)?;
        }
        Ok(true)
    }

    fn free(&self, len: u64) {
        self.backlog_len.set(self.backlog_len.get().map(|backlog_len| backlog_len.saturating_sub(len)));
    }
}

/// The batch to send: the one that was sent before and not confirmed, else a new one from the oldest rows.
fn next_batch(sql: &SqlStorage) -> Result<Option<i64>> {
    if let Some(batch_seq) = rows::unconfirmed(sql)? {
        return Ok(Some(batch_seq));
    }
    let oldest: Vec<Row> = rows::oldest(sql)?;
    match batch_end(oldest) {
        Some(end) => rows::number_batch(sql, end).map(Some),
        None => Ok(None),
    }
}
