//! Which reader a snapshot needs: the smallest that understands everything its flags say. Pure.
//!
//! The codec sets the lowest; what flags gain later is a [`Feature`] with a number of its own, so that a snapshot without it
//! goes on to be read by edges that do not know it.

use std::borrow::Borrow;

use super::manifest::{READER_OF_LANES, READER_OF_SLICES};
use super::payload::{CODEC, Content};
use crate::definition::{FlagWire, Units};

/// Something that flags may say, and readers understand from one number on.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// The first reader that understands it.
    pub reader: u32,
    /// Whether a flag says it.
    pub is_in: fn(&FlagWire) -> bool,
    /// Takes it out of a flag. What remains is what older readers are given when they have to be reached all the same; it
    /// may serve nobody anything that the whole flag would not serve them.
    pub take_out: fn(&mut FlagWire),
}

/// What flags may say that not every reader of the codec understands, by rising numbers.
pub const FEATURES: &[Feature] = &[
    Feature {
        // The declared slices of a cohort, and cohorts of signed units.
        reader: READER_OF_SLICES,
        is_in: |flag| {
            let cohort = flag.cohort.as_ref();
            cohort.is_some_and(|cohort| !cohort.dimensions.is_empty() || !cohort.units.is_any())
        },
        take_out: |flag| {
            if let Some(cohort) = &mut flag.cohort {
                cohort.dimensions.clear();
                cohort.units = Units::default();
            }
        },
    },
    Feature {
        // A cohort's own salt, and slices that enrol nobody.
        reader: READER_OF_LANES,
        is_in: |flag| {
            let cohort = flag.cohort.as_ref();
            cohort.is_some_and(|cohort| {
                cohort.salt.is_some() || cohort.slices.iter().any(|slice| slice.unenrolled)
            })
        },
        // Under another salt every slice would hold other units, so nobody is in one and all get the default.
        take_out: |flag| {
            if let Some(cohort) = &mut flag.cohort {
                cohort.salt = None;
                cohort.slices.clear();
            }
        },
    },
];

/// The reader that every edge is at least, whatever it says or does not say: an older one reads no snapshot at all.
pub const OLDEST_READER: u32 = CODEC.reader_min();

/// The features by which snapshots are written.
#[derive(Debug, Clone, Copy)]
pub struct Features(&'static [Feature]);

impl Default for Features {
    fn default() -> Self {
        Self(FEATURES)
    }
}

impl Features {
    /// Other ones than those there are, for tests of what becomes of a new one.
    pub const fn planted(features: &'static [Feature]) -> Self {
        Self(features)
    }

    /// The smallest reader that understands a flag.
    pub fn flag_needs(self, flag: &FlagWire) -> u32 {
        let own = self.0.iter().filter(|feature| (feature.is_in)(flag)).map(|feature| feature.reader);
        own.max().unwrap_or(OLDEST_READER).max(OLDEST_READER)
    }

    /// The smallest reader that understands all of a content.
    pub fn reader_needed<F: Borrow<FlagWire>>(self, content: &Content<F>) -> u32 {
        content.flags.iter().map(|flag| self.flag_needs(flag.borrow())).max().unwrap_or(OLDEST_READER)
    }

    /// A flag as a reader of that number can be given it.
    #[must_use]
    pub fn lowered(self, flag: &FlagWire, reader: u32) -> FlagWire {
        let mut lowered = flag.clone();
        for feature in self.0.iter().rev().filter(|feature| feature.reader > reader) {
            if (feature.is_in)(&lowered) {
                (feature.take_out)(&mut lowered);
            }
        }
        lowered
    }
}

/// The smallest reader that understands a content, with the features there are.
pub fn reader_needed<F: Borrow<FlagWire>>(content: &Content<F>) -> u32 {
    Features::default().reader_needed(content)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::snapshot::fixtures::{content, flag};
    use crate::snapshot::manifest::READER_VERSION;

    const PLANTED: &[Feature] = &[
        Feature {
            reader: READER_VERSION + 1,
            is_in: |flag| flag.salt.as_deref() == Some("new"),
            take_out: |flag| flag.salt = None,
        },
        Feature {
            reader: READER_VERSION + 2,
            is_in: |flag| flag.off_variation.is_some(),
            take_out: |flag| flag.off_variation = None,
        },
    ];

    #[test]
    fn features_rise_and_are_understood_by_this_reader() {
        assert!(FEATURES.is_sorted_by_key(|feature| feature.reader));
        assert!(FEATURES.iter().all(|feature| (OLDEST_READER..=READER_VERSION).contains(&feature.reader)));
    }

    #[test]
    fn a_content_needs_what_its_flags_say_and_no_more() {
        let features = Features::planted(PLANTED);
        let mut content = content(&[flag("f", json!({})), flag("g", json!({}))]);
        for flag in &mut content.flags {
            (flag.salt, flag.off_variation) = (None, None);
        }
        assert_eq!(
            (reader_needed(&content), features.reader_needed(&content)),
            (OLDEST_READER, OLDEST_READER)
        );
        content.flags[0].salt = Some("new".to_owned());
        assert_eq!(reader_needed(&content), OLDEST_READER, "nobody planted it");
        assert_eq!(features.reader_needed(&content), READER_VERSION + 1);
        content.flags[0].off_variation = Some("off".to_owned());
        assert_eq!(features.reader_needed(&content), READER_VERSION + 2);
    }

    #[test]
    fn a_flag_is_lowered_to_what_a_reader_understands() {
        let features = Features::planted(PLANTED);
        let mut flag = content(&[flag("f", json!({}))]).flags.remove(0);
        (flag.salt, flag.off_variation) = (Some("new".to_owned()), Some("off".to_owned()));
        for (reader, salt, off) in [
            (READER_VERSION, false, false),
            (READER_VERSION + 1, true, false),
            (READER_VERSION + 2, true, true),
        ] {
            let lowered = features.lowered(&flag, reader);
            assert_eq!((lowered.salt.is_some(), lowered.off_variation.is_some()), (salt, off), "{reader}");
            assert!(features.flag_needs(&lowered) <= reader.max(OLDEST_READER));
        }
    }
}
