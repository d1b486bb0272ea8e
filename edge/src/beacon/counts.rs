//! How often single evaluations asked for flags, since this isolate last said so. Pure. A bulk evaluation is a prefetch, and
//! asks for nothing.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use flagfuse_shared::evaluate::{EvaluationResult, Reason};
use flagfuse_shared::ids::Scope;

/// Flags and answers that are counted at once: some 400 KB of the isolate's 128 MB. What is asked for beyond is not counted
/// until these are reported.
const COUNT_MAX: usize = 4_096;

/// Evaluations of a flag, by what was served.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Served {
    /// Answers that were on.
    pub yes: u64,
    /// Answers that were off: the flag is, there is no variation, or it is `false`.
    pub no: u64,
    pub variations: BTreeMap<String, u64>,
}

/// Counts of some environments, by flag.
pub type Counted = BTreeMap<Scope, BTreeMap<String, Served>>;

#[derive(Debug)]
struct Count {
    scope: Scope,
    flag: String,
    variation: Option<String>,
    is_on: bool,
    times: u64,
}

/// Counts since the last report.
#[derive(Debug, Default)]
pub struct Counts {
    counts: HashMap<u64, Count>,
    /// Somebody is going to report them.
    is_awaited: bool,
}

impl Counts {
    /// Counts an evaluation; whether somebody has to see to it now that it is reported. Names that are no flag's are not
    /// counted: anybody could make up any number of them.
    #[must_use]
    pub fn note(&mut self, scope: &Scope, answer: &EvaluationResult<'_>) -> bool {
        let Ok(resolution) = answer else { return false };
        let (flag, variation) = (resolution.flag.key().as_str(), resolution.variation);
        let is_on = resolution.reason != Reason::Disabled
            && variation.is_some_and(|variation| variation.json() != "false");
        let variation = variation.map(|variation| variation.key().as_str());
        self.count(scope, flag, variation, is_on);
        !self.counts.is_empty() && !std::mem::replace(&mut self.is_awaited, true)
    }

    fn count(&mut self, scope: &Scope, flag: &str, variation: Option<&str>, is_on: bool) {
        let mut hasher = DefaultHasher::new();
        (scope.project.as_str(), scope.environment.as_str(), flag, variation, is_on).hash(&mut hasher);
        let name = hasher.finish();
        if let Some(known) = self.counts.get_mut(&name) {
            known.times = known.times.saturating_add(1);
        } else if self.counts.len() < COUNT_MAX {
            let (scope, flag, variation) = (scope.clone(), flag.to_owned(), variation.map(str::to_owned));
            self.counts.insert(name, Count { scope, flag, variation, is_on, times: 1 });
        }
    }

    /// Nobody reports them after all.
    pub const fn forgo(&mut self) {
        self.is_awaited = false;
    }

    /// What is to be reported now; counting begins anew.
    pub fn take(&mut self) -> Counted {
        self.is_awaited = false;
        let mut counted = Counted::new();
        for (_, Count { scope, flag, variation, is_on, times }) in self.counts.drain() {
            let served = counted.entry(scope).or_default().entry(flag).or_default();
            *(if is_on { &mut served.yes } else { &mut served.no }) += times;
            if let Some(variation) = variation {
                *served.variations.entry(variation).or_default() += times;
            }
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use flagfuse_shared::context::Context;
    use flagfuse_shared::evaluate::Question;
    use flagfuse_shared::ids::UnixMillis;
    use flagfuse_shared::snapshot::{Snapshot, Verified};
    use flagfuse_testing::{admitted, flag};
    use serde_json::json;

    use super::*;

    /// Flags that are on and serve `true`, and one that is off.
    fn snapshot(count: usize) -> Verified<Snapshot> {
        let on = |n| flag(&format!("f{n}"), json!({ "default_variation": "on" }));
        let flags: Vec<_> = (0..count).map(on).chain([flag("dark", json!({ "enabled": false }))]).collect();
        admitted(&flags).snapshot
    }

    #[test]
    fn answers_are_counted_by_flag_and_variation_and_reported_once() {
        let snapshot = snapshot(2);
        let (one, other) = (Scope::parse("t/p/one").unwrap(), Scope::parse("t/p/other").unwrap());
        let (context, mut counts) = (Context::default(), Counts::default());
        let question = || Question::new(&context, UnixMillis(1));
        let mut must_report = Vec::new();
        for (scope, key) in [(&one, "f0"), (&one, "f0"), (&one, "dark"), (&other, "f1"), (&one, "nobody")] {
            must_report.push(counts.note(scope, &snapshot.evaluate(key, question())));
        }
        assert_eq!(must_report, [true, false, false, false, false]);
        let served = |yes, no, variation: &str| Served {
            yes,
            no,
            variations: [(variation.to_owned(), yes + no)].into(),
        };
        let of_one = [("dark".to_owned(), served(0, 1, "off")), ("f0".to_owned(), served(2, 0, "on"))];
        let of_other = [("f1".to_owned(), served(1, 0, "on"))];
        assert_eq!(counts.take(), [(one.clone(), of_one.into()), (other, of_other.into())].into());
        assert_eq!(counts.take(), Counted::new());
        assert!(!counts.note(&one, &snapshot.evaluate("nobody", question())), "nothing to report");
        assert!(counts.note(&one, &snapshot.evaluate("f1", question())));
    }

    #[test]
    fn memory_is_bounded() {
        let snapshot = snapshot(COUNT_MAX + 10);
        let (scope, context, mut counts) =
            (Scope::parse("t/p/e").unwrap(), Context::default(), Counts::default());
        for n in 0..COUNT_MAX + 10 {
            let question = Question::new(&context, UnixMillis(1));
            let _ = counts.note(&scope, &snapshot.evaluate(&format!("f{n}"), question));
        }
        assert_eq!(counts.take().values().map(BTreeMap::len).sum::<usize>(), COUNT_MAX);
    }
}
