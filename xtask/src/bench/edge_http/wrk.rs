//! The load generator: `wrk`, one thread, 32 connections, requests that take turns. Sends to 127.0.0.1 only and stops by
//! itself.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::slot::Slot;
use crate::bench::processor;

/// Core of the servers and core of the load generator, where a machine has two and Linux' `taskset` binds to them.
const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";
/// Connections to a server that is compared with others.
const CONNECTION_COUNT: u32 = 32;

/// A request, without the host.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: String,
    /// Client key, where one is needed.
    pub(super) key: Option<String>,
    /// JSON.
    pub(super) body: Option<String>,
}

pub(in crate::bench) fn ensure_installed() -> Result<()> {
    if is_there("wrk") {
        return Ok(());
    }
    let install = Command::new("apt-get").args(["install", "--yes", "--quiet", "wrk"]).status();
    ensure!(
        install.is_ok_and(|status| status.success()) && is_there("wrk"),
        "wrk is missing, the load generator of this benchmark: apt-get install wrk, brew install wrk"
    );
    Ok(())
}

fn is_there(program: &str) -> bool {
    // Whatever it answers: wrk's own --version ends with a failure.
    Command::new(program).arg("--version").output().is_ok()
}

fn can_bind() -> bool {
    is_there("taskset") && std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1)
}

/// Binds a running server, with all its threads, to the servers' core.
pub(in crate::bench) fn bind_server(process_id: u32) -> Result<()> {
    if can_bind() {
        let output = Command::new("taskset")
            .args(["--all-tasks", "--cpu-list", "--pid", SERVER_CORE, &process_id.to_string()])
            .output()?;
        ensure!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Writes the script that sends `requests` in turns.
pub(super) fn write_script(path: &Path, requests: &[Request]) -> Result<()> {
    let mut script = String::from("local requests, at = {}, 0\ninit = function()\n");
    for request in requests {
        let mut headers = String::new();
        if let Some(key) = &request.key {
            let _ = write!(headers, "[\"Authorization\"] = {}, ", quoted(key));
        }
        if request.body.is_some() {
            headers.push_str("[\"Content-Type\"] = \"application/json\"");
        }
        let body = request.body.as_deref().map_or("nil".to_owned(), quoted);
        let _ = writeln!(
            script,
            "  requests[#requests + 1] = wrk.format(\"{}\", {}, {{{headers}}}, {body})",
            request.method,
            quoted(&request.path),
        );
    }
    script.push_str("end\nrequest = function()\n  at = at % #requests + 1\n  return requests[at]\nend\n");
    fs::write(path, script).with_context(|| format!("writing {}", path.display()))
}

/// A Lua string. JSON's escapes are Lua's for everything that is printed ASCII, which all of these are.
pub(in crate::bench) fn quoted(text: impl AsRef<str>) -> String {
    serde_json::Value::from(text.as_ref()).to_string()
}

/// Loads a slot for some seconds: answers per second that its server was on the processor, which is what one core
/// answers when nobody else wants it.
pub(super) fn requests_per_core_s(slot: &Slot, seconds: u32) -> Result<f64> {
    let used_before_s = processor::used_s(slot.process_id);
    let load = load(&slot.script, &slot.base_url, seconds, CONNECTION_COUNT)
        .with_context(|| slot.name.to_owned())?;
    let used_after_s = processor::used_s(slot.process_id);
    Ok(load.requests / processor::used_between_s(used_before_s, used_after_s, load.wall_s))
}

/// Sends what a script says for some seconds, on so many connections, from the core that servers leave free.
pub(in crate::bench) fn load(
    script: &Path,
    base_url: &str,
    seconds: u32,
    connection_count: u32,
) -> Result<Load> {
    let mut command = if can_bind() {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", LOAD_CORE, "wrk"]);
        command
    } else {
        Command::new("wrk")
    };
    command.args(["-t1", &format!("-c{connection_count}"), &format!("-d{seconds}"), "--script"]);
    let output = command.arg(script).arg(base_url).output().context("running wrk")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("wrk ended with {}: {said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    parse(&said).with_context(|| said.into_owned())
}

/// What wrk did.
#[derive(Debug, PartialEq)]
pub(in crate::bench) struct Load {
    pub(in crate::bench) requests: f64,
    pub(in crate::bench) wall_s: f64,
}

/// wrk's figures; an error when any answer was one.
fn parse(said: &str) -> Result<Load> {
    for trouble in ["Non-2xx", "Socket errors"] {
        if let Some(line) = said.lines().find(|line| line.contains(trouble)) {
            bail!("{}", line.trim());
        }
    }
    let (requests, rest) =
        said.lines().find_map(|line| line.split_once(" requests in ")).context("no figures")?;
    let (wall, _) = rest.split_once(',').context("no duration")?;
    let wall_s = match wall.strip_suffix('s') {
        Some(seconds) => seconds.parse().context("no number of seconds")?,
        None => wall.strip_suffix('m').context("no unit")?.parse::<f64>().context("no number")? * 60.0,
    };
    Ok(Load { requests: requests.trim().parse().context("no number of requests")?, wall_s })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Running 10s test @ http://127.0.0.1:1\n  1 threads and 32 connections\n\
        \x20 85573 requests in 10.10s, 16.90MB read\nRequests/sec:   8472.57\n";

    #[test]
    fn figures_are_read_and_failed_answers_are_an_error() {
        assert_eq!(parse(SAID).unwrap(), Load { requests: 85_573.0, wall_s: 10.1 });
        let minutes = SAID.replace("10.10s", "2.50m");
        assert_eq!(parse(&minutes).unwrap(), Load { requests: 85_573.0, wall_s: 150.0 });
        let failed = SAID.replace("Requests/sec", "  Non-2xx or 3xx responses: 7\nRequests/sec");
        assert!(parse(&failed).unwrap_err().to_string().contains("responses: 7"));
    }
}
