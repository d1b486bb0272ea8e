//! What people define: flags and what they share. The words of `shared`.

use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A flag of an environment or a project.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({
    "key": "checkout", "value_type": "boolean", "default_variation": "off", "off_variation": "off",
    "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
}))]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Flag {
    /// Name that code asks for.
    #[schema(min_length = 1, max_length = 256)]
    key: String,
    /// For people.
    #[serde(default)]
    #[schema(max_length = 4096)]
    description: String,
    /// Type of every variation's value.
    value_type: ValueType,
    /// What the flag can answer.
    #[schema(min_items = 1, max_items = 64)]
    variations: Vec<Variation>,
    /// Off means: `off_variation` for everybody, reason `DISABLED`. On when a new flag leaves it out.
    #[serde(default)]
    #[schema(default = true)]
    enabled: bool,
    /// Served while the flag is off. Without one, the default in the caller's code applies.
    off_variation: Option<String>,
    /// Served when no rule and no cohort slice applies. Without one, the default in the caller's code applies.
    default_variation: Option<String>,
    /// When the flag is on; outside it is off for everybody.
    schedule: Option<Schedule>,
    /// All must hold, or the flag is off for the asker.
    #[serde(default)]
    #[schema(max_items = 16)]
    prerequisites: Vec<Prerequisite>,
    /// Individual units and what they get, before holdout, layer and rules.
    #[serde(default)]
    targets: Vec<Target>,
    /// Whether the environment's holdout applies.
    #[serde(default)]
    holdout: HoldoutRole,
    /// Share of a mutual-exclusion layer. Units outside it get the default variation.
    layer: Option<LayerShare>,
    /// First match wins.
    #[serde(default)]
    #[schema(max_items = 200)]
    rules: Vec<Rule>,
    /// Stable opaque text that is hashed with the unit; the flag's key when absent.
    #[schema(max_length = 4096)]
    salt: Option<String>,
    /// Attribute that names the unit; `targetingKey` when absent.
    #[schema(max_length = 4096)]
    bucket_by: Option<String>,
    /// What to serve when the snapshot's freshness cannot be proven.
    #[serde(default)]
    on_stale: OnStale,
    /// Exposed and control buckets. Managed by the flag's fuse.
    cohort: Option<Cohort>,
    /// Set when the flag is an Unleash toggle: how Unleash's own APIs show it.
    unleash: Option<UnleashToggle>,
}

/// Type of a flag's value.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ValueType {
    Boolean,
    String,
    Integer,
    Float,
    Object,
}

/// One answer a flag can give.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Variation {
    /// Name, unique in the flag.
    #[schema(min_length = 1, max_length = 128)]
    key: String,
    /// Value of the flag's type.
    value: Value,
}

/// When something holds: from `from_ms` up to, not including, `until_ms`. At least one bound.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Schedule {
    /// First millisecond, Unix time in UTC.
    #[schema(format = "uint64")]
    from_ms: Option<u64>,
    /// First millisecond that is over.
    #[schema(format = "uint64")]
    until_ms: Option<u64>,
}

/// Another flag of the environment that has to serve one of some variations.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Prerequisite {
    /// The other flag's key.
    flag: String,
    /// Variations of the other flag, one of which has to be served.
    variations: Vec<String>,
}

/// Units that get a variation by name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Target {
    /// What they get.
    variation: String,
    /// Who they are.
    units: Vec<String>,
    /// Attribute that names them; the flag's `bucket_by` when absent.
    attribute: Option<String>,
}

/// Whether the environment's holdout applies to a flag.
#[derive(Deserialize, ToSchema, Default)]
#[serde(rename_all = "snake_case")]
enum HoldoutRole {
    #[default]
    Member,
    Exempt,
}

/// The buckets of a layer that belong to one flag: from `from` up to, not including, `to`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LayerShare {
    /// Which layer of the environment.
    key: String,
    #[schema(maximum = 1_000_000)]
    from: u32,
    #[schema(maximum = 1_000_000)]
    to: u32,
}

/// When all conditions hold and the unit is within the percentage, the split decides.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// Name for explanations, unique in the flag.
    #[schema(min_length = 1, max_length = 128)]
    key: String,
    /// All must hold; an empty list always holds.
    #[serde(default)]
    #[schema(max_items = 64)]
    conditions: Vec<Condition>,
    /// In steps of 0.0001; absent means everybody.
    #[schema(minimum = 0, maximum = 100)]
    percentage: Option<f64>,
    /// At least one variation; weights are relative.
    #[schema(min_items = 1)]
    split: Vec<WeightedVariation>,
    /// When the rule exists; outside it is skipped.
    schedule: Option<Schedule>,
    /// Gate and split as Unleash has them, in 100 buckets. Excludes `percentage`.
    unleash: Option<UnleashLane>,
}

/// One part of a split.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WeightedVariation {
    /// Which variation.
    variation: String,
    /// Relative weight.
    #[serde(default)]
    #[schema(default = 1, format = "uint32")]
    weight: u32,
}

/// A comparison of one attribute.
#[expect(clippy::struct_excessive_bools, reason = "each is a word of its own in what people write")]
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Condition {
    /// Context attribute. Left out for `in_segment`.
    #[serde(default)]
    attribute: String,
    /// Which comparison.
    op: Operator,
    /// Right-hand sides; one that matches is enough, except for `contains_all`. Empty for `exists`.
    #[serde(default)]
    #[schema(max_items = 10_000)]
    values: Vec<Value>,
    /// Turns the answer round, also when the attribute is missing.
    #[serde(default)]
    negate: bool,
    /// Compares texts without regard to case.
    #[serde(default)]
    ignore_case: bool,
    /// Compares as Unleash does: numbers and booleans as texts, texts as numbers.
    #[serde(default)]
    coerce: bool,
    /// Reads an attribute's version as flagd does: `v1.2` as `1.2.0`.
    #[serde(default)]
    lenient: bool,
}

/// Comparisons of a condition.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Operator {
    In,
    Contains,
    StartsWith,
    EndsWith,
    LessThan,
    AtMost,
    GreaterThan,
    AtLeast,
    Exists,
    Matches,
    Before,
    After,
    SemverEqual,
    SemverLessThan,
    SemverGreaterThan,
    SemverAtLeast,
    SemverAtMost,
    InCidr,
    ContainsAny,
    ContainsAll,
    InSegment,
}

/// Answer of a flag when the snapshot's freshness cannot be proven.
#[derive(Deserialize, ToSchema, Default)]
#[serde(rename_all = "snake_case")]
enum OnStale {
    #[default]
    Keep,
    Default,
    Off,
}

/// Which buckets are exposed, which are control.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Cohort {
    /// Number of the phase that this allocation defines.
    #[schema(format = "uint32")]
    phase: u32,
    /// Ascending, not overlapping. A bucket outside all slices gets the default variation and no arm.
    #[schema(max_items = 64)]
    slices: Vec<CohortSlice>,
    /// What rules may not serve while the fuse is not closed.
    withheld: Option<Withheld>,
    /// What its enrolled units are told apart by, besides.
    #[serde(default)]
    #[schema(max_items = 4)]
    dimensions: Vec<Dimension>,
    /// Which units enrol.
    #[serde(default)]
    units: Units,
    /// Text hashed with the unit in place of the flag's salt: buckets of which nobody has met the feature ran out.
    #[schema(min_length = 1)]
    salt: Option<String>,
}

/// An attribute of the enrolling request, and the values of it that are counted by themselves; all others together are
/// `other`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Dimension {
    #[schema(min_length = 1, max_length = 64)]
    attribute: String,
    #[schema(min_items = 1, max_items = 20)]
    values: Vec<String>,
}

/// Which units a fuse enrols.
#[derive(Deserialize, ToSchema, Default)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum Units {
    /// Whoever is asked for.
    #[default]
    Any,
    /// Those whose context carries a signature of the customer's server.
    Signed,
}

/// A range of buckets that get the same variation: from `from` up to, not including, `to`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct CohortSlice {
    #[schema(maximum = 1_000_000)]
    from: u32,
    #[schema(maximum = 1_000_000)]
    to: u32,
    /// What these units get.
    variation: String,
    /// The arm they are counted in.
    arm: Arm,
    /// The phase they are counted in, when it is not the cohort's.
    #[schema(format = "uint32")]
    phase: Option<u32>,
    /// Whether they are served and counted nowhere, because they met the feature before.
    #[serde(default)]
    unenrolled: bool,
}

/// Arm of a comparison.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum Arm {
    Exposed,
    Control,
}

/// A variation that rules may not serve, and what they serve in its place.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Withheld {
    variation: String,
    instead: String,
}

/// What only Unleash's APIs show of a toggle.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UnleashToggle {
    /// Clients report each evaluation.
    #[serde(default)]
    impression_data: bool,
    /// Unleash's `type`: `release`, `experiment`, `kill-switch` …
    r#type: Option<String>,
}

/// How Unleash would bucket for a rule. A stickiness is `default`, `random` or the name of an attribute.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UnleashLane {
    /// Whom the rule is for; absent means everybody.
    gate: Option<UnleashGate>,
    /// How `split` divides; needed when it has several entries.
    split: Option<UnleashSplit>,
}

/// `murmur3(group:unit) % 100 + 1 ≤ percent`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UnleashGate {
    /// Unleash's group id; may be empty.
    group: String,
    /// What names the unit.
    stickiness: String,
    #[schema(maximum = 100)]
    percent: u8,
}

/// `murmur3(group:unit, 86028157) % sum of weights + 1` falls into a variation's share.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UnleashSplit {
    /// Unleash's group id, often the toggle's name; may be empty.
    group: String,
    /// What names the unit.
    stickiness: String,
}

/// A named group of askers. Excluded beats included, included beats rules, one rule that holds is enough.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({ "key": "beta", "included": ["anna"] }))]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Segment {
    /// Name that conditions refer to.
    #[schema(min_length = 1, max_length = 256)]
    key: String,
    /// For people.
    #[serde(default)]
    #[schema(max_length = 4096)]
    description: String,
    /// Units that are in it whatever the rules say.
    #[serde(default)]
    included: Vec<String>,
    /// Units that are never in it.
    #[serde(default)]
    excluded: Vec<String>,
    /// Attribute that `included` and `excluded` name; `targetingKey` when absent.
    attribute: Option<String>,
    /// Each holds when all its conditions do.
    #[serde(default)]
    #[schema(max_items = 64)]
    rules: Vec<SegmentRule>,
}

/// Conditions that all have to hold; an empty list always holds.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SegmentRule {
    #[schema(max_items = 64)]
    conditions: Vec<Condition>,
}

/// A set of buckets that flags share without overlap, so that no unit is in two of them.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({ "key": "beta", "salt": "home" }))]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Layer {
    /// Name that flags refer to.
    #[schema(min_length = 1, max_length = 128)]
    key: String,
    /// For people.
    #[serde(default)]
    #[schema(max_length = 4096)]
    description: String,
    /// Stable opaque text that is hashed with the unit; the layer's key when absent.
    #[schema(max_length = 4096)]
    salt: Option<String>,
    /// Attribute that names the unit; `targetingKey` when absent.
    #[schema(max_length = 4096)]
    bucket_by: Option<String>,
}

/// Units that get no feature at all, to measure what all features together do.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({ "percentage": 5, "salt": "holdout" }))]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Holdout {
    /// In steps of 0.0001.
    #[schema(minimum = 0, maximum = 100)]
    percentage: f64,
    /// Stable opaque text that is hashed with the unit.
    #[schema(max_length = 4096)]
    salt: String,
    /// Attribute that names the unit; `targetingKey` when absent.
    #[schema(max_length = 4096)]
    bucket_by: Option<String>,
}

/// The staleness bounds of an environment: `strict` is 100 ms and 250 ms, `economy` 250 ms and 1 s.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum Profile {
    Strict,
    Economy,
}

/// What a token is for.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum TokenKind {
    Admin,
    Editor,
    Viewer,
    Ingest,
    Client,
    Server,
    Metrics,
}

/// What somebody may do: read; edit flags and fuses; approve; administer projects, environments, tokens and members; own the
/// tenant; deliver events as edges do; send them as servers do; scrape the figures for operators.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum Right {
    Read,
    Edit,
    Approve,
    Administer,
    Own,
    Deliver,
    Send,
    Scrape,
}

/// What a person is in a place.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum MemberRole {
    Owner,
    Admin,
    Editor,
    Approver,
    Viewer,
}

/// Whether the edge records an exposure for each evaluation of a single flag.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum AutoExposure {
    Single,
    Off,
}

/// A JSON merge patch (RFC 7396) of a flag: what it does not name stays, null takes away.
pub(in crate::api) struct FlagPatch;

impl PartialSchema for FlagPatch {
    fn schema() -> RefOr<Schema> {
        let description =
            "A JSON merge patch (RFC 7396) of a flag: what it does not name stays, null takes away.";
        let example = json!({ "enabled": true });
        let patch = ObjectBuilder::new().description(Some(description)).examples([example]);
        Schema::Object(patch.build()).into()
    }
}

impl ToSchema for FlagPatch {}

macro_rules! bodies {
    ($($body:ident of $whole:ident,)*) => {
        $(
            /// The same in a body, which may leave out the key: the path has it.
            pub(in crate::api) struct $body;

            impl PartialSchema for $body {
                fn schema() -> RefOr<Schema> {
                    without_required($whole::schema(), "key")
                }
            }

            impl ToSchema for $body {
                fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                    $whole::schemas(schemas);
                }
            }
        )*
    };
}

bodies! {
    FlagBody of Flag,
    SegmentBody of Segment,
    LayerBody of Layer,
}

fn without_required(schema: RefOr<Schema>, name: &str) -> RefOr<Schema> {
    let RefOr::T(Schema::Object(mut object)) = schema else { return schema };
    object.required.retain(|required| required != name);
    if let Some(Value::Object(example)) = &mut object.example {
        example.remove(name);
    }
    Schema::Object(object).into()
}
