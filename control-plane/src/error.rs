//! What a request is told when it fails: every error by its variant, as problem+json with a stable code.

mod code;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use flagfuse_importers::ImportError;
use flagfuse_shared::contract::beacon::FORMATS;
use flagfuse_shared::environment::{EnvironmentFault, SharedField};
use flagfuse_shared::strict::Misfit;
use serde_json::{Map, Value, json};

pub use self::code::Code;
use crate::change::{ChangeError, Conflict, Resource, Tag};
use crate::ingest::IngestError;
use crate::model::account::AccountFault;
use crate::model::contract::ContractFault;
use crate::model::policy::PolicyFault;
use crate::model::slo::SloFault;
use crate::publish::keys::KeyError;
use crate::publish::newest_snapshot::NewestSnapshotError;
use crate::publish::outbox::OutboxError;
use crate::publish::pull::PullError;
use crate::store::StoreError;

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    code: Code,
    detail: String,
    /// The state that is there instead of the one that the caller has seen.
    tag: Option<Tag>,
    /// Further members of the problem, for programs.
    extensions: Map<String, Value>,
    /// When to come back, where a second is too soon.
    wait_s: u64,
}

impl ApiError {
    /// A problem: a code, which brings its status, and a sentence.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), tag: None, extensions: Map::new(), wait_s: 1 }
    }

    /// The same with further members.
    #[must_use]
    pub fn with(mut self, extensions: Value) -> Self {
        if let Value::Object(extensions) = extensions {
            self.extensions = extensions;
        }
        self
    }

    /// For what edges answer, with the words that OFREP's clients read.
    pub fn at_the_edge(detail: String, flag_key: &str) -> Self {
        let members =
            json!({ "key": flag_key, "errorCode": "GENERAL", "errorDetails": detail, "metadata": {} });
        Self::new(Code::EdgeOnly, detail).with(members)
    }

    /// A document that does not have its shape, with the pointer to the place.
    pub fn misfit(code: Code, misfit: &Misfit, subject: &str) -> Self {
        Self::new(code, misfit.of(subject)).with(json!({ "pointer": misfit.pointer() }))
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
        let (status, mut body) = (self.code.status(), self.extensions);
        body.extend([
            ("type".to_owned(), Value::from("about:blank")),
            ("title".to_owned(), status.canonical_reason().unwrap_or_default().into()),
            ("status".to_owned(), status.as_u16().into()),
            ("code".to_owned(), self.code.as_str().into()),
            ("detail".to_owned(), self.detail.into()),
        ]);
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(tag) = self.tag.and_then(|tag| HeaderValue::try_from(tag.to_string()).ok()) {
            headers.insert(ETAG, tag);
        }
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
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
        Self::new(code, fault.to_string())
    }
}

impl From<ContractFault> for ApiError {
    fn from(fault: ContractFault) -> Self {
        let code = if fault.is_of_baseline() { Code::InvalidBaseline } else { Code::InvalidContract };
        match &fault {
            ContractFault::Shape { what, misfit } => Self::misfit(code, misfit, what),
            ContractFault::OutOfRange { .. } => Self::new(code, fault.to_string()),
        }
    }
}

impl From<SloFault> for ApiError {
    fn from(fault: SloFault) -> Self {
        match &fault {
            SloFault::Shape(misfit) => Self::misfit(Code::InvalidSlo, misfit, "the SLO"),
            SloFault::OutOfRange { .. } | SloFault::Missing { .. } | SloFault::Idle { .. } => {
                Self::new(Code::InvalidSlo, fault.to_string())
            }
        }
    }
}

impl From<ChangeError> for ApiError {
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
                let members = json!({ "conflicts": conflicts_json(&errors) });
                // The first one gives status and code, as if it stood alone.
                let first = errors.into_iter().next().map(|(_, error)| error);
                let first = first.unwrap_or_else(|| Self::new(Code::Exists, ""));
                Self { detail, ..first }.with(members)
            }
            ChangeError::Precondition { current, .. } => {
                let shown = json!({ "etag": current.as_ref().map(ToString::to_string) });
                Self { tag: current, ..Self::new(Code::PreconditionFailed, detail) }.with(shown)
            }
            ChangeError::Stale { .. } => Self::new(Code::StaleRevision, detail),
            ChangeError::SharedSalt { .. } => Self::new(Code::SharedSalt, detail),
            ChangeError::IsOff { .. } => Self::new(Code::FlagIsOff, detail),
            ChangeError::FuseInUse { fuses, .. } => {
                let fuses = fuses
                    .iter()
                    .map(|(environment, circuit)| json!({ "environment": environment, "circuit": circuit }));
                let fuses = fuses.collect::<Vec<_>>();
                Self::new(Code::FuseInUse, detail).with(json!({ "fuses": fuses }))
            }
            ChangeError::LockedByFuse { .. } => Self::new(Code::HeldByFuse, detail),
            ChangeError::NoNextStage { .. } => Self::new(Code::NoNextStage, detail),
            ChangeError::Tripped { .. } => Self::new(Code::FuseNotClosed, detail),
            ChangeError::Inherited { .. } => Self::new(Code::Inherited, detail),
            ChangeError::ConfirmationNeeded { confirmation, diffs, .. } => {
                Self::new(Code::ConfirmationNeeded, detail)
                    .with(json!({ "confirmation": confirmation, "diff": diffs }))
            }
            ChangeError::LossToConfirm { confirmation, loss, .. } => {
                Self::new(Code::ConfirmationNeeded, detail)
                    .with(json!({ "confirmation": confirmation, "lost": loss.numbers }))
            }
            ChangeError::NotInHistory { available, .. } => {
                Self::new(Code::VersionNotKept, detail).with(json!({ "kept": available }))
            }
            ChangeError::NotInVersion { .. } => Self::new(Code::UnknownFlag, detail),
            ChangeError::Unreadable { .. } | ChangeError::Diff(_) => Self::internal(&detail),
            ChangeError::InEnvironment { source, .. } => Self { detail, ..Self::from(*source) },
            ChangeError::InUse { .. } => Self::new(Code::InUse, detail),
            ChangeError::Flag { .. } | ChangeError::FlagShape { .. } => Self::new(Code::InvalidFlag, detail),
            ChangeError::Segment { .. } => Self::new(Code::InvalidSegment, detail),
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
pub fn conflicts_json(conflicts: &[(String, ApiError)]) -> Value {
    let conflicts = conflicts.iter();
    conflicts
        .map(|(name, error)| json!({ "name": name, "code": error.code.as_str(), "reason": error.detail }))
        .collect()
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
            IngestError::Batch(_) | IngestError::BufferId { .. } | IngestError::BatchSeq { .. } => {
                // So that an edge does not take this for a control plane that reads no newer format.
                Self::new(Code::BadBatch, detail).with(json!({ "formats": FORMATS }))
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
