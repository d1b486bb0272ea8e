//! Policies of fuses, and what their verdicts rest on. The words of `model`.

use serde::Deserialize;
use utoipa::ToSchema;

use super::definition::{Dimension, Units};

/// What a fuse watches and what it does.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({
    "mode": "classic", "treatment_variation": "on", "control_variation": "off", "exposure_percent": 10,
    "control_percent": 10,
    "guardrails": [{ "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05 }],
}))]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Policy {
    mode: Mode,
    /// Served to the exposed slice.
    treatment_variation: String,
    /// Served to the control reserve.
    control_variation: String,
    /// Share of units that see the feature, in steps of 0.0001; of a ramp that of its first stage, which it is when left out.
    #[serde(default)]
    #[schema(minimum = 0.0001, maximum = 90)]
    exposure_percent: f64,
    /// Share of units reserved as control, in steps of 0.0001; of a ramp that of its first stage, which it is when left out.
    #[serde(default)]
    #[schema(minimum = 0.0001, maximum = 50)]
    control_percent: f64,
    /// `anytime`: by which stages the feature grows; absent it stays at its share.
    #[schema(nullable = false)]
    ramp: Option<Ramp>,
    /// What must not get worse.
    #[schema(min_items = 1, max_items = 8)]
    guardrails: Vec<Guardrail>,
    /// Outcomes whose values are added up for each unit, for their distribution. A guardrail of the mode `anytime` on one of them
    /// compares it.
    #[serde(default)]
    #[schema(max_items = 4)]
    values: Vec<String>,
    /// Sample progress below which nothing is decided.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1, default = 0.65)]
    min_confidence: f64,
    /// Units of each arm below which nothing is decided.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100_000_000, default = 1500)]
    min_sample: u64,
    /// Length of the sliding observation window.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 720, default = 72)]
    window_hours: u64,
    /// `classic`: weight of the newest window of five minutes in the moving averages of both arms' rates, which are compared then;
    /// absent compares the rates themselves.
    #[schema(minimum = 0.01, maximum = 1)]
    ema_alpha: Option<f64>,
    /// Seconds after an action in which no automatic one follows.
    #[serde(default)]
    #[schema(maximum = 604_800)]
    cooldown_s: u64,
    /// Seconds after a phase began in which units are not enrolled: the change is still travelling.
    #[serde(default)]
    #[schema(maximum = 3_600)]
    grace_s: u64,
    /// Share of units that see the feature while half open, in steps of 0.0001.
    #[serde(default)]
    #[schema(minimum = 0.0001, maximum = 50)]
    half_open_percent: f64,
    /// What it takes to try again.
    #[serde(default)]
    half_open: HalfOpenRule,
    /// By which attributes of the enrolling request units are counted apart as well.
    #[serde(default)]
    #[schema(max_items = 4)]
    slices: Vec<Dimension>,
    /// Which units enrol.
    #[serde(default)]
    units: Units,
    /// Whose outcomes count.
    #[serde(default)]
    outcomes_from: OutcomesFrom,
    /// `anytime`: everybody has the feature but the control share, which a sentinel compares with for good.
    #[serde(default)]
    promoted: bool,
    /// `anytime`: while an objective of the environment pages, a tenth of the evidence trips.
    #[serde(default)]
    urgent: bool,
    /// `anytime`: whom a trip takes the feature from.
    #[serde(default)]
    trip_scope: TripScope,
}

/// Whom a trip takes the feature from.
#[derive(Deserialize, ToSchema, Default)]
#[serde(rename_all = "snake_case")]
enum TripScope {
    /// Everybody.
    #[default]
    All,
    /// The slices whose own evidence harms, where no other does; everybody else keeps it.
    Slice,
}

/// How the feature grows from a few units to everybody.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Ramp {
    /// Rising. Behind the last one comes one more, which shows the feature to everybody but a hold-back.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 10)]
    stages: Vec<RampStage>,
    /// What opens the next stage, beside its time.
    #[serde(default)]
    advance: Advance,
    /// The relative harm over all units that a step up may bring; each guardrail's threshold when absent.
    #[schema(minimum = 0.001, maximum = 10)]
    harm_budget: Option<f64>,
    /// Share of units that never see the feature: the control of the last stage.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 5, default = 5)]
    hold_back_percent: f64,
    /// Metrics of guardrails that no step up waits for.
    #[serde(default)]
    #[schema(max_items = 8)]
    exempt: Vec<String>,
}

/// One stage of a ramp.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RampStage {
    /// Share of units that see the feature, those of the stages before included, in steps of 0.0001.
    #[schema(minimum = 0.0001, maximum = 98)]
    exposed_percent: f64,
    /// Share of units that the stage reserves as its own control, in steps of 0.0001.
    #[schema(minimum = 0.0001, maximum = 50)]
    control_percent: f64,
    /// How long it lasts at least; half an hour when absent, a day from 25 % on.
    #[schema(maximum = 2_592_000)]
    dwell_s: Option<u64>,
}

/// What opens the next stage, beside its time.
#[derive(Deserialize, ToSchema, Default)]
#[serde(rename_all = "snake_case")]
enum Advance {
    /// A harm that would use up the budget at the next share is excluded.
    #[default]
    Risk,
    /// So many units were read that twice the threshold would have been found in four of five launches.
    Power,
    /// Nothing else.
    Time,
    /// A gain of 1.5 % was seen, and the 95th percentile of latency is at most 0.8 of its limit; up to half of the units.
    S3,
}

/// Where a ramp stood at a verdict.
#[derive(ToSchema)]
pub(in crate::api) struct RampVerdict {
    /// The how-manieth attempt.
    #[schema(minimum = 1)]
    attempt: u32,
    /// The stage that ran, from 1.
    #[schema(minimum = 1)]
    stage: u32,
    /// Stages of the attempt, the last one of everybody included.
    stages: u32,
    /// Share of units that saw the feature, percent.
    exposed_percent: f64,
    /// What follows; absent in the last one.
    #[schema(nullable = false)]
    next: Option<NextStage>,
    /// The same in a sentence.
    summary: String,
}

/// The stage that follows, and what it waits for.
#[derive(ToSchema)]
pub(in crate::api) struct NextStage {
    /// From 1.
    #[schema(minimum = 2)]
    stage: u32,
    /// Share of units that will see the feature, percent.
    exposed_percent: f64,
    /// Not before.
    opens_ms: u64,
    /// One phrase for each thing; nothing when it opens.
    waits_for: Vec<String>,
}

/// Whose outcomes count.
#[derive(Deserialize, ToSchema, Default)]
#[serde(rename_all = "snake_case")]
enum OutcomesFrom {
    /// Anybody's for whom somebody vouches.
    #[default]
    Any,
    /// Those that a server sent with a secret key.
    Server,
}

/// How a fuse decides.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// Smoothed rates against fixed thresholds.
    Classic,
    /// Evidence that may be looked at after every tick, at a bounded error for the whole launch.
    Anytime,
}

/// What moves an open fuse to half open.
#[derive(Deserialize, ToSchema, Default)]
#[serde(rename_all = "snake_case")]
enum HalfOpenRule {
    #[default]
    OnRecovery,
    AfterCooldown,
}

/// One metric that must not get worse.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Guardrail {
    /// What is measured.
    #[schema(min_length = 1, max_length = 64)]
    metric: String,
    /// Which way is worse.
    direction: Direction,
    /// Relative change that trips: below 0 when a decrease is harm, above 0 when an increase is.
    #[schema(minimum = -0.99, maximum = 100)]
    threshold: f64,
    /// `anytime`: the metric's usual rate, for which the sizes of harm that are looked for are made.
    #[schema(minimum = 0.000_001, maximum = 0.9)]
    baseline: Option<f64>,
    /// `anytime`: the guardrail's part of the error that a launch may spend; all of them, or none, name one.
    #[schema(minimum = 0.001, maximum = 1)]
    weight: Option<f64>,
    /// `anytime`: what the rate itself may be at most, or where fewer are harm at least (0.000001 to 0.9); of `latency_ms` what its
    /// 95th percentile may be, in milliseconds (0.001 to 3,600,000). Absent compares with control.
    #[schema(minimum = 0.000_001, maximum = 3_600_000)]
    limit: Option<f64>,
    /// `anytime`: what its evidence may do.
    #[serde(default)]
    rights: Rights,
    /// Relative improvement that counts as recovered.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1)]
    recovery_threshold: f64,
    /// Outcomes earlier than this after the first exposure do not count.
    #[schema(maximum = 604_800)]
    after_s: Option<u64>,
    /// Outcomes later than this after the first exposure do not count.
    #[schema(maximum = 604_800)]
    within_s: Option<u64>,
    /// The outcomes that show that a unit came back: of the metric `return` only, `session` when absent.
    #[schema(min_items = 1, max_items = 16)]
    activities: Option<Vec<String>>,
}

/// What the evidence of a guardrail may do.
#[derive(Deserialize, ToSchema, Default)]
#[serde(rename_all = "snake_case")]
enum Rights {
    /// Switch the feature off.
    #[default]
    Trip,
    /// Keep the fuse from going on.
    Hold,
}

/// Which way is worse.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Direction {
    IncreaseIsHarm,
    DecreaseIsHarm,
}

/// Whether the feature is served to its cohort.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(in crate::api) enum Circuit {
    Closed,
    Open,
    HalfOpen,
}

/// How far the roll-out got.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(in crate::api) enum Rollout {
    Pending,
    Validating,
    Promoted,
    RolledBack,
}

/// How much traffic a policy needs before it can trip, and how long that takes.
#[derive(ToSchema)]
pub(in crate::api) struct Traffic {
    /// Exposed units at the first look that can trip.
    exposed_units: u64,
    /// Control units at that look.
    control_units: u64,
    /// Events over both arms at that look.
    events: u64,
    /// Visitors of whom that many fall into the arms, on average.
    visitors: u64,
    /// In how long they have to come.
    window_hours: u64,
    /// Fewer an hour are never enough.
    visitors_per_hour_min: u64,
    /// The present rate; null when it is not known.
    #[schema(required)]
    visitors_per_hour: Option<u64>,
    /// Where that was seen.
    #[schema(required)]
    rate_from: Option<RateFrom>,
    /// How long it takes at that rate.
    #[schema(required)]
    takes_ms: Option<u64>,
    /// The same in a sentence.
    summary: String,
    /// Why it can never trip, when that is so at the present rate.
    #[schema(nullable = false)]
    warning: Option<String>,
}

/// What a policy would have made of control units that are dealt into two arms.
#[derive(ToSchema)]
pub(in crate::api) struct FuseRehearsal {
    /// Times that the units were dealt.
    runs: usize,
    /// Trips although nothing was planted.
    false_trips: usize,
    /// Slots of control units that were dealt.
    slots: usize,
    /// Units in them.
    units: u64,
    /// How long they took to come, in hours.
    hours: f64,
    /// With the harm of its threshold planted into one guardrail at a time.
    guardrails: Vec<PlantedHarm>,
}

/// One guardrail with a harm of its threshold.
#[derive(ToSchema)]
struct PlantedHarm {
    metric: String,
    /// Runs that tripped.
    caught: usize,
    /// Exposed units until then, in the middle one of the runs that tripped; null where none did.
    #[schema(required)]
    exposed_units: Option<u64>,
    /// Hours until then.
    #[schema(required)]
    hours: Option<f64>,
}

/// What keeps a fuse from guarding anything.
#[derive(ToSchema)]
pub(in crate::api) struct LintFinding {
    code: LintCode,
    severity: LintSeverity,
    /// The metric of the guardrail that it is about; left out of what is about the whole fuse.
    #[schema(nullable = false)]
    guardrail: Option<String>,
    /// How long a harm takes to be found.
    #[schema(nullable = false)]
    days: Option<LintDays>,
    /// The same in a sentence.
    summary: String,
}

/// Why a fuse guards nothing.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum LintCode {
    /// No outcome has named the guardrail's metric in seven days.
    NoEvents,
    /// Nobody has met the flag.
    NoUnits,
    /// Somebody would have to be taken at their word.
    Unguarded,
    /// A harm as large as the threshold is found after more than two weeks.
    ReserveTooSmall,
    /// The threshold is so small that it takes hundreds of thousands of units in each arm.
    SmallThreshold,
    /// Windows of five minutes hold so few units that their moving average trips by chance.
    NoisyAverage,
    /// A field is set that the mode does not read.
    IgnoredField,
    /// Another watched flag has the same salt.
    SharedSalt,
    /// An edge could not read what the policy asks for.
    EdgeTooOld,
    /// An attempt of its own begins.
    NewAttempt,
}

/// How much a finding matters.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum LintSeverity {
    /// The fuse cannot be armed like that.
    Refused,
    /// It can, and would not guard what it seems to.
    Warning,
    /// It does what it says; that is worth knowing.
    Note,
}

/// Days until a harm is found, at the present rate.
#[derive(ToSchema)]
struct LintDays {
    /// One as large as the threshold.
    threshold: f64,
    /// One four times as large.
    fourfold: f64,
}

/// Where a rate was seen.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RateFrom {
    Flag,
    Environment,
}

/// The numbers behind one guardrail's finding.
#[derive(ToSchema)]
pub(in crate::api) struct GuardrailEvidence {
    /// What was measured.
    metric: String,
    /// What it says.
    finding: Finding,
    /// Both arms.
    reading: Reading,
    /// Smoothed rate or mean of the exposed arm.
    rate_exposed: f64,
    /// Smoothed rate or mean of the control arm.
    rate_control: f64,
    /// Relative difference.
    delta: f64,
    /// What was compared with the threshold: the delta, or that of the moving averages, to 4 digits.
    delta_compared: f64,
    /// The moving averages; left out without an `ema_alpha`.
    #[schema(nullable = false)]
    moving_average: Option<MovingAverage>,
    /// The threshold.
    threshold: f64,
    /// Sample progress, to 3 digits: no probability.
    #[schema(minimum = 0, maximum = 1)]
    confidence: f64,
    /// How often the rule trips by chance alone at the first look at which it may; null for means and without a baseline.
    #[schema(required)]
    false_trip_rate_first_look: Option<f64>,
    /// Evidence of the mode `anytime`, which alone decides there.
    #[schema(nullable = false)]
    anytime: Option<AnytimeEvidence>,
    /// Who sent the events that harm; only where it was asked, which it is before a trip.
    #[schema(nullable = false)]
    origins: Option<Origins>,
    /// The same in a sentence.
    summary: String,
}

/// Moving averages of the arms' rates, one step for each window of five minutes in which the arm has units.
#[derive(ToSchema)]
struct MovingAverage {
    /// Of the exposed arm; null before a window with units of it is over.
    #[schema(required)]
    exposed: Option<f64>,
    /// Of control.
    #[schema(required)]
    control: Option<f64>,
}

/// The numbers of the mode `anytime` behind one guardrail's finding.
#[derive(ToSchema)]
struct AnytimeEvidence {
    /// How many times likelier what was counted is under harm than under none.
    evidence: f64,
    /// What it has to reach.
    evidence_needed: f64,
    /// ln(evidence) ÷ ln(evidence needed), in percent.
    #[schema(minimum = 0, maximum = 100)]
    progress: f64,
    /// Relative change over everything that was read; null before there is any, and under a limit.
    #[schema(required)]
    change: Option<f64>,
    /// Between what it lies, with 95 % at all looks together; no decision reads it.
    #[schema(nullable = false)]
    interval: Option<ChangeSpan>,
    /// How many times likelier it is under no harm than under a harm of the threshold.
    recovery: f64,
    /// What that has to reach before the fuse closes.
    recovery_needed: f64,
    /// The how-manieth attempt of its launch this is.
    #[schema(minimum = 1)]
    attempt: u32,
    /// Blocks of units that said something.
    blocks: u64,
    /// The smallest of the harms 100 (decreases: 90), 50, 20, 10 and 5 % that is excluded; left out while none is.
    #[schema(nullable = false)]
    excluded: Option<f64>,
    /// The slice that is harmed, where it is not everybody.
    #[schema(nullable = false)]
    slice: Option<String>,
    /// Under a limit: the exposed arm's rate, of latency the share of samples above the limit.
    #[schema(nullable = false)]
    rate: Option<f64>,
    /// Under a limit: evidence that control is beyond it as well.
    #[schema(nullable = false)]
    control_evidence: Option<f64>,
    /// Of `return`: evidence of harm in those who came back so far. It only holds.
    #[schema(nullable = false)]
    early_evidence: Option<f64>,
    /// What that has to reach.
    #[schema(nullable = false)]
    early_evidence_needed: Option<f64>,
    /// Of a promoted flag: what its sentinel has come to, which also trips.
    #[schema(nullable = false)]
    sentinel: Option<f64>,
    /// What that has to reach.
    #[schema(nullable = false)]
    sentinel_needed: Option<f64>,
    /// Of an urgent policy: what the evidence has to reach while an objective pages.
    #[schema(nullable = false)]
    urgent_needed: Option<f64>,
}

/// Relative changes between which the true one lies; null is an end that is not known yet.
#[derive(ToSchema)]
struct ChangeSpan {
    #[schema(required)]
    lower: Option<f64>,
    #[schema(required)]
    upper: Option<f64>,
}

/// Who sent the harmful events of a guardrail: those of exposed units, or where fewer are harm, the exposed units.
#[derive(ToSchema)]
struct Origins {
    /// Kinds of senders.
    sources: Vec<Source>,
    /// Different networks from which their units enrolled, as far as they are counted; all that are unknown are one.
    networks: u64,
}

/// Who sent an event.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Source {
    Edge,
    Client,
    Open,
    Server,
}

/// What one guardrail says.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum Finding {
    NoData,
    NoControl,
    SampleRatioMismatch,
    Incident,
    SuspectedHarm,
    SampleTooSmall,
    ConfidenceTooLow,
    TooFewEvents,
    Harm,
    Neutral,
    Recovered,
}

/// Both arms of one guardrail.
#[derive(ToSchema)]
struct Reading {
    exposed: ArmTotal,
    control: ArmTotal,
}

/// Sums over the enrolment slots of one arm that the window covers.
#[derive(ToSchema)]
struct ArmTotal {
    /// Enrolled units.
    units: u64,
    /// Units with the event; for a metric with values, units with a value.
    events: u64,
    /// Sum of their values.
    value_sum: f64,
}
