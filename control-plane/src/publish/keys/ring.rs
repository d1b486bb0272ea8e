//! What this process signs with: the private keys it could open and the keyset in force. Follows the database, which says
//! inside each transaction which keyset that is, so that no frame is signed under one that has been replaced.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use flagfuse_shared::snapshot::envelope::Envelope;
use flagfuse_shared::snapshot::manifest::Keyset;
use flagfuse_shared::snapshot::sign::PrivateKey;
use flagfuse_shared::snapshot::verify::TrustError;
use flagfuse_shared::snapshot::{TrustedRoots, verify_keyset};

use super::error::KeyError;
use super::files::{KEYSET_FILE, KeyFolder, read_key_file};
use super::format::Passphrase;
use crate::model::ceremony::{OnlineRole, trusted};
use crate::model::identity::UnitKey;
use crate::store::{Connection, keysets};

/// The keys of one data directory, opened.
pub struct SigningKeys {
    folder: KeyFolder,
    passphrase: Option<Passphrase>,
    state: RwLock<State>,
}

struct State {
    opened: Vec<OpenedKey>,
    in_force: Arc<InForce>,
}

/// A private key and where it came from.
#[derive(Debug, Clone)]
pub struct OpenedKey {
    pub role: OnlineRole,
    pub path: PathBuf,
    pub key: PrivateKey,
}

/// A keyset and as many private keys of its roles as have to sign.
#[derive(Debug)]
pub struct InForce {
    /// What it says.
    pub keyset: Keyset,
    /// Travels with every snapshot.
    pub envelope: Vec<u8>,
    /// Sign manifests.
    pub release: Vec<PrivateKey>,
    /// Sign beats.
    pub freshness: Arc<[PrivateKey]>,
}

impl InForce {
    /// Takes, of each role, the first keys of the keyset that are at hand: while a rotation is under way those are the
    /// old ones.
    fn new(keyset: Keyset, envelope: Vec<u8>, opened: &[OpenedKey]) -> Self {
        let pick = |role: OnlineRole| -> Vec<PrivateKey> {
            let listed = role.of(&keyset.roles);
            let at_hand = listed.keys.iter().filter_map(|public| {
                opened.iter().find(|own| own.role == role && own.key.public_base64() == *public)
            });
            at_hand.take(listed.threshold).map(|own| own.key.clone()).collect()
        };
        let (release, freshness) = (pick(OnlineRole::Release), pick(OnlineRole::Freshness));
        Self { keyset, envelope, release, freshness: freshness.into() }
    }

    /// Refuses when some role could not be fulfilled.
    pub fn require_signers(&self, folder: &Path) -> Result<(), KeyError> {
        for (role, found) in
            [(OnlineRole::Release, self.release.len()), (OnlineRole::Freshness, self.freshness.len())]
        {
            let needed = role.of(&self.keyset.roles).threshold;
            if found < needed {
                let (role, path) = (role.as_str(), folder.to_owned());
                let keyset_version = self.keyset.keyset_version;
                return Err(KeyError::NoSigner { keyset_version, role, needed, found, path });
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKeys({})", self.folder.dir().display())
    }
}

impl SigningKeys {
    /// Opens the private keys and reads the keyset on disk; root keys may have been taken away.
    pub fn load(data: &Path, passphrase: Option<Passphrase>) -> Result<Self, KeyError> {
        let folder = KeyFolder::of_data(data);
        let (keyset, envelope) = parse_keyset(folder.read_keyset()?, &folder.path(KEYSET_FILE))?;
        let mut opened = Vec::new();
        open_new(&folder, passphrase.as_ref(), &mut opened)?;
        let in_force = Arc::new(InForce::new(keyset, envelope, &opened));
        Ok(Self { folder, passphrase, state: RwLock::new(State { opened, in_force }) })
    }

    /// The key that hashes units.
    pub fn unit_key(&self) -> Result<UnitKey, KeyError> {
        let secret = self.folder.read_key("unit.key", "unit", self.passphrase.as_ref())?;
        Ok(UnitKey::new(*secret.bytes()))
    }

    /// Where they lie.
    pub const fn folder(&self) -> &KeyFolder {
        &self.folder
    }

    /// What they are sealed under.
    pub const fn passphrase(&self) -> Option<&Passphrase> {
        self.passphrase.as_ref()
    }

    /// The newest keyset this process knows to be in force.
    pub fn current(&self) -> Arc<InForce> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner).in_force)
    }

    /// The private keys at hand.
    pub fn opened(&self) -> Vec<OpenedKey> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).opened.clone()
    }

    /// What an edge has to trust, base64.
    pub fn root_public_keys(&self) -> Vec<String> {
        self.current().keyset.roles.root.keys.clone()
    }

    /// The same as a verifier takes it.
    pub fn trusted_roots(&self) -> Result<TrustedRoots, TrustError> {
        trusted(&self.current().keyset.roles.root)
    }

    /// Sign beats. They change with a rotation: to be asked for anew with each beat.
    pub fn freshness(&self) -> Arc<[PrivateKey]> {
        Arc::clone(&self.current().freshness)
    }

    /// The keyset in force for the transaction of `conn`, with its signers.
    ///
    /// Asked inside the transaction that publishes: whoever puts another keyset in force writes too, so one of the two
    /// comes first, and what is signed under the old keyset is committed before the new one counts.
    pub async fn in_force(&self, conn: &mut Connection) -> Result<Arc<InForce>, KeyError> {
        let known = self.current();
        let in_force = match keysets::in_force_version(conn).await? {
            Some(version) if version > known.keyset.keyset_version => {
                let envelope = keysets::envelope(conn, version).await?.unwrap_or_default();
                self.take(envelope)?
            }
            Some(_) | None => known,
        };
        in_force.require_signers(self.folder.dir())?;
        Ok(in_force)
    }

    /// Goes over to a newer keyset.
    pub fn take(&self, envelope: Vec<u8>) -> Result<Arc<InForce>, KeyError> {
        let next = Arc::new(self.with(envelope)?);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if next.keyset.keyset_version > state.in_force.keyset.keyset_version {
            state.in_force = Arc::clone(&next);
        }
        Ok(next)
    }

    /// What a keyset would be signed under, without going over to it.
    pub fn with(&self, envelope: Vec<u8>) -> Result<InForce, KeyError> {
        let (keyset, envelope) = parse_keyset(envelope, &self.folder.path(KEYSET_FILE))?;
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        Ok(InForce::new(keyset, envelope, &state.opened))
    }

    /// Opens key files that were not there before. Takes a moment for each: never call it inside a transaction.
    pub fn reload(&self) -> Result<(), KeyError> {
        let mut opened = self.opened();
        let known = opened.len();
        open_new(&self.folder, self.passphrase.as_ref(), &mut opened)?;
        if opened.len() == known {
            return Ok(());
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let InForce { keyset, envelope, .. } = &*state.in_force;
        state.in_force = Arc::new(InForce::new(keyset.clone(), envelope.clone(), &opened));
        state.opened = opened;
        Ok(())
    }
}

/// Adds the private keys of files that are not in `opened`.
fn open_new(
    folder: &KeyFolder,
    passphrase: Option<&Passphrase>,
    opened: &mut Vec<OpenedKey>,
) -> Result<(), KeyError> {
    for role in [OnlineRole::Release, OnlineRole::Freshness] {
        for path in folder.key_paths(role.as_str())? {
            if opened.iter().any(|own| own.path == path) {
                continue;
            }
            let secret = read_key_file(&path, role.as_str(), passphrase)?;
            opened.push(OpenedKey { role, path, key: PrivateKey::from_seed(secret.bytes()) });
        }
    }
    Ok(())
}

/// A keyset of this data directory, checked against the root role that it names itself: whoever can write here could
/// replace both. What edges trust is not for this directory to say.
pub(super) fn parse_keyset(envelope: Vec<u8>, path: &Path) -> Result<(Keyset, Vec<u8>), KeyError> {
    let fault = |detail: String| KeyError::Keyset { path: path.to_owned(), detail };
    let body = Envelope::parse(&envelope)
        .and_then(|envelope| envelope.payload_bytes())
        .map_err(|refusal| fault(refusal.detail))?;
    let claimed: Keyset = serde_json::from_slice(&body).map_err(|e| fault(e.to_string()))?;
    let roots = trusted(&claimed.roles.root).map_err(|e| fault(e.to_string()))?;
    let keyset = verify_keyset(&envelope, &roots).map_err(|refusal| fault(refusal.to_string()))?;
    Ok((keyset, envelope))
}
