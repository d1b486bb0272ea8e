//! A text that a pattern probably finds, to have one of either kind among the samples. Best effort: a text that it does
//! not find after all costs a sample and nothing else.

/// Characters of an example; repetitions end here.
const EXAMPLE_LEN_MAX: usize = 512;

/// `None` when the pattern uses what this does not read.
pub(super) fn example(pattern: &str) -> Option<String> {
    let mut rest = Rest { chars: pattern.chars().collect(), at: 0 };
    let text = rest.alternatives()?;
    (rest.at == rest.chars.len()).then_some(text)
}

/// What is not read yet.
struct Rest {
    chars: Vec<char>,
    at: usize,
}

impl Rest {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    /// The first alternative's text; the others are read over.
    fn alternatives(&mut self) -> Option<String> {
        let first = self.sequence()?;
        while self.peek() == Some('|') {
            self.next();
            self.sequence()?;
        }
        Some(first)
    }

    fn sequence(&mut self) -> Option<String> {
        let mut text = String::new();
        while let Some(next) = self.peek().filter(|next| !matches!(next, '|' | ')')) {
            self.next();
            let atom = match next {
                '^' | '$' => String::new(),
                '.' => "a".to_owned(),
                '\\' => escape(self.next()?)?,
                '[' => self.class()?.into(),
                '(' => self.group()?,
                plain => plain.into(),
            };
            let count = self.repetition()?;
            for _ in 0..count {
                text.push_str(&atom);
            }
            if text.len() > EXAMPLE_LEN_MAX {
                return None;
            }
        }
        Some(text)
    }

    fn group(&mut self) -> Option<String> {
        if self.peek() == Some('?') {
            // Names and switches end with `>` or `:`; a switch may stand by itself.
            loop {
                match self.next()? {
                    '>' | ':' => break,
                    ')' => return Some(String::new()),
                    _ => {}
                }
            }
        }
        let text = self.alternatives()?;
        (self.next()? == ')').then_some(text)
    }

    /// A member of a class; `~` for one that is negated, which few of them name.
    fn class(&mut self) -> Option<char> {
        let is_negated = self.peek() == Some('^');
        if is_negated {
            self.next();
        }
        let first = match self.next()? {
            '\\' => escape(self.next()?)?.chars().next()?,
            '[' => return None,
            first => first,
        };
        loop {
            match self.next()? {
                ']' => return Some(if is_negated { '~' } else { first }),
                '\\' => {
                    self.next()?;
                }
                '[' => return None,
                _ => {}
            }
        }
    }

    /// How often what stands before comes: once for `*`, `+` and `?`.
    fn repetition(&mut self) -> Option<usize> {
        let count = match self.peek() {
            Some('*' | '+' | '?') => {
                self.next();
                1
            }
            Some('{') => {
                let from = self.at + 1;
                while self.next()? != '}' {}
                let digits: String =
                    self.chars.get(from..)?.iter().take_while(|c| c.is_ascii_digit()).collect();
                digits.parse().ok().filter(|count| *count <= EXAMPLE_LEN_MAX)?
            }
            _ => return Some(1),
        };
        // Lazy or not, the same text will do.
        if self.peek() == Some('?') {
            self.next();
        }
        Some(count)
    }
}

fn escape(escaped: char) -> Option<String> {
    Some(match escaped {
        'd' => "0".to_owned(),
        'w' | 'D' | 'S' => "a".to_owned(),
        's' | 'W' => " ".to_owned(),
        'b' | 'B' | 'A' | 'z' => String::new(),
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
        letter if letter.is_ascii_alphanumeric() => return None,
        plain => plain.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_patterns_find_their_examples() {
        for pattern in [
            r"^[a-z]+@example\.com$",
            r"^\d{3}-\d{4}$",
            "(?i)beta|alpha",
            r"^(?:eu|us)-(west|east)-\d$",
            "[^x]y",
            r"^v?\d+\.\d+(\.\d+)?$",
            "a{2,}",
            r"\bfoo\b",
            ".*",
        ] {
            let text = example(pattern).unwrap_or_else(|| panic!("{pattern}"));
            assert!(regex_lite::Regex::new(pattern).unwrap().is_match(&text), "{pattern} {text:?}");
        }
        for beyond in [r"\p{L}", "[[:alpha:]]", "a{9999}", "(", "a)"] {
            assert_eq!(example(beyond), None, "{beyond}");
        }
    }
}
