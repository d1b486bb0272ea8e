//! A replica that pulls: who may, what it gets, how much of it.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use flagfuse_control_plane::credential::TokenKind;
use flagfuse_control_plane::publish::pusher::Claim;
use flagfuse_control_plane::store::Lock;
use flagfuse_control_plane::store::snapshots::{FrameRow, FrameTraits, insert};
use flagfuse_shared::contract::replica::{HeldMap, HeldVersion, PlaneMessage, Urgency, decode_messages};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion};
use flagfuse_shared::limits::{PULL_LEN_MAX, REPLICA_ENVIRONMENT_COUNT_MAX};
use flagfuse_shared::snapshot::beat::{Beat, BeatLedger, FreshnessKeys};
use flagfuse_shared::snapshot::{Outcome, TrustedRoots, verify};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::world::{FLAG, World, flag};

const SCOPE: &str = "default/demo/production";

fn request(held: &HeldMap) -> Value {
    json!({ "region": "local", "shard": 0, "held": held })
}

/// The frames and the beat of an answer.
pub(crate) struct Pulled {
    pub(crate) frames: Vec<(Scope, Urgency, Vec<u8>)>,
    pub(crate) beat: Beat,
    len: usize,
}

pub(crate) async fn pull(world: &World, ledger: &mut BeatLedger, held: &HeldMap) -> Pulled {
    let builder = Request::builder().method("POST").uri("/v1/replica/pull");
    let builder = builder.header("authorization", format!("Bearer {}", world.ingest));
    let request = builder.body(Body::from(request(held).to_string())).unwrap();
    let response = world.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let bytes = to_bytes(response.into_body(), 64 << 20).await.unwrap();
    let keys = world.plane.publisher.keys();
    let freshness = FreshnessKeys::open(&keys.current().envelope, &roots(world)).unwrap();
    let (mut frames, mut beats) = (Vec::new(), Vec::new());
    for message in decode_messages(&bytes) {
        assert!(beats.is_empty(), "the beat is last");
        match message {
            PlaneMessage::Publish { scope, urgency, frame } => frames.push((scope, urgency, frame.to_vec())),
            PlaneMessage::Beat(envelope) => {
                beats.push(ledger.hear(envelope, &freshness, world.clock.now()).unwrap());
            }
            other => panic!("{other:?}"),
        }
    }
    Pulled { frames, beat: beats.pop().unwrap(), len: bytes.len() }
}

pub(crate) fn roots(world: &World) -> TrustedRoots {
    let roots = world.plane.publisher.keys().root_public_keys();
    TrustedRoots::parse(roots.iter().map(String::as_str), 1).unwrap()
}

#[tokio::test]
async fn a_pull_brings_what_is_newer_and_a_beat_that_vouches_for_it() {
    let world = World::new().await;
    let mut ledger = BeatLedger::default();
    let first = pull(&world, &mut ledger, &HeldMap::new()).await;
    let [(scope, Urgency::Ordinary, frame)] = &first.frames[..] else { panic!("{:?}", first.frames) };
    assert_eq!(scope.to_string(), SCOPE);
    let Outcome::Newer(admitted) = verify(frame, &roots(&world), scope, None, world.clock.now()).unwrap()
    else {
        panic!("it is new")
    };
    let SnapshotVersion { epoch, seq } = admitted.held.version;
    let held = HeldMap::from([(SCOPE.to_owned(), HeldVersion { epoch, seq, digest: admitted.held.digest })]);
    assert!(first.beat.vouches_for(&held) && !first.beat.vouches_for(&HeldMap::new()));

    let same = pull(&world, &mut ledger, &held).await;
    assert!(same.frames.is_empty() && same.beat.vouches_for(&held));
    assert!(same.beat.beat_no > first.beat.beat_no);

    // Switched off and edited since: what is urgent stays so.
    let mut off = flag();
    off["enabled"] = json!(false);
    world.ok("PUT", FLAG, off.clone()).await;
    world.ok("PUT", FLAG, off).await;
    let urgent = pull(&world, &mut ledger, &held).await;
    assert!(matches!(&urgent.frames[..], [(_, Urgency::Urgent, _)]));
    assert!(!urgent.beat.vouches_for(&held));

    // Ahead of a restored database: nothing to send and nothing to vouch for.
    let ahead = HeldVersion { epoch: 1, seq: 900, digest: Digest::of(b"other") };
    let ahead = HeldMap::from([(SCOPE.to_owned(), ahead)]);
    let forked = pull(&world, &mut ledger, &ahead).await;
    assert!(forked.frames.is_empty() && !forked.beat.vouches_for(&ahead));
    // A pull is no receipt.
    let found = world.get(&format!("{}/propagation", crate::world::ENVIRONMENT)).await;
    assert_eq!((&found["acked"], &found["replicas"][0]["version"]), (&json!(0), &Value::Null));
}

#[tokio::test]
async fn beats_of_pulls_and_of_connections_never_make_each_other_look_repeated() {
    let world = World::new().await;
    let mut ledger = BeatLedger::default();
    let publisher = &world.plane.publisher;
    let freshness = FreshnessKeys::open(&publisher.keys().current().envelope, &roots(&world)).unwrap();
    let claim = Claim { map_sha256: Digest::of(b"map"), count: 1 };
    for beat_no in [1_000, 1_001] {
        let now = world.clock.now();
        let pushed =
            publisher.issuer().push_beat(claim, beat_no, now, &publisher.keys().freshness()).unwrap();
        assert_eq!(ledger.hear(&pushed, &freshness, now).unwrap().beat_no, beat_no);
        assert!(ledger.hear(&pushed, &freshness, now).is_err(), "the ledger does look");
        // Its number is far lower, and the next one of the connection is again far higher.
        assert!(pull(&world, &mut ledger, &HeldMap::new()).await.beat.beat_no < 3);
    }
}

#[tokio::test]
async fn an_answer_is_cut_at_its_limit_and_the_next_pull_brings_the_rest() {
    let world = World::new().await;
    // Five of these and their heads are within 8 MiB, six are not.
    let frame = vec![7; (PULL_LEN_MAX - 1_024) / 5];
    for n in 0..6 {
        let key = format!("e{n}");
        world.ok("POST", "/v1/projects/demo/environments", json!({ "key": key })).await;
        let scope = Scope::parse(&format!("default/demo/{key}")).unwrap();
        let version = SnapshotVersion { epoch: 1, seq: 2 };
        let digest = Digest::of(key.as_bytes());
        let row = FrameRow { version, digest, frame: frame.clone(), created_ms: world.clock.now() };
        let traits = FrameTraits { urgency: Urgency::Ordinary, stale_ms: 250 };
        let mut tx = world.plane.store.write(Lock::Keys).await.unwrap();
        insert(&mut tx, &scope, &row, traits).await.unwrap();
        tx.commit().await.unwrap();
    }
    let mut ledger = BeatLedger::default();
    let mut held = HeldMap::new();
    let mut take = |pulled: &Pulled| {
        for (scope, _, bytes) in pulled.frames.iter().filter(|(_, _, bytes)| *bytes == frame) {
            assert_eq!(bytes.len(), frame.len());
            let digest = Digest::of(scope.environment.as_str().as_bytes());
            held.insert(scope.to_string(), HeldVersion { epoch: 1, seq: 2, digest });
        }
        held.clone()
    };
    let first = pull(&world, &mut ledger, &HeldMap::new()).await;
    assert_eq!(first.frames.len(), 5);
    // A beat of some 500 bytes comes on top.
    assert!(first.len > PULL_LEN_MAX * 9 / 10 && first.len <= PULL_LEN_MAX + 1_028, "{}", first.len);
    let so_far = take(&first);
    assert!(!first.beat.vouches_for(&so_far), "it names what did not fit");
    let second = pull(&world, &mut ledger, &so_far).await;
    assert_eq!(second.frames.len(), 2, "the sixth, and the small one of production");
    assert_eq!(take(&second).len(), 6);
}

#[tokio::test]
async fn a_bad_pull_is_refused_with_what_where_and_the_limit() {
    let world = World::new().await;
    let foreign = world.token(TokenKind::Ingest, "other").await;
    let entry = json!({ "epoch": 1, "seq": 1, "digest": "0".repeat(64) });
    let with = |patch: Value| {
        let mut body = request(&HeldMap::new());
        body.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        body.to_string()
    };
    let held = |name: &str| with(json!({ "held": { name: entry } }));
    let many: serde_json::Map<_, _> =
        (0..=REPLICA_ENVIRONMENT_COUNT_MAX).map(|n| (format!("default/demo/e{n}"), entry.clone())).collect();
    let ok = with(json!({}));
    for (token, body, status, code, words) in [
        ("nobody", ok.clone(), 401, "unauthorized", "unknown"),
        (&world.admin, ok.clone(), 403, "forbidden", "ingest"),
        (&foreign, held("default/demo/production"), 403, "wrong_tenant", "default/demo/production"),
        (&world.ingest, with(json!({ "region": "mars" })), 404, "unknown_replica", "regions local"),
        (&world.ingest, with(json!({ "shard": 1 })), 404, "unknown_replica", "shards 0 to 0"),
        (&world.ingest, with(json!({ "shard": 70_000 })), 400, "bad_schema", "shard"),
        (&world.ingest, with(json!({ "more": 1 })), 400, "bad_schema", "more"),
        (&world.ingest, held("default/demo"), 400, "bad_pull", "\"default/demo\""),
        (&world.ingest, held("default/demo/A B"), 400, "bad_pull", "A B"),
        (
            &world.ingest,
            with(json!({ "held": many })),
            400,
            "bad_pull",
            "1001 environments, the limit is 1000",
        ),
        (&world.ingest, "{".to_owned(), 400, "bad_json", "ends too early"),
        (&world.ingest, ok, 200, "", ""),
    ] {
        let answer = world.send(token, "POST", "/v1/replica/pull", body.into_bytes()).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{}", answer.body);
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(words), "{detail}");
    }
}
