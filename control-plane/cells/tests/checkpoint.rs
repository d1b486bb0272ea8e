//! The bytes of checkpoints may not change: databases hold them across releases.

use flagfuse_cells::ledger::{Restore, RestoreError};
use flagfuse_cells::{Arm, Exposure, Fact, Ledger, Outcome, PhaseId, SliceSet, Source};
use flagfuse_cells_testing::history::{BEGIN_MS, name_no, rules, unit};

const MINUTE: u64 = 60_000;
/// After the grace.
const START: u64 = BEGIN_MS + MINUTE;
const TICK: u64 = START + 5_000;

fn exposure(number: u64, phase: i64) -> Fact {
    Fact::Expose(Exposure {
        unit: unit(number),
        phase: PhaseId(phase),
        arm: if number.is_multiple_of(2) { Arm::Exposed } else { Arm::Control },
        at_ms: START + number,
        slices: SliceSet(if number.is_multiple_of(3) { [2, 4, 0, 0] } else { [0; 4] }),
        is_bot: number == 25,
        source: if number.is_multiple_of(5) { Source::Edge } else { Source::Client },
        network: 7_000 + u32::try_from(number % 4).unwrap_or(0),
    })
}

fn outcome(number: u64, name: &str, value_micros: Option<i64>) -> Fact {
    let (unit, name) = (unit(number), name_no(name));
    Fact::Outcome(Outcome { unit, name, at_ms: START + 1_000, value_micros, source: Source::Client })
}

/// Something of everything that a ledger holds: phases of which one has ended, slots of which one is closed, open cells, sums,
/// outcomes that wait, a link, an erased unit, and one with more outcomes than its state counts.
fn ledger() -> Ledger {
    let mut ledger = Ledger::new();
    let mut tell = |known_ms: u64, facts: Vec<Fact>| {
        for fact in &facts {
            ledger.apply(fact, known_ms);
        }
    };
    tell(BEGIN_MS, [7, 8].map(|phase| Fact::Phase(Box::new(rules(PhaseId(phase), BEGIN_MS)))).to_vec());
    tell(START, (1..=25).map(|number| exposure(number, 7)).collect());
    tell(START, vec![exposure(1, 8), exposure(2, 8)]);
    tell(START, vec![Fact::Link { device: unit(50), canonical: unit(51) }]);
    tell(TICK, vec![Fact::Tick { at_ms: TICK }]);
    tell(TICK, (1..=9).map(|number| outcome(number, "latency_ms", Some(12_000_000))).collect());
    tell(TICK, (1..=9).map(|number| outcome(number, "revenue", Some(-1_500_000))).collect());
    tell(TICK, vec![outcome(4, "error", None), outcome(99, "activation", None)]);
    tell(TICK, vec![outcome(3, "made_up", None); 260]);
    tell(TICK, (100..=102).map(|number| exposure(number, 7)).collect());
    tell(TICK, vec![Fact::Forget { unit: unit(60) }]);
    tell(TICK, vec![Fact::PhaseEnded { phase: PhaseId(8), at_ms: TICK }]);
    tell(TICK + 5_000, vec![Fact::Tick { at_ms: TICK + 5_000 }]);
    ledger
}

fn parts(ledger: &mut Ledger) -> Vec<Vec<u8>> {
    assert!(ledger.begin_checkpoint().is_ok(), "a tick is behind it");
    std::iter::from_fn(|| ledger.next_part()).map(|part| part.bytes).collect()
}

fn restored(parts: &[Vec<u8>]) -> Result<Ledger, RestoreError> {
    let mut restoring = Restore::new();
    parts.iter().try_for_each(|part| restoring.part(part))?;
    restoring.finish()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = (0..hex.len()).step_by(2).filter_map(|at| hex.get(at..at + 2));
    pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

#[test]
fn checkpoints_of_version_1_are_unchanged_and_are_read() {
    let golden: Vec<Vec<u8>> = include_str!("golden/checkpoint_v1.hex").lines().map(bytes).collect();
    let mut expected = ledger();
    let found = parts(&mut expected);
    let lines: Vec<String> = found.iter().map(|part| hex(part)).collect();
    assert_eq!(lines.join("\n"), include_str!("golden/checkpoint_v1.hex").trim(), "the bytes have changed");
    assert_eq!(found.len(), 8, "the root, and something in every arena");
    assert!(found[1..].iter().all(|part| part.len() > 2), "something in every arena");
    let mut read = restored(&golden).unwrap();
    assert!(read == expected, "what is read is not what was written");
    // And it goes on alike.
    for ledger in [&mut read, &mut expected] {
        ledger.apply(&outcome(1, "activation", None), TICK + 9_000);
    }
    assert_eq!(read.tick(TICK + 3_600_000), expected.tick(TICK + 3_600_000));
    assert!(read == expected);
}

#[test]
fn a_damaged_checkpoint_is_an_error_and_never_another_ledger_without_a_word() {
    let whole = parts(&mut ledger());
    let newer: Vec<Vec<u8>> = whole.iter().map(|part| [&[3], &part[1..]].concat()).collect();
    assert_eq!(restored(&newer).unwrap_err(), RestoreError::Version { found: 3 });
    assert_eq!(restored(&whole[..7]).unwrap_err(), RestoreError::Incomplete { found: 7, expected: 8 });
    assert_eq!(restored(&[]).unwrap_err(), RestoreError::Incomplete { found: 0, expected: 0 });
    for number in 0..whole.len() {
        let mut without = whole.clone();
        without.remove(number);
        assert!(restored(&without).is_err(), "part {number} is missing");
        for length in (0..whole[number].len()).step_by(7) {
            let mut cut = whole.clone();
            cut[number].truncate(length);
            assert!(restored(&cut).is_err(), "part {number} ends at {length}");
        }
        let mut longer = whole.clone();
        longer[number].push(0);
        assert!(restored(&longer).is_err(), "part {number} is too long");
        for at in (0..whole[number].len()).step_by(11) {
            let mut damaged = whole.clone();
            damaged[number][at] ^= 0x55;
            // An error or another number in a record, and never a panic.
            drop(restored(&damaged));
        }
    }
}
