//! An event as it arrived → what it is to be counted as, or why it cannot be used. Trusts nothing that an event claims, and
//! reads no database.

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;
use std::ops::Range;

use flagfuse_cells::{Arm, Exposure, PhaseId, SliceSet, Source, UnitHash};
use flagfuse_shared::contract::beacon::{Arrival, Content, Event, EventKind, SourceMark};
use flagfuse_shared::contract::fault::{EventFault, QuarantineCode};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{FlagKey, MetricKey, TenantKey, Unit, UnixMillis, VariationKey};

use super::catalogue::{Catalogue, Known, Names, Phase};
use super::recent::Print;
use super::{usage, validate};
use crate::model::identity::UnitKey;
use crate::model::rules::cell_arm;
use crate::store::event_ids::EventId;
use crate::store::quarantine::Origin;

/// Millionths of a value's unit.
const MICROS: f64 = 1_000_000.0;

/// An event, ready to be applied.
#[derive(Debug)]
pub(super) struct Resolved {
    /// Its id and content, where it has an id.
    pub(super) print: Option<Print>,
    /// What is kept of it when it cannot be used.
    pub(super) raw: Raw,
    pub(super) what: What,
    /// The flag that it names, and the program that sent it; where it is refused.
    about: Option<Box<(Option<FlagKey>, String)>>,
    /// What the edge could make sure of.
    pub(super) origin: Origin,
}

impl Resolved {
    /// The flag that it names; empty when it names none, or is not refused.
    pub(super) fn flag(&self) -> &str {
        let flag = self.about.as_ref().and_then(|about| about.0.as_ref());
        flag.map_or("", FlagKey::as_str)
    }

    /// The program that sent it; empty when it does not say.
    pub(super) fn sdk(&self) -> &str {
        self.about.as_ref().map_or("", |about| &about.1)
    }
}

/// What arrived.
#[derive(Debug)]
pub(super) enum Raw {
    /// These bytes of the batch.
    Sent(Range<usize>),
    /// Recorded by the edge, as an event; only where it is refused.
    Recorded(Box<str>),
}

/// What an event is to be counted as.
#[derive(Debug)]
pub(super) enum What {
    /// It cannot be used; of the arm of a phase, where it names one.
    Refused(Box<EventFault>, Option<(PhaseId, Arm)>),
    /// A unit met the flag of a phase.
    Expose(Exposure),
    /// A unit met a flag outside any cohort.
    Plain(FlagKey, VariationKey),
    Outcome(Outcome),
    /// The same or an exposure, of a unit in a cohort, that nobody vouches for.
    Unticketed(UnitHash, Unticketed),
    Usage(Box<Usage>),
}

/// What nobody vouches for.
#[derive(Debug)]
pub(super) enum Unticketed {
    /// Of the arm of a phase.
    Exposure((PhaseId, Arm)),
    /// Of every phase that its unit is in.
    Outcome(MetricKey),
}

/// A unit did something.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) unit: UnitHash,
    pub(super) metric: MetricKey,
    pub(super) at_ms: UnixMillis,
    pub(super) value_micros: Option<i64>,
    pub(super) source: Source,
}

/// How often clients asked for a flag.
#[derive(Debug)]
pub(super) struct Usage {
    pub(super) id: EventId,
    pub(super) at_ms: UnixMillis,
    pub(super) flag: FlagKey,
    pub(super) counts: BTreeMap<String, u64>,
}

/// An event that says what it should, before it is compared with the environment.
#[derive(Debug)]
pub(super) struct Read<'b> {
    arrival: Arrival<'b>,
    event: Result<Event, Box<EventFault>>,
}

/// Reads an event. Nothing of it is looked up.
pub(super) fn read(arrival: Arrival<'_>) -> Read<'_> {
    Read { arrival, event: validate::event(&arrival).map_err(Box::new) }
}

impl<'b> Read<'b> {
    /// One that could not be read through a fault of ours.
    pub(super) fn broken(arrival: Arrival<'b>) -> Self {
        Self { arrival, event: Err(Box::new(unprocessable())) }
    }

    /// What was read.
    pub(super) const fn arrival(&self) -> Arrival<'b> {
        self.arrival
    }

    /// Adds what has to be known of the environment.
    pub(super) fn names(&self, names: &mut Names) {
        match self.event.as_ref().map(|event| &event.kind) {
            Ok(EventKind::Exposure { flag, phase: Some(phase), .. }) => {
                if !names.phases.iter().any(|(known, number)| known == flag && number == phase) {
                    names.phases.insert((flag.clone(), *phase));
                }
            }
            Ok(EventKind::Exposure { flag, .. } | EventKind::Usage { flag, .. }) => {
                if !names.flags.contains(flag) {
                    names.flags.insert(flag.clone());
                }
            }
            Ok(EventKind::Outcome { .. }) | Err(_) => {}
        }
    }
}

/// What events of one environment are compared with.
pub(super) struct Resolver<'r> {
    pub(super) tenant: &'r TenantKey,
    pub(super) unit_key: &'r UnitKey,
    pub(super) catalogue: &'r Catalogue,
    /// With the process's own keys: nobody can make ids that collide.
    pub(super) hashing: &'r std::hash::RandomState,
}

impl Resolver<'_> {
    /// What an event of the batch `body` is to be counted as.
    pub(super) fn resolve(&self, body: &[u8], read: Read<'_>) -> Resolved {
        let Read { arrival, event } = read;
        let flag = event.as_ref().ok().and_then(flag_of).cloned();
        let (print, what) = match (event, &arrival.content) {
            (Err(fault), _) => (None, What::Refused(fault, None)),
            (Ok(event), Content::Raw(raw)) => {
                (Some(self.print(&event, arrival.source, raw)), self.what(&arrival, event))
            }
            (Ok(event), Content::Exposure(_)) => (None, self.what(&arrival, event)),
        };
        let raw = match arrival.content {
            Content::Raw(raw) => Raw::Sent(place_in(body, raw)),
            Content::Exposure(_) if matches!(what, What::Refused(..)) => {
                Raw::Recorded(arrival.raw(String::new).into())
            }
            Content::Exposure(_) => Raw::Recorded(Box::default()),
        };
        // What is refused later on is an id that came twice, or too much of a unit: no flag's fault.
        let is_refused = matches!(what, What::Refused(..));
        let about = is_refused.then(|| Box::new((flag, arrival.sdk.unwrap_or_default().to_owned())));
        Resolved { print, raw, what, about, origin: Origin::of(&arrival) }
    }

    /// An id is its unit's own, and of those who have proved as much: whoever learns the id of somebody else's event, and
    /// sends something under it first, takes nothing away.
    fn print(&self, event: &Event, source: SourceMark, content: &str) -> Print {
        let unit = event.unit.as_ref().map(Unit::as_str);
        let content = self.hashing.hash_one(content);
        #[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
        Print { id: self.hashing.hash_one((&*event.id, unit, source.as_str())), content: content as u32 }
    }

    fn what(&self, arrival: &Arrival<'_>, event: Event) -> What {
        let Event { id, unit, occurred_ms, kind, .. } = event;
        match (kind, unit) {
            (EventKind::Usage { flag, yes, no, variants }, _) => match self.catalogue.flag(&flag) {
                Known::Is(known) => {
                    let counts = usage::counts(known, yes, no, &variants);
                    What::Usage(Box::new(Usage { id: event_id(&id), at_ms: occurred_ms, flag, counts }))
                }
                Known::IsNot => refused(unknown_flag(&flag)),
                Known::Broken => refused(unprocessable()),
            },
            (EventKind::Outcome { .. } | EventKind::Exposure { .. }, None) => {
                refused(EventFault::of(QuarantineCode::UnitMissing, "unit is missing").with_field("unit"))
            }
            (EventKind::Outcome { metric, value }, Some(unit)) => {
                let unit = self.unit_key.hash(self.tenant, &unit);
                match source(arrival.source) {
                    None => What::Unticketed(unit, Unticketed::Outcome(metric)),
                    Some(source) => {
                        let (value_micros, at_ms) = (value.map(micros), occurred_ms);
                        What::Outcome(Outcome { unit, metric, at_ms, value_micros, source })
                    }
                }
            }
            (EventKind::Exposure { flag, variation, phase, .. }, Some(unit)) => match phase {
                Some(number) => self.exposure(arrival, &unit, (&flag, number), &variation, occurred_ms),
                None => self.plain(flag, variation),
            },
        }
    }

    fn exposure(
        &self,
        arrival: &Arrival<'_>,
        unit: &Unit,
        (flag, number): (&FlagKey, u32),
        variation: &VariationKey,
        occurred_ms: UnixMillis,
    ) -> What {
        let phase = match self.catalogue.phase(flag, number) {
            Known::Is(phase) => phase,
            Known::IsNot => return refused(self.no_such_phase(flag, number)),
            Known::Broken => return refused(unprocessable()),
        };
        let arm = match validate::arm(phase, unit, variation) {
            Ok(arm) => cell_arm(arm),
            Err(fault) => {
                let claimed = claimed_arm(phase, variation).map(|arm| (phase.id(), arm));
                return What::Refused(Box::new(fault), claimed);
            }
        };
        let own = (phase.id(), arm);
        if let Err(fault) = validate::time(&phase.row, occurred_ms, arrival.received_ms) {
            return What::Refused(Box::new(fault), Some(own));
        }
        if arrival.is_limited {
            return What::Refused(Box::new(rate_limited()), Some(own));
        }
        let unit = self.unit_key.hash(self.tenant, unit);
        let Some(source) = source(arrival.source) else {
            return What::Unticketed(unit, Unticketed::Exposure(own));
        };
        What::Expose(Exposure {
            unit,
            phase: phase.id(),
            arm,
            at_ms: occurred_ms.0,
            slices: SliceSet::default(),
            is_bot: arrival.is_bot,
            source,
            network: arrival.network,
        })
    }

    fn plain(&self, flag: FlagKey, variation: VariationKey) -> What {
        match self.catalogue.flag(&flag) {
            Known::Is(known) => match validate::variation(known, &variation) {
                Ok(()) => What::Plain(flag, variation),
                Err(fault) => refused(fault),
            },
            Known::IsNot => refused(unknown_flag(&flag)),
            Known::Broken => refused(unprocessable()),
        }
    }

    fn no_such_phase(&self, flag: &FlagKey, number: u32) -> EventFault {
        if matches!(self.catalogue.flag(flag), Known::IsNot) {
            return unknown_flag(flag);
        }
        let reason =
            format!("phase is {number}, and the fuse of flag {:?} has had no such phase", flag.as_str());
        EventFault::in_field("phase", reason)
    }
}

const fn flag_of(event: &Event) -> Option<&FlagKey> {
    match &event.kind {
        EventKind::Exposure { flag, .. } | EventKind::Usage { flag, .. } => Some(flag),
        EventKind::Outcome { .. } => None,
    }
}

fn refused(fault: EventFault) -> What {
    What::Refused(Box::new(fault), None)
}

/// Who vouches for an event; `None` when nobody does.
const fn source(mark: SourceMark) -> Option<Source> {
    match mark {
        SourceMark::Edge => Some(Source::Edge),
        SourceMark::Ticket => Some(Source::Client),
        SourceMark::Open => Some(Source::Open),
        SourceMark::Server => Some(Source::Server),
        SourceMark::None => None,
    }
}

/// The arm in which a unit would be to whom the phase serves this variation.
fn claimed_arm(phase: &Phase, variation: &VariationKey) -> Option<Arm> {
    let claimed = phase.row.slices.iter().find(|slice| slice.variation == variation.as_str());
    claimed.map(|slice| cell_arm(slice.arm))
}

/// Where a part of a batch stands in it.
fn place_in(body: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(body.as_ptr().addr());
    start..start + part.len()
}

/// In millionths; what is beyond the largest number that is kept is that number.
#[expect(clippy::cast_possible_truncation, reason = "a cast saturates, which is what is wanted")]
fn micros(value: f64) -> i64 {
    (value * MICROS).round() as i64
}

/// The first half of the id's digest: kept for as long as a client may send it again.
fn event_id(id: &str) -> EventId {
    Digest::of(id.as_bytes()).as_bytes().first_chunk::<16>().copied().unwrap_or_default()
}

fn unknown_flag(flag: &FlagKey) -> EventFault {
    let reason = format!("flag {:?} does not exist in this environment", flag.as_str());
    EventFault::of(QuarantineCode::UnknownFlag, reason).with_field("flag")
}

fn rate_limited() -> EventFault {
    let reason = "its client key enrols more units from one network in a minute than the environment lets it";
    EventFault::of(QuarantineCode::RateLimited, reason)
}

pub(super) fn unprocessable() -> EventFault {
    let reason = "the control plane could not apply it: nothing is wrong with it, and the log says why";
    EventFault::of(QuarantineCode::Unprocessable, reason)
}

pub(super) fn id_conflict() -> EventFault {
    let reason = "the same id came before with other content: every event needs an id of its own";
    EventFault::of(QuarantineCode::IdConflict, reason).with_field("id")
}
