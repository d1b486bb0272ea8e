//! What the edge has to obey in one environment: bounds of staleness, and whether it records exposures itself.

use serde::{Deserialize, Serialize};

use crate::limits::{STRICT_FRESH_MS, STRICT_STALE_MS};

/// How the edge behaves in one environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// S: up to this age an isolate answers from memory without asking.
    pub fresh_ms: u64,
    /// H: beyond this age it asks before it answers.
    pub stale_ms: u64,
    /// Whether the edge records exposures by itself.
    pub auto_exposure: AutoExposure,
}

/// Whether a single-flag evaluation is recorded as an exposure by the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoExposure {
    /// Yes; a bulk evaluation is a prefetch and never an exposure.
    Single,
    /// No, clients report exposures.
    Off,
}

/// The staleness bounds an environment may choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// S = 100 ms, H = 250 ms.
    #[default]
    Strict,
    /// S = 250 ms, H = 1 s: fewer probes.
    Economy,
}

impl Profile {
    /// S and H in milliseconds.
    pub const fn bounds_ms(self) -> (u64, u64) {
        match self {
            Self::Strict => (STRICT_FRESH_MS, STRICT_STALE_MS),
            Self::Economy => (250, 1_000),
        }
    }
}
