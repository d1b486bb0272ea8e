//! Lines of an import, each made from its number alone, a known part of them wrong or repeated, and what all of them have to
//! come to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context, Result};
use flagfuse_shared::bucket::Bucket;
use flagfuse_shared::definition::Arm;
use serde_json::json;

use crate::bench::ingest::batches::write_event;
use crate::bench::ingest::mix::{Cohort, Event, FLAG, unit_name, variation};
use crate::tools::{progress, status};

/// The value metric.
pub(super) const REVENUE: &str = "revenue";
/// Names of outcomes, and the metric that counts each.
const METRICS: [(&str, &str); 6] = [
    ("conversion", "conversion"),
    ("error", "error"),
    ("latency_ms", "latency_ms"),
    ("session", "other"),
    ("search", "other"),
    (REVENUE, REVENUE),
];
/// Metrics that count a unit once.
const ONCE: [&str; 4] = ["conversion", "error", "latency_ms", "other"];
/// Of a hundred lines: outcomes.
const OUTCOMES: u64 = 80;
/// Of a hundred lines: the same line came before.
const REPEATS: u64 = 7;
/// How many lines before: within its request, or some requests away.
const REPEAT_DISTANCE: u64 = 5_000;
/// One line of so many is longer than any event.
const OVERSIZE: u64 = 20_000;
/// How old what is too old is: a day more than is taken.
const OLD_MS: u64 = 15 * 24 * 3_600_000;
/// Between two looks at how far the file is.
const LOOK_COUNT: u64 = 1 << 18;

/// A kind of line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// The outcome of this number, for the first time or again.
    Outcome {
        turn: u64,
        is_repeat: bool,
    },
    /// An exposure of a unit that is enrolled.
    Exposure,
    UnknownFlag,
    /// Of no type that exists.
    Surprise,
    NoId,
    NoUnit,
    TooOld,
    /// Claims the other arm.
    OtherArm,
    Oversize,
    /// The line was cut off.
    Torn,
    Blank,
}

/// What all lines come to, each of them once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) lines: u64,
    pub(super) blank: u64,
    /// Lines that are no events.
    pub(super) unsent: u64,
    /// New events.
    pub(super) stored: u64,
    /// Events that add nothing.
    pub(super) duplicate: u64,
    /// Events that belong into the quarantine, by code.
    pub(super) quarantined: BTreeMap<&'static str, u64>,
    /// Units by metric.
    pub(super) units: BTreeMap<&'static str, u64>,
    /// Values, and their sum.
    pub(super) values: u64,
    pub(super) value_sum: u64,
}

impl Expected {
    /// Events that arrive.
    pub(super) fn received(&self) -> u64 {
        self.stored + self.duplicate + self.quarantined.values().sum::<u64>()
    }
}

/// Makes lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines<'c> {
    pub(super) cohort: &'c Cohort,
    /// Units that are enrolled.
    pub(super) units: u64,
    /// When everything happened.
    pub(super) now_ms: u64,
}

fn random(salt: &str, turn: u64, below: u64) -> u64 {
    u64::from(Bucket::of(salt, &turn.to_string(), 3).get()) * below / 1_000_000
}

/// The line of this number.
fn line(turn: u64) -> Line {
    if turn % OVERSIZE == OVERSIZE / 2 {
        return Line::Oversize;
    }
    match random("kind", turn, 100) {
        0..OUTCOMES => Line::Outcome { turn, is_repeat: false },
        kind if kind < OUTCOMES + REPEATS => {
            let earlier = turn.saturating_sub(1 + random("distance", turn, REPEAT_DISTANCE));
            let is_repeat = earlier < turn && is_outcome(earlier);
            Line::Outcome { turn: if is_repeat { earlier } else { turn }, is_repeat }
        }
        87..90 => Line::Exposure,
        90 | 91 => Line::UnknownFlag,
        92 => Line::Surprise,
        93 => Line::NoId,
        94 => Line::NoUnit,
        95 => Line::TooOld,
        96 => Line::OtherArm,
        97 | 98 => Line::Torn,
        _ => Line::Blank,
    }
}

/// Whether it is an outcome that comes for the first time.
fn is_outcome(turn: u64) -> bool {
    turn % OVERSIZE != OVERSIZE / 2 && random("kind", turn, 100) < OUTCOMES
}

impl Lines<'_> {
    /// Writes so many lines.
    pub(super) fn write(&self, path: &Path, count: u64) -> Result<Expected> {
        let writing = || format!("writing {}", path.display());
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path).with_context(writing)?);
        let (mut expected, mut had, mut text) = (Expected::default(), self.nobody(), String::new());
        for turn in 0..count {
            let line = line(turn);
            text.clear();
            self.put(&mut text, turn, line)?;
            text.push('\n');
            file.write_all(text.as_bytes()).with_context(writing)?;
            self.expect(&mut expected, &mut had, line);
            if turn % LOOK_COUNT == 0 {
                status(&format!("{turn} of {count} lines are written"));
            }
        }
        file.flush().with_context(writing)?;
        progress(&format!("{count} lines are in {}", path.display()));
        Ok(expected)
    }

    /// What each unit has done: nothing.
    fn nobody(&self) -> Vec<u8> {
        vec![0; usize::try_from(self.units).unwrap_or_default()]
    }

    fn unit(&self, turn: u64) -> u64 {
        random("unit", turn, self.units)
    }

    fn name(turn: u64) -> (&'static str, &'static str) {
        let at = usize::try_from(random("metric", turn, METRICS.len() as u64)).unwrap_or(0);
        METRICS.get(at).copied().unwrap_or(("search", "other"))
    }

    fn outcome(&self, turn: u64) -> Event {
        Event::Outcome { unit: self.unit(turn), metric: Self::name(turn).0, turn }
    }

    fn put(&self, text: &mut String, turn: u64, line: Line) -> Result<()> {
        let (unit, phase, now_ms) = (self.unit(turn), self.cohort.phase, self.now_ms);
        let mut event = |event: &Event, occurred_ms| write_event(text, event, phase, occurred_ms);
        match line {
            Line::Outcome { turn, .. } => event(&self.outcome(turn), now_ms),
            Line::Exposure => event(&Event::Exposure { unit, arm: self.cohort.arm(unit)? }, now_ms),
            Line::UnknownFlag => event(&Event::UnknownFlag { unit }, now_ms),
            Line::Surprise => event(&Event::Malformed { turn }, now_ms),
            Line::TooOld => event(&self.outcome(turn), now_ms.saturating_sub(OLD_MS)),
            Line::OtherArm => {
                let other = match self.cohort.arm(unit)? {
                    Arm::Exposed => Arm::Control,
                    Arm::Control => Arm::Exposed,
                };
                let shown = json!({
                    "id": format!("other-arm-{turn}"), "type": "exposure", "unit": unit_name(unit), "flag": FLAG,
                    "variation": variation(other), "phase": phase, "occurred_ms": now_ms,
                });
                // Writing into a text cannot fail.
                let _ = write!(text, "{shown}");
            }
            Line::NoId | Line::NoUnit | Line::Oversize => {
                let mut event = json!({
                    "id": format!("odd-{turn}"), "type": "outcome", "unit": unit_name(unit), "metric": "conversion",
                    "occurred_ms": now_ms,
                });
                let fields = event.as_object_mut().context("an event is an object")?;
                match line {
                    Line::NoId => fields.remove("id"),
                    Line::NoUnit => fields.remove("unit"),
                    _ => fields.insert("note".to_owned(), json!("x".repeat(5_000))),
                };
                let _ = write!(text, "{event}");
            }
            Line::Torn => {
                let _ = write!(text, r#"{{"id":"torn-{turn}","type":"outc"#);
            }
            Line::Blank => {}
        }
        Ok(())
    }

    /// Adds what a line comes to. `had` has a bit for each metric that has counted a unit.
    fn expect(&self, expected: &mut Expected, had: &mut [u8], line: Line) {
        expected.lines += 1;
        match line {
            Line::Blank => expected.blank += 1,
            Line::Torn => expected.unsent += 1,
            Line::Exposure | Line::Outcome { is_repeat: true, .. } => expected.duplicate += 1,
            Line::Outcome { turn, is_repeat: false } => self.count(expected, had, turn),
            Line::UnknownFlag => refuse(expected, "unknown_flag"),
            Line::Surprise | Line::NoId => refuse(expected, "bad_schema"),
            Line::NoUnit => refuse(expected, "unit_missing"),
            Line::TooOld => refuse(expected, "too_old"),
            Line::OtherArm => refuse(expected, "variant_mismatch"),
            Line::Oversize => refuse(expected, "oversize"),
        }
    }

    fn count(&self, expected: &mut Expected, had: &mut [u8], turn: u64) {
        let metric = Self::name(turn).1;
        let once = ONCE.iter().position(|name| *name == metric);
        let bit = 1 << once.unwrap_or(ONCE.len());
        let unit = usize::try_from(self.unit(turn)).ok();
        let Some(bits) = unit.and_then(|unit| had.get_mut(unit)) else { return };
        let is_first = *bits & bit == 0;
        *bits |= bit;
        if is_first {
            *expected.units.entry(metric).or_default() += 1;
        }
        if once.is_none() {
            expected.values += 1;
            expected.value_sum += turn % 1_000;
        }
        if is_first || once.is_none() {
            expected.stored += 1;
        } else {
            expected.duplicate += 1;
        }
    }
}

fn refuse(expected: &mut Expected, code: &'static str) {
    *expected.quarantined.entry(code).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn what_is_expected_is_what_the_lines_say() {
        let slice = |arm, from, to| json!({ "arm": arm, "variation": "v", "from": from, "to": to });
        let cohort = json!({ "phase": 3, "slices": [slice("exposed", 0, 500_000), slice("control", 500_000, 1_000_000)] });
        let cohort = Cohort::read(&json!({ "salt": "s", "cohort": cohort })).unwrap();
        let lines = Lines { cohort: &cohort, units: 300, now_ms: 1_800_000_000_000 };
        let folder = std::env::temp_dir().join(format!("flagfuse-lines-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("lines.ndjson");
        let expected = lines.write(&path, 30_000).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let parsed: Vec<Option<Value>> = text.lines().map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(parsed.len() as u64, expected.lines);
        let events: Vec<&Value> = parsed.iter().flatten().collect();
        assert_eq!(events.len() as u64, expected.received());
        assert_eq!(expected.lines, expected.received() + expected.blank + expected.unsent);
        // Counted once more, by what the lines say alone.
        let mut seen = BTreeSet::new();
        let (mut units, mut values, mut value_sum) = (BTreeMap::<_, BTreeSet<_>>::new(), 0, 0);
        for event in &events {
            let is_sound = event["id"].is_string() && event["unit"].is_string() && event["note"].is_null();
            let is_new = event["occurred_ms"] == 1_800_000_000_000_u64;
            if event["type"] != "outcome" || !is_sound || !is_new || !seen.insert(event["id"].as_str()) {
                continue;
            }
            let name = event["metric"].as_str().unwrap();
            let metric = METRICS.iter().find(|(outcome, _)| *outcome == name).unwrap().1;
            units.entry(metric).or_default().insert(event["unit"].as_str());
            if metric == REVENUE {
                values += 1;
                value_sum += event["value"].as_u64().unwrap();
            }
        }
        let units: BTreeMap<_, _> =
            units.into_iter().map(|(metric, units)| (metric, units.len() as u64)).collect();
        assert_eq!((units, values, value_sum), (expected.units.clone(), expected.values, expected.value_sum));
        let odd: u64 = expected.quarantined.values().sum::<u64>() + expected.unsent;
        let repeated = events.iter().filter(|event| event["type"] == "outcome").count() - seen.len();
        let share = (odd + repeated as u64) * 100 / expected.lines;
        assert!((10..=20).contains(&share), "{share} of 100 lines are wrong or repeated");
        assert_eq!(expected.quarantined.len(), 6, "every kind occurs: {expected:?}");
    }
}
