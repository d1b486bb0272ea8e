//! Batches from the edge → cells. Each environment's events are a partition, which one control plane counts at a time: its
//! log is the truth, memory holds what the log adds up to, and what a tick closes is written once.
//!
//! A request resolves the events of its batch beside others and hands them to the partition's task. That one applies what
//! waits as a group, writes it in one transaction and answers all of them after the commit. What cannot be applied is
//! narrowed down to one event, tried again on further deliveries, and then kept in the quarantine: no event stands in the
//! way of the next one.

mod asked;
mod catalogue;
mod checkpoint;
mod commit;
mod context;
mod delivery;
mod elsewhere;
mod erasure;
mod error;
mod group;
mod lookup;
mod message;
mod opening;
mod partition;
mod recent;
mod replay;
mod resolve;
mod served;
mod servers;
mod slis;
mod stray;
#[cfg(test)]
mod tests;
mod turn;
mod usage;
mod validate;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use flagfuse_otlp::Evaluation;
use flagfuse_shared::contract::beacon::answer::BufferSettings;
use flagfuse_shared::contract::beacon::erased::{ERASED_COUNT_MAX, ERASED_KEPT_MS, edge_hash};
use flagfuse_shared::contract::beacon::{Arrival, BatchHead, IngestBatch};
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, TenantKey, Unit};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use self::catalogue::{Catalogue, Known, Names};
pub use self::commit::place_of;
pub use self::context::Node;
use self::context::{Context, Surroundings};
pub use self::delivery::{Answered, Ingested, Told};
use self::delivery::{Delivery, Reply};
use self::error::BUFFER_ID_LEN_MAX;
pub use self::error::IngestError;
use self::message::{Erase, Message};
use self::resolve::{Read, Resolved, Resolver, What};
use self::served::ServedVersions;
pub use self::served::Standing;
pub use self::servers::{ServerEvents, is_event};
use crate::clock::Clock;
use crate::model::identity::UnitKey;
use crate::model::rights::{Place, Right, Rights};
use crate::store::erasures::Erasure;
use crate::store::quarantine::Balance;
use crate::store::{Store, StoreError, erasures, partitions};

/// Batches of one environment that wait. The requests that brought them hold their bodies, of which there are fewer.
const WAITING_COUNT_MAX: usize = 64;
/// How long a tick waits for a partition that has much to do, or is being opened.
const TICK_LIMIT: Duration = Duration::from_secs(4);
/// How long the end of the process waits for one.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Counts events. Clones share everything.
#[derive(Debug, Clone)]
pub struct Ingestion {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    surroundings: Surroundings,
    unit_key: UnitKey,
    /// Keys of this process alone, so that nobody can make ids that collide.
    hashing: RandomState,
    partitions: Mutex<HashMap<Scope, Partition>>,
    served: ServedVersions,
}

/// A batch's events, the phases that they name, and what their buffer is told.
type Resolution = (Vec<Resolved>, Vec<Arc<catalogue::Phase>>, BufferSettings);

/// A partition's task.
#[derive(Debug, Clone)]
struct Partition {
    context: Arc<Context>,
    inbox: mpsc::Sender<Message>,
}

impl Ingestion {
    /// Over a database; `bell` rings when this process has changed anything.
    pub fn new(
        store: Store,
        unit_key: UnitKey,
        clock: Clock,
        node: Node,
        bell: watch::Receiver<u64>,
    ) -> Self {
        let surroundings = Surroundings { store, clock, node: Arc::new(node), bell };
        let (hashing, partitions, served) = (RandomState::new(), Mutex::default(), ServedVersions::default());
        Self { shared: Arc::new(Shared { surroundings, unit_key, hashing, partitions, served }) }
    }

    /// Applies a batch that the holder of a token of `tenant` delivered, who may do so where `rights` say. When this returns
    /// `Ok`, everything is on disk.
    pub async fn ingest(
        &self,
        tenant: &TenantKey,
        rights: &Rights,
        body: Bytes,
    ) -> Result<Answered, IngestError> {
        let batch = IngestBatch::parse(&body)?;
        check_name(tenant, &batch)?;
        check_place(rights, &batch)?;
        self.apply(tenant, (&batch, &body), Vec::new(), false).await.map(|(answered, _)| answered)
    }

    /// Applies what a server sent, like a batch: the same body again is the same batch. Says what became of it, and of each
    /// event that could not be used, in their order.
    pub async fn ingest_events(
        &self,
        scope: &Scope,
        events: &ServerEvents<'_>,
    ) -> Result<(Ingested, Vec<Told>), IngestError> {
        let body = events.batch(scope, self.shared.surroundings.clock.now());
        let (answered, mut told) = self.count(&scope.tenant, body.into(), Vec::new(), true).await?;
        told.sort_by_key(|told| told.index);
        Ok((answered.ingested, told))
    }

    /// What becomes of evaluations that OpenTelemetry tells of, in their order.
    pub async fn standings(
        &self,
        scope: &Scope,
        evaluations: &[&Evaluation<'_>],
    ) -> Result<Vec<Standing>, StoreError> {
        let Shared { surroundings, served, .. } = &*self.shared;
        served.standings(&surroundings.store, scope, evaluations).await
    }

    /// The same, of events that are in the quarantine: `replays` has those' numbers and codes, in the order of the events. What
    /// cannot be used is told where `tells` asks for it.
    async fn count(
        &self,
        tenant: &TenantKey,
        body: Bytes,
        replays: Vec<(i64, String)>,
        tells: bool,
    ) -> Result<(Answered, Vec<Told>), IngestError> {
        let batch = IngestBatch::parse(&body)?;
        check_name(tenant, &batch)?;
        self.apply(tenant, (&batch, &body), replays, tells).await
    }

    /// The same of a batch that was read.
    async fn apply(
        &self,
        tenant: &TenantKey,
        (batch, body): (&IngestBatch<'_>, &Bytes),
        replays: Vec<(i64, String)>,
        tells: bool,
    ) -> Result<(Answered, Vec<Told>), IngestError> {
        let head = &batch.head;
        let keys = (ProjectKey::parse(&head.project), EnvironmentKey::parse(&head.environment));
        let (Ok(project), Ok(environment)) = keys else {
            return Ok((self.stray(tenant, batch).await?, Vec::new()));
        };
        let scope = Scope { tenant: tenant.clone(), project, environment };
        let partition = self.partition(&scope);
        let resolved = self.resolved(&partition.context, tenant, (batch, body)).await?;
        let Some((events, phases, settings)) = resolved else {
            return Ok((self.stray(tenant, batch).await?, Vec::new()));
        };
        let refused = if tells { refused(&events) } else { Vec::new() };
        let (reply, answer) = oneshot::channel();
        let delivery = Delivery {
            head: head.clone(),
            received_ms: batch.arrivals().map(|arrival| arrival.received_ms).collect(),
            take: partition::take_count(events.len()),
            events,
            replays,
            phases,
            is_word_only: batch.is_word_only(),
            body: body.clone(),
            reply,
            tells,
            told: Vec::new(),
            position: 0,
            is_poisoned: false,
            balance: Balance::default(),
        };
        self.deliver(&scope, partition, delivery)?;
        match answer.await.unwrap_or(Err(IngestError::Opening)) {
            Ok(Reply { ingested, told }) => {
                // Of what was applied before nothing is told again but what is wrong with it for ever.
                let told = if ingested == Ingested::Duplicate { refused } else { told };
                Ok((Answered { ingested, settings }, told))
            }
            Err(IngestError::Elsewhere { address, .. }) => {
                Err(IngestError::Elsewhere { address, scope: Some(Box::new(scope)) })
            }
            Err(error) => Err(error),
        }
    }

    /// Says to the control plane that counts an environment's events that this one had to refuse some: it could not hand them
    /// on. Said where it costs nobody anything to wait for.
    pub fn want(&self, scope: &Scope) {
        // Whoever has no room for this word is asked often enough.
        let _is_full = self.partition(scope).inbox.try_send(Message::Want);
    }

    /// A batch's events as what they are to be counted as; `None` where the environment does not exist.
    async fn resolved(
        &self,
        context: &Context,
        tenant: &TenantKey,
        (batch, body): (&IngestBatch<'_>, &Bytes),
    ) -> Result<Option<Resolution>, IngestError> {
        let (read, names) = read_all(batch);
        if !context.prepare(&names).await? {
            return Ok(None);
        }
        let resolved = context.known(|catalogue| {
            // Others look up other names; what is not known here any more is no reason to refuse an event.
            catalogue.has(&names).then(|| {
                let resolver = self.resolver(tenant, &batch.head, catalogue);
                let events = read.into_iter().enumerate();
                let events = events.map(|event| resolve(&resolver, body, event)).collect();
                (events, phases_of(catalogue, &names), catalogue.settings())
            })
        });
        resolved.map(Some).ok_or(IngestError::Opening)
    }

    fn resolver<'r>(
        &'r self,
        tenant: &'r TenantKey,
        head: &'r BatchHead,
        catalogue: &'r Catalogue,
    ) -> Resolver<'r> {
        let Shared { unit_key, hashing, .. } = &*self.shared;
        Resolver { tenant, unit_key, catalogue, head, hashing }
    }

    /// Puts a delivery in line, where there is room.
    fn deliver(&self, scope: &Scope, partition: Partition, delivery: Delivery) -> Result<(), IngestError> {
        let mut message = Message::Deliver(Box::new(delivery));
        let mut partition = partition;
        // A task that has just ended has a successor.
        for _ in 0..2 {
            match partition.inbox.try_send(message) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => {
                    return Err(IngestError::Full { waiting: WAITING_COUNT_MAX });
                }
                Err(mpsc::error::TrySendError::Closed(back)) => message = back,
            }
            partition = self.partition(scope);
        }
        Err(IngestError::Opening)
    }

    /// Keeps the events of a place that does not exist.
    async fn stray(&self, tenant: &TenantKey, batch: &IngestBatch<'_>) -> Result<Answered, IngestError> {
        let Surroundings { store, clock, .. } = &self.shared.surroundings;
        let ingested = stray::keep(store, tenant, batch, clock.now()).await?;
        Ok(Answered { ingested, settings: BufferSettings::default() })
    }

    /// The environment's partition, whose task runs from here on.
    fn partition(&self, scope: &Scope) -> Partition {
        let mut partitions = self.shared.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(partition) = partitions.get(scope)
            && !partition.inbox.is_closed()
        {
            return partition.clone();
        }
        let context = Arc::new(Context::new(self.shared.surroundings.clone(), scope.clone()));
        let (inbox, messages) = mpsc::channel(WAITING_COUNT_MAX);
        tokio::spawn(partition::run(Arc::clone(&context), messages));
        let partition = Partition { context, inbox };
        partitions.insert(scope.clone(), partition.clone());
        partition
    }

    /// Forgets a unit of an environment. When this returns, nothing of it is counted any more; its traces in the log go with
    /// the next checkpoint. A unit is erased once: what it does later is not counted either. The audit trail says that `actor`
    /// asked for it.
    pub async fn erase(&self, scope: &Scope, unit: &Unit, actor: String) -> Result<Erasure, IngestError> {
        let Surroundings { store, .. } = &self.shared.surroundings;
        let unit_key = &self.shared.unit_key;
        let edge_hash = edge_hash(&unit_key.edge_salt(scope), unit.as_str());
        let unit = unit_key.hash(&scope.tenant, unit);
        if let Some(known) = erasures::of_unit(&mut *store.read().await?, scope, &unit).await? {
            return Ok(known);
        }
        let (reply, answer) = oneshot::channel();
        let inbox = self.partition(scope).inbox;
        let erase = Box::new(Erase { unit, edge_hash, actor });
        inbox.send(Message::Erase(erase, reply)).await.map_err(|_| IngestError::Opening)?;
        answer.await.unwrap_or(Err(IngestError::Opening))?;
        let known = erasures::of_unit(&mut *store.read().await?, scope, &unit).await?;
        known.ok_or(IngestError::Opening)
    }

    /// The salt and the hashes by which edges know the units of an environment that were erased lately.
    pub async fn erased_for_edges(&self, scope: &Scope) -> Result<(String, Vec<String>), StoreError> {
        let Surroundings { store, clock, .. } = &self.shared.surroundings;
        let limit = u32::try_from(ERASED_COUNT_MAX).unwrap_or(u32::MAX);
        let since = clock.now().minus(ERASED_KEPT_MS);
        let units = erasures::for_edges(&mut *store.read().await?, scope, since, limit).await?;
        Ok((self.shared.unit_key.edge_salt(scope), units))
    }

    /// Closes what is due in every partition of this process, and in those that nobody holds. To be called at each tick.
    pub async fn tick(&self) -> Result<(), StoreError> {
        let Surroundings { store, clock, .. } = &self.shared.surroundings;
        let abandoned = partitions::abandoned(&mut *store.read().await?, clock.now()).await?;
        for scope in abandoned {
            self.partition(&scope);
        }
        self.ask_all(Message::Tick, TICK_LIMIT).await;
        Ok(())
    }

    /// Lets every partition go, so that another process need not wait.
    pub async fn close(&self) {
        self.ask_all(Message::Close, CLOSE_LIMIT).await;
    }

    /// Asks all partitions the same, and waits for their answers, no longer than `limit` for all.
    async fn ask_all(&self, message: fn(oneshot::Sender<()>) -> Message, limit: Duration) {
        let inboxes: Vec<_> = {
            let mut partitions = self.shared.partitions.lock().unwrap_or_else(PoisonError::into_inner);
            partitions.retain(|_, partition| !partition.inbox.is_closed());
            partitions.values().map(|partition| partition.inbox.clone()).collect()
        };
        let asked = inboxes.into_iter().map(|inbox| async move {
            let (done, answer) = oneshot::channel();
            if inbox.send(message(done)).await.is_ok() {
                // Without an answer it begins anew, and is asked again.
                let _is_done = answer.await;
            }
        });
        if timeout(limit, futures_util::future::join_all(asked)).await.is_err() {
            tracing::debug!("a partition takes its time");
        }
    }
}

fn check_name(tenant: &TenantKey, batch: &IngestBatch<'_>) -> Result<(), IngestError> {
    let head = &batch.head;
    if head.tenant != tenant.as_str() {
        return Err(IngestError::WrongTenant { claimed: head.tenant.clone(), tenant: tenant.clone() });
    }
    if head.buffer_id.is_empty() || head.buffer_id.len() > BUFFER_ID_LEN_MAX {
        return Err(IngestError::BufferId { len: head.buffer_id.len() });
    }
    if i64::try_from(head.batch_seq).is_err() {
        return Err(IngestError::BatchSeq { batch_seq: head.batch_seq });
    }
    Ok(())
}

/// Whoever may deliver everywhere may also deliver for what is no environment.
fn check_place(rights: &Rights, batch: &IngestBatch<'_>) -> Result<(), IngestError> {
    let (project, environment) = (batch.head.project.as_str(), batch.head.environment.as_str());
    let place = Place::parse(Some(project), Some(environment)).unwrap_or(Place::Tenant);
    if rights.allow(Right::Deliver, &place) { Ok(()) } else { Err(IngestError::WrongPlace { place }) }
}

/// Reads the events of a batch, and gathers what they name.
fn read_all<'b>(batch: &'b IngestBatch<'_>) -> (Vec<Read<'b>>, Names) {
    let events: Vec<Read<'_>> = batch.arrivals().map(read).collect();
    let mut names = Names::default();
    for event in &events {
        event.names(&mut names);
    }
    (events, names)
}

/// Reads an event. A panic is a fault of ours; it would close the connection, and the edge would send the batch for ever.
fn read(arrival: Arrival<'_>) -> Read<'_> {
    catch_unwind(|| resolve::read(arrival)).unwrap_or_else(|_| Read::broken(arrival))
}

fn resolve(resolver: &Resolver<'_>, body: &[u8], (at, read): (usize, Read<'_>)) -> Resolved {
    let arrival = read.arrival();
    catch_unwind(AssertUnwindSafe(|| resolver.resolve(body, (at, read))))
        .unwrap_or_else(|_| resolver.resolve(body, (at, Read::broken(arrival))))
}

/// Events that cannot be used, whatever came before them.
fn refused(events: &[Resolved]) -> Vec<Told> {
    let refused = events.iter().enumerate().filter_map(|(index, event)| match &event.what {
        What::Refused(fault, _) => Some(Told { index, fault: (**fault).clone() }),
        _ => None,
    });
    refused.collect()
}

fn phases_of(catalogue: &Catalogue, names: &Names) -> Vec<Arc<catalogue::Phase>> {
    let phases = names.phases.iter().map(|(flag, number)| catalogue.phase(flag, *number));
    let found = phases.filter_map(|known| match known {
        Known::Is(phase) => Some(Arc::clone(phase)),
        Known::IsNot | Known::Broken => None,
    });
    found.collect()
}
