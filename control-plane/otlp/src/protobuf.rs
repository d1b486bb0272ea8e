//! Export requests in protobuf, walked through field by field. What nobody asks for is stepped over.

use std::borrow::Cow;

use crate::Signal;
use crate::attributes::{Attr, Attributes, Key};
use crate::found::{Export, FOUND_COUNT_MAX};
use crate::gather::{EXCEPTION, Kind, Point, Record, Span, SpanEvent, is_evaluation, is_sought};
use crate::wire::{Malformed, Message};

/// Reads a request.
pub(crate) fn read(signal: Signal, body: &[u8]) -> Result<Export<'_>, Malformed> {
    let mut export = Export::default();
    let mut request = Message(body);
    while let Some((number, value)) = request.next()? {
        if number == 1 {
            export.merge(resource_group(signal, value.bytes(1)?)?);
        }
    }
    Ok(export)
}

/// `ResourceLogs`, `ResourceSpans` or `ResourceMetrics`: the same fields.
fn resource_group(signal: Signal, bytes: &[u8]) -> Result<Export<'_>, Malformed> {
    let mut export = Export::default();
    let mut resource = Attributes::default();
    let mut group = Message(bytes);
    while let Some((number, value)) = group.next()? {
        match number {
            1 => attributes(value.bytes(1)?, 1, &mut resource)?,
            2 => scope_group(signal, value.bytes(2)?, &mut export)?,
            _ => {}
        }
    }
    export.of_sdk(resource.get(Key::SdkLanguage), resource.get(Key::SdkVersion));
    Ok(export)
}

/// `ScopeLogs`, `ScopeSpans` or `ScopeMetrics`: the same fields.
fn scope_group<'b>(signal: Signal, bytes: &'b [u8], export: &mut Export<'b>) -> Result<(), Malformed> {
    let mut group = Message(bytes);
    while let Some((number, value)) = group.next()? {
        if number == 2 {
            let item = value.bytes(2)?;
            match signal {
                Signal::Logs => record(item)?.gather(export),
                Signal::Traces => span(item)?.gather(export),
                Signal::Metrics => metric(item, export)?,
            }
        }
    }
    Ok(())
}

fn span(bytes: &[u8]) -> Result<Span<'_>, Malformed> {
    let mut span = Span::default();
    let mut fields = Message(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => span.context.trace = id(value.bytes(1)?),
            2 => span.context.span = id(value.bytes(2)?),
            6 => span.kind = value.varint(6)?,
            7 => span.start_nanos = value.fixed(7)?,
            8 => span.end_nanos = value.fixed(8)?,
            9 => attribute(value.bytes(9)?, &mut span.attributes)?,
            11 => {
                let at = span.events.seen;
                span.events.seen += 1;
                let event = value.bytes(11)?;
                let name = name_of(event)?;
                if is_evaluation(name) {
                    span.events.keep(span_event(event, at)?);
                } else if name == EXCEPTION {
                    span.events.has_exception = true;
                }
            }
            15 => {
                let mut status = Message(value.bytes(15)?);
                while let Some((number, value)) = status.next()? {
                    if number == 3 {
                        span.status = value.varint(3)?;
                    }
                }
            }
            _ => {}
        }
    }
    if !span.context.is_valid() {
        span.attributes.set_print(print(bytes, 9)?);
    }
    Ok(span)
}

/// The name of a span's event.
fn name_of(event: &[u8]) -> Result<&[u8], Malformed> {
    let mut name: &[u8] = &[];
    let mut fields = Message(event);
    while let Some((number, value)) = fields.next()? {
        if number == 2 {
            name = value.bytes(2)?;
        }
    }
    Ok(name)
}

fn span_event(bytes: &[u8], at: u32) -> Result<SpanEvent<'_>, Malformed> {
    let mut event = SpanEvent { at, nanos: 0, attributes: Attributes::default() };
    let mut fields = Message(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => event.nanos = value.fixed(1)?,
            3 => attribute(value.bytes(3)?, &mut event.attributes)?,
            _ => {}
        }
    }
    event.attributes.set_print(print(bytes, 3)?);
    Ok(event)
}

fn record(bytes: &[u8]) -> Result<Record<'_>, Malformed> {
    let mut record = Record::default();
    let mut fields = Message(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => record.nanos = value.fixed(1)?,
            6 => attribute(value.bytes(6)?, &mut record.attributes)?,
            9 => record.context.trace = id(value.bytes(9)?),
            10 => record.context.span = id(value.bytes(10)?),
            11 => record.observed_nanos = value.fixed(11)?,
            12 => record.event_name = Cow::Borrowed(value.text(12)?),
            _ => {}
        }
    }
    if is_sought(record.event().as_bytes()) {
        record.attributes.set_print(print(bytes, 6)?);
    }
    Ok(record)
}

fn metric<'b>(bytes: &'b [u8], export: &mut Export<'b>) -> Result<(), Malformed> {
    let (mut name, mut data) = ("", None);
    let mut fields = Message(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = value.text(1)?,
            5 | 7 | 9 | 10 | 11 => data = Some((number, value.bytes(number)?)),
            _ => {}
        }
    }
    // Of several the last counts, as everywhere in protobuf.
    let Some((number, data)) = data else { return Ok(()) };
    // Where the attributes of a point are.
    let (mut kind, attributes) = match number {
        5 => (Kind::Gauge, 7),
        7 => (Kind::Sum(0), 7),
        9 => (Kind::Histogram, 9),
        10 => (Kind::Histogram, 1),
        _ => (Kind::Histogram, 7),
    };
    let mut fields = Message(data);
    while let Some((number, value)) = fields.next()? {
        if let (2, Kind::Sum(_)) = (number, kind) {
            kind = Kind::Sum(value.varint(2)?);
        }
    }
    let mut fields = Message(data);
    while let Some((number, value)) = fields.next()? {
        if number == 1 && export.found_count() <= FOUND_COUNT_MAX {
            point(value.bytes(1)?, kind, attributes)?.gather(kind, name, export);
        }
    }
    Ok(())
}

/// A data point whose attributes are in the field `attributes`.
fn point(bytes: &[u8], kind: Kind, attributes: u64) -> Result<Point<'_>, Malformed> {
    let mut point = Point { start_nanos: 0, nanos: 0, value: None, attributes: Attributes::default() };
    let is_number = kind != Kind::Histogram;
    let mut fields = Message(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            _ if number == attributes => attribute(value.bytes(number)?, &mut point.attributes)?,
            2 if is_number => point.start_nanos = value.fixed(2)?,
            3 if is_number => point.nanos = value.fixed(3)?,
            4 if is_number => point.value = Some(Attr::Double(f64::from_bits(value.fixed(4)?))),
            6 if is_number => point.value = Some(Attr::Int(value.fixed(6)?.cast_signed())),
            _ => {}
        }
    }
    if point.is_sought() {
        point.attributes.set_print(print(bytes, attributes)?);
    }
    Ok(point)
}

/// The attributes in the field `number` of a message.
fn attributes<'b>(bytes: &'b [u8], number: u64, kept: &mut Attributes<'b>) -> Result<(), Malformed> {
    let mut fields = Message(bytes);
    while let Some((found, value)) = fields.next()? {
        if found == number {
            attribute(value.bytes(number)?, kept)?;
        }
    }
    Ok(())
}

/// The print of the attributes in the field `number` of a message.
fn print(bytes: &[u8], number: u64) -> Result<u64, Malformed> {
    let mut all = Attributes::default();
    let mut fields = Message(bytes);
    while let Some((found, value)) = fields.next()? {
        if found == number {
            let (name, value) = key_value(value.bytes(number)?)?;
            all.add_to_print(name, any_value(value)?.as_ref());
        }
    }
    Ok(all.print())
}

fn attribute<'b>(bytes: &'b [u8], kept: &mut Attributes<'b>) -> Result<(), Malformed> {
    let (name, value) = key_value(bytes)?;
    if Key::is_sought(name)
        && let Some(value) = any_value(value)?
    {
        kept.keep(name, value);
    }
    Ok(())
}

/// `KeyValue`: the key, and the value unread.
fn key_value(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (mut name, mut read): (&[u8], &[u8]) = (&[], &[]);
    let mut fields = Message(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = value.bytes(1)?,
            2 => read = value.bytes(2)?,
            _ => {}
        }
    }
    Ok((name, read))
}

/// `AnyValue`; `None` of an empty one, which stands for nothing.
fn any_value(bytes: &[u8]) -> Result<Option<Attr<'_>>, Malformed> {
    let mut attr = None;
    let mut fields = Message(bytes);
    while let Some((number, value)) = fields.next()? {
        attr = Some(match (number, value) {
            (1, value) => Attr::Text(Cow::Borrowed(value.text(1)?)),
            (2, value) => Attr::Bool(value.varint(2)? != 0),
            (3, value) => Attr::Int(value.varint(3)?.cast_signed()),
            (4, value) => Attr::Double(f64::from_bits(value.fixed(4)?)),
            _ => Attr::Other,
        });
    }
    Ok(attr)
}

/// An id of a length; any other is none.
fn id<const LEN: usize>(bytes: &[u8]) -> [u8; LEN] {
    bytes.try_into().unwrap_or([0; LEN])
}
