//! OpenTelemetry's export requests (OTLP: logs, traces and metrics, in protobuf or JSON) → evaluations of flags and outcomes,
//! as events. Pure. What says nothing of a flag is counted, and no memory is taken for it.

mod answer;
mod attributes;
mod found;
mod gather;
mod json;
mod protobuf;
mod wire;

pub use self::answer::{status, success};
pub use self::attributes::Attr;
pub use self::found::{Evaluation, Export, FOUND_COUNT_MAX, Found, Ignored, Outcome, Reason, Refusal, What};

/// What an export request is full of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Log records.
    Logs,
    /// Spans.
    Traces,
    /// Data points of metrics.
    Metrics,
}

impl Signal {
    /// Every one there is.
    pub const ALL: [Self; 3] = [Self::Logs, Self::Traces, Self::Metrics];

    /// The word in a path.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }
}

/// How a request is written. Its answer is written likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`, in OTLP's mapping.
    Json,
}

impl Encoding {
    /// By a content type, with or without parameters.
    pub fn of_content_type(text: &str) -> Option<Self> {
        let kind = text.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/x-protobuf") {
            Some(Self::Protobuf)
        } else if kind.eq_ignore_ascii_case("application/json") {
            Some(Self::Json)
        } else {
            None
        }
    }

    /// The content type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// Why a request is refused whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// It is no export request.
    #[error("the body is no {} export request: {detail}", .signal.as_str())]
    Malformed {
        /// Of what it should be one.
        signal: Signal,
        /// What is wrong.
        detail: String,
    },
    /// It has more evaluations and outcomes than fit.
    #[error(
        "the body has more evaluations of flags and outcomes than the limit of {FOUND_COUNT_MAX}: send smaller batches"
    )]
    TooMany,
}

/// Reads an export request, without looking anything up.
pub fn read(signal: Signal, encoding: Encoding, body: &[u8]) -> Result<Export<'_>, ExportError> {
    let read = match encoding {
        Encoding::Protobuf => protobuf::read(signal, body).map_err(|malformed| malformed.to_string()),
        Encoding::Json => json::read(signal, body).map_err(|fault| fault.of("it")),
    };
    let export = read.map_err(|detail| ExportError::Malformed { signal, detail })?;
    if export.found_count() > FOUND_COUNT_MAX { Err(ExportError::TooMany) } else { Ok(export) }
}

#[cfg(test)]
mod tests;
