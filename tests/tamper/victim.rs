//! The smallest thing that can be attacked: the production verifier and what it holds. Pure; its clock is a field.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::snapshot::{Admitted, Outcome, TrustedRoots, verify};

use super::forge::{Forge, public};

/// A verifier that holds a version.
#[derive(Debug)]
pub(crate) struct Victim {
    /// What its operators own.
    pub(crate) forge: Forge,
    /// Its clock.
    pub(crate) now: UnixMillis,
    holds: Admitted,
}

/// Keys and times of a victim that never ran.
pub(crate) fn forge() -> Forge {
    Forge {
        root: [1; 32],
        release: [2; 32],
        freshness: [3; 32],
        scope: Scope::parse("default/demo/production").expect("a scope"),
        held: SnapshotVersion { epoch: 4, seq: 100 },
        keyset_version: 7,
        now: UnixMillis(1_800_000_000_000),
    }
}

impl Victim {
    /// A victim that holds the forge's version.
    pub(crate) fn holding() -> Self {
        let forge = forge();
        let frame = forge.draft(forge.held, "held").frame();
        let roots = roots(&forge);
        let holds = match verify(&frame, &roots, &forge.scope, None, forge.now) {
            Ok(Outcome::Newer(admitted)) => *admitted,
            other => panic!("{other:?}"),
        };
        Self { now: forge.now, forge, holds }
    }

    /// Whom it trusts.
    pub(crate) fn roots(&self) -> TrustedRoots {
        roots(&self.forge)
    }

    /// What it answers with.
    pub(crate) fn served(&self) -> (SnapshotVersion, Digest, Vec<String>) {
        let flags = self.holds.snapshot.flags().map(|(key, _)| key.as_str().to_owned()).collect();
        (self.holds.held.version, self.holds.held.digest, flags)
    }

    /// Takes a frame if it is good: `newer`, `same`, or the code of the refusal.
    pub(crate) fn push(&mut self, frame: &[u8]) -> &'static str {
        match verify(frame, &self.roots(), &self.forge.scope, Some(&self.holds.held), self.now) {
            Ok(Outcome::Newer(admitted)) => {
                self.holds = *admitted;
                "newer"
            }
            Ok(Outcome::Same) => "same",
            Err(refusal) => refusal.code.as_str(),
        }
    }

    /// What a verifier says that holds nothing yet.
    pub(crate) fn push_cold(&self, frame: &[u8]) -> &'static str {
        match verify(frame, &self.roots(), &self.forge.scope, None, self.now) {
            Ok(Outcome::Newer(_)) => "newer",
            Ok(Outcome::Same) => "same",
            Err(refusal) => refusal.code.as_str(),
        }
    }

    /// What a frame that has to be admitted makes it hold.
    pub(crate) fn admit(&mut self, frame: &[u8]) -> &Admitted {
        assert_eq!(self.push(frame), "newer");
        &self.holds
    }
}

fn roots(forge: &Forge) -> TrustedRoots {
    TrustedRoots::parse([public(&forge.root).as_str()], 1).expect("a root key")
}
