//! Frames that nobody made on purpose: every bit flipped, every length cut, and any number of seeded mutants. None may be
//! taken, none may panic. `FLAGFUSE_MUTANTS=1000000 cargo test -p flagfuse-tests tamper::mutants` runs more.

use std::thread;

use flagfuse_shared::digest::Digest;
use flagfuse_shared::snapshot::envelope::split_frame;

use super::victim::Victim;

/// Mutants in CI: some seconds of two cores.
const MUTANT_COUNT: u64 = 40_000;

/// Cuts a range of work over the cores and gives each its own victim.
fn over(range: std::ops::Range<usize>, act: impl Fn(&mut Victim, usize) + Sync) {
    let thread_count = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for first in 0..thread_count {
            let (act, range) = (&act, range.clone());
            scope.spawn(move || {
                let mut victim = Victim::holding();
                for at in range.skip(first).step_by(thread_count) {
                    act(&mut victim, at);
                }
            });
        }
    });
}

fn is_refused(answer: &str) -> bool {
    answer.starts_with("E_")
}

#[test]
fn every_bit_of_keyset_manifest_and_signatures_counts_and_so_do_those_of_the_payload() {
    let good = Victim::holding().forge.good();
    over(0..good.len() * 8, |victim, bit| {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let answer = victim.push(&flipped);
        assert!(is_refused(answer), "bit {bit}: {answer}");
        assert!(is_refused(victim.push_cold(&flipped)), "bit {bit}, cold");
    });
}

#[test]
fn every_truncation_and_every_appended_byte_is_refused() {
    let good = Victim::holding().forge.good();
    over(0..good.len(), |victim, len| {
        assert!(matches!(victim.push(&good[..len]), "E_TRUNC" | "E_SIZE"), "{len} bytes");
    });
    over(0..256, |victim, byte| {
        let mut longer = good.clone();
        longer.push(u8::try_from(byte).expect("below 256"));
        assert_eq!(victim.push(&longer), "E_SIZE");
    });
}

#[test]
fn seeded_mutants_are_all_refused() {
    let count =
        std::env::var("FLAGFUSE_MUTANTS").ok().and_then(|text| text.parse().ok()).unwrap_or(MUTANT_COUNT);
    let victim = Victim::holding();
    let good = victim.forge.good();
    let other = victim.forge.draft(victim.forge.held, "held").frame();
    over(0..usize::try_from(count).expect("a count"), |victim, seed| {
        let mut chance = Chance::of(seed as u64);
        let mutant = mutate(&good, &other, &mut chance);
        if mutant == good {
            return;
        }
        let before = victim.served();
        let answer = victim.push(&mutant);
        // The held frame may come out of the mixing, under either keyset.
        let is_held = split_frame(&mutant).is_ok_and(|mutant| {
            split_frame(&other)
                .is_ok_and(|held| (mutant.manifest, mutant.payload) == (held.manifest, held.payload))
        });
        assert!(is_refused(answer) || answer == "same" && is_held, "seed {seed}: {answer}");
        assert_eq!(victim.served(), before, "seed {seed}");
    });
}

#[test]
fn the_held_manifest_before_another_payload_is_no_repetition() {
    let mut victim = Victim::holding();
    let held = victim.forge.draft(victim.forge.held, "held");
    assert_eq!(victim.push(&held.frame()), "same");
    let other = victim.forge.draft(victim.forge.held, "replayed").payload;
    assert_eq!(victim.push(&held.with(|draft| draft.payload = other).frame()), "E_DIGEST");
}

/// An insider's mutants are signed correctly: they may be sound by accident, but may neither panic nor serve a version
/// that was not signed.
#[test]
fn correctly_signed_mutants_of_a_payload_never_panic() {
    let count = MUTANT_COUNT / 8;
    over(0..usize::try_from(count).expect("a count"), |victim, seed| {
        let mut chance = Chance::of(seed as u64 ^ 0xabcd);
        let draft = victim.forge.fresh();
        let payload =
            mutate(&draft.payload, &victim.forge.draft(victim.forge.held, "x").payload, &mut chance);
        let frame = draft.announcing("records", &payload).frame();
        let answer = victim.push(&frame);
        assert!(matches!(
            answer,
            "newer" | "same" | "E_DECODE" | "E_SELFTEST" | "E_EQUIV" | "E_SIZE" | "E_ROLLBACK"
        ));
        if answer == "newer" {
            *victim = Victim::holding();
        }
    });
}

/// A seeded stream of numbers: SHA-256 of the seed and a counter.
struct Chance {
    seed: u64,
    drawn: u64,
}

impl Chance {
    const fn of(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        self.drawn += 1;
        let text = [self.seed.to_le_bytes(), self.drawn.to_le_bytes()].concat();
        let digest = Digest::of(&text);
        let bytes = digest.as_bytes().first_chunk::<8>().expect("32 bytes");
        let drawn = u64::from_le_bytes(*bytes) % u64::try_from(bound.max(1)).expect("a length");
        usize::try_from(drawn).expect("below a length")
    }
}

/// One to four changes of the kinds that break parsers: bits, bytes, tokens, cuts, copies, splices, lengths.
fn mutate(good: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    const TOKENS: [&[u8]; 8] = [b"\"", b"{", b"}", b"\\u0000", b"1e400", b",", b"=", b"[[[[[[[["];
    let mut bytes = good.to_vec();
    for _ in 0..=chance.below(3) {
        let at = chance.below(bytes.len());
        let len = chance.below(64).min(bytes.len() - at.min(bytes.len()));
        match chance.below(8) {
            0 => flip(&mut bytes, at, 1 << chance.below(8)),
            1 => flip(&mut bytes, at, u8::try_from(1 + chance.below(255)).expect("a byte")),
            2 => drop(bytes.splice(at..at + len, TOKENS[chance.below(TOKENS.len())].iter().copied())),
            3 => drop(bytes.drain(at..at + len)),
            4 => {
                let copied = bytes[at..at + len].to_vec();
                let to = chance.below(bytes.len());
                bytes.splice(to..to, copied);
            }
            5 => {
                let from = chance.below(other.len());
                let taken = &other[from..(from + len).min(other.len())];
                bytes.splice(at..at + len, taken.iter().copied());
            }
            6 => mix_segments(&mut bytes, other, chance),
            _ => {
                let value = u32::try_from(chance.below(1 << 21)).expect("a length").to_be_bytes();
                bytes.splice(at..(at + 4).min(bytes.len()), value);
            }
        }
        if bytes.is_empty() {
            return bytes;
        }
    }
    bytes
}

fn flip(bytes: &mut [u8], at: usize, mask: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= mask;
    }
}

/// A whole segment of another frame in the place of this one's.
fn mix_segments(bytes: &mut Vec<u8>, other: &[u8], chance: &mut Chance) {
    use flagfuse_shared::snapshot::envelope::{Segments, encode_frame};
    let (Ok(mine), Ok(theirs)) = (split_frame(bytes), split_frame(other)) else { return };
    let mixed = match chance.below(3) {
        0 => Segments { keyset: theirs.keyset, ..mine },
        1 => Segments { manifest: theirs.manifest, ..mine },
        _ => Segments { payload: theirs.payload, ..mine },
    };
    *bytes = encode_frame(mixed);
}
