//! The task that counts the events of one environment, one group of batches after the other. What it holds in memory is what
//! its log says; when a commit fails, memory is ahead of the log, and is read again.

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use flagfuse_cells::schedule::tick_at;
use flagfuse_cells::{Fact, PhaseId, Standing};
use flagfuse_shared::ids::{SnapshotVersion, UnixMillis};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::catalogue::Names;
use super::checkpoint::Checkpointing;
use super::commit::{Committed, Into, commit};
use super::context::{Context, RENEWAL_MS, WANTED_MS};
use super::delivery::{Delivery, Ingested};
use super::elsewhere::{Wanting, refuse};
use super::erasure::Erasing;
use super::error::IngestError;
use super::group::{Group, SETTLED_COUNT, State};
use super::lookup;
use super::message::{Erase, IDLE, Message};
use super::opening::{Opened, Ours, open};
use super::turn::Turn;
use crate::clock::monotonic;
use crate::model::rules::Edges;
use crate::store::partitions::{self, Held};
use crate::store::{Connection, Lock, StoreError, batches, phases, value_history};

/// Events of a group, unless its last batch has more.
const GROUP_EVENT_COUNT: usize = 4_096;
/// Events of a batch that are applied together: what a transaction writes beside the log is bounded by it.
const TAKE_COUNT_MAX: usize = 4_096;
/// Deliveries in which an event alone could not be applied before it is set aside. A fault of the disk or of another
/// process is over by then, or the event could not be set aside either.
const FAILURE_COUNT_MAX: u32 = 3;

/// How many events of a batch are applied together.
pub(super) fn take_count(events: usize) -> usize {
    events.clamp(1, TAKE_COUNT_MAX)
}

/// How long events go first when an erasure has something to write, or a checkpoint in a transaction of its own.
const TIDY_PAUSE: Duration = Duration::from_millis(100);

/// What is written in the transaction of events beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Along {
    /// A bit of a checkpoint, where one is under way.
    Checkpoint,
    /// Nothing: what fails is the events' own fault.
    Nothing,
}

/// Why serving ended.
enum End {
    /// Memory is ahead of the log, or the lease is lost.
    Again,
    /// Nobody needs it.
    Done,
}

/// Runs a partition until nobody needs it.
pub(super) async fn run(context: Arc<Context>, mut inbox: mpsc::Receiver<Message>) {
    let mut solo = VecDeque::new();
    let mut wanting = Wanting::default();
    loop {
        let began = monotonic();
        let opened = open(&context).await;
        match opened {
            Ok(Opened::Ours(opened)) => {
                let Ours { held, state, since, erasing } = *opened;
                let now = monotonic();
                let turn = Turn::begun(now, now.duration_since(began));
                let lease = Lease { held, renew_at: now + Duration::from_millis(RENEWAL_MS), turn };
                let checkpointing = Checkpointing::behind(since);
                let mut partition = Partition {
                    context: &context,
                    lease,
                    state,
                    checkpointing,
                    erasing,
                    quiet_at: now,
                    version: None,
                    solo,
                };
                let end = partition.serve(&mut inbox).await;
                solo = partition.solo;
                match end {
                    End::Again => {}
                    End::Done => return,
                }
            }
            Ok(Opened::Others(address)) => {
                let error = || IngestError::Elsewhere { address: address.clone(), scope: None };
                if refuse(&context, &mut inbox, &mut solo, &mut wanting, error).await {
                    return;
                }
            }
            Err(error) => {
                tracing::error!(%error, scope = %context.scope, "events cannot be counted now");
                if refuse(&context, &mut inbox, &mut solo, &mut wanting, || IngestError::Opening).await {
                    return;
                }
            }
        }
    }
}

/// How long a partition is ours.
struct Lease {
    held: Held,
    renew_at: Instant,
    turn: Turn,
}

/// A partition in our hands.
struct Partition<'p> {
    context: &'p Context,
    lease: Lease,
    state: State,
    checkpointing: Checkpointing,
    erasing: Erasing,
    /// When no events have come for a while.
    quiet_at: Instant,
    /// The environment's version when its phases were looked at last.
    version: Option<SnapshotVersion>,
    /// Deliveries that are applied one by one: one of them cannot be applied.
    solo: VecDeque<Delivery>,
}

impl Partition<'_> {
    async fn serve(&mut self, inbox: &mut mpsc::Receiver<Message>) -> End {
        let mut waiting = VecDeque::new();
        match self.go_on(inbox, &mut waiting).await {
            Ok(()) => End::Done,
            Err(error) => {
                if !error.is_passing() {
                    tracing::error!(%error, scope = %self.context.scope, "a group of events could not be applied");
                }
                // They were not begun.
                self.solo.extend(waiting);
                End::Again
            }
        }
    }

    /// Until nobody needs it, or something fails.
    async fn go_on(
        &mut self,
        inbox: &mut mpsc::Receiver<Message>,
        waiting: &mut VecDeque<Delivery>,
    ) -> Result<(), IngestError> {
        let (mut idle_at, mut tidy_at, mut rests) = (monotonic() + IDLE, monotonic(), false);
        loop {
            self.alone().await?;
            self.renew_if_due().await?;
            let (is_saving, is_erasing) = (self.checkpointing.is_under_way(), self.erasing.is_under_way());
            // Now and then although events wait: an erasure had no end else. A checkpoint is in their transactions.
            if is_erasing && !is_saving && monotonic() >= tidy_at {
                self.tidy().await?;
                tidy_at = monotonic() + TIDY_PAUSE;
            }
            if !waiting.is_empty() {
                self.group(waiting).await?;
                continue;
            }
            let mut message = tokio::select! {
                biased;
                message = inbox.recv() => message,
                () = sleep_until(self.quiet_at), if is_saving || is_erasing => {
                    self.tidy().await?;
                    continue;
                }
                () = sleep_until(self.lease.renew_at) => continue,
                () = sleep_until(idle_at) => {
                    let is_idle = self.state.ledger.is_idle() && !self.erasing.waits();
                    if is_idle && !self.checkpointing.ask_for_the_rest() {
                        rests = true;
                        inbox.close();
                    } else {
                        idle_at = monotonic() + IDLE;
                    }
                    continue;
                }
            };
            // Ticks go on for as long as the process lives.
            if !matches!(message, Some(Message::Tick(_))) {
                idle_at = monotonic() + IDLE;
            }
            if let Some(Message::Deliver(delivery)) = message {
                self.lease.turn.take(monotonic());
                waiting.push_back(*delivery);
                message = collect(inbox, waiting);
                let Some(behind) = message else { continue };
                // What was asked behind them comes when they are applied.
                while !waiting.is_empty() {
                    self.group(waiting).await?;
                }
                message = Some(behind);
            }
            match message {
                None => return self.release(rests).await,
                Some(Message::Deliver(delivery)) => waiting.push_back(*delivery),
                Some(Message::Tick(done)) => {
                    self.tick().await?;
                    let _nobody_waits = done.send(());
                }
                Some(Message::Erase(erase, reply)) => {
                    let erased = self.erase(*erase).await;
                    let went_on = erased.as_ref().map_or(Err(IngestError::Opening), |()| Ok(()));
                    let _nobody_waits = reply.send(erased);
                    went_on?;
                }
                // It is ours meanwhile.
                Some(Message::Want) => {}
                Some(Message::Close(done)) => {
                    self.release(false).await?;
                    let _nobody_waits = done.send(());
                    return Ok(());
                }
            }
        }
    }

    /// Writes the next bit of what can wait.
    async fn tidy(&mut self) -> Result<(), IngestError> {
        let held = &self.lease.held;
        if self.checkpointing.is_under_way() {
            let complete = self.checkpointing.go_on(self.context, held, &mut self.state.ledger).await?;
            if let Some(log_seq) = complete {
                self.erasing.checkpointed(log_seq);
            }
            return Ok(());
        }
        self.erasing.go_on(self.context, held).await
    }

    /// Forgets a unit, and writes down that its traces have to go.
    async fn erase(&mut self, erase: Erase) -> Result<(), IngestError> {
        let now = self.context.now();
        let mut group = Group::at(&mut self.state, now);
        let unit = erase.unit;
        group.erase(&mut self.state, erase);
        let into = Into { store: self.context.store(), scope: &self.context.scope, held: &self.lease.held };
        let committed = commit(into, &group, None, None).await?;
        self.committed(committed);
        self.erasing.ask(unit, self.lease.held.log_seq);
        Ok(())
    }

    async fn renew_if_due(&mut self) -> Result<(), IngestError> {
        if monotonic() < self.lease.renew_at {
            return Ok(());
        }
        let mut tx = self.context.store().write_patiently(Lock::Partition(&self.context.scope)).await?;
        let (held, now) = (&self.lease.held, self.context.now());
        let is_ours = partitions::renew(&mut tx, held, self.context.until()).await?;
        let is_given = is_ours && self.lease.turn.is_over(monotonic()) && self.give(&mut tx, now).await?;
        tx.commit().await?;
        self.lease.renew_at = monotonic() + Duration::from_millis(RENEWAL_MS);
        if is_ours && !is_given { Ok(()) } else { Err(IngestError::overtaken()) }
    }

    /// Gives the partition to a process that has to refuse its events, if there is one.
    async fn give(&self, tx: &mut Connection, now: UnixMillis) -> Result<bool, StoreError> {
        let held = &self.lease.held;
        let since = UnixMillis(now.0.saturating_sub(WANTED_MS));
        let Some(owner) = partitions::wanted_by(tx, held, since).await? else { return Ok(false) };
        tracing::info!(
            scope = %self.context.scope,
            "events of this environment come to another control plane, which counts them now; with --advertise-url they \
             would be handed on"
        );
        partitions::hand_over(tx, held, &owner, self.context.until()).await?;
        Ok(true)
    }

    /// Lets the partition go; where it `rests`, until the next event comes for it.
    async fn release(&self, rests: bool) -> Result<(), IngestError> {
        let mut tx = self.context.store().write_patiently(Lock::Partition(&self.context.scope)).await?;
        if rests {
            partitions::rest(&mut tx, &self.lease.held).await?;
        } else {
            partitions::release(&mut tx, &self.lease.held).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Applies a group from the front of what waits.
    async fn group(&mut self, waiting: &mut VecDeque<Delivery>) -> Result<(), IngestError> {
        self.quiet_at = monotonic() + TIDY_PAUSE;
        let mut taken: Vec<Delivery> = Vec::new();
        let mut names: BTreeSet<(String, u64)> = BTreeSet::new();
        let mut count = 0;
        while let Some(next) = waiting.front() {
            let name = (next.head.buffer_id.clone(), next.head.batch_seq);
            // A repeat that came meanwhile is one when the first is committed.
            if (count >= GROUP_EVENT_COUNT && !taken.is_empty())
                || (!next.is_word_only && !names.insert(name))
            {
                break;
            }
            count += next.rest();
            taken.extend(waiting.pop_front());
        }
        let mut taken = match self.look_up(taken).await {
            Ok(taken) => taken,
            Err((taken, error)) => {
                answer_all(taken, error);
                return Ok(());
            }
        };
        if taken.is_empty() {
            return Ok(());
        }
        match self.apply(&mut taken, Along::Checkpoint).await {
            Ok(()) => {
                for delivery in taken {
                    Self::answer_or_wait(delivery, waiting);
                }
                Ok(())
            }
            Err(error) if error.is_passing() => {
                answer_all(taken, IngestError::Opening);
                Err(error)
            }
            // One of them is to blame: each is tried alone, when memory is what the log says again.
            Err(error) => {
                self.solo.extend(taken);
                Err(error)
            }
        }
    }

    /// Applies what could not be applied together, one delivery at a time, half of it after each failure.
    async fn alone(&mut self) -> Result<(), IngestError> {
        while let Some(delivery) = self.solo.pop_front() {
            let mut one = match self.look_up(vec![delivery]).await {
                Ok(one) => one,
                Err((one, error)) => {
                    answer_all(one, error);
                    continue;
                }
            };
            let applied = self.apply(&mut one, Along::Nothing).await;
            let Some(mut delivery) = one.pop() else { continue };
            match applied {
                Ok(()) => {
                    let mut rest = VecDeque::new();
                    Self::answer_or_wait(delivery, &mut rest);
                    for delivery in rest.into_iter().rev() {
                        self.solo.push_front(delivery);
                    }
                }
                Err(error) if error.is_passing() => {
                    delivery.answer(Err(IngestError::Opening));
                    return Err(error);
                }
                Err(error) if delivery.take.min(delivery.rest()) > 1 => {
                    delivery.take = delivery.take.min(delivery.rest()) / 2;
                    self.solo.push_front(delivery);
                    return Err(error);
                }
                Err(error) => {
                    let noted = self.note_failure(&delivery).await;
                    tracing::error!(%error, "an event could not be applied");
                    delivery.answer(Err(error));
                    noted?;
                    return Err(IngestError::Opening);
                }
            }
        }
        Ok(())
    }

    /// Reads how far the batches have got; answers those that were applied before.
    async fn look_up(
        &mut self,
        deliveries: Vec<Delivery>,
    ) -> Result<Vec<Delivery>, (Vec<Delivery>, IngestError)> {
        let mut kept = Vec::with_capacity(deliveries.len());
        let mut rest = deliveries.into_iter();
        while let Some(mut delivery) = rest.next() {
            let tenant = &self.context.scope.tenant;
            let found = lookup::progress(self.context.store(), tenant, &mut self.state, &delivery).await;
            match found {
                Err(error) => {
                    kept.push(delivery);
                    kept.extend(rest);
                    return Err((kept, error.into()));
                }
                Ok(None) => kept.push(delivery),
                Ok(Some(progress)) => {
                    let position = usize::try_from(progress.position).unwrap_or(usize::MAX);
                    delivery.position = position.min(delivery.events.len());
                    delivery.is_poisoned = progress.failures >= FAILURE_COUNT_MAX;
                    if delivery.rest() == 0 {
                        let balance = delivery.balance;
                        let answer = if balance.received > 0 {
                            Ingested::Applied { balance }
                        } else {
                            Ingested::Duplicate
                        };
                        delivery.answer(Ok(answer));
                    } else {
                        kept.push(delivery);
                    }
                }
            }
        }
        Ok(kept)
    }

    /// Applies and commits what each delivery takes next.
    async fn apply(&mut self, deliveries: &mut [Delivery], along: Along) -> Result<(), IngestError> {
        let (store, scope) = (self.context.store(), &self.context.scope);
        let known =
            lookup::before(store, scope, (self.lease.held.partition_id, &self.state.ledger), deliveries)
                .await?;
        let news = self.phase_news().await?;
        self.state.slis.refresh((store, scope), self.context.rung()).await?;
        let now = self.context.now();
        let state = &mut self.state;
        let mut group = Group::at(state, now);
        let applied = catch_unwind(AssertUnwindSafe(|| {
            news.tell(state, &mut group);
            deliveries.iter().map(|delivery| group.take(state, delivery, &known)).collect::<Vec<_>>()
        }));
        let balances = applied.map_err(|_| {
            let first = deliveries.first();
            let position = first.map_or(0, |delivery| delivery.position as u64);
            IngestError::Panicked { position, batch_seq: first.map_or(0, |delivery| delivery.head.batch_seq) }
        })?;
        let into = Into { store: self.context.store(), scope: &self.context.scope, held: &self.lease.held };
        let bit = match along {
            Along::Checkpoint => self.checkpointing.due_bit(&mut self.state.ledger, monotonic()),
            Along::Nothing => None,
        };
        let committed = commit(into, &group, None, bit).await?;
        self.committed(committed);
        for (delivery, (balance, told)) in deliveries.iter_mut().zip(balances) {
            delivery.told.extend(told);
            delivery.balance.add(balance);
            delivery.position = (delivery.position + delivery.take).min(delivery.events.len());
            delivery.is_poisoned = false;
            self.state.note_batch(&delivery.head);
        }
        Ok(())
    }

    fn committed(&mut self, Committed { bytes, written }: Committed) {
        self.lease.held.log_seq += 1;
        self.checkpointing.log_grew(bytes);
        if let Some(log_seq) = written.and_then(|written| self.checkpointing.written(written)) {
            self.erasing.checkpointed(log_seq);
        }
    }

    /// Answers a delivery that is applied; one that has more waits for its next turn, in front.
    fn answer_or_wait(delivery: Delivery, waiting: &mut VecDeque<Delivery>) {
        if delivery.rest() == 0 {
            let balance = delivery.balance;
            delivery.answer(Ok(Ingested::Applied { balance }));
        } else {
            waiting.push_front(delivery);
        }
    }

    async fn note_failure(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let scope = &self.context.scope;
        let mut tx = self.context.store().write_patiently(Lock::Partition(scope)).await?;
        // The transaction that failed took the batch's row along.
        let (count, now) = (delivery.events.len() as u64, self.context.now());
        batches::begin(&mut tx, &scope.tenant, delivery.name(), count, now).await?;
        batches::fail(&mut tx, &scope.tenant, delivery.name()).await?;
        tx.commit().await
    }

    /// Closes what is due. Where nothing can be, nothing is written.
    async fn tick(&mut self) -> Result<(), IngestError> {
        let now = self.context.now();
        if tick_at(self.state.known_ms.max(now).0) <= self.state.ledger.last_tick_ms() {
            return Ok(());
        }
        let is_there = self.context.prepare(&Names::default()).await?;
        let news = if is_there { self.phase_news().await? } else { PhaseNews::default() };
        let is_awaited = self.erasing.waits() || self.checkpointing.is_asked();
        if self.state.ledger.is_idle() && news.is_empty() && !is_awaited {
            return Ok(());
        }
        let mut group = Group::at(&mut self.state, now);
        guarded(|| news.tell(&mut self.state, &mut group))?;
        let ledger = &mut self.state.ledger;
        let mut ticking = guarded(|| ledger.begin_tick(group.known_ms.0))?;
        // A tick behind much takes its time, which others of this process need not wait for.
        while guarded(|| ledger.settle(&mut ticking, SETTLED_COUNT))? {
            tokio::task::yield_now().await;
        }
        let closed = guarded(|| ledger.end_tick(ticking))?;
        group.facts.push(Fact::Tick { at_ms: group.known_ms.0 });
        let into = Into { store: self.context.store(), scope: &self.context.scope, held: &self.lease.held };
        let committed = commit(into, &group, Some(&closed), None).await?;
        self.committed(committed);
        let log_seq = self.lease.held.log_seq;
        self.checkpointing.ticked(&mut self.state.ledger, log_seq, is_awaited);
        Ok(())
    }

    /// What has become of the environment's phases since they were looked at last.
    async fn phase_news(&mut self) -> Result<PhaseNews, IngestError> {
        self.context.prepare(&Names::default()).await?;
        let version = self.context.known(super::catalogue::Catalogue::version);
        if version.is_some() && version == self.version {
            return Ok(PhaseNews::default());
        }
        let mut conn = self.context.store().read().await?;
        let running: BTreeSet<i64> =
            phases::running(&mut conn, &self.context.scope).await?.into_iter().collect();
        let mut news = PhaseNews::default();
        for phase_id in &running {
            if self.state.ledger.standing(PhaseId(*phase_id)) == Standing::Unknown {
                match phases::by_id(&mut conn, *phase_id).await {
                    Ok(Some(row)) => {
                        let edges = value_history::edges(&mut conn, *phase_id, &row.policy.values).await?;
                        news.begun.push((row, edges));
                    }
                    Ok(None) => {}
                    Err(error @ StoreError::Corrupt { .. }) => {
                        tracing::error!(%error, "a phase cannot be read, and counts nothing");
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        for phase_id in self.state.running.difference(&running) {
            if let Some(at) = phases::ended_ms(&mut conn, *phase_id).await? {
                news.ended.push((*phase_id, at));
            }
        }
        self.version = version;
        Ok(news)
    }
}

/// Phases that began or ended.
#[derive(Debug, Default)]
struct PhaseNews {
    /// With the edges of the bins of their values.
    begun: Vec<(phases::PhaseRow, Edges)>,
    ended: Vec<(i64, UnixMillis)>,
}

impl PhaseNews {
    const fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.ended.is_empty()
    }

    fn tell(self, state: &mut State, group: &mut Group<'_>) {
        for (row, edges) in self.begun {
            group.phase(state, &row, &edges);
        }
        for (phase_id, at) in self.ended {
            group.end_phase(state, phase_id, at);
        }
    }
}

/// Does what a fault of ours could make panic: memory is read again then.
fn guarded<T>(count: impl FnOnce() -> T) -> Result<T, IngestError> {
    catch_unwind(AssertUnwindSafe(count)).map_err(|_| IngestError::Panicked { position: 0, batch_seq: 0 })
}

fn answer_all(deliveries: Vec<Delivery>, error: IngestError) {
    let mut error = Some(error);
    for delivery in deliveries {
        delivery.answer(Err(error.take().unwrap_or(IngestError::Opening)));
    }
}

/// Takes what waits behind a delivery, as much as a group holds; what else was found behind it.
fn collect(inbox: &mut mpsc::Receiver<Message>, waiting: &mut VecDeque<Delivery>) -> Option<Message> {
    let mut count: usize = waiting.iter().map(Delivery::rest).sum();
    while count < GROUP_EVENT_COUNT {
        match inbox.try_recv() {
            Ok(Message::Deliver(delivery)) => {
                count += delivery.rest();
                waiting.push_back(*delivery);
            }
            Ok(other) => return Some(other),
            Err(_) => return None,
        }
    }
    None
}
