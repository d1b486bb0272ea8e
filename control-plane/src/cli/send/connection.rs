//! One keep-alive connection to a control plane, with or without TLS, opened again when it is gone. Never retries by itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use axum::http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

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
    authority: String,
    host: String,
    port: u16,
    path: String,
    tls: Option<TlsConnector>,
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
    /// `http://HOST[:PORT][/PATH]` or `https://…`; `authorities` are those of a file, in place of the public ones.
    pub(super) fn of(url: &str, token: &str, authorities: Option<&Path>) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("the URL {url:?} is none"))?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => bail!("the URL {url:?} has to start with http:// or https://"),
        };
        let (host, authority) = (uri.host().unwrap_or_default(), uri.authority().map_or("", |a| a.as_str()));
        ensure!(
            !host.is_empty() && !authority.contains('@'),
            "the URL {url:?} has to name a host, and no user"
        );
        ensure!(uri.query().is_none(), "the URL {url:?} has a query");
        // `…/v1` is what other tools call the API.
        let base = uri.path().trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base);
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| anyhow::anyhow!("the token has characters that no token has"))?;
        authorization.set_sensitive(true);
        ensure!(is_https || authorities.is_none(), "--ca-file is for https://, and the URL is {url}");
        Ok(Self {
            authority: authority.to_owned(),
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            path: format!("{base}{PATH}"),
            tls: if is_https { Some(tls(authorities)?) } else { None },
            authorization,
        })
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Body>> {
        let stream = TcpStream::connect(format!("{}:{}", self.host, self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return serve(stream).await };
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).context("the host is no name for TLS")?;
        serve(tls.connect(name, stream).await.context("TLS")?).await
    }

    fn request(&self, body: Bytes) -> anyhow::Result<Request<Body>> {
        let request = Request::post(&self.path)
            .header(HOST, &self.authority)
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, "application/x-ndjson")
            .header(USER_AGENT, AGENT);
        Ok(request.body(Body::from(body))?)
    }
}

fn tls(authorities: Option<&Path>) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    match authorities {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let reading = || format!("cannot read certificates in PEM from {}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).with_context(reading)? {
                roots.add(certificate.with_context(reading)?).with_context(reading)?;
            }
            ensure!(!roots.is_empty(), "{} has no certificate in PEM", path.display());
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}

/// Drives the connection until it ends.
async fn serve<S>(stream: S) -> anyhow::Result<SendRequest<Body>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection has ended");
        }
    });
    Ok(sender)
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
        let connecting = timeout(CONNECT_LIMIT, self.target.connect()).await;
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
    use rustls::pki_types::PrivateKeyDer;
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
            assert_eq!((target.host.as_str(), target.port, target.path.as_str()), (host, port, path));
            assert_eq!(target.tls.is_some(), url.starts_with("https"));
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
