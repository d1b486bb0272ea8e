//! A control plane's API, asked from the command line: one request, one answer, each within its time.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use axum::http::{Method, Request};
use flagfuse_shared::strict;
use serde_json::Value;
use tokio::time::timeout;

use super::http::{Origin, authorization};

/// How long a request may take, with reaching the other side.
const LIMIT: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const ANSWER_LEN_MAX: usize = 4 * 1024 * 1024;
const AGENT: &str = concat!("flagfuse/", env!("CARGO_PKG_VERSION"));

/// Where a control plane is, and with which token it is asked.
pub(super) struct Api {
    origin: Origin,
    authorization: HeaderValue,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answered {
    pub(super) status: u16,
    /// Null where there is no JSON.
    pub(super) body: Value,
}

impl Answered {
    pub(super) const fn is_success(&self) -> bool {
        self.status / 100 == 2
    }

    /// A text of the body.
    pub(super) fn text(&self, name: &str) -> &str {
        self.body.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A failure in words.
    pub(super) fn problem(&self) -> String {
        match (self.text("code"), self.text("detail")) {
            ("", _) => format!("status {}", self.status),
            (code, detail) => format!("status {} {code}: {detail}", self.status),
        }
    }
}

impl Api {
    pub(super) fn of(url: &str, token: &str, authorities: Option<&Path>) -> anyhow::Result<Self> {
        let origin = Origin::of(url, authorities)?;
        origin.base()?;
        Ok(Self { origin, authorization: authorization(token)? })
    }

    /// Asks once.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answered> {
        let asked = timeout(LIMIT, self.ask(method, path, body)).await;
        let Ok(answer) = asked else { bail!("no answer within {} s", LIMIT.as_secs()) };
        answer.with_context(|| format!("{} cannot be asked", self.origin.authority))
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answered> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.origin.base()?))
            .header(HOST, &self.origin.authority)
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, AGENT)
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))?;
        let mut sender = self.origin.connect().await?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let bytes = to_bytes(Body::new(response.into_body()), ANSWER_LEN_MAX).await?;
        Ok(Answered { status, body: strict::parse(&bytes).unwrap_or_default() })
    }
}

/// The path of a flag, whose keys are put into it as they may stand there.
pub(super) fn flag_path(project: &str, environment: &str, flag: &str) -> String {
    let [project, environment, flag] = [project, environment, flag].map(encoded);
    format!("/v1/projects/{project}/environments/{environment}/flags/{flag}")
}

fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing into a text cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_stand_in_a_path_whatever_is_in_them() {
        let path = flag_path("demo", "production", "a/b ä");
        assert_eq!(path, "/v1/projects/demo/environments/production/flags/a%2Fb%20%C3%A4");
    }

    #[test]
    fn a_failure_is_told_in_the_words_of_its_problem() {
        let answered = |status, body| Answered { status, body };
        let problem = json!({ "code": "unknown_fuse", "detail": "flag has no fuse" });
        assert_eq!(answered(404, problem).problem(), "status 404 unknown_fuse: flag has no fuse");
        assert_eq!(answered(502, Value::Null).problem(), "status 502");
        assert!(answered(204, Value::Null).is_success() && !answered(301, Value::Null).is_success());
    }
}
