//! What is found in an export request: evaluations of flags and outcomes, each of which becomes an event; all else is counted.

use flagfuse_shared::digest::{Digest, hex};

use crate::attributes::Attr;

/// Evaluations and outcomes of one request: ten batches of 2,000 events.
pub const FOUND_COUNT_MAX: usize = 20_000;

/// Why something is not counted, though nothing is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It says nothing of a flag or an outcome.
    NoFlag,
    /// A span with a unit that is neither a server's nor of a failed consumer.
    SpanKind,
    /// A span in which several units were asked for: it is none of them.
    SeveralUnits,
    /// A sum of nothing.
    Zero,
    /// An evaluation that failed, or gave no variation.
    Failed,
    /// Of a flag set that is not this environment.
    OtherSet,
    /// Of a flag that this environment does not have.
    UnknownFlag,
    /// Of a flag that no fuse watches.
    Unwatched,
    /// Of a unit that the fuse does not watch, or for whom something else decided.
    OutsideCohort,
    /// It cannot be told whether the cohort decided.
    PhaseUnknown,
}

impl Reason {
    /// Every one there is.
    pub const ALL: [Self; 10] = [
        Self::NoFlag,
        Self::SpanKind,
        Self::SeveralUnits,
        Self::Zero,
        Self::Failed,
        Self::OtherSet,
        Self::UnknownFlag,
        Self::Unwatched,
        Self::OutsideCohort,
        Self::PhaseUnknown,
    ];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoFlag => "no_flag",
            Self::SpanKind => "span_kind",
            Self::SeveralUnits => "several_units",
            Self::Zero => "zero",
            Self::Failed => "failed",
            Self::OtherSet => "other_set",
            Self::UnknownFlag => "unknown_flag",
            Self::Unwatched => "unwatched",
            Self::OutsideCohort => "outside_cohort",
            Self::PhaseUnknown => "phase_unknown",
        }
    }
}

/// How much was not counted, by why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ignored([u64; Reason::ALL.len()]);

impl Ignored {
    /// Adds one.
    pub fn add(&mut self, reason: Reason) {
        self.add_all(reason, 1);
    }

    fn add_all(&mut self, reason: Reason, count: u64) {
        if let Some(own) = self.0.get_mut(reason as usize) {
            *own = own.saturating_add(count);
        }
    }

    /// Adds those of another part.
    pub fn merge(&mut self, other: &Self) {
        for reason in Reason::ALL {
            self.add_all(reason, other.get(reason));
        }
    }

    /// How many for this reason.
    pub fn get(&self, reason: Reason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or_default()
    }
}

/// Why something that was meant as an outcome is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// A sum that repeats what it had.
    Cumulative,
    /// A reading that repeats itself.
    Gauge,
    /// A histogram or a summary.
    Histogram,
}

impl Refusal {
    /// Why, for people.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Cumulative => {
                "a cumulative sum repeats what it had with every export: set the temporality to delta \
                 (OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta)"
            }
            Self::Gauge => {
                "a gauge repeats itself with every export: use a counter, or a log record flagfuse.outcome"
            }
            Self::Histogram => {
                "a histogram or summary is of no single event: use a counter, or a log record flagfuse.outcome"
            }
        }
    }
}

/// What names an event for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// A part of a span.
    Span([u8; 16], [u8; 8], Part),
    /// What it says.
    Print([u8; 16]),
}

/// A part of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The span as an evaluation.
    Evaluation,
    /// An event of it, by its place.
    Event(u32),
    Latency,
    Error,
}

impl Name {
    /// Of what has no name of its own: the same words are the same event.
    pub(crate) fn print(words: &[&[u8]]) -> Self {
        let mut all = Vec::with_capacity(words.iter().map(|word| word.len() + 8).sum());
        for word in words {
            all.extend_from_slice(&(word.len() as u64).to_le_bytes());
            all.extend_from_slice(word);
        }
        Self::Print(Digest::of(&all).as_bytes().first_chunk().copied().unwrap_or_default())
    }

    fn id(&self) -> String {
        match self {
            Self::Span(trace, span, part) => {
                let part = match part {
                    Part::Evaluation => "f".to_owned(),
                    Part::Event(at) => format!("e{at}"),
                    Part::Latency => "l".to_owned(),
                    Part::Error => "x".to_owned(),
                };
                format!("{}{}-{part}", hex(trace), hex(span))
            }
            Self::Print(print) => hex(print),
        }
    }
}

/// A flag was evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation<'b> {
    pub(crate) name: Name,
    /// When, Unix time in milliseconds.
    pub at_ms: u64,
    /// Which flag.
    pub flag: Attr<'b>,
    /// What it gave.
    pub variation: Option<Attr<'b>>,
    /// Who asked.
    pub unit: Option<Attr<'b>>,
    /// The version of the flags.
    pub version: Option<Attr<'b>>,
    /// The set that the flag is from.
    pub set: Option<Attr<'b>>,
    /// Why it gave that.
    pub reason: Option<Attr<'b>>,
    /// The phase, where the answer's metadata were passed on.
    pub phase: Option<Attr<'b>>,
    /// The declared slices, likewise.
    pub slices: Option<Attr<'b>>,
}

impl Evaluation<'_> {
    fn into_owned(self) -> Evaluation<'static> {
        Evaluation {
            name: self.name,
            at_ms: self.at_ms,
            flag: self.flag.into_owned(),
            variation: self.variation.map(Attr::into_owned),
            unit: self.unit.map(Attr::into_owned),
            version: self.version.map(Attr::into_owned),
            set: self.set.map(Attr::into_owned),
            reason: self.reason.map(Attr::into_owned),
            phase: self.phase.map(Attr::into_owned),
            slices: self.slices.map(Attr::into_owned),
        }
    }

    /// The exposure that it is; in `phase`, unless it names one itself.
    pub fn event(&self, phase: Option<u32>) -> String {
        let mut event = Json::new("exposure", &self.name.id(), self.at_ms);
        event.attr("flag", Some(&self.flag));
        event.attr("variation", self.variation.as_ref());
        event.attr("unit", self.unit.as_ref());
        event.attr("version", self.version.as_ref());
        match (&self.phase, phase) {
            // Attributes are often texts.
            (Some(Attr::Text(text)), _) if text.parse::<u32>().is_ok() => event.raw("phase", text),
            (Some(own), _) => event.attr("phase", Some(own)),
            (None, Some(phase)) => event.raw("phase", &phase.to_string()),
            (None, None) => {}
        }
        event.attr("slices", self.slices.as_ref());
        event.end()
    }
}

/// Something happened to a unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome<'b> {
    pub(crate) name: Name,
    /// Its own id.
    pub(crate) id: Option<Attr<'b>>,
    pub(crate) at_ms: u64,
    pub(crate) unit: Option<Attr<'b>>,
    pub(crate) metric: Option<Attr<'b>>,
    pub(crate) value: Option<Attr<'b>>,
}

impl Outcome<'_> {
    fn into_owned(self) -> Outcome<'static> {
        Outcome {
            name: self.name,
            id: self.id.map(Attr::into_owned),
            at_ms: self.at_ms,
            unit: self.unit.map(Attr::into_owned),
            metric: self.metric.map(Attr::into_owned),
            value: self.value.map(Attr::into_owned),
        }
    }

    /// The outcome as an event.
    pub fn event(&self) -> String {
        let mut event = Json::new("outcome", "", self.at_ms);
        match &self.id {
            Some(id) => event.attr("id", Some(id)),
            None => event.attr("id", Some(&Attr::Text(self.name.id().into()))),
        }
        event.attr("unit", self.unit.as_ref());
        event.attr("metric", self.metric.as_ref());
        event.attr("value", self.value.as_ref());
        event.end()
    }
}

/// An event that is being written.
struct Json(String);

impl Json {
    fn new(kind: &str, id: &str, at_ms: u64) -> Self {
        let mut json = Self(format!("{{\"type\":\"{kind}\""));
        if !id.is_empty() {
            json.raw("id", &format!("\"{id}\""));
        }
        json.raw("occurred_ms", &at_ms.to_string());
        json
    }

    fn raw(&mut self, name: &str, value: &str) {
        self.0.push_str(",\"");
        self.0.push_str(name);
        self.0.push_str("\":");
        self.0.push_str(value);
    }

    fn attr(&mut self, name: &str, value: Option<&Attr<'_>>) {
        if let Some(value) = value {
            self.raw(name, "");
            value.write(&mut self.0);
        }
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found<'b> {
    /// In which span, log record or data point of the request, from 0.
    pub item: u64,
    /// What it is.
    pub what: What<'b>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub enum What<'b> {
    /// An exposure, perhaps.
    Evaluation(Evaluation<'b>),
    /// An outcome.
    Outcome(Outcome<'b>),
    /// Something that was meant as an outcome.
    Refused(Refusal),
}

/// What a request says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Export<'b> {
    /// Spans, log records or data points.
    pub items: u64,
    /// In their order.
    pub found: Vec<Found<'b>>,
    found_count: usize,
    /// What is not counted, as far as the request tells.
    pub ignored: Ignored,
    /// Names of the first two programs that something was found of.
    sdks: Vec<String>,
}

impl<'b> Export<'b> {
    /// The same, without what it was read from.
    pub fn into_owned(self) -> Export<'static> {
        let found = self.found.into_iter().map(|Found { item, what }| {
            let what = match what {
                What::Evaluation(evaluation) => What::Evaluation(evaluation.into_owned()),
                What::Outcome(outcome) => What::Outcome(outcome.into_owned()),
                What::Refused(refusal) => What::Refused(refusal),
            };
            Found { item, what }
        });
        let found = found.collect();
        let Self { items, found_count, ignored, sdks, .. } = self;
        Export { items, found, found_count, ignored, sdks }
    }

    /// All that was found, also what is not kept.
    pub(crate) const fn found_count(&self) -> usize {
        self.found_count
    }

    /// The program that sent it: `otlp`, with its language and the version of its SDK where they are the same for all.
    pub fn sdk(&self) -> String {
        match &self.sdks[..] {
            [one] => format!("otlp/{one}"),
            _ => "otlp".to_owned(),
        }
    }

    /// Adds something that was found in the newest item. What is beyond the limit is only counted.
    pub(crate) fn push(&mut self, what: What<'b>) {
        self.found_count += 1;
        if self.found.len() < FOUND_COUNT_MAX {
            self.found.push(Found { item: self.items.saturating_sub(1), what });
        }
    }

    /// Adds so many items in which nothing was found.
    pub(crate) fn pass_over(&mut self, count: u64) {
        self.items += count;
        self.ignored.add_all(Reason::NoFlag, count);
    }

    /// Adds what a later part of the request says.
    pub(crate) fn merge(&mut self, part: Self) {
        let room = FOUND_COUNT_MAX.saturating_sub(self.found.len());
        let found = part.found.into_iter().take(room);
        self.found.extend(found.map(|found| Found { item: found.item + self.items, ..found }));
        self.items += part.items;
        self.found_count += part.found_count;
        self.ignored.merge(&part.ignored);
        part.sdks.into_iter().for_each(|sdk| self.add_sdk(sdk));
    }

    /// Says which program sent this part, if something was found in it.
    pub(crate) fn of_sdk(&mut self, language: Option<&Attr<'_>>, version: Option<&Attr<'_>>) {
        if self.found_count == 0 {
            return;
        }
        let word = |attr: Option<&Attr<'_>>| {
            let text = attr.and_then(Attr::text).unwrap_or("unknown");
            let plain = text.chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c));
            plain.take(24).collect::<String>()
        };
        self.add_sdk(format!("{}/{}", word(language), word(version)));
    }

    fn add_sdk(&mut self, sdk: String) {
        if self.sdks.len() < 2 && !self.sdks.contains(&sdk) {
            self.sdks.push(sdk);
        }
    }
}
