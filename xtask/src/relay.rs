//! A TCP relay that delays, cuts and heals: the network between two processes under test. Never looks at the bytes.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

const CHUNK_LEN: usize = 64 * 1024;

/// A relay on a port of its own. Dropping it cuts everything for good.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    delay_ms: RangeInclusive<u64>,
    is_cut: AtomicBool,
    is_over: AtomicBool,
    drawn: AtomicU64,
    /// Both ends of every connection, so that they can be cut.
    open: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// Listens on a free port of 127.0.0.1 and passes on to `target`, each way `delay_ms` later.
    pub fn start(target: SocketAddr, delay_ms: RangeInclusive<u64>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for the relay")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            delay_ms,
            is_cut: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            drawn: AtomicU64::new(0),
            open: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.is_over.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(stream) = stream {
                    accepting.connect(stream);
                }
            }
        });
        Ok(Self { address, shared })
    }

    /// `http://…` of the relay.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends every connection and refuses new ones until [`Relay::heal`].
    pub fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::SeqCst);
        self.shared.close_all();
    }

    /// Lets connections through again.
    pub fn heal(&self) {
        self.shared.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.close_all();
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn connect(self: &Arc<Self>, near: TcpStream) {
        if self.is_cut.load(Ordering::SeqCst) {
            return;
        }
        let Ok(far) = TcpStream::connect(self.target) else { return };
        let pair = [(near.try_clone(), far.try_clone()), (far.try_clone(), near.try_clone())];
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|stream| stream.peer_addr().is_ok());
            open.extend([near, far]);
        }
        for (from, to) in pair {
            if let (Ok(from), Ok(to)) = (from, to) {
                // A small frame must not wait for the receipt of the one before: only our delay counts.
                let _ = to.set_nodelay(true);
                let (sender, receiver) = channel();
                let shared = Arc::clone(self);
                thread::spawn(move || shared.read(from, &sender));
                thread::spawn(move || write(to, &receiver));
            }
        }
        // A cut that came between the check and the list has not seen this connection.
        if self.is_cut.load(Ordering::SeqCst) {
            self.close_all();
        }
    }

    fn close_all(&self) {
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn read(&self, mut from: TcpStream, sender: &Sender<(Instant, Vec<u8>)>) {
        let mut chunk = vec![0; CHUNK_LEN];
        while let Ok(len) = from.read(&mut chunk) {
            let bytes = chunk.get(..len).unwrap_or_default().to_vec();
            if len == 0 || sender.send((Instant::now() + self.draw(), bytes)).is_err() {
                return;
            }
        }
    }

    /// A delay from the range: a fixed walk through it, so that runs are alike.
    fn draw(&self) -> Duration {
        let span = self.delay_ms.end() - self.delay_ms.start() + 1;
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        Duration::from_millis(self.delay_ms.start() + drawn.wrapping_mul(61) % span)
    }
}

/// Writes each chunk when it is due; order is kept, as TCP keeps it.
fn write(mut to: TcpStream, receiver: &Receiver<(Instant, Vec<u8>)>) {
    for (due, bytes) in receiver {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut bytes = [0; 64];
                    while let Ok(len @ 1..) = stream.read(&mut bytes) {
                        stream.write_all(&bytes[..len]).unwrap();
                    }
                });
            }
        });
        address
    }

    fn ask(relay: &Relay, word: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(relay.address)?;
        stream.write_all(word)?;
        let mut answer = vec![0; word.len()];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn bytes_arrive_unchanged_and_no_sooner_than_the_delay_each_way() {
        let relay = Relay::start(echo(), 40..=60).unwrap();
        let began = Instant::now();
        assert_eq!(ask(&relay, b"hello").unwrap(), b"hello");
        assert!(began.elapsed() >= Duration::from_millis(80));
    }

    #[test]
    fn a_cut_ends_connections_and_healing_lets_new_ones_through() {
        let relay = Relay::start(echo(), 0..=0).unwrap();
        let mut before = TcpStream::connect(relay.address).unwrap();
        before.write_all(b"a").unwrap();
        before.read_exact(&mut [0]).unwrap();
        relay.cut();
        assert_eq!(before.read(&mut [0]).unwrap_or(0), 0, "the connection is over");
        assert!(ask(&relay, b"b").is_err());
        relay.heal();
        assert_eq!(ask(&relay, b"c").unwrap(), b"c");
    }
}
