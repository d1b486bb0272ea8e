//! The ledger against a counter that keeps everything: cell for cell, on random histories.

use flagfuse_cells::schedule::TICK_MS;
use flagfuse_cells::{Closed, Fact, Ledger, Outcome, PartPiece, Restore, log};
use flagfuse_cells::{PhaseId, SliceSet, Source};
use flagfuse_cells_testing::history::{Shape, Stretch, history, name_no, rules, shuffled, unit};
use flagfuse_cells_testing::oracle::{Fault, Oracle};
use proptest::prelude::*;

/// What the ledger closes, tick by tick, and the ledger.
fn count(history: &[Stretch]) -> (Vec<Closed>, Ledger) {
    let mut ledger = Ledger::new();
    let closed = history.iter().map(|stretch| count_stretch(&mut ledger, stretch)).collect();
    (closed, ledger)
}

fn count_stretch(ledger: &mut Ledger, stretch: &Stretch) -> Closed {
    for (known_ms, fact) in &stretch.facts {
        ledger.apply(fact, *known_ms);
    }
    ledger.tick(stretch.tick_ms)
}

fn ask(mut oracle: Oracle, history: &[Stretch]) -> Vec<Closed> {
    let mut count = |stretch: &Stretch| {
        for (known_ms, fact) in &stretch.facts {
            oracle.apply(fact, *known_ms);
        }
        oracle.tick(stretch.tick_ms)
    };
    history.iter().map(&mut count).collect()
}

/// What two counts of a history first differ in.
fn difference(found: &[Closed], expected: &[Closed]) -> Option<String> {
    let (at, (found, expected)) = found.iter().zip(expected).enumerate().find(|(_, (a, b))| a != b)?;
    let only =
        |a: &[String], b: &[String]| a.iter().filter(|row| !b.contains(row)).cloned().collect::<Vec<_>>();
    let [found, expected] = [found, expected].map(rows);
    Some(format!(
        "tick {at}: too much {:#?}, missing {:#?}",
        only(&found, &expected),
        only(&expected, &found)
    ))
}

fn rows(closed: &Closed) -> Vec<String> {
    let Closed { tick: _, slots, cells, spreads, networks, counters, waiting_dropped } = closed;
    let slots = slots.iter().map(|row| format!("{row:?}"));
    let cells = cells.iter().map(|row| format!("{row:?}"));
    let spreads = spreads.iter().map(|row| format!("{row:?}"));
    let networks = networks.iter().map(|row| format!("{row:?}"));
    let counters = counters.iter().map(|row| format!("{row:?}"));
    let dropped = [format!("dropped {waiting_dropped}")];
    slots.chain(cells).chain(spreads).chain(networks).chain(counters).chain(dropped).collect()
}

fn differs(history: &[Stretch]) -> Option<String> {
    difference(&count(history).0, &ask(Oracle::new(), history))
}

/// The history without facts that are not needed for it to differ: ever shorter stretches of them are left out.
fn minimal(mut history: Vec<Stretch>) -> Vec<Stretch> {
    let count = |history: &[Stretch]| history.iter().map(|stretch| stretch.facts.len()).sum::<usize>();
    let mut length = count(&history).next_power_of_two();
    while length > 0 {
        let mut from = 0;
        while from < count(&history) {
            let mut less = history.clone();
            let mut at = 0;
            for stretch in &mut less {
                stretch.facts.retain(|_| {
                    at += 1;
                    !(from..from + length).contains(&(at - 1))
                });
            }
            if differs(&less).is_some() {
                history = less;
            } else {
                from += length;
            }
        }
        length /= 2;
    }
    history
}

fn check(shape: Shape) {
    let history = history(shape);
    if differs(&history).is_some() {
        let minimal = minimal(history);
        let facts: Vec<_> = minimal.iter().filter(|stretch| !stretch.facts.is_empty()).collect();
        assert_eq!(differs(&minimal), None, "{shape:?}\n{facts:?}");
    }
}

/// Cases in CI; twenty times as many with optimisations.
const CASES: u32 = if cfg!(debug_assertions) { 150 } else { 3_000 };

fn shapes() -> impl Strategy<Value = Shape> {
    let units = prop_oneof![Just(4_u64), Just(30), Just(400)];
    (any::<u64>(), 8_usize..60, 1_u64..120, units).prop_map(|(seed, ticks, facts_max, units)| Shape {
        seed,
        ticks,
        facts_max,
        units,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn cells_are_those_of_a_counter_that_keeps_everything(shape in shapes()) {
        check(shape);
    }

    #[test]
    fn a_tick_that_is_done_bit_by_bit_closes_the_same(shape in shapes(), count in 1_usize..9) {
        let history = history(shape);
        let (expected, whole) = self::count(&history);
        let mut ledger = Ledger::new();
        for (stretch, expected) in history.iter().zip(&expected) {
            for (known_ms, fact) in &stretch.facts {
                ledger.apply(fact, *known_ms);
            }
            let mut ticking = ledger.begin_tick(stretch.tick_ms);
            while ledger.settle(&mut ticking, count) {}
            prop_assert_eq!(&ledger.end_tick(ticking), expected);
        }
        prop_assert!(ledger == whole);
    }

    #[test]
    fn ticks_before_the_next_due_one_may_be_left_out(shape in shapes()) {
        let history = history(shape);
        let mut facts = history.iter().flat_map(|stretch| &stretch.facts).peekable();
        let (mut every, mut due) = (Ledger::new(), Ledger::new());
        let (mut of_every, mut of_due) = (Vec::new(), Vec::new());
        let begin = flagfuse_cells_testing::history::BEGIN_MS;
        // What is rarer than hours apart is not looked at: every tick of it would be.
        for at_ms in (1..5_000).map(|tick| begin + tick * TICK_MS) {
            while let Some((known_ms, fact)) = facts.next_if(|(known_ms, _)| *known_ms < at_ms) {
                every.apply(fact, *known_ms);
                due.apply(fact, *known_ms);
            }
            of_every.push(every.tick(at_ms));
            if due.next_due_ms().is_some_and(|due_ms| due_ms <= at_ms) {
                of_due.push(due.tick(at_ms));
            }
        }
        of_every.retain(|closed| !closed.is_empty());
        of_due.retain(|closed| !closed.is_empty());
        prop_assert_eq!(of_due, of_every);
    }

    #[test]
    fn replaying_batches_in_any_order_gives_the_same_cells(shape in shapes(), seed in any::<u64>()) {
        let history = history(shape);
        let (expected, _) = count(&history);
        let (found, _) = count(&shuffled(&history, seed));
        prop_assert_eq!(difference(&found, &expected), None);
    }

    #[test]
    fn a_checkpoint_and_the_log_behind_it_give_the_same_ledger(shape in shapes(), at in any::<prop::sample::Index>()) {
        let history = history(shape);
        let at = at.index(history.len());
        let mut ledger = Ledger::new();
        for stretch in &history[..=at] {
            count_stretch(&mut ledger, stretch);
        }
        ledger.begin_checkpoint().unwrap();
        let mut restore = Restore::new();
        // Parts are taken between the facts that follow, some bytes at a time.
        let (mut behind, mut part) = (Vec::new(), Vec::new());
        let mut take = |piece: PartPiece| {
            part.extend_from_slice(&piece.bytes);
            if piece.is_end {
                restore.part(&part).unwrap();
                part.clear();
            }
        };
        for stretch in &history[at + 1..] {
            for (known_ms, fact) in &stretch.facts {
                ledger.apply(fact, *known_ms);
                behind.push(log::encode(*known_ms, std::slice::from_ref(fact)));
                if let Some(piece) = ledger.next_piece(300) {
                    take(piece);
                }
            }
            ledger.tick(stretch.tick_ms);
            behind.push(log::encode(stretch.tick_ms, &[Fact::Tick { at_ms: stretch.tick_ms }]));
        }
        while let Some(piece) = ledger.next_piece(300) {
            take(piece);
        }
        let mut restored = restore.finish().unwrap();
        for row in &behind {
            let (known_ms, facts) = log::decode(row).unwrap();
            for fact in &facts {
                restored.apply(fact, known_ms);
            }
        }
        prop_assert!(restored == ledger, "{:?}", shape);
        // They go on alike, too.
        let later = history.last().unwrap().tick_ms + 9 * 86_400_000;
        prop_assert_eq!(restored.tick(later), ledger.tick(later));
        prop_assert_eq!(restored.memory().units, ledger.memory().units);
    }
}

#[test]
fn planted_faults_are_found() {
    for fault in Fault::ALL {
        let finds = |seed| {
            let units = [4, 30, 400][usize::try_from(seed % 3).unwrap()];
            let history = history(Shape { seed, ticks: 50, facts_max: 100, units });
            difference(&count(&history).0, &ask(Oracle::with(fault), &history)).is_some()
        };
        assert!((0..60).any(finds), "{fault:?} was not found in 60 histories");
    }
}

#[test]
fn a_flooding_unit_counts_ten_thousand_outcomes_a_day_and_the_rest_of_their_tick() {
    let begin = flagfuse_cells_testing::history::BEGIN_MS;
    let mut stretches = history(Shape { seed: 3, ticks: 2, facts_max: 0, units: 1 });
    let exposure = flagfuse_cells::Exposure {
        unit: unit(1),
        phase: PhaseId(7),
        arm: flagfuse_cells::Arm::Exposed,
        at_ms: begin + 60_000,
        slices: SliceSet::default(),
        is_bot: false,
        source: Source::Edge,
        network: 1,
    };
    assert_eq!(rules(PhaseId(7), 0).metric_no("revenue"), Some(flagfuse_cells::MetricNo(3)));
    let mut now = begin + 60_000;
    stretches.push(Stretch { facts: vec![(now, Fact::Expose(exposure))], tick_ms: now + 5_000 });
    for turn in 0..14_u64 {
        // The seventh comes a day later.
        now += if turn == 6 { 20 * 3_600_000 } else { 5_000 };
        let outcome = Outcome {
            unit: unit(1),
            name: name_no("revenue"),
            at_ms: begin + 61_000 + turn,
            value_micros: Some(1),
            source: Source::Server,
        };
        let facts = vec![(now, Fact::Outcome(outcome)); 1_700];
        stretches.push(Stretch { facts, tick_ms: now + 5_000 });
    }
    stretches.push(Stretch { facts: Vec::new(), tick_ms: now + 7_200_000 });
    assert_eq!(differs(&stretches), None);
    let events = |closed: &[Closed]| {
        closed
            .iter()
            .flat_map(|closed| &closed.cells)
            .filter(|cell| cell.metric.0 == 3)
            .map(|cell| cell.events)
            .sum::<u64>()
    };
    assert_eq!(events(&count(&stretches).0), 2 * 6 * 1_700);
}
