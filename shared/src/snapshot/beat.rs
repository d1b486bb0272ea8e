//! The beat: a signed word of the control plane that a replica holds what it should, good for a second and a half.
//! Verified like a manifest, by keys of the freshness role. Never says what the content is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::refusal::{Refusal, RefusalCode};
use super::sign::{PrivateKey, SignError, sign_document};
use super::verify::{RoleKeys, TrustedRoots};
use crate::contract::replica::{HeldMap, map_digest};
use crate::digest::Digest;
use crate::ids::UnixMillis;
use crate::limits::{BEAT_ISSUER_LEN_MAX, BEAT_LEN_MAX, BEAT_VALID_MS, CLOCK_SKEW_MS_MAX};

/// DSSE payload type of a beat.
pub const BEAT_TYPE: &str = "application/vnd.flagfuse.beat.v1+json";
/// Control planes whose counts a replica remembers; more than this many do not run at once.
const ISSUER_COUNT_MAX: usize = 8;

/// What a control plane says of one replica at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beat {
    /// The process that says so; drawn anew at each start.
    pub issuer: String,
    /// [`map_digest`] of what the replica should hold.
    pub map_sha256: Digest,
    /// Environments in that map.
    pub count: usize,
    /// When it was signed.
    pub issued_ms: UnixMillis,
    /// For how long it vouches, at most [`BEAT_VALID_MS`].
    pub valid_ms: u64,
    /// Rises by one with each beat of the issuer to this replica.
    pub beat_no: u64,
}

impl Beat {
    /// Whether it vouches for what is held.
    pub fn vouches_for(&self, held: &HeldMap) -> bool {
        self.count == held.len() && self.map_sha256 == map_digest(held)
    }
}

/// Signs a beat; the bytes of its envelope.
pub fn sign_beat(beat: &Beat, freshness: &[PrivateKey]) -> Result<Vec<u8>, SignError> {
    sign_document("beat", BEAT_TYPE, beat, freshness, BEAT_LEN_MAX)
}

/// The keys that may sign beats, from a keyset that root keys signed.
#[derive(Debug, Clone, PartialEq)]
pub struct FreshnessKeys(RoleKeys);

impl FreshnessKeys {
    /// Verifies a keyset's envelope and takes its freshness role.
    pub fn open(keyset_envelope: &[u8], roots: &TrustedRoots) -> Result<Self, Refusal> {
        RoleKeys::freshness(keyset_envelope, roots).map(Self)
    }
}

/// What a replica remembers of beats, in memory only: after a restart it waits for the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BeatLedger {
    /// The highest number and the latest date heard, by issuer.
    heard: BTreeMap<String, (u64, UnixMillis)>,
    vouched_until: Option<UnixMillis>,
    newest_issued: Option<UnixMillis>,
}

impl BeatLedger {
    /// Takes an envelope that arrived at `now`: a beat by a trusted key, neither future-dated, outdated nor repeated.
    /// Whether it vouches for what is held is the caller's next question, and [`Self::vouch`] its answer.
    ///
    /// # Errors
    /// The codes of a manifest, and `E_FUTURE`, `E_EXPIRED` (older than it vouches for), `E_ROLLBACK` (heard already).
    pub fn hear(&mut self, envelope: &[u8], keys: &FreshnessKeys, now: UnixMillis) -> Result<Beat, Refusal> {
        if envelope.len() > BEAT_LEN_MAX {
            let detail = format!("beat has {} bytes, the limit is {BEAT_LEN_MAX}", envelope.len());
            return Err(Refusal::new(RefusalCode::Size, detail));
        }
        let beat: Beat = keys.0.open("beat", envelope, BEAT_TYPE)?;
        if beat.issuer.is_empty() || beat.issuer.len() > BEAT_ISSUER_LEN_MAX {
            let detail = format!(
                "beat's issuer has {} bytes, allowed is 1 to {BEAT_ISSUER_LEN_MAX}",
                beat.issuer.len()
            );
            return Err(Refusal::new(RefusalCode::Schema, detail));
        }
        check_time(&beat, now)?;
        let last = self.heard.get(&beat.issuer).copied();
        // An issuer counts for each replica, so a relay can bring another replica's beat with a higher number. Its own next
        // beat is dated later and still counts: a number alone would silence it until it has caught up.
        if last.is_some_and(|(number, issued)| beat.beat_no <= number && beat.issued_ms <= issued) {
            let detail = format!("beat {} of {} was heard already", beat.beat_no, beat.issuer);
            return Err(Refusal::new(RefusalCode::Rollback, detail));
        }
        if last.is_none() && self.heard.len() >= ISSUER_COUNT_MAX {
            // Whoever is forgotten can have its beats repeated for as long as they vouch: 1.5 seconds.
            self.heard.pop_first();
        }
        let (number, issued) = last.unwrap_or((beat.beat_no, beat.issued_ms));
        self.heard.insert(beat.issuer.clone(), (number.max(beat.beat_no), issued.max(beat.issued_ms)));
        Ok(beat)
    }

    /// Notes that a beat which was heard vouches for what is held.
    pub fn vouch(&mut self, beat: &Beat) {
        let until = beat.issued_ms.plus(beat.valid_ms.min(BEAT_VALID_MS));
        self.vouched_until = self.vouched_until.max(Some(until));
        self.newest_issued = self.newest_issued.max(Some(beat.issued_ms));
    }

    /// Forgets that anybody vouched: what is held has changed, or differs from what it should be.
    pub fn retract(&mut self) {
        self.vouched_until = None;
    }

    /// Whether somebody vouches for what is held at `now`.
    pub fn is_vouched(&self, now: UnixMillis) -> bool {
        self.vouched_until.is_some_and(|until| now <= until)
    }

    /// Milliseconds since the newest beat that vouched was signed; `None` before the first.
    pub fn age_ms(&self, now: UnixMillis) -> Option<u64> {
        self.newest_issued.map(|issued| now.since(issued))
    }
}

fn check_time(beat: &Beat, now: UnixMillis) -> Result<(), Refusal> {
    if beat.issued_ms > now.plus(CLOCK_SKEW_MS_MAX) {
        let ahead_ms = beat.issued_ms.since(now);
        let detail = format!("beat is dated {ahead_ms} ms ahead, the limit is {CLOCK_SKEW_MS_MAX}");
        return Err(Refusal::new(RefusalCode::Future, detail));
    }
    let valid_ms = beat.valid_ms.min(BEAT_VALID_MS);
    let age_ms = now.since(beat.issued_ms);
    if age_ms > valid_ms {
        let detail = format!("beat is {age_ms} ms old, it vouches for {valid_ms} ms");
        return Err(Refusal::new(RefusalCode::Expired, detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::replica::HeldVersion;
    use crate::snapshot::fixtures::{NOW, key, keyset, roots};
    use crate::snapshot::manifest::MANIFEST_TYPE;
    use crate::snapshot::sign::{sign_envelope, sign_keyset};

    fn held() -> HeldMap {
        let version = HeldVersion { epoch: 1, seq: 7, digest: Digest::of(b"x") };
        HeldMap::from([("default/demo/dev".to_owned(), version)])
    }

    fn beat(beat_no: u64, issued_ms: UnixMillis) -> Beat {
        let issuer = "plane-1".to_owned();
        Beat {
            issuer,
            map_sha256: map_digest(&held()),
            count: 1,
            issued_ms,
            valid_ms: BEAT_VALID_MS,
            beat_no,
        }
    }

    fn keys() -> FreshnessKeys {
        FreshnessKeys::open(&sign_keyset(&keyset(), &[key(1)]).unwrap(), &roots()).unwrap()
    }

    fn signed(beat: &Beat) -> Vec<u8> {
        sign_beat(beat, &[key(3)]).unwrap()
    }

    #[test]
    fn a_beat_vouches_for_exactly_what_it_names_and_for_a_second_and_a_half() {
        let mut ledger = BeatLedger::default();
        let beat = ledger.hear(&signed(&beat(1, NOW)), &keys(), NOW.plus(20)).unwrap();
        assert!(beat.vouches_for(&held()) && !beat.vouches_for(&HeldMap::new()));
        assert!(!ledger.is_vouched(NOW), "nobody has asked whether it is true");
        ledger.vouch(&beat);
        assert_eq!(ledger.age_ms(NOW.plus(30)), Some(30));
        assert!(ledger.is_vouched(NOW.plus(BEAT_VALID_MS)));
        assert!(!ledger.is_vouched(NOW.plus(BEAT_VALID_MS + 1)));
        ledger.retract();
        assert!(!ledger.is_vouched(NOW));
    }

    #[test]
    fn an_outdated_future_repeated_or_foreign_beat_is_refused_with_its_code() {
        let mut ledger = BeatLedger::default();
        ledger.hear(&signed(&beat(5, NOW)), &keys(), NOW).unwrap();
        let body = serde_json::to_vec(&beat(9, NOW)).unwrap();
        let wrong_type = sign_envelope("beat", MANIFEST_TYPE, &body, &[key(3)], BEAT_LEN_MAX).unwrap();
        let by = |seed| sign_beat(&beat(9, NOW), &[key(seed)]).unwrap();
        let longer = Beat { valid_ms: u64::MAX, ..beat(9, NOW.minus(BEAT_VALID_MS + 1)) };
        for (code, envelope) in [
            ("E_ROLLBACK", signed(&beat(5, NOW))),
            ("E_ROLLBACK", signed(&beat(4, NOW))),
            ("E_EXPIRED", signed(&beat(9, NOW.minus(BEAT_VALID_MS + 1)))),
            ("E_EXPIRED", signed(&longer)),
            ("E_EXPIRED", signed(&beat(9, NOW.minus(600_000)))),
            ("E_FUTURE", signed(&beat(9, NOW.plus(CLOCK_SKEW_MS_MAX + 1)))),
            ("E_TYPE", wrong_type),
            ("E_KEY", by(2)),
            ("E_KEY", by(9)),
            ("E_SIZE", vec![b' '; BEAT_LEN_MAX + 1]),
            ("E_ENV", b"{}".to_vec()),
            ("E_SCHEMA", signed(&Beat { issuer: String::new(), ..beat(9, NOW) })),
        ] {
            let refusal = ledger.hear(&envelope, &keys(), NOW).unwrap_err();
            assert_eq!(refusal.code.as_str(), code, "{refusal}");
        }
        ledger.hear(&signed(&beat(6, NOW)), &keys(), NOW).unwrap();
    }

    #[test]
    fn another_replicas_higher_number_does_not_silence_the_next_beat() {
        let mut ledger = BeatLedger::default();
        ledger.hear(&signed(&beat(7, NOW)), &keys(), NOW).unwrap();
        ledger.hear(&signed(&beat(9_000, NOW.plus(100))), &keys(), NOW.plus(110)).unwrap();
        ledger.hear(&signed(&beat(8, NOW.plus(500))), &keys(), NOW.plus(510)).unwrap();
        for repeated in [beat(8, NOW.plus(500)), beat(9_000, NOW.plus(100)), beat(7, NOW)] {
            let refusal = ledger.hear(&signed(&repeated), &keys(), NOW.plus(520)).unwrap_err();
            assert_eq!(refusal.code.as_str(), "E_ROLLBACK", "{refusal}");
        }
    }

    #[test]
    fn memory_of_issuers_is_bounded() {
        let mut ledger = BeatLedger::default();
        for n in 0..100 {
            let beat = Beat { issuer: format!("plane-{n}"), ..beat(1, NOW) };
            ledger.hear(&signed(&beat), &keys(), NOW).unwrap();
        }
        assert_eq!(ledger.heard.len(), ISSUER_COUNT_MAX);
    }
}
