//! Events that a core of workerd takes: `POST /v1/events` with 200 events that have tickets, through the buffer to the control
//! plane, which has to have all of them. And what they are while they wait: rows and bytes of the buffer.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flagfuse_shared::limits::EVENT_COUNT_MAX;
use serde_json::{Value, json};

use super::rows::rows;
use crate::attack::{Accounts, Ground, Scene, TARGET, Terms, accounts};
use crate::bench::edge_http::wrk::{bind_server, ensure_installed, load, quoted};
use crate::bench::processor;
use crate::figure::median;
use crate::http::Client;
use crate::stack::Built;
use crate::tools::progress;
use crate::traffic::now_ms;
use crate::wait::eventually;

/// Groups of units whose outcomes are sent in turns, as many units as events fit into a request.
const GROUP_COUNT: usize = 5;
/// How long one round sends.
const SECONDS: u32 = 5;
/// How long requests are sent that nobody fetches.
const WAITING_SECONDS: u32 = 1;
/// Connections that send at the same time.
const CONNECTION_COUNT: u32 = 8;
/// How long delivering what was sent may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// Stands for the part of an id that differs from request to request.
const MARK: &str = "@@";

/// What the edge came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct EdgeFound {
    /// Events a second that workerd was on a processor, delivery included.
    pub(super) events_per_core_s: f64,
    /// Rows of a buffer for each event that waits there.
    pub(super) rows_per_event: f64,
    /// Bytes of its JSON.
    pub(super) bytes_per_event: f64,
}

/// Measures it on a stack of its own.
pub(super) fn measure(root: &Path, built: &Built, round_count: usize) -> Result<EdgeFound> {
    ensure_installed()?;
    let scene = Scene::of(root, built, "bench-ingest-edge");
    let mut ground = Ground::start(&scene, Terms { has_tickets: true, ..Terms::default() })?;
    let process_id = ground.stack.edge_process_id().context("workerd does not run")?;
    bind_server(process_id)?;
    let edge = ground.edges.first().context("no isolate")?.clone();
    let script = ground.stack.data_dir().join("events.lua");
    fs::write(&script, script_text(&edge)?).with_context(|| format!("writing {}", script.display()))?;
    let mut measured = Vec::with_capacity(round_count);
    for round in 0..=round_count {
        let before = received(&ground)?;
        let used_before_s = processor::used_s(process_id);
        let sent = load(&script, edge.base(), SECONDS, CONNECTION_COUNT)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousand requests")]
        let least = before + sent.requests as u64 * EVENT_COUNT_MAX as u64;
        let after = eventually("what the edge acknowledged is delivered", PATIENCE, || {
            let after = received(&ground)?;
            ensure!(after >= least, "{after} of {least}");
            Ok(after)
        })?;
        let used_s = processor::used_between_s(used_before_s, processor::used_s(process_id), sent.wall_s);
        #[expect(clippy::cast_precision_loss, reason = "some hundred thousand")]
        let events_per_core_s = (after - before) as f64 / used_s;
        progress(&format!("edge, round {round} of {round_count}: {events_per_core_s:.0} events/core-s"));
        // The first one warms up.
        if round > 0 {
            measured.push(events_per_core_s);
        }
    }
    // From here on nobody fetches anything.
    ground.stack.kill_control_plane();
    load(&script, edge.base(), WAITING_SECONDS, CONNECTION_COUNT)?;
    ground.stack.kill_edge();
    let waiting = rows(root, &buffers(&ground)?)?;
    ensure!(waiting.waiting_events > 0, "nothing waits in the buffers: {waiting:?}");
    #[expect(clippy::cast_precision_loss, reason = "some hundred million bytes")]
    let of_an_event = |count: u64| count as f64 / waiting.waiting_events as f64;
    Ok(EdgeFound {
        events_per_core_s: median(&measured),
        rows_per_event: of_an_event(waiting.waiting_rows),
        bytes_per_event: of_an_event(waiting.waiting_bytes),
    })
}

fn received(ground: &Ground) -> Result<u64> {
    let Accounts { received, .. } = accounts(&ground.admin)?;
    Ok(received)
}

/// The files of the buffers' objects.
fn buffers(ground: &Ground) -> Result<Vec<PathBuf>> {
    let folder = ground.stack.data_dir().join("edge/objects/flagfuse-buffer");
    let entries = fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?;
    let files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(files.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "sqlite")).collect())
}

/// What `wrk` sends: outcomes of units that asked and are enrolled, each with its ticket, under ids that are new in each request.
fn script_text(edge: &Client) -> Result<String> {
    let mut script = String::from("local groups, turn, started = {}, 0, string.format(\"%x\", os.time())\n");
    for group in 0..GROUP_COUNT {
        let events = (0..EVENT_COUNT_MAX).map(|at| outcome(edge, &format!("unit-{group}-{at}"), at));
        let events: Vec<Value> = events.collect::<Result<_>>()?;
        let body = json!({ "sent_ms": now_ms(), "sdk": "bench/1.0.0", "events": events }).to_string();
        ensure!(body.len() < 60 << 10, "a request of {} bytes is too long", body.len());
        let parts: Vec<String> = body.split(MARK).map(quoted).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(script, "groups[{}] = {{{}}}", group + 1, parts.join(","));
    }
    let _ = write!(
        script,
        "local headers = {{[\"Content-Type\"] = \"application/json\", [\"Authorization\"] = {key}}}\n\
         request = function()\n\
         \x20 turn = turn + 1\n\
         \x20 local body = table.concat(groups[turn % #groups + 1], started .. \"-\" .. turn)\n\
         \x20 return wrk.format(\"POST\", \"/v1/events\", headers, body)\n\
         end\n",
        key = quoted(format!("Bearer {}", edge.token().unwrap_or_default())),
    );
    Ok(script)
}

/// An outcome of a unit that is enrolled now, by the edge itself.
fn outcome(edge: &Client, unit: &str, at: usize) -> Result<Value> {
    let body = json!({ "context": { "targetingKey": unit } });
    let answer = edge.post(&format!("/ofrep/v1/evaluate/flags/{TARGET}"), &body)?.ok()?;
    let ticket = answer["metadata"]["ticket"].as_str().context("the answer has no ticket")?;
    let metric = if at.is_multiple_of(2) { "latency_ms" } else { "conversion" };
    Ok(json!({
        "id": format!("{MARK}-{at}"), "type": "outcome", "metric": metric, "value": at, "unit": unit,
        "occurred_ms": now_ms(), "ticket": ticket,
    }))
}
