//! Partitions: one owner at a time, who is fenced when another takes over; their logs, checkpoints and what ticks close.

use std::time::Duration;

use flagfuse_cells::{
    Arm, CellRow, Closed, Counter, CounterRow, MetricNo, NetworkRow, PhaseId, SliceNo, SlotRow, Source,
    SpreadRow,
};
use flagfuse_shared::ids::UnixMillis;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::days::{self, Daily};
use super::super::partitions::{self, Claimant, Claimed, Held};
use super::super::testing::{databases, number};
use super::super::{
    Connection, Lock, Store, StoreError, checkpoints, closing, event_ids, phase_counters, phase_rules,
    phases, sql, telemetry_log,
};
use super::definitions::phase;
use super::{NOW, make, scope, worlds};

const BOUND: Duration = Duration::from_secs(30);

const fn claimant(owner: &str) -> Claimant<'_> {
    Claimant { owner, address: owner, is_alone: false }
}

async fn claim(conn: &mut Connection, owner: &str, now: UnixMillis) -> Claimed {
    partitions::claim(conn, &scope("t/p/e"), claimant(owner), now.plus(100), now).await.unwrap()
}

async fn held(conn: &mut Connection, owner: &str, now: UnixMillis) -> Held {
    match claim(conn, owner, now).await {
        Claimed::Ours(held) => held,
        Claimed::Others { address } => panic!("{address} has it"),
    }
}

#[tokio::test]
async fn a_lease_lasts_until_its_end_and_a_fence_for_ever() {
    for (_database, _store, mut tx) in worlds().await {
        let one = held(&mut tx, "one", NOW).await;
        assert_eq!((one.fence, one.log_seq), (1, 0));
        assert_eq!(claim(&mut tx, "two", NOW.plus(99)).await, Claimed::Others { address: "one".to_owned() });
        assert!(partitions::renew(&mut tx, &one, NOW.plus(150)).await.unwrap());
        assert_eq!(claim(&mut tx, "two", NOW.plus(149)).await, Claimed::Others { address: "one".to_owned() });
        assert!(partitions::advance(&mut tx, &one, Some(7)).await.unwrap());
        let one = Held { log_seq: 1, ..one };
        let two = held(&mut tx, "two", NOW.plus(150)).await;
        assert_eq!((two.partition_id, two.fence, two.log_seq), (one.partition_id, 2, 1));
        assert!(!partitions::advance(&mut tx, &one, None).await.unwrap(), "the fenced one goes on");
        assert!(!partitions::renew(&mut tx, &one, NOW.plus(900)).await.unwrap());
        assert_eq!(partitions::log_seq(&mut tx, &one).await.unwrap(), None);
        partitions::release(&mut tx, &one).await.unwrap();
        assert_eq!(claim(&mut tx, "one", NOW.plus(151)).await, Claimed::Others { address: "two".to_owned() });
        // Its own process takes it again, and what that still writes under the old fence is not written.
        let again = held(&mut tx, "two", NOW.plus(151)).await;
        assert_eq!(again.fence, 3);
        assert!(!partitions::advance(&mut tx, &two, None).await.unwrap());
        assert!(
            !partitions::advance(&mut tx, &Held { log_seq: 0, ..again }, None).await.unwrap(),
            "a row twice"
        );
        assert!(partitions::advance(&mut tx, &again, None).await.unwrap());
        assert_eq!(partitions::log_seq(&mut tx, &again).await.unwrap(), Some(2));
        assert_eq!(partitions::abandoned(&mut tx, NOW.plus(200)).await.unwrap(), []);
        partitions::release(&mut tx, &again).await.unwrap();
        assert_eq!(partitions::abandoned(&mut tx, NOW.plus(200)).await.unwrap(), [scope("t/p/e")]);
        // Nothing is due there: only an event brings it back.
        let quiet = held(&mut tx, "two", NOW.plus(200)).await;
        partitions::rest(&mut tx, &quiet).await.unwrap();
        assert_eq!(partitions::abandoned(&mut tx, NOW.plus(200)).await.unwrap(), []);
        // Taken by a clock that was an hour ahead: nobody waits for that.
        let ahead = NOW.plus(3_600_000);
        held(&mut tx, "one", ahead).await;
        assert_eq!(partitions::abandoned(&mut tx, NOW.plus(200)).await.unwrap(), [scope("t/p/e")]);
        let taken = held(&mut tx, "two", NOW.plus(200)).await;
        partitions::release(&mut tx, &taken).await.unwrap();
        // Where there can be no other process, a lease means nothing.
        held(&mut tx, "one", NOW.plus(200)).await;
        let alone = Claimant { is_alone: true, ..claimant("three") };
        let claimed =
            partitions::claim(&mut tx, &scope("t/p/e"), alone, NOW.plus(300), NOW.plus(201)).await.unwrap();
        assert!(matches!(claimed, Claimed::Ours(_)), "{claimed:?}");
    }
}

#[tokio::test]
async fn who_has_to_refuse_events_says_so_and_is_handed_the_partition() {
    for (_database, _store, mut tx) in worlds().await {
        let scope = scope("t/p/e");
        let one = held(&mut tx, "one", NOW).await;
        let asked = async |tx: &mut Connection, since| partitions::wanted_by(tx, &one, since).await.unwrap();
        assert_eq!(asked(&mut tx, NOW).await, None);
        let want = async |tx: &mut Connection, who, at: u64| {
            partitions::want(tx, &scope, who, NOW.plus(at), UnixMillis(NOW.0 + at - 10)).await.unwrap();
        };
        want(&mut tx, "one", 20).await;
        assert_eq!(asked(&mut tx, NOW).await, None, "it has it");
        want(&mut tx, "two", 20).await;
        want(&mut tx, "three", 29).await;
        assert_eq!(asked(&mut tx, NOW.plus(20)).await.as_deref(), Some("two"), "the first that asked");
        assert_eq!(asked(&mut tx, NOW.plus(21)).await, None, "too long ago");
        want(&mut tx, "three", 30).await;
        assert_eq!(asked(&mut tx, NOW).await.as_deref(), Some("three"), "the other one has stopped asking");
        partitions::hand_over(&mut tx, &one, "three", NOW.plus(90)).await.unwrap();
        assert!(!partitions::advance(&mut tx, &one, None).await.unwrap(), "it is given away");
        for who in ["one", "two"] {
            let others = Claimed::Others { address: String::new() };
            assert_eq!(claim(&mut tx, who, NOW.plus(89)).await, others, "it is kept for whom it is given to");
        }
        let three = held(&mut tx, "three", NOW.plus(89)).await;
        assert_eq!((three.partition_id, three.fence), (one.partition_id, 3));
        assert_eq!(partitions::wanted_by(&mut tx, &three, NOW).await.unwrap(), None);
        partitions::hand_over(&mut tx, &one, "two", NOW.plus(900)).await.unwrap();
        assert!(partitions::advance(&mut tx, &three, None).await.unwrap(), "by whoever has it only");
    }
}

/// Takes the partition over and adds rows as long as it is held; how many were committed.
async fn race(store: Store, owner: String) -> i64 {
    let scope = scope("t/p/e");
    let mut written = 0;
    for round in 0..5 {
        let mut tx = store.write(Lock::Partition(&scope)).await.unwrap();
        let mut held = held(&mut tx, &owner, NOW.plus(u64::MAX / 4 + round)).await;
        let over = Claimed::Ours(held);
        assert!(matches!(over, Claimed::Ours(_)));
        // Nobody waits for the end of a lease here: all take it at once.
        partitions::release(&mut tx, &held).await.unwrap();
        tx.commit().await.unwrap();
        loop {
            let mut tx = store.write_patiently(Lock::Partition(&scope)).await.unwrap();
            if !partitions::advance(&mut tx, &held, None).await.unwrap() {
                break;
            }
            held.log_seq += 1;
            let facts = owner.as_bytes();
            telemetry_log::append(&mut tx, held.partition_id, held.log_seq, NOW, facts).await.unwrap();
            tx.commit().await.unwrap();
            written += 1;
            if written % 4 == 0 {
                break;
            }
        }
    }
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_owners_write_one_log_without_a_gap_and_the_fenced_one_writes_nothing() {
    for database in databases().await {
        let store = database.store().await;
        let mut tx = store.write(Lock::Keys).await.unwrap();
        make(&mut tx, "t/p/e").await;
        tx.commit().await.unwrap();
        let mut owners = JoinSet::new();
        for owner in ["one", "two", "three"] {
            owners.spawn(race(store.clone(), owner.to_owned()));
        }
        let written: i64 =
            timeout(BOUND, owners.join_all()).await.expect("all come through").into_iter().sum();
        let mut conn = store.read().await.unwrap();
        assert!(written > 3, "{written}");
        assert_eq!(number(&mut conn, "SELECT COUNT(*) FROM telemetry_log").await, written);
        assert_eq!(number(&mut conn, "SELECT MAX(seq) FROM telemetry_log").await, written);
        assert_eq!(number(&mut conn, "SELECT log_seq FROM partitions").await, written);
    }
}

#[tokio::test]
async fn a_log_is_kept_as_long_as_no_checkpoint_has_it() {
    for (_database, _store, mut tx) in worlds().await {
        let id = held(&mut tx, "one", NOW).await.partition_id;
        for seq in 1..=5 {
            telemetry_log::append(&mut tx, id, seq, NOW.plus(seq.unsigned_abs()), &[7, 0, 255])
                .await
                .unwrap();
        }
        let rows = telemetry_log::after(&mut tx, id, 2, 2).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [3, 4]);
        assert_eq!((rows[0].known_ms, &*rows[0].facts), (NOW.plus(3), &[7, 0, 255][..]));
        let late = NOW.plus(100);
        assert_eq!(telemetry_log::prune(&mut tx, late, 9).await.unwrap(), 0, "nothing else has it");
        let first = checkpoints::begin(&mut tx, id, 2, NOW).await.unwrap();
        checkpoints::put_piece(
            &mut tx,
            &first,
            0,
            checkpoints::Piece { states: &b"half"[..], is_end: false },
        )
        .await
        .unwrap();
        assert_eq!(checkpoints::newest(&mut tx, id).await.unwrap(), None);
        assert_eq!(telemetry_log::prune(&mut tx, late, 9).await.unwrap(), 0, "half a checkpoint is none");
        let second = checkpoints::begin(&mut tx, id, 4, NOW).await.unwrap();
        for (part, states) in [(0, &b"a"[..]), (1, &b"b"[..])] {
            checkpoints::put_piece(&mut tx, &second, part, checkpoints::Piece { states, is_end: part > 0 })
                .await
                .unwrap();
        }
        checkpoints::complete(&mut tx, &second, 2).await.unwrap();
        assert_eq!(checkpoints::newest(&mut tx, id).await.unwrap(), Some((second, 2)));
        assert_eq!(
            checkpoints::piece(&mut tx, &second, 1).await.unwrap(),
            Some(checkpoints::Piece { states: b"b".to_vec(), is_end: true })
        );
        assert_eq!(checkpoints::piece(&mut tx, &second, 2).await.unwrap(), None);
        assert_eq!(checkpoints::prune(&mut tx, id, 9).await.unwrap(), 1, "what is left of the first");
        assert_eq!(telemetry_log::prune(&mut tx, NOW.plus(3), 9).await.unwrap(), 2, "by age");
        assert_eq!(telemetry_log::prune(&mut tx, late, 9).await.unwrap(), 2, "up to the checkpoint");
        telemetry_log::rewrite(&mut tx, id, 5, b"").await.unwrap();
        assert_eq!(telemetry_log::after(&mut tx, id, 0, 9).await.unwrap()[0].facts, b"");
        checkpoints::forget(&mut tx, id).await.unwrap();
        assert_eq!(checkpoints::newest(&mut tx, id).await.unwrap(), None);
    }
}

/// On PostgreSQL a day is a partition, which goes as a whole; on SQLite there are none.
#[tokio::test]
async fn a_day_that_is_over_goes_as_a_whole_where_a_checkpoint_has_it() {
    const DAY: u64 = 24 * 3_600_000;
    let at = |day: u64| UnixMillis(day * DAY + 7);
    for (database, _store, mut tx) in worlds().await {
        let id = held(&mut tx, "one", NOW).await.partition_id;
        let prepare = async |tx: &mut Connection, day| {
            let mut made = 0;
            for daily in Daily::ALL {
                made += days::prepare(tx, daily, at(day)).await.unwrap();
            }
            made
        };
        let dropped = async |tx: &mut Connection, day| {
            let mut gone = Vec::new();
            for daily in Daily::ALL {
                gone.push(days::drop_before(tx, daily, at(day)).await.unwrap());
            }
            gone
        };
        let is_postgres = database.is_postgres();
        let if_postgres = |count: u64| if is_postgres { count } else { 0 };
        assert_eq!(prepare(&mut tx, 100).await, if_postgres(6), "today and two more, of each table");
        assert_eq!(prepare(&mut tx, 100).await, 0);
        assert_eq!(prepare(&mut tx, 101).await, if_postgres(2), "one day further");
        // A week ago there was no partition: what is of then has a place all the same.
        for (seq, day) in [(1, 93), (2, 100), (3, 101), (4, 102)] {
            telemetry_log::append(&mut tx, id, seq, at(day), b"facts").await.unwrap();
            event_ids::add(&mut tx, id, &[(day, [u8::try_from(day).unwrap(); 16])]).await.unwrap();
        }
        let rows = telemetry_log::after(&mut tx, id, 0, 9).await.unwrap();
        assert_eq!(
            rows.iter().map(|row| row.seq).collect::<Vec<_>>(),
            [1, 2, 3, 4],
            "in their order, over all days"
        );
        if is_postgres {
            let sql = "SELECT COUNT(*) FROM telemetry_log_100";
            assert_eq!(number(&mut tx, sql).await, 1, "each has its day");
        }
        let sought: Vec<_> = (90..=110_u8).map(|day| (u64::from(day), [day; 16])).collect();
        assert_eq!(event_ids::known(&mut tx, id, &sought).await.unwrap().len(), 4);
        // No checkpoint has any of it: the ids go, and the log stays. What was there before the days goes too: it is empty.
        let gone = dropped(&mut tx, 102).await;
        assert_eq!(gone, [if_postgres(1), if_postgres(3)]);
        assert_eq!(number(&mut tx, "SELECT COUNT(*) FROM telemetry_log").await, 4);
        let left = event_ids::known(&mut tx, id, &sought).await.unwrap().len();
        assert_eq!(left, if is_postgres { 2 } else { 4 }, "the day that had no partition goes row by row");
        let checkpoint = checkpoints::begin(&mut tx, id, 2, NOW).await.unwrap();
        checkpoints::complete(&mut tx, &checkpoint, 0).await.unwrap();
        assert_eq!(
            dropped(&mut tx, 102).await,
            [if_postgres(1), 0],
            "the day 100 only: row 3 is in no checkpoint"
        );
        assert_eq!(
            number(&mut tx, "SELECT COUNT(*) FROM telemetry_log").await,
            if is_postgres { 3 } else { 4 }
        );
        let gone = telemetry_log::prune(&mut tx, at(102), 9).await.unwrap();
        assert_eq!(gone, if is_postgres { 1 } else { 2 }, "the rest goes row by row");
        let gone = event_ids::prune(&mut tx, 102, 9).await.unwrap();
        assert_eq!(gone, if is_postgres { 1 } else { 3 });
        let rows = telemetry_log::after(&mut tx, id, 0, 9).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(event_ids::known(&mut tx, id, &sought).await.unwrap().len(), 1);
    }
}

fn closed(phase: PhaseId, step: u8) -> Closed {
    let cell = |metric, arm, total_micros| CellRow {
        phase,
        slot: 0,
        step,
        metric: MetricNo(metric),
        slice: SliceNo(0),
        arm,
        units: 3,
        events: 4,
        total_micros,
    };
    let slot = SlotRow { phase, slot: 0, starts_ms: 5, ends_ms: 10 };
    let bin = SpreadRow {
        phase,
        slot: 0,
        metric: MetricNo(1),
        slice: SliceNo(0),
        arm: Arm::Exposed,
        bin: 9,
        units: 3,
    };
    let network =
        NetworkRow { phase, metric: MetricNo(1), arm: Arm::Exposed, network: u32::MAX, source: Source::Open };
    let late = CounterRow { phase, arm: Arm::Control, counter: Counter::Late, events: 2 };
    Closed {
        tick: 100 + u64::from(step),
        slots: if step == 0 { vec![slot] } else { Vec::new() },
        cells: vec![cell(0, Arm::Control, 0), cell(1, Arm::Exposed, i64::MAX - 1)],
        spreads: if step == 1 { vec![bin] } else { Vec::new() },
        networks: vec![network],
        counters: vec![late],
        waiting_dropped: 3,
    }
}

/// What a statement of anybody comes to, which must not take the transaction along.
async fn refused(conn: &mut Connection, sql: String) -> bool {
    sql::script(conn, "SAVEPOINT attempt").await.unwrap();
    let result = sql::composed(sql).execute(conn).await;
    sql::script(conn, "ROLLBACK TO SAVEPOINT attempt").await.unwrap();
    match result {
        Ok(_) => false,
        Err(StoreError::Sql(error)) => error.to_string().contains("never"),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_closed_cell_is_never_written() {
    for (_database, _store, mut tx) in worlds().await {
        let scope = scope("t/p/e");
        let phase_id = phases::begin(&mut tx, &scope, "f", phase()).await.unwrap().phase_id;
        let id = held(&mut tx, "one", NOW).await.partition_id;
        closing::write(&mut tx, id, &closed(PhaseId(phase_id), 0)).await.unwrap();
        closing::write(&mut tx, id, &closed(PhaseId(phase_id), 1)).await.unwrap();
        assert_eq!(number(&mut tx, "SELECT COUNT(*) FROM cells").await, 4);
        assert_eq!(number(&mut tx, "SELECT closed_step FROM slots").await, 1);
        assert_eq!(number(&mut tx, "SELECT units FROM sums WHERE metric = 0").await, 6);
        let largest = number(&mut tx, "SELECT total_micros FROM sums WHERE metric = 1").await;
        assert_eq!(largest, i64::MAX, "it stays at the largest number");
        assert_eq!(number(&mut tx, "SELECT events FROM phase_counters").await, 4);
        assert_eq!(partitions::dropped(&mut tx, &scope).await.unwrap(), 6);
        assert_eq!(partitions::dropped(&mut tx, &super::scope("t/p/other")).await.unwrap(), 0);
        assert_eq!(number(&mut tx, "SELECT network FROM networks").await, i64::from(u32::MAX));
        let row = |step: u8, arm: u8| {
            format!("INSERT INTO cells VALUES ({phase_id}, 0, {step}, 7, 0, {arm}, 1, 1, 0, 102, {id})")
        };
        for (statement, says_no) in [
            (row(0, 0), true),
            (row(1, 1), true),
            (row(2, 0), false),
            ("UPDATE cells SET units = units + 1".to_owned(), true),
            ("UPDATE cells SET units = units + 1 WHERE step = 1".to_owned(), true),
            ("DELETE FROM cells WHERE step = 0".to_owned(), true),
            ("UPDATE slots SET closed_step = 0".to_owned(), true),
            ("UPDATE spreads SET units = 0".to_owned(), true),
            // Only what is old may be added up, as a whole.
            (format!("UPDATE slots SET compacted_ms = 1 WHERE phase_id = {phase_id}"), false),
        ] {
            assert_eq!(refused(&mut tx, statement.clone()).await, says_no, "{statement}");
        }
        assert_eq!(number(&mut tx, "SELECT COUNT(*) FROM cells").await, 4);
    }
}

#[tokio::test]
async fn rules_counters_and_ids_of_additive_events_are_kept() {
    for (_database, _store, mut tx) in worlds().await {
        let scope = scope("t/p/e");
        let phase_id = phases::begin(&mut tx, &scope, "f", phase()).await.unwrap().phase_id;
        assert_eq!(phases::running(&mut tx, &scope).await.unwrap(), [phase_id]);
        assert_eq!(phases::ended_ms(&mut tx, phase_id).await.unwrap(), None);
        phases::end(&mut tx, &scope, "f", NOW).await.unwrap();
        assert_eq!(phases::running(&mut tx, &scope).await.unwrap(), [0; 0]);
        assert_eq!(phases::ended_ms(&mut tx, phase_id).await.unwrap(), Some(NOW));
        let id = held(&mut tx, "one", NOW).await.partition_id;
        for rules in ["{}", "[]"] {
            phase_rules::put(&mut tx, id, &[(phase_id, rules.to_owned())]).await.unwrap();
        }
        assert_eq!(phase_rules::of_phase(&mut tx, phase_id).await.unwrap().as_deref(), Some("{}"));
        assert_eq!(phase_rules::of_partition(&mut tx, id).await.unwrap(), [phase_id]);
        for _ in 0..2 {
            let counts = [((phase_id, 1, "unticketed"), 2), ((phase_id, 0, "late"), 1)];
            phase_counters::add(&mut tx, &counts).await.unwrap();
        }
        let found = phase_counters::of_phase(&mut tx, phase_id).await.unwrap();
        assert_eq!(found, [(0, "late".to_owned(), 2), (1, "unticketed".to_owned(), 4)]);
        let ids: Vec<_> = (0..150_u8).map(|n| (u64::from(n % 2), [n; 16])).collect();
        event_ids::add(&mut tx, id, &ids).await.unwrap();
        event_ids::add(&mut tx, id, &ids[..3]).await.unwrap();
        let sought = |day| (100..=200_u8).map(|n| (day, [n; 16])).collect::<Vec<_>>();
        assert_eq!(event_ids::known(&mut tx, id, &sought(0)).await.unwrap().len(), 50);
        assert_eq!(event_ids::known(&mut tx, id, &sought(2)).await.unwrap().len(), 25);
        assert_eq!(event_ids::known(&mut tx, id, &sought(3)).await.unwrap().len(), 0);
        assert_eq!(event_ids::prune(&mut tx, 1, 70).await.unwrap(), 70);
        assert_eq!(event_ids::prune(&mut tx, 1, 70).await.unwrap(), 5);
    }
}
