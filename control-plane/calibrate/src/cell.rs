//! A cell of the grid: a situation that is met again and again, what is noted of each launch, and the bars that the figures are held
//! against.

use anyhow::Result;

use crate::bounds::{bounds, quantile};

/// What one launch came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    /// Whether what is counted happened: a trip, a close, an alarm.
    pub hit: bool,
    /// What is measured, in the order of the cell's numbers; infinite where it never came to it.
    pub numbers: Vec<f64>,
}

impl Sample {
    /// Counted only.
    pub const fn of(hit: bool) -> Self {
        Self { hit, numbers: Vec::new() }
    }
}

/// What a figure has to keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// The share of launches that hit, with its upper bound.
    Share {
        /// The aim.
        at_most: f64,
        /// What the upper bound may be.
        upper: f64,
    },
    /// The share of launches that hit.
    AtLeast(f64),
    /// A quantile of a number.
    Quantile {
        /// Which number.
        number: usize,
        /// Which quantile, 0 to 1.
        p: f64,
        /// What it may be.
        at_most: f64,
    },
    /// The mean of a number.
    Mean {
        /// Which number.
        number: usize,
        /// What it may be.
        at_most: f64,
    },
}

/// What a bar says of the samples so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is kept.
    Yes,
    /// It is not, by chance perhaps.
    Unclear,
    /// It is not, beyond the bound.
    No,
}

/// A figure with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// The estimate.
    pub value: f64,
    /// Between these with 95 %.
    pub lower: f64,
    /// See [`Self::lower`].
    pub upper: f64,
}

/// A situation.
pub struct Cell {
    /// By this it is called on the command line; part of its launches' seeds.
    pub name: String,
    /// In a sentence.
    pub what: String,
    /// What is measured of a launch.
    pub numbers: Vec<&'static str>,
    /// What has to be kept.
    pub bars: Vec<Bar>,
    /// Launches of a full calibration.
    pub repetitions: u64,
    /// Launches where the first ones leave a bar unclear.
    pub repetitions_max: u64,
    /// A launch, from its seed.
    pub launch: Launch,
}

/// See [`Cell::launch`].
pub type Launch = Box<dyn Fn(u64) -> Result<Sample> + Send + Sync>;

impl Cell {
    /// A cell without numbers and bars.
    pub fn new(
        name: impl Into<String>,
        what: impl Into<String>,
        repetitions: u64,
        launch: impl Fn(u64) -> Result<Sample> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            what: what.into(),
            numbers: Vec::new(),
            bars: Vec::new(),
            repetitions,
            repetitions_max: repetitions,
            launch: Box::new(launch),
        }
    }

    /// With a bar.
    #[must_use]
    pub fn bar(mut self, bar: Bar) -> Self {
        self.bars.push(bar);
        self
    }

    /// Measures something.
    #[must_use]
    pub fn number(mut self, number: &'static str) -> Self {
        self.numbers.push(number);
        self
    }

    /// Goes on up to so many launches where a bar is unclear.
    #[must_use]
    pub const fn up_to(mut self, repetitions: u64) -> Self {
        self.repetitions_max = repetitions;
        self
    }
}

/// The share of launches that hit.
#[expect(clippy::cast_precision_loss, reason = "launches are fewer than 2^53")]
pub fn share(samples: &[Sample]) -> Figure {
    let (hits, all) = (samples.iter().filter(|sample| sample.hit).count() as u64, samples.len() as u64);
    let (lower, upper) = bounds(hits, all);
    Figure { value: hits as f64 / all.max(1) as f64, lower, upper }
}

/// A number of all launches, sorted.
pub fn sorted(samples: &[Sample], number: usize) -> Vec<f64> {
    let mut found: Vec<f64> =
        samples.iter().map(|sample| sample.numbers.get(number).copied().unwrap_or(f64::INFINITY)).collect();
    found.sort_by(f64::total_cmp);
    found
}

#[expect(clippy::cast_precision_loss, reason = "launches are fewer than 2^53")]
fn mean(numbers: &[f64]) -> Figure {
    let count = numbers.len().max(1) as f64;
    let value = numbers.iter().sum::<f64>() / count;
    let variance = numbers.iter().map(|x| (x - value).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    let width = 1.96 * (variance / count).sqrt();
    Figure { value, lower: value - width, upper: value + width }
}

impl Bar {
    /// The figure that it is about; `None` without samples.
    pub fn figure(&self, samples: &[Sample]) -> Option<Figure> {
        if samples.is_empty() {
            return None;
        }
        Some(match *self {
            Self::Share { .. } | Self::AtLeast(_) => share(samples),
            Self::Quantile { number, p, .. } => {
                let [value, lower, upper] = quantile(&sorted(samples, number), p)?;
                Figure { value, lower, upper }
            }
            Self::Mean { number, .. } => mean(&sorted(samples, number)),
        })
    }

    /// Whether that figure keeps it.
    pub fn kept(&self, figure: &Figure) -> Kept {
        let (is_kept, is_broken) = match *self {
            // The upper bound is what has to hold; a share above the aim with an upper bound below it cannot be told from one.
            Self::Share { at_most, upper } => (figure.upper <= upper, figure.lower > at_most),
            Self::AtLeast(least) => (figure.value >= least, figure.upper < least),
            Self::Quantile { at_most, .. } | Self::Mean { at_most, .. } => {
                (figure.value <= at_most, figure.lower > at_most)
            }
        };
        match (is_kept, is_broken) {
            (true, _) => Kept::Yes,
            (false, false) => Kept::Unclear,
            (false, true) => Kept::No,
        }
    }

    /// In words.
    pub fn words(&self, numbers: &[&str]) -> String {
        let name = |number: usize| numbers.get(number).copied().unwrap_or("");
        match *self {
            Self::Share { at_most, upper } => {
                format!("share ≤ {} %, upper bound ≤ {} %", percent(at_most), percent(upper))
            }
            Self::AtLeast(least) => format!("share ≥ {} %", percent(least)),
            Self::Quantile { number, p, at_most } if (p - 0.5).abs() < 1e-9 => {
                format!("median {} ≤ {at_most}", name(number))
            }
            Self::Quantile { number, p, at_most } => {
                format!("{} % of {} ≤ {at_most}", percent(p), name(number))
            }
            Self::Mean { number, at_most } => format!("mean {} ≤ {at_most}", name(number)),
        }
    }
}

fn percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(hits: u32, all: u32) -> Vec<Sample> {
        (0..all).map(|at| Sample { hit: at < hits, numbers: vec![f64::from(at)] }).collect()
    }

    fn kept(bar: Bar, samples: &[Sample]) -> Kept {
        bar.kept(&bar.figure(samples).unwrap())
    }

    #[test]
    fn twenty_one_trips_of_2500_pass_and_one_more_does_not() {
        let bar = Bar::Share { at_most: 0.01, upper: 0.013 };
        assert_eq!(kept(bar, &samples(21, 2_500)), Kept::Yes);
        assert_eq!(kept(bar, &samples(22, 2_500)), Kept::Unclear);
        assert_eq!(kept(bar, &samples(60, 2_500)), Kept::No);
        assert_eq!(kept(bar, &samples(107, 10_000)), Kept::Yes);
        assert_eq!(kept(bar, &samples(108, 10_000)), Kept::Unclear);
    }

    #[test]
    fn medians_means_and_coverage_are_held_against_their_bars() {
        let found = samples(95, 100);
        assert_eq!(kept(Bar::Quantile { number: 0, p: 0.5, at_most: 49.0 }, &found), Kept::Yes);
        assert_eq!(kept(Bar::Quantile { number: 0, p: 0.5, at_most: 45.0 }, &found), Kept::Unclear);
        assert_eq!(kept(Bar::Quantile { number: 0, p: 0.5, at_most: 30.0 }, &found), Kept::No);
        // A number that nobody noted never came.
        assert_eq!(kept(Bar::Quantile { number: 1, p: 0.5, at_most: 30.0 }, &found), Kept::No);
        assert_eq!(kept(Bar::Mean { number: 0, at_most: 40.0 }, &found), Kept::No);
        assert_eq!(kept(Bar::AtLeast(0.95), &found), Kept::Yes);
        assert_eq!(kept(Bar::AtLeast(0.99), &found), Kept::No);
        assert_eq!(Bar::AtLeast(0.9).figure(&[]), None);
    }
}
