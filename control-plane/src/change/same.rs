//! Whether a change would write what is there already. Compares, and writes nothing.

use super::flag;
use super::kinds::{Change, RolloutStep};
use super::slo_change::SloChange;
use super::writing::Writing;
use crate::model::contract::{Baseline, Contract};
use crate::store::contracts::ContractPart;
use crate::store::{StoreError, contracts, flag_details, flags, fuses, parts, project_flags, scopes, slos};

/// Whether everything would be as it is. `false` of what is not there, or not the actor's: the change is refused for that.
pub(super) async fn is_same(writing: &mut Writing<'_>, change: &Change) -> Result<bool, StoreError> {
    Ok(match change {
        Change::PutFlag { scope, wire } if writing.owns(scope) => {
            let stored = flags::flag(writing.conn, scope, &wire.key).await?.map(|row| row.wire);
            let admitted = flag::admit(stored.as_ref(), (**wire).clone()).ok();
            stored.is_some() && admitted == stored
        }
        Change::PutProjectFlag { project, wire } => {
            let stored =
                project_flags::definition(writing.conn, &writing.actor.tenant, project, &wire.key).await?;
            if stored.is_none_or(|stored| stored.wire != **wire) {
                return Ok(false);
            }
            // An environment that could not take the flag before may take it writing.now.
            for environment in writing.environments_of(project).await? {
                if flags::flag(writing.conn, &environment.scope, &wire.key).await?.is_none() {
                    return Ok(false);
                }
            }
            true
        }
        Change::PutFlagDetails { project, flag, details } => {
            let stored =
                flag_details::details(writing.conn, &writing.actor.tenant, project, flag.as_str()).await?;
            stored.is_some_and(|stored| stored.details == **details)
        }
        Change::PutOverride { scope, flag, patch } if writing.owns(scope) => {
            let inherited = project_flags::inherited(writing.conn, scope, flag.as_str()).await?;
            inherited.is_some_and(|inherited| inherited.patch == *patch)
        }
        Change::PutPart { scope, part } if writing.owns(scope) => {
            let (kind, key) = part.name();
            let stored = parts::part(writing.conn, scope, kind, key).await?;
            stored.is_some_and(|stored| stored.body == part.body())
        }
        Change::PutFuse { scope, flag, policy } if writing.owns(scope) => {
            let stored = fuses::fuse(writing.conn, scope, flag.as_str()).await?;
            stored.is_some_and(|stored| stored.policy == **policy)
        }
        Change::Rollout { scope, flag, step: RolloutStep::PutContract(contract) } if writing.owns(scope) => {
            let part = ContractPart::Contract;
            let stored = contracts::newest::<Contract>(writing.conn, scope, part, flag.as_str()).await?;
            stored.is_some_and(|stored| stored.body == **contract)
        }
        Change::Rollout { scope, flag, step: RolloutStep::PutBaseline(baseline) } if writing.owns(scope) => {
            let part = ContractPart::Baseline;
            let stored = contracts::newest::<Baseline>(writing.conn, scope, part, flag.as_str()).await?;
            stored.is_some_and(|stored| stored.body == **baseline)
        }
        Change::Slo { scope, change: SloChange::Put { name, slo } } if writing.owns(scope) => {
            let stored = slos::slo(writing.conn, scope, name).await?;
            stored.is_some_and(|stored| stored.slo == **slo)
        }
        Change::SetSettings { scope, settings: new, safety } if writing.owns(scope) => {
            match scopes::environment(writing.conn, scope).await? {
                Some(row) => row.settings == *new && row.safety == **safety,
                None => false,
            }
        }
        _ => false,
    })
}
