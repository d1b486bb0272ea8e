//! Safety before speed: what a change would do is told, asked about where it is much, and taken back under a new version.

use flagfuse_control_plane::credential::TokenKind;
use serde_json::{Value, json};

use crate::world::{Answer, ENVIRONMENT, FLAG, World, flag, policy, settings};

fn path(rest: &str) -> String {
    format!("{ENVIRONMENT}/{rest}")
}

fn with(patch: Value) -> Value {
    let mut flag = flag();
    for (name, value) in patch.as_object().unwrap() {
        flag[name] = value.clone();
    }
    flag
}

/// Serves the feature to so many percent.
fn rollout(percentage: u32) -> Value {
    with(json!({ "rules": [{ "key": "r", "percentage": percentage, "split": [{ "variation": "on" }] }] }))
}

async fn call_with(world: &World, method: &str, path: &str, body: Value, confirmation: &str) -> Answer {
    world.call_if(("x-flagfuse-confirm", confirmation), method, path, &body).await
}

/// Asks above so many percent; the flag is rolled out to 10 % then.
async fn asking(confirm_above_pct: u32) -> World {
    let world = World::new().await;
    world.ok("PUT", FLAG, rollout(10)).await;
    world.ok("PUT", &path("settings"), settings(json!({ "confirm_above_pct": confirm_above_pct }))).await;
    world
}

/// Everything that could have changed.
async fn state(world: &World) -> Value {
    json!([
        world.get(&path("flags")).await,
        world.get(&path("segments")).await,
        world.get("/v1/audit").await,
        world.get(&path("snapshots")).await,
    ])
}

async fn refused(world: &World, method: &str, path: &str, body: Value) -> Answer {
    let before = state(world).await;
    let answer = world.call(method, path, body).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (409, "confirmation_needed"), "{}", answer.body);
    assert_eq!(before, state(world).await, "nothing is stored");
    answer
}

fn confirmation(answer: &Answer) -> String {
    answer.body["confirmation"].as_str().unwrap().to_owned()
}

async fn newest(world: &World) -> String {
    world.get(&path("snapshots")).await["snapshots"][0]["version"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_change_tells_in_short_what_it_does_in_its_answer_and_in_the_audit_trail() {
    let world = World::new().await;
    let answer = world.ok("PUT", FLAG, rollout(50)).await;
    let told = &answer["diff"][0];
    assert_eq!(
        (&told["environment"], &told["flags_reached"], &told["flags_changed"]),
        (&json!("production"), &json!(1), &json!(1))
    );
    let changed_pct = told["changed_pct"]["checkout"].as_f64().unwrap();
    // Half of the askers with a unit, and those without one, who now get the default in their code.
    assert!((51.0..=55.0).contains(&changed_pct), "{answer}");
    let audit = world.get(&path("audit?limit=1")).await;
    assert_eq!(&audit["audit"][0]["detail"]["decisions"], told);
    // Nothing that decides anything has changed.
    let described = world
        .ok("PUT", FLAG, {
            let mut f = rollout(50);
            f["description"] = json!("x");
            f
        })
        .await;
    assert_eq!(described["diff"][0]["flags_reached"], 0);
    let put = world.ok("PUT", &path("settings"), settings(json!({}))).await;
    assert_eq!(put["diff"], Value::Null);
}

#[tokio::test]
async fn flags_that_come_and_go_tell_whom_they_serve() {
    let world = World::new().await;
    let new = path("flags/new");
    let rehearsed = world.ok("PUT", &format!("{new}?dry_run=true"), rollout(10)).await;
    let told = &rehearsed["diff"][0]["flags"][0];
    assert_eq!(
        (&told["kind"], &told["sampled"], &told["changed"]),
        (&json!("added"), &json!(1_000), &json!(0))
    );
    let served: Vec<(Option<&str>, f64)> = told["served"]
        .as_array()
        .unwrap()
        .iter()
        .map(|share| (share["variation"].as_str(), share["pct"].as_f64().unwrap()))
        .collect();
    let [(Some("off"), off), (Some("on"), on), (None, bare)] = served.as_slice() else { panic!("{told}") };
    // A tenth of those with a unit; one of sixteen has none.
    assert!((9.1..=9.7).contains(on) && (6.1..=6.3).contains(bare), "{told}");
    assert!((off + on + bare - 100.0).abs() < 0.15, "{told}");
    let words = format!(
        "new: off {off} %, on {on} %, the default in the caller's code {bare} % of 1,000 sampled askers"
    );
    assert_eq!(told["summary"], json!(words));
    // Made, it says so in short, and so does the audit trail.
    let answer = world.ok("PUT", &new, rollout(10)).await;
    let told = &answer["diff"][0];
    assert_eq!((&told["flags_changed"], &told["served"]), (&json!(0), &json!({ "new": words })), "{answer}");
    let audit = world.get(&path("audit?limit=1")).await;
    assert_eq!(&audit["audit"][0]["detail"]["decisions"], told);
    // What those askers got is told when it goes.
    let answer = world.ok("DELETE", &new, Value::Null).await;
    let gone = answer["diff"][0]["served"]["new"].as_str().unwrap();
    assert!(gone.starts_with("deleted, and served until now: off 84.") && gone.contains(", on 9."), "{gone}");
    // Of a flag that is there before and afterwards the moves tell.
    let answer = world.ok("PUT", FLAG, rollout(10)).await;
    assert_eq!(answer["diff"][0]["served"], Value::Null, "{answer}");
}

#[tokio::test]
async fn a_diff_that_names_not_every_flag_says_so() {
    let world = World::new().await;
    world.ok("PUT", &path("holdout"), json!({ "percentage": 1, "salt": "h" })).await;
    for n in 0..5 {
        world.ok("PUT", &path(&format!("flags/f{n}")), rollout(50)).await;
    }
    let holdout = async |percentage: u32, query: &str| {
        let body = json!({ "percentage": percentage, "salt": "h" });
        world.ok("PUT", &path(&format!("holdout{query}")), body).await["diff"][0].clone()
    };
    // Five are named in short, of six.
    let short = holdout(10, "").await;
    assert_eq!((&short["flags_reached"], &short["cut_after"]), (&json!(6), &json!(5)), "{short}");
    let whole = holdout(20, "?dry_run=true").await;
    assert_eq!((&whole["flags_reached"], &whole["cut_after"]), (&json!(6), &Value::Null), "{whole}");
    world.ok("DELETE", &path("flags/f0"), Value::Null).await;
    assert_eq!(holdout(30, "").await["cut_after"], Value::Null);
}

#[tokio::test]
async fn a_dry_run_tells_the_whole_diff_and_stores_nothing() {
    let world = World::new().await;
    world.ok("PUT", &path("segments/beta"), json!({ "included": ["anna"] })).await;
    let named = json!([{ "op": "in_segment", "values": ["beta"] }]);
    let rules = json!([{ "key": "r", "conditions": named, "split": [{ "variation": "on" }] }]);
    world.ok("PUT", FLAG, with(json!({ "rules": rules }))).await;
    world.ok("PUT", "/v1/projects/demo/flags/home", flag()).await;
    let before = state(&world).await;
    for (method, path, body, flag, kind) in [
        ("PUT", FLAG.to_owned(), rollout(50), "checkout", "altered"),
        ("DELETE", FLAG.to_owned(), Value::Null, "checkout", "removed"),
        ("PUT", path("flags/new"), flag(), "new", "added"),
        ("PUT", path("segments/beta"), json!({ "included": ["anna", "bert"] }), "checkout", "dependent"),
        ("PUT", path("holdout"), json!({ "percentage": 50, "salt": "h" }), "checkout", "dependent"),
        ("PUT", "/v1/projects/demo/flags/home".to_owned(), rollout(50), "home", "altered"),
        ("PUT", path("flags/home/override"), json!({ "enabled": false }), "home", "altered"),
        ("PUT", path("flags/checkout/fuse"), policy(json!({})), "checkout", "altered"),
        ("POST", path("revert"), json!({ "to": "1.2" }), "checkout", "altered"),
    ] {
        let answer = world.ok(method, &format!("{path}?dry_run=true"), body).await;
        assert_eq!((&answer["dry_run"], &answer["confirmation_needed"]), (&json!(true), &json!(false)));
        let flags = answer["diff"][0]["flags"].as_array().unwrap();
        let told = flags.iter().find(|told| told["flag"] == flag).unwrap_or_else(|| panic!("{answer}"));
        assert_eq!(told["kind"], kind, "{method} {path}: {answer}");
        assert_eq!(before, state(&world).await, "{method} {path} stored something");
    }
    let answer = world.ok("PUT", &format!("{FLAG}?dry_run=true"), rollout(50)).await;
    let moved = &answer["diff"][0]["flags"][0]["moves"][0];
    assert_eq!((&moved["from"], &moved["to"]), (&json!("off"), &json!("on")), "{answer}");
    assert!(moved["example"]["targetingKey"].is_string(), "{answer}");
    // What would be refused is refused in a dry run too.
    let answer = world.call("DELETE", &format!("{}?dry_run=true", path("segments/beta")), Value::Null).await;
    assert_eq!(answer.code(), "in_use");
    let answer = world.call("PUT", &format!("{FLAG}?dry_run=perhaps"), flag()).await;
    assert_eq!(answer.code(), "bad_query");
}

#[tokio::test]
async fn what_alters_more_decisions_than_agreed_waits_for_a_confirmation() {
    let world = asking(20).await;
    // Nine percent more of the units that have one: below the limit.
    world.ok("PUT", FLAG, rollout(19)).await;
    let asked = refused(&world, "PUT", FLAG, rollout(60)).await;
    assert_eq!(asked.body["diff"][0]["flags"][0]["flag"], "checkout");
    for words in ["flag \"checkout\"", "environment production", "above 20 %"] {
        assert!(asked.body["detail"].as_str().unwrap().contains(words), "{}", asked.body);
    }
    // Asked again: the same question.
    let again = refused(&world, "PUT", FLAG, rollout(60)).await;
    assert_eq!(asked.body, again.body);
    // A dry run hands it out as well.
    let rehearsed = world.ok("PUT", &format!("{FLAG}?dry_run=true"), rollout(60)).await;
    assert_eq!(rehearsed["confirmation"], asked.body["confirmation"]);
    let answer = call_with(&world, "PUT", FLAG, rollout(60), &confirmation(&asked)).await;
    assert!(answer.status.is_success(), "{}", answer.body);
    assert_eq!(world.get(FLAG).await["flag"]["rules"][0]["percentage"], 60.0);
}

#[tokio::test]
async fn a_confirmation_is_good_for_one_change_of_one_version() {
    let world = asking(20).await;
    let given = confirmation(&refused(&world, "PUT", FLAG, rollout(60)).await);
    let malformed = call_with(&world, "PUT", FLAG, rollout(60), "yes").await;
    assert_eq!((malformed.status.as_u16(), malformed.code()), (400, "bad_header"));
    for (confirmation, body) in [(given.as_str(), rollout(70)), (&"0".repeat(64), rollout(60))] {
        let answer = call_with(&world, "PUT", FLAG, body, confirmation).await;
        assert_eq!(answer.code(), "confirmation_needed");
        assert!(
            answer.body["detail"].as_str().unwrap().starts_with("the confirmation is for another change")
        );
    }
    // Another flag changes: the version that was looked at is no longer the newest.
    world.ok("PUT", &path("flags/other"), flag()).await;
    let answer = call_with(&world, "PUT", FLAG, rollout(60), &given).await;
    assert_eq!(answer.code(), "confirmation_needed");
    let anew = confirmation(&answer);
    assert_ne!(anew, given);
    let answer = call_with(&world, "PUT", FLAG, rollout(60), &anew).await;
    assert!(answer.status.is_success(), "{}", answer.body);
    // It was used: going back and trying again needs another one.
    let back = confirmation(&refused(&world, "PUT", FLAG, rollout(10)).await);
    assert!(call_with(&world, "PUT", FLAG, rollout(10), &back).await.status.is_success());
    assert_eq!(call_with(&world, "PUT", FLAG, rollout(60), &anew).await.code(), "confirmation_needed");
}

#[tokio::test]
async fn segments_holdouts_imports_and_projects_are_asked_about_too() {
    let world = asking(10).await;
    world
        .ok(
            "PUT",
            &path("segments/all"),
            json!({ "rules": [{ "conditions": [
        { "attribute": "country", "op": "in", "values": ["de"] }] }] }),
        )
        .await;
    let rules = json!([{ "key": "r", "conditions": [{ "op": "in_segment", "values": ["all"] }], "split": [{ "variation": "on" }] }]);
    let answer = world.call("PUT", FLAG, with(json!({ "rules": rules }))).await;
    let answer =
        call_with(&world, "PUT", FLAG, with(json!({ "rules": rules })), &confirmation(&answer)).await;
    assert!(answer.status.is_success(), "{}", answer.body);
    refused(&world, "PUT", &path("segments/all"), json!({ "rules": [{ "conditions": [] }] })).await;
    refused(&world, "DELETE", FLAG, Value::Null).await;
    world.ok("PUT", "/v1/projects/demo/flags/home", flag()).await;
    let asked = refused(&world, "PUT", "/v1/projects/demo/flags/home", rollout(50)).await;
    assert_eq!(asked.body["diff"][0]["environment"], "production");
    let confirmed =
        call_with(&world, "PUT", "/v1/projects/demo/flags/home", rollout(50), &confirmation(&asked)).await;
    assert!(confirmed.status.is_success(), "{}", confirmed.body);
    // A flag that nobody can have asked for yet alters nothing.
    world.ok("PUT", &path("flags/new"), rollout(100)).await;
}

#[tokio::test]
async fn killing_is_never_held_up() {
    let world = asking(0).await;
    // Off, with everything else as it was.
    let mut off = rollout(10);
    off["enabled"] = json!(false);
    world.ok("PUT", FLAG, off.clone()).await;
    let mut on = rollout(10);
    on["enabled"] = json!(true);
    let asked = refused(&world, "PUT", FLAG, on.clone()).await;
    assert!(call_with(&world, "PUT", FLAG, on, &confirmation(&asked)).await.status.is_success());
    // Off, but "off" serves the feature: that is no kill.
    off["off_variation"] = json!("on");
    refused(&world, "PUT", FLAG, off).await;
    // By an override, and with flags that need it.
    world.ok("PUT", "/v1/projects/demo/flags/home", with(json!({ "default_variation": "on" }))).await;
    let needs =
        json!({ "prerequisites": [{ "flag": "home", "variations": ["on"] }], "default_variation": "on" });
    world.ok("PUT", &path("flags/needs"), with(needs)).await;
    let answer = world.ok("PUT", &path("flags/home/override"), json!({ "enabled": false })).await;
    assert_eq!(answer["diff"][0]["flags_changed"], 2, "{answer}");
}

#[tokio::test]
async fn a_fuse_is_never_held_up_and_a_new_one_is_asked_about() {
    let world = asking(0).await;
    let fuse = format!("{FLAG}/fuse");
    let asked = refused(&world, "PUT", &fuse, policy(json!({}))).await;
    let answer = call_with(&world, "PUT", &fuse, policy(json!({})), &confirmation(&asked)).await;
    assert!(answer.status.is_success(), "{}", answer.body);
    world.run_cohort(1, 300, (0, 150), "conversion").await;
    assert_eq!(world.tick().await.moved, 1, "the engine");
    let audit = world.get(&path("audit?limit=1")).await;
    assert_eq!(audit["audit"][0]["actor"], "fuse");
    assert_eq!(audit["audit"][0]["detail"]["decisions"]["flags_changed"], 1, "{audit}");
    let rehearsed = world.ok("POST", &format!("{fuse}/close?dry_run=true"), Value::Null).await;
    assert_eq!(rehearsed["confirmation_needed"], false);
    assert_eq!(world.get(&fuse).await["circuit"], "OPEN");
    // A trip, behind which events wait, asks a fifth of the askers.
    for (action, sampled) in [("close", 1_000), ("trip", 200)] {
        let rehearsed = world.ok("POST", &format!("{fuse}/{action}?dry_run=true"), Value::Null).await;
        assert_eq!(rehearsed["diff"][0]["flags"][0]["sampled"], sampled, "{action}: {rehearsed}");
        let moved = world.ok("POST", &format!("{fuse}/{action}"), Value::Null).await;
        assert_eq!(moved["diff"][0]["flags_changed"], 1, "{moved}");
    }
}

#[tokio::test]
async fn kept_versions_tell_who_made_them() {
    let world = World::new().await;
    world.ok("PUT", FLAG, rollout(10)).await;
    let kept = world.get(&path("snapshots")).await;
    let rows = kept["snapshots"].as_array().unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row["version"].as_str(), row["action"].as_str())).collect();
    assert_eq!(
        told,
        [
            (Some("1.3"), Some("flag.put")),
            (Some("1.2"), Some("flag.put")),
            (Some("1.1"), Some("environment.create")),
        ]
    );
    assert_eq!((&rows[0]["actor"], &rows[0]["subject"]), (&json!("token:first admin"), &json!("checkout")));
    let viewer = world.token(TokenKind::Viewer, "default").await;
    assert!(world.send(&viewer, "GET", &path("snapshots"), Vec::new()).await.status.is_success());
    let answer = world.send(&viewer, "POST", &path("revert"), b"{\"to\":\"1.1\"}".to_vec()).await;
    assert_eq!(answer.status.as_u16(), 403);
    let other = world.token(TokenKind::Admin, "other").await;
    for (method, rest, body) in [("GET", "snapshots", ""), ("POST", "revert", "{\"to\":\"1.1\"}")] {
        let answer = world.send(&other, method, &path(rest), body.as_bytes().to_vec()).await;
        assert_eq!(answer.code(), "unknown_environment");
    }
}

#[tokio::test]
async fn going_back_brings_everything_as_it_was_under_a_new_version() {
    let world = World::new().await;
    world.ok("PUT", &path("segments/beta"), json!({ "included": ["anna"], "description": "then" })).await;
    world.ok("PUT", &path("layers/home"), json!({ "salt": "s" })).await;
    world.ok("PUT", &path("holdout"), json!({ "percentage": 5, "salt": "h" })).await;
    let mut then = rollout(10);
    then["description"] = json!("then");
    world.ok("PUT", FLAG, then).await;
    world.ok("PUT", &path("flags/gone"), flag()).await;
    let to = newest(&world).await;
    // All of it changes, and more comes.
    world.ok("PUT", &path("segments/beta"), json!({ "included": ["bert"], "description": "now" })).await;
    world.ok("PUT", &path("segments/new"), json!({})).await;
    world.ok("DELETE", &path("layers/home"), Value::Null).await;
    world.ok("DELETE", &path("holdout"), Value::Null).await;
    let mut now = rollout(90);
    now["description"] = json!("now");
    world.ok("PUT", FLAG, now).await;
    world.ok("DELETE", &path("flags/gone"), Value::Null).await;
    world.ok("PUT", &path("flags/new"), flag()).await;
    let before = newest(&world).await;
    let answer = world.ok("POST", &path("revert"), json!({ "to": to })).await;
    let version = answer["version"].as_str().unwrap();
    let seq = |version: &str| version.split_once('.').unwrap().1.parse::<u64>().unwrap();
    assert_eq!(seq(version), seq(&before) + 1, "{answer}");
    let flag = world.get(FLAG).await["flag"].clone();
    assert_eq!((&flag["rules"][0]["percentage"], &flag["description"]), (&json!(10.0), &json!("now")));
    let flags = world.get(&path("flags")).await;
    let keys: Vec<_> =
        flags["flags"].as_array().unwrap().iter().map(|row| row["flag"]["key"].clone()).collect();
    assert_eq!(keys, ["checkout", "gone"]);
    let segments = world.get(&path("segments")).await;
    assert_eq!(segments["segments"].as_array().unwrap().len(), 1);
    assert_eq!(segments["segments"][0]["segment"]["included"], json!(["anna"]));
    assert_eq!(world.get(&path("layers/home")).await["layer"]["salt"], "s");
    assert_eq!(world.get(&path("holdout")).await["holdout"]["percentage"], 5.0);
    let audit = world.get(&path("audit?limit=1")).await;
    let entry = &audit["audit"][0];
    assert_eq!(
        (&entry["action"], &entry["detail"]["to"], &entry["detail"]["flags"]),
        (&json!("environment.revert"), &json!(to), &json!(2))
    );
    // Back to where it was anyway: nothing is written but a new version.
    let revision = world.get(FLAG).await["revision"].clone();
    let answer = world.ok("POST", &path("revert"), json!({ "to": version })).await;
    assert_eq!(answer["diff"][0]["flags_reached"], 0, "{answer}");
    assert_eq!(world.get(FLAG).await["revision"], revision);
}

#[tokio::test]
async fn one_flag_goes_back_alone() {
    let world = World::new().await;
    world.ok("PUT", FLAG, rollout(10)).await;
    world.ok("PUT", &path("flags/other"), rollout(10)).await;
    let to = newest(&world).await;
    world.ok("PUT", FLAG, rollout(90)).await;
    world.ok("PUT", &path("flags/other"), rollout(90)).await;
    let answer = world.ok("POST", &path("revert"), json!({ "to": to, "flag": "checkout" })).await;
    assert_eq!(answer["diff"][0]["flags_reached"], 1, "{answer}");
    let percentage = async |path: &str| world.get(path).await["flag"]["rules"][0]["percentage"].clone();
    assert_eq!((percentage(FLAG).await, percentage(&path("flags/other")).await), (json!(10.0), json!(90.0)));
    let answer = world.call("POST", &path("revert"), json!({ "to": "1.1", "flag": "checkout" })).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (404, "unknown_flag"));
    assert_eq!(answer.body["detail"], "flag \"checkout\" is not in version 1.1");
}

#[tokio::test]
async fn a_version_that_is_gone_is_answered_with_those_that_are_there() {
    let world = World::new().await;
    for n in 0..130 {
        world.ok("PUT", FLAG, rollout(n % 100)).await;
    }
    let answer = world.call("POST", &path("revert"), json!({ "to": "1.1" })).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (404, "version_not_kept"));
    let kept = world.get(&path("snapshots")).await;
    let versions: Vec<_> =
        kept["snapshots"].as_array().unwrap().iter().map(|row| row["version"].clone()).collect();
    assert_eq!(answer.body["kept"], json!(versions));
    let answer = world.call("POST", &path("revert"), json!({ "to": "yesterday" })).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (400, "bad_schema"));
}

#[tokio::test]
async fn going_back_is_asked_about_like_any_other_change() {
    let world = asking(20).await;
    let to = newest(&world).await;
    let asked = refused(&world, "PUT", FLAG, rollout(90)).await;
    assert!(call_with(&world, "PUT", FLAG, rollout(90), &confirmation(&asked)).await.status.is_success());
    let asked = refused(&world, "POST", &path("revert"), json!({ "to": to })).await;
    let answer = call_with(&world, "POST", &path("revert"), json!({ "to": to }), &confirmation(&asked)).await;
    assert!(answer.status.is_success(), "{}", answer.body);
    assert_eq!(world.get(FLAG).await["flag"]["rules"][0]["percentage"], 10.0);
}

#[tokio::test]
async fn going_back_does_not_bring_a_tripped_feature_back() {
    let world = World::new().await;
    world.ok("PUT", FLAG, rollout(50)).await;
    let to = newest(&world).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.ok("PUT", FLAG, rollout(20)).await;
    world.ok("POST", &format!("{FLAG}/fuse/trip"), Value::Null).await;
    let withheld = json!({ "variation": "on", "instead": "off" });
    world.ok("POST", &path("revert"), json!({ "to": to })).await;
    let row = world.get(FLAG).await;
    assert_eq!(
        (&row["flag"]["rules"][0]["percentage"], &row["flag"]["cohort"]["withheld"]),
        (&json!(50.0), &withheld)
    );
    assert_eq!(world.get(&format!("{FLAG}/fuse")).await["circuit"], "OPEN");
    // Nobody gets it: no decision changes.
    let audit = world.get(&path("audit?limit=1")).await;
    assert_eq!(audit["audit"][0]["detail"]["decisions"]["flags_changed"], 0, "{audit}");
    // The flag and its open fuse are deleted: it comes back switched off.
    world.ok("DELETE", &format!("{FLAG}?with_fuse=true"), Value::Null).await;
    let answer = world.ok("POST", &path("revert"), json!({ "to": to })).await;
    assert_eq!(answer["restored_off"], json!(["checkout"]), "{answer}");
    assert_eq!(world.get(FLAG).await["flag"]["enabled"], false);
}

#[tokio::test]
async fn what_a_fuse_holds_is_held_against_going_back() {
    let world = World::new().await;
    let to = newest(&world).await;
    world.ok("PUT", FLAG, with(json!({ "salt": "other" }))).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let before = state(&world).await;
    let answer = world.call("POST", &path("revert"), json!({ "to": to })).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (409, "held_by_fuse"), "{}", answer.body);
    assert_eq!(before, state(&world).await);
}

#[tokio::test]
async fn flags_that_came_from_the_project_since_stay() {
    let world = World::new().await;
    let to = newest(&world).await;
    world.ok("PUT", "/v1/projects/demo/flags/home", flag()).await;
    let answer = world.ok("POST", &path("revert"), json!({ "to": to })).await;
    assert_eq!(answer["kept_inherited"], json!(["home"]), "{answer}");
    assert_eq!(world.get(&path("flags/home")).await["inherited"], true);
    // One that was there goes its own way once it is written.
    let to = newest(&world).await;
    world.ok("PUT", "/v1/projects/demo/flags/home", rollout(50)).await;
    let answer = world.ok("POST", &path("revert"), json!({ "to": to, "flag": "home" })).await;
    assert_eq!(answer["detached"], json!(["home"]), "{answer}");
}

#[tokio::test]
async fn settings_are_kept_told_and_checked() {
    let world = World::new().await;
    let set = settings(json!({ "confirm_above_pct": 25, "stages": [["local"]], "soak_s": 60 }));
    world.ok("PUT", &path("settings"), set.clone()).await;
    let read = world.get(&path("settings")).await;
    for (name, value) in set.as_object().unwrap() {
        assert_eq!(&read[name], value);
    }
    for (bad, code, words) in [
        (json!({ "confirm_above_pct": 101 }), "bad_schema", "allowed is 0 to 100"),
        (json!({ "soak_s": 86_401 }), "bad_schema", "allowed is 0 to 86400"),
        (
            json!({ "stages": [["mars"]] }),
            "invalid_stages",
            "\"mars\", which is not configured; there are: local",
        ),
        (json!({ "stages": [["local"], ["local"]] }), "bad_schema", "\"local\" twice"),
    ] {
        let answer = world.call("PUT", &path("settings"), settings(bad.clone())).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, code), "{bad}");
        assert!(answer.body["detail"].as_str().unwrap().contains(words), "{}", answer.body);
    }
    let new = json!({ "key": "staging", "confirm_above_pct": 0, "stages": [["mars"]] });
    let answer = world.call("POST", "/v1/projects/demo/environments", new).await;
    assert_eq!(answer.code(), "invalid_stages");
    world
        .ok("POST", "/v1/projects/demo/environments", json!({ "key": "staging", "confirm_above_pct": 0 }))
        .await;
    let read = world.get("/v1/projects/demo/environments/staging/settings").await;
    assert_eq!((&read["confirm_above_pct"], &read["stages"]), (&json!(0), &json!([])));
    world.ok("PUT", &path("settings"), settings(json!({}))).await;
    assert_eq!(world.get(&path("settings")).await["confirm_above_pct"], Value::Null);
}

#[tokio::test]
async fn settings_that_leave_out_a_field_set_nothing_back() {
    let world = World::new().await;
    let set = settings(json!({ "confirm_above_pct": 25, "stages": [["local"]], "soak_s": 60 }));
    world.ok("PUT", &path("settings"), set.clone()).await;
    let before = (world.get(&path("settings")).await, state(&world).await);
    for left_out in set.as_object().unwrap().keys() {
        let mut body = set.clone();
        body.as_object_mut().unwrap().remove(left_out);
        let answer = world.call("PUT", &path("settings"), body).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "settings_incomplete"), "{left_out}");
        assert_eq!(answer.body["missing"], json!([left_out]));
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(left_out.as_str()) && detail.contains("PATCH …/settings"), "{detail}");
    }
    let alone = world.call("PUT", &path("settings"), json!({ "confirm_above_pct": 30 })).await;
    assert_eq!(
        alone.body["missing"],
        json!(["profile", "auto_exposure", "stages", "soak_s", "min_networks", "enrolments_per_minute"])
    );
    assert_eq!((world.get(&path("settings")).await, state(&world).await), before, "nothing is stored");
    // What GET shows can be sent back as it is, but to no other environment.
    let mut read = before.0.clone();
    world.ok("PUT", &path("settings"), read.clone()).await;
    let mut after = world.get(&path("settings")).await;
    for shown in ["revision", "version"] {
        after[shown] = read[shown].clone();
    }
    assert_eq!(after, read);
    read["key"] = json!("staging");
    let answer = world.call("PUT", &path("settings"), read).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (400, "bad_schema"));
    assert!(answer.body["detail"].as_str().unwrap().contains("key in the body is \"staging\""));
    let answer = world.call("PUT", &path("settings"), json!({ "soak": 60 })).await;
    assert!(
        answer.body["detail"].as_str().unwrap().contains("soak is unknown: did you mean \"soak_s\"?"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_rehearsal_that_is_refused_is_a_success_for_whoever_prefers_that() {
    let world = World::new().await;
    let before = state(&world).await;
    let ask = async |token: &str, path: &str, headers: &[(&str, &str)], body: &Value| {
        world.send_with(token, "PUT", path, headers, body.to_string().into_bytes()).await
    };
    let preferred = ("prefer", "wait=1, handling=lenient");
    let rehearsed = format!("{FLAG}?dry_run=true");
    let odd = with(json!({ "default_variation": "ghost" }));
    for (body, tag, status, code) in
        [(&odd, "*", 400, "invalid_flag"), (&flag(), "\"stale\"", 412, "precondition_failed")]
    {
        let seen = ("if-match", tag);
        let strict = ask(&world.admin, &rehearsed, &[("prefer", "wait=1"), seen], body).await;
        assert_eq!((strict.status.as_u16(), strict.code()), (status, code), "{}", strict.body);
        assert!(!strict.headers.contains_key("preference-applied"));
        let lenient = ask(&world.admin, &rehearsed, &[preferred, seen], body).await;
        assert_eq!((lenient.status.as_u16(), &lenient.body), (200, &strict.body));
        assert_eq!(lenient.body["status"], status);
        assert_eq!(lenient.headers["preference-applied"], "handling=lenient");
        assert_eq!(lenient.headers["content-type"], "application/problem+json");
        assert_eq!(lenient.headers.get("etag"), strict.headers.get("etag"));
    }
    // A change that is meant, and whoever may not ask, are refused as always.
    let real = ask(&world.admin, FLAG, &[preferred], &odd).await;
    assert_eq!((real.status.as_u16(), real.code()), (400, "invalid_flag"));
    let stranger = ask("nobody", &rehearsed, &[preferred], &odd).await;
    assert_eq!(stranger.status.as_u16(), 401);
    let sound = ask(&world.admin, &rehearsed, &[preferred], &rollout(10)).await;
    assert!(sound.status.is_success() && !sound.headers.contains_key("preference-applied"));
    assert_eq!(before, state(&world).await, "nothing is stored");
}
