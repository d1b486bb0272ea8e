//! Evidence from made-up cells: what is read when, and that it is the same however it comes.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The number of the first guardrail's metric in the phases here, as rules number them behind `return`.
pub(super) const METRIC: u8 = 2;
const SLOT_MS: u64 = 60_000;
/// Ticks of a day.
pub(super) const DAY: u64 = 24 * 3_600_000 / TICK_MS;
pub(super) const TERMS: Terms = Terms { attempt: 1, probe: 1 };

pub(super) fn policy(guardrail: Value, slices: Value) -> Policy {
    Policy::parse(json!({
        "mode": "anytime", "treatment_variation": "on", "control_variation": "off", "exposure_percent": 50,
        "control_percent": 50, "guardrails": [guardrail], "slices": slices,
    }))
    .unwrap()
}

pub(super) fn errors() -> Policy {
    policy(json!({ "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 }), json!([]))
}

pub(super) fn evidence(policy: &Policy) -> Evidence {
    let dimensions: Vec<usize> = policy.slices.iter().map(|slice| slice.values.len() + 1).collect();
    let buckets = (500_000, 500_000);
    let shape = PhaseShape {
        policy,
        metrics: &[METRIC],
        dimensions: &dimensions,
        buckets,
        edges: &[],
        is_promoted: false,
    };
    Evidence::new(&shape).unwrap()
}

/// A slot that closes at its end, and what is counted of it.
pub(super) struct Slot {
    slot: i64,
    pub(super) tick: u64,
}

impl Slot {
    pub(super) fn of(slot: i64) -> Self {
        Self { slot, tick: (slot.unsigned_abs() + 1) * SLOT_MS / TICK_MS }
    }

    pub(super) fn closed(&self, news: &mut News) {
        news.slots.push(ClosedSlot { tick: self.tick, slot: self.slot, ends_ms: self.tick * TICK_MS });
    }

    /// Units of a metric that became known so many steps of five seconds after the slot's end.
    pub(super) fn count(&self, news: &mut News, step: i64, metric: u8, slice: u8, units: (u64, u64)) {
        let tick = self.tick + step.unsigned_abs();
        for (arm, units) in [(Arm::Exposed, units.0), (Arm::Control, units.1)] {
            if units > 0 {
                let slot = self.slot;
                news.counts.push(ClosedCount { tick, slot, step, metric, slice, arm, units });
            }
        }
    }
}

/// Slots of so many units an arm, of which so many have the event in the first step, for each of several slots.
pub(super) fn launch(units: u64, events: &[(u64, u64)]) -> News {
    let mut news = News::default();
    for (slot, events) in (0..).zip(events) {
        let slot = Slot::of(slot);
        slot.closed(&mut news);
        slot.count(&mut news, 0, ENROLLED, EVERYBODY, (units, units));
        slot.count(&mut news, 1, METRIC, EVERYBODY, *events);
    }
    news
}

pub(super) fn judged(evidence: &Evidence, policy: &Policy) -> Found {
    evidence.judge(TERMS, &policy.weights()).unwrap()[0]
}

#[test]
fn a_feature_that_always_fails_is_found_in_a_few_units() {
    let policy = errors();
    let mut evidence = evidence(&policy);
    evidence.fold(&launch(10, &[(10, 0)]), 13).unwrap();
    assert_eq!(judged(&evidence, &policy).crossed, None, "ten units are not enough");
    evidence.fold(&launch(10, &[(10, 0), (10, 0)]).since(13), 25).unwrap();
    let found = judged(&evidence, &policy);
    assert_eq!(found.crossed, Some(Crossed { slice: EVERYBODY }));
    assert!(found.heard.evidence > found.needed && found.progress > 99.9, "{found:?}");
}

impl News {
    /// What of it closed after a tick.
    pub(super) fn since(mut self, tick: u64) -> Self {
        self.slots.retain(|slot| slot.tick > tick);
        self.counts.retain(|count| count.tick > tick);
        self.bins.retain(|bin| bin.tick > tick);
        self.missed.retain(|missed| missed.tick > tick);
        self
    }
}

#[test]
fn no_event_is_no_evidence_and_an_improvement_is_none_of_harm() {
    let policy = errors();
    for events in [(0, 0), (0, 5)] {
        let mut evidence = evidence(&policy);
        evidence.fold(&launch(50, &[events; 200]), 100_000).unwrap();
        let found = judged(&evidence, &policy);
        assert_eq!(found.crossed, None);
        assert!(found.heard.evidence < 1.0 + 1e-9, "{found:?}");
    }
}

#[test]
fn a_launch_that_is_the_same_in_both_arms_hardly_ever_trips() {
    // 1 % over the whole launch, at a rate of 5 %; 300 launches of 8,000 units an arm, looked at after every slot.
    let policy = policy(
        json!({ "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.1, "baseline": 0.05 }),
        json!([]),
    );
    let mut seed = 7_u64;
    let mut draw = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33).is_multiple_of(20)
    };
    let mut trips = 0;
    for _ in 0..300 {
        let events: Vec<(u64, u64)> = (0..80)
            .map(|_| {
                let mut arm = || (0..100).map(|_| u64::from(draw())).sum();
                (arm(), arm())
            })
            .collect();
        let news = launch(100, &events);
        let mut evidence = evidence(&policy);
        let has_tripped = (1..=81).any(|minute| {
            let (from, upto) = ((minute - 1) * 12, minute * 12 + 1);
            let bit = news.clone().since(from).until(upto);
            evidence.fold(&bit, upto).unwrap();
            judged(&evidence, &policy).crossed.is_some()
        });
        trips += u32::from(has_tripped);
    }
    assert!(trips <= 9, "{trips} of 300: 3 are expected at most, 9 have a chance of 0.4 %");
}

impl News {
    /// What of it closed by a tick.
    pub(super) fn until(mut self, tick: u64) -> Self {
        self.slots.retain(|slot| slot.tick <= tick);
        self.counts.retain(|count| count.tick <= tick);
        self.bins.retain(|bin| bin.tick <= tick);
        self.missed.retain(|missed| missed.tick <= tick);
        self
    }
}

#[test]
fn a_return_is_read_once_when_the_slot_is_over() {
    let rail = json!({ "metric": "return", "direction": "decrease_is_harm", "threshold": -0.05 });
    let policy = policy(rail, json!([]));
    let mut evidence = evidence(&policy);
    let mut news = launch(500, &[(0, 0)]);
    let slot = Slot::of(0);
    // Three days later: 100 of the exposed came back, and 300 of control.
    slot.count(&mut news, 120, METRIC, EVERYBODY, (100, 300));
    evidence.fold(&news, 8 * DAY).unwrap();
    assert_eq!(
        judged(&evidence, &policy).heard.blocks,
        0,
        "not before its last unit's window and the lag are over"
    );
    evidence.fold(&News::default(), 8 * DAY + 20).unwrap();
    let found = judged(&evidence, &policy);
    assert_eq!((found.heard.blocks, found.crossed.is_some()), (1, true), "{found:?}");
}

/// Slots of 100 units an arm, half of them on mobile, where more convert than of control, and half on desktop, where fewer do: what
/// the first of them says whose evidence reaches what it needs.
fn desktop_loss(policy: &Policy) -> Found {
    let mut evidence = evidence(policy);
    let (mobile, desktop) = (DECLARED_FIRST, DECLARED_FIRST + 1);
    for slot in 0..60 {
        let mut news = News::default();
        let slot = Slot::of(slot);
        slot.closed(&mut news);
        for (slice, units) in [(EVERYBODY, 100), (mobile, 50), (desktop, 50)] {
            slot.count(&mut news, 0, ENROLLED, slice, (units, units));
        }
        slot.count(&mut news, 1, METRIC, EVERYBODY, (20, 20));
        slot.count(&mut news, 1, METRIC, mobile, (15, 10));
        slot.count(&mut news, 1, METRIC, desktop, (5, 10));
        evidence.fold(&news, slot.tick + 1).unwrap();
        let found = judged(&evidence, policy);
        assert!(found.heard.evidence < 2.0, "everybody together is as well as before: {found:?}");
        if found.crossed.or(found.held).is_some() {
            assert!(slot.slot >= 4, "slices are not judged before 1,000 units are enrolled");
            return found;
        }
    }
    panic!("the loss was not found");
}

#[test]
fn mobile_gain_does_not_hide_desktop_loss() {
    let desktop = Some(Crossed { slice: DECLARED_FIRST + 1 });
    let slices = || json!([{ "attribute": "device", "values": ["mobile", "desktop"] }]);
    let rail = json!({ "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.1 });
    let found = desktop_loss(&policy(rail.clone(), slices()));
    assert_eq!((found.crossed, found.held), (desktop, None));
    // One that only holds does so for a slice, too.
    let mut holding = rail.clone();
    holding["rights"] = json!("hold");
    let tripping = json!({ "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 });
    let policy = Policy::parse(json!({
        "mode": "anytime", "treatment_variation": "on", "control_variation": "off", "exposure_percent": 50,
        "control_percent": 50, "guardrails": [holding, tripping], "slices": slices(),
    }));
    let found = desktop_loss(&policy.unwrap());
    assert_eq!((found.crossed, found.held, found.is_suspected), (None, desktop, true));
}

#[test]
fn more_events_than_units_is_no_evidence_but_a_contradiction() {
    let mut evidence = evidence(&errors());
    assert!(evidence.fold(&launch(10, &[(11, 0)]), 100).is_err());
}

#[test]
fn slow_pages_are_found_by_samples_above_what_control_has_shown() {
    let policy = policy(
        json!({ "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.1 }),
        json!([]),
    );
    let (mut evidence, mut news) = (evidence(&policy), News::default());
    for number in 0..40 {
        let slot = Slot::of(number);
        slot.closed(&mut news);
        slot.count(&mut news, 0, ENROLLED, EVERYBODY, (100, 100));
        let tick = slot.tick + 180;
        let mut bins = |arm, of: &[(u16, u64)]| {
            for (bin, units) in of {
                let (slot, bin, units) = (slot.slot, *bin, *units);
                news.bins.push(ClosedBin { tick, slot, metric: METRIC, slice: EVERYBODY, arm, bin, units });
            }
        };
        bins(Arm::Control, &[(300, 94), (340, 6)]);
        bins(Arm::Exposed, &[(300, 80), (400, 20)]);
    }
    // The first two slots of control only set the threshold.
    let second = Slot::of(1).tick + 180;
    evidence.fold(&news, second).unwrap();
    assert_eq!(judged(&evidence, &policy).heard.blocks, 0);
    evidence.fold(&news.since(second), 100_000).unwrap();
    let found = judged(&evidence, &policy);
    assert!(found.crossed.is_some() && found.heard.change > Some(0.35), "{found:?}");
}

#[test]
fn recovery_is_evidence_that_the_harm_is_gone() {
    let rail = json!({ "metric": "error", "direction": "increase_is_harm", "threshold": 1.0 });
    let policy = policy(rail, json!([]));
    let recovered = |events: (u64, u64)| {
        let mut evidence = evidence(&policy);
        evidence.fold(&launch(400, &[events; 60]), 1_000_000).unwrap();
        judged(&evidence, &policy).is_recovered()
    };
    assert!(recovered((20, 20)), "as many errors as control has");
    assert!(!recovered((40, 20)), "a harm of the threshold");
}

/// Evidence of an attempt with two stages; the first is censored there, where it is.
fn of_two_stages(policy: &Policy, censored_ms: Option<u64>) -> Evidence {
    let mut evidence = Evidence::begin(policy, &[]).unwrap();
    let buckets = (500_000, 500_000);
    let shape =
        PhaseShape { policy, metrics: &[METRIC], dimensions: &[], buckets, edges: &[], is_promoted: false };
    evidence.join(4, &shape, None).unwrap();
    evidence.join(3, &shape, censored_ms).unwrap();
    evidence
}

#[test]
fn the_stages_of_an_attempt_multiply_and_each_is_compared_with_its_own_controls() {
    let policy = errors();
    let (first, second) = (launch(10, &[(10, 0)]), launch(10, &[(0, 0), (10, 0)]));
    let mut evidence = of_two_stages(&policy, None);
    evidence.fold_phases(&[(3, &first)], 13).unwrap();
    assert_eq!(judged(&evidence, &policy).crossed, None, "ten units are not enough");
    evidence.fold_phases(&[(3, &first.since(13)), (4, &second)], 30).unwrap();
    assert!(judged(&evidence, &policy).crossed.is_some(), "and ten of another stage are");
    assert_eq!((evidence.newest_ms(3), evidence.newest_ms(4)), (Some(SLOT_MS), Some(2 * SLOT_MS)));
    // A common rate that drifts while the ratio of the arms changes is no harm: 10 of 100 and 40 of 400, then half of everybody.
    let stage = |units: (u64, u64), events: (u64, u64)| {
        let mut news = News::default();
        for slot in 0..20 {
            let slot = Slot::of(slot);
            slot.closed(&mut news);
            slot.count(&mut news, 0, ENROLLED, EVERYBODY, units);
            slot.count(&mut news, 1, METRIC, EVERYBODY, events);
        }
        news
    };
    let mut evidence = of_two_stages(&policy, None);
    let (few, many) = (stage((100, 400), (10, 40)), stage((400, 100), (200, 50)));
    evidence.fold_phases(&[(3, &few), (4, &many)], 1_000).unwrap();
    let found = judged(&evidence, &policy);
    assert!(found.heard.evidence < 1.0 && !found.heard.is_gate_open, "{found:?}");
    assert!(
        found.heard.change.unwrap().abs() < 0.01,
        "pooled, the exposed would seem twice as bad: {found:?}"
    );
}

#[test]
fn certificates_of_all_stages_exclude_a_harm_together() {
    let policy = errors();
    let news = |slots: usize| launch(100, &vec![(30, 30); slots]);
    let excluded = |first: usize, second: usize| {
        let mut evidence = of_two_stages(&policy, None);
        evidence.fold_phases(&[(3, &news(first)), (4, &news(second))], 100_000).unwrap();
        (judged(&evidence, &policy).heard.excluded, judged(&evidence, &policy).heard.over.exposed)
    };
    let (alone, units) = excluded(6, 0);
    assert_eq!(units, 600);
    let (both, _) = excluded(6, 6);
    assert!(both < alone && both == excluded(12, 0).0, "{alone:?} {both:?}");
}

#[test]
fn a_stage_that_ended_with_the_last_one_is_censored_there() {
    let policy = errors();
    let mut late = launch(10, &[(0, 0)]);
    // Its controls fail as soon as they are shown the feature, and its exposed units go on failing.
    Slot::of(0).count(&mut late, 40, METRIC, EVERYBODY, (10, 10));
    let heard = |censored_ms: Option<u64>| {
        let mut evidence = of_two_stages(&policy, censored_ms);
        evidence.fold_phases(&[(3, &late)], 100_000).unwrap();
        judged(&evidence, &policy).heard
    };
    let (whole, censored) = (heard(None), heard(Some(2 * SLOT_MS)));
    assert_eq!((whole.over.exposed, whole.over.control.events), (10, 10));
    assert_eq!(
        (censored.over.exposed, censored.blocks),
        (0, 0),
        "neither the outcome nor the slot's end is read"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn stages_are_the_same_bits_in_however_many_pieces_they_come(
        first in prop::collection::vec((0_u64..10, 0_u64..10), 1..20),
        second in prop::collection::vec((0_u64..10, 0_u64..10), 1..20),
        shift in 0_u64..30,
        cuts in prop::collection::vec(0_u64..600, 0..8),
    ) {
        let policy = errors();
        let one = launch(10, &first);
        // The other stage closes between the ticks of the first.
        let mut other = launch(30, &second);
        other.slots.iter_mut().for_each(|slot| { slot.tick += shift; slot.ends_ms += shift * TICK_MS; });
        other.counts.iter_mut().for_each(|count| count.tick += shift);
        let mut whole = of_two_stages(&policy, None);
        whole.fold_phases(&[(4, &other), (3, &one)], 700).unwrap();
        let mut pieces = of_two_stages(&policy, None);
        let mut cuts = cuts;
        cuts.extend([0, 700]);
        cuts.sort_unstable();
        for cut in cuts.array_windows::<2>() {
            let bit = |news: &News| news.clone().since(cut[0]).until(cut[1]);
            pieces.fold_phases(&[(3, &bit(&one)), (4, &bit(&other))], cut[1]).unwrap();
        }
        let (whole, pieces) = (judged(&whole, &policy).heard, judged(&pieces, &policy).heard);
        prop_assert_eq!(whole.evidence.to_bits(), pieces.evidence.to_bits());
        prop_assert_eq!(whole.recovery.to_bits(), pieces.recovery.to_bits());
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn evidence_is_the_same_bits_in_however_many_pieces_it_comes(
        events in prop::collection::vec((0_u64..10, 0_u64..10), 1..30),
        cuts in prop::collection::vec(0_u64..600, 0..8),
    ) {
        let policy = errors();
        let news = launch(10, &events);
        let mut whole = evidence(&policy);
        whole.fold(&news, 600).unwrap();
        let mut pieces = evidence(&policy);
        let mut cuts = cuts;
        cuts.extend([0, 600]);
        cuts.sort_unstable();
        for cut in cuts.array_windows::<2>() {
            let bit = news.clone().since(cut[0]).until(cut[1]);
            pieces.fold(&bit, cut[1]).unwrap();
        }
        let (whole, pieces) = (judged(&whole, &policy).heard, judged(&pieces, &policy).heard);
        prop_assert_eq!(whole.evidence.to_bits(), pieces.evidence.to_bits());
        prop_assert_eq!(whole.recovery.to_bits(), pieces.recovery.to_bits());
        prop_assert_eq!(whole, pieces);
    }
}

#[test]
fn an_urgent_trip_asks_for_a_tenth_of_the_evidence_of_everybody() {
    let policy = errors();
    let slots = [(6, 1); 40];
    let (mut evidence, mut upto) = (evidence(&policy), 0);
    let mut between = 0;
    for number in 0..40 {
        let next = Slot::of(number).tick + 1;
        let until = |tick: u64| {
            let mut news = launch(60, &slots).since(upto);
            news.slots.retain(|slot| slot.tick <= tick);
            news.counts.retain(|count| count.tick <= tick);
            news
        };
        evidence.fold(&until(next), next).unwrap();
        upto = next;
        let found = judged(&evidence, &policy);
        assert!(
            (found.needed - 100.0).abs() < 1e-9 && (found.urgent_needed - 10.0).abs() < 1e-9,
            "{found:?}"
        );
        assert_eq!(found.is_urgent, found.heard.evidence >= 10.0 && found.heard.is_gate_open, "{found:?}");
        between += u32::from(found.is_urgent && found.crossed.is_none());
    }
    assert!(between > 0 && judged(&evidence, &policy).crossed.is_some());
}
