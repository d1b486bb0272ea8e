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
