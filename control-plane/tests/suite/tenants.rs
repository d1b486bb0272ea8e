//! Two tenants whose projects and environments have the same keys: each does everything, and no page of either would be
//! another one if the other did not exist.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use flagfuse_control_plane::credential::TokenKind;
use flagfuse_control_plane::store::Lock;
use flagfuse_control_plane::store::receipts::{NackRow, ReplicaName, Told, record_held, record_nack};
use flagfuse_control_plane::store::{forks, snapshots, tokens};
use flagfuse_shared::contract::replica::{HeldVersion, PlaneMessage, decode_messages};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::Scope;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::world::{ENVIRONMENT, FLAG, World, flag, members, policy};

const PROJECT_FLAG: &str = "/v1/projects/demo/flags/home";
const STEP_COUNT: usize = 10;
/// Every page of a tenant that shows something of its projects.
const PAGES: &[&str] = &[
    "/metrics",
    "/v1/audit?limit=1000",
    "/v1/audit?limit=1000&flag=checkout",
    "/v1/audit?limit=1000&actor=fuse",
    "/v1/keys",
    "/v1/projects",
    "/v1/projects/demo",
    "/v1/projects/demo/environments",
    "/v1/projects/demo/flags",
    "/v1/projects/demo/flags/home",
    "/v1/projects/demo/environments/ghost/balance",
    "/v1/projects/demo/environments/ghost/quarantine",
    "/v1/projects/demo/environments/production",
    "/v1/projects/demo/environments/production/audit?limit=1000",
    "/v1/projects/demo/environments/production/audit?limit=1000&flag=checkout&actor=token:test",
    "/v1/projects/demo/environments/production/balance",
    "/v1/projects/demo/environments/production/metrics-seen",
    "/v1/projects/demo/environments/production/arrivals",
    "/v1/projects/demo/environments/production/changes/1.3",
    "/v1/projects/demo/environments/production/changes/latest",
    "/v1/projects/demo/environments/production/flags",
    "/v1/projects/demo/environments/production/flags/checkout/fuse",
    "/v1/projects/demo/environments/production/flags/checkout/cells?sum=true",
    "/v1/projects/demo/environments/production/flags/checkout/usage",
    "/v1/projects/demo/environments/production/flags/checkout/verdicts",
    "/v1/projects/demo/environments/production/flags/home",
    "/v1/projects/demo/environments/production/holdout",
    "/v1/projects/demo/environments/production/layers",
    "/v1/projects/demo/environments/production/notices",
    "/v1/projects/demo/environments/production/propagation",
    "/v1/projects/demo/environments/production/quarantine",
    "/v1/projects/demo/environments/production/segments",
    "/v1/projects/demo/environments/production/settings",
    "/v1/projects/demo/environments/production/slos",
    "/v1/projects/demo/environments/production/snapshots",
    "/v1/projects/demo/environments/production/suppressions",
    "/v1/projects/demo/environments/production/tokens",
    "/v1/tokens",
];
/// What is drawn by chance, or counted over the whole installation and so tells nothing but that it is not alone.
const NOT_COMPARED: &[&str] = &[
    "audit_id",
    "digest",
    "freshness",
    "notice_id",
    "phase_id",
    "quarantine_id",
    "release",
    "root",
    "root_public_keys",
    "token_id",
    "verdict_id",
];

/// A tenant that acts. What it writes bears its name, and so nobody else's page may.
struct Tenant<'w> {
    world: &'w World,
    name: &'static str,
    admin: String,
    ingest: String,
}

impl<'w> Tenant<'w> {
    async fn new(world: &'w World, name: &'static str) -> Self {
        let (admin, ingest) =
            (world.token(TokenKind::Admin, name).await, world.token(TokenKind::Ingest, name).await);
        Self { world, name, admin, ingest }
    }

    fn scope(&self) -> Scope {
        Scope::parse(&format!("{}/demo/production", self.name)).unwrap()
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = self.world.send(&self.admin, method, path, body).await;
        (answer.status.as_u16(), answer.body)
    }

    async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.send(method, path, body).await;
        assert!((200..300).contains(&status), "{} {method} {path}: {status} {answer}", self.name);
        answer
    }

    async fn put(&self, rest: &str, body: Value) -> Value {
        self.ok("PUT", &format!("{ENVIRONMENT}/{rest}"), body).await
    }

    fn flag(&self) -> Value {
        let mut flag = flag();
        flag["description"] = json!(self.name);
        flag
    }

    /// One of the things that a tenant does: the same ones by both, with other values.
    async fn act(&self, step: usize) {
        let is_left = self.name == "lefty";
        match step {
            0 => {
                let project = json!({ "key": "demo", "name": self.name });
                let environment = json!({ "key": "production" });
                for (path, body) in
                    [("/v1/projects", project), ("/v1/projects/demo/environments", environment)]
                {
                    let (status, answer) = self.send("POST", path, body).await;
                    assert_eq!(status, 201, "{} {path}: {answer}", self.name);
                }
            }
            1 => {
                self.put("segments/beta", json!({ "included": [self.name] })).await;
                self.put("holdout", json!({ "percentage": 1, "salt": self.name })).await;
                self.put("flags/checkout", self.flag()).await;
                let objective = if is_left { 99 } else { 95 };
                let slo = json!({ "sli": { "kind": "errors" }, "objective_percent": objective, "description": self.name });
                self.put("slos/checkout", slo).await;
                let to_ms = self.world.clock.now().plus(60_000);
                let window = json!({ "suppression_id": "deploy", "to_ms": to_ms, "reason": self.name });
                self.ok("POST", &format!("{ENVIRONMENT}/suppressions"), window).await;
            }
            2 => {
                self.ok("PUT", PROJECT_FLAG, self.flag()).await;
                self.put("flags/home/override", json!({ "enabled": is_left })).await;
            }
            3 => {
                let percent = if is_left { 20 } else { 30 };
                let rules = policy(json!({ "exposure_percent": percent, "control_percent": percent }));
                self.put("flags/checkout/fuse", rules).await;
            }
            4 => self.report().await,
            5 if is_left => {
                self.ok("POST", &format!("{FLAG}/fuse/trip"), json!({ "reason": "lefty" })).await;
            }
            5 => {}
            6 => {
                let key = json!({ "name": self.name });
                let token = self.ok("POST", &format!("{ENVIRONMENT}/tokens"), key).await;
                let path = format!("/v1/tokens/{}", token["token_id"].as_str().unwrap());
                if is_left {
                    self.ok("DELETE", &path, Value::Null).await;
                }
            }
            7 => {
                let strategies = json!([{ "name": "default" }]);
                let feature = json!({ "name": "new", "description": self.name, "strategies": strategies });
                let document = json!({ "version": 2, "features": [feature] });
                self.ok("POST", &format!("{ENVIRONMENT}/import?format=unleash"), document).await;
                self.ok("DELETE", PROJECT_FLAG, Value::Null).await;
                self.ok("PUT", PROJECT_FLAG, self.flag()).await;
            }
            8 => self.use_verbs(is_left).await,
            _ => self.hear_of_replicas().await,
        }
    }

    /// Switches, patches, and an environment that goes again with one of them.
    async fn use_verbs(&self, is_left: bool) {
        self.ok("POST", &format!("{FLAG}/off"), Value::Null).await;
        self.ok("PATCH", PROJECT_FLAG, json!({ "description": format!("{} again", self.name) })).await;
        if is_left {
            self.ok("POST", &format!("{FLAG}/on"), Value::Null).await;
        }
        self.ok("POST", "/v1/projects/demo/environments", json!({ "key": "passing" })).await;
        let passing = "/v1/projects/demo/environments/passing";
        self.ok("PUT", &format!("{passing}/flags/checkout"), self.flag()).await;
        if is_left {
            let (status, asked) = self.send("DELETE", passing, Value::Null).await;
            assert_eq!(status, 409, "{asked}");
            let header = ("x-flagfuse-confirm", asked["confirmation"].as_str().unwrap());
            let gone = self.world.send_with(&self.admin, "DELETE", passing, &[header], Vec::new()).await;
            assert_eq!(gone.status.as_u16(), 200, "{}", gone.body);
        }
    }

    /// Events with the same ids, of the same units, in batches of the same name.
    async fn report(&self) {
        let now = self.world.clock.now();
        let event = |id: String, mut fields: Value| {
            (fields["id"], fields["occurred_ms"]) = (json!(id), json!(now));
            fields
        };
        let mut events = vec![
            event(
                "usage".to_owned(),
                json!({ "type": "usage", "flag": "checkout", "yes": self.name.len(), "no": 1, "variants": {} }),
            ),
            event("odd".to_owned(), json!({ "type": self.name })),
            event(
                "plain".to_owned(),
                json!({ "type": "exposure", "unit": "u", "flag": "home", "variation": "off" }),
            ),
        ];
        let unit_count = if self.name == "lefty" { 3 } else { 2 };
        for (n, unit) in members(0..200_000, unit_count, 1).iter().enumerate() {
            events.push(event(
                format!("e{n}"),
                json!({ "type": "exposure", "unit": unit, "flag": "checkout", "variation": "on", "phase": 1 }),
            ));
            events.push(event(
                format!("o{n}"),
                json!({ "type": "outcome", "unit": unit, "metric": "conversion" }),
            ));
        }
        for (seq, environment) in [(1, "production"), (2, "ghost"), (1, "production")] {
            let mut batch = self.world.batch_of("buffer", seq, &events);
            batch["tenant"] = json!(self.name);
            batch["environment"] = json!(environment);
            batch["oldest_waiting_ms"] =
                json!(if self.name == "lefty" { Some(now.minus(60_000)) } else { None });
            let batch = batch.to_string().into_bytes();
            let answer = self.world.send(&self.ingest, "POST", "/v1/ingest", batch).await;
            assert!(answer.status.is_success(), "{}", answer.body);
        }
    }

    /// The left one's replica refuses what it was sent, and then turns out to hold what was never signed.
    async fn hear_of_replicas(&self) {
        let (store, now, scope) = (&self.world.plane.store, self.world.clock.now(), self.scope());
        let mut tx = store.write(Lock::Keys).await.unwrap();
        let newest = snapshots::newest_signed(&mut tx, &scope).await.unwrap().unwrap().held;
        let replica = ReplicaName { region: "local".to_owned(), shard: 0 };
        let told = Told::Ack { keyset_version: 1, stored_ms: now };
        record_held(&mut tx, &scope, &replica, newest, told, now).await.unwrap();
        forks::observe(&mut tx, &scope, ("local", 0), newest, now).await.unwrap();
        if self.name == "lefty" {
            let nack = NackRow { code: "E_SIZE".to_owned(), detail: "lefty".to_owned(), at_ms: now };
            record_nack(&mut tx, &scope, &replica, &nack).await.unwrap();
            let held = HeldVersion { seq: newest.seq + 100, digest: Digest::of(b"lefty"), ..newest };
            forks::observe(&mut tx, &scope, ("local", 0), held, now).await.unwrap();
        }
        tx.commit().await.unwrap();
        let mut flag = self.flag();
        flag["enabled"] = json!(true);
        let (status, answer) = self.send("PUT", FLAG, flag).await;
        assert_eq!(status, if self.name == "lefty" { 409 } else { 200 }, "{}: {answer}", self.name);
    }

    /// All that it can read, without what chance made of it.
    async fn pages(&self) -> Vec<(String, String)> {
        let mut pages = Vec::new();
        for path in PAGES {
            pages.push(((*path).to_owned(), self.page(path).await));
        }
        let question = json!({
            "project": "demo", "environment": "production", "flag": "checkout", "context": { "targetingKey": "u" },
        });
        pages.push(("explanation".to_owned(), self.ok("POST", "/v1/explain", question).await.to_string()));
        let mut conn = self.world.plane.store.read().await.unwrap();
        let keys = tokens::client_key_digests(&mut conn, &self.scope()).await.unwrap().len();
        pages.push(("client keys in a snapshot".to_owned(), keys.to_string()));
        pages.push(("pull".to_owned(), self.pulled().await.join(" ")));
        pages
    }

    async fn page(&self, path: &str) -> String {
        let request = Request::builder().uri(path).header("authorization", format!("Bearer {}", self.admin));
        let response = self.world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let text =
            String::from_utf8(to_bytes(response.into_body(), 64 << 20).await.unwrap().to_vec()).unwrap();
        assert!(status.is_success(), "{} {path}: {text}", self.name);
        let Ok(mut page) = serde_json::from_str::<Value>(&text) else { return of_tenant(&text) };
        strip(&mut page);
        // Those of one moment are in the order of their ids.
        if let Some(tokens) = page.get_mut("tokens").and_then(Value::as_array_mut) {
            tokens.sort_by_key(Value::to_string);
        }
        page.to_string()
    }

    /// The environments that its edges are sent.
    async fn pulled(&self) -> Vec<String> {
        let request = Request::builder().method("POST").uri("/v1/replica/pull");
        let request = request.header("authorization", format!("Bearer {}", self.ingest));
        let body = json!({ "region": "local", "shard": 0, "held": {} }).to_string();
        let response =
            self.world.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let bytes = to_bytes(response.into_body(), 64 << 20).await.unwrap();
        let frames = decode_messages(&bytes).filter_map(|message| match message {
            PlaneMessage::Publish { scope, .. } => Some(scope.to_string()),
            _ => None,
        });
        frames.collect()
    }
}

fn strip(page: &mut Value) {
    match page {
        Value::Object(fields) => {
            // The subject of a token's entry is its id.
            if fields.get("action").and_then(Value::as_str).is_some_and(|action| action.starts_with("token."))
            {
                fields.remove("subject");
            }
            fields.retain(|name, _| !NOT_COMPARED.contains(&name.as_str()));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// What each tenant can read in the end, in a world that has these ones, who take turns.
/// Metrics without those of the process, which say how long it wrote for whomever.
fn of_tenant(metrics: &str) -> String {
    metrics
        .lines()
        .filter(|line| !line.contains("flagfuse_write_transaction_seconds"))
        .collect::<Vec<_>>()
        .join("\n")
}

async fn pages_of(names: &[&'static str]) -> Vec<Vec<(String, String)>> {
    let world = World::empty().await;
    let mut tenants = Vec::new();
    for name in names {
        tenants.push(Tenant::new(&world, name).await);
    }
    for step in 0..STEP_COUNT {
        for tenant in &tenants {
            tenant.act(step).await;
        }
        world.clock.advance(1_000);
        assert_eq!(world.tick().await.failed, 0, "step {step}");
    }
    world.close_slots().await;
    let mut pages = Vec::new();
    for tenant in &tenants {
        pages.push(tenant.pages().await);
    }
    pages
}

#[tokio::test]
async fn two_tenants_use_the_same_keys_and_neither_makes_a_difference_to_the_other() {
    let together = pages_of(&["lefty", "righty"]).await;
    for (name, other, pages) in [("lefty", "righty", &together[0]), ("righty", "lefty", &together[1])] {
        let alone = pages_of(&[name]).await.remove(0);
        for ((path, page), (_, expected)) in pages.iter().zip(&alone) {
            assert_eq!(page, expected, "{name} {path}");
            assert!(!page.contains(other), "{name} {path}: {page}");
        }
        let mut pulled: Vec<&str> = pages.last().unwrap().1.split(' ').collect();
        pulled.sort_unstable();
        assert_eq!(pulled, [format!("{name}/demo/passing"), format!("{name}/demo/production")]);
    }
    for (pages, units) in together.iter().zip([3, 2]) {
        let (_, cells) = pages.iter().find(|(path, _)| path.contains("/cells")).unwrap();
        assert!(cells.contains(&format!("\"units\":{units}")), "{cells}");
    }
    let differing = together[0].iter().zip(&together[1]).filter(|(left, right)| left.1 != right.1);
    let differing: Vec<&str> = differing.map(|((path, _), _)| path.as_str()).collect();
    assert!(differing.len() >= 20, "both did something else: {differing:?}");
}
