//! What people and other systems are to hear of: written with what happened, listed, and kept within bounds.

use flagfuse_shared::ids::UnixMillis;
use serde_json::json;

use super::super::notices::NOTICE_COUNT_KEPT;
use super::super::testing::{number, script};
use super::super::{Lock, notices};
use super::{NOW, make, scope, worlds};

#[tokio::test]
async fn notices_are_listed_by_environment_the_newest_first_and_wait_until_they_are_delivered() {
    for (_database, store, mut tx) in worlds().await {
        make(&mut tx, "t/p/other").await;
        let (own, other) = (scope("t/p/e"), scope("t/p/other"));
        for (at, scope) in [(1, &own), (2, &other), (3, &own), (4, &own)] {
            let body = json!({ "at": at, "text": "\u{0}ä" });
            notices::insert(&mut tx, scope, "fuse.open", "f", &body, UnixMillis(at)).await.unwrap();
        }
        tx.commit().await.unwrap();
        let mut tx = store.write(Lock::Environment(&own)).await.unwrap();
        let first = notices::page(&mut tx, &own, i64::MAX, 2).await.unwrap();
        let found: Vec<_> = first.iter().map(|row| (row.at_ms.0, row.body["at"].clone())).collect();
        assert_eq!(found, [(4, json!(4)), (3, json!(3))]);
        assert_eq!((first[0].kind.as_str(), first[0].subject.as_str()), ("fuse.open", "f"));
        assert_eq!(first[0].delivered_ms, None);
        let rest = notices::page(&mut tx, &own, first[1].notice_id, 9).await.unwrap();
        assert_eq!(rest.iter().map(|row| row.at_ms.0).collect::<Vec<_>>(), [1]);
        script(&mut tx, "UPDATE notices SET delivered_ms = 7 WHERE at_ms = 4").await;
        let newest = notices::page(&mut tx, &own, i64::MAX, 1).await.unwrap();
        assert_eq!(newest[0].delivered_ms, Some(UnixMillis(7)));
        // What is taken back was told to nobody.
        notices::insert(&mut tx, &own, "fuse.open", "f", &json!({}), NOW).await.unwrap();
        tx.rollback().await.unwrap();
        let kept = notices::page(&mut store.read().await.unwrap(), &own, i64::MAX, 9).await.unwrap();
        assert_eq!(kept.len(), 3);
    }
}

#[tokio::test]
async fn old_notices_go_and_so_do_those_beyond_the_bound_but_never_the_newest() {
    for (_database, _store, mut tx) in worlds().await {
        make(&mut tx, "t/p/other").await;
        script(
            &mut tx,
            "INSERT INTO notices (project, environment, at_ms, kind, subject, body)
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10003)
             SELECT 't/p', 'e', 100, 'k.w', 'f', '{}' FROM n",
        )
        .await;
        for at in [1, 2] {
            notices::insert(&mut tx, &scope("t/p/other"), "k.w", "f", &json!({}), UnixMillis(at))
                .await
                .unwrap();
        }
        let highest = number(&mut tx, "SELECT MAX(notice_id) FROM notices").await;
        assert_eq!(notices::prune(&mut tx, UnixMillis(1), 2).await.unwrap(), 2, "no more than it may");
        assert_eq!(notices::prune(&mut tx, UnixMillis(1), 9).await.unwrap(), 1);
        let own = "SELECT COUNT(*) FROM notices WHERE environment = 'e'";
        assert_eq!(number(&mut tx, own).await, i64::from(NOTICE_COUNT_KEPT));
        // By age all but one of each environment.
        assert_eq!(notices::prune(&mut tx, UnixMillis(101), 20_000).await.unwrap(), 10_000);
        assert_eq!(number(&mut tx, "SELECT COUNT(*) FROM notices").await, 2);
        assert_eq!(number(&mut tx, "SELECT MAX(notice_id) FROM notices").await, highest);
    }
}
