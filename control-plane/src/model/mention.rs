//! Whether the bytes of an event name a unit, however they spell it, also where they are no JSON or were cut off. Pure.

use flagfuse_shared::ids::Unit;

/// Fields of an event that hold no unit, whatever stands in them.
const OWN_FIELDS: [&str; 6] = ["type", "flag", "variation", "metric", "version", "ticket"];

/// Whether `raw`, an event's JSON, names `unit`: as a text by itself, in whatever field, or as a field's name. A text that was
/// cut off names every unit that begins like it; a number in the field `unit` names the unit that is written like it.
pub fn names_unit(raw: &str, unit: &Unit) -> bool {
    Mentions::of(raw).any(|mention| match mention {
        Mention::Whole(text) => text == unit.as_str(),
        Mention::Begun(text) => !text.is_empty() && unit.as_str().starts_with(&text),
    })
}

/// What may be a unit.
enum Mention {
    Whole(String),
    /// The bytes end inside of it.
    Begun(String),
}

/// Walks through texts of JSON. What is not JSON is skipped.
struct Mentions<'r> {
    rest: &'r str,
    depth: usize,
    /// The name of the event's own field that is being read.
    field: Option<String>,
}

impl<'r> Mentions<'r> {
    const fn of(raw: &'r str) -> Self {
        Self { rest: raw, depth: 0, field: None }
    }

    fn is_own_field(&self) -> bool {
        self.depth == 1 && self.field.as_deref().is_some_and(|name| OWN_FIELDS.contains(&name))
    }

    /// The text that begins behind a quotation mark.
    fn text(&mut self) -> Mention {
        let mut is_escaped = false;
        let end = self.rest.bytes().position(|byte| {
            let is_end = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        });
        let Some(end) = end else {
            let begun = unescaped(self.rest, true);
            self.rest = "";
            return Mention::Begun(begun);
        };
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..).unwrap_or_default();
        Mention::Whole(unescaped(text, false))
    }

    /// A number, or a word such as `true`.
    fn word(&mut self) -> &'r str {
        let end = self.rest.find(|letter: char| !letter.is_ascii_alphanumeric() && !"+-.".contains(letter));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }
}

impl Iterator for Mentions<'_> {
    type Item = Mention;

    fn next(&mut self) -> Option<Mention> {
        loop {
            let first = self.rest.chars().next()?;
            if first.is_ascii_alphanumeric() || first == '-' {
                let word = self.word();
                if self.depth == 1 && self.field.as_deref() == Some("unit") {
                    return Some(Mention::Whole(word.to_owned()));
                }
                continue;
            }
            self.rest = self.rest.get(first.len_utf8()..).unwrap_or_default();
            match first {
                '{' | '[' => self.depth += 1,
                '}' | ']' => self.depth = self.depth.saturating_sub(1),
                ',' if self.depth == 1 => self.field = None,
                '"' => {
                    let mention = self.text();
                    let is_name = self.rest.trim_start().starts_with(':');
                    if let (Mention::Whole(text), 1, true) = (&mention, self.depth, is_name) {
                        self.field = Some(text.clone());
                    }
                    if !self.is_own_field() {
                        return Some(mention);
                    }
                }
                _ => {}
            }
        }
    }
}

/// What a text says; as far as it can be read, where it `is_cut`.
fn unescaped(text: &str, is_cut: bool) -> String {
    // Twelve bytes are the longest letter: two escapes of a pair.
    let shortest = if is_cut { text.len().saturating_sub(12) } else { text.len() };
    let ends = (shortest..=text.len()).rev().filter_map(|end| text.get(..end));
    let mut read = ends.filter_map(|text| serde_json::from_str(&format!("\"{text}\"")).ok());
    read.next().unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(raw: &str, unit: &str) -> bool {
        names_unit(raw, &Unit::parse(unit).unwrap())
    }

    #[test]
    fn a_unit_is_found_however_it_is_spelt() {
        for raw in [
            r#"{"unit":"jürgen"}"#,
            r#"{"unit":"j\u00fcrgen"}"#,
            r#"{"type":"outcome","extra":{"who":["J\u00FCrgen","j\u00FCrgen"]}}"#,
            r#"{"extra":{"jürgen":1}}"#,
            r#"{"jürgen":1}"#,
            r#"["jürgen"]"#,
            r#"{"unit": "jürgen", oops"#,
            r#"{"unit":"jürg"#,
            r#"{"unit":"j\u00fcr"#,
            r#"{"unit":"j\u00f"#,
        ] {
            assert!(names(raw, "jürgen"), "{raw}");
        }
        assert!(names(r#"{"unit":"a\/b"}"#, "a/b") && names(r#"{"unit":"a/b"}"#, "a/b"));
        assert!(names(r#"{"unit":"\ud83d\ude00"}"#, "😀") && names(r#"{"unit":"x\"\\"}"#, "x\"\\"));
        assert!(names(r#"{"unit":4711,"type":"outcome"}"#, "4711"));
    }

    #[test]
    fn what_only_looks_like_it_is_left() {
        let event = r#"{"id":"e1","type":"exposure","unit":"ada","flag":"f","variation":"on","metric":"m","n":4711,
            "occurred_ms":1}"#;
        for other in
            ["exposure", "f", "on", "m", "type", "flag", "ad", "adam", "4711", "1", "type\":\"exposure"]
        {
            assert!(!names(event, other), "{other}");
        }
        assert!(names(event, "ada") && names(event, "e1"));
        for raw in ["", "{", "\"", "\\", "{\"unit\":\"\\", "{\"unit\":\"", "}}]]", "{\"unit\":\"\\ud800\"}"] {
            assert!(!names(raw, "ada"), "{raw}");
        }
        assert!(!names(r#"{"a":{"type":"x"},"type":"ada"}"#, "ada"));
        assert!(names(r#"{"a":{"type":"ada"}}"#, "ada"), "no field of the event");
    }
}
