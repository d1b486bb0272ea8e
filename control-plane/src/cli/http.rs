//! A server by its URL, and connections to it with or without TLS: what the commands share that speak HTTP. Never retries.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use axum::body::Body;
use axum::http::Uri;
use axum::http::header::HeaderValue;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A server and the place on it that a URL names.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) authority: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) tls: Option<TlsConnector>,
}

impl Origin {
    /// `http://HOST[:PORT][/PATH]` or `https://…`; `authorities` are those of a file, in place of the public ones.
    pub(super) fn of(url: &str, authorities: Option<&Path>) -> anyhow::Result<Self> {
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
        ensure!(is_https || authorities.is_none(), "--ca-file is for https://, and the URL is {url}");
        Ok(Self {
            authority: authority.to_owned(),
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            tls: if is_https { Some(tls(authorities)?) } else { None },
        })
    }

    /// What stands in front of the API's own paths, where this is a control plane: `…/v1` is what other tools call the API.
    pub(super) fn base(&self) -> anyhow::Result<&str> {
        ensure!(self.query.is_none(), "the URL of a control plane has a query");
        let base = self.path.trim_end_matches('/');
        Ok(base.strip_suffix("/v1").unwrap_or(base))
    }

    pub(super) async fn connect(&self) -> anyhow::Result<SendRequest<Body>> {
        let stream = TcpStream::connect(format!("{}:{}", self.host, self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return serve(stream).await };
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).context("the host is no name for TLS")?;
        serve(tls.connect(name, stream).await.context("TLS")?).await
    }
}

/// The header of a token.
pub(super) fn authorization(token: &str) -> anyhow::Result<HeaderValue> {
    let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| anyhow::anyhow!("the token has characters that no token has"))?;
    authorization.set_sensitive(true);
    Ok(authorization)
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
