//! `flagfuse serve`: opens a data folder and serves it until it is told to stop.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use flagfuse_control_plane::api::RateLimit;
use flagfuse_control_plane::clock::Clock;
use flagfuse_control_plane::jobs::ServeOptions;
use flagfuse_control_plane::plane::{ControlPlane, Operator};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::arguments::ServeArgs;

/// Returns after SIGINT or SIGTERM.
pub(crate) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    args.check_edges().map_err(anyhow::Error::msg)?;
    let push_token = match (args.push_token_file, args.push_token) {
        (Some(path), _) => read_text(&path)?,
        (None, Some(token)) => token,
        (None, None) if args.edges.is_empty() => String::new(),
        (None, None) => bail!("edges need --push-token-file FILE or FLAGFUSE_PUSH_TOKEN"),
    };
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed already"))?;
    let plane = ControlPlane::unlock(&args.data.location()?, args.data.passphrase()?, Clock::System).await?;
    let plane = match args.advertise_url {
        Some(address) => plane.reached_at(address)?,
        None => plane,
    };
    plane.require_admin_token(&args.of.tenant).await?;
    plane.report().await?;
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let operator = match args.metrics_listen {
        Some(address) => {
            let listener = TcpListener::bind(address).await;
            let listener = listener.with_context(|| format!("cannot listen on {address} for metrics"))?;
            Some(Operator { listener, labels: args.metrics_flag_labels.into() })
        }
        None => None,
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let shutdown = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
    };
    tracing::info!(listen = %listener.local_addr()?, edges = args.edges.len(), "serving");
    let tick = Duration::from_millis(args.tick_ms);
    let options = ServeOptions {
        edges: args.edges,
        shards: args.edge_shards,
        tenant: args.of.tenant,
        push_token,
        tick,
        rate_limit: NonZeroU32::new(args.requests_per_minute).map(|per_minute| RateLimit { per_minute }),
    };
    plane.serve_beside(listener, operator, options, shutdown).await;
    Ok(())
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = text.trim();
    if text.is_empty() {
        bail!("{} is empty", path.display());
    }
    Ok(text.to_owned())
}
