//! What is measured: batches, usage, the quarantine and its balance, verdicts.

use std::collections::BTreeMap;

use flagfuse_shared::contract::fault::EventFault;
use flagfuse_shared::ids::{FlagKey, UnixMillis};
use serde_json::json;

use super::super::batches::Progress;
use super::super::quarantine::{Balance, ClaimedPlace};
use super::super::verdicts::NewVerdict;
use super::super::{Connection, batches, buffers, metrics_seen, quarantine, sql, usage, verdicts};
use super::{NOW, scope, worlds};
use crate::model::verdict::{Decision, Reason, Verdict};

#[tokio::test]
async fn a_batch_is_begun_once_and_goes_on_where_it_was() {
    for (_database, _store, mut tx) in worlds().await {
        let (t, name) = (scope("t/p/e").tenant, ("buffer", 7));
        let progress = |position, failures, is_new| Progress { position, failures, is_new };
        assert_eq!(batches::begin(&mut tx, &t, name, 9, NOW).await.unwrap(), progress(0, 0, true));
        batches::advance(&mut tx, &t, name, 4).await.unwrap();
        batches::fail(&mut tx, &t, name).await.unwrap();
        assert_eq!(batches::begin(&mut tx, &t, name, 9, NOW).await.unwrap(), progress(4, 1, false));
        batches::advance(&mut tx, &t, name, 5).await.unwrap();
        assert_eq!(batches::begin(&mut tx, &t, name, 9, NOW).await.unwrap(), progress(5, 0, false));
        let other = scope("u/p/e").tenant;
        assert!(batches::begin(&mut tx, &other, name, 9, NOW).await.unwrap().is_new);
        batches::begin(&mut tx, &t, ("buffer", 8), 9, NOW).await.unwrap();
        // The newest of each buffer stays, however old.
        assert_eq!(batches::prune(&mut tx, NOW.plus(1), 9).await.unwrap(), 1);
        assert_eq!(batches::prune(&mut tx, NOW.plus(1), 9).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn usage_adds_up_by_the_hour_and_stays_at_the_largest_number() {
    const HOUR_MS: u64 = 3_600_000;
    for (_database, _store, mut tx) in worlds().await {
        let (scope, f) = (scope("t/p/e"), FlagKey::parse("f").unwrap());
        for (hour, word, count) in [
            (1, "yes", 3),
            (1, "yes", 4),
            (1, "no", 1),
            (2, "yes", u64::MAX),
            (2, "yes", 5),
            (3, "variant/on", 6),
        ] {
            let counts = BTreeMap::from([(word.to_owned(), count)]);
            let counts = BTreeMap::from([((f.clone(), UnixMillis(hour * HOUR_MS)), counts)]);
            usage::add(&mut tx, &scope, &counts).await.unwrap();
        }
        let hours = async |tx: &mut Connection, from, before, limit| {
            let between = (UnixMillis(from), UnixMillis(before));
            let rows = usage::hours_between(tx, &scope, "f", between, limit).await.unwrap();
            rows.into_iter().map(|row| (row.hour_ms.0 / HOUR_MS, row.served)).collect::<Vec<_>>()
        };
        let served =
            |rows: &[(&str, u64)]| rows.iter().map(|&(word, count)| (word.to_owned(), count)).collect();
        let one = (1, served(&[("no", 1), ("yes", 7)]));
        let two = (2, served(&[("yes", i64::MAX as u64)]));
        let three = (3, served(&[("variant/on", 6)]));
        assert_eq!(hours(&mut tx, 0, u64::MAX, 9).await, [one.clone(), two.clone(), three.clone()]);
        assert_eq!(hours(&mut tx, HOUR_MS + 1, u64::MAX, 9).await, [two.clone(), three]);
        assert_eq!(hours(&mut tx, 0, 3 * HOUR_MS, 1).await, [two]);
        assert_eq!(hours(&mut tx, 0, 2 * HOUR_MS, 1).await, [one]);
        assert_eq!(usage::prune(&mut tx, UnixMillis(2 * HOUR_MS), 1).await.unwrap(), 1);
        assert_eq!(usage::prune(&mut tx, UnixMillis(2 * HOUR_MS), 9).await.unwrap(), 1);
        assert_eq!(hours(&mut tx, 0, 3 * HOUR_MS, 9).await.len(), 1);
    }
}

#[tokio::test]
async fn what_nobody_could_use_is_kept_with_its_balance_whatever_it_claims() {
    const MINUTE_MS: u64 = 60_000;
    const DAY_MS: u64 = 24 * 3_600_000;
    for (_database, _store, mut tx) in worlds().await {
        let place = ClaimedPlace { tenant: "t", project: "no\0such/project", environment: "" };
        let fault = EventFault::in_field("id", "id is \"\0\"");
        for raw in ["1", "2\0", "3", "1"] {
            quarantine::insert(&mut tx, place, &fault, raw, NOW).await.unwrap();
        }
        let all = quarantine::newest(&mut tx, place, 9).await.unwrap();
        assert_eq!(all.iter().map(|row| row.events).collect::<Vec<_>>(), [1, 1, 2]);
        let page = quarantine::page(&mut tx, place, all[0].quarantine_id, 1).await.unwrap();
        assert_eq!(page.iter().map(|row| row.quarantine_id).collect::<Vec<_>>(), [all[1].quarantine_id]);
        quarantine::insert(&mut tx, place, &fault, "1", NOW.plus(5)).await.unwrap();
        assert_eq!(quarantine::prune(&mut tx, NOW.plus(1), 9).await.unwrap(), 2, "not what came again");
        let counts = |n| Balance { received: 3 * n, stored: n, duplicate: n, quarantined: n };
        for (minute, n) in [(0, 1), (1, 2), (1, 3), (DAY_MS / MINUTE_MS, 4)] {
            quarantine::add_balance(&mut tx, place, counts(n), UnixMillis(minute * MINUTE_MS)).await.unwrap();
        }
        let minutes = async |tx: &mut Connection, before| {
            let rows = quarantine::balance_page(tx, place, UnixMillis(before), 9).await.unwrap();
            rows.into_iter().map(|row| (row.minute_ms.0 / MINUTE_MS, row.balance.stored)).collect::<Vec<_>>()
        };
        assert_eq!(minutes(&mut tx, u64::MAX).await, [(DAY_MS / MINUTE_MS, 4), (1, 5), (0, 1)]);
        assert_eq!(minutes(&mut tx, MINUTE_MS).await, [(0, 1)]);
        quarantine::coarsen_balance(&mut tx, UnixMillis(DAY_MS)).await.unwrap();
        quarantine::coarsen_balance(&mut tx, UnixMillis(DAY_MS)).await.unwrap();
        assert_eq!(minutes(&mut tx, u64::MAX).await, [(DAY_MS / MINUTE_MS, 4), (0, 6)]);
        assert_eq!(quarantine::balance_total(&mut tx, "t").await.unwrap(), counts(10));
        assert_eq!(quarantine::balance_total(&mut tx, "u").await.unwrap(), Balance::default());
    }
}

#[tokio::test]
async fn metric_names_buffers_and_verdicts_are_kept_as_long_as_they_are_of_use() {
    for (_database, _store, mut tx) in worlds().await {
        let scope = scope("t/p/e");
        let counts = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 2)).collect();
        metrics_seen::add(&mut tx, &scope, &counts(&["b", "a-b", "ab"]), NOW).await.unwrap();
        metrics_seen::add(&mut tx, &scope, &counts(&["b"]), NOW.plus(9)).await.unwrap();
        let page = metrics_seen::page(&mut tx, &scope, UnixMillis(0), Some("a-b"), 1).await.unwrap();
        assert_eq!((page[0].metric.as_deref(), page.len()), (Some("ab"), 1));
        let page = metrics_seen::page(&mut tx, &scope, NOW.plus(1), None, 9).await.unwrap();
        assert_eq!((page[0].outcomes, page[0].first_ms, page[0].last_ms), (4, NOW, NOW.plus(9)));
        assert_eq!(metrics_seen::prune(&mut tx, NOW.plus(9)).await.unwrap(), 2);

        assert_eq!(buffers::lag_ms(&mut tx, &scope, NOW).await.unwrap(), 0);
        buffers::put(&mut tx, &scope, "one", Some(NOW.minus(7)), NOW).await.unwrap();
        buffers::put(&mut tx, &scope, "two", Some(NOW.minus(3)), NOW).await.unwrap();
        assert_eq!(buffers::lag_ms(&mut tx, &scope, NOW).await.unwrap(), 7);
        buffers::put(&mut tx, &scope, "one", None, NOW).await.unwrap();
        assert_eq!(buffers::lag_ms(&mut tx, &scope, NOW).await.unwrap(), 3);
        assert_eq!(buffers::prune(&mut tx, NOW.plus(2 * 24 * 3_600_000)).await.unwrap(), 2);

        for number in 1..=1_040 {
            let verdict = Verdict {
                decision: Decision::Hold,
                reason: Reason::Blind,
                evidence: Vec::new(),
                ingest_lag_ms: u64::MAX,
                summary: format!("größe {number}"),
                ramp: None,
                slices: Vec::new(),
            };
            let basis = json!({ "closed_tick": number }).to_string().into();
            let new = [NewVerdict { flag: "f", phase: 1, verdict: &verdict, basis }];
            verdicts::insert(&mut tx, &scope, &new, NOW.plus(number * 10_000)).await.unwrap();
        }
        let sql = "SELECT COUNT(*) FROM verdicts";
        let count: i64 = sql::query(sql).fetch_one(&mut tx).await.unwrap().get(0).unwrap();
        assert!((1_000..=1_016).contains(&count), "{count}");
        let said = verdicts::newest_of(&mut tx, &scope, &["f", "g"]).await.unwrap();
        assert_eq!(said.len(), 1);
        assert_eq!((said["f"].at_ms, said["f"].reason.as_str()), (NOW.plus(10_400_000), "blind"));
        let recorded = verdicts::recorded(&mut tx, &scope, "f", 0, 2_000).await.unwrap();
        assert_eq!(i64::try_from(recorded.len()).unwrap(), count);
        let last = recorded.last().unwrap();
        assert_eq!((last.basis.as_deref(), &*last.evidence), (Some(r#"{"closed_tick":1040}"#), "[]"));
        let newest = verdicts::newest(&mut tx, &scope, "f", 2).await.unwrap();
        let page = verdicts::page(&mut tx, &scope, "f", newest[1].verdict_id, 1).await.unwrap();
        let summaries: Vec<_> = newest.iter().chain(&page).map(|row| row.summary.as_str()).collect();
        assert_eq!(summaries, ["größe 1040", "größe 1039", "größe 1038"]);
        assert_eq!((newest[0].ingest_lag_ms, newest[0].reason.as_str()), (i64::MAX as u64, "blind"));
    }
}
