//! `/metrics`: Prometheus text of the caller's tenant. Labels are words of our own; never a unit, a flag or a key.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{Content, RefOr};

use super::ApiState;
use super::auth::{InTenant, Viewer};
use super::document::{Answers, Draft};
use crate::error::ApiError;
use crate::model::circuit::Circuit;
use crate::store::{fuses, quarantine, scopes};

const CONTENT: &str = "text/plain; version=0.0.4";

/// Prometheus text.
pub(super) struct Exposition(String);

impl IntoResponse for Exposition {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, CONTENT)], self.0).into_response()
    }
}

impl Answers for Exposition {
    fn describe(draft: &mut Draft) {
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        let content = Content::new(Some(RefOr::T(Schema::Object(text))));
        let response = ResponseBuilder::new().description("Prometheus text.").content("text/plain", content);
        draft.answer(StatusCode::OK, response.build());
    }
}

pub(super) async fn read(
    InTenant { caller, .. }: InTenant<Viewer>,
    State(state): State<ApiState>,
) -> Result<Exposition, ApiError> {
    let mut conn = state.store.read().await?;
    let tenant = caller.tenant.as_str();
    let balance = quarantine::balance_total(&mut conn, tenant).await?;
    let circuits = fuses::count_by_circuit(&mut conn, tenant).await?;
    let environments = scopes::environments(&mut conn, scopes::Whose::Tenant(&caller.tenant)).await?.len();
    let mut text = String::from(
        "# HELP flagfuse_events_total Events delivered by edges, by what became of them.\n\
         # TYPE flagfuse_events_total counter\n",
    );
    let outcomes = [
        ("received", balance.received),
        ("stored", balance.stored),
        ("duplicate", balance.duplicate),
        ("quarantined", balance.quarantined),
    ];
    for (outcome, count) in outcomes {
        line(&mut text, format_args!("flagfuse_events_total{{outcome=\"{outcome}\"}} {count}"));
    }
    text.push_str("# HELP flagfuse_fuses Fuses by circuit.\n# TYPE flagfuse_fuses gauge\n");
    for circuit in [Circuit::Closed, Circuit::Open, Circuit::HalfOpen] {
        let count = circuits.iter().find(|(word, _)| word == circuit.as_str()).map_or(0, |&(_, count)| count);
        line(&mut text, format_args!("flagfuse_fuses{{circuit=\"{}\"}} {count}", circuit.as_str()));
    }
    text.push_str("# HELP flagfuse_environments Environments.\n# TYPE flagfuse_environments gauge\n");
    line(&mut text, format_args!("flagfuse_environments {environments}"));
    text.push_str(
        "# HELP flagfuse_refused_tokens_total Requests without a valid token since the process started, of all tenants.\n\
         # TYPE flagfuse_refused_tokens_total counter\n",
    );
    let (missing, unknown) = state.failures.counts();
    for (reason, count) in [("missing", missing), ("unknown", unknown)] {
        line(&mut text, format_args!("flagfuse_refused_tokens_total{{reason=\"{reason}\"}} {count}"));
    }
    Ok(Exposition(text))
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{arguments}");
}
