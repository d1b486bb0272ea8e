//! One operation of the `OpenAPI` document, drafted from the types of its handler: whom it lets in, what it takes and what it
//! answers with. Each type says its own part, so that nothing is said twice and nothing can be left out.

use std::future::Future;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::routing::{MethodFilter, on};
use futures_util::future::BoxFuture;
use utoipa::ToSchema;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, Paths};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, HttpMethod, Ref, RefOr, Required};
use utoipa_axum::PathItemExt as _;
use utoipa_axum::router::UtoipaMethodRouter;

use super::problem;
use crate::api::ApiState;

/// An operation on its way into the document.
#[derive(Default)]
pub(in crate::api) struct Draft {
    operation: Operation,
    schemas: Vec<(String, RefOr<Schema>)>,
    /// Whether the handler takes `dry_run`, so that its answer may be a rehearsal.
    pub(in crate::api) is_rehearsable: bool,
}

impl Draft {
    /// Adds a parameter.
    pub(in crate::api) fn parameter(&mut self, parameter: Parameter) {
        self.operation.parameters.get_or_insert_default().push(RefOr::T(parameter));
    }

    /// Says what the body is.
    pub(in crate::api) fn body(&mut self, body: RequestBody) {
        self.operation.request_body = Some(RefOr::T(body));
    }

    /// Says who is let in, by kinds of tokens and by roles of people; nobody needs either otherwise.
    pub(in crate::api) fn callers(
        &mut self,
        kinds: impl IntoIterator<Item = &'static str>,
        roles: impl IntoIterator<Item = &'static str>,
    ) {
        let (kinds, roles): (Vec<_>, Vec<_>) = (kinds.into_iter().collect(), roles.into_iter().collect());
        let ways = [("bearer", kinds), ("session", roles)].into_iter().filter(|(_, who)| !who.is_empty());
        let ways = ways.map(|(name, who)| SecurityRequirement::new(name, who));
        self.operation.security = Some(ways.collect());
    }

    /// Adds an answer.
    pub(in crate::api) fn answer(&mut self, status: StatusCode, response: Response) {
        self.operation.responses.responses.insert(status.as_str().to_owned(), RefOr::T(response));
    }

    /// Adds failures, as each status has them everywhere.
    pub(in crate::api) fn fails(&mut self, statuses: &[StatusCode]) {
        for status in statuses {
            let named = RefOr::Ref(Ref::from_response_name(problem::response_name(*status)));
            self.operation.responses.responses.insert(status.as_str().to_owned(), named);
        }
    }

    /// The schema of a type by its name, with all that it refers to.
    pub(in crate::api) fn schema<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let name = T::name().into_owned();
        T::schemas(&mut self.schemas);
        self.schemas.push((name.clone(), T::schema()));
        #[cfg(test)]
        tests::note(&self.schemas);
        RefOr::Ref(Ref::from_schema_name(name))
    }

    /// An answer in JSON.
    pub(in crate::api) fn json<T: ToSchema>(&mut self, description: &str) -> ResponseBuilder {
        let content = Content::new(Some(self.schema::<T>()));
        ResponseBuilder::new().description(description).content("application/json", content)
    }
}

/// What a handler takes from a request.
pub(in crate::api) trait Takes {
    /// Says so in the document.
    fn describe(draft: &mut Draft);
}

impl Takes for State<ApiState> {
    fn describe(_: &mut Draft) {}
}

/// What lets a request in or refuses it. A handler takes one first of all, or it is no handler.
pub(in crate::api) trait Authorises: Takes {}

/// What a handler answers with.
pub(in crate::api) trait Answers {
    /// Says so in the document.
    fn describe(draft: &mut Draft);
}

/// A handler whose operation follows from its types; `T` are what it takes.
pub(in crate::api) trait Documented<T> {
    /// Drafts the operation.
    fn describe(draft: &mut Draft);
}

macro_rules! documented {
    ($($taken:ident)*) => {
        impl<F, Fut, A, $($taken,)* R> Documented<(A, $($taken,)*)> for F
        where
            F: Fn(A, $($taken,)*) -> Fut,
            Fut: Future<Output = R>,
            A: Authorises,
            $($taken: Takes,)*
            R: Answers,
        {
            fn describe(draft: &mut Draft) {
                A::describe(draft);
                $($taken::describe(draft);)*
                R::describe(draft);
            }
        }
    };
}

documented!();
documented!(B);
documented!(B C);
documented!(B C D);
documented!(B C D E);
documented!(B C D E G);

/// The header that names a request, so that a repeat of it does nothing more.
pub(in crate::api) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What becomes of a request that comes twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum Repeats {
    /// It does nothing that the first one has not done.
    Harmless,
    /// The second one is told what the first one was, where both have a key.
    Told,
}

fn idempotency_key() -> Parameter {
    let said = "A name of this request: a repeat of it within 24 hours is answered like the first one, and does nothing. \
                Only what was done is kept; a request that was refused may come again.";
    let key = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[!-~]{1,255}$")).build();
    let parameter = ParameterBuilder::new().name(IDEMPOTENCY_KEY).parameter_in(ParameterIn::Header);
    parameter.description(Some(said)).required(Required::False).schema(Some(Schema::Object(key))).build()
}

/// What a handler comes to, as axum boxes it.
pub(in crate::api) type Answering = BoxFuture<'static, axum::response::Response>;

/// A handler whose type tells nothing of it: what axum builds around handlers is compiled once for all of them. Once for each,
/// it was nearly half of what the compiler did for the control plane.
#[derive(Clone)]
struct Plain(Arc<dyn Fn(Request, ApiState) -> Answering + Send + Sync>);

impl Plain {
    fn new<H: Handler<M, ApiState, Future = Answering>, M: 'static>(handler: H) -> Self {
        Self(Arc::new(move |request, state| handler.clone().call(request, state)))
    }
}

impl Handler<(), ApiState> for Plain {
    type Future = Answering;

    fn call(self, request: Request, state: ApiState) -> Answering {
        (self.0)(request, state)
    }
}

/// A route: a method of a path, its handler, and what it does in a line.
pub(in crate::api) fn route<H, T, M>(
    method: HttpMethod,
    repeats: Repeats,
    (path, summary): (&str, &str),
    handler: H,
) -> UtoipaMethodRouter<ApiState>
where
    H: Handler<M, ApiState, Future = Answering> + Documented<T>,
    M: 'static,
{
    let mut draft = Draft::default();
    H::describe(&mut draft);
    // A query of anything else than what is named here is refused. OTLP tells it in words of its own.
    if !draft.operation.responses.responses.contains_key(StatusCode::BAD_REQUEST.as_str()) {
        draft.fails(&[StatusCode::BAD_REQUEST]);
    }
    // Whoever is not known has no keys.
    if repeats == Repeats::Told && draft.operation.security.is_some() {
        draft.parameter(idempotency_key());
        draft.fails(&[
            StatusCode::CONFLICT,
            StatusCode::UNPROCESSABLE_ENTITY,
            StatusCode::SERVICE_UNAVAILABLE,
        ]);
    }
    let Draft { mut operation, schemas, .. } = draft;
    let (tag, id) = names(std::any::type_name::<H>());
    operation.summary = Some(summary.to_owned());
    operation.operation_id = Some(id);
    operation.tags = Some(vec![tag]);
    let filter: MethodFilter = method.to_method_filter();
    let mut paths = Paths::new();
    paths.add_path_operation(path, vec![method], operation);
    (schemas, paths, on(filter, Plain::new(handler)))
}

/// `…::api::flags::list` → (`flags`, `flags_list`); a handler for several kinds has the kind behind it.
fn names(handler: &str) -> (String, String) {
    let (path, kind) = handler.split_once('<').unwrap_or((handler, ""));
    let mut parts = path.rsplit("::");
    let (name, module) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let kind = kind.trim_end_matches('>').rsplit("::").next().unwrap_or_default().to_lowercase();
    let id = [module, name, &kind].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
    (module.to_owned(), id)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::*;

    thread_local! {
        static SEEN: RefCell<BTreeMap<String, RefOr<Schema>>> = RefCell::default();
        static TWICE: RefCell<Vec<String>> = RefCell::default();
    }

    /// Notes which names stand for two things: in the document the second one would take the place of the first, silently.
    pub(super) fn note(schemas: &[(String, RefOr<Schema>)]) {
        for (name, schema) in schemas {
            let first = SEEN
                .with_borrow_mut(|seen| seen.entry(name.clone()).or_insert_with(|| schema.clone()).clone());
            if first != *schema {
                TWICE.with_borrow_mut(|twice| twice.push(name.clone()));
            }
        }
    }

    #[test]
    fn no_two_types_have_one_name() {
        let schemas = crate::api::openapi_document().components.unwrap().schemas.len();
        assert!(schemas > 100, "{schemas} schemas");
        let twice = TWICE.take();
        assert!(twice.is_empty(), "{twice:?} are names of several types: call one of them otherwise");
        let one = |kind: Type| RefOr::T(Schema::Object(ObjectBuilder::new().schema_type(kind).build()));
        note(&[("Name".to_owned(), one(Type::String)), ("Name".to_owned(), one(Type::Integer))]);
        assert_eq!(TWICE.take(), ["Name"]);
    }

    #[test]
    fn operations_are_named_after_their_handlers() {
        let named = |handler| {
            let (tag, id) = names(handler);
            format!("{tag} {id}")
        };
        assert_eq!(named("a::api::flags::list"), "flags flags_list");
        assert_eq!(named("a::api::parts::put<a::api::parts::Segment>"), "parts parts_put_segment");
    }
}
