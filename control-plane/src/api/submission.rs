//! How a change is submitted: for real or only rehearsed, of which state, and with which confirmation. One answer for all
//! kinds of changes.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use flagfuse_shared::digest::Digest;
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Required, Schema};

use super::ApiState;
use super::answer::Changed;
use super::auth::Caller;
use super::body::{Params, Seen, query};
use super::document::{Draft, Takes};
use crate::change::{ChangeError, Consent, Fuses, Preconditions, Proposal, Terms, rehearse};
use crate::error::{ApiError, Code};

/// Header with the confirmation that a refused request was answered with.
const CONFIRM_HEADER: &str = "x-flagfuse-confirm";

/// What came along with a change.
#[derive(Debug, Clone)]
pub(super) struct Submission {
    pub(super) mode: Mode,
    pub(super) seen: Preconditions,
    confirmation: Option<Digest>,
}

/// Whether anything is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Real,
    DryRun,
    /// Nothing is kept, and nobody has to say what was seen: it is no change that is tried.
    Question,
}

#[derive(Deserialize, IntoParams)]
struct DryRun {
    /// True: everything is checked and answered, and nothing is kept. With `Prefer: handling=lenient` a refusal comes with 200.
    #[serde(default)]
    dry_run: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Submission {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Seen(seen) = Seen::of_headers(parts)?;
        let DryRun { dry_run } = query(&parts.uri)?;
        let header = parts.headers.get(CONFIRM_HEADER);
        let confirmation = header.map(|header| Digest::parse(header.to_str().unwrap_or_default()));
        let confirmation = confirmation.transpose().map_err(|e| {
            ApiError::new(Code::BadHeader, format!("{CONFIRM_HEADER} is not a confirmation: {e}"))
        })?;
        Ok(Self { mode: if dry_run { Mode::DryRun } else { Mode::Real }, seen, confirmation })
    }
}

impl Submission {
    /// Of a change that is only looked at, whatever its sender has seen.
    pub(super) fn question() -> Self {
        Self { mode: Mode::Question, seen: Preconditions::default(), confirmation: None }
    }

    /// The same for a body that says at which revision it was read.
    pub(super) fn read_at(self, revision: Option<u64>) -> Self {
        Self { seen: self.seen.read_at(revision), ..self }
    }

    /// The same with this content of a flag or an override, which may not say whether the flag is to be on.
    pub(super) fn with_body(self, content: &Value) -> Self {
        let is_said = content.get("enabled").is_some();
        if is_said { self } else { Self { seen: self.seen.without_enabled(), ..self } }
    }
}

/// `?with_fuse=true`: fuses may go with their flags.
pub(super) struct WithFuse(pub(super) Fuses);

#[derive(Deserialize, IntoParams)]
struct WithFuseQuery {
    /// True: a fuse goes with its flag, and all that it has counted.
    #[serde(default)]
    with_fuse: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for WithFuse {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let WithFuseQuery { with_fuse } = query(&parts.uri)?;
        Ok(Self(if with_fuse { Fuses::Deleted } else { Fuses::Kept }))
    }
}

impl Takes for Submission {
    fn describe(draft: &mut Draft) {
        draft.is_rehearsable = true;
        Params::<DryRun>::describe(draft);
        let digest = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9a-f]{64}$")).build();
        let confirmation = ParameterBuilder::new()
            .name(CONFIRM_HEADER)
            .parameter_in(ParameterIn::Header)
            .description(Some("The `confirmation` that a refused request was answered with."))
            .required(Required::False)
            .schema(Some(Schema::Object(digest)));
        draft.parameter(confirmation.build());
        Seen::describe(draft);
    }
}

impl Takes for WithFuse {
    fn describe(draft: &mut Draft) {
        Params::<WithFuseQuery>::describe(draft);
    }
}

impl ApiState {
    /// Makes a change of the caller, or tells what it would do.
    pub(super) async fn propose(
        &self,
        caller: &Caller,
        submission: Submission,
        change: impl Into<Proposal> + Send,
    ) -> Result<Changed, ApiError> {
        match self.try_propose(caller, submission, change).await {
            Ok(changed) => Ok(changed),
            Err(error) => Err(self.refusal(caller, error).await),
        }
    }

    /// The same for whoever makes something of a refusal.
    pub(super) async fn try_propose(
        &self,
        caller: &Caller,
        submission: Submission,
        change: impl Into<Proposal> + Send,
    ) -> Result<Changed, ChangeError> {
        let Submission { mode, seen, confirmation } = submission;
        let preconditions = if mode == Mode::Question { seen } else { caller.held_to(seen) };
        if mode == Mode::Real {
            let consent = Consent::Person(confirmation);
            let terms = Terms { consent, preconditions, ..Terms::default() };
            return Ok(self.change(caller, change, terms).await?.into());
        }
        let (store, publisher, now) = (&self.store, &self.publisher, self.now());
        let rehearsed =
            rehearse(store, publisher, &caller.actor(), change.into(), preconditions, now).await?;
        Ok(rehearsed.into())
    }
}
