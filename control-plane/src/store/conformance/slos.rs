//! Objectives: what is counted for them, where their alerts stand, and when those are silent.

use flagfuse_shared::ids::UnixMillis;
use serde_json::json;

use super::super::slo_sums::{SloSums, SumRow};
use super::super::suppressions::SuppressionRow;
use super::super::{slo_alerts, slo_sums, slos, suppressions};
use super::{NOW, make, scope, worlds};
use crate::model::slo::{Level, Silence, Slo, Span, Standing, Sum};

fn slo(objective: f64, bad: &str) -> Slo {
    let sli = json!({ "kind": "errors", "bad": bad });
    Slo::parse(&json!({ "sli": sli, "objective_percent": objective })).unwrap()
}

fn sums(rows: &[(i64, Span, u64, (u64, u64))]) -> SloSums {
    let row = |&(slo_id, span, begin, (requests, counted)): &(i64, Span, u64, (u64, u64))| {
        ((slo_id, span, UnixMillis(begin)), Sum { requests, counted })
    };
    rows.iter().map(row).collect()
}

#[tokio::test]
async fn an_objective_keeps_its_number_for_as_long_as_its_indicator_is_the_same() {
    for (_database, _store, mut tx) in worlds().await {
        make(&mut tx, "t/p/f").await;
        let (here, there) = (scope("t/p/e"), scope("t/p/f"));
        let first = slos::put(&mut tx, &here, "a", &slo(99.0, "error"), NOW).await.unwrap();
        let other = slos::put(&mut tx, &there, "a", &slo(99.0, "error"), NOW).await.unwrap();
        assert_ne!(first.slo_id, other.slo_id);
        let later = NOW.plus(5);
        let same = slos::put(&mut tx, &here, "a", &slo(90.0, "error"), later).await.unwrap();
        assert_eq!((same.slo_id, same.since_ms, same.revision), (first.slo_id, NOW, first.revision + 1));
        let added = sums(&[(same.slo_id, Span::Minute, 60_000, (1, 1))]);
        slo_sums::add(&mut tx, &added, later).await.unwrap();
        let standing = Standing { level: Level::Page, since_ms: later };
        assert!(slo_alerts::move_to(&mut tx, (same.slo_id, "page"), 0, standing).await.unwrap());
        let anew = slos::put(&mut tx, &here, "a", &slo(90.0, "broken"), later).await.unwrap();
        assert!(anew.slo_id != first.slo_id && anew.since_ms == later);
        assert_eq!(
            slo_sums::since(&mut tx, first.slo_id, NOW).await.unwrap(),
            [],
            "nothing is left of before"
        );
        assert!(slo_alerts::of_environment(&mut tx, &here).await.unwrap().is_empty());
        assert_eq!(slos::slo(&mut tx, &here, "a").await.unwrap(), Some(anew.clone()));
        let all = slos::all(&mut tx).await.unwrap();
        assert_eq!(all, [(here.clone(), anew.clone()), (there, other)]);
        assert!(slos::delete(&mut tx, &here, "a").await.unwrap());
        assert!(!slos::delete(&mut tx, &here, "a").await.unwrap());
        let again = slos::put(&mut tx, &here, "a", &slo(90.0, "broken"), later).await.unwrap();
        assert!(again.slo_id != anew.slo_id && again.revision > anew.revision);
        assert_eq!(slos::count(&mut tx, &here).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn sums_add_up_are_read_as_they_stand_since_a_moment_and_go_with_their_age() {
    for (_database, _store, mut tx) in worlds().await {
        let row = |span, begin, (requests, counted), known| SumRow {
            span,
            begin_ms: UnixMillis(begin),
            sum: Sum { requests, counted },
            known_ms: UnixMillis(known),
        };
        let many: u64 = i64::MAX as u64;
        for (added, at) in [
            (
                sums(&[
                    (7, Span::Minute, 60_000, (1, 0)),
                    (7, Span::Hour, 0, (1, 0)),
                    (8, Span::Hour, 0, (9, 9)),
                ]),
                10,
            ),
            (sums(&[(7, Span::Minute, 60_000, (2, 5)), (7, Span::Minute, 120_000, (1, many))]), 20),
            (sums(&[(7, Span::Minute, 120_000, (0, 3))]), 30),
            (sums(&[]), 40),
        ] {
            slo_sums::add(&mut tx, &added, UnixMillis(at)).await.unwrap();
        }
        let mut all = slo_sums::since(&mut tx, 7, UnixMillis(0)).await.unwrap();
        all.sort_by_key(|row| (row.span, row.begin_ms));
        let newest = row(Span::Minute, 120_000, (1, many), 30);
        assert_eq!(all, [row(Span::Minute, 60_000, (3, 5), 20), newest, row(Span::Hour, 0, (1, 0), 10)]);
        assert_eq!(slo_sums::since(&mut tx, 7, UnixMillis(30)).await.unwrap(), [newest]);
        let before = UnixMillis(120_000);
        assert_eq!(slo_sums::prune(&mut tx, Span::Minute, before, 9).await.unwrap(), 1);
        assert_eq!(slo_sums::prune(&mut tx, Span::Hour, before, 1).await.unwrap(), 1);
        assert_eq!(slo_sums::prune(&mut tx, Span::Hour, before, 9).await.unwrap(), 1);
        assert_eq!(slo_sums::since(&mut tx, 7, UnixMillis(0)).await.unwrap(), [newest]);
    }
}

#[tokio::test]
async fn an_alert_moves_for_whoever_saw_where_it_stands() {
    for (_database, _store, mut tx) in worlds().await {
        let here = scope("t/p/e");
        let row = slos::put(&mut tx, &here, "a", &slo(99.0, "error"), NOW).await.unwrap();
        let to = |level, at| Standing { level, since_ms: UnixMillis(at) };
        let key = (row.slo_id, "page");
        assert!(slo_alerts::move_to(&mut tx, key, 0, to(Level::Page, 5)).await.unwrap());
        assert!(!slo_alerts::move_to(&mut tx, key, 0, to(Level::Page, 6)).await.unwrap());
        assert!(!slo_alerts::move_to(&mut tx, key, 2, to(Level::Ok, 6)).await.unwrap());
        assert!(slo_alerts::move_to(&mut tx, key, 1, to(Level::Ok, 7)).await.unwrap());
        assert!(
            !slo_alerts::move_to(&mut tx, (-1, "page"), 0, to(Level::Page, 5)).await.unwrap(),
            "no objective"
        );
        let alerts = slo_alerts::of_environment(&mut tx, &here).await.unwrap();
        let found = alerts[&(row.slo_id, "page".to_owned())];
        assert_eq!((alerts.len(), found.standing, found.revision), (1, to(Level::Ok, 7), 2));
        assert!(slo_alerts::of_environment(&mut tx, &scope("t/p/other")).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_window_that_is_on_is_over_when_it_is_taken_back_and_one_to_come_is_gone() {
    for (_database, _store, mut tx) in worlds().await {
        let here = scope("t/p/e");
        let row = |id: &str, from_ms, to_ms, slo: Option<&str>| SuppressionRow {
            suppression_id: id.to_owned(),
            slo: slo.map(str::to_owned),
            silence: Silence { from_ms, to_ms },
            reason: "r".to_owned(),
            declared_by: "token:t".to_owned(),
            declared_ms: NOW,
        };
        let (past, on, coming) =
            (row("past", 1, 5, None), row("on", 5, 20, Some("a")), row("coming", 15, 30, None));
        for row in [&past, &on, &coming] {
            suppressions::insert(&mut tx, &here, row).await.unwrap();
        }
        let since = UnixMillis(6);
        assert_eq!(suppressions::since(&mut tx, &here, since).await.unwrap(), [coming, on.clone()]);
        let now = UnixMillis(10);
        assert!(suppressions::end(&mut tx, &here, "on", now).await.unwrap());
        assert!(!suppressions::end(&mut tx, &here, "on", now).await.unwrap());
        assert!(suppressions::end(&mut tx, &here, "coming", now).await.unwrap());
        assert!(!suppressions::end(&mut tx, &here, "past", now).await.unwrap());
        assert!(!suppressions::end(&mut tx, &here, "none", now).await.unwrap());
        let ended = SuppressionRow { silence: Silence { from_ms: 5, to_ms: 10 }, ..on };
        assert_eq!(suppressions::suppression(&mut tx, &here, "on").await.unwrap(), Some(ended.clone()));
        assert_eq!(suppressions::since(&mut tx, &here, UnixMillis(0)).await.unwrap(), [ended, past]);
        assert_eq!(suppressions::prune(&mut tx, UnixMillis(10)).await.unwrap(), 1);
    }
}
