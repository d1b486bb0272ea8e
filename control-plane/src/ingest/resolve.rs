//! An event as it arrived → what it is to be counted as, or why it cannot be used. Trusts nothing that an event claims, and
//! reads no database.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hash};
use std::ops::Range;

use flagfuse_cells::{Arm, Exposure, PhaseId, Source, UnitHash};
use flagfuse_shared::contract::beacon::{Arrival, BatchHead, Content, Event, EventKind, SourceMark};
use flagfuse_shared::contract::fault::{EventFault, QuarantineCode};
use flagfuse_shared::definition::Units;
use flagfuse_shared::digest::{Digest, hex};
use flagfuse_shared::ids::{FlagKey, MetricKey, TenantKey, Unit, UnixMillis, VariationKey};
use flagfuse_shared::slices::SliceCodes;
use flagfuse_shared::strict;

use super::catalogue::{Catalogue, Known, Names, Phase};
use super::recent::Print;
use super::{usage, validate};
use crate::model::identity::UnitKey;
use crate::model::rules::{cell_arm, slice_set};
use crate::store::event_ids::EventId;
use crate::store::quarantine::Origin;

/// Millionths of a value's unit.
const MICROS: f64 = 1_000_000.0;

/// An event, ready to be applied.
#[derive(Debug)]
pub(super) struct Resolved {
    /// Its id and content, where it has an id and somebody vouches for it.
    pub(super) print: Option<Print>,
    /// What is kept of it when it cannot be used.
    pub(super) raw: Raw,
    pub(super) what: What,
    /// Where it is refused.
    about: Option<Box<About>>,
    /// What the edge could make sure of.
    pub(super) origin: Origin,
}

impl Resolved {
    /// The flag that it names; empty when it names none, or is not refused.
    pub(super) fn flag(&self) -> &str {
        let flag = self.about.as_ref().and_then(|about| about.flag.as_ref());
        flag.map_or("", FlagKey::as_str)
    }

    /// The program that sent it; empty when it does not say.
    pub(super) fn sdk(&self) -> &str {
        self.about.as_ref().map_or("", |about| &about.sdk)
    }

    /// The unit that a refused event names.
    pub(super) fn unit(&self) -> Option<&UnitHash> {
        self.about.as_ref()?.unit.as_ref()
    }
}

/// What a refused event is about.
#[derive(Debug)]
struct About {
    /// The flag that it names.
    flag: Option<FlagKey>,
    /// The program that sent it.
    sdk: String,
    /// Who it says did it.
    unit: Option<UnitHash>,
}

/// What arrived.
#[derive(Debug)]
pub(super) enum Raw {
    /// These bytes of the batch.
    Sent(Range<usize>),
    /// Recorded by the edge, as an event; only where it is refused.
    Recorded(Box<str>),
}

/// What is kept of an arrival that is the batch's event number `at`. What the edge recorded gets an id as in format 1, so that
/// it can be read again: its batch's name and its place.
pub(super) fn recorded<'a>(head: &BatchHead, at: usize, arrival: &Arrival<'a>) -> Cow<'a, str> {
    arrival.raw(|| {
        let buffer_id = &head.buffer_id;
        // Buffers of ours have 32 bytes; a longer one leaves room for both numbers.
        let buffer_id = buffer_id.get(..buffer_id.floor_char_boundary(32)).unwrap_or_default();
        format!("{buffer_id}-{}-{at}", head.batch_seq)
    })
}

/// What an event is to be counted as.
#[derive(Debug)]
pub(super) enum What {
    /// It cannot be used; of the arm of a phase, where it names one.
    Refused(Box<EventFault>, Option<(PhaseId, Arm)>),
    /// A unit met the flag of a phase.
    Expose(Exposure),
    /// A unit met a flag outside any cohort; with what is the same for whoever reports it.
    Plain(FlagKey, VariationKey, Print),
    Outcome(Outcome),
    /// What one unit does, another one does.
    Link {
        device: UnitHash,
        canonical: UnitHash,
    },
    /// An outcome, an exposure of a unit in a cohort, or a link, that nobody vouches for.
    Unticketed(UnitHash, Unticketed),
    Usage(Box<Usage>),
    /// Its unit was erased while it waited at the edge.
    Erased,
}

/// What nobody vouches for.
#[derive(Debug)]
pub(super) enum Unticketed {
    /// Of the arm of a phase.
    Exposure((PhaseId, Arm)),
    /// The same, of a phase that enrols units only that the customer's server signed.
    Unsigned((PhaseId, Arm)),
    /// Of every phase that its unit is in.
    Outcome(MetricKey),
    /// It moves nobody.
    Link,
}

/// What a unit was shown, by its own account.
struct Shown<'s> {
    flag: &'s FlagKey,
    /// Of the phase.
    number: u32,
    variation: &'s VariationKey,
    slices: SliceCodes,
}

/// A unit did something.
#[derive(Debug)]
pub(super) struct Outcome {
    /// As its sender names it, see [`Outcome::event_id`].
    id: String,
    pub(super) unit: UnitHash,
    pub(super) metric: MetricKey,
    pub(super) at_ms: UnixMillis,
    pub(super) value_micros: Option<i64>,
    pub(super) source: Source,
}

impl Outcome {
    /// By what its event is remembered where values add up. An id is its unit's and that of who vouches for it: nobody else can
    /// use it up.
    pub(super) fn event_id(&self) -> EventId {
        let Self { id, unit, source, .. } = self;
        event_id(&format!("{}\n{}\n{id}", source.number(), hex(unit)))
    }
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
            Ok(EventKind::Outcome { .. } | EventKind::Link { .. }) | Err(_) => {}
        }
    }
}

/// What events of one environment are compared with.
pub(super) struct Resolver<'r> {
    pub(super) tenant: &'r TenantKey,
    pub(super) unit_key: &'r UnitKey,
    pub(super) catalogue: &'r Catalogue,
    pub(super) head: &'r BatchHead,
    /// With the process's own keys: nobody can make ids that collide.
    pub(super) hashing: &'r std::hash::RandomState,
}

impl Resolver<'_> {
    /// What the event number `at` of the batch `body` is to be counted as.
    pub(super) fn resolve(&self, body: &[u8], (at, read): (usize, Read<'_>)) -> Resolved {
        let Read { arrival, event } = read;
        let flag = event.as_ref().ok().and_then(flag_of).cloned();
        let (print, what) = match (event, &arrival.content) {
            (_, Content::Erased) => (None, What::Erased),
            (Err(fault), _) => (None, What::Refused(fault, None)),
            (Ok(event), Content::Raw(raw)) => {
                (self.print(&event, arrival.source, raw), self.what(&arrival, event))
            }
            (Ok(event), _) => (None, self.what(&arrival, event)),
        };
        let raw = match arrival.content {
            Content::Raw(raw) => Raw::Sent(place_in(body, raw)),
            Content::Exposure(_) if matches!(what, What::Refused(..)) => {
                Raw::Recorded(recorded(self.head, at, &arrival).into())
            }
            Content::Exposure(_) | Content::Erased => Raw::Recorded(Box::default()),
        };
        // What is refused later on is an id that came twice, or too much of a unit: no flag's fault.
        let is_refused = matches!(what, What::Refused(..));
        let about = is_refused.then(|| {
            let sdk = arrival.sdk.unwrap_or_default().to_owned();
            Box::new(About { flag, sdk, unit: self.named_unit(&arrival) })
        });
        Resolved { print, raw, what, about, origin: Origin::of(&arrival) }
    }

    /// The unit that an event names which cannot be used otherwise.
    fn named_unit(&self, arrival: &Arrival<'_>) -> Option<UnitHash> {
        let named = match arrival.content {
            Content::Exposure(exposure) => exposure.unit.to_owned(),
            Content::Raw(raw) => strict::parse(raw.as_bytes()).ok()?.get("unit")?.as_str()?.to_owned(),
            Content::Erased => return None,
        };
        Some(self.unit_key.hash(self.tenant, &Unit::parse(&named).ok()?))
    }

    /// An id is its unit's and that of who vouches for it: nobody else can use it up. Of what nobody vouches for, nothing is
    /// remembered: it may come again with its ticket.
    fn print(&self, event: &Event, source: SourceMark, content: &str) -> Option<Print> {
        let unit = event.unit.as_ref().map_or("", |unit| unit.as_str());
        (source != SourceMark::None).then(|| self.print_of(&(event.id.as_str(), unit, source), content))
    }

    fn print_of(&self, name: &impl Hash, content: &str) -> Print {
        let content = self.hashing.hash_one(content);
        #[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
        Print { id: self.hashing.hash_one(name), content: content as u32 }
    }

    fn what(&self, arrival: &Arrival<'_>, event: Event) -> What {
        let Event { id, unit, occurred_ms, kind, slices, .. } = event;
        match (kind, unit) {
            (EventKind::Usage { flag, yes, no, variants }, _) => match self.catalogue.flag(&flag) {
                Known::Is(known) => {
                    let counts = usage::counts(known, yes, no, &variants);
                    What::Usage(Box::new(Usage { id: event_id(&id), at_ms: occurred_ms, flag, counts }))
                }
                Known::IsNot => refused(unknown_flag(&flag)),
                Known::Broken => refused(unprocessable()),
            },
            (EventKind::Outcome { .. } | EventKind::Exposure { .. } | EventKind::Link { .. }, None) => {
                refused(EventFault::of(QuarantineCode::UnitMissing, "unit is missing").with_field("unit"))
            }
            (EventKind::Outcome { metric, value }, Some(unit)) => {
                let unit = self.unit_key.hash(self.tenant, &unit);
                match source(arrival.source) {
                    None => What::Unticketed(unit, Unticketed::Outcome(metric)),
                    Some(source) => {
                        let (value_micros, at_ms) = (value.map(micros), occurred_ms);
                        What::Outcome(Outcome { id, unit, metric, at_ms, value_micros, source })
                    }
                }
            }
            (EventKind::Link { .. }, Some(_)) if arrival.is_limited => refused(rate_limited()),
            (EventKind::Link { canonical, .. }, Some(unit)) => {
                let hash = |unit| self.unit_key.hash(self.tenant, unit);
                let (device, canonical) = (hash(&unit), hash(&canonical));
                match source(arrival.source) {
                    None => What::Unticketed(device, Unticketed::Link),
                    Some(_) => What::Link { device, canonical },
                }
            }
            (EventKind::Exposure { flag, variation, phase, .. }, Some(unit)) => match phase {
                Some(number) => {
                    let shown = Shown { flag: &flag, number, variation: &variation, slices };
                    self.exposure(arrival, &unit, &shown, occurred_ms)
                }
                None => self.plain((&id, &unit), flag, variation),
            },
        }
    }

    fn exposure(
        &self,
        arrival: &Arrival<'_>,
        unit: &Unit,
        shown: &Shown<'_>,
        occurred_ms: UnixMillis,
    ) -> What {
        let Shown { flag, number, variation, slices } = *shown;
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
        if phase.row.policy.units == Units::Signed && !has_proof(arrival.source) {
            return What::Unticketed(unit, Unticketed::Unsigned(own));
        }
        let Some(source) = source(arrival.source) else {
            return What::Unticketed(unit, Unticketed::Exposure(own));
        };
        What::Expose(Exposure {
            unit,
            phase: phase.id(),
            arm,
            at_ms: occurred_ms.0,
            slices: slice_set(&phase.row.policy, slices),
            is_bot: arrival.is_bot,
            source,
            network: arrival.network,
        })
    }

    fn plain(&self, (id, unit): (&str, &Unit), flag: FlagKey, variation: VariationKey) -> What {
        match self.catalogue.flag(&flag) {
            Known::Is(known) => match validate::variation(known, &variation) {
                Ok(()) => {
                    let name = (id, unit.as_str(), flag.as_str(), variation.as_str());
                    let print = self.print_of(&name, "");
                    What::Plain(flag, variation, print)
                }
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
        EventKind::Outcome { .. } | EventKind::Link { .. } => None,
    }
}

fn refused(fault: EventFault) -> What {
    What::Refused(Box::new(fault), None)
}

/// Who vouches for an event; `None` when nobody does.
const fn source(mark: SourceMark) -> Option<Source> {
    match mark {
        SourceMark::Edge => Some(Source::Edge),
        SourceMark::Ticket | SourceMark::Signed => Some(Source::Client),
        SourceMark::Open => Some(Source::Open),
        SourceMark::Server => Some(Source::Server),
        SourceMark::None => None,
    }
}

/// Whether the customer vouches for the unit: its server said so itself, or had signed it when the edge answered. What an edge
/// records by itself it has checked.
const fn has_proof(mark: SourceMark) -> bool {
    match mark {
        SourceMark::Edge | SourceMark::Signed | SourceMark::Server => true,
        SourceMark::Ticket | SourceMark::Open | SourceMark::None => false,
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
    let reason =
        "its client key enrols or links more units from one network in a minute than the environment lets it";
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
