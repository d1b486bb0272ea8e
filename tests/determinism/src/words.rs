//! Small alphabets that flags and contexts both draw from, so that conditions meet values they were written for.

use serde_json::{Value, json};

use crate::chance::Chance;

/// What an attribute usually holds, and what conditions on it usually compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Text,
    Number,
    Date,
    Semver,
    Address,
    Array,
    Boolean,
}

/// Attributes with their families. Units are texts; `currentTime` is the question's when it is missing.
pub(crate) const ATTRIBUTES: [(&str, Family); 12] = [
    ("country", Family::Text),
    ("email", Family::Text),
    ("größe \"x\"", Family::Text),
    ("age", Family::Number),
    ("score", Family::Number),
    ("born", Family::Date),
    ("currentTime", Family::Date),
    ("version", Family::Semver),
    ("remoteAddress", Family::Address),
    ("tags", Family::Array),
    ("beta", Family::Boolean),
    ("targetingKey", Family::Text),
];

const TEXTS: [&str; 18] = [
    "",
    "DE",
    "de",
    "FR",
    "a@x.io",
    "A@X.IO",
    "größe",
    "GRÖSSE",
    "STRASSE",
    "straße",
    "İstanbul",
    "i̇stanbul",
    "ΟΔΟΣ",
    "οδος",
    "日本語",
    "e\u{301}",
    "\u{e9}",
    "😀\u{0}\"\\\n",
];
const NUMBERS: [&str; 26] = [
    "0",
    "-0",
    "-0.0",
    "1",
    "1.0",
    "1.5",
    "17",
    "18",
    "-1",
    "0.1",
    "0.30000000000000004",
    "1e15",
    "1e21",
    "1E3",
    "9007199254740991",
    "9007199254740992",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "123456789012345678901234567890",
    "1e300",
    "5e-324",
    "2.2250738585072011e-308",
    "0.1e-6",
];
const DATES: [&str; 12] = [
    "\"2027-01-15T08:00:00Z\"",
    "\"2027-01-15T08:00:00.001Z\"",
    "\"2027-01-15t09:00:00+01:00\"",
    "\"1969-12-31T23:59:59.9999Z\"",
    "\"0000-01-01T00:00:00+23:59\"",
    "\"9999-12-31T23:59:59.999Z\"",
    "\"2016-12-31T23:59:60Z\"",
    "\"2023-02-29T00:00:00Z\"",
    "1800000000000",
    "1.8e12",
    "1800000000000.5",
    "-1",
];
const VERSIONS: [&str; 12] = [
    "1.0.0",
    "1.0.0-rc.1",
    "1.0.0-rc.2",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0+build.5",
    "1.2.3",
    "2.0.0",
    "10.0.0",
    "1.2",
    "v1.2.3",
    "99999999999999999999999.0.0",
];
const ADDRESSES: [&str; 9] = [
    "10.1.2.3",
    "10.255.0.1",
    "192.168.0.1",
    "::1",
    "::ffff:10.1.2.3",
    "2001:db8::1",
    "2001:DB8:0::2",
    "010.1.2.3",
    "fe80::1%eth0",
];
pub(crate) const NETWORKS: [&str; 9] = [
    "10.0.0.0/8",
    "10.1.2.3",
    "10.1.2.3/31",
    "0.0.0.0/0",
    "::/0",
    "2001:db8::/32",
    "::ffff:10.0.0.0/104",
    "::1/128",
    "10.0.0.0/33",
];
/// Small on purpose: the limit of a compiled pattern is counted in bytes, and pointers differ between 32 and 64 bits.
pub(crate) const PATTERNS: [&str; 10] =
    ["^a", "e$", "^[A-Z]{2}$", "@x\\.io", "(?:de|fr)", "\\bx\\b", "ö.ß", "^\\s*$", "(", "a{2,3}|.$"];
/// Units that lists name; others are drawn from a million.
pub(crate) const UNITS: [&str; 8] = ["user-1", "user-2", "user-3", "größe", "0", "1", "10.1.2.3", "日本語"];

/// Moments at which something of an environment may begin or end.
pub(crate) const MOMENTS: [u64; 6] =
    [0, 1, 1_799_999_999_999, 1_800_000_000_000, 1_800_000_000_001, 253_402_300_800_000];

impl Family {
    /// JSON text of a value of the family, or, once in ten times, of any other.
    pub(crate) fn json(self, chance: &mut Chance) -> String {
        if chance.once_in(10) {
            return stray(chance);
        }
        match self {
            Self::Text => quoted(chance.pick(&TEXTS)),
            Self::Number => chance.pick(&NUMBERS).to_owned(),
            Self::Date => chance.pick(&DATES).to_owned(),
            Self::Semver => quoted(chance.pick(&VERSIONS)),
            Self::Address => quoted(chance.pick(&ADDRESSES)),
            Self::Array => {
                let elements: Vec<String> = (0..chance.below(4)).map(|_| scalar(chance)).collect();
                format!("[{}]", elements.join(","))
            }
            Self::Boolean => chance.pick(&["true", "false"]).to_owned(),
        }
    }

    /// The same as a value.
    pub(crate) fn value(self, chance: &mut Chance) -> Value {
        parsed(&self.json(chance))
    }
}

/// A text, number or boolean.
pub(crate) fn scalar(chance: &mut Chance) -> String {
    match chance.below(4) {
        0 => quoted(chance.pick(&TEXTS)),
        1 => quoted(chance.pick(&UNITS)),
        2 => chance.pick(&NUMBERS).to_owned(),
        _ => chance.pick(&["true", "false"]).to_owned(),
    }
}

/// A value nobody expects.
fn stray(chance: &mut Chance) -> String {
    match chance.below(6) {
        0 => "null".to_owned(),
        1 => r#"{"a":{"b":[null,1e2]}}"#.to_owned(),
        2 => format!("[[{}],null]", scalar(chance)),
        3 => quoted(chance.pick(&NUMBERS)),
        4 => quoted(&"x".repeat(chance.pick(&[511, 512, 513, 4_096]))),
        _ => scalar(chance),
    }
}

/// A unit: often one that lists name, else one of a million.
pub(crate) fn unit(chance: &mut Chance) -> String {
    if chance.once_in(3) {
        chance.pick(&UNITS).to_owned()
    } else {
        format!("user-{}", chance.below(1_000_000))
    }
}

/// A JSON string literal.
pub(crate) fn quoted(text: &str) -> String {
    json!(text).to_string()
}

/// The value that JSON text stands for.
pub(crate) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text:?} of the alphabet is not JSON: {error}"))
}
