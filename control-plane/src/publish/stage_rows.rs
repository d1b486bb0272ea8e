//! How far the versions of an environment with stages may go: what decides it, read from the database. Writes nothing.

use std::collections::BTreeMap;

use flagfuse_shared::contract::replica::{HeldVersion, Urgency};
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};

use super::pusher::Wanted;
use super::stage_rules::{self, Acknowledgement, SendableVersion, StageFacts, Wait};
use crate::model::fleet::{Fleet, ReplicaName};
use crate::model::safety::{SoakSeconds, Stages};
use crate::store::receipts::{AckRow, acks_from, receipts};
use crate::store::scopes::EnvironmentRow;
use crate::store::snapshots::{SendableRow, sendable};
use crate::store::{Connection, StoreError};

/// What is known of an environment with stages.
#[derive(Debug)]
pub struct StagedEnvironment {
    stages: Stages,
    soak_ms: u64,
    rows: Vec<SendableRow>,
    sendable: Vec<SendableVersion>,
    replicas: Vec<ReplicaName>,
    acks: Vec<Acknowledgement>,
    refusing: Vec<ReplicaName>,
}

impl StagedEnvironment {
    /// `None` when all regions get the newest version at once, or there is none.
    pub async fn read(
        conn: &mut Connection,
        scope: &Scope,
        (stages, soak_s): (&Stages, SoakSeconds),
        fleet: &Fleet,
    ) -> Result<Option<Self>, StoreError> {
        if stages.is_flat() {
            return Ok(None);
        }
        // Versions before receipts: a receipt for a version that is not known yet counts for the earlier ones.
        let rows = sendable(conn, scope).await?;
        let (Some(newest), Some(oldest)) = (rows.first().copied(), rows.last().copied()) else {
            return Ok(None);
        };
        let last = receipts(conn, scope).await?;
        let replicas: Vec<_> = fleet.replicas().collect();
        let has_newest = |replica: &ReplicaName| {
            last.iter().any(|receipt| receipt.replica == *replica && receipt.held == Some(newest.held))
        };
        // Where everybody has the newest version, its receipts are all there is to know: most beats find it so, and the
        // log of a hundred versions of all replicas would be read twenty times a second.
        let from = if replicas.iter().all(has_newest) { newest } else { oldest };
        let acks = acks_from(conn, scope, from.held.version()).await?;
        let ack = |AckRow { replica, version, acked_ms, .. }| Acknowledgement { replica, version, acked_ms };
        let sendable =
            rows.iter().map(|row| SendableVersion { version: row.held.version(), urgency: row.urgency });
        Ok(Some(Self {
            stages: stages.clone(),
            soak_ms: soak_s.ms(),
            sendable: sendable.collect(),
            rows,
            replicas,
            acks: acks.into_iter().map(ack).collect(),
            refusing: last.into_iter().filter(|row| row.nack.is_some()).map(|row| row.replica).collect(),
        }))
    }

    /// What `region` should hold at `now`, and what was signed after that.
    pub fn wanted(&self, region: &str, now: UnixMillis) -> Option<(Wanted, Vec<HeldVersion>)> {
        let version = stage_rules::place(&self.facts(), region, now).version?;
        let at = self.rows.iter().position(|row| row.held.version() == version)?;
        let (later, rest) = self.rows.split_at_checked(at)?;
        let held = rest.first()?.held;
        let urgent = rest.iter().find(|row| row.urgency == Urgency::Urgent).map(|row| row.held.version());
        Some((Wanted { held, urgent }, later.iter().map(|row| row.held).collect()))
    }

    fn facts(&self) -> StageFacts<'_> {
        StageFacts {
            stages: &self.stages,
            soak_ms: self.soak_ms,
            sendable: &self.sendable,
            replicas: &self.replicas,
            acks: &self.acks,
            refusing: &self.refusing,
        }
    }
}

/// What keeps `version` from regions at `now`, by their names. A region that it may go to is not among them.
pub async fn waits(
    conn: &mut Connection,
    environment: &EnvironmentRow,
    version: SnapshotVersion,
    fleet: &Fleet,
    now: UnixMillis,
) -> Result<BTreeMap<String, Wait>, StoreError> {
    let safety = &environment.safety;
    let staged =
        StagedEnvironment::read(conn, &environment.scope, (&safety.stages, safety.soak_s), fleet).await?;
    let Some(staged) = staged else { return Ok(BTreeMap::new()) };
    let wait = |region: &String| {
        let wait = stage_rules::wait(&staged.facts(), region, version, now);
        wait.map(|wait| (region.clone(), wait))
    };
    Ok(fleet.regions.iter().filter_map(wait).collect())
}
