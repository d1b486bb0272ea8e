//! The attack table of the snapshot format: each row is refused with its stable code, the old version goes on being
//! served, and an honest frame is still taken afterwards. First by the verifier alone, then by a real replica.

#![expect(clippy::disallowed_methods, reason = "a developer asks for more mutants from the command line")]

mod attacks;
mod forge;
mod mutants;
mod replica;
mod signatures;
mod victim;

use flagfuse_shared::limits::CLOCK_SKEW_MS_MAX;
use flagfuse_shared::snapshot::beat::{BeatLedger, FreshnessKeys};
use flagfuse_shared::snapshot::manifest::KEYSET_TYPE;
use serde_json::json;

use self::attacks::{Row, beat, beats, recovery, signed_beat};
use self::forge::{envelope, flag};
use self::victim::Victim;

/// Runs the attacks of a row one after the other against one victim.
fn refused(row: Row) {
    let mut victim = Victim::holding();
    for attack in row(&victim.forge) {
        let before = victim.served();
        assert_eq!(victim.push(&attack.frame), attack.code, "{}", attack.what);
        assert_eq!(victim.served(), before, "{}: the old version is served", attack.what);
    }
    let good = victim.forge.good();
    assert_eq!(victim.push(&good), "newer", "an honest frame is still taken");
}

#[test]
fn an_older_number_the_same_number_and_an_older_epoch_are_refused() {
    refused(attacks::replays);
}

#[test]
fn unknown_keys_wrong_roles_and_swapped_key_ids_are_refused() {
    refused(attacks::wrong_keys);
}

#[test]
fn a_revoked_key_is_refused_under_the_old_and_the_new_keyset() {
    refused(attacks::revoked_keys);
}

#[test]
fn one_signature_twice_reaches_no_threshold() {
    refused(attacks::thresholds);
}

#[test]
fn a_snapshot_for_somebody_else_is_refused() {
    refused(attacks::foreign_scopes);
}

#[test]
fn the_manifest_of_one_version_over_the_payload_of_another_is_refused() {
    refused(attacks::mixed_versions);
}

#[test]
fn a_snapshot_dated_in_the_future_is_refused() {
    refused(attacks::dates);
}

#[test]
fn a_stolen_key_cannot_jump_far_ahead() {
    refused(attacks::fast_forward);
}

#[test]
fn wrong_lengths_are_refused_before_anything_is_allocated() {
    refused(attacks::lengths);
}

#[test]
fn hostile_json_is_refused_around_and_inside_a_signature() {
    refused(attacks::hostile_json);
}

#[test]
fn one_document_cannot_stand_in_for_another() {
    refused(attacks::wrong_documents);
}

#[test]
fn a_reader_that_is_too_old_says_so() {
    refused(attacks::readers);
}

#[test]
fn a_valid_signature_over_poison_is_refused() {
    refused(attacks::poison);
}

#[test]
fn the_table_above_has_every_row() {
    let this = include_str!("tamper.rs");
    for (name, _) in attacks::ROWS {
        assert!(this.contains(&format!("refused(attacks::{name})")), "{name} has no test");
    }
}

#[test]
fn prerequisites_in_a_circle_fail_alone_under_a_valid_signature() {
    let mut victim = Victim::holding();
    let needs = |key: &str, other: &str| {
        let mut flag = flag(key);
        flag["prerequisites"] = json!([{ "flag": other, "variations": ["on"] }]);
        flag
    };
    let flags = vec![needs("a", "b"), needs("b", "a"), flag("sound")];
    let draft = victim.forge.draft_of(victim.forge.next(), "circle", flags);
    let admitted = victim.admit(&draft.frame());
    assert!(admitted.snapshot.flag("a").expect("it is there").is_err());
    assert!(admitted.snapshot.flag("b").expect("it is there").is_err());
    assert!(admitted.snapshot.flag("sound").expect("it is there").is_ok());
}

#[test]
fn an_expired_snapshot_is_refused_cold_and_taken_warm_when_it_is_newer() {
    let mut victim = Victim::holding();
    let expired = |field: &'static str| {
        let past = victim.forge.now.minus(1);
        let draft = victim.forge.fresh().with(|draft| match field {
            "keyset" => draft.keyset["expires_ms"] = json!(past),
            _ => draft.manifest["expires_ms"] = json!(past),
        });
        draft.frame()
    };
    let (snapshot, keyset) = (expired("manifest"), expired("keyset"));
    assert_eq!(victim.push_cold(&snapshot), "E_EXPIRED");
    assert_eq!(victim.push_cold(&keyset), "E_EXPIRED");
    assert_eq!(victim.push(&snapshot), "newer", "a warm verifier goes on with the newest there is");
}

#[test]
fn clocks_ten_minutes_apart_refuse_the_future_and_take_the_past() {
    let ten_minutes = 600_000;
    assert!(ten_minutes > CLOCK_SKEW_MS_MAX);
    let mut behind = Victim::holding();
    let good = behind.forge.good();
    behind.now = behind.forge.now.minus(ten_minutes);
    assert_eq!(behind.push(&good), "E_FUTURE");
    let mut ahead = Victim::holding();
    ahead.now = ahead.forge.now.plus(ten_minutes);
    assert_eq!(ahead.push(&good), "newer");
    // A beat vouches for a second and a half, so neither clock believes it: what they serve is labelled stale.
    for (now, code) in [(behind.now, "E_FUTURE"), (ahead.now, "E_EXPIRED")] {
        let envelope = signed_beat(&ahead.forge, &beat(&ahead.forge, 1));
        let refusal = BeatLedger::default().hear(&envelope, &freshness(&ahead), now).unwrap_err();
        assert_eq!(refusal.code.as_str(), code);
    }
}

#[test]
fn a_stolen_keys_fast_forward_is_undone_by_a_new_epoch() {
    let mut victim = Victim::holding();
    let (thief, operator) = recovery(&victim.forge);
    assert_eq!(victim.push(&thief.frame()), "newer", "within the jump the thief is believed");
    let good = victim.forge.good();
    assert_eq!(victim.push(&good), "E_ROLLBACK", "and the operator locked out");
    assert_eq!(victim.push(&operator.frame()), "newer", "until a root-signed keyset raises the epoch");
    let again = thief.with(|draft| draft.manifest["seq"] = json!(victim.forge.held.seq + 9));
    assert_eq!(victim.push(&again.frame()), "E_KEYSET", "the stolen key is worth nothing any more");
}

#[test]
fn a_frozen_replica_is_not_kept_quiet_with_old_beats() {
    let victim = Victim::holding();
    let keys = freshness(&victim);
    let mut ledger = BeatLedger::default();
    let recorded = signed_beat(&victim.forge, &beat(&victim.forge, 10));
    let heard = ledger.hear(&recorded, &keys, victim.now).expect("an honest beat");
    ledger.vouch(&heard);
    for attack in beats(&victim.forge) {
        let refusal = ledger.hear(&attack.frame, &keys, victim.now).unwrap_err();
        assert_eq!(refusal.code.as_str(), attack.code, "{}", attack.what);
    }
    // However often the recording is played, nobody is vouched for once the beat's own time is over.
    for ms in (0..10_000).step_by(100) {
        let now = victim.now.plus(ms);
        assert!(ledger.hear(&recorded, &keys, now).is_err());
        assert_eq!(ledger.is_vouched(now), ms <= 1_500, "{ms} ms");
    }
}

fn freshness(victim: &Victim) -> FreshnessKeys {
    let keyset = envelope(KEYSET_TYPE, victim.forge.keyset().to_string().as_bytes(), &[victim.forge.root]);
    FreshnessKeys::open(&keyset, &victim.roots()).expect("the keyset is trusted")
}
