//! The README and docs/ hold what they say: every command in README.md and docs/production.md runs as it stands, links lead
//! somewhere, the tables agree with the code that they describe, and what docs/events.md sends arrives.

mod document;
mod lossy;
mod sending;
mod walk;

use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use flagfuse_control_plane::model::circuit::Circuit;
use flagfuse_control_plane::model::policy::Policy;
use flagfuse_control_plane::model::traffic::needs;
use flagfuse_shared::flag::compile::percent_to_buckets;
use flagfuse_stats::classic::{false_trip_rate, first_admissible_look};
use serde_json::{Value, json};
use support::root;

use self::document::{anchors, blocks, relative_links, rows};
use self::walk::{Skipped, Walk};

const README_LINE_COUNT_MAX: usize = 150;
/// Visitors that a first fuse may need.
const VISITOR_COUNT_MAX: u64 = 500;
/// Both walks use the ports that the documents name.
static PORTS: Mutex<()> = Mutex::new(());

const NOT_IN_README: [Skipped; 1] = [("cargo xtask test", "it runs this test")];

const NOT_IN_PRODUCTION: [Skipped; 7] = [
    ("cargo xtask wrangler login", "it opens a browser and asks for an account"),
    (
        r#"printf %s "$PUSH_SHA256" | cargo xtask wrangler secret put FLAGFUSE_PUSH_TOKEN_SHA256 --config wrangler.production.toml"#,
        NETWORK,
    ),
    (
        r#"printf %s "$INGEST" | cargo xtask wrangler secret put FLAGFUSE_INGEST_TOKEN --config wrangler.production.toml"#,
        NETWORK,
    ),
    (
        r#"cat "$F/stream-secret" | cargo xtask wrangler secret put FLAGFUSE_STREAM_SECRET --config wrangler.production.toml"#,
        NETWORK,
    ),
    (
        r#"printf %s "t1:$(cat "$F/ticket-secret")" | cargo xtask wrangler secret put FLAGFUSE_TICKET_SECRETS --config wrangler.production.toml"#,
        NETWORK,
    ),
    ("E=https://flagfuse-edge.YOUR-SUBDOMAIN.workers.dev", "it names an account"),
    (
        r#"flagfuse serve --passphrase-file "$F/passphrase" --push-token-file "$F/push-token" --edge weur=$E --edge enam=$E --edge apac=$E"#,
        "it dials that account's worker",
    ),
];
const NETWORK: &str = "it sends a secret to an account";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn walk(document: &str, name: &str, skipped: &[Skipped]) {
    let _ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    let walked = Walk::begin(name).and_then(|mut walk| walk.through(document, skipped));
    walked.unwrap_or_else(|error| panic!("{document}: {error:#}"));
}

#[test]
fn every_command_of_the_readme_runs_as_it_stands() {
    walk("README.md", "readme", &NOT_IN_README);
}

#[test]
fn production_is_reached_on_a_server_of_ones_own_and_on_cloudflare_up_to_the_network() {
    walk("docs/production.md", "production", &NOT_IN_PRODUCTION);
}

#[test]
fn the_readme_is_short_and_its_first_fuse_needs_few_visitors() {
    let text = read("README.md");
    let count = text.lines().count();
    assert!(count <= README_LINE_COUNT_MAX, "{count} lines, the limit is {README_LINE_COUNT_MAX}");
    let visitors: Vec<u64> =
        text.split("n < ").skip(1).filter_map(|rest| rest.split(';').next()?.parse().ok()).collect();
    assert!(visitors.len() == 1 && visitors[0] <= VISITOR_COUNT_MAX, "{visitors:?}");
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let docs = fs::read_dir(root().join("docs")).expect("there are docs").map(|entry| {
        let path = entry.expect("docs can be listed").path();
        format!("docs/{}", path.file_name().expect("a file").to_string_lossy())
    });
    let pages = docs.filter(|path| Path::new(path).extension().is_some_and(|ending| ending == "md"));
    let pages: Vec<String> = pages.chain(["README.md".to_owned()]).collect();
    assert!(pages.len() >= 8, "{pages:?}");
    let mut broken = Vec::new();
    for page in &pages {
        let text = read(page);
        for (line, target) in relative_links(&text) {
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let folder = root().join(page).parent().expect("a folder").to_owned();
            let path = if file.is_empty() { root().join(page) } else { folder.join(file) };
            let is_there = match fs::read_to_string(&path) {
                Ok(linked) => anchor.is_empty() || anchors(&linked).iter().any(|found| found == anchor),
                Err(_) => false,
            };
            if !is_there {
                broken.push(format!("{page}:{line}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// A policy with every field set, and one with nothing but what is required.
fn policies() -> (Value, Value) {
    let least = json!({
        "mode": "classic", "treatment_variation": "on", "control_variation": "off",
        "exposure_percent": 10, "control_percent": 10,
        "guardrails": [{ "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05 }],
    });
    let mut all = least.clone();
    all["ema_alpha"] = json!(0.3);
    all["guardrails"][0]["after_s"] = json!(0);
    all["guardrails"][0]["within_s"] = json!(60);
    let parsed =
        |policy: Value| serde_json::to_value(Policy::parse(policy).expect("a policy")).expect("JSON");
    (parsed(all), parsed(least))
}

#[test]
fn every_field_of_a_policy_is_in_the_docs_with_its_default() {
    let text = read("docs/fuses.md");
    let (all, least) = policies();
    let given = ["mode", "treatment_variation", "control_variation", "exposure_percent", "control_percent"];
    for (all, least) in [(&all, &least), (&all["guardrails"][0], &least["guardrails"][0])] {
        for field in all.as_object().expect("an object").keys() {
            let found = rows(&text, |first| first == format!("`{field}`"));
            let row = found.first().unwrap_or_else(|| panic!("docs/fuses.md has no row for {field}"));
            assert_eq!(row.len(), 5, "{row:?}");
            let told = row[1].replace(',', "");
            match &least[field] {
                _ if given.contains(&field.as_str()) => assert_eq!(told, "required", "{field}"),
                Value::Number(default) if field != "threshold" => {
                    let told: f64 = told.parse().unwrap_or_else(|_| panic!("{field}: default {told:?}"));
                    assert!((told - default.as_f64().expect("a number")).abs() < 1e-12, "{field}: {told}");
                }
                Value::String(default) if field == "half_open" => assert_eq!(told, format!("`{default}`")),
                _ => {}
            }
        }
    }
}

#[test]
fn every_code_of_the_quarantine_is_in_the_docs() {
    let source = read("shared/src/contract/fault.rs");
    let (_, table) = source.split_once("impl QuarantineCode").expect("the codes' words");
    let (table, _) = table.split_once("\n}\n").expect("the end of the codes' words");
    let codes: Vec<&str> =
        table.lines().filter_map(|line| line.split_once("=> \"")?.1.split('"').next()).collect();
    assert!(codes.len() >= 14, "{codes:?}");
    let text = read("docs/events.md");
    for code in codes {
        assert!(text.contains(&format!("`{code}`")), "docs/events.md does not say {code}");
    }
}

#[test]
fn the_policies_of_the_demo_are_accepted_at_the_door() {
    let flag = xtask::demo_project::flags().remove(0);
    let flag: flagfuse_shared::definition::FlagWire = serde_json::from_value(flag).expect("a flag");
    let text = read("xtask/src/main.rs");
    for scenario in xtask::scenarios::ALL {
        let policy =
            Policy::parse((scenario.policy)()).unwrap_or_else(|fault| panic!("{}: {fault}", scenario.name));
        policy.check_flag(&flag).unwrap_or_else(|fault| panic!("{}: {fault}", scenario.name));
        assert_eq!(serde_json::to_value(&policy).expect("JSON")["mode"], "anytime", "{}", scenario.name);
        assert!(text.contains(scenario.name), "the help does not name {}", scenario.name);
    }
}

/// The number in a cell, without its unit and the commas of thousands.
fn number<T: FromStr>(cell: &str) -> T {
    let digits: String = cell.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    digits.parse().unwrap_or_else(|_| panic!("{cell:?} has no such number"))
}

/// `min_sample` and `min_confidence` in a cell of the README, or the defaults.
fn sample_of(cell: &str) -> (u64, f64) {
    if cell == "defaults" {
        let (_, least) = policies();
        return (
            least["min_sample"].as_u64().expect("a count"),
            least["min_confidence"].as_f64().expect("a share"),
        );
    }
    let (sample, confidence) = cell.split_once(", ").expect("two fields");
    (number(sample), number(confidence))
}

/// Units of both arms, whose shares are percents, at the first look, and the visitors that takes.
fn look(shares: (f64, f64), (sample, confidence): (u64, f64), rate: f64) -> ((u64, u64), u64) {
    let buckets = |percent| percent_to_buckets("share", percent).expect("a share");
    let buckets = (buckets(shares.0), buckets(shares.1));
    let units = first_admissible_look(buckets, sample, confidence, 10, rate).expect("two arms");
    let share = u64::from(buckets.0 + buckets.1);
    (units, ((units.0 + units.1) * 1_000_000).div_ceil(share))
}

#[test]
fn the_tables_of_traffic_are_what_the_rule_makes_of_it() {
    let fuses = read("docs/fuses.md");
    let found = rows(&fuses, |first| first.contains(" %, "));
    assert!(found.len() >= 4, "{found:?}");
    for row in &found {
        let (exposure, control) = row[0].split_once(", ").expect("two shares");
        let (shares, sample) = ((number(exposure), number(control)), sample_of(&row[1]));
        let (_, visitors) = look(shares, sample, 0.4);
        assert_eq!([number(&row[2]), number::<u64>(&row[3])], [visitors, visitors.div_ceil(3)], "{row:?}");
        let chance = |rate: f64| {
            let (units, _) = look(shares, sample, rate);
            let percent = 100.0 * false_trip_rate(rate, -0.2, units.0, units.1).expect("a rate");
            format!("{percent:.1} %")
        };
        assert_eq!(row[4], format!("{} · {}", chance(0.4), chance(0.05)), "{row:?}");
    }
    let found = rows(&fuses, |first| first.ends_with(" %") && !first.contains(", "));
    assert!(found.len() >= 6, "{found:?}");
    for row in &found {
        let shares = (number(&row[0]), number(&row[1]));
        let (units, visitors) = look(shares, sample_of("defaults"), 0.4);
        let told = row[2].split_once(" + ").expect("two arms");
        assert_eq!((number(told.0), number(told.1)), units, "{row:?}");
        assert_eq!([number(&row[3]), number::<u64>(&row[4])], [visitors, visitors.div_ceil(3)], "{row:?}");
    }
}

#[test]
fn the_readme_says_after_how_many_visitors_a_loss_is_found() {
    let found = rows(&read("README.md"), |first| first.contains(" %, "));
    assert!(found.len() >= 4, "{found:?}");
    for row in &found {
        let (exposure, control) = row[0].split_once(", ").expect("two shares");
        let (exposure, control): (f64, f64) = (number(exposure), number(control));
        for (cell, threshold) in row[1..].iter().zip([-0.5, -0.2, -0.05]) {
            let rail =
                json!([{ "metric": "conversion", "direction": "decrease_is_harm", "threshold": threshold }]);
            let policy = Policy::parse(json!({
                "mode": "anytime", "treatment_variation": "on", "control_variation": "off", "exposure_percent": exposure,
                "control_percent": control, "guardrails": rail,
            }));
            let policy = policy.expect("a policy");
            let visitors = |rate| needs(&policy, Circuit::Closed, &[Some(rate)])[0].visitors;
            let (often, rarely) = cell.split_once(" · ").expect("two rates");
            assert_eq!([number(often), number::<u64>(rarely)], [visitors(0.4), visitors(0.05)], "{row:?}");
        }
    }
}

#[test]
fn every_block_of_the_walked_documents_is_run_or_is_no_command() {
    for page in ["README.md", "docs/production.md"] {
        let known = ["sh", "js", ""];
        let others: Vec<_> = blocks(&read(page))
            .into_iter()
            .filter(|block| !known.contains(&block.language.as_str()))
            .collect();
        assert!(others.is_empty(), "{page}: {others:?}");
    }
}
