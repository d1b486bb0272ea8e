//! Whether the next stage of a ramp opens, and what it waits for. A trip comes before it, and so does whatever holds: it never
//! opens on no data, on stale data, or on arms whose sizes cannot be. Pure.

mod s3;

use flagfuse_shared::definition::CohortSliceWire;
use flagfuse_shared::ids::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{Decision, GuardrailEvidence, Look, Reason};
use crate::figures::{count, difference, grouped, span};
use crate::model::circuit::Circuit;
use crate::model::evidence::{Found, Over, Terms, base_rate, harm};
use crate::model::policy::{Advance, Compared, Guardrail, Policy, RampPolicy, Rights};
use crate::model::ramp::{Ramp, exposed_percent};
use flagfuse_stats::budget;
use flagfuse_stats::certificate::{Certificates, EXCLUDED, MARGINS, margins};
use flagfuse_stats::power::Plan;

/// The newest slot with units of both arms has to have closed within it: where traffic has stopped nothing opens.
const DATA_AGE_MS_MAX: u64 = 15 * 60_000;
/// A harm so many times the threshold is what a ramp by power looks for.
const POWER_MULTIPLE: f64 = 2.0;
/// Control units below which the rate is the policy's.
const RATE_UNITS_MIN: u64 = 200;
/// A larger change is planned for as this one.
const CHANGE_MAX: f64 = 10.0;

/// Where a fuse stands, as the database has it.
#[derive(Debug, Clone)]
pub struct Standing<'s> {
    pub circuit: Circuit,
    pub attempt: u32,
    /// That of the running phase, from 1; 0 where nobody is exposed.
    pub stage: u32,
    /// The number of the running phase in the flag.
    pub phase: u32,
    pub slices: &'s [CohortSliceWire],
    /// When it began.
    pub began_ms: UnixMillis,
    /// The stages of its attempt.
    pub ramp: Ramp,
    /// Whether a person keeps the ramp where it stands.
    pub is_held: bool,
}

/// Where a ramp stands.
#[derive(Debug, Clone, PartialEq)]
pub struct RampLook {
    pub attempt: u32,
    /// The stage that runs, from 1.
    pub stage: u32,
    /// Stages of the attempt, the last one of everybody included.
    pub stages: u32,
    /// Share of units that see the feature.
    pub exposed_percent: f64,
    /// `None` of the last one.
    pub next: Option<NextLook>,
    /// When it began.
    pub began_ms: UnixMillis,
    pub is_held: bool,
    /// The end of the stage's newest slot that has units of both arms.
    pub newest_ms: Option<UnixMillis>,
}

/// The stage that follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NextLook {
    pub stage: u32,
    pub exposed_percent: f64,
}

/// Where a ramp stood at a verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RampVerdict {
    /// The how-manieth attempt.
    pub attempt: u32,
    /// The stage that ran, from 1.
    pub stage: u32,
    /// Stages of the attempt, the last one of everybody included.
    pub stages: u32,
    /// Share of units that saw the feature, percent.
    pub exposed_percent: f64,
    /// What follows; absent in the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextStage>,
    /// The same in a sentence.
    pub summary: String,
}

/// The stage that follows, and what it waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NextStage {
    pub stage: u32,
    /// Share of units that will see the feature, percent.
    pub exposed_percent: f64,
    /// Not before.
    pub opens_ms: UnixMillis,
    /// One phrase for each thing; nothing when it opens.
    pub waits_for: Vec<String>,
}

impl RampLook {
    /// Of a fuse with this policy; `None` where it has no ramp, or exposes nobody.
    pub fn of(policy: &Policy, standing: Standing<'_>) -> Option<Self> {
        let is_exposed = standing.stage > 0 && standing.circuit != Circuit::Open;
        policy.ramp.as_ref().filter(|_| is_exposed)?;
        let Standing { attempt, stage, phase, slices, began_ms, is_held, ramp, .. } = standing;
        let next = ramp
            .next(stage, phase, slices, policy)
            .map(|opened| NextLook { stage: opened.stage, exposed_percent: exposed_percent(&opened.slices) });
        Some(Self {
            attempt,
            stage,
            stages: u32::try_from(ramp.told().len()).unwrap_or(u32::MAX),
            exposed_percent: exposed_percent(slices),
            next,
            began_ms,
            is_held,
            newest_ms: None,
        })
    }
}

/// What of the ramp goes with a decision: as it was decided otherwise, or to open the next stage.
pub(super) fn decide(
    look: &Look<'_>,
    evidence: &[GuardrailEvidence],
    (decision, reason): (Decision, Reason),
) -> Option<(Decision, Reason, RampVerdict)> {
    let (policy, heed) = (look.policy.ramp.as_ref()?, look.heed?);
    let ramp = heed.ramp.as_ref()?;
    let mut told = RampVerdict {
        attempt: ramp.attempt,
        stage: ramp.stage,
        stages: ramp.stages,
        exposed_percent: ramp.exposed_percent,
        next: None,
        summary: String::new(),
    };
    let now = format!(
        "Stage {} of {}: {} % of the units see the feature",
        ramp.stage, ramp.stages, ramp.exposed_percent
    );
    let Some(next) = ramp.next else {
        told.summary = format!("{now}, and the others never do: it is the last stage.");
        return Some((decision, reason, told));
    };
    let dwell_ms = policy.dwell_ms(ramp.exposed_percent);
    let waits_for = waits(look, (policy, ramp, next), evidence, (decision, reason));
    let opens_ms = ramp.began_ms.plus(dwell_ms);
    let (next_stage, share) = (next.stage, next.exposed_percent);
    let is_over = look.now.since(ramp.began_ms) > look.policy.window_ms();
    let (decision, reason) = match (decision, waits_for.is_empty()) {
        (Decision::Continue, true) => (Decision::Advance, why(policy.advance)),
        (Decision::Continue, false) if is_over => (Decision::Hold, Reason::Inconclusive),
        _ => (decision, reason),
    };
    told.summary = match decision {
        Decision::Advance => format!("{now}; stage {next_stage} opens, with {share} %."),
        Decision::Trip => format!("{now}, until now."),
        _ => format!("{now}. Stage {next_stage}, with {share} %, waits for {}.", waits_for.join("; ")),
    };
    if reason == Reason::Inconclusive {
        let window = span(look.policy.window_ms());
        told.summary = format!(
            "{} It lasts longer than {window} already: a person looks, POST …/fuse/advance.",
            told.summary
        );
    }
    let exposed_percent = share;
    told.next = Some(NextStage { stage: next_stage, exposed_percent, opens_ms, waits_for });
    Some((decision, reason, told))
}

const fn why(advance: Advance) -> Reason {
    match advance {
        Advance::Risk => Reason::HarmExcluded,
        Advance::Power => Reason::PowerReached,
        Advance::Time => Reason::TimeOver,
        Advance::S3 => Reason::GainSeen,
    }
}

/// What the next stage waits for, in phrases.
fn waits(
    look: &Look<'_>,
    (policy, ramp, next): (&RampPolicy, &RampLook, NextLook),
    evidence: &[GuardrailEvidence],
    (decision, reason): (Decision, Reason),
) -> Vec<String> {
    let mut waits = Vec::new();
    if look.circuit == Circuit::HalfOpen {
        waits.push("the probe to close".to_owned());
    } else if decision != Decision::Continue {
        waits.push(format!("what the verdict says ({})", reason.as_str()));
    }
    if ramp.is_held {
        waits.push("a person, who holds the ramp (POST …/fuse/resume)".to_owned());
    }
    let left_ms = policy.dwell_ms(ramp.exposed_percent).saturating_sub(look.now.since(ramp.began_ms));
    if left_ms > 0 {
        waits.push(format!("its time, {} more", span(left_ms)));
    }
    match ramp.newest_ms.map(|at| look.now.since(at)) {
        None => waits.push("a slot of this stage with units of both arms".to_owned()),
        Some(age_ms) if age_ms > DATA_AGE_MS_MAX => {
            waits.push(format!("units of both arms, of whom none closed a slot for {}", span(age_ms)));
        }
        Some(_) => {}
    }
    if policy.advance == Advance::S3 {
        waits.extend(s3::person(next.exposed_percent));
    }
    let heed = look.heed;
    for (at, guardrail) in look.policy.guardrails.iter().enumerate() {
        if policy.exempt.contains(&guardrail.metric) || evidence.get(at).is_none() {
            continue;
        }
        let found = heed.and_then(|heed| heed.found.get(at)?.as_ref());
        let terms = heed.map_or(Terms { attempt: 1, probe: 1 }, |heed| heed.terms);
        waits.extend(match (policy.advance, look.policy.compared(guardrail)) {
            // What only holds does so by itself, and of values no harm can be excluded: both cost time, no evidence.
            _ if guardrail.rights == Rights::Hold => None,
            (_, Compared::Values) | (Advance::Time, _) => None,
            (Advance::S3, _) => s3::waits(look, at, guardrail, found),
            (_, Compared::WithLimit(_)) => limit(guardrail, found),
            (Advance::Risk, _) => risk(policy, guardrail, found, next.exposed_percent),
            (Advance::Power, _) => power(look.policy, (at, guardrail), found, terms),
        });
    }
    waits
}

/// What a guardrail waits for before a harm that would use up the budget at this share is excluded.
fn risk(policy: &RampPolicy, guardrail: &Guardrail, found: Option<&Found>, percent: f64) -> Option<String> {
    let metric = &guardrail.metric;
    let Ok(harm) = harm(guardrail) else { return Some(format!("{metric}: a threshold that can be read")) };
    let budget = policy.harm_budget.unwrap_or_else(|| harm.theta());
    let Ok(needed) = Certificates::needed(harm.direction(), budget, percent / 100.0) else {
        return Some(format!("{metric}: a harm budget that can be read"));
    };
    let excluded = found.and_then(|found| found.heard.excluded);
    if excluded.is_some_and(|margin| margin <= needed * (1.0 + 1e-9)) {
        return None;
    }
    let words = |harm_size: f64| difference(harm.change(harm_size / harm.theta()));
    let so_far =
        excluded.map_or_else(|| "nothing is yet".to_owned(), |margin| format!("{} is", words(margin)));
    let [.., smallest] = margins(harm.direction());
    let asked = margins(harm.direction()).into_iter().find(|margin| *margin <= needed * (1.0 + 1e-9));
    Some(match asked {
        Some(margin) => format!("{metric}: {} excluded ({so_far})", words(margin)),
        None => format!(
            "{metric}: a person, since {} is the smallest of the {MARGINS} harms that can be excluded and the budget asks for \
             {}",
            words(smallest),
            words(needed),
        ),
    })
}

/// What a guardrail with a limit waits for: that missing it by the threshold is excluded.
fn limit(guardrail: &Guardrail, found: Option<&Found>) -> Option<String> {
    let evidence = found.map_or(1.0, |found| found.heard.recovery);
    (evidence < EXCLUDED).then(|| {
        format!("{}: evidence that its limit is kept, {evidence:.1} of {:.0}", guardrail.metric, EXCLUDED)
    })
}

/// What a guardrail waits for before twice its threshold would have been found in four of five launches.
fn power(
    policy: &Policy,
    (at, guardrail): (usize, &Guardrail),
    found: Option<&Found>,
    terms: Terms,
) -> Option<String> {
    let metric = &guardrail.metric;
    let over = found.map_or_else(Over::default, |found| found.heard.over);
    let needed = exposed_needed(policy, (at, guardrail), over, terms);
    match needed {
        Some(needed) if over.exposed >= needed => None,
        Some(needed) => {
            let read = count(over.exposed, "exposed unit");
            Some(format!("{metric}: {read} read to their end of {}", grouped(needed)))
        }
        None => Some(format!("{metric}: units of both arms that are read to their end")),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn exposed_needed(
    policy: &Policy,
    (at, guardrail): (usize, &Guardrail),
    over: Over,
    terms: Terms,
) -> Option<u64> {
    if over.exposed == 0 || over.control.units == 0 {
        return None;
    }
    let seen = over.control.events as f64 / over.control.units as f64;
    let is_seen = over.control.units >= RATE_UNITS_MIN && over.control.events > 0;
    let rate = if is_seen { seen } else { base_rate(guardrail) };
    let weight = policy.weights().get(at).copied()?;
    let plan = Plan {
        rate: rate.clamp(1e-6, 0.9),
        change: harm(guardrail).ok()?.change(POWER_MULTIPLE).min(CHANGE_MAX),
        controls: over.control.units as f64 / over.exposed as f64,
        alpha: budget::alpha(terms.attempt).ok()? * weight,
        power: 0.8,
    };
    plan.exposed_units().ok()
}

#[cfg(test)]
mod tests;
