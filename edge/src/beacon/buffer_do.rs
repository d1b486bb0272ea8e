//! The event buffer's Durable Object: stores before it acknowledges, delivers until the control plane has committed.
//! Never changes a batch once it has a number, and drops no event silently: what is refused for good is set aside.
#![expect(missing_docs, reason = "the durable_object macro generates undocumented items")]

use std::cell::{Cell, RefCell};
use std::fmt;

use flagfuse_shared::contract::beacon::answer::{BufferSettings, PlaneWord};
use flagfuse_shared::contract::beacon::erased::{ErasedUnits, erased_path};
use flagfuse_shared::contract::beacon::{FORMAT, INGEST_PATH};
use flagfuse_shared::ids::UnixMillis;
use worker::{
    DurableObject, Env, Fetch, Headers, Method, Request, RequestInit, Response, Result, SqlStorage, State,
    durable_object, wasm_bindgen,
};

use crate::beacon::batch::Word;
use crate::beacon::buffer::{
    EventRow, FLUSH_DELAY_MS, Next, Parting, Verdict, after_answer, crowded_out, has_room, is_erasure_due,
    next_erasure_look, part, verdict,
};
use crate::beacon::delivery::{Delivery, DeliveryError, Parted, Queue, Receipt, Silence};
use crate::beacon::handover::Handover;
use crate::beacon::intake::{Intake, Taken};
use crate::beacon::rows;
use crate::config::{config, scope_of_object};
use crate::deadline::{pause, within};
use crate::{clock, random};

/// Path on which the edge hands over events.
pub const STORE_PATH: &str = "/events";
/// Path on which a replica asks for what waits to be delivered.
pub const NUDGE_PATH: &str = "/nudge";
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
    intake: RefCell<Intake>,
    /// When the list of erased units is read next.
    next_look_ms: Cell<u64>,
    /// The format for batches, and how to go on; `None` until it was read from disk.
    told: Cell<Option<(u32, BufferSettings)>>,
}

impl DurableObject for Buffer {
    fn new(state: State, env: Env) -> Self {
        Self {
            state,
            env,
            backlog_len: Cell::new(None),
            delivery: Delivery::default(),
            alarm_at_ms: Cell::new(0),
            intake: RefCell::new(Intake::woken(clock::now())),
            next_look_ms: Cell::new(0),
            told: Cell::new(None),
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
        self.forget_erased().await;
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

    /// Takes what an isolate hands over. The platform holds the answer back until its row is on disk.
    async fn store(&self, request: &mut Request) -> Result<Response> {
        let text = request.text().await?;
        let Some(handover) = Handover::parse(&text) else {
            return Ok(Response::empty()?.with_status(400));
        };
        self.sql()?;
        let waiting_len = self.intake.borrow().waiting_len();
        let backlog_len = self.backlog_len.get().unwrap_or(0).saturating_add(waiting_len);
        if !has_room(backlog_len, text.len() as u64) {
            return Ok(Response::empty()?.with_status(429));
        }
        if self.intake.borrow().is_full() {
            self.write()?;
        }
        let limit = self.settings()?.enrolments_per_minute;
        let taken = self.intake.borrow_mut().take(&handover, limit, clock::now());
        let status = match taken {
            Taken::Known => 202,
            Taken::Waits(group, wait_ms) => {
                if wait_ms > 0 {
                    pause(wait_ms).await;
                }
                if self.intake.borrow().is_open(&group) {
                    self.write()?;
                }
                if group.is_written.get() == Some(true) { 202 } else { 503 }
            }
        };
        let is_due_later =
            self.delivery.waits_to_say() && self.alarm_at_ms.get() > clock::now().plus(FLUSH_DELAY_MS).0;
        if self.alarm_at_ms.get() == 0 || is_due_later {
            self.arm(FLUSH_DELAY_MS).await?;
        }
        Ok(Response::empty()?.with_status(status))
    }

    /// Writes what waits as one row. Everybody who waits for it hears whether that worked.
    fn write(&self) -> Result<()> {
        let sql = self.sql()?;
        let Some((row, group)) = self.intake.borrow_mut().close(clock::now()) else { return Ok(()) };
        let written = rows::insert(&sql, &row);
        group.is_written.set(Some(written.is_ok()));
        written?;
        let len = row.requests.len() as u64;
        self.backlog_len.set(self.backlog_len.get().map(|backlog_len| backlog_len.saturating_add(len)));
        self.intake.borrow_mut().written(&row);
        Ok(())
    }

    /// What the control plane said last, from memory or disk.
    fn told(&self) -> Result<(u32, BufferSettings)> {
        if let Some(told) = self.told.get() {
            return Ok(told);
        }
        let answer = rows::told(&self.sql()?)?;
        // Who has said nothing yet is taken for one that reads what we write.
        let word = PlaneWord::read(&answer);
        let format = if answer.is_empty() { FORMAT } else { word.format };
        let told = (format, word.settings.unwrap_or_default());
        self.told.set(Some(told));
        Ok(told)
    }

    fn settings(&self) -> Result<BufferSettings> {
        Ok(self.told()?.1)
    }

    /// Keeps the settings of an answer and the format for further batches, on disk where they are new.
    fn keep_told(&self, format: u32, settings: BufferSettings) -> Result<()> {
        if self.told()? == (format, settings) {
            return Ok(());
        }
        self.told.set(Some((format, settings)));
        rows::keep_told(&self.sql()?, &PlaneWord { format, settings: Some(settings) }.write())
    }

    /// What a batch or a word says beside its events. What waits in memory is written before, so that it waits behind.
    fn word(&self, batch_seq: i64, rests: bool) -> Result<Word> {
        self.write()?;
        let oldest_waiting_ms = rows::oldest_waiting_ms(&self.sql()?, batch_seq)?;
        let waiting = oldest_waiting_ms.and_then(|at| u64::try_from(at).ok()).map(UnixMillis);
        let delivered_through_ms = self.intake.borrow_mut().delivered_through(waiting, clock::now());
        let rests = rests && oldest_waiting_ms.is_none();
        let has_tickets = config(&self.env).is_ok_and(|config| config.tickets.is_some());
        Ok(Word { batch_seq, oldest_waiting_ms, delivered_through_ms, rests, has_tickets })
    }

    /// Sends a batch, in the older format too where the newer one is refused.
    async fn deliver(&self, word: Word) -> Result<Receipt, DeliveryError> {
        let (told_format, settings) = self.told()?;
        let (name, sql) = (self.name(), self.sql()?);
        let scope = scope_of_object(&name).map_err(platform)?;
        let kept_format = rows::format_of(&sql, word.batch_seq)?;
        let mut format = told_format.min(kept_format);
        loop {
            let body = rows::batch_body(&sql, word, format, &name, &scope)?;
            let (status, answer) = self.ask(INGEST_PATH, Some(body)).await?;
            let said = PlaneWord::read(&answer);
            match after_answer(format, status, said.format) {
                // A word has no older form.
                Next::Older if word.batch_seq > 0 => format = 1,
                Next::Older => {
                    self.keep_told(told_format, BufferSettings { watched: false, ..settings })?;
                    return Ok(Receipt { status, reason: String::new() });
                }
                Next::Stands { format } => {
                    if verdict(status) == Verdict::Committed {
                        // Rows of the older format go in it, whoever reads them, and say nothing about that.
                        let format = if kept_format == FORMAT { format } else { told_format };
                        self.keep_told(format, said.settings.unwrap_or_default())?;
                    }
                    let reason = answer.chars().take(REASON_LEN_MAX).collect();
                    return Ok(Receipt { status, reason });
                }
            }
        }
    }

    /// Takes units out of what is held that were erased since. What keeps it from that is tried again.
    async fn forget_erased(&self) {
        let held = || rows::oldest_held_ms(&self.sql()?);
        let oldest = held().ok().flatten().and_then(|at| u64::try_from(at).ok());
        if !is_erasure_due(oldest, self.next_look_ms.get(), clock::now().0) {
            return;
        }
        let looked = self.look_for_erased().await;
        self.next_look_ms.set(next_erasure_look(looked.is_ok(), clock::now().0));
        if let Err(error) = looked {
            worker::console_warn!("{}: erased units could not be asked for: {error}", self.name());
        }
    }

    async fn look_for_erased(&self) -> Result<(), DeliveryError> {
        let scope = scope_of_object(&self.name()).map_err(platform)?;
        let path = erased_path(&scope);
        let (status, body) = self.ask(&path, None).await?;
        // A control plane from before has no such list, and knows the path for other things.
        if matches!(status, 404 | 405) {
            return Ok(());
        }
        let erased = ErasedUnits::read(body.as_bytes()).filter(|_| status == 200);
        let erased = erased.ok_or_else(|| platform(format!("{path} answered {status}")))?;
        if !erased.is_empty() {
            let sql = self.sql()?;
            rows::rewrite(&sql, |requests| erased.without(requests))?;
            self.backlog_len.set(Some(rows::backlog_len(&sql)?));
        }
        Ok(())
    }

    /// Asks the control plane, with a body or without one: status, and the answer's text.
    async fn ask(&self, path: &str, body: Option<String>) -> Result<(u16, String), DeliveryError> {
        let config = config(&self.env).map_err(platform)?;
        let headers = Headers::new();
        headers.set("content-type", "application/json")?;
        headers.set("authorization", &format!("Bearer {}", config.ingest_token))?;
        let mut init = RequestInit::new();
        init.with_method(if body.is_some() { Method::Post } else { Method::Get })
            .with_headers(headers)
            .with_body(body.map(Into::into));
        let url = format!("{}{path}", config.control_plane_url);
        let fetch = Fetch::Request(Request::new_with_init(&url, &init)?);
        let mut response = within(DELIVERY_TIMEOUT_MS, fetch.send()).await.map_err(platform)??;
        // An answer that breaks off is as good as one that says nothing: its status is what counts.
        let text = within(DELIVERY_TIMEOUT_MS, response.text()).await.ok().and_then(Result::ok);
        Ok((response.status_code(), text.unwrap_or_default()))
    }

    /// Delivers soon if anything waits, whatever became of the alarm that should have.
    async fn nudge(&self) -> Result<Response> {
        self.sql()?;
        if self.backlog_len.get().unwrap_or(0) > 0 {
            self.arm(0).await?;
        } else {
            // What is set aside waits for no alarm.
            self.forget_erased().await;
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
        // While a fuse watches, words follow.
        let rests = !self.settings()?.watched;
        self.deliver(self.word(batch_seq, rests)?).await
    }

    fn silence(&self) -> Silence {
        let watched = self.settings().is_ok_and(|settings| settings.watched);
        let idle_ms = self.intake.borrow().idle_ms(clock::now());
        if watched { Silence::Watched { idle_ms } } else { Silence::Unwatched }
    }

    async fn say(&self, rests: bool) -> Result<Receipt, DeliveryError> {
        self.deliver(self.word(0, rests)?).await
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
        if rows::split_row(&sql, batch_seq)? {
            worker::console_warn!("refused, so each of its requests is sent alone: {what}");
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
