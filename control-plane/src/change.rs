//! The only writer of flags: validate, write, audit, sign and queue, in one transaction; then wake the pushers.
//!
//! A person and a fuse come through the same door, so both get the same checks, the same audit row and the same
//! publication. Never judges whether a change is wise.

mod environment;
mod flag;
mod fuse;
mod held;
mod import;
mod scope;
mod shared;
mod token;

use flagfuse_shared::digest::Digest;
use flagfuse_shared::flag::compile::EnvironmentFault;
use flagfuse_shared::flag::{FlagFault, FlagWire};
use flagfuse_shared::ids::{FlagKey, ProjectKey, Scope, SnapshotVersion, TenantKey, UnixMillis};
use flagfuse_shared::segment::SegmentFault;
use serde_json::Value;

pub use self::environment::SharedPart;
pub use self::import::{Existing, Import};
use crate::fuse::circuit::Circuit;
use crate::fuse::policy::{Policy, PolicyFault};
use crate::publish::Publisher;
use crate::publish::build::EnvironmentSettings;
use crate::publish::outbox::{OutboxError, Reserve, enqueue};
use crate::store::audit::{AuditPlace, NewAudit, insert as insert_audit};
use crate::store::shared::Part;
use crate::store::tokens::TokenRow;
use crate::store::{Connection, Store, StoreError, scopes};

/// Who makes a change.
#[derive(Debug, Clone)]
pub struct Actor {
    /// What it may see and change.
    pub tenant: TenantKey,
    /// For the audit trail: `token:NAME`, `fuse`, `job:NAME`.
    pub name: String,
}

/// Who decided to move a fuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decider {
    /// The fuse itself, on its evidence.
    Engine,
    /// A person, for reasons of their own.
    Person,
}

/// Which state of a flag a writer has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Any: the last writer wins.
    Any,
    /// This revision, or the change is refused.
    Revision(u64),
}

impl Expected {
    /// `found` is 0 for what is not there.
    fn check(self, what: &'static str, found: u64) -> Result<(), ChangeError> {
        match self {
            Self::Revision(expected) if expected != found => {
                Err(ChangeError::Stale { what, found, expected })
            }
            Self::Revision(_) | Self::Any => Ok(()),
        }
    }
}

/// Everything that can be changed.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new group of flags.
    CreateProject {
        /// Its key.
        project: ProjectKey,
        /// For people.
        name: String,
    },
    /// A new environment; publishes its first snapshot.
    CreateEnvironment {
        /// Which.
        scope: Scope,
        /// How its edge behaves.
        settings: EnvironmentSettings,
    },
    /// Other settings.
    SetSettings {
        /// Which environment.
        scope: Scope,
        /// How its edge behaves.
        settings: EnvironmentSettings,
    },
    /// A new or altered flag.
    PutFlag {
        /// Which environment.
        scope: Scope,
        /// The flag.
        wire: Box<FlagWire>,
        /// What the writer has seen.
        expected: Expected,
    },
    /// A flag and its fuse go.
    DeleteFlag {
        /// Which environment.
        scope: Scope,
        /// Which flag.
        flag: FlagKey,
    },
    /// A new or altered segment, layer or holdout.
    PutShared {
        /// Which environment.
        scope: Scope,
        /// The part.
        part: Box<SharedPart>,
        /// What the writer has seen.
        expected: Expected,
    },
    /// A segment, a layer or the holdout goes.
    DeleteShared {
        /// Which environment.
        scope: Scope,
        /// Which kind.
        part: Part,
        /// Which one; empty for the holdout.
        key: String,
    },
    /// Flags and segments of another system.
    Import {
        /// Into which environment.
        scope: Scope,
        /// What was read.
        import: Box<Import>,
    },
    /// A new fuse, or another policy for one: both begin a phase.
    PutFuse {
        /// Which environment.
        scope: Scope,
        /// Which flag.
        flag: FlagKey,
        /// The rules.
        policy: Box<Policy>,
    },
    /// A fuse goes, and its cohort with it.
    DeleteFuse {
        /// Which environment.
        scope: Scope,
        /// Which flag.
        flag: FlagKey,
    },
    /// A fuse moves to another circuit.
    FuseTransition {
        /// Which environment.
        scope: Scope,
        /// Which flag.
        flag: FlagKey,
        /// The revision it was decided on.
        expected_revision: u64,
        /// Where to.
        to: Circuit,
        /// Who decided.
        by: Decider,
        /// Stable word.
        reason: String,
        /// What led to it.
        evidence: Value,
    },
    /// A new token; a client key publishes.
    CreateToken {
        /// Everything but the secret.
        token: Box<TokenRow>,
        /// Digest of the secret.
        secret: Digest,
    },
    /// A token is valid no longer; a client key publishes.
    RevokeToken {
        /// Its public name.
        token_id: String,
    },
    /// The same content under a new version.
    Republish {
        /// Which environment.
        scope: Scope,
    },
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// The version that carries it, when it altered a snapshot.
    pub version: Option<SnapshotVersion>,
    /// New revision of the flag or fuse.
    pub revision: Option<u64>,
}

/// Why a change is refused; nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// No such project in the tenant.
    #[error("project {project} does not exist")]
    UnknownProject {
        /// Which.
        project: ProjectKey,
    },
    /// No such environment in the tenant.
    #[error("environment {scope} does not exist")]
    UnknownEnvironment {
        /// Which.
        scope: Scope,
    },
    /// No such flag, fuse, segment, layer, holdout or token.
    #[error("{what} {key:?} does not exist")]
    Unknown {
        /// Which of them.
        what: &'static str,
        /// Which.
        key: String,
    },
    /// The key is taken, perhaps by another tenant: project keys are unique in an installation.
    #[error("{what} {key:?} exists already")]
    Exists {
        /// `project`, `environment`.
        what: &'static str,
        /// Which.
        key: String,
    },
    /// An import brings what is there already.
    #[error("already there: {}; with `replace` they are replaced", listed(keys))]
    Taken {
        /// `flag checkout`, `segment beta`.
        keys: Vec<String>,
    },
    /// The flag cannot be evaluated.
    #[error("flag {key:?}: {source}")]
    Flag {
        /// Which.
        key: String,
        /// Why.
        source: FlagFault,
    },
    /// The segment cannot be evaluated.
    #[error("segment {key:?}: {source}")]
    Segment {
        /// Which.
        key: String,
        /// Why.
        source: SegmentFault,
    },
    /// A layer or the holdout has no meaning, or there are too many of them.
    #[error(transparent)]
    Environment(#[from] EnvironmentFault),
    /// Others would become malformed.
    #[error("{what} {key:?} is in use: with this change {by} could not be evaluated: {fault}")]
    InUse {
        /// `flag`, `segment`, `layer`.
        what: &'static str,
        /// Which.
        key: String,
        /// `flag "checkout"`, `segment "beta"`.
        by: String,
        /// What would be wrong with that.
        fault: String,
    },
    /// The policy is outside its limits or does not fit the flag.
    #[error(transparent)]
    Policy(#[from] PolicyFault),
    /// Cohorts belong to the fuse.
    #[error("cohort is managed by the flag's fuse: leave it out or send it as it is")]
    CohortIsManaged,
    /// The field decides who is compared with whom.
    #[error("{field} cannot change while a fuse watches the flag {flag:?}: delete the fuse first")]
    HeldByFuse {
        /// Which field.
        field: &'static str,
        /// Which flag.
        flag: String,
    },
    /// It would serve a tripped feature again without anybody saying so.
    #[error("{what} while the fuse is {}: {remedy}", circuit.as_str())]
    Tripped {
        /// What was asked for.
        what: String,
        /// Where the fuse stands.
        circuit: Circuit,
        /// What to do instead.
        remedy: &'static str,
    },
    /// Somebody else was first.
    #[error("{what} is at revision {found}, the change was made for {expected}")]
    Stale {
        /// `flag`, `fuse`, `segment`.
        what: &'static str,
        /// Revision now.
        found: u64,
        /// Revision the writer had seen.
        expected: u64,
    },
    /// A text of people is too long.
    #[error("{field} has {len} bytes, the limit is {len_max}")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// Bytes found.
        len: usize,
        /// Bytes allowed.
        len_max: usize,
    },
    /// The environment's snapshot would be outside its limits.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Entries of a list that a message names.
const LISTED_COUNT_MAX: usize = 50;

fn listed(keys: &[String]) -> String {
    let more = keys.len().saturating_sub(LISTED_COUNT_MAX);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    keys.iter().take(LISTED_COUNT_MAX).map(String::as_str).collect::<Vec<_>>().join(", ") + &tail
}

/// What one change leaves behind beside its rows.
struct Effect {
    action: &'static str,
    subject: String,
    detail: Value,
    scope: Option<Scope>,
    publication: Publication,
    revision: Option<u64>,
}

/// Whether the snapshot changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Publication {
    Needed,
    NotNeeded,
}

/// Applies a change. When this returns `Ok`, it is on disk and its snapshot is queued.
pub async fn apply(
    store: &Store,
    publisher: &Publisher,
    actor: &Actor,
    change: Change,
    now: UnixMillis,
) -> Result<Applied, ChangeError> {
    let mut tx = store.write().await?;
    let Some(applied) = transact(&mut tx, publisher, actor, change, now).await? else {
        return Ok(Applied::default());
    };
    tx.commit().await.map_err(StoreError::from)?;
    publisher.ring();
    Ok(applied)
}

/// Everything that `apply` does and checks, but nothing is kept.
pub async fn rehearse(
    store: &Store,
    publisher: &Publisher,
    actor: &Actor,
    change: Change,
    now: UnixMillis,
) -> Result<(), ChangeError> {
    let mut tx = store.write().await?;
    transact(&mut tx, publisher, actor, change, now).await?;
    Ok(tx.rollback().await.map_err(StoreError::from)?)
}

/// `None` when there was nothing to do.
async fn transact(
    conn: &mut Connection,
    publisher: &Publisher,
    actor: &Actor,
    change: Change,
    now: UnixMillis,
) -> Result<Option<Applied>, ChangeError> {
    let reserve = reserve(&change);
    let effects = perform(conn, actor, change, now).await?;
    if effects.is_empty() {
        return Ok(None);
    }
    let mut applied = Applied::default();
    for effect in effects {
        let version = match (&effect.scope, effect.publication) {
            (Some(scope), Publication::Needed) => {
                Some(enqueue(conn, publisher.keys(), scope, reserve, now).await?)
            }
            (Some(_) | None, _) => None,
        };
        let place = match &effect.scope {
            Some(scope) => AuditPlace::Environment(scope),
            None => AuditPlace::Tenant(&actor.tenant),
        };
        let mut detail = effect.detail;
        if let (Some(version), Some(fields)) = (version, detail.as_object_mut()) {
            fields.insert("version".to_owned(), Value::from(version.to_string()));
        }
        let entry = NewAudit { actor: &actor.name, action: effect.action, subject: &effect.subject, detail };
        insert_audit(conn, place, entry, now).await?;
        applied = Applied { version, revision: effect.revision };
    }
    Ok(Some(applied))
}

/// What adds content leaves room for fuses to open.
const fn reserve(change: &Change) -> Reserve {
    match change {
        Change::PutFlag { .. }
        | Change::PutShared { .. }
        | Change::Import { .. }
        | Change::PutFuse { .. }
        | Change::CreateToken { .. } => Reserve::Kept,
        Change::CreateProject { .. }
        | Change::CreateEnvironment { .. }
        | Change::SetSettings { .. }
        | Change::DeleteFlag { .. }
        | Change::DeleteShared { .. }
        | Change::DeleteFuse { .. }
        | Change::FuseTransition { .. }
        | Change::RevokeToken { .. }
        | Change::Republish { .. } => Reserve::Usable,
    }
}

/// Nothing when there was nothing to do.
async fn perform(
    conn: &mut Connection,
    actor: &Actor,
    change: Change,
    now: UnixMillis,
) -> Result<Vec<Effect>, ChangeError> {
    match change {
        Change::CreateProject { project, name } => {
            scope::create_project(conn, actor, &project, &name, now).await
        }
        Change::CreateEnvironment { scope, settings } => {
            scope::create(conn, actor, scope, settings, now).await
        }
        Change::SetSettings { scope, settings } => scope::set(conn, actor, scope, settings).await,
        Change::Republish { scope } => scope::republish(conn, actor, scope).await,
        Change::PutFlag { scope, wire, expected } => {
            flag::put(conn, actor, scope, *wire, expected, now).await
        }
        Change::DeleteFlag { scope, flag } => flag::delete(conn, actor, scope, &flag, now).await,
        Change::PutShared { scope, part, expected } => {
            shared::put(conn, actor, scope, *part, expected, now).await
        }
        Change::DeleteShared { scope, part, key } => shared::delete(conn, actor, scope, part, &key).await,
        Change::Import { scope, import } => import::apply(conn, actor, scope, *import, now).await,
        Change::PutFuse { scope, flag, policy } => fuse::put(conn, actor, scope, &flag, *policy, now).await,
        Change::DeleteFuse { scope, flag } => fuse::delete(conn, actor, scope, &flag, now).await,
        Change::FuseTransition { scope, flag, expected_revision, to, by, reason, evidence } => {
            let transition = fuse::Transition { flag, expected_revision, to, by, reason, evidence };
            fuse::transition(conn, actor, scope, transition, now).await
        }
        Change::CreateToken { token, secret } => token::create(conn, actor, *token, secret).await,
        Change::RevokeToken { token_id } => token::revoke(conn, actor, &token_id, now).await,
    }
}

/// Every change inside an environment starts here: it exists, and it is the actor's.
async fn require_environment(conn: &mut Connection, actor: &Actor, scope: &Scope) -> Result<(), ChangeError> {
    let is_own = scope.tenant == actor.tenant;
    if is_own && scopes::environment(conn, scope).await?.is_some() {
        return Ok(());
    }
    Err(ChangeError::UnknownEnvironment { scope: scope.clone() })
}
