//! The worker's isolate: its memory, its shard, and the world its driver runs in. Decides nothing: `driver` does.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use worker::Env;

use crate::config::Config;
use crate::deadline::pause;
use crate::error::EdgeError;
use crate::region::{draw_shard, neighbour};
use crate::snapshot::driver::Driver;
use crate::snapshot::kv::{keeps_kv_copies, read_kv_copy};
use crate::snapshot::memory::Memory;
use crate::snapshot::probe::{probe, replica_stub};
use crate::snapshot::runtime::{Nearness, ProbeAnswer, Runtime};
use crate::{clock, random};

thread_local! {
    static MEMORY: Rc<Memory> = Rc::default();
    static SHARD: Cell<Option<u16>> = const { Cell::new(None) };
}

/// Looks at this isolate's memory.
pub fn with_memory<T>(look: impl FnOnce(&Memory) -> T) -> T {
    MEMORY.with(|memory| look(memory))
}

/// Which of a region's replicas this isolate asks, for all its life: each shard holds everything, so that isolates spread
/// over them at random, and one that always asks the same hears no older version from the next.
pub fn shard(config: &Config) -> u16 {
    SHARD.get().unwrap_or_else(|| {
        let drawn = draw_shard(config.shards, random::unit_interval());
        SHARD.set(Some(drawn));
        drawn
    })
}

/// Drives this isolate's memory.
pub fn driver<'r>(env: &'r Env, config: &'r Config) -> Driver<'r, WorkerRuntime<'r>> {
    Driver::new(WorkerRuntime { env, config }, MEMORY.with(Rc::clone), &config.roots)
}

/// The platform, as this isolate reaches it.
#[derive(Debug)]
pub struct WorkerRuntime<'r> {
    env: &'r Env,
    config: &'r Config,
}

impl WorkerRuntime<'_> {
    fn neighbour(&self) -> Option<&str> {
        neighbour(&self.config.regions, &self.config.region)
    }
}

impl Runtime for WorkerRuntime<'_> {
    fn now(&self) -> UnixMillis {
        clock::now()
    }

    async fn sleep(&self, ms: u64) {
        pause(ms).await;
    }

    fn has_neighbour(&self) -> bool {
        self.neighbour().is_some()
    }

    async fn probe(
        &self,
        replica: Nearness,
        scope: &Scope,
        have: Option<SnapshotVersion>,
    ) -> Result<ProbeAnswer, EdgeError> {
        let region = match replica {
            Nearness::Own => &self.config.region,
            Nearness::Neighbour => self.neighbour().ok_or(EdgeError::ReplicaUnavailable)?,
        };
        let stub = replica_stub(self.env, self.config, region, shard(self.config))?;
        probe(&stub, scope, have).await
    }

    fn has_kv_copies(&self) -> bool {
        keeps_kv_copies(self.env)
    }

    async fn read_kv_copy(&self, scope: &Scope) -> Option<Vec<u8>> {
        read_kv_copy(self.env, scope).await
    }

    fn log_refusal(&self, what: fmt::Arguments<'_>) {
        worker::console_error!("{what}");
    }
}
