//! RE2 patterns, as Unleash's clients read them, rewritten for our engine; decides what each pattern means, never matches.
//!
//! The result means the same in both engines, so reading it again gives it back. RE2's grammar is the one of its
//! `parse.cc` in Perl mode: <https://github.com/google/re2/wiki/Syntax>.

mod class;

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

use self::class::SPACE;
use crate::limits::REGEX_PATTERN_LEN_MAX;

/// What becomes of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Means the same in both engines.
    Same(String),
    /// RE2 refuses it, so Unleash finds it in no text.
    Invalid,
    /// Valid there, but not expressible here.
    Unsupported(&'static str),
}

/// How texts are compared with the pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folding {
    /// As they are.
    Exact,
    /// Upper and lower case of ASCII letters are the same.
    IgnoreCase,
}

enum Fault {
    Invalid,
    Unsupported(&'static str),
}

/// Reads a pattern.
pub fn read(pattern: &str, folding: Folding) -> Pattern {
    if pattern.len() > REGEX_PATTERN_LEN_MAX {
        return Pattern::Unsupported("more than 512 bytes");
    }
    let mut reader = Reader {
        rest: pattern.chars().peekable(),
        out: String::with_capacity(pattern.len()),
        depth: 0,
        names: BTreeSet::new(),
        last: Last::Start,
        folds: folding == Folding::IgnoreCase,
    };
    match reader.pattern() {
        Ok(()) if reader.folds && !reader.out.is_ascii() => {
            Pattern::Unsupported("letters beyond ASCII without regard to case")
        }
        Ok(()) => Pattern::Same(reader.out),
        Err(Fault::Invalid) => Pattern::Invalid,
        Err(Fault::Unsupported(what)) => Pattern::Unsupported(what),
    }
}

/// What stands in front, for the repetitions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Nothing that could be repeated.
    Start,
    Atom,
    Repetition,
    /// A repetition and then something that matches nothing: RE2 repeats the repetition.
    RepetitionBefore,
}

struct Reader<'p> {
    rest: Peekable<Chars<'p>>,
    out: String,
    depth: u32,
    names: BTreeSet<String>,
    last: Last,
    /// Somewhere in the pattern letters are compared without regard to case.
    folds: bool,
}

impl Reader<'_> {
    fn pattern(&mut self) -> Result<(), Fault> {
        while let Some(c) = self.rest.next() {
            match c {
                '(' => self.group()?,
                ')' => {
                    self.depth = self.depth.checked_sub(1).ok_or(Fault::Invalid)?;
                    self.atom(")");
                }
                '|' => {
                    self.out.push('|');
                    self.last = Last::Start;
                }
                '[' => self.class()?,
                '*' | '+' | '?' => {
                    self.repetition()?;
                    self.out.push(c);
                    self.lazy();
                }
                '{' => self.counted()?,
                '\\' => self.escape()?,
                '^' | '$' | '.' => self.atom(c.encode_utf8(&mut [0; 4])),
                _ => self.literal(c),
            }
        }
        if self.depth == 0 { Ok(()) } else { Err(Fault::Invalid) }
    }

    fn atom(&mut self, text: &str) {
        self.out.push_str(text);
        self.last = Last::Atom;
    }

    fn literal(&mut self, c: char) {
        if matches!(c, '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$') {
            self.out.push('\\');
        }
        self.out.push(c);
        self.last = Last::Atom;
    }

    /// Behind the opening parenthesis.
    fn group(&mut self) -> Result<(), Fault> {
        if self.rest.next_if_eq(&'?').is_none() {
            self.out.push('(');
            self.depth += 1;
            self.last = Last::Start;
            return Ok(());
        }
        let is_named = self.rest.clone().take(2).eq("P<".chars()) || self.rest.peek() == Some(&'<');
        if is_named { self.named_group() } else { self.flags() }
    }

    /// Behind `(?`. Names say nothing about matches, so they are dropped once they are checked.
    fn named_group(&mut self) -> Result<(), Fault> {
        self.rest.next_if_eq(&'P');
        self.rest.next();
        let mut name = String::new();
        loop {
            match self.rest.next().ok_or(Fault::Invalid)? {
                '>' => break,
                c if c.is_ascii_alphanumeric() || c == '_' => name.push(c),
                _ => return Err(Fault::Invalid),
            }
        }
        if name.is_empty() || !self.names.insert(name) {
            return Err(Fault::Invalid);
        }
        self.out.push('(');
        self.depth += 1;
        self.last = Last::Start;
        Ok(())
    }

    /// Behind `(?`.
    fn flags(&mut self) -> Result<(), Fault> {
        let (mut set, mut unset, mut is_negated, mut saw_flag) =
            (BTreeSet::new(), BTreeSet::new(), false, false);
        let end = loop {
            match self.rest.next().ok_or(Fault::Invalid)? {
                flag @ ('i' | 'm' | 's' | 'U') => {
                    saw_flag = true;
                    let _is_new = if is_negated { unset.insert(flag) } else { set.insert(flag) };
                }
                '-' if !is_negated => (is_negated, saw_flag) = (true, false),
                end @ (':' | ')') if !is_negated || saw_flag => break end,
                _ => return Err(Fault::Invalid),
            }
        };
        self.folds |= set.contains(&'i');
        set.retain(|flag| !unset.contains(flag));
        let minus = if unset.is_empty() { "" } else { "-" };
        let flags =
            set.iter().chain(minus.chars().collect::<Vec<_>>().iter()).chain(&unset).collect::<String>();
        if end == ':' {
            self.out.extend(["(?", &flags, ":"]);
            self.depth += 1;
            self.last = Last::Start;
        } else if !flags.is_empty() {
            self.out.extend(["(?", &flags, ")"]);
        }
        if end == ')' {
            self.nothing();
        }
        Ok(())
    }

    /// Behind something that is no atom: what stands in front of it may be repeated.
    fn nothing(&mut self) {
        if self.last == Last::Repetition {
            self.last = Last::RepetitionBefore;
        }
    }

    fn repetition(&mut self) -> Result<(), Fault> {
        match self.last {
            Last::Atom => self.last = Last::Repetition,
            Last::RepetitionBefore => return Err(Fault::Unsupported("repetitions of repetitions")),
            Last::Start | Last::Repetition => return Err(Fault::Invalid),
        }
        Ok(())
    }

    /// A question mark behind a repetition turns its greed round, which changes no answer.
    fn lazy(&mut self) {
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
    }

    /// Behind an opening brace, which is a literal unless a count follows.
    fn counted(&mut self) -> Result<(), Fault> {
        const COUNT_MAX: u32 = 1_000;
        let mut ahead = self.rest.clone();
        let Some((min, max, text)) = count(&mut ahead) else {
            self.literal('{');
            return Ok(());
        };
        if min > COUNT_MAX || max.is_some_and(|max| max > COUNT_MAX || max < min) {
            return Err(Fault::Invalid);
        }
        self.rest = ahead;
        self.repetition()?;
        self.out.push_str(&text);
        self.lazy();
        Ok(())
    }

    /// Behind a backslash, outside of classes.
    fn escape(&mut self) -> Result<(), Fault> {
        match self.rest.peek().copied().ok_or(Fault::Invalid)? {
            c @ ('A' | 'b' | 'B' | 'z' | 'd' | 'D' | 'w' | 'W') => {
                self.rest.next();
                self.atom(&format!("\\{c}"));
            }
            's' => {
                self.rest.next();
                self.atom(&format!("[{SPACE}]"));
            }
            'S' => {
                self.rest.next();
                self.atom(&format!("[^{SPACE}]"));
            }
            'Q' => {
                self.rest.next();
                self.quoted();
            }
            'p' | 'P' => return Err(Fault::Unsupported("Unicode classes")),
            _ => {
                let c = self.escaped_char()?;
                match printed(c) {
                    Some(text) => self.atom(&text),
                    None => self.literal(c),
                }
            }
        }
        Ok(())
    }

    /// Behind `\Q`: literals up to `\E` or the end.
    fn quoted(&mut self) {
        self.nothing();
        while let Some(c) = self.rest.next() {
            if c == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.literal(c);
        }
    }

    /// Behind a backslash that stands for one character.
    fn escaped_char(&mut self) -> Result<char, Fault> {
        let c = self.rest.next().ok_or(Fault::Invalid)?;
        match c {
            'a' => Ok('\u{7}'),
            'f' => Ok('\u{c}'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\u{b}'),
            'x' => self.hex_char(),
            '0' => Ok(self.octal_char(0)),
            '1'..='7' if self.rest.peek().is_some_and(|next| matches!(next, '0'..='7')) => {
                Ok(self.octal_char(c.to_digit(8).unwrap_or(0)))
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
            _ => Err(Fault::Invalid),
        }
    }

    /// Up to two more digits.
    fn octal_char(&mut self, mut code: u32) -> char {
        for _ in 0..2 {
            if let Some(digit) = self.rest.next_if(|next| matches!(next, '0'..='7')) {
                code = code * 8 + digit.to_digit(8).unwrap_or(0);
            }
        }
        char::from_u32(code).unwrap_or('\0')
    }

    /// Behind `\x`: two digits, or any number of them in braces.
    fn hex_char(&mut self) -> Result<char, Fault> {
        let mut code = 0;
        if self.rest.next_if_eq(&'{').is_some() {
            let mut count = 0;
            while let Some(digit) = self.rest.next_if(char::is_ascii_hexdigit) {
                code = code * 16 + digit.to_digit(16).unwrap_or(0);
                count += 1;
                if code > 0x0010_ffff {
                    return Err(Fault::Invalid);
                }
            }
            if count == 0 || self.rest.next() != Some('}') {
                return Err(Fault::Invalid);
            }
        } else {
            for _ in 0..2 {
                let digit = self.rest.next().and_then(|digit| digit.to_digit(16)).ok_or(Fault::Invalid)?;
                code = code * 16 + digit;
            }
        }
        char::from_u32(code).ok_or(Fault::Unsupported("half a surrogate pair"))
    }
}

/// `n}`, `n,}` or `n,m}` without leading zeros, as numbers and as a repetition's text.
fn count(rest: &mut Peekable<Chars<'_>>) -> Option<(u32, Option<u32>, String)> {
    let mut number = || {
        let mut digits = String::new();
        while let Some(digit) = rest.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        let is_plain = !digits.is_empty() && (digits == "0" || !digits.starts_with('0'));
        // More digits than a count may have are a count that is too high.
        is_plain.then(|| digits.parse::<u32>().unwrap_or(u32::MAX))
    };
    let min = number()?;
    match rest.next()? {
        '}' => Some((min, Some(min), format!("{{{min}}}"))),
        ',' if rest.next_if_eq(&'}').is_some() => Some((min, None, format!("{{{min},}}"))),
        ',' => {
            let mut digits = String::new();
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            let is_plain = !digits.is_empty() && (digits == "0" || !digits.starts_with('0'));
            let max = is_plain.then(|| digits.parse::<u32>().unwrap_or(u32::MAX))?;
            (rest.next()? == '}').then(|| (min, Some(max), format!("{{{min},{max}}}")))
        }
        _ => None,
    }
}

/// A character that is better not written as itself.
fn printed(c: char) -> Option<String> {
    match c {
        '\t' => Some(r"\t".to_owned()),
        '\n' => Some(r"\n".to_owned()),
        '\r' => Some(r"\r".to_owned()),
        c if c.is_ascii_control() => Some(format!(r"\x{:02X}", u32::from(c))),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
