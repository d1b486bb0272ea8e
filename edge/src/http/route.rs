//! From a request's path to the route it means; tolerant where clients differ. Never looks at headers or bodies.

use flagfuse_shared::contract::beacon::EVENTS_PATH;
use flagfuse_shared::contract::replica::PUSH_PATH;
use flagfuse_shared::unleash::toggles::Listing;

use crate::stream_token::STREAM_PATH;

/// Methods that evaluation routes tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Without a body.
    Get,
    /// With one.
    Post,
    /// No evaluation.
    Other,
}

impl Verb {
    /// From the word on the wire.
    pub fn of(method: &str) -> Self {
        match method {
            "GET" => Self::Get,
            "POST" => Self::Post,
            _ => Self::Other,
        }
    }
}

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/healthz`
    Health,
    /// [`EVENTS_PATH`]
    Events,
    /// `/v1/push/{region}/{shard}`, and `/state` behind it.
    Push {
        /// As written in the path, unchecked.
        region: String,
        /// As written in the path, unchecked.
        shard: String,
        /// What of the replica.
        page: ReplicaPage,
    },
    /// [`STREAM_PATH`]
    Stream,
    /// OFREP, all flags.
    OfrepBulk,
    /// OFREP, one flag.
    OfrepSingle {
        /// The flag's key, percent-decoded, unchecked; `None` when it is no UTF-8.
        key: Option<String>,
    },
    /// Unleash's frontend API: toggles for one context.
    UnleashFrontend { listing: Listing },
    /// Unleash's client API: the toggles' definitions.
    UnleashFeatures,
    /// One of them.
    UnleashFeature {
        /// The toggle's name, percent-decoded, unchecked; `None` when it is no UTF-8.
        name: Option<String>,
    },
    /// An Unleash SDK says that it is there.
    UnleashRegister,
    /// An Unleash SDK says how often it was asked.
    UnleashMetrics,
    /// A path of the admin API, which is the control plane's.
    Admin,
    /// Nothing we know.
    Unknown,
}

/// What is wanted of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaPage {
    Push,
    /// What it holds, who vouches for it and what it refused.
    State,
}

impl Route {
    /// Whether the route evaluates flags.
    pub const fn is_evaluation(&self) -> bool {
        match self {
            Self::OfrepBulk | Self::OfrepSingle { .. } | Self::UnleashFrontend { .. } => true,
            Self::Health
            | Self::Events
            | Self::Push { .. }
            | Self::Stream
            | Self::UnleashFeatures
            | Self::UnleashFeature { .. }
            | Self::UnleashRegister
            | Self::UnleashMetrics
            | Self::Admin
            | Self::Unknown => false,
        }
    }

    /// The methods it answers, as an `Allow` header says it.
    pub const fn methods(&self) -> &'static str {
        match self {
            Self::Health
            | Self::Push { .. }
            | Self::Stream
            | Self::UnleashFeatures
            | Self::UnleashFeature { .. } => "GET",
            Self::Events
            | Self::OfrepBulk
            | Self::OfrepSingle { .. }
            | Self::UnleashRegister
            | Self::UnleashMetrics => "POST",
            Self::UnleashFrontend { .. } => "GET, POST",
            Self::Admin | Self::Unknown => "",
        }
    }

    /// Whether it answers the method.
    pub fn allows(&self, verb: Verb) -> bool {
        let word = match verb {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Other => return false,
        };
        self.methods().split(", ").any(|method| method == word)
    }
}

const OFREP: &str = "/ofrep/v1/evaluate/flags";

/// Finds the route of `path`, the part of the URL between host and query, still percent-encoded.
///
/// OFREP clients put a base path in front, or a base URL that ends in a slash: whatever stands before
/// `/ofrep/v1/` is ignored. A flag key may hold raw slashes, so everything behind `flags/` is the key.
pub fn route(path: &str) -> Route {
    if let Some(at) = path.find(OFREP) {
        let rest = path.get(at + OFREP.len()..).unwrap_or_default();
        let key = rest.trim_matches('/');
        return match (key.is_empty(), rest.starts_with('/')) {
            (true, _) => Route::OfrepBulk,
            (false, true) => Route::OfrepSingle { key: percent_decoded(key) },
            (false, false) => Route::Unknown,
        };
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    match path {
        "/healthz" => Route::Health,
        EVENTS_PATH => Route::Events,
        STREAM_PATH => Route::Stream,
        _ => unleash(path)
            .or_else(|| push(path))
            .unwrap_or_else(|| if is_admin(path) { Route::Admin } else { Route::Unknown }),
    }
}

/// Whether the control plane has such a path.
fn is_admin(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/v1/") else { return path == "/metrics" };
    let first = rest.split('/').next().unwrap_or_default();
    ["projects", "tokens", "whoami", "audit", "explain", "keys", "ingest", "replica"].contains(&first)
}

/// Unleash's paths, behind whatever base URL its clients were given.
fn unleash(path: &str) -> Option<Route> {
    let behind = |base: &str| path.rfind(base).and_then(|at| path.get(at + base.len()..));
    if let Some(rest) = behind("/api/client/") {
        return match (rest, rest.strip_prefix("features/")) {
            ("features", _) => Some(Route::UnleashFeatures),
            (_, Some(name)) => Some(Route::UnleashFeature { name: percent_decoded(name) }),
            (rest, None) => told(rest),
        };
    }
    let rest = behind("/api/frontend").or_else(|| behind("/api/proxy"))?;
    let (listing, rest) = match rest.strip_prefix("/all") {
        Some(rest) => (Listing::All, rest),
        None => (Listing::Enabled, rest),
    };
    match rest {
        "" => Some(Route::UnleashFrontend { listing }),
        rest => told(rest.strip_prefix("/client/")?),
    }
}

/// What clients of both APIs tell.
fn told(what: &str) -> Option<Route> {
    match what {
        "metrics" => Some(Route::UnleashMetrics),
        "register" => Some(Route::UnleashRegister),
        _ => None,
    }
}

fn push(path: &str) -> Option<Route> {
    let mut parts = path.strip_prefix(PUSH_PATH)?.strip_prefix('/')?.split('/');
    let (region, shard) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let page = match (parts.next(), parts.next()) {
        (None, _) => ReplicaPage::Push,
        (Some("state"), None) => ReplicaPage::State,
        _ => return None,
    };
    Some(Route::Push { region, shard, page })
}

/// Decodes `%XX`. A percent sign that starts no escape stands for itself, since some clients send keys raw.
fn percent_decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if let (b'%', Some((byte, behind))) = (first, escape(tail)) {
            bytes.push(byte);
            rest = behind;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// The byte that two hexadecimal digits at the start of `tail` mean, and what follows them.
fn escape(tail: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], behind) = tail.split_first_chunk::<2>()?;
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(high)? * 16 + digit(low)?;
    Some((u8::try_from(value).ok()?, behind))
}

/// The value of `name` in a query string, percent-decoded.
pub fn query_value(query: &str, name: &str) -> Option<String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| percent_decoded(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENABLED: Route = Route::UnleashFrontend { listing: Listing::Enabled };
    const ALL: Route = Route::UnleashFrontend { listing: Listing::All };

    fn feature(name: &str) -> Route {
        Route::UnleashFeature { name: Some(name.to_owned()) }
    }

    fn single(key: &str) -> Route {
        Route::OfrepSingle { key: Some(key.to_owned()) }
    }

    #[test]
    fn ofrep_paths_tolerate_prefixes_double_and_trailing_slashes() {
        for prefix in ["", "/", "/base", "/base/path/"] {
            assert_eq!(route(&format!("{prefix}/ofrep/v1/evaluate/flags")), Route::OfrepBulk);
            assert_eq!(route(&format!("{prefix}/ofrep/v1/evaluate/flags/")), Route::OfrepBulk);
            assert_eq!(route(&format!("{prefix}/ofrep/v1/evaluate/flags/a/")), single("a"));
        }
        assert_eq!(route("/ofrep/v1/evaluate/flagsX"), Route::Unknown);
    }

    #[test]
    fn flag_keys_come_raw_or_percent_encoded() {
        for (written, meant) in [
            ("a%2Fb", "a/b"),
            ("a/b", "a/b"),
            ("a%20b", "a b"),
            ("100%25", "100%"),
            ("100%", "100%"),
            ("%zz", "%zz"),
            ("gr%C3%B6%C3%9Fe", "größe"),
        ] {
            assert_eq!(route(&format!("/ofrep/v1/evaluate/flags/{written}")), single(meant), "{written}");
        }
        assert_eq!(route("/ofrep/v1/evaluate/flags/%FF"), Route::OfrepSingle { key: None });
    }

    #[test]
    fn unleash_paths_end_as_its_clients_end_them() {
        for (path, expected) in [
            ("/api/frontend", ENABLED),
            ("//api/frontend/", ENABLED),
            ("/base/api/proxy", ENABLED),
            ("/api/frontend/all", ALL),
            ("/base/api/proxy/all/", ALL),
            ("/api/frontend/allX", Route::Unknown),
            ("/api/proxy/all/client/metrics", Route::UnleashMetrics),
            ("/api/proxy/client/register", Route::UnleashRegister),
            ("/api/frontend/client/metrics", Route::UnleashMetrics),
            ("/api/client/metrics", Route::UnleashMetrics),
            ("/api/client/register", Route::UnleashRegister),
            ("/api/client/features", Route::UnleashFeatures),
            ("/base/api/client/features/new%20shop", feature("new shop")),
            ("/api/client/features/", Route::UnleashFeatures),
            ("/api/client/featuresX", Route::Unknown),
            ("/api/client", Route::Unknown),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }

    #[test]
    fn paths_of_the_admin_api_are_known_as_such() {
        for path in ["/v1/projects", "/v1/projects/demo/environments/dev/flags/", "/v1/tokens", "/metrics"] {
            assert_eq!(route(path), Route::Admin, "{path}");
        }
        for path in ["/v1/projectsX", "/v1/", "/v2/projects", "/metrics/x"] {
            assert_eq!(route(path), Route::Unknown, "{path}");
        }
    }

    #[test]
    fn methods_are_the_routes_own() {
        assert!(ENABLED.allows(Verb::Get) && ALL.allows(Verb::Post) && !feature("f").allows(Verb::Post));
        assert!(!Route::OfrepBulk.allows(Verb::Get) && !Route::Health.allows(Verb::Other));
    }

    #[test]
    fn push_paths_name_region_and_shard() {
        let expected = |page| Route::Push { region: "weur".to_owned(), shard: "0".to_owned(), page };
        assert_eq!(route("/v1/push/weur/0"), expected(ReplicaPage::Push));
        assert_eq!(route("/v1/push/weur/0/state"), expected(ReplicaPage::State));
        for bad in
            ["/v1/push/weur", "/v1/push/t/p/e", "/v1/push/weur/0/state/x", "/v1/push/", "/v2/push/w/0", "/"]
        {
            assert_eq!(route(bad), Route::Unknown, "{bad}");
        }
    }

    #[test]
    fn a_query_value_is_decoded() {
        assert_eq!(query_value("a=1&key=demo%3Adev.s", "key").as_deref(), Some("demo:dev.s"));
        assert_eq!(query_value("monkey=1", "key"), None);
    }
}
