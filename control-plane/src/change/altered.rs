//! An environment before and after a change, and what that does to its decisions: in full for whoever asks, in short for
//! everybody. Pure.

use std::collections::BTreeMap;

use flagfuse_inspect::diff::{Diff, DiffError, FlagDiff, Kind, Served, Side, sampled_diff};
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::{DIFF_FLAG_TOLD_COUNT_MAX, DIFF_MOVE_TOLD_COUNT_MAX};
use serde_json::{Map, Value, json};

use super::environment::Environment;
use crate::figures::count;
use crate::model::safety::ConfirmAbove;

/// Flags that the summary in an answer or an audit entry names, those that change most.
const SUMMARY_FLAG_COUNT: usize = 5;
/// Variations whose shares are told of a flag that comes or goes, the commonest.
const SERVED_COUNT_TOLD: usize = 8;

/// What has to be remembered of an environment to compare it afterwards.
pub(super) enum Memory {
    /// Nothing but this flag changes.
    Flag { key: String, wire: Option<Box<FlagWire>> },
    /// Several flags, or what they share.
    All(Environment),
}

/// An environment that a change published anew.
pub(super) struct Altered {
    pub(super) scope: Scope,
    /// The version that the change was made on.
    pub(super) base: SnapshotVersion,
    pub(super) confirm_above: Option<ConfirmAbove>,
    pub(super) diff: Diff,
    before: Memory,
    pub(super) after: Environment,
}

impl Memory {
    /// The environment before, where `after` is what became of it.
    fn side<'e>(&'e self, after: &'e Environment) -> Side<'e> {
        match self {
            Self::All(before) => Side::new(before.flags.values(), &before.shared),
            Self::Flag { key, wire } => {
                let others = after.flags.values().filter(|flag| flag.key != *key);
                Side::new(others.chain(wire.as_deref()), &after.shared)
            }
        }
    }
}

impl Altered {
    /// Compares an environment before and after a change, as it decides `now`, by `question_count` of each flag's askers.
    pub(super) fn of(
        scope: Scope,
        base: SnapshotVersion,
        confirm_above: Option<ConfirmAbove>,
        (before, after): (Memory, Environment),
        now: UnixMillis,
        question_count: usize,
    ) -> Result<Self, DiffError> {
        let new = Side::new(after.flags.values(), &after.shared);
        let diff = sampled_diff(&before.side(&after), &new, now, question_count)?;
        Ok(Self { scope, base, confirm_above, diff, before, after })
    }

    /// A flag as it was.
    pub(super) fn flag_before(&self, key: &str) -> Option<&FlagWire> {
        match &self.before {
            Memory::All(before) => before.flags.get(key),
            Memory::Flag { key: own, wire } if own == key => wire.as_deref(),
            Memory::Flag { .. } => self.after.flags.get(key),
        }
    }

    /// The flags whose own definition is another one, new or gone.
    pub(super) fn own_flags(&self) -> impl Iterator<Item = String> {
        let own = self.diff.flags.iter().filter(|flag| flag.kind != Kind::Dependent);
        own.map(|flag| flag.flag.clone())
    }

    /// Whether something that flags share changed.
    pub(super) fn is_shared_altered(&self) -> bool {
        match &self.before {
            Memory::All(before) => before.shared != self.after.shared,
            Memory::Flag { .. } => false,
        }
    }

    /// The diff for whoever has to look at it: the flags that change most, each with its moves.
    pub(super) fn detail(&self) -> Value {
        let flags = self.largest(DIFF_FLAG_TOLD_COUNT_MAX).map(|flag| {
            let moves = flag.moves.get(..DIFF_MOVE_TOLD_COUNT_MAX).unwrap_or(&flag.moves);
            let mut detail = json!({
                "flag": flag.flag, "kind": flag.kind, "sampled": flag.sampled, "changed": flag.changed,
                "changed_pct": rounded_pct(flag), "moves": moves,
            });
            if let (Some(fields), Some(summary)) = (detail.as_object_mut(), served_in_words(flag)) {
                let share = |served: &Served| {
                    let pct = one_decimal(served.count, flag.sampled);
                    json!({ "variation": served.variation, "count": served.count, "pct": pct })
                };
                let shares = flag.served.iter().take(SERVED_COUNT_TOLD).map(share);
                fields.insert("served".to_owned(), shares.collect());
                fields.insert("summary".to_owned(), summary.into());
            }
            detail
        });
        self.counted("flags", flags.collect(), DIFF_FLAG_TOLD_COUNT_MAX)
    }

    /// The diff in a line or two.
    pub(super) fn summary(&self) -> Value {
        let flags: BTreeMap<&str, f64> =
            self.largest(SUMMARY_FLAG_COUNT).map(|flag| (flag.flag.as_str(), rounded_pct(flag))).collect();
        let served: BTreeMap<&str, String> = self
            .largest(SUMMARY_FLAG_COUNT)
            .filter_map(|flag| Some((flag.flag.as_str(), served_in_words(flag)?)))
            .collect();
        let mut summary = self.counted("changed_pct", json!(flags), SUMMARY_FLAG_COUNT);
        if let Some(fields) = summary.as_object_mut().filter(|_| !served.is_empty()) {
            fields.insert("served".to_owned(), json!(served));
        }
        summary
    }

    /// With `cut_after` where there are more flags than are named.
    fn counted(&self, name: &str, detail: Value, count_told_max: usize) -> Value {
        let changed = self.diff.flags.iter().filter(|flag| flag.changed > 0).count();
        let reached = self.diff.flags.len();
        let fields = [
            ("environment", json!(self.scope.environment)),
            ("flags_reached", json!(reached)),
            ("flags_changed", json!(changed)),
            (name, detail),
        ];
        let cut = (reached > count_told_max).then(|| ("cut_after", json!(count_told_max)));
        let fields = fields.into_iter().chain(cut);
        Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
    }

    fn largest(&self, count: usize) -> impl Iterator<Item = &FlagDiff> {
        let mut flags: Vec<&FlagDiff> = self.diff.flags.iter().collect();
        // Stable: equal shares stay in the order of their keys.
        flags.sort_by(|left, right| right.changed_pct().total_cmp(&left.changed_pct()));
        flags.into_iter().take(count)
    }
}

/// Percent with one decimal: a thousand samples tell no more.
fn rounded_pct(flag: &FlagDiff) -> f64 {
    one_decimal(flag.changed, flag.sampled)
}

fn one_decimal(count: u32, of: u32) -> f64 {
    if of == 0 { 0.0 } else { (f64::from(count) * 1_000.0 / f64::from(of)).round() / 10.0 }
}

/// `new: on 3.1 %, off 96.9 % of 1,000 sampled askers`; `None` of a flag that was there before and is there afterwards.
fn served_in_words(flag: &FlagDiff) -> Option<String> {
    let what = match flag.kind {
        Kind::Added => "new",
        Kind::Removed => "deleted, and served until now",
        Kind::Altered | Kind::Dependent => return None,
    };
    if flag.served.is_empty() {
        return Some(format!("{what}: nobody could be sampled"));
    }
    let share = |served: &Served| {
        let name = served.variation.as_deref().unwrap_or("the default in the caller's code");
        format!("{name} {} %", one_decimal(served.count, flag.sampled))
    };
    let shares: Vec<String> = flag.served.iter().take(SERVED_COUNT_TOLD).map(share).collect();
    let others = flag.served.len().saturating_sub(SERVED_COUNT_TOLD);
    let others = if others == 0 { String::new() } else { format!(" and {others} others") };
    let askers = count(u64::from(flag.sampled), "sampled asker");
    Some(format!("{what}: {}{others} of {askers}", shares.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::testing::{altered, environment, flag};

    #[test]
    fn a_flag_that_comes_or_goes_is_told_by_what_it_serves() {
        let on = flag("f", &json!({ "default_variation": "on" }));
        let comes = altered(environment([], json!({})), environment([on.clone()], json!({})), None);
        let detail = comes.detail();
        let told = &detail["flags"][0];
        assert_eq!(
            (&told["flag"], &told["kind"], &told["changed"]),
            (&json!("f"), &json!("added"), &json!(0))
        );
        let words = told["summary"].as_str().unwrap();
        assert!(words.starts_with("new: on 100 % of ") && words.ends_with(" sampled askers"), "{words}");
        assert_eq!(told["served"][0]["variation"], "on");
        let goes = altered(environment([on], json!({})), environment([], json!({})), None);
        let summary = goes.summary();
        assert_eq!(summary["changed_pct"]["f"], 100.0);
        let words = summary["served"]["f"].as_str().unwrap();
        assert!(words.starts_with("deleted, and served until now: on 100 % of "), "{words}");
    }

    #[test]
    fn a_flag_that_is_altered_is_told_by_its_moves() {
        let (off, on) = (flag("f", &json!({})), flag("f", &json!({ "default_variation": "on" })));
        let all = altered(environment([off], json!({})), environment([on], json!({})), None);
        assert_eq!(all.flag_before("f").unwrap().default_variation.as_deref(), Some("off"));
        assert_eq!(all.own_flags().collect::<Vec<_>>(), ["f"]);
        let detail = all.detail();
        assert_eq!((&detail["flags_reached"], &detail["flags_changed"]), (&json!(1), &json!(1)));
        assert_eq!(detail["flags"][0]["moves"][0]["from"], "off");
        assert!(detail["flags"][0].get("summary").is_none() && all.summary().get("served").is_none());
    }

    #[test]
    fn a_list_that_names_not_every_flag_says_so() {
        let flags = |count: usize, default: &str| {
            let wire = |n| flag(&format!("f{n}"), &json!({ "default_variation": default }));
            environment((0..count).map(wire), json!({}))
        };
        let all = altered(flags(SUMMARY_FLAG_COUNT, "off"), flags(SUMMARY_FLAG_COUNT, "on"), None);
        assert!(all.summary().get("cut_after").is_none());
        let more = SUMMARY_FLAG_COUNT + 1;
        let summary = altered(flags(more, "off"), flags(more, "on"), None).summary();
        assert_eq!((&summary["cut_after"], &summary["flags_reached"]), (&json!(5), &json!(6)));
        assert_eq!(summary["changed_pct"].as_object().unwrap().len(), 5);
    }

    #[test]
    fn only_shared_things_are_altered_where_no_flag_is() {
        let shared = |salt: &str| json!({ "layers": [{ "key": "l", "salt": salt }] });
        let flags = [flag("f", &json!({ "layer": { "key": "l", "from": 0, "to": 500_000 } }))];
        let all = altered(environment(flags.clone(), shared("a")), environment(flags, shared("b")), None);
        assert!(all.is_shared_altered() && all.own_flags().next().is_none());
        assert_eq!(all.diff.flags.first().map(|flag| flag.kind), Some(Kind::Dependent));
    }

    #[test]
    fn percents_have_one_decimal() {
        for (count, of, pct) in [(0, 0, 0.0), (1, 3, 33.3), (2, 3, 66.7), (1, 1_000, 0.1), (1, 3_000, 0.0)] {
            assert!((one_decimal(count, of) - pct).abs() < 1e-9, "{count} of {of}");
        }
    }
}
