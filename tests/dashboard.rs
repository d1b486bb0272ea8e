//! The page: its types, its size, its feed client, and all of its screens in a real Chromium on a real stack.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

use support::hosts::chromium_binary;
use support::{SetOnDrop, World, fresh_dir, output, root};
use xtask::dashboard::build_dashboard;
use xtask::stack::Stack;
use xtask::tools::{self, DASHBOARD};

/// All screens take minutes, several times as long beside others, and an hour more in `--full`; each wait in them has a bound of
/// its own.
const SCREENS_LIMIT: Duration = Duration::from_mins(150);

/// Runs a command in the dashboard's folder to its end, which has to be a good one; what it said.
fn run(mut command: Command, what: &str) -> String {
    command.current_dir(root().join(DASHBOARD));
    let output = output(what, &mut command, SCREENS_LIMIT);
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {said}{errors}");
    println!("{what}:\n{said}");
    said.into_owned()
}

fn npm(arguments: &[&str]) -> String {
    let mut npm = Command::new("npm");
    npm.args(["run", "--silent"]).args(arguments);
    run(npm, arguments.first().unwrap_or(&"npm"))
}

#[test]
fn the_page_is_typed_linted_and_small_and_its_feed_client_notices_everything() {
    build_dashboard(root()).expect("the dashboard is built");
    // The types are made of the document alone: twice the same, and the same that the page was built with.
    let types = root().join(DASHBOARD).join("generated/api.d.ts");
    let built_with = fs::read(&types).expect("there are types");
    npm(&["types"]);
    assert_eq!(fs::read(&types).expect("there are types"), built_with, "the types differ from run to run");
    for script in ["check", "lint", "size", "test"] {
        npm(&[script]);
    }
}

#[test]
fn every_screen_is_sound_for_whoever_is_signed_in() {
    let Some(chromium) = chromium_binary().expect("chromium can be installed where it has to be") else {
        eprintln!("SKIPPED: Chromium is not installed (on Debian: apt-get install chromium)");
        return;
    };
    build_dashboard(root()).expect("the dashboard is built");
    let mut world = World::start("dashboard");
    let lever = world.data_dir.join("lever");
    let shots = fresh_dir("dashboard-shots");
    let mut node = tools::node_22(root()).expect("Node.js can be installed");
    // One after the other: they share the stack, and a browser is large.
    node.args(["--test", "--test-concurrency=1", "--test-reporter=spec"])
        .args(stories())
        .env("FLAGFUSE_URL", world.stack.control_plane_url())
        .env("FLAGFUSE_EDGE", world.stack.edge_url(0))
        .env("FLAGFUSE_ADMIN", world.stack.admin_token())
        .env("FLAGFUSE_KEY", &world.client_key)
        .env("FLAGFUSE_LINK", world.sign_in_link())
        .env("FLAGFUSE_CHROMIUM", chromium)
        .env("FLAGFUSE_LEVER", &lever)
        .env("FLAGFUSE_SHOTS", &shots);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| mind(&lever, &mut world.stack, &is_over));
        let _over = SetOnDrop(&is_over);
        run(node, "the screens in Chromium");
    });
    let count = fs::read_dir(&shots).expect("there are pictures").count();
    println!("{count} pictures in {}", shots.display());
    assert!(count > 0, "no picture was taken");
}

/// Kills the control plane and starts it again when a story asks for it, by what it writes into this file.
fn mind(lever: &Path, stack: &mut Stack, is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) {
        let pulled = fs::read_to_string(lever).unwrap_or_default();
        match pulled.as_str() {
            "kill" => stack.kill_control_plane(),
            "start" => stack.start_control_plane().expect("the control plane starts again"),
            _ => {
                thread::sleep(Duration::from_millis(20));
                continue;
            }
        }
        fs::remove_file(lever).expect("the lever goes back");
    }
}

/// The scripts with pages, by their paths in the dashboard's folder.
fn stories() -> Vec<String> {
    let entries = fs::read_dir(root().join(DASHBOARD).join("test/browser")).expect("there are stories");
    let names = entries.map(|entry| entry.expect("a story").file_name().to_string_lossy().into_owned());
    let mut paths: Vec<String> =
        names.filter(|name| name.ends_with(".test.mjs")).map(|name| format!("test/browser/{name}")).collect();
    paths.sort();
    paths
}
