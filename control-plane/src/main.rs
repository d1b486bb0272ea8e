//! The `flagfuse` program: wiring only.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;
use flagfuse_control_plane::{private, telemetry};

use self::cli::arguments::Cli;

fn main() -> ExitCode {
    // Before there is a thread or a file.
    private::mask();
    work()
}

#[tokio::main]
async fn work() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    telemetry::start(cli.log.as_deref(), cli.log_format);
    match cli::run(cli.command).await {
        Ok(code) => code,
        Err(error) => {
            cli::tell(&cli::with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// Prints help or what is wrong. A mistake is 2, as everywhere; after `rollout`, where 2 means something else, it is 64.
fn misused(error: &clap::Error) -> ExitCode {
    // Nothing more can be done when standard error is closed.
    let _ = error.print();
    let is_rollout = std::env::args_os().nth(1).is_some_and(|word| word == "rollout");
    match (error.use_stderr(), is_rollout) {
        (false, _) => ExitCode::SUCCESS,
        (true, true) => ExitCode::from(64),
        (true, false) => ExitCode::from(2),
    }
}
