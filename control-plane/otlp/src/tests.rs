//! Golden requests in both encodings, what is wrong in them, and bytes that nobody can foresee.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Written by OpenTelemetry's own protobuf library (`opentelemetry-proto` 1.45.2 for Python); the JSON says the same.
const GOLDEN: [(Signal, &[u8], &str); 3] = [
    (Signal::Logs, include_bytes!("../golden/logs.pb"), include_str!("../golden/logs.json")),
    (Signal::Traces, include_bytes!("../golden/traces.pb"), include_str!("../golden/traces.json")),
    (Signal::Metrics, include_bytes!("../golden/metrics.pb"), include_str!("../golden/metrics.json")),
];

fn golden(signal: Signal) -> (Export<'static>, Export<'static>) {
    let (_, protobuf, json) = GOLDEN.into_iter().find(|(own, ..)| *own == signal).unwrap();
    let json = read(signal, Encoding::Json, json.as_bytes()).unwrap();
    (read(signal, Encoding::Protobuf, protobuf).unwrap(), json)
}

/// What was found, as events, with the items that they are from; exposures without a phase.
fn events(export: &Export<'_>) -> Vec<(u64, Value)> {
    let events = export.found.iter().map(|Found { item, what }| {
        let event = match what {
            What::Evaluation(evaluation) => serde_json::from_str(&evaluation.event(None)).unwrap(),
            What::Outcome(outcome) => serde_json::from_str(&outcome.event()).unwrap(),
            What::Refused(refusal) => json!(format!("{refusal:?}")),
        };
        (*item, event)
    });
    events.collect()
}

fn ignored(export: &Export<'_>) -> Vec<(&'static str, u64)> {
    let counts = Reason::ALL.into_iter().map(|reason| (reason.as_str(), export.ignored.get(reason)));
    counts.filter(|(_, count)| *count > 0).collect()
}

const T: u64 = 1_800_000_000_000;
const TRACE: &str = "0102030405060708090a0b0c0d0e0f10";

fn named(mut event: Value, id: &str) -> Value {
    event["id"] = json!(id);
    event
}

#[test]
fn both_encodings_say_the_same() {
    for signal in Signal::ALL {
        let (protobuf, json) = golden(signal);
        assert_eq!(protobuf, json, "{signal:?}");
    }
}

#[test]
fn evaluations_of_every_generation_and_outcomes_are_found_in_logs() {
    let (export, _) = golden(Signal::Logs);
    assert_eq!((export.items, export.sdk()), (6, "otlp/nodejs/2.1.0".to_owned()));
    assert_eq!(ignored(&export), [("no_flag", 1)]);
    let events = events(&export);
    let items: Vec<u64> = events.iter().map(|(item, _)| *item).collect();
    assert_eq!(items, [0, 1, 3, 4, 5]);
    let mut ids = Vec::new();
    let mut plain = Vec::new();
    for (_, event) in events {
        ids.push(event["id"].as_str().unwrap().to_owned());
        plain.push(named(event, ""));
    }
    let expected = [
        json!({ "id": "", "type": "exposure", "occurred_ms": T, "flag": "checkout", "variation": "on", "unit": "ada",
            "version": "1.7" }),
        json!({ "id": "", "type": "exposure", "occurred_ms": T + 1, "flag": "checkout", "variation": "off",
            "unit": "b\"ö\n", "phase": 3, "slices": "1.0" }),
        json!({ "id": "", "type": "outcome", "occurred_ms": T + 2, "unit": "ada", "metric": "revenue",
            "value": 49.9 }),
        json!({ "id": "", "type": "outcome", "occurred_ms": T + 3, "unit": "ada", "metric": "conversion" }),
        json!({ "id": "", "type": "exposure", "occurred_ms": T, "flag": 42, "variation": true, "unit": [],
            "version": 1.42 }),
    ];
    assert_eq!(plain, expected);
    assert_eq!(ids[3], "order-1", "its own");
    let digests = ids.iter().filter(|id| id.len() == 32).count();
    assert_eq!(digests, 4, "{ids:?}");
    let What::Evaluation(first) = &export.found[0].what else { panic!("{:?}", export.found[0]) };
    assert_eq!(first.set.as_ref().and_then(Attr::text), Some("demo/production"));
    assert_eq!(first.reason.as_ref().and_then(Attr::text), Some("split"));
    assert_eq!(serde_json::from_str::<Value>(&first.event(Some(7))).unwrap()["phase"], 7);
    let What::Evaluation(second) = &export.found[1].what else { panic!("{:?}", export.found[1]) };
    assert_eq!(second.reason.as_ref().and_then(Attr::text), Some("split"), "by its older name");
    let own: Value = serde_json::from_str(&second.event(Some(7))).unwrap();
    assert_eq!(own["phase"], 3, "its own phase goes first");
}

#[test]
fn evaluations_latency_and_errors_are_found_in_spans() {
    let (export, _) = golden(Signal::Traces);
    assert_eq!(export.items, 9);
    assert_eq!(ignored(&export), [("no_flag", 1), ("span_kind", 1), ("several_units", 1)]);
    let exposure = |span: u32, part: &str, at: u64, unit: &str| {
        json!({ "id": format!("{TRACE}{span:016x}-{part}"), "type": "exposure", "occurred_ms": at, "flag": "checkout",
            "variation": "on", "unit": unit, "version": "1.7" })
    };
    let latency = |span: u32, unit: &str| {
        json!({ "id": format!("{TRACE}{span:016x}-l"), "type": "outcome", "occurred_ms": T + 12, "unit": unit,
            "metric": "latency_ms", "value": 12.5 })
    };
    let error = |span: u32, unit: &str| {
        json!({ "id": format!("{TRACE}{span:016x}-x"), "type": "outcome", "occurred_ms": T + 12, "unit": unit,
            "metric": "error" })
    };
    let mut events = events(&export);
    // Without a trace there is no name but what it says.
    let (item, last) = events.pop().unwrap();
    assert_eq!((item, last["id"].as_str().map(str::len)), (8, Some(32)));
    assert_eq!(named(last, ""), named(error(9, "ada"), ""));
    let of_old = json!({ "id": format!("{TRACE}{:016x}-e0", 3), "type": "exposure", "occurred_ms": T + 2,
        "flag": "checkout", "variation": "off", "unit": "bob" });
    let expected = [
        // Its second event.
        (1, exposure(2, "e1", T + 1, "ada")),
        (1, latency(2, "ada")),
        (2, of_old),
        (2, latency(3, "bob")),
        (2, error(3, "bob")),
        (3, error(4, "eve")),
        (4, exposure(5, "f", T + 12, "ada")),
        (6, exposure(7, "e0", T, "ada")),
        (6, exposure(7, "e1", T, "bob")),
        (7, latency(8, "ada")),
    ];
    assert_eq!(events, expected);
}

#[test]
fn counters_of_a_unit_are_outcomes_and_other_metrics_are_not() {
    let (export, _) = golden(Signal::Metrics);
    assert_eq!((export.items, export.sdk()), (14, "otlp/python/1.45.2".to_owned()));
    assert_eq!(ignored(&export), [("no_flag", 4), ("zero", 1)]);
    let events = events(&export);
    let count = |unit: &str, metric: &str, value: Value| json!({ "id": "", "type": "outcome", "occurred_ms": T, "unit": unit, "metric": metric, "value": value });
    let mut plain = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    for (_, event) in &events {
        if event.is_object() {
            ids.insert(event["id"].as_str().unwrap());
            plain.push(named(event.clone(), ""));
        } else {
            plain.push(event.clone());
        }
    }
    let expected = [
        count("ada", "conversion", json!(1)),
        count("ada", "conversion", json!(2)),
        count("bob", "conversion", json!(-3)),
        count("ada", "revenue", json!(49.9)),
        json!("Cumulative"),
        json!("Gauge"),
        json!("Histogram"),
        json!("Histogram"),
        json!("Histogram"),
    ];
    assert_eq!(plain, expected);
    assert_eq!(ids.len(), 4, "each point has an id of its own");
}

#[test]
fn an_exporter_that_sends_again_names_everything_as_before_whatever_else_is_in_the_batch() {
    let body = |before: &str| {
        format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{before}{{"timeUnixNano":"1800000000000000000",
            "attributes":[{{"key":"b","value":{{"intValue":1}}}},{{"key":"flagfuse.metric","value":{{"stringValue":"m"}}}},
            {{"key":"flagfuse.unit","value":{{"stringValue":"u"}}}}],"eventName":"flagfuse.outcome"}}]}}]}}]}}"#
        )
    };
    let id = |body: &str| {
        let export = read(Signal::Logs, Encoding::Json, body.as_bytes()).unwrap();
        let (_, event) = events(&export).pop().unwrap();
        event["id"].as_str().unwrap().to_owned()
    };
    let first = id(&body(""));
    assert_eq!(first, id(&body(r#"{"severityText":"INFO"},"#)));
    // The order of attributes says nothing; another one does.
    let turned = body("").replace(r#"{"key":"b","value":{"intValue":1}},"#, "").replace(
        r#"{"key":"flagfuse.unit""#,
        r#"{"key":"b","value":{"intValue":"1"}},{"key":"flagfuse.unit""#,
    );
    assert_eq!(first, id(&turned));
    assert_ne!(first, id(&body("").replace(r#""intValue":1"#, r#""intValue":2"#)));
    assert_ne!(first, id(&body("").replace(r#""intValue":1"#, r#""stringValue":"1""#)));
}

/// What JavaScript's exporters make of an attribute that is undefined.
#[test]
fn an_empty_value_is_none() {
    let attribute = |key: &str, value: Value| json!({ "key": key, "value": value });
    let record = json!({ "eventName": "feature_flag.evaluation", "attributes": [
        attribute("feature_flag.key", json!({ "stringValue": "f" })),
        attribute("flagfuse.slices", json!({})), attribute("flagfuse.phase", Value::Null),
        attribute("feature_flag.context.id", json!({ "kvlistValue": {} })) ] });
    let body = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [record] }] }] }).to_string();
    let export = read(Signal::Logs, Encoding::Json, body.as_bytes()).unwrap();
    let expected = json!({ "id": "", "type": "exposure", "flag": "f", "unit": [], "occurred_ms": 0 });
    assert_eq!(named(events(&export)[0].1.clone(), ""), expected);
    // LogRecord{attributes: [KeyValue{key: "flagfuse.slices", value: {}}, KeyValue{key: "feature_flag.key", value: "f"}]}.
    let slices = b"\x32\x13\x0a\x0fflagfuse.slices\x12\x00";
    let flag = b"\x32\x17\x0a\x10feature_flag.key\x12\x03\x0a\x01f";
    let name = b"\x62\x17feature_flag.evaluation";
    let record = [&slices[..], flag, name].concat();
    let wrapped = |number: u8, bytes: &[u8]| [&[number, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let body = wrapped(0x0a, &wrapped(0x12, &wrapped(0x12, &record)));
    let export = read(Signal::Logs, Encoding::Protobuf, &body).unwrap();
    let expected = json!({ "id": "", "type": "exposure", "flag": "f", "occurred_ms": 0 });
    assert_eq!(named(events(&export)[0].1.clone(), ""), expected);
}

#[test]
fn what_is_no_export_request_is_refused_with_the_reason() {
    for (json, said) in [
        ("", "it is empty"),
        ("[]", "expected"),
        ("{", "too early"),
        (r#"{"resourceSpans":{}}"#, "a list"),
        (r#"{"resourceSpans":[[]]}"#, "expected"),
        (r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":-1}]}]}]}"#, "-1 is not a whole number"),
        (r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"x"}]}]}]}"#, "\"x\" is not"),
        (
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":1,"kind":1,"kind":2}]}]}]}"#,
            "duplicate field",
        ),
        (r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[7]}]}]}]}"#, "expected"),
    ] {
        let error = read(Signal::Traces, Encoding::Json, json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("traces export request"), "{json}: {error}");
    }
    for (bytes, said) in [
        (&b"\x0a"[..], "ends within"),
        (b"\x0a\x05\x0a", "ends within"),
        (b"\x0b", "wire type 3"),
        (b"\x02\x00", "the number 0"),
        (b"\x08\x01", "field 1 has another type"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "ten bytes"),
        (b"{}", "wire type 3"),
    ] {
        let error = read(Signal::Traces, Encoding::Protobuf, bytes).unwrap_err().to_string();
        assert!(error.contains(said), "{bytes:?}: {error}");
    }
    for empty in ["{}", r#"{"resourceSpans":null}"#, r#"{"resourceSpans":[],"more":1}"#] {
        assert_eq!(read(Signal::Traces, Encoding::Json, empty.as_bytes()), Ok(Export::default()));
    }
    assert_eq!(read(Signal::Traces, Encoding::Protobuf, b""), Ok(Export::default()));
}

#[test]
fn more_than_fits_is_counted_and_nothing_of_it_is_kept() {
    let event = |at: usize| {
        format!(
            r#"{{"name":"feature_flag","timeUnixNano":"{at}","attributes":[{{"key":"feature_flag.key","value":{{"intValue":1}}}}]}}"#
        )
    };
    let events = |count: usize| (0..count).map(event).collect::<Vec<_>>().join(",");
    let body = |count: usize| {
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"events":[{}]}}]}}]}}]}}"#, events(count))
    };
    let full = body(FOUND_COUNT_MAX);
    assert_eq!(read(Signal::Traces, Encoding::Json, full.as_bytes()).unwrap().found.len(), FOUND_COUNT_MAX);
    let over = body(FOUND_COUNT_MAX + 1);
    let over = read(Signal::Traces, Encoding::Json, over.as_bytes());
    assert_eq!(over, Err(ExportError::TooMany));
    // In spans of their own.
    let one = format!(r#"{{"events":[{}]}}"#, event(1));
    let spans = vec![one; FOUND_COUNT_MAX + 5].join(",");
    let body = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
    let over = read(Signal::Traces, Encoding::Json, body.as_bytes());
    assert_eq!(over, Err(ExportError::TooMany));
}

#[test]
fn no_text_is_longer_than_an_event() {
    let long = "ü".repeat(1 << 20);
    let record = json!({ "eventName": "feature_flag.evaluation", "attributes": [
        { "key": "feature_flag.key", "value": { "stringValue": "f" } },
        { "key": "feature_flag.context.id", "value": { "stringValue": long } }] });
    let body = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [record] }] }] }).to_string();
    let export = read(Signal::Logs, Encoding::Json, body.as_bytes()).unwrap();
    let What::Evaluation(evaluation) = &export.found[0].what else { panic!("{:?}", export.found) };
    let len = evaluation.event(None).len();
    assert!((4_097..4_400).contains(&len), "{len} bytes: no event has room for it, and memory has");
}

#[test]
fn answers_are_in_the_encoding_of_the_request() {
    assert_eq!(success(Signal::Logs, Encoding::Protobuf, 0, ""), b"");
    assert_eq!(success(Signal::Logs, Encoding::Json, 0, ""), b"{}");
    assert_eq!(success(Signal::Logs, Encoding::Protobuf, 300, "no"), b"\x0a\x07\x08\xac\x02\x12\x02no");
    let names = [
        (Signal::Logs, "rejectedLogRecords"),
        (Signal::Traces, "rejectedSpans"),
        (Signal::Metrics, "rejectedDataPoints"),
    ];
    for (signal, name) in names {
        let json: Value = serde_json::from_slice(&success(signal, Encoding::Json, 3, "no")).unwrap();
        assert_eq!(json, json!({ "partialSuccess": { name: "3", "errorMessage": "no" } }));
    }
    assert_eq!(status(Encoding::Protobuf, 400, "bad"), b"\x08\x03\x12\x03bad");
    let json: Value = serde_json::from_slice(&status(Encoding::Json, 503, "later")).unwrap();
    assert_eq!(json, json!({ "code": 14, "message": "later" }));
    for (text, encoding) in [
        ("application/x-protobuf", Some(Encoding::Protobuf)),
        ("Application/JSON; charset=utf-8", Some(Encoding::Json)),
        ("text/plain", None),
        ("", None),
    ] {
        assert_eq!(Encoding::of_content_type(text), encoding);
    }
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for signal in Signal::ALL {
            for encoding in [Encoding::Protobuf, Encoding::Json] {
                let _read = read(signal, encoding, &bytes);
            }
        }
    }

    #[test]
    fn a_request_that_is_cut_or_changed_is_read_or_refused(
        which in 0_usize..3, cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let (signal, protobuf, json) = GOLDEN[which];
        for (encoding, bytes) in [(Encoding::Protobuf, protobuf), (Encoding::Json, json.as_bytes())] {
            let len = cut.index(bytes.len());
            let _cut = read(signal, encoding, &bytes[..len]);
            let mut changed = bytes.to_vec();
            let at = at.index(bytes.len());
            changed[at] = byte;
            if let Ok(export) = read(signal, encoding, &changed) {
                for (_, event) in events(&export) {
                    prop_assert!(event.is_object() || event.is_string());
                }
            }
        }
    }
}
