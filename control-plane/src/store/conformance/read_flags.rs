//! Flags that were read before: whoever reads them again gets what is stored, and parses only what is new.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::store::read_flags::ReadFlags;
use crate::store::{flags, sql};

type ByKey = BTreeMap<String, Arc<FlagWire>>;

async fn read(known: &ReadFlags, conn: &mut Connection, at: &Scope) -> ByKey {
    let read = known.read(conn, at).await.unwrap();
    read.into_iter().map(|flag| (flag.key.clone(), flag)).collect()
}

/// Whether both times it was the same one, and not only an equal one.
fn is_one(key: &str, left: &ByKey, right: &ByKey) -> bool {
    Arc::ptr_eq(&left[key], &right[key])
}

#[tokio::test]
async fn what_is_read_again_is_what_is_stored_and_only_what_is_new_is_parsed() {
    for (_database, store, mut tx) in worlds().await {
        let (known, at) = (store.read_flags(), scope("t/p/e"));
        for key in ["a", "b", "c"] {
            flags::put(&mut tx, &at, &flag(key), NOW).await.unwrap();
        }
        let first = read(known, &mut tx, &at).await;
        assert_eq!(first.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(*first["b"], flag("b"));
        tx.commit().await.unwrap();

        // What is undone was read meanwhile, and is forgotten with it.
        let mut tx = store.write(Lock::Keys).await.unwrap();
        let off = FlagWire { enabled: false, ..flag("b") };
        flags::put(&mut tx, &at, &off, NOW).await.unwrap();
        flags::delete(&mut tx, &at, "c").await.unwrap();
        let second = read(known, &mut tx, &at).await;
        assert_eq!(second.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert!(!second["b"].enabled && is_one("a", &first, &second));
        tx.rollback().await.unwrap();

        let mut tx = store.write(Lock::Keys).await.unwrap();
        let third = read(known, &mut tx, &at).await;
        assert_eq!(third, first);
        assert!(is_one("a", &first, &third) && !is_one("b", &first, &third), "it was another one meanwhile");
        assert!(is_one("b", &third, &read(known, &mut tx, &at).await));

        // One that cannot be read fails its environment, as always, and nothing of it stays.
        let sql = "UPDATE flags SET body = '{' WHERE flag = $1";
        sql::query(sql).bind("a").execute(&mut tx).await.unwrap();
        assert!(known.read(&mut tx, &at).await.is_err());
        tx.rollback().await.unwrap();
        let mut conn = store.read().await.unwrap();
        assert_eq!(read(known, &mut conn, &at).await, first);
    }
}

#[tokio::test]
async fn environments_are_told_apart_and_the_few_that_were_read_last_are_remembered() {
    for (_database, store, mut tx) in worlds().await {
        let known = store.read_flags();
        let places: Vec<Scope> = (0..5).map(|n| scope(&format!("t/p/e{n}"))).collect();
        for (n, place) in places.iter().enumerate() {
            make(&mut tx, &place.to_string()).await;
            let own = FlagWire { enabled: n % 2 == 0, ..flag("f") };
            flags::put(&mut tx, place, &own, NOW).await.unwrap();
        }
        let mut first = Vec::new();
        for place in &places {
            first.push(read(known, &mut tx, place).await);
        }
        for (n, (place, first)) in places.iter().zip(&first).enumerate().rev() {
            let again = read(known, &mut tx, place).await;
            assert_eq!(again, *first);
            assert_eq!(is_one("f", first, &again), n > 0, "e{n}");
        }
    }
}
