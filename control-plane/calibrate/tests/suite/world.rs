//! A whole control plane on SQLite in a folder of its own, with a flag under a fuse and an edge that serves it.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use flagfuse_calibrate::traffic::BEGIN_MS;
use flagfuse_cells::Arm;
use flagfuse_control_plane::clock::{Clock, monotonic};
use flagfuse_control_plane::engine::{Engine, Ticked};
use flagfuse_control_plane::model::evidence::News;
use flagfuse_control_plane::model::fleet::Fleet;
use flagfuse_control_plane::plane::{ControlPlane, init};
use flagfuse_control_plane::store::{cells, evidence, snapshots};
use flagfuse_shared::bucket::{Bucket, COHORT_SEED};
use flagfuse_shared::ids::{Scope, TenantKey, UnixMillis};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::edge::{Deployment, Edge};

pub(super) const FLAG: &str = "/v1/projects/demo/environments/production/flags/checkout";

/// That control plane, and its engine.
pub(super) struct World {
    pub(super) plane: ControlPlane,
    pub(super) clock: Clock,
    router: Router,
    engine: Engine,
    admin: String,
    ingest: String,
    root_keys: Vec<String>,
    client_key: String,
    _folder: tempfile::TempDir,
}

impl World {
    pub(super) async fn new(policy: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(UnixMillis(BEGIN_MS));
        let made = init(folder.path(), &TenantKey::parse("default").unwrap(), clock.clone()).await.unwrap();
        let plane = ControlPlane::open(folder.path(), clock.clone()).await.unwrap();
        let router = plane.router(Fleet { regions: vec!["local".to_owned()], shards: 1 });
        let (admin, ingest, root_keys) = (made.admin_token, made.ingest_token, made.root_public_keys);
        let (client_key, engine) = (String::new(), Engine::default());
        let mut world =
            Self { plane, clock, router, engine, admin, ingest, root_keys, client_key, _folder: folder };
        let environment = json!({
            "key": "production", "min_networks": 1, "enrolments_per_minute": 0, "auto_exposure": "single",
        });
        world.send("POST", "/v1/projects", &json!({ "key": "demo" })).await;
        world.send("POST", "/v1/projects/demo/environments", &environment).await;
        let flag = json!({
            "value_type": "boolean", "default_variation": "off", "off_variation": "off",
            "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
        });
        world.send("PUT", FLAG, &flag).await;
        world.send("PUT", &format!("{FLAG}/fuse"), policy).await;
        let tokens = "/v1/projects/demo/environments/production/tokens";
        let made = world.send("POST", tokens, &json!({ "name": "web" })).await;
        made["token"].as_str().unwrap().clone_into(&mut world.client_key);
        world
    }

    pub(super) async fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let token = format!("Bearer {}", self.admin);
        let request = Request::builder().method(method).uri(path).header("authorization", token);
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), 64 << 20).await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).unwrap_or(Value::Null)
    }

    fn scope() -> Scope {
        Scope::parse("default/demo/production").unwrap()
    }

    /// An edge with the newest snapshot.
    pub(super) async fn edge(&self) -> Edge {
        let mut conn = self.plane.store.read().await.unwrap();
        let frame = snapshots::newest(&mut conn, &Self::scope()).await.unwrap().unwrap().frame;
        let deployment = Deployment {
            router: &self.router,
            ingest_token: &self.ingest,
            root_keys: &self.root_keys,
            client_key: &self.client_key,
            frame: &frame,
        };
        Edge::new(&Self::scope(), &deployment, self.clock.now())
    }

    /// Closes what is due. A tick waits four seconds for a partition and no longer, as on a machine that stands still: then it
    /// is asked again.
    async fn close_due(&self) {
        for _ in 0..20 {
            let began = monotonic();
            self.plane.ingestion.tick().await.unwrap();
            if began.elapsed() < Duration::from_secs(3) {
                return;
            }
        }
        panic!("no tick was answered in time");
    }

    /// Lets everything that is due close, and the engine look.
    pub(super) async fn tick(&mut self, at_ms: u64) -> Ticked {
        self.clock.advance(at_ms - self.clock.now().0);
        self.close_due().await;
        let (store, publisher) = (&self.plane.store, &self.plane.publisher);
        let ticked = self.engine.tick(store, publisher, UnixMillis(at_ms)).await.unwrap();
        assert_eq!(ticked.failed, 0, "{ticked:?}");
        ticked
    }

    /// Everything that closed of the first phase.
    pub(super) async fn news(&self) -> News {
        let mut conn = self.plane.store.read().await.unwrap();
        let partition = cells::partition(&mut conn, &Self::scope()).await.unwrap().unwrap();
        let asked = [evidence::Asked { phase_id: 1, slot: -1 }];
        evidence::news(&mut conn, partition, None, &asked).await.unwrap().remove(&1).unwrap_or_default()
    }

    /// The newest verdicts.
    pub(super) async fn verdicts(&self) -> Vec<Value> {
        let answer = self.send("GET", &format!("{FLAG}/verdicts?limit=50"), &Value::Null).await;
        answer["verdicts"].as_array().unwrap().clone()
    }
}

/// A name for a unit of a launch, by whose bucket it falls into its arm: exposed below a tenth, control from six tenths on.
pub(super) fn unit_name(launch: u64, unit: u64, arm: Arm) -> String {
    let range = match arm {
        Arm::Exposed => 0..100_000,
        Arm::Control => 600_000..1_000_000,
    };
    let mut names = (0..100_000).map(|n| format!("{launch}-{unit}-{n}"));
    names.find(|name| range.contains(&Bucket::of("checkout", name, COHORT_SEED).get())).unwrap()
}
