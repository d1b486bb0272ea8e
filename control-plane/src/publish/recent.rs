//! The newest versions of an environment and how long each took to every replica.

use flagfuse_shared::ids::{SnapshotVersion, UnixMillis};

use super::receipts::{stale_ms, stored_by};
use crate::model::fleet::{Fleet, ReplicaName};
use crate::store::receipts::{AckRow, acks_from};
use crate::store::scopes::EnvironmentRow;
use crate::store::snapshots::latest_times;
use crate::store::{Connection, StoreError};

/// The newest versions and their ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    /// How old an answer may still be once all replicas have stored the newest version, in milliseconds.
    pub bound_ms: u64,
    /// By region and shard.
    pub replicas: Vec<ReplicaName>,
    /// The newest version first.
    pub versions: Vec<RecentVersion>,
}

/// One version and how long it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentVersion {
    pub version: SnapshotVersion,
    /// When it was signed.
    pub created_ms: UnixMillis,
    /// In the order of the replicas: milliseconds from then to the storing of this version or a later one; `None` where it is not
    /// yet.
    pub lags_ms: Vec<Option<u64>>,
}

impl RecentVersion {
    /// The longest of all, once every replica has it.
    pub fn everywhere_ms(&self) -> Option<u64> {
        self.lags_ms.iter().copied().collect::<Option<Vec<u64>>>()?.into_iter().max()
    }
}

/// The newest `count` versions that are kept.
pub async fn recent(
    conn: &mut Connection,
    environment: &EnvironmentRow,
    fleet: &Fleet,
    count: u32,
) -> Result<Recent, StoreError> {
    let scope = &environment.scope;
    let times = latest_times(conn, scope, count).await?;
    let acks = match times.last() {
        Some((oldest, _)) => acks_from(conn, scope, *oldest).await?,
        None => Vec::new(),
    };
    let bound_ms = stale_ms(conn, environment, environment.version).await?;
    let replicas: Vec<ReplicaName> = fleet.replicas().collect();
    let by_replica: Vec<Vec<&AckRow>> = replicas.iter().map(|replica| of_replica(&acks, replica)).collect();
    let versions = times
        .into_iter()
        .map(|(version, created_ms)| {
            let lags_ms = by_replica.iter().map(|acks| lag_ms(acks, version, created_ms)).collect();
            RecentVersion { version, created_ms, lags_ms }
        })
        .collect();
    Ok(Recent { bound_ms, replicas, versions })
}

fn of_replica<'a>(acks: &'a [AckRow], replica: &ReplicaName) -> Vec<&'a AckRow> {
    acks.iter().filter(|ack| ack.replica == *replica).collect()
}

/// How long it took until a replica, of which these are, had a version or a later one, whichever was stored first.
fn lag_ms(acks: &[&AckRow], version: SnapshotVersion, created: UnixMillis) -> Option<u64> {
    let brought = acks.iter().filter(|ack| ack.version >= version);
    brought.map(|ack| stored_by(ack.stored_ms, created, ack.acked_ms).since(created)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_there_with_the_first_that_brought_it_and_everywhere_with_the_last() {
        let name = |shard| ReplicaName { region: "eu".to_owned(), shard };
        let version = |seq| SnapshotVersion { epoch: 1, seq };
        let ack = |shard, seq, stored: u64| AckRow {
            replica: name(shard),
            version: version(seq),
            stored_ms: UnixMillis(stored),
            acked_ms: UnixMillis(stored + 5),
        };
        let acks = [ack(0, 7, 1_040), ack(0, 8, 1_300), ack(1, 8, 1_310), ack(0, 6, 900)];
        let lag = |shard, seq| lag_ms(&of_replica(&acks, &name(shard)), version(seq), UnixMillis(1_000));
        assert_eq!((lag(0, 7), lag(1, 7)), (Some(40), Some(310)), "the second one through a later version");
        assert_eq!((lag(0, 8), lag(0, 9), lag(2, 7)), (Some(300), None, None));
        let row = |lags_ms| RecentVersion { version: version(7), created_ms: UnixMillis(1_000), lags_ms };
        assert_eq!(row(vec![Some(40), Some(310)]).everywhere_ms(), Some(310));
        assert_eq!(row(vec![Some(40), None]).everywhere_ms(), None);
        assert_eq!(row(Vec::new()).everywhere_ms(), None, "nowhere is not everywhere");
    }
}
