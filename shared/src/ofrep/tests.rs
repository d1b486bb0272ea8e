//! Bodies of requests and answers, and validators.

use serde_json::json;

use super::*;
use crate::evaluate::Question;
use crate::ids::UnixMillis;
use crate::snapshot::fixtures;

fn origin(seq: u64) -> Origin {
    Origin::new(SnapshotVersion { epoch: 1, seq }, &fixtures::scope())
}

fn question(context: &Context) -> Question<'_> {
    Question::new(context, UnixMillis(0))
}

fn render(flags: &[Value], key: &str, context: &Context) -> (u16, Value) {
    let admitted = fixtures::admitted(flags);
    let answer = admitted.snapshot.evaluate(key, question(context));
    let mut body = String::new();
    write_answer(&mut body, key, &answer, &origin(2));
    (single_status(&answer), serde_json::from_str(&body).unwrap())
}

#[test]
fn bodies_have_every_field_and_metadata_always() {
    let flag = json!({ "key": "größe \"x\"/1", "value_type": "float", "default_variation": "a",
        "variations": [{ "key": "a", "value": 2 }] });
    let (status, body) = render(&[flag], "größe \"x\"/1", &Context::default());
    let metadata = json!({ "version": "1.2", "flagSetId": "demo/production" });
    assert_eq!(status, 200);
    assert_eq!(
        body,
        json!({ "key": "größe \"x\"/1", "value": 2.0, "variant": "a", "reason": "STATIC", "metadata": metadata })
    );
    let (status, body) = render(&[], "nope", &Context::default());
    assert_eq!((status, &body["errorCode"], &body["key"]), (404, &json!("FLAG_NOT_FOUND"), &json!("nope")));
    assert_eq!(body["metadata"], metadata);
}

#[test]
fn the_code_default_is_a_left_out_value_never_null() {
    let flag = json!({ "key": "f", "value_type": "boolean", "default_variation": "a", "enabled": false,
        "variations": [{ "key": "a", "value": true }] });
    let (status, body) = render(&[flag], "f", &Context::default());
    assert_eq!((status, &body["reason"], body.get("value")), (200, &json!("DISABLED"), None));
}

#[test]
fn an_item_of_a_bulk_is_the_single_answer_but_for_the_rule() {
    let variations = json!([{ "key": "a", "value": true }, { "key": "b", "value": false }]);
    let flag = |key: &str, patch: Value| {
        let mut flag = json!({ "key": key, "value_type": "boolean", "default_variation": "b",
            "variations": variations });
        flag.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        flag
    };
    let cohort = json!({ "phase": 3, "slices": [
        { "from": 0, "to": 1_000_000, "variation": "a", "arm": "exposed" }] });
    let rules = json!([{ "key": "r", "split": [{ "variation": "a" }] }]);
    let malformed = json!([{ "key": "r", "percentage": 101.0, "split": [{ "variation": "a" }] }]);
    let admitted = fixtures::admitted(&[
        flag("assigned", json!({ "cohort": cohort })),
        flag("malformed", json!({ "rules": malformed })),
        flag("off", json!({ "enabled": false })),
        flag("ruled", json!({ "rules": rules })),
    ]);
    for context in [Context::for_unit("u"), Context::default()] {
        let mut bulk = String::new();
        write_bulk(&mut bulk, admitted.snapshot.evaluator(question(&context)).all(), &origin(2));
        let bulk: Value = serde_json::from_str(&bulk).unwrap();
        for item in bulk["flags"].as_array().unwrap() {
            let key = item["key"].as_str().unwrap();
            let mut body = String::new();
            let answer = admitted.snapshot.evaluate(key, question(&context));
            write_answer(&mut body, key, &answer, &origin(2));
            let mut single: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(single["metadata"]["flagSetId"], "demo/production");
            let rule = single["metadata"].as_object_mut().unwrap().remove("rule");
            assert_eq!((item, rule.is_some()), (&single, key == "ruled"));
        }
    }
}

#[test]
fn bulk_items_come_ordered_by_key() {
    let flag = |key: &str| {
        json!({ "key": key, "value_type": "integer", "default_variation": "a",
            "variations": [{ "key": "a", "value": 1 }] })
    };
    let admitted = fixtures::admitted(&[flag("b"), flag("a"), flag("c")]);
    let mut body = String::new();
    let context = Context::default();
    write_bulk(&mut body, admitted.snapshot.evaluator(question(&context)).all(), &origin(2));
    let body: Value = serde_json::from_str(&body).unwrap();
    let keys: Vec<_> = body["flags"].as_array().unwrap().iter().map(|f| f["key"].clone()).collect();
    assert_eq!(keys, ["a", "b", "c"]);
    let origin = json!({ "version": "1.2", "flagSetId": "demo/production" });
    assert_eq!((&body["metadata"], &body["flags"][0]["metadata"]), (&origin, &origin));
}

#[test]
fn event_streams_stand_in_a_bulk_and_in_its_validator() {
    let context = Context::default();
    let fresh = Circumstances { freshness: Freshness::Fresh, stretch: 0, random: 0 };
    let streams = |text: Option<&str>| origin(2).with_event_streams(text.map(Rc::from));
    let mut body = String::new();
    write_bulk(&mut body, std::iter::empty(), &streams(Some(r#"[{"type":"sse"}]"#)));
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["eventStreams"], json!([{ "type": "sse" }]));
    let etag = |text| bulk_etag(&context, &streams(text), fresh);
    assert_eq!(etag(None), bulk_etag(&context, &origin(2), fresh));
    assert_ne!(etag(None), etag(Some("[1]")));
    assert_ne!(etag(Some("[2]")), etag(Some("[1]")));
}

#[test]
fn requests_are_lenient_where_clients_differ_and_strict_otherwise() {
    for good in [
        "",
        " ",
        "{}",
        r#"{"context":{}}"#,
        r#"{"context":null,"x":1}"#,
        r#"{"context":{"a":[1,{"b":null}]}}"#,
    ] {
        assert!(parse_request(good.as_bytes()).is_ok(), "{good}");
    }
    let rows = [
        ("{", ErrorCode::ParseError),
        ("[]", ErrorCode::ParseError),
        (r#"{"context":[]}"#, ErrorCode::InvalidContext),
        (r#"{"context":{"a":1,"a":1}}"#, ErrorCode::InvalidContext),
        (r#"{"context":{"a":1,"\u0061":2}}"#, ErrorCode::InvalidContext),
        (r#"{"context":{"a":[{"b":1,"b":2}]}}"#, ErrorCode::ParseError),
        (r#"{"context":{"a":1},"context":{"a":1}}"#, ErrorCode::ParseError),
        (r#"{"context":null,"context":{}}"#, ErrorCode::ParseError),
        (r#"{"x":1,"x":1}"#, ErrorCode::ParseError),
        (r#"{"x":{"y":1,"y":1}}"#, ErrorCode::ParseError),
        (r#"{"context":{"targetingKey":1}}"#, ErrorCode::InvalidContext),
        (r#"{"targetingKey":"u"}"#, ErrorCode::InvalidContext),
    ];
    for (bad, code) in rows {
        assert_eq!(parse_request(bad.as_bytes()).unwrap_err().code(), code, "{bad}");
    }
    let said = parse_request(br#"{"context":{"a":[{"b":1,"b":2}]}}"#).unwrap_err().to_string();
    assert!(
        said.starts_with(r#"the body is ambiguous: the key "b" is repeated in context.a[0] at"#),
        "{said}"
    );
    let said = parse_request(br#"{"targetingKey":"u"}"#).unwrap_err().to_string();
    assert!(said.contains(r#"no context, but "targetingKey" beside it"#), "{said}");
    assert!(said.ends_with(r#"such as {"context": {"targetingKey": "user-1"}}"#), "{said}");
    let long = |len: usize| format!(r#"{{"context":{{}},"x":"{}"}}"#, "y".repeat(len - 21));
    assert!(parse_request(long(REQUEST_BODY_LEN_MAX).as_bytes()).is_ok());
    assert_eq!(parse_request(long(REQUEST_BODY_LEN_MAX + 1).as_bytes()), Err(RequestError::TooLong));
}

#[test]
fn etags_cover_context_and_version_but_not_attribute_order() {
    let context = |text: &str| parse_request(text.as_bytes()).unwrap();
    let fresh = Circumstances { freshness: Freshness::Fresh, stretch: 0, random: 0 };
    let etag = |text: &str| bulk_etag(&context(text), &origin(2), fresh);
    let text = r#"{"context":{"a":1,"b":2}}"#;
    let one = etag(text);
    assert_eq!(one, etag(r#"{"context":{"b":2,"a":1}}"#));
    assert_ne!(one, etag(r#"{"context":{"a":1,"b":3}}"#));
    assert_ne!(one, etag(r#"{"context":{"a":1,"b":"2"}}"#));
    assert_ne!(one, bulk_etag(&context(text), &origin(3), fresh));
    for other in [
        Circumstances { freshness: Freshness::Stale, ..fresh },
        Circumstances { stretch: 1, ..fresh },
        Circumstances { random: 1, ..fresh },
    ] {
        assert_ne!(one, bulk_etag(&context(text), &origin(2), other));
    }
    for (left, right) in [("", "a"), ("abcdefgh", "abcdefgi"), ("abcdefghi", "abcdefghj")] {
        assert_ne!(answers_mark(left), answers_mark(right), "{left} {right}");
    }
    for header in [one.clone(), format!("W/{one}"), format!("\"x\", {one}"), "*".to_owned()] {
        assert!(if_none_match(&header, &one), "{header}");
    }
    assert!(!if_none_match("\"x\"", &one));
}
