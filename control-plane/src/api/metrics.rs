//! `/metrics`: Prometheus text of the caller's tenant. Labels are words of our own and the names of environments that are
//! there; never a unit, a flag, a key, or anything that an event claims. So however much is sent, no series comes with it.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use flagfuse_shared::ids::{Scope, TenantKey};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{Content, RefOr};

use super::ApiState;
use super::auth::{InTenant, Scraper};
use super::document::{Answers, Draft};
use crate::error::ApiError;
use crate::model::circuit::Circuit;
use crate::store::phase_counters::{self, NotCounted};
use crate::store::quarantine::{self, Balance};
use crate::store::quarantine_groups::balances;
use crate::store::write_times::{BUCKET_ENDS_US, Lane};
use crate::store::{Connection, Store, StoreError, fuses, partitions, scopes};

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
    InTenant { caller, .. }: InTenant<Scraper>,
    State(state): State<ApiState>,
) -> Result<Exposition, ApiError> {
    let mut conn = state.store.read().await?;
    let tenant = caller.tenant.as_str();
    let balance = quarantine::balance_total(&mut conn, tenant).await?;
    let circuits = fuses::count_by_circuit(&mut conn, tenant).await?;
    let environments = scopes::environments(&mut conn, scopes::Whose::Tenant(&caller.tenant)).await?.len();
    let by_environment = by_environment(&mut conn, &caller.tenant).await?;
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
    text.push_str(&by_environment);
    text.push_str(&state.exports.exposition(&caller.tenant));
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
    text.push_str(&write_times(&state.store));
    Ok(Exposition(text))
}

/// How long write transactions of this process lasted, by who writes.
fn write_times(store: &Store) -> String {
    let mut text = String::from(
        "# HELP flagfuse_write_transaction_seconds Write transactions from having their locks to their end, of all tenants.\n\
         # TYPE flagfuse_write_transaction_seconds histogram\n",
    );
    let name = "flagfuse_write_transaction_seconds";
    for lane in Lane::ALL {
        let (lasted, label) = (store.lasted(lane), lane.as_str());
        let mut count = 0;
        for (at, in_bucket) in lasted.buckets.iter().enumerate() {
            count += in_bucket;
            let end = BUCKET_ENDS_US.get(at).map_or_else(|| "+Inf".to_owned(), |end| seconds(*end));
            line(&mut text, format_args!("{name}_bucket{{lane=\"{label}\",le=\"{end}\"}} {count}"));
        }
        line(&mut text, format_args!("{name}_sum{{lane=\"{label}\"}} {}", seconds(lasted.sum_us)));
        line(&mut text, format_args!("{name}_count{{lane=\"{label}\"}} {count}"));
    }
    text
}

/// Microseconds as seconds, exactly.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What became of the events of each environment, and what its fuses could not count.
async fn by_environment(conn: &mut Connection, tenant: &TenantKey) -> Result<String, StoreError> {
    let balances = balances(conn, tenant).await?;
    let mut text = String::from(
        "# HELP flagfuse_environment_events_total Events of an environment, by what became of them.\n\
         # TYPE flagfuse_environment_events_total counter\n",
    );
    for (scope, balance) in &balances {
        let Balance { received, stored, duplicate, quarantined } = *balance;
        let outcomes = [
            ("received", received),
            ("stored", stored),
            ("duplicate", duplicate),
            ("quarantined", quarantined),
        ];
        for (outcome, count) in outcomes {
            let (name, place) = ("flagfuse_environment_events_total", labels(scope));
            line(&mut text, format_args!("{name}{{{place},outcome=\"{outcome}\"}} {count}"));
        }
    }
    text.push_str(
        "# HELP flagfuse_balance_off Whether received differs from stored, duplicate and quarantined: it never may.\n\
         # TYPE flagfuse_balance_off gauge\n",
    );
    for (scope, balance) in &balances {
        let (place, off) = (labels(scope), u8::from(!balance.is_exact()));
        line(&mut text, format_args!("flagfuse_balance_off{{{place}}} {off}"));
    }
    text.push_str(
        "# HELP flagfuse_not_counted_total Units and events that fuses did not count, by kind and arm.\n\
         # TYPE flagfuse_not_counted_total counter\n",
    );
    for NotCounted { scope, arm, kind, events } in phase_counters::by_environment(conn, tenant).await? {
        let (place, arm) = (labels(&scope), if arm == 0 { "control" } else { "exposed" });
        let name = "flagfuse_not_counted_total";
        line(&mut text, format_args!("{name}{{{place},kind=\"{kind}\",arm=\"{arm}\"}} {events}"));
    }
    text.push_str(
        "# HELP flagfuse_waiting_dropped_total Outcomes that were forgotten before their exposure could come, for want of room.\n\
         # TYPE flagfuse_waiting_dropped_total counter\n",
    );
    for (scope, _) in &balances {
        let (place, dropped) = (labels(scope), partitions::dropped(conn, scope).await?);
        line(&mut text, format_args!("flagfuse_waiting_dropped_total{{{place}}} {dropped}"));
    }
    Ok(text)
}

/// The labels of an environment. Its keys have no quotes.
pub(super) fn labels(scope: &Scope) -> String {
    format!("project=\"{}\",environment=\"{}\"", scope.project, scope.environment)
}

pub(super) fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{arguments}");
}
