//! What people read of a fuse beside its verdicts: the story of a trip, lines over time, and the overview of what needs somebody.

use flagfuse_control_plane::credential::{Bearer, TokenKind};
use flagfuse_control_plane::store::Lock;
use flagfuse_control_plane::store::receipts::{Told, record_held};
use flagfuse_control_plane::store::snapshots::newest_signed;
use flagfuse_shared::ids::Scope;
use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, World, flag, fleet, policy};

const FUSE: &str = "/v1/projects/demo/environments/production/flags/checkout/fuse";
const TRIPS: &str = "/v1/projects/demo/environments/production/flags/checkout/fuse/trips";
const SERIES: &str = "/v1/projects/demo/environments/production/flags/checkout/fuse/series";

fn scope() -> Scope {
    Scope::parse("default/demo/production").unwrap()
}

/// Five times as many errors are harm.
fn errors() -> Value {
    policy(json!({ "mode": "anytime", "cooldown_s": 300, "guardrails": [
        { "metric": "error", "direction": "increase_is_harm", "threshold": 4.0, "baseline": 0.2 },
    ] }))
}

/// All replicas have the newest version now.
async fn arrive(world: &World) {
    let now = world.clock.now();
    let newest =
        newest_signed(&mut world.plane.store.read().await.unwrap(), &scope()).await.unwrap().unwrap();
    let mut tx = world.plane.store.write(Lock::Environment(&scope())).await.unwrap();
    for replica in fleet().replicas() {
        let told = Told::Ack { keyset_version: 1, stored_ms: now };
        record_held(&mut tx, &scope(), &replica, newest.held, told, now).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// Errors of everybody who sees the feature, and the fuse opens.
async fn tripped() -> World {
    let world = World::new().await;
    world.ok("PUT", FUSE, errors()).await;
    world.run_cohort(1, 20, (20, 0), "error").await;
    assert_eq!(world.tick().await.moved, 1);
    world
}

fn step(story: &Value, name: &str) -> Option<u64> {
    let steps = story["steps"].as_array().unwrap();
    steps.iter().find(|step| step["step"] == name).map(|step| step["at_ms"].as_u64().unwrap())
}

#[tokio::test]
async fn the_story_of_a_trip_goes_from_the_first_exposure_to_live_everywhere() {
    let world = tripped().await;
    let began = world.get(FUSE).await["acted_ms"].as_u64().unwrap();
    let story = world.get(&format!("{TRIPS}/1")).await;
    assert_eq!(
        (&story["number"], &story["actor"], &story["flag"]),
        (&json!(1), &json!("fuse"), &json!("checkout"))
    );
    assert_eq!((&story["metrics"], &story["reason"]), (&json!(["error"]), &json!("harm")));
    assert_eq!(story["people"]["exposed"], 20);
    assert_eq!(story["people"]["control"], 20);
    // Two fifths of all were asked to count.
    assert_eq!(story["people"]["eligible_estimate"], 100);
    let (exposure, harm) = (step(&story, "first_exposure").unwrap(), step(&story, "first_harm").unwrap());
    let (evidence, committed) =
        (step(&story, "evidence_complete").unwrap(), step(&story, "committed").unwrap());
    assert!(exposure <= harm && harm <= evidence && evidence <= committed, "{}", story["steps"]);
    assert_eq!(committed, began);
    assert_eq!(step(&story, "guaranteed_live"), None, "nobody has it yet");
    let verdict = world.get(&format!("{FLAG}/verdicts?limit=1")).await["verdicts"][0].clone();
    assert_eq!((&story["verdict_id"], &story["summary"]), (&verdict["verdict_id"], &verdict["summary"]));
    assert_eq!(story["evidence"][0]["finding"], "harm");
    assert_eq!(story["ended"], Value::Null);

    world.clock.advance(150);
    arrive(&world).await;
    let story = world.get(&format!("{TRIPS}/1")).await;
    let (stored, live) = (step(&story, "stored").unwrap(), step(&story, "guaranteed_live").unwrap());
    assert_eq!(stored, committed + 150);
    assert!(live > stored);
    assert_eq!(story["replicas_acked"], story["replicas_total"]);
    let change = world.get(&format!("{ENVIRONMENT}/changes/{}", story["version"].as_str().unwrap())).await;
    assert_eq!(change["guaranteed_live_at_ms"], live);
    assert_eq!(change["change"]["audit_id"], story["audit_id"]);
}

#[tokio::test]
async fn trips_are_listed_with_who_did_it_and_how_they_ended() {
    let world = tripped().await;
    world.clock.advance(1_000);
    world.ok("POST", &format!("{FUSE}/close"), json!({ "reason": "mended" })).await;
    world.clock.advance(1_000);
    world.ok("POST", &format!("{FUSE}/trip"), json!({ "reason": "legal" })).await;
    let trips = world.get(TRIPS).await;
    let told: Vec<_> = trips["trips"].as_array().unwrap().iter().map(|trip| trip["number"].clone()).collect();
    assert_eq!(told, [2, 1]);
    let (second, first) = (&trips["trips"][0], &trips["trips"][1]);
    assert_eq!((&first["ended"]["to"], &first["ended"]["note"]), (&json!("CLOSED"), &json!("mended")));
    assert_eq!(
        (&second["actor"], &second["reason"], &second["note"]),
        (&json!("token:first admin"), &json!("manual_trip"), &json!("legal"))
    );
    assert_eq!((&second["metrics"], &second["ended"]), (&json!([]), &Value::Null));
    let story = world.get(&format!("{TRIPS}/2")).await;
    assert_eq!((&story["verdict_id"], step(&story, "first_harm")), (&Value::Null, None));
    let page = world.get(&format!("{TRIPS}?limit=1")).await;
    let next = page["next"].as_str().unwrap();
    assert_eq!(world.get(&format!("{TRIPS}?limit=1&cursor={next}")).await["trips"][0]["number"], 1);
    for unknown in ["0", "3", "x", "1.5"] {
        let answer = world.call("GET", &format!("{TRIPS}/{unknown}"), Value::Null).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (404, "unknown_trip"), "{unknown}");
    }
}

#[tokio::test]
async fn a_loss_has_no_first_harmful_event() {
    let world = World::new().await;
    world.ok("PUT", FUSE, policy(json!({ "grace_s": 2 }))).await;
    world.clock.advance(2_000);
    world.run_cohort(1, 400, (100, 200), "conversion").await;
    assert_eq!(world.tick().await.moved, 1);
    let story = world.get(&format!("{TRIPS}/1")).await;
    assert_eq!(story["metrics"], json!(["conversion"]));
    assert_eq!(step(&story, "first_harm"), None);
    assert!(step(&story, "evidence_complete").is_some());
}

#[tokio::test]
async fn lines_over_time_end_at_what_the_verdict_has() {
    let world = World::new().await;
    let slices = json!([{ "attribute": "country", "values": ["DE"] }]);
    let mut policy = errors();
    policy["slices"] = slices;
    world.ok("PUT", FUSE, policy).await;
    for round in 0..3_u64 {
        world.run_cohort(1, 60, (12 + usize::try_from(round).unwrap(), 12), "error").await;
        world.tick().await;
    }
    let series = world.get(SERIES).await;
    assert_eq!((&series["attempt"], &series["slice"]), (&json!(1), &json!("all")));
    let slices: Vec<_> =
        series["slices"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(slices.contains(&"country=DE") && slices.contains(&"bot"), "{slices:?}");
    let points = series["guardrails"][0]["points"].as_array().unwrap();
    assert!(points.len() >= 2, "{points:?}");
    let verdict = world.get(&format!("{FLAG}/verdicts?limit=1")).await["verdicts"][0].clone();
    let (last, reading) = (points.last().unwrap(), &verdict["evidence"][0]["reading"]);
    for arm in ["exposed", "control"] {
        assert_eq!(last[arm]["units"], reading[arm]["units"], "{arm}");
        assert_eq!(last[arm]["events"], reading[arm]["events"], "{arm}");
    }
    let rising = points
        .windows(2)
        .all(|pair| pair[0]["exposed"]["units"].as_i64() <= pair[1]["exposed"]["units"].as_i64());
    assert!(rising, "{points:?}");
    let said = series["verdicts"].as_array().unwrap();
    assert_eq!(said.last().unwrap()["verdict_id"], verdict["verdict_id"]);
    assert_eq!(
        said.last().unwrap()["guardrails"][0]["progress"],
        verdict["evidence"][0]["anytime"]["progress"]
    );

    let of_bots = world.get(&format!("{SERIES}?slice=bot")).await;
    assert_eq!(of_bots["guardrails"][0]["points"], json!([]), "no bot came");
    let few = world.get(&format!("{SERIES}?points=2")).await;
    assert!(few["guardrails"][0]["points"].as_array().unwrap().len() <= 2, "{few}");
    for (query, code) in [
        ("points=1", "bad_query"),
        ("points=501", "bad_query"),
        ("slice=nobody", "bad_query"),
        ("attempt=9", "unknown_phase"),
    ] {
        let answer = world.call("GET", &format!("{SERIES}?{query}"), Value::Null).await;
        assert_eq!(answer.code(), code, "{query}: {}", answer.body);
    }
}

fn kinds(overview: &Value) -> Vec<String> {
    let needs = overview["needs_you"].as_array().unwrap();
    needs.iter().map(|need| need["kind"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_overview_says_what_needs_somebody_and_where_changes_are() {
    let world = World::new().await;
    arrive(&world).await;
    assert_eq!(kinds(&world.get("/v1/overview").await), [""; 0]);
    world.ok("PUT", FUSE, errors()).await;
    arrive(&world).await;
    world.run_cohort(1, 20, (20, 0), "error").await;
    world.tick().await;
    let overview = world.get("/v1/overview").await;
    assert_eq!(kinds(&overview), ["fuse_open"]);
    let need = &overview["needs_you"][0];
    assert_eq!((&need["subject"], &need["environment"]), (&json!("checkout"), &json!("production")));
    assert!(need["sentence"].as_str().unwrap().starts_with("The fuse of checkout is open"), "{need}");
    let change = &overview["last_changes"][0];
    assert_eq!(
        (&change["action"], &change["receipt"]["is_live"]),
        (&json!("fuse.transition"), &json!(false))
    );
    // Nobody has taken the version for so long.
    world.clock.advance(10_000);
    let late = world.get("/v1/overview").await;
    let replicas = fleet().replicas().count();
    assert_eq!(kinds(&late).iter().filter(|kind| *kind == "replica_behind").count(), replicas);
    arrive(&world).await;
    let live = world.get("/v1/overview").await;
    assert_eq!(kinds(&live), ["fuse_open"]);
    assert_eq!(live["last_changes"][0]["receipt"]["is_live"], true);
    // A probe moves by itself and needs nobody.
    world.clock.advance(300_000);
    world.tick().await;
    arrive(&world).await;
    let probing = world.get("/v1/overview").await;
    assert_eq!((kinds(&probing).len(), &probing["moving"][0]["circuit"]), (0, &json!("HALF_OPEN")));
}

#[tokio::test]
async fn the_overview_shows_what_its_reader_may_read() {
    let world = World::new().await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "staging" })).await;
    world.ok("PUT", &FLAG.replace("production", "staging"), flag()).await;
    world.ok("PUT", FUSE, errors()).await;
    world.ok("POST", &format!("{FUSE}/trip"), Value::Null).await;
    let own = Bearer::Environment(Scope::parse("default/demo/staging").unwrap());
    let staging = world.plane.create_token(TokenKind::Viewer, own, "staging").await.unwrap();
    let answer = world.send(&staging, "GET", "/v1/overview", Vec::new()).await.body;
    assert_eq!(kinds(&answer), [""; 0]);
    let changes = answer["last_changes"].as_array().unwrap();
    assert!(
        !changes.is_empty() && changes.iter().all(|change| change["environment"] == "staging"),
        "{answer}"
    );
    let stranger = world.token(TokenKind::Viewer, "other").await;
    let answer = world.send(&stranger, "GET", "/v1/overview", Vec::new()).await.body;
    assert_eq!(answer["needs_you"], json!([]));
    let changes = answer["last_changes"].as_array().unwrap();
    assert!(
        changes.iter().all(|change| change["action"] == "token.create"),
        "only of its own tenant: {answer}"
    );
    let answer = world.send(&stranger, "GET", "/v1/overview/launches", Vec::new()).await.body;
    assert_eq!(
        (&answer["launches_guarded"], &answer["trips"], &answer["flags"]),
        (&json!(0), &json!(0), &json!(0))
    );
}

#[tokio::test]
async fn what_fuses_were_good_for_is_counted() {
    let world = tripped().await;
    world.clock.advance(200);
    arrive(&world).await;
    let launches = world.get("/v1/overview/launches").await;
    assert_eq!((&launches["launches_guarded"], &launches["trips"]), (&json!(1), &json!(1)));
    assert_eq!((&launches["people_exposed"], &launches["people_spared"]), (&json!(20), &json!(80)));
    let story = world.get(&format!("{TRIPS}/1")).await;
    let passed = step(&story, "guaranteed_live").unwrap() - step(&story, "first_harm").unwrap();
    assert_eq!(launches["harm_to_live_ms_median"], passed);
    assert_eq!((&launches["flags"], &launches["flags_unchanged"]), (&json!(1), &json!(0)));
    world.clock.advance(2 * 24 * 3_600_000);
    assert_eq!(world.get("/v1/overview/launches?days=1").await["trips"], 0);
    for days in ["0", "91", "x"] {
        let answer = world.call("GET", &format!("/v1/overview/launches?days={days}"), Value::Null).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "bad_query"), "{days}");
    }
}
