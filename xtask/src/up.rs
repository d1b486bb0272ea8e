//! `cargo xtask up`: build, start, create the demo project, print where everything is, stay until Ctrl-C.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::demo_project::{self, ENVIRONMENT, PROJECT};
use crate::http::Client;
use crate::private::write_private;
use crate::stack::{Stack, StackConfig, build};
use crate::tools::progress;
use crate::workerd::Region;

/// A process that keeps ending needs a person.
const REVIVAL_COUNT_MAX: u32 = 20;
/// Long enough to see the other process serve alone.
const REVIVAL_PAUSE: Duration = Duration::from_secs(2);

/// How the command was called.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// Data folder.
    pub data_dir: PathBuf,
    /// Port of the control plane.
    pub control_plane_port: u16,
    /// Port of the first isolate; the second one takes the next.
    pub edge_port: u16,
}

impl UpOptions {
    /// Reads `--data DIR`, `--control-plane-port N` and `--edge-port N`.
    pub fn parse(root: &Path, arguments: &[String]) -> Result<Self> {
        let mut options =
            Self { data_dir: root.join(".flagfuse"), control_plane_port: 7400, edge_port: 8787 };
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let value = rest.next().with_context(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--data" => options.data_dir = PathBuf::from(value),
                "--control-plane-port" => options.control_plane_port = port(name, value)?,
                "--edge-port" => options.edge_port = port(name, value)?,
                _ => bail!("unknown option {name}; known: --data DIR, --control-plane-port N, --edge-port N"),
            }
        }
        Ok(options)
    }
}

fn port(name: &str, value: &str) -> Result<u16> {
    match value.parse::<u16>() {
        Ok(port) if (1..u16::MAX).contains(&port) => Ok(port),
        _ => bail!("{name} is {value:?}, allowed is 1 to 65534"),
    }
}

/// Runs until a process ends or Ctrl-C.
pub fn up(root: &Path, options: &UpOptions) -> Result<()> {
    let began = Instant::now();
    let built = build(root)?;
    let config = StackConfig {
        data_dir: options.data_dir.clone(),
        control_plane_port: options.control_plane_port,
        regions: vec![Region::new("local", &[options.edge_port, options.edge_port + 1])],
        shards: 1,
        tick_ms: 500,
        link_delay_ms: None,
        edge_vars: BTreeMap::new(),
        open_file_count_max: None,
    };
    progress("starting edge and control plane");
    let mut stack = Stack::start(root, &built, config)?;
    demo_project::ensure(&stack.admin())?;
    let client_key = client_key(&options.data_dir, &stack.admin())?;
    wait_until_served(&stack, &client_key)?;
    let dev_path = write_dev(&options.data_dir, &stack, &client_key)?;
    print_summary(&stack, &client_key, &dev_path, began.elapsed());
    // Either process may be killed at any time while the other one goes on; that is worth trying, so it is not the end.
    for _ in 0..REVIVAL_COUNT_MAX {
        loop {
            thread::sleep(REVIVAL_PAUSE);
            if let Some(what) = stack.revive()? {
                progress(&format!("{what}\nit runs again; nothing acknowledged is lost"));
                break;
            }
        }
    }
    bail!("processes ended {REVIVAL_COUNT_MAX} times, see the logs in {}", options.data_dir.display())
}

/// The client key of the last run while it is still valid, or a new one.
fn client_key(data_dir: &Path, admin: &Client) -> Result<String> {
    if let Ok(dev) = read_dev(data_dir)
        && let Some(key) = dev["client_key"].as_str()
    {
        return Ok(key.to_owned());
    }
    demo_project::create_client_key(admin)
}

/// What `up` wrote for other commands.
pub fn read_dev(data_dir: &Path) -> Result<Value> {
    let path = data_dir.join("dev.json");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("reading {}: is `cargo xtask up` running?", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

fn write_dev(data_dir: &Path, stack: &Stack, client_key: &str) -> Result<PathBuf> {
    let path = data_dir.join("dev.json");
    let dev = json!({
        "control_plane": stack.control_plane_url(),
        "edge": stack.edge_url(0),
        "edges": stack.edge_urls(),
        "admin_token": stack.secrets().admin_token,
        "client_key": client_key,
        "project": PROJECT,
        "environment": ENVIRONMENT,
    });
    write_private(&path, &format!("{dev:#}\n"))?;
    Ok(path)
}

/// Every isolate answers with the client key before the user is told about it.
fn wait_until_served(stack: &Stack, client_key: &str) -> Result<()> {
    for url in stack.edge_urls() {
        let client = Client::new(&url, Some(client_key));
        let mut last = String::new();
        let served = (0..500).any(|_| {
            match client
                .post("/ofrep/v1/evaluate/flags/theme", &json!({ "context": { "targetingKey": "you" } }))
            {
                Ok(answer) if answer.status == 200 => return true,
                Ok(answer) => last = format!("status {}: {}", answer.status, answer.body),
                Err(error) => last = format!("{error:#}"),
            }
            thread::sleep(Duration::from_millis(20));
            false
        });
        if !served {
            bail!("{url} does not serve the demo environment after 10 s; last answer: {last}");
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is the command's result")]
fn print_summary(stack: &Stack, client_key: &str, dev_path: &Path, took: Duration) {
    let edges = stack.edge_urls().join("  and  ");
    println!(
        "
Flagfuse runs ({:.1} s). Its root key is a 1-of-1 development key: for this machine only.

  control plane   {}
  edge isolates   {edges}
  project         {PROJECT}, environment {ENVIRONMENT}
  client key      {client_key}
  admin token     {}
  all of it       {}

Ask the edge:
  curl -s -X POST {}/ofrep/v1/evaluate/flags/banner-text \\
    -H 'Authorization: Bearer {client_key}' \\
    -d '{{\"context\":{{\"targetingKey\":\"you\",\"country\":\"DE\"}}}}'

Watch a harmful feature being switched off:   cargo xtask demo
Stop with Ctrl-C; flags, circuits and events are kept.",
        took.as_secs_f64(),
        stack.control_plane_url(),
        stack.secrets().admin_token,
        dev_path.display(),
        stack.edge_url(0),
    );
}
