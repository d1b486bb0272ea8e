//! The `flagfuse` program: wiring only.

mod cli;

use std::io::Write as _;
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
    let cli = Cli::parse();
    telemetry::start(cli.log.as_deref());
    match cli::run(cli.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing more can be done when standard error is closed.
            let _ = writeln!(std::io::stderr(), "flagfuse: {error:#}");
            ExitCode::FAILURE
        }
    }
}
