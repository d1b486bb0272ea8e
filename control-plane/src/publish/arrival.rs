//! The page of one change: who did what, and where the version that carries it has arrived. A change is done only when
//! every replica has stored that version or a later one.

use flagfuse_shared::ids::{SnapshotVersion, UnixMillis};
use serde::Serialize;

use super::receipts::{stale_ms, stored_by};
use super::stage_rows::waits;
use super::stage_rules::Wait;
use crate::model::fleet::Fleet;
use crate::store::audit::{self, AuditRow};
use crate::store::receipts::{AckRow, ReceiptRow, ReplicaName, acks_from, receipts};
use crate::store::scopes::EnvironmentRow;
use crate::store::{Connection, StoreError};

/// How far a change has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ArrivalState {
    /// No replica has it yet.
    Pushing,
    /// Some replicas have it.
    PartlyLive,
    /// Every replica has stored this version.
    Live,
    /// Every replica has it, some of them through a later version, which they stored before this one.
    Superseded,
}

/// One replica and the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplicaArrival {
    #[serde(flatten)]
    pub replica: ReplicaName,
    /// The version that brought it: this one or a later one.
    pub through: Option<String>,
    /// When that was stored, by the replica's clock.
    pub stored_ms: Option<UnixMillis>,
    /// When its receipt arrived here.
    pub acked_ms: Option<UnixMillis>,
    /// Milliseconds from the change to the storing.
    pub lag_ms: Option<u64>,
    /// Code of the last refusal, while it is without the change.
    pub nack_code: Option<String>,
    /// Why it refused.
    pub nack_detail: Option<String>,
    /// Why it is without the change on purpose; absent when it should have it.
    pub waiting_for_stage: Option<Wait>,
}

/// A change and where it is.
#[derive(Debug, Clone, Serialize)]
pub struct Arrival {
    /// The version that carries it.
    pub version: String,
    pub epoch: u64,
    pub seq: u64,
    /// How far it has come.
    pub state: ArrivalState,
    /// Replicas that have it.
    pub acked: usize,
    /// Replicas there are.
    pub replicas_total: usize,
    /// Slowest of those that have it, in milliseconds from the change.
    pub slowest_ms: Option<u64>,
    /// max(stored) + hard TTL, once all replicas have it.
    pub guaranteed_live_at_ms: Option<UnixMillis>,
    /// Who did what.
    pub change: AuditRow,
    /// By region and shard.
    pub replicas: Vec<ReplicaArrival>,
}

/// The page of a version; `None` when no change of the environment has it.
pub async fn arrival(
    conn: &mut Connection,
    environment: &EnvironmentRow,
    version: SnapshotVersion,
    fleet: &Fleet,
    now: UnixMillis,
) -> Result<Option<Arrival>, StoreError> {
    let scope = &environment.scope;
    let Some(change) = audit::of_version(conn, scope, version).await? else { return Ok(None) };
    let acks = acks_from(conn, scope, version).await?;
    let last = receipts(conn, scope).await?;
    let stale_ms = stale_ms(conn, environment, version).await?;
    let waits = waits(conn, environment, version, fleet, now).await?;
    // A change and its version are of the same moment.
    let created = change.at_ms;
    let arrived = |replica: ReplicaName| {
        let wait = waits.get(&replica.region);
        replica_arrival(replica, created, (&acks, &last), wait)
    };
    let replicas: Vec<_> = fleet.replicas().map(arrived).collect();
    let (state, acked) = state(&replicas, &version.to_string());
    let slowest_ms = replicas.iter().filter_map(|replica| replica.lag_ms).max();
    let is_done = matches!(state, ArrivalState::Live | ArrivalState::Superseded);
    Ok(Some(Arrival {
        version: version.to_string(),
        epoch: version.epoch,
        seq: version.seq,
        state,
        acked,
        replicas_total: replicas.len(),
        slowest_ms,
        guaranteed_live_at_ms: slowest_ms.filter(|_| is_done).map(|ms| created.plus(ms).plus(stale_ms)),
        change,
        replicas,
    }))
}

fn replica_arrival(
    replica: ReplicaName,
    created: UnixMillis,
    (acks, last): (&[AckRow], &[ReceiptRow]),
    wait: Option<&Wait>,
) -> ReplicaArrival {
    // The log begins with this version, so the first line of a replica is what brought it the change.
    let ack = acks.iter().find(|ack| ack.replica == replica);
    let nack = last
        .iter()
        .find(|receipt| receipt.replica == replica && ack.is_none())
        .and_then(|receipt| receipt.nack.clone());
    ReplicaArrival {
        replica,
        through: ack.map(|ack| ack.version.to_string()),
        stored_ms: ack.map(|ack| ack.stored_ms),
        acked_ms: ack.map(|ack| ack.acked_ms),
        lag_ms: ack.map(|ack| stored_by(ack.stored_ms, created, ack.acked_ms).since(created)),
        nack_code: nack.as_ref().map(|nack| nack.code.clone()),
        nack_detail: nack.map(|nack| nack.detail),
        waiting_for_stage: wait.filter(|_| ack.is_none()).cloned(),
    }
}

/// The state and how many have it.
fn state(replicas: &[ReplicaArrival], version: &str) -> (ArrivalState, usize) {
    let through: Vec<&str> = replicas.iter().filter_map(|replica| replica.through.as_deref()).collect();
    let state = match through.len() {
        0 => ArrivalState::Pushing,
        some if some < replicas.len() => ArrivalState::PartlyLive,
        _ if through.iter().all(|through| *through == version) => ArrivalState::Live,
        _ => ArrivalState::Superseded,
    };
    (state, through.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_done_when_every_replica_has_it_or_a_later_one() {
        for (through, expected) in [
            (&[][..], (ArrivalState::Pushing, 0)),
            (&[None, None], (ArrivalState::Pushing, 0)),
            (&[None, Some("1.7")], (ArrivalState::PartlyLive, 1)),
            (&[None, Some("1.9")], (ArrivalState::PartlyLive, 1)),
            (&[Some("1.7"), Some("1.7")], (ArrivalState::Live, 2)),
            (&[Some("1.7"), Some("1.9")], (ArrivalState::Superseded, 2)),
            (&[Some("1.8"), Some("1.9")], (ArrivalState::Superseded, 2)),
        ] {
            let replicas: Vec<_> = through
                .iter()
                .map(|through| ReplicaArrival {
                    replica: ReplicaName { region: "eu".to_owned(), shard: 0 },
                    through: through.map(str::to_owned),
                    stored_ms: None,
                    acked_ms: None,
                    lag_ms: None,
                    nack_code: None,
                    nack_detail: None,
                    waiting_for_stage: None,
                })
                .collect();
            assert_eq!(state(&replicas, "1.7"), expected, "{through:?}");
        }
    }
}
