//! The only writer of flags: validate, write, audit, sign and queue, in one transaction; then wake the pushers.
//!
//! A person and a fuse come through the same door, so both get the same checks, the same audit row and the same
//! publication. Never judges whether a change is wise.

mod consent;
mod decisions;
mod edit;
mod environment;
mod error;
mod fields;
mod flag;
mod fuse;
mod held;
mod import;
mod inheritance;
mod lock;
mod loss;
mod named;
mod precondition;
mod proposal;
mod reach;
mod record;
mod revert;
mod same;
mod scope;
mod shared;
mod standing;
mod token;

use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{
    EnvironmentKey, FlagKey, ProjectKey, Scope, SnapshotVersion, TenantKey, UnixMillis,
};
use serde_json::{Map, Value};

use self::consent::confirmation;
pub use self::consent::{Above, Consent, Given};
use self::decisions::{Altered, Watch};
pub use self::edit::{Edit, Power, SettingsPatch};
pub use self::environment::SharedPart;
pub use self::error::{ChangeError, Conflict};
pub use self::import::{Existing, Import};
use self::lock::lock;
use self::loss::Loss;
pub use self::loss::{Lost, project_tag};
pub use self::precondition::{HeaderFault, Preconditions, Tag, Unmet};
pub use self::proposal::Proposal;
use self::proposal::{Resolved, Work};
use self::record::{Told, record};
use crate::model::circuit::Circuit;
use crate::model::policy::Policy;
use crate::model::safety::SafetySettings;
use crate::model::settings::EnvironmentSettings;
use crate::publish::Publisher;
use crate::publish::outbox::Reserve;
use crate::store::parts::Part;
use crate::store::tokens::TokenRow;
use crate::store::{Connection, Store, scopes};

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

/// What becomes of the fuse of a flag that goes. It goes too only where somebody says so: it may be holding a feature
/// off, and what it has counted is not to be had again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fuses {
    /// A flag under a fuse stays.
    Kept,
    /// The fuse goes with its flag.
    Deleted,
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
    /// A project goes with everything in it.
    DeleteProject {
        /// Which.
        project: ProjectKey,
    },
    /// A new environment; publishes its first snapshot.
    CreateEnvironment {
        /// Which.
        scope: Scope,
        /// How its edge behaves.
        settings: EnvironmentSettings,
        /// How careful it is.
        safety: Box<SafetySettings>,
    },
    /// An environment goes with everything in it; publishes its last snapshot.
    DeleteEnvironment {
        /// Which.
        scope: Scope,
    },
    /// Other settings.
    SetSettings {
        /// Which environment.
        scope: Scope,
        /// How its edge behaves.
        settings: EnvironmentSettings,
        /// How careful it is.
        safety: Box<SafetySettings>,
    },
    /// A new or altered flag.
    PutFlag {
        /// Which environment.
        scope: Scope,
        /// The flag.
        wire: Box<FlagWire>,
    },
    /// A flag goes.
    DeleteFlag {
        /// Which environment.
        scope: Scope,
        /// Which flag.
        flag: FlagKey,
        /// Whether it may be under a fuse.
        fuses: Fuses,
    },
    /// A flag that every environment of a project inherits.
    PutProjectFlag {
        /// Which project.
        project: ProjectKey,
        /// The flag, without a cohort.
        wire: Box<FlagWire>,
    },
    /// A project's flag goes, and with it the flags that follow it.
    DeleteProjectFlag {
        /// Which project.
        project: ProjectKey,
        /// Which flag.
        flag: FlagKey,
        /// Whether it may be under a fuse anywhere.
        fuses: Fuses,
    },
    /// What an environment changes of its project's flag.
    PutOverride {
        /// Which environment.
        scope: Scope,
        /// Which flag.
        flag: FlagKey,
        /// Merged into the project's flag; `None` takes the override away.
        patch: Option<Value>,
    },
    /// A new or altered segment, layer or holdout.
    PutShared {
        /// Which environment.
        scope: Scope,
        /// The part.
        part: Box<SharedPart>,
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
    /// The content of a kept version under a new one.
    Revert {
        /// Which environment.
        scope: Scope,
        /// Which version.
        to: SnapshotVersion,
        /// Of everything, this flag alone.
        flag: Option<FlagKey>,
        /// Whether flags under a fuse go that were not there then.
        fuses: Fuses,
    },
    /// The same content under a new version.
    Republish {
        /// Which environment.
        scope: Scope,
        /// What is urgent waits for no stage.
        urgency: Urgency,
    },
}

/// What a change did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Applied {
    /// The version that carries it, when it altered a snapshot.
    pub version: Option<SnapshotVersion>,
    /// New revision of the flag or fuse.
    pub revision: Option<u64>,
    /// State of what was changed, to be sent back as `If-Match`; `None` for what is gone.
    pub tag: Option<Tag>,
    /// The versions that carry a change of a whole project.
    pub environments: Vec<(EnvironmentKey, SnapshotVersion)>,
    /// What else the caller should know: `detached`, `not_inherited` …
    pub told: Map<String, Value>,
    /// What it does to decisions, in short, for each environment.
    pub decisions: Vec<Value>,
}

/// What a change would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsed {
    /// What it does to decisions, for each environment.
    pub decisions: Vec<Value>,
    /// What a deletion would take away.
    pub lost: Option<Value>,
    /// What its answer would tell beside that.
    pub told: Map<String, Value>,
    /// What a person has to confirm it with, when it has to be confirmed.
    pub confirmation: Option<Digest>,
}

/// What was done, or would be.
struct Done {
    /// Nothing when there was nothing to do.
    applied: Option<Applied>,
    altered: Vec<Altered>,
    loss: Option<Loss>,
}

/// What one change leaves behind beside its rows.
struct Effect {
    action: &'static str,
    subject: String,
    detail: Value,
    scope: Option<Scope>,
    publication: Publication,
    revision: Option<u64>,
    told: Map<String, Value>,
}

/// Whether the snapshot changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Publication {
    Needed,
    /// Something is switched off: clients hear of it at once.
    Urgent,
    NotNeeded,
}

impl Publication {
    const fn urgency(self) -> Option<Urgency> {
        match self {
            Self::Needed => Some(Urgency::Ordinary),
            Self::Urgent => Some(Urgency::Urgent),
            Self::NotNeeded => None,
        }
    }
}

/// Applies a change that nobody is there to confirm. When this returns `Ok`, it is on disk and its snapshot is queued.
pub async fn apply(
    store: &Store,
    publisher: &Publisher,
    actor: &Actor,
    change: Change,
    now: UnixMillis,
) -> Result<Applied, ChangeError> {
    propose(store, publisher, actor, change.into(), &Terms::default(), now).await
}

/// What a change depends on beside itself. By default on nothing: nobody is there to ask, and any state will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Who is asked when it alters many decisions.
    pub consent: Consent,
    /// Which state it was made for.
    pub preconditions: Preconditions,
}

impl Default for Terms {
    fn default() -> Self {
        Self { consent: Consent::NotAsked, preconditions: Preconditions::default() }
    }
}

/// Applies a change, if what is there is what it was made for, and unless a person has to look at what it does first.
pub async fn propose(
    store: &Store,
    publisher: &Publisher,
    actor: &Actor,
    proposal: Proposal,
    terms: &Terms,
    now: UnixMillis,
) -> Result<Applied, ChangeError> {
    let mut tx = store.write(lock(actor, &proposal)).await?;
    let resolved = Resolved::read(&mut tx, actor, proposal, terms).await?;
    let (subject, is_answered) = (resolved.subject.clone(), resolved.is_answered_with_the_version);
    let done = transact(&mut tx, publisher, actor, resolved, now).await?;
    let tag = subject.tag(&mut tx).await?;
    let is_done = done.applied.is_some();
    let mut applied = Applied { tag, ..done.applied.unwrap_or_default() };
    if is_answered && applied.version.is_none() {
        (applied.version, applied.revision) = subject.stands_at(&mut tx).await?;
    }
    if is_done {
        tx.commit().await?;
        publisher.ring();
    }
    Ok(applied)
}

/// Everything that `apply` does and checks, but nothing is kept.
pub async fn rehearse(
    store: &Store,
    publisher: &Publisher,
    actor: &Actor,
    proposal: Proposal,
    preconditions: Preconditions,
    now: UnixMillis,
) -> Result<Rehearsed, ChangeError> {
    let mut tx = store.write(lock(actor, &proposal)).await?;
    let terms = Terms { consent: Consent::Person(None), preconditions };
    let mut resolved = Resolved::read(&mut tx, actor, proposal, &terms).await?;
    let asked = std::mem::replace(&mut resolved.consent, Consent::NotAsked);
    let Done { applied, altered, loss } = transact(&mut tx, publisher, actor, resolved, now).await?;
    tx.rollback().await?;
    let confirmation = match &loss {
        Some(loss) => loss.asked(),
        None => Above::of(&altered).map(|_| confirmation(&altered)),
    };
    Ok(Rehearsed {
        decisions: altered.iter().map(Altered::told).collect(),
        lost: loss.map(|loss| loss.told()),
        told: applied.map(|applied| applied.told).unwrap_or_default(),
        confirmation: confirmation.filter(|_| asked != Consent::NotAsked),
    })
}

async fn transact(
    conn: &mut Connection,
    publisher: &Publisher,
    actor: &Actor,
    resolved: Resolved,
    now: UnixMillis,
) -> Result<Done, ChangeError> {
    let Resolved { subject, change, work, consent, preconditions, reserve, .. } = resolved;
    standing::check(conn, actor, &subject, &change, &preconditions).await?;
    if work == Work::Nothing {
        return Ok(Done { applied: None, altered: Vec::new(), loss: None });
    }
    let loss = Loss::of(conn, actor, &change).await?;
    let watch = Watch::before(conn, actor, &change).await?;
    let effects = perform(conn, actor, change, now).await?;
    let altered = watch.after(conn, &effects, now).await?;
    consent.check(&altered)?;
    if let Some(loss) = &loss {
        loss.check(consent)?;
    }
    let told = Told { altered: &altered, loss: loss.as_ref() };
    let applied = record(conn, publisher, actor, effects, told, reserve, now).await?;
    Ok(Done { applied, altered, loss })
}

/// Says where a change of several environments failed.
fn in_environment(scope: &Scope) -> impl FnOnce(ChangeError) -> ChangeError {
    let environment = scope.environment.clone();
    move |source| ChangeError::InEnvironment { environment, source: Box::new(source) }
}

/// What adds content leaves room for fuses to open.
const fn reserve(change: &Change) -> Reserve {
    match change {
        Change::PutFlag { .. }
        | Change::PutShared { .. }
        | Change::Import { .. }
        | Change::PutProjectFlag { .. }
        | Change::PutOverride { .. }
        | Change::PutFuse { .. }
        | Change::Revert { .. }
        | Change::CreateToken { .. } => Reserve::Kept,
        Change::CreateProject { .. }
        | Change::CreateEnvironment { .. }
        | Change::SetSettings { .. }
        | Change::DeleteProject { .. }
        | Change::DeleteEnvironment { .. }
        | Change::DeleteFlag { .. }
        | Change::DeleteShared { .. }
        | Change::DeleteProjectFlag { .. }
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
        Change::CreateEnvironment { scope, settings, safety } => {
            scope::create(conn, actor, scope, settings, &safety, now).await
        }
        Change::SetSettings { scope, settings, safety } => {
            scope::set(conn, actor, scope, settings, &safety).await
        }
        Change::DeleteProject { project } => scope::delete_project(conn, actor, project, now).await,
        Change::DeleteEnvironment { scope } => scope::delete(conn, actor, scope, now).await,
        Change::Revert { scope, to, flag, fuses } => {
            revert::apply(conn, actor, scope, revert::Way { to, only: flag, fuses }, now).await
        }
        Change::Republish { scope, urgency } => scope::republish(conn, actor, scope, urgency).await,
        Change::PutFlag { scope, wire } => flag::put(conn, actor, scope, *wire, now).await,
        Change::DeleteFlag { scope, flag, fuses } => {
            flag::delete(conn, actor, scope, &flag, fuses, now).await
        }
        Change::PutProjectFlag { project, wire } => inheritance::put(conn, actor, &project, *wire, now).await,
        Change::DeleteProjectFlag { project, flag, fuses } => {
            inheritance::delete(conn, actor, &project, &flag, fuses, now).await
        }
        Change::PutOverride { scope, flag, patch } => {
            inheritance::put_override(conn, actor, scope, &flag, patch, now).await
        }
        Change::PutShared { scope, part } => shared::put(conn, actor, scope, *part, now).await,
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
