//! The kinds of what can be changed, with the words that errors use for them.

use std::fmt;

use crate::store::parts::Part;

/// A kind of what can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    Project,
    Environment,
    Settings,
    Flag,
    /// What the environments of a project inherit.
    ProjectFlag,
    /// What people say of a flag.
    FlagDetails,
    /// What an environment changes of its project's flag.
    Override,
    Fuse,
    /// What a roll-out has to keep to.
    Contract,
    /// What was measured before it.
    Baseline,
    Segment,
    Layer,
    Holdout,
    /// A service level objective.
    Slo,
    /// A window in which alerts are silent.
    Suppression,
    /// Of a tenant, or a client's of an environment.
    Token,
    /// Somebody who may sign in.
    Member,
    /// Where somebody is signed in.
    Session,
}

impl Resource {
    /// The word for one of them.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Environment => "environment",
            Self::Settings => "settings of environment",
            Self::Flag => "flag",
            Self::ProjectFlag => "project flag",
            Self::FlagDetails => "details of flag",
            Self::Override => "override",
            Self::Fuse => "fuse",
            Self::Contract => "contract",
            Self::Baseline => "baseline",
            Self::Segment => "segment",
            Self::Layer => "layer",
            Self::Holdout => "holdout",
            Self::Slo => "SLO",
            Self::Suppression => "suppression",
            Self::Token => "token",
            Self::Member => "member",
            Self::Session => "session",
        }
    }
}

impl From<Part> for Resource {
    fn from(part: Part) -> Self {
        match part {
            Part::Segment => Self::Segment,
            Part::Layer => Self::Layer,
            Part::Holdout => Self::Holdout,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
