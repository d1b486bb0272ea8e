//! Arguments of the commands about roll-outs: `flagfuse baseline` and `flagfuse rollout`. A token is never one of them:
//! arguments can be seen by others.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::http::{HeaderName, HeaderValue, Method};
use clap::{Args, ValueEnum};

/// With which token a control plane is asked.
#[derive(Debug, Args)]
pub(crate) struct TokenSource {
    /// File with a token of kind `admin`, or `viewer` where nothing is changed; `FLAGFUSE_TOKEN` when absent.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The same from the environment, used when no file is given; arguments can be seen by others.
    #[arg(long, hide = true, env = "FLAGFUSE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// File with certificates in PEM that are trusted in place of the public ones, for `https` with an authority of your own.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

impl TokenSource {
    /// The token from the file or the environment.
    pub(crate) fn read(&self) -> anyhow::Result<String> {
        let text = match (&self.token_file, &self.token) {
            (Some(path), _) => {
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
            }
            (None, Some(token)) => token.clone(),
            (None, None) => String::new(),
        };
        let text = text.trim();
        if text.is_empty() {
            bail!("a token is needed: --token-file FILE or FLAGFUSE_TOKEN");
        }
        Ok(text.to_owned())
    }
}

/// What is done with a roll-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Verb {
    /// Tell how far it got.
    Status,
    /// Begin a validation; one that runs goes on.
    Validate,
    /// Keep the feature.
    Promote,
    /// Switch the feature off.
    Rollback,
}

/// Arguments of `rollout`. Exit codes: 0 promoted, or its contract is met; 1 rolled back, violated, or refused; 2 not decided
/// yet; 3 nobody could be asked; 64 a mistake in the arguments.
#[derive(Debug, Args)]
pub(crate) struct RolloutArgs {
    /// What to do.
    #[arg(value_enum)]
    pub verb: Verb,
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
    /// Why, for the audit trail.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// `validate`: begin anew, also where a validation runs or the flag is promoted.
    #[arg(long)]
    pub restart: bool,
    /// `status` and `validate`: seconds to wait for a decision.
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=2_592_000))]
    pub wait_s: u64,
    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `baseline`.
#[derive(Debug, Args)]
pub(crate) struct BaselineArgs {
    /// What is measured.
    #[arg(long, value_name = "URL")]
    pub url: String,
    /// How many requests.
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub requests: u32,
    /// How many are under way at once, each on a connection that is kept.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub concurrency: u16,
    /// After how long a request has failed; it counts as one that took so long.
    #[arg(long, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub timeout_ms: u64,
    /// The method of each request.
    #[arg(long, default_value = "GET")]
    pub method: Method,
    /// A header of each request, repeatable.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// File with the body of each request.
    #[arg(long, value_name = "FILE")]
    pub body: Option<PathBuf>,
    /// A request has converted whose answer has this header, with this value where one is given.
    #[arg(long, value_name = "NAME[=VALUE]", conflicts_with = "conversion_json")]
    pub conversion_header: Option<String>,
    /// A request has converted whose answer is JSON and has a true value there: `/order/paid` or `order.paid`.
    #[arg(long, value_name = "PATH")]
    pub conversion_json: Option<String>,
    /// Keep it as the baseline of a flag of this control plane.
    #[arg(long, value_name = "URL", requires_all = ["project", "environment", "flag"])]
    pub plane: Option<String>,
    #[command(flatten)]
    pub token: TokenSource,
    /// Whose flag.
    #[arg(long, env = "FLAGFUSE_PROJECT")]
    pub project: Option<String>,
    /// In which environment.
    #[arg(long, env = "FLAGFUSE_ENVIRONMENT")]
    pub environment: Option<String>,
    /// Of which flag.
    #[arg(long)]
    pub flag: Option<String>,
    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

impl BaselineArgs {
    pub(crate) const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is NAME: VALUE")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} is no name of a header"))?;
    let value = value.trim().parse().map_err(|_| format!("{value:?} is no value of a header"))?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    const DOCS: &str = include_str!("../../../../docs/contracts.md");

    #[derive(Debug, Parser)]
    struct Baseline {
        #[command(flatten)]
        args: BaselineArgs,
    }

    #[derive(Debug, Parser)]
    struct Rollout {
        #[command(flatten)]
        args: RolloutArgs,
    }

    #[test]
    fn every_option_is_in_the_docs() {
        for command in [Baseline::command(), Rollout::command()] {
            let options = command.get_arguments().filter(|option| !option.is_hide_set());
            let names: Vec<&str> =
                options.filter_map(clap::Arg::get_long).filter(|name| *name != "help").collect();
            assert!(names.len() > 8, "{names:?}");
            for name in names {
                assert!(DOCS.contains(&format!("`--{name}`")), "docs/contracts.md says nothing of --{name}");
            }
        }
    }

    #[test]
    fn what_goes_together_is_asked_for_together() {
        let parse = |words: &[&str]| {
            let words = ["baseline", "--url", "http://x"].iter().chain(words);
            Baseline::try_parse_from(words).map(|parsed| parsed.args).map_err(|error| error.to_string())
        };
        let usual = parse(&[]).unwrap();
        assert_eq!((usual.requests, usual.concurrency, usual.timeout()), (5_000, 50, Duration::from_secs(5)));
        assert!(parse(&["--plane", "http://y", "--project", "p"]).unwrap_err().contains("--flag"));
        let both = parse(&["--conversion-header", "x", "--conversion-json", "y"]).unwrap_err();
        assert!(both.contains("cannot be used with"), "{both}");
        assert!(parse(&["--header", "none"]).unwrap_err().contains("NAME: VALUE"));
        let sent = parse(&["--header", "x-a:  b "]).unwrap().headers;
        assert_eq!((sent[0].0.as_str(), sent[0].1.as_bytes()), ("x-a", &b"b"[..]));
        assert!(parse(&["--concurrency", "0"]).is_err());
    }
}
