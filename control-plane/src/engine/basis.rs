//! What a verdict was made of beside closed cells: written down with it, so that it can be made again bit for bit. Written down where
//! a verdict is, which is once in ten seconds; a look itself only borrows it.

use std::collections::BTreeMap;

use flagfuse_shared::ids::UnixMillis;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::memory::{Figures, Memory, Watched};
use crate::model::verdict::{
    BufferBehind, Decision, Heed, Incident, Look, Origins, Reason, Verdict, blocked, decide,
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

/// What belongs to one look.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Terms {
    /// The newest tick whose cells were read; `None` before there was any.
    pub(super) closed_tick: Option<i64>,
    /// Whether the phase had begun to count.
    pub(super) counts: bool,
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

/// What one verdict was made of, as it was written down.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Basis {
    pub(super) fuse: FuseRow,
    pub(super) around: Around,
    #[serde(flatten)]
    pub(super) terms: Terms,
}

/// The same, to write it down.
#[derive(Serialize)]
struct Writing<'b> {
    fuse: &'b FuseRow,
    around: &'b Around,
    #[serde(flatten)]
    terms: &'b Terms,
}

impl Basis {
    /// What was written down with a verdict; `None` of another format.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let basis: Self = serde_json::from_str(text).ok()?;
        let is_of_old_averages = basis.terms.ema_step.is_some() && basis.fuse.policy.ema_alpha.is_some();
        (!is_of_old_averages).then_some(basis)
    }
}

/// What a memory says of a fuse at one moment.
#[derive(Debug)]
pub(super) struct Seen {
    figures: Figures,
    heed: Option<Heed>,
}

impl Seen {
    pub(super) fn of(memory: &Memory, watched: &Watched, now: UnixMillis) -> Self {
        Self { figures: memory.figures(watched, now), heed: memory.heed(watched) }
    }
}

impl Terms {
    /// Those of the next look at a fuse.
    pub(super) fn of(memory: &Memory, watched: &Watched) -> Self {
        Self {
            closed_tick: memory.closed_tick(),
            counts: memory.counts(watched),
            origins: BTreeMap::new(),
            ema_step: None,
            is_blocked: false,
        }
    }

    /// Whether a verdict on these terms asks who sent the events first.
    pub(super) fn asks(&self, verdict: &Verdict) -> bool {
        verdict.decision == Decision::Trip && self.origins.is_empty()
    }
}

/// All that a verdict is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'g> {
    pub(super) fuse: &'g FuseRow,
    pub(super) around: &'g Around,
    pub(super) terms: &'g Terms,
}

impl Ground<'_> {
    /// The verdict.
    pub(super) fn decide(&self, seen: &Seen, now: UnixMillis) -> Verdict {
        let verdict = decide(&self.look(seen, now));
        if self.terms.is_blocked { is_blocked(verdict) } else { verdict }
    }

    /// What is written down of it.
    pub(super) fn text(&self) -> String {
        let Self { fuse, around, terms } = *self;
        // Nothing in it has a form that JSON has not.
        serde_json::to_string(&Writing { fuse, around, terms }).unwrap_or_default()
    }

    fn look<'l>(&'l self, seen: &'l Seen, now: UnixMillis) -> Look<'l> {
        let (fuse, figures) = (self.fuse, &seen.figures);
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
            origins: &self.terms.origins,
            smoothed: &seen.figures.smoothed,
            heed: seen.heed.as_ref(),
            incident: self.around.incident.as_ref(),
            now,
        }
    }
}

/// The verdict of a fuse that should move and cannot.
pub(super) fn is_blocked(verdict: Verdict) -> Verdict {
    if !verdict.decision.moves() {
        return verdict;
    }
    let summary = blocked(verdict.decision, &verdict.summary);
    Verdict { reason: Reason::RestoredFromOldCopy, summary, ..verdict }
}
