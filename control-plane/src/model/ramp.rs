//! Which buckets each stage of an attempt exposes and reserves as control. Pure: never touches a flag, never decides a stage.
//!
//! The buckets under one salt are a *lane*. Exposed units are taken from its bottom up, control units from its top down, and
//! what lies between is fresh: nobody there was enrolled. Every stage takes fresh units for both arms, so a rate never mixes
//! units that met the feature in different stages, and each exposed unit is compared with controls of the same days. Every
//! attempt goes on where the one before ended. Behind the stages of a ramp comes one more, which shows the feature to
//! everybody but a hold-back that nobody was exposed in; the stages before end there, since their controls are exposed.

use flagfuse_shared::definition::{Arm, CohortSliceWire, WithheldWire};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::flag::compile::percent_to_buckets;
use flagfuse_shared::limits::{BUCKET_COUNT, COHORT_SLICE_COUNT_MAX};

use super::circuit::Circuit;
use super::policy::{Policy, STAGE_COUNT_MAX, StagePolicy};

/// Exposed and control slices of all stages and the probe before them, and as many that enrol nobody.
const _: () = assert!(2 * (STAGE_COUNT_MAX + 1) <= COHORT_SLICE_COUNT_MAX / 2);
/// Controls for each exposed unit of a probe of a ramp.
const PROBE_CONTROLS: u32 = 4;

/// The stages of an attempt, in buckets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ramp {
    /// Rising.
    stages: Vec<Share>,
    /// Width of the last stage's control; `None` of an attempt that stays at its share.
    hold_back: Option<u32>,
}

/// What a stage exposes, those of the stages before included, and what it reserves as its own control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    exposed: u32,
    control: u32,
}

/// A stage that opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// From 1.
    pub stage: u32,
    pub slices: Vec<CohortSliceWire>,
    /// Whether it shows the feature to everybody but the hold-back.
    pub is_last: bool,
}

/// A stage as it is told: shares of all units, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ToldStage {
    /// Those of the stages before included.
    pub exposed_percent: f64,
    /// The stage's own.
    pub control_percent: f64,
}

/// The buckets under one salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    /// First bucket that nobody was enrolled in, and first one behind them.
    from: u32,
    to: u32,
}

/// A range of buckets.
pub type Range = (u32, u32);

/// A phase of an attempt, as far as the attempt's stages depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagePhase {
    /// In which it began.
    pub circuit: Circuit,
    /// From 1; 0 where nobody is exposed.
    pub stage: u32,
    /// Widths of the buckets that it enrols itself.
    pub exposed: u32,
    pub control: u32,
}

impl Ramp {
    /// The stages of a launch, and of each attempt that is no probe.
    pub fn of(policy: &Policy) -> Self {
        let one = StagePolicy {
            exposed_percent: policy.exposure_percent,
            control_percent: policy.control_percent,
            dwell_s: None,
        };
        let stages = policy.ramp.as_ref().map_or_else(|| vec![one], |ramp| ramp.stages.clone());
        let share = |stage: &StagePolicy| Share {
            exposed: buckets(stage.exposed_percent),
            control: buckets(stage.control_percent),
        };
        Self {
            stages: stages.iter().map(share).collect(),
            hold_back: policy.ramp.as_ref().map(|ramp| buckets(ramp.hold_back_percent)),
        }
    }

    /// The stages of an attempt that begins with a probe: it is no wider than the last stage that stood before the stage
    /// `tripped` (from 1), and the wider ones follow it.
    pub fn probe(policy: &Policy, tripped: u32) -> Self {
        let launch = Self::of(policy);
        let stood = usize::try_from(tripped).unwrap_or(usize::MAX).saturating_sub(2);
        let stood = launch.stages.get(stood.min(launch.stages.len().saturating_sub(1)));
        let exposed = buckets(policy.half_open_percent).min(stood.map_or(0, |share| share.exposed));
        let control = match policy.ramp {
            Some(_) => exposed.saturating_mul(PROBE_CONTROLS).min(BUCKET_COUNT / 2),
            None => buckets(policy.control_percent),
        };
        launch.behind(Share { exposed, control })
    }

    /// The stages of the attempt that has these phases, the oldest first: those of a launch, or where it began with a probe the
    /// probe and what is wider. All that asks which stage follows asks here.
    pub fn of_attempt(policy: &Policy, phases: impl IntoIterator<Item = StagePhase>) -> Self {
        let first = phases.into_iter().find(|phase| phase.stage > 0);
        match first.filter(|first| first.circuit == Circuit::HalfOpen) {
            Some(StagePhase { exposed, control, .. }) => Self::of(policy).behind(Share { exposed, control }),
            None => Self::of(policy),
        }
    }

    fn behind(self, first: Share) -> Self {
        let wider = self.stages.into_iter().filter(|share| share.exposed > first.exposed);
        Self { stages: [first].into_iter().chain(wider).collect(), hold_back: self.hold_back }
    }

    /// Buckets that its first stage exposes and reserves.
    pub fn first_widths(&self) -> (u64, u64) {
        self.stages.first().map_or((0, 0), |share| (share.exposed.into(), share.control.into()))
    }

    /// The stages, the last one of everybody included.
    pub fn told(&self) -> Vec<ToldStage> {
        let told = |exposed, control| ToldStage {
            exposed_percent: percent(exposed),
            control_percent: percent(control),
        };
        let stages = self.stages.iter().map(|share| told(share.exposed, share.control));
        stages.chain(self.hold_back.map(|width| told(BUCKET_COUNT - width, width))).collect()
    }

    /// Its first stage on fresh buckets of a lane; `kept` go on seeing the feature and enrol no more. `None` where too few are
    /// fresh: the first stage has to fit, and of a ramp half of all that its stages take.
    pub fn begin(&self, lane: Lane, kept: &[Range], policy: &Policy) -> Option<Opened> {
        let first = self.stages.first()?;
        let all = self.stages.last().map_or(0, |share| share.exposed)
            + self.stages.iter().map(|share| share.control).sum::<u32>();
        if lane.width() < first.exposed + first.control || lane.width() < all / 2 {
            return None;
        }
        self.first(lane, kept, policy)
    }

    /// The same of a probe, which needs fresh buckets for itself alone.
    pub fn begin_probe(&self, lane: Lane, kept: &[Range], policy: &Policy) -> Option<Opened> {
        let first = self.stages.first()?;
        if lane.width() < first.exposed + first.control {
            return None;
        }
        self.first(lane, kept, policy)
    }

    fn first(&self, lane: Lane, kept: &[Range], policy: &Policy) -> Option<Opened> {
        let Share { exposed, control } = *self.stages.first()?;
        let kept = kept.iter().map(|range| unenrolled(policy, *range));
        let slices = sorted(kept.chain(lane.take(exposed, control, policy)).collect());
        Some(Opened { stage: 1, slices, is_last: false })
    }

    /// What follows the stage `running` (from 1), whose phase has the number `phase` and these slices; `None` behind the last
    /// one. Where fewer buckets are fresh than a stage of a ramp takes, it takes them all, as many of each arm as its shares
    /// have it; where none are, the last stage follows.
    pub fn next(
        &self,
        running: u32,
        phase: u32,
        slices: &[CohortSliceWire],
        policy: &Policy,
    ) -> Option<Opened> {
        let lane = Lane::behind(slices);
        let at = usize::try_from(running).ok()?;
        let before = self.stages.get(at.checked_sub(1)?)?;
        let share =
            self.stages.get(at).map(|share| Share { exposed: share.exposed - before.exposed, ..*share });
        let fits = |share: &Share| match self.hold_back {
            Some(_) => lane.width() >= 2,
            None => lane.width() >= share.exposed + share.control,
        };
        match (share.filter(fits), self.hold_back) {
            (Some(Share { exposed, control }), _) => {
                let carried = slices.iter().cloned().map(|mut slice| {
                    slice.phase = (!slice.unenrolled).then_some(slice.phase.unwrap_or(phase));
                    slice
                });
                let slices = sorted(carried.chain(lane.take(exposed, control, policy)).collect());
                Some(Opened { stage: running + 1, slices, is_last: false })
            }
            (None, Some(width)) => {
                let stage = u32::try_from(self.stages.len()).unwrap_or(u32::MAX).saturating_add(1);
                Some(Opened { stage, slices: last(lane, width, policy), is_last: true })
            }
            (None, None) => None,
        }
    }
}

impl Lane {
    /// Of which nobody was enrolled yet.
    pub const FRESH: Self = Self { from: 0, to: BUCKET_COUNT };

    /// What slices leave of it: those of all phases that hashed with its salt.
    pub fn behind<'s>(slices: impl IntoIterator<Item = &'s CohortSliceWire>) -> Self {
        let mut lane = Self::FRESH;
        for slice in slices {
            match slice.arm {
                Arm::Exposed => lane.from = lane.from.max(slice.to),
                Arm::Control => lane.to = lane.to.min(slice.from),
            }
        }
        lane
    }

    const fn width(self) -> u32 {
        self.to.saturating_sub(self.from)
    }

    /// Slices for both arms from its two ends: so many buckets, or all that there are in that ratio.
    fn take(self, exposed: u32, control: u32, policy: &Policy) -> [CohortSliceWire; 2] {
        let (width, wanted) = (u64::from(self.width()), u64::from(exposed) + u64::from(control));
        let scaled = u64::from(exposed) * width.min(wanted) / wanted.max(1);
        let exposed = u32::try_from(scaled).unwrap_or(exposed).max(1);
        let control = u32::try_from(width.min(wanted)).unwrap_or(control).saturating_sub(exposed);
        [
            enrolling((self.from, self.from + exposed), &policy.treatment_variation, Arm::Exposed),
            enrolling((self.to - control, self.to), &policy.control_variation, Arm::Control),
        ]
    }
}

/// Everybody but a hold-back from the top of the lane, where nobody was ever exposed. Whoever was exposed before enrols no more.
fn last(lane: Lane, hold_back: u32, policy: &Policy) -> Vec<CohortSliceWire> {
    let top = BUCKET_COUNT.saturating_sub(hold_back).max(lane.from);
    let all = [
        unenrolled(policy, (0, lane.from)),
        enrolling((lane.from, top), &policy.treatment_variation, Arm::Exposed),
        enrolling((top, BUCKET_COUNT), &policy.control_variation, Arm::Control),
    ];
    all.into_iter().filter(|slice| slice.from < slice.to).collect()
}

fn enrolling((from, to): Range, variation: &str, arm: Arm) -> CohortSliceWire {
    CohortSliceWire { from, to, variation: variation.to_owned(), arm, phase: None, unenrolled: false }
}

fn unenrolled(policy: &Policy, (from, to): Range) -> CohortSliceWire {
    let variation = policy.treatment_variation.clone();
    CohortSliceWire { from, to, variation, arm: Arm::Exposed, phase: None, unenrolled: true }
}

fn sorted(mut slices: Vec<CohortSliceWire>) -> Vec<CohortSliceWire> {
    slices.sort_by_key(|slice| slice.from);
    slices
}

/// The buckets whose units see the feature, those side by side as one.
pub fn exposed(slices: &[CohortSliceWire]) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for slice in slices.iter().filter(|slice| slice.arm == Arm::Exposed) {
        match ranges.last_mut() {
            Some((_, to)) if *to == slice.from => *to = slice.to,
            _ => ranges.push((slice.from, slice.to)),
        }
    }
    ranges
}

/// The share of units that see the feature, percent.
pub fn exposed_percent(slices: &[CohortSliceWire]) -> f64 {
    percent(exposed(slices).iter().map(|(from, to)| to.saturating_sub(*from)).sum())
}

/// What the flag's rules may not serve in `circuit`: unless closed, the feature is for the probe's units alone.
pub fn withheld(policy: &Policy, circuit: Circuit) -> Option<WithheldWire> {
    match circuit {
        Circuit::Closed => None,
        Circuit::Open | Circuit::HalfOpen => Some(WithheldWire {
            variation: policy.treatment_variation.clone(),
            instead: policy.control_variation.clone(),
        }),
    }
}

/// The salt of a flag's lane number `number`, of which 0 is the flag's own. Nobody's by accident.
pub fn lane_salt(own: &str, number: u32) -> String {
    if number == 0 { own.to_owned() } else { format!("{}{number}", lane_prefix(own)) }
}

/// The number of the lane that a salt is of; `None` of another flag's, or of this one's under another salt.
pub fn lane_number(own: &str, salt: &str) -> Option<u32> {
    if own == salt {
        return Some(0);
    }
    salt.strip_prefix(&lane_prefix(own))?.parse().ok()
}

fn lane_prefix(own: &str) -> String {
    let digest = Digest::of(own.as_bytes()).to_string();
    format!("lane-{}-", digest.get(..16).unwrap_or_default())
}

/// Of a policy that was checked at the door.
fn buckets(percent: f64) -> u32 {
    percent_to_buckets("percent", percent).unwrap_or(0)
}

fn percent(buckets: u32) -> f64 {
    f64::from(buckets) / (f64::from(BUCKET_COUNT) / 100.0)
}

#[cfg(test)]
mod tests;
