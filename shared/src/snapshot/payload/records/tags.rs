//! The number that stands for each name of the wire shapes. A number is never given a second meaning.

use super::reader::{Reader, RecordFault};
use crate::definition::{Arm, HoldoutRole, OnStale, Operator, ValueType};
use crate::snapshot::{AutoExposure, Profile};

/// Names with a number each.
pub(super) trait Tagged: Copy {
    fn tag(self) -> u8;
    fn from_tag(tag: u8) -> Option<Self>;
}

/// One table for both directions; a name that is missing in it does not compile.
macro_rules! tagged {
    ($kind:ident { $($name:ident = $tag:literal),* $(,)? }) => {
        impl Tagged for $kind {
            fn tag(self) -> u8 {
                match self { $(Self::$name => $tag),* }
            }

            fn from_tag(tag: u8) -> Option<Self> {
                match tag { $($tag => Some(Self::$name),)* _ => None }
            }
        }
    };
}

tagged!(Profile { Strict = 0, Economy = 1 });
tagged!(AutoExposure { Single = 0, Off = 1 });
tagged!(ValueType { Boolean = 0, String = 1, Integer = 2, Float = 3, Object = 4 });
tagged!(HoldoutRole { Member = 0, Exempt = 1 });
tagged!(OnStale { Keep = 0, Default = 1, Off = 2 });
tagged!(Arm { Exposed = 0, Control = 1 });
tagged!(Operator {
    In = 0,
    Contains = 1,
    StartsWith = 2,
    EndsWith = 3,
    LessThan = 4,
    AtMost = 5,
    GreaterThan = 6,
    AtLeast = 7,
    Exists = 8,
    Matches = 9,
    Before = 10,
    After = 11,
    SemverEqual = 12,
    SemverLessThan = 13,
    SemverGreaterThan = 14,
    SemverAtLeast = 15,
    SemverAtMost = 16,
    InCidr = 17,
    ContainsAny = 18,
    ContainsAll = 19,
    InSegment = 20,
});

/// Reads a name.
#[inline]
pub(super) fn read_tag<T: Tagged>(reader: &mut Reader<'_>, field: &'static str) -> Result<T, RecordFault> {
    let tag = reader.byte(field)?;
    T::from_tag(tag).ok_or(RecordFault::Unknown { field, found: tag.into() })
}
