//! What a person who has to confirm a change is told of it, as the refusal carries it. Decides nothing.

use serde_json::Value;

use super::resource::Resource;

/// The flag that changes most beyond what its environment lets pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Above {
    pub flag: String,
    pub environment: String,
    /// Share of its sampled decisions that change.
    pub changed_pct: f64,
    /// The environment's setting.
    pub limit_pct: u8,
}

/// What a person sent along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// No confirmation.
    Nothing,
    /// One of another change, or of an environment that has moved on.
    Other,
}

/// What a deletion would take away.
#[derive(Debug, Clone, PartialEq)]
pub struct Lost {
    /// A project or an environment.
    pub what: Resource,
    pub key: String,
    /// In words.
    pub summary: String,
    /// In numbers.
    pub numbers: Value,
}
