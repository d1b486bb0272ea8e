//! The steps of an evaluation in words and JSON. Never decides anything.

use flagfuse_shared::condition::unreadable;
use flagfuse_shared::context::CURRENT_TIME;
use flagfuse_shared::definition::{
    Arm, ConditionWire, FlagWire, OnStale, Operator, RuleWire, ScheduleWire, SegmentWire,
};
use flagfuse_shared::evaluate::{Lane, Observer, Passage, Step};
use flagfuse_shared::ids::{FlagKey, UnixMillis, VariationKey};
use flagfuse_shared::segment::Membership;
use serde_json::{Map, Value, json};

use super::Written;

/// Values that a sentence lists before it says how many more there are.
const LISTED_COUNT_MAX: usize = 5;

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplanationStep {
    /// `condition`, `gate`, `cohort` …
    pub kind: &'static str,
    /// What was compared.
    pub fields: Map<String, Value>,
    /// Whether it let the asker through, where that is the question.
    pub passage: Option<Passage>,
    /// The same as a sentence.
    pub text: String,
    /// The steps of a prerequisite.
    pub steps: Vec<ExplanationStep>,
}

impl ExplanationStep {
    fn new(kind: &'static str, text: impl Into<String>, fields: Value) -> Self {
        let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
        Self { kind, fields, passage: None, text: text.into(), steps: Vec::new() }
    }

    fn passing(self, passage: Passage) -> Self {
        Self { passage: Some(passage), ..self }
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let mut fields = self.fields.clone();
        fields.insert("step".to_owned(), json!(self.kind));
        fields.insert("text".to_owned(), json!(self.text));
        if let Some(passage) = self.passage {
            fields.insert("passed".to_owned(), json!(passage == Passage::Passed));
        }
        if !self.steps.is_empty() {
            fields.insert("steps".to_owned(), self.steps.iter().map(Self::to_json).collect());
        }
        Value::Object(fields)
    }

    /// One line, and one for each step of a prerequisite.
    pub(super) fn write_lines(&self, depth: usize, lines: &mut Vec<String>) {
        let mark = match self.passage {
            Some(Passage::Passed) => "+",
            Some(Passage::Stopped) => "-",
            None => " ",
        };
        let is_inside_rule = self.kind != "rule" && self.fields.contains_key("rule");
        let inside_segment =
            usize::from(self.kind == "segment") + 2 * usize::from(self.fields.contains_key("segment_rule"));
        let indent = "  ".repeat(depth + usize::from(is_inside_rule) + inside_segment);
        lines.push(format!("{indent}{mark} {}", self.text));
        for step in &self.steps {
            step.write_lines(depth + 2, lines);
        }
    }
}

/// Writes down the steps of one flag and, nested, of its prerequisites.
pub(super) struct Recorder<'w> {
    written: &'w Written,
    now: UnixMillis,
    /// The flag that was asked for, then the prerequisites on the way to the one that is being evaluated.
    levels: Vec<Level<'w>>,
}

struct Level<'w> {
    key: String,
    flag: Option<&'w FlagWire>,
    rule: Option<String>,
    segment: Option<&'w SegmentWire>,
    steps: Vec<ExplanationStep>,
}

impl<'w> Recorder<'w> {
    pub(super) fn new(flag_key: &str, written: &'w Written, now: UnixMillis) -> Self {
        let mut recorder = Self { written, now, levels: Vec::new() };
        recorder.enter(flag_key);
        recorder
    }

    pub(super) fn into_steps(mut self) -> Vec<ExplanationStep> {
        // A prerequisite always ends, so only the flag itself is left.
        self.levels.drain(..).next().map(|level| level.steps).unwrap_or_default()
    }

    fn enter(&mut self, key: &str) {
        let flag = FlagKey::parse(key).ok().and_then(|key| self.written.flags.get(&key));
        self.levels.push(Level { key: key.to_owned(), flag, rule: None, segment: None, steps: Vec::new() });
    }

    /// The steps of a prerequisite whose evaluation just ended; none when its answer was remembered.
    fn leave(&mut self, key: &str) -> Vec<ExplanationStep> {
        let is_there = self.levels.len() > 1 && self.levels.last().is_some_and(|level| level.key == key);
        if is_there { self.levels.pop().map(|level| level.steps).unwrap_or_default() } else { Vec::new() }
    }

    fn push(&mut self, told: ExplanationStep) {
        if let Some(level) = self.levels.last_mut() {
            level.steps.push(told);
        }
    }
}

impl Observer for Recorder<'_> {
    fn saw(&mut self, step: Step<'_>) {
        match step {
            Step::PrerequisiteBegins { flag } => self.enter(flag.key().as_str()),
            Step::Prerequisite { flag, served, passage } => {
                let steps = self.leave(flag);
                let wanted = self.levels.last().and_then(|level| level.flag).and_then(|wire| {
                    wire.prerequisites.iter().find(|prerequisite| prerequisite.flag == flag)
                });
                let wanted = wanted.map(|wanted| wanted.variations.clone()).unwrap_or_default();
                let told = ExplanationStep { steps, ..prerequisite(flag, &wanted, served).passing(passage) };
                self.push(told);
            }
            Step::Rule { key } => {
                if let Some(level) = self.levels.last_mut() {
                    level.rule = Some(key.to_string());
                }
                self.push(ExplanationStep::new(
                    "rule",
                    format!("rule {key}"),
                    json!({ "rule": key.as_str() }),
                ));
            }
            Step::Segment { key, membership } => {
                if let Some(level) = self.levels.last_mut() {
                    level.segment = self.written.segments.get(key);
                    let told = level.of_rule(segment(key, membership));
                    level.steps.push(told);
                }
            }
            step => {
                let told = self.levels.last().and_then(|level| level.tell(step, self.now));
                if let Some(told) = told {
                    self.push(told);
                }
            }
        }
    }
}

impl Level<'_> {
    fn written_rule(&self) -> Option<&RuleWire> {
        let key = self.rule.as_ref()?;
        self.flag?.rules.iter().find(|rule| rule.key == *key)
    }

    /// Puts a step into words. `None` for those that begin or end something: the recorder tells them.
    fn tell(&self, step: Step<'_>, now: UnixMillis) -> Option<ExplanationStep> {
        Some(match step {
            Step::Off => ExplanationStep::new("off", "the flag is switched off", json!({})),
            Step::Schedule(passage) => {
                schedule("schedule", self.flag.and_then(|flag| flag.schedule), now, passage)
            }
            Step::Stale(on_stale) => stale(on_stale),
            Step::Target { variation } => target(variation),
            Step::Holdout { bucket, below, passage } => holdout(bucket, below).passing(passage),
            Step::Layer { layer, bucket, from, to, passage } => {
                let text = format!("layer {layer}: bucket {bucket}, the flag has {from} up to {to}");
                let fields = json!({ "layer": layer, "bucket": bucket, "from": from, "to": to });
                ExplanationStep::new("layer", text, fields).passing(passage)
            }
            Step::RuleSchedule(passage) => {
                let wire = self.written_rule().and_then(|rule| rule.schedule);
                self.of_rule(schedule("rule_schedule", wire, now, passage))
            }
            Step::Condition { at, found, passage, .. } => {
                let wire = self.written_rule().and_then(|rule| rule.conditions.get(at));
                self.of_rule(condition(at, wire, found, now).passing(passage))
            }
            Step::SegmentCondition { rule, at, found, passage } => {
                let wire = self.segment.and_then(|segment| segment.rules.get(rule)?.conditions.get(at));
                let mut told = condition(at, wire, found, now).passing(passage);
                told.text = format!("segment rule {rule}: {}", told.text);
                told.fields.insert("segment".to_owned(), json!(self.segment.map(|segment| &segment.key)));
                told.fields.insert("segment_rule".to_owned(), json!(rule));
                self.of_rule(told)
            }
            Step::Gate { lane, bucket, threshold, passage } => {
                self.of_rule(gate(lane, bucket, threshold).passing(passage))
            }
            Step::Split { lane, bucket, weight_sum, variation } => {
                self.of_rule(split(lane, bucket, weight_sum, variation))
            }
            Step::Withheld { wanted, instead } => self.of_rule(withheld(wanted, instead)),
            Step::Cohort { bucket, slice } => cohort(bucket, slice),
            Step::Default { variation } => {
                let served = variation.map_or("default in the code", |_| "default variation");
                ExplanationStep::new("default", format!("nothing decided: the {served}"), json!({}))
            }
            Step::PrerequisiteBegins { .. }
            | Step::Prerequisite { .. }
            | Step::Rule { .. }
            | Step::Segment { .. } => return None,
        })
    }

    fn of_rule(&self, mut told: ExplanationStep) -> ExplanationStep {
        if let Some(rule) = &self.rule {
            told.fields.insert("rule".to_owned(), json!(rule));
        }
        told
    }
}

fn prerequisite(flag: &str, wanted: &[String], served: Option<&VariationKey>) -> ExplanationStep {
    let served = served.map(VariationKey::as_str);
    let text = match served {
        Some(served) => format!("prerequisite {flag} serves {served:?}, needed is {}", one_of(wanted)),
        None => format!("prerequisite {flag} serves nothing, needed is {}", one_of(wanted)),
    };
    ExplanationStep::new(
        "prerequisite",
        text,
        json!({ "flag": flag, "variations": wanted, "served": served }),
    )
}

fn one_of<T: serde::Serialize>(values: &[T]) -> String {
    let listed: Vec<String> =
        values.iter().take(LISTED_COUNT_MAX).map(|value| json!(value).to_string()).collect();
    let more = values.len().saturating_sub(LISTED_COUNT_MAX);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    if let ([only], 0) = (listed.as_slice(), more) {
        return only.clone();
    }
    format!("[{}]{tail}", listed.join(", "))
}

fn schedule(
    kind: &'static str,
    wire: Option<ScheduleWire>,
    now: UnixMillis,
    passage: Passage,
) -> ExplanationStep {
    let bound = |bound: Option<UnixMillis>| bound.map_or_else(|| "ever".to_owned(), |ms| ms.0.to_string());
    let (from, until) = wire.map(|wire| (wire.from_ms, wire.until_ms)).unwrap_or_default();
    let text = format!("schedule: now is {}, on from {} until {}", now.0, bound(from), bound(until));
    let fields = json!({ "now_ms": now, "from_ms": from, "until_ms": until });
    ExplanationStep::new(kind, text, fields).passing(passage)
}

fn stale(on_stale: OnStale) -> ExplanationStep {
    let word = match on_stale {
        OnStale::Keep => "go on",
        OnStale::Default => "the default variation",
        OnStale::Off => "the off variation",
    };
    ExplanationStep::new(
        "stale",
        format!("the snapshot is not proven fresh: {word}"),
        json!({ "on_stale": on_stale }),
    )
}

fn target(variation: Option<&VariationKey>) -> ExplanationStep {
    let variation = variation.map(VariationKey::as_str);
    let text = match variation {
        Some(variation) => format!("targets: the unit is named and gets {variation:?}"),
        None => "targets: the unit is not named".to_owned(),
    };
    ExplanationStep::new("target", text, json!({ "variation": variation }))
}

fn holdout(bucket: Option<u32>, below: u32) -> ExplanationStep {
    let text = match bucket {
        Some(bucket) => format!("holdout: bucket {bucket}, held out are those below {below}"),
        None => "holdout: no unit, so nobody to hold out".to_owned(),
    };
    ExplanationStep::new("holdout", text, json!({ "bucket": bucket, "below": below }))
}

fn segment(key: &str, membership: Membership) -> ExplanationStep {
    let (word, end) = match membership {
        Membership::Excluded => ("excluded", "the unit is excluded by name".to_owned()),
        Membership::Included => ("included", "the unit is included by name".to_owned()),
        Membership::Rule(rule) => ("rule", format!("rule {rule} holds")),
        Membership::Outside => ("outside", "the unit is not named and no rule holds".to_owned()),
    };
    let (rule, passage) = match membership {
        Membership::Rule(rule) => (Some(rule), Passage::Passed),
        Membership::Included => (None, Passage::Passed),
        Membership::Excluded | Membership::Outside => (None, Passage::Stopped),
    };
    let fields = json!({ "segment": key, "membership": word, "holding_rule": rule });
    ExplanationStep::new("segment", format!("segment {key}: {end}"), fields).passing(passage)
}

/// Which buckets pass: those below the threshold in our lane, those up to it in Unleash's.
fn gate(lane: Lane, bucket: Option<u32>, threshold: u32) -> ExplanationStep {
    let (word, passing) = match lane {
        Lane::Native => ("native", "below"),
        Lane::Unleash => ("unleash", "up to"),
    };
    let text = match bucket {
        Some(bucket) => format!("gate: bucket {bucket}, those {passing} {threshold} pass"),
        None => format!("gate: no unit, those {passing} {threshold} pass"),
    };
    ExplanationStep::new("gate", text, json!({ "lane": word, "bucket": bucket, "threshold": threshold }))
}

fn split(lane: Lane, bucket: u32, weight_sum: u32, variation: Option<&VariationKey>) -> ExplanationStep {
    let lane = match lane {
        Lane::Native => "native",
        Lane::Unleash => "unleash",
    };
    let variation = variation.map(VariationKey::as_str);
    let text = format!(
        "split: bucket {bucket} over a weight sum of {weight_sum} gets {}",
        variation.map_or_else(|| "nothing".to_owned(), |variation| format!("{variation:?}")),
    );
    let fields = json!({ "lane": lane, "bucket": bucket, "weight_sum": weight_sum, "variation": variation });
    ExplanationStep::new("split", text, fields)
}

fn withheld(wanted: Option<&VariationKey>, instead: Option<&VariationKey>) -> ExplanationStep {
    let (wanted, instead) = (wanted.map(VariationKey::as_str), instead.map(VariationKey::as_str));
    let name = |variation: Option<&str>| variation.unwrap_or_default().to_owned();
    let text = format!("the fuse withholds {:?} and serves {:?} in its place", name(wanted), name(instead));
    ExplanationStep::new("withheld", text, json!({ "wanted": wanted, "instead": instead }))
}

fn cohort(bucket: u32, slice: Option<(Arm, u32)>) -> ExplanationStep {
    let (arm, phase) = slice.map(|(arm, phase)| (arm.as_str(), phase)).unzip();
    let place = match slice {
        Some((arm, phase)) => format!("{} in phase {phase}", arm.as_str()),
        None => "in no arm".to_owned(),
    };
    let fields = json!({ "bucket": bucket, "arm": arm, "phase": phase });
    ExplanationStep::new("cohort", format!("cohort: bucket {bucket}, {place}"), fields)
}

fn condition(
    at: usize,
    wire: Option<&ConditionWire>,
    found: Option<&Value>,
    now: UnixMillis,
) -> ExplanationStep {
    let Some(wire) = wire else {
        return ExplanationStep::new(
            "condition",
            format!("condition {at}"),
            json!({ "at": at, "found": found }),
        );
    };
    let op = json!(wire.op);
    let mut text = String::new();
    if wire.negate {
        text.push_str("not: ");
    }
    if wire.op != Operator::InSegment {
        text.push_str(&wire.attribute);
        text.push(' ');
    }
    text.push_str(op.as_str().unwrap_or_default());
    if !wire.values.is_empty() {
        text.push(' ');
        text.push_str(&one_of(&wire.values));
    }
    let is_time = wire.attribute == CURRENT_TIME && matches!(wire.op, Operator::Before | Operator::After);
    let found = match found {
        None if is_time => Some(json!(now)),
        found => found.cloned(),
    };
    if wire.op != Operator::InSegment {
        let end =
            found.as_ref().map_or_else(|| "the attribute is missing".to_owned(), |v| format!("found {v}"));
        text.push_str(", ");
        text.push_str(&end);
        if let Some(why) = found.as_ref().and_then(|found| unreadable(wire, found)) {
            text.push_str(", ");
            text.push_str(why);
        }
    }
    let mut fields = json!({ "at": at, "op": op, "values": wire.values, "negate": wire.negate });
    if let (Some(fields), true) = (fields.as_object_mut(), wire.op != Operator::InSegment) {
        fields.insert("attribute".to_owned(), json!(wire.attribute));
        fields.insert("found".to_owned(), json!(found));
    }
    ExplanationStep::new("condition", text, fields)
}
