//! Why something is decided, by the words that verdicts are stored and answered with. No word is ever renamed.

use super::Finding;
use crate::model::evidence::Guarded;

/// Why something is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// What the guardrails say.
    Found(Finding),
    /// A person opened the fuse, so the fuse does not move on its own.
    OpenedByHand,
    /// What harms may be among what is not counted yet.
    Blind,
    /// A buffer at an edge has not delivered for a while: what harms may be in it.
    TelemetryStale,
    /// The units behind what harms come from too few networks.
    FewNetworks,
    /// The fuse moved a moment ago.
    Cooldown,
    CooldownOver,
    /// The tripped phase's units still show harm.
    StillHarmful,
    NotRecovered,
    FullSampleWithoutHarm,
    /// The arms lose what is counted differently.
    Uneven(Guarded),
    /// What was counted contradicts itself, and nothing is decided by it.
    EvidenceCorrupt,
    /// Two probes did not close the fuse: a person decides on a third one.
    ProbesUsedUp,
    /// The platform as a whole is in trouble, which no flag is blamed for.
    PlatformIncident,
    /// It is in trouble, and the policy lets less evidence trip meanwhile.
    UrgentHarm,
    /// Replicas hold what this database never signed, and would refuse the move.
    RestoredFromOldCopy,
    /// A harm that would use up the budget at the next stage's share is excluded.
    HarmExcluded,
    /// So many units were read that twice the threshold would have been found.
    PowerReached,
    /// The stage lasted as long as it has to.
    TimeOver,
    /// A gain was seen, and latency has room to its limit.
    GainSeen,
    /// The stage lasts longer than the window, and the next one still waits: a person decides.
    Inconclusive,
}

impl Reason {
    /// The word used in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Found(Finding::NoData) => "no_data",
            Self::Found(Finding::NoControl) => "no_control",
            Self::Found(Finding::SampleRatioMismatch) => "sample_ratio_mismatch",
            Self::Found(Finding::Incident) => "incident",
            Self::Found(Finding::SuspectedHarm) => "suspected_harm",
            Self::Found(Finding::SampleTooSmall) => "sample_too_small",
            Self::Found(Finding::ConfidenceTooLow) => "confidence_too_low",
            Self::Found(Finding::TooFewEvents) => "too_few_events",
            Self::Found(Finding::Harm) => "harm",
            Self::Found(Finding::Neutral) => "within_limits",
            Self::Found(Finding::Recovered) => "recovered",
            Self::OpenedByHand => "opened_by_hand",
            Self::Blind => "blind",
            Self::TelemetryStale => "telemetry_stale",
            Self::FewNetworks => "few_networks",
            Self::Cooldown => "cooldown",
            Self::CooldownOver => "cooldown_over",
            Self::StillHarmful => "still_harmful",
            Self::NotRecovered => "not_recovered",
            Self::FullSampleWithoutHarm => "full_sample_without_harm",
            Self::Uneven(Guarded::LateEnrolments) => "late_enrolments_by_arm",
            Self::Uneven(Guarded::LateOutcomes) => "late_outcomes_by_arm",
            Self::Uneven(Guarded::Quarantined) => "quarantined_by_arm",
            Self::Uneven(Guarded::Silent) => "silent_by_arm",
            Self::EvidenceCorrupt => "evidence_corrupt",
            Self::ProbesUsedUp => "probes_used_up",
            Self::PlatformIncident => "platform_incident",
            Self::UrgentHarm => "urgent_harm",
            Self::RestoredFromOldCopy => "blocked_restored_from_old_copy",
            Self::HarmExcluded => "harm_excluded",
            Self::PowerReached => "power_reached",
            Self::TimeOver => "time_over",
            Self::GainSeen => "gain_seen",
            Self::Inconclusive => "inconclusive",
        }
    }
}
