//! Every way a request can fail, with its status and stable code in one table. Never carries a secret to the client.

use flagfuse_shared::context::ContextError;
use flagfuse_shared::contract::beacon::BatchError;
use flagfuse_shared::ofrep::{ErrorCode, RequestError};
use flagfuse_shared::unleash::frontend::RequestFault;

/// Why a request got no ordinary answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EdgeError {
    /// No route has this path.
    #[error(
        "there is nothing at this path: the edge answers /ofrep/v1/evaluate/flags, /v1/events, /v1/stream and Unleash's \
         /api/frontend and /api/client"
    )]
    RouteNotFound,
    /// The control plane has this path. Where that is, strangers need not know.
    #[error(
        "this is the edge: projects, flags, fuses and tokens are the admin API's, at the control plane, with an admin token"
    )]
    AdminPath,
    /// The environment has no such toggle that Unleash's clients could decide.
    #[error("this environment has no feature of this name, or one that Unleash cannot express")]
    FeatureNotFound,
    /// The path exists, the method does not.
    #[error("this path answers {allowed} only")]
    MethodNotAllowed {
        /// The methods that work.
        allowed: &'static str,
    },
    /// No key at all.
    #[error("a client key is missing: send it as Authorization: Bearer or X-API-Key")]
    KeyMissing,
    /// A key of another form than `project:environment.secret`.
    #[error("the client key is malformed: expected is project:environment.secret")]
    KeyMalformed,
    /// A token of the control plane, by its look: nobody has asked whether it is valid.
    #[error(
        "this is {kind} token, which is for the control plane: the edge needs a client key, project:environment.secret, which \
         POST /v1/projects/PROJECT/environments/ENVIRONMENT/tokens makes there"
    )]
    KeyOfControlPlane {
        /// `an admin`, `a viewer`, `an ingest`.
        kind: &'static str,
    },
    /// A well-formed key that no environment knows; that it names one which does not exist is not told apart.
    #[error("the client key is not valid: it is unknown or revoked")]
    KeyUnknown,
    /// Nobody can tell yet whether the key is valid: no round is left, or nobody vouches for the replica.
    #[error("this edge cannot tell yet whether the client key is valid: try again")]
    KeyUnsure,
    /// The push credential is missing or wrong.
    #[error("the push token is missing or wrong")]
    PushTokenWrong,
    /// Forged, of another installation, or made with a secret that is no longer in use.
    #[error("the stream token is malformed or was not issued here")]
    StreamTokenWrong,
    /// Authentic, but old. Browsers' event streams never get this.
    #[error("the stream token has expired: evaluate all flags to get a new one")]
    StreamTokenExpired,
    /// The notifier has as many listeners as it takes.
    #[error("this environment has as many listeners as it takes here")]
    NotifierFull,
    /// The notifier object did not answer in time.
    #[error("the notifier did not answer")]
    NotifierUnavailable,
    /// Push without `Upgrade: websocket`.
    #[error("pushing needs a WebSocket: send Upgrade: websocket")]
    UpgradeMissing,
    /// More body than the limit.
    #[error("the body is larger than {len_max} bytes")]
    BodyTooLarge {
        /// Bytes allowed.
        len_max: usize,
    },
    /// The body ended before its announced end, or its chunks are malformed.
    #[error("the body broke off or its chunks are malformed")]
    BodyIncomplete,
    /// The body is no evaluation request.
    #[error(transparent)]
    Evaluation(#[from] RequestError),
    /// Query or body name no Unleash context.
    #[error(transparent)]
    Unleash(#[from] RequestFault),
    /// The attributes are outside their limits.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The body is no batch of events.
    #[error(transparent)]
    Events(#[from] BatchError),
    /// Not one of the events can be used. They are kept, and told one by one.
    #[error("{}: events[0]: {first}", all_of(*count))]
    EventsRefused {
        /// How many there were.
        count: usize,
        /// What is wrong with the first.
        first: String,
    },
    /// A header has a value that means nothing.
    #[error("header {name} must be {expected}")]
    HeaderMalformed {
        name: &'static str,
        /// The form it should have.
        expected: &'static str,
    },
    /// The path names something that cannot exist.
    #[error("{detail}")]
    PathMalformed { detail: String },
    /// No such replica in this deployment.
    #[error("no such replica: this edge has shards 0 to {} in {regions}", shards.saturating_sub(1))]
    ReplicaUnknown {
        regions: String,
        /// Replicas of each.
        shards: u16,
    },
    /// The event buffer is above its bound.
    #[error("too many events are waiting to be delivered")]
    Backlog,
    /// This edge has no snapshot of the environment yet.
    #[error("no snapshot of this environment has reached this edge yet")]
    NoSnapshot,
    /// The client has seen a newer snapshot than the one that can be had here in time.
    #[error("snapshot {wanted} has not reached this edge yet")]
    VersionNotHere {
        /// The version the client asked for.
        wanted: String,
    },
    /// The event buffer did not answer in time. Nothing was acknowledged.
    #[error("the event buffer did not answer; nothing was stored")]
    BufferUnavailable,
    /// The replica object did not answer in time.
    #[error("the snapshot replica did not answer")]
    ReplicaUnavailable,
    /// The deployment's configuration cannot be used.
    #[error("the edge is misconfigured: {detail}")]
    Misconfigured {
        /// Which setting, and why.
        detail: String,
    },
    /// The platform failed us: our bug or theirs, never the client's.
    #[error("internal error")]
    Internal,
}

/// All of so many.
fn all_of(count: usize) -> String {
    if count == 1 { "the event is refused".to_owned() } else { format!("all {count} events are refused") }
}

impl EdgeError {
    /// The status table: HTTP status, stable code, seconds to wait before a retry.
    pub const fn status(&self) -> (u16, &'static str, Option<u32>) {
        match self {
            Self::RouteNotFound => (404, "route_not_found", None),
            Self::AdminPath => (404, "control_plane_only", None),
            Self::FeatureNotFound => (404, "feature_not_found", None),
            Self::MethodNotAllowed { .. } => (405, "method_not_allowed", None),
            Self::KeyMissing => (401, "key_missing", None),
            Self::KeyMalformed => (401, "key_malformed", None),
            Self::KeyOfControlPlane { .. } => (401, "key_wrong_kind", None),
            Self::KeyUnknown => (401, "key_unknown", None),
            Self::KeyUnsure => (503, "key_unsure", Some(1)),
            Self::PushTokenWrong => (401, "push_token_wrong", None),
            Self::StreamTokenWrong => (403, "stream_token_wrong", None),
            Self::StreamTokenExpired => (401, "stream_token_expired", None),
            Self::NotifierFull => (503, "notifier_full", Some(30)),
            Self::NotifierUnavailable => (503, "notifier_unavailable", Some(5)),
            Self::UpgradeMissing => (426, "upgrade_missing", None),
            Self::BodyTooLarge { .. } => (413, "body_too_large", None),
            Self::BodyIncomplete => (400, "body_incomplete", None),
            Self::Evaluation(RequestError::TooLong) => (413, "body_too_large", None),
            Self::Evaluation(RequestError::NoContext { .. } | RequestError::Context(_)) => {
                (400, "context_malformed", None)
            }
            Self::Evaluation(
                RequestError::NotJson { .. } | RequestError::NotAnObject | RequestError::DuplicateKey { .. },
            ) => (400, "body_malformed", None),
            Self::Unleash(RequestFault::TooLong { .. }) => (413, "body_too_large", None),
            Self::Unleash(RequestFault::Shape { .. }) => (400, "body_malformed", None),
            Self::Unleash(RequestFault::TooManyFields { .. }) | Self::Context(_) => {
                (400, "context_malformed", None)
            }
            Self::Events(BatchError::TooMany { .. }) => (413, "too_many_events", None),
            Self::Events(BatchError::Shape { .. } | BatchError::UnknownFormat { .. }) => {
                (400, "body_malformed", None)
            }
            Self::EventsRefused { .. } => (400, "events_refused", None),
            Self::HeaderMalformed { .. } => (400, "header_malformed", None),
            Self::PathMalformed { .. } => (400, "path_malformed", None),
            Self::ReplicaUnknown { .. } => (404, "replica_unknown", None),
            Self::Backlog => (429, "backlog", Some(5)),
            Self::NoSnapshot => (503, "no_snapshot", Some(1)),
            Self::VersionNotHere { .. } => (503, "version_not_here", Some(1)),
            Self::BufferUnavailable => (503, "buffer_unavailable", Some(1)),
            Self::ReplicaUnavailable => (503, "replica_unavailable", Some(1)),
            Self::Misconfigured { .. } => (500, "misconfigured", None),
            Self::Internal => (500, "internal", None),
        }
    }

    /// OFREP's name for it.
    pub const fn ofrep_code(&self) -> ErrorCode {
        match self {
            Self::Evaluation(error) => error.code(),
            Self::Events(BatchError::Shape { .. } | BatchError::UnknownFormat { .. })
            | Self::PathMalformed { .. }
            | Self::BodyIncomplete => ErrorCode::ParseError,
            _ => ErrorCode::General,
        }
    }
}
