//! What the deployment tells the worker, read once per isolate or object. Never guesses a missing secret.

use std::cell::RefCell;
use std::rc::Rc;

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{EnvironmentKey, IdError, ProjectKey, Scope, TenantKey};
use flagfuse_shared::snapshot::TrustedRoots;
use worker::Env;

use crate::error::EdgeError;
use crate::notify::settings::NotifySettings;

/// The parsed bindings.
#[derive(Debug, Clone)]
pub struct Config {
    /// The installation this edge serves.
    pub tenant: TenantKey,
    /// Part of every object's name and of the answers.
    pub region: String,
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
}

impl Config {
    /// The environment `project/environment` of this installation.
    pub fn scope(&self, project: &ProjectKey, environment: &EnvironmentKey) -> Scope {
        Scope { tenant: self.tenant.clone(), project: project.clone(), environment: environment.clone() }
    }

    fn parse(get: impl Fn(&str) -> Option<String>) -> Result<Self, EdgeError> {
        let text = |name: &str| get(name).unwrap_or_default();
        let wrong = |name: &str, why: String| EdgeError::Misconfigured { detail: format!("{name}: {why}") };
        let tenant = get("FLAGFUSE_TENANT").unwrap_or_else(|| "default".to_owned());
        let region = text("FLAGFUSE_REGION");
        // Same alphabet as the other parts of an object's name, or two regions could share an object.
        TenantKey::parse(&region).map_err(|error| wrong("FLAGFUSE_REGION", error.to_string()))?;
        let threshold = get("FLAGFUSE_ROOT_THRESHOLD").unwrap_or_else(|| "1".to_owned());
        let threshold = threshold
            .parse()
            .map_err(|_| wrong("FLAGFUSE_ROOT_THRESHOLD", format!("{threshold:?} is no number")))?;
        let push_digest = text("FLAGFUSE_PUSH_TOKEN_SHA256");
        Ok(Self {
            tenant: TenantKey::parse(&tenant).map_err(|error| wrong("FLAGFUSE_TENANT", error.to_string()))?,
            region,
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
        })
    }
}

/// The comma-separated words of `text`.
fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

thread_local! {
    /// Bindings cannot change while an isolate lives, and reading one costs a call into JavaScript.
    static CONFIG: RefCell<Option<Result<Rc<Config>, EdgeError>>> = const { RefCell::new(None) };
}

/// This worker's configuration.
pub fn config(env: &Env) -> Result<Rc<Config>, EdgeError> {
    CONFIG.with_borrow_mut(|slot| {
        slot.get_or_insert_with(|| {
            Config::parse(|name| env.var(name).ok().map(|value| value.to_string())).map(Rc::new)
        })
        .clone()
    })
}

/// The configuration when a request has read it already; costs no call into JavaScript.
pub fn cached_config() -> Option<Rc<Config>> {
    CONFIG.with_borrow(|slot| slot.as_ref().and_then(|config| config.as_ref().ok()).cloned())
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
        ] {
            let error = parse(&[("FLAGFUSE_REGION", "weur"), (name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
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
