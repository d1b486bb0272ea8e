//! An environment's definitions for Unleash's backend SDKs. Never trusts the bytes: they are verified like any others.

use std::rc::Rc;

use flagfuse_shared::ids::{Scope, SnapshotVersion};
use flagfuse_shared::snapshot::payload::{Definitions, definitions};
use flagfuse_shared::snapshot::{Held, Outcome, verify};
use flagfuse_shared::unleash::export::client_features;

use crate::error::EdgeError;
use crate::snapshot::driver::{COLD_HEDGE_AFTER_MS, COLD_PROBE_TIMEOUT_MS, Driver};
use crate::snapshot::runtime::Runtime;
use crate::snapshot::served::Served;

impl<R: Runtime> Driver<'_, R> {
    /// The definitions, and the version they are from.
    ///
    /// Memory holds compiled flags only, so the replica is asked for the signed bytes once for each version.
    pub async fn features(
        &self,
        scope: &Scope,
        served: &Served,
    ) -> Result<(SnapshotVersion, Rc<str>), EdgeError> {
        if let Some(known) = served.compiled.features.get() {
            return Ok((served.version, Rc::clone(known)));
        }
        let asked = self.hedged(COLD_HEDGE_AFTER_MS, async |replica| {
            self.runtime.probe(replica, scope, None).await?.frame.ok_or(EdgeError::ReplicaUnavailable)
        });
        let frame = self.within(COLD_PROBE_TIMEOUT_MS, asked).await?;
        let (version, content) = self.content(scope, &frame, served)?;
        let text: Rc<str> = client_features(&content, scope, version).into();
        if version == served.version {
            // Another request may have been faster; both have the same text.
            let _ = served.compiled.features.set(Rc::clone(&text));
        }
        Ok((version, text))
    }

    /// What a frame says in the flags' own words. A verifier that holds something older is warm: it takes what has expired.
    fn content(
        &self,
        scope: &Scope,
        frame: &[u8],
        served: &Served,
    ) -> Result<(SnapshotVersion, Definitions), EdgeError> {
        let older = Held { version: SnapshotVersion { epoch: 0, seq: 0 }, ..served.compiled.held };
        match verify(frame, self.roots()?, scope, Some(&older), self.runtime.now()) {
            Ok(Outcome::Newer(admitted)) => {
                let definitions = definitions(frame).map_err(|_| EdgeError::ReplicaUnavailable)?;
                Ok((admitted.held.version, definitions))
            }
            Ok(Outcome::Same) => Err(EdgeError::Internal),
            Err(refusal) => Err(self.refused_of_replica(scope, &refusal)),
        }
    }
}
