//! From a flag change to every isolate answering with it: real workerd, three regions of eight isolates each, under
//! several loads and with a slow network between control plane and edge. Every answer is judged, not only the first.

mod judge;
mod traffic;

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result, bail};
use serde_json::json;

use self::judge::{Bounds, Verdict, judge};
use self::traffic::{Load, measure};
use crate::demo_project::{self, environment_path};
use crate::figure::{Metric, Report, Target, quantile};
use crate::http::Client;
use crate::stack::{Built, Stack, StackConfig, build_deployed_edge};
use crate::tools::progress;
use crate::wait::eventually;

const REGIONS: [&str; 3] = ["weur", "enam", "apac"];
const ISOLATE_COUNT: usize = 8;
/// Changes under each load: three strict loads make 2,100.
const CHANGE_COUNT: usize = 700;
/// Longer than an isolate remembers a refused key, which is ten seconds: over a slow network it may be asked with the new one
/// before that has arrived.
const GIVE_UP: Duration = Duration::from_secs(30);

/// One load under which changes travel.
struct Scenario {
    name: &'static str,
    profile: &'static str,
    load: Load,
    /// Injected one-way delay between control plane and edge.
    delay_ms: RangeInclusive<u64>,
    /// Metrics: median, 99th percentile and maximum in milliseconds, probes for each request, price of a million.
    metrics: [&'static str; 5],
}

const SCENARIOS: [Scenario; 5] = [
    Scenario {
        name: "idle",
        profile: "strict",
        load: Load::AfterChanges,
        delay_ms: 0..=0,
        metrics: [
            "idle_p50_ms",
            "idle_p99_ms",
            "idle_max_ms",
            "idle_probes_per_request",
            "idle_usd_per_million",
        ],
    },
    Scenario {
        name: "20",
        profile: "strict",
        load: Load::PerSecond(20),
        delay_ms: 0..=0,
        metrics: [
            "at20_p50_ms",
            "at20_p99_ms",
            "at20_max_ms",
            "at20_probes_per_request",
            "at20_usd_per_million",
        ],
    },
    Scenario {
        name: "200",
        profile: "strict",
        load: Load::PerSecond(200),
        delay_ms: 0..=0,
        metrics: [
            "at200_p50_ms",
            "at200_p99_ms",
            "at200_max_ms",
            "probes_per_request",
            "at200_usd_per_million",
        ],
    },
    Scenario {
        name: "economy",
        profile: "economy",
        load: Load::PerSecond(20),
        delay_ms: 0..=0,
        metrics: [
            "economy_p50_ms",
            "economy_p99_ms",
            "economy_max_ms",
            "economy_probes_per_request",
            "economy_usd_per_million",
        ],
    },
    Scenario {
        name: "delayed",
        profile: "strict",
        load: Load::PerSecond(20),
        delay_ms: 50..=150,
        metrics: [
            "delayed_p50_ms",
            "delayed_p99_ms",
            "delayed_max_ms",
            "delayed_probes_per_request",
            "delayed_usd_per_million",
        ],
    },
];

pub(super) fn run(root: &Path, arguments: &[String]) -> Result<Report> {
    let change_count = match arguments {
        [] => CHANGE_COUNT,
        [count] => count.parse().with_context(|| format!("{count:?} is not a number of changes"))?,
        _ => bail!("usage: cargo xtask bench propagation [CHANGES_UNDER_EACH_LOAD]"),
    };
    let built = build_deployed_edge(root)?;
    let mut found = Vec::with_capacity(SCENARIOS.len());
    for scenario in SCENARIOS {
        progress(&format!("{} changes, {}", change_count, scenario.name));
        let verdict = run_scenario(root, &built, &scenario, change_count)?;
        progress(&format!("{}: {}", scenario.name, verdict.summary()));
        found.push((scenario, verdict));
    }
    Ok(report(&found))
}

fn run_scenario(root: &Path, built: &Built, scenario: &Scenario, change_count: usize) -> Result<Verdict> {
    let data_dir = root.join("target/bench/propagation-data").join(scenario.name);
    if data_dir.exists() {
        fs::remove_dir_all(&data_dir)?;
    }
    let mut config = StackConfig::in_regions(&data_dir, &REGIONS, ISOLATE_COUNT)?;
    if *scenario.delay_ms.end() > 0 {
        config = config.with_links(scenario.delay_ms.clone());
    }
    let stack = Stack::start(root, built, config)?;
    let admin = stack.admin();
    demo_project::ensure(&admin)?;
    let settings = json!({
        "profile": scenario.profile, "auto_exposure": "single", "confirm_above_pct": null, "stages": [], "soak_s": 0,
        "min_networks": 1, "enrolments_per_minute": 0,
    });
    admin.put(&format!("{}/settings", environment_path()), &settings)?.ok()?;
    let key = demo_project::create_client_key(&admin)?;
    let edges: Vec<Client> = stack.edge_urls().iter().map(|url| Client::new(url, Some(&key))).collect();
    for edge in &edges {
        eventually("the edge serves the demo", GIVE_UP, || traffic::ask(edge).map(|_| ()))?;
    }
    // Beats have to be heard before answers count as fresh.
    thread::sleep(Duration::from_secs(2));
    let measured = measure(&admin, &edges, scenario.load, change_count)?;
    judge(&measured, &Bounds::of(scenario.profile, &scenario.delay_ms))
}

fn report(found: &[(Scenario, Verdict)]) -> Report {
    let mut strict: Vec<f64> = found
        .iter()
        .filter(|(scenario, _)| scenario.profile == "strict" && *scenario.delay_ms.end() == 0)
        .flat_map(|(_, verdict)| verdict.delays_ms.clone())
        .collect();
    strict.sort_by(f64::total_cmp);
    let sum = |count: fn(&Verdict) -> usize| {
        #[expect(clippy::cast_precision_loss, reason = "counts of some millions")]
        let sum = found.iter().map(|(_, verdict)| count(verdict)).sum::<usize>() as f64;
        sum
    };
    let mut metrics = vec![
        Metric::new("strict_p50_ms", quantile(&strict, 0.5), "ms"),
        Metric::new("strict_p99_ms", quantile(&strict, 0.99), "ms").with(Target::AtMost(250.0)),
        Metric::new("strict_max_ms", quantile(&strict, 1.0), "ms").with(Target::AtMost(280.0)),
        Metric::new("unlabelled_stale", sum(|v| v.unlabelled_stale), "answers").with(Target::Exactly(0.0)),
        Metric::new("regressions", sum(|v| v.regressions), "answers").with(Target::Exactly(0.0)),
        Metric::new("failed_requests", sum(|v| v.failures), "requests"),
        Metric::new("requests", sum(|v| v.requests), "requests"),
        Metric::new("labelled_stale", sum(|v| v.labelled_stale), "answers"),
    ];
    metrics.extend(found.iter().flat_map(|(scenario, verdict)| own_metrics(scenario, verdict)));
    Report { runs: strict.len(), metrics }
}

fn own_metrics(scenario: &Scenario, verdict: &Verdict) -> [Metric; 5] {
    let [p50, p99, max, probes, price] = scenario.metrics;
    let slowest = Metric::new(max, quantile(&verdict.delays_ms, 1.0), "ms");
    [
        Metric::new(p50, quantile(&verdict.delays_ms, 0.5), "ms"),
        Metric::new(p99, quantile(&verdict.delays_ms, 0.99), "ms"),
        if scenario.profile == "economy" { slowest.with(Target::AtMost(1_030.0)) } else { slowest },
        Metric::new(probes, verdict.probes_per_request(), "probes"),
        Metric::new(price, verdict.usd_per_million(), "USD"),
    ]
}
