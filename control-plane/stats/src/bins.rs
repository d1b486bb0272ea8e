//! Units by bin, as spreads of matured slots have them.

use crate::refusal::Refused;

/// Units whose sample or sum lies in a bin. Lists of them ascend by bin, without repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BinCount {
    /// The bin, from the lowest up.
    pub bin: u16,
    /// Units.
    pub units: u64,
}

/// Units of all bins.
pub(crate) fn total(bins: &[BinCount]) -> u64 {
    bins.iter().fold(0, |sum, bin| sum.saturating_add(bin.units))
}

/// Refuses bins out of order, and those that a phase with so many bins does not have.
pub(crate) fn check(list: &[BinCount], bins: usize) -> Result<(), Refused> {
    if !list.is_sorted_by(|a, b| a.bin < b.bin) {
        return Err(Refused::NotAscending { list: "bins" });
    }
    match list.last() {
        Some(last) if usize::from(last.bin) >= bins => Err(Refused::UnknownBin { bin: last.bin, bins }),
        _ => Ok(()),
    }
}
