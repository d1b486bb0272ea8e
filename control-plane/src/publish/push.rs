//! Dials every replica, keeps it at the newest frame, records what it answers. Holds no state that matters: several
//! pushers may run, and every message may be repeated.

use std::cmp::Ordering;
use std::time::Duration;

use flagfuse_shared::contract::push::{HeldVersion, NUDGE, ReplicaMessage, publish_message, push_path};
use flagfuse_shared::contract::replica;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, HeaderValue};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::clock::{Clock, monotonic};
use crate::random::jitter_ms;
use crate::store::{Store, StoreError, forks, snapshots};

const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
const ACK_TIMEOUT: Duration = Duration::from_secs(2);
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Three pings without any answer.
const SILENCE_MAX: Duration = Duration::from_secs(35);
const NUDGE_INTERVAL: Duration = Duration::from_secs(30);
const BACKOFF_MS_MIN: u64 = 50;
const BACKOFF_MS_MAX: u64 = 2_000;
/// A connection that lived this long was a good one.
const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// Bytes kept of what a replica gives as its reason.
const DETAIL_LEN_MAX: usize = 1_024;

/// An edge region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeRegion {
    /// Its name in receipts.
    pub name: String,
    /// Where its workers listen, `http://…` or `https://…`.
    pub url: String,
}

/// What a pusher works with.
#[derive(Debug, Clone)]
pub struct PushContext {
    /// Frames come from here, receipts go there.
    pub store: Store,
    /// Time of receipts.
    pub clock: Clock,
    /// Presented to the edge.
    pub token: String,
    /// Rings after each commit that published.
    pub bell: watch::Receiver<u64>,
}

#[derive(Debug, thiserror::Error)]
enum PushError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("websocket: {0}")]
    Socket(#[from] Box<WsError>),
    #[error("the edge did not answer within {0:?}")]
    Silent(Duration),
    #[error("the edge closed the connection")]
    Closed,
    #[error("the push token is no header value")]
    Token,
}

impl From<WsError> for PushError {
    fn from(error: WsError) -> Self {
        Self::Socket(Box::new(error))
    }
}

/// Keeps one region's replica of one environment up to date until the bell is gone.
pub async fn push_environment(context: PushContext, edge: EdgeRegion, scope: Scope) {
    let mut backoff_ms = BACKOFF_MS_MIN;
    let mut refusal = None;
    loop {
        let mut context = context.clone();
        let dialled = monotonic();
        match Connection::open(&context, &edge, &scope, refusal.take()).await {
            Ok(mut connection) => {
                match connection.run(&mut context).await {
                    Ok(()) => return,
                    Err(error) => tracing::info!(region = edge.name, %scope, %error, "push connection ended"),
                }
                refusal = connection.refusal;
            }
            // Said once, not at every try: a wrong token or address must be seen, a long outage must not fill the log.
            Err(error) if backoff_ms == BACKOFF_MS_MIN => {
                tracing::warn!(region = edge.name, url = edge.url, %scope, %error, "edge is not reachable, trying on");
            }
            Err(error) => tracing::debug!(region = edge.name, %scope, %error, "edge is not reachable"),
        }
        // An edge that hangs up at once is not dialled in a hot loop; one that served for a while is, at once.
        if dialled.elapsed() >= SETTLED_AFTER {
            backoff_ms = BACKOFF_MS_MIN;
        }
        sleep(Duration::from_millis(backoff_ms / 2 + jitter_ms(backoff_ms / 2))).await;
        backoff_ms = (backoff_ms * 2).min(BACKOFF_MS_MAX);
        if context.bell.has_changed().is_err() {
            return;
        }
    }
}

/// A frame that was sent and not yet answered.
struct InFlight {
    version: SnapshotVersion,
    answer_by: Instant,
}

struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    region: String,
    scope: Scope,
    held: Option<HeldVersion>,
    in_flight: Option<InFlight>,
    refused: Option<SnapshotVersion>,
    /// What was logged last, carried over from connection to connection.
    refusal: Option<Refusal>,
    /// What this connection has written beside its receipts; a hello wipes that out.
    noted: Option<Refusal>,
    heard: Instant,
}

/// The last thing that was wrong, so that it is logged once however often it happens again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    code: String,
    held: Option<SnapshotVersion>,
}

impl Connection {
    async fn open(
        context: &PushContext,
        edge: &EdgeRegion,
        scope: &Scope,
        refusal: Option<Refusal>,
    ) -> Result<Self, PushError> {
        // http → ws and https → wss.
        let url = format!("{}{}", edge.url.trim_end_matches('/').replacen("http", "ws", 1), push_path(scope));
        let mut request = url.into_client_request()?;
        let bearer =
            HeaderValue::from_str(&format!("Bearer {}", context.token)).map_err(|_| PushError::Token)?;
        request.headers_mut().insert(AUTHORIZATION, bearer);
        let dialled = timeout(DIAL_TIMEOUT, connect_async(request)).await;
        let (mut socket, _) = dialled.map_err(|_| PushError::Silent(DIAL_TIMEOUT))??;
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            // A small frame must not wait for the receipt of the one before.
            stream.set_nodelay(true).map_err(WsError::Io)?;
        }
        let heard = monotonic();
        let (region, scope) = (edge.name.clone(), scope.clone());
        socket.send(Message::binary(vec![NUDGE])).await?;
        Ok(Self {
            socket,
            region,
            scope,
            held: None,
            in_flight: None,
            refused: None,
            refusal,
            noted: None,
            heard,
        })
    }

    /// Returns `Ok` when the control plane shuts down.
    async fn run(&mut self, context: &mut PushContext) -> Result<(), PushError> {
        let mut ping = ticks(PING_INTERVAL);
        let mut nudge = ticks(NUDGE_INTERVAL);
        self.await_hello(context).await?;
        loop {
            self.send_if_behind(context).await?;
            let answer_by =
                self.in_flight.as_ref().map_or_else(|| monotonic() + PING_INTERVAL, |f| f.answer_by);
            tokio::select! {
                rung = context.bell.changed() => if rung.is_err() {
                    return Ok(());
                },
                message = self.socket.next() => self.hear(context, message).await?,
                () = tokio::time::sleep_until(answer_by) => if self.in_flight.is_some() {
                    return Err(PushError::Silent(ACK_TIMEOUT));
                },
                _ = ping.tick() => {
                    if self.heard.elapsed() > SILENCE_MAX {
                        return Err(PushError::Silent(SILENCE_MAX));
                    }
                    self.socket.send(Message::text("ping")).await?;
                }
                _ = nudge.tick() => {
                    // A refusal may have been a full disk: the same frame gets another chance.
                    self.refused = None;
                    self.socket.send(Message::binary(vec![NUDGE])).await?;
                }
            }
        }
    }

    async fn await_hello(&mut self, context: &PushContext) -> Result<(), PushError> {
        let message = timeout(DIAL_TIMEOUT, self.socket.next()).await;
        self.hear(context, message.map_err(|_| PushError::Silent(DIAL_TIMEOUT))?).await
    }

    async fn send_if_behind(&mut self, context: &mut PushContext) -> Result<(), PushError> {
        context.bell.mark_unchanged();
        let mut conn = context.store.read().await?;
        let Some(newest) = snapshots::newest_version(&mut conn, &self.scope).await? else { return Ok(()) };
        if let Some(held) = self.held
            && held.version() >= newest.version()
        {
            drop(conn);
            // A receipt of a frame that was queued after `newest` was read shows up as ahead for a moment.
            return if held == newest { Ok(()) } else { self.note_fork(context, held).await };
        }
        let version = newest.version();
        let is_sent = self.in_flight.as_ref().is_some_and(|sent| sent.version >= version);
        if is_sent || self.refused.is_some_and(|refused| refused >= version) {
            return Ok(());
        }
        let Some(row) = snapshots::newest(&mut conn, &self.scope).await? else { return Ok(()) };
        drop(conn);
        self.socket.send(Message::binary(publish_message(&row.frame))).await?;
        self.in_flight = Some(InFlight { version: row.version, answer_by: monotonic() + ACK_TIMEOUT });
        Ok(())
    }

    /// The replica holds what this database never signed, so it would refuse everything: the database was restored
    /// from an old copy, or another one signs with the same keys. Shown with the receipts until it is over.
    async fn note_fork(&mut self, context: &PushContext, held: HeldVersion) -> Result<(), PushError> {
        let now = context.clock.now();
        let mut tx = context.store.write().await?;
        let Some(newest) = snapshots::newest_version(&mut tx, &self.scope).await? else { return Ok(()) };
        let (code, what) = match held.version().cmp(&newest.version()) {
            Ordering::Less => return Ok(()),
            Ordering::Equal if held == newest => return Ok(()),
            Ordering::Equal => ("E_EQUIV", "the same version with other content"),
            Ordering::Greater => ("E_ROLLBACK", "a later version"),
        };
        let refusal = Refusal { code: code.to_owned(), held: Some(held.version()) };
        if self.noted.as_ref() == Some(&refusal) {
            return Ok(());
        }
        let detail = format!(
            "the replica holds {}, {what} than this database, which signed {} last: it was restored from an old copy, \
             or another control plane signs with its keys; the replica keeps what it has and takes nothing until \
             this environment's version is above the held one",
            held.version(),
            newest.version(),
        );
        if self.refusal.as_ref() != Some(&refusal) {
            tracing::error!(region = self.region, scope = %self.scope, code, detail, "replica cannot be updated");
        }
        snapshots::record_nack(&mut tx, &self.scope, &self.region, code, &detail, now).await?;
        tx.commit().await.map_err(StoreError::from)?;
        self.noted = Some(refusal.clone());
        self.refusal = Some(refusal);
        Ok(())
    }

    async fn hear(
        &mut self,
        context: &PushContext,
        message: Option<Result<Message, WsError>>,
    ) -> Result<(), PushError> {
        self.heard = monotonic();
        let text = match message {
            None | Some(Ok(Message::Close(_))) => return Err(PushError::Closed),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(_)) => return Ok(()),
        };
        let Ok(said) = serde_json::from_str::<ReplicaMessage>(&text) else {
            if text.as_str() != "pong" {
                tracing::warn!(region = self.region, scope = %self.scope, "replica said something unknown");
            }
            return Ok(());
        };
        self.record(context, said).await
    }

    async fn record(&mut self, context: &PushContext, said: ReplicaMessage) -> Result<(), PushError> {
        let now = context.clock.now();
        let mut tx = context.store.write().await?;
        match said {
            ReplicaMessage::Hello { held, .. } => {
                self.held = held;
                match held {
                    Some(held) => {
                        snapshots::record_ack(&mut tx, &self.scope, &self.region, held, None, now).await?;
                        self.observe(&mut tx, held, now).await?;
                    }
                    None => forks::forget(&mut tx, &self.scope, (&self.region, 0)).await?,
                }
            }
            ReplicaMessage::Ack { held, stored_ms, .. } => {
                self.held = Some(held);
                if self.in_flight.as_ref().is_some_and(|sent| sent.version <= held.version()) {
                    self.in_flight = None;
                }
                self.refusal = None;
                let stored = Some(stored_ms);
                snapshots::record_ack(&mut tx, &self.scope, &self.region, held, stored, now).await?;
                self.observe(&mut tx, held, now).await?;
            }
            ReplicaMessage::Nack { code, mut detail, held, .. } => {
                detail.truncate(detail.floor_char_boundary(DETAIL_LEN_MAX));
                let refusal = Refusal { code, held: held.map(|held| held.version()) };
                if self.refusal.as_ref() != Some(&refusal) {
                    let code = &refusal.code;
                    tracing::warn!(region = self.region, scope = %self.scope, code, detail, "replica refused a snapshot");
                }
                self.held = held;
                self.refused = self.in_flight.take().map(|sent| sent.version);
                snapshots::record_nack(&mut tx, &self.scope, &self.region, &refusal.code, &detail, now)
                    .await?;
                self.refusal = Some(refusal);
            }
        }
        tx.commit().await.map_err(StoreError::from)?;
        Ok(())
    }
}

impl Connection {
    /// Notes a fork, or that it is healed; until then the environment takes no change.
    async fn observe(
        &self,
        conn: &mut crate::store::Connection,
        held: HeldVersion,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let held = replica::HeldVersion { epoch: held.epoch, seq: held.seq, digest: held.digest };
        forks::observe(conn, &self.scope, (&self.region, 0), held, now).await?;
        Ok(())
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
