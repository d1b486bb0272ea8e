//! What an isolate does before it answers: when it asks a replica, how long it waits, and what it takes over from an answer.
//! Never evaluates bytes that it has not verified itself.
//!
//! Generic over the [`Runtime`]: the worker and the simulation run this very code.

use std::pin::pin;
use std::rc::Rc;

use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::PROBE_TIMEOUT_MS;
use flagfuse_shared::snapshot::{Outcome, Refusal, TrustedRoots, verify};
use futures_util::future::{Either, select};

use crate::error::EdgeError;
use crate::snapshot::cache::{ProbeOutcome, ProbeStatus, Ttl};
use crate::snapshot::compiled::CompiledSnapshot;
use crate::snapshot::credential::Credential;
use crate::snapshot::hedge::hedge;
use crate::snapshot::memory::Memory;
use crate::snapshot::runtime::{Nearness, ProbeAnswer, Runtime, Slip};
use crate::snapshot::served::{GateOutcome, Refresh, Served, Source, Wish};

/// A replica answers within a few milliseconds from nearby; a third of the time-out leaves a neighbour two thirds.
const HEDGE_AFTER_MS: u64 = PROBE_TIMEOUT_MS / 3;
/// A request that finds nothing in memory has nothing to lose by waiting for the replica to wake up.
pub(super) const COLD_PROBE_TIMEOUT_MS: u64 = 2_000;
/// Unless there is a copy to start from.
const COLD_PROBE_TIMEOUT_WITH_COPY_MS: u64 = 600;
pub(super) const COLD_HEDGE_AFTER_MS: u64 = 300;
/// Catching up with a version that a client has seen elsewhere: half a second at most, and what the last question takes. The
/// cache bounds the questions.
const CATCH_UP_MS: u64 = 500;
const CATCH_UP_PAUSE_MS: u64 = 25;

/// Drives an isolate's memory for one request, or for one refresh.
#[derive(Debug)]
pub struct Driver<'r, R> {
    pub(super) runtime: R,
    pub(super) memory: Rc<Memory>,
    roots: &'r Result<TrustedRoots, EdgeError>,
}

impl<'r, R: Runtime> Driver<'r, R> {
    /// Without `roots` nothing can be verified: every frame is the error that they are.
    pub const fn new(runtime: R, memory: Rc<Memory>, roots: &'r Result<TrustedRoots, EdgeError>) -> Self {
        Self { runtime, memory, roots }
    }

    /// The world it runs in.
    pub const fn runtime(&self) -> &R {
        &self.runtime
    }

    /// The snapshot to answer a request with whose key was good a moment ago. `refresh_beside` starts a [`Self::refresh`]
    /// that goes on while the request is answered.
    pub async fn current(
        &self,
        scope: &Scope,
        shown: &Credential,
        wish: Wish,
        refresh_beside: impl FnOnce(),
    ) -> Result<Served, EdgeError> {
        let outcome = self.memory.pass(scope, shown, wish, self.runtime.now())?;
        if matches!(outcome, GateOutcome::Answer(_, Refresh::Needed) | GateOutcome::Behind(Refresh::Needed)) {
            refresh_beside();
        }
        let source = match outcome {
            GateOutcome::Answer(served, _) => return Ok(served),
            GateOutcome::Behind(_) => Source::Memory,
            GateOutcome::Probe => self.probe_first(scope).await,
        };
        let is_stray = wish.is_stray && source == Source::Memory;
        let source = if is_stray { self.probe_for_stray(scope).await } else { source };
        let served = match (self.served(scope, source)?, wish.version_min) {
            (served, Some(wanted)) if served.version < wanted => self.catch_up(scope, wanted).await?,
            (served, _) => served,
        };
        // Whoever waited may have waited for the snapshot that took the key away.
        if shown.is_admitted(&served.compiled.snapshot) { Ok(served) } else { Err(EdgeError::KeyUnknown) }
    }

    /// Asks a replica whether there is something newer.
    pub async fn refresh(&self, scope: &Scope) -> Result<(), EdgeError> {
        self.probe(scope, PROBE_TIMEOUT_MS, HEDGE_AFTER_MS).await
    }

    /// Asks for a request that has nothing to be answered from; when nobody knows, starts from the copy.
    ///
    /// It has as much time whatever memory holds: how long it takes must not tell that.
    pub(super) async fn probe_cold(&self, scope: &Scope) -> Result<(), EdgeError> {
        let has_kv_copies = self.runtime.has_kv_copies();
        let limit_ms = if has_kv_copies { COLD_PROBE_TIMEOUT_WITH_COPY_MS } else { COLD_PROBE_TIMEOUT_MS };
        let probed = self.probe(scope, limit_ms, COLD_HEDGE_AFTER_MS).await;
        if probed.is_err() && self.held_version(scope).is_none() {
            let now = self.runtime.now();
            self.memory.with_entry(scope, now, |entry| entry.failed(now));
            return self.bootstrap(scope).await.map_or(probed, Ok);
        }
        probed
    }

    /// Asks before it answers. When nobody knows, what there is has to do: the last good snapshot.
    async fn probe_first(&self, scope: &Scope) -> Source {
        if self.refresh(scope).await.is_ok() {
            return Source::Probe;
        }
        let now = self.runtime.now();
        self.memory.with_entry(scope, now, |entry| entry.failed(now));
        Source::Memory
    }

    /// Asks for a client that was told of a version whose name means nothing, now and then.
    async fn probe_for_stray(&self, scope: &Scope) -> Source {
        let now = self.runtime.now();
        if !self.memory.with_entry(scope, now, |entry| entry.lease_stray(now)) {
            return Source::Memory;
        }
        // A failed question changes nothing: the answer is labelled with its age.
        self.refresh(scope).await.map_or(Source::Memory, |()| Source::Probe)
    }

    /// Waits until `wanted` is here, for half a second at most; a question that failed is asked again. Requests that wait for the
    /// same environment share the questions: how many wait makes no difference to the replica.
    async fn catch_up(&self, scope: &Scope, wanted: SnapshotVersion) -> Result<Served, EdgeError> {
        let not_here = || EdgeError::VersionNotHere { wanted: wanted.to_string() };
        let now = self.runtime.now();
        if !self.memory.with_entry(scope, now, |entry| entry.is_worth_waiting(wanted, now)) {
            return Err(not_here());
        }
        let until = now.plus(CATCH_UP_MS);
        let mut failure = None;
        for _ in 0..=CATCH_UP_MS / CATCH_UP_PAUSE_MS {
            let now = self.runtime.now();
            if self.memory.with_entry(scope, now, |entry| entry.lease_probe(now)) {
                failure = self.refresh(scope).await.err();
            }
            let served = self.served(scope, Source::Probe)?;
            if served.version >= wanted {
                return Ok(served);
            }
            if self.runtime.now() >= until {
                break;
            }
            self.runtime.sleep(CATCH_UP_PAUSE_MS).await;
        }
        // Nobody has said that it is not there.
        if let Some(failure) = failure {
            return Err(failure);
        }
        let now = self.runtime.now();
        self.memory.with_entry(scope, now, |entry| entry.waited_in_vain(wanted, now));
        Err(not_here())
    }

    /// Asks the own region's replica, and its neighbour when that is late; takes over what the first good answer says.
    async fn probe(&self, scope: &Scope, limit_ms: u64, hedge_after_ms: u64) -> Result<(), EdgeError> {
        let probed = self.hedged(hedge_after_ms, async |replica| {
            let have = self.held_version(scope);
            // Before the question leaves: its answer cannot be older than that.
            let mut sent_at = self.runtime.now();
            let answer = self.runtime.probe(replica, scope, have).await?;
            if self.runtime.slip() == Some(Slip::AskedAfterAwait) {
                sent_at = self.runtime.now();
            }
            self.take_over(scope, answer, sent_at)
        });
        self.within(limit_ms, probed).await
    }

    /// Does `ask` for the own region and, when that fails or takes longer than `hedge_after_ms`, for its neighbour too.
    pub(super) async fn hedged<T>(
        &self,
        hedge_after_ms: u64,
        ask: impl AsyncFn(Nearness) -> Result<T, EdgeError>,
    ) -> Result<T, EdgeError> {
        if !self.runtime.has_neighbour() {
            return ask(Nearness::Own).await;
        }
        let late = self.runtime.sleep(hedge_after_ms);
        hedge(ask(Nearness::Own), late, async || ask(Nearness::Neighbour).await).await
    }

    /// The outcome of asking, when it is there in time.
    pub(super) async fn within<T>(
        &self,
        limit_ms: u64,
        asked: impl Future<Output = Result<T, EdgeError>>,
    ) -> Result<T, EdgeError> {
        match select(pin!(asked), pin!(self.runtime.sleep(limit_ms))).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => Err(EdgeError::ReplicaUnavailable),
        }
    }

    /// An answer that makes memory no surer is an error: a neighbour may know more.
    fn take_over(&self, scope: &Scope, answer: ProbeAnswer, sent_at: UnixMillis) -> Result<(), EdgeError> {
        let ProbeAnswer { version, frame, status } = answer;
        let now = self.runtime.now();
        let sent_at = if self.runtime.slip() == Some(Slip::AgedFromArrival) { now } else { sent_at };
        let outcome = match frame {
            Some(frame) => self.admit(scope, &frame, status, sent_at)?,
            None => self.memory.with_entry(scope, now, |entry| entry.confirmed(version, status, sent_at)),
        };
        match outcome {
            ProbeOutcome::Confirmed if version.is_some() || status.is_vouched => Ok(()),
            // The replica is new and has not heard of anything yet.
            ProbeOutcome::Confirmed => Err(EdgeError::NoSnapshot),
            ProbeOutcome::Behind => Err(EdgeError::ReplicaUnavailable),
        }
    }

    /// Verifies a frame against what is in memory now, which may be newer than when the probe was sent, and swaps.
    fn admit(
        &self,
        scope: &Scope,
        frame: &[u8],
        status: ProbeStatus,
        sent_at: UnixMillis,
    ) -> Result<ProbeOutcome, EdgeError> {
        let (roots, now) = (self.roots()?, self.runtime.now());
        self.memory.with_entry(scope, now, |entry| {
            let held = entry.held().map(|(_, compiled)| compiled.held);
            match verify(frame, roots, scope, held.as_ref(), now) {
                Ok(Outcome::Newer(admitted)) => {
                    let compiled = CompiledSnapshot::new(*admitted);
                    let (version, ttl) = (compiled.held.version, self.ttl(&compiled));
                    Ok(entry.swap(version, compiled, ttl, status, sent_at))
                }
                Ok(Outcome::Same) => Ok(entry.confirmed(held.map(|held| held.version), status, sent_at)),
                Err(refusal) => Err(self.refused_of_replica(scope, &refusal)),
            }
        })
    }

    /// Starts from the copy, verified as a cold isolate verifies: one that has expired is refused.
    async fn bootstrap(&self, scope: &Scope) -> Option<()> {
        let frame = self.runtime.read_kv_copy(scope).await?;
        let (roots, now) = (self.roots().ok()?, self.runtime.now());
        match verify(&frame, roots, scope, None, now) {
            Ok(Outcome::Newer(admitted)) => {
                let compiled = CompiledSnapshot::new(*admitted);
                let (version, ttl) = (compiled.held.version, self.ttl(&compiled));
                self.memory.with_entry(scope, now, |entry| entry.bootstrap(version, compiled, ttl));
                Some(())
            }
            Ok(Outcome::Same) => None,
            Err(refusal) => {
                let copy = format_args!("this isolate refused the copy of {scope}: {refusal}");
                self.runtime.log_refusal(copy);
                None
            }
        }
    }

    fn ttl(&self, compiled: &CompiledSnapshot) -> Ttl {
        let Ttl { soft_ms, hard_ms } = compiled.ttl();
        match self.runtime.slip() {
            Some(Slip::HardTtlIgnored) => Ttl { soft_ms, hard_ms: u64::MAX },
            Some(Slip::TtlsSwapped) => Ttl { soft_ms: hard_ms, hard_ms: soft_ms },
            Some(Slip::AskedAfterAwait | Slip::AgedFromArrival) | None => Ttl { soft_ms, hard_ms },
        }
    }

    pub(super) fn roots(&self) -> Result<&'r TrustedRoots, EdgeError> {
        self.roots.as_ref().map_err(Clone::clone)
    }

    /// Logs the refusal of a frame; what it means to the request.
    pub(super) fn refused_of_replica(&self, scope: &Scope, refusal: &Refusal) -> EdgeError {
        let frame = format_args!("this isolate refused its replica's snapshot of {scope}: {refusal}");
        self.runtime.log_refusal(frame);
        EdgeError::ReplicaUnavailable
    }

    fn served(&self, scope: &Scope, source: Source) -> Result<Served, EdgeError> {
        self.memory.served(scope, source, self.runtime.now())
    }

    fn held_version(&self, scope: &Scope) -> Option<SnapshotVersion> {
        let now = self.runtime.now();
        self.memory.with_entry(scope, now, |entry| entry.held().map(|(version, _)| version))
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
