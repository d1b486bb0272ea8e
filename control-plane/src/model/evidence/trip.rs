//! Evidence → what has crossed its threshold: the error that a launch may spend, divided over attempts, guardrails and slices.

use flagfuse_stats::Refused;
use flagfuse_stats::budget::{self, Scope, progress, recovery_threshold, trip_threshold};

use super::guardrail::Heard;
use super::{EVERYBODY, Evidence, slice_numbers};

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
#[derive(Debug, Clone, Copy, PartialEq)]
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
}

impl Found {
    /// Whether a harm of the threshold or more is excluded.
    pub fn is_recovered(&self) -> bool {
        self.heard.recovery >= self.recovery_needed
    }
}

/// All guardrails, in their order.
pub type Judged = Vec<Found>;

impl Evidence {
    /// What the evidence says on these terms; `weights` are those of the guardrails.
    pub fn judge(&self, terms: Terms, weights: &[f64]) -> Result<Judged, Refused> {
        let alpha = budget::alpha(terms.attempt)?;
        let whole = if self.dimensions.is_empty() { Scope::Everybody } else { Scope::EverybodyBesideSlices };
        let mut judged = Vec::with_capacity(self.states.len());
        for (states, weight) in self.states.iter().zip(weights) {
            let declared = states.len().saturating_sub(1);
            let mut of_everybody = None;
            let mut crossed = None;
            for (slice, state) in slice_numbers(declared).zip(states) {
                let heard = state.heard();
                let scope = match self.scope(slice) {
                    Some(share) if slice != EVERYBODY => Scope::Slice(share),
                    // Not frozen yet: a slice is not judged before.
                    None if slice != EVERYBODY => continue,
                    _ => whole,
                };
                let needed = trip_threshold(alpha, *weight, scope)?;
                if slice == EVERYBODY {
                    of_everybody = Some((heard, needed));
                }
                if crossed.is_none() && heard.evidence >= needed && heard.is_gate_open {
                    crossed = Some(Crossed { slice });
                }
            }
            if let Some((heard, needed)) = of_everybody {
                let progress = progress(heard.evidence, needed);
                let recovery_needed = recovery_threshold(terms.probe)?;
                judged.push(Found { heard, needed, progress, crossed, recovery_needed });
            }
        }
        Ok(judged)
    }

    /// A declared slice's part of the budget, once it is frozen.
    fn scope(&self, slice: u8) -> Option<f64> {
        let at = usize::from(slice).checked_sub(usize::from(super::DECLARED_FIRST))?;
        self.slice_shares.as_ref()?.get(at).copied()
    }
}
