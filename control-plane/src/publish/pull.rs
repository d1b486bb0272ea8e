//! The answer to a replica that pulls: frames newer than what it holds, then a beat. Acknowledges nothing.

use flagfuse_shared::contract::replica::{PlaneMessage, PullRequest, encode_messages};
use flagfuse_shared::ids::{Scope, TenantKey, UnixMillis};
use flagfuse_shared::limits::{PULL_LEN_MAX, REPLICA_ENVIRONMENT_COUNT_MAX};
use flagfuse_shared::snapshot::sign::SignError;

use super::Publisher;
use super::target::target;
use crate::model::fleet::Fleet;
use crate::store::{Connection, StoreError, snapshots};

/// Why a pull is not answered.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Nobody of that name is known here.
    #[error(
        "region {region:?} shard {shard} is not a replica of this installation; there are regions {known} with shards 0 to {shard_max}"
    )]
    UnknownReplica {
        /// Region that was named.
        region: String,
        /// Shard that was named.
        shard: u16,
        /// Regions there are.
        known: String,
        /// Highest shard.
        shard_max: u16,
    },
    /// More than a replica may hold.
    #[error("held names {count} environments, the limit is {REPLICA_ENVIRONMENT_COUNT_MAX}")]
    TooMany {
        /// Environments named.
        count: usize,
    },
    /// Not `tenant/project/environment`.
    #[error("held names {scope:?}: {reason}")]
    Scope {
        scope: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody else's environment.
    #[error("held names {scope}, the token is for tenant {tenant}")]
    WrongTenant {
        scope: String,
        /// Tenant of the token.
        tenant: TenantKey,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The beat could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Messages for what is newer than `request` holds: the urgent first, as many as fit, and a beat. The beat vouches for
/// everything that should be held, so it vouches for nothing when something did not fit.
pub async fn answer(
    conn: &mut Connection,
    publisher: &Publisher,
    fleet: &Fleet,
    tenant: &TenantKey,
    request: &PullRequest,
    now: UnixMillis,
) -> Result<Vec<u8>, PullError> {
    check(fleet, tenant, request)?;
    let target = target(conn, tenant, fleet, &request.region, now).await?;
    let mut bytes = Vec::new();
    for (scope, wanted, urgency) in target.missing(&request.held) {
        let Ok(scope) = Scope::parse(scope) else { continue };
        // Never missing where `conn` has a view of one moment; a newer one is there otherwise, for the next pull.
        let Some(frame) = snapshots::frame(conn, &scope, wanted.held.version()).await? else { continue };
        let message = encode_messages([PlaneMessage::Publish { scope, urgency, frame: &frame }]);
        if bytes.len() + message.len() > PULL_LEN_MAX {
            break;
        }
        bytes.extend_from_slice(&message);
    }
    let beat = publisher.issuer().pull_beat(target.claim(), now, &publisher.keys().freshness())?;
    bytes.extend_from_slice(&encode_messages([PlaneMessage::Beat(&beat)]));
    Ok(bytes)
}

fn check(fleet: &Fleet, tenant: &TenantKey, request: &PullRequest) -> Result<(), PullError> {
    let PullRequest { region, shard, held } = request;
    if !fleet.regions.contains(region) || *shard >= fleet.shards {
        return Err(PullError::UnknownReplica {
            region: region.clone(),
            shard: *shard,
            known: fleet.regions.join(", "),
            shard_max: fleet.shards.saturating_sub(1),
        });
    }
    if held.len() > REPLICA_ENVIRONMENT_COUNT_MAX {
        return Err(PullError::TooMany { count: held.len() });
    }
    for name in held.keys() {
        let scope = Scope::parse(name)
            .map_err(|error| PullError::Scope { scope: name.clone(), reason: error.to_string() })?;
        if scope.tenant != *tenant {
            return Err(PullError::WrongTenant { scope: name.clone(), tenant: tenant.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use flagfuse_shared::contract::replica::{HeldMap, HeldVersion};
    use flagfuse_shared::digest::Digest;

    use super::*;

    /// A number for each variant: one that is new does not compile before it is here.
    const fn number(error: &PullError) -> usize {
        match error {
            PullError::UnknownReplica { .. } => 0,
            PullError::TooMany { .. } => 1,
            PullError::Scope { .. } => 2,
            PullError::WrongTenant { .. } => 3,
            // These are no request's fault.
            PullError::Store(_) | PullError::Sign(_) => 4,
        }
    }

    fn request(region: &str, shard: u16, held: &[&str]) -> PullRequest {
        let held_version = HeldVersion { epoch: 1, seq: 1, digest: Digest::of(b"x") };
        let held: HeldMap = held.iter().map(|scope| ((*scope).to_owned(), held_version)).collect();
        PullRequest { region: region.to_owned(), shard, held }
    }

    #[test]
    fn a_request_is_refused_for_what_it_names() {
        let fleet = Fleet { regions: vec!["eu".to_owned(), "us".to_owned()], shards: 2 };
        let tenant = TenantKey::parse("t").unwrap();
        let names = |count: usize| (0..count).map(|n| format!("t/p/e{n}")).collect::<Vec<_>>();
        let most = names(REPLICA_ENVIRONMENT_COUNT_MAX);
        let most: Vec<&str> = most.iter().map(String::as_str).collect();
        let more: Vec<&str> = most.iter().copied().chain(["t/p/one-more"]).collect();
        assert!(check(&fleet, &tenant, &request("us", 1, &most)).is_ok());
        let mut found = BTreeSet::new();
        for (request, words) in [
            (
                request("asia", 0, &[]),
                "region \"asia\" shard 0 is not a replica of this installation; there are regions eu, us",
            ),
            (request("eu", 2, &[]), "with shards 0 to 1"),
            (request("eu", 1, &more), "held names 1001 environments, the limit is 1000"),
            (request("eu", 1, &["t/p"]), "held names \"t/p\": "),
            (request("eu", 1, &["other/p/e"]), "held names other/p/e, the token is for tenant t"),
        ] {
            let fault = check(&fleet, &tenant, &request).unwrap_err();
            found.insert(number(&fault));
            assert!(fault.to_string().contains(words), "{fault}");
        }
        assert_eq!(found, (0..4).collect());
    }
}
