//! Values per unit (revenue, counts, bytes): an exact conditional test of bounded scores, without moments of the future.
//!
//! Source: Koning, arXiv 2310.01153 (post-hoc and sequential permutation tests); conditional Poisson sampling (Chen, Dempster and
//! Liu 1994) for the sum. Equation: for the n units of a matured slot, `n_e` of them exposed, with scores x of their bins,
//! `L = exp(λ Σ_exposed x) / (mean over all choices of n_e of the n units of exp(λ Σ x))`; the mean is
//! `e_{n_e}(exp(λx_1), …)/C(n, n_e)`, e the elementary symmetric polynomial; `λ_k = δ_k·μ̂/σ̂²`, `δ_k = d·θ·{½,1,2,4,8}`, μ̂ and σ̂²
//! of control slots read before. Assumptions: which units of the slot are exposed was drawn by the bucket alone; bins, scores
//! and λ were fixed before, λ but for a bound that the slot's values together set: they are given, and only who has them is not. Guarantee: an expectation of exactly 1 when exposed and control values have one distribution, of
//! whatever shape: the cap bounds what one unit can do. For "at least as good" in likelihood-ratio order it held in every case
//! tried and is not proved. For 0/1 values it *is* the kernel.
//! Numerics: `e_r = Π(1 + ρy)·ρ^−r·P(r of independent units are chosen, each with the chance ρy/(1 + ρy))` for every ρ; at the ρ
//! where r are expected nothing overflows and nothing cancels. Probabilities below 1e-26 of the largest are left out.

use crate::bins::{BinCount, check, total};
use crate::grid::{EFFECTS, Harm, THETA, WEIGHTS};
use crate::math::{exp, float, ln_add};
use crate::mixture::Mixture;
use crate::refusal::{Refused, within};

/// Bins of values that a phase can have.
pub const BINS_MAX: usize = 64;
/// The most units of a slot, both arms together.
pub const SLOT_UNITS_MAX: u64 = 1_000_000;
/// The largest |λ| times the span of a slot's scores.
const TILT_MAX: f64 = 50.0;
/// Probabilities below it, relative to the largest, are left out.
const NEGLIGIBLE: f64 = 1e-26;

/// What a unit in each bin counts for; frozen for a phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    scores: [f64; BINS_MAX],
    bins: usize,
}

/// Count, sum and sum of squares of scores.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moments {
    /// Units.
    pub units: u64,
    /// Σ x.
    pub sum: f64,
    /// Σ x².
    pub squares: f64,
}

/// Evidence that exposed values are worse: 11 numbers of the mixture, three of the past, five of the gate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Values {
    /// The evidence.
    pub mixture: Mixture<EFFECTS>,
    /// Control units of the past: first the history that fixed the bins, then every slot read.
    pub past: Moments,
    /// Log-likelihood for harm θ since it was last 0.
    pub cusum: f64,
    /// Exposed and control units since then.
    pub since: [Moments; 2],
}

impl Scores {
    /// One score for each bin of 2 to 64: ascending, finite, within ±1e15.
    pub fn new(scores: &[f64]) -> Result<Self, Refused> {
        #[expect(clippy::cast_precision_loss, reason = "a length")]
        within("bins", scores.len() as f64, 2.0, 64.0)?;
        for score in scores {
            within("score", *score, -1e15, 1e15)?;
        }
        if !scores.is_sorted_by(|a, b| a < b) {
            return Err(Refused::NotAscending { list: "scores" });
        }
        let mut places = [0.0; BINS_MAX];
        for (place, score) in places.iter_mut().zip(scores) {
            *place = *score;
        }
        Ok(Self { scores: places, bins: scores.len() })
    }

    fn of(&self, bin: u16) -> f64 {
        self.scores.get(usize::from(bin)).copied().unwrap_or(0.0)
    }

    /// Count, sum and sum of squares of these units' scores.
    pub fn moments(&self, list: &[BinCount]) -> Result<Moments, Refused> {
        check(list, self.bins)?;
        let mut moments = Moments::default();
        for found in list {
            let (score, units) = (self.of(found.bin), float(found.units));
            moments.units = moments.units.saturating_add(found.units);
            moments.sum += units * score;
            moments.squares += units * score * score;
        }
        Ok(moments)
    }
}

impl Moments {
    /// The mean; `None` of nobody.
    pub fn mean(&self) -> Option<f64> {
        (self.units > 0).then(|| self.sum / float(self.units))
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            units: self.units.saturating_add(other.units),
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
        }
    }

    /// μ̂/σ̂², 0 where either is not above 0: a metric whose mean is not positive has no relative harm.
    fn tilt(&self) -> f64 {
        let mean = self.mean().unwrap_or(0.0);
        let variance = self.squares / float(self.units.max(1)) - mean * mean;
        // Below this the difference of squares is rounding.
        let has_spread = variance > 1e-12 * mean * mean;
        if mean > 0.0 && has_spread { mean / variance } else { 0.0 }
    }

    fn is_sound(&self) -> bool {
        self.sum.is_finite() && self.squares.is_finite() && self.squares >= 0.0
    }
}

impl Values {
    /// At the start of an attempt, with the control history that fixed the bins.
    pub fn from_history(past: Moments) -> Self {
        Self { mixture: Mixture::default(), past, cusum: 0.0, since: [Moments::default(); 2] }
    }

    /// Reads a matured slot with the λ of the past, then adds its control units to the past. Gives the logarithms of the factors
    /// that it multiplied, for a sentinel to read as well.
    pub fn fold(
        &mut self,
        scores: &Scores,
        harm: &Harm,
        exposed: &[BinCount],
        control: &[BinCount],
    ) -> Result<[f64; EFFECTS], Refused> {
        self.check()?;
        let slot = [scores.moments(exposed)?, scores.moments(control)?];
        let units = total(exposed).saturating_add(total(control));
        if units > SLOT_UNITS_MAX {
            return Err(Refused::TooManyUnits { units, limit: SLOT_UNITS_MAX });
        }
        let [of_exposed, of_control] = slot;
        let pooled = pooled(scores, exposed, control);
        // The slot's values are given, so their span may bound λ; the bins that nobody is in may not.
        let largest = TILT_MAX / span(&pooled);
        let tilts = harm.changes().map(|change| (change * self.past.tilt()).clamp(-largest, largest));
        let factors = tilts.map(|tilt| log_factor(&pooled, tilt));
        let mut after = *self;
        after.mixture.fold(&factors, of_exposed.units)?;
        after.cusum = (self.cusum + factors.get(THETA).copied().unwrap_or(0.0)).clamp(0.0, 1e9);
        let [exposed_since, control_since] = &self.since;
        after.since = if after.cusum == 0.0 {
            [Moments::default(); 2]
        } else {
            [exposed_since.plus(&of_exposed), control_since.plus(&of_control)]
        };
        after.past = self.past.plus(&of_control);
        *self = after;
        Ok(factors)
    }

    /// E.
    pub fn evidence(&self) -> f64 {
        self.mixture.evidence(&WEIGHTS)
    }

    /// The relative change of means since harm was last ruled out; `None` without units, or when control's mean is not above 0.
    pub fn change(&self) -> Option<f64> {
        let [exposed, control] = &self.since;
        let mean = control.mean().filter(|mean| *mean > 0.0)?;
        Some(exposed.mean()? / mean - 1.0)
    }

    /// Whether a trip may pass: that change is beyond θ/2 in the harmful direction.
    pub fn is_open(&self, harm: &Harm) -> bool {
        self.change().is_some_and(|change| harm.is_beyond_half(change))
    }

    /// Refuses a state that no evidence leads to.
    pub fn check(&self) -> Result<(), Refused> {
        let are_sound = self.past.is_sound() && self.since.iter().all(Moments::is_sound);
        if !are_sound || !(0.0..=1e9).contains(&self.cusum) {
            return Err(Refused::CorruptState);
        }
        self.mixture.check()
    }
}

/// Units of a slot that have one score.
struct Group {
    /// The score less the slot's mean.
    score: f64,
    units: u64,
    exposed: u64,
}

/// A slot's units by score, the largest group last.
fn pooled(scores: &Scores, exposed: &[BinCount], control: &[BinCount]) -> Vec<Group> {
    let units_in = |list: &[BinCount], bin: u16| {
        list.binary_search_by_key(&bin, |found| found.bin)
            .ok()
            .and_then(|at| list.get(at))
            .map_or(0, |f| f.units)
    };
    let mut groups: Vec<Group> = (0..=u16::MAX)
        .take(scores.bins)
        .map(|bin| {
            let of_exposed = units_in(exposed, bin);
            Group { score: scores.of(bin), units: of_exposed + units_in(control, bin), exposed: of_exposed }
        })
        .filter(|group| group.units > 0)
        .collect();
    let units: u64 = groups.iter().map(|group| group.units).sum();
    let mean = groups.iter().map(|group| float(group.units) * group.score).sum::<f64>() / float(units.max(1));
    for group in &mut groups {
        group.score -= mean;
    }
    groups.sort_by_key(|group| group.units);
    groups
}

/// From the lowest score of a slot to the highest; infinite where there are no two, and λ is nothing.
fn span(groups: &[Group]) -> f64 {
    let scores = || groups.iter().map(|group| group.score);
    let span = scores().fold(f64::NEG_INFINITY, f64::max) - scores().fold(f64::INFINITY, f64::min);
    if span > 0.0 { span } else { f64::INFINITY }
}

/// ln L of a slot at λ; 0 when its split says nothing.
fn log_factor(groups: &[Group], tilt: f64) -> f64 {
    let units: u64 = groups.iter().map(|group| group.units).sum();
    let chosen: u64 = groups.iter().map(|group| group.exposed).sum();
    if tilt == 0.0 || chosen == 0 || chosen == units || groups.len() < 2 {
        return 0.0;
    }
    let found: f64 = groups.iter().map(|group| float(group.exposed) * group.score * tilt).sum();
    let (all, chosen) = (float(units), float(chosen));
    let tilted: Vec<(f64, f64)> =
        groups.iter().map(|group| (group.score * tilt, float(group.units))).collect();
    // Equal units: ρ is chosen/(all − chosen), and the polynomial is C(n, n_e).
    let even = [(0.0, all)];
    found - (log_symmetric(&tilted, chosen) - log_symmetric(&even, chosen))
}

/// `ln e_r` of units with ln y and a multiplicity each, 0 < r < their number.
fn log_symmetric(units: &[(f64, f64)], chosen: f64) -> f64 {
    let rho = log_rho(units, chosen);
    let product: f64 = units.iter().map(|(log, units)| units * ln_add(0.0, rho + log)).sum();
    let mut sum = vec![1.0];
    let mut first = 0.0;
    let mut last = None;
    for (log, units) in units {
        if let Some((start, spread)) = last.replace(binomial(*units, rho + log)) {
            first += start;
            sum = convolved(&sum, &spread);
            first += trim(&mut sum);
        }
    }
    // The last group is not spread out: only the terms that meet r are summed.
    let chance =
        last.map_or(0.0, |(start, spread): (f64, Vec<f64>)| meeting(&sum, &spread, chosen - first - start));
    product - chosen * rho + crate::math::ln(chance)
}

/// ln ρ at which `chosen` units are expected, by Newton's method between bounds.
fn log_rho(units: &[(f64, f64)], chosen: f64) -> f64 {
    let all: f64 = units.iter().map(|(_, units)| units).sum();
    let even = crate::math::ln(chosen / (all - chosen));
    let logs = || units.iter().map(|(log, _)| *log);
    let (mut low, mut high) = (even - logs().fold(0.0, f64::max), even - logs().fold(0.0, f64::min));
    let mut at = even;
    for _ in 0..60 {
        let (mut expected, mut slope) = (0.0, 0.0);
        for (log, units) in units {
            let chance = (1.0 + exp(-(at + log))).recip();
            expected += units * chance;
            slope += units * chance * (1.0 - chance);
        }
        if (expected - chosen).abs() <= 1e-6 {
            break;
        }
        if expected < chosen {
            low = at;
        } else {
            high = at;
        }
        let next = at + (chosen - expected) / slope;
        at = if next > low && next < high { next } else { 0.5 * (low + high) };
    }
    at
}

/// Binomial probabilities from the first that is not negligible on: of `units` with the log odds given.
fn binomial(units: f64, log_odds: f64) -> (f64, Vec<f64>) {
    let odds = exp(log_odds);
    let mode = ((units + 1.0) * odds / (1.0 + odds)).floor().clamp(0.0, units);
    let mut below = Vec::new();
    let (mut at, mut weight) = (mode, 1.0);
    while at > 0.0 && weight > NEGLIGIBLE {
        weight *= at / ((units - at + 1.0) * odds);
        at -= 1.0;
        below.push(weight);
    }
    let first = at;
    let mut spread: Vec<f64> = below.into_iter().rev().collect();
    (at, weight) = (mode, 1.0);
    spread.push(weight);
    while at < units && weight > NEGLIGIBLE {
        weight *= (units - at) * odds / (at + 1.0);
        at += 1.0;
        spread.push(weight);
    }
    let sum: f64 = spread.iter().sum();
    for chance in &mut spread {
        *chance /= sum;
    }
    (first, spread)
}

fn convolved(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; (a.len() + b.len()).saturating_sub(1)];
    for (at, left) in a.iter().enumerate() {
        for (place, right) in sum.iter_mut().skip(at).zip(b) {
            *place += left * right;
        }
    }
    sum
}

/// Cuts negligible ends off; how many were cut at the front.
fn trim(spread: &mut Vec<f64>) -> f64 {
    let least = NEGLIGIBLE * spread.iter().copied().fold(0.0, f64::max);
    while spread.last().is_some_and(|chance| *chance < least) {
        spread.pop();
    }
    let front = spread.iter().take_while(|chance| **chance < least).count();
    spread.drain(..front);
    #[expect(clippy::cast_precision_loss, reason = "a length")]
    let cut = front as f64;
    cut
}

/// `Σ a_i b_j` with i + j = `together`.
fn meeting(a: &[f64], b: &[f64], together: f64) -> f64 {
    let mut partner = together;
    let mut sum = 0.0;
    for left in a {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an integer of 0 or more"
        )]
        let right = if partner >= 0.0 { b.get(partner as usize) } else { None };
        sum += left * right.unwrap_or(&0.0);
        partner -= 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Block;
    use crate::classic::ArmCount;
    use crate::grid::Direction;
    use crate::kernel::{Odds, log_ratios};

    fn bins(units: &[u64]) -> Vec<BinCount> {
        let listed = units.iter().zip(0_u16..).filter(|(units, _)| **units > 0);
        listed.map(|(units, bin)| BinCount { bin, units: *units }).collect()
    }

    fn factor(scores: &[f64], exposed: &[u64], control: &[u64], tilt: f64) -> f64 {
        log_factor(&pooled(&Scores::new(scores).unwrap(), &bins(exposed), &bins(control)), tilt)
    }

    /// Scores, exposed and control units by bin, λ, and the logarithm of the factor.
    type Row = (&'static [f64], &'static [u64], &'static [u64], f64, f64);

    #[test]
    fn factors_agree_with_the_polynomial_at_forty_digits() {
        // mpmath: scores, exposed and control units by bin, λ.
        let rows: [Row; 5] = [
            (&[0.0, 1.0], &[9, 3], &[8, 12], -0.7, 1.369_923_368_170_962_8),
            (&[0.0, 1.0, 5.0, 20.0], &[6, 2, 1, 0], &[5, 3, 2, 1], -0.15, 0.751_824_697_705_525_7),
            (&[0.0, 2.0, 10.0, 80.0], &[470, 20, 8, 2], &[1880, 70, 35, 15], -0.02, -0.322_912_571_962_877),
            (&[0.0, 2.0, 10.0, 80.0], &[470, 20, 8, 2], &[1880, 70, 35, 15], -0.3, -62.190_956_599_724_66),
            (&[0.0, 1.0, 3.0, 9.0], &[1, 0, 0, 2], &[40, 30, 20, 7], 0.4, 2.619_498_894_054_394_6),
        ];
        for (scores, exposed, control, tilt, expected) in rows {
            let found = factor(scores, exposed, control, tilt);
            assert!((found - expected).abs() < 1e-11, "{scores:?} {tilt} {found} {expected}");
        }
    }

    #[test]
    fn for_zero_and_one_it_is_the_kernel() {
        for tilt in [-3.0, -0.4, 0.01, 2.0] {
            let arm = |units, events| ArmCount { units, events };
            let block = Block::new(arm(120, 31), arm(480, 160)).unwrap();
            let odds = [Odds::EVEN, Odds::new(exp(tilt)).unwrap()];
            let found = factor(&[0.0, 1.0], &[89, 31], &[320, 160], tilt);
            assert!((found - log_ratios(&block, &odds)[1]).abs() < 1e-11, "{tilt}");
        }
    }

    #[test]
    fn expectations_are_one_over_all_assignments() {
        // 10 units, 4 of them exposed: every choice once, whatever the values.
        let values = [0_usize, 0, 0, 0, 1, 1, 2, 2, 3, 3];
        let scores = [0.0, 0.5, 7.0, 100.0];
        for tilt in [-0.5, -0.05, 0.02] {
            let (mut sum, mut choices) = (0.0, 0.0);
            for mask in 0..1_u32 << 10 {
                if mask.count_ones() != 4 {
                    continue;
                }
                let mut arms = [[0_u64; 4]; 2];
                for (unit, bin) in values.iter().enumerate() {
                    arms[usize::from(mask >> unit & 1 == 0)][*bin] += 1;
                }
                sum += factor(&scores, &arms[0], &arms[1], tilt).exp();
                choices += 1.0;
            }
            assert!((sum / choices - 1.0).abs() < 1e-12, "{tilt} {}", sum / choices);
        }
    }

    #[test]
    fn a_slot_of_a_million_with_one_enormous_value_is_finite() {
        let factor = factor(&[0.0, 1.0, 1e9], &[500_000, 1, 1], &[499_990, 7, 1], -5e-8);
        assert!(factor.is_finite() && factor.abs() < 60.0, "{factor}");
    }

    fn history(scores: &Scores) -> Moments {
        scores.moments(&bins(&[900, 60, 30, 10])).unwrap()
    }

    #[test]
    fn lower_values_trip_and_equal_or_better_ones_do_not() {
        let scores = Scores::new(&[0.0, 5.0, 20.0, 60.0]).unwrap();
        let harm = Harm::new(0.2, Direction::DecreaseIsHarm).unwrap();
        let run = |exposed: &[u64]| {
            let mut values = Values::from_history(history(&scores));
            for _ in 0..60 {
                values.fold(&scores, &harm, &bins(exposed), &bins(&[180, 12, 6, 2])).unwrap();
            }
            (values.evidence(), values.is_open(&harm))
        };
        let (equal, is_open) = run(&[180, 12, 6, 2]);
        assert!(equal < 1.0 && !is_open);
        assert!(run(&[160, 20, 14, 6]).0 < 1.0);
        let (worse, is_open) = run(&[190, 7, 3, 0]);
        assert!(worse > 1_000.0 && is_open, "{worse}");
    }

    #[test]
    fn bins_that_nobody_is_in_take_no_power() {
        let harm = Harm::new(0.2, Direction::DecreaseIsHarm).unwrap();
        let run = |highest: f64| {
            let scores = Scores::new(&[0.0, 5.0, 20.0, highest]).unwrap();
            let mut values = Values::from_history(Moments::default());
            for _ in 0..40 {
                values.fold(&scores, &harm, &bins(&[190, 7, 3]), &bins(&[180, 12, 8])).unwrap();
            }
            values.evidence()
        };
        assert!(run(60.0) > 1_000.0);
        assert_eq!(run(60.0).to_bits(), run(1e9).to_bits());
    }

    #[test]
    fn the_tilt_is_of_the_past_only() {
        let scores = Scores::new(&[0.0, 5.0, 20.0, 60.0]).unwrap();
        let harm = Harm::new(0.2, Direction::DecreaseIsHarm).unwrap();
        let mut values = Values::from_history(Moments::default());
        values.fold(&scores, &harm, &bins(&[190, 7, 3, 0]), &bins(&[180, 12, 6, 2])).unwrap();
        assert!((values.evidence() - 1.0).abs() < 1e-12, "no past, no tilt");
        assert_eq!(values.past.units, 200);
        values.fold(&scores, &harm, &bins(&[190, 7, 3, 0]), &bins(&[180, 12, 6, 2])).unwrap();
        assert!(values.evidence() > 1.0);
    }

    #[test]
    fn a_mean_below_zero_or_without_spread_has_no_tilt() {
        for (scores, past) in [([-5.0, -1.0], [5, 5]), ([1.0, 2.0], [0, 10])] {
            let scores = Scores::new(&scores).unwrap();
            assert_eq!(scores.moments(&bins(&past)).unwrap().tilt().to_bits(), 0.0_f64.to_bits());
        }
    }

    #[test]
    fn unsound_input_is_refused_whole() {
        let scores = Scores::new(&[0.0, 1.0]).unwrap();
        let harm = Harm::new(0.2, Direction::DecreaseIsHarm).unwrap();
        let start = Values::from_history(scores.moments(&bins(&[5, 5])).unwrap());
        let mut values = start;
        let refused = values.fold(&scores, &harm, &bins(&[1, 1, 1]), &bins(&[1])).unwrap_err();
        assert_eq!(refused.code(), "unknown_bin");
        let refused = values.fold(&scores, &harm, &bins(&[1_000_000]), &bins(&[0, u64::MAX])).unwrap_err();
        assert_eq!(refused.code(), "too_many_units");
        assert_eq!(values, start);
        let mut corrupt = Values { cusum: f64::NAN, ..start };
        assert_eq!(corrupt.fold(&scores, &harm, &[], &[]), Err(Refused::CorruptState));
        for scores in [&[0.0][..], &[1.0, 1.0], &[2.0, 1.0], &[0.0, f64::NAN], &[0.0; 65]] {
            assert!(Scores::new(scores).is_err());
        }
    }
}
