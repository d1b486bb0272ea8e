//! Numbers as people read them: grouped digits, percent, spans of time. Pure; decides nothing.

/// `1,062`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 unit`, `1,062 units`.
pub fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// A share of 0 ..= 1 in percent, as finely as it is small: `9.8 %`, `0.31 %`, `below 0.01 %`. Only 0 itself is `0 %`.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if share > 0.0 && percent < 0.01 {
        return "below 0.01 %".to_owned();
    }
    let digits = if percent < 1.0 { 2 } else { 1 };
    format!("{} %", trimmed(percent, digits))
}

/// A relative difference: `58.2 % less`, `50 % more`, `no difference`.
pub fn difference(delta: f64) -> String {
    /// From here on percent say less than how many times.
    const TIMES_MIN: f64 = 100.0;
    if delta.abs() >= TIMES_MIN {
        let times = delta.abs() + 1.0;
        return if times >= 1e6 {
            "more than a million times as much".to_owned()
        } else {
            format!("{times:.0} times as much")
        };
    }
    let percent = trimmed(delta.abs() * 100.0, 2);
    if percent == "0" {
        return "no difference".to_owned();
    }
    // Beyond ten times as much the digits behind the point are noise.
    let percent = if delta.abs() < 10.0 { percent } else { grouped(whole(delta.abs() * 100.0)) };
    format!("{percent} % {}", if delta < 0.0 { "less" } else { "more" })
}

/// The nearest whole number of one that is not negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and saturating is right for what is beyond"
)]
pub fn whole(number: f64) -> u64 {
    number.max(0.0).round() as u64
}

/// So many decimal digits at most.
fn trimmed(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A span of time in its largest unit that tells it apart, rounded up: `45 s`, `3 h`, `5 d`.
pub fn span(ms: u64) -> String {
    const SECOND_MS: u64 = 1_000;
    const MINUTE_MS: u64 = 60 * SECOND_MS;
    const HOUR_MS: u64 = 60 * MINUTE_MS;
    const DAY_MS: u64 = 24 * HOUR_MS;
    /// Longer is no plan.
    const DAY_COUNT_MAX: u64 = 1_000;
    let (unit_ms, unit) = if ms <= 90 * SECOND_MS {
        (SECOND_MS, "s")
    } else if ms <= 90 * MINUTE_MS {
        (MINUTE_MS, "min")
    } else if ms <= 72 * HOUR_MS {
        // Three days are still told in hours, as observation windows are.
        (HOUR_MS, "h")
    } else {
        (DAY_MS, "d")
    };
    if ms > DAY_COUNT_MAX * DAY_MS {
        return format!("more than {} d", grouped(DAY_COUNT_MAX));
    }
    format!("{} {unit}", grouped(ms.div_ceil(unit_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_counted() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!((count(1, "unit"), count(0, "unit")), ("1 unit".to_owned(), "0 units".to_owned()));
    }

    #[test]
    fn shares_near_nothing_are_not_nothing() {
        for (share, text) in [
            (0.0, "0 %"),
            (0.000_04, "below 0.01 %"),
            (0.000_1, "0.01 %"),
            (0.003_1, "0.31 %"),
            (0.041, "4.1 %"),
            (0.099_96, "10 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(percent(share), text, "{share}");
        }
    }

    #[test]
    fn differences_say_which_way() {
        for (delta, text) in [
            (0.0, "no difference"),
            (0.000_04, "no difference"),
            (-0.050_2, "5.02 % less"),
            (0.5, "50 % more"),
            (9.876_5, "987.65 % more"),
            (99.0, "9,900 % more"),
            (100.0, "101 times as much"),
            (1e12, "more than a million times as much"),
        ] {
            assert_eq!(difference(delta), text, "{delta}");
        }
    }

    #[test]
    fn spans_are_told_in_one_unit_and_rounded_up() {
        const HOUR: u64 = 3_600_000;
        for (ms, text) in [
            (0, "0 s"),
            (1, "1 s"),
            (90_000, "90 s"),
            (90_001, "2 min"),
            (90 * 60_000, "90 min"),
            (90 * 60_000 + 1, "2 h"),
            (72 * HOUR, "72 h"),
            (72 * HOUR + 1, "4 d"),
            (1_000 * 24 * HOUR, "1,000 d"),
            (1_000 * 24 * HOUR + 1, "more than 1,000 d"),
        ] {
            assert_eq!(span(ms), text, "{ms}");
        }
    }
}
