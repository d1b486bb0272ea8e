//! A network between a program and the product that loses answers: what is posted to its paths for events arrives and is not
//! answered the first time, is turned away the second time, and goes through from then on. All else goes through.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// How long a connection may be quiet.
const QUIET_MAX: Duration = Duration::from_secs(30);
/// What a server says that is asked too often.
const TURNED_AWAY: &str =
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";

/// Events as they were posted, and what was answered.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    pub(crate) body: Value,
    /// What the product answered; `None` where it was not asked.
    pub(crate) answer: Option<Value>,
}

/// Such a network, until it is dropped.
pub(crate) struct Lossy {
    port: u16,
    posted: Arc<Mutex<Vec<Posted>>>,
    has_ended: Arc<AtomicBool>,
}

impl Lossy {
    /// In front of `upstream`, `http://host:port`.
    pub(crate) fn before(upstream: &str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port")?;
        let port = listener.local_addr()?.port();
        let (posted, has_ended) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let lossy = Self { port, posted: Arc::clone(&posted), has_ended: Arc::clone(&has_ended) };
        thread::spawn(move || {
            for stream in listener.incoming() {
                if has_ended.load(Ordering::SeqCst) {
                    return;
                }
                let (upstream, posted) = (upstream.clone(), Arc::clone(&posted));
                // Whoever is left without an answer asks again.
                thread::spawn(move || stream.map(|stream| relay(&stream, &upstream, &posted)));
            }
        });
        Ok(lossy)
    }

    /// Where it is reached.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What was posted to its paths for events so far.
    pub(crate) fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::SeqCst);
        // It waits for a connection.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// One request, whose connection ends with it.
fn relay(stream: &TcpStream, upstream: &str, posted: &Mutex<Vec<Posted>>) -> Result<()> {
    stream.set_read_timeout(Some(QUIET_MAX))?;
    let mut reader = BufReader::new(stream);
    let (mut first, mut head, mut len) = (String::new(), String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if name == "content-length" {
            len = line.split(':').nth(1).unwrap_or_default().trim().parse()?;
        }
        if !["connection", "keep-alive"].contains(&name.as_str()) {
            head += &line;
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body)?;
    let ask = || -> Result<Vec<u8>> {
        let mut to = TcpStream::connect(upstream)?;
        to.set_read_timeout(Some(QUIET_MAX))?;
        to.write_all(format!("{first}{head}Connection: close\r\n\r\n").as_bytes())?;
        to.write_all(&body)?;
        let mut answer = Vec::new();
        to.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let mut stream = stream;
    if !first.split(' ').nth(1).is_some_and(|path| path.ends_with("/events")) {
        stream.write_all(&ask()?)?;
        return Ok(());
    }
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let mut known = posted.lock().unwrap_or_else(PoisonError::into_inner);
    let attempt = known.len();
    let answer = if attempt == 1 { TURNED_AWAY.as_bytes().to_vec() } else { ask()? };
    let text = String::from_utf8_lossy(&answer);
    let told = text.split_once("\r\n\r\n").and_then(|(_, body)| json_in(body));
    known.push(Posted { body, answer: told.filter(|_| attempt != 1) });
    if attempt > 0 {
        stream.write_all(&answer)?;
    }
    Ok(stream.shutdown(Shutdown::Both)?)
}

/// The object in a body, which may come in chunks.
fn json_in(body: &str) -> Option<Value> {
    let object = body.get(body.find('{')?..=body.rfind('}')?)?;
    serde_json::from_str(object).ok()
}
