//! Flags, fuses and environments that the tests of changes begin with.

use flagfuse_shared::bucket::{Bucket, COHORT_SEED};
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::DIFF_SAMPLE_COUNT;
use serde_json::{Value, json};

use super::altered::{Altered, Memory};
use super::environment::Environment;
use super::error::ChangeError;
use crate::model::circuit::{Circuit, Hand, Rollout};
use crate::model::policy::Policy;
use crate::store::fuses::FuseRow;

pub(super) fn scope() -> Scope {
    Scope::parse("t/p/e").unwrap()
}

/// A boolean flag that serves `off`, with the fields of `patch` in it.
pub(super) fn flag(key: &str, patch: &Value) -> FlagWire {
    let mut flag = json!({
        "key": key, "value_type": "boolean", "default_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
    });
    for (name, value) in patch.as_object().unwrap() {
        flag[name] = value.clone();
    }
    serde_json::from_value(flag).unwrap()
}

pub(super) fn environment(flags: impl IntoIterator<Item = FlagWire>, shared: Value) -> Environment {
    let flags = flags.into_iter().collect();
    Environment { flags, shared: serde_json::from_value(shared).unwrap() }
}

/// `on` against `off`, a tenth of the units each.
pub(super) fn policy() -> Policy {
    Policy::parse(json!({
        "mode": "classic", "treatment_variation": "on", "control_variation": "off",
        "exposure_percent": 10, "control_percent": 10,
        "guardrails": [{ "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 }],
    }))
    .unwrap()
}

/// The cohort that `policy` gives a flag.
pub(super) fn cohort() -> Value {
    json!({ "phase": 1, "slices": [
        { "from": 0, "to": 100_000, "variation": "on", "arm": "exposed" },
        { "from": 900_000, "to": 1_000_000, "variation": "off", "arm": "control" },
    ] })
}

/// A unit whose bucket under `salt` lies in the range.
pub(super) fn unit(salt: &str, from: u32, to: u32) -> String {
    let names = (0..1_000).map(|n| format!("u{n}"));
    let mut found = names.filter(|name| (from..to).contains(&Bucket::of(salt, name, COHORT_SEED).get()));
    found.next().unwrap()
}

pub(super) fn fuse(flag: &str, circuit: Circuit) -> FuseRow {
    FuseRow {
        flag: flag.to_owned(),
        revision: 1,
        policy: policy(),
        circuit,
        rollout: Rollout::Validating,
        phase_id: 1,
        tripped_phase_id: None,
        tripped_metrics: Vec::new(),
        changed_ms: UnixMillis(1),
        acted_ms: None,
        hand: Hand::Free,
        is_ramp_held: false,
    }
}

/// What a change from one environment to another does, where a person is asked above `limit_pct`.
pub(super) fn altered(before: Environment, after: Environment, limit_pct: Option<u64>) -> Altered {
    let limit = limit_pct.map(|pct| pct.try_into().unwrap());
    let base = SnapshotVersion { epoch: 1, seq: 7 };
    Altered::of(scope(), base, limit, (Memory::All(before), after), UnixMillis(1_000), DIFF_SAMPLE_COUNT)
        .unwrap()
}

/// A number for each variant. One that is new does not compile before it is here, and fails every table of errors that has no
/// row for it.
pub(crate) const fn change_error_number(error: &ChangeError) -> usize {
    match error {
        ChangeError::UnknownProject { .. } => 0,
        ChangeError::UnknownEnvironment { .. } => 1,
        ChangeError::Unknown { .. } => 2,
        ChangeError::Exists { .. } => 3,
        ChangeError::TooManyEnvironments { .. } => 4,
        ChangeError::Conflicts { .. } => 5,
        ChangeError::Flag { .. } => 6,
        ChangeError::FlagShape { .. } => 7,
        ChangeError::Segment { .. } => 8,
        ChangeError::Environment(_) => 9,
        ChangeError::InUse { .. } => 10,
        ChangeError::Policy(_) => 11,
        ChangeError::CohortIsManaged => 12,
        ChangeError::LockedByFuse { .. } => 13,
        ChangeError::IsOff { .. } => 14,
        ChangeError::FuseInUse { .. } => 15,
        ChangeError::SharedSalt { .. } => 16,
        ChangeError::Tripped { .. } => 17,
        ChangeError::Inherited { .. } => 18,
        ChangeError::InEnvironment { .. } => 19,
        ChangeError::Precondition { .. } => 20,
        ChangeError::Stale { .. } => 21,
        ChangeError::ConfirmationNeeded { .. } => 22,
        ChangeError::LossToConfirm { .. } => 23,
        ChangeError::NotInHistory { .. } => 24,
        ChangeError::NotInVersion { .. } => 25,
        ChangeError::Unreadable { .. } => 26,
        ChangeError::TooLong { .. } => 27,
        ChangeError::Outbox(_) => 28,
        ChangeError::Store(_) => 29,
        ChangeError::Diff(_) => 30,
        ChangeError::NoNextStage { .. } => 31,
        ChangeError::Contract(_) => 32,
        ChangeError::NotMeasurable { .. } => 33,
        ChangeError::TooMany { .. } => 34,
        ChangeError::Overtaken => 35,
        ChangeError::LastOwner => 36,
        ChangeError::NotAllowed { .. } => 37,
        ChangeError::SignIn => 38,
    }
}

/// Variants of the error, each with a number below this.
pub(crate) const CHANGE_ERROR_COUNT: usize = 39;
