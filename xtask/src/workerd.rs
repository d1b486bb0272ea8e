//! Runs the edge in real workerd: one service that hosts the Durable Objects of all regions, any number of isolates in each
//! region, and KV. Never builds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::private::write_private;
use crate::process::OwnedProcess;
use crate::tools;
use crate::wait::eventually;
use crate::wasm_build::WasmBundle;

/// The platform behaviour the worker is written for; the same date stands in `wrangler.toml`.
pub const COMPATIBILITY_DATE: &str = "2026-10-20";
/// How long workerd may take until each isolate answers, on a machine that does much else.
const START_LIMIT: Duration = Duration::from_mins(2);
/// How long one answer may take meanwhile, until it is asked whether workerd still runs.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The Durable Objects: binding, class and the key of the namespace on disk.
const OBJECTS: [(&str, &str, &str); 3] = [
    ("REPLICA", "Replica", "flagfuse-replica"),
    ("BUFFER", "Buffer", "flagfuse-buffer"),
    ("NOTIFIER", "Notifier", "flagfuse-notifier"),
];
/// Speaks for Workers KV.
const KV_MODULE: &str = include_str!("kv.js");

/// A region and its isolates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// `FLAGFUSE_REGION`: part of every object's name and of the answers.
    pub name: String,
    /// Label (`FLAGFUSE_ISOLATE`) and port on 127.0.0.1 of each isolate.
    pub isolates: Vec<(String, u16)>,
}

impl Region {
    /// Isolates a, b, c … on these ports.
    pub fn new(name: &str, ports: &[u16]) -> Self {
        let letters = (0_u32..).flat_map(|round| ('a'..='z').map(move |letter| (letter, round)));
        let labels = letters.map(|(letter, round)| match round {
            0 => letter.to_string(),
            _ => format!("{letter}{round}"),
        });
        let isolates = labels.zip(ports.iter().copied()).collect();
        Self { name: name.to_owned(), isolates }
    }
}

/// Which isolates to run and what they are told.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// All regions; the first one's replicas keep the copies in KV.
    pub regions: Vec<Region>,
    /// `FLAGFUSE_SHARDS`: replicas of each region.
    pub shards: u16,
    /// Holds the objects' databases, KV, the configuration and the log; created when missing.
    pub data_dir: PathBuf,
    /// Further text bindings, by name.
    pub vars: BTreeMap<String, String>,
}

impl EdgeConfig {
    fn isolates(&self) -> impl Iterator<Item = (&Region, &str, u16)> {
        self.regions.iter().flat_map(|region| {
            region.isolates.iter().map(move |(label, port)| (region, label.as_str(), *port))
        })
    }
}

/// A running workerd; dropping it kills it.
#[derive(Debug)]
pub struct Edge {
    process: OwnedProcess,
    isolates: Vec<(String, u16)>,
}

impl Edge {
    /// Base URL of the isolate at `index` (0 is the first of the first region), without a slash at the end.
    pub fn url(&self, index: usize) -> Option<String> {
        self.isolates.get(index).map(|(_, port)| format!("http://127.0.0.1:{port}"))
    }

    /// Process id of workerd.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// `Some` once workerd has ended by itself.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.process.exit_status()
    }

    /// Kills workerd with SIGKILL and waits until it is gone; `start` with the same configuration resumes its data.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// Writes the configuration, starts workerd and waits until every isolate answers `/healthz`.
pub fn start(root: &Path, bundle: &WasmBundle, config: &EdgeConfig) -> Result<Edge> {
    for (region, label, port) in config.isolates() {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
            let name = &region.name;
            format!("port {port} on 127.0.0.1 is taken: isolate {label} of region {name} cannot listen there")
        })?;
    }
    let config_path = write_config(bundle, config)?;
    let isolates: Vec<(String, u16)> =
        config.isolates().map(|(_, label, port)| (label.to_owned(), port)).collect();
    serve(root, &config_path, &config.data_dir, &isolates)
}

/// Starts a worker that has neither objects nor bindings and answers any path, `/healthz` too: for benchmarks.
pub fn start_plain(root: &Path, bundle: &WasmBundle, data_dir: &Path, port: u16) -> Result<Edge> {
    copy_modules(bundle, data_dir)?;
    let config_path = data_dir.join("workerd.capnp");
    let text = format!(
        "{modules}\nconst config :Workerd.Config = (\n\
         \x20 services = [(name = \"plain\", worker = (modules = .modules, compatibilityDate = {date}))],\n\
         \x20 sockets = [(name = \"plain\", address = \"127.0.0.1:{port}\", http = (), service = \"plain\")],\n);\n",
        modules = modules_text(&bundle.modules),
        date = quoted(COMPATIBILITY_DATE),
    );
    fs::write(&config_path, text).with_context(|| format!("writing {}", config_path.display()))?;
    serve(root, &config_path, data_dir, &[("plain".to_owned(), port)])
}

fn serve(root: &Path, config_path: &Path, data_dir: &Path, isolates: &[(String, u16)]) -> Result<Edge> {
    let binary = tools::workerd(root)?;
    let log_path = data_dir.join("workerd.log");
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(&log_path)
        .with_context(|| format!("opening {}", log_path.display()))?;
    let mut command = Command::new(binary);
    command.arg("serve").arg(config_path).stdout(log.try_clone()?).stderr(log);
    let mut edge =
        Edge { process: OwnedProcess::spawn("workerd", &mut command)?, isolates: isolates.to_vec() };
    wait_until_healthy(&mut edge, &log_path)?;
    Ok(edge)
}

fn wait_until_healthy(edge: &mut Edge, log_path: &Path) -> Result<()> {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(ANSWER_LIMIT)).build().into();
    let mut waiting: Vec<String> =
        edge.isolates.iter().map(|(_, port)| format!("http://127.0.0.1:{port}/healthz")).collect();
    let ended = eventually("workerd answers", START_LIMIT, || {
        if let Some(status) = edge.exit_status()? {
            return Ok(Some(status));
        }
        waiting.retain(|url| agent.get(url).call().is_err());
        ensure!(waiting.is_empty(), "no answer from {}", waiting.join(", "));
        Ok(None)
    });
    match ended.with_context(|| log_tail(log_path))? {
        Some(status) => bail!("workerd ended with {status} at start:\n{}", log_tail(log_path)),
        None => Ok(()),
    }
}

/// The end of workerd's log, where it says why it stopped.
pub fn log_tail(log_path: &Path) -> String {
    let text = fs::read_to_string(log_path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
}

/// Writes `workerd.capnp` and a copy of the bundle into the data folder, so that a rebuild cannot change a running edge.
pub fn write_config(bundle: &WasmBundle, config: &EdgeConfig) -> Result<PathBuf> {
    let folder = |name: &str| -> Result<String> {
        let folder = config.data_dir.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(folder.canonicalize()?.to_string_lossy().into_owned())
    };
    let (objects_dir, kv_dir) = (folder("objects")?, folder("kv")?);
    copy_modules(bundle, &config.data_dir)?;
    let write = |name: &str, text: &str| {
        let path = config.data_dir.join(name);
        write_private(&path, text).map(|()| path)
    };
    write("kv.js", KV_MODULE)?;
    // Bindings hold the secrets of the edge.
    write("workerd.capnp", &config_text(&bundle.modules, config, &objects_dir, &kv_dir))
}

fn copy_modules(bundle: &WasmBundle, data_dir: &Path) -> Result<()> {
    for module in &bundle.modules {
        let to = data_dir.join("worker").join(module);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        fs::copy(bundle.dir.join(module), &to).with_context(|| format!("writing {}", to.display()))?;
    }
    Ok(())
}

/// The head of a configuration: the modules, under a name that services refer to.
fn modules_text(modules: &[String]) -> String {
    let mut text = String::from("using Workerd = import \"/workerd/workerd.capnp\";\n\n");
    text.push_str("const modules :List(Workerd.Worker.Module) = [\n");
    for module in modules {
        let is_wasm = Path::new(module).extension().is_some_and(|extension| extension == "wasm");
        let kind = if is_wasm { "wasm" } else { "esModule" };
        let file = quoted(&format!("worker/{module}"));
        let _ = writeln!(text, "  (name = {}, {kind} = embed {file}),", quoted(module));
    }
    text.push_str("];\n");
    text
}

/// The configuration in Cap'n Proto's text form. Every isolate is a service of its own, so that workerd gives it memory
/// of its own, bound to the objects of the one service that hosts them for all regions.
fn config_text(modules: &[String], config: &EdgeConfig, objects_dir: &str, kv_dir: &str) -> String {
    let date = quoted(COMPATIBILITY_DATE);
    let mut text = modules_text(modules);
    let namespaces = OBJECTS.map(|(_, class, key)| {
        format!("\n        (className = {}, uniqueKey = {}, enableSql = true)", quoted(class), quoted(key))
    });
    let _ = writeln!(
        text,
        "\nconst config :Workerd.Config = (\n  services = [\n\
         \x20   (name = \"objects\", worker = (modules = .modules, compatibilityDate = {date},\n\
         \x20     durableObjectNamespaces = [{namespaces}],\n\
         \x20     durableObjectStorage = (localDisk = \"objects-disk\"), globalOutbound = \"network\",\n\
         \x20     bindings = [{bindings}])),",
        namespaces = namespaces.join(","),
        bindings = bindings(config, None),
    );
    for (region, label, _) in config.isolates() {
        let _ = writeln!(
            text,
            "    (name = {name}, worker = (modules = .modules, compatibilityDate = {date},\n\
             \x20     globalOutbound = \"network\", bindings = [{bindings}])),",
            name = service_name(region, label),
            bindings = bindings(config, Some((region, label))),
        );
    }
    let _ = writeln!(
        text,
        "    (name = \"kv\", worker = (compatibilityDate = {date},\n\
         \x20     modules = [(name = \"kv.js\", esModule = embed \"kv.js\")],\n\
         \x20     durableObjectNamespaces = [(className = \"Values\", uniqueKey = \"kv\", enableSql = true)],\n\
         \x20     durableObjectStorage = (localDisk = \"kv-disk\"),\n\
         \x20     bindings = [(name = \"VALUES\", durableObjectNamespace = \"Values\")])),\n\
         \x20   (name = \"objects-disk\", disk = (path = {}, writable = true)),\n\
         \x20   (name = \"kv-disk\", disk = (path = {}, writable = true)),\n\
         \x20   (name = \"network\", network = (allow = [\"public\", \"private\"])),\n  ],\n  sockets = [",
        quoted(objects_dir),
        quoted(kv_dir),
    );
    for (region, label, port) in config.isolates() {
        let name = service_name(region, label);
        let _ = writeln!(
            text,
            "    (name = {name}, address = \"127.0.0.1:{port}\", http = (), service = {name}),"
        );
    }
    text.push_str("  ],\n);\n");
    text
}

fn service_name(region: &Region, label: &str) -> String {
    quoted(&format!("isolate-{}-{label}", region.name))
}

/// Bindings of one service. `isolate` is `None` for the service of the objects, whose names tell their regions.
fn bindings(config: &EdgeConfig, isolate: Option<(&Region, &str)>) -> String {
    let mut text = String::new();
    for (binding, class, _) in OBJECTS {
        let namespace = match isolate {
            Some(_) => format!("(className = \"{class}\", serviceName = \"objects\")"),
            None => format!("\"{class}\""),
        };
        let _ = write!(text, "\n        (name = \"{binding}\", durableObjectNamespace = {namespace}),");
    }
    text.push_str("\n        (name = \"FLAGS_KV\", kvNamespace = \"kv\"),");
    let regions: Vec<&str> = config.regions.iter().map(|region| region.name.as_str()).collect();
    let (regions, shards) = (regions.join(","), config.shards.to_string());
    let common = [("FLAGFUSE_REGIONS", regions.as_str()), ("FLAGFUSE_SHARDS", shards.as_str())];
    // A label tells isolates of a region apart; one alone runs as in production, without.
    let own = isolate.into_iter().flat_map(|(region, label)| {
        let label = (region.isolates.len() > 1).then_some(("FLAGFUSE_ISOLATE", label));
        [("FLAGFUSE_REGION", region.name.as_str())].into_iter().chain(label)
    });
    let vars = config.vars.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in common.into_iter().chain(own).chain(vars) {
        let _ = write!(text, "\n        (name = {}, text = {}),", quoted(name), quoted(value));
    }
    text
}

/// A Cap'n Proto string literal.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> EdgeConfig {
        EdgeConfig {
            regions: vec![Region::new("weur", &[8787, 8788]), Region::new("enam", &[8789])],
            shards: 2,
            data_dir: PathBuf::from("data"),
            vars: BTreeMap::from([("FLAGFUSE_TENANT".to_owned(), "say \"hi\"".to_owned())]),
        }
    }

    #[test]
    fn every_isolate_is_a_service_with_a_socket_bound_to_the_objects() {
        let modules = ["entry.js".to_owned(), "index_bg.wasm".to_owned()];
        let text = config_text(&modules, &config(), "/data/objects", "/data/kv");
        for (expected, count) in [
            ("(name = \"entry.js\", esModule = embed \"worker/entry.js\")", 1),
            ("(name = \"index_bg.wasm\", wasm = embed \"worker/index_bg.wasm\")", 1),
            ("(className = \"Replica\", serviceName = \"objects\")", 3),
            ("address = \"127.0.0.1:8788\", http = (), service = \"isolate-weur-b\")", 1),
            ("(name = \"isolate-enam-a\", address = \"127.0.0.1:8789\"", 1),
            ("(name = \"FLAGFUSE_REGION\", text = \"enam\")", 1),
            ("(name = \"FLAGFUSE_REGIONS\", text = \"weur,enam\")", 4),
            ("(name = \"FLAGFUSE_SHARDS\", text = \"2\")", 4),
            ("(name = \"FLAGFUSE_ISOLATE\", text = \"a\")", 1),
            ("(name = \"FLAGS_KV\", kvNamespace = \"kv\")", 4),
            ("text = \"say \\\"hi\\\"\"", 4),
        ] {
            assert_eq!(text.matches(expected).count(), count, "{expected} in\n{text}");
        }
    }

    #[test]
    fn isolates_have_labels_however_many_they_are() {
        let region = Region::new("local", &[1; 53]);
        let label = |at: usize| region.isolates[at].0.as_str();
        assert_eq!([label(0), label(25), label(26), label(52)], ["a", "z", "a1", "a2"]);
    }

    #[test]
    fn a_taken_port_is_named() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        let error = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    }
}
