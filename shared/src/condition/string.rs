//! Text comparisons: contained, at the start, at the end, or equal without regard to case.

use super::ConditionFault;
use crate::flag::wire::{ConditionWire, Operator};
use crate::limits::STRING_LEN_MAX;

/// Texts to look for, already folded when case does not matter.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StringTest {
    place: Place,
    case: Case,
    needles: Vec<Box<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Whole,
    Anywhere,
    Start,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Exact,
    Folded,
}

impl StringTest {
    pub(super) fn compile(wire: &ConditionWire) -> Result<Self, ConditionFault> {
        let case = if wire.ignore_case { Case::Folded } else { Case::Exact };
        let place = match wire.op {
            Operator::Contains => Place::Anywhere,
            Operator::StartsWith => Place::Start,
            Operator::EndsWith => Place::End,
            Operator::In
            | Operator::LessThan
            | Operator::AtMost
            | Operator::GreaterThan
            | Operator::AtLeast
            | Operator::Exists => Place::Whole,
        };
        let needles = wire
            .values
            .iter()
            .enumerate()
            .map(|(at, value)| match value.as_str() {
                Some(text) if text.len() <= STRING_LEN_MAX => Ok(case.fold(text).into()),
                _ => Err(ConditionFault::ValueType { at, expected: "a text of at most 4096 bytes" }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { place, case, needles })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let folded = self.case.fold(text);
        self.needles.iter().any(|needle| match self.place {
            Place::Whole => folded == **needle,
            Place::Anywhere => folded.contains(&**needle),
            Place::Start => folded.starts_with(&**needle),
            Place::End => folded.ends_with(&**needle),
        })
    }
}

impl Case {
    /// Unicode lower case, the same table in every build of one compiler.
    fn fold(self, text: &str) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Exact => text.into(),
            Self::Folded => text.to_lowercase().into(),
        }
    }
}
