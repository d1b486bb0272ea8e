//! Rows of the SQLite files that a control plane and an edge keep, by Node.js, which can read them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::output::output;
use crate::tools::node_22;

const SCRIPT: &str = "xtask/src/bench/ingest/rows.mjs";
/// A file of some hundred million rows is read through once for each table.
const LIMIT: Duration = Duration::from_mins(10);

/// What files hold together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    /// Of all tables.
    pub(super) rows: u64,
    /// Of what an edge's buffers have not delivered.
    pub(super) waiting_rows: u64,
    pub(super) waiting_events: u64,
    pub(super) waiting_bytes: u64,
}

/// Counts them; another process may be writing.
pub(super) fn rows(root: &Path, files: &[PathBuf]) -> Result<Held> {
    let mut node = node_22(root)?;
    node.arg(root.join(SCRIPT)).args(files);
    let found = output("counting rows", &mut node, LIMIT)?;
    ensure!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let said: Value = serde_json::from_slice(&found.stdout).context("reading how many rows there are")?;
    let number = |name: &str| said[name].as_u64().with_context(|| format!("{name} is missing: {said}"));
    Ok(Held {
        rows: number("rows")?,
        waiting_rows: number("waiting_rows")?,
        waiting_events: number("waiting_events")?,
        waiting_bytes: number("waiting_bytes")?,
    })
}
