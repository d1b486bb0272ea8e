//! Who may do what, written down once more: the right that every operation needs and where, and the rights of roles and of kinds of
//! tokens. `authorization` holds the control plane and its document against it.

use self::Asked::{Environment, PartOfProject, Person, Project, Server, Somewhere, Tenant};

/// Where an operation works, and so where a right has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// In the whole tenant.
    Tenant,
    /// Wherever the caller has the right; the body or an id says where.
    Somewhere,
    /// In the project of the path.
    Project,
    /// In it or in one of its environments.
    PartOfProject,
    /// In the environment of the path.
    Environment,
    /// In the environment that the token is of.
    Server,
    /// About somebody who is signed in.
    Person,
}

/// `(right, where, operations)`; paths below an environment without its own.
pub(crate) type Row = (&'static str, Asked, &'static [&'static str]);

/// Every operation once.
pub(crate) const ROWS: &[Row] = &[
    ("", Somewhere, &["GET /v1/whoami"]),
    (
        "",
        Person,
        &["DELETE /v1/session", "GET /v1/sessions", "DELETE /v1/sessions/{session_id}", "PUT /v1/password"],
    ),
    ("scrape", Somewhere, &["GET /metrics"]),
    ("deliver", Somewhere, &["POST /v1/ingest"]),
    ("deliver", Tenant, &["POST /v1/replica/pull"]),
    ("deliver", Environment, &["GET /erasures"]),
    (
        "send",
        Server,
        &[
            "POST /v1/ingest/events",
            "POST /v1/otlp/v1/logs",
            "POST /v1/otlp/v1/traces",
            "POST /v1/otlp/v1/metrics",
        ],
    ),
    ("read", Tenant, &["GET /v1/audit", "GET /v1/keys"]),
    (
        "read",
        Somewhere,
        &[
            "GET /v1/feed",
            "GET /v1/overview",
            "GET /v1/overview/launches",
            "GET /v1/projects",
            "GET /v1/tokens",
            "GET /v1/tokens/{token_id}",
            "POST /v1/explain",
        ],
    ),
    (
        "read",
        PartOfProject,
        &[
            "GET /v1/projects/{project}",
            "GET /v1/projects/{project}/environments",
            "GET /v1/projects/{project}/flag-matrix",
        ],
    ),
    (
        "read",
        Project,
        &[
            "GET /v1/projects/{project}/flag-details",
            "GET /v1/projects/{project}/flag-details/{flag}",
            "GET /v1/projects/{project}/flags",
            "GET /v1/projects/{project}/flags/{flag}",
        ],
    ),
    (
        "read",
        Environment,
        &[
            "GET ",
            "GET /arrivals",
            "GET /audit",
            "GET /balance",
            "GET /changes/{version}",
            "GET /diff",
            "GET /flag-rows",
            "GET /flags",
            "GET /flags/{flag}",
            "GET /flags/{flag}/baseline",
            "GET /flags/{flag}/cells",
            "GET /flags/{flag}/contract",
            "GET /flags/{flag}/diff",
            "GET /flags/{flag}/fuse",
            "GET /flags/{flag}/fuse/series",
            "GET /flags/{flag}/fuse/trips",
            "GET /flags/{flag}/fuse/trips/{trip}",
            "GET /flags/{flag}/override",
            "GET /flags/{flag}/retention-delta",
            "GET /flags/{flag}/rollout",
            "GET /flags/{flag}/usage",
            "GET /flags/{flag}/verdicts",
            "GET /fuses",
            "GET /holdout",
            "GET /layers",
            "GET /layers/{key}",
            "GET /metrics-seen",
            "GET /notices",
            "GET /propagation",
            "GET /quarantine",
            "GET /quarantine/groups",
            "GET /segments",
            "GET /segments/{key}",
            "GET /settings",
            "GET /slos",
            "GET /slos/{name}",
            "GET /snapshot",
            "GET /snapshots",
            "GET /suppressions",
            "GET /suppressions/{suppression_id}",
            "GET /telemetry-health",
            "GET /tokens",
            "POST /flags/{flag}/copy-to",
        ],
    ),
    (
        "edit",
        Project,
        &[
            "PUT /v1/projects/{project}/flag-details/{flag}",
            "PUT /v1/projects/{project}/flags/{flag}",
            "PATCH /v1/projects/{project}/flags/{flag}",
            "DELETE /v1/projects/{project}/flags/{flag}",
        ],
    ),
    (
        "edit",
        Environment,
        &[
            "DELETE /flags/{flag}",
            "DELETE /flags/{flag}/contract",
            "DELETE /flags/{flag}/fuse",
            "DELETE /flags/{flag}/override",
            "DELETE /holdout",
            "DELETE /layers/{key}",
            "DELETE /segments/{key}",
            "DELETE /slos/{name}",
            "DELETE /suppressions/{suppression_id}",
            "PATCH /flags/{flag}",
            "POST /flags/{flag}/fuse/lint",
            "POST /flags/{flag}/fuse/rehearse",
            "POST /flags/{flag}/fuse/{action}",
            "POST /flags/{flag}/off",
            "POST /flags/{flag}/on",
            "POST /flags/{flag}/rollout/{step}",
            "POST /import",
            "POST /publish",
            "POST /quarantine/replay",
            "POST /revert",
            "POST /suppressions",
            "PUT /flags/{flag}",
            "PUT /flags/{flag}/baseline",
            "PUT /flags/{flag}/contract",
            "PUT /flags/{flag}/fuse",
            "PUT /flags/{flag}/override",
            "PUT /holdout",
            "PUT /layers/{key}",
            "PUT /segments/{key}",
            "PUT /slos/{name}",
        ],
    ),
    ("administer", Tenant, &["POST /v1/projects"]),
    (
        "administer",
        Somewhere,
        &[
            "DELETE /v1/members/{user_id}",
            "DELETE /v1/tokens/{token_id}",
            "GET /v1/members",
            "GET /v1/members/{user_id}",
            "POST /v1/members",
            "POST /v1/members/{user_id}/link",
            "POST /v1/tokens",
            "POST /v1/tokens/{token_id}/rotate",
            "PUT /v1/members/{user_id}",
        ],
    ),
    ("administer", Project, &["DELETE /v1/projects/{project}", "POST /v1/projects/{project}/environments"]),
    (
        "administer",
        Environment,
        &["DELETE ", "PATCH /settings", "POST /erasures", "POST /tokens", "PUT /settings"],
    ),
];

/// What everybody may ask, who is nobody yet.
pub(crate) const PUBLIC: &[&str] =
    &["GET /healthz", "GET /v1/openapi.json", "POST /v1/session", "POST /v1/session/link"];
/// Events claim places that need not be there.
pub(crate) const CLAIMED: &[&str] = &["GET /balance", "GET /quarantine", "GET /quarantine/groups"];

pub(crate) const OF_ENVIRONMENT: &str = "/v1/projects/{project}/environments/{environment}";

/// Rights of roles and of kinds of tokens, written down once more.
const RIGHTS: &[(&str, &str)] = &[
    ("owner", "read scrape edit administer"),
    ("admin", "read scrape edit administer"),
    ("editor", "read scrape edit"),
    ("approver", "read scrape"),
    ("viewer", "read scrape"),
    ("ingest", "deliver"),
    ("server", "send"),
    ("metrics", "scrape"),
    ("client", ""),
];
pub(crate) const ROLES: [&str; 5] = ["owner", "admin", "editor", "approver", "viewer"];

pub(crate) fn has(who: &str, right: &str) -> bool {
    let (_, rights) = RIGHTS.iter().find(|(own, _)| *own == who).unwrap();
    rights.split(' ').any(|own| own == right)
}
