//! What is wrong with a JSON value of another shape, in words: where it stands, what it must be, and what it is.

use std::fmt;

use serde::de::{Error, Expected, Unexpected};

use super::place::{Place, escaped};

/// Characters of a text that a message shows.
const SHOWN_COUNT_MAX: usize = 60;
/// Characters of a name that is compared with the known ones: none of those is longer.
const NAME_COUNT_MAX: usize = 64;

/// Why a value does not have the shape that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit(Box<Detail>);

/// In a box: every step of reading may return one, and hardly any does.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Detail {
    /// `rules[0].op`, and as RFC 6901 writes it; `None` until the place is known.
    place: Option<(String, String)>,
    complaint: Complaint,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Complaint {
    /// `must be …`, of what stands at the place.
    Predicate(String),
    /// A field is not there.
    Missing(&'static str),
    /// A field is there that nobody knows.
    Unknown { name: String, known: &'static [&'static str] },
    /// A sentence that a type has of its own.
    Sentence(String),
}

impl Misfit {
    /// Something else than was asked for stands there.
    pub(super) fn wrong(wanted: &str, found: &Unexpected<'_>) -> Self {
        Complaint::Predicate(format!("must be {wanted}, but is {}", told(found))).into()
    }

    /// The same for JSON of which only the bytes are known.
    pub(super) fn another(bytes: &[u8], wanted: &str) -> Self {
        let found = match bytes.trim_ascii_start().first() {
            Some(b'[') => Unexpected::Seq,
            Some(b'{') => Unexpected::Map,
            Some(b'n') => Unexpected::Unit,
            Some(b't') => Unexpected::Bool(true),
            Some(b'f') => Unexpected::Bool(false),
            Some(b'"') => Unexpected::Other("a string"),
            _ => Unexpected::Other("a number"),
        };
        Self::wrong(wanted, &found)
    }

    /// Says where, unless a place further inside has been named.
    pub(crate) fn at(self, place: &Place<'_>) -> Self {
        let Self(mut detail) = self;
        detail.place.get_or_insert_with(|| (place.to_string(), place.pointer()));
        Self(detail)
    }

    /// The field that it is about, as in `rules[0].op`; nothing when it is the whole document.
    pub fn field(&self) -> String {
        let place = self.0.place.as_ref().map_or("", |(place, _)| place);
        match self.name() {
            Some(name) if place.is_empty() => name.to_owned(),
            Some(name) => format!("{place}.{name}"),
            None => place.to_owned(),
        }
    }

    /// The same as RFC 6901 writes it: `/rules/0/op`.
    pub fn pointer(&self) -> String {
        let place = self.0.place.as_ref().map_or("", |(_, pointer)| pointer);
        match self.name() {
            Some(name) => format!("{place}/{}", escaped(name)),
            None => place.to_owned(),
        }
    }

    /// Whether a field is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self.0.complaint, Complaint::Missing(_))
    }

    /// The field that is missing or unknown.
    fn name(&self) -> Option<&str> {
        match &self.0.complaint {
            Complaint::Missing(name) => Some(name),
            Complaint::Unknown { name, .. } => Some(name),
            Complaint::Predicate(_) | Complaint::Sentence(_) => None,
        }
    }

    /// The sentence; `subject` is what the whole document is called: `the body`, `the event`.
    pub fn of(&self, subject: &str) -> String {
        let field = self.field();
        match &self.0.complaint {
            Complaint::Missing(_) => format!("{field} is missing"),
            Complaint::Unknown { name, known } => format!("{field} is unknown{}", instead(name, known)),
            Complaint::Predicate(said) if field.is_empty() => format!("{subject} {said}"),
            Complaint::Predicate(said) => format!("{field} {said}"),
            // Some types name their field themselves.
            Complaint::Sentence(said) if field.is_empty() || names(said, &field) => said.clone(),
            Complaint::Sentence(said) => format!("{field}: {said}"),
        }
    }
}

/// Whether a sentence begins with its field's own name, perhaps behind what it is of: `project key has …`.
fn names(said: &str, field: &str) -> bool {
    said.split(' ').take(2).any(|word| word == field)
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.of("it"))
    }
}

impl std::error::Error for Misfit {}

impl From<Complaint> for Misfit {
    fn from(complaint: Complaint) -> Self {
        Self(Box::new(Detail { place: None, complaint }))
    }
}

/// What types say when they are derived, each in one phrase.
impl Error for Misfit {
    fn custom<T: fmt::Display>(said: T) -> Self {
        Complaint::Sentence(said.to_string()).into()
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::wrong(&phrase(wanted), &found)
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::wrong(&phrase(wanted), &found)
    }

    fn invalid_length(count: usize, wanted: &dyn Expected) -> Self {
        Complaint::Predicate(format!("must be {}, but has {count} entries", phrase(wanted))).into()
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        let guess = nearest(name, known).map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
        let found = told(&Unexpected::Str(name));
        Complaint::Predicate(format!("must be {}, but is {found}{guess}", one_of(known))).into()
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Complaint::Unknown { name: shown(name), known }.into()
    }

    fn missing_field(name: &'static str) -> Self {
        Complaint::Missing(name).into()
    }

    fn duplicate_field(name: &'static str) -> Self {
        Complaint::Predicate(format!("repeats the key {name:?}")).into()
    }
}

/// `"a", "b" or "c"`.
pub(super) fn one_of(known: &[&str]) -> String {
    match known {
        [] => "nothing".to_owned(),
        [only] => format!("{only:?}"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|name| format!("{name:?}")).collect();
            format!("{} or {last:?}", first.join(", "))
        }
    }
}

/// What a type says that it wants, in the words of JSON.
fn phrase(wanted: &dyn Expected) -> String {
    let said = wanted.to_string();
    let words = match said.as_str() {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 on",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        "unit" => "null",
        said if said.starts_with("struct ") => "an object",
        said => said,
    };
    words.to_owned()
}

/// What is there instead.
fn told(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(truth) => truth.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) => format!("{number:?}"),
        Unexpected::Str(text) => format!("the string {:?}", shown(text)),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        other => other.to_string(),
    }
}

/// Its beginning, when it is long.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_COUNT_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// Says of a name that nobody knows it, and what may have been meant.
pub fn unknown(name: &str, known: &[&str]) -> String {
    let name = shown(name);
    format!("{name} is unknown{}", instead(&name, known))
}

/// What to write in the place of an unknown name.
fn instead(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!(": did you mean {near:?}?"),
        None if known.is_empty() => String::new(),
        None => format!("; known are {}", one_of(known).replace(" or ", " and ")),
    }
}

/// The known name that is a slip of the fingers away, or the only one that begins so.
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let mut longer = known.iter().filter(|candidate| name.len() > 2 && candidate.starts_with(name));
    if let (Some(only), None) = (longer.next(), longer.next()) {
        return Some(only);
    }
    let letters: Vec<char> = name.chars().take(NAME_COUNT_MAX).collect();
    let slips_max = (letters.len() / 3).min(3);
    let near = known.iter().map(|candidate| (slips(&letters, candidate), *candidate)).min()?;
    (near.0 <= slips_max).then_some(near.1)
}

/// Letters that have to be put in, left out or changed on the way from one to the other.
fn slips(from: &[char], to: &str) -> usize {
    let mut row: Vec<usize> = (0..=from.len()).collect();
    for (at, wanted) in to.chars().enumerate() {
        let mut corner = at;
        let mut left = at + 1;
        let mut next = vec![left];
        for (letter, above) in from.iter().zip(row.iter().skip(1)) {
            left = (corner + usize::from(*letter != wanted)).min(left + 1).min(above + 1);
            corner = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted() {
        let count = |from: &str, to: &str| slips(&from.chars().collect::<Vec<_>>(), to);
        for (from, to, expected) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("enabeld", "enabled", 2)]
        {
            assert_eq!((count(from, to), count(to, from)), (expected, expected), "{from} {to}");
        }
        assert_eq!(nearest("percentag", &["key", "percentage"]), Some("percentage"));
        assert_eq!(nearest("id", &["op"]), None, "short names are near to everything");
        assert_eq!(nearest("bool", &["boolean", "string"]), Some("boolean"));
        assert_eq!(nearest("in_", &["in_cidr", "in_segment"]), None, "two begin so");
    }
}
