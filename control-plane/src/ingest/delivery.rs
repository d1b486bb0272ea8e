//! A batch on its way into its partition, and what its sender is told.

use std::sync::Arc;

use axum::body::Bytes;
use flagfuse_shared::contract::beacon::BatchHead;
use flagfuse_shared::contract::beacon::answer::BufferSettings;
use flagfuse_shared::contract::fault::EventFault;
use flagfuse_shared::ids::UnixMillis;
use tokio::sync::oneshot;

use super::catalogue::Phase;
use super::error::IngestError;
use super::resolve::Resolved;
use crate::store::quarantine::Balance;

/// A batch whose events are resolved.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) head: BatchHead,
    /// What [`Resolved::raw`] points into.
    pub(super) body: Bytes,
    pub(super) events: Vec<Resolved>,
    /// Whose events they are in the quarantine, with the codes that they have there; none of a batch from an edge.
    pub(super) replays: Vec<(i64, String)>,
    /// When each event arrived at the edge.
    pub(super) received_ms: Vec<UnixMillis>,
    /// Phases that the events name.
    pub(super) phases: Vec<Arc<Phase>>,
    /// Whether it is no batch, and only says how far its buffer is.
    pub(super) is_word_only: bool,
    pub(super) reply: oneshot::Sender<Result<Reply, IngestError>>,
    /// Whether its sender wants to hear of each event that could not be used.
    pub(super) tells: bool,
    /// Those of them that this delivery has met.
    pub(super) told: Vec<Told>,
    /// How many of its first events are applied.
    pub(super) position: usize,
    /// How many of the next are applied together.
    pub(super) take: usize,
    /// Whether the next one could not be, so often that it stands aside.
    pub(super) is_poisoned: bool,
    /// What became of those that this delivery applied.
    pub(super) balance: Balance,
}

impl Delivery {
    /// What names it.
    pub(super) fn name(&self) -> (&str, u64) {
        (&self.head.buffer_id, self.head.batch_seq)
    }

    /// How many events wait to be applied.
    pub(super) fn rest(&self) -> usize {
        self.events.len().saturating_sub(self.position)
    }

    /// Tells the sender what came of it, if it still listens.
    pub(super) fn answer(self, answer: Result<Ingested, IngestError>) {
        let Self { reply, told, .. } = self;
        let _nobody_listens = reply.send(answer.map(|ingested| Reply { ingested, told }));
    }
}

/// What a partition says of a batch.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) ingested: Ingested,
    /// See [`Delivery::tells`].
    pub(super) told: Vec<Told>,
}

/// An event that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its place in what was sent, from 0.
    pub index: usize,
    pub fault: EventFault,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingested {
    /// It is applied now; what became of the events that this delivery applied.
    Applied { balance: Balance },
    /// It was applied before.
    Duplicate,
}

/// What the sender of a batch is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    pub ingested: Ingested,
    /// How its buffer is to go on.
    pub settings: BufferSettings,
}
