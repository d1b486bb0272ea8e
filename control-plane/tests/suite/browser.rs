//! A browser in which somebody may be signed in: it keeps one cookie and says where its page comes from.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::document::{Exchange, assert_documented};
use crate::world::{Answer, World};

/// Where the worlds of these tests are, for browsers.
pub(crate) const HOST: &str = "flags.example";

pub(crate) struct Browser<'w> {
    pub(crate) world: &'w World,
    /// As the browser sends it.
    pub(crate) cookie: Option<String>,
    /// What it says of the page that asks.
    pub(crate) site: Option<&'static str>,
    /// The line that told it to keep a cookie last.
    pub(crate) set_cookie: Option<String>,
}

impl<'w> Browser<'w> {
    pub(crate) const fn new(world: &'w World) -> Self {
        Self { world, cookie: None, site: Some("same-origin"), set_cookie: None }
    }

    /// One in which the code of a link was followed.
    pub(crate) async fn signed_in(world: &'w World, code: &str) -> Self {
        let mut browser = Self::new(world);
        let answer = browser.follow(code).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
        browser
    }

    pub(crate) async fn follow(&mut self, code: &str) -> Answer {
        self.send("POST", "/v1/session/link", json!({ "code": code })).await
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        // People have to say which state they have seen; here it is whichever is there.
        let seen = [("if-match", "*")];
        let headers = if ["PUT", "PATCH", "DELETE"].contains(&method) { &seen[..] } else { &[] };
        self.send_with(method, path, headers, body).await
    }

    pub(crate) async fn ok(&mut self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.send(method, path, body).await;
        assert!(answer.status.is_success(), "{method} {path}: {} {}", answer.status, answer.body);
        answer.body
    }

    pub(crate) async fn send_with(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        sent: Vec<u8>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", HOST);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        if let Some(site) = self.site {
            request = request.header("sec-fetch-site", site);
        }
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Body::from(sent.clone())).unwrap();
        let response = self.world.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let header = |name| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        if let Some(line) = header("set-cookie") {
            let (pair, _) = line.split_once(';').unwrap();
            self.cookie = Some(pair.to_owned()).filter(|pair| !pair.ends_with('='));
            self.set_cookie = Some(line);
        }
        let (status, etag) = (parts.status, header("etag"));
        let content_type = header("content-type").unwrap_or_default();
        let bytes = to_bytes(body, 64 << 20).await.unwrap();
        let (content_type, sent, received) = (content_type.as_str(), sent.as_slice(), &*bytes);
        assert_documented(&Exchange { method, path, sent, status, content_type, received });
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status, etag, headers: parts.headers, body }
    }
}
