//! `POST /v1/explain`: why a flag answers as it does, from the newest signed snapshot, and what it would answer as a draft; of many
//! askers or all flags the answers alone. Records no exposure.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use flagfuse_inspect::diff::DiffError;
use flagfuse_inspect::explain::{BriefAnswer, DraftFault, ExplanationStep, Extent, Opened, answers, explain};
use flagfuse_shared::context::Context;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::evaluate::Question;
use flagfuse_shared::ids::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::ApiState;
use super::auth::{Somewhere, Viewer};
use super::body::{JsonBody, shaped};
use super::document::{Answers, Draft, schema};
use super::flags::read_wire;
use crate::error::{ApiError, Code};
use crate::publish::newest_snapshot;

/// Askers of one request.
const CONTEXT_COUNT_MAX: usize = 1_000;
/// Answers of one request: askers times flags.
const ANSWER_COUNT_MAX: usize = 20_000;

/// A question about one flag or all of them, by one asker or many.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    project: String,
    environment: String,
    /// All flags when absent.
    flag: Option<String>,
    /// Whom it is about, as OFREP has it; null for nobody.
    #[schema(value_type = Option<Object>)]
    #[serde(default)]
    context: Value,
    /// Many askers in the place of one: their answers come without the way to them.
    #[schema(value_type = Option<Vec<Object>>, min_items = 1, max_items = 1_000)]
    contexts: Option<Vec<Value>>,
    /// A flag as it would be put, answered beside what is published. Its key may be left out where `flag` names it.
    #[schema(value_type = Option<schema::FlagBody>)]
    draft: Option<Value>,
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

/// What one asker gets of one flag.
#[derive(Serialize, ToSchema)]
struct AskerAnswer {
    /// Position of the asker in `contexts`; 0 of the only one.
    context: usize,
    /// The flag; what follows is of what is published.
    flag: String,
    /// Null where the caller takes the default in its code.
    value: Value,
    /// Null where the caller takes the default in its code.
    #[schema(required)]
    variation: Option<String>,
    /// What led to it, in OpenFeature's words; null where there is no answer.
    #[schema(required)]
    reason: Option<&'static str>,
    /// Why there is no answer.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Of the draft, where one was sent.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    draft: Option<FlagAnswered>,
}

/// What is answered about a flag.
#[derive(Serialize, ToSchema)]
struct FlagAnswered {
    flag: String,
    /// Null where the caller takes the default in its code.
    value: Value,
    /// Null where the caller takes the default in its code.
    #[schema(required)]
    variation: Option<String>,
    /// What led to it, in OpenFeature's words; null where there is no answer.
    #[schema(required)]
    reason: Option<&'static str>,
    /// Why there is no answer.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<BriefAnswer> for FlagAnswered {
    fn from(BriefAnswer { flag, value, variation, reason, error }: BriefAnswer) -> Self {
        Self { flag, value, variation, reason, error }
    }
}

impl AskerAnswer {
    fn new(context: usize, published: FlagAnswered, draft: Option<FlagAnswered>) -> Self {
        let FlagAnswered { flag, value, variation, reason, error } = published;
        Self { context, flag, value, variation, reason, error, draft }
    }
}

fn object() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Object)
}

/// An object of any fields.
fn free(description: &str) -> ObjectBuilder {
    object()
        .additional_properties(Some(ObjectBuilder::new().schema_type(SchemaType::AnyValue)))
        .description(Some(description))
}

fn steps(description: &str) -> ArrayBuilder {
    let of = |kind: Type| ObjectBuilder::new().schema_type(kind);
    let step = object()
        .property("step", of(Type::String))
        .property("text", of(Type::String))
        .property("passed", of(Type::Boolean))
        .required("step")
        .required("text")
        .additional_properties(Some(ObjectBuilder::new().schema_type(SchemaType::AnyValue)));
    ArrayBuilder::new().items(step).description(Some(description))
}

impl PartialSchema for Explanation {
    fn schema() -> RefOr<Schema> {
        let of = |kind| ObjectBuilder::new().schema_type(kind);
        let nullable = SchemaType::from_iter([Type::Integer, Type::Null]);
        let answers = ArrayBuilder::new()
            .items(Ref::from_schema_name(AskerAnswer::name()))
            .description(Some("Of all askers and flags, where `contexts` were sent or no flag was named. The members around are the first of them."));
        let whole = object()
            .property("flag", of(Type::String.into()))
            .property("version", of(Type::String.into()))
            .property("now_ms", of(Type::Integer.into()))
            .property("chance", of(nullable))
            .property("status", of(Type::Integer.into()).description(Some("Of the answer at the edge.")))
            .property("resolution", free("The answer, as OFREP has it."))
            .property("outcome", free("Variation, reason, rule, arm, phase, or an error."))
            .property("steps", steps("Every comparison on the way to it."))
            .property("draft_outcome", free("The same of the draft, where one was sent."))
            .property("draft_steps", steps("Every comparison on the way to that of the draft."))
            .property("answers", answers);
        let names = ["flag", "version", "now_ms", "chance", "status", "resolution", "outcome", "steps"];
        let whole = names.into_iter().fold(whole, ObjectBuilder::required);
        Schema::Object(whole.build()).into()
    }
}

impl ToSchema for Explanation {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((AskerAnswer::name().into_owned(), AskerAnswer::schema()));
        AskerAnswer::schemas(schemas);
    }
}

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

/// A question that was read.
struct Asked {
    /// All flags when absent.
    flag: Option<String>,
    contexts: Vec<Context>,
    /// Whether the answers of all askers are told.
    is_bulk: bool,
    draft: Option<FlagWire>,
    at: UnixMillis,
    chance: u64,
}

impl Asked {
    fn read(query: Query, now: UnixMillis) -> Result<Self, ApiError> {
        let Query { flag, context, contexts, draft, now_ms, chance, .. } = query;
        let is_bulk = contexts.is_some() || flag.is_none();
        let contexts = match (contexts, context) {
            (None, Value::Null) => vec![Context::default()],
            (None, given) => vec![read_context(given, "")?],
            (Some(given), Value::Null) if (1..=CONTEXT_COUNT_MAX).contains(&given.len()) => {
                let read = |(at, given)| read_context(given, &format!("contexts[{at}]: "));
                given.into_iter().enumerate().map(read).collect::<Result<_, _>>()?
            }
            (Some(given), Value::Null) => {
                let detail =
                    format!("contexts is a list of {}, allowed is 1 to {CONTEXT_COUNT_MAX}", given.len());
                return Err(ApiError::of_field(Code::BadSchema, "contexts", detail));
            }
            (Some(_), _) => {
                let detail = "contexts are asked in the place of context: send one of the two";
                return Err(ApiError::of_field(Code::BadSchema, "contexts", detail));
            }
        };
        let draft = draft.map(|draft| read_draft(flag.as_deref(), draft)).transpose()?;
        Ok(Self { flag, contexts, is_bulk, draft, at: now_ms.unwrap_or(now), chance })
    }

    fn question<'c>(&self, context: &'c Context) -> Question<'c> {
        Question { random: self.chance, ..Question::new(context, self.at) }
    }

    /// Takes milliseconds for thousands of askers or flags.
    fn answer(&self, published: &Opened) -> Result<Explanation, ApiError> {
        let extent = if self.flag.is_some() { Extent::Draft } else { Extent::All };
        let draft = self.draft.clone().map(|draft| published.with_draft(draft, extent));
        let draft = draft.transpose().map_err(|fault| refused(&fault))?;
        let flags = if self.flag.is_some() { 1 } else { published.flag_count().max(1) };
        if flags * self.contexts.len() > ANSWER_COUNT_MAX {
            let detail = format!(
                "{} contexts of {flags} flags are {} answers, the limit is {ANSWER_COUNT_MAX}: name a flag, or send fewer \
                 contexts",
                self.contexts.len(),
                flags * self.contexts.len(),
            );
            return Err(ApiError::of_field(Code::BadSchema, "contexts", detail));
        }
        let first = || published.first_flag().map(ToString::to_string);
        let key = self.flag.clone().or_else(|| self.draft.as_ref().map(|draft| draft.key.clone()));
        let key = key.or_else(first).unwrap_or_default();
        let none = Context::default();
        let question = self.question(self.contexts.first().unwrap_or(&none));
        let told = explain(published, &key, question).to_json();
        let mut added = Map::new();
        if let Some(draft) = &draft {
            let draft = explain(draft, &key, question);
            let steps = draft.steps.iter().map(ExplanationStep::to_json).collect();
            added.insert("draft_steps".to_owned(), steps);
            added.insert("draft_outcome".to_owned(), Value::Object(draft.outcome));
        }
        if self.is_bulk {
            added.insert("answers".to_owned(), json!(self.answers(published, draft.as_ref())));
        }
        let Value::Object(told) = told else { return Ok(Explanation(told)) };
        Ok(Explanation(told.into_iter().chain(added).collect()))
    }

    fn answers(&self, published: &Opened, draft: Option<&Opened>) -> Vec<AskerAnswer> {
        let mut all = Vec::new();
        for (context, asker) in self.contexts.iter().enumerate() {
            let ask = |opened| answers(opened, self.flag.as_deref(), self.question(asker));
            let of_draft = draft.map(ask).unwrap_or_default();
            let mut of_draft: BTreeMap<_, _> =
                of_draft.into_iter().map(|answer| (answer.flag.clone(), answer)).collect();
            for answer in ask(published) {
                let draft = of_draft.remove(&answer.flag).map(FlagAnswered::from);
                all.push(AskerAnswer::new(context, answer.into(), draft));
            }
            // A flag that only the draft has: nothing is published of it.
            for (flag, answer) in of_draft {
                let published = answers(published, Some(&flag), self.question(asker));
                let published = published.into_iter().map(FlagAnswered::from);
                all.extend(published.map(|published| AskerAnswer::new(context, published, None)));
                if let Some(last) = all.last_mut() {
                    last.draft = Some(answer.into());
                }
            }
        }
        all
    }
}

fn read_context(given: Value, place: &str) -> Result<Context, ApiError> {
    Context::from_json(given).map_err(|error| ApiError::new(Code::InvalidContext, format!("{place}{error}")))
}

/// A draft from its body, which may leave the key out where the question names it.
fn read_draft(flag: Option<&str>, draft: Value) -> Result<FlagWire, ApiError> {
    match flag {
        Some(flag) => read_wire(flag, draft),
        None => shaped(Code::InvalidFlag, draft),
    }
}

fn refused(fault: &DraftFault) -> ApiError {
    let code = match fault {
        DraftFault::CohortIsManaged => Code::CohortIsManaged,
        DraftFault::Key(_) | DraftFault::Malformed(_) | DraftFault::Rehearsal(DiffError::Environment(_)) => {
            Code::InvalidFlag
        }
        DraftFault::Rehearsal(DiffError::Unsignable(_)) => Code::SnapshotLimit,
        DraftFault::Rehearsal(DiffError::Refused(_)) => return ApiError::internal(fault),
    };
    ApiError::new(code, format!("draft: {fault}"))
}

pub(super) async fn ask(
    Somewhere { caller, .. }: Somewhere<Viewer>,
    State(state): State<ApiState>,
    JsonBody(query): JsonBody<Query>,
) -> Result<Explained, ApiError> {
    let scope = state.environment(&caller, &query.project, &query.environment).await?.scope;
    let now = state.now();
    let asked = Asked::read(query, now)?;
    let keys = state.publisher.keys();
    let sealed = newest_snapshot::sealed(&mut *state.store.read().await?, keys, &scope).await?;
    let frames = Arc::clone(&state.open_frames);
    // Thousands of flags take milliseconds to verify, and thousands of answers more, which other requests do not wait for.
    let answered = spawn_blocking(move || asked.answer(&*frames.open(sealed, now)?)).await;
    Ok(Explained(Json(answered.map_err(|error| ApiError::internal(&error))??)))
}
