//! A verified snapshot in an isolate's memory, with what answering from it has taught. Pure: no clock, no I/O.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use flagfuse_shared::context::UnitSource;
use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::snapshot::{Admitted, Held, Snapshot, Verified};

use crate::snapshot::cache::Ttl;

/// A verified snapshot in memory.
#[derive(Debug)]
pub struct CompiledSnapshot {
    pub snapshot: Verified<Snapshot>,
    /// Its version, and the digest and keyset it came with.
    pub held: Held,
    /// What names the units of flags that a fuse watches: nothing when none does, one thing nearly always.
    pub watched: Vec<UnitSource>,
    /// When it was signed.
    pub created_ms: UnixMillis,
    /// Bytes of the last bulk answer and some more: the next one is written without growing.
    pub bulk_len_typical: Cell<usize>,
    /// The same for Unleash's frontend API.
    pub toggles_len_typical: Cell<usize>,
    /// The definitions as Unleash's client API tells them, once somebody asked.
    pub features: OnceCell<Rc<str>>,
}

impl CompiledSnapshot {
    /// Nothing was answered from it yet.
    pub fn new(admitted: Admitted) -> Self {
        let mut watched: Vec<UnitSource> = Vec::new();
        for flag in
            admitted.snapshot.flags().filter_map(|(_, flag)| flag.ok().filter(|flag| flag.cohort().is_some()))
        {
            if !watched.contains(flag.bucket_by()) {
                watched.push(flag.bucket_by().clone());
            }
        }
        Self {
            watched,
            snapshot: admitted.snapshot,
            held: admitted.held,
            created_ms: admitted.created_ms,
            bulk_len_typical: Cell::new(0),
            toggles_len_typical: Cell::new(0),
            features: OnceCell::new(),
        }
    }

    /// How old answers from it may be.
    pub fn ttl(&self) -> Ttl {
        let settings = self.snapshot.settings();
        Ttl { soft_ms: settings.fresh_ms, hard_ms: settings.stale_ms }
    }
}
