//! The HTTP API: one file a resource with its endpoints, requests and answers; one route table, of which the `OpenAPI`
//! document is made. Handlers write no SQL and decide nothing.

mod answer;
mod arrivals;
mod astray;
mod audit;
mod auth;
mod body;
mod caller;
mod cells;
mod comment;
mod contracts;
mod cookie;
mod current;
mod document;
mod echo;
mod environments;
mod erasures;
mod explain;
mod exposition;
mod failures;
mod feed;
mod flag_details;
mod flag_diff;
mod flag_matrix;
mod flag_rows;
mod flags;
mod forward;
mod fuse_list;
mod fuses;
mod gate;
mod hints;
mod history;
mod import;
mod ingest;
mod keys;
mod lenient;
mod lints;
mod logins;
mod members;
mod metrics;
mod metrics_seen;
mod named;
mod notices;
mod operator;
mod otlp;
mod overview;
mod page;
mod parts;
mod project_flags;
mod projects;
mod propagation;
mod quarantine;
mod quarantine_groups;
mod rates;
mod readings;
mod rehearsals;
mod repeats;
mod replica;
mod rollout;
mod series;
mod server_events;
mod session;
mod settings;
mod slos;
mod slots;
mod spared;
mod submission;
mod suppressions;
mod telemetry_health;
mod tokens;
mod trips;
mod uses;

use std::sync::{Arc, LazyLock};

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::Uri;
use axum::http::header::{CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use axum::{Json, Router};
use flagfuse_shared::contract::beacon::INGEST_PATH;
use flagfuse_shared::contract::replica::PULL_PATH;
use flagfuse_shared::ids::{EnvironmentKey, FlagKey, ProjectKey, Scope, TenantKey, UnixMillis};
use flagfuse_shared::limits::{ADMIN_BODY_LEN_MAX, BATCH_BODY_LEN_MAX, IMPORT_LEN_MAX};
use serde::Serialize;
use tokio::sync::Semaphore;
use tracing::Instrument as _;
use utoipa::ToSchema;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use self::answer::Changed;
use self::auth::{Caller, Public, unknown_environment};
use self::document::{delete, get, patch, post, put, send};
use self::failures::Failures;
use self::forward::Forwarder;
use self::gate::Passages;
use self::logins::Logins;
use self::otlp::Exports;
pub use self::rates::RateLimit;
use self::rates::Rates;
pub use self::uses::Uses;
use crate::change::{Actor, Applied, Change, ChangeError, Preconditions, Proposal, Terms, propose};
use crate::clock::{Clock, monotonic};
use crate::error::{ApiError, Code};
use crate::feed::Feed;
use crate::ingest::Ingestion;
use crate::model::fleet::Fleet;
use crate::model::rights::Place;
use crate::publish::Publisher;
use crate::publish::newest_snapshot::OpenFrames;
use crate::store::scopes::EnvironmentRow;
use crate::store::{Store, StoreError, scopes};

pub use self::operator::{FlagLabels, operator_router};

/// Batches that may wait for the one writer; a body each, so this bounds memory to 128 MiB.
const INGEST_SLOT_COUNT: usize = 32;
/// Pulls that are answered at once; at most 10 MiB each.
const PULL_SLOT_COUNT: usize = 4;

/// What every handler works with.
#[derive(Debug, Clone)]
pub struct ApiState {
    store: Store,
    publisher: Publisher,
    ingestion: Ingestion,
    clock: Clock,
    fleet: Arc<Fleet>,
    forwarder: Arc<Forwarder>,
    ingest_slots: Arc<Semaphore>,
    pull_slots: Arc<Semaphore>,
    exports: Arc<Exports>,
    failures: Arc<Failures>,
    logins: Arc<Logins>,
    uses: Arc<Uses>,
    /// How often tokens may ask; as often as they like where there is no limit.
    rates: Option<Arc<Rates>>,
    /// Where the edges are, for those who ask the wrong one.
    edge_addresses: Arc<[String]>,
    feed: Feed,
    /// Snapshots that somebody asked about lately.
    open_frames: Arc<OpenFrames>,
}

impl ApiState {
    /// State over a database, with the replicas that receipts are expected from.
    pub fn new(
        (store, publisher, ingestion): (Store, Publisher, Ingestion),
        clock: Clock,
        fleet: Fleet,
        feed: Feed,
    ) -> Self {
        let ingest_slots = Arc::new(Semaphore::new(INGEST_SLOT_COUNT));
        let pull_slots = Arc::new(Semaphore::new(PULL_SLOT_COUNT));
        let (fleet, failures) = (Arc::new(fleet), Arc::default());
        let (edge_addresses, forwarder, exports) = (Arc::default(), Arc::default(), Arc::default());
        let (logins, uses) = (Arc::default(), Arc::default());
        Self {
            store,
            publisher,
            ingestion,
            clock,
            fleet,
            forwarder,
            ingest_slots,
            pull_slots,
            exports,
            failures,
            logins,
            uses,
            rates: None,
            edge_addresses,
            feed,
            open_frames: Arc::default(),
        }
    }

    /// With a limit to how often a token may ask.
    #[must_use]
    pub fn limited(self, limit: RateLimit) -> Self {
        Self { rates: Some(Arc::new(Rates::new(limit, self.clock.clone()))), ..self }
    }

    /// With the addresses of the edges.
    #[must_use]
    pub fn beside(self, edge_addresses: Vec<String>) -> Self {
        Self { edge_addresses: edge_addresses.into(), ..self }
    }

    /// With what notes when tokens and sessions are used; somebody has to write it now and then.
    #[must_use]
    pub fn noting(self, uses: Arc<Uses>) -> Self {
        Self { uses, ..self }
    }

    fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// The caller's project of this name.
    async fn project(&self, caller: &Caller, name: &str) -> Result<ProjectKey, ApiError> {
        let Ok(project) = ProjectKey::parse(name) else { return Err(unknown_project(name)) };
        if !caller.knows(&Place::Project(project.clone())) {
            return Err(unknown_project(name));
        }
        let is_there = scopes::has_project(&mut *self.store.read().await?, &caller.tenant, &project).await?;
        if is_there { Ok(project) } else { Err(unknown_project(name)) }
    }

    /// The caller's environment of these names.
    async fn environment(
        &self,
        caller: &Caller,
        project: &str,
        key: &str,
    ) -> Result<EnvironmentRow, ApiError> {
        let unknown = || unknown_environment(project, key);
        let keys = (ProjectKey::parse(project), EnvironmentKey::parse(key));
        let (Ok(project), Ok(environment)) = keys else { return Err(unknown()) };
        if !caller.knows(&Place::Environment(project.clone(), environment.clone())) {
            return Err(unknown());
        }
        let scope = Scope { tenant: caller.tenant.clone(), project, environment };
        scopes::environment(&mut *self.store.read().await?, &scope).await?.ok_or_else(unknown)
    }

    /// The environment of a token.
    async fn environment_of(
        &self,
        tenant: &TenantKey,
        project: ProjectKey,
        environment: EnvironmentKey,
    ) -> Result<EnvironmentRow, ApiError> {
        let scope = Scope { tenant: tenant.clone(), project, environment };
        let found = scopes::environment(&mut *self.store.read().await?, &scope).await?;
        let Scope { project, environment, .. } = &scope;
        let unknown = || format!("environment {project}/{environment} of this token does not exist any more");
        found.ok_or_else(|| ApiError::new(Code::UnknownEnvironment, unknown()))
    }

    /// Applies a change of the caller that alters no decision, so that nobody is asked about it.
    async fn apply(
        &self,
        caller: &Caller,
        preconditions: Preconditions,
        change: Change,
    ) -> Result<Changed, ApiError> {
        let terms = Terms { preconditions: caller.held_to(preconditions), ..Terms::default() };
        match self.change(caller, change, terms).await {
            Ok(applied) => Ok(applied.into()),
            Err(error) => Err(self.refusal(caller, error).await),
        }
    }

    /// What a caller is told of a change that is refused. Whoever has seen another state than the one that is there is shown
    /// this one, so that nobody has to ask again.
    async fn refusal(&self, caller: &Caller, error: ChangeError) -> ApiError {
        let ChangeError::Precondition { subject: Some(subject), .. } = &error else { return error.into() };
        let subject = subject.clone();
        let told = ApiError::from(error);
        match current::of(self, caller, &subject).await {
            Ok(shown) => told.showing(shown),
            // What it says is as true without it.
            Err(_) => told,
        }
    }

    /// In a task of its own: a caller that hangs up during the commit would otherwise take the wake-up of the pushers
    /// with it, and the change would travel seconds later.
    async fn change(
        &self,
        caller: &Caller,
        change: impl Into<Proposal> + Send,
        terms: Terms,
    ) -> Result<Applied, ChangeError> {
        let comment = caller.comment().map(str::to_owned);
        let terms = Terms { claim: caller.claim().cloned(), comment, ..terms };
        self.change_as(caller.actor(), change, terms).await
    }

    /// The same by who is not known yet, but will be by what it does.
    async fn change_as(
        &self,
        actor: Actor,
        change: impl Into<Proposal> + Send,
        terms: Terms,
    ) -> Result<Applied, ChangeError> {
        let (store, publisher) = (self.store.clone(), self.publisher.clone());
        let (now, change) = (self.now(), change.into());
        let proposed = async move { propose(&store, &publisher, &actor, change, &terms, now).await };
        let task = tokio::spawn(proposed.in_current_span());
        // Fails only when the runtime shuts down: the caller may ask again.
        task.await.unwrap_or(Err(ChangeError::Store(StoreError::Busy)))
    }
}

fn unknown_project(name: &str) -> ApiError {
    let detail = format!("project {name:?} does not exist: GET /v1/projects lists those that do");
    ApiError::new(Code::UnknownProject, detail)
}

fn flag_key(text: &str) -> Result<FlagKey, ApiError> {
    FlagKey::parse(text).map_err(|e| ApiError::new(Code::InvalidFlag, e.to_string()))
}

/// The routes below an environment.
fn environment_routes() -> OpenApiRouter<ApiState> {
    let import = post("/import", import::import, "Takes over another system's flags, all or none");
    let import = OpenApiRouter::new().routes(import).layer(DefaultBodyLimit::max(IMPORT_LEN_MAX));
    OpenApiRouter::new()
        .routes(get("/settings", environments::read_settings, "Reads the settings"))
        .routes(put("/settings", settings::put, "Replaces all settings"))
        .routes(patch("/settings", settings::patch, "Changes the settings that it names"))
        .routes(post("/publish", propagation::publish, "Publishes the same content under a new version"))
        .routes(get("/propagation", propagation::read, "Tells where the newest version is"))
        .routes(get("/arrivals", arrivals::list, "Tells how long the newest versions took"))
        .routes(get("/changes/{version}", propagation::change, "Tells who made a change, and where it is"))
        .routes(get("/snapshot", environments::snapshot, "Hands out the newest signed frame"))
        .routes(get("/snapshots", history::list, "Lists the versions that are kept"))
        .routes(post("/revert", history::revert, "Goes back to a kept version, under a new one"))
        .routes(get("/quarantine", quarantine::list, "Lists events that could not be counted"))
        .routes(get(
            "/quarantine/groups",
            quarantine_groups::list,
            "Lists them by what is wrong with which flag",
        ))
        .routes(post(
            "/quarantine/replay",
            quarantine::replay,
            "Counts what is sound by now, or tells how much is",
        ))
        .routes(get("/erasures", erasures::list, "Tells an edge which units were erased lately"))
        .routes(post("/erasures", erasures::ask, "Erases a unit, and tells how far that is"))
        .routes(get("/balance", quarantine::balance, "Tells what became of all events, by minute"))
        .routes(get(
            "/telemetry-health",
            telemetry_health::read,
            "Tells whether what is counted can be believed",
        ))
        .routes(get("/fuses", fuse_list::list, "Lists the fuses, and which harm stands among all"))
        .routes(get("/metrics-seen", metrics_seen::read, "Lists metric names that outcomes named lately"))
        .routes(get("/audit", audit::of_environment, "Lists who did what in the environment"))
        .routes(get("/notices", notices::list, "Lists what somebody was to hear of"))
        .routes(get("/tokens", tokens::list_of_environment, "Lists the environment's tokens"))
        .routes(post("/tokens", tokens::create_for_environment, "Makes a client key, or a server's"))
        .merge(flag_routes())
        .merge(slo_routes())
        .merge(parts::routes())
        .merge(import)
}

/// The routes of objectives below an environment.
fn slo_routes() -> OpenApiRouter<ApiState> {
    const SUPPRESSION: &str = "/suppressions/{suppression_id}";
    OpenApiRouter::new()
        .routes(get("/slos", slos::list, "Lists the SLOs, their budgets and their alerts"))
        .routes(get("/slos/{name}", slos::read, "Reads an SLO, its budget and its alerts"))
        .routes(put("/slos/{name}", slos::put, "Writes an SLO"))
        .routes(delete("/slos/{name}", slos::delete, "Deletes an SLO and what was counted for it"))
        .routes(get("/suppressions", suppressions::list, "Lists windows in which alerts are silent"))
        .routes(post("/suppressions", suppressions::create, "Declares a window in which alerts are silent"))
        .routes(get(SUPPRESSION, suppressions::read, "Reads such a window"))
        .routes(delete(SUPPRESSION, suppressions::end, "Ends such a window"))
}

/// The routes of flags below an environment.
fn flag_routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(get("/flags", flags::list, "Lists the flags"))
        .routes(get("/flag-rows", flag_rows::list, "Lists the flags with what they serve, in words"))
        .routes(get("/flags/{flag}", flags::read, "Reads a flag"))
        .routes(put("/flags/{flag}", flags::put, "Writes a flag"))
        .routes(patch("/flags/{flag}", flags::patch, "Changes what it names of a flag"))
        .routes(delete("/flags/{flag}", flags::delete, "Deletes a flag"))
        .routes(post("/flags/{flag}/on", flags::switch::<flags::On>, "Switches a flag on"))
        .routes(post("/flags/{flag}/off", flags::switch::<flags::Off>, "Switches a flag off, at once"))
        .routes(get("/flags/{flag}/diff", flag_diff::of_flag, "Compares a flag with another environment's"))
        .routes(post("/flags/{flag}/copy-to", flag_diff::copy_to, "Defines a flag likewise elsewhere"))
        .routes(get("/diff", flag_diff::of_environment, "Lists flags that are others in another environment"))
        .routes(get("/flags/{flag}/override", project_flags::read_override, "Reads an override"))
        .routes(put("/flags/{flag}/override", project_flags::put_override, "Writes an override"))
        .routes(delete("/flags/{flag}/override", project_flags::delete_override, "Deletes an override"))
        .routes(get("/flags/{flag}/fuse", fuses::read, "Reads a fuse and where it stands"))
        .routes(put("/flags/{flag}/fuse", fuses::put, "Writes a fuse's policy"))
        .routes(delete("/flags/{flag}/fuse", fuses::delete, "Deletes a fuse"))
        .routes(send(
            "/flags/{flag}/fuse/rehearse",
            rehearsals::run,
            "Tells what a policy would have done lately",
        ))
        .routes(post("/flags/{flag}/fuse/lint", lints::run, "Tells what speaks against arming a policy"))
        .routes(post("/flags/{flag}/fuse/{action}", fuses::act, "Moves a fuse by hand"))
        .routes(get("/flags/{flag}/fuse/series", series::read, "Tells what a fuse counted over time"))
        .routes(get("/flags/{flag}/fuse/trips", trips::list, "Lists the trips of a fuse"))
        .routes(get("/flags/{flag}/fuse/trips/{trip}", trips::read, "Tells the story of a trip"))
        .routes(get("/flags/{flag}/contract", contracts::read_contract, "Reads a contract"))
        .routes(put("/flags/{flag}/contract", contracts::put_contract, "Writes a contract's next version"))
        .routes(delete("/flags/{flag}/contract", contracts::delete_contract, "Takes a contract away"))
        .routes(get("/flags/{flag}/baseline", contracts::read_baseline, "Reads a baseline"))
        .routes(put("/flags/{flag}/baseline", contracts::put_baseline, "Writes a baseline's next version"))
        .routes(get("/flags/{flag}/rollout", rollout::read, "Tells how far a roll-out got, rule by rule"))
        .routes(post("/flags/{flag}/rollout/{step}", rollout::step, "Validates, promotes or rolls back"))
        .routes(get("/flags/{flag}/cells", cells::read, "Tells what was counted"))
        .routes(get("/flags/{flag}/usage", readings::usage, "Tells how often clients asked, by hour"))
        .routes(get("/flags/{flag}/verdicts", readings::verdicts, "Lists what the fuse found"))
        .routes(get("/flags/{flag}/retention-delta", readings::retention_delta, "Compares who comes back"))
}

/// The routes of tenants and projects.
fn tenant_routes() -> OpenApiRouter<ApiState> {
    const PROJECT_FLAG: &str = "/v1/projects/{project}/flags/{flag}";
    OpenApiRouter::new()
        .routes(get("/metrics", metrics::read, "Prometheus text of the tenant"))
        .routes(get("/v1/whoami", auth::whoami, "Tells who is asking, and what they may do"))
        .routes(get(
            "/v1/overview",
            overview::read,
            "Tells what needs somebody, what moves, and what changed",
        ))
        .routes(get("/v1/overview/launches", overview::launches, "Tells what fuses were good for"))
        .routes(get("/v1/feed", feed::listen, "Tells what happens, as an event stream"))
        .routes(get("/v1/audit", audit::of_tenant, "Lists who did what in the tenant"))
        .routes(send(server_events::PATH, server_events::take, "Takes events from a server"))
        .routes(send(PULL_PATH, replica::pull, "Hands a replica what it misses"))
        .routes(send("/v1/explain", explain::ask, "Tells every comparison on the way to an answer"))
        .routes(get("/v1/keys", keys::read, "Tells who may sign, and what a rotation waits for"))
        .routes(get("/v1/tokens", tokens::list, "Lists the tokens"))
        .routes(post("/v1/tokens", tokens::create, "Makes a token"))
        .routes(get("/v1/tokens/{token_id}", tokens::read, "Reads a token, without its secret"))
        .routes(delete("/v1/tokens/{token_id}", tokens::revoke, "Revokes a token"))
        .routes(post("/v1/tokens/{token_id}/rotate", tokens::rotate, "Makes a token's successor"))
        .routes(get("/v1/projects", projects::list, "Lists the projects"))
        .routes(post("/v1/projects", projects::create, "Makes a project"))
        .routes(get("/v1/projects/{project}", projects::read, "Reads a project"))
        .routes(delete("/v1/projects/{project}", projects::delete, "Deletes a project"))
        .routes(get("/v1/projects/{project}/flags", project_flags::list, "Lists the project's flags"))
        .routes(get(PROJECT_FLAG, project_flags::read, "Reads a project's flag"))
        .routes(put(PROJECT_FLAG, project_flags::put, "Writes a flag that every environment inherits"))
        .routes(patch(PROJECT_FLAG, project_flags::patch, "Changes what it names of a project's flag"))
        .routes(delete(PROJECT_FLAG, project_flags::delete, "Deletes a project's flag"))
        .routes(get(FLAG_MATRIX, flag_matrix::list, "Lists flags in all environments side by side"))
        .routes(get("/v1/projects/{project}/flag-details", flag_details::list, "Lists what is said of flags"))
        .routes(get(FLAG_DETAILS, flag_details::read, "Reads what people say of a flag"))
        .routes(put(FLAG_DETAILS, flag_details::put, "Writes what people say of a flag"))
        .routes(get(ENVIRONMENTS, environments::list, "Lists the environments"))
        .routes(post(ENVIRONMENTS, environments::create, "Makes an environment"))
        .routes(get(ENVIRONMENT, environments::read, "Reads an environment"))
        .routes(delete(ENVIRONMENT, environments::delete, "Deletes an environment"))
}

/// The routes of people: who they are, and where they are signed in.
fn people_routes() -> OpenApiRouter<ApiState> {
    const MEMBER: &str = "/v1/members/{user_id}";
    OpenApiRouter::new()
        .routes(send("/v1/session", session::sign_in, "Signs in with name and password"))
        .routes(send("/v1/session/link", session::follow, "Signs in with the code of a link"))
        .routes(delete("/v1/session", session::sign_out, "Signs out"))
        .routes(get("/v1/sessions", session::list, "Lists where the caller is signed in"))
        .routes(delete("/v1/sessions/{session_id}", session::end, "Signs the caller out elsewhere"))
        .routes(put("/v1/password", session::set_password, "Gives the caller another password"))
        .routes(get("/v1/members", members::list, "Lists the members"))
        .routes(post("/v1/members", members::invite, "Makes a member and a sign-in link"))
        .routes(get(MEMBER, members::read, "Reads a member"))
        .routes(put(MEMBER, members::put, "Gives a member other roles"))
        .routes(delete(MEMBER, members::remove, "Takes a member away, signed out everywhere"))
        .routes(post("/v1/members/{user_id}/link", members::link, "Makes a sign-in link for a member"))
}

const FLAG_MATRIX: &str = "/v1/projects/{project}/flag-matrix";
const FLAG_DETAILS: &str = "/v1/projects/{project}/flag-details/{flag}";
const ENVIRONMENTS: &str = "/v1/projects/{project}/environments";
const ENVIRONMENT: &str = "/v1/projects/{project}/environments/{environment}";

/// All routes with what they say of themselves.
fn routes() -> OpenApiRouter<ApiState> {
    let ingest = send(INGEST_PATH, ingest::batch, "Takes a batch of events from an edge");
    OpenApiRouter::with_openapi(document::empty(current::schemas()))
        .routes(get("/healthz", healthz, "Tells that the process answers"))
        .routes(get(document::PATH, openapi, "This document"))
        .merge(tenant_routes())
        .merge(people_routes())
        .nest(ENVIRONMENT, environment_routes())
        .layer(DefaultBodyLimit::max(ADMIN_BODY_LEN_MAX))
        .merge(OpenApiRouter::new().routes(ingest).layer(DefaultBodyLimit::max(BATCH_BODY_LEN_MAX)))
        .merge(otlp::routes())
}

/// All routes. Everything but `/healthz` and the document needs a bearer token.
pub fn router(state: ApiState) -> Router {
    let edges = Arc::clone(&state.edge_addresses);
    let (routes, document) = routes().split_for_parts();
    let passages = Arc::new(Passages::of(&document));
    let routes = routes.layer(from_fn_with_state((state.clone(), passages), gate::pass));
    let routes = routes.fallback(async move |uri: Uri| astray::not_found(&uri, &edges));
    let routes = routes.layer(from_fn_with_state(state.clone(), measured));
    // What is measured is the status before it is made friendlier.
    let routes = routes.layer(from_fn(lenient::lenient));
    let routes = named::named(routes).with_state(state);
    Router::new()
        .fallback_service(routes)
        .layer(map_response(async |response| for_browsers_and_caches(astray::with_methods(response))))
}

/// Measures how long an answer takes, by the template of its route: what was asked makes no series.
async fn measured(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let (began, method) = (monotonic(), request.method().clone());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    state.store.meters().answered(route, method.as_str(), response.status().as_u16(), began.elapsed());
    response
}

/// The `OpenAPI` document of all routes.
pub fn openapi_document() -> OpenApi {
    routes().into_openapi()
}

/// What every answer says: it is what its type says, and nobody keeps it. It may hold a secret, and all but `/healthz` is
/// for one caller only.
fn for_browsers_and_caches(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// That the process answers.
#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok`.
    status: &'static str,
}

async fn healthz(_: Public) -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Made when it is first asked for, and the same from then on.
async fn openapi(_: Public) -> Json<document::Document> {
    static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(openapi_document);
    Json(document::Document(&DOCUMENT))
}
