//! Measures what receipts say of the way of versions: how long the last replica took, and what is refused. Writes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::snapshot::RefusalCode;

use super::receipts::propagation;
use crate::model::fleet::Fleet;
use crate::store::{Store, StoreError, scopes};

/// Which version of each environment was measured last. An environment that comes again is measured from its next version on.
#[derive(Debug, Default)]
pub(super) struct Measured {
    everywhere: BTreeMap<Scope, SnapshotVersion>,
}

impl Measured {
    /// Looks at environments of which replicas have just stored a version, each with the time of its newest receipt. What cannot be
    /// read is not measured, and nobody waits for it.
    pub(super) async fn look(&mut self, store: &Store, fleet: &Fleet, stored: BTreeMap<Scope, UnixMillis>) {
        for (scope, at) in stored {
            if let Err(error) = self.measure(store, fleet, &scope, at).await {
                tracing::debug!(%scope, %error, "how long a version took could not be read");
            }
        }
    }

    async fn measure(
        &mut self,
        store: &Store,
        fleet: &Fleet,
        scope: &Scope,
        at: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut conn = store.read().await?;
        let Some(environment) = scopes::environment(&mut conn, scope).await? else {
            self.everywhere.remove(scope);
            return Ok(());
        };
        if self.everywhere.get(scope) == Some(&environment.version) {
            return Ok(());
        }
        let found = propagation(&mut conn, &environment, fleet, at).await?;
        if let Some(slowest_ms) = found.slowest_ms
            && found.replicas_acked == found.replicas_total
        {
            store.meters().propagated(Duration::from_millis(slowest_ms));
            self.everywhere.insert(scope.clone(), environment.version);
        }
        Ok(())
    }
}

/// A code of ours; a replica can send any word.
pub(super) fn known(code: &str) -> &'static str {
    RefusalCode::ALL.into_iter().map(RefusalCode::as_str).find(|known| *known == code).unwrap_or("other")
}
