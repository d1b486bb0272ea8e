//! What was done, by the words that the audit trail has for it. The words are stored, so none is ever renamed.

use crate::store::parts::Part;

/// What was done to something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    CreateProject,
    DeleteProject,
    CreateEnvironment,
    SetSettings,
    DeleteEnvironment,
    Import,
    Revert,
    Republish,
    PutFlag,
    DeleteFlag,
    PutDetails,
    PutProjectFlag,
    DeleteProjectFlag,
    PutOverride,
    DeleteOverride,
    PutPart(Part),
    DeletePart(Part),
    PutFuse,
    DeleteFuse,
    FuseTransition,
    FuseAdvance,
    FuseHoldRamp,
    PutContract,
    DeleteContract,
    PutBaseline,
    Validate,
    Promote,
    RefuseRollout,
    PutSlo,
    DeleteSlo,
    Suppress,
    DeleteSuppression,
    CreateToken,
    RevokeToken,
    RotateToken,
    Invite,
    SetRoles,
    RemoveMember,
    MakeLink,
    SetPassword,
    OpenSession,
    EndSession,
}

impl Action {
    /// The word in the audit trail.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::CreateProject => "project.create",
            Self::DeleteProject => "project.delete",
            Self::CreateEnvironment => "environment.create",
            Self::SetSettings => "environment.settings",
            Self::DeleteEnvironment => "environment.delete",
            Self::Import => "environment.import",
            Self::Revert => "environment.revert",
            Self::Republish => "environment.republish",
            Self::PutFlag => "flag.put",
            Self::DeleteFlag => "flag.delete",
            Self::PutDetails => "flag.details",
            Self::PutProjectFlag => "project_flag.put",
            Self::DeleteProjectFlag => "project_flag.delete",
            Self::PutOverride => "override.put",
            Self::DeleteOverride => "override.delete",
            Self::PutPart(Part::Segment) => "segment.put",
            Self::PutPart(Part::Layer) => "layer.put",
            Self::PutPart(Part::Holdout) => "holdout.put",
            Self::DeletePart(Part::Segment) => "segment.delete",
            Self::DeletePart(Part::Layer) => "layer.delete",
            Self::DeletePart(Part::Holdout) => "holdout.delete",
            Self::PutFuse => "fuse.put",
            Self::DeleteFuse => "fuse.delete",
            Self::FuseTransition => "fuse.transition",
            Self::FuseAdvance => "fuse.advance",
            Self::FuseHoldRamp => "fuse.hold_ramp",
            Self::PutContract => "contract.put",
            Self::DeleteContract => "contract.delete",
            Self::PutBaseline => "baseline.put",
            Self::Validate => "rollout.validate",
            Self::Promote => "rollout.promote",
            Self::RefuseRollout => "rollout.refuse",
            Self::PutSlo => "slo.put",
            Self::DeleteSlo => "slo.delete",
            Self::Suppress => "suppression.create",
            Self::DeleteSuppression => "suppression.delete",
            Self::CreateToken => "token.create",
            Self::RevokeToken => "token.revoke",
            Self::RotateToken => "token.rotate",
            Self::Invite => "member.invite",
            Self::SetRoles => "member.roles",
            Self::RemoveMember => "member.remove",
            Self::MakeLink => "member.link",
            Self::SetPassword => "member.password",
            Self::OpenSession => "session.open",
            Self::EndSession => "session.end",
        }
    }

    /// Whether its subject is a flag, by which an entry is found.
    pub(super) const fn is_of_one_flag(self) -> bool {
        match self {
            Self::PutFlag
            | Self::DeleteFlag
            | Self::PutDetails
            | Self::PutProjectFlag
            | Self::DeleteProjectFlag
            | Self::PutOverride
            | Self::DeleteOverride
            | Self::PutFuse
            | Self::DeleteFuse
            | Self::FuseTransition
            | Self::FuseAdvance
            | Self::FuseHoldRamp
            | Self::PutContract
            | Self::DeleteContract
            | Self::PutBaseline
            | Self::Validate
            | Self::Promote
            | Self::RefuseRollout => true,
            Self::CreateProject
            | Self::DeleteProject
            | Self::CreateEnvironment
            | Self::SetSettings
            | Self::DeleteEnvironment
            | Self::Import
            | Self::Revert
            | Self::Republish
            | Self::PutPart(_)
            | Self::DeletePart(_)
            | Self::PutSlo
            | Self::DeleteSlo
            | Self::Suppress
            | Self::DeleteSuppression
            | Self::CreateToken
            | Self::RevokeToken
            | Self::RotateToken
            | Self::Invite
            | Self::SetRoles
            | Self::RemoveMember
            | Self::MakeLink
            | Self::SetPassword
            | Self::OpenSession
            | Self::EndSession => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words are in databases that exist.
    #[test]
    fn an_action_is_of_one_flag_when_its_word_says_so() {
        let parts = [Part::Segment, Part::Layer, Part::Holdout];
        let others = [
            Action::CreateProject,
            Action::DeleteProject,
            Action::CreateEnvironment,
            Action::SetSettings,
            Action::DeleteEnvironment,
            Action::Import,
            Action::Revert,
            Action::Republish,
            Action::PutFlag,
            Action::DeleteFlag,
            Action::PutDetails,
            Action::PutProjectFlag,
            Action::DeleteProjectFlag,
            Action::PutOverride,
            Action::DeleteOverride,
            Action::PutFuse,
            Action::DeleteFuse,
            Action::FuseTransition,
            Action::FuseAdvance,
            Action::FuseHoldRamp,
            Action::PutContract,
            Action::DeleteContract,
            Action::PutBaseline,
            Action::Validate,
            Action::Promote,
            Action::RefuseRollout,
            Action::PutSlo,
            Action::DeleteSlo,
            Action::Suppress,
            Action::DeleteSuppression,
            Action::CreateToken,
            Action::RevokeToken,
            Action::RotateToken,
            Action::Invite,
            Action::SetRoles,
            Action::RemoveMember,
            Action::MakeLink,
            Action::SetPassword,
            Action::OpenSession,
            Action::EndSession,
        ];
        let all = parts.into_iter().flat_map(|part| [Action::PutPart(part), Action::DeletePart(part)]);
        let mut words = Vec::new();
        for action in all.chain(others) {
            let (family, verb) = action.as_str().split_once('.').unwrap();
            let is_flags = ["flag", "project_flag", "override", "fuse", "contract", "baseline", "rollout"]
                .contains(&family);
            assert_eq!(action.is_of_one_flag(), is_flags, "{action:?}");
            assert!(!verb.is_empty() && !words.contains(&action.as_str()), "{action:?}");
            words.push(action.as_str());
        }
    }
}
