//! When tokens and sessions were used last: kept in memory and written now and then, so that no request writes for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::UnixMillis;

use crate::store::{Lock, Store, StoreError, sessions, tokens};

/// What was used since it was written last. Only what is valid comes here, so there is no more of it than rows.
#[derive(Debug, Default)]
pub struct Uses {
    unwritten: Mutex<Unwritten>,
}

#[derive(Debug, Default)]
struct Unwritten {
    tokens: BTreeMap<Digest, UnixMillis>,
    sessions: BTreeMap<Digest, UnixMillis>,
}

impl Uses {
    fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_token(&self, secret: Digest, now: UnixMillis) {
        self.unwritten().tokens.insert(secret, now);
    }

    pub(super) fn note_session(&self, secret: Digest, now: UnixMillis) {
        self.unwritten().sessions.insert(secret, now);
    }

    /// When a session was used last, if that is not written yet.
    pub(super) fn last_of_session(&self, secret: &Digest) -> Option<UnixMillis> {
        self.unwritten().sessions.get(secret).copied()
    }

    /// Writes what is not written yet, in one transaction; how much. What cannot be written is forgotten: it comes again with
    /// the next use.
    pub async fn write(&self, store: &Store) -> Result<usize, StoreError> {
        let Unwritten { tokens, sessions } = std::mem::take(&mut *self.unwritten());
        if tokens.is_empty() && sessions.is_empty() {
            return Ok(0);
        }
        let mut tx = store.write_patiently(Lock::Housekeeping).await?;
        for (secret, used_ms) in &tokens {
            tokens::note_use(&mut tx, secret, *used_ms).await?;
        }
        for (secret, used_ms) in &sessions {
            sessions::note_use(&mut tx, secret, *used_ms).await?;
        }
        tx.commit().await?;
        Ok(tokens.len() + sessions.len())
    }
}
