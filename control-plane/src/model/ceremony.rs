//! What root keys are brought together for: the next keysets, made and signed at once so that the roots can leave again.
//! Pure: neither generates keys nor knows where they are kept.

use std::collections::BTreeSet;

use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::limits::{ROLE_KEY_COUNT_MAX, SIGNATURE_COUNT_MAX};
use flagfuse_shared::snapshot::manifest::{Keyset, Role, Roles};
use flagfuse_shared::snapshot::sign::{PrivateKey, SignError, sign_keyset};
use flagfuse_shared::snapshot::verify::{TrustError, key_id_of};
use flagfuse_shared::snapshot::{Refusal, TrustedRoots, verify_keyset};
use serde::{Deserialize, Serialize};

/// A role whose keys lie with the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnlineRole {
    /// Signs manifests.
    Release,
    /// Signs beats.
    Freshness,
}

impl OnlineRole {
    /// Its word in file names and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Freshness => "freshness",
        }
    }

    /// The role in a keyset.
    pub const fn of(self, roles: &Roles) -> &Role {
        match self {
            Self::Release => &roles.release,
            Self::Freshness => &roles.freshness,
        }
    }

    const fn of_mut(self, roles: &mut Roles) -> &mut Role {
        match self {
            Self::Release => &mut roles.release,
            Self::Freshness => &mut roles.freshness,
        }
    }
}

/// When a keyset may come into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// As soon as it is there.
    AtOnce,
    /// When every replica has confirmed a snapshot under the one before.
    AfterAck,
}

impl Gate {
    /// Its word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AtOnce => "at_once",
            Self::AfterAck => "after_ack",
        }
    }

    /// The gate of a word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::AtOnce, Self::AfterAck].into_iter().find(|gate| gate.as_str() == text)
    }
}

/// A keyset and when its turn comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub keyset: Keyset,
    pub gate: Gate,
}

/// A signed keyset and when its turn comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedStep {
    /// Version of the keyset.
    pub keyset_version: u64,
    pub envelope: Vec<u8>,
    pub gate: Gate,
}

/// Why there is no next keyset.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CeremonyError {
    /// Too few different root keys of the keyset.
    #[error("{given} distinct root keys of keyset {keyset_version} were given, {needed} are needed")]
    TooFewRoots {
        /// Different ones that the keyset lists.
        given: usize,
        needed: usize,
        keyset_version: u64,
    },
    /// A file that is no root key of this installation.
    #[error("key {key_id} is not a root key of keyset {keyset_version}")]
    ForeignRoot { key_id: String, keyset_version: u64 },
    /// More signatures than an envelope holds.
    #[error("{count} root keys would have to sign, an envelope holds {SIGNATURE_COUNT_MAX} signatures")]
    TooManySignatures {
        /// Signatures needed.
        count: usize,
    },
    /// More keys than a role may have.
    #[error("role {role} would have {count} keys, the limit is {ROLE_KEY_COUNT_MAX}")]
    TooManyKeys {
        role: &'static str,
        /// Keys it would have.
        count: usize,
    },
    /// The key to revoke is not there.
    #[error("role {role} has no key {key_id}; it has {}", known.join(", "))]
    UnknownKey {
        role: &'static str,
        key_id: String,
        /// Ids of its keys.
        known: Vec<String>,
    },
    /// Two rotations at a time cannot be told apart.
    #[error("keyset {keyset_version} still waits for its turn: `flagfuse keys verify` says for what")]
    UnderWay {
        /// The waiting keyset.
        keyset_version: u64,
    },
    /// An epoch that changes nothing.
    #[error("epoch {epoch} is not above the {held} that is in force")]
    EpochTooLow {
        epoch: u64,
        /// In force or seen at a replica.
        held: u64,
    },
    /// A keyset that would not get past an edge.
    #[error("the new keyset is refused: {0}")]
    Refused(Refusal),
    /// It could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Its root role is meaningless.
    #[error(transparent)]
    Roots(#[from] TrustError),
}

/// The first keyset.
pub fn first(roles: Roles, expires_ms: UnixMillis) -> Keyset {
    Keyset { keyset_version: 1, expires_ms, roles, min_epoch: [].into() }
}

/// Rotation: at once a keyset that lists old and new keys, old ones first, so that they go on signing; then, when every
/// replica has it, one without the old.
pub fn rotate(chain: &[Step], role: OnlineRole, new: &[String]) -> Result<Vec<Step>, CeremonyError> {
    let base = only(chain)?;
    let mut both = base.clone();
    role.of_mut(&mut both.roles).keys.extend_from_slice(new);
    check_count(role.as_str(), role.of(&both.roles))?;
    let mut after = base.clone();
    new.clone_into(&mut role.of_mut(&mut after.roles).keys);
    Ok(vec![Step { keyset: both, gate: Gate::AtOnce }, Step { keyset: after, gate: Gate::AfterAck }])
}

/// Revocation: every keyset of the chain without the key, at once, and with its replacement: as many keys as
/// [`replacements_needed`] says, also where they are not needed yet, so that replicas know them in time.
pub fn revoke(
    chain: &[Step],
    role: OnlineRole,
    key_id: &str,
    replacement: &[String],
) -> Result<Vec<Step>, CeremonyError> {
    let known: BTreeSet<String> = chain
        .iter()
        .flat_map(|step| &role.of(&step.keyset.roles).keys)
        .filter_map(|key| key_id_of(key))
        .collect();
    if !known.contains(key_id) {
        let known = known.into_iter().collect();
        return Err(CeremonyError::UnknownKey { role: role.as_str(), key_id: key_id.to_owned(), known });
    }
    edit(chain, |keyset| {
        let role = role.of_mut(&mut keyset.roles);
        role.keys.retain(|key| key_id_of(key).as_deref() != Some(key_id));
        role.keys.extend_from_slice(replacement);
    })
}

/// How many keys a revocation has to bring along.
pub fn replacements_needed(chain: &[Step], role: OnlineRole, key_id: &str) -> usize {
    let missing = chain.iter().map(|step| {
        let role = role.of(&step.keyset.roles);
        let left = role.keys.iter().filter(|key| key_id_of(key).as_deref() != Some(key_id)).count();
        role.threshold.saturating_sub(left)
    });
    missing.max().unwrap_or(0)
}

/// A new epoch for an environment: whatever was signed in earlier ones counts no longer.
pub fn bump_epoch(chain: &[Step], scope: &Scope, epoch: u64, held: u64) -> Result<Vec<Step>, CeremonyError> {
    let in_force = chain.first().and_then(|step| step.keyset.min_epoch.get(&scope.to_string()).copied());
    let held = in_force.unwrap_or(1).max(held);
    if epoch <= held {
        return Err(CeremonyError::EpochTooLow { epoch, held });
    }
    edit(chain, |keyset| {
        keyset.min_epoch.insert(scope.to_string(), epoch);
    })
}

/// Another root role. Signed by old and new roots alike, so that edges with either of them take it.
pub fn rotate_roots(chain: &[Step], root: Role) -> Result<Vec<Step>, CeremonyError> {
    let mut keyset = only(chain)?.clone();
    keyset.roles.root = root;
    check_count("root", &keyset.roles.root)?;
    Ok(vec![Step { keyset, gate: Gate::AtOnce }])
}

/// The one keyset of a chain where nothing waits.
fn only(chain: &[Step]) -> Result<&Keyset, CeremonyError> {
    match chain {
        [step] => Ok(&step.keyset),
        [_, waiting, ..] => Err(CeremonyError::UnderWay { keyset_version: waiting.keyset.keyset_version }),
        [] => Err(CeremonyError::UnderWay { keyset_version: 0 }),
    }
}

/// The same edit for the keyset in force and for each that waits: what is under way goes on under new numbers.
fn edit(chain: &[Step], change: impl Fn(&mut Keyset)) -> Result<Vec<Step>, CeremonyError> {
    let mut steps: Vec<Step> = Vec::new();
    for (at, step) in chain.iter().enumerate() {
        let mut keyset = step.keyset.clone();
        change(&mut keyset);
        for role in [OnlineRole::Release, OnlineRole::Freshness] {
            check_count(role.as_str(), role.of(&keyset.roles))?;
        }
        // Without the revoked key, the second keyset of a rotation is the same as the first: nothing is left to wait for.
        let is_same = steps.last().is_some_and(|last| {
            last.keyset.roles == keyset.roles && last.keyset.min_epoch == keyset.min_epoch
        });
        if !is_same {
            steps.push(Step { keyset, gate: if at == 0 { Gate::AtOnce } else { step.gate } });
        }
    }
    Ok(steps)
}

fn check_count(role: &'static str, keys: &Role) -> Result<(), CeremonyError> {
    let count = keys.keys.len();
    if count > ROLE_KEY_COUNT_MAX { Err(CeremonyError::TooManyKeys { role, count }) } else { Ok(()) }
}

/// Numbers the steps from `version_first` on, dates them, and signs each with the given roots: first those of the
/// keyset in force, and, when it brings another root role, those too. Every envelope is verified as an edge would.
pub fn sign(
    steps: Vec<Step>,
    in_force: &Keyset,
    roots: &[PrivateKey],
    new_roots: &[PrivateKey],
    version_first: u64,
    expires_ms: UnixMillis,
) -> Result<Vec<SignedStep>, CeremonyError> {
    let mut signers = choose(in_force, roots)?;
    if let Some(step) = steps.first()
        && step.keyset.roles.root != in_force.roles.root
    {
        signers.extend(choose(&step.keyset, new_roots)?);
    }
    if signers.len() > SIGNATURE_COUNT_MAX {
        return Err(CeremonyError::TooManySignatures { count: signers.len() });
    }
    let mut signed = Vec::new();
    for (keyset_version, Step { mut keyset, gate }) in (version_first..).zip(steps) {
        keyset.keyset_version = keyset_version;
        keyset.expires_ms = expires_ms;
        let envelope = sign_keyset(&keyset, &signers)?;
        for role in [&in_force.roles.root, &keyset.roles.root] {
            verify_keyset(&envelope, &trusted(role)?).map_err(CeremonyError::Refused)?;
        }
        signed.push(SignedStep { keyset_version, envelope, gate });
    }
    Ok(signed)
}

/// The root role as a verifier is configured with it.
pub fn trusted(root: &Role) -> Result<TrustedRoots, TrustError> {
    TrustedRoots::parse(root.keys.iter().map(String::as_str), root.threshold)
}

/// As many distinct roots of a keyset as it needs; the same key twice is one.
fn choose(keyset: &Keyset, given: &[PrivateKey]) -> Result<Vec<PrivateKey>, CeremonyError> {
    let role = &keyset.roles.root;
    let mut chosen: Vec<PrivateKey> = Vec::new();
    for key in given {
        let public = key.public_base64();
        if !role.keys.contains(&public) {
            let key_id = key_id_of(&public).unwrap_or_default();
            return Err(CeremonyError::ForeignRoot { key_id, keyset_version: keyset.keyset_version });
        }
        if chosen.iter().all(|other| other.public_base64() != public) {
            chosen.push(key.clone());
        }
    }
    let (given, needed) = (chosen.len(), role.threshold);
    if given < needed {
        return Err(CeremonyError::TooFewRoots { given, needed, keyset_version: keyset.keyset_version });
    }
    chosen.truncate(needed);
    Ok(chosen)
}

#[cfg(test)]
#[path = "ceremony_tests.rs"]
mod tests;
