//! Waiting for a condition with a bound, instead of sleeping and hoping.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const POLL_MS: u64 = 10;

/// Asks `probe` again and again until it gives `Ok`; after `limit` the last `Err` is the error, with `what` before it.
pub fn eventually<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(error) if began.elapsed() >= limit => {
                bail!("{what}: not within {} s; at the end: {error:#}", limit.as_secs());
            }
            Err(_) => thread::sleep(Duration::from_millis(POLL_MS)),
        }
    }
}
