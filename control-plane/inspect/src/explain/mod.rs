//! Why a flag answered as it did: a signed frame is evaluated by the code the edge runs, and each step is told.
//!
//! Never evaluates by itself: [`explain`] watches an evaluation and only puts into words what it is told.

mod draft;
mod steps;

use std::collections::BTreeMap;

use flagfuse_shared::definition::{FlagWire, HoldoutWire, LayerWire, SegmentWire, SharedWire};
use flagfuse_shared::evaluate::{EvaluationResult, Question};
use flagfuse_shared::ids::{FlagKey, Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::ofrep::{Origin, single_status, write_answer};
use flagfuse_shared::snapshot::payload::definitions;
use flagfuse_shared::snapshot::{Outcome, Refusal, RefusalCode, Snapshot, TrustedRoots, Verified, verify};
use serde::Serialize;
use serde_json::{Map, Value, json};

pub use self::draft::{DraftFault, Extent};
pub use self::steps::ExplanationStep;
use self::steps::Recorder;

/// Flags and segments word for word.
#[derive(Debug)]
struct Written {
    flags: BTreeMap<FlagKey, FlagWire>,
    segments: BTreeMap<String, SegmentWire>,
    layers: Vec<LayerWire>,
    holdout: Option<HoldoutWire>,
}

impl Written {
    fn of(flags: Vec<FlagWire>, shared: SharedWire) -> Self {
        let keyed = flags.into_iter();
        let flags = keyed.filter_map(|flag| Some((FlagKey::parse(&flag.key).ok()?, flag))).collect();
        let segments = shared.segments.into_iter().map(|wire| (wire.key.clone(), wire)).collect();
        Self { flags, segments, layers: shared.layers, holdout: shared.holdout }
    }
}

/// A verified frame, and what its flags say word for word.
#[derive(Debug)]
pub struct Opened {
    snapshot: Verified<Snapshot>,
    written: Written,
    version: SnapshotVersion,
    scope: Scope,
}

/// Verifies a frame as an edge that holds nothing does.
pub fn open(frame: &[u8], roots: &TrustedRoots, scope: &Scope, now: UnixMillis) -> Result<Opened, Refusal> {
    let Outcome::Newer(admitted) = verify(frame, roots, scope, None, now)? else {
        return Err(Refusal::new(RefusalCode::Env, "nothing is held, so nothing can be the same".to_owned()));
    };
    let definitions =
        definitions(frame).map_err(|error| Refusal::new(RefusalCode::Decode, error.to_string()))?;
    let written = Written::of(definitions.flags, definitions.shared);
    Ok(Opened { snapshot: admitted.snapshot, written, version: admitted.held.version, scope: scope.clone() })
}

/// An answer without the way to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BriefAnswer {
    /// Which flag.
    pub flag: String,
    /// Null where the caller takes the default in its code.
    pub value: Value,
    /// None where the caller takes the default in its code.
    pub variation: Option<String>,
    /// What led to it, in OpenFeature's words; none where there is no answer.
    pub reason: Option<&'static str>,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl BriefAnswer {
    fn of(flag: &str, answer: &EvaluationResult<'_>) -> Self {
        let (resolution, error) = match answer {
            Ok(resolution) => (Some(resolution), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let variation = resolution.and_then(|resolution| resolution.variation);
        Self {
            flag: flag.to_owned(),
            value: variation.and_then(|found| serde_json::from_str(found.json()).ok()).unwrap_or_default(),
            variation: variation.map(|found| found.key().as_str().to_owned()),
            reason: resolution.map(|resolution| resolution.reason.as_str()),
            error,
        }
    }
}

/// Asks one question about one flag, or about all of them in the order of their keys, for the answers alone.
pub fn answers(opened: &Opened, flag_key: Option<&str>, question: Question<'_>) -> Vec<BriefAnswer> {
    let evaluator = opened.snapshot.evaluator(question);
    match flag_key {
        Some(key) => vec![BriefAnswer::of(key, &evaluator.flag(key))],
        None => evaluator.all().map(|(key, answer)| BriefAnswer::of(key.as_str(), &answer)).collect(),
    }
}

/// An answer and the way to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Which flag was asked for.
    pub flag: String,
    /// The snapshot that answered.
    pub version: SnapshotVersion,
    /// The time of the question.
    pub now: UnixMillis,
    /// The random number of the question, when some answer for this asker may depend on it: the edge takes another one for
    /// each question.
    pub random: Option<u64>,
    /// The HTTP status of the answer at the edge.
    pub status: u16,
    /// The answer, byte for byte as OFREP has it.
    pub body: String,
    /// What was found, in the order in which it was looked at.
    pub steps: Vec<ExplanationStep>,
    /// Variation, reason, rule, arm and phase, as far as there are any.
    pub outcome: Map<String, Value>,
}

/// Asks one question about one flag.
pub fn explain(opened: &Opened, flag_key: &str, question: Question<'_>) -> Explanation {
    let mut recorder = Recorder::new(flag_key, &opened.written, question.now);
    let answer = opened.snapshot.evaluator(question).flag_observed(flag_key, &mut recorder);
    let mut body = String::new();
    write_answer(&mut body, flag_key, &answer, &Origin::new(opened.version, &opened.scope));
    let mut outcome = Map::new();
    match &answer {
        Err(error) => {
            outcome.insert("error".to_owned(), json!(error.to_string()));
        }
        Ok(resolution) => {
            let variation = resolution.variation.map(|variation| variation.key().as_str());
            outcome.insert("variation".to_owned(), json!(variation));
            outcome.insert("reason".to_owned(), json!(resolution.reason.as_str()));
            if let Some(rule) = resolution.rule() {
                outcome.insert("rule".to_owned(), json!(rule.as_str()));
            }
            if let Some(assignment) = resolution.assignment {
                outcome.insert("arm".to_owned(), json!(assignment.arm.as_str()));
                outcome.insert("phase".to_owned(), json!(assignment.phase));
            }
        }
    }
    Explanation {
        flag: flag_key.to_owned(),
        version: opened.version,
        now: question.now,
        random: opened.snapshot.may_be_random(question.context).then_some(question.random),
        status: single_status(&answer),
        body,
        steps: recorder.into_steps(),
        outcome,
    }
}

impl Explanation {
    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({
            "flag": self.flag,
            "version": self.version.to_string(),
            "now_ms": self.now,
            "chance": self.random,
            "status": self.status,
            "resolution": serde_json::from_str::<Value>(&self.body).unwrap_or_default(),
            "outcome": self.outcome,
            "steps": self.steps.iter().map(ExplanationStep::to_json).collect::<Vec<_>>(),
        })
    }

    /// For people: one line a step, the outcome last.
    pub fn to_text(&self) -> String {
        let mut lines = vec![format!("{} in snapshot {} at {} ms", self.flag, self.version, self.now.0)];
        lines.extend(self.random.map(|random| {
            format!(
                "  answers for this asker may be random: the edge takes another number for each question, this answer has {random}"
            )
        }));
        for step in &self.steps {
            step.write_lines(1, &mut lines);
        }
        let outcome: Vec<String> =
            self.outcome.iter().map(|(name, value)| format!("{name} {value}")).collect();
        lines.push(format!("=> {}", outcome.join(", ")));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests;
