//! What the control plane's answer to a batch tells the buffer that sent it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::batch::FORMAT;
use crate::strict;

/// How a buffer is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferSettings {
    /// A fuse of the environment watches: the buffer says every few seconds how far it is.
    pub watched: bool,
    /// Units that one key may enrol from one network in a minute; `None` when it may enrol any number.
    pub enrolments_per_minute: Option<u32>,
}

impl Default for BufferSettings {
    /// Until a control plane has said something: nobody waits, and the limit that environments have unless they say otherwise.
    fn default() -> Self {
        Self { watched: false, enrolments_per_minute: Some(600) }
    }
}

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaneWord {
    /// The newest of our formats that it reads. One that names none is older than format 2.
    pub format: u32,
    /// How to go on, where it says so.
    pub settings: Option<BufferSettings>,
}

impl PlaneWord {
    /// The text that [`Self::read`] reads back.
    pub fn write(&self) -> String {
        let settings =
            self.settings.map_or_else(String::new, |BufferSettings { watched, enrolments_per_minute }| {
                let limit =
                    enrolments_per_minute.map_or_else(|| "null".to_owned(), |limit| limit.to_string());
                format!(",\"settings\":{{\"watched\":{watched},\"enrolments_per_minute\":{limit}}}")
            });
        format!("{{\"formats\":[{}]{settings}}}", self.format)
    }

    /// Reads the body of an answer; whatever is malformed is as good as unsaid.
    pub fn read(body: &str) -> Self {
        let value = strict::parse(body.as_bytes()).unwrap_or_default();
        let formats = value.get("formats").and_then(Value::as_array);
        let is_read = |format: &Value| format.as_u64() == Some(u64::from(FORMAT));
        let format = if formats.is_some_and(|formats| formats.iter().any(is_read)) { FORMAT } else { 1 };
        let settings = value.get("settings").and_then(|settings| strict::from_value(settings).ok());
        Self { format, settings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_formats_is_an_older_control_planes() {
        let settings = BufferSettings { watched: true, enrolments_per_minute: None };
        for (body, format, expected) in [
            ("", 1, None),
            ("{}", 1, None),
            (r#"{"status":"applied","formats":[1]}"#, 1, None),
            (
                r#"{"formats":[1,2,3],"settings":{"watched":true,"enrolments_per_minute":null}}"#,
                2,
                Some(settings),
            ),
            (r#"{"formats":[1,2],"settings":{"watched":7}}"#, 2, None),
        ] {
            let word = PlaneWord { format, settings: expected };
            assert_eq!(PlaneWord::read(body), word, "{body}");
            assert_eq!(PlaneWord::read(&word.write()), word);
        }
    }
}
