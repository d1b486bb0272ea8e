//! `If-Match` and `If-None-Match`, on every route that changes something, and revisions that never come back.

use flagfuse_control_plane::change::{
    Actor, Change, Decider, Edit, Fuses, Power, Preconditions, Proposal, Terms, propose,
};
use flagfuse_control_plane::error::{ApiError, Code};
use flagfuse_control_plane::model::circuit::Circuit;
use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{FlagKey, Scope, TenantKey};
use serde_json::{Value, json};

use crate::routes::{Route, Tagged, all};
use crate::world::{ENVIRONMENT, FLAG, World, flag, policy};

const BASE: &str = "/v1/projects/demo/flags/base";

fn here(rest: &str) -> String {
    format!("{ENVIRONMENT}/{rest}")
}

/// Something of every kind.
pub(crate) async fn world() -> (World, String) {
    let world = World::new().await;
    world.ok("PUT", &here("flags/free"), flag()).await;
    world.ok("PUT", &here("segments/beta"), json!({})).await;
    world.ok("PUT", &here("layers/home"), json!({})).await;
    world.ok("PUT", &here("holdout"), json!({ "percentage": 1, "salt": "s" })).await;
    world.ok("PUT", BASE, flag()).await;
    world.ok("PUT", "/v1/projects/demo/flag-details/base", json!({ "name": "Base" })).await;
    world.ok("PUT", &here("flags/base/override"), json!({ "description": "ours" })).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let contract = json!({ "max_error_rate": 0.1, "window_s": 60 });
    world.ok("PUT", &format!("{FLAG}/contract"), contract).await;
    let baseline =
        json!({ "p50_ms": 1, "p95_ms": 2, "p99_ms": 3, "error_rate": 0, "sample_size": 8, "concurrency": 1 });
    world.ok("PUT", &format!("{FLAG}/baseline"), baseline).await;
    world
        .ok("PUT", &here("slos/orders"), json!({ "sli": { "kind": "errors" }, "objective_percent": 99 }))
        .await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "twin" })).await;
    let mut other = flag();
    other["description"] = json!("another");
    world.ok("PUT", "/v1/projects/demo/environments/twin/flags/free", other).await;
    let window = json!({ "suppression_id": "old", "to_ms": world.clock.now().plus(60_000), "reason": "r" });
    world.ok("POST", &here("suppressions"), window).await;
    let token = world.ok("POST", "/v1/tokens", json!({ "kind": "viewer", "name": "old" })).await;
    let token = token["token_id"].as_str().unwrap().to_owned();
    // Before anybody looks at the audit trail.
    world.server().await;
    (world, token)
}

impl Route {
    async fn send(&self, world: &World, token: &str, header: (&str, &str)) -> crate::world::Answer {
        self.send_to(world, &self.path.replace("TOKEN", token), header).await
    }

    async fn rehearse(&self, world: &World, token: &str, header: (&str, &str)) -> crate::world::Answer {
        let path = self.path.replace("TOKEN", token);
        let joint = if path.contains('?') { '&' } else { '?' };
        self.send_to(world, &format!("{path}{joint}dry_run=true"), header).await
    }

    async fn send_to(&self, world: &World, path: &str, header: (&str, &str)) -> crate::world::Answer {
        let caller = world.caller_of(self.path).await;
        let body = if self.body.is_null() { Vec::new() } else { self.body.to_string().into_bytes() };
        world.send_with(caller, self.method, path, &[header], body).await
    }
}

async fn etag(world: &World, path: &str) -> Option<String> {
    world.send(&world.admin, "GET", path, Vec::new()).await.etag
}

#[tokio::test]
async fn every_write_looks_at_what_its_sender_has_seen() {
    let (world, token) = world().await;
    for route in all() {
        let name = format!("{} {}", route.method, route.path);
        let place = match route.tagged {
            Tagged::At(path) | Tagged::Ignored(path) => Some(path.replace("TOKEN", &token)),
            Tagged::Made => None,
            Tagged::Nowhere if route.path.starts_with("/v1/ingest") => None,
            // They read.
            Tagged::Nowhere => continue,
        };
        let current = match &place {
            Some(path) => {
                Some(etag(&world, path).await.unwrap_or_else(|| panic!("{name}: GET {path} has no ETag")))
            }
            None => None,
        };
        let before = world.get("/v1/audit?limit=1000").await;
        let mut refused = vec![("if-match", "\"stale\"".to_owned())];
        match &current {
            _ if matches!(route.tagged, Tagged::Ignored(_)) => refused.clear(),
            Some(tag) => refused.extend([
                ("if-match", format!("W/{tag}")),
                ("if-none-match", "*".to_owned()),
                ("if-none-match", format!("\"a\", W/{tag}")),
            ]),
            None => refused.push(("if-match", "*".to_owned())),
        }
        for (header, value) in &refused {
            let answer = route.send(&world, &token, (header, value)).await;
            assert_eq!(
                (answer.status.as_u16(), answer.code()),
                (412, "precondition_failed"),
                "{name} {header}: {value}: {}",
                answer.body
            );
            assert_eq!(
                (&answer.etag, &answer.body["etag"]),
                (&current, &json!(current)),
                "{name} {header}: {value}"
            );
            let shown = match &place {
                // Bytes are not shown; what they are the newest of is.
                Some(path) if path.ends_with("/snapshot") => world.get(ENVIRONMENT).await,
                Some(path) => world.get(path).await,
                None => Value::Null,
            };
            assert_eq!(answer.body["current"], shown, "{name} {header}: {value}");
        }
        let answer = route.send(&world, &token, ("if-match", "7")).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "bad_header"), "{name}");
        assert_eq!(world.get("/v1/audit?limit=1000").await, before, "{name}: nothing was done");
        let header = match &current {
            Some(_) if matches!(route.tagged, Tagged::Ignored(_)) => ("if-match", "\"stale\"".to_owned()),
            Some(tag) => ("if-match", format!("\"other\", {tag}")),
            None => ("if-none-match", "*".to_owned()),
        };
        let rehearsed = route.rehearse(&world, &token, (header.0, &header.1)).await;
        match rehearsed.status.as_u16() {
            200 => assert_eq!(rehearsed.body["dry_run"], true, "{name}: {}", rehearsed.body),
            status => {
                assert_eq!((status, rehearsed.code()), (400, "bad_query"), "{name}: {}", rehearsed.body);
            }
        }
        assert_eq!(world.get("/v1/audit?limit=1000").await, before, "{name}: nothing is kept of a rehearsal");
        let answer = route.send(&world, &token, (header.0, &header.1)).await;
        assert!(answer.status.is_success(), "{name}: {} {}", answer.status, answer.body);
        if let Some(place) = place {
            let after = etag(&world, &place).await;
            assert_eq!(answer.etag, after, "{name}: the answer names the new state");
            assert_ne!(after, current, "{name}");
        }
    }
}

#[tokio::test]
async fn a_stale_delete_deletes_nothing_and_what_is_gone_is_told_as_ever() {
    let world = World::new().await;
    let read = etag(&world, FLAG).await.unwrap();
    let edited = world.call_if(("if-match", &read), "PUT", FLAG, &flag()).await;
    let stale = world.call_if(("if-match", &read), "DELETE", FLAG, &Value::Null).await;
    assert_eq!((stale.status.as_u16(), stale.etag), (412, edited.etag.clone()));
    let rehearsed =
        world.call_if(("if-match", &read), "DELETE", &format!("{FLAG}?dry_run=true"), &Value::Null).await;
    assert_eq!(rehearsed.code(), "precondition_failed", "a rehearsal says so too");
    let fits = edited.etag.unwrap();
    let gone = world.call_if(("if-match", &fits), "DELETE", FLAG, &Value::Null).await;
    assert_eq!((gone.status.as_u16(), gone.etag), (200, None));
    for (method, path, code) in [
        ("DELETE", FLAG.to_owned(), "unknown_flag"),
        ("DELETE", format!("{FLAG}/fuse"), "unknown_flag"),
        ("PUT", format!("{FLAG}/fuse"), "unknown_flag"),
        ("POST", format!("{FLAG}/fuse/close"), "unknown_fuse"),
        ("PUT", format!("{FLAG}/override"), "unknown_flag"),
        ("DELETE", here("segments/none"), "unknown_segment"),
        ("DELETE", "/v1/projects/demo/flags/none".to_owned(), "unknown_flag"),
        ("DELETE", "/v1/tokens/none".to_owned(), "unknown_token"),
        ("POST", "/v1/projects/none/environments".to_owned(), "unknown_project"),
    ] {
        let body = match (method, path.ends_with("fuse"), path.ends_with("environments")) {
            ("PUT", true, _) => policy(json!({})),
            (_, _, true) => json!({ "key": "new" }),
            ("PUT", _, _) => json!({}),
            _ => Value::Null,
        };
        let answer = world.call_if(("if-match", &fits), method, &path, &body).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (404, code), "{method} {path}");
    }
    let put = world.call_if(("if-match", &fits), "PUT", FLAG, &flag()).await;
    assert_eq!((put.status.as_u16(), put.etag, &put.body["etag"]), (412, None, &Value::Null));
    let put = world.call_if(("if-match", "*"), "PUT", FLAG, &flag()).await;
    assert_eq!(put.status.as_u16(), 412, "* asks for any state, but for one");
    let put = world.call_if(("if-none-match", "*"), "PUT", FLAG, &flag()).await;
    assert_eq!(put.status.as_u16(), 200);
    let again = world.call_if(("if-none-match", "*"), "PUT", FLAG, &flag()).await;
    assert_eq!((again.status.as_u16(), again.etag), (412, put.etag));
}

#[tokio::test]
async fn what_only_switches_off_needs_no_tag_and_ignores_a_stale_one() {
    let (world, _) = world().await;
    let stale = [("if-match", "\"stale\""), ("if-none-match", "*")];
    for header in stale {
        world.ok("POST", &format!("{FLAG}/fuse/reset"), Value::Null).await;
        for _ in 0..2 {
            let trip = world.call_if(header, "POST", &format!("{FLAG}/fuse/trip"), &Value::Null).await;
            assert_eq!((trip.status.as_u16(), &trip.body["fuse"]["circuit"]), (200, &json!("OPEN")));
            assert_eq!(trip.etag, etag(&world, &format!("{FLAG}/fuse")).await);
        }
        let close = world.call_if(header, "POST", &format!("{FLAG}/fuse/close"), &Value::Null).await;
        assert_eq!(close.code(), "precondition_failed", "switching on is not switching off");
        let open =
            world.call_if(header, "POST", &format!("{FLAG}/fuse/trip?dry_run=true"), &Value::Null).await;
        assert_eq!(open.status.as_u16(), 200, "{}", open.body);
    }
    let off = |mut flag: Value| {
        flag["enabled"] = json!(false);
        flag
    };
    // The cohort that was read is not the one of today: the fuse has moved on.
    world.ok("POST", &format!("{FLAG}/fuse/reset"), Value::Null).await;
    let read = world.get(FLAG).await["flag"].clone();
    world.ok("POST", &format!("{FLAG}/fuse/reset"), Value::Null).await;
    assert_ne!(world.get(FLAG).await["flag"]["cohort"], read["cohort"]);
    for (path, read) in [(FLAG, read), (BASE, flag())] {
        for header in stale {
            let mut other = flag();
            other["description"] = json!("another one");
            let kept = world.call_if(header, "PUT", path, &off(other)).await;
            assert_eq!(kept.code(), "precondition_failed", "more than switching off");
            let kill = world.call_if(header, "PUT", path, &off(read.clone())).await;
            assert_eq!(kill.status.as_u16(), 200, "{path}: {}", kill.body);
        }
        assert_eq!(world.get(path).await["flag"]["enabled"], false);
        let on = world.call_if(stale[0], "PUT", path, &read).await;
        assert_ne!(on.status.as_u16(), 200, "{}", on.body);
    }
    let path = here("flags/base/override");
    for header in stale {
        let more = world.call_if(header, "PUT", &path, &json!({ "enabled": false })).await;
        assert_eq!(more.code(), "precondition_failed", "it also takes the description back");
        let kill = json!({ "description": "ours", "enabled": false });
        assert_eq!(world.call_if(header, "PUT", &path, &kill).await.status.as_u16(), 200);
    }
}

#[tokio::test]
async fn revisions_never_start_again() {
    let world = World::new().await;
    let fuse = format!("{FLAG}/fuse");
    let over = here("flags/base/override");
    let rows = [
        (here("flags/a"), flag(), true),
        (here("segments/a"), json!({}), true),
        (here("layers/a"), json!({}), true),
        (here("holdout"), json!({ "percentage": 1, "salt": "s" }), true),
        ("/v1/projects/demo/flags/base".to_owned(), flag(), true),
        (fuse, policy(json!({})), true),
        (over, json!({ "description": "ours" }), false),
    ];
    for (path, body, has_revision) in rows {
        if path.ends_with("override") {
            world.ok("PUT", BASE, flag()).await;
        }
        let mut seen = Vec::new();
        for _ in 0..3 {
            let put = world.call("PUT", &path, body.clone()).await;
            assert!(put.status.is_success(), "{path}: {}", put.body);
            let tag = put.etag.unwrap();
            assert_eq!(etag(&world, &path).await.as_ref(), Some(&tag), "{path}");
            if has_revision {
                assert_eq!(tag, format!("\"{}\"", put.body["revision"]), "{path}");
            }
            assert!(!seen.contains(&tag), "{path}: {tag} came before in {seen:?}");
            // What is from before the deletion fits nothing that came after it.
            for old in &seen {
                let stale = world.call_if(("if-match", old), "DELETE", &path, &Value::Null).await;
                assert_eq!(stale.code(), "precondition_failed", "{path} {old}");
            }
            seen.push(tag);
            world.ok("DELETE", &path, Value::Null).await;
        }
    }
    // A flag that goes its own way and comes back has no override of before.
    let over = here("flags/base/override");
    let first = world.call("PUT", &over, json!({ "description": "ours" })).await.etag;
    world.ok("PUT", &here("flags/base"), flag()).await;
    let second = world.call("PUT", &over, json!({ "description": "ours" })).await.etag;
    assert!(first.is_some() && second.is_some() && first != second);
    let same = world.call("PUT", &over, json!({ "description": "ours" })).await;
    assert_eq!(same.etag, second, "the patch is what it was");
}

#[tokio::test]
async fn of_writers_who_have_seen_the_same_state_one_wins() {
    let world = World::new().await;
    let seen = etag(&world, FLAG).await.unwrap();
    let bodies = (0..8).map(|n| {
        let mut flag = flag();
        flag["description"] = json!(format!("writer {n}"));
        flag
    });
    let bodies: Vec<Value> = bodies.collect();
    let writers = bodies.iter().map(|body| world.call_if(("if-match", &seen), "PUT", FLAG, body));
    let answers = futures_util::future::join_all(writers).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
}

/// A change as a person's session makes it, who has looked at something some time ago.
async fn asked(world: &World, change: impl Into<Proposal>, seen: Preconditions) -> Result<(), Code> {
    let actor = Actor { tenant: TenantKey::parse("default").unwrap(), name: "user:ada".to_owned() };
    let terms = Terms { preconditions: seen.required(), ..Terms::default() };
    let (store, publisher) = (&world.plane.store, &world.plane.publisher);
    let made = propose(store, publisher, &actor, change.into(), &terms, world.clock.now()).await;
    made.map(|_| ()).map_err(|error| ApiError::from(error).code())
}

#[tokio::test]
async fn a_person_says_which_state_was_seen_unless_it_only_switches_off() {
    let (world, _) = world().await;
    let scope = Scope::parse("default/demo/production").unwrap();
    let key = |key: &str| FlagKey::parse(key).unwrap();
    let wire = |key: &str| {
        let mut wire = flag();
        wire["key"] = json!(key);
        Box::new(serde_json::from_value::<FlagWire>(wire).unwrap())
    };
    let put = |key: &str| Change::PutFlag { scope: scope.clone(), wire: wire(key) };
    let bare = Preconditions::default();
    let said = |tag: &str| Preconditions::parse([tag.as_bytes()].into_iter(), [].into_iter()).unwrap();
    let needed = Err(Code::PreconditionRequired);
    assert_eq!(asked(&world, put("free"), bare.clone()).await, needed);
    assert_eq!(asked(&world, put("free"), said("\"1000\"")).await, Err(Code::PreconditionFailed));
    let tag = etag(&world, &here("flags/free")).await.unwrap();
    assert_eq!(asked(&world, put("free"), said(&tag)).await, Ok(()));
    let revision = tag.trim_matches('"').parse::<u64>().unwrap() + 1;
    assert_eq!(asked(&world, put("free"), bare.clone().read_at(Some(revision))).await, Ok(()));
    assert_eq!(asked(&world, put("quite-new"), bare.clone()).await, Ok(()), "nothing is there to be lost");
    let gone = Change::DeleteFlag { scope: scope.clone(), flag: key("none"), fuses: Fuses::Kept };
    assert_eq!(asked(&world, gone, bare.clone()).await, Err(Code::UnknownFlag), "told as ever");
    let change = Change::DeleteFlag { scope: scope.clone(), flag: key("free"), fuses: Fuses::Kept };
    assert_eq!(asked(&world, change, bare.clone()).await, needed);
    let change = Change::DeleteFuse { scope: scope.clone(), flag: key("checkout") };
    assert_eq!(asked(&world, change, bare.clone()).await, needed);
    let again = Change::Republish { scope: scope.clone(), urgency: Urgency::Ordinary };
    assert_eq!(asked(&world, again, bare.clone()).await, Ok(()), "the same content");
    for (to, expected) in [(Power::Off, Ok(())), (Power::On, needed)] {
        let edit = Edit::Switch { scope: scope.clone(), flag: key("free"), to };
        assert_eq!(asked(&world, edit, bare.clone()).await, expected, "{to:?}");
    }
    let fuse = world.get(&format!("{FLAG}/fuse")).await;
    for (to, expected) in [(Circuit::Open, Ok(())), (Circuit::Closed, needed)] {
        let change = Change::FuseTransition {
            scope: scope.clone(),
            flag: key("checkout"),
            expected_revision: world.get(&format!("{FLAG}/fuse")).await["revision"].as_u64().unwrap(),
            to,
            by: Decider::Person,
            reason: "r".to_owned(),
            evidence: Value::Null,
            is_anew: false,
            slices: Vec::new(),
            verdict: None,
        };
        assert_eq!(asked(&world, change, bare.clone()).await, expected, "{to:?}: {fuse}");
    }
}
