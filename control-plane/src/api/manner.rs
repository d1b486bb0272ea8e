//! How a change is to be made: for real or only rehearsed, of which state, and with which confirmation. One answer for
//! all kinds of changes.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use flagfuse_shared::digest::Digest;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::answer::Changed;
use super::auth::Caller;
use super::body::{Seen, query};
use crate::change::{ChangeError, Consent, Fuses, Preconditions, Proposal, Terms, rehearse};
use crate::error::{ApiError, Code};

/// Header with the confirmation that a refused request was answered with.
const CONFIRM_HEADER: &str = "x-flagfuse-confirm";

/// What came along with a change.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    pub(super) kind: Kind,
    pub(super) seen: Preconditions,
    confirmation: Option<Digest>,
}

/// Whether anything is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Real,
    DryRun,
}

#[derive(Deserialize)]
struct DryRun {
    #[serde(default)]
    dry_run: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Manner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Seen(seen) = Seen::of_headers(parts)?;
        let DryRun { dry_run } = query(&parts.uri)?;
        let header = parts.headers.get(CONFIRM_HEADER);
        let confirmation = header.map(|header| Digest::parse(header.to_str().unwrap_or_default()));
        let confirmation = confirmation.transpose().map_err(|e| {
            ApiError::new(Code::BadHeader, format!("{CONFIRM_HEADER} is not a confirmation: {e}"))
        })?;
        Ok(Self { kind: if dry_run { Kind::DryRun } else { Kind::Real }, seen, confirmation })
    }
}

impl Manner {
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

#[derive(Deserialize)]
struct WithFuseQuery {
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

impl ApiState {
    /// Makes a change of the caller, or tells what it would do.
    pub(super) async fn propose(
        &self,
        caller: &Caller,
        manner: Manner,
        change: impl Into<Proposal> + Send,
    ) -> Result<Changed, ApiError> {
        Ok(self.try_propose(caller, manner, change).await?)
    }

    /// The same for whoever makes something of a refusal.
    pub(super) async fn try_propose(
        &self,
        caller: &Caller,
        manner: Manner,
        change: impl Into<Proposal> + Send,
    ) -> Result<Changed, ChangeError> {
        let Manner { kind, seen: preconditions, confirmation } = manner;
        if kind == Kind::Real {
            let terms = Terms { consent: Consent::Person(confirmation), preconditions };
            return Ok(self.change(caller, change, terms).await?.into());
        }
        let (store, publisher, now) = (&self.store, &self.publisher, self.now());
        let rehearsed =
            rehearse(store, publisher, &caller.actor(), change.into(), preconditions, now).await?;
        let mut body = rehearsed.notes;
        let fields = [
            ("dry_run", json!(true)),
            ("diff", json!(rehearsed.decisions)),
            ("confirmation_needed", json!(rehearsed.confirmation.is_some())),
            ("confirmation", json!(rehearsed.confirmation)),
        ];
        body.extend(fields.map(|(name, value)| (name.to_owned(), value)));
        body.extend(rehearsed.lost.map(|lost| ("lost".to_owned(), lost)));
        Ok(Changed::rehearsed(body))
    }
}
