//! `/v1/feed`: what happens, as an event stream (SSE), to whoever may read there. Who was away for a moment names the last event that it
//! heard and is told what it missed; who was away for longer, or takes too slowly, is told to ask for everything anew.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use flagfuse_shared::ids::UnixMillis;
use futures_util::stream;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Content, Required, Schema};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::auth::{Caller, Somewhere, Viewer};
use super::body::Params;
use super::caller;
use super::document::{Answers, Draft, Takes};
use crate::clock::monotonic;
use crate::error::{ApiError, Code};
use crate::feed::{Full, LISTENER_COUNT_MAX, Listener, Missed, Next, Told};
use crate::model::rights::Right;

/// Time between two signs of life, at which the caller's rights are read anew.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// For how long a browser waits before it comes back.
const RETRY_MS: u64 = 1_000;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Bytes of an id.
const ID_LEN_MAX: usize = 64;
/// Longest time that may be asked for.
const LISTEN_S_MAX: u64 = 86_400;

/// For how long.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct FeedParams {
    /// Seconds after which the stream ends; it does not end by itself when absent. With 0 what was missed is told and nothing else.
    #[param(maximum = 86_400)]
    listen_s: Option<u64>,
}

/// The last event that was heard, and by what the caller is known again.
pub(super) struct Heard {
    last_id: Option<String>,
    parts: Parts,
}

impl FromRequestParts<ApiState> for Heard {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, ApiError> {
        let bad = |detail: String| ApiError::new(Code::BadHeader, detail);
        let last_id = match parts.headers.get(LAST_EVENT_ID) {
            None => None,
            Some(value) => {
                let text = value.to_str().map_err(|_| bad("last-event-id is not ASCII".to_owned()))?;
                if text.len() > ID_LEN_MAX {
                    let len = text.len();
                    return Err(bad(format!("last-event-id has {len} bytes, allowed is up to {ID_LEN_MAX}")));
                }
                Some(text.to_owned()).filter(|text| !text.is_empty())
            }
        };
        Ok(Self { last_id, parts: parts.clone() })
    }
}

impl Takes for Heard {
    fn describe(draft: &mut Draft) {
        let said = "The `id` of the last event that was heard: what came since is told first.";
        let schema = ObjectBuilder::new().schema_type(Type::String).max_length(Some(ID_LEN_MAX)).build();
        let parameter = ParameterBuilder::new().name("last-event-id").parameter_in(ParameterIn::Header);
        let parameter = parameter.description(Some(said)).required(Required::False);
        draft.parameter(parameter.schema(Some(Schema::Object(schema))).build());
        draft.fails(&[StatusCode::BAD_REQUEST, StatusCode::TOO_MANY_REQUESTS]);
    }
}

/// `change`: an entry of the audit trail. Those that concern no project only reach who may read the whole tenant.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema: the feed writes it")]
struct FeedChange {
    audit_id: i64,
    #[schema(required)]
    project: Option<String>,
    #[schema(required)]
    environment: Option<String>,
    at_ms: u64,
    actor: String,
    action: String,
    subject: String,
    /// `epoch.seq` of the version that carries it; null when there is none.
    #[schema(required)]
    version: Option<String>,
}

/// `receipt`: a replica has stored a version.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema: the feed writes it")]
struct FeedReceipt {
    project: String,
    environment: String,
    /// `epoch.seq`.
    version: String,
    region: String,
    shard: u16,
    /// When it was stored, by the replica's clock.
    stored_ms: u64,
    /// When its receipt arrived.
    acked_ms: u64,
}

/// `verdict`: a fuse was looked at. Where there are hundreds a second, not all are told.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema: the feed writes it")]
struct FeedVerdict {
    project: String,
    environment: String,
    verdict_id: i64,
    flag: String,
    decision: String,
    reason: String,
    at_ms: u64,
}

/// `transition`: a notice, such as `fuse.open`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema: the feed writes it")]
struct FeedTransition {
    project: String,
    environment: String,
    notice_id: i64,
    /// Stable word of two parts.
    kind: String,
    /// What it is about, mostly the key of a flag.
    flag: String,
    at_ms: u64,
}

/// `event-rate`: how many events have arrived in the last five seconds.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema: the feed writes it")]
struct FeedEventRate {
    project: String,
    environment: String,
    events_per_s: f64,
    at_ms: u64,
}

/// `alarm`: a replica refuses a version (`refusal`), or an alert of an objective moved (`slo`).
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema: the feed writes it")]
struct FeedAlarm {
    project: String,
    environment: String,
    what: String,
    /// The replica, or the objective with the name of its alert.
    subject: String,
    /// The code of the refusal, or the level of the alert.
    level: String,
    at_ms: u64,
}

/// An event stream.
pub(super) struct EventStream(Body);

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        // A proxy that gathers an answer would tell of nothing until it ends.
        let headers =
            [(CONTENT_TYPE, "text/event-stream"), (HeaderName::from_static("x-accel-buffering"), "no")];
        (headers, self.0).into_response()
    }
}

impl Answers for EventStream {
    fn describe(draft: &mut Draft) {
        // For the types of whoever reads them.
        draft.schema::<FeedChange>();
        draft.schema::<FeedReceipt>();
        draft.schema::<FeedVerdict>();
        draft.schema::<FeedTransition>();
        draft.schema::<FeedEventRate>();
        draft.schema::<FeedAlarm>();
        let said = "Events `change`, `receipt`, `verdict`, `transition`, `event-rate` and `alarm`, each with an `id` and a line of \
                    JSON (`FeedChange` …); `hello` first; `heartbeat` every 15 s; `reset` when more was missed than is kept: ask for \
                    everything anew.";
        let text = Schema::Object(ObjectBuilder::new().schema_type(Type::String).build());
        let response =
            ResponseBuilder::new().description(said).content("text/event-stream", Content::new(Some(text)));
        draft.answer(StatusCode::OK, response.build());
    }
}

pub(super) async fn listen(
    Somewhere { caller, .. }: Somewhere<Viewer>,
    State(state): State<ApiState>,
    Params(params): Params<FeedParams>,
    Heard { last_id, parts }: Heard,
) -> Result<EventStream, ApiError> {
    let listen_s = params.listen_s;
    if let Some(asked) = listen_s.filter(|asked| *asked > LISTEN_S_MAX) {
        let detail = format!("listen_s is {asked}, allowed is 0 to {LISTEN_S_MAX}");
        return Err(ApiError::of_parameter(Code::BadQuery, "listen_s", detail));
    }
    let listening = state.feed.listen(caller.token_id(), last_id.as_deref()).await;
    let (listener, missed) = listening.map_err(|full| {
        ApiError::overloaded(match full {
            Full::Caller { count_max } => format!(
                "this token or session listens {count_max} times already, which is all that it may: let go of one"
            ),
            Full::All => format!("{LISTENER_COUNT_MAX} listen already, which is all that may"),
            Full::Unread => "the database cannot be read: nothing can be told".to_owned(),
        })
    })?;
    let mut first = format!("retry: {RETRY_MS}\n\n");
    match missed {
        Missed::All(told) => {
            first += &signal("hello", Some(&listener), state.now());
            for told in told.iter().filter(|told| may_hear(&caller, told)) {
                first += &line(&listener, told);
            }
        }
        Missed::Unknown => first += &signal("reset", Some(&listener), state.now()),
    }
    let ends = listen_s.and_then(|seconds| monotonic().checked_add(Duration::from_secs(seconds)));
    let beats = monotonic() + HEARTBEAT;
    let course = Course { first: Some(first), listener, caller, parts, state, beats, ends };
    let stream = stream::unfold(course, async |mut course| {
        let chunk = course.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(chunk)), course))
    });
    Ok(EventStream(Body::from_stream(stream)))
}

/// A stream on its way.
struct Course {
    first: Option<String>,
    listener: Listener,
    caller: Caller,
    parts: Parts,
    state: ApiState,
    beats: Instant,
    ends: Option<Instant>,
}

impl Course {
    /// What is sent next; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let until = self.ends.map_or(self.beats, |ends| ends.min(self.beats));
            let next = tokio::select! {
                // What has come is told before the time is looked at.
                biased;
                next = self.listener.next() => next,
                () = sleep_until(until) => {
                    if self.ends.is_some_and(|ends| ends <= monotonic()) {
                        return None;
                    }
                    return self.beat().await;
                }
            };
            match next {
                Next::Event(told) if !may_hear(&self.caller, &told) => {}
                Next::Event(told) => return Some(line(&self.listener, &told)),
                Next::TooSlow => return Some(signal("reset", Some(&self.listener), self.state.now())),
                Next::Over => return None,
            }
        }
    }

    /// A sign of life, unless the caller is not known any more or may read nothing: then the stream ends, and whoever comes back is
    /// told why.
    async fn beat(&mut self) -> Option<String> {
        self.caller = caller::again(&self.parts, &self.state).await.ok()?;
        self.beats = monotonic() + HEARTBEAT;
        Some(signal("heartbeat", None, self.state.now()))
    }
}

fn may_hear(caller: &Caller, told: &Told) -> bool {
    caller.tenant == told.event.tenant && caller.may(Right::Read, &told.event.place)
}

/// An event as it is sent. JSON has no line breaks.
fn line(listener: &Listener, told: &Told) -> String {
    let (id, event) = (listener.feed().id(told.seq), &told.event);
    format!("id: {id}\nevent: {}\ndata: {}\n\n", event.kind.as_str(), event.data)
}

/// What is no event; with the id up to which everything was told.
fn signal(word: &str, listener: Option<&Listener>, now: UnixMillis) -> String {
    let mut text = String::new();
    if let Some(listener) = listener {
        let _ = writeln!(text, "id: {}", listener.feed().id(listener.seq()));
    }
    text + &format!("event: {word}\ndata: {{\"at_ms\":{}}}\n\n", now.0)
}
