//! YAML documents as JSON values, as flagd turns them into JSON: bounded while they are read, and nothing is guessed.
//!
//! Plain scalars follow the core schema of YAML 1.2.2 (section 10.3.2); those that flagd's reader takes for something else
//! are refused. An alias costs what it stands for, so that a few lines cannot become a billion values.

mod builder;
mod scalar;

use flagfuse_shared::limits::{IMPORT_LEN_MAX, IMPORT_YAML_DEPTH_MAX, IMPORT_YAML_VALUE_COUNT_MAX};
use saphyr_parser::{Event, Parser};
use serde_json::Value;

use self::builder::Builder;

/// Why a text is no YAML that can be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub(super) struct YamlError {
    line: usize,
    fault: YamlFault,
}

/// What is wrong in the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum YamlFault {
    #[error("it is not YAML: {detail}")]
    Syntax { detail: String },
    #[error("a second document begins, only one is taken")]
    SecondDocument,
    #[error("the alias names an anchor that is not complete before it")]
    OpenAnchor,
    #[error("the tag {tag} has no equivalent in JSON")]
    Tag { tag: String },
    #[error("a key must be a text: quote it")]
    KeyType,
    #[error("the key {key:?} is repeated")]
    KeyTwice { key: String },
    #[error("<< merges a mapping or a list of mappings, here is neither")]
    Merge,
    #[error("{text:?} is a {kind} to some readers of YAML only: quote it, or write it like JSON")]
    Ambiguous { text: String, kind: &'static str },
    #[error("{text:?} is not a number that JSON has")]
    NoJsonNumber { text: String },
    #[error("nested deeper than {IMPORT_YAML_DEPTH_MAX} levels")]
    TooDeep,
    #[error("more than {IMPORT_YAML_VALUE_COUNT_MAX} values, with what aliases stand for")]
    TooManyValues,
    #[error("more than {IMPORT_LEN_MAX} bytes of text, with what aliases stand for")]
    TooLong,
}

/// The first and only document of `text`; nothing at all is null.
pub(super) fn parse(text: &str) -> Result<Value, YamlError> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|fault| YamlError {
            line: fault.marker().line(),
            fault: YamlFault::Syntax { detail: fault.info().to_owned() },
        })?;
        let taken = match event {
            Event::DocumentStart(_) => builder.begin_document(),
            Event::Alias(anchor) => builder.alias(anchor),
            Event::Scalar(text, style, anchor, tag) => {
                scalar::read(text, style, tag.as_deref()).and_then(|value| builder.scalar(value, anchor))
            }
            Event::SequenceStart(anchor, tag) => builder.begin_list(anchor, tag.as_deref()),
            Event::MappingStart(anchor, tag) => builder.begin_map(anchor, tag.as_deref()),
            Event::SequenceEnd | Event::MappingEnd => builder.end(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        };
        taken.map_err(|fault| YamlError { line: span.start.line(), fault })?;
    }
    Ok(builder.finish())
}

#[cfg(test)]
mod tests;
