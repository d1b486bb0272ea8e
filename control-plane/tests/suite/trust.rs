//! Who is believed: declared slices of the enrolling request, signed units, secret keys of servers, and what is said where anybody is.

use serde_json::{Value, json};

use crate::ingestion::{assert_balanced, quarantined};
use crate::world::{Answer, ENVIRONMENT, FLAG, World, members, policy, settings};

const EVENTS: &str = "/v1/ingest/events";

async fn watched(patch: Value) -> World {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(patch)).await;
    world
}

/// Requests as an edge delivers them.
fn batch(world: &World, requests: &Value) -> Value {
    let mut batch = world.batch(&[]);
    batch.as_object_mut().unwrap().remove("events");
    batch["format"] = json!(2);
    batch["queue"] = json!("edge");
    batch["requests"] = requests.clone();
    batch
}

/// Units that the edge showed a variation in phase 1; each with what its request said of it.
async fn shown(world: &World, variation: &str, units: &[(String, &str)]) {
    for units in units.chunks(500) {
        let units: Vec<Value> =
            units.iter().map(|(unit, slices)| json!([unit, 0, 0, 7, 0, slices])).collect();
        let group = json!({ "flag": "checkout", "phase": 1, "version": "1.1", "variations": [variation],
            "units": units });
        let request = json!({ "received_ms": world.clock.now(), "source": "edge", "exposures": [group] });
        world.deliver(&batch(world, &json!([request]))).await;
    }
}

/// `count` units of an arm, of whom a request said this.
fn units(arm: &str, count: usize, slices: &'static str) -> Vec<(String, &'static str)> {
    let range = if arm == "exposed" { 0..200_000 } else { 800_000..1_000_000 };
    members(range, count, 1).into_iter().map(|unit| (unit, slices)).collect()
}

/// Units by slice of a metric and arm.
async fn by_slice(world: &World, metric: &str, arm: &str) -> Vec<(String, u64)> {
    let sums = world.get(&format!("{FLAG}/cells?sum=true&phase=1")).await["sums"].clone();
    let own = sums.as_array().unwrap().iter().filter(|sum| sum["metric"] == metric && sum["arm"] == arm);
    own.map(|sum| (sum["slice"].as_str().unwrap().to_owned(), sum["units"].as_u64().unwrap())).collect()
}

fn named(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
    pairs.iter().map(|(name, units)| ((*name).to_owned(), *units)).collect()
}

const DEVICE: &str = "device";

fn device() -> Value {
    json!([{ "attribute": DEVICE, "values": ["mobile", "desktop"] }])
}

#[tokio::test]
async fn mobile_gain_does_not_hide_desktop_loss() {
    let world = watched(json!({ "slices": device(), "min_sample": 1_000_000 })).await;
    for (arm, variation, gains) in [("exposed", "on", [36, 4]), ("control", "off", [4, 36])] {
        let all = units(arm, 80, "1");
        let (mobile, desktop) = all.split_at(40);
        let desktop: Vec<_> = desktop.iter().map(|(unit, _)| (unit.clone(), "2")).collect();
        shown(&world, variation, mobile).await;
        shown(&world, variation, &desktop).await;
        for (units, count) in [(mobile, gains[0]), (&desktop[..], gains[1])] {
            let outcomes: Vec<Value> =
                units.iter().take(count).map(|(unit, _)| world.outcome(unit, "conversion")).collect();
            world.ingest(&outcomes).await;
        }
    }
    world.pass_a_minute().await;
    for (arm, [mobile, desktop]) in [("exposed", [36, 4]), ("control", [4, 36])] {
        let all = [("all", 80), ("device=mobile", 40), ("device=desktop", 40)];
        assert_eq!(by_slice(&world, "exposure", arm).await, named(&all));
        let expected = [("all", 40), ("device=mobile", mobile), ("device=desktop", desktop)];
        assert_eq!(by_slice(&world, "conversion", arm).await, named(&expected), "{arm}");
    }
    // One slice alone, added up and slot by slot.
    let one = world.get(&format!("{FLAG}/cells?sum=true&slice=device%3Ddesktop")).await;
    let sums = one["sums"].as_array().unwrap();
    assert!(!sums.is_empty() && sums.iter().all(|sum| sum["slice"] == "device=desktop"), "{one}");
    let slots = world.get(&format!("{FLAG}/cells?slice=bot")).await["slots"].clone();
    assert!(slots.as_array().unwrap().iter().all(|slot| slot["cells"] == json!([])), "{slots}");
}

/// With `trip_scope: slice` the slice that harms loses the feature, and everybody else keeps it.
#[tokio::test]
async fn a_slice_that_harms_loses_the_feature_alone() {
    let rail = json!([{ "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.1, "baseline": 0.4 }]);
    let rules = json!({ "mode": "anytime", "slices": device(), "trip_scope": "slice", "guardrails": rail });
    let world = watched(rules).await;
    // Of 400 mobiles of each arm nobody converts with the feature and 160 without; desktops make up for it.
    for (arm, variation, converting) in [("exposed", "on", [0, 290]), ("control", "off", [160, 120])] {
        let all = units(arm, 700, "1");
        let (mobile, desktop) = all.split_at(400);
        let desktop: Vec<_> = desktop.iter().map(|(unit, _)| (unit.clone(), "2")).collect();
        shown(&world, variation, mobile).await;
        shown(&world, variation, &desktop).await;
        for (units, count) in [(mobile, converting[0]), (&desktop[..], converting[1])] {
            let outcomes: Vec<Value> =
                units.iter().take(count).map(|(unit, _)| world.outcome(unit, "conversion")).collect();
            world.ingest(&outcomes).await;
        }
    }
    world.pass_a_minute().await;
    let ticked = world.tick().await;
    let verdicts = world.get(&format!("{FLAG}/verdicts?limit=1")).await;
    assert_eq!((ticked.moved, &verdicts["verdicts"][0]["decision"]), (1, &json!("trip")), "{verdicts}");
    let summary = verdicts["verdicts"][0]["summary"].as_str().unwrap();
    assert!(summary.contains("switched off for device=mobile alone"), "{summary}");
    let fuse = world.get(&format!("{FLAG}/fuse")).await;
    assert_eq!((&fuse["circuit"], &fuse["attempt"]["number"]), (&json!("CLOSED"), &json!(2)), "{fuse}");
    let notices = world.get(&format!("{ENVIRONMENT}/notices")).await;
    assert_eq!(notices["notices"][0]["kind"], "fuse.slice_open", "{notices}");
    assert_eq!(notices["notices"][0]["body"]["slices"], json!([{ "attribute": DEVICE, "value": "mobile" }]));
    // Whoever had the feature has it still, but for the mobiles among them; whoever had not has not.
    let ask = async |unit: &str, device: &str| {
        let context = json!({ "targetingKey": unit, DEVICE: device });
        let asked =
            json!({ "project": "demo", "environment": "production", "flag": "checkout", "context": context });
        world.ok("POST", "/v1/explain", asked).await["outcome"]["variation"].clone()
    };
    let (exposed, control) = (units("exposed", 1, "1"), units("control", 1, "1"));
    assert_eq!(ask(&exposed[0].0, "desktop").await, json!("on"));
    assert_eq!(ask(&exposed[0].0, "mobile").await, json!("off"));
    assert_eq!(ask(&control[0].0, "desktop").await, json!("off"));
    // The attempt that goes on knows nothing of the mobiles, so nothing else happens.
    world.pass_a_minute().await;
    assert_eq!(world.tick().await.moved, 0);
    // A person tries the slice again by taking the rule away.
    let flag = world.get(FLAG).await;
    assert_eq!(flag["flag"]["rules"][0]["key"], "withheld-1", "{flag}");
    world.ok("PATCH", FLAG, json!({ "rules": [] })).await;
    assert_eq!(ask(&exposed[0].0, "mobile").await, json!("on"));
}

#[tokio::test]
async fn slices_are_those_of_the_first_request_by_whichever_way_it_came() {
    let world = watched(json!({ "slices": device(), "min_sample": 1_000_000 })).await;
    let all = members(0..200_000, 5, 1);
    let reported = |unit: &str, slices: &str| {
        let mut event = world.exposure(unit, "on", 1);
        event["slices"] = json!(slices);
        event
    };
    shown(&world, "on", &[(all[0].clone(), "1"), (all[1].clone(), "0")]).await;
    // What a client gives back of a bulk answer; codes that mean nothing here, and none, are the rest.
    world.ingest(&[reported(&all[2], "2"), reported(&all[3], "9.9"), world.exposure(&all[4], "on", 1)]).await;
    world.close_slots().await;
    // Later requests say otherwise.
    shown(&world, "on", &[(all[0].clone(), "2"), (all[1].clone(), "1")]).await;
    world.ingest(&[reported(&all[2], "1")]).await;
    world.ingest(&all.iter().map(|unit| world.outcome(unit, "conversion")).collect::<Vec<_>>()).await;
    world.close_slots().await;
    let expected = named(&[("all", 5), ("device=mobile", 1), ("device=desktop", 1), ("device=other", 3)]);
    assert_eq!(by_slice(&world, "exposure", "exposed").await, expected);
    assert_eq!(by_slice(&world, "conversion", "exposed").await, expected);
    world.ingest(&[reported(&all[0], "mobile")]).await;
    assert_eq!(quarantined(&world).await, ["bad_schema"]);
    assert_balanced(&world).await;
}

#[tokio::test]
async fn other_slices_begin_a_phase_and_stand_in_the_flags_cohort() {
    let world = watched(json!({})).await;
    let fuse = format!("{FLAG}/fuse");
    assert_eq!(world.get(FLAG).await["flag"]["cohort"].get("dimensions"), None);
    world.ok("PUT", &fuse, policy(json!({ "slices": device(), "units": "signed" }))).await;
    let cohort = world.get(FLAG).await["flag"]["cohort"].clone();
    assert_eq!((&cohort["phase"], &cohort["dimensions"]), (&json!(2), &device()));
    assert_eq!(cohort["units"], "signed");
    let shown = world.get(&fuse).await;
    assert_eq!(shown["policy"]["slices"], device());
    world.ok("PUT", &fuse, policy(json!({ "slices": device(), "units": "signed" }))).await;
    assert_eq!(world.get(&fuse).await["phase"], 2, "the same policy begins nothing");
    let refused = world
        .call("PUT", &fuse, policy(json!({ "slices": [{ "attribute": "bot", "values": ["a"] }] })))
        .await;
    assert_eq!((refused.status.as_u16(), refused.code()), (400, "invalid_policy"));
}

#[tokio::test]
async fn units_that_nobody_signed_are_not_enrolled() {
    let world = watched(json!({ "units": "signed", "min_sample": 1_000_000 })).await;
    for (arm, variation) in [("exposed", "on"), ("control", "off")] {
        let all: Vec<String> = units(arm, 5, "").into_iter().map(|(unit, _)| unit).collect();
        let report = |unit: &str| json!([world.exposure(unit, variation, 1)]);
        let received_ms = world.clock.now();
        let of = |source: &str, unit: &str| json!({ "received_ms": received_ms, "source": source, "events": report(unit) });
        let mut signed = of("ticket", &all[1]);
        signed["is_signed"] = json!(true);
        let recorded = json!({ "received_ms": received_ms, "source": "edge", "exposures": [{ "flag": "checkout",
            "phase": 1, "version": "1.1", "variations": [variation], "units": [[all[2], 0, 0, 7]] }] });
        let requests =
            json!([of("ticket", &all[0]), signed, recorded, of("open", &all[3]), of("none", &all[4])]);
        world.deliver(&batch(&world, &requests)).await;
    }
    world.close_slots().await;
    for arm in ["exposed", "control"] {
        assert_eq!(world.sums(1, arm, "exposure").await.0, 2, "{arm}");
    }
    assert_eq!(world.counter("unsigned").await, 6);
    let health = world.get(&format!("{ENVIRONMENT}/telemetry-health")).await;
    assert_eq!(health["flags"][0]["not_counted"]["unsigned"], json!({ "control": 3, "exposed": 3 }));
}

/// A secret key of the environment's servers.
async fn server_key(world: &World) -> String {
    let made =
        world.ok("POST", &format!("{ENVIRONMENT}/tokens"), json!({ "name": "shop", "kind": "server" })).await;
    made["token"].as_str().unwrap().to_owned()
}

async fn send(world: &World, key: &str, events: &[Value]) -> Answer {
    let body = json!({ "sent_ms": world.clock.now(), "sdk": "shop/1.0.0", "events": events });
    world.send(key, "POST", EVENTS, body.to_string().into_bytes()).await
}

fn told(answer: &Answer) -> (u64, u64, Vec<(u64, String)>) {
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    let number = |name: &str| answer.body[name].as_u64().unwrap();
    let quarantined = answer.body["quarantined"].as_array().unwrap().iter();
    let quarantined = quarantined
        .map(|event| (event["index"].as_u64().unwrap(), event["code"].as_str().unwrap().to_owned()));
    (number("accepted"), number("duplicate"), quarantined.collect())
}

#[tokio::test]
async fn events_of_servers_count_once_and_each_that_cannot_be_used_is_named() {
    let world = watched(json!({})).await;
    let key = server_key(&world).await;
    let unit = &members(0..200_000, 1, 1)[0];
    let events = [
        world.exposure(unit, "on", 1),
        json!({ "id": "x", "type": "surprise" }),
        world.outcome(unit, "conversion"),
        json!(7),
    ];
    let bad = vec![(1, "bad_schema".to_owned()), (3, "bad_schema".to_owned())];
    assert_eq!(told(&send(&world, &key, &events).await), (2, 0, bad.clone()));
    // The whole of it again, and a part of it in another body.
    assert_eq!(told(&send(&world, &key, &events).await), (0, 2, bad));
    let part = [events[2].clone(), world.outcome(unit, "error")];
    assert_eq!(told(&send(&world, &key, &part).await), (1, 1, Vec::new()));
    let mut conflict = events[2].clone();
    conflict["metric"] = json!("another");
    assert_eq!(told(&send(&world, &key, &[conflict]).await), (0, 0, vec![(0, "id_conflict".to_owned())]));
    // One a line, and the same again.
    let lines = format!("{}\n\n{}\n", world.outcome(unit, "conversion"), json!({ "id": "y" }));
    for (accepted, duplicate) in [(1, 0), (0, 1)] {
        let types = [("content-type", "application/x-ndjson; charset=utf-8")];
        let answer = world.send_with(&key, "POST", EVENTS, &types, lines.clone().into_bytes()).await;
        assert_eq!(told(&answer), (accepted, duplicate, vec![(1, "bad_schema".to_owned())]));
    }
    world.close_slots().await;
    assert_eq!(world.sums(1, "exposed", "exposure").await.0, 1);
    assert_eq!(world.sums(1, "exposed", "conversion").await.0, 1);
    assert_balanced(&world).await;
}

#[tokio::test]
async fn values_that_come_again_add_up_once_whatever_they_come_with() {
    let world = watched(json!({ "values": ["revenue"] })).await;
    let key = server_key(&world).await;
    let [unit, other] = &members(0..200_000, 2, 1)[..] else { panic!("two units") };
    told(&send(&world, &key, &[world.exposure(unit, "on", 1), world.exposure(other, "on", 1)]).await);
    world.clock.advance(5_000);
    world.tick().await;
    let value = |unit: &str, value: f64| {
        let mut event = world.outcome(unit, "revenue");
        event["value"] = json!(value);
        event
    };
    let (first, second) = (value(unit, 5.0), value(unit, 7.5));
    assert_eq!(told(&send(&world, &key, &[first.clone(), second.clone()]).await), (2, 0, Vec::new()));
    for _ in 0..2 {
        // As another process finds it, which remembers no id.
        world.let_go().await;
        let company = [second.clone(), value(unit, 1.0), first.clone()];
        assert_eq!(told(&send(&world, &key, &company).await), (1, 2, Vec::new()));
    }
    let twice = value(unit, 2.0);
    assert_eq!(told(&send(&world, &key, &[twice.clone(), twice]).await), (1, 1, Vec::new()));
    // An id is its unit's.
    let mut namesake = first.clone();
    namesake["unit"] = json!(other);
    assert_eq!(told(&send(&world, &key, &[namesake]).await), (1, 0, Vec::new()));
    world.close_slots().await;
    assert_eq!(world.sums(1, "exposed", "revenue").await, (2, 6, 21_500_000));
    assert_balanced(&world).await;
}

#[tokio::test]
async fn a_client_key_sends_no_events_of_servers_and_a_servers_key_does_nothing_else() {
    let world = watched(json!({})).await;
    let client = world.ok("POST", &format!("{ENVIRONMENT}/tokens"), json!({ "name": "web" })).await;
    let client = client["token"].as_str().unwrap();
    for key in [client, "demo:production.made-up"] {
        let answer = send(&world, key, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (403, "forbidden"), "{}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains("need a token of kind server"));
    }
    for token in [&world.admin, &world.ingest] {
        assert_eq!(send(&world, token, &[]).await.status.as_u16(), 403);
    }
    let before = world.get(&format!("{ENVIRONMENT}/changes/latest")).await["version"].clone();
    let key = server_key(&world).await;
    assert!(key.starts_with("ff_server_"), "{key}");
    let after = world.get(&format!("{ENVIRONMENT}/changes/latest")).await["version"].clone();
    assert_eq!(before, after, "no edge has to hear of it");
    for (method, path) in [("GET", FLAG), ("POST", "/v1/ingest"), ("GET", "/v1/tokens")] {
        assert_eq!(world.send(&key, method, path, Vec::new()).await.status.as_u16(), 403, "{path}");
    }
    let listed = world.get(&format!("{ENVIRONMENT}/tokens")).await["tokens"].clone();
    let own = listed.as_array().unwrap().iter().find(|token| token["kind"] == "server").unwrap();
    assert_eq!(
        (&own["name"], &own["project"], &own["environment"]),
        (&json!("shop"), &json!("demo"), &json!("production"))
    );
    assert!(!world.get("/v1/tokens").await.to_string().contains(&key), "shown once");
    let id = own["token_id"].as_str().unwrap();
    world.ok("DELETE", &format!("/v1/tokens/{id}"), Value::Null).await;
    assert_eq!(send(&world, &key, &[]).await.status.as_u16(), 401);
    let nowhere = world.call("POST", "/v1/tokens", json!({ "kind": "server", "name": "a" })).await;
    assert_eq!((nowhere.status.as_u16(), nowhere.code()), (400, "bad_schema"));
}

#[tokio::test]
async fn bodies_of_servers_that_nobody_can_read_are_refused_whole() {
    let world = watched(json!({})).await;
    let key = server_key(&world).await;
    let many = vec![json!({}); 2_001];
    let lines = [("content-type", "application/x-ndjson")];
    let refused = |answer: &Answer, status: u16, code: &str, said: &str| {
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains(said), "{}", answer.body);
    };
    refused(&send(&world, &key, &many).await, 400, "bad_batch", "2001 events, the limit is 2000");
    for (body, said) in
        [(&b"[]"[..], "must be an object"), (b"{}", "events is missing"), (b"", "it is empty")]
    {
        let answer = world.send(&key, "POST", EVENTS, body.to_vec()).await;
        refused(&answer, 400, "bad_batch", said);
    }
    let answer = world.send_with(&key, "POST", EVENTS, &lines, b"{}\n{\n".to_vec()).await;
    refused(&answer, 400, "bad_batch", "line 2 is not JSON");
    let long = world.send(&key, "POST", EVENTS, vec![b' '; 1_048_577]).await;
    assert_eq!((long.status.as_u16(), long.code()), (413, "too_large"));
}

#[tokio::test]
async fn where_only_servers_are_believed_clients_neither_trip_nor_hide() {
    let errors = json!([{ "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 }]);
    let world = watched(json!({ "outcomes_from": "server", "guardrails": errors })).await;
    world.ok("PUT", &format!("{ENVIRONMENT}/settings"), settings(json!({ "min_networks": 3 }))).await;
    let key = server_key(&world).await;
    let (exposed, control) = (units("exposed", 300, ""), units("control", 300, ""));
    shown(&world, "on", &exposed).await;
    shown(&world, "off", &control).await;
    let errors = |units: &[(String, &str)]| -> Vec<Value> {
        units.iter().map(|(unit, _)| world.outcome(unit, "error")).collect()
    };
    // Clients, with whatever ticket: harm that is none.
    let request = json!({ "received_ms": world.clock.now(), "source": "ticket", "network": 9, "events": errors(&exposed) });
    world.deliver(&batch(&world, &json!([request]))).await;
    world.pass_a_minute().await;
    assert_eq!(world.tick().await.moved, 0);
    assert_eq!(world.sums(1, "exposed", "error").await.0, 0);
    let more = json!({ "received_ms": world.clock.now(), "source": "ticket", "network": 9, "events": errors(&exposed[..7]) });
    world.deliver(&batch(&world, &json!([more]))).await;
    world.pass_a_minute().await;
    let health = world.get(&format!("{ENVIRONMENT}/telemetry-health")).await;
    let ignored = health["flags"][0]["not_counted"]["ignored_outcome"]["exposed"].as_u64().unwrap();
    assert!(ignored >= 7, "{health}");
    // The server's, and what clients say in the control arm to hide it.
    assert_eq!(told(&send(&world, &key, &errors(&exposed[..100])).await).0, 100);
    world.ingest(&errors(&control)).await;
    world.pass_a_minute().await;
    assert_eq!(world.tick().await.moved, 1);
    let verdicts = world.get(&format!("{FLAG}/verdicts?limit=10")).await;
    let trip = verdicts["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|verdict| verdict["decision"] == "trip")
        .unwrap();
    assert_eq!(trip["evidence"][0]["origins"]["sources"], json!(["server"]), "{trip}");
    assert_eq!(world.get(&format!("{FLAG}/fuse")).await["circuit"], "OPEN");
    assert_balanced(&world).await;
}

#[tokio::test]
async fn a_fuse_where_anybody_is_believed_is_called_unguarded() {
    let world = World::new().await;
    let notes = async |patch: Value| -> Vec<String> {
        let answer = world.ok("PUT", &format!("{FLAG}/fuse"), policy(patch)).await;
        let notes = answer["notes"].as_array().cloned().unwrap_or_default();
        let notes = notes.iter().map(|note| note.as_str().unwrap().to_owned());
        notes.filter(|note| note.starts_with("unguarded")).collect()
    };
    assert_eq!(notes(json!({})).await, [""; 0], "no edge has said anything");
    let says = async |has_tickets: bool| {
        let mut batch = batch(&world, &json!([]));
        batch["has_tickets"] = json!(has_tickets);
        world.deliver(&batch).await;
    };
    says(true).await;
    assert_eq!(notes(json!({ "min_sample": 201 })).await, [""; 0]);
    says(false).await;
    let open = notes(json!({ "min_sample": 202 })).await;
    assert!(open.len() == 1 && open[0].contains("edges in local have no secret for tickets"), "{open:?}");
    assert_eq!(notes(json!({ "outcomes_from": "server" })).await, [""; 0]);
    let signed = notes(json!({ "outcomes_from": "server", "units": "signed" })).await;
    assert!(signed.len() == 1 && signed[0].contains("units is \"signed\""), "{signed:?}");
    world.ok("PUT", &format!("{ENVIRONMENT}/settings"), settings(json!({ "auto_exposure": "off" }))).await;
    says(true).await;
    let unseen = notes(json!({ "min_sample": 203 })).await;
    assert!(unseen.len() == 1 && unseen[0].contains("auto_exposure is \"off\""), "{unseen:?}");
}
