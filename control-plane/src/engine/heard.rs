//! What an engine has heard of an attempt in the mode `anytime`: a function of the closed cells of its phases. An engine that starts
//! anew folds them again and has the same bits.

use std::collections::BTreeMap;

use flagfuse_shared::definition::Arm;
use flagfuse_shared::limits::BUCKET_COUNT;

use crate::model::circuit::Circuit;
use crate::model::evidence::{Evidence, News, PhaseShape, Suspect, Terms};
use crate::model::policy::Policy;
use crate::model::verdict::{Heed, RampLook, Uneven};
use crate::store::cells::Names;
use crate::store::evidence::{Asked, Spent};
use crate::store::phases::PhaseRow;

/// What was heard of an attempt.
#[derive(Debug)]
pub struct Heard {
    /// In force when the attempt began.
    policy: Policy,
    /// By their numbers in the database.
    phases: BTreeMap<i64, Stage>,
    evidence: Option<Evidence>,
    /// The newest tick that is folded; `None` before the first one.
    pub closed_tick: Option<i64>,
    /// What in the cells contradicts itself.
    corrupt: Option<String>,
}

/// Whether a sentinel watches a phase: while the feature is switched off or tried out, nobody is promoted.
fn is_promoted(row: &PhaseRow) -> bool {
    let everybody = u64::from(row.width(Arm::Exposed)) + u64::from(row.width(Arm::Control));
    let is_last = row.policy.ramp.is_some() && everybody >= u64::from(BUCKET_COUNT);
    (row.policy.promoted || is_last) && row.circuit == Circuit::Closed
}

/// The phase of a stage.
#[derive(Debug)]
struct Stage {
    /// Widths of the exposed and the control arm.
    buckets: (u32, u32),
    /// Where its slots are censored: the last stage shows its controls the feature.
    censored_ms: Option<u64>,
    /// Whether everybody has the feature but those who are held back.
    is_promoted: bool,
    /// Whether it has begun to count.
    is_heard: bool,
    /// The newest slot that is folded; below 0 before the first one.
    slot: i64,
}

impl Heard {
    /// Nothing, of an attempt with these phases, the oldest first; `None` where it has none.
    pub fn of(rows: &[PhaseRow]) -> Option<Self> {
        let first = rows.first()?;
        let stage = |row: &PhaseRow| {
            let ends_before = |later: &&PhaseRow| {
                later.stage > row.stage && row.ended_ms.is_some_and(|ended_ms| ended_ms <= later.started_ms)
            };
            let is_censored = rows.iter().any(|later| ends_before(&later));
            let stage = Stage {
                buckets: (row.width(Arm::Exposed), row.width(Arm::Control)),
                censored_ms: row.ended_ms.filter(|_| is_censored).map(|ended_ms| ended_ms.0),
                is_promoted: is_promoted(row),
                is_heard: false,
                slot: -1,
            };
            (row.phase_id, stage)
        };
        let phases = rows.iter().map(stage).collect();
        let mut heard =
            Self { policy: first.policy.clone(), phases, evidence: None, closed_tick: None, corrupt: None };
        heard.begin();
        Some(heard)
    }

    /// The numbers of its phases in the database.
    pub fn phase_ids(&self) -> Vec<i64> {
        self.phases.keys().copied().collect()
    }

    /// Forgets what was heard, of another database.
    pub fn forget(&mut self) {
        for stage in self.phases.values_mut() {
            (stage.is_heard, stage.slot) = (false, -1);
        }
        (self.closed_tick, self.corrupt) = (None, None);
        self.begin();
    }

    /// With the rest of each.
    fn dimensions(&self) -> Vec<usize> {
        self.policy.slices.iter().map(|dimension| dimension.values.len() + 1).collect()
    }

    fn begin(&mut self) {
        match Evidence::begin(&self.policy, &self.dimensions()) {
            Ok(evidence) => self.evidence = Some(evidence),
            Err(refused) => self.corrupt = Some(refused.to_string()),
        }
    }

    /// Its phases that have not begun to count yet, as far as anybody knew.
    pub fn unheard(&self) -> Vec<i64> {
        let unheard = self.phases.iter().filter(|(_, stage)| !stage.is_heard);
        unheard.map(|(phase_id, _)| *phase_id).collect()
    }

    /// Begins to listen to a phase that has begun to count.
    pub fn join(&mut self, phase_id: i64, names: &Names) {
        let dimensions = self.dimensions();
        let Some(evidence) = &mut self.evidence else { return };
        let Some(stage) = self.phases.get_mut(&phase_id).filter(|stage| !stage.is_heard) else { return };
        let number = |metric: &str| names.metric_no(metric).unwrap_or(u8::MAX);
        let metrics: Vec<u8> =
            self.policy.guardrails.iter().map(|guardrail| number(&guardrail.metric)).collect();
        let (policy, buckets) = (&self.policy, stage.buckets);
        let edges: Vec<&[i64]> =
            policy.guardrails.iter().map(|guardrail| names.edges(&guardrail.metric)).collect();
        let shape = PhaseShape {
            policy,
            metrics: &metrics,
            dimensions: &dimensions,
            buckets,
            edges: &edges,
            is_promoted: stage.is_promoted,
        };
        if let Err(refused) = evidence.join(phase_id, &shape, stage.censored_ms) {
            self.corrupt = Some(refused.to_string());
        }
        stage.is_heard = true;
    }

    /// What is to be read of it when the newest tick is that one; nothing where everything is folded.
    pub fn asks(&self, closed_tick: i64) -> Vec<Asked> {
        if self.corrupt.is_some() || self.closed_tick == Some(closed_tick) {
            return Vec::new();
        }
        let heard = self.phases.iter().filter(|(_, stage)| stage.is_heard);
        heard.map(|(phase_id, stage)| Asked { phase_id: *phase_id, slot: stage.slot }).collect()
    }

    /// Folds what closed of its phases, up to a tick.
    pub fn fold(&mut self, news: &BTreeMap<i64, News>, closed_tick: i64) {
        let Some(evidence) = &mut self.evidence else { return };
        let own: Vec<(i64, &News)> =
            self.phases.keys().filter_map(|phase_id| Some((*phase_id, news.get(phase_id)?))).collect();
        if let Err(refused) = evidence.fold_phases(&own, closed_tick.unsigned_abs()) {
            self.corrupt = Some(refused.to_string());
        }
        self.closed_tick = Some(closed_tick);
        for (phase_id, news) in own {
            if let Some(stage) = self.phases.get_mut(&phase_id) {
                let newest = news.slots.iter().map(|slot| slot.slot).max();
                stage.slot = newest.unwrap_or(stage.slot).max(stage.slot);
            }
        }
    }

    /// The end of the newest slot of a phase that has units of both arms.
    pub fn newest_ms(&self, phase_id: i64) -> Option<u64> {
        self.evidence.as_ref()?.newest_ms(phase_id)
    }

    /// What is heeded of it under the policy in force, when the launch has spent that much.
    pub fn heed(
        &self,
        policy: &Policy,
        names: Option<&Names>,
        spent: Spent,
        ramp: Option<RampLook>,
    ) -> Option<Heed> {
        let terms = Terms { attempt: spent.attempts.max(1), probe: spent.probes.max(1) };
        let mut corrupt = self.corrupt.clone();
        let evidence = self.evidence.as_ref()?;
        let all = evidence.judge(terms, &self.policy.weights());
        let (judged, suspects) = match all.and_then(|judged| Ok((judged, evidence.suspects(terms)?))) {
            Ok(all) => all,
            Err(refused) => {
                corrupt = Some(refused.to_string());
                (Vec::new(), Vec::new())
            }
        };
        // The attempt may have begun under a policy with other guardrails.
        let of = |metric: &str| {
            let at = self.policy.guardrails.iter().position(|guardrail| guardrail.metric == metric)?;
            judged.get(at).copied()
        };
        let found: Vec<_> = policy.guardrails.iter().map(|guardrail| of(&guardrail.metric)).collect();
        let slice = |slice: u8| (slice > 0).then(|| names.map(|names| names.slice(slice))).flatten();
        let slices = found
            .iter()
            .map(|found| found.and_then(|found| slice(found.crossed.or(found.held)?.slice)))
            .collect();
        let is_mismatch = evidence.is_sample_ratio_mismatch();
        let uneven = suspects.into_iter().filter(Suspect::is_found).map(|suspect| {
            let of = suspect.guardrail.and_then(|at| self.policy.guardrails.get(at));
            Uneven { suspect, metric: of.map(|guardrail| guardrail.metric.clone()) }
        });
        let uneven = uneven.collect();
        let Spent { trips, probes, .. } = spent;
        let units = evidence.units();
        Some(Heed { found, slices, units, is_mismatch, uneven, corrupt, terms, trips, probes, ramp })
    }
}
