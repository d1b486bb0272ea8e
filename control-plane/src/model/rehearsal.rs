//! What a policy of the mode `anytime` would have made of what was counted lately. Control units are dealt anew into two arms: once
//! as they are, so that whatever is found is false, and once with the harm of the threshold planted into one of them. The evidence
//! is the production's. Pure: the same history gives the same answer.

use std::collections::BTreeMap;

use flagfuse_cells::schedule::TICK_MS;
use flagfuse_shared::definition::Arm;
use flagfuse_shared::flag::compile::percent_to_buckets;
use flagfuse_stats::Refused;
use serde::Serialize;

use super::evidence::{ClosedCount, ClosedSlot, Evidence, News, PhaseShape, Terms};
use super::metric::{ENROLLED, LATENCY_METRIC};
use super::policy::{Compared, Direction, Guardrail, Policy, Rights};

/// Counts that one rehearsal folds at most: a second or two of one core.
const COUNT_MAX: usize = 400_000;
/// Times that the units are dealt, with and without a harm.
const RUNS: std::ops::RangeInclusive<usize> = 5..=50;
const EVERYBODY: u8 = 0;
const HOUR_MS: f64 = 3_600_000.0;

/// Control units that enrolled together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastSlot {
    /// The tick at which it closed.
    pub tick: u64,
    pub ends_ms: u64,
    pub units: u64,
    /// What became known of them, in order.
    pub steps: Vec<PastStep>,
}

/// A step of a slot's age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastStep {
    /// The tick at which it closed.
    pub tick: u64,
    pub step: i64,
    /// Units with the event that had not had it before, by guardrail.
    pub events: Vec<u64>,
}

/// How often it went how.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rehearsal {
    /// Times that the units were dealt.
    pub runs: usize,
    /// Trips although nothing was planted.
    pub false_trips: usize,
    /// Slots of control units that were dealt.
    pub slots: usize,
    /// Units in them.
    pub units: u64,
    /// How long they took to come, in hours.
    pub hours: f64,
    /// With the harm of its threshold planted into one guardrail at a time.
    pub guardrails: Vec<Planted>,
}

/// One guardrail with a harm of its threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Planted {
    pub metric: String,
    /// Runs that tripped.
    pub caught: usize,
    /// Exposed units until then, in the middle one of the runs that tripped; `null` where none did.
    pub exposed_units: Option<u64>,
    /// Hours until then.
    pub hours: Option<f64>,
}

/// Whether a guardrail can be rehearsed: samples of latency are not kept unit by unit, nor are values, and what only holds trips
/// nothing.
pub fn is_rehearsable(policy: &Policy, guardrail: &Guardrail) -> bool {
    guardrail.metric != LATENCY_METRIC
        && guardrail.rights == Rights::Trip
        && policy.compared(guardrail) == Compared::WithControl
}

/// Deals a history. Its guardrails are those of the policy, in their order.
pub fn rehearse(policy: &Policy, history: &[PastSlot]) -> Result<Rehearsal, Refused> {
    let counts: usize = history.iter().map(|slot| 2 + 2 * slot.steps.len() * policy.guardrails.len()).sum();
    let runs = (COUNT_MAX / counts.max(1) / (1 + policy.guardrails.len())).clamp(*RUNS.start(), *RUNS.end());
    let first = history.iter().map(|slot| slot.tick).min().unwrap_or(0);
    let last = history.iter().map(|slot| slot.tick).max().unwrap_or(0);
    let dealt = |planted, seed| Dealer { policy, planted, chance: Chance(seed) }.deal(history);
    let mut false_trips = 0;
    for seed in 0..runs {
        false_trips += usize::from(trip(policy, &dealt(None, seed as u64))?.is_some());
    }
    let mut guardrails = Vec::new();
    for (at, guardrail) in policy.guardrails.iter().enumerate().filter(|(_, own)| is_rehearsable(policy, own))
    {
        let mut trips = Vec::new();
        for seed in 0..runs {
            let seed = (seed + runs * (1 + at)) as u64;
            trips.extend(trip(policy, &dealt(Some(at), seed))?);
        }
        trips.sort_unstable();
        let middle = trips.get(trips.len() / 2);
        guardrails.push(Planted {
            metric: guardrail.metric.clone(),
            caught: trips.len(),
            exposed_units: middle.map(|(units, _)| *units),
            hours: middle.map(|(_, tick)| hours(tick.saturating_sub(first))),
        });
    }
    let units = history.iter().map(|slot| slot.units).sum();
    Ok(Rehearsal {
        runs,
        false_trips,
        slots: history.len(),
        units,
        hours: hours(last.saturating_sub(first)),
        guardrails,
    })
}

#[expect(clippy::cast_precision_loss, reason = "ticks stay far below 2^53")]
fn hours(ticks: u64) -> f64 {
    ((ticks * TICK_MS) as f64 / HOUR_MS * 100.0).round() / 100.0
}

/// Exposed units by the tick at which the evidence trips, and that tick; `None` where it never does.
fn trip(policy: &Policy, dealt: &BTreeMap<u64, News>) -> Result<Option<(u64, u64)>, Refused> {
    let metrics: Vec<u8> = (1..=u8::MAX).take(policy.guardrails.len()).collect();
    let width = |percent| percent_to_buckets("percent", percent).unwrap_or(0);
    let buckets = (width(policy.exposure_percent), width(policy.control_percent));
    let shape =
        PhaseShape { policy, metrics: &metrics, dimensions: &[], buckets, edges: &[], is_promoted: false };
    let mut evidence = Evidence::new(&shape)?;
    let (weights, mut exposed) = (policy.weights(), 0);
    for (tick, news) in dealt {
        let enrolled =
            news.counts.iter().filter(|count| count.metric == ENROLLED && count.arm == Arm::Exposed);
        exposed += enrolled.map(|count| count.units).sum::<u64>();
        evidence.fold(news, *tick)?;
        let judged = evidence.judge(Terms { attempt: 1, probe: 1 }, &weights)?;
        if judged.iter().any(|found| found.crossed.is_some()) {
            return Ok(Some((exposed, *tick)));
        }
    }
    Ok(None)
}

/// Deals units into two arms.
struct Dealer<'p> {
    policy: &'p Policy,
    /// The guardrail that is harmed.
    planted: Option<usize>,
    chance: Chance,
}

impl Dealer<'_> {
    /// By the tick at which it closes.
    fn deal(mut self, history: &[PastSlot]) -> BTreeMap<u64, News> {
        let mut dealt: BTreeMap<u64, News> = BTreeMap::new();
        let share =
            self.policy.exposure_percent / (self.policy.exposure_percent + self.policy.control_percent);
        for (slot, past) in (0_i64..).zip(history) {
            let exposed = (0..past.units).filter(|_| self.chance.comes(share)).count() as u64;
            let units = (exposed, past.units - exposed);
            let news = dealt.entry(past.tick).or_default();
            news.slots.push(ClosedSlot { tick: past.tick, slot, ends_ms: past.ends_ms });
            push(news, (past.tick, slot, 0), ENROLLED, units);
            // Units that have not had the event: of whom it was in history, and of whom it is here.
            let mut without = vec![(units, units); self.policy.guardrails.len()];
            for step in &past.steps {
                for ((at, events), (past_rest, rest)) in step.events.iter().enumerate().zip(&mut without) {
                    let dealt_events = self.split(*events, past_rest);
                    let exposed = self.harmed(at, dealt_events.0, rest.0);
                    let counted = (exposed, dealt_events.1.min(rest.1));
                    *rest = (rest.0 - counted.0, rest.1 - counted.1);
                    let Ok(metric) = u8::try_from(at + 1) else { continue };
                    push(dealt.entry(step.tick).or_default(), (step.tick, slot, step.step), metric, counted);
                }
            }
        }
        dealt
    }

    /// Which of the units without the event have it now, by arm.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    fn split(&mut self, events: u64, rest: &mut (u64, u64)) -> (u64, u64) {
        let mut dealt = (0, 0);
        for _ in 0..events.min(rest.0 + rest.1) {
            if self.chance.comes(rest.0 as f64 / (rest.0 + rest.1) as f64) {
                (dealt.0, rest.0) = (dealt.0 + 1, rest.0 - 1);
            } else {
                (dealt.1, rest.1) = (dealt.1 + 1, rest.1 - 1);
            }
        }
        dealt
    }

    /// Events of exposed units with the harm of the threshold, where this guardrail is the one that is harmed.
    fn harmed(&mut self, at: usize, events: u64, rest: u64) -> u64 {
        let guardrail = self.policy.guardrails.get(at).filter(|_| self.planted == Some(at));
        let Some(guardrail) = guardrail else { return events.min(rest) };
        let harm = guardrail.threshold.abs();
        let harmed = match guardrail.direction {
            Direction::DecreaseIsHarm => (0..events).filter(|_| !self.chance.comes(harm)).count() as u64,
            Direction::IncreaseIsHarm => {
                let more = (0..events).map(|_| self.chance.about(harm));
                events.saturating_add(more.sum())
            }
        };
        harmed.min(rest)
    }
}

fn push(news: &mut News, (tick, slot, step): (u64, i64, i64), metric: u8, (exposed, control): (u64, u64)) {
    for (arm, units) in [(Arm::Exposed, exposed), (Arm::Control, control)] {
        if units > 0 {
            news.counts.push(ClosedCount { tick, slot, step, metric, slice: EVERYBODY, arm, units });
        }
    }
}

/// Numbers that look drawn, and are the same each time (`SplitMix64`).
struct Chance(u64);

impl Chance {
    /// From 0 up to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn comes(&mut self, probability: f64) -> bool {
        self.draw() < probability
    }

    /// A whole number that is `mean` on average.
    fn about(&mut self, mean: f64) -> u64 {
        crate::figures::whole(mean.floor()) + u64::from(self.comes(mean.fract()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(guardrail: serde_json::Value) -> Policy {
        Policy::parse(json!({
            "mode": "anytime", "treatment_variation": "on", "control_variation": "off", "exposure_percent": 10,
            "control_percent": 40, "guardrails": [guardrail],
        }))
        .unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// So many slots of a hundred units, of whom so many have the event at once and as many a step later.
    fn history(slots: u64, events: u64) -> Vec<PastSlot> {
        let slot = |at: u64| {
            let tick = 1_000 + at * 12;
            let step = |step: i64| PastStep { tick: tick + step.unsigned_abs(), step, events: vec![events] };
            PastSlot { tick, ends_ms: tick * TICK_MS, units: 100, steps: vec![step(0), step(1)] }
        };
        (0..slots).map(slot).collect()
    }

    #[test]
    fn a_rehearsal_trips_on_what_is_planted_and_hardly_ever_on_nothing() {
        let rules = policy(
            json!({ "metric": "error", "direction": "increase_is_harm", "threshold": 1.0, "baseline": 0.1 }),
        );
        let found = rehearse(&rules, &history(200, 5)).unwrap();
        assert_eq!((found.slots, found.units), (200, 20_000));
        assert!(found.runs >= 20 && found.false_trips <= 1, "{found:?}");
        let planted = &found.guardrails[0];
        assert_eq!(
            (planted.metric.as_str(), planted.caught),
            ("error", found.runs),
            "twice as many errors: {found:?}"
        );
        let units = planted.exposed_units.unwrap();
        assert!((50..3_000).contains(&units), "{found:?}");
        assert!(planted.hours.unwrap() > 0.0 && planted.hours.unwrap() < found.hours, "{found:?}");
        assert_eq!(rehearse(&rules, &history(200, 5)).unwrap(), found, "the same history, the same answer");
    }

    #[test]
    fn a_small_harm_in_few_units_is_not_found_and_no_history_is_no_answer() {
        let rules = policy(
            json!({ "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05, "baseline": 0.1 }),
        );
        let found = rehearse(&rules, &history(20, 5)).unwrap();
        assert!(found.guardrails[0].caught <= 1 && found.false_trips <= 1, "{found:?}");
        let nothing = rehearse(&rules, &[]).unwrap();
        assert_eq!((nothing.units, nothing.false_trips, nothing.guardrails[0].caught), (0, 0, 0));
        assert_eq!(nothing.guardrails[0].exposed_units, None);
    }
}
