//! `flagfuse send`: events from a file to a control plane, over its API. Whoever is killed goes on where the position file says,
//! with the same requests, which the control plane knows again.

mod connection;
mod course;
mod cut;
mod progress;
mod reject;
mod retry;
mod sender;
mod shared;
mod source;
mod state;
mod tally;

use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::json;

use self::connection::Target;
use self::course::{Course, Manner};
use self::reject::Rejects;
use self::source::Source;
use self::state::{State, StateFile, Terms};
use super::arguments::send::SendArgs;
use super::say;

/// Sends what is not sent, and prints what became of all lines.
pub(crate) async fn run(args: SendArgs) -> anyhow::Result<()> {
    let token = token(&args)?;
    let target = Target::of(&args.url, &token, args.ca_file.as_deref())?;
    let source = if args.is_standard_input() {
        Source::of_pipe("standard input", Box::new(std::io::stdin()))?
    } else {
        Source::of_file(&args.file)?
    };
    let batch = args.batch.map(usize::from);
    let terms = Terms { token: &token, same_environment: args.same_environment, batch };
    let path = args.state();
    let state_file = StateFile::new(path.clone());
    let state = match state_file.read()? {
        Some(begun) => begun.resume(&source, terms)?,
        None => State::begin(&source, terms),
    };
    let rejects_len = state.rejects_len;
    let rejects = args.rejects.as_deref().map(|path| Rejects::open(path, rejects_len)).transpose()?;
    let known = (source.len, source.head().to_vec());
    let input = source.behind(&state.at)?;
    let in_flight = usize::from(args.in_flight);
    let manner = Manner { in_flight, patience: args.patience(), is_strict: args.strict };
    let mut course = Course::new((state, state_file), rejects, known, target, manner);
    let ended = course.run(input, in_flight).await;
    ended.with_context(|| goes_on(course.state.at.line, path.as_deref()))?;
    let (tally, figures) = (&course.state.tally, course.figures());
    if !tally.is_even() {
        bail!("the lines do not add up, which is a fault of this program: {}", tally.told());
    }
    let (seconds, lines_per_s) = (figures.elapsed.as_secs_f64(), figures.rate());
    if args.json {
        return say(&json!({ "tally": tally, "seconds": seconds, "lines_per_s": lines_per_s }).to_string());
    }
    say(&format!("{}\n{seconds:.1} s, {lines_per_s:.0} lines/s", tally.told()))
}

/// What whoever is stopped can do.
fn goes_on(line: u64, state: Option<&Path>) -> String {
    match state {
        Some(path) => {
            format!("stopped behind line {line}; called again it goes on there, see {}", path.display())
        }
        None => format!("stopped behind line {line}; with --state FILE it could go on there"),
    }
}

fn token(args: &SendArgs) -> anyhow::Result<String> {
    let text = match (&args.token_file, &args.token) {
        (Some(path), _) => {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        (None, Some(token)) => token.clone(),
        (None, None) => String::new(),
    };
    let text = text.trim();
    if text.is_empty() {
        bail!("a token of kind server is needed: --token-file FILE or FLAGFUSE_TOKEN");
    }
    Ok(text.to_owned())
}
