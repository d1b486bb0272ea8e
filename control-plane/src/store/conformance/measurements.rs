//! What is measured: batches, events, facts and tallies, usage, the quarantine and its balance, verdicts.

use std::collections::BTreeMap;

use flagfuse_shared::contract::fault::EventFault;
use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::{FlagKey, UnixMillis};

use super::super::batches::Progress;
use super::super::events::{Novelty, UnitsSeen};
use super::super::quarantine::{Balance, ClaimedPlace};
use super::super::tallies::EnrolmentRange;
use super::super::testing::script;
use super::super::verdicts::NewVerdict;
use super::super::{
    Connection, StoreError, batches, buffers, events, metrics_seen, phases, quarantine, sql, tallies, usage,
    verdicts,
};
use super::definitions::phase;
use super::{NOW, scope, worlds};
use crate::model::aggregate::{Activity, Contribution, Counted, Counting, Enrolment, Matching, Tallies};
use crate::model::metric::USAGE_METRIC;
use crate::model::policy::OutcomeWindow;
use crate::model::verdict::{Decision, Reason, Verdict};

const UNIT: [u8; 16] = [0xff; 16];

fn activity(metric: &str, at_ms: u64, value: Option<f64>) -> Activity {
    Activity { metric: metric.to_owned(), at_ms: UnixMillis(at_ms), value }
}

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
async fn an_event_is_stored_once_and_other_content_under_its_id_is_a_conflict() {
    for (_database, _store, mut tx) in worlds().await {
        let scope = scope("t/p/e");
        let store = async |tx: &mut Connection, id: &str, content: u8, activity: Activity| {
            events::insert_event(tx, &scope, id, [content; 16], UNIT, &activity).await.unwrap()
        };
        let latency = |value| activity("latency", 5, Some(value));
        assert_eq!(store(&mut tx, "a\0", 1, latency(0.1)).await, Novelty::New);
        assert_eq!(store(&mut tx, "a\0", 1, latency(0.1)).await, Novelty::Same);
        assert_eq!(store(&mut tx, "a\0", 2, latency(0.1)).await, Novelty::Conflict);
        assert_eq!(store(&mut tx, "b", 1, latency(0.2)).await, Novelty::New);
        assert_eq!(store(&mut tx, "c", 1, activity("", 6, None)).await, Novelty::New);
        assert_eq!(store(&mut tx, "d", 1, activity("click", 7, None)).await, Novelty::New);
        assert_eq!(store(&mut tx, "e", 1, activity(USAGE_METRIC, 8, None)).await, Novelty::New);
        let count =
            events::activity_count(&mut tx, &scope, UNIT, UnixMillis(5), UnixMillis(7)).await.unwrap();
        assert_eq!(count, 3, "from the first millisecond up to, not including, the last");
        let window = OutcomeWindow { after_ms: 0, within_ms: 100 };
        for (matching, counting, expected) in [
            (
                Matching::Named("latency".to_owned()),
                Counting::Values,
                Some((2, 0.1 + 0.2, 0.1 * 0.1 + 0.2 * 0.2)),
            ),
            (Matching::Named("latency".to_owned()), Counting::First, Some((1, 0.0, 0.0))),
            (Matching::Any, Counting::First, Some((1, 0.0, 0.0))),
            (
                Matching::NoneOf(vec!["latency".to_owned(), USAGE_METRIC.to_owned()]),
                Counting::Values,
                Some((1, 0.0, 0.0)),
            ),
            (Matching::NoneOf(vec![]), Counting::Values, Some((4, 0.1 + 0.2, 0.1 * 0.1 + 0.2 * 0.2))),
            (Matching::Named("never".to_owned()), Counting::Values, None),
        ] {
            let counted = Counted { metric: "m".to_owned(), matching, window, counting };
            let found = events::waiting(&mut tx, &scope, UNIT, UnixMillis(5), &counted).await.unwrap();
            let found = found.map(|found| (found.events, found.value_sum, found.value_sq_sum));
            assert_eq!(found, expected, "{counted:?}");
        }
        let seen = events::units_seen(&mut tx, &scope, UnixMillis(0)).await.unwrap();
        assert_eq!(seen, UnitsSeen { units: 1, oldest_ms: None });
        assert_eq!(events::prune(&mut tx, UnixMillis(7), 2).await.unwrap(), 2);
        assert_eq!(events::prune(&mut tx, UnixMillis(7), 2).await.unwrap(), 1);
        assert_eq!(events::novelty(&mut tx, &scope, "b", [1; 16]).await.unwrap(), Novelty::New);
        assert_eq!(events::novelty(&mut tx, &scope, "d", [1; 16]).await.unwrap(), Novelty::Same);
    }
}

#[tokio::test]
async fn facts_count_a_unit_once_and_tallies_add_up_by_arm() {
    for (_database, _store, mut tx) in worlds().await {
        let scope = scope("t/p/e");
        let phase_id = phases::begin(&mut tx, &scope, "f", phase()).await.unwrap().phase_id;
        let enrolment =
            |arm, first_ms| Enrolment { phase_id, arm, is_counted: true, first_ms: UnixMillis(first_ms) };
        let mut sums = Tallies::default();
        for (unit, arm) in [([1; 16], Arm::Exposed), ([2; 16], Arm::Exposed), ([3; 16], Arm::Control)] {
            let new = enrolment(arm, 60_000);
            events::insert_enrolment(&mut tx, unit, &new).await.unwrap();
            sums.count_enrolment(&new);
            assert_eq!(events::enrolment(&mut tx, unit, phase_id).await.unwrap(), Some(new));
            for counting in [Counting::Values, Counting::Values, Counting::First, Counting::First] {
                let metric = if counting == Counting::First { "conversion" } else { "latency" }.to_owned();
                let new_fact =
                    Contribution { metric, counting, events: 1, value_sum: 0.5, value_sq_sum: 0.25 };
                if let Some(fact) = events::add_fact(&mut tx, unit, phase_id, &new_fact).await.unwrap() {
                    sums.count(&new, &fact);
                }
            }
        }
        tallies::add(&mut tx, &sums).await.unwrap();
        tallies::add(&mut tx, &sums).await.unwrap();
        let range = |from, to| EnrolmentRange { from: UnixMillis(from), to: UnixMillis(to) };
        let reading = tallies::reading(&mut tx, phase_id, "latency", range(60_000, 60_001)).await.unwrap();
        assert_eq!((reading.exposed.units, reading.exposed.events, reading.exposed.value_sum), (4, 8, 4.0));
        assert_eq!((reading.control.units, reading.control.events, reading.control.value_sum), (2, 4, 2.0));
        let reading = tallies::reading(&mut tx, phase_id, "conversion", range(60_000, 60_001)).await.unwrap();
        assert_eq!((reading.exposed.units, reading.exposed.events), (4, 4));
        let outside = tallies::reading(&mut tx, phase_id, "latency", range(0, 60_000)).await.unwrap();
        assert_eq!((outside.exposed.units, outside.control.events), (0, 0));
        assert_eq!(tallies::units_since(&mut tx, phase_id, UnixMillis(60_000)).await.unwrap(), 6);
        assert_eq!(tallies::units_since(&mut tx, phase_id, UnixMillis(60_001)).await.unwrap(), 0);
        let rows = tallies::of_phase(&mut tx, phase_id, 1).await.unwrap();
        let found: Vec<_> =
            rows.iter().map(|row| (row.metric.as_str(), row.arm, row.units, row.events)).collect();
        let expected = [
            ("conversion", Arm::Control, 2, 2),
            ("conversion", Arm::Exposed, 4, 4),
            ("exposure", Arm::Control, 2, 2),
            ("exposure", Arm::Exposed, 4, 4),
            ("latency", Arm::Control, 2, 4),
            ("latency", Arm::Exposed, 4, 8),
        ];
        assert_eq!(found, expected);
        let known = enrolment(Arm::Exposed, 60_000);
        for expected in 1..=2 {
            events::count_correction(&mut tx, &known).await.unwrap();
            let corrections = events::corrections(&mut tx, phase_id).await.unwrap();
            assert_eq!(corrections, [("exposed".to_owned(), expected)]);
            events::count_plain_exposure(&mut tx, &scope, "f", "on").await.unwrap();
            let plain = events::plain_exposures(&mut tx, &scope, "f").await.unwrap();
            assert_eq!(plain, [("on".to_owned(), expected)]);
        }
        let all = events::enrolments(&mut tx, &scope, [1; 16], UnixMillis(60_000)).await.unwrap();
        assert_eq!(all, [known]);
        assert!(events::enrolments(&mut tx, &scope, [1; 16], UnixMillis(60_001)).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_arm_that_is_none_is_never_counted_as_another() {
    for (_database, _store, mut tx) in worlds().await {
        let phase_id = phases::begin(&mut tx, &scope("t/p/e"), "f", phase()).await.unwrap().phase_id;
        let new = Enrolment { phase_id, arm: Arm::Exposed, is_counted: true, first_ms: NOW };
        let mut sums = Tallies::default();
        sums.count_enrolment(&new);
        tallies::add(&mut tx, &sums).await.unwrap();
        events::insert_enrolment(&mut tx, UNIT, &new).await.unwrap();
        script(&mut tx, "UPDATE tallies SET arm = 'holdout'; UPDATE exposures SET arm = 'holdout'").await;
        let range = EnrolmentRange { from: UnixMillis(0), to: NOW.plus(1) };
        let reading = tallies::reading(&mut tx, phase_id, "m", range).await;
        assert!(matches!(reading, Err(StoreError::Corrupt { column: "tallies.arm", .. })), "{reading:?}");
        let found = events::enrolment(&mut tx, UNIT, phase_id).await;
        assert!(matches!(found, Err(StoreError::Corrupt { column: "exposures.arm", .. })), "{found:?}");
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
            usage::add(&mut tx, &scope, &f, UnixMillis(hour * HOUR_MS), &counts).await.unwrap();
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
            };
            let new = [NewVerdict { flag: "f", phase: 1, verdict: &verdict }];
            verdicts::insert(&mut tx, &scope, &new, NOW.plus(number * 10_000)).await.unwrap();
        }
        let sql = "SELECT COUNT(*) FROM verdicts";
        let count: i64 = sql::query(sql).fetch_one(&mut tx).await.unwrap().get(0).unwrap();
        assert!((1_000..=1_016).contains(&count), "{count}");
        let said = verdicts::newest_of(&mut tx, &scope, &["f", "g"]).await.unwrap();
        assert_eq!(said.len(), 1);
        assert_eq!((said["f"].at_ms, said["f"].reason.as_str()), (NOW.plus(10_400_000), "blind"));
        let newest = verdicts::newest(&mut tx, &scope, "f", 2).await.unwrap();
        let page = verdicts::page(&mut tx, &scope, "f", newest[1].verdict_id, 1).await.unwrap();
        let summaries: Vec<_> = newest.iter().chain(&page).map(|row| row.summary.as_str()).collect();
        assert_eq!(summaries, ["größe 1040", "größe 1039", "größe 1038"]);
        assert_eq!((newest[0].ingest_lag_ms, newest[0].reason.as_str()), (i64::MAX as u64, "blind"));
    }
}
