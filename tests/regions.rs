//! Regions on real workerd, told by hand what to hold: who vouches, who helps out, what is left when nobody answers.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::ensure;
use flagfuse_shared::contract::replica::{
    PULL_PATH, PlaneMessage, PullRequest, ReplicaMessage, Urgency, encode_messages,
};
use flagfuse_shared::ids::SnapshotVersion;
use flagfuse_shared::limits::CLOCK_SKEW_MS_MAX;
use serde_json::json;
use support::edge::{INGEST_TOKEN, LoneEdge};
use support::plane::{Draft, Keys, Replica, now, scope};
use support::{Client, PATIENCE, eventually};

#[test]
fn an_answer_is_fresh_only_while_somebody_vouches_for_its_replica() {
    let mut edge = LoneEdge::start("regions-beats", &["weur", "enam", "apac"], "");
    let before = edge.ask("weur", "on").unwrap();
    assert_eq!((before.status, before.header("x-flags-state")), (503, Some("none")), "{}", before.body);
    assert!(before.header("retry-after").is_some());

    let draft = edge.draft(1);
    let other = Draft::new(scope("demo/other"), draft.version, "other");
    let mut replica = edge.dial("weur");
    replica.store(&draft.scope, &edge.keys.frame(&draft)).unwrap();
    replica.store(&other.scope, &edge.keys.frame(&other)).unwrap();
    let answer =
        eventually("what was stored is served", PATIENCE, || edge.ask_for_state("weur", "on", "stale"))
            .unwrap();
    assert_eq!(answer.body["value"], json!(false), "the flag is off while it is stale: {}", answer.body);
    assert_eq!(answer.header("x-flags-beat-age-ms"), None);

    let answer = eventually("a beat makes it fresh", PATIENCE, || {
        replica.vouch(&edge.keys);
        edge.ask_for_state("weur", "on", "fresh")
    })
    .unwrap();
    assert_eq!(answer.body["value"], json!(true));
    let beat_age_ms: u64 = answer.header("x-flags-beat-age-ms").unwrap().parse().unwrap();
    assert!(beat_age_ms <= 2_000, "{beat_age_ms} ms");
    assert_eq!(answer.header("x-flags-region"), Some("weur"));

    // A beat that vouches for something else is answered with what is held.
    let mut ahead = replica.held.clone();
    for held in ahead.values_mut() {
        held.seq += 1;
    }
    // By a clock that is ahead, so that it does not run out on its way.
    let later = now().plus(CLOCK_SKEW_MS_MAX / 2);
    let beat = edge.keys.beat_at(later, "ahead", 1, &ahead);
    replica.send(&PlaneMessage::Beat(&beat));
    let said = replica.read_past_late_beats();
    assert!(matches!(&said, ReplicaMessage::Hello { held, .. } if held.len() == 2), "{said:?}");

    // Silence: still answered, no longer called fresh.
    let answer = eventually("silence is noticed", PATIENCE, || edge.ask_for_state("weur", "on", "stale"));
    assert_eq!(answer.unwrap().body["value"], json!(false));
    let state = edge.state("weur").unwrap();
    assert_eq!((&state["vouched"], &state["held"]["default/demo/dev"]["seq"]), (&json!(false), &json!(1)));

    // What was acknowledged is there after a crash.
    let held = replica.held.clone();
    edge.kill();
    edge.start_again();
    let mut replica = edge.dial("weur");
    assert_eq!(replica.held, held);
    eventually("vouched for again", PATIENCE, || {
        replica.vouch(&edge.keys);
        edge.ask_for_state("weur", "on", "fresh")
    })
    .unwrap();
}

#[test]
fn a_region_without_its_replica_is_served_by_its_neighbour() {
    let edge = LoneEdge::start("regions-neighbour", &["weur", "eeur", "oc"], "");
    let draft = edge.draft(1);
    let mut neighbour = edge.dial("eeur");
    neighbour.store(&draft.scope, &edge.keys.frame(&draft)).unwrap();
    let answer = eventually("the neighbour answers", PATIENCE, || {
        neighbour.vouch(&edge.keys);
        edge.ask_for_state("weur", "on", "fresh")
    })
    .unwrap();
    assert_eq!(answer.header("x-flags-version"), Some("1.1"));
    assert_eq!(edge.state("weur").unwrap()["held"], json!({}), "its own replica has nothing");

    // The own replica gets something newer and the neighbour stays behind: nobody is sent back.
    let mut own = edge.dial("weur");
    let newer = edge.draft(2);
    own.store(&newer.scope, &edge.keys.frame(&newer)).unwrap();
    eventually("the newer one arrives", PATIENCE, || {
        own.vouch(&edge.keys);
        let answer = edge.ask_for_state("weur", "on", "fresh")?;
        ensure!(answer.header("x-flags-version") == Some("1.2"), "{:?}", answer.headers);
        Ok(())
    })
    .unwrap();
    let (mut asked, began) = (0, now());
    while asked < 20 || now().since(began) < 1_000 {
        neighbour.vouch(&edge.keys);
        let answer = edge.ask("weur", "on").unwrap();
        assert_eq!(answer.header("x-flags-version"), Some("1.2"));
        asked += 1;
    }
}

#[test]
fn a_cold_isolate_starts_from_the_copy_until_a_replica_answers() {
    let mut edge = LoneEdge::start("regions-copy", &["weur", "enam"], "");
    let mut replica = edge.dial("weur");
    for seq in 1..=5 {
        let draft = edge.draft(seq);
        replica.store(&draft.scope, &edge.keys.frame(&draft)).unwrap();
    }
    eventually("the copy is written", PATIENCE, || {
        let waiting = edge.state("weur")?["copies_waiting"].clone();
        ensure!(waiting == json!(0), "{waiting} copies are waiting");
        Ok(())
    })
    .unwrap();

    edge.kill();
    fs::remove_dir_all(edge.objects_dir()).unwrap();
    edge.start_again();
    for region in ["weur", "enam"] {
        let answer = eventually("the copy is served", PATIENCE, || {
            edge.ask_for_state(region, "on", "stale-bootstrap")
        })
        .unwrap();
        assert_eq!(answer.header("x-flags-source"), Some("bootstrap"));
        assert_eq!(answer.header("x-flags-version"), Some("1.5"));
        assert_eq!(answer.body["value"], json!(false), "the flag is off while it is stale");
    }
    // A replica that is behind the copy makes nobody go back; one that is not ends the emergency.
    let mut replica = edge.dial("weur");
    let behind = edge.draft(4);
    replica.store(&behind.scope, &edge.keys.frame(&behind)).unwrap();
    replica.vouch(&edge.keys);
    let answer = edge.ask_for_state("weur", "on", "stale-bootstrap").unwrap();
    assert_eq!(answer.header("x-flags-version"), Some("1.5"));
    let newer = edge.draft(6);
    replica.store(&newer.scope, &edge.keys.frame(&newer)).unwrap();
    eventually("the replica takes over", PATIENCE, || {
        replica.vouch(&edge.keys);
        let answer = edge.ask_for_state("weur", "on", "fresh")?;
        ensure!(answer.header("x-flags-version") == Some("1.6"), "{:?}", answer.headers);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_replica_that_hears_nothing_asks_by_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let edge = LoneEdge::start("regions-pull", &["weur"], &url);
    let plane_keys = Keys::made_up();
    let frame = plane_keys.frame(&edge.draft(1));
    std::thread::spawn(move || answer_pulls(&listener, &plane_keys, &frame));
    // The first probe wakes the replica, which was never dialled.
    let answer = eventually("pulled and vouched for", PATIENCE, || edge.ask_for_state("weur", "on", "fresh"));
    assert_eq!(answer.unwrap().body["value"], json!(true));
    // Beats that only pulls bring do not run out in between, unless the machine is too busy to pull for a while.
    eventually("beats go on for as long as several pulls take", PATIENCE, || {
        let (mut fresh, mut late, began) = (0, Vec::new(), now());
        while fresh + late.len() < 20 || now().since(began) < 3_500 {
            match edge.ask_for_state("weur", "on", "fresh") {
                Ok(_) => fresh += 1,
                Err(error) => late.push(error.to_string()),
            }
        }
        ensure!(
            late.len() < fresh,
            "{fresh} were fresh; the last of the {} others: {:?}",
            late.len(),
            late.last()
        );
        Ok(())
    })
    .unwrap();
    assert_eq!(edge.state("weur").unwrap()["connections"], json!(0));
}

/// Answers like a control plane that cannot dial: what is newer, then a beat for what will be held.
fn answer_pulls(listener: &TcpListener, keys: &Keys, frame: &[u8]) {
    for (beat_no, stream) in (1..).zip(listener.incoming()) {
        let mut stream = stream.unwrap();
        // A replica waits for a second: one that has gone asks again.
        let Some((head, request)) = read_pull(&stream) else { continue };
        assert!(head.starts_with(&format!("POST {PULL_PATH} ")), "{head}");
        assert!(head.to_lowercase().contains(&format!("authorization: bearer {INGEST_TOKEN}")), "{head}");
        assert_eq!((request.region.as_str(), request.shard), ("weur", 0));
        let publish = PlaneMessage::Publish { scope: scope("demo/dev"), urgency: Urgency::Ordinary, frame };
        let beat = keys.beat("plane", beat_no, &request.held);
        let first = request.held.is_empty().then_some(publish);
        let body = encode_messages(first.into_iter().chain([PlaneMessage::Beat(&beat)]));
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    }
}

/// `None` when it was cut off.
fn read_pull(stream: &TcpStream) -> Option<(String, PullRequest)> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return None;
        }
    }
    let len = head
        .to_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; len.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some((head, serde_json::from_slice(&body).unwrap()))
}

#[test]
fn a_replica_is_reached_by_its_name_and_the_right_token_only() {
    let edge = LoneEdge::start("regions-doors", &["weur", "enam"], "");
    let url = edge.url("weur");
    let dial = |region: &str, shard, token| Replica::dial(&url, region, shard, token).err();
    assert_eq!(dial("weur", 0, None), Some(401));
    assert_eq!(dial("weur", 0, Some("wrong")), Some(401));
    assert_eq!(dial("mars", 0, Some("wrong")), Some(401), "who may not push learns no names");
    for (region, shard) in [("mars", 0), ("weur", 1), ("weur", 16)] {
        assert_eq!(dial(region, shard, Some("push-token")), Some(404));
    }
    assert_eq!(dial("enam", 0, Some("push-token")), None, "any region's edge leads to any region's replica");
    let client = Client::new(&url, Some("push-token"));
    let answer = client.get("/v1/push/weur/0").unwrap();
    assert_eq!((answer.status, &answer.body["code"]), (426, &json!("upgrade_missing")));
    let answer = client.get("/v1/push/mars/0").unwrap();
    assert_eq!((answer.status, &answer.body["code"]), (404, &json!("replica_unknown")));

    // Refusals are counted by code, beats among them.
    let mut replica = edge.dial("weur");
    let draft = edge.draft(2);
    replica.store(&draft.scope, &edge.keys.frame(&draft)).unwrap();
    let older = Draft { version: SnapshotVersion { epoch: 1, seq: 1 }, ..draft };
    assert_eq!(replica.code(&older.scope, &edge.keys.frame(&older)), "E_ROLLBACK");
    let foreign = Draft { scope: flagfuse_shared::ids::Scope::parse("other/demo/dev").unwrap(), ..older };
    assert_eq!(replica.code(&foreign.scope, &edge.keys.frame(&foreign)), "E_SCOPE");
    // One beat, sent twice: two that are dated in different milliseconds would both be heard. It is from a clock that is
    // ahead, so that it does not run out on its way.
    let ahead = now().plus(CLOCK_SKEW_MS_MAX / 2);
    let beat = edge.keys.beat_at(ahead, "frozen", 7, &replica.held);
    for _ in 0..2 {
        replica.send(&PlaneMessage::Beat(&beat));
    }
    let said = replica.read();
    assert!(
        matches!(&said, ReplicaMessage::Nack { scope: None, code, .. } if code == "E_ROLLBACK"),
        "{said:?}"
    );
    let state = edge.state("weur").unwrap();
    assert_eq!(state["refusals"], json!({ "E_ROLLBACK": 2, "E_SCOPE": 1 }), "{state}");
}
