//! What the mode `anytime` reads of what closed and of what was not counted: the same on both databases, each row once.

use flagfuse_shared::definition::Arm;
use serde_json::json;

use super::super::cells::Partition;
use super::super::evidence::{self, Asked};
use super::super::{cells, misses, phase_counters, phases, sql};
use super::definitions::phase;
use super::{scope, worlds};
use crate::model::evidence::{ClosedMiss, Missed};

#[tokio::test]
async fn what_was_not_counted_is_read_once_by_the_tick_with_which_it_became_known() {
    for (_database, _store, mut tx) in worlds().await {
        let phase_id = phases::begin(&mut tx, &scope("t/p/e"), "f", phase()).await.unwrap().phase_id;
        let sql = "INSERT INTO partitions (partition_id, project, environment, closed_tick) VALUES (1, 't/p', 'e', 7)";
        sql::query(sql).execute(&mut tx).await.unwrap();
        assert_eq!(misses::next_tick(&mut tx, 1).await.unwrap(), 8);
        let of = |arm, kind, count| ((phase_id, arm, kind), count);
        // Two groups before one tick, then the tick; what no guard reads is in no row.
        let none = [of(1, "unticketed", 9), of(0, "grace", 2), of(0, "correction", 1)];
        let is_of_slots =
            ["matured", "silent", "late_enrolment", "quarantined", "grace"].map(misses::is_of_slots);
        assert_eq!(is_of_slots, [true, true, false, false, false]);
        misses::add(&mut tx, 1, 8, &none).await.unwrap();
        for count in [3, 4] {
            misses::add(&mut tx, 1, 8, &[of(1, "quarantined", count)]).await.unwrap();
        }
        let told =
            [of(0, "late_enrolment", 5), of(1, "matured", 20), of(1, "silent", 2), of(0, "late_outcome", 1)];
        misses::add(&mut tx, 1, 9, &told).await.unwrap();
        let miss = |tick, missed, arm, count| ClosedMiss { tick, missed, arm, count };
        let quarantined = miss(8, Missed::Quarantined, Arm::Exposed, 7);
        let late = miss(9, Missed::Late, Arm::Control, 5);
        let (matured, silent) =
            (miss(9, Missed::Matured, Arm::Exposed, 20), miss(9, Missed::Silent, Arm::Exposed, 2));
        let asked = [Asked { phase_id, slot: -1 }];
        for (closed_tick, since, expected) in [
            (7, None, vec![]),
            (8, None, vec![quarantined]),
            (9, Some(8), vec![late, matured, silent]),
            (9, None, vec![quarantined, late, matured, silent]),
            (9, Some(9), vec![]),
        ] {
            let partition = Partition { partition_id: 1, closed_tick };
            let mut news = evidence::news(&mut tx, partition, since, &asked).await.unwrap();
            let mut missed = news.remove(&phase_id).unwrap_or_default().missed;
            missed.sort_by_key(|miss| (miss.tick, miss.count != 5, miss.count != 20));
            assert_eq!(missed, expected, "{closed_tick} {since:?}");
        }
    }
}

#[tokio::test]
async fn a_count_below_zero_is_no_count_and_edges_are_those_of_the_phase() {
    for (_database, _store, mut tx) in worlds().await {
        let phase_id = phases::begin(&mut tx, &scope("t/p/e"), "f", phase()).await.unwrap().phase_id;
        let sql = "INSERT INTO partitions (partition_id, project, environment, closed_tick) VALUES (1, 't/p', 'e', 7)";
        sql::query(sql).execute(&mut tx).await.unwrap();
        let sql = "INSERT INTO cells (phase_id, slot, step, metric, slice, arm, units, events, total_micros, closed_tick,
                                      partition_id) VALUES ($1, 0, 0, 0, 0, 1, -3, 1, 0, 5, 1)";
        sql::query(sql).bind(phase_id).execute(&mut tx).await.unwrap();
        let (partition, asked) =
            (Partition { partition_id: 1, closed_tick: 7 }, [Asked { phase_id, slot: -1 }]);
        let mut news = evidence::news(&mut tx, partition, None, &asked).await.unwrap();
        let counts = news.remove(&phase_id).unwrap().counts;
        assert_eq!(counts.iter().map(|count| count.units).collect::<Vec<_>>(), [u64::MAX]);
        // Whatever an arm did not count that nobody sees is not told with what it did not.
        for kind in ["matured", "silent"] {
            phase_counters::add(&mut tx, &[((phase_id, 1, kind), 4)]).await.unwrap();
        }
        let told = cells::counters(&mut tx, phase_id).await.unwrap();
        assert_eq!(told.keys().map(String::as_str).collect::<Vec<_>>(), ["silent"]);
        let own: Vec<i64> = (1..=63).collect();
        let rules = json!({ "metrics": [
            { "name": "error", "counting": "first" }, { "name": "items", "counting": { "sum": {} } },
            { "name": "revenue", "counting": { "sum": { "edges": own } } }, { "name": "old" },
        ] });
        let sql = "INSERT INTO phase_rules (phase_id, partition_id, rules) VALUES ($1, 1, $2)";
        sql::query(sql).bind(phase_id).bind(rules.to_string()).execute(&mut tx).await.unwrap();
        let names = cells::names(&mut tx, [phase_id]).await.unwrap().remove(&phase_id).unwrap();
        let usual = flagfuse_cells::bins::value_edges();
        assert_eq!(names.edges("revenue"), own);
        for name in ["error", "items", "old", "unheard_of"] {
            assert_eq!(names.edges(name), usual, "{name}");
        }
    }
}
