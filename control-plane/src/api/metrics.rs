//! `/metrics`: Prometheus text of the caller's tenant, or of the environments that its token is valid in. Labels are words of our
//! own and the names of environments that are there; never a unit, a flag, a key, or anything that an event claims. So however much is sent, no series comes with it.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use flagfuse_shared::ids::Scope;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{Content, RefOr};

use super::ApiState;
use super::auth::{Caller, Scraper, Somewhere};
use super::document::{Answers, Draft};
use super::exposition::PROMETHEUS;
use crate::error::ApiError;
use crate::model::circuit::Circuit;
use crate::model::rights::{Place, Right};
use crate::store::phase_counters::{self, NotCounted};
use crate::store::quarantine::{self, Balance};
use crate::store::quarantine_groups::balances;
use crate::store::write_times::{BUCKET_ENDS_US, Lane};
use crate::store::{Connection, Store, StoreError, fuses, partitions};

/// Prometheus text.
pub(super) struct Exposition(String);

impl IntoResponse for Exposition {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, PROMETHEUS)], self.0).into_response()
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

/// What the caller may see: all of the tenant and of the process, or some environments alone.
struct View<'c> {
    caller: &'c Caller,
    is_whole: bool,
}

impl View<'_> {
    fn has(&self, scope: &Scope) -> bool {
        self.is_whole || self.caller.may(Right::Scrape, &Place::from(scope))
    }
}

pub(super) async fn read(
    Somewhere { caller, .. }: Somewhere<Scraper>,
    State(state): State<ApiState>,
) -> Result<Exposition, ApiError> {
    let view = View { caller: &caller, is_whole: caller.may(Right::Scrape, &Place::Tenant) };
    let mut conn = state.store.read().await?;
    let balances = balances(&mut conn, &caller.tenant).await?;
    let balances: Vec<_> = balances.into_iter().filter(|(scope, _)| view.has(scope)).collect();
    // Of the whole tenant also what environments that are deleted since have had.
    let mut balance = Balance::default();
    for (_, own) in &balances {
        balance.add(*own);
    }
    if view.is_whole {
        balance = quarantine::balance_total(&mut conn, caller.tenant.as_str()).await?;
    }
    let mut text = String::from(
        "# HELP flagfuse_events_total Events delivered by edges, by what became of them.\n\
         # TYPE flagfuse_events_total counter\n",
    );
    for (outcome, count) in balance.by_outcome() {
        line(&mut text, format_args!("flagfuse_events_total{{outcome=\"{outcome}\"}} {count}"));
    }
    text.push_str(&by_environment(&mut conn, &view, &balances).await?);
    text.push_str(&state.exports.exposition(&caller.tenant, |scope| view.has(scope)));
    let circuits = fuses::count_by_circuit(&mut conn, &caller.tenant).await?;
    text.push_str("# HELP flagfuse_fuses Fuses by circuit.\n# TYPE flagfuse_fuses gauge\n");
    for circuit in [Circuit::Closed, Circuit::Open, Circuit::HalfOpen] {
        let own = circuits.iter().filter(|(scope, of, _)| *of == circuit && view.has(scope));
        let count: u64 = own.map(|(_, _, count)| count).sum();
        line(&mut text, format_args!("flagfuse_fuses{{circuit=\"{}\"}} {count}", circuit.as_str()));
    }
    text.push_str("# HELP flagfuse_environments Environments.\n# TYPE flagfuse_environments gauge\n");
    line(&mut text, format_args!("flagfuse_environments {}", balances.len()));
    if view.is_whole {
        text.push_str(&of_process(&state));
    }
    Ok(Exposition(text))
}

/// What no environment has to itself.
fn of_process(state: &ApiState) -> String {
    let mut text = String::from(
        "# HELP flagfuse_refused_tokens_total Requests without a valid token since the process started, of all tenants.\n\
         # TYPE flagfuse_refused_tokens_total counter\n",
    );
    let (missing, unknown) = state.failures.counts();
    for (reason, count) in [("missing", missing), ("unknown", unknown)] {
        line(&mut text, format_args!("flagfuse_refused_tokens_total{{reason=\"{reason}\"}} {count}"));
    }
    text.push_str(&write_times(&state.store));
    text
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
async fn by_environment(
    conn: &mut Connection,
    view: &View<'_>,
    balances: &[(Scope, Balance)],
) -> Result<String, StoreError> {
    let mut text = String::from(
        "# HELP flagfuse_environment_events_total Events of an environment, by what became of them.\n\
         # TYPE flagfuse_environment_events_total counter\n",
    );
    for (scope, balance) in balances {
        for (outcome, count) in balance.by_outcome() {
            let (name, place) = ("flagfuse_environment_events_total", labels(scope));
            line(&mut text, format_args!("{name}{{{place},outcome=\"{outcome}\"}} {count}"));
        }
    }
    text.push_str(
        "# HELP flagfuse_balance_off Whether received differs from stored, duplicate and quarantined: it never may.\n\
         # TYPE flagfuse_balance_off gauge\n",
    );
    for (scope, balance) in balances {
        let (place, off) = (labels(scope), u8::from(!balance.is_exact()));
        line(&mut text, format_args!("flagfuse_balance_off{{{place}}} {off}"));
    }
    text.push_str(
        "# HELP flagfuse_not_counted_total Units and events that fuses did not count, by kind and arm.\n\
         # TYPE flagfuse_not_counted_total counter\n",
    );
    let not_counted = phase_counters::by_environment(conn, &view.caller.tenant).await?;
    for NotCounted { scope, arm, kind, events } in
        not_counted.into_iter().filter(|found| view.has(&found.scope))
    {
        let (place, arm) = (labels(&scope), if arm == 0 { "control" } else { "exposed" });
        let name = "flagfuse_not_counted_total";
        line(&mut text, format_args!("{name}{{{place},kind=\"{kind}\",arm=\"{arm}\"}} {events}"));
    }
    text.push_str(
        "# HELP flagfuse_waiting_dropped_total Outcomes that were forgotten before their exposure could come, for want of room.\n\
         # TYPE flagfuse_waiting_dropped_total counter\n",
    );
    for (scope, _) in balances {
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
