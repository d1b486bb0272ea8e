//! Tickets: an answer about a watched flag carries one for its unit, and events that clients send for the unit count with it
//! alone. Pure: `now` is an argument, and nothing here ever prints a secret or a ticket.
//!
//! `key.window.mac`. A window is a day; each unit's begins at another time, so that open pages do not all ask at midnight. A
//! ticket proves that an edge answered for that unit, not that the unit exists; one with an `s` behind its window, that the
//! customer's server had signed it.

use flagfuse_shared::bucket::Bucket;
use flagfuse_shared::digest::hex;
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::limits::{BUCKET_COUNT, TICKET_LEN_MAX};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::stream_token::unhex;
use crate::trust::secrets::Secrets;

/// What separates this use of a secret from any other.
const PURPOSE: &[u8] = b"flagfuse ticket 1\n";
/// The same for tickets of units that are signed.
const PURPOSE_SIGNED: &[u8] = b"flagfuse ticket 1 signed\n";
/// How long a window is.
const WINDOW_MS: u64 = 24 * 3_600_000;
/// Half of HMAC-SHA-256, as in stream tokens.
const MAC_LEN: usize = 16;
/// Stands behind the window of such a ticket.
const SIGNED: char = 's';

/// What tickets are made with, newest first.
#[derive(Debug, Clone)]
pub struct TicketSecrets(Secrets);

/// What was known of a unit when its ticket was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Somebody asked for it.
    Asked,
    /// The customer's server had signed it.
    Signed,
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
    /// It is good, and the fuse enrols units only that the customer's server signed.
    Unsigned,
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
            Self::Unsigned => "ticket_unsigned",
        }
    }
}

impl TicketSecrets {
    /// Reads what [`Secrets::parse`] does.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        Ok(Secrets::parse(text)?.map(Self))
    }

    /// The ticket of a unit now; the same all day.
    pub fn issue(&self, scope: &Scope, unit: &str, proof: Proof, now: UnixMillis) -> Option<String> {
        let (id, key) = self.0.newest()?;
        let window = window(unit, now);
        let mac = mac(key, scope, unit, (window, proof)).finalize().into_bytes();
        let signed = if proof == Proof::Signed { "s" } else { "" };
        Some(format!("{id}.{window}{signed}.{}", hex(mac.get(..MAC_LEN).unwrap_or_default())))
    }

    /// What the ticket proves, if it is the unit's, and good for what happened then.
    pub fn check(
        &self,
        scope: &Scope,
        unit: &str,
        ticket: Option<&str>,
        at: UnixMillis,
    ) -> Result<Proof, TicketFault> {
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
        let (told, proof) =
            told.strip_suffix(SIGNED).map_or((told, Proof::Asked), |told| (told, Proof::Signed));
        let number: u64 = told.parse().map_err(|_| TicketFault::Malformed)?;
        // The same number with a sign or zeros before it would have the same MAC.
        if number.to_string() != told {
            return Err(TicketFault::Malformed);
        }
        let digits = unhex(digits).ok_or(TicketFault::Malformed)?;
        let key = self.0.of(id).ok_or(TicketFault::UnknownKey)?;
        // In constant time: how far a comparison gets would tell a forger how much is right.
        let mac = mac(key, scope, unit, (number, proof));
        mac.verify_truncated_left(&digits).map_err(|_| TicketFault::Wrong)?;
        if window(unit, at).abs_diff(number) > 1 { Err(TicketFault::Window) } else { Ok(proof) }
    }
}

/// The unit's window at that time.
fn window(unit: &str, at: UnixMillis) -> u64 {
    let stagger_ms = u64::from(Bucket::of("ticket", unit, 0).get()) * WINDOW_MS / u64::from(BUCKET_COUNT);
    at.plus(stagger_ms).0 / WINDOW_MS
}

fn mac(key: &Hmac<Sha256>, scope: &Scope, unit: &str, (window, proof): (u64, Proof)) -> Hmac<Sha256> {
    let mut mac = key.clone();
    mac.update(if proof == Proof::Signed { PURPOSE_SIGNED } else { PURPOSE });
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
    use crate::trust::secrets::SECRET_COUNT_MAX;

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
        let ticket = secrets.issue(&here, "ann", Proof::Asked, NOW).unwrap();
        assert!(ticket.len() <= TICKET_LEN_MAX, "{ticket}");
        let check = |scope: &Scope, unit, ticket: &str, at| secrets.check(scope, unit, Some(ticket), at);
        assert_eq!(check(&here, "ann", &ticket, NOW), Ok(Proof::Asked));
        assert_eq!(check(&here, "bob", &ticket, NOW), Err(TicketFault::Wrong));
        assert_eq!(check(&scope("t/p/f"), "ann", &ticket, NOW), Err(TicketFault::Wrong));
        assert_eq!(check(&scope("u/p/e"), "ann", &ticket, NOW), Err(TicketFault::Wrong));
        for (at, expected) in [
            (NOW.plus(WINDOW_MS), Ok(Proof::Asked)),
            (NOW.minus(WINDOW_MS), Ok(Proof::Asked)),
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
    fn a_ticket_of_a_signed_unit_says_so_and_no_other_can_be_made_to() {
        let (secrets, here) = (secrets(OLD), scope("t/p/e"));
        let check = |ticket: &str| secrets.check(&here, "ann", Some(ticket), NOW);
        let [asked, signed] =
            [Proof::Asked, Proof::Signed].map(|proof| secrets.issue(&here, "ann", proof, NOW).unwrap());
        assert!(signed.len() <= TICKET_LEN_MAX, "{signed}");
        assert_eq!((check(&asked), check(&signed)), (Ok(Proof::Asked), Ok(Proof::Signed)));
        let window = window("ann", NOW).to_string();
        let turned = asked.replacen(&window, &format!("{window}s"), 1);
        assert_eq!(check(&turned), Err(TicketFault::Wrong), "{turned}");
        assert_eq!(check(&signed.replacen(&format!("{window}s"), &window, 1)), Err(TicketFault::Wrong));
        let twice = signed.replacen(&window, &format!("{window}s"), 1);
        assert_eq!(check(&twice), Err(TicketFault::Malformed));
    }

    #[test]
    fn secrets_are_rotated_newest_first_and_the_old_one_goes_when_it_is_taken_out() {
        let here = scope("t/p/e");
        let before = secrets(OLD).issue(&here, "ann", Proof::Asked, NOW).unwrap();
        let both = secrets(&format!("{NEW}, {OLD}"));
        assert_eq!(both.check(&here, "ann", Some(&before), NOW), Ok(Proof::Asked));
        let after = both.issue(&here, "ann", Proof::Asked, NOW).unwrap();
        assert!(after.starts_with("b."), "{after}");
        assert_eq!(secrets(NEW).check(&here, "ann", Some(&after), NOW), Ok(Proof::Asked));
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
        assert_eq!(format!("{:?}", secrets(OLD)), "TicketSecrets(Secrets(…))");
    }
}
