//! `…/api/frontend` and `…/api/client/features`: what Unleash's clients ask. Never decides anything: `shared` evaluates.

use flagfuse_shared::context::Context;
use flagfuse_shared::ids::{Scope, SnapshotVersion};
use flagfuse_shared::ofrep::if_none_match;
use flagfuse_shared::unleash::export::{features_etag, selection};
use flagfuse_shared::unleash::frontend::{add_address, parse_body, parse_query};
use flagfuse_shared::unleash::toggles::{Listing, write_toggles};

use crate::config::Config;
use crate::error::EdgeError;
use crate::http::ofrep::{EvaluationInput, all_flags};
use crate::http::reply::Reply;
use crate::http::request::RequestHead;
use crate::http::route::{Route, Verb, query_value};

/// The context of a request: in its query, or in its body, and from where it came.
pub fn context(head: &RequestHead, body: &[u8]) -> Result<Context, EdgeError> {
    let mut attributes = match head.verb {
        Verb::Post => parse_body(body)?,
        Verb::Get | Verb::Other => parse_query(&head.query)?,
    };
    if let Some(address) = &head.headers.address {
        add_address(&mut attributes, address);
    }
    Ok(Context::from_attributes(attributes)?)
}

/// The toggles, or 304 when the client has this answer already.
pub fn answer(config: &Config, input: &EvaluationInput<'_>, listing: Listing, have: Option<&str>) -> Reply {
    let compiled = &input.served.compiled;
    let mut reply = all_flags(config, input, &input.origin(), have, &compiled.toggles_len_typical, |body| {
        write_toggles(body, listing, compiled.snapshot.evaluator(input.question()).all());
    });
    reply.header("vary", "Authorization, Origin");
    reply
}

/// All definitions, those of a prefix or one; 304 when the client has them already. `text` is the whole document.
///
/// A `project` in the query changes nothing: a token's own project comes before it, as in Unleash, and ours have one.
pub fn features(
    scope: &Scope,
    head: &RequestHead,
    version: SnapshotVersion,
    text: &str,
) -> Result<Reply, EdgeError> {
    if let Route::UnleashFeature { name } = &head.route {
        let feature = name.as_deref().and_then(|name| selection::feature(text, name));
        return feature.map(|feature| Reply::json(200, feature)).ok_or(EdgeError::FeatureNotFound);
    }
    let prefix = query_value(&head.query, "namePrefix").filter(|prefix| !prefix.is_empty());
    let etag = features_etag(scope, version, prefix.as_deref());
    let is_known = head.headers.none_match.as_deref().is_some_and(|have| if_none_match(have, &etag));
    let mut reply = match prefix {
        _ if is_known => Reply::empty(304),
        Some(prefix) => Reply::json(200, selection::with_prefix(text, &prefix)),
        None => Reply::json(200, text.to_owned()),
    };
    reply.header("etag", etag);
    reply.header("vary", "Authorization, Origin");
    Ok(reply)
}
