//! Both formats of batches, and what writers make of them.

use super::super::older::as_format_1;
use super::super::request::{Recorded, RequestHead, exposure_group, exposures, split_requests, with_receipt};
use super::*;
use crate::ids::SnapshotVersion;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const NAME: &str =
    r#""buffer_id":"b","batch_seq":1,"tenant":"t","project":"p","environment":"e","region":"r""#;

#[test]
fn a_batch_says_whose_events_it_carries_and_what_waits_behind_it() {
    let batch = |fields: &str| {
        let text = format!(
            r#"{{"buffer_id":"b","batch_seq":1,"tenant":"t","project":"p","environment":"e","region":"r",{fields}"events":[]}}"#
        );
        IngestBatch::parse(text.as_bytes()).map(|batch| (batch.head.queue, batch.head.oldest_waiting_ms))
    };
    for source in EventSource::ALL {
        let fields = format!(r#""source":"{}","oldest_waiting_ms":{},"#, source.as_str(), NOW.0);
        assert_eq!(batch(&fields), Ok((Some(source), Some(NOW))));
    }
    assert_eq!(batch(r#""source":"edge","oldest_waiting_ms":null,"#), Ok((Some(EventSource::Edge), None)));
    assert_eq!(batch(""), Ok((None, None)));
    for wrong in [r#""source":"Edge","#, r#""source":"server","#, r#""oldest_waiting_ms":-1,"#] {
        assert!(batch(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_batch_and_its_events_are_objects_whatever_the_events_hold() {
    let batch = |events: &str| {
        format!(
            r#"{{"buffer_id":"b","batch_seq":1,"tenant":"t","project":"p","environment":"e","region":"r","events":[{events}]}}"#
        )
    };
    let sound = batch(r#"{"received_ms":1,"raw":{"a":1,"a":[{"b":1,"b":1}]}},{"received_ms":1,"raw":["e"]}"#);
    assert_eq!(IngestBatch::parse(sound.as_bytes()).unwrap().event_count(), 2);
    let twice = batch("").replace(r#""batch_seq":1"#, r#""batch_seq":1,"batch_seq":1"#);
    let array = r#"["b",1,"t","p","e","r",[]]"#.to_owned();
    for bad in [batch(r"[1,null,{}]"), twice, array] {
        assert!(IngestBatch::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

/// A row of an edge's queue and one of clients', as edges write them.
fn row() -> String {
    let version = SnapshotVersion { epoch: 1, seq: 9 };
    let (checkout, search) = (exposure_group("check\"out", 3, version), exposure_group("search", 1, version));
    let one = |group, variation, unit, after_ms, (is_bot, is_limited), slices| Recorded {
        received_ms: NOW.plus(after_ms),
        group,
        variation,
        unit,
        network: 7,
        is_bot,
        is_limited,
        slices,
    };
    let recorded = [
        one(checkout.as_str(), "\"on\"", "\"ann\"", 5, (false, false), "1.0"),
        one(&search, "\"a\"", "\"ann\"", 0, (true, false), ""),
        one(&checkout, "\"off\"", "\"b\\n\"", 9, (false, true), "20"),
        one(&checkout, "\"on\"", "\"cid\"", 9, (false, false), ""),
    ];
    let event = RawValue::from_string(r#"{"id":"1", "type":"?"}"#.to_owned()).unwrap();
    let head = RequestHead {
        sent_ms: Some(NOW.minus(3)),
        source: SourceMark::Ticket,
        network: 9,
        is_bot: true,
        sdk: Some("web/1"),
    };
    let client = with_receipt(&head.write([&*event, &*event]), NOW, true);
    let plain = RequestHead { sent_ms: None, source: SourceMark::None, network: 0, is_bot: false, sdk: None };
    let plain = with_receipt(&plain.write([&*event]), NOW, false);
    let signed = RequestHead { source: SourceMark::Signed, ..head };
    let signed = with_receipt(&signed.write([&*event]), NOW, false);
    [exposures(&recorded), client, plain, signed].join(",")
}

fn told(batch: &IngestBatch<'_>) -> Vec<String> {
    batch
        .arrivals()
        .map(|one| {
            let Arrival { received_ms, sent_ms, source, network, is_bot, is_limited, sdk, .. } = one;
            let sent = sent_ms.map(|sent| sent.0);
            let at = received_ms.since(NOW);
            let raw = one.raw(|| "id".to_owned());
            format!("{at} {sent:?} {} {network} {is_bot} {is_limited} {sdk:?} {raw}", source.as_str())
        })
        .collect()
}

fn shown(flag: &str, phase: u32, unit: &str, variation: &str, (after_ms, slices): (u64, &str)) -> String {
    let at = NOW.0 + after_ms;
    format!(
        r#"{{"flag":"{flag}","id":"id","occurred_ms":{at},"phase":{phase},{slices}"type":"exposure","unit":"{unit}","variation":"{variation}","version":"1.9"}}"#
    )
}

#[test]
fn requests_say_what_the_edge_knew_and_exposures_name_their_flag_once() {
    let body = format!(
        r#"{{"format":2,{NAME},"queue":"edge","delivered_through_ms":5,"oldest_waiting_ms":6,"rests":true,"new":[],"requests":[{}]}}"#,
        row()
    );
    let batch = IngestBatch::parse(body.as_bytes()).unwrap();
    let head = &batch.head;
    assert_eq!((head.format, head.queue, head.rests), (2, Some(EventSource::Edge), true));
    assert_eq!(
        (head.delivered_through_ms, head.oldest_waiting_ms),
        (Some(UnixMillis(5)), Some(UnixMillis(6)))
    );
    let raw = r#"{"id":"1", "type":"?"}"#;
    let sent = NOW.0 - 3;
    let expected = [
        format!(
            "5 None edge 7 false false None {}",
            shown(r#"check\"out"#, 3, "ann", "on", (5, r#""slices":"1.0","#))
        ),
        format!(
            "9 None edge 7 false true None {}",
            shown(r#"check\"out"#, 3, r"b\n", "off", (9, r#""slices":"20","#))
        ),
        format!("9 None edge 7 false false None {}", shown(r#"check\"out"#, 3, "cid", "on", (9, ""))),
        format!("0 None edge 7 true false None {}", shown("search", 1, "ann", "a", (0, ""))),
        format!("0 Some({sent}) ticket 9 true true Some(\"web/1\") {raw}"),
        format!("0 Some({sent}) ticket 9 true true Some(\"web/1\") {raw}"),
        format!("0 None none 0 false false None {raw}"),
        format!("0 Some({sent}) signed 9 true false Some(\"web/1\") {raw}"),
    ];
    assert_eq!(told(&batch), expected);
    assert_eq!(batch.event_count(), 8);
    let event = batch.arrivals().nth(1).unwrap().event(|| "id".to_owned()).unwrap();
    assert_eq!((event.unit.unwrap().as_str(), event.occurred_ms), ("b\n", NOW.plus(9)));
    assert_eq!(event.slices.to_string(), "20");
}

#[test]
fn the_older_format_has_the_same_events_in_the_same_order() {
    let row = row();
    let of = |events: &str| format!(r#"{{{NAME},"events":[{events}]}}"#);
    let older = of(&as_format_1(&row, || "id".to_owned()).unwrap());
    let newer = format!(r#"{{"format":2,{NAME},"requests":[{row}]}}"#);
    let (older, newer) =
        (IngestBatch::parse(older.as_bytes()).unwrap(), IngestBatch::parse(newer.as_bytes()).unwrap());
    assert_eq!((older.head.format, older.event_count()), (1, newer.event_count()));
    for (older, newer) in older.arrivals().zip(newer.arrivals()) {
        assert_eq!((older.received_ms, older.sent_ms), (newer.received_ms, newer.sent_ms));
        assert_eq!((older.source, older.network), (SourceMark::Open, 0), "nobody said more");
        let id = || "id".to_owned();
        assert_eq!(older.event(id), newer.event(id));
    }
    for bad in ["7", "{}", "{", r#"{"received_ms":1,"events":{}}"#] {
        assert_eq!(as_format_1(bad, String::new), None, "{bad}");
    }
    assert_eq!(split_requests(&row).map(|parts| parts.len()), Some(4));
    assert_eq!(split_requests(&row).map(|parts| parts.join(",")), Some(row));
    assert_eq!(split_requests("{"), None);
}

#[test]
fn a_batch_that_means_nothing_is_refused_with_what_is_wrong() {
    let of = |fields: &str| {
        IngestBatch::parse(format!("{{{NAME},{fields}}}").as_bytes()).map(|batch| batch.is_word_only())
    };
    let unit = |items: &str| {
        of(&format!(
            r#""format":2,"requests":[{{"received_ms":1,"source":"edge","exposures":[{{"flag":"f","phase":1,"version":"1.1","variations":["a"],"units":[{items}]}}]}}]"#
        ))
    };
    assert!(unit(r#"["u",0,0,0],["u",0,0,0,3,"1.0","new"]"#).is_ok());
    for (found, said) in [
        (of(r#""format":3"#), "format 3, and this control plane reads formats 1 and 2"),
        (of(r#""format":2,"events":[]"#), "requests is missing"),
        (of(r#""requests":[]"#), "events is missing"),
        (of(r#""format":2,"requests":[{"received_ms":1,"source":"me"}]"#), "source"),
        (of(r#""format":2,"requests":[{"source":"edge"}]"#), "received_ms"),
        (unit(r#"["u",1,0,0]"#), "units name variation 1, and their group has 1"),
        (unit(r#"["u",0,0]"#), "units"),
        (unit(r#"["u",0,-1,0]"#), "units"),
        (unit(r#"{"unit":"u"}"#), "units"),
    ] {
        let error = found.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(of(r#""format":2,"requests":[]"#), Ok(false), "it has a number");
    let word =
        format!(r#"{{"format":2,{},"requests":[]}}"#, NAME.replace(r#""batch_seq":1"#, r#""batch_seq":0"#));
    assert!(IngestBatch::parse(word.as_bytes()).unwrap().is_word_only());
}
