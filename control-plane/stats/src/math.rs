//! Logarithm, exponential and the normal distribution from additions, multiplications and divisions only.
//!
//! Source: argument reduction by powers of two and power series (Abramowitz and Stegun 4.1.27, 4.2.1, 7.1.6, 7.1.14).
//! Assumptions: IEEE 754 doubles, rounded to nearest. Guarantee: the platform's mathematical library is never asked, so every
//! machine computes the same bits; `ln` and `exp` are within 2 units in the last place, the normal distribution within 1e-13
//! relative.

/// ln 2 in two parts: the first has 20 trailing zero bits, so that its product with an exponent is exact.
const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// Adding and subtracting it rounds to an integer.
const ROUNDING: f64 = 6_755_399_441_055_744.0;
/// Half of it is about the square root of two, as bits: where the mantissa is halved.
const SQRT_2_MANTISSA: u64 = 0x6_a09e_667f_3bcd;
const MANTISSA: u64 = (1 << 52) - 1;

/// A count as a double. Counts stay far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// e^x; 0 below −745, infinity above 709.78.
pub(crate) fn exp(x: f64) -> f64 {
    if x.is_nan() || x > 709.78 {
        return if x.is_nan() { x } else { f64::INFINITY };
    }
    if x < -745.0 {
        return 0.0;
    }
    let shifted = x * std::f64::consts::LOG2_E + ROUNDING;
    let power = shifted - ROUNDING;
    let rest = (x - power * LN_2_HIGH) - power * LN_2_LOW;
    let square = rest * rest;
    // Even and odd terms of the series, each by Horner: |rest| ≤ 0.347, so the 14th term is below 5e-18.
    let even = [1.0 / 479_001_600.0, 1.0 / 3_628_800.0, 1.0 / 40_320.0, 1.0 / 720.0, 1.0 / 24.0, 0.5];
    let odd =
        [1.0 / 6_227_020_800.0, 1.0 / 39_916_800.0, 1.0 / 362_880.0, 1.0 / 5_040.0, 1.0 / 120.0, 1.0 / 6.0];
    let evens = even.iter().fold(0.0, |sum, term| sum * square + term) * square;
    let odds = odd.iter().fold(0.0, |sum, term| sum * square + term) * square * rest;
    let mantissa = 1.0 + (rest + (evens + odds));
    #[expect(clippy::cast_possible_truncation, reason = "an integer of −1,075 to 1,024")]
    let power = power as i64;
    let half = power / 2;
    mantissa * power_of_two(half) * power_of_two(power - half)
}

/// 2^power for −1,022 ≤ power ≤ 1,023.
fn power_of_two(power: i64) -> f64 {
    f64::from_bits((power + 1_023).cast_unsigned() << 52)
}

/// The natural logarithm; −infinity of 0, NaN below.
pub(crate) fn ln(x: f64) -> f64 {
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 || x == f64::INFINITY {
        return if x == 0.0 { f64::NEG_INFINITY } else { x };
    }
    let (normal, shift) = if x < f64::MIN_POSITIVE { (x * 18_014_398_509_481_984.0, 54) } else { (x, 0) };
    let bits = normal.to_bits();
    let above = bits & MANTISSA > SQRT_2_MANTISSA;
    let exponent = (bits >> 52).cast_signed() - 1_023 - shift + i64::from(above);
    let one = if above { 1_022 << 52 } else { 1_023 << 52 };
    let mantissa = f64::from_bits(bits & MANTISSA | one);
    #[expect(clippy::cast_precision_loss, reason = "an exponent")]
    let power = exponent as f64;
    let part = mantissa - 1.0;
    let ratio = part / (2.0 + part);
    power * LN_2_HIGH + (2.0 * ratio + (ratio * area(ratio * ratio) + power * LN_2_LOW))
}

/// ln(1 + x) for x > −1, also where 1 + x would lose the digits of x.
pub(crate) fn ln_1p(x: f64) -> f64 {
    if x.abs() < 0.25 {
        let ratio = x / (2.0 + x);
        2.0 * ratio + ratio * area(ratio * ratio)
    } else {
        ln(1.0 + x)
    }
}

/// `2 (z/3 + z²/5 + …)`: what `2 artanh(r)/r` has beyond 2, for z = r² below 0.03; the first term left out is below 3e-18.
fn area(square: f64) -> f64 {
    let terms = [
        2.0 / 21.0,
        2.0 / 19.0,
        2.0 / 17.0,
        2.0 / 15.0,
        2.0 / 13.0,
        2.0 / 11.0,
        2.0 / 9.0,
        2.0 / 7.0,
        2.0 / 5.0,
        2.0 / 3.0,
    ];
    terms.iter().fold(0.0, |sum, term| sum * square + term) * square
}

/// ln(e^a + e^b).
pub(crate) fn ln_add(a: f64, b: f64) -> f64 {
    let (large, small) = if a >= b { (a, b) } else { (b, a) };
    if small == f64::NEG_INFINITY { large } else { large + ln_1p(exp(small - large)) }
}

/// The normal distribution function Φ.
pub(crate) fn normal_cdf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x.abs() < 2.0 {
        // Φ(x) − ½ = φ(x) (x + x³/3 + x⁵/15 + …); all terms have the sign of x.
        let mut term = x;
        let mut sum = x;
        let mut odd = 1.0;
        while term.abs() > sum.abs() * 1e-17 {
            odd += 2.0;
            term *= x * x / odd;
            sum += term;
        }
        return 0.5 + sum * density(x);
    }
    // 1 − Φ(x) = φ(x) / (x + 1/(x + 2/(x + …))).
    let distance = x.abs();
    let fraction = (1..=120_u32).rev().fold(distance, |rest, term| distance + f64::from(term) / rest);
    let tail = density(x) / fraction;
    if x < 0.0 { tail } else { 1.0 - tail }
}

fn density(x: f64) -> f64 {
    exp(-0.5 * x * x) * 0.398_942_280_401_432_7
}

/// The x with Φ(x) = p, by halving −40 to 40; for 0 < p < 1.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..64 {
        let middle = 0.5 * (low + high);
        if normal_cdf(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_near(found: f64, expected: f64, relative: f64) {
        assert!((found - expected).abs() <= relative * expected.abs(), "{found:e} is not {expected:e}");
    }

    #[test]
    fn exponentials_and_logarithms_agree_with_fifty_digits() {
        // mpmath 1.4 at 50 digits, arguments as exact doubles.
        let rows = [
            (-700.3, 7.304_228_033_645_715e-305),
            (-20.7, 1.023_538_597_759_416_2e-09),
            (-1.25, 0.286_504_796_860_190_1),
            (-0.1, 0.904_837_418_035_959_5),
            (1e-09, 1.000_000_001),
            (0.3, 1.349_858_807_576_003_2),
            (0.34657, 1.414_208_484_959_579_7),
            (1.5, 4.481_689_070_338_064_5),
            (17.9, 59_411_596.942_542_84),
            (600.1, 4.169_832_309_896_892_6e260),
        ];
        for (x, expected) in rows {
            assert_near(exp(x), expected, 4.5e-16);
        }
        let rows = [
            (1e-300, -690.775_527_898_213_7),
            (0.01, -4.605_170_185_988_091),
            (0.7, -0.356_674_943_938_732_45),
            (0.706, -0.348_140_041_488_895_05),
            (0.9999, -0.000_100_005_000_333_347_32),
            (1.0001, 9.999_500_033_329_732e-05),
            (1.41, 0.343_589_704_390_076_86),
            (1.42, 0.350_656_871_613_169_33),
            (3.0, 1.098_612_288_668_109_8),
            (12345.678, 9.421_061_321_291_832),
            (1e+300, 690.775_527_898_213_7),
        ];
        for (x, expected) in rows {
            assert_near(ln(x), expected, 4.5e-16);
        }
        let rows = [
            (-0.85, -1.897_119_984_885_881),
            (-0.2, -0.223_143_551_314_209_76),
            (-1e-06, -1.000_000_500_000_333_4e-06),
            (1e-12, 9.999_999_999_995e-13),
            (0.24, 0.215_111_379_616_945_5),
            (0.26, 0.231_111_720_963_386_64),
            (3.5, 1.504_077_396_776_274_2),
        ];
        for (x, expected) in rows {
            assert_near(ln_1p(x), expected, 4.5e-16);
        }
    }

    #[test]
    fn ends_of_the_range_are_what_the_standard_library_says() {
        for x in [-746.0, -745.1, -708.5, 0.0, 709.7, 710.0, f64::INFINITY, f64::NEG_INFINITY] {
            let (ours, theirs) = (exp(x), x.exp());
            assert!(
                ours.to_bits() == theirs.to_bits() || (ours - theirs).abs() <= 1e-15 * theirs.max(5e-309),
                "{x}: {ours:e} {theirs:e}"
            );
        }
        assert!(exp(f64::NAN).is_nan() && ln(f64::NAN).is_nan() && ln(-1.0).is_nan());
        assert_eq!((ln(0.0), ln(f64::INFINITY), ln(1.0)), (f64::NEG_INFINITY, f64::INFINITY, 0.0));
        assert_near(ln(5e-324), -744.440_071_921_381_3, 1e-15);
    }

    #[test]
    fn a_sweep_stays_within_two_units_of_the_standard_library() {
        for step in 0..20_000_i32 {
            let x = f64::from(step - 10_000) * 0.069_7 + 0.000_013;
            assert_near(exp(x), x.exp(), 4.5e-16);
            let x = x.exp();
            assert!((ln(x) - x.ln()).abs() <= 4.5e-16 * x.ln().abs().max(0.5), "{x:e}");
        }
    }

    #[test]
    fn the_normal_distribution_agrees_with_fifty_digits() {
        let rows = [
            (-12.5, 3.732_564_298_877_713e-36),
            (-5.0, 2.866_515_718_791_939e-07),
            (-3.0, 0.001_349_898_031_630_094_6),
            (-2.999, 0.001_354_336_533_727_106_2),
            (-1.0, 0.158_655_253_931_457_05),
            (-0.01, 0.496_010_643_685_368_4),
            (0.5, 0.691_462_461_274_013_1),
            (2.3, 0.989_275_889_978_324_2),
            (3.5, 0.999_767_370_920_964_5),
        ];
        for (x, expected) in rows {
            assert_near(normal_cdf(x), expected, 1e-13);
        }
        let rows = [
            (1e-10, -6.361_340_902_404_057),
            (0.01, -2.326_347_874_040_841),
            (0.2, -0.841_621_233_572_914_2),
            (0.3, -0.524_400_512_708_040_8),
            (0.8, 0.841_621_233_572_914_4),
            (0.99, 2.326_347_874_040_840_8),
        ];
        for (p, expected) in rows {
            assert_near(normal_quantile(p), expected, 1e-12);
        }
    }

    #[test]
    fn sums_of_exponentials_neither_overflow_nor_vanish() {
        assert_near(ln_add(1_000.0, 1_000.0), 1_000.693_147_180_56, 1e-14);
        assert_near(ln_add(-1_000.0, -1_001.0), -999.686_738_312_482_4, 1e-14);
        assert_eq!(ln_add(f64::NEG_INFINITY, -3.0).to_bits(), (-3.0_f64).to_bits());
    }
}
