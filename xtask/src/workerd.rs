//! Runs the edge in real workerd: one region that hosts the Durable Objects and any number of isolates. Never builds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::OwnedProcess;
use crate::tools;
use crate::wasm_build::WasmBundle;

/// The platform behaviour the worker is written for; the same date stands in `wrangler.toml`.
pub const COMPATIBILITY_DATE: &str = "2026-10-20";
const START_POLL_MS: u64 = 20;
const START_POLL_COUNT_MAX: u64 = 750;

/// Which isolates to run and what they are told.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// `FLAGFUSE_REGION`: part of every object's name and of the answers.
    pub region: String,
    /// Label (`FLAGFUSE_ISOLATE`) and port on 127.0.0.1 of each isolate.
    pub isolates: Vec<(String, u16)>,
    /// Holds the objects' databases, the configuration and the log; created when missing.
    pub data_dir: PathBuf,
    /// Further text bindings, by name.
    pub vars: BTreeMap<String, String>,
}

/// A running workerd; dropping it kills it.
#[derive(Debug)]
pub struct Edge {
    process: OwnedProcess,
    isolates: Vec<(String, u16)>,
}

impl Edge {
    /// Base URL of the isolate at `index` (0 is the first), without a slash at the end.
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
    for (label, port) in &config.isolates {
        TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).with_context(|| {
            format!("port {port} on 127.0.0.1 is taken: isolate {label} of the edge cannot listen there")
        })?;
    }
    let config_path = write_config(bundle, config)?;
    serve(root, &config_path, &config.data_dir, &config.isolates)
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
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(2))).build().into();
    let mut waiting: Vec<String> =
        edge.isolates.iter().map(|(_, port)| format!("http://127.0.0.1:{port}/healthz")).collect();
    for _ in 0..START_POLL_COUNT_MAX {
        if let Some(status) = edge.exit_status()? {
            bail!("workerd ended with {status} at start:\n{}", log_tail(log_path));
        }
        waiting.retain(|url| agent.get(url).call().is_err());
        if waiting.is_empty() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(START_POLL_MS));
    }
    bail!("no answer from {} after 15 s:\n{}", waiting.join(", "), log_tail(log_path))
}

/// The end of workerd's log, where it says why it stopped.
pub fn log_tail(log_path: &Path) -> String {
    let text = fs::read_to_string(log_path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
}

/// Writes `workerd.capnp` and a copy of the bundle into the data folder, so that a rebuild cannot change a running edge.
pub fn write_config(bundle: &WasmBundle, config: &EdgeConfig) -> Result<PathBuf> {
    let objects_dir = config.data_dir.join("objects");
    fs::create_dir_all(&objects_dir).with_context(|| format!("creating {}", objects_dir.display()))?;
    copy_modules(bundle, &config.data_dir)?;
    let objects_dir = objects_dir.canonicalize()?;
    let path = config.data_dir.join("workerd.capnp");
    fs::write(&path, config_text(&bundle.modules, config, &objects_dir.to_string_lossy()))
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
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
/// of its own, bound to the objects of the one region service.
fn config_text(modules: &[String], config: &EdgeConfig, objects_dir: &str) -> String {
    let mut text = modules_text(modules);
    text.push_str("\nconst config :Workerd.Config = (\n  services = [\n");
    let _ = writeln!(
        text,
        "    (name = \"region\", worker = (modules = .modules, compatibilityDate = {date},\n\
         \x20     durableObjectNamespaces = [\n\
         \x20       (className = \"Replica\", uniqueKey = \"flagfuse-replica\", enableSql = true),\n\
         \x20       (className = \"Buffer\", uniqueKey = \"flagfuse-buffer\", enableSql = true),\n\
         \x20       (className = \"Notifier\", uniqueKey = \"flagfuse-notifier\", enableSql = true)],\n\
         \x20     durableObjectStorage = (localDisk = \"objects\"), globalOutbound = \"network\",\n\
         \x20     bindings = [{bindings}])),",
        date = quoted(COMPATIBILITY_DATE),
        bindings = bindings(config, None),
    );
    for (label, _) in &config.isolates {
        let _ = writeln!(
            text,
            "    (name = {name}, worker = (modules = .modules, compatibilityDate = {date},\n\
             \x20     globalOutbound = \"network\", bindings = [{bindings}])),",
            name = quoted(&format!("isolate-{label}")),
            date = quoted(COMPATIBILITY_DATE),
            bindings = bindings(config, Some(label)),
        );
    }
    let _ = writeln!(
        text,
        "    (name = \"objects\", disk = (path = {}, writable = true)),\n\
         \x20   (name = \"network\", network = (allow = [\"public\", \"private\"])),\n  ],\n  sockets = [",
        quoted(objects_dir)
    );
    for (label, port) in &config.isolates {
        let name = quoted(&format!("isolate-{label}"));
        let _ = writeln!(
            text,
            "    (name = {name}, address = \"127.0.0.1:{port}\", http = (), service = {name}),"
        );
    }
    text.push_str("  ],\n);\n");
    text
}

/// Bindings of one service. `label` is the isolate's, `None` for the region itself.
fn bindings(config: &EdgeConfig, label: Option<&str>) -> String {
    let mut text = String::new();
    for (binding, class) in [("REPLICA", "Replica"), ("BUFFER", "Buffer"), ("NOTIFIER", "Notifier")] {
        let namespace = match label {
            Some(_) => format!("(className = \"{class}\", serviceName = \"region\")"),
            None => format!("\"{class}\""),
        };
        let _ = write!(text, "\n        (name = \"{binding}\", durableObjectNamespace = {namespace}),");
    }
    let own = [("FLAGFUSE_REGION", Some(config.region.as_str())), ("FLAGFUSE_ISOLATE", label)];
    let own = own.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    for (name, value) in own.chain(config.vars.iter().map(|(name, value)| (name.as_str(), value.as_str()))) {
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
            region: "local".to_owned(),
            isolates: vec![("a".to_owned(), 8787), ("b".to_owned(), 8788)],
            data_dir: PathBuf::from("data"),
            vars: BTreeMap::from([("FLAGFUSE_TENANT".to_owned(), "say \"hi\"".to_owned())]),
        }
    }

    #[test]
    fn every_isolate_is_a_service_with_a_socket_bound_to_the_region() {
        let text =
            config_text(&["entry.js".to_owned(), "index_bg.wasm".to_owned()], &config(), "/data/objects");
        for expected in [
            "(name = \"entry.js\", esModule = embed \"worker/entry.js\")",
            "(name = \"index_bg.wasm\", wasm = embed \"worker/index_bg.wasm\")",
            "(className = \"Replica\", serviceName = \"region\")",
            "(name = \"isolate-b\", address = \"127.0.0.1:8788\", http = (), service = \"isolate-b\")",
            "(name = \"FLAGFUSE_ISOLATE\", text = \"b\")",
            "text = \"say \\\"hi\\\"\"",
        ] {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
    }

    #[test]
    fn a_taken_port_is_named() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        let error = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    }
}
