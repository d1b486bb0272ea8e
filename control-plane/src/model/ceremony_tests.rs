//! Ceremonies on paper: which keysets come out, who has to sign them, and what an edge thinks of them.

use flagfuse_shared::snapshot::verify::key_id;

use super::*;

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

fn public(seeds: &[u8]) -> Vec<String> {
    seeds.iter().map(|seed| key(*seed).public_base64()).collect()
}

fn role(threshold: usize, seeds: &[u8]) -> Role {
    Role { threshold, keys: public(seeds) }
}

fn keyset() -> Keyset {
    let roles = Roles { root: role(2, &[1, 2, 3]), release: role(1, &[10]), freshness: role(1, &[20]) };
    first(roles, UnixMillis(1_000))
}

fn chain() -> Vec<Step> {
    vec![Step { keyset: keyset(), gate: Gate::AtOnce }]
}

fn roots(seeds: &[u8]) -> Vec<PrivateKey> {
    seeds.iter().map(|seed| key(*seed)).collect()
}

fn id(seed: u8) -> String {
    key_id(&key(seed).public_bytes())
}

fn scope() -> Scope {
    Scope::parse("default/demo/dev").unwrap()
}

fn sign_with(steps: Vec<Step>, seeds: &[u8]) -> Result<Vec<SignedStep>, CeremonyError> {
    sign(steps, &keyset(), &roots(seeds), &[], 2, UnixMillis(9_000))
}

#[test]
fn two_of_three_roots_have_to_be_there_and_they_have_to_be_different_ones() {
    let steps = || rotate(&chain(), OnlineRole::Release, &public(&[11])).unwrap();
    let too_few = |given| CeremonyError::TooFewRoots { given, needed: 2, keyset_version: 1 };
    assert_eq!(sign_with(steps(), &[]), Err(too_few(0)));
    assert_eq!(sign_with(steps(), &[1]), Err(too_few(1)));
    assert_eq!(sign_with(steps(), &[1, 1]), Err(too_few(1)));
    let foreign = CeremonyError::ForeignRoot { key_id: id(9), keyset_version: 1 };
    assert_eq!(sign_with(steps(), &[1, 9]), Err(foreign));
    for pair in [[1, 2], [2, 3], [3, 1]] {
        let signed = sign_with(steps(), &pair).unwrap();
        assert_eq!(
            signed.iter().map(|step| (step.keyset_version, step.gate)).collect::<Vec<_>>(),
            [(2, Gate::AtOnce), (3, Gate::AfterAck)]
        );
        for step in &signed {
            let found = verify_keyset(&step.envelope, &trusted(&keyset().roles.root).unwrap()).unwrap();
            assert_eq!((found.keyset_version, found.expires_ms), (step.keyset_version, UnixMillis(9_000)));
        }
    }
}

#[test]
fn a_rotation_lists_both_keys_then_the_new_one_and_leaves_the_other_roles_alone() {
    let steps = rotate(&chain(), OnlineRole::Freshness, &public(&[21])).unwrap();
    let keys: Vec<_> = steps.iter().map(|step| step.keyset.roles.freshness.keys.clone()).collect();
    assert_eq!(keys, [public(&[20, 21]), public(&[21])]);
    for step in &steps {
        assert_eq!(
            (&step.keyset.roles.root, &step.keyset.roles.release),
            (&role(2, &[1, 2, 3]), &role(1, &[10]))
        );
    }
    let under_way = rotate(&steps, OnlineRole::Release, &public(&[11])).unwrap_err();
    assert!(matches!(under_way, CeremonyError::UnderWay { .. }));
    let crowd: Vec<u8> = (30..30 + u8::try_from(ROLE_KEY_COUNT_MAX).unwrap()).collect();
    let count = ROLE_KEY_COUNT_MAX + 1;
    assert_eq!(
        rotate(&chain(), OnlineRole::Release, &public(&crowd)),
        Err(CeremonyError::TooManyKeys { role: "release", count })
    );
    assert!(rotate(&chain(), OnlineRole::Release, &public(&crowd[1..])).is_ok());
}

#[test]
fn a_revoked_key_is_gone_at_once_and_the_last_one_is_replaced() {
    assert_eq!(replacements_needed(&chain(), OnlineRole::Release, &id(10)), 1);
    let steps = revoke(&chain(), OnlineRole::Release, &id(10), &public(&[11])).unwrap();
    assert_eq!(steps.len(), 1);
    assert_eq!((steps[0].gate, &steps[0].keyset.roles.release.keys), (Gate::AtOnce, &public(&[11])));
    let unknown = revoke(&chain(), OnlineRole::Release, &id(20), &[]).unwrap_err();
    assert!(unknown.to_string().contains(&id(10)), "{unknown}");
}

#[test]
fn a_revocation_in_the_midst_of_a_rotation_ends_it_one_way_or_the_other() {
    let under_way = rotate(&chain(), OnlineRole::Release, &public(&[11])).unwrap();
    assert_eq!(replacements_needed(&under_way, OnlineRole::Release, &id(10)), 0);
    let old_gone = revoke(&under_way, OnlineRole::Release, &id(10), &[]).unwrap();
    assert_eq!(old_gone.len(), 1, "nothing is left to wait for");
    assert_eq!(old_gone[0].keyset.roles.release.keys, public(&[11]));
    // The new key is the stolen one: the last keyset would have none, so it gets a replacement.
    assert_eq!(replacements_needed(&under_way, OnlineRole::Release, &id(11)), 1);
    let new_gone = revoke(&under_way, OnlineRole::Release, &id(11), &public(&[12])).unwrap();
    let keys: Vec<_> =
        new_gone.iter().map(|step| (step.gate, step.keyset.roles.release.keys.clone())).collect();
    assert_eq!(keys, [(Gate::AtOnce, public(&[10, 12])), (Gate::AfterAck, public(&[12]))]);
}

#[test]
fn an_epoch_only_rises_and_a_rotation_under_way_goes_on() {
    let under_way = rotate(&chain(), OnlineRole::Release, &public(&[11])).unwrap();
    let steps = bump_epoch(&under_way, &scope(), 3, 2).unwrap();
    assert_eq!(steps.len(), 2);
    for step in &steps {
        assert_eq!(step.keyset.min_epoch[&scope().to_string()], 3);
    }
    let held = CeremonyError::EpochTooLow { epoch: 2, held: 2 };
    assert_eq!(bump_epoch(&chain(), &scope(), 2, 2), Err(held));
    assert_eq!(bump_epoch(&steps, &scope(), 3, 1), Err(CeremonyError::EpochTooLow { epoch: 3, held: 3 }));
}

#[test]
fn other_roots_are_signed_for_by_the_old_and_the_new_ones() {
    let new = role(2, &[4, 5]);
    let steps = || rotate_roots(&chain(), new.clone()).unwrap();
    let run =
        |old: &[u8], new: &[u8]| sign(steps(), &keyset(), &roots(old), &roots(new), 2, UnixMillis(9_000));
    assert!(matches!(run(&[1, 2], &[4]), Err(CeremonyError::TooFewRoots { .. })));
    assert!(matches!(run(&[1], &[4, 5]), Err(CeremonyError::TooFewRoots { .. })));
    let signed = run(&[1, 2], &[4, 5]).unwrap();
    for root in [&keyset().roles.root, &new] {
        assert!(verify_keyset(&signed[0].envelope, &trusted(root).unwrap()).is_ok());
    }
    let many = rotate_roots(&chain(), role(3, &[4, 5, 6])).unwrap();
    let refused = sign(many, &keyset(), &roots(&[1, 2]), &roots(&[4, 5, 6]), 2, UnixMillis(9_000));
    assert_eq!(refused, Err(CeremonyError::TooManySignatures { count: 5 }));
}
