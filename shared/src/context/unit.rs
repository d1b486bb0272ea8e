//! Which attribute of a context names the unit that is bucketed. Never hashes it.

use std::borrow::Cow;

use super::{AttributeName, Context, TARGETING_KEY};

/// What names the unit that is bucketed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnitSource {
    /// The context's targeting key.
    TargetingKey,
    /// Another attribute.
    Attribute(Box<AttributeName>),
}

impl UnitSource {
    /// The source that an attribute's name means.
    pub fn of(attribute: &str) -> Self {
        if attribute == TARGETING_KEY {
            Self::TargetingKey
        } else {
            Self::Attribute(Box::new(AttributeName::new(attribute)))
        }
    }

    /// The attribute's name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::TargetingKey => TARGETING_KEY,
            Self::Attribute(name) => name.as_str(),
        }
    }

    /// The unit of an asker: a text that is not empty, or the digits of a whole number.
    #[inline]
    pub fn unit<'c>(&self, context: &'c Context) -> Option<Cow<'c, str>> {
        match self {
            Self::TargetingKey => context.targeting_key().map(Cow::Borrowed),
            Self::Attribute(name) => context.unit(name),
        }
    }
}
