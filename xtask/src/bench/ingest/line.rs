//! One keep-alive connection that posts ready bodies: what a load generator can afford beside the server it measures.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How long one answer may take, on a machine that does much else.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to the control plane, opened again when it is gone.
#[derive(Debug)]
pub(crate) struct Line {
    port: u16,
    token: String,
    stream: Option<BufReader<TcpStream>>,
}

/// An answer's status and body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Line {
    pub(crate) fn new(port: u16, token: &str) -> Self {
        Self { port, token: token.to_owned(), stream: None }
    }

    /// `POST path`; after an error the connection is a new one.
    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> Result<Answer> {
        let answer = self.try_post(path, body);
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    fn try_post(&mut self, path: &str, body: &[u8]) -> Result<Answer> {
        let stream = if let Some(stream) = &mut self.stream {
            stream
        } else {
            let stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            self.stream.insert(BufReader::with_capacity(16 << 10, stream))
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.token,
            body.len()
        );
        stream.get_mut().write_all(head.as_bytes())?;
        stream.get_mut().write_all(body)?;
        read(stream)
    }
}

/// Reads an answer that says how long it is.
fn read(stream: &mut BufReader<TcpStream>) -> Result<Answer> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        bail!("the connection was closed before an answer");
    }
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("{line:?} is no status line"))?;
    let mut len = 0;
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            bail!("the connection was closed within an answer");
        }
        let header = line.trim_end();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            len = value.trim().parse().context("reading content-length")?;
        }
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body)?;
    Ok(Answer { status, body })
}
