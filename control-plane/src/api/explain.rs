//! `POST /v1/explain`: why a flag answers as it does, from the newest signed snapshot. Records no exposure.

use axum::Json;
use axum::extract::State;
use flagfuse_inspect::explain::explain;
use flagfuse_shared::context::Context;
use flagfuse_shared::evaluate::Question;
use flagfuse_shared::ids::UnixMillis;
use serde::Deserialize;
use serde_json::Value;

use super::ApiState;
use super::auth::Viewer;
use super::body::JsonBody;
use crate::error::{ApiError, Code};
use crate::publish::newest_snapshot;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    project: String,
    environment: String,
    flag: String,
    #[serde(default)]
    context: Value,
    /// The time that schedules are compared with; the clock's when absent.
    now_ms: Option<UnixMillis>,
    /// The lot, where a flag draws one.
    #[serde(default)]
    chance: u64,
    #[serde(default)]
    #[expect(dead_code, reason = "there is one choice: the field is there to be refused when it is another")]
    version: Version,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum Version {
    #[default]
    Published,
}

pub(super) async fn ask(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    JsonBody(asked): JsonBody<Asked>,
) -> Result<Json<Value>, ApiError> {
    let scope = state.environment(&caller, &asked.project, &asked.environment).await?.scope;
    let context = match asked.context {
        Value::Null => Context::default(),
        given => Context::from_json(given)
            .map_err(|error| ApiError::new(Code::InvalidContext, error.to_string()))?,
    };
    let now = state.now();
    let keys = state.publisher.keys();
    let opened = newest_snapshot::opened(&mut *state.store.read().await?, keys, &scope, now).await?;
    let question = Question { random: asked.chance, ..Question::new(&context, asked.now_ms.unwrap_or(now)) };
    Ok(Json(explain(&opened, &asked.flag, question).to_json()))
}
