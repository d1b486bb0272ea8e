//! What counting promises, by name: one short story each.

use flagfuse_cells::bins::latency_bin;
use flagfuse_cells::schedule::OVERTAKE_MS;
use flagfuse_cells::{
    Arm, CellRow, Closed, Counter, CounterRow, Effect, Exposure, Fact, LINK_COUNT_MAX, Ledger, MetricNo,
    Outcome, OutcomesFrom, PhaseId, PhaseRules, SliceNo, SliceSet, Source, Standing,
};
use flagfuse_cells_testing::history::{BEGIN_MS, name_no, rules, unit};

const PHASE: PhaseId = PhaseId(7);
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// After the grace.
const START: u64 = BEGIN_MS + MINUTE;

/// A ledger, and all that it has closed.
struct Story {
    ledger: Ledger,
    closed: Vec<Closed>,
}

impl Story {
    fn new() -> Self {
        let mut story = Self { ledger: Ledger::new(), closed: Vec::new() };
        story.tell(BEGIN_MS, Fact::Phase(Box::new(rules(PHASE, BEGIN_MS))));
        story
    }

    fn tell(&mut self, known_ms: u64, fact: Fact) -> Effect {
        self.ledger.apply(&fact, known_ms)
    }

    fn expose(&mut self, known_ms: u64, number: u64, at_ms: u64) -> Effect {
        self.tell(known_ms, Fact::Expose(exposure(number, at_ms)))
    }

    fn outcome(&mut self, known_ms: u64, number: u64, name: &str, at_ms: u64) -> Effect {
        self.valued(known_ms, number, name, at_ms, None)
    }

    fn valued(
        &mut self,
        known_ms: u64,
        number: u64,
        name: &str,
        at_ms: u64,
        value_micros: Option<i64>,
    ) -> Effect {
        let source = Source::Client;
        let outcome = Outcome { unit: unit(number), name: name_no(name), at_ms, value_micros, source };
        self.tell(known_ms, Fact::Outcome(outcome))
    }

    /// Twenty units that do nothing, so that the slot ends with the next tick.
    fn fill(&mut self, known_ms: u64) {
        for number in 1_000..1_020 {
            self.expose(known_ms, number, known_ms);
        }
    }

    fn tick(&mut self, at_ms: u64) {
        let closed = self.ledger.tick(at_ms);
        self.closed.push(closed);
    }

    fn cells(&self, metric: u8, slice: u8) -> Vec<(u8, Arm, u64)> {
        let wanted = |cell: &&CellRow| (cell.metric, cell.slice) == (MetricNo(metric), SliceNo(slice));
        let cells = self.closed.iter().flat_map(|closed| &closed.cells).filter(wanted);
        cells.map(|cell| (cell.step, cell.arm, cell.units)).collect()
    }

    fn counted(&self, counter: Counter) -> u64 {
        let rows = self.closed.iter().flat_map(|closed| &closed.counters);
        rows.filter(|row: &&CounterRow| row.counter == counter).map(|row| row.events).sum()
    }
}

fn exposure(number: u64, at_ms: u64) -> Exposure {
    Exposure {
        unit: unit(number),
        phase: PHASE,
        arm: if number.is_multiple_of(2) { Arm::Control } else { Arm::Exposed },
        at_ms,
        slices: SliceSet::default(),
        is_bot: false,
        source: Source::Edge,
        network: 1,
    }
}

#[test]
fn an_outcome_counts_when_it_becomes_known() {
    let mut story = Story::new();
    story.expose(START, 1, START);
    story.fill(START);
    story.tick(START + 5_000);
    // It happened a second after the enrolment, and comes three hours later.
    let known = START + 5_000 + 3 * HOUR;
    assert_eq!(story.outcome(known, 1, "activation", START + 1_000), Effect::Stored);
    story.tick(known + 30 * MINUTE);
    // 63 is the first step of half an hour, from an age of two hours on.
    assert_eq!(story.cells(4, 0), [(65, Arm::Exposed, 1)]);
}

#[test]
fn an_outcome_known_before_its_enrolment_counts_at_step_zero() {
    let mut story = Story::new();
    assert_eq!(story.outcome(START, 1, "error", START), Effect::Waiting);
    story.tick(START + 5_000);
    assert_eq!(story.expose(START + 8 * MINUTE, 1, START - 1_000), Effect::Stored);
    story.fill(START + 8 * MINUTE);
    story.tick(START + 8 * MINUTE + 15_000);
    assert_eq!(story.cells(1, 0), [(0, Arm::Exposed, 1)]);
    // One that happened before its unit's enrolment counts for nothing.
    story.outcome(START + 10 * MINUTE, 2, "error", START + 10 * MINUTE);
    story.expose(START + 10 * MINUTE, 2, START + 10 * MINUTE + OVERTAKE_MS + 1);
    story.tick(START + 80 * MINUTE);
    assert_eq!(story.cells(1, 0).len(), 1);
}

#[test]
fn an_outcome_whose_request_overtook_that_of_the_exposure_counts() {
    let mut story = Story::new();
    story.expose(START, 1, START + OVERTAKE_MS);
    assert_eq!(story.outcome(START, 1, "error", START), Effect::Waiting);
    story.fill(START);
    story.tick(START + 5_000);
    assert_eq!(story.cells(1, 0), [(0, Arm::Exposed, 1)]);
}

#[test]
fn a_late_earlier_exposure_changes_no_cell() {
    let mut plain = Story::new();
    let mut corrected = Story::new();
    for story in [&mut plain, &mut corrected] {
        story.expose(START, 1, START);
        story.fill(START);
        story.tick(START + 5_000);
    }
    let known = START + 6_000;
    let effect = corrected.expose(known, 1, START - 1_000);
    assert_eq!(effect, Effect::Correction { arm: Arm::Exposed });
    assert_eq!(corrected.expose(known, 1, START), Effect::Duplicate);
    for story in [&mut plain, &mut corrected] {
        story.outcome(known, 1, "error", START - 500);
        story.outcome(known, 1, "activation", START + 500);
        story.tick(START + 10 * DAY);
    }
    for metric in 0..=6 {
        assert_eq!(corrected.cells(metric, 0), plain.cells(metric, 0), "metric {metric}");
    }
    assert_eq!((corrected.counted(Counter::Correction), plain.counted(Counter::Correction)), (1, 0));
}

#[test]
fn a_link_after_enrolment_moves_nobody() {
    let mut plain = Story::new();
    let mut linked = Story::new();
    for story in [&mut plain, &mut linked] {
        story.expose(START, 1, START);
        story.fill(START);
        story.tick(START + 5_000);
    }
    linked.tell(START + 6_000, Fact::Link { device: unit(1), canonical: unit(3) });
    for story in [&mut plain, &mut linked] {
        story.tick(START + 10_000);
        story.outcome(START + 11_000, 1, "activation", START + 11_000);
        story.tick(START + 15_000);
    }
    // The phone is known already; the person does not enrol again.
    assert_eq!(linked.expose(START + 16_000, 3, START + 16_000), Effect::Duplicate);
    assert_eq!(plain.expose(START + 16_000, 3, START + 16_000), Effect::Stored);
    for story in [&mut plain, &mut linked] {
        story.tick(START + 3 * HOUR);
    }
    assert_eq!(linked.cells(4, 0), plain.cells(4, 0));
    let enrolled = |story: &Story| story.cells(0, 0).iter().map(|(.., units)| units).sum::<u64>();
    assert_eq!((enrolled(&linked), enrolled(&plain)), (21, 22));
    // Known before, both devices are one.
    let mut known = Story::new();
    known.tell(START, Fact::Link { device: unit(1), canonical: unit(3) });
    known.tick(START + 5_000);
    assert_eq!(known.expose(START + 6_000, 1, START + 6_000), Effect::Stored);
    known.tick(START + 10_000);
    assert_eq!(known.expose(START + 11_000, 3, START + 11_000), Effect::Duplicate);
}

/// Whoever sends links can make one of a few units, and not of many.
#[test]
fn a_unit_has_a_few_devices_and_none_of_them_has_devices() {
    let mut story = Story::new();
    let link = |device, canonical| Fact::Link { device: unit(device), canonical: unit(canonical) };
    for device in 1..=u64::from(LINK_COUNT_MAX) {
        assert_eq!(story.tell(START, link(device, 100)), Effect::Stored);
    }
    story.tick(START + 5_000);
    let known = START + 6_000;
    for (device, canonical, expected) in [
        (1, 200, Effect::Duplicate),
        (50, 100, Effect::TooManyDevices),
        (50, 1, Effect::TooManyDevices),
        (100, 200, Effect::TooManyDevices),
        (50, 200, Effect::Stored),
    ] {
        assert_eq!(story.tell(known, link(device, canonical)), expected, "{device} {canonical}");
    }
    // So many of one tick that not all hold.
    for device in 60..100 {
        story.tell(known, link(device, 200));
    }
    story.expose(known, 200, known);
    story.tick(START + 10_000);
    let mut is_a_device =
        |device: &u64| story.expose(START + 11_000, *device, START + 11_000) != Effect::Stored;
    let devices = (50..100).filter(|device| is_a_device(device)).count();
    assert_eq!(devices, usize::try_from(LINK_COUNT_MAX).unwrap());
    // Erased, the unit has no devices any more.
    story.tell(START + 12_000, Fact::Forget { unit: unit(2) });
    story.tick(START + 15_000);
    assert_eq!(story.tell(START + 16_000, link(51, 100)), Effect::Stored);
}

#[test]
fn slots_are_cut_without_seeing_arms_or_outcomes() {
    let slots = |is_swapped: bool, has_outcomes: bool| {
        let mut story = Story::new();
        for number in 0..400_u64 {
            let known = START + number * number * 20;
            let mut exposure = exposure(number, known);
            if is_swapped {
                exposure.arm = if exposure.arm == Arm::Control { Arm::Exposed } else { Arm::Control };
            }
            story.tell(known, Fact::Expose(exposure));
            if has_outcomes {
                story.outcome(known, number / 2, "error", known);
            }
            story.tick(known + 5_000);
        }
        story.closed.into_iter().flat_map(|closed| closed.slots).collect::<Vec<_>>()
    };
    let plain = slots(false, false);
    assert!(plain.len() > 5);
    assert_eq!(slots(true, false), plain);
    assert_eq!(slots(false, true), plain);
}

#[test]
fn errors_on_day_two_are_no_return() {
    let mut story = Story::new();
    story.expose(START, 1, START);
    story.expose(START, 3, START);
    story.fill(START);
    story.tick(START + 5_000);
    let known = START + 2 * DAY;
    story.outcome(known, 1, "error", known);
    story.valued(known, 1, "latency_ms", known, Some(1_000_000));
    story.expose(known, 1, known);
    story.outcome(known, 3, "session", known);
    story.tick(START + 10 * DAY);
    assert_eq!(story.cells(5, 0).iter().map(|(.., units)| units).sum::<u64>(), 1);
    assert_eq!(story.counted(Counter::Silent), 20);
}

#[test]
fn latency_counts_one_sample_per_unit() {
    let mut story = Story::new();
    story.expose(START, 1, START);
    story.expose(START, 3, START);
    story.fill(START);
    story.tick(START + 5_000);
    for turn in 0..1_000 {
        story.valued(START + 6_000, 1, "latency_ms", START + 6_000 + turn, Some(80_000_000));
    }
    story.valued(START + 6_000, 3, "latency_ms", START + 6_000, Some(80_000_000));
    story.tick(START + 3 * HOUR);
    assert_eq!(story.cells(2, 0), [(1, Arm::Exposed, 2)]);
    let spreads: Vec<_> = story.closed.iter().flat_map(|closed| &closed.spreads).collect();
    assert_eq!(spreads.iter().map(|row| row.units).collect::<Vec<_>>(), [2]);
}

#[test]
fn one_enormous_sample_moves_no_mean() {
    let mut story = Story::new();
    story.expose(START, 1, START);
    story.expose(START, 3, START);
    story.fill(START);
    story.tick(START + 5_000);
    let day_ms = 86_400_000_000_000;
    story.valued(START + 6_000, 1, "latency_ms", START + 6_000, Some(day_ms));
    story.valued(START + 6_000, 3, "latency_ms", START + 6_000, Some(80_000_000));
    story.tick(START + 3 * HOUR);
    let samples =
        story.closed.iter().flat_map(|closed| &closed.cells).filter(|row| row.metric == MetricNo(2));
    assert_eq!(
        samples.map(|row| row.total_micros).sum::<i64>(),
        10_000_000_000 + 80_000_000,
        "10 s and 80 ms"
    );
    let bins = story.closed.iter().flat_map(|closed| &closed.spreads).map(|row| row.bin);
    assert_eq!(bins.max(), Some(latency_bin(day_ms)), "the spread knows it as it is");
}

#[test]
fn bots_are_marked_by_what_was_known_at_enrolment() {
    let mut story = Story::new();
    story.tell(START, Fact::Expose(Exposure { is_bot: true, ..exposure(1, START) }));
    story.expose(START, 3, START);
    story.fill(START);
    story.tick(START + 5_000);
    // Later marks change nothing.
    story.expose(START + 6_000, 1, START + 6_000);
    story.tell(START + 6_000, Fact::Expose(Exposure { is_bot: true, ..exposure(3, START + 6_000) }));
    story.outcome(START + 6_000, 1, "error", START + 6_000);
    story.outcome(START + 6_000, 3, "error", START + 6_000);
    story.tick(START + 10_000);
    assert_eq!(story.cells(1, 1), [(1, Arm::Exposed, 1)], "the bot, among the bots");
    assert_eq!(story.cells(1, 0), [(1, Arm::Exposed, 1)], "the other, in the whole");
    assert_eq!(story.cells(0, 1), [(0, Arm::Exposed, 1)]);
}

#[test]
fn a_phase_goes_with_its_last_window_and_never_begins_again() {
    let mut story = Story::new();
    story.expose(START, 1, START);
    story.fill(START);
    story.tick(START + 5_000);
    story.tell(START + 6_000, Fact::PhaseEnded { phase: PHASE, at_ms: START + 6_000 });
    assert_eq!(story.expose(START + 7_000, 5, START + 6_001), Effect::AfterEnd);
    assert_eq!(story.ledger.standing(PHASE), Standing::Ended);
    story.tick(START + 9 * DAY);
    assert_eq!(story.ledger.standing(PHASE), Standing::Gone);
    for turn in 1..10 {
        story.tick(START + 9 * DAY + turn * 5_000);
    }
    assert_eq!(story.ledger.memory().units, 0);
    assert!(story.ledger.is_idle());
    let again = story.tell(START + 10 * DAY, Fact::Phase(Box::new(rules(PHASE, BEGIN_MS))));
    assert_eq!(again, Effect::Duplicate);
    assert_eq!(story.expose(START + 10 * DAY, 9, START + 10 * DAY), Effect::UnknownPhase);
}

/// Twenty units of a device in each arm, of whom some convert.
fn enrol_and_convert(story: &mut Story, first: u64, device: u8, converting: [u64; 2]) {
    for (arm, converting) in Arm::ALL.into_iter().zip(converting) {
        for n in 0..20 {
            let number = first + 20 * u64::from(arm.number()) + n;
            let exposure = Exposure { arm, slices: SliceSet([device, 0, 0, 0]), ..exposure(number, START) };
            story.tell(START, Fact::Expose(exposure));
            if n < converting {
                story.outcome(START, number, "activation", START);
            }
        }
    }
}

#[test]
fn mobile_gain_does_not_hide_desktop_loss() {
    let mut story = Story::new();
    // Mobile, the first declared slice: 4 of 20 become 16. Desktop, among the rest of the devices: 16 of 20 become 4.
    enrol_and_convert(&mut story, 0, 2, [4, 16]);
    enrol_and_convert(&mut story, 100, 3, [16, 4]);
    story.tick(START + 5_000);
    let activations = |slice| story.cells(4, slice);
    assert_eq!(activations(0), [(0, Arm::Control, 20), (0, Arm::Exposed, 20)], "the whole sees nothing");
    assert_eq!(activations(2), [(0, Arm::Control, 4), (0, Arm::Exposed, 16)]);
    assert_eq!(activations(3), [(0, Arm::Control, 16), (0, Arm::Exposed, 4)]);
    for slice in [2, 3] {
        assert_eq!(story.cells(0, slice), [(0, Arm::Control, 20), (0, Arm::Exposed, 20)]);
    }
}

#[test]
fn where_only_servers_are_believed_clients_move_no_cell_and_flood_no_unit() {
    let mut story = Story { ledger: Ledger::new(), closed: Vec::new() };
    let of_servers = PhaseRules { outcomes_from: OutcomesFrom::Server, ..rules(PHASE, BEGIN_MS) };
    story.tell(BEGIN_MS, Fact::Phase(Box::new(of_servers)));
    story.fill(START);
    story.tick(START + 5_000);
    let at = START + 6_000;
    for _ in 0..20_000 {
        assert_eq!(story.outcome(at, 1_000, "error", START), Effect::Uncounted);
    }
    let outcome = Outcome {
        unit: unit(1_000),
        name: name_no("error"),
        at_ms: START,
        value_micros: None,
        source: Source::Server,
    };
    assert_eq!(story.tell(at, Fact::Outcome(outcome)), Effect::Stored);
    story.tick(START + 20_000);
    assert_eq!(story.cells(1, 0).iter().map(|(.., units)| units).sum::<u64>(), 1);
    assert_eq!(story.counted(Counter::Ignored), 20_000);
}
