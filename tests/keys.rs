//! Keys on real processes: replaced and revoked under live traffic, a database put back from an old copy, and nothing
//! secret in any log.

#![expect(clippy::disallowed_methods, reason = "how long real processes take is measured with real time")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flagfuse_shared::ids::SnapshotVersion;
use serde_json::{Value, json};
use support::{
    COMMAND_LIMIT, Client, PATIENCE, SetOnDrop, World, environment_path, eventually, fresh_dir, output, root,
};
use xtask::ports;
use xtask::process::OwnedProcess;

/// How long answers may be labelled stale at a stretch: a machine that is busy beats late.
const STALE_MAX: Duration = Duration::from_secs(30);
const PASSPHRASE: &str = "correct horse battery staple";

/// The built program.
fn program() -> Command {
    let mut command = Command::new(root().join("target/debug/flagfuse"));
    command.env_remove("FLAGFUSE_KEY_PASSPHRASE").env("RUST_LOG", "trace");
    command
}

/// Runs it to its end.
fn ran(command: &mut Command) -> Output {
    output("flagfuse", command, COMMAND_LIMIT)
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A ceremony of `flagfuse keys` in a world, whose only root lies with the data.
fn ceremony(world: &World, command: &str, arguments: &[&str]) {
    let data = world.data_dir.join("control-plane");
    let output = ran(program()
        .args(["keys", command, "--data"])
        .arg(&data)
        .arg("--roots")
        .arg(data.join("keys/root.key"))
        .args(arguments));
    assert!(output.status.success(), "{command}: {}", told(&output));
}

/// Waits until a keyset is in force and nothing waits behind it; the id of the one release key.
fn settled(world: &World, keyset_version: u64) -> String {
    let what = format!("keyset {keyset_version} is in force everywhere");
    eventually(&what, PATIENCE, || {
        let keys = world.admin.get("/v1/keys")?.ok()?;
        ensure!(
            keys["keyset_version"] == json!(keyset_version) && keys["rotation"]["state"] == "done",
            "{keys}"
        );
        let ids = keys["release"]["key_ids"].as_array().context("no release keys")?;
        ensure!(ids.len() == 1, "{keys}");
        Ok(ids[0].as_str().unwrap_or_default().to_owned())
    })
    .unwrap()
}

fn version(text: Option<&str>) -> Option<SnapshotVersion> {
    text.and_then(SnapshotVersion::parse)
}

/// Waits until every isolate answers with what the control plane published last, vouched for, and verifies that it is from
/// `signer`. Keys that nobody accepts would keep answers stale for good.
fn served(world: &World, signer: &str) {
    let snapshot = world.admin.get(&format!("{}/settings", environment_path())).unwrap().ok().unwrap();
    let newest = version(snapshot["version"].as_str()).unwrap();
    for index in 0..world.edges.len() {
        eventually("the newest version is served", PATIENCE, || {
            let answer = world.ask(index, "theme", "somebody")?;
            let found = version(answer.header("x-flags-version"));
            ensure!(found >= Some(newest), "{found:?} instead of {newest}");
            let state = answer.header("x-flags-state");
            ensure!(state == Some("fresh"), "{state:?}");
            Ok(())
        })
        .unwrap();
    }
    let keys = world.admin.get("/v1/keys").unwrap().ok().unwrap();
    assert_eq!(keys["release"]["at_hand"], json!([signer]));
}

fn change(world: &World, number: u64) -> anyhow::Result<Value> {
    let flag = json!({
        "key": "counter", "value_type": "integer", "default_variation": "now",
        "variations": [{ "key": "now", "value": number }],
    });
    world.admin.put(&format!("{}/flags/counter", environment_path()), &flag)?.ok()
}

/// What a client of one isolate saw.
#[derive(Debug, Default)]
struct Seen {
    answers: u64,
    regressions: u64,
    failures: Vec<String>,
    /// Longest time in which every answer was labelled stale.
    stale_max: Duration,
}

/// Asks one isolate until it is told to stop.
fn watch(world: &World, index: usize, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let (mut newest, mut stale_since) = (None, None);
    while !stop.load(Ordering::Relaxed) {
        match world.ask(index, "theme", "somebody") {
            Err(error) => seen.failures.push(error.to_string()),
            Ok(answer) => {
                seen.answers += 1;
                let found = version(answer.header("x-flags-version"));
                seen.regressions += u64::from(found < newest);
                newest = newest.max(found);
                if answer.header("x-flags-state") == Some("fresh") {
                    stale_since = None;
                } else {
                    let since = *stale_since.get_or_insert_with(Instant::now);
                    seen.stale_max = seen.stale_max.max(since.elapsed());
                }
            }
        }
        // A client of its own pace: the machine is busy enough with two isolates and a control plane.
        thread::sleep(Duration::from_millis(5));
    }
    seen
}

#[test]
fn keys_are_replaced_and_revoked_under_live_traffic() {
    let world = World::start("keys");
    let stop = AtomicBool::new(false);
    let first = settled(&world, 1);
    let seen: Vec<Seen> = thread::scope(|scope| {
        let (world, stop) = (&world, &stop);
        let clients: Vec<_> =
            (0..world.edges.len()).map(|index| scope.spawn(move || watch(world, index, stop))).collect();
        let stopping = SetOnDrop(stop);
        ceremony(world, "rotate", &["--role", "release"]);
        for number in 0..20 {
            change(world, number).expect("changes go on during a rotation");
        }
        let second = settled(world, 3);
        assert_ne!(second, first);
        served(world, &second);
        ceremony(world, "rotate", &["--role", "freshness"]);
        settled(world, 5);
        served(world, &second);
        ceremony(world, "revoke", &["--role", "release", "--key", &second]);
        let third = settled(world, 6);
        assert_ne!(third, second);
        served(world, &third);
        let changed = change(world, 100).expect("changes go on after a revocation");
        assert!(version(changed["version"].as_str()).is_some());
        served(world, &third);
        drop(stopping);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for seen in seen {
        assert!(seen.answers > 20, "{seen:?}");
        assert!(seen.failures.is_empty() && seen.regressions == 0, "{seen:?}");
        assert!(seen.stale_max <= STALE_MAX, "{seen:?}");
    }
    let frame = world.data_dir.join("newest.frame");
    save_frame(&world, &frame);
    let data = world.data_dir.join("control-plane");
    let output = ran(program().args(["keys", "verify", "--data"]).arg(&data).arg("--frame").arg(&frame));
    assert!(output.status.success(), "{}", told(&output));
    let text = told(&output);
    for expected in
        ["keyset 6 in force", "rotation: done", "under keyset 6", "release.key is in no keyset in force"]
    {
        assert!(text.contains(expected), "{expected} is missing in\n{text}");
    }
}

/// The frame that `verify-snapshot` and `keys verify` read.
fn save_frame(world: &World, path: &Path) {
    let url = format!("{}{}/snapshot", world.stack.control_plane_url(), environment_path());
    let bearer = format!("Authorization: Bearer {}", world.stack.secrets().admin_token);
    let mut curl = Command::new("curl");
    let found = output("curl", curl.args(["-sf", "-H", &bearer, "-o"]).arg(path).arg(url), COMMAND_LIMIT);
    assert!(found.status.success(), "{}", told(&found));
}

/// Copies a database that nobody writes, with what its log holds.
fn copy_database(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in ["flagfuse.db", "flagfuse.db-wal", "flagfuse.db-shm"] {
        let _ = fs::remove_file(to.join(name));
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

#[test]
fn a_database_from_an_old_copy_changes_nothing_until_its_epoch_is_raised() {
    let mut world = World::start("keys-restored");
    let (data, copy) = (world.data_dir.join("control-plane"), world.data_dir.join("copy"));
    world.stack.kill_control_plane();
    copy_database(&data, &copy);
    world.stack.start_control_plane().unwrap();
    let mut last = None;
    for number in 0..10 {
        last = version(change(&world, number).unwrap()["version"].as_str());
    }
    let last = last.unwrap();
    let is_served = |world: &World, at_least: SnapshotVersion, value: u64| {
        for index in 0..world.edges.len() {
            eventually("the change is served", PATIENCE, || {
                let answer = world.ask(index, "counter", "somebody")?;
                let found = version(answer.header("x-flags-version"));
                ensure!(
                    found >= Some(at_least) && answer.body["value"] == json!(value),
                    "{found:?}: {}",
                    answer.body
                );
                Ok(())
            })
            .unwrap();
        }
    };
    is_served(&world, last, 9);

    world.stack.kill_control_plane();
    copy_database(&copy, &data);
    world.stack.start_control_plane().unwrap();
    let propagation = format!("{}/propagation", environment_path());
    eventually("the replica's word arrives", PATIENCE, || {
        let found = world.admin.get(&propagation)?.ok()?;
        ensure!(found["forks"][0]["held"] == json!(last.to_string()), "{found}");
        Ok(())
    })
    .unwrap();
    let flag = json!({ "key": "counter", "value_type": "integer", "default_variation": "now",
        "variations": [{ "key": "now", "value": 77 }] });
    let refused = world.admin.put(&format!("{}/flags/counter", environment_path()), &flag).unwrap();
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("restored_from_old_copy")));
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains(&last.to_string()) && detail.contains("flagfuse keys bump-epoch"), "{detail}");
    is_served(&world, last, 9);

    let (project, environment) = (support::PROJECT, support::ENVIRONMENT);
    ceremony(&world, "bump-epoch", &["--project", project, "--environment", environment]);
    let changed = eventually("changes are taken again", PATIENCE, || change(&world, 77)).unwrap();
    let changed = version(changed["version"].as_str()).unwrap();
    assert_eq!(changed.epoch, last.epoch + 1);
    is_served(&world, changed, 77);
    eventually("the replica is one with its control plane again", PATIENCE, || {
        let found = world.admin.get(&propagation)?.ok()?;
        ensure!(found["forks"] == json!([]), "{found}");
        Ok(())
    })
    .unwrap();
}

/// A control plane without edges; everything it says goes into a file.
fn serve(data: &Path, log: &Path, variables: &[(&str, &str)]) -> (OwnedProcess, Client) {
    let port = ports::free(1).unwrap()[0];
    let file = fs::File::options().create(true).append(true).open(log).unwrap();
    let mut command = program();
    command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data"]).arg(data);
    command.envs(variables.iter().copied()).stdout(file.try_clone().unwrap()).stderr(file);
    let process = OwnedProcess::spawn("control plane", &mut command).unwrap();
    (process, Client::new(&format!("http://127.0.0.1:{port}"), None))
}

#[test]
fn sealed_keys_need_their_passphrase_and_no_secret_is_ever_told() {
    let dir = fresh_dir("keys-sealed");
    // With what commands say to their caller, which is allowed to tell secrets, so it is no log.
    let (data, roots, log) = (dir.join("data"), dir.join("roots"), dir.join("all.txt"));
    let passphrase = dir.join("passphrase");
    fs::write(&passphrase, format!("{PASSPHRASE}\n")).unwrap();
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let output = ran(program().args(arguments).arg("--data").arg(&data).envs(variables.iter().copied()));
        let mut all = fs::read_to_string(&log).unwrap_or_default();
        all.push_str(&told(&output));
        fs::write(&log, all).unwrap();
        output
    };
    let roots_dir = roots.display().to_string();
    let init = ["keys", "init", "--roots-dir", &roots_dir];
    let refused = run(&init, &[]);
    assert!(
        !refused.status.success() && told(&refused).contains("or say --unencrypted"),
        "{}",
        told(&refused)
    );
    let right = [("FLAGFUSE_KEY_PASSPHRASE", PASSPHRASE)];
    let made = run(&init, &right);
    assert!(told(&made).contains("FLAGFUSE_ROOT_THRESHOLD = \"2\""), "{}", told(&made));
    assert!(run(&["init"], &right).status.success());

    for (variables, expected) in [
        (&[][..], "give its passphrase with --passphrase-file FILE"),
        (&[("FLAGFUSE_KEY_PASSPHRASE", "incorrect horse")][..], "wrong passphrase"),
        (&[("FLAGFUSE_KEY_PASSPHRASE", "short")][..], "has 5 bytes, allowed is 12 to 1024"),
    ] {
        let output = run(&["serve", "--listen", "127.0.0.1:0"], variables);
        assert!(!output.status.success() && told(&output).contains(expected), "{}", told(&output));
    }

    let (process, client) = serve(&data, &log, &right);
    eventually("the control plane answers", PATIENCE, || client.get("/healthz")?.ok()).unwrap();
    let root_files: Vec<String> =
        (1..=3).map(|n| roots.join(format!("root-{n}.key")).display().to_string()).collect();
    let file = passphrase.display().to_string();
    let rotate = ["keys", "rotate", "--role", "release", "--passphrase-file", &file, "--roots"];
    for (given, is_enough) in [([0, 0], false), ([0, 2], true)] {
        let given = given.map(|at| root_files[at].as_str()).join(",");
        let output = run(&[&rotate[..], &[given.as_str()]].concat(), &[]);
        assert_eq!(output.status.success(), is_enough, "{}", told(&output));
    }
    eventually("the rotation is over", PATIENCE, || {
        let output = run(&["keys", "verify", "--json"], &right);
        let found: Value = serde_json::from_slice(&output.stdout).context(told(&output))?;
        ensure!(found["keys"]["keyset_version"] == json!(3), "{found}");
        Ok(())
    })
    .unwrap();
    drop(process);
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("keyset is in force"), "the log is there");
    assert!(!text.contains(PASSPHRASE), "a passphrase was told");
    for path in key_files(&data.join("keys")).iter().chain(&key_files(&roots)) {
        assert!(fs::read_to_string(path).unwrap().contains("argon2id"), "{} is not sealed", path.display());
    }
}

#[test]
fn no_private_key_is_told_at_any_level_of_logging() {
    let dir = fresh_dir("keys-told");
    let (data, log) = (dir.join("data"), dir.join("all.log"));
    let output = ran(program().args(["init", "--json", "--data"]).arg(&data));
    assert!(told(&output).contains("1-of-1 development root"), "{}", told(&output));
    let (process, client) = serve(&data, &log, &[]);
    eventually("the control plane answers", PATIENCE, || client.get("/healthz")?.ok()).unwrap();
    let secrets = secrets_of_people(&output, &client);
    let root_key = data.join("keys/root.key");
    let mut text = told(&output);
    for role in ["release", "freshness"] {
        let rotated = || {
            let mut command = program();
            ran(command
                .args(["keys", "rotate", "--role", role, "--data"])
                .arg(&data)
                .arg("--roots")
                .arg(&root_key))
        };
        // The other rotation may be under way for a moment.
        let output = eventually("a rotation begins", PATIENCE, || {
            let output = rotated();
            ensure!(output.status.success(), "{}", told(&output));
            Ok(output)
        });
        text.push_str(&told(&output.unwrap()));
    }
    eventually("both rotations are over", PATIENCE, || {
        let text = fs::read_to_string(&log)?;
        ensure!(text.contains("keyset_version=5"), "{text}");
        Ok(())
    })
    .unwrap();
    drop(process);
    let log = fs::read_to_string(&log).unwrap();
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} was told");
    }
    text.push_str(&log);
    assert!(text.contains("DEBUG") || text.contains("TRACE"), "the log has every level");
    let keys = key_files(&data.join("keys"));
    assert_eq!(keys.len(), 6, "root, unit, two release and two freshness keys");
    for path in keys {
        let secret = fs::read_to_string(&path).unwrap();
        let bytes: Vec<u8> = secret
            .trim()
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let listed = bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        for form in [secret.trim().to_owned(), STANDARD.encode(&bytes), listed] {
            assert!(!text.contains(&form), "{} was told", path.display());
        }
    }
}

/// Whatever lets somebody in and was shown to a control plane that runs: tokens, the code of a link, a session, passwords.
fn secrets_of_people(init: &Output, client: &Client) -> Vec<String> {
    let made: Value = serde_json::from_slice(&init.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (_, code) = made["sign_in_link"].as_str().unwrap().split_once("/#login=").unwrap();
    let answer = client.post("/v1/session/link", &json!({ "code": code })).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let session = cookie.strip_prefix("flagfuse=").unwrap().to_owned();
    let (password, wrong) = (PASSPHRASE.to_owned(), "not quite the right words".to_owned());
    let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
    let body = json!({ "new": password }).to_string().into_bytes();
    let newcomer = Client::new(client.base(), None);
    assert_eq!(newcomer.send("PUT", "/v1/password", &headers, Some(body)).unwrap().status, 200);
    for (password, status) in [(&password, 200), (&wrong, 401)] {
        let answer = newcomer.post("/v1/session", &json!({ "user": "owner", "password": password })).unwrap();
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    let token = text(&made["admin_token"]);
    assert_eq!(Client::new(client.base(), Some(&token)).get("/v1/whoami").unwrap().status, 200);
    vec![token, text(&made["ingest_token"]), code.to_owned(), session, password, wrong]
}

fn key_files(dir: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|extension| extension == "key")).collect()
}
