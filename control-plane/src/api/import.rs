//! `POST …/import`: flags of another system, taken over in one change or not at all.

use axum::extract::State;
use flagfuse_importers::{Note, Refused};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ApiState;
use super::answer::Changed;
use super::auth::Admin;
use super::body::{Params, PathParams, RawBody};
use super::manner::{Kind, Manner};
use crate::change::{Change, ChangeError, Existing, Import};
use crate::error::{ApiError, conflict_errors, conflicts_json};
use flagfuse_importers::{Format, importer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    format: Format,
    /// Which environment of the document counts, where it has several.
    from_environment: Option<String>,
    /// Everything is checked and answered, nothing kept; what `Manner` reads is known here too.
    #[serde(default)]
    dry_run: bool,
    /// Keys that are there already are replaced.
    #[serde(default)]
    replace: bool,
}

pub(super) async fn import(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams((project, environment)): PathParams<(String, String)>,
    Params(how): Params<How>,
    RawBody(body): RawBody,
) -> Result<Changed, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let from = how.from_environment;
    // Some megabytes of JSON: on a thread that may be busy for a while.
    let read = tokio::task::spawn_blocking(move || importer(how.format)(&body, from.as_deref()));
    let imported = read.await.map_err(|error| ApiError::internal(&error))??;
    let keys = |part: &[String]| part.iter().map(|key| Value::from(key.as_str())).collect::<Vec<_>>();
    let flags: Vec<String> = imported.flags.iter().map(|wire| wire.key.clone()).collect();
    let segments: Vec<String> = imported.shared.segments.iter().map(|wire| wire.key.clone()).collect();
    let refused: Vec<Value> = imported.refused.iter().map(refused_json).collect();
    let notes: Vec<Value> = imported.notes.iter().map(note_json).collect();
    let existing = if how.replace { Existing::Replace } else { Existing::Refuse };
    let import = Import { format: how.format, imported, existing };
    let change = Change::Import { scope, import: Box::new(import) };
    let is_rehearsal = manner.kind == Kind::DryRun;
    let answer = match state.try_propose(&caller, manner, change).await {
        Err(ChangeError::Conflicts { conflicts }) if is_rehearsal => {
            let conflicts = conflicts_json(&conflict_errors(conflicts));
            Changed::rehearsed(Map::new()).with("diff", json!([])).with("conflicts", conflicts)
        }
        done => done?.with("conflicts", json!([])),
    };
    let answer = answer.with("dry_run", how.dry_run).with("flags", keys(&flags));
    Ok(answer.with("segments", keys(&segments)).with("refused", refused).with("notes", notes))
}

fn note_json(noted: &Note) -> Value {
    json!({ "name": noted.name, "note": noted.note })
}

fn refused_json(refused: &Refused) -> Value {
    json!({ "name": refused.name, "reason": refused.reason })
}
