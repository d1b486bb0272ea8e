//! `flagfuse rollout`: a roll-out from a pipeline, whose exit code says how it stands.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use axum::http::Method;
use flagfuse_control_plane::clock::monotonic;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::api::{Answered, Api, flag_path};
use super::arguments::rollout::{RolloutArgs, Verb};
use super::{say, tell, tell_failure};

/// Between two looks while it waits.
const LOOK_PAUSE: Duration = Duration::from_secs(2);

/// Promoted, or its contract is met; or what was asked for is so.
const GOOD: u8 = 0;
/// Rolled back, violated, or refused since the other has happened.
const BAD: u8 = 1;
/// Not decided yet.
const OPEN: u8 = 2;
/// Nobody could be asked, or nobody answered with a roll-out.
const UNKNOWN: u8 = 3;

/// Does what is asked for, prints how the roll-out stands, and says it in the exit code.
pub(super) async fn run(args: RolloutArgs) -> anyhow::Result<ExitCode> {
    let code = match asked(&args).await {
        Ok((code, shown)) => {
            say(&if args.json { shown.to_string() } else { told(&shown) })?;
            code
        }
        Err(error) => {
            tell_failure(&error, args.json)?;
            UNKNOWN
        }
    };
    Ok(ExitCode::from(code))
}

/// The exit code, and the roll-out as the API shows it.
async fn asked(args: &RolloutArgs) -> anyhow::Result<(u8, Value)> {
    let api = Api::of(&args.url, &args.token.read()?, args.token.ca_file.as_deref())?;
    let path = format!("{}/rollout", flag_path(&args.project, &args.environment, &args.flag));
    let word = match args.verb {
        Verb::Status => return until_decided(&api, &path, args.wait_s).await,
        Verb::Validate => "validate",
        Verb::Promote => "promote",
        Verb::Rollback => "rollback",
    };
    let body = json!({ "reason": args.reason, "restart": args.restart });
    let answer = api.call(Method::POST, &format!("{path}/{word}"), Some(&body)).await?;
    if answer.text("code") == "rollout_decided" {
        tell(answer.text("detail"));
        let shown = until_decided(&api, &path, 0).await?.1;
        return Ok((BAD, shown));
    }
    let rollout = success(&answer)?.get("rollout").cloned().unwrap_or_default();
    Ok(match args.verb {
        Verb::Status | Verb::Validate => match standing(&rollout) {
            OPEN if args.wait_s > 0 => until_decided(&api, &path, args.wait_s).await?,
            code => (code, rollout),
        },
        Verb::Promote | Verb::Rollback => (GOOD, rollout),
    })
}

/// Looks until it is decided, or the time is over.
async fn until_decided(api: &Api, path: &str, wait_s: u64) -> anyhow::Result<(u8, Value)> {
    let begun = monotonic();
    loop {
        let answer = api.call(Method::GET, path, None).await?;
        let rollout = success(&answer)?;
        let code = standing(rollout);
        let is_over = begun.elapsed() + LOOK_PAUSE > Duration::from_secs(wait_s);
        if code != OPEN || is_over {
            return Ok((code, rollout.clone()));
        }
        sleep(LOOK_PAUSE).await;
    }
}

fn success(answer: &Answered) -> anyhow::Result<&Value> {
    anyhow::ensure!(answer.is_success(), "{}", answer.problem());
    Ok(&answer.body)
}

/// The exit code of a roll-out as it stands.
fn standing(rollout: &Value) -> u8 {
    let text = |pointer: &str| rollout.pointer(pointer).and_then(Value::as_str);
    match (text("/rollout"), text("/validation/standing")) {
        (Some("PROMOTED"), _) => GOOD,
        (Some("ROLLED_BACK"), _) => BAD,
        (Some("VALIDATING"), Some("met")) => GOOD,
        (Some("VALIDATING"), Some("violated")) => BAD,
        (Some(_), _) => OPEN,
        (None, _) => UNKNOWN,
    }
}

/// The same for people: the state, then a line for each rule.
fn told(rollout: &Value) -> String {
    let text = |pointer: &str| rollout.pointer(pointer).and_then(Value::as_str).unwrap_or("none");
    let number = |value: Option<&Value>| value.and_then(Value::as_f64).map_or("-".to_owned(), short);
    let mut told = format!("{} {}, fuse {}", text("/flag"), text("/rollout"), text("/circuit"));
    let validation = rollout.get("validation").filter(|validation| !validation.is_null());
    let Some(validation) = validation else { return told + ", never validated" };
    let stands = match (text("/validation/outcome"), text("/validation/standing")) {
        ("none", standing) => standing,
        (outcome, _) => outcome,
    };
    let version = number(validation.get("contract_version"));
    // Writing into a text cannot fail.
    let _ = write!(told, ", validation of contract {version}: {stands}");
    let rules = validation.get("rules").and_then(Value::as_array);
    for rule in rules.into_iter().flatten() {
        let word = |name: &str| rule.get(name).and_then(Value::as_str).unwrap_or_default();
        let _ = write!(
            told,
            "\n  {:<22} {:<14} found {}, limit {}, {} of {} units",
            word("rule"),
            word("finding"),
            number(rule.get("found")),
            number(rule.get("limit")),
            number(rule.get("units")),
            number(rule.get("units_needed")),
        );
    }
    told
}

/// A number with as many places as say something.
fn short(number: f64) -> String {
    let text = format!("{number:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(state: &str, standing: Value) -> Value {
        json!({ "flag": "f", "rollout": state, "circuit": "CLOSED", "validation": { "contract_version": 2,
            "outcome": null, "standing": standing, "rules": [{ "rule": "max_error_rate", "metric": "error",
            "found": 0.0125, "limit": 0.01, "units": 1600, "units_needed": 1500, "finding": "violated" }] } })
    }

    #[test]
    fn the_exit_code_says_how_it_stands() {
        for (state, standing_word, code) in [
            ("PROMOTED", Value::Null, GOOD),
            ("ROLLED_BACK", Value::Null, BAD),
            ("VALIDATING", json!("met"), GOOD),
            ("VALIDATING", json!("violated"), BAD),
            ("VALIDATING", json!("validating"), OPEN),
            ("VALIDATING", Value::Null, OPEN),
            ("PENDING", Value::Null, OPEN),
        ] {
            assert_eq!(standing(&rollout(state, standing_word)), code, "{state}");
        }
        assert_eq!(standing(&json!({})), UNKNOWN);
    }

    #[test]
    fn people_read_each_rule_with_what_was_found() {
        let text = told(&rollout("VALIDATING", json!("violated")));
        for words in [
            "f VALIDATING, fuse CLOSED, validation of contract 2: violated",
            "found 0.0125, limit 0.01, 1600 of 1500",
        ] {
            assert!(text.contains(words), "{text}");
        }
        let never = json!({ "flag": "f", "rollout": "PENDING", "circuit": "CLOSED", "validation": null });
        assert_eq!(told(&never), "f PENDING, fuse CLOSED, never validated");
    }
}
