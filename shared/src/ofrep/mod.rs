//! OFREP 0.3: request bodies → contexts, resolutions → response bodies. Pure text; knows no HTTP library.

use std::borrow::{Borrow, Cow};
use std::fmt::{self, Write as _};
use std::rc::Rc;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::context::{Context, ContextError};
use crate::evaluate::{Assignment, EvaluationError, EvaluationResult, Freshness, Reason, Resolution};
use crate::fingerprint::Fingerprint;
use crate::ids::{FlagKey, Scope, SnapshotVersion};
use crate::limits::REQUEST_BODY_LEN_MAX;
use crate::strict::{Place, ValueAt, not_json, twice};
use crate::text::write_json_string;

/// Error codes of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// The body is no JSON.
    ParseError,
    /// The flag needs a unit.
    TargetingKeyMissing,
    /// The context is outside its shape or limits.
    InvalidContext,
    /// The flag does not exist.
    FlagNotFound,
    /// Anything else.
    General,
}

impl ErrorCode {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ParseError => "PARSE_ERROR",
            Self::TargetingKeyMissing => "TARGETING_KEY_MISSING",
            Self::InvalidContext => "INVALID_CONTEXT",
            Self::FlagNotFound => "FLAG_NOT_FOUND",
            Self::General => "GENERAL",
        }
    }
}

/// Why a request cannot be evaluated at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// More bytes than the limit.
    #[error("the body has more than {REQUEST_BODY_LEN_MAX} bytes")]
    TooLong,
    /// No JSON.
    #[error("the body is not JSON: {detail}")]
    NotJson {
        /// What the parser said.
        detail: String,
    },
    /// JSON, but no object.
    #[error("the body must be a JSON object with a context, such as {EXAMPLE}")]
    NotAnObject,
    /// An object with something in it, which is not a context.
    #[error("the body has no context, but {name:?} beside it: put the attributes into it, such as {EXAMPLE}")]
    NoContext {
        /// The first field that is there instead.
        name: String,
    },
    /// An object has a key twice: nobody could say which of the two counts.
    #[error("the body is ambiguous: {detail}")]
    DuplicateKey {
        /// Which key, and where.
        detail: String,
    },
    /// The context is outside its shape or limits.
    #[error(transparent)]
    Context(#[from] ContextError),
}

impl RequestError {
    /// The protocol's word for it.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TooLong => ErrorCode::General,
            Self::NotJson { .. } | Self::NotAnObject | Self::DuplicateKey { .. } => ErrorCode::ParseError,
            Self::NoContext { .. } | Self::Context(_) => ErrorCode::InvalidContext,
        }
    }
}

/// A body that every flag can be asked with.
const EXAMPLE: &str = r#"{"context": {"targetingKey": "user-1"}}"#;

/// Reads `{"context": {…}}`; an empty body, `{}` and a null context are an empty context.
pub fn parse_request(body: &[u8]) -> Result<Context, RequestError> {
    if body.len() > REQUEST_BODY_LEN_MAX {
        return Err(RequestError::TooLong);
    }
    let Some(first) = body.trim_ascii_start().first() else {
        return Ok(Context::default());
    };
    let read: Body = serde_json::from_slice(body).map_err(|error| match error.classify() {
        // An object of any values is what was asked for: what is left to complain about are its keys.
        Category::Data if *first == b'{' => RequestError::DuplicateKey { detail: error.to_string() },
        Category::Data => RequestError::NotAnObject,
        Category::Io | Category::Syntax | Category::Eof => {
            RequestError::NotJson { detail: not_json(body, &error) }
        }
    })?;
    match read.context {
        ContextIn::Absent => Ok(Context::default()),
        ContextIn::Beside(name) => Err(RequestError::NoContext { name }),
        ContextIn::Object(entries) => Ok(Context::from_attributes(entries)?),
        ContextIn::Other => Err(ContextError::NotAnObject.into()),
    }
}

/// Where the attributes stand.
const CONTEXT: Place<'static> = Place::Field(&Place::Root, "context");

/// A request's body: everything but the context is ignored.
struct Body {
    context: ContextIn,
}

enum ContextIn {
    Absent,
    /// Absent where something else is there.
    Beside(String),
    Object(Vec<(String, Value)>),
    Other,
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BodyVisitor;
        impl<'de> Visitor<'de> for BodyVisitor {
            type Value = Body;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Body, M::Error> {
                let mut context = None;
                let mut others = Map::new();
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    let is_second = if name == "context" {
                        context.replace(map.next_value()?).is_some()
                    } else {
                        let value = map.next_value_seed(ValueAt(&Place::Field(&Place::Root, &name)))?;
                        others.insert(name.clone().into_owned(), value).is_some()
                    };
                    if is_second {
                        return Err(M::Error::custom(twice(&name, &Place::Root)));
                    }
                }
                // What was meant for the context must not be ignored without a word.
                let beside = || {
                    others.into_iter().next().map_or(ContextIn::Absent, |(name, _)| ContextIn::Beside(name))
                };
                Ok(Body { context: context.unwrap_or_else(beside) })
            }
        }
        deserializer.deserialize_map(BodyVisitor)
    }
}

impl<'de> Deserialize<'de> for ContextIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContextVisitor;
        impl<'de> Visitor<'de> for ContextVisitor {
            type Value = ContextIn;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON value")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<ContextIn, M::Error> {
                let mut entries = Vec::with_capacity(ATTRIBUTE_COUNT_TYPICAL);
                while let Some(name) = map.next_key::<String>()? {
                    let value = map.next_value_seed(ValueAt(&Place::Field(&CONTEXT, &name)))?;
                    entries.push((name, value));
                }
                Ok(ContextIn::Object(entries))
            }
            fn visit_unit<E>(self) -> Result<ContextIn, E> {
                Ok(ContextIn::Absent)
            }
            fn visit_bool<E>(self, _: bool) -> Result<ContextIn, E> {
                Ok(ContextIn::Other)
            }
            fn visit_i64<E>(self, _: i64) -> Result<ContextIn, E> {
                Ok(ContextIn::Other)
            }
            fn visit_u64<E>(self, _: u64) -> Result<ContextIn, E> {
                Ok(ContextIn::Other)
            }
            fn visit_f64<E>(self, _: f64) -> Result<ContextIn, E> {
                Ok(ContextIn::Other)
            }
            fn visit_str<E>(self, _: &str) -> Result<ContextIn, E> {
                Ok(ContextIn::Other)
            }
            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<ContextIn, S::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(ContextIn::Other)
            }
        }
        deserializer.deserialize_any(ContextVisitor)
    }
}

/// Attributes that a context has room for before it grows.
const ATTRIBUTE_COUNT_TYPICAL: usize = 16;

/// What a body says about its origin, in the names that OpenFeature's telemetry reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `"version":"…","flagSetId":"…"`
    fields: String,
    /// The `eventStreams` of a bulk: a JSON array.
    event_streams: Option<Rc<str>>,
    /// `,"ticket":"…"`, in the answer's own metadata alone: once, however many flags there are.
    tickets: String,
}

impl Origin {
    /// The version of the snapshot, and project and environment as the name of the flag set.
    pub fn new(version: SnapshotVersion, scope: &Scope) -> Self {
        // Slugs and versions hold nothing that JSON escapes.
        let Scope { tenant: _, project, environment } = scope;
        let fields = format!("\"version\":\"{version}\",\"flagSetId\":\"{project}/{environment}\"");
        Self { fields, event_streams: None, tickets: String::new() }
    }

    /// Names a ticket under `name`, whose text needs no escaping. A bulk's validator covers it.
    pub fn add_ticket(&mut self, name: &str, ticket: &str) {
        self.tickets.push(',');
        write_json_string(&mut self.tickets, name);
        // Writing to a String cannot fail.
        let _ = write!(self.tickets, ":\"{ticket}\"");
    }

    /// Bulk answers say where clients hear of changes; `event_streams` is a JSON array.
    #[must_use]
    pub fn with_event_streams(self, event_streams: Option<Rc<str>>) -> Self {
        Self { event_streams, ..self }
    }
}

/// Status of a single evaluation.
pub const fn single_status(answer: &EvaluationResult<'_>) -> u16 {
    match answer {
        Ok(_) => 200,
        Err(EvaluationError::FlagNotFound { .. }) => 404,
        Err(EvaluationError::TargetingKeyMissing { .. } | EvaluationError::Malformed(_)) => 400,
    }
}

/// Writes the whole body of a single evaluation: an item, and in its metadata the rule that decided.
pub fn write_answer(out: &mut String, key: &str, answer: &EvaluationResult<'_>, origin: &Origin) {
    begin_item(out, key, answer);
    if let Some(rule) = answer.as_ref().ok().and_then(Resolution::rule) {
        out.push_str("\"rule\":");
        write_json_string(out, rule.as_str());
        out.push(',');
    }
    out.push_str(&origin.fields);
    out.push_str(&origin.tickets);
    out.push_str(END);
}

/// How an object with metadata ends: its metadata, and itself.
const END: &str = "}}";

/// Writes one flag's object up to the place in its metadata where the origin stands. A key's text is asked for only where
/// it is needed: it may stand in the key or elsewhere.
#[inline]
fn begin_item<K: Borrow<str> + ?Sized>(out: &mut String, key: &K, answer: &EvaluationResult<'_>) {
    match answer {
        Ok(resolution) => begin_resolution(out, resolution),
        Err(error) => begin_error(out, key.borrow(), error),
    }
}

/// The item of a flag that has an answer: texts that were rendered when the flag was compiled, one behind the other:
/// nothing is escaped here. `value` is left out, never null, when the caller's code default applies.
#[inline]
fn begin_resolution(out: &mut String, resolution: &Resolution<'_>) {
    match resolution.variation {
        Some(variation) => out.push_str(&variation.opening),
        None => out.push_str(resolution.flag.opening()),
    }
    out.push_str(resolution.reason.metadata());
    if let Some(Assignment { arm, phase, slices }) = resolution.assignment {
        // Writing to a String cannot fail.
        let _ = write!(out, "\"arm\":\"{}\",\"phase\":{phase},", arm.as_str());
        if !slices.is_empty() {
            let _ = write!(out, "\"slices\":\"{slices}\",");
        }
    }
}

fn begin_error(out: &mut String, key: &str, error: &EvaluationError<'_>) {
    let code = match error {
        EvaluationError::FlagNotFound { .. } => ErrorCode::FlagNotFound,
        EvaluationError::TargetingKeyMissing { .. } => ErrorCode::TargetingKeyMissing,
        EvaluationError::Malformed(_) => ErrorCode::General,
    };
    out.push_str("{\"key\":");
    write_json_string(out, key);
    let _ = write!(out, ",\"errorCode\":\"{}\",\"errorDetails\":", code.as_str());
    write_json_string(out, &error.to_string());
    out.push_str(",\"metadata\":{");
}

impl Reason {
    /// `,"reason":"…","metadata":{`: what follows an item's opening.
    const fn metadata(self) -> &'static str {
        match self {
            Self::Static => ",\"reason\":\"STATIC\",\"metadata\":{",
            Self::TargetingMatch => ",\"reason\":\"TARGETING_MATCH\",\"metadata\":{",
            Self::Split => ",\"reason\":\"SPLIT\",\"metadata\":{",
            Self::Disabled => ",\"reason\":\"DISABLED\",\"metadata\":{",
            Self::Default => ",\"reason\":\"DEFAULT\",\"metadata\":{",
            Self::Stale => ",\"reason\":\"STALE\",\"metadata\":{",
        }
    }
}

/// Writes the body of a bulk evaluation; `answers` have to come ordered by key.
///
/// The origin stands in each item and once more in the body's own metadata: the web provider shows telemetry an item's
/// metadata, and the bulk's own only where a flag is missing. The rules that decided are named by single evaluations only.
pub fn write_bulk<'s>(
    out: &mut String,
    answers: impl Iterator<Item = (&'s FlagKey, EvaluationResult<'s>)>,
    origin: &Origin,
) {
    // The comma is part of it: one text fewer for each flag.
    let item_end = [&origin.fields, END, ","].concat();
    out.push_str("{\"flags\":[");
    let start = out.len();
    for (key, answer) in answers {
        begin_item(out, key, &answer);
        out.push_str(&item_end);
    }
    if out.len() > start {
        out.pop();
    }
    out.push(']');
    if let Some(event_streams) = &origin.event_streams {
        out.push_str(",\"eventStreams\":");
        out.push_str(event_streams);
    }
    out.push_str(",\"metadata\":{");
    out.push_str(&origin.fields);
    out.push_str(&origin.tickets);
    // Its two braces end the metadata and the whole body.
    out.push_str(END);
}

/// Body of an error that concerns the whole request; `key` for single evaluations.
pub fn error_body(key: Option<&str>, code: ErrorCode, details: &str) -> String {
    let mut out = String::from("{");
    if let Some(key) = key {
        out.push_str("\"key\":");
        write_json_string(&mut out, key);
        out.push(',');
    }
    let _ = write!(out, "\"errorCode\":\"{}\",\"errorDetails\":", code.as_str());
    write_json_string(&mut out, details);
    out.push_str(",\"metadata\":{}}");
    out
}

/// What beside context and origin decides a bulk answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances {
    /// Whether flags answered with their `on_stale`.
    pub freshness: Freshness,
    /// The stretch of time in which no schedule changes anything.
    pub stretch: usize,
    /// What tells answers apart that may be random, see [`answers_mark`]; else 0.
    pub random: u64,
}

/// A number that tells bodies of answers apart. Where answers may be random, the answers themselves are the only
/// thing that says whether it did: those that it did not change stay valid.
pub fn answers_mark(body: &str) -> u64 {
    let mut covered = Fingerprint::new();
    covered.text(body);
    covered.half()
}

/// Strong validator of a bulk answer: the same context, version and circumstances give the same on every node.
pub fn bulk_etag(context: &Context, origin: &Origin, circumstances: Circumstances) -> String {
    let Circumstances { freshness, stretch, random } = circumstances;
    let mut covered = Fingerprint::new();
    covered.text(&origin.fields);
    // And one whose ticket's window has passed needs the next one.
    if !origin.tickets.is_empty() {
        covered.text(&origin.tickets);
    }
    // A client that has this answer has these streams: it would never learn of others from a 304.
    if let Some(event_streams) = &origin.event_streams {
        covered.text(event_streams);
    }
    covered.word(u64::from(freshness == Freshness::Fresh));
    covered.word(stretch as u64);
    covered.word(random);
    for (name, value) in context.attributes() {
        covered.text(name);
        covered.value(value);
    }
    format!("\"{covered}\"")
}

/// Whether an `If-None-Match` header covers `etag`: a list, weak validators and `*` are accepted.
pub fn if_none_match(header: &str, etag: &str) -> bool {
    header
        .split(',')
        .map(str::trim)
        .any(|candidate| candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == etag)
}

#[cfg(test)]
mod tests;
