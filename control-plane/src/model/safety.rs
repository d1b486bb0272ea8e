//! What an environment asks for before a change goes everywhere, by a person or by a fuse: confirmation, regions one after
//! the other, and how much of what clients send is believed. Pure.

use std::collections::BTreeSet;

use flagfuse_shared::limits::{ENROLMENTS_PER_MINUTE_MAX, MIN_NETWORKS_MAX, REGION_COUNT_MAX, SOAK_S_MAX};
use serde::{Deserialize, Serialize};

/// How careful an environment is, as users set it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SafetySettings {
    /// A person's change of more than this share of a flag's sampled decisions has to be confirmed; absent, none has.
    #[serde(default)]
    pub confirm_above_pct: Option<ConfirmAbove>,
    /// Which regions get a version one after the other; empty for all at once.
    #[serde(default)]
    pub stages: Stages,
    /// How long a version stays with a stage before the next one gets it.
    #[serde(default)]
    pub soak_s: SoakSeconds,
    /// From how many networks harmful units have to come before they trip a fuse.
    #[serde(default)]
    pub min_networks: MinNetworks,
    /// Units that one key may enrol from one network in a minute.
    #[serde(default)]
    pub enrolments_per_minute: EnrolmentsPerMinute,
}

/// A setting that is outside its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SafetyFault {
    /// More than a hundred percent.
    #[error("confirm_above_pct is {found}, allowed is 0 to 100")]
    Percent { found: u64 },
    /// Longer than a day.
    #[error("soak_s is {found}, allowed is 0 to {SOAK_S_MAX}")]
    Soak { found: u64 },
    /// None, or more than are kept.
    #[error("min_networks is {found}, allowed is 1 to {MIN_NETWORKS_MAX}")]
    Networks { found: u64 },
    /// More than anybody counts.
    #[error(
        "enrolments_per_minute is {found}, allowed is 0 to {ENROLMENTS_PER_MINUTE_MAX}, where 0 is without a limit"
    )]
    Enrolments { found: u64 },
    /// More stages than there can be regions.
    #[error("stages has {found} entries, allowed is 0 to {REGION_COUNT_MAX}")]
    StageCount { found: usize },
    /// A stage without a region.
    #[error("stages[{at}] names no region")]
    EmptyStage {
        /// Position.
        at: usize,
    },
    /// A region cannot be early and late.
    #[error("stages names the region {region:?} twice")]
    RegionTwice { region: String },
    /// A region that this control plane does not push to.
    #[error("stages names the region {region:?}, which is not configured; there are: {known}")]
    UnknownRegion {
        region: String,
        /// All others, in words.
        known: String,
    },
}

/// 0 ..= 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct ConfirmAbove(u8);

impl ConfirmAbove {
    /// Percent.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u64> for ConfirmAbove {
    type Error = SafetyFault;
    fn try_from(found: u64) -> Result<Self, SafetyFault> {
        let percent = u8::try_from(found).ok().filter(|percent| *percent <= 100);
        percent.map(Self).ok_or(SafetyFault::Percent { found })
    }
}

impl From<ConfirmAbove> for u64 {
    fn from(percent: ConfirmAbove) -> Self {
        percent.0.into()
    }
}

/// Seconds up to a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct SoakSeconds(u64);

impl SoakSeconds {
    /// The same in milliseconds.
    pub const fn ms(self) -> u64 {
        self.0 * 1_000
    }
}

impl TryFrom<u64> for SoakSeconds {
    type Error = SafetyFault;
    fn try_from(found: u64) -> Result<Self, SafetyFault> {
        if found <= SOAK_S_MAX { Ok(Self(found)) } else { Err(SafetyFault::Soak { found }) }
    }
}

impl From<SoakSeconds> for u64 {
    fn from(seconds: SoakSeconds) -> Self {
        seconds.0
    }
}

/// 1 ..= 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct MinNetworks(u64);

impl MinNetworks {
    /// How many.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Default for MinNetworks {
    fn default() -> Self {
        Self(3)
    }
}

impl TryFrom<u64> for MinNetworks {
    type Error = SafetyFault;
    fn try_from(found: u64) -> Result<Self, SafetyFault> {
        if (1..=MIN_NETWORKS_MAX).contains(&found) {
            Ok(Self(found))
        } else {
            Err(SafetyFault::Networks { found })
        }
    }
}

impl From<MinNetworks> for u64 {
    fn from(networks: MinNetworks) -> Self {
        networks.0
    }
}

/// Up to a million; 0 is without a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct EnrolmentsPerMinute(u64);

impl EnrolmentsPerMinute {
    /// The limit, where there is one.
    pub const fn limit(self) -> Option<u64> {
        if self.0 == 0 { None } else { Some(self.0) }
    }
}

impl Default for EnrolmentsPerMinute {
    fn default() -> Self {
        Self(600)
    }
}

impl TryFrom<u64> for EnrolmentsPerMinute {
    type Error = SafetyFault;
    fn try_from(found: u64) -> Result<Self, SafetyFault> {
        if found <= ENROLMENTS_PER_MINUTE_MAX {
            Ok(Self(found))
        } else {
            Err(SafetyFault::Enrolments { found })
        }
    }
}

impl From<EnrolmentsPerMinute> for u64 {
    fn from(limit: EnrolmentsPerMinute) -> Self {
        limit.0
    }
}

/// Regions in the order in which they get a version. Those that no stage names belong to the last one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<String>>", into = "Vec<Vec<String>>")]
pub struct Stages(Vec<Vec<String>>);

impl Stages {
    /// Position of a region's stage.
    pub fn of_region(&self, region: &str) -> usize {
        let named = self.0.iter().position(|stage| stage.iter().any(|name| name == region));
        named.unwrap_or_else(|| self.0.len().saturating_sub(1))
    }

    /// Refuses a region that is none of `known`.
    pub fn check_known(&self, known: &[String]) -> Result<(), SafetyFault> {
        match self.0.iter().flatten().find(|region| !known.contains(region)) {
            None => Ok(()),
            Some(region) => {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Err(SafetyFault::UnknownRegion { region: region.clone(), known })
            }
        }
    }

    /// Whether every region gets a version at once.
    pub const fn is_flat(&self) -> bool {
        self.0.len() < 2
    }
}

impl TryFrom<Vec<Vec<String>>> for Stages {
    type Error = SafetyFault;
    fn try_from(stages: Vec<Vec<String>>) -> Result<Self, SafetyFault> {
        if stages.len() > REGION_COUNT_MAX {
            return Err(SafetyFault::StageCount { found: stages.len() });
        }
        if let Some(at) = stages.iter().position(Vec::is_empty) {
            return Err(SafetyFault::EmptyStage { at });
        }
        let mut seen = BTreeSet::new();
        match stages.iter().flatten().find(|region| !seen.insert(region.as_str())) {
            Some(region) => Err(SafetyFault::RegionTwice { region: region.clone() }),
            None => Ok(Self(stages)),
        }
    }
}

impl From<Stages> for Vec<Vec<String>> {
    fn from(stages: Stages) -> Self {
        stages.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(settings: Value) -> Result<SafetySettings, String> {
        serde_json::from_value(settings).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_are_refused_beyond_their_bounds_and_not_at_them() {
        let regions = |count: usize| (0..count).map(|n| vec![format!("r{n}")]).collect::<Vec<_>>();
        for good in [
            json!({}),
            json!({ "confirm_above_pct": 0, "soak_s": 0, "stages": [], "min_networks": 1, "enrolments_per_minute": 0 }),
            json!({ "min_networks": MIN_NETWORKS_MAX, "enrolments_per_minute": ENROLMENTS_PER_MINUTE_MAX }),
            json!({ "confirm_above_pct": 100, "soak_s": SOAK_S_MAX, "stages": regions(REGION_COUNT_MAX) }),
        ] {
            read(good.clone()).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for (bad, words) in [
            (json!({ "confirm_above_pct": 101 }), "confirm_above_pct is 101, allowed is 0 to 100"),
            (json!({ "soak_s": SOAK_S_MAX + 1 }), "soak_s is 86401, allowed is 0 to 86400"),
            (json!({ "min_networks": 0 }), "min_networks is 0, allowed is 1 to 16"),
            (json!({ "min_networks": MIN_NETWORKS_MAX + 1 }), "min_networks is 17, allowed is 1 to 16"),
            (
                json!({ "enrolments_per_minute": ENROLMENTS_PER_MINUTE_MAX + 1 }),
                "enrolments_per_minute is 1000001, allowed is 0 to 1000000",
            ),
            (json!({ "stages": regions(REGION_COUNT_MAX + 1) }), "stages has 10 entries, allowed is 0 to 9"),
            (json!({ "stages": [["a"], []] }), "stages[1] names no region"),
            (json!({ "stages": [["a", "b"], ["a"]] }), "the region \"a\" twice"),
        ] {
            let error = read(bad.clone()).unwrap_err();
            assert!(error.contains(words), "{bad}: {error}");
        }
    }

    #[test]
    fn a_region_that_no_stage_names_belongs_to_the_last() {
        let stages = read(json!({ "stages": [["a"], ["b", "c"]] })).unwrap().stages;
        assert_eq!(["a", "b", "c", "d"].map(|region| stages.of_region(region)), [0, 1, 1, 1]);
        assert_eq!(Stages::default().of_region("a"), 0);
        let known = ["a".to_owned(), "b".to_owned()];
        let fault = stages.check_known(&known).unwrap_err().to_string();
        assert_eq!(fault, "stages names the region \"c\", which is not configured; there are: a, b");
    }
}
