//! When flags were asked for last, as events tell it: of a flag that is asked for all the time once a minute.

use std::collections::BTreeMap;

use flagfuse_shared::ids::UnixMillis;

use crate::store::asked::PRECISION_MS;

/// Flags and phases that are remembered; beyond, some are written down more often.
const COUNT_MAX: usize = 20_000;

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum AskedFor<'f> {
    /// A flag, by its key.
    Flag(&'f str),
    /// The flag of a phase, by its number in the database.
    Phase(i64),
}

/// When flags were asked for last.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) flags: BTreeMap<String, UnixMillis>,
    pub(super) phases: BTreeMap<i64, UnixMillis>,
}

impl Asked {
    /// Notes it; `false` where that is hardly newer than what is known.
    pub(super) fn note(&mut self, of: AskedFor<'_>, at: UnixMillis) -> bool {
        if self.flags.len() + self.phases.len() >= COUNT_MAX {
            *self = Self::default();
        }
        let last = match of {
            AskedFor::Flag(key) => self.flags.get(key),
            AskedFor::Phase(phase_id) => self.phases.get(&phase_id),
        };
        if last.is_some_and(|last| at.0 < last.0.saturating_add(PRECISION_MS)) {
            return false;
        }
        match of {
            AskedFor::Flag(key) => self.flags.insert(key.to_owned(), at),
            AskedFor::Phase(phase_id) => self.phases.insert(phase_id, at),
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_noted_once_a_minute_and_never_back() {
        let mut asked = Asked::default();
        for (at, is_new) in [(5_000, true), (64_999, false), (65_000, true), (6_000, false)] {
            assert_eq!(asked.note(AskedFor::Flag("f"), UnixMillis(at)), is_new, "{at}");
            assert_eq!(asked.note(AskedFor::Phase(7), UnixMillis(at)), is_new, "{at}");
        }
        assert!(
            asked.note(AskedFor::Flag("g"), UnixMillis(1)) && asked.note(AskedFor::Phase(8), UnixMillis(1))
        );
        assert_eq!(asked.flags.get("f"), Some(&UnixMillis(65_000)));
    }
}
