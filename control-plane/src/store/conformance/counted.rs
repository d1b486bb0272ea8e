//! What is read of closed slots and cells: the same on both databases, and the same as a plain look at every row says.

use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::UnixMillis;
use serde_json::json;

use super::super::cells::{self, Asked, ClosedSpread, Names, Partition};
use super::super::watermarks::{complete_up_to, lag_ms, watermarks};
use super::super::{Connection, StoreError, phases, sql};
use super::definitions::phase;
use super::{NOW, scope, worlds};
use crate::model::metric::ENROLLED;
use crate::model::verdict::{Origins, Source};
use crate::model::window::{Bounds, Counts, Covers, EnrolmentRange, Slot, Sums};

const MINUTE: u64 = 60_000;

/// What is closed: phase, slot, step, metric, slice, arm, units, events, millionths, tick.
type Row = [i64; 10];

/// Writes cells and what they add up to, as ingestion does.
async fn close(conn: &mut Connection, row: Row) {
    let [phase_id, slot, _, metric, slice, arm, units, events, total_micros, _] = row;
    let sql = "INSERT INTO cells (phase_id, slot, step, metric, slice, arm, units, events, total_micros, closed_tick,
                                  partition_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1)";
    let query = row.into_iter().fold(sql::query(sql), sql::Query::bind);
    query.execute(&mut *conn).await.unwrap();
    let sql = "INSERT INTO sums (phase_id, metric, slice, slot, arm, units, events, total_micros)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
               ON CONFLICT (phase_id, metric, slice, slot, arm) DO UPDATE SET units = sums.units + excluded.units,
                 events = sums.events + excluded.events, total_micros = sums.total_micros + excluded.total_micros";
    let values = [phase_id, metric, slice, slot, arm, units, events, total_micros];
    let query = values.into_iter().fold(sql::query(sql), sql::Query::bind);
    query.execute(conn).await.unwrap();
}

async fn open(conn: &mut Connection, phase_id: i64, slots: &[(i64, u64, u64)]) {
    for (slot, starts_ms, ends_ms) in slots {
        let sql =
            "INSERT INTO slots (phase_id, slot, starts_ms, ends_ms, closed_tick) VALUES ($1, $2, $3, $4, 1)";
        let [starts_ms, ends_ms] = [starts_ms, ends_ms].map(|ms| i64::try_from(*ms).unwrap());
        let query = sql::query(sql).bind(phase_id).bind(*slot).bind(starts_ms).bind(ends_ms);
        query.execute(&mut *conn).await.unwrap();
    }
}

/// A partition and a phase that counts `conversion` and `latency_ms` in two declared slices.
async fn counting(conn: &mut Connection) -> i64 {
    let phase_id = phases::begin(conn, &scope("t/p/e"), "f", phase()).await.unwrap().phase_id;
    let sql =
        "INSERT INTO partitions (partition_id, project, environment, closed_tick) VALUES (1, 't/p', 'e', 7)";
    sql::query(sql).execute(&mut *conn).await.unwrap();
    let rules = json!({ "phase": phase_id, "metrics": [{ "name": "conversion" }, { "name": "latency_ms" }],
        "slices": [{ "dimension": "country", "value": "nz" }, { "dimension": "country", "value": null }] });
    let sql = "INSERT INTO phase_rules (phase_id, partition_id, rules) VALUES ($1, 1, $2)";
    sql::query(sql).bind(phase_id).bind(rules.to_string()).execute(conn).await.unwrap();
    phase_id
}

fn slot(slot: i64, starts: u64, ends: u64) -> Slot {
    Slot { slot, starts_ms: UnixMillis(starts * MINUTE), ends_ms: UnixMillis(ends * MINUTE) }
}

fn range(covers: Covers, from: u64, to: u64) -> EnrolmentRange {
    EnrolmentRange { covers, from: UnixMillis(from * MINUTE), to: UnixMillis(to * MINUTE) }
}

#[tokio::test]
async fn windows_begin_and_end_where_their_slots_do() {
    for (_database, _store, mut tx) in worlds().await {
        let phase_id = counting(&mut tx).await;
        let slots = [slot(0, 0, 1), slot(1, 1, 2), slot(2, 2, 60), slot(4, 60, 61)];
        for Slot { slot, starts_ms, ends_ms } in slots {
            open(&mut tx, phase_id, &[(slot, starts_ms.0, ends_ms.0)]).await;
        }
        let ranges = [
            range(Covers::Begun, 0, 100),
            range(Covers::Begun, 1, 60),
            range(Covers::Ended, 1, 59),
            range(Covers::Begun, 3, 100),
            range(Covers::Ended, 3, 100),
            range(Covers::Ended, 61, 100),
            range(Covers::Begun, 90, 95),
        ];
        let expected = ranges.map(|range| Bounds {
            first: slots
                .into_iter()
                .find(|slot| EnrolmentRange { to: UnixMillis(u64::MAX), ..range }.covers(slot)),
            next: slots.into_iter().find(|slot| slot.ends_ms > range.to),
            newest: Some(4),
        });
        let asked: Vec<_> = ranges.iter().map(|range| (phase_id, *range)).collect();
        assert_eq!(cells::bounds(&mut tx, &asked, cells::NEWEST).await.unwrap(), expected);
        let nowhere = cells::bounds(&mut tx, &[(phase_id + 1, ranges[0])], cells::NEWEST).await.unwrap();
        assert_eq!(nowhere, [Bounds::default()]);
    }
}

#[tokio::test]
async fn a_reading_adds_up_the_slots_of_its_window_for_everybody_but_bots() {
    for (_database, _store, mut tx) in worlds().await {
        let phase_id = counting(&mut tx).await;
        open(&mut tx, phase_id, &[(0, 0, MINUTE), (1, MINUTE, 2 * MINUTE), (2, 2 * MINUTE, 3 * MINUTE)])
            .await;
        for row in [
            [phase_id, 0, 0, 0, 0, 1, 10, 10, 0, 1],
            [phase_id, 0, 0, 0, 0, 0, 20, 20, 0, 1],
            [phase_id, 0, 0, 1, 0, 1, 3, 3, 0, 1],
            [phase_id, 0, 1, 1, 0, 1, 1, 1, 0, 2],
            [phase_id, 1, 0, 0, 0, 1, 5, 5, 0, 3],
            [phase_id, 1, 0, 0, 1, 1, 900, 900, 0, 3],
            [phase_id, 1, 0, 2, 0, 1, 2, 2, 250_500_000, 3],
            [phase_id, 2, 0, 1, 0, 0, 7, 7, 0, 7],
        ] {
            close(&mut tx, row).await;
        }
        let read = async |tx: &mut Connection, metric: &str, range| {
            let reading = cells::reading(tx, phase_id, metric, range).await.unwrap();
            let arm = |arm: crate::model::verdict::ArmTotal| (arm.units, arm.events, arm.value_sum);
            (arm(reading.exposed), arm(reading.control))
        };
        let all = range(Covers::Begun, 0, 100);
        assert_eq!(read(&mut tx, "conversion", all).await, ((15, 4, 0.0), (20, 7, 0.0)));
        assert_eq!(read(&mut tx, "latency_ms", all).await, ((15, 2, 250.5), (20, 0, 0.0)));
        assert_eq!(read(&mut tx, "unheard_of", all).await, ((15, 0, 0.0), (20, 0, 0.0)));
        assert_eq!(read(&mut tx, "conversion", range(Covers::Begun, 1, 2)).await, ((5, 0, 0.0), (0, 0, 0.0)));
        assert_eq!(
            read(&mut tx, "conversion", range(Covers::Begun, 50, 60)).await,
            ((0, 0, 0.0), (0, 0, 0.0))
        );
        assert_eq!(cells::units_since(&mut tx, phase_id, UnixMillis(MINUTE)).await.unwrap(), 5);
        assert_eq!(cells::units_since(&mut tx, phase_id, UnixMillis(9 * MINUTE)).await.unwrap(), 0);

        let partition = cells::partition(&mut tx, &scope("t/p/e")).await.unwrap().unwrap();
        assert_eq!(partition, Partition { partition_id: 1, closed_tick: 7 });
        assert_eq!(cells::partition(&mut tx, &scope("t/p/none")).await.unwrap(), None);
        let closed = cells::closed_since(&mut tx, partition, 2).await.unwrap();
        let mut closed: Vec<_> =
            closed.iter().map(|cell| (cell.slot, cell.metric, cell.counts.units)).collect();
        closed.sort_unstable();
        assert_eq!(closed, [(1, 0, 5), (1, 2, 2), (2, 1, 7)], "not the bots");
        assert_eq!(cells::closed_since(&mut tx, partition, 7).await.unwrap(), []);

        for [slice, bin, tick] in [[0, 7, 3], [1, 8, 3], [0, 9, 1]] {
            let sql = "INSERT INTO spreads (phase_id, slot, metric, slice, arm, bin, units, closed_tick, partition_id)
                       VALUES ($1, 0, 2, $2, 1, $3, 5, $4, 1)";
            let query = [phase_id, slice, bin, tick].into_iter().fold(sql::query(sql), sql::Query::bind);
            query.execute(&mut tx).await.unwrap();
        }
        let spreads = cells::spreads_since(&mut tx, partition, 1).await.unwrap();
        let spread = ClosedSpread { phase_id, slot: 0, metric: 2, arm: Arm::Exposed, bin: 7, units: 5 };
        assert_eq!(spreads, [spread]);

        let page = cells::page(&mut tx, phase_id, -1, 2).await.unwrap();
        let steps =
            |at: usize| page[at].cells.iter().map(|cell| (cell.step, cell.metric)).collect::<Vec<_>>();
        assert_eq!(page.len(), 2);
        assert_eq!(
            (steps(0), steps(1)),
            (vec![(0, 0), (0, 0), (0, 1), (1, 1)], vec![(0, 0), (0, 0), (0, 2)])
        );
        assert_eq!(cells::page(&mut tx, phase_id, 1, 2).await.unwrap().len(), 1);
        assert_eq!(cells::totals(&mut tx, phase_id).await.unwrap().len(), 6);
    }
}

#[tokio::test]
async fn many_stretches_of_slots_are_added_up_at_once() {
    for (_database, _store, mut tx) in worlds().await {
        let phase_id = counting(&mut tx).await;
        for number in 0..10 {
            close(&mut tx, [phase_id, number, 0, 0, 0, number % 2, 1, 1, 0, 1]).await;
            close(&mut tx, [phase_id, number, 0, 1, 0, 1, number, number, -3, 1]).await;
        }
        let metrics = [ENROLLED, 1, 2];
        let asked = [0..10, 3..5, 7..7].map(|slots| Asked { phase_id, metrics: &metrics, slots });
        let counts = |units, total_micros| Counts { units, events: units, total_micros };
        let mut expected = [Sums::default(), Sums::default(), Sums::default()];
        expected[0].add(ENROLLED, Arm::Control, counts(5, 0));
        expected[0].add(ENROLLED, Arm::Exposed, counts(5, 0));
        expected[0].add(1, Arm::Exposed, counts(45, -30));
        expected[1].add(ENROLLED, Arm::Control, counts(1, 0));
        expected[1].add(ENROLLED, Arm::Exposed, counts(1, 0));
        expected[1].add(1, Arm::Exposed, counts(7, -6));
        assert_eq!(cells::sums(&mut tx, &asked, None).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn phases_tell_their_names_their_origins_and_what_they_did_not_count() {
    for (_database, _store, mut tx) in worlds().await {
        let phase_id = counting(&mut tx).await;
        let names: Names =
            cells::names(&mut tx, [phase_id, phase_id + 1]).await.unwrap().remove(&phase_id).unwrap();
        assert_eq!((names.metric_no("latency_ms"), names.metric_no("error")), (Some(2), None));
        assert_eq!([1, 2, 9].map(|number| names.metric(number)), ["conversion", "latency_ms", "9"]);
        let slices = [0, 1, 2, 3, 4].map(|number| names.slice(number));
        assert_eq!(slices, ["all", "bot", "country=nz", "country=other", "4"]);
        assert_eq!(names.numbers().collect::<Vec<_>>(), [0, 1, 2]);
        for [metric, arm, network, source] in [[1, 1, 7, 1], [1, 1, 8, 1], [1, 1, 8, 3], [1, 0, 9, 0]] {
            let sql =
                "INSERT INTO networks (phase_id, metric, arm, network, source) VALUES ($1, $2, $3, $4, $5)";
            let row = [phase_id, metric, arm, network, source];
            row.into_iter().fold(sql::query(sql), sql::Query::bind).execute(&mut tx).await.unwrap();
        }
        let asked = [(phase_id, 1, Arm::Exposed), (phase_id, 2, Arm::Exposed), (phase_id, 1, Arm::Control)];
        let origins = |sources: &[Source], networks| Origins { sources: sources.to_vec(), networks };
        let expected =
            [origins(&[Source::Client, Source::Server], 2), Origins::default(), origins(&[Source::Edge], 1)];
        assert_eq!(cells::origins(&mut tx, &asked).await.unwrap(), expected);
        let sql = "INSERT INTO phase_counters (phase_id, arm, kind, events) VALUES ($1, 1, 'late', 3), ($1, 0, 'late', 4)";
        sql::query(sql).bind(phase_id).execute(&mut tx).await.unwrap();
        let counters = cells::counters(&mut tx, phase_id).await.unwrap();
        assert_eq!(json!(counters), json!({ "late": { "control": 4, "exposed": 3 } }));
        sql::query("UPDATE networks SET source = 9 WHERE source = 3").execute(&mut tx).await.unwrap();
        let corrupt = cells::origins(&mut tx, &asked).await;
        assert!(matches!(corrupt, Err(StoreError::Corrupt { column: "networks.source", .. })), "{corrupt:?}");
    }
}

#[tokio::test]
async fn a_buffer_is_behind_while_it_lives_and_says_up_to_when_it_delivered() {
    for (_database, _store, mut tx) in worlds().await {
        let scope = scope("t/p/e");
        let now = NOW.plus(3_600_000);
        let ago = |seconds: u64| i64::try_from(now.minus(seconds * 1_000).0).unwrap();
        for (name, delivered, last_event) in [
            ("fresh", Some(ago(2)), ago(1)),
            ("stuck", Some(ago(45)), ago(50)),
            ("gone", Some(ago(1_000)), ago(601)),
            ("resting", Some(ago(1_000)), -1),
            ("silent", None, ago(1)),
        ] {
            let sql = "INSERT INTO buffers (project, environment, buffer_id, seen_ms, delivered_through_ms, last_event_ms)
                       VALUES ('t/p', 'e', $1, $2, $3, $4)";
            let query = sql::query(sql).bind(name).bind(ago(0)).bind(delivered).bind(last_event);
            query.execute(&mut tx).await.unwrap();
        }
        let found = watermarks(&mut tx, &scope, now).await.unwrap();
        let behind: Vec<_> =
            found.iter().map(|found| (found.buffer_id.as_str(), found.behind_ms(now))).collect();
        assert_eq!(behind, [("fresh", 2_000), ("gone", 0), ("resting", 0), ("silent", 0), ("stuck", 45_000)]);
        assert_eq!(complete_up_to(&found), Some(now.minus(45_000)));
        assert_eq!(lag_ms(&found, now), 0);
        assert_eq!(complete_up_to(&[]), None);
    }
}
