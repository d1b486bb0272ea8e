//! Each tick: read tallies, decide, record, act through `change`. Holds nothing between ticks, so any number may run.

use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::{FlagKey, Scope, UnixMillis};
use serde_json::json;

use crate::change::{Actor, Change, ChangeError, Decider, apply};
use crate::model::circuit::Circuit;
use crate::model::verdict::{EmaStep, Look, Reading, Reason, Recent, Verdict, blocked, decide};
use crate::publish::Publisher;
use crate::publish::outbox::OutboxError;
use crate::store::fuses::{self, FuseRow};
use crate::store::tallies::{EnrolmentRange, reading};
use crate::store::verdicts::VerdictRow;
use crate::store::{Connection, Lock, Store, StoreError, buffers, forks, phases, scopes, verdicts};

/// An unchanged verdict is written again after this long, as a sign of life.
const VERDICT_INTERVAL_MS: u64 = 10_000;

/// One step of a moving average, however often and by however many engines a fuse is looked at.
const EMA_INTERVAL_MS: u64 = 1_000;

/// What the present rate is taken from.
const RECENT_MS: u64 = 3_600_000;
/// Tallies are by the minute.
const MINUTE_MS: u64 = 60_000;

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

/// Looks at every fuse of the installation once. One that fails does not keep the others from being looked at.
pub async fn tick(store: &Store, publisher: &Publisher, now: UnixMillis) -> Result<Ticked, StoreError> {
    let mut ticked = Ticked::default();
    let environments = scopes::environments(&mut *store.read().await?, scopes::Whose::Installation).await?;
    for environment in environments {
        let scope = environment.scope;
        let all = fuses::fuses(&mut *store.read().await?, &scope).await?;
        for fuse in all {
            ticked.looked += 1;
            match look_and_act(store, publisher, &scope, &fuse, now).await {
                Ok(Acted::Stayed) => {}
                Ok(Acted::Moved) => ticked.moved += 1,
                Ok(Acted::Blocked) | Err(ChangeError::Outbox(OutboxError::Forked { .. })) => {
                    ticked.blocked += 1;
                }
                Err(ChangeError::Stale { .. } | ChangeError::Unknown { .. }) => ticked.overtaken += 1,
                Err(error) => {
                    ticked.failed += 1;
                    tracing::error!(%scope, flag = fuse.flag, %error, "fuse could not be evaluated");
                }
            }
        }
    }
    Ok(ticked)
}

enum Acted {
    Stayed,
    Moved,
    /// Replicas hold what this database never signed: they would refuse the move as they refuse everything.
    Blocked,
}

async fn look_and_act(
    store: &Store,
    publisher: &Publisher,
    scope: &Scope,
    fuse: &FuseRow,
    now: UnixMillis,
) -> Result<Acted, ChangeError> {
    let (mut verdict, ema, forks) = {
        let mut conn = store.read().await?;
        let Figures { readings, recent, buckets } = see(&mut conn, fuse, now).await?;
        let look = Look {
            policy: &fuse.policy,
            circuit: fuse.circuit,
            hand: fuse.hand,
            acted_ms: fuse.acted_ms,
            readings: &readings,
            recent: &recent,
            buckets,
            tripped_metrics: &fuse.tripped_metrics,
            ingest_lag_ms: buffers::lag_ms(&mut conn, scope, now).await?,
            ema: &fuse.ema,
            ema_step: if now.since(fuse.ema_ms) >= EMA_INTERVAL_MS { EmaStep::Move } else { EmaStep::Keep },
            now,
        };
        let (verdict, ema) = decide(&look);
        (verdict, ema, forks::of_environment(&mut conn, scope).await?)
    };
    if verdict.decision.target().is_some() && !forks.is_empty() {
        verdict.reason = Reason::RestoredFromOldCopy;
        verdict.summary = blocked(verdict.decision, &verdict.summary);
        // As often as the verdict is written: at once, then every ten seconds.
        if record(store, scope, fuse, &verdict, &ema, now).await? == Recorded::Written {
            let (flag, decision) = (&fuse.flag, verdict.decision.as_str());
            tracing::error!(%scope, flag, decision, "fuse cannot move: {}", OutboxError::Forked { scope: scope.clone(), forks });
        }
        return Ok(Acted::Blocked);
    }
    record(store, scope, fuse, &verdict, &ema, now).await?;
    let Some(to) = verdict.decision.target() else { return Ok(Acted::Stayed) };
    let Ok(flag) = FlagKey::parse(&fuse.flag) else { return Ok(Acted::Stayed) };
    let change = Change::FuseTransition {
        scope: scope.clone(),
        flag,
        expected_revision: fuse.revision,
        to,
        by: Decider::Engine,
        reason: verdict.reason.as_str().to_owned(),
        evidence: json!(verdict.evidence),
    };
    let actor = Actor { tenant: scope.tenant.clone(), name: "fuse".to_owned() };
    let applied = apply(store, publisher, &actor, change, now).await?;
    let version = applied.version.map(|version| version.to_string());
    tracing::info!(%scope, flag = fuse.flag, to = to.as_str(), reason = verdict.reason.as_str(), version, "fuse moved");
    Ok(Acted::Moved)
}

/// What the tallies say of a fuse.
struct Figures {
    /// One for each guardrail.
    readings: Vec<Reading>,
    /// What came lately, one for each guardrail.
    recent: Vec<Recent>,
    /// Widths of the exposed and the control arm.
    buckets: (u32, u32),
}

/// Reads the running phase, or the tripped one while open, since nobody is exposed then.
async fn see(conn: &mut Connection, fuse: &FuseRow, now: UnixMillis) -> Result<Figures, StoreError> {
    let phase_id = match (fuse.circuit, fuse.tripped_phase_id) {
        (Circuit::Open, Some(tripped)) => tripped,
        (Circuit::Open | Circuit::Closed | Circuit::HalfOpen, _) => fuse.phase_id,
    };
    let phase = phases::by_id(conn, phase_id).await?;
    let started_ms = phase.as_ref().map_or(now, |phase| phase.started_ms);
    let mut readings = Vec::with_capacity(fuse.policy.guardrails.len());
    let mut recent = Vec::with_capacity(fuse.policy.guardrails.len());
    for guardrail in &fuse.policy.guardrails {
        let range = EnrolmentRange::of(&fuse.policy, guardrail, now);
        readings.push(reading(conn, phase_id, &guardrail.metric, range).await?);
        // Of a young phase only what there is of it: an hour of which it ran for a minute would look like a slow one.
        let from = range.to.minus(RECENT_MS).max(started_ms);
        let newest = EnrolmentRange { from: from.minus(from.0 % MINUTE_MS), ..range };
        let span_ms = range.to.since(from).max(MINUTE_MS);
        let came = reading(conn, phase_id, &guardrail.metric, newest).await?;
        recent.push(Recent { reading: came, span_ms });
    }
    let buckets = phase.map_or((0, 0), |phase| (phase.width(Arm::Exposed), phase.width(Arm::Control)));
    Ok(Figures { readings, recent, buckets })
}

/// Whether the verdict was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recorded {
    Written,
    NotDue,
}

/// Writes the verdict when it differs from the one before or is due, and moves the averages.
async fn record(
    store: &Store,
    scope: &Scope,
    fuse: &FuseRow,
    verdict: &Verdict,
    ema: &std::collections::BTreeMap<String, f64>,
    now: UnixMillis,
) -> Result<Recorded, StoreError> {
    let (phase, newest) = {
        let mut conn = store.read().await?;
        let phase = phases::by_id(&mut conn, fuse.phase_id).await?.map_or(0, |phase| phase.phase);
        (phase, verdicts::newest(&mut conn, scope, &fuse.flag, 1).await?.pop())
    };
    let is_due = is_due(newest.as_ref(), verdict, phase, now);
    if !is_due && ema == &fuse.ema {
        return Ok(Recorded::NotDue);
    }
    let mut tx = store.write(Lock::Environment(scope)).await?;
    // Looked at again under the lock: another engine on this database may have written the same one.
    let is_due = is_due && {
        let newest = verdicts::newest(&mut tx, scope, &fuse.flag, 1).await?.pop();
        self::is_due(newest.as_ref(), verdict, phase, now)
    };
    if is_due {
        verdicts::insert(&mut tx, scope, &fuse.flag, phase, verdict, now).await?;
    }
    if ema != &fuse.ema {
        fuses::move_ema(&mut tx, scope, fuse, ema, now).await?;
    }
    tx.commit().await?;
    Ok(if is_due { Recorded::Written } else { Recorded::NotDue })
}

/// Whether a verdict differs from the newest that is written, or that one is old enough.
fn is_due(newest: Option<&VerdictRow>, verdict: &Verdict, phase: u32, now: UnixMillis) -> bool {
    newest.is_none_or(|old| {
        let is_same = old.decision == verdict.decision.as_str()
            && old.reason == verdict.reason.as_str()
            && old.phase == phase;
        !is_same || now.since(old.at_ms) >= VERDICT_INTERVAL_MS
    })
}
