//! Logs: to standard error, filtered by `RUST_LOG`, as text or as JSON. Never a token, never a unit.

use std::str::FromStr as _;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: an object a line, with the request in `span`.
    Json,
}

impl LogFormat {
    /// Every format there is.
    pub const ALL: [Self; 2] = [Self::Text, Self::Json];

    /// The word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Starts logging; a second call changes nothing.
pub fn start(filter: Option<&str>, format: LogFormat) {
    // `info`, `flagfuse=debug,sqlx=warn`: levels of targets are all that is needed, and they need no patterns.
    let filter = filter.and_then(|text| Targets::from_str(text).ok());
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(Level::INFO));
    // A line of `~/.pgpass` that it cannot read is shown with the password in it.
    let filter = filter.with_target("sqlx_postgres::options::pgpass", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    // Fails only when a subscriber is there already, as in tests.
    let _ = tracing_subscriber::registry().with(lines).with(filter).try_init();
}
