//! Launches in which nothing is wrong, of what guardrails compare beside rates of everybody: limits, latency, slices. Each lies where
//! its test is easiest to deceive: at the limit, at the tolerance.

use anyhow::Result;
use serde_json::json;

use super::healthy::{FALSE_TRIPS, HOURS, cell, doings, traffic, trips};
use super::policies::{Watch, one, shares, watches, with};
use crate::cell::{Cell, Sample};
use crate::plane::Setting;
use crate::traffic::{Delay, Doing, HOUR_MS, Traffic, Value, by_arm, steady};

/// Of the logarithm of a latency.
const SIGMA: f64 = 0.6;
/// The standard normal distribution's 95th percentile.
const P95: f64 = 1.644_853_626_951_472_7;

pub(super) fn cells() -> Result<Vec<Cell>> {
    Ok(vec![limits()?, latency()?, slices()?])
}

/// Both arms exactly at their limits.
fn limits() -> Result<Cell> {
    let share = 0.2;
    let [exposure, control] = shares(share);
    let limit_ms = (120.0_f64.ln() + SIGMA * P95).exp();
    let guardrail = |metric, direction, threshold, limit: f64, weight| json!({ "metric": metric, "direction": direction, "threshold": threshold, "limit": limit, "weight": weight });
    let guardrails = json!([
        guardrail("error", "increase_is_harm", 0.5, 0.02, 0.4),
        guardrail("latency_ms", "increase_is_harm", 0.5, limit_ms, 0.2),
        guardrail("activation", "decrease_is_harm", -0.1, 0.15, 0.4),
    ]);
    let setting = Setting::first(with(&[], &[exposure, control, ("guardrails", guardrails)])?, share);
    let latency = Value::Lognormal(120.0_f64.ln(), SIGMA);
    let doings = vec![
        Doing::once("error", steady(0.02), Delay::AtOnce),
        Doing { value: latency, ..Doing::once("latency_ms", steady(1.0), Delay::AtOnce) },
        Doing::once("activation", steady(0.15), Delay::Even(0, 2 * HOUR_MS)),
    ];
    let traffic = traffic(100.0, share, doings);
    let what = "A/A against numbers, 1:4: errors of 2 % where 2 % are allowed, a 95th percentile of the latency exactly at its limit, 15 % who \
                activate where 15 % have to: control is beyond a limit as often, 100 units an hour, 14 days";
    Ok(cell("aa-limits".to_owned(), what.to_owned(), move |seed| trips(&setting, &traffic, seed, HOURS)))
}

/// Exposed latency slower by exactly what the guardrail tolerates.
fn latency() -> Result<Cell> {
    let share = 0.2;
    let watch = Watch { metric: "latency_ms", threshold: 0.1, baseline: None, weight: 1.0, within_s: None };
    let setting = Setting::first(one(watch, share)?, share);
    let slow = |median: f64, rate| Doing {
        value: Value::Lognormal(median.ln(), SIGMA),
        ..Doing::once("latency_ms", rate, Delay::AtOnce)
    };
    let doings = vec![slow(132.0, by_arm(1.0, 0.0)), slow(120.0, by_arm(0.0, 1.0))];
    let traffic = traffic(100.0, share, doings);
    let what = "Latency of exposed units longer by 10 %, exactly what the guardrail tolerates, lognormal with σ = 0.6, 1:4, 100 units an hour, \
                14 days";
    Ok(cell("aa-latency".to_owned(), what.to_owned(), move |seed| trips(&setting, &traffic, seed, HOURS)))
}

/// Two dimensions of three and two values beside the rest of each: seven slices that may trip beside everybody.
fn slices() -> Result<Cell> {
    let share = 0.2;
    let [exposure, control] = shares(share);
    let dimensions = json!([
        { "attribute": "device", "values": ["mobile", "desktop", "tablet"] },
        { "attribute": "country", "values": ["DE", "NP"] },
    ]);
    let policy = with(&watches(0.4, 0.05), &[exposure, control, ("slices", dimensions)])?;
    let setting = Setting::first(policy, share);
    let traffic = traffic(100.0, share, doings(&|| steady(0.4), Delay::Waiting(0, 2 * HOUR_MS)));
    let traffic = Traffic { dimensions: vec![3, 2], ..traffic };
    let what = "A/A, five guardrails, 1:4, rates of 40 %, seven slices of two dimensions that share a fifth of the error, 100 units an hour \
                with ±40 % over the day, 4 days: a trip of everybody or of any slice";
    let launch = move |seed| Ok(Sample::of(trips(&setting, &traffic, seed, 4 * 24)?));
    Ok(Cell::new("aa-slices", what, 2_500, launch).up_to(10_000).bar(FALSE_TRIPS))
}
