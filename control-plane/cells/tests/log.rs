//! The bytes of log rows may not change: databases are full of them.

use flagfuse_cells::log::{self, LogError};
use flagfuse_cells::{
    Arm, Counting, Exposure, Fact, NameNo, Outcome, OutcomesFrom, PhaseId, PhaseRules, SliceSet, Source,
};
use flagfuse_cells_testing::history::{Shape, history, metric, rules, unit};

const KNOWN: u64 = 1_700_000_000_123;

fn facts() -> Vec<Fact> {
    let mut rules = rules(PhaseId(7), 1_699_999_999_000);
    let edges = (0..63).map(|edge| edge * 1_000 - 500).collect();
    rules.metrics.push(metric("refunds", 60_000, Counting::Sum { edges: Some(edges) }));
    let exposure = Exposure {
        unit: unit(1),
        phase: PhaseId(7),
        arm: Arm::Exposed,
        at_ms: KNOWN - 1_500,
        slices: SliceSet([2, 4, 0, 0]),
        is_bot: true,
        source: Source::Open,
        network: 0xDEAD_BEEF,
    };
    let plain = Exposure { arm: Arm::Control, slices: SliceSet::default(), is_bot: false, ..exposure };
    let outcome = Outcome {
        unit: unit(2),
        name: NameNo(300),
        at_ms: KNOWN + 5,
        value_micros: Some(-1),
        source: Source::Server,
    };
    vec![
        Fact::Phase(Box::new(rules)),
        Fact::Expose(exposure),
        Fact::Expose(plain),
        Fact::Outcome(outcome),
        Fact::Outcome(Outcome { value_micros: None, at_ms: 0, source: Source::Client, ..outcome }),
        Fact::Link { device: unit(3), canonical: unit(4) },
        Fact::Forget { unit: unit(5) },
        Fact::PhaseEnded { phase: PhaseId(-7), at_ms: u64::MAX },
        Fact::Tick { at_ms: 1_700_000_000_000 },
    ]
}

#[test]
fn log_rows_of_version_1_are_unchanged() {
    let row = log::encode(KNOWN, &facts());
    let hex = row.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let golden = include_str!("golden/log_v1.hex");
    assert_eq!(hex, golden.trim(), "the bytes of log rows have changed");
    assert_eq!(log::decode(&row), Ok((KNOWN, facts())));
}

#[test]
fn log_rows_say_whose_outcomes_count_only_where_it_is_not_anybodys() {
    let server = PhaseRules { outcomes_from: OutcomesFrom::Server, ..rules(PhaseId(8), 1_699_999_999_000) };
    let facts = [&facts()[..], &[Fact::Phase(Box::new(server))]].concat();
    let row = log::encode(KNOWN, &facts);
    let hex = row.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/log_v2.hex");
    if std::env::var_os("FLAGFUSE_RENEW_GOLDEN").is_some() {
        std::fs::write(path, format!("{hex}\n")).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(hex, golden.trim(), "the bytes of log rows have changed");
    assert_eq!(log::decode(&row), Ok((KNOWN, facts)));
    assert_eq!(log::decode(&[3]), Err(LogError::Version { found: 3 }));
}

#[test]
fn every_history_comes_back_and_damage_is_an_error() {
    let stretches = history(Shape { seed: 9, ticks: 20, facts_max: 60, units: 50 });
    for stretch in &stretches {
        let facts: Vec<Fact> = stretch.facts.iter().map(|(_, fact)| fact.clone()).collect();
        let row = log::encode(stretch.tick_ms, &facts);
        assert_eq!(log::decode(&row), Ok((stretch.tick_ms, facts)));
    }
    let row = log::encode(KNOWN, &facts());
    for length in 0..row.len() {
        // Cut between two facts it is a shorter row; elsewhere an error, and never a panic.
        if let Ok((known_ms, read)) = log::decode(&row[..length]) {
            assert_eq!((known_ms, read.as_slice()), (KNOWN, &facts()[..read.len()]));
        }
    }
    for at in 0..row.len() {
        for bit in 0..8 {
            let mut damaged = row.clone();
            damaged[at] ^= 1 << bit;
            drop(log::decode(&damaged));
        }
    }
    assert_eq!(log::decode(&[9]), Err(LogError::Version { found: 9 }));
    assert_eq!(log::decode(&[]), Err(LogError::Damaged { at: 0 }));
}

#[test]
fn an_erased_unit_is_in_no_row() {
    let row = log::encode(KNOWN, &facts());
    let without = log::without(&row, &unit(2)).unwrap().unwrap();
    let (_, left) = log::decode(&without).unwrap();
    assert_eq!(left.len(), facts().len() - 2);
    assert_eq!(log::without(&without, &unit(2)), Ok(None));
}
