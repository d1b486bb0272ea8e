//! Worker entry point and route table, nothing else.

pub mod beacon;
pub mod chance;
pub mod clock;
pub mod config;
pub mod deadline;
pub mod error;
pub mod http;
pub mod snapshot;

use std::rc::Rc;

use flagfuse_shared::contract::probe::MIN_VERSION_HEADER;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion};
use flagfuse_shared::ofrep::parse_request;
use flagfuse_shared::snapshot::AutoExposure;
use worker::{Context, Env, Method, Request, Response, event};

use crate::beacon::exposure;
use crate::config::{Config, config};
use crate::error::EdgeError;
use crate::http::body::{self, header};
use crate::http::credential::{ClientKey, client_key};
use crate::http::reply::Reply;
use crate::http::route::{Route, query_value, route};
use crate::http::{events, health, labels, ofrep, push};
use crate::snapshot::isolate::{Served, admitting, current};

/// Answers a request. Whatever goes wrong becomes a JSON body with a stable code.
#[event(fetch)]
async fn fetch(mut request: Request, env: Env, context: Context) -> worker::Result<Response> {
    let config = match config(&env) {
        Ok(config) => config,
        Err(error) => return error.reply(None).into_response(),
    };
    let method = request.method();
    let route = route(&request.path());
    let reply = match (&route, &method) {
        (Route::Unknown, _) => EdgeError::RouteNotFound.reply(None),
        (_, Method::Options) => Reply::preflight(),
        (Route::Health, Method::Get | Method::Head) => health::answer(&config),
        (Route::Push { tenant, project, environment }, Method::Get) => {
            match push::connect(&request, &env, &config, [tenant, project, environment]).await {
                Ok(response) => return Ok(response),
                Err(error) => error.reply(None),
            }
        }
        (Route::Health | Route::Push { .. }, _) => EdgeError::MethodNotAllowed { allowed: "GET" }.reply(None),
        (Route::Events | Route::OfrepBulk | Route::OfrepSingle { .. }, Method::Post) => {
            let asked = Asked { env: &env, context: &context, config: &config };
            asked.answer(&mut request, &route).await
        }
        (Route::Events | Route::OfrepBulk | Route::OfrepSingle { .. }, _) => {
            EdgeError::MethodNotAllowed { allowed: "POST" }.reply(None)
        }
    };
    reply.into_response()
}

/// What every client route needs besides the request.
struct Asked<'a> {
    env: &'a Env,
    context: &'a Context,
    config: &'a Rc<Config>,
}

impl Asked<'_> {
    async fn answer(&self, request: &mut Request, route: &Route) -> Reply {
        let outcome = match route {
            Route::Events => self.events(request).await,
            Route::OfrepSingle { key } => self.single(request, key.as_deref()).await,
            _ => self.bulk(request).await,
        };
        outcome.unwrap_or_else(|error| {
            let flag_key = match route {
                Route::OfrepSingle { key } => Some(key.as_deref().unwrap_or_default()),
                _ => None,
            };
            let mut reply = error.reply(flag_key);
            if *route != Route::Events {
                labels::label_unanswered(&mut reply, self.config);
            }
            reply
        })
    }

    async fn single(&self, request: &mut Request, flag_key: Option<&str>) -> Result<Reply, EdgeError> {
        let key = presented_key(request, None)?;
        let body = body::read(request).await?;
        let flag_key = flag_key
            .ok_or_else(|| EdgeError::PathMalformed { detail: "the flag key is not UTF-8".to_owned() })?;
        let (scope, served) = self.served(request, &key).await?;
        let evaluation = parse_request(&body)?;
        let (reply, exposed) = ofrep::single(self.config, &scope, &served, flag_key, &evaluation);
        if let Some(exposed) = exposed
            && served.compiled.snapshot.settings().auto_exposure == AutoExposure::Single
        {
            exposure::record(&exposed, self.env, self.context, self.config, &scope, clock::now());
        }
        Ok(reply)
    }

    async fn bulk(&self, request: &mut Request) -> Result<Reply, EdgeError> {
        let key = presented_key(request, None)?;
        let body = body::read(request).await?;
        let (scope, served) = self.served(request, &key).await?;
        let evaluation = parse_request(&body)?;
        let have = header(request, "if-none-match");
        Ok(ofrep::bulk(self.config, &scope, &served, &evaluation, have.as_deref()))
    }

    async fn events(&self, request: &mut Request) -> Result<Reply, EdgeError> {
        let query_key =
            request.url().ok().and_then(|url| url.query().and_then(|query| query_value(query, "key")));
        let key = presented_key(request, query_key)?;
        let body = body::read(request).await?;
        let (scope, _) = self.served(request, &key).await?;
        events::answer(&body, self.env, self.config, &scope, clock::now()).await
    }

    /// The snapshot that a client key opens.
    async fn served(&self, request: &Request, key: &ClientKey) -> Result<(Scope, Served), EdgeError> {
        let version_min = match header(request, MIN_VERSION_HEADER) {
            None => None,
            Some(text) => Some(SnapshotVersion::parse(&text).ok_or(EdgeError::HeaderMalformed {
                name: MIN_VERSION_HEADER,
                expected: "epoch.seq, such as 1.42",
            })?),
        };
        let scope = self.config.scope(&key.project, &key.environment);
        let served = current(self.env, self.context, self.config, &scope, version_min).await?;
        let key = Digest::of(key.text.as_bytes());
        if served.compiled.snapshot.admits_client_key(&key) {
            return Ok((scope, served));
        }
        let served = admitting(self.env, self.config, &scope, &key).await?;
        Ok((scope, served))
    }
}

fn presented_key(request: &Request, query_key: Option<String>) -> Result<ClientKey, EdgeError> {
    client_key(header(request, "authorization"), || header(request, "x-api-key"), query_key)
}
