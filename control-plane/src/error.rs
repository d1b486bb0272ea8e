//! What a request is told when it fails: every error by its variant, as problem+json with a stable code.

mod code;
mod members;

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use flagfuse_importers::ImportError;
use flagfuse_shared::condition::SegmentFault;
use flagfuse_shared::contract::beacon::FORMATS;
use flagfuse_shared::environment::{EnvironmentFault, SharedField};
use flagfuse_shared::flag::FlagFault;
use flagfuse_shared::strict::Misfit;
use serde::Serialize;
use serde_json::Value;

pub use self::code::Code;
use self::members::pointer;
pub use self::members::{Fault, Members, ToldConflict, ToldFuse};
use crate::change::{ChangeError, Conflict, Resource, Tag, Unmet};
use crate::ingest::IngestError;
use crate::model::account::AccountFault;
use crate::model::contract::ContractFault;
use crate::model::flag_details::DetailsFault;
use crate::model::policy::PolicyFault;
use crate::model::slo::SloFault;
use crate::publish::keys::KeyError;
use crate::publish::newest_snapshot::NewestSnapshotError;
use crate::publish::outbox::OutboxError;
use crate::publish::pull::PullError;
use crate::store::StoreError;

/// What is there of something, for whoever has seen another state of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its state; `None` when it is not there.
    pub tag: Option<Tag>,
    /// As its `GET` shows it.
    pub body: Option<Value>,
}

/// The content type of a failed request.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// A failed request as `application/problem+json` (RFC 9457).
#[derive(Serialize)]
struct Problem<'p> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'p str,
    #[serde(flatten)]
    members: &'p Members,
}

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    code: Code,
    detail: String,
    /// The state that is there instead of the one that the caller has seen.
    tag: Option<Tag>,
    /// Further members of the problem, for programs.
    members: Box<Members>,
    /// When to come back, where a second is too soon.
    wait_s: u64,
}

impl ApiError {
    /// A problem: a code, which brings its status, and a sentence.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), tag: None, members: Box::default(), wait_s: 1 }
    }

    /// The same with further members.
    #[must_use]
    pub fn with(self, members: Members) -> Self {
        Self { members: Box::new(members), ..self }
    }

    /// The same with the place in the body that it is about, as messages write it: `rules[0].op`.
    fn about(mut self, field: &str, detail: impl Into<String>) -> Self {
        let pointer = pointer(field);
        let fault = Fault { pointer: Some(pointer.clone()), parameter: None, detail: detail.into() };
        (self.members.pointer, self.members.errors) = (Some(pointer), Some(vec![fault]));
        self
    }

    /// A field of the body that is not what it has to be.
    pub fn of_field(code: Code, field: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::new(code, detail.clone()).about(field, detail)
    }

    /// A parameter of the query that is not what it has to be.
    pub fn of_parameter(code: Code, parameter: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let fault = Fault { pointer: None, parameter: Some(parameter.to_owned()), detail: detail.clone() };
        Self::new(code, detail).with(Members { errors: Some(vec![fault]), ..Members::default() })
    }

    /// The same with what is there, in the place of what was there a moment ago.
    #[must_use]
    pub fn showing(mut self, Shown { tag, body }: Shown) -> Self {
        self.members.etag = Some(tag.as_ref().map_or(Value::Null, |tag| Value::from(tag.to_string())));
        (self.tag, self.members.current) = (tag, body);
        self
    }

    /// In the place of an answer: the token has asked too often.
    pub fn rate_limited(wait_s: u64, per_minute: u32) -> Self {
        let detail = format!(
            "the token has asked too often: it may ask {per_minute} times a minute; trips, switches to off and reverts are \
             answered at any time"
        );
        Self { wait_s: wait_s.max(1), ..Self::new(Code::RateLimited, detail) }
    }

    /// For what edges answer, with the words that OFREP's clients read.
    pub fn at_the_edge(detail: String, flag_key: &str) -> Self {
        let members = Members {
            key: Some(flag_key.to_owned()),
            error_code: Some("GENERAL"),
            error_details: Some(detail.clone()),
            metadata: Some(BTreeMap::new()),
            ..Members::default()
        };
        Self::new(Code::EdgeOnly, detail).with(members)
    }

    /// A document that does not have its shape, with the pointer to the place.
    pub fn misfit(code: Code, misfit: &Misfit, subject: &str) -> Self {
        let (detail, pointer) = (misfit.of(subject), misfit.pointer());
        let fault = Fault { pointer: Some(pointer.clone()), parameter: None, detail: detail.clone() };
        let members = Members { pointer: Some(pointer), errors: Some(vec![fault]), ..Members::default() };
        Self::new(code, detail).with(members)
    }

    /// Come back in a second.
    pub fn overloaded(detail: impl Into<String>) -> Self {
        Self::new(Code::Overloaded, detail)
    }

    /// In the place of a 401: too many tokens from one address that open nothing.
    pub fn too_many_failures(wait_s: u64) -> Self {
        let detail = "the token is unknown or revoked, like too many others from this address; a valid one is answered at \
                      any time";
        Self { wait_s, ..Self::new(Code::TooManyFailures, detail) }
    }

    /// In the place of a 401 to who signs in: too many wrong passwords for one account from one address, or from that address.
    pub fn too_many_logins(wait_s: u64) -> Self {
        let detail = "too many attempts to sign in with a password from this address; a sign-in link works at any time";
        Self { wait_s, ..Self::new(Code::TooManyFailures, detail) }
    }

    /// Our bug: the only kind that is logged as an error, here and nowhere else.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "request failed through no fault of the caller");
        Self::new(Code::Internal, "the control plane failed; its log says why")
    }

    /// Why, for programs.
    pub const fn code(&self) -> Code {
        self.code
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let problem = Problem {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code: self.code.as_str(),
            detail: &self.detail,
            members: &self.members,
        };
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(tag) = self.tag.and_then(|tag| HeaderValue::try_from(tag.to_string()).ok()) {
            headers.insert(ETAG, tag);
        }
        let comes_back = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        if comes_back || self.code == Code::RequestInProgress {
            headers.insert(RETRY_AFTER, HeaderValue::from(self.wait_s));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy | StoreError::Lost(_) => Self::overloaded(error.to_string()),
            StoreError::Refused { .. }
            | StoreError::Open { .. }
            | StoreError::OldSqlite { .. }
            | StoreError::Newer { .. }
            | StoreError::Sql(_)
            | StoreError::Corrupt { .. } => Self::internal(&error),
        }
    }
}

impl From<AccountFault> for ApiError {
    fn from(fault: AccountFault) -> Self {
        let code = match &fault {
            AccountFault::PasswordLong { .. } => Code::TooLong,
            AccountFault::NameLength { .. }
            | AccountFault::NameCharacter { .. }
            | AccountFault::PasswordShort { .. } => Code::InvalidAccount,
        };
        Self::new(code, fault.to_string())
    }
}

impl From<PolicyFault> for ApiError {
    fn from(fault: PolicyFault) -> Self {
        let code = match &fault {
            PolicyFault::Mode { .. } => Code::ModeNotAvailable,
            PolicyFault::Shape(misfit) => return Self::misfit(Code::InvalidPolicy, misfit, "the policy"),
            PolicyFault::OutOfRange { .. } | PolicyFault::UnknownVariation { .. } => Code::InvalidPolicy,
        };
        let field = match &fault {
            PolicyFault::OutOfRange { field, .. } => field,
            PolicyFault::UnknownVariation { field, .. } => *field,
            PolicyFault::Mode { .. } | PolicyFault::Shape(_) => "mode",
        };
        Self::new(code, fault.to_string()).about(field, fault.to_string())
    }
}

impl From<ContractFault> for ApiError {
    fn from(fault: ContractFault) -> Self {
        let code = if fault.is_of_baseline() { Code::InvalidBaseline } else { Code::InvalidContract };
        match &fault {
            ContractFault::Shape { what, misfit } => Self::misfit(code, misfit, what),
            ContractFault::OutOfRange { field, .. } => {
                Self::new(code, fault.to_string()).about(field, fault.to_string())
            }
        }
    }
}

impl From<DetailsFault> for ApiError {
    fn from(fault: DetailsFault) -> Self {
        match &fault {
            DetailsFault::Shape(misfit) => Self::misfit(Code::InvalidFlagDetails, misfit, "the details"),
            DetailsFault::OutOfRange { field, .. } => {
                Self::new(Code::InvalidFlagDetails, fault.to_string()).about(field, fault.to_string())
            }
        }
    }
}

impl From<SloFault> for ApiError {
    fn from(fault: SloFault) -> Self {
        match &fault {
            SloFault::Shape(misfit) => Self::misfit(Code::InvalidSlo, misfit, "the SLO"),
            SloFault::OutOfRange { field, .. }
            | SloFault::Missing { field, .. }
            | SloFault::Idle { field, .. } => {
                Self::new(Code::InvalidSlo, fault.to_string()).about(field, fault.to_string())
            }
        }
    }
}

impl From<ChangeError> for ApiError {
    #[expect(clippy::too_many_lines, reason = "one arm per case reads as a table")]
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        match error {
            ChangeError::UnknownProject { .. } => Self::new(Code::UnknownProject, detail),
            ChangeError::UnknownEnvironment { .. } => Self::new(Code::UnknownEnvironment, detail),
            ChangeError::Unknown { what, .. } => Self::new(unknown_code(what), detail),
            ChangeError::LastOwner => Self::new(Code::LastOwner, detail),
            ChangeError::NotAllowed { .. } => Self::new(Code::Forbidden, detail),
            ChangeError::SignIn => Self::new(Code::SignInFailed, detail),
            ChangeError::Exists { .. } => Self::new(Code::Exists, detail),
            ChangeError::TooMany { .. } => Self::new(Code::TooMany, detail),
            ChangeError::TooManyEnvironments { .. } => Self::new(Code::TooManyEnvironments, detail),
            ChangeError::Conflicts { conflicts } => {
                let errors = conflict_errors(conflicts);
                let members = Members { conflicts: Some(told_conflicts(&errors)), ..Members::default() };
                // The first one gives status and code, as if it stood alone.
                let first = errors.into_iter().next().map(|(_, error)| error);
                let first = first.unwrap_or_else(|| Self::new(Code::Exists, ""));
                Self { detail, ..first }.with(members)
            }
            ChangeError::Precondition { unmet, current, .. } => {
                let code = match unmet {
                    Unmet::Unsaid => Code::PreconditionRequired,
                    Unmet::Match | Unmet::NoneMatch | Unmet::Read => Code::PreconditionFailed,
                };
                Self::new(code, detail).showing(Shown { tag: current, body: None })
            }
            ChangeError::Overtaken => Self::new(Code::RequestInProgress, detail),
            ChangeError::Stale { .. } => Self::new(Code::StaleRevision, detail),
            ChangeError::SharedSalt { .. } => Self::new(Code::SharedSalt, detail),
            ChangeError::IsOff { .. } => Self::new(Code::FlagIsOff, detail),
            ChangeError::FuseInUse { fuses, .. } => {
                let fuses = fuses.iter().map(|(environment, circuit)| ToldFuse {
                    environment: environment.to_string(),
                    circuit: *circuit,
                });
                let members = Members { fuses: Some(fuses.collect()), ..Members::default() };
                Self::new(Code::FuseInUse, detail).with(members)
            }
            ChangeError::LockedByFuse { .. } => Self::new(Code::HeldByFuse, detail),
            ChangeError::NoNextStage { .. } => Self::new(Code::NoNextStage, detail),
            ChangeError::Tripped { .. } => Self::new(Code::FuseNotClosed, detail),
            ChangeError::Inherited { .. } => Self::new(Code::Inherited, detail),
            ChangeError::ConfirmationNeeded { confirmation, diffs, .. } => {
                let confirmation = Some(confirmation.to_string());
                Self::new(Code::ConfirmationNeeded, detail).with(Members {
                    confirmation,
                    diff: Some(diffs),
                    ..Members::default()
                })
            }
            ChangeError::LossToConfirm { confirmation, loss, .. } => {
                let (confirmation, lost) = (Some(confirmation.to_string()), Some(loss.numbers));
                Self::new(Code::ConfirmationNeeded, detail).with(Members {
                    confirmation,
                    lost,
                    ..Members::default()
                })
            }
            ChangeError::NotInHistory { available, .. } => {
                let members = Members { kept: Some(available), ..Members::default() };
                Self::new(Code::VersionNotKept, detail).with(members)
            }
            ChangeError::NotInVersion { .. } => Self::new(Code::UnknownFlag, detail),
            ChangeError::Unreadable { .. } | ChangeError::Diff(_) => Self::internal(&detail),
            ChangeError::InEnvironment { source, .. } => Self { detail, ..Self::from(*source) },
            ChangeError::InUse { .. } => Self::new(Code::InUse, detail),
            ChangeError::Flag { source, .. } => of_flag(&source, detail),
            ChangeError::FlagShape { .. } => Self::new(Code::InvalidFlag, detail),
            ChangeError::Segment { source, .. } => {
                let told = Self::new(Code::InvalidSegment, detail.clone());
                match &source {
                    SegmentFault::OutOfRange { field, .. } => told.about(field, detail),
                    SegmentFault::Condition { rule, at, .. } => {
                        told.about(&format!("rules[{rule}].conditions[{at}]"), detail)
                    }
                    _ => told,
                }
            }
            ChangeError::Environment(fault) => Self::new(environment_code(&fault), detail),
            ChangeError::Policy(fault) => fault.into(),
            ChangeError::Contract(fault) => fault.into(),
            ChangeError::NotMeasurable { .. } => Self::new(Code::NotMeasurable, detail),
            ChangeError::CohortIsManaged => Self::new(Code::CohortIsManaged, detail),
            ChangeError::TooLong { .. } => Self::new(Code::TooLong, detail),
            ChangeError::Outbox(error) => error.into(),
            ChangeError::Store(error) => error.into(),
        }
    }
}

/// What is not there.
const fn unknown_code(what: Resource) -> Code {
    match what {
        Resource::Project => Code::UnknownProject,
        Resource::Environment | Resource::Settings => Code::UnknownEnvironment,
        Resource::Flag | Resource::ProjectFlag => Code::UnknownFlag,
        Resource::FlagDetails => Code::UnknownFlagDetails,
        Resource::Override => Code::UnknownOverride,
        Resource::Fuse => Code::UnknownFuse,
        Resource::Contract => Code::UnknownContract,
        Resource::Baseline => Code::UnknownBaseline,
        Resource::Segment => Code::UnknownSegment,
        Resource::Layer => Code::UnknownLayer,
        Resource::Holdout => Code::UnknownHoldout,
        Resource::Slo => Code::UnknownSlo,
        Resource::Suppression => Code::UnknownSuppression,
        Resource::Token => Code::UnknownToken,
        Resource::Member => Code::UnknownMember,
        Resource::Session => Code::UnknownSession,
    }
}

/// What stands against each part of an import, as if that part came alone.
pub fn conflict_errors(conflicts: Vec<Conflict>) -> Vec<(String, ApiError)> {
    conflicts.into_iter().map(|Conflict { name, reason }| (name, reason.into())).collect()
}

/// The same for programs and people.
pub fn told_conflicts(conflicts: &[(String, ApiError)]) -> Vec<ToldConflict> {
    let conflicts = conflicts.iter();
    let told = |(name, error): &(String, ApiError)| ToldConflict {
        name: name.clone(),
        code: error.code.as_str(),
        reason: error.detail.clone(),
    };
    conflicts.map(told).collect()
}

/// A flag that cannot be evaluated, with the place in it.
fn of_flag(fault: &FlagFault, detail: String) -> ApiError {
    let field = match fault {
        FlagFault::Key { field, .. }
        | FlagFault::OutOfRange { field, .. }
        | FlagFault::UnknownVariation { field, .. } => field,
        FlagFault::Duplicate { field, .. } => *field,
        FlagFault::WrongValue { .. } | FlagFault::ValueTooDeep { .. } | FlagFault::ValueTooLong { .. } => {
            "variations"
        }
        FlagFault::Condition { .. } => "rules",
        FlagFault::UnknownPrerequisite { .. }
        | FlagFault::UnknownPrerequisiteVariation { .. }
        | FlagFault::MalformedPrerequisite { .. } => "prerequisites",
        FlagFault::UnknownLayer { .. } => "layer",
        _ => return ApiError::new(Code::InvalidFlag, detail),
    };
    ApiError::new(Code::InvalidFlag, detail.clone()).about(field, detail)
}

const fn environment_code(fault: &EnvironmentFault) -> Code {
    let what = match fault {
        EnvironmentFault::TooMany { what, .. }
        | EnvironmentFault::Duplicate { what, .. }
        | EnvironmentFault::Field { what, .. } => what,
    };
    match what {
        SharedField::Segments => Code::InvalidSegment,
        SharedField::Layers => Code::InvalidLayer,
        SharedField::Holdout => Code::InvalidHoldout,
    }
}

impl From<OutboxError> for ApiError {
    fn from(error: OutboxError) -> Self {
        let detail = error.to_string();
        match error {
            OutboxError::Store(error) => error.into(),
            OutboxError::Sign(_) | OutboxError::Reserve { .. } => Self::new(Code::SnapshotLimit, detail),
            OutboxError::UnknownEnvironment { .. } => Self::new(Code::UnknownEnvironment, detail),
            OutboxError::Forked { .. } => Self::new(Code::RestoredFromOldCopy, detail),
            OutboxError::EdgeTooOld(_) => Self::new(Code::EdgeTooOld, detail),
            OutboxError::Keys(error) => error.into(),
        }
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Store(error) => error.into(),
            // Another process went over to a keyset whose private key this one has not opened yet: a second's work.
            KeyError::NoSigner { .. } => {
                let detail =
                    "the keyset in force changed a moment ago, and its private key is not opened yet";
                Self::new(Code::KeysChanging, detail)
            }
            KeyError::Exists { .. }
            | KeyError::Missing { .. }
            | KeyError::File { .. }
            | KeyError::Format { .. }
            | KeyError::TooLong { .. }
            | KeyError::Keyset { .. }
            | KeyError::RootsInside { .. }
            | KeyError::Threshold { .. }
            | KeyError::Ceremony(_)
            | KeyError::Sign(_)
            | KeyError::Roots(_)
            | KeyError::Random(_)
            | KeyError::Overtaken { .. }
            | KeyError::OtherKeys { .. } => Self::internal(&error),
        }
    }
}

impl From<NewestSnapshotError> for ApiError {
    fn from(error: NewestSnapshotError) -> Self {
        match error {
            NewestSnapshotError::Store(error) => error.into(),
            NewestSnapshotError::Nothing { .. } => Self::new(Code::NoSnapshot, error.to_string()),
            // Expired for want of a republication, or tampered with: an edge would not take it either.
            NewestSnapshotError::Refused(_) => Self::new(Code::SnapshotRefused, error.to_string()),
            NewestSnapshotError::Roots(_) => Self::internal(&error),
        }
    }
}

impl From<PullError> for ApiError {
    fn from(error: PullError) -> Self {
        let detail = error.to_string();
        match error {
            PullError::UnknownReplica { .. } => Self::new(Code::UnknownReplica, detail),
            PullError::TooMany { .. } | PullError::Scope { .. } => Self::new(Code::BadPull, detail),
            PullError::WrongTenant { .. } => Self::new(Code::WrongTenant, detail),
            PullError::Store(error) => error.into(),
            PullError::Sign(_) => Self::internal(&error),
        }
    }
}

impl From<ImportError> for ApiError {
    fn from(error: ImportError) -> Self {
        Self::new(Code::InvalidImport, error.to_string())
    }
}

impl From<IngestError> for ApiError {
    fn from(error: IngestError) -> Self {
        let detail = error.to_string();
        match error {
            IngestError::WrongTenant { .. } => Self::new(Code::WrongTenant, detail),
            IngestError::WrongPlace { .. } => Self::new(Code::Forbidden, detail),
            IngestError::Batch(_) | IngestError::BufferId { .. } | IngestError::BatchSeq { .. } => {
                // So that an edge does not take this for a control plane that reads no newer format.
                let members = Members { formats: Some(FORMATS.to_vec()), ..Members::default() };
                Self::new(Code::BadBatch, detail).with(members)
            }
            IngestError::Full { .. } => Self::overloaded(detail),
            IngestError::Elsewhere { .. } | IngestError::Opening => Self::new(Code::EventsMoving, detail),
            IngestError::Panicked { .. } | IngestError::Log { .. } => Self::internal(&error),
            IngestError::Store(error) => error.into(),
        }
    }
}

impl From<getrandom::Error> for ApiError {
    fn from(error: getrandom::Error) -> Self {
        Self::internal(&error)
    }
}

#[cfg(test)]
mod tests;
