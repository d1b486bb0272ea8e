//! Reads a sound event without a tree of values. Whatever is unusual is left to the careful way, which says what is wrong.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::super::fault::are_seconds;
use super::fields::{Fields, KindWire};
use crate::ids::UnixMillis;
use crate::strict;

/// Names of unknown fields that are compared with each other; an event with more goes the careful way.
const UNKNOWN_COUNT_MAX: usize = 8;

/// The fields of an event, when it has each once, unknown ones hold plain values, and its time does not look like seconds.
/// `None` says nothing about the event: it has to be read carefully.
pub(super) fn fields(raw: &str, received: UnixMillis) -> Option<Fields<'_>> {
    let Quick(fields) = strict::judged(raw)?;
    #[expect(clippy::cast_precision_loss, reason = "a time of this century has 41 bits")]
    let occurred = fields.occurred_ms.0 as f64;
    (!are_seconds(occurred, received)).then_some(fields)
}

struct Quick<'b>(Fields<'b>);

/// A text that is borrowed where nothing in it is escaped.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Text<'b>(#[serde(borrow)] Cow<'b, str>);

/// Any value that holds no other.
struct Plain;

struct QuickVisitor;

/// Keeps the value of a field that is there once.
fn once<'de, T: Deserialize<'de>, M: MapAccess<'de>>(
    slot: &mut Option<T>,
    map: &mut M,
) -> Result<(), M::Error> {
    match slot.replace(map.next_value()?) {
        None => Ok(()),
        Some(_) => Err(M::Error::custom("twice")),
    }
}

/// The same for a field that may be null.
type Maybe<'b> = Option<Option<Text<'b>>>;

fn cow(text: Maybe<'_>) -> Option<Cow<'_, str>> {
    text.flatten().map(|Text(text)| text)
}

impl<'de> Visitor<'de> for QuickVisitor {
    type Value = Quick<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Quick<'de>, M::Error> {
        let unusual = || M::Error::custom("unusual");
        let (mut id, mut kind, mut occurred_ms): (Option<Text<'de>>, Option<Text<'de>>, Option<UnixMillis>) =
            (None, None, None);
        let (mut unit, mut flag, mut variation): (Maybe<'de>, Maybe<'de>, Maybe<'de>) = (None, None, None);
        let (mut version, mut metric, mut ticket): (Maybe<'de>, Maybe<'de>, Maybe<'de>) = (None, None, None);
        let (mut canonical, mut canonical_ticket): (Maybe<'de>, Maybe<'de>) = (None, None);
        let mut slices: Maybe<'de> = None;
        let (mut phase, mut value) = (None::<Option<u32>>, None::<Option<f64>>);
        let mut unknown: Vec<Cow<'de, str>> = Vec::new();
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "id" => once(&mut id, &mut map)?,
                "type" => once(&mut kind, &mut map)?,
                "unit" => once(&mut unit, &mut map)?,
                "occurred_ms" => once(&mut occurred_ms, &mut map)?,
                "flag" => once(&mut flag, &mut map)?,
                "variation" => once(&mut variation, &mut map)?,
                "phase" => once(&mut phase, &mut map)?,
                "version" => once(&mut version, &mut map)?,
                "metric" => once(&mut metric, &mut map)?,
                "value" => once(&mut value, &mut map)?,
                "ticket" => once(&mut ticket, &mut map)?,
                "canonical" => once(&mut canonical, &mut map)?,
                "canonical_ticket" => once(&mut canonical_ticket, &mut map)?,
                "slices" => once(&mut slices, &mut map)?,
                "yes" | "no" | "variants" => return Err(unusual()),
                _ if unknown.len() == UNKNOWN_COUNT_MAX || unknown.contains(&name) => return Err(unusual()),
                _ => {
                    let Plain = map.next_value()?;
                    unknown.push(name);
                }
            }
        }
        let Text(kind) = kind.ok_or_else(unusual)?;
        Ok(Quick(Fields {
            id: id.ok_or_else(unusual)?.0,
            kind: KindWire::ALL.into_iter().find(|known| *known.as_str() == *kind).ok_or_else(unusual)?,
            unit: cow(unit),
            occurred_ms: occurred_ms.ok_or_else(unusual)?,
            flag: cow(flag),
            variation: cow(variation),
            phase: phase.flatten(),
            version: cow(version),
            metric: cow(metric),
            value: value.flatten(),
            ticket: cow(ticket),
            canonical: cow(canonical),
            canonical_ticket: cow(canonical_ticket),
            slices: cow(slices),
            yes: 0,
            no: 0,
            variants: BTreeMap::new(),
        }))
    }
}

impl<'de> Deserialize<'de> for Quick<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(QuickVisitor)
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PlainVisitor;
        impl Visitor<'_> for PlainVisitor {
            type Value = Plain;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a plain value")
            }
            fn visit_unit<E>(self) -> Result<Plain, E> {
                Ok(Plain)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Plain, E> {
                Ok(Plain)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Plain, E> {
                Ok(Plain)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Plain, E> {
                Ok(Plain)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Plain, E> {
                Ok(Plain)
            }
            fn visit_str<E>(self, _: &str) -> Result<Plain, E> {
                Ok(Plain)
            }
        }
        deserializer.deserialize_any(PlainVisitor)
    }
}
