//! What a roll-out has to keep to: a contract as users write it, checked field by field at the door, and the baseline that
//! it may be compared with. `judge` compares, `group` says which flags are switched off together.

mod group;
mod judge;

use flagfuse_shared::ids::{FlagKey, MetricKey, UnixMillis};
use flagfuse_shared::strict::{self, Misfit};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::group::together;
pub use self::judge::{
    Finding, Judged, Judgement, Measured, Standing, UNMEASURED, judge, p95_of_bins, quantile_index,
};
use super::metric::{
    ERROR_METRIC, EXPOSURE_METRIC, LATENCY_METRIC, OTHER_METRIC, RETURN_METRIC, USAGE_METRIC,
};
use super::policy::Policy;

/// Flags that one contract may name beside its own.
pub const GROUP_COUNT_MAX: usize = 32;
/// Bytes of what a baseline was measured on.
const TARGET_LEN_MAX: usize = 512;
const DAY_S: u64 = 24 * 3_600;

/// What a roll-out has to keep to. At least one limit or tolerance is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// 95th percentile of the exposed units' first latency, at most; milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_p95_ms: Option<f64>,
    /// Share of exposed units with an error, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_error_rate: Option<f64>,
    /// Share of exposed units that convert, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_conversion: Option<f64>,
    /// Share of exposed units that become active, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_activation: Option<f64>,
    /// Share of exposed units that come back, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_retention: Option<f64>,
    /// How much above the baseline's p95 is allowed, as a share of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_tolerance: Option<f64>,
    /// How much above the baseline's error rate is allowed, as a share of the units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate_tolerance: Option<f64>,
    /// How much below the baseline's conversion is allowed, as a share of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion_tolerance: Option<f64>,
    /// The outcome that is a conversion.
    #[serde(default = "conversion")]
    pub conversion_metric: String,
    /// The outcome that is an activation.
    #[serde(default = "activation")]
    pub activation_metric: String,
    /// Exposed units whose time for a metric is over, below which nothing is said of it.
    #[serde(default = "min_sample")]
    pub min_sample: u64,
    /// Seconds from the beginning of a validation to its first decision.
    pub window_s: u64,
    /// Whether a decision is acted on.
    #[serde(default)]
    pub decides: Decides,
    /// Flags whose fuses open together with this flag's, in one version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<String>,
}

/// Who acts on what a validation finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decides {
    /// The control plane promotes or rolls back.
    #[default]
    Automatic,
    /// People, or their pipeline, do.
    ByHand,
}

/// What was measured of a service before real traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    /// Share of requests that failed, those that took too long among them.
    pub error_rate: f64,
    /// Share of requests that converted; absent where nobody looked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion: Option<f64>,
    /// Requests.
    pub sample_size: u64,
    /// Requests that took too long.
    #[serde(default)]
    pub timeouts: u64,
    /// Requests that were under way at once.
    pub concurrency: u64,
    /// What was measured, for people.
    #[serde(default)]
    pub target: String,
    /// When the measurement ended; absent where nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_ms: Option<UnixMillis>,
}

/// Why a contract or a baseline is refused. Messages name the field and its limits.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ContractFault {
    /// Not the shape of one.
    #[error("{}", .misfit.of(.what))]
    Shape { what: &'static str, misfit: Misfit },
    /// A number or text outside its limits.
    #[error("{field} is {found}, allowed is {allowed}")]
    OutOfRange {
        /// What it is a field of.
        what: &'static str,
        field: String,
        found: String,
        /// The limits in words.
        allowed: String,
    },
}

impl ContractFault {
    /// Whether it is a baseline's and no contract's.
    pub fn is_of_baseline(&self) -> bool {
        match self {
            Self::Shape { what, .. } | Self::OutOfRange { what, .. } => *what == BASELINE,
        }
    }
}

const CONTRACT: &str = "the contract";
const BASELINE: &str = "the baseline";

/// A fault of one of them.
struct Field(&'static str);

impl Field {
    fn fault(
        &self,
        field: impl Into<String>,
        found: impl ToString,
        allowed: impl Into<String>,
    ) -> ContractFault {
        let (found, allowed) = (found.to_string(), allowed.into());
        ContractFault::OutOfRange { what: self.0, field: field.into(), found, allowed }
    }

    fn number(&self, field: &str, found: f64, min: f64, max: f64) -> Result<(), ContractFault> {
        if (min..=max).contains(&found) {
            return Ok(());
        }
        Err(self.fault(field, found, format!("{min} to {max}")))
    }

    fn whole(&self, field: &str, found: u64, min: u64, max: u64) -> Result<(), ContractFault> {
        if (min..=max).contains(&found) {
            return Ok(());
        }
        Err(self.fault(field, found, format!("{min} to {max}")))
    }
}

impl Contract {
    /// Reads and checks a contract; the first fault found is returned.
    pub fn parse(value: &Value) -> Result<Self, ContractFault> {
        let contract: Self =
            strict::from_value(value).map_err(|misfit| ContractFault::Shape { what: CONTRACT, misfit })?;
        contract.check()?;
        Ok(contract)
    }

    /// Refuses a contract whose group names its own flag, or one that is not among `flags`.
    pub fn check_group(&self, flag: &str, is_there: impl Fn(&str) -> bool) -> Result<(), ContractFault> {
        for (at, member) in self.group.iter().enumerate() {
            let allowed = match member.as_str() {
                member if member == flag => "another flag: its own belongs to it anyway",
                member if !is_there(member) => "a flag of this environment",
                _ => continue,
            };
            return Err(Field(CONTRACT).fault(format!("group[{at}]"), format!("{member:?}"), allowed));
        }
        Ok(())
    }

    /// The outcomes that it is about, each once.
    pub fn metrics(&self) -> Vec<&str> {
        let mut metrics: Vec<&str> = Vec::new();
        for rule in judge::rules(self, None) {
            if !metrics.contains(&rule.metric) {
                metrics.push(rule.metric);
            }
        }
        metrics
    }

    /// The first field that needs what `baseline` does not have.
    pub fn lacks(&self, baseline: Option<&Baseline>) -> Option<&'static str> {
        judge::rules(self, baseline).into_iter().find(|rule| rule.limit.is_none()).map(|rule| rule.name)
    }

    fn check(&self) -> Result<(), ContractFault> {
        let is = Field(CONTRACT);
        if judge::rules(self, None).is_empty() {
            let allowed = "at least one of max_p95_ms, max_error_rate, min_conversion, min_activation, min_retention, \
                           p95_tolerance, error_rate_tolerance, conversion_tolerance";
            return Err(is.fault("the contract", "without a limit", allowed));
        }
        let numbers = [
            ("max_p95_ms", self.max_p95_ms, (0.001, 3_600_000.0)),
            ("max_error_rate", self.max_error_rate, (0.0, 1.0)),
            ("min_conversion", self.min_conversion, (1e-6, 1.0)),
            ("min_activation", self.min_activation, (1e-6, 1.0)),
            ("min_retention", self.min_retention, (1e-6, 1.0)),
            ("p95_tolerance", self.p95_tolerance, (0.0, 10.0)),
            ("error_rate_tolerance", self.error_rate_tolerance, (0.0, 1.0)),
            ("conversion_tolerance", self.conversion_tolerance, (0.0, 0.99)),
        ];
        for (field, found, (min, max)) in numbers {
            if let Some(found) = found {
                is.number(field, found, min, max)?;
            }
        }
        is.whole("min_sample", self.min_sample, 1, 100_000_000)?;
        is.whole("window_s", self.window_s, 60, 30 * DAY_S)?;
        let metrics =
            [("conversion_metric", &self.conversion_metric), ("activation_metric", &self.activation_metric)];
        for (field, metric) in metrics {
            check_metric(field, metric)?;
        }
        if self.conversion_metric == self.activation_metric {
            let found = format!("{:?}, as conversion_metric", self.activation_metric);
            return Err(is.fault("activation_metric", found, "another outcome"));
        }
        self.check_names()
    }

    fn check_names(&self) -> Result<(), ContractFault> {
        let is = Field(CONTRACT);
        if self.group.len() > GROUP_COUNT_MAX {
            let allowed = format!("at most {GROUP_COUNT_MAX}");
            return Err(is.fault("group", format!("a list of {}", self.group.len()), allowed));
        }
        for (at, member) in self.group.iter().enumerate() {
            let field = format!("group[{at}]");
            FlagKey::parse(member).map_err(|e| is.fault(&field, format!("{member:?}"), e.to_string()))?;
            if self.group.iter().take(at).any(|earlier| earlier == member) {
                return Err(is.fault(field, "listed twice", "each flag once"));
            }
        }
        Ok(())
    }
}

/// Whether the phases of a policy count a metric: coming back always, others where it names them.
pub fn is_counted(policy: &Policy, metric: &str) -> bool {
    let guarded = policy.guardrails.iter().any(|guardrail| guardrail.metric == metric);
    metric == RETURN_METRIC || guarded || policy.values.iter().any(|name| name == metric)
}

/// What people do has a name of its own.
fn check_metric(field: &str, metric: &str) -> Result<(), ContractFault> {
    const TAKEN: [&str; 6] =
        [ERROR_METRIC, EXPOSURE_METRIC, LATENCY_METRIC, OTHER_METRIC, RETURN_METRIC, USAGE_METRIC];
    let is = Field(CONTRACT);
    MetricKey::parse(metric).map_err(|e| is.fault(field, format!("{metric:?}"), e.to_string()))?;
    if TAKEN.contains(&metric) {
        return Err(is.fault(field, format!("{metric:?}"), "an outcome's own name"));
    }
    Ok(())
}

impl Baseline {
    /// Reads and checks a baseline; the first fault found is returned.
    pub fn parse(value: &Value) -> Result<Self, ContractFault> {
        let baseline: Self =
            strict::from_value(value).map_err(|misfit| ContractFault::Shape { what: BASELINE, misfit })?;
        baseline.check()?;
        Ok(baseline)
    }

    fn check(&self) -> Result<(), ContractFault> {
        const MS_MAX: f64 = 3_600_000.0;
        let is = Field(BASELINE);
        let mut below = ("0", 0.0);
        for (field, found) in [("p50_ms", self.p50_ms), ("p95_ms", self.p95_ms), ("p99_ms", self.p99_ms)] {
            is.number(field, found, 0.0, MS_MAX)?;
            if found < below.1 {
                return Err(is.fault(field, found, format!("at least {}, {}", below.0, below.1)));
            }
            below = (field, found);
        }
        is.number("error_rate", self.error_rate, 0.0, 1.0)?;
        if let Some(conversion) = self.conversion {
            is.number("conversion", conversion, 0.0, 1.0)?;
        }
        is.whole("sample_size", self.sample_size, 1, 100_000_000)?;
        is.whole("timeouts", self.timeouts, 0, self.sample_size)?;
        is.whole("concurrency", self.concurrency, 1, 10_000)?;
        if self.target.len() > TARGET_LEN_MAX {
            let found = format!("a text of {} bytes", self.target.len());
            return Err(is.fault("target", found, format!("at most {TARGET_LEN_MAX} bytes")));
        }
        Ok(())
    }
}

fn conversion() -> String {
    "conversion".to_owned()
}

fn activation() -> String {
    "activation".to_owned()
}

const fn min_sample() -> u64 {
    1_500
}

#[cfg(test)]
mod tests;
