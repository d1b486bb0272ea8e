//! A contract against what was counted: each rule with what was found, and where the whole stands.

use std::collections::BTreeMap;

use flagfuse_cells::bins::latency_bin_ends;
use flagfuse_shared::ids::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{Baseline, Contract};
use crate::model::metric::{ERROR_METRIC, LATENCY_METRIC, RETURN_METRIC};

/// What was counted of one metric among exposed units whose time for it is over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Whether a phase counts it at all.
    pub is_counted: bool,
    /// Exposed units; of a latency, those with a sample.
    pub units: u64,
    /// Share of them with the event; of a latency, the 95th percentile in milliseconds. `None` without units.
    pub value: Option<f64>,
}

/// Of what no phase counts.
pub const UNMEASURED: Measured = Measured { is_counted: false, units: 0, value: None };

/// What one rule comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    Met,
    Violated,
    /// Fewer units than the contract asks for.
    TooFew,
    /// No guardrail of the fuse counts the metric.
    NotCounted,
    /// The baseline that it compares with does not say.
    NoBaseline,
}

/// One rule with what was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The contract's field.
    pub rule: String,
    pub metric: String,
    /// A share, or milliseconds; absent without units.
    pub found: Option<f64>,
    /// What it is compared with; absent where the baseline does not say.
    pub limit: Option<f64>,
    /// Exposed units that it was found of.
    pub units: u64,
    /// The fewest that say anything.
    pub units_needed: u64,
    pub finding: Finding,
}

/// Where a validation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The window is not over, units are too few, or events are late.
    Validating,
    /// Every rule is met.
    Met,
    /// One is not.
    Violated,
}

/// A contract against what was counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    pub standing: Standing,
    /// In the order of the contract's fields.
    pub rules: Vec<Judged>,
}

/// What is measured, and on which side of the limit it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    AtMost,
    AtLeast,
}

/// A limit of a contract.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rule<'c> {
    pub(super) name: &'static str,
    pub(super) metric: &'c str,
    side: Side,
    /// `None` where the baseline does not say.
    pub(super) limit: Option<f64>,
}

/// The limits that a contract has, with what they come to over a baseline.
pub(super) fn rules<'c>(contract: &'c Contract, baseline: Option<&Baseline>) -> Vec<Rule<'c>> {
    let conversion = contract.conversion_metric.as_str();
    let over = |of: Option<f64>, limit: &dyn Fn(f64) -> f64| of.map(limit);
    let p95 = baseline.map(|baseline| baseline.p95_ms);
    let errors = baseline.map(|baseline| baseline.error_rate);
    let converts = baseline.and_then(|baseline| baseline.conversion);
    let fixed = |name, metric, side, limit: Option<f64>| {
        limit.map(|limit| Rule { name, metric, side, limit: Some(limit) })
    };
    let compared =
        |name, metric, side, tolerance: Option<f64>, of: Option<f64>, limit: fn(f64, f64) -> f64| {
            tolerance.map(|by| Rule { name, metric, side, limit: over(of, &|of| limit(of, by)) })
        };
    let (most, least) = (Side::AtMost, Side::AtLeast);
    let all = [
        fixed("max_p95_ms", LATENCY_METRIC, most, contract.max_p95_ms),
        fixed("max_error_rate", ERROR_METRIC, most, contract.max_error_rate),
        fixed("min_conversion", conversion, least, contract.min_conversion),
        fixed("min_activation", &contract.activation_metric, least, contract.min_activation),
        fixed("min_retention", RETURN_METRIC, least, contract.min_retention),
        compared("p95_tolerance", LATENCY_METRIC, most, contract.p95_tolerance, p95, |of, by| {
            of * (1.0 + by)
        }),
        compared(
            "error_rate_tolerance",
            ERROR_METRIC,
            most,
            contract.error_rate_tolerance,
            errors,
            |of, by| (of + by).min(1.0),
        ),
        compared(
            "conversion_tolerance",
            conversion,
            least,
            contract.conversion_tolerance,
            converts,
            |of, by| of * (1.0 - by),
        ),
    ];
    all.into_iter().flatten().collect()
}

/// Where a validation stands that began then. `measured` is by metric. It decides when its window is over: what is late
/// (`is_fresh` is false while a buffer is behind) keeps it from being met, and never from being violated.
pub fn judge(
    contract: &Contract,
    baseline: Option<&Baseline>,
    measured: &BTreeMap<String, Measured>,
    (began_ms, now): (UnixMillis, UnixMillis),
    is_fresh: bool,
) -> Judgement {
    let judged = |rule: Rule<'_>| {
        let found = measured.get(rule.metric).copied().unwrap_or(UNMEASURED);
        let finding = match (found.value, rule.limit) {
            _ if !found.is_counted => Finding::NotCounted,
            (_, None) => Finding::NoBaseline,
            (Some(value), Some(limit)) if found.units >= contract.min_sample => {
                let is_met = match rule.side {
                    Side::AtMost => value <= limit,
                    Side::AtLeast => value >= limit,
                };
                if is_met { Finding::Met } else { Finding::Violated }
            }
            (Some(_) | None, Some(_)) => Finding::TooFew,
        };
        Judged {
            rule: rule.name.to_owned(),
            metric: rule.metric.to_owned(),
            found: found.value,
            limit: rule.limit,
            units: found.units,
            units_needed: contract.min_sample,
            finding,
        }
    };
    let rules: Vec<Judged> = rules(contract, baseline).into_iter().map(judged).collect();
    let is_over = now.since(began_ms) >= contract.window_s * 1_000;
    let all_met = !rules.is_empty() && rules.iter().all(|rule| rule.finding == Finding::Met);
    let standing = if is_over && rules.iter().any(|rule| rule.finding == Finding::Violated) {
        Standing::Violated
    } else if is_over && all_met && is_fresh {
        Standing::Met
    } else {
        Standing::Validating
    };
    Judgement { standing, rules }
}

/// Where in `count` sorted samples a quantile stands: `sorted[int(n · q)]`, the last one at most. `None` without samples.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts stay far below 2^53, and q is 0 to 1"
)]
pub fn quantile_index(count: u64, q: f64) -> Option<u64> {
    let last = count.checked_sub(1)?;
    Some(((count as f64 * q) as u64).min(last))
}

/// Samples and their 95th percentile in milliseconds, of units by latency bin in rising order: the middle of the bin that it
/// is in, within 1 % of the sample. What lies above all bins counts as the last edge.
pub fn p95_of_bins(bins: &[(u16, u64)]) -> (u64, Option<f64>) {
    /// Of an upper edge: 2 / (γ + 1) with γ = 1.01 / 0.99.
    const MIDDLE: f64 = 0.99;
    let count = bins.iter().map(|(_, units)| units).sum();
    let Some(at) = quantile_index(count, 0.95) else { return (count, None) };
    let mut seen = 0;
    let own = bins.iter().find(|(_, units)| {
        seen += units;
        seen > at
    });
    let edge = own.and_then(|(bin, _)| (0..=*bin).rev().find_map(latency_bin_ends));
    #[expect(clippy::cast_precision_loss, reason = "an hour is 3.6e12")]
    let value = edge.map(|micros| micros as f64 / 1e6 * MIDDLE);
    (count, value)
}
