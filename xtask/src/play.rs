//! Plays a scenario on a running stack: arms a fresh flag, lets visitors come, and tells what the fuse did, how many units it exposed
//! for that, and when the change was everywhere.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::demo_project::environment_path;
use crate::http::Client;
use crate::scenarios::{End, Scenario, device};
use crate::tools::progress;
use crate::traffic::now_ms;
use crate::wait::eventually;

const VISITOR_THREAD_COUNT: usize = 6;
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// A line is told again after so long, as a sign of life.
const QUIET_MAX: Duration = Duration::from_secs(30);
/// How long a change may take until it is everywhere, on a machine that does much else.
const LIVE_LIMIT: Duration = Duration::from_mins(2);
/// Two flags of one scenario never meet, and the next demo takes the last one's away.
const KEY_PREFIX: &str = "scenario-";

/// What visitors did.
#[derive(Debug, Default)]
struct Visits {
    visitors: AtomicU64,
    saw_feature: AtomicU64,
    failures: AtomicU64,
    last_failure: Mutex<Option<String>>,
}

/// Plays it to its end; an error where it ends otherwise, or not in time.
pub fn play(admin: &Client, edges: &[Client], scenario: &Scenario) -> Result<()> {
    let begun_ms = now_ms();
    let key = format!("{KEY_PREFIX}{}-{begun_ms}", scenario.name);
    arm(admin, scenario, &key)?;
    progress(&format!("{}: {}", scenario.name, scenario.story));
    if let Some(units) = scenario.units {
        progress(&format!(
            "{}: that takes about {units} who see the feature and were read, as a rule.",
            scenario.name
        ));
    }
    let (visits, stop) = (Visits::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        let (visits, stop, key) = (&visits, &stop, key.as_str());
        for number in 0..VISITOR_THREAD_COUNT {
            scope.spawn(move || come(number, edges, (scenario, key), visits, stop));
        }
        let watched = Play { admin, edges, scenario, key, visits, began: Instant::now() }.watch();
        stop.store(true, Ordering::Relaxed);
        watched
    })
}

/// Takes away what the last demo of the scenario left, and arms a flag of its own.
fn arm(admin: &Client, scenario: &Scenario, key: &str) -> Result<()> {
    let environment = environment_path();
    let flags = admin.get(&format!("{environment}/flags"))?.ok().context("listing the flags")?;
    let own = format!("{KEY_PREFIX}{}-", scenario.name);
    let keys = flags["flags"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|flag| flag["flag"]["key"].as_str().or(flag["key"].as_str()));
    for old in keys.filter(|old| old.starts_with(&own)) {
        let path = format!("{environment}/flags/{old}?with_fuse=true");
        admin.send("DELETE", &path, &[], None)?.ok().with_context(|| format!("DELETE {path}"))?;
    }
    let flag = json!({
        "key": key, "description": format!("cargo xtask demo --scenario {}", scenario.name), "value_type": "boolean",
        "variations": [{ "key": "off", "value": false }, { "key": "on", "value": true }],
        "off_variation": "off", "default_variation": "off",
    });
    let path = format!("{environment}/flags/{key}");
    admin.put(&path, &flag)?.ok().with_context(|| format!("PUT {path}"))?;
    admin.put(&format!("{path}/fuse"), &(scenario.policy)())?.ok().context("arming the fuse")?;
    Ok(())
}

/// One thread of visitors, one after another, alternating between the isolates.
fn come(thread_number: usize, edges: &[Client], of: (&Scenario, &str), visits: &Visits, stop: &AtomicBool) {
    for edge in edges.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let number = visits.visitors.fetch_add(1, Ordering::Relaxed);
        let unit = format!("visitor-{}-{thread_number}-{number}", of.1);
        match visit(edge, &unit, of) {
            Ok(saw_feature) => {
                visits.saw_feature.fetch_add(u64::from(saw_feature), Ordering::Relaxed);
            }
            Err(error) => {
                visits.failures.fetch_add(1, Ordering::Relaxed);
                if let Ok(mut last) = visits.last_failure.lock() {
                    *last = Some(format!("{error:#}"));
                }
            }
        }
    }
}

/// One visitor: asks for the flag, and reports what it does; whether it saw the feature.
fn visit(edge: &Client, unit: &str, (scenario, key): (&Scenario, &str)) -> Result<bool> {
    let answer = ask(edge, unit, key)?;
    let saw_feature = answer["value"] == json!(true);
    let outcomes = scenario.outcomes(unit, saw_feature);
    if outcomes.is_empty() {
        return Ok(saw_feature);
    }
    let sent_ms = now_ms();
    let event = |(metric, value): (&str, Option<f64>)| {
        let mut event = json!({ "id": format!("{metric}-{unit}"), "type": "outcome", "metric": metric, "unit": unit, "occurred_ms": sent_ms });
        if let Some(value) = value {
            event["value"] = json!(value);
        }
        event
    };
    let events: Vec<Value> = outcomes.into_iter().map(event).collect();
    let body = json!({ "sent_ms": sent_ms, "ticket": answer["metadata"]["ticket"], "events": events });
    let answer = edge.post("/v1/events", &body)?;
    ensure!(answer.status == 202, "POST /v1/events: status {}: {}", answer.status, answer.body);
    Ok(saw_feature)
}

fn ask(edge: &Client, unit: &str, key: &str) -> Result<Value> {
    let question = json!({ "context": { "targetingKey": unit, "device": device(unit) } });
    edge.post(&format!("/ofrep/v1/evaluate/flags/{key}"), &question)?.ok()
}

/// A scenario that is played.
struct Play<'p> {
    admin: &'p Client,
    edges: &'p [Client],
    scenario: &'p Scenario,
    key: &'p str,
    visits: &'p Visits,
    began: Instant,
}

/// The fuse and the newest verdict at a moment.
struct Look {
    circuit: String,
    rollout: String,
    acted_ms: u64,
    exposed_percent: f64,
    stage: u64,
    said: String,
}

impl Play<'_> {
    fn path(&self, rest: &str) -> String {
        format!("{}/flags/{}{rest}", environment_path(), self.key)
    }

    fn watch(&self) -> Result<()> {
        let (mut told, mut told_at) = (String::new(), Instant::now());
        loop {
            let look = self.look()?;
            let line = format!(
                "{}, stage {} with {} % of the units | {}",
                look.circuit, look.stage, look.exposed_percent, look.said
            );
            let mark = format!("{} {} {}", look.circuit, look.stage, look.rollout);
            if mark != told || told_at.elapsed() > QUIET_MAX {
                self.tell(&line);
                (told, told_at) = (mark, Instant::now());
            }
            let trip = self.trip()?;
            match (self.scenario.end, &trip) {
                (End::Promoted, Some(trip)) => {
                    bail!("a healthy feature was switched off: {}", trip["summary"])
                }
                (End::Promoted, None) if look.rollout == "PROMOTED" => return self.promoted(&look),
                (End::Open, Some(trip)) if look.circuit == "OPEN" => return self.open(&look, trip),
                (End::SliceOpen, Some(trip)) => {
                    ensure!(look.circuit == "CLOSED", "everybody lost the feature: {}", trip["summary"]);
                    return self.slice_open(&look, trip);
                }
                _ => {}
            }
            if self.began.elapsed() > self.scenario.limit {
                let last = self.visits.last_failure.lock().ok().and_then(|last| last.clone());
                bail!(
                    "{} has not come to its end within {} s; last failed visit: {last:?}",
                    self.scenario.name,
                    self.scenario.limit.as_secs()
                );
            }
            thread::sleep(LOOK_PAUSE);
        }
    }

    fn tell(&self, line: &str) {
        let visits = self.visits;
        let (visitors, saw) =
            (visits.visitors.load(Ordering::Relaxed), visits.saw_feature.load(Ordering::Relaxed));
        progress(&format!(
            "{:6.1} s  {visitors} visitors, {saw} saw the feature | {line}",
            self.began.elapsed().as_secs_f64()
        ));
    }

    fn look(&self) -> Result<Look> {
        let fuse = self.admin.get(&self.path("/fuse"))?.ok().context("reading the fuse")?;
        let verdicts =
            self.admin.get(&self.path("/verdicts?limit=1"))?.ok().context("reading the verdicts")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Look {
            circuit: text(&fuse["circuit"]),
            rollout: text(&fuse["rollout"]),
            acted_ms: fuse["acted_ms"].as_u64().unwrap_or_default(),
            exposed_percent: fuse["attempt"]["exposed_percent"].as_f64().unwrap_or_default(),
            stage: fuse["attempt"]["stage"].as_u64().unwrap_or_default(),
            said: text(&verdicts["verdicts"][0]["summary"]),
        })
    }

    /// The verdict that tripped, once there is one.
    fn trip(&self) -> Result<Option<Value>> {
        let verdicts =
            self.admin.get(&self.path("/verdicts?limit=50"))?.ok().context("reading the verdicts")?;
        let all = verdicts["verdicts"].as_array().cloned().unwrap_or_default();
        Ok(all.into_iter().find(|verdict| verdict["decision"] == "trip"))
    }

    /// Milliseconds from the decision until no isolate may serve anything older.
    fn live_after_ms(&self, acted_ms: u64) -> Result<u64> {
        let path = format!("{}/changes/latest", environment_path());
        eventually("the change is everywhere", LIVE_LIMIT, || {
            let change = self.admin.get(&path)?.ok().context("reading the newest change")?;
            let state = change["state"].as_str();
            let live_ms = change["guaranteed_live_at_ms"].as_u64().filter(|_| state == Some("live"));
            Ok(live_ms.with_context(|| change.to_string())?.saturating_sub(acted_ms))
        })
    }

    /// What the trip took: units behind it, and the time until it was everywhere.
    fn report(&self, look: &Look, trip: &Value) -> Result<()> {
        let live_ms = self.live_after_ms(look.acted_ms)?;
        let harmful =
            trip["evidence"].as_array().into_iter().flatten().find(|found| found["finding"] == "harm");
        let found = harmful.cloned().unwrap_or_default();
        let saw = self.visits.saw_feature.load(Ordering::Relaxed);
        self.tell(trip["summary"].as_str().unwrap_or_default());
        progress(&format!(
            "{}: tripped by {} after {:.1} s of traffic. Exposed units at the trip: {} in closed slots ({} of control); {saw} visitors had \
             seen the feature when that was known here. {:.3} s from the decision to guaranteed_live_at.",
            self.scenario.name,
            found["metric"].as_str().unwrap_or_default(),
            Duration::from_millis(look.acted_ms.saturating_sub(now_ms() - millis(self.began.elapsed())))
                .as_secs_f64(),
            found["reading"]["exposed"]["units"],
            found["reading"]["control"]["units"],
            Duration::from_millis(live_ms).as_secs_f64(),
        ));
        Ok(())
    }

    fn open(&self, look: &Look, trip: &Value) -> Result<()> {
        self.report(look, trip)?;
        let (saw, of) = self.share_who_see(|_| true)?;
        ensure!(saw == 0, "{saw} of {of} units see the feature after the trip");
        progress("Nobody sees it any more, at any isolate.");
        Ok(())
    }

    fn slice_open(&self, look: &Look, trip: &Value) -> Result<()> {
        self.report(look, trip)?;
        let (mobile, mobiles) = self.share_who_see(|unit| device(unit) == "mobile")?;
        let (desktop, desktops) = self.share_who_see(|unit| device(unit) == "desktop")?;
        ensure!(
            mobile == 0 && desktop > 0,
            "{mobile} of {mobiles} mobiles and {desktop} of {desktops} others see it"
        );
        progress(&format!(
            "No mobile of {mobiles} sees it any more, and {desktop} of {desktops} others do, as before."
        ));
        Ok(())
    }

    fn promoted(&self, look: &Look) -> Result<()> {
        let (saw, of) = self.share_who_see(|_| true)?;
        ensure!(saw * 10 > of * 9, "{saw} of {of} units see a feature that is promoted");
        self.tell(&format!("stage {} of its ramp", look.stage));
        progress(&format!(
            "{}: from 1 % to {} % of the units in {:.0} s without anybody's doing, and without a trip; the rest is the hold-back. {saw} of \
             {of} newcomers see it.",
            self.scenario.name,
            look.exposed_percent,
            self.began.elapsed().as_secs_f64(),
        ));
        Ok(())
    }

    /// How many newcomers of a kind see the feature, over all isolates.
    fn share_who_see(&self, is_meant: impl Fn(&str) -> bool) -> Result<(usize, usize)> {
        let units: Vec<String> = (0..)
            .map(|number| format!("newcomer-{number}"))
            .filter(|unit| is_meant(unit))
            .take(200)
            .collect();
        let mut saw = 0;
        for (unit, edge) in units.iter().zip(self.edges.iter().cycle()) {
            saw += usize::from(ask(edge, unit, self.key)?["value"] == json!(true));
        }
        Ok((saw, units.len()))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
