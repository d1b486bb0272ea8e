//! The copy-paste of `docs/events.md` for servers: each block runs as it stands against the real product, over a network that
//! loses answers, and what it sent is counted once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use support::{
    Answer, COMMAND_LIMIT, PATIENCE, World, environment_path, eventually, fresh_dir, output, root,
};
use xtask::tools;

use super::document::{Block, blocks};
use super::lossy::{Lossy, Posted};
use super::read;

const PAGE: &str = "docs/events.md";
/// The flag that the page asks for.
const FLAG: &str = "one-click";
/// What it says happened: to the control plane, and to the edge.
const METRICS: [&str; 2] = ["conversion", "activation"];
/// Units that come at once, and what a slot takes to close.
const COMPANY_COUNT: usize = 25;
/// Where the page's Rust is compiled.
const RUST: &str = "tests/readme/events_of_a_server.rs";

/// A way to send, as the page shows it.
struct Way {
    name: &'static str,
    /// What runs it.
    command: Command,
}

/// The only block of that language that has `mark` in it.
fn block(all: &[Block], language: &str, mark: &str) -> String {
    let found: Vec<String> = all
        .iter()
        .filter(|block| block.language == language)
        .map(|block| block.script(|_| false))
        .filter(|script| script.contains(mark))
        .collect();
    assert_eq!(found.len(), 1, "{PAGE} has {} blocks of {language} with {mark:?}", found.len());
    found.concat()
}

/// Every way that can run here, each in a folder with what the page says to install.
fn ways(dir: &Path) -> Result<Vec<Way>> {
    let all = blocks(&read(PAGE));
    let file = |name: &str, language, mark| {
        let path = dir.join(name);
        fs::write(&path, block(&all, language, mark)).map(|()| path)
    };
    let mut node = tools::node_22(root())?;
    symlink(root().join("tests/node/node_modules"), dir.join("node_modules"))?;
    node.arg(file("server.mjs", "js", "@openfeature/server-sdk")?);
    let (source, page) = (read(RUST), block(&all, "rust", "fn main"));
    let (_, compiled) = source.split_once("]\n\n").context("lines that are not the page's")?;
    assert_eq!(compiled, page, "{RUST} is not the Rust of {PAGE}");
    let rust = Command::new(env!("CARGO_BIN_EXE_events-of-a-server"));
    let mut curl = Command::new("sh");
    curl.arg("-e").arg(file("server.sh", "sh", "curl ")?);
    let mut ways = vec![
        Way { name: "Node.js", command: node },
        Way { name: "Rust", command: rust },
        Way { name: "curl", command: curl },
    ];
    match tools::python(root())? {
        Some(mut python) => {
            python.arg(file("server.py", "py", "openfeature")?);
            ways.push(Way { name: "Python", command: python });
        }
        None => eprintln!("SKIPPED: the Python of {PAGE}: python3 with venv is not installed"),
    }
    Ok(ways)
}

/// A flag under a fuse that counts both metrics, served at the edge; and a server token.
fn furnish(world: &World) -> Result<String> {
    let environment = environment_path();
    let flag = json!({
        "key": FLAG, "value_type": "boolean", "off_variation": "off", "default_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
    });
    world.admin.put(&format!("{environment}/flags/{FLAG}"), &flag)?.ok()?;
    let mut policy = xtask::demo_project::fuse();
    policy["grace_s"] = json!(0);
    policy["guardrails"] = METRICS
        .iter()
        .map(|metric| json!({ "metric": metric, "direction": "decrease_is_harm", "threshold": -0.05 }))
        .collect();
    world.admin.put(&format!("{environment}/flags/{FLAG}/fuse"), &policy)?.ok()?;
    eventually("the fuse is served", PATIENCE, || {
        let body = json!({ "context": { "targetingKey": "somebody" } });
        let bulk = world.edges[0].post("/ofrep/v1/evaluate/flags", &body)?.ok()?;
        let item = bulk["flags"].as_array().and_then(|flags| flags.iter().find(|item| item["key"] == FLAG));
        ensure!(item.is_some_and(|item| item["metadata"]["phase"] == 1), "{bulk}");
        Ok(())
    })?;
    let made = json!({ "name": "shop", "kind": "server" });
    let made = world.admin.post(&format!("{environment}/tokens"), &made).and_then(Answer::ok)?;
    Ok(made["token"].as_str().context("a token")?.to_owned())
}

/// Events that were stored so far, where every one that came is accounted for and none is unusable.
fn stored(world: &World) -> Result<u64> {
    let balance = world.admin.get(&format!("{}/balance?limit=1000", environment_path()))?.ok()?;
    let minutes = balance["minutes"].as_array().context("no minutes")?;
    let sum = |name: &str| -> u64 { minutes.iter().filter_map(|minute| minute[name].as_u64()).sum() };
    ensure!(sum("quarantined") == 0 && sum("received") == sum("stored") + sum("duplicate"), "{balance}");
    Ok(sum("stored"))
}

/// The same events each time, of which the product took each at last, with a ticket where it asks for one. On a busy machine it
/// may turn some away itself; what it took is not sent again.
fn is_sent_until_taken(way: &str, posted: &[Posted]) {
    let told = format!("{way}: {posted:#?}");
    assert!(posted.iter().all(|one| one.body["events"] == posted[0].body["events"]), "{told}");
    let is_taken = |one: &Posted| {
        let answer = one.answer.as_ref();
        answer.is_some_and(|answer| answer["accepted"] == 1 || answer["duplicate"] == 1)
    };
    let Some((last, before)) = posted.split_last().filter(|(_, before)| before.len() >= 2) else {
        panic!("{told}")
    };
    assert!(is_taken(last) && !before.iter().skip(1).any(is_taken), "{told}");
    let answer = last.answer.as_ref().unwrap_or_else(|| panic!("no answer: {told}"));
    assert!(answer["quarantined"] == json!([]) && answer["unticketed"].is_null(), "{told}");
}

/// Units that have the outcome, in both arms.
fn units_with(world: &World, metric: &str) -> Result<u64> {
    let cells =
        world.admin.get(&format!("{}/flags/{FLAG}/cells?sum=true&slice=all", environment_path()))?.ok()?;
    let sums = cells["sums"].as_array().context("no sums")?;
    Ok(sums.iter().filter(|row| row["metric"] == metric).filter_map(|row| row["units"].as_u64()).sum())
}

#[test]
fn what_the_events_page_shows_for_servers_is_counted_once_though_answers_get_lost() {
    let mut ways = ways(&fresh_dir("events_page")).unwrap();
    let world = World::start("events_page_world");
    let server = furnish(&world).unwrap();
    for Way { name, command } in &mut ways {
        let before = stored(&world).unwrap();
        let [edge, plane] = [world.stack.edge_url(0), world.stack.control_plane_url()]
            .map(|url| Lossy::before(&url).expect("a port is free"));
        let api = format!("{}/v1", plane.url());
        command.env("EDGE", edge.url()).env("KEY", &world.client_key).env("API", api).env("SERVER", &server);
        let ran = output(name, command, COMMAND_LIMIT);
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success(), "{name}: {said}{}", String::from_utf8_lossy(&ran.stderr));
        println!("{name}: {said}");
        for network in [&plane, &edge] {
            is_sent_until_taken(name, &network.posted());
        }
        eventually("an exposure and two outcomes are stored, once", PATIENCE, || {
            let stored = stored(&world)?;
            ensure!(stored == before + 3, "{name}: {} events, 3 were sent", stored - before);
            Ok(())
        })
        .unwrap();
    }
    for number in 0..COMPANY_COUNT {
        world.ask(0, FLAG, &format!("company-{number}")).unwrap();
    }
    eventually("the cells have each of them", PATIENCE, || {
        let counted = ["exposure", METRICS[0], METRICS[1]].map(|metric| units_with(&world, metric));
        let [enrolled, converted, activated] = counted;
        let (enrolled, outcomes) = (enrolled?, [converted?, activated?]);
        ensure!(enrolled == (ways.len() + COMPANY_COUNT) as u64, "{enrolled} units are enrolled");
        ensure!(outcomes == [ways.len() as u64; 2], "{METRICS:?} of {outcomes:?} units");
        Ok(())
    })
    .unwrap();
}

#[test]
fn every_block_of_the_events_page_is_run_and_names_what_the_tests_install() {
    let all = blocks(&read(PAGE));
    let install = ["npm install ", "pip install ", "cargo add "];
    let installed: Vec<String> = all
        .iter()
        .flat_map(|block| &block.lines)
        .filter(|line| install.iter().any(|command| line.starts_with(command)))
        .flat_map(|line| line.split(&[' ', '&'][..]).map(str::to_owned).collect::<Vec<_>>())
        .filter(|word| {
            !["", "npm", "pip", "cargo", "install", "add", "--features", "json"].contains(&word.as_str())
        })
        .collect();
    assert_eq!(installed.len(), 6, "{installed:?}");
    let lists = ["tests/node/package.json", "tests/python/requirements.txt", "tests/Cargo.toml"].map(read);
    for package in installed {
        assert!(lists.iter().any(|list| list.contains(&package)), "the tests do not install {package}");
    }
    // The page's own script is run by `tests/web.rs` and in `sdk/web/test`, all others above.
    for (language, count) in [("js", 2), ("py", 1), ("rust", 1), ("sh", 4)] {
        let found: Vec<usize> =
            all.iter().filter(|block| block.language == language).map(|block| block.line).collect();
        assert_eq!(found.len(), count, "{PAGE}: blocks of {language} at {found:?}");
    }
    let known = ["js", "py", "rust", "sh", "json"];
    assert!(all.iter().all(|block| known.contains(&block.language.as_str())), "{all:?}");
}
