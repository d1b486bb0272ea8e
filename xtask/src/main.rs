//! Command line of the repository's own tooling: reads arguments, calls the library, prints results.

use std::path::Path;

use anyhow::{Result, bail};
use xtask::edge_build::{EdgeProfile, build_edge};
use xtask::tools;
use xtask::workerd::{EdgeConfig, start};

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["build", "edge"] => build_edge(root, EdgeProfile::Optimised).map(|_| ()),
        ["edge", data_dir, port_a, port_b] => {
            let config = EdgeConfig {
                region: "local".to_owned(),
                isolates: vec![
                    ("a".to_owned(), port_a.parse()?),
                    ("b".to_owned(), port_b.parse()?),
                ],
                data_dir: data_dir.into(),
                vars: serde_json::from_reader(std::io::stdin())?,
            };
            let mut edge = start(root, &build_edge(root, EdgeProfile::Fast)?, &config)?;
            tools::progress("ready");
            while edge.exit_status()?.is_none() {
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
            bail!("workerd ended")
        }
        ["wrangler", rest @ ..] => xtask::process::run("wrangler", tools::wrangler(root)?.args(rest)),
        _ => bail!(
            "usage: cargo xtask build edge | cargo xtask wrangler <arguments> | cargo xtask edge <data> <port> <port>"
        ),
    }
}
