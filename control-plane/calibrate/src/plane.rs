//! A control plane of one flag, without a database: the ledger that ingestion runs closes cells, the engine's own ear hears them, and
//! the verdict of the model decides. Nothing here counts or judges anything.

use std::collections::BTreeMap;

use anyhow::Result;
use flagfuse_cells::{Closed, Ledger, MetricNo, NameNo, PhaseId, SliceNo};
use flagfuse_control_plane::model::circuit::Hand;
use flagfuse_control_plane::model::evidence::Found;
use flagfuse_control_plane::model::verdict::{Heed, Look, RampLook, Verdict, decide};
use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::UnixMillis;

use crate::attempt::Attempt;
use crate::figures::Figures;
pub use crate::setting::{Population, Setting};
use crate::traffic::{Known, Stream, Traffic, name_numbers};

/// The flag's events, the phases of its attempt, and what was heard of them.
pub struct Plane {
    ledger: Ledger,
    attempt: Attempt,
    figures: Figures,
    setting: Setting,
    numbers: Vec<NameNo>,
    /// Whether units enrol elsewhere than the stream of them knows.
    has_moved: bool,
    /// Enrolled units in closed slots of the attempt, by arm: exposed, control.
    pub folded: (u64, u64),
    /// When a slot of it closed last.
    pub slot_closed_ms: u64,
}

impl Plane {
    /// With a first phase.
    pub fn new(setting: Setting, traffic: &Traffic, now_ms: u64) -> Result<Self> {
        let mut ledger = Ledger::new();
        let attempt = Attempt::first(&mut ledger, &setting, now_ms)?;
        let numbers = name_numbers(&ledger, traffic);
        let has_moved = setting.population == Population::Everybody;
        Ok(Self {
            ledger,
            attempt,
            figures: Figures::default(),
            setting,
            numbers,
            has_moved,
            folded: (0, 0),
            slot_closed_ms: 0,
        })
    }

    /// What it runs under.
    pub const fn setting(&self) -> &Setting {
        &self.setting
    }

    /// The phase whose stage runs.
    pub fn phase(&self) -> PhaseId {
        self.attempt.phase()
    }

    /// The stage that runs, from 1.
    pub fn stage(&self) -> u32 {
        self.attempt.running().stage
    }

    /// When the next stage of its ramp may open; `None` without one.
    pub fn opens_ms(&self) -> Option<u64> {
        let (ramp, look) = (self.setting.policy.ramp.as_ref()?, self.attempt.look()?);
        look.next.map(|_| look.began_ms.0 + ramp.dwell_ms(look.exposed_percent))
    }

    /// Counts what became known.
    pub fn know(&mut self, known: &Known) {
        self.ledger.apply(&known.fact(self.attempt.phase(), &self.numbers), known.known_ms);
    }

    /// Whether anything may be due by then.
    pub fn is_due(&self, at_ms: u64) -> bool {
        self.ledger.next_due_ms().is_some_and(|due_ms| due_ms <= at_ms)
    }

    /// Closes what is due, and hears it.
    pub fn tick(&mut self, at_ms: u64) -> Closed {
        let closed = self.ledger.tick(at_ms);
        let news = self.attempt.hear(&closed, at_ms);
        if news.is_empty() {
            return closed;
        }
        self.figures.take(self.attempt.phase(), &closed);
        for news in news.values() {
            for count in news.counts.iter().filter(|count| count.metric == MetricNo::ENROLLED.0) {
                match (count.slice == SliceNo::WHOLE.0, count.arm) {
                    (true, Arm::Exposed) => self.folded.0 += count.units,
                    (true, Arm::Control) => self.folded.1 += count.units,
                    (false, _) => {}
                }
            }
            if !news.slots.is_empty() {
                self.slot_closed_ms = at_ms;
            }
        }
        closed
    }

    /// Hears what ripens without anything that closes.
    pub fn ripen(&mut self, at_ms: u64) {
        self.attempt.ripen(at_ms);
    }

    /// Whether anything of the attempt closed.
    pub fn has_news(&self, closed: &Closed) -> bool {
        self.attempt.has_news(closed)
    }

    /// Opens the next stage of its ramp, as a decision to advance does; whether there is one.
    pub fn advance(&mut self, now_ms: u64) -> Result<bool> {
        let has_opened = self.attempt.advance(&mut self.ledger, &self.setting, now_ms)?;
        if has_opened {
            (self.figures, self.has_moved) = (Figures::default(), true);
        }
        Ok(has_opened)
    }

    /// Begins the next attempt, after an edit of the policy or after a trip by hand. Of units that come with buckets.
    pub fn begin_anew(mut self, is_edit: bool, now_ms: u64) -> Result<Self> {
        self.setting.spent.attempts += 1;
        self.setting.spent.trips += u32::from(!is_edit);
        self.attempt = self.attempt.anew(&mut self.ledger, &self.setting, (is_edit, now_ms))?;
        Ok(Self { figures: Figures::default(), has_moved: true, folded: (0, 0), ..self })
    }

    /// Whether evidence of harm reached its threshold: without that, the mode `anytime` never trips.
    pub fn has_crossed(&self) -> bool {
        self.heed().is_some_and(|heed| heed.found.iter().flatten().any(|found| found.crossed.is_some()))
    }

    /// Whether harm of the threshold is excluded in every guardrail.
    pub fn has_recovered(&self) -> bool {
        let is_recovered = |found: &Option<Found>| found.is_some_and(|found| found.is_recovered());
        self.heed().is_some_and(|heed| heed.found.iter().all(is_recovered))
    }

    /// What is heeded of it.
    pub fn heed(&self) -> Option<Heed> {
        self.heed_at(None)
    }

    fn heed_at(&self, look: Option<RampLook>) -> Option<Heed> {
        let Setting { policy, spent, .. } = &self.setting;
        self.attempt.heard().heed(policy, Some(self.attempt.names()), *spent, look)
    }

    /// What is heeded of the first guardrail.
    pub fn first_found(&self) -> Option<Found> {
        self.heed()?.found.first().copied().flatten()
    }

    /// Looks at it.
    pub fn decide(&mut self, now_ms: u64) -> Verdict {
        let heed = self.heed_at(self.attempt.look());
        let now = UnixMillis(now_ms);
        let readings = self.figures.readings(&self.setting.policy, self.attempt.names(), now);
        let running = self.attempt.running();
        let nobody = BTreeMap::new();
        let smoothed = self.figures.averages(&self.setting.policy, self.attempt.names(), now);
        decide(&Look {
            policy: &self.setting.policy,
            circuit: self.setting.circuit,
            hand: Hand::Free,
            acted_ms: None,
            readings: &readings,
            recent: &[],
            buckets: (running.width(Arm::Exposed), running.width(Arm::Control)),
            tripped_metrics: &self.setting.tripped_metrics,
            ingest_lag_ms: 0,
            behind: &[],
            min_networks: 1,
            origins: &nobody,
            smoothed: &smoothed,
            heed: heed.as_ref(),
            incident: None,
            now,
        })
    }

    /// Lets time pass up to `until_ms`, from one tick at which anything is due to the next. Whoever looks is told of each; the
    /// first that it answers with ends it.
    pub fn run<T>(
        &mut self,
        stream: &mut Stream<'_>,
        until_ms: u64,
        mut look: impl FnMut(&mut Self, &Stream<'_>, u64, &Closed) -> Option<T>,
    ) -> Option<T> {
        loop {
            if std::mem::take(&mut self.has_moved) {
                stream.sit(self.attempt.seats());
            }
            let due_ms = self.ledger.next_due_ms().unwrap_or(until_ms).min(until_ms);
            if let Some(known) = stream.next_before(due_ms) {
                self.know(&known);
                continue;
            }
            if due_ms >= until_ms {
                return None;
            }
            let closed = self.tick(due_ms);
            if let Some(found) = look(self, stream, due_ms, &closed) {
                return Some(found);
            }
        }
    }
}
