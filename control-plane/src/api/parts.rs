//! `…/segments`, `…/layers`, `…/holdout`: the parts that the flags of an environment share.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::ApiState;
use super::answer::{Changed, Tagged};
use super::auth::{Editor, InEnvironment, Viewer};
use super::body::{Params, PathParams, shaped};
use super::document::{self, schema};
use super::echo::{self, EchoBody, Shape, Shown};
use super::page::{ListTotal, Listed, Paging};
use super::submission::Submission;
use crate::change::{Change, PartWire, Tag};
use crate::error::{ApiError, Code};
use crate::store::Connection;
use crate::store::listing::Stand;
use crate::store::parts::{self, Part, PartRow};

/// A kind of parts.
pub(super) trait Kind: Shown + Sync {
    /// The kind in the database.
    const PART: Part;
    /// The code of what is no such part.
    const INVALID: Code;
    /// The code of one that is not there.
    const UNKNOWN: Code;
    /// What a path names it by.
    type Path: PartPath;
    /// One of them, as `GET` shows it.
    type Answer: Serialize + ToSchema + From<PartRow>;

    /// The part of a body.
    fn parse(body: Value) -> Result<PartWire, ApiError>;
}

/// What a path names a part by.
pub(super) trait PartPath: for<'de> Deserialize<'de> + IntoParams + Send {
    /// Its key; empty of the holdout.
    fn key(&self) -> &str;
}

/// A segment or a layer in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct KeyPath {
    /// Its key.
    #[param(min_length = 1, example = "beta")]
    key: String,
}

impl PartPath for KeyPath {
    fn key(&self) -> &str {
        &self.key
    }
}

/// There is one holdout.
#[derive(Debug, Deserialize)]
pub(super) struct NoPath {}

impl IntoParams for NoPath {
    fn into_params(
        _: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
    ) -> Vec<utoipa::openapi::path::Parameter> {
        Vec::new()
    }
}

impl PartPath for NoPath {
    fn key(&self) -> &'static str {
        ""
    }
}

macro_rules! kinds {
    ($($kind:ident $word:ident: $path:ty, $content:ty => $answer:ident of $value:ty, $invalid:ident, $unknown:ident;)*) => {
        $(
            pub(super) enum $kind {}

            impl Shown for $kind {
                const SHAPE: Shape = echo::part(stringify!($word), Code::$invalid);
                type Content = $content;
            }

            /// A part with its state.
            #[derive(Debug, Serialize, ToSchema)]
            pub(super) struct $answer {
                /// As it was written.
                #[schema(value_type = $value)]
                $word: Value,
                /// Rises with every write.
                revision: u64,
                /// Last write.
                #[schema(value_type = u64)]
                updated_ms: UnixMillis,
            }

            impl From<PartRow> for $answer {
                fn from(PartRow { body, revision, updated_ms }: PartRow) -> Self {
                    Self { $word: body, revision, updated_ms }
                }
            }

            impl Kind for $kind {
                const PART: Part = Part::$kind;
                const INVALID: Code = Code::$invalid;
                const UNKNOWN: Code = Code::$unknown;
                type Path = $path;
                type Answer = $answer;

                fn parse(body: Value) -> Result<PartWire, ApiError> {
                    Ok(PartWire::$kind(shaped(Self::INVALID, body)?))
                }
            }
        )*
    };
}

kinds! {
    Segment segment: KeyPath, schema::SegmentBody => SegmentAnswer of schema::Segment, InvalidSegment, UnknownSegment;
    Layer layer: KeyPath, schema::LayerBody => LayerAnswer of schema::Layer, InvalidLayer, UnknownLayer;
    Holdout holdout: NoPath, schema::Holdout => HoldoutAnswer of schema::Holdout, InvalidHoldout, UnknownHoldout;
}

/// Segments by key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SegmentList {
    segments: Vec<SegmentAnswer>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
    /// How many there are on all pages.
    total: ListTotal,
}

/// Layers by key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LayerList {
    layers: Vec<LayerAnswer>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
    /// How many there are on all pages.
    total: ListTotal,
}

/// The routes below an environment.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(document::get("/segments", list_segments, "Lists the segments"))
        .routes(document::get("/segments/{key}", read::<Segment>, "Reads a segment"))
        .routes(document::put("/segments/{key}", put::<Segment>, "Writes a segment"))
        .routes(document::delete("/segments/{key}", delete::<Segment>, "Deletes a segment"))
        .routes(document::get("/layers", list_layers, "Lists the layers"))
        .routes(document::get("/layers/{key}", read::<Layer>, "Reads a layer"))
        .routes(document::put("/layers/{key}", put::<Layer>, "Writes a layer"))
        .routes(document::delete("/layers/{key}", delete::<Layer>, "Deletes a layer"))
        .routes(document::get("/holdout", read::<Holdout>, "Reads the holdout"))
        .routes(document::put("/holdout", put::<Holdout>, "Writes the holdout"))
        .routes(document::delete("/holdout", delete::<Holdout>, "Deletes the holdout"))
}

async fn list_segments(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<Paging>,
) -> Result<Json<SegmentList>, ApiError> {
    let Listed { items: segments, next, total } = page::<Segment>(&at, &state, &paging).await?;
    Ok(Json(SegmentList { segments, next, total }))
}

async fn list_layers(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<Paging>,
) -> Result<Json<LayerList>, ApiError> {
    let Listed { items: layers, next, total } = page::<Layer>(&at, &state, &paging).await?;
    Ok(Json(LayerList { layers, next, total }))
}

async fn page<K: Kind>(
    at: &InEnvironment<Viewer>,
    state: &ApiState,
    paging: &Paging,
) -> Result<Listed<K::Answer>, ApiError> {
    let page = paging.page(K::PART.as_str())?;
    let mut conn = state.store.read().await?;
    let rows = parts::listed(&mut conn, at.scope(), K::PART, &page.listing()).await?;
    let found = parts::total(&mut conn, at.scope(), K::PART, &page.listing()).await?;
    let key = |row: &PartRow| row.body.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
    let stand = |row: &PartRow| Stand { at: row.updated_ms, key: key(row) };
    let Listed { items, next, total } = page.cut(rows, found, stand);
    Ok(Listed { items: items.into_iter().map(K::Answer::from).collect(), next, total })
}

async fn read<K: Kind>(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(path): PathParams<K::Path>,
) -> Result<Tagged<K::Answer>, ApiError> {
    let found = shown::<K>(&mut *state.store.read().await?, at.scope(), path.key()).await?;
    found.ok_or_else(|| unknown::<K>(path.key()))
}

/// A part as `GET` shows it; `None` when there is none.
pub(super) async fn shown<K: Kind>(
    conn: &mut Connection,
    scope: &Scope,
    key: &str,
) -> Result<Option<Tagged<K::Answer>>, ApiError> {
    let row = parts::part(conn, scope, K::PART, key).await?;
    Ok(row.map(|row| Tagged::new(Tag::revision(row.revision), row.into())))
}

fn unknown<K: Kind>(key: &str) -> ApiError {
    let detail = match K::PART {
        Part::Segment | Part::Layer => format!("{} {key:?} does not exist", K::PART.as_str()),
        Part::Holdout => "the environment has no holdout".to_owned(),
    };
    ApiError::new(K::UNKNOWN, detail)
}

async fn put<K: Kind>(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(path): PathParams<K::Path>,
    EchoBody { echo, .. }: EchoBody<K>,
) -> Result<Changed, ApiError> {
    let part = Box::new(parse::<K>(path.key(), echo.content)?);
    let change = Change::PutPart { scope: at.scope().clone(), part };
    state.propose(&at.caller, submission.read_at(echo.revision), change).await
}

/// The key may be left out of the body.
fn parse<K: Kind>(key: &str, body: Value) -> Result<PartWire, ApiError> {
    // A map of JSON's own would take `null` for an empty one.
    let fields: BTreeMap<String, Value> = shaped(Code::BadSchema, body)?;
    let mut fields = Map::from_iter(fields);
    if let Part::Segment | Part::Layer = K::PART {
        let named = fields.entry("key").or_insert_with(|| Value::from(key));
        if named.as_str() != Some(key) {
            let detail = format!("key in the body is {named}, in the path {key:?}");
            return Err(ApiError::new(K::INVALID, detail));
        }
    }
    K::parse(Value::Object(fields))
}

async fn delete<K: Kind>(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(path): PathParams<K::Path>,
) -> Result<Changed, ApiError> {
    let (scope, key) = (at.scope().clone(), path.key().to_owned());
    state.propose(&at.caller, submission, Change::DeletePart { scope, part: K::PART, key }).await
}
