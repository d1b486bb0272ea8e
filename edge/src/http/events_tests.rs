//! What the edge makes of events before it keeps them.

use flagfuse_shared::contract::beacon::EventKind;

use super::*;

const NOW: UnixMillis = UnixMillis(1_790_000_000_000);
const VERSION: SnapshotVersion = SnapshotVersion { epoch: 1, seq: 7 };

fn flag() -> Flag {
    flag_of(&json!({}))
}

fn flag_of(more: &Value) -> Flag {
    let mut wire = json!({ "key": "f", "value_type": "boolean", "default_variation": "off", "salt": "s",
        "variations": [{ "key": "off", "value": false }, { "key": "on", "value": true }],
        "cohort": { "phase": 3, "slices": [
            { "from": 0, "to": 500_000, "variation": "on", "arm": "exposed" },
            { "from": 500_000, "to": 1_000_000, "variation": "off", "arm": "control" }] } });
    for (name, value) in more.as_object().unwrap() {
        wire["cohort"][name] = value.clone();
    }
    flagfuse_shared::flag::compile(&flagfuse_shared::strict::from_value(&wire).unwrap()).unwrap()
}

fn judge(tickets: Option<&TicketSecrets>, body: &str) -> Vec<Judged> {
    judge_by(&flag(), tickets, body)
}

fn judge_by(flag: &Flag, tickets: Option<&TicketSecrets>, body: &str) -> Vec<Judged> {
    let scope = Scope::parse("t/p/e").unwrap();
    let known = |key: &FlagKey| (key.as_str() == "f").then_some(Some(flag));
    let rules = Rules { scope: &scope, tickets, version: VERSION, flag: &known };
    let batch = ClientBatch::parse(body.as_bytes()).unwrap();
    batch.events.iter().map(|raw| rules.judge(raw, &batch, NOW)).collect()
}

fn codes(judged: &[Judged]) -> Vec<&'static str> {
    judged.iter().map(|judged| judged.fault.as_ref().map_or("", |fault| fault.code.as_str())).collect()
}

fn told(judged: &[Judged]) -> (u16, Value) {
    let reply = reply(judged, true);
    (reply.status, flagfuse_shared::strict::from_slice(reply.body.as_bytes()).unwrap())
}

/// A unit of each arm, and the variation that it gets.
fn units() -> [(String, &'static str); 2] {
    let flag = flag();
    ["on", "off"].map(|variation| {
        let unit = (0..).map(|n| format!("unit-{n}"));
        let mut unit = unit.filter(|unit| flag.shows(variation, Some(3), unit) == Some(true));
        (unit.next().unwrap(), variation)
    })
}

fn exposure(unit: &str, variation: &str, more: &str) -> String {
    format!(
        r#"{{"id":"{unit}","type":"exposure","unit":"{unit}","occurred_ms":{},"flag":"f","variation":"{variation}"{more}}}"#,
        NOW.0
    )
}

fn events(all: &[String]) -> String {
    format!(r#"{{"events":[{}]}}"#, all.join(","))
}

#[test]
fn invalid_events_are_named_and_kept_as_they_came() {
    let body = r#"{"sent_ms":1790000000000,"events":[
        {"id":"1","type":"outcome","unit":"u","occurred_ms":1790000000000,"metric":"conversion","new":[1]},
        {"id":"2","type":"surprise"}, 7]}"#;
    let judged = judge(None, body);
    assert_eq!(codes(&judged), ["", "bad_schema", "bad_schema"]);
    let (status, body) = told(&judged);
    assert_eq!((status, &body["accepted"]), (202, &json!(1)));
    let reason = r#"type must be "exposure", "outcome", "usage" or "link", but is the string "surprise""#;
    let expected = json!({ "index": 1, "code": "bad_schema", "field": "type", "reason": reason });
    assert_eq!(body["quarantined"][0], expected);
    assert!(body["quarantined"][1]["field"].is_null(), "it is about the whole event");
    assert!(body.get("unticketed").is_none(), "this edge has no tickets");
}

#[test]
fn a_body_of_which_nothing_can_be_used_is_a_refusal() {
    let (status, body) = told(&judge(None, r#"{"events":[{"id":"1"},7]}"#));
    assert_eq!((status, &body["code"], &body["accepted"]), (400, &json!("events_refused"), &json!(0)));
    assert_eq!(
        body["detail"],
        "all 2 events are refused: events[0]: type is missing: every event has an id, a type and occurred_ms"
    );
    assert_eq!(body["quarantined"].as_array().map(Vec::len), Some(2));
    assert_eq!(told(&judge(None, r#"{"events":[]}"#)).0, 202, "nothing was asked for");
}

#[test]
fn bulk_use_enrols_both_arms() {
    let used: Vec<_> =
        units().iter().map(|(unit, shown)| exposure(unit, shown, r#","phase":3,"version":"1.7""#)).collect();
    let judged = judge(None, &events(&used));
    assert_eq!(codes(&judged), ["", ""]);
    assert!(judged.iter().all(|judged| judged.enrols && judged.source == SourceMark::Open));
}

#[test]
fn both_arms_enrol_on_the_same_path() {
    let [(exposed, on), (control, off)] = units();
    let phase = r#","phase":3,"version":"1.7""#;
    for (unit, right, wrong) in [(&exposed, on, off), (&control, off, on)] {
        for (variation, more, expected) in [
            (right, phase, ""),
            (wrong, phase, "variant_mismatch"),
            ("neither", phase, "variant_mismatch"),
            ("neither", "", "variant_mismatch"),
            (wrong, "", ""),
            // Nobody here can tell: a phase that is over, and a snapshot that has not got here yet.
            (wrong, r#","phase":2,"version":"1.7""#, ""),
            (wrong, r#","phase":3,"version":"1.8""#, ""),
        ] {
            let judged = judge(None, &events(&[exposure(unit, variation, more)]));
            assert_eq!(codes(&judged), [expected], "{unit} {variation} {more}");
        }
    }
    let unknown = exposure("u", "on", phase).replace(r#""flag":"f""#, r#""flag":"g""#);
    let (status, body) = told(&judge(None, &events(&[unknown])));
    assert_eq!((status, &body["quarantined"][0]["code"]), (400, &json!("unknown_flag")));
}

#[test]
fn without_a_ticket_nothing_counts() {
    let secrets = TicketSecrets::parse("a:AAAAAAAAAAAAAAAAAAAAAAAA").unwrap().unwrap();
    let scope = Scope::parse("t/p/e").unwrap();
    let ticket = |unit, at| secrets.issue(&scope, unit, Proof::Asked, at).unwrap();
    let outcome = |id: &str, more: &str| {
        format!(r#"{{"id":"{id}","type":"outcome","unit":"ann","metric":"m","occurred_ms":{}{more}}}"#, NOW.0)
    };
    let (own, others) = (ticket("ann", NOW), ticket("bob", NOW));
    let old = ticket("ann", NOW.minus(5 * 24 * 3_600_000));
    let of_event = |ticket: &str| format!(r#","ticket":"{ticket}""#);
    let all = [
        outcome("1", ""),
        outcome("2", &of_event(&own)),
        outcome("3", &of_event(&others)),
        outcome("4", &of_event(&old)),
        outcome("5", &of_event("nonsense")),
        outcome("6", &of_event(&own.replacen('a', "b", 1))),
        r#"{"id":"7"}"#.to_owned(),
    ];
    let judged = judge(Some(&secrets), &events(&all));
    let marks: Vec<_> = judged.iter().map(|judged| judged.source.as_str()).collect();
    assert_eq!(marks, ["none", "ticket", "none", "none", "none", "none", "none"]);
    let (status, body) = told(&judged);
    let found: Vec<_> =
        body["unticketed"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
    let expected =
        ["ticket_missing", "ticket_wrong", "ticket_window", "ticket_malformed", "ticket_unknown_key"];
    assert_eq!((status, &body["accepted"]), (202, &json!(6)), "accepted all the same");
    assert_eq!(found, expected);
    let for_all = format!(r#"{{"ticket":"{own}","events":[{}]}}"#, outcome("1", ""));
    assert_eq!(judge(Some(&secrets), &for_all)[0].source, SourceMark::Ticket);
    assert!(reply(&judged, false).body.find("unticketed").is_none(), "no fuse watches");
    let usage = r#"{"events":[{"id":"1","type":"usage","flag":"f","yes":1,"occurred_ms":1790000000000}]}"#;
    assert!(judge(Some(&secrets), usage)[0].ticket.is_none(), "it has no unit");
    let kind = parse_event(&outcome("1", ""), NOW, None).unwrap().kind;
    assert!(matches!(kind, EventKind::Outcome { .. }));
}

#[test]
fn what_cannot_enrol_takes_nobodys_place_among_those_who_may() {
    let secrets = TicketSecrets::parse("a:AAAAAAAAAAAAAAAAAAAAAAAA").unwrap().unwrap();
    let scope = Scope::parse("t/p/e").unwrap();
    let [(exposed, on), (control, off)] = units();
    let ticket = |unit: &str| {
        format!(r#","phase":3,"ticket":"{}""#, secrets.issue(&scope, unit, Proof::Asked, NOW).unwrap())
    };
    let all = [
        exposure(&exposed, on, &ticket(&exposed)),
        exposure(&control, off, &ticket(&control)),
        exposure(&exposed, on, r#","phase":3"#),
        exposure(&exposed, off, &ticket(&exposed)),
        exposure("made-up", on, r#","phase":3"#),
    ];
    let enrols =
        |secrets| judge(secrets, &events(&all)).iter().map(|judged| judged.enrols).collect::<Vec<_>>();
    assert_eq!(enrols(Some(&secrets)), [true, true, false, false, false]);
    assert_eq!(enrols(None)[..3], [true, true, true], "where there are no tickets, they count");
}

#[test]
fn a_client_cannot_report_the_use_of_a_unit_that_nobody_signed() {
    let secrets = TicketSecrets::parse("a:AAAAAAAAAAAAAAAAAAAAAAAA").unwrap().unwrap();
    let scope = Scope::parse("t/p/e").unwrap();
    let signed_only = flag_of(&json!({ "units": "signed" }));
    for (unit, variation) in units() {
        for (proof, source, told) in [
            (Proof::Asked, SourceMark::Ticket, Some(TicketFault::Unsigned)),
            (Proof::Signed, SourceMark::Signed, None),
        ] {
            let ticket = secrets.issue(&scope, &unit, proof, NOW).unwrap();
            let more = format!(r#","phase":3,"version":"1.7","slices":"1.0","ticket":"{ticket}""#);
            let body = events(&[exposure(&unit, variation, &more)]);
            let found = judge_by(&signed_only, Some(&secrets), &body);
            assert_eq!((found[0].source, found[0].ticket), (source, told), "{unit} {proof:?}");
            assert_eq!(judge(Some(&secrets), &body)[0].ticket, None, "others ask for no signature");
        }
    }
}

#[test]
fn a_body_that_is_no_batch_is_refused_whole() {
    for body in [&b""[..], b"[]", b"{\"events\":{}}", b"{\"events\":[", b"\xff"] {
        assert!(ClientBatch::parse(body).map_err(EdgeError::from).is_err());
    }
}

#[test]
fn a_link_counts_with_good_tickets_of_both_its_units() {
    let secrets = TicketSecrets::parse("k1:AAAAAAAAAAAAAAAAAAAAAA").unwrap().unwrap();
    let scope = Scope::parse("t/p/e").unwrap();
    let ticket = |unit: &str| secrets.issue(&scope, unit, Proof::Asked, NOW).unwrap();
    let (phone, ada) = (ticket("phone"), ticket("ada"));
    let link = |more: &str| {
        format!(
            r#"{{"id":"1","type":"link","unit":"phone","canonical":"ada","occurred_ms":{}{more}}}"#,
            NOW.0
        )
    };
    for (body, expected) in [
        (format!(r#","ticket":"{phone}","canonical_ticket":"{ada}""#), None),
        (format!(r#","ticket":"{phone}""#), Some("ticket_missing")),
        (format!(r#","canonical_ticket":"{ada}""#), Some("ticket_missing")),
        (format!(r#","ticket":"{phone}","canonical_ticket":"{phone}""#), Some("ticket_wrong")),
        (format!(r#","ticket":"{ada}","canonical_ticket":"{ada}""#), Some("ticket_wrong")),
    ] {
        let judged = judge(Some(&secrets), &events(&[link(&body)]));
        assert_eq!(codes(&judged), [""], "it is accepted: {body}");
        assert_eq!(judged[0].ticket.map(TicketFault::as_str), expected, "{body}");
        let source = if expected.is_none() { SourceMark::Ticket } else { SourceMark::None };
        assert_eq!((judged[0].source, judged[0].enrols), (source, expected.is_none()));
    }
    // The body's ticket is the device's.
    let body =
        format!(r#"{{"ticket":"{phone}","events":[{}]}}"#, link(&format!(r#","canonical_ticket":"{ada}""#)));
    assert_eq!(judge(Some(&secrets), &body)[0].source, SourceMark::Ticket);
    assert_eq!(judge(None, &events(&[link("")]))[0].source, SourceMark::Open);
    let itself = link("").replace("ada", "phone");
    assert_eq!(
        codes(&judge(None, &events(&[itself, link("").replace("canonical", "other")]))),
        ["bad_schema"; 2]
    );
}
