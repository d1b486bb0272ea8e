//! Tests of strict reading: each of these documents was read before.

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
struct Outer {
    name: String,
    inner: Inner,
    #[serde(default)]
    more: Vec<Inner>,
    #[serde(default)]
    maybe: Option<Inner>,
    #[serde(default)]
    kind: Option<Kind>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Inner {
    number: u64,
}

#[derive(Debug, PartialEq, Deserialize)]
enum Kind {
    Plain,
    Rich { number: u64 },
}

#[test]
fn an_object_with_a_key_twice_is_refused_at_any_depth_and_the_place_is_named() {
    for (text, place) in [
        (r#"{"a":1,"a":1}"#, r#"the key "a" is repeated at"#),
        (r#"{"a":1,"\u0061":2}"#, r#"the key "a" is repeated at"#),
        (r#"{"b":{"c":[0,{"x":1,"y":2,"x":3}]}}"#, r#"the key "x" is repeated in b.c[1] at"#),
        (r#"[[],[{"":1,"":1}]]"#, r#"the key "" is repeated in [1][0] at"#),
    ] {
        let Err(Fault::DuplicateKey { detail }) = parse(text.as_bytes()) else { panic!("{text}") };
        assert!(detail.starts_with(place), "{text}: {detail}");
    }
    let equal_in_different_objects = br#"{"a":{"a":1},"b":[{"a":1},{"a":1}]}"#;
    assert_eq!(
        parse(equal_in_different_objects),
        Ok(json!({ "a": { "a": 1 }, "b": [{ "a": 1 }, { "a": 1 }] }))
    );
}

#[test]
fn long_keys_are_shown_in_part() {
    let key = "ä".repeat(500);
    let text = format!(r#"{{"{key}":{{"{key}":1,"{key}":2}}}}"#);
    let said = parse(text.as_bytes()).unwrap_err().to_string();
    assert!(said.len() < 600 && said.contains("is repeated in ääää"), "{said}");
}

#[test]
fn what_is_no_json_is_told_from_what_is_of_another_shape() {
    for bytes in [&b""[..], b"{", b"{} x", b"\xff", b"{\"a\":1,}", &[b'['; 200]] {
        assert!(matches!(parse(bytes), Err(Fault::NotJson { .. })), "{bytes:?}");
        assert!(matches!(from_slice::<Value>(bytes), Err(Fault::NotJson { .. })), "{bytes:?}");
    }
    for text in ["7", r#"{"name":1,"inner":{"number":1}}"#, "{}", "null"] {
        assert!(matches!(from_slice::<Outer>(text.as_bytes()), Err(Fault::Shape { .. })), "{text}");
    }
}

#[test]
fn an_array_is_no_object_at_any_depth() {
    let sound = r#"{"name":"n","inner":{"number":1},"more":[{"number":2}],"maybe":{"number":3},"kind":{"Rich":{"number":4}}}"#;
    let read = from_slice::<Outer>(sound.as_bytes()).unwrap();
    assert_eq!(read, from_value(&serde_json::from_str(sound).unwrap()).unwrap());
    assert_eq!(read.kind, Some(Kind::Rich { number: 4 }));
    for (object, array) in [
        (sound, r#"["n",{"number":1},[],null,null]"#),
        (r#""inner":{"number":1}"#, r#""inner":[1]"#),
        (r#"[{"number":2}]"#, "[[2]]"),
        (r#""maybe":{"number":3}"#, r#""maybe":[3]"#),
        (r#"{"Rich":{"number":4}}"#, r#"{"Rich":[4]}"#),
    ] {
        let text = sound.replace(object, array);
        assert!(serde_json::from_str::<Outer>(&text).is_ok(), "a derived struct takes {text}");
        let refused = from_slice::<Outer>(text.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains("must be an object, but is an array"), "{refused}");
        assert!(from_value::<Outer>(&serde_json::from_str(&text).unwrap()).is_err(), "{text}");
    }
}

#[test]
fn what_may_be_left_out_or_is_unknown_stays_so() {
    let text = r#"{"inner":{"number":1,"new":[{}]},"name":"n","kind":"Plain","surprise":{"a":[1]}}"#;
    let read = from_slice::<Outer>(text.as_bytes()).unwrap();
    assert_eq!((read.kind, read.maybe, read.more.len()), (Some(Kind::Plain), None, 0));
}

#[test]
fn fields_are_handed_out_unread_and_each_once() {
    let read = fields(br#"{"a":{"x":1,"x":2}, "b":[1]}"#).unwrap();
    let read: Vec<_> = read.iter().map(|(name, raw)| (name.as_str(), raw.get())).collect();
    assert_eq!(read, [("a", r#"{"x":1,"x":2}"#), ("b", "[1]")]);
    assert!(matches!(fields(br#"{"a":1,"a":1}"#), Err(Fault::DuplicateKey { .. })));
    assert!(matches!(fields(br#"["a",1]"#), Err(Fault::Shape(_))));
}

proptest! {
    #[test]
    fn what_has_no_key_twice_is_read_as_ever(text in r#"[{}\[\],:"a1 ]{0,24}"#, bytes: Vec<u8>) {
        for bytes in [text.as_bytes(), &bytes] {
            match (parse(bytes), serde_json::from_slice::<Value>(bytes)) {
                (Ok(strict), Ok(lax)) => prop_assert_eq!(strict, lax),
                (Err(Fault::DuplicateKey { .. }), Ok(_)) | (Err(_), Err(_)) => {}
                (strict, lax) => prop_assert!(false, "{:?} {:?}", strict, lax),
            }
        }
    }
}
