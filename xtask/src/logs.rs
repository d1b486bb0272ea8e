//! What the processes of the tests have logged tells no secret: no token, no session, no code of a sign-in link, no file of
//! secrets, and nobody's name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::tools::progress;

/// Characters of a secret: 32 bytes in hexadecimal.
const SECRET_LEN: usize = 64;
/// Files of secrets that stand beside logs, by the end of their name.
const SECRET_FILES: [&str; 5] =
    ["secrets.json", "passphrase", "push-token", "stream-secret", "ticket-secret"];
/// What a file of secrets has that is none.
const NO_SECRET: &str = "database";
/// What names a unit, and units that many tests have.
const UNITS: [&str; 4] = ["targetingKey", "\"unit\"", "user-7", "unit-1"];

/// Looks through all logs that tests have left; an error names the lines, and not what they tell.
pub(crate) fn tell_no_secret(root: &Path) -> Result<()> {
    let mut files = Vec::new();
    files_below(&root.join("target/test-data"), &mut files)?;
    let named = |file: &&PathBuf, ends: &[&str]| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        ends.iter().any(|end| name.ends_with(end))
    };
    let mut secrets = BTreeSet::new();
    for file in files.iter().filter(|file| named(file, &SECRET_FILES)) {
        let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        match serde_json::from_str::<BTreeMap<String, Value>>(&text) {
            Ok(mut all) => {
                all.remove(NO_SECRET);
                secrets.extend(all.values().filter_map(Value::as_str).map(str::to_owned));
            }
            Err(_) => secrets.extend(text.lines().map(|line| line.trim().to_owned())),
        }
    }
    secrets.retain(|secret| secret.len() >= 16);
    let (mut found, mut line_count) = (Vec::new(), 0);
    // A browser's log is not ours.
    let logs = files.iter().filter(|file| named(file, &[".log"]) && !named(file, &["chromium.log"]));
    for log in logs {
        let text = fs::read(log).with_context(|| format!("reading {}", log.display()))?;
        for (at, line) in String::from_utf8_lossy(&text).lines().enumerate() {
            line_count += 1;
            if let Some(what) = told(line, &secrets) {
                found.push(format!("{}:{}: {what}", log.display(), at + 1));
            }
        }
    }
    if !found.is_empty() {
        found.truncate(20);
        bail!("logs tell what they must not:\n{}", found.join("\n"));
    }
    progress(&format!("{line_count} lines of logs tell no secret"));
    Ok(())
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        match entry.file_type()? {
            kind if kind.is_dir() => files_below(&path, found)?,
            kind if kind.is_file() => found.push(path),
            _ => {}
        }
    }
    Ok(())
}

/// What a line tells that it must not.
fn told(line: &str, secrets: &BTreeSet<String>) -> Option<&'static str> {
    let is_secret_behind = |mark: &str| {
        line.match_indices(mark).any(|(at, _)| {
            let rest = &line.as_bytes()[at + mark.len()..];
            rest.len() >= SECRET_LEN && rest[..SECRET_LEN].iter().all(u8::is_ascii_hexdigit)
        })
    };
    let kinds = ["admin", "editor", "viewer", "ingest", "server", "metrics"];
    if kinds.iter().any(|kind| is_secret_behind(&format!("ff_{kind}_"))) {
        return Some("a token");
    }
    if is_secret_behind("ff_session_") {
        return Some("a session");
    }
    if is_secret_behind("ff_login_") || line.contains("#login=") {
        return Some("a code of a sign-in link");
    }
    if ["production.", "staging.", "dev."].iter().any(|environment| is_secret_behind(environment)) {
        return Some("a client key");
    }
    if secrets.iter().any(|secret| line.contains(secret.as_str())) {
        return Some("what a file of secrets holds");
    }
    UNITS.iter().any(|unit| line.contains(unit)).then_some("a unit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_wherever_they_stand_and_their_names_alone_are_none() {
        let hex = "0f".repeat(32);
        let secrets = BTreeSet::from(["0123456789abcdef-of-a-file".to_owned()]);
        for (line, expected) in [
            (format!("Bearer ff_admin_{hex}"), Some("a token")),
            (format!("cookie: flagfuse=ff_session_{hex}; x"), Some("a session")),
            (format!("POST /v1/session/link ff_login_{hex}"), Some("a code of a sign-in link")),
            ("http://127.0.0.1/#login=x".to_owned(), Some("a code of a sign-in link")),
            (format!("key demo:production.{hex}"), Some("a client key")),
            ("it is 0123456789abcdef-of-a-file".to_owned(), Some("what a file of secrets holds")),
            (r#"{"unit":"ann"}"#.to_owned(), Some("a unit")),
            (format!("a token of kind ff_admin_ was revoked, digest {hex}"), None),
            (format!("ff_admin_{}", &hex[1..]), None),
            ("ff_session_é".to_owned(), None),
        ] {
            assert_eq!(told(&line, &secrets), expected, "{line}");
        }
    }
}
