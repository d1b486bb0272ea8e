//! The frame of an imported document: its size, its JSON object, its counts. Knows no format's meaning.

use flagfuse_shared::limits::IMPORT_LEN_MAX;
use flagfuse_shared::strict;
use serde_json::{Map, Value};

use super::ImportError;

/// The document's top-level object, if its bytes are within the limit.
pub(crate) fn parse(bytes: &[u8], format: &'static str) -> Result<Map<String, Value>, ImportError> {
    if bytes.len() > IMPORT_LEN_MAX {
        return Err(ImportError::TooLong { len: bytes.len(), len_max: IMPORT_LEN_MAX });
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        let detail = "it is written in UTF-16: save it as UTF-8".to_owned();
        return Err(ImportError::Shape { format, detail });
    }
    match strict::parse(without_mark(bytes)) {
        Ok(Value::Object(document)) => Ok(document),
        Ok(_) => Err(ImportError::Shape { format, detail: "it must be a JSON object".to_owned() }),
        Err(fault) => Err(ImportError::Shape { format, detail: fault.of("it") }),
    }
}

/// A document without the byte order mark that some editors put in front of UTF-8.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Takes an object out of `document`; absent and null are empty.
pub(crate) fn take_object(
    document: &mut Map<String, Value>,
    name: &str,
    format: &'static str,
) -> Result<Map<String, Value>, ImportError> {
    match document.remove(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(object)) => Ok(object),
        Some(_) => Err(ImportError::Shape { format, detail: format!("{name} must be an object") }),
    }
}

/// Refuses more than `count_max` entries.
pub(crate) const fn check_count(
    what: &'static str,
    count: usize,
    count_max: usize,
) -> Result<(), ImportError> {
    if count > count_max {
        return Err(ImportError::TooMany { what, count, count_max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn length_is_bounded_on_each_side() {
        let padded = |len: usize| {
            let mut bytes = b"{}".to_vec();
            bytes.resize(len, b' ');
            parse(&bytes, "test")
        };
        assert!(padded(IMPORT_LEN_MAX).is_ok());
        assert!(matches!(padded(IMPORT_LEN_MAX + 1), Err(ImportError::TooLong { .. })));
    }

    #[test]
    fn a_byte_order_mark_says_nothing_and_another_encoding_is_named() {
        for bytes in [&b"\xef\xbb\xbf{}"[..], b"\xef\xbb\xbf {} "] {
            assert_eq!(parse(bytes, "test"), Ok(Map::new()));
        }
        assert!(parse(b"\xef\xbb\xbf\xef\xbb\xbf{}", "test").is_err());
        for bytes in [&b"\xff\xfe{\0}\0"[..], b"\xfe\xff\0{\0}"] {
            let fault = parse(bytes, "test").unwrap_err().to_string();
            assert!(fault.contains("UTF-16: save it as UTF-8"), "{fault}");
        }
    }

    #[test]
    fn anything_but_an_object_is_another_shape() {
        for bytes in [&b""[..], b"[]", b"1", b"{", b"\xff", br#"{"a":{"b":1,"b":1}}"#] {
            assert!(matches!(parse(bytes, "test"), Err(ImportError::Shape { .. })), "{bytes:?}");
        }
        let mut document = parse(br#"{"a": null, "b": {"c": 1}, "d": []}"#, "test").unwrap();
        assert_eq!(take_object(&mut document, "a", "test"), Ok(Map::new()));
        assert_eq!(take_object(&mut document, "b", "test").map(Value::Object), Ok(json!({ "c": 1 })));
        assert!(take_object(&mut document, "d", "test").is_err());
    }
}
