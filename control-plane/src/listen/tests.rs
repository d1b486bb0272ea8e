//! The listener over real sockets, with limits that a test can wait for.

use std::collections::VecDeque;

use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const ASK: &[u8] = b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n";
const SLOW: &[u8] = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";

/// Requests that are answered when a test says so.
struct Slow {
    begun: Semaphore,
    answered: Semaphore,
}

impl Slow {
    async fn serve(&self) {
        self.begun.add_permits(1);
        self.answered.acquire().await.unwrap().forget();
    }

    /// Waits until one more is being served.
    async fn begun(&self) {
        let begun = timeout(PATIENCE, self.begun.acquire()).await.expect("a slow request is served");
        begun.unwrap().forget();
    }
}

/// A listener in the background.
struct Listening {
    address: SocketAddr,
    slow: Arc<Slow>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

async fn listening(limits: Limits) -> Listening {
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = door.local_addr().unwrap();
    listening_at(door, address, limits)
}

fn listening_at(door: impl Accept + 'static, address: SocketAddr, limits: Limits) -> Listening {
    let slow = Arc::new(Slow { begun: Semaphore::new(0), answered: Semaphore::new(0) });
    let own = Arc::clone(&slow);
    let serve_slowly = move || {
        let slow = Arc::clone(&own);
        async move { slow.serve().await }
    };
    let router = Router::new()
        .route("/ok", get(async || "ok"))
        .route("/slow", get(serve_slowly))
        .route("/body", post(async |body: String| body));
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(serve(door, router, limits, stopped));
    Listening { address, slow, stop, task }
}

impl Listening {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection that was answered. The head of one is late where the machine stands still just then: then another one is
    /// opened.
    async fn answered(&self) -> TcpStream {
        for _ in 0..20 {
            let mut socket = self.connect().await;
            if ask(&mut socket, ASK).await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return socket;
            }
        }
        panic!("no head is in time");
    }
}

/// Sends and reads as far as the answer's end.
async fn ask(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<String> {
    socket.write_all(bytes).await?;
    let mut text = Vec::new();
    let read = async {
        while !text.windows(4).any(|window| window == b"\r\n\r\n") {
            if socket.read_buf(&mut text).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    timeout(PATIENCE, read).await.expect("an answer or an end")
}

/// Waits until the other side has closed.
async fn closed(socket: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("the connection is closed");
}

/// Nobody is closed for being slow.
fn patient(count_max: usize) -> Limits {
    Limits { count_max, grace_ms: 100, head_ms: 60_000, idle_ms: 60_000 }
}

#[tokio::test]
async fn silent_connections_and_half_heads_are_closed_in_time_and_idle_ones_are_not_held_to_that() {
    let listening = listening(Limits { head_ms: 400, ..patient(8) }).await;
    let mut idle = listening.answered().await;
    let mut silent = listening.connect().await;
    let mut half = listening.connect().await;
    half.write_all(b"GET /ok HTTP/1.1\r\nhost:").await.unwrap();
    closed(&mut silent).await;
    closed(&mut half).await;
    // Past the limit of a head, and still there.
    assert!(ask(&mut idle, ASK).await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn idle_connections_are_closed_in_time_and_not_before() {
    let listening = listening(Limits { idle_ms: 1_200, ..patient(8) }).await;
    let mut idle = listening.connect().await;
    let asked = monotonic();
    assert!(ask(&mut idle, ASK).await.unwrap().starts_with("HTTP/1.1 200"));
    closed(&mut idle).await;
    assert!(monotonic() - asked >= Duration::from_millis(1_100));
}

#[tokio::test]
async fn a_head_that_drips_is_cut_off_on_a_later_request_too() {
    let listening = listening(Limits { head_ms: 400, ..patient(8) }).await;
    let mut socket = listening.answered().await;
    // 28 bytes, 60 ms apart: more than four times the limit.
    let mut sent_count = 0;
    for byte in ASK {
        if socket.write_all(&[*byte]).await.is_err() {
            break;
        }
        sent_count += 1;
        sleep(Duration::from_millis(60)).await;
    }
    assert!(sent_count < ASK.len(), "the head is complete");
}

#[tokio::test]
async fn more_silent_connections_than_fit_lock_nobody_out() {
    let listening = listening(patient(4)).await;
    let mut kept = listening.connect().await;
    ask(&mut kept, ASK).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(listening.connect().await);
    }
    let mut new = listening.connect().await;
    assert!(ask(&mut new, ASK).await.unwrap().starts_with("HTTP/1.1 200"), "there is room for who asks");
    assert!(ask(&mut kept, ASK).await.unwrap().starts_with("HTTP/1.1 200"), "who has asked stays");
    // The oldest went, the newest are still there.
    closed(silent.first_mut().unwrap()).await;
    let last = silent.last_mut().unwrap();
    assert!(ask(last, ASK).await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn idle_connections_give_way_when_nobody_is_silent_and_busy_ones_are_waited_for() {
    // However long a request is under way to the listener, its connection does not give way as a silent one.
    let listening = listening(Limits { grace_ms: 60_000, ..patient(2) }).await;
    let mut idle = listening.answered().await;
    let mut busy = listening.connect().await;
    busy.write_all(SLOW).await.unwrap();
    listening.slow.begun().await;
    closed(&mut idle).await;
    let mut also_busy = listening.connect().await;
    also_busy.write_all(SLOW).await.unwrap();
    listening.slow.begun().await;
    let mut new = listening.connect().await;
    new.write_all(ASK).await.unwrap();
    // For some looks at who gives way.
    sleep(5 * ROOM_PAUSE).await;
    listening.slow.answered.add_permits(2);
    assert!(ask(&mut new, b"").await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(ask(&mut busy, b"").await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(ask(&mut also_busy, b"").await.unwrap().starts_with("HTTP/1.1 200"));
}

/// A socket that fails as a process without file descriptors does, every other time.
struct Short {
    door: TcpListener,
    errors: VecDeque<i32>,
}

impl Accept for Short {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        match self.errors.pop_front() {
            Some(code) => Err(io::Error::from_raw_os_error(code)),
            None => self.door.accept().await,
        }
    }
}

#[tokio::test]
async fn errors_of_accept_end_nothing_and_are_not_asked_for_again_at_once() {
    const EMFILE: i32 = 24;
    const ECONNABORTED: i32 = 103;
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = door.local_addr().unwrap();
    let errors = VecDeque::from([EMFILE, ECONNABORTED, EMFILE, EMFILE]);
    let began = monotonic();
    let listening = listening_at(Short { door, errors }, address, patient(8));
    let mut socket = listening.connect().await;
    assert!(ask(&mut socket, ASK).await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(monotonic() - began >= 3 * ACCEPT_PAUSE);
}

#[tokio::test]
async fn stopping_lets_a_request_in_flight_finish_and_closes_the_others() {
    let listening = listening(patient(8)).await;
    let (mut silent, mut idle, mut busy) =
        (listening.connect().await, listening.connect().await, listening.connect().await);
    ask(&mut idle, ASK).await.unwrap();
    busy.write_all(SLOW).await.unwrap();
    listening.slow.begun().await;
    listening.stop.send_replace(true);
    closed(&mut silent).await;
    closed(&mut idle).await;
    listening.slow.answered.add_permits(1);
    assert!(ask(&mut busy, b"").await.unwrap().starts_with("HTTP/1.1 200"));
    timeout(PATIENCE, listening.task).await.expect("the listener ends").unwrap();
    assert!(TcpStream::connect(listening.address).await.is_err(), "nobody accepts any more");
}
