//! What an engine has heard of a phase in the mode `anytime`: a function of its closed cells. An engine that starts anew folds
//! them again and has the same bits.

use crate::model::evidence::{Evidence, News, PhaseShape, Terms};
use crate::model::policy::Policy;
use crate::model::verdict::Heed;
use crate::store::cells::Names;
use crate::store::evidence::Spent;
use crate::store::phases::PhaseRow;

/// What was heard of a phase.
#[derive(Debug)]
pub struct Heard {
    /// In force when the phase began.
    policy: Policy,
    evidence: Option<Evidence>,
    /// The newest tick that is folded; `None` before the first one.
    pub closed_tick: Option<i64>,
    /// The newest slot that is folded; below 0 before the first one.
    pub slot: i64,
    /// What in the cells contradicts itself.
    corrupt: Option<String>,
}

impl Heard {
    /// Nothing, of this phase.
    pub fn of(row: &PhaseRow) -> Self {
        Self { policy: row.policy.clone(), evidence: None, closed_tick: None, slot: -1, corrupt: None }
    }

    /// Forgets what was heard, of another database.
    pub fn forget(&mut self) {
        (self.evidence, self.closed_tick, self.slot, self.corrupt) = (None, None, -1, None);
    }

    /// Begins to listen, when the phase has begun to count.
    pub fn begin(&mut self, names: &Names, buckets: (u32, u32)) {
        if self.evidence.is_some() || self.corrupt.is_some() {
            return;
        }
        let number = |metric: &str| names.metric_no(metric).unwrap_or(u8::MAX);
        let metrics: Vec<u8> =
            self.policy.guardrails.iter().map(|guardrail| number(&guardrail.metric)).collect();
        // With the rest of each.
        let dimensions: Vec<usize> =
            self.policy.slices.iter().map(|dimension| dimension.values.len() + 1).collect();
        let shape = PhaseShape { policy: &self.policy, metrics: &metrics, dimensions: &dimensions, buckets };
        match Evidence::new(&shape) {
            Ok(evidence) => self.evidence = Some(evidence),
            Err(refused) => self.corrupt = Some(refused.to_string()),
        }
    }

    /// Whether there may be something to fold when the newest tick is that one.
    pub fn waits_for(&self, closed_tick: i64) -> bool {
        self.corrupt.is_none() && self.closed_tick != Some(closed_tick)
    }

    /// Folds what closed, up to a tick.
    pub fn fold(&mut self, news: &News, closed_tick: i64) {
        let Some(evidence) = &mut self.evidence else { return };
        if let Err(refused) = evidence.fold(news, closed_tick.unsigned_abs()) {
            self.corrupt = Some(refused.to_string());
        }
        self.closed_tick = Some(closed_tick);
        self.slot = news.slots.iter().map(|slot| slot.slot).max().unwrap_or(self.slot).max(self.slot);
    }

    /// What is heeded of it under the policy in force, when the launch has spent that much.
    pub fn heed(&self, policy: &Policy, names: Option<&Names>, spent: Spent) -> Option<Heed> {
        let terms = Terms { attempt: spent.attempts.max(1), probe: spent.probes.max(1) };
        let mut corrupt = self.corrupt.clone();
        let judged = match self.evidence.as_ref()?.judge(terms, &self.policy.weights()) {
            Ok(judged) => judged,
            Err(refused) => {
                corrupt = Some(refused.to_string());
                Vec::new()
            }
        };
        // The phase may have begun under a policy with other guardrails.
        let of = |metric: &str| {
            let at = self.policy.guardrails.iter().position(|guardrail| guardrail.metric == metric)?;
            judged.get(at).copied()
        };
        let found: Vec<_> = policy.guardrails.iter().map(|guardrail| of(&guardrail.metric)).collect();
        let slice = |slice: u8| (slice > 0).then(|| names.map(|names| names.slice(slice))).flatten();
        let slices = found.iter().map(|found| found.and_then(|found| slice(found.crossed?.slice))).collect();
        let is_mismatch = self.evidence.as_ref().is_some_and(Evidence::is_sample_ratio_mismatch);
        let Spent { trips, probes, .. } = spent;
        Some(Heed { found, slices, is_mismatch, corrupt, terms, trips, probes })
    }
}
