//! A small JSON client for the admin API and the edge, for tooling and tests. Never retries by itself.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How long an answer may take, on a machine that does much else.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An answer: status, headers and JSON body (`null` when there is none).
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header names in lower case with their values.
    pub headers: Vec<(String, String)>,
    /// Parsed body.
    pub body: Value,
}

impl Answer {
    /// A header's value; names in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body when the status is 2xx; otherwise an error that shows what was answered.
    pub fn ok(self) -> Result<Value> {
        if !(200..300).contains(&self.status) {
            bail!("status {}: {}", self.status, self.body);
        }
        Ok(self.body)
    }
}

/// Keep-alive connections to one base URL with one bearer token.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

impl Client {
    /// A client for `base` (no slash at the end); without a token no `Authorization` header is sent.
    pub fn new(base: &str, token: Option<&str>) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .build()
            .into();
        Self { agent, base: base.to_owned(), token: token.map(str::to_owned) }
    }

    /// A client that gives up after `limit` and opens a connection for each request: what a newcomer finds.
    pub fn newcomer(base: &str, token: Option<&str>, limit: Duration) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(limit))
            .http_status_as_error(false)
            .max_idle_connections(0)
            .build()
            .into();
        Self { agent, base: base.to_owned(), token: token.map(str::to_owned) }
    }

    /// The base URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The token it sends.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// `GET path`.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, &[], None)
    }

    /// The body of `GET path`, which has to be there and need be no text.
    pub fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        let url = format!("{}{path}", self.base);
        let bearer = format!("Bearer {}", self.token.as_deref().unwrap_or_default());
        let request = ureq::http::Request::get(&url).header("authorization", bearer).body(())?;
        let answer = self.agent.run(request).with_context(|| format!("GET {url}"))?;
        let status = answer.status();
        if !status.is_success() {
            bail!("GET {url}: status {status}");
        }
        answer.into_body().read_to_vec().with_context(|| format!("GET {url}"))
    }

    /// `POST path` with a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send("POST", path, &[], Some(body.to_string().into_bytes()))
    }

    /// `PUT path` with a JSON body.
    pub fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send("PUT", path, &[], Some(body.to_string().into_bytes()))
    }

    /// Any request; a body is sent as `application/json`.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Answer> {
        let url = format!("{}{path}", self.base);
        let mut request = ureq::http::Request::builder().method(method).uri(&url);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let said = || format!("{method} {url}");
        let answer = match body {
            Some(body) => self.agent.run(request.body(body)?).with_context(said)?,
            None => self.agent.run(request.body(())?).with_context(said)?,
        };
        read(answer).with_context(said)
    }
}

fn read(answer: ureq::http::Response<ureq::Body>) -> Result<Answer> {
    let status = answer.status().as_u16();
    let headers = answer
        .headers()
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let text = answer.into_body().read_to_string()?;
    let body = serde_json::from_str(&text).unwrap_or(if text.is_empty() {
        Value::Null
    } else {
        Value::String(text)
    });
    Ok(Answer { status, headers, body })
}
