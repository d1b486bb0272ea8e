//! Which requests pass, as a table: what they show and want, and what memory holds.

use flagfuse_testing::{NOW, admitted, scope};

use super::*;
use crate::http::request::RequestHeaders;
use crate::http::route::Verb;
use crate::snapshot::cache::ProbeStatus;
use crate::snapshot::compiled::CompiledSnapshot;
use crate::snapshot::served::Refresh;

const KEY: &str = "demo:production.s3cret";
const BULK: &str = "/ofrep/v1/evaluate/flags";

/// A memory that holds version 1.1 of `demo/production`, confirmed at [`NOW`] by a replica that was vouched for.
fn memory() -> Memory {
    let memory = Memory::default();
    let compiled = CompiledSnapshot::new(admitted(&[]));
    let status = ProbeStatus { is_vouched: true, ..ProbeStatus::default() };
    memory.with_entry(&scope(), NOW, |entry| {
        entry.swap(compiled.held.version, compiled, crate::snapshot::cache::STRICT, status, NOW)
    });
    memory
}

fn head(key: &str, target: &str, version_min: Option<&str>) -> RequestHead {
    let headers = RequestHeaders {
        authorization: Some(format!("Bearer {key}")).filter(|_| !key.is_empty()),
        version_min: version_min.map(str::to_owned),
        ..RequestHeaders::default()
    };
    RequestHead::new(Verb::Post, target, headers)
}

/// What the gate says, in a word.
fn outcome(memory: &Memory, head: &RequestHead, age_ms: u64) -> String {
    let tenant = TenantKey::parse("default").unwrap();
    let passed = pass(head, &tenant, |text| Digest::of(text.as_bytes()), memory, NOW.plus(age_ms));
    match passed {
        Ok((claim, GateOutcome::Answer(served, refresh))) => {
            let refreshes = if refresh == Refresh::Needed { " and refresh" } else { "" };
            format!("{} {}{refreshes}", claim.scope, served.version)
        }
        Ok((_, GateOutcome::Behind(_))) => "behind".to_owned(),
        Ok((_, GateOutcome::Probe)) => "probe".to_owned(),
        Err(error) => error.status().1.to_owned(),
    }
}

#[test]
fn a_request_passes_by_its_key_its_minimum_version_and_what_memory_holds() {
    let stray = format!("{BULK}?flagConfigEtag=abc");
    let told = format!("{BULK}?flagConfigEtag=1.6");
    let other = "demo:other.s3cret";
    for (key, target, version_min, age_ms, expected) in [
        (KEY, BULK, None, 0, "default/demo/production 1.1"),
        (KEY, BULK, Some("1.1"), 100, "default/demo/production 1.1"),
        (KEY, BULK, None, 101, "default/demo/production 1.1 and refresh"),
        (KEY, BULK, None, 250, "default/demo/production 1.1 and refresh"),
        (KEY, BULK, None, 251, "probe"),
        (KEY, BULK, Some("1.6"), 0, "behind"),
        (KEY, &told, None, 0, "behind"),
        (KEY, &stray, None, 0, "behind"),
        (KEY, BULK, Some("1.6"), 251, "probe"),
        (KEY, BULK, Some("six"), 0, "header_malformed"),
        ("", BULK, None, 0, "key_missing"),
        ("", BULK, Some("six"), 0, "key_missing"),
        ("nonsense", BULK, None, 0, "key_malformed"),
        ("ff_admin_0", BULK, None, 0, "key_wrong_kind"),
        // Memory holds the environment, and this key is none of its.
        ("demo:production.other", BULK, None, 0, "key_unknown"),
        ("demo:production.other", BULK, None, 251, "key_unknown"),
        // Memory has never heard of it: nobody can tell yet.
        (other, BULK, None, 0, "key_unsure"),
        (other, BULK, Some("1.6"), 0, "key_unsure"),
    ] {
        let found = outcome(&memory(), &head(key, target, version_min), age_ms);
        assert_eq!(found, expected, "{key} {target} {version_min:?} at {age_ms} ms");
    }
}

#[test]
fn one_request_refreshes_for_all_of_them() {
    let memory = memory();
    let request = head(KEY, BULK, None);
    assert_eq!(outcome(&memory, &request, 150), "default/demo/production 1.1 and refresh");
    assert_eq!(outcome(&memory, &request, 151), "default/demo/production 1.1");
}
