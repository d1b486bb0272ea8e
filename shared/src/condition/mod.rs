//! A condition compares one attribute; one file per operator family.
//!
//! One documented answer each: an attribute that is missing, of the wrong type or not readable as what the operator
//! compares (a date, a version, an address) does not match, and `negate` then turns that into a match. An unknown
//! operator and a value that is not readable are faults of the flag, found when it is loaded. The attribute
//! `currentTime` is never missing for `before` and `after`: it is the time of the question unless the context has one.

mod array;
mod cidr;
mod date;
mod lenient;
mod number;
mod reading;
mod regex;
mod scalar;
mod segments;
mod semver;
mod string;
mod unreadable;

use std::borrow::Cow;

use serde_json::Value;

use self::array::{ArrayTest, Quantity};
use self::cidr::CidrTest;
use self::date::DateTest;
pub use self::date::date_ms;
pub use self::lenient::in_full;
use self::number::NumberTest;
use self::reading::Reading;
use self::regex::RegexTest;
use self::scalar::{ScalarSet, WALK_COUNT_MAX, scalars};
pub use self::segments::{SegmentFault, SegmentIndex, SegmentNames};
use self::semver::{Relation, SemverTest};
use self::string::{Case, Place, StringTest};
pub use self::unreadable::unreadable;
use crate::context::{AttributeName, CURRENT_TIME, Context};
use crate::definition::{ConditionWire, Operator};
use crate::ids::UnixMillis;
use crate::limits::{
    CONDITION_VALUE_COUNT_MAX, CONTAINS_ALL_VALUE_COUNT_MAX, REGEX_PATTERN_COUNT_MAX, STRING_LEN_MAX,
};
use crate::text::{Ends, Needle};

/// A checked condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    attribute: AttributeName,
    test: Test,
    polarity: Polarity,
    reading: Reading,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Polarity {
    Plain,
    Negated,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Exists,
    OneOf(Box<ScalarSet>),
    /// One of a few texts, the commonest test of all.
    OneText(Box<[Needle]>),
    String(Box<StringTest>),
    Number(NumberTest),
    Regex(Box<RegexTest>),
    Date(DateTest),
    /// A date that is the time of the question when the context has none.
    Now(DateTest),
    Semver(SemverTest),
    Cidr(CidrTest),
    Array(Box<ArrayTest>),
    InSegment(Box<[SegmentIndex]>),
}

/// Why a condition cannot be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionFault {
    /// The attribute's name is empty or too long.
    #[error("attribute has {len} bytes, allowed is {allowed}")]
    Attribute {
        /// Bytes found.
        len: usize,
        /// The bound in words.
        allowed: &'static str,
    },
    /// Too few or too many values for the operator.
    #[error("values has {count} entries, allowed for this op is {allowed}")]
    ValueCount {
        /// Values found.
        count: usize,
        /// The bound in words.
        allowed: &'static str,
    },
    /// A value the operator cannot compare with.
    #[error("values[{at}] must be {expected}")]
    ValueType {
        /// Its position among the values.
        at: usize,
        /// The type in words.
        expected: &'static str,
    },
    /// A value of the right type that the operator cannot read.
    #[error("values[{at}] is not {form}: {reason}")]
    ValueForm {
        /// Its position among the values.
        at: usize,
        /// What it was read as.
        form: &'static str,
        /// Why it is none.
        reason: String,
    },
    /// `ignore_case` on an operator that has no case.
    #[error("ignore_case applies to texts only")]
    NoCase,
    /// `coerce` on an operator that compares neither texts nor numbers.
    #[error("coerce applies to comparisons of texts and numbers only")]
    NoCoercion,
    /// `lenient` on an operator that compares no versions, or beside `coerce`.
    #[error("lenient applies to comparisons of versions only, and not beside coerce")]
    NoLeniency,
    /// `in_segment` names no segment of the environment.
    #[error("values[{at}] names the segment {key:?}, which the environment does not have")]
    UnknownSegment {
        /// Its position among the values.
        at: usize,
        /// The missing name.
        key: String,
    },
    /// `in_segment` names a segment that cannot be evaluated.
    #[error("values[{at}] names the segment {key:?}, which is malformed: {detail}")]
    MalformedSegment {
        /// Its position among the values.
        at: usize,
        /// The key of the malformed segment.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl Condition {
    /// Checks the wire shape against the segments it may name.
    pub fn compile(wire: &ConditionWire, segments: &SegmentNames) -> Result<Self, ConditionFault> {
        Self::compile_either(wire, || Cow::Borrowed(wire), segments)
    }

    /// The same for texts and values in any form.
    pub(crate) fn compile_from<T: AsRef<str>, V: ConditionValue>(
        wire: &ConditionWire<T, V>,
        segments: &SegmentNames,
    ) -> Result<Self, ConditionFault> {
        Self::compile_either(wire, || Cow::Owned(owned(wire)), segments)
    }

    /// Compiles `wire` as it is when that is enough, else what `owned` returns, which says the same.
    fn compile_either<'w, T: AsRef<str>, V: ConditionValue>(
        wire: &ConditionWire<T, V>,
        owned: impl FnOnce() -> Cow<'w, ConditionWire>,
        segments: &SegmentNames,
    ) -> Result<Self, ConditionFault> {
        let attribute = wire.attribute.as_ref();
        let has_attribute = wire.op != Operator::InSegment;
        if attribute.is_empty() == has_attribute || attribute.len() > STRING_LEN_MAX {
            return Err(ConditionFault::Attribute {
                len: attribute.len(),
                allowed: if has_attribute { "1 to 4096" } else { "0 for this op" },
            });
        }
        check_count(wire.op, wire.values.len())?;
        let (test, reading) = match Test::of_few_texts(wire) {
            Some(test) => (test, if wire.coerce { Reading::Text } else { Reading::Plain }),
            None => Test::compile(&owned(), segments)?,
        };
        let polarity = if wire.negate { Polarity::Negated } else { Polarity::Plain };
        Ok(Self { attribute: AttributeName::new(attribute), test, polarity, reading })
    }

    /// Whether it holds for the context at `now`; `is_in` answers for segments.
    #[inline]
    pub fn holds(&self, context: &Context, now: UnixMillis, is_in: impl Fn(SegmentIndex) -> bool) -> bool {
        let matches = match &self.test {
            Test::InSegment(segments) => segments.iter().any(|segment| is_in(*segment)),
            Test::Now(test) => {
                context.value(&self.attribute).map_or_else(|| test.holds_at(now), |value| test.matches(value))
            }
            test => context.value(&self.attribute).is_some_and(|value| match self.reading {
                Reading::Plain => test.matches(value),
                reading => reading.read(value).is_some_and(|value| test.matches(&value)),
            }),
        };
        match self.polarity {
            Polarity::Plain => matches,
            Polarity::Negated => !matches,
        }
    }

    /// The attribute it compares; empty for `in_segment`.
    pub const fn attribute(&self) -> &AttributeName {
        &self.attribute
    }

    /// Patterns that it searches for.
    pub(crate) fn pattern_count(&self) -> usize {
        if let Test::Regex(test) = &self.test { test.pattern_count() } else { 0 }
    }

    /// The segments it names.
    pub(crate) fn segments(&self) -> &[SegmentIndex] {
        if let Test::InSegment(segments) = &self.test { segments } else { &[] }
    }

    /// When its answer may change although context and flag stay as they are, Unix milliseconds.
    pub(crate) const fn turning_point_ms(&self) -> Option<u64> {
        if let Test::Now(test) = &self.test { test.turning_point_ms() } else { None }
    }
}

/// A value of a condition, parsed from JSON or read from a snapshot.
pub(crate) trait ConditionValue {
    /// Its text, when it is one.
    fn text(&self) -> Option<&str>;
    /// The value; of an array or object, which no condition takes, only that it is one.
    fn to_value(&self) -> Cow<'_, Value>;
}

impl ConditionValue for Value {
    fn text(&self) -> Option<&str> {
        self.as_str()
    }

    fn to_value(&self) -> Cow<'_, Value> {
        Cow::Borrowed(self)
    }
}

fn owned<T: AsRef<str>, V: ConditionValue>(wire: &ConditionWire<T, V>) -> ConditionWire {
    ConditionWire {
        attribute: wire.attribute.as_ref().to_owned(),
        op: wire.op,
        values: wire.values.iter().map(|value| value.to_value().into_owned()).collect(),
        negate: wire.negate,
        ignore_case: wire.ignore_case,
        coerce: wire.coerce,
        lenient: wire.lenient,
    }
}

impl Test {
    /// The two commonest tests, one of a few texts and an order of releases, made from the texts as they are.
    fn of_few_texts<T, V: ConditionValue>(wire: &ConditionWire<T, V>) -> Option<Self> {
        if wire.ignore_case || wire.lenient {
            return None;
        }
        match (wire.op, wire.values.as_slice()) {
            (Operator::In, values) if values.len() <= WALK_COUNT_MAX => {
                // Collecting options would not know how many there are, and take memory for more of them first.
                let mut needles = Vec::with_capacity(values.len());
                for value in values {
                    let text = value.text().filter(|text| text.len() <= STRING_LEN_MAX)?;
                    needles.push(Needle::new(text));
                }
                Some(Self::OneText(needles.into()))
            }
            (op, [only]) => SemverTest::of_release(Relation::of(op)?, only.text()?).map(Self::Semver),
            _ => None,
        }
    }

    fn compile(wire: &ConditionWire, segments: &SegmentNames) -> Result<(Self, Reading), ConditionFault> {
        check_case(wire)?;
        let reading = Reading::of(wire)?;
        Self::compile_read(wire, segments).map(|test| (test, reading))
    }

    fn compile_read(wire: &ConditionWire, segments: &SegmentNames) -> Result<Self, ConditionFault> {
        let semver = |relation| SemverTest::compile(relation, wire).map(Self::Semver);
        let string = |place| StringTest::compile(place, wire).map(|test| Self::String(Box::new(test)));
        let date = |test| if wire.attribute == CURRENT_TIME { Self::Now(test) } else { Self::Date(test) };
        Ok(match wire.op {
            Operator::Exists => Self::Exists,
            Operator::In if wire.ignore_case => string(Place::Whole)?,
            Operator::In => Self::OneOf(Box::new(ScalarSet::of(&scalars(&wire.values, Case::Exact)?))),
            Operator::Contains => string(Place::Anywhere)?,
            Operator::StartsWith => string(Place::Start)?,
            Operator::EndsWith => string(Place::End)?,
            Operator::LessThan => Self::Number(NumberTest::compile(number::Side::Below, wire)?),
            Operator::AtMost => Self::Number(NumberTest::compile(number::Side::AtMost, wire)?),
            Operator::GreaterThan => Self::Number(NumberTest::compile(number::Side::Above, wire)?),
            Operator::AtLeast => Self::Number(NumberTest::compile(number::Side::AtLeast, wire)?),
            Operator::Matches => Self::Regex(Box::new(RegexTest::compile(wire)?)),
            Operator::Before => date(DateTest::compile(date::Side::Before, wire)?),
            Operator::After => date(DateTest::compile(date::Side::After, wire)?),
            Operator::SemverEqual => semver(Relation::Equal)?,
            Operator::SemverLessThan => semver(Relation::Less)?,
            Operator::SemverGreaterThan => semver(Relation::Greater)?,
            Operator::SemverAtLeast => semver(Relation::AtLeast)?,
            Operator::SemverAtMost => semver(Relation::AtMost)?,
            Operator::InCidr => Self::Cidr(CidrTest::compile(wire)?),
            Operator::ContainsAny => Self::Array(Box::new(ArrayTest::compile(Quantity::Any, wire)?)),
            Operator::ContainsAll => Self::Array(Box::new(ArrayTest::compile(Quantity::All, wire)?)),
            Operator::InSegment => Self::InSegment(segments.resolve(&wire.values)?),
        })
    }

    fn matches(&self, value: &Value) -> bool {
        match self {
            Self::Exists => true,
            Self::OneOf(set) => set.holds(value, Case::Exact),
            Self::OneText(texts) => value.as_str().is_some_and(|text| {
                let ends = Ends::of(text);
                texts.iter().any(|candidate| candidate.is(text, ends))
            }),
            Self::String(test) => value.as_str().is_some_and(|text| test.matches(text)),
            Self::Number(test) => value.as_f64().is_some_and(|number| test.matches(number)),
            Self::Regex(test) => test.matches(value),
            Self::Date(test) | Self::Now(test) => test.matches(value),
            Self::Semver(test) => test.matches(value),
            Self::Cidr(test) => test.matches(value),
            Self::Array(test) => test.matches(value),
            // Asked of the evaluation, never of an attribute.
            Self::InSegment(_) => false,
        }
    }
}

/// `ignore_case` where there is no case would be a misunderstanding, so it is refused.
const fn check_case(wire: &ConditionWire) -> Result<(), ConditionFault> {
    match wire.op {
        Operator::In
        | Operator::Contains
        | Operator::StartsWith
        | Operator::EndsWith
        | Operator::Matches
        | Operator::ContainsAny
        | Operator::ContainsAll => Ok(()),
        _ if wire.ignore_case => Err(ConditionFault::NoCase),
        _ => Ok(()),
    }
}

fn check_count(op: Operator, count: usize) -> Result<(), ConditionFault> {
    let (range, allowed) = match op {
        Operator::Exists => (0..=0, "none"),
        Operator::LessThan
        | Operator::AtMost
        | Operator::GreaterThan
        | Operator::AtLeast
        | Operator::Before
        | Operator::After
        | Operator::SemverLessThan
        | Operator::SemverGreaterThan
        | Operator::SemverAtLeast
        | Operator::SemverAtMost => (1..=1, "1"),
        Operator::Matches => (1..=REGEX_PATTERN_COUNT_MAX, "1 to 8"),
        Operator::ContainsAll => (1..=CONTAINS_ALL_VALUE_COUNT_MAX, "1 to 64"),
        Operator::In
        | Operator::Contains
        | Operator::StartsWith
        | Operator::EndsWith
        | Operator::SemverEqual
        | Operator::InCidr
        | Operator::InSegment
        | Operator::ContainsAny => (1..=CONDITION_VALUE_COUNT_MAX, "1 to 10000"),
    };
    if range.contains(&count) { Ok(()) } else { Err(ConditionFault::ValueCount { count, allowed }) }
}

#[cfg(test)]
mod tests;
