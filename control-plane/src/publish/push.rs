//! Dials every replica and does what its pusher decides: reads frames, signs beats, sends, hands receipts on. Holds no
//! state that matters: several control planes may run, and every message may be repeated.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use flagfuse_shared::contract::replica::{HeldVersion, PlaneMessage, ReplicaMessage, Urgency, push_path};
use flagfuse_shared::ids::Scope;
use flagfuse_shared::snapshot::sign::SignError;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::UrlError;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, HeaderValue};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_tls};

use super::Publisher;
use super::pusher::{HangUp, Input, Moment, Output, Pusher, Receipt};
use super::recorder::{Arrived, fault};
use super::target::{TargetReading, Targets};
use crate::clock::{Clock, monotonic};
use crate::random::jitter_ms;
use crate::store::receipts::ReplicaName;
use crate::store::{Store, StoreError, snapshots};

/// How long a TCP connection may take. Short, because what is lost in a dead network is repeated ever more rarely: after
/// an outage a new attempt succeeds sooner than an old one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long TLS and the upgrade may take.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one message may take to leave; the largest frame then needs 1.3 Mbit/s.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How old a reading may be that a beat is dated by.
const READING_AGE_MAX: Duration = Duration::from_millis(50);
const BACKOFF_MS_MIN: u64 = 50;
/// With the timeout above, a replica is dialled anew less than two seconds after it can be reached again.
const BACKOFF_MS_MAX: u64 = 1_000;
/// A connection that lived this long was a good one.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

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
    /// Frames come from here.
    pub store: Store,
    /// Time of receipts.
    pub clock: Clock,
    /// Signs beats.
    pub publisher: Publisher,
    /// Presented to the edge.
    pub token: String,
    /// Rings after each commit that published.
    pub bell: watch::Receiver<u64>,
    /// What replicas should hold.
    pub targets: Arc<Targets>,
    /// Receipts go there.
    pub recorder: mpsc::Sender<Arrived>,
}

#[derive(Debug, thiserror::Error)]
enum PushError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("websocket: {0}")]
    Socket(#[from] Box<WsError>),
    #[error("the edge took no connection or message within {0:?}")]
    Silent(Duration),
    #[error("the edge closed the connection")]
    Closed,
    #[error("{0}")]
    HangUp(HangUp),
    #[error("the push token is not a header value")]
    Token,
    #[error("replica {found} answers in place of {expected}; the edge's regions or shards are set otherwise")]
    WrongReplica { expected: ReplicaName, found: ReplicaName },
    #[error("the frame of {scope} {version} was overtaken by so many others that it is not kept any more")]
    FrameGone { scope: String, version: String },
    #[error("beat: {0}")]
    Sign(#[from] SignError),
    #[error("the control plane stops")]
    Stopping,
}

impl From<WsError> for PushError {
    fn from(error: WsError) -> Self {
        Self::Socket(Box::new(error))
    }
}

/// Keeps one replica up to date until the bell is gone.
pub async fn push_replica(context: PushContext, edge: EdgeRegion, shard: u16) {
    let replica = ReplicaName { region: edge.name.clone(), shard };
    let mut backoff_ms = BACKOFF_MS_MIN;
    let mut driver =
        Driver { context, replica, pusher: Pusher::new(), began: monotonic(), reported: BTreeMap::new() };
    loop {
        let dialled = monotonic();
        let (replica, url) = (driver.replica.clone(), &edge.url);
        match dial(&edge, shard, &driver.context.token).await {
            Ok(socket) => match driver.run(socket).await {
                PushError::Stopping => return,
                error => tracing::info!(%replica, %error, "push connection ended"),
            },
            // Said once, not at every try: a wrong token or address must be seen, a long outage must not fill the log.
            Err(error) if backoff_ms == BACKOFF_MS_MIN => {
                tracing::warn!(%replica, url, %error, "edge is not reachable, trying on");
            }
            Err(error) => tracing::debug!(%replica, %error, "edge is not reachable"),
        }
        // An edge that hangs up at once is not dialled in a hot loop; one that served for a while is, at once.
        if dialled.elapsed() >= SETTLED_AFTER {
            backoff_ms = BACKOFF_MS_MIN;
        }
        sleep(Duration::from_millis(backoff_ms / 2 + jitter_ms(backoff_ms / 2))).await;
        backoff_ms = (backoff_ms * 2).min(BACKOFF_MS_MAX);
        if driver.context.bell.has_changed().is_err() {
            return;
        }
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn dial(edge: &EdgeRegion, shard: u16, token: &str) -> Result<Socket, PushError> {
    // http → ws and https → wss.
    let base = edge.url.trim_end_matches('/').replacen("http", "ws", 1);
    let mut request = format!("{base}{}", push_path(&edge.name, shard)).into_client_request()?;
    let bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| PushError::Token)?;
    request.headers_mut().insert(AUTHORIZATION, bearer);
    let default_port = if request.uri().scheme_str() == Some("wss") { 443 } else { 80 };
    let host = request.uri().host().ok_or(WsError::Url(UrlError::NoHostName))?;
    let address = format!("{host}:{}", request.uri().port_u16().unwrap_or(default_port));
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| PushError::Silent(CONNECT_TIMEOUT))?.map_err(WsError::Io)?;
    // A small frame must not wait for the receipt of the one before.
    stream.set_nodelay(true).map_err(WsError::Io)?;
    let upgraded = timeout(UPGRADE_TIMEOUT, client_async_tls(request, stream)).await;
    Ok(upgraded.map_err(|_| PushError::Silent(UPGRADE_TIMEOUT))??.0)
}

/// What stays over all connections to a replica.
struct Driver {
    context: PushContext,
    replica: ReplicaName,
    pusher: Pusher,
    began: Instant,
    /// Faults by environment, each reported to the log once however often it happens again.
    reported: BTreeMap<String, String>,
}

impl Driver {
    /// Serves a connection until it ends; why it did.
    async fn run(&mut self, socket: Socket) -> PushError {
        let mut connection = Connection { socket, reading: None };
        let error = match self.serve(&mut connection).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        let now = self.moment();
        self.pusher.step(Input::Closed, now);
        error
    }

    async fn serve(&mut self, connection: &mut Connection) -> Result<std::convert::Infallible, PushError> {
        self.step(connection, Input::Connected).await?;
        self.read_target(connection, monotonic()).await?;
        loop {
            let tick_at = self.pusher.next_tick().map_or_else(monotonic, |at| self.instant(at));
            // What has arrived is heard before the time is looked at: it may be the answer that is waited for.
            tokio::select! {
                biased;
                message = connection.socket.next() => self.hear(connection, message).await?,
                rung = self.context.bell.changed() => {
                    rung.map_err(|_| PushError::Stopping)?;
                    self.reread(connection, self.began).await?;
                }
                () = sleep_until(tick_at) => {
                    if self.pusher.is_beat_due(self.moment()) {
                        // Another process may have published. A hundred replicas that beat at the same time read once.
                        let since = monotonic().checked_sub(READING_AGE_MAX).unwrap_or(self.began);
                        self.reread(connection, since).await?;
                    }
                    self.step(connection, Input::Tick).await?;
                }
            }
        }
    }

    /// Without a reading the last one goes on to count: a beat for it is dated as it is, so it soon vouches for nothing.
    async fn reread(&mut self, connection: &mut Connection, since: Instant) -> Result<(), PushError> {
        match self.read_target(connection, since).await {
            Err(PushError::Store(error)) => {
                tracing::warn!(replica = %self.replica, %error, "what to push could not be read");
                Ok(())
            }
            other => other,
        }
    }

    async fn read_target(&mut self, connection: &mut Connection, since: Instant) -> Result<(), PushError> {
        let reading = self.context.targets.read(&self.replica.region, since).await?;
        let target = Arc::clone(&reading.target);
        connection.reading = Some(reading);
        self.step(connection, Input::Target(target)).await
    }

    async fn hear(
        &mut self,
        connection: &mut Connection,
        message: Option<Result<Message, WsError>>,
    ) -> Result<(), PushError> {
        let text = match message {
            None | Some(Ok(Message::Close(_))) => return Err(PushError::Closed),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(_)) => return self.step(connection, Input::Heard).await,
        };
        let Ok(said) = serde_json::from_str::<ReplicaMessage>(&text) else {
            if text.as_str() != "pong" {
                tracing::warn!(replica = %self.replica, "replica said something unknown");
            }
            return self.step(connection, Input::Heard).await;
        };
        match &said {
            ReplicaMessage::Hello { region, shard, .. } => {
                let found = ReplicaName { region: region.clone(), shard: *shard };
                if found != self.replica {
                    return Err(PushError::WrongReplica { expected: self.replica.clone(), found });
                }
                self.read_target(connection, monotonic()).await?;
            }
            ReplicaMessage::Nack { .. } => self.read_target(connection, monotonic()).await?,
            ReplicaMessage::Ack { .. } => {}
        }
        self.step(connection, Input::Said(said)).await
    }

    /// Does what the pusher decides, in its order.
    async fn step(&mut self, connection: &mut Connection, input: Input) -> Result<(), PushError> {
        let now = self.moment();
        let mut outputs = VecDeque::from(self.pusher.step(input, now));
        while let Some(output) = outputs.pop_front() {
            match output {
                Output::Publish { scope, version, urgency } => {
                    self.publish(connection, &scope, version, urgency).await?;
                    let written = self.moment();
                    outputs.extend(self.pusher.step(Input::Written(scope), written));
                }
                Output::Beat { beat_no, claim } => {
                    let Some(reading) = &connection.reading else { continue };
                    let publisher = &self.context.publisher;
                    let keys = publisher.keys().freshness();
                    let envelope = publisher.issuer().push_beat(claim, beat_no, reading.as_of, &keys)?;
                    connection.send(Message::binary(PlaneMessage::Beat(&envelope).encode())).await?;
                }
                Output::Nudge => connection.send(Message::binary(PlaneMessage::Nudge.encode())).await?,
                Output::Ping => connection.send(Message::text("ping")).await?,
                Output::Record(receipt) => self.record(receipt).await?,
                Output::HangUp(why) => return Err(PushError::HangUp(why)),
            }
        }
        Ok(())
    }

    async fn publish(
        &mut self,
        connection: &mut Connection,
        scope: &str,
        version: HeldVersion,
        urgency: Urgency,
    ) -> Result<(), PushError> {
        let gone =
            || PushError::FrameGone { scope: scope.to_owned(), version: version.version().to_string() };
        let parsed = Scope::parse(scope).map_err(|_| gone())?;
        let mut conn = self.context.store.read().await?;
        let frame = snapshots::frame(&mut conn, &parsed, version.version()).await?.ok_or_else(gone)?;
        drop(conn);
        let message = PlaneMessage::Publish { scope: parsed, urgency, frame: &frame }.encode();
        connection.send(Message::binary(message)).await
    }

    async fn record(&mut self, receipt: Receipt) -> Result<(), PushError> {
        let scope = match &receipt {
            Receipt::Held { scope, .. } | Receipt::Refused { scope, .. } | Receipt::Forked { scope, .. } => {
                scope.as_str()
            }
            Receipt::BeatRefused { .. } => "beat",
        };
        if let Some((code, detail)) = fault(&receipt) {
            if self.reported.get(scope) != Some(&code) {
                tracing::warn!(replica = %self.replica, scope, code, detail, "replica cannot be updated");
                self.reported.insert(scope.to_owned(), code);
            }
        } else if matches!(receipt, Receipt::Held { stored_ms: Some(_), .. }) {
            self.reported.remove(scope);
        }
        let arrived = Arrived { replica: self.replica.clone(), receipt, at: self.context.clock.now() };
        self.context.recorder.send(arrived).await.map_err(|_| PushError::Stopping)
    }

    fn moment(&self) -> Moment {
        Moment(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn instant(&self, at: Moment) -> Instant {
        self.began + Duration::from_millis(at.0)
    }
}

/// What one connection has.
struct Connection {
    socket: Socket,
    reading: Option<Arc<TargetReading>>,
}

impl Connection {
    async fn send(&mut self, message: Message) -> Result<(), PushError> {
        let sent = timeout(SEND_TIMEOUT, self.socket.send(message)).await;
        Ok(sent.map_err(|_| PushError::Silent(SEND_TIMEOUT))??)
    }
}
