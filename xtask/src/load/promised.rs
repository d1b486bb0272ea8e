//! What clients were promised: every event that was acknowledged, by person, and what may or may not have been stored because
//! no answer came. What is counted later lies between the two.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::users::{Fate, User, outcome_names};

/// Counts of one kind of people, or of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Units whose exposure enrols them, but for robots.
    pub enrolled: u64,
    /// Robots that are enrolled.
    pub bots: u64,
    /// Units whose only exposure is from before the phase.
    pub early: u64,
    /// Enrolled units by outcome, but for robots.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Acknowledged events, without those that were sent again.
    pub events: u64,
    /// Acknowledged events that belong into the quarantine.
    pub malformed: u64,
}

impl Totals {
    fn add(&mut self, fate: Fate) {
        if !fate.is_enrolled {
            self.early += 1;
            return;
        }
        if fate.is_bot {
            self.bots += 1;
            return;
        }
        self.enrolled += 1;
        for (at, name) in outcome_names().enumerate() {
            if fate.outcomes & (1 << at) != 0 {
                *self.outcomes.entry(name).or_default() += 1;
            }
        }
    }
}

/// The ledger of a load.
#[derive(Debug, Default)]
pub(super) struct Promised(Mutex<Totals>);

impl Promised {
    /// Every request of this person was acknowledged.
    pub(super) fn all_of(&self, user: User) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(user.fate());
    }

    /// One request was acknowledged.
    pub(super) fn request(&self, events: u64, malformed: u64) {
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        totals.events += events;
        totals.malformed += malformed;
    }

    /// Everything so far.
    pub(super) fn totals(&self) -> Totals {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
