//! The listener: accepts connections, drives each within its limits, and closes those that only take up room.

pub mod capacity;
mod seat;
mod watched;

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

pub use self::seat::Limits;
use self::seat::{Seat, gives_way};
use self::watched::Watched;
use crate::clock::monotonic;

/// Bytes of a head, and of a body that waits to be read.
const BUFFER_LEN_MAX: usize = 64 * 1024;
/// Connections that gave way and are not gone yet, beside those that count.
const LEAVING_COUNT_MAX: usize = 64;
/// Pause after the system had no socket to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time until the next look whether somebody gives way.
const ROOM_PAUSE: Duration = Duration::from_millis(20);
/// Time between two lines of the log about the same trouble.
const WARN_INTERVAL_MS: u64 = 60_000;

/// Address of whoever opened the connection that a request came by: behind a proxy, the proxy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Where connections come from: a socket, and in tests one that fails.
pub trait Accept: Send {
    /// The next connection. May be given up at any time.
    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send {
        Self::accept(self)
    }
}

/// Serves until `stop` says so, then lets requests in flight finish.
pub async fn serve(mut door: impl Accept, router: Router, limits: Limits, stop: watch::Receiver<bool>) {
    let mut own_stop = stop.clone();
    let room = Arc::new(Room::new(limits));
    let mut tasks = JoinSet::new();
    loop {
        let has_room = room.make_room(tasks.len());
        tokio::select! {
            () = stopped(&mut own_stop) => break,
            Some(_) = tasks.join_next() => {}
            // Whoever is next waits with the system, which keeps a queue.
            () = sleep(ROOM_PAUSE), if !has_room => {}
            accepted = door.accept(), if has_room => match accepted {
                Ok((socket, peer)) => {
                    let ticket = room.admit();
                    tasks.spawn(attend(socket, Peer(peer.ip()), router.clone(), ticket, stop.clone()));
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    room.run_short(&error);
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(door);
    while tasks.join_next().await.is_some() {}
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever could stop this is gone.
    let _ = stop.wait_for(|is_stopped| *is_stopped).await;
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// What is known of one connection.
#[derive(Debug)]
struct Guest {
    seat: Mutex<Seat>,
    opened: Instant,
    gives_way: Notify,
}

impl Guest {
    fn now_ms(&self) -> u64 {
        elapsed_ms(self.opened)
    }

    fn seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, what: fn(&mut Seat, u64)) {
        what(&mut self.seat(), self.now_ms());
    }
}

/// The clock that all seats of a room share.
fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(monotonic().duration_since(since).as_millis()).unwrap_or(u64::MAX)
}

#[derive(Debug, Default)]
struct Guests {
    seated: BTreeMap<u64, Arc<Guest>>,
    drawn: u64,
    warned_ms: Option<u64>,
}

/// All connections.
#[derive(Debug)]
struct Room {
    limits: Limits,
    opened: Instant,
    guests: Mutex<Guests>,
}

/// A connection's place in the room; dropping it frees the place.
#[derive(Debug)]
struct Ticket {
    number: u64,
    guest: Arc<Guest>,
    room: Arc<Room>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.room.guests().seated.remove(&self.number);
    }
}

impl Room {
    fn new(limits: Limits) -> Self {
        Self { limits, opened: monotonic(), guests: Mutex::default() }
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a place for another connection, when need be that of one that only waits. Also not while too many
    /// of `running` have given way and are not gone yet.
    fn make_room(&self, running: usize) -> bool {
        let mut guests = self.guests();
        if guests.seated.len() < self.limits.count_max {
            return true;
        }
        let now_ms = elapsed_ms(self.opened);
        guests.warn(now_ms, &format!("all {} connections are taken", self.limits.count_max));
        running < self.limits.count_max.saturating_add(LEAVING_COUNT_MAX)
            && guests.send_away(&self.limits, now_ms)
    }

    fn admit(self: &Arc<Self>) -> Ticket {
        let seat = Mutex::new(Seat::new(elapsed_ms(self.opened)));
        let guest = Arc::new(Guest { seat, opened: self.opened, gives_way: Notify::new() });
        let mut guests = self.guests();
        guests.drawn += 1;
        let number = guests.drawn;
        guests.seated.insert(number, Arc::clone(&guest));
        Ticket { number, guest, room: Arc::clone(self) }
    }

    /// The system has no more sockets, whatever the limits say: somebody else in this process or on this machine has them.
    fn run_short(&self, error: &io::Error) {
        let (mut guests, now_ms) = (self.guests(), elapsed_ms(self.opened));
        guests.warn(now_ms, &format!("no connection can be accepted: {error}"));
        guests.send_away(&self.limits, now_ms);
    }
}

impl Guests {
    /// `false` when nobody can be spared.
    fn send_away(&mut self, limits: &Limits, now_ms: u64) -> bool {
        let seats = self.seated.iter().map(|(number, guest)| (*number, *guest.seat()));
        let Some(guest) = gives_way(seats, limits, now_ms).and_then(|number| self.seated.remove(&number))
        else {
            return false;
        };
        guest.gives_way.notify_one();
        true
    }

    fn warn(&mut self, now_ms: u64, what: &str) {
        if self.warned_ms.is_none_or(|warned_ms| now_ms.saturating_sub(warned_ms) >= WARN_INTERVAL_MS) {
            self.warned_ms = Some(now_ms);
            tracing::warn!("{what}: those that wait longest give way");
        }
    }
}

/// Drives one connection to its end.
async fn attend(
    socket: TcpStream,
    peer: Peer,
    router: Router,
    ticket: Ticket,
    mut stop: watch::Receiver<bool>,
) {
    // An answer is written at once: waiting for more to send would only hold it up.
    let _ = socket.set_nodelay(true);
    let (guest, limits) = (&ticket.guest, &ticket.room.limits);
    let (asked, answered) = (Arc::clone(guest), Arc::clone(guest));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        asked.note(Seat::asked);
        request.extensions_mut().insert(peer);
        let (answer, answered) = (router.call(request), Arc::clone(&answered));
        async move {
            let answer = answer.await;
            answered.note(Seat::answered);
            answer
        }
    });
    let watched = TokioIo::new(Watched { socket, guest: Arc::clone(guest) });
    let connection = http1::Builder::new().max_buf_size(BUFFER_LEN_MAX).serve_connection(watched, service);
    let mut connection = pin!(connection);
    let mut alarm = pin!(sleep_until(guest.opened));
    let mut is_leaving = false;
    loop {
        let step = poll_fn(|cx| match connection.as_mut().poll(cx) {
            // Whichever way it ended, there is nobody to tell.
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => poll_limit(guest, limits, alarm.as_mut(), cx),
        });
        tokio::select! {
            () = step => return,
            () = guest.gives_way.notified(), if !is_leaving => {}
            () = stopped(&mut stop), if !is_leaving => {}
        }
        // Nothing is lost with a head that is not complete; everything else is answered first.
        if guest.seat().has_no_request() {
            return;
        }
        connection.as_mut().graceful_shutdown();
        is_leaving = true;
    }
}

/// Ready once the connection is past its limit. Asked after every poll of the connection, which is when limits move.
fn poll_limit(guest: &Guest, limits: &Limits, mut alarm: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
    let Some(ends_ms) = guest.seat().ends_ms(limits) else { return Poll::Pending };
    let ends = guest.opened + Duration::from_millis(ends_ms);
    if alarm.deadline() != ends {
        alarm.as_mut().reset(ends);
    }
    alarm.poll(cx)
}

#[cfg(test)]
mod tests;
