//! Events of one environment on their way into it. The first recorded exposure of a unit stands: nothing is moved later.

use std::collections::BTreeMap;
use std::sync::Arc;

use flagfuse_shared::contract::beacon::{Event, EventKind};
use flagfuse_shared::contract::fault::{EventFault, QuarantineCode};
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{FlagKey, Scope, Unit, UnixMillis, VariationKey};
use flagfuse_shared::limits::{EVENT_AGE_MS_MAX, UNIT_DAY_ACTIVITY_COUNT_MAX};
use tokio::time::Instant;

use super::{Incoming, usage, validate};
use crate::clock::monotonic;
use crate::model::aggregate::{Activity, Counted, Enrolment, Tallies, contributions, counted};
use crate::model::identity::{ContentHash, NOBODY, UnitHash, UnitKey, content_hash};
use crate::model::metric::USAGE_METRIC;
use crate::store::events::{self, Novelty};
use crate::store::phases::{self, PhaseRow};
use crate::store::quarantine::{Balance, ClaimedPlace, insert as insert_quarantine};
use crate::store::{Connection, StoreError, flags, metrics_seen, tallies, usage as stored_usage};

const DAY_MS: u64 = 24 * 3_600_000;

/// What became of one event.
enum Outcome {
    Stored,
    Duplicate,
    Quarantined(EventFault),
}

/// One slice of a batch. Caches what its events share.
pub(super) struct Application<'k> {
    scope: Scope,
    unit_key: &'k UnitKey,
    flags: BTreeMap<FlagKey, Option<FlagWire>>,
    phases: BTreeMap<(FlagKey, u32), Option<Arc<PhaseRow>>>,
    /// What a phase counts.
    counted: BTreeMap<i64, Arc<[Counted]>>,
    /// Activities of a unit on a day.
    busy: BTreeMap<(UnitHash, u64), u64>,
    tallies: Tallies,
    /// Outcomes by the metric that they name.
    seen: BTreeMap<String, u64>,
}

/// A checked exposure.
struct Exposure {
    flag: FlagKey,
    variation: VariationKey,
    enrolment: Option<(Enrolment, Arc<PhaseRow>)>,
}

impl<'k> Application<'k> {
    pub(super) fn new(scope: Scope, unit_key: &'k UnitKey) -> Self {
        Self {
            scope,
            unit_key,
            flags: BTreeMap::new(),
            phases: BTreeMap::new(),
            counted: BTreeMap::new(),
            busy: BTreeMap::new(),
            tallies: Tallies::default(),
            seen: BTreeMap::new(),
        }
    }

    /// Applies events until `until`, at least one; what became of them and how many they were.
    pub(super) async fn run(
        mut self,
        conn: &mut Connection,
        place: ClaimedPlace<'_>,
        events: &[Incoming<'_>],
        until: Instant,
        now: UnixMillis,
    ) -> Result<(Balance, usize), StoreError> {
        let mut balance = Balance::default();
        let mut taken = 0;
        for incoming in events {
            balance.received += 1;
            match self.apply(conn, incoming).await? {
                Outcome::Stored => balance.stored += 1,
                Outcome::Duplicate => balance.duplicate += 1,
                Outcome::Quarantined(fault) => {
                    balance.quarantined += 1;
                    insert_quarantine(conn, place, &fault, &incoming.raw(), now).await?;
                }
            }
            taken += 1;
            if monotonic() >= until {
                break;
            }
        }
        tallies::add(conn, &self.tallies).await?;
        metrics_seen::add(conn, &self.scope, &self.seen, now).await?;
        Ok((balance, taken))
    }

    async fn apply(&mut self, conn: &mut Connection, incoming: &Incoming<'_>) -> Result<Outcome, StoreError> {
        let event = match validate::event(incoming) {
            Ok(event) => event,
            Err(fault) => return Ok(Outcome::Quarantined(fault)),
        };
        let content = content_hash(&incoming.raw());
        if let EventKind::Usage { .. } = &event.kind {
            return self.count_usage(conn, &event, content).await;
        }
        let Some(named) = &event.unit else {
            let fault = EventFault::of(QuarantineCode::UnitMissing, "unit is missing").with_field("unit");
            return Ok(Outcome::Quarantined(fault));
        };
        let exposure = match self.check_exposure(conn, &event, incoming.arrival.received_ms, named).await? {
            Ok(exposure) => exposure,
            Err(fault) => return Ok(Outcome::Quarantined(fault)),
        };
        let unit = self.unit_key.hash(&self.scope.tenant, named);
        let activity = activity_of(&event);
        match self.remember(conn, &event.id, content, unit, &activity).await? {
            Ok(Novelty::New) => {}
            Ok(Novelty::Same) => return Ok(Outcome::Duplicate),
            Ok(Novelty::Conflict) => return Ok(Outcome::Quarantined(id_conflict())),
            Err(fault) => return Ok(Outcome::Quarantined(fault)),
        }
        if let EventKind::Outcome { metric, .. } = &event.kind {
            *self.seen.entry(metric.as_str().to_owned()).or_default() += 1;
        }
        self.attribute(conn, unit, &activity).await?;
        match exposure {
            None => Ok(Outcome::Stored),
            Some(exposure) => self.expose(conn, unit, exposure).await,
        }
    }

    /// Stores an activity, unless its id is known or its unit has done more on that day than any unit may.
    async fn remember(
        &mut self,
        conn: &mut Connection,
        event_id: &str,
        content: ContentHash,
        unit: UnitHash,
        activity: &Activity,
    ) -> Result<Result<Novelty, EventFault>, StoreError> {
        let day = activity.at_ms.0 / DAY_MS;
        let count = if let Some(count) = self.busy.get(&(unit, day)) {
            *count
        } else {
            let (from, to) = (UnixMillis(day * DAY_MS), UnixMillis((day + 1) * DAY_MS));
            events::activity_count(conn, &self.scope, unit, from, to).await?
        };
        let novelty = if count < UNIT_DAY_ACTIVITY_COUNT_MAX {
            events::insert_event(conn, &self.scope, event_id, content, unit, activity).await?
        } else {
            match events::novelty(conn, &self.scope, event_id, content).await? {
                Novelty::New => {
                    let reason = format!(
                        "the unit has {UNIT_DAY_ACTIVITY_COUNT_MAX} events on that day (UTC), which is the limit"
                    );
                    return Ok(Err(EventFault::of(QuarantineCode::UnitFlood, reason).with_field("unit")));
                }
                known @ (Novelty::Same | Novelty::Conflict) => known,
            }
        };
        self.busy.insert((unit, day), count + u64::from(novelty == Novelty::New));
        Ok(Ok(novelty))
    }

    /// `None` inside for an outcome.
    async fn check_exposure(
        &mut self,
        conn: &mut Connection,
        event: &Event,
        received_ms: UnixMillis,
        unit: &Unit,
    ) -> Result<Result<Option<Exposure>, EventFault>, StoreError> {
        let EventKind::Exposure { flag, variation, phase, .. } = &event.kind else { return Ok(Ok(None)) };
        let row = match phase {
            Some(phase) => self.phase(conn, flag, *phase).await?,
            None => None,
        };
        let checked = match (phase, row) {
            (Some(_), Some(row)) => {
                validate::enrolment(&row, unit, variation, event.occurred_ms, received_ms)
                    .map(|enrolment| Some((enrolment, row)))
            }
            (phase, _) => match (self.flag(conn, flag).await?, phase) {
                (None, _) => Err(unknown_flag(flag)),
                (Some(_), Some(phase)) => {
                    let reason = format!(
                        "phase is {phase}, and the fuse of flag {:?} has had no such phase",
                        flag.as_str()
                    );
                    Err(EventFault::in_field("phase", reason))
                }
                (Some(known), None) => validate::variation(known, variation).map(|()| None),
            },
        };
        Ok(checked
            .map(|enrolment| Some(Exposure { flag: flag.clone(), variation: variation.clone(), enrolment })))
    }

    /// Usage has no unit: it is counted for its flag, hour and answer, once for each event.
    async fn count_usage(
        &mut self,
        conn: &mut Connection,
        event: &Event,
        content: ContentHash,
    ) -> Result<Outcome, StoreError> {
        let EventKind::Usage { flag, yes, no, variants } = &event.kind else { return Ok(Outcome::Duplicate) };
        let Some(known) = self.flag(conn, flag).await? else {
            return Ok(Outcome::Quarantined(unknown_flag(flag)));
        };
        let counts = usage::counts(known, *yes, *no, variants);
        match events::insert_event(conn, &self.scope, &event.id, content, NOBODY, &activity_of(event)).await?
        {
            Novelty::New => {}
            Novelty::Same => return Ok(Outcome::Duplicate),
            Novelty::Conflict => return Ok(Outcome::Quarantined(id_conflict())),
        }
        stored_usage::add(conn, &self.scope, flag, usage::hour(event.occurred_ms), &counts).await?;
        Ok(Outcome::Stored)
    }

    /// Counts an activity for every phase its unit is enrolled in already.
    async fn attribute(
        &mut self,
        conn: &mut Connection,
        unit: UnitHash,
        activity: &Activity,
    ) -> Result<(), StoreError> {
        let since = activity.at_ms.minus(EVENT_AGE_MS_MAX);
        for enrolment in events::enrolments(conn, &self.scope, unit, since).await? {
            let Some(counted) = self.counted(conn, enrolment.phase_id).await? else { continue };
            for contribution in contributions(&counted, enrolment.first_ms, activity) {
                if let Some(fact) = events::add_fact(conn, unit, enrolment.phase_id, &contribution).await? {
                    self.tallies.count(&enrolment, &fact);
                }
            }
        }
        Ok(())
    }

    /// Enrols the unit, unless an exposure was recorded before: that one stands, also when this one happened earlier.
    /// Moving it would count the unit's past anew, which anybody could make us do a thousand times.
    async fn expose(
        &mut self,
        conn: &mut Connection,
        unit: UnitHash,
        exposure: Exposure,
    ) -> Result<Outcome, StoreError> {
        let Some((new, phase)) = exposure.enrolment else {
            let (flag, variation) = (exposure.flag.as_str(), exposure.variation.as_str());
            events::count_plain_exposure(conn, &self.scope, flag, variation).await?;
            return Ok(Outcome::Stored);
        };
        match events::enrolment(conn, unit, new.phase_id).await? {
            Some(known) if known.first_ms <= new.first_ms => Ok(Outcome::Duplicate),
            Some(known) => {
                events::count_correction(conn, &known).await?;
                Ok(Outcome::Stored)
            }
            None => {
                self.enrol(conn, unit, &new, &phase).await?;
                Ok(Outcome::Stored)
            }
        }
    }

    /// Writes the enrolment and counts every outcome that was waiting for it.
    async fn enrol(
        &mut self,
        conn: &mut Connection,
        unit: UnitHash,
        new: &Enrolment,
        phase: &PhaseRow,
    ) -> Result<(), StoreError> {
        events::insert_enrolment(conn, unit, new).await?;
        if !new.is_counted {
            return Ok(());
        }
        self.tallies.count_enrolment(new);
        let all = self.counted.entry(new.phase_id).or_insert_with(|| counted(&phase.policy).into());
        for counted in all.iter() {
            let waiting = events::waiting(conn, &self.scope, unit, new.first_ms, counted).await?;
            let Some(contribution) = waiting else { continue };
            if let Some(fact) = events::add_fact(conn, unit, new.phase_id, &contribution).await? {
                self.tallies.count(new, &fact);
            }
        }
        Ok(())
    }

    async fn flag(&mut self, conn: &mut Connection, key: &FlagKey) -> Result<Option<&FlagWire>, StoreError> {
        if !self.flags.contains_key(key) {
            let row = flags::flag(conn, &self.scope, key.as_str()).await?;
            self.flags.insert(key.clone(), row.map(|row| row.wire));
        }
        Ok(self.flags.get(key).and_then(Option::as_ref))
    }

    async fn phase(
        &mut self,
        conn: &mut Connection,
        flag: &FlagKey,
        number: u32,
    ) -> Result<Option<Arc<PhaseRow>>, StoreError> {
        let key = (flag.clone(), number);
        if !self.phases.contains_key(&key) {
            let row = phases::by_number(conn, &self.scope, flag.as_str(), number).await?;
            self.phases.insert(key.clone(), row.map(Arc::new));
        }
        Ok(self.phases.get(&key).cloned().flatten())
    }

    async fn counted(
        &mut self,
        conn: &mut Connection,
        phase_id: i64,
    ) -> Result<Option<Arc<[Counted]>>, StoreError> {
        if let Some(counted) = self.counted.get(&phase_id) {
            return Ok(Some(Arc::clone(counted)));
        }
        let Some(row) = phases::by_id(conn, phase_id).await? else { return Ok(None) };
        let counted: Arc<[Counted]> = counted(&row.policy).into();
        self.counted.insert(phase_id, Arc::clone(&counted));
        Ok(Some(counted))
    }
}

fn unknown_flag(flag: &FlagKey) -> EventFault {
    let reason = format!("flag {:?} does not exist in this environment", flag.as_str());
    EventFault::of(QuarantineCode::UnknownFlag, reason).with_field("flag")
}

fn id_conflict() -> EventFault {
    let reason = "the same id came before with other content: every event needs an id of its own";
    EventFault::of(QuarantineCode::IdConflict, reason).with_field("id")
}

fn activity_of(event: &Event) -> Activity {
    match &event.kind {
        EventKind::Exposure { .. } => {
            Activity { metric: String::new(), at_ms: event.occurred_ms, value: None }
        }
        EventKind::Outcome { metric, value } => {
            Activity { metric: metric.as_str().to_owned(), at_ms: event.occurred_ms, value: *value }
        }
        EventKind::Usage { .. } => {
            Activity { metric: USAGE_METRIC.to_owned(), at_ms: event.occurred_ms, value: None }
        }
    }
}
