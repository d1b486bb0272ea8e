//! Export requests in OTLP's JSON: names in lowerCamelCase, numbers of 64 bits as texts or numbers, ids in hexadecimal digits,
//! enums as numbers. Names that are not known are passed over. Lists are read item by item, and nothing is kept of one in which
//! nothing is found.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use flagfuse_shared::strict::{self, Fault};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

use crate::Signal;
use crate::attributes::{Attr, Attributes, Key};
use crate::found::{Export, FOUND_COUNT_MAX};
use crate::gather::{EXCEPTION, Events, Kind, Point, Record, Span, SpanContext, SpanEvent, is_evaluation};

/// Reads a request.
pub(crate) fn read(signal: Signal, body: &[u8]) -> Result<Export<'_>, Fault> {
    Ok(match signal {
        Signal::Logs => strict::streamed::<LogsRequest<'_>>(body)?.groups.0,
        Signal::Traces => strict::streamed::<TracesRequest<'_>>(body)?.groups.0,
        Signal::Metrics => strict::streamed::<MetricsRequest<'_>>(body)?.groups.0,
    })
}

#[derive(Deserialize)]
struct LogsRequest<'b> {
    #[serde(borrow, default, rename = "resourceLogs")]
    groups: Merged<'b, ResourceLogs<'b>>,
}

#[derive(Deserialize)]
struct TracesRequest<'b> {
    #[serde(borrow, default, rename = "resourceSpans")]
    groups: Merged<'b, ResourceSpans<'b>>,
}

#[derive(Deserialize)]
struct MetricsRequest<'b> {
    #[serde(borrow, default, rename = "resourceMetrics")]
    groups: Merged<'b, ResourceMetrics<'b>>,
}

#[derive(Deserialize)]
struct ResourceLogs<'b> {
    #[serde(borrow, default)]
    resource: Option<Resource<'b>>,
    #[serde(borrow, default, rename = "scopeLogs")]
    scopes: Merged<'b, ScopeLogs<'b>>,
}

#[derive(Deserialize)]
struct ResourceSpans<'b> {
    #[serde(borrow, default)]
    resource: Option<Resource<'b>>,
    #[serde(borrow, default, rename = "scopeSpans")]
    scopes: Merged<'b, ScopeSpans<'b>>,
}

#[derive(Deserialize)]
struct ResourceMetrics<'b> {
    #[serde(borrow, default)]
    resource: Option<Resource<'b>>,
    #[serde(borrow, default, rename = "scopeMetrics")]
    scopes: Merged<'b, ScopeMetrics<'b>>,
}

#[derive(Deserialize)]
struct Resource<'b> {
    #[serde(borrow, default)]
    attributes: List<'b>,
}

#[derive(Deserialize)]
struct ScopeLogs<'b> {
    #[serde(borrow, default, rename = "logRecords")]
    items: Merged<'b, RecordWire<'b>>,
}

#[derive(Deserialize)]
struct ScopeSpans<'b> {
    #[serde(borrow, default, rename = "spans")]
    items: Merged<'b, SpanWire<'b>>,
}

#[derive(Deserialize)]
struct ScopeMetrics<'b> {
    #[serde(borrow, default, rename = "metrics")]
    items: Merged<'b, MetricWire<'b>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordWire<'b> {
    #[serde(default)]
    time_unix_nano: Number,
    #[serde(default)]
    observed_time_unix_nano: Number,
    #[serde(borrow, default)]
    attributes: List<'b>,
    #[serde(default)]
    trace_id: Hex<16>,
    #[serde(default)]
    span_id: Hex<8>,
    #[serde(borrow, default)]
    event_name: Option<Text<'b>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpanWire<'b> {
    #[serde(default)]
    trace_id: Hex<16>,
    #[serde(default)]
    span_id: Hex<8>,
    #[serde(default)]
    kind: Number,
    #[serde(default)]
    start_time_unix_nano: Number,
    #[serde(default)]
    end_time_unix_nano: Number,
    #[serde(borrow, default)]
    attributes: List<'b>,
    #[serde(borrow, default)]
    events: EventList<'b>,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: Number,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventWire<'b> {
    #[serde(default)]
    time_unix_nano: Number,
    #[serde(borrow, default)]
    name: Option<Text<'b>>,
    #[serde(borrow, default)]
    attributes: List<'b>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricWire<'b> {
    #[serde(borrow, default)]
    name: Option<Text<'b>>,
    #[serde(borrow, default)]
    gauge: Option<Points<'b>>,
    #[serde(borrow, default)]
    sum: Option<Points<'b>>,
    #[serde(borrow, default)]
    histogram: Option<Points<'b>>,
    #[serde(borrow, default)]
    exponential_histogram: Option<Points<'b>>,
    #[serde(borrow, default)]
    summary: Option<Points<'b>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Points<'b> {
    #[serde(borrow, default)]
    data_points: PointList<'b>,
    #[serde(default)]
    aggregation_temporality: Number,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PointWire<'b> {
    #[serde(default)]
    start_time_unix_nano: Number,
    #[serde(default)]
    time_unix_nano: Number,
    #[serde(default)]
    as_double: Option<Float>,
    #[serde(default)]
    as_int: Option<Signed>,
    #[serde(borrow, default)]
    attributes: List<'b>,
}

#[derive(Deserialize)]
struct KeyValue<'b> {
    #[serde(borrow, default)]
    key: Option<Text<'b>>,
    #[serde(borrow, default)]
    value: Option<AnyValue<'b>>,
}

#[derive(Deserialize)]
struct AnyValue<'b> {
    #[serde(borrow, default, rename = "stringValue")]
    text: Option<Text<'b>>,
    #[serde(default, rename = "boolValue")]
    truth: Option<bool>,
    #[serde(default, rename = "intValue")]
    int: Option<Signed>,
    #[serde(default, rename = "doubleValue")]
    double: Option<Float>,
    #[serde(default, rename = "arrayValue")]
    array: Option<IgnoredAny>,
    #[serde(default, rename = "kvlistValue")]
    object: Option<IgnoredAny>,
    #[serde(default, rename = "bytesValue")]
    bytes: Option<IgnoredAny>,
}

impl<'b> AnyValue<'b> {
    /// `None` of an empty one, which stands for nothing.
    fn attr(self) -> Option<Attr<'b>> {
        Some(match self {
            Self { text: Some(Text(text)), .. } => Attr::Text(text),
            Self { truth: Some(value), .. } => Attr::Bool(value),
            Self { int: Some(Signed(value)), .. } => Attr::Int(value),
            Self { double: Some(Float(value)), .. } => Attr::Double(value),
            Self { array: None, object: None, bytes: None, .. } => return None,
            Self { .. } => Attr::Other,
        })
    }
}

/// A text that is borrowed where nothing in it is escaped.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'b>(#[serde(borrow)] Cow<'b, str>);

/// A part of a request that adds to what is found.
trait Gather<'b> {
    fn gather(self, export: &mut Export<'b>);
}

macro_rules! groups {
    ($($resource:ident $scope:ident;)*) => {
        $(
            impl<'b> Gather<'b> for $resource<'b> {
                fn gather(self, export: &mut Export<'b>) {
                    let Merged(mut own, _) = self.scopes;
                    if let Some(Resource { attributes: List(attributes) }) = self.resource {
                        own.of_sdk(attributes.get(Key::SdkLanguage), attributes.get(Key::SdkVersion));
                    } else {
                        own.of_sdk(None, None);
                    }
                    export.merge(own);
                }
            }

            impl<'b> Gather<'b> for $scope<'b> {
                fn gather(self, export: &mut Export<'b>) {
                    export.merge(self.items.0);
                }
            }
        )*
    };
}

groups! {
    ResourceLogs ScopeLogs;
    ResourceSpans ScopeSpans;
    ResourceMetrics ScopeMetrics;
}

impl<'b> Gather<'b> for RecordWire<'b> {
    fn gather(self, export: &mut Export<'b>) {
        let record = Record {
            context: SpanContext { trace: self.trace_id.0, span: self.span_id.0 },
            nanos: self.time_unix_nano.0,
            observed_nanos: self.observed_time_unix_nano.0,
            event_name: self.event_name.map(|Text(name)| name).unwrap_or_default(),
            attributes: self.attributes.0,
        };
        record.gather(export);
    }
}

impl<'b> Gather<'b> for SpanWire<'b> {
    fn gather(self, export: &mut Export<'b>) {
        let span = Span {
            context: SpanContext { trace: self.trace_id.0, span: self.span_id.0 },
            kind: self.kind.0,
            start_nanos: self.start_time_unix_nano.0,
            end_nanos: self.end_time_unix_nano.0,
            attributes: self.attributes.0,
            events: self.events.0,
            status: self.status.map_or(0, |status| status.code.0),
        };
        span.gather(export);
    }
}

impl<'b> Gather<'b> for MetricWire<'b> {
    fn gather(self, export: &mut Export<'b>) {
        let temporality = self.sum.as_ref().map_or(0, |sum| sum.aggregation_temporality.0);
        let histograms = [self.histogram, self.exponential_histogram, self.summary];
        let histograms = histograms.map(|points| (Kind::Histogram, points));
        let numbers = [(Kind::Gauge, self.gauge), (Kind::Sum(temporality), self.sum)];
        let name = self.name.map(|Text(name)| name).unwrap_or_default();
        for (kind, points) in numbers.into_iter().chain(histograms) {
            let Some(Points { data_points: PointList { points, seen }, .. }) = points else { continue };
            let mut passed = 0;
            for (at, point) in points {
                export.pass_over(at - passed);
                point.gather(kind, &name, export);
                passed = at + 1;
            }
            export.pass_over(seen - passed);
        }
    }
}

/// A list of parts, of which only what was found is kept.
struct Merged<'b, T>(Export<'b>, PhantomData<T>);

impl<T> Default for Merged<'_, T> {
    fn default() -> Self {
        Self(Export::default(), PhantomData)
    }
}

impl<'de: 'b, 'b, T: Deserialize<'de> + Gather<'b>> Deserialize<'de> for Merged<'b, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let add = |merged: &mut Self, part: T| part.gather(&mut merged.0);
        deserializer.deserialize_any(Each(Self::default(), add, PhantomData))
    }
}

/// What is kept of attributes.
#[derive(Default)]
struct List<'b>(Attributes<'b>);

impl<'de: 'b, 'b> Deserialize<'de> for List<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let add = |Self(kept): &mut Self, KeyValue { key, value }: KeyValue<'b>| {
            let Some(Text(key)) = key else { return };
            let value = value.and_then(AnyValue::attr);
            kept.add_to_print(key.as_bytes(), value.as_ref());
            if let Some(value) = value {
                kept.keep(key.as_bytes(), value);
            }
        };
        deserializer.deserialize_any(Each(Self::default(), add, PhantomData))
    }
}

/// What is kept of a span's events.
#[derive(Default)]
struct EventList<'b>(Events<'b>);

impl<'de: 'b, 'b> Deserialize<'de> for EventList<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let add = |Self(events): &mut Self, event: EventWire<'b>| {
            let at = events.seen;
            events.seen += 1;
            let name = event.name.as_ref().map_or("", |Text(name)| name).as_bytes();
            if is_evaluation(name) {
                let (nanos, attributes) = (event.time_unix_nano.0, event.attributes.0);
                events.keep(SpanEvent { at, nanos, attributes });
            } else if name == EXCEPTION {
                events.has_exception = true;
            }
        };
        deserializer.deserialize_any(Each(Self::default(), add, PhantomData))
    }
}

/// Data points with a unit, with their places, and how many there are of all.
#[derive(Default)]
struct PointList<'b> {
    points: Vec<(u64, Point<'b>)>,
    seen: u64,
}

impl<'de: 'b, 'b> Deserialize<'de> for PointList<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let add = |list: &mut Self, wire: PointWire<'b>| {
            let (double, int) = (wire.as_double, wire.as_int);
            let value = double.map(|Float(value)| Attr::Double(value));
            let point = Point {
                start_nanos: wire.start_time_unix_nano.0,
                nanos: wire.time_unix_nano.0,
                value: value.or_else(|| int.map(|Signed(value)| Attr::Int(value))),
                attributes: wire.attributes.0,
            };
            if point.is_sought() && list.points.len() <= FOUND_COUNT_MAX {
                list.points.push((list.seen, point));
            }
            list.seen += 1;
        };
        deserializer.deserialize_any(Each(Self::default(), add, PhantomData))
    }
}

/// Takes the items of a list one after the other; null is an empty one.
struct Each<L, I, F>(L, F, PhantomData<I>);

impl<'de, L, I: Deserialize<'de>, F: Fn(&mut L, I)> Visitor<'de> for Each<L, I, F> {
    type Value = L;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E: Error>(self) -> Result<L, E> {
        Ok(self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<L, A::Error> {
        let Self(mut list, add, _) = self;
        while let Some(item) = items.next_element()? {
            add(&mut list, item);
        }
        Ok(list)
    }
}

/// A number that is not negative, as a number or as a text; the number of an enum.
#[derive(Clone, Copy, Default)]
struct Number(u64);

/// A number, likewise.
#[derive(Clone, Copy)]
struct Signed(i64);

/// A number with a fraction, likewise.
#[derive(Clone, Copy)]
struct Float(f64);

/// Reads a number by one of these ways.
struct Read<T> {
    expected: &'static str,
    of_u64: fn(u64) -> Option<T>,
    of_i64: fn(i64) -> Option<T>,
    of_f64: fn(f64) -> Option<T>,
    of_text: fn(&str) -> Option<T>,
    of_null: Option<T>,
}

impl<T> Visitor<'_> for Read<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        (self.of_u64)(value).ok_or_else(|| E::custom(format!("{value} is not {}", self.expected)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        (self.of_i64)(value).ok_or_else(|| E::custom(format!("{value} is not {}", self.expected)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        (self.of_f64)(value).ok_or_else(|| E::custom(format!("{value} is not {}", self.expected)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let shown = || text.chars().take(40).collect::<String>();
        (self.of_text)(text).ok_or_else(|| E::custom(format!("{:?} is not {}", shown(), self.expected)))
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        let expected = self.expected;
        self.of_null.ok_or_else(|| E::custom(format!("null is not {expected}")))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read {
            expected: "a whole number that is not negative",
            of_u64: |value| Some(Self(value)),
            of_i64: |_| None,
            of_f64: |_| None,
            of_text: |text| text.parse().ok().map(Self),
            of_null: Some(Self(0)),
        })
    }
}

impl<'de> Deserialize<'de> for Signed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read {
            expected: "a whole number of 64 bits",
            of_u64: |value| i64::try_from(value).ok().map(Self),
            of_i64: |value| Some(Self(value)),
            of_f64: |_| None,
            of_text: |text| text.parse().ok().map(Self),
            of_null: None,
        })
    }
}

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[expect(clippy::cast_precision_loss, reason = "a number with a fraction is what it is")]
        deserializer.deserialize_any(Read {
            expected: "a number",
            of_u64: |value| Some(Self(value as f64)),
            of_i64: |value| Some(Self(value as f64)),
            of_f64: |value| Some(Self(value)),
            // `NaN`, `Infinity` and `-Infinity` too.
            of_text: |text| text.parse().ok().map(Self),
            of_null: None,
        })
    }
}

/// An id of so many bytes in hexadecimal digits; any other text is none.
#[derive(Clone, Copy)]
struct Hex<const LEN: usize>([u8; LEN]);

impl<const LEN: usize> Default for Hex<LEN> {
    fn default() -> Self {
        Self([0; LEN])
    }
}

impl<'de, const LEN: usize> Deserialize<'de> for Hex<LEN> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read {
            expected: "hexadecimal digits",
            of_u64: |_| None,
            of_i64: |_| None,
            of_f64: |_| None,
            of_text: |text| Some(Self(bytes_of(text).unwrap_or([0; LEN]))),
            of_null: Some(Self::default()),
        })
    }
}

fn bytes_of<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != LEN {
        return None;
    }
    let mut bytes = [0; LEN];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |digit: &u8| char::from(*digit).to_digit(16);
        *byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
    }
    Some(bytes)
}
