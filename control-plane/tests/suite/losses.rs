//! What a change would lose beside what it names: refused, kept, or told by name.

use serde_json::{Value, json};

use crate::world::{Answer, ENVIRONMENT, FLAG, World, flag, policy, settings};

const BASE: &str = "/v1/projects/demo/flags/shared";
const STAGING: &str = "/v1/projects/demo/environments/staging";

fn here(rest: &str) -> String {
    format!("{ENVIRONMENT}/{rest}")
}

fn there(rest: &str) -> String {
    format!("{STAGING}/{rest}")
}

async fn newest(world: &World) -> String {
    world.get(&here("snapshots")).await["snapshots"][0]["version"].as_str().unwrap().to_owned()
}

/// Everything that could have changed.
async fn everything(world: &World) -> Vec<Value> {
    let mut all = vec![world.get("/v1/audit").await, world.get("/v1/projects/demo/flags").await];
    for rest in ["flags", "segments", "snapshots"] {
        all.push(world.get(&here(rest)).await);
    }
    all
}

/// Refused for the fuses in these environments; nothing is stored.
async fn in_use(world: &World, method: &str, path: &str, fuses: Value) -> Answer {
    let before = everything(world).await;
    let answer = world.call(method, path, Value::Null).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (409, "fuse_in_use"), "{path}: {}", answer.body);
    assert_eq!(answer.body["fuses"], fuses);
    assert_eq!(everything(world).await, before, "nothing is stored");
    answer
}

#[tokio::test]
async fn a_flag_takes_its_fuse_along_only_where_somebody_says_so() {
    let world = World::new().await;
    for (action, circuit) in [(None, "CLOSED"), (Some("trip"), "OPEN"), (Some("half-open"), "HALF_OPEN")] {
        if world.call("GET", FLAG, Value::Null).await.code() == "unknown_flag" {
            world.ok("PUT", FLAG, flag()).await;
        }
        world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
        if let Some(action) = action {
            world.ok("POST", &format!("{FLAG}/fuse/{action}"), Value::Null).await;
        }
        let fuses = json!([{ "environment": "production", "circuit": circuit }]);
        for query in ["", "?dry_run=true", "?with_fuse=false"] {
            let answer = in_use(&world, "DELETE", &format!("{FLAG}{query}"), fuses.clone()).await;
            let detail = answer.body["detail"].as_str().unwrap();
            for words in ["\"checkout\"", &format!("production ({circuit})"), "?with_fuse=true"] {
                assert!(detail.contains(words), "{detail}");
            }
        }
        let rehearsed = world.ok("DELETE", &format!("{FLAG}?with_fuse=true&dry_run=true"), Value::Null).await;
        assert_eq!(rehearsed["fuses_deleted"], fuses);
        let answer = world.ok("DELETE", &format!("{FLAG}?with_fuse=true"), Value::Null).await;
        assert_eq!(answer["fuses_deleted"], fuses);
        let entry = world.get(&here("audit?limit=1")).await["audit"][0].clone();
        assert_eq!((&entry["action"], &entry["detail"]["fuses_deleted"]), (&json!("flag.delete"), &fuses));
    }
    let answer = world.call("DELETE", &format!("{FLAG}?with_fuse=perhaps"), Value::Null).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (400, "bad_query"));
    // Without a fuse nobody asks, and there is nothing to tell.
    world.ok("PUT", FLAG, flag()).await;
    assert_eq!(world.ok("DELETE", FLAG, Value::Null).await["fuses_deleted"], Value::Null);
}

#[tokio::test]
async fn a_projects_flag_goes_only_with_the_fuses_of_all_environments_named() {
    let world = World::new().await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "staging" })).await;
    world.ok("PUT", BASE, flag()).await;
    for path in [here("flags/shared/fuse"), there("flags/shared/fuse")] {
        world.ok("PUT", &path, policy(json!({}))).await;
    }
    world.ok("POST", &there("flags/shared/fuse/trip"), Value::Null).await;
    world.ok("PUT", &there("flags/shared/override"), json!({ "description": "ours" })).await;
    let fuses = json!([
        { "environment": "production", "circuit": "CLOSED" }, { "environment": "staging", "circuit": "OPEN" },
    ]);
    let answer = in_use(&world, "DELETE", BASE, fuses.clone()).await;
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.contains("production (CLOSED), staging (OPEN)"), "{detail}");
    // An override that goes leaves the flag, and so the fuse and its hold.
    world.ok("DELETE", &there("flags/shared/override"), Value::Null).await;
    let kept = world.get(&there("flags/shared/fuse")).await;
    assert_eq!(
        (&kept["circuit"], &kept["opened_by_hand"], &kept["phase"]),
        (&json!("OPEN"), &json!(true), &json!(2))
    );
    world.ok("PUT", &there("flags/shared/override"), json!({ "description": "ours" })).await;
    let answer = world.ok("DELETE", &format!("{BASE}?with_fuse=true"), Value::Null).await;
    assert_eq!((&answer["fuses_deleted"], &answer["overrides_deleted"]), (&fuses, &json!(["staging"])));
    assert_eq!(world.call("GET", &there("flags/shared"), Value::Null).await.code(), "unknown_flag");
}

#[tokio::test]
async fn an_import_that_replaces_a_watched_flag_keeps_its_fuse() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.ok("POST", &format!("{FLAG}/fuse/trip"), Value::Null).await;
    let (fuse, cohort) =
        (world.get(&format!("{FLAG}/fuse")).await, world.get(FLAG).await["flag"]["cohort"].clone());
    let definition =
        json!({ "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "off" });
    let document = json!({ "flags": { "checkout": definition } });
    world.ok("POST", &here("import?format=flagd&replace=true"), document).await;
    assert_eq!(world.get(FLAG).await["flag"]["cohort"], cohort);
    assert_eq!(world.get(&format!("{FLAG}/fuse")).await["circuit"], fuse["circuit"]);
    assert_eq!(world.get(&format!("{FLAG}/fuse")).await["phase"], fuse["phase"]);
}

#[tokio::test]
async fn going_back_keeps_the_flag_of_a_fuse_and_says_so() {
    let world = World::new().await;
    let to = newest(&world).await;
    world.ok("PUT", &here("flags/new"), flag()).await;
    world.ok("PUT", &here("flags/watched"), flag()).await;
    world.ok("PUT", &here("flags/watched/fuse"), policy(json!({}))).await;
    world.ok("POST", &here("flags/watched/fuse/trip"), Value::Null).await;
    world.ok("PUT", &here("segments/beta"), json!({})).await;
    let mut edited = flag();
    edited["rules"] = json!([{ "key": "r", "split": [{ "variation": "on" }] }]);
    world.ok("PUT", FLAG, edited).await;
    let fuse = json!([{ "flag": "watched", "environment": "production", "circuit": "OPEN" }]);
    let told = [
        ("changed_flags", json!(["checkout"])),
        ("deleted_flags", json!(["new"])),
        ("deleted_shared", json!(["segment beta"])),
        ("kept_under_fuse", fuse.clone()),
        ("fuses_deleted", Value::Null),
        ("cut", Value::Null),
    ];
    let before = everything(&world).await;
    let rehearsed = world.ok("POST", &here("revert?dry_run=true"), json!({ "to": to })).await;
    assert_eq!(everything(&world).await, before, "nothing is stored");
    let answer = world.ok("POST", &here("revert"), json!({ "to": to })).await;
    for (name, expected) in &told {
        assert_eq!((&rehearsed[name], &answer[name]), (expected, expected), "{name}: {answer}");
    }
    let entry = world.get(&here("audit?limit=1")).await["audit"][0]["detail"].clone();
    assert_eq!((&entry["kept_under_fuse"], &entry["deleted_flags"]), (&fuse, &json!(["new"])));
    assert_eq!(world.get(&here("flags/watched/fuse")).await["circuit"], "OPEN");
    // Said so, it goes too, and is named.
    let answer = world.ok("POST", &here("revert?with_fuse=true"), json!({ "to": to })).await;
    assert_eq!(
        (&answer["fuses_deleted"], &answer["deleted_flags"]),
        (&fuse, &json!(["watched"])),
        "{answer}"
    );
    assert_eq!(world.call("GET", &here("flags/watched"), Value::Null).await.code(), "unknown_flag");
}

#[tokio::test]
async fn going_back_says_which_fuses_it_does_not_bring_back() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let to = newest(&world).await;
    let answer = world.ok("POST", &here("revert"), json!({ "to": to })).await;
    assert_eq!(answer["fuses_not_restored"], Value::Null, "it is still there");
    world.ok("DELETE", &format!("{FLAG}?with_fuse=true"), Value::Null).await;
    for body in [json!({ "to": to }), json!({ "to": to, "flag": "checkout" })] {
        let answer = world.ok("POST", &here("revert?dry_run=true"), body).await;
        assert_eq!(answer["fuses_not_restored"], json!(["checkout"]), "{answer}");
    }
    let answer = world.ok("POST", &here("revert"), json!({ "to": to })).await;
    assert_eq!(
        (&answer["fuses_not_restored"], &answer["changed_flags"]),
        (&json!(["checkout"]), &json!(["checkout"]))
    );
    assert_eq!(world.call("GET", &format!("{FLAG}/fuse"), Value::Null).await.code(), "unknown_fuse");
}

#[tokio::test]
async fn going_back_names_every_flag_up_to_a_number_and_says_where_the_list_ends() {
    let world = World::new().await;
    let to = newest(&world).await;
    let flags: Vec<(String, Value)> = (0..201)
        .map(|n| {
            let variants = json!({ "on": true, "off": false });
            (format!("f{n:03}"), json!({ "state": "ENABLED", "variants": variants, "defaultVariant": "on" }))
        })
        .collect();
    let document = |count: usize| json!({ "flags": flags.iter().take(count).cloned().collect::<serde_json::Map<_, _>>() });
    let deleted = async |count: usize| {
        world.ok("POST", &here("import?format=flagd"), document(count)).await;
        let answer = world.ok("POST", &here("revert"), json!({ "to": to })).await;
        (answer["deleted_flags"].as_array().unwrap().len(), answer["cut"].clone())
    };
    assert_eq!(deleted(200).await, (200, Value::Null));
    assert_eq!(deleted(201).await, (200, json!({ "deleted_flags": { "named": 200, "count": 201 } })));
}

#[tokio::test]
async fn going_back_over_a_fuse_is_asked_about_like_any_other_change() {
    let world = World::new().await;
    let to = newest(&world).await;
    let mut on = flag();
    on["default_variation"] = json!("off");
    world.ok("PUT", &here("flags/watched"), on).await;
    world.ok("PUT", &here("flags/watched/fuse"), policy(json!({}))).await;
    world.ok("PUT", &here("settings"), settings(json!({ "confirm_above_pct": 20 }))).await;
    // Kept, it changes no decision, so nobody has to be asked.
    world.ok("POST", &here("revert"), json!({ "to": to })).await;
    let path = here("revert?with_fuse=true");
    let before = everything(&world).await;
    let asked = world.call("POST", &path, json!({ "to": to })).await;
    assert_eq!((asked.status.as_u16(), asked.code()), (409, "confirmation_needed"), "{}", asked.body);
    assert_eq!(everything(&world).await, before, "nothing is stored");
    let given = asked.body["confirmation"].as_str().unwrap();
    let answer = world.call_if(("x-flagfuse-confirm", given), "POST", &path, &json!({ "to": to })).await;
    assert!(answer.status.is_success(), "{}", answer.body);
    assert_eq!(answer.body["deleted_flags"], json!(["watched"]));
}

#[tokio::test]
async fn going_back_and_importing_name_the_flags_that_they_switch_on() {
    let world = World::new().await;
    let to = newest(&world).await;
    let mut off = flag();
    off["enabled"] = json!(false);
    world.ok("PUT", FLAG, off.clone()).await;
    let rehearsed = world.ok("POST", &here("revert?dry_run=true"), json!({ "to": to })).await;
    assert_eq!(rehearsed["switched_on"], json!(["checkout"]));
    assert_eq!(
        world.ok("POST", &here("revert"), json!({ "to": to })).await["switched_on"],
        json!(["checkout"])
    );
    assert_eq!(world.ok("POST", &here("revert"), json!({ "to": to })).await["switched_on"], Value::Null);
    let variants = json!({ "on": true, "off": false });
    let definition = json!({ "state": "ENABLED", "variants": variants, "defaultVariant": "off" });
    let document = json!({ "flags": { "checkout": definition } });
    let import = here("import?format=flagd&replace=true");
    assert_eq!(world.ok("POST", &import, document.clone()).await["switched_on"], json!([]));
    world.ok("PUT", FLAG, off).await;
    assert_eq!(world.ok("POST", &import, document).await["switched_on"], json!(["checkout"]));
}

#[tokio::test]
async fn another_policy_says_which_units_it_leaves_behind() {
    let world = World::new().await;
    let fuse = format!("{FLAG}/fuse");
    assert_eq!(world.ok("PUT", &fuse, policy(json!({}))).await["left_behind"], Value::Null);
    assert_eq!(
        world.ok("PUT", &fuse, policy(json!({ "min_sample": 201 }))).await["left_behind"],
        Value::Null
    );
    world.run_cohort(2, 30, (0, 0), "conversion").await;
    let left = json!({ "phase": 2, "exposed_units": 30, "control_units": 30 });
    let other = policy(json!({ "min_sample": 202 }));
    assert_eq!(world.ok("PUT", &format!("{fuse}?dry_run=true"), other.clone()).await["left_behind"], left);
    assert_eq!(world.ok("PUT", &fuse, other.clone()).await["left_behind"], left);
    assert_eq!(
        world.ok("PUT", &fuse, other).await["left_behind"],
        Value::Null,
        "the same policy goes on counting"
    );
    let entry = world.get(&here("audit?limit=1")).await["audit"][0].clone();
    assert_eq!((&entry["action"], &entry["detail"]["left_behind"]), (&json!("fuse.put"), &left));
}

#[tokio::test]
async fn a_flag_of_its_own_says_which_override_it_takes_the_place_of() {
    let world = World::new().await;
    world.ok("PUT", BASE, flag()).await;
    let patch = json!({ "description": "ours" });
    world.ok("PUT", &here("flags/shared/override"), patch.clone()).await;
    let answer = world.ok("PUT", &here("flags/shared"), flag()).await;
    assert_eq!((&answer["detached"], &answer["override_deleted"]), (&json!(true), &patch));
}

#[tokio::test]
async fn what_somebody_switched_off_is_not_switched_on_by_a_body_that_does_not_say_so() {
    let world = World::new().await;
    let with = |mut body: Value, enabled: bool| {
        body["enabled"] = json!(enabled);
        body
    };
    world.ok("PUT", BASE, flag()).await;
    let over = here("flags/shared/override");
    for (path, body) in [(FLAG, flag()), (BASE, flag()), (over.as_str(), json!({ "description": "ours" }))] {
        world.ok("PUT", path, body.clone()).await;
        world.ok("PUT", path, with(body.clone(), false)).await;
        let before = everything(&world).await;
        for query in ["", "?dry_run=true"] {
            let answer = world.call("PUT", &format!("{path}{query}"), body.clone()).await;
            assert_eq!(
                (answer.status.as_u16(), answer.code()),
                (409, "flag_is_off"),
                "{path}: {}",
                answer.body
            );
            assert!(answer.body["detail"].as_str().unwrap().contains("send \"enabled\""), "{}", answer.body);
        }
        assert_eq!(everything(&world).await, before, "nothing is stored");
        world.ok("PUT", path, with(body.clone(), true)).await;
        world.ok("PUT", path, body).await;
    }
    // An own flag that is off does not come back on as its project's by an override that does not say so.
    world.ok("PUT", &here("flags/shared"), with(flag(), false)).await;
    assert_eq!(world.call("PUT", &over, json!({})).await.code(), "flag_is_off");
    world.ok("PUT", &over, json!({ "enabled": true })).await;
    // What is off in the project stays off, whatever an override says of other things.
    world.ok("PUT", BASE, with(flag(), false)).await;
    world.ok("PUT", &over, json!({ "enabled": false })).await;
    world.ok("PUT", &over, json!({ "description": "ours" })).await;
    assert_eq!(world.get(&here("flags/shared")).await["flag"]["enabled"], false);
    // A new flag is on without saying so.
    world.ok("PUT", &here("flags/new"), flag()).await;
    assert_eq!(world.get(&here("flags/new")).await["flag"]["enabled"], true);
}
