//! Arguments of `flagfuse send`. The token is never one of them: arguments can be seen by others.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use flagfuse_shared::limits::BATCH_EVENT_COUNT_MAX;

/// Arguments of `send`.
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// One JSON event a line, as `POST /v1/ingest/events` takes them; `-` for standard input.
    pub file: PathBuf,
    /// The control plane.
    #[arg(long, value_name = "URL", env = "FLAGFUSE_URL", default_value = "http://127.0.0.1:7400")]
    pub url: String,
    /// File with a token of kind `server`; `FLAGFUSE_TOKEN` when absent.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The same from the environment, used when no file is given; arguments can be seen by others.
    #[arg(long, hide = true, env = "FLAGFUSE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// File with certificates in PEM that are trusted in place of the public ones, for `https` with an authority of your own.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Where the position is kept; `FILE.sent` when absent, and nowhere for standard input.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Go on although the token is not the one that this file was begun with: it is of the same environment.
    #[arg(long)]
    pub same_environment: bool,
    /// File that gets the lines that could not be used, one JSON object a line with `line`, `code`, `field` and `reason`.
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Stop at the first line that cannot be used.
    #[arg(long)]
    pub strict: bool,
    /// Requests that are under way at once; with 1 the lines arrive in their order.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub in_flight: u16,
    /// Lines of a request; 2000 when absent. What was begun goes on with as many as before.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=BATCH_EVENT_COUNT_MAX as i64))]
    pub batch: Option<u16>,
    /// Seconds without a single request taken after which it gives up.
    #[arg(long, value_name = "S", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub patience_s: u64,
    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

impl SendArgs {
    /// Whether standard input is read.
    pub(crate) fn is_standard_input(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    /// Where the position is kept, if anywhere.
    pub(crate) fn state(&self) -> Option<PathBuf> {
        let beside = || {
            let mut name = self.file.clone().into_os_string();
            name.push(".sent");
            PathBuf::from(name)
        };
        match &self.state {
            Some(state) => Some(state.clone()),
            None if self.is_standard_input() => None,
            None => Some(beside()),
        }
    }

    pub(crate) const fn patience(&self) -> Duration {
        Duration::from_secs(self.patience_s)
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    const DOCS: &str = include_str!("../../../../docs/import.md");

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        send: SendArgs,
    }

    fn parse(words: &[&str]) -> Result<SendArgs, String> {
        let words = ["send"].iter().chain(words);
        Command::try_parse_from(words).map(|command| command.send).map_err(|error| error.to_string())
    }

    #[test]
    fn every_option_is_in_the_docs() {
        let command = Command::command();
        let options = command.get_arguments().filter(|option| !option.is_hide_set());
        let names: Vec<&str> =
            options.filter_map(clap::Arg::get_long).filter(|name| *name != "help").collect();
        assert!(names.len() > 8, "{names:?}");
        for name in names {
            assert!(DOCS.contains(&format!("\n| `--{name}` |")), "docs/import.md has no row for --{name}");
        }
    }

    #[test]
    fn the_position_is_kept_beside_the_file_unless_it_is_said_where() {
        let state = |words: &[&str]| parse(words).unwrap().state().map(|path| path.display().to_string());
        assert_eq!(state(&["day/orders.ndjson"]).as_deref(), Some("day/orders.ndjson.sent"));
        assert_eq!(state(&["orders.ndjson", "--state", "x"]).as_deref(), Some("x"));
        assert_eq!(state(&["-"]), None);
        assert_eq!(state(&["-", "--state", "x"]).as_deref(), Some("x"));
    }

    #[test]
    fn numbers_are_bounded_and_the_usual_ones_need_not_be_said() {
        let usual = parse(&["f"]).unwrap();
        assert_eq!((usual.in_flight, usual.batch, usual.patience()), (4, None, Duration::from_mins(10)));
        assert!(!usual.strict && usual.url == "http://127.0.0.1:7400");
        for (words, said) in [
            (["--in-flight", "0"], "1..=16"),
            (["--in-flight", "17"], "1..=16"),
            (["--batch", "2001"], "1..=2000"),
            (["--patience-s", "0"], "1..=86400"),
        ] {
            let fault = parse(&[&["f"], &words[..]].concat()).unwrap_err();
            assert!(fault.contains(said), "{fault}");
        }
        assert!(parse(&[]).unwrap_err().contains("<FILE>"));
    }
}
