//! Holding a ceremony over a data directory: root keys come in, the next keysets and new private keys are written, and the
//! roots can leave again. What becomes of the keysets is the rotation's business.

use std::path::PathBuf;

use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::snapshot::manifest::Role;
use flagfuse_shared::snapshot::sign::PrivateKey;

use super::create::{RoleSize, draw_keys, draw_roots, refuse_inside};
use super::error::KeyError;
use super::files::{KEYSET_FILE, KeyFolder, Protection, read_key_file};
use super::format::Passphrase;
use super::ring::{SigningKeys, parse_keyset};
use crate::model::ceremony::{
    CeremonyError, OnlineRole, SignedStep, Step, bump_epoch, replacements_needed, revoke, rotate,
    rotate_roots, sign,
};
use crate::store::forks::ForkRow;
use crate::store::keysets::{self, KeysetRow};
use crate::store::{Connection, Lock, Store, StoreError, forks, scopes};

/// What a ceremony is held with.
#[derive(Debug)]
pub struct Ceremony<'k> {
    pub keys: &'k SigningKeys,
    pub store: &'k Store,
    /// Root keys that are present.
    pub roots: Vec<PrivateKey>,
    /// How long the new keysets are valid.
    pub validity_ms: u64,
    /// A number for the first new keyset, where replicas hold one that this directory has forgotten.
    pub version_min: u64,
    /// Now.
    pub now: UnixMillis,
}

/// Reads root keys from files, each with its own passphrase, or all with one.
pub fn read_roots(paths: &[PathBuf], passphrases: &[Passphrase]) -> Result<Vec<PrivateKey>, KeyError> {
    let passphrase = |at: usize| passphrases.get(at).or_else(|| passphrases.first());
    let read = |(at, path): (usize, &PathBuf)| {
        let secret = read_key_file(path, "root", passphrase(at))?;
        Ok(PrivateKey::from_seed(secret.bytes()))
    };
    paths.iter().enumerate().map(read).collect()
}

impl Ceremony<'_> {
    /// Rotates the release or the freshness keys: as many new ones as the role has.
    pub async fn rotate(&self, role: OnlineRole) -> Result<Vec<SignedStep>, KeyError> {
        let chain = self.chain().await?;
        let count = chain.first().map_or(1, |step| role.of(&step.keyset.roles).keys.len());
        // Checked before anything is written, with a placeholder for what is to be generated.
        rotate(&chain, role, &[])?;
        self.check_roots(&chain)?;
        let new = self.generate(role, count)?;
        self.finish(&chain, rotate(&chain, role, &new)?, &[]).await
    }

    /// Takes a key away at once.
    pub async fn revoke(&self, role: OnlineRole, key_id: &str) -> Result<Vec<SignedStep>, KeyError> {
        let chain = self.chain().await?;
        revoke(&chain, role, key_id, &[])?;
        self.check_roots(&chain)?;
        let new = self.generate(role, replacements_needed(&chain, role, key_id))?;
        self.finish(&chain, revoke(&chain, role, key_id, &new)?, &[]).await
    }

    /// Begins a new epoch of an environment, above everything that is known of it; the epoch and its keysets.
    pub async fn bump_epoch(&self, scope: &Scope) -> Result<(u64, Vec<SignedStep>), KeyError> {
        let chain = self.chain().await?;
        let held = epoch_known(&mut *self.store.read().await?, &chain, scope).await?;
        let epoch = held.saturating_add(1);
        let steps = self.finish(&chain, bump_epoch(&chain, scope, epoch, held)?, &[]).await?;
        Ok((epoch, steps))
    }

    /// Draws other root keys into `folder` and names them in a keyset that old and new roots sign.
    pub async fn rotate_roots(
        &self,
        data: &std::path::Path,
        folder: &KeyFolder,
        size: RoleSize,
        protection: &Protection,
    ) -> Result<(Role, Vec<SignedStep>), KeyError> {
        size.check("root")?;
        refuse_inside(data, folder)?;
        let chain = self.chain().await?;
        let none = Role { threshold: size.threshold, keys: Vec::new() };
        rotate_roots(&chain, none)?;
        self.check_roots(&chain)?;
        let version = chain.first().map_or(0, |step| step.keyset.keyset_version);
        let names: Vec<String> = (1..=size.count).map(|n| format!("root-after-{version}-{n}.key")).collect();
        let new = draw_roots(folder, &names, protection)?;
        let role =
            Role { threshold: size.threshold, keys: new.iter().map(PrivateKey::public_base64).collect() };
        let signed = self.finish(&chain, rotate_roots(&chain, role.clone())?, &new).await?;
        Ok((role, signed))
    }

    /// The keyset in force and those that wait.
    async fn chain(&self) -> Result<Vec<Step>, KeyError> {
        chain(&mut *self.store.read().await?, self.keys).await
    }

    /// Before anything is generated: signing what is in force needs the same roots as signing what comes.
    fn check_roots(&self, chain: &[Step]) -> Result<(), KeyError> {
        let Some(base) = chain.first() else { return Ok(()) };
        sign(vec![base.clone()], &base.keyset, &self.roots, &[], 1, self.now)?;
        Ok(())
    }

    fn generate(&self, role: OnlineRole, count: usize) -> Result<Vec<String>, KeyError> {
        let protection = Protection::of(self.keys.passphrase().cloned());
        let new = draw_keys(self.keys.folder(), role.as_str(), count, &protection)?;
        Ok(new.iter().map(PrivateKey::public_base64).collect())
    }

    /// Signs the steps and lets them wait for their turn. A crash before the commit leaves key files that no keyset
    /// names; the next ceremony generates others.
    async fn finish(
        &self,
        chain: &[Step],
        steps: Vec<Step>,
        new_roots: &[PrivateKey],
    ) -> Result<Vec<SignedStep>, KeyError> {
        let base = chain
            .first()
            .map(|step| step.keyset.clone())
            .ok_or(CeremonyError::UnderWay { keyset_version: 0 })?;
        let mut tx = self.store.write(Lock::Keys).await?;
        let newest = keysets::newest_version(&mut tx).await?;
        let seen = chain.last().map_or(0, |step| step.keyset.keyset_version);
        if newest != seen {
            return Err(KeyError::Overtaken { found: newest });
        }
        let version_first = newest.saturating_add(1).max(self.version_min);
        let expires_ms = self.now.plus(self.validity_ms);
        let signed = sign(steps, &base, &self.roots, new_roots, version_first, expires_ms)?;
        keysets::drop_waiting(&mut tx).await?;
        for step in &signed {
            let row = KeysetRow { step: step.clone(), created_ms: self.now, in_force_ms: None };
            keysets::insert(&mut tx, &row).await?;
        }
        tx.commit().await?;
        Ok(signed)
    }
}

/// The keyset in force and those that wait, parsed.
pub async fn chain(conn: &mut Connection, keys: &SigningKeys) -> Result<Vec<Step>, KeyError> {
    let path = keys.folder().path(KEYSET_FILE);
    let rows = keysets::chain(conn).await?;
    rows.into_iter()
        .map(|row| {
            let (keyset, _) = parse_keyset(row.step.envelope, &path)?;
            Ok(Step { keyset, gate: row.step.gate })
        })
        .collect()
}

/// The highest epoch of an environment that anybody is known to hold.
async fn epoch_known(conn: &mut Connection, chain: &[Step], scope: &Scope) -> Result<u64, StoreError> {
    let own = scopes::environment_or_deleted(conn, scope).await?.map_or(1, |row| row.version.epoch);
    let held = forks::of_environment(conn, scope).await?;
    let held = held.iter().filter_map(ForkRow::version).map(|version| version.epoch);
    let lowest = chain.iter().filter_map(|step| step.keyset.min_epoch.get(&scope.to_string()).copied());
    Ok(held.chain(lowest).fold(own, u64::max))
}
