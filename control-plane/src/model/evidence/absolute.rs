//! A guardrail with a limit: whether the exposed arm is beyond it, whether control is as well, and whether a probe is back.

use flagfuse_stats::Refused;
use flagfuse_stats::absolute::{Absolute, Bound, Side};
use flagfuse_stats::allowed::{Allowed, Back};
use flagfuse_stats::bins::BinCount;
use flagfuse_stats::classic::ArmCount;
use flagfuse_stats::grid::EFFECTS;

use crate::model::metric::LATENCY_METRIC;
use crate::model::policy::{Direction, Guardrail};

/// A 95th percentile at most so much of the limit has room to it.
const ROOMY: f64 = 0.8;
/// Millionths of a millisecond, as bins have latencies.
const MICROS: f64 = 1e6;

/// A limit, and what was heard of both arms.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    bound: Bound,
    allowed: Allowed,
    /// Of latency: samples in bins above it are beyond the limit.
    bin: Option<u16>,
    beyond: Absolute,
    back: Back,
    exposed: ArmCount,
    /// Of latency: exposed samples, and those in bins above [`ROOMY`] of the limit.
    close: ArmCount,
    close_bin: Option<u16>,
}

impl Limit {
    pub(super) fn new(guardrail: &Guardrail, limit: f64) -> Result<Self, Refused> {
        let is_latency = guardrail.metric == LATENCY_METRIC;
        let (bound, allowed) = if is_latency {
            (Bound::p95(), Allowed::p95()?)
        } else {
            let side = match guardrail.direction {
                Direction::IncreaseIsHarm => Side::AtMost,
                Direction::DecreaseIsHarm => Side::AtLeast,
            };
            let theta = guardrail.threshold.abs();
            (Bound::new(limit, theta, side)?, Allowed::new(limit, theta, side)?)
        };
        #[expect(clippy::cast_possible_truncation, reason = "an hour at most")]
        let bin_of = |limit: f64| flagfuse_cells::bins::latency_bin((limit * MICROS) as i64);
        let (bin, close_bin) = (is_latency.then(|| bin_of(limit)), is_latency.then(|| bin_of(limit * ROOMY)));
        let (beyond, back) = (Absolute::default(), Back::default());
        let (exposed, close) = (ArmCount::default(), ArmCount::default());
        Ok(Self { bound, allowed, bin, beyond, back, exposed, close, close_bin })
    }

    pub(super) fn is_of_samples(&self) -> bool {
        self.bin.is_some()
    }

    /// Reads a slot that is over; gives the logarithms of the exposed arm's factors.
    pub(super) fn fold(&mut self, exposed: ArmCount, control: ArmCount) -> Result<[f64; EFFECTS], Refused> {
        let factors = self.bound.log_factors(exposed)?;
        self.beyond.fold(&self.bound, exposed, control)?;
        self.back.fold(&self.allowed, exposed)?;
        self.exposed.units = self.exposed.units.saturating_add(exposed.units);
        self.exposed.events = self.exposed.events.saturating_add(exposed.events);
        Ok(factors)
    }

    /// The samples of an arm as units of which some are beyond the limit. What shares its bin is within.
    pub(super) fn samples(&self, bins: &[BinCount]) -> ArmCount {
        above(bins, self.bin)
    }

    /// Notes how many samples of the exposed arm come close to the limit.
    pub(super) fn note_close(&mut self, exposed: &[BinCount]) {
        let found = above(exposed, self.close_bin);
        self.close.units = self.close.units.saturating_add(found.units);
        self.close.events = self.close.events.saturating_add(found.events);
    }

    /// Of latency: the share of the exposed arm's samples above [`ROOMY`] of the limit. At most a twentieth of them: the 95th
    /// percentile is at most there.
    pub(super) fn close(&self) -> Option<f64> {
        share(self.close)
    }

    /// E of the exposed arm and of control.
    pub(super) fn evidence(&self) -> (f64, f64) {
        self.beyond.evidence()
    }

    /// E against a harm of the threshold or more.
    pub(super) fn back(&self) -> f64 {
        self.back.evidence()
    }

    /// The exposed arm's rate in everything that was read; of latency the share of samples above the limit.
    pub(super) fn rate(&self) -> Option<f64> {
        share(self.exposed)
    }
}

fn above(bins: &[BinCount], bin: Option<u16>) -> ArmCount {
    let mut arm = ArmCount { units: 0, events: 0 };
    for found in bins {
        arm.units = arm.units.saturating_add(found.units);
        if Some(found.bin) > bin {
            arm.events = arm.events.saturating_add(found.units);
        }
    }
    arm
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn share(arm: ArmCount) -> Option<f64> {
    (arm.units > 0).then(|| arm.events as f64 / arm.units as f64)
}
