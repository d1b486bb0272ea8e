//! Ticks, slots and steps: when things close. Sees times and numbers of units, never arms or outcomes.

/// Time between two ticks.
pub const TICK_MS: u64 = 5_000;
/// Enrolments of both arms together that a slot waits for.
pub const SLOT_UNITS_MIN: u32 = 20;
/// Length after which a slot waits no longer.
pub const SLOT_MS_MAX: u64 = 60 * MINUTE_MS;
/// Age up to which an exposure that becomes known enrols its unit, and for which outcomes wait for enrolments.
pub const LATE_MS: u64 = 10 * MINUTE_MS;
/// By how much an outcome may seem to have happened before its unit's exposure: two requests of one client take different
/// times on their way, and what happens the moment that a feature shows would be lost. It counts as happening with it.
pub const OVERTAKE_MS: u64 = 2_000;
/// The last step of a slot.
pub const STEP_LAST: u8 = 162;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// Steps after step 0: from which age of the slot, how long each, and the number of the first of them.
const STEPS: [(u64, u64, u64); 5] = [
    (0, TICK_MS, 1),
    (2 * MINUTE_MS, 30_000, 25),
    (10 * MINUTE_MS, 5 * MINUTE_MS, 41),
    (2 * HOUR_MS, 30 * MINUTE_MS, 63),
    (24 * HOUR_MS, 3 * HOUR_MS, 107),
];

/// Age at which a slot's last step ends.
const STEPS_MS_MAX: u64 = 8 * 24 * HOUR_MS;

/// The tick at or before a time.
pub const fn tick_at(ms: u64) -> u64 {
    ms - ms % TICK_MS
}

/// The shortest length of a slot that starts at this age of its phase.
pub const fn slot_ms_min(phase_age_ms: u64) -> u64 {
    if phase_age_ms < 2 * MINUTE_MS {
        TICK_MS
    } else if phase_age_ms < 10 * MINUTE_MS {
        15_000
    } else {
        MINUTE_MS
    }
}

/// Whether a slot of this length and this many units ends, if a tick comes now.
pub const fn slot_ends(phase_age_ms: u64, length_ms: u64, units: u32) -> bool {
    length_ms >= slot_ms_min(phase_age_ms) && (units >= SLOT_UNITS_MIN || length_ms >= SLOT_MS_MAX)
}

/// The step that is open at this age of a slot (0 when it has just ended): never step 0, which closes with the slot. `None`
/// after the last.
pub fn step_at(age_ms: u64) -> Option<u8> {
    if age_ms >= STEPS_MS_MAX {
        return None;
    }
    let (from, length, first) = STEPS.into_iter().rev().find(|(from, _, _)| age_ms >= *from)?;
    u8::try_from(first + (age_ms - from) / length).ok()
}

/// The age of a slot at which a step ends: 0 for step 0.
pub fn step_ends(step: u8) -> u64 {
    let step = u64::from(step);
    let found = STEPS.into_iter().rev().find(|(_, _, first)| step >= *first);
    found.map_or(0, |(from, length, first)| from + (step - first + 1) * length)
}

/// The age at which a slot has matured for a metric whose window ends `within_ms` after the enrolment: what comes later is in
/// cells, and in no spread.
pub const fn matures(within_ms: u64) -> u64 {
    let lag_ms = if within_ms <= HOUR_MS { 5 * MINUTE_MS } else { 24 * HOUR_MS };
    within_ms.saturating_add(lag_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_one_another_without_gaps_up_to_eight_days() {
        let mut age = 0;
        for step in 1..=STEP_LAST {
            assert_eq!(step_at(age), Some(step), "{age} ms");
            let end = step_ends(step);
            assert_eq!(step_at(end - 1), Some(step), "{end} ms");
            assert!(end > age && end.is_multiple_of(TICK_MS));
            age = end;
        }
        assert_eq!(age, 8 * 24 * HOUR_MS);
        assert_eq!(step_at(age), None);
        assert_eq!(step_at(u64::MAX), None);
        assert_eq!(step_ends(0), 0);
    }

    #[test]
    fn steps_are_as_long_as_documented() {
        let lengths = [(1, 5_000), (24, 5_000), (25, 30_000), (40, 30_000), (41, 300_000), (62, 300_000)];
        let longer = [(63, 30 * MINUTE_MS), (106, 30 * MINUTE_MS), (107, 3 * HOUR_MS), (162, 3 * HOUR_MS)];
        for (step, length) in lengths.into_iter().chain(longer) {
            assert_eq!(step_ends(step) - step_ends(step - 1), length, "step {step}");
        }
    }

    #[test]
    fn a_slot_ends_with_its_twentieth_unit_and_not_before_its_time() {
        let rows = [
            (0, 5_000, 19, false),
            (0, 5_000, 20, true),
            (119_999, 5_000, 20, true),
            (120_000, 10_000, 500, false),
            (120_000, 15_000, 20, true),
            (600_000, 55_000, 500, false),
            (600_000, 60_000, 20, true),
            (600_000, 3_595_000, 19, false),
            (600_000, 3_600_000, 1, true),
        ];
        for (phase_age, length, units, ends) in rows {
            assert_eq!(slot_ends(phase_age, length, units), ends, "{phase_age} {length} {units}");
        }
    }

    #[test]
    fn windows_up_to_an_hour_mature_five_minutes_after_their_end() {
        assert_eq!(matures(HOUR_MS), HOUR_MS + 5 * MINUTE_MS);
        assert_eq!(matures(HOUR_MS + 1), 25 * HOUR_MS + 1);
        assert_eq!(matures(u64::MAX), u64::MAX);
    }
}
