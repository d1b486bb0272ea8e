//! Contracts and baselines. The words of `model`.

use serde::Deserialize;
use utoipa::ToSchema;

/// What a roll-out has to keep to. At least one limit or tolerance is there.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({
    "max_p95_ms": 200, "max_error_rate": 0.01, "min_activation": 0.15, "min_sample": 1500, "window_s": 3600,
}))]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Contract {
    /// 95th percentile of the exposed units' first latency, at most.
    #[schema(minimum = 0.001, maximum = 3_600_000)]
    max_p95_ms: Option<f64>,
    /// Share of exposed units with an error, at most.
    #[schema(minimum = 0, maximum = 1)]
    max_error_rate: Option<f64>,
    /// Share of exposed units that convert, at least.
    #[schema(minimum = 0.000_001, maximum = 1)]
    min_conversion: Option<f64>,
    /// Share of exposed units that become active, at least.
    #[schema(minimum = 0.000_001, maximum = 1)]
    min_activation: Option<f64>,
    /// Share of exposed units that come back, at least.
    #[schema(minimum = 0.000_001, maximum = 1)]
    min_retention: Option<f64>,
    /// How much above the baseline's p95 is allowed, as a share of it.
    #[schema(minimum = 0, maximum = 10)]
    p95_tolerance: Option<f64>,
    /// How much above the baseline's error rate is allowed, as a share of the units.
    #[schema(minimum = 0, maximum = 1)]
    error_rate_tolerance: Option<f64>,
    /// How much below the baseline's conversion is allowed, as a share of it.
    #[schema(minimum = 0, maximum = 0.99)]
    conversion_tolerance: Option<f64>,
    /// The outcome that is a conversion.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64, default = "conversion")]
    conversion_metric: String,
    /// The outcome that is an activation.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64, default = "activation")]
    activation_metric: String,
    /// Exposed units whose time for a metric is over, below which nothing is said of it.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100_000_000, default = 1500)]
    min_sample: u64,
    /// Seconds from the beginning of a validation to its first decision.
    #[schema(minimum = 60, maximum = 2_592_000)]
    window_s: u64,
    /// Who acts on what a validation finds.
    #[serde(default)]
    decides: Decides,
    /// Flags whose fuses open together with this flag's, in one version.
    #[serde(default)]
    #[schema(max_items = 32)]
    group: Vec<String>,
}

/// Who acts on what a validation finds.
#[derive(Deserialize, ToSchema, Default)]
#[serde(rename_all = "snake_case")]
enum Decides {
    /// The control plane promotes or rolls back.
    #[default]
    Automatic,
    /// People, or their pipeline, do.
    ByHand,
}

/// What was measured of a service before real traffic.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({
    "p50_ms": 12.1, "p95_ms": 40.7, "p99_ms": 88.0, "error_rate": 0.0004, "conversion": 0.21, "sample_size": 5000,
    "timeouts": 2, "concurrency": 50, "target": "https://shop.example/checkout",
}))]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Baseline {
    #[schema(minimum = 0, maximum = 3_600_000)]
    p50_ms: f64,
    #[schema(minimum = 0, maximum = 3_600_000)]
    p95_ms: f64,
    #[schema(minimum = 0, maximum = 3_600_000)]
    p99_ms: f64,
    /// Share of requests that failed, those that took too long among them.
    #[schema(minimum = 0, maximum = 1)]
    error_rate: f64,
    /// Share of requests that converted; absent where nobody looked for it.
    #[schema(minimum = 0, maximum = 1)]
    conversion: Option<f64>,
    /// Requests.
    #[schema(minimum = 1, maximum = 100_000_000)]
    sample_size: u64,
    /// Requests that took too long.
    #[serde(default)]
    timeouts: u64,
    /// Requests that were under way at once.
    #[schema(minimum = 1, maximum = 10_000)]
    concurrency: u64,
    /// What was measured, for people.
    #[serde(default)]
    #[schema(max_length = 512)]
    target: String,
    /// When the measurement ended; absent where nobody says.
    measured_ms: Option<u64>,
}

/// One rule of a contract with what was found.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct Judged {
    /// The contract's field.
    rule: String,
    /// The outcome that it is about.
    metric: String,
    /// A share, or milliseconds; null without units.
    #[schema(required)]
    found: Option<f64>,
    /// What it is compared with; null where the baseline does not say.
    #[schema(required)]
    limit: Option<f64>,
    /// Exposed units that it was found of.
    units: u64,
    /// The fewest that say anything.
    units_needed: u64,
    finding: RuleFinding,
}

/// What one rule comes to.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RuleFinding {
    Met,
    Violated,
    /// Fewer units than the contract asks for.
    TooFew,
    /// No guardrail of the fuse counts the metric.
    NotCounted,
    /// The baseline that it compares with does not say.
    NoBaseline,
}

/// Where a validation stands.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum Standing {
    /// The window is not over, units are too few, or events are late.
    Validating,
    /// Every rule is met.
    Met,
    /// One is not.
    Violated,
}
