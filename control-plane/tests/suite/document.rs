//! The `OpenAPI` document: unchanged, of all routes and no others, and true of every answer that the tests see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use axum::http::StatusCode;
use flagfuse_control_plane::api::openapi_document;
use flagfuse_control_plane::error::Code;
use serde_json::{Map, Value, json};

use crate::schema::Schemas;
use crate::world::World;

/// The document as clients read it.
pub(crate) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(openapi_document()).unwrap());

/// What was sent and what came back.
pub(crate) struct Exchange<'e> {
    pub(crate) method: &'e str,
    pub(crate) path: &'e str,
    pub(crate) sent: &'e [u8],
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'e str,
    pub(crate) received: &'e [u8],
}

/// The status under which the document has an answer: of a refusal that was preferred as a success, the one that it names.
fn documented_status(exchange: &Exchange<'_>, kind: &str) -> StatusCode {
    if kind != "application/problem+json" {
        return exchange.status;
    }
    let problem: Value = serde_json::from_slice(exchange.received).unwrap();
    StatusCode::try_from(u16::try_from(problem["status"].as_u64().unwrap()).unwrap()).unwrap()
}

/// Panics when an answer is none of those that the document has for its operation, and when a body was taken that the
/// document does not allow.
pub(crate) fn assert_documented(exchange: &Exchange<'_>) {
    let Exchange { method, path, .. } = exchange;
    let kind = exchange.content_type.split(';').next().unwrap_or_default();
    let status = &documented_status(exchange, kind);
    let Some(operation) = operation(method, path) else {
        let is_undocumented = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(status);
        assert!(
            is_undocumented || *method == "HEAD",
            "{method} {path} is no operation, and answers {status}"
        );
        return;
    };
    let schemas = Schemas::of(&DOCUMENT);
    let answers = &operation["responses"];
    let answer = schemas.resolved(&answers[status.as_str()]);
    assert!(answer.is_object(), "{method} {path}: {status} is not among {}", names(answers));
    let content = answer["content"].get(kind);
    let content = content.unwrap_or_else(|| panic!("{method} {path}: {status} of the type {kind:?}"));
    if kind.ends_with("json") {
        let received: Value = serde_json::from_slice(exchange.received).unwrap();
        let fits = schemas.fits(&content["schema"], &received);
        assert!(fits.is_ok(), "{method} {path}: {status}: {}: {received}", fits.unwrap_err());
    }
    let sent = &operation["requestBody"]["content"]["application/json"];
    if status.is_success() && !exchange.sent.is_empty() && sent.is_object() {
        // What is imported may be YAML.
        if let Ok(body) = serde_json::from_slice::<Value>(exchange.sent) {
            let fits = schemas.fits(&sent["schema"], &body);
            assert!(fits.is_ok(), "{method} {path} takes what the document refuses: {}", fits.unwrap_err());
        }
    }
}

fn names(object: &Value) -> String {
    object.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(", ")
}

/// The operation of a request.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap_or_default();
    let fits = |template: &str| {
        let (parts, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        parts.len() == given.len()
            && parts
                .iter()
                .zip(&given)
                .all(|(part, given)| part == given || (part.starts_with('{') && !given.is_empty()))
    };
    let found: Vec<_> = paths().iter().filter(|(template, _)| fits(template)).collect();
    // A path of its own goes before one with a parameter.
    let (_, item) = found.into_iter().min_by_key(|(template, _)| template.matches('{').count())?;
    item.get(method.to_lowercase())
}

fn paths() -> &'static Map<String, Value> {
    DOCUMENT["paths"].as_object().unwrap()
}

/// Whom an operation lets in, by the scheme and what it names; nothing of one that lets in everybody.
pub(crate) fn let_in(method: &str, template: &str) -> BTreeMap<String, BTreeSet<String>> {
    let ways = paths()[template][method.to_lowercase()]["security"].as_array().cloned().unwrap_or_default();
    let words = |named: &Value| {
        named.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let ways = ways.iter().flat_map(|way| way.as_object().unwrap().iter());
    ways.map(|(scheme, named)| (scheme.clone(), words(named))).collect()
}

/// Methods and paths of all operations.
pub(crate) fn operations() -> BTreeSet<(String, String)> {
    let methods = |item: &'static Value| item.as_object().unwrap().keys();
    paths()
        .iter()
        .flat_map(|(path, item)| methods(item).map(move |method| (method.to_uppercase(), path.clone())))
        .collect()
}

const GOLDEN: &str = include_str!("../../openapi.json");

#[test]
fn the_document_is_unchanged() {
    let now = format!("{}\n", openapi_document().to_pretty_json().unwrap());
    assert!(
        now == GOLDEN,
        "the OpenAPI document is another one: look at what changes for clients, and renew it with \
         `cargo run -p flagfuse-control-plane -- openapi > control-plane/openapi.json`"
    );
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
    let schemas = Schemas::of(&DOCUMENT);
    let mut references = BTreeSet::new();
    collect_references(&DOCUMENT, &mut references);
    for reference in references {
        let found = schemas.resolved(&json!({ "$ref": reference })).is_object();
        assert!(found, "{reference}");
    }
    let all = paths().values().flat_map(|item| item.as_object().unwrap().values());
    let ids: Vec<&str> = all.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
}

fn collect_references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| collect_references(field, found));
        }
        _ => {}
    }
}

/// A path with something in the place of its parameters.
pub(crate) fn filled(template: &str) -> String {
    if template == "/v1/feed" {
        // A stream ends only where that is asked for.
        return "/v1/feed?listen_s=0".to_owned();
    }
    let parts = template.split('/').map(|part| match part {
        "{project}" => "demo",
        "{environment}" => "production",
        "{flag}" => "checkout",
        "{action}" => "trip",
        "{version}" => "latest",
        part if part.starts_with('{') => "x",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn the_router_has_these_operations_and_no_others() {
    let world = World::new().await;
    let mut allowed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path) in operations() {
        allowed.entry(path).or_default().insert(method);
    }
    for (template, methods) in allowed {
        for method in ["GET", "PUT", "POST", "PATCH", "DELETE"] {
            let answer = world.send("", method, &filled(&template), Vec::new()).await;
            let is_there = answer.status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(is_there, methods.contains(method), "{method} {template}: {}", answer.status);
            assert_ne!(answer.code(), "unknown_path", "{method} {template}");
        }
    }
}

/// The paths of the control plane that docs/api.md has, with their methods.
fn told() -> BTreeSet<(String, String)> {
    let docs = include_str!("../../../docs/api.md");
    let part = docs.split("## Control plane").nth(1).unwrap().split("\n## ").next().unwrap();
    let (tenant, environment) = part.split_once("Below `").unwrap();
    let (prefix, environment) = environment.split_once('`').unwrap();
    let rows = |text: &'static str, prefix: &'static str| {
        let rows = text.lines().filter(|line| line.starts_with("| `/"));
        rows.flat_map(move |row| {
            let mut cells = row.split('|').skip(1);
            let path = format!("{prefix}{}", cells.next().unwrap().trim().trim_matches('`'));
            let words: Vec<&str> = cells.next().unwrap().split(|c: char| !c.is_ascii_uppercase()).collect();
            let methods = ["GET", "PUT", "POST", "PATCH", "DELETE"];
            let named = methods.into_iter().filter(move |method| words.contains(method));
            named.map(move |method| (method.to_owned(), path.clone())).collect::<Vec<_>>()
        })
    };
    rows(tenant, "").chain(rows(environment, prefix)).collect()
}

#[test]
fn the_list_for_people_has_the_same_operations() {
    let (told, documented) = (told(), operations());
    let differences: Vec<_> = told.symmetric_difference(&documented).collect();
    assert!(differences.is_empty(), "{differences:?}");
}

#[test]
fn the_codes_for_people_are_those_of_the_table() {
    let docs = include_str!("../../../docs/api.md");
    let told = docs.split("## Codes").nth(1).unwrap();
    let told: String =
        told.lines().filter(|line| line.starts_with('|')).fold(String::new(), |all, line| all + line + "\n");
    assert_eq!(told, Code::table(), "renew the section with `flagfuse openapi --codes`");
}
