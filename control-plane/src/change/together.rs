//! Fuses that open together: a flag's and those of its group, in one transaction and one version, so that nobody is served
//! a mixture of before and after. They come back one by one: what opened for another's evidence has none of its own.

use std::collections::BTreeSet;

use flagfuse_shared::ids::{FlagKey, Scope};
use serde_json::json;

use super::effect::{Effect, Publication};
use super::error::ChangeError;
use super::fuse::{self, Transition};
use super::kinds::Decider;
use super::writing::Writing;
use crate::model::circuit::Circuit;
use crate::model::contract::together;
use crate::store::validations::Ended;
use crate::store::{Connection, StoreError, contracts, fuses, validations};

/// Why a fuse opened that has shown nothing itself.
const REASON: &str = "opened_with_group";

/// The flags whose fuses open with that of `flag`.
pub(super) async fn members(
    conn: &mut Connection,
    scope: &Scope,
    flag: &FlagKey,
) -> Result<BTreeSet<String>, StoreError> {
    let groups = contracts::groups(conn, scope).await?;
    Ok(together(&groups, flag.as_str()))
}

/// Moves a fuse, and opens those of its group where it opens. The first effect is that of the fuse itself; its version
/// carries all of them.
pub(super) async fn transition(
    writing: &mut Writing<'_>,
    scope: Scope,
    transition: Transition,
) -> Result<Vec<Effect>, ChangeError> {
    let (flag, is_trip) = (transition.flag.clone(), transition.to == Circuit::Open);
    let mut effects = fuse::transition(writing, scope.clone(), transition).await?;
    if !is_trip {
        return Ok(effects);
    }
    end_validation(writing, &scope, flag.as_str()).await?;
    for member in members(writing.conn, &scope, &flag).await? {
        let Ok(key) = FlagKey::parse(&member) else { continue };
        let Some(found) = fuses::fuse(writing.conn, &scope, &member).await? else { continue };
        if found.circuit == Circuit::Open {
            continue;
        }
        let other = Transition {
            flag: key,
            expected_revision: found.revision,
            to: Circuit::Open,
            // Its own counts say nothing about when it may come back: a person does.
            by: Decider::Person,
            reason: REASON.to_owned(),
            evidence: json!({ "with": flag }),
            is_anew: false,
            verdict: None,
        };
        let mut more = fuse::transition(writing, scope.clone(), other).await?;
        for effect in &mut more {
            effect.publication = Publication::WithFirst;
        }
        effects.append(&mut more);
        end_validation(writing, &scope, &member).await?;
    }
    Ok(effects)
}

/// What was being validated is rolled back, whoever did it.
async fn end_validation(writing: &mut Writing<'_>, scope: &Scope, flag: &str) -> Result<(), StoreError> {
    validations::end(writing.conn, scope, flag, (Ended::RolledBack, &[]), writing.now).await?;
    Ok(())
}
