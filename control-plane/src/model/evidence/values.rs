//! A guardrail on what units are worth: a matured slot's units by the bin of their sum, those without any outcome with 0.

use flagfuse_stats::Refused;
use flagfuse_stats::bins::BinCount;
use flagfuse_stats::grid::{EFFECTS, Harm};
use flagfuse_stats::values::{Moments, Scores, Values};

use super::open_slots::Units;

/// Millionths, as bins have their edges.
const MICROS: f64 = 1e6;

/// What a unit in each bin of a phase is taken to be worth.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    scores: Scores,
    /// The bin in which nothing lies.
    nothing: u16,
}

impl Scale {
    /// Between the edges that the phase has frozen, in millionths.
    pub(super) fn new(edges: &[i64]) -> Result<Self, Refused> {
        let nothing = flagfuse_cells::bins::value_bin(edges, 0);
        Ok(Self { scores: Scores::new(&scores(edges, nothing))?, nothing })
    }

    /// With the units that have no value, which are worth nothing.
    fn with_the_rest(&self, units: u64, bins: &[BinCount]) -> Result<Vec<BinCount>, Refused> {
        let events = bins.iter().fold(0_u64, |sum, bin| sum.saturating_add(bin.units));
        let rest = units.checked_sub(events).ok_or(Refused::EventsExceedUnits { events, units })?;
        let mut all = bins.to_vec();
        match all.binary_search_by_key(&self.nothing, |found| found.bin) {
            Ok(at) => {
                if let Some(found) = all.get_mut(at) {
                    found.units = found.units.saturating_add(rest);
                }
            }
            Err(at) if rest > 0 => all.insert(at, BinCount { bin: self.nothing, units: rest }),
            Err(_) => {}
        }
        Ok(all)
    }
}

/// What was heard of values.
#[derive(Debug, Clone)]
pub(super) struct Worth {
    values: Values,
    /// Exposed and control units in everything that was read.
    all: [Moments; 2],
}

/// What a unit in each bin is taken to be worth: the middle of its bin, nothing in the bin of nothing, the edge in those without an end.
#[expect(
    clippy::cast_precision_loss,
    reason = "the middle of a bin need not be exact, and is the same on every machine"
)]
fn scores(edges: &[i64], nothing: u16) -> Vec<f64> {
    let edge = |at: usize| edges.get(at).map(|edge| *edge as f64 / MICROS);
    let middle = |bin: usize| match (bin.checked_sub(1).and_then(edge), edge(bin)) {
        (Some(from), Some(to)) => from.midpoint(to),
        // Below the first edge, and in the last bin: what lies beyond counts as the edge.
        (None, Some(end)) => end - 1.0 / MICROS,
        (Some(end), None) => end,
        (None, None) => 0.0,
    };
    let mut scores = Vec::with_capacity(edges.len() + 1);
    let mut last = f64::NEG_INFINITY;
    for bin in 0..=edges.len() {
        let score = if bin == usize::from(nothing) { 0.0 } else { middle(bin) };
        // Edges that are too close for a double still are different bins.
        last = if score > last { score } else { last.next_up() };
        scores.push(last);
    }
    scores
}

impl Worth {
    /// Nothing.
    pub(super) fn new() -> Self {
        // The first slot only tells what is usual: without a past there is no tilt.
        Self { values: Values::from_history(Moments::default()), all: [Moments::default(); 2] }
    }

    /// Reads a slot that is over: how many units enrolled, and those of them that have a value, by bin. Gives the logarithms of
    /// the factors.
    pub(super) fn fold(
        &mut self,
        (scale, harm): (&Scale, &Harm),
        enrolled: Units,
        exposed: &[BinCount],
        control: &[BinCount],
    ) -> Result<[f64; EFFECTS], Refused> {
        let exposed = scale.with_the_rest(enrolled.exposed, exposed)?;
        let control = scale.with_the_rest(enrolled.control, control)?;
        let slot = [scale.scores.moments(&exposed)?, scale.scores.moments(&control)?];
        let factors = self.values.fold(&scale.scores, harm, &exposed, &control)?;
        for (all, slot) in self.all.iter_mut().zip(slot) {
            all.units = all.units.saturating_add(slot.units);
            all.sum += slot.sum;
            all.squares += slot.squares;
        }
        Ok(factors)
    }

    pub(super) fn evidence(&self) -> f64 {
        self.values.evidence()
    }

    /// Whether a trip may pass: the ratio of means, since harm was last ruled out, is beyond half of the threshold.
    pub(super) fn is_gate_open(&self, harm: &Harm) -> bool {
        self.values.is_open(harm)
    }

    /// The relative change of means over everything that was read; none where control is worth nothing.
    pub(super) fn change(&self) -> Option<f64> {
        let [exposed, control] = &self.all;
        let mean = control.mean().filter(|mean| *mean > 0.0)?;
        Some(exposed.mean()? / mean - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_have_rising_scores_and_nothing_is_worth_nothing() {
        let usual = flagfuse_cells::bins::value_edges();
        let near: Vec<i64> = (0..63).map(|at| 5_000_000 + at).collect();
        let huge: Vec<i64> = (0..63).map(|at| i64::MAX / 2 - 100 + at).collect();
        let below: Vec<i64> = (0..63).map(|at| at * 1_000_000 - 63_000_000).collect();
        let through: Vec<i64> = (0..63).map(|at| (at - 30) * 1_000_000).collect();
        for edges in [usual, &near, &huge, &below, &through] {
            let nothing = flagfuse_cells::bins::value_bin(edges, 0);
            let found = scores(edges, nothing);
            assert_eq!(found.len(), 64);
            assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
            assert!(found[usize::from(nothing)].abs() < 1e-300, "{found:?}");
            assert!(Scale::new(edges).is_ok());
        }
        assert_eq!(flagfuse_cells::bins::value_bin(&through, 0), 31);
    }

    #[test]
    fn units_without_a_value_are_counted_and_more_values_than_units_are_a_contradiction() {
        let scale = Scale::new(flagfuse_cells::bins::value_edges()).unwrap();
        let mut worth = Worth::new();
        let harm = Harm::new(0.5, flagfuse_stats::grid::Direction::DecreaseIsHarm).unwrap();
        let paid = |units| [BinCount { bin: 20, units }];
        let enrolled = Units { exposed: 200, control: 200 };
        for _ in 0..20 {
            worth.fold((&scale, &harm), enrolled, &paid(5), &paid(20)).unwrap();
        }
        assert!((worth.change().unwrap() + 0.75).abs() < 1e-12, "three of four pay no more");
        assert!(worth.evidence() > 1_000.0 && worth.is_gate_open(&harm), "{}", worth.evidence());
        let none = Units { exposed: 4, control: 200 };
        assert_eq!(
            worth.fold((&scale, &harm), none, &paid(5), &[]).unwrap_err().code(),
            "events_exceed_units"
        );
    }
}
