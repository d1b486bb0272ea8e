//! Arguments of `fuse`: what can be asked of fuses without a control plane that runs.

use clap::{Args, Subcommand};

use super::place::{DataArgs, ScopeArgs};

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
