//! Relative p95: latencies as a count of units above a threshold that earlier control units set.
//!
//! Source: the sign test for quantiles (Conover 1999, 3.2) with the kernel; DDSketch bins (Masson, Rim and Lee 2019). Equation:
//! q is the upper edge of the bin that holds the 95th percentile of all control samples read before;
//! `s_e = #{X_e > q}`, `s_c = #{X_c > q/(1 + τ)}`, the tolerance τ in whole bins; the grid has exceedances of 5 % times
//! {1.15, 1.35, 1.75, 2.5, 5}. Assumptions: one sample a unit, bins with constant quotients. Guarantee: the kernel's, whenever
//! exposed latency is stochastically at most (1 + τ) times control latency around q: q is fixed before the block is read.

use crate::bins::{BinCount, check, total};
use crate::block::Block;
use crate::classic::ArmCount;
use crate::grid::{EFFECTS, Grid};
use crate::math::{float, ln, ln_1p};
use crate::refusal::{Refused, within};

/// Control samples that a threshold needs.
pub const SAMPLES_MIN: u64 = 200;
/// Share of control samples above the threshold.
pub const SHARE: f64 = 0.05;
/// Bins that a history can have: those of latencies, with room.
pub const BINS_MAX: usize = 2_048;

/// Exceedances of the grid over [`SHARE`].
pub(crate) const RATIOS: [f64; EFFECTS] = [1.15, 1.35, 1.75, 2.5, 5.0];
/// Quotient of neighbouring edges, 1.01/0.99: bins of relative accuracy 1 %.
const GAMMA: f64 = 1.01 / 0.99;

/// Control samples of all slots read so far, as sorted bins: as many numbers as bins that occurred.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PastLatency {
    /// Counts by bin, ascending.
    pub bins: Vec<BinCount>,
}

/// What a slot is compared at: bins *above* these exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// For the exposed arm: the bin of control's p95.
    pub exposed: u16,
    /// For control: so many bins of tolerance below.
    pub control: u16,
}

/// The grid for [`Grid::log_factors`]: exceedances of 5 % × {1.15, 1.35, 1.75, 2.5, 5}; the second, +35 %, is its θ.
pub fn grid() -> Result<Grid, Refused> {
    Grid::of_ratios(SHARE, &RATIOS)
}

/// The tolerance τ (0.1: +10 %) in whole bins, at least as near as any other number: 5 for +10 %. Up to 10, that is +1,000 %.
pub fn tolerance_bins(tolerance: f64) -> Result<u16, Refused> {
    let bins = ln_1p(within("tolerance", tolerance, 0.0, 10.0)?) / ln(GAMMA);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 120")]
    let whole = (bins + 0.5) as u16;
    Ok(whole)
}

impl PastLatency {
    /// Adds a slot's control samples. Call it after the slot was read, never before.
    pub fn remember(&mut self, control: &[BinCount]) -> Result<(), Refused> {
        check(control, BINS_MAX)?;
        check(&self.bins, BINS_MAX)?;
        for found in control {
            match self.bins.binary_search_by_key(&found.bin, |known| known.bin) {
                Ok(at) => {
                    if let Some(known) = self.bins.get_mut(at) {
                        known.units = known.units.saturating_add(found.units);
                    }
                }
                Err(at) => self.bins.insert(at, *found),
            }
        }
        Ok(())
    }

    /// The threshold to read the next slot with; `None` with fewer than [`SAMPLES_MIN`] samples.
    pub fn threshold(&self, tolerance_bins: u16) -> Option<Threshold> {
        let total = total(&self.bins);
        // The sample of rank ⌈0.95 n⌉, in integers.
        let rank = total - total / 20;
        let mut below = 0_u64;
        let found = self.bins.iter().find(|bin| {
            below = below.saturating_add(bin.units);
            below >= rank
        });
        let exposed = found.filter(|_| total >= SAMPLES_MIN)?.bin;
        Some(Threshold { exposed, control: exposed.saturating_sub(tolerance_bins) })
    }
}

impl Threshold {
    /// A slot's units by bin as a block of exceedances.
    pub fn block(&self, exposed: &[BinCount], control: &[BinCount]) -> Result<Block, Refused> {
        check(exposed, BINS_MAX)?;
        check(control, BINS_MAX)?;
        Block::new(above(exposed, self.exposed), above(control, self.control))
    }
}

fn above(bins: &[BinCount], threshold: u16) -> ArmCount {
    let slow = bins.iter().filter(|bin| bin.bin > threshold);
    let events = slow.fold(0, |sum: u64, bin| sum.saturating_add(bin.units));
    ArmCount { units: total(bins), events }
}

/// Share of a sample above its threshold, for display.
pub fn share_above(block: &Block) -> Option<(f64, f64)> {
    let share = |arm: ArmCount| (arm.units > 0).then(|| float(arm.events) / float(arm.units));
    Some((share(block.exposed())?, share(block.control())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bins(counts: &[(u16, u64)]) -> Vec<BinCount> {
        counts.iter().map(|(bin, units)| BinCount { bin: *bin, units: *units }).collect()
    }

    #[test]
    fn the_threshold_is_the_bin_of_the_95th_percentile_of_the_past() {
        let mut past = PastLatency::default();
        past.remember(&bins(&[(100, 100), (200, 89)])).unwrap();
        assert_eq!(past.threshold(5), None, "189 samples");
        past.remember(&bins(&[(150, 1), (300, 10)])).unwrap();
        // 200 samples: the 190th is the last one of bin 200, and the 191st the first of bin 300.
        assert_eq!(past.threshold(5), Some(Threshold { exposed: 200, control: 195 }));
        past.remember(&bins(&[(300, 1)])).unwrap();
        assert_eq!(past.threshold(5).unwrap().exposed, 300, "⌈0.95 · 201⌉ = 191");
        assert_eq!(past.bins, bins(&[(100, 100), (150, 1), (200, 89), (300, 11)]));
    }

    #[test]
    fn tolerance_is_rounded_to_whole_bins() {
        for (tolerance, expected) in [(0.0, 0), (0.009, 0), (0.011, 1), (0.1, 5), (1.0, 35), (10.0, 120)] {
            assert_eq!(tolerance_bins(tolerance), Ok(expected), "{tolerance}");
        }
        assert!(tolerance_bins(-0.1).is_err() && tolerance_bins(f64::NAN).is_err());
    }

    #[test]
    fn each_arm_is_counted_above_its_own_bin() {
        let threshold = Threshold { exposed: 200, control: 195 };
        let found = threshold
            .block(&bins(&[(196, 4), (200, 3), (201, 2)]), &bins(&[(195, 7), (196, 4), (300, 1)]))
            .unwrap();
        assert_eq!(found.exposed(), ArmCount { units: 9, events: 2 });
        assert_eq!(found.control(), ArmCount { units: 12, events: 5 });
        assert_eq!(share_above(&found), Some((2.0 / 9.0, 5.0 / 12.0)));
    }

    #[test]
    fn bins_out_of_order_or_unknown_are_refused() {
        let mut past = PastLatency::default();
        assert_eq!(past.remember(&bins(&[(2, 1), (2, 1)])).unwrap_err().code(), "not_ascending");
        assert_eq!(past.remember(&bins(&[(2_048, 1)])).unwrap_err().code(), "unknown_bin");
        let threshold = Threshold { exposed: 1, control: 1 };
        assert!(threshold.block(&bins(&[(3, 1), (2, 1)]), &[]).is_err());
        assert_eq!(past, PastLatency::default());
    }

    #[test]
    fn the_grid_has_the_odds_of_its_exceedances() {
        for (odds, ratio) in grid().unwrap().odds()[1..].iter().zip(RATIOS) {
            let slow = 0.05 * ratio;
            assert!((odds.ratio() - slow / (1.0 - slow) * 19.0).abs() < 1e-12);
        }
    }
}
