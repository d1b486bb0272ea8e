//! Lists of rows, searched and in every order: each row once, whatever the size of a page.

use flagfuse_shared::ids::{ProjectKey, TenantKey, UnixMillis};

use super::super::listing::{Listing, Order, Stand, TOTAL_MAX, holds};
use super::super::testing::script;
use super::super::{Connection, flags, project_flags};
use super::{flag, scope, worlds};

/// All pages of so many rows each.
async fn keys(conn: &mut Connection, q: Option<&str>, order: Order, limit: u32) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), None::<Stand>);
    loop {
        let listing = Listing { q, order, after: after.as_ref(), limit };
        let page = flags::listed(conn, &scope("t/p/e"), &listing).await.unwrap();
        let Some(last) = page.last() else { return found };
        after = Some(Stand { at: last.updated_ms, key: last.wire.key.clone() });
        found.extend(page.into_iter().map(|row| row.wire.key));
    }
}

#[tokio::test]
async fn a_list_is_searched_and_ordered_by_key_and_by_time() {
    for (_database, _store, mut tx) in worlds().await {
        for (key, at) in [("b", 3), ("A_b", 1), ("a-b", 2), ("ab", 3), ("Ä", 5), ("c", 1)] {
            flags::put(&mut tx, &scope("t/p/e"), &flag(key), UnixMillis(at)).await.unwrap();
        }
        let by_key = ["A_b", "a-b", "ab", "b", "c", "Ä"];
        let by_time = ["A_b", "c", "a-b", "ab", "b", "Ä"];
        let reversed = |keys: [&'static str; 6]| keys.into_iter().rev().collect::<Vec<_>>();
        for limit in [1, 2, 4, 9] {
            assert_eq!(keys(&mut tx, None, Order::Key, limit).await, by_key);
            assert_eq!(keys(&mut tx, None, Order::KeyDown, limit).await, reversed(by_key));
            assert_eq!(keys(&mut tx, None, Order::Time, limit).await, by_time);
            assert_eq!(keys(&mut tx, None, Order::TimeDown, limit).await, reversed(by_time));
            assert_eq!(keys(&mut tx, Some("B"), Order::TimeDown, limit).await, ["b", "ab", "a-b", "A_b"]);
        }
        // What would mean something to the database means itself, and the same as where it is not asked.
        for (q, expected) in
            [("_", &["A_b"][..]), ("%", &[]), ("\\", &[]), ("a_", &["A_b"]), ("ä", &[]), ("Ä", &["Ä"])]
        {
            assert_eq!(keys(&mut tx, Some(q), Order::Key, 2).await, expected, "{q}");
            let here: Vec<_> = by_key.into_iter().filter(|key| holds(key, q)).collect();
            assert_eq!(here, expected, "{q}");
        }
    }
}

#[tokio::test]
async fn a_total_is_counted_up_to_its_bound() {
    for (_database, _store, mut tx) in worlds().await {
        script(
            &mut tx,
            "INSERT INTO project_flags (project, flag, revision, body, updated_ms)
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
             SELECT 't/p', 'f' || i, 1, '{}', i FROM n",
        )
        .await;
        let (tenant, project) = (TenantKey::parse("t").unwrap(), ProjectKey::parse("p").unwrap());
        for (q, expected) in [(None, TOTAL_MAX + 1), (Some("f99"), 11), (Some("g"), 0)] {
            let listing = Listing { q, ..Listing::by_key(None, 5) };
            let total = project_flags::total(&mut tx, &tenant, &project, &listing).await.unwrap();
            assert_eq!(total, expected, "{q:?}");
        }
    }
}
