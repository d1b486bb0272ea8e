//! What a change does, or would do. The words of `change`.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder, Schema, Type};

use super::Circuit;

/// What a change does to the decisions of an environment, in a line or two.
#[derive(ToSchema)]
pub(in crate::api) struct Decisions {
    /// Which environment.
    environment: String,
    /// Flags that the change reaches.
    flags_reached: u64,
    /// Those of which a sampled decision is another one.
    flags_changed: u64,
    /// By flag, in percent of the sampled decisions: those that change most.
    changed_pct: BTreeMap<String, f64>,
    /// What flags serve that come or go, in words.
    #[schema(nullable = false)]
    served: Option<BTreeMap<String, String>>,
    /// How many flags are named, where there are more.
    #[schema(nullable = false)]
    cut_after: Option<u64>,
}

/// What a change does to the decisions of an environment, for whoever has to look at it.
#[derive(ToSchema)]
pub(in crate::api) struct DecisionDiff {
    /// Which environment.
    environment: String,
    /// Flags that the change reaches.
    flags_reached: u64,
    /// Those of which a sampled decision is another one.
    flags_changed: u64,
    /// Those that change most.
    flags: Vec<FlagDiff>,
    /// How many flags are named, where there are more.
    #[schema(nullable = false)]
    cut_after: Option<u64>,
}

/// What a change does to one flag.
#[derive(ToSchema)]
struct FlagDiff {
    flag: String,
    kind: DiffKind,
    /// Decisions that were sampled.
    sampled: u32,
    /// Those that are others afterwards.
    changed: u32,
    #[schema(minimum = 0, maximum = 100)]
    changed_pct: f64,
    /// From what to what, the commonest first.
    moves: Vec<DecisionMove>,
    /// What askers get of a new flag, or got of one that goes, the commonest first.
    #[schema(nullable = false)]
    served: Option<Vec<ServedShare>>,
    /// The same in words.
    #[schema(nullable = false)]
    summary: Option<String>,
}

/// In which way a change reaches a flag.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum DiffKind {
    Added,
    Removed,
    Altered,
    Dependent,
}

/// Decisions that change in the same way. Null is the default in the caller's code.
#[derive(ToSchema)]
struct DecisionMove {
    #[schema(required)]
    from: Option<String>,
    #[schema(required)]
    to: Option<String>,
    count: u32,
    /// One asker of them.
    example: Value,
    /// When that asker would ask, where it is not now.
    #[schema(nullable = false)]
    at_ms: Option<u64>,
}

/// Askers that get a variation; null is the default in the caller's code.
#[derive(ToSchema)]
struct ServedShare {
    #[schema(required)]
    variation: Option<String>,
    count: u32,
    #[schema(minimum = 0, maximum = 100)]
    pct: f64,
}

/// What a deletion takes away, by kind; of a project, environment by environment.
#[derive(ToSchema)]
pub(in crate::api) struct Lost {
    #[schema(nullable = false)]
    project_flags: Option<u64>,
    #[schema(nullable = false)]
    environments: Option<Vec<LostEnvironment>>,
    #[schema(nullable = false)]
    flags: Option<u64>,
    #[schema(nullable = false)]
    overrides: Option<u64>,
    #[schema(nullable = false)]
    fuses: Option<u64>,
    #[schema(nullable = false)]
    segments: Option<u64>,
    #[schema(nullable = false)]
    layers: Option<u64>,
    #[schema(nullable = false)]
    holdouts: Option<u64>,
    #[schema(nullable = false)]
    client_keys: Option<u64>,
}

/// What goes with an environment of a project.
#[derive(ToSchema)]
struct LostEnvironment {
    environment: String,
    flags: u64,
    overrides: u64,
    fuses: u64,
    segments: u64,
    layers: u64,
    holdouts: u64,
    client_keys: u64,
}

/// What stands against one part of an import.
#[derive(ToSchema)]
pub(in crate::api) struct Conflict {
    /// `flag checkout`, `segment beta`.
    name: String,
    /// As a problem of that part alone would have it.
    code: String,
    /// In words.
    reason: String,
}

/// Where a flag is, or was, under a fuse.
#[derive(ToSchema)]
pub(in crate::api) struct FuseStanding {
    /// Which flag, where several are told.
    #[schema(nullable = false)]
    flag: Option<String>,
    environment: String,
    circuit: Circuit,
}

/// Units of a phase that count no longer.
#[derive(ToSchema)]
struct LeftBehind {
    #[schema(required)]
    phase: Option<u32>,
    exposed_units: u64,
    control_units: u64,
}

/// An attempt that began.
#[derive(ToSchema)]
struct AttemptNote {
    /// From 1.
    #[schema(minimum = 1)]
    number: u32,
    /// The part of the error that it spends: 0.02/(k(k+1)).
    alpha: f64,
    /// The fields of the policy that ask the units something else; left out where none does.
    #[schema(nullable = false)]
    because_of: Option<Vec<String>>,
    /// Share of units that go on seeing the feature and are counted no more, percent.
    kept_percent: f64,
    /// Whether the lane before had too few fresh buckets, so that units are hashed with another salt: who has met the feature is
    /// spread evenly over both arms.
    new_lane: bool,
}

/// A list that is cut.
#[derive(ToSchema)]
struct CutList {
    /// Entries that are named.
    named: u64,
    /// Entries there are.
    count: u64,
}

/// What a change tells beside its version, where there is something to tell.
#[derive(ToSchema)]
pub(in crate::api) struct ChangeNotes {
    /// The flag follows its project no longer, or the flags that do not.
    #[schema(schema_with = detached)]
    detached: Option<Value>,
    /// Environments whose flag of that key does not follow the project.
    #[schema(nullable = false)]
    detached_in: Option<Vec<String>>,
    /// The override that went with it.
    #[schema(nullable = false, value_type = Option<Object>)]
    override_deleted: Option<Value>,
    /// Environments whose override went with the flag.
    #[schema(nullable = false)]
    overrides_deleted: Option<Vec<String>>,
    /// Whether the flag follows its project from now on and did not before.
    #[schema(nullable = false)]
    attached: Option<bool>,
    /// Fuses that went with their flags.
    #[schema(nullable = false)]
    fuses_deleted: Option<Vec<FuseStanding>>,
    /// Of a revert: fuses that were there then, and are not made anew.
    #[schema(nullable = false)]
    fuses_not_restored: Option<Vec<String>>,
    /// Of a revert: flags that are others now, or back.
    #[schema(nullable = false)]
    changed_flags: Option<Vec<String>>,
    /// Of a revert: flags that were not there then.
    #[schema(nullable = false)]
    deleted_flags: Option<Vec<String>>,
    /// Of a revert: `segment beta`, `holdout`.
    #[schema(nullable = false)]
    changed_shared: Option<Vec<String>>,
    /// Of a revert: what was not there then.
    #[schema(nullable = false)]
    deleted_shared: Option<Vec<String>>,
    /// Of a revert: flags that came from the project since, which stay.
    #[schema(nullable = false)]
    kept_inherited: Option<Vec<String>>,
    /// Of a revert: flags that came since and are under a fuse, which stay.
    #[schema(nullable = false)]
    kept_under_fuse: Option<Vec<FuseStanding>>,
    /// Of a revert: flags that come back switched off, because their fuse had tripped.
    #[schema(nullable = false)]
    restored_off: Option<Vec<String>>,
    /// Flags that were off and are on now.
    #[schema(nullable = false)]
    switched_on: Option<Vec<String>>,
    /// Flags of the project that a new environment could not take.
    #[schema(nullable = false)]
    not_inherited: Option<Vec<String>>,
    /// Of a new policy: the units of the phase before, which count no longer.
    #[schema(nullable = false)]
    left_behind: Option<LeftBehind>,
    /// Of a policy: the attempt that it began. Left out where it asks the units nothing else.
    #[schema(nullable = false)]
    attempt: Option<AttemptNote>,
    /// What a deletion took away.
    #[schema(nullable = false)]
    lost: Option<Lost>,
    /// The lists that are cut, by name.
    #[schema(nullable = false)]
    cut: Option<BTreeMap<String, CutList>>,
}

/// A boolean for one flag, a list for many.
fn detached() -> Schema {
    let texts = ArrayBuilder::new().items(ObjectBuilder::new().schema_type(Type::String));
    let boolean = ObjectBuilder::new().schema_type(Type::Boolean);
    let description = "The flag follows its project no longer, or the flags that do not.";
    AnyOfBuilder::new().item(boolean).item(texts).description(Some(description)).build().into()
}
