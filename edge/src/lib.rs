//! Worker entry points and route table, nothing else.

pub mod beacon;
pub mod chance;
pub mod clock;
pub mod config;
pub mod deadline;
pub mod direct;
pub mod error;
pub mod http;
pub mod notify;
pub mod region;
pub mod snapshot;
pub mod socket;
pub mod stream_token;

use std::rc::Rc;

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::limits::{METRICS_BODY_LEN_MAX, REQUEST_BODY_LEN_MAX};
use worker::{Context, Env, Method, Request, Response, event};

use crate::beacon::exposure;
use crate::config::{Config, config_near};
use crate::error::EdgeError;
use crate::http::ask::{Ask, AskHeaders};
use crate::http::body::{self, header};
use crate::http::reply::Asker;
use crate::http::reply::Reply;
use crate::http::route::Route;
use crate::http::route::Verb;
use crate::http::{evaluation, events, health, labels, push, stream, unleash, usage};
use crate::notify::Listener;
use crate::snapshot::credential::Credential;
use crate::snapshot::isolate::driver;
use crate::snapshot::served::{Served, Wish};

/// Answers a request. Whatever goes wrong becomes a JSON body with a stable code.
#[event(fetch)]
async fn fetch(mut request: Request, env: Env, context: Context) -> worker::Result<Response> {
    let position = || request.cf()?.coordinates().map(|(north, east)| (f64::from(north), f64::from(east)));
    let config = match config_near(&env, position) {
        Ok(config) => config,
        Err(error) => return error.reply(None).into_response(Asker::Page),
    };
    let method = request.method();
    let ask = ask(&request);
    let reply = match (&ask.route, &method) {
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
        (Route::Stream, Method::Get) => {
            match (Asked { env: &env, context: &context, config: &config, ask: &ask }).stream(&request).await
            {
                Ok(response) => return Ok(response),
                Err(error) => error.reply(None),
            }
        }
        (route, _) if route.allows(ask.verb) => {
            let asked = Asked { env: &env, context: &context, config: &config, ask: &ask };
            let outcome = asked.answer(&mut request).await;
            outcome.unwrap_or_else(|error| evaluation::refusal(&config, &ask.route, &error))
        }
        (route, _) => EdgeError::MethodNotAllowed { allowed: route.methods() }.reply(None),
    };
    reply.into_response(ask.headers.asker)
}

/// The parts of a request that evaluation routes read.
fn ask(request: &Request) -> Ask {
    let verb = match request.method() {
        Method::Get => Verb::Get,
        Method::Post => Verb::Post,
        _ => Verb::Other,
    };
    let headers = AskHeaders {
        authorization: header(request, "authorization"),
        api_key: header(request, "x-api-key"),
        none_match: header(request, "if-none-match"),
        version_min: header(request, "x-flags-min-version"),
        address: header(request, "cf-connecting-ip"),
        asker: Asker::of(header(request, "origin").is_some()),
    };
    let query = request.url().ok().and_then(|url| url.query().map(|query| format!("?{query}")));
    Ask::new(verb, &format!("{}{}", request.path(), query.unwrap_or_default()), headers)
}

/// What every client route needs.
struct Asked<'a> {
    env: &'a Env,
    context: &'a Context,
    config: &'a Rc<Config>,
    ask: &'a Ask,
}

impl Asked<'_> {
    /// The key comes first: before it is known to be good, nothing else of the request is read.
    async fn answer(&self, request: &mut Request) -> Result<Reply, EdgeError> {
        let opened = self.open().await?;
        match self.ask.route {
            Route::Events => self.events(request, &opened).await,
            Route::UnleashMetrics => self.usage(request, &opened).await,
            Route::UnleashRegister => {
                body::read(request, METRICS_BODY_LEN_MAX).await?;
                self.served(&opened).await?;
                Ok(Reply::json(202, "{}".to_owned()))
            }
            Route::UnleashFeatures | Route::UnleashFeature { .. } => self.features(&opened).await,
            _ => self.evaluate(request, &opened).await,
        }
    }

    async fn stream(&self, request: &Request) -> Result<Response, EdgeError> {
        let by_token = stream::by_token(self.ask, self.config)?;
        let Some((scope, shown, expires_at)) = by_token else {
            let expires_at = clock::now().plus(self.config.notify.window_ms);
            return self.connect(request, self.open().await?, expires_at).await;
        };
        let opened = driver(self.env, self.config).open(&scope, &shown).await;
        let connected = match opened {
            Ok(()) => self.connect(request, Opened { scope, shown }, expires_at).await,
            Err(error) => Err(error),
        };
        match connected {
            Err(EdgeError::KeyUnknown) => stream::revoked(request),
            other => other,
        }
    }

    async fn connect(
        &self,
        request: &Request,
        opened: Opened,
        expires_at: UnixMillis,
    ) -> Result<Response, EdgeError> {
        let served = self.served(&opened).await?.version;
        let Opened { scope, shown } = opened;
        let client = stream::client(request, &shown);
        let listener = Listener { scope, served, key: shown.key_id(), client, expires_at };
        stream::connect(request, self.env, self.context, self.config, listener).await
    }

    async fn evaluate(&self, request: &mut Request, opened: &Opened) -> Result<Reply, EdgeError> {
        let body = match self.ask.verb {
            Verb::Post => body::read(request, REQUEST_BODY_LEN_MAX).await?,
            Verb::Get | Verb::Other => Vec::new(),
        };
        // Not before: a body may take its time, and the snapshot would grow old.
        let (scope, served) = (&opened.scope, self.served(opened).await?);
        let key = opened.shown.key_id();
        let (reply, exposed) = evaluation::answer(self.config, scope, &served, key, self.ask, &body)?;
        if let Some(exposed) = exposed {
            exposure::record(exposed, self.env, self.context, self.config, scope);
        }
        Ok(reply)
    }

    async fn events(&self, request: &mut Request, opened: &Opened) -> Result<Reply, EdgeError> {
        let body = body::read(request, REQUEST_BODY_LEN_MAX).await?;
        self.served(opened).await?;
        events::answer(&body, self.env, self.config, &opened.scope, clock::now()).await
    }

    async fn usage(&self, request: &mut Request, opened: &Opened) -> Result<Reply, EdgeError> {
        let body = body::read(request, METRICS_BODY_LEN_MAX).await?;
        self.served(opened).await?;
        usage::answer(&body, self.env, self.config, &opened.scope, clock::now()).await
    }

    async fn features(&self, opened: &Opened) -> Result<Reply, EdgeError> {
        let served = self.served(opened).await?;
        let (version, text) = driver(self.env, self.config).features(&opened.scope, &served).await?;
        let mut reply = unleash::features(&opened.scope, self.ask, version, &text)?;
        labels::label(&mut reply, self.config, &served);
        Ok(reply)
    }

    /// The environment that the client key opens.
    async fn open(&self) -> Result<Opened, EdgeError> {
        let key = self.ask.client_key()?;
        let scope = self.config.scope(&key.project, &key.environment);
        let shown = Credential::Key(Digest::of(key.text.as_bytes()));
        driver(self.env, self.config).open(&scope, &shown).await?;
        Ok(Opened { scope, shown })
    }

    /// Its snapshot, as new as the client wants it.
    async fn served(&self, opened: &Opened) -> Result<Served, EdgeError> {
        let wish = Wish { version_min: self.ask.version_min()?, is_stray: self.ask.is_told_of_unknown() };
        let refresh_beside = || {
            let (env, config, scope) = (self.env.clone(), Rc::clone(self.config), opened.scope.clone());
            self.context.wait_until(async move {
                // A failed refresh changes nothing: the next request sees an older age and asks again.
                let _ = driver(&env, &config).refresh(&scope).await;
            });
        };
        driver(self.env, self.config).current(&opened.scope, &opened.shown, wish, refresh_beside).await
    }
}

/// An environment, and what opened it.
struct Opened {
    scope: Scope,
    shown: Credential,
}
