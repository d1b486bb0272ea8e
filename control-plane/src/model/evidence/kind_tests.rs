//! Limits, values, rights, early warnings and the sentinel, from made-up cells.

use serde_json::{Value, json};

use super::tests::{DAY, METRIC, Slot, TERMS, errors, evidence, judged, launch, policy};
use super::*;
use flagfuse_cells::bins::{frozen_edges, value_bin, value_edges};

/// How many pay, and how widely it spreads.
#[derive(Debug, Clone, Copy)]
struct Shop {
    payers: f64,
    sigma: f64,
}

/// Two in a hundred pay, and a few of them a hundred times what most do.
const TAILS: Shop = Shop { payers: 0.02, sigma: 2.0 };

/// Chance that is the same on every machine.
struct Chance(u64);

impl Chance {
    /// Evenly between 0 and 1, ends excluded.
    fn even(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (f64::from(u32::try_from(self.0 >> 32).unwrap()) + 0.5) / 4_294_967_296.0
    }

    /// Whether something of this share happens.
    fn hits(&mut self, share: f64) -> bool {
        self.even() < share
    }

    /// What a unit pays, in millionths: such a share of them pays, lognormal around 20.
    fn pays(&mut self, Shop { payers, sigma }: Shop) -> Option<i64> {
        if !self.hits(payers) {
            return None;
        }
        let normal = (-2.0 * self.even().ln()).sqrt() * (std::f64::consts::TAU * self.even()).cos();
        #[expect(clippy::cast_possible_truncation, reason = "e^25 at most")]
        let micros = ((20.0_f64.ln() + sigma * normal).exp() * 1e6) as i64;
        Some(micros)
    }
}

fn limited(metric: &str, direction: &str, threshold: f64, limit: f64) -> Policy {
    let rail = json!({ "metric": metric, "direction": direction, "threshold": threshold, "limit": limit });
    policy(rail, json!([]))
}

#[test]
fn absolute_breach_in_both_arms_is_an_incident() {
    // Activation of at least 15 %: of each slot's 400 and 400 so many are active within a day.
    let activation = limited("activation", "decrease_is_harm", -0.2, 0.15);
    let found = |events: (u64, u64)| {
        let mut evidence = evidence(&activation);
        let news = launch(400, &[events; 20]);
        evidence.fold(&news, DAY).unwrap();
        assert_eq!(judged(&evidence, &activation).heard.blocks, 0, "nothing is over yet");
        evidence.fold(&News::default(), 3 * DAY).unwrap();
        judged(&evidence, &activation)
    };
    let healthy = found((64, 40));
    assert!(
        healthy.crossed.is_none() && !healthy.is_incident,
        "what control does alone is no matter: {healthy:?}"
    );
    assert!(healthy.is_recovered(), "{healthy:?}");
    let harmed = found((40, 64));
    assert_eq!(harmed.crossed, Some(Crossed { slice: EVERYBODY }));
    assert!(!harmed.is_incident && !harmed.is_recovered(), "{harmed:?}");
    assert!((harmed.heard.rate.unwrap() - 0.1).abs() < 1e-12 && harmed.heard.change.is_none());
    let both = found((40, 40));
    assert!(both.is_incident && both.crossed.is_none(), "nobody is to blame: {both:?}");
    assert!(both.heard.evidence > both.needed, "{both:?}");
}

#[test]
fn errors_above_their_limit_are_a_breach_though_control_has_as_many_below_it() {
    let policy = limited("error", "increase_is_harm", 1.0, 0.02);
    let found = |events: (u64, u64)| {
        let mut evidence = evidence(&policy);
        evidence.fold(&launch(200, &[events; 30]), 10_000).unwrap();
        judged(&evidence, &policy)
    };
    assert!(found((4, 1)).crossed.is_none(), "four times as many, and all allowed");
    assert!(found((12, 4)).crossed.is_some());
    assert!(found((12, 12)).is_incident);
}

#[test]
fn a_95th_percentile_above_its_limit_is_a_breach() {
    let policy = limited("latency_ms", "increase_is_harm", 0.1, 200.0);
    let found = |slow: (u64, u64)| {
        let (mut evidence, mut news) = (evidence(&policy), News::default());
        for number in 0..20 {
            let slot = Slot::of(number);
            slot.closed(&mut news);
            slot.count(&mut news, 0, ENROLLED, EVERYBODY, (100, 100));
            let tick = slot.tick + 180;
            let within = flagfuse_cells::bins::latency_bin(200_000_000);
            for (arm, slow) in [(Arm::Exposed, slow.0), (Arm::Control, slow.1)] {
                for (bin, units) in [(within, 100 - slow), (within + 1, slow)] {
                    let row =
                        ClosedBin { tick, slot: number, metric: METRIC, slice: EVERYBODY, arm, bin, units };
                    news.bins.push(row);
                }
            }
        }
        evidence.fold(&news, 10_000).unwrap();
        judged(&evidence, &policy)
    };
    let allowed = found((5, 1));
    assert!(allowed.crossed.is_none() && !allowed.is_incident, "five in a hundred are allowed: {allowed:?}");
    assert!(found((12, 3)).crossed.is_some());
    assert!(found((12, 12)).is_incident);
}

fn revenue(patch: Value) -> Policy {
    let mut policy = json!({
        "mode": "anytime", "treatment_variation": "on", "control_variation": "off", "exposure_percent": 10,
        "control_percent": 40, "values": ["revenue"], "guardrails": [
            { "metric": "revenue", "direction": "decrease_is_harm", "threshold": -0.3, "within_s": 600 }],
    });
    for (name, value) in patch.as_object().unwrap() {
        policy[name] = value.clone();
    }
    Policy::parse(policy).unwrap()
}

fn of_values(policy: &Policy, edges: &[i64], buckets: (u32, u32)) -> Evidence {
    let metrics = [METRIC];
    let shape = PhaseShape {
        policy,
        metrics: &metrics,
        dimensions: &[],
        buckets,
        edges: &[edges],
        is_promoted: false,
    };
    Evidence::new(&shape).unwrap()
}

/// Edges as the phase behind one without any freezes them: from what 20,000 control units paid in it.
fn edges(chance: &mut Chance, shop: Shop) -> Vec<i64> {
    let mut history: BTreeMap<u16, u64> = BTreeMap::new();
    for paid in (0..20_000).filter_map(|_| chance.pays(shop)) {
        *history.entry(value_bin(value_edges(), paid)).or_default() += 1;
    }
    let history: Vec<(u16, u64)> = history.into_iter().collect();
    frozen_edges(value_edges(), &history).unwrap()
}

/// A slot of so many units by arm, as a tick closes what they paid: what the exposed pay is multiplied.
fn paid(
    chance: &mut Chance,
    (edges, shop): (&[i64], Shop),
    number: i64,
    units: (u64, u64),
    exposed: f64,
) -> News {
    let (slot, mut news) = (Slot::of(number), News::default());
    slot.closed(&mut news);
    slot.count(&mut news, 0, ENROLLED, EVERYBODY, units);
    let tick = slot.tick + 180;
    for (arm, units, factor) in [(Arm::Exposed, units.0, exposed), (Arm::Control, units.1, 1.0)] {
        let mut bins: BTreeMap<u16, u64> = BTreeMap::new();
        for paid in (0..units).filter_map(|_| chance.pays(shop)) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "far below 2^53"
            )]
            let paid = (paid as f64 * factor) as i64;
            *bins.entry(value_bin(edges, paid)).or_default() += 1;
        }
        for (bin, units) in bins {
            news.bins.push(ClosedBin {
                tick,
                slot: number,
                metric: METRIC,
                slice: EVERYBODY,
                arm,
                bin,
                units,
            });
        }
    }
    news
}

/// Launches in which a fuse on revenue trips, looked at after every slot; a slot begins when the one before is over.
fn trips(launches: u32, (slots, shop): (i64, Shop), (units, exposed): ((u64, u64), f64), seed: u64) -> u32 {
    let (mut chance, policy) = (Chance(seed), revenue(json!({})));
    let edges = edges(&mut chance, shop);
    let shares = (u32::try_from(units.0).unwrap(), u32::try_from(units.1).unwrap());
    let tripped = (0..launches).filter(|_| {
        let mut evidence = of_values(&policy, &edges, shares);
        (0..slots).any(|number| {
            let news = paid(&mut chance, (&edges, shop), 16 * number, units, exposed);
            evidence.fold(&news, Slot::of(16 * number).tick + 180).unwrap();
            judged(&evidence, &policy).crossed.is_some()
        })
    });
    u32::try_from(tripped.count()).unwrap()
}

#[test]
fn revenue_tails_do_not_trip() {
    // Lognormal with σ = 2, two in a hundred pay, no difference: 1 % at most. At exactly 1 % more than 21 of 1,000 have a chance of
    // 0.1 %, and more than 9 of 300 one of 0.2 %.
    let few = trips(1_000, (30, TAILS), ((40, 160), 1.0), 1);
    assert!(few <= 21, "1:4: {few} of 1,000");
    let fewer = trips(300, (30, TAILS), ((20, 380), 1.0), 2);
    assert!(fewer <= 9, "1:19: {fewer} of 300");
}

#[test]
fn half_of_the_revenue_is_missed() {
    // One in ten pays, and the exposed half as much: 50 exposed units a slot.
    let shop = Shop { payers: 0.1, sigma: 1.0 };
    let found = trips(20, (80, shop), ((50, 200), 0.5), 3);
    assert!(found >= 16, "{found} of 20");
}

#[test]
fn values_are_read_once_with_the_units_that_have_none() {
    let policy = revenue(json!({ "slices": [{ "attribute": "device", "values": ["mobile"] }] }));
    let mut evidence = {
        let (metrics, buckets) = ([METRIC], (100_000, 400_000));
        let edges: [&[i64]; 1] = [value_edges()];
        let shape = PhaseShape {
            policy: &policy,
            metrics: &metrics,
            dimensions: &[2],
            buckets,
            edges: &edges,
            is_promoted: false,
        };
        Evidence::new(&shape).unwrap()
    };
    let mut news = News::default();
    for number in 0..12 {
        let slot = Slot::of(number);
        slot.closed(&mut news);
        for (slice, units) in
            [(EVERYBODY, (100, 400)), (DECLARED_FIRST, (60, 240)), (DECLARED_FIRST + 1, (40, 160))]
        {
            slot.count(&mut news, 0, ENROLLED, slice, units);
            let tick = slot.tick + 180;
            // Twenty in a hundred pay in control, and nobody who is exposed on a mobile.
            let exposed = if slice == DECLARED_FIRST { 0 } else { units.0 / 5 };
            for (arm, units) in [(Arm::Exposed, exposed), (Arm::Control, units.1 / 5)] {
                let row = ClosedBin { tick, slot: number, metric: METRIC, slice, arm, bin: 30, units };
                news.bins.extend((units > 0).then_some(row));
            }
        }
    }
    let first = Slot::of(0).tick + 180;
    evidence.fold(&news.clone().until(first), first).unwrap();
    assert_eq!(judged(&evidence, &policy).heard.blocks, 0, "the first slot only tells what is usual");
    evidence.fold(&news.clone().since(first), 10_000).unwrap();
    let found = judged(&evidence, &policy);
    assert_eq!(found.heard.blocks, 11);
    assert_eq!(found.crossed, Some(Crossed { slice: DECLARED_FIRST }), "{found:?}");
    assert!(found.heard.change.unwrap().abs() < 1e-12 && !found.is_recovered(), "{found:?}");
    // However it comes, it is the same bits.
    let mut whole = of_values(&revenue(json!({})), value_edges(), (1, 4));
    let mut pieces = whole.clone();
    news.bins.retain(|bin| bin.slice == EVERYBODY);
    news.counts.retain(|count| count.slice == EVERYBODY);
    whole.fold(&news, 10_000).unwrap();
    for tick in 0..400 {
        pieces.fold(&news.clone().since(tick).until(tick + 1), tick + 1).unwrap();
    }
    pieces.fold(&News::default(), 10_000).unwrap();
    let bits = |evidence: &Evidence| evidence.judge(TERMS, &[1.0]).unwrap()[0].heard.evidence.to_bits();
    assert_eq!(bits(&whole), bits(&pieces));
}

#[test]
fn more_values_than_units_are_a_contradiction() {
    let (mut chance, policy) = (Chance(4), revenue(json!({})));
    let edges = edges(&mut chance, TAILS);
    let mut evidence = of_values(&policy, &edges, (1, 4));
    let mut news = paid(&mut chance, (&edges, TAILS), 0, (40, 160), 1.0);
    let (tick, arm) = (Slot::of(0).tick + 180, Arm::Exposed);
    news.bins.push(ClosedBin { tick, slot: 0, metric: METRIC, slice: EVERYBODY, arm, bin: 63, units: 41 });
    assert!(evidence.fold(&news, 10_000).is_err());
}

fn returns() -> Policy {
    policy(json!({ "metric": "return", "direction": "decrease_is_harm", "threshold": -0.1 }), json!([]))
}

/// Five slots, of whose 1,000 units an arm so many come back on the third day.
fn third_day(back: (u64, u64)) -> News {
    let mut news = launch(1_000, &[(0, 0); 5]);
    for number in 0..5 {
        Slot::of(number).count(&mut news, 112, METRIC, EVERYBODY, back);
    }
    news
}

#[test]
fn fewer_who_come_back_early_hold_and_do_not_trip() {
    let policy = returns();
    let mut evidence = evidence(&policy);
    evidence.fold(&third_day((300, 400)), 3 * DAY).unwrap();
    let found = judged(&evidence, &policy);
    assert!(found.is_suspected && found.crossed.is_none(), "{found:?}");
    assert!(found.warning > Some(found.hold_needed) && found.heard.blocks == 0, "{found:?}");
    // Those who were late come back, and the slots that are over decide.
    let mut late = News::default();
    for number in 0..5 {
        Slot::of(number).count(&mut late, 4 * 17_280, METRIC, EVERYBODY, (100, 0));
    }
    evidence.fold(&late, 9 * DAY).unwrap();
    let found = judged(&evidence, &policy);
    assert!(found.crossed.is_none() && found.heard.blocks == 5, "{found:?}");
    // Who never comes back is missed by them too.
    let mut evidence = super::tests::evidence(&policy);
    evidence.fold(&third_day((300, 400)), 9 * DAY).unwrap();
    assert!(judged(&evidence, &policy).crossed.is_some());
    // Nobody holds for what goes well.
    let mut evidence = super::tests::evidence(&policy);
    evidence.fold(&third_day((420, 400)), 3 * DAY).unwrap();
    assert!(!judged(&evidence, &policy).is_suspected);
}

#[test]
fn a_guardrail_with_the_right_to_hold_holds_and_never_trips() {
    let policy = Policy::parse(json!({
        "mode": "anytime", "treatment_variation": "on", "control_variation": "off", "exposure_percent": 50,
        "control_percent": 50, "guardrails": [
            { "metric": "error", "direction": "increase_is_harm", "threshold": 0.5, "rights": "hold" },
            { "metric": "crash", "direction": "increase_is_harm", "threshold": 0.5 },
        ],
    }))
    .unwrap();
    let metrics = [METRIC, METRIC + 1];
    let shape = PhaseShape {
        policy: &policy,
        metrics: &metrics,
        dimensions: &[],
        buckets: (500_000, 500_000),
        edges: &[],
        is_promoted: false,
    };
    let mut evidence = Evidence::new(&shape).unwrap();
    evidence.fold(&launch(50, &[(30, 3); 10]), 1_000).unwrap();
    let found = evidence.judge(TERMS, &policy.weights()).unwrap();
    assert!(found[0].is_suspected && found[0].crossed.is_none(), "{:?}", found[0]);
    assert!(found[0].heard.evidence > 1e6, "{:?}", found[0]);
    // One that holds, three guards of the phase and one of each metric's late outcomes share 0.05, of which a first attempt spends half.
    assert!((found[0].needed - 6.0 / 0.025).abs() < 1e-9, "{:?}", found[0]);
    assert!((found[1].needed - 100.0).abs() < 1e-9, "what trips has all of alpha");
    let later = evidence.judge(Terms { attempt: 2, probe: 1 }, &policy.weights()).unwrap();
    assert!((later[0].needed - 18.0 / 0.025).abs() < 1e-9, "{:?}", later[0]);
}

/// A promoted flag's errors, one slot an hour over so many days, of 380 exposed and 20 control units.
fn promoted(days: i64, of: impl Fn(i64) -> (u64, u64)) -> (Evidence, Policy) {
    let policy = errors();
    let metrics = [METRIC];
    let shape = PhaseShape {
        policy: &policy,
        metrics: &metrics,
        dimensions: &[],
        buckets: (950_000, 50_000),
        edges: &[],
        is_promoted: true,
    };
    let mut evidence = Evidence::new(&shape).unwrap();
    for hour in 0..days * 24 {
        let (slot, mut news) = (Slot::of(hour * 60), News::default());
        slot.closed(&mut news);
        slot.count(&mut news, 0, ENROLLED, EVERYBODY, (380, 20));
        slot.count(&mut news, 1, METRIC, EVERYBODY, of(hour));
        evidence.fold(&news, slot.tick + 1).unwrap();
    }
    (evidence, policy)
}

#[test]
fn sentinel_watches_after_promotion() {
    // One control unit in a hundred fails: one in every fifth hour.
    let usual = |hour: i64| (3 + u64::from(hour % 5 < 4), u64::from(hour % 5 == 0));
    let (evidence, policy) = promoted(60, usual);
    let healthy = judged(&evidence, &policy);
    assert_eq!((healthy.sentinel_needed, healthy.crossed), (Some(3_650.0), None), "{healthy:?}");
    assert!(healthy.heard.sentinel < Some(3_650.0), "{healthy:?}");
    // After fifty healthy days five times as many fail.
    let (evidence, policy) =
        promoted(60, |hour| if hour < 50 * 24 { usual(hour) } else { (19, usual(hour).1) });
    let harmed = judged(&evidence, &policy);
    assert!(harmed.heard.sentinel > Some(3_650.0), "{harmed:?}");
    assert_eq!(harmed.crossed, Some(Crossed { slice: EVERYBODY }));
    // Without a promotion there is none.
    let evidence = super::tests::evidence(&policy);
    let found = judged(&evidence, &policy);
    assert_eq!((found.heard.sentinel, found.sentinel_needed), (None, None));
}

#[test]
fn a_sentinel_watches_each_slice_of_a_promoted_flag() {
    let slices = json!([{ "attribute": "device", "values": ["mobile"] }]);
    let policy = super::tests::policy(
        json!({ "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 }),
        slices,
    );
    let run = |harm: u64| {
        let (metrics, dimensions) = ([METRIC], [2]);
        let (buckets, edges) = ((950_000, 50_000), &[][..]);
        let shape = PhaseShape {
            policy: &policy,
            metrics: &metrics,
            dimensions: &dimensions,
            buckets,
            edges,
            is_promoted: true,
        };
        let mut evidence = Evidence::new(&shape).unwrap();
        for hour in 0..40 * 24 {
            let (slot, mut news) = (Slot::of(hour * 60), News::default());
            slot.closed(&mut news);
            // One in twenty fails; then more do on mobile, a tenth of all, and the others make good for it.
            let more = if hour < 30 * 24 { 0 } else { harm };
            for (slice, units, failed) in [
                (EVERYBODY, (400, 40), (20, 2)),
                (DECLARED_FIRST, (40, 20), (2 + more, 1)),
                (DECLARED_FIRST + 1, (360, 20), (18 - more, 1)),
            ] {
                slot.count(&mut news, 0, ENROLLED, slice, units);
                slot.count(&mut news, 1, METRIC, slice, failed);
            }
            evidence.fold(&news, slot.tick + 1).unwrap();
        }
        (judged(&evidence, &policy), evidence.states[0][1].heard().sentinel.unwrap())
    };
    // Everybody has four fifths of what may alarm falsely, and mobile a tenth of the last one.
    let ((healthy, of_healthy), (harmed, of_harmed)) = (run(0), run(6));
    assert!((healthy.sentinel_needed.unwrap() - 3_650.0 / 0.8).abs() < 1e-9, "{healthy:?}");
    assert!(healthy.crossed.is_none() && of_healthy < 3_650.0, "{healthy:?}");
    assert!(harmed.heard.sentinel < harmed.sentinel_needed, "{harmed:?}");
    assert!(of_harmed > 3_650.0 / 0.02, "{of_harmed}");
    assert_eq!(harmed.crossed, Some(Crossed { slice: DECLARED_FIRST }), "{harmed:?}");
}

#[test]
fn an_interval_is_shown_that_holds_the_change() {
    let policy = errors();
    let mut evidence = evidence(&policy);
    assert_eq!(judged(&evidence, &policy).heard.span, None);
    evidence.fold(&launch(1_000, &[(60, 100); 40]), 10_000).unwrap();
    let heard = judged(&evidence, &policy).heard;
    let (span, change) = (heard.span.unwrap(), heard.change.unwrap());
    assert!(span.lower < Some(change) && Some(change) < span.upper, "{heard:?}");
    assert!(span.upper < Some(-0.2) && span.lower > Some(-0.6), "{heard:?}");
}

/// What is done to what closed.
type Break = fn(&mut News);

#[test]
fn counts_that_contradict_themselves_are_no_evidence() {
    let good = || launch(100, &[(5, 5), (5, 5)]);
    let last = Slot::of(1).tick + 1;
    let broken: [(&str, Break); 6] = [
        ("a closed cell that is written again", |news| {
            let first = news.counts.iter().find(|count| count.metric == METRIC).copied().unwrap();
            news.counts.push(ClosedCount { tick: 100, ..first });
        }),
        ("an earlier step behind a later one", |news| {
            let first = news.counts.iter().find(|count| count.metric == METRIC).copied().unwrap();
            news.counts.push(ClosedCount { tick: 100, step: 0, ..first });
        }),
        ("a slot that closes twice", |news| {
            let first = news.slots[0];
            news.slots.push(ClosedSlot { tick: 100, ..first });
        }),
        ("more events than units", |news| {
            Slot::of(0).count(news, 40, METRIC, EVERYBODY, (96, 0));
        }),
        ("a thousand million units", |news| {
            let slot = Slot::of(2);
            slot.closed(news);
            slot.count(news, 0, ENROLLED, EVERYBODY, (1_000_000_000, 100));
            slot.count(news, 1, METRIC, EVERYBODY, (1, 1));
        }),
        // As the store gives a count below zero.
        ("a count that is none", |news| {
            let slot = Slot::of(2);
            slot.closed(news);
            slot.count(news, 0, ENROLLED, EVERYBODY, (u64::MAX, 100));
        }),
    ];
    for (what, breaks) in broken {
        let policy = errors();
        let (mut whole, mut pieces) = (evidence(&policy), evidence(&policy));
        assert!(whole.clone().fold(&good(), 1_000).is_ok());
        let mut news = good();
        breaks(&mut news);
        assert!(whole.fold(&news, 1_000).is_err(), "{what}");
        // Also where what stood before was read long ago.
        pieces.fold(&news.clone().until(last), last).unwrap();
        assert!(pieces.fold(&news.since(last), 1_000).is_err(), "{what}");
    }
}
