//! The folder of keys: one file for each private key, only for its owner, and the keyset in force. Never overwrites a key.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use flagfuse_shared::limits::{KEY_FILE_LEN_MAX, KEYSET_LEN_MAX};
use flagfuse_shared::snapshot::sign::PrivateKey;
use flagfuse_shared::snapshot::verify::key_id;
use zeroize::Zeroizing;

use super::error::KeyError;
use super::format::{Cost, FormatError, Passphrase, Salt, Secret, in_clear, is_sealed, open, seal};
use crate::{private, random};

/// Name of the keyset's file.
pub const KEYSET_FILE: &str = "keyset.json";
/// Files that are looked at when keys are searched for; a folder with more is not ours.
const FILE_COUNT_MAX: usize = 1_000;

/// How new private keys are written.
#[derive(Debug, Clone)]
pub enum Protection {
    /// In clear, for development.
    Unencrypted,
    /// Sealed.
    Sealed(Passphrase),
}

impl Protection {
    /// Opens what this protection wrote.
    pub const fn passphrase(&self) -> Option<&Passphrase> {
        match self {
            Self::Unencrypted => None,
            Self::Sealed(passphrase) => Some(passphrase),
        }
    }

    /// Sealed when there is a passphrase.
    pub fn of(passphrase: Option<Passphrase>) -> Self {
        passphrase.map_or(Self::Unencrypted, Self::Sealed)
    }
}

/// A folder with keys in it.
#[derive(Debug, Clone)]
pub struct KeyFolder(PathBuf);

/// A private key that was found.
#[derive(Debug)]
pub struct KeyFile {
    pub path: PathBuf,
    pub secret: Secret,
}

impl KeyFolder {
    /// The folder of a data directory.
    pub fn of_data(data: &Path) -> Self {
        Self(data.join("keys"))
    }

    /// Any folder.
    pub fn at(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes the folder, only for its owner.
    pub fn make(&self) -> Result<(), KeyError> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.0).map_err(|source| KeyError::File { path: self.0.clone(), source })
    }

    /// Takes the keys in it from everybody but their owner. What cannot be looked at is told when keys are loaded.
    pub fn tighten(&self) {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().take(FILE_COUNT_MAX);
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "key") {
                private::tighten_or_warn(&path);
            }
        }
    }

    /// Writes a new private key.
    pub fn write_key(
        &self,
        name: &str,
        role: &str,
        secret: &Secret,
        protection: &Protection,
    ) -> Result<(), KeyError> {
        let path = self.path(name);
        if path.exists() {
            return Err(KeyError::Exists { path });
        }
        let text =
            match protection {
                Protection::Unencrypted => in_clear(secret),
                Protection::Sealed(passphrase) => {
                    let (salt, nonce) = (random::bytes_32()?, random::bytes_32()?);
                    let salt = Salt { salt: first(&salt), nonce: first(&nonce) };
                    let sealed = seal(secret, role, passphrase, Cost::RECOMMENDED, salt);
                    Zeroizing::new(sealed.ok_or_else(|| KeyError::Format {
                        path: path.clone(),
                        source: FormatError::Costly,
                    })?)
                }
            };
        write_whole(&path, text.as_bytes())
    }

    /// Reads one private key.
    pub fn read_key(
        &self,
        name: &str,
        role: &str,
        passphrase: Option<&Passphrase>,
    ) -> Result<Secret, KeyError> {
        read_key_file(&self.path(name), role, passphrase)
    }

    /// Paths of a role's keys, `role.key` and `role-….key`, by name.
    pub fn key_paths(&self, role: &str) -> Result<Vec<PathBuf>, KeyError> {
        let is_of_role = |name: &str| {
            let rest = name.strip_prefix(role).and_then(|rest| rest.strip_suffix(".key"));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let failed = |source| KeyError::File { path: self.0.clone(), source };
        let mut found = Vec::new();
        for entry in
            std::fs::read_dir(&self.0).map_err(|source| missing_or(&self.0, source))?.take(FILE_COUNT_MAX)
        {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_str().is_some_and(is_of_role) {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }

    /// The keyset's envelope.
    pub fn read_keyset(&self) -> Result<Vec<u8>, KeyError> {
        read_bounded(&self.path(KEYSET_FILE), KEYSET_LEN_MAX)
    }

    /// Replaces the keyset's envelope: after a crash the old or the new one is there.
    pub fn write_keyset(&self, envelope: &[u8]) -> Result<(), KeyError> {
        write_whole(&self.path(KEYSET_FILE), envelope)
    }
}

/// File name of a role's key: its id tells keys of one role apart, and a new one never meets an old one's name.
pub fn key_name(role: &str, key: &PrivateKey) -> String {
    format!("{role}-{}.key", key_id(&key.public_bytes()))
}

/// Reads a private key from anywhere.
pub fn read_key_file(path: &Path, role: &str, passphrase: Option<&Passphrase>) -> Result<Secret, KeyError> {
    let text = read_text(path)?;
    open(&text, role, passphrase).map_err(|source| KeyError::Format { path: path.to_owned(), source })
}

/// Whether the key in a file is sealed.
pub fn is_key_sealed(path: &Path) -> Result<bool, KeyError> {
    Ok(is_sealed(&read_text(path)?))
}

/// Permission bits of a file.
#[cfg(unix)]
pub fn mode(path: &Path) -> Result<u32, KeyError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(path).map_err(|source| missing_or(path, source))?;
    Ok(metadata.permissions().mode() & 0o777)
}

/// Without permission bits there is nothing to check.
#[cfg(not(unix))]
pub fn mode(_path: &Path) -> Result<u32, KeyError> {
    Ok(0o600)
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let bytes = Zeroizing::new(read_bounded(path, KEY_FILE_LEN_MAX)?);
    let text = std::str::from_utf8(&bytes);
    let malformed = |_| KeyError::Format { path: path.to_owned(), source: FormatError::Malformed };
    text.map(|text| Zeroizing::new(text.to_owned())).map_err(malformed)
}

fn read_bounded(path: &Path, len_max: usize) -> Result<Vec<u8>, KeyError> {
    let bytes = std::fs::read(path).map_err(|source| missing_or(path, source))?;
    if bytes.len() > len_max {
        return Err(KeyError::TooLong { path: path.to_owned(), len: bytes.len(), len_max });
    }
    Ok(bytes)
}

fn missing_or(path: &Path, source: std::io::Error) -> KeyError {
    match source.kind() {
        ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
        _ => KeyError::File { path: path.to_owned(), source },
    }
}

/// Writes beside, then renames: nobody ever reads half a file, and a crash leaves the file as it was.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let beside = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        // The name is durable when its folder is.
        path.parent().map_or(Ok(()), |dir| std::fs::File::open(dir)?.sync_all())
    });
    written.map_err(|source| KeyError::File { path: path.to_owned(), source })
}

/// The first bytes of 32.
fn first<const N: usize>(bytes: &[u8; 32]) -> [u8; N] {
    bytes.first_chunk::<N>().copied().unwrap_or([0; N])
}
