//! `POST …/ofrep/v1/evaluate/flags`: contexts in, answers out. Never decides anything: `shared` evaluates.

use flagfuse_shared::context::Context;
use flagfuse_shared::evaluate::{Evaluator, Question, evaluate};
use flagfuse_shared::ids::Scope;
use flagfuse_shared::ofrep::{
    Answer, Circumstances, Origin, bulk_etag, if_none_match, single_status, write_answer, write_bulk,
};
use flagfuse_shared::snapshot::Chanciness;

use crate::beacon::exposure::Exposure;
use crate::chance;
use crate::clock;
use crate::config::Config;
use crate::http::labels::label;
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
    let answer = evaluate(&served.compiled.snapshot, flag_key, question(served, context));
    let mut body = String::with_capacity(SINGLE_LEN_TYPICAL);
    write_answer(&mut body, flag_key, &answer, &origin(scope, served));
    let mut reply = Reply::json(single_status(&answer), body);
    label(&mut reply, config, served);
    (reply, exposure(served, context, &answer))
}

/// Answers for all flags, or 304 when the client has this answer already.
pub fn bulk(config: &Config, scope: &Scope, served: &Served, context: &Context, have: Option<&str>) -> Reply {
    let origin = origin(scope, served);
    let question = question(served, context);
    let snapshot = &served.compiled.snapshot;
    let circumstances = Circumstances {
        freshness: served.proof,
        stretch: snapshot.stretch(question.now),
        chance: question.chance,
    };
    let etag = bulk_etag(context, &origin, circumstances);
    let mut reply = if have.is_some_and(|header| if_none_match(header, &etag)) {
        Reply::empty(304)
    } else {
        let mut body = String::with_capacity(served.compiled.bulk_len_typical.get());
        write_bulk(&mut body, Evaluator::new(snapshot, question).all(), &origin);
        served.compiled.bulk_len_typical.set(body.len() + body.len() / 8);
        Reply::json(200, body)
    };
    reply.header("etag", etag);
    reply.header("vary", "Authorization, X-API-Key");
    label(&mut reply, config, served);
    reply
}

/// Chance is drawn only where a flag may ask for it, so that validators stay the same where none does.
fn question<'c>(served: &Served, context: &'c Context) -> Question<'c> {
    let chance = match served.compiled.snapshot.chanciness() {
        Chanciness::Determined => 0,
        Chanciness::Chancy => chance::number(),
    };
    Question { context, now: clock::now(), freshness: served.proof, chance }
}

fn origin(scope: &Scope, served: &Served) -> Origin {
    Origin::new(served.version, scope.environment.as_str())
}

/// A unit that was shown a flag with a running cohort. A bulk evaluation is a prefetch and never one.
fn exposure(served: &Served, context: &Context, answer: &Answer<'_>) -> Option<Exposure> {
    let resolution = answer.as_ref().ok()?;
    let assignment = resolution.assignment?;
    Some(Exposure {
        flag: resolution.flag.key().as_str().to_owned(),
        variation: resolution.variation?.key().as_str().to_owned(),
        phase: assignment.phase,
        unit: resolution.flag.bucket_by().unit(context)?.into_owned(),
        version: served.version,
    })
}
