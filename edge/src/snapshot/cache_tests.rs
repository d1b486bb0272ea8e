//! When an isolate answers from memory, asks, and how it calls what it has.

use super::*;

fn version(seq: u64) -> SnapshotVersion {
    SnapshotVersion { epoch: 1, seq }
}

fn at(ms: u64) -> UnixMillis {
    UnixMillis(1_000_000 + ms)
}

const VOUCHED: ProbeStatus = ProbeStatus { is_vouched: true, beat_age_ms: Some(30), soft_ttl_ms: None };

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
        (0, ServePlan::Memory),
        (100, ServePlan::Memory),
        (101, ServePlan::MemoryAndRefresh),
        (250, ServePlan::MemoryAndRefresh),
        (251, ServePlan::Probe),
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
        assert_eq!(entry.plan(at(120)), ServePlan::MemoryAndRefresh);
        assert_eq!(entry.plan(at(121)), ServePlan::Memory);
        entry.confirmed(Some(version(1)), VOUCHED, at(120));
        assert_eq!(entry.plan(at(220)), ServePlan::Memory);
        assert_eq!(
            entry.plan(at(221)),
            ServePlan::MemoryAndRefresh,
            "the next cycle begins a soft TTL after this one"
        );
        assert_eq!(entry.plan(at(350)), ServePlan::Memory);
        assert_eq!(
            entry.plan(at(371)),
            ServePlan::Probe,
            "a vanished request's lease holds nobody up beyond the hard TTL"
        );
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
        assert_eq!(entry.state(at(290)), SnapshotState::Fresh);
        assert_eq!(entry.state(at(291)), SnapshotState::Stale);
        assert_eq!(entry.beat_age_ms(at(90)), Some(80), "a beat ages with the answer that told it");
    });
}

fn wait(due_ms: u64, probes_at_once: bool) -> Doubt {
    Doubt::Wait(Round { due: at(due_ms), probes_at_once })
}

#[test]
fn doubtful_requests_share_rounds_whether_memory_holds_the_environment_or_not() {
    for is_held in [true, false] {
        let mut cache = Cache::new();
        let (project, environment) = names("dev");
        if is_held {
            cache.entry(&project, &environment, at(0)).swap(version(1), "one", STRICT, VOUCHED, at(0));
        }
        let mut doubt = |ms: u64| cache.doubt(&project, &environment, at(ms));
        assert_eq!(doubt(1_000), wait(1_100, true));
        assert_eq!(doubt(1_060), wait(1_100, false), "its key may be on its way for 40 ms");
        assert_eq!(doubt(1_061), wait(1_161, false));
        assert_eq!(doubt(1_161), wait(1_261, false));
        assert_eq!(doubt(1_261), wait(1_361, false));
        assert_eq!(doubt(1_350), Doubt::Later, "four rounds at once");
        assert_eq!(doubt(2_000), wait(2_100, false), "and one a second");
        assert_eq!(doubt(2_100), Doubt::Later);
        assert_eq!(doubt(9_000), wait(9_100, true), "after a while the first one asks at once again");
        assert_eq!(doubt(100), wait(200, false), "a clock that goes back stops nobody");
    }
}

#[test]
fn a_hundred_made_up_keys_in_a_row_cost_fewer_than_ten_questions() {
    let mut cache = Cache::<&str>::new();
    let (project, environment) = names("dev");
    let (mut now, mut question_count) = (at(0), 0);
    for _ in 0..100 {
        if let Doubt::Wait(round) = cache.doubt(&project, &environment, now) {
            question_count += 1 + u32::from(round.probes_at_once);
            now = round.due;
        }
        now = now.plus(30);
    }
    assert!(question_count < 10, "{question_count}");
}

#[test]
fn one_of_those_who_wait_asks_and_only_then() {
    with_entry(|entry| {
        let (opener, joined) =
            (Round { due: at(100), probes_at_once: true }, Round { due: at(100), probes_at_once: false });
        assert!(!entry.lease_doubt(joined, at(0)) && entry.lease_doubt(opener, at(0)));
        assert!(!entry.lease_doubt(opener, at(1)), "it is being asked");
        entry.confirmed(None, VOUCHED, at(0));
        assert_eq!(entry.vouched_since(at(100)), None);
        assert!(!entry.lease_doubt(joined, at(99)) && entry.lease_doubt(joined, at(100)));
        assert!(!entry.lease_doubt(joined, at(249)) && entry.lease_doubt(joined, at(250)), "it vanished");
        entry.confirmed(None, ProbeStatus { is_vouched: false, ..VOUCHED }, at(250));
        assert_eq!((entry.vouched_since(at(100)), entry.vouched_since(at(251))), (Some(false), None));
        assert!(!entry.lease_doubt(joined, at(300)), "there is an answer");
    });
}

#[test]
fn made_up_names_do_not_wake_objects_without_end() {
    let mut cache = Cache::<&str>::new();
    let (project, _) = names("any");
    let mut opened = |range: std::ops::Range<usize>, ms: u64| {
        let names = range.map(|n| names(&format!("made-up-{n}")).1);
        names.filter(|name| cache.doubt(&project, name, at(ms)) != Doubt::Later).count()
    };
    assert_eq!(opened(0..1_000, 300), ENVIRONMENT_COUNT_MAX);
    assert_eq!(opened(0..64, 310), ENVIRONMENT_COUNT_MAX, "requests for one name share its round");
    assert_eq!(opened(1_000..1_100, 1_300), 20);
    assert!(cache.entries.len() <= ENVIRONMENT_COUNT_MAX);
}

#[test]
fn a_request_whose_key_is_not_admitted_leaves_no_trace() {
    let mut cache = Cache::new();
    let (project, environment) = names("dev");
    assert_eq!(cache.plan(&project, &environment, at(0), |_| true), None);
    assert!(cache.entries.is_empty());
    cache.entry(&project, &environment, at(0)).swap(version(1), "one", STRICT, VOUCHED, at(0));
    assert_eq!(cache.plan(&project, &environment, at(150), |_| false), None);
    assert!(
        !cache.admits(&project, &environment, |_| false) && cache.admits(&project, &environment, |_| true)
    );
    assert_eq!(cache.held_count(), 0, "nobody is told what others asked for");
    let plan = cache.plan(&project, &environment, at(150), |_| true);
    assert_eq!((plan, cache.held_count()), (Some(ServePlan::MemoryAndRefresh), 1), "the lease was not taken");
}

#[test]
fn versions_that_nobody_has_seen_are_waited_for_once_in_a_while() {
    with_entry(|entry| {
        entry.swap(version(10), "ten", STRICT, VOUCHED, at(0));
        let far = |seq| SnapshotVersion { epoch: 1, seq };
        assert!(entry.is_worth_waiting(far(99), at(0)));
        entry.waited_in_vain(far(99), at(500));
        entry.waited_in_vain(far(120), at(600));
        for (wanted, ms, expected) in [
            (far(99), 601, false),
            (far(500), 601, false),
            (SnapshotVersion { epoch: 2, seq: 1 }, 601, false),
            (far(98), 601, true),
            (far(14), 601, true),
            (far(99), 2_600, true),
        ] {
            assert_eq!(entry.is_worth_waiting(wanted, at(ms)), expected, "{wanted} at {ms}");
        }
        entry.waited_in_vain(far(11), at(3_000));
        assert!(entry.is_worth_waiting(far(14), at(3_001)), "a client may well have seen it elsewhere");
        assert!(!entry.is_worth_waiting(far(15), at(3_001)));
    });
}

#[test]
fn who_was_told_nonsense_waits_once_a_second() {
    with_entry(|entry| {
        entry.swap(version(1), "one", STRICT, VOUCHED, at(0));
        assert!(entry.lease_stray(at(50)));
        entry.confirmed(Some(version(1)), VOUCHED, at(50));
        assert!(!entry.lease_stray(at(300)) && !entry.lease_stray(at(1_049)));
        assert!(entry.lease_stray(at(1_050)));
    });
}

#[test]
fn requests_that_wait_share_their_questions() {
    with_entry(|entry| {
        entry.swap(version(1), "one", STRICT, VOUCHED, at(0));
        assert!(!entry.lease_probe(at(4)));
        assert!(entry.lease_probe(at(5)));
        assert!(!entry.lease_probe(at(6)));
        let mut asked = 1;
        for ms in 6..1_000 {
            entry.confirmed(Some(version(1)), VOUCHED, at(ms - 1));
            asked += u32::from(entry.lease_probe(at(ms + 10)));
        }
        assert_eq!(asked, 4 + 10, "a burst, and then as often as memory is refreshed anyway");
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
    assert!(cache.admits(&names("kept").0, &kept, |_| true));
}

#[test]
fn only_a_replica_that_is_vouched_for_makes_fresh() {
    with_entry(|entry| {
        let unvouched = ProbeStatus { is_vouched: false, beat_age_ms: Some(1_600), soft_ttl_ms: None };
        entry.swap(version(1), "one", STRICT, unvouched, at(0));
        assert_eq!((entry.state(at(10)), entry.plan(at(10))), (SnapshotState::Stale, ServePlan::Memory));
        entry.confirmed(Some(version(1)), VOUCHED, at(20));
        assert_eq!(entry.state(at(30)), SnapshotState::Fresh);
        entry.confirmed(Some(version(1)), unvouched, at(15));
        assert_eq!(
            entry.state(at(30)),
            SnapshotState::Fresh,
            "an answer to an older question says nothing new"
        );
    });
}

#[test]
fn a_replica_that_is_behind_is_told_apart_and_changes_nothing() {
    with_entry(|entry| {
        entry.swap(version(7), "seven", STRICT, VOUCHED, at(0));
        assert_eq!(entry.confirmed(Some(version(6)), VOUCHED, at(50)), ProbeOutcome::Behind);
        assert_eq!(entry.confirmed(None, VOUCHED, at(50)), ProbeOutcome::Behind);
        assert_eq!((entry.held().unwrap().0, entry.age_ms(at(50))), (version(7), Some(50)));
        assert_eq!(entry.confirmed(Some(version(7)), VOUCHED, at(50)), ProbeOutcome::Confirmed);
    });
}

#[test]
fn load_stretches_the_soft_ttl_but_never_to_the_hard_one() {
    for (asked, last_from_memory) in [(None, 100), (Some(50), 100), (Some(150), 150), (Some(5_000), 200)] {
        with_entry(|entry| {
            let status = ProbeStatus { soft_ttl_ms: asked, ..VOUCHED };
            entry.swap(version(1), "one", STRICT, status, at(0));
            assert_eq!(entry.plan(at(last_from_memory)), ServePlan::Memory, "{asked:?}");
            assert_eq!(entry.plan(at(last_from_memory + 1)), ServePlan::MemoryAndRefresh, "{asked:?}");
            assert_eq!(entry.plan(at(251)), ServePlan::Probe, "{asked:?}");
            entry.confirmed(Some(version(1)), VOUCHED, at(300));
            assert_eq!(entry.plan(at(401)), ServePlan::MemoryAndRefresh, "asked for no longer");
        });
    }
}

#[test]
fn a_replica_that_does_not_answer_holds_up_one_request_in_a_while() {
    with_entry(|entry| {
        entry.swap(version(1), "one", STRICT, VOUCHED, at(0));
        assert_eq!(entry.plan(at(1_000)), ServePlan::Probe);
        entry.failed(at(1_150));
        assert_eq!(
            (entry.plan(at(1_399)), entry.state(at(1_399))),
            (ServePlan::Memory, SnapshotState::Stale)
        );
        assert_eq!(entry.plan(at(1_400)), ServePlan::Probe);
        entry.failed(at(1_550));
        entry.confirmed(Some(version(1)), VOUCHED, at(1_560));
        assert_eq!(entry.plan(at(1_811)), ServePlan::Probe, "nothing is left of the failure");
    });
    with_entry(|entry| {
        entry.failed(at(0));
        entry.bootstrap(version(1), "copy", STRICT);
        assert_eq!((entry.plan(at(249)), entry.plan(at(250))), (ServePlan::Memory, ServePlan::Probe));
    });
}

#[test]
fn a_copy_of_last_resort_serves_until_a_replica_answers_and_never_replaces_anything() {
    with_entry(|entry| {
        entry.confirmed(None, VOUCHED, at(0));
        entry.failed(at(0));
        entry.bootstrap(version(5), "copy", STRICT);
        assert_eq!(entry.state(at(1)), SnapshotState::Bootstrap);
        assert_eq!(entry.plan(at(1)), ServePlan::Memory, "it has just been asked for in vain");
        assert_eq!(entry.confirmed(Some(version(4)), VOUCHED, at(300)), ProbeOutcome::Behind);
        assert_eq!((entry.state(at(300)), entry.held().unwrap().0), (SnapshotState::Bootstrap, version(5)));
        entry.confirmed(Some(version(5)), VOUCHED, at(300));
        assert_eq!(entry.state(at(301)), SnapshotState::Fresh);
        entry.bootstrap(version(9), "other copy", STRICT);
        assert_eq!(entry.held().unwrap().0, version(5));
    });
}
