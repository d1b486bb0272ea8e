//! Each tick: read what was counted, decide, record, act through `change`. What it remembers between ticks only saves
//! reading: any number may run, and one that starts anew decides the same.

pub mod heard;
mod memory;
mod record;

use std::collections::BTreeMap;

use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::{FlagKey, Scope, UnixMillis};
use serde_json::json;

use self::memory::{Figures, Memory, Watched};
use self::record::{Finding, Recorded, record};
use crate::change::{Actor, Change, ChangeError, Decider, apply};
use crate::model::metric::ENROLLED;
use crate::model::policy::Direction;
use crate::model::verdict::{
    BufferBehind, Decision, EmaStep, Finding as Found, INGEST_LAG_MS_MAX, Look, Origins, Reason, Verdict,
    blocked, decide,
};
use crate::publish::Publisher;
use crate::publish::outbox::OutboxError;
use crate::store::fuses::Glance;
use crate::store::scopes::EnvironmentRow;
use crate::store::watermarks::{self, Watermark};
use crate::store::{Connection, Store, StoreError, cells, forks, fuses, scopes};

/// One step of a moving average, however often and by however many engines a fuse is looked at.
const EMA_INTERVAL_MS: u64 = 1_000;

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
            let place = Place { store, publisher, environment, now };
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
    now: UnixMillis,
}

/// What a look at a fuse came to.
struct Decided {
    flag: String,
    verdict: Verdict,
    ema: BTreeMap<String, f64>,
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
        let decided = {
            let mut conn = self.store.read().await?;
            memory.refresh(&mut conn, self.scope(), glances, self.now).await?;
            let watermarks = watermarks::watermarks(&mut conn, self.scope(), self.now).await?;
            self.decide_all(&mut conn, &memory, glances, &watermarks).await?
        };
        let (moves, stays): (Vec<_>, Vec<_>) =
            decided.into_iter().partition(|decided| decided.verdict.decision.target().is_some());
        for decided in moves {
            match self.act(&mut memory, decided).await {
                Ok(Acted::Moved) => ticked.moved += 1,
                Ok(Acted::Blocked) | Err(ChangeError::Outbox(OutboxError::Forked { .. })) => {
                    ticked.blocked += 1;
                }
                Err(ChangeError::Stale { .. } | ChangeError::Unknown { .. }) => ticked.overtaken += 1,
                Err(error) => {
                    ticked.failed += 1;
                    tracing::error!(scope = %self.scope(), %error, "fuse could not be moved");
                }
            }
        }
        if let Err(error) = self.record_all(&mut memory, &stays).await {
            ticked.failed += stays.len() as u64;
            tracing::error!(scope = %self.scope(), %error, "verdicts could not be written");
        }
        Ok(memory)
    }

    /// Decides by the evidence, and where that would trip, once more by who sent it.
    async fn decide_all(
        &self,
        conn: &mut Connection,
        memory: &Memory,
        glances: &[Glance],
        watermarks: &[Watermark],
    ) -> Result<Vec<Decided>, StoreError> {
        let behind = behind(watermarks, self.now);
        let around = Around { lag_ms: watermarks::lag_ms(watermarks, self.now), behind: &behind };
        let nobody = BTreeMap::new();
        let mut all = Vec::with_capacity(glances.len());
        for glance in glances {
            let Some(watched) = memory.watched(&glance.flag) else { continue };
            let figures = memory.figures(watched, self.now);
            let heed = memory.heed(watched);
            let look =
                |origins| Look { heed: heed.as_ref(), ..self.look(watched, &figures, &around, origins) };
            let (verdict, ema) = decide(&look(&nobody));
            if verdict.decision != Decision::Trip {
                all.push(Decided { flag: glance.flag.clone(), verdict, ema });
                continue;
            }
            let origins = self.origins(conn, memory, watched, &verdict).await?;
            let (verdict, ema) = decide(&look(&origins));
            all.push(Decided { flag: glance.flag.clone(), verdict, ema });
        }
        Ok(all)
    }

    fn look<'l>(
        &self,
        watched: &'l Watched,
        figures: &'l Figures,
        around: &Around<'l>,
        origins: &'l BTreeMap<String, Origins>,
    ) -> Look<'l> {
        let fuse = &watched.fuse;
        Look {
            policy: &fuse.policy,
            circuit: fuse.circuit,
            hand: fuse.hand,
            acted_ms: fuse.acted_ms,
            readings: &figures.readings,
            recent: &figures.recent,
            buckets: figures.buckets,
            tripped_metrics: &fuse.tripped_metrics,
            ingest_lag_ms: around.lag_ms,
            behind: around.behind,
            min_networks: self.environment.safety.min_networks.get(),
            origins,
            ema: &fuse.ema,
            ema_step: if self.now.since(fuse.ema_ms) >= EMA_INTERVAL_MS {
                EmaStep::Move
            } else {
                EmaStep::Keep
            },
            heed: None,
            now: self.now,
        }
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
        decided: &[Decided],
    ) -> Result<Vec<Recorded>, StoreError> {
        let findings: Vec<_> = decided
            .iter()
            .filter_map(|decided| {
                let watched = memory.watched(&decided.flag)?;
                Some(Finding { watched, verdict: &decided.verdict, ema: &decided.ema })
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

    /// Moves a fuse, after its verdict is written.
    async fn act(&self, memory: &mut Memory, mut decided: Decided) -> Result<Acted, ChangeError> {
        let scope = self.scope();
        let forks = forks::of_environment(&mut *self.store.read().await?, scope).await?;
        let decision = decided.verdict.decision;
        if !forks.is_empty() {
            decided.verdict.reason = Reason::RestoredFromOldCopy;
            decided.verdict.summary = blocked(decision, &decided.verdict.summary);
            // As often as the verdict is written: at once, then every ten seconds.
            if self
                .record_all(memory, std::slice::from_ref(&decided))
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
        self.record_all(memory, std::slice::from_ref(&decided)).await?;
        let Decided { flag, verdict, .. } = decided;
        let (Some(to), Some(watched)) = (decision.target(), memory.watched(&flag)) else {
            return Ok(Acted::Blocked);
        };
        let Ok(key) = FlagKey::parse(&flag) else { return Ok(Acted::Blocked) };
        let change = Change::FuseTransition {
            scope: scope.clone(),
            flag: key,
            expected_revision: watched.fuse.revision,
            to,
            by: Decider::Engine,
            reason: verdict.reason.as_str().to_owned(),
            evidence: json!(verdict.evidence),
        };
        let actor = Actor { tenant: scope.tenant.clone(), name: "fuse".to_owned() };
        let applied = apply(self.store, self.publisher, &actor, change, self.now).await?;
        let version = applied.version.map(|version| version.to_string());
        tracing::info!(%scope, flag, to = to.as_str(), reason = verdict.reason.as_str(), version, "fuse moved");
        Ok(Acted::Moved)
    }
}

/// What all fuses of an environment have around them.
struct Around<'a> {
    /// For how long the oldest event has been waiting.
    lag_ms: u64,
    behind: &'a [BufferBehind],
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
