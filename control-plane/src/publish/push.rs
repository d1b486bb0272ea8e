//! Dials every replica and is the line that `connection` serves it over: reads frames, signs beats, sends, hands receipts on.
//! Holds no state that matters: several control planes may run, and every message may be repeated.

use std::collections::BTreeMap;
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
use super::connection::{Line, Occasion, Redial, Woken, serve};
use super::pusher::{Claim, HangUp, Input, Moment, Pusher, Receipt, Target};
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

impl From<HangUp> for PushError {
    fn from(why: HangUp) -> Self {
        Self::HangUp(why)
    }
}

impl From<WsError> for PushError {
    fn from(error: WsError) -> Self {
        Self::Socket(Box::new(error))
    }
}

/// Keeps one replica up to date until the bell is gone.
pub async fn push_replica(context: PushContext, edge: EdgeRegion, shard: u16) {
    let replica = ReplicaName { region: edge.name.clone(), shard };
    let mut side = Side { context, replica, began: monotonic(), reported: BTreeMap::new() };
    let (mut pusher, mut redial) = (Pusher::new(), Redial::default());
    loop {
        let dialled = monotonic();
        let (replica, url) = (side.replica.clone(), &edge.url);
        match dial(&edge, shard, &side.context.token).await {
            Ok(socket) => match side.run(socket, &mut pusher).await {
                PushError::Stopping => return,
                error => tracing::info!(%replica, %error, "push connection ended"),
            },
            // Said once, not at every try: a wrong token or address must be seen, a long outage must not fill the log.
            Err(error) if redial.is_first() => {
                tracing::warn!(%replica, url, %error, "edge is not reachable, trying on");
            }
            Err(error) => tracing::debug!(%replica, %error, "edge is not reachable"),
        }
        let pause_ms = redial.pause_ms(millis(dialled.elapsed()), jitter_ms);
        sleep(Duration::from_millis(pause_ms)).await;
        if side.context.bell.has_changed().is_err() {
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

/// What stays over all connections to a replica, beside its pusher.
struct Side {
    context: PushContext,
    replica: ReplicaName,
    began: Instant,
    /// Faults by environment, each reported to the log once however often it happens again.
    reported: BTreeMap<String, String>,
}

impl Side {
    /// Serves a connection until it ends; why it did.
    async fn run(&mut self, socket: Socket, pusher: &mut Pusher) -> PushError {
        let mut connection = Connection { side: self, socket, reading: None };
        let error = match serve(&mut connection, pusher).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        let now = connection.now();
        pusher.step(Input::Closed, now);
        error
    }
}

/// What one connection has.
struct Connection<'s> {
    side: &'s mut Side,
    socket: Socket,
    reading: Option<Arc<TargetReading>>,
}

impl Connection<'_> {
    async fn send(&mut self, message: Message) -> Result<(), PushError> {
        let sent = timeout(SEND_TIMEOUT, self.socket.send(message)).await;
        Ok(sent.map_err(|_| PushError::Silent(SEND_TIMEOUT))??)
    }

    fn hear(&self, message: Option<Result<Message, WsError>>) -> Result<Woken, PushError> {
        let text = match message {
            None | Some(Ok(Message::Close(_))) => return Err(PushError::Closed),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(_)) => return Ok(Woken::Heard),
        };
        let Ok(said) = serde_json::from_str::<ReplicaMessage>(&text) else {
            if text.as_str() != "pong" {
                tracing::warn!(replica = %self.side.replica, "replica said something unknown");
            }
            return Ok(Woken::Heard);
        };
        if let ReplicaMessage::Hello { region, shard, .. } = &said {
            let found = ReplicaName { region: region.clone(), shard: *shard };
            if found != self.side.replica {
                return Err(PushError::WrongReplica { expected: self.side.replica.clone(), found });
            }
        }
        Ok(Woken::Said(said))
    }

    fn instant(&self, at: Moment) -> Instant {
        self.side.began + Duration::from_millis(at.0)
    }
}

impl Line for Connection<'_> {
    type Error = PushError;

    fn now(&self) -> Moment {
        Moment(millis(self.side.began.elapsed()))
    }

    async fn next(&mut self, tick_at: Option<Moment>) -> Result<Woken, PushError> {
        let tick_at = tick_at.map_or_else(monotonic, |at| self.instant(at));
        tokio::select! {
            biased;
            message = self.socket.next() => self.hear(message),
            rung = self.side.context.bell.changed() => rung.map(|()| Woken::Rung).map_err(|_| PushError::Stopping),
            () = sleep_until(tick_at) => Ok(Woken::Tick),
        }
    }

    async fn read_target(&mut self, occasion: Occasion) -> Result<Option<Arc<Target>>, PushError> {
        let Side { context, replica, began, .. } = &*self.side;
        let since = match occasion {
            Occasion::Told => monotonic(),
            Occasion::Rung => *began,
            // A hundred replicas that beat at the same time read once.
            Occasion::BeatDue => monotonic().checked_sub(READING_AGE_MAX).unwrap_or(*began),
        };
        match context.targets.read(&replica.region, since).await {
            Ok(reading) => {
                let target = Arc::clone(&reading.target);
                self.reading = Some(reading);
                Ok(Some(target))
            }
            Err(error) if occasion == Occasion::Told => Err(error.into()),
            Err(error) => {
                tracing::warn!(%replica, %error, "what to push could not be read");
                Ok(None)
            }
        }
    }

    async fn publish(
        &mut self,
        scope: &str,
        version: HeldVersion,
        urgency: Urgency,
    ) -> Result<(), PushError> {
        let gone =
            || PushError::FrameGone { scope: scope.to_owned(), version: version.version().to_string() };
        let parsed = Scope::parse(scope).map_err(|_| gone())?;
        let mut conn = self.side.context.store.read().await?;
        let frame = snapshots::frame(&mut conn, &parsed, version.version()).await?.ok_or_else(gone)?;
        drop(conn);
        let message = PlaneMessage::Publish { scope: parsed, urgency, frame: &frame }.encode();
        self.send(Message::binary(message)).await
    }

    async fn beat(&mut self, beat_no: u64, claim: Claim) -> Result<(), PushError> {
        let Some(reading) = &self.reading else { return Ok(()) };
        let publisher = &self.side.context.publisher;
        let keys = publisher.keys().freshness();
        let envelope = publisher.issuer().push_beat(claim, beat_no, reading.as_of, &keys)?;
        self.send(Message::binary(PlaneMessage::Beat(&envelope).encode())).await
    }

    async fn nudge(&mut self) -> Result<(), PushError> {
        self.send(Message::binary(PlaneMessage::Nudge.encode())).await
    }

    async fn ping(&mut self) -> Result<(), PushError> {
        self.send(Message::text("ping")).await
    }

    async fn record(&mut self, receipt: Receipt) -> Result<(), PushError> {
        let Side { context, replica, reported, .. } = &mut *self.side;
        let scope = match &receipt {
            Receipt::Held { scope, .. } | Receipt::Refused { scope, .. } | Receipt::Forked { scope, .. } => {
                scope.as_str()
            }
            Receipt::BeatRefused { .. } => "beat",
            Receipt::Reader { .. } => "reader",
        };
        if let Some((code, detail)) = fault(&receipt) {
            if reported.get(scope) != Some(&code) {
                tracing::warn!(%replica, scope, code, detail, "replica cannot be updated");
                reported.insert(scope.to_owned(), code);
            }
        } else if matches!(receipt, Receipt::Held { stored_ms: Some(_), .. }) {
            reported.remove(scope);
        }
        let (tenant, at) = (context.targets.tenant().clone(), context.clock.now());
        let arrived = Arrived { tenant, replica: replica.clone(), receipt, at };
        context.recorder.send(arrived).await.map_err(|_| PushError::Stopping)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
