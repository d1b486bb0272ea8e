//! How many statements a group of events takes: clients choose what is in it, and may not choose how many there are.

use std::collections::BTreeMap;

use flagfuse_shared::contract::fault::EventFault;
use flagfuse_shared::ids::{FlagKey, UnixMillis};

use super::super::event_ids::EventId;
use super::super::quarantine::{ClaimedPlace, Origin, Refused};
use super::super::{event_ids, flags, metrics_seen, phases, quarantine, sql, usage};
use super::{NOW, flag, scope, worlds};

/// Events of one group, each as unlike the others as a client can make it.
const EVENT_COUNT: u64 = 2_000;
/// Events that one statement reads or writes, at the least.
const AT_ONCE: u64 = 32;

/// How many statements were run since there were so many.
fn since(before: u64) -> u64 {
    sql::run_count() - before
}

#[tokio::test]
async fn events_that_have_nothing_in_common_share_their_statements() {
    for (_database, _store, mut tx) in worlds().await {
        let scope = scope("t/p/e");
        let place = ClaimedPlace { tenant: "t", project: "p", environment: "e" };
        let fault = EventFault::in_field("id", "id is missing");
        let raws: Vec<String> = (0..EVENT_COUNT).map(|number| number.to_string()).collect();
        let refused = raws.iter().map(|raw| Refused {
            fault: fault.clone(),
            raw: raw.as_str().into(),
            flag: "",
            sdk: "",
            origin: Origin::UNKNOWN,
        });
        let refused: Vec<_> = refused.collect();
        // The second time each of them has a row.
        for _ in 0..2 {
            let before = sql::run_count();
            quarantine::insert_all(&mut tx, place, &refused, NOW).await.unwrap();
            assert!(since(before) <= 2 * EVENT_COUNT / AT_ONCE, "{} for the quarantine", since(before));
        }
        let rows = quarantine::newest(&mut tx, place, 9_999).await.unwrap();
        assert_eq!(rows.len() as u64, EVENT_COUNT);
        assert!(rows.iter().all(|row| row.events == 2));

        let (f, served) = (FlagKey::parse("f").unwrap(), BTreeMap::from([("yes".to_owned(), 1)]));
        let hours = (0..EVENT_COUNT).map(|hour| ((f.clone(), UnixMillis(hour * 3_600_000)), served.clone()));
        let before = sql::run_count();
        usage::add(&mut tx, &scope, &hours.collect()).await.unwrap();
        assert!(since(before) <= EVENT_COUNT / AT_ONCE, "{} for usage", since(before));
        assert_eq!(usage::hours(&mut tx, &scope, "f", UnixMillis(0), 9_999).await.unwrap().len(), 2_000);

        // Of two days that are far apart: what lies between is not asked for.
        let ids: Vec<(u64, EventId)> =
            (0..EVENT_COUNT).map(|number| (number % 2 * 14 + 1, u128::from(number).to_be_bytes())).collect();
        let before = sql::run_count();
        event_ids::known(&mut tx, 1, &ids).await.unwrap();
        assert!(since(before) <= 6 * (EVENT_COUNT / 500), "{} for ids", since(before));

        let names: BTreeMap<String, u64> = (0..EVENT_COUNT).map(|number| (format!("m{number}"), 1)).collect();
        let before = sql::run_count();
        metrics_seen::add(&mut tx, &scope, &names, NOW).await.unwrap();
        assert!(since(before) <= 12, "{} for names of metrics", since(before));
    }
}

#[tokio::test]
async fn names_of_flags_and_phases_are_looked_up_together_and_one_that_is_broken_fails_alone() {
    for (_database, _store, mut tx) in worlds().await {
        let scope = scope("t/p/e");
        let keys: Vec<String> = (0..150).map(|number| format!("f{number:03}")).collect();
        for key in &keys {
            flags::put(&mut tx, &scope, &flag(key), NOW).await.unwrap();
            let new = super::definitions::phase();
            phases::begin(&mut tx, &scope, key, new).await.unwrap();
        }
        let spoil = "UPDATE flags SET body = '{' WHERE flag = 'f001'";
        sql::query(spoil).execute(&mut tx).await.unwrap();
        let spoil = "UPDATE phases SET circuit = 'round' WHERE flag = 'f001'";
        sql::query(spoil).execute(&mut tx).await.unwrap();
        let mut sought: Vec<&str> = keys.iter().map(String::as_str).collect();
        sought.push("none");
        let before = sql::run_count();
        let found = flags::by_keys(&mut tx, &scope, &sought).await.unwrap();
        let numbers: Vec<_> = sought.iter().map(|key| (*key, 1)).chain([("f000", 2)]).collect();
        let begun = phases::by_numbers(&mut tx, &scope, &numbers).await.unwrap();
        assert_eq!(since(before), 4);
        let broken = |is_ok: &[bool]| is_ok.iter().filter(|is_ok| !**is_ok).count();
        let is_ok: Vec<bool> = found.iter().map(|(_, row)| row.is_ok()).collect();
        assert_eq!((found.len(), broken(&is_ok)), (150, 1));
        let is_ok: Vec<bool> = begun.iter().map(|(_, row)| row.is_ok()).collect();
        assert_eq!((begun.len(), broken(&is_ok)), (150, 1));
        assert_eq!(flags::revisions(&mut tx, &scope).await.unwrap().len(), 150);
        let newest = phases::newest_numbers(&mut tx, &scope).await.unwrap();
        assert!(newest.len() == 150 && newest.iter().all(|(_, phase)| *phase == 1));
    }
}
