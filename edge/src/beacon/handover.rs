//! What an isolate hands to a buffer: a line of numbers, then JSON that the buffer keeps without reading it. Pure.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use flagfuse_shared::contract::beacon::exposure_group;
use flagfuse_shared::ids::{SnapshotVersion, UnixMillis};
use flagfuse_shared::slices::SliceCodes;
use flagfuse_shared::text::write_json_string;

/// What is handed over at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handover<'t> {
    /// A client's request.
    Request(ClientRequest<'t>),
    /// An exposure that the edge recorded.
    Exposure(EdgeExposure<'t>),
}

/// A client's request, or the part of it that has one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRequest<'t> {
    /// How many events it has.
    pub event_count: u32,
    /// How many of them enrol a unit or link one.
    pub exposure_count: u32,
    /// When the edge got it.
    pub received_ms: UnixMillis,
    /// Name of the client key.
    pub key: &'t str,
    /// Keyed hash of its network.
    pub network: u32,
    /// Of its events: the same when a client sends them again.
    pub digest: u64,
    /// The request without its first field.
    pub json: &'t str,
}

/// An exposure that the edge recorded when it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeExposure<'t> {
    /// When it answered.
    pub received_ms: UnixMillis,
    /// Name of the client key.
    pub key: &'t str,
    /// Keyed hash of the network that asked.
    pub network: u32,
    pub is_bot: bool,
    /// Flag, phase and version, as JSON fields.
    pub group: &'t str,
    /// A JSON string.
    pub variation: &'t str,
    /// A JSON string.
    pub unit: &'t str,
    /// The declared slices of its enrolment; empty without any, and from an isolate of before there were any.
    pub slices: &'t str,
}

/// A unit that was shown a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// The flag's key.
    pub flag: String,
    /// What it was shown.
    pub variation: String,
    /// Phase of the flag's cohort.
    pub phase: u32,
    pub unit: String,
    /// The declared slices that its context puts it into.
    pub slices: SliceCodes,
    /// The snapshot that answered.
    pub version: SnapshotVersion,
}

/// Who asked, as far as an exposure needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// Name of the client key.
    pub key: String,
    /// Keyed hash of the network.
    pub network: u32,
    pub is_bot: bool,
}

impl<'t> Handover<'t> {
    /// Reads what [`ClientRequest::write`] and [`write_exposure`] write.
    pub fn parse(text: &'t str) -> Option<Self> {
        let (head, rest) = text.split_once('\n')?;
        let mut words = head.split(' ');
        let mut word = || words.next();
        match word()? {
            "request" => Some(Self::Request(ClientRequest {
                event_count: word()?.parse().ok()?,
                exposure_count: word()?.parse().ok()?,
                received_ms: UnixMillis(word()?.parse().ok()?),
                key: word()?,
                network: word()?.parse().ok()?,
                digest: word()?.parse().ok()?,
                json: rest,
            })),
            "exposure" => {
                let mut lines = rest.split('\n');
                Some(Self::Exposure(EdgeExposure {
                    received_ms: UnixMillis(word()?.parse().ok()?),
                    key: word()?,
                    network: word()?.parse().ok()?,
                    is_bot: word()? == "bot",
                    group: lines.next()?,
                    variation: lines.next()?,
                    unit: lines.next()?,
                    slices: lines.next().unwrap_or_default(),
                }))
            }
            _ => None,
        }
    }
}

impl ClientRequest<'_> {
    /// The text that is handed over.
    pub fn write(&self) -> String {
        let Self { event_count, exposure_count, received_ms, key, network, digest, json } = self;
        format!("request {event_count} {exposure_count} {} {key} {network} {digest}\n{json}", received_ms.0)
    }
}

/// What tells requests apart by their events, whatever else a client says when it sends them again.
pub fn digest<'e>(events: impl IntoIterator<Item = &'e str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for event in events {
        event.hash(&mut hasher);
    }
    hasher.finish()
}

/// The text that is handed over for an exposure. JSON strings hold no line feeds.
pub fn write_exposure(exposure: &Exposure, asker: &Asker, received_ms: UnixMillis) -> String {
    let Asker { key, network, is_bot } = asker;
    let group = exposure_group(&exposure.flag, exposure.phase, exposure.version);
    let mut out = format!("exposure {} {key} {network} {}", received_ms.0, if *is_bot { "bot" } else { "-" });
    out.push('\n');
    out.push_str(&group);
    for text in [&exposure.variation, &exposure.unit] {
        out.push('\n');
        write_json_string(&mut out, text);
    }
    if !exposure.slices.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(out, "\n{}", exposure.slices);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_is_read_back() {
        let request = ClientRequest {
            event_count: 3,
            exposure_count: 1,
            received_ms: UnixMillis(17),
            key: "abc",
            network: 7,
            digest: u64::MAX,
            json: "\"source\":\"open\",\"events\":[{},\n{},{}]}",
        };
        assert_eq!(Handover::parse(&request.write()), Some(Handover::Request(request)));
        let exposure = Exposure {
            flag: "a\nb".to_owned(),
            variation: "on\n".to_owned(),
            phase: 3,
            unit: "line\nfeed \"quoted\"".to_owned(),
            slices: SliceCodes::parse("1.0").unwrap(),
            version: SnapshotVersion { epoch: 1, seq: 9 },
        };
        let asker = Asker { key: "abc".to_owned(), network: 5, is_bot: true };
        let text = write_exposure(&exposure, &asker, UnixMillis(17));
        let read = EdgeExposure {
            received_ms: UnixMillis(17),
            key: "abc",
            network: 5,
            is_bot: true,
            group: r#""flag":"a\nb","phase":3,"version":"1.9""#,
            variation: r#""on\n""#,
            unit: r#""line\nfeed \"quoted\"""#,
            slices: "1.0",
        };
        assert_eq!(Handover::parse(&text), Some(Handover::Exposure(read.clone())));
        let older = text.strip_suffix("\n1.0").unwrap();
        let read = EdgeExposure { slices: "", ..read };
        assert_eq!(Handover::parse(older), Some(Handover::Exposure(read)));
        let without = Exposure { slices: SliceCodes::default(), ..exposure };
        assert_eq!(write_exposure(&without, &asker, UnixMillis(17)), older);
        for bad in ["", "x\n", "request 1\n{}", "exposure 1 k 5 bot\na", "request a b c d e f\n"] {
            assert_eq!(Handover::parse(bad), None, "{bad:?}");
        }
    }
}
