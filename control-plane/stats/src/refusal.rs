//! Why a method takes nothing in. What refuses leaves its state as it was.

use std::fmt;

/// What is wrong with an input or with a stored state. None of these is evidence: the caller holds and says which it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Refused {
    /// An arm with more events than units.
    EventsExceedUnits {
        /// Events of the arm.
        events: u64,
        /// Its units.
        units: u64,
    },
    /// A block, a slot or an arm that is larger than a method computes in one step.
    TooManyUnits {
        /// Units found.
        units: u64,
        /// The most that are taken.
        limit: u64,
    },
    /// A setting outside its range, NaN included.
    OutOfRange {
        /// The setting's name.
        setting: &'static str,
        /// Its least value.
        min: f64,
        /// Its largest value.
        max: f64,
    },
    /// Weights that do not sum to 1, or one that is not above 0.
    Weights,
    /// A list that has to be sorted, without repetitions, and is not.
    NotAscending {
        /// The list's name.
        list: &'static str,
    },
    /// A bin that the phase's edges do not have.
    UnknownBin {
        /// The bin.
        bin: u16,
        /// How many there are.
        bins: usize,
    },
    /// Lists that belong together and have not the same length, or an empty one.
    Lengths,
    /// A day or an order of reading before one that was read already.
    WentBack,
    /// A stored state that no sequence of inputs leads to: NaN, an infinity, a negative number.
    CorruptState,
}

impl Refused {
    /// A stable name of the case, for APIs and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::EventsExceedUnits { .. } => "events_exceed_units",
            Self::TooManyUnits { .. } => "too_many_units",
            Self::OutOfRange { .. } => "out_of_range",
            Self::Weights => "weights_not_one",
            Self::NotAscending { .. } => "not_ascending",
            Self::UnknownBin { .. } => "unknown_bin",
            Self::Lengths => "lengths_differ",
            Self::WentBack => "went_back",
            Self::CorruptState => "corrupt_state",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EventsExceedUnits { events, units } => {
                write!(to, "an arm has {events} events of {units} units")
            }
            Self::TooManyUnits { units, limit } => {
                write!(to, "{units} units, of which {limit} are taken at most")
            }
            Self::OutOfRange { setting, min, max } => write!(to, "{setting} is outside {min} to {max}"),
            Self::Weights => to.write_str("weights have to be above 0 and to sum to 1"),
            Self::NotAscending { list } => write!(to, "{list} have to ascend without repetitions"),
            Self::UnknownBin { bin, bins } => write!(to, "bin {bin} of {bins} bins"),
            Self::Lengths => to.write_str("a list has not the length that belongs to it"),
            Self::WentBack => to.write_str("what was read before is later than this"),
            Self::CorruptState => to.write_str("the stored state is none that evidence leads to"),
        }
    }
}

impl std::error::Error for Refused {}

/// `value` if it is a number from `min` to `max`.
pub(crate) fn within(setting: &'static str, value: f64, min: f64, max: f64) -> Result<f64, Refused> {
    if value >= min && value <= max { Ok(value) } else { Err(Refused::OutOfRange { setting, min, max }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_and_what_is_outside_are_refused_with_the_limits() {
        for value in [f64::NAN, f64::INFINITY, -0.1, 1.1] {
            let refused = within("share", value, 0.0, 1.0).unwrap_err();
            assert_eq!(
                (refused.code(), refused.to_string().as_str()),
                ("out_of_range", "share is outside 0 to 1")
            );
        }
        assert_eq!(within("share", 1.0, 0.0, 1.0), Ok(1.0));
    }
}
