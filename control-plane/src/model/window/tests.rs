//! Running sums against sums that are made anew, over histories of slots and cells drawn by seeds.

use super::*;

const MINUTE: u64 = 60_000;

/// `SplitMix64`: a seed and a few shifts.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }
}

/// What the database holds of a phase.
#[derive(Default)]
struct Phase {
    slots: Vec<Slot>,
    sums: BTreeMap<i64, Sums>,
}

impl Phase {
    fn close(&mut self, starts_ms: u64, ends_ms: u64) -> i64 {
        let slot = i64::try_from(self.slots.len()).unwrap();
        self.slots.push(Slot { slot, starts_ms: UnixMillis(starts_ms), ends_ms: UnixMillis(ends_ms) });
        slot
    }

    fn bounds(&self, range: EnrolmentRange) -> Bounds {
        let find = |is_it: &dyn Fn(&&Slot) -> bool| self.slots.iter().find(is_it).copied();
        Bounds {
            first: find(&|slot| range.has_begun_for(slot)),
            next: find(&|slot| slot.ends_ms > range.to),
            newest: self.slots.last().map(|slot| slot.slot),
        }
    }

    fn total(&self, is_meant: impl Fn(&Slot) -> bool) -> Sums {
        let mut total = Sums::default();
        for slot in self.slots.iter().filter(|slot| is_meant(slot)) {
            if let Some(sums) = self.sums.get(&slot.slot) {
                total.add_all(sums);
            }
        }
        total.take_all(&Sums::default());
        total
    }

    fn within(&self, slots: &Range<i64>) -> Sums {
        self.total(|slot| slots.contains(&slot.slot))
    }
}

fn range(covers: Covers, window_ms: u64, matures_ms: u64, now: u64) -> EnrolmentRange {
    let to = UnixMillis(now).minus(matures_ms);
    EnrolmentRange { covers, from: to.minus(window_ms), to }
}

#[test]
fn a_window_holds_what_a_sum_of_its_slots_would_say_at_every_moment() {
    let kinds = [
        (Covers::Begun, 60 * MINUTE, 0),
        (Covers::Ended, 20 * MINUTE, 0),
        (Covers::Begun, 90 * MINUTE, 45 * MINUTE),
        (Covers::Ended, 10 * MINUTE, 45 * MINUTE),
    ];
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let (mut phase, mut now, mut opened) = (Phase::default(), 0, 0);
        let mut windows: Vec<Window> = kinds.iter().map(|_| Window::default()).collect();
        for _ in 0..400 {
            now += 1_000 + dice.below(3 * MINUTE);
            let mut cells = Vec::new();
            if dice.below(2) == 0 {
                let slot = phase.close(opened, now);
                opened = now;
                cells.push((slot, ENROLLED));
            }
            for _ in 0..dice.below(4) {
                if let Some(newest) = phase.slots.last() {
                    let age = i64::try_from(dice.below(40)).unwrap();
                    cells.push(((newest.slot - age).max(0), 1));
                }
            }
            let counts = |units| Counts { units, events: units * 2, total_micros: units * 5 };
            let cells: Vec<_> = cells.into_iter().map(|(slot, metric)| (slot, metric, counts(3))).collect();
            for (slot, metric, counts) in &cells {
                phase.sums.entry(*slot).or_default().add(*metric, Arm::Exposed, *counts);
            }
            // Somebody else's engine, or this one after a restart.
            if dice.below(60) == 0 {
                windows[usize::try_from(dice.below(4)).unwrap()] = Window::default();
            }
            for (window, (covers, window_ms, matures_ms)) in windows.iter_mut().zip(kinds) {
                let range = range(covers, window_ms, matures_ms, now);
                let has_new = cells.iter().any(|(slot, ..)| window.knows_not(*slot));
                for (slot, metric, counts) in &cells {
                    window.count(*slot, *metric, Arm::Exposed, *counts);
                }
                if window.is_stale(range, has_new) {
                    let Shift { leaving, entering } = window.shift(phase.bounds(range));
                    window.settle(&phase.within(&leaving), &phase.within(&entering));
                }
                let expected = phase.total(|slot| range.covers(slot));
                assert_eq!(window.sums(), &expected, "seed {seed} at {now}: {range:?}");
            }
        }
    }
}

#[test]
fn a_clock_that_goes_back_is_believed() {
    let mut phase = Phase::default();
    for minute in 0..10 {
        let slot = phase.close(minute * MINUTE, (minute + 1) * MINUTE);
        phase.sums.entry(slot).or_default().add(
            ENROLLED,
            Arm::Control,
            Counts { units: 1, ..Counts::default() },
        );
    }
    let mut window = Window::default();
    for (now, units) in [(10, 5), (14, 1), (10, 5), (30, 0)] {
        let range = range(Covers::Begun, 5 * MINUTE, 0, now * MINUTE);
        let Shift { leaving, entering } = window.shift(phase.bounds(range));
        window.settle(&phase.within(&leaving), &phase.within(&entering));
        assert_eq!(window.sums().reading(None).control.units, units, "at {now}");
    }
}
