//! What people say of a flag beside what it serves: its name, who owns it, what it is for. Pure; no decision depends on it.

use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::strict::{self, Misfit};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Tags that one flag may have.
pub const TAG_COUNT_MAX: usize = 20;
/// Bytes of one tag.
pub const TAG_LEN_MAX: usize = 64;
/// Bytes of a name, and of whoever owns the flag.
pub const NAME_LEN_MAX: usize = 256;
/// Bytes of a description.
const DESCRIPTION_LEN_MAX: usize = 4_096;

/// What people say of a flag, for all environments of its project.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagDetails {
    /// What people call it; empty where they call it by its key.
    #[serde(default)]
    pub name: String,
    /// What it is for, in a few sentences.
    #[serde(default)]
    pub description: String,
    /// A person or a team, as the house calls them; empty where nobody is named.
    #[serde(default)]
    pub owner: String,
    /// Words to find it by, in the order in which they were written.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What it is for, in a word.
    #[serde(default)]
    pub kind: Option<FlagKind>,
    /// When it should be gone from the code. Nothing happens then.
    #[serde(default)]
    pub expires_ms: Option<UnixMillis>,
    /// Whether people are done with it. It is served as before.
    #[serde(default)]
    pub archived: bool,
}

/// What a flag is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlagKind {
    /// Brings a feature to people, and goes then.
    Release,
    /// Compares variants.
    Experiment,
    /// A switch for those who run the system.
    Ops,
    /// Gives a feature to those who may have it, for good.
    Permission,
}

impl FlagKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Release, Self::Experiment, Self::Ops, Self::Permission];

    /// The word in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Experiment => "experiment",
            Self::Ops => "ops",
            Self::Permission => "permission",
        }
    }
}

/// Why details are refused. Messages name the field and its limits.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DetailsFault {
    /// Not the shape of details.
    #[error("{}", .0.of("the details"))]
    Shape(Misfit),
    /// A text or a list outside its limits.
    #[error("{field} is {found}, allowed is {allowed}")]
    OutOfRange {
        /// `tags[3]`.
        field: String,
        found: String,
        /// The limits in words.
        allowed: String,
    },
}

impl FlagDetails {
    /// Reads and checks details; the first fault found is returned.
    pub fn parse(value: &Value) -> Result<Self, DetailsFault> {
        let details: Self = strict::from_value(value).map_err(DetailsFault::Shape)?;
        details.check()?;
        Ok(details)
    }

    fn check(&self) -> Result<(), DetailsFault> {
        check_line("name", &self.name, NAME_LEN_MAX)?;
        check_line("owner", &self.owner, NAME_LEN_MAX)?;
        check_len("description", &self.description, DESCRIPTION_LEN_MAX)?;
        if self.tags.len() > TAG_COUNT_MAX {
            let found = format!("a list of {}", self.tags.len());
            return Err(outside("tags", found, format!("at most {TAG_COUNT_MAX}")));
        }
        for (at, tag) in self.tags.iter().enumerate() {
            let field = format!("tags[{at}]");
            check_line(&field, tag, TAG_LEN_MAX)?;
            if tag.trim() != tag || tag.is_empty() {
                return Err(outside(&field, format!("{tag:?}"), "a word without space around it".to_owned()));
            }
            if self.tags.iter().take(at).any(|before| before == tag) {
                return Err(outside(&field, format!("{tag:?} once more"), "each tag once".to_owned()));
            }
        }
        Ok(())
    }
}

fn check_len(field: &str, text: &str, len_max: usize) -> Result<(), DetailsFault> {
    if text.len() <= len_max {
        return Ok(());
    }
    Err(outside(field, format!("{} bytes long", text.len()), format!("at most {len_max} bytes")))
}

/// A text in one line.
fn check_line(field: &str, text: &str, len_max: usize) -> Result<(), DetailsFault> {
    check_len(field, text, len_max)?;
    match text.chars().find(|c| c.is_control()) {
        None => Ok(()),
        Some(c) => Err(outside(
            field,
            format!("a text with {c:?}"),
            "one line without control characters".to_owned(),
        )),
    }
}

fn outside(field: &str, found: String, allowed: String) -> DetailsFault {
    DetailsFault::OutOfRange { field: field.to_owned(), found, allowed }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_is_empty_and_comes_back_as_it_was_written() {
        assert_eq!(FlagDetails::parse(&json!({})), Ok(FlagDetails::default()));
        for kind in FlagKind::ALL {
            let body = json!({
                "name": "New checkout", "description": "a\nb", "owner": "payments", "tags": ["web", "q4"], "kind": kind.as_str(),
                "expires_ms": 5, "archived": true,
            });
            assert_eq!(json!(FlagDetails::parse(&body).unwrap()), body);
        }
    }

    #[test]
    fn what_is_no_detail_is_refused_by_its_field() {
        let many: Vec<String> = (0..=TAG_COUNT_MAX).map(|n| n.to_string()).collect();
        for (body, words) in [
            (
                json!({ "name": "x".repeat(NAME_LEN_MAX + 1) }),
                "name is 257 bytes long, allowed is at most 256 bytes",
            ),
            (json!({ "owner": "a\u{7}" }), "owner is a text with '\\u{7}'"),
            (json!({ "description": "x".repeat(DESCRIPTION_LEN_MAX + 1) }), "description is 4097 bytes long"),
            (json!({ "tags": many }), "tags is a list of 21, allowed is at most 20"),
            (json!({ "tags": ["a", "x".repeat(TAG_LEN_MAX + 1)] }), "tags[1] is 65 bytes long"),
            (json!({ "tags": [" a"] }), "tags[0] is \" a\""),
            (json!({ "tags": [""] }), "tags[0] is \"\""),
            (json!({ "tags": ["a", "b", "a"] }), "tags[2] is \"a\" once more"),
            (json!({ "kind": "other" }), "kind"),
            (json!({ "expires_ms": -1 }), "expires_ms"),
            (json!({ "labels": [] }), "labels"),
            (json!([]), "the details"),
        ] {
            let fault = FlagDetails::parse(&body).unwrap_err().to_string();
            assert!(fault.contains(words), "{body}: {fault}");
        }
        let widest = json!({ "tags": many[1..], "name": "x".repeat(NAME_LEN_MAX) });
        assert!(FlagDetails::parse(&widest).is_ok());
    }
}
