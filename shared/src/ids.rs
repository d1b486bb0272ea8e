//! Newtypes for every key, version and time that could be swapped by mistake; the constructor is the only door.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::limits::{
    FLAG_KEY_LEN_MAX, METRIC_KEY_LEN_MAX, SLUG_LEN_MAX, UNIT_LEN_MAX, VARIATION_KEY_LEN_MAX,
};

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing in it.
    #[error("{what} is empty")]
    Empty {
        /// Which identifier.
        what: &'static str,
    },
    /// More bytes than the limit.
    #[error("{what} has {len} bytes, the limit is {len_max}")]
    TooLong {
        /// Which identifier.
        what: &'static str,
        /// Bytes found.
        len: usize,
        /// Bytes allowed.
        len_max: usize,
    },
    /// A character outside the identifier's alphabet.
    #[error("{what} has the character {found:?}; allowed: {allowed}")]
    BadCharacter {
        /// Which identifier.
        what: &'static str,
        /// The first offender.
        found: char,
        /// The alphabet in words.
        allowed: &'static str,
    },
}

/// Defines a string newtype whose only constructor checks length and alphabet. Up to 23 bytes, as nearly all of them are, it
/// owns no memory elsewhere: a snapshot has thousands.
macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $len_max:expr, $allowed:literal, $is_allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(SmolStr);

        impl $name {
            /// Checks and wraps `text`.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                Self::check(text).map(|()| Self(SmolStr::new(text)))
            }

            /// Whether `text` could be wrapped.
            pub fn check(text: &str) -> Result<(), IdError> {
                let is_allowed: fn(usize, char) -> bool = $is_allowed;
                if text.is_empty() {
                    return Err(IdError::Empty { what: $what });
                }
                if text.len() > $len_max {
                    return Err(IdError::TooLong { what: $what, len: text.len(), len_max: $len_max });
                }
                // Nearly all texts are sound ASCII. Asking that without stopping at the first answer takes many bytes at once.
                let is_sound = |(at, byte): (usize, u8)| is_allowed(at, char::from(byte));
                if text.bytes().enumerate().fold(text.is_ascii(), |all, next| all & is_sound(next)) {
                    return Ok(());
                }
                match text.chars().enumerate().find(|&(at, c)| !is_allowed(at, c)) {
                    Some((_, found)) => {
                        Err(IdError::BadCharacter { what: $what, found, allowed: $allowed })
                    }
                    None => Ok(()),
                }
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }
    };
}

fn is_slug(at: usize, c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || (at > 0 && matches!(c, '-' | '_'))
}

fn is_plain(_at: usize, c: char) -> bool {
    !c.is_control()
}

string_id!(
    /// A tenant: the isolation boundary.
    TenantKey, "tenant key", SLUG_LEN_MAX, "a-z 0-9, then also - and _", is_slug
);
string_id!(
    /// A project: a group of flags. Unique in its tenant; an edge serves one tenant, so a client key need not name that.
    ProjectKey, "project key", SLUG_LEN_MAX, "a-z 0-9, then also - and _", is_slug
);
string_id!(
    /// An environment: where flags have values. One snapshot per (project, environment).
    EnvironmentKey, "environment key", SLUG_LEN_MAX, "a-z 0-9, then also - and _", is_slug
);
string_id!(
    /// A flag. Any printable text, since clients of other systems bring such keys.
    FlagKey, "flag key", FLAG_KEY_LEN_MAX, "anything but control characters", is_plain
);
string_id!(
    /// One of a flag's variations.
    VariationKey, "variation key", VARIATION_KEY_LEN_MAX, "anything but control characters", is_plain
);
string_id!(
    /// A rule of a flag, named for explanations and audit.
    RuleKey, "rule key", VARIATION_KEY_LEN_MAX, "anything but control characters", is_plain
);
string_id!(
    /// What an outcome measures: `activation`, `return`, `conversion`, `error`, `latency_ms` or a custom name.
    MetricKey, "metric key", METRIC_KEY_LEN_MAX, "a-z 0-9, then also - _ and .",
    |at, c| is_slug(at, c) || (at > 0 && c == '.')
);
string_id!(
    /// The unit that is bucketed: a user, a device, an account. Never stored by the control plane in clear.
    Unit, "unit", UNIT_LEN_MAX, "anything", |_, _| true
);

/// Milliseconds since 1970-01-01T00:00:00Z. The only notion of time that crosses a boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// Milliseconds from `earlier` to `self`, 0 when `earlier` is later: clocks may disagree.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// `self` moved `ms` into the future.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// `self` moved `ms` into the past, not before 1970.
    #[must_use]
    pub const fn minus(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms))
    }
}

/// Version of one environment's snapshot; ordered by epoch, then sequence. Written `epoch.seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotVersion {
    /// Raised by an operator with a root-signed keyset only.
    pub epoch: u64,
    /// Raised by every publication.
    pub seq: u64,
}

impl SnapshotVersion {
    /// Parses `epoch.seq`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, seq) = text.split_once('.')?;
        Some(Self { epoch: decimal(epoch)?, seq: decimal(seq)? })
    }
}

/// Digits only: `u64::from_str` would also take a sign, and two spellings of one version must not exist.
fn decimal(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

impl fmt::Display for SnapshotVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}

/// Which environment something belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Isolation boundary.
    pub tenant: TenantKey,
    /// Group of flags.
    pub project: ProjectKey,
    /// Where the flags have values.
    pub environment: EnvironmentKey,
}

impl Scope {
    /// Reads `tenant/project/environment` back.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let mut parts = text.splitn(3, '/');
        let mut part = || parts.next().unwrap_or_default();
        Ok(Self {
            tenant: TenantKey::parse(part())?,
            project: ProjectKey::parse(part())?,
            environment: EnvironmentKey::parse(part())?,
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.project, self.environment)
    }
}

/// Project and environment that a client key `project:environment.secret` names; `None` when it is no such key.
///
/// The text says where to look; whether the key is valid is for that environment's snapshot to say.
pub fn client_key_scope(key: &str) -> Option<(ProjectKey, EnvironmentKey)> {
    let (project, rest) = key.split_once(':')?;
    let (environment, secret) = rest.split_once('.')?;
    if secret.is_empty() || key.len() > 512 {
        return None;
    }
    Some((ProjectKey::parse(project).ok()?, EnvironmentKey::parse(environment).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_read_back_as_it_was_written() {
        let scope = Scope::parse("t/p/e").unwrap();
        assert_eq!(scope.to_string(), "t/p/e");
        for bad in ["", "t/p", "t/p/", "t/p/e/f", "t//e", "T/p/e"] {
            assert!(Scope::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn slugs_are_refused_outside_their_alphabet_and_length() {
        for good in ["a", "demo", "eu-west_1", &"x".repeat(SLUG_LEN_MAX)] {
            assert!(ProjectKey::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "Demo", "a b", "ü", "a/b", &"x".repeat(SLUG_LEN_MAX + 1)] {
            assert!(ProjectKey::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn flag_keys_keep_slashes_spaces_percents_and_unicode() {
        for good in ["a/b", "a b", "100%", "größe", &"k".repeat(FLAG_KEY_LEN_MAX)] {
            assert!(FlagKey::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a\nb", &"k".repeat(FLAG_KEY_LEN_MAX + 1)] {
            assert!(FlagKey::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_order_by_epoch_first_and_have_one_spelling() {
        let v = |text| SnapshotVersion::parse(text).unwrap();
        assert!(v("1.9") < v("1.10"));
        assert!(v("1.10") < v("2.0"));
        assert_eq!(v("3.14").to_string(), "3.14");
        for bad in ["", "1", "1.", ".1", "+1.2", "01.2", "1.2.3", "1.-2", "1.99999999999999999999"] {
            assert_eq!(SnapshotVersion::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_client_key_names_its_environment() {
        let (project, environment) = client_key_scope("demo:production.s3cret").unwrap();
        assert_eq!((project.as_str(), environment.as_str()), ("demo", "production"));
        for bad in ["", "demo", "demo:production", "demo:production.", ":p.s", "demo:.s", "*:p.s"] {
            assert!(client_key_scope(bad).is_none(), "{bad}");
        }
    }
}
