//! The replica among several environments: what is stored, refused, vouched for, told and pulled.

use std::collections::BTreeMap;

use flagfuse_shared::contract::replica::map_digest;
use flagfuse_shared::ids::TenantKey;
use flagfuse_shared::limits::BEAT_VALID_MS;
use flagfuse_shared::snapshot::beat::sign_beat;
use flagfuse_shared::snapshot::manifest::Keyset;
use flagfuse_shared::snapshot::sign::Release;
use flagfuse_testing::{NOW, content, key, keyset, release, role, roots, signed_under};

use super::*;

fn scope(environment: &str) -> Scope {
    Scope::parse(&format!("default/demo/{environment}")).unwrap()
}

/// A frame under a keyset whose beats are signed by the key of `freshness_seed`.
fn frame_under(keyset_version: u64, freshness_seed: u8, environment: &str, seq: u64) -> Vec<u8> {
    let mut keyset = Keyset { keyset_version, ..keyset() };
    keyset.roles.freshness = role(freshness_seed);
    let release = Release { scope: scope(environment), keyset_version, ..release(seq) };
    signed_under(&keyset, &release, &content(&[])).frame
}

fn frame(environment: &str, seq: u64) -> Vec<u8> {
    frame_under(1, 3, environment, seq)
}

fn empty() -> ReplicaMachine {
    let identity =
        Identity { region: "weur".to_owned(), tenant: TenantKey::parse("default").unwrap(), shard: 2 };
    ReplicaMachine::load(identity, BTreeMap::new(), None, &roots(), NOW)
}

fn publish(replica: &mut ReplicaMachine, environment: &str, frame: &[u8]) -> ReplicaStep {
    let message = PlaneMessage::Publish { scope: scope(environment), urgency: Urgency::Ordinary, frame };
    replica.hear(message, Via::Push, &roots(), NOW)
}

/// Publishes as the shell does: the replica hears of a write only after it.
fn store(replica: &mut ReplicaMachine, environment: &str, frame: &[u8]) -> ReplicaMessage {
    match publish(replica, environment, frame) {
        ReplicaStep::Store(publication) => replica.stored(&publication),
        other => panic!("{other:?}"),
    }
}

fn refusal(step: ReplicaStep) -> String {
    match step {
        ReplicaStep::Say(ReplicaMessage::Nack { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

fn beat_by(seed: u8, beat_no: u64, held: &HeldMap, issued_ms: UnixMillis) -> Vec<u8> {
    let beat = Beat {
        issuer: "plane-1".to_owned(),
        map_sha256: map_digest(held),
        count: held.len(),
        issued_ms,
        valid_ms: BEAT_VALID_MS,
        beat_no,
    };
    sign_beat(&beat, &[key(seed)]).unwrap()
}

fn hear_beat(replica: &mut ReplicaMachine, envelope: &[u8], now: UnixMillis) -> ReplicaStep {
    replica.hear(PlaneMessage::Beat(envelope), Via::Push, &roots(), now)
}

#[test]
fn a_publication_counts_only_once_its_row_is_written() {
    let mut replica = empty();
    let first = frame("dev", 1);
    let ReplicaStep::Store(publication) = publish(&mut replica, "dev", &first) else { panic!() };
    assert_eq!((publication.row.frame.as_slice(), replica.held().len()), (first.as_slice(), 0));
    assert_eq!(replica.probe(&scope("dev"), None, NOW).version, None, "nothing is served before the write");

    let said = replica.stored(&publication);
    let ReplicaMessage::Ack { region, shard, scope: acked, held, keyset_version, stored_ms } = said else {
        panic!("{said:?}")
    };
    assert_eq!((region.as_str(), shard, acked.as_str()), ("weur", 2, "default/demo/dev"));
    assert_eq!((held.seq, keyset_version, stored_ms), (1, 1, NOW));
    let repeated = publish(&mut replica, "dev", &first);
    assert!(matches!(repeated, ReplicaStep::Say(ReplicaMessage::Ack { held: again, .. }) if again == held));
}

#[test]
fn environments_do_not_disturb_each_other() {
    let mut replica = empty();
    store(&mut replica, "dev", &frame("dev", 7));
    store(&mut replica, "prod", &frame("prod", 2));
    assert_eq!(refusal(publish(&mut replica, "dev", &frame("dev", 6))), "E_ROLLBACK");
    assert_eq!(refusal(publish(&mut replica, "dev", &frame("prod", 8))), "E_SCOPE");
    let held: Vec<_> = replica.held().into_iter().map(|(scope, held)| (scope, held.seq)).collect();
    assert_eq!(held, [("default/demo/dev".to_owned(), 7), ("default/demo/prod".to_owned(), 2)]);
    assert_eq!(replica.refusals(), &BTreeMap::from([("E_ROLLBACK", 1), ("E_SCOPE", 1)]));
}

#[test]
fn another_tenant_and_one_environment_too_many_are_refused() {
    let mut replica = empty();
    let foreign = PlaneMessage::Publish {
        scope: Scope::parse("other/demo/dev").unwrap(),
        urgency: Urgency::Urgent,
        frame: &frame("dev", 1),
    };
    assert_eq!(refusal(replica.hear(foreign, Via::Push, &roots(), NOW)), "E_SCOPE");

    let ReplicaStep::Store(first) = publish(&mut replica, "dev", &frame("dev", 1)) else { panic!() };
    for n in 0..REPLICA_ENVIRONMENT_COUNT_MAX - 1 {
        replica.stored(&Publication { scope: scope(&format!("e{n}")), ..(*first).clone() });
    }
    store(&mut replica, "last", &frame("last", 1));
    assert_eq!(refusal(publish(&mut replica, "dev", &frame("dev", 1))), "E_FULL");
    store(&mut replica, "last", &frame("last", 2));
}

#[test]
fn a_keyset_that_is_old_for_one_environment_is_old_for_all() {
    let mut replica = empty();
    let old = frame_under(1, 3, "dev", 1);
    store(&mut replica, "dev", &old);
    store(&mut replica, "prod", &frame_under(2, 4, "prod", 1));
    assert_eq!(refusal(publish(&mut replica, "dev", &frame_under(1, 3, "dev", 2))), "E_KEYSET");
    assert_eq!(refusal(publish(&mut replica, "new", &frame_under(1, 3, "new", 1))), "E_KEYSET");
    assert!(matches!(publish(&mut replica, "dev", &old), ReplicaStep::Say(ReplicaMessage::Ack { .. })));
    store(&mut replica, "dev", &frame_under(2, 4, "dev", 2));
    // The newer keyset's freshness key counts, the older one's no longer.
    let held = replica.held();
    assert_eq!(refusal(hear_beat(&mut replica, &beat_by(3, 1, &held, NOW), NOW)), "E_KEY");
    assert_eq!(hear_beat(&mut replica, &beat_by(4, 1, &held, NOW), NOW), ReplicaStep::Nothing);
}

#[test]
fn a_beat_vouches_for_exactly_what_is_held() {
    let mut replica = empty();
    assert!(matches!(
        hear_beat(&mut replica, &beat_by(3, 1, &HeldMap::new(), NOW), NOW),
        ReplicaStep::Say(ReplicaMessage::Hello { .. })
    ));
    store(&mut replica, "dev", &frame("dev", 1));
    let held = replica.held();
    assert!(!replica.probe(&scope("dev"), None, NOW).is_vouched);
    assert_eq!(hear_beat(&mut replica, &beat_by(3, 1, &held, NOW), NOW), ReplicaStep::Nothing);
    let reply = replica.probe(&scope("dev"), Some(SnapshotVersion { epoch: 1, seq: 1 }), NOW.plus(40));
    assert_eq!((reply.is_newer, reply.is_vouched, reply.beat_age_ms), (false, true, Some(40)));

    // Something newer exists: the replica says what it has, and the older word ends by itself.
    let mut ahead = held;
    for held in ahead.values_mut() {
        held.seq += 1;
    }
    let said = hear_beat(&mut replica, &beat_by(3, 2, &ahead, NOW.plus(500)), NOW.plus(500));
    assert_eq!(said, ReplicaStep::Say(replica.hello()));
    assert!(replica.vouched(NOW.plus(BEAT_VALID_MS)).0);
    assert!(!replica.vouched(NOW.plus(BEAT_VALID_MS + 1)).0);
    assert_eq!(refusal(hear_beat(&mut replica, &beat_by(3, 2, &ahead, NOW), NOW)), "E_ROLLBACK");
}

#[test]
fn a_probe_never_sends_an_isolate_back() {
    let mut replica = empty();
    store(&mut replica, "dev", &frame("dev", 5));
    let version = |seq| SnapshotVersion { epoch: 1, seq };
    for (have, is_newer) in [(None, true), (Some(4), true), (Some(5), false), (Some(6), false)] {
        let reply = replica.probe(&scope("dev"), have.map(version), NOW);
        assert_eq!((reply.version, reply.is_newer), (Some(version(5)), is_newer), "{have:?}");
    }
    assert_eq!(replica.probe(&scope("made-up"), None, NOW).version, None);
}

#[test]
fn a_silent_control_plane_is_asked_and_its_answer_is_heard_like_a_push() {
    let mut replica = empty();
    let request = replica.alarm(NOW).expect("nobody was heard yet");
    assert_eq!((request.region.as_str(), request.shard, request.held.len()), ("weur", 2, 0));
    let message =
        PlaneMessage::Publish { scope: scope("dev"), urgency: Urgency::Ordinary, frame: &frame("dev", 1) };
    let ReplicaStep::Store(publication) = replica.hear(message, Via::Pull, &roots(), NOW) else { panic!() };
    replica.stored(&publication);
    let envelope = beat_by(3, 1, &replica.held(), NOW);
    assert_eq!(replica.hear(PlaneMessage::Beat(&envelope), Via::Pull, &roots(), NOW), ReplicaStep::Nothing);
    replica.pulled(PullEnd::Answered, 0.5, NOW);
    assert!(replica.vouched(NOW).0);

    let held = replica.held();
    hear_beat(&mut replica, &beat_by(3, 2, &held, NOW), NOW);
    assert_eq!(replica.alarm(NOW.plus(BEAT_VALID_MS - 1)), None);
    assert!(replica.alarm(NOW.plus(BEAT_VALID_MS)).is_some());
}

#[test]
fn what_was_on_disk_is_held_after_a_restart_but_nobody_vouches_for_it_yet() {
    let mut replica = empty();
    store(&mut replica, "dev", &frame_under(1, 3, "dev", 3));
    let newest = frame_under(2, 4, "prod", 1);
    store(&mut replica, "prod", &newest);
    let held = replica.held();
    hear_beat(&mut replica, &beat_by(4, 1, &held, NOW), NOW);

    let ReplicaMachine { identity, marks, .. } = replica;
    let mut restarted = ReplicaMachine::load(identity, marks, Some(&newest), &roots(), NOW);
    assert_eq!(restarted.held(), held);
    assert!(!restarted.vouched(NOW).0);
    assert_eq!(hear_beat(&mut restarted, &beat_by(4, 2, &held, NOW), NOW), ReplicaStep::Nothing);
    assert!(restarted.vouched(NOW).0);
}

#[test]
fn what_is_unknown_is_ignored_and_a_nudge_is_passed_on() {
    let mut replica = empty();
    assert_eq!(replica.hear(PlaneMessage::Unknown, Via::Push, &roots(), NOW), ReplicaStep::Nothing);
    assert_eq!(replica.hear(PlaneMessage::Nudge, Via::Push, &roots(), NOW), ReplicaStep::Nudge);
}
