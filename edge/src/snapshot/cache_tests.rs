//! When an isolate answers from memory, asks, and how it calls what it has.

use super::*;

fn version(seq: u64) -> SnapshotVersion {
    SnapshotVersion { epoch: 1, seq }
}

fn at(ms: u64) -> UnixMillis {
    UnixMillis(1_000_000 + ms)
}

const VOUCHED: Word = Word { is_vouched: true, beat_age_ms: Some(30), fresh_ms: None };

fn names(environment: &str) -> (ProjectKey, EnvironmentKey) {
    (ProjectKey::parse("demo").unwrap(), EnvironmentKey::parse(environment).unwrap())
}

fn with_entry(test: impl FnOnce(&mut Entry<&'static str>)) {
    let (project, environment) = names("dev");
    test(Cache::new().entry(&project, &environment, at(0)));
}

#[test]
fn age_decides_between_memory_refresh_and_probe() {
    for (age_ms, expected) in [
        (0, Plan::Memory),
        (100, Plan::Memory),
        (101, Plan::MemoryAndRefresh),
        (250, Plan::MemoryAndRefresh),
        (251, Plan::Probe),
    ] {
        with_entry(|entry| {
            entry.swap(version(1), "one", STRICT, VOUCHED, at(0));
            assert_eq!(entry.plan(at(age_ms)), expected, "age {age_ms} ms");
        });
    }
}

#[test]
fn one_request_refreshes_while_the_others_answer_from_memory() {
    with_entry(|entry| {
        entry.swap(version(1), "one", STRICT, VOUCHED, at(0));
        assert_eq!(entry.plan(at(120)), Plan::MemoryAndRefresh);
        assert_eq!(entry.plan(at(121)), Plan::Memory);
        entry.confirmed(Some(version(1)), VOUCHED, at(120));
        assert_eq!(entry.plan(at(220)), Plan::Memory);
        assert_eq!(entry.plan(at(221)), Plan::MemoryAndRefresh, "the next cycle begins S after this one");
        assert_eq!(entry.plan(at(350)), Plan::Memory);
        assert_eq!(entry.plan(at(371)), Plan::Probe, "a vanished request's lease holds nobody up beyond H");
    });
}

#[test]
fn a_version_never_goes_backwards() {
    with_entry(|entry| {
        entry.swap(version(7), "seven", STRICT, VOUCHED, at(0));
        entry.swap(version(6), "six", STRICT, VOUCHED, at(50));
        assert_eq!(entry.held().unwrap().0, version(7));
        assert_eq!(entry.age_ms(at(50)), Some(50), "an older replica does not make the memory younger");
        entry.confirmed(None, VOUCHED, at(60));
        assert_eq!(entry.age_ms(at(60)), Some(60));
    });
}

#[test]
fn age_counts_from_the_probe_being_sent_and_late_answers_do_not_turn_it_back() {
    with_entry(|entry| {
        entry.swap(version(1), "one", STRICT, VOUCHED, at(40));
        entry.confirmed(Some(version(1)), VOUCHED, at(10));
        assert_eq!(entry.age_ms(at(90)), Some(50));
        assert_eq!(entry.standing(at(290)), Standing::Fresh);
        assert_eq!(entry.standing(at(291)), Standing::Stale);
        assert_eq!(entry.beat_age_ms(at(90)), Some(80), "a beat ages with the answer that told it");
    });
}

#[test]
fn an_environment_that_does_not_exist_is_asked_for_only_now_and_then() {
    with_entry(|entry| {
        assert_eq!(entry.plan(at(0)), Plan::Probe);
        entry.confirmed(None, VOUCHED, at(0));
        assert_eq!(entry.plan(at(250)), Plan::Absent);
        assert_eq!(entry.plan(at(251)), Plan::Probe);
    });
}

#[test]
fn made_up_names_do_not_wake_objects_without_end_and_hold_nobody_else_up() {
    let mut cache = Cache::new();
    let (project, kept) = names("kept");
    cache.entry(&project, &kept, at(0)).swap(version(1), "one", STRICT, VOUCHED, at(0));
    let mut plan = |environment: &str| cache.plan(&project, &names(environment).1, at(300));
    let asked = (0..1_000).filter(|n| plan(&format!("made-up-{n}")) == Plan::Probe).count();
    assert_eq!(asked, ENVIRONMENT_COUNT_MAX);
    assert_eq!(plan("kept"), Plan::Probe);
    assert_eq!(plan("made-up-63"), Plan::Probe, "requests for one name share what the first one paid");
}

#[test]
fn requests_that_wait_share_their_questions() {
    with_entry(|entry| {
        entry.swap(version(1), "one", STRICT, VOUCHED, at(0));
        assert!(!entry.lease_ask(at(4)));
        assert!(entry.lease_ask(at(5)));
        assert!(!entry.lease_ask(at(6)));
        entry.confirmed(Some(version(1)), VOUCHED, at(5));
        assert!(entry.lease_ask(at(10)));
    });
}

#[test]
fn memory_is_bounded_and_environments_with_a_snapshot_stay_longest() {
    let mut cache = Cache::new();
    let (project, kept) = names("kept");
    cache.entry(&project, &kept, at(0)).swap(version(1), "one", STRICT, VOUCHED, at(0));
    for n in 0..3 * ENVIRONMENT_COUNT_MAX as u64 {
        let (project, environment) = names(&format!("made-up-{n}"));
        cache.entry(&project, &environment, at(n));
    }
    assert_eq!(cache.entries.len(), ENVIRONMENT_COUNT_MAX);
    assert_eq!(cache.held_count(), 1);
}

#[test]
fn only_a_replica_that_is_vouched_for_makes_fresh() {
    with_entry(|entry| {
        let unvouched = Word { is_vouched: false, beat_age_ms: Some(1_600), fresh_ms: None };
        entry.swap(version(1), "one", STRICT, unvouched, at(0));
        assert_eq!((entry.standing(at(10)), entry.plan(at(10))), (Standing::Stale, Plan::Memory));
        entry.confirmed(Some(version(1)), VOUCHED, at(20));
        assert_eq!(entry.standing(at(30)), Standing::Fresh);
        entry.confirmed(Some(version(1)), unvouched, at(15));
        assert_eq!(
            entry.standing(at(30)),
            Standing::Fresh,
            "an answer to an older question says nothing new"
        );
    });
}

#[test]
fn a_replica_that_is_behind_is_told_apart_and_changes_nothing() {
    with_entry(|entry| {
        entry.swap(version(7), "seven", STRICT, VOUCHED, at(0));
        assert_eq!(entry.confirmed(Some(version(6)), VOUCHED, at(50)), Heard::Behind);
        assert_eq!(entry.confirmed(None, VOUCHED, at(50)), Heard::Behind);
        assert_eq!((entry.held().unwrap().0, entry.age_ms(at(50))), (version(7), Some(50)));
        assert_eq!(entry.confirmed(Some(version(7)), VOUCHED, at(50)), Heard::Confirmed);
    });
}

#[test]
fn load_stretches_s_but_never_to_h() {
    for (asked, last_from_memory) in [(None, 100), (Some(50), 100), (Some(150), 150), (Some(5_000), 200)] {
        with_entry(|entry| {
            let word = Word { fresh_ms: asked, ..VOUCHED };
            entry.swap(version(1), "one", STRICT, word, at(0));
            assert_eq!(entry.plan(at(last_from_memory)), Plan::Memory, "{asked:?}");
            assert_eq!(entry.plan(at(last_from_memory + 1)), Plan::MemoryAndRefresh, "{asked:?}");
            assert_eq!(entry.plan(at(251)), Plan::Probe, "{asked:?}");
            entry.confirmed(Some(version(1)), VOUCHED, at(300));
            assert_eq!(entry.plan(at(401)), Plan::MemoryAndRefresh, "asked for no longer");
        });
    }
}

#[test]
fn a_replica_that_does_not_answer_holds_up_one_request_in_a_while() {
    with_entry(|entry| {
        entry.swap(version(1), "one", STRICT, VOUCHED, at(0));
        assert_eq!(entry.plan(at(1_000)), Plan::Probe);
        entry.failed(at(1_150));
        assert_eq!((entry.plan(at(1_399)), entry.standing(at(1_399))), (Plan::Memory, Standing::Stale));
        assert_eq!(entry.plan(at(1_400)), Plan::Probe);
        entry.failed(at(1_550));
        entry.confirmed(Some(version(1)), VOUCHED, at(1_560));
        assert_eq!(entry.plan(at(1_811)), Plan::Probe, "nothing is left of the failure");
    });
    with_entry(|entry| {
        entry.failed(at(0));
        assert_eq!((entry.plan(at(249)), entry.plan(at(250))), (Plan::Absent, Plan::Probe));
    });
}

#[test]
fn a_copy_of_last_resort_serves_until_a_replica_answers_and_never_replaces_anything() {
    with_entry(|entry| {
        entry.confirmed(None, VOUCHED, at(0));
        entry.failed(at(0));
        entry.bootstrap(version(5), "copy", STRICT);
        assert_eq!(entry.standing(at(1)), Standing::Bootstrap);
        assert_eq!(entry.plan(at(1)), Plan::Memory, "it has just been asked for in vain");
        assert_eq!(entry.confirmed(Some(version(4)), VOUCHED, at(300)), Heard::Behind);
        assert_eq!((entry.standing(at(300)), entry.held().unwrap().0), (Standing::Bootstrap, version(5)));
        entry.confirmed(Some(version(5)), VOUCHED, at(300));
        assert_eq!(entry.standing(at(301)), Standing::Fresh);
        entry.bootstrap(version(9), "other copy", STRICT);
        assert_eq!(entry.held().unwrap().0, version(5));
    });
}
