//! The `OpenAPI` document: made of what the routes say of themselves.

mod draft;
mod problem;
pub(super) mod schema;
mod written;

use serde::Serialize;
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa::openapi::{
    RefOr,
    schema::{ObjectBuilder, Schema},
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::UtoipaMethodRouter;

use self::draft::Repeats;
pub(super) use self::draft::{Answers, Authorises, Documented, Draft, IDEMPOTENCY_KEY, Takes};
pub(super) use self::problem::CURRENT;
pub(super) use self::written::Written;
use super::ApiState;

const DESCRIPTION: &str = "Flags and fuses, the snapshots that edges answer from, and what their events say. Bodies are JSON \
    whatever their content type says; no object has a key twice. Every failure is `application/problem+json` with a stable \
    `code`; a route may answer 405 with `Allow` to methods that are not listed here.";

/// Where the document is.
pub(super) const PATH: &str = "/v1/openapi.json";

/// The document as an answer.
#[derive(Serialize)]
pub(super) struct Document(pub(super) &'static OpenApi);

impl PartialSchema for Document {
    fn schema() -> RefOr<Schema> {
        let any = ObjectBuilder::new().description(Some("An OpenAPI 3.1 document."));
        Schema::Object(any.build()).into()
    }
}

impl ToSchema for Document {}

/// The document without routes, with these schemas beside those of problems.
pub(super) fn empty(beside: Vec<(String, RefOr<Schema>)>) -> OpenApi {
    let info = InfoBuilder::new()
        .title("Flagfuse control plane")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(None);
    let mut components = Components::new();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "A token of one of the kinds that the operation names, valid where the operation works: in the whole tenant, in a \
         project, or in an environment.",
    ));
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    let session = ApiKeyValue::with_description(
        "__Host-flagfuse",
        "The session of somebody with one of the roles that the operation names, where the operation works. On loopback the \
         cookie is called `flagfuse`. What is not only read has to come from a page of the same origin.",
    );
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(session)));
    components.responses = problem::responses();
    let mut schemas = vec![("Problem".to_owned(), problem::Problem::schema())];
    problem::Problem::schemas(&mut schemas);
    components.schemas = schemas.into_iter().chain(beside).collect();
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

macro_rules! methods {
    ($($name:ident $method:ident $repeats:ident,)*) => {
        $(
            /// A route of this method: its path, its handler, and what it does in a line. `send` is a POST of what only asks, or of
            /// what is counted once by names of its own.
            pub(super) fn $name<H, T, M>(path: &str, handler: H, summary: &str) -> UtoipaMethodRouter<ApiState>
            where
                H: axum::handler::Handler<M, ApiState, Future = draft::Answering> + Documented<T>,
                M: 'static,
            {
                draft::route(HttpMethod::$method, Repeats::$repeats, (path, summary), handler)
            }
        )*
    };
}

methods! {
    get Get Harmless,
    put Put Harmless,
    post Post Told,
    send Post Harmless,
    patch Patch Harmless,
    delete Delete Harmless,
}
