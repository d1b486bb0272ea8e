//! How the edge behaves in an environment. Pure.

use flagfuse_shared::snapshot::{AutoExposure, Profile};
use serde::{Deserialize, Serialize};

/// How the edge behaves in an environment, as users set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentSettings {
    /// Staleness bounds.
    #[serde(default)]
    pub profile: Profile,
    /// Whether the edge records exposures of single-flag evaluations.
    #[serde(default = "single")]
    pub auto_exposure: AutoExposure,
}

const fn single() -> AutoExposure {
    AutoExposure::Single
}

impl Default for EnvironmentSettings {
    fn default() -> Self {
        Self { profile: Profile::default(), auto_exposure: single() }
    }
}
