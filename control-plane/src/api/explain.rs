//! `POST /v1/explain`: why a flag answers as it does, from the newest signed snapshot. Records no exposure.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use flagfuse_inspect::explain::explain;
use flagfuse_shared::context::Context;
use flagfuse_shared::evaluate::Question;
use flagfuse_shared::ids::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use super::ApiState;
use super::auth::{Somewhere, Viewer};
use super::body::JsonBody;
use super::document::{Answers, Draft};
use crate::error::{ApiError, Code};
use crate::publish::newest_snapshot;

/// A question about one flag.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    project: String,
    environment: String,
    flag: String,
    /// Whom it is about, as OFREP has it; null for nobody.
    #[schema(value_type = Option<Object>)]
    #[serde(default)]
    context: Value,
    /// The time that schedules are compared with; the clock's when absent.
    #[schema(value_type = Option<u64>, format = "uint64")]
    now_ms: Option<UnixMillis>,
    /// The random number, where a flag asks for one.
    #[schema(format = "uint64")]
    #[serde(default)]
    chance: u64,
    /// Which snapshot answers.
    #[serde(default)]
    #[expect(dead_code, reason = "there is one choice: the field is there to be refused when it is another")]
    version: Version,
}

/// Which snapshot answers.
#[derive(Deserialize, Default, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Version {
    #[default]
    Published,
}

/// The answer, and every comparison on the way to it.
#[derive(Serialize)]
pub(super) struct Explanation(Value);

impl PartialSchema for Explanation {
    fn schema() -> RefOr<Schema> {
        let of = |kind| ObjectBuilder::new().schema_type(kind);
        let nullable = SchemaType::from_iter([Type::Integer, Type::Null]);
        let steps = utoipa::openapi::schema::ArrayBuilder::new().items(
            of(Type::Object.into())
                .property("step", of(Type::String.into()))
                .property("text", of(Type::String.into()))
                .property("passed", of(Type::Boolean.into()))
                .required("step")
                .required("text")
                .additional_properties(Some(of(SchemaType::AnyValue))),
        );
        let free = || of(Type::Object.into()).additional_properties(Some(of(SchemaType::AnyValue)));
        let whole = of(Type::Object.into())
            .property("flag", of(Type::String.into()))
            .property("version", of(Type::String.into()))
            .property("now_ms", of(Type::Integer.into()))
            .property("chance", of(nullable))
            .property("status", of(Type::Integer.into()).description(Some("Of the answer at the edge.")))
            .property("resolution", free().description(Some("The answer, as OFREP has it.")))
            .property(
                "outcome",
                free().description(Some("Variation, reason, rule, arm, phase, or an error.")),
            )
            .property("steps", steps);
        let names = ["flag", "version", "now_ms", "chance", "status", "resolution", "outcome", "steps"];
        let whole = names.into_iter().fold(whole, ObjectBuilder::required);
        Schema::Object(whole.build()).into()
    }
}

impl ToSchema for Explanation {}

/// An answer about an environment that the body names.
pub(super) struct Explained(Json<Explanation>);

impl axum::response::IntoResponse for Explained {
    fn into_response(self) -> axum::response::Response {
        self.0.into_response()
    }
}

impl Answers for Explained {
    fn describe(draft: &mut Draft) {
        Json::<Explanation>::describe(draft);
        draft.fails(&[StatusCode::NOT_FOUND, StatusCode::CONFLICT]);
    }
}

pub(super) async fn ask(
    Somewhere { caller, .. }: Somewhere<Viewer>,
    State(state): State<ApiState>,
    JsonBody(query): JsonBody<Query>,
) -> Result<Explained, ApiError> {
    let scope = state.environment(&caller, &query.project, &query.environment).await?.scope;
    let context = match query.context {
        Value::Null => Context::default(),
        given => Context::from_json(given)
            .map_err(|error| ApiError::new(Code::InvalidContext, error.to_string()))?,
    };
    let now = state.now();
    let keys = state.publisher.keys();
    let opened = newest_snapshot::opened(&mut *state.store.read().await?, keys, &scope, now).await?;
    let question = Question { random: query.chance, ..Question::new(&context, query.now_ms.unwrap_or(now)) };
    Ok(Explained(Json(Explanation(explain(&opened, &query.flag, question).to_json()))))
}
