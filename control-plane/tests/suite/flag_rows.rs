//! Flags as a list shows them: what they serve in a sentence, found by what is said of them, a page at a time.

use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, World, flag, members, policy};

fn rows(rest: &str) -> String {
    format!("{ENVIRONMENT}/flag-rows{rest}")
}

async fn keys(world: &World, query: &str) -> Vec<String> {
    let page = world.get(&rows(query)).await;
    let found: Vec<String> =
        page["rows"].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(page["total"], json!({ "count": found.len(), "is_more": false }), "{query}: {page}");
    found
}

async fn world() -> World {
    let world = World::new().await;
    let mut off = flag();
    off["enabled"] = json!(false);
    world.ok("PUT", &format!("{ENVIRONMENT}/flags/banner"), off).await;
    world.clock.advance(1_000);
    world.ok("PUT", "/v1/projects/demo/flags/base", flag()).await;
    world.clock.advance(1_000);
    let mut named = flag();
    named["targets"] = json!([{ "variation": "on", "units": ["anna", "bob"] }]);
    world.ok("PUT", FLAG, named).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let said =
        json!({ "name": "New checkout", "owner": "payments", "tags": ["web", "q4"], "kind": "release" });
    world.ok("PUT", "/v1/projects/demo/flag-details/checkout", said).await;
    let said = json!({ "name": "Top of the page", "owner": "web", "tags": ["web"], "kind": "ops" });
    world.ok("PUT", "/v1/projects/demo/flag-details/banner", said).await;
    world
}

#[tokio::test]
async fn a_row_says_what_a_flag_serves_and_what_stands_around_it() {
    let world = world().await;
    let page = world.get(&rows("")).await;
    let [banner, base, checkout] = page["rows"].as_array().unwrap().as_slice() else { panic!("{page}") };
    assert_eq!(
        (&banner["state"], &banner["sentence"], &banner["fuse"]),
        (&json!("off"), &json!("Off: everyone gets `off`."), &Value::Null)
    );
    assert_eq!((&base["inherited"], &base["name"], &base["kind"]), (&json!(true), &json!(""), &Value::Null));
    assert_eq!(
        checkout["sentence"],
        "2 named users get `on`; 20 % see `on`, 20 % are kept as control, everyone else gets `off`. A closed fuse watches \
         conversion."
    );
    assert_eq!(checkout["fuse"], json!({ "circuit": "CLOSED", "stage": 1, "stages": 1 }));
    assert_eq!((&checkout["owner"], &checkout["tags"]), (&json!("payments"), &json!(["web", "q4"])));
    assert_eq!((&checkout["inherited"], &checkout["last_asked_ms"]), (&json!(false), &Value::Null));
    let read = world.get(FLAG).await;
    assert_eq!((&read["sentence"], &read["revision"]), (&checkout["sentence"], &checkout["revision"]));
    assert_eq!((&read["details"]["name"], &read["updated_ms"]), (&checkout["name"], &checkout["changed_ms"]));
    assert_eq!(world.get(&format!("{ENVIRONMENT}/flags/base")).await["details"], Value::Null);
    // What is read can be sent back.
    let back = world.call("PUT", FLAG, read).await;
    assert_eq!(back.status.as_u16(), 200, "{}", back.body);
    world.ok("POST", &format!("{FLAG}/fuse/trip"), Value::Null).await;
    let tripped = world.get(&rows("?circuit=OPEN")).await["rows"][0].clone();
    assert_eq!(tripped["fuse"], json!({ "circuit": "OPEN", "stage": 0, "stages": 1 }));
    assert!(
        tripped["sentence"].as_str().unwrap().ends_with("An open fuse keeps `on` from everyone."),
        "{tripped}"
    );
}

#[tokio::test]
async fn the_stage_of_a_ramp_is_told_with_how_many_there_are() {
    let world = World::new().await;
    let ramp = json!({ "stages": [
        { "exposed_percent": 1, "control_percent": 4, "dwell_s": 1 }, { "exposed_percent": 5, "control_percent": 5, "dwell_s": 1 },
    ] });
    let mut policy = policy(json!({ "mode": "anytime", "ramp": ramp }));
    for name in ["exposure_percent", "control_percent", "min_sample", "min_confidence"] {
        policy.as_object_mut().unwrap().remove(name);
    }
    world.ok("PUT", &format!("{FLAG}/fuse"), policy).await;
    let stage = async || world.get(&rows("")).await["rows"][0]["fuse"].clone();
    let expected = world.get(&format!("{FLAG}/fuse")).await["attempt"]["stages"].as_array().unwrap().len();
    assert_eq!(stage().await, json!({ "circuit": "CLOSED", "stage": 1, "stages": expected }));
    world.ok("POST", &format!("{FLAG}/fuse/advance"), Value::Null).await;
    assert_eq!(stage().await, json!({ "circuit": "CLOSED", "stage": 2, "stages": expected }));
}

#[tokio::test]
async fn the_last_question_is_known_from_exposures_and_from_counts_of_clients() {
    let world = world().await;
    let asked = async |key: &str| {
        let page = world.get(&rows("")).await;
        let row = page["rows"].as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone();
        row["last_asked_ms"].clone()
    };
    let events = || {
        let plain = json!({ "type": "exposure", "unit": "u", "flag": "base", "variation": "off" });
        let unit = members(0..200_000, 1, 1).remove(0);
        let counted = json!({ "type": "usage", "flag": "banner", "yes": 1 });
        [world.event(plain), world.exposure(&unit, "on", 1), world.event(counted)]
    };
    world.ingest(&events()).await;
    let first = json!(world.clock.now());
    for key in ["base", "checkout", "banner"] {
        assert_eq!(asked(key).await, first, "{key}");
    }
    world.clock.advance(30_000);
    world.ingest(&[world.event(json!({ "type": "usage", "flag": "banner", "no": 1 }))]).await;
    assert_eq!(asked("banner").await, first, "to the minute");
    world.clock.advance(30_000);
    world.ingest(&[world.event(json!({ "type": "usage", "flag": "banner", "no": 1 }))]).await;
    assert_eq!((asked("banner").await, asked("base").await), (json!(world.clock.now()), first));
    // A flag that is made anew was never asked for.
    world.ok("DELETE", &format!("{ENVIRONMENT}/flags/banner"), Value::Null).await;
    world.ok("PUT", &format!("{ENVIRONMENT}/flags/banner"), flag()).await;
    assert_eq!(asked("banner").await, Value::Null);
}

#[tokio::test]
async fn rows_are_found_by_what_is_said_of_them_and_by_where_they_stand() {
    let world = world().await;
    for (query, expected) in [
        ("", &["banner", "base", "checkout"][..]),
        ("?sort=-key", &["checkout", "base", "banner"]),
        ("?sort=changed", &["banner", "base", "checkout"]),
        ("?sort=-changed&state=on", &["checkout", "base"]),
        ("?q=top%20of", &["banner"]),
        ("?q=CHECK", &["checkout"]),
        ("?owner=payments", &["checkout"]),
        ("?owner=pay", &[]),
        ("?tag=web", &["banner", "checkout"]),
        ("?tag=web&kind=ops", &["banner"]),
        ("?tag=we", &[]),
        ("?kind=experiment", &[]),
        ("?state=off", &["banner"]),
        ("?circuit=CLOSED", &["checkout"]),
        ("?circuit=OPEN", &[]),
        ("?state=on&owner=web", &[]),
    ] {
        assert_eq!(keys(&world, query).await, expected, "{query}");
    }
    let first = world.get(&rows("?tag=web&limit=1")).await;
    assert_eq!(first["total"]["count"], 2);
    let next = first["next"].as_str().unwrap();
    let rest = world.get(&rows(&format!("?tag=web&limit=1&cursor={next}"))).await;
    assert_eq!((&rest["rows"][0]["key"], &rest["next"]), (&json!("checkout"), &Value::Null));
    let other = world.call("GET", &rows(&format!("?tag=q4&limit=1&cursor={next}")), Value::Null).await;
    assert_eq!((other.status.as_u16(), other.code()), (400, "bad_cursor"), "of another question");
}

#[tokio::test]
async fn filters_that_mean_nothing_are_refused_by_their_names() {
    let world = World::new().await;
    for (query, parameter) in [
        ("state=maybe", "state"),
        ("kind=feature", "kind"),
        ("circuit=closed", "circuit"),
        ("owner=", "owner"),
        ("tag=", "tag"),
        ("sort=name", "sort"),
        ("enabled=true", "enabled"),
        ("limit=1001", "limit"),
    ] {
        let answer = world.call("GET", &rows(&format!("?{query}")), Value::Null).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "bad_query"), "{query}: {}", answer.body);
        assert_eq!(answer.body["errors"][0]["parameter"], parameter, "{query}: {}", answer.body);
    }
}
