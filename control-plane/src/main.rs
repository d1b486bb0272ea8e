//! The `flagfuse` program: wiring only.

mod commands;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser as _;
use flagfuse_control_plane::clock::Clock;
use flagfuse_control_plane::config::{
    Cli, Command, InitArgs, ServeArgs, TokenCommand, TokenCreateArgs, VerifyArgs,
};
use flagfuse_control_plane::credential::{Bearer, TokenKind};
use flagfuse_control_plane::plane::{self, ControlPlane, ServeOptions};
use flagfuse_control_plane::private;
use flagfuse_control_plane::publish::keys::files::{KEYSET_FILE, KeyFolder};
use flagfuse_control_plane::publish::keys::{Protection, create_development};
use flagfuse_control_plane::telemetry;
use flagfuse_shared::ids::Scope;
use flagfuse_shared::snapshot::{Outcome, TrustedRoots, verify};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use self::commands::explain::{claimed_scope, read_frame, refused};

fn main() -> ExitCode {
    // Before there is a thread or a file.
    private::mask();
    work()
}

#[tokio::main]
async fn work() -> ExitCode {
    let cli = Cli::parse();
    telemetry::start(cli.log.as_deref());
    match run(cli.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing more can be done when standard error is closed.
            let _ = writeln!(std::io::stderr(), "flagfuse: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init(args) => init(args).await,
        Command::Serve(args) => serve(args).await,
        Command::Migrate(args) => {
            plane::open_store(&args.data).await?.close().await;
            say("the database is up to date")
        }
        Command::Token(args) => match args.command {
            TokenCommand::Create(args) => create_token(args).await,
        },
        Command::Keys(args) => say(&commands::keys::run(args).await?),
        Command::VerifySnapshot(args) => verify_snapshot(&args),
        Command::Import(args) => say(&commands::import::run(args).await?),
        Command::Explain(args) => say(&commands::explain::run(args).await?),
    }
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("writing to standard output")
}

async fn init(args: InitArgs) -> anyhow::Result<()> {
    let data = &args.data.data;
    let passphrase = args.data.passphrase()?;
    let are_keys_there = KeyFolder::of_data(data).path(KEYSET_FILE).exists();
    if !are_keys_there {
        create_development(data, &Protection::of(passphrase.clone()), Clock::System.now())?;
        warn_of_development(data, passphrase.is_some())?;
    }
    let made = plane::init_database(data, &args.tenant, passphrase, Clock::System).await?;
    if args.json {
        let out = json!({
            "admin_token": made.admin_token,
            "ingest_token": made.ingest_token,
            "root_public_keys": made.root_public_keys,
            "root_threshold": made.root_threshold,
        });
        return say(&out.to_string());
    }
    say(&format!(
        "initialised {}\n\
         admin token (shown once):   {}\n\
         ingest token for the edges: {}\n\
         root public keys:           {}\n\
         root threshold:             {}",
        data.display(),
        made.admin_token,
        made.ingest_token,
        made.root_public_keys.join(","),
        made.root_threshold,
    ))
}

/// On standard error, so that it is seen also where a program reads the answer.
fn warn_of_development(data: &Path, is_sealed: bool) -> anyhow::Result<()> {
    let dir = data.join("keys");
    let dir = dir.display();
    let clear = if is_sealed { "" } else { "private keys are written in clear, for development only\n" };
    let text = format!(
        "{clear}the root is a 1-of-1 development root and lies in {dir}/root.key: whoever reads that file can sign for \
         every edge that trusts it; `flagfuse keys init` makes roots to be carried away\n"
    );
    std::io::stderr().write_all(text.as_bytes()).context("writing to standard error")
}

async fn serve(args: ServeArgs) -> anyhow::Result<()> {
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
    let plane = ControlPlane::unlock(&args.data.data, args.data.passphrase()?, Clock::System).await?;
    plane.require_admin_token(&args.tenant).await?;
    plane.report().await?;
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
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
    let options =
        ServeOptions { edges: args.edges, shards: args.edge_shards, tenant: args.tenant, push_token, tick };
    plane.serve(listener, options, shutdown).await;
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

async fn create_token(args: TokenCreateArgs) -> anyhow::Result<()> {
    let bearer = match (args.kind, args.project, args.environment) {
        (TokenKind::Client, Some(project), Some(environment)) => {
            Bearer::Environment(Scope { tenant: args.tenant, project, environment })
        }
        (TokenKind::Client, _, _) => bail!("a client key needs --project and --environment"),
        (_, None, None) => Bearer::Tenant(args.tenant),
        (_, _, _) => bail!("--project and --environment are for client keys"),
    };
    let plane = ControlPlane::unlock(&args.data.data, args.data.passphrase()?, Clock::System).await?;
    let text = plane.create_token(args.kind, bearer, &args.name).await?;
    plane.store.close().await;
    say(&text)
}

fn verify_snapshot(args: &VerifyArgs) -> anyhow::Result<()> {
    let frame = read_frame(&args.file)?;
    let roots = TrustedRoots::parse(args.roots.iter().map(String::as_str), args.threshold)?;
    let scope = claimed_scope(&frame)?;
    match verify(&frame, &roots, &scope, None, Clock::System.now()).map_err(refused)? {
        Outcome::Newer(admitted) => say(&format!(
            "valid: {scope} {} sha256 {} with {} flags, signed at {} ms",
            admitted.held.version,
            admitted.held.digest,
            admitted.snapshot.flags().count(),
            admitted.created_ms.0,
        )),
        Outcome::Same => bail!("nothing is held, so nothing can be the same"),
    }
}
