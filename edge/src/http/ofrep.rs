//! `POST …/ofrep/v1/evaluate/flags`: contexts in, answers out. Never decides anything: `shared` evaluates.

use std::cell::Cell;

use flagfuse_shared::context::{Context, UnitSource};
use flagfuse_shared::definition::Units;
use flagfuse_shared::evaluate::{EvaluationResult, Question};
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::ofrep::{
    Circumstances, Origin, answers_mark, bulk_etag, if_none_match, single_status, write_answer, write_bulk,
};
use flagfuse_shared::snapshot::KeyId;

use crate::beacon::exposure::Exposure;
use crate::beacon::reports;
use crate::config::Config;
use crate::http::labels::label;
use crate::http::reply::Reply;
use crate::random;
use crate::snapshot::served::Served;
use crate::trust::ticket::Proof;

/// Bytes of a single answer with some room: key, value, variant, reason, metadata.
const SINGLE_LEN_TYPICAL: usize = 256;

/// The name of a ticket in an answer's metadata; one for a unit that another attribute names has that behind a colon.
const TICKET: &str = "ticket";

/// Who asks, of which snapshot.
#[derive(Debug, Clone, Copy)]
pub struct EvaluationInput<'a> {
    pub scope: &'a Scope,
    pub served: &'a Served,
    /// The client key's name.
    pub key: KeyId,
    pub context: &'a Context,
    pub now: UnixMillis,
    /// Drawn only for contexts whose answers may need it.
    random: Option<u64>,
}

impl<'a> EvaluationInput<'a> {
    /// Draws what the question needs beside the context.
    pub fn new(
        scope: &'a Scope,
        served: &'a Served,
        key: KeyId,
        context: &'a Context,
        now: UnixMillis,
    ) -> Self {
        let random = served.compiled.snapshot.may_be_random(context).then(random::number);
        Self { scope, served, key, context, now, random }
    }

    /// The question, now.
    pub fn question(&self) -> Question<'a> {
        Question {
            context: self.context,
            now: self.now,
            freshness: self.served.freshness(),
            random: self.random.unwrap_or(0),
        }
    }

    /// What an answer says of its origin.
    pub fn origin(&self) -> Origin {
        Origin::new(self.served.version, self.scope)
    }

    /// What a bulk says of its origin, with a ticket for each thing that names units of watched flags.
    fn bulk_origin(&self, config: &Config) -> Origin {
        let streams = config.notify.event_streams(self.scope, self.key, self.now);
        let mut origin = self.origin().with_event_streams(streams);
        for source in &self.served.compiled.watched {
            match source {
                UnitSource::TargetingKey => self.add_ticket(config, &mut origin, source, TICKET),
                UnitSource::Attribute(name) => {
                    self.add_ticket(config, &mut origin, source, &format!("{TICKET}:{}", name.as_str()));
                }
            }
        }
        origin
    }

    /// Whether the customer's server vouches for the unit that `source` names.
    fn proof(&self, config: &Config, source: &UnitSource) -> Proof {
        let is_signed =
            config.units.as_ref().is_some_and(|units| units.vouch_for(self.scope, source, self.context));
        if is_signed { Proof::Signed } else { Proof::Asked }
    }

    /// Adds the ticket of the asker's unit, where there are tickets and it has one.
    fn add_ticket(&self, config: &Config, origin: &mut Origin, source: &UnitSource, name: &str) {
        let Some((tickets, unit)) = config.tickets.as_ref().zip(source.unit(self.context)) else { return };
        if let Some(ticket) = tickets.issue(self.scope, &unit, self.proof(config, source), self.now) {
            origin.add_ticket(name, &ticket);
        }
    }
}

/// An answer, and what its isolate has to do once it is on its way.
pub struct Answered {
    pub reply: Reply,
    /// To be recorded if the environment wants that.
    pub exposure: Option<Exposure>,
    /// Whether counts of what was asked for wait that nobody is about to report.
    pub must_report: bool,
}

impl Answered {
    /// An answer that leaves nothing to do.
    pub const fn alone(reply: Reply) -> Self {
        Self { reply, exposure: None, must_report: false }
    }
}

/// Answers for one flag.
pub fn single(config: &Config, input: &EvaluationInput<'_>, flag_key: &str) -> Answered {
    let answer = input.served.compiled.snapshot.evaluate(flag_key, input.question());
    let mut body = String::with_capacity(SINGLE_LEN_TYPICAL);
    let mut origin = input.origin();
    if let Some(resolution) = answer.as_ref().ok().filter(|resolution| resolution.assignment.is_some()) {
        input.add_ticket(config, &mut origin, resolution.flag.bucket_by(), TICKET);
    }
    write_answer(&mut body, flag_key, &answer, &origin);
    let mut reply = Reply::json(single_status(&answer), body);
    label(&mut reply, config, input.served);
    let must_report = reports::note(input.scope, &answer);
    Answered { reply, exposure: exposure(config, input, &answer), must_report }
}

/// Answers for all flags, or 304 when the client has this answer already.
pub fn bulk(config: &Config, input: &EvaluationInput<'_>, have: Option<&str>) -> Reply {
    let origin = input.bulk_origin(config);
    let compiled = &input.served.compiled;
    let mut reply = all_flags(config, input, &origin, have, &compiled.bulk_len_typical, |body| {
        write_bulk(body, compiled.snapshot.evaluator(input.question()).all(), &origin);
    });
    reply.header("vary", "Authorization, X-API-Key, Origin");
    reply
}

/// The answer about all flags that `write` writes, with its validator, or 304 when the client has it already.
pub fn all_flags(
    config: &Config,
    input: &EvaluationInput<'_>,
    origin: &Origin,
    have: Option<&str>,
    len_typical: &Cell<usize>,
    write: impl Fn(&mut String),
) -> Reply {
    let written = || {
        let mut body = String::with_capacity(len_typical.get());
        write(&mut body);
        len_typical.set(body.len() + body.len() / 8);
        body
    };
    // Only the answers themselves say whether anything random had a part in them.
    let drawn = input.random.map(|_| written());
    let question = input.question();
    let circumstances = Circumstances {
        freshness: question.freshness,
        stretch: input.served.compiled.snapshot.stretch(question.now),
        random: drawn.as_deref().map_or(0, answers_mark),
    };
    let etag = bulk_etag(input.context, origin, circumstances);
    let is_known = have.is_some_and(|header| if_none_match(header, &etag));
    let mut reply =
        if is_known { Reply::empty(304) } else { Reply::json(200, drawn.unwrap_or_else(written)) };
    reply.header("etag", etag);
    label(&mut reply, config, input.served);
    reply
}

/// A unit that was shown a flag with a running cohort, and may enrol in it. A bulk evaluation is a prefetch and never one.
fn exposure(config: &Config, input: &EvaluationInput<'_>, answer: &EvaluationResult<'_>) -> Option<Exposure> {
    let resolution = answer.as_ref().ok()?;
    let assignment = resolution.assignment?;
    let (source, units) = (resolution.flag.bucket_by(), resolution.flag.cohort()?.units());
    if units == Units::Signed && input.proof(config, source) == Proof::Asked {
        return None;
    }
    Some(Exposure {
        flag: resolution.flag.key().as_str().to_owned(),
        variation: resolution.variation?.key().as_str().to_owned(),
        phase: assignment.phase,
        unit: source.unit(input.context)?.into_owned(),
        slices: assignment.slices,
        version: input.served.version,
    })
}
