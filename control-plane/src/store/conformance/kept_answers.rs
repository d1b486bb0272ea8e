//! Requests that are known by a key: one attempt at a time, done once, answered alike, forgotten after a day, and never more
//! of them than the bound.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{TenantKey, UnixMillis};

use super::super::kept_answers::{
    ATTEMPT_MS, Begun, Claim, KEPT_COUNT_MAX, KEPT_MS, RequestName, begin, done, forget, keep, prune,
};
use super::super::testing::{number, script};
use super::{NOW, worlds};

fn claim(caller: &str, key: &str, attempt: &str) -> Claim {
    let tenant = TenantKey::parse("t").unwrap();
    let name = RequestName { tenant, caller: caller.to_owned(), key: Digest::of(key.as_bytes()) };
    Claim { name, attempt: attempt.to_owned() }
}

#[tokio::test]
async fn a_request_is_done_by_one_attempt_and_answered_alike_ever_after() {
    for (_database, _store, mut tx) in worlds().await {
        let (asked, other) = (Digest::of(b"asked"), Digest::of(b"other"));
        let (first, second) = (claim("a", "k", "1"), claim("a", "k", "2"));
        assert_eq!(begin(&mut tx, &first, &asked, NOW).await.unwrap(), Begun::Ours);
        assert_eq!(begin(&mut tx, &second, &asked, NOW).await.unwrap(), Begun::InProgress);
        assert_eq!(begin(&mut tx, &second, &other, NOW).await.unwrap(), Begun::Other);
        // A key is its caller's.
        assert_eq!(begin(&mut tx, &claim("b", "k", "3"), &other, NOW).await.unwrap(), Begun::Ours);
        // What did nothing may come again.
        forget(&mut tx, &first).await.unwrap();
        assert_eq!(begin(&mut tx, &first, &asked, NOW).await.unwrap(), Begun::Ours);
        // An attempt that is not heard of is taken over, and may not do it any more.
        let later = NOW.plus(ATTEMPT_MS);
        assert_eq!(begin(&mut tx, &second, &asked, later).await.unwrap(), Begun::Ours);
        assert!(!done(&mut tx, &first, later).await.unwrap());
        assert!(done(&mut tx, &second, later).await.unwrap());
        assert!(!done(&mut tx, &second, later).await.unwrap(), "once");
        forget(&mut tx, &second).await.unwrap();
        let third = claim("a", "k", "4");
        assert_eq!(begin(&mut tx, &third, &asked, later).await.unwrap(), Begun::InProgress);
        let much_later = later.plus(ATTEMPT_MS);
        assert_eq!(begin(&mut tx, &third, &asked, much_later).await.unwrap(), Begun::Done);
        keep(&mut tx, &first, Some(b"of another"), much_later).await.unwrap();
        keep(&mut tx, &second, Some(b"sealed"), much_later).await.unwrap();
        let kept = Begun::Answered(b"sealed".to_vec());
        assert_eq!(begin(&mut tx, &third, &asked, much_later).await.unwrap(), kept);
        assert_eq!(begin(&mut tx, &third, &other, much_later).await.unwrap(), Begun::Other);
        // A clock that was set back changes nothing of that.
        assert_eq!(begin(&mut tx, &third, &asked, UnixMillis(0)).await.unwrap(), kept);
        // After a day it is as if nobody had asked.
        let next_day = later.plus(KEPT_MS);
        assert_eq!(begin(&mut tx, &third, &other, next_day).await.unwrap(), Begun::Ours);
        assert!(done(&mut tx, &third, next_day).await.unwrap());
    }
}

#[tokio::test]
async fn a_tenant_has_no_more_keys_than_the_bound_and_old_ones_go() {
    for (_database, _store, mut tx) in worlds().await {
        script(
            &mut tx,
            "INSERT INTO kept_answers (tenant, caller, name, asked, attempt, began_ms)
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
             SELECT 't', 'a', CAST(i AS TEXT), 'x', 'x', i FROM n",
        )
        .await;
        let (new, asked) = (claim("b", "k", "1"), Digest::of(b"asked"));
        assert_eq!(begin(&mut tx, &new, &asked, NOW).await.unwrap(), Begun::Full);
        assert_eq!(prune(&mut tx, UnixMillis(101), 60).await.unwrap(), 60, "no more than it may");
        assert_eq!(prune(&mut tx, UnixMillis(101), 60).await.unwrap(), 40);
        let kept = number(&mut tx, "SELECT COUNT(*) FROM kept_answers").await;
        assert_eq!(kept, i64::from(KEPT_COUNT_MAX) - 100);
        assert_eq!(begin(&mut tx, &new, &asked, NOW).await.unwrap(), Begun::Ours);
    }
}
