//! What a verdict was made of beside closed cells: written down with it, so that it can be made again bit for bit.

use std::collections::BTreeMap;

use flagfuse_shared::ids::UnixMillis;
use serde::{Deserialize, Serialize};

use super::memory::{Figures, Memory, Watched};
use crate::model::verdict::{
    BufferBehind, Decision, EmaStep, Incident, Look, Origins, Reason, Verdict, blocked, decide,
};
use crate::store::fuses::FuseRow;

/// One step of a moving average, however often and by however many engines a fuse is looked at.
const EMA_INTERVAL_MS: u64 = 1_000;

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
    /// The bits of its moving averages.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    ema: BTreeMap<String, u64>,
    /// The newest tick whose cells were read; `None` before there was any.
    pub(super) closed_tick: Option<i64>,
    /// Whether the phase had begun to count.
    pub(super) counts: bool,
    pub(super) around: Around,
    /// Who sent what harms, by metric; asked for when the evidence alone would trip.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) origins: BTreeMap<String, Origins>,
    pub(super) ema_step: EmaStep,
    /// Whether the replicas of the environment would have refused every move.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_blocked: bool,
}

impl Basis {
    /// What the next verdict of a fuse is made of.
    pub(super) fn of(memory: &Memory, watched: &Watched, around: &Around, now: UnixMillis) -> Self {
        let is_due = now.since(watched.fuse.ema_ms) >= EMA_INTERVAL_MS;
        Self {
            fuse: watched.fuse.clone(),
            ema: watched.fuse.ema.iter().map(|(metric, ema)| (metric.clone(), ema.to_bits())).collect(),
            closed_tick: memory.closed_tick(),
            counts: memory.counts(watched),
            around: around.clone(),
            origins: BTreeMap::new(),
            ema_step: if is_due { EmaStep::Move } else { EmaStep::Keep },
            is_blocked: false,
        }
    }

    /// What was written down with a verdict; `None` of another format.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut basis: Self = serde_json::from_str(text).ok()?;
        let ema = basis.ema.iter().map(|(metric, bits)| (metric.clone(), f64::from_bits(*bits)));
        basis.fuse.ema = ema.collect();
        Some(basis)
    }

    /// The verdict, and the moving averages to keep, when `memory` has read the cells up to the tick.
    pub(super) fn decide(
        &self,
        memory: &Memory,
        watched: &Watched,
        now: UnixMillis,
    ) -> (Verdict, BTreeMap<String, f64>) {
        let figures = memory.figures(watched, now);
        let heed = memory.heed(watched);
        let (verdict, ema) = decide(&Look { heed: heed.as_ref(), ..self.look(&figures, now) });
        if self.is_blocked { (Self::blocked(verdict), ema) } else { (verdict, ema) }
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
            ema: &fuse.ema,
            ema_step: self.ema_step,
            heed: None,
            incident: self.around.incident.as_ref(),
            now,
        }
    }
}
