//! Evidence → what has crossed its threshold: the error that a launch may spend, divided over attempts, guardrails and slices, and
//! what it may spend on holds.

use flagfuse_stats::Refused;
use flagfuse_stats::budget::{
    self, Scope, hold_threshold, progress, recovery_threshold, trip_threshold, urgent_threshold, within_scope,
};
use flagfuse_stats::sentinel;

use super::guardrail::{Heard, State};
use super::guards::{Later, Suspect};
use super::{EVERYBODY, Evidence, slice_numbers};
use crate::model::policy::Rights;

/// On which terms evidence is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The how-manieth attempt of its launch the phase is, from 1.
    pub attempt: u32,
    /// The how-manieth probe, from 1.
    pub probe: u32,
}

/// What crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossed {
    /// The slice whose evidence did: 0 is everybody.
    pub slice: u8,
}

/// One guardrail.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Found {
    /// Of everybody.
    pub heard: Heard,
    /// What the evidence of everybody has to reach.
    pub needed: f64,
    /// How far it has got, in percent: the quotient of the logarithms.
    pub progress: f64,
    /// What harms: the evidence reached its threshold, and the estimate is beyond half of the harm.
    pub crossed: Option<Crossed>,
    /// What the evidence of recovery has to reach.
    pub recovery_needed: f64,
    /// Whether control is beyond the limit as well, which is nobody's fault.
    pub is_incident: bool,
    /// Whether it holds: its evidence reached what a hold needs, and it has no right to trip, or its early events warn.
    pub is_suspected: bool,
    /// Of a guardrail that only holds: whose evidence reached what a hold needs.
    pub held: Option<Crossed>,
    /// E of the early events, of a guardrail whose slots are read when they are over.
    pub warning: Option<f64>,
    /// What a warning, or a guardrail that only holds, has to reach.
    pub hold_needed: f64,
    /// What the sentinel of a promoted flag has to reach.
    pub sentinel_needed: Option<f64>,
    /// What the evidence has to reach while an objective pages, where the policy is urgent.
    pub urgent_needed: f64,
    /// Whether it reached that, of everybody, and the estimate is beyond half of the harm.
    pub is_urgent: bool,
}

impl Found {
    /// Whether a harm of the threshold or more is excluded.
    pub fn is_recovered(&self) -> bool {
        self.heard.recovery >= self.recovery_needed
    }
}

/// All guardrails, in their order.
pub type Judged = Vec<Found>;

impl Heard {
    /// Whether both arms are known to be beyond the limit.
    fn is_incident(&self, needed: f64) -> bool {
        self.evidence >= needed && self.control.is_some_and(|control| control >= needed)
    }

    /// Whether the exposed arm is, and control is not known to be.
    fn is_beyond(&self, needed: f64) -> bool {
        self.evidence >= needed && self.is_gate_open && !self.is_incident(needed)
    }
}

impl Evidence {
    /// What the evidence says on these terms; `weights` are those of the guardrails, 0 of one that only holds.
    pub fn judge(&self, terms: Terms, weights: &[f64]) -> Result<Judged, Refused> {
        let alpha = budget::alpha(terms.attempt)?;
        let hold_needed = self.hold_needed(terms)?;
        let recovery_needed = recovery_threshold(terms.probe)?;
        let later = self.guards.later(hold_needed);
        let everybody = self.of_everybody();
        // All scopes of all guardrails together alarm once in ten years at most.
        let alarms_at = self.is_promoted.then(|| sentinel::threshold(self.trip_count()));
        let guardrails = self.states.iter().zip(&self.warnings).zip(&self.rights).zip(weights);
        let mut judged = Vec::with_capacity(self.states.len());
        for (((states, warning), rights), weight) in guardrails {
            let Some(heard) = states.first().map(|state| state.heard_of(later)) else { continue };
            let warning = warning.as_ref().map(State::heard);
            let is_warned = warning.is_some_and(|heard| heard.is_beyond(hold_needed));
            let mut found = Found { heard, recovery_needed, hold_needed, ..Found::default() };
            found.warning = warning.map(|heard| heard.evidence);
            match rights {
                Rights::Trip => {
                    let needed = |scope| trip_threshold(alpha, *weight, scope);
                    found.needed = needed(everybody)?;
                    found.sentinel_needed = alarms_at.map(|at| within_scope(at, everybody)).transpose()?;
                    found.is_incident = heard.is_incident(found.needed);
                    found.is_suspected = is_warned;
                    found.crossed = self.crossed(&found, (states, later), needed, alarms_at)?;
                    found.urgent_needed = urgent_threshold(alpha, *weight)?;
                    // A limit that everybody misses while the platform is in trouble says nothing about the feature.
                    found.is_urgent = heard.control.is_none() && heard.is_beyond(found.urgent_needed);
                }
                Rights::Hold => {
                    let needed = |scope| within_scope(hold_needed, scope);
                    found.needed = needed(everybody)?;
                    found.is_incident = heard.is_incident(found.needed);
                    found.held = self.crossed(&found, (states, later), needed, None)?;
                    found.is_suspected = is_warned || found.held.is_some();
                }
            }
            found.progress = progress(heard.evidence, found.needed);
            judged.push(found);
        }
        Ok(judged)
    }

    /// The part of the error of a guardrail that everybody spends.
    fn of_everybody(&self) -> Scope {
        if self.dimensions.is_empty() { Scope::Everybody } else { Scope::EverybodyBesideSlices }
    }

    /// The slice whose evidence reached what it needs, everybody first, or whose sentinel alarms. Control that is beyond a limit too
    /// blames nobody, in no slice.
    fn crossed(
        &self,
        found: &Found,
        (states, later): (&[State], Later),
        needed: impl Fn(Scope) -> Result<f64, Refused>,
        alarms_at: Option<f64>,
    ) -> Result<Option<Crossed>, Refused> {
        if found.is_incident {
            return Ok(None);
        }
        let is_beyond = |heard: Heard, scope| {
            let alarm = heard.sentinel.zip(alarms_at);
            let alarm = alarm.map(|(found, at)| Ok(found >= within_scope(at, scope)?)).transpose()?;
            Ok(alarm.unwrap_or(false) || heard.is_beyond(needed(scope)?))
        };
        if is_beyond(found.heard, self.of_everybody())? {
            return Ok(Some(Crossed { slice: EVERYBODY }));
        }
        let declared = states.len().saturating_sub(1);
        for (slice, state) in slice_numbers(declared).zip(states).skip(1) {
            // Not frozen yet: a slice is not judged before.
            let Some(share) = self.share(slice) else { continue };
            if is_beyond(state.heard_of(later), Scope::Slice(share))? {
                return Ok(Some(Crossed { slice }));
            }
        }
        Ok(None)
    }

    /// What each of the guards of telemetry says on these terms.
    pub fn suspects(&self, terms: Terms) -> Result<Vec<Suspect>, Refused> {
        Ok(self.guards.suspects(self.hold_needed(terms)?))
    }

    /// What anything that only holds has to reach: all of them share what a launch may spend on holds, and each attempt spends less of
    /// it than the one before, as of what trips spend.
    fn hold_needed(&self, terms: Terms) -> Result<f64, Refused> {
        let holds = self.rights.iter().filter(|rights| **rights == Rights::Hold).count();
        let warnings = self.warnings.iter().filter(|warning| warning.is_some()).count();
        let all = u32::try_from(holds + warnings + self.guards.count()).unwrap_or(u32::MAX);
        Ok(hold_threshold(all) * budget::ALPHA / budget::alpha(terms.attempt)?)
    }

    /// Guardrails with the right to trip.
    fn trip_count(&self) -> u32 {
        let count = self.rights.iter().filter(|rights| **rights == Rights::Trip).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// A declared slice's part of the budget, once it is frozen.
    fn share(&self, slice: u8) -> Option<f64> {
        let at = usize::from(slice).checked_sub(usize::from(super::DECLARED_FIRST))?;
        self.slice_shares.as_ref()?.get(at).copied()
    }
}
