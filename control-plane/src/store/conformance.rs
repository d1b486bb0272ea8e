//! What the store promises, asked of both databases: what is written is read back, bounds hold, and two transactions that
//! name one lock do not overtake each other.

mod contracts;
mod counted;
mod definitions;
mod evidence;
mod flag_rows;
mod kept_answers;
mod listings;
mod measurements;
mod notices;
mod partitions;
mod people;
mod publication;
mod races;
mod read_flags;
mod slos;
mod statements;

use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde_json::json;

use super::scopes::{SettingsRow, insert_environment, insert_project};
use super::testing::{TestDatabase, databases};
use super::{Connection, Lock, Store, WriteTransaction};
use crate::model::policy::Policy;
use crate::model::safety::SafetySettings;
use crate::model::settings::EnvironmentSettings;

const NOW: UnixMillis = UnixMillis(1_000_000);

fn scope(text: &str) -> Scope {
    Scope::parse(text).unwrap()
}

/// A store on each database with an environment at `t/p/e`, and a transaction that has it to itself.
async fn worlds() -> Vec<(TestDatabase, Store, WriteTransaction)> {
    let mut worlds = Vec::new();
    for database in databases().await {
        let store = database.store().await;
        let mut tx = store.write(Lock::Keys).await.unwrap();
        make(&mut tx, "t/p/e").await;
        worlds.push((database, store, tx));
    }
    worlds
}

/// An environment and its project, where that is not there.
async fn make(conn: &mut Connection, name: &str) {
    let scope = scope(name);
    insert_project(conn, &scope.tenant, &scope.project, "", NOW).await.unwrap();
    let safety = SafetySettings::default();
    let row = SettingsRow { settings: EnvironmentSettings::default(), safety: &safety };
    assert!(insert_environment(conn, &scope, row, NOW).await.unwrap(), "{name}");
}

fn flag(key: &str) -> FlagWire {
    let flag = json!({
        "key": key, "value_type": "boolean", "default_variation": "off", "off_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
    });
    serde_json::from_value(flag).unwrap()
}

fn policy() -> Policy {
    let policy = json!({
        "mode": "classic", "treatment_variation": "on", "control_variation": "off",
        "exposure_percent": 20, "control_percent": 20,
        "guardrails": [{ "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05 }],
    });
    serde_json::from_value(policy).unwrap()
}
