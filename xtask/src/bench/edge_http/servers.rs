//! The servers under load and what each is asked. Proves before any load that each answers every flag it is asked for.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use flagfuse_bench_ours::evaluator::flag_json;
use flagfuse_bench_ours::flags::{FlagSpec, Kind, Person, asked_rollouts, flags, people};
use serde_json::{Value, json};

use super::slot::Slot;
use super::unleash_edge::{self, TOKEN, UnleashEdge};
use super::wrk::{Request, bind_server, write_script};
use crate::http::{Answer, Client};
use crate::ports;
use crate::stack::{Stack, StackConfig, build_deployed_edge};
use crate::tools::progress;
use crate::wait::eventually;
use crate::wasm_build::build_bench_worker;
use crate::workerd::{Edge, start_plain};

/// Flags of the two environments.
pub(super) const SMALL: usize = 20;
pub(super) const LARGE: usize = 1_000;
const PROJECT: &str = "bench";
const PUBLISH_LIMIT: Duration = Duration::from_mins(1);

/// Where a server is.
#[derive(Clone)]
struct Server {
    base_url: String,
    process_id: u32,
}

/// Everything that runs; dropping it kills it.
pub(super) struct Servers {
    pub(super) slots: Vec<Slot>,
    stack: Stack,
    hello: Edge,
    unleash: [UnleashEdge; 2],
}

impl Servers {
    pub(super) fn start(root: &Path) -> Result<Self> {
        let unleash_binary = unleash_edge::install(root)?;
        let hello_bundle = build_bench_worker(root, "hello")?;
        let built = build_deployed_edge(root)?;
        let data_dir = root.join("target/bench/edge-http-data");
        if data_dir.exists() {
            fs::remove_dir_all(&data_dir)?;
        }
        let all = flags();
        let small = all.get(..SMALL).context("too few flags")?;

        let stack = Stack::start(root, &built, StackConfig::on_free_ports(&data_dir, 1)?)?;
        progress(&format!("creating {SMALL} and {LARGE} flags"));
        let keys = [create(&stack.admin(), "small", small)?, create(&stack.admin(), "large", &all)?];
        let hello_dir = data_dir.join("hello");
        let port = *ports::free(1)?.first().context("no free port")?;
        let hello = start_plain(root, &hello_bundle, &hello_dir, port)?;
        let unleash = [
            unleash_edge::start(&unleash_binary, &data_dir.join("unleash-small"), small)?,
            unleash_edge::start(&unleash_binary, &data_dir.join("unleash-large"), &all)?,
        ];
        let mut servers = Self { slots: Vec::new(), stack, hello, unleash };
        bind_server(servers.edge_process_id()?)?;
        bind_server(servers.hello.id())?;
        for unleash in &servers.unleash {
            bind_server(unleash.process.id())?;
        }
        servers.add_slots(&data_dir, &keys, [small, &all])?;
        Ok(servers)
    }

    pub(super) fn edge_process_id(&self) -> Result<u32> {
        self.stack.edge_process_id().context("workerd does not run")
    }

    fn add_slots(&mut self, dir: &Path, keys: &[String; 2], flags: [&[FlagSpec]; 2]) -> Result<()> {
        let edge = Server { base_url: self.stack.edge_url(0), process_id: self.edge_process_id()? };
        let hello = Server { base_url: self.hello.url(0).context("no URL")?, process_id: self.hello.id() };
        let [small_key, large_key] = keys;
        let [unleash_small, unleash_large] = self
            .unleash
            .each_ref()
            .map(|unleash| Server { base_url: unleash.base_url.clone(), process_id: unleash.process.id() });
        let say_hello = || vec![Request { method: "GET", path: "/".to_owned(), key: None, body: None }];
        let mut add = |name, server: &Server, what, requests: Vec<Request>| -> Result<()> {
            let script = dir.join(format!("{name}.lua"));
            write_script(&script, &requests)?;
            let Server { base_url, process_id } = server.clone();
            self.slots.push(Slot { name, what, base_url, script, process_id });
            Ok(())
        };
        add("hello", &hello, "Rust worker with a constant", say_hello())?;
        add("single", &edge, "edge, one flag over OFREP", singles(large_key))?;
        add("unleash20", &unleash_small, "unleash-edge, /api/frontend", frontends(TOKEN))?;
        add("bulk20", &edge, "edge, all flags over OFREP", bulks(small_key))?;
        add("unleash1000", &unleash_large, "unleash-edge, /api/frontend", frontends(TOKEN))?;
        add("bulk1000", &edge, "edge, all flags over OFREP", bulks(large_key))?;
        if has_frontend_route(&edge.base_url, small_key)? {
            add("frontend20", &edge, "edge, /api/frontend", frontends(small_key))?;
            add("frontend1000", &edge, "edge, /api/frontend", frontends(large_key))?;
        }
        add("hello_again", &hello, "the same as hello: what differs is noise", say_hello())?;

        let [small_flags, large_flags] = flags;
        check_bulk(&edge.base_url, small_key, small_flags)?;
        check_bulk(&edge.base_url, large_key, large_flags)?;
        check_frontend(&unleash_small.base_url, TOKEN, small_flags)?;
        check_frontend(&unleash_large.base_url, TOKEN, large_flags)
    }
}

/// An environment with these flags, published; its client key.
fn create(admin: &Client, environment: &str, flags: &[FlagSpec]) -> Result<String> {
    let project = admin.post("/v1/projects", &json!({ "key": PROJECT }))?;
    ensure!(matches!(project.status, 200..300 | 409), "creating a project: {}", project.body);
    let environments = format!("/v1/projects/{PROJECT}/environments");
    let settings = json!({ "key": environment, "profile": "strict", "auto_exposure": "off" });
    admin.post(&environments, &settings)?.ok().context("creating an environment")?;
    for flag in flags {
        let path = format!("{environments}/{environment}/flags/{}", flag.key);
        admin.put(&path, &flag_json(flag))?.ok().with_context(|| format!("PUT {path}"))?;
    }
    let body = json!({ "kind": "client", "project": PROJECT, "environment": environment, "name": "bench" });
    let answer = admin.post("/v1/tokens", &body)?.ok().context("creating a client key")?;
    answer["token"].as_str().map(str::to_owned).context("the answer has no token")
}

fn post(path: String, key: &str, person: &Person) -> Request {
    let body = json!({ "context": person.to_json("targetingKey") }).to_string();
    Request { method: "POST", path, key: Some(format!("Bearer {key}")), body: Some(body) }
}

fn singles(key: &str) -> Vec<Request> {
    let flags = asked_rollouts();
    let of = |(at, person): (usize, Person)| {
        let flag = &flags[at % flags.len()];
        post(format!("/ofrep/v1/evaluate/flags/{flag}"), key, &person)
    };
    people().into_iter().enumerate().map(of).collect()
}

fn bulks(key: &str) -> Vec<Request> {
    people().iter().map(|person| post("/ofrep/v1/evaluate/flags".to_owned(), key, person)).collect()
}

fn frontends(key: &str) -> Vec<Request> {
    people().iter().map(|person| frontend(key, person)).collect()
}

/// The context as Unleash's SDKs for browsers send it.
fn frontend(key: &str, person: &Person) -> Request {
    let mut query = format!("userId={}", person.key);
    let attributes = person.to_json("userId");
    for (name, value) in attributes.as_object().into_iter().flatten().filter(|(name, _)| *name != "userId") {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned).replace('@', "%40");
        // Writing to a String cannot fail.
        let _ = write!(query, "&properties%5B{name}%5D={value}");
    }
    let path = format!("/api/frontend?{query}");
    Request { method: "GET", path, key: Some(key.to_owned()), body: None }
}

fn ask(base_url: &str, request: &Request) -> Result<Answer> {
    let headers: Vec<(&str, &str)> = request.key.iter().map(|key| ("authorization", key.as_str())).collect();
    let body = request.body.clone().map(String::into_bytes);
    Client::new(base_url, None).send(request.method, &request.path, &headers, body)
}

fn has_frontend_route(base_url: &str, key: &str) -> Result<bool> {
    let request = frontends(key).into_iter().next().context("nobody asks")?;
    Ok(ask(base_url, &request)?.status == 200)
}

/// Every flag has a value, once the last change has arrived.
fn check_bulk(base_url: &str, key: &str, flags: &[FlagSpec]) -> Result<()> {
    let request = bulks(key).into_iter().next().context("nobody asks")?;
    eventually("the edge answers all flags", PUBLISH_LIMIT, || {
        let body = ask(base_url, &request)?.ok()?;
        let answers = body["flags"].as_array().context("no flags")?;
        let count = answers.iter().filter(|answer| answer.get("value").is_some()).count();
        ensure!(count == flags.len(), "{count} of {} flags have a value", flags.len());
        Ok(())
    })
}

/// Every flag with conditions or variants is on, so the context was understood.
fn check_frontend(base_url: &str, key: &str, flags: &[FlagSpec]) -> Result<()> {
    let request = frontends(key).into_iter().next().context("nobody asks")?;
    let body = ask(base_url, &request)?.ok()?;
    let toggles = body["toggles"].as_array().context("no toggles")?;
    let is_on = |flag: &FlagSpec| toggles.iter().any(|toggle: &Value| toggle["name"] == flag.key.as_str());
    if let Some(missing) = flags.iter().find(|flag| !matches!(flag.kind, Kind::Rollout) && !is_on(flag)) {
        bail!("unleash-edge does not have {} on", missing.key);
    }
    Ok(())
}
