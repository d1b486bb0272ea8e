//! Regular expressions that mean the same to LaunchDarkly's SDKs and to us. Never compiles one: that happens with the flag.
//!
//! An SDK uses the engine of its language, so a pattern is taken only if it is made of what all of them share:
//! literals, `.`, `^`, `$`, groups, alternatives, greedy and lazy repetitions, classes of single characters and ranges,
//! and `\d \w \b` with their opposites, which know ASCII only in JavaScript, Go and here. Even these differ on line
//! separators other than `\n` and on characters outside Unicode's basic plane.

/// What of the pattern is read differently elsewhere, if anything.
pub(super) fn foreign_part(pattern: &str) -> Option<&'static str> {
    let mut rest = pattern.chars().peekable();
    let mut place = Place::Outside;
    let mut previous = ' ';
    while let Some(found) = rest.next() {
        let next = rest.peek().copied().unwrap_or(' ');
        if found == '\\' {
            rest.next();
            if let Some(part) = foreign_escape(next, place) {
                return Some(part);
            }
            // Whatever it escapes, it is neither a bracket nor a quantifier.
            previous = ' ';
            place = place.behind_first();
            continue;
        }
        match place {
            Place::Outside => {
                if let Some(part) = foreign_outside(previous, found, next) {
                    return Some(part);
                }
                if found == '[' {
                    place = Place::ClassStart;
                }
            }
            Place::ClassStart | Place::Class => match found {
                ']' if place == Place::ClassStart => return Some("an empty class"),
                ']' => place = Place::Outside,
                '[' => return Some("a bracket in a class"),
                '&' | '~' | '-' if next == found => return Some("a class operator"),
                '^' if place == Place::ClassStart && next == ']' => return Some("an empty class"),
                _ => place = Place::Class,
            },
        }
        previous = found;
    }
    None
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    /// Behind the bracket.
    ClassStart,
    Class,
}

impl Place {
    const fn behind_first(self) -> Self {
        match self {
            Self::ClassStart => Self::Class,
            Self::Outside | Self::Class => self,
        }
    }
}

fn foreign_escape(escaped: char, place: Place) -> Option<&'static str> {
    match escaped {
        'd' | 'D' | 'w' | 'W' | 't' | 'n' | 'r' => None,
        'b' | 'B' if place == Place::Outside => None,
        's' | 'S' => Some("\\s, which knows more than ASCII in some engines"),
        '<' | '>' => Some("a word boundary or an escaped angle bracket"),
        _ if escaped.is_ascii_punctuation() => None,
        _ => Some("an escape that not every engine knows"),
    }
}

fn foreign_outside(previous: char, found: char, next: char) -> Option<&'static str> {
    let is_quantifier = |c: char| matches!(c, '*' | '+' | '?' | '}');
    match found {
        '(' if next == '?' => Some("a group with a question mark"),
        '*' | '+' | '{' if is_quantifier(previous) => Some("a possessive or doubled repetition"),
        '?' if previous == '?' => Some("a lazy or doubled repetition of an option"),
        '{' if !next.is_ascii_digit() => Some("an unescaped brace"),
        '}' if !previous.is_ascii_digit() && previous != ',' => Some("an unescaped brace"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_engines_share_is_taken() {
        for pattern in [
            "",
            "abc",
            "^a.c$",
            "a|b",
            "(ab)+c*",
            "a{2,3}b{4}c{5,}",
            r"\d+\.\w",
            r"^[\w.+-]+@example\.com$",
            "[^a-z]",
            "a+?b*?c",
            r"[\]\\^]",
            "[a^]",
            "ä",
            r"\bx\B",
            "[-a]",
            r"\/path\-x",
            r"a\}\{",
        ] {
            assert_eq!(foreign_part(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn what_differs_between_engines_is_told() {
        let rows = [
            ("(?i)a", "question mark"),
            ("(?=a)", "question mark"),
            ("(?<n>a)", "question mark"),
            (r"\s", "more than ASCII"),
            (r"[\S]", "more than ASCII"),
            (r"(a)\1", "not every engine"),
            (r"\p{L}", "not every engine"),
            (r"\u0041", "not every engine"),
            (r"\A", "not every engine"),
            (r"[\b]", "not every engine"),
            (r"\<a", "angle bracket"),
            ("a++", "possessive"),
            ("a**", "possessive"),
            ("a{2}{3}", "possessive"),
            ("a??", "of an option"),
            ("a{", "brace"),
            ("{x}", "brace"),
            ("x}", "brace"),
            ("[]a]", "empty class"),
            ("[^]", "empty class"),
            ("[[:alpha:]]", "bracket"),
            ("[a&&b]", "class operator"),
            ("[a--b]", "class operator"),
            ("\\", "not every engine"),
        ];
        for (pattern, expected) in rows {
            let found = foreign_part(pattern).unwrap_or_default();
            assert!(found.contains(expected), "{pattern}: {found}");
        }
    }
}
