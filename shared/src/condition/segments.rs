//! The segments that conditions may name: positions for names, and why a name cannot be used. Never evaluates one.

use serde_json::Value;

use super::ConditionFault;
use crate::limits::SEGMENT_DEPTH_MAX;

/// Position of a segment in its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentIndex(pub(crate) u16);

/// The segments that conditions may name, and which of them are malformed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SegmentNames {
    /// Ordered by key; the position is the segment's index.
    entries: Vec<(Box<str>, Option<SegmentFault>)>,
}

impl SegmentNames {
    /// Names in order; their segments count as sound until [`Self::fail`] says otherwise.
    pub(crate) fn of<'k>(keys: impl Iterator<Item = &'k str>) -> Self {
        Self { entries: keys.map(|key| (key.into(), None)).collect() }
    }

    /// What is wrong with each segment, in the order of the names.
    pub(crate) fn fail(&mut self, faults: Vec<Option<SegmentFault>>) {
        for (entry, fault) in self.entries.iter_mut().zip(faults) {
            entry.1 = fault;
        }
    }

    /// The positions of the segments that a condition's values name.
    pub(crate) fn resolve(&self, values: &[Value]) -> Result<Box<[SegmentIndex]>, ConditionFault> {
        values
            .iter()
            .enumerate()
            .map(|(at, value)| {
                let key =
                    value.as_str().ok_or(ConditionFault::ValueType { at, expected: "a segment's key" })?;
                let unknown = || ConditionFault::UnknownSegment { at, key: key.to_owned() };
                let index =
                    self.entries.binary_search_by(|(name, _)| (**name).cmp(key)).map_err(|_| unknown())?;
                if let Some((_, Some(fault))) = self.entries.get(index) {
                    let detail = fault.to_string();
                    return Err(ConditionFault::MalformedSegment { at, key: key.to_owned(), detail });
                }
                u16::try_from(index).map(SegmentIndex).map_err(|_| unknown())
            })
            .collect()
    }

    /// What is wrong with a segment; `None` when it is sound or not there.
    pub fn fault(&self, key: &str) -> Option<&SegmentFault> {
        let at = self.entries.binary_search_by(|(name, _)| (**name).cmp(key)).ok()?;
        self.entries.get(at)?.1.as_ref()
    }
}

/// Why a segment cannot be evaluated; flags that name it fail with it, all others work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentFault {
    /// A list or text is outside its bounds.
    #[error("{field} is {found}, allowed is {allowed}")]
    OutOfRange {
        /// The field: `key`, `included`, `rules`.
        field: &'static str,
        /// What was there.
        found: String,
        /// The bound in words.
        allowed: String,
    },
    /// A condition that cannot be evaluated.
    #[error("rules[{rule}].conditions[{at}]: {source}")]
    Condition {
        /// Position of the rule.
        rule: usize,
        /// Position in it.
        at: usize,
        /// What is wrong with it.
        source: ConditionFault,
    },
    /// It contains itself.
    #[error("segments form a cycle: {}", path.join(" -> "))]
    Cycle {
        /// Each names the next; the first and last are the same.
        path: Vec<String>,
    },
    /// It names a segment that cannot be evaluated.
    #[error("it names the segment {key:?}, which is malformed")]
    NamesMalformed {
        /// The key of the malformed segment.
        key: String,
    },
    /// It names segments that name segments … more often than an evaluation may follow.
    #[error("segments are nested deeper than {SEGMENT_DEPTH_MAX} levels")]
    TooDeep,
}
