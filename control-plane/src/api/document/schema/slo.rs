//! Objectives, and windows in which their alerts are silent. The words of `model::slo`.

use serde::Deserialize;
use utoipa::ToSchema;

/// An objective and how people hear that it is missed.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({
    "sli": { "kind": "errors" }, "objective_percent": 99.9, "window_days": 30, "alerts": "s4",
}))]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Slo {
    /// What is measured.
    sli: Sli,
    /// Share of requests that have to be good; every kind but `cost` needs it.
    #[schema(minimum = 50, maximum = 99.9999)]
    objective_percent: Option<f64>,
    /// Over how many days.
    #[serde(default)]
    #[schema(minimum = 7, maximum = 90, default = 30)]
    window_days: u64,
    /// When people hear of it.
    #[serde(default)]
    alerts: SloPreset,
    /// Whose outcomes count.
    #[serde(default)]
    outcomes_from: SloSources,
    /// Where people who are woken up find what to do.
    #[schema(max_length = 512)]
    runbook: Option<String>,
    /// For people.
    #[schema(max_length = 512)]
    description: Option<String>,
}

/// What is measured, in outcomes by their names.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Sli {
    kind: SliKind,
    /// The outcome that comes once for each request; `latency_ms` when absent.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    requests: String,
    /// `errors`: the outcome of a request that failed; `error` when absent.
    #[schema(min_length = 1, max_length = 64)]
    bad: Option<String>,
    /// `availability`: the outcome of a request that went well.
    #[schema(min_length = 1, max_length = 64)]
    good: Option<String>,
    /// `latency`: milliseconds above which a request counts as bad.
    #[schema(exclusive_minimum = 0, maximum = 1_000_000_000)]
    above_ms: Option<f64>,
    /// `cost`: the outcome whose value is what a request cost.
    #[schema(min_length = 1, max_length = 64)]
    cost: Option<String>,
    /// `cost`: what a request may cost on average, in the unit of those values.
    #[schema(exclusive_minimum = 0, maximum = 1_000_000_000)]
    at_most: Option<f64>,
}

/// What counts against the budget.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SliKind {
    /// Requests that failed, by an outcome of their own.
    Errors,
    /// Requests whose value is above a bound.
    Latency,
    /// Requests without the outcome that says that they went well.
    Availability,
    /// What requests cost, against what they may cost.
    Cost,
}

/// Which alerts an objective has.
#[derive(Deserialize, ToSchema, Default)]
#[serde(rename_all = "snake_case")]
enum SloPreset {
    /// 2 % of the budget in an hour and 5 % in six wake somebody up, 10 % in one or three days are told.
    #[default]
    Sre,
    /// Four times as fast as affordable wakes somebody up, one and a half times is told, and so is half of the budget.
    S4,
}

/// Whose outcomes count for an objective.
#[derive(Deserialize, ToSchema, Default)]
#[serde(rename_all = "snake_case")]
enum SloSources {
    /// Those of a server with a secret key, over OTLP too, and of the edge.
    #[default]
    Server,
    /// Those of clients too, for whom somebody vouches; a client key is public.
    Any,
}

/// What somebody hears.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum Level {
    /// Nothing.
    Ok,
    /// Nothing, although it would be more: somebody declared so.
    Suppressed,
    /// Somebody should look within the day.
    Inform,
    /// Somebody is woken up; ramps and recoveries wait.
    Page,
}
