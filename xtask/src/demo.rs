//! `cargo xtask demo`: simulated users meet a harmful feature on a running stack, and a live view shows the fuse at work.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::demo_project::{self, GUARDED_FLAG, environment_path};
use crate::http::Client;
use crate::pages::Pages;
use crate::picture;
use crate::play::play;
use crate::scenarios::Scenario;
use crate::tools::progress;
use crate::traffic::{Behaviour, Visit, now_ms, visit};
use crate::up::read_dev;

const USER_THREAD_COUNT: u64 = 6;
const LIMIT: Duration = Duration::from_mins(2);
/// A browser has some fifty visitors in a second, where threads have thousands.
const BROWSER_LIMIT: Duration = Duration::from_mins(6);
/// Visitors of a group: pages are loaded anew for each.
const GROUP_COUNT: u64 = 100;
const VIEW_PAUSE: Duration = Duration::from_millis(250);

/// How the command was called.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Data folder of the running `up`.
    pub data_dir: PathBuf,
    /// Where to leave pictures of the end, one for light and one for dark pages.
    pub picture_dir: Option<PathBuf>,
    /// Root of the repository, when its package for pages reports what real pages do.
    pub browser_of: Option<PathBuf>,
    /// What is played in the place of the usual feature.
    pub scenario: Option<Scenario>,
}

impl DemoOptions {
    /// Reads `--data DIR`, `--picture DIR`, `--browser` and `--scenario NAME`.
    pub fn parse(root: &Path, arguments: &[String]) -> Result<Self> {
        let mut options =
            Self { data_dir: root.join(".flagfuse"), picture_dir: None, browser_of: None, scenario: None };
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            if name == "--browser" {
                options.browser_of = Some(root.to_owned());
                continue;
            }
            let value = rest.next().with_context(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--data" => options.data_dir = PathBuf::from(value),
                "--picture" => options.picture_dir = Some(PathBuf::from(value)),
                "--scenario" => options.scenario = Some(Scenario::named(value)?),
                _ => bail!(
                    "unknown option {name}; known: --data DIR, --picture DIR, --browser, --scenario NAME"
                ),
            }
        }
        let is_pictured = options.picture_dir.is_some() || options.browser_of.is_some();
        if options.scenario.is_some() && is_pictured {
            bail!("--scenario goes with neither --picture nor --browser");
        }
        Ok(options)
    }
}

/// What the users have done so far.
#[derive(Debug, Default)]
struct Counters {
    users: AtomicU64,
    saw_feature: AtomicU64,
    conversions: AtomicU64,
    failures: AtomicU64,
    last_failure: Mutex<Option<String>>,
    /// When a user first got an answer from isolate (by position) at version, milliseconds since 1970.
    first_seen_ms: Mutex<BTreeMap<(usize, String), u64>>,
}

impl Counters {
    /// A user was answered by the isolate at that position.
    fn note(&self, isolate: usize, visit: Visit) {
        self.saw_feature.fetch_add(u64::from(visit.saw_feature), Ordering::Relaxed);
        self.conversions.fetch_add(u64::from(visit.converted), Ordering::Relaxed);
        if let Ok(mut first_seen) = self.first_seen_ms.lock() {
            let seen_ms = first_seen.entry((isolate, visit.version)).or_insert(visit.answered_ms);
            *seen_ms = visit.answered_ms.min(*seen_ms);
        }
    }

    fn fail(&self, error: &anyhow::Error) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut last) = self.last_failure.lock() {
            *last = Some(format!("{error:#}"));
        }
    }
}

/// Everything a frame of the view shows.
#[derive(Debug)]
struct Moment {
    elapsed: Duration,
    circuit: String,
    acted_ms: u64,
    reading: String,
    verdict: String,
    isolates: Vec<(String, String, String)>,
}

impl Moment {
    fn isolates_in_words(&self) -> Vec<String> {
        let words = |(label, version, value): &(String, String, String)| {
            format!("{label}: version {version} answers {value}")
        };
        self.isolates.iter().map(words).collect()
    }
}

/// Runs until the fuse has tripped and every isolate serves the switched-off flag.
pub fn demo(options: &DemoOptions) -> Result<()> {
    let dev = read_dev(&options.data_dir)?;
    let text = |name: &str| dev[name].as_str().with_context(|| format!("dev.json has no {name}"));
    let admin = Client::new(text("control_plane")?, Some(text("admin_token")?));
    let urls: Vec<String> = dev["edges"]
        .as_array()
        .context("dev.json has no edges")?
        .iter()
        .filter_map(|url| url.as_str().map(str::to_owned))
        .collect();
    let client_key = text("client_key")?;
    let edges: Vec<Client> = urls.iter().map(|url| Client::new(url, Some(client_key))).collect();
    if let Some(scenario) = &options.scenario {
        return play(&admin, &edges, scenario);
    }
    let fuse_path = format!("{}/flags/{GUARDED_FLAG}/fuse", environment_path());
    for repaired in demo_project::repair(&admin)? {
        progress(&repaired);
    }
    // A demo may be run again: whatever the last one left open is closed, in a new phase with fresh cohorts.
    if circuit(&admin, &fuse_path)? != "CLOSED" {
        admin
            .post(&format!("{fuse_path}/close"), &json!({}))?
            .ok()
            .context("closing the fuse of the last demo")?;
    }
    let open = |root: &PathBuf| Pages::open(root, &urls, client_key, GUARDED_FLAG, Behaviour::HARMFUL);
    let mut pages = options.browser_of.as_ref().map(open).transpose()?;
    let pages = pages.as_mut();
    let limit = if pages.is_some() { BROWSER_LIMIT } else { LIMIT };
    let counters = Counters::default();
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    let run_ms = now_ms();
    thread::scope(|scope| {
        let (edges, counters, stop) = (&edges, &counters, &stop);
        if let Some(pages) = pages {
            scope.spawn(move || visitors(run_ms, pages, counters, stop));
        } else {
            for number in 0..USER_THREAD_COUNT {
                scope.spawn(move || users(number, run_ms, edges, counters, stop));
            }
        }
        let result = watch(&admin, &fuse_path, edges, counters, (began, limit));
        stop.store(true, Ordering::Relaxed);
        let lines = result?;
        options.picture_dir.as_ref().map_or(Ok(()), |dir| picture::write(dir, &lines))
    })
}

/// One thread of users, one after another, alternating between the isolates.
fn users(thread_number: u64, run_ms: u64, edges: &[Client], counters: &Counters, stop: &AtomicBool) {
    for (index, edge) in edges.iter().enumerate().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let number = counters.users.fetch_add(1, Ordering::Relaxed);
        let unit = format!("user-{run_ms}-{thread_number}-{number}");
        match visit(edge, &unit, Behaviour::HARMFUL) {
            Ok(visit) => counters.note(index, visit),
            Err(error) => counters.fail(&error),
        }
    }
}

/// Groups of visitors, one after another, alternating between the isolates' pages.
fn visitors(run_ms: u64, pages: &mut Pages, counters: &Counters, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let from = counters.users.fetch_add(GROUP_COUNT, Ordering::Relaxed);
        let units: Vec<String> =
            (from..from + GROUP_COUNT).map(|number| format!("visitor-{run_ms}-{number}")).collect();
        match pages.visit(&units) {
            Ok(visits) => {
                for (index, visit) in visits {
                    counters.note(index, visit);
                }
            }
            // A browser that failed once is of no use any more; why is told when the time is over.
            Err(error) => return counters.fail(&error),
        }
    }
}

fn watch(
    admin: &Client,
    fuse_path: &str,
    edges: &[Client],
    counters: &Counters,
    (began, limit): (Instant, Duration),
) -> Result<Vec<String>> {
    let mut screen = Screen::default();
    let unit = exposed_unit(&admin.get(fuse_path)?.ok().context("reading the fuse")?);
    loop {
        let moment = look(admin, fuse_path, (edges, &unit), began)?;
        screen.draw(&moment, counters)?;
        if moment.circuit == "OPEN"
            && moment.isolates.iter().all(|(_, _, value)| value == "false")
            && let Some(live_ms) = live_ms(&moment, counters)
        {
            let words = finish(moment.elapsed, live_ms);
            let mut out = io::stdout().lock();
            writeln!(out, "\n{}", words.join("\n")).context("writing to the terminal")?;
            return Ok([frame(&moment, counters), vec![String::new()], words.to_vec()].concat());
        }
        if moment.elapsed > limit {
            let last = counters.last_failure.lock().ok().and_then(|last| last.clone());
            bail!("the fuse has not tripped within {} s; last failed visit: {last:?}", limit.as_secs());
        }
        thread::sleep(VIEW_PAUSE);
    }
}

/// From the tick that tripped the fuse until a user of the slowest isolate got the new version; `None` before that.
fn live_ms(moment: &Moment, counters: &Counters) -> Option<u64> {
    let first_seen = counters.first_seen_ms.lock().ok()?;
    let arrivals = moment.isolates.iter().enumerate().map(|(index, (_, version, _))| {
        first_seen.get(&(index, version.clone())).map(|seen_ms| seen_ms.saturating_sub(moment.acted_ms))
    });
    arrivals.collect::<Option<Vec<u64>>>()?.into_iter().max()
}

fn circuit(admin: &Client, fuse_path: &str) -> Result<String> {
    let fuse = admin.get(fuse_path)?.ok().context("reading the fuse")?;
    fuse["circuit"].as_str().map(str::to_owned).with_context(|| format!("no circuit in {fuse}"))
}

/// Asks the control plane for fuse and evidence, and each isolate for its version and for what an exposed unit sees.
fn look(admin: &Client, fuse_path: &str, (edges, unit): (&[Client], &str), began: Instant) -> Result<Moment> {
    let fuse = admin.get(fuse_path)?.ok().context("reading the fuse")?;
    let circuit = fuse["circuit"].as_str().with_context(|| format!("no circuit in {fuse}"))?.to_owned();
    let acted_ms = fuse["acted_ms"].as_u64().unwrap_or(0);
    let flag_path = fuse_path.trim_end_matches("/fuse");
    let verdicts =
        admin.get(&format!("{flag_path}/verdicts?limit=1"))?.ok().context("reading the verdicts")?;
    let newest = &verdicts["verdicts"][0];
    let mut isolates = Vec::new();
    for (label, edge) in ('a'..).zip(edges) {
        // The bulk answer is a prefetch: looking does not make the looker a user.
        let answer =
            edge.post("/ofrep/v1/evaluate/flags", &json!({ "context": { "targetingKey": unit } }))?;
        let version = answer.header("x-flags-version").unwrap_or("none").to_owned();
        let body = answer.ok()?;
        let flags = body["flags"].as_array().cloned().unwrap_or_default();
        let flag = flags.iter().find(|flag| flag["key"] == GUARDED_FLAG);
        let value = flag.map_or("absent".to_owned(), |flag| flag["value"].to_string());
        isolates.push((label.to_string(), version, value));
    }
    let (reading, verdict) = describe(newest);
    Ok(Moment { elapsed: began.elapsed(), circuit, acted_ms, reading, verdict, isolates })
}

/// A unit that the fuse exposes: every demo has fresh ones, in a lane of its own where the flag's are used up.
fn exposed_unit(fuse: &Value) -> String {
    use flagfuse_shared::bucket::{Bucket, COHORT_SEED};
    let salt = fuse["attempt"]["lane"].as_str().unwrap_or(GUARDED_FLAG);
    let slices = fuse["slices"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_in = |slice: &Value, bucket: u64| {
        slice["from"].as_u64().is_some_and(|from| from <= bucket)
            && slice["to"].as_u64().is_some_and(|to| bucket < to)
    };
    let is_exposed = |unit: &String| {
        let bucket = u64::from(Bucket::of(salt, unit, COHORT_SEED).get());
        slices.iter().any(|slice| slice["arm"] == "exposed" && is_in(slice, bucket))
    };
    (0..10_000).map(|number| format!("watcher-{number}")).find(is_exposed).unwrap_or_default()
}

/// What is counted and the verdict in words.
fn describe(verdict: &Value) -> (String, String) {
    let evidence = &verdict["evidence"][0];
    let arm = |name: &str| {
        let arm = &evidence["reading"][name];
        let (units, events) = (&arm["units"], &arm["events"]);
        format!("{name} {events} of {units}")
    };
    let number = |name: &str| evidence[name].as_f64().map_or("-".to_owned(), |value| format!("{value:+.3}"));
    let reading = if evidence.is_null() {
        "nothing yet: the first counts close after 5 s".to_owned()
    } else {
        format!(
            "{}   {}   delta {}   confidence {}",
            arm("exposed"),
            arm("control"),
            number("delta"),
            number("confidence").trim_start_matches('+')
        )
    };
    let words = ["decision", "reason"].map(|name| verdict[name].as_str().unwrap_or_default().to_owned());
    (reading, words.join(" ").trim().to_owned())
}

/// Redraws in place on a terminal, prints one line a change elsewhere.
#[derive(Debug, Default)]
struct Screen {
    drawn_line_count: usize,
    last_line: String,
}

impl Screen {
    fn draw(&mut self, moment: &Moment, counters: &Counters) -> Result<()> {
        let mut out = io::stdout().lock();
        if !out.is_terminal() {
            let isolates = moment.isolates_in_words().join(", ");
            let line = format!("{} | {} | {isolates}", moment.circuit, moment.verdict);
            if line != self.last_line {
                writeln!(out, "{:5.1} s  {line} | {}", moment.elapsed.as_secs_f64(), moment.reading)?;
                self.last_line = line;
            }
            return Ok(());
        }
        let lines = frame(moment, counters);
        if self.drawn_line_count > 0 {
            write!(out, "\x1b[{}A", self.drawn_line_count)?;
        }
        for line in &lines {
            writeln!(out, "\x1b[2K{line}")?;
        }
        self.drawn_line_count = lines.len();
        out.flush().context("writing to the terminal")
    }
}

/// What the view shows of one moment, line by line.
fn frame(moment: &Moment, counters: &Counters) -> Vec<String> {
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    vec![
        format!(
            "Flagfuse demo: {GUARDED_FLAG} halves conversion          {:6.1} s",
            moment.elapsed.as_secs_f64()
        ),
        String::new(),
        format!(
            "  users      {:>7}   saw the feature {:>7}   converted {:>7}   failed {}",
            get(&counters.users),
            get(&counters.saw_feature),
            get(&counters.conversions),
            get(&counters.failures)
        ),
        format!("  counted    {}", moment.reading),
        format!("  verdict    {}", moment.verdict),
        format!("  circuit    {}", moment.circuit),
        format!("  isolates   {}", moment.isolates_in_words().join("      ")),
    ]
}

fn finish(elapsed: Duration, live_ms: u64) -> [String; 2] {
    let elapsed_s = elapsed.as_secs_f64();
    [
        format!(
            "The fuse tripped after {elapsed_s:.1} s of traffic. {live_ms} ms after that decision began, users of every \
             isolate got `false`."
        ),
        "The feature stays off until somebody closes the fuse, or the demo is run again.".to_owned(),
    ]
}
