//! What a verdict was made of beside closed cells: written down with it, so that it can be made again bit for bit.

use std::collections::BTreeMap;

use flagfuse_shared::ids::UnixMillis;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::memory::{Figures, Memory, Watched};
use crate::model::verdict::{
    BufferBehind, Decision, Incident, Look, Origins, Reason, Verdict, blocked, decide,
};
use crate::store::fuses::FuseRow;

/// What all fuses of an environment have around them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Around {
    /// For how long the oldest event had been waiting.
    pub(super) ingest_lag_ms: u64,
    /// Buffers that had not delivered for too long, the latest first.
    pub(super) behind: Vec<BufferBehind>,
    pub(super) min_networks: u64,
    /// The platform incident that was on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) incident: Option<Incident>,
}

/// What one verdict was made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Basis {
    pub(super) fuse: FuseRow,
    /// The newest tick whose cells were read; `None` before there was any.
    pub(super) closed_tick: Option<i64>,
    /// Whether the phase had begun to count.
    pub(super) counts: bool,
    pub(super) around: Around,
    /// Who sent what harms, by metric; asked for when the evidence alone would trip.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) origins: BTreeMap<String, Origins>,
    /// There in a verdict of before moving averages were made of cells alone.
    #[serde(default, skip_serializing)]
    ema_step: Option<IgnoredAny>,
    /// Whether the replicas of the environment would have refused every move.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_blocked: bool,
}

impl Basis {
    /// What the next verdict of a fuse is made of.
    pub(super) fn of(memory: &Memory, watched: &Watched, around: &Around) -> Self {
        Self {
            fuse: watched.fuse.clone(),
            closed_tick: memory.closed_tick(),
            counts: memory.counts(watched),
            around: around.clone(),
            origins: BTreeMap::new(),
            ema_step: None,
            is_blocked: false,
        }
    }

    /// What was written down with a verdict; `None` of another format.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let basis: Self = serde_json::from_str(text).ok()?;
        let is_of_old_averages = basis.ema_step.is_some() && basis.fuse.policy.ema_alpha.is_some();
        (!is_of_old_averages).then_some(basis)
    }

    /// The verdict when `memory` has read the cells up to the tick.
    pub(super) fn decide(&self, memory: &Memory, watched: &Watched, now: UnixMillis) -> Verdict {
        let figures = memory.figures(watched, now);
        let heed = memory.heed(watched);
        let verdict = decide(&Look { heed: heed.as_ref(), ..self.look(&figures, now) });
        if self.is_blocked { Self::blocked(verdict) } else { verdict }
    }

    /// The verdict of a fuse that should move and cannot.
    pub(super) fn blocked(verdict: Verdict) -> Verdict {
        if !verdict.decision.moves() {
            return verdict;
        }
        let summary = blocked(verdict.decision, &verdict.summary);
        Verdict { reason: Reason::RestoredFromOldCopy, summary, ..verdict }
    }

    /// Whether a verdict on this basis asks who sent the events first.
    pub(super) fn asks(&self, verdict: &Verdict) -> bool {
        verdict.decision == Decision::Trip && self.origins.is_empty()
    }

    fn look<'l>(&'l self, figures: &'l Figures, now: UnixMillis) -> Look<'l> {
        let fuse = &self.fuse;
        Look {
            policy: &fuse.policy,
            circuit: fuse.circuit,
            hand: fuse.hand,
            acted_ms: fuse.acted_ms,
            readings: &figures.readings,
            recent: &figures.recent,
            buckets: figures.buckets,
            tripped_metrics: &fuse.tripped_metrics,
            ingest_lag_ms: self.around.ingest_lag_ms,
            behind: &self.around.behind,
            min_networks: self.around.min_networks,
            origins: &self.origins,
            smoothed: &figures.smoothed,
            heed: None,
            incident: self.around.incident.as_ref(),
            now,
        }
    }
}
