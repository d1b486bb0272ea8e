//! Tells clients that there is something newer: they hear a version, never a flag.

use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::ids::{Scope, SnapshotVersion};
use worker::Env;

use crate::config::Config;

/// Tells every listener of an environment that its replica stored `version`. What goes wrong is logged, never returned:
/// a client that hears nothing asks by itself.
pub async fn announce(env: &Env, config: &Config, scope: &Scope, version: SnapshotVersion, urgency: Urgency) {
    // Nobody listens yet.
    let _ = (env, config, scope, version, urgency);
}
