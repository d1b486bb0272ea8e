//! Self-test of the chance that everything here is made with: the table of Armitage, `McPherson` and Rowe (1969) for a z-test at 5 %
//! that is looked at again and again, and counts of launches that differ from it by chance alone.

use crate::chance::Chance;

/// Looks, and how often |z| > 1.96 at one of them.
pub const TABLE: [(usize, f64); 7] =
    [(1, 0.050), (2, 0.083), (3, 0.107), (4, 0.126), (5, 0.142), (10, 0.193), (20, 0.248)];

/// The first of so many looks at which a sum of as many equal steps is beyond 1.96 standard deviations, from 1.
pub fn first_crossing(chance: &mut Chance, looks: usize) -> Option<usize> {
    let (mut sum, mut variance) = (0.0, 0.0_f64);
    (1..=looks).find(|_| {
        sum += chance.normal();
        variance += 1.0;
        f64::abs(sum) > 1.96 * variance.sqrt()
    })
}

/// For each row of the table, how many of so many launches crossed by then.
pub fn crossed(seed: u64, launches: usize) -> [usize; TABLE.len()] {
    let mut chance = Chance::new(seed);
    let mut found = [0; TABLE.len()];
    for _ in 0..launches {
        let first = first_crossing(&mut chance, 20).unwrap_or(usize::MAX);
        for (count, (looks, _)) in found.iter_mut().zip(TABLE) {
            *count += usize::from(first <= looks);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::bounds;

    #[test]
    fn peeking_at_a_z_test_is_as_wrong_as_the_table_says() {
        const LAUNCHES: usize = 40_000;
        for (found, (looks, expected)) in crossed(5, LAUNCHES).into_iter().zip(TABLE) {
            let (lower, upper) = bounds(found as u64, LAUNCHES as u64);
            // The table has three digits.
            let is_there = (lower - 0.0005..=upper + 0.0005).contains(&expected);
            assert!(is_there, "{looks} looks: {lower:.4} to {upper:.4}, not {expected}");
        }
    }
}
