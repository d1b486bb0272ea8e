//! The vocabulary of changes: who makes one, and everything that can be changed. Never applies one.

use flagfuse_importers::Imported;
use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{FlagKey, ProjectKey, Scope, SnapshotVersion, TenantKey, UnixMillis};
use serde_json::Value;

use super::environment::PartWire;
use super::people_change::PeopleChange;
use super::slo_change::SloChange;
use crate::model::circuit::Circuit;
use crate::model::contract::{Baseline, Contract, Judged};
use crate::model::flag_details::FlagDetails;
use crate::model::policy::Policy;
use crate::model::safety::SafetySettings;
use crate::model::settings::EnvironmentSettings;
use crate::model::verdict::TrippedSlice;
use crate::publish::outbox::Reserve;
use crate::store::parts::Part;
use crate::store::tokens::TokenRow;
use crate::store::verdicts::MadeVerdict;
use flagfuse_importers::Format;

/// Who makes a change.
#[derive(Debug, Clone)]
pub struct Actor {
    /// What it may see and change.
    pub tenant: TenantKey,
    /// For the audit trail: `user:NAME`, `token:NAME`, `fuse`, `job:NAME`.
    pub name: String,
}

/// Who decided to move a fuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decider {
    /// The fuse itself, on its evidence.
    Engine,
    /// A person, for reasons of their own.
    Person,
}

/// What becomes of the fuse of a flag that goes. It goes too only where somebody says so: it may be holding a feature
/// off, and what it has counted is not to be had again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fuses {
    /// A flag under a fuse stays.
    Kept,
    /// The fuse goes with its flag.
    Deleted,
}

/// What to do with keys that the environment has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse everything and name them.
    Refuse,
    /// Put the imported ones in their place.
    Replace,
}

/// A document that was read.
#[derive(Debug, Clone)]
pub struct Import {
    /// Where it comes from.
    pub format: Format,
    /// What it says.
    pub imported: Imported,
    /// What to do with keys that are there.
    pub existing: Existing,
}

/// A step of a flag's roll-out.
#[derive(Debug, Clone)]
pub enum RolloutStep {
    /// A contract in the place of the one in force; a validation that runs keeps its own.
    PutContract(Box<Contract>),
    /// No contract is in force any more.
    DeleteContract,
    /// What was measured before real traffic.
    PutBaseline(Box<Baseline>),
    /// A validation begins against what is in force.
    Validate {
        /// Also where one runs, or the flag is promoted.
        restart: bool,
    },
    /// The feature is kept.
    Promote {
        /// The validation that decided it; nothing happens where it is not the one that runs. `None` of a person.
        of: Option<i64>,
        /// What it found.
        rules: Vec<Judged>,
        /// Why, in a person's words.
        reason: String,
    },
    /// Its fuse opens, as a person would open it.
    RollBack { of: Option<i64>, rules: Vec<Judged>, reason: String },
}

/// Everything that can be changed.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new group of flags.
    CreateProject {
        project: ProjectKey,
        /// For people.
        name: String,
    },
    /// A project goes with everything in it.
    DeleteProject { project: ProjectKey },
    /// A new environment; publishes its first snapshot.
    CreateEnvironment {
        scope: Scope,
        /// How its edge behaves.
        settings: EnvironmentSettings,
        /// How careful it is.
        safety: Box<SafetySettings>,
    },
    /// An environment goes with everything in it; publishes its last snapshot.
    DeleteEnvironment { scope: Scope },
    /// Other settings.
    SetSettings {
        scope: Scope,
        /// How its edge behaves.
        settings: EnvironmentSettings,
        /// How careful it is.
        safety: Box<SafetySettings>,
    },
    /// A new or altered flag.
    PutFlag { scope: Scope, wire: Box<FlagWire> },
    /// A flag goes.
    DeleteFlag {
        scope: Scope,
        flag: FlagKey,
        /// Whether it may be under a fuse.
        fuses: Fuses,
    },
    /// A flag that every environment of a project inherits.
    PutProjectFlag {
        project: ProjectKey,
        /// The flag, without a cohort.
        wire: Box<FlagWire>,
    },
    /// A project's flag goes, and with it the flags that follow it.
    DeleteProjectFlag {
        project: ProjectKey,
        flag: FlagKey,
        /// Whether it may be under a fuse anywhere.
        fuses: Fuses,
    },
    /// What an environment changes of its project's flag.
    PutOverride {
        scope: Scope,
        flag: FlagKey,
        /// Merged into the project's flag; `None` takes the override away.
        patch: Option<Value>,
    },
    /// What people say of a flag, in all environments of its project. No snapshot carries it.
    PutFlagDetails { project: ProjectKey, flag: FlagKey, details: Box<FlagDetails> },
    /// A new or altered segment, layer or holdout.
    PutPart { scope: Scope, part: Box<PartWire> },
    /// A segment, a layer or the holdout goes.
    DeletePart {
        scope: Scope,
        part: Part,
        /// Which one; empty for the holdout.
        key: String,
    },
    /// Flags and segments of another system.
    Import {
        scope: Scope,
        /// What was read.
        import: Box<Import>,
    },
    /// A new fuse, or another policy for one: both begin a phase.
    PutFuse { scope: Scope, flag: FlagKey, policy: Box<Policy> },
    /// A fuse goes, and its cohort with it.
    DeleteFuse { scope: Scope, flag: FlagKey },
    /// A fuse moves to another circuit.
    FuseTransition {
        scope: Scope,
        flag: FlagKey,
        /// The revision it was decided on.
        expected_revision: u64,
        to: Circuit,
        by: Decider,
        /// Stable word.
        reason: String,
        /// What led to it.
        evidence: Value,
        /// Whether a fuse that closes begins a new attempt even where its probe could go on.
        is_anew: bool,
        /// Of a trip: whose units alone lose the feature; empty where everybody does, and the fuse opens.
        slices: Vec<TrippedSlice>,
        /// The verdict that decided it, which is written with it; `None` of a person.
        verdict: Option<Box<MadeVerdict>>,
    },
    /// The next stage of a fuse's ramp opens.
    FuseAdvance {
        scope: Scope,
        flag: FlagKey,
        /// The revision it was decided on.
        expected_revision: u64,
        /// Stable word.
        reason: String,
        /// What led to it.
        evidence: Value,
        /// The verdict that decided it, which is written with it; `None` of a person.
        verdict: Option<Box<MadeVerdict>>,
    },
    /// A person keeps a fuse's ramp at its stage, or lets go of it.
    HoldRamp {
        scope: Scope,
        flag: FlagKey,
        is_held: bool,
        /// In the words of whoever does it.
        reason: String,
    },
    /// A step of a flag's roll-out; only one that rolls back publishes.
    Rollout { scope: Scope, flag: FlagKey, step: RolloutStep },
    /// Objectives, and windows in which their alerts are silent.
    Slo { scope: Scope, change: SloChange },
    /// A new token; a client key publishes.
    CreateToken {
        /// Everything but the secret.
        token: Box<TokenRow>,
        /// Digest of the secret.
        secret: Digest,
    },
    /// A token is valid no longer; a client key publishes.
    RevokeToken {
        /// Its public name.
        token_id: String,
    },
    /// A token gets a successor, beside which it is valid for a while.
    RotateToken {
        /// The public name of the one that goes.
        token_id: String,
        /// What takes its place, but its secret.
        successor: Box<TokenRow>,
        /// Digest of that secret.
        secret: Digest,
        /// Until when both are valid.
        expires_ms: UnixMillis,
    },
    /// Members, their roles, and where they are signed in.
    People(Box<PeopleChange>),
    /// The content of a version of the history under a new one.
    Revert {
        scope: Scope,
        to: SnapshotVersion,
        /// Of everything, this flag alone.
        flag: Option<FlagKey>,
        /// Whether flags under a fuse go that were not there then.
        fuses: Fuses,
    },
    /// The same content under a new version.
    Republish {
        scope: Scope,
        /// What is urgent waits for no stage.
        urgency: Urgency,
    },
}

impl Change {
    /// What adds content leaves room for fuses to open.
    pub(super) const fn reserve(&self) -> Reserve {
        match self {
            Self::PutFlag { .. }
            | Self::PutPart { .. }
            | Self::Import { .. }
            | Self::PutProjectFlag { .. }
            | Self::PutOverride { .. }
            | Self::PutFuse { .. }
            | Self::FuseAdvance { .. }
            | Self::Revert { .. }
            | Self::CreateToken { .. }
            | Self::RotateToken { .. } => Reserve::Kept,
            Self::CreateProject { .. }
            | Self::CreateEnvironment { .. }
            | Self::SetSettings { .. }
            | Self::DeleteProject { .. }
            | Self::DeleteEnvironment { .. }
            | Self::DeleteFlag { .. }
            | Self::DeletePart { .. }
            | Self::DeleteProjectFlag { .. }
            | Self::DeleteFuse { .. }
            | Self::FuseTransition { .. }
            | Self::HoldRamp { .. }
            | Self::Rollout { .. }
            | Self::Slo { .. }
            | Self::PutFlagDetails { .. }
            | Self::RevokeToken { .. }
            | Self::People(_)
            | Self::Republish { .. } => Reserve::Usable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::testing::scope;

    #[test]
    fn what_switches_off_or_takes_away_may_use_the_reserve() {
        let flag = || FlagKey::parse("f").unwrap();
        let trip = Change::FuseTransition {
            scope: scope(),
            flag: flag(),
            expected_revision: 1,
            to: Circuit::Open,
            by: Decider::Engine,
            reason: String::new(),
            evidence: Value::Null,
            is_anew: false,
            slices: Vec::new(),
            verdict: None,
        };
        for change in [
            trip,
            Change::DeleteFlag { scope: scope(), flag: flag(), fuses: Fuses::Kept },
            Change::DeleteFuse { scope: scope(), flag: flag() },
            Change::RevokeToken { token_id: "t".to_owned() },
            Change::Republish { scope: scope(), urgency: Urgency::Ordinary },
        ] {
            assert_eq!(change.reserve(), Reserve::Usable, "{change:?}");
        }
        let (to, fuses) = (SnapshotVersion { epoch: 1, seq: 1 }, Fuses::Kept);
        for change in [
            Change::PutOverride { scope: scope(), flag: flag(), patch: None },
            Change::Revert { scope: scope(), to, flag: None, fuses },
        ] {
            assert_eq!(change.reserve(), Reserve::Kept, "{change:?}");
        }
    }
}
