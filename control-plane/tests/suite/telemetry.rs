//! What was counted, as it is read: by the engine that remembers, by the API, and by whoever asks whether to believe it.

use flagfuse_control_plane::engine::Engine;
use flagfuse_control_plane::model::policy::Policy;
use flagfuse_control_plane::model::window::EnrolmentRange;
use flagfuse_control_plane::store::{cells, fuses};
use flagfuse_shared::ids::Scope;
use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, World, members, policy};

const MINUTE: u64 = 60_000;

fn scope() -> Scope {
    Scope::parse("default/demo/production").unwrap()
}

/// Looks with an engine that remembers, and compares its evidence with what the database adds up to.
async fn look(world: &World, engine: &mut Engine, watched: &Policy) {
    let now = world.clock.now();
    let ticked = engine.tick(&world.plane.store, &world.plane.publisher, now).await.unwrap();
    assert_eq!((ticked.looked, ticked.failed, ticked.moved), (1, 0, 0));
    let verdict = world.get(&format!("{FLAG}/verdicts?limit=1")).await["verdicts"][0].clone();
    assert_eq!(verdict["at_ms"], json!(now), "a verdict of now");
    let mut conn = world.plane.store.read().await.unwrap();
    let phase_id = fuses::fuse(&mut conn, &scope(), "checkout").await.unwrap().unwrap().phase_id;
    for (at, guardrail) in watched.guardrails.iter().enumerate() {
        let range = EnrolmentRange::of(watched, guardrail, now);
        let expected = cells::reading(&mut conn, phase_id, &guardrail.metric, range).await.unwrap();
        assert_eq!(verdict["evidence"][at]["reading"], json!(expected), "{} at {}", guardrail.metric, now.0);
    }
}

#[tokio::test]
async fn an_engine_that_remembers_sees_what_one_that_starts_anew_would_see() {
    let world = World::new().await;
    let watched = policy(json!({
        "min_sample": 1_000_000, "window_hours": 1, "guardrails": [
            { "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05 },
            { "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 },
            { "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.5 },
            { "metric": "activation", "direction": "decrease_is_harm", "threshold": -0.05,
              "after_s": 60, "within_s": 1_200 },
        ],
    }));
    world.ok("PUT", &format!("{FLAG}/fuse"), watched.clone()).await;
    let watched = Policy::parse(watched).unwrap();
    let (exposed, control) = (members(0..200_000, 600, 1), members(800_000..1_000_000, 600, 1));
    let (mut engine, mut largest) = (Engine::default(), 0);
    for round in 0..24 {
        // Fifty units every ten minutes, for two hours; then nobody for two more.
        let mut events = Vec::new();
        for at in (round * 50..round * 50 + 25).take_while(|_| round < 12) {
            events.push(world.exposure(&exposed[at], "on", 1));
            events.push(world.exposure(&control[at], "off", 1));
            events.push(world.outcome(&control[at], "conversion"));
            let mut latency = world.outcome(&exposed[at], "latency_ms");
            latency["value"] = json!(at);
            events.push(latency);
        }
        world.ingest(&events).await;
        for minute in 0..10 {
            world.clock.advance(MINUTE);
            if minute == 4 && round < 12 {
                // Units that came minutes ago do something, which counts in a later step.
                let late = |at: usize| {
                    world.outcome(&exposed[round * 50 + at], if at < 9 { "error" } else { "activation" })
                };
                world.ingest(&(0..18).map(late).collect::<Vec<_>>()).await;
            }
            world.close_due().await;
            look(&world, &mut engine, &watched).await;
        }
        let verdict = world.get(&format!("{FLAG}/verdicts?limit=1")).await["verdicts"][0].clone();
        let units = verdict["evidence"][0]["reading"]["exposed"]["units"].as_u64().unwrap();
        largest = units.max(largest);
        if round == 23 {
            assert_eq!(units, 0, "everybody has left the window");
        }
        if round == 7 {
            // After a restart it adds up what stands there.
            engine = Engine::default();
        }
    }
    assert!((125..=175).contains(&largest), "{largest} units at most in an hour of 150");
}

#[tokio::test]
async fn cells_are_shown_slot_by_slot_and_added_up() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({ "min_sample": 1_000_000 }))).await;
    let path = format!("{FLAG}/cells");
    let empty = world.get(&path).await;
    assert_eq!((&empty["slots"], &empty["sums"], &empty["next"]), (&json!([]), &json!([]), &Value::Null));
    for round in 0..3 {
        let units = members(0..200_000, 60, 1).split_off(round * 20);
        let events: Vec<Value> = units.iter().take(20).map(|unit| world.exposure(unit, "on", 1)).collect();
        world.ingest(&events).await;
        world.ingest(&[world.outcome(&units[0], "conversion")]).await;
        world.pass_a_minute().await;
    }
    let first = world.get(&format!("{path}?limit=2")).await;
    let cursor = first["next"].as_str().unwrap();
    let second = world.get(&format!("{path}?limit=2&cursor={cursor}")).await;
    assert_eq!(second["next"], Value::Null);
    let slots = |page: &Value| page["slots"].as_array().unwrap().clone();
    let all: Vec<Value> = slots(&first).into_iter().chain(slots(&second)).collect();
    assert_eq!(all.len(), 3);
    for slot in &all {
        let cell = |metric: &str| {
            let cells = slot["cells"].as_array().unwrap();
            cells.iter().find(|cell| cell["metric"] == metric && cell["slice"] == "all").unwrap().clone()
        };
        let (exposures, conversions) = (cell("exposure"), cell("conversion"));
        assert_eq!((&exposures["units"], &exposures["step"]), (&json!(20), &json!(0)));
        assert_eq!((&conversions["units"], &conversions["arm"]), (&json!(1), &json!("exposed")));
    }
    let sums = world.get(&format!("{path}?sum=true")).await;
    let sum = |metric: &str| {
        let sums = sums["sums"].as_array().unwrap();
        sums.iter().find(|sum| sum["metric"] == metric && sum["slice"] == "all").unwrap()["units"].clone()
    };
    assert_eq!((sum("exposure"), sum("conversion")), (json!(60), json!(3)));
    assert_eq!(world.call("GET", &format!("{path}?limit=101"), Value::Null).await.code(), "bad_query");
    assert_eq!(world.call("GET", &format!("{path}?phase=9"), Value::Null).await.code(), "unknown_phase");
    assert_eq!(world.call("GET", &format!("{path}?cursor=x"), Value::Null).await.code(), "bad_cursor");
}

/// Says as a buffer how far it has delivered.
pub(crate) async fn buffer_says(world: &World, delivered_ago_ms: u64) {
    let now = world.clock.now();
    let through = i64::try_from(now.minus(delivered_ago_ms).0).unwrap();
    let sql = "INSERT INTO buffers (project, environment, buffer_id, queue, region, seen_ms, delivered_through_ms, last_event_ms)
               VALUES ('default/demo', 'production', 'shard-3', 'client', 'eu', $1, $2, $1)
               ON CONFLICT DO UPDATE SET seen_ms = $1, delivered_through_ms = $2, last_event_ms = $1";
    let query = sqlx::query(sql).bind(i64::try_from(now.0).unwrap()).bind(through);
    query.execute(&mut world.database().await).await.unwrap();
}

#[tokio::test]
async fn a_silent_buffer_holds_the_ramp_and_never_a_trip() {
    let world = World::new().await;
    let rules = policy(json!({ "half_open": "after_cooldown", "cooldown_s": 10 }));
    world.ok("PUT", &format!("{FLAG}/fuse"), rules).await;
    let newest = async || world.get(&format!("{FLAG}/verdicts?limit=1")).await["verdicts"][0].clone();
    world.run_cohort(1, 400, (200, 200), "conversion").await;
    buffer_says(&world, 31_000).await;
    world.tick().await;
    let held = newest().await;
    assert_eq!((&held["decision"], &held["reason"]), (&json!("hold"), &json!("telemetry_stale")));
    assert!(
        held["summary"].as_str().unwrap().contains("The buffer eu client shard-3 has not delivered for 31 s"),
        "{held}"
    );
    let health = world.get(&format!("{ENVIRONMENT}/telemetry-health")).await;
    assert_eq!(
        health["buffers_behind"],
        json!([
        { "buffer": "shard-3", "region": "eu", "queue": "client", "behind_ms": 31_000 } ])
    );
    assert_eq!(health["complete_up_to_ms"], json!(world.clock.now().minus(31_000)));
    // Harm trips all the same; half open is a recovery and waits.
    let more: Vec<String> = members(0..200_000, 800, 1).split_off(400);
    for chunk in more.chunks(200) {
        world.ingest(&chunk.iter().map(|unit| world.exposure(unit, "on", 1)).collect::<Vec<_>>()).await;
    }
    let control: Vec<String> = members(800_000..1_000_000, 800, 1).split_off(400);
    for chunk in control.chunks(90) {
        let both = |unit: &String| [world.exposure(unit, "off", 1), world.outcome(unit, "conversion")];
        world.ingest(&chunk.iter().flat_map(both).collect::<Vec<_>>()).await;
    }
    world.pass_a_minute().await;
    buffer_says(&world, 31_000).await;
    assert_eq!(world.tick().await.moved, 1);
    world.clock.advance(20_000);
    buffer_says(&world, 31_000).await;
    assert_eq!(world.tick().await.moved, 0);
    assert_eq!(newest().await["reason"], "telemetry_stale");
    buffer_says(&world, 1_000).await;
    assert_eq!(world.tick().await.moved, 1);
    assert_eq!(world.get(&format!("{FLAG}/fuse")).await["circuit"], "HALF_OPEN");
}

/// A batch of what one source said of units, each of the network that `network` has for its place.
fn batch_from(world: &World, source: &str, units: &[(String, usize)], network: fn(usize) -> u32) -> Value {
    let requests: Vec<Value> = if source == "edge" {
        let shown =
            |(at, (unit, variation)): (usize, &(String, usize))| json!([unit, variation, 0, network(at)]);
        let shown: Vec<Value> = units.iter().enumerate().map(shown).collect();
        vec![json!({ "received_ms": world.clock.now(), "source": "edge", "exposures": [
            { "flag": "checkout", "phase": 1, "version": "1.1", "variations": ["off", "on"], "units": shown },
        ] })]
    } else {
        let of = |(at, (unit, variation)): (usize, &(String, usize))| {
            let event = world.exposure(unit, ["off", "on"][*variation], 1);
            json!({ "received_ms": world.clock.now(), "source": source, "network": network(at), "events": [event] })
        };
        units.iter().enumerate().map(of).collect()
    };
    let mut batch = world.batch(&[]);
    batch["format"] = json!(2);
    batch["requests"] = json!(requests);
    batch.as_object_mut().unwrap().remove("events");
    batch
}

/// Whichever way made-up units are enrolled, those of two networks trip nothing; one more network is enough.
#[tokio::test]
async fn two_networks_cannot_trip() {
    for source in ["edge", "ticket", "open"] {
        let world = World::new().await;
        world.ok("PATCH", &format!("{ENVIRONMENT}/settings"), json!({ "min_networks": 3 })).await;
        world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
        let slices = world.get(&format!("{FLAG}/fuse")).await["slices"].clone();
        let range = |arm: &str| {
            let slice = slices.as_array().unwrap().iter().find(|slice| slice["arm"] == arm).unwrap();
            slice["from"].as_u64().unwrap()..slice["to"].as_u64().unwrap()
        };
        let of = |arm: &str, variation| {
            let units = members(range(arm), 501, 1).into_iter();
            units.map(|unit| (unit, variation)).collect::<Vec<_>>()
        };
        let (exposed, control) = (of("exposed", 1), of("control", 0));
        for units in [&exposed[..500], &control[..500]] {
            world.deliver(&batch_from(&world, source, units, |at| 1 + u32::from(at % 2 == 0))).await;
        }
        // The control arm buys, and the exposed arm does not.
        let bought: Vec<Value> =
            control.iter().take(500).map(|(unit, _)| world.outcome(unit, "conversion")).collect();
        world.ingest(&bought).await;
        world.pass_a_minute().await;
        assert_eq!(world.tick().await.moved, 0, "{source}");
        let verdict = world.get(&format!("{FLAG}/verdicts?limit=1")).await["verdicts"][0].clone();
        let said = (&verdict["decision"], &verdict["reason"]);
        assert_eq!(said, (&json!("hold"), &json!("few_networks")), "{source}: {verdict}");
        let named = if source == "ticket" { "client" } else { source };
        assert_eq!(verdict["evidence"][0]["origins"], json!({ "sources": [named], "networks": 2 }));
        world.deliver(&batch_from(&world, source, &exposed[500..], |_| 3)).await;
        world.pass_a_minute().await;
        assert_eq!(world.tick().await.moved, 1, "{source}");
    }
}

/// The rules that a phase of the flag counts under.
async fn rules_of(world: &World, phase: u32) -> Value {
    let sql = "SELECT rules FROM phase_rules JOIN phases USING (phase_id) WHERE phase = $1";
    let rules: String =
        sqlx::query_scalar(sql).bind(phase).fetch_one(&mut world.database().await).await.unwrap();
    serde_json::from_str(&rules).unwrap()
}

#[tokio::test]
async fn the_bins_of_values_are_frozen_from_the_control_of_earlier_phases() {
    const DAY: u64 = 24 * 60 * MINUTE;
    let world = World::new().await;
    let watched = |min_sample| policy(json!({ "min_sample": min_sample, "values": ["revenue"] }));
    world.ok("PUT", &format!("{FLAG}/fuse"), watched(1_000_000)).await;
    let spent = |unit: &str, value: f64| {
        world.event(json!({ "type": "outcome", "unit": unit, "metric": "revenue", "value": value }))
    };
    let (exposed, control) = (members(0..200_000, 300, 1), members(800_000..1_000_000, 300, 1));
    for (units, variation, worth) in [(&exposed, "on", 9_000.0), (&control, "off", 10.0)] {
        let mut events = Vec::new();
        for (at, unit) in (0_u32..).zip(units) {
            // In two parts, from 10 to 40 of control.
            let part = worth / 2.0 + f64::from(at) / 20.0;
            events.extend([world.exposure(unit, variation, 1), spent(unit, part), spent(unit, part)]);
        }
        world.ingest(&events).await;
    }
    world.close_slots().await;
    let edges = |rules: &Value| {
        let metric =
            rules["metrics"].as_array().unwrap().iter().find(|own| own["name"] == "revenue").unwrap();
        metric["counting"]["sum"]["edges"].clone()
    };
    assert_eq!(edges(&rules_of(&world, 1).await), Value::Null, "there is no history");
    // A phase that begins before any sum is final has no history either.
    world.ok("PUT", &format!("{FLAG}/fuse"), watched(1_000_001)).await;
    world.pass_a_minute().await;
    assert_eq!(edges(&rules_of(&world, 2).await), Value::Null);
    world.clock.advance(3 * DAY);
    world.close_due().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), watched(1_000_002)).await;
    world.pass_a_minute().await;
    let frozen = edges(&rules_of(&world, 3).await);
    let micros: Vec<i64> = frozen.as_array().unwrap().iter().map(|edge| edge.as_i64().unwrap()).collect();
    assert_eq!(micros.len(), 63);
    assert!(micros.is_sorted_by(|a, b| a < b), "{micros:?}");
    // Within a bin of the edges before: control spent from 10 to 40, and what the exposed spent does not matter.
    let (first, last) = (micros[0], micros[62]);
    assert!(
        (7_000_000..12_000_000).contains(&first) && (35_000_000..60_000_000).contains(&last),
        "{micros:?}"
    );
    // They stand, whatever comes, also behind a restart.
    world.let_go().await;
    world.ingest(&[world.exposure(&members(0..200_000, 1, 3)[0], "on", 3)]).await;
    world.close_slots().await;
    assert_eq!(edges(&rules_of(&world, 3).await), frozen);
    assert_eq!(edges(&rules_of(&world, 1).await), Value::Null);
}

#[tokio::test]
async fn health_tells_what_is_counted_what_is_not_and_why() {
    let world = World::new().await;
    let guardrails = json!([
        { "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05 },
        { "metric": "chekout_error", "direction": "increase_is_harm", "threshold": 0.5 },
    ]);
    let watched = policy(json!({ "min_sample": 1_000_000, "guardrails": guardrails }));
    world.ok("PUT", &format!("{FLAG}/fuse"), watched).await;
    world.run_cohort(1, 40, (10, 10), "conversion").await;
    world.ingest(&[world.outcome("", "conversion"), json!({ "nothing": 1 }), json!({ "nothing": 2 })]).await;
    let health = world.get(&format!("{ENVIRONMENT}/telemetry-health")).await;
    let flag = &health["flags"][0];
    assert_eq!(
        (&flag["flag"], &flag["phase"], &flag["plausible"]),
        (&json!("checkout"), &json!(1), &json!(true))
    );
    assert_eq!(flag["enrolled"], json!({ "exposed": 40, "control": 40 }));
    assert_eq!(flag["buckets"], json!({ "exposed": 200_000, "control": 200_000 }));
    assert_eq!(flag["guardrails_without_events"], json!(["chekout_error"]));
    assert_eq!((&health["balance"]["quarantined"], &health["balance"]["exact"]), (&json!(3), &json!(true)));
    let groups = health["quarantine"].as_array().unwrap();
    let counted: Vec<_> =
        groups.iter().map(|group| (group["code"].as_str().unwrap(), group["events"].clone())).collect();
    assert_eq!(counted, [("bad_schema", json!(2)), ("unit_missing", json!(1))]);
    assert!(groups.iter().all(|group| !group["reason"].as_str().unwrap().is_empty()), "{health}");
}

#[tokio::test]
async fn a_replay_is_rehearsed_first_and_stands_in_the_audit_trail() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let path = format!("{ENVIRONMENT}/quarantine/replay");
    let exposure = |unit: &str| {
        world.event(json!({ "type": "exposure", "unit": unit, "flag": "later", "variation": "on" }))
    };
    world.ingest(&[exposure("a"), exposure("b"), json!({ "nothing": 1 })]).await;
    let groups = world.get(&format!("{ENVIRONMENT}/telemetry-health")).await["quarantine"].clone();
    assert_eq!(
        (&groups[0]["code"], &groups[0]["flag"]),
        (&json!("unknown_flag"), &json!("later")),
        "{groups}"
    );
    let told = world.ok("POST", &path, json!({ "dry_run": true })).await;
    let refused = json!({ "bad_schema": 1, "unknown_flag": 2 });
    assert_eq!((&told["looked_at"], &told["would_pass"], &told["refused"]), (&json!(3), &json!(0), &refused));

    world.ok("PUT", &format!("{ENVIRONMENT}/flags/later"), crate::world::flag()).await;
    let told = world.ok("POST", &path, json!({ "dry_run": true, "code": "unknown_flag" })).await;
    assert_eq!((&told["would_pass"], &told["stored"]), (&json!(2), &json!(0)));
    let outside = async || {
        world.get(&format!("{ENVIRONMENT}/flags/later/cells")).await["exposures_outside_cohort"].clone()
    };
    assert_eq!(outside().await, json!({}), "a dry run counts nothing");
    let told = world.ok("POST", &path, json!({ "flag": "later" })).await;
    assert_eq!((&told["looked_at"], &told["stored"], &told["refused"]), (&json!(2), &json!(2), &json!({})));
    assert_eq!(outside().await, json!({ "on": 2 }));
    let again = world.ok("POST", &path, Value::Null).await;
    assert_eq!((&again["looked_at"], &again["stored"]), (&json!(1), &json!(0)));
    assert_eq!(outside().await, json!({ "on": 2 }), "not a second time");
    let trail = world.get(&format!("{ENVIRONMENT}/audit?limit=100")).await["audit"].clone();
    let replays = trail.as_array().unwrap().iter().filter(|entry| entry["action"] == "quarantine.replay");
    let replays: Vec<_> =
        replays.map(|entry| (&entry["actor"], &entry["subject"], &entry["detail"])).collect();
    let detail =
        json!({ "code": null, "flag": "later", "sdk": null, "events": 2, "stored": 2, "duplicate": 0 });
    let expected = (&json!("token:first admin"), &json!("production"), &detail);
    assert_eq!(replays, [expected], "neither a dry run nor one that counts nothing");
    let of_flag = world.get(&format!("{ENVIRONMENT}/audit?flag=later")).await["audit"].clone();
    assert!(
        of_flag.as_array().unwrap().iter().any(|entry| entry["action"] == "quarantine.replay"),
        "{of_flag}"
    );
    let states = world.get(&format!("{ENVIRONMENT}/quarantine")).await["quarantine"].clone();
    let replayed = states.as_array().unwrap().iter().filter(|row| row["replay_state"] == "replayed").count();
    assert_eq!(replayed, 2);
    let health = world.get(&format!("{ENVIRONMENT}/telemetry-health")).await;
    assert_eq!(
        health["balance"],
        json!({ "received": 5, "stored": 2, "duplicate": 0, "quarantined": 3, "exact": true })
    );
}
