//! A batch from the edge → events, facts, tallies, quarantine and balance, in one transaction and once for ever.

pub mod aggregate;
pub mod identity;
pub mod quarantine;
pub mod usage;
pub mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use flagfuse_shared::contract::beacon::{Event, EventKind, IngestBatch, IngestEvent, QuarantineCode};
use flagfuse_shared::flag::FlagWire;
use flagfuse_shared::ids::{
    EnvironmentKey, FlagKey, ProjectKey, Scope, TenantKey, Unit, UnixMillis, VariationKey,
};
use flagfuse_shared::limits::EVENT_AGE_MS_MAX;
use serde::Serialize;

use self::aggregate::{Activity, Enrolment, Sign, Tallies, contributions, horizon_ms};
use self::identity::{ContentHash, NOBODY, UnitHash, UnitKey, content_hash};
use crate::fuse::policy::Policy;
use crate::metric::USAGE_METRIC;
use crate::store::events::{self, Novelty};
use crate::store::phases::{self, PhaseRow};
use crate::store::quarantine::{Balance, ClaimedPlace, add_balance, insert as insert_quarantine};
use crate::store::{Connection, Store, StoreError, flags, scopes, tallies, usage as stored_usage};

/// Bytes of a buffer's id; it has 32 hexadecimal digits.
const BUFFER_ID_LEN_MAX: usize = 64;

/// Why a batch is refused as a whole; the edge keeps it.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The token belongs to another tenant.
    #[error("batch is for tenant {claimed:?}, the token is for {tenant}")]
    WrongTenant {
        /// Tenant of the batch.
        claimed: String,
        /// Tenant of the token.
        tenant: TenantKey,
    },
    /// The batch has no usable name.
    #[error("buffer_id has {len} bytes, allowed is 1 to {BUFFER_ID_LEN_MAX}")]
    BufferId {
        /// Bytes found.
        len: usize,
    },
    /// A number the database cannot tell from others.
    #[error("batch_seq is {batch_seq}, the limit is {}", i64::MAX)]
    BatchSeq {
        /// What was sent.
        batch_seq: u64,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Ingested {
    /// It is applied now.
    Applied {
        /// What became of its events.
        #[serde(flatten)]
        balance: Balance,
    },
    /// It was applied before.
    Duplicate,
}

/// What became of one event.
enum Outcome {
    Stored,
    Duplicate,
    Quarantined(QuarantineCode),
}

/// Applies a batch. When this returns `Ok`, everything is on disk.
pub async fn ingest(
    store: &Store,
    unit_key: &UnitKey,
    tenant: &TenantKey,
    batch: &IngestBatch,
    now: UnixMillis,
) -> Result<Ingested, IngestError> {
    if batch.tenant != tenant.as_str() {
        return Err(IngestError::WrongTenant { claimed: batch.tenant.clone(), tenant: tenant.clone() });
    }
    if batch.buffer_id.is_empty() || batch.buffer_id.len() > BUFFER_ID_LEN_MAX {
        return Err(IngestError::BufferId { len: batch.buffer_id.len() });
    }
    if i64::try_from(batch.batch_seq).is_err() {
        return Err(IngestError::BatchSeq { batch_seq: batch.batch_seq });
    }
    let place =
        ClaimedPlace { tenant: tenant.as_str(), project: &batch.project, environment: &batch.environment };
    let mut tx = store.write().await?;
    let count = batch.events.len() as u64;
    if !events::insert_batch(&mut tx, tenant, &batch.buffer_id, batch.batch_seq, count, now).await? {
        return Ok(Ingested::Duplicate);
    }
    let balance = match existing_scope(&mut tx, tenant, batch).await? {
        Some(scope) => Application::new(scope, unit_key).run(&mut tx, place, batch, now).await?,
        None => {
            quarantine::whole_batch(&mut tx, place, batch, QuarantineCode::UnknownEnvironment, now).await?
        }
    };
    add_balance(&mut tx, place, balance, now).await?;
    tx.commit().await.map_err(StoreError::from)?;
    Ok(Ingested::Applied { balance })
}

async fn existing_scope(
    conn: &mut Connection,
    tenant: &TenantKey,
    batch: &IngestBatch,
) -> Result<Option<Scope>, StoreError> {
    let keys = (ProjectKey::parse(&batch.project), EnvironmentKey::parse(&batch.environment));
    let (Ok(project), Ok(environment)) = keys else { return Ok(None) };
    let scope = Scope { tenant: tenant.clone(), project, environment };
    Ok(scopes::environment(conn, &scope).await?.map(|found| found.scope))
}

/// One batch on its way into one environment. Caches what its events share.
struct Application<'k> {
    scope: Scope,
    unit_key: &'k UnitKey,
    flags: BTreeMap<FlagKey, Option<FlagWire>>,
    phases: BTreeMap<(FlagKey, u32), Option<Arc<PhaseRow>>>,
    policies: BTreeMap<i64, Arc<Policy>>,
    tallies: Tallies,
}

/// A checked exposure.
struct Exposure {
    flag: FlagKey,
    variation: VariationKey,
    enrolment: Option<(Enrolment, Arc<PhaseRow>)>,
}

impl<'k> Application<'k> {
    fn new(scope: Scope, unit_key: &'k UnitKey) -> Self {
        Self {
            scope,
            unit_key,
            flags: BTreeMap::new(),
            phases: BTreeMap::new(),
            policies: BTreeMap::new(),
            tallies: Tallies::default(),
        }
    }

    async fn run(
        mut self,
        conn: &mut Connection,
        place: ClaimedPlace<'_>,
        batch: &IngestBatch,
        now: UnixMillis,
    ) -> Result<Balance, StoreError> {
        let mut balance = Balance::default();
        for incoming in &batch.events {
            balance.received += 1;
            match self.apply(conn, incoming).await? {
                Outcome::Stored => balance.stored += 1,
                Outcome::Duplicate => balance.duplicate += 1,
                Outcome::Quarantined(code) => {
                    balance.quarantined += 1;
                    insert_quarantine(conn, place, code, incoming.raw.get(), now).await?;
                }
            }
        }
        tallies::add(conn, &self.tallies).await?;
        Ok(balance)
    }

    async fn apply(&mut self, conn: &mut Connection, incoming: &IngestEvent) -> Result<Outcome, StoreError> {
        let event = match validate::event(incoming) {
            Ok(event) => event,
            Err(code) => return Ok(Outcome::Quarantined(code)),
        };
        let content = content_hash(incoming.raw.get());
        if let EventKind::Usage { .. } = &event.kind {
            return self.count_usage(conn, &event, content).await;
        }
        let Some(named) = &event.unit else { return Ok(Outcome::Quarantined(QuarantineCode::UnitMissing)) };
        let exposure = match self.check_exposure(conn, &event, named).await? {
            Ok(exposure) => exposure,
            Err(code) => return Ok(Outcome::Quarantined(code)),
        };
        let unit = self.unit_key.hash(&self.scope.tenant, named);
        let activity = activity_of(&event);
        match events::insert_event(conn, &self.scope, &event.id, content, unit, &activity).await? {
            Novelty::New => {}
            Novelty::Same => return Ok(Outcome::Duplicate),
            Novelty::Conflict => return Ok(Outcome::Quarantined(QuarantineCode::IdConflict)),
        }
        self.attribute(conn, unit, &activity).await?;
        match exposure {
            None => Ok(Outcome::Stored),
            Some(exposure) => self.expose(conn, unit, exposure).await,
        }
    }

    /// `None` inside for an outcome.
    async fn check_exposure(
        &mut self,
        conn: &mut Connection,
        event: &Event,
        unit: &Unit,
    ) -> Result<Result<Option<Exposure>, QuarantineCode>, StoreError> {
        let EventKind::Exposure { flag, variation, phase, .. } = &event.kind else { return Ok(Ok(None)) };
        let row = match phase {
            Some(phase) => self.phase(conn, flag, *phase).await?,
            None => None,
        };
        let checked = match (phase, row) {
            (Some(_), Some(row)) => validate::arm(&row, unit, variation).map(|arm| {
                let grace_end = row.started_ms.plus(row.policy.grace_s * 1_000);
                let first_ms = event.occurred_ms;
                let is_counted = first_ms >= grace_end;
                Some((Enrolment { phase_id: row.phase_id, arm, is_counted, first_ms }, row))
            }),
            (phase, _) => match (self.flag(conn, flag).await?, phase) {
                (None, _) => Err(QuarantineCode::UnknownFlag),
                (Some(_), Some(_)) => Err(QuarantineCode::BadSchema),
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
            return Ok(Outcome::Quarantined(QuarantineCode::UnknownFlag));
        };
        let counts = usage::counts(known, *yes, *no, variants);
        match events::insert_event(conn, &self.scope, &event.id, content, NOBODY, &activity_of(event)).await?
        {
            Novelty::New => {}
            Novelty::Same => return Ok(Outcome::Duplicate),
            Novelty::Conflict => return Ok(Outcome::Quarantined(QuarantineCode::IdConflict)),
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
            let Some(policy) = self.policy(conn, enrolment.phase_id).await? else { continue };
            for contribution in contributions(&policy, enrolment.first_ms, activity) {
                if let Some(fact) = events::add_fact(conn, unit, enrolment.phase_id, &contribution).await? {
                    self.tallies.count(&enrolment, &fact, Sign::Add);
                }
            }
        }
        Ok(())
    }

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
        let known = events::enrolment(conn, unit, new.phase_id).await?;
        if let Some(known) = known {
            if known.first_ms <= new.first_ms {
                return Ok(Outcome::Duplicate);
            }
            self.withdraw(conn, unit, &known).await?;
        }
        self.enrol(conn, unit, &new, &phase).await?;
        Ok(if known.is_some() { Outcome::Duplicate } else { Outcome::Stored })
    }

    /// An exposure turned out to be earlier: what the unit contributed is counted anew from there.
    async fn withdraw(
        &mut self,
        conn: &mut Connection,
        unit: UnitHash,
        old: &Enrolment,
    ) -> Result<(), StoreError> {
        for fact in events::take_facts(conn, unit, old.phase_id).await? {
            self.tallies.count(old, &fact, Sign::Remove);
        }
        if old.is_counted {
            self.tallies.count_enrolment(old, Sign::Remove);
        }
        Ok(())
    }

    /// Writes the enrolment and counts every outcome that was waiting for it.
    async fn enrol(
        &mut self,
        conn: &mut Connection,
        unit: UnitHash,
        new: &Enrolment,
        phase: &PhaseRow,
    ) -> Result<(), StoreError> {
        events::put_enrolment(conn, unit, new).await?;
        if !new.is_counted {
            return Ok(());
        }
        self.tallies.count_enrolment(new, Sign::Add);
        let to = new.first_ms.plus(horizon_ms(&phase.policy));
        for activity in events::activities(conn, &self.scope, unit, new.first_ms, to).await? {
            for contribution in contributions(&phase.policy, new.first_ms, &activity) {
                if let Some(fact) = events::add_fact(conn, unit, new.phase_id, &contribution).await? {
                    self.tallies.count(new, &fact, Sign::Add);
                }
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

    async fn policy(
        &mut self,
        conn: &mut Connection,
        phase_id: i64,
    ) -> Result<Option<Arc<Policy>>, StoreError> {
        if let Some(policy) = self.policies.get(&phase_id) {
            return Ok(Some(Arc::clone(policy)));
        }
        let Some(row) = phases::by_id(conn, phase_id).await? else { return Ok(None) };
        let policy = Arc::new(row.policy);
        self.policies.insert(phase_id, Arc::clone(&policy));
        Ok(Some(policy))
    }
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
