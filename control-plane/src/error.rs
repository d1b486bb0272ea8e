//! What a request is told when it fails: one table from errors to status, stable code and problem+json.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use flagfuse_importers::ImportError;
use flagfuse_shared::environment::EnvironmentFault;
use flagfuse_shared::strict::Misfit;
use serde_json::{Map, Value, json};

use crate::change::{ChangeError, Conflict, Resource, Tag};
use crate::ingest::IngestError;
use crate::model::policy::PolicyFault;
use crate::publish::keys::KeyError;
use crate::publish::newest_snapshot::NewestSnapshotError;
use crate::publish::outbox::OutboxError;
use crate::publish::pull::PullError;
use crate::store::StoreError;

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: String,
    /// What is there instead of what the caller has seen.
    tag: Option<Tag>,
    /// Further members of the problem, for programs.
    extensions: Map<String, Value>,
    /// When to come back, where a second is too soon.
    wait_s: u64,
}

impl ApiError {
    /// A problem of a status, a stable code and a sentence.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), tag: None, extensions: Map::new(), wait_s: 1 }
    }

    /// The same with further members.
    #[must_use]
    pub fn with(mut self, extensions: Value) -> Self {
        if let Value::Object(extensions) = extensions {
            self.extensions = extensions;
        }
        self
    }

    /// 400.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 404.
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 404 for what edges answer, with the words that OFREP's clients read.
    pub fn at_the_edge(detail: String, flag_key: &str) -> Self {
        let told = json!({ "key": flag_key, "errorCode": "GENERAL", "errorDetails": detail, "metadata": {} });
        Self::not_found("edge_only", detail).with(told)
    }

    /// 400 for a document that does not have its shape, with the pointer to the place.
    pub fn misfit(code: &'static str, misfit: &Misfit, subject: &str) -> Self {
        Self::bad_request(code, misfit.of(subject)).with(json!({ "pointer": misfit.pointer() }))
    }

    /// 429: come back in a second.
    pub fn overloaded(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", detail)
    }

    /// 429, in the place of a 401: too many tokens from one address that open nothing.
    pub fn too_many_failures(wait_s: u64) -> Self {
        let detail = "the token is unknown or revoked, like too many others from this address; a valid one is answered at \
                      any time";
        Self { wait_s, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_failures", detail) }
    }

    /// Our bug: the only kind that is logged as an error, here and nowhere else.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "request failed through no fault of the caller");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the control plane failed; its log says why")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = self.extensions;
        body.extend([
            ("type".to_owned(), Value::from("about:blank")),
            ("title".to_owned(), self.status.canonical_reason().unwrap_or_default().into()),
            ("status".to_owned(), self.status.as_u16().into()),
            ("code".to_owned(), self.code.into()),
            ("detail".to_owned(), self.detail.into()),
        ]);
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(tag) = self.tag.and_then(|tag| HeaderValue::try_from(tag.to_string()).ok()) {
            headers.insert(ETAG, tag);
        }
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
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

impl From<PolicyFault> for ApiError {
    fn from(fault: PolicyFault) -> Self {
        let code = match &fault {
            PolicyFault::Mode { .. } => "mode_not_available",
            PolicyFault::Shape(misfit) => return Self::misfit("invalid_policy", misfit, "the policy"),
            PolicyFault::OutOfRange { .. } | PolicyFault::UnknownVariation { .. } => "invalid_policy",
        };
        Self::bad_request(code, fault.to_string())
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        match error {
            ChangeError::UnknownProject { .. } => Self::not_found("unknown_project", detail),
            ChangeError::UnknownEnvironment { .. } => Self::not_found("unknown_environment", detail),
            ChangeError::Unknown { what, .. } => Self::not_found(unknown_code(what), detail),
            ChangeError::Exists { .. } => Self::new(StatusCode::CONFLICT, "exists", detail),
            ChangeError::TooManyEnvironments { .. } => {
                Self::new(StatusCode::CONFLICT, "too_many_environments", detail)
            }
            ChangeError::Conflicts { conflicts } => {
                let errors = conflict_errors(conflicts);
                let told = json!({ "conflicts": conflicts_json(&errors) });
                // The first one gives status and code, as if it stood alone.
                let first = errors.into_iter().next().map(|(_, error)| error);
                let first = first.unwrap_or_else(|| Self::new(StatusCode::CONFLICT, "exists", ""));
                Self { detail, ..first }.with(told)
            }
            ChangeError::Precondition { current, .. } => {
                let shown = json!({ "etag": current.as_ref().map(ToString::to_string) });
                Self {
                    tag: current,
                    ..Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail)
                }
                .with(shown)
            }
            ChangeError::Stale { .. } => Self::new(StatusCode::CONFLICT, "stale_revision", detail),
            ChangeError::SharedSalt { .. } => Self::new(StatusCode::CONFLICT, "shared_salt", detail),
            ChangeError::IsOff { .. } => Self::new(StatusCode::CONFLICT, "flag_is_off", detail),
            ChangeError::FuseInUse { fuses, .. } => {
                let told = fuses
                    .iter()
                    .map(|(environment, circuit)| json!({ "environment": environment, "circuit": circuit }));
                let told = json!({ "fuses": told.collect::<Vec<_>>() });
                Self::new(StatusCode::CONFLICT, "fuse_in_use", detail).with(told)
            }
            ChangeError::LockedByFuse { .. } => Self::new(StatusCode::CONFLICT, "held_by_fuse", detail),
            ChangeError::Tripped { .. } => Self::new(StatusCode::CONFLICT, "fuse_not_closed", detail),
            ChangeError::Inherited { .. } => Self::new(StatusCode::CONFLICT, "inherited", detail),
            ChangeError::ConfirmationNeeded { confirmation, diffs, .. } => {
                Self::new(StatusCode::CONFLICT, "confirmation_needed", detail)
                    .with(json!({ "confirmation": confirmation, "diff": diffs }))
            }
            ChangeError::LossToConfirm { confirmation, loss, .. } => {
                Self::new(StatusCode::CONFLICT, "confirmation_needed", detail)
                    .with(json!({ "confirmation": confirmation, "lost": loss.numbers }))
            }
            ChangeError::NotInHistory { available, .. } => {
                Self::not_found("version_not_kept", detail).with(json!({ "kept": available }))
            }
            ChangeError::NotInVersion { .. } => Self::not_found("unknown_flag", detail),
            ChangeError::Unreadable { .. } | ChangeError::Diff(_) => Self::internal(&detail),
            ChangeError::InEnvironment { source, .. } => Self { detail, ..Self::from(*source) },
            ChangeError::InUse { .. } => Self::new(StatusCode::CONFLICT, "in_use", detail),
            ChangeError::Flag { .. } | ChangeError::FlagShape { .. } => {
                Self::bad_request("invalid_flag", detail)
            }
            ChangeError::Segment { .. } => Self::bad_request("invalid_segment", detail),
            ChangeError::Environment(fault) => Self::bad_request(environment_code(&fault), detail),
            ChangeError::Policy(fault) => fault.into(),
            ChangeError::CohortIsManaged => Self::bad_request("cohort_is_managed", detail),
            ChangeError::TooLong { .. } => Self::bad_request("too_long", detail),
            ChangeError::Outbox(error) => error.into(),
            ChangeError::Store(error) => error.into(),
        }
    }
}

const fn unknown_code(what: Resource) -> &'static str {
    match what {
        Resource::Project => "unknown_project",
        Resource::Environment | Resource::Settings => "unknown_environment",
        Resource::Flag | Resource::ProjectFlag => "unknown_flag",
        Resource::Override => "unknown_override",
        Resource::Fuse => "unknown_fuse",
        Resource::Segment => "unknown_segment",
        Resource::Layer => "unknown_layer",
        Resource::Holdout => "unknown_holdout",
        Resource::Token => "unknown_token",
    }
}

/// What stands against each part of an import, as if that part came alone.
pub fn conflict_errors(conflicts: Vec<Conflict>) -> Vec<(String, ApiError)> {
    conflicts.into_iter().map(|Conflict { name, reason }| (name, reason.into())).collect()
}

/// The same for programs and people.
pub fn conflicts_json(conflicts: &[(String, ApiError)]) -> Value {
    let told = conflicts.iter();
    told.map(|(name, error)| json!({ "name": name, "code": error.code, "reason": error.detail })).collect()
}

const fn environment_code(fault: &EnvironmentFault) -> &'static str {
    let what = match fault {
        EnvironmentFault::TooMany { what, .. }
        | EnvironmentFault::Duplicate { what, .. }
        | EnvironmentFault::Field { what, .. } => what,
    };
    match what.as_bytes() {
        b"segments" => "invalid_segment",
        b"layers" => "invalid_layer",
        _ => "invalid_holdout",
    }
}

impl From<OutboxError> for ApiError {
    fn from(error: OutboxError) -> Self {
        let detail = error.to_string();
        match error {
            OutboxError::Store(error) => error.into(),
            OutboxError::Sign(_) | OutboxError::Reserve { .. } => Self::bad_request("snapshot_limit", detail),
            OutboxError::UnknownEnvironment { .. } => Self::not_found("unknown_environment", detail),
            OutboxError::Forked { .. } => Self::new(StatusCode::CONFLICT, "restored_from_old_copy", detail),
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
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "keys_changing", detail)
            }
            error => Self::internal(&error),
        }
    }
}

impl From<NewestSnapshotError> for ApiError {
    fn from(error: NewestSnapshotError) -> Self {
        match error {
            NewestSnapshotError::Store(error) => error.into(),
            NewestSnapshotError::Nothing { .. } => Self::not_found("no_snapshot", error.to_string()),
            // Expired for want of a republication, or tampered with: an edge would not take it either.
            NewestSnapshotError::Refused(_) => {
                Self::new(StatusCode::CONFLICT, "snapshot_refused", error.to_string())
            }
            NewestSnapshotError::Roots(_) => Self::internal(&error),
        }
    }
}

impl From<PullError> for ApiError {
    fn from(error: PullError) -> Self {
        let detail = error.to_string();
        match error {
            PullError::UnknownReplica { .. } => Self::not_found("unknown_replica", detail),
            PullError::TooMany { .. } | PullError::Scope { .. } => Self::bad_request("bad_pull", detail),
            PullError::WrongTenant { .. } => Self::new(StatusCode::FORBIDDEN, "wrong_tenant", detail),
            PullError::Store(error) => error.into(),
            PullError::Sign(_) => Self::internal(&error),
        }
    }
}

impl From<ImportError> for ApiError {
    fn from(error: ImportError) -> Self {
        Self::bad_request("invalid_import", error.to_string())
    }
}

impl From<IngestError> for ApiError {
    fn from(error: IngestError) -> Self {
        let detail = error.to_string();
        match error {
            IngestError::WrongTenant { .. } => Self::new(StatusCode::FORBIDDEN, "wrong_tenant", detail),
            IngestError::BufferId { .. } | IngestError::BatchSeq { .. } => {
                Self::bad_request("bad_batch", detail)
            }
            IngestError::Panicked { .. } => Self::internal(&error),
            IngestError::Store(error) => error.into(),
        }
    }
}

impl From<getrandom::Error> for ApiError {
    fn from(error: getrandom::Error) -> Self {
        Self::internal(&error)
    }
}
