//! What a change has to itself while it is checked and made: as much as it checks.

use super::edit::Edit;
use super::kinds::{Actor, Change};
use super::proposal::Proposal;
use crate::store::Lock;

/// The lock of a change. What is asked of a whole tenant, such as how many environments it has, is asked under the
/// tenant's; what environments inherit, under their project's.
pub(super) fn lock<'p>(actor: &'p Actor, proposal: &'p Proposal) -> Lock<'p> {
    match proposal {
        Proposal::Change(change) => of_change(actor, change),
        Proposal::Edit(edit) => of_edit(actor, edit),
    }
}

const fn of_change<'p>(actor: &'p Actor, change: &'p Change) -> Lock<'p> {
    match change {
        Change::CreateProject { .. }
        | Change::CreateEnvironment { .. }
        | Change::CreateToken { .. }
        | Change::RotateToken { .. }
        | Change::People(_)
        | Change::RevokeToken { .. } => Lock::Tenant(&actor.tenant),
        Change::DeleteProject { project }
        | Change::PutProjectFlag { project, .. }
        | Change::DeleteProjectFlag { project, .. }
        | Change::PutFlagDetails { project, .. } => Lock::Project(&actor.tenant, project),
        Change::DeleteEnvironment { scope }
        | Change::SetSettings { scope, .. }
        | Change::PutFlag { scope, .. }
        | Change::DeleteFlag { scope, .. }
        | Change::PutOverride { scope, .. }
        | Change::PutPart { scope, .. }
        | Change::DeletePart { scope, .. }
        | Change::Import { scope, .. }
        | Change::PutFuse { scope, .. }
        | Change::DeleteFuse { scope, .. }
        | Change::FuseTransition { scope, .. }
        | Change::FuseAdvance { scope, .. }
        | Change::HoldRamp { scope, .. }
        | Change::Rollout { scope, .. }
        | Change::Slo { scope, .. }
        | Change::Revert { scope, .. }
        | Change::Republish { scope, .. } => Lock::Environment(scope),
    }
}

const fn of_edit<'p>(actor: &'p Actor, edit: &'p Edit) -> Lock<'p> {
    match edit {
        Edit::Flag { scope, .. } | Edit::Switch { scope, .. } | Edit::Settings { scope, .. } => {
            Lock::Environment(scope)
        }
        Edit::Copy { to, .. } => Lock::Environment(to),
        Edit::ProjectFlag { project, .. } => Lock::Project(&actor.tenant, project),
    }
}
