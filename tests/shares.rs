//! Streams of one client among those of others, and of a key that is taken away, on real workerd.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::TcpStream;

use anyhow::{Result, ensure};
use flagfuse_shared::limits::STREAM_SHARE_MAX;
use serde_json::{Value, json};
use support::edge::{CLIENT_KEY, LoneEdge};
use support::plane::{Draft, Replica};
use support::{Client, PATIENCE, eventually};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

/// An event stream as it comes over the wire, chunk lines and all.
struct Stream {
    status: u16,
    reader: BufReader<TcpStream>,
}

impl Stream {
    /// Asks for `target` from an address, as the platform tells it.
    fn open(url: &str, target: &str, address: &str) -> Self {
        let authority = url.replace("http://", "");
        let mut socket = TcpStream::connect(&authority).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let head =
            format!("GET {target} HTTP/1.1\r\nhost: {authority}\r\ncf-connecting-ip: {address}\r\n\r\n");
        socket.write_all(head.as_bytes()).unwrap();
        let mut stream = Self { status: 0, reader: BufReader::new(socket) };
        let line = stream.line().expect("a status line");
        stream.status = line.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap();
        stream
    }

    /// The next line; `None` at the end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no line within {PATIENCE:?}: {error}"),
        }
    }

    /// The milliseconds after which its browser comes back, once it has heard its first event.
    fn retry_ms(&mut self) -> u64 {
        assert_eq!(self.status, 200);
        let mut retry_ms = None;
        while let Some(line) = self.line() {
            retry_ms = line.strip_prefix("retry: ").and_then(|text| text.parse().ok()).or(retry_ms);
            if line.starts_with("data: ") {
                return retry_ms.expect("a retry before the first event");
            }
        }
        panic!("the stream ended before its first event");
    }

    /// Reads until the last chunk, or until the connection ends.
    fn wait_for_the_end(&mut self) {
        while self.line().is_some_and(|line| line != "0") {}
    }
}

fn websocket(url: &str, target: &str) -> Result<WebSocket<TcpStream>, u16> {
    let authority = url.replace("http://", "");
    let request = format!("ws://{authority}{target}").into_client_request().unwrap();
    let stream = TcpStream::connect(&authority).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            Err(response.status().as_u16())
        }
        Err(other) => panic!("{other}"),
    }
}

/// Where a page listens, as a bulk answer says it.
fn endpoint(url: &str) -> String {
    let body = json!({ "context": { "targetingKey": "u" } });
    let bulk = Client::new(url, Some(CLIENT_KEY)).post("/ofrep/v1/evaluate/flags", &body).unwrap();
    let endpoint = &bulk.body["eventStreams"][0]["endpoint"]["requestUri"];
    endpoint.as_str().unwrap_or_else(|| panic!("no stream in {}", bulk.body)).to_owned()
}

fn streams(url: &str) -> Value {
    Client::new(url, None).get("/healthz").unwrap().body["streams"].clone()
}

const FIRST: &str = "192.0.2.1";

/// Asks until a replica answers that is vouched for: without it nobody can tell whether a key is valid. What is asked, and its
/// status.
fn told<T>(edge: &LoneEdge, replica: &mut Replica, ask: impl Fn() -> (T, u16)) -> (T, u16) {
    eventually("an edge that can tell", PATIENCE, || {
        replica.vouch(&edge.keys);
        let (asked, status) = ask();
        ensure!(status != 503, "nobody can tell");
        Ok((asked, status))
    })
    .unwrap()
}

fn opened(url: &str, target: &str) -> (Stream, u16) {
    let stream = Stream::open(url, target, FIRST);
    let status = stream.status;
    (stream, status)
}

#[test]
fn one_client_gets_its_share_of_an_isolates_streams() {
    let (edge, _replica) = LoneEdge::served("shares-streams");
    let url = edge.url("weur");
    let by_key = format!("/v1/stream?key={CLIENT_KEY}");
    let by_token = endpoint(&url);
    let mut held = Vec::new();
    for n in 0..STREAM_SHARE_MAX {
        // With the key or with a token that was issued for it: it is one client.
        let mut stream = Stream::open(&url, if n % 2 == 0 { &by_key } else { &by_token }, FIRST);
        assert!((1_000..5_000).contains(&stream.retry_ms()), "stream {n} is followed");
        held.push(stream);
    }
    let mut further = Stream::open(&url, &by_token, FIRST);
    assert!(further.retry_ms() >= 60_000, "it is turned away for a while");
    further.wait_for_the_end();
    // Another address, and another line of the other family.
    for address in ["192.0.2.2", "2001:db8::1"] {
        let mut stream = Stream::open(&url, &by_token, address);
        assert!((1_000..5_000).contains(&stream.retry_ms()), "{address} is another client");
        held.push(stream);
    }
    assert_eq!(streams(&url), json!(STREAM_SHARE_MAX + 2));
}

#[test]
fn a_key_that_is_taken_away_ends_its_streams_and_sockets_and_no_others() {
    let (edge, mut replica) = LoneEdge::served("shares-revoked");
    let url = edge.url("weur");
    let by_key = format!("/v1/stream?key={CLIENT_KEY}");
    let by_token = endpoint(&url);
    let mut ended: Vec<_> =
        [&by_key, &by_token].into_iter().map(|target| Stream::open(&url, target, FIRST)).collect();
    for stream in &mut ended {
        assert!(stream.retry_ms() < 60_000);
    }
    let mut sockets: Vec<_> =
        [&by_key, &by_token].into_iter().map(|target| websocket(&url, target).unwrap()).collect();
    for socket in &mut sockets {
        assert!(matches!(socket.read().unwrap(), Message::Text(_)), "it is told what there is");
    }

    let second = "demo:dev.second";
    let draft = Draft { client_key: Some(second.to_owned()), ..edge.draft(2) };
    replica.store(&draft.scope, &edge.keys.frame(&draft)).unwrap();
    replica.vouch(&edge.keys);
    for stream in &mut ended {
        stream.wait_for_the_end();
    }
    for socket in &mut sockets {
        let code = loop {
            match socket.read() {
                Ok(Message::Close(frame)) => break frame.map(|frame| u16::from(frame.code)),
                Ok(_) => {}
                Err(error) => panic!("the socket was not closed in order: {error}"),
            }
        };
        assert_eq!(code, Some(1008));
    }
    // Nothing lets it in again, and its browser is told to stay away.
    assert_eq!(told(&edge, &mut replica, || opened(&url, &by_token)).1, 204);
    for target in [&by_token, &by_key] {
        let ask = || ((), websocket(&url, target).err().unwrap_or(101));
        assert_eq!(told(&edge, &mut replica, ask).1, 401, "{target}");
    }
    assert_eq!(told(&edge, &mut replica, || opened(&url, &by_key)).1, 401);

    // The other key's streams go on.
    let by_second = format!("/v1/stream?key={second}");
    let (mut other, _) = told(&edge, &mut replica, || opened(&url, &by_second));
    assert!(other.retry_ms() < 60_000);
    let draft = Draft { client_key: Some(second.to_owned()), ..edge.draft(3) };
    replica.store(&draft.scope, &edge.keys.frame(&draft)).unwrap();
    while !other.line().expect("it goes on").contains("\"etag\":\"1.3\"") {}
    eventually("the places of those that ended are free", PATIENCE, || {
        let count = streams(&url);
        ensure!(count == json!(1), "{count} streams");
        Ok(())
    })
    .unwrap();
}
