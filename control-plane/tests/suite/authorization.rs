//! Who may do what where: every operation of the `OpenAPI` document × every role and kind of token × own and foreign tenants,
//! projects and environments. An operation that has no row here fails, and so does one whose document says something else.

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_control_plane::credential::{Bearer, TokenKind};
use flagfuse_shared::ids::{ProjectKey, Scope, TenantKey};
use serde_json::{Value, json};

use self::Expected::{Forbidden, LetIn, Unauthorized, Unknown};
use crate::browser::{Browser, HOST};
use crate::document::{filled, let_in, operations};
use crate::rights::Asked::{self, Environment, PartOfProject, Person, Project, Server, Somewhere, Tenant};
use crate::rights::{CLAIMED, OF_ENVIRONMENT, PUBLIC, ROLES, ROWS, has};
use crate::routes::all;
use crate::world::{World, flag};

/// Method and path of an operation as the rows have it, with what its row says.
fn rows() -> BTreeMap<(String, String), (&'static str, Asked, bool)> {
    let mut rows = BTreeMap::new();
    for (right, asked, names) in ROWS {
        for name in *names {
            let (method, path) = name.split_once(' ').unwrap();
            let is_below = matches!(asked, Environment);
            let path = if is_below { format!("{OF_ENVIRONMENT}{path}") } else { path.to_owned() };
            let key = (method.to_owned(), path);
            let twice = rows.insert(key, (*right, *asked, CLAIMED.contains(name)));
            assert!(twice.is_none(), "{name} has two rows");
        }
    }
    rows
}

#[test]
fn every_operation_has_a_row_and_its_document_says_the_same() {
    let rows = rows();
    let public = PUBLIC.iter().map(|name| name.split_once(' ').unwrap());
    let public: BTreeSet<_> = public.map(|(method, path)| (method.to_owned(), path.to_owned())).collect();
    let listed: BTreeSet<_> = rows.keys().chain(&public).cloned().collect();
    let documented = operations();
    let differences: Vec<_> = listed.symmetric_difference(&documented).collect();
    assert!(differences.is_empty(), "these have no row, or no operation: {differences:?}");
    for (method, path) in &public {
        assert!(let_in(method, path).is_empty(), "{method} {path}");
    }
    for ((method, path), (right, asked, _)) in &rows {
        let with_right = |who: &&str| right.is_empty() || has(who, right);
        let kinds = ["admin", "editor", "viewer", "ingest", "server", "metrics"];
        let kinds: BTreeSet<_> =
            kinds.iter().filter(|who| with_right(who)).map(|who| (*who).to_owned()).collect();
        let roles: BTreeSet<_> =
            ROLES.iter().filter(|who| with_right(who)).map(|who| (*who).to_owned()).collect();
        let kinds = if *asked == Person { BTreeSet::new() } else { kinds };
        let expected = [("bearer".to_owned(), kinds), ("session".to_owned(), roles)];
        let expected: BTreeMap<_, _> = expected.into_iter().filter(|(_, who)| !who.is_empty()).collect();
        assert_eq!(let_in(method, path), expected, "{method} {path}");
    }
}

/// Where somebody's rights hold.
const REACHES: [(Option<&str>, Option<&str>); 3] =
    [(None, None), (Some("demo"), None), (Some("demo"), Some("production"))];
type Reach = (Option<&'static str>, Option<&'static str>);

/// The places that a path names: the own one, one beside it, one of the same tenant, another tenant's, and none at all.
const PLACES: [(&str, &str); 5] = [
    ("demo", "production"),
    ("demo", "staging"),
    ("twin", "production"),
    ("theirs", "living"),
    ("absent", "nowhere"),
];

fn covers(reach: Reach, project: &str, environment: Option<&str>) -> bool {
    reach.0.is_none_or(|own| own == project) && reach.1.is_none_or(|own| environment == Some(own))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    LetIn,
    Unauthorized,
    Forbidden,
    /// As if it were not there.
    Unknown,
}

struct Caller {
    /// A role, or the kind of a token; empty: nobody.
    who: &'static str,
    reach: Reach,
    /// A token, or a cookie.
    secret: String,
    is_person: bool,
}

impl Caller {
    fn expected(&self, (right, asked, is_claimed): (&str, Asked, bool), place: (&str, &str)) -> Expected {
        let (project, environment) = place;
        let is_own = !["theirs", "absent"].contains(&project);
        match self.who {
            // Its look says what it is, and what is needed instead.
            "client" if asked == Server => return Forbidden,
            "" | "client" => return Unauthorized,
            _ => {}
        }
        if asked == Person {
            return if self.is_person { LetIn } else { Forbidden };
        }
        if right.is_empty() {
            return LetIn;
        }
        if !has(self.who, right) {
            return Forbidden;
        }
        let knows_project = is_own && (covers(self.reach, project, None) || self.reach.0 == Some(project));
        match asked {
            Tenant if self.reach.0.is_none() => LetIn,
            Tenant => Forbidden,
            Somewhere | Server | Person => LetIn,
            Project | PartOfProject if !knows_project => Unknown,
            PartOfProject => LetIn,
            Project if covers(self.reach, project, None) => LetIn,
            Project => Forbidden,
            Environment if is_claimed && self.reach.0.is_none() => LetIn,
            Environment if is_own && covers(self.reach, project, Some(environment)) => LetIn,
            Environment => Unknown,
        }
    }

    /// What it is answered: without anything that would be done, since what its body and its condition say means nothing.
    async fn ask(&self, world: &World, method: &str, path: &str) -> Answered {
        let body = if method == "GET" { Vec::new() } else { b"[".to_vec() };
        let headers = [("if-match", "nonsense")];
        let answer = if self.is_person {
            let mut browser = Browser { cookie: Some(self.secret.clone()), ..Browser::new(world) };
            browser.send_with(method, path, &headers, body).await
        } else {
            world.send_with(&self.secret, method, path, &headers, body).await
        };
        let is_unknown = ["unknown_project", "unknown_environment"].contains(&answer.code());
        let expected = match answer.status.as_u16() {
            401 => Unauthorized,
            403 => Forbidden,
            404 if is_unknown => Unknown,
            status => {
                assert!(status < 500, "{method} {path}: {}", answer.body);
                LetIn
            }
        };
        Answered { expected, body: answer.body }
    }
}

struct Answered {
    expected: Expected,
    body: Value,
}

/// Set by `cargo xtask test --full`: the whole matrix on PostgreSQL too.
const EVERY_DATABASE: &str = "FLAGFUSE_EVERY_DATABASE";

/// On each database, as [`furnished`].
async fn worlds() -> Vec<World> {
    let mut worlds = Vec::new();
    for world in World::on_both().await {
        worlds.push(furnished(world).await);
    }
    worlds
}

/// Two tenants: this one with three environments in two projects, the other one with one.
async fn furnished(world: World) -> World {
    world.make_demo().await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "staging" })).await;
    world.ok("POST", "/v1/projects", json!({ "key": "twin" })).await;
    world.ok("POST", "/v1/projects/twin/environments", json!({ "key": "production" })).await;
    let other = world.token(TokenKind::Admin, "other").await;
    for (path, body) in [
        ("/v1/projects", json!({ "key": "theirs" })),
        ("/v1/projects/theirs/environments", json!({ "key": "living" })),
    ] {
        let answer = world.send(&other, "POST", path, body.to_string().into_bytes()).await;
        assert!(answer.status.is_success(), "{}", answer.body);
    }
    let path = "/v1/projects/theirs/environments/living/flags/checkout";
    let answer = world.send(&other, "PUT", path, flag().to_string().into_bytes()).await;
    assert!(answer.status.is_success(), "{}", answer.body);
    world
}

fn bearer(reach: Reach) -> Bearer {
    let tenant = TenantKey::parse("default").unwrap();
    match reach {
        (Some(project), Some(environment)) => {
            Bearer::Environment(Scope::parse(&format!("default/{project}/{environment}")).unwrap())
        }
        (Some(project), None) => Bearer::Project(tenant, ProjectKey::parse(project).unwrap()),
        (None, _) => Bearer::Tenant(tenant),
    }
}

/// Every role and every kind of token, in every reach that it can have; and nobody.
async fn callers(world: &World) -> Vec<Caller> {
    let mut callers = vec![Caller { who: "", reach: REACHES[0], secret: String::new(), is_person: false }];
    let mut owner = Browser::signed_in(world, &world.code).await;
    for (at, reach) in REACHES.into_iter().enumerate() {
        for role in ROLES {
            let roles = json!([{ "role": role, "project": reach.0, "environment": reach.1 }]);
            let member = json!({ "name": format!("{role}{at}"), "roles": roles });
            let link = owner.ok("POST", "/v1/members", member).await;
            let browser = Browser::signed_in(world, link["code"].as_str().unwrap()).await;
            callers.push(Caller { who: role, reach, secret: browser.cookie.unwrap(), is_person: true });
        }
        let kinds = [
            (TokenKind::Admin, "admin", true),
            (TokenKind::Editor, "editor", true),
            (TokenKind::Viewer, "viewer", true),
            (TokenKind::Ingest, "ingest", true),
            (TokenKind::Metrics, "metrics", true),
            (TokenKind::Server, "server", at == 2),
            (TokenKind::Client, "client", at == 2),
        ];
        for (kind, who, _) in kinds.into_iter().filter(|(_, _, can)| *can) {
            let secret = world.plane.create_token(kind, bearer(reach), who).await.unwrap();
            callers.push(Caller { who, reach, secret, is_person: false });
        }
    }
    callers
}

#[tokio::test]
async fn authorization() {
    let is_everywhere = std::env::var_os(EVERY_DATABASE).is_some();
    let worlds = if is_everywhere { worlds().await } else { vec![furnished(World::empty().await).await] };
    for world in worlds {
        nobody_may_more_or_less_than_the_rows_say(&world).await;
    }
}

async fn nobody_may_more_or_less_than_the_rows_say(world: &World) {
    let callers = callers(world).await;
    let mut asked = 0;
    let mut wrong = Vec::new();
    for ((method, template), row) in rows() {
        // Whoever signs out has to sign in again: `people.rs` does both.
        let ends_it = (method.as_str(), template.as_str()) == ("DELETE", "/v1/session");
        let names_a_place = template.contains("{project}");
        for caller in callers.iter().filter(|caller| !(ends_it && caller.is_person)) {
            for (project, environment) in PLACES.into_iter().take(if names_a_place { 5 } else { 1 }) {
                let template = template.replace("{project}", project).replace("{environment}", environment);
                let path = filled(&template);
                let answered = caller.ask(world, &method, &path).await;
                let expected = caller.expected(row, (project, environment));
                if answered.expected != expected {
                    let Caller { who, reach, is_person, .. } = caller;
                    wrong.push(format!(
                        "{method} {path} by {who} {reach:?} {is_person}: {expected:?}, {:?} {}",
                        answered.expected, answered.body
                    ));
                }
                asked += 1;
                // Whoever fails too often is slowed down.
                if expected == Unauthorized {
                    world.clock.advance(3_000);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(asked > 8_000, "{asked} requests");
}

/// Ids of the other tenant as they are, and ids of the same length that nobody has.
async fn foreign_ids(world: &World) -> Vec<(&'static str, String, String)> {
    let other = TenantKey::parse("other").unwrap();
    let code = world.plane.sign_in_code(&other, "theirs").await.unwrap().code;
    let mut browser = Browser::signed_in(world, &code).await;
    let me = browser.ok("GET", "/v1/whoami", Value::Null).await;
    let token = json!({ "kind": "viewer", "name": "theirs" });
    let token = browser.ok("POST", "/v1/tokens", token).await;
    let id = |value: &Value| value.as_str().unwrap().to_owned();
    let ids = [
        ("TOKEN", id(&token["token_id"])),
        ("MEMBER", id(&me["user_id"])),
        ("SESSION", id(&me["session_id"])),
    ];
    ids.into_iter().map(|(name, id)| (name, id, "0123456789abcdef".to_owned())).collect()
}

#[tokio::test]
async fn what_is_another_tenants_is_answered_exactly_like_what_is_not_there() {
    for world in worlds().await {
        foreign_and_absent_are_answered_alike(&world).await;
    }
}

async fn foreign_and_absent_are_answered_alike(world: &World) {
    let ids = foreign_ids(world).await;
    let bodies = all().into_iter().map(|route| ((route.method, route.template), route.body));
    let roles = (("PUT", "/v1/members/{user_id}"), json!({ "roles": [] }));
    let bodies: BTreeMap<_, _> = bodies.chain([roles]).collect();
    let mut compared = 0;
    for (method, template) in operations() {
        let below = template.strip_prefix(OF_ENVIRONMENT).filter(|below| !below.is_empty());
        let body = bodies.get(&(method.as_str(), below.unwrap_or(&template))).cloned().unwrap_or(Value::Null);
        if template == "/v1/password" || !template.contains('{') {
            continue;
        }
        let named = template.replace("{token_id}", "TOKEN").replace("{user_id}", "MEMBER");
        let named = named.replace("{session_id}", "SESSION");
        let ask = async |is_theirs: bool| {
            let (project, environment) = if is_theirs { ("theirs", "living") } else { ("absent", "noplac") };
            let path = named.replace("{project}", project).replace("{environment}", environment);
            let path = ids.iter().fold(path, |path, (name, theirs, nobodys)| {
                path.replace(name, if is_theirs { theirs } else { nobodys })
            });
            let path = filled(&path);
            let sent = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
            let by_token = world.send(world.caller_of(&path).await, &method, &path, sent.clone()).await;
            let mut browser = Browser::signed_in(world, &owner_code(world).await).await;
            let by_owner = browser.send_with(&method, &path, &[], sent).await;
            let told = |answer: crate::world::Answer| {
                let text = answer.body.to_string().replace("theirs", "absent").replace("living", "noplac");
                let text = ids.iter().fold(text, |text, (_, theirs, nobodys)| text.replace(theirs, nobodys));
                (answer.status.as_u16(), answer.etag, text)
            };
            [told(by_token), told(by_owner)]
        };
        let (theirs, nobodys) = (ask(true).await, ask(false).await);
        assert_eq!(theirs, nobodys, "{method} {template}");
        for (status, _, text) in &theirs {
            let is_claimed =
                method == "GET" && (template.ends_with("/balance") || template.contains("/quarantine"));
            assert!(is_claimed || *status == 404 || *status == 403, "{method} {template}: {status} {text}");
        }
        compared += 1;
    }
    assert!(compared > 70, "{compared} operations");
}

async fn owner_code(world: &World) -> String {
    world.plane.sign_in_code(&TenantKey::parse("default").unwrap(), "owner").await.unwrap().code
}

/// What a body names is not there either: neither another tenant's, nor what lies beyond the caller's reach.
#[tokio::test]
async fn what_a_body_names_of_another_tenant_is_not_there() {
    for world in worlds().await {
        bodies_name_nothing_beyond_reach(&world).await;
    }
}

async fn bodies_name_nothing_beyond_reach(world: &World) {
    let own = json!({ "targetingKey": "u" });
    let of = |project: &str, environment: &str| {
        let place = json!({ "project": project, "environment": environment });
        let with = |more: Value| {
            let mut body = place.clone();
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let roles = json!([with(json!({ "role": "viewer" }))]);
        [
            ("/v1/explain", with(json!({ "flag": "checkout", "context": own }))),
            ("/v1/tokens", with(json!({ "kind": "client", "name": "x" }))),
            ("/v1/tokens", with(json!({ "kind": "admin", "name": "x" }))),
            ("/v1/members", json!({ "name": "somebody", "roles": roles })),
        ]
    };
    let scoped = world.plane.create_token(TokenKind::Admin, bearer(REACHES[2]), "scoped").await.unwrap();
    for token in [&world.admin, &scoped] {
        for (theirs, nobodys) in of("theirs", "living").into_iter().zip(of("absent", "noplac")) {
            let told = async |(path, body): (&str, Value)| {
                let answer = world.send(token, "POST", path, body.to_string().into_bytes()).await;
                let text = answer.body.to_string().replace("theirs", "absent").replace("living", "noplac");
                (answer.status.as_u16(), text)
            };
            let (path, theirs, nobodys) = (theirs.0, told(theirs).await, told(nobodys).await);
            assert_eq!(theirs, nobodys, "{path}");
            assert_eq!(theirs.0, 404, "{path}: {theirs:?}");
        }
    }
    for (project, environment) in [("demo", "staging"), ("twin", "production")] {
        for (path, body) in of(project, environment) {
            let answer = world.send(&scoped, "POST", path, body.to_string().into_bytes()).await;
            assert_eq!(answer.status.as_u16(), 404, "{path}: {}", answer.body);
        }
    }
    // Lists show what is in reach and nothing else.
    for (path, list, count) in [
        ("/v1/projects", "projects", 1),
        ("/v1/projects/demo/environments", "environments", 1),
        ("/v1/tokens", "tokens", 1),
        ("/v1/members", "members", 0),
    ] {
        let answer = world.send(&scoped, "GET", path, Vec::new()).await;
        assert_eq!(answer.body[list].as_array().unwrap().len(), count, "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_page_of_another_origin_uses_no_session_for_what_changes_something() {
    let world = World::new().await;
    let mut browser = Browser::signed_in(&world, &world.code).await;
    for (method, template) in operations() {
        let is_safe = method == "GET";
        let is_public = let_in(&method, &template).is_empty() && is_safe;
        let path = filled(&template);
        for (site, headers) in [
            (Some("cross-site"), vec![]),
            (Some("same-site"), vec![]),
            (Some("none"), vec![]),
            (None, vec![("origin", "https://evil.example")]),
            (None, vec![("origin", "null")]),
        ] {
            browser.site = site;
            let answer = browser.send_with(&method, &path, &headers, b"[".to_vec()).await;
            let is_refused = (answer.status.as_u16(), answer.code()) == (403, "cross_origin");
            assert_eq!(is_refused, !is_safe, "{method} {path} {site:?} {headers:?}: {}", answer.body);
            assert!(!is_public || answer.status.as_u16() == 200, "{method} {path}");
        }
    }
    // A browser that says nothing of itself, and one that says it is from here.
    browser.site = None;
    let body = json!({ "key": "x" }).to_string().into_bytes();
    let answer = browser.send_with("POST", "/v1/projects", &[], body.clone()).await;
    assert_eq!(answer.code(), "cross_origin");
    let origin = format!("https://{HOST}");
    let answer = browser.send_with("POST", "/v1/projects", &[("origin", &origin)], body).await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.body);
    // Tokens are sent by nobody by mistake.
    let headers = [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")];
    let body = json!({ "key": "y" }).to_string().into_bytes();
    let answer = world.send_with(&world.admin, "POST", "/v1/projects", &headers, body).await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.body);
}
