//! What the replicas of a region should hold. Read from the database, shared by all pushers of the region.

use std::collections::BTreeMap;
use std::sync::Arc;

use flagfuse_shared::ids::{TenantKey, UnixMillis};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::pusher::{Target, Wanted};
use crate::clock::{Clock, monotonic};
use crate::store::{Connection, Store, StoreError, snapshots};

/// What the replicas of a tenant in `region` should hold at `now`: the newest of every environment.
pub async fn target(
    conn: &mut Connection,
    tenant: &TenantKey,
    _region: &str,
    _now: UnixMillis,
) -> Result<Target, StoreError> {
    let newest = snapshots::newest_versions(conn, tenant).await?;
    let wanted = newest
        .into_iter()
        .map(|row| (format!("{tenant}/{}", row.place), Wanted { held: row.held, urgent: row.urgent }));
    Ok(Target::new(wanted.collect()))
}

/// A target and what it is worth.
#[derive(Debug)]
pub struct Reading {
    /// What should be held.
    pub target: Arc<Target>,
    /// When it was read: a beat for it is dated so.
    pub as_of: UnixMillis,
    began: Instant,
    rung: u64,
}

/// Reads targets for all pushers of a process: a hundred of them wake at the same bell and need to read once.
#[derive(Debug)]
pub struct Targets {
    store: Store,
    clock: Clock,
    tenant: TenantKey,
    bell: watch::Receiver<u64>,
    by_region: Mutex<BTreeMap<String, Arc<Reading>>>,
}

impl Targets {
    /// Nothing is read yet.
    pub fn new(store: Store, clock: Clock, tenant: TenantKey, bell: watch::Receiver<u64>) -> Self {
        Self { store, clock, tenant, bell, by_region: Mutex::default() }
    }

    /// A reading that began at `since` or later, and after the last ring of the bell.
    pub async fn read(&self, region: &str, since: Instant) -> Result<Arc<Reading>, StoreError> {
        let mut by_region = self.by_region.lock().await;
        let (rung, began, as_of) = (*self.bell.borrow(), monotonic(), self.clock.now());
        let last = by_region.get(region);
        if let Some(last) = last.filter(|last| last.rung == rung && last.began >= since) {
            return Ok(Arc::clone(last));
        }
        let found = target(&mut *self.store.read().await?, &self.tenant, region, as_of).await?;
        let target = match last {
            Some(last) if *last.target == found => Arc::clone(&last.target),
            Some(_) | None => Arc::new(found),
        };
        let reading = Arc::new(Reading { target, as_of, began, rung });
        by_region.insert(region.to_owned(), Arc::clone(&reading));
        Ok(reading)
    }
}
