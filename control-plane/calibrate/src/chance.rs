//! Chance from a seed, the same everywhere: what a launch meets follows from its number.

/// `SplitMix64`, and what is drawn with it.
#[derive(Debug, Clone)]
pub struct Chance(u64);

/// A step of `SplitMix64` from a state.
pub const fn mixed(state: u64) -> u64 {
    let z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

/// The seed of a launch: of the words that name its cell, and its number.
pub fn seed(name: &str, number: u64) -> u64 {
    let of_name = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mixed(of_name ^ mixed(number))
}

impl Chance {
    /// Everything that follows from a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 bits.
    pub const fn bits(&mut self) -> u64 {
        let found = mixed(self.0);
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        found
    }

    /// Between 0 and 1, neither of them.
    #[expect(clippy::cast_precision_loss, reason = "53 bits")]
    pub fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0
    }

    /// Whether something of this probability happens.
    pub fn is(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// An exponential time.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.uniform().ln()
    }

    /// A standard normal number (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// A gamma number of a shape above 0 and the scale 1 (Marsaglia and Tsang 2000).
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0) * self.uniform().powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.uniform().ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
                return d * v;
            }
        }
    }

    /// A beta number with this mean and the correlation ρ between two draws that share it: α + β = 1/ρ − 1.
    pub fn beta(&mut self, mean: f64, correlation: f64) -> f64 {
        let sum = 1.0 / correlation - 1.0;
        let (one, other) = (self.gamma(mean * sum), self.gamma((1.0 - mean) * sum));
        if one + other > 0.0 { one / (one + other) } else { mean }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(draw: impl Fn(&mut Chance) -> f64) -> (f64, f64) {
        let mut chance = Chance::new(7);
        let found: Vec<f64> = (0..200_000).map(|_| draw(&mut chance)).collect();
        let mean = found.iter().sum::<f64>() / 200_000.0;
        let variance = found.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 200_000.0;
        (mean, variance)
    }

    #[test]
    fn means_and_variances_are_those_of_the_distributions() {
        let beta = 0.2 * 0.8 * 0.09;
        for (draw, mean, variance) in [
            (Chance::uniform as fn(&mut Chance) -> f64, 0.5, 1.0 / 12.0),
            (|chance: &mut Chance| chance.exponential(2.0), 2.0, 4.0),
            (Chance::normal, 0.0, 1.0),
            (|chance: &mut Chance| chance.beta(0.2, 0.09), 0.2, beta),
        ] {
            let found = moments(draw);
            assert!((found.0 - mean).abs() < 0.02 && (found.1 / variance - 1.0).abs() < 0.03, "{found:?}");
        }
    }

    #[test]
    fn seeds_differ_by_name_and_number() {
        let seeds = [seed("a", 0), seed("a", 1), seed("b", 0), seed("b", 1)];
        let all: std::collections::BTreeSet<_> = seeds.iter().collect();
        assert_eq!(all.len(), 4);
        assert_eq!(seed("a", 1), seeds[1]);
    }
}
