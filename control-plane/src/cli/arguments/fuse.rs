//! Arguments of `fuse`: what can be asked of fuses.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::place::{DataArgs, ScopeArgs};
use super::rollout::TokenSource;

/// Arguments of `fuse`.
#[derive(Debug, Args)]
pub(crate) struct FuseArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: FuseCommand,
}

/// What can be asked of a fuse.
#[derive(Debug, Subcommand)]
pub(crate) enum FuseCommand {
    /// Make a flag's verdicts again from the cells they were made of, and compare every bit.
    Replay(ReplayArgs),
    /// Tell what speaks against arming a policy, before it is; the exit code says whether anything does.
    Lint(LintArgs),
}

/// Arguments of `fuse replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Where.
    #[command(flatten)]
    pub data: DataArgs,
    /// Which environment.
    #[command(flatten)]
    pub place: ScopeArgs,
    /// Which flag.
    #[arg(long)]
    pub flag: String,
    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `fuse lint`. Exit codes: 0 nothing speaks against it; 1 something does, or it would be refused; 3 nobody could be
/// asked; 64 a mistake in the arguments.
#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    /// File with the policy, as `PUT …/fuse` takes it, `-` for standard input; the one in force when absent.
    #[arg(value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// The control plane.
    #[arg(long, value_name = "URL", env = "FLAGFUSE_URL", default_value = "http://127.0.0.1:7400")]
    pub url: String,
    #[command(flatten)]
    pub token: TokenSource,
    /// Which project.
    #[arg(long, env = "FLAGFUSE_PROJECT")]
    pub project: String,
    /// Which environment of it.
    #[arg(long, env = "FLAGFUSE_ENVIRONMENT")]
    pub environment: String,
    /// Which flag.
    #[arg(long)]
    pub flag: String,
    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}
