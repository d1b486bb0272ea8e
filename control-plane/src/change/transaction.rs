//! The transaction of a change: check, write, compare, audit, sign and queue, or nothing of all that.

use flagfuse_shared::ids::UnixMillis;
use serde_json::{Value, json};

use super::action::Action;
use super::altered::Altered;
use super::consent::{Consent, above, confirmation};
use super::decisions::Watch;
use super::effect::Effect;
use super::error::ChangeError;
use super::kinds::{Actor, Change};
use super::lock::lock;
use super::loss::Loss;
use super::outcome::{Applied, Rehearsed};
use super::precondition::Preconditions;
use super::proposal::{Proposal, Resolved, Terms, Work};
use super::record::{Consequences, record};
use super::writing::Writing;
use super::{
    details, flag, fuse, import, inheritance, part, people, precondition_check, ramp, revert, rollout, scope,
    slice_trip, slo, token,
};
use crate::meters::Meters;
use crate::model::circuit::Circuit;
use crate::publish::Publisher;
use crate::store::{Store, kept_answers};

/// What was done, or would be.
struct Done {
    /// Nothing when there was nothing to do.
    applied: Option<Applied>,
    altered: Vec<Altered>,
    loss: Option<Loss>,
    measured: Vec<Measured>,
}

/// What metrics say of an effect.
struct Measured {
    action: Action,
    /// Where a fuse moved to.
    circuit: Option<Circuit>,
}

impl Measured {
    fn of(effect: &Effect) -> Self {
        let to = effect.detail.get("to").filter(|_| effect.action == Action::FuseTransition);
        Self { action: effect.action, circuit: to.and_then(Value::as_str).and_then(Circuit::parse) }
    }

    fn tell(&self, meters: &Meters, actor: &Actor) {
        meters.changed(self.action.as_str(), &actor.name);
        if let Some(circuit) = self.circuit {
            meters.moved(circuit.as_str(), &actor.name);
        }
    }
}

/// Applies a change that nobody is there to confirm. When this returns `Ok`, it is on disk and its snapshot is queued.
pub async fn apply(
    store: &Store,
    publisher: &Publisher,
    actor: &Actor,
    change: Change,
    now: UnixMillis,
) -> Result<Applied, ChangeError> {
    propose(store, publisher, actor, change.into(), &Terms::default(), now).await
}

/// Applies a change, if what is there is what it was made for, and unless a person has to look at what it does first.
pub async fn propose(
    store: &Store,
    publisher: &Publisher,
    actor: &Actor,
    proposal: Proposal,
    terms: &Terms,
    now: UnixMillis,
) -> Result<Applied, ChangeError> {
    let mut tx = store.write(lock(actor, &proposal)).await?;
    let mut writing = Writing { conn: &mut tx, read_flags: store.read_flags(), actor, now };
    let resolved = Resolved::read(&mut writing, proposal, terms).await?;
    let (subject, is_answered) = (resolved.subject.clone(), resolved.is_answered_with_the_version);
    let done = transact(&mut writing, publisher, resolved).await?;
    let tag = subject.tag(writing.conn).await?;
    let is_done = done.applied.is_some();
    let mut applied = Applied { tag, ..done.applied.unwrap_or_default() };
    if is_answered && applied.version.is_none() {
        (applied.version, applied.revision) = subject.version_and_revision(writing.conn).await?;
    }
    if is_done {
        // In the transaction of what it is about: it is done once, whoever stops where.
        if let Some(claim) = &terms.claim
            && !kept_answers::done(&mut tx, claim, now).await?
        {
            return Err(ChangeError::Overtaken);
        }
        tx.commit().await?;
        publisher.ring();
        done.measured.iter().for_each(|measured| measured.tell(store.meters(), actor));
    }
    Ok(applied)
}

/// Everything that `apply` does and checks, but nothing is kept.
pub async fn rehearse(
    store: &Store,
    publisher: &Publisher,
    actor: &Actor,
    proposal: Proposal,
    preconditions: Preconditions,
    now: UnixMillis,
) -> Result<Rehearsed, ChangeError> {
    let mut tx = store.write(lock(actor, &proposal)).await?;
    let terms = Terms { consent: Consent::Person(None), preconditions, ..Terms::default() };
    let mut writing = Writing { conn: &mut tx, read_flags: store.read_flags(), actor, now };
    let mut resolved = Resolved::read(&mut writing, proposal, &terms).await?;
    let consent = std::mem::replace(&mut resolved.consent, Consent::NotAsked);
    let Done { applied, altered, loss, .. } = transact(&mut writing, publisher, resolved).await?;
    tx.rollback().await?;
    let confirmation = match &loss {
        Some(loss) => loss.required_confirmation(),
        None => above(&altered).map(|_| confirmation(&altered)),
    };
    Ok(Rehearsed {
        decisions: altered.iter().map(Altered::detail).collect(),
        lost: loss.map(|loss| loss.numbers()),
        notes: applied.map(|applied| applied.notes).unwrap_or_default(),
        confirmation: confirmation.filter(|_| consent != Consent::NotAsked),
    })
}

async fn transact(
    writing: &mut Writing<'_>,
    publisher: &Publisher,
    resolved: Resolved,
) -> Result<Done, ChangeError> {
    let Resolved { subject, change, work, consent, preconditions, comment, reserve, copied_from, .. } =
        resolved;
    precondition_check::check(writing, &subject, &change, &preconditions).await?;
    if work == Work::Nothing {
        return Ok(Done { applied: None, altered: Vec::new(), loss: None, measured: Vec::new() });
    }
    let loss = Loss::of(writing, &change).await?;
    let watch = Watch::before(writing, &change).await?;
    let mut effects = perform(writing, change).await?;
    let own = effects.first_mut().and_then(|effect| effect.detail.as_object_mut());
    if let Some(detail) = own {
        detail.extend(copied_from.map(|from| ("copied_from".to_owned(), json!(from))));
        // What follows from it happens for the same reason, and stands beside it.
        detail.extend(comment.map(|comment| ("comment".to_owned(), json!(comment))));
    }
    let altered = watch.after(writing, &effects).await?;
    consent.check(&altered)?;
    if let Some(loss) = &loss {
        loss.check(consent)?;
    }
    let measured = effects.iter().map(Measured::of).collect();
    let consequences = Consequences { altered: &altered, loss: loss.as_ref() };
    let applied = record(writing, publisher, effects, consequences, reserve).await?;
    Ok(Done { applied, altered, loss, measured })
}

/// Nothing when there was nothing to do.
async fn perform(writing: &mut Writing<'_>, change: Change) -> Result<Vec<Effect>, ChangeError> {
    match change {
        Change::CreateProject { project, name } => scope::create_project(writing, &project, &name).await,
        Change::CreateEnvironment { scope, settings, safety } => {
            scope::create(writing, scope, settings, &safety).await
        }
        Change::SetSettings { scope, settings, safety } => {
            scope::set(writing, scope, settings, &safety).await
        }
        Change::DeleteProject { project } => scope::delete_project(writing, project).await,
        Change::DeleteEnvironment { scope } => scope::delete(writing, scope).await,
        Change::Revert { scope, to, flag, fuses } => {
            revert::apply(writing, scope, revert::Way { to, only: flag, fuses }).await
        }
        Change::Republish { scope, urgency } => scope::republish(writing, scope, urgency).await,
        Change::PutFlag { scope, wire } => flag::put(writing, scope, *wire).await,
        Change::DeleteFlag { scope, flag, fuses } => flag::delete(writing, scope, &flag, fuses).await,
        Change::PutProjectFlag { project, wire } => inheritance::put(writing, &project, *wire).await,
        Change::DeleteProjectFlag { project, flag, fuses } => {
            inheritance::delete(writing, &project, &flag, fuses).await
        }
        Change::PutOverride { scope, flag, patch } => {
            inheritance::put_override(writing, scope, &flag, patch).await
        }
        Change::PutFlagDetails { project, flag, details } => {
            details::put(writing, &project, &flag, &details).await
        }
        Change::PutPart { scope, part } => part::put(writing, scope, *part).await,
        Change::Slo { scope, change } => slo::apply(writing, scope, change).await,
        Change::DeletePart { scope, part, key } => part::delete(writing, scope, part, &key).await,
        Change::Import { scope, import } => import::apply(writing, scope, *import).await,
        Change::PutFuse { scope, flag, policy } => Box::pin(fuse::put(writing, scope, &flag, *policy)).await,
        Change::DeleteFuse { scope, flag } => {
            rollout::forget_validation(writing, &scope, flag.as_str()).await?;
            fuse::delete(writing, scope, &flag).await
        }
        Change::FuseTransition {
            scope,
            flag,
            expected_revision,
            to,
            by,
            reason,
            evidence,
            is_anew,
            slices,
            verdict,
        } => {
            let transition =
                fuse::Transition { flag, expected_revision, to, by, reason, evidence, is_anew, verdict };
            Box::pin(slice_trip::transition(writing, scope, transition, &slices)).await
        }
        Change::FuseAdvance { scope, flag, expected_revision, reason, evidence, verdict } => {
            let step = ramp::Step { flag, expected_revision, reason, evidence, verdict };
            Box::pin(ramp::advance(writing, scope, step)).await
        }
        Change::HoldRamp { scope, flag, is_held, reason } => {
            Box::pin(ramp::hold_ramp(writing, scope, &flag, (is_held, reason))).await
        }
        Change::Rollout { scope, flag, step } => rollout::take(writing, scope, &flag, step).await,
        Change::CreateToken { token, secret } => token::create(writing, *token, secret).await,
        Change::RevokeToken { token_id } => token::revoke(writing, &token_id).await,
        Change::RotateToken { token_id, successor, secret, expires_ms } => {
            token::rotate(writing, &token_id, (*successor, secret), expires_ms).await
        }
        Change::People(change) => people::make(writing, *change).await,
    }
}
