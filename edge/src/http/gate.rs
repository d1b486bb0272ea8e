//! What lets a request through to a snapshot: client key, minimum version, environment, snapshot, key admitted. Pure: it waits
//! for nothing and is told the time.
//!
//! Both ways go through it: the short one (`direct`) takes what memory can answer at once, the long one (`session`) waits
//! in between for a replica's word.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, TenantKey, UnixMillis};

use crate::error::EdgeError;
use crate::http::request::RequestHead;
use crate::snapshot::credential::Credential;
use crate::snapshot::memory::Memory;
use crate::snapshot::served::{GateOutcome, Wish};

/// An environment, and what is shown to open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub scope: Scope,
    /// A well-formed key, or an authentic stream token.
    pub shown: Credential,
}

impl Claim {
    /// What a request with a client key claims of a tenant.
    pub fn of(
        head: &RequestHead,
        tenant: &TenantKey,
        digest_of: impl FnOnce(&str) -> Digest,
    ) -> Result<Self, EdgeError> {
        let key = head.client_key()?;
        let shown = Credential::Key(digest_of(&key.text));
        let scope = Scope { tenant: tenant.clone(), project: key.project, environment: key.environment };
        Ok(Self { scope, shown })
    }
}

/// What a client knows of newer snapshots. To be read once its key is known to be good.
pub fn wish(head: &RequestHead) -> Result<Wish, EdgeError> {
    Ok(Wish { version_min: head.version_min()?, is_stray: head.is_told_of_unknown() })
}

/// Lets a request through that memory knows enough of; an error when it has to go the long way.
pub fn pass(
    head: &RequestHead,
    tenant: &TenantKey,
    digest_of: impl FnOnce(&str) -> Digest,
    memory: &Memory,
    now: UnixMillis,
) -> Result<(Claim, GateOutcome), EdgeError> {
    let claim = Claim::of(head, tenant, digest_of)?;
    let outcome = memory.pass(&claim.scope, &claim.shown, wish(head)?, now)?;
    Ok((claim, outcome))
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
