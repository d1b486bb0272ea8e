//! The numbers and hashes by which facts and rows name things.

use serde::{Deserialize, Serialize};

/// Keyed 128-bit hash of a unit. Its bytes are as good as random, which the tables in memory rely on.
pub type UnitHash = [u8; 16];

/// Number of a phase in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PhaseId(pub i64);

/// Number of a metric within its phase: 0 for the enrolled units themselves, else its place in the rules, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MetricNo(pub u8);

impl MetricNo {
    /// The enrolled units.
    pub const ENROLLED: Self = Self(0);
}

/// Number of a slice within its phase: 0 for everybody but bots, 1 for bots, else its place in the rules, from 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SliceNo(pub u8);

impl SliceNo {
    /// Everybody who is no bot.
    pub const WHOLE: Self = Self(0);
    /// Bots, which are in no other slice.
    pub const BOT: Self = Self(1);
}

/// Number of an outcome's name within a ledger, see [`crate::Ledger::name_no`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NameNo(pub u16);

impl NameNo {
    /// Any name that no phase's rules have mentioned.
    pub const OTHER: Self = Self(0);
}

/// The declared slices that a unit is in, one for each dimension at most; 0 where a place is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SliceSet(pub [u8; 4]);

impl SliceSet {
    /// The slices in which a unit counts: everybody's and its declared ones, or the bots' alone.
    pub fn counted(self, is_bot: bool) -> impl Iterator<Item = SliceNo> {
        let whole = if is_bot { SliceNo::BOT } else { SliceNo::WHOLE };
        let declared =
            self.0.into_iter().filter(move |slice| !is_bot && *slice > SliceNo::BOT.0).map(SliceNo);
        [whole].into_iter().chain(declared)
    }
}

/// Which half of the cohort; the numbers are those of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// Never sees the feature while the fuse watches.
    Control = 0,
    /// Sees the feature.
    Exposed = 1,
}

impl Arm {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Control, Self::Exposed];

    /// The number in the database.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The arm of a number; `None` for any but 0 and 1.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Control),
            1 => Some(Self::Exposed),
            _ => None,
        }
    }
}

/// Who vouches for an event; the numbers are those of the database. What nobody vouches for gets no fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The edge itself recorded it.
    Edge = 0,
    /// A client, with a valid ticket.
    Client = 1,
    /// A client of an edge that has no ticket secret.
    Open = 2,
    /// A server, with a secret key.
    Server = 3,
}

impl Source {
    /// The number in the database.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The source of a number; `None` for any above 3.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Edge),
            1 => Some(Self::Client),
            2 => Some(Self::Open),
            3 => Some(Self::Server),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_what_they_stand_for_are_each_others_inverse() {
        for number in 0..=u8::MAX {
            assert!(Arm::from_number(number).is_none_or(|arm| arm.number() == number));
            assert!(Source::from_number(number).is_none_or(|source| source.number() == number));
        }
        assert_eq!(Arm::ALL.map(Arm::number), [0, 1]);
        assert_eq!(Source::from_number(3), Some(Source::Server));
        assert_eq!(Source::from_number(4), None);
    }

    #[test]
    fn a_bot_counts_in_the_bots_slice_only() {
        let set = SliceSet([2, 0, 5, 0]);
        assert_eq!(set.counted(false).collect::<Vec<_>>(), [SliceNo(0), SliceNo(2), SliceNo(5)]);
        assert_eq!(set.counted(true).collect::<Vec<_>>(), [SliceNo(1)]);
    }
}
