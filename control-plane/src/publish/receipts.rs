//! Where the newest version is live: what the replicas confirmed, and from when on no isolate answers with an older one.

use std::collections::BTreeMap;

use flagfuse_shared::contract::replica::{HeldVersion, Urgency};
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use serde::Serialize;

use super::edges;
use super::stage_rows::waits;
use super::stage_rules::Wait;
use crate::model::fleet::Fleet;
use crate::store::receipts::{ReceiptRow, ReplicaName, receipts};
use crate::store::scopes::EnvironmentRow;
use crate::store::snapshots::{SignedRow, newest_signed, stale_ms_max};
use crate::store::{Connection, StoreError, buffers};

/// One replica's state.
#[derive(Debug, Clone, Serialize)]
pub struct ReplicaState {
    #[serde(flatten)]
    pub replica: ReplicaName,
    /// Whether it holds exactly the newest version.
    pub is_acked: bool,
    /// Version it holds.
    pub version: Option<String>,
    /// Digest of that manifest.
    pub digest: Option<String>,
    /// Version of the keyset that came with it.
    pub keyset_version: Option<u64>,
    /// When it was stored, by the replica's clock.
    pub stored_ms: Option<UnixMillis>,
    /// When its receipt arrived here.
    pub acked_ms: Option<UnixMillis>,
    /// Milliseconds from signing to storing, when it holds the newest version.
    pub lag_ms: Option<u64>,
    /// Code of its last refusal, until the next receipt.
    pub nack_code: Option<String>,
    /// Why it refused.
    pub nack_detail: Option<String>,
    /// When it refused.
    pub nack_ms: Option<UnixMillis>,
    /// The snapshot reader that it is; absent when it does not say, or was not connected for some minutes.
    pub reader: Option<u32>,
    /// Formats of batches that its buffers write.
    pub formats: Vec<u32>,
    /// Why it is without the newest version on purpose; absent when it should have it.
    pub waiting_for_stage: Option<Wait>,
}

/// One region's state.
#[derive(Debug, Clone, Serialize)]
pub struct RegionState {
    pub region: String,
    /// Replicas that stored the newest version.
    pub acked: usize,
    /// Replicas there are.
    pub replicas_total: usize,
    /// Slowest of those that stored it, in milliseconds from signing.
    pub lag_ms: Option<u64>,
    /// Code of a refusal, until the next receipt.
    pub nack_code: Option<String>,
    /// Why it was refused.
    pub nack_detail: Option<String>,
    /// What the oldest of its edges counts as that was connected lately.
    pub oldest_reader: Option<u32>,
    /// The reader that the environment's batches from there named, the oldest of them.
    pub batch_reader: Option<u32>,
    /// The format of those batches, the oldest.
    pub batch_format: Option<u32>,
    /// Why it is without the newest version on purpose; absent when it should have it.
    pub waiting_for_stage: Option<Wait>,
}

/// State of an environment's newest version.
#[derive(Debug, Clone, Serialize)]
pub struct Propagation {
    /// Newest version.
    pub version: String,
    pub epoch: u64,
    pub seq: u64,
    /// When it was signed.
    pub created_ms: Option<UnixMillis>,
    /// How soon clients are told.
    pub urgency: Option<Urgency>,
    /// Regions whose replicas have all stored it.
    pub acked: usize,
    /// Regions there are.
    pub regions_total: usize,
    /// Replicas that stored it.
    pub replicas_acked: usize,
    /// Replicas there are.
    pub replicas_total: usize,
    /// Slowest of those that stored it, in milliseconds from signing.
    pub slowest_ms: Option<u64>,
    /// max(stored) + hard TTL, once all replicas stored it.
    pub guaranteed_live_at_ms: Option<UnixMillis>,
    /// The reader that this version was lowered to, so that a kill reached every edge; absent when it is whole.
    pub lowered_to: Option<u32>,
    /// By region.
    pub regions: Vec<RegionState>,
    /// By region and shard.
    pub replicas: Vec<ReplicaState>,
}

/// Propagation of an environment's newest version over the replicas there should be.
pub async fn propagation(
    conn: &mut Connection,
    environment: &EnvironmentRow,
    fleet: &Fleet,
    now: UnixMillis,
) -> Result<Propagation, StoreError> {
    let newest = newest_signed(conn, &environment.scope).await?;
    let known = receipts(conn, &environment.scope).await?;
    let stale_ms = stale_ms(conn, environment, environment.version).await?;
    let waits = waits(conn, environment, environment.version, fleet, now).await?;
    let mut found = summarise(environment.version, newest, (&known, &waits), fleet, stale_ms);
    found.lowered_to = environment.lowered_to;
    tell_versions(conn, &environment.scope, &mut found, now).await?;
    Ok(found)
}

/// How old an answer may be once `version` is stored: an isolate goes by the bound of the version that it still has.
pub(super) async fn stale_ms(
    conn: &mut Connection,
    environment: &EnvironmentRow,
    version: SnapshotVersion,
) -> Result<u64, StoreError> {
    let earlier = stale_ms_max(conn, &environment.scope, version).await?;
    Ok(earlier.unwrap_or(0).max(environment.settings.profile.bounds_ms().1))
}

/// When a replica stored, by our clock: its own word, unless that lies outside of what is possible, because its clock is
/// wrong. Then the latest that is possible.
pub(super) fn stored_by(stored: UnixMillis, created: UnixMillis, acked: UnixMillis) -> UnixMillis {
    if created <= stored && stored <= acked { stored } else { acked.max(created) }
}

fn summarise(
    version: SnapshotVersion,
    newest: Option<SignedRow>,
    (known, waits): (&[ReceiptRow], &BTreeMap<String, Wait>),
    fleet: &Fleet,
    stale_ms: u64,
) -> Propagation {
    // A replica that left the configuration no longer serves anybody, so it is not among these.
    let replicas: Vec<(ReplicaState, Option<UnixMillis>)> = fleet
        .replicas()
        .map(|replica| {
            let receipt = known.iter().find(|receipt| receipt.replica == replica);
            let wait = waits.get(&replica.region);
            state(replica, receipt, newest, wait)
        })
        .collect();
    let stored: Vec<UnixMillis> = replicas.iter().filter_map(|(_, stored)| *stored).collect();
    let (replicas_acked, replicas_total) = (stored.len(), replicas.len());
    let is_complete = replicas_total > 0 && replicas_acked == replicas_total;
    let latest = stored.into_iter().max();
    let replicas: Vec<ReplicaState> = replicas.into_iter().map(|(state, _)| state).collect();
    let regions: Vec<RegionState> =
        fleet.regions.iter().map(|region| region_state(region, &replicas, waits.get(region))).collect();
    let created_ms = newest.map(|newest| newest.created_ms);
    Propagation {
        version: version.to_string(),
        epoch: version.epoch,
        seq: version.seq,
        created_ms,
        urgency: newest.map(|newest| newest.urgency),
        acked: regions.iter().filter(|region| region.acked == region.replicas_total).count(),
        regions_total: regions.len(),
        replicas_acked,
        replicas_total,
        slowest_ms: latest.zip(created_ms).map(|(stored, created)| stored.since(created)),
        guaranteed_live_at_ms: latest.filter(|_| is_complete).map(|stored| stored.plus(stale_ms)),
        lowered_to: None,
        regions,
        replicas,
    }
}

/// Fills in what the edges said of themselves lately.
async fn tell_versions(
    conn: &mut Connection,
    scope: &Scope,
    found: &mut Propagation,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let lately = edges::lately(conn, &scope.tenant, now).await?;
    for state in &mut found.replicas {
        // The newest word of each comes first.
        if let Some(row) = lately.iter().find(|row| row.replica == state.replica) {
            state.reader = (row.reader > 0).then_some(row.reader);
            state.formats.clone_from(&row.formats);
        }
    }
    let writers = buffers::writers(conn, scope, now.minus(edges::LATELY_MS)).await?;
    for region in &mut found.regions {
        let own = lately.iter().filter(|row| row.replica.region == region.region).cloned();
        region.oldest_reader = edges::oldest(own.collect()).map(|edge| edge.reader);
        let own = || writers.iter().filter(|writer| writer.region == region.region);
        // One that names none is older than all that do.
        region.batch_reader = own().map(|writer| writer.reader).min().flatten();
        region.batch_format = own().map(|writer| writer.format).min();
    }
    Ok(())
}

/// A replica's state, and when it stored the newest version. This one and no other: a replica that is ahead of the
/// database, or forked from it, serves something else.
fn state(
    replica: ReplicaName,
    receipt: Option<&ReceiptRow>,
    newest: Option<SignedRow>,
    wait: Option<&Wait>,
) -> (ReplicaState, Option<UnixMillis>) {
    let held = receipt.and_then(|receipt| receipt.held);
    let times = receipt.and_then(|receipt| receipt.stored_ms.zip(receipt.acked_ms));
    let stored = match (newest, times) {
        (Some(newest), Some((stored, acked))) if held == Some(newest.held) => {
            Some((stored_by(stored, newest.created_ms, acked), newest.created_ms))
        }
        (_, _) => None,
    };
    let nack = receipt.and_then(|receipt| receipt.nack.clone());
    let state = ReplicaState {
        replica,
        is_acked: stored.is_some(),
        version: held.map(|held| held.version().to_string()),
        digest: held.map(|held: HeldVersion| held.digest.to_string()),
        keyset_version: receipt.and_then(|receipt| receipt.keyset_version),
        stored_ms: times.map(|(stored, _)| stored),
        acked_ms: times.map(|(_, acked)| acked),
        lag_ms: stored.map(|(stored, created)| stored.since(created)),
        nack_code: nack.as_ref().map(|nack| nack.code.clone()),
        nack_detail: nack.as_ref().map(|nack| nack.detail.clone()),
        nack_ms: nack.map(|nack| nack.at_ms),
        reader: None,
        formats: Vec::new(),
        waiting_for_stage: wait.filter(|_| stored.is_none()).cloned(),
    };
    (state, stored.map(|(stored, _)| stored))
}

fn region_state(region: &str, replicas: &[ReplicaState], wait: Option<&Wait>) -> RegionState {
    let own: Vec<_> = replicas.iter().filter(|state| state.replica.region == region).collect();
    let refusing = own.iter().find(|state| state.nack_code.is_some());
    RegionState {
        region: region.to_owned(),
        acked: own.iter().filter(|state| state.is_acked).count(),
        replicas_total: own.len(),
        lag_ms: own.iter().filter_map(|state| state.lag_ms).max(),
        nack_code: refusing.and_then(|state| state.nack_code.clone()),
        nack_detail: refusing.and_then(|state| state.nack_detail.clone()),
        oldest_reader: None,
        batch_reader: None,
        batch_format: None,
        waiting_for_stage: wait.cloned(),
    }
}

/// Whether the newest frame is old enough for the daily republication.
pub async fn is_older_than(
    conn: &mut Connection,
    scope: &Scope,
    age_ms: u64,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    Ok(newest_signed(conn, scope).await?.is_none_or(|frame| now.since(frame.created_ms) > age_ms))
}

#[cfg(test)]
mod tests {
    use flagfuse_shared::digest::Digest;

    use super::*;

    fn held(seq: u64, content: &str) -> HeldVersion {
        HeldVersion { epoch: 1, seq, digest: Digest::of(content.as_bytes()) }
    }

    fn receipt(region: &str, shard: u16, held: HeldVersion, stored: u64) -> ReceiptRow {
        ReceiptRow {
            replica: ReplicaName { region: region.to_owned(), shard },
            held: Some(held),
            keyset_version: Some(1),
            stored_ms: Some(UnixMillis(stored)),
            acked_ms: Some(UnixMillis(stored + 5)),
            nack: None,
        }
    }

    #[test]
    fn a_version_is_guaranteed_live_only_when_every_replica_stored_exactly_that() {
        let fleet = Fleet { regions: vec!["eu".to_owned(), "us".to_owned()], shards: 2 };
        let (seven, no_waits) = (held(7, "7"), BTreeMap::new());
        let newest = SignedRow { held: seven, created_ms: UnixMillis(1_000), urgency: Urgency::Urgent };
        let at = |region, shard, stored| receipt(region, shard, seven, stored);
        let eu = [at("eu", 0, 1_020), at("eu", 1, 1_030), at("us", 0, 1_040)];
        // Who else says what, then: regions and replicas that have it, the slowest, and from when on it is live.
        for (last, expected) in [
            (None, (1, 3, Some(40), None)),
            (Some(receipt("us", 1, held(6, "6"), 900)), (1, 3, Some(40), None)),
            (Some(receipt("us", 1, held(8, "8"), 1_100)), (1, 3, Some(40), None)),
            (Some(receipt("us", 1, held(7, "other"), 1_100)), (1, 3, Some(40), None)),
            (Some(at("gone", 1, 1_100)), (1, 3, Some(40), None)),
            (Some(at("us", 2, 1_100)), (1, 3, Some(40), None)),
            (Some(at("us", 1, 1_100)), (2, 4, Some(100), Some(UnixMillis(1_350)))),
        ] {
            let known: Vec<_> = eu.iter().cloned().chain(last.clone()).collect();
            let found = summarise(seven.version(), Some(newest), (&known, &no_waits), &fleet, 250);
            let numbers = (found.acked, found.replicas_acked, found.slowest_ms, found.guaranteed_live_at_ms);
            assert_eq!(numbers, expected, "{last:?}");
            assert_eq!((found.regions_total, found.replicas_total), (2, 4));
        }
        let nobody = Fleet { regions: Vec::new(), shards: 1 };
        assert_eq!(
            summarise(seven.version(), Some(newest), (&eu, &no_waits), &nobody, 250).guaranteed_live_at_ms,
            None
        );
    }

    #[test]
    fn a_replica_whose_clock_is_wrong_stored_when_its_receipt_came() {
        for (stored, expected) in [(999, 1_500), (1_000, 1_000), (1_500, 1_500), (1_501, 1_500)] {
            assert_eq!(stored_by(UnixMillis(stored), UnixMillis(1_000), UnixMillis(1_500)).0, expected);
        }
    }
}
