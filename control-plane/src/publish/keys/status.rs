//! How the keys stand: who may sign, what waits for whom, what is wrong. Public parts only.

use flagfuse_shared::ids::{TenantKey, UnixMillis};
use flagfuse_shared::snapshot::manifest::{Keyset, Role};
use flagfuse_shared::snapshot::verify::key_id_of;
use serde::Serialize;

use super::error::KeyError;
use super::files::{KEYSET_FILE, is_key_sealed, mode};
use super::hold::chain;
use super::ring::SigningKeys;
use super::rotation::{self, Next};
use crate::model::ceremony::{Gate, OnlineRole};
use crate::store::Connection;
use crate::store::forks::{self, ForkRow};
use crate::store::keysets::Laggard;

/// A keyset that ends sooner is warned of: a ceremony takes a while to bring together.
const EXPIRY_WARNING_MS: u64 = 30 * 24 * 3_600_000;

/// A role without anything secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoleStatus {
    /// Signatures needed.
    pub threshold: usize,
    /// Its keys by id.
    pub key_ids: Vec<String>,
    /// Those whose private key this process has.
    pub at_hand: Vec<String>,
}

/// A keyset that waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitingKeyset {
    pub keyset_version: u64,
    /// What has to be so before.
    pub gate: Gate,
}

/// Where a rotation stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RotationStatus {
    /// `done`, `publishing`, `due`, `waiting_for_replicas`, `waiting_for_forked_environments`, `another_process`.
    pub state: &'static str,
    /// Environments without a version under the keyset in force.
    pub unpublished: Vec<String>,
    /// Replicas that have not confirmed one.
    pub replicas: Vec<Laggard>,
    /// What comes next, in order.
    pub waiting: Vec<WaitingKeyset>,
}

/// Everything there is to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyStatus {
    /// The keyset in force.
    pub keyset_version: u64,
    /// When a cold edge takes it no longer.
    pub expires_ms: UnixMillis,
    /// Root keys, which edges are configured with, base64.
    pub root_public_keys: Vec<String>,
    /// Root role.
    pub root: RoleStatus,
    /// Release role.
    pub release: RoleStatus,
    /// Freshness role.
    pub freshness: RoleStatus,
    /// Lowest epochs by environment.
    pub min_epoch: std::collections::BTreeMap<String, u64>,
    /// What is under way.
    pub rotation: RotationStatus,
    /// Replicas that hold what this database never signed.
    pub forks: Vec<ForkRow>,
    /// What somebody should look at.
    pub warnings: Vec<String>,
}

/// Reads how the keys stand.
pub async fn status(
    conn: &mut Connection,
    keys: &SigningKeys,
    replicas: &[String],
    now: UnixMillis,
) -> Result<KeyStatus, KeyError> {
    let in_force = keys.in_force(conn).await?;
    let keyset = &in_force.keyset;
    let next = rotation::next(conn, keys, replicas).await?;
    let waiting = chain(conn, keys)
        .await?
        .into_iter()
        .skip(1)
        .map(|step| WaitingKeyset { keyset_version: step.keyset.keyset_version, gate: step.gate });
    let rotation = rotation_status(next, waiting.collect());
    Ok(KeyStatus {
        keyset_version: keyset.keyset_version,
        expires_ms: keyset.expires_ms,
        root_public_keys: keyset.roles.root.keys.clone(),
        root: role_status(&keyset.roles.root, &[]),
        release: role_status(&keyset.roles.release, &at_hand(keys, OnlineRole::Release)),
        freshness: role_status(&keyset.roles.freshness, &at_hand(keys, OnlineRole::Freshness)),
        min_epoch: keyset.min_epoch.clone(),
        rotation,
        forks: forks::list(conn).await?,
        warnings: warnings(keyset, now),
    })
}

impl KeyStatus {
    /// What concerns one tenant: keys are everybody's, environments are not.
    #[must_use]
    pub fn for_tenant(mut self, tenant: &TenantKey) -> Self {
        let is_own =
            |scope: &str| scope.strip_prefix(tenant.as_str()).is_some_and(|rest| rest.starts_with('/'));
        self.min_epoch.retain(|scope, _| is_own(scope));
        self.rotation.unpublished.retain(|scope| is_own(scope));
        self.rotation.replicas.retain(|laggard| is_own(&laggard.environment));
        self.forks.retain(|fork| fork.tenant == tenant.as_str());
        self
    }

    /// Forks in words.
    pub fn fork_warnings(&self) -> impl Iterator<Item = String> {
        self.forks.iter().map(|fork| {
            let ForkRow { region, shard, tenant, project, environment, held, .. } = fork;
            let place = format!("{tenant}/{project}/{environment}");
            format!("replica {region}/{shard} holds {held} of {place}, which was never signed here")
        })
    }
}

fn rotation_status(next: Next, waiting: Vec<WaitingKeyset>) -> RotationStatus {
    let names = |scopes: Vec<flagfuse_shared::ids::Scope>| scopes.iter().map(ToString::to_string).collect();
    let (state, unpublished, replicas) = match next {
        Next::Done => ("done", Vec::new(), Vec::new()),
        Next::Publish { scopes, .. } => ("publishing", names(scopes), Vec::new()),
        Next::PutInForce(_) => ("due", Vec::new(), Vec::new()),
        Next::Wait(laggards) => ("waiting_for_replicas", Vec::new(), laggards),
        Next::Forked(scopes) => ("waiting_for_forked_environments", names(scopes), Vec::new()),
        Next::NotOurs => ("another_process", Vec::new(), Vec::new()),
    };
    RotationStatus { state, unpublished, replicas, waiting }
}

fn role_status(role: &Role, at_hand: &[String]) -> RoleStatus {
    let key_ids: Vec<String> = role.keys.iter().filter_map(|key| key_id_of(key)).collect();
    let at_hand = key_ids.iter().filter(|id| at_hand.contains(id)).cloned().collect();
    RoleStatus { threshold: role.threshold, key_ids, at_hand }
}

fn at_hand(keys: &SigningKeys, role: OnlineRole) -> Vec<String> {
    let own = keys.opened().into_iter().filter(|own| own.role == role);
    own.filter_map(|own| key_id_of(&own.key.public_base64())).collect()
}

fn warnings(keyset: &Keyset, now: UnixMillis) -> Vec<String> {
    let left_ms = keyset.expires_ms.since(now);
    let days = left_ms / (24 * 3_600_000);
    if left_ms == 0 {
        vec!["the keyset has expired: cold edges refuse it; any ceremony renews it".to_owned()]
    } else if left_ms < EXPIRY_WARNING_MS {
        vec![format!("the keyset expires in {days} days; any ceremony renews it")]
    } else {
        Vec::new()
    }
}

/// What is wrong with the files: readable by others, in clear, root keys beside the rest, keys that no keyset names.
pub fn file_warnings(keys: &SigningKeys) -> Result<Vec<String>, KeyError> {
    let folder = keys.folder();
    let mut found = Vec::new();
    let mut paths: Vec<_> = keys.opened().into_iter().map(|own| own.path).collect();
    paths.extend([folder.path("unit.key"), folder.path(KEYSET_FILE)]);
    let roots = folder.key_paths("root")?;
    for path in paths.iter().chain(&roots) {
        let bits = mode(path)?;
        if bits & 0o077 != 0 {
            found.push(format!(
                "{} has mode {bits:04o}: others can read it; it should be 0600",
                path.display()
            ));
        }
        if path.extension().is_some_and(|extension| extension == "key") && !is_key_sealed(path)? {
            found.push(format!("{} is in clear: good for development only", path.display()));
        }
    }
    let beside = |path: &std::path::PathBuf| format!("{} is a root key: carry it away", path.display());
    found.extend(roots.iter().map(beside));
    let keyset = &keys.current().keyset;
    for own in keys.opened() {
        if !own.role.of(&keyset.roles).keys.contains(&own.key.public_base64()) {
            found.push(format!(
                "{} is in no keyset in force: new and waiting for its turn, or replaced and to be destroyed",
                own.path.display()
            ));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use flagfuse_shared::snapshot::manifest::Roles;

    use super::*;

    #[test]
    fn an_end_within_thirty_days_is_warned_of() {
        let role = || Role { threshold: 1, keys: Vec::new() };
        let roles = Roles { root: role(), release: role(), freshness: role() };
        let keyset = |expires_ms| Keyset {
            keyset_version: 1,
            expires_ms: UnixMillis(expires_ms),
            roles: roles.clone(),
            min_epoch: [].into(),
        };
        let said = |expires_ms| warnings(&keyset(expires_ms), UnixMillis(1_000)).join("");
        assert_eq!(said(1_000 + EXPIRY_WARNING_MS), "");
        assert!(said(1_000 + EXPIRY_WARNING_MS - 1).contains("in 29 days"));
        assert!(said(1_000).contains("has expired"));
    }
}
