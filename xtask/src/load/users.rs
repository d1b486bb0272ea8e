//! People with devices and tabs, some of them robots, some with bad lines: what each sends, by a seed. Never sends anything.

use flagfuse_shared::bucket::Bucket;
use serde_json::{Value, json};

/// Names of outcomes and, of a hundred people, how many have one.
const OUTCOMES: [(&str, u64); 4] = [("session", 90), ("conversion", 30), ("error", 5), ("latency_ms", 80)];
/// Of a hundred people: robots, by what they call themselves.
const BOTS: u64 = 3;
/// Of a hundred people: send again what was acknowledged.
const REPEATED: u64 = 8;
/// Of a hundred people: their exposure arrives after what they did.
const REORDERED: u64 = 10;
/// Of a hundred people: their exposures are from before the phase, by a clock that is wrong.
const EARLY: u64 = 2;
/// Of a hundred people: one of their events is of no known type.
const MALFORMED: u64 = 2;
/// Pages that somebody with a session looks at, at most: with everything else fewer events than wait for an enrolment.
const PAGES_MAX: u64 = 6;
/// By how much their clock is wrong.
const EARLY_MS: u64 = 60 * 60_000;

/// What a robot calls itself.
pub(super) const BOT_AGENT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
/// What everybody else does.
pub(super) const BROWSER_AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36";

/// What happens to somebody, as counts will show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fate {
    /// Is enrolled: has an exposure in time.
    pub(super) is_enrolled: bool,
    /// The exposure that comes is from before the phase.
    pub(super) is_early: bool,
    /// Enrolled, and marked as a robot.
    pub(super) is_bot: bool,
    /// Which of the outcomes it has, one bit each.
    pub(super) outcomes: u8,
    /// Events that belong into the quarantine.
    pub(super) malformed: u64,
}

/// Somebody, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct User {
    pub(super) number: u64,
}

/// What an answer says that its events have to repeat.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown {
    pub(super) variation: String,
    pub(super) phase: u64,
    pub(super) ticket: Option<String>,
}

/// Names of the outcomes, in the order of the bits.
pub(super) fn outcome_names() -> impl Iterator<Item = &'static str> {
    OUTCOMES.iter().map(|(name, _)| *name)
}

impl User {
    fn chance(self, what: &str) -> u64 {
        u64::from(Bucket::of(what, &self.number.to_string(), 7).get()) / 10_000
    }

    fn has(self, what: &str, of_hundred: u64) -> bool {
        self.chance(what) < of_hundred
    }

    /// The unit.
    pub(super) fn unit(self) -> String {
        format!("person-{}", self.number)
    }

    pub(super) fn fate(self) -> Fate {
        let is_early = self.has("early", EARLY);
        let had = OUTCOMES.iter().enumerate().filter(|(_, (name, share))| self.has(name, *share));
        let outcomes = had.fold(0_u8, |bits, (at, _)| bits | 1 << at);
        Fate {
            is_enrolled: !is_early,
            is_early,
            is_bot: self.has("bot", BOTS),
            outcomes,
            malformed: u64::from(self.has("malformed", MALFORMED)),
        }
    }

    /// Whether it sends requests again that were acknowledged.
    pub(super) fn sends_twice(self) -> bool {
        self.has("twice", REPEATED)
    }

    /// Where it comes from: fifty of them are behind one network.
    pub(super) fn address(self) -> String {
        let network = self.number / 50;
        format!("10.{}.{}.{}", network / 256 % 256, network % 256, self.number % 50 + 1)
    }

    /// What it calls itself.
    pub(super) fn agent(self) -> &'static str {
        if self.fate().is_bot { BOT_AGENT } else { BROWSER_AGENT }
    }

    /// Requests in the order in which they are sent: each a list of events.
    pub(super) fn requests(self, flag: &str, shown: &Shown, now_ms: u64) -> Vec<Vec<Value>> {
        let fate = self.fate();
        let exposed_ms = if fate.is_early { now_ms.saturating_sub(EARLY_MS) } else { now_ms };
        let exposure = |tab: &str| {
            self.event(
                shown,
                &format!("exposure-{tab}"),
                exposed_ms,
                &json!({
                    "type": "exposure", "flag": flag, "variation": shown.variation, "phase": shown.phase,
                }),
            )
        };
        let mut outcomes: Vec<Value> = OUTCOMES
            .iter()
            .enumerate()
            .filter(|(at, _)| fate.outcomes & (1 << at) != 0)
            .map(|(_, (name, _))| {
                let fields = json!({ "type": "outcome", "metric": name, "value": self.chance("value") });
                self.event(shown, name, now_ms, &fields)
            })
            .collect();
        let pages = if fate.outcomes & 1 != 0 { self.chance("pages") % (PAGES_MAX + 1) } else { 0 };
        outcomes.extend((0..pages).map(|at| {
            self.event(shown, &format!("page-{at}"), now_ms, &json!({ "type": "outcome", "metric": "page" }))
        }));
        if fate.malformed > 0 {
            outcomes.push(self.event(shown, "surprise", now_ms, &json!({ "type": "surprise" })));
        }
        // A second tab shows the same: its exposure has an id of its own and enrols nobody.
        let mut exposures = vec![exposure("first")];
        if self.has("tab", 20) {
            exposures.push(exposure("second"));
        }
        let mut requests = if self.has("reordered", REORDERED) {
            vec![outcomes, exposures]
        } else {
            vec![exposures, outcomes]
        };
        requests.retain(|events| !events.is_empty());
        if self.has("repeated", REPEATED)
            && let Some(first) = requests.first().cloned()
        {
            requests.push(first);
        }
        requests
    }

    fn event(self, shown: &Shown, name: &str, occurred_ms: u64, fields: &Value) -> Value {
        let mut event = json!({
            "id": format!("{}-{name}", self.unit()), "unit": self.unit(), "occurred_ms": occurred_ms,
        });
        let members = fields.as_object().into_iter().flatten();
        for (name, value) in members {
            event[name] = value.clone();
        }
        if let Some(ticket) = &shown.ticket {
            event["ticket"] = json!(ticket);
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_does_what_the_fate_says() {
        for number in 0..2_000 {
            let user = User { number };
            let events: Vec<Value> = user.requests("f", &Shown::default(), 1_000_000_000).concat();
            let fate = user.fate();
            let mut ids: Vec<&str> = events.iter().filter_map(|event| event["id"].as_str()).collect();
            let count = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len() < count, user.has("repeated", REPEATED), "{number}");
            let of_type = |name: &str| events.iter().filter(|event| event["type"] == name).count();
            assert!(of_type("exposure") > 0 && (of_type("outcome") > 0) == (fate.outcomes != 0));
            assert_eq!(of_type("surprise") > 0, fate.malformed > 0);
        }
        let share =
            |is: fn(Fate) -> bool| (0..2_000).filter(|number| is(User { number: *number }.fate())).count();
        assert!(share(|fate| fate.is_bot) > 20 && share(|fate| fate.is_early) > 10, "every kind occurs");
    }
}
