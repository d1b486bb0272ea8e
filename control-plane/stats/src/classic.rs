//! The seed systems' rule, bit for bit; decides nothing, and is honest about being no test.
//!
//! Source: the write-ups this project started from. Equations: `r = (s+1)/(n+2)`, `δ = (r_e − r_c)/r_c` to 4 digits,
//! `confidence = min(1, (n_e + n_c)/5000)` to 3 digits. Assumptions: none are stated. Guarantee: none; `confidence` is a
//! sample counter, and the false-trip rate is set by the baseline rate. [`false_trip_rate`] says how often it errs.

use crate::math::{self, float};
use crate::refusal::{Refused, within};

/// Sample at which the write-ups call their confidence complete.
const CONFIDENT_UNITS: f64 = 5_000.0;

/// Units of one arm and how many of them had the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArmCount {
    /// Units enrolled.
    pub units: u64,
    /// Units that had the event; at most `units`.
    pub events: u64,
}

/// Smoothed rate: the mean of a Beta(1,1) prior updated by the arm, so never 0 and never 1.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub fn smoothed_rate(arm: ArmCount) -> f64 {
    (arm.events as f64 + 1.0) / (arm.units as f64 + 2.0)
}

/// Relative difference of the exposed rate against the control rate.
pub fn delta(rate_exposed: f64, rate_control: f64) -> f64 {
    (rate_exposed - rate_control) / rate_control
}

/// Sample progress of both arms, which the write-ups call confidence: min(1, n/5000), to 3 digits.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub fn confidence(units_exposed: u64, units_control: u64) -> f64 {
    rounded(((units_exposed + units_control) as f64 / CONFIDENT_UNITS).min(1.0), 3)
}

/// The fewest units of both arms at which [`confidence`] is `confidence_min`: its rounding lets it be reached a little early.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "confidence_min is 0 ..= 1, so this is 5,000 at most"
)]
pub fn units_for(confidence_min: f64) -> u64 {
    // One below where rounding lets it in, so that the last steps are decided by the rounding itself.
    let mut units = (CONFIDENT_UNITS * (confidence_min - 0.000_5) - 1.0).max(0.0) as u64;
    while confidence(units, 0) < confidence_min && confidence(units, 0) < 1.0 {
        units += 1;
    }
    units
}

/// `value` to so many decimal digits, as the write-ups' `round` does it: the decimal nearest to the exact binary value, the
/// even one of two that are equally near. Multiplying and dividing would round values like 0.00015 the other way.
pub fn rounded(value: f64, digits: usize) -> f64 {
    format!("{value:.digits$}").parse().unwrap_or(value)
}

/// Exponential moving average; the first value is taken as it is.
pub fn ema(previous: Option<f64>, value: f64, alpha: f64) -> f64 {
    // Two roundings, as in the write-ups: a fused multiply-add differs in the last bit.
    previous.map_or(value, |old| alpha * value + (1.0 - alpha) * old)
}

/// Expected false-trip rate at the first look: `Φ(−θ / sqrt((1−p)/p · (1/n_e + 1/n_c)))`.
///
/// `rate` is the baseline p, `threshold` the relative θ > 0. Looking again and again only raises it. `None` when an
/// arm is empty or the rate is outside (0, 1).
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub fn false_trip_rate(rate: f64, threshold: f64, units_exposed: u64, units_control: u64) -> Option<f64> {
    if units_exposed == 0 || units_control == 0 || rate <= 0.0 || rate >= 1.0 {
        return None;
    }
    let per_unit = (units_exposed as f64).recip() + (units_control as f64).recip();
    let sd = ((1.0 - rate) / rate * per_unit).sqrt();
    Some(normal_cdf(-threshold.abs() / sd))
}

/// Expected false-trip rate when the rule is looked at without a pause from the `first` sample to the `last`, each `(n_e, n_c)`.
/// `threshold` is the policy's: the rule trips below a negative one and above a positive one.
///
/// Source: the reflection principle. δ passes θ when `r_e − (1 + θ)·r_c` changes its sign, which moves as a Brownian motion W
/// in its own variance `v = (1−p)/p · (1/n_e + (1 + θ)²/n_c)`, read from `v(last)` up to `v(first)`; so the rate is
/// `P(W(v_last) ≤ −|θ|) + 2·P(W(v_first) ≤ −|θ| < W(v_last))`: twice that of the first look for a watch without an end. A normal
/// approximation for many events. `None` when an arm is empty, the rate is outside (0, 1), θ is 0, −1 or less, or no number, or
/// the last sample is smaller than the first.
pub fn false_trip_rate_watched(
    rate: f64,
    threshold: f64,
    first: (u64, u64),
    last: (u64, u64),
) -> Option<f64> {
    let is_threshold = threshold > -1.0 && threshold != 0.0 && threshold.is_finite();
    if !(rate > 0.0 && rate < 1.0 && is_threshold) {
        return None;
    }
    let weight = (1.0 + threshold) * (1.0 + threshold);
    let variance = |(exposed, control): (u64, u64)| {
        let is_empty = exposed == 0 || control == 0;
        (!is_empty).then(|| (1.0 - rate) / rate * (float(exposed).recip() + weight / float(control)))
    };
    let (early, late) = (variance(first)?, variance(last)?);
    if late > early {
        return None;
    }
    let threshold = threshold.abs();
    let at_last = math::normal_cdf(-threshold / late.sqrt());
    if late >= early {
        return Some(at_last);
    }
    // Simpson over where W is at the last sample: above the threshold, within nine deviations of what is likely and can return.
    let (likely, returns) = (9.0 * late.sqrt(), 9.0 * (early - late).sqrt());
    let (from, to) = ((-threshold).max(-likely), likely.min(returns - threshold));
    let width = (to - from).max(0.0) / 400.0;
    let further = (0..=400_u32).fold(0.0, |sum, at| {
        let x = from + f64::from(at) * width;
        let weight = if at == 0 || at == 400 { 1.0 } else { f64::from(2 + 2 * (at % 2)) };
        let density = math::exp(-0.5 * x * x / late) / (std::f64::consts::TAU * late).sqrt();
        sum + weight * density * math::normal_cdf(-(threshold + x) / (early - late).sqrt())
    });
    Some((at_last + 2.0 * further * width / 3.0).min(1.0))
}

/// Length of the windows over which [`Smoothed`] takes its rates: disjoint, aligned to midnight UTC.
pub const WINDOW_MS: u64 = 300_000;

/// Moving averages of both arms' rates, one step for each window in which the arm has units.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Smoothed {
    /// Of the exposed arm; `None` before its first unit.
    pub exposed: Option<f64>,
    /// Of control.
    pub control: Option<f64>,
    /// The window read last: milliseconds since 1970 over [`WINDOW_MS`].
    pub window: Option<u64>,
}

impl Smoothed {
    /// Reads a window that is over: its number, and by arm the rate of the units first exposed in it; `None` where the arm has
    /// none. Refuses a window that is not after the last, a rate that is no number from 0 on, and an `alpha` outside 0 to 1.
    pub fn read(
        &mut self,
        window: u64,
        exposed: Option<f64>,
        control: Option<f64>,
        alpha: f64,
    ) -> Result<(), Refused> {
        let alpha = within("alpha", alpha, 0.0, 1.0)?;
        if self.window.is_some_and(|last| window <= last) {
            return Err(Refused::WentBack);
        }
        for rate in [exposed, control].into_iter().flatten() {
            within("rate", rate, 0.0, f64::MAX)?;
        }
        let step = |before: Option<f64>, rate: Option<f64>| {
            rate.map_or(before, |rate| Some(ema(before, rate, alpha)))
        };
        self.exposed = step(self.exposed, exposed);
        self.control = step(self.control, control);
        self.window = Some(window);
        Ok(())
    }

    /// Both averages; `None` before both arms had units.
    pub fn both(&self) -> Option<(f64, f64)> {
        Some((self.exposed?, self.control?))
    }
}

/// The smallest sample at which the rule may decide, by arm: both arms have `units_min` units, the sample progress is
/// `confidence_min`, and `events_min` events are expected at the baseline `rate`. `buckets` are the arms' widths. `None`
/// when an arm is empty or the rate is outside (0, 1).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are positive and stay far below 2^53"
)]
pub fn first_admissible_look(
    buckets: (u32, u32),
    units_min: u64,
    confidence_min: f64,
    events_min: u64,
    rate: f64,
) -> Option<(u64, u64)> {
    let (exposed, control) = (f64::from(buckets.0), f64::from(buckets.1));
    if exposed == 0.0 || control == 0.0 || rate <= 0.0 || rate >= 1.0 {
        return None;
    }
    let share = exposed / (exposed + control);
    // Sample progress is compared after it is rounded to three digits.
    let progress = CONFIDENT_UNITS * (confidence_min - 0.000_5).max(0.0);
    let smaller = units_min as f64 / share.min(1.0 - share);
    let total = smaller.max(progress).max(events_min as f64 / rate).ceil();
    let units_exposed = (total * share).round();
    Some((units_exposed as u64, (total - units_exposed) as u64))
}

/// Φ(x) through erfc; Numerical Recipes' Chebyshev fit `erfcc`, relative error below 1.2e-7 everywhere.
fn normal_cdf(x: f64) -> f64 {
    0.5 * erfc(-x / std::f64::consts::SQRT_2)
}

fn erfc(x: f64) -> f64 {
    const FIT: [f64; 10] = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_87,
        -1.135_203_98,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_68,
        -1.265_512_23,
    ];
    let t = 1.0 / 0.5f64.mul_add(x.abs(), 1.0);
    let fit = FIT.iter().fold(0.0, |sum: f64, c| sum.mul_add(t, *c));
    let tail = t * (-x).mul_add(x, fit).exp();
    if x >= 0.0 { tail } else { 2.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_smoothed_by_one_success_and_one_failure() {
        for (events, units, rate) in [(0, 0, 0.5), (0, 8, 0.1), (3, 8, 0.4), (8, 8, 0.9)] {
            assert!((smoothed_rate(ArmCount { units, events }) - rate).abs() < 1e-15, "{events}/{units}");
        }
    }

    #[test]
    fn confidence_is_a_counter_that_ends_at_5000() {
        let rows =
            [((0, 0), 0.0), ((1_000, 500), 0.3), ((163, 3_087), 0.65), ((5_000, 0), 1.0), ((9_999, 1), 1.0)];
        for ((exposed, control), expected) in rows {
            assert!((confidence(exposed, control) - expected).abs() < 1e-15, "{exposed} {control}");
        }
        // 3,247.5 of 5,000 are 0.6495: rounded to 0.65 by nobody, since the nearest double is below it.
        assert!((confidence(3_247, 0) - 0.649).abs() < 1e-15 && (confidence(3_248, 0) - 0.65).abs() < 1e-15);
    }

    #[test]
    fn the_fewest_units_reach_the_confidence_and_one_less_does_not() {
        for (confidence_min, units) in [(0.0, 0), (0.04, 198), (0.65, 3_248), (1.0, 4_998)] {
            assert_eq!(units_for(confidence_min), units, "{confidence_min}");
        }
        for thousandths in 1..=1_000_u32 {
            let confidence_min = f64::from(thousandths) / 1_000.0;
            let units = units_for(confidence_min);
            assert!(confidence(units, 0) >= confidence_min, "{confidence_min}");
            assert!(confidence(units - 1, 0) < confidence_min, "{confidence_min}");
        }
    }

    #[test]
    fn digits_are_rounded_as_pythons_round_rounds_them() {
        // CPython 3.11: round(x, 4).
        let rows = [
            (-0.049_95, -0.05),
            (-0.050_049, -0.05),
            (-0.050_051, -0.0501),
            (0.000_15, 0.0001),
            (0.000_25, 0.0003),
        ];
        for (value, expected) in rows {
            assert!((rounded(value, 4) - expected).abs() < 1e-15, "{value}: {}", rounded(value, 4));
        }
    }

    #[test]
    fn the_first_admissible_look_meets_every_minimum() {
        let look = |buckets, units_min, confidence_min, rate| {
            first_admissible_look(buckets, units_min, confidence_min, 10, rate)
        };
        // The write-ups' 1,500 and 0.65: the progress of both arms comes later than 1,500 units in each.
        assert_eq!(look((100_000, 100_000), 1_500, 0.65, 0.4), Some((1_624, 1_624)));
        assert_eq!(look((50_000, 100_000), 1_500, 0.65, 0.4), Some((1_500, 3_000)), "the smaller arm binds");
        assert_eq!(look((100_000, 100_000), 1_500, 0.65, 0.001), Some((5_000, 5_000)), "ten events bind");
        assert_eq!(look((0, 100_000), 1_500, 0.65, 0.4), None);
    }

    #[test]
    fn the_average_starts_at_the_first_value_and_moves_by_alpha() {
        assert!((ema(None, -0.2, 0.3) - -0.2).abs() < 1e-15);
        assert!((ema(Some(0.0), -0.2, 0.3) - -0.06).abs() < 1e-15);
    }

    #[test]
    fn a_watch_errs_up_to_twice_as_often_as_its_first_look() {
        // scipy.integrate.quad and norm: the two probabilities of the formula, the same number of units in both arms.
        let rows = [
            (0.4, -0.05, 1624, 20_000, 0.232_960_511_168_252_92),
            (0.05, -0.05, 1624, 20_000, 0.723_746_161_257_425_5),
            (0.4, -0.2, 150, 151, 0.066_813_988_290_837_1),
            (0.05, 0.5, 1624, 4000, 0.010_338_575_847_103_796),
        ];
        for (rate, threshold, first, last, expected) in rows {
            let found = false_trip_rate_watched(rate, threshold, (first, first), (last, last)).unwrap();
            assert!((found - expected).abs() < 1e-7, "{rate} {threshold} {found} {expected}");
        }
        let watched = |last| false_trip_rate_watched(0.4, -0.05, (1_500, 3_000), last).unwrap();
        let first = watched((1_500, 3_000));
        let at_first = false_trip_rate(0.4, 0.05, 1_500, 3_000).unwrap();
        assert!(first < at_first && first > 0.9 * at_first, "{first} {at_first}");
        assert!((watched((u64::MAX, u64::MAX)) - 2.0 * first).abs() < 1e-9);
    }

    #[test]
    fn a_watch_that_cannot_be_is_none() {
        for (rate, threshold, first, last) in [
            (0.4, -0.05, (0, 9), (9, 9)),
            (0.0, -0.05, (9, 9), (9, 9)),
            (0.4, f64::NAN, (9, 9), (9, 9)),
            (0.4, 0.0, (9, 9), (9, 9)),
            (0.4, -1.0, (9, 9), (9, 9)),
            (0.4, 0.05, (9, 9), (8, 9)),
        ] {
            assert_eq!(false_trip_rate_watched(rate, threshold, first, last), None);
        }
    }

    #[test]
    fn averages_move_once_a_window_and_not_for_empty_ones() {
        let mut smoothed = Smoothed::default();
        smoothed.read(7, Some(0.4), None, 0.3).unwrap();
        assert_eq!(smoothed.both(), None);
        smoothed.read(9, None, Some(0.4), 0.3).unwrap();
        assert_eq!(smoothed.both(), Some((0.4, 0.4)));
        smoothed.read(10, Some(0.1), Some(0.4), 0.3).unwrap();
        let (exposed, control) = smoothed.both().unwrap();
        // 0.3 · 0.1 + 0.7 · 0.4 = 0.31 against 0.4.
        assert!((exposed - 0.31).abs() < 1e-12 && (control - 0.4).abs() < 1e-12);
        let before = smoothed;
        assert_eq!(smoothed.read(10, Some(0.1), Some(0.1), 0.3), Err(Refused::WentBack));
        for (rate, alpha) in [(f64::NAN, 0.3), (-0.1, 0.3), (f64::INFINITY, 0.3), (0.1, f64::NAN), (0.1, 1.1)]
        {
            assert!(smoothed.read(11, Some(rate), Some(0.1), alpha).is_err(), "{rate} {alpha}");
        }
        assert_eq!(smoothed, before);
    }

    #[test]
    fn normal_quantiles_come_back_as_their_probabilities() {
        // Standard table values.
        for (x, p) in [(0.0, 0.5), (-1.644_853_627, 0.05), (-2.326_347_874, 0.01), (1.959_963_985, 0.975)] {
            assert!((normal_cdf(x) - p).abs() < 1e-6, "{x}");
        }
    }

    #[test]
    fn the_false_trip_rate_is_set_by_the_baseline() {
        // The design's own numbers at n_e = n_c = 3,250 and θ = 5 %: about 5 % at p = 0.4, 32 % at p = 0.05.
        let at = |p| false_trip_rate(p, 0.05, 3_250, 3_250).unwrap();
        assert!((at(0.4) - 0.05).abs() < 0.01, "{}", at(0.4));
        assert!((at(0.05) - 0.32).abs() < 0.01, "{}", at(0.05));
        assert_eq!(false_trip_rate(0.4, 0.05, 0, 10), None);
    }
}
