//! Looks at roll-outs that are being validated, and promotes or rolls back those whose contracts say so, through `change`.
//! Any number may run: what one has decided, another finds decided.

use flagfuse_shared::ids::{FlagKey, Scope, UnixMillis};

use crate::change::{Actor, Change, ChangeError, RolloutStep, apply};
use crate::model::contract::{Decides, Judgement, Standing};
use crate::publish::Publisher;
use crate::store::validations::{self, ValidationRow};
use crate::store::{Store, StoreError};

/// What a look did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Validated {
    /// Validations looked at.
    pub looked: u64,
    /// Roll-outs that were promoted.
    pub promoted: u64,
    /// Roll-outs that were rolled back.
    pub rolled_back: u64,
    /// Looks and steps that failed.
    pub failed: u64,
}

/// Looks at every validation that runs once. One that fails does not keep the others from being looked at.
pub async fn tick(store: &Store, publisher: &Publisher, now: UnixMillis) -> Result<Validated, StoreError> {
    let running = validations::all_running(&mut *store.read().await?).await?;
    let mut done = Validated::default();
    for (scope, row) in running {
        done.looked += 1;
        match step(store, publisher, &scope, &row, now).await {
            Ok(Some(Standing::Met)) => done.promoted += 1,
            Ok(Some(Standing::Violated)) => done.rolled_back += 1,
            Ok(Some(Standing::Validating) | None) => {}
            Err(error) => {
                done.failed += 1;
                tracing::error!(%scope, flag = row.flag, %error, "a roll-out could not be validated");
            }
        }
    }
    Ok(done)
}

/// Takes the step that a validation asks for; what it decided, where it did.
async fn step(
    store: &Store,
    publisher: &Publisher,
    scope: &Scope,
    row: &ValidationRow,
    now: UnixMillis,
) -> Result<Option<Standing>, ChangeError> {
    let judgement = {
        let mut conn = store.read().await?;
        let Some(terms) = validations::terms(&mut conn, scope, row).await? else { return Ok(None) };
        if terms.contract.decides == Decides::ByHand {
            return Ok(None);
        }
        validations::judged(&mut conn, scope, row, &terms, now).await?
    };
    let Judgement { standing, rules } = judgement;
    let (of, reason) = (Some(row.validation_id), String::new());
    let step = match standing {
        Standing::Validating => return Ok(None),
        Standing::Met => RolloutStep::Promote { of, rules, reason },
        Standing::Violated => RolloutStep::RollBack { of, rules, reason },
    };
    let Ok(flag) = FlagKey::parse(&row.flag) else { return Ok(None) };
    let actor = Actor { tenant: scope.tenant.clone(), name: "job:validation".to_owned() };
    let change = Change::Rollout { scope: scope.clone(), flag, step };
    let applied = apply(store, publisher, &actor, change, now).await?;
    // A probe that is not over keeps a promotion waiting.
    let is_done = applied.revision.is_some() && !applied.notes.contains_key("refused");
    if is_done {
        tracing::info!(%scope, flag = row.flag, ?standing, "a roll-out was decided by its contract");
    }
    Ok(is_done.then_some(standing))
}
