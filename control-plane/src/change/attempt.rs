//! Which attempt a fuse is on, and which buckets it gets: fresh ones of the lane that its flag's attempts have moved along, or of
//! a new one under a salt of its own where too few are left. Never decides one.

use serde_json::{Value, json};

use super::error::ChangeError;
use super::writing::Writing;
use crate::model::policy::Policy;
use crate::model::ramp::{Lane, Opened, Ramp, Range, exposed_percent, lane_number, lane_salt};
use crate::store::flags::FlagRow;
use crate::store::phases;
use crate::store::phases::PhaseRow;
use flagfuse_shared::definition::CohortSliceWire;
use flagfuse_shared::ids::Scope;
use flagfuse_stats::budget;

/// What an attempt begins with.
pub(super) enum Start {
    /// The first stage; `kept` go on seeing the feature.
    Launch { kept: Vec<Range> },
    /// A probe; the stage that tripped, from 1.
    Probe { tripped: u32, kept: Vec<Range> },
    /// The last stage once more, for the units that it has: there are no others.
    Again { stage: u32, slices: Vec<CohortSliceWire> },
}

/// A stage that begins, and of which attempt.
pub(super) struct Begun {
    pub(super) attempt: u32,
    /// From 1; 0 where nobody is exposed.
    pub(super) stage: u32,
    /// Text hashed with the unit.
    pub(super) salt: String,
    pub(super) slices: Vec<CohortSliceWire>,
    /// Whether the salt is a new one, because the lane before had too few fresh buckets.
    pub(super) is_new_lane: bool,
}

/// The next attempt of a flag.
pub(super) async fn begin(
    writing: &mut Writing<'_>,
    scope: &Scope,
    row: &FlagRow,
    policy: &Policy,
    start: Start,
) -> Result<Begun, ChangeError> {
    let places = phases::places(writing.conn, scope, &row.wire.key).await?;
    let own = own_salt(row);
    let hashed_alike = || places.iter().filter(|place| place.bucket_by == row.wire.bucket_by);
    let number = hashed_alike().filter_map(|place| lane_number(own, &place.salt)).max().unwrap_or(0);
    let salt = lane_salt(own, number);
    let used = hashed_alike().filter(|place| place.salt == salt).flat_map(|place| &place.slices);
    let lane = Lane::behind(used);
    let attempt = places.iter().map(|place| place.attempt).max().unwrap_or(0).saturating_add(1);
    let opened = match &start {
        Start::Launch { kept } => Ramp::of(policy).begin(lane, kept, policy),
        Start::Probe { tripped, kept } => Ramp::probe(policy, *tripped).begin_probe(lane, kept, policy),
        Start::Again { stage, slices } => {
            Some(Opened { stage: *stage, slices: slices.clone(), is_last: true })
        }
    };
    if let Some(Opened { stage, slices, .. }) = opened {
        return Ok(Begun { attempt, stage, salt, slices, is_new_lane: false });
    }
    let anew = match start {
        Start::Probe { tripped, .. } => Ramp::probe(policy, tripped).begin_probe(Lane::FRESH, &[], policy),
        Start::Launch { .. } | Start::Again { .. } => Ramp::of(policy).begin(Lane::FRESH, &[], policy),
    };
    // A policy that was checked fits into a lane of which nobody was enrolled.
    let slices = anew.map(|opened| opened.slices).unwrap_or_default();
    let salt = lane_salt(own, number.saturating_add(1));
    Ok(Begun { attempt, stage: 1, salt, slices, is_new_lane: true })
}

/// The stages of an attempt of a flag.
pub(super) async fn stages(
    writing: &mut Writing<'_>,
    scope: &Scope,
    flag: &str,
    (policy, attempt): (&Policy, u32),
) -> Result<Ramp, ChangeError> {
    let phases = phases::of_attempt(writing.conn, scope, flag, attempt).await?;
    Ok(Ramp::of_attempt(policy, phases.iter().map(PhaseRow::in_attempt)))
}

/// The flag's own salt, which its first lane hashes with.
pub(super) fn own_salt(row: &FlagRow) -> &str {
    row.wire.salt.as_deref().unwrap_or(&row.wire.key)
}

impl Begun {
    /// What an answer says of an attempt that began, and because of which fields of the policy.
    pub(super) fn note(&self, because: &[&str]) -> Value {
        let kept = self.slices.iter().filter(|slice| slice.unenrolled).cloned().collect::<Vec<_>>();
        let mut note = json!({
            "number": self.attempt,
            "alpha": budget::alpha(self.attempt.max(1)).unwrap_or_default(),
            "kept_percent": exposed_percent(&kept),
            "new_lane": self.is_new_lane,
        });
        if let (false, Some(fields)) = (because.is_empty(), note.as_object_mut()) {
            fields.insert("because_of".to_owned(), json!(because));
        }
        note
    }

    /// What the audit trail says of it beside.
    pub(super) fn detail(&self) -> Value {
        json!({ "attempt": self.attempt, "stage": self.stage, "lane": self.salt, "new_lane": self.is_new_lane })
    }
}
