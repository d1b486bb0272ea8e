//! Format 2, a request's events: what the edge knew when they arrived, then the events as they came, or exposures that it
//! recorded itself, with flag, phase and version named once for many units.
//!
//! Written as text, piece by piece: the edge's buffer joins texts that it never reads.

use std::fmt::Write as _;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::source::SourceMark;
use crate::ids::{SnapshotVersion, UnixMillis};
use crate::strict;
use crate::text::write_json_string;

/// Set in the last item of a [`Shown`] when a bot asked.
const BOT: u8 = 1;
/// Set there when its key and network enrol more units than the environment lets them.
const LIMITED: u8 = 2;

/// One request's events. `T` is a text, `R` an event as it came. Unknown fields are ignored: a newer edge may say more.
#[derive(Debug, Clone, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>, R: Deserialize<'de>"))]
#[expect(clippy::struct_excessive_bools, reason = "marks as they travel, each of its own")]
pub struct Request<T, R> {
    /// The edge's clock when it arrived.
    pub received_ms: UnixMillis,
    /// The client's clock when it sent it, if it said so.
    #[serde(default)]
    pub sent_ms: Option<UnixMillis>,
    /// What the edge could make sure of.
    pub source: SourceMark,
    /// Whether its tickets are of units that the customer's server signed.
    #[serde(default)]
    pub is_signed: bool,
    /// Keyed hash of the network that it came from; 0 when the platform named none.
    #[serde(default)]
    pub network: u32,
    /// Whether its user agent is a bot's.
    #[serde(default)]
    pub is_bot: bool,
    /// Whether its key and network enrol more units than the environment lets them: its exposures enrol nobody.
    #[serde(default)]
    pub is_limited: bool,
    /// The program that reported it, as that says.
    #[serde(default)]
    pub sdk: Option<T>,
    /// Whether its events that are `null` were those of units that were erased meanwhile.
    #[serde(default)]
    pub has_erased: bool,
    /// Exactly what arrived, valid or not.
    #[serde(default = "Vec::new")]
    pub events: Vec<R>,
    /// What the edge recorded itself.
    #[serde(default = "Vec::new")]
    pub exposures: Vec<ExposureGroup<T>>,
}

impl<T, R> Request<T, R> {
    /// How many events it has.
    pub fn event_count(&self) -> usize {
        self.events.len() + self.exposures.iter().map(|group| group.units.len()).sum::<usize>()
    }
}

/// Units that were shown one flag in one phase by one version.
#[derive(Debug, Clone, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub struct ExposureGroup<T> {
    /// The flag's key.
    pub flag: T,
    /// Phase of its cohort.
    pub phase: u32,
    /// `epoch.seq` of the snapshot that answered.
    pub version: T,
    /// Keys of the variations that were shown.
    pub variations: Vec<T>,
    /// Who saw which of them.
    pub units: Vec<Shown<T>>,
}

/// A unit that was shown a variation: `[unit, variation, after_ms, network]`, a number for what is rare about it, and its
/// declared slices.
#[derive(Debug, Clone)]
pub struct Shown<T> {
    /// The unit.
    pub unit: T,
    /// Which of the group's variations.
    pub variation: usize,
    /// Milliseconds after the request's `received_ms`.
    pub after_ms: u32,
    /// Keyed hash of the network that asked.
    pub network: u32,
    /// Whether a bot asked.
    pub is_bot: bool,
    /// As [`Request::is_limited`].
    pub is_limited: bool,
    /// As [`crate::slices::SliceCodes`] writes them.
    pub slices: Option<T>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shown<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShownVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ShownVisitor<T> {
            type Value = Shown<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array of unit, variation, after_ms and network")
            }
            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Shown<T>, S::Error> {
                let missing = |at| S::Error::invalid_length(at, &"4 items or more");
                let unit = seq.next_element()?.ok_or_else(|| missing(0))?;
                let variation = seq.next_element()?.ok_or_else(|| missing(1))?;
                let after_ms = seq.next_element()?.ok_or_else(|| missing(2))?;
                let network = seq.next_element()?.ok_or_else(|| missing(3))?;
                let rare: u8 = seq.next_element()?.unwrap_or_default();
                let slices = seq.next_element()?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                let (is_bot, is_limited) = (rare & BOT != 0, rare & LIMITED != 0);
                Ok(Shown { unit, variation, after_ms, network, is_bot, is_limited, slices })
            }
        }
        deserializer.deserialize_seq(ShownVisitor(std::marker::PhantomData))
    }
}

/// What the edge knows of a client's request beside its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHead<'h> {
    /// The client's clock when it sent it.
    pub sent_ms: Option<UnixMillis>,
    /// What the edge could make sure of.
    pub source: SourceMark,
    /// Keyed hash of its network.
    pub network: u32,
    /// Whether its user agent is a bot's.
    pub is_bot: bool,
    /// The program that it names.
    pub sdk: Option<&'h str>,
}

impl RequestHead<'_> {
    /// A request's JSON without its first brace and without what [`with_receipt`] puts there.
    pub fn write<'e>(&self, events: impl IntoIterator<Item = &'e RawValue>) -> String {
        let mut out = String::with_capacity(256);
        if let Some(sent_ms) = self.sent_ms {
            let _ = write!(out, "\"sent_ms\":{},", sent_ms.0);
        }
        // Older control planes know no source of that name.
        let (source, signed) = match self.source {
            SourceMark::Signed => (SourceMark::Ticket, ",\"is_signed\":true"),
            source => (source, ""),
        };
        let _ = write!(out, "\"source\":\"{}\"{signed}", source.as_str());
        if self.network != 0 {
            let _ = write!(out, ",\"network\":{}", self.network);
        }
        if self.is_bot {
            out.push_str(",\"is_bot\":true");
        }
        if let Some(sdk) = self.sdk {
            out.push_str(",\"sdk\":");
            write_json_string(&mut out, sdk);
        }
        out.push_str(",\"events\":[");
        for (at, event) in events.into_iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str(event.get());
        }
        out.push_str("]}");
        out
    }
}

/// A whole request of what [`RequestHead::write`] wrote: when it arrived, and whether its exposures enrol nobody.
pub fn with_receipt(rest: &str, received_ms: UnixMillis, is_limited: bool) -> String {
    let limited = if is_limited { "\"is_limited\":true," } else { "" };
    format!("{{\"received_ms\":{},{limited}{rest}", received_ms.0)
}

/// What exposures of one group share, as JSON fields.
pub fn exposure_group(flag: &str, phase: u32, version: SnapshotVersion) -> String {
    let mut out = String::with_capacity(64);
    out.push_str("\"flag\":");
    write_json_string(&mut out, flag);
    let _ = write!(out, ",\"phase\":{phase},\"version\":\"{version}\"");
    out
}

/// An exposure that the edge recorded; texts are JSON already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded<'r> {
    /// When it answered.
    pub received_ms: UnixMillis,
    /// What [`exposure_group`] wrote.
    pub group: &'r str,
    /// A JSON string.
    pub variation: &'r str,
    /// A JSON string.
    pub unit: &'r str,
    /// Keyed hash of the network that asked.
    pub network: u32,
    /// Whether a bot asked.
    pub is_bot: bool,
    /// As [`Request::is_limited`].
    pub is_limited: bool,
    /// As [`crate::slices::SliceCodes`] writes them; empty without any.
    pub slices: &'r str,
}

/// One request with all these exposures, grouped in the order in which their groups come first.
pub fn exposures(recorded: &[Recorded<'_>]) -> String {
    let first_ms = recorded.iter().map(|one| one.received_ms).min().unwrap_or_default();
    let mut out = format!("{{\"received_ms\":{},\"source\":\"edge\",\"exposures\":[", first_ms.0);
    let mut groups: Vec<&str> = Vec::new();
    for one in recorded {
        if !groups.contains(&one.group) {
            groups.push(one.group);
        }
    }
    for (at, group) in groups.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let of_group = || recorded.iter().filter(|one| one.group == *group);
        let mut variations: Vec<&str> = Vec::new();
        let mut units = String::new();
        for one in of_group() {
            let known = variations.iter().position(|own| *own == one.variation);
            let variation = known.unwrap_or_else(|| {
                variations.push(one.variation);
                variations.len() - 1
            });
            write_shown(&mut units, one, variation, one.received_ms.since(first_ms));
        }
        let _ = write!(out, "{{{group},\"variations\":[{}],\"units\":[{units}]}}", variations.join(","));
    }
    out.push_str("]}");
    out
}

fn write_shown(out: &mut String, one: &Recorded<'_>, variation: usize, after_ms: u64) {
    if !out.is_empty() {
        out.push(',');
    }
    let _ = write!(out, "[{},{variation},{after_ms},{}", one.unit, one.network);
    let rare = if one.is_bot { BOT } else { 0 } | if one.is_limited { LIMITED } else { 0 };
    if rare != 0 || !one.slices.is_empty() {
        let _ = write!(out, ",{rare}");
    }
    if !one.slices.is_empty() {
        let _ = write!(out, ",\"{}\"", one.slices);
    }
    out.push(']');
}

/// The requests of a row, each as its JSON: what the buffer joined with commas.
pub fn split_requests(row: &str) -> Option<Vec<String>> {
    let array = format!("[{row}]");
    Some(strict::list(&array)?.into_iter().map(|request| request.get().to_owned()).collect())
}
