//! `…/api/frontend`: Unleash's frontend API. Never decides anything: `shared` evaluates.

use flagfuse_shared::context::Context;
use flagfuse_shared::evaluate::Evaluator;
use flagfuse_shared::ofrep::if_none_match;
use flagfuse_shared::unleash::frontend::{parse_body, parse_query};
use flagfuse_shared::unleash::toggles::write_toggles;

use crate::config::Config;
use crate::error::EdgeError;
use crate::http::ask::{Ask, Verb};
use crate::http::labels::label;
use crate::http::ofrep::{Asked, etag};
use crate::http::reply::Reply;

/// The context of a request: in its query, or in its body.
pub fn context(ask: &Ask, body: &[u8]) -> Result<Context, EdgeError> {
    let attributes = match ask.verb {
        Verb::Post => parse_body(body)?,
        Verb::Get | Verb::Other => parse_query(&ask.query)?,
    };
    Ok(Context::from_attributes(attributes)?)
}

/// The enabled toggles, or 304 when the client has this answer already.
pub fn answer(config: &Config, asked: &Asked<'_>, have: Option<&str>) -> Reply {
    let etag = etag(asked, &asked.origin());
    let mut reply = if have.is_some_and(|header| if_none_match(header, &etag)) {
        Reply::empty(304)
    } else {
        let compiled = &asked.served.compiled;
        let mut body = String::with_capacity(compiled.toggles_len_typical.get());
        write_toggles(&mut body, Evaluator::new(&compiled.snapshot, asked.question()).all());
        compiled.toggles_len_typical.set(body.len() + body.len() / 8);
        Reply::json(200, body)
    };
    reply.header("etag", etag);
    reply.header("vary", "Authorization, Origin");
    label(&mut reply, config, asked.served);
    reply
}
