//! Logs: to standard error, filtered by `RUST_LOG`. Never a token, never a unit.

use std::str::FromStr as _;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts logging; a second call changes nothing.
pub fn start(filter: Option<&str>) {
    // `info`, `flagfuse=debug,sqlx=warn`: levels of targets are all that is needed, and they need no patterns.
    let filter = filter.and_then(|text| Targets::from_str(text).ok());
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(Level::INFO));
    // A line of `~/.pgpass` that it cannot read is shown with the password in it.
    let filter = filter.with_target("sqlx_postgres::options::pgpass", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // Fails only when a subscriber is there already, as in tests.
    let _ = tracing_subscriber::registry().with(lines).with(filter).try_init();
}
