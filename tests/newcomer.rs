//! A newcomer against the real product who makes every mistake there is to make, and finds in each answer what is wrong,
//! where, what is allowed, and what to do next.

use serde_json::{Value, json};
use support::{Answer, Client, GUARDED_FLAG, PATIENCE, World, environment_path, eventually};

/// Whom a request is sent to, and what it shows.
#[derive(Debug, Clone, Copy)]
enum To {
    /// The control plane, with an admin token.
    Admin,
    /// The control plane, with this.
    Plane(Shown),
    /// The edge, with the environment's client key.
    Edge,
    /// The edge, with this.
    Other(Shown),
}

#[derive(Debug, Clone, Copy)]
enum Shown {
    Nothing,
    AdminToken,
    ClientKey,
    MadeUpKey,
    Nonsense,
}

/// One mistake, and what its answer has to say.
struct Mistake {
    what: &'static str,
    to: To,
    method: &'static str,
    path: String,
    headers: &'static [(&'static str, &'static str)],
    body: Option<String>,
    status: u16,
    /// Empty: it is accepted, with a note.
    code: &'static str,
    says: Vec<String>,
}

/// Words of a parser, of a type, or of nobody's English; and a prefix that nobody has explained.
const NEVER: [&str; 18] = [
    "invalid type",
    "invalid value",
    "missing field",
    "unknown field",
    "unknown variant",
    "expected one of",
    "sequence",
    "struct ",
    "u32",
    "u64",
    "f64",
    "EOF",
    "deserialize",
    "serde",
    "is no ",
    "twice",
    "default/",
    "None",
];

fn to(to: To, what: &'static str, method: &'static str, path: &str) -> Mistake {
    let (headers, path): (&[_], _) = (&[], path.to_owned());
    Mistake { what, to, method, path, headers, body: None, status: 0, code: "", says: Vec::new() }
}

impl Mistake {
    fn with(self, body: Value) -> Self {
        Self { body: Some(body.to_string()), ..self }
    }

    fn text(self, body: &str) -> Self {
        Self { body: Some(body.to_owned()), ..self }
    }

    fn says(self, status: u16, code: &'static str, words: &[&str]) -> Self {
        Self { status, code, says: words.iter().map(|word| (*word).to_owned()).collect(), ..self }
    }

    fn send(&self, world: &World, admin_token: &str) -> Answer {
        let plane = world.stack.control_plane_url();
        let edge = world.stack.edge_url(0);
        let made_up = format!("{}0", world.client_key);
        let shown = |shown: Shown| match shown {
            Shown::Nothing => None,
            Shown::AdminToken => Some(admin_token),
            Shown::ClientKey => Some(world.client_key.as_str()),
            Shown::MadeUpKey => Some(made_up.as_str()),
            Shown::Nonsense => Some("s3cret"),
        };
        let client = match self.to {
            To::Admin => world.admin.clone(),
            To::Plane(kind) => Client::new(&plane, shown(kind)),
            To::Edge => world.edges[0].clone(),
            To::Other(kind) => Client::new(&edge, shown(kind)),
        };
        let body = self.body.clone().map(String::into_bytes);
        client.send(self.method, &self.path, self.headers, body).unwrap()
    }

    /// What the answer says to people: its detail, or everything when it was accepted.
    fn told(answer: &Answer) -> String {
        let words = ["detail", "errorDetails"].into_iter().find_map(|name| answer.body[name].as_str());
        words.map_or_else(|| answer.body.to_string(), str::to_owned)
    }

    /// What its answer should say and does not, or says and should not.
    fn faults(&self, world: &World, admin_token: &str) -> Vec<String> {
        let answer = self.send(world, admin_token);
        let told = Self::told(&answer);
        let code = ["code", "errorCode"].into_iter().find_map(|name| answer.body[name].as_str());
        println!("{}\n  {} {}\n  {} {told}", self.what, self.method, self.path, answer.status);
        let mut faults = Vec::new();
        if (answer.status, code.unwrap_or_default()) != (self.status, self.code) {
            faults.push(format!("{} {code:?} instead of {} {:?}", answer.status, self.status, self.code));
        }
        let unsaid = self.says.iter().filter(|words| !told.contains(words.as_str()));
        faults.extend(unsaid.map(|words| format!("does not say {words:?}")));
        let said = NEVER.into_iter().filter(|words| told.contains(words));
        faults.extend(said.map(|words| format!("says {words:?}")));
        let parts: Vec<&str> = told.split(": ").collect();
        if parts.windows(2).any(|pair| pair[0] == pair[1]) {
            faults.push("says something twice".to_owned());
        }
        let allow = answer.header("allow").unwrap_or_default();
        if answer.status == 405 && !self.says.iter().any(|word| allow.split(',').any(|method| method == word))
        {
            faults.push(format!("allows {allow:?}"));
        }
        faults.into_iter().map(|fault| format!("{}: {fault}: {told}", self.what)).collect()
    }
}

fn flag_path(key: &str) -> String {
    format!("{}/flags/{key}", environment_path())
}

fn flag() -> Value {
    json!({
        "value_type": "boolean", "default_variation": "off", "off_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
    })
}

/// With a field changed.
fn patched(mut value: Value, name: &str, to: Value) -> Value {
    value[name] = to;
    value
}

const BULK: &str = "/ofrep/v1/evaluate/flags";

/// The right request at the wrong door, or with the wrong key.
fn at_wrong_doors(world: &World) -> Vec<Mistake> {
    let single = format!("{BULK}/theme");
    let context = json!({ "context": { "targetingKey": "u" } });
    let edge = world.stack.edge_url(0);
    let evaluation = |door, what| to(door, what, "POST", &single).with(context.clone());
    vec![
        evaluation(To::Plane(Shown::ClientKey), "evaluates at the control plane's port").says(
            404,
            "edge_only",
            &["evaluation", "at the edge", edge.as_str(), "client key"],
        ),
        to(To::Edge, "sends the admin API's request to the edge", "GET", "/v1/projects").says(
            404,
            "control_plane_only",
            &["this is the edge", "control plane", "admin token"],
        ),
        to(To::Admin, "uses a wrong method", "POST", "/v1/whoami").says(
            405,
            "method_not_allowed",
            &["GET", "takes"],
        ),
        to(To::Edge, "reads events", "GET", "/v1/events").says(405, "method_not_allowed", &["POST", "only"]),
        to(To::Admin, "misspells a path", "GET", "/v1/project").says(
            404,
            "unknown_path",
            &["/v1/project", "/v1/projects"],
        ),
        to(To::Edge, "misspells a path at the edge", "POST", "/ofrep/v1/evaluate").says(
            404,
            "route_not_found",
            &["/ofrep/v1/evaluate/flags"],
        ),
        evaluation(To::Other(Shown::AdminToken), "evaluates with an admin token").says(
            401,
            "key_wrong_kind",
            &["an admin token", "for the control plane", "client key", "/tokens makes"],
        ),
        to(
            To::Plane(Shown::ClientKey),
            "lists flags with a client key",
            "GET",
            &format!("{}/flags", environment_path()),
        )
        .says(401, "unauthorized", &["client key", "for the edge", "ff_admin_"]),
        evaluation(To::Other(Shown::MadeUpKey), "evaluates with a wrong key").says(
            401,
            "key_unknown",
            &["client key", "unknown or revoked"],
        ),
        evaluation(To::Other(Shown::Nonsense), "evaluates with something else").says(
            401,
            "key_malformed",
            &["project:environment.secret"],
        ),
        evaluation(To::Other(Shown::Nothing), "evaluates without a key").says(
            401,
            "key_missing",
            &["client key", "Authorization: Bearer", "X-API-Key"],
        ),
        to(To::Plane(Shown::Nothing), "asks without a token", "GET", "/v1/projects").says(
            401,
            "unauthorized",
            &["Authorization: Bearer TOKEN"],
        ),
        to(To::Plane(Shown::Nonsense), "asks with a wrong token", "GET", "/v1/projects").says(
            401,
            "unauthorized",
            &["unknown or revoked", "flagfuse token create"],
        ),
    ]
}

/// What is asked for does not exist.
fn of_nothing() -> Vec<Mistake> {
    let environments = "/v1/projects/demo/environments";
    let ask = |what, path: &str| to(To::Admin, what, "GET", path);
    vec![
        ask("misspells the project", "/v1/projects/dmeo/environments").says(
            404,
            "unknown_project",
            &["\"dmeo\"", "GET /v1/projects lists"],
        ),
        ask("misspells the environment", &format!("{environments}/prod/flags")).says(
            404,
            "unknown_environment",
            &["demo/prod", "GET /v1/projects/demo/environments lists"],
        ),
        ask("misspells a flag", &flag_path("chekout")).says(
            404,
            "unknown_flag",
            &["\"chekout\"", "GET …/flags lists"],
        ),
        to(To::Edge, "evaluates a flag that is not there", "POST", &format!("{BULK}/chekout"))
            .with(json!({ "context": {} }))
            .says(404, "FLAG_NOT_FOUND", &["\"chekout\"", "not in this snapshot"]),
        to(
            To::Admin,
            "puts a fuse on a flag that is not there",
            "PUT",
            &format!("{}/fuse", flag_path("nowhere")),
        )
        .with(xtask::demo_project::fuse())
        .says(404, "unknown_flag", &["flag \"nowhere\" does not exist"]),
        to(
            To::Admin,
            "imports from elsewhere",
            "POST",
            &format!("{}/import?format=unleesh", environment_path()),
        )
        .with(json!({}))
        .says(
            400,
            "bad_query",
            &["format must be \"unleash\", \"flagd\" or \"launchdarkly\"", "did you mean \"unleash\"?"],
        ),
        to(To::Admin, "reverts to a version of long ago", "POST", &format!("{}/revert", environment_path()))
            .with(json!({ "to": "1.900" }))
            .says(404, "version_not_kept", &["1.900", "there are: 1."]),
        to(To::Admin, "makes a token of a kind there is none of", "POST", "/v1/tokens")
            .with(json!({ "kind": "root", "name": "n" }))
            .says(400, "bad_schema", &["kind must be \"admin\", \"viewer\", \"ingest\" or \"client\""]),
    ]
}

/// Bodies that are not what they should be.
fn of_shape() -> Vec<Mistake> {
    let path = flag_path("newcomer");
    let put = |what| to(To::Admin, what, "PUT", &path);
    let with = |what, name: &str, value: Value| put(what).with(patched(flag(), name, value));
    let post = |what| to(To::Admin, what, "POST", "/v1/projects");
    let mut stale = put("writes over what somebody else wrote").with(flag());
    stale.headers = &[("if-match", "\"0\"")];
    vec![
        post("forgets a brace").text(r#"{"key": "shop""#).says(
            400,
            "bad_json",
            &["not JSON", "ends too early", "line 1"],
        ),
        post("writes JavaScript").text("{key: 'shop'}").says(
            400,
            "bad_json",
            &["not JSON", "line 1 column 2"],
        ),
        post("sends nothing").text("").says(400, "bad_json", &["the body is not JSON: it is empty"]),
        post("sends an array").text("[]").says(
            400,
            "bad_schema",
            &["the body must be an object, but is an array"],
        ),
        post("gives a name for a key").with(json!({ "key": "My Shop" })).says(
            400,
            "bad_schema",
            &["key", "'M'", "a-z 0-9"],
        ),
        post("forgets the key").with(json!({ "name": "Shop" })).says(400, "bad_schema", &["key is missing"]),
        put("names another flag in the body").with(patched(flag(), "key", json!("new comer"))).says(
            400,
            "invalid_flag",
            &["\"new comer\"", "in the path \"newcomer\""],
        ),
        with("misspells a field", "enabeld", json!(true)).says(
            400,
            "invalid_flag",
            &["enabeld is unknown", "did you mean \"enabled\"?"],
        ),
        with("invents a field", "colour", json!("red")).says(
            400,
            "invalid_flag",
            &["colour is unknown", "known are", "\"enabled\""],
        ),
        with("writes a boolean as a string", "enabled", json!("yes")).says(
            400,
            "invalid_flag",
            &["enabled must be true or false", "the string \"yes\""],
        ),
        with("invents a type", "value_type", json!("bool")).says(
            400,
            "invalid_flag",
            &["value_type must be \"boolean\"", "did you mean"],
        ),
        with("serves a variation that is not there", "default_variation", json!("purple")).says(
            400,
            "invalid_flag",
            &["default_variation", "\"purple\""],
        ),
        with(
            "gives a boolean flag a string",
            "variations",
            json!([{ "key": "on", "value": "yes" }, { "key": "off", "value": false }]),
        )
        .says(400, "invalid_flag", &["on", "boolean"]),
        stale.says(412, "precondition_failed", &["if-match"]),
    ]
}

/// Rules that mean something else than was meant, or nothing.
fn of_rules() -> Vec<Mistake> {
    let path = flag_path("newcomer");
    let rule = |rule: Value| patched(flag(), "rules", json!([rule]));
    let when = |condition: Value| {
        rule(json!({ "key": "r", "conditions": [condition], "split": [{ "variation": "on" }] }))
    };
    let share = |percentage: Value| {
        rule(json!({ "key": "r", "percentage": percentage, "split": [{ "variation": "on" }] }))
    };
    let put = |what, body| to(To::Admin, what, "PUT", &path).with(body);
    vec![
        put("writes a share as a fraction", share(json!(0.1))).says(
            200,
            "",
            &["rules[0].percentage is 0.1", "0.1 % and not 10 %", "from 0 to 100"],
        ),
        put("wants more than everybody", share(json!(101))).says(
            400,
            "invalid_flag",
            &["percentage", "101", "0 to 100"],
        ),
        put("invents an operator", when(json!({ "attribute": "plan", "op": "equals", "values": ["pro"] })))
            .says(
                400,
                "invalid_flag",
                &["rules[0].conditions[0].op must be \"in\"", "the string \"equals\""],
            ),
        put("compares with one value", when(json!({ "attribute": "plan", "op": "in", "value": "pro" })))
            .says(
                400,
                "invalid_flag",
                &["rules[0].conditions[0].value is unknown", "did you mean \"values\"?"],
            ),
        put(
            "compares with half a version",
            when(json!({ "attribute": "app", "op": "semver_at_least", "values": ["1.2"] })),
        )
        .says(
            400,
            "invalid_flag",
            &["conditions[0]", "values[0] is not a semantic version", "1.2.3"],
        ),
        put("names a segment that is not there", when(json!({ "op": "in_segment", "values": ["beta"] })))
            .says(400, "invalid_flag", &["\"beta\"", "does not have"]),
        put("splits between nothing", rule(json!({ "key": "r", "split": [{ "variation": "purple" }] })))
            .says(400, "invalid_flag", &["rules", "\"purple\""]),
    ]
}

/// Fuses that could not do what they are for.
fn of_fuses() -> Vec<Mistake> {
    let path = format!("{}/fuse", flag_path(GUARDED_FLAG));
    let fuse = xtask::demo_project::fuse;
    let put =
        |what, name: &str, value: Value| to(To::Admin, what, "PUT", &path).with(patched(fuse(), name, value));
    let mut wrong_sign = fuse();
    wrong_sign["guardrails"][0]["threshold"] = json!(0.05);
    let mut no_direction = fuse();
    no_direction["guardrails"][0]["direction"] = json!("down");
    vec![
        put("compares a variation with itself", "control_variation", json!("on")).says(
            400,
            "invalid_policy",
            &["control_variation is \"on\"", "allowed is another variation"],
        ),
        to(To::Admin, "writes a threshold with the wrong sign", "PUT", &path).with(wrong_sign).says(
            400,
            "invalid_policy",
            &["guardrails[0].threshold is 0.05", "allowed is"],
        ),
        to(To::Admin, "invents a direction", "PUT", &path).with(no_direction).says(
            400,
            "invalid_policy",
            &["guardrails[0].direction must be \"increase_is_harm\" or \"decrease_is_harm\""],
        ),
        put("wants a verdict of nobody", "min_sample", json!(0)).says(
            400,
            "invalid_policy",
            &["min_sample is 0, allowed is 1 to 100000000"],
        ),
        put("watches nothing", "guardrails", json!([])).says(
            400,
            "invalid_policy",
            &["guardrails", "1 to 8 entries"],
        ),
        put("watches with a fraction", "exposure_percent", json!("5%")).says(
            400,
            "invalid_policy",
            &["exposure_percent must be a number", "\"5%\""],
        ),
        put("serves what is not there", "treatment_variation", json!("purple")).says(
            400,
            "invalid_policy",
            &["treatment_variation", "\"purple\"", "does not have"],
        ),
        put("wants another mode", "mode", json!("bayes")).says(
            400,
            "mode_not_available",
            &["\"bayes\"", "classic"],
        ),
    ]
}

/// Questions to the edge.
fn of_evaluations() -> Vec<Mistake> {
    let ask = |what| to(To::Edge, what, "POST", BULK);
    vec![
        ask("leaves the context out").with(json!({ "targetingKey": "u", "plan": "pro" })).says(
            400,
            "context_malformed",
            &["no context", "\"plan\"", r#"{"context": {"targetingKey": "user-1"}}"#],
        ),
        ask("sends a list for a context").with(json!({ "context": ["u"] })).says(
            400,
            "context_malformed",
            &["context", "object"],
        ),
        ask("sends a number for a unit").with(json!({ "context": { "targetingKey": true } })).says(
            400,
            "context_malformed",
            &["targetingKey"],
        ),
        ask("forgets a brace").text("{\"context\": {").says(
            400,
            "body_malformed",
            &["not JSON", "ends too early"],
        ),
        to(To::Edge, "asks for somebody whom nobody can tell", "POST", &format!("{BULK}/{GUARDED_FLAG}"))
            .with(json!({ "context": {} }))
            .says(
                400,
                "TARGETING_KEY_MISSING",
                &["\"targetingKey\"", r#"{"context": {"targetingKey": "user-1"}}"#],
            ),
    ]
}

/// Events of which nothing can be used.
fn of_events() -> Vec<Mistake> {
    let now = xtask::traffic::now_ms();
    let good =
        json!({ "id": "e-1", "type": "outcome", "unit": "u", "occurred_ms": now, "metric": "conversion" });
    let send =
        |what, event: Value| to(To::Edge, what, "POST", "/v1/events").with(json!({ "events": [event] }));
    let with = |what, name: &str, value: Value| send(what, patched(good.clone(), name, value));
    let without = |what, name: &str| {
        let mut event = good.clone();
        event.as_object_mut().unwrap().remove(name);
        send(what, event)
    };
    let refused = "events_refused";
    vec![
        with("counts in seconds", "occurred_ms", json!(now / 1_000)).says(
            400,
            refused,
            &["events[0]: occurred_ms", "looks like seconds, expected milliseconds since 1970"],
        ),
        with("writes a date", "occurred_ms", json!("2026-01-01")).says(
            400,
            refused,
            &["occurred_ms must be a whole number", "the string \"2026-01-01\""],
        ),
        without("forgets the unit", "unit").says(400, refused, &["unit is missing", "targetingKey"]),
        without("forgets the id", "id").says(400, refused, &["id is missing"]),
        without("forgets the metric", "metric").says(400, refused, &["metric is missing", "\"outcome\""]),
        with("invents a type", "type", json!("click")).says(
            400,
            refused,
            &["type must be \"exposure\", \"outcome\" or \"usage\"", "\"click\""],
        ),
        with("gives a metric a title", "metric", json!("Signed up")).says(
            400,
            refused,
            &["metric key", "'S'", "a-z 0-9"],
        ),
        to(To::Edge, "sends one event alone", "POST", "/v1/events").with(good.clone()).says(
            400,
            "body_malformed",
            &["events is missing", "expected is {\"events\": ["],
        ),
        to(To::Edge, "sends too many", "POST", "/v1/events")
            .with(json!({ "events": vec![good.clone(); 201] }))
            .says(413, "too_many_events", &["201 events", "the limit is 200", "another request"]),
        with("names a metric that no fuse watches", "metric", json!("convertion")).says(
            202,
            "",
            &["\"accepted\":1"],
        ),
    ]
}

/// Documents of another system that are not all of what they were.
fn of_imports() -> Vec<Mistake> {
    let path = format!("{}/import?format=unleash&dry_run=true", environment_path());
    let document = json!({ "features": [
        { "name": "custom", "enabled": true, "strategies": [{ "name": "ourOwn" }] },
        { "name": "colours", "enabled": true, "strategies": [{ "name": "default" }],
          "variants": [{ "name": "red", "weight": 500 }, { "name": "blue", "weight": 499.999_999_999_9 }] },
        { "name": "sizes", "enabled": true, "strategies": [{ "name": "default" }], "variants": [{ "name": "s", "weight": 1 }] },
    ] });
    vec![
        to(To::Admin, "imports a strategy of their own", "POST", &path).with(document).says(
            200,
            "",
            &["ourOwn", "the flag is off for everybody", "add up to 999.9999999999", "became an object flag"],
        ),
        to(To::Admin, "imports something else", "POST", &path).text("[]").says(
            400,
            "invalid_import",
            &["cannot be read as Unleash features", "must be a JSON object"],
        ),
    ]
}

#[test]
fn every_mistake_is_answered_with_what_where_and_what_next() {
    let world = World::start("newcomer");
    let before = world.fuse().unwrap();
    let mistakes: Vec<Mistake> = [
        at_wrong_doors(&world),
        of_nothing(),
        of_shape(),
        of_rules(),
        of_fuses(),
        of_evaluations(),
        of_events(),
        of_imports(),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(mistakes.len() >= 30, "{} mistakes", mistakes.len());
    let made = world
        .admin
        .post("/v1/tokens", &json!({ "kind": "admin", "name": "newcomer" }))
        .unwrap()
        .ok()
        .unwrap();
    let admin_token = made["token"].as_str().unwrap();
    let faults: Vec<String> =
        mistakes.iter().flat_map(|mistake| mistake.faults(&world, admin_token)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(world.fuse().unwrap()["policy"], before["policy"], "a refused policy changed the fuse");
    what_was_accepted_can_be_found(&world);
}

/// The misspelt metric, and each refused event with its reason.
fn what_was_accepted_can_be_found(world: &World) {
    let environment = environment_path();
    eventually("the metric that no fuse watches is seen", PATIENCE, || {
        let seen = world.admin.get(&format!("{environment}/metrics-seen"))?.ok()?;
        let metrics = seen["metrics"].as_array().cloned().unwrap_or_default();
        let found = metrics.iter().find(|seen| seen["metric"] == "convertion");
        anyhow::ensure!(found.is_some_and(|seen| seen["count"] == 1 && seen["watched"] == false), "{seen}");
        let watched = metrics.iter().find(|seen| seen["metric"] == "conversion");
        anyhow::ensure!(watched.is_some_and(|seen| seen["watched_by"] == json!([GUARDED_FLAG])), "{seen}");
        Ok(())
    })
    .unwrap();
    eventually("the refused events are kept with their reasons", PATIENCE, || {
        let list = world.admin.get(&format!("{environment}/quarantine"))?.ok()?;
        let kept = list["quarantine"].as_array().cloned().unwrap_or_default();
        let reasons: Vec<&str> = kept.iter().filter_map(|row| row["reason"].as_str()).collect();
        for words in ["looks like seconds", "unit is missing", "id is missing", "type must be"] {
            anyhow::ensure!(reasons.iter().any(|reason| reason.contains(words)), "{words}: {list}");
        }
        anyhow::ensure!(kept.len() == 7, "{list}");
        Ok(())
    })
    .unwrap();
}
