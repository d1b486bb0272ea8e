//! Requests at the wrong door, with the wrong key, or about what is not there.

use serde_json::json;
use support::{World, environment_path};

use super::mistake::{BULK, Mistake, Shown, To, flag_path, to};

/// The right request at the wrong door, or with the wrong key.
pub(crate) fn at_wrong_doors(world: &World) -> Vec<Mistake> {
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
pub(crate) fn of_nothing() -> Vec<Mistake> {
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
            .says(404, "FLAG_NOT_FOUND", &["\"chekout\"", "the environment has no such flag"]),
        to(
            To::Admin,
            "puts a fuse on a flag that is not there",
            "PUT",
            &format!("{}/fuse", flag_path("nowhere")),
        )
        .with(xtask::demo_project::fuse())
        .says(404, "unknown_flag", &["flag \"nowhere\" does not exist", "PUT …/flags/FLAG makes it"]),
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
            .says(
                400,
                "bad_schema",
                &["kind must be \"admin\", \"editor\", \"viewer\", \"ingest\", \"client\", \"server\" or \"metrics\""],
            ),
    ]
}
