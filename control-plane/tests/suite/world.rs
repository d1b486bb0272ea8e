//! A control plane over a temporary directory, with a clock that stands still and no network.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use flagfuse_control_plane::clock::{Clock, monotonic};
use flagfuse_control_plane::credential::{Bearer, TokenKind};
use flagfuse_control_plane::engine::{Ticked, tick};
use flagfuse_control_plane::model::fleet::Fleet;
use flagfuse_control_plane::plane::{self, ControlPlane, Location};
use flagfuse_shared::bucket::{Bucket, COHORT_SEED};
use flagfuse_shared::ids::{Scope, TenantKey, UnixMillis};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tower::ServiceExt as _;

use crate::document::{Exchange, assert_documented};
use crate::server::{self, Database};

/// 2026-01-01T00:00:00Z.
pub(crate) const START: UnixMillis = UnixMillis(1_767_225_600_000);
pub(crate) const ENVIRONMENT: &str = "/v1/projects/demo/environments/production";
pub(crate) const FLAG: &str = "/v1/projects/demo/environments/production/flags/checkout";

/// One region with one replica.
pub(crate) fn fleet() -> Fleet {
    Fleet { regions: vec!["local".to_owned()], shards: 1 }
}

pub(crate) struct World {
    pub(crate) plane: ControlPlane,
    pub(crate) router: Router,
    pub(crate) clock: Clock,
    pub(crate) admin: String,
    pub(crate) ingest: String,
    /// Of the first owner's sign-in link.
    pub(crate) code: String,
    pub(crate) server: OnceCell<String>,
    pub(crate) dir: tempfile::TempDir,
    /// Of its own, on PostgreSQL; it goes with this.
    #[expect(dead_code, reason = "held as long as the world is there")]
    pub(crate) server_database: Option<Database>,
    pub(crate) batch_seq: AtomicU64,
    pub(crate) event_seq: AtomicU64,
}

/// Status and JSON of an answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) etag: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        // In OTLP's words it stands before the sentence.
        let of_message = || self.body["message"].as_str()?.split(':').next();
        self.body["code"].as_str().or_else(of_message).unwrap_or_default()
    }
}

impl World {
    /// With project `demo`, environment `production` and flag `checkout`.
    pub(crate) async fn new() -> Self {
        let world = Self::empty().await;
        world.make_demo().await;
        world
    }

    /// Makes project `demo`, environment `production` and flag `checkout`.
    pub(crate) async fn make_demo(&self) {
        let environment = json!({ "key": "production", "min_networks": 1, "enrolments_per_minute": 0 });
        self.ok("POST", "/v1/projects", json!({ "key": "demo" })).await;
        self.ok("POST", "/v1/projects/demo/environments", environment).await;
        self.ok("PUT", FLAG, flag()).await;
    }

    /// Without any project.
    pub(crate) async fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let tenant = TenantKey::parse("default").unwrap();
        let made = plane::init(dir.path(), &tenant, clock.clone()).await.unwrap();
        let plane = ControlPlane::open(dir.path(), clock).await.unwrap();
        Self::of(plane, &made, dir)
    }

    /// One without any project on each database; its events come from one address. On PostgreSQL it has a database of its own,
    /// where there is a server.
    pub(crate) async fn on_both() -> Vec<Self> {
        let mut worlds = vec![Self::empty().await];
        if let Some(database) = server::database().await {
            let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(START));
            let tenant = TenantKey::parse("default").unwrap();
            let location = Location { data: dir.path().to_owned(), database: database.url.clone() };
            // For its keys.
            plane::init(dir.path(), &tenant, clock.clone()).await.unwrap();
            let made =
                plane::init_database(&location, (&tenant, "owner"), None, clock.clone()).await.unwrap();
            let plane = ControlPlane::unlock(&location, None, clock).await.unwrap();
            worlds.push(Self { server_database: Some(database), ..Self::of(plane, &made, dir) });
        }
        worlds
    }

    /// Around a control plane whose first tokens these are.
    pub(crate) fn of(plane: ControlPlane, made: &plane::Initialised, dir: tempfile::TempDir) -> Self {
        let (feed, store, bell) = (plane.feed.clone(), plane.store.clone(), plane.publisher.listen());
        tokio::spawn(flagfuse_control_plane::feed::run(feed, store, plane.clock.clone(), bell));
        Self {
            router: plane.router(fleet()),
            clock: plane.clock.clone(),
            plane,
            admin: made.admin_token.clone(),
            ingest: made.ingest_token.clone(),
            code: made.sign_in_code.clone(),
            server: OnceCell::new(),
            dir,
            server_database: None,
            batch_seq: AtomicU64::new(1),
            event_seq: AtomicU64::new(1),
        }
    }

    /// Sets the clock back, as somebody may with a machine's.
    pub(crate) fn set_back(&self, ms: u64) {
        let Clock::Manual(at) = &self.clock else { panic!("the clock is the machine's") };
        at.fetch_sub(ms, Ordering::SeqCst);
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub(crate) async fn token(&self, kind: TokenKind, tenant: &str) -> String {
        let bearer = Bearer::Tenant(TenantKey::parse(tenant).unwrap());
        self.plane.create_token(kind, bearer, "test").await.unwrap()
    }

    /// The secret key of a server of `demo/production`, made when it is first asked for.
    pub(crate) async fn server(&self) -> &str {
        let make = async || {
            let bearer = Bearer::Environment(Scope::parse("default/demo/production").unwrap());
            self.plane.create_token(TokenKind::Server, bearer, "servers").await.unwrap()
        };
        self.server.get_or_init(make).await
    }

    /// A token that a path takes.
    pub(crate) async fn caller_of(&self, path: &str) -> &str {
        match path {
            "/v1/ingest" | "/v1/replica/pull" => &self.ingest,
            "/v1/ingest/events" => self.server().await,
            _ if path.starts_with("/v1/otlp/") => self.server().await,
            _ => &self.admin,
        }
    }

    /// A way of its own into the database, for what the API never does.
    pub(crate) async fn database(&self) -> sqlx::SqliteConnection {
        let url = format!("sqlite://{}", self.data().join("flagfuse.db").display());
        <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.unwrap()
    }

    pub(crate) async fn send(&self, token: &str, method: &str, path: &str, body: Vec<u8>) -> Answer {
        self.send_with(token, method, path, &[], body).await
    }

    pub(crate) async fn send_with(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let sent = body.clone();
        let response = self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let status = parts.status;
        let header = |name| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let (etag, content_type) = (header("etag"), header("content-type").unwrap_or_default());
        let bytes = to_bytes(body, 64 << 20).await.unwrap();
        let (content_type, sent, received) = (content_type.as_str(), sent.as_slice(), &*bytes);
        assert_documented(&Exchange { method, path, sent, status, content_type, received });
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status, etag, headers: parts.headers, body }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send(&self.admin, method, path, body).await
    }

    /// An admin's request that depends on what is there.
    pub(crate) async fn call_if(
        &self,
        header: (&str, &str),
        method: &str,
        path: &str,
        body: &Value,
    ) -> Answer {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send_with(&self.admin, method, path, &[header], body).await
    }

    pub(crate) async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.call(method, path, body).await;
        assert!(answer.status.is_success(), "{method} {path}: {} {}", answer.status, answer.body);
        answer.body
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.ok("GET", path, Value::Null).await
    }

    /// An event at the clock's time, with an id of its own.
    pub(crate) fn event(&self, fields: Value) -> Value {
        let n = self.event_seq.fetch_add(1, Ordering::SeqCst);
        let mut event = json!({ "id": format!("e{n}"), "occurred_ms": self.clock.now() });
        for (name, value) in fields.as_object().unwrap() {
            event[name] = value.clone();
        }
        event
    }

    pub(crate) fn exposure(&self, unit: &str, variation: &str, phase: u32) -> Value {
        self.event(json!({
            "type": "exposure", "unit": unit, "flag": "checkout", "variation": variation, "phase": phase,
        }))
    }

    pub(crate) fn outcome(&self, unit: &str, metric: &str) -> Value {
        self.event(json!({ "type": "outcome", "unit": unit, "metric": metric }))
    }

    pub(crate) fn batch(&self, events: &[Value]) -> Value {
        let seq = self.batch_seq.fetch_add(1, Ordering::SeqCst);
        self.batch_of("buffer", seq, events)
    }

    pub(crate) fn batch_of(&self, buffer_id: &str, seq: u64, events: &[Value]) -> Value {
        let now = self.clock.now();
        let events: Vec<Value> = events.iter().map(|raw| json!({ "received_ms": now, "raw": raw })).collect();
        json!({
            "buffer_id": buffer_id, "batch_seq": seq, "tenant": "default", "project": "demo",
            "environment": "production", "region": "local", "events": events,
        })
    }

    pub(crate) async fn deliver(&self, batch: &Value) -> Value {
        let answer = self.send(&self.ingest, "POST", "/v1/ingest", batch.to_string().into_bytes()).await;
        assert!(answer.status.is_success(), "{} {}", answer.status, answer.body);
        answer.body
    }

    pub(crate) async fn ingest(&self, events: &[Value]) -> Value {
        let batch = self.batch(events);
        self.deliver(&batch).await
    }

    /// Closes what is due in the events. A tick waits seconds for a partition and no longer, as on a machine that stands
    /// still: then it is asked again.
    pub(crate) async fn close_due(&self) {
        for _ in 0..ASKED_COUNT_MAX {
            let began = monotonic();
            self.plane.ingestion.tick().await.unwrap();
            if began.elapsed() < WAITED_FOR {
                return;
            }
        }
        panic!("no tick of {ASKED_COUNT_MAX} was answered within {WAITED_FOR:?}");
    }

    /// Lets the partitions go, so that another process would find nothing but the database. The same holds of its wait.
    pub(crate) async fn let_go(&self) {
        for _ in 0..ASKED_COUNT_MAX {
            let began = monotonic();
            self.plane.ingestion.close().await;
            if began.elapsed() < WAITED_FOR {
                return;
            }
        }
        panic!("the partitions were not let go within {WAITED_FOR:?}, {ASKED_COUNT_MAX} times");
    }

    /// Lets a minute pass, in which every slot closes that holds twenty units.
    pub(crate) async fn pass_a_minute(&self) {
        self.clock.advance(SLOT_MS);
        self.close_due().await;
    }

    /// Closes what is due in the events, and lets the engine look at it.
    pub(crate) async fn tick(&self) -> Ticked {
        self.close_due().await;
        tick(&self.plane.store, &self.plane.publisher, self.clock.now()).await.unwrap()
    }

    /// Waits until every slot that is open now has closed, however few units are in it.
    pub(crate) async fn close_slots(&self) {
        self.close_due().await;
        self.clock.advance(60 * 60_000);
        self.close_due().await;
        // What became known behind the slots' end counts in their next step.
        self.clock.advance(5_000);
        self.close_due().await;
    }

    /// `(units, events, total)` of an arm and metric in a phase of the flag, over all that is closed.
    pub(crate) async fn sums(&self, phase: u32, arm: &str, metric: &str) -> (i64, i64, i64) {
        let mut database = self.database().await;
        let sql = "SELECT p.phase_id, r.rules FROM phases p JOIN phase_rules r ON r.phase_id = p.phase_id
                   WHERE p.flag = 'checkout' AND p.phase = $1";
        let found =
            sqlx::query_as::<_, (i64, String)>(sql).bind(phase).fetch_optional(&mut database).await.unwrap();
        let Some((phase_id, rules)) = found else { return (0, 0, 0) };
        let rules: Value = serde_json::from_str(&rules).unwrap();
        let names = rules["metrics"].as_array().unwrap().iter().position(|own| own["name"] == metric);
        let number = match metric {
            "exposure" => 0,
            name => names.map_or_else(|| panic!("{name}: {rules}"), |at| i64::try_from(at + 1).unwrap()),
        };
        let sql = "SELECT COALESCE(SUM(units), 0), COALESCE(SUM(events), 0), COALESCE(SUM(total_micros), 0) FROM sums
                   WHERE phase_id = $1 AND metric = $2 AND arm = $3 AND slice = 0";
        let arm = i64::from(arm == "exposed");
        sqlx::query_as(sql).bind(phase_id).bind(number).bind(arm).fetch_one(&mut database).await.unwrap()
    }

    /// A counter of the flag's first phase, of both arms.
    pub(crate) async fn counter(&self, kind: &str) -> i64 {
        let sql = "SELECT COALESCE(SUM(events), 0) FROM phase_counters WHERE kind = $1";
        sqlx::query_scalar(sql).bind(kind).fetch_one(&mut self.database().await).await.unwrap()
    }

    /// The buckets that the running phase enrols, of the exposed and the control arm.
    pub(crate) async fn arms(&self) -> [std::ops::Range<u64>; 2] {
        let slices = self.get(&format!("{FLAG}/fuse")).await["slices"].clone();
        ["exposed", "control"].map(|arm| {
            let is_own = |slice: &&Value| {
                slice["arm"] == arm && slice["phase"].is_null() && slice["unenrolled"] != json!(true)
            };
            let slice =
                slices.as_array().unwrap().iter().find(is_own).unwrap_or_else(|| panic!("{arm}: {slices}"));
            slice["from"].as_u64().unwrap()..slice["to"].as_u64().unwrap()
        })
    }

    /// `units` of the exposed arm of the running phase and as many of the control arm as its width asks for. Of so many
    /// in `units` has either arm `metric`. A minute passes, so that they are counted.
    pub(crate) async fn run_cohort(&self, phase: u32, units: usize, events: (usize, usize), metric: &str) {
        let arms = self.arms().await;
        let [exposed, control] =
            arms.each_ref().map(|range| usize::try_from(range.end - range.start).unwrap());
        for ((range, arm), (variation, hits)) in
            arms.into_iter().zip(["exposed", "control"]).zip([("on", events.0), ("off", events.1)])
        {
            let scaled = |count: usize| if arm == "control" { count * control / exposed } else { count };
            let (members, hits) = (members(range, scaled(units), phase), scaled(hits));
            for (at, chunk) in members.chunks(500).enumerate() {
                let mut all = Vec::new();
                for (n, unit) in chunk.iter().enumerate() {
                    all.push(self.exposure(unit, variation, phase));
                    if at * 500 + n < hits {
                        all.push(self.outcome(unit, metric));
                    }
                }
                self.ingest(&all).await;
            }
        }
        self.pass_a_minute().await;
    }

    pub(crate) async fn count(&self, path: &str, field: &str) -> usize {
        self.get(path).await[field].as_array().unwrap().len()
    }

    /// Audit entries of fuses.
    pub(crate) async fn transitions(&self) -> usize {
        let audit = self.get("/v1/audit?limit=1000").await;
        audit["audit"].as_array().unwrap().iter().filter(|entry| entry["action"] == "fuse.transition").count()
    }
}

/// No slot that holds twenty units is longer.
const SLOT_MS: u64 = 60_000;

/// Less than what a tick, or the end of a process, waits for its partitions: what came back sooner was not cut off.
const WAITED_FOR: Duration = Duration::from_millis(1_900);
/// How often either is asked for.
const ASKED_COUNT_MAX: usize = 20;

/// How long a command may take.
const COMMAND_LIMIT: Duration = Duration::from_mins(5);

/// Runs a command to its end; one that hangs is killed, and what it had said is in the panic.
pub(crate) fn ran(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id().to_string();
    let (end, ended) = channel();
    thread::spawn(move || end.send(child.wait_with_output()));
    if let Ok(output) = ended.recv_timeout(COMMAND_LIMIT) {
        return output.unwrap();
    }
    Command::new("kill").args(["-9", &id]).status().unwrap();
    panic!("{command:?} hangs and was killed; it had said {:?}", ended.recv_timeout(COMMAND_LIMIT));
}

/// Units whose bucket under the flag's salt is in `range`; other ones for each phase.
pub(crate) fn members(range: std::ops::Range<u64>, count: usize, phase: u32) -> Vec<String> {
    members_of("checkout", range, count, phase)
}

/// The same under another salt.
pub(crate) fn members_of(salt: &str, range: std::ops::Range<u64>, count: usize, phase: u32) -> Vec<String> {
    (0..)
        .map(|n| format!("user-{phase}-{n}"))
        .filter(|unit| range.contains(&u64::from(Bucket::of(salt, unit, COHORT_SEED).get())))
        .take(count)
        .collect()
}

pub(crate) fn flag() -> Value {
    json!({
        "value_type": "boolean", "default_variation": "off", "off_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
    })
}

/// All settings as they are in a new world, but for some of them. Its events come from one address.
pub(crate) fn settings(patch: Value) -> Value {
    let mut settings = json!({
        "profile": "strict", "auto_exposure": "single", "confirm_above_pct": null, "stages": [], "soak_s": 0,
        "min_networks": 1, "enrolments_per_minute": 0,
    });
    for (name, value) in patch.as_object().unwrap() {
        settings[name] = value.clone();
    }
    settings
}

/// A policy with a small sample and no waiting, watching conversion.
pub(crate) fn policy(patch: Value) -> Value {
    let mut policy = json!({
        "mode": "classic", "treatment_variation": "on", "control_variation": "off",
        "exposure_percent": 20, "control_percent": 20, "min_sample": 200, "min_confidence": 0.04, "grace_s": 0,
        "guardrails": [{ "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05 }],
    });
    for (name, value) in patch.as_object().unwrap() {
        policy[name] = value.clone();
    }
    policy
}
