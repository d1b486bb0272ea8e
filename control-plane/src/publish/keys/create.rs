//! The first keys of an installation: root keys into a folder that is meant to be carried away, the others and the first
//! keyset into the data directory.

use std::path::{Path, PathBuf};

use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::limits::{ROOT_COUNT_MAX, SIGNATURE_COUNT_MAX};
use flagfuse_shared::snapshot::manifest::{Role, Roles};
use flagfuse_shared::snapshot::sign::{PrivateKey, sign_keyset};

use super::error::KeyError;
use super::files::{KEYSET_FILE, KeyFolder, Protection, key_name};
use super::format::Secret;
use crate::model::ceremony::first;
use crate::random;

/// Validity of the development keyset: ten years, since there is no ceremony that would renew it.
const DEVELOPMENT_VALIDITY_MS: u64 = 10 * 365 * 24 * 3_600_000;

/// How many keys a role has and how many of them have to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleSize {
    /// Keys.
    pub count: usize,
    /// Signatures.
    pub threshold: usize,
}

impl RoleSize {
    /// One key that signs alone.
    pub const ONE: Self = Self { count: 1, threshold: 1 };

    /// Refuses what no ceremony could fulfil.
    pub const fn check(self, what: &'static str) -> Result<(), KeyError> {
        let Self { count, threshold } = self;
        if count == 0
            || count > ROOT_COUNT_MAX
            || threshold == 0
            || threshold > count
            || threshold > SIGNATURE_COUNT_MAX
        {
            return Err(KeyError::Threshold { what, threshold, count, count_max: ROOT_COUNT_MAX });
        }
        Ok(())
    }
}

/// What to make.
#[derive(Debug, Clone)]
pub struct NewKeys<'d> {
    pub data: &'d Path,
    /// Where the root keys go.
    pub roots_dir: &'d Path,
    /// Root keys.
    pub root: RoleSize,
    /// Release keys.
    pub release: RoleSize,
    /// How the keys of the data directory are written.
    pub protection: &'d Protection,
    /// How the root keys are written.
    pub roots_protection: &'d Protection,
    /// When the keyset ends.
    pub expires_ms: UnixMillis,
}

/// What was made.
#[derive(Debug, Clone)]
pub struct Created {
    /// The root keys' files.
    pub root_paths: Vec<PathBuf>,
    /// What edges have to trust, base64.
    pub root_public_keys: Vec<String>,
}

/// Makes root, release, freshness and unit keys and the first keyset.
pub fn create(new: &NewKeys<'_>) -> Result<Created, KeyError> {
    new.root.check("root")?;
    new.release.check("release")?;
    let roots = KeyFolder::at(new.roots_dir);
    refuse_inside(new.data, &roots)?;
    let names = (1..=new.root.count).map(|n| format!("root-{n}.key")).collect();
    create_in(new, &roots, names)
}

/// The same for development: one root key, beside the others.
pub fn create_development(
    data: &Path,
    protection: &Protection,
    now: UnixMillis,
) -> Result<Created, KeyError> {
    let roots = KeyFolder::of_data(data);
    let new = NewKeys {
        data,
        roots_dir: roots.dir(),
        root: RoleSize::ONE,
        release: RoleSize::ONE,
        protection,
        roots_protection: protection,
        expires_ms: now.plus(DEVELOPMENT_VALIDITY_MS),
    };
    create_in(&new, &roots, vec!["root.key".to_owned()])
}

/// Draws keys of a role that exists already; their files bear their ids.
pub(super) fn draw_keys(
    folder: &KeyFolder,
    role: &str,
    count: usize,
    protection: &Protection,
) -> Result<Vec<PrivateKey>, KeyError> {
    (0..count)
        .map(|_| {
            let secret = Secret::new(random::bytes_32()?);
            let key = PrivateKey::from_seed(secret.bytes());
            folder.write_key(&key_name(role, &key), role, &secret, protection)?;
            Ok(key)
        })
        .collect()
}

/// Draws root keys into a folder of their own.
pub(super) fn draw_roots(
    folder: &KeyFolder,
    names: &[String],
    protection: &Protection,
) -> Result<Vec<PrivateKey>, KeyError> {
    folder.make()?;
    names.iter().map(|name| generate(folder, name, "root", protection)).collect()
}

/// Root keys in the data directory would lie where whatever steals the release key looks first.
pub(super) fn refuse_inside(data: &Path, roots: &KeyFolder) -> Result<(), KeyError> {
    let inside = |dir: &Path| {
        let (Ok(data), Ok(dir)) = (std::path::absolute(data), std::path::absolute(dir)) else { return true };
        dir.starts_with(data)
    };
    if inside(roots.dir()) { Err(KeyError::RootsInside { path: roots.dir().to_owned() }) } else { Ok(()) }
}

fn create_in(new: &NewKeys<'_>, roots: &KeyFolder, root_names: Vec<String>) -> Result<Created, KeyError> {
    let folder = KeyFolder::of_data(new.data);
    let release_names = match new.release.count {
        1 => vec!["release.key".to_owned()],
        count => (1..=count).map(|n| format!("release-{n}.key")).collect(),
    };
    let online = release_names.iter().map(String::as_str).chain(["freshness.key", "unit.key", KEYSET_FILE]);
    let all = online.map(|name| folder.path(name)).chain(root_names.iter().map(|name| roots.path(name)));
    if let Some(path) = all.into_iter().find(|path| path.exists()) {
        return Err(KeyError::Exists { path });
    }
    folder.make()?;
    let root_keys = draw_roots(roots, &root_names, new.roots_protection)?;
    let release: Vec<PrivateKey> = release_names
        .iter()
        .map(|name| generate(&folder, name, "release", new.protection))
        .collect::<Result<_, _>>()?;
    let freshness = generate(&folder, "freshness.key", "freshness", new.protection)?;
    generate(&folder, "unit.key", "unit", new.protection)?;
    let role = |size: RoleSize, keys: &[PrivateKey]| Role {
        threshold: size.threshold,
        keys: keys.iter().map(PrivateKey::public_base64).collect(),
    };
    let roles = Roles {
        root: role(new.root, &root_keys),
        release: role(new.release, &release),
        freshness: role(RoleSize::ONE, &[freshness]),
    };
    let root_public_keys = roles.root.keys.clone();
    let signers = root_keys.get(..new.root.threshold).unwrap_or(&root_keys);
    // Last, so that a directory with a keyset is complete.
    folder.write_keyset(&sign_keyset(&first(roles, new.expires_ms), signers)?)?;
    let root_paths = root_names.iter().map(|name| roots.path(name)).collect();
    Ok(Created { root_paths, root_public_keys })
}

fn generate(
    folder: &KeyFolder,
    name: &str,
    role: &str,
    protection: &Protection,
) -> Result<PrivateKey, KeyError> {
    let secret = Secret::new(random::bytes_32()?);
    folder.write_key(name, role, &secret, protection)?;
    Ok(PrivateKey::from_seed(secret.bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::{Passphrase, SigningKeys};
    use super::*;

    fn sealed() -> Protection {
        Protection::Sealed(Passphrase::parse("correct horse").unwrap())
    }

    #[test]
    fn keys_are_made_once_and_only_for_their_owner() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(SigningKeys::load(dir.path(), None), Err(KeyError::Missing { .. })));
        create_development(dir.path(), &Protection::Unencrypted, UnixMillis(1)).unwrap();
        let root = SigningKeys::load(dir.path(), None).unwrap().root_public_keys();
        let again = create_development(dir.path(), &Protection::Unencrypted, UnixMillis(1));
        assert!(matches!(again, Err(KeyError::Exists { .. })));
        assert_eq!(SigningKeys::load(dir.path(), None).unwrap().root_public_keys(), root);
        for name in ["root.key", "release.key", "freshness.key", "unit.key", "keyset.json"] {
            let mode = super::super::files::mode(&dir.path().join("keys").join(name)).unwrap();
            assert_eq!(mode, 0o600, "{name}");
        }
    }

    #[test]
    fn roots_lie_apart_and_sealed_keys_open_with_their_passphrase_only() {
        let (dir, away) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (data, roots_dir) = (dir.path().join("data"), away.path().join("roots"));
        let new = NewKeys {
            data: &data,
            roots_dir: &roots_dir,
            root: RoleSize { count: 3, threshold: 2 },
            release: RoleSize { count: 2, threshold: 2 },
            protection: &sealed(),
            roots_protection: &sealed(),
            expires_ms: UnixMillis(1),
        };
        let inside = NewKeys { roots_dir: &data.join("keys/roots"), ..new.clone() };
        assert!(matches!(create(&inside), Err(KeyError::RootsInside { .. })));
        let made = create(&new).unwrap();
        assert_eq!((made.root_paths.len(), made.root_public_keys.len()), (3, 3));
        assert!(
            std::fs::read_dir(data.join("keys"))
                .unwrap()
                .all(|entry| { !entry.unwrap().file_name().to_string_lossy().starts_with("root") })
        );
        let error = SigningKeys::load(&data, None).unwrap_err().to_string();
        assert!(error.contains("release-1.key is sealed"), "{error}");
        let wrong = Passphrase::parse("another horse").unwrap();
        let error = SigningKeys::load(&data, Some(wrong)).unwrap_err().to_string();
        assert!(error.contains("wrong passphrase"), "{error}");
        let keys = SigningKeys::load(&data, sealed().passphrase().cloned()).unwrap();
        assert_eq!((keys.current().release.len(), keys.current().freshness.len()), (2, 1));
        assert!(keys.unit_key().is_ok());
    }

    #[test]
    fn a_number_of_keys_that_no_ceremony_could_fulfil_is_refused() {
        for (count, threshold) in [(1, 1), (3, 2), (ROOT_COUNT_MAX, SIGNATURE_COUNT_MAX)] {
            assert!(RoleSize { count, threshold }.check("root").is_ok());
        }
        let far = (ROOT_COUNT_MAX, SIGNATURE_COUNT_MAX + 1);
        for (count, threshold) in [(0, 0), (1, 0), (1, 2), (ROOT_COUNT_MAX + 1, 1), far] {
            assert!(RoleSize { count, threshold }.check("root").is_err(), "{threshold} of {count}");
        }
    }
}
