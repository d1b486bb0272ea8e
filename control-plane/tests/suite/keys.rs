//! Rotation, revocation and epochs over a whole control plane, interrupted after every step; and a database from an old
//! copy, which takes no change until its epoch is raised.

use axum::http::StatusCode;
use flagfuse_control_plane::jobs::{republish, rotate, rotate_once};
use flagfuse_control_plane::model::ceremony::OnlineRole;
use flagfuse_control_plane::plane::{ControlPlane, Location, PlaneError};
use flagfuse_control_plane::publish::keys::files::mode;
use flagfuse_control_plane::publish::keys::hold::{Ceremony, read_roots};
use flagfuse_control_plane::publish::keys::rotation::Next;
use flagfuse_control_plane::publish::keys::status::file_warnings;
use flagfuse_control_plane::publish::keys::{
    KeyError, NewKeys, Passphrase, Protection, RoleSize, create, create_development,
};
use flagfuse_control_plane::store::Lock;
use flagfuse_control_plane::store::forks::{self, Observed, Standing};
use flagfuse_control_plane::store::receipts::{ReplicaName, Told, record_held};
use flagfuse_control_plane::store::snapshots;
use flagfuse_shared::contract::replica::HeldVersion;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion, TenantKey, UnixMillis};
use flagfuse_shared::snapshot::envelope::{Envelope, Segments, encode_frame, split_frame};
use flagfuse_shared::snapshot::manifest::{MANIFEST_TYPE, Manifest};
use flagfuse_shared::snapshot::sign::{PrivateKey, sign_envelope};
use flagfuse_shared::snapshot::verify::key_id;
use flagfuse_shared::snapshot::{Held, Outcome, TrustedRoots, verify};
use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, START, World, flag, policy};

const YEAR_MS: u64 = 365 * 24 * 3_600_000;
const REGION: &str = "local";
/// As rotations name it.
const REPLICA: &str = "local/0";

fn scope() -> Scope {
    Scope::parse("default/demo/production").unwrap()
}

pub(crate) fn ceremony<'p>(world: &World, plane: &'p ControlPlane) -> Ceremony<'p> {
    let root = world.data().join("keys/root.key");
    Ceremony {
        keys: plane.publisher.keys(),
        store: &plane.store,
        roots: read_roots(&[root], &[]).unwrap(),
        validity_ms: YEAR_MS,
        version_min: 0,
        now: world.clock.now(),
    }
}

async fn reopened(world: &World) -> ControlPlane {
    ControlPlane::open(&world.data(), world.clock.clone()).await.unwrap()
}

async fn frame(plane: &ControlPlane) -> Vec<u8> {
    snapshots::newest(&mut plane.store.read().await.unwrap(), &scope()).await.unwrap().unwrap().frame
}

/// A replica takes the newest frame, as an edge would, and its receipt arrives.
async fn confirm(world: &World, plane: &ControlPlane, held: Option<&Held>) -> Held {
    let roots = plane.publisher.keys().trusted_roots().unwrap();
    let held = match verify(&frame(plane).await, &roots, &scope(), held, world.clock.now()).unwrap() {
        Outcome::Newer(admitted) => admitted.held,
        Outcome::Same => *held.unwrap(),
    };
    let mut tx = plane.store.write(Lock::Keys).await.unwrap();
    let newest = snapshots::newest_signed(&mut tx, &scope()).await.unwrap().unwrap().held;
    let now = world.clock.now();
    let replica = ReplicaName { region: REGION.to_owned(), shard: 0 };
    let told = Told::Ack { keyset_version: held.keyset_version, stored_ms: now };
    record_held(&mut tx, &scope(), &replica, newest, told, now).await.unwrap();
    tx.commit().await.unwrap();
    held
}

/// Who signed the newest manifest.
async fn signer(plane: &ControlPlane) -> String {
    let frame = frame(plane).await;
    let manifest = Envelope::parse(split_frame(&frame).unwrap().manifest).unwrap();
    manifest.signatures[0].keyid.clone()
}

fn own_key(world: &World, name: &str) -> PrivateKey {
    let text = std::fs::read_to_string(world.data().join("keys").join(name)).unwrap();
    PrivateKey::from_seed(Digest::parse(text.trim()).unwrap().as_bytes())
}

#[tokio::test]
async fn a_rotation_interrupted_after_every_step_ends_with_the_new_key_alone() {
    let world = World::new().await;
    let replicas = [REPLICA.to_owned()];
    let mut held = confirm(&world, &world.plane, None).await;
    let old = signer(&world.plane).await;
    ceremony(&world, &world.plane).rotate(OnlineRole::Release).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..20 {
        // Every step runs in a process of its own, which ends right after it.
        let plane = reopened(&world).await;
        let next = rotate_once(&plane.store, &plane.publisher, &replicas, world.clock.now()).await.unwrap();
        let keyset_version = plane.publisher.keys().current().keyset.keyset_version;
        match &next {
            Next::PutInForce(step) => seen.push(format!("in force {}", step.keyset_version)),
            Next::Publish { keyset_version, urgency, .. } => {
                seen.push(format!("published {keyset_version} {urgency:?}"));
            }
            Next::Wait(laggards) => {
                seen.push(format!("waits for {}", laggards[0].replica));
                assert_eq!(signer(&plane).await, old, "the old key signs until every replica knows both");
                let before = held.version;
                held = confirm(&world, &plane, Some(&held)).await;
                assert!(held.version > before && held.keyset_version == keyset_version);
            }
            Next::Done => break,
            Next::Forked(_) | Next::NotOurs => panic!("{next:?}"),
        }
        plane.store.close().await;
    }
    assert_eq!(
        seen,
        ["in force 2", "published 2 Urgent", "waits for local/0", "in force 3", "published 3 Ordinary"]
    );
    let plane = reopened(&world).await;
    held = confirm(&world, &plane, Some(&held)).await;
    assert_eq!(held.keyset_version, 3);
    let new = signer(&plane).await;
    assert_ne!(new, old);
    let listed = plane.publisher.keys().current().keyset.roles.release.keys.clone();
    assert_eq!(listed.len(), 1);
    let warnings = file_warnings(plane.publisher.keys()).unwrap().join("\n");
    assert!(warnings.contains("release.key is in no keyset in force"), "{warnings}");
    assert_eq!(mode(&world.data().join(format!("keys/release-{new}.key"))).unwrap(), 0o600);
}

#[tokio::test]
async fn a_process_that_runs_along_follows_a_rotation_and_changes_go_on() {
    let world = World::new().await;
    ceremony(&world, &world.plane).rotate(OnlineRole::Release).await.unwrap();
    // Another process on the same database takes all steps; nobody pushes, so there is nobody to wait for.
    let other = reopened(&world).await;
    let done = rotate(&other.store, &other.publisher, &[], world.clock.now()).await.unwrap();
    assert_eq!(done, Next::Done);
    // This one has not opened the new key yet: it says so, and does once it looks.
    let refused = world.call("PUT", FLAG, flag()).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::SERVICE_UNAVAILABLE, "keys_changing"));
    rotate(&world.plane.store, &world.plane.publisher, &[], world.clock.now()).await.unwrap();
    world.ok("PUT", FLAG, flag()).await;
    let keys = world.get("/v1/keys").await;
    assert_eq!((&keys["keyset_version"], &keys["rotation"]["state"]), (&json!(3), &json!("done")));
    assert_eq!(keys["release"]["at_hand"], keys["release"]["key_ids"]);
    for name in ["root.key", "release.key", "freshness.key", "unit.key"] {
        let secret = std::fs::read_to_string(world.data().join("keys").join(name)).unwrap();
        assert!(!keys.to_string().contains(secret.trim()), "{name}");
    }
}

#[tokio::test]
async fn a_crash_between_two_writes_of_a_step_is_made_good_at_the_next_start() {
    let world = World::new().await;
    let path = world.data().join("keys/keyset.json");
    let before = std::fs::read(&path).unwrap();
    ceremony(&world, &world.plane).rotate(OnlineRole::Freshness).await.unwrap();
    rotate(&world.plane.store, &world.plane.publisher, &[], world.clock.now()).await.unwrap();
    let after = std::fs::read(&path).unwrap();
    assert_ne!(before, after);
    // Committed in the database, not yet on disk.
    std::fs::write(&path, &before).unwrap();
    let plane = reopened(&world).await;
    assert_eq!(plane.publisher.keys().current().keyset.keyset_version, 3);
    assert_eq!(std::fs::read(&path).unwrap(), after);
    // A key was drawn, its keyset never signed: the next ceremony draws another.
    let stray = world.data().join("keys/release-stray.key");
    std::fs::copy(world.data().join("keys/unit.key"), stray).unwrap();
    let plane = reopened(&world).await;
    ceremony(&world, &plane).rotate(OnlineRole::Release).await.unwrap();
    let under_way = ceremony(&world, &plane).rotate(OnlineRole::Release).await.unwrap_err().to_string();
    assert!(under_way.contains("still waits"), "{under_way}");
}

#[tokio::test]
async fn a_revoked_key_and_the_keyset_that_listed_it_count_no_longer() {
    let world = World::new().await;
    let held = confirm(&world, &world.plane, None).await;
    let old_frame = {
        world.ok("PUT", FLAG, flag()).await;
        frame(&world.plane).await
    };
    let stolen = own_key(&world, "release.key");
    let id = key_id(&stolen.public_bytes());
    ceremony(&world, &world.plane).revoke(OnlineRole::Release, &id).await.unwrap();
    rotate(&world.plane.store, &world.plane.publisher, &[REPLICA.to_owned()], world.clock.now())
        .await
        .unwrap();
    assert_ne!(signer(&world.plane).await, id);
    let held = confirm(&world, &world.plane, Some(&held)).await;

    // What the thief signs above everything held: under the old keyset, and under the new one.
    let frame = frame(&world.plane).await;
    let (new, old) = (split_frame(&frame).unwrap(), split_frame(&old_frame).unwrap());
    let forged = |keyset: &[u8], keyset_version: u64| {
        let body = Envelope::parse(new.manifest).unwrap().payload_bytes().unwrap();
        let mut manifest: Manifest = serde_json::from_slice(&body).unwrap();
        (manifest.seq, manifest.keyset_version) = (manifest.seq + 1, keyset_version);
        let body = serde_json::to_vec(&manifest).unwrap();
        let manifest =
            sign_envelope("manifest", MANIFEST_TYPE, &body, std::slice::from_ref(&stolen), 4_096).unwrap();
        let frame = encode_frame(Segments { keyset, manifest: &manifest, payload: new.payload });
        let roots = world.plane.publisher.keys().trusted_roots().unwrap();
        verify(&frame, &roots, &scope(), Some(&held), world.clock.now()).unwrap_err().code.as_str()
    };
    assert_eq!(forged(old.keyset, 1), "E_KEYSET");
    assert_eq!(forged(new.keyset, 2), "E_KEY");
}

/// A replica of a database that was put back: it holds a hundred versions more.
async fn fork(world: &World, plane: &ControlPlane) -> HeldVersion {
    let mut tx = plane.store.write(Lock::Keys).await.unwrap();
    let newest = snapshots::newest_signed(&mut tx, &scope()).await.unwrap().unwrap().held.version();
    let digest = Digest::of(b"from another life");
    let held = HeldVersion { epoch: newest.epoch, seq: newest.seq + 100, digest };
    let observed = forks::observe(&mut tx, &scope(), (REGION, 0), held, world.clock.now()).await.unwrap();
    assert_eq!(observed, Observed::NewFork(Standing::Ahead));
    tx.commit().await.unwrap();
    held
}

#[tokio::test]
async fn an_environment_behind_its_replicas_takes_no_change_until_its_epoch_is_raised() {
    let world = World::new().await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "staging" })).await;
    let held = fork(&world, &world.plane).await;
    let refused = world.call("PUT", FLAG, flag()).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "restored_from_old_copy"));
    let detail = refused.body["detail"].as_str().unwrap();
    for word in
        ["replica local/0 holds", &held.version().to_string(), "flagfuse keys bump-epoch --project demo"]
    {
        assert!(detail.contains(word), "{detail}");
    }
    let project_wide = world.call("PUT", "/v1/projects/demo/flags/all", flag()).await;
    assert_eq!(project_wide.code(), "restored_from_old_copy", "{}", project_wide.body);
    world.ok("PUT", "/v1/projects/demo/environments/staging/flags/x", flag()).await;
    // The daily renewal goes past it.
    world.clock.advance(2 * 24 * 3_600_000);
    assert_eq!(republish(&world.plane.store, &world.plane.publisher, world.clock.now()).await.unwrap(), 1);
    assert_eq!(world.get("/v1/keys").await["forks"][0]["held"], json!(held.version().to_string()));

    let (epoch, _) = ceremony(&world, &world.plane).bump_epoch(&scope()).await.unwrap();
    assert_eq!(epoch, 2);
    let next = rotate(&world.plane.store, &world.plane.publisher, &[], world.clock.now()).await.unwrap();
    assert_eq!(next, Next::Done);
    let settings = world.get(&format!("{ENVIRONMENT}/settings")).await;
    assert_eq!(settings["version"], "2.1");
    let changed = world.ok("PUT", FLAG, flag()).await;
    assert_eq!(changed["version"], "2.2");
    // A replica in the old life takes it.
    let held = Held { version: held.version(), digest: held.digest, keyset_version: 1 };
    confirm(&world, &world.plane, Some(&held)).await;
    assert!(world.get("/v1/keys").await["forks"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_fuse_that_should_open_behind_its_replicas_says_so_and_does_not_spin() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.run_cohort(1, 400, (50, 200), "conversion").await;
    fork(&world, &world.plane).await;
    let verdicts = format!("{FLAG}/verdicts?limit=100");
    for _ in 0..3 {
        let ticked = world.tick().await;
        assert_eq!((ticked.blocked, ticked.moved, ticked.failed), (1, 0, 0));
    }
    let told = world.get(&verdicts).await;
    let told = told["verdicts"].as_array().unwrap();
    assert_eq!(told.len(), 1, "written once, not at every tick");
    assert_eq!(
        (&told[0]["decision"], &told[0]["reason"]),
        (&json!("trip"), &json!("blocked_restored_from_old_copy"))
    );
    ceremony(&world, &world.plane).bump_epoch(&scope()).await.unwrap();
    rotate(&world.plane.store, &world.plane.publisher, &[], world.clock.now()).await.unwrap();
    assert_eq!(world.tick().await.moved, 1, "it opens once it can");
}

#[tokio::test]
async fn a_database_from_an_old_copy_learns_the_keyset_from_its_directory() {
    let world = World::new().await;
    let (database, copy) = (world.data().join("flagfuse.db"), world.data().join("copy.db"));
    world.plane.store.close().await;
    std::fs::copy(&database, &copy).unwrap();
    let plane = reopened(&world).await;
    ceremony(&world, &plane).rotate(OnlineRole::Release).await.unwrap();
    ceremony_done(&world, &plane).await;
    let (epoch, _) = ceremony(&world, &plane).bump_epoch(&scope()).await.unwrap();
    ceremony_done(&world, &plane).await;
    plane.store.close().await;

    std::fs::copy(&copy, &database).unwrap();
    let _ = std::fs::remove_file(database.with_extension("db-wal"));
    let plane = reopened(&world).await;
    assert_eq!(plane.publisher.keys().current().keyset.keyset_version, 4);
    ceremony_done(&world, &plane).await;
    let newest = snapshots::newest(&mut plane.store.read().await.unwrap(), &scope()).await.unwrap().unwrap();
    assert_eq!(
        newest.version,
        SnapshotVersion { epoch, seq: 1 },
        "never below the epoch that the keyset demands"
    );
    confirm(&world, &plane, None).await;
}

async fn ceremony_done(world: &World, plane: &ControlPlane) {
    assert_eq!(rotate(&plane.store, &plane.publisher, &[], world.clock.now()).await.unwrap(), Next::Done);
}

#[tokio::test]
async fn a_sealed_installation_with_two_of_three_roots_runs_a_ceremony() {
    let (dir, away) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let passphrase = |text: &str| Passphrase::parse(text).unwrap();
    let online = Protection::Sealed(passphrase("correct horse"));
    let offline = Protection::Sealed(passphrase("battery staple"));
    let made = create(&NewKeys {
        data: dir.path(),
        roots_dir: away.path(),
        root: RoleSize { count: 3, threshold: 2 },
        release: RoleSize::ONE,
        protection: &online,
        roots_protection: &offline,
        expires_ms: START.plus(YEAR_MS),
    })
    .unwrap();
    let clock = flagfuse_control_plane::clock::Clock::manual(START);
    let location = Location::directory(dir.path());
    let open = |text: Option<&str>| ControlPlane::unlock(&location, text.map(passphrase), clock.clone());
    for (given, expected) in [(None, "is sealed"), (Some("wrong passphrase"), "wrong passphrase")] {
        let Err(PlaneError::Keys(error)) = open(given).await else { panic!("it opened") };
        assert!(error.to_string().contains(expected), "{error}");
    }
    let plane = open(Some("correct horse")).await.unwrap();
    let roots = |which: &[usize]| {
        let paths: Vec<_> = which.iter().map(|at| made.root_paths[*at].clone()).collect();
        read_roots(&paths, &[passphrase("battery staple")]).unwrap()
    };
    let hold = |roots| Ceremony {
        keys: plane.publisher.keys(),
        store: &plane.store,
        roots,
        validity_ms: YEAR_MS,
        version_min: 0,
        now: UnixMillis(START.0),
    };
    let files = || std::fs::read_dir(dir.path().join("keys")).unwrap().count();
    let before = files();
    for which in [&[0][..], &[1, 1]] {
        let error = hold(roots(which)).rotate(OnlineRole::Release).await.unwrap_err();
        assert!(error.to_string().contains("1 distinct root keys"), "{error}");
    }
    assert_eq!(files(), before, "a ceremony that fails leaves nothing behind");
    let steps = hold(roots(&[2, 0])).rotate(OnlineRole::Release).await.unwrap();
    assert_eq!(steps.len(), 2);
    assert_eq!(files(), before + 1);
    let trusted = TrustedRoots::parse(made.root_public_keys.iter().map(String::as_str), 2).unwrap();
    for step in &steps {
        assert!(flagfuse_shared::snapshot::verify_keyset(&step.envelope, &trusted).is_ok());
    }
    ceremony_done_on(&plane).await;
    for entry in std::fs::read_dir(dir.path().join("keys")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path).unwrap(), 0o600, "{}", path.display());
    }
    assert!(
        file_warnings(plane.publisher.keys()).unwrap().iter().all(|warning| !warning.contains("in clear"))
    );
}

async fn ceremony_done_on(plane: &ControlPlane) {
    let done = rotate(&plane.store, &plane.publisher, &[], START).await.unwrap();
    assert_eq!(done, Next::Done);
}

#[tokio::test]
async fn files_that_others_can_read_are_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    let path = world.data().join("keys/freshness.key");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = file_warnings(world.plane.publisher.keys()).unwrap().join("\n");
    assert!(warnings.contains("mode 0644"), "{warnings}");
    assert!(warnings.contains("root.key is a root key: carry it away"), "{warnings}");
    let again = create_development(&world.data(), &Protection::Unencrypted, START);
    assert!(matches!(again, Err(KeyError::Exists { .. })));
    let tenant = TenantKey::parse("default").unwrap();
    let again = flagfuse_control_plane::plane::init(&world.data(), &tenant, world.clock.clone()).await;
    assert!(matches!(again, Err(PlaneError::Keys(KeyError::Exists { .. }))));
    assert_eq!(world.get("/v1/keys").await["warnings"], Value::Array(Vec::new()));
}
