//! A fresh stack with an environment to attack: flags under fuses, a client key, whoever watches. Attacks nothing itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::http::{Answer, Client};
use crate::stack::{Built, Stack, StackConfig};
use crate::wait::eventually;

pub(crate) const PROJECT: &str = "attacked";
pub(crate) const ENVIRONMENT: &str = "production";
/// What an attack is aimed at.
pub(crate) const TARGET: &str = "target";
/// Its exposures are recorded by the edge while the attack goes on.
pub(super) const WITNESS: &str = "witness";
/// Units that may be in a slot that is open for an hour: the twentieth closes it with the next tick.
pub(super) const OPEN_COUNT_MAX: u64 = 19;
/// Bytes of events that clients flood an edge with.
pub(super) const FLOOD_LEN: u64 = 500_000_000;
/// How long the stack may take for anything that nobody attacks.
const PATIENCE: Duration = Duration::from_mins(1);

/// What every attack starts from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) root: &'a Path,
    pub(crate) built: &'a Built,
    pub(crate) name: &'static str,
    /// Bytes of the largest flood.
    pub(crate) flood_len: u64,
}

impl<'a> Scene<'a> {
    /// A scene of that name, where nobody says how large a flood is.
    pub(crate) const fn of(root: &'a Path, built: &'a Built, name: &'static str) -> Self {
        Self { root, built, name, flood_len: FLOOD_LEN }
    }
}

/// What differs from attack to attack.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    pub(crate) edge_vars: BTreeMap<String, String>,
    pub(crate) open_file_count_max: Option<u32>,
    /// Whether events count with a ticket only. Without, every event counts as if it came with a good one: what somebody
    /// can do who asks for each of the units first.
    pub(crate) has_tickets: bool,
    /// The database; without one, a file.
    pub(crate) database_url: Option<String>,
    /// Flags under fuses of their own, beside the target and the witness.
    pub(crate) fuses: Vec<(String, Value)>,
    pub(crate) profile: Option<&'static str>,
    /// Limits of the environment. Without them one network may trip, and enrol as many as it likes: attacker and users come
    /// from one address.
    pub(crate) settings: BTreeMap<&'static str, u64>,
}

/// The stack and what it serves.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) stack: Stack,
    pub(crate) admin: Client,
    /// Each isolate, asked with the key.
    pub(crate) edges: Vec<Client>,
}

pub(crate) fn environment_path() -> String {
    format!("/v1/projects/{PROJECT}/environments/{ENVIRONMENT}")
}

pub(crate) fn flag_path(flag: &str) -> String {
    format!("{}/flags/{flag}", environment_path())
}

/// A fuse that never decides: its sample is larger than any attack.
pub(crate) fn idle_policy() -> Value {
    json!({
        "mode": "classic", "treatment_variation": "on", "control_variation": "off",
        "exposure_percent": 50, "control_percent": 50, "min_sample": 1_000_000, "grace_s": 0,
        "guardrails": [
            { "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05 },
            { "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 },
            { "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.5 },
        ],
    })
}

impl Ground {
    /// Starts everything on empty data.
    pub(crate) fn start(scene: &Scene<'_>, terms: Terms) -> Result<Self> {
        let data_dir = scene.root.join("target/attack").join(scene.name);
        if data_dir.exists() {
            fs::remove_dir_all(&data_dir).with_context(|| format!("emptying {}", data_dir.display()))?;
        }
        let mut config = StackConfig::on_free_ports(&data_dir, 2)?;
        config.edge_vars = terms.edge_vars;
        if !terms.has_tickets {
            config.edge_vars.insert("FLAGFUSE_TICKET_SECRETS".to_owned(), String::new());
        }
        config.open_file_count_max = terms.open_file_count_max;
        config.database_url = terms.database_url;
        let stack = Stack::start(scene.root, scene.built, config)?;
        let admin = stack.admin();
        admin.post("/v1/projects", &json!({ "key": PROJECT }))?.ok()?;
        let profile = terms.profile.unwrap_or("strict");
        let mut settings = json!({
            "key": ENVIRONMENT, "profile": profile, "auto_exposure": "single", "min_networks": 1, "enrolments_per_minute": 0,
        });
        for (name, value) in terms.settings {
            settings[name] = json!(value);
        }
        admin.post(&format!("/v1/projects/{PROJECT}/environments"), &settings)?.ok()?;
        for flag in [TARGET, WITNESS] {
            put_watched(&admin, flag, &idle_policy())?;
        }
        for (flag, policy) in &terms.fuses {
            put_watched(&admin, flag, policy)?;
        }
        let key = client_key(&admin)?;
        let edges: Vec<Client> = stack.edge_urls().iter().map(|url| Client::new(url, Some(&key))).collect();
        for edge in &edges {
            eventually("the edge serves the environment", PATIENCE, || {
                bulk(edge, "nobody")?.ok().map(|_| ())
            })?;
        }
        Ok(Self { stack, admin, edges })
    }

    /// The fuse of a flag.
    pub(super) fn fuse(&self, flag: &str) -> Result<Value> {
        self.admin.get(&format!("{}/fuse", flag_path(flag)))?.ok()
    }

    /// Units of both arms, exposed and control, that are counted for a flag, but for those in the open slot.
    pub(super) fn counted(&self, flag: &str) -> Result<u64> {
        let sums = self.sums(flag)?;
        let exposures = sums.iter().filter(|row| row["metric"] == "exposure");
        Ok(exposures.filter_map(|row| row["units"].as_u64()).sum())
    }

    /// What is counted of a flag in all its closed slots.
    pub(crate) fn sums(&self, flag: &str) -> Result<Vec<Value>> {
        let cells = self.admin.get(&format!("{}/cells?sum=true", flag_path(flag)))?.ok()?;
        Ok(cells["sums"].as_array().cloned().unwrap_or_default())
    }

    /// The newest verdict's decision and reason.
    pub(super) fn verdict(&self, flag: &str) -> Result<(String, String)> {
        let verdicts = self.admin.get(&format!("{}/verdicts?limit=1", flag_path(flag)))?.ok()?;
        let newest = &verdicts["verdicts"][0];
        let text = |name: &str| newest[name].as_str().unwrap_or("none").to_owned();
        Ok((text("decision"), text("reason")))
    }
}

/// What became of all events, added up over the minutes that are told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accounts {
    pub(crate) received: u64,
    pub(crate) stored: u64,
    pub(crate) quarantined: u64,
}

/// Reads them; an error when not every event is accounted for.
pub(crate) fn accounts(admin: &Client) -> Result<Accounts> {
    let balance = admin.get(&format!("{}/balance?limit=1000", environment_path()))?.ok()?;
    let minutes = balance["minutes"].as_array().cloned().unwrap_or_default();
    let sum = |name: &str| -> u64 { minutes.iter().filter_map(|minute| minute[name].as_u64()).sum() };
    let [received, stored, duplicate, quarantined] =
        ["received", "stored", "duplicate", "quarantined"].map(sum);
    ensure!(received == stored + duplicate + quarantined, "the balance is off: {balance}");
    Ok(Accounts { received, stored, quarantined })
}

/// A client key of the environment.
pub(super) fn client_key(admin: &Client) -> Result<String> {
    let body =
        json!({ "kind": "client", "project": PROJECT, "environment": ENVIRONMENT, "name": "attacker" });
    let made = admin.post("/v1/tokens", &body)?.ok()?;
    made["token"].as_str().map(str::to_owned).context("the answer has no token")
}

/// All flags for a unit.
pub(super) fn bulk(edge: &Client, unit: &str) -> Result<Answer> {
    edge.post("/ofrep/v1/evaluate/flags", &json!({ "context": { "targetingKey": unit } }))
}

/// One flag for a unit, which the edge records as an exposure.
pub(super) fn single(edge: &Client, flag: &str, unit: &str) -> Result<Answer> {
    let body = json!({ "context": { "targetingKey": unit } });
    edge.post(&format!("/ofrep/v1/evaluate/flags/{flag}"), &body)
}

/// A boolean flag under a fuse with this policy.
pub(crate) fn put_watched(admin: &Client, flag: &str, policy: &Value) -> Result<()> {
    let wire = json!({
        "key": flag, "value_type": "boolean", "off_variation": "off", "default_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
    });
    admin.put(&flag_path(flag), &wire)?.ok()?;
    let put = admin.put(&format!("{}/fuse", flag_path(flag)), policy)?;
    ensure!(put.status < 300, "the fuse of {flag} is refused with {}: {}", put.status, put.body);
    Ok(())
}
