//! The command line: what it takes, and one file for each command. Commands print; everything else is the library's.

mod api;
pub(crate) mod arguments;
mod baseline;
mod causes;
mod explain;
mod fuse;
mod http;
mod import;
mod init;
mod keys;
mod line;
mod lint;
mod login_link;
mod openapi;
mod rollout;
mod send;
mod serve;
mod token;
mod verify;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use flagfuse_control_plane::plane;
use serde_json::json;

use self::arguments::fuse::{FuseArgs, FuseCommand};
use self::arguments::{Command, TokenCommand};
pub(crate) use self::causes::with_causes;

/// Does what the command line says; what its exit code is, where that says more than that it was done.
pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Rollout(args) => return rollout::run(args).await,
        Command::Fuse(FuseArgs { command: FuseCommand::Lint(args) }) => return lint::run(args).await,
        Command::Fuse(FuseArgs { command: FuseCommand::Replay(args) }) => fuse::replay(&args).await,
        Command::Init(args) => init::run(args).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Migrate(args) => {
            plane::open_store(&args.location()?).await?.close().await;
            say("the database is up to date")
        }
        Command::Token(args) => match args.command {
            TokenCommand::Create(args) => say(&token::create(args).await?),
        },
        Command::LoginLink(args) => login_link::run(args).await,
        Command::Keys(args) => say(&keys::run(args).await?),
        Command::VerifySnapshot(args) => say(&verify::run(&args)?),
        Command::Import(args) => say(&import::run(args).await?),
        Command::Send(args) => send::run(args).await,
        Command::Baseline(args) => baseline::run(args).await,
        Command::Explain(args) => say(&explain::run(args).await?),
        Command::Openapi(args) => say(&openapi::run(&args)?),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("writing to standard output")
}

/// Says something beside the result.
pub(crate) fn tell(text: &str) {
    // Nothing more can be done when standard error is closed.
    let _ = writeln!(std::io::stderr(), "flagfuse: {text}");
}

/// Says why there is no result, as JSON in its place too where that is asked for.
fn tell_failure(error: &anyhow::Error, as_json: bool) -> anyhow::Result<()> {
    let text = with_causes(error);
    if as_json {
        say(&json!({ "error": text }).to_string())?;
    }
    tell(&text);
    Ok(())
}
