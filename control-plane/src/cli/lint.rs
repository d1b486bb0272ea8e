//! `flagfuse fuse lint`: what speaks against arming a policy, asked of a control plane; for a pipeline, whose step fails where
//! anything does.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use axum::http::Method;
use serde_json::{Value, json};

use super::api::{Api, flag_path};
use super::arguments::fuse::LintArgs;
use super::{say, tell_failure};

/// Nothing speaks against it but what is worth knowing.
const GOOD: u8 = 0;
/// Something does, or it would be refused.
const BAD: u8 = 1;
/// Nobody could be asked.
const UNKNOWN: u8 = 3;
/// Bytes of a policy.
const POLICY_LEN_MAX: u64 = 1024 * 1024;

/// Asks, prints what was found, and says in the exit code whether anything speaks against it.
pub(super) async fn run(args: LintArgs) -> anyhow::Result<ExitCode> {
    let code = match asked(&args).await {
        Ok(found) => {
            say(&if args.json { found.to_string() } else { told(&args.flag, &found) })?;
            exit_code(&found)
        }
        Err(error) => {
            tell_failure(&error, args.json)?;
            UNKNOWN
        }
    };
    Ok(ExitCode::from(code))
}

/// What the control plane says; a policy that it does not take is a finding like any other.
async fn asked(args: &LintArgs) -> anyhow::Result<Value> {
    let given = args.policy.as_deref().map(read).transpose()?;
    let api = Api::of(&args.url, &args.token.read()?, args.token.ca_file.as_deref())?;
    let path = format!("{}/fuse", flag_path(&args.project, &args.environment, &args.flag));
    let policy = if let Some(policy) = given {
        policy
    } else {
        let answer = api.call(Method::GET, &path, None).await?;
        anyhow::ensure!(answer.is_success(), "{}", answer.problem());
        answer.body.get("policy").cloned().unwrap_or_default()
    };
    let answer = api.call(Method::POST, &format!("{path}/lint"), Some(&policy)).await?;
    if is_about_policy(answer.status, answer.text("code")) {
        let (code, summary) = (answer.text("code"), answer.text("detail"));
        return Ok(json!({ "lint": [{ "code": code, "severity": "refused", "summary": summary }] }));
    }
    anyhow::ensure!(answer.is_success(), "{}", answer.problem());
    Ok(answer.body)
}

/// Whether a refusal is one of the policy, and not of who asks or of what is asked.
fn is_about_policy(status: u16, code: &str) -> bool {
    status == 409 || (status == 400 && matches!(code, "invalid_policy" | "bad_schema"))
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let named = || format!("cannot read {}", path.display());
    let mut text = String::new();
    let length = if path == Path::new("-") {
        std::io::stdin().lock().take(POLICY_LEN_MAX + 1).read_to_string(&mut text).with_context(named)?
    } else {
        let file = std::fs::File::open(path).with_context(named)?;
        file.take(POLICY_LEN_MAX + 1).read_to_string(&mut text).with_context(named)?
    };
    anyhow::ensure!(
        length as u64 <= POLICY_LEN_MAX,
        "{} has more than {POLICY_LEN_MAX} bytes",
        path.display()
    );
    flagfuse_shared::strict::parse(text.as_bytes()).with_context(|| format!("{} is not JSON", path.display()))
}

fn findings(found: &Value) -> impl Iterator<Item = &Value> {
    found.get("lint").and_then(Value::as_array).into_iter().flatten()
}

fn exit_code(found: &Value) -> u8 {
    let is_grave =
        findings(found).any(|finding| finding.get("severity").and_then(Value::as_str) != Some("note"));
    if is_grave { BAD } else { GOOD }
}

/// For people: how grave, of which guardrail, why; then what may not have been meant, and how much traffic it needs.
fn told(flag: &str, found: &Value) -> String {
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut told = match findings(found).count() {
        0 => format!("{flag}: nothing speaks against this policy"),
        1 => format!("{flag}: 1 finding"),
        count => format!("{flag}: {count} findings"),
    };
    for finding in findings(found) {
        let of = Some(text(finding, "guardrail")).filter(|metric| !metric.is_empty());
        let of = of.map(|metric| format!(" of {metric}")).unwrap_or_default();
        // Writing into a text cannot fail.
        let _ = write!(
            told,
            "\n{:<7} {}{of}: {}",
            text(finding, "severity"),
            text(finding, "code"),
            text(finding, "summary")
        );
    }
    for note in found.get("notes").and_then(Value::as_array).into_iter().flatten() {
        let _ = write!(told, "\n{:<7} {}", "note", note.as_str().unwrap_or_default());
    }
    if let Some(summary) = found.pointer("/traffic/summary").and_then(Value::as_str) {
        let _ = write!(told, "\n{summary}");
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(severity: &str) -> Value {
        json!({ "lint": [{ "code": "no_events", "severity": severity, "guardrail": "error", "summary": "Nothing came." }],
            "notes": ["control_percent is 0.4, which is 0.4 % and not 40 %"], "traffic": { "summary": "It takes a day." } })
    }

    #[test]
    fn the_exit_code_says_whether_anything_speaks_against_it() {
        for (severity, code) in [("refused", BAD), ("warning", BAD), ("note", GOOD)] {
            assert_eq!(exit_code(&found(severity)), code, "{severity}");
        }
        assert_eq!(exit_code(&json!({ "lint": [] })), GOOD);
        for (status, code, is_policy) in [
            (409, "shared_salt", true),
            (400, "invalid_policy", true),
            (400, "bad_query", false),
            (401, "unauthorized", false),
            (404, "unknown_flag", false),
        ] {
            assert_eq!(is_about_policy(status, code), is_policy, "{status} {code}");
        }
    }

    #[test]
    fn people_read_what_was_found_line_by_line() {
        let told = told("checkout", &found("warning"));
        let expected = "checkout: 1 finding\nwarning no_events of error: Nothing came.\nnote    control_percent is 0.4, which is 0.4 % \
                        and not 40 %\nIt takes a day.";
        assert_eq!(told, expected);
    }
}
