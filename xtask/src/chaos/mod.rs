//! `cargo xtask chaos NAME`: a load while processes are killed. Nothing acknowledged is lost, nothing is counted twice, and
//! whoever recounts the log finds every cell as it is; what moves meanwhile moves once.

pub mod fuse;
mod import;
mod ingest;
mod lines;
mod recount;

use std::path::Path;

use anyhow::{Result, bail};

/// Runs one of them.
pub fn chaos(root: &Path, name: &str, arguments: &[String]) -> Result<()> {
    match name {
        "fuse" => fuse::run(root, arguments),
        "import" => import::run(root, arguments),
        "ingest" => ingest::run(root, arguments),
        _ => bail!("unknown chaos {name:?}; known: fuse, import, ingest"),
    }
}
