//! The dependency rules of the house, checked on the files themselves.

mod circles;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::root;

/// All Rust files below a folder, relative to the repository's root.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no Rust file below {folder:?}");
    found
}

/// A file's code without comments and without its test module, which may do as it likes.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(root().join(path)).unwrap();
    let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    product.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn assert_absent(paths: &[PathBuf], words: &[&str], rule: &str) {
    for path in paths {
        let code = code(path);
        for word in words {
            assert!(!code.contains(word), "{}: {word:?} breaks the rule: {rule}", path.display());
        }
    }
}

/// The packages of the workspace, as cargo describes them.
fn packages() -> Vec<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(root());
    let output = support::output("cargo metadata", &mut cargo, support::COMMAND_LIMIT);
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Names of the packages a workspace member depends on, of one kind (`null` normal, `dev`, `build`).
fn dependencies(package: &str, kind: Option<&str>) -> BTreeSet<String> {
    let packages = packages();
    let package = packages.iter().find(|p| p["name"] == package).unwrap_or_else(|| panic!("no {package}"));
    let of_kind = |d: &&Value| d["kind"].as_str() == kind;
    let all = package["dependencies"].as_array().unwrap().iter().filter(of_kind);
    all.map(|d| d["name"].as_str().unwrap().to_owned()).collect()
}

/// Cargo writes them to one file, and one of the two fails now and then when both are compiled at once.
#[test]
fn no_two_programs_or_examples_have_one_name() {
    let mut seen = BTreeSet::new();
    for package in packages() {
        for target in package["targets"].as_array().unwrap() {
            let kind = target["kind"][0].as_str().unwrap();
            if matches!(kind, "bin" | "example") {
                let name = target["name"].as_str().unwrap();
                let first = seen.insert((kind.to_owned(), name.to_owned()));
                assert!(first, "{}: a second {kind} {name:?}", package["name"]);
            }
        }
    }
}

/// They are one program, and cargo looks for no others: a file that the program does not name would never run.
#[test]
fn every_file_of_stories_is_a_module_of_their_program() {
    let program = fs::read_to_string(root().join("tests/stories.rs")).unwrap();
    for path in rust_files("tests").iter().filter(|path| path.parent() == Some(Path::new("tests"))) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let is_named = name == "stories" || program.lines().any(|line| line == format!("mod {name};"));
        assert!(is_named, "{}: its tests never run, tests/stories.rs does not name it", path.display());
    }
}

#[test]
fn shared_depends_on_an_allow_list_only() {
    let allowed =
        ["base64", "ed25519-dalek", "regex-lite", "serde", "serde_json", "sha2", "smol_str", "thiserror"];
    assert_eq!(dependencies("flagfuse-shared", None), allowed.map(str::to_owned).into());
}

/// What the edge never runs, in crates that it does not see.
#[test]
fn the_crates_beside_the_control_plane_depend_on_allow_lists_only() {
    let calibrate: &[&str] = &[
        "anyhow",
        "flagfuse-cells",
        "flagfuse-control-plane",
        "flagfuse-shared",
        "flagfuse-stats",
        "serde_json",
    ];
    let lists: [(&str, &[&str]); 8] = [
        ("flagfuse-calibrate", calibrate),
        ("flagfuse-cells", &["hashbrown", "serde", "thiserror"]),
        ("flagfuse-cells-testing", &["flagfuse-cells"]),
        ("flagfuse-importers", &["flagfuse-shared", "saphyr-parser", "serde", "serde_json", "thiserror"]),
        ("flagfuse-inspect", &["flagfuse-shared", "serde", "serde_json", "thiserror"]),
        ("flagfuse-otlp", &["flagfuse-shared", "serde", "serde_json", "thiserror"]),
        ("flagfuse-stats", &[]),
        ("flagfuse-testing", &["flagfuse-shared", "serde_json"]),
    ];
    for (package, allowed) in lists {
        let allowed = allowed.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(dependencies(package, None), allowed, "{package}");
    }
    let edge = ["flagfuse-shared", "futures-util", "hmac", "idna_adapter", "serde_json", "sha2", "thiserror"];
    let edge: BTreeSet<_> = edge.into_iter().chain(["wasm-bindgen", "worker"]).map(str::to_owned).collect();
    assert_eq!(dependencies("flagfuse-edge", None), edge);
    for package in ["flagfuse-shared", "flagfuse-edge", "flagfuse-control-plane", "flagfuse-evaluator"] {
        assert!(
            !dependencies(package, None).contains("flagfuse-testing"),
            "{package}: fixtures are for tests"
        );
    }
}

#[test]
fn edge_and_control_plane_never_see_each_other() {
    let control_plane = dependencies("flagfuse-control-plane", None);
    let edge = dependencies("flagfuse-edge", None);
    assert!(control_plane.contains("flagfuse-shared") && !control_plane.contains("flagfuse-edge"));
    assert!(edge.contains("flagfuse-shared") && !edge.contains("flagfuse-control-plane"));
}

#[test]
fn the_evaluator_is_glue_over_shared_only() {
    let allowed = ["flagfuse-shared", "serde_json", "thiserror", "wasm-bindgen"];
    assert_eq!(dependencies("flagfuse-evaluator", None), allowed.map(str::to_owned).into());
}

#[test]
fn shared_and_the_crates_beside_it_have_no_clock_randomness_or_io() {
    let words = [
        "std::time",
        "SystemTime",
        "Instant::now",
        "std::fs",
        "std::net",
        "std::env",
        "std::io",
        "std::thread",
        "getrandom",
        "HashMap",
        "HashSet",
        "async fn",
        "tracing::",
        "println!",
        "eprintln!",
    ];
    for source in [
        "shared/src",
        "control-plane/cells/src",
        "control-plane/importers/src",
        "control-plane/inspect/src",
        "control-plane/otlp/src",
        "control-plane/stats/src",
    ] {
        assert_absent(&rust_files(source), &words, "this crate is pure");
    }
}

#[test]
fn only_clock_files_read_a_clock() {
    let words = ["SystemTime::now", "std::time::Instant", "Date::now", "js_sys::Date"];
    for member in ["edge/src", "control-plane/src"] {
        let others: Vec<_> = rust_files(member)
            .into_iter()
            .filter(|path| path.file_name().is_some_and(|name| name != "clock.rs"))
            .collect();
        assert_absent(&others, &words, "only clock.rs reads the clock");
    }
}

#[test]
fn every_route_is_in_the_document_and_every_body_has_a_named_type() {
    let api = rust_files("control-plane/src/api");
    let words = [".route(", ".route_service(", ".nest_service(", ".method_not_allowed_fallback("];
    // The operator's listener is none of the API's.
    let documented: Vec<_> = api.iter().filter(|path| !path.ends_with("operator.rs")).cloned().collect();
    assert_absent(&documented, &words, "a route goes into the router with its operation, by `routes`");
    // Examples in schemas are JSON.
    let bodies: Vec<_> =
        api.into_iter().filter(|path| !path.starts_with("control-plane/src/api/document/schema")).collect();
    assert_absent(&bodies, &["json!({", "json!(["], "requests and answers are named types");
    let errors = rust_files("control-plane/src/error");
    let errors: Vec<_> = errors.into_iter().filter(|path| !path.ends_with("tests.rs")).collect();
    assert_absent(&errors, &["json!"], "what a problem says are the members of `Members`");
}

#[test]
fn the_store_names_a_project_with_its_tenant_only() {
    let rule = "columns `project` are bound and read by store/stored_project.rs alone";
    let others: Vec<_> = rust_files("control-plane/src/store")
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name != "stored_project.rs"))
        .collect();
    assert_absent(&others, &["\"project\"", "project.as_str()"], rule);
    for path in others {
        for bound in code(&path).split(".bind(").skip(1) {
            let argument = bound.lines().next().unwrap_or_default().split(").").next().unwrap_or_default();
            let name = argument.to_lowercase().replace('_', "");
            let is_sound = !name.contains("project") || name.contains("storedproject");
            assert!(is_sound, "{}: .bind({argument} breaks the rule: {rule}", path.display());
        }
    }
}

/// The modules of a member from the ground up: each may use what stands on a line above its own.
type Floors = &'static [&'static [&'static str]];

const CONTROL_PLANE: Floors = &[
    &["clock", "figures", "meters", "private", "random", "telemetry"],
    &["model"],
    &["store"],
    &["credential", "publish"],
    &["change", "ingest", "listen"],
    &["error", "feed"],
    &["api", "dashboard", "engine", "validator"],
    &["jobs"],
    &["plane"],
];

const EDGE: Floors = &[
    &["clock", "deadline", "error", "random", "region", "socket", "stream_token"],
    &["trust"],
    &["config"],
    &["beacon", "notify"],
    &["snapshot"],
    &["http"],
    &["direct"],
];

/// The first names behind `crate::`, those of a group too.
fn used_modules(code: &str) -> BTreeSet<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
    let mut found = BTreeSet::new();
    for used in code.split("crate::").skip(1) {
        let Some(group) = used.strip_prefix('{') else {
            found.insert(name(used));
            continue;
        };
        let mut depth = 0;
        let mut is_start = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => is_start = true,
                c if depth == 0 && is_start && !c.is_whitespace() => {
                    found.insert(name(&group[at..]));
                    is_start = false;
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn names_behind_crate_are_found_in_groups_too() {
    let code = "use crate::{a::{b, c}, d_e};\nuse crate::f::g; crate::h::i();";
    assert_eq!(used_modules(code), ["a", "d_e", "f", "h"].map(str::to_owned).into());
}

#[test]
fn floors_know_only_what_is_below_them() {
    for (source, floors) in [("control-plane/src", CONTROL_PLANE), ("edge/src", EDGE)] {
        let floor_of = |module: &str| floors.iter().position(|floor| floor.contains(&module));
        for path in rust_files(source) {
            let inside = path.strip_prefix(source).expect("it is below the source");
            let module = inside.iter().next().and_then(|name| name.to_str()).expect("a name");
            let module = module.trim_end_matches(".rs");
            // The roots, and the program's own half.
            if ["lib", "main", "cli"].contains(&module) {
                continue;
            }
            let own =
                floor_of(module).unwrap_or_else(|| panic!("{source}: {module} has no floor: give it one"));
            for used in used_modules(&code(&path)) {
                let Some(floor) = floor_of(&used) else { panic!("{}: crate::{used}", path.display()) };
                let is_below = floor < own || used == module;
                assert!(is_below, "{}: {module} uses {used}, which is not below it", path.display());
            }
        }
    }
}

/// The roots of all crates that are ours; a binary's is one too.
const ROOTS: [&str; 15] = [
    "shared/src/lib.rs",
    "edge/src/lib.rs",
    "control-plane/src/lib.rs",
    "control-plane/src/main.rs",
    "control-plane/calibrate/src/lib.rs",
    "control-plane/calibrate/src/main.rs",
    "control-plane/cells/src/lib.rs",
    "control-plane/cells/testing/src/lib.rs",
    "control-plane/importers/src/lib.rs",
    "control-plane/inspect/src/lib.rs",
    "control-plane/otlp/src/lib.rs",
    "control-plane/stats/src/lib.rs",
    "shared/testing/src/lib.rs",
    "sdk/evaluator/src/lib.rs",
    "xtask/src/lib.rs",
];

#[test]
fn modules_form_no_circle() {
    let found: Vec<String> = ROOTS
        .into_iter()
        .flat_map(|file| {
            circles::circles(&root().join(file)).into_iter().map(move |circle| format!("{file} {circle}"))
        })
        .collect();
    assert!(found.is_empty(), "{} circles:\n{}", found.len(), found.join("\n"));
}

/// Whether the sentences at a file's top say that it is pure, and not only in part.
fn says_pure(path: &Path) -> bool {
    let text = fs::read_to_string(root().join(path)).unwrap();
    let header: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
    header.contains("Pure") && !header.contains("Pure but")
}

/// What a file says of itself holds: one whose header has the word *Pure* uses no shell. Whole floors are pure without saying so
/// in each file.
#[test]
fn pure_modules_import_no_shell() {
    let floors = [
        "control-plane/src/model",
        "control-plane/importers/src",
        "control-plane/inspect/src",
        "control-plane/otlp/src",
        "control-plane/stats/src",
    ];
    let mut pure: Vec<PathBuf> = floors.into_iter().flat_map(rust_files).collect();
    for member in ["edge/src", "control-plane/src", "sdk/evaluator/src"] {
        pure.extend(rust_files(member).into_iter().filter(|path| says_pure(path)));
    }
    assert!(pure.iter().any(|path| path.ends_with("edge/src/snapshot/cache.rs")), "no header says Pure");
    let words = [
        "sqlx",
        "axum",
        "tokio",
        "worker::",
        "crate::store",
        "crate::api",
        "crate::clock",
        "async fn",
        "_do::",
    ];
    assert_absent(&pure, &words, "pure modules import shared and each other only");
}

#[test]
fn handlers_write_no_sql() {
    assert_absent(
        &rust_files("control-plane/src/api"),
        &["sqlx", "SELECT ", "INSERT ", "UPDATE "],
        "SQL lives in store",
    );
}

/// What comes from outside is read by `shared::strict`, which takes no array for an object and no key twice.
#[test]
fn bodies_are_read_strictly() {
    let own = [
        "shared/src/strict/mod.rs",
        // A body with visitors of its own, which see to both.
        "shared/src/ofrep",
        // What we have written ourselves, or what is signed.
        "shared/src/snapshot",
        "shared/src/unleash/export/selection.rs",
    ];
    let readers: Vec<_> = [
        "shared/src",
        "edge/src",
        "control-plane/src/api",
        "control-plane/importers/src",
        "control-plane/otlp/src",
        "sdk/evaluator/src",
    ]
    .into_iter()
    .flat_map(rust_files)
    .filter(|path| !own.iter().any(|own| path.starts_with(own)) && !path.ends_with("tests.rs"))
    .filter(|path| !path.iter().any(|part| part == "tests"))
    .collect();
    let words = ["serde_json::from_", "serde_json::Deserializer", "serde_path_to_error"];
    assert_absent(&readers, &words, "what comes from outside is read by shared::strict");
    // Serde keeps such types in a buffer, behind which nobody sees an array that stands for an object.
    let others: Vec<_> = readers.into_iter().filter(|path| !path.ends_with("contract/replica.rs")).collect();
    assert_absent(
        &others,
        &["serde(flatten", "serde(untagged", "serde(tag"],
        "no body is read from a buffer",
    );
}

#[test]
fn only_change_writes_flags() {
    for path in rust_files("control-plane/src") {
        let is_writer = path.starts_with("control-plane/src/change")
            || path.ends_with("change.rs")
            || path.starts_with("control-plane/src/store");
        if !is_writer {
            let code = code(&path);
            for word in ["flags::put(", "flags::delete(", "flags::upsert(", "flags::insert("] {
                assert!(!code.contains(word), "{}: {word} outside change", path.display());
            }
        }
    }
}

#[test]
fn only_verify_builds_verified() {
    for path in rust_files("shared/src").into_iter().chain(rust_files("edge/src")) {
        if !path.ends_with("snapshot/verify.rs") {
            assert!(!code(&path).contains("Verified {"), "{} builds a Verified", path.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_stays_readable() {
    for member in ["shared", "edge/src", "control-plane", "sdk/evaluator/src", "xtask/src", "tests"] {
        for path in rust_files(member) {
            let text = fs::read_to_string(root().join(&path)).unwrap();
            assert!(text.starts_with("//! "), "{} does not say what it is for", path.display());
            let lines = text.lines().count();
            assert!(lines <= 600, "{} has {lines} lines, split it", path.display());
        }
    }
}

/// A suite that hangs says nothing at all: what waits for a child or a thread does so within a bound (`support::output`,
/// `Dialogue`, `recv_timeout`), and what looks again and again is `eventually`, or `until` in a script.
#[test]
fn no_test_waits_without_a_bound() {
    for folder in ["tests", "control-plane/tests"] {
        let others: Vec<_> = rust_files(folder)
            .into_iter()
            .filter(|path| *path != Path::new("tests/architecture.rs"))
            .collect();
        let words = [".output()", ".wait()", ".recv()", "Command::new(\"sleep\")"];
        assert_absent(&others, &words, "every wait of a test has a bound");
    }
    for script in [
        "tests/node/ofrep.mjs",
        "tests/node/otlp.mjs",
        "tests/node/stream.mjs",
        "tests/node/unleash.mjs",
        "tests/browser/run.mjs",
        "sdk/web/test/browser.mjs",
        "sdk/web/test/chromium.test.mjs",
        "sdk/web/test/edge.mjs",
        "sdk/web/test/main_thread.mjs",
        "sdk/web/test/real.mjs",
    ] {
        let text = fs::read_to_string(root().join(script)).unwrap();
        assert!(text.contains("bounded.mjs"), "{script} waits by itself");
        for line in text.lines().map(str::trim_start) {
            let waits = line.starts_with("await new Promise")
                || (line.contains("while (") && line.contains("sleep("));
            assert!(!waits, "{script} waits without a bound: {line}");
        }
    }
}

#[test]
fn public_text_names_no_machine_and_no_registry() {
    let mut git = Command::new("git");
    let output = support::output("git", git.args(["ls-files"]).current_dir(root()), support::COMMAND_LIMIT);
    let listed = String::from_utf8(output.stdout).unwrap();
    let words = ["/work/", "/root/", "registry.npm", "index.crates", "pypi.org"].map(str::to_owned);
    for path in listed.lines().filter(|path| *path != "tests/architecture.rs" && *path != "LICENSE") {
        let Ok(text) = fs::read_to_string(root().join(path)) else { continue };
        for word in &words {
            assert!(!text.contains(word.as_str()), "{path} contains {word:?}");
        }
    }
}
