//! Hostile pushes to a real replica: each is refused with its stable code and the old version goes on being served.

use flagfuse_shared::ids::SnapshotVersion;
use flagfuse_shared::snapshot::envelope::{Segments, encode_frame, split_frame};
use flagfuse_shared::snapshot::sign::PrivateKey;
use support::World;
use support::plane::{Draft, Keys, Replica, scope};

#[test]
fn a_hostile_push_never_counts() {
    let world = World::start("tamper");
    let token = world.stack.secrets().push_token.clone();
    let dial = |token| Replica::dial(&world.stack.edge_url(1), "local", 0, token);
    assert_eq!(dial(None).err(), Some(401));
    assert_eq!(dial(Some("wrong")).err(), Some(401));

    let mut replica = dial(Some(&token)).unwrap();
    let demo = scope("demo/production");
    let held = replica.held(&demo).expect("the demo was published").version();
    let keys = Keys::read(&world.data_dir.join("control-plane"));
    let next = SnapshotVersion { seq: held.seq + 1, ..held };
    let frame = |version, mark: &str, signer| keys.frame_by(&Draft::new(demo.clone(), version, mark), signer);
    let good = frame(next, "good", &keys.release);

    let stranger = PrivateKey::from_seed(&[7; 32]);
    let older = SnapshotVersion { seq: held.seq - 1, ..held };
    let far = SnapshotVersion { seq: held.seq + (1 << 20) + 1, ..held };
    let past_epoch = SnapshotVersion { epoch: held.epoch - 1, seq: held.seq + 5 };
    let other_payload = {
        let other = frame(next, "other", &keys.release);
        let (a, b) = (split_frame(&good).unwrap(), split_frame(&other).unwrap());
        let mut payload = b.payload.to_vec();
        payload[0] ^= 1;
        encode_frame(Segments { payload: &payload, ..a })
    };
    let mut long = good.clone();
    long.push(0);
    let rows = [
        ("E_ROLLBACK", frame(older, "x", &keys.release)),
        ("E_EQUIV", frame(held, "x", &keys.release)),
        ("E_EPOCH", frame(past_epoch, "x", &keys.release)),
        ("E_FASTFWD", frame(far, "x", &keys.release)),
        ("E_SCOPE", keys.frame(&Draft::new(scope("other/production"), next, "x"))),
        ("E_KEY", frame(next, "x", &stranger)),
        ("E_KEY", frame(next, "x", &keys.freshness)),
        ("E_KEY", frame(next, "x", &keys.root)),
        ("E_DIGEST", other_payload),
        ("E_TRUNC", good[..good.len() - 1].to_vec()),
        ("E_TRUNC", Vec::new()),
        ("E_SIZE", long),
        ("E_SIZE", vec![0xff; 1_000]),
    ];
    for (at, (code, frame)) in rows.iter().enumerate() {
        assert_eq!(replica.code(&demo, frame), *code, "row {at}");
    }
    // Every 37th bit of the signed part: spread over all fields, short enough to push one by one.
    let payload_len = split_frame(&good).unwrap().payload.len();
    for bit in (0..(good.len() - payload_len) * 8).step_by(37) {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(replica.code(&demo, &flipped), "ack", "bit {bit}");
    }

    // After all that the old version is still what everybody gets, and the replica still takes a good one.
    for index in 0..2 {
        let answer = world.ask(index, "theme", "u").unwrap();
        assert_eq!(answer.header("x-flags-version"), Some(held.to_string().as_str()));
    }
    assert_eq!(replica.code(&demo, &good), "ack");
    assert_eq!(replica.code(&demo, &good), "ack", "a repeat is acknowledged again");
}
