//! The installation's keys on disk: made once by `init`, read by `serve`. Never sends a private key anywhere.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use flagfuse_shared::digest::{Digest, hex};
use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::snapshot::envelope::Envelope;
use flagfuse_shared::snapshot::manifest::{Keyset, Role, Roles};
use flagfuse_shared::snapshot::sign::{PrivateKey, SignError, sign_keyset};

use crate::ingest::identity::UnitKey;
use crate::random;

/// Validity of the development keyset: ten years, since there is no ceremony that would renew it.
const KEYSET_VALIDITY_MS: u64 = 10 * 365 * 24 * 3_600_000;

/// What is needed to sign snapshots.
#[derive(Debug)]
pub struct SigningKeys {
    release: [PrivateKey; 1],
    keyset_envelope: Vec<u8>,
    keyset_version: u64,
    root_public_keys: Vec<String>,
}

/// Why keys cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// They exist: overwriting them would lock every edge out.
    #[error("{path} exists already: this directory is initialised, nothing was changed")]
    Exists {
        /// The file found.
        path: PathBuf,
    },
    /// They do not exist.
    #[error("{path} does not exist; `flagfuse init --data DIR` creates the keys")]
    Missing {
        /// The file looked for.
        path: PathBuf,
    },
    /// The file system.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No key inside.
    #[error("{path} must hold 64 lowercase hexadecimal digits")]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// No keyset inside.
    #[error("{path} holds no signed keyset: {detail}")]
    Keyset {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The keyset could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The system gave no random bytes.
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// Makes root, release, freshness and unit keys and a keyset signed by the 1-of-1 development root.
pub fn create(data: &Path, now: UnixMillis) -> Result<(), KeyError> {
    let dir = data.join("keys");
    let path = |name: &str| dir.join(name);
    for name in ["root.key", "release.key", "keyset.json"] {
        if path(name).exists() {
            return Err(KeyError::Exists { path: path(name) });
        }
    }
    std::fs::create_dir_all(&dir).map_err(|source| KeyError::File { path: dir.clone(), source })?;
    let draw = |name: &str| {
        let seed = random::bytes_32()?;
        write_private(&path(name), hex(&seed).as_bytes())?;
        Ok::<_, KeyError>(PrivateKey::from_seed(&seed))
    };
    let (root, release, freshness) = (draw("root.key")?, draw("release.key")?, draw("freshness.key")?);
    write_private(&path("unit.key"), hex(&random::bytes_32()?).as_bytes())?;
    let role = |key: &PrivateKey| Role { threshold: 1, keys: vec![key.public_base64()] };
    let keyset = Keyset {
        keyset_version: 1,
        expires_ms: now.plus(KEYSET_VALIDITY_MS),
        roles: Roles { root: role(&root), release: role(&release), freshness: role(&freshness) },
        min_epoch: BTreeMap::new(),
    };
    // Last, so that a directory with a keyset is complete.
    write_private(&path("keyset.json"), &sign_keyset(&keyset, &[root])?)
}

impl SigningKeys {
    /// Reads the release key and the signed keyset; the root key may have been taken away.
    pub fn load(data: &Path) -> Result<Self, KeyError> {
        let dir = data.join("keys");
        let release = PrivateKey::from_seed(&read_key(&dir.join("release.key"))?);
        let path = dir.join("keyset.json");
        let keyset_envelope = read(&path)?;
        let fault = |detail: String| KeyError::Keyset { path: path.clone(), detail };
        let body = Envelope::parse(&keyset_envelope)
            .and_then(|envelope| envelope.payload_bytes())
            .map_err(|refusal| fault(refusal.detail))?;
        let keyset: Keyset = serde_json::from_slice(&body).map_err(|e| fault(e.to_string()))?;
        if !keyset.roles.release.keys.contains(&release.public_base64()) {
            return Err(fault("it does not list the key in release.key".to_owned()));
        }
        Ok(Self {
            release: [release],
            keyset_envelope,
            keyset_version: keyset.keyset_version,
            root_public_keys: keyset.roles.root.keys,
        })
    }

    /// Signs manifests.
    pub const fn release(&self) -> &[PrivateKey] {
        &self.release
    }

    /// Travels with every snapshot.
    pub fn keyset_envelope(&self) -> &[u8] {
        &self.keyset_envelope
    }

    /// Version of that keyset.
    pub const fn keyset_version(&self) -> u64 {
        self.keyset_version
    }

    /// What an edge has to trust, base64.
    pub fn root_public_keys(&self) -> &[String] {
        &self.root_public_keys
    }
}

/// Reads the key that hashes units.
pub fn load_unit_key(data: &Path) -> Result<UnitKey, KeyError> {
    Ok(UnitKey::new(read_key(&data.join("keys").join("unit.key"))?))
}

fn read_key(path: &Path) -> Result<[u8; 32], KeyError> {
    let text = String::from_utf8_lossy(&read(path)?).trim().to_owned();
    // 32 bytes in hexadecimal have the spelling of a digest.
    let bytes = Digest::parse(&text).map_err(|_| KeyError::Malformed { path: path.to_owned() })?;
    Ok(*bytes.as_bytes())
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    std::fs::read(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
        _ => KeyError::File { path: path.to_owned(), source },
    })
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
        _ => KeyError::File { path: path.to_owned(), source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_only_for_their_owner() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(SigningKeys::load(dir.path()), Err(KeyError::Missing { .. })));
        create(dir.path(), UnixMillis(1)).unwrap();
        let root = SigningKeys::load(dir.path()).unwrap().root_public_keys().to_vec();
        assert!(matches!(create(dir.path(), UnixMillis(1)), Err(KeyError::Exists { .. })));
        assert_eq!(SigningKeys::load(dir.path()).unwrap().root_public_keys(), root);
        #[cfg(unix)]
        for name in ["root.key", "release.key", "freshness.key", "unit.key"] {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(dir.path().join("keys").join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}
