//! What the deployment tells the worker, read once per isolate or object. Never guesses a missing secret.

pub mod notifier;

use std::cell::RefCell;
use std::rc::Rc;

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{EnvironmentKey, IdError, ProjectKey, Scope, TenantKey};
use flagfuse_shared::limits::{REGION_COUNT_MAX, SHARD_COUNT_MAX};
use flagfuse_shared::snapshot::TrustedRoots;
use worker::Env;

use crate::config::notifier::NotifySettings;
use crate::error::EdgeError;
use crate::region::{Position, nearest};
use crate::trust::network::NetworkKey;
use crate::trust::ticket::TicketSecrets;
use crate::trust::unit::UnitSecrets;

#[derive(Debug, Clone)]
pub struct Config {
    /// The installation this edge serves.
    pub tenant: TenantKey,
    /// The region whose objects this isolate asks first; part of every object's name and of the answers.
    pub region: String,
    /// Whether [`Self::region`] is settled, or only the first of all until a request has shown where this isolate is.
    located: Located,
    /// All regions, this one included.
    pub regions: Vec<String>,
    /// Replicas of each region.
    pub shards: u16,
    /// Label for the `x-flags-isolate` header, when isolates are to be told apart.
    pub isolate: Option<String>,
    /// Who may sign keysets, or why nobody can. Health and routing work without.
    pub roots: Result<TrustedRoots, EdgeError>,
    /// Digest of the token that may push; without it nobody may.
    pub push_token_digest: Option<Digest>,
    /// Where events go, without a slash at the end; empty when this edge delivers none.
    pub control_plane_url: String,
    /// What the edge presents there.
    pub ingest_token: String,
    /// How clients hear of publications.
    pub notify: NotifySettings,
    /// Makes and checks tickets; without it every client's events count.
    pub tickets: Option<TicketSecrets>,
    /// Checks units that the customer's servers signed; without it no unit is signed.
    pub units: Option<UnitSecrets>,
    /// Hashes the networks that requests come from.
    pub networks: Option<NetworkKey>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Located {
    Yes,
    NotYet,
}

impl Config {
    /// The same for a region's objects, which live where their names say.
    #[must_use]
    pub fn at(&self, region: &str) -> Self {
        Self { region: region.to_owned(), located: Located::Yes, ..self.clone() }
    }

    /// The environment `project/environment` of this installation.
    pub fn scope(&self, project: &ProjectKey, environment: &EnvironmentKey) -> Scope {
        Scope { tenant: self.tenant.clone(), project: project.clone(), environment: environment.clone() }
    }

    /// Reads settings by their names.
    pub fn parse(get: impl Fn(&str) -> Option<String>) -> Result<Self, EdgeError> {
        let text = |name: &str| get(name).unwrap_or_default();
        let wrong = |name: &str, why: String| EdgeError::Misconfigured { detail: format!("{name}: {why}") };
        let tenant = get("FLAGFUSE_TENANT").unwrap_or_else(|| "default".to_owned());
        let regions = regions(&text("FLAGFUSE_REGION"), &text("FLAGFUSE_REGIONS"))?;
        let own = get("FLAGFUSE_REGION").filter(|region| !region.is_empty());
        let located = if own.is_some() || regions.len() == 1 { Located::Yes } else { Located::NotYet };
        let region = own.or_else(|| regions.first().cloned()).unwrap_or_default();
        let shards = get("FLAGFUSE_SHARDS").unwrap_or_else(|| "1".to_owned());
        let shards =
            shards.parse().ok().filter(|count| (1..=SHARD_COUNT_MAX).contains(count)).ok_or_else(|| {
                wrong("FLAGFUSE_SHARDS", format!("{shards:?} is not 1 to {SHARD_COUNT_MAX}"))
            })?;
        let threshold = get("FLAGFUSE_ROOT_THRESHOLD").unwrap_or_else(|| "1".to_owned());
        let threshold = threshold
            .parse()
            .map_err(|_| wrong("FLAGFUSE_ROOT_THRESHOLD", format!("{threshold:?} is not a number")))?;
        let push_digest = text("FLAGFUSE_PUSH_TOKEN_SHA256");
        Ok(Self {
            tenant: TenantKey::parse(&tenant).map_err(|error| wrong("FLAGFUSE_TENANT", error.to_string()))?,
            region,
            located,
            regions,
            shards,
            isolate: get("FLAGFUSE_ISOLATE").filter(|label| !label.is_empty()),
            roots: TrustedRoots::parse(
                words(&text("FLAGFUSE_ROOT_KEYS")).iter().map(String::as_str),
                threshold,
            )
            .map_err(|error| wrong("FLAGFUSE_ROOT_KEYS", error.to_string())),
            push_token_digest: match push_digest.as_str() {
                "" => None,
                hex => Some(
                    Digest::parse(hex)
                        .map_err(|error| wrong("FLAGFUSE_PUSH_TOKEN_SHA256", error.to_string()))?,
                ),
            },
            control_plane_url: text("FLAGFUSE_CONTROL_PLANE_URL").trim_end_matches('/').to_owned(),
            ingest_token: text("FLAGFUSE_INGEST_TOKEN"),
            notify: NotifySettings::parse(&get)?,
            tickets: TicketSecrets::parse(&text("FLAGFUSE_TICKET_SECRETS"))
                .map_err(|error| wrong("FLAGFUSE_TICKET_SECRETS", error))?,
            units: UnitSecrets::parse(&text("FLAGFUSE_UNIT_SECRETS"))
                .map_err(|error| wrong("FLAGFUSE_UNIT_SECRETS", error))?,
            networks: NetworkKey::new(&network_key(&get)),
        })
    }
}

/// What networks are hashed with: a setting of its own, else the token that every edge presents which delivers events. When it
/// changes, a network counts as another one.
fn network_key(get: impl Fn(&str) -> Option<String>) -> String {
    let own = get("FLAGFUSE_NETWORK_SECRET").filter(|text| !text.is_empty());
    own.or_else(|| get("FLAGFUSE_INGEST_TOKEN")).unwrap_or_default()
}

/// All regions. Without a list there is the one this worker serves.
fn regions(own: &str, list: &str) -> Result<Vec<String>, EdgeError> {
    let wrong = |name: &str, why: String| Err(EdgeError::Misconfigured { detail: format!("{name}: {why}") });
    let mut all = words(list);
    if all.is_empty() {
        all.push(own.to_owned());
    }
    for region in &all {
        // Same alphabet as the other parts of an object's name, or two regions could share an object.
        if let Err(error) = TenantKey::parse(region) {
            let name = if list.is_empty() { "FLAGFUSE_REGION" } else { "FLAGFUSE_REGIONS" };
            return wrong(name, format!("a region's name is like a tenant key: {error}"));
        }
    }
    if all.len() > REGION_COUNT_MAX {
        let why = format!("{} regions, the limit is {REGION_COUNT_MAX}", all.len());
        return wrong("FLAGFUSE_REGIONS", why);
    }
    if let Some(twice) =
        all.iter().enumerate().find(|(at, region)| all.iter().skip(at + 1).any(|r| r == *region))
    {
        return wrong("FLAGFUSE_REGIONS", format!("{} stands there twice", twice.1));
    }
    if !own.is_empty() && !all.iter().any(|region| region == own) {
        return wrong("FLAGFUSE_REGION", format!("{own:?} is none of FLAGFUSE_REGIONS ({})", all.join(", ")));
    }
    Ok(all)
}

/// The comma-separated words of `text`.
fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

thread_local! {
    /// Bindings cannot change while an isolate lives, and reading one costs a call into JavaScript.
    static CONFIG: RefCell<Option<Result<Rc<Config>, EdgeError>>> = const { RefCell::new(None) };
}

/// This worker's configuration, as objects need it; their region is in their name, see [`Config::at`].
pub fn config(env: &Env) -> Result<Rc<Config>, EdgeError> {
    CONFIG.with_borrow_mut(|slot| {
        slot.get_or_insert_with(|| {
            Config::parse(|name| env.var(name).ok().map(|value| value.to_string())).map(Rc::new)
        })
        .clone()
    })
}

/// This isolate's configuration. Where no region is configured, the first request settles it for the isolate's life: isolates
/// stay in their colocation, and a later request from far away makes none of them move.
pub fn config_near(env: &Env, position: impl FnOnce() -> Option<Position>) -> Result<Rc<Config>, EdgeError> {
    let config = config(env)?;
    if config.located == Located::Yes {
        return Ok(config);
    }
    let located = Rc::new(config.at(nearest(&config.regions, position()).unwrap_or(&config.region)));
    CONFIG.set(Some(Ok(Rc::clone(&located))));
    Ok(located)
}

/// The configuration when a request has read it already; costs no call into JavaScript.
pub fn cached_config() -> Option<Rc<Config>> {
    CONFIG.with_borrow(|slot| {
        let config = slot.as_ref().and_then(|config| config.as_ref().ok());
        config.filter(|config| config.located == Located::Yes).cloned()
    })
}

/// Reads the scope back out of a Durable Object's name `region/tenant/project/environment…`.
pub fn scope_of_object(name: &str) -> Result<Scope, IdError> {
    let mut parts = name.split('/').skip(1);
    let mut part = || parts.next().unwrap_or_default();
    Ok(Scope {
        tenant: TenantKey::parse(part())?,
        project: ProjectKey::parse(part())?,
        environment: EnvironmentKey::parse(part())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Config, EdgeError> {
        Config::parse(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn only_the_region_has_no_default() {
        let config = parse(&[("FLAGFUSE_REGION", "weur")]).unwrap();
        assert_eq!(config.tenant.as_str(), "default");
        assert!(config.push_token_digest.is_none());
        assert!(config.roots.is_err(), "without root keys no snapshot can be trusted");
        assert!(parse(&[]).is_err());
    }

    #[test]
    fn a_bad_setting_is_named() {
        for (name, value) in [
            ("FLAGFUSE_TENANT", "Not A Slug"),
            ("FLAGFUSE_ROOT_THRESHOLD", "two"),
            ("FLAGFUSE_PUSH_TOKEN_SHA256", "abc"),
            ("FLAGFUSE_REGIONS", "enam,apac"),
            ("FLAGFUSE_REGIONS", "weur,West"),
            ("FLAGFUSE_REGIONS", "weur,enam,weur"),
            ("FLAGFUSE_REGIONS", "weur,a,b,c,d,e,f,g,h,i"),
            ("FLAGFUSE_SHARDS", "0"),
            ("FLAGFUSE_SHARDS", "17"),
            ("FLAGFUSE_TICKET_SECRETS", "one"),
            ("FLAGFUSE_TICKET_SECRETS", "a:short"),
            ("FLAGFUSE_UNIT_SECRETS", "a:short"),
        ] {
            let error = parse(&[("FLAGFUSE_REGION", "weur"), (name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn regions_are_a_list_and_the_own_one_may_be_left_to_the_first_request() {
        let config = parse(&[("FLAGFUSE_REGION", "weur")]).unwrap();
        assert_eq!((config.regions.as_slice(), config.shards), (&["weur".to_owned()][..], 1));
        let config = parse(&[("FLAGFUSE_REGIONS", "weur, enam"), ("FLAGFUSE_SHARDS", "16")]).unwrap();
        assert_eq!((config.regions.len(), config.shards), (2, 16));
        assert_eq!(config.located, Located::NotYet);
        let there = config.at("enam");
        assert_eq!((there.region.as_str(), there.located), ("enam", Located::Yes));
        assert_eq!(parse(&[("FLAGFUSE_REGIONS", "home")]).unwrap().located, Located::Yes);
        assert_eq!(
            parse(&[("FLAGFUSE_REGIONS", "weur,enam"), ("FLAGFUSE_REGION", "enam")]).unwrap().region,
            "enam"
        );
    }

    #[test]
    fn keys_are_a_comma_separated_list() {
        assert_eq!(words(" a= ,,b="), ["a=", "b="]);
    }

    #[test]
    fn an_objects_name_gives_its_scope_back() {
        assert_eq!(scope_of_object("local/t/p/e").unwrap().to_string(), "t/p/e");
        assert_eq!(scope_of_object("local/t/p/e/0").unwrap().to_string(), "t/p/e");
        assert!(scope_of_object("local/t/p").is_err());
    }
}
