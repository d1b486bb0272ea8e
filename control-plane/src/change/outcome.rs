//! What a change did, or would do, as its caller is told it.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{EnvironmentKey, SnapshotVersion};
use serde_json::{Map, Value};

use super::precondition::Tag;

/// What a change did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Applied {
    /// The version that carries it, when it altered a snapshot.
    pub version: Option<SnapshotVersion>,
    /// New revision of the flag or fuse.
    pub revision: Option<u64>,
    /// State of what was changed, to be sent back as `If-Match`; `None` for what is gone.
    pub tag: Option<Tag>,
    /// The versions that carry a change of a whole project.
    pub environments: Vec<(EnvironmentKey, SnapshotVersion)>,
    /// What else the caller should know: `detached`, `not_inherited` …
    pub notes: Map<String, Value>,
    /// What it does to decisions, in short, for each environment.
    pub decisions: Vec<Value>,
}

/// What a change would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsed {
    /// What it does to decisions, for each environment.
    pub decisions: Vec<Value>,
    /// What a deletion would take away.
    pub lost: Option<Value>,
    /// What else its answer would say.
    pub notes: Map<String, Value>,
    /// What a person has to confirm it with, when it has to be confirmed.
    pub confirmation: Option<Digest>,
}
