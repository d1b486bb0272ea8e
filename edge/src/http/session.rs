//! The long way of a client's request: waits until memory holds what the gate asks for, reads the body, answers. The key comes
//! first: before it is known to be good, nothing else of the request is read.

use std::rc::Rc;

use flagfuse_shared::contract::beacon::EventSource;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::limits::{METRICS_BODY_LEN_MAX, REQUEST_BODY_LEN_MAX};
use worker::{Context, Env, Request, Response};

use crate::beacon::exposure;
use crate::beacon::handover::Asker;
use crate::beacon::reports;
use crate::beacon::send;
use crate::clock;
use crate::config::Config;
use crate::error::EdgeError;
use crate::http::asker::asker;
use crate::http::events::Incoming;
use crate::http::gate::{Claim, wish};
use crate::http::ofrep::Answered;
use crate::http::reply::Reply;
use crate::http::request::RequestHead;
use crate::http::route::{Route, Verb};
use crate::http::{body, evaluation, events, labels, stream, unleash, usage};
use crate::notify::Listener;
use crate::snapshot::driver::Driver;
use crate::snapshot::isolate::{WorkerRuntime, driver};
use crate::snapshot::served::Served;

/// What every client route needs.
#[derive(Debug)]
pub struct Session<'a> {
    /// Bindings.
    pub env: &'a Env,
    /// For work that goes on once the answer is given.
    pub context: &'a Context,
    /// This isolate's configuration.
    pub config: &'a Rc<Config>,
    pub head: &'a RequestHead,
}

impl Session<'_> {
    /// Answers with a reply.
    pub async fn answer(&self, request: &mut Request) -> Result<Reply, EdgeError> {
        let claim = self.open().await?;
        match self.head.route {
            Route::Events => self.events(request, &claim).await,
            Route::UnleashMetrics => self.usage(request, &claim).await,
            Route::UnleashRegister => {
                body::read(request, METRICS_BODY_LEN_MAX).await?;
                self.served(&claim).await?;
                Ok(Reply::json(202, "{}".to_owned()))
            }
            Route::UnleashFeatures | Route::UnleashFeature { .. } => self.features(&claim).await,
            _ => self.evaluate(request, &claim).await,
        }
    }

    /// Answers with a stream, for the time that its credential is good.
    pub async fn stream(&self, request: &Request) -> Result<Response, EdgeError> {
        let Some((claim, expires_at)) = stream::by_token(self.head, self.config)? else {
            let expires_at = clock::now().plus(self.config.notify.window_ms);
            return self.connect(request, self.open().await?, expires_at).await;
        };
        let connected = match self.driver().open(&claim.scope, &claim.shown).await {
            Ok(()) => self.connect(request, claim, expires_at).await,
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
        claim: Claim,
        expires_at: UnixMillis,
    ) -> Result<Response, EdgeError> {
        let served = self.served(&claim).await?.version;
        let Claim { scope, shown } = claim;
        let client = stream::client(request, &shown);
        let listener = Listener { scope, served, key: shown.key_id(), client, expires_at };
        stream::connect(request, self.env, self.context, self.config, listener).await
    }

    async fn evaluate(&self, request: &mut Request, claim: &Claim) -> Result<Reply, EdgeError> {
        let body = match self.head.verb {
            Verb::Post => body::read(request, REQUEST_BODY_LEN_MAX).await?,
            Verb::Get | Verb::Other => Vec::new(),
        };
        // Not before: a body may take its time, and the snapshot would grow old.
        let served = self.served(claim).await?;
        let Answered { reply, exposure, must_report } =
            evaluation::answer(self.config, claim, &served, self.head, &body, clock::now())?;
        if must_report {
            let (env, config) = (self.env.clone(), Rc::clone(self.config));
            self.context.wait_until(async move { reports::report(&env, &config).await });
        }
        if let Some(exposed) = exposure {
            let asker = self.asker(request, claim);
            exposure::record(exposed, asker, self.env, self.context, self.config, &claim.scope);
        }
        Ok(reply)
    }

    async fn events(&self, request: &mut Request, claim: &Claim) -> Result<Reply, EdgeError> {
        let body = body::read(request, REQUEST_BODY_LEN_MAX).await?;
        let served = self.served(claim).await?;
        let asker = self.asker(request, claim);
        let incoming = Incoming { config: self.config, scope: &claim.scope, served: &served, asker: &asker };
        let events::Taken { handovers, reply } = events::take(&body, incoming, clock::now())?;
        for handover in handovers {
            send::store(self.env, self.config, &claim.scope, EventSource::Client, handover).await?;
        }
        Ok(reply)
    }

    async fn usage(&self, request: &mut Request, claim: &Claim) -> Result<Reply, EdgeError> {
        let body = body::read(request, METRICS_BODY_LEN_MAX).await?;
        self.served(claim).await?;
        let asker = self.asker(request, claim);
        usage::answer(&body, self.env, self.config, &claim.scope, &asker, clock::now()).await
    }

    fn asker(&self, request: &Request, claim: &Claim) -> Asker {
        let user_agent = body::header(request, "user-agent");
        let address = self.head.headers.address.as_deref();
        asker(self.config, claim.shown.key_id(), address, user_agent.as_deref())
    }

    async fn features(&self, claim: &Claim) -> Result<Reply, EdgeError> {
        let served = self.served(claim).await?;
        let (version, text) = self.driver().features(&claim.scope, &served).await?;
        let mut reply = unleash::features(&claim.scope, self.head, version, &text)?;
        labels::label(&mut reply, self.config, &served);
        Ok(reply)
    }

    fn driver(&self) -> Driver<'_, WorkerRuntime<'_>> {
        driver(self.env, self.config)
    }

    /// The environment that the client key opens.
    async fn open(&self) -> Result<Claim, EdgeError> {
        let claim = Claim::of(self.head, &self.config.tenant, |text| Digest::of(text.as_bytes()))?;
        self.driver().open(&claim.scope, &claim.shown).await?;
        Ok(claim)
    }

    /// Its snapshot, as new as the client wants it.
    async fn served(&self, claim: &Claim) -> Result<Served, EdgeError> {
        let refresh_beside = || {
            let (env, config, scope) = (self.env.clone(), Rc::clone(self.config), claim.scope.clone());
            self.context.wait_until(async move {
                // A failed refresh changes nothing: the next request sees an older age and asks again.
                let _ = driver(&env, &config).refresh(&scope).await;
            });
        };
        self.driver().current(&claim.scope, &claim.shown, wish(self.head)?, refresh_beside).await
    }
}
