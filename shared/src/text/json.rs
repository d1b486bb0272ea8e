//! JSON string literals, written without a serializer. Reads nothing.

use std::fmt::Write as _;

/// Appends a JSON string literal.
pub fn write_json_string(out: &mut String, text: &str) {
    const fn is_special(byte: u8) -> bool {
        byte < b' ' || matches!(byte, b'"' | b'\\')
    }
    out.push('"');
    let mut rest = text;
    // Nearly all texts have nothing to escape. Asking that without stopping at the first answer takes many bytes at once.
    let needs_escape = text.bytes().fold(false, |found, byte| found | is_special(byte));
    while let Some(at) = needs_escape.then(|| rest.bytes().position(is_special)).flatten() {
        // What must be escaped is ASCII, so both ends are ends of characters.
        let (plain, from) = rest.split_at(at);
        out.push_str(plain);
        match from.as_bytes().first() {
            Some(b'"') => out.push_str("\\\""),
            Some(b'\\') => out.push_str("\\\\"),
            Some(b'\n') => out.push_str("\\n"),
            Some(b'\r') => out.push_str("\\r"),
            Some(b'\t') => out.push_str("\\t"),
            Some(0x08) => out.push_str("\\b"),
            Some(0x0c) => out.push_str("\\f"),
            Some(control) => {
                let _ = write!(out, "\\u{control:04x}");
            }
            None => {}
        }
        rest = from.get(1..).unwrap_or_default();
    }
    out.push_str(rest);
    out.push('"');
}
