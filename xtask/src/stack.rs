//! The whole product on one machine: control plane on either database, edge in workerd, a demo project.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};

use crate::http::Client;
use crate::plane::PlaneConfig;
use crate::ports;
use crate::process::{COMPILE_LIMIT, OwnedProcess, cargo, optimising_cargo, run_within};
use crate::relay::Relay;
use crate::secrets::{Secrets, shown};
use crate::tools::progress;
use crate::wasm_build::{EDGE, GENERATOR, WasmBundle, WasmProfile, build_wasm};
use crate::workerd::{Edge, EdgeConfig, Region, log_tail, start};

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
    let (control_plane, edge) = thread::scope(|scope| {
        let edge = scope.spawn(|| build_wasm(root, &EDGE, WasmProfile::Fast));
        let control_plane = build_control_plane(root);
        let edge = edge.join().map_err(|_| anyhow::anyhow!("building the edge panicked"))?;
        Ok::<_, anyhow::Error>((control_plane?, edge?))
    })?;
    Ok(Built { control_plane, edge })
}

/// Builds the control plane alone, but for the generator of bindings; where its program is.
pub fn build_control_plane(root: &Path) -> Result<PathBuf> {
    progress("compiling the control plane");
    let mut build = cargo();
    // The whole workspace's features, as `cargo test --workspace` has them: with those of one package alone, half of the
    // dependencies would be compiled once for the tests and once more for `up`.
    build.args(["build", "--workspace", "--bin", "flagfuse"]);
    // While the control plane itself is compiled, there is nothing else to do; afterwards, the Wasm would wait for it.
    build.args(["--bin", GENERATOR]).current_dir(root);
    run_within("compiling the control plane", &mut build, COMPILE_LIMIT)?;
    Ok(root.join("target/debug/flagfuse"))
}

/// The same with the edge as it is deployed, for what is measured of it.
pub(crate) fn build_deployed_edge(root: &Path) -> Result<Built> {
    beside_deployed_edge(root, build_control_plane)
}

/// Both as they are deployed, for what is measured under load.
pub(crate) fn build_released(root: &Path) -> Result<Built> {
    beside_deployed_edge(root, release_control_plane)
}

fn beside_deployed_edge(root: &Path, control_plane: fn(&Path) -> Result<PathBuf>) -> Result<Built> {
    Ok(Built { control_plane: control_plane(root)?, edge: build_wasm(root, &EDGE, WasmProfile::Optimised)? })
}

/// Builds the control plane as it is deployed; where its program is.
pub(crate) fn release_control_plane(root: &Path) -> Result<PathBuf> {
    progress("compiling the control plane for release");
    let mut build = optimising_cargo();
    build.args(["build", "--release", "--bin", "flagfuse"]).current_dir(root);
    run_within("compiling the control plane for release", &mut build, COMPILE_LIMIT)?;
    Ok(root.join("target/release/flagfuse"))
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
    /// The control plane's database; without one, a file in the data folder.
    pub database_url: Option<String>,
}

impl StackConfig {
    /// A stack of one region on free ports for tests and benchmarks.
    pub fn on_free_ports(data_dir: &Path, isolate_count: usize) -> Result<Self> {
        Self::in_regions(data_dir, &["local"], isolate_count)
    }

    /// The same with so many isolates in each of several regions.
    pub fn in_regions(data_dir: &Path, names: &[&str], isolate_count: usize) -> Result<Self> {
        let mut ports = ports::free(names.len() * isolate_count + 1)?;
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
            database_url: None,
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
        let secrets = Secrets::of(&built.control_plane, &config.data_dir, config.database_url.as_deref())?;
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
        self.control_plane = Some(self.plane(self.config.control_plane_port, "control-plane").start()?);
        Ok(())
    }

    /// A control plane of this stack: on its database, with its keys, before its edges. Several may run at once where the
    /// database is a server.
    pub fn plane(&self, port: u16, name: &str) -> PlaneConfig {
        PlaneConfig {
            program: self.built.control_plane.clone(),
            data_dir: self.config.data_dir.join("control-plane"),
            database_url: self.config.database_url.clone(),
            port,
            log_path: self.config.data_dir.join(format!("{name}.log")),
            edge_arguments: self.edge_arguments(),
            shards: self.config.shards,
            tick_ms: self.config.tick_ms,
            push_token: self.secrets.push_token.clone(),
            open_file_count_max: self.config.open_file_count_max,
        }
    }

    /// The database, without who connects.
    pub fn database(&self) -> String {
        shown(self.config.database_url.as_deref())
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

    /// A token with full rights at the control plane, for clients that are not ours.
    pub fn admin_token(&self) -> &str {
        &self.secrets.admin_token
    }

    /// A client with full rights at the control plane.
    pub fn admin(&self) -> Client {
        Client::new(&self.control_plane_url(), Some(&self.secrets.admin_token))
    }
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
        ("FLAGFUSE_TICKET_SECRETS", format!("t1:{}", secrets.ticket_secret)),
    ];
    vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
