//! `…/api/frontend` and `…/api/client/features`: what Unleash's clients ask. Never decides anything: `shared` evaluates.

use flagfuse_shared::context::Context;
use flagfuse_shared::ids::{Scope, SnapshotVersion};
use flagfuse_shared::ofrep::if_none_match;
use flagfuse_shared::unleash::export::{features_etag, selection};
use flagfuse_shared::unleash::frontend::{add_address, parse_body, parse_query};
use flagfuse_shared::unleash::toggles::{Listing, write_toggles};

use crate::config::Config;
use crate::error::EdgeError;
use crate::http::ask::Ask;
use crate::http::ofrep::{Asked, all_flags};
use crate::http::reply::Reply;
use crate::http::route::{Route, Verb, query_value};

/// The context of a request: in its query, or in its body, and from where it came.
pub fn context(ask: &Ask, body: &[u8]) -> Result<Context, EdgeError> {
    let mut attributes = match ask.verb {
        Verb::Post => parse_body(body)?,
        Verb::Get | Verb::Other => parse_query(&ask.query)?,
    };
    if let Some(address) = &ask.headers.address {
        add_address(&mut attributes, address);
    }
    Ok(Context::from_attributes(attributes)?)
}

/// The toggles, or 304 when the client has this answer already.
pub fn answer(config: &Config, asked: &Asked<'_>, listing: Listing, have: Option<&str>) -> Reply {
    let compiled = &asked.served.compiled;
    let mut reply = all_flags(config, asked, &asked.origin(), have, &compiled.toggles_len_typical, |body| {
        write_toggles(body, listing, compiled.snapshot.evaluator(asked.question()).all());
    });
    reply.header("vary", "Authorization, Origin");
    reply
}

/// All definitions, those of a prefix or one; 304 when the client has them already. `text` is the whole document.
///
/// A `project` in the query changes nothing: a token's own project comes before it, as in Unleash, and ours have one.
pub fn features(scope: &Scope, ask: &Ask, version: SnapshotVersion, text: &str) -> Result<Reply, EdgeError> {
    if let Route::UnleashFeature { name } = &ask.route {
        let feature = name.as_deref().and_then(|name| selection::feature(text, name));
        return feature.map(|feature| Reply::json(200, feature)).ok_or(EdgeError::FeatureNotFound);
    }
    let prefix = query_value(&ask.query, "namePrefix").filter(|prefix| !prefix.is_empty());
    let etag = features_etag(scope, version, prefix.as_deref());
    let is_known = ask.headers.none_match.as_deref().is_some_and(|have| if_none_match(have, &etag));
    let mut reply = match prefix {
        _ if is_known => Reply::empty(304),
        Some(prefix) => Reply::json(200, selection::with_prefix(text, &prefix)),
        None => Reply::json(200, text.to_owned()),
    };
    reply.header("etag", etag);
    reply.header("vary", "Authorization, Origin");
    Ok(reply)
}
