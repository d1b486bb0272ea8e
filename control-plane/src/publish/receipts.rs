//! Where a version is live: what the replicas confirmed, and from when on no isolate can answer with an older one.

use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use serde::Serialize;

use super::outbox::settings;
use crate::store::scopes::EnvironmentRow;
use crate::store::snapshots::{ReceiptRow, newest, receipts};
use crate::store::{Connection, StoreError};

/// One region's state.
#[derive(Debug, Clone, Serialize)]
pub struct RegionState {
    /// What it said last.
    #[serde(flatten)]
    pub receipt: ReceiptRow,
    /// Milliseconds from signing to storing of the version it holds, when that is the newest.
    pub lag_ms: Option<u64>,
}

/// State of an environment's newest version.
#[derive(Debug, Clone, Serialize)]
pub struct Propagation {
    /// Newest version.
    pub version: String,
    /// When it was signed.
    pub created_ms: Option<UnixMillis>,
    /// Regions that stored it.
    pub acked: usize,
    /// Regions there are.
    pub regions_total: usize,
    /// max(stored) + H, once all regions stored it.
    pub guaranteed_live_at_ms: Option<UnixMillis>,
    /// By region.
    pub regions: Vec<RegionState>,
}

/// Propagation of an environment's newest version over `regions`.
pub async fn propagation(
    conn: &mut Connection,
    environment: &EnvironmentRow,
    regions: &[String],
) -> Result<Propagation, StoreError> {
    let frame = newest(conn, &environment.scope).await?;
    let known = receipts(conn, &environment.scope).await?;
    let stale_ms = settings(environment)?.profile.bounds_ms().1;
    let newest = Newest {
        version: environment.version,
        digest: frame.as_ref().map(|frame| frame.digest.to_string()),
        created_ms: frame.map(|frame| frame.created_ms),
    };
    Ok(summarise(&newest, known, regions, stale_ms))
}

/// What every region should hold.
struct Newest {
    version: SnapshotVersion,
    digest: Option<String>,
    created_ms: Option<UnixMillis>,
}

fn summarise(newest: &Newest, mut known: Vec<ReceiptRow>, regions: &[String], stale_ms: u64) -> Propagation {
    // A region that left the configuration no longer serves anybody.
    known.retain(|receipt| regions.contains(&receipt.region));
    for region in regions {
        if !known.iter().any(|receipt| &receipt.region == region) {
            known.push(silent(region));
        }
    }
    known.sort_by(|left, right| left.region.cmp(&right.region));
    let (version, created_ms) = (newest.version, newest.created_ms);
    // This one and no other: a replica that is ahead of the database, or forked from it, serves something else.
    let holds = |receipt: &ReceiptRow| {
        receipt.version.as_deref().and_then(SnapshotVersion::parse) == Some(version)
            && receipt.digest == newest.digest
    };
    let stored: Vec<UnixMillis> =
        known.iter().filter(|receipt| holds(receipt)).filter_map(|receipt| receipt.stored_ms).collect();
    let (acked, regions_total) = (stored.len(), known.len());
    let is_complete = regions_total > 0 && acked == regions_total;
    let latest = stored.into_iter().max().filter(|_| is_complete);
    let states = known.into_iter().map(|receipt| {
        let lag_ms = match (created_ms, receipt.stored_ms) {
            (Some(created), Some(stored)) if holds(&receipt) => Some(stored.since(created)),
            (Some(_) | None, _) => None,
        };
        RegionState { receipt, lag_ms }
    });
    Propagation {
        version: version.to_string(),
        created_ms,
        acked,
        regions_total,
        guaranteed_live_at_ms: latest.map(|stored| stored.plus(stale_ms)),
        regions: states.collect(),
    }
}

fn silent(region: &str) -> ReceiptRow {
    ReceiptRow {
        region: region.to_owned(),
        version: None,
        digest: None,
        stored_ms: None,
        acked_ms: None,
        nack_code: None,
        nack_detail: None,
        nack_ms: None,
    }
}

/// Whether the newest frame is old enough for the daily republication.
pub async fn is_older_than(
    conn: &mut Connection,
    scope: &Scope,
    age_ms: u64,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    Ok(newest(conn, scope).await?.is_none_or(|frame| now.since(frame.created_ms) > age_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(region: &str, version: &str, stored: u64) -> ReceiptRow {
        ReceiptRow {
            version: Some(version.to_owned()),
            digest: Some("d".to_owned()),
            stored_ms: Some(UnixMillis(stored)),
            ..silent(region)
        }
    }

    #[test]
    fn a_version_is_guaranteed_live_only_when_every_region_stored_it() {
        let version = SnapshotVersion { epoch: 1, seq: 7 };
        let regions = ["eu".to_owned(), "us".to_owned()];
        let newest = Newest { version, digest: Some("d".to_owned()), created_ms: Some(UnixMillis(1_000)) };
        let state = |known| summarise(&newest, known, &regions, 250);
        let partial = state(vec![receipt("eu", "1.7", 1_020), receipt("us", "1.6", 900)]);
        assert_eq!((partial.acked, partial.guaranteed_live_at_ms), (1, None));
        let silent = state(vec![receipt("eu", "1.7", 1_020)]);
        assert_eq!((silent.acked, silent.regions_total), (1, 2));
        let full =
            state(vec![receipt("eu", "1.7", 1_020), receipt("us", "1.7", 1_100), receipt("old", "1.1", 1)]);
        assert_eq!((full.acked, full.guaranteed_live_at_ms), (2, Some(UnixMillis(1_350))));
        assert_eq!(full.regions[1].lag_ms, Some(100));
        let ahead = state(vec![receipt("eu", "1.7", 1_020), receipt("us", "1.8", 1_100)]);
        assert_eq!((ahead.acked, ahead.guaranteed_live_at_ms), (1, None), "it never took this version");
        let other = ReceiptRow { digest: Some("e".to_owned()), ..receipt("us", "1.7", 1_100) };
        let forked = state(vec![receipt("eu", "1.7", 1_020), other]);
        assert_eq!((forked.acked, forked.guaranteed_live_at_ms), (1, None), "other content");
    }
}
