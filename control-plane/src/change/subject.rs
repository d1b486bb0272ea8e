//! What a change can be about, by name; `state` reads in which state it is.

use flagfuse_shared::ids::{ProjectKey, Scope, TenantKey};

use super::resource::Resource;
use crate::store::contracts::ContractPart;
use crate::store::parts::Part;

/// What a change is about: the thing whose tag its answer names.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A project with everything in it.
    Project(TenantKey, ProjectKey),
    /// An environment's settings.
    Settings(Scope),
    /// Everything in an environment; its version is the tag.
    Environment(Scope),
    /// A flag of an environment, by its key.
    Flag(Scope, String),
    /// A flag that environments inherit, by its key.
    ProjectFlag(TenantKey, ProjectKey, String),
    /// What people say of a flag, by its key.
    FlagDetails(TenantKey, ProjectKey, String),
    /// What an environment changes of an inherited flag, by its key.
    Override(Scope, String),
    /// A segment or a layer by its key, or the holdout.
    Part(Scope, Part, String),
    /// A fuse by the key of its flag.
    Fuse(Scope, String),
    /// What is in force of a flag.
    Contract(Scope, ContractPart, String),
    /// An objective by its name.
    Slo(Scope, String),
    /// A declared window by its name.
    Suppression(Scope, String),
    /// A token by its public name.
    Token(TenantKey, String),
    /// Somebody by the id.
    Member(TenantKey, String),
}

impl Subject {
    /// The environment that it belongs to.
    pub(super) const fn scope(&self) -> Option<&Scope> {
        match self {
            Self::Project(..)
            | Self::ProjectFlag(..)
            | Self::FlagDetails(..)
            | Self::Token(..)
            | Self::Member(..) => None,
            Self::Settings(scope)
            | Self::Environment(scope)
            | Self::Flag(scope, _)
            | Self::Override(scope, _)
            | Self::Part(scope, _, _)
            | Self::Fuse(scope, _)
            | Self::Contract(scope, _, _)
            | Self::Slo(scope, _)
            | Self::Suppression(scope, _) => Some(scope),
        }
    }

    /// What it is called in a message.
    pub(super) fn name(&self) -> (Resource, &str) {
        match self {
            Self::Project(_, key) => (Resource::Project, key.as_str()),
            Self::Settings(scope) => (Resource::Settings, scope.environment.as_str()),
            Self::Environment(scope) => (Resource::Environment, scope.environment.as_str()),
            Self::Flag(_, key) => (Resource::Flag, key),
            Self::ProjectFlag(_, _, key) => (Resource::ProjectFlag, key),
            Self::FlagDetails(_, _, key) => (Resource::FlagDetails, key),
            Self::Override(_, key) => (Resource::Override, key),
            Self::Part(_, part, key) => ((*part).into(), key),
            Self::Fuse(_, key) => (Resource::Fuse, key),
            Self::Contract(_, ContractPart::Contract, key) => (Resource::Contract, key),
            Self::Contract(_, ContractPart::Baseline, key) => (Resource::Baseline, key),
            Self::Slo(_, name) => (Resource::Slo, name),
            Self::Suppression(_, id) => (Resource::Suppression, id),
            Self::Token(_, id) => (Resource::Token, id),
            Self::Member(_, id) => (Resource::Member, id),
        }
    }
}
