//! The HTTP API: one file per resource, one route table. Handlers write no SQL and decide nothing.

mod answer;
mod astray;
mod audit;
mod auth;
mod body;
mod echo;
mod environments;
mod explain;
mod failures;
mod flags;
mod fuses;
mod hints;
mod import;
mod ingest;
mod kept;
mod keys;
mod manner;
mod metrics;
mod metrics_seen;
mod project_flags;
mod projects;
mod propagation;
mod readings;
mod replica;
mod settings;
mod shared;
mod tokens;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::http::header::{CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use flagfuse_shared::contract::beacon::INGEST_PATH;
use flagfuse_shared::contract::replica::PULL_PATH;
use flagfuse_shared::ids::{EnvironmentKey, FlagKey, ProjectKey, Scope, UnixMillis};
use flagfuse_shared::limits::{ADMIN_BODY_LEN_MAX, BATCH_BODY_LEN_MAX, IMPORT_LEN_MAX};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use self::answer::Changed;
use self::auth::Caller;
use self::failures::Failures;
use crate::change::{Applied, Change, ChangeError, Preconditions, Proposal, Terms, propose};
use crate::clock::Clock;
use crate::error::{ApiError, Code};
use crate::model::fleet::Fleet;
use crate::model::identity::UnitKey;
use crate::publish::Publisher;
use crate::store::scopes::EnvironmentRow;
use crate::store::{Connection, Store, StoreError, scopes};

/// Batches that may wait for the one writer; a body each, so this bounds memory to 32 MiB.
const INGEST_SLOT_COUNT: usize = 8;
/// Pulls that are answered at once; at most 10 MiB each.
const PULL_SLOT_COUNT: usize = 4;

/// What every handler works with.
#[derive(Debug, Clone)]
pub struct ApiState {
    store: Store,
    publisher: Publisher,
    unit_key: UnitKey,
    clock: Clock,
    fleet: Arc<Fleet>,
    ingest_slots: Arc<Semaphore>,
    pull_slots: Arc<Semaphore>,
    failures: Arc<Failures>,
    /// Where the edges are, for those who ask the wrong one.
    edge_addresses: Arc<[String]>,
}

impl ApiState {
    /// State over a database, with the replicas that receipts are expected from.
    pub fn new(store: Store, publisher: Publisher, unit_key: UnitKey, clock: Clock, fleet: Fleet) -> Self {
        let ingest_slots = Arc::new(Semaphore::new(INGEST_SLOT_COUNT));
        let pull_slots = Arc::new(Semaphore::new(PULL_SLOT_COUNT));
        let (fleet, failures) = (Arc::new(fleet), Arc::default());
        let edge_addresses = Arc::default();
        Self { store, publisher, unit_key, clock, fleet, ingest_slots, pull_slots, failures, edge_addresses }
    }

    /// With the addresses of the edges.
    #[must_use]
    pub fn beside(self, edge_addresses: Vec<String>) -> Self {
        Self { edge_addresses: edge_addresses.into(), ..self }
    }

    fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// The caller's environment of these names.
    async fn environment(
        &self,
        caller: &Caller,
        project: &str,
        key: &str,
    ) -> Result<EnvironmentRow, ApiError> {
        environment(&mut *self.store.read().await?, caller, project, key).await
    }

    /// Applies a change of the caller that alters no decision, so that nobody is asked about it.
    async fn apply(
        &self,
        caller: &Caller,
        preconditions: Preconditions,
        change: Change,
    ) -> Result<Changed, ApiError> {
        let terms = Terms { preconditions, ..Terms::default() };
        Ok(self.change(caller, change, terms).await?.into())
    }

    /// In a task of its own: a caller that hangs up during the commit would otherwise take the wake-up of the pushers
    /// with it, and the change would travel seconds later.
    async fn change(
        &self,
        caller: &Caller,
        change: impl Into<Proposal> + Send,
        terms: Terms,
    ) -> Result<Applied, ChangeError> {
        let (store, publisher) = (self.store.clone(), self.publisher.clone());
        let (actor, now, change) = (caller.actor(), self.now(), change.into());
        let task =
            tokio::spawn(async move { propose(&store, &publisher, &actor, change, &terms, now).await });
        // Fails only when the runtime shuts down: the caller may ask again.
        task.await.unwrap_or(Err(ChangeError::Store(StoreError::Busy)))
    }
}

/// The caller's environment of these names, as of the view that `conn` has: for pages that tell more of that moment.
async fn environment(
    conn: &mut Connection,
    caller: &Caller,
    project: &str,
    key: &str,
) -> Result<EnvironmentRow, ApiError> {
    let unknown = || {
        let detail = format!(
            "environment {project}/{key} does not exist: GET /v1/projects/{project}/environments lists those that do"
        );
        ApiError::new(Code::UnknownEnvironment, detail)
    };
    let keys = (ProjectKey::parse(project), EnvironmentKey::parse(key));
    let (Ok(project), Ok(environment)) = keys else { return Err(unknown()) };
    let scope = Scope { tenant: caller.tenant.clone(), project, environment };
    scopes::environment(conn, &scope).await?.ok_or_else(unknown)
}

fn flag_key(text: &str) -> Result<FlagKey, ApiError> {
    FlagKey::parse(text).map_err(|e| ApiError::new(Code::InvalidFlag, e.to_string()))
}

/// The routes below an environment.
fn environment_routes() -> Router<ApiState> {
    Router::new()
        .route("/flags", get(flags::list))
        .route("/flags/{flag}", get(flags::read).put(flags::put).patch(flags::patch).delete(flags::delete))
        .route("/flags/{flag}/on", post(flags::on))
        .route("/flags/{flag}/off", post(flags::off))
        .route(
            "/flags/{flag}/override",
            get(project_flags::read_override)
                .put(project_flags::put_override)
                .delete(project_flags::delete_override),
        )
        .route("/flags/{flag}/fuse", get(fuses::read).put(fuses::put).delete(fuses::delete))
        .route("/flags/{flag}/fuse/{action}", post(fuses::act))
        .route("/flags/{flag}/tallies", get(readings::tallies))
        .route("/flags/{flag}/usage", get(readings::usage))
        .route("/flags/{flag}/verdicts", get(readings::verdicts))
        .route("/flags/{flag}/retention-delta", get(readings::retention_delta))
        .route(
            "/settings",
            get(environments::read).put(environments::put_settings).patch(environments::patch_settings),
        )
        .route("/publish", post(propagation::publish))
        .route("/propagation", get(propagation::read))
        .route("/changes/{version}", get(propagation::change))
        .route("/snapshot", get(environments::snapshot))
        .route("/snapshots", get(kept::list))
        .route("/revert", post(kept::revert))
        .route("/quarantine", get(environments::quarantine))
        .route("/balance", get(environments::balance))
        .route("/metrics-seen", get(metrics_seen::read))
        .route("/audit", get(audit::of_environment))
        .route("/tokens", get(tokens::list_client_keys).post(tokens::create_client_key))
        .route("/import", post(import::import).layer(DefaultBodyLimit::max(IMPORT_LEN_MAX)))
        .merge(shared::routes())
}

/// All routes. Everything but `/healthz` needs a bearer token.
pub fn router(state: ApiState) -> Router {
    let edges = Arc::clone(&state.edge_addresses);
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics::read))
        .route("/v1/whoami", get(auth::whoami))
        .route("/v1/audit", get(audit::of_tenant))
        .route(PULL_PATH, post(replica::pull))
        .route("/v1/explain", post(explain::ask))
        .route("/v1/keys", get(keys::read))
        .route("/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/v1/tokens/{token_id}", get(tokens::read).delete(tokens::revoke))
        .route("/v1/projects", get(projects::list).post(projects::create))
        .route("/v1/projects/{project}", get(projects::read).delete(projects::delete))
        .route("/v1/projects/{project}/flags", get(project_flags::list))
        .route(
            "/v1/projects/{project}/flags/{flag}",
            get(project_flags::read)
                .put(project_flags::put)
                .patch(project_flags::patch)
                .delete(project_flags::delete),
        )
        .route("/v1/projects/{project}/environments", get(environments::list).post(environments::create))
        .route(
            "/v1/projects/{project}/environments/{environment}",
            get(environments::read_whole).delete(environments::delete),
        )
        .nest("/v1/projects/{project}/environments/{environment}", environment_routes())
        .layer(DefaultBodyLimit::max(ADMIN_BODY_LEN_MAX))
        .merge(
            Router::new()
                .route(INGEST_PATH, post(ingest::batch))
                .layer(DefaultBodyLimit::max(BATCH_BODY_LEN_MAX)),
        )
        .fallback(async move |uri: Uri| astray::not_found(&uri, &edges))
        .with_state(state);
    Router::new()
        .fallback_service(routes)
        .layer(map_response(async |response| for_browsers_and_caches(astray::with_methods(response))))
}

/// What every answer says: it is what its type says, and nobody keeps it. It may hold a secret, and all but `/healthz` is
/// for one caller only.
fn for_browsers_and_caches(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}
