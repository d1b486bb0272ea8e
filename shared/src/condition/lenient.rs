//! Versions as many people write them — `v1.2.3`, `1.2`, `2` — in full. Compares nothing.

use std::borrow::Cow;

use serde_json::Value;

use crate::context::scalar_text;

/// A version in full from a text or number as flagd's `sem_ver` reads it: without one leading `v`, and with zeros for the
/// numbers it lacks, which no version with a pre-release or build may. `None` for what cannot become one; whether the
/// result is one is for the comparison to say.
pub(super) fn read(value: &Value) -> Option<Cow<'_, Value>> {
    let text = scalar_text(value)?;
    let written = text.strip_prefix(['v', 'V']).unwrap_or(&text);
    let is_bare = !written.contains(['-', '+']);
    let full = if is_bare { in_full(written)? } else { written.to_owned() };
    Some(if value.as_str() == Some(&full) { Cow::Borrowed(value) } else { Cow::Owned(Value::String(full)) })
}

/// `1`, `1.2` and `1.2.3`, each with an optional pre-release and build, as `major.minor.patch` and the rest.
pub fn in_full(text: &str) -> Option<String> {
    let core_len = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at_checked(core_len)?;
    let mut numbers: Vec<&str> = core.split('.').collect();
    let is_number = |number: &&str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    if numbers.len() > 3 || !numbers.iter().all(is_number) {
        return None;
    }
    numbers.resize(3, "0");
    Some(numbers.join(".") + rest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn missing_numbers_become_zeros_and_nothing_else_changes() {
        let rows = [
            ("1", Some("1.0.0")),
            ("1.2", Some("1.2.0")),
            ("1.2.3", Some("1.2.3")),
            ("2.0-rc1", Some("2.0.0-rc1")),
            ("2+build.7", Some("2.0.0+build.7")),
            ("1.2.3-a.b+c", Some("1.2.3-a.b+c")),
            ("1.2.3.4", None),
            ("v1.2.3", None),
            ("1..3", None),
            ("", None),
            ("-1", None),
            ("ä", None),
        ];
        for (text, expected) in rows {
            assert_eq!(in_full(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn attributes_are_read_as_flagd_reads_them() {
        let rows = [
            (json!("v1.2.3"), Some("1.2.3")),
            (json!("V1.2"), Some("1.2.0")),
            (json!("2"), Some("2.0.0")),
            (json!(2), Some("2.0.0")),
            (json!(1.5), Some("1.5.0")),
            (json!("1.2.3-rc.1+b"), Some("1.2.3-rc.1+b")),
            // Too short for a pre-release, so no version when it is compared.
            (json!("v1.2-rc.1"), Some("1.2-rc.1")),
            (json!("one"), None),
            (json!("v"), None),
            (json!(true), None),
            (json!(["1.2.3"]), None),
            (json!(null), None),
        ];
        for (value, expected) in rows {
            let found = read(&value).map(Cow::into_owned);
            assert_eq!(found.as_ref().and_then(Value::as_str), expected, "{value}");
        }
    }
}
