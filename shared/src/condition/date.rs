//! Points in time: RFC 3339 texts and whole Unix milliseconds, compared as milliseconds; never reads a clock.
//!
//! Strict: exactly the grammar of RFC 3339 section 5.6 with `T` (or `t`) between date and time, years 0000 to
//! 9999, an offset always. Fractions are cut to milliseconds. A leap second is accepted where UTC can have one, at
//! the end of a month, and is the same instant as the second behind it, as in Unix time.

use serde_json::Value;

use super::ConditionFault;
use crate::definition::ConditionWire;
use crate::ids::UnixMillis;

/// A bound in Unix milliseconds and the side of it that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DateTest {
    side: Side,
    bound_ms: i64,
}

/// Where an instant has to be to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

impl DateTest {
    pub(super) fn compile(side: Side, wire: &ConditionWire) -> Result<Self, ConditionFault> {
        const WRONG_TYPE: ConditionFault = ConditionFault::ValueType {
            at: 0,
            expected: "an RFC 3339 text or a whole number of Unix milliseconds",
        };
        let bound_ms = match wire.values.first().ok_or(WRONG_TYPE)? {
            Value::String(text) => parse_ms(text).map_err(|reason| ConditionFault::ValueForm {
                at: 0,
                form: "an RFC 3339 date-time",
                reason: reason.to_owned(),
            })?,
            value => whole(value).ok_or(WRONG_TYPE)?,
        };
        Ok(Self { side, bound_ms })
    }

    pub(super) fn matches(self, value: &Value) -> bool {
        date_ms(value).is_some_and(|instant_ms| self.holds_for(instant_ms))
    }

    pub(super) fn holds_at(self, now: UnixMillis) -> bool {
        self.holds_for(i64::try_from(now.0).unwrap_or(i64::MAX))
    }

    const fn holds_for(self, instant_ms: i64) -> bool {
        match self.side {
            Side::Before => instant_ms < self.bound_ms,
            Side::After => instant_ms > self.bound_ms,
        }
    }

    /// The first instant with another answer than the one before it; `None` when that lies before 1970.
    pub(super) const fn turning_point_ms(self) -> Option<u64> {
        let first_ms = match self.side {
            Side::Before => self.bound_ms,
            Side::After => self.bound_ms.saturating_add(1),
        };
        if first_ms < 0 { None } else { Some(first_ms.unsigned_abs()) }
    }
}

/// Unix milliseconds of a value that these conditions can read.
pub fn date_ms(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => parse_ms(text).ok(),
        value => whole(value),
    }
}

/// JSON peers may write a whole number as `1.7e12`; beyond 2^53 such a number is no longer exact.
fn whole(value: &Value) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if let Some(whole) = value.as_i64() {
        return Some(whole);
    }
    let number = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= EXACT_MAX)?;
    #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53, as was checked")]
    Some(number as i64)
}

const SYNTAX: &str = "expected like 2030-01-31T23:59:59.123Z or 2030-01-31T23:59:59+02:00";
const NO_DAY: &str = "the calendar has no such day";
const NO_TIME: &str = "the clock has no such time";
const NO_OFFSET: &str = "offsets are 00:00 to 23:59";
const NO_LEAP_SECOND: &str = "a leap second is the last second of a month in UTC";

/// Unix milliseconds of an RFC 3339 date-time.
fn parse_ms(text: &str) -> Result<i64, &'static str> {
    let mut rest = Rest(text.as_bytes());
    let Some((year, month, day)) = rest.triple(4, b'-') else { return Err(SYNTAX) };
    rest.one_of(b"Tt").ok_or(SYNTAX)?;
    let Some((hour, minute, second)) = rest.triple(2, b':') else { return Err(SYNTAX) };
    let fraction_ms = rest.fraction_ms().ok_or(SYNTAX)?;
    let offset = rest.offset_minutes().ok_or(SYNTAX)?;
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return Err(NO_DAY);
    }
    if hour > 23 || minute > 59 || second > 60 {
        return Err(NO_TIME);
    }
    let offset_minutes = offset.ok_or(NO_OFFSET)?;
    let days = days_since_1970(year, month, day);
    let seconds = days * 86_400 + hour * 3_600 + (minute - offset_minutes) * 60 + second;
    if second == 60 && !is_start_of_month(seconds) {
        return Err(NO_LEAP_SECOND);
    }
    Ok(seconds * 1_000 + fraction_ms)
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// Exactly `count` digits, at most four.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.0 = rest;
        Some(digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }

    fn one_of(&mut self, accepted: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        if !accepted.contains(first) {
            return None;
        }
        self.0 = rest;
        Some(*first)
    }

    /// Three numbers with a mark between them, the second and third of two digits.
    fn triple(&mut self, first_digits: usize, mark: u8) -> Option<(i64, i64, i64)> {
        let first = self.digits(first_digits)?;
        self.one_of(&[mark])?;
        let second = self.digits(2)?;
        self.one_of(&[mark])?;
        Some((first, second, self.digits(2)?))
    }

    /// 0 without a fraction; `None` for a point without a digit.
    fn fraction_ms(&mut self) -> Option<i64> {
        if self.one_of(b".").is_none() {
            return Some(0);
        }
        let mut place_ms = 100;
        let mut fraction_ms = place_ms * self.digits(1)?;
        while let Some(digit) = self.digits(1) {
            place_ms /= 10;
            fraction_ms += place_ms * digit;
        }
        Some(fraction_ms)
    }

    /// The rest as an offset; the outer `None` is a text that has not its form, the inner one a number out of range.
    #[expect(clippy::option_option, reason = "two faults that users are told apart")]
    fn offset_minutes(&mut self) -> Option<Option<i64>> {
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return self.0.is_empty().then_some(Some(0)),
        };
        let hours = self.digits(2)?;
        self.one_of(b":")?;
        let minutes = self.digits(2)?;
        let is_valid = hours <= 23 && minutes <= 59;
        self.0.is_empty().then_some(is_valid.then_some(sign * (hours * 60 + minutes)))
    }
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a valid day of the years 0 to 9999, proleptic Gregorian.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    /// Days from 0000-01-01 to 1970-01-01.
    const TO_1970: i64 = 719_528;
    let leap_days = (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    let months: i64 = (1..month).map(|month| days_in_month(year, month)).sum();
    year * 365 + leap_days + months + day - 1 - TO_1970
}

/// Whether Unix seconds are the first second of a month: only behind it can a leap second have been.
fn is_start_of_month(seconds: i64) -> bool {
    if seconds.rem_euclid(86_400) != 0 {
        return false;
    }
    // Eras of 400 years that begin on 1 March, so that leap days come last (Hinnant's civil_from_days).
    let day_of_era = (seconds.div_euclid(86_400) + 719_468).rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    day_of_year == (153 * month_from_march + 2) / 5
}

#[cfg(test)]
mod tests;
