//! Races of two transactions: who waits for whom, and what they see of each other.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::super::quarantine::ClaimedPlace;
use super::super::testing::{databases, number, postgres, script};
use super::super::{Lock, Store, StoreError, flags, lock, scopes};
use super::{NOW, flag, make, scope};

/// Long enough for whoever waits for nobody, on a machine that is busy.
const BOUND: Duration = Duration::from_secs(30);
/// After this, whoever has not come through is waiting.
const MOMENT: Duration = Duration::from_millis(100);

/// A lock by the names of what it is of, so that a task can own it.
#[derive(Debug, Clone, Copy)]
enum Of {
    Keys,
    Tenant(&'static str),
    Project(&'static str),
    Environment(&'static str),
    Environments(&'static [&'static str]),
    Ingestion(&'static str),
    Housekeeping,
}

impl Of {
    /// Begins under the lock, runs `then` and commits.
    async fn hold<T>(self, store: &Store, then: impl AsyncFnOnce(&mut super::Connection) -> T) -> T {
        let named = |text: &str| scope(&format!("t/{text}"));
        let mut tx = match self {
            Self::Keys => store.write(Lock::Keys).await,
            Self::Tenant(tenant) => store.write(Lock::Tenant(&scope(&format!("{tenant}/p/e")).tenant)).await,
            Self::Project(project) => {
                let scope = named(&format!("{project}/e"));
                store.write(Lock::Project(&scope.tenant, &scope.project)).await
            }
            Self::Environment(name) => store.write(Lock::Environment(&named(name))).await,
            Self::Environments(names) => {
                let scopes: Vec<_> = names.iter().map(|name| named(name)).collect();
                store.write(Lock::Environments(&scopes)).await
            }
            Self::Ingestion(name) => {
                let (project, environment) = name.split_once('/').unwrap();
                let place = ClaimedPlace { tenant: "t", project, environment };
                store.write_patiently(Lock::Ingestion(place)).await
            }
            Self::Housekeeping => store.write_patiently(Lock::Housekeeping).await,
        }
        .unwrap();
        let answer = then(&mut tx).await;
        tx.commit().await.unwrap();
        answer
    }
}

const COUNT: &str = "SELECT COUNT(*) FROM migrations WHERE migration > 1000";

/// Adds a row when there is none; whether it was the one that did.
async fn claim(store: &Store, of: Of) -> bool {
    let check_then_write = async |conn: &mut super::Connection| {
        let is_free = number(conn, COUNT).await == 0;
        if is_free {
            script(conn, "INSERT INTO migrations VALUES (1001)").await;
        }
        is_free
    };
    of.hold(store, check_then_write).await
}

#[tokio::test]
async fn whoever_names_what_another_holds_waits_and_sees_what_that_one_has_committed() {
    let rows = [
        (Of::Environment("p/a"), Of::Environment("p/a")),
        (Of::Environment("p/a"), Of::Environments(&["q/b", "p/a"])),
        (Of::Environments(&["q/b", "p/a"]), Of::Environment("p/a")),
        (Of::Project("p"), Of::Environment("p/a")),
        (Of::Environment("p/a"), Of::Project("p")),
        (Of::Tenant("t"), Of::Environment("p/a")),
        (Of::Environment("p/a"), Of::Tenant("t")),
        (Of::Keys, Of::Environment("p/a")),
        (Of::Ingestion("p/a"), Of::Keys),
        (Of::Ingestion("p/a"), Of::Ingestion("p/a")),
        (Of::Ingestion("p/a"), Of::Environment("p/a")),
        (Of::Environment("p/a"), Of::Ingestion("p/a")),
        (Of::Housekeeping, Of::Housekeeping),
    ];
    for database in databases().await {
        let store = database.store().await;
        for (first, second) in rows {
            let other = store.clone();
            let (waiting,) = first
                .hold(&store, async |conn| {
                    assert_eq!(number(conn, COUNT).await, 0);
                    let mut waiting = tokio::spawn(async move { claim(&other, second).await });
                    let waits = timeout(MOMENT, &mut waiting).await.is_err();
                    assert!(waits, "{second:?} does not wait for {first:?}");
                    script(conn, "INSERT INTO migrations VALUES (1001)").await;
                    (waiting,)
                })
                .await;
            let has_claimed = timeout(BOUND, waiting).await.expect("it comes through").unwrap();
            assert!(!has_claimed, "{second:?} overlooked what {first:?} wrote");
            Of::Keys
                .hold(&store, async |conn| {
                    script(conn, "DELETE FROM migrations WHERE migration > 1000").await;
                })
                .await;
        }
    }
}

#[tokio::test]
async fn on_postgres_whoever_names_something_else_does_not_wait() {
    let Some(database) = postgres().await else { return };
    let store = database.store().await;
    for (first, second) in [
        (Of::Environment("p/a"), Of::Environment("p/b")),
        (Of::Ingestion("p/a"), Of::Environment("p/b")),
        (Of::Ingestion("p/a"), Of::Ingestion("p/b")),
        (Of::Project("p"), Of::Environment("q/a")),
        (Of::Tenant("t"), Of::Tenant("u")),
        (Of::Housekeeping, Of::Environment("p/a")),
        (Of::Environments(&["p/a", "q/b"]), Of::Environment("p/b")),
    ] {
        first
            .hold(&store, async |_| {
                let through = timeout(BOUND, second.hold(&store, async |_| ())).await;
                assert!(through.is_ok(), "{second:?} waits for {first:?}");
            })
            .await;
    }
}

#[tokio::test]
async fn a_kill_waits_for_one_slice_of_events_however_many_stand_in_line() {
    for database in databases().await {
        let store = database.store().await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let begin = |of: Of, name: &'static str| -> JoinHandle<()> {
            let (store, order) = (store.clone(), Arc::clone(&order));
            tokio::spawn(async move { of.hold(&store, async |_| order.lock().unwrap().push(name)).await })
        };
        let tasks = Of::Ingestion("p/a")
            .hold(&store, async |_| {
                let mut tasks =
                    vec![begin(Of::Ingestion("p/a"), "slice"), begin(Of::Ingestion("p/a"), "slice")];
                tokio::time::sleep(MOMENT).await;
                database.until_waiting(2).await;
                let mut kill = begin(Of::Environment("p/a"), "kill");
                assert!(timeout(MOMENT, &mut kill).await.is_err());
                // On a busy machine a moment is too short to get in line.
                database.until_waiting(3).await;
                tasks.push(kill);
                tasks
            })
            .await;
        for task in tasks {
            timeout(BOUND, task).await.expect("everybody comes through").unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["kill", "slice", "slice"]);
    }
}

#[tokio::test]
async fn no_write_of_many_is_lost() {
    const WRITER_COUNT: u64 = 20;
    for database in databases().await {
        let store = database.store().await;
        Of::Keys.hold(&store, async |conn| make(conn, "t/p/a").await).await;
        let mut writers = JoinSet::new();
        for _ in 0..WRITER_COUNT {
            let store = store.clone();
            writers.spawn(async move {
                let write = async |conn: &mut super::Connection| {
                    let (scope, wire) = (scope("t/p/a"), flag("f"));
                    let before = flags::flag(conn, &scope, "f").await.unwrap().map_or(0, |row| row.revision);
                    let revision = flags::put(conn, &scope, &wire, NOW).await.unwrap();
                    assert_eq!(revision, before + 1, "somebody else wrote in between");
                    scopes::bump_version(conn, &scope).await.unwrap();
                };
                Of::Environment("p/a").hold(&store, write).await;
            });
        }
        timeout(BOUND, writers.join_all()).await.expect("all come through");
        let environment =
            scopes::environment(&mut store.read().await.unwrap(), &scope("t/p/a")).await.unwrap();
        assert_eq!(environment.unwrap().version.seq, WRITER_COUNT);
    }
}

#[tokio::test]
async fn what_is_read_through_one_view_is_of_one_moment() {
    for database in databases().await {
        let store = database.store().await;
        let mut view = store.read().await.unwrap();
        assert_eq!(number(&mut view, COUNT).await, 0);
        assert!(claim(&store, Of::Keys).await);
        assert_eq!(number(&mut view, COUNT).await, 0, "the commit came in between");
        drop(view);
        assert_eq!(number(&mut store.read().await.unwrap(), COUNT).await, 1);
    }
}

#[tokio::test]
async fn an_uncommitted_write_leaves_no_trace() {
    for database in databases().await {
        let store = database.store().await;
        let mut tx = store.write(Lock::Keys).await.unwrap();
        script(&mut tx, "INSERT INTO migrations VALUES (1001)").await;
        drop(tx);
        let mut tx = store.write(Lock::Keys).await.unwrap();
        script(&mut tx, "INSERT INTO migrations VALUES (1001)").await;
        tx.rollback().await.unwrap();
        assert_eq!(number(&mut store.read().await.unwrap(), COUNT).await, 0);
    }
}

#[tokio::test]
async fn on_postgres_what_passes_is_told_from_what_is_wrong() {
    let Some(database) = postgres().await else { return };
    let store = database.store().await;
    let (level, name) = ("environments", "/t/p/a");
    Of::Environment("p/a")
        .hold(&store, async |_| {
            let mut other = store.write(Lock::Housekeeping).await.unwrap();
            script(&mut other, "SET LOCAL lock_timeout = '1ms'").await;
            let taking = format!("SELECT pg_advisory_xact_lock({})", lock::number(level, name));
            let error = super::super::sql::composed(taking).execute(&mut other).await.unwrap_err();
            assert!(matches!(error, StoreError::Busy) && error.is_passing(), "{error:?}");
        })
        .await;
    let mut tx = store.write(Lock::Housekeeping).await.unwrap();
    let ending = "SELECT pg_terminate_backend(pg_backend_pid())";
    let error = super::super::sql::script(&mut tx, ending).await.unwrap_err();
    assert!(matches!(error, StoreError::Lost(_)) && error.is_passing(), "{error:?}");
    drop(tx);
    let error =
        super::super::sql::script(&mut store.write(Lock::Housekeeping).await.unwrap(), "SELECT 1 / 0").await;
    assert!(matches!(error, Err(StoreError::Sql(_))), "{error:?}");
}
