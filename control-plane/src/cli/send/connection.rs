//! One keep-alive connection to a control plane, with or without TLS, opened again when it is gone. Never retries by itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::time::timeout;

use super::super::http::{Origin, authorization};

/// How long reaching the other side may take, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long an answer may take: a control plane that starts reads its log first.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);
/// Bytes of an answer, which names each event that could not be used.
const ANSWER_LEN_MAX: usize = 4 * 1024 * 1024;
/// Below the URL.
const PATH: &str = "/v1/ingest/events";
const AGENT: &str = concat!("flagfuse-send/", env!("CARGO_PKG_VERSION"));

/// Where events go, and with which token.
#[derive(Clone)]
pub(super) struct Target {
    origin: Origin,
    path: String,
    authorization: HeaderValue,
}

/// An answer that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
    /// Where a redirect leads; none is followed.
    pub(super) location: Option<String>,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) error: anyhow::Error,
    /// Whether the request may have been taken all the same.
    pub(super) was_sent: bool,
}

impl Target {
    /// A control plane by its URL; `authorities` are those of a file, in place of the public ones.
    pub(super) fn of(url: &str, token: &str, authorities: Option<&Path>) -> anyhow::Result<Self> {
        let (authorization, origin) = (authorization(token)?, Origin::of(url, authorities)?);
        let path = format!("{}{PATH}", origin.base()?);
        Ok(Self { origin, path, authorization })
    }

    fn request(&self, body: Bytes) -> anyhow::Result<Request<Body>> {
        let request = Request::post(&self.path)
            .header(HOST, &self.origin.authority)
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, "application/x-ndjson")
            .header(USER_AGENT, AGENT);
        Ok(request.body(Body::from(body))?)
    }
}

/// A connection, or none yet.
pub(super) struct Connection {
    target: Arc<Target>,
    sender: Option<SendRequest<Body>>,
}

impl Connection {
    pub(super) const fn new(target: Arc<Target>) -> Self {
        Self { target, sender: None }
    }

    /// One request.
    pub(super) async fn post(&mut self, body: Bytes) -> Result<Answer, Unanswered> {
        let kept = self.sender.take().filter(|sender| !sender.is_closed());
        let unsent = |error| Unanswered { error, was_sent: false };
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.connected().await.map_err(unsent)?,
        };
        let request = self.target.request(body).map_err(unsent)?;
        let answer = answered(&mut sender, request).await;
        let answer = answer.map_err(|error| Unanswered { error, was_sent: true })?;
        self.sender = Some(sender);
        Ok(answer)
    }

    async fn connected(&self) -> anyhow::Result<SendRequest<Body>> {
        let connecting = timeout(CONNECT_LIMIT, self.target.origin.connect()).await;
        let seconds = CONNECT_LIMIT.as_secs();
        connecting.map_err(|_| anyhow::anyhow!("not reached within {seconds} s"))?.context("not reached")
    }
}

async fn answered(sender: &mut SendRequest<Body>, request: Request<Body>) -> anyhow::Result<Answer> {
    let asked = timeout(ANSWER_LIMIT, async {
        sender.ready().await?;
        read(sender.send_request(request).await?).await
    });
    let seconds = ANSWER_LIMIT.as_secs();
    asked.await.map_err(|_| anyhow::anyhow!("no answer within {seconds} s"))?.context("no answer")
}

async fn read(response: Response<Incoming>) -> anyhow::Result<Answer> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (status, retry_after, location) = (response.status().as_u16(), header(RETRY_AFTER), header(LOCATION));
    let body = to_bytes(Body::new(response.into_body()), ANSWER_LEN_MAX).await?;
    Ok(Answer { status, retry_after, location, body })
}

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// Of `localhost`, signed by itself, for a hundred years; good for nothing but this test.
    const CERTIFICATE: &[u8] = include_bytes!("testing/localhost.pem");
    const KEY: &[u8] = include_bytes!("testing/localhost.key.pem");

    #[test]
    fn a_url_names_scheme_host_and_what_is_in_front_of_the_path() {
        let of = |url: &str| Target::of(url, "ff_server_x", None);
        for (url, host, port, path) in [
            ("http://127.0.0.1:7400", "127.0.0.1", 7400, "/v1/ingest/events"),
            ("http://[::1]:7400/", "[::1]", 7400, "/v1/ingest/events"),
            ("https://flags.example/v1", "flags.example", 443, "/v1/ingest/events"),
            ("http://flags.example/flagfuse/", "flags.example", 80, "/flagfuse/v1/ingest/events"),
        ] {
            let target = of(url).unwrap();
            let origin = &target.origin;
            assert_eq!((origin.host.as_str(), origin.port, target.path.as_str()), (host, port, path));
            assert_eq!(origin.tls.is_some(), url.starts_with("https"));
        }
        for (url, said) in [
            ("ftp://x", "start with http:// or https://"),
            ("flags.example", "start with http:// or https://"),
            ("http://ada:s3cret@x", "no user"),
            ("http://x/?a=b", "has a query"),
            ("http://x y", "is none"),
        ] {
            let error = of(url).err().unwrap().to_string();
            assert!(error.contains(said), "{url}: {error}");
        }
        assert!(Target::of("http://x", "a\nb", None).err().unwrap().to_string().contains("token"));
        let plain = Target::of("http://x", "t", Some(Path::new("ca.pem"))).err().unwrap().to_string();
        assert!(plain.contains("--ca-file is for https://"), "{plain}");
    }

    /// Answers every request of one connection with its body's length.
    async fn echo(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
        let mut seen = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let Ok(len) = stream.read(&mut buffer).await else { return };
            if len == 0 {
                return;
            }
            seen.extend_from_slice(&buffer[..len]);
            if seen.ends_with(b"end") {
                let text = String::from_utf8_lossy(&seen).into_owned();
                assert!(text.starts_with("POST /v1/ingest/events HTTP/1.1\r\n"), "{text}");
                assert!(text.contains("authorization: Bearer ff_server_x\r\n"), "{text}");
                let answer =
                    "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\n{}";
                stream.write_all(answer.as_bytes()).await.unwrap();
                seen.clear();
            }
        }
    }

    async fn tls_listener() -> u16 {
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
        let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(echo(stream));
                }
            }
        });
        port
    }

    #[tokio::test]
    async fn tls_is_spoken_with_who_shows_a_certificate_of_a_trusted_authority() {
        let port = tls_listener().await;
        let folder = tempfile::tempdir().unwrap();
        let authorities = folder.path().join("ca.pem");
        std::fs::write(&authorities, CERTIFICATE).unwrap();
        let url = format!("https://localhost:{port}");
        let target = Target::of(&url, "ff_server_x", Some(&authorities)).unwrap();
        let mut connection = Connection::new(Arc::new(target));
        for _ in 0..2 {
            let answer = connection.post(Bytes::from_static(b"the end")).await.unwrap();
            assert_eq!(
                (answer.status, answer.retry_after.as_deref(), &answer.body[..]),
                (429, Some("7"), &b"{}"[..])
            );
        }
        let stranger = Target::of(&url, "ff_server_x", None).unwrap();
        let error = Connection::new(Arc::new(stranger)).post(Bytes::new()).await.unwrap_err();
        assert!(!error.was_sent && format!("{:#}", error.error).contains("UnknownIssuer"), "{error:?}");
        let by_number = format!("https://127.0.0.1:{port}");
        let other_name = Target::of(&by_number, "ff_server_x", Some(&authorities)).unwrap();
        let error = Connection::new(Arc::new(other_name)).post(Bytes::new()).await.unwrap_err();
        assert!(format!("{:#}", error.error).contains("not valid for name"), "{error:?}");
        std::fs::write(&authorities, "no certificate").unwrap();
        assert!(Target::of(&url, "t", Some(&authorities)).is_err());
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_is_opened_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut connection = Connection::new(Arc::new(Target::of(&url, "ff_server_x", None).unwrap()));
        tokio::spawn(async move {
            // The first one is closed without an answer.
            drop(listener.accept().await.unwrap());
            echo(listener.accept().await.unwrap().0).await;
        });
        let error = connection.post(Bytes::from_static(b"the end")).await.unwrap_err();
        assert!(error.was_sent && format!("{:#}", error.error).starts_with("no answer"), "{error:?}");
        assert_eq!(connection.post(Bytes::from_static(b"the end")).await.unwrap().status, 429);
    }
}
