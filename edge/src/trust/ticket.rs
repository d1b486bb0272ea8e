//! Tickets: an answer about a watched flag carries one for its unit, and events that clients send for the unit count with it
//! alone. Pure: `now` is an argument, and nothing here ever prints a secret or a ticket.
//!
//! `key.window.mac`. A window is a day; each unit's begins at another time, so that open pages do not all ask at midnight. A
//! ticket proves that an edge answered for that unit, not that the unit exists.

use std::fmt;

use flagfuse_shared::bucket::Bucket;
use flagfuse_shared::digest::hex;
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::limits::{BUCKET_COUNT, TICKET_LEN_MAX};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::stream_token::unhex;

/// What separates this use of a secret from any other.
const PURPOSE: &[u8] = b"flagfuse ticket 1\n";
/// How long a window is.
const WINDOW_MS: u64 = 24 * 3_600_000;
/// Half of HMAC-SHA-256, as in stream tokens.
const MAC_LEN: usize = 16;
/// Bytes of a key's name.
const KEY_LEN_MAX: usize = 16;
/// Characters of a secret: 16 bytes in base64.
const SECRET_LEN_MIN: usize = 22;
/// Secrets that are good at once: the one in use, its successor, and those that tickets on pages were made with.
const SECRET_COUNT_MAX: usize = 8;

/// What tickets are made with, newest first.
#[derive(Clone)]
pub struct TicketSecrets(Vec<(String, Hmac<Sha256>)>);

impl fmt::Debug for TicketSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecrets(…)")
    }
}

/// Why a ticket is good for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TicketFault {
    /// There is none.
    Missing,
    /// It has not the form of one.
    Malformed,
    /// It was made with a secret that is not here: it is made up, or older than the last rotation.
    UnknownKey,
    /// It is another unit's or another environment's, or made up.
    Wrong,
    /// The event happened more than a window before or after the ticket's.
    Window,
}

impl TicketFault {
    /// The word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "ticket_missing",
            Self::Malformed => "ticket_malformed",
            Self::UnknownKey => "ticket_unknown_key",
            Self::Wrong => "ticket_wrong",
            Self::Window => "ticket_window",
        }
    }
}

impl TicketSecrets {
    /// Reads `id:secret,id:secret`, newest first; an empty text is no secrets at all. The error never shows a secret.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let mut secrets: Vec<(String, Hmac<Sha256>)> = Vec::new();
        for (at, entry) in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).enumerate() {
            let which = at + 1;
            let (id, secret) =
                entry.split_once(':').ok_or_else(|| format!("entry {which} is not id:secret"))?;
            let is_name = id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            if id.is_empty() || id.len() > KEY_LEN_MAX || !is_name {
                return Err(format!("entry {which} has an id that is not 1 to {KEY_LEN_MAX} of a-z and 0-9"));
            }
            let is_base64 =
                secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte));
            if secret.len() < SECRET_LEN_MIN || !is_base64 {
                return Err(format!("entry {which} has a secret that is not 16 bytes or more in base64"));
            }
            if secrets.iter().any(|(known, _)| known == id) {
                return Err(format!("entry {which} has the id of an earlier one"));
            }
            let key = Hmac::new_from_slice(secret.as_bytes()).map_err(|error| error.to_string())?;
            secrets.push((id.to_owned(), key));
        }
        if secrets.len() > SECRET_COUNT_MAX {
            return Err(format!("has {} entries, the limit is {SECRET_COUNT_MAX}", secrets.len()));
        }
        Ok(Some(Self(secrets)).filter(|secrets| !secrets.0.is_empty()))
    }

    /// The ticket of a unit now; the same all day.
    pub fn issue(&self, scope: &Scope, unit: &str, now: UnixMillis) -> Option<String> {
        let (id, key) = self.0.first()?;
        let window = window(unit, now);
        let mac = mac(key, scope, unit, window).finalize().into_bytes();
        Some(format!("{id}.{window}.{}", hex(mac.get(..MAC_LEN).unwrap_or_default())))
    }

    /// Whether the ticket is the unit's, and good for what happened then.
    pub fn check(
        &self,
        scope: &Scope,
        unit: &str,
        ticket: Option<&str>,
        at: UnixMillis,
    ) -> Result<(), TicketFault> {
        let text = ticket.filter(|text| !text.is_empty()).ok_or(TicketFault::Missing)?;
        if text.len() > TICKET_LEN_MAX {
            return Err(TicketFault::Malformed);
        }
        let mut parts = text.split('.');
        let (Some(id), Some(told), Some(digits), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TicketFault::Malformed);
        };
        let number: u64 = told.parse().map_err(|_| TicketFault::Malformed)?;
        // The same number with a sign or zeros before it would have the same MAC.
        if number.to_string() != told {
            return Err(TicketFault::Malformed);
        }
        let digits = unhex(digits).ok_or(TicketFault::Malformed)?;
        let known = self.0.iter().find(|(known, _)| known == id);
        let (_, key) = known.ok_or(TicketFault::UnknownKey)?;
        // In constant time: how far a comparison gets would tell a forger how much is right.
        mac(key, scope, unit, number).verify_truncated_left(&digits).map_err(|_| TicketFault::Wrong)?;
        if window(unit, at).abs_diff(number) > 1 { Err(TicketFault::Window) } else { Ok(()) }
    }
}

/// The unit's window at that time.
fn window(unit: &str, at: UnixMillis) -> u64 {
    let stagger_ms = u64::from(Bucket::of("ticket", unit, 0).get()) * WINDOW_MS / u64::from(BUCKET_COUNT);
    at.plus(stagger_ms).0 / WINDOW_MS
}

fn mac(key: &Hmac<Sha256>, scope: &Scope, unit: &str, window: u64) -> Hmac<Sha256> {
    let mut mac = key.clone();
    mac.update(PURPOSE);
    for part in [scope.tenant.as_str(), "/", scope.project.as_str(), "/", scope.environment.as_str(), "\n"] {
        mac.update(part.as_bytes());
    }
    mac.update(&window.to_be_bytes());
    mac.update(unit.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
    const OLD: &str = "a:AAAAAAAAAAAAAAAAAAAAAAAA";
    const NEW: &str = "b:BBBBBBBBBBBBBBBBBBBBBBBB";

    fn secrets(text: &str) -> TicketSecrets {
        TicketSecrets::parse(text).unwrap().unwrap()
    }

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    #[test]
    fn a_ticket_is_good_for_its_unit_its_environment_and_its_time_alone() {
        let (secrets, here) = (secrets(OLD), scope("t/p/e"));
        let ticket = secrets.issue(&here, "ann", NOW).unwrap();
        assert!(ticket.len() <= TICKET_LEN_MAX, "{ticket}");
        let check = |scope: &Scope, unit, ticket: &str, at| secrets.check(scope, unit, Some(ticket), at);
        assert_eq!(check(&here, "ann", &ticket, NOW), Ok(()));
        assert_eq!(check(&here, "bob", &ticket, NOW), Err(TicketFault::Wrong));
        assert_eq!(check(&scope("t/p/f"), "ann", &ticket, NOW), Err(TicketFault::Wrong));
        assert_eq!(check(&scope("u/p/e"), "ann", &ticket, NOW), Err(TicketFault::Wrong));
        for (at, expected) in [
            (NOW.plus(WINDOW_MS), Ok(())),
            (NOW.minus(WINDOW_MS), Ok(())),
            (NOW.plus(2 * WINDOW_MS), Err(TicketFault::Window)),
            (NOW.minus(2 * WINDOW_MS), Err(TicketFault::Window)),
        ] {
            assert_eq!(check(&here, "ann", &ticket, at), expected, "{at:?}");
        }
        let (head, digits) = ticket.rsplit_once('.').unwrap();
        let flipped = if digits.ends_with('0') { "1" } else { "0" };
        let forged = format!("{head}.{}{flipped}", &digits[..digits.len() - 1]);
        assert_eq!(check(&here, "ann", &forged, NOW), Err(TicketFault::Wrong));
        let window = window("ann", NOW);
        for malformed in [
            "a",
            "a.1",
            &format!("a.0{window}.{digits}"),
            &format!("a.+{window}.{digits}"),
            &format!("{ticket}.x"),
            &ticket.to_uppercase(),
            &"x".repeat(TICKET_LEN_MAX + 1),
        ] {
            assert_eq!(check(&here, "ann", malformed, NOW), Err(TicketFault::Malformed), "{malformed}");
        }
        assert_eq!(check(&here, "ann", "", NOW), Err(TicketFault::Missing));
        assert_eq!(secrets.check(&here, "ann", None, NOW), Err(TicketFault::Missing));
    }

    #[test]
    fn secrets_are_rotated_newest_first_and_the_old_one_goes_when_it_is_taken_out() {
        let here = scope("t/p/e");
        let before = secrets(OLD).issue(&here, "ann", NOW).unwrap();
        let both = secrets(&format!("{NEW}, {OLD}"));
        assert_eq!(both.check(&here, "ann", Some(&before), NOW), Ok(()));
        let after = both.issue(&here, "ann", NOW).unwrap();
        assert!(after.starts_with("b."), "{after}");
        assert_eq!(secrets(NEW).check(&here, "ann", Some(&after), NOW), Ok(()));
        assert_eq!(secrets(NEW).check(&here, "ann", Some(&before), NOW), Err(TicketFault::UnknownKey));
    }

    #[test]
    fn windows_begin_at_another_time_for_each_unit() {
        let changes: std::collections::BTreeSet<u64> = (0..50)
            .map(|n| {
                let unit = format!("unit-{n}");
                (0..24).find(|hour| {
                    window(&unit, NOW.plus(hour * 3_600_000))
                        != window(&unit, NOW.plus((hour + 1) * 3_600_000))
                })
            })
            .map(|hour| hour.unwrap())
            .collect();
        assert!(changes.len() > 12, "{changes:?}");
    }

    #[test]
    fn secrets_that_cannot_be_used_are_told_without_showing_them() {
        assert!(TicketSecrets::parse(" ,").unwrap().is_none());
        for (text, said) in [
            ("nocolon", "entry 1 is not id:secret"),
            ("A:AAAAAAAAAAAAAAAAAAAAAAAA", "entry 1 has an id"),
            (":AAAAAAAAAAAAAAAAAAAAAAAA", "entry 1 has an id"),
            ("a:short", "entry 1 has a secret"),
            (&format!("{OLD},b:{}", "ü".repeat(22)), "entry 2 has a secret"),
            (&format!("{OLD},{OLD}"), "entry 2 has the id of an earlier one"),
        ] {
            let error = TicketSecrets::parse(text).unwrap_err();
            assert!(error.contains(said) && !error.contains("AAAA"), "{error}");
        }
        let many: Vec<String> = (0..=SECRET_COUNT_MAX).map(|n| format!("k{n}:{}", "A".repeat(22))).collect();
        assert!(TicketSecrets::parse(&many.join(",")).unwrap_err().contains("9 entries"));
        assert_eq!(format!("{:?}", secrets(OLD)), "TicketSecrets(…)");
    }
}
