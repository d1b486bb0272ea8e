//! Whom an edge enrols, and in which slices: the same for what it records itself and for what a client says it was shown.

use std::collections::BTreeSet;

use anyhow::ensure;
use flagfuse_shared::contract::beacon::{EventSource, SourceMark};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::snapshot::AutoExposure;
use serde_json::{Value, json};
use support::edge::{CLIENT_KEY, LONE_ENVIRONMENT, LoneEdge, UNIT_SECRETS};
use support::plane::{Draft, Replica, now};
use support::{Client, PATIENCE, eventually};

use super::{Plane, Told, post};

/// An edge whose flag `on` shows half of the units the feature and half of them the control, in phase 3 of such a cohort.
fn served_in_halves(name: &str, plane: &Plane, cohort: &Value) -> (LoneEdge, Replica) {
    let edge = LoneEdge::start(name, &["weur"], &plane.url);
    let mut replica = edge.dial("weur");
    let mut draft = edge.draft(1);
    draft.flags[0]["cohort"] = json!({ "phase": 3, "slices": [
        { "from": 0, "to": 500_000, "variation": "on", "arm": "exposed" },
        { "from": 500_000, "to": 1_000_000, "variation": "off", "arm": "control" } ] });
    for (name, value) in cohort.as_object().unwrap() {
        draft.flags[0]["cohort"][name] = value.clone();
    }
    let draft = Draft { auto_exposure: AutoExposure::Single, ..draft };
    replica.store(&draft.scope, &edge.keys.frame(&draft)).unwrap();
    eventually("the snapshot is served", PATIENCE, || {
        replica.vouch(&edge.keys);
        edge.ask_for_state("weur", "on", "fresh")
    })
    .unwrap();
    (edge, replica)
}

/// What both ways of asking answer somebody, and what a client says that was shown the second; its answer.
fn ask_and_use(edge: &LoneEdge, replica: &mut Replica, context: &Value) -> (Value, Value, Value) {
    let client = Client::new(&edge.url("weur"), Some(CLIENT_KEY));
    // While nobody vouches for the replica the flag is off.
    let mut asked = |path: &str| {
        let fresh = eventually("a fresh answer", PATIENCE, || {
            replica.vouch(&edge.keys);
            let answer = client.post(path, &json!({ "context": context }))?;
            ensure!(answer.header("x-flags-state") == Some("fresh"), "{:?}", answer.headers);
            Ok(answer)
        });
        fresh.unwrap().body
    };
    let single = asked("/ofrep/v1/evaluate/flags/on")["metadata"].clone();
    let bulk = asked("/ofrep/v1/evaluate/flags");
    let item = &bulk["flags"][0];
    let unit = context["targetingKey"].as_str().unwrap();
    let mut used = json!({ "id": format!("used-{unit}"), "type": "exposure", "unit": unit, "flag": "on",
        "occurred_ms": now(), "variation": item["variant"], "phase": item["metadata"]["phase"],
        "version": item["metadata"]["version"] });
    if item["metadata"].get("slices").is_some() {
        used["slices"] = item["metadata"]["slices"].clone();
    }
    let body = json!({ "ticket": bulk["metadata"]["ticket"], "events": [used] });
    (single, item["metadata"].clone(), post(edge, &body, "Mozilla/5.0", "192.0.2.7"))
}

/// The exposure of a unit that came from one of the queues.
fn exposure_of(plane: &Plane, queue: EventSource, unit: &str) -> Option<Told> {
    let taken = plane.taken().into_iter().filter(|taken| taken.is_from(queue));
    taken.flat_map(|taken| taken.events).find(|event| event.raw["unit"] == unit)
}

#[test]
fn both_paths_give_the_same_slices_in_both_arms() {
    let plane = Plane::start(|_| 200);
    let dimensions = json!([{ "attribute": "device", "values": ["mobile", "desktop"] },
        { "attribute": "paying", "values": ["true"] }]);
    let (edge, mut replica) =
        served_in_halves("buffers-slices", &plane, &json!({ "dimensions": dimensions }));
    let mut arms = BTreeSet::new();
    let asked: Vec<(String, String)> = (0..18)
        .map(|n| {
            let unit = format!("asker-{n}");
            let (device, paying) = (["mobile", "desktop", "tv"][n % 3], n % 2 == 0);
            let context = json!({ "targetingKey": unit, "device": device, "paying": paying });
            let (single, bulk, told) = ask_and_use(&edge, &mut replica, &context);
            let expected = format!("{}.{}", [1, 2, 0][n % 3], u8::from(paying));
            for metadata in [&single, &bulk] {
                assert_eq!(
                    (&metadata["slices"], &metadata["phase"]),
                    (&json!(expected), &json!(3)),
                    "{unit}"
                );
                assert_eq!(metadata["arm"], single["arm"]);
            }
            assert_eq!((&told["accepted"], told.get("unticketed")), (&json!(1), None), "{told}");
            arms.insert((single["arm"].as_str().unwrap().to_owned(), expected.clone()));
            (unit, expected)
        })
        .collect();
    assert!(arms.len() > 8, "both arms have all kinds of askers: {arms:?}");
    for (unit, expected) in asked {
        for queue in [EventSource::Edge, EventSource::Client] {
            let found = eventually("the exposure arrives", PATIENCE, || {
                exposure_of(&plane, queue, &unit).ok_or_else(|| anyhow::anyhow!("{unit} not yet"))
            });
            assert_eq!(found.unwrap().raw["slices"], json!(expected), "{unit} by {queue:?}");
        }
    }
}

/// The signature that a customer's server makes of a unit, as `docs/fuses.md` says: an HMAC by its definition.
fn signature(unit: &str) -> String {
    let (id, secret) = UNIT_SECRETS.split_once(':').unwrap();
    let padded = |with: u8| -> Vec<u8> {
        let key = secret.bytes().chain(std::iter::repeat(0)).take(64);
        key.map(|byte| byte ^ with).collect()
    };
    let inner = [padded(0x36), format!("{LONE_ENVIRONMENT}\0{unit}").into_bytes()].concat();
    let outer = [padded(0x5c), Digest::of(&inner).as_bytes().to_vec()].concat();
    format!("{id}.{}", Digest::of(&outer))
}

#[test]
fn only_signed_units_enrol_and_no_client_can_say_otherwise() {
    let plane = Plane::start(|_| 200);
    let (edge, mut replica) = served_in_halves("buffers-signed", &plane, &json!({ "units": "signed" }));
    let mut arms = BTreeSet::new();
    for n in 0..12 {
        let (plain, signed) = (format!("plain-{n}"), format!("signed-{n}"));
        let (single, bulk, told) = ask_and_use(&edge, &mut replica, &json!({ "targetingKey": plain }));
        assert_eq!((&single["arm"], &single["phase"]), (&bulk["arm"], &json!(3)), "answered as usual");
        assert_eq!(told["unticketed"], json!([{ "index": 0, "code": "ticket_unsigned" }]), "{told}");
        arms.insert((single["arm"].to_string(), false));
        let forged = json!({ "targetingKey": plain, "unitSignature": signature(&signed) });
        assert!(ask_and_use(&edge, &mut replica, &forged).2.get("unticketed").is_some());
        let context = json!({ "targetingKey": signed, "unitSignature": signature(&signed) });
        let (single, _, told) = ask_and_use(&edge, &mut replica, &context);
        assert_eq!((&told["accepted"], told.get("unticketed")), (&json!(1), None), "{told}");
        arms.insert((single["arm"].to_string(), true));
    }
    assert_eq!(arms.len(), 4, "both arms have both: {arms:?}");
    for n in 0..12 {
        for (unit, source) in
            [(format!("plain-{n}"), SourceMark::Ticket), (format!("signed-{n}"), SourceMark::Signed)]
        {
            let found = eventually("what the client said arrives", PATIENCE, || {
                let found = exposure_of(&plane, EventSource::Client, &unit);
                found.ok_or_else(|| anyhow::anyhow!("{unit} not yet"))
            });
            assert_eq!(found.unwrap().source, source, "{unit}");
        }
        eventually("what the edge recorded arrives", PATIENCE, || {
            let found = exposure_of(&plane, EventSource::Edge, &format!("signed-{n}"));
            found.ok_or_else(|| anyhow::anyhow!("signed-{n} not yet"))
        })
        .unwrap();
        assert_eq!(exposure_of(&plane, EventSource::Edge, &format!("plain-{n}")), None);
    }
}
