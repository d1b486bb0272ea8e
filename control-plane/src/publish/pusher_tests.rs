//! Rows: when, what happened, what is done about it.

use flagfuse_shared::contract::replica::map_digest;
use flagfuse_shared::digest::Digest;

use super::*;

const A: &str = "t/p/a";
const B: &str = "t/p/b";

fn version(seq: u64) -> HeldVersion {
    HeldVersion { epoch: 1, seq, digest: Digest::of(seq.to_string().as_bytes()) }
}

fn map(held: &[(&str, u64)]) -> HeldMap {
    held.iter().map(|(scope, seq)| ((*scope).to_owned(), version(*seq))).collect()
}

fn target(wanted: &[(&str, u64)]) -> Input {
    urgent_target(wanted, &[])
}

fn urgent_target(wanted: &[(&str, u64)], urgent: &[(&str, u64)]) -> Input {
    let urgent_of =
        |scope: &str| urgent.iter().find(|(name, _)| *name == scope).map(|(_, seq)| version(*seq).version());
    let entry = |(scope, seq): &(&str, u64)| {
        ((*scope).to_owned(), Wanted { held: version(*seq), urgent: urgent_of(scope) })
    };
    Input::Target(Arc::new(Target::new(wanted.iter().map(entry).collect())))
}

fn hello_with(held: HeldMap) -> Input {
    Input::Said(ReplicaMessage::Hello {
        region: "eu".to_owned(),
        shard: 0,
        held,
        reader: 0,
        formats: Vec::new(),
    })
}

fn hello(held: &[(&str, u64)]) -> Input {
    hello_with(map(held))
}

fn ack(scope: &str, seq: u64) -> Input {
    Input::Said(ReplicaMessage::Ack {
        region: "eu".to_owned(),
        shard: 0,
        scope: scope.to_owned(),
        held: version(seq),
        keyset_version: 1,
        stored_ms: UnixMillis(seq),
    })
}

fn nack(scope: Option<&str>, code: &str) -> Input {
    Input::Said(ReplicaMessage::Nack {
        region: "eu".to_owned(),
        shard: 0,
        scope: scope.map(str::to_owned),
        code: code.to_owned(),
        detail: "because".to_owned(),
        held: None,
    })
}

/// Outputs as short words, so that a test is a table. Which reader it is has a test of its own.
fn words(outputs: &[Output]) -> Vec<String> {
    let word = |output: &Output| match output {
        Output::Publish { scope, version, urgency: Urgency::Urgent } => {
            format!("urgent {scope} {}", version.seq)
        }
        Output::Publish { scope, version, .. } => format!("publish {scope} {}", version.seq),
        Output::Beat { beat_no, claim } => format!("beat {beat_no} of {}", claim.count),
        Output::Nudge => "nudge".to_owned(),
        Output::Ping => "ping".to_owned(),
        Output::Record(Receipt::Held { scope, held, stored_ms, .. }) => {
            format!("{} {scope} {}", if stored_ms.is_some() { "stored" } else { "holds" }, held.seq)
        }
        Output::Record(Receipt::Refused { scope, code, .. }) => format!("refused {scope} {code}"),
        Output::Record(Receipt::Reader { reader, .. }) => format!("reader {reader}"),
        Output::Record(Receipt::BeatRefused { code, .. }) => format!("beat refused {code}"),
        Output::Record(Receipt::Forked { scope, held, .. }) => format!("forked {scope} {}", held.seq),
        Output::HangUp(why) => format!("hang up: {why}"),
    };
    let is_told = |output: &&Output| !matches!(output, Output::Record(Receipt::Reader { reader: 0, .. }));
    outputs.iter().filter(is_told).map(word).collect()
}

/// Steps a pusher through rows of time, input and the expected words.
fn walk(pusher: &mut Pusher, rows: Vec<(u64, Input, &[&str])>) {
    for (at, input, expected) in rows {
        let shown = format!("{at} ms: {input:?}");
        assert_eq!(words(&pusher.step(input, Moment(at))), expected, "{shown}");
    }
}

/// A pusher whose replica holds A in version 1, as it should.
fn settled() -> Pusher {
    let mut pusher = Pusher::new();
    walk(
        &mut pusher,
        vec![
            (0, Input::Connected, &["nudge"]),
            (0, target(&[(A, 1)]), &[]),
            (0, hello(&[(A, 1)]), &["holds t/p/a 1", "beat 1 of 1"]),
        ],
    );
    pusher
}

#[test]
fn a_hello_is_answered_by_what_is_missing_and_a_beat_behind_it() {
    let mut pusher = Pusher::new();
    walk(
        &mut pusher,
        vec![
            (0, Input::Connected, &["nudge"]),
            (1, target(&[(A, 3), (B, 2)]), &[]),
            (2, hello(&[(A, 1)]), &["holds t/p/a 1", "publish t/p/a 3", "publish t/p/b 2", "beat 1 of 2"]),
            (3, ack(A, 3), &["stored t/p/a 3"]),
            (4, ack(B, 2), &["stored t/p/b 2"]),
            (501, Input::Tick, &[]),
            (502, Input::Tick, &["beat 2 of 2"]),
            (1_002, Input::Tick, &["ping", "beat 3 of 2"]),
        ],
    );
}

#[test]
fn a_beat_waits_for_what_it_vouches_for_and_names_the_newest() {
    let mut pusher = settled();
    walk(
        &mut pusher,
        vec![
            (490, target(&[(A, 2)]), &["publish t/p/a 2"]),
            (491, target(&[(A, 3)]), &["publish t/p/a 3"]),
            (492, target(&[(A, 4)]), &["publish t/p/a 4"]),
            (493, target(&[(A, 5)]), &["publish t/p/a 5"]),
            // Four are on their way: what comes now waits for an answer, and is sent as one.
            (494, target(&[(A, 6)]), &[]),
            (495, target(&[(A, 7)]), &[]),
            (500, Input::Tick, &[]),
            (600, ack(A, 2), &["stored t/p/a 2", "publish t/p/a 7", "beat 2 of 1"]),
            (601, ack(A, 3), &["stored t/p/a 3"]),
            (602, ack(A, 7), &["stored t/p/a 7"]),
            (603, target(&[(A, 8)]), &["publish t/p/a 8"]),
        ],
    );
    let claim =
        Target::new(BTreeMap::from([(A.to_owned(), Wanted { held: version(3), urgent: None })])).claim();
    assert_eq!(claim, Claim { map_sha256: map_digest(&map(&[(A, 3)])), count: 1 });
}

#[test]
fn a_frame_that_another_control_plane_has_overtaken_is_no_refusal() {
    let rollback = |held: u64| {
        let Input::Said(ReplicaMessage::Nack { region, shard, scope, code, detail, .. }) =
            nack(Some(A), "E_ROLLBACK")
        else {
            panic!("it is one")
        };
        let held = Some(version(held));
        Input::Said(ReplicaMessage::Nack { region, shard, scope, code, detail, held })
    };
    let mut pusher = settled();
    walk(
        &mut pusher,
        vec![
            (100, target(&[(A, 2)]), &["publish t/p/a 2"]),
            // By the time of the answer the database knows what the other one sent.
            (110, target(&[(A, 3)]), &["publish t/p/a 3"]),
            (120, rollback(3), &["holds t/p/a 3"]),
            (130, ack(A, 3), &["stored t/p/a 3"]),
            // What this database never signed is a fork, whoever brought it; and an older one is none of these.
            (140, target(&[(A, 4)]), &["publish t/p/a 4"]),
            (150, rollback(9), &["holds t/p/a 9", "forked t/p/a 9"]),
        ],
    );
    let mut pusher = settled();
    walk(
        &mut pusher,
        vec![
            (100, target(&[(A, 2)]), &["publish t/p/a 2"]),
            (110, rollback(1), &["refused t/p/a E_ROLLBACK"]),
        ],
    );
}

#[test]
fn a_frame_or_an_acknowledgement_that_is_lost_is_made_up_for() {
    let mut pusher = settled();
    let lost_frame = "hang up: the frame of t/p/a was not answered within 2000 ms";
    walk(
        &mut pusher,
        vec![
            (100, target(&[(A, 2)]), &["publish t/p/a 2"]),
            (500, Input::Tick, &["beat 2 of 1"]),
            // The frame was lost, so the beat did not match: at once, then at the pace of beats.
            (510, hello(&[(A, 1)]), &["publish t/p/a 2", "beat 3 of 1"]),
            (520, hello(&[(A, 1)]), &[]),
            (1_010, Input::Tick, &["ping", "beat 4 of 1"]),
            (1_020, hello(&[(A, 1)]), &["publish t/p/a 2", "beat 5 of 1"]),
            (2_099, Input::Heard, &["beat 6 of 1"]),
            (2_100, Input::Tick, &[lost_frame]),
            (2_100, Input::Tick, &[]),
            // The next connection begins with what the replica holds; this time the acknowledgement was lost.
            (2_200, Input::Connected, &["nudge"]),
            (2_210, hello(&[(A, 1)]), &["holds t/p/a 1", "publish t/p/a 2", "beat 7 of 1"]),
            (2_220, hello(&[(A, 2)]), &["holds t/p/a 2"]),
            (4_300, Input::Heard, &["beat 8 of 1"]),
            (4_300, Input::Tick, &["ping"]),
        ],
    );
}

#[test]
fn an_answer_gives_time_to_those_behind_it_and_to_nobody_before_it() {
    let late = "hang up: the frame of t/p/a was not answered within 2000 ms";
    for (first, second, end) in [(A, B, "ping"), (B, A, late)] {
        let mut pusher = settled();
        let order = [(A, 2), (B, 2)];
        walk(&mut pusher, vec![(100, target(&order), &["publish t/p/a 2", "publish t/p/b 2"])]);
        pusher.step(ack(first, 2), Moment(1_900));
        assert_eq!(words(&pusher.step(Input::Tick, Moment(2_200)))[0], end, "{first} before {second}");
    }
}

#[test]
fn refusals_are_of_the_oldest_frame_on_the_wire_and_the_next_ones_still_count() {
    let mut pusher = settled();
    walk(
        &mut pusher,
        vec![
            (10, target(&[(A, 2)]), &["publish t/p/a 2"]),
            (20, target(&[(A, 3)]), &["publish t/p/a 3"]),
            (30, nack(Some(A), "E_DIGEST"), &["refused t/p/a E_DIGEST"]),
            (40, ack(A, 3), &["stored t/p/a 3"]),
            (50, target(&[(A, 4)]), &["publish t/p/a 4"]),
            (60, nack(Some(A), "E_DIGEST"), &["refused t/p/a E_DIGEST"]),
            // Refused, and nothing newer: it waits for the next nudge.
            (70, target(&[(A, 4)]), &[]),
        ],
    );
}

#[test]
fn a_replica_that_takes_frames_and_answers_none_is_given_up_in_time() {
    let mut pusher = settled();
    for (at, seq) in [(100, 2), (600, 3), (1_100, 4), (1_600, 5)] {
        pusher.step(target(&[(A, seq)]), Moment(at));
        pusher.step(Input::Written(A.to_owned()), Moment(at));
        pusher.step(Input::Heard, Moment(at));
    }
    assert_eq!(
        words(&pusher.step(Input::Tick, Moment(2_100))),
        ["hang up: the frame of t/p/a was not answered within 2000 ms"]
    );
}

#[test]
fn a_refused_frame_is_not_sent_again_before_the_next_nudge_unless_there_is_a_newer_one() {
    let mut pusher = settled();
    walk(
        &mut pusher,
        vec![
            (100, target(&[(A, 2)]), &["publish t/p/a 2"]),
            (110, nack(Some(A), "E_STORE"), &["refused t/p/a E_STORE"]),
            (500, Input::Tick, &["beat 2 of 1"]),
            (510, hello(&[(A, 1)]), &[]),
            (600, target(&[(A, 3)]), &["publish t/p/a 3"]),
            (610, nack(Some(A), "E_STORE"), &["refused t/p/a E_STORE"]),
            (29_999, Input::Heard, &["beat 3 of 1"]),
            (30_000, Input::Tick, &["ping", "nudge", "publish t/p/a 3"]),
            (30_001, nack(None, "E_KEY"), &["beat refused E_KEY"]),
        ],
    );
}

#[test]
fn a_fork_is_noted_once_and_stops_nobody_else() {
    let other = HeldMap::from([(A.to_owned(), HeldVersion { digest: Digest::of(b"other"), ..version(5) })]);
    for (held, seq) in [(map(&[(A, 900)]), 900), (other, 5)] {
        let mut pusher = Pusher::new();
        let (holds, forked) = (format!("holds t/p/a {seq}"), format!("forked t/p/a {seq}"));
        walk(
            &mut pusher,
            vec![
                (0, Input::Connected, &["nudge"]),
                (0, target(&[(A, 5), (B, 1)]), &[]),
                (0, hello_with(held.clone()), &[&holds, &forked, "publish t/p/b 1", "beat 1 of 2"]),
                (10, ack(B, 1), &["stored t/p/b 1"]),
                (
                    20,
                    hello_with({
                        let mut both = held.clone();
                        both.extend(map(&[(B, 1)]));
                        both
                    }),
                    &[],
                ),
                (30, target(&[(A, 5), (B, 2)]), &["publish t/p/b 2"]),
                // An operator has raised the version above the held one.
                (40, target(&[(A, 901), (B, 2)]), &["publish t/p/a 901"]),
                (50, ack(A, 901), &["stored t/p/a 901"]),
            ],
        );
    }
}

#[test]
fn an_acknowledgement_of_the_same_version_with_another_digest_is_a_fork() {
    let other = HeldVersion { digest: Digest::of(b"other"), ..version(2) };
    let Input::Said(ReplicaMessage::Ack { region, shard, scope, keyset_version, stored_ms, .. }) = ack(A, 2)
    else {
        unreachable!()
    };
    let ack_of_other =
        Input::Said(ReplicaMessage::Ack { region, shard, scope, held: other, keyset_version, stored_ms });
    let mut pusher = settled();
    walk(
        &mut pusher,
        vec![
            (10, target(&[(A, 2)]), &["publish t/p/a 2"]),
            (20, ack_of_other.clone(), &["stored t/p/a 2", "forked t/p/a 2"]),
            (30, ack_of_other, &["stored t/p/a 2"]),
            // Newer than what was read last: another control plane may have published it.
            (40, ack(A, 3), &["stored t/p/a 3"]),
        ],
    );
}

#[test]
fn who_has_a_signed_version_before_its_turn_is_early_and_not_forked() {
    let wanted = BTreeMap::from([(A.to_owned(), Wanted { held: version(2), urgent: None })]);
    let later = BTreeMap::from([(A.to_owned(), vec![version(4), version(3)])]);
    let target = Arc::new(Target::new(wanted).with_later(later));
    let forged = HeldVersion { digest: Digest::of(b"forged"), ..version(3) };
    for (held, is_forked) in [(version(3), false), (version(4), false), (version(5), true), (forged, true)] {
        let mut pusher = Pusher::new();
        pusher.step(Input::Connected, Moment(0));
        pusher.step(Input::Target(Arc::clone(&target)), Moment(0));
        let found = words(&pusher.step(hello_with(HeldMap::from([(A.to_owned(), held)])), Moment(0)));
        assert_eq!(found.contains(&format!("forked {A} {}", held.seq)), is_forked, "{held:?}: {found:?}");
        assert!(found.contains(&format!("holds {A} {}", held.seq)), "{found:?}");
        // It vouches for what the region should have: nothing is taken back, and nothing else is called fresh.
        assert!(found.contains(&"beat 1 of 1".to_owned()), "{found:?}");
    }
}

#[test]
fn an_environment_that_the_database_does_not_know_is_a_fork() {
    let mut pusher = Pusher::new();
    walk(
        &mut pusher,
        vec![
            (0, Input::Connected, &["nudge"]),
            (0, target(&[(A, 1)]), &[]),
            (
                0,
                hello(&[(A, 1), (B, 1)]),
                &["holds t/p/a 1", "holds t/p/b 1", "forked t/p/b 1", "beat 1 of 1"],
            ),
        ],
    );
}

#[test]
fn what_another_control_plane_published_is_no_fork_once_the_database_was_read() {
    let mut pusher = settled();
    walk(&mut pusher, vec![(100, target(&[(A, 2)]), &["publish t/p/a 2"])]);
    // The other one published version 3 in between: read first, then hear.
    let hears: Vec<(u64, Input, &[&str])> =
        vec![(110, target(&[(A, 3)]), &["publish t/p/a 3"]), (110, hello(&[(A, 3)]), &["holds t/p/a 3"])];
    walk(&mut pusher, hears);
    // The refusal of the frame that came too late, with the replica's word for what it holds.
    walk(&mut pusher, vec![(500, Input::Tick, &["beat 2 of 1"])]);
}

#[test]
fn urgent_frames_go_first_and_stay_urgent_when_an_ordinary_version_overtakes_them() {
    let mut pusher = Pusher::new();
    walk(
        &mut pusher,
        vec![
            (0, Input::Connected, &["nudge"]),
            (0, urgent_target(&[(A, 9), (B, 9)], &[(A, 3), (B, 8)]), &[]),
            (
                0,
                hello(&[(A, 5), (B, 7)]),
                &["holds t/p/a 5", "holds t/p/b 7", "urgent t/p/b 9", "publish t/p/a 9", "beat 1 of 2"],
            ),
        ],
    );
}

#[test]
fn an_answer_that_comes_late_takes_nothing_back() {
    let mut pusher = settled();
    walk(
        &mut pusher,
        vec![
            (10, target(&[(A, 2)]), &["publish t/p/a 2"]),
            (20, ack(A, 1), &["stored t/p/a 1"]),
            (30, ack(A, 2), &["stored t/p/a 2"]),
            (40, ack(A, 1), &["stored t/p/a 1"]),
            (50, Input::Heard, &[]),
        ],
    );
}

#[test]
fn the_wire_holds_so_many_frames_and_acknowledgements_make_room() {
    let names: Vec<String> = (0..IN_FLIGHT_COUNT_MAX + 2).map(|n| format!("t/p/e{n:03}")).collect();
    let wanted: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let mut pusher = Pusher::new();
    pusher.step(Input::Connected, Moment(0));
    pusher.step(target(&wanted), Moment(0));
    let sent = words(&pusher.step(hello(&[]), Moment(0)));
    assert_eq!(sent.len(), IN_FLIGHT_COUNT_MAX, "no beat either: {sent:?}");
    for (n, name) in names.iter().enumerate() {
        let out = words(&pusher.step(ack(name, 1), Moment(1)));
        match n {
            0 => assert_eq!(out[1..], ["publish t/p/e064 1"]),
            1 => {
                assert_eq!(out[1..], ["publish t/p/e065 1".to_owned(), format!("beat 1 of {}", names.len())]);
            }
            _ => assert_eq!(out.len(), 1, "{out:?}"),
        }
    }
}

#[test]
fn a_link_without_hello_or_without_a_word_is_given_up() {
    let mut pusher = Pusher::new();
    pusher.step(Input::Connected, Moment(0));
    pusher.step(Input::Heard, Moment(4_999));
    walk(&mut pusher, vec![(5_000, Input::Tick, &["hang up: no hello within 5000 ms"])]);
    let mut pusher = settled();
    assert_eq!(words(&pusher.step(Input::Tick, Moment(1_000))), ["ping", "beat 2 of 1"]);
    assert_eq!(words(&pusher.step(Input::Tick, Moment(3_499))), ["ping", "beat 3 of 1"]);
    walk(&mut pusher, vec![(3_500, Input::Tick, &["hang up: nothing was heard for 3500 ms"])]);
}

#[test]
fn whoever_stood_still_asks_before_it_calls_a_link_dead() {
    // Nothing was asked since 500: the process, and everything with it, stood still for ten seconds.
    let mut pusher = settled();
    assert_eq!(words(&pusher.step(Input::Tick, Moment(500))), ["beat 2 of 1"]);
    assert_eq!(words(&pusher.step(Input::Tick, Moment(10_000))), ["ping", "beat 3 of 1"]);
    pusher.step(Input::Heard, Moment(10_020));
    assert_eq!(words(&pusher.step(Input::Tick, Moment(12_600))), ["ping", "beat 4 of 1"]);

    // And a link that is dead is found to be so soon after.
    let mut pusher = settled();
    assert_eq!(words(&pusher.step(Input::Tick, Moment(10_000))), ["ping", "beat 2 of 1"]);
    assert_eq!(words(&pusher.step(Input::Tick, Moment(12_499))), ["ping", "beat 3 of 1"]);
    assert_eq!(pusher.next_tick(), Some(Moment(12_500)));
    walk(&mut pusher, vec![(12_500, Input::Tick, &["hang up: nothing was heard for 3500 ms"])]);
}

#[test]
fn the_next_tick_is_the_first_that_has_something_to_do() {
    let mut pusher = Pusher::new();
    assert_eq!(pusher.next_tick(), None);
    pusher.step(Input::Connected, Moment(0));
    assert_eq!(pusher.next_tick(), Some(Moment(PING_INTERVAL_MS)));
    let mut pusher = settled();
    assert_eq!(pusher.next_tick(), Some(Moment(BEAT_INTERVAL_MS)));
    assert!(
        !pusher.is_beat_due(Moment(BEAT_INTERVAL_MS - 1)) && pusher.is_beat_due(Moment(BEAT_INTERVAL_MS))
    );
    for seq in 2..=6 {
        pusher.step(target(&[(A, seq)]), Moment(10));
    }
    assert_eq!(
        pusher.next_tick(),
        Some(Moment(PING_INTERVAL_MS)),
        "the beat waits for an answer, not for time"
    );
    pusher.step(Input::Closed, Moment(30));
    assert_eq!(pusher.next_tick(), None);
}

#[test]
fn a_replica_says_once_which_reader_it_is_and_goes_on_to_be_known_while_it_is_connected() {
    let says = |reader| {
        Input::Said(ReplicaMessage::Hello {
            region: "eu".to_owned(),
            shard: 0,
            held: map(&[(A, 1)]),
            reader,
            formats: vec![1, 2],
        })
    };
    let mut pusher = Pusher::new();
    walk(
        &mut pusher,
        vec![
            (0, Input::Connected, &["nudge"]),
            (0, target(&[(A, 1)]), &[]),
            (0, says(7), &["reader 7", "holds t/p/a 1", "beat 1 of 1"]),
            (1, says(7), &[]),
            (2, says(8), &["reader 8"]),
        ],
    );
    let told = |pusher: &mut Pusher, at| {
        pusher.step(Input::Heard, Moment(at));
        words(&pusher.step(Input::Tick, Moment(at)))
    };
    assert!(!told(&mut pusher, NUDGE_INTERVAL_MS - 1).contains(&"reader 8".to_owned()));
    assert!(told(&mut pusher, NUDGE_INTERVAL_MS).contains(&"reader 8".to_owned()));
}
