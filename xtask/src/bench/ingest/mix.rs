//! What units do, by a seed: first exposures, outcomes of units that are enrolled, repeats and what else arrives. Knows how
//! many of each there were, so that what was counted can be compared with it.

use anyhow::{Context as _, Result};
use flagfuse_shared::bucket::{Bucket, COHORT_SEED};
use flagfuse_shared::definition::{Arm, CohortSliceWire};
use serde_json::Value;

/// Of a hundred events: outcomes of units that are enrolled.
const OUTCOMES: u64 = 60;
/// First exposures.
const ENROLMENTS: u64 = 25;
/// Events that were sent before.
const REPEATS: u64 = 10;
/// Names of outcomes, the first ones those that the policy names.
const METRICS: [&str; 5] = ["conversion", "error", "latency_ms", "session", "search"];

/// The flag under a fuse.
pub(crate) const FLAG: &str = "watched";

/// One event, before it is written for the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The unit of this number is shown the flag.
    Exposure { unit: u64, arm: Arm },
    /// The unit of this number does something; `turn` tells two of them apart.
    Outcome { unit: u64, metric: &'static str, turn: u64 },
    /// Names a flag that does not exist.
    UnknownFlag { unit: u64 },
    /// Is of no type that exists.
    Malformed { turn: u64 },
}

/// What a stream consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// First exposures only.
    Enrolments,
    /// Everything.
    Mix,
}

/// The cohort of the flag: who is in which arm.
#[derive(Debug, Clone)]
pub(crate) struct Cohort {
    salt: String,
    slices: Vec<CohortSliceWire>,
    /// Number of the phase in the flag.
    pub(crate) phase: u32,
}

impl Cohort {
    /// Reads it out of the flag as the admin API shows it.
    pub(crate) fn read(flag: &Value) -> Result<Self> {
        let flag = flag.get("flag").unwrap_or(flag);
        let cohort = flag.get("cohort").context("the flag has no cohort")?;
        let field =
            |name: &str| cohort.get(name).cloned().with_context(|| format!("the cohort has no {name}"));
        Ok(Self {
            salt: cohort["salt"].as_str().or(flag["salt"].as_str()).unwrap_or(FLAG).to_owned(),
            slices: serde_json::from_value(field("slices")?)?,
            phase: serde_json::from_value(field("phase")?)?,
        })
    }

    /// Where a unit is.
    pub(crate) fn arm(&self, unit: u64) -> Result<Arm> {
        let bucket = Bucket::of(&self.salt, &unit_name(unit), COHORT_SEED).get();
        let slice = self.slices.iter().find(|slice| (slice.from..slice.to).contains(&bucket));
        slice.map(|slice| slice.arm).context("a unit is in no arm, though the cohort is everybody")
    }
}

/// A unit's name.
pub(crate) fn unit_name(number: u64) -> String {
    format!("user-{number:09}")
}

/// What an arm is shown.
pub(crate) const fn variation(arm: Arm) -> &'static str {
    match arm {
        Arm::Exposed => "on",
        Arm::Control => "off",
    }
}

/// What was made so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) events: u64,
    /// Units that were exposed for the first time.
    pub(crate) enrolled: u64,
    /// Of those, in the exposed arm.
    pub(crate) exposed: u64,
    /// Events that end in the quarantine.
    pub(crate) refused: u64,
}

impl Made {
    /// The next events.
    pub(crate) fn draw_all(&mut self, stream: Stream, count: usize, cohort: &Cohort) -> Result<Vec<Event>> {
        let draw = |_| match stream {
            Stream::Enrolments => self.enrol(cohort),
            Stream::Mix => self.draw(cohort),
        };
        (0..count).map(draw).collect()
    }

    /// The next unit is shown the flag.
    fn enrol(&mut self, cohort: &Cohort) -> Result<Event> {
        let unit = self.enrolled;
        let arm = cohort.arm(unit)?;
        self.events += 1;
        self.enrolled += 1;
        self.exposed += u64::from(arm == Arm::Exposed);
        Ok(Event::Exposure { unit, arm })
    }

    /// The next event of the mix.
    fn draw(&mut self, cohort: &Cohort) -> Result<Event> {
        let turn = self.events;
        let random = |salt: &str, below: u64| {
            u64::from(Bucket::of(salt, &turn.to_string(), 1).get()) * below / 1_000_000
        };
        // Some of the numbers below are drawn with a grain of a millionth, which is fine enough for who comes back.
        let unit = random("unit", self.enrolled.max(1));
        let kind = random("kind", 100);
        if (OUTCOMES..OUTCOMES + ENROLMENTS).contains(&kind) {
            return self.enrol(cohort);
        }
        self.events += 1;
        Ok(if kind < OUTCOMES {
            let at = usize::try_from(random("metric", METRICS.len() as u64)).unwrap_or(0);
            Event::Outcome { unit, metric: METRICS.get(at).copied().unwrap_or("search"), turn }
        } else if kind < OUTCOMES + ENROLMENTS + REPEATS {
            let arm = cohort.arm(unit)?;
            Event::Exposure { unit, arm }
        } else {
            match random("rest", 10) {
                0 => {
                    self.refused += 1;
                    Event::UnknownFlag { unit }
                }
                1 => {
                    self.refused += 1;
                    Event::Malformed { turn }
                }
                // Of somebody who never was shown the flag.
                _ => Event::Outcome { unit: (1 << 40) + turn, metric: "conversion", turn },
            }
        })
    }
}
