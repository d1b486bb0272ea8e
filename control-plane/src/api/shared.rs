//! `…/segments`, `…/layers`, `…/holdout`: what the flags of an environment share.

use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Json, Router};
use flagfuse_shared::ids::Scope;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ApiState;
use super::answer::{Changed, tagged};
use super::auth::{Admin, Caller, Viewer};
use super::body::{JsonBody, PathParams, shaped};
use super::echo::{self, Echo};
use super::manner::Manner;
use crate::change::{Change, PartWire, Tag};
use crate::error::{ApiError, Code};
use crate::store::parts::{self, Part, PartRow};

#[derive(Deserialize)]
pub(super) struct PartPath {
    project: String,
    environment: String,
    /// Not in the path of the holdout.
    #[serde(default)]
    key: String,
}

impl PartPath {
    async fn scope(&self, state: &ApiState, caller: &Caller) -> Result<Scope, ApiError> {
        Ok(state.environment(caller, &self.project, &self.environment).await?.scope)
    }
}

/// The routes below an environment.
pub(super) fn routes() -> Router<ApiState> {
    let listed = |list_path: &str, path: &str, part: Part| {
        let router = Router::new().route(list_path, get(list));
        router.route(path, get(read).put(put).delete(delete)).layer(Extension(part))
    };
    let holdout = Router::new().route("/holdout", get(read).put(put).delete(delete));
    listed("/segments", "/segments/{key}", Part::Segment)
        .merge(listed("/layers", "/layers/{key}", Part::Layer))
        .merge(holdout.layer(Extension(Part::Holdout)))
}

fn part_json(part: Part, row: &PartRow) -> Value {
    json!({ part.as_str(): row.body, "revision": row.revision, "updated_ms": row.updated_ms })
}

async fn list(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    Extension(part): Extension<Part>,
    PathParams(path): PathParams<PartPath>,
) -> Result<Json<Value>, ApiError> {
    let scope = path.scope(&state, &caller).await?;
    let rows = parts::parts(&mut *state.store.read().await?, &scope, part).await?;
    let rows = rows.iter().map(|row| part_json(part, row)).collect::<Vec<_>>();
    Ok(Json(json!({ format!("{}s", part.as_str()): rows })))
}

async fn read(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    Extension(part): Extension<Part>,
    PathParams(path): PathParams<PartPath>,
) -> Result<Response, ApiError> {
    let scope = path.scope(&state, &caller).await?;
    let row = parts::part(&mut *state.store.read().await?, &scope, part, &path.key).await?;
    let row = row.ok_or_else(|| unknown(part, &path.key))?;
    Ok(tagged(&Tag::revision(row.revision), part_json(part, &row)))
}

fn unknown(part: Part, key: &str) -> ApiError {
    match part {
        Part::Segment => ApiError::new(Code::UnknownSegment, format!("segment {key:?} does not exist")),
        Part::Layer => ApiError::new(Code::UnknownLayer, format!("layer {key:?} does not exist")),
        Part::Holdout => ApiError::new(Code::UnknownHoldout, "the environment has no holdout"),
    }
}

async fn put(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    Extension(part): Extension<Part>,
    PathParams(path): PathParams<PartPath>,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Result<Changed, ApiError> {
    let scope = path.scope(&state, &caller).await?;
    let echo = Echo::read(echo::part(part.as_str(), code(part)), Value::Object(body))?;
    let part = Box::new(parse(part, &path.key, echo.content)?);
    state.propose(&caller, manner.read_at(echo.revision), Change::PutPart { scope, part }).await
}

/// What a body of that kind is refused with.
const fn code(part: Part) -> Code {
    match part {
        Part::Segment => Code::InvalidSegment,
        Part::Layer => Code::InvalidLayer,
        Part::Holdout => Code::InvalidHoldout,
    }
}

/// The key may be left out of the body.
fn parse(part: Part, key: &str, mut body: Value) -> Result<PartWire, ApiError> {
    let code = code(part);
    if let (Part::Segment | Part::Layer, Some(fields)) = (part, body.as_object_mut()) {
        let named = fields.entry("key").or_insert_with(|| Value::from(key));
        if named.as_str() != Some(key) {
            let detail = format!("key in the body is {named}, in the path {key:?}");
            return Err(ApiError::new(code, detail));
        }
    }
    Ok(match part {
        Part::Segment => PartWire::Segment(shaped(code, body)?),
        Part::Layer => PartWire::Layer(shaped(code, body)?),
        Part::Holdout => PartWire::Holdout(shaped(code, body)?),
    })
}

async fn delete(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    Extension(part): Extension<Part>,
    PathParams(path): PathParams<PartPath>,
) -> Result<Changed, ApiError> {
    let scope = path.scope(&state, &caller).await?;
    let change = Change::DeletePart { scope, part, key: path.key };
    state.propose(&caller, manner, change).await
}
