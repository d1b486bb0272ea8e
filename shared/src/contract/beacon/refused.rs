//! Why a whole body is refused.

use crate::strict::Fault;

/// Why a whole request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// No JSON of the batch's shape.
    #[error("{detail}")]
    Shape {
        /// What is wrong, as a sentence.
        detail: String,
    },
    /// More events than the limit.
    #[error("the body has {count} events, the limit is {count_max}: send the others in another request")]
    TooMany {
        /// Events found.
        count: usize,
        /// Events allowed.
        count_max: usize,
    },
    /// A batch in a format that this reader does not know: its writer is newer.
    #[error("the batch has format {format}, and this control plane reads formats 1 and 2")]
    UnknownFormat {
        /// The format it names.
        format: u32,
    },
}

impl From<Fault> for BatchError {
    fn from(fault: Fault) -> Self {
        Self::Shape { detail: fault.of("the body") }
    }
}

/// Refuses more events than `count_max`.
pub(super) const fn check_count(count: usize, count_max: usize) -> Result<(), BatchError> {
    if count > count_max { Err(BatchError::TooMany { count, count_max }) } else { Ok(()) }
}
