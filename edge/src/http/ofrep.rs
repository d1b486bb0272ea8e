//! `POST …/ofrep/v1/evaluate/flags`: contexts in, answers out. Never decides anything: `shared` evaluates.

use flagfuse_shared::context::Context;
use flagfuse_shared::evaluate::{evaluate, evaluate_all};
use flagfuse_shared::ids::Scope;
use flagfuse_shared::ofrep::{
    Answer, Origin, bulk_etag, if_none_match, single_status, write_answer, write_bulk,
};

use crate::beacon::exposure::Exposure;
use crate::config::Config;
use crate::http::labels::{label, state};
use crate::http::reply::Reply;
use crate::snapshot::isolate::Served;

/// Bytes of a single answer with some room: key, value, variant, reason, metadata.
const SINGLE_LEN_TYPICAL: usize = 256;

/// Answers for one flag, and says which exposure to record if the environment wants that.
pub fn single(
    config: &Config,
    scope: &Scope,
    served: &Served,
    flag_key: &str,
    context: &Context,
) -> (Reply, Option<Exposure>) {
    let answer = evaluate(&served.compiled.snapshot, flag_key, context, served.proof);
    let mut body = String::with_capacity(SINGLE_LEN_TYPICAL);
    write_answer(&mut body, flag_key, &answer, &origin(scope, served));
    let mut reply = Reply::json(single_status(&answer), body);
    label(&mut reply, config, served);
    (reply, exposure(served, context, &answer))
}

/// Answers for all flags, or 304 when the client has this answer already.
pub fn bulk(config: &Config, scope: &Scope, served: &Served, context: &Context, have: Option<&str>) -> Reply {
    let origin = origin(scope, served);
    let etag = bulk_etag(context, &origin, state(served.proof));
    let mut reply = if have.is_some_and(|header| if_none_match(header, &etag)) {
        Reply::empty(304)
    } else {
        let mut body = String::new();
        write_bulk(&mut body, evaluate_all(&served.compiled.snapshot, context, served.proof), &origin);
        Reply::json(200, body)
    };
    reply.header("etag", etag);
    reply.header("vary", "Authorization, X-API-Key");
    label(&mut reply, config, served);
    reply
}

fn origin<'o>(scope: &'o Scope, served: &Served) -> Origin<'o> {
    Origin { version: served.version, environment: scope.environment.as_str() }
}

/// A unit that was shown a flag with a running cohort. A bulk evaluation is a prefetch and never one.
fn exposure(served: &Served, context: &Context, answer: &Answer<'_>) -> Option<Exposure> {
    let resolution = answer.as_ref().ok()?;
    let assignment = resolution.assignment?;
    Some(Exposure {
        flag: resolution.flag.key().as_str().to_owned(),
        variation: resolution.variation?.key().as_str().to_owned(),
        phase: assignment.phase,
        unit: context.unit(resolution.flag.bucket_by())?.into_owned(),
        version: served.version,
    })
}
