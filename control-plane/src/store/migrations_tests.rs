//! What becomes of a database that an earlier program left, from each of its versions, on both kinds.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use flagfuse_shared::ids::{Scope, SnapshotVersion};

use super::migrations::{self, Migrations};
use super::stored_project::COLUMN;
use super::testing::{TestDatabase, databases, number, postgres, script, sqlite};
use super::{Connection, Lock, Store, StoreError, audit, evidence, sql, verdicts};

/// A database as it was left at `newest` with some rows, as this program opens it.
async fn upgraded(database: &TestDatabase, newest: i64, rows: &'static str) -> Store {
    let old = database.left_at(newest).await;
    let mut tx = old.write(Lock::Keys).await.unwrap();
    script(&mut tx, rows).await;
    tx.commit().await.unwrap();
    old.close().await;
    database.store().await
}

async fn row<const N: usize>(store: &Store, sql: &'static str) -> [i64; N] {
    let row = sql::query(sql).fetch_one(&mut store.read().await.unwrap()).await.unwrap();
    std::array::from_fn(|column| row.get(column).unwrap())
}

async fn texts<const N: usize>(store: &Store, sql: &'static str) -> [String; N] {
    let row = sql::query(sql).fetch_one(&mut store.read().await.unwrap()).await.unwrap();
    std::array::from_fn(|column| row.get(column).unwrap())
}

#[test]
fn both_databases_have_the_same_steps_in_rising_order() {
    let numbers = |known: Migrations| known.iter().map(|(number, _)| *number).collect::<Vec<_>>();
    assert_eq!(numbers(migrations::SQLITE), numbers(migrations::POSTGRES));
    assert!(numbers(migrations::SQLITE).is_sorted_by(|a, b| a < b));
}

/// Tables and columns of a database, by name.
async fn schema(conn: &mut Connection, database: &TestDatabase) -> Vec<String> {
    let sql = if database.is_postgres() {
        "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public'
           AND table_name NOT IN (SELECT relname FROM pg_class WHERE relispartition) ORDER BY 1"
    } else {
        "SELECT m.name || '.' || c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
         WHERE m.type = 'table' ORDER BY 1"
    };
    let rows = sql::query(sql).fetch_all(conn).await.unwrap();
    rows.iter().map(|row| row.get(0).unwrap()).collect()
}

#[tokio::test]
async fn every_earlier_version_comes_to_the_schema_of_a_new_database_and_both_kinds_to_the_same() {
    let mut schemas = Vec::new();
    for fresh in databases().await {
        let expected = schema(&mut fresh.store().await.read().await.unwrap(), &fresh).await;
        for (newest, _) in migrations::SQLITE {
            let old = if fresh.is_postgres() { postgres().await.unwrap() } else { sqlite() };
            let store = upgraded(&old, *newest, "").await;
            let mut conn = store.read().await.unwrap();
            assert_eq!(schema(&mut conn, &old).await, expected, "from {newest}");
            let count = number(&mut conn, "SELECT COUNT(*) FROM migrations").await;
            assert_eq!(usize::try_from(count), Ok(migrations::SQLITE.len()), "from {newest}");
        }
        schemas.push(expected);
    }
    assert!(schemas.iter().all(|schema| *schema == schemas[0]), "{schemas:?}");
}

#[tokio::test]
async fn opening_twice_migrates_once_and_a_newer_database_is_refused() {
    for database in databases().await {
        database.store().await.close().await;
        let store = database.store().await;
        let mut tx = store.write(Lock::Keys).await.unwrap();
        script(&mut tx, "INSERT INTO migrations VALUES (99)").await;
        tx.commit().await.unwrap();
        store.close().await;
        let refused = Store::connect(&database.url).await;
        assert!(matches!(refused, Err(StoreError::Newer { found: 99, .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn frames_from_before_urgency_count_as_ordinary_with_the_lax_bound_and_old_receipts_go() {
    for database in databases().await {
        let sql = "INSERT INTO snapshots VALUES ('p', 'e', 1, 7, 'd', '1', 9);
                   INSERT INTO receipts (region, project, environment) VALUES ('eu', 'p', 'e')";
        let store = upgraded(&database, 5, sql).await;
        assert_eq!(texts(&store, "SELECT urgency FROM snapshots").await, ["ordinary"]);
        let sql = "SELECT stale_ms, (SELECT COUNT(*) FROM receipts) FROM snapshots";
        assert_eq!(row(&store, sql).await, [1_000, 0]);
    }
}

#[tokio::test]
async fn revisions_of_an_older_database_go_on_above_all_that_may_have_been_deleted() {
    for database in databases().await {
        let sql = "INSERT INTO projects VALUES ('p', 't', '', 1);
                   INSERT INTO environments (tenant, project, environment, profile, auto_exposure, epoch, seq, created_ms)
                   VALUES ('t', 'p', 'e', 'strict', 'single', 1, 7, 1);
                   INSERT INTO audit (audit_id, tenant, at_ms, actor, action, subject, detail)
                   VALUES (41, 't', 1, 'a', 'flag.delete', 'f', '{}')";
        let store = upgraded(&database, 8, sql).await;
        let sql =
            "SELECT e.revision_floor, p.revision_floor, e.settings_revision FROM environments e, projects p";
        assert_eq!(row(&store, sql).await, [41, 41, 1]);
    }
}

#[tokio::test]
async fn verdicts_from_before_sentences_have_none() {
    for database in databases().await {
        let sql = r#"INSERT INTO verdicts (project, environment, flag, phase, at_ms, decision, reason, evidence)
                     VALUES ('t/p', 'e', 'f', 1, 1, 'hold', 'no_data', '[{"metric":"m","finding":"no_data",
                       "rate_exposed":0.5,"rate_control":0.5,"delta":0,"delta_compared":0,"threshold":-0.05,
                       "confidence":0,"false_trip_rate_first_look":null,"reading":{
                       "exposed":{"units":0,"events":0,"value_sum":0},
                       "control":{"units":0,"events":0,"value_sum":0}}}]')"#;
        let store = upgraded(&database, 13, sql).await;
        let scope = Scope::parse("t/p/e").unwrap();
        let found = verdicts::newest(&mut store.read().await.unwrap(), &scope, "f", 9).await.unwrap();
        assert_eq!((found[0].summary.as_str(), found[0].evidence[0].summary.as_str()), ("", ""));
    }
}

#[tokio::test]
async fn quarantined_events_from_before_the_bound_are_numbered_and_the_oldest_beyond_it_go() {
    for database in databases().await {
        let sql = "INSERT INTO quarantine (tenant, project, environment, code, raw, raw_digest, first_ms, last_ms, events,
                                           replay_state)
                   WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10003)
                   SELECT CASE i % 10001 WHEN 2 THEN 'other' ELSE 't' END, 'p', 'e', 'bad_json', CAST(i AS TEXT),
                          CAST(i AS TEXT), i, i, 1, 'waiting' FROM n";
        let store = upgraded(&database, 8, sql).await;
        let counts = "SELECT COUNT(*), MIN(place_no), MAX(place_no), MIN(first_ms) FROM quarantine WHERE tenant = 'other'";
        assert_eq!(row(&store, counts).await, [2, 1, 2, 2]);
        let counts =
            "SELECT COUNT(*), MIN(place_no), MAX(place_no), MIN(first_ms) FROM quarantine WHERE tenant = 't'";
        assert_eq!(row(&store, counts).await, [10_000, 2, 10_001, 3]);
    }
}

#[tokio::test]
async fn quarantined_events_from_before_reasons_have_none_and_are_counted_on() {
    for database in databases().await {
        let sql = "INSERT INTO quarantine (tenant, project, environment, code, raw, raw_digest, first_ms, last_ms, events,
                                           replay_state, place_no)
                   VALUES ('t', 't/p', 'e', 'bad_json', '{', 'd', 1, 1, 1, 'waiting', 1)";
        let store = upgraded(&database, 13, sql).await;
        assert_eq!(texts(&store, "SELECT code, field, reason FROM quarantine").await, ["bad_json", "", ""]);
    }
}

#[tokio::test]
async fn every_row_from_before_tenants_had_their_own_keys_is_its_tenants_afterwards() {
    for database in databases().await {
        let old = database.left_at(12).await;
        let columns = schema(&mut old.read().await.unwrap(), &database).await;
        old.close().await;
        let mut tables: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (table, column) in columns.iter().filter_map(|name| name.split_once('.')) {
            tables.entry(table).or_default().push(column);
        }
        tables.retain(|_, columns| columns.contains(&COLUMN));
        assert_eq!(tables.len(), 23, "{tables:?}");
        let mut script = String::new();
        // All environments, flags and the like are called by the number of their row.
        for (n, (tenant, project)) in (1..).zip([("t", "p"), ("t", "q"), ("u", "r")]) {
            for (table, columns) in &tables {
                let value = |column: &&str| match *column {
                    "tenant" => format!("'{tenant}'"),
                    COLUMN => format!("'{project}'"),
                    _ => format!("'{n}'"),
                };
                let values: Vec<String> = columns.iter().map(value).collect();
                let (columns, values) = (columns.join(","), values.join(","));
                write!(script, "INSERT INTO {table} ({columns}) VALUES ({values});").unwrap();
            }
        }
        script.push_str(
            "INSERT INTO forks (region, shard, project, environment, epoch, seq, digest, seen_ms)
               VALUES ('eu', 0, 'unknown', 'e', 1, 1, 'd', 1);
             INSERT INTO audit (audit_id, tenant, at_ms, actor, action, subject, detail)
               VALUES (9, 't', 1, 'a', 'token.create', 's', '{}')",
        );
        database.fill(script).await;
        let store = database.store().await;
        let mut reader = store.read().await.unwrap();
        // Events have had no table of their own since they became facts in a log.
        for table in tables.keys().filter(|table| **table != "events") {
            let sql = format!("SELECT project FROM {table} WHERE project IS NOT NULL ORDER BY project");
            let rows = sql::composed(sql).fetch_all(&mut reader).await.unwrap();
            let found: Vec<String> = rows.iter().map(|row| row.get(0).unwrap()).collect();
            assert_eq!(found, ["t/p", "t/q", "u/r"], "{table}");
        }
        if !database.is_postgres() {
            let faults = sql::query("PRAGMA foreign_key_check").fetch_all(&mut reader).await.unwrap();
            assert!(faults.is_empty(), "rows name what is not there");
        }
    }
}

#[tokio::test]
async fn what_was_counted_before_cells_is_dropped_and_phases_go_on_under_their_numbers() {
    for database in databases().await {
        let sql = "INSERT INTO phases (phase_id, project, environment, flag, phase, circuit, salt, slices, policy, started_ms)
                   VALUES (7, 't/p', 'e', 'f', 3, 'CLOSED', 's', '[]', '{}', 1);
                   INSERT INTO exposures (unit, phase_id, arm, enrolled, first_ms) VALUES ('0123456789abcdef', 7, 'exposed', 1, 1);
                   INSERT INTO facts VALUES (7, '0123456789abcdef', 'conversion', 1, 0, 0);
                   INSERT INTO tallies VALUES (7, 'conversion', 0, 'exposed', '', 1, 1, 0, 0);
                   INSERT INTO corrections VALUES (7, 'exposed', 1)";
        let store = upgraded(&database, 18, sql).await;
        assert_eq!(
            row(&store, "SELECT phase_id, phase, (SELECT COUNT(*) FROM cells) FROM phases").await,
            [7, 3, 0]
        );
    }
}

#[tokio::test]
async fn phases_from_before_attempts_are_attempts_of_one_stage_where_they_exposed_anybody() {
    for database in databases().await {
        let exposing = r#"[{"from":0,"to":9,"variation":"on","arm":"exposed"}]"#;
        let control = r#"[{"from":0,"to":9,"variation":"off","arm":"control"}]"#;
        let mut script = String::new();
        let circuits = ["CLOSED", "OPEN", "HALF_OPEN", "OPEN", "CLOSED"];
        for (flag, slices) in [("f", [exposing, control, exposing, control, exposing]), ("g", [control; 5])] {
            for (at, (slices, circuit)) in slices.into_iter().zip(circuits).enumerate() {
                write!(
                    script,
                    "INSERT INTO phases (project, environment, flag, phase, circuit, salt, slices, policy, started_ms)
                       VALUES ('t/p', 'e', '{flag}', {}, '{circuit}', 's', '{slices}', '{{}}', 1);",
                    at + 1
                )
                .unwrap();
            }
        }
        let old = database.left_at(27).await;
        old.close().await;
        database.fill(script).await;
        let store = database.store().await;
        let mut reader = store.read().await.unwrap();
        let rows = sql::query("SELECT attempt, stage, phase_id FROM phases ORDER BY flag, phase")
            .fetch_all(&mut reader)
            .await;
        let rows = rows.unwrap();
        let phase_ids: Vec<i64> = rows.iter().map(|row| row.get(2).unwrap()).collect();
        let found: Vec<[i64; 2]> =
            rows.iter().map(|row| [row.get(0).unwrap(), row.get(1).unwrap()]).collect();
        assert_eq!(found, [[1, 1], [1, 0], [2, 1], [2, 0], [3, 1], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0]]);
        for (phase, attempt, trips, probes) in [(1, 1, 0, 0), (2, 1, 1, 0), (3, 2, 1, 1), (5, 3, 2, 1)] {
            let phase_id = phase_ids[usize::try_from(phase).unwrap() - 1];
            let asked = [evidence::Looked { phase_id, upto: phase }];
            let spent = evidence::spent(&mut reader, &asked).await.unwrap();
            let expected = evidence::Spent { attempts: attempt, trips, probes };
            assert_eq!(spent.get(&phase_id), Some(&expected), "phase {phase}");
        }
    }
}

#[tokio::test]
async fn entries_from_before_the_filter_are_found_by_their_flag_and_their_version() {
    for database in databases().await {
        let sql = r#"INSERT INTO audit (tenant, project, environment, at_ms, actor, action, subject, detail) VALUES
                   ('t', 't/p', 'e', 1, 'a', 'flag.put', 'f', '{"version":"1.7"}'),
                   ('t', 't/p', 'e', 1, 'a', 'segment.put', 'f', '{}'),
                   ('t', 't/p', 'e', 1, 'fuse', 'fuse.transition', 'f', '{}'),
                   ('t', NULL, NULL, 1, 'a', 'project_flag.put', 'f', '{}'),
                   ('t', 't/p', 'e', 1, 'a', 'environment.revert', 'f', '{}'),
                   ('t', 't/p', 'f', 1, 'a', 'environment.revert', 'f', '{}')"#;
        let store = upgraded(&database, 13, sql).await;
        let mut reader = store.read().await.unwrap();
        let sql = "SELECT audit_id FROM audit_flags WHERE tenant = 't' AND flag = 'f' ORDER BY audit_id";
        let rows = sql::query(sql).fetch_all(&mut reader).await.unwrap();
        let found: Vec<i64> = rows.iter().map(|row| row.get(0).unwrap()).collect();
        assert_eq!(found, [1, 3, 4, 5]);
        let (scope, version) = (Scope::parse("t/p/e").unwrap(), SnapshotVersion { epoch: 1, seq: 7 });
        let entry = audit::of_version(&mut reader, &scope, version).await.unwrap();
        assert_eq!(entry.map(|entry| entry.audit_id), Some(1));
    }
}
