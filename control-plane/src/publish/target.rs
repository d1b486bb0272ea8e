//! What the replicas of a region should hold. Read from the database, shared by all pushers of the region.

use std::collections::BTreeMap;
use std::sync::Arc;

use flagfuse_shared::ids::{TenantKey, UnixMillis};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::pusher::{Target, Wanted};
use super::stage_rows::StagedEnvironment;
use crate::clock::{Clock, monotonic};
use crate::model::fleet::Fleet;
use crate::store::{Connection, Store, StoreError, snapshots};

/// What the replicas of a tenant in `region` should hold at `now`: the newest of every environment, unless its stages
/// hold the region back.
pub async fn target(
    conn: &mut Connection,
    tenant: &TenantKey,
    fleet: &Fleet,
    region: &str,
    now: UnixMillis,
) -> Result<Target, StoreError> {
    Ok(TargetRows::read(conn, tenant, fleet).await?.target(region, now))
}

/// What every region's target follows from.
#[derive(Debug)]
struct TargetRows {
    flat: BTreeMap<String, Wanted>,
    staged: Vec<(String, StagedEnvironment)>,
}

impl TargetRows {
    /// One statement for all environments without stages, and a few for each that has some.
    async fn read(conn: &mut Connection, tenant: &TenantKey, fleet: &Fleet) -> Result<Self, StoreError> {
        let mut rows = Self { flat: BTreeMap::new(), staged: Vec::new() };
        for row in snapshots::newest_versions(conn, tenant).await? {
            let name = row.scope.to_string();
            if let Some(staged) =
                StagedEnvironment::read(conn, &row.scope, (&row.stages, row.soak_s), fleet).await?
            {
                rows.staged.push((name, staged));
            } else {
                rows.flat.insert(name, Wanted { held: row.held, urgent: row.urgent });
            }
        }
        Ok(rows)
    }

    fn target(&self, region: &str, now: UnixMillis) -> Target {
        let (mut wanted, mut later) = (self.flat.clone(), BTreeMap::new());
        for (name, staged) in &self.staged {
            if let Some((own, after)) = staged.wanted(region, now) {
                wanted.insert(name.clone(), own);
                later.insert(name.clone(), after);
            }
        }
        Target::new(wanted).with_later(later)
    }
}

/// A target and what it is worth.
#[derive(Debug)]
pub struct TargetReading {
    /// What should be held.
    pub target: Arc<Target>,
    /// When it was read: a beat for it is dated so.
    pub as_of: UnixMillis,
}

/// The last reading, and the targets that were derived from it so far.
#[derive(Debug)]
struct Last {
    rows: TargetRows,
    as_of: UnixMillis,
    began: Instant,
    rung: u64,
    by_region: BTreeMap<String, Arc<TargetReading>>,
    /// Of the reading before: what has not changed is shared.
    before: BTreeMap<String, Arc<TargetReading>>,
}

/// Reads targets for all pushers of a process: a hundred of them wake at the same bell and need to read once.
#[derive(Debug)]
pub struct Targets {
    store: Store,
    clock: Clock,
    tenant: TenantKey,
    fleet: Fleet,
    bell: watch::Receiver<u64>,
    last: Mutex<Option<Last>>,
}

impl Targets {
    /// Nothing is read yet.
    pub fn new(
        store: Store,
        clock: Clock,
        tenant: TenantKey,
        fleet: Fleet,
        bell: watch::Receiver<u64>,
    ) -> Self {
        Self { store, clock, tenant, fleet, bell, last: Mutex::default() }
    }

    /// Whose replicas.
    pub const fn tenant(&self) -> &TenantKey {
        &self.tenant
    }

    /// A reading that began at `since` or later, and after the last ring of the bell.
    pub async fn read(&self, region: &str, since: Instant) -> Result<Arc<TargetReading>, StoreError> {
        let mut slot = self.last.lock().await;
        let (rung, began, as_of) = (*self.bell.borrow(), monotonic(), self.clock.now());
        let mut last = match slot.take() {
            Some(last) if last.rung == rung && last.began >= since => last,
            outdated => {
                let rows =
                    TargetRows::read(&mut *self.store.read().await?, &self.tenant, &self.fleet).await?;
                let before = outdated.map(|last| last.by_region).unwrap_or_default();
                Last { rows, as_of, began, rung, by_region: BTreeMap::new(), before }
            }
        };
        let reading = last.reading(region);
        *slot = Some(last);
        Ok(reading)
    }
}

impl Last {
    fn reading(&mut self, region: &str) -> Arc<TargetReading> {
        if let Some(known) = self.by_region.get(region) {
            return Arc::clone(known);
        }
        let found = self.rows.target(region, self.as_of);
        let target = match self.before.get(region) {
            Some(before) if *before.target == found => Arc::clone(&before.target),
            Some(_) | None => Arc::new(found),
        };
        let reading = Arc::new(TargetReading { target, as_of: self.as_of });
        self.by_region.insert(region.to_owned(), Arc::clone(&reading));
        reading
    }
}
