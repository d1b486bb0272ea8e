//! Regular expressions in linear time, bounded in length and compiled size; never backtracks.
//!
//! A pattern is searched for anywhere in the text unless it is anchored. `\d`, `\w`, `\s`, `\b` and `ignore_case` know
//! ASCII only; look-around, back-references and Unicode classes (`\p`) are refused when the flag is loaded.

use regex_lite::{Regex, RegexBuilder};
use serde_json::Value;

use super::ConditionFault;
use crate::definition::ConditionWire;
use crate::limits::{REGEX_COMPILED_LEN_MAX, REGEX_GROUP_COUNT_MAX, REGEX_PATTERN_LEN_MAX};

/// Patterns, one of which has to be found.
#[derive(Debug, Clone)]
pub(super) struct RegexTest {
    patterns: Vec<Regex>,
    ignore_case: bool,
}

/// Equal when written equally: what a pattern matches follows from its text and the case rule.
impl PartialEq for RegexTest {
    fn eq(&self, other: &Self) -> bool {
        self.ignore_case == other.ignore_case
            && self.patterns.iter().map(Regex::as_str).eq(other.patterns.iter().map(Regex::as_str))
    }
}

impl RegexTest {
    pub(super) fn compile(wire: &ConditionWire) -> Result<Self, ConditionFault> {
        let patterns = wire.values.iter().enumerate().map(|(at, value)| {
            let pattern = value
                .as_str()
                .filter(|pattern| pattern.len() <= REGEX_PATTERN_LEN_MAX)
                .ok_or(ConditionFault::ValueType { at, expected: "a pattern of at most 512 bytes" })?;
            compile_pattern(pattern, wire.ignore_case).map_err(|reason| ConditionFault::ValueForm {
                at,
                form: "a regular expression",
                reason,
            })
        });
        Ok(Self { patterns: patterns.collect::<Result<_, _>>()?, ignore_case: wire.ignore_case })
    }

    pub(super) const fn pattern_count(&self) -> usize {
        self.patterns.len()
    }

    pub(super) fn matches(&self, value: &Value) -> bool {
        value.as_str().is_some_and(|text| self.patterns.iter().any(|pattern| pattern.is_match(text)))
    }
}

fn compile_pattern(pattern: &str, ignore_case: bool) -> Result<Regex, String> {
    let regex = RegexBuilder::new(pattern)
        .case_insensitive(ignore_case)
        .size_limit(REGEX_COMPILED_LEN_MAX)
        .build()
        .map_err(|fault| fault.to_string())?;
    // The engine counts the whole match as a group.
    let groups = regex.captures_len().saturating_sub(1);
    if groups > REGEX_GROUP_COUNT_MAX {
        return Err(format!(
            "{groups} capturing groups, the limit is {REGEX_GROUP_COUNT_MAX}: write (?:...)"
        ));
    }
    Ok(regex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn compile(pattern: &str) -> Result<RegexTest, ConditionFault> {
        let wire = json!({ "attribute": "a", "op": "matches", "values": [pattern] });
        RegexTest::compile(&serde_json::from_value(wire).unwrap())
    }

    #[test]
    fn pattern_length_is_bounded_on_each_side() {
        assert!(compile(&"a".repeat(REGEX_PATTERN_LEN_MAX)).is_ok());
        assert!(compile(&format!("(?i){}", "k".repeat(REGEX_PATTERN_LEN_MAX - 4))).is_ok());
        assert_eq!(
            compile(&"a".repeat(REGEX_PATTERN_LEN_MAX + 1)),
            Err(ConditionFault::ValueType { at: 0, expected: "a pattern of at most 512 bytes" })
        );
    }

    #[test]
    fn compiled_size_is_bounded_on_each_side() {
        let mut states: Vec<usize> =
            (1..2_000).filter(|count| compile(&format!("a{{{count}}}")).is_ok()).collect();
        let largest = states.pop().unwrap();
        assert_eq!(states.len(), largest - 1, "the limit is one threshold");
        assert!((950..=1_050).contains(&largest), "{largest} states are what limits.rs says");
        let fault = compile(&format!("a{{{}}}", largest + 1)).unwrap_err().to_string();
        assert!(fault.contains("values[0] is not a regular expression: "), "{fault}");
        assert!(compile("((((a{9}){9}){9}){9}){9}").is_err());
    }

    #[test]
    fn capturing_groups_are_bounded_on_each_side_and_others_are_not() {
        assert!(compile(&"(a)".repeat(REGEX_GROUP_COUNT_MAX)).is_ok());
        let fault = compile(&"(a)".repeat(REGEX_GROUP_COUNT_MAX + 1)).unwrap_err().to_string();
        assert!(fault.contains("17 capturing groups, the limit is 16"), "{fault}");
        assert!(compile(&"(?:a)".repeat(REGEX_GROUP_COUNT_MAX + 1)).is_ok());
    }

    #[test]
    fn a_pattern_for_a_whole_version_fits() {
        let recommended = r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$";
        let test = compile(recommended).unwrap();
        assert!(test.matches(&json!("1.0.0-rc.1+x")) && !test.matches(&json!("1.0")));
    }

    #[test]
    fn a_pattern_that_makes_backtracking_explode_answers_at_once() {
        let text = json!("a".repeat(crate::limits::STRING_LEN_MAX));
        for pattern in ["^(a+)+$", "(a|a)*b", "(a*)*b", "(.*)(.*)(.*)(.*)x"] {
            assert_eq!(compile(pattern).unwrap().matches(&text), pattern == "^(a+)+$");
        }
    }

    #[test]
    fn unsupported_syntax_is_refused() {
        for pattern in ["(", "[", "a{2,1}", "*", r"(a)\1", "(?=a)", "(?<!a)", r"\p{L}", r"\", "(?i"] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
        assert!(compile(&format!("{}{}", "(".repeat(200), ")".repeat(200))).is_err());
    }

    proptest! {
        #[test]
        fn any_pattern_on_any_text_is_an_answer(
            any in ".*",
            near in r"([a-c.^$|()\[\]*+?{},0-9\\bdDwWsSi:<>!=&~-]){0,24}",
            text in "[a-c0-9 ]*",
        ) {
            for pattern in [any, near] {
                if let Ok(test) = compile(&pattern) {
                    let _ = test.matches(&text.as_str().into());
                }
            }
        }
    }
}
