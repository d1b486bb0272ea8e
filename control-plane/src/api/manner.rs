//! How a change is to be made: for real or only rehearsed, and with which confirmation. One answer for all kinds of changes.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use flagfuse_shared::digest::Digest;
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Caller;
use super::{ApiState, applied_json};
use crate::change::{Change, Consent, rehearse};
use crate::error::ApiError;

/// Header with the confirmation that a refused request was answered with.
const CONFIRM_HEADER: &str = "x-flagfuse-confirm";

/// What came along with a change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) kind: Kind,
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
        let query = Query::<DryRun>::try_from_uri(&parts.uri);
        let DryRun { dry_run } = query.map_err(|e| ApiError::bad_request("bad_query", e.body_text()))?.0;
        let header = parts.headers.get(CONFIRM_HEADER);
        let confirmation = header.map(|header| Digest::parse(header.to_str().unwrap_or_default()));
        let confirmation = confirmation.transpose().map_err(|e| {
            ApiError::bad_request("bad_header", format!("{CONFIRM_HEADER} is no confirmation: {e}"))
        })?;
        Ok(Self { kind: if dry_run { Kind::DryRun } else { Kind::Real }, confirmation })
    }
}

impl ApiState {
    /// Makes a change of the caller, or tells what it would do.
    pub(super) async fn propose(
        &self,
        caller: &Caller,
        manner: Manner,
        change: Change,
    ) -> Result<Value, ApiError> {
        match manner.kind {
            Kind::Real => {
                let consent = Consent::Person(manner.confirmation);
                Ok(applied_json(self.change(caller, change, consent).await?))
            }
            Kind::DryRun => {
                let rehearsed =
                    rehearse(&self.store, &self.publisher, &caller.actor(), change, self.now()).await?;
                Ok(json!({
                    "dry_run": true,
                    "diff": rehearsed.decisions,
                    "confirmation_needed": rehearsed.confirmation.is_some(),
                    "confirmation": rehearsed.confirmation,
                }))
            }
        }
    }
}
