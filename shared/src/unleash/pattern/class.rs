//! Character classes of a pattern, from one bracket to the other, and what stands for a class in them.

use super::{Fault, Reader, printed};

impl Reader<'_> {
    /// Behind an opening bracket.
    pub(super) fn class(&mut self) -> Result<(), Fault> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            match self.rest.peek().copied().ok_or(Fault::Invalid)? {
                ']' if !is_first => break,
                '[' if self.rest.clone().nth(1) == Some(':') && self.named_class()? => {}
                '\\' if self.class_escape()? => {}
                _ => self.class_range()?,
            }
            is_first = false;
        }
        self.rest.next();
        self.atom("]");
        Ok(())
    }

    /// `[:alpha:]`; without the end it is no class but its characters.
    fn named_class(&mut self) -> Result<bool, Fault> {
        let rest: String = self.rest.clone().collect();
        let Some((name, _)) = rest.split_once(":]") else { return Ok(false) };
        let word = name.trim_start_matches("[:");
        if !CLASSES.contains(&word.strip_prefix('^').unwrap_or(word)) || name.len() != word.len() + 2 {
            return Err(Fault::Invalid);
        }
        self.out.extend([name, ":]"]);
        // All names are ASCII, so bytes are characters.
        self.rest.nth(name.len() + 1);
        Ok(true)
    }

    /// A class inside of a class; `false` when the escape stands for one character.
    fn class_escape(&mut self) -> Result<bool, Fault> {
        let text = match self.rest.clone().nth(1).ok_or(Fault::Invalid)? {
            c @ ('d' | 'D' | 'w' | 'W') => format!("\\{c}"),
            's' => SPACE.to_owned(),
            'S' => NO_SPACE.to_owned(),
            'p' | 'P' => return Err(Fault::Unsupported("Unicode classes")),
            _ => return Ok(false),
        };
        self.rest.nth(1);
        self.out.push_str(&text);
        Ok(true)
    }

    fn class_range(&mut self) -> Result<(), Fault> {
        let low = self.class_char()?;
        self.out.push_str(&in_class(low));
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('-') || ahead.peek() == Some(&']') {
            return Ok(());
        }
        self.rest = ahead;
        let high = self.class_char()?;
        if high < low {
            return Err(Fault::Invalid);
        }
        self.out.extend(["-", &in_class(high)]);
        Ok(())
    }

    fn class_char(&mut self) -> Result<char, Fault> {
        match self.rest.next().ok_or(Fault::Invalid)? {
            '\\' => self.escaped_char(),
            c => Ok(c),
        }
    }
}

/// White space of RE2's `\s`; ours also has the vertical tab.
pub(super) const SPACE: &str = r"\t\n\x0C\r ";
/// Everything else, up to the last character there is, which is printed as itself like all that are no ASCII.
const NO_SPACE: &str = "\\x00-\\x08\\x0B\\x0E-\\x1F!-\u{10FFFF}";

const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

fn in_class(c: char) -> String {
    match c {
        '\\' | ']' | '[' | '^' | '-' | '&' | '~' => format!("\\{c}"),
        c => printed(c).unwrap_or_else(|| c.to_string()),
    }
}
