//! `flagfuse baseline`: how a service answers before real traffic comes, in the figures that a contract is compared with, and
//! kept as the baseline of a flag.

mod conversion;
mod load;
mod sample;

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use axum::body::Bytes;
use axum::http::Method;
use flagfuse_control_plane::clock::{Clock, monotonic};
use flagfuse_control_plane::model::contract::Baseline;
use serde_json::{Value, json};

use self::conversion::Conversion;
use self::load::Plan;
use self::sample::baseline;
use super::api::{Api, flag_path};
use super::arguments::rollout::BaselineArgs;
use super::http::Origin;
use super::line::{Line, bar};
use super::say;

/// Measures, prints what was found, and keeps it where a control plane is named.
pub(super) async fn run(args: BaselineArgs) -> anyhow::Result<()> {
    // Whoever cannot keep it is told before the load, not after it.
    let keeper = keeper(&args)?;
    let plan = Arc::new(plan(&args)?);
    let begun = monotonic();
    let mut line = Line::on_standard_error();
    let mut failed = 0;
    let all = u64::from(args.requests);
    let samples = load::run(&plan, |done, sample| {
        failed += u64::from(sample.kind.is_error());
        line.show(&format!("{}, {done} of {all} requests, {failed} failed", bar(done, all)));
    })
    .await;
    let seconds = begun.elapsed().as_secs_f64();
    line.end(&format!("{}, {all} requests, {failed} failed", bar(all, all)));
    ensure!(samples.iter().any(|sample| sample.kind.is_answer()), "no request was answered: {}", args.url);
    let mut found = baseline(samples, plan.conversion.is_some(), u64::from(args.concurrency));
    found.target = target(&plan.origin);
    found.measured_ms = Some(Clock::System.now());
    let revision = match &keeper {
        Some((api, path)) => Some(keep(api, path, &found).await?),
        None => None,
    };
    if args.json {
        let figures = json!({ "baseline": found, "seconds": seconds, "kept_as": revision });
        return say(&figures.to_string());
    }
    say(&told(&found, seconds, revision))
}

/// What is sent, to whom, and how its answers are read.
fn plan(args: &BaselineArgs) -> anyhow::Result<Plan> {
    // A file of certificates may be the control plane's alone.
    let authorities = args.token.ca_file.as_deref().filter(|_| args.url.starts_with("https://"));
    let body = match &args.body {
        Some(path) => {
            Bytes::from(std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?)
        }
        None => Bytes::new(),
    };
    let conversion = match (&args.conversion_header, &args.conversion_json) {
        (Some(header), _) => Some(Conversion::of_header(header)?),
        (None, Some(path)) => Some(Conversion::of_json(path)?),
        (None, None) => None,
    };
    Ok(Plan {
        origin: Origin::of(&args.url, authorities)?,
        method: args.method.clone(),
        headers: args.headers.clone(),
        body,
        requests: args.requests.into(),
        concurrency: args.concurrency.into(),
        timeout: args.timeout(),
        conversion,
    })
}

/// Where the baseline is kept; nothing where no control plane is named.
fn keeper(args: &BaselineArgs) -> anyhow::Result<Option<(Api, String)>> {
    let (Some(plane), Some(project), Some(environment), Some(flag)) =
        (&args.plane, &args.project, &args.environment, &args.flag)
    else {
        return Ok(None);
    };
    let authorities = args.token.ca_file.as_deref().filter(|_| plane.starts_with("https://"));
    let api = Api::of(plane, &args.token.read()?, authorities)?;
    Ok(Some((api, format!("{}/baseline", flag_path(project, environment, flag)))))
}

async fn keep(api: &Api, path: &str, found: &Baseline) -> anyhow::Result<Value> {
    let answer = api.call(Method::PUT, path, Some(&json!(found))).await?;
    ensure!(answer.is_success(), "the baseline is not kept: {}", answer.problem());
    Ok(answer.body.get("revision").cloned().unwrap_or_default())
}

/// Without the query, which may hold what is nobody's business.
fn target(origin: &Origin) -> String {
    let scheme = if origin.tls.is_some() { "https" } else { "http" };
    let mut target = format!("{scheme}://{}{}", origin.authority, origin.path);
    target.truncate(target.floor_char_boundary(512));
    target
}

fn told(found: &Baseline, seconds: f64, revision: Option<Value>) -> String {
    let share = |rate: f64| format!("{:.2} %", rate * 100.0);
    let conversion = found.conversion.map_or_else(|| "not looked for".to_owned(), share);
    let kept = revision.map(|revision| format!("\nkept as revision {revision}")).unwrap_or_default();
    format!(
        "p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms\nerrors {} ({} took too long), conversion {conversion}\n\
         {} requests at {} at once in {seconds:.1} s{kept}",
        found.p50_ms,
        found.p95_ms,
        found.p99_ms,
        share(found.error_rate),
        found.timeouts,
        found.sample_size,
        found.concurrency,
    )
}

#[cfg(test)]
mod tests;
