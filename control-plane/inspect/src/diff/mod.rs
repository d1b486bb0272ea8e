//! What a change does to decisions: old environment against new, over sampled contexts. Pure and repeatable: the same
//! change gives the same diff, whenever and wherever it is asked for. Never says whether a change is wise.
//!
//! A decision is what the caller gets: a variation with its value, or the default in the caller's own code, which also
//! covers whatever cannot be evaluated. Only flags that a change can reach are compiled and asked. Snapshots are taken to
//! be fresh, so a change of `on_stale` alone shows no difference.

mod matching_text;
mod near;
mod reach;
mod sample;
mod sample_space;

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::definition::{FlagWire, SharedWire};
use flagfuse_shared::evaluate::Question;
use flagfuse_shared::ids::{FlagKey, UnixMillis};
use flagfuse_shared::limits::{DIFF_DECISION_COUNT_MAX, DIFF_SAMPLE_COUNT, DIFF_SAMPLE_COUNT_MIN};
use flagfuse_shared::snapshot::{Snapshot, Verified};
use serde::Serialize;
use serde_json::Value;

pub use crate::rehearsal::DiffError;
use crate::rehearsal::rehearse;

use self::reach::Reach;
use self::sample::{Sample, SampledQuestion};
use self::sample_space::SampleSpaces;

/// One of the two environments, as users wrote it.
#[derive(Debug, Clone)]
pub struct Side<'w> {
    flags: BTreeMap<&'w str, &'w FlagWire>,
    shared: &'w SharedWire,
}

impl<'w> Side<'w> {
    /// Flags, distinct by key, and what they share.
    pub fn new(flags: impl IntoIterator<Item = &'w FlagWire>, shared: &'w SharedWire) -> Self {
        Self { flags: flags.into_iter().map(|flag| (flag.key.as_str(), flag)).collect(), shared }
    }
}

/// What a change does.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Diff {
    /// The flags that it reaches, by key. Those of which no sampled decision changes are among them.
    pub flags: Vec<FlagDiff>,
}

/// What a change does to one flag.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlagDiff {
    /// Its key.
    pub flag: String,
    /// In which way it is reached.
    pub kind: Kind,
    /// Decisions that were sampled.
    pub sampled: u32,
    /// Those that are others afterwards; none of a new flag, which nobody can have asked for yet.
    pub changed: u32,
    /// From what to what, the commonest first.
    pub moves: Vec<Move>,
    /// What the sampled askers of a new flag get, and what those of a removed one got, the commonest first. Empty for
    /// every other flag: its moves tell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub served: Vec<Served>,
}

impl FlagDiff {
    /// Changed decisions in percent of the sampled ones.
    pub fn changed_pct(&self) -> f64 {
        if self.sampled == 0 { 0.0 } else { f64::from(self.changed) * 100.0 / f64::from(self.sampled) }
    }
}

/// In which way a flag is reached by a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It was not there before.
    Added,
    /// It is not there afterwards: callers get the defaults in their code.
    Removed,
    /// Its own definition changed.
    Altered,
    /// A segment, a layer, the holdout or a prerequisite changed that it depends on.
    Dependent,
}

/// Askers that get the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Served {
    /// Which variation; `None` for the default in the caller's code.
    pub variation: Option<String>,
    /// How many of the sampled ones.
    pub count: u32,
}

/// Decisions that change in the same way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Move {
    /// Variation before; `None` for the default in the caller's code.
    pub from: Option<String>,
    /// Variation afterwards. The same as before when its value is another one.
    pub to: Option<String>,
    /// How many of the sampled ones.
    pub count: u32,
    /// One asker of them.
    pub example: Value,
    /// When that asker would ask, where it is not now: schedules are sampled at their ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<UnixMillis>,
}

/// The diff of two environments, for questions asked `now` and at the times that schedules and conditions name.
pub fn diff(old: &Side<'_>, new: &Side<'_>, now: UnixMillis) -> Result<Diff, DiffError> {
    sampled_diff(old, new, now, DIFF_SAMPLE_COUNT)
}

/// The same from at most `count_max` questions about each flag.
pub fn sampled_diff(
    old: &Side<'_>,
    new: &Side<'_>,
    now: UnixMillis,
    count_max: usize,
) -> Result<Diff, DiffError> {
    let reach = Reach::of(old, new);
    if reach.is_empty() {
        return Ok(Diff::default());
    }
    let (before, after) = (compile(old, &reach)?, compile(new, &reach)?);
    let spaces = SampleSpaces::of(old, new, &reach);
    let share = DIFF_DECISION_COUNT_MAX / reach.flags().count().max(1);
    let count = share.max(DIFF_SAMPLE_COUNT_MIN).min(count_max);
    let flags = reach.flags().map(|(flag, kind)| {
        let sample = Sample::of(&spaces, flag, count);
        compare(flag, kind, &before, &after, &sample, now)
    });
    Ok(Diff { flags: flags.collect() })
}

/// What is reached and what that depends on, nothing else: the cost is that of the change, not of the environment.
fn compile(side: &Side<'_>, reach: &Reach<'_>) -> Result<Verified<Snapshot>, DiffError> {
    let flags = side
        .flags
        .iter()
        .filter(|(key, _)| reach.needs_flag(key) && FlagKey::parse(key).is_ok())
        .map(|(_, wire)| (*wire).clone());
    let segments = side.shared.segments.iter().filter(|segment| reach.needs_segment(&segment.key));
    let shared = SharedWire {
        segments: segments.cloned().collect(),
        layers: side.shared.layers.clone(),
        holdout: side.shared.holdout.clone(),
    };
    rehearse(flags.collect(), shared)
}

/// What a caller gets: a variation and its value, or nothing.
type Decision<'s> = Option<(&'s str, &'s str)>;

/// Variations before and afterwards.
type Pair<'s> = (Option<&'s str>, Option<&'s str>);

fn decide<'s>(snapshot: &'s Verified<Snapshot>, flag: &str, question: Question<'_>) -> Decision<'s> {
    let variation = snapshot.evaluate(flag, question).ok()?.variation?;
    Some((variation.key().as_str(), variation.json()))
}

fn compare(
    flag: &str,
    kind: Kind,
    before: &Verified<Snapshot>,
    after: &Verified<Snapshot>,
    sample: &Sample,
    now: UnixMillis,
) -> FlagDiff {
    let mut moves: BTreeMap<Pair<'_>, (u32, &SampledQuestion)> = BTreeMap::new();
    let mut served: BTreeMap<Option<&str>, u32> = BTreeMap::new();
    for asked in &sample.questions {
        let at = asked.at_ms.unwrap_or(now);
        let question = Question { random: asked.random, ..Question::new(&asked.context, at) };
        let (old, new) = (decide(before, flag, question), decide(after, flag, question));
        match kind {
            Kind::Added => *served.entry(new.map(|(key, _)| key)).or_insert(0) += 1,
            Kind::Removed => *served.entry(old.map(|(key, _)| key)).or_insert(0) += 1,
            Kind::Altered | Kind::Dependent => {}
        }
        // Nobody can have asked for a new flag yet: it changes no decision.
        if old != new && kind != Kind::Added {
            let pair = (old.map(|(key, _)| key), new.map(|(key, _)| key));
            moves.entry(pair).or_insert((0, asked)).0 += 1;
        }
    }
    let changed = moves.values().map(|(count, _)| count).sum();
    let told = moves.into_iter().map(|((from, to), (count, asked))| Move {
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
        count,
        example: asked.to_json(),
        at_ms: asked.at_ms,
    });
    let mut moves: Vec<Move> = told.collect();
    // Stable, so that equal counts stay in the order of their names.
    moves.sort_by_key(|told| std::cmp::Reverse(told.count));
    let sampled = u32::try_from(sample.questions.len()).unwrap_or(u32::MAX);
    FlagDiff { flag: flag.to_owned(), kind, sampled, changed, moves, served: commonest(served) }
}

fn commonest(served: BTreeMap<Option<&str>, u32>) -> Vec<Served> {
    let told = served.into_iter().map(|(key, count)| Served { variation: key.map(str::to_owned), count });
    let mut told: Vec<Served> = told.collect();
    told.sort_by_key(|served| std::cmp::Reverse(served.count));
    told
}

/// Both environments' keys, each once.
fn keys<'w, T>(old: &BTreeMap<&'w str, T>, new: &BTreeMap<&'w str, T>) -> BTreeSet<&'w str> {
    old.keys().chain(new.keys()).copied().collect()
}

#[cfg(test)]
mod tests;
