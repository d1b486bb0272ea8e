//! `POST …/import`: flags of another system, taken over in one change or not at all.

use axum::extract::State;
use flagfuse_importers::{Note, Refused};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType};
use utoipa::openapi::{Content, RefOr, Required};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::answer::Changed;
use super::auth::{Editor, InEnvironment};
use super::body::{BODY_FAILURES, Params, RawBody};
use super::document::{Draft, Takes, schema};
use super::submission::{Mode, Submission};
use crate::change::{Change, ChangeError, Existing, Import};
use crate::error::{ApiError, ToldConflict, conflict_errors, told_conflicts};
use flagfuse_importers::{Format, importer};

/// What is imported, and how.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    /// Whose format it is.
    #[param(inline, value_type = FormatWord)]
    format: Format,
    /// Which environment of the document counts, where it has several.
    from_environment: Option<String>,
    /// What `Submission` reads is known here too.
    #[param(ignore)]
    #[serde(default)]
    dry_run: bool,
    /// True: keys that are there already are replaced.
    #[serde(default)]
    replace: bool,
}

/// Another system's way to write flags down.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "a schema of what `Format` reads")]
pub(super) enum FormatWord {
    Unleash,
    Flagd,
    LaunchDarkly,
}

/// Another system's document.
pub(super) struct Document(RawBody);

impl<S: Send + Sync> axum::extract::FromRequest<S> for Document {
    type Rejection = ApiError;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, ApiError> {
        RawBody::from_request(request, state).await.map(Self)
    }
}

impl Takes for Document {
    fn describe(draft: &mut Draft) {
        let any = || {
            let any = ObjectBuilder::new().schema_type(SchemaType::AnyValue).build();
            Content::new(Some(RefOr::T(Schema::Object(any))))
        };
        let said = "The other system's document; of flagd, YAML will do too.";
        let body = RequestBodyBuilder::new().description(Some(said)).required(Some(Required::True));
        draft.body(body.content("application/json", any()).content("application/yaml", any()).build());
        draft.fails(&BODY_FAILURES);
    }
}

/// What became of a document.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ImportAnswer {
    /// Whether nothing was kept.
    dry_run: bool,
    /// The diff of a rehearsal that has conflicts: nothing.
    #[schema(ignore)]
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<[Value; 0]>,
    /// What stands against it; always empty when it was made.
    #[schema(value_type = Vec<schema::Conflict>)]
    conflicts: Vec<ToldConflict>,
    /// Keys of the flags that were read.
    flags: Vec<String>,
    /// Keys of the segments that were read.
    segments: Vec<String>,
    /// What was not taken over.
    refused: Vec<RefusedPart>,
    /// What was taken over otherwise than it was written.
    notes: Vec<NotedPart>,
}

/// A part of a document that was not taken over.
#[derive(Debug, Serialize, ToSchema)]
struct RefusedPart {
    name: String,
    reason: String,
}

/// A part of a document that was taken over otherwise than it was written.
#[derive(Debug, Serialize, ToSchema)]
struct NotedPart {
    name: String,
    note: String,
}

pub(super) async fn import(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    Params(how): Params<How>,
    Document(RawBody(body)): Document,
) -> Result<Changed<ImportAnswer>, ApiError> {
    let from = how.from_environment;
    // Some megabytes of JSON: on a thread that may be busy for a while.
    let read = tokio::task::spawn_blocking(move || importer(how.format)(&body, from.as_deref()));
    let imported = read.await.map_err(|error| ApiError::internal(&error))??;
    let mut answer = ImportAnswer {
        dry_run: how.dry_run,
        diff: None,
        conflicts: Vec::new(),
        flags: imported.flags.iter().map(|wire| wire.key.clone()).collect(),
        segments: imported.shared.segments.iter().map(|wire| wire.key.clone()).collect(),
        refused: imported.refused.iter().map(RefusedPart::from).collect(),
        notes: imported.notes.iter().map(NotedPart::from).collect(),
    };
    let existing = if how.replace { Existing::Replace } else { Existing::Refuse };
    let import = Import { format: how.format, imported, existing };
    let change = Change::Import { scope: at.scope().clone(), import: Box::new(import) };
    let is_rehearsal = submission.mode == Mode::DryRun;
    let changed = match state.try_propose(&at.caller, submission, change).await {
        Err(ChangeError::Conflicts { conflicts }) if is_rehearsal => {
            answer.conflicts = told_conflicts(&conflict_errors(conflicts));
            answer.diff = Some([]);
            Changed::refused()
        }
        Ok(changed) => changed,
        Err(error) => return Err(state.refusal(&at.caller, error).await),
    };
    Ok(changed.with(&answer))
}

impl From<&Note> for NotedPart {
    fn from(noted: &Note) -> Self {
        Self { name: noted.name.clone(), note: noted.note.clone() }
    }
}

impl From<&Refused> for RefusedPart {
    fn from(refused: &Refused) -> Self {
        Self { name: refused.name.clone(), reason: refused.reason.clone() }
    }
}
