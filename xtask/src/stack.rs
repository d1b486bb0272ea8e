//! The whole product on one machine: control plane on SQLite, edge in workerd, a demo project. Builds nothing.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::http::Client;
use crate::output::output;
use crate::private::write_private;
use crate::process::{COMPILE_LIMIT, OwnedProcess, cargo, run_within};
use crate::relay::Relay;
use crate::tools::progress;
use crate::wait::eventually;
use crate::wasm_build::{EDGE, WasmBundle, WasmProfile, build_wasm};
use crate::workerd::{Edge, EdgeConfig, Region, log_tail, start};

/// How long a process may take until it answers, on a machine that does much else.
const START_LIMIT: Duration = Duration::from_mins(1);

/// What a build leaves behind.
#[derive(Debug, Clone)]
pub struct Built {
    /// The control plane's binary.
    pub control_plane: PathBuf,
    /// The edge's modules.
    pub edge: WasmBundle,
}

/// Builds control plane and edge at the same time: their slow single-threaded ends overlap.
pub fn build(root: &Path) -> Result<Built> {
    let edge = thread::scope(|scope| {
        let edge = scope.spawn(|| build_wasm(root, &EDGE, WasmProfile::Fast));
        let control_plane = build_control_plane(root);
        let edge = edge.join().map_err(|_| anyhow::anyhow!("building the edge panicked"))?;
        control_plane.and(edge)
    })?;
    Ok(Built { control_plane: root.join("target/debug/flagfuse"), edge })
}

fn build_control_plane(root: &Path) -> Result<()> {
    progress("compiling the control plane");
    let mut build = cargo();
    // The whole workspace's features, as `cargo test --workspace` has them: with those of one package alone, half of the
    // dependencies would be compiled once for the tests and once more for `up`.
    build.args(["build", "--workspace", "--bin", "flagfuse"]).current_dir(root);
    run_within("compiling the control plane", &mut build, COMPILE_LIMIT)
}

/// Where a stack lives and listens.
#[derive(Debug, Clone)]
pub struct StackConfig {
    /// Everything it writes.
    pub data_dir: PathBuf,
    /// Port of the control plane on 127.0.0.1.
    pub control_plane_port: u16,
    /// The edge; the first isolate of each region is the one that the control plane dials.
    pub regions: Vec<Region>,
    /// Replicas of each region.
    pub shards: u16,
    /// How often the fuses are evaluated.
    pub tick_ms: u64,
    /// One-way delay in milliseconds between control plane and edge; without one they talk to each other directly, and
    /// nothing can be cut.
    pub link_delay_ms: Option<RangeInclusive<u64>>,
    /// Further settings of the edge, by name.
    pub edge_vars: BTreeMap<String, String>,
    /// Files that the control plane may have open, as `ulimit -n` sets it; without one, what this process may.
    pub open_file_count_max: Option<u32>,
}

impl StackConfig {
    /// A stack of one region on free ports for tests and benchmarks.
    pub fn on_free_ports(data_dir: &Path, isolate_count: usize) -> Result<Self> {
        Self::in_regions(data_dir, &["local"], isolate_count)
    }

    /// The same with so many isolates in each of several regions.
    pub fn in_regions(data_dir: &Path, names: &[&str], isolate_count: usize) -> Result<Self> {
        let mut ports = free_ports(names.len() * isolate_count + 1)?;
        let control_plane_port = ports.pop().context("no free port")?;
        let regions = names
            .iter()
            .zip(ports.chunks(isolate_count))
            .map(|(name, ports)| Region::new(name, ports))
            .collect();
        Ok(Self {
            data_dir: data_dir.to_owned(),
            control_plane_port,
            regions,
            shards: 1,
            tick_ms: 200,
            link_delay_ms: None,
            edge_vars: BTreeMap::new(),
            open_file_count_max: None,
        })
    }

    /// The same with a network between control plane and edge that delays each way, and that can be cut.
    #[must_use]
    pub fn with_links(self, delay_ms: RangeInclusive<u64>) -> Self {
        Self { link_delay_ms: Some(delay_ms), ..self }
    }

    fn links(&self) -> Result<Vec<Relay>> {
        let Some(delay_ms) = &self.link_delay_ms else { return Ok(Vec::new()) };
        let first_ports = self.regions.iter().filter_map(|region| region.isolates.first());
        let targets = first_ports.map(|(_, port)| *port).chain([self.control_plane_port]);
        targets
            .map(|port| Relay::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), delay_ms.clone()))
            .collect()
    }
}

/// Ports that were free a moment ago; all are held until the last is drawn, so that they differ.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    Ok(listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<Vec<_>, _>>()?
        .iter()
        .map(std::net::SocketAddr::port)
        .collect())
}

/// Secrets of a development stack, drawn once and kept with mode 0600 in its data folder.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// Full rights at the control plane.
    pub admin_token: String,
    /// What the edge presents to the control plane.
    pub ingest_token: String,
    /// What the control plane presents to the edge.
    pub push_token: String,
    /// What stream tokens are made with.
    pub stream_secret: String,
    /// Public keys of the development root.
    pub root_public_keys: Vec<String>,
}

/// A running stack. Dropping it kills its processes.
#[derive(Debug)]
pub struct Stack {
    root: PathBuf,
    built: Built,
    config: StackConfig,
    secrets: Secrets,
    control_plane: Option<OwnedProcess>,
    edge: Option<Edge>,
    /// From the control plane to each region, and last from the edge to the control plane; none without a delay.
    links: Vec<Relay>,
}

impl Stack {
    /// Starts the edge, then the control plane, on new or existing data.
    pub fn start(root: &Path, built: &Built, config: StackConfig) -> Result<Self> {
        fs::create_dir_all(&config.data_dir)
            .with_context(|| format!("creating {}", config.data_dir.display()))?;
        let secrets = secrets(&built.control_plane, &config.data_dir)?;
        let mut stack = Self {
            root: root.to_owned(),
            built: built.clone(),
            config,
            secrets,
            control_plane: None,
            edge: None,
            links: Vec::new(),
        };
        stack.links = stack.config.links()?;
        stack.start_edge()?;
        stack.start_control_plane()?;
        Ok(stack)
    }

    /// Starts workerd, also again after [`Stack::kill_edge`].
    pub fn start_edge(&mut self) -> Result<()> {
        let config = EdgeConfig {
            regions: self.config.regions.clone(),
            shards: self.config.shards,
            data_dir: self.config.data_dir.join("edge"),
            vars: edge_vars(&self.secrets, self.url_for_edge())
                .into_iter()
                .chain(self.config.edge_vars.clone())
                .collect(),
        };
        self.edge = Some(start(&self.root, &self.built.edge, &config)?);
        Ok(())
    }

    /// Starts the control plane, also again after [`Stack::kill_control_plane`].
    pub fn start_control_plane(&mut self) -> Result<()> {
        let port = self.config.control_plane_port;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
            format!("port {port} on 127.0.0.1 is taken: the control plane cannot listen there")
        })?;
        let log_path = self.config.data_dir.join("control-plane.log");
        let log = fs::File::options().create(true).append(true).open(&log_path)?;
        let mut command = limited(&self.built.control_plane, self.config.open_file_count_max);
        command
            .arg("serve")
            .arg("--data")
            .arg(self.config.data_dir.join("control-plane"))
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(self.edge_arguments())
            .args(["--edge-shards", &self.config.shards.to_string()])
            .args(["--tick-ms", &self.config.tick_ms.to_string()])
            .env("FLAGFUSE_PUSH_TOKEN", &self.secrets.push_token)
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut process = OwnedProcess::spawn("control plane", &mut command)?;
        let client = Client::new(&self.control_plane_url(), None);
        let ended = eventually("the control plane answers", START_LIMIT, || {
            if let Some(status) = process.exit_status()? {
                return Ok(Some(status));
            }
            let answer = client.get("/healthz")?;
            ensure!(answer.status == 200, "status {}", answer.status);
            Ok(None)
        });
        match ended.with_context(|| log_tail(&log_path))? {
            Some(status) => bail!("control plane ended with {status} at start:\n{}", log_tail(&log_path)),
            None => self.control_plane = Some(process),
        }
        Ok(())
    }

    /// The control plane's program.
    pub fn program(&self) -> &Path {
        &self.built.control_plane
    }

    /// Where everything is stored.
    pub fn data_dir(&self) -> &Path {
        &self.config.data_dir
    }

    /// Kills the control plane with SIGKILL.
    pub fn kill_control_plane(&mut self) {
        self.control_plane = None;
    }

    /// Kills workerd with SIGKILL.
    pub fn kill_edge(&mut self) {
        self.edge = None;
    }

    /// Starts again what has ended by itself; says what ended and how, with the end of its log.
    pub fn revive(&mut self) -> Result<Option<String>> {
        if let Some(process) = &mut self.control_plane
            && let Some(status) = process.exit_status()?
        {
            let log = log_tail(&self.config.data_dir.join("control-plane.log"));
            self.kill_control_plane();
            self.start_control_plane()?;
            return Ok(Some(format!("the control plane ended with {status}:\n{log}")));
        }
        if let Some(edge) = &mut self.edge
            && let Some(status) = edge.exit_status()?
        {
            let log = log_tail(&self.config.data_dir.join("edge/workerd.log"));
            self.kill_edge();
            self.start_edge()?;
            return Ok(Some(format!("workerd ended with {status}:\n{log}")));
        }
        Ok(None)
    }

    /// Base URL of the control plane.
    pub fn control_plane_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.config.control_plane_port)
    }

    /// Base URL of an isolate; 0 is the first one of the first region.
    pub fn edge_url(&self, index: usize) -> String {
        self.edge_urls().into_iter().nth(index).unwrap_or_default()
    }

    /// The network between control plane and edge: one link to each region, in their order, and last the way back.
    pub fn links(&self) -> &[Relay] {
        &self.links
    }

    /// Where the edge finds the control plane.
    fn url_for_edge(&self) -> String {
        self.links.last().map_or_else(|| self.control_plane_url(), Relay::url)
    }

    /// `--edge=NAME=URL` for each region that has an isolate.
    fn edge_arguments(&self) -> Vec<String> {
        let regions = self.config.regions.iter().enumerate();
        let argument = |(at, region): (usize, &Region)| {
            let (_, port) = region.isolates.first()?;
            let direct = format!("http://127.0.0.1:{port}");
            let url = self.links.get(at).map_or(direct, Relay::url);
            Some(format!("--edge={}={url}", region.name))
        };
        regions.filter_map(argument).collect()
    }

    /// Process id of the control plane, when it runs.
    pub fn control_plane_process_id(&self) -> Option<u32> {
        self.control_plane.as_ref().map(OwnedProcess::id)
    }

    /// Process id of workerd, when it runs.
    pub fn edge_process_id(&self) -> Option<u32> {
        self.edge.as_ref().map(Edge::id)
    }

    /// Base URLs of all isolates, region by region.
    pub fn edge_urls(&self) -> Vec<String> {
        let isolates = self.config.regions.iter().flat_map(|region| &region.isolates);
        isolates.map(|(_, port)| format!("http://127.0.0.1:{port}")).collect()
    }

    /// The regions and their isolates.
    pub fn regions(&self) -> &[Region] {
        &self.config.regions
    }

    /// The secrets in use.
    pub const fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// A client with full rights at the control plane.
    pub fn admin(&self) -> Client {
        Client::new(&self.control_plane_url(), Some(&self.secrets.admin_token))
    }
}

/// A program that may have so many files open.
fn limited(program: &Path, open_file_count_max: Option<u32>) -> Command {
    let Some(count_max) = open_file_count_max else { return Command::new(program) };
    let mut command = Command::new("sh");
    // `exec`: the process that is started stays the one that is killed.
    command.args(["-c", r#"ulimit -n "$0" && exec "$@""#, &count_max.to_string()]).arg(program);
    command
}

fn edge_vars(secrets: &Secrets, control_plane_url: String) -> BTreeMap<String, String> {
    let push_digest = flagfuse_shared::digest::Digest::of(secrets.push_token.as_bytes()).to_string();
    let vars = [
        ("FLAGFUSE_TENANT", "default".to_owned()),
        ("FLAGFUSE_ROOT_KEYS", secrets.root_public_keys.join(",")),
        ("FLAGFUSE_ROOT_THRESHOLD", "1".to_owned()),
        ("FLAGFUSE_PUSH_TOKEN_SHA256", push_digest),
        ("FLAGFUSE_CONTROL_PLANE_URL", control_plane_url),
        ("FLAGFUSE_INGEST_TOKEN", secrets.ingest_token.clone()),
        ("FLAGFUSE_STREAM_SECRET", secrets.stream_secret.clone()),
    ];
    vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Reads the stack's secrets, or initialises the control plane's data and draws them.
fn secrets(control_plane: &Path, data_dir: &Path) -> Result<Secrets> {
    let path = data_dir.join("secrets.json");
    if !path.exists() {
        let mut init = Command::new(control_plane);
        init.args(["init", "--json", "--data"]).arg(data_dir.join("control-plane"));
        let output = output("flagfuse init", &mut init, START_LIMIT)?;
        // What it says about development keys is for whoever watches.
        progress(String::from_utf8_lossy(&output.stderr).trim_end());
        if !output.status.success() {
            bail!("flagfuse init failed with {}", output.status);
        }
        let mut all: Value =
            serde_json::from_slice(&output.stdout).context("reading flagfuse init's answer")?;
        all["push_token"] = json!(random_hex()?);
        write_private(&path, &format!("{all:#}\n"))?;
    }
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut all: Value =
        serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
    if all.get("stream_secret").is_none() {
        // Older data has none yet.
        all["stream_secret"] = json!(random_hex()?);
        write_private(&path, &format!("{all:#}\n"))?;
    }
    let text_of = |name: &str| {
        let value = all.get(name).and_then(Value::as_str).map(str::to_owned);
        value.with_context(|| {
            format!("{} has no {name}: remove the data folder and start anew", path.display())
        })
    };
    Ok(Secrets {
        admin_token: text_of("admin_token")?,
        ingest_token: text_of("ingest_token")?,
        push_token: text_of("push_token")?,
        stream_secret: text_of("stream_secret")?,
        root_public_keys: serde_json::from_value(all["root_public_keys"].clone())
            .context("root_public_keys is not a list of texts")?,
    })
}

/// 32 hexadecimal digits from the operating system.
fn random_hex() -> Result<String> {
    use std::io::Read as _;
    let mut bytes = [0_u8; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("reading /dev/urandom")?;
    Ok(flagfuse_shared::digest::hex(&bytes))
}
