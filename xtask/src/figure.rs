//! Figures as benchmarks and attacks report them, and the quantiles behind them.

/// One figure of a benchmark.
#[derive(Debug, Clone)]
pub struct Metric {
    /// Name as in the performance targets.
    pub name: &'static str,
    /// What was measured.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// The bound to meet, when there is one.
    pub target: Option<Target>,
}

impl Metric {
    /// A figure without a bound.
    pub(crate) const fn new(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit, target: None }
    }

    /// The same with a bound.
    pub(crate) const fn with(self, target: Target) -> Self {
        Self { target: Some(target), ..self }
    }
}

/// A bound on a figure.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// The figure may not be larger.
    AtMost(f64),
    /// The figure may not be smaller.
    AtLeast(f64),
    /// Anything else is a failure.
    Exactly(f64),
}

impl Target {
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
            Self::Exactly(bound) => (value - bound).abs() < f64::EPSILON,
        }
    }

    pub(crate) fn text(self) -> String {
        match self {
            Self::AtMost(bound) => format!("<= {bound}"),
            Self::AtLeast(bound) => format!(">= {bound}"),
            Self::Exactly(bound) => format!("= {bound}"),
        }
    }
}

/// What a benchmark found.
#[derive(Debug, Clone)]
pub struct Report {
    /// Measurements behind each figure.
    pub runs: usize,
    /// The figures.
    pub metrics: Vec<Metric>,
}

/// The middle value, nearest rank: with an odd number of measurements, a measured one.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// How often `ours` fits into `theirs`, round by round, and of that the median: whatever slows a whole round down slows
/// both.
pub(crate) fn median_ratio(theirs: &[f64], ours: &[f64]) -> f64 {
    median(&theirs.iter().zip(ours).map(|(theirs, ours)| theirs / ours).collect::<Vec<_>>())
}

/// The value below which `share` (0 ..= 1) of the sorted values lie; nearest rank.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank between 0 and the number of measurements"
    )]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).or(sorted.last()).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_take_the_nearest_rank() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            (quantile(&values, 0.5), quantile(&values, 0.99), quantile(&values, 1.0)),
            (50.0, 99.0, 100.0)
        );
        assert!((quantile(&[7.0], 0.5) - 7.0).abs() < f64::EPSILON);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // Both were slowed down in the second round: their ratio was not.
        let ratio = median_ratio(&[2.0, 20.0, 4.0], &[1.0, 10.0, 1.0]);
        assert!((ratio - 2.0).abs() < f64::EPSILON, "{ratio}");
    }
}
