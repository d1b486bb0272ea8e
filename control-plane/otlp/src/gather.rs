//! Spans, log records and data points, however they were written → what is found in them.

use std::borrow::Cow;

use crate::attributes::{Attr, Attributes, Key, cut};
use crate::found::{Evaluation, Export, FOUND_COUNT_MAX, Name, Outcome, Part, Reason, Refusal, What};

const NANOS_PER_MS: u64 = 1_000_000;
/// `SPAN_KIND_SERVER`, `SPAN_KIND_CONSUMER`.
const SERVER: u64 = 2;
const CONSUMER: u64 = 5;
/// `STATUS_CODE_OK`, `STATUS_CODE_ERROR`.
const OK: u64 = 1;
const ERROR: u64 = 2;
/// `AGGREGATION_TEMPORALITY_DELTA`.
const DELTA: u64 = 1;

/// Names of the event of an evaluation: today's, and that of before.
pub(crate) fn is_evaluation(name: &[u8]) -> bool {
    matches!(name, b"feature_flag.evaluation" | b"feature_flag")
}

/// The name of the event of an exception.
pub(crate) const EXCEPTION: &[u8] = b"exception";
/// The name of the log record of an outcome.
const OUTCOME: &[u8] = b"flagfuse.outcome";

/// Whether log records of this name are looked at.
pub(crate) fn is_sought(name: &[u8]) -> bool {
    is_evaluation(name) || name == OUTCOME
}

/// The trace and the span that something belongs to, where both are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SpanContext {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
}

impl SpanContext {
    pub(crate) fn is_valid(self) -> bool {
        self.trace != [0; 16] && self.span != [0; 8]
    }

    /// The name of a part of it; of what it says where it has no ids.
    fn name(self, part: Part, nanos: u64, print: u64) -> Name {
        if !self.is_valid() {
            let part = format!("{part:?}");
            return Name::print(&[b"span", part.as_bytes(), &nanos.to_le_bytes(), &print.to_le_bytes()]);
        }
        Name::Span(self.trace, self.span, part)
    }
}

/// A span.
#[derive(Debug, Default)]
pub(crate) struct Span<'b> {
    pub(crate) context: SpanContext,
    pub(crate) kind: u64,
    pub(crate) start_nanos: u64,
    pub(crate) end_nanos: u64,
    pub(crate) attributes: Attributes<'b>,
    pub(crate) events: Events<'b>,
    pub(crate) status: u64,
}

/// What is kept of a span's events.
#[derive(Debug, Default)]
pub(crate) struct Events<'b> {
    /// How many there were until now.
    pub(crate) seen: u32,
    pub(crate) evaluations: Vec<SpanEvent<'b>>,
    pub(crate) has_exception: bool,
}

impl<'b> Events<'b> {
    /// Keeps an evaluation; one that names no flag is none. More than a request may have are of no use.
    pub(crate) fn keep(&mut self, event: SpanEvent<'b>) {
        if event.attributes.get(Key::Flag).is_some() && self.evaluations.len() <= FOUND_COUNT_MAX {
            self.evaluations.push(event);
        }
    }
}

/// An evaluation among a span's events.
#[derive(Debug)]
pub(crate) struct SpanEvent<'b> {
    /// Its place among all of them.
    pub(crate) at: u32,
    pub(crate) nanos: u64,
    pub(crate) attributes: Attributes<'b>,
}

impl<'b> Span<'b> {
    /// Whether nothing can be found in it.
    fn is_plain(&self) -> bool {
        let own = [Key::Flag, Key::Unit];
        self.events.evaluations.is_empty() && own.iter().all(|key| self.attributes.get(*key).is_none())
    }

    pub(crate) fn gather(mut self, export: &mut Export<'b>) {
        export.items += 1;
        if self.is_plain() {
            export.ignored.add(Reason::NoFlag);
            return;
        }
        let (found, ignored) = (export.found_count(), export.ignored);
        let own_unit = self.attributes.get(Key::Unit).cloned();
        let mut units: Vec<Attr<'b>> = own_unit.iter().cloned().collect();
        if self.attributes.get(Key::Flag).is_some() {
            let name = self.context.name(Part::Evaluation, self.start_nanos, self.attributes.print());
            evaluation(export, name, self.end_nanos, &mut self.attributes, None);
        }
        for mut event in std::mem::take(&mut self.events.evaluations) {
            let unit = event.attributes.get(Key::Unit);
            if let Some(unit) = unit.filter(|unit| units.len() < 2 && !units.contains(unit)) {
                units.push(unit.clone());
            }
            let name = self.context.name(Part::Event(event.at), event.nanos, event.attributes.print());
            let nanos = if event.nanos == 0 { self.start_nanos } else { event.nanos };
            evaluation(export, name, nanos, &mut event.attributes, own_unit.as_ref());
        }
        self.outcomes(export, units);
        if export.found_count() == found && export.ignored == ignored {
            export.ignored.add(Reason::SpanKind);
        }
    }

    /// What the span itself says of the one unit that it is about.
    fn outcomes(&self, export: &mut Export<'b>, mut units: Vec<Attr<'b>>) {
        let is_failed = self.status == ERROR || (self.events.has_exception && self.status != OK);
        let is_server = self.kind == SERVER;
        let is_failed_consumer = self.kind == CONSUMER && is_failed;
        if !is_server && !is_failed_consumer {
            return;
        }
        let unit = match (units.pop(), units.is_empty()) {
            (Some(unit), true) => unit,
            (Some(_), false) => return export.ignored.add(Reason::SeveralUnits),
            (None, _) => return,
        };
        let outcome = |part, metric: &'static str, value| {
            What::Outcome(Outcome {
                name: self.context.name(part, self.end_nanos, self.attributes.print()),
                id: None,
                at_ms: self.end_nanos / NANOS_PER_MS,
                unit: Some(unit.clone()),
                metric: Some(Attr::Text(metric.into())),
                value,
            })
        };
        if is_server {
            let nanos = self.end_nanos.saturating_sub(self.start_nanos);
            #[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
            let ms = nanos as f64 / 1e6;
            export.push(outcome(Part::Latency, "latency_ms", Some(Attr::Double(ms))));
        }
        if is_failed {
            export.push(outcome(Part::Error, "error", None));
        }
    }
}

/// Adds an evaluation; one that names no flag is none.
fn evaluation<'b>(
    export: &mut Export<'b>,
    name: Name,
    nanos: u64,
    attributes: &mut Attributes<'b>,
    of_span: Option<&Attr<'b>>,
) {
    let Some(flag) = attributes.take(Key::Flag) else { return export.ignored.add(Reason::NoFlag) };
    export.push(What::Evaluation(Evaluation {
        name,
        at_ms: nanos / NANOS_PER_MS,
        flag,
        variation: attributes.take(Key::Variant),
        unit: attributes.take(Key::Unit).or_else(|| of_span.cloned()),
        version: attributes.take(Key::Version),
        set: attributes.take(Key::Set),
        reason: attributes.take(Key::Reason),
        phase: attributes.take(Key::Phase),
        slices: attributes.take(Key::Slices),
    }));
}

/// A log record.
#[derive(Debug, Default)]
pub(crate) struct Record<'b> {
    pub(crate) context: SpanContext,
    pub(crate) nanos: u64,
    pub(crate) observed_nanos: u64,
    /// Empty where it has none.
    pub(crate) event_name: Cow<'b, str>,
    pub(crate) attributes: Attributes<'b>,
}

impl<'b> Record<'b> {
    /// The name of its event, of whichever age.
    pub(crate) fn event(&self) -> &str {
        if self.event_name.is_empty() {
            return self.attributes.get(Key::EventName).and_then(Attr::text).unwrap_or_default();
        }
        &self.event_name
    }

    pub(crate) fn gather(mut self, export: &mut Export<'b>) {
        export.items += 1;
        let event = self.event();
        if !is_sought(event.as_bytes()) {
            return export.ignored.add(Reason::NoFlag);
        }
        let nanos = if self.nanos == 0 { self.observed_nanos } else { self.nanos };
        let SpanContext { trace, span } = self.context;
        let print = self.attributes.print().to_le_bytes();
        let name = Name::print(&[b"log", event.as_bytes(), &trace, &span, &nanos.to_le_bytes(), &print]);
        if is_evaluation(event.as_bytes()) {
            return evaluation(export, name, nanos, &mut self.attributes, None);
        }
        let attributes = &mut self.attributes;
        export.push(What::Outcome(Outcome {
            name,
            id: attributes.take(Key::Id),
            at_ms: nanos / NANOS_PER_MS,
            unit: attributes.take(Key::OutcomeUnit).or_else(|| attributes.take(Key::Unit)),
            metric: attributes.take(Key::Metric),
            value: attributes.take(Key::Value),
        }));
    }
}

/// How a metric's points came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With its temporality.
    Sum(u64),
    Gauge,
    /// Whatever has no single value.
    Histogram,
}

/// A data point with a unit.
#[derive(Debug)]
pub(crate) struct Point<'b> {
    pub(crate) start_nanos: u64,
    pub(crate) nanos: u64,
    pub(crate) value: Option<Attr<'b>>,
    pub(crate) attributes: Attributes<'b>,
}

impl<'b> Point<'b> {
    /// Whether it says of whom it is.
    pub(crate) fn is_sought(&self) -> bool {
        [Key::Unit, Key::OutcomeUnit].iter().any(|key| self.attributes.get(*key).is_some())
    }

    /// Adds it as an outcome whose name is the metric's.
    pub(crate) fn gather(mut self, kind: Kind, metric: &str, export: &mut Export<'b>) {
        export.items += 1;
        // What OpenFeature's own hooks count is no outcome.
        if !self.is_sought() || metric.starts_with("feature_flag.") {
            return export.ignored.add(Reason::NoFlag);
        }
        match kind {
            Kind::Sum(DELTA) => {}
            Kind::Sum(_) => return export.push(What::Refused(Refusal::Cumulative)),
            Kind::Gauge => return export.push(What::Refused(Refusal::Gauge)),
            Kind::Histogram => return export.push(What::Refused(Refusal::Histogram)),
        }
        match self.value {
            Some(Attr::Int(0)) => return export.ignored.add(Reason::Zero),
            Some(Attr::Double(0.0)) => return export.ignored.add(Reason::Zero),
            _ => {}
        }
        let metric = cut(Cow::Borrowed(metric));
        let times = [self.start_nanos.to_le_bytes(), self.nanos.to_le_bytes()];
        let print = self.attributes.print().to_le_bytes();
        let attributes = &mut self.attributes;
        export.push(What::Outcome(Outcome {
            name: Name::print(&[b"point", metric.as_bytes(), times.as_flattened(), &print]),
            id: None,
            at_ms: self.nanos / NANOS_PER_MS,
            unit: attributes.take(Key::OutcomeUnit).or_else(|| attributes.take(Key::Unit)),
            metric: Some(Attr::Text(metric.into_owned().into())),
            value: self.value,
        }));
    }
}
