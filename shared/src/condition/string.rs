//! Text comparisons: contained, at the start, at the end, or equal without regard to case.

use super::ConditionFault;
use crate::definition::ConditionWire;
use crate::limits::STRING_LEN_MAX;

/// Texts to look for, already folded when case does not matter.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StringTest {
    place: Place,
    case: Case,
    needles: Vec<Box<str>>,
}

/// Where in the text a needle has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Whole,
    Anywhere,
    Start,
    End,
}

/// Whether upper and lower case letters differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Exact,
    Folded,
}

impl StringTest {
    pub(super) fn compile(place: Place, wire: &ConditionWire) -> Result<Self, ConditionFault> {
        let case = Case::of(wire);
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
    pub(super) const fn of(wire: &ConditionWire) -> Self {
        if wire.ignore_case { Self::Folded } else { Self::Exact }
    }

    /// Unicode lower case, the same table in every build of one compiler.
    pub(super) fn fold(self, text: &str) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Exact => text.into(),
            Self::Folded => text.to_lowercase().into(),
        }
    }
}
