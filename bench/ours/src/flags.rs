//! The flags and the people that every engine is given, told in no engine's language.

use serde_json::{Value, json};

/// Flags in a configuration.
pub const FLAG_COUNT: usize = 1_000;
/// Different contexts that take turns.
pub const PERSON_COUNT: usize = 64;
/// Different flags that take turns in workloads a and b.
pub const ASKED_COUNT: usize = 16;
/// Names and values of the variations of a split in three.
pub const COLOURS: [&str; 3] = ["blue", "green", "red"];

const COUNTRIES: [&str; 5] = ["DE", "AT", "CH", "NL", "FR"];
const AREAS: [&str; 8] = ["checkout", "search", "profile", "basket", "login", "export", "billing", "feed"];

/// A flag.
#[derive(Debug, Clone)]
pub struct FlagSpec {
    /// Its key.
    pub key: String,
    /// What it does.
    pub kind: Kind,
}

/// What a flag does.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Boolean, on for 50 % of the people: 60 % of the flags.
    Rollout,
    /// When all three conditions hold, which they do for everybody here, one of [`COLOURS`] by equal shares: 30 %.
    Conditions(Conditions),
    /// One of [`COLOURS`] by equal shares: 10 %.
    Variants,
}

/// Three conditions that all have to hold; the third is `plan` = `pro`.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// `country` is one of these.
    pub countries: [&'static str; 5],
    /// `appVersion` is at least this.
    pub version_min: String,
}

/// The flags, kinds mixed.
pub fn flags() -> Vec<FlagSpec> {
    (0..FLAG_COUNT).map(flag).collect()
}

fn flag(number: usize) -> FlagSpec {
    let area = AREAS[number % AREAS.len()];
    let kind = match number % 10 {
        0..6 => Kind::Rollout,
        6..9 => {
            let mut countries = COUNTRIES;
            // The matching country stands at every position of the list equally often.
            countries.rotate_left(number / 10 % COUNTRIES.len());
            Kind::Conditions(Conditions { countries, version_min: format!("2.{}.0", number % 13) })
        }
        _ => Kind::Variants,
    };
    FlagSpec { key: format!("{area}-feature-{number:04}"), kind }
}

/// Keys of the flags asked for in workload a.
pub fn asked_rollouts() -> Vec<String> {
    asked(|kind| matches!(kind, Kind::Rollout))
}

/// Keys of the flags asked for in workload b.
pub fn asked_conditions() -> Vec<String> {
    asked(|kind| matches!(kind, Kind::Conditions(_)))
}

fn asked(is_kind: impl Fn(&Kind) -> bool) -> Vec<String> {
    let all: Vec<String> =
        flags().into_iter().filter(|flag| is_kind(&flag.kind)).map(|flag| flag.key).collect();
    let step = all.len() / ASKED_COUNT;
    all.into_iter().step_by(step).take(ASKED_COUNT).collect()
}

/// Somebody who asks: ten attributes, the key is one of them.
#[derive(Debug, Clone)]
pub struct Person {
    /// The unit of every rollout and split.
    pub key: String,
    /// One of five.
    pub country: &'static str,
    /// A semantic version.
    pub app_version: String,
    /// Always `pro`.
    pub plan: &'static str,
    /// Not asked about.
    pub email: String,
    /// Not asked about.
    pub language: &'static str,
    /// Not asked about.
    pub device: &'static str,
    /// Not asked about.
    pub beta: bool,
    /// Not asked about.
    pub age: u32,
    /// Not asked about.
    pub sessions: u32,
}

impl Person {
    /// The attributes as JSON, the key under the name `key_name`.
    pub fn to_json(&self, key_name: &str) -> Value {
        let mut attributes = json!({
            "country": self.country, "appVersion": self.app_version, "plan": self.plan, "email": self.email,
            "language": self.language, "device": self.device, "beta": self.beta, "age": self.age,
            "sessions": self.sessions,
        });
        attributes[key_name] = json!(self.key);
        attributes
    }
}

/// Everybody who asks.
pub fn people() -> Vec<Person> {
    (0..PERSON_COUNT)
        .map(|number| Person {
            key: format!("user-{:08x}", number.wrapping_mul(0x9e37_79b1) & 0xffff_ffff),
            country: COUNTRIES[number % COUNTRIES.len()],
            app_version: format!("{}.{}.{}", 3 + number % 2, number % 11, number % 7),
            plan: "pro",
            email: format!("person{number}@example.com"),
            language: ["de", "en", "fr"][number % 3],
            device: ["phone", "desktop"][number % 2],
            beta: number % 4 == 0,
            age: 20 + u32::try_from(number).unwrap_or(0),
            sessions: 3,
        })
        .collect()
}

/// Which flag (below [`ASKED_COUNT`]) and which person (below [`PERSON_COUNT`]) a turn asks about.
pub const fn turn(turn: usize) -> (usize, usize) {
    (turn % ASKED_COUNT, turn / ASKED_COUNT % PERSON_COUNT)
}
