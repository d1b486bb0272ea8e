//! `POST /v1/events`: what is stored before events are acknowledged. Nothing is dropped: invalid events travel on as they came. Pure.

use flagfuse_shared::contract::beacon::{
    ClientBatch, Event, EventKind, RequestHead, SourceMark, parse_event,
};
use flagfuse_shared::contract::fault::{EventFault, QuarantineCode};
use flagfuse_shared::definition::Units;
use flagfuse_shared::flag::Flag;
use flagfuse_shared::ids::{FlagKey, Scope, SnapshotVersion, Unit, UnixMillis};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::beacon::handover::{Asker, ClientRequest, digest};
use crate::config::Config;
use crate::error::EdgeError;
use crate::http::reply::Reply;
use crate::snapshot::served::Served;
use crate::trust::ticket::{Proof, TicketFault, TicketSecrets};

/// Where events arrive.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    pub config: &'a Config,
    pub scope: &'a Scope,
    pub served: &'a Served,
    pub asker: &'a Asker,
}

/// What becomes of a body's events.
#[derive(Debug)]
pub struct Taken {
    /// What a buffer has to store before anything is answered, one text for each source of events.
    pub handovers: Vec<String>,
    /// The answer once they are stored.
    pub reply: Reply,
}

/// Takes a body's events, valid or not. The answer says which of them the control plane will quarantine, and why; when that is
/// all of them, it is a refusal.
pub fn take(body: &[u8], incoming: Incoming<'_>, now: UnixMillis) -> Result<Taken, EdgeError> {
    let Incoming { config, scope, served, asker } = incoming;
    let snapshot = &served.compiled.snapshot;
    let known = |key: &FlagKey| snapshot.flag(key.as_str()).map(Result::ok);
    let rules = Rules { scope, tickets: config.tickets.as_ref(), version: served.version, flag: &known };
    let batch = ClientBatch::parse(body)?;
    let judged: Vec<Judged> = batch.events.iter().map(|raw| rules.judge(raw, &batch, now)).collect();
    let mut handovers = Vec::new();
    for source in [SourceMark::Ticket, SourceMark::Signed, SourceMark::Open, SourceMark::None] {
        let of_source = || {
            let both = batch.events.iter().zip(&judged);
            both.filter(move |(_, judged)| judged.source == source)
        };
        if of_source().next().is_some() {
            let exposure_count = of_source().filter(|(_, judged)| judged.enrols).count();
            let events: Vec<&RawValue> = of_source().map(|(raw, _)| *raw).collect();
            handovers.push(handover(&events, exposure_count, source, &batch, asker, now));
        }
    }
    // Where no fuse watches, nobody asks for tickets.
    let asks_for_tickets = !served.compiled.watched.is_empty();
    Ok(Taken { handovers, reply: reply(&judged, asks_for_tickets) })
}

fn handover(
    events: &[&RawValue],
    exposure_count: usize,
    source: SourceMark,
    batch: &ClientBatch<'_>,
    asker: &Asker,
    now: UnixMillis,
) -> String {
    let head = RequestHead {
        sent_ms: batch.sent_ms,
        source,
        network: asker.network,
        is_bot: asker.is_bot,
        sdk: batch.sdk.as_deref(),
    };
    let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    ClientRequest {
        event_count: count(events.len()),
        exposure_count: count(exposure_count),
        received_ms: now,
        key: &asker.key,
        network: asker.network,
        // With its source: what was sent without a ticket may be sent again with one.
        digest: digest([source.as_str()].into_iter().chain(events.iter().map(|event| event.get()))),
        json: &head.write(events.iter().copied()),
    }
    .write()
}

/// What the edge makes of an event.
#[derive(Debug)]
struct Judged {
    source: SourceMark,
    /// Why the control plane will quarantine it.
    fault: Option<EventFault>,
    /// Why its ticket proves nothing.
    ticket: Option<TicketFault>,
    /// It may enrol a unit, or say whose enrolment a unit's is.
    enrols: bool,
}

/// What events are judged by.
struct Rules<'r> {
    scope: &'r Scope,
    tickets: Option<&'r TicketSecrets>,
    /// Of the snapshot that is here.
    version: SnapshotVersion,
    /// A flag of that snapshot; `None` inside for one that is malformed.
    flag: &'r dyn Fn(&FlagKey) -> Option<Option<&'r Flag>>,
}

impl Rules<'_> {
    fn judge(&self, raw: &RawValue, batch: &ClientBatch<'_>, now: UnixMillis) -> Judged {
        let event = match parse_event(raw.get(), now, batch.sent_ms) {
            Ok(event) => event,
            Err(fault) => {
                return Judged { source: self.unproven(), fault: Some(fault), ticket: None, enrols: false };
            }
        };
        let ticket = event.ticket.as_deref().or(batch.ticket.as_deref());
        let (source, ticket) = match (self.tickets, &event.unit) {
            (Some(tickets), Some(unit)) => {
                let check =
                    |unit: &Unit, ticket| tickets.check(self.scope, unit.as_str(), ticket, event.occurred_ms);
                // A link says something of two units, and each has to be one that an edge answered.
                let checked = check(unit, ticket).and_then(|proof| match &event.kind {
                    EventKind::Link { canonical, canonical_ticket } => {
                        check(canonical, canonical_ticket.as_deref())
                    }
                    _ => Ok(proof),
                });
                match checked {
                    Ok(Proof::Signed) => (SourceMark::Signed, None),
                    Ok(Proof::Asked) => (SourceMark::Ticket, self.unsigned(&event)),
                    Err(fault) => (SourceMark::None, Some(fault)),
                }
            }
            _ => (self.unproven(), None),
        };
        let fault = self.check_exposure(&event);
        // What enrols nobody takes nobody's place among those whom its key and network may enrol.
        let is_counted = fault.is_none() && source != SourceMark::None;
        let can_enrol =
            matches!(event.kind, EventKind::Exposure { phase: Some(_), .. } | EventKind::Link { .. });
        Judged { source, fault, ticket, enrols: is_counted && can_enrol }
    }

    /// What a ticket lacks of a unit that the customer's server did not sign: the control plane knows of every phase whom it
    /// enrols; here it is told to the client.
    fn unsigned(&self, event: &Event) -> Option<TicketFault> {
        let EventKind::Exposure { flag, phase: Some(_), .. } = &event.kind else { return None };
        let cohort = (self.flag)(flag).flatten().and_then(Flag::cohort);
        cohort.filter(|cohort| cohort.units() == Units::Signed).map(|_| TicketFault::Unsigned)
    }

    /// The mark of what no ticket was asked for.
    const fn unproven(&self) -> SourceMark {
        if self.tickets.is_some() { SourceMark::None } else { SourceMark::Open }
    }

    /// Why an exposure cannot be true: by the flag and the lane of its cohort, the same for both arms. A snapshot that is
    /// older than the one that answered says nothing.
    fn check_exposure(&self, event: &Event) -> Option<EventFault> {
        let EventKind::Exposure { flag: key, variation, phase, version } = &event.kind else { return None };
        if version.is_some_and(|version| version > self.version) {
            return None;
        }
        let Some(flag) = (self.flag)(key) else {
            let reason = format!("flag {:?} does not exist in this environment", key.as_str());
            return Some(EventFault::of(QuarantineCode::UnknownFlag, reason).with_field("flag"));
        };
        let unit = event.unit.as_ref().map_or("", |unit| unit.as_str());
        if flag?.shows(variation.as_str(), *phase, unit) != Some(false) {
            return None;
        }
        let found = variation.as_str();
        let reason = match phase {
            Some(phase) => format!(
                "variation is {found:?}, which is not what this unit gets in phase {phase}: send what the evaluation answered"
            ),
            None => format!("variation is {found:?}, which flag {:?} does not have", key.as_str()),
        };
        Some(EventFault::of(QuarantineCode::VariantMismatch, reason).with_field("variation"))
    }
}

/// Those events are on disk: a client that sent nothing usable learns it, and one that sends them again repeats them.
fn reply(judged: &[Judged], asks_for_tickets: bool) -> Reply {
    let count = judged.len();
    let refused: Vec<(usize, &EventFault)> =
        judged.iter().enumerate().filter_map(|(at, judged)| Some((at, judged.fault.as_ref()?))).collect();
    let accepted = count - refused.len();
    let told = refused.iter().map(|(at, EventFault { code, field, reason })| {
        let field = Some(field).filter(|field| !field.is_empty());
        json!({ "index": at, "code": code, "field": field, "reason": reason })
    });
    let mut members = Map::new();
    members.insert("accepted".to_owned(), json!(accepted));
    members.insert("quarantined".to_owned(), told.collect());
    let unticketed = judged.iter().enumerate().filter_map(|(at, judged)| {
        let fault = judged.ticket.filter(|_| asks_for_tickets)?;
        Some(json!({ "index": at, "code": fault.as_str() }))
    });
    let unticketed: Vec<Value> = unticketed.collect();
    if !unticketed.is_empty() {
        members.insert("unticketed".to_owned(), Value::Array(unticketed));
    }
    match refused.first() {
        Some((_, first)) if accepted == 0 => {
            EdgeError::EventsRefused { count, first: first.reason.clone() }.reply_with(None, members)
        }
        _ => {
            members.insert("metadata".to_owned(), json!({}));
            Reply::json(202, Value::Object(members).to_string())
        }
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
