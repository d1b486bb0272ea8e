//! One event stream in the isolate that its client reached: news from the notifier's WebSocket, heartbeats, the end.
//! Whichever side goes first, nothing of the stream stays: a client that went is noticed by the next write, which is a
//! heartbeat at the latest, and the platform lets the task of a closed connection run for 30 s.

use std::cell::RefCell;
use std::pin::pin;
use std::time::Duration;

use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::limits::{STREAM_COUNT_MAX, STREAM_SHARE_MAX, STREAM_WRITE_MS_MAX};
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use worker::{Delay, EventStream, WebSocket, WebsocketEvent};

use crate::clock;
use crate::deadline::within;
use crate::notify::course::{Farewell, HEARTBEAT, HEARTBEAT_MS, LEAVE_MS, event, opening, patience};
use crate::notify::shares::{Client, PlaceId, Shares};
use crate::notify::writer::{ClientGone, StreamWriter};

thread_local! {
    static SHARES: RefCell<Shares> = const { RefCell::new(Shares::new(STREAM_COUNT_MAX, STREAM_SHARE_MAX)) };
}

/// A place among the streams of this isolate, given back when it is dropped.
#[derive(Debug)]
pub struct Place(PlaceId);

impl Place {
    /// `None` when this isolate relays as many as it can, or as many as one client gets.
    pub fn take(client: Client) -> Option<Self> {
        SHARES.with_borrow_mut(|shares| shares.take(client)).map(Self)
    }

    fn has_to_leave(&self) -> bool {
        SHARES.with_borrow(|shares| shares.has_to_leave(self.0))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        SHARES.with_borrow_mut(|shares| shares.give_back(self.0));
    }
}

/// Streams that this isolate relays.
pub fn stream_count() -> usize {
    SHARES.with_borrow(Shares::count)
}

/// Relays until the client goes, the notifier goes, its key is taken away or the stream's time is over. The client's browser
/// reopens a stream that breaks off, and is told the newest version then, or that this is its end.
pub async fn relay(
    place: Place,
    writer: StreamWriter,
    socket: WebSocket,
    leave_at: UnixMillis,
    jitter: u64,
    is_revoked: impl Fn() -> bool,
) {
    if let Ok(mut events) = socket.events()
        && socket.accept().is_ok()
    {
        let (last, farewell) = (None, Farewell::No);
        let mut stream = Stream { place: &place, writer: &writer, leave_at, jitter, last, farewell };
        // Either it ended in order, or the client did not read to the end.
        if stream.run(&mut events, is_revoked).await.is_ok() {
            let _ = within(STREAM_WRITE_MS_MAX, writer.close()).await;
        }
    }
    // 1001: going away. The notifier may be gone already.
    let _ = socket.close(Some(1001), Some("the client is gone"));
}

struct Stream<'w> {
    place: &'w Place,
    writer: &'w StreamWriter,
    leave_at: UnixMillis,
    jitter: u64,
    /// The newest message, to say goodbye with.
    last: Option<String>,
    farewell: Farewell,
}

/// What a stream waits for.
enum Next {
    Message(String),
    /// The notifier is gone.
    Cut,
    Heartbeat,
    Leave,
}

impl Stream<'_> {
    async fn run(
        &mut self,
        events: &mut EventStream<'_>,
        is_revoked: impl Fn() -> bool,
    ) -> Result<(), ClientGone> {
        self.write(&opening(self.jitter)).await?;
        loop {
            let next = self.next(events).await;
            // Seen at the next heartbeat at the latest. The notifier is faster, where it was told.
            if is_revoked() {
                return Ok(());
            }
            if self.place.has_to_leave() {
                return self.write(&patience(self.jitter)).await;
            }
            match next {
                Next::Cut => return Ok(()),
                Next::Heartbeat => self.write(HEARTBEAT).await?,
                Next::Message(message) => {
                    self.write(&event(&message, self.farewell)).await?;
                    self.last = Some(message);
                }
                Next::Leave => match (self.farewell, &self.last) {
                    (Farewell::No, Some(last)) => {
                        let text = event(last, Farewell::Yes);
                        self.write(&text).await?;
                        self.farewell = Farewell::Yes;
                        self.leave_at = clock::now().plus(LEAVE_MS);
                    }
                    (Farewell::Yes, _) | (_, None) => return Ok(()),
                },
            }
        }
    }

    async fn next(&self, events: &mut EventStream<'_>) -> Next {
        // Nothing can be said before the first message, which comes at once.
        let leave_ms = if self.last.is_some() { self.leave_at.since(clock::now()) } else { HEARTBEAT_MS };
        let heartbeat_ms = HEARTBEAT_MS + self.jitter % 5_000;
        let timer = Delay::from(Duration::from_millis(leave_ms.min(heartbeat_ms)));
        match select(events.next(), pin!(timer)).await {
            Either::Left((Some(Ok(WebsocketEvent::Message(message))), _)) => {
                message.text().map_or(Next::Cut, Next::Message)
            }
            Either::Left(_) => Next::Cut,
            Either::Right(_) if leave_ms <= heartbeat_ms => Next::Leave,
            Either::Right(_) => Next::Heartbeat,
        }
    }

    async fn write(&self, text: &str) -> Result<(), ClientGone> {
        within(STREAM_WRITE_MS_MAX, self.writer.write(text)).await.unwrap_or(Err(ClientGone))
    }
}
