//! Probes of an open fuse: what is still harmful does not close it, what is healed does.

use anyhow::Result;
use flagfuse_control_plane::model::circuit::Circuit;
use flagfuse_control_plane::model::verdict::Decision;
use flagfuse_control_plane::store::evidence::Spent;

use super::policies::{Watch, one};
use crate::cell::{Bar, Cell, Sample};
use crate::chance::seed;
use crate::plane::{Plane, Setting};
use crate::traffic::{BEGIN_MS, Delay, Doing, HOUR_MS, Moment, Rate, Stream, Traffic};

const REPETITIONS: u64 = 2_000;
/// How long outcomes count: a slot is over five minutes later.
const WITHIN_S: u64 = 600;

pub(super) fn cells() -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    let fewer = Probe { metric: "activation", theta: -0.1, rate: 0.2, exposed_share: 0.2, diurnal: 0.4 };
    let more = Probe { metric: "error", theta: 1.0, rate: 0.02, exposed_share: 0.2, diurnal: 0.4 };
    for probe in [fewer, more] {
        for wrong in [0.25, 4.0] {
            cells.push(recloses(probe, wrong)?);
        }
    }
    cells.push(twenty_probes(fewer)?);
    let probe = |metric, theta, rate| Probe { metric, theta, rate, exposed_share: 0.05, diurnal: 0.0 };
    for (probe, size) in [
        (probe("activation", -0.05, 0.4), 3_380.0),
        (probe("activation", -0.1, 0.4), 900.0),
        (probe("activation", -0.2, 0.05), 2_220.0),
        (probe("error", 1.0, 0.002), 4_820.0),
    ] {
        cells.push(closes(probe, size)?);
    }
    Ok(cells)
}

/// What is probed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    pub(super) metric: &'static str,
    /// Harm that is looked for.
    pub(super) theta: f64,
    /// The control rate.
    pub(super) rate: f64,
    pub(super) exposed_share: f64,
    /// How much rate and traffic swing over the day.
    pub(super) diurnal: f64,
}

impl Probe {
    /// The how-manieth probe of a launch, whose policy says another rate than there is.
    fn setting(&self, number: u32, wrong: f64) -> Result<Setting> {
        let baseline = Some((self.rate * wrong).min(0.9));
        let watch = Watch {
            metric: self.metric,
            threshold: self.theta,
            baseline,
            weight: 1.0,
            within_s: Some(WITHIN_S),
        };
        let first = Setting::first(one(watch, self.exposed_share)?, self.exposed_share);
        let spent = Spent { attempts: number + 1, trips: number, probes: number };
        let tripped_metrics = vec![self.metric.to_owned()];
        Ok(Setting { circuit: Circuit::HalfOpen, spent, tripped_metrics, ..first })
    }

    /// A relative change of exposed units' rate.
    fn traffic(&self, change: f64) -> Traffic {
        let Self { rate, diurnal, .. } = *self;
        let rate: Rate = Box::new(move |moment: &Moment| {
            let of_now = rate * moment.diurnal(diurnal);
            if moment.is_exposed { of_now * (1.0 + change) } else { of_now }
        });
        let doing = Doing::once(self.metric, rate, Delay::Even(0, 120_000));
        let (exposed_share, diurnal) = (self.exposed_share, self.diurnal);
        Traffic { diurnal, doubled: 0.01, ..Traffic::even(1_000.0, exposed_share, vec![doing]) }
    }
}

/// How a probe ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Tripped,
    /// With so many exposed units by then.
    Closed(u64),
}

/// The first decision, if there is one before so many units were exposed.
fn first_decision(setting: &Setting, traffic: &Traffic, seed: u64, exposed_max: u64) -> Result<Option<End>> {
    let mut plane = Plane::new(setting.clone(), traffic, BEGIN_MS)?;
    let mut stream = Stream::new(traffic, seed, BEGIN_MS, 0);
    let until_ms = hours_for(traffic, exposed_max);
    Ok(plane.run(&mut stream, until_ms, |plane, stream, at_ms, closed| {
        let may_be = plane.has_news(closed) && (plane.has_crossed() || plane.has_recovered());
        if !may_be {
            return None;
        }
        match plane.decide(at_ms).decision {
            Decision::Trip => Some(End::Tripped),
            Decision::Close => Some(End::Closed(stream.exposed)),
            Decision::Continue | Decision::Hold | Decision::HalfOpen | Decision::Advance => None,
        }
    }))
}

/// Exposed units when the evidence of recovery reached its threshold, whatever else was decided meanwhile.
fn recovers(setting: &Setting, traffic: &Traffic, seed: u64, exposed_max: u64) -> Result<Option<u64>> {
    let mut plane = Plane::new(setting.clone(), traffic, BEGIN_MS)?;
    let mut stream = Stream::new(traffic, seed, BEGIN_MS, 0);
    let until_ms = hours_for(traffic, exposed_max);
    Ok(plane.run(&mut stream, until_ms, |plane, stream, _, closed| {
        (plane.has_news(closed) && plane.has_recovered()).then_some(stream.exposed)
    }))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "hours"
)]
fn hours_for(traffic: &Traffic, exposed: u64) -> u64 {
    let hours = exposed as f64 / (traffic.units_per_hour * traffic.exposed_share);
    BEGIN_MS + (hours * HOUR_MS as f64) as u64
}

/// Harm of exactly θ, and a policy that names another rate than there is.
pub(super) fn recloses(probe: Probe, wrong: f64) -> Result<Cell> {
    let (setting, traffic) = (probe.setting(1, wrong)?, probe.traffic(probe.theta));
    let launch = move |seed| {
        let found = recovers(&setting, &traffic, seed, 5_000)?;
        let closes = first_decision(&setting, &traffic, seed, 5_000)?;
        let closed = if matches!(closes, Some(End::Closed(_))) { 1.0 } else { 0.0 };
        Ok(Sample { hit: found.is_some(), numbers: vec![closed] })
    };
    let Probe { metric, theta, rate, .. } = probe;
    let what = format!(
        "A probe of harm exactly θ = {theta} in {metric} at a rate of {rate} ±40 % over the day, of which the policy says {wrong} times as much; 1:4, 5,000 exposed units: \
         evidence of recovery at any look, trips ignored"
    );
    Ok(Cell::new(format!("reclose-{metric}-{wrong}"), what, REPETITIONS, launch)
        .number("the fuse closed")
        .bar(Bar::Share { at_most: 0.05, upper: 0.065 }))
}

/// Twenty probes of it, one after the other.
pub(super) fn twenty_probes(probe: Probe) -> Result<Cell> {
    let settings = (1..=20).map(|number| probe.setting(number, 4.0)).collect::<Result<Vec<_>>>()?;
    let traffic = probe.traffic(probe.theta);
    let launch = move |seed_of: u64| {
        for (at, setting) in (0..).zip(&settings) {
            if recovers(setting, &traffic, seed("probe", seed_of ^ at), 2_000)?.is_some() {
                return Ok(Sample::of(true));
            }
        }
        Ok(Sample::of(false))
    };
    let what = "Twenty probes of harm exactly θ, one after the other, 2,000 exposed units each, everything else as in reclose-activation-4: \
                evidence of recovery in any of them, trips ignored";
    let bar = Bar::Share { at_most: 0.10, upper: 0.13 };
    Ok(Cell::new("reclose-twenty", what, REPETITIONS / 4, launch).bar(bar))
}

/// Nothing is wrong any more.
fn closes(probe: Probe, size: f64) -> Result<Cell> {
    let (setting, traffic) = (probe.setting(1, 1.0)?, probe.traffic(0.0));
    let launch = move |seed| {
        let found = first_decision(&setting, &traffic, seed, 30_000)?;
        #[expect(clippy::cast_precision_loss, reason = "units")]
        let exposed = match found {
            Some(End::Closed(exposed)) => vec![exposed as f64],
            Some(End::Tripped) | None => Vec::new(),
        };
        Ok(Sample { hit: !exposed.is_empty(), numbers: exposed })
    };
    let Probe { metric, theta, rate, .. } = probe;
    let what = format!(
        "A healthy probe after a trip by {metric}, θ = {theta} at a rate of {rate}, 5 % exposed: closes; the size with a known rate is {size}"
    );
    Ok(Cell::new(format!("close-{metric}-{}", theta.abs()), what, REPETITIONS / 2, launch)
        .number("exposed units")
        .bar(Bar::Quantile { number: 0, p: 0.5, at_most: 1.6 * size }))
}
