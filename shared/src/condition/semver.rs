//! Precedence of versions as Semantic Versioning 2.0.0 defines it; never guesses at texts that are none.
//!
//! Strict: three numbers without leading zeros, no leading `v`. Numbers of any length compare by value, build
//! metadata is checked and then ignored.

use std::cmp::Ordering;

use serde_json::Value;

use super::ConditionFault;
use crate::definition::{ConditionWire, Operator};
use crate::limits::STRING_LEN_MAX;

/// A relation and the versions of which one has to be in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SemverTest {
    relation: Relation,
    bounds: Bounds,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Bounds {
    /// The commonest: one release whose numbers are small.
    Release(Release),
    Any(Box<[Version<Box<str>>]>),
}

/// Major, minor and patch of a version without pre-release, each at most nine digits; ordered as precedence orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Release([u32; 3]);

impl Release {
    /// `None` for everything else, which is not to say that it is no version.
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.as_bytes();
        let mut numbers = [0_u32; 3];
        for (at, number) in numbers.iter_mut().enumerate() {
            if at > 0 {
                rest = rest.strip_prefix(b".")?;
            }
            let mut digits = 0;
            while let Some((digit @ b'0'..=b'9', behind)) = rest.split_first() {
                // Nine digits fit into 32 bits; a zero at the beginning has to be the whole number.
                if digits == 9 || (digits == 1 && *number == 0) {
                    return None;
                }
                *number = *number * 10 + u32::from(digit - b'0');
                digits += 1;
                rest = behind;
            }
            if digits == 0 {
                return None;
            }
        }
        rest.is_empty().then_some(Self(numbers))
    }
}

/// How the attribute has to relate to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    Less,
    Greater,
    AtLeast,
    AtMost,
}

/// The parts that precedence looks at, digits and identifiers as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version<Text> {
    major: Text,
    minor: Text,
    patch: Text,
    /// Identifiers with their dots.
    pre_release: Option<Text>,
}

impl SemverTest {
    /// A comparison with a release; `None` when the text is none.
    pub(super) fn of_release(relation: Relation, text: &str) -> Option<Self> {
        Release::parse(text).map(|release| Self { relation, bounds: Bounds::Release(release) })
    }

    pub(super) fn compile(relation: Relation, wire: &ConditionWire) -> Result<Self, ConditionFault> {
        if let [Value::String(only)] = wire.values.as_slice()
            && let Some(test) = Self::of_release(relation, only)
        {
            return Ok(test);
        }
        let versions = wire.values.iter().enumerate().map(|(at, value)| {
            let text = value
                .as_str()
                .filter(|text| text.len() <= STRING_LEN_MAX)
                .ok_or(ConditionFault::ValueType { at, expected: "a text of at most 4096 bytes" })?;
            let version = Version::parse(text).ok_or_else(|| ConditionFault::ValueForm {
                at,
                form: "a semantic version",
                reason: "expected like 1.2.3, 1.2.3-rc.1 or 1.2.3+build, without leading v or zeros"
                    .to_owned(),
            })?;
            Ok(version.to_owned_parts())
        });
        Ok(Self { relation, bounds: Bounds::Any(versions.collect::<Result<_, _>>()?) })
    }

    pub(super) fn matches(&self, value: &Value) -> bool {
        let Some(text) = value.as_str() else { return false };
        match &self.bounds {
            Bounds::Release(bound) => match Release::parse(text) {
                Some(release) => self.relation.holds(release.cmp(bound)),
                None => Version::parse(text).is_some_and(|version| {
                    let [major, minor, patch] = bound.0.map(|number| number.to_string());
                    self.relation.holds(version.precedence(&Version {
                        major,
                        minor,
                        patch,
                        pre_release: None,
                    }))
                }),
            },
            Bounds::Any(versions) => Version::parse(text).is_some_and(|version| {
                versions.iter().any(|bound| self.relation.holds(version.precedence(bound)))
            }),
        }
    }
}

/// Whether a text is a version.
pub(super) fn is_version(text: &str) -> bool {
    Version::parse(text).is_some()
}

impl Relation {
    /// `None` for operators that compare no versions.
    pub(super) const fn of(op: Operator) -> Option<Self> {
        match op {
            Operator::SemverEqual => Some(Self::Equal),
            Operator::SemverLessThan => Some(Self::Less),
            Operator::SemverGreaterThan => Some(Self::Greater),
            Operator::SemverAtLeast => Some(Self::AtLeast),
            Operator::SemverAtMost => Some(Self::AtMost),
            _ => None,
        }
    }

    const fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
            Self::AtMost => order.is_le(),
        }
    }
}

impl<'a> Version<&'a str> {
    /// Borrows everything and reads each byte once or twice: an evaluation allocates nothing.
    fn parse(text: &'a str) -> Option<Self> {
        let (major, rest) = split_number(text)?;
        let (minor, rest) = split_number(rest.strip_prefix('.')?)?;
        let (patch, rest) = split_number(rest.strip_prefix('.')?)?;
        let (pre_release, build) = match rest.strip_prefix('-') {
            Some(rest) => match rest.split_once('+') {
                Some((pre_release, build)) => (Some(pre_release), Some(build)),
                None => (Some(rest), None),
            },
            None if rest.is_empty() => (None, None),
            None => (None, Some(rest.strip_prefix('+')?)),
        };
        let is_valid = pre_release.is_none_or(|list| list.split('.').all(is_pre_release_identifier))
            && build.is_none_or(|list| list.split('.').all(is_identifier));
        is_valid.then_some(Self { major, minor, patch, pre_release })
    }

    fn to_owned_parts(&self) -> Version<Box<str>> {
        Version {
            major: self.major.into(),
            minor: self.minor.into(),
            patch: self.patch.into(),
            pre_release: self.pre_release.map(Into::into),
        }
    }

    fn precedence<Text: AsRef<str>>(&self, other: &Version<Text>) -> Ordering {
        compare_numbers(self.major, other.major.as_ref())
            .then_with(|| compare_numbers(self.minor, other.minor.as_ref()))
            .then_with(|| compare_numbers(self.patch, other.patch.as_ref()))
            .then_with(|| match (self.pre_release, &other.pre_release) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(left), Some(right)) => compare_pre_releases(left, right.as_ref()),
            })
    }
}

/// The number that the text starts with, and what follows.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at_checked(len).filter(|(number, _)| is_number(number))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_number(text: &str) -> bool {
    is_digits(text) && (text.len() == 1 || !text.starts_with('0'))
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_pre_release_identifier(text: &str) -> bool {
    if is_digits(text) { is_number(text) } else { is_identifier(text) }
}

/// Without leading zeros the longer number is the larger one, so no number is too long.
fn compare_numbers(left: &str, right: &str) -> Ordering {
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

/// Identifier by identifier; numbers before words, and a longer list after its own beginning.
fn compare_pre_releases(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(left), Some(right)) => match (is_digits(left), is_digits(right)) {
                (true, true) => compare_numbers(left, right),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => left.cmp(right),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(left: &str, right: &str) -> Ordering {
        Version::parse(left).unwrap().precedence(&Version::parse(right).unwrap())
    }

    #[test]
    fn numbers_of_any_length_compare_by_value() {
        let long = |digit: char| std::iter::repeat_n(digit, 400).collect::<String>();
        assert_eq!(order(&format!("{}.0.0", long('8')), &format!("{}.0.0", long('9'))), Ordering::Less);
        assert_eq!(order(&format!("1.0.0-{}", long('9')), "1.0.0-18446744073709551616"), Ordering::Greater);
        assert_eq!(order("1.0.0-18446744073709551616", "1.0.0-18446744073709551615"), Ordering::Greater);
    }

    #[test]
    fn texts_that_are_no_version_are_refused() {
        for text in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "v1.2.3",
            "V1.2.3",
            " 1.2.3",
            "1.2.3 ",
            "01.2.3",
            "1.02.3",
            "1.2.03",
            "1.2.3-",
            "1.2.3-01",
            "1.2.3-a..b",
            "1.2.3-a.",
            "1.2.3+",
            "1.2.3+a..b",
            "1.2.3+a+b",
            "1.2.3-ä",
            "-1.2.3",
            "+1.2.3",
            "1..3",
            "1.2.3-a_b",
            "1.2.x",
            "=1.2.3",
            "1.2.3-+b",
        ] {
            assert!(Version::parse(text).is_none(), "{text}");
        }
        for text in
            ["0.0.0", "1.2.3-0", "1.2.3-0a", "1.2.3--", "1.2.3+001", "1.2.3-a-b.1+x-y.01", "1.2.3-00a"]
        {
            assert!(Version::parse(text).is_some(), "{text}");
        }
    }

    /// Few distinct parts, so that equal and nearly equal versions are frequent.
    const VERSION: &str = r"(0|1|10|18446744073709551616)\.[01]\.[01](-(0|2|10|a|b|A|-|1a)(\.(0|2|10|a|b|A|-|1a)){0,2})?(\+(01|x))?";

    proptest! {
        #[test]
        fn the_order_is_total_and_antisymmetric(a in VERSION, b in VERSION, c in VERSION) {
            prop_assert_eq!(order(&a, &b), order(&b, &a).reverse());
            prop_assert_eq!(order(&a, &a), Ordering::Equal);
            if order(&a, &b).is_le() && order(&b, &c).is_le() {
                prop_assert!(order(&a, &c).is_le());
                prop_assert_eq!(order(&a, &c).is_eq(), order(&a, &b).is_eq() && order(&b, &c).is_eq());
            }
            let without_build = |text: &str| text.split('+').next().map(str::to_owned);
            prop_assert_eq!(order(&a, &b).is_eq(), without_build(&a) == without_build(&b));
        }

        #[test]
        fn releases_are_versions_and_ordered_like_them(a in VERSION, b in VERSION, near in r"[0-9]{0,11}\.[0-9]{1,2}\.[0-9]{1,2}") {
            for text in [&a, &b, &near] {
                prop_assert!(Release::parse(text).is_none() || Version::parse(text).is_some());
            }
            if let (Some(left), Some(right)) = (Release::parse(&a), Release::parse(&b)) {
                prop_assert_eq!(left.cmp(&right), order(&a, &b));
            }
            for op in ["semver_equal", "semver_less_than", "semver_at_least"] {
                let wire = serde_json::json!({ "attribute": "v", "op": op, "values": [b] });
                let relation = match op {
                    "semver_equal" => Relation::Equal,
                    "semver_less_than" => Relation::Less,
                    _ => Relation::AtLeast,
                };
                let test = SemverTest::compile(relation, &serde_json::from_value(wire).unwrap()).unwrap();
                prop_assert_eq!(test.matches(&a.as_str().into()), relation.holds(order(&a, &b)));
            }
        }

        #[test]
        fn any_text_is_an_answer(text in ".*", near in "[0-9.+a-]{0,24}") {
            let _ = Version::parse(&text);
            let _ = Version::parse(&near);
        }
    }
}
