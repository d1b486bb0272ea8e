//! What every importer of another system's flags answers with. Reads no bytes itself.

use flagfuse_shared::definition::{FlagWire, SharedWire};

/// Flags in our model, and what could not be taken over.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Imported {
    /// Flags that decide as the other system would, ordered by key.
    pub flags: Vec<FlagWire>,
    /// Segments that the flags name.
    pub shared: SharedWire,
    /// What was left out, and why. Nothing is approximated: a flag decides as it did, or stands here.
    pub refused: Vec<Refused>,
    /// What was taken over and is not all of what it was.
    pub notes: Vec<Note>,
}

/// Something that people should know about a part that was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Which part: `flag checkout`, `segment 7`.
    pub name: String,
    /// What, as a sentence about it.
    pub note: String,
}

/// Something that has no equivalent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Where in the other system: `flag checkout`, `segment beta`.
    pub name: String,
    /// Which part of it, and why not.
    pub reason: String,
}

/// Why a document is none of the system it should come from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// More bytes than the limit.
    #[error("the document has {len} bytes, the limit is {len_max}")]
    TooLong {
        /// Bytes found.
        len: usize,
        /// Bytes allowed.
        len_max: usize,
    },
    /// No JSON, or JSON of another shape.
    #[error("the document cannot be read as {format}: {detail}")]
    Shape {
        /// `Unleash features`, `flagd definition`, `LaunchDarkly flags`.
        format: &'static str,
        /// What the parser said.
        detail: String,
    },
    /// More entries than the limit.
    #[error("the document has {count} {what}, the limit is {count_max}")]
    TooMany {
        /// `flags`, `segments`.
        what: &'static str,
        /// Entries found.
        count: usize,
        /// Entries allowed.
        count_max: usize,
    },
}
