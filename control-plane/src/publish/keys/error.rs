//! Why keys cannot be made, read or used. Names files and key ids, never a secret.

use std::path::PathBuf;

use flagfuse_shared::snapshot::sign::SignError;
use flagfuse_shared::snapshot::verify::TrustError;

use super::format::FormatError;
use crate::model::ceremony::CeremonyError;
use crate::store::StoreError;

/// Why keys cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// They exist: overwriting them would lock every edge out.
    #[error("{path} exists already: this directory is initialised, nothing was changed")]
    Exists {
        /// The file found.
        path: PathBuf,
    },
    /// They do not exist.
    #[error("{path} does not exist; `flagfuse init` or `flagfuse keys init` creates the keys")]
    Missing {
        /// The file looked for.
        path: PathBuf,
    },
    /// The file system.
    #[error("{path}: {source}")]
    File {
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file gives no key.
    #[error("{path} {source}")]
    Format { path: PathBuf, source: FormatError },
    /// The file is longer than any key.
    #[error("{path} has {len} bytes, a key's file has at most {len_max}")]
    TooLong {
        path: PathBuf,
        /// Bytes found.
        len: usize,
        /// Bytes allowed.
        len_max: usize,
    },
    /// A database of another installation, or a directory that was made anew.
    #[error(
        "the database was signed for with other keys than those in {path} (both have a keyset {keyset_version}): give the \
         data directory that belongs to the database"
    )]
    OtherKeys {
        /// The directory of the keys.
        path: PathBuf,
        /// The keyset that differs.
        keyset_version: u64,
    },
    /// No keyset inside.
    #[error("{path} holds no signed keyset: {detail}")]
    Keyset {
        /// Which file or row.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The private keys that the keyset asks for are not there.
    #[error(
        "keyset {keyset_version} needs {needed} of its {role} keys to sign, {found} of them lie in {path}"
    )]
    NoSigner {
        keyset_version: u64,
        role: &'static str,
        needed: usize,
        /// Private keys found.
        found: usize,
        /// Where was looked.
        path: PathBuf,
    },
    /// Root keys beside what they protect are no offline keys.
    #[error("{path} lies in the data directory: root keys belong elsewhere, --roots-dir DIR says where")]
    RootsInside {
        /// The directory given.
        path: PathBuf,
    },
    /// A number of roots or of keys that makes no sense.
    #[error("{what} is {threshold} of {count}; allowed is 1 to {count} of 1 to {count_max}")]
    Threshold {
        what: &'static str,
        /// Signatures asked for.
        threshold: usize,
        /// Keys asked for.
        count: usize,
        /// Keys allowed.
        count_max: usize,
    },
    /// The ceremony came to nothing.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// The keyset could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A root role that nobody can trust.
    #[error(transparent)]
    Roots(#[from] TrustError),
    /// The system gave no random bytes.
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keyset in force changed while the next ones were signed.
    #[error(
        "another ceremony was held meanwhile: keyset {found} is there now; nothing was changed, try again"
    )]
    Overtaken {
        /// The newest keyset.
        found: u64,
    },
}
