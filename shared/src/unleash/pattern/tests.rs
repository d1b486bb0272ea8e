//! Tests of patterns as a whole; never built into the product.

use proptest::prelude::*;
use regex_lite::Regex;

use super::*;

fn same(pattern: &str) -> String {
    match read(pattern, Folding::Exact) {
        Pattern::Same(text) => text,
        other => panic!("{pattern}: {other:?}"),
    }
}

#[test]
fn plain_patterns_stay_as_they_are() {
    for pattern in [
        "^cat$",
        "^[^@]+@[^@]+$",
        r"^user\d{3}$",
        "^[[:alpha:]]+$",
        "^[[:^alpha:]_]+$",
        r"\bcat\b",
        "^(foo|fo)$",
        "^(?:ab)?c$",
        "^a{2,4}$",
        "^a.*?b$",
        "^(?i)abc$",
        "(?m)^foo$",
        "^(?s)a.b$",
        "(?i-s:a)",
        r"a\.b\\",
        "",
        "a||b",
        "()",
        "^*",
        "ä+",
    ] {
        assert_eq!(same(pattern), pattern);
    }
}

#[test]
fn what_the_engines_write_differently_is_rewritten() {
    let rows = [
        ("a{", r"a\{"),
        ("a{,3}", r"a\{,3\}"),
        ("a{02}", r"a\{02\}"),
        ("x]}", r"x\]\}"),
        (r"\Qa.b\E+", r"a\.b+"),
        (r"\Qa\", r"a\\"),
        (r"\_\@\<", "_@<"),
        (r"\07\101", r"\x07A"),
        (r"\x41\x{e4}", "Aä"),
        (r"\s\S", r"[\t\n\x0C\r ][^\t\n\x0C\r ]"),
        (r"[\s\S]", "[\\t\\n\\x0C\\r \\x00-\\x08\\x0B\\x0E-\\x1F!-\u{10FFFF}]"),
        ("[]a]", r"[\]a]"),
        ("[^]a]", r"[^\]a]"),
        ("[a-c-e]", r"[a-c\-e]"),
        ("[a-]", r"[a\-]"),
        ("[[a]", r"[\[a]"),
        ("[a&&b~~c]", r"[a\&\&b\~\~c]"),
        ("[--/]", r"[\--/]"),
        ("(?P<name>a)(?<other>b)", "(a)(b)"),
        ("(?ii)a", "(?i)a"),
        ("(?)a", "a"),
    ];
    for (pattern, expected) in rows {
        assert_eq!(same(pattern), expected, "{pattern}");
        assert!(Regex::new(expected).is_ok(), "{expected}");
    }
}

#[test]
fn what_re2_refuses_is_invalid() {
    // Each of these throws in `RE2JS.compile`.
    for pattern in [
        "(regex",
        ")",
        "^(?=a)b$",
        "(?!a)",
        "(?<=a)b",
        "(?<!a)b",
        r"^(a)\1$",
        r"\8",
        r"\C",
        r"\e",
        r"\u0041",
        r"\Z",
        r"\",
        "*a",
        "a**",
        "a+*",
        "a{2}{3}",
        "a??+",
        "(*a)",
        "a|*",
        "{2}",
        "a{1001}",
        "a{3,2}",
        "[a",
        "[]",
        "[z-a]",
        "[[:foo:]]",
        r"[a-\d]",
        "(?P<a>x)(?P<a>y)",
        "(?P<>x)",
        "(?P<ä>x)",
        "(?P=a)",
        "(?x)a",
        "(?i-)",
        "(?--i)",
        "(?>a)",
        r"\x4",
        r"\x{110000}",
        r"\x{}",
        "(?:",
    ] {
        assert_eq!(read(pattern, Folding::Exact), Pattern::Invalid, "{pattern}");
    }
}

#[test]
fn what_only_re2_can_is_unsupported() {
    for (pattern, folding) in [
        (r"\pL", Folding::Exact),
        (r"[\p{Greek}]", Folding::Exact),
        ("ä", Folding::IgnoreCase),
        ("(?i)ä", Folding::Exact),
        (r"a*(?i)*", Folding::Exact),
        (r"a*\Q\E*", Folding::Exact),
    ] {
        assert!(matches!(read(pattern, folding), Pattern::Unsupported(_)), "{pattern}");
    }
    assert_eq!(read("abc", Folding::IgnoreCase), Pattern::Same("abc".to_owned()));
}

proptest! {
    #[test]
    fn a_pattern_that_was_read_reads_the_same_again(
        pattern in r"([abz019]|[\[\]()|*+?{}^$.,:<>&~-]|\\[adswDSWbBAzQExt01pn.\[\]-]|\(\?[imsU:)-]){0,12}",
    ) {
        if let Pattern::Same(text) = read(&pattern, Folding::Exact) {
            prop_assert_eq!(read(&text, Folding::Exact), Pattern::Same(text.clone()), "{}", pattern);
            prop_assert!(Regex::new(&text).is_ok(), "{pattern} became {text}: {:?}", Regex::new(&text));
        }
    }

    #[test]
    fn any_text_is_an_answer(pattern in ".*") {
        let _ = read(&pattern, Folding::Exact);
    }
}
