//! An edge without a control plane: regions, isolates and replicas in workerd, told by tests what to hold. Contains no test.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::SnapshotVersion;
use serde_json::{Value, json};
use xtask::http::{Answer, Client};
use xtask::stack::StackConfig;
use xtask::wasm_build::{EDGE, WasmBundle, WasmProfile, build_wasm};
use xtask::workerd::{Edge, EdgeConfig, start};

use crate::plane::{Draft, Keys, Replica, scope};
use crate::{PATIENCE, eventually, fresh_dir, root};

const PUSH_TOKEN: &str = "push-token";
/// Presented to the control plane by replicas that pull.
pub const INGEST_TOKEN: &str = "ingest-token";
/// What lone edges make tickets with.
pub const TICKET_SECRETS: &str = "t1:bm90IGEgc2VjcmV0IG9mIGFueWJvZHk";
/// What lone edges check signed units with.
pub const UNIT_SECRETS: &str = "u1:YSBzZWNyZXQgb2YgYW55IHNlcnZlcg";
/// The environment of the client key.
pub const LONE_ENVIRONMENT: &str = "demo/dev";
/// Opens it, in every draft that names no other.
pub const CLIENT_KEY: &str = "demo:dev.s3cret";

/// Regions in one workerd, and the keys they trust.
#[derive(Debug)]
pub struct LoneEdge {
    edge: Option<Edge>,
    bundle: WasmBundle,
    config: EdgeConfig,
    /// Keys whose root the edge trusts.
    pub keys: Keys,
}

impl LoneEdge {
    /// Starts one isolate in each region; `control_plane_url` is where replicas pull, empty when nowhere.
    pub fn start(name: &str, regions: &[&str], control_plane_url: &str) -> Self {
        let data_dir = fresh_dir(name);
        let keys = Keys::made_up();
        let stack = StackConfig::in_regions(&data_dir, regions, 1).expect("ports are free");
        let vars = [
            ("FLAGFUSE_ROOT_KEYS", keys.root.public_base64()),
            ("FLAGFUSE_PUSH_TOKEN_SHA256", Digest::of(PUSH_TOKEN.as_bytes()).to_string()),
            ("FLAGFUSE_CONTROL_PLANE_URL", control_plane_url.to_owned()),
            ("FLAGFUSE_INGEST_TOKEN", INGEST_TOKEN.to_owned()),
            ("FLAGFUSE_STREAM_SECRET", "a stream secret of nobody".to_owned()),
            ("FLAGFUSE_TICKET_SECRETS", TICKET_SECRETS.to_owned()),
            ("FLAGFUSE_UNIT_SECRETS", UNIT_SECRETS.to_owned()),
        ];
        let vars: BTreeMap<String, String> =
            vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let config = EdgeConfig { regions: stack.regions, shards: 1, data_dir, vars };
        let bundle = build_wasm(root(), &EDGE, WasmProfile::Fast).expect("the edge builds");
        let mut edge = Self { edge: None, bundle, config, keys };
        edge.start_again();
        edge
    }

    /// One region that serves version 1.1, and the connection that goes on vouching for it.
    pub fn served(name: &str) -> (Self, Replica) {
        let edge = Self::start(name, &["weur"], "");
        let mut replica = edge.dial("weur");
        let draft = edge.draft(1);
        replica.store(&draft.scope, &edge.keys.frame(&draft)).expect("the replica takes the first version");
        let vouched = eventually("the snapshot is served and vouched for", PATIENCE, || {
            replica.vouch(&edge.keys);
            edge.ask_for_state("weur", "on", "fresh").map(|_| ())
        });
        vouched.expect("an edge that has just started serves what it was given");
        (edge, replica)
    }

    /// Kills workerd with SIGKILL.
    pub fn kill(&mut self) {
        self.edge = None;
    }

    /// Starts workerd on the data there is.
    pub fn start_again(&mut self) {
        self.edge = Some(start(root(), &self.bundle, &self.config).expect("the edge starts"));
    }

    /// Where the objects' databases are.
    pub fn objects_dir(&self) -> PathBuf {
        self.config.data_dir.join("objects")
    }

    /// Base URL of a region's isolate.
    pub fn url(&self, region: &str) -> String {
        let region = self.config.regions.iter().find(|known| known.name == region).expect("a known region");
        format!("http://127.0.0.1:{}", region.isolates[0].1)
    }

    /// A push connection to a region's replica.
    pub fn dial(&self, region: &str) -> Replica {
        let dialled = Replica::dial(&self.url(region), region, 0, Some(PUSH_TOKEN));
        dialled.unwrap_or_else(|status| panic!("status {status}"))
    }

    /// What a region's replica says of itself.
    pub fn state(&self, region: &str) -> Result<Value> {
        let client = Client::new(&self.url(region), Some(PUSH_TOKEN));
        client.get(&format!("/v1/push/{region}/0/state"))?.ok()
    }

    /// Questions that a region's replica has answered.
    pub fn probe_count(&self, region: &str) -> u64 {
        let state = self.state(region).expect("the replica says what it knows");
        state["probes"].as_u64().expect("a count of probes")
    }

    /// One evaluation by a region's isolate.
    pub fn ask(&self, region: &str, flag: &str) -> Result<Answer> {
        let client = Client::new(&self.url(region), Some(CLIENT_KEY));
        let body = json!({ "context": { "targetingKey": "somebody" } });
        client.post(&format!("/ofrep/v1/evaluate/flags/{flag}"), &body)
    }

    /// One evaluation that has to be labelled with this state; its answer.
    pub fn ask_for_state(&self, region: &str, flag: &str, state: &str) -> Result<Answer> {
        let answer = self.ask(region, flag)?;
        let found = answer.header("x-flags-state");
        ensure!(found == Some(state), "{region}: state {found:?} instead of {state:?}: {}", answer.body);
        Ok(answer)
    }

    /// A snapshot of the client key's environment with a boolean flag `on`, which is `true` unless it has gone stale.
    pub fn draft(&self, seq: u64) -> Draft {
        let flag = json!({
            "key": "on", "value_type": "boolean", "default_variation": "on", "off_variation": "off",
            "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }], "on_stale": "off",
        });
        Draft {
            flags: vec![flag],
            client_key: Some(CLIENT_KEY.to_owned()),
            ..Draft::new(scope(LONE_ENVIRONMENT), SnapshotVersion { epoch: 1, seq }, "")
        }
    }
}
