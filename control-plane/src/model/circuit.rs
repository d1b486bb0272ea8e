//! The words for where a fuse stands, in JSON and SQL alike. Holds no data and decides nothing.

use serde::{Deserialize, Serialize};

/// Whether the feature is served to its cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Circuit {
    /// Served to the exposed slice and watched.
    Closed,
    /// Served to nobody.
    Open,
    /// Served to a small slice that was not exposed before.
    HalfOpen,
}

impl Circuit {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Open => "OPEN",
            Self::HalfOpen => "HALF_OPEN",
        }
    }

    /// The circuit of a word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Closed, Self::Open, Self::HalfOpen].into_iter().find(|circuit| circuit.as_str() == text)
    }

    /// The rollout that goes with a transition into this circuit.
    pub const fn rollout(self) -> Rollout {
        match self {
            Self::Closed | Self::HalfOpen => Rollout::Validating,
            Self::Open => Rollout::RolledBack,
        }
    }
}

/// Whether a person keeps the fuse where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hand {
    /// Nobody does: the engine moves it by its rules.
    Free,
    /// A person opened it: no recovery and no cooldown tries again, a person does.
    Holds,
}

/// How far the roll-out got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Rollout {
    /// The flag is off, nothing can be watched.
    Pending,
    /// Served and watched.
    Validating,
    /// Kept for good.
    Promoted,
    /// Switched off by the fuse or by a person.
    RolledBack,
}

impl Rollout {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Validating => "VALIDATING",
            Self::Promoted => "PROMOTED",
            Self::RolledBack => "ROLLED_BACK",
        }
    }

    /// The rollout of a word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Validating, Self::Promoted, Self::RolledBack]
            .into_iter()
            .find(|rollout| rollout.as_str() == text)
    }
}
