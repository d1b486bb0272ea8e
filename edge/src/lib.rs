//! Worker entry points and route table, nothing else.

#![expect(missing_docs, reason = "nobody depends on this crate: what its name says already needs no comment")]

pub mod beacon;
pub mod clock;
pub mod config;
pub mod deadline;
pub mod direct;
pub mod error;
pub mod http;
pub mod notify;
pub mod random;
pub mod region;
pub mod snapshot;
pub mod socket;
pub mod stream_token;
pub mod trust;

use flagfuse_shared::contract::probe::MIN_VERSION_HEADER;
use worker::{Context, Env, Method, Request, Response, event};

use crate::config::config_near;
use crate::error::EdgeError;
use crate::http::body::header;
use crate::http::reply::{Reply, RequestedBy};
use crate::http::request::{RequestHead, RequestHeaders};
use crate::http::route::{Route, Verb};
use crate::http::session::Session;
use crate::http::{evaluation, health, push};

/// Answers a request. Whatever goes wrong becomes a JSON body with a stable code.
#[event(fetch)]
async fn fetch(mut request: Request, env: Env, context: Context) -> worker::Result<Response> {
    let position = || request.cf()?.coordinates().map(|(north, east)| (f64::from(north), f64::from(east)));
    let config = match config_near(&env, position) {
        Ok(config) => config,
        Err(error) => return error.reply(None).into_response(RequestedBy::Page),
    };
    let method = request.method();
    let head = head_of(&request);
    let session = Session { env: &env, context: &context, config: &config, head: &head };
    let reply = match (&head.route, &method) {
        (Route::Unknown, _) => EdgeError::RouteNotFound.reply(None),
        (Route::Admin, _) => EdgeError::AdminPath.reply(None),
        (route, Method::Options) => {
            let asked = header(&request, "access-control-request-headers");
            Reply::preflight(asked.as_deref(), route.methods())
        }
        (Route::Health, Method::Get | Method::Head) => health::answer(&config),
        (Route::Push { region, shard, page }, Method::Get) => {
            match push::connect(&request, &env, &config, [region, shard], *page).await {
                Ok(response) => return Ok(response),
                Err(error) => error.reply(None),
            }
        }
        (Route::Stream, Method::Get) => match session.stream(&request).await {
            Ok(response) => return Ok(response),
            Err(error) => error.reply(None),
        },
        (route, _) if route.allows(head.verb) => {
            let outcome = session.answer(&mut request).await;
            outcome.unwrap_or_else(|error| evaluation::refusal(&config, &head.route, &error))
        }
        (route, _) => EdgeError::MethodNotAllowed { allowed: route.methods() }.reply(None),
    };
    reply.into_response(head.headers.requested_by)
}

/// The parts of a request that evaluation routes read.
fn head_of(request: &Request) -> RequestHead {
    let verb = match request.method() {
        Method::Get => Verb::Get,
        Method::Post => Verb::Post,
        _ => Verb::Other,
    };
    let headers = RequestHeaders {
        authorization: header(request, "authorization"),
        api_key: header(request, "x-api-key"),
        none_match: header(request, "if-none-match"),
        version_min: header(request, MIN_VERSION_HEADER),
        address: header(request, "cf-connecting-ip"),
        requested_by: RequestedBy::of(header(request, "origin").is_some()),
    };
    let query = request.url().ok().and_then(|url| url.query().map(|query| format!("?{query}")));
    RequestHead::new(verb, &format!("{}{}", request.path(), query.unwrap_or_default()), headers)
}
