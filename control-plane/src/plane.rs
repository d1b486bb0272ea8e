//! A whole control plane over one data directory: made once, opened often, served until told to stop.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flagfuse_shared::ids::TenantKey;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::api::{ApiState, FlagLabels, RateLimit, Uses, operator_router, router};
use crate::change::{Actor, Change, ChangeError, CodeToMake, PeopleChange, apply};
use crate::clock::Clock;
use crate::credential::{Bearer, Secret, TokenKind, generate, public_id};
use crate::dashboard;
use crate::feed::{self, Feed};
use crate::ingest::{Ingestion, Node};
use crate::jobs::{self, ServeOptions};
use crate::listen::{self, Limits, capacity};
use crate::model::account::{AccountFault, account_name};
use crate::model::fleet::Fleet;
use crate::model::identity::UnitKey;
use crate::model::rights::{Grant, Place, Rights, Role};
use crate::model::session::CODE_MS;
use crate::private;
use crate::publish::Publisher;
use crate::publish::beat::Issuer;
use crate::publish::keys::files::KeyFolder;
use crate::publish::keys::status::{file_warnings, status};
use crate::publish::keys::{KeyError, Passphrase, Protection, SigningKeys, create_development, rotation};
use crate::store::address::DatabaseUrl;
use crate::store::users::{self, UserRow};
use crate::store::{Store, StoreError, tokens};

/// How long requests in flight may take once it is time to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections of the operator's listener: a few scrapers.
const OPERATOR_COUNT_MAX: usize = 16;

/// Name of the database in the data directory.
const DATABASE_FILE: &str = "flagfuse.db";

/// Why a control plane cannot be made, opened or served.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// Keys are missing, unreadable, or there already.
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A token could not be made.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// No random bytes for a token.
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// Nobody could use it.
    #[error(
        "tenant {tenant} has neither owner nor admin token; `flagfuse login-link` and `flagfuse token create --kind admin \
         --name NAME` make one"
    )]
    NoAdminToken { tenant: TenantKey },
    /// Nobody of that name, and somebody else owns the tenant.
    #[error("tenant {tenant} has no member {name}, and it has an owner, who can invite one")]
    UnknownMember { tenant: TenantKey, name: String },
    /// No name of an account.
    #[error(transparent)]
    Account(#[from] AccountFault),
    /// Its tokens are somebody's already.
    #[error("{database} is initialised already: `flagfuse token create` makes further tokens")]
    Initialised { database: DatabaseUrl },
    #[error("{path}: {source}")]
    Directory {
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Where a control plane keeps what it has.
#[derive(Debug, Clone)]
pub struct Location {
    /// Directory of the keys.
    pub data: PathBuf,
    /// Everything else.
    pub database: DatabaseUrl,
}

impl Location {
    /// All of it in one directory.
    pub fn directory(data: &Path) -> Self {
        Self { data: data.to_owned(), database: DatabaseUrl::Sqlite(data.join(DATABASE_FILE)) }
    }
}

/// What `init` hands out, once.
#[derive(Debug)]
pub struct Initialised {
    /// Token of the first administrator.
    pub admin_token: String,
    /// Token for edges to deliver events with.
    pub ingest_token: String,
    /// Name of the first owner.
    pub owner: String,
    /// The code of the first owner's sign-in link.
    pub sign_in_code: String,
    /// What edges have to trust, base64.
    pub root_public_keys: Vec<String>,
    /// How many of them have to sign.
    pub root_threshold: usize,
}

/// Where an operator reads what a process measures.
#[derive(Debug)]
pub struct Operator {
    /// Nobody is asked for a token there.
    pub listener: TcpListener,
    pub labels: FlagLabels,
}

/// A code with which somebody signs in once.
pub struct SignInCode {
    /// Of the account, as it is kept.
    pub name: String,
    /// What stands behind `#login=`.
    pub code: String,
    /// Whether the account was made for it.
    pub is_new: bool,
}

impl std::fmt::Debug for SignInCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignInCode({})", self.name)
    }
}

/// An opened control plane.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    pub store: Store,
    /// Its signer and bell.
    pub publisher: Publisher,
    /// Counts events.
    pub ingestion: Ingestion,
    /// Hashes units.
    pub unit_key: UnitKey,
    pub clock: Clock,
    /// When tokens and sessions were used last, until it is written.
    pub uses: Arc<Uses>,
    /// What happens, for those who listen.
    pub feed: Feed,
}

/// Makes keys with a development root, database and first tokens; refuses a directory that has them.
pub async fn init(data: &Path, tenant: &TenantKey, clock: Clock) -> Result<Initialised, PlaneError> {
    create_directory(data)?;
    create_development(data, &Protection::Unencrypted, clock.now())?;
    init_database(&Location::directory(data), (tenant, FIRST_OWNER), None, clock).await
}

/// The first owner, where nobody says another name.
const FIRST_OWNER: &str = "owner";

/// Makes database, first tokens and the first owner, by the name of an account, beside keys that are there; refuses a
/// database that has tokens.
pub async fn init_database(
    location: &Location,
    (tenant, owner): (&TenantKey, &str),
    passphrase: Option<Passphrase>,
    clock: Clock,
) -> Result<Initialised, PlaneError> {
    if let DatabaseUrl::Sqlite(path) = &location.database
        && path.exists()
    {
        return Err(KeyError::Exists { path: path.clone() }.into());
    }
    let keys = ControlPlane::keys(&location.data, passphrase)?;
    let store = open_store(location).await?;
    // Before anything is written: the database may be another installation's.
    if tokens::count(&mut *store.read().await?, TokenKind::Admin).await? > 0 {
        return Err(PlaneError::Initialised { database: location.database.clone() });
    }
    let plane = ControlPlane::over(keys, store, clock).await?;
    let admin_token =
        plane.create_token(TokenKind::Admin, Bearer::Tenant(tenant.clone()), "first admin").await?;
    let ingest_token = plane.create_token(TokenKind::Ingest, Bearer::Tenant(tenant.clone()), "edges").await?;
    let SignInCode { name: owner, code: sign_in_code, .. } = plane.sign_in_code(tenant, owner).await?;
    let root = plane.publisher.keys().current().keyset.roles.root.clone();
    plane.store.close().await;
    let (root_public_keys, root_threshold) = (root.keys, root.threshold);
    Ok(Initialised { admin_token, ingest_token, owner, sign_in_code, root_public_keys, root_threshold })
}

/// Opens the database alone, which brings its schema up to date.
pub async fn open_store(location: &Location) -> Result<Store, PlaneError> {
    create_directory(&location.data)?;
    if let DatabaseUrl::Sqlite(path) = &location.database {
        // The log and its index get the database's mode when they are made.
        for suffix in ["", "-wal", "-shm"] {
            let mut file = path.as_os_str().to_owned();
            file.push(suffix);
            private::tighten_or_warn(Path::new(&file));
        }
    }
    Ok(Store::connect(&location.database).await?)
}

fn create_directory(data: &Path) -> Result<(), PlaneError> {
    std::fs::create_dir_all(data).map_err(|source| PlaneError::Directory { path: data.to_owned(), source })
}

impl ControlPlane {
    /// Opens keys in clear and database of an initialised directory.
    pub async fn open(data: &Path, clock: Clock) -> Result<Self, PlaneError> {
        Self::unlock(&Location::directory(data), None, clock).await
    }

    /// Opens keys and database.
    pub async fn unlock(
        location: &Location,
        passphrase: Option<Passphrase>,
        clock: Clock,
    ) -> Result<Self, PlaneError> {
        let keys = Self::keys(&location.data, passphrase)?;
        Self::over(keys, open_store(location).await?, clock).await
    }

    fn keys(data: &Path, passphrase: Option<Passphrase>) -> Result<SigningKeys, PlaneError> {
        KeyFolder::of_data(data).tighten();
        Ok(SigningKeys::load(data, passphrase)?)
    }

    async fn over(keys: SigningKeys, store: Store, clock: Clock) -> Result<Self, PlaneError> {
        let unit_key = keys.unit_key()?;
        rotation::adopt(&store, &keys, clock.now()).await?;
        let publisher = Publisher::new(keys, Issuer::random()?);
        let node = Node::random(String::new())?;
        let bell = publisher.listen();
        let ingestion = Ingestion::new(store.clone(), unit_key.clone(), clock.clone(), node, bell);
        let feed = Feed::new(public_id()?);
        Ok(Self { store, publisher, ingestion, unit_key, clock, uses: Arc::default(), feed })
    }

    /// The same under an address where other control planes of its database reach it: they hand it the events that it
    /// counts. To be called before anything is served.
    pub fn reached_at(self, address: String) -> Result<Self, PlaneError> {
        let node = Node::random(address)?;
        let (store, unit_key) = (self.store.clone(), self.unit_key.clone());
        let ingestion = Ingestion::new(store, unit_key, self.clock.clone(), node, self.publisher.listen());
        Ok(Self { ingestion, ..self })
    }

    /// Makes a token on behalf of whoever has the data directory; its text.
    pub async fn create_token(
        &self,
        kind: TokenKind,
        bearer: Bearer,
        name: &str,
    ) -> Result<String, PlaneError> {
        let tenant = match &bearer {
            Bearer::Tenant(tenant) | Bearer::Project(tenant, _) => tenant.clone(),
            Bearer::Environment(scope) => scope.tenant.clone(),
        };
        let now = self.clock.now();
        let credential = generate(kind, bearer, name, now)?;
        let actor = Actor { tenant, name: "operator".to_owned() };
        let change = Change::CreateToken { token: Box::new(credential.row), secret: credential.digest };
        apply(&self.store, &self.publisher, &actor, change, now).await?;
        Ok(credential.text)
    }

    /// Makes the code of a sign-in link on behalf of whoever has the data directory. Where the tenant has no owner, the name
    /// becomes one.
    pub async fn sign_in_code(&self, tenant: &TenantKey, name: &str) -> Result<SignInCode, PlaneError> {
        let (name, now) = (account_name(name)?, self.clock.now());
        let (secret, rights) = (Secret::of_link()?, Rights::of_operator());
        let code = CodeToMake { secret: secret.digest, expires_ms: now.plus(CODE_MS) };
        let mut conn = self.store.read().await?;
        let found = users::named(&mut conn, tenant, &name).await?;
        let is_owned = users::owner_count(&mut conn, tenant).await? > 0;
        drop(conn);
        let is_new = found.is_none();
        let change = match found {
            Some(user) => PeopleChange::MakeLink { user_id: user.user_id, code, rights },
            None if is_owned => return Err(PlaneError::UnknownMember { tenant: tenant.clone(), name }),
            None => {
                let user = UserRow {
                    user_id: public_id()?,
                    name: name.clone(),
                    password: None,
                    created_ms: now,
                    revision: 1,
                };
                let grants = vec![Grant { role: Role::Owner, place: Place::Tenant }];
                PeopleChange::Invite { user, grants, code, rights }
            }
        };
        let actor = Actor { tenant: tenant.clone(), name: "operator".to_owned() };
        apply(&self.store, &self.publisher, &actor, Change::People(Box::new(change)), now).await?;
        Ok(SignInCode { name, code: secret.text, is_new })
    }

    /// Refuses when the tenant has no way in.
    pub async fn require_admin_token(&self, tenant: &TenantKey) -> Result<(), PlaneError> {
        let (mut conn, now) = (self.store.read().await?, self.clock.now());
        let all = tokens::list(&mut conn, tenant).await?;
        let is_owned = users::owner_count(&mut conn, tenant).await? > 0;
        let is_way_in = |token: &tokens::TokenRow| token.kind == TokenKind::Admin && token.is_valid(now);
        if is_owned || all.iter().any(is_way_in) {
            Ok(())
        } else {
            Err(PlaneError::NoAdminToken { tenant: tenant.clone() })
        }
    }

    /// Logs what somebody should look at before anything else: replicas that went another way, keys in clear, an end
    /// that is near.
    pub async fn report(&self) -> Result<(), PlaneError> {
        let (keys, now) = (self.publisher.keys(), self.clock.now());
        let found = status(&mut *self.store.read().await?, keys, &[], now).await?;
        for fork in found.fork_warnings() {
            tracing::error!("{fork}: its environment takes no change until `flagfuse keys bump-epoch`");
        }
        for warning in found.warnings.into_iter().chain(file_warnings(keys)?) {
            tracing::warn!("{warning}");
        }
        Ok(())
    }

    /// The API alone, without anything running beside it, and without a limit to how often a token may ask.
    pub fn router(&self, fleet: Fleet) -> axum::Router {
        dashboard::before(router(self.api(fleet)))
    }

    /// The same with such a limit.
    pub fn limited_router(&self, fleet: Fleet, limit: RateLimit) -> axum::Router {
        dashboard::before(router(self.api(fleet).limited(limit)))
    }

    /// What an operator reads of this process and its database, alone.
    pub fn operator_router(&self, fleet: Fleet, labels: FlagLabels) -> axum::Router {
        operator_router(self.api(fleet), labels)
    }

    fn api(&self, fleet: Fleet) -> ApiState {
        let (store, publisher) = (self.store.clone(), self.publisher.clone());
        let parts = (store, publisher, self.ingestion.clone());
        let state = ApiState::new(parts, self.clock.clone(), fleet, self.feed.clone());
        state.noting(Arc::clone(&self.uses))
    }

    /// Serves until `shutdown` is ready, then lets requests in flight finish and closes the database.
    pub async fn serve(
        self,
        listener: TcpListener,
        options: ServeOptions,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) {
        self.serve_beside(listener, None, options, shutdown).await;
    }

    /// The same with a listener of the operator's beside that of the API.
    pub async fn serve_beside(
        self,
        listener: TcpListener,
        operator: Option<Operator>,
        options: ServeOptions,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) {
        let mut beside = JoinSet::new();
        let (store, publisher, clock) = (&self.store, &self.publisher, &self.clock);
        beside.spawn(jobs::run_engine(store.clone(), publisher.clone(), clock.clone(), options.tick));
        beside.spawn(jobs::run_validations(store.clone(), publisher.clone(), clock.clone()));
        beside.spawn(jobs::run_ticks(self.ingestion.clone(), clock.clone()));
        beside.spawn(jobs::run_housekeeping(store.clone(), publisher.clone(), clock.clone()));
        let uses = Arc::clone(&self.uses);
        beside.spawn(jobs::run_people(store.clone(), publisher.clone(), clock.clone(), uses));
        beside.spawn(feed::run(self.feed.clone(), store.clone(), clock.clone(), publisher.listen()));
        let fleet = options.fleet();
        // For those who ask this side what the edges answer.
        let addresses = options.edges.iter().map(|edge| edge.url.clone()).collect();
        let api = self.api(fleet.clone()).beside(addresses);
        let api = match options.rate_limit {
            Some(limit) => api.limited(limit),
            None => api,
        };
        beside.spawn(jobs::run_rotation(store.clone(), publisher.clone(), clock.clone(), fleet));
        beside.spawn(jobs::run_pushers(store.clone(), publisher.clone(), clock.clone(), options));
        let limits = Limits::of(capacity::claim());
        tracing::info!(connections = limits.count_max, "listening");
        let (stop, stopped) = tokio::sync::watch::channel(false);
        if let Some(Operator { listener, labels }) = operator {
            let (router, limits) = (operator_router(api.clone(), labels), Limits::of(OPERATOR_COUNT_MAX));
            beside.spawn(listen::serve(listener, router, limits, stopped.clone()));
        }
        let serving = listen::serve(listener, dashboard::before(router(api)), limits, stopped);
        let drained = async {
            shutdown.await;
            stop.send_replace(true);
            self.feed.stop();
            tokio::time::sleep(DRAIN_TIMEOUT).await;
        };
        tokio::select! {
            () = serving => {}
            () = drained => {}
        }
        beside.shutdown().await;
        self.ingestion.close().await;
        self.store.close().await;
    }
}
