//! One environment of a replica: what is kept of it and what a pushed frame does to that. Pure: no storage, no clock.

use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::snapshot::{Held, KeyIds, Outcome, Refusal, TrustedRoots, verify};

/// What a replica keeps on disk, in one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaRow {
    /// Its high-water mark.
    pub held: Held,
    /// When the row was written.
    pub stored_ms: UnixMillis,
    /// The signed bytes as they were pushed; isolates verify them again.
    pub frame: Vec<u8>,
}

/// What to do with a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Write this row, then acknowledge it. These client keys are valid from then on.
    Store(Box<ReplicaRow>, KeyIds),
    /// It is stored already: the acknowledgement was lost.
    AckAgain,
    /// Keep what is held and say why.
    Refuse(Refusal),
}

/// Decides about a pushed frame.
pub fn decide(
    frame: &[u8],
    roots: &TrustedRoots,
    scope: &Scope,
    held: Option<&Held>,
    now: UnixMillis,
) -> Decision {
    match verify(frame, roots, scope, held, now) {
        Ok(Outcome::Newer(admitted)) => {
            let row = ReplicaRow { held: admitted.held, stored_ms: now, frame: frame.to_vec() };
            Decision::Store(Box::new(row), admitted.snapshot.key_ids())
        }
        Ok(Outcome::Same) => Decision::AckAgain,
        Err(refusal) => Decision::Refuse(refusal),
    }
}

#[cfg(test)]
mod tests {
    use flagfuse_shared::ids::EnvironmentKey;
    use flagfuse_shared::snapshot::Profile;
    use flagfuse_shared::snapshot::payload::Content;
    use flagfuse_testing::{NOW, content, keyset, release, roots, scope, signed_under};

    use super::*;

    fn frame(seq: u64, profile: Profile) -> Vec<u8> {
        signed_under(&keyset(), &release(seq), &Content { profile, ..content(&[]) }).frame
    }

    fn stored(seq: u64) -> ReplicaRow {
        match decide(&frame(seq, Profile::Strict), &roots(), &scope(), None, NOW) {
            Decision::Store(row, _) => *row,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_newer_snapshot_is_stored_as_it_was_pushed() {
        let first = stored(1);
        let second = frame(2, Profile::Strict);
        let Decision::Store(row, _) = decide(&second, &roots(), &scope(), Some(&first.held), NOW) else {
            panic!("refused")
        };
        assert_eq!((row.held.version.seq, row.frame), (2, second));
    }

    #[test]
    fn a_repeated_publication_is_acknowledged_again() {
        let row = stored(3);
        let decision = decide(&frame(3, Profile::Strict), &roots(), &scope(), Some(&row.held), NOW);
        assert_eq!(decision, Decision::AckAgain);
    }

    #[test]
    fn replay_equivocation_and_a_foreign_environment_are_refused_with_their_codes() {
        let row = stored(3);
        let mut elsewhere = scope();
        elsewhere.environment = EnvironmentKey::parse("prod").unwrap();
        for (frame, scope, code) in [
            (frame(2, Profile::Strict), scope(), "E_ROLLBACK"),
            (frame(3, Profile::Economy), scope(), "E_EQUIV"),
            (frame(4, Profile::Strict), elsewhere, "E_SCOPE"),
            (vec![0, 0, 0, 9, 1], scope(), "E_TRUNC"),
        ] {
            let Decision::Refuse(refusal) = decide(&frame, &roots(), &scope, Some(&row.held), NOW) else {
                panic!("{code} was not refused")
            };
            assert_eq!(refusal.code.as_str(), code);
        }
    }
}
