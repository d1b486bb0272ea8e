//! Why a change is refused. Each refusal names what it is about, and who or what stands against it.

use flagfuse_inspect::diff::DiffError;
use flagfuse_shared::condition::SegmentFault;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::environment::EnvironmentFault;
use flagfuse_shared::flag::FlagFault;
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, SnapshotVersion};
use flagfuse_shared::limits::REPLICA_ENVIRONMENT_COUNT_MAX;
use flagfuse_shared::snapshot::payload::PayloadError;
use serde_json::Value;

use super::confirm::{Above, Given, Lost};
use super::precondition::{Tag, Unmet};
use super::resource::Resource;
use super::subject::Subject;
use crate::model::circuit::Circuit;
use crate::model::contract::ContractFault;
use crate::model::policy::PolicyFault;
use crate::publish::outbox::OutboxError;
use crate::store::StoreError;

/// What is told whom nothing lets in.
const SIGN_IN: &str = "name and password, or the sign-in link, are not valid, or not any more; `flagfuse login-link` makes \
                           a link for whoever has the data folder";

/// Why a change is refused; nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// No such project in the tenant.
    #[error("project {project} does not exist")]
    UnknownProject { project: ProjectKey },
    /// No such environment in the tenant.
    #[error("environment {}/{} does not exist", scope.project, scope.environment)]
    UnknownEnvironment { scope: Scope },
    /// No such flag, fuse, segment, layer, holdout or token.
    #[error("{what} {key:?} does not exist{}", remedy(*what))]
    Unknown { what: Resource, key: String },
    /// The tenant would belong to nobody.
    #[error("this is the last owner of the tenant: make somebody else an owner first")]
    LastOwner,
    /// More than whoever makes the change may do.
    #[error("{detail}")]
    NotAllowed {
        /// What it is that they may not.
        detail: String,
    },
    /// What was to let somebody in does not, or does no more. The same words for whatever is wrong.
    #[error("{SIGN_IN}")]
    SignIn,
    /// The tenant has one of that key.
    #[error("{what} {key:?} exists already")]
    Exists { what: Resource, key: String },
    /// No replica of the tenant could hold one more.
    #[error(
        "the tenant has {count} environments, {deleted} of them deleted, which replicas hold all the same; the limit is \
         {REPLICA_ENVIRONMENT_COUNT_MAX}: make a deleted one anew under its key"
    )]
    TooManyEnvironments {
        /// All of them.
        count: usize,
        /// Those that were deleted.
        deleted: usize,
    },
    /// More of something than an environment, a tenant or a member may have.
    #[error("there are {count_max} of {what} already, which is the limit: delete one that is not needed")]
    TooMany {
        what: Resource,
        /// So many are allowed.
        count_max: usize,
    },
    /// An import cannot be made as it is; everything that stands against it.
    #[error("{}", in_words(conflicts))]
    Conflicts {
        /// At least one.
        conflicts: Vec<Conflict>,
    },
    /// The flag cannot be evaluated.
    #[error("flag {key:?}: {source}")]
    Flag { key: String, source: FlagFault },
    /// A merge patch leads to what is no flag.
    #[error("{detail}")]
    FlagShape {
        /// Which field, and why.
        detail: String,
    },
    /// The segment cannot be evaluated.
    #[error("segment {key:?}: {source}")]
    Segment { key: String, source: SegmentFault },
    /// A layer or the holdout has no meaning, or there are too many of them.
    #[error(transparent)]
    Environment(#[from] EnvironmentFault),
    /// What was published cannot be compared with what was there before: a bug.
    #[error("the change cannot be compared with what was there before: {0}")]
    Diff(DiffError),
    /// Others would become malformed.
    #[error("{what} {key:?} is in use: with this change {by} could not be evaluated: {fault}")]
    InUse {
        what: Resource,
        key: String,
        /// `flag "checkout"`, `segment "beta"`.
        by: String,
        /// What would be wrong with that.
        fault: String,
    },
    /// The policy is outside its limits or does not fit the flag.
    #[error(transparent)]
    Policy(#[from] PolicyFault),
    /// The contract or the baseline is outside its limits.
    #[error(transparent)]
    Contract(#[from] ContractFault),
    /// A validation could never come to an end.
    #[error("the contract cannot be validated: {why}")]
    NotMeasurable {
        /// What is missing, and what to do about it.
        why: String,
    },
    /// Cohorts belong to the fuse.
    #[error("cohort is managed by the flag's fuse: leave it out or send it as it is")]
    CohortIsManaged,
    /// The field decides who is compared with whom.
    #[error(
        "{field} cannot change like that while a fuse watches the flag {flag:?}: units that are counted could be served \
         something else; delete the fuse first"
    )]
    LockedByFuse { field: &'static str, flag: String },
    /// A body that does not say so would switch a flag on.
    #[error(
        "flag {flag:?} is off, and the body leaves out enabled, which would switch it on: send \"enabled\" with it, true \
         or false"
    )]
    IsOff { flag: String },
    /// A flag would take its fuse along, and nobody said that it may.
    #[error(
        "flag {flag:?} is under a fuse in {}: with the flag the fuse would go, and all that it has counted; delete the \
         fuse first, or repeat the request with ?with_fuse=true",
        circuits(fuses)
    )]
    FuseInUse {
        flag: String,
        /// Where, and where each of them stands.
        fuses: Vec<(EnvironmentKey, Circuit)>,
    },
    /// Two watched flags of an environment may not put the same units into the same arms.
    #[error(
        "the flags {flag:?} and {other:?} have the same salt, {salt:?}, and both would be watched: give one another salt"
    )]
    SharedSalt {
        /// The flag whose fuse is asked for.
        flag: String,
        /// The one that has a fuse already.
        other: String,
        /// What both hash their units with.
        salt: String,
    },
    /// It would serve a tripped feature again without anybody saying so.
    #[error("{what} while the fuse is {}: {remedy}", circuit.as_str())]
    Tripped {
        what: String,
        /// Where the fuse stands.
        circuit: Circuit,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A ramp that cannot go on, or that there is not.
    #[error(
        "the fuse of flag {flag:?} has no next stage: its policy has no ramp, or the ramp is at its last stage"
    )]
    NoNextStage { flag: String },
    /// It comes from the project.
    #[error(
        "flag {flag:?} is inherited from the project: switch it off with an override, or delete the project's flag"
    )]
    Inherited { flag: String },
    /// One environment does not take what all of them should.
    #[error("environment {environment}: {source}")]
    InEnvironment { environment: EnvironmentKey, source: Box<ChangeError> },
    /// What is there is not what the writer has seen.
    #[error("{what} {key:?} {}", state_in_words(*unmet, current.as_ref()))]
    Precondition {
        /// `flag`, `fuse`, `settings of environment`.
        what: &'static str,
        key: String,
        /// The condition that does not hold.
        unmet: Unmet,
        /// What is there.
        current: Option<Tag>,
        /// What it is about, for whoever shows it; `None` of what has no state.
        subject: Option<Box<Subject>>,
    },
    /// Somebody else moved the fuse between a look at it and this decision.
    #[error("fuse is at revision {found}, the change was made for {expected}")]
    Stale {
        /// Revision now.
        found: u64,
        /// Revision the writer had seen.
        expected: u64,
    },
    /// A person has to look at what it does first.
    #[error(
        "{}the change alters {:.1} % of the sampled decisions of flag {:?} in environment {}, which asks for a \
         confirmation above {} %: look at the diff and repeat the request with the confirmation",
        preface(*given), above.changed_pct, above.flag, above.environment, above.limit_pct
    )]
    ConfirmationNeeded {
        /// The flag that changes most.
        above: Box<Above>,
        /// What came along in vain.
        given: Given,
        /// What to repeat the request with.
        confirmation: Digest,
        /// The diff of each environment.
        diffs: Vec<Value>,
    },
    /// A person has to look at what would be lost first.
    #[error(
        "{}deleting the {} {:?} takes away {}: look at what would be lost and repeat the request with the confirmation",
        preface(*given), loss.what, loss.key, loss.summary
    )]
    LossToConfirm {
        /// What would be lost.
        loss: Box<Lost>,
        /// What came along in vain.
        given: Given,
        /// What to repeat the request with.
        confirmation: Digest,
    },
    /// The version to go back to has left the history.
    #[error("version {version} is not kept; there are: {}", listed(available))]
    NotInHistory {
        version: SnapshotVersion,
        /// Those that are, the newest first.
        available: Vec<String>,
    },
    /// The version to go back to does not have the flag.
    #[error("flag {flag:?} is not in version {version}")]
    NotInVersion { flag: String, version: SnapshotVersion },
    /// A frame of the history cannot be read.
    #[error("version {version} cannot be read: {source}")]
    Unreadable { version: SnapshotVersion, source: PayloadError },
    /// A text of people is too long.
    #[error("{field} has {len} bytes, the limit is {len_max}")]
    TooLong {
        field: &'static str,
        /// Bytes found.
        len: usize,
        /// Bytes allowed.
        len_max: usize,
    },
    /// Another attempt at the same request has taken over.
    #[error("another attempt at this request has taken over: it is being answered there")]
    Overtaken,
    /// The environment's snapshot would be outside its limits.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ChangeError {
    /// Says where a change of several environments failed.
    pub(super) fn in_environment(scope: &Scope) -> impl FnOnce(Self) -> Self {
        let environment = scope.environment.clone();
        move |source| Self::InEnvironment { environment, source: Box::new(source) }
    }
}

impl From<DiffError> for ChangeError {
    fn from(error: DiffError) -> Self {
        match error {
            DiffError::Environment(fault) => Self::Environment(fault),
            error @ (DiffError::Unsignable(_) | DiffError::Refused(_)) => Self::Diff(error),
        }
    }
}

/// What stands against one part of an import.
#[derive(Debug)]
pub struct Conflict {
    /// `flag checkout`, `segment beta`.
    pub name: String,
    /// Why that part cannot be taken over.
    pub reason: ChangeError,
}

/// What is there already comes in one list: one word takes care of all of it.
fn in_words(conflicts: &[Conflict]) -> String {
    let is_taken = |conflict: &&Conflict| matches!(conflict.reason, ChangeError::Exists { .. });
    let taken: Vec<String> = conflicts.iter().filter(is_taken).map(|taken| taken.name.clone()).collect();
    let others = conflicts.iter().filter(|conflict| !is_taken(conflict));
    let others: Vec<String> = others.map(|other| format!("{}: {}", other.name, other.reason)).collect();
    let taken = (!taken.is_empty())
        .then(|| format!("already there: {}; with `replace` they are replaced", listed(&taken)));
    let parts = taken.into_iter().chain((!others.is_empty()).then(|| listed(&others)));
    parts.collect::<Vec<_>>().join("; ")
}

fn circuits(fuses: &[(EnvironmentKey, Circuit)]) -> String {
    let places = fuses.iter().map(|(environment, circuit)| format!("{environment} ({})", circuit.as_str()));
    listed(&places.collect::<Vec<_>>())
}

/// What to do about something that is not there.
const fn remedy(what: Resource) -> &'static str {
    match what {
        Resource::Flag => ": PUT …/flags/FLAG makes it",
        Resource::ProjectFlag => ": PUT /v1/projects/PROJECT/flags/FLAG makes it",
        Resource::Contract => ": PUT …/flags/FLAG/contract makes it",
        Resource::Baseline => ": PUT …/flags/FLAG/baseline makes it",
        Resource::Project
        | Resource::Environment
        | Resource::Settings
        | Resource::FlagDetails
        | Resource::Override
        | Resource::Fuse
        | Resource::Segment
        | Resource::Layer
        | Resource::Holdout
        | Resource::Suppression
        | Resource::Token
        | Resource::Member
        | Resource::Session => "",
        Resource::Slo => ": PUT …/slos/NAME makes it",
    }
}

fn preface(given: Given) -> &'static str {
    match given {
        Given::Nothing => "",
        Given::Other => {
            "the confirmation is for another change, or the environment has moved since it was given; "
        }
    }
}

fn state_in_words(unmet: Unmet, current: Option<&Tag>) -> String {
    match (unmet, current) {
        (Unmet::Match, Some(current)) => {
            format!("is at {current}, which if-match does not list: look at it again and repeat the request")
        }
        (Unmet::Match, None) => "is not there, and if-match asks for one that is".to_owned(),
        (Unmet::Read, Some(current)) => format!(
            "is at {current}, and `revision` in the body says that it was read at another one: look at it again, or say \
             with if-match which state to replace"
        ),
        (Unmet::Read, None) => {
            "is not there, and `revision` in the body says that it was read: leave it out to make a \
                                new one"
                .to_owned()
        }
        (Unmet::NoneMatch, Some(current)) => format!("is at {current}, which if-none-match rules out"),
        (Unmet::NoneMatch, None) => "is not there, which if-none-match rules out".to_owned(),
        (Unmet::Unsaid, Some(current)) => format!(
            "is at {current}, and the request does not say which state it was made for: send if-match with the tag that \
             was read"
        ),
        (Unmet::Unsaid, None) => "is not there, and the request does not say so".to_owned(),
    }
}

/// Entries of a list that a message names.
const LISTED_COUNT_MAX: usize = 50;

fn listed(keys: &[String]) -> String {
    let more = keys.len().saturating_sub(LISTED_COUNT_MAX);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    keys.iter().take(LISTED_COUNT_MAX).map(String::as_str).collect::<Vec<_>>().join(", ") + &tail
}

#[cfg(test)]
mod tests;
