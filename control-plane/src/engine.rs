//! Each tick: read what was counted, decide, record, act through `change`. What it remembers between ticks only saves
//! reading: any number may run, and one that starts anew decides the same.

mod basis;
pub mod heard;
mod memory;
mod record;
mod replay;
mod slos;

use std::collections::BTreeMap;

use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::{FlagKey, Scope, UnixMillis};
use serde_json::json;

use self::basis::{Around, Ground, Seen, Terms, is_blocked};
use self::memory::{Memory, Watched};
use self::record::{Finding, Recorded, record};
use self::slos::Slos;
use crate::change::{Actor, Change, ChangeError, Decider, apply};
use crate::model::metric::ENROLLED;
use crate::model::policy::Direction;
use crate::model::verdict::{
    BufferBehind, Finding as Found, INGEST_LAG_MS_MAX, Incident, Origins, Reason, Verdict,
};
use crate::publish::Publisher;
use crate::publish::outbox::OutboxError;
use crate::store::fuses::Glance;
use crate::store::scopes::EnvironmentRow;
use crate::store::verdicts::{MadeVerdict, Said};
use crate::store::watermarks::{self, Watermark};
use crate::store::{Connection, Store, StoreError, cells, forks, fuses, scopes};

pub use self::replay::{Replay, Replayed};

/// What a tick did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ticked {
    /// Fuses looked at.
    pub looked: u64,
    /// Fuses moved by this engine.
    pub moved: u64,
    /// Fuses that another engine or a person moved first.
    pub overtaken: u64,
    /// Fuses that should move, in an environment that takes no change.
    pub blocked: u64,
    /// Fuses whose look failed.
    pub failed: u64,
}

/// Looks at fuses again and again, and remembers what it has added up.
#[derive(Debug, Default)]
pub struct Engine {
    environments: BTreeMap<Scope, Memory>,
    slos: Slos,
}

/// One tick of an engine that remembers nothing.
pub async fn tick(store: &Store, publisher: &Publisher, now: UnixMillis) -> Result<Ticked, StoreError> {
    Engine::default().tick(store, publisher, now).await
}

impl Engine {
    /// Looks at every fuse of the installation once. One that fails does not keep the others from being looked at.
    pub async fn tick(
        &mut self,
        store: &Store,
        publisher: &Publisher,
        now: UnixMillis,
    ) -> Result<Ticked, StoreError> {
        if let Err(error) = self.slos.tick(store, now).await {
            // Fuses go on: what is known of an incident is what was known before.
            tracing::error!(%error, "objectives could not be looked at");
        }
        let (environments, mut glances) = {
            let mut conn = store.read().await?;
            let environments = scopes::environments(&mut conn, scopes::Whose::Installation).await?;
            (environments, fuses::glances(&mut conn).await?)
        };
        let mut ticked = Ticked::default();
        // What is no longer watched is forgotten with the others.
        let mut before = std::mem::take(&mut self.environments);
        for environment in environments {
            let Some(glances) = glances.remove(&environment.scope) else { continue };
            let count = glances.len() as u64;
            ticked.looked += count;
            let memory = before.remove(&environment.scope).unwrap_or_default();
            let scope = environment.scope.clone();
            let incident = self.slos.incident(&scope);
            let place = Place { store, publisher, environment, incident, now };
            match place.tick(memory, &glances, &mut ticked).await {
                Ok(memory) => {
                    self.environments.insert(scope, memory);
                }
                Err(error) => {
                    ticked.failed += count;
                    tracing::error!(%scope, %error, "fuses could not be evaluated");
                }
            }
        }
        Ok(ticked)
    }
}

/// One environment at one moment.
struct Place<'p> {
    store: &'p Store,
    publisher: &'p Publisher,
    environment: EnvironmentRow,
    /// The platform incident that is on in its tenant.
    incident: Option<Incident>,
    now: UnixMillis,
}

/// What a look at a fuse came to.
struct Decided {
    flag: String,
    verdict: Verdict,
    /// What of its basis is its own.
    terms: Terms,
}

enum Acted {
    Moved,
    /// Replicas hold what this database never signed: they would refuse the move as they refuse everything.
    Blocked,
}

impl Place<'_> {
    const fn scope(&self) -> &Scope {
        &self.environment.scope
    }

    /// Looks at all fuses of the environment; what to remember of it. A memory that could not be brought up to date is
    /// lost, and made anew with the next tick.
    async fn tick(
        &self,
        mut memory: Memory,
        glances: &[Glance],
        ticked: &mut Ticked,
    ) -> Result<Memory, StoreError> {
        let (around, decided) = {
            let mut conn = self.store.read().await?;
            memory.refresh(&mut conn, self.scope(), glances, self.now).await?;
            let watermarks = watermarks::watermarks(&mut conn, self.scope(), self.now).await?;
            let around = self.around(&watermarks);
            let decided = self.decide_all(&mut conn, &memory, glances, &around).await?;
            (around, decided)
        };
        let (moves, stays): (Vec<_>, Vec<_>) =
            decided.into_iter().partition(|decided| decided.verdict.decision.moves());
        for decided in moves {
            match self.act(&mut memory, &around, decided).await {
                Ok(Acted::Moved) => ticked.moved += 1,
                Ok(Acted::Blocked) | Err(ChangeError::Outbox(OutboxError::Forked { .. })) => {
                    ticked.blocked += 1;
                }
                Err(ChangeError::Outbox(error @ OutboxError::EdgeTooOld(_))) => {
                    ticked.blocked += 1;
                    tracing::warn!(scope = %self.scope(), %error, "a ramp waits for edges");
                }
                Err(ChangeError::Stale { .. } | ChangeError::Unknown { .. }) => ticked.overtaken += 1,
                Err(error) => {
                    ticked.failed += 1;
                    tracing::error!(scope = %self.scope(), %error, "fuse could not be moved");
                }
            }
        }
        if let Err(error) = self.record_all(&mut memory, &around, &stays).await {
            ticked.failed += stays.len() as u64;
            tracing::error!(scope = %self.scope(), %error, "verdicts could not be written");
        }
        Ok(memory)
    }

    /// What all its fuses have around them.
    fn around(&self, watermarks: &[Watermark]) -> Around {
        Around {
            ingest_lag_ms: watermarks::lag_ms(watermarks, self.now),
            behind: behind(watermarks, self.now),
            min_networks: self.environment.safety.min_networks.get(),
            incident: self.incident.clone(),
        }
    }

    /// Decides by the evidence, and where that would trip, once more by who sent it.
    async fn decide_all(
        &self,
        conn: &mut Connection,
        memory: &Memory,
        glances: &[Glance],
        around: &Around,
    ) -> Result<Vec<Decided>, StoreError> {
        let mut all = Vec::with_capacity(glances.len());
        for glance in glances {
            let Some(watched) = memory.watched(&glance.flag) else { continue };
            let seen = Seen::of(memory, watched, self.now);
            let mut terms = Terms::of(memory, watched);
            let fuse = &watched.fuse;
            let mut verdict = Ground { fuse, around, terms: &terms }.decide(&seen, self.now);
            if terms.asks(&verdict) {
                terms.origins = self.origins(conn, memory, watched, &verdict).await?;
                verdict = Ground { fuse, around, terms: &terms }.decide(&seen, self.now);
            }
            all.push(Decided { flag: glance.flag.clone(), verdict, terms });
        }
        Ok(all)
    }

    /// Who sent the harmful events of a verdict. Where fewer events are harm, exposed units are what harms.
    async fn origins(
        &self,
        conn: &mut Connection,
        memory: &Memory,
        watched: &Watched,
        verdict: &Verdict,
    ) -> Result<BTreeMap<String, Origins>, StoreError> {
        let is_harmful = |metric: &str| {
            verdict.evidence.iter().any(|found| found.metric == metric && found.finding == Found::Harm)
        };
        let guardrails = watched.fuse.policy.guardrails.iter();
        let asked = guardrails.filter(|guardrail| is_harmful(&guardrail.metric)).filter_map(|guardrail| {
            let number = match guardrail.direction {
                Direction::DecreaseIsHarm => ENROLLED,
                Direction::IncreaseIsHarm => memory.metric_no(watched, &guardrail.metric)?,
            };
            Some((guardrail.metric.clone(), (watched.phase_id, number, Arm::Exposed)))
        });
        let (metrics, asked): (Vec<_>, Vec<_>) = asked.unzip();
        let found = cells::origins(conn, &asked).await?;
        Ok(metrics.into_iter().zip(found).collect())
    }

    /// Writes verdicts that are due; what was written is logged where people have to look.
    async fn record_all(
        &self,
        memory: &mut Memory,
        around: &Around,
        decided: &[Decided],
    ) -> Result<Vec<Recorded>, StoreError> {
        let findings: Vec<_> = decided
            .iter()
            .filter_map(|decided| {
                let watched = memory.watched(&decided.flag)?;
                let Decided { verdict, terms, .. } = decided;
                Some(Finding { watched, verdict, ground: Ground { fuse: &watched.fuse, around, terms } })
            })
            .collect();
        let recorded = record(self.store, self.scope(), &findings, self.now).await?;
        drop(findings);
        for (decided, recorded) in decided.iter().zip(&recorded) {
            let Some(said) = &recorded.said else { continue };
            memory.remember(&decided.flag, said.clone());
            if recorded.is_written && decided.verdict.reason == Reason::FewNetworks {
                let (scope, flag) = (self.scope(), &decided.flag);
                tracing::warn!(%scope, flag, "fuse is held: {}", decided.verdict.summary);
            }
        }
        Ok(recorded)
    }

    /// Moves a fuse. Its verdict is written by the transaction that moves it: there is none without the other.
    async fn act(
        &self,
        memory: &mut Memory,
        around: &Around,
        mut decided: Decided,
    ) -> Result<Acted, ChangeError> {
        let scope = self.scope();
        let forks = forks::of_environment(&mut *self.store.read().await?, scope).await?;
        let decision = decided.verdict.decision;
        if !forks.is_empty() {
            decided.terms.is_blocked = true;
            decided.verdict = is_blocked(decided.verdict);
            // As often as the verdict is written: at once, then every ten seconds.
            if self
                .record_all(memory, around, std::slice::from_ref(&decided))
                .await?
                .iter()
                .any(|found| found.is_written)
            {
                let (flag, decision) = (&decided.flag, decision.as_str());
                let forked = OutboxError::Forked { scope: scope.clone(), forks };
                tracing::error!(%scope, flag, decision, "fuse cannot move: {forked}");
            }
            return Ok(Acted::Blocked);
        }
        let (Some(watched), Ok(key)) = (memory.watched(&decided.flag), FlagKey::parse(&decided.flag)) else {
            return Ok(Acted::Blocked);
        };
        let change = self.change((watched, key), around, &decided);
        let said = Said::of(watched.phase, &decided.verdict, self.now);
        let actor = Actor { tenant: scope.tenant.clone(), name: "fuse".to_owned() };
        match apply(self.store, self.publisher, &actor, change, self.now).await {
            Ok(applied) => {
                let version = applied.version.map(|version| version.to_string());
                let (flag, reason) = (&decided.flag, decided.verdict.reason.as_str());
                tracing::info!(%scope, flag, decision = decision.as_str(), reason, version, "fuse moved");
                memory.remember(&decided.flag, said);
                Ok(Acted::Moved)
            }
            // Whoever was quicker has written why.
            Err(error @ (ChangeError::Stale { .. } | ChangeError::Unknown { .. })) => Err(error),
            Err(error) => {
                self.record_all(memory, around, std::slice::from_ref(&decided)).await?;
                Err(error)
            }
        }
    }

    /// The change that a verdict asks for: to another circuit, or to the next stage.
    fn change(&self, (watched, flag): (&Watched, FlagKey), around: &Around, decided: &Decided) -> Change {
        let Decided { verdict, terms, .. } = decided;
        let (scope, expected_revision) = (self.scope().clone(), watched.fuse.revision);
        let (reason, evidence) = (verdict.reason.as_str().to_owned(), json!(verdict.evidence));
        let basis = Ground { fuse: &watched.fuse, around, terms }.text();
        let made = MadeVerdict { phase: watched.phase, verdict: verdict.clone(), basis };
        let verdict_made = Some(Box::new(made));
        match verdict.decision.target() {
            Some(to) => Change::FuseTransition {
                scope,
                flag,
                expected_revision,
                to,
                by: Decider::Engine,
                reason,
                evidence,
                is_anew: false,
                slices: verdict.slices.clone(),
                verdict: verdict_made,
            },
            None => Change::FuseAdvance {
                scope,
                flag,
                expected_revision,
                reason,
                evidence,
                verdict: verdict_made,
            },
        }
    }
}

/// Buffers that have not delivered for too long, the latest first.
fn behind(watermarks: &[Watermark], now: UnixMillis) -> Vec<BufferBehind> {
    let late = watermarks.iter().filter(|found| found.behind_ms(now) > INGEST_LAG_MS_MAX);
    let mut behind: Vec<_> = late
        .map(|found| BufferBehind {
            name: [&*found.region, &*found.queue, &*found.buffer_id].join(" ").trim().to_owned(),
            behind_ms: found.behind_ms(now),
        })
        .collect();
    behind.sort_by_key(|found| std::cmp::Reverse(found.behind_ms));
    behind
}
